"""One label against all others: how often it was given and true, and the measures that follow.

Counts may be expectations, so they are floats. Each measure is a share of some rows, so each has an interval of a
share: precision of the rows that were given the label, recall of those that are it, accuracy of all. F1 is a rising
function of such a share too: 2 J / (1 + J), where J is the share of right rows among those that were given the label
or are it (Jaccard).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MEASURES = ("precision", "recall", "f1")


@dataclass
class OneLabel:
    """Rows of one label against all others.

    Attributes:
        right: Given the label, and it is true.
        wrong: Given the label, and another is true.
        missed: Given another label, and this one is true.
    """

    right: float = 0.0
    wrong: float = 0.0
    missed: float = 0.0

    def shares(self) -> dict[str, tuple[float, float]]:
        """Measure -> right rows, and the rows of which they are a share (for F1 that of J)."""
        return {
            "precision": (self.right, self.right + self.wrong),
            "recall": (self.right, self.right + self.missed),
            "f1": (self.right, self.right + self.wrong + self.missed),
        }


def f1_of(jaccard: float) -> float:
    """F1 from the share of right rows among all that were given the label or are it."""
    return 2.0 * jaccard / (1.0 + jaccard)


def share_interval(right: float, rows: float, z: float) -> tuple[float, float]:
    """Where the share of right rows may be if its expectation is known from as many rows.

    At each end the wider one of two intervals of z standard errors: Wilson's score interval (Journal of the American
    Statistical Association 22, 1927), which says where the rate may be and is not empty where all are right; and the
    share with z standard errors to either side, which says where the share of some rows may be, such as at 1.

    Args:
        right: How many of the rows are expected to be right.
        rows: How many rows; more than 0.
        z: Width in standard errors.
    """
    share, spread = right / rows, z * z / rows
    variance = max(0.0, share * (1 - share)) / rows
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(variance + spread / (4 * rows))
    wald = z * math.sqrt(variance)
    return max(0.0, min(share - wald, centre - half)), min(1.0, max(share + wald, centre + half))


def confusion_counts(counts: Mapping[tuple[int, int], float], labels: int) -> list[OneLabel]:
    """Each of the labels against all others.

    Args:
        counts: (label given, true label) -> rows; indexes from ``labels`` on are other labels.
        labels: How many labels.
    """
    found = [OneLabel() for _ in range(labels)]
    for (given, true), rows in counts.items():
        if given == true and given < labels:
            found[given].right += rows
        elif given != true:
            if given < labels:
                found[given].wrong += rows
            if true < labels:
                found[true].missed += rows
    return found


def figure(right: float, rows: float, bounds: tuple[float, float], *, f1: bool = False) -> dict[str, float] | None:
    """One measure: its value and the ends of its interval; None where there are no rows."""
    if rows <= 0:
        return None
    value, low, high = right / rows, *bounds
    if f1:
        value, low, high = f1_of(value), f1_of(low), f1_of(high)
    return {"value": value, "low": low, "high": high, "rows": rows}


def macro(figures: Iterable[dict[str, float] | None]) -> dict[str, float] | None:
    """The mean over the labels that have the measure; so are its ends, which is wider than need be."""
    known = [each for each in figures if each is not None]
    if not known:
        return None
    return {end: sum(each[end] for each in known) / len(known) for end in ("value", "low", "high")}
