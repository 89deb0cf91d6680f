"""Every estimator of scikit-learn that predicts, and the bundled data that it is tried on.

1. The list comes from ``sklearn.utils.all_estimators``: nobody forgets to add a new one.
2. Each estimator gets two data sets; the settings below keep it small, and name what it cannot do without.
3. Behind a StandardScaler, except where the estimator wants counts, categories or a single column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import KBinsDiscretizer, MinMaxScaler, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils import all_estimators

DATA = {
    "classification": ("breast_cancer", "wine"),
    "regression": ("diabetes", "wine_colour"),
    "outlier": ("breast_cancer", "wine"),
    "clustering": ("breast_cancer", "wine"),
}
MULTI_TARGET = {
    "MultiTaskElasticNet",
    "MultiTaskElasticNetCV",
    "MultiTaskLasso",
    "MultiTaskLassoCV",
    "CCA",
    "PLSCanonical",
}
MULTI_TARGET |= {"MultiOutputRegressor", "RegressorChain"}
SEVERAL_LABELS = {"MultiOutputClassifier", "ClassifierChain"}
TWO_LABELS = {"FixedThresholdClassifier", "TunedThresholdClassifierCV"}
COUNTS = {"MultinomialNB", "ComplementNB"}

SMALL_FOREST = {"n_estimators": 20, "random_state": 0}
SETTINGS: dict[str, dict[str, Any]] = {
    "AdaBoostClassifier": SMALL_FOREST,
    "AdaBoostRegressor": SMALL_FOREST,
    "BaggingClassifier": {"random_state": 0},
    "BaggingRegressor": {"random_state": 0},
    "CCA": {"n_components": 2},
    "ClassifierChain": {"estimator": LogisticRegression()},
    "ExtraTreesClassifier": SMALL_FOREST,
    "ExtraTreesRegressor": SMALL_FOREST,
    "FixedThresholdClassifier": {"estimator": LogisticRegression(), "threshold": 0.3},
    "GaussianProcessClassifier": {},
    "GaussianProcessRegressor": {"alpha": 1e-2},
    "GradientBoostingClassifier": SMALL_FOREST,
    "GradientBoostingRegressor": SMALL_FOREST,
    "HistGradientBoostingClassifier": {"max_iter": 20, "random_state": 0},
    "HistGradientBoostingRegressor": {"max_iter": 20, "random_state": 0},
    "HuberRegressor": {"max_iter": 1000},
    "IsolationForest": {"n_estimators": 20, "random_state": 0, "contamination": 0.1},
    "IsotonicRegression": {"out_of_bounds": "clip"},
    "LabelPropagation": {"gamma": 0.5},
    "LabelSpreading": {"gamma": 0.5},
    "LocalOutlierFactor": {"novelty": True},
    "LogisticRegressionCV": {"cv": 3, "Cs": 3, "l1_ratios": (0.0,), "use_legacy_attributes": False},
    "MLPClassifier": {"hidden_layer_sizes": (8,), "max_iter": 100, "random_state": 0},
    "MLPRegressor": {"hidden_layer_sizes": (8,), "max_iter": 100, "random_state": 0},
    "MultiOutputClassifier": {"estimator": LogisticRegression()},
    "MultiOutputRegressor": {"estimator": Ridge()},
    "NuSVC": {"nu": 0.2},
    "OneVsOneClassifier": {"estimator": LinearSVC()},
    "OneVsRestClassifier": {"estimator": LogisticRegression()},
    "OutputCodeClassifier": {"estimator": LogisticRegression(), "random_state": 0},
    "PLSCanonical": {"n_components": 2},
    "QuadraticDiscriminantAnalysis": {"reg_param": 0.1},
    "RANSACRegressor": {"random_state": 0},
    "RadiusNeighborsClassifier": {"radius": 50.0},
    "RadiusNeighborsRegressor": {"radius": 50.0},
    "RandomForestClassifier": SMALL_FOREST,
    "RandomForestRegressor": SMALL_FOREST,
    "RegressorChain": {"estimator": Ridge()},
    "SelfTrainingClassifier": {"estimator": LogisticRegression()},
    "StackingClassifier": {
        "estimators": [("lr", LogisticRegression()), ("rf", RandomForestClassifier(5, random_state=0))],
        "cv": 2,
    },
    "StackingRegressor": {
        "estimators": [("lr", LinearRegression()), ("dt", DecisionTreeRegressor(max_depth=3))],
        "cv": 2,
    },
    "TheilSenRegressor": {"max_subpopulation": 200, "random_state": 0},
    "TunedThresholdClassifierCV": {"estimator": LogisticRegression(), "cv": 2},
    "VotingClassifier": {
        "estimators": [("lr", LogisticRegression()), ("rf", RandomForestClassifier(5, random_state=0))],
        "voting": "soft",
    },
    "VotingRegressor": {"estimators": [("lr", LinearRegression()), ("dt", DecisionTreeRegressor(max_depth=3))]},
}


@dataclass(frozen=True)
class Case:
    """One estimator on one data set."""

    task: str
    name: str
    data: str
    kind: Callable[..., Any]

    @property
    def id(self) -> str:
        """A name for reports."""
        return f"{self.name}-{self.data}"


def cases() -> Iterator[Case]:
    """All cases, sorted by task and name."""
    found: dict[str, list[tuple[str, Any]]] = {
        "classification": all_estimators("classifier"),
        "regression": all_estimators("regressor"),
        "outlier": [(name, kind) for name, kind in all_estimators() if issubclass(kind, OutlierMixin)],
        "clustering": [(name, kind) for name, kind in all_estimators("cluster") if hasattr(kind, "predict")],
    }
    for task, estimators in found.items():
        for name, kind in estimators:
            for data in DATA[task]:
                yield Case(task, name, data, kind)


@cache
def _load(data: str) -> tuple[NDArray[np.float64], NDArray[Any]]:
    if data == "breast_cancer":
        bunch = datasets.load_breast_cancer()
        # Texts as labels: they must never reach the graph.
        return bunch.data, bunch.target_names[bunch.target].astype(object)
    if data == "wine":
        bunch = datasets.load_wine()
        return bunch.data, bunch.target
    if data == "wine_colour":
        bunch = datasets.load_wine()
        column = list(bunch.feature_names).index("color_intensity")
        return np.delete(bunch.data, column, axis=1), bunch.data[:, column]
    bunch = datasets.load_diabetes()
    return bunch.data, bunch.target


@dataclass(frozen=True)
class Fitted:
    """A fitted pipeline with the rows that it has and has not seen; ``refusal`` where it cannot be fitted so."""

    preparation: Any
    estimator: BaseEstimator
    X: NDArray[np.float64]
    y: NDArray[Any]
    held_out: NDArray[np.float64]
    y_held_out: NDArray[Any]


def fitted(case: Case) -> Fitted:
    """Fits the estimator of a case behind its preparation."""
    X, y = _load(case.data)
    train, held_out, y_train, y_held_out = train_test_split(X, y, test_size=0.4, random_state=0)
    if case.name == "IsotonicRegression":
        train, held_out = train[:, :1], held_out[:, :1]
    if case.name in TWO_LABELS and case.data == "wine":
        y_train, y_held_out = y_train == 1, y_held_out == 1
    if case.name in COUNTS:
        preparation: Any = MinMaxScaler(clip=True)
    elif case.name == "CategoricalNB":
        preparation = KBinsDiscretizer(4, encode="ordinal", quantile_method="averaged_inverted_cdf")
    else:
        preparation = StandardScaler()
    prepared = preparation.fit_transform(train)
    target: Any = y_train
    if case.name in MULTI_TARGET:
        target = np.column_stack([y_train, np.sqrt(np.abs(y_train) + 1.0)])
    elif case.name in SEVERAL_LABELS:
        codes = np.unique(y_train, return_inverse=True)[1]
        target = np.column_stack([codes, codes])
    estimator = case.kind(**SETTINGS.get(case.name, {}))
    if "random_state" in estimator.get_params():
        estimator.set_params(random_state=0)
    estimator.fit(prepared, target) if case.task in ("classification", "regression") else estimator.fit(prepared)
    return Fitted(preparation, estimator, train, target, held_out, y_held_out)
