"""Classifiers from class densities: naive Bayes, quadratic discriminant analysis, nearest centroid, mixtures.

Each gives a joint log likelihood [N, k]; the label is its argmax (the first class on a tie), the probability its
softmax. As the softmax keeps the order, the label is also that of the largest probability.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeml.builder.export_kernels import squared_distances
from edgeml.builder.export_registry import Classified, Unwritable, from_probability, writes
from edgeml.builder.onnx_graph import Graph, Tensor


def _posterior(graph: Graph, joint: Tensor) -> Classified:
    if joint.width == 1:
        return from_probability(graph, graph.constant_rows([1.0]))
    return Classified(graph.argmax(joint), graph.softmax(joint), argmax=True)


@writes("classifier", "GaussianNB")
def gaussian(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """Independent normal densities."""
    parts = []
    for theta, var, prior in zip(estimator.theta_, estimator.var_, estimator.class_prior_, strict=True):
        # One class at a time, as scikit-learn does: multiplying the squares out would lose digits.
        distance = graph.matmul(graph.square(graph.sub(x, theta)), (-0.5 / var).reshape(-1, 1))
        parts.append(graph.add(distance, float(np.log(prior) - 0.5 * np.sum(np.log(2.0 * np.pi * var)))))
    return _posterior(graph, graph.concat(parts))


@writes("classifier", "MultinomialNB")
def multinomial(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """Log probabilities weighted by counts."""
    return _posterior(graph, graph.affine(x, estimator.feature_log_prob_.T, estimator.class_log_prior_))


@writes("classifier", "ComplementNB")
def complement(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """Weights of the complements; the prior plays no part for two classes or more."""
    return _posterior(graph, graph.matmul(x, estimator.feature_log_prob_.T))


@writes("classifier", "BernoulliNB")
def bernoulli(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """Presence and absence of each feature."""
    if estimator.binarize is not None:
        x = graph.number(graph.compare("Greater", x, np.float64(estimator.binarize)))
    present = estimator.feature_log_prob_
    absent = np.log(1.0 - np.exp(present))
    return _posterior(graph, graph.affine(x, (present - absent).T, estimator.class_log_prior_ + absent.sum(axis=1)))


@writes("classifier", "CategoricalNB")
def categorical(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """One table of log probabilities a feature; an unknown category gives no finite answer."""
    # Cut towards zero, as numpy makes whole numbers: -0.5 is category 0.
    whole = graph.mul(graph.call("Sign", x), graph.call("Floor", graph.call("Abs", x)))
    parts = []
    for column, table in enumerate(estimator.feature_log_prob_):
        member = graph.number(graph.compare("Equal", graph.columns(whole, [column]), np.arange(table.shape[1]) * 1.0))
        member = Tensor(member.name, table.shape[1])
        # A row that is in no category has to fail, as it does in scikit-learn: 0 / 0 is not a number.
        found = graph.row_sum(member)
        parts.append(graph.div(graph.matmul(member, table.T), found))
    return _posterior(graph, graph.add(graph.total(parts), estimator.class_log_prior_))


@writes("classifier", "QuadraticDiscriminantAnalysis")
def quadratic(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """Normal densities with a covariance for each class."""
    parts = []
    for index, mean in enumerate(estimator.means_):
        rotation, scaling = estimator.rotations_[index], estimator.scalings_[index]
        turned = graph.matmul(graph.sub(x, mean), rotation * scaling**-0.5)
        offset = -0.5 * float(np.sum(np.log(scaling))) + float(np.log(estimator.priors_[index]))
        parts.append(graph.add(graph.mul(graph.row_sum(graph.square(turned)), -0.5), offset))
    joint = graph.concat(parts)
    decision = joint if joint.width != 2 else graph.matmul(joint, [[-1.0], [1.0]])
    return Classified(graph.argmax(joint), graph.softmax(joint), decision, argmax=True)


@writes("classifier", "NearestCentroid")
def nearest_centroid(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """The nearest centroid; scores only where they take part in the label."""
    if estimator.metric != "euclidean":
        raise Unwritable(f"NearestCentroid(metric={estimator.metric!r})")
    k = len(estimator.classes_)
    if not hasattr(estimator, "class_prior_"):
        return Classified(graph.argmin(squared_distances(graph, x, estimator.centroids_)))
    spread = np.asarray(estimator.within_class_std_dev_, dtype=np.float64)
    spread = np.where(spread != 0, spread, 1.0)
    scaled = squared_distances(graph, graph.div(x, spread), estimator.centroids_ / spread)
    joint = graph.sub(2.0 * np.log(estimator.class_prior_), scaled)
    probability = graph.softmax(joint)
    decision = joint if k != 2 else graph.matmul(joint, [[-1.0], [1.0]])
    if np.isclose(estimator.class_prior_, 1 / k).all():
        # With equal priors predict compares plain distances, the scores compare scaled ones.
        return Classified(graph.argmin(squared_distances(graph, x, estimator.centroids_)), probability, decision)
    return Classified(graph.argmax(joint), probability, decision, argmax=True)


@writes("clusterer", "GaussianMixture", "BayesianGaussianMixture")
def mixture(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """The component with the largest weighted density."""
    zeros = np.zeros((1, estimator.means_.shape[1]))
    # The density at the origin, less its quadratic part, is what does not depend on x.
    origin = estimator._estimate_weighted_log_prob(zeros)[0]
    parts = []
    for index, mean in enumerate(estimator.means_):
        precision = _precision_root(estimator, index, len(mean))
        turned = graph.matmul(graph.sub(x, mean), precision)
        constant = float(origin[index] + 0.5 * np.sum((mean @ precision) ** 2))
        parts.append(graph.add(graph.mul(graph.row_sum(graph.square(turned)), -0.5), constant))
    return graph.argmax(graph.concat(parts))


def _precision_root(estimator: Any, index: int, width: int) -> np.ndarray[Any, Any]:
    root = estimator.precisions_cholesky_
    if estimator.covariance_type == "full":
        return np.asarray(root[index])
    if estimator.covariance_type == "tied":
        return np.asarray(root)
    return np.diag(np.broadcast_to(root[index], (width,)))
