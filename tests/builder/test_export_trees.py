"""Trees and their ensembles: missing values, categories, losses, several outputs, and thresholds hit exactly."""

import numpy as np
import pytest
from export_forms import agree, cancer, diabetes, fitted, named, run, wine
from sklearn.datasets import load_digits
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier

import edgeml
from edgeml.builder.export import doors, export_model


def with_holes(X, *, seed=0):
    """A copy with a tenth of the numbers missing."""
    holed = X.copy()
    holed[np.random.default_rng(seed).random(X.shape) < 0.1] = np.nan
    return holed


CLASSIFIERS = named(
    DecisionTreeClassifier(random_state=0),
    DecisionTreeClassifier(max_depth=1, random_state=0),
    ExtraTreeClassifier(random_state=0),
    RandomForestClassifier(7, random_state=0),
    RandomForestClassifier(5, max_depth=2, bootstrap=False, class_weight="balanced", random_state=0),
    ExtraTreesClassifier(6, random_state=0),
    GradientBoostingClassifier(n_estimators=6, random_state=0),
    GradientBoostingClassifier(n_estimators=6, init="zero", random_state=0),
    GradientBoostingClassifier(n_estimators=4, init=LogisticRegression(), random_state=0),
    HistGradientBoostingClassifier(max_iter=6, min_samples_leaf=5),
    AdaBoostClassifier(n_estimators=6, random_state=0),
    AdaBoostClassifier(LogisticRegression(), n_estimators=4, random_state=0),
    BaggingClassifier(n_estimators=4, random_state=0),
    BaggingClassifier(n_estimators=4, max_features=0.6, bootstrap_features=True, random_state=0),
    BaggingClassifier(LogisticRegression(), n_estimators=3, max_features=3, random_state=0),
)


@pytest.mark.parametrize("data", [cancer, wine], ids=["two", "three"])
@pytest.mark.parametrize("estimator", CLASSIFIERS)
def test_classifiers_with_two_and_three_classes(estimator, data):
    X, y = data()
    agree(fitted(estimator, X, y), X)


MISSING = named(
    DecisionTreeClassifier(random_state=0),
    RandomForestClassifier(6, random_state=0),
    ExtraTreesClassifier(6, random_state=0),
    HistGradientBoostingClassifier(max_iter=6, min_samples_leaf=5),
)


@pytest.mark.parametrize("estimator", MISSING)
def test_missing_values_go_where_the_fitted_nodes_send_them(estimator):
    X, y = wine()
    agree(fitted(estimator, with_holes(X), y), with_holes(X, seed=1))


def test_missing_values_that_training_never_saw():
    X, y = diabetes()
    forest = fitted(RandomForestRegressor(5, random_state=0), with_holes(X), y)
    agree(forest, with_holes(X, seed=2))
    boosted = fitted(HistGradientBoostingRegressor(max_iter=5, min_samples_leaf=5), X, y)
    agree(boosted, with_holes(X, seed=3))


LOSSES = named(
    GradientBoostingRegressor(n_estimators=6, loss="huber", random_state=0),
    GradientBoostingRegressor(n_estimators=6, loss="absolute_error", random_state=0),
    GradientBoostingRegressor(n_estimators=6, loss="quantile", alpha=0.8, random_state=0),
    GradientBoostingRegressor(n_estimators=6, init=LinearRegression(), random_state=0),
    GradientBoostingRegressor(n_estimators=6, init="zero", subsample=0.7, random_state=0),
    HistGradientBoostingRegressor(max_iter=6, loss="poisson", min_samples_leaf=5),
    HistGradientBoostingRegressor(max_iter=6, loss="gamma", min_samples_leaf=5),
    HistGradientBoostingRegressor(max_iter=6, loss="quantile", quantile=0.3, min_samples_leaf=5),
    HistGradientBoostingRegressor(max_iter=6, loss="absolute_error", min_samples_leaf=5),
    DecisionTreeRegressor(criterion="poisson", max_depth=4, random_state=0),
    RandomForestRegressor(6, criterion="absolute_error", random_state=0),
    AdaBoostRegressor(n_estimators=5, loss="exponential", random_state=0),
    AdaBoostRegressor(LinearRegression(), n_estimators=4, random_state=0),
    BaggingRegressor(n_estimators=4, max_features=0.6, random_state=0),
    BaggingRegressor(LinearRegression(), n_estimators=3, max_features=3, random_state=0),
)


@pytest.mark.parametrize("estimator", LOSSES)
def test_losses_of_regressors(estimator):
    X, y = diabetes()
    assert agree(fitted(estimator, X, y), X).outputs["n_values"] == 1


def test_the_exponential_loss_of_gradient_boosting():
    X, y = cancer()
    agree(fitted(GradientBoostingClassifier(n_estimators=6, loss="exponential", random_state=0), X, y), X)


@pytest.mark.parametrize("estimator", named(DecisionTreeRegressor(max_depth=4), RandomForestRegressor(4)))
def test_several_outputs(estimator):
    X, y = diabetes()
    model = agree(fitted(estimator.set_params(random_state=0), X, np.column_stack([y, -y, y**2])), X)
    assert model.outputs["n_values"] == 3


@pytest.mark.parametrize("contamination", ["auto", 0.2])
def test_isolation_forests_where_the_threshold_is_a_training_score(contamination):
    X, _ = cancer()
    forest = fitted(IsolationForest(n_estimators=8, contamination=contamination, max_features=3, random_state=0), X)
    assert agree(forest, X).outputs["decision"] == "label"


# Doors and thresholds


def test_trees_round_to_float32_and_histogram_boosting_does_not():
    X, y = wine()
    assert doors(DecisionTreeClassifier().fit(X, y), n_inputs=5) == ("float32",)
    assert doors(fitted(AdaBoostClassifier(n_estimators=3), X, y), n_inputs=5) == ("float32",)
    assert doors(HistGradientBoostingClassifier(max_iter=3).fit(X, y), n_inputs=5) == ("float64",)
    mixed = fitted(GradientBoostingClassifier(n_estimators=2, init=LogisticRegression()), X, y)
    assert doors(mixed, n_inputs=5) == ("float32",)


def test_a_number_on_a_threshold_and_a_hair_beside_it():
    X, y = wine()
    for estimator in (DecisionTreeClassifier(random_state=0), HistGradientBoostingClassifier(max_iter=1, max_depth=1)):
        estimator.fit(X, y)
        if isinstance(estimator, DecisionTreeClassifier):
            column, threshold = estimator.tree_.feature[0], estimator.tree_.threshold[0]
        else:
            root = estimator._predictors[0][0].nodes[0]
            column, threshold = root["feature_idx"], root["num_threshold"]
        near = [threshold, np.nextafter(threshold, 9), np.nextafter(threshold, -9), np.float32(threshold)]
        near += [np.nextafter(np.float32(threshold), np.float32(step)) for step in (9, -9)]
        rows = np.repeat(X[:10], len(near), axis=0)
        rows[:, column] = np.tile(near, 10)
        (door,) = doors(estimator, n_inputs=5)
        given = run(export_model(estimator, n_inputs=5, door=door), rows)
        np.testing.assert_allclose(given["scores"], estimator.predict_proba(rows.astype(door)), atol=1e-7)


def test_a_forest_behind_a_scaler_on_digits_has_no_flip_on_any_row():
    X, y = load_digits(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), RandomForestClassifier(40, random_state=0, n_jobs=1)).fit(
        X[:1200], y[:1200]
    )
    bundle = edgeml.build(
        pipeline, X[:1200], y[:1200], held_out=(X[1200:], y[1200:]), name="digits", version="1", tolerance=1e-6
    )
    parity = bundle.config["parity"]
    assert parity["flips"] == parity["ties"] == 0 and parity["max_difference"] <= 1e-6
    assert parity["door"] == "float32" and parity["kinds"]["boundary"] > 100
    answers = edgeml.Predictor.from_bundle(bundle).predict_many(X)
    assert answers.label_list() == pipeline.predict(X).tolist()
    assert np.abs(answers.scores - pipeline.predict_proba(X)).max() <= 1e-6
