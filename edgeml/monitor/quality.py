"""What an engine counts of the quality of its answers, merged by addition.

The document of one engine, all numbers cumulative:

- ``labels``: for each label [how often the model gave it, the sum of its probability over these rows, the same over the
  rows that were given another label]; sums in units of 2**-30. Empty where scores say nothing.
- ``unscored``: answers of the model that are not in ``labels``.
- ``rules``: how often each rule answered. ``fallback``: how often the fallback did. ``middle``: index of a label ->
  how often the middle tier gave it; what was kept before there was one has no such member.
- ``feedback``: answers whose label came later. ``tiers`` and ``rules``: [labels, right ones] by tier and by index of
  the rule; ``confusion``: ``"tier,given,true"`` -> answers, by index of the label, 64 for all further ones;
  ``reliability``: [labels, right ones, sum of the probability] for each tenth of the probability that the answer was
  said to have; ``errors``: [numbers, sum of |error|, sum of error**2] by tier.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeml.monitor.feedback_counts import RELIABILITY_BINS
from edgeml.monitor.latency import TIERS

_MEMBERS = ("labels", "unscored", "rules", "fallback", "middle", "feedback")
_FEEDBACK = ("tiers", "rules", "confusion", "reliability", "errors")


@dataclass(frozen=True)
class Quality:
    """Counts of one engine, or the sum of several."""

    _document: Mapping[str, Any]

    @classmethod
    def from_document(cls, document: Any) -> Quality:
        """Reads a document.

        Raises:
            ValueError: It is none; names the member.
        """
        if isinstance(document, dict):
            document = {"middle": {}} | document
        _members(document, _MEMBERS, "the document")
        _by_index(document["middle"], "middle")
        _list(document["labels"], "labels", width=3)
        _counts([document["unscored"]], "unscored")
        _list(document["rules"], "rules")
        _counts([document["fallback"]], "fallback")
        feedback = document["feedback"]
        _members(feedback, _FEEDBACK, "feedback")
        for name, width in (("tiers", 2), ("rules", 2), ("errors", 3)):
            if not isinstance(feedback[name], dict):
                raise ValueError(f"feedback: {name} must be an object")
            for key, counts in feedback[name].items():
                if not (key.isdigit() if name == "rules" else key in TIERS):
                    raise ValueError(f"feedback: {name} knows no {key!r}")
                _numbers(counts, f"feedback: {name}", width, whole=1 if name == "errors" else width)
        if not isinstance(feedback["confusion"], dict):
            raise ValueError("feedback: confusion must be an object")
        for key, count in feedback["confusion"].items():
            confusion_of(key)
            _counts([count], "feedback: confusion")
        _list(feedback["reliability"], "feedback: reliability", width=3)
        if len(feedback["reliability"]) != RELIABILITY_BINS:
            raise ValueError(f"feedback: reliability must have {RELIABILITY_BINS} parts")
        return cls(document)

    def to_document(self) -> dict[str, Any]:
        """The document, of JSON types."""
        return dict(self._document)

    def add(self, other: Quality) -> Quality:
        """The sum of both, as if one engine had counted everything.

        Raises:
            ValueError: They are not of the same bundle: one has other labels or rules.
        """
        return Quality(_combined(self._document, other._document, 1))

    def since(self, earlier: Quality) -> Quality:
        """What came after an earlier count of the same.

        Raises:
            ValueError: They are not of the same bundle.
        """
        return Quality(_combined(self._document, earlier._document, -1))

    @property
    def labels(self) -> list[list[int]]:
        """See the module."""
        return list(self._document["labels"])

    @property
    def unscored(self) -> int:
        """Answers of the model that say nothing of how likely they are."""
        return int(self._document["unscored"])

    @property
    def rules(self) -> list[int]:
        """How often each rule answered."""
        return list(self._document["rules"])

    @property
    def middle(self) -> dict[int, int]:
        """Index of a label -> how often the middle tier gave it."""
        return {int(index): count for index, count in self._document["middle"].items()}

    @property
    def fallback(self) -> int:
        """How often the fallback answered."""
        return int(self._document["fallback"])

    @property
    def tiers(self) -> dict[str, list[int]]:
        """Tier -> labels that came, answers that were right."""
        return dict(self._document["feedback"]["tiers"])

    @property
    def labelled_rules(self) -> dict[int, list[int]]:
        """Index of a rule -> labels that came, answers that were right."""
        return {int(index): counts for index, counts in self._document["feedback"]["rules"].items()}

    @property
    def confusion(self) -> dict[tuple[str, int, int], int]:
        """Tier, label given, true label -> answers."""
        return {confusion_of(key): count for key, count in self._document["feedback"]["confusion"].items()}

    @property
    def reliability(self) -> list[list[int]]:
        """For each tenth of the probability: labels, right answers, sum of the probability."""
        return list(self._document["feedback"]["reliability"])

    @property
    def errors(self) -> dict[str, list[float]]:
        """Tier -> numbers that came, sum of |error|, sum of error squared."""
        return dict(self._document["feedback"]["errors"])


def _combined(one: Any, other: Any, sign: int) -> Any:
    if isinstance(one, Mapping):
        keys = [*one, *(key for key in other if key not in one)]
        return {
            key: _combined(one.get(key, _nothing(other, key)), other.get(key, _nothing(one, key)), sign) for key in keys
        }
    if isinstance(one, list):
        if len(one) != len(other):
            raise ValueError("these counts are of different bundles")
        return [_combined(left, right, sign) for left, right in zip(one, other, strict=True)]
    return one + sign * other


def _nothing(counts: Mapping[str, Any], key: str) -> Any:
    """Zeros in the form of what only one of two documents has."""
    found = counts.get(key, 0)
    return [0] * len(found) if isinstance(found, list) else 0


def confusion_of(key: str) -> tuple[str, int, int]:
    """Tier, label given and true label of an entry of ``confusion``.

    Raises:
        ValueError: It is none.
    """
    tier, _, labels = key.partition(",")
    given, _, true = labels.partition(",")
    if tier not in TIERS or not (given.isdigit() and true.isdigit()):
        raise ValueError(f"feedback: confusion knows no {key!r}")
    return tier, int(given), int(true)


def _members(document: Any, names: tuple[str, ...], where: str) -> None:
    if not isinstance(document, dict) or set(document) != set(names):
        raise ValueError(f"{where} must be an object of {', '.join(names)}")


def _by_index(counts: Any, name: str) -> None:
    if not isinstance(counts, dict) or not all(isinstance(key, str) and key.isdecimal() for key in counts):
        raise ValueError(f"{name} must be an object of counts by index")
    _counts(list(counts.values()), name)


def _list(rows: Any, name: str, *, width: int = 0) -> None:
    if not isinstance(rows, list):
        raise ValueError(f"{name} must be a list")
    if width:
        for row in rows:
            _numbers(row, name, width, whole=width)
    else:
        _counts(rows, name)


def _numbers(row: Any, name: str, width: int, *, whole: int) -> None:
    if not isinstance(row, list) or len(row) != width:
        raise ValueError(f"{name} must hold {width} numbers")
    _counts(row[:whole], name)
    for number in row[whole:]:
        if not isinstance(number, int | float) or not math.isfinite(number) or number < 0:
            raise ValueError(f"{name} must hold finite sums, not {number!r}")


def _counts(counts: list[Any], name: str) -> None:
    for count in counts:
        if type(count) is not int or count < 0:
            raise ValueError(f"{name} must hold counts, not {count!r}")
