"""How fast a budget of bad events burns: counts in sliding windows, in constant memory.

1. Events are counted in slots of equal length. A window is the current slot and as many before it as cover the length
   asked for: never shorter than asked, and less than one slot longer.
2. The burn rate is (bad / all) / budget, where the budget is the share that may be bad: at rate 1 the budget of a
   month lasts a month. A rate of 14.4 for an hour spends 2 % of it (Site Reliability Workbook, chapter 5).
3. Two windows must both burn: the long one so that a blip is no alarm, the short one so that an alarm ends when its
   cause does. With little traffic one bad event is a large share, so the long window must hold some number of them.

Times are seconds of any clock that the caller likes, as long as it is always the same one. One that goes back counts
into the newest slot.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Events:
    """What happened in a window.

    Attributes:
        bad: Number of bad events.
        total: Number of all events; it may lag behind ``bad``, where two counters were not read at one instant.
    """

    bad: int
    total: int

    @property
    def share(self) -> float:
        """The bad share, 0 to 1; 0 where nothing bad happened."""
        return min(self.bad / self.total, 1.0) if self.total else float(self.bad > 0)


class EventRing:
    """Bad and all events of the last while, slot by slot.

    Attributes:
        window_s: Length of the window, in seconds.
        slot_s: Length of a slot, in seconds.
    """

    __slots__ = ("_reach", "_slots", "slot_s", "window_s")

    def __init__(self, window_s: float, slot_s: float) -> None:
        """Makes an empty ring.

        Raises:
            ValueError: A length is not positive and finite, or the slot is longer than the window.
        """
        if not (0 < slot_s <= window_s < math.inf):
            raise ValueError(f"a window of {window_s} s cannot have slots of {slot_s} s")
        self.window_s = window_s
        self.slot_s = slot_s
        self._reach = math.ceil(window_s / slot_s)
        # slot number -> [bad, all]; only slots in which something happened, at most _reach + 1 of them, in order
        self._slots: dict[int, list[int]] = {}

    def add(self, now: float, bad: int, total: int) -> None:
        """Counts events.

        Args:
            now: Seconds.
            bad: How many of them were bad; more than ``total`` if their total comes with a later call.
            total: How many there were.

        Raises:
            ValueError: A count is negative.
        """
        if bad < 0 or total < 0:
            raise ValueError(f"{bad} bad events of {total}")
        if not bad and not total:
            return
        number = self._number(now)
        if self._slots:
            number = max(number, next(reversed(self._slots)))
        counts = self._slots.setdefault(number, [0, 0])
        counts[0] += bad
        counts[1] += total
        for old in [slot for slot in self._slots if slot < number - self._reach]:
            del self._slots[old]

    def events(self, now: float, within_s: float | None = None) -> Events:
        """What happened in the window that ends now.

        Args:
            now: Seconds.
            within_s: Length of a shorter window, in seconds; None for the ring's own.
        """
        reach = self._reach if within_s is None else min(self._reach, math.ceil(within_s / self.slot_s))
        first = self._number(now) - reach
        inside = [counts for slot, counts in self._slots.items() if slot >= first]
        return Events(sum(bad for bad, _ in inside), sum(total for _, total in inside))

    def to_document(self) -> list[list[int]]:
        """The slots, JSON-ready: ``[number, bad, all]`` each, in order."""
        return [[number, bad, total] for number, (bad, total) in self._slots.items()]

    def restore(self, document: Sequence[Sequence[int]]) -> None:
        """Takes up what ``to_document`` gave, instead of what is there.

        Raises:
            ValueError: It is not such a document.
        """
        slots: dict[int, list[int]] = {}
        for entry in document:
            if len(entry) != 3 or any(type(number) is not int for number in entry):
                raise ValueError("a slot is [number, bad, all]")
            number, bad, total = entry
            if bad < 0 or total < 0 or (slots and number <= next(reversed(slots))):
                raise ValueError(f"slot {number} is out of order, or has {bad} bad events of {total}")
            slots[number] = [bad, total]
        if slots and next(reversed(slots)) - next(iter(slots)) > self._reach:
            raise ValueError("the slots reach further than the window")
        self._slots = slots

    def _number(self, now: float) -> int:
        return math.floor(now / self.slot_s)


class BurnRate:
    """How fast a budget burns in a long and in a short window.

    Attributes:
        budget: Share of events that may be bad, above 0 and at most 1.
        long: The long window.
        short: The short window.
    """

    __slots__ = ("budget", "long", "short")

    def __init__(self, budget: float, *, long_s: float = 3600.0, short_s: float = 300.0) -> None:
        """Makes an empty pair of windows, with 60 slots each.

        Args:
            budget: Share of events that may be bad.
            long_s: Length of the long window, in seconds.
            short_s: Length of the short window, in seconds.

        Raises:
            ValueError: The budget is no share, or a length is not positive and finite.
        """
        if not 0 < budget <= 1:
            raise ValueError(f"a budget is above 0 and at most 1, not {budget}")
        self.budget = budget
        self.long = EventRing(long_s, long_s / 60)
        self.short = EventRing(short_s, short_s / 60)

    def add(self, now: float, bad: int, total: int) -> None:
        """Counts events in both windows; arguments and errors as of ``EventRing.add``."""
        self.long.add(now, bad, total)
        self.short.add(now, bad, total)

    def rate(self, now: float) -> float:
        """The burn rate: that of the window that burns more slowly, since both must burn; 0 where nothing happened."""
        return min(self.long.events(now).share, self.short.events(now).share) / self.budget

    def exceeds(self, now: float, limit: float, *, bad_events: int) -> bool:
        """Whether both windows burn at ``limit`` or faster, with ``bad_events`` or more in the long one."""
        return self.long.events(now).bad >= bad_events and self.rate(now) >= limit
