"""What labels that came later say about the answers: counts, in constant memory."""

from __future__ import annotations

import threading
from typing import Any

# Labels beyond these are one, in the confusion counts alone; whether an answer was right is counted exactly.
MOST_LABELS = 64
# Equal parts of 0 to 1 in which expected and real shares of right answers are compared.
RELIABILITY_BINS = 10
PART = 1 << 30


class FeedbackCounts:
    """Counts of one bundle. Any thread may call any method."""

    __slots__ = ("_confusion", "_errors", "_lock", "_reliability", "_rules", "_tiers")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tiers: dict[str, list[int]] = {}
        self._rules: dict[int, list[int]] = {}
        self._confusion: dict[tuple[str, int, int], int] = {}
        self._reliability = [[0, 0, 0] for _ in range(RELIABILITY_BINS)]
        self._errors: dict[str, list[float]] = {}

    def label(self, tier: str, given: int, true: int, *, rule: int | None = None, chance: float | None = None) -> None:
        """Counts a known label.

        Args:
            tier: Who answered.
            given: Index of the label that was answered.
            true: Index of the label that was right.
            rule: Index of the rule, if one answered.
            chance: How likely the answer was said to be right, where that is known.
        """
        right = given == true
        place = (tier, min(given, MOST_LABELS), min(true, MOST_LABELS))
        with self._lock:
            _add(self._tiers.setdefault(tier, [0, 0]), 1, right)
            self._confusion[place] = self._confusion.get(place, 0) + 1
            if rule is not None:
                _add(self._rules.setdefault(rule, [0, 0]), 1, right)
            if chance is not None:
                place_of = min(int(chance * RELIABILITY_BINS), RELIABILITY_BINS - 1)
                _add(self._reliability[place_of], 1, right, round(chance * PART))

    def error(self, tier: str, error: float) -> None:
        """Counts a known number.

        Args:
            tier: Who answered.
            error: The answer less the truth.
        """
        with self._lock:
            _add(self._errors.setdefault(tier, [0, 0.0, 0.0]), 1, abs(error), error * error)

    def document(self) -> dict[str, Any]:
        """The counts; see ``quality.Quality``."""
        with self._lock:
            return {
                "tiers": {tier: list(counts) for tier, counts in self._tiers.items()},
                "rules": {str(rule): list(counts) for rule, counts in self._rules.items()},
                "confusion": {f"{tier},{given},{true}": n for (tier, given, true), n in self._confusion.items()},
                "reliability": [list(counts) for counts in self._reliability],
                "errors": {tier: list(counts) for tier, counts in self._errors.items()},
            }


def _add(counts: list[Any], *more: float) -> None:
    for place, number in enumerate(more):
        counts[place] += number
