"""What may be promised of learned rules: exact bounds, corrected for every rule that was tried.

1. The candidates are a list that is fixed before the proving rows are looked at: conditions, labels, points, thresholds
   and order. Candidate i's region is what it answers when the whole list is asked, its predecessors first. So the
   regions are disjoint, and fixed too: none of them depends on a label of a proving row.
2. Given which proving rows lie in a region, their labels are independent draws, and the number that is right is
   binomial. ``p_value`` is the exact tail: how likely so many would be right if the precision were the target or less.
   A p-value at most alpha and a Clopper-Pearson lower bound (1934) at level 1 - alpha of at least the target are the
   same thing.
3. ``proven`` is Holm's step-down test (1979): whatever the candidates' true precisions and however their p-values hang
   together, the probability that it passes even one whose precision is below the target is at most alpha.
4. A candidate that is not proven keeps its place as a rule that abstains, where a proven one comes after it. Without
   that the later rule would answer records from outside the region that was tested, and which records these are would
   depend on the proving labels; then 2 would not hold.
5. The promise for the whole follows without another test: where each rule's precision is at least the target, so is
   that of any mixture of their answers.

The promise is about records that are drawn as the proving rows were. It says nothing of another year or another box;
that is what the box's own counting of a rule's answers is for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.stats import beta, binom

# Of what may go wrong, the part that is spent on proving the target (Holm); the rest is spent evenly on lower bounds
# (Bonferroni), so that a rule which is far better than the target can say so. Together they stay within alpha.
TESTED = 0.8


def p_value(rows: int, right: int, target: float) -> float:
    """How likely at least so many answers would be right if each were right with probability ``target``.

    Args:
        rows: Proving rows in the rule's region.
        right: How many of them have the rule's label.
        target: The precision that is to be exceeded.
    """
    return float(binom.sf(right - 1, rows, target)) if rows else 1.0


def lower_bound(rows: int, right: int, alpha: float) -> float:
    """The Clopper-Pearson lower bound of a share at level 1 - alpha; 0 where nothing was seen."""
    return float(beta.ppf(alpha, right, rows - right + 1)) if right else 0.0


def upper_bound(rows: int, right: int, alpha: float) -> float:
    """The Clopper-Pearson upper bound of a share at level 1 - alpha; 1 where nothing was seen."""
    return float(beta.ppf(1 - alpha, right + 1, rows - right)) if right < rows else 1.0


def proven(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Holm's step-down test: which of the candidates are proven.

    Args:
        p_values: One for each candidate that was tried.
        alpha: The probability of passing even one wrongly.
    """
    found = [False] * len(p_values)
    for left, at in zip(
        range(len(p_values), 0, -1), sorted(range(len(p_values)), key=p_values.__getitem__), strict=True
    ):
        if p_values[at] > alpha / left:
            break
        found[at] = True
    return found


def rows_needed(target: float, alpha: float, precision: float = 1.0) -> int | None:
    """How many proving rows a rule of that precision needs at least; None where no number is enough.

    Args:
        target: The precision that is to be proven.
        alpha: The rule's share of what may go wrong.
        precision: What the rule is right on; the expected number is rounded down.
    """
    if precision >= 1:
        return math.ceil(math.log(alpha) / math.log(target))
    if precision <= target:
        return None
    low, high = 1, 1
    while p_value(high, math.floor(high * precision), target) > alpha:
        low, high = high, high * 2
    while low < high:
        middle = (low + high) // 2
        if p_value(middle, math.floor(middle * precision), target) > alpha:
            low = middle + 1
        else:
            high = middle
    return low
