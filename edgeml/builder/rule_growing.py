"""Conjunctions of a few literals, grown one after the other on the rows that are left (sequential covering).

1. A rule is worth the rows of its label that it answers, less a price for each other row: with the price
   aim / (1 - aim), a rule is worth something exactly where its precision is above ``aim``.
2. A beam of conjunctions is lengthened literal by literal. Short ones pay a lower price while they grow, so that a
   good pair is found although neither half is good alone; what is taken is judged at the full price.
3. A further condition must raise the worth by a share: of two rules that do nearly the same, the shorter is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix

from edgeml.builder.rule_literals import Literals

BEAM = 6
# What a longer rule must be worth, beside a shorter one.
_WORTH_OF_LENGTH = 1.05
_RELAXED = (0.1, 0.4, 1.0)


@dataclass(frozen=True, order=True)
class Part:
    """A literal, or its negation.

    Attributes:
        column: Which literal.
        negated: Whether it is preceded by ``not``.
    """

    column: int
    negated: bool = False


def rows_of(literals: Literals, parts: tuple[Part, ...]) -> NDArray[np.bool_]:
    """Where a conjunction is surely true, over all rows."""
    found = np.ones(literals.matrix.shape[0], dtype=bool)
    for part in parts:
        found &= _column(literals, part)
    return found


def words_of(literals: Literals, parts: tuple[Part, ...]) -> str:
    """A conjunction in the rule language."""
    texts = [("not " if part.negated else "") + literals.items[part.column].text for part in parts]
    return " and ".join(texts)


def grow_conjunction(
    literals: Literals, rows: NDArray[np.int64], truth: NDArray[np.bool_], *, aim: float, longest: int, min_rows: int
) -> tuple[Part, ...] | None:
    """The conjunction that is worth most on some rows; None where none is worth anything.

    Args:
        literals: What may be said.
        rows: The rows to look at.
        truth: For each of them whether it has the label.
        aim: The precision from which on a rule is worth something.
        longest: Most literals.
        min_rows: Fewest rows of the label that it answers.
    """
    matrix = literals.matrix.tocsr()[rows].tocsc()
    transposed = matrix.T.tocsr()
    there = np.array([literals.present[item.feature][rows] for item in literals.items if item.word is not None][:1])
    present = there[0] if len(there) else np.ones(len(rows), dtype=bool)
    several = len({item.feature for item in literals.items if item.word is not None}) > 1
    full = aim / (1 - aim)
    beam: list[tuple[tuple[Part, ...], NDArray[np.bool_]]] = [((), np.ones(len(rows), dtype=bool))]
    best: tuple[Part, ...] | None = None
    best_worth = 0.0
    for depth in range(longest):
        relaxed = full * _RELAXED[min(len(_RELAXED) - 1, depth + len(_RELAXED) - min(longest, len(_RELAXED)))]
        pool: dict[tuple[Part, ...], float] = {}
        for parts, mask in beam:
            hits, others = _counts(transposed, mask & truth), _counts(transposed, mask & ~truth)
            sides = [(False, hits, others)]
            if literals.negated.any() and not several and parts:
                known = mask & present
                sides.append((True, float((known & truth).sum()) - hits, float((known & ~truth).sum()) - others))
            taken = {part.column for part in parts}
            for negated, right, wrong in sides:
                usable = right >= min_rows
                if negated:
                    usable &= literals.negated
                worth_now = np.where(usable, right - full * wrong, -np.inf)
                worth_later = np.where(usable, right - relaxed * wrong, -np.inf)
                for column in np.argsort(-worth_now, kind="stable")[:2].tolist():
                    longer = worth_now[column] > best_worth * (_WORTH_OF_LENGTH if best else 1.0) + 1e-9
                    if longer and column not in taken:
                        best, best_worth = (*parts, Part(column, negated)), float(worth_now[column])
                for column in np.argsort(-worth_later, kind="stable")[: BEAM + longest].tolist():
                    if np.isfinite(worth_later[column]) and column not in taken:
                        key = tuple(sorted((*parts, Part(column, negated))))
                        pool[key] = max(pool.get(key, -np.inf), float(worth_later[column]))
        first = sorted(pool, key=lambda key: (-pool[key], key))[:BEAM]
        beam = [(parts, _rows_here(matrix, parts, present)) for parts in first]
        if not beam:
            break
    return best


def _counts(transposed: csc_matrix, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    counted: NDArray[np.float64] = transposed @ mask.astype(np.float64)
    return counted


def _rows_here(matrix: csc_matrix, parts: tuple[Part, ...], present: NDArray[np.bool_]) -> NDArray[np.bool_]:
    found = np.ones(matrix.shape[0], dtype=bool)
    for part in parts:
        column = np.zeros(matrix.shape[0], dtype=bool)
        column[matrix.indices[matrix.indptr[part.column] : matrix.indptr[part.column + 1]]] = True
        found &= (present & ~column) if part.negated else column
    return found


def _column(literals: Literals, part: Part) -> NDArray[np.bool_]:
    matrix = literals.matrix
    column = np.zeros(matrix.shape[0], dtype=bool)
    column[matrix.indices[matrix.indptr[part.column] : matrix.indptr[part.column + 1]]] = True
    return literals.present[literals.items[part.column].feature] & ~column if part.negated else column
