"""The upper tail of the chi-square distribution, so that a box needs no scipy for a p-value."""

from __future__ import annotations

import math

_PRECISION = 1e-16
_STEPS = 100_000


def chi_square_tail(statistic: float, degrees: int) -> float:
    """The chance that a chi-square variable is at least this large: Q(degrees / 2, statistic / 2).

    Q is the regularised upper incomplete gamma function: by its series where the argument is small, and else by
    Lentz's continued fraction (Numerical Recipes, 3rd edition, section 6.2). It agrees with scipy to 1e-9 of its value.

    Args:
        statistic: 0 or more; may be infinite.
        degrees: Degrees of freedom; 0 gives 1, as a statistic of nothing is always 0.

    Raises:
        ValueError: The statistic is negative or no number, or there are fewer than 0 degrees.
    """
    if degrees < 0 or not statistic >= 0:
        raise ValueError(f"no chi-square statistic: {statistic} with {degrees} degrees of freedom")
    if degrees == 0 or statistic / 2 == 0:  # also the smallest of all numbers, whose half is none
        return 1.0
    if math.isinf(statistic):
        return 0.0
    a, x = degrees / 2, statistic / 2
    log_front = a * math.log(x) - x - math.lgamma(a)
    front = math.exp(log_front) if log_front > -745 else 0.0
    if x < a + 1:
        return 1.0 - front * _series(a, x)
    return front * _fraction(a, x)


def _series(a: float, x: float) -> float:
    term = total = 1 / a
    for step in range(1, _STEPS):
        term *= x / (a + step)
        total += term
        if term < total * _PRECISION:
            break
    return total


def _fraction(a: float, x: float) -> float:
    b = x + 1 - a
    c = 1e300
    d = 1 / b
    value = d
    for step in range(1, _STEPS):
        factor = -step * (step - a)
        b += 2
        d = 1 / (factor * d + b)
        c = b + factor / c
        value *= d * c
        if abs(d * c - 1) < _PRECISION * 10:
            break
    return value
