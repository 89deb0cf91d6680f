"""The last few sub-windows of a stream of counts: a ring of closed ones and the open one, in constant memory.

1. What comes in are totals: counters that only grow. A sub-window is the difference of the totals at its two ends, so
   that a reading which is missed or comes twice loses and doubles nothing.
2. The open sub-window closes at the first reading at which it has ``rows`` or more rows AND is ``seconds`` or more old.
   So however busy the box, there are at most 86,400 / seconds closings a day, which the alarms' budget relies upon.
3. The ring keeps the last ``kept`` closed ones. A *suffix* is the open one with the n newest closed ones, n = 0 to
   ``kept``: what has happened since one of the last few closings.
4. Rings of equal layout merge by addition of their suffixes: counts are integers, and nothing else is kept.

Seconds are those of any clock that the caller likes, as long as it is always the same one. Where it went back (another
clock after a restart) the age of the open sub-window begins anew.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ROWS = 500
SECONDS = 60.0
KEPT = 8
_MOST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class SubWindow:
    """What was counted between two readings.

    Attributes:
        counts: By bin, all columns one after the other.
        rows: Number of rows.
    """

    counts: array[int]
    rows: int


class SubWindows:
    """A ring of sub-windows over one block of counters.

    Attributes:
        size: Number of counters.
        rows: Rows that a sub-window has at least.
        seconds: Age that it has at least.
        kept: Closed sub-windows that are kept.
        closings: Sub-windows that were ever closed.
    """

    __slots__ = ("_began", "_began_at", "_began_rows", "_closed", "_now", "closings", "kept", "rows", "seconds", "size")

    def __init__(self, size: int, *, rows: int = ROWS, seconds: float = SECONDS, kept: int = KEPT) -> None:
        """Makes an empty ring, with counters at zero and an open sub-window that begins with the first reading.

        Raises:
            ValueError: A setting is out of its range.
        """
        if size < 0 or rows < 1 or not 0 <= seconds < math.inf or kept < 1:
            raise ValueError(
                f"a ring needs rows >= 1, seconds >= 0 and kept >= 1; got {rows}, {seconds}, {kept} for {size} counters"
            )
        self.size = size
        self.rows = rows
        self.seconds = seconds
        self.kept = kept
        self.closings = 0
        self._closed: deque[SubWindow] = deque(maxlen=kept)
        self._began = array("q", bytes(8 * size))
        self._began_rows = 0
        self._began_at: float | None = None
        self._now = SubWindow(array("q", bytes(8 * size)), 0)

    def read(self, totals: Sequence[int], rows: int, now: float) -> bool:
        """Takes a reading of the counters.

        Args:
            totals: All counters, since ever.
            rows: Rows since ever.
            now: Seconds.

        Returns:
            Whether a sub-window was closed.

        Raises:
            ValueError: There are more or fewer counters, or one is smaller than it was; the ring stays as it was.
        """
        if len(totals) != self.size:
            raise ValueError(f"{len(totals)} counters came, and the layout has {self.size}")
        counts = array("q", (after - before for after, before in zip(totals, self._began, strict=True)))
        grown = SubWindow(counts, rows - self._began_rows)
        if grown.rows < self._now.rows or any(a < b for a, b in zip(counts, self._now.counts, strict=True)):
            raise ValueError("a counter went back; tell the ring of a new start with begin()")
        if self._began_at is None or now < self._began_at:
            self._began_at = now
        self._now = grown
        if grown.rows < self.rows or now - self._began_at < self.seconds:
            return False
        self._closed.append(SubWindow(_compact(counts), grown.rows))
        self.closings += 1
        self.begin(totals, rows, now)
        return True

    def begin(self, totals: Sequence[int], rows: int, now: float) -> None:
        """Begins the open sub-window anew, with counters that stand at ``totals``; what it had is forgotten.

        Raises:
            ValueError: There are more or fewer counters; the ring stays as it was.
        """
        if len(totals) != self.size:
            raise ValueError(f"{len(totals)} counters came, and the layout has {self.size}")
        self._began = array("q", totals)
        self._began_rows, self._began_at = rows, now
        self._now = SubWindow(array("q", bytes(8 * self.size)), 0)

    @property
    def open(self) -> SubWindow:
        """The sub-window that still grows."""
        return self._now

    @property
    def closed(self) -> tuple[SubWindow, ...]:
        """The closed ones that are kept, oldest first."""
        return tuple(self._closed)

    def suffixes(self, start: int = 0, bins: int | None = None) -> Iterator[list[int]]:
        """What has been counted since the last closing, since the one before, and so on.

        Args:
            start: Where the column begins in the block.
            bins: How many counters it has; all that follow where not given.

        Returns:
            Counts of the column, the shortest suffix (the open sub-window) first.
        """
        stop = self.size if bins is None else start + bins
        counts = list(self._now.counts[start:stop])
        yield counts
        for window in reversed(self._closed):
            counts = [a + b for a, b in zip(counts, window.counts[start:stop], strict=True)]
            yield counts

    def to_document(self) -> dict[str, Any]:
        """The ring, JSON-ready. The readings themselves are kept too, so that it goes on where it was."""
        return {
            "closings": self.closings,
            "began": list(self._began),
            "began_rows": self._began_rows,
            "open": {"rows": self._now.rows, "counts": list(self._now.counts)},
            "closed": [{"rows": window.rows, "counts": list(window.counts)} for window in self._closed],
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        """Takes up what ``to_document`` gave, instead of what is there; the open one's age begins anew.

        Raises:
            ValueError: It is not such a document for this layout; the ring stays as it was.
        """
        members = {"closings", "began", "began_rows", "open", "closed"}
        if not isinstance(document, Mapping) or set(document) != members:
            raise ValueError(f"a ring of sub-windows has the members {', '.join(sorted(members))}")
        closings = _count(document["closings"], "closings")
        began = self._counters(document["began"], "began")
        began_rows = _count(document["began_rows"], "began_rows")
        now = self._window(document["open"], "open")
        closed = document["closed"]
        if not isinstance(closed, list) or len(closed) > min(self.kept, closings):
            raise ValueError(f"member 'closed' has at most {min(self.kept, closings)} sub-windows")
        read = [self._window(window, f"closed[{i}]") for i, window in enumerate(closed)]
        windows = [SubWindow(_compact(window.counts), window.rows) for window in read]
        self.closings, self._began, self._began_rows, self._began_at = closings, began, began_rows, None
        self._now = now
        self._closed = deque(windows, maxlen=self.kept)

    def _window(self, document: Any, member: str) -> SubWindow:
        if not isinstance(document, Mapping) or set(document) != {"rows", "counts"}:
            raise ValueError(f"member '{member}' is no sub-window of rows and counts")
        return SubWindow(
            self._counters(document["counts"], f"{member}.counts"), _count(document["rows"], f"{member}.rows")
        )

    def _counters(self, values: Any, member: str) -> array[int]:
        if not isinstance(values, list) or len(values) != self.size:
            raise ValueError(f"member '{member}' has not the layout's {self.size} counters")
        return array("q", (_count(value, member) for value in values))


def _compact(counts: array[int]) -> array[int]:
    """The same in half of the memory, but for a sub-window with more than 2^32 of anything."""
    return array("I", counts) if max(counts, default=0) < 2**32 else counts


def _count(value: Any, member: str) -> int:
    if type(value) is not int or not 0 <= value <= _MOST:
        raise ValueError(f"member '{member}' has {value!r} where a count should be")
    return value
