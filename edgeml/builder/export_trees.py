"""scikit-learn's trees: one tree, forests, extra trees, gradient boosting, isolation forest.

1. They cast X to float32 and compare with float64 thresholds; so does the graph (``onnx_trees``).
2. Forests add the trees' probabilities from the first to the last and divide at the end; so does the graph.
3. A missing value goes where the fitted node sends it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml.builder.export_registry import (
    Classified,
    Detected,
    Unwritable,
    class_positions,
    classify,
    from_probability,
    inlier,
    regress,
    two_probabilities,
    writes,
)
from edgeml.builder.onnx_graph import Graph, Tensor
from edgeml.builder.onnx_trees import Tree, largest_of_trees, one_by_one, precise_sum, sum_of_trees


def tree_of(estimator: Any, *, columns: NDArray[Any] | None = None, values: NDArray[Any] | None = None) -> Tree:
    """A fitted decision tree's nodes.

    Args:
        estimator: A fitted DecisionTree or ExtraTree estimator.
        columns: The ensemble's columns that the tree was fitted on; None for all.
        values: What its leaves give, [n_nodes, m]; None for the tree's own outputs.
    """
    tree = estimator.tree_
    state = tree.__getstate__()["nodes"]
    feature = np.maximum(tree.feature, 0)
    names = state.dtype.names
    missing = state["missing_go_to_left"] if "missing_go_to_left" in names else np.zeros(len(feature), np.uint8)
    if values is None:
        values = tree.value[:, :, 0] if tree.n_classes.max() == 1 else tree.value[:, 0, :]
    return Tree(
        feature=feature if columns is None else np.asarray(columns)[feature],
        threshold=tree.threshold.astype(np.float64),
        left=tree.children_left,
        right=tree.children_right,
        missing_left=missing,
        values=np.asarray(values, dtype=np.float64),
    )


def is_tree(estimator: Any) -> bool:
    """Whether the estimator is one of scikit-learn's own trees."""
    kind = type(estimator)
    return kind.__module__ == "sklearn.tree._classes" and hasattr(estimator, "tree_")


def _forest_classifier(graph: Graph, trees: Sequence[Tree], x: Tensor) -> Classified:
    """The mean of the trees' probabilities."""
    if trees[0].values.shape[1] == 1:
        return from_probability(graph, graph.constant_rows([1.0]))
    label, sums = largest_of_trees(graph, graph.float32_rounded(x), trees)
    return Classified(label, graph.div(sums, float(len(trees))) if len(trees) > 1 else sums)


@writes("classifier", "DecisionTreeClassifier", "ExtraTreeClassifier")
def tree_classifier(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """The shares of the classes in the leaf."""
    return _forest_classifier(graph, [tree_of(estimator)], x)


@writes("classifier", "RandomForestClassifier", "ExtraTreesClassifier")
def forest_classifier(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """The mean of the trees' probabilities."""
    return _forest_classifier(graph, [tree_of(tree) for tree in estimator.estimators_], x)


@writes("regressor", "DecisionTreeRegressor", "ExtraTreeRegressor")
def tree_regressor(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """The leaf's values."""
    return sum_of_trees(graph, graph.float32_rounded(x), [tree_of(estimator)])


@writes("regressor", "RandomForestRegressor", "ExtraTreesRegressor")
def forest_regressor(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """The mean of the trees' values."""
    trees = [tree_of(tree) for tree in estimator.estimators_]
    return graph.div(sum_of_trees(graph, graph.float32_rounded(x), trees), float(len(trees)))


# Gradient boosting


def _boosted(graph: Graph, estimator: Any, x: Tensor) -> tuple[Tensor | None, list[Tree], NDArray[Any] | None]:
    """The first guess where it is a model of its own, the scaled trees, and the first guess where it is constant."""
    stages, width = estimator.estimators_.shape
    trees = []
    for stage in range(stages):
        for k in range(width):
            tree = tree_of(estimator.estimators_[stage, k])
            values = np.zeros((len(tree.feature), width))
            values[:, k] = estimator.learning_rate * tree.values[:, 0]
            trees.append(Tree(**{**vars(tree), "values": values}))
    constant = isinstance(estimator.init_, str) or type(estimator.init_).__name__ in (
        "DummyClassifier",
        "DummyRegressor",
    )
    if constant:
        zeros = np.zeros((1, estimator.n_features_in_), dtype=np.float32)
        return None, trees, estimator._raw_predict_init(zeros).reshape(-1)
    return _first_guess(graph, estimator, x), trees, None


def _first_guess(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """The raw prediction of an ``init`` estimator, which sees X rounded to float32."""
    rounded = graph.float32_rounded(x)
    if not hasattr(estimator, "classes_"):
        return regress(graph, estimator.init_, rounded)
    probability = classify(graph, estimator.init_, rounded).probability
    if probability is None:
        raise Unwritable("GradientBoostingClassifier(init=...) without probabilities")
    eps = float(np.finfo(np.float64).eps)
    p = graph.clip(probability, eps, 1.0 - eps)
    if p.width > 2:
        logs = graph.call("Log", p)
        return graph.sub(logs, graph.reduce("ReduceMean", logs))
    second = graph.columns(p, [1])
    odds = graph.call("Log", graph.div(second, graph.sub(1.0, second)))
    return graph.mul(odds, 0.5) if estimator.loss == "exponential" else odds


@writes("regressor", "GradientBoostingRegressor")
def boosting_regressor(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """The first guess plus the scaled trees."""
    guess, trees, base = _boosted(graph, estimator, x)
    total = sum_of_trees(graph, graph.float32_rounded(x), trees, base=base)
    return total if guess is None else graph.add(guess, total)


@writes("classifier", "GradientBoostingClassifier")
def boosting_classifier(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """Raw sums, their logistic curve or softmax; a raw sum of zero is the second of two classes."""
    guess, trees, base = _boosted(graph, estimator, x)
    rounded = graph.float32_rounded(x)
    if trees[0].values.shape[1] == 1:
        raw = sum_of_trees(graph, rounded, trees, base=base)
        raw = raw if guess is None else graph.add(guess, raw)
        scale = 2.0 if estimator.loss == "exponential" else 1.0
        probability = two_probabilities(graph, graph.call("Sigmoid", graph.mul(raw, scale) if scale != 1.0 else raw))
        return Classified(graph.label_if("GreaterOrEqual", raw, 0.0), probability, raw)
    label, raw = largest_of_trees(graph, rounded, trees, base=base, keep_zeros=False)
    if guess is not None:
        raw = graph.add(guess, raw)
        label = graph.argmax(raw)
    return Classified(label, graph.softmax(raw), raw)


# Ensembles of single trees that are built from elsewhere


def bagged_trees(estimator: Any) -> list[Tree] | None:
    """The trees of a Bagging estimator, in its own columns and classes; None where its parts are not trees."""
    if not all(is_tree(part) for part in estimator.estimators_):
        return None
    classes = getattr(estimator, "classes_", None)
    trees = []
    for part, columns in zip(estimator.estimators_, estimator.estimators_features_, strict=True):
        tree = tree_of(part, columns=columns)
        if classes is not None:
            # The parts were fitted on positions in classes_, of which a sample may miss some.
            values = np.zeros((len(tree.feature), len(classes)))
            values[:, class_positions(part.classes_, np.arange(len(classes)))] = tree.values
            tree.values = values
        trees.append(tree)
    return trees


def bagged_forest_classifier(graph: Graph, trees: Sequence[Tree], x: Tensor) -> Classified:
    """The mean of bagged trees' probabilities."""
    return _forest_classifier(graph, trees, x)


def bagged_forest_regressor(graph: Graph, trees: Sequence[Tree], x: Tensor) -> Tensor:
    """The mean of bagged trees' values."""
    return graph.div(sum_of_trees(graph, graph.float32_rounded(x), trees), float(len(trees)))


def voted_trees(estimator: Any) -> list[Tree] | None:
    """AdaBoost's weighted votes as leaves over its classes; None where its parts are not trees."""
    if not all(is_tree(part) for part in estimator.estimators_):
        return None
    k = len(estimator.classes_)
    trees = []
    for part, weight in zip(estimator.estimators_, estimator.estimator_weights_, strict=False):
        tree = tree_of(part)
        winner = np.asarray(class_positions(part.classes_, estimator.classes_))[tree.values.argmax(axis=1)]
        votes = np.full((len(tree.feature), k), -1.0 / (k - 1) * weight)
        votes[np.arange(len(winner)), winner] = weight
        tree.values = votes
        trees.append(tree)
    return trees


def each_tree(graph: Graph, parts: Sequence[Any], x: Tensor) -> Tensor | None:
    """The value of each of several regression trees, side by side; None where the parts are not trees."""
    if not all(is_tree(part) for part in parts):
        return None
    return one_by_one(graph, graph.float32_rounded(x), [tree_of(part) for part in parts])


@writes("detector", "IsolationForest")
def isolation_forest(graph: Graph, estimator: Any, x: Tensor) -> Detected:
    """2 to the power of minus the mean depth, against the offset."""
    trees = []
    for index, (part, columns) in enumerate(zip(estimator.estimators_, estimator.estimators_features_, strict=True)):
        depth = estimator._decision_path_lengths[index] + estimator._average_path_length_per_tree[index] - 1.0
        trees.append(tree_of(part, columns=columns, values=np.asarray(depth, dtype=np.float64).reshape(-1, 1)))
    depths = precise_sum(graph, graph.float32_rounded(x), trees)
    scale = len(trees) * _average_path_length(int(estimator._max_samples))
    ratio = graph.div(depths, -scale) if scale else graph.constant_rows([-1.0])
    decision = graph.sub(graph.mul(graph.pow(2.0, ratio), -1.0), float(estimator.offset_))
    return Detected(inlier(graph, decision, 1.0), decision)


def _average_path_length(n: int) -> float:
    """Mean length of an unsuccessful search in a binary search tree of n points (Liu, Ting and Zhou, 2008)."""
    if n <= 2:
        return float(n == 2)
    return 2.0 * (float(np.log(n - 1.0)) + float(np.euler_gamma)) - 2.0 * (n - 1.0) / n
