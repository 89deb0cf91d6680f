"""Columns and matrices of any array type, and the way back to strings."""

import datetime
import math

import numpy as np
import pandas as pd
import pytest
from oracles.frame_oracle import MISSING, UNSEEN, rows_of
from oracles.frame_samples import GOOD, PEOPLE

from edgeml.errors import RequestError, SchemaError
from edgeml.runtime.reader import RecordReader
from edgeml.runtime.schema import Feature, Schema


def read_one(kind, column, **members):
    """Rows and (row, code, got) of one feature read from one column; missing is allowed."""
    schema = Schema((Feature(name="f", kind=kind, missing="allow", **members),))
    reader = RecordReader(schema)
    frame = reader.new_frame()
    violations = reader.read_columns(frame, {"f": column}, partial=True)
    return [row[0] for row in rows_of(schema, frame)], [(v.row, v.code, v.got) for v in violations]


def numbers(n=2, kind="number"):
    return Schema(tuple(Feature(name=f"x{i}", kind=kind) for i in range(n)))


# Columns


@pytest.mark.parametrize(
    ("kind", "column", "rows"),
    [
        ("number", np.array([1.5, np.nan]), [1.5, MISSING]),
        ("number", np.array([1.5, 2], dtype=">f8"), [1.5, 2.0]),
        ("number", np.array([1.5, 2], dtype="<f4"), [1.5, 2.0]),
        ("number", np.array([1.5, 2], dtype=">f2"), [1.5, 2.0]),
        ("number", np.array([1.5, np.nan], dtype=np.longdouble), [1.5, MISSING]),
        ("number", np.arange(12.0)[::-5], [11.0, 6.0, 1.0]),
        ("number", np.arange(6.0).reshape(3, 2)[:, 1], [1.0, 3.0, 5.0]),
        ("number", np.array([1, None, 2.5], dtype=object), [1.0, MISSING, 2.5]),
        ("number", (1, None, 2.5), [1.0, MISSING, 2.5]),
        ("number", range(3), [0.0, 1.0, 2.0]),
        ("number", pd.Series([1.5, None], index=[7, 7]), [1.5, MISSING]),
        ("number", pd.Series([1.5, None], dtype="Float64"), [1.5, MISSING]),
        ("integer", np.array([-3, 4], dtype=">i2"), [-3.0, 4.0]),
        ("integer", np.array([3, 4], dtype=np.uint8), [3.0, 4.0]),
        ("integer", pd.Series([1, None], dtype="Int64"), [1.0, MISSING]),
        ("integer", [np.int16(3), np.float32(4), None, pd.NA, math.nan], [3.0, 4.0, MISSING, MISSING, MISSING]),
        ("boolean", np.array([True, False]), [1.0, 0.0]),
        ("boolean", np.array([1, 0], dtype=np.int8), [1.0, 0.0]),
        ("boolean", pd.Series([True, None], dtype="boolean"), [1.0, MISSING]),
        ("boolean", [np.True_, 0, 1.0, None], [1.0, 0.0, 1.0, MISSING]),
        ("category", np.array(["red", "blå"]), [0, 1]),
        ("category", np.array([b"red"]), [0]),
        ("category", np.array(["red", "blå"], dtype=np.dtypes.StringDType()), [0, 1]),
        ("category", np.array(["blå", None, math.nan], dtype=object), [1, MISSING, MISSING]),
        ("category", pd.Series(["blå", None]), [1, MISSING]),
        ("category", pd.Series(["blå", None], dtype="string"), [1, MISSING]),
        ("category", pd.Series(["blå", None, "red"], dtype="category"), [1, MISSING, 0]),
        ("category", pd.Categorical(["red"], categories=["blå", "red"]), [0]),
        ("text", pd.Series(["a", None, ""]), [b"a", MISSING, b""]),
        ("text", np.array(["naïve"]), ["naïve".encode()]),
    ],
)
def test_arrays_of_every_kind_are_read(kind, column, rows):
    members = {"levels": ("red", "blå")} if kind == "category" else {}
    assert read_one(kind, column, **members) == (rows, [])


@pytest.mark.parametrize("kind", ["number", "integer", "boolean", "category", "text"])
@pytest.mark.parametrize("unit", ["D", "s", "ns"])
def test_dates_and_durations_are_never_numbers(kind, unit):
    members = {"levels": ("x",)} if kind == "category" else {}
    for array in (np.array([1, 0], dtype=f"M8[{unit}]"), np.array([1, 0], dtype=f"m8[{unit}]")):
        array[1] = "NaT"
        rows, violations = read_one(kind, array, **members)
        assert rows == [MISSING]
        assert [(row, code) for row, code, _ in violations] == [(0, "wrong_type")]
        assert violations[0][2].startswith("a value of type date") or "timedelta" in violations[0][2]


@pytest.mark.parametrize(
    ("kind", "column", "violation"),
    [
        ("number", np.array([np.inf]), (0, "not_finite", "inf")),
        ("number", np.array([True]), (0, "wrong_type", "true")),
        ("number", np.array(["1.5"]), (0, "wrong_type", '"1.5"')),
        ("number", np.array([1j]), (0, "wrong_type", "a value of type complex")),
        ("number", (True, 1.5), (0, "wrong_type", "true")),
        ("number", (1.5, "x"), (1, "wrong_type", '"x"')),
        ("number", [[1.0], 1.0], (0, "wrong_type", "list of 1")),
        ("number", ([1.0], 1.0), (0, "wrong_type", "list of 1")),
        ("integer", np.array([1.0, 1.5]), (1, "not_integer", "1.5")),
        ("integer", np.array([2**53], dtype=np.uint64), (0, "above_max", "9007199254740992.0")),
        ("boolean", np.array([0, 2]), (1, "wrong_type", "2.0")),
        ("category", np.array([1.0]), (0, "wrong_type", "1.0")),
        ("category", pd.Series(["x", "red"]), (0, "unseen_level", '"x"')),
        ("text", pd.to_datetime(pd.Series(["2020-01-01"])), (0, "wrong_type", "a value of type datetime")),
        ("text", [datetime.date(2020, 1, 1)], (0, "wrong_type", "a value of type date")),
    ],
)
def test_arrays_are_checked_as_single_values_are(kind, column, violation):
    members = {"levels": ("red",)} if kind == "category" else {}
    assert read_one(kind, column, **members)[1] == [violation]


def test_a_feature_without_a_column_is_missing_in_every_record():
    reader = RecordReader(PEOPLE)
    frame = reader.new_frame()
    reader.read_columns(frame, {"age": np.array([1, 2])})
    assert rows_of(PEOPLE, frame) == [[1.0, MISSING, MISSING, MISSING, MISSING], [2.0] + [MISSING] * 4]
    with pytest.raises(SchemaError) as caught:
        reader.read_columns(frame, {"weight": [1.0, 2.0]})
    assert [(v.row, v.field, v.code, v.got) for v in caught.value.violations] == [
        (0, "age", "missing", "no value"),
        (1, "age", "missing", "no value"),
    ]


def test_an_unknown_column_is_refused_in_every_record():
    reader = RecordReader(PEOPLE)
    violations = reader.read_columns(reader.new_frame(), {"extra": ["x", None], "age": [1, 2]}, partial=True)
    assert [(v.row, v.field, v.code, v.expected) for v in violations] == [
        (0, "extra", "unknown_field", "only fields of the schema"),
        (1, "extra", "unknown_field", "only fields of the schema"),
    ]


@pytest.mark.parametrize("empty", [{}, {"age": []}, {"age": np.array([], dtype=float), "note": []}])
def test_no_records_are_no_rows(empty):
    reader = RecordReader(PEOPLE)
    frame = reader.new_frame()
    reader.read(frame, GOOD)
    assert reader.read_columns(frame, empty) == ()
    assert (frame.n_rows, frame.n_records) == (0, 0)


@pytest.mark.parametrize(
    ("columns", "field", "message"),
    [
        (
            {"age": [1, 2], "weight": np.zeros(3)},
            "weight",
            "column 'weight' has 3 values where the first has 2; send columns of one length",
        ),
        ({"age": [1, 2], "extra": []}, "extra", "column 'extra' has 0 values where the first has 2"),
        ({"age": 41}, "age", "column 'age' has shape []; send one value for each record"),
        ({"note": "text"}, "note", "column 'note' has shape []; send one value for each record"),
        ({"age": None}, "age", "column 'age' has shape []"),
        ({"age": np.zeros((2, 1))}, "age", "column 'age' has shape [2, 1]; send one value for each record"),
    ],
)
def test_columns_of_the_wrong_shape_are_refused(columns, field, message):
    reader = RecordReader(PEOPLE)
    with pytest.raises(RequestError) as caught:
        reader.read_columns(reader.new_frame(), columns)
    assert (caught.value.code, caught.value.field) == ("bad_shape", field)
    assert message in str(caught.value)


# Matrices


@pytest.mark.parametrize(
    "matrix",
    [
        np.array([[1, 2], [3, 4]]),
        np.array([[1, 2], [3, 4]], dtype=">f4"),
        np.asfortranarray([[1.0, 2.0], [3.0, 4.0]]),
        np.arange(1.0, 9.0).reshape(4, 2)[:2],
        np.array([[4, 3], [2, 1]], dtype=np.float16)[::-1, ::-1],
        np.array([[1, 2.0], [3, 4]], dtype=object),
        [[1, 2.0], (3, 4)],
        ((1, 2), [3, np.float32(4)]),
        [np.array([1, 2]), np.array([3, 4])],
        pd.DataFrame({"b": [1, 3], "a": [2.0, 4.0]}),
    ],
)
def test_a_matrix_of_any_type_fills_the_features_in_order(matrix):
    schema = numbers()
    reader = RecordReader(schema)
    frame = reader.new_frame()
    assert reader.read_matrix(frame, matrix) == ()
    assert rows_of(schema, frame) == [[1.0, 2.0], [3.0, 4.0]]


def test_a_matrix_is_checked_as_records_are():
    reader = RecordReader(numbers())
    frame = reader.new_frame()
    rows = [[1.0, 2.0], [math.nan, math.inf], [3.0, 4.0]]
    for matrix in (np.array(rows), np.array(rows, dtype=object), rows):
        violations = reader.read_matrix(frame, matrix, partial=True)
        assert [(v.row, v.field, v.code) for v in violations] == [(1, "x0", "missing"), (1, "x1", "not_finite")]
        assert rows_of(reader.schema, frame) == [[1.0, 2.0], [3.0, 4.0]]
        with pytest.raises(SchemaError, match="record 1, field 'x0': missing"):
            reader.read_matrix(frame, matrix)
    with pytest.raises(SchemaError, match="'x0': wrong_type: expected a finite number, got true"):
        reader.read_matrix(frame, [[True, 2.5]])
    with pytest.raises(SchemaError, match="'x1': wrong_type: expected a finite number, got \"2\""):
        reader.read_matrix(frame, [[1, "2"]])
    with pytest.raises(SchemaError, match="wrong_type"):
        reader.read_matrix(frame, np.array([["2020-01-01", "2021-01-01"]], dtype="M8[ns]"))


@pytest.mark.parametrize(
    ("matrix", "shape"),
    [
        (np.zeros((2, 3)), "[2, 3]"),
        (np.zeros(2), "[2]"),
        (np.zeros((1, 2, 1)), "[1, 2, 1]"),
        ([], "[0]"),
        ([[1, 2], [3]], "[2]"),
        (3.0, "[]"),
    ],
)
def test_a_matrix_of_the_wrong_shape_is_refused(matrix, shape):
    reader = RecordReader(numbers())
    with pytest.raises(RequestError) as caught:
        reader.read_matrix(reader.new_frame(), matrix)
    assert str(caught.value) == f"expected shape [n, 2], got {shape}"
    assert caught.value.code == "bad_shape"


def test_a_matrix_needs_numeric_features():
    reader = RecordReader(PEOPLE)
    with pytest.raises(RequestError, match="some features are not numeric; send records or columns") as caught:
        reader.read_matrix(reader.new_frame(), np.zeros((1, 5)))
    assert caught.value.code == "bad_shape"


def test_an_empty_matrix_is_no_rows():
    reader = RecordReader(numbers())
    frame = reader.new_frame()
    assert reader.read_matrix(frame, np.zeros((0, 2))) == ()
    assert frame.n_rows == 0


# Strings, as a model wants them


def test_text_column_gives_strings_and_empty_ones_for_what_is_not_known():
    schema = Schema(
        (
            Feature(name="n", kind="number"),
            Feature(name="colour", kind="category", levels=("red", "blå"), missing="allow", unseen="allow"),
            Feature(name="note", kind="text", missing="allow"),
        )
    )
    reader = RecordReader(schema)
    frame = reader.new_frame()
    pairs = [("blå", "naïve"), (None, None), ("green", ""), ("red", "x")]
    reader.read_many(frame, [{"n": i, "colour": colour, "note": note} for i, (colour, note) in enumerate(pairs)])
    assert [row[1] for row in rows_of(schema, frame)] == [1, MISSING, UNSEEN, 0]
    for name, strings in (("colour", ["blå", "", "", "red"]), ("note", ["naïve", "", "", "x"])):
        column = reader.text_column(frame, name)
        assert column.dtype == object
        assert column.tolist() == [[text] for text in strings]
        picked = reader.text_column(frame, name, np.array([3, 0, 3]))
        assert picked.tolist() == [[strings[3]], [strings[0]], [strings[3]]]
        assert reader.text_column(frame, name, np.array([], dtype=np.int64)).shape == (0, 1)
    with pytest.raises(KeyError):
        reader.text_column(frame, "other")
