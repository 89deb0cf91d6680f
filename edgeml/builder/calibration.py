"""What a box needs to say how good its answers are: the map from scores to probabilities, and what was measured.

1. Only rows with known answers count; held-out ones where there are any. On rows that the model has learnt its scores
   look better than they are, and no calibration after the fact can undo that: such a document says ``held_out: false``.
2. One map for each label, against all others: isotonic regression, kept as a step function of at most 64 steps. A map
   is kept where it makes the expected calibration error smaller on rows that it was not fitted on (five folds, ten
   bins of equally many rows, as NannyML); scores that are no probabilities need one in any case.
3. For each rule, how often each label was true among the rows that it answered; the same for each label of the middle
   tier, and for all rows, which the fallback stands for.
4. Nothing here depends on chance: the folds are drawn with a fixed seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from sklearn.model_selection import KFold

from edgeml.monitor.confusion import confusion_counts
from edgeml.monitor.feedback_counts import MOST_LABELS
from edgeml.runtime.prediction import MIDDLE, MODEL, TIERS, Label, PredictionBatch
from edgeml.runtime.rules import RuleList

MOST_STEPS = 64
# Fewer rows say nothing of a map.
FEWEST_ROWS = 50
FOLDS = 5
ERROR_BINS = 10

Steps = tuple[NDArray[np.float64], NDArray[np.float64]]


def quality_reference(
    answers: PredictionBatch,
    truth: Sequence[Any],
    *,
    labels: Sequence[Label] | None,
    scores: str | None,
    rules: RuleList | None,
    fallback: Mapping[str, Any],
    prior: Sequence[Any],
    held_out: bool,
) -> dict[str, Any]:
    """Measures the answers against known ones.

    Args:
        answers: The bundle's answers.
        truth: The known answers to the same rows.
        labels: The labels in the order of the scores; None for a regression.
        scores: What scores are: ``probability``, ``decision``, or None where there are none.
        rules: The rules.
        fallback: The declared fallback.
        prior: Known answers that the fallback stands for.
        held_out: Whether the pipeline has not seen these rows.

    Returns:
        The member ``quality`` of ``reference.json``; docs/bundle-format.md describes it.
    """
    document: dict[str, Any] = {"rows": len(answers), "held_out": held_out, "labels": None}
    known_rules = [] if rules is None else rules.rules
    if labels is None:
        return document | {"errors": _errors(answers, truth), "rules": [{"id": rule.id} for rule in known_rules]}
    index_of: dict[Any, int] = {label: index for index, label in enumerate(labels)}
    true = np.array([index_of.get(label, -1) for label in truth], dtype=np.int64)
    given = np.array([index_of.get(label, -1) for label in answers.label_list()], dtype=np.int64)
    confusion = {
        f"{tier},{one},{other}": rows
        for number, tier in enumerate(TIERS)
        for (one, other), rows in _pairs(given[answers.tiers == number], true[answers.tiers == number]).items()
    }
    if answers.middle_scores is not None:
        by_middle = answers.tiers == MIDDLE
        document["middle"] = [
            _label_counts(true[by_middle & (given == label)], len(labels)) for label in range(len(labels))
        ]
    return document | {
        "labels": list(labels),
        "confusion": confusion,
        "measures": _measures(given, true, answers.tiers, labels),
        "rules": [
            {
                "id": rule.id,
                "label": index_of.get(rule.label) if rule.label is not None else None,
                "true": _label_counts(true[answers.rule_index == number], len(labels)),
            }
            for number, rule in enumerate(known_rules)
        ],
        "prior": {
            "label": index_of.get(fallback.get("label")),
            "true": _label_counts(np.array([index_of.get(label, -1) for label in prior]), len(labels)),
        },
        "calibration": _calibration(answers, true, len(labels), scores),
    }


def calibrate(scores: NDArray[np.float64], true: NDArray[np.int64], *, probabilities: bool) -> dict[str, Any]:
    """Fits one map for each label.

    Args:
        scores: [n, k], finite.
        true: Index of the true label of each row; -1 for one that is none of them.
        probabilities: Whether scores are probabilities already.

    Returns:
        ``scored`` (whether probabilities come of it), ``rows``, ``error`` and ``calibrated_error`` (mean of the labels'
        expected calibration errors without and with maps; None where unknown), ``maps``: for each label ``edges`` and
        ``values``, both empty where its map was not kept; None where no label has one.
    """
    n, k = scores.shape
    document: dict[str, Any] = {
        "scored": probabilities,
        "rows": n,
        "error": None,
        "calibrated_error": None,
        "maps": None,
    }
    if n < FEWEST_ROWS:
        return document
    maps: list[dict[str, list[float]]] = []
    before, after = [], []
    two = k == 2 and probabilities
    # Of two probabilities, one is the other's rest: both get the same map, from the other side.
    for label in [1] if two else range(k):
        column, hits = scores[:, label], (true == label).astype(np.float64)
        given = np.clip(column, 0.0, 1.0)
        error = expected_calibration_error(given, hits) if probabilities else np.inf
        unseen = _out_of_fold(column, hits)
        calibrated = expected_calibration_error(unseen, hits)
        keep = calibrated < error
        before.append(error)
        after.append(calibrated if keep else error)
        edges, values = fit_steps(column, hits) if keep else (np.empty(0), np.empty(0))
        if two:
            maps.append({"edges": (1.0 - edges[::-1]).tolist(), "values": (1.0 - values[::-1]).tolist()})
        maps.append({"edges": edges.tolist(), "values": values.tolist()})
    kept = any(each["values"] for each in maps)
    return document | {
        "scored": probabilities or kept,
        "error": float(np.mean(before)) if probabilities else None,
        "calibrated_error": float(np.mean(after)) if kept else None,
        "maps": maps if kept else None,
    }


def fit_steps(scores: NDArray[np.float64], hits: NDArray[np.float64]) -> Steps:
    """Isotonic regression as a step function.

    Args:
        scores: Score of each row.
        hits: 1 where the row has the label, else 0.

    Returns:
        Edges, and one value more: a score below ``edges[0]`` has ``values[0]``, one of at least ``edges[i]`` and below
        ``edges[i + 1]`` has ``values[i + 1]``. An edge is in the middle between the scores on its two sides.
    """
    # It takes scores that are almost equal together, so that the least and the largest may be out of its bounds.
    fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(scores, hits)
    distinct, rows = np.unique(scores, return_counts=True)
    values = fitted.predict(distinct)
    starts = np.flatnonzero(np.append(True, values[1:] > values[:-1]))
    weights = np.add.reduceat(rows.astype(np.float64), starts)
    levels = np.add.reduceat(values * rows, starts) / weights
    while len(levels) > MOST_STEPS:
        # The two neighbours whose union costs the least squared error.
        cost = np.square(np.diff(levels)) * weights[:-1] * weights[1:] / (weights[:-1] + weights[1:])
        at = int(np.argmin(cost))
        together = weights[at] + weights[at + 1]
        levels[at] = (levels[at] * weights[at] + levels[at + 1] * weights[at + 1]) / together
        weights[at] = together
        levels, weights, starts = np.delete(levels, at + 1), np.delete(weights, at + 1), np.delete(starts, at + 1)
    inner = starts[1:]
    return (distinct[inner - 1] + distinct[inner]) / 2, np.clip(levels, 0.0, 1.0)


def apply_steps(steps: Steps, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probabilities of scores."""
    edges, values = steps
    probabilities: NDArray[np.float64] = values[np.searchsorted(edges, scores, side="right")]
    return probabilities


def expected_calibration_error(probabilities: NDArray[np.float64], hits: NDArray[np.float64]) -> float:
    """Mean distance of the mean probability from the share of hits, over bins of equally many rows."""
    order = np.argsort(probabilities, kind="stable")
    bins = np.array_split(order, min(ERROR_BINS, len(order)))
    return float(sum(abs(probabilities[rows].mean() - hits[rows].mean()) * len(rows) for rows in bins) / len(order))


def _out_of_fold(scores: NDArray[np.float64], hits: NDArray[np.float64]) -> NDArray[np.float64]:
    probabilities = np.empty(len(scores))
    for train, test in KFold(FOLDS, shuffle=True, random_state=0).split(scores):
        probabilities[test] = apply_steps(fit_steps(scores[train], hits[train]), scores[test])
    return probabilities


def _calibration(answers: PredictionBatch, true: NDArray[np.int64], k: int, scores: str | None) -> dict[str, Any]:
    rows = np.flatnonzero(answers.tiers == MODEL)
    # A model that nobody asked has no scores; more labels than a box counts are not scored there.
    if scores is None or answers.scores is None or answers.scores.shape[1] != k or k > MOST_LABELS:
        return {"scored": False, "rows": len(rows), "error": None, "calibrated_error": None, "maps": None}
    return calibrate(answers.scores[rows].astype(np.float64), true[rows], probabilities=scores == "probability")


def _label_counts(true: NDArray[np.int64], k: int) -> list[int]:
    counts: list[int] = np.bincount(true[true >= 0].astype(np.int64), minlength=k).tolist()
    return counts


def _pairs(given: NDArray[np.int64], true: NDArray[np.int64]) -> dict[tuple[int, int], int]:
    pairs = np.column_stack([given, true])
    # What is none of the labels, and what is beyond those that a box tells apart, is the one after the last.
    pairs[(pairs < 0) | (pairs > MOST_LABELS)] = MOST_LABELS
    found, rows = np.unique(pairs.reshape(-1, 2), axis=0, return_counts=True)
    return {(int(one), int(other)): int(count) for (one, other), count in zip(found, rows, strict=True)}


def _measures(
    given: NDArray[np.int64], true: NDArray[np.int64], tiers: NDArray[np.uint8], labels: Sequence[Label]
) -> dict[str, Any]:
    """Accuracy, and precision, recall and F1 of each label, over all rows and over those of each tier."""
    measures = {}
    for number, tier in [(None, "overall"), *enumerate(TIERS)]:
        rows = np.ones(len(tiers), dtype=bool) if number is None else tiers == number
        if not rows.any():
            continue
        by_label = {}
        one_by_one = confusion_counts(_pairs(given[rows], true[rows]), min(len(labels), MOST_LABELS))
        for label, one in zip(labels, one_by_one, strict=False):
            precision, recall, jaccard = (right / n if n else None for right, n in one.shares().values())
            by_label[str(label)] = {
                "precision": precision,
                "recall": recall,
                "f1": None if jaccard is None else 2 * jaccard / (1 + jaccard),
            }
        accuracy = float((given[rows] == true[rows]).mean())
        measures[tier] = {"rows": int(rows.sum()), "accuracy": accuracy, "by_label": by_label}
    return measures


def _errors(answers: PredictionBatch, truth: Sequence[Any]) -> dict[str, list[float]]:
    """Tier -> rows, sum of |error|, sum of squared errors; over all outputs where there are several."""
    given = np.asarray(answers.value_list(), dtype=np.float64).reshape(len(answers), -1)
    error = given - np.asarray(truth, dtype=np.float64).reshape(len(answers), -1)
    found = {}
    for number, tier in enumerate(TIERS):
        of_tier = error[answers.tiers == number]
        if of_tier.size:
            found[tier] = [of_tier.size, float(np.abs(of_tier).sum()), float(np.square(of_tier).sum())]
    return found
