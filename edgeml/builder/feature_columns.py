"""What the compiler knows of a column while it walks through a pipeline.

1. A column is a number that is read (``RawNumber``) or computed (``Register``), a function of one category's code
   (``Levels`` where its values are not numbers yet, ``Table`` where they are), or text.
2. ``source`` of Levels and Table is a category column of the Frame, or behind those a code register.
3. Entries of a table: unseen, missing, then one for each level; ``reachable`` says which of them a record can bring
   about under the schema's policies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from edgeml.builder.schema_inference import UNSEEN_LEVEL
from edgeml.errors import UnsupportedError
from edgeml.runtime.schema import Schema

FLOAT64 = np.dtype(np.float64)
FLOAT32 = np.dtype(np.float32)


class NotCompiled(Exception):
    """The core has no operation for this; the text says for what."""


@dataclass(frozen=True, eq=False)
class Column:
    """A column of an intermediate table.

    Attributes:
        name: For people: the feature it came from, and what became of it.
        features: Features of the schema that it is computed from.
        dtype: dtype that scikit-learn would hold it in; float32 means that every step rounds.
    """

    name: str
    features: tuple[str, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True, eq=False)
class RawNumber(Column):
    """A number column of the Frame, as it is read.

    Attributes:
        slot: Its position among the number columns.
    """

    slot: int


@dataclass(frozen=True, eq=False)
class Register(Column):
    """A computed number.

    Attributes:
        register: Where it is kept.
    """

    register: int


@dataclass(frozen=True, eq=False)
class Levels(Column):
    """A category whose value at this point of the pipeline is still an object, such as a string.

    Attributes:
        source: Where its code is.
        values: Value of each entry.
        reachable: Whether each entry can occur.
        raw: Whether it comes straight from the record.
    """

    source: int
    values: tuple[Any, ...]
    reachable: NDArray[np.bool_]
    raw: bool = False


@dataclass(frozen=True, eq=False)
class Table(Column):
    """A number for each code of a category.

    Attributes:
        source: Where the code is.
        values: Number of each entry.
        reachable: Whether each entry can occur.
    """

    source: int
    values: NDArray[np.float64]
    reachable: NDArray[np.bool_]

    def mapped(self, values: NDArray[np.float64]) -> Table:
        """The same codes with other numbers, rounded where scikit-learn would hold them in float32."""
        if self.dtype == FLOAT32:
            values = values.astype(np.float32)
        return replace(self, values=values.astype(np.float64))


@dataclass(frozen=True, eq=False)
class Text(Column):
    """A text feature, which only the model's own string inputs can take."""


def raw_columns(schema: Schema, X: Any) -> list[Column]:
    """The columns of the training data, in the schema's order.

    Args:
        schema: The schema inferred from it.
        X: The training data: DataFrame or array [n, d].

    Raises:
        UnsupportedError: A column's dtype has no equivalent in the core.
    """
    columns: list[Column] = []
    for position, feature in enumerate(schema.features):
        series = _series(X, feature.name, position)
        slot = schema.slots[feature.name]
        origin = (feature.name,)
        if slot.bank == "number":
            columns.append(RawNumber(feature.name, origin, _number_dtype(feature.name, series.dtype), slot.index))
        elif slot.bank == "category":
            values = (UNSEEN_LEVEL, _marker(series), *(feature.levels or ()))
            reachable = np.ones(len(values), dtype=bool)
            reachable[0] = feature.unseen == "allow"
            reachable[1] = feature.missing == "allow"
            columns.append(Levels(feature.name, origin, np.dtype(object), slot.index, values, reachable, raw=True))
        else:
            columns.append(Text(feature.name, origin, np.dtype(object)))
    return columns


def _series(X: Any, name: str, position: int) -> pd.Series[Any]:
    if isinstance(X, pd.DataFrame):
        labels = {str(label): label for label in X.columns}
        return X[labels[name]]
    return pd.Series(np.asarray(X)[:, position])


def _number_dtype(name: str, dtype: Any) -> np.dtype[Any]:
    if not isinstance(dtype, np.dtype):
        return FLOAT64  # pandas' own numbers become float64 in scikit-learn
    if dtype == np.float16:
        raise UnsupportedError(
            f"column {name!r} is float16, which the core does not compute in; train on float32 or float64",
            step="",
            columns=[name],
        )
    return dtype if dtype.kind in "fiub" and dtype.itemsize <= 8 else FLOAT64


def _marker(series: pd.Series[Any]) -> Any:
    if pd.api.types.is_object_dtype(series.dtype):
        blank = series[series.isna()]
        return blank.iloc[0] if len(blank) else None
    return getattr(series.dtype, "na_value", np.nan)


def working_dtype(columns: Sequence[Column]) -> np.dtype[Any]:
    """float32 where scikit-learn would compute these columns together in float32, else float64."""
    kinds = [column.dtype for column in columns]
    if kinds and all(kind.kind in "fiub" for kind in kinds) and np.result_type(*kinds) == np.float32:
        return FLOAT32
    return FLOAT64


def features_of(columns: Sequence[Column]) -> tuple[str, ...]:
    """The features that some columns are computed from, each once, in order."""
    return tuple(dict.fromkeys(name for column in columns for name in column.features))
