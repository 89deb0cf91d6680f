"""Models that answer from the nearest stored records, and label propagation.

1. Euclidean distances (Minkowski with p = 2); other metrics are refused.
2. Of equally near records the one stored first counts, which scikit-learn's search trees do not promise: where such
   ties decide, parity refuses the bundle.
3. A record without neighbours inside the radius gets no finite answer where scikit-learn raises.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml.builder.export_kernels import squared_distances
from edgeml.builder.export_registry import Classified, Detected, Unwritable, from_probability, inlier, writes
from edgeml.builder.onnx_graph import INT64, Graph, Tensor

# Candidates beyond k: records whose quick distances may stand in the wrong order for the last digits' sake.
SPARE = 8


def _stored(estimator: Any) -> NDArray[np.float64]:
    """The stored records of an estimator that measures Euclidean distances."""
    metric = estimator.effective_metric_
    params = estimator.effective_metric_params_
    if metric != "euclidean" and not (metric == "minkowski" and params.get("p", 2) == 2 and params.get("w") is None):
        raise Unwritable(f"{type(estimator).__name__} with the metric {metric!r}")
    fitted = estimator._fit_X
    return np.asarray(fitted.toarray() if hasattr(fitted, "toarray") else fitted, dtype=np.float64)


def _nearest(graph: Graph, estimator: Any, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Squared distances to the k nearest stored records, rising, and their numbers."""
    stored = _stored(estimator)
    k = min(k, len(stored))
    # The quick formula finds a few more than are needed; among those the exact distances decide. In the order in
    # which they are stored, so that of equally near ones the first counts.
    _, found = graph.smallest(squared_distances(graph, x, stored), min(k + SPARE, len(stored)))
    rising, _ = graph.smallest(graph.number(found), found.width)
    found = graph.cast(rising, INT64)
    rows = graph.node("Gather", [graph.constant(stored), found.name], axis=0)[0]
    own = graph.node("Unsqueeze", [x.name, graph.constant([1], np.int64)])[0]
    apart = graph.node("Sub", [rows, own])[0]
    square = graph.node("Mul", [apart, apart])[0]
    exact = graph.node("ReduceSum", [square, graph.constant([2], np.int64)], keepdims=0)[0]
    squared, places = graph.smallest(Tensor(exact, found.width), k)
    neighbours = graph.node("GatherElements", [found.name, places.name], axis=1)[0]
    return squared, Tensor(neighbours, k)


def _weights(graph: Graph, estimator: Any, squared: Tensor) -> Tensor | None:
    """The neighbours' weights, None where all are one."""
    if estimator.weights in (None, "uniform"):
        return None
    if estimator.weights != "distance":
        raise Unwritable(f"{type(estimator).__name__} with its own weights")
    zero = graph.number(graph.compare("Equal", squared, np.float64(0.0)))
    zero = Tensor(zero.name, squared.width)
    inverse = graph.div(1.0, graph.call("Sqrt", squared))
    hit = graph.compare("Greater", graph.row_sum(zero), np.float64(0.0))
    return graph.where(hit, zero, inverse)


def _gathered(graph: Graph, table: NDArray[Any], neighbours: Tensor, weights: Tensor | None) -> Tensor:
    """For each record the (weighted) sum of the neighbours' rows of a table [m, c]; [N, c]."""
    rows = graph.node("Gather", [graph.constant(table), neighbours.name], axis=0)[0]
    if weights is not None:
        column = graph.node("Unsqueeze", [weights.name, graph.constant([2], np.int64)])[0]
        rows = graph.node("Mul", [rows, column])[0]
    total = graph.node("ReduceSum", [rows, graph.constant([1], np.int64)], keepdims=0)[0]
    return Tensor(total, int(table.shape[1]))


def _one_label(estimator: Any) -> NDArray[np.float64]:
    if estimator.outputs_2d_:
        raise Unwritable(f"{type(estimator).__name__} with several outputs")
    members: NDArray[np.float64] = np.eye(len(estimator.classes_))[np.asarray(estimator._y).reshape(-1)]
    return members


@writes("classifier", "KNeighborsClassifier")
def neighbours_classifier(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """Shares of the (weighted) neighbours."""
    members = _one_label(estimator)
    squared, neighbours = _nearest(graph, estimator, x, estimator.n_neighbors)
    votes = _gathered(graph, members, neighbours, _weights(graph, estimator, squared))
    return Classified(graph.argmax(votes), graph.div(votes, graph.row_sum(votes)), argmax=True)


@writes("regressor", "KNeighborsRegressor")
def neighbours_regressor(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """The (weighted) mean of the neighbours."""
    squared, neighbours = _nearest(graph, estimator, x, estimator.n_neighbors)
    weights = _weights(graph, estimator, squared)
    values = np.asarray(estimator._y, dtype=np.float64)
    total = _gathered(graph, values.reshape(len(values), -1), neighbours, weights)
    return graph.div(total, float(neighbours.width) if weights is None else graph.row_sum(weights))


def _within(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """The weight of each stored record for each record: zero outside the radius."""
    squared = squared_distances(graph, x, _stored(estimator))
    inside = graph.compare("LessOrEqual", squared, np.float64(estimator.radius) ** 2)
    weights = _weights(graph, estimator, squared)
    return graph.where(inside, 1.0 if weights is None else weights, np.zeros(squared.width))


@writes("classifier", "RadiusNeighborsClassifier")
def radius_classifier(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """Shares of the (weighted) records inside the radius; the outlier label where there are none."""
    votes = graph.matmul(_within(graph, estimator, x), _one_label(estimator))
    total = graph.row_sum(votes)
    shares = graph.div(votes, total)
    if estimator.outlier_label_ is not None:
        outlier = np.asarray(estimator.outlier_label_).reshape(-1)[0]
        known = np.flatnonzero(estimator.classes_ == outlier)
        if len(known) != 1:
            raise Unwritable("RadiusNeighborsClassifier whose outlier_label is not one of its classes")
        alone = graph.compare("Equal", total, np.float64(0.0))
        shares = graph.where(alone, np.eye(votes.width)[known], shares)
    return from_probability(graph, shares)


@writes("regressor", "RadiusNeighborsRegressor")
def radius_regressor(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """The (weighted) mean of the records inside the radius."""
    weights = _within(graph, estimator, x)
    values = np.asarray(estimator._y, dtype=np.float64)
    return graph.div(graph.matmul(weights, values.reshape(len(values), -1)), graph.row_sum(weights))


@writes("detector", "LocalOutlierFactor")
def local_outlier_factor(graph: Graph, estimator: Any, x: Tensor) -> Detected:
    """Minus the mean ratio of the neighbours' density to the record's own, less the offset (Breunig et al., 2000)."""
    if not estimator.novelty:
        raise Unwritable("LocalOutlierFactor(novelty=False), which cannot predict")
    k = int(estimator.n_neighbors_)
    squared, neighbours = _nearest(graph, estimator, x, k)
    reach_of = np.asarray(estimator._distances_fit_X_[:, k - 1], dtype=np.float64)
    reach = graph.node("Gather", [graph.constant(reach_of), neighbours.name], axis=0)[0]
    reached = graph.maximum(graph.call("Sqrt", squared), Tensor(reach, k))
    density = np.asarray(estimator._lrd, dtype=np.float64)
    others = Tensor(graph.node("Gather", [graph.constant(density), neighbours.name], axis=0)[0], k)
    own = graph.div(1.0, graph.add(graph.reduce("ReduceMean", reached), 1e-10))
    ratio = graph.reduce("ReduceMean", graph.div(others, own))
    decision = graph.sub(graph.mul(ratio, -1.0), float(estimator.offset_))
    return Detected(inlier(graph, decision, float(estimator.offset_)), decision)


@writes("classifier", "LabelPropagation", "LabelSpreading")
def label_propagation(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """Kernel-weighted label distributions of the stored records."""
    distributions = np.asarray(estimator.label_distributions_, dtype=np.float64)
    if estimator.kernel == "rbf":
        squared = squared_distances(graph, x, estimator.X_)
        weights = graph.call("Exp", graph.mul(squared, -float(estimator.gamma)))
        votes = graph.matmul(weights, distributions)
    elif estimator.kernel == "knn":
        _, neighbours = _nearest(graph, estimator.nn_fit, x, estimator.n_neighbors)
        votes = _gathered(graph, distributions, neighbours, None)
    else:
        raise Unwritable(f"{type(estimator).__name__} with its own kernel")
    return Classified(graph.argmax(votes), graph.div(votes, graph.row_sum(votes)), argmax=True)
