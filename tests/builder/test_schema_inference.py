"""Schemas read off training data: kinds, refusals with their remedy, overrides, and policies asked of the pipeline."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from edgeml.builder import schema_inference as module
from edgeml.builder.schema_inference import UNSEEN_LEVEL, infer_schema
from edgeml.errors import BuildError
from edgeml.runtime.schema import Feature


def only(values, dtype=None, **more):
    """The one feature of a DataFrame with one column."""
    return infer_schema(pd.DataFrame({"f": pd.Series(values, dtype=dtype)}), **more).schema.features[0]


# Kinds


@pytest.mark.parametrize(
    ("values", "dtype", "kind"),
    [
        ([1.5, 2.0], None, "number"),
        ([1.0, 2.0], "float32", "number"),
        ([1.0, 2.0], "Float64", "number"),
        ([1, 2], None, "integer"),
        ([1, 2], "uint8", "integer"),
        ([1, 2], "Int16", "integer"),
        ([True, False], None, "boolean"),
        ([True, False], "boolean", "boolean"),
        ([True, False], object, "boolean"),
        (["y", "x", "y"], None, "category"),
        (["y", "x", "y"], object, "category"),
        (["y", "x", "y"], "string", "category"),
        (["y", "x", "y"], "category", "category"),
        ([np.str_("y"), "x"], object, "category"),
    ],
)
def test_the_kind_follows_from_the_column(values, dtype, kind):
    levels = ("x", "y") if kind == "category" else None
    assert only(values, dtype) == Feature(name="f", kind=kind, levels=levels)


@pytest.mark.parametrize(
    ("values", "dtype", "kind"),
    [
        ([1.5, None], None, "number"),
        ([1, None], None, "number"),  # plain numpy has no integer that is missing
        ([1, None], "Int64", "integer"),
        ([True, None], "boolean", "boolean"),
        ([True, None], object, "boolean"),
        (["x", None], None, "category"),
        (["x", np.nan], object, "category"),
        (["x", pd.NA], "string", "category"),
        (["x", None], "category", "category"),
    ],
)
def test_what_is_missing_in_training_may_be_missing(values, dtype, kind):
    levels = ("x",) if kind == "category" else None
    assert only(values, dtype) == Feature(name="f", kind=kind, levels=levels, missing="allow")


def test_all_values_missing_is_a_number_only_where_the_dtype_says_so():
    assert only([np.nan, np.nan]) == Feature(name="f", kind="number", missing="allow")
    for dtype in (object, "str", "string", "category"):
        with pytest.raises(BuildError, match="column 'f': it holds no value at all; drop it"):
            only([None, None], dtype)


def test_levels_are_those_of_the_data_not_those_of_the_dtype():
    column = pd.Categorical(["b", "a"], categories=["c", "b", "a"], ordered=True)
    assert infer_schema(pd.DataFrame({"f": column})).schema.features[0].levels == ("a", "b")


def test_bounds_are_never_guessed():
    features = infer_schema(pd.DataFrame({"a": [1.0, 5.0], "b": [0, 9], "c": ["x", "y"]})).schema.features
    assert all(feature.min is None and feature.max is None for feature in features)


def test_more_levels_than_a_thousand_become_text():
    words = [f"word {number}" for number in range(module.MAX_LEVELS + 1)]
    assert len(only(words[:-1]).levels) == module.MAX_LEVELS
    assert only(words) == Feature(name="f", kind="text")
    assert len(only(words, overrides={"f": {"kind": "category"}}).levels) == len(words)
    assert only(["x"], overrides={"f": {"kind": "text"}}) == Feature(name="f", kind="text")


@pytest.mark.parametrize(("dtype", "kind"), [("f4", "number"), (">f8", "number"), ("u1", "integer"), ("?", "boolean")])
def test_arrays_of_numbers_become_tensors(dtype, kind):
    schema = infer_schema(np.array([[0, 1, 1], [1, 0, 0]], dtype=dtype)).schema
    assert schema.layout == "tensor"
    assert schema.features == tuple(Feature(name=f"x{j}", kind=kind) for j in range(3))
    assert infer_schema([[1, 2], [3, 4]]).schema.names == ("x0", "x1")


def test_arrays_with_strings_become_records():
    schema = infer_schema(np.array([["red", 1.5, True], [None, 2, False]], dtype=object)).schema
    assert schema.layout == "record"
    assert schema.features == (
        Feature(name="x0", kind="category", levels=("red",), missing="allow"),
        Feature(name="x1", kind="number"),
        Feature(name="x2", kind="boolean"),
    )
    assert infer_schema(np.array([["a", "b"]])).schema.features[1].levels == ("b",)


def test_a_frame_of_numbers_is_no_tensor_and_labels_become_names():
    found = infer_schema(pd.DataFrame({0: [1.0], "1": [2.0]}), unknown_fields="count")
    assert (found.schema.layout, found.schema.unknown_fields) == ("record", "count")
    assert found.schema.names == ("0", "1")
    assert list(found.table([{"0": 1.0, "1": 2.0}]).columns) == [0, "1"]


# Refusals


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pd.to_datetime(["2020-01-01"]), "such as days since a date"),
        (pd.to_timedelta([5], unit="s"), "turn it into numbers before the pipeline"),
        (pd.period_range("2020", periods=1, freq="D"), r"a feature cannot be period\[D\]; convert it with astype"),
        ([1j], "a feature cannot be complex128; convert it with astype"),
        (pd.arrays.SparseArray([1.0]), "a feature cannot be Sparse"),
        ([b"x"], "it mixes or holds values of type bytes; convert it"),
        ([("x",)], "it mixes or holds values of type tuple"),
        (pd.Categorical([1]), r"its categories are int64, not strings; make them strings \(X\['f'\].astype\(str\)\)"),
        (pd.Series([2], dtype=object), r"it mixes or holds values of type int; convert it with astype\(float\)"),
    ],
)
def test_what_no_feature_can_be_is_refused_with_a_remedy(column, message):
    with pytest.raises(BuildError, match=message) as caught:
        infer_schema(pd.DataFrame({"f": column}))
    assert str(caught.value).startswith("column 'f': ")


def test_mixed_columns_are_refused():
    with pytest.raises(BuildError, match="column 'f': it mixes or holds values of type int, str; convert it"):
        only([1, "x"], object)
    with pytest.raises(BuildError, match="column 'f': it mixes or holds values of type bool, str"):
        only([True, "x"], object)
    with pytest.raises(BuildError, match="column 'x0': row 0 of the training data breaks the schema .wrong_type"):
        infer_schema(np.array([[True], [2]], dtype=object))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "column 'a' stands twice; rename or drop one"),
        (pd.DataFrame([[1, 2]], columns=[1, "1"]), "column '1' stands twice"),
        (pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])), "several levels; flatten them"),
        (pd.DataFrame({"a": []}), "the training data is empty; give at least one row and one column"),
        (pd.DataFrame(index=[0, 1]), "the training data is empty"),
        (np.zeros((0, 2)), "the training data is empty"),
        (np.zeros((2, 0)), "the training data is empty"),
        (np.zeros(3), r"expected an array \[n, d\] or a DataFrame, got shape \[3\]; reshape it"),
        (pd.Series([1.0]), r"got shape \[1\]; reshape it"),
        (pd.DataFrame({"": [1.0]}), "schema: a feature's name is empty; give it one"),
        (pd.DataFrame({"a": ["\ud800"]}, dtype=object), "feature 'a': level .* holds half a surrogate pair"),
        (pd.DataFrame({"a": [1.0, np.inf]}), "column 'a': row 1 of the training data breaks the schema .not_finite"),
        (pd.DataFrame({"a": [2**60]}), "column 'a': row 0 of the training data breaks the schema .above_max"),
    ],
)
def test_data_without_a_schema_is_refused(X, message):
    with pytest.raises(BuildError, match=message):
        infer_schema(X)


# Overrides


def test_overrides_replace_what_was_inferred():
    X = pd.DataFrame({"age": [1, 2], "smokes": [0, 1], "colour": ["red", "red"], "note": ["a", None]})
    overrides = {
        "age": {"kind": "number", "min": 0, "unit": "years"},
        "smokes": {"kind": "boolean"},
        "colour": {"levels": ["red", "blue"], "unseen": "allow", "missing": "allow"},
        "note": {"kind": "text", "max_bytes": 9},
    }
    assert infer_schema(X, overrides=overrides).schema.features == (
        Feature(name="age", kind="number", min=0.0, unit="years"),
        Feature(name="smokes", kind="boolean"),
        Feature(name="colour", kind="category", levels=("red", "blue"), unseen="allow", missing="allow"),
        Feature(name="note", kind="text", max_bytes=9, missing="allow"),
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"wieght": {}}, "overrides: there is no column 'wieght'; did you mean 'weight'?"),
        ({"zzz": {}}, "overrides: there is no column 'zzz'; the columns are weight, colour"),
        ({0: {}}, "overrides: there is no column 0; the columns are weight, colour"),
        ({"weight": "text"}, "overrides: 'weight': expected members of a schema entry, such as {'unit': 'mm'}"),
        ({"weight": {"name": "mass"}}, "overrides: 'weight': a feature has its column's name; rename the column"),
        ({"weight": {"kind": "float"}}, "feature 'weight': kind: invalid enum value 'float'"),
        ({"weight": {"maximum": 3}}, "feature 'weight': object contains unknown field `maximum`"),
        ({"weight": {"levels": ["x"]}}, "feature 'weight': a number has no levels"),
        (
            {"weight": {"max": 2}},
            "column 'weight': row 1 of the training data breaks the schema (above_max: expected a finite number of at "
            "most 2, or null, got 2.5); correct the data or the override",
        ),
        ({"colour": {"levels": ["red"]}}, "column 'colour': row 1 of the training data breaks the schema (unseen_"),
        ({"colour": {"kind": "number"}}, "column 'colour': row 0 of the training data breaks the schema (wrong_type"),
        ({"weight": {"missing": "error"}}, "column 'weight': row 2 of the training data breaks the schema (missing"),
    ],
)
def test_overrides_that_do_not_fit_are_refused(overrides, message):
    X = pd.DataFrame({"weight": [1.0, 2.5, None], "colour": ["red", "blue", "red"]})
    with pytest.raises(BuildError) as caught:
        infer_schema(X, overrides=overrides)
    assert message in str(caught.value)


def test_unknown_fields_is_checked():
    with pytest.raises(BuildError, match="Invalid enum value 'drop'"):
        infer_schema(np.zeros((1, 1)), unknown_fields="drop")


# Policies, asked of the pipeline

MIXED = pd.DataFrame({"size": [1.0, 2.0, 3.0, 4.0], "count": [4, 3, 2, 1], "colour": ["red", "blue", "red", "blue"]})
TARGET = np.array([0.0, 1.0, 0.0, 1.0])


def policies(pipeline, X=MIXED, **more):
    schema = infer_schema(X, pipeline=pipeline, **more).schema
    return {feature.name: (feature.missing, feature.unseen) for feature in schema.features}


def fitted(*steps, X=MIXED):
    return make_pipeline(*steps).fit(X, TARGET)


@pytest.mark.parametrize(
    ("encoder", "missing", "unseen"),
    [
        (OneHotEncoder(handle_unknown="error"), "error", "error"),
        (OneHotEncoder(handle_unknown="ignore"), "allow", "allow"),
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), "allow", "allow"),
        (make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()), "allow", "error"),
    ],
)
def test_the_encoder_decides_about_levels(encoder, missing, unseen):
    prepare = make_column_transformer((encoder, ["colour"]), (SimpleImputer(), ["size"]), ("passthrough", ["count"]))
    found = policies(fitted(prepare, LinearRegression()))
    assert found == {"size": ("allow", "error"), "count": ("error", "error"), "colour": (missing, unseen)}


def test_missing_is_allowed_where_the_model_takes_it():
    X = MIXED[["size", "count"]]
    assert policies(fitted(HistGradientBoostingRegressor(), X=X), X) == {
        "size": ("allow", "error"),
        "count": ("allow", "error"),
    }
    assert policies(fitted(StandardScaler(), LinearRegression(), X=X), X) == {
        "size": ("error", "error"),
        "count": ("error", "error"),
    }


def test_an_answer_of_nan_is_no_answer():
    class Sums:
        def predict(self, X):
            return X.to_numpy(dtype=float).sum(axis=1)

    X = MIXED[["size", "count"]]
    assert policies(Sums(), X)["size"] == ("error", "error")


def test_a_pipeline_without_predict_is_asked_to_transform():
    X = MIXED[["colour"]]
    assert policies(OneHotEncoder(handle_unknown="ignore").fit(X), X) == {"colour": ("allow", "allow")}
    assert policies(OneHotEncoder().fit(X), X) == {"colour": ("error", "error")}


def test_overridden_policies_are_not_asked():
    X = MIXED[["colour"]]
    found = policies(OneHotEncoder().fit(X), X, overrides={"colour": {"unseen": "allow", "missing": "allow"}})
    assert found == {"colour": ("allow", "allow")}


def test_without_a_pipeline_only_what_training_data_has_is_allowed():
    X = pd.DataFrame({"a": [1.0, None], "b": ["x", None], "c": [1.0, 2.0]})
    features = infer_schema(X).schema.features
    assert [(feature.missing, feature.unseen) for feature in features] == [
        ("allow", "error"),
        ("allow", "error"),
        ("error", "error"),
    ]


def test_arrays_are_asked_too():
    X = np.array([[1, 2], [3, 4], [5, 7]])
    model = HistGradientBoostingRegressor().fit(X, [0.0, 1.0, 2.0])
    assert policies(model, X) == {"x0": ("allow", "error"), "x1": ("allow", "error")}
    words = np.array([["a", "b"], ["b", "c"]])
    assert policies(OneHotEncoder(handle_unknown="ignore").fit(words), words)["x0"][1] == "allow"
    assert policies(OneHotEncoder().fit(words), words) == {"x0": ("error", "error"), "x1": ("error", "error")}


def test_the_level_that_is_tried_is_not_one_of_the_levels():
    X = pd.DataFrame({"f": ["a", UNSEEN_LEVEL]})
    assert policies(OneHotEncoder().fit(X), X) == {"f": ("error", "error")}


def test_a_pipeline_that_cannot_be_asked_is_refused():
    with pytest.raises(BuildError, match="object has neither predict nor transform"):
        infer_schema(MIXED, pipeline=object())
    for pipeline in (LogisticRegression(), LinearRegression().fit(np.zeros((2, 2)), [0, 1])):
        with pytest.raises(BuildError, match="does not answer rows of its own training data; fit it on the data given"):
            infer_schema(MIXED, pipeline=pipeline)
