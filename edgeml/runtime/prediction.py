"""What comes out: one Prediction, or a PredictionBatch that makes Predictions on demand.

1. A Prediction is frozen and says which tier gave it and from which bundle.
2. A batch keeps arrays; asking for ``batch[i]`` builds that one Prediction.
3. Scores are keyed by the label's text, because JSON knows no other keys: Python and HTTP answers look alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import msgspec
import numpy as np
from numpy.typing import NDArray

Label = str | int | bool | float

# Codes stand in counters and ids of boxes: a new tier gets the next one.
RULE, MODEL, FALLBACK, MIDDLE = 0, 1, 2, 3
TIERS = ("rule", "model", "fallback", "middle")


class Prediction(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer for one record.

    Attributes:
        tier: ``rule``, ``middle``, ``model`` or ``fallback``: who gave the answer.
        label: The class, cluster or inlier/outlier mark; None for a regression.
        value: The number (several for a multi-output regression); None for a classification.
        scores: Score of each label, keyed by the label's text: probabilities where the model has them,
            else its decision values; for a rule its declared score, if any.
        rule: Id of the rule that fired, if one did.
        degraded: True where this is not the answer that the bundle was built to give.
        reason: Why it is degraded.
        bundle: Digest of the bundle that answered.
        version: The bundle's version label.
    """

    tier: str
    label: Label | None = None
    value: float | list[float] | None = None
    scores: dict[str, float] | None = None
    rule: str | None = None
    degraded: bool = False
    reason: str | None = None
    bundle: str = ""
    version: str = ""


class PredictionBatch(Sequence[Prediction]):
    """Predictions of n records, kept as arrays.

    Attributes:
        tiers: uint8[n]: index into ``TIERS``.
        label_index: int64[n]: index into ``labels`` where the model or the middle tier answered; None for a
            regression.
        values: float64[n] or [n, m]; None unless a regression.
        scores: [n, k], NaN rows where the model was not asked; None where the model has no scores.
        middle_scores: float64[n, k], NaN rows where the middle tier was not asked; None where there is none.
        rule_index: int32[n]: index of the rule that answered, -1 where none did.
        labels: The k labels in the order of the score columns.
        reasons: Row -> why the fallback answered it.
    """

    __slots__ = (
        "_bundle",
        "_fallback",
        "_rules",
        "_score_keys",
        "_version",
        "label_index",
        "labels",
        "middle_scores",
        "reasons",
        "rule_index",
        "scores",
        "tiers",
        "values",
    )

    def __init__(
        self,
        *,
        tiers: NDArray[np.uint8],
        rule_index: NDArray[np.int32],
        label_index: NDArray[np.int64] | None,
        values: NDArray[Any] | None,
        scores: NDArray[Any] | None,
        labels: tuple[Label, ...],
        score_keys: tuple[str, ...],
        rules: Sequence[Prediction | None],
        fallback: Prediction,
        reasons: dict[int, str],
        bundle: str,
        version: str,
        middle_scores: NDArray[np.float64] | None = None,
    ) -> None:
        self.tiers = tiers
        self.rule_index = rule_index
        self.label_index = label_index
        self.values = values
        self.scores = scores
        self.middle_scores = middle_scores
        self.labels = labels
        self.reasons = reasons
        self._score_keys = score_keys
        self._rules = rules
        self._fallback = fallback
        self._bundle = bundle
        self._version = version

    def __len__(self) -> int:
        return len(self.tiers)

    @overload
    def __getitem__(self, index: int) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice) -> list[Prediction]: ...
    def __getitem__(self, index: int | slice) -> Prediction | list[Prediction]:
        if isinstance(index, slice):
            return [self._one(i) for i in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(f"prediction {index} of {len(self)}")
        return self._one(index)

    def __iter__(self) -> Iterator[Prediction]:
        return map(self._one, range(len(self)))

    def _one(self, i: int) -> Prediction:
        tier = self.tiers[i]
        if tier == RULE:
            answer = self._rules[int(self.rule_index[i])]
            assert answer is not None  # an abstaining rule never marks a row as answered by RULE
            return answer
        if tier == FALLBACK:
            fallback: Prediction = msgspec.structs.replace(self._fallback, reason=self.reasons.get(i))
            return fallback
        scores = None
        if tier == MIDDLE:
            assert self.middle_scores is not None  # what it answered it has scored
            scores = dict(zip(map(str, self.labels), self.middle_scores[i].tolist(), strict=True))
        elif self.scores is not None:
            scores = dict(zip(self._score_keys, self.scores[i].tolist(), strict=True))
        return Prediction(
            tier=TIERS[tier],
            label=None if self.label_index is None else self.labels[self.label_index[i]],
            value=None if self.values is None else self.values[i].tolist(),
            scores=scores,
            bundle=self._bundle,
            version=self._version,
        )

    def tier_counts(self) -> dict[str, int]:
        """Rows that each tier answered; without a middle tier nothing is said of one."""
        counts = dict(zip(TIERS, np.bincount(self.tiers, minlength=len(TIERS)).tolist(), strict=True))
        if self.middle_scores is None:
            del counts[TIERS[MIDDLE]]
        return counts

    def label_list(self) -> list[Label | None]:
        """The label of every row, whichever tier gave it."""
        return [answer.label for answer in self]

    def value_list(self) -> list[float | list[float] | None]:
        """The value of every row, whichever tier gave it."""
        return [answer.value for answer in self]
