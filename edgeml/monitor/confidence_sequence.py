"""Bounds on a rate that hold however often one looks.

Each answer with a known label is a trial: right with the unknown rate p, or wrong. For k right ones among n, ::

    M(p) = B(k + 1/2, n - k + 1/2) / B(1/2, 1/2) / (p^k (1 - p)^(n - k))

is, under the rate p, a martingale that starts at 1: the likelihood mixed over Jeffreys' prior, over the likelihood of
p. So the chance that M(p) *ever* reaches 1/alpha is at most alpha (Ville's inequality), and the rates whose M stays
below 1/alpha hold p at all times at once, with probability 1 - alpha. This is Robbins' method of mixtures (Annals of
Mathematical Statistics 41, 1970) with a beta mixture; see Howard, Ramdas, McAuliffe and Sekhon, arXiv 1810.08240, and
Howard and Ramdas, arXiv 1906.09712, section 3. An interval for a fixed n would be too narrow for whoever looks twice.

log M is convex in p with its least at k/n, so the rates form an interval, and each end is found by bisection. Counts
are all that is needed: the order and the batches in which labels came do not matter.

What it assumes: the trials are independent with one rate, or at least each has the chance p given those before. Labels
that come for the doubtful answers alone give the rate of doubtful answers.
"""

from __future__ import annotations

import math

ALPHA = 0.05

_LOG_PI = math.log(math.pi)
# Halvings of an interval within 0 to 1: as many as a float64 has digits to tell apart, near 0 too.
_HALVINGS = 100


def log_mixture_martingale(successes: int, trials: int, rate: float) -> float:
    """Natural logarithm of M(rate).

    Args:
        successes: How many trials succeeded.
        trials: How many there were.
        rate: The rate that is tested, 0 to 1.

    Returns:
        log M; infinite where the rate is impossible.

    Raises:
        ValueError: A count is negative, more succeeded than were tried, or the rate is out of range.
    """
    _check(successes, trials)
    if not 0.0 <= rate <= 1.0:
        raise ValueError(f"a rate is from 0 to 1, not {rate}")
    return _log_mixture(successes, trials) - _log_likelihood(successes, trials, rate)


def confidence_sequence(successes: int, trials: int, *, alpha: float = ALPHA) -> tuple[float, float]:
    """The interval that holds the rate at all times at once with probability 1 - alpha.

    Args:
        successes: How many trials succeeded.
        trials: How many there were.
        alpha: The chance that the interval ever misses, below 1.

    Returns:
        Lower and upper end; 0 and 1 where nothing is known.

    Raises:
        ValueError: A count is negative, more succeeded than were tried, or alpha is out of range.
    """
    _check(successes, trials)
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha is between 0 and 1, not {alpha}")
    if trials == 0:
        return 0.0, 1.0
    # A rate is within where its log-likelihood exceeds this.
    least = _log_mixture(successes, trials) + math.log(alpha)
    centre = successes / trials
    low = 0.0 if successes == 0 else _end(successes, trials, least, outside=0.0, inside=centre)
    high = 1.0 if successes == trials else _end(successes, trials, least, outside=1.0, inside=centre)
    return low, high


def _end(successes: int, trials: int, least: float, *, outside: float, inside: float) -> float:
    for _ in range(_HALVINGS):
        middle = (outside + inside) / 2
        if middle in (outside, inside):
            break
        if _log_likelihood(successes, trials, middle) > least:
            inside = middle
        else:
            outside = middle
    return outside  # rounding widens


def _check(successes: int, trials: int) -> None:
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials")


def _log_mixture(successes: int, trials: int) -> float:
    return math.lgamma(successes + 0.5) + math.lgamma(trials - successes + 0.5) - math.lgamma(trials + 1.0) - _LOG_PI


def _log_likelihood(successes: int, trials: int, rate: float) -> float:
    failures = trials - successes
    if (successes and rate <= 0.0) or (failures and rate >= 1.0):
        return -math.inf
    return (successes * math.log(rate) if successes else 0.0) + (failures * math.log1p(-rate) if failures else 0.0)
