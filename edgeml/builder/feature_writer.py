"""Writes the operations of a feature program (``ext/feature_ops.h``).

1. Every vector of columns gets registers of its own; what nothing reads in the end is left out again.
2. What is done to a ``Table`` is done to its entries here and now, with numpy, and costs nothing on the box.
3. Tables of zeros and ones over one category become a single operation that writes the ones and skips the zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeml.builder.feature_columns import (
    FLOAT32,
    FLOAT64,
    Column,
    Levels,
    NotCompiled,
    RawNumber,
    Register,
    Table,
    features_of,
    working_dtype,
)
from edgeml.builder.feature_texts import Term, TextBudget, scaled, text_members
from edgeml.runtime.features import FORMAT, FeatureProgram
from edgeml.runtime.schema import Schema

Numbers = NDArray[np.float64]


@dataclass
class _Written:
    """An operation before its numbers have a place in the pools."""

    op: str
    to: int = 0
    from_: int = 0
    count: int = 0
    extra: int = 0
    size: int = 0
    results: int = 0
    index: list[int] = field(default_factory=list)
    constants: Numbers = field(default_factory=lambda: np.empty(0))

    def reads(self, n_categories: int) -> tuple[set[int], set[int]]:
        """Registers and code registers that it reads."""
        if self.op in ("table", "emit_table", "emit_one", "refuse"):
            return set(), {self.from_ - n_categories} if self.from_ >= n_categories else set()
        if self.op in ("pick", "product"):
            return set(self.index), set()
        if self.op in ("load", "constant"):
            return set(), set()
        return set(range(self.from_, self.from_ + max(1, self.count))), set()


class ProgramWriter:
    """Collects operations and makes a FeatureProgram of them.

    Args:
        schema: What records look like.
        door: Type of the output: ``float32`` or ``float64``.

    Attributes:
        texts: What vectorizers may still take.
    """

    def __init__(self, schema: Schema, door: str) -> None:
        self.schema = schema
        self.door = door
        self.texts = TextBudget()
        self.n_categories = sum(slot.bank == "category" for slot in schema.slots.values())
        self._written: list[_Written] = []
        self._n_registers = 0
        self._n_codes = 0
        self._loads: dict[tuple[tuple[int, str], ...], int] = {}

    # Registers

    def vector(self, columns: Sequence[Column]) -> int:
        """First of consecutive registers that hold these columns; writes what brings them there."""
        if not columns:
            return 0
        first = columns[0]
        if isinstance(first, Register) and all(
            isinstance(column, Register) and column.register == first.register + i for i, column in enumerate(columns)
        ):
            return first.register
        if all(isinstance(column, RawNumber) for column in columns):
            return self._load([column for column in columns if isinstance(column, RawNumber)])
        to = self._registers(len(columns))
        for i, column in enumerate(columns):
            if isinstance(column, Register):
                self._add("pick", to=to + i, count=1, results=1, index=[column.register])
            elif isinstance(column, RawNumber):
                self._add("pick", to=to + i, count=1, results=1, index=[self._load([column])])
            elif isinstance(column, Table):
                self._table(to + i, column)
            else:
                raise NotCompiled(f"column {column.name!r} is not a number")
        return to

    def registers(self, columns: Sequence[Column]) -> list[Register]:
        """The same columns as consecutive registers."""
        first, dtype = self.vector(columns), working_dtype(columns)
        return [Register(column.name, column.features, dtype, first + i) for i, column in enumerate(columns)]

    def along(
        self,
        op: str,
        columns: Sequence[Column],
        constants: ArrayLike | None,
        on_table: Callable[[Numbers, int], Any],
        *,
        extra: int = 0,
        dtype: np.dtype[Any] | None = None,
    ) -> list[Column]:
        """Does the same thing to every column, each with its own constants.

        Args:
            op: Name of the operation.
            columns: n numeric columns.
            constants: [n] or [n, k]; None where the operation has none.
            on_table: What it does to the entries of a table, given the column's position.
            extra: The operation's further number.
            dtype: What scikit-learn computes in; found from the columns where None.
        """
        numbers = None if constants is None else np.asarray(constants, dtype=np.float64)
        dtype = working_dtype(columns) if dtype is None else dtype
        out: list[Column | None] = [None] * len(columns)
        computed = []
        terms = [i for i, column in enumerate(columns) if isinstance(column, Term)]
        if terms:
            by = [] if numbers is None else numbers[terms].tolist()
            for i, made in zip(terms, scaled(op, [columns[i] for i in terms], by), strict=True):
                out[i] = made
        for i, column in enumerate(columns):
            if isinstance(column, Term):
                continue
            if isinstance(column, Table):
                with np.errstate(all="ignore"):
                    out[i] = replace(column, dtype=dtype).mapped(np.asarray(on_table(column.values, i), FLOAT64))
            else:
                computed.append(i)
        if computed:
            start = self.vector([columns[i] for i in computed])
            to = self._registers(len(computed))
            chosen = np.empty(0) if numbers is None else np.ascontiguousarray(numbers[computed]).ravel()
            self._add(op, to=to, from_=start, count=len(computed), extra=extra, results=len(computed), constants=chosen)
            self._round(to, len(computed), dtype)
            for at, i in enumerate(computed):
                out[i] = Register(columns[i].name, columns[i].features, dtype, to + at)
        return [column for column in out if column is not None]

    def across(
        self,
        op: str,
        columns: Sequence[Column],
        names: Sequence[str],
        *,
        constants: ArrayLike = (),
        extra: int = 0,
        index: Sequence[int] = (),
        count: int | None = None,
    ) -> list[Register]:
        """An operation whose every result depends on all the columns (or on registers named in ``index``)."""
        dtype = working_dtype(columns)
        start = 0 if index else self.vector(columns)
        to = self._registers(len(names))
        numbers = np.asarray(constants, dtype=np.float64).ravel()
        self._add(
            op,
            to=to,
            from_=start,
            count=len(columns) if count is None else count,
            extra=extra,
            results=len(names),
            index=list(index),
            constants=numbers,
        )
        self._round(to, len(names), dtype)
        features = features_of(columns)
        return [Register(name, features, dtype, to + i) for i, name in enumerate(names)]

    def constant(self, value: float, name: str) -> Column:
        """A column that is the same in every row."""
        to = self._registers(1)
        self._add("constant", to=to, count=1, results=1, constants=np.array([value]))
        return Register(name, (), FLOAT64, to)

    def bins(self, column: Column, edges: ArrayLike) -> Column:
        """Number of edges at or below the value."""
        numbers = np.asarray(edges, dtype=np.float64)
        if isinstance(column, Table):
            return column.mapped(np.searchsorted(numbers, column.values, side="right").astype(np.float64))
        start, to = self.vector([column]), self._registers(1)
        self._add("bin", to=to, from_=start, count=1, extra=len(numbers), results=1, constants=numbers)
        return Register(column.name, column.features, column.dtype, to)

    # Codes

    def levels_of(self, column: Column, categories: Sequence[Any]) -> Levels:
        """A numeric column as the codes of known categories.

        Args:
            column: The column.
            categories: Distinct numbers without NaN; their order becomes ascending.
        """
        known = sorted(categories, key=float)
        numbers = np.array([float(value) for value in known])
        unseen = float(np.max(numbers, initial=0.0)) + 1.0
        start, code = self.vector([column]), self._n_codes
        self._n_codes += 1
        self._add("categorize", to=code, from_=start, count=1, extra=len(numbers), constants=numbers)
        values = (unseen, np.nan, *known)
        return Levels(
            column.name,
            column.features,
            column.dtype,
            self.n_categories + code,
            values,
            np.ones(len(values), dtype=bool),
        )

    def refuse(self, column: Levels, refused: NDArray[np.bool_]) -> None:
        """Marks rows that the pipeline itself would refuse."""
        flags = (refused & column.reachable).astype(np.float64)
        if flags.any():
            self._add("refuse", from_=column.source, count=1, size=len(flags), constants=flags)

    # The end

    def program(self, outputs: Sequence[Column], strings: Sequence[str]) -> FeatureProgram:
        """The program whose output has these columns.

        Args:
            outputs: Numeric columns, in the order of ``dense``.
            strings: Features that reach the model as strings.

        Raises:
            NotCompiled: A column is not a number.
        """
        numbers = [column for column in outputs if not isinstance(column, Term)]
        self._emit(numbers)
        live = self._live()
        index: list[int] = []
        pool: list[Numbers] = []
        known: dict[bytes, int] = {}
        filled = 0
        operations = []

        def keep(constants: Numbers) -> int:
            nonlocal filled
            key = constants.tobytes()
            if key not in known:
                known[key] = filled
                pool.append(constants)
                filled += len(constants)
            return known[key]

        for o in live:
            document: dict[str, Any] = {"op": o.op}
            if o.index:
                document["index"] = len(index)
                index += o.index
            if len(o.constants):
                document["constant"] = keep(o.constants)
            members = {"to": o.to, "from": o.from_, "count": o.count, "extra": o.extra, "size": o.size}
            operations.append({key: value for key, value in (document | members).items() if value})
        texts, terms = text_members(outputs, keep=keep, index=index)
        document = {
            "format": FORMAT,
            "door": self.door,
            "registers": self._n_registers,
            "codes": self._n_codes,
            "outputs": [column.name for column in numbers],
            "strings": list(strings),
            "index": index,
            "operations": operations,
        }
        if texts:
            places = [at for at, column in enumerate(outputs) if not isinstance(column, Term)]
            document |= {"texts": texts, "places": places, "width": len(outputs)}
        return FeatureProgram(document, np.concatenate(pool) if pool else np.empty(0), self.schema, terms)

    def _emit(self, outputs: Sequence[Column]) -> None:
        run: list[Column] = []
        tables: dict[int, list[_Group]] = {}
        for at, column in enumerate([*outputs, None]):
            if column is None or isinstance(column, Table):
                if run:
                    self._add("emit", from_=self.vector(run), count=len(run), extra=at - len(run))
                    run = []
            if isinstance(column, Table):
                _group(tables.setdefault(column.source, []), at, column)
            elif column is not None:
                run.append(column)
        for source, groups in tables.items():
            for group in groups:
                self._emit_group(source, group)

    def _emit_group(self, source: int, group: _Group) -> None:
        size = len(group.used)
        index = [-1] * size
        for at, values in group.members:
            if group.ones and values.any():
                for entry in np.flatnonzero(values).tolist():
                    index[entry] = at
            else:
                # Also a column that is zero for every code: no entry of an index would ever write it.
                self._add("emit_table", from_=source, count=1, extra=at, size=size, constants=values)
        if group.ones and max(index) >= 0:
            self._add("emit_one", from_=source, count=1, size=size, index=index)

    def _live(self) -> list[_Written]:
        """The operations whose results are used, in order."""
        registers: set[int] = set()
        codes: set[int] = set()
        kept = []
        for o in reversed(self._written):
            results = set(range(o.to, o.to + o.results))
            if o.results and not results & registers:
                continue
            if o.op == "categorize" and o.to not in codes:
                continue
            read, read_codes = o.reads(self.n_categories)
            registers |= read
            codes |= read_codes
            kept.append(o)
        return kept[::-1]

    def _load(self, columns: Sequence[RawNumber]) -> int:
        key = tuple((column.slot, column.dtype.str) for column in columns)
        if key not in self._loads:
            to = self._registers(len(columns))
            self._add(
                "load", to=to, count=len(columns), results=len(columns), index=[column.slot for column in columns]
            )
            for i, column in enumerate(columns):
                # The training data held this column in float32; the record brings a double.
                self._round(to + i, 1, column.dtype)
            self._loads[key] = to
        return self._loads[key]

    def _table(self, to: int, column: Table) -> None:
        values = _sound(column)
        self._add("table", to=to, from_=column.source, count=1, size=len(values), results=1, constants=values)

    def _round(self, to: int, count: int, dtype: np.dtype[Any]) -> None:
        if dtype == FLOAT32:
            self._add("round", to=to, from_=to, count=count, results=count)

    def _registers(self, count: int) -> int:
        first = self._n_registers
        self._n_registers += count
        return first

    def _add(self, op: str, **members: Any) -> None:
        self._written.append(_Written(op, **members))


@dataclass
class _Group:
    """Tables over one source that one operation can write: each code has a one in at most one of them."""

    ones: bool
    used: NDArray[np.bool_]
    members: list[tuple[int, Numbers]] = field(default_factory=list)


def _group(groups: list[_Group], at: int, table: Table) -> None:
    """Adds a table to the first group that it fits, or to a new one."""
    values = _sound(table)
    ones = bool(np.all((values == 0) | (values == 1)))
    filled = values != 0
    for group in groups:
        if ones and group.ones and not (group.used & filled).any():
            break
    else:
        group = _Group(ones, np.zeros(len(values), dtype=bool))
        groups.append(group)
    group.used |= filled
    group.members.append((at, values))


def _sound(table: Table) -> Numbers:
    """The entries, with zero where no record can bring them about."""
    return np.where(table.reachable, table.values, 0.0)
