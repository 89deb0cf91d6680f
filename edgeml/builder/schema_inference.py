"""A schema from the data a pipeline was trained on, and the way back from records to such data.

1. Kinds follow from the columns: float -> number, int -> integer, bool -> boolean, strings -> category (text beyond
   1,000 levels or where an override says so). What is none of these is refused, with the remedy.
2. Bounds are never guessed: what training has not seen is for drift monitoring, not for refusal.
3. The policies ``missing`` and ``unseen`` are found by asking the fitted pipeline: a few rows are copied, one value
   is blanked or changed, and what the pipeline raises on is an error for the schema too. A column whose unseen levels
   the pipeline tells apart is a text (``unseen_levels``).
4. ``InferredSchema.table`` rebuilds exactly the kind of object that was trained on (column order, dtypes, the same
   marker for a missing value), so that the pipeline can be asked the same question as the compiled core.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from edgeml.builder.unseen_levels import taken_alike
from edgeml.errors import BuildError, BundleError, SchemaError
from edgeml.runtime.reader import Frame, RecordReader
from edgeml.runtime.schema import Feature, Schema

MAX_LEVELS = 1_000
PROBE_ROWS = 5

# Stands for a level that training has not seen, where the level itself is not known.
UNSEEN_LEVEL = "\ufffdunseen"

NO_VALUE = "it holds no value at all; drop it"

Table = pd.DataFrame | NDArray[Any]


@dataclass(frozen=True)
class Column:
    """How one feature looked in the training data.

    Attributes:
        name: Name of the feature.
        label: Label of the column in the DataFrame; its position in an array.
        dtype: Its pandas or numpy dtype.
        marker: What stands for a missing value: None, NaN or pandas.NA.
    """

    name: str
    label: Any
    dtype: Any
    marker: Any


@dataclass(frozen=True)
class InferredSchema:
    """A schema with what is needed to rebuild the training data's form.

    Attributes:
        schema: The schema.
        columns: One for each feature, in order.
        is_frame: Whether the data was a DataFrame (otherwise a 2-D array).
    """

    schema: Schema
    columns: tuple[Column, ...]
    is_frame: bool

    def table(self, rows: Sequence[Mapping[str, Any]] | Frame) -> Table:
        """Rebuilds the form of the training data.

        Args:
            rows: Records (a missing key is a missing value), or a Frame filled for this schema. A Frame does not
                keep the text of an unseen level; ``UNSEEN_LEVEL`` stands for it.

        Returns:
            A DataFrame with the training data's columns and dtypes, or an array of its dtype. An integer or boolean
            column that holds a missing value gets the dtype that pandas would have given it, and so does an integer
            column that holds a fraction or a number beyond its range.
        """
        values = self._of_frame(rows) if isinstance(rows, Frame) else self._of_records(rows)
        if self.is_frame:
            n_rows = rows.n_rows if isinstance(rows, Frame) else len(rows)
            series = [_series(column, values[column.name]) for column in self.columns]
            table = pd.DataFrame(dict(enumerate(series)), index=pd.RangeIndex(n_rows))
            table.columns = pd.Index([column.label for column in self.columns])
            return table
        dtype = self.columns[0].dtype
        stacked = [_array(column, values[column.name]) for column in self.columns]
        return np.stack(stacked, axis=1) if not _is_object(dtype) else np.array(stacked, dtype=object).T

    def altered(self, table: Table, column: Column, values: list[Any]) -> Table:
        """A table with other values in one column: as ``table`` would make it, without making all the others again.

        Args:
            table: What ``table`` made.
            column: The column.
            values: One for each row, None for a missing one.
        """
        if isinstance(table, pd.DataFrame):
            other = table.copy(deep=False)
            series: Any = _series(column, values)
            other.isetitem(self.columns.index(column), series)
            return other
        array = _array(column, values)
        dtype = np.result_type(table.dtype, array.dtype) if not _is_object(table.dtype) else table.dtype
        made = table.astype(dtype)
        made[:, self.columns.index(column)] = array
        return made

    def values(self, table: Table) -> dict[str, Any]:
        """The table's columns as ``RecordReader.read_columns`` takes them: arrays of numbers, or lists of objects.

        Args:
            table: Of the training data's form; may hold other rows.
        """
        given = {column.name: _column_of(table, column.label) for column in self.columns}
        return {
            name: series.to_numpy() if _is_plain(series.dtype, "fiub") else series.tolist()
            for name, series in given.items()
        }

    def records(self, table: Table) -> list[dict[str, Any]]:
        """The rows as JSON-ready records: None for a missing value, Python scalars otherwise.

        Args:
            table: Of the training data's form; may hold other rows.
        """
        lists = [_json_list(_column_of(table, column.label), self._kind(column)) for column in self.columns]
        names = self.schema.names
        return [dict(zip(names, row, strict=True)) for row in zip(*lists, strict=True)]

    def _kind(self, column: Column) -> str:
        return self.schema.feature(column.name).kind

    def _of_records(self, records: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
        return {name: [record.get(name) for record in records] for name in self.schema.names}

    def _of_frame(self, frame: Frame) -> dict[str, list[Any]]:
        values: dict[str, list[Any]] = {}
        for feature in self.schema.features:
            slot = self.schema.slots[feature.name]
            if slot.bank == "text":
                raw = [frame.text(slot.index, row) for row in range(frame.n_rows)]
                values[feature.name] = [None if text is None else text.decode() for text in raw]
            elif slot.bank == "category":
                # Codes -1 (missing) and -2 (unseen) count from the end.
                names = [*(feature.levels or ()), UNSEEN_LEVEL, None]
                values[feature.name] = [names[code] for code in frame.code_column(slot.index).tolist()]
            else:
                to = {"number": float, "integer": int, "boolean": bool}[feature.kind]
                numbers = frame.number_column(slot.index).tolist()
                values[feature.name] = [None if number != number else to(number) for number in numbers]
        return values


def infer_schema(
    X: Table,
    *,
    pipeline: Any = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    unknown_fields: str = "reject",
) -> InferredSchema:
    """Reads a schema off training data.

    Args:
        X: A DataFrame, or an array [n, d]; an array of numbers gives the layout ``tensor`` and the names x0, x1, ...
        pipeline: The fitted pipeline, asked for the policies. Without it a missing value is allowed where training
            data has one, and an unseen level is an error.
        overrides: Name of a feature -> members of its schema entry that replace the inferred ones.
        unknown_fields: ``reject`` or ``count`` fields of a record that the schema does not know.

    Raises:
        BuildError: A column is of a kind that no feature has, or the data breaks the overridden schema; the message
            names the column and the remedy.
    """
    overrides = dict(overrides or {})
    columns, is_frame = _columns(X)
    _check_overrides(overrides, [column.name for column in columns])
    features = []
    for column in columns:
        series = _column_of(X, column.label)
        features.append(
            {**_entry(column, series, is_frame, overrides.get(column.name, {})), **overrides.get(column.name, {})}
        )
    tensor = not is_frame and all(entry["kind"] in ("number", "integer", "boolean") for entry in features)
    document: dict[str, Any] = {
        "features": features,
        "layout": "tensor" if tensor else "record",
        "unknown_fields": unknown_fields,
    }
    found = InferredSchema(_schema(document), columns, is_frame)
    if pipeline is not None:
        _probe(found, X, pipeline, features, overrides)
        found = InferredSchema(_schema(document), columns, is_frame)
    _check(found, X)
    return found


def _schema(document: dict[str, Any]) -> Schema:
    try:
        return Schema.from_dict(document)
    except BundleError as error:  # a column's name, a level or an override that no schema takes
        raise BuildError(str(error)) from error


def _check_overrides(overrides: Mapping[str, Mapping[str, Any]], names: list[str]) -> None:
    for name, override in overrides.items():
        if name not in names:
            near = difflib.get_close_matches(str(name), names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; the columns are {', '.join(names[:20])}"
            raise BuildError(f"overrides: there is no column {name!r}{hint}")
        if not isinstance(override, Mapping):
            raise BuildError(f"overrides: {name!r}: expected members of a schema entry, such as {{'unit': 'mm'}}")
        if "name" in override:
            raise BuildError(f"overrides: {name!r}: a feature has its column's name; rename the column instead")


def _columns(X: Table) -> tuple[tuple[Column, ...], bool]:
    if isinstance(X, pd.DataFrame):
        if X.columns.nlevels > 1:
            raise BuildError("the DataFrame's columns have several levels; flatten them to one name each")
        names = [str(label) for label in X.columns]
        seen: set[str] = set()
        for name in names:
            if name in seen:
                raise BuildError(f"column {name!r} stands twice; rename or drop one")
            seen.add(name)
        columns = tuple(
            Column(name, label, X[label].dtype, _marker(X[label])) for name, label in zip(names, X.columns, strict=True)
        )
    else:
        array = np.asarray(X)
        if array.ndim != 2:
            raise BuildError(f"expected an array [n, d] or a DataFrame, got shape {list(array.shape)}; reshape it")
        columns = tuple(Column(f"x{j}", j, array.dtype, _marker(_column_of(array, j))) for j in range(array.shape[1]))
    if not columns or len(X) == 0:
        raise BuildError("the training data is empty; give at least one row and one column")
    return columns, isinstance(X, pd.DataFrame)


def _column_of(table: Table, label: Any) -> pd.Series[Any]:
    series: pd.Series[Any]
    if isinstance(table, pd.DataFrame):
        series = table[label]
    else:
        values = np.asarray(table)[:, label]
        # pandas would take objects for strings and None for NaN.
        series = pd.Series(values, dtype=object if _is_object(values.dtype) else None)
    return series


def _marker(series: pd.Series[Any]) -> Any:
    """What stands for a missing value in a column: the one that is there, else what the dtype would hold."""
    if _is_object(series.dtype):
        blank = series[series.isna()]
        return blank.iloc[0] if len(blank) else None
    return getattr(series.dtype, "na_value", np.nan)


def _entry(column: Column, series: pd.Series[Any], is_frame: bool, override: Mapping[str, Any]) -> dict[str, Any]:
    """The schema entry of one column, before overrides."""
    given = series.dropna()
    kind = override.get("kind") or _kind(column, given, is_frame)
    entry: dict[str, Any] = {
        "name": column.name,
        "kind": kind,
        "missing": "allow" if len(given) < len(series) else "error",
    }
    if kind == "category" and "levels" not in override:
        levels = sorted({str(level) for level in pd.unique(given)})
        if len(levels) > MAX_LEVELS and "kind" not in override:
            entry["kind"] = "text"
        else:
            entry["levels"] = levels
    return entry


def _kind(column: Column, given: pd.Series[Any], is_frame: bool) -> str:
    dtype = given.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        dtype = dtype.categories.dtype
        if given.empty:
            raise BuildError(f"column {column.name!r}: {NO_VALUE}")
        if not all(isinstance(level, str) for level in given.cat.categories):
            raise BuildError(
                f"column {column.name!r}: its categories are {dtype}, not strings; make them strings "
                f"(X[{column.label!r}].astype(str)) or make the column a number"
            )
        return "category"
    if pd.api.types.is_bool_dtype(dtype):
        return "boolean"
    if pd.api.types.is_integer_dtype(dtype):
        return "integer"
    if pd.api.types.is_float_dtype(dtype) and not isinstance(dtype, pd.SparseDtype):
        return "number"
    types = {type(value) for value in given} if _is_object(dtype) or pd.api.types.is_string_dtype(dtype) else set()
    if types and all(issubclass(kind, str) for kind in types):
        return "category"
    if types and all(kind in (bool, np.bool_) for kind in types):
        return "boolean"
    if types and not is_frame and all(issubclass(kind, (int, float, np.number)) for kind in types - {bool}):
        return "number"
    raise BuildError(f"column {column.name!r}: {_remedy(dtype, types)}")


def _remedy(dtype: Any, types: set[type]) -> str:
    if pd.api.types.is_datetime64_any_dtype(dtype) or pd.api.types.is_timedelta64_dtype(dtype):
        return f"a feature cannot be {dtype}; turn it into numbers before the pipeline, such as days since a date"
    if not types and (_is_object(dtype) or pd.api.types.is_string_dtype(dtype)):
        return NO_VALUE
    if _is_object(dtype):
        words = ", ".join(sorted(kind.__name__ for kind in types))
        return f"it mixes or holds values of type {words}; convert it with astype(float), astype(bool) or astype(str)"
    return f"a feature cannot be {dtype}; convert it with astype(float), astype(bool) or astype(str)"


def _is_object(dtype: Any) -> bool:
    return bool(pd.api.types.is_object_dtype(dtype))


def _is_plain(dtype: Any, kinds: str) -> bool:
    """Whether it is a numpy dtype (not one of pandas' own) of one of these kinds."""
    return isinstance(dtype, np.dtype) and dtype.kind in kinds


def _json_list(series: pd.Series[Any], kind: str) -> list[Any]:
    to: Callable[[Any], Any] = {"number": float, "integer": int, "boolean": bool}.get(kind, str)
    blank = series.isna().tolist()
    return [None if gone else to(value) for value, gone in zip(series.tolist(), blank, strict=True)]


def _series(column: Column, values: list[Any]) -> pd.Series[Any]:
    dtype = column.dtype
    blank = any(value is None for value in values)
    if isinstance(dtype, pd.CategoricalDtype):
        known = set(dtype.categories)
        extra = sorted({value for value in values if value is not None and value not in known})
        widened = pd.CategoricalDtype([*dtype.categories, *extra], ordered=dtype.ordered) if extra else dtype
        return pd.Series(pd.Categorical(values, dtype=widened))
    if _is_object(dtype) or (_is_plain(dtype, "b") and blank):
        marker = column.marker if _is_object(dtype) else np.nan
        out = np.empty(len(values), dtype=object)
        out[:] = [marker if value is None else value for value in values]
        return pd.Series(out, dtype=object)
    dtype = _widened(dtype, values)
    if _is_plain(dtype, "f"):
        values = [np.nan if value is None else value for value in values]
    series: pd.Series[Any] = pd.Series(values, dtype=dtype)
    return series


def _array(column: Column, values: list[Any]) -> NDArray[Any]:
    blank = any(value is None for value in values)
    if _is_object(column.dtype) or (column.dtype.kind == "U" and blank):
        return np.array([column.marker if value is None else value for value in values], dtype=object)
    if column.dtype.kind == "U":
        return np.array(values, dtype=np.str_)  # as wide as the longest: a longer level must not be cut
    dtype = np.dtype(np.float64) if column.dtype.kind == "b" and blank else _widened(column.dtype, values)
    return np.array([np.nan if value is None else value for value in values], dtype=dtype)


def _widened(dtype: Any, values: list[Any]) -> Any:
    """The dtype; for integers, one that also holds what it cannot: no value, a fraction, a number out of range."""
    plain = isinstance(dtype, np.dtype)
    whole = dtype if plain else getattr(dtype, "numpy_dtype", None)
    if whole is None or whole.kind not in "iu":
        return dtype
    given = [value for value in values if value is not None]
    if any(value % 1 for value in given) or (plain and len(given) < len(values)):
        return np.dtype(np.float64) if plain else pd.Float64Dtype()
    limits = np.iinfo(whole)
    if given and not limits.min <= min(given) <= max(given) <= limits.max:
        return np.dtype(np.int64) if plain else pd.Int64Dtype()
    return dtype


def _probe(
    found: InferredSchema,
    X: Table,
    pipeline: Any,
    features: list[dict[str, Any]],
    overrides: Mapping[str, Mapping[str, Any]],
) -> None:
    """Sets the policies of the entries to what the pipeline bears."""
    ask = getattr(pipeline, "predict", None) or getattr(pipeline, "transform", None)
    if ask is None:
        raise BuildError(f"{type(pipeline).__name__} has neither predict nor transform; give a fitted pipeline")
    sample = found.records(X[:PROBE_ROWS])
    if not _bears(ask, found, sample):
        raise BuildError("the pipeline does not answer rows of its own training data; fit it on the data given as X")
    # One question for all of them, as most pipelines bear either all gaps or none; it costs as much as one for each.
    gaps = {name: None for name in found.schema.names if "missing" not in overrides.get(name, {})}
    all_missing = _bears(ask, found, [{**sample[0], **gaps}, *sample[1:]])
    table = found.table(sample)
    for feature, column, entry in zip(found.schema.features, found.columns, features, strict=True):
        override = overrides.get(feature.name, {})
        for policy, value in (("missing", None), ("unseen", _unknown_level(feature))):
            if policy in override or (policy == "unseen" and feature.kind != "category"):
                continue
            if policy == "missing" and all_missing:
                entry[policy] = "allow"
                continue
            altered = [value, *(record[feature.name] for record in sample[1:])]
            entry[policy] = "allow" if _answers(ask, partial(found.altered, table, column, altered)) else "error"
        _settle_unseen(pipeline, found, feature, sample, entry, override)


def _settle_unseen(
    pipeline: Any,
    found: InferredSchema,
    feature: Feature,
    sample: list[dict[str, Any]],
    entry: dict[str, Any],
    override: Mapping[str, Any],
) -> None:
    """Makes a category a text where the pipeline looks into levels that it has not seen."""
    if entry.get("unseen") != "allow" or taken_alike(pipeline, found, feature, sample, _unknown_level(feature)):
        return
    if override.get("unseen") == "allow":
        raise BuildError(
            f"column {feature.name!r}: the pipeline answers some unseen levels differently from others, and a category "
            "keeps no text of them; override it with {'kind': 'text'}"
        )
    if "kind" in override or "levels" in override:
        entry["unseen"] = "error"
        return
    entry["kind"] = "text"
    for key in ("levels", "unseen"):
        entry.pop(key, None)


def _unknown_level(feature: Feature) -> str:
    level = UNSEEN_LEVEL
    while level in (feature.levels or ()):
        level += "-"
    return level


def _bears(ask: Callable[[Any], Any], found: InferredSchema, records: list[dict[str, Any]]) -> bool:
    """Whether the pipeline answers records, with numbers where it answers with numbers."""
    return _answers(ask, lambda: found.table(records))


def _answers(ask: Callable[[Any], Any], make: Callable[[], Table]) -> bool:
    """Whether the pipeline answers the table that is made."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            answer = np.asarray(ask(make()))
        except Exception:  # whatever a pipeline raises is its way to refuse
            return False
    # A regression that answers NaN has not answered.
    return not (answer.dtype.kind == "f" and answer.ndim == 1 and np.isnan(answer).any())


def _check(found: InferredSchema, X: Table) -> None:
    """The training data itself must pass the schema."""
    reader = RecordReader(found.schema)
    try:
        reader.read_columns(
            reader.new_frame(), {column.name: _column_of(X, column.label).tolist() for column in found.columns}
        )
    except SchemaError as error:
        first = error.violations[0]
        raise BuildError(
            f"column {first.field!r}: row {first.row} of the training data breaks the schema ({first.code}: expected "
            f"{first.expected}, got {first.got}); correct the data or the override"
        ) from error
