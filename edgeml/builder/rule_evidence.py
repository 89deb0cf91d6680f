"""A learned list as documents of rules: what each answers, what was proven, and words for people.

1. A candidate that was not proven abstains where a proven one follows (``rule_proof``), and is left out elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from edgeml.builder.rule_fingerprint import fingerprint, rule_id
from edgeml.builder.rule_learning import Candidate, Learned, LearnOptions, Proof
from edgeml.runtime.prediction import Label


def rule_documents(
    learned: Learned, labels: Sequence[Label], options: LearnOptions, *, taught_by: str = "the known answers"
) -> list[dict[str, Any]]:
    """The documents of the rules, in order.

    Args:
        learned: The list.
        labels: The labels.
        options: How it was learned.
        taught_by: What a right answer is.
    """
    last = max((at for at, proof in enumerate(learned.proofs) if proof.proven), default=-1)
    documents = []
    for candidate, proof in zip(learned.candidates[: last + 1], learned.proofs, strict=False):
        label = labels[candidate.label]
        then: dict[str, Any] = (
            {"label": label, "score": _told(proof.lower, options)} if proof.proven else {"abstain": True}
        )
        document: dict[str, Any] = {
            "id": rule_id(candidate.when, label),
            "when": candidate.when,
            "then": then,
            "note": note(candidate, proof, label, options, taught_by),
            "provenance": f"learned: {candidate.kind}, {taught_by}, seed {options.seed}, "
            f"fingerprint {fingerprint(candidate.when, then)}",
        }
        if proof.proven:
            document |= {"target": options.target, "evidence": evidence(proof, len(learned.candidates), options)}
        documents.append(document)
    return documents


def evidence(proof: Proof, tried: int, options: LearnOptions) -> dict[str, Any]:
    """What was proven of a rule, as its document holds it."""
    said: dict[str, Any] = {
        "rows": proof.rows,
        "right": proof.right,
        "lower": _told(proof.lower, options),
        "confidence": options.confidence,
        "tried": tried,
        "coverage": round(proof.coverage, 6),
    }
    if proof.agreement is not None:
        said["agreement"] = round(proof.agreement, 6)
    return said


def note(candidate: Candidate, proof: Proof, label: Label, options: LearnOptions, taught_by: str) -> str:
    """A sentence for people."""
    what = f"A scorecard of {candidate.conditions} conditions" if candidate.kind == "scorecard" else "A short rule"
    if not proof.proven:
        return (
            f"{what} for {label} that could not be proven ({proof.right} of {proof.rows} right): the model answers, "
            "and not the rules below, which were tested without these records."
        )
    return (
        f"{what} for {label}: right on {proof.right} of {proof.rows} records that it was not grown on, by "
        f"{taught_by}; at least {options.target:.1%} at {options.confidence:.0%} confidence, all rules together."
    )


def _told(lower: float, options: LearnOptions) -> float:
    """A proven bound as it is written: rounding takes it below the target only where it is below."""
    return max(rounded_down(lower), options.target) if lower >= options.target else rounded_down(lower)


def rounded_down(share: float) -> float:
    """A share to four digits, never above what was proven."""
    return math.floor(share * 10_000) / 10_000
