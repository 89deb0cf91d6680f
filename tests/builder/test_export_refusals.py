"""What cannot be exported is refused by its name, with the remedy; a step in a pipeline with its path and columns."""

import numpy as np
import pandas as pd
import pytest
from export_forms import agree, diabetes, fitted, wine
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import FastICA
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern, PairwiseKernel
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, RadiusNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeClassifier

import edgeml
from edgeml.builder.export import doors, export_model, plain_label
from edgeml.errors import BuildError, ParityError, UnsupportedError

SEVERAL = [
    KNeighborsClassifier(),
    RandomForestClassifier(2),
    MLPClassifier((3,), max_iter=5),
    RidgeClassifier(),
    OneVsRestClassifier(LogisticRegression()),
    ClassifierChain(LogisticRegression()),
    MultiOutputClassifier(LogisticRegression()),
    GridSearchCV(RidgeClassifier(), {"alpha": [1.0]}, cv=2),
]


@pytest.mark.parametrize("estimator", SEVERAL, ids=lambda value: type(value).__name__)
def test_several_labels_are_refused_by_name(estimator):
    X, y = wine()
    fitted(estimator, X, np.column_stack([y > 0, y > 1]).astype(int))
    name = type(getattr(estimator, "best_estimator_", estimator)).__name__
    for attempt in (
        lambda: export_model(estimator, n_inputs=5),
        lambda: doors(estimator, n_inputs=5),
        lambda: edgeml.build(estimator, X, name="several", version="1"),
    ):
        with pytest.raises(UnsupportedError, match=f"{name} predicts several labels.*build one bundle for each"):
            attempt()


class Mine(LogisticRegression):
    """A subclass, which may answer otherwise than its parent."""


class Coin(ClassifierMixin, BaseEstimator):
    """A classifier that nobody knows."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


def own_kernel(a, b):
    return a @ b.T


def nearness(distance):
    return 1.0 / (1.0 + distance)


def identity(y):
    return y


NOBODY = [
    (Mine(), "Mine"),
    (Coin(), "Coin"),
    (VotingClassifier([("mine", Mine()), ("tree", DecisionTreeClassifier())]), "VotingClassifier"),
    (make_pipeline(StandardScaler(), Coin()), "Coin"),
    (SVC(kernel=own_kernel), "SVC"),
    (SVR(kernel=own_kernel), "SVR"),
    (KNeighborsRegressor(weights=nearness), "KNeighborsRegressor"),
    (GaussianProcessRegressor(Matern(nu=3.5), optimizer=None, alpha=0.1), r"Matern\(nu=3.5\)"),
    (GaussianProcessRegressor(PairwiseKernel(metric="linear"), optimizer=None, alpha=1.0), "PairwiseKernel"),
    (TransformedTargetRegressor(LinearRegression(), func=identity, inverse_func=identity), "identity"),
]


@pytest.mark.parametrize(("estimator", "named"), NOBODY, ids=[named for _, named in NOBODY])
def test_what_nobody_can_take_is_refused_with_a_remedy(estimator, named):
    X, y = wine()
    fitted(estimator, X, y)
    with pytest.raises(UnsupportedError, match=f"(?s){named}.*use an estimator that .* lists, or export") as refusal:
        edgeml.build(estimator, X, y, name="nobody", version="1")
    assert refusal.value.step


def test_isotonic_regression_says_which_setting_would_do():
    X, y = diabetes()
    estimator = IsotonicRegression().fit(X[:, :1], y)
    with pytest.raises(UnsupportedError, match="fit it with out_of_bounds='clip'"):
        export_model(estimator, n_inputs=1)
    agree(IsotonicRegression(out_of_bounds="clip").fit(X[:, :1], y), X[:, :1])


@pytest.mark.parametrize("strategy", ["stratified", "uniform"])
def test_random_answers_are_refused(strategy):
    X, y = wine()
    pipeline = make_pipeline(StandardScaler(), DummyClassifier(strategy=strategy)).fit(X, y)
    with pytest.raises(UnsupportedError, match=f"DummyClassifier.*{strategy}.*at random.*use strategy='prior'"):
        edgeml.build(pipeline, X, y, name="dice", version="1")


def test_a_label_that_is_no_class_cannot_slip_through():
    X, y = wine()
    estimator = RadiusNeighborsClassifier(0.8, outlier_label=-1).fit(X, y)
    with pytest.raises((UnsupportedError, ParityError), match="RadiusNeighborsClassifier"):
        edgeml.build(estimator, X, y, name="outside", version="1")


def test_a_label_that_json_does_not_know():
    with pytest.raises(BuildError, match="not a text, a number or a truth value"):
        plain_label(np.datetime64("2020-01-01"))


class Doubler(TransformerMixin, BaseEstimator):
    """A step that nobody knows."""

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        return np.asarray(X) * 2

    def get_feature_names_out(self, names=None):
        return names


def test_a_step_that_nothing_can_take_is_named_with_its_columns():
    X, y = wine()
    table = pd.DataFrame(X, columns=list("abcde"))
    prepare = ColumnTransformer([("scale", StandardScaler(), ["a", "b"]), ("twice", Doubler(), ["d", "e"])])
    pipeline = make_pipeline(StandardScaler().set_output(transform="pandas"), prepare, LogisticRegression())
    with pytest.raises(UnsupportedError, match=r"^step 'columntransformer.twice' \(Doubler\) over d, e: ") as refusal:
        edgeml.build(pipeline.fit(table, y), table, y, name="twice", version="1")
    assert refusal.value.step == "columntransformer.twice" and refusal.value.columns == ("d", "e")


def test_of_several_exported_steps_the_one_at_fault_is_named():
    X, y = wine()
    table = pd.DataFrame(X, columns=list("abcde"))
    prepare = ColumnTransformer(
        [
            ("mix", FastICA(random_state=0), ["a", "b"]),
            ("twice", make_pipeline(StandardScaler(), Doubler()), ["d", "e"]),
        ]
    )
    pipeline = make_pipeline(prepare, LogisticRegression()).fit(table, y)
    with pytest.raises(UnsupportedError, match=r"^step 'columntransformer.twice.doubler' \(Doubler\) over d, e: "):
        edgeml.build(pipeline, table, y, name="twice", version="1")


def test_an_estimator_at_fault_is_named_although_a_step_is_exported():
    X, y = wine()
    pipeline = make_pipeline(FastICA(random_state=0), Coin()).fit(X, y)
    with pytest.raises(UnsupportedError, match=r"^Coin cannot be exported"):
        edgeml.build(pipeline, X, y, name="coin", version="1")
