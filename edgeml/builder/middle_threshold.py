"""From which score on the middle tier may answer: a threshold with a guarantee.

**What is guaranteed.** Of all records like the calibration rows, the share at which the middle tier answers and the
bundle is worse off for it is at most ``budget``, with a probability of at least ``confidence`` over the draw of these
rows. So the bundle's accuracy is at least that of the same bundle without a middle tier, less ``budget``. It holds for
any model and any distribution, as long as records come as the rows did; drift ends it, as it ends every figure of a
bundle.

**How.** Learn-then-test (Angelopoulos, Bates, Candes, Jordan, Lei, "Learn then Test", arXiv 2110.01052) with a fixed
sequence: the thresholds are tried from the strictest on. At each the hypothesis "the share is above the budget" has the
exact binomial p-value ::

    P(Binomial(n, budget) <= k)

where k of the n rows were lost. The first threshold whose p-value is above ``1 - confidence`` ends the sequence, and
the one before it is taken. No correction for the number of thresholds is needed, because their order was fixed before
the rows were seen. The losses only grow along the sequence, so nothing is given away by ending at the first failure.

Conformal risk control (Angelopoulos, Bates, Fisch, Lei, Schuster, arXiv 2208.02814) would hold the budget on the
average over draws of calibration rows, and answer a little more; it says nothing about the draw at hand, which is what
a box runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from edgeml.errors import BuildError
from edgeml.monitor.binomial import upper_bound

# Thresholds are tried at distances from 1 that form a geometric sequence.
CLOSEST = 1e-6
STEPS = 400


@dataclass(frozen=True)
class Choice:
    """A threshold and what stands behind it.

    Attributes:
        threshold: The middle tier answers from this largest score on.
        budget: Largest share of records that may be lost.
        confidence: With which probability that holds.
        rows: Calibration rows.
        lost: Those of them that were lost.
        answered: Those that the middle tier answered.
        bound: Upper end of the exact one-sided interval (Clopper and Pearson) of the share that is lost.
    """

    threshold: float
    budget: float
    confidence: float
    rows: int
    lost: int
    answered: int
    bound: float

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, as the config has it."""
        return {
            "threshold": self.threshold,
            "budget": self.budget,
            "confidence": self.confidence,
            "rows": self.rows,
            "lost": self.lost,
            "answered": self.answered / self.rows,
            "bound": self.bound,
        }


def thresholds(n_labels: int) -> NDArray[np.float64]:
    """The sequence of thresholds, the strictest first; the largest score of n labels is never below 1 / n.

    Args:
        n_labels: Number of labels, at least 2.
    """
    return 1.0 - np.geomspace(CLOSEST, 1.0 - 1.0 / n_labels, STEPS)


def fewest_rows(budget: float, confidence: float) -> int:
    """How many calibration rows it takes to promise anything, if not one of them is lost."""
    return math.ceil(math.log(1.0 - confidence) / math.log1p(-budget))


def check_rows(rows: int, budget: float, confidence: float) -> None:
    """Refuses a number of calibration rows from which nothing can be promised, before anything takes time.

    Raises:
        BuildError: They are too few; says how many it takes.
    """
    needed = fewest_rows(budget, confidence)
    if rows < needed:
        raise BuildError(
            f"middle: {rows} calibration rows can promise no threshold that loses at most {budget:g} of the answers "
            f"with confidence {confidence:g}; it takes at least {needed}: give more, or a larger budget"
        )


def choose_threshold(
    top: NDArray[np.float64],
    costs: NDArray[np.bool_],
    *,
    n_labels: int,
    budget: float,
    confidence: float,
    sequence: NDArray[np.float64] | None = None,
) -> Choice:
    """Chooses the threshold.

    Args:
        top: Largest score of the middle tier for each calibration row; NaN where it would not be asked, because a rule
            answers.
        costs: Whether the row would be lost if the middle tier answered it.
        n_labels: Number of labels.
        budget: Largest share of records that may be lost.
        confidence: With which probability that must hold.
        sequence: Thresholds to try, the strictest first; fixed before anybody saw the rows. Default ``thresholds``.

    Raises:
        BuildError: No threshold can be promised; says what would help.
    """
    n = len(top)
    asked = ~np.isnan(top)
    sequence = thresholds(n_labels) if sequence is None else sequence
    answered = _at_least(top[asked], sequence)
    lost = _at_least(top[asked & costs], sequence)
    p_values = stats.binom.cdf(lost, n, budget)
    passed = np.flatnonzero(p_values > 1.0 - confidence)
    last = (int(passed[0]) if len(passed) else len(sequence)) - 1
    if last < 0:
        check_rows(n, budget, confidence)
        raise BuildError(
            f"middle: on {n} calibration rows no threshold can be promised to lose at most {budget:g} of the answers "
            f"with confidence {confidence:g}: it is too often wrong where it is most sure; give it more to learn from, "
            "or a larger budget"
        )
    # The strictest of the thresholds that answer the same rows is as good, and farther from the rows below.
    while last and answered[last - 1] == answered[last]:
        last -= 1
    return Choice(
        threshold=float(sequence[last]),
        budget=budget,
        confidence=confidence,
        rows=n,
        lost=int(lost[last]),
        answered=int(answered[last]),
        bound=upper_bound(int(lost[last]), n, confidence),
    )


def _at_least(values: NDArray[np.float64], sequence: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many values are at least each threshold."""
    ordered = np.sort(values)
    return len(ordered) - np.searchsorted(ordered, sequence, side="left")
