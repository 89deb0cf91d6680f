"""Scorecards: whole points for each of a few conditions, and a threshold.

In the manner of RiskSLIM (Ustun and Rudin, "Learning Optimized Risk Scores", JMLR 2019): few conditions, small whole
points. What is exact there (a mixed-integer program) is a heuristic here: the conditions come from a logistic
regression with an L1 penalty, the points from one without it on these conditions alone, rounded.

1. ``fit_card`` makes the points; ``held_out_scores`` says how such a card does on rows that it has not seen, by making
   it anew (conditions and all) without each fold.
2. Both speak in logits, so that a threshold found on the one holds for the other.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

MOST_POINTS = 10
# Conditions that the penalised regression chooses from; more cost time and change little.
PREFERRED = 400
FOLDS = 5
_GENEROUS = 4


@dataclass(frozen=True)
class Card:
    """Points for conditions.

    Attributes:
        columns: Which conditions.
        weights: Their weights in logits.
        intercept: What a row without any of them has, in logits.
        scale: Points for one logit.
    """

    columns: NDArray[np.int64]
    weights: NDArray[np.float64]
    intercept: float
    scale: float

    @property
    def points(self) -> NDArray[np.int64]:
        """Whole points for each of the conditions."""
        return np.rint(self.weights * self.scale).astype(np.int64)

    def logits(self, matrix: csr_matrix) -> NDArray[np.float64]:
        """What the card gives before rounding."""
        given: NDArray[np.float64] = matrix[:, self.columns] @ self.weights + self.intercept
        return given

    def threshold(self, logit: float) -> int:
        """The threshold in points for one in logits."""
        return int(np.ceil((logit - self.intercept) * self.scale - 1e-9))


def fit_card(matrix: csr_matrix, truth: NDArray[np.bool_], size: int, seed: int) -> Card | None:
    """Makes a card of at most ``size`` conditions; None where nothing tells the classes apart.

    Args:
        matrix: Row x condition, zeros and ones.
        truth: Whether a row has the card's label.
        size: Most conditions.
        seed: Of the solver.
    """
    pool = _preferred(matrix, truth)
    columns = pool[_chosen(matrix[:, pool], truth, _GENEROUS * size, seed)]
    if not len(columns):
        return None
    dense = matrix[:, columns].toarray()
    while len(columns) > size:
        # The L1 penalty also shrinks what it keeps; what is weak without it goes first.
        weak = np.abs(_ridge_logistic(dense, truth)[:-1])
        share = dense.mean(axis=0)
        order = np.argsort(-weak * np.sqrt(share * (1 - share)), kind="stable")
        some = np.sort(order[: max(size, int(len(columns) * 0.8))])
        columns, dense = columns[some], dense[:, some]
    fitted = _ridge_logistic(dense, truth)
    weights = fitted[:-1]
    top = float(np.abs(weights).max())
    if top == 0:
        return None
    scale = MOST_POINTS / top
    told = np.rint(weights * scale) != 0
    return Card(columns[told], weights[told], float(fitted[-1]), scale)


def held_out_scores(matrix: csr_matrix, truth: NDArray[np.bool_], size: int, seed: int) -> NDArray[np.float64]:
    """Logits of each row by a card that was made without it; -inf where none could be made.

    Args:
        matrix: Row x condition.
        truth: Whether a row has the label.
        size: Most conditions.
        seed: Of the folds and the solver.
    """
    order = np.random.default_rng(seed).permutation(len(truth))
    # Stratified: rows with the label first, then the others, dealt out in turn.
    order = np.concatenate([order[truth[order]], order[~truth[order]]])
    fold = np.empty(len(truth), dtype=np.int64)
    fold[order] = np.arange(len(truth)) % FOLDS
    scores = np.full(len(truth), -np.inf)
    for number in range(FOLDS):
        inside, outside = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        if not truth[inside].any() or truth[inside].all():
            continue
        card = fit_card(matrix[inside], truth[inside], size, seed)
        if card is not None:
            # Rounded as the finished card will be.
            shown = matrix[outside][:, card.columns] @ card.points
            scores[outside] = shown / card.scale + card.intercept
    return scores


def _preferred(matrix: csr_matrix, truth: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The conditions that tell most alone: the largest differences of shares, in standard errors."""
    n_with, n_without = int(truth.sum()), int((~truth).sum())
    hits = np.asarray(matrix.T @ truth.astype(np.float64))
    others = np.asarray(matrix.T @ (~truth).astype(np.float64))
    pooled = (hits + others + 1) / (len(truth) + 2)
    spread = np.sqrt(pooled * (1 - pooled) * (1 / max(1, n_with) + 1 / max(1, n_without)))
    strength = np.abs(hits / max(1, n_with) - others / max(1, n_without)) / spread
    strength[hits + others == 0] = -1
    best = np.argsort(-strength, kind="stable")[:PREFERRED]
    return np.sort(best[strength[best] > 0])


def _chosen(matrix: csr_matrix, truth: NDArray[np.bool_], size: int, seed: int) -> NDArray[np.int64]:
    """At most ``size`` columns: the weakest L1 penalty that leaves no more."""
    low, high = 1e-3, 10.0
    best = np.zeros(0, dtype=np.int64)
    for _ in range(8):
        middle = float(np.sqrt(low * high))
        with warnings.catch_warnings():
            # An unfinished fit is only a less good choice.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(C=middle, l1_ratio=1.0, solver="liblinear", max_iter=200, random_state=seed)
            found = np.flatnonzero(model.fit(matrix, truth).coef_[0])
        if len(found) > size:
            high = middle
        else:
            low = middle
            best = found if len(found) >= len(best) else best
        if 0.7 * size <= len(found) <= size:
            break
    return best


def _ridge_logistic(dense: NDArray[np.float64], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights and intercept of a logistic regression with an L2 penalty of 1 on the weights, by Newton's method."""
    design = np.hstack([dense, np.ones((len(dense), 1))])
    penalty = np.ones(design.shape[1])
    penalty[-1] = 1e-6
    weights = np.zeros(design.shape[1])
    share = float(truth.mean())
    weights[-1] = np.log(share / (1 - share))
    worth = _loss(design, truth, weights, penalty)
    for _ in range(25):
        chance = expit(design @ weights)
        slope = design.T @ (chance - truth) + penalty * weights
        curve = (design * (chance * (1 - chance))[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(curve, slope)
        size = 1.0
        while (after := _loss(design, truth, weights - size * step, penalty)) > worth and size > 1e-4:
            size /= 2
        weights = weights - size * step
        if worth - after < 1e-7 * abs(worth):
            break
        worth = after
    return weights


def _loss(
    design: NDArray[np.float64], truth: NDArray[np.bool_], weights: NDArray[np.float64], penalty: NDArray[np.float64]
) -> float:
    margins = (design @ weights) * np.where(truth, 1.0, -1.0)
    return float(np.logaddexp(0, -margins).sum() + 0.5 * (penalty * weights * weights).sum())
