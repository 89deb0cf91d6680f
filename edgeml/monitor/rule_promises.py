"""What the rules of a bundle promise: how often they are right, and how often they agree with the model.

A promise is what live counts are held to (``rule_watch``). It is, in this order:

- of being right: the rule's own ``target``; the lower bound in its ``evidence``; else the lower end of the interval of
  what was measured when the bundle was built, on the rows of the drift reference that it answered;
- of agreeing with the model: the lower end of the interval of the ``agreement`` in its ``evidence``; else what must be
  so where both keep to what they promise: rule and model are right together in at least ``p + m - 1`` of the records,
  where the rule is right in ``p`` and the model in ``m`` of them.

A rule of which nothing was measured promises nothing. What a bundle says is not believed: what is no share is passed
over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeml.monitor.confidence_sequence import confidence_sequence


@dataclass(frozen=True, slots=True)
class RulePromise:
    """What one rule promises.

    Attributes:
        id: Its id.
        answers: Whether it answers at all; one that abstains does not.
        precision: Share of its answers that are right at least; None where it promises none.
        agreement: Share of its answers that the model gives too at least; None where it promises none.
        source: Where the first one comes from: ``target``, ``evidence``, ``measured``, or empty.
    """

    id: str
    answers: bool = True
    precision: float | None = None
    agreement: float | None = None
    source: str = ""


def rule_promises(rules: Mapping[str, Any], quality: Mapping[str, Any] | None = None) -> tuple[RulePromise, ...]:
    """What the rules of a bundle promise, in their order.

    Args:
        rules: Its ``rules.json``.
        quality: The member ``quality`` of its ``reference.json``; None where it has none.

    Raises:
        ValueError: It is no list of rules.
    """
    listed = rules.get("rules")
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise ValueError("rules.json is no list of rules")
    measured = _by_id(quality)
    model = _of_model(quality)
    return tuple(_promise(each, measured.get(str(each.get("id")), {}), model) for each in listed)


def _promise(rule: Mapping[str, Any], measured: Mapping[str, Any], model: float | None) -> RulePromise:
    name = str(rule.get("id", ""))
    then = rule.get("then")
    if then == "abstain" or (isinstance(then, dict) and "abstain" in then):
        return RulePromise(name, answers=False)
    evidence = rule.get("evidence")
    if not isinstance(evidence, dict):
        evidence = {}
    precision, source = _share(rule.get("target")), "target"
    if precision is None:
        precision, source = _share(evidence.get("lower")), "evidence"
    if precision is None:
        precision, source = _lower(*_counts_of(measured)), "measured"
    agreement, rows = _share(evidence.get("agreement")), evidence.get("rows")
    if agreement is not None and type(rows) is int and rows > 0:
        agreement = _lower(round(agreement * rows), rows)
    elif precision is not None and model is not None:
        agreement = max(0.0, precision + model - 1.0)
    else:
        agreement = None
    return RulePromise(name, True, precision, agreement or None, source if precision is not None else "")


def _by_id(quality: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    listed = (quality or {}).get("rules")
    if not isinstance(listed, list):
        return {}
    return {str(each.get("id")): each for each in listed if isinstance(each, dict)}


def _counts_of(measured: Mapping[str, Any]) -> tuple[int, int]:
    """Right answers and answers of a rule, among the rows of the reference with a known label."""
    true, label = measured.get("true"), measured.get("label")
    if not isinstance(true, list) or type(label) is not int or not 0 <= label < len(true):
        return 0, 0
    if not all(type(count) is int and count >= 0 for count in true):
        return 0, 0
    return true[label], sum(true)


def _of_model(quality: Mapping[str, Any] | None) -> float | None:
    """Share of the model's answers that are right at least, as the reference has it."""
    confusion = (quality or {}).get("confusion")
    if not isinstance(confusion, dict):
        return None
    rows = right = 0
    for key, count in confusion.items():
        tier, given, true = (str(key).split(",") + ["", ""])[:3]
        if tier == "model" and type(count) is int and count >= 0:
            rows += count
            right += count if given == true else 0
    return _lower(right, rows)


def _lower(right: int, rows: int) -> float | None:
    return confidence_sequence(right, rows)[0] if rows else None


def _share(given: Any) -> float | None:
    known = isinstance(given, int | float) and not isinstance(given, bool) and 0 <= given <= 1
    return float(given) if known else None


def answering(promises: Sequence[RulePromise]) -> int:
    """How many of the rules answer."""
    return sum(each.answers for each in promises)
