"""Exact bounds of a share, so that a box needs no scipy for them (Clopper and Pearson, Biometrika 26, 1934)."""

from __future__ import annotations

import math

# Halvings of the interval: far below what a double can tell apart.
_STEPS = 60


def at_most(successes: int, trials: int, share: float) -> float:
    """P(Binomial(trials, share) <= successes).

    Args:
        successes: At least 0.
        trials: At least 1.
        share: From 0 to 1.
    """
    if successes >= trials or share <= 0.0:
        return 1.0
    if share >= 1.0:
        return 0.0
    log_share, log_rest = math.log(share), math.log1p(-share)
    whole = math.lgamma(trials + 1)
    total = math.fsum(
        math.exp(whole - math.lgamma(k + 1) - math.lgamma(trials - k + 1) + k * log_share + (trials - k) * log_rest)
        for k in range(successes + 1)
    )
    return min(1.0, total)


def upper_bound(successes: int, trials: int, confidence: float) -> float:
    """The largest share under which so few successes have a probability of ``1 - confidence``.

    Args:
        successes: How many.
        trials: Of how many; 0 knows nothing.
        confidence: Of the one-sided interval.
    """
    if successes >= trials:
        return 1.0
    low, high = successes / trials, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if at_most(successes, trials, middle) > 1.0 - confidence:
            low = middle
        else:
            high = middle
    return high


def lower_bound(successes: int, trials: int, confidence: float) -> float:
    """The smallest share under which so many successes have a probability of ``1 - confidence``."""
    return 0.0 if trials == 0 else 1.0 - upper_bound(trials - successes, trials, confidence)
