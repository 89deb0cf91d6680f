"""The real Predictor against the real pipeline: right bundles pass, wrong ones are refused with their worst rows."""

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
from export_forms import cancer, diabetes, wine
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import CategoricalNB
from sklearn.neighbors import KNeighborsClassifier, RadiusNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

import edgeml
from edgeml.builder.parity import check_pipeline
from edgeml.builder.schema_inference import infer_schema
from edgeml.errors import BuildError, ParityError

FACTS = {"name": "parity", "version": "1"}


def predictor_of(pipeline, X, y=None, **given):
    """What would serve a pipeline."""
    return edgeml.Predictor.from_bundle(edgeml.build(pipeline, X, y, **FACTS, **given))


def compare(judge, served, X, *, y=None, held_out=None, **given):
    """The judge's pipeline against a bundle that was built from another one."""
    form = infer_schema(X, pipeline=judge)
    return check_pipeline(judge, predictor_of(served, X, y), form, X if held_out is None else held_out, **given)


def test_a_right_bundle_passes():
    X, y = wine()
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    report = compare(pipeline, pipeline, X)
    assert report.passed and report.flips == report.ties == report.refused == 0
    assert report.rows["one_by_one"] >= 60 and report.rows["boundary"] > 100
    assert set(report.rows) == {"held_out", "boundary", "split", "jitter", "edge", "one_by_one"}
    summary = edgeml.build(pipeline, X, y, **FACTS).config["parity"]
    assert summary["door"] == "float64" and summary.items() >= report.summary().items()


def test_a_changed_coefficient_is_refused_and_the_rows_are_shown():
    X, y = wine()
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    changed = copy.deepcopy(pipeline)
    changed[-1].coef_[1, 2] += 1e-3
    with pytest.raises(ParityError, match="differently from the LogisticRegression") as refusal:
        compare(pipeline, changed, X)
    report = refusal.value.report
    assert report["flips"] > 0 and 1e-5 < report["max_difference"] < 1e-2
    assert len(report["worst"]) == 5 and all(row["flip"] for row in report["worst"])
    row = report["worst"][0]
    asked = np.array([list(row["record"].values())])
    assert pipeline.predict(asked)[0] == row["expected"]["label"] and "x2" in str(refusal.value)
    assert changed.predict(asked)[0] == row["got"]["label"]
    np.testing.assert_allclose(row["got"]["scores"], changed.predict_proba(asked)[0], atol=1e-6)


def test_a_small_change_of_the_scores_alone_is_refused():
    X, y = cancer()
    model = LogisticRegression().fit(X, y)
    changed = copy.deepcopy(model)
    changed.coef_ *= 1.0005
    changed.intercept_ *= 1.0005
    with pytest.raises(ParityError) as refusal:
        compare(model, changed, X)
    assert refusal.value.report["flips"] == 0 and refusal.value.report["max_difference"] > 1e-5
    assert compare(model, changed, X, tolerance=1e-3).passed


def test_one_threshold_moved_by_a_millionth_is_found():
    X, y = wine()
    tree = DecisionTreeClassifier(random_state=0).fit(X, y)
    changed = copy.deepcopy(tree)
    changed.tree_.threshold[0] += 2e-6
    assert changed.tree_.threshold[0] != tree.tree_.threshold[0]
    with pytest.raises(ParityError) as refusal:
        compare(tree, changed, X)
    assert {row["kind"] for row in refusal.value.report["worst"]} <= {"boundary", "one_by_one"}


def test_labels_in_another_order_are_found():
    X, y = cancer()
    names = np.array(["no", "yes"])
    model, other = (LinearSVC().fit(X, names[given]) for given in (y, 1 - y))
    with pytest.raises(ParityError, match="expected {'label': 'no'|expected {'label': 'yes'"):
        compare(model, other, X)


def test_a_wrong_regression_is_measured_relative_to_its_size():
    X, y = diabetes()
    line = LinearRegression().fit(X, 1e8 * y)
    shifted = copy.deepcopy(line)
    shifted.intercept_ += 100.0
    assert compare(line, shifted, X, y=y).passed
    shifted.coef_ *= 1.0001
    with pytest.raises(ParityError, match="0 labels differ.*'values'"):
        compare(line, shifted, X, y=y)


def test_large_values_of_boosted_trees_may_come_as_float32():
    X, y = diabetes()
    trees = GradientBoostingRegressor(n_estimators=5, random_state=0).fit(X, 1e9 * y + 1e11)
    parity = edgeml.build(trees, X, y, **FACTS).config["parity"]
    assert parity["max_difference"] < 1e-6


# Rows that decide nothing


def test_tied_scores_are_counted_and_not_refused():
    # Both labels in every leaf: scikit-learn takes the first; a bundle that takes the second is as right.
    X = np.repeat(np.arange(8.0), 10).reshape(-1, 1)
    y = np.tile([0, 1], 40)
    y[:20] = 0
    tree = DecisionTreeClassifier(max_depth=3).fit(X, y)
    assert (tree.predict_proba([[5.0]]) == 0.5).all()
    assert compare(tree, tree, X).ties == 0
    changed = copy.deepcopy(tree)
    changed.tree_.value[changed.tree_.children_left < 0, 0, 1] += 1e-9
    assert changed.predict([[5.0]])[0] != tree.predict([[5.0]])[0]
    report = compare(tree, changed, X)
    assert report.passed and report.ties > 60 and report.flips == 0


def test_float32_data_on_which_the_pipeline_contradicts_itself():
    X, y = cancer()
    X = X.astype(np.float32)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    parity = edgeml.build(pipeline, X, y, **FACTS).config["parity"]
    assert parity["flips"] == 0 and parity["ties"] < 100
    frame = pd.DataFrame(X, columns=[f"c{index}" for index in range(6)])
    pipeline = make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=0)).fit(frame, y)
    assert edgeml.build(pipeline, frame, y, **FACTS).config["parity"]["flips"] == 0


def test_no_finite_answer_becomes_the_fallback():
    X, y = diabetes()
    model = RadiusNeighborsRegressor(0.9).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bundle = edgeml.build(model, X, y, **FACTS, fallback={"value": -1.0})
    assert bundle.config["parity"]["undefined"] > 20 and bundle.config["parity"]["flips"] == 0
    far = edgeml.Predictor.from_bundle(bundle).predict({f"x{index}": 50.0 for index in range(5)})
    assert (far.tier, far.value) == ("fallback", -1.0)


def test_rows_that_the_pipeline_refuses_are_left_out_and_counted():
    X, y = wine()
    codes = np.round(np.abs(X) * 2)
    parity = edgeml.build(CategoricalNB().fit(codes, y), codes, y, **FACTS).config["parity"]
    assert parity["refused"] > 20 and parity["kinds"]["held_out"] == len(X)


def test_rows_that_the_schema_refuses_are_left_out_and_counted():
    X, y = wine()
    model = LogisticRegression().fit(X, y)
    bounds = {"x0": {"min": -10.0, "max": 10.0}}
    predictor, form = predictor_of(model, X, y, features=bounds), infer_schema(X, pipeline=model, overrides=bounds)
    outside = np.vstack([X[:50], X[:3] + [99.0, 0, 0, 0, 0]])
    report = check_pipeline(model, predictor, form, outside)
    assert report.passed and report.refused >= 3 and report.rows["held_out"] == 50


def test_no_held_out_row_left_is_an_error():
    X, y = wine()
    model = LogisticRegression().fit(X, y)
    predictor, form = predictor_of(model, X, y), infer_schema(X, pipeline=model)
    for nothing in (X[:0], X[:4] * np.nan):
        with pytest.raises(BuildError, match="refuses every held-out row"):
            check_pipeline(model, predictor, form, nothing)
    with pytest.raises(BuildError):
        edgeml.build(model, X, y, **FACTS, held_out=(X[:0], y[:0]))


def test_unseen_and_missing_categories_are_compared():
    random = np.random.default_rng(0)
    table = pd.DataFrame({"town": random.choice(["a", "b", "c"], 90), "size": random.normal(size=90)})
    table.loc[::7, "town"] = None
    y = (table["town"] == "b") ^ (table["size"] > 0.4)
    encode = OneHotEncoder(handle_unknown="ignore")
    pipeline = make_pipeline(
        make_column_transformer((encode, ["town"]), remainder="passthrough"), KNeighborsClassifier()
    )
    kinds = edgeml.build(pipeline.fit(table, y), table, y, **FACTS).config["parity"]["kinds"]
    assert kinds["unseen"] == 64 and kinds["missing"] == 128
    changed = clone(pipeline).fit(table.assign(town=table["town"].fillna("a")), y)
    with pytest.raises(ParityError) as refusal:
        compare(pipeline, changed, table)
    assert refusal.value.report["flips"] > 0
