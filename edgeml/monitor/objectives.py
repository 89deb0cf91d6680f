"""Service level objectives of one model: how fast their error budgets burn, in constant memory.

1. An objective says which share of the answers may be late: one in a hundred later than ``p99_ms``, one in a thousand
   later than ``deadline_ms``. That share is its error budget.
2. Three pairs of windows are watched (Site Reliability Workbook, chapter 5): a rate of 14.4 over an hour and 5 minutes,
   6 over six hours and 30 minutes, 1 over three days and six hours. Both windows of a pair must burn at its rate, and
   the long one hold at least ten late answers: with little traffic one is a large share.
3. Counts lie in rings of 60 minutes and 72 hours. They are kept over a restart, with times in seconds since 1970; a
   clock that jumps back counts into the newest slot.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeml.monitor.burn_rate import EventRing, Events

BUDGETS = {"p99_ms": 0.01, "deadline_ms": 0.001}
FEWEST_LATE = 10
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86_400.0


@dataclass(frozen=True)
class Pair:
    """Two windows that must both burn.

    Attributes:
        rate: The burn rate from which on they count.
        long_s: Length of the long window, in seconds.
        short_s: Length of the short one.
        level: ``fast`` (somebody should look now) or ``slow`` (this week).
    """

    rate: float
    long_s: float
    short_s: float
    level: str


PAIRS = (
    Pair(14.4, _HOUR, 5 * _MINUTE, "fast"),
    Pair(6.0, 6 * _HOUR, 30 * _MINUTE, "fast"),
    Pair(1.0, 3 * _DAY, 6 * _HOUR, "slow"),
)


@dataclass(frozen=True)
class Standing:
    """How an objective stands.

    Attributes:
        name: ``p99_ms`` or ``deadline_ms``.
        limit_ms: What the bundle promises.
        budget: Share of the answers that may be late.
        late: Late answers of the last hour.
        answers: All answers of the last hour.
        burn: By length of the window in seconds: its burn rate; 1 spends the budget exactly.
        level: ``ok``, ``slow`` or ``fast``: the most urgent pair that burns.
        left: Share of the budget of the last three days that is left; below 0 where it is overspent.
    """

    name: str
    limit_ms: float
    budget: float
    late: int
    answers: int
    burn: dict[int, float]
    level: str
    left: float

    @property
    def share(self) -> float:
        """Share of the last hour's answers that were late."""
        return self.late / self.answers if self.answers else 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        named = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return named | {"burn": {str(key): value for key, value in self.burn.items()}, "share": self.share}


class Objectives:
    """The objectives of one model.

    Args:
        slo: ``p99_ms`` and ``deadline_ms`` of its bundle, each where there is one.
    """

    def __init__(self, slo: Mapping[str, float]) -> None:
        self._limits = {name: float(slo[name]) for name in BUDGETS if name in slo}
        self._rings = {name: _Rings() for name in self._limits}

    @property
    def limits(self) -> dict[str, float]:
        """The limits in milliseconds, by objective."""
        return dict(self._limits)

    def add(self, now: float, late: Mapping[str, int], answers: int) -> None:
        """Counts answers.

        Args:
            now: Seconds since 1970.
            late: By objective: how many of them were late.
            answers: How many there were.

        Raises:
            ValueError: A count is negative.
        """
        for name, rings in self._rings.items():
            rings.add(now, late.get(name, 0), answers)

    def standings(self, now: float) -> list[Standing]:
        """How each objective stands.

        Args:
            now: Seconds since 1970.
        """
        return [_standing(name, limit, self._rings[name], now) for name, limit in self._limits.items()]

    def to_document(self) -> dict[str, Any]:
        """The rings, JSON-ready."""
        return {
            name: {"minutes": rings.minutes.to_document(), "hours": rings.hours.to_document()}
            for name, rings in self._rings.items()
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        """Takes up what ``to_document`` gave; an objective that the bundle does not have is left out.

        Raises:
            ValueError: It is not such a document.
        """
        try:
            for name in self._rings.keys() & document.keys():
                rings = _Rings()
                rings.minutes.restore(document[name]["minutes"])
                rings.hours.restore(document[name]["hours"])
                self._rings[name] = rings
        except (KeyError, TypeError) as error:
            raise ValueError(f"objectives: {error!r} is missing or of another type") from error


class _Rings:
    __slots__ = ("hours", "minutes")

    def __init__(self) -> None:
        self.minutes = EventRing(_HOUR, _MINUTE)
        self.hours = EventRing(3 * _DAY, _HOUR)

    def add(self, now: float, bad: int, total: int) -> None:
        self.minutes.add(now, bad, total)
        self.hours.add(now, bad, total)

    def events(self, now: float, window_s: float) -> Events:
        ring = self.minutes if window_s <= _HOUR else self.hours
        return ring.events(now, window_s)


def _standing(name: str, limit: float, rings: _Rings, now: float) -> Standing:
    budget = BUDGETS[name]
    burn: dict[int, float] = {}
    level = "ok"
    for pair in reversed(PAIRS):
        long, short = rings.events(now, pair.long_s), rings.events(now, pair.short_s)
        burn[int(pair.short_s)] = short.share / budget
        burn[int(pair.long_s)] = long.share / budget
        if long.bad >= FEWEST_LATE and min(long.share, short.share) >= pair.rate * budget * (1 - 1e-9):
            level = pair.level
    hour, days = rings.events(now, _HOUR), rings.events(now, 3 * _DAY)
    left = 1 - days.share / budget
    return Standing(
        name,
        limit,
        budget,
        hour.bad,
        hour.total,
        dict(sorted(burn.items())),
        level,
        left if math.isfinite(left) else 0.0,
    )
