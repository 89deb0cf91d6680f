"""What audits have said of the answers of early tiers: counts of one bundle, in constant memory.

An audit asks the whole model about a record that a rule, or another early tier, has answered already, and compares.
"""

from __future__ import annotations

import threading
from typing import Any


class AuditCounts:
    """Counts of one bundle. Any thread may call any method.

    Attributes:
        seen: How often anything was counted.
    """

    __slots__ = ("_dropped", "_failed", "_lock", "_rules", "_tiers", "seen")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tiers: dict[str, list[int]] = {}
        self._rules: dict[int, list[int]] = {}
        self._dropped = 0
        self._failed = 0
        self.seen = 0

    def audited(self, tier: str, agrees: bool, *, rule: int | None = None) -> None:
        """Counts an answer that the model was asked about too.

        Args:
            tier: Who had answered.
            agrees: Whether the model answers alike.
            rule: Index of the rule, if one had answered.
        """
        with self._lock:
            self.seen += 1
            _add(self._tiers.setdefault(tier, [0, 0]), agrees)
            if rule is not None:
                _add(self._rules.setdefault(rule, [0, 0]), agrees)

    def dropped(self, count: int) -> None:
        """Counts answers that were drawn, and for which there was no room or no time."""
        with self._lock:
            self.seen += 1
            self._dropped += count

    def failed(self, count: int) -> None:
        """Counts answers about which the model was asked and gave none."""
        with self._lock:
            self.seen += 1
            self._failed += count

    def document(self) -> dict[str, Any]:
        """All counts, JSON-ready; they only rise.

        Returns:
            ``tiers`` and ``rules`` (by index): [audited, agreed]; ``dropped`` and ``failed``.
        """
        with self._lock:
            return {
                "tiers": {tier: list(counts) for tier, counts in self._tiers.items()},
                "rules": {str(rule): list(counts) for rule, counts in self._rules.items()},
                "dropped": self._dropped,
                "failed": self._failed,
            }


def _add(counts: list[int], agrees: bool) -> None:
    counts[0] += 1
    counts[1] += agrees
