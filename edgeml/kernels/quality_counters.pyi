"""Counters of how good answers are expected to be, and the ids by which labels find their way back to them.

1. With scores that are probabilities, or that a calibration makes so, each answer says itself how likely it is to be
   right. Three integers for each label are enough for the expected confusion of that label with all others: how often
   it was given, and the sum of its probability over the rows that were given it, and over the rows that were not.
2. Scores become probabilities by one step function for each label. Where there is a calibration, the probabilities of
   a row are divided by their sum.
3. An id holds all that a label needs to be counted later; nothing is kept for it.
4. Any thread may call any method.
"""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

class QualityCounters:
    """Counters of one bundle; start at zero.

    Args:
        labels: The labels in the order of the scores; none for a regression.
        rules: Ids of the rules, in their order.
        bundle: The first four bytes of the bundle's digest.
        scored: Whether scores are probabilities, or become so by ``calibration``. More than 64 labels are not scored.
        calibration: For each label ``(edges, values)``: a score below ``edges[0]`` has the probability ``values[0]``,
            one of at least ``edges[i]`` and below ``edges[i + 1]`` has ``values[i + 1]``. At most 64 values; a label
            without any keeps its score, cut to 0 and 1. None: all scores are kept as they are.

    Raises:
        ValueError: A calibration does not fit.
    """

    def __init__(
        self,
        labels: Sequence[Any],
        rules: Sequence[str],
        bundle: bytes,
        *,
        scored: bool = False,
        calibration: Sequence[tuple[Sequence[float], Sequence[float]]] | None = None,
    ) -> None: ...
    def count(self, answer: Any) -> None:
        """Counts one answer.

        Args:
            answer: Has ``tier``, ``label``, ``scores`` and ``rule``.
        """

    def count_model(self, label: Any, scores: dict[str, float] | None) -> None:
        """Counts an answer of the model.

        Args:
            label: Its label; None for a regression.
            scores: One number for each label, in the order of the labels; None where there are none.
        """

    def count_labels(self, given: NDArray[Any]) -> None:
        """Counts the labels of a batch's answers by the model, which ``count_models`` does not.

        Args:
            given: int64[k]; how often each label was given.

        Raises:
            ValueError: There are not as many labels.
        """

    def labels(self) -> list[int]:
        """How often the model gave each label."""

    def count_models(self, tiers: NDArray[Any], label_index: NDArray[Any], scores: NDArray[Any]) -> None:
        """Counts those rows of a batch that the model answered.

        Args:
            tiers: uint8[n]; 1 where the model answered.
            label_index: int64[n].
            scores: float32 or float64 [n, k].

        Raises:
            ValueError: The arrays do not fit each other.
        """

    def count_unscored(self, count: int) -> None:
        """Counts answers of the model that say nothing about how likely they are."""

    def count_rule(self, rule: str | None) -> None:
        """Counts an answer of a rule."""

    def count_rules(self, rule_index: NDArray[Any]) -> None:
        """Counts the answers of rules in a batch.

        Args:
            rule_index: int32[n]: index of the rule; -1 where none answered.
        """

    def count_middles(self, tiers: NDArray[Any], label_index: NDArray[Any]) -> None:
        """Counts those rows of a batch that the middle tier answered.

        Args:
            tiers: uint8[n]; 3 where it answered.
            label_index: int64[n].

        Raises:
            ValueError: The arrays do not fit each other.
        """

    def count_fallback(self, count: int = 1) -> None:
        """Counts answers of the fallback."""

    def counts(self) -> dict[str, Any]:
        """What was counted.

        Returns:
            ``labels``: for each label how often the model gave it, the sum of its probability over these rows, and
            over the other rows, in units of 2**-30; empty where nothing is scored. ``unscored``: other answers of the
            model. ``rules``: how often each rule answered. ``fallback``: how often the fallback did. ``middle``: index
            of a label, as text -> how often the middle tier gave it.
        """

    def id_of_model(self, label: Any, scores: dict[str, float] | None) -> bytes:
        """The opening ``{"id":"...",`` of a JSON object for an answer of the model.

        Raises:
            ValueError: There is no such label.
        """

    def id_of_value(self, value: float) -> bytes:
        """The same for a number that the model gave."""

    def id_of_middle(self, label: Any) -> bytes:
        """The same for an answer of the middle tier.

        Raises:
            ValueError: There is no such label.
        """

    def id_of_rule(self, rule: str | None) -> bytes:
        """The same for an answer of a rule.

        Raises:
            ValueError: There is no such rule.
        """

    def id_of_fallback(self) -> bytes:
        """The same for an answer of the fallback."""
