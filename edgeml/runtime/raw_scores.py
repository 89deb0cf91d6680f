"""What a native model adds up before a link function makes a score of it.

1. A register is followed back through the model's operations. Where it is a constant plus factors times columns of the
   row and times sums of trees, that is its raw score: everything between is linear.
2. Where it is not, but a rising function of something that is (sigmoid, exp, softmax), that something is the raw score,
   with its sign turned where the function falls.
3. Softmax does not change where all of its arguments rise alike, so one of them alone says nothing. Of two, the raw
   score is the difference, which is the log-odds; of more, the argument less the mean of all, which is the centred
   log-ratio of the probabilities (Aitchison 1982, The Statistical Analysis of Compositional Data, JRSS B 44).
4. Nothing of a model is believed but what ``NativeModel`` has checked: a register that is written twice, or more work
   than bounded, ends in ``Opaque``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeml.kernels.native_model import OPERATIONS, NativeModel

# Operations in a row that are followed, and operations and factors in all: some tenths of a second, once for a label.
MAX_STEPS = 200
MAX_WORK = 20_000_000

_MANY = frozenset(("product", "trees"))
_ONE = frozenset(("sum", "largest", "lowest", "highest"))
# Rising functions, and what the number before them is called.
_RISING = {"sigmoid": "log-odds", "exp": "log", "tanh": "inner", "log": "inner", "sqrt": "inner"}


class Opaque(Exception):
    """The score is no sum over the inputs; the text says what is in between."""


class TreeSum(NamedTuple):
    """A sum of trees that a score takes in.

    Attributes:
        ensemble: Number of the ensemble.
        target: Which of its sums.
        rounded: Whether the trees see the row rounded to float32.
    """

    ensemble: int
    target: int
    rounded: bool


class Form(NamedTuple):
    """A constant plus factors times atoms. Atom c is column c of the row, width + c the same rounded to float32,
    2 * width + k the k-th of the model's ``TreeSum``. An atom may stand there more than once."""

    constant: float
    atoms: NDArray[np.int64]
    factors: NDArray[np.float64]

    def scaled(self, by: float, plus: float = 0.0) -> Form:
        """The form times a number, plus another."""
        return Form(self.constant * by + plus, self.atoms, self.factors * by)


@dataclass(frozen=True)
class RawScore:
    """What is added up for a score.

    Attributes:
        constant: What is there without any input.
        columns: Columns of the row.
        factors: A factor for each of them.
        rounded: Whether each of them is rounded to float32 first.
        trees: Sums of trees.
        tree_factors: A factor for each of them.
        scale: ``score`` where it is the score itself; ``log-odds``, ``log-ratio`` (centred) or ``log`` of it where a
            link makes the score; ``inner`` where some other rising function does.
    """

    constant: float
    columns: NDArray[np.int64]
    factors: NDArray[np.float64]
    rounded: NDArray[np.bool_]
    trees: tuple[TreeSum, ...]
    tree_factors: tuple[float, ...]
    scale: str


def raw_score(model: NativeModel, register: int) -> RawScore:
    """The raw score of a register.

    Args:
        model: The model.
        register: Where it leaves the score.

    Raises:
        Opaque: There is none.
    """
    return _Trace(model).score(register)


def sees_rounded(model: NativeModel, ensemble: int) -> bool:
    """Whether the trees of an ensemble see the row rounded to float32.

    Args:
        model: The model.
        ensemble: Its number; one that no operation asks sees the row as it is.
    """
    trace = _Trace(model)
    trees = OPERATIONS.index("trees")
    for op, _, start, _, index, _, _, _ in trace.operations.tolist():
        if op == trees and index == ensemble:
            return trace.sees_rounded(start)
    return False


class _Trace:
    """Follows one register of a model."""

    def __init__(self, model: NativeModel) -> None:
        self._model = model
        self._width = model.width
        self.operations = np.frombuffer(model.operations(), dtype=np.int32).reshape(-1, 8)
        self._writer = np.full(model.n_registers, -1, dtype=np.int64)
        self._twice = False
        for at, (op, to, _, count, _, _, extra, _) in enumerate(self.operations.tolist()):
            name = OPERATIONS[op]
            results = extra if name in _MANY else 1 if name in _ONE else count
            self._twice |= bool((self._writer[to : to + results] >= 0).any())
            self._writer[to : to + results] = at
        self._trees: dict[TreeSum, int] = {}
        self._memo: dict[int, Form | str] = {}
        self._work = 0

    def score(self, register: int) -> RawScore:
        if self._twice:
            raise Opaque("registers that are written twice")
        form, scale = self._behind_links(register)
        plain = form.atoms < 2 * self._width
        columns, trees = form.atoms[plain], list(self._trees)
        return RawScore(
            constant=form.constant,
            columns=columns % self._width,
            factors=form.factors[plain],
            rounded=columns >= self._width,
            trees=tuple(trees[at - 2 * self._width] for at in form.atoms[~plain].tolist()),
            tree_factors=tuple(form.factors[~plain].tolist()),
            scale=scale,
        )

    def _behind_links(self, register: int) -> tuple[Form, str]:
        sign, scale = 1.0, "score"
        for _ in range(MAX_STEPS):
            try:
                return self._form(register, 0).scaled(sign), scale
            except Opaque as error:
                at = int(self._writer[register])
                if at < 0:
                    raise
                op, to, start, count, index, constant, _, _ = self.operations[at].tolist()
                name, i = OPERATIONS[op], register - to
                if name in ("multiply", "divide", "from", "base"):
                    by = self._constant(constant + i)
                    falls = name == "from" or (by < 1 if name == "base" else by < 0)
                    if by == 0 or (name == "base" and (by < 0 or by == 1)):
                        raise
                    sign = -sign if falls else sign
                    if name == "base":
                        scale = "inner"
                elif name == "product" and count == 1:
                    by = self._constant(constant + i)
                    if by == 0:
                        raise
                    sign, i = -sign if by < 0 else sign, 0
                elif name == "softmax":
                    form = self._centred(start, count, i)
                    if scale != "score":
                        return form.scaled(sign), "inner"
                    return (form.scaled(sign * 2), "log-odds") if count == 2 else (form.scaled(sign), "log-ratio")
                elif name in _RISING:
                    scale = _RISING[name] if scale == "score" else "inner"
                elif name == "pick":
                    register = int(self._index(index + i, 1)[0])
                    continue
                elif name not in ("round", "add", "subtract"):
                    raise Opaque(name) from error
                register = start + i
        raise Opaque("too many operations")

    def _centred(self, start: int, count: int, i: int) -> Form:
        """A register less the mean of it and its neighbours."""
        constant, by_atom = 0.0, np.zeros(2 * self._width)
        for k in range(count):
            form, by = self._form(start + k, 0), (k == i) - 1.0 / count
            self._memo.clear()  # of many labels and many columns all forms together would be large
            self._spend(len(form.atoms) + 1)
            constant += by * form.constant
            known = 2 * self._width + len(self._trees)
            by_atom = np.concatenate([by_atom, np.zeros(known - len(by_atom))])
            np.add.at(by_atom, form.atoms, by * form.factors)
        (atoms,) = np.nonzero(by_atom)
        return Form(constant, atoms.astype(np.int64), by_atom[atoms])

    def _form(self, register: int, depth: int) -> Form:
        known = self._memo.get(register)
        if known is None:
            try:
                known = self._made(register, depth)
            except Opaque as error:
                known = str(error)
            self._memo[register] = known
        if isinstance(known, str):
            raise Opaque(known)
        return known

    def _made(self, register: int, depth: int) -> Form:
        if register < self._width:
            return self._atom(register)
        at = int(self._writer[register])
        self._spend(1)
        if at < 0 or depth > MAX_STEPS:
            raise Opaque("too many operations")
        op, to, start, count, index, constant, extra, _ = self.operations[at].tolist()
        name, i = OPERATIONS[op], register - to
        if name == "product":
            return self._product(start, count, constant, extra, i, depth)
        if name == "trees":
            tree = TreeSum(index, i, self.sees_rounded(start, depth))
            number = self._trees.setdefault(tree, len(self._trees))
            return self._atom(2 * self._width + number).scaled(1.0, self._constant(constant + i))
        if name == "pick":
            return self._form(int(self._index(index + i, 1)[0]), depth + 1)
        if name == "sum":
            return self._total([self._form(start + k, depth + 1) for k in range(count)])
        if name not in ("round", "add", "subtract", "multiply", "divide", "from"):
            raise Opaque(name)
        given = self._form(start + i, depth + 1)
        if name == "round":
            # Of the row itself it is told apart; of sums it changes nothing that is shown.
            alone = given.constant == 0 and len(given.atoms) == 1 and given.factors[0] == 1
            return self._atom(self._width + int(given.atoms[0])) if alone and given.atoms[0] < self._width else given
        by = self._constant(constant + i)
        if name == "multiply" or name == "divide":
            if name == "divide" and by == 0:
                raise Opaque(name)
            return given.scaled(by if name == "multiply" else 1.0 / by)
        if name == "from":
            return given.scaled(-1.0, by)
        return given.scaled(1.0, by if name == "add" else -by)

    def _product(self, start: int, count: int, constant: int, results: int, i: int, depth: int) -> Form:
        self._spend(count)
        weights = self._constants(constant + i * count, count)
        bias = self._constant(constant + results * count + i)
        if start + count <= self._width:
            return Form(bias, np.arange(start, start + count, dtype=np.int64), weights.copy())
        parts = [self._form(start + k, depth + 1).scaled(by) for k, by in enumerate(weights.tolist())]
        return self._total(parts).scaled(1.0, bias)

    def _total(self, parts: list[Form]) -> Form:
        self._spend(sum(len(part.atoms) for part in parts))
        return _sum(parts)

    def sees_rounded(self, start: int, depth: int = 0) -> bool:
        """Whether trees at this register see the row rounded; they see nothing but the row."""
        self._spend(self._width)
        if start == 0:
            return False
        for column in range(self._width):
            form = self._form(start + column, depth + 1)
            if len(form.atoms) != 1 or form.atoms[0] != self._width + column or form.factors[0] != 1 or form.constant:
                raise Opaque("trees over computed numbers")
        return True

    def _atom(self, number: int) -> Form:
        return Form(0.0, np.array([number], dtype=np.int64), np.ones(1))

    def _spend(self, work: int) -> None:
        self._work += work
        if self._work > MAX_WORK:
            raise Opaque("too many operations")

    def _constant(self, at: int) -> float:
        return float(self._constants(at, 1)[0])

    def _constants(self, start: int, count: int) -> NDArray[np.float64]:
        return np.frombuffer(self._model.constants(start, count), dtype=np.float64)

    def _index(self, start: int, count: int) -> NDArray[np.int32]:
        return np.frombuffer(self._model.index(start, count), dtype=np.int32)


def _sum(parts: list[Form]) -> Form:
    return Form(
        sum(part.constant for part in parts),
        np.concatenate([part.atoms for part in parts]),
        np.concatenate([part.factors for part in parts]),
    )
