"""What of the traffic is kept on the box for people and for retraining: how much, which rows, and which fields not.

1. Each answered record is a candidate with the chance ``share * boost``; a hard one (``is_hard``) is kept then, any
   other with the chance ``1 / boost``. So a hard record is kept ``boost`` times as often as an easy one.
2. Every kept record carries the chance that it had of being kept. Weighting by its inverse makes sums over the ring
   unbiased for the whole traffic (D. Horvitz, D. Thompson, JASA 1952).
3. The gaps between candidates are geometric, so that between two of them a request costs one subtraction.
"""

from __future__ import annotations

import binascii
import hashlib
import math
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_DRAWN = 256
_KEPT = ((0, True),)
_KEPT_IF_HARD = ((0, False),)
# A model's answer is hard where its two largest scores are closer than this.
HARD_MARGIN = 0.2
MARK = "hash:"


@dataclass(frozen=True)
class CapturePolicy:
    """What is kept.

    Attributes:
        share: Share of easy records that are kept, above 0 and at most 1.
        boost: How many times as often a hard record is kept; its chance never exceeds 1.
        max_rows: The ring forgets its oldest records beyond so many ...
        max_bytes: ... and beyond so many bytes of records and answers.
        bytes_per_day: When so many bytes were written to the disk in one day (UTC), nothing more is kept that day.
        exclude: Fields that are never written down.
        hashed: Fields of which only a keyed hash is written down, so that equal values can be told, but not read.
    """

    share: float
    boost: float = 10.0
    max_rows: int = 100_000
    max_bytes: int = 64 * 1024 * 1024
    bytes_per_day: int = 256 * 1024 * 1024
    exclude: frozenset[str] = frozenset()
    hashed: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: One is out of its range, or a field is both excluded and hashed; the message names it.
        """
        if not 0 < self.share <= 1:
            raise ValueError(f"the share of records to capture is above 0 and at most 1, not {self.share}")
        if not 1 <= self.boost < math.inf:
            raise ValueError(f"boost is at least 1, not {self.boost}")
        for name in ("max_rows", "max_bytes", "bytes_per_day"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1, not {getattr(self, name)}")
        both = sorted(self.exclude & self.hashed)
        if both:
            raise ValueError(f"{both[0]!r} is to be excluded and hashed; choose one")

    @property
    def candidate_chance(self) -> float:
        """The chance of a record to be looked at, and of a hard one to be kept."""
        return min(1.0, self.share * self.boost)

    def written(
        self,
        record: Mapping[str, Any],
        fields: frozenset[str],
        key: bytes,
        pictures: frozenset[str] = frozenset(),
    ) -> dict[str, Any]:
        """A record as it may be written down.

        Args:
            record: As it came.
            fields: Those that the schema knows; what a client sends besides is nobody's business.
            key: Of the hash, at most 64 bytes.
            pictures: Fields of which nothing but a digest is written: they are large, and show people.
        """
        kept = {}
        for name, value in record.items():
            if name not in fields or name in self.exclude:
                continue
            if name in pictures and name not in self.hashed:
                kept[name] = _digest(value)
                continue
            kept[name] = _hashed(value, key) if name in self.hashed and value is not None else value
        return kept


class Sampler:
    """Chooses the records of one process. Threads share it.

    Args:
        policy: How often.
        draw: Gives a number from [0, 1).

    Attributes:
        left: Records to let pass before the next candidate. Whoever answers n records takes n off, and asks ``choose``
            where it is below 0 then.
        lock: Held by who asks ``choose``.
    """

    __slots__ = ("_draw", "_drawn", "_keeps_easy", "_log_miss", "_owed", "left", "lock")

    def __init__(self, policy: CapturePolicy, draw: Callable[[], float] = random.random) -> None:
        chance = policy.candidate_chance
        self._draw = draw
        self._log_miss = math.log1p(-chance) if chance < 1 else -math.inf
        self._keeps_easy = policy.share / chance
        self._owed: list[bool] = []
        self.lock = threading.Lock()
        # Steps to the next candidate, and whether this one is kept where it is easy, backwards. They are drawn in
        # advance: among requests, one at a time, the same takes three times as long, for the code is not in the cache.
        self._drawn: list[tuple[int, bool]] = []
        self.left = self._next()[0] - 1

    def passes(self, tier: str, scores: Mapping[str, float] | None) -> bool:
        """Lets a candidate go at once that will not be kept; False where ``choose`` has to look at it.

        Nine candidates in ten are easy answers of which nothing is kept. It is asked without the lock.

        Args:
            tier: Who gave the answer to the record that was taken off last.
            scores: Of each label; None where there are none.
        """
        if self.left != -1 or self._owed or not self._drawn:
            return False
        here = self._drawn[-1]
        step, easy = here
        if easy or is_hard(tier, scores) or not self.lock.acquire(blocking=False):
            return False
        try:
            if self.left != -1 or self._owed or not self._drawn or self._drawn[-1] is not here:
                return False
            self._drawn.pop()
            self.left += step
            return True
        finally:
            self.lock.release()

    def choose(self, n: int) -> Sequence[tuple[int, bool]]:
        """The candidates among the last ``n`` records, after they were taken off ``left``. One thread at a time.

        Args:
            n: How many records were answered.

        Returns:
            Place of each in 0 .. n - 1, with whether it is kept where it is easy.
        """
        if n == 1 and self.left == -1 and not self._owed:  # the commonest by far
            step, easy = self._next()
            # After the call: += would read `left` before it, and lose what is taken off meanwhile.
            self.left += step
            return _KEPT if easy else _KEPT_IF_HARD
        before = at = n + self.left
        chosen = {}
        while at < n:
            step, easy = self._next()
            if at >= 0:
                chosen[at] = easy
            else:  # among the records of another thread, which has taken them off and is about to come here
                self._owed.append(easy)
            at += step
        # Added, not set: other threads take off meanwhile.
        self.left += at - before
        for row in range(n if self._owed else 0):
            if self._owed and row not in chosen:
                chosen[row] = self._owed.pop(0)
        return sorted(chosen.items())

    def _next(self) -> tuple[int, bool]:
        drawn = self._drawn
        if not drawn:
            draw, miss, keeps = self._draw, self._log_miss, self._keeps_easy
            for _ in range(_DRAWN):
                step = 1 if miss == -math.inf else 1 + int(math.log1p(-draw()) / miss)
                drawn.append((step, draw() < keeps))
            drawn.reverse()
        return drawn.pop()


class Nobody:
    """In the place of a sampler where nothing is captured: counts down from what no process lives to see.

    Attributes:
        left: As a ``Sampler`` has it.
    """

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = 1 << 62

    def passes(self, tier: str, scores: Mapping[str, float] | None) -> bool:
        """Lets every record go."""
        return True


def is_hard(tier: str, scores: Mapping[str, float] | None) -> bool:
    """Whether an answer is worth more to people than most: the fallback's, and a model's that could not decide.

    Args:
        tier: Who answered.
        scores: Of each label; None where there are none.
    """
    if tier == "fallback":
        return True
    if tier != "model" or scores is None or len(scores) < 2:
        return False
    if len(scores) == 2:
        first, second = scores.values()
        return abs(first - second) < HARD_MARGIN
    ordered = sorted(scores.values())
    return ordered[-1] - ordered[-2] < HARD_MARGIN


def _digest(value: Any) -> str:
    """What is kept of a picture: whether it is the same as another one, and its size."""
    try:
        data = value if isinstance(value, bytes) else binascii.a2b_base64(value)
    except (TypeError, ValueError):
        return "no picture"
    return f"sha256:{hashlib.sha256(data).hexdigest()} ({len(data)} bytes)"


def _hashed(value: Any, key: bytes) -> str:
    if type(value) is int and abs(value) <= 1 << 53:
        value = float(value)  # 3 and 3.0 are one number in JSON, and in a tensor
    return MARK + hashlib.blake2b(repr(value).encode(), key=key, digest_size=12).hexdigest()
