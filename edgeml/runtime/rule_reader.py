"""One rule of a document -> a checked ``Rule``; its condition is checked elsewhere (``rule_names.py``)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgeml.errors import RuleError
from edgeml.runtime.expression import nearest
from edgeml.runtime.prediction import Label
from edgeml.runtime.rule import Evidence, Rule

MAX_ID = 200
MAX_NOTE = 10_000

_ID = re.compile(r"[a-z0-9][a-z0-9._-]*")
_RULE_KEYS = (
    "id", "when", "then", "note", "provenance", "coverage", "precision", "target", "evidence", "pinned"
)  # fmt: skip
_THEN_KEYS = ("label", "value", "score", "abstain")
_COUNTS = ("rows", "right", "tried")
_SHARES = ("lower", "confidence", "coverage", "agreement")


class RuleReader:
    """Reads and checks one rule's document."""

    def __init__(self, number: int, item: Any, labels: Sequence[Label] | None) -> None:
        self.id = ""
        self.who = f"rule number {number}"
        self.labels = labels
        if not isinstance(item, Mapping):
            raise self.error(f"expected an object with 'when' and 'then', got {shown(item)}")
        self.item = item
        self.id = self.read_id(number)
        self.who = f"rule {self.id!r}"
        self.refuse_unknown(item, _RULE_KEYS, "")
        for key in ("when", "then"):
            if key not in item:
                raise self.error(f"there is no {key!r}; a rule says when it applies and what it then answers")
        self.text = self.read_condition()

    def error(self, message: str) -> RuleError:
        return RuleError(f"{self.who}: {message}", rule=self.id)

    def refuse_unknown(self, item: Mapping[Any, Any], known: Sequence[str], where: str) -> None:
        for key in item:
            if key not in known:
                near = nearest(str(key), list(known))
                hint = f"did you mean {near!r}?" if near is not None else f"there are {', '.join(known)}"
                raise self.error(f"{where}unknown key {shown(key)}; {hint}")

    def read_id(self, number: int) -> str:
        given = self.item.get("id", f"rule-{number}")
        if not isinstance(given, str) or len(given) > MAX_ID or not _ID.fullmatch(given):
            raise self.error(
                f"id {shown(given)} must be a string of at most {MAX_ID} small letters, digits, '.', '_' and '-', "
                "and begin with a letter or a digit"
            )
        return given

    def read_condition(self) -> str:
        given = self.item["when"]
        if isinstance(given, bool):
            raise self.error('when: put the condition in quotes: when: "true"')
        if not isinstance(given, str):
            raise self.error(f"when: expected a condition as a string, got {shown(given)}; put it in quotes")
        return given

    def rule(self, when: str) -> Rule:
        """The rule with its canonical condition."""
        then = self.item["then"]
        if then == "abstain":
            then = {"abstain": True}
        if not isinstance(then, Mapping):
            raise self.error(f"then: expected {{label: ...}}, {{value: ...}} or abstain, got {shown(then)}")
        self.refuse_unknown(then, _THEN_KEYS, "then: ")
        outcomes = [key for key in ("label", "value", "abstain") if key in then]
        if len(outcomes) != 1:
            raise self.error(f"then: expected one of label, value and abstain, got {' and '.join(outcomes) or 'none'}")
        if "abstain" in then and (then["abstain"] is not True or "score" in then):
            raise self.error("then: a rule that abstains says {abstain: true} and nothing else")
        if "value" in then and "score" in then:
            raise self.error("then: a score says how sure a label is, and a value has no place for one; remove it")
        return Rule(
            id=self.id,
            when=when,
            label=self.label(then["label"]) if "label" in then else None,
            value=self.value(then["value"]) if "value" in then else None,
            score=self.share(then, "score", "then: "),
            abstains="abstain" in then,
            note=self.words("note"),
            provenance=self.words("provenance"),
            coverage=self.share(self.item, "coverage", ""),
            precision=self.share(self.item, "precision", ""),
            target=self.share(self.item, "target", ""),
            evidence=self.evidence(),
            pinned=self.pinned(),
        )

    def evidence(self) -> Evidence | None:
        given = self.item.get("evidence")
        if "evidence" not in self.item:
            return None
        if not isinstance(given, Mapping):
            raise self.error(f"evidence: expected an object, got {shown(given)}")
        self.refuse_unknown(given, (*_COUNTS, *_SHARES), "evidence: ")
        counts = {key: self.count(given, key) for key in _COUNTS}
        if counts["right"] is not None and counts["right"] > (counts["rows"] or 0):
            raise self.error("evidence: right is more than rows")
        shares = {key: self.share(given, key, "evidence: ") for key in _SHARES}
        return Evidence(
            rows=counts["rows"],
            right=counts["right"],
            tried=counts["tried"],
            lower=shares["lower"],
            confidence=shares["confidence"],
            coverage=shares["coverage"],
            agreement=shares["agreement"],
        )

    def count(self, item: Mapping[str, Any], key: str) -> int | None:
        given = _plain(item.get(key, 0))
        if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given < 2**53:
            raise self.error(f"evidence: {key} must be a whole number of at least 0, got {shown(given)}")
        return given if key in item else None

    def pinned(self) -> bool:
        given = self.item.get("pinned", False)
        if not isinstance(given, bool):
            raise self.error(f"pinned must be true or false, got {shown(given)}")
        return given

    def label(self, given: Any) -> Label:
        if self.labels is None:
            raise self.error("then: the model answers with a number; write value in place of label")
        given = _plain(given)
        if isinstance(given, str | int | float):
            for label in self.labels:
                if isinstance(label, bool) == isinstance(given, bool) and label == given:
                    return label
        texts = [label for label in self.labels if isinstance(label, str)]
        near = nearest(given, texts) if isinstance(given, str) else None
        known = ", ".join(map(repr, self.labels[:8])) + (", ..." if len(self.labels) > 8 else "")
        hint = f"the labels are {known}"
        if isinstance(given, bool) and texts:
            hint += "; an unquoted yes, no, on or off is read as true or false: put the label in quotes"
        elif not isinstance(given, str) and texts:
            hint += "; the labels are strings: put the label in quotes"
        elif isinstance(given, str) and not texts:
            hint += "; write the label without quotes"
        elif near is not None:
            hint = f"the nearest is {near!r}"
        raise self.error(f"then: {shown(given)} is no label; {hint}")

    def value(self, given: Any) -> float:
        if self.labels is not None:
            raise self.error("then: the model answers with a label; write label in place of value")
        number = _number(given)
        if number is None:
            raise self.error(f"then: value must be a finite number, got {shown(given)}")
        return number

    def share(self, item: Mapping[str, Any], key: str, where: str) -> float | None:
        if key not in item:
            return None
        number = _number(item[key])
        if number is None or not 0 <= number <= 1:
            raise self.error(f"{where}{key} must be a number from 0 to 1, got {shown(item[key])}")
        return number

    def words(self, key: str) -> str | None:
        given = self.item.get(key)
        if key in self.item and (not isinstance(given, str) or len(given) > MAX_NOTE):
            raise self.error(f"{key} must be a string of at most {MAX_NOTE} characters, got {shown(given)}")
        return given


def _plain(given: Any) -> Any:
    """A numpy scalar as the Python value it stands for; anything else as it is."""
    return given.item() if isinstance(given, np.generic) else given


def _number(given: Any) -> float | None:
    """A finite double, None for anything else."""
    given = _plain(given)
    if isinstance(given, bool) or not isinstance(given, int | float):
        return None
    try:
        number = float(given)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def shown(given: Any) -> str:
    """What was given, short enough for a message."""
    if given is None or isinstance(given, bool):
        return {None: "nothing", True: "true", False: "false"}[given]
    if isinstance(given, Mapping):
        return "an object"
    if isinstance(given, list | tuple):
        return "a list"
    text = repr(given) if not isinstance(given, int) or abs(given) < 10**30 else "a huge integer"
    return text if len(text) <= 60 else f"{text[:57]}..."
