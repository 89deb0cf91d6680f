"""Linear models and what is linear after one function: ``X @ coef + intercept`` in float64, one node.

1. Classifiers: the label is the sign of the decision, or its argmax; a zero decision is the first class.
2. Probabilities: softmax, or logistic curves normalised over the classes, as each estimator defines them.
3. Two classes: the logistic curve of d is written as softmax([-d/2, d/2]), which is the same number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml.builder.export_registry import Classified, Detected, Unwritable, from_probability, two_columns, writes
from edgeml.builder.onnx_graph import INT64, Graph, Tensor

REGRESSORS = (
    "ARDRegression",
    "BayesianRidge",
    "ElasticNet",
    "ElasticNetCV",
    "HuberRegressor",
    "Lars",
    "LarsCV",
    "Lasso",
    "LassoCV",
    "LassoLars",
    "LassoLarsCV",
    "LassoLarsIC",
    "LinearRegression",
    "LinearSVR",
    "MultiTaskElasticNet",
    "MultiTaskElasticNetCV",
    "MultiTaskLasso",
    "MultiTaskLassoCV",
    "OrthogonalMatchingPursuit",
    "OrthogonalMatchingPursuitCV",
    "PassiveAggressiveRegressor",
    "QuantileRegressor",
    "Ridge",
    "RidgeCV",
    "SGDRegressor",
    "TheilSenRegressor",
)


def weights_of(estimator: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The weights [d, m] and the intercept [m] of a linear model."""
    coef = estimator.coef_
    coef = np.atleast_2d(np.asarray(coef.toarray() if hasattr(coef, "toarray") else coef, dtype=np.float64))
    intercept = np.asarray(estimator.intercept_, dtype=np.float64).reshape(-1)
    return coef.T, np.broadcast_to(intercept, (coef.shape[0],))


@writes("regressor", *REGRESSORS)
def linear_regressor(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """X @ coef + intercept."""
    return graph.affine(x, *weights_of(estimator))


@writes("regressor", "PoissonRegressor", "GammaRegressor", "TweedieRegressor")
def generalised_linear_regressor(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """The inverse link of X @ coef + intercept."""
    raw = graph.affine(x, *weights_of(estimator))
    link = getattr(estimator, "link", "log")
    if link == "auto":
        link = "identity" if estimator.power <= 0 else "log"
    return raw if link == "identity" else graph.call("Exp", raw)


@writes("regressor", "PLSRegression", "PLSCanonical", "CCA")
def partial_least_squares(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """(X - mean) @ coef + intercept."""
    return graph.affine(graph.sub(x, estimator._x_mean), *weights_of(estimator))


def linear_label(graph: Graph, decision: Tensor) -> Tensor:
    """The label of a linear decision."""
    return graph.label_if("Greater", decision, 0.0) if decision.width == 1 else graph.argmax(decision)


@writes("classifier", "LinearSVC", "PassiveAggressiveClassifier", "Perceptron", "RidgeClassifier", "RidgeClassifierCV")
def linear_classifier(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """A decision without probabilities."""
    decision = graph.affine(x, *weights_of(estimator))
    return Classified(linear_label(graph, decision), decision=decision, argmax=True)


@writes("classifier", "LogisticRegression", "LogisticRegressionCV", "LinearDiscriminantAnalysis")
def softmax_classifier(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """A decision whose softmax (logistic curve for two classes) is the probability."""
    weights, intercept = weights_of(estimator)
    decision = graph.affine(x, weights, intercept)
    if len(estimator.classes_) > 2:
        if weights.shape[1] != len(estimator.classes_):
            raise Unwritable(f"{type(estimator).__name__} with {weights.shape[1]} decisions")
        if getattr(estimator, "solver", "") == "liblinear" or getattr(estimator, "multi_class", "") == "ovr":
            # Only older releases of scikit-learn fit one curve a class here; they also normalise them differently.
            raise Unwritable("one-vs-rest probabilities of LogisticRegression; wrap it in OneVsRestClassifier")
        return Classified(graph.argmax(decision), graph.softmax(decision), decision, argmax=True)
    halves = graph.affine(x, np.hstack([-weights, weights]) / 2.0, np.hstack([-intercept, intercept]) / 2.0)
    return Classified(linear_label(graph, decision), graph.softmax(halves), decision, argmax=True)


@writes("classifier", "SGDClassifier")
def sgd_classifier(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """A linear decision; probabilities only for the losses that have them."""
    decision = graph.affine(x, *weights_of(estimator))
    label = linear_label(graph, decision)
    if estimator.loss == "log_loss":
        curves = graph.call("Sigmoid", decision)
    elif estimator.loss == "modified_huber":
        curves = graph.div(graph.add(graph.clip(decision, -1.0, 1.0), 1.0), 2.0)
    else:
        return Classified(label, decision=decision, argmax=True)
    if decision.width == 1:
        return Classified(label, graph.concat([graph.sub(1.0, curves), curves]), decision)
    return Classified(label, normalised(graph, curves), decision)


def normalised(graph: Graph, curves: Tensor) -> Tensor:
    """Rows divided by their sum; a row of zeros becomes uniform."""
    total = graph.row_sum(curves)
    uniform = np.full(curves.width, 1.0 / curves.width)
    return graph.where(graph.compare("Equal", total, np.float64(0.0)), uniform, graph.div(curves, total))


@writes("detector", "SGDOneClassSVM")
def sgd_one_class(graph: Graph, estimator: Any, x: Tensor) -> Detected:
    """X @ coef - offset."""
    weights = np.asarray(estimator.coef_, dtype=np.float64).reshape(1, -1).T
    decision = graph.affine(x, weights, -np.asarray(estimator.offset_, dtype=np.float64).reshape(-1))
    return Detected(graph.label_if("GreaterOrEqual", decision, 0.0), decision)


# Neural networks: linear layers with a function between


_ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "logistic": "Sigmoid"}


def _layers(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """Everything up to the last layer's function."""
    depth = len(estimator.coefs_)
    for index, (weights, bias) in enumerate(zip(estimator.coefs_, estimator.intercepts_, strict=True)):
        x = graph.affine(x, weights, bias)
        if index < depth - 1 and estimator.activation != "identity":
            x = graph.call(_ACTIVATIONS[estimator.activation], x)
    return x


@writes("regressor", "MLPRegressor")
def network_regressor(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """The network's output."""
    raw = _layers(graph, estimator, x)
    if estimator.out_activation_ == "identity":
        return raw
    if estimator.out_activation_ == "exp":
        return graph.call("Exp", raw)
    raise Unwritable(f"MLPRegressor with output function {estimator.out_activation_}")


@writes("classifier", "MLPClassifier")
def network_classifier(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """Softmax over the classes; one logistic curve for two."""
    raw = _layers(graph, estimator, x)
    if estimator.out_activation_ == "softmax":
        return from_probability(graph, graph.softmax(raw))
    if estimator.out_activation_ == "logistic" and raw.width == 1:
        # predict asks for p > 0.5, which is a positive argument of the curve.
        probability = graph.softmax(graph.mul(two_columns(graph, raw), 0.5))
        return Classified(graph.label_if("Greater", raw, 0.0), probability, argmax=True)
    raise Unwritable(f"MLPClassifier with output function {estimator.out_activation_}")


# Constants


@writes("regressor", "DummyRegressor")
def dummy_regressor(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """The same numbers for every row."""
    return graph.constant_rows(np.asarray(estimator.constant_, dtype=np.float64).reshape(1, -1))


@writes("classifier", "DummyClassifier")
def dummy_classifier(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """The same probabilities for every row; random strategies cannot be repeated."""
    if estimator._strategy in ("stratified", "uniform"):
        raise Unwritable(f"DummyClassifier(strategy={estimator._strategy!r}) answers at random")
    first = np.zeros((1, estimator.n_features_in_ if hasattr(estimator, "n_features_in_") else x.width))
    probability = graph.constant_rows(estimator.predict_proba(first))
    return from_probability(graph, probability)


def constant_label(graph: Graph, label: int) -> Tensor:
    """The same label for every row."""
    return graph.cast(graph.flat(graph.constant_rows([float(label)])), INT64)
