"""The same bundle with other tiers before its model; nothing is read or opened again."""

from __future__ import annotations

from edgeml.runtime.middle import MiddleTier
from edgeml.runtime.predictor import Predictor
from edgeml.runtime.rules import RuleList


def with_tiers(predictor: Predictor, *, rules: RuleList | None = None, middle: MiddleTier | None = None) -> Predictor:
    """A predictor that shares the model of another one, and counts nothing.

    Args:
        predictor: The bundle.
        rules: The rules asked first; None: none are.
        middle: The middle tier; None: the model answers what rules have left.
    """
    return Predictor(
        config=predictor.config,
        digest=predictor.digest,
        schema=predictor.schema,
        rules=rules,
        program=predictor.program,
        session=predictor.session,
        max_rows=predictor.reader.max_rows,
        pictures=predictor.pictures,
        middle=middle,
    )
