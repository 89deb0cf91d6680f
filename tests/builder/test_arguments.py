"""Wrong arguments of build: refused before anything takes time, under the name of the argument."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.svm import LinearSVC

import edgeml
from edgeml.builder.arguments import full_slo
from edgeml.errors import BuildError

X, Y = load_iris(return_X_y=True, as_frame=True)
X.columns = list("abcd")
WORDS = Y.map({0: "setosa", 1: "versicolor", 2: "virginica"})
ALL = {"setosa": 0.2, "versicolor": 0.3, "virginica": 0.5}


@pytest.fixture(scope="module")
def classifier():
    return LogisticRegression(max_iter=500).fit(X, WORDS)


def refused(pipeline, message, *, x=X, y=WORDS, **arguments):
    """Builds, and expects a BuildError before anything is compiled."""
    steps = []
    arguments = {"name": "iris", "version": "1"} | arguments
    with pytest.raises(BuildError, match=message):
        edgeml.build(pipeline, x, y, progress=lambda step, *_: steps.append(step), **arguments)
    assert steps in ([], ["reading the schema"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y": WORDS[:-1]}, "y has 149 answers and X has 150 rows"),
        ({"y": "setosa"}, "y must hold one known answer for each row of X, got str"),
        ({"held_out": X}, r"held_out must be a pair \(X, y\).*got DataFrame"),
        ({"held_out": (X, WORDS, 1)}, "held_out must be a pair.*got 3 parts"),
        ({"held_out": (X.drop(columns="c"), WORDS)}, "held_out: X lacks the column 'c'"),
        ({"held_out": (X.to_numpy(), WORDS)}, "held_out: X must be a DataFrame.*got ndarray"),
        ({"held_out": (X[:0], None)}, "held_out: X has no rows"),
        ({"held_out": (X[:9], WORDS)}, "held_out: y has 150 answers and its X has 9 rows"),
        ({"slo": {"p99": 5}}, "slo: unknown key 'p99'; did you mean 'p99_ms'"),
        ({"slo": {"p99_ms": 0}}, "slo: p99_ms must be a positive number of milliseconds, got 0"),
        ({"slo": {"deadline_ms": float("nan")}}, "slo: deadline_ms"),
        ({"slo": {"deadline_ms": True}}, "slo: deadline_ms"),
        ({"slo": 5}, "slo must be a dict"),
        ({"tolerance": "small"}, "tolerance"),
        ({"name": "Has Spaces"}, "name must be"),
        ({"version": ""}, "version must be"),
        ({"security_epoch": -1}, "security_epoch must be"),
        ({"parent": "abc"}, "parent must be"),
        ({"limits": 3}, "limits must be a text, got int"),
        ({"schema": {"inputs": []}}, "schema does not apply: .*override it with features"),
    ],
)
def test_a_wrong_argument_is_named(classifier, arguments, message):
    refused(classifier, message, **arguments)


def test_an_array_needs_an_array_of_the_same_width_held_out():
    given = {"x": X.to_numpy(), "y": Y}
    model = LogisticRegression(max_iter=500).fit(X.to_numpy(), Y)
    refused(model, r"X must be an array \[n, 4\].*shape \[2, 3\]", held_out=([[1, 2, 3]] * 2, None), **given)
    refused(model, r"X must be an array \[n, 4\].*DataFrame", held_out=(X, None), **given)


def test_a_regression_has_numbers_for_answers():
    model = LinearRegression().fit(X, Y)
    refused(model, "y must hold finite numbers", y=WORDS)
    refused(model, "held_out: y must hold finite numbers", y=Y, held_out=(X[:2], [1.0, float("nan")]))


def test_a_held_out_row_that_the_schema_refuses_is_named():
    table = pd.DataFrame({"f": ["x", "y"] * 20, "n": np.arange(40.0)})
    model = LogisticRegression().fit(table[["n"]], [0, 1] * 20)
    with pytest.raises(BuildError, match="held_out breaks the schema: record 0.*'n'"):
        edgeml.build(
            model,
            table[["n"]],
            name="n",
            version="1",
            features={"n": {"max": 39.0}},
            held_out=(pd.DataFrame({"n": [99.0, 1.0]}), None),
        )


def test_the_slo_keeps_its_defaults():
    assert full_slo(None) == {"p99_ms": 20.0, "deadline_ms": 100.0}
    assert full_slo({"p99_ms": np.int64(5)}) == {"p99_ms": 5.0, "deadline_ms": 100.0}


@pytest.mark.parametrize(
    ("fallback", "message"),
    [
        ("setosa", "fallback must be .*got str"),
        ({"label": "tulip"}, "label 'tulip' is not one of the model's labels, 'setosa'"),
        ({"value": 1.0}, "give label, not value"),
        ({"label": "setosa", "value": 1.0}, "give label, not value"),
        ({"label": "setosa", "mood": 1}, "unknown member 'mood'"),
        ({"label": "setosa", "scores": [1, 2, 3]}, "scores must be an object"),
        ({"label": "setosa", "scores": ALL | {"tulip": 0.0}}, "scores: 'tulip' is not one of"),
        ({"label": "setosa", "scores": {"setosa": 1.0}}, "scores: there is none for label 'versicolor'"),
        (
            {"label": "setosa", "scores": ALL | {"setosa": 1.5}},
            "'setosa' must be a number from 0 to 1, got 1.5",
        ),
        ({"label": "setosa", "scores": ALL | {"setosa": float("nan")}}, "scores: 'setosa' must be"),
        ({}, "label None is not one"),
    ],
)
def test_a_fallback_that_the_model_could_not_give_is_refused(classifier, fallback, message):
    refused(classifier, "fallback" if message.startswith("fallback") else f"fallback: .*{message}", fallback=fallback)


@pytest.mark.parametrize(
    ("fallback", "message"),
    [
        ({"label": "setosa"}, "the model answers with a number; give value alone"),
        ({"value": float("inf")}, "value must be one finite number, got inf"),
        ({"value": [1.0]}, "value must be one finite number"),
        ({"value": "1"}, "value must be one finite number"),
        ({"value": True}, "value must be one finite number"),
        ({"value": 1.0, "label": "a"}, "give value alone"),
        ({"value": 1.0, "scores": {}}, "give value alone"),
        ({}, "a regression needs a value"),
    ],
)
def test_a_fallback_of_a_regression_is_one_finite_number(fallback, message):
    refused(LinearRegression().fit(X, Y), f"fallback: .*{message}", y=Y, fallback=fallback)


def test_a_fallback_is_as_wide_as_the_answers():
    both = np.column_stack([Y, Y])
    model = LinearRegression().fit(X, both)
    refused(model, "value must be a list of 2 finite numbers", y=both, fallback={"value": 1.0})
    bundle = edgeml.build(model, X, both, name="two", version="1", fallback={"value": np.array([1.0, 2.0])})
    assert bundle.config["fallback"] == {"value": [1.0, 2.0]}


def test_numpy_values_and_decisions_are_fine_in_a_fallback(classifier):
    declared = {"label": np.str_("setosa"), "scores": {name: np.float64(score) for name, score in ALL.items()}}
    bundle = edgeml.build(classifier, X, name="iris", version="1", fallback=declared)
    assert bundle.config["fallback"] == {"label": "setosa", "scores": ALL}
    decisions = {"0": -3.5, "1": 2.0, "2": 0.0}
    bundle = edgeml.build(
        LinearSVC().fit(X, Y), X, name="svc", version="1", fallback={"label": np.int64(1), "scores": decisions}
    )
    assert edgeml.Predictor.from_bundle(bundle).fallback.scores == decisions


def test_a_column_of_answers_has_one_median():
    model = LinearRegression().fit(X, Y.to_frame())
    assert edgeml.build(model, X, Y.to_frame(), name="one", version="1").config["fallback"] == {"value": 1.0}
