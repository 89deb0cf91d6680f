"""Points of a scorecard as whole numbers: what a card adds up is exact, in whatever order it is added.

1. ``points(0.1 if p, 0.2 if q)`` is 0.3 where both hold, not 0.30000000000000004: points are decimals as they are
   written, so they are added as whole multiples of a power of ten, and the sum is divided once.
2. All points of a card together stay below 2**53 such multiples; up to there a double holds every whole number.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

MAX_DECIMALS = 9
MAX_TOTAL = 2**53


def whole_points(points: Sequence[float]) -> tuple[tuple[int, ...], int]:
    """The points as multiples of one over a power of ten.

    Args:
        points: Finite numbers.

    Returns:
        The multiples, and the power of ten.

    Raises:
        ValueError: They have too many digits; says what to do.
    """
    decimals = [Decimal(repr(float(value))).normalize() for value in points]
    places = max([0, *(-int(value.as_tuple().exponent) for value in decimals)])
    if places > MAX_DECIMALS:
        raise ValueError(f"points have at most {MAX_DECIMALS} decimals; round them")
    if sum(abs(value) for value in decimals) * 10**places >= MAX_TOTAL:
        raise ValueError(f"the points of one card, with {places} decimals, are too large together; round them")
    return tuple(int(value * 10**places) for value in decimals), 10**places
