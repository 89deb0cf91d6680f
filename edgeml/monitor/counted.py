"""What a process has counted of one bundle, as it travels, is added up, and is kept.

1. A process counts upwards from the moment at which it loaded the bundle, and sends the whole count now and then. One
   that dies takes with it what it counted since then, and nothing else.
2. ``Total`` adds up the counts of one process after another. A newer count of the same process takes the place of the
   one before; the first of another process is added to what there was. So whoever dies when, nothing is counted twice,
   and no total ever falls.
"""

from __future__ import annotations

import binascii
import sys
import zlib
from array import array
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, Self, TypeVar

from edgeml.kernels.histogram import Histogram
from edgeml.monitor.quality import Quality
from edgeml.monitor.validation import added

TIERS = ("rule", "middle", "model", "fallback")
_MOST_BYTES = 64 * 1024 * 1024


class Countable(Protocol):
    """Counts that add up."""

    def __add__(self, other: Self) -> Self: ...
    def is_behind(self, other: Self) -> bool: ...
    def to_document(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class DriftCounts:
    """Counts of a bundle's columns (``drift_layout``).

    Attributes:
        rows: Records counted.
        counts: int64, by the layout's bins.
        sums: float64, (sum, sum of squares) of each column of numbers.
    """

    rows: int
    counts: array[int]
    sums: array[float]

    @classmethod
    def nothing(cls, size: int, n_numbers: int) -> DriftCounts:
        """No counts of a layout.

        Args:
            size: Its counters.
            n_numbers: Its columns of numbers.
        """
        return cls(0, array("q", bytes(8 * size)), array("d", bytes(16 * n_numbers)))

    @classmethod
    def from_document(cls, document: Mapping[str, Any], size: int, n_numbers: int) -> DriftCounts:
        """Reads what ``DriftMonitor.document`` or ``to_document`` gave.

        Raises:
            ValueError: It is no such document, or one of another layout.
        """
        counts, sums = array("q"), array("d")
        try:
            counts.frombytes(_unpacked(b64decode(document["columns"], validate=True)))
            sums.frombytes(b64decode(document["sums"], validate=True))
        except (KeyError, TypeError, binascii.Error, zlib.error) as error:
            raise ValueError(f"counts: {error!r}") from error
        if sys.byteorder != "little":
            counts.byteswap()
            sums.byteswap()
        if len(counts) != size or len(sums) != 2 * n_numbers or min(counts, default=0) < 0:
            raise ValueError(f"counts: {len(counts)} counters and {len(sums)} sums are not the layout's")
        return cls(_count(document, "rows"), counts, sums)

    def to_document(self) -> dict[str, Any]:
        """JSON-ready."""
        counts, sums = array("q", self.counts), array("d", self.sums)
        if sys.byteorder != "little":
            counts.byteswap()
            sums.byteswap()
        packed = zlib.compress(counts.tobytes(), 6)
        return {"rows": self.rows, "columns": b64encode(packed).decode(), "sums": b64encode(sums.tobytes()).decode()}

    def __add__(self, other: DriftCounts) -> DriftCounts:
        return DriftCounts(
            self.rows + other.rows,
            array("q", (a + b for a, b in zip(self.counts, other.counts, strict=True))),
            array("d", (a + b for a, b in zip(self.sums, other.sums, strict=True))),
        )

    def is_behind(self, other: DriftCounts) -> bool:
        """Whether some counter stands lower."""
        return self.rows < other.rows or any(a < b for a, b in zip(self.counts, other.counts, strict=True))


@dataclass(frozen=True)
class Answered:
    """Counts of a bundle's answers beside their distribution.

    Attributes:
        latency: By tier.
        missed: Answers that came after their deadline.
        validation: See ``validation``.
        unknown: Unknown fields that were passed over, by name.
        capture: Records captured and dropped, labels joined.
        quality: See ``quality``; None where nobody counts it.
        audit: See ``audit_counts``; empty where nobody audits.
    """

    latency: Mapping[str, Histogram] = field(default_factory=dict)
    missed: int = 0
    validation: Mapping[str, Any] = field(default_factory=dict)
    unknown: Mapping[str, int] = field(default_factory=dict)
    capture: Mapping[str, int] = field(default_factory=dict)
    quality: Quality | None = None
    audit: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Answered:
        """Reads what ``Engine.watched`` or ``to_document`` gave.

        Raises:
            ValueError: It is no such document.
        """
        try:
            latency = {
                tier: Histogram.from_bytes(b64decode(text, validate=True))
                for tier, text in document["latency"].items()
                if tier in TIERS
            }
            return cls(
                latency,
                _count(document, "missed"),
                _counts_of(document["validation"]),
                _counts_of(document["unknown"]),
                _counts_of(document["capture"]),
                None if document["quality"] is None else Quality.from_document(document["quality"]),
                # What an older edgeml has kept, or counts, has none.
                _audits_of(document.get("audit", {})),
            )
        except (KeyError, TypeError, AttributeError, binascii.Error) as error:
            raise ValueError(f"answers: {error!r}") from error

    def to_document(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "latency": {tier: b64encode(each.to_bytes()).decode() for tier, each in self.latency.items()},
            "missed": self.missed,
            "validation": self.validation,
            "unknown": self.unknown,
            "capture": self.capture,
            "quality": None if self.quality is None else self.quality.to_document(),
            "audit": self.audit,
        }

    def __add__(self, other: Answered) -> Answered:
        latency = {}
        for tier in self.latency.keys() | other.latency.keys():
            latency[tier] = Histogram()
            for one in (self.latency.get(tier), other.latency.get(tier)):
                if one is not None:
                    latency[tier].merge(one)
        return Answered(
            latency,
            self.missed + other.missed,
            added(self.validation, other.validation),
            added(self.unknown, other.unknown),
            added(self.capture, other.capture),
            other.quality
            if self.quality is None
            else self.quality
            if other.quality is None
            else self.quality.add(other.quality),
            added(self.audit, other.audit),
        )

    def is_behind(self, other: Answered) -> bool:
        """Whether fewer answers were counted in some tier."""
        return any(
            tier not in self.latency or self.latency[tier].count < each.count for tier, each in other.latency.items()
        )

    @property
    def answers(self) -> dict[str, int]:
        """Answers by tier."""
        return {tier: self.latency[tier].count if tier in self.latency else 0 for tier in TIERS}

    @property
    def refused(self) -> int:
        """Records that broke the schema."""
        return int(self.validation.get("records", 0))

    def together(self) -> Histogram:
        """The latency of all tiers."""
        whole = Histogram()
        for each in self.latency.values():
            whole.merge(each)
        return whole


T = TypeVar("T", bound=Countable)


class Total(Generic[T]):
    """The sum over the processes that served a bundle, one after another.

    Args:
        nothing: Where it begins.

    Attributes:
        ended: The sum over the processes that are no more.
        running: The newest count of the one that runs.
        key: Names that process, and its loading of the bundle; empty where none has reported.
    """

    def __init__(self, nothing: T) -> None:
        self.ended = nothing
        self.running: T | None = None
        self.key = ""

    def take(self, key: str, counted: T) -> bool:
        """Takes a newer count.

        Args:
            key: Whose it is.
            counted: What was counted so far.

        Returns:
            Whether it was taken; a count that is behind the one before it, of the same process, is not.
        """
        if key == self.key and self.running is not None:
            if counted.is_behind(self.running):
                return False
        else:
            self.ended = self.now
            self.key = key
        self.running = counted
        return True

    @property
    def now(self) -> T:
        """The sum."""
        return self.ended if self.running is None else self.ended + self.running

    def to_document(self) -> dict[str, Any]:
        """JSON-ready. The running one stands apart: it may outlive whoever keeps this."""
        running = None if self.running is None else self.running.to_document()
        return {"ended": self.ended.to_document(), "running": running, "key": self.key}


def _count(document: Mapping[str, Any], name: str) -> int:
    value = document[name]
    if type(value) is not int or value < 0:
        raise ValueError(f"{name} is a count, not {value!r}")
    return value


def _counts_of(document: Any) -> dict[str, Any]:
    """A document of counts, of any depth; checked, for it may come off a disk."""
    if not isinstance(document, dict):
        raise ValueError(f"counts are an object, not {type(document).__name__}")
    for key, value in document.items():
        if isinstance(value, dict):
            _counts_of(value)
        elif isinstance(value, list):
            if not all(type(each) in (int, float) for each in value):
                raise ValueError(f"{key!r} is a list of numbers")
        elif type(value) not in (int, float) or value < 0:
            raise ValueError(f"{key!r} is a count, not {value!r}")
    return document


def _audits_of(document: Any) -> dict[str, Any]:
    """Counts of audits: pairs [audited, agreed] by tier and by rule."""
    counts = _counts_of(document)
    for name in ("tiers", "rules"):
        for key, pair in counts.get(name, {}).items():
            if len(pair) != 2 or not all(type(each) is int for each in pair) or not 0 <= pair[1] <= pair[0]:
                raise ValueError(f"audits of {key!r} are [audited, agreed], not {pair!r}")
    return counts


def _unpacked(data: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    whole = unpacker.decompress(data, _MOST_BYTES)
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise ValueError("the counts are cut off, or too many")
    return whole
