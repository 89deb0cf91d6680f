"""Clusterers that predict, and outlier detectors from a covariance: the nearest centre, the Mahalanobis distance."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeml.builder.export_kernels import squared_distances
from edgeml.builder.export_linear import constant_label
from edgeml.builder.export_registry import Detected, Unwritable, inlier, writes
from edgeml.builder.onnx_graph import Graph, Tensor


@writes("clusterer", "KMeans", "MiniBatchKMeans", "MeanShift", "AffinityPropagation")
def nearest_centre(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """The nearest centre, the first on a tie."""
    if not len(getattr(estimator, "cluster_centers_", ())):
        raise Unwritable(f"{type(estimator).__name__} without cluster centres")
    return graph.argmin(squared_distances(graph, x, estimator.cluster_centers_))


@writes("clusterer", "Birch")
def nearest_subcluster(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """The label of the nearest subcluster."""
    nearest = graph.argmin(squared_distances(graph, x, estimator.subcluster_centers_))
    return graph.lookup(estimator.subcluster_labels_, nearest)


@writes("clusterer", "BisectingKMeans")
def bisecting(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """Down the tree of halves, to the nearer of two centres each time."""
    offset = getattr(estimator, "_X_mean", 0.0)

    def below(node: Any) -> Tensor:
        if node.left is None:
            return constant_label(graph, int(node.label))
        centres = np.vstack([node.left.center, node.right.center]) + offset
        distances = squared_distances(graph, x, centres)
        nearer = graph.compare("LessOrEqual", graph.columns(distances, [0]), graph.columns(distances, [1]))
        left, right = below(node.left), below(node.right)
        return Tensor(graph.node("Where", [graph.flat(nearer).name, left.name, right.name])[0], 0)

    return below(estimator._bisecting_tree)


@writes("detector", "EllipticEnvelope")
def elliptic_envelope(graph: Graph, estimator: Any, x: Tensor) -> Detected:
    """Minus the squared Mahalanobis distance, less the offset."""
    moved = graph.sub(x, estimator.location_)
    distance = graph.row_sum(graph.mul(graph.matmul(moved, estimator.get_precision()), moved))
    decision = graph.sub(graph.mul(distance, -1.0), float(estimator.offset_))
    return Detected(inlier(graph, decision, float(estimator.offset_)), decision)
