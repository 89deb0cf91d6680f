"""What one bundle did since it was loaded, in the numbers by which a trial is judged.

Counting happens beside the request path, so it is cheap rather than exact: two threads that count at the same instant
may lose one. Failures are rare and are counted under a lock.
"""

from __future__ import annotations

import threading
from typing import Any

MAX_LABELS = 64
OTHER = "other"


class Tally:
    """Counters of one bundle. Any thread may call any method.

    Args:
        deadline_ns: An answer that took longer missed its deadline; None where the bundle promises none.
    """

    __slots__ = (
        "_labels",
        "_lock",
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
        self._labels: dict[Any, int] = {}
        self._lock = threading.Lock()

    def label(self, label: Any, count: int = 1) -> None:
        """Counts answers of the model with a label."""
        labels = self._labels
        labels[label] = labels.get(label, 0) + count

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

    def document(self, requests: int, *, rss_bytes: int = 0) -> dict[str, Any]:
        """The counters as the supervisor takes them.

        Args:
            requests: Questions answered; the latency histograms know. Those that nobody answered are added.
            rss_bytes: Resident memory of this process, in bytes.
        """
        # In the order of their first answer: a label that was once named must stay named, or it would count twice.
        labels = list(self._labels.copy().items())
        shown = {str(label): count for label, count in labels[:MAX_LABELS]}
        rest = sum(count for _, count in labels[MAX_LABELS:])
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
