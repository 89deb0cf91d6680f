"""How far two histograms over the same bins are apart: a reference's counts and the counts of a while.

All functions take two sequences of counts, reference first, bin by bin. The rules:

1. Where either histogram is empty there is nothing to compare, and the answer is None: neither 0 ("no drift") nor an
   error, since a box that has not been asked yet is nothing unusual.
2. The totals may differ; shares are compared. Two histograms with equal shares have distance 0.
3. A bin that is empty on one side counts as half an observation there in ``psi`` alone, which else has no value; the
   other measures have a value, if an infinite one (``kl``, ``chi_square_fit``).
4. ``ks_binned`` and ``wasserstein_binned`` read the order of the bins. They are for the ordered bins of a column (the
   ranges of a number with what is below and above), never for categories, and the bin of missing values is left out.
5. Distances measure size, not certainty: they grow with noise as windows shrink. What may raise an alarm is
   ``monitor.alarms``.

``jensen_shannon``, ``hellinger`` and ``l_infinity`` are NannyML's (drift/univariate/methods.py, 0.13) to the last bit,
where they are told how many rows fell ``outside`` of the reference's bins; that takes numpy's order of summation and
scipy's logarithms. The other measures agree with scipy to 1e-9.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgeml.monitor.chi_square import chi_square_tail

Counts = Sequence[int]

_PAIRWISE_BLOCK = 128


def psi(reference: Counts, current: Counts) -> float | None:
    """Population stability index: the sum of (q - p) ln(q / p), symmetric (Jeffreys 1946; Siddiqi 2006, chapter 10).

    A bin that is empty on one side counts as half an observation there. Rules of thumb call 0.1 a change and 0.2 a
    large one; ``psi_bias`` says how much of it noise alone gives.

    Args:
        reference: Counts by bin.
        current: Counts by bin.

    Returns:
        The index, or None where either side is empty.

    Raises:
        ValueError: The lengths differ, or a count is negative.
    """
    if _nothing(reference, current):
        return None
    pairs = [(p or 0.5, q or 0.5) for p, q in zip(reference, current, strict=True) if p or q]
    m = math.fsum(p for p, _ in pairs)
    n = math.fsum(q for _, q in pairs)
    # Not (q/n - p/m) * log((q/n) / (p/m)): of equal shares it must leave exactly 0.
    return math.fsum((q * m - p * n) / (m * n) * math.log(q * m / (p * n)) for p, q in pairs)


def psi_bias(reference: Counts, current: Counts) -> float | None:
    """What the index is on average where nothing changed: (B - 1)(1/n + 1/m) with B bins that anything fell into.

    n times the index is asymptotically chi-square with B - 1 degrees (Yurdakul and Naranjo, Journal of Risk Model
    Validation 2020, doi 10.21314/JRMV.2020.227).

    Args:
        reference: Counts by bin.
        current: Counts by bin.

    Returns:
        The bias, or None where either side is empty.

    Raises:
        ValueError: The lengths differ, or a count is negative.
    """
    if _nothing(reference, current):
        return None
    used = sum(1 for p, q in zip(reference, current, strict=True) if p or q)
    return (used - 1) * (1 / sum(reference) + 1 / sum(current))


def kl(reference: Counts, current: Counts) -> float | None:
    """Kullback-Leibler divergence of the reference from the current rows, sum of p ln(p / q), in nats.

    Args:
        reference: Counts by bin.
        current: Counts by bin.

    Returns:
        The divergence; infinite where the reference has rows in a bin that the current rows have none in; None where
        either side is empty.

    Raises:
        ValueError: The lengths differ, or a count is negative.
    """
    if _nothing(reference, current):
        return None
    m, n = sum(reference), sum(current)
    if any(p and not q for p, q in zip(reference, current, strict=True)):
        return math.inf
    return math.fsum(p / m * math.log(p * n / (q * m)) for p, q in zip(reference, current, strict=True) if p)


def jensen_shannon(
    reference: Counts, current: Counts, *, base: float | None = 2.0, outside: int | None = None
) -> float | None:
    """Jensen-Shannon distance: the root of the divergence (Endres and Schindelin, doi 10.1109/TIT.2003.813506).

    Args:
        reference: Counts by bin.
        current: Counts by bin.
        base: Of the logarithm; 2 gives distances up to 1 (NannyML); None is e (Evidently).
        outside: How many current rows fell into none of these bins. Given, the distance is NannyML's: the share of
            those rows is 1 less the sum of the others, rounding included, so that equal shares may be 1e-8 apart.

    Returns:
        The distance, or None where either side is empty.

    Raises:
        ValueError: The lengths differ, or a count is negative.
    """
    if _nothing(reference, current, outside or 0):
        return None
    p, q = _shares(reference, current, outside)
    if outside is not None:
        # NannyML gives shares to scipy.spatial.distance.jensenshannon, which makes shares of them once more.
        p_sum, q_sum = _pairwise_sum(p), _pairwise_sum(q)
        p, q = [share / p_sum for share in p], [share / q_sum for share in q]
    mid = [(a + b) / 2.0 for a, b in zip(p, q, strict=True)]
    divergence = _pairwise_sum([_relative_entropy(a, c) for a, c in zip(p, mid, strict=True)])
    divergence += _pairwise_sum([_relative_entropy(b, c) for b, c in zip(q, mid, strict=True)])
    if base is not None:
        divergence /= math.log(base)
    return math.sqrt(max(divergence, 0.0) / 2.0)


def hellinger(reference: Counts, current: Counts, *, outside: int | None = None) -> float | None:
    """Hellinger distance, 0 to 1: the Euclidean distance of the roots of the shares, over the root of 2.

    Args:
        reference: Counts by bin.
        current: Counts by bin.
        outside: As of ``jensen_shannon``.

    Returns:
        The distance, or None where either side is empty.

    Raises:
        ValueError: The lengths differ, or a count is negative.
    """
    if _nothing(reference, current, outside or 0):
        return None
    p, q = _shares(reference, current, outside)
    roots = [math.sqrt(a) - math.sqrt(b) for a, b in zip(p, q, strict=True)]
    return math.sqrt(_pairwise_sum([root * root for root in roots])) / math.sqrt(2)


def l_infinity(reference: Counts, current: Counts) -> float | None:
    """The largest difference of two shares, as NannyML has it for categories.

    Args:
        reference: Counts by bin.
        current: Counts by bin.

    Returns:
        The difference, or None where either side is empty.

    Raises:
        ValueError: The lengths differ, or a count is negative.
    """
    if _nothing(reference, current):
        return None
    m, n = sum(reference), sum(current)
    return max(abs(p / m - q / n) for p, q in zip(reference, current, strict=True))


def total_variation(reference: Counts, current: Counts) -> float | None:
    """Total variation distance, 0 to 1: half the sum of the differences; the share of rows that would have to move.

    Args:
        reference: Counts by bin.
        current: Counts by bin.

    Returns:
        The distance, or None where either side is empty.

    Raises:
        ValueError: The lengths differ, or a count is negative.
    """
    if _nothing(reference, current):
        return None
    m, n = sum(reference), sum(current)
    return math.fsum(abs(p * n - q * m) for p, q in zip(reference, current, strict=True)) / (2 * m * n)


def ks_binned(reference: Counts, current: Counts) -> float | None:
    """Kolmogorov-Smirnov statistic at the edges of the bins: a lower bound of that of the rows. Ordered bins only.

    Args:
        reference: Counts by bin, in the bins' order.
        current: Counts by bin.

    Returns:
        The largest difference of the two distribution functions, or None where either side is empty.

    Raises:
        ValueError: The lengths differ, or a count is negative.
    """
    if _nothing(reference, current):
        return None
    return max(abs(step) for step in _cumulated(reference, current))


def wasserstein_binned(reference: Counts, current: Counts, positions: Sequence[float] | None = None) -> float | None:
    """Wasserstein distance W1, as if every row lay at its bin's position. Ordered bins only.

    Args:
        reference: Counts by bin, in the bins' order.
        current: Counts by bin.
        positions: Where the bins are, ascending; 0, 1, 2 ... where not given, so that the unit is one bin.

    Returns:
        The distance in the unit of the positions, or None where either side is empty.

    Raises:
        ValueError: The lengths differ, a count is negative, or the positions do not ascend.
    """
    if positions is not None:
        if len(positions) != len(reference):
            raise ValueError(f"{len(positions)} positions for {len(reference)} bins")
        if any(not a <= b for a, b in zip(positions, positions[1:], strict=False)):
            raise ValueError("the positions of the bins do not ascend")
    if _nothing(reference, current):
        return None
    steps = _cumulated(reference, current)[:-1]
    if positions is None:
        return math.fsum(abs(step) for step in steps)
    gaps = [b - a for a, b in zip(positions, positions[1:], strict=False)]
    return math.fsum(abs(step) * gap for step, gap in zip(steps, gaps, strict=True))


def chi_square_fit(reference: Counts, current: Counts) -> tuple[float, float] | None:
    """Chi-square test of fit, the reference taken as exact (Evidently's form): too sure where the reference is small.

    Args:
        reference: Counts by bin.
        current: Counts by bin.

    Returns:
        (statistic, p-value) over the bins that anything fell into; the statistic is infinite where current rows are in
        a bin that the reference has none in; None where either side is empty.

    Raises:
        ValueError: The lengths differ, or a count is negative.
    """
    if _nothing(reference, current):
        return None
    m, n = sum(reference), sum(current)
    pairs = [(p * n / m, q) for p, q in zip(reference, current, strict=True) if p or q]
    if any(not expected for expected, _ in pairs):
        return math.inf, 0.0
    statistic = math.fsum((q - expected) ** 2 / expected for expected, q in pairs)
    return statistic, chi_square_tail(statistic, len(pairs) - 1)


def chi_square_contingency(reference: Counts, current: Counts) -> tuple[float, float] | None:
    """Chi-square test that both come from one distribution (NannyML's form), with Yates' correction for two bins.

    Args:
        reference: Counts by bin.
        current: Counts by bin.

    Returns:
        (statistic, p-value) over the bins that anything fell into, or None where either side is empty.

    Raises:
        ValueError: The lengths differ, or a count is negative.
    """
    if _nothing(reference, current):
        return None
    m, n = sum(reference), sum(current)
    pairs = [(p, q) for p, q in zip(reference, current, strict=True) if p or q]
    parts = []
    for p, q in pairs:
        for observed, total in ((p, m), (q, n)):
            expected = (p + q) * total / (m + n)
            apart = abs(observed - expected)
            if len(pairs) == 2:
                apart -= min(0.5, apart)
            parts.append(apart * apart / expected)
    statistic = math.fsum(parts)
    return statistic, chi_square_tail(statistic, len(pairs) - 1)


def ks_p_value(statistic: float, rows: int, other_rows: int) -> float:
    """Asymptotic p-value of a two-sample Kolmogorov-Smirnov statistic (Smirnov 1948); of a binned one, an upper bound.

    Args:
        statistic: The largest difference of the distribution functions.
        rows: Number of rows on one side.
        other_rows: On the other.

    Raises:
        ValueError: A side has no rows.
    """
    if rows <= 0 or other_rows <= 0:
        raise ValueError(f"{rows} and {other_rows} rows: both sides need some")
    x = statistic * math.sqrt(rows / (rows + other_rows) * other_rows)
    if x < 1.0:
        # The other form of the theta function: the alternating one cancels here.
        if x <= 0.04:
            return 1.0
        terms = (math.exp(-(((2 * k - 1) * math.pi / x) ** 2) / 8) for k in range(1, 10))
        return 1.0 - math.sqrt(2 * math.pi) / x * math.fsum(terms)
    return 2 * math.fsum((-1) ** (k - 1) * math.exp(-2 * (k * x) ** 2) for k in range(1, 10))


def _nothing(reference: Counts, current: Counts, outside: int = 0) -> bool:
    if len(reference) != len(current):
        raise ValueError(f"the reference has {len(reference)} bins and the current counts have {len(current)}")
    if outside < 0 or any(count < 0 for count in reference) or any(count < 0 for count in current):
        raise ValueError("a count is negative")
    return not any(reference) or not (outside or any(current))


def _cumulated(reference: Counts, current: Counts) -> list[float]:
    m, n = sum(reference), sum(current)
    below, steps = 0, []
    for p, q in zip(reference, current, strict=True):
        below += p * n - q * m
        steps.append(below / (m * n))
    return steps


def _shares(reference: Counts, current: Counts, outside: int | None) -> tuple[list[float], list[float]]:
    m, n = sum(reference), sum(current) + (outside or 0)
    p, q = [count / m for count in reference], [count / n for count in current]
    if outside is not None:
        left = 1 - _pairwise_sum(q)
        if left > 0:
            p.append(0.0)
            q.append(left)
    return p, q


def _relative_entropy(x: float, y: float) -> float:
    """x ln(x / y) as scipy.special.rel_entr (1.17) works it out: by log1p where the two are near."""
    if not x > 0:
        return 0.0
    ratio = x / y
    return x * (math.log1p((x - y) / y) if 0.5 < ratio < 2 else math.log(ratio))


def _pairwise_sum(values: Sequence[float]) -> float:
    """The sum in the order in which numpy adds up a contiguous array (numpy/_core/src/umath/loops_utils.h.src)."""
    size = len(values)
    if size < 8:
        total = 0.0
        for value in values:
            total += value
        return total
    if size <= _PAIRWISE_BLOCK:
        whole = size - size % 8
        lane = list(values[:8])
        for at in range(8, whole, 8):
            for i in range(8):
                lane[i] += values[at + i]
        total = ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]))
        for value in values[whole:]:
            total += value
        return total
    half = size // 2
    half -= half % 8
    return _pairwise_sum(values[:half]) + _pairwise_sum(values[half:])
