"""Estimators around an estimator: pipelines, searches, feature elimination, target transformers, chains."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeml.builder.export_registry import (
    Classified,
    Detected,
    Unwritable,
    classify,
    cluster,
    detect,
    regress,
    transform,
    writes,
)
from edgeml.builder.onnx_graph import Graph, Tensor

SEARCHES = ("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV")
ELIMINATORS = ("RFE", "RFECV")


def _before(graph: Graph, pipeline: Any, x: Tensor) -> Tensor:
    """Everything but the last step of a pipeline."""
    for _, step in pipeline.steps[:-1]:
        x = transform(graph, step, x)
    return x


def unwrapped(graph: Graph, estimator: Any, x: Tensor) -> tuple[Any, Tensor]:
    """The estimator inside a wrapper that leaves its answers as they are, and its input."""
    name = type(estimator).__name__
    if name == "Pipeline":
        return estimator.steps[-1][1], _before(graph, estimator, x)
    if name in SEARCHES:
        return estimator.best_estimator_, x
    if name in ELIMINATORS:
        return estimator.estimator_, graph.columns(x, np.flatnonzero(estimator.support_))
    if name == "FrozenEstimator":
        return estimator.estimator, x
    if name == "GaussianProcessClassifier":
        return estimator.base_estimator_, x
    return estimator.estimator_, x


@writes(
    "classifier", "Pipeline", *SEARCHES, *ELIMINATORS, "FrozenEstimator", "GaussianProcessClassifier",
    "SelfTrainingClassifier",
)  # fmt: skip
def wrapped_classifier(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """The classifier inside."""
    inner, x = unwrapped(graph, estimator, x)
    if list(inner.classes_) != list(estimator.classes_):
        raise Unwritable(f"{type(estimator).__name__} whose classes differ from those inside")
    return classify(graph, inner, x)


@writes("regressor", "Pipeline", *SEARCHES, *ELIMINATORS, "FrozenEstimator", "RANSACRegressor")
def wrapped_regressor(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """The regressor inside."""
    return regress(graph, *unwrapped(graph, estimator, x))


@writes("detector", "Pipeline", *SEARCHES, "FrozenEstimator")
def wrapped_detector(graph: Graph, estimator: Any, x: Tensor) -> Detected:
    """The outlier detector inside."""
    return detect(graph, *unwrapped(graph, estimator, x))


@writes("clusterer", "Pipeline", *SEARCHES, "FrozenEstimator")
def wrapped_clusterer(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """The clusterer inside."""
    return cluster(graph, *unwrapped(graph, estimator, x))


@writes("transformer", "Pipeline")
def wrapped_transformer(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """All steps of a pipeline of transformers."""
    return transform(graph, estimator.steps[-1][1], _before(graph, estimator, x))


# Regressors around regressors


@writes("regressor", "MultiOutputRegressor")
def multi_output(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """One regressor for each output."""
    return graph.concat([regress(graph, part, x) for part in estimator.estimators_])


@writes("regressor", "RegressorChain")
def chain(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """Each regressor also sees the answers before it."""
    answers: list[Tensor] = []
    for part in estimator.estimators_:
        answers.append(regress(graph, part, graph.concat([x, *answers])))
    return graph.columns(graph.concat(answers), np.argsort(estimator.order_))


_FUNCTIONS = {
    "exp": "Exp", "sqrt": "Sqrt", "log": "Log", "tanh": "Tanh", "abs": "Abs", "absolute": "Abs",
}  # fmt: skip


def apply_function(graph: Graph, function: Any, x: Tensor) -> Tensor:
    """A numpy function, element by element."""
    if function is None:
        return x
    name = getattr(function, "__name__", "")
    if not isinstance(function, np.ufunc):
        raise Unwritable(f"the function {name or function!r}, which is not one of numpy's own")
    if name in _FUNCTIONS:
        return graph.call(_FUNCTIONS[name], x)
    if name == "expm1":
        return graph.sub(graph.call("Exp", x), 1.0)
    if name == "log1p":
        return graph.call("Log", graph.add(x, 1.0))
    if name == "square":
        return graph.square(x)
    raise Unwritable(f"the function {name}")


@writes("regressor", "TransformedTargetRegressor")
def transformed_target(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """The regressor's answer, taken back to the target's own scale."""
    answer = regress(graph, estimator.regressor_, x)
    back = estimator.transformer_
    name = type(back).__name__
    if name == "FunctionTransformer":
        return apply_function(graph, back.inverse_func, answer)
    if name == "StandardScaler":
        scaled = answer if back.scale_ is None or not back.with_std else graph.mul(answer, back.scale_)
        return scaled if back.mean_ is None or not back.with_mean else graph.add(scaled, back.mean_)
    if name == "MinMaxScaler" and not back.clip:
        return graph.div(graph.sub(answer, back.min_), back.scale_)
    if name == "RobustScaler":
        scaled = graph.mul(answer, back.scale_) if back.with_scaling else answer
        return graph.add(scaled, back.center_) if back.with_centering else scaled
    if name == "MaxAbsScaler":
        return graph.mul(answer, back.scale_)
    raise Unwritable(f"TransformedTargetRegressor with {name}")
