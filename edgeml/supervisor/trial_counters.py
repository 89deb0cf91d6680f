"""What a worker reports about a bundle that it serves, added up over the lives of the worker.

Counters only rise while a worker lives, and begin at 0 when one starts. A report of another life, or one in which the
number of requests has fallen, is taken as the first of a new life, as Prometheus' ``increase`` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_LABELS = 64
OTHER = "other"  # takes the answers whose label is not among the most frequent

_NUMBERS = (
    "requests",
    "model_errors",
    "invalid_outputs",
    "fallbacks",
    "deadline_misses",
    "rss_bytes",
    "golden_failures",
)
_CUMULATIVE = tuple(name for name in _NUMBERS if name != "rss_bytes")


@dataclass(frozen=True, slots=True)
class Counters:
    """One report of a worker about one bundle: totals since that worker loaded it.

    Attributes:
        requests: Questions that came: one for each record or row, however many a request carried.
        model_errors: Questions at which the model raised, whether the fallback answered or nobody.
        invalid_outputs: Questions at which it gave NaN, infinity, a wrong shape or a value out of range; not counted
            among ``model_errors``.
        fallbacks: Questions that the fallback answered; where there is no model, nothing has failed thereby.
        deadline_misses: Questions answered after their deadline.
        labels: Label -> answers of the model with it, of the 64 most frequent labels and ``other``; empty for what has
            no labels. A label that was named stays named as long as the worker lives, lest its count be added twice.
        rss_bytes: Resident memory of the whole worker now, in bytes; 0 where nobody knows.
        golden_failures: Self-tests on the bundle's golden rows that failed.
    """

    requests: int = 0
    model_errors: int = 0
    invalid_outputs: int = 0
    fallbacks: int = 0
    deadline_misses: int = 0
    labels: Mapping[str, int] = field(default_factory=dict)
    rss_bytes: int = 0
    golden_failures: int = 0

    def __post_init__(self) -> None:
        """Checks every number.

        Raises:
            ValueError: One is no count; the message names it.
        """
        for name in _NUMBERS:
            _check(name, getattr(self, name))
        if not isinstance(self.labels, Mapping) or len(self.labels) > MAX_LABELS + 1:
            raise ValueError(f"counters: labels must be an object of at most {MAX_LABELS + 1} counts")
        for label, count in self.labels.items():
            if not isinstance(label, str):
                raise ValueError(f"counters: labels: {label!r} is not a text")
            _check(f"labels[{label[:80]!r}]", count)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Counters:
        """Reads a report; what it does not name is 0.

        Raises:
            ValueError: It is no report; the message names the member.
        """
        if not isinstance(mapping, Mapping):
            raise ValueError(f"counters: must be an object, not {type(mapping).__name__}")
        for name in mapping:
            if name != "labels" and name not in _NUMBERS:
                raise ValueError(f"counters: unknown member {name!r}")
        return cls(**mapping)

    def to_mapping(self) -> dict[str, Any]:
        """The report, JSON-ready."""
        return {name: getattr(self, name) for name in _NUMBERS} | {"labels": dict(self.labels)}

    @property
    def failures(self) -> int:
        """Questions that the model did not answer properly: it raised, or its output was invalid."""
        return min(self.model_errors + self.invalid_outputs, self.requests)

    def share(self, name: str) -> float:
        """Value of a counter or of ``failures`` as a share of the requests, 0 to 1."""
        return min(getattr(self, name) / self.requests, 1.0) if self.requests else 0.0


class CounterSum:
    """The reports about one bundle, added up over the lives of the worker.

    Attributes:
        total: The sum; its ``rss_bytes`` is the highest that was seen.
    """

    __slots__ = ("_last", "_life", "total")

    def __init__(self, history: Counters | None = None) -> None:
        """Begins with the totals of lives that have ended.

        Args:
            history: Those totals; None for nothing.
        """
        self.total = history or Counters()
        self._last = Counters()
        self._life: int | None = None

    def add(self, report: Counters, life: int) -> Counters:
        """Adds a report.

        Args:
            report: Totals since the worker loaded the bundle.
            life: Number of the life of the worker.

        Returns:
            What has come since the report before.
        """
        last = self._last if life == self._life and report.requests >= self._last.requests else Counters()
        labels = {label: count - last.labels.get(label, 0) for label, count in report.labels.items()}
        more = Counters(
            # A counter that has fallen although its life goes on is a label that left the most frequent ones, or two
            # counters that were not read at one instant.
            **{name: max(getattr(report, name) - getattr(last, name), 0) for name in _CUMULATIVE},
            labels={label: count for label, count in labels.items() if count > 0},
            rss_bytes=report.rss_bytes,
        )
        self._last, self._life = report, life
        self.total = Counters(
            **{name: getattr(self.total, name) + getattr(more, name) for name in _CUMULATIVE},
            labels=_most_frequent(self.total.labels, more.labels),
            rss_bytes=max(self.total.rss_bytes, more.rss_bytes),
        )
        return more

    def to_document(self) -> dict[str, Any]:
        """Everything, JSON-ready."""
        return {"total": self.total.to_mapping(), "last": self._last.to_mapping(), "life": self._life}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> CounterSum:
        """Takes up what ``to_document`` gave.

        Raises:
            ValueError: It is not such a document.
        """
        if not isinstance(document, Mapping) or set(document) != {"total", "last", "life"}:
            raise ValueError("counters: a sum has total, last and life")
        life = document["life"]
        if life is not None and type(life) is not int:
            raise ValueError(f"counters: life must be a whole number or null, not {life!r}")
        counted = cls(Counters.from_mapping(document["total"]))
        counted._last = Counters.from_mapping(document["last"])
        counted._life = life
        return counted


def _most_frequent(labels: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    counts = dict(labels)
    for label, count in more.items():
        counts[label] = counts.get(label, 0) + count
    named = sorted((label for label in counts if label != OTHER), key=lambda label: (-counts[label], label))
    if len(named) > MAX_LABELS:
        counts[OTHER] = counts.get(OTHER, 0) + sum(counts.pop(label) for label in named[MAX_LABELS:])
    return counts


def _check(name: str, value: Any) -> None:
    if type(value) is not int or value < 0:
        raise ValueError(f"counters: {name} must be a whole number, 0 or more, not {value!r}")
