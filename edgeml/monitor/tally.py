"""What one bundle did since it was loaded, in the numbers by which a trial is judged.

Counting happens beside the request path, so it is cheap rather than exact: two threads that count at the same instant
may lose one. Failures are rare and are counted under a lock.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

MAX_LABELS = 64
OTHER = "other"


class Tally:
    """Counters of one bundle. Any thread may call any method.

    Args:
        deadline_ns: An answer that took longer missed its deadline; None where the bundle promises none.
    """

    __slots__ = (
        "_lock",
        "_named",
        "deadline_ns",
        "deadline_misses",
        "fallbacks",
        "golden_failures",
        "invalid_outputs",
        "model_errors",
        "unanswered",
    )

    def __init__(self, deadline_ns: int | None = None) -> None:
        self.deadline_ns = deadline_ns
        self.model_errors = 0
        self.invalid_outputs = 0
        self.fallbacks = 0
        self.unanswered = 0
        self.deadline_misses = 0
        self.golden_failures = 0
        # Labels in the order of their first answer, as far as a report names them.
        self._named: dict[Any, None] = {}
        self._lock = threading.Lock()

    def failed(self, *, invalid: bool, count: int = 1, answered: bool = True) -> None:
        """Counts questions that the model failed.

        Args:
            invalid: The model answered, and its answer was unusable; otherwise it raised.
            count: How many.
            answered: The fallback answered; otherwise nobody did, and no latency was observed.
        """
        with self._lock:
            if invalid:
                self.invalid_outputs += count
            else:
                self.model_errors += count
            if answered:
                self.fallbacks += count
            else:
                self.unanswered += count

    def fell_back(self, count: int = 1) -> None:
        """Counts answers that the fallback gave although nothing failed: there is no model."""
        with self._lock:
            self.fallbacks += count

    def missed(self, count: int = 1) -> None:
        """Counts answers that came after their deadline."""
        with self._lock:
            self.deadline_misses += count

    def golden_failed(self) -> None:
        """Counts a self-test that failed."""
        with self._lock:
            self.golden_failures += 1

    def document(self, requests: int, labels: Mapping[Any, int], *, rss_bytes: int = 0) -> dict[str, Any]:
        """The counters as the supervisor takes them.

        Args:
            requests: Questions answered; the latency histograms know. Those that nobody answered are added.
            labels: How often the model gave each label; the quality counters know.
            rss_bytes: Resident memory of this process, in bytes.
        """
        given = {label: count for label, count in labels.items() if count}
        # A label that was once named must stay named, or it would count twice.
        for label in given:
            if label not in self._named and len(self._named) < MAX_LABELS:
                self._named[label] = None
        shown = {str(label): given[label] for label in self._named}
        rest = sum(given.values()) - sum(shown.values())
        return {
            "requests": requests + self.unanswered,
            "model_errors": self.model_errors,
            "invalid_outputs": self.invalid_outputs,
            "fallbacks": self.fallbacks,
            "deadline_misses": self.deadline_misses,
            "golden_failures": self.golden_failures,
            "labels": shown | {OTHER: rest} if rest else shown,
            "rss_bytes": rss_bytes,
        }
