"""One rule: a condition, what to answer where it is true, and what is known about it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from edgeml.runtime.prediction import Label


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a learned rule's promise rests on; for readers, never needed to answer.

    Attributes:
        rows: Rows, held out from learning, on which the rule answered.
        right: Those of them on which it was right.
        lower: Lower bound of the share that it is right on.
        confidence: Probability that the bound holds, whatever rule was tried.
        tried: Rules that were tried, which the bound is corrected for.
        coverage: Share of all rows that the rule answered.
        agreement: Share of its answers that the model gives too.
    """

    rows: int | None = None
    right: int | None = None
    lower: float | None = None
    confidence: float | None = None
    tried: int | None = None
    coverage: float | None = None
    agreement: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; what is not given is left out."""
        given = {known.name: getattr(self, known.name) for known in fields(self)}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition and what to answer where it is true.

    Attributes:
        id: Distinct in its list.
        when: The condition's canonical text.
        label: The answer of a classification, else None.
        value: The answer of a regression, else None.
        score: How sure the label is, from 0 to 1; None where nobody said, and beside a value.
        abstains: Whether the model is to answer instead.
        note: Why the rule is there, for readers.
        provenance: Where the rule comes from, for readers.
        coverage: Share of the builder's rows on which the rule answered.
        precision: Share of these on which it was right.
        target: Share of its answers that the rule was promised to be right on.
        evidence: What the promise rests on.
        pinned: Whether learning keeps the rule as it is.
    """

    id: str
    when: str
    label: Label | None = None
    value: float | None = None
    score: float | None = None
    abstains: bool = False
    note: str | None = None
    provenance: str | None = None
    coverage: float | None = None
    precision: float | None = None
    target: float | None = None
    evidence: Evidence | None = None
    pinned: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; what is not given is left out."""
        then: dict[str, Any] = {"abstain": True} if self.abstains else {}
        document: dict[str, Any] = {"id": self.id, "when": self.when, "then": then}
        for key in ("label", "value", "score"):
            if getattr(self, key) is not None:
                then[key] = getattr(self, key)
        for key in ("note", "provenance", "coverage", "precision", "target"):
            if getattr(self, key) is not None:
                document[key] = getattr(self, key)
        if self.evidence is not None:
            document["evidence"] = self.evidence.to_dict()
        if self.pinned:
            document["pinned"] = True
        return document
