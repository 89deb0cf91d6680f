"""How good a bundle's answers are: estimated without labels, and measured with those that came.

**Estimated** (confidence-based performance estimation, CBPE, as NannyML defines it): a row whose label has the
calibrated probability p is right with the chance p, so over the rows of the model ::

    right(c) = sum of p_c over rows that were given c          wrong(c)  = rows that were given c - right(c)
    missed(c) = sum of p_c over rows that were given another label

and accuracy, precision, recall and F1 follow as from counts. Rows that a rule answered have as p the shares of the
true labels that were counted when the bundle was built, among the rows that this rule answered; likewise rows to which
the middle tier gave a label, among the rows to which it gave this label; rows of the fallback have the shares of all
known labels. A rule, or a label of the middle tier, that never answered a row with a known label has none; its rows are
left out, and counted as such.

The interval of a share of n rows reaches 3 standard errors to either side, as NannyML's (``share_interval``), with ::

    1 / n' = 1 / n + 1 / m

in the place of n, where m rows of the reference tell the same share: the sampling of the rows, and that of the rows on
which calibration and rules were measured. It holds the share that turns out among these very rows, not only the rate
behind it. Rows are taken as alike; that p differs from row to row makes the truth vary less. The accuracy of all tiers
is the mean of theirs, and so are its ends.

It cannot see a change of what is true for the same input (concept drift), and nothing that it says holds for inputs
unlike all that the model has seen. What drifts should be looked at first. Without ``held_out`` rows the calibration
was made on rows that the model had learnt, and the estimate is too kind.

**Realised**: rates with the confidence sequence of ``confidence_sequence``: they hold however often one looks, each by
itself. Labels count as they come; if they come for some answers rather than for others, so does what they say.

**Agreement**: whether the confidence sequence of the model's labelled answers holds the share that was expected of
those very answers. Where it does not, the estimate is wrong: what is true has changed, or calibration was never right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgeml.monitor.confidence_sequence import ALPHA, confidence_sequence
from edgeml.monitor.confusion import MEASURES, OneLabel, confusion_counts, figure, macro, share_interval
from edgeml.monitor.feedback_counts import PART
from edgeml.monitor.latency import TIERS
from edgeml.monitor.quality import Quality, confusion_of

Z = 3.0
IN_SAMPLE = "calibrated on rows that the model had learnt, so it is too kind; build the bundle with held_out rows"
NOT_A_LABEL = "no estimate without labels: the model answers with numbers"
NOT_SCORED = "no estimate without labels: the model's scores are no probabilities, and no calibration was made"
NO_REFERENCE = "no estimate without labels: the bundle was built without known answers"


def quality_report(reference: Mapping[str, Any] | None, counts: Quality, *, alpha: float = ALPHA) -> dict[str, Any]:
    """What is known of the quality of a bundle's answers.

    Args:
        reference: The member ``quality`` of the bundle's ``reference.json``; None where it has none.
        counts: What was counted.
        alpha: The chance that one of the realised intervals ever misses.

    Returns:
        ``estimated``, ``realised``, ``agreement`` (each None where there is nothing to say), ``reference`` (what was
        measured when the bundle was built) and ``notes``, sentences for people.

    Raises:
        ValueError: The counts are not of this bundle.
    """
    notes: list[str] = []
    estimated = None
    if reference is None:
        notes.append(NO_REFERENCE)
    elif reference["labels"] is None:
        notes.append(NOT_A_LABEL)
    elif not reference["calibration"]["scored"]:
        notes.append(NOT_SCORED)
    else:
        estimated = _estimated(reference, counts)
        if not reference["held_out"]:
            notes.append(IN_SAMPLE)
        if estimated and estimated["left_out"]:
            notes.append(f"{estimated['left_out']} answers are left out: nothing is known of who gave them")
    labels = _texts(reference, counts)
    rules = [] if reference is None else [rule["id"] for rule in reference["rules"]]
    return {
        "estimated": estimated,
        "realised": _realised(counts, labels, rules, alpha),
        "agreement": _agreement(counts, alpha),
        "reference": None if reference is None else _of_reference(reference),
        "notes": notes,
    }


def _estimated(reference: Mapping[str, Any], counts: Quality) -> dict[str, Any] | None:
    labels, rules = reference["labels"], reference["rules"]
    if len(counts.labels) != len(labels) or len(counts.rules) != len(rules):
        raise ValueError("the counts are of another bundle: other labels or rules")
    found = [OneLabel() for _ in labels]
    # One for each tier, model and fallback, and for each rule: rows, right ones, rows of the reference.
    parts: list[tuple[str, float, float, float]] = []
    by_model = 0.0
    for label, (given, right, missed) in zip(found, counts.labels, strict=True):
        label.right += right / PART
        label.wrong += given - right / PART
        label.missed += missed / PART
        by_model += right / PART
    rows = sum(given for given, _, _ in counts.labels)
    parts.append(("model", rows, by_model, reference["calibration"]["rows"]))
    left_out = counts.unscored
    sources = [("rule", answered, rule) for answered, rule in zip(counts.rules, rules, strict=True)]
    sources += _of_middle(counts.middle, reference.get("middle") or [], len(labels))
    for tier, answered, source in [*sources, ("fallback", counts.fallback, reference["prior"])]:
        known = sum(source["true"])
        if not known or source["label"] is None:
            left_out += answered
            continue
        shares = [count / known for count in source["true"]]
        _add_constant(found, source["label"], answered, shares)
        parts.append((tier, answered, answered * shares[source["label"]], known))
    if not sum(rows for _, rows, _, _ in parts):
        return None
    of_reference = confusion_counts(_overall(reference["confusion"]), len(labels))
    by_label = {
        str(label): {
            name: figure(*share, _bounds(*share, known[name][1]), f1=name == "f1")
            for name, share in one.shares().items()
        }
        for label, one, known in zip(labels, found, [each.shares() for each in of_reference], strict=True)
    }
    tiers = {tier: _mean([part for part in parts if part[0] == tier]) for tier in TIERS}
    return {
        "rows": sum(rows for _, rows, _, _ in parts),
        "left_out": left_out,
        "accuracy": _mean(parts),
        "macro": {name: macro(each[name] for each in by_label.values()) for name in MEASURES},
        "by_tier": {tier: each for tier, each in tiers.items() if each is not None},
        "by_label": by_label,
    }


def _of_middle(
    given: Mapping[int, int], reference: Sequence[Sequence[int]], labels: int
) -> list[tuple[str, int, dict[str, Any]]]:
    """The middle tier's answers by label, in the form of a rule's."""
    if given and max(given) >= labels:
        raise ValueError("the counts are of another bundle: other labels")
    true = [list(each) for each in reference] if len(reference) == labels else [[0] * labels for _ in range(labels)]
    return [("middle", rows, {"label": label, "true": true[label]}) for label, rows in sorted(given.items())]


def _add_constant(found: Sequence[OneLabel], given: int, rows: float, shares: Sequence[float]) -> None:
    """Counts rows that were all given one label, with the same chance of each to be true."""
    found[given].right += rows * shares[given]
    found[given].wrong += rows * (1.0 - shares[given])
    for label, share in enumerate(shares):
        if label != given:
            found[label].missed += rows * share


def _mean(parts: Sequence[tuple[str, float, float, float]]) -> dict[str, float] | None:
    total = sum(rows for _, rows, _, _ in parts)
    if not total:
        return None
    value = low = high = 0.0
    for _, rows, right, known in parts:
        if rows:
            least, most = _bounds(right, rows, known)
            value, low, high = value + right, low + rows * least, high + rows * most
    return {"value": value / total, "low": low / total, "high": high / total, "rows": total}


def _bounds(right: float, rows: float, known: float) -> tuple[float, float]:
    if rows <= 0 or known <= 0:
        return 0.0, 1.0
    enough = rows * known / (rows + known)
    return share_interval(right / rows * enough, enough, Z)


def _realised(counts: Quality, labels: Sequence[str], rules: Sequence[str], alpha: float) -> dict[str, Any] | None:
    if counts.errors:
        return {"by_tier": {tier: _errors(sums) for tier, sums in counts.errors.items()}}
    if not counts.tiers:
        return None
    total, right_ones = (sum(pair[place] for pair in counts.tiers.values()) for place in (0, 1))
    one_by_one = confusion_counts(_summed(counts.confusion), len(labels))
    by_label = {
        label: {
            name: _rate(int(rows), int(right), alpha, f1=name == "f1") for name, (right, rows) in one.shares().items()
        }
        for label, one in zip(labels, one_by_one, strict=True)
    }
    return {
        "rows": total,
        "accuracy": _rate(total, right_ones, alpha),
        "macro": {name: macro(each[name] for each in by_label.values()) for name in MEASURES},
        "by_tier": {tier: _rate(pair[0], pair[1], alpha) for tier, pair in counts.tiers.items()},
        "by_label": by_label,
        "by_rule": {
            rules[index] if index < len(rules) else str(index): _rate(pair[0], pair[1], alpha)
            for index, pair in sorted(counts.labelled_rules.items())
        },
    }


def _rate(rows: int, right: int, alpha: float, *, f1: bool = False) -> dict[str, float] | None:
    return figure(right, rows, confidence_sequence(right, rows, alpha=alpha), f1=f1)


def _errors(sums: Sequence[float]) -> dict[str, float]:
    rows, absolute, squared = sums
    if not rows:
        return {"rows": 0}
    return {
        "rows": rows,
        "mean_absolute_error": absolute / rows,
        "root_mean_squared_error": math.sqrt(squared / rows),
    }


def _agreement(counts: Quality, alpha: float) -> dict[str, Any] | None:
    rows, right, chance = (sum(each[place] for each in counts.reliability) for place in range(3))
    if not rows:
        return None
    low, high = confidence_sequence(right, rows, alpha=alpha)
    expected = chance / PART / rows
    return {
        "rows": rows,
        "expected": expected,
        "realised": {"value": right / rows, "low": low, "high": high},
        "agrees": low <= expected <= high,
        "reliability": [
            {"rows": n, "expected": part / PART / n, "realised": k / n} for n, k, part in counts.reliability if n
        ],
    }


def _of_reference(reference: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {"rows": reference["rows"], "held_out": reference["held_out"]}
    if reference["labels"] is None:
        return shown | {"by_tier": {tier: _errors(sums) for tier, sums in reference["errors"].items()}}
    return shown | {"measures": reference["measures"], "calibration": _summary(reference["calibration"])}


def _summary(calibration: Mapping[str, Any]) -> dict[str, Any]:
    return {name: calibration[name] for name in ("scored", "rows", "error", "calibrated_error")}


def _texts(reference: Mapping[str, Any] | None, counts: Quality) -> list[str]:
    if reference is not None:
        return [str(label) for label in reference["labels"] or []][:64]
    known = max((1 + max(given, true) for _, given, true in counts.confusion), default=0)
    return [str(index) for index in range(known)]


def _overall(confusion: Mapping[str, int]) -> dict[tuple[int, int], float]:
    return _summed({confusion_of(key): rows for key, rows in confusion.items()})


def _summed(confusion: Mapping[tuple[str, int, int], int]) -> dict[tuple[int, int], float]:
    summed: dict[tuple[int, int], float] = {}
    for (_, given, true), rows in confusion.items():
        summed[given, true] = summed.get((given, true), 0) + rows
    return summed
