"""What each rule answers: a constant, made once."""

from __future__ import annotations

from edgeml.runtime.prediction import Prediction
from edgeml.runtime.rules import RuleList


def rule_answers(rules: RuleList | None, *, bundle: str, version: str) -> tuple[Prediction | None, ...]:
    """The answer of each rule, in order; None for a rule that abstains.

    Args:
        rules: The rules of a bundle, None where it has none.
        bundle: Digest of the bundle.
        version: Version label of the bundle.
    """
    answers: list[Prediction | None] = []
    for rule in rules.rules if rules is not None else ():
        if rule.abstains:
            answers.append(None)
            continue
        scored = rule.score is not None and rule.label is not None
        answers.append(
            Prediction(
                tier="rule",
                label=rule.label,
                value=rule.value,
                scores={str(rule.label): float(rule.score or 0.0)} if scored else None,
                rule=rule.id,
                bundle=bundle,
                version=version,
            )
        )
    return tuple(answers)
