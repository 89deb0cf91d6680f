"""Histogram gradient boosting, from the nodes of its predictors.

1. These trees compare float64, so X is not rounded to float32.
2. A missing value goes where the node sends it.
3. A split on categories becomes a chain of ``x == category`` questions on the side that the missing values do not go
   to, so that missing, negative and unknown categories take the missing values' way, as in scikit-learn.
4. With categorical columns scikit-learn reorders the columns and encodes the categories; the chain asks the raw value,
   or the code where the feature compiler has encoded them already (``edgeml_encoded_``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml.builder.export_registry import Classified, Unwritable, two_columns, writes
from edgeml.builder.onnx_graph import Graph, Tensor
from edgeml.builder.onnx_trees import Tree, largest_of_trees, sum_of_trees


def _columns_and_categories(estimator: Any) -> tuple[NDArray[np.int64], dict[int, NDArray[np.float64]]]:
    """The original column of each inner column, and the raw categories of the inner columns that have some."""
    if estimator.is_categorical_ is None:
        return np.arange(estimator._n_features), {}
    categorical = np.asarray(estimator.is_categorical_, dtype=bool)
    order = np.concatenate([np.flatnonzero(categorical), np.flatnonzero(~categorical)])
    encoder = estimator._preprocessor.named_transformers_["encoder"]
    if getattr(estimator, "edgeml_encoded_", False):
        codes = [np.arange(sum(value == value for value in known), dtype=np.float64) for known in encoder.categories_]
        return np.arange(len(order)), dict(enumerate(codes))
    categories = {}
    for inner, known in enumerate(encoder.categories_):
        try:
            categories[inner] = np.asarray(known, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise Unwritable("categories that are not numbers inside HistGradientBoosting") from error
    return order.astype(np.int64), categories


def _is_member(bits: NDArray[np.uint32], value: int) -> bool:
    return bool((int(bits[value // 32]) >> (value % 32)) & 1)


def _tree(predictor: Any, columns: NDArray[np.int64], categories: dict[int, NDArray[np.float64]]) -> Tree:
    """One predictor's nodes; chains of categories are appended behind them."""
    nodes = predictor.nodes
    leaf = nodes["is_leaf"].astype(bool)
    feature = columns[np.where(leaf, 0, nodes["feature_idx"])].tolist()
    threshold = np.where(leaf, 0.0, nodes["num_threshold"]).tolist()
    left = np.where(leaf, -1, nodes["left"].astype(np.int64)).tolist()
    right = np.where(leaf, -1, nodes["right"].astype(np.int64)).tolist()
    missing = nodes["missing_go_to_left"].astype(bool).tolist()
    equal = [False] * len(feature)
    for index in np.flatnonzero(nodes["is_categorical"].astype(bool) & ~leaf).tolist():
        node = nodes[index]
        known = categories[int(node["feature_idx"])]
        goes_left = [_is_member(predictor.raw_left_cat_bitsets[int(node["bitset_idx"])], i) for i in range(len(known))]
        to_left = not missing[index]
        asked = [
            value for value, is_left in zip(known, goes_left, strict=True) if is_left == to_left and value == value
        ]
        hit, miss = (left[index], right[index]) if to_left else (right[index], left[index])
        position = index
        for number, value in enumerate(asked):
            last = number == len(asked) - 1
            following = miss if last else len(feature)
            threshold[position], left[position], right[position] = float(value), hit, following
            equal[position], missing[position] = True, False
            if not last:
                position = len(feature)
                feature.append(feature[index])
                threshold.append(0.0)
                left.append(0)
                right.append(0)
                missing.append(False)
                equal.append(False)
        if not asked:
            left[index] = right[index] = miss
    values = np.zeros((len(feature), 1))
    values[: len(nodes), 0] = np.where(leaf, nodes["value"], 0.0)
    return Tree(
        feature=np.array(feature),
        threshold=np.array(threshold),
        left=np.array(left),
        right=np.array(right),
        missing_left=np.array(missing),
        values=values,
        equal=np.array(equal) if any(equal) else None,
    )


def _trees(estimator: Any) -> tuple[list[Tree], NDArray[np.float64]]:
    """All trees, each adding to its own target, and the first guess of each target."""
    columns, categories = _columns_and_categories(estimator)
    width = int(estimator.n_trees_per_iteration_)
    trees = []
    for iteration in estimator._predictors:
        for k, predictor in enumerate(iteration):
            tree = _tree(predictor, columns, categories)
            values = np.zeros((len(tree.feature), width))
            values[:, k] = tree.values[:, 0]
            tree.values = values
            trees.append(tree)
    return trees, np.asarray(estimator._baseline_prediction, dtype=np.float64).reshape(-1)


@writes("regressor", "HistGradientBoostingRegressor")
def regressor(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """The first guess plus the trees, through the inverse link."""
    trees, base = _trees(estimator)
    raw = sum_of_trees(graph, x, trees, base=base)
    return graph.call("Exp", raw) if estimator.loss in ("poisson", "gamma") else raw


@writes("classifier", "HistGradientBoostingClassifier")
def classifier(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """Raw sums and their logistic curve or softmax; a raw sum of zero is the first of two classes."""
    trees, base = _trees(estimator)
    if len(base) == 1:
        raw = sum_of_trees(graph, x, trees, base=base)
        probability = graph.softmax(graph.mul(two_columns(graph, raw), 0.5))
        return Classified(graph.label_if("Greater", raw, 0.0), probability, raw, argmax=True)
    label, raw = largest_of_trees(graph, x, trees, base=base)
    return Classified(label, graph.softmax(raw), raw)
