"""Estimators made of estimators: voting, stacking, searches, chains, target transformers; labels of every type."""

import numpy as np
import pytest
from export_forms import agree, cancer, diabetes, fitted, named, wine
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.cross_decomposition import CCA, PLSRegression
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.feature_selection import RFE, SelectKBest
from sklearn.frozen import FrozenEstimator
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LinearRegression, LogisticRegression, MultiTaskLasso, RANSACRegressor, Ridge
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, TunedThresholdClassifierCV
from sklearn.multioutput import MultiOutputRegressor, RegressorChain
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

PARTS = [("line", LogisticRegression()), ("tree", DecisionTreeClassifier(max_depth=3)), ("bayes", GaussianNB())]
REGRESSORS = [("line", Ridge()), ("tree", DecisionTreeRegressor(max_depth=3))]


CLASSIFIERS = named(
    VotingClassifier(PARTS, voting="soft"),
    VotingClassifier(PARTS, voting="soft", weights=[1, 3, 0.5]),
    VotingClassifier(PARTS, voting="hard", weights=[2, 1, 1.5]),
    VotingClassifier([*PARTS, ("none", "drop")]),
    StackingClassifier(PARTS, cv=2),
    StackingClassifier(PARTS, cv=2, passthrough=True),
    StackingClassifier(PARTS, DecisionTreeClassifier(max_depth=3), cv=2, stack_method="predict"),
    StackingClassifier([("margin", LinearSVC()), *PARTS], cv=2),
    GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": [0.1, 1.0]}, cv=2),
    GridSearchCV(RandomForestClassifier(3, random_state=0), {"max_depth": [2, 3]}, cv=2),
    RFE(LogisticRegression(), n_features_to_select=3),
    SelfTrainingClassifier(GaussianNB()),
    make_pipeline(VotingClassifier([("a", make_pipeline(MinMaxScaler(), LogisticRegression())), *PARTS[1:]])),
)


@pytest.mark.parametrize("data", [cancer, wine], ids=["two", "three"])
@pytest.mark.parametrize("estimator", CLASSIFIERS)
def test_classifiers_with_two_and_three_classes(estimator, data):
    X, y = data()
    agree(fitted(estimator, X, y), X)


THRESHOLDS = named(
    FixedThresholdClassifier(LogisticRegression(), threshold=0.3),
    FixedThresholdClassifier(LogisticRegression(), threshold=0.3, pos_label=0),
    FixedThresholdClassifier(LinearSVC(), threshold=-0.4, response_method="decision_function"),
    FixedThresholdClassifier(DecisionTreeClassifier(max_depth=3)),
    TunedThresholdClassifierCV(LogisticRegression(), cv=2),
    FrozenEstimator(LogisticRegression()),
)


@pytest.mark.parametrize("estimator", THRESHOLDS)
def test_thresholds_of_two_classes(estimator):
    X, y = cancer()
    if isinstance(estimator, FrozenEstimator):
        estimator.estimator.fit(X, y)
    model = agree(fitted(estimator, X, y), X)
    assert model.outputs["decision"] == ("argmax" if isinstance(estimator, FrozenEstimator) else "label")


BACK = named(
    TransformedTargetRegressor(LinearRegression(), func=np.log, inverse_func=np.exp),
    TransformedTargetRegressor(LinearRegression(), func=np.log1p, inverse_func=np.expm1),
    TransformedTargetRegressor(LinearRegression(), func=np.sqrt, inverse_func=np.square),
    TransformedTargetRegressor(Ridge(), transformer=StandardScaler()),
    TransformedTargetRegressor(Ridge(), transformer=StandardScaler(with_mean=False)),
    TransformedTargetRegressor(Ridge(), transformer=MinMaxScaler((-1, 1))),
    TransformedTargetRegressor(Ridge(), transformer=RobustScaler()),
    TransformedTargetRegressor(DecisionTreeRegressor(max_depth=4), transformer=MaxAbsScaler()),
)


@pytest.mark.parametrize("estimator", BACK)
def test_targets_are_taken_back_to_their_own_scale(estimator):
    X, y = diabetes()
    agree(fitted(estimator, X, y), X)


SEVERAL_REGRESSORS = named(
    VotingRegressor(REGRESSORS, weights=[1, 2]),
    StackingRegressor(REGRESSORS, cv=2),
    StackingRegressor(REGRESSORS, cv=2, passthrough=True),
    GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, cv=2),
    RANSACRegressor(random_state=0, min_samples=20),
    RFE(Ridge(), n_features_to_select=2),
)


@pytest.mark.parametrize("estimator", SEVERAL_REGRESSORS)
def test_regressors_of_regressors(estimator):
    X, y = diabetes()
    agree(fitted(estimator, X, y), X)


MULTI_OUTPUT = named(
    LinearRegression(),
    MultiTaskLasso(0.1),
    PLSRegression(2),
    CCA(2),
    KNeighborsRegressor(4, weights="distance"),
    MLPRegressor(hidden_layer_sizes=(4,), max_iter=10, random_state=0),
    MultiOutputRegressor(DecisionTreeRegressor(max_depth=3)),
    RegressorChain(Ridge(), order=[2, 0, 1]),
    TransformedTargetRegressor(LinearRegression(), transformer=StandardScaler()),
)


@pytest.mark.parametrize("estimator", MULTI_OUTPUT)
def test_several_values_at_once(estimator):
    X, y = diabetes()
    model = agree(fitted(estimator, X, np.column_stack([y, np.sqrt(y), -2 * y])), X)
    assert model.outputs["n_values"] == 3 and model.outputs["labels"] is None


INSIDE = named(
    StandardScaler(with_mean=False),
    RobustScaler(with_scaling=False),
    MinMaxScaler(clip=True),
    MaxAbsScaler(),
    Normalizer("l1"),
    Normalizer("max"),
    Binarizer(threshold=0.2),
    SelectKBest(k=2),
    PCA(3, whiten=True),
    TruncatedSVD(2, random_state=0),
    Nystroem(n_components=8, random_state=0),
    PolynomialFeatures(2, interaction_only=True),
    PolynomialFeatures((2, 3), include_bias=False),
    FunctionTransformer(np.tanh),
    FeatureUnion([("p", PCA(2)), ("s", StandardScaler())], transformer_weights={"p": 2.0}),
    ColumnTransformer([("a", StandardScaler(), [0, 2]), ("b", "passthrough", [4]), ("c", "drop", [1])]),
    ColumnTransformer([("a", MinMaxScaler(), slice(1, 3))], remainder="passthrough"),
)


@pytest.mark.parametrize("step", INSIDE)
def test_transformers_inside_an_estimator(step):
    X, y = wine()
    inner = make_pipeline(step, LogisticRegression(max_iter=300))
    agree(fitted(VotingClassifier([("inner", inner), ("bayes", GaussianNB())], voting="soft"), X, y), X)


def test_a_clusterer_behind_a_transformer():
    X, _ = wine()
    model = agree(fitted(make_pipeline(PCA(2), KMeans(3, n_init=2, random_state=0)), X), X)
    assert model.outputs["labels"] == model.outputs["label_values"] == [0, 1, 2]


LABELS = {
    "bool": (np.array([False, True]), [False, True]),
    "int": (np.array([-3, 7]), [-3, 7]),
    "str": (np.array(["no", "yes"]), ["no", "yes"]),
    "object": (np.array(["nein", "oui"], dtype=object), ["nein", "oui"]),
    "whole float": (np.array([1.0, 2.0]), [1, 2]),
    "many": (np.array(["a", "b", "c"]), ["a", "b", "c"]),
    "int32": (np.array([5, 6, 9], dtype=np.int32), [5, 6, 9]),
}


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize(
    "estimator",
    named(
        LogisticRegression(),
        DecisionTreeClassifier(max_depth=3),
        HistGradientBoostingClassifier(max_iter=2),
        SVC(),
        StackingClassifier(PARTS, cv=2),
        VotingClassifier(PARTS, voting="hard"),
    ),
)
def test_labels_of_every_type_stay_outside_the_graph(estimator, name):
    values, plain = LABELS[name]
    X, y = wine()
    model = agree(fitted(estimator, X, values[np.minimum(y, len(values) - 1)]), X)
    assert model.outputs["labels"] == plain
    assert [type(label) for label in model.outputs["labels"]] == [type(label) for label in plain]
    assert b"yes" not in model.model and b"oui" not in model.model
