"""What each feature or word added to a native model's score: exact, and summing up to the score.

1. Where the score is linear in the model's input, a column contributes its weight times its encoded value, and the
   baseline is the intercept. Where it is a sum of trees, a feature contributes its Shapley value
   (``ext/tree_shares.h``), and the baseline is what the trees give on average over the rows that the model was built
   on. A model may add both.
2. The baseline and all contributions make the raw score (``raw_scores.py`` says which number that is), of which the
   largest contributions are shown one by one and all others in ``rest``.
3. Columns that come from the same features are one; a vectorizer's columns are one for each term.
4. Work is bounded: trees that would take too long are not explained, and say so.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml.kernels.native_model import DEPTH_LIMIT, TreeShares
from edgeml.runtime.explanation_budget import STEPS, Allowance
from edgeml.runtime.feature_origins import FeatureOrigins, Origin
from edgeml.runtime.features import FeatureProgram
from edgeml.runtime.native_session import NativeSession
from edgeml.runtime.raw_scores import Opaque, RawScore, TreeSum, raw_score
from edgeml.runtime.schema import Schema

# Contributions that are shown one by one.
SHOWN = 10
# Of kept raw scores together; a model with more factors works them out each time.
_KEPT_FACTORS = 1_000_000


class NoContributions(Exception):
    """There are none; the text says why."""


@dataclass(frozen=True)
class Share:
    """A contribution.

    Attributes:
        origin: Who made it.
        amount: How much it is.
    """

    origin: Origin
    amount: float


@dataclass(frozen=True)
class Shares:
    """A raw score and what it consists of.

    Attributes:
        shown: The largest contributions, the largest first.
        rest: The sum of all others.
        baseline: What is there without any of them.
        total: The raw score.
        scale: What kind of number it is; see ``RawScore``.
    """

    shown: tuple[Share, ...]
    rest: float
    baseline: float
    total: float
    scale: str


class Contributions:
    """Explains the answers of one native model. Any thread may ask.

    Args:
        program: What makes the model's input.
        session: The model.
        schema: The bundle's schema.
    """

    def __init__(self, program: FeatureProgram, session: NativeSession, schema: Schema) -> None:
        self._program = program
        self._session = session
        self._schema = schema
        self._origins: FeatureOrigins | None = None
        self._raw: dict[tuple[str, int], RawScore] = {}
        self._trees: dict[int, tuple[TreeShares, int]] = {}
        self._lock = threading.Lock()
        self._encoders: list[Any] = []

    def explain(self, capsule: Any, output: str, place: int, allowance: Allowance) -> Shares:
        """What makes the score of the record in row 0 of a frame.

        Args:
            capsule: The frame's.
            output: Name of the model's output.
            place: Which of its columns.
            allowance: What the request may still cost; what is done is taken off.

        Raises:
            NoContributions: There are none.
            Spent: There would be some, but the request may cost no more.
        """
        raw, origins = self._raw_score(output, place), self._ready_origins()
        row, sums = self._row(capsule)
        amounts = np.zeros(origins.count)
        baseline = raw.constant
        if sums is None:
            values = row[raw.columns]
            if raw.rounded.any():
                values = np.where(raw.rounded, values.astype(np.float32), values)
            np.add.at(amounts, origins.owners[raw.columns], raw.factors * values)
        else:
            by = np.zeros(len(sums))
            np.add.at(by, raw.columns, raw.factors)
            baseline += float(by @ sums)
            (given,) = np.nonzero(row)
            np.add.at(amounts, origins.owners[given], row[given] * (self._session.product_weights(given) @ by))
        for tree, factor in zip(raw.trees, raw.tree_factors, strict=True):
            baseline += self._add_trees(tree, factor, row, amounts, allowance)
        total = baseline + float(amounts.sum())
        if not np.isfinite(total) or not np.isfinite(amounts).all():
            raise NoContributions("a contribution is no finite number")
        return self._largest(amounts, baseline, total, raw.scale, origins)

    def _largest(
        self, amounts: NDArray[np.float64], baseline: float, total: float, scale: str, origins: FeatureOrigins
    ) -> Shares:
        first = np.argsort(-np.abs(amounts), kind="stable")[:SHOWN]
        first = first[amounts[first] != 0]
        rest = amounts.copy()
        rest[first] = 0
        shown = tuple(Share(origins.origin(at), float(amounts[at])) for at in first.tolist())
        return Shares(shown, float(rest.sum()), baseline, total, scale)

    def _row(self, capsule: Any) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """The model's input for row 0, and the biases of its sparse product where it has one."""
        try:
            encoder, out = self._encoders.pop()
        except IndexError:
            encoder, out = self._program.encoder(), np.empty((1, self._program.n_outputs), dtype=self._program.dtype)
            encoder.bind(out)
        encoder.encode_bound(capsule)
        row = out[0].astype(np.float64)
        self._encoders.append((encoder, out))
        return row, self._session.product_biases()

    def _raw_score(self, output: str, place: int) -> RawScore:
        known = self._raw.get((output, place))
        if known is not None:
            return known
        try:
            made = raw_score(self._session.model, self._session.register(output, place))
        except Opaque as error:
            raise NoContributions("the model's score is no sum over its inputs") from error
        with self._lock:
            if sum(len(each.factors) for each in self._raw.values()) + len(made.factors) <= _KEPT_FACTORS:
                self._raw[output, place] = made
        return made

    def _ready_origins(self) -> FeatureOrigins:
        if self._origins is None:
            self._origins = FeatureOrigins(self._program, self._schema)
        return self._origins

    def _add_trees(
        self, tree: TreeSum, factor: float, row: NDArray[np.float64], amounts: NDArray[np.float64], allowance: Allowance
    ) -> float:
        shares, points = self._ready_trees(tree.ensemble)
        steps = shares.nodes(tree.target) * points
        if steps > STEPS:
            raise NoContributions("the model has too many nodes in its trees")
        allowance.take(steps)
        added = np.zeros(len(amounts))
        seen = row.astype(np.float32).astype(np.float64) if tree.rounded else row
        expected = shares.add(seen, tree.target, added)
        amounts += factor * added
        return factor * expected

    def _ready_trees(self, ensemble: int) -> tuple[TreeShares, int]:
        made = self._trees.get(ensemble)
        if made is not None:
            return made
        counts = self._session.leaf_counts
        if counts is None:
            raise NoContributions(
                "the bundle does not say how its training rows were divided in the trees; build it again"
            )
        model, origins = self._session.model, self._ready_origins()
        _, _, deepest = model.size_of(ensemble)
        if deepest > DEPTH_LIMIT:
            raise NoContributions(f"a tree of the model asks more than {DEPTH_LIMIT} questions in a row")
        points, weights = quadrature(min(deepest, origins.count))
        shares = TreeShares(model, ensemble, counts[ensemble], origins.owners, points, weights)
        made = self._trees[ensemble] = shares, len(points)
        return made


def quadrature(players: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points and weights over 0 to 1 that are exact for ``TreeShares`` (Gauss and Legendre).

    Args:
        players: Players that one path may ask at most.
    """
    points, weights = np.polynomial.legendre.leggauss(max(1, (players + 1) // 2))
    return (points + 1) / 2, weights / 2
