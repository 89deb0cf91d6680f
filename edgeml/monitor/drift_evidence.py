"""How strongly counts say that rows no longer come from where the reference came from, however often one looks.

The bins in which the reference has fewer than 20 rows are put together in one group, the *rest*. If the bins have an
order, those with fewer than 5 are put together in it, into groups of 5 or more, and what is left over is the rest.
Every other bin is a group by itself. The reference fell into the G groups as r = (r_1 ... r_G), m rows in all; the rows
of a while as x, n in all. ::

    E    = (DM(x ; c p) + DM(x ; rest anew)) / 2 / DM(x ; r + s)
    DM(x ; a) = G(A) / G(A + n) * product of G(a_i + x_i) / G(a_i),   A = sum of a, G the gamma function
    p_i  = (r_i + 1/G) / (m + 1)        c = 10 times the groups that the reference is in, at most m / 2
    s    = 0, 1, 2 or, without an order, 20 f for the rest, whichever makes the line below largest; 0 for all others

DM is the chance of rows whose shares are drawn from a Dirichlet distribution. Below the line the shares are scattered
around the reference's only as widely as m rows leave them unknown. Above it are two ways to be different: shares
scattered so widely that their population stability index is 0.1 or so on average (from Dir(c p) it is about (G - 1) /
c); and *rest anew*, where the rest has a share from Beta(1/2, 1/2) and the others share the remainder as before. The
second finds within a few rows what the reference hardly has: missing values, unseen levels, numbers out of range.
Without a rest only the first is there.

**Why E is evidence.** Let the numbers of a column be continuous and its edges order statistics of the reference. Then
the true shares of the bins have, whatever the distribution is, exactly the Dirichlet distribution whose parameters are
the spacings in each bin (Wilks, Mathematical Statistics, 1962, section 8.7): its number of reference rows, and 1 for
what is below the smallest and above the largest row. Sums of its parts are Dirichlet again. So the chance of the rows,
the reference being drawn with them, is DM(x ; r + s) with s = 2, or less where the column cannot fall below or above
(if the bins between have 5 rows or more; else an outside may be in a group of 5, of which its 1 is little).
With that s fixed, E is a likelihood ratio: a nonnegative martingale that starts at 1. Taking the s that explains x best
makes it smaller, never larger. So the chance that E *ever* reaches t is at most 1/t (Ville's inequality), at whatever
times one looks. E depends on counts alone, so on no batching.

For categories the Dirichlet is the posterior after Haldane's prior, which holds where levels are frequent. A level that
is seen five times in the reference may be so by luck, and one that is not seen is not impossible: what all levels seen
fewer than 20 times have together is (r + 20 f) / m by Good and Turing (Biometrika 1953, doi 10.1093/biomet/40.3-4.237),
where f is the number of levels that are seen 20 times. benchmarks/drift_alarms.py measures what is left of the luck.

What does not work: p itself below the line takes a reference of 1,000 rows for the truth, and every healthy stream
alarms. Adding 1/2 to each bin of the reference (Jeffreys' prior) makes those alarm that leave most bins empty: after
1,000 rows in 4 of 22 bins, 18 empty ones are expected to get 0.9 % of the rows, and never do. And with each rare level
by itself, or rare levels apart from the unseen ones, the luck of the reference is taken for a law.

**Restarts (e-SR).** Evidence collected since the first row would have to outweigh all the healthy rows before a change.
So a collection starts at each closing of a sub-window, and at any look R is the sum of E over the last 9 starts
(``monitor.windows``: the open sub-window, and each closed one with all after it). This is the Shiryaev-Roberts
e-detector of Shin, Ramdas and Rinaldo (arXiv 2203.03532), with old starts left out, which only makes it smaller.

Sketch, for shares that are known (m without end): let M be the sum over all J starts of a budget, one whose time has
not come counting 1. Each E is a martingale of the same rows, so M is one; it begins at J and is never below R. Hence
the chance that R ever reaches t within J starts is at most J/t, and the mean run to a false alarm is at least t starts.
The R of K columns add up to such a process with K starts at a time, however the columns depend on each other: t = K J
gives at most one false alarm in J starts. With a finite reference all starts share its error, and M is no martingale in
one filtration. What then still holds: each start's E reaches t with a chance of at most 1/t, so of J starts at most J/t
do on average, however dependent; and as R is at most 9 times its largest term, R reaches t in at most 9 J/t of them.
The simulated rates stay below J/t.

What it assumes: that rows are independent of each other. Rows of a sensor that is read every second are not, and then
nothing above holds; ``design_effect`` measures by how much. See docs/drift.md.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence

TYPICAL_PSI = 0.1
RARE = 20
RARE_ORDERED = 5


class DriftEvidence:
    """The evidence against one column's reference, with all that depends on the reference worked out.

    Attributes:
        bins: Number of bins.
        reference_rows: m; where all of them are in one group there is never any evidence.
        group_of: Number of the group that each bin belongs to.
        group_reference: r, the reference by group.
        rest: Number of the group of what was left over; None where nothing was.
        concentration: c.
    """

    __slots__ = (
        "_added",
        "_known",
        "_terms",
        "bins",
        "concentration",
        "group_of",
        "group_reference",
        "reference_rows",
        "rest",
    )

    def __init__(self, reference: Sequence[int], *, ordered: bool = False, concentration: float | None = None) -> None:
        """Prepares a reference.

        Args:
            reference: Its counts by bin.
            ordered: Whether neighbouring bins are alike (ranges of a number, of a length), not categories.
            concentration: c before it is capped, where it should be another.

        Raises:
            ValueError: A count is negative, or c is not positive.
        """
        if min(reference, default=0) < 0:
            raise ValueError("the reference has a negative count")
        if concentration is not None and not 0 < concentration < math.inf:
            raise ValueError(f"a concentration is positive, not {concentration}")
        self.bins = len(reference)
        self.reference_rows = rows = sum(reference)
        self.group_of, self.group_reference, self.rest = _groups(reference, ordered)
        self._added = (0, 1, 2) if ordered else (0, 1, 2, RARE * sum(1 for count in reference if count == RARE))
        groups = self.group_reference
        if concentration is None:
            concentration = max(sum(1 for count in groups if count), 1) / TYPICAL_PSI
        self.concentration = c = min(concentration, rows / 2)
        # By group other than the rest: number, parameter above the line and below, and their log gammas.
        terms = [
            (i, above, math.lgamma(above), count, math.lgamma(count))
            for i, count in enumerate(groups)
            if i != self.rest
            for above in [c * self._share(i)]
        ]
        # As arrays: two hundred columns of tuples would be a megabyte.
        self._terms = tuple(
            array(kind, [each[place] for each in terms]) for place, kind in enumerate(("l", "d", "d", "q", "d"))
        )
        self._known = len(groups) > 1

    def log(self, counts: Sequence[int]) -> float:
        """Natural logarithm of E.

        Args:
            counts: Rows by bin.

        Returns:
            log E; 0 where nothing is known. Its rounding error is below 1e-5 up to 10^9 rows.

        Raises:
            ValueError: There are more or fewer bins than in the reference, or a count is negative.
        """
        if len(counts) != self.bins:
            raise ValueError(f"{len(counts)} counts came for a reference of {self.bins} bins")
        if min(counts, default=0) < 0:
            raise ValueError("a count is negative")
        if not self._known:
            return 0.0
        grouped = [0] * len(self.group_reference)
        for group, x in zip(self.group_of, counts, strict=True):
            grouped[group] += x
        rows = sum(grouped)
        lgamma = math.lgamma
        wide = narrow = 0.0
        for i, above, log_above, below, log_below in zip(*self._terms, strict=True):
            if x := grouped[i]:
                wide += lgamma(above + x) - log_above
                narrow += lgamma(below + x) - log_below
        c, m = self.concentration, self.reference_rows
        scattered = lgamma(c) - lgamma(c + rows) + wide
        if self.rest is None:
            return scattered - (lgamma(m) - lgamma(m + rows) + narrow)
        x, r = grouped[self.rest], self.group_reference[self.rest]
        others, in_others = m - r, rows - x
        if x:
            above = c * self._share(self.rest)
            scattered += lgamma(above + x) - lgamma(above)
        scattered -= lgamma(others) - lgamma(others + in_others) + narrow
        # What is left of both lines: the chance of how the rows fall into the rest and the others.
        explained = max(_log_beta(x, in_others, r + s, others) for s in self._added)
        new = _log_beta(x, in_others, 0.5, 0.5)
        top = max(scattered, new)
        return top + math.log((math.exp(scattered - top) + math.exp(new - top)) / 2) - explained

    def restarts(self, suffixes: Iterable[Sequence[int]]) -> tuple[float, list[int]]:
        """The evidence of the last few starts together.

        Args:
            suffixes: What was counted since each of them; see ``monitor.windows``.

        Returns:
            (log R, the counts of the suffix that has most of it); (-inf, []) where there are no suffixes.

        Raises:
            ValueError: As of ``log``.
        """
        logs: list[float] = []
        most: list[int] = []
        for counts in suffixes:
            logs.append(self.log(counts))
            if logs[-1] >= max(logs):
                most = list(counts)
        if not logs:
            return -math.inf, most
        top = max(logs)
        return top + math.log(math.fsum(math.exp(value - top) for value in logs)), most

    def _share(self, group: int) -> float:
        return (self.group_reference[group] + 1 / len(self.group_reference)) / (self.reference_rows + 1)


def design_effect(windows: Sequence[Sequence[int]], *, ordered: bool = False) -> float | None:
    """How much more the sub-windows of a healthy stretch differ than those of independent rows would.

    Pearson's chi-square of the windows against their sum, over its degrees of freedom: the variance of the shares over
    their multinomial variance (McCullagh and Nelder 1989, section 4.5; Kish's design effect). With an order also the
    same for the windows' mean ranks (Kruskal and Wallis), and the larger of the two: slow movements of a level show in
    the ranks long before they show in each bin. About 1 where rows are independent; with 8 windows the ranks give 3 in
    1 of 200 cases by chance. Where it is k, about every k-th row is worth counting. A change within the stretch raises
    it too, and cycles longer than the stretch do not show in it.

    Args:
        windows: Rows by bin of each sub-window.
        ordered: Whether neighbouring bins are alike.

    Returns:
        The ratio, over the bins that expect 5 rows or more in the smallest window, the others being one; None where
        fewer than two windows or two such bins are left.

    Raises:
        ValueError: The windows have different lengths, or a count is negative.
    """
    if any(len(window) != len(windows[0]) or min(window, default=0) < 0 for window in windows):
        raise ValueError("the sub-windows differ in length, or a count is negative")
    filled = [window for window in windows if any(window)]
    if len(filled) < 2:
        return None
    together = [sum(column) for column in zip(*filled, strict=True)]
    rows, smallest = sum(together), min(sum(window) for window in filled)
    groups = [[i] for i, count in enumerate(together) if count * smallest >= 5 * rows]
    rare = [i for i, count in enumerate(together) if count * smallest < 5 * rows]
    if sum(together[i] for i in rare) * smallest >= 5 * rows:
        groups.append(rare)
    if len(groups) < 2:
        return None
    statistic = 0.0
    for window in filled:
        for group in groups:
            expected = sum(together[i] for i in group) * sum(window) / rows
            statistic += (sum(window[i] for i in group) - expected) ** 2 / expected
    effect = statistic / ((len(filled) - 1) * (len(groups) - 1))
    return max(effect, _rank_effect(filled, together)) if ordered else effect


def _rank_effect(windows: Sequence[Sequence[int]], together: Sequence[int]) -> float:
    rows, below, ranks = sum(together), 0, []
    for count in together:
        ranks.append((below + count / 2) / rows - 0.5)  # their mean is 0
        below += count
    variance = math.fsum(count * rank * rank for count, rank in zip(together, ranks, strict=True)) / (rows - 1)
    between = math.fsum(
        math.fsum(count * rank for count, rank in zip(window, ranks, strict=True)) ** 2 / sum(window)
        for window in windows
    )
    return between / (len(windows) - 1) / variance


def _groups(reference: Sequence[int], ordered: bool) -> tuple[array[int], array[int], int | None]:
    """The group of each bin, the reference by group, and the group of what was left over."""
    of: list[int] = []
    sums: list[int] = []
    gathering: int | None = None
    rare = RARE_ORDERED if ordered else RARE
    for count in reference:
        if count >= rare:
            of.append(len(sums))
            sums.append(count)
            continue
        if gathering is None:
            gathering = len(sums)
            sums.append(0)
        of.append(gathering)
        sums[gathering] += count
        if ordered and sums[gathering] >= rare:
            gathering = None
    return array("l", of), array("q", sums), gathering


def _log_beta(x: int, y: int, a: float, b: float) -> float:
    """The chance of x rows here and y there, in a given order, with shares from Beta(a, b)."""
    if a == 0:
        return -math.inf if x else 0.0
    lgamma = math.lgamma
    here, there = lgamma(a + x) - lgamma(a), lgamma(b + y) - lgamma(b)
    return here + there - (lgamma(a + b + x + y) - lgamma(a + b))
