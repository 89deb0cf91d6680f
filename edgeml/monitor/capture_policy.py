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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

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
    """

    __slots__ = ("_boosted", "_draw", "_log_miss", "_owed", "left")

    def __init__(self, policy: CapturePolicy, draw: Callable[[], float] = random.random) -> None:
        chance = policy.candidate_chance
        self._draw = draw
        self._log_miss = math.log1p(-chance) if chance < 1 else -math.inf
        self._boosted = policy.share / chance
        self._owed = 0
        self.left = self._gap()

    def choose(self, n: int) -> list[tuple[int, float]]:
        """The candidates among the last ``n`` records, after they were taken off ``left``. One thread at a time.

        Args:
            n: How many records were answered.

        Returns:
            Place of each in 0 .. n - 1, with the chance that it is kept where it is easy.
        """
        if n == 1 and self.left == -1 and not self._owed:  # the commonest by far
            gap = self._gap()  # first: += would read `left` before the call, and lose what is taken off meanwhile
            self.left += 1 + gap
            return [(0, self._boosted)]
        before = at = n + self.left
        chosen = set()
        while at < n:
            if at >= 0:
                chosen.add(at)
            else:  # among the records of another thread, which has taken them off and is about to come here
                self._owed += 1
            at += 1 + self._gap()
        # Added, not set: other threads take off meanwhile.
        self.left += at - before
        for row in range(n if self._owed else 0):
            if self._owed and row not in chosen:
                self._owed -= 1
                chosen.add(row)
        return [(row, self._boosted) for row in sorted(chosen)]

    def keeps_easy(self, chance: float) -> bool:
        """Whether an easy candidate is kept."""
        return self._draw() < chance

    def _gap(self) -> int:
        if self._log_miss == -math.inf:
            return 0
        return int(math.log1p(-self._draw()) / self._log_miss)


class Nobody:
    """In the place of a sampler where nothing is captured: counts down from what no process lives to see.

    Attributes:
        left: As a ``Sampler`` has it.
    """

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = 1 << 62


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
