"""Transformers over categories become tables: the fitted transformer itself is asked what it makes of every level.

1. Every level of every column is put through ``transform`` once, when the bundle is built: options such as ``drop``,
   ``handle_unknown``, infrequent levels or smoothing need no second implementation.
2. What ``transform`` raises on is marked: a row with such a level is refused by the program, as by the pipeline.
3. Numbers may be categories too: they are looked up among the encoder's categories first.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from edgeml.builder.feature_columns import FLOAT64, Column, Levels, NotCompiled, Table, Text
from edgeml.builder.feature_steps import compiles, fill, indicators
from edgeml.builder.feature_writer import ProgramWriter


@compiles("OneHotEncoder")
def _one_hot(writer: ProgramWriter, step: Any, columns: Sequence[Column]) -> Sequence[Column]:
    return _encoded(writer, step, columns, [int(width) for width in step._n_features_outs])


@compiles("OrdinalEncoder")
def _ordinal(writer: ProgramWriter, step: Any, columns: Sequence[Column]) -> Sequence[Column]:
    return _encoded(writer, step, columns, [1] * len(columns))


@compiles("TargetEncoder")
def _target(writer: ProgramWriter, step: Any, columns: Sequence[Column]) -> Sequence[Column]:
    width = len(step.classes_) if step.target_type_ == "multiclass" else 1
    return _encoded(writer, step, columns, [width] * len(columns))


def _encoded(writer: ProgramWriter, step: Any, columns: Sequence[Column], widths: Sequence[int]) -> Sequence[Column]:
    """Encoders: each column of categories becomes ``widths[j]`` columns of numbers."""
    levels = []
    for column, categories in zip(columns, step.categories_, strict=True):
        if isinstance(column, Text):
            raise NotCompiled(f"{type(step).__name__} over the text {column.name!r}")
        levels.append(column if isinstance(column, Levels) else _as_levels(writer, column, categories))
    made, refused = tabulate(step, levels)
    out: list[Column] = []
    start = 0
    for j, (column, width) in enumerate(zip(levels, widths, strict=True)):
        writer.refuse(column, refused[j])
        for k in range(width):
            values = np.array([made[j][entry][start + k] for entry in range(len(column.values))], dtype=np.float64)
            name = f"{column.name}[{k}]" if width > 1 else column.name
            out.append(Table(name, column.features, FLOAT64, column.source, values, column.reachable))
        start += width
    return out


def _as_levels(writer: ProgramWriter, column: Column, categories: Any) -> Levels:
    known = [value for value in np.asarray(categories).tolist() if value == value and value is not None]
    if not all(isinstance(value, (int, float)) for value in known):
        raise NotCompiled(f"categories of {column.name!r} that are not numbers, over numbers")
    return writer.levels_of(column, known)


@compiles("SimpleImputer")
def _simple_imputer(writer: ProgramWriter, step: Any, columns: Sequence[Column]) -> Sequence[Column]:
    statistics = step.statistics_.tolist()
    kept = [j for j in range(len(columns)) if step.keep_empty_features or not _is_empty(statistics[j])]
    if any(isinstance(columns[j], Text) for j in range(len(columns))):
        raise NotCompiled("SimpleImputer over a text")
    objects = [j for j in kept if isinstance(columns[j], Levels)]
    filled: dict[int, Column] = {}
    numbers = [j for j in kept if j not in objects]
    given = fill(writer, step, [columns[j] for j in numbers], [statistics[j] for j in numbers]) if numbers else []
    filled |= dict(zip(numbers, given, strict=True))
    if objects:
        filled |= _filled_levels(writer, step, columns, kept, objects)
    out = [filled[j] for j in kept]
    if not step.add_indicator:
        return out
    for j in step.indicator_.features_:
        column = columns[j]
        if isinstance(column, Levels):
            out.append(_missing_levels(step, columns, int(j), len(kept)))
        else:
            out += indicators(writer, _Chosen(step.missing_values), [column])
    return out


class _Chosen:
    """A MissingIndicator's settings for a single column."""

    features_ = (0,)

    def __init__(self, missing_values: Any) -> None:
        self.missing_values = missing_values


def _is_empty(statistic: Any) -> bool:
    return statistic is None or (isinstance(statistic, float) and statistic != statistic)


def _all_levels(step: Any, columns: Sequence[Column]) -> list[Levels]:
    """All columns of an imputer as levels; a number stands for itself with its own statistic."""
    out = []
    for column, statistic in zip(columns, step.statistics_.tolist(), strict=True):
        if isinstance(column, Levels):
            out.append(column)
        else:
            value = 0.0 if _is_empty(statistic) else statistic
            out.append(
                Levels(column.name, column.features, column.dtype, 0, (value,) * 3, np.array([False, False, True]))
            )
    return out


def _filled_levels(
    writer: ProgramWriter, step: Any, columns: Sequence[Column], kept: list[int], objects: list[int]
) -> dict[int, Column]:
    made, refused = tabulate(step, _all_levels(step, columns))
    filled: dict[int, Column] = {}
    for j in objects:
        column = columns[j]
        assert isinstance(column, Levels)
        writer.refuse(column, refused[j])
        at = kept.index(j)
        values = tuple(made[j][entry][at] for entry in range(len(column.values)))
        filled[j] = replace(column, values=values, raw=False)
    return filled


def _missing_levels(step: Any, columns: Sequence[Column], j: int, n_kept: int) -> Column:
    made, _ = tabulate(step, _all_levels(step, columns))
    column = columns[j]
    assert isinstance(column, Levels)
    at = n_kept + np.flatnonzero(np.asarray(step.indicator_.features_) == j)[0]
    values = np.array([float(made[j][entry][at]) for entry in range(len(column.values))])
    return Table(f"{column.name} missing", column.features, FLOAT64, column.source, values, column.reachable)


def tabulate(step: Any, columns: Sequence[Levels]) -> tuple[list[list[Any]], list[NDArray[np.bool_]]]:
    """Puts every entry of every column through ``transform``.

    Args:
        step: A fitted transformer whose outputs depend on one column each.
        columns: Its columns.

    Returns:
        For each column the whole output row of each entry (zeros where it is refused), and which entries are refused.
    """
    safe = [column.values[2] if len(column.values) > 2 else column.values[1] for column in columns]
    depth = max(len(column.values) for column in columns)
    rows = []
    for entry in range(depth):
        row = []
        for column, value in zip(columns, safe, strict=True):
            usable = entry < len(column.values) and column.reachable[entry]
            row.append(column.values[entry] if usable else value)
        rows.append(row)
    given = _transformed(step, columns, rows)
    made: list[list[Any]] = []
    refused = []
    for j, column in enumerate(columns):
        answers: list[Any] = []
        flags = np.zeros(len(column.values), dtype=bool)
        for entry in range(len(column.values)):
            if not column.reachable[entry]:
                answers.append(None)
            elif given is not None:
                answers.append(given[entry])
            else:
                alone = _transformed(step, columns, [[*safe[:j], column.values[entry], *safe[j + 1 :]]])
                flags[entry] = alone is None
                answers.append(None if alone is None else alone[0])
        width = next((len(answer) for answer in answers if answer is not None), 0)
        made.append([[0.0] * width if answer is None else answer for answer in answers])
        refused.append(flags)
    if any(not rows for rows in made) or all(not len(row) for rows in made for row in rows):
        raise NotCompiled(f"{type(step).__name__}, which refuses every level")
    return made, refused


def _transformed(step: Any, columns: Sequence[Levels], rows: list[list[Any]]) -> list[Any] | None:
    """The output rows; None where the transformer raises."""
    table = _table(step, columns, rows)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            made = step.transform(table)
        except Exception:  # whatever a transformer raises is its way to refuse
            return None
    if hasattr(made, "toarray"):
        made = made.toarray()
    return list(np.asarray(made).tolist())


def _table(step: Any, columns: Sequence[Levels], rows: list[list[Any]]) -> Any:
    """Rows in the form that the transformer was fitted on: a DataFrame, or an array of one dtype."""
    by_column = list(zip(*rows, strict=True))
    arrays = [_array(column, values) for column, values in zip(columns, by_column, strict=True)]
    names = getattr(step, "feature_names_in_", None)
    if names is not None:
        return pd.DataFrame(
            # Left to itself, pandas makes strings of objects, and NaN of None.
            {str(name): pd.Series(array, dtype=array.dtype) for name, array in zip(names, arrays, strict=True)}
        )
    dtypes = {array.dtype for array in arrays}
    if len(dtypes) == 1 and dtypes != {np.dtype(object)}:
        return np.column_stack(arrays)
    table = np.empty((len(rows), len(columns)), dtype=object)
    for j, array in enumerate(arrays):
        table[:, j] = array
    return table


def _array(column: Levels, values: Sequence[Any]) -> NDArray[Any]:
    if column.dtype.kind in "fiub" and all(isinstance(value, (int, float)) for value in values):
        return np.array(values, dtype=np.float64)
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
