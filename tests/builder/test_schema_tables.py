"""The way back from records and Frames to the kind of table that a pipeline was trained on."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeml.builder.schema_inference import UNSEEN_LEVEL, infer_schema
from edgeml.runtime.reader import RecordReader

COLUMNS = {
    "float": pd.Series([1.5, 2.0, -0.25, 1e300]),
    "single": pd.Series([0.1, 2.0, 3.0, 4.0], dtype="float32"),
    "nullable float": pd.Series([1.5, None, 2.5, 0.0], dtype="Float64"),
    "holes": pd.Series([1.5, None, 2.5, np.nan]),
    "int": pd.Series([1, -2, 3, 2**53 - 1]),
    "byte": pd.Series([1, 2, 3, 255], dtype="uint8"),
    "nullable int": pd.Series([1, None, 3, 4], dtype="Int64"),
    "bool": pd.Series([True, False, True, True]),
    "nullable bool": pd.Series([True, None, True, False], dtype="boolean"),
    "object bool": pd.Series([True, None, True, False], dtype=object),
    "str": pd.Series(["x", "", "naïve", None]),
    "string": pd.Series(["x", "y", None, "y"], dtype="string"),
    "object None": pd.Series(["x", None, "y", "x"], dtype=object),
    "object NaN": pd.Series(["x", np.nan, "y", "x"], dtype=object),
    "category": pd.Series(["x", None, "y", "x"], dtype=pd.CategoricalDtype(["z", "y", "x"], ordered=True)),
}
ARRAYS = {
    "float": np.array([[1.5, np.nan], [2.0, 3.0]]),
    "single": np.array([[0.1, 2], [3, 4]], dtype=np.float32),
    "int": np.array([[1, 2], [3, 4]], dtype=np.int16),
    "bool": np.array([[True, False], [False, False]]),
    "strings": np.array([["red", "a"], ["blue", "bb"]]),
    "objects": np.array([["red", 1.5], [None, 2.5]], dtype=object),
    "objects with NaN": np.array([["red", 1.5], [np.nan, None]], dtype=object),
}


def filled(inferred, records):
    """A Frame filled with the records."""
    reader = RecordReader(inferred.schema)
    frame = reader.new_frame()
    reader.read_many(frame, records)
    return frame


def same_array(given, wanted):
    assert (given.dtype, given.shape) == (wanted.dtype, wanted.shape)
    if given.dtype == object:
        for one, other in zip(given.ravel().tolist(), wanted.ravel().tolist(), strict=True):
            assert type(one) is type(other) and (one == other or one != one)
    else:
        np.testing.assert_array_equal(given, wanted)


# What went in comes out


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_survives_the_way_through_records_and_frames(name):
    X = pd.DataFrame({"f": COLUMNS[name]})
    inferred = infer_schema(X)
    records = inferred.records(X)
    for table in (inferred.table(records), inferred.table(filled(inferred, records))):
        if name == "single":  # the Frame and JSON keep doubles; the table is of the training data's floats again
            assert table["f"].tolist() == X["f"].tolist()
        pd.testing.assert_frame_equal(table, X, check_exact=True)
        if X["f"].dtype == object:
            same_array(table.to_numpy(), X.to_numpy())  # None stays None and NaN stays NaN


def test_a_whole_frame_survives():
    X = pd.DataFrame(COLUMNS)
    X.columns = [*range(5), *X.columns[5:]]
    inferred = infer_schema(X.sample(frac=1.0, random_state=0))
    pd.testing.assert_frame_equal(inferred.table(filled(inferred, inferred.records(X))), X)


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_survives_the_way_through_records_and_frames(name):
    X = ARRAYS[name]
    inferred = infer_schema(X)
    records = inferred.records(X)
    assert [list(record) for record in records] == [["x0", "x1"]] * 2
    for table in (inferred.table(records), inferred.table(filled(inferred, records))):
        if name == "objects with NaN":
            assert table.tolist()[0] == ["red", 1.5]
            assert np.isnan(table[1, 0]) and table[1, 1] is None  # each column has its own marker
        same_array(table, X)


def test_records_are_ready_for_json():
    X = pd.DataFrame(COLUMNS)
    inferred = infer_schema(X)
    for record in inferred.records(X):
        assert {type(value) for value in record.values()} <= {float, int, bool, str, type(None)}
    first = inferred.records(X)[1]
    assert first["nullable int"] is first["holes"] is first["object None"] is first["category"] is None
    assert (first["int"], first["bool"], first["str"]) == (-2, False, "")


def test_values_are_columns_for_the_reader():
    X = pd.DataFrame(COLUMNS)
    inferred = infer_schema(X)
    values = inferred.values(X)
    assert list(values) == list(inferred.schema.names)
    assert isinstance(values["float"], np.ndarray) and isinstance(values["str"], list)
    reader = RecordReader(inferred.schema)
    frame = reader.new_frame()
    reader.read_columns(frame, values)
    by_columns = inferred.table(frame)
    pd.testing.assert_frame_equal(by_columns, inferred.table(filled(inferred, inferred.records(X))))
    for X in ARRAYS.values():
        inferred = infer_schema(X)
        reader = RecordReader(inferred.schema)
        frame = reader.new_frame()
        reader.read_columns(frame, inferred.values(X))
        same_array(inferred.table(frame), X)


rows = st.fixed_dictionaries(
    {
        "number": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "whole": st.none() | st.integers(1 - 2**53, 2**53 - 1),
        "flag": st.none() | st.booleans(),
        "colour": st.none() | st.sampled_from(["red", "blå", ""]),
        "note": st.none() | st.text(max_size=5),
    }
)


@settings(max_examples=60, deadline=None)
@given(st.lists(rows, max_size=5), st.sampled_from([(None, None, None), ("Float64", "Int64", "boolean")]))
def test_records_survive_the_way_through_a_table(records, dtypes):
    number, whole, flag = dtypes
    X = pd.DataFrame(
        {
            "number": pd.Series([1.0, 2.0, 3.0], dtype=number),
            "whole": pd.Series([1, 2, 3], dtype=whole),
            "flag": pd.Series([True, False, True], dtype=flag),
            "colour": pd.Series(["red", "blå", ""], dtype="category"),
            "note": ["a", "b", "c"],
        }
    )
    allow = {name: {"missing": "allow"} for name in X.columns} | {"note": {"kind": "text", "missing": "allow"}}
    inferred = infer_schema(X, overrides=allow)
    for source in (records, filled(inferred, records)):
        table = inferred.table(source)
        assert table.shape == (len(records), 5)
        again = inferred.records(table)
        assert again == records
        types = [{name: type(value) for name, value in record.items()} for record in again]
        assert types == [{name: type(value) for name, value in record.items()} for record in records]


# What training has not seen


@pytest.mark.parametrize(
    ("column", "value", "dtype"),
    [
        ("int", None, "float64"),
        ("int", 7, "int64"),
        ("byte", None, "float64"),
        ("byte", 7, "uint8"),
        ("byte", 256, "int64"),
        ("byte", -1, "int64"),
        ("nullable int", None, "Int64"),
        ("bool", None, "object"),
        ("nullable bool", None, "boolean"),
        ("float", None, "float64"),
        ("single", None, "float32"),
        ("nullable float", None, "Float64"),
        ("string", None, "string"),
    ],
)
def test_a_column_gets_the_dtype_that_pandas_would_have_given_it(column, value, dtype):
    inferred = infer_schema(pd.DataFrame({"f": COLUMNS[column]}))
    first = inferred.records(pd.DataFrame({"f": COLUMNS[column]}))[0]["f"]
    for given_rows in ([{"f": first}, {"f": value}], [{"f": first}, {} if value is None else {"f": value}]):
        table = inferred.table(given_rows)
        assert table["f"].dtype == dtype
        assert table["f"].tolist()[0] == first
        assert table["f"].isna().tolist() == [False, value is None]
        assert value is None or table["f"].tolist()[1] == value


@pytest.mark.parametrize(("dtype", "widened"), [("int64", "float64"), ("Int64", "Float64"), ("uint8", "float64")])
def test_a_fraction_where_training_had_integers_is_not_cut(dtype, widened):
    X = pd.DataFrame({"f": pd.Series([1, 2], dtype=dtype)})
    inferred = infer_schema(X, overrides={"f": {"kind": "number"}})
    table = inferred.table([{"f": 1.0}, {"f": 2.5}])
    assert (table["f"].dtype, table["f"].tolist()) == (widened, [1.0, 2.5])
    assert inferred.table([{"f": 1.0}])["f"].dtype == dtype
    array = infer_schema(np.array([[1, 2]]), overrides={"x0": {"kind": "number"}})
    assert array.table([{"x0": 1.5, "x1": 2}]).tolist() == [[1.5, 2.0]]


def test_a_category_takes_unseen_levels_and_keeps_its_order():
    X = pd.DataFrame({"f": COLUMNS["category"]})
    table = infer_schema(X).table([{"f": "new"}, {"f": None}, {"f": "y"}, {}])
    assert table["f"].isna().tolist() == [False, True, False, True]
    assert table["f"].tolist()[::2] == ["new", "y"]
    assert list(table["f"].cat.categories) == ["z", "y", "x", "new"]
    assert table["f"].cat.ordered


@pytest.mark.parametrize("column", ["str", "string", "object None", "category"])
def test_a_frame_has_a_stand_in_for_unseen_levels(column):
    X = pd.DataFrame({"f": COLUMNS[column]})
    inferred = infer_schema(X, overrides={"f": {"unseen": "allow"}})
    table = inferred.table(filled(inferred, [{"f": "x"}, {"f": "new"}, {"f": None}]))
    assert table["f"].tolist()[:2] == ["x", UNSEEN_LEVEL]
    assert table["f"].isna().tolist() == [False, False, True]


def test_arrays_take_missing_values_and_longer_levels():
    floats = infer_schema(np.array([[1, 2]])).table([{"x0": None, "x1": 3}])
    assert floats.dtype == np.float64
    np.testing.assert_array_equal(floats, [[np.nan, 3.0]])
    flags = infer_schema(np.array([[True, False]])).table([{"x0": None, "x1": True}])
    np.testing.assert_array_equal(flags, [[np.nan, 1.0]])
    assert infer_schema(np.array([[1, 2]], dtype="u1")).table([{"x0": 300, "x1": 3}]).tolist() == [[300, 3]]
    words = infer_schema(np.array([["a", "b"], ["b", "c"]]))
    assert words.table([{"x0": "blue", "x1": "a"}]).tolist() == [["blue", "a"]]
    gap = words.table([{"x0": None, "x1": "a"}])
    assert gap.dtype == object and np.isnan(gap[0, 0]) and gap[0, 1] == "a"


@pytest.mark.parametrize("X", [pd.DataFrame(COLUMNS), *ARRAYS.values()])
def test_no_rows_keep_columns_and_dtypes(X):
    inferred = infer_schema(X)
    for table in (inferred.table([]), inferred.table(filled(inferred, []))):
        assert table.shape == (0, X.shape[1])
        if isinstance(X, pd.DataFrame):
            assert table.dtypes.tolist() == X.dtypes.tolist()
            assert list(table.columns) == list(X.columns)
        else:
            assert table.dtype.kind == X.dtype.kind
    assert inferred.records(X[:0]) == []
