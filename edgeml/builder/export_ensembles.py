"""Ensembles of any estimators: bagging, AdaBoost, voting, stacking.

1. A part may know fewer classes than the whole, or know them by their positions; its columns are put in their place.
2. Where all parts are trees, they become one tree ensemble node instead of one node each.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeml.builder.export_registry import (
    Classified,
    Unwritable,
    class_positions,
    classify,
    from_probability,
    regress,
    spread,
    two_columns,
    writes,
)
from edgeml.builder.export_trees import (
    bagged_forest_classifier,
    bagged_forest_regressor,
    bagged_trees,
    each_tree,
    voted_trees,
)
from edgeml.builder.onnx_graph import Graph, Tensor
from edgeml.builder.onnx_trees import largest_of_trees, sum_of_trees


def weighted_mean(graph: Graph, parts: list[Tensor], weights: Any) -> Tensor:
    """The mean of equally shaped matrices, weighted where weights are given."""
    if weights is None:
        return graph.div(graph.total(parts), float(len(parts)))
    scaled = [graph.mul(part, float(weight)) for part, weight in zip(parts, weights, strict=True)]
    return graph.div(graph.total(scaled), float(np.sum(weights)))


def one_hot(graph: Graph, label: Tensor, positions: list[int], width: int) -> Tensor:
    """A part's label as a row of zeros and a one in the columns of the whole; [N, width]."""
    return graph.rows_of(np.eye(width)[positions], label)


@writes("classifier", "BaggingClassifier")
def bagging_classifier(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """The mean of the parts' probabilities, or the shares of their votes where they have none."""
    trees = bagged_trees(estimator)
    if trees is not None:
        return bagged_forest_classifier(graph, trees, x)
    k = len(estimator.classes_)
    parts = []
    for part, columns in zip(estimator.estimators_, estimator.estimators_features_, strict=True):
        answer = classify(graph, part, graph.columns(x, columns))
        positions = class_positions(part.classes_, np.arange(k))
        if hasattr(part, "predict_proba") and answer.probability is None:
            raise Unwritable(f"probabilities of {type(part).__name__}")
        if answer.probability is None:
            parts.append(one_hot(graph, answer.label, positions, k))
        else:
            parts.append(spread(graph, answer.probability, positions, k))
    return from_probability(graph, weighted_mean(graph, parts, None))


@writes("regressor", "BaggingRegressor")
def bagging_regressor(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """The mean of the parts."""
    trees = bagged_trees(estimator)
    if trees is not None:
        return bagged_forest_regressor(graph, trees, x)
    pairs = zip(estimator.estimators_, estimator.estimators_features_, strict=True)
    return weighted_mean(graph, [regress(graph, part, graph.columns(x, columns)) for part, columns in pairs], None)


@writes("classifier", "AdaBoostClassifier")
def boosted_classifier(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """Weighted votes: a part's weight for its label, and -1 / (k - 1) of it against the others (SAMME)."""
    k = len(estimator.classes_)
    if k == 1:
        raise Unwritable("AdaBoostClassifier with a single class")
    scale = float(estimator.estimator_weights_.sum())
    trees = voted_trees(estimator)
    if trees is not None and k == 2:
        for tree in trees:
            tree.values = 2.0 * tree.values[:, 1:]
        decision = graph.div(sum_of_trees(graph, graph.float32_rounded(x), trees), scale)
    elif trees is not None:
        label, sums = largest_of_trees(graph, graph.float32_rounded(x), trees, keep_zeros=True)
        decision = graph.div(sums, scale)
        return Classified(label, graph.softmax(graph.div(decision, k - 1.0)), decision)
    else:
        votes = []
        for part, weight in zip(estimator.estimators_, estimator.estimator_weights_, strict=False):
            chosen = np.eye(k)[class_positions(part.classes_, estimator.classes_)]
            votes.append(
                graph.rows_of(np.where(chosen == 1.0, weight, -1.0 / (k - 1) * weight), classify(graph, part, x).label)
            )
        decision = graph.div(graph.total(votes), scale)
        if k == 2:
            decision = graph.matmul(decision, [[-1.0], [1.0]])
    if k > 2:
        return Classified(graph.argmax(decision), graph.softmax(graph.div(decision, k - 1.0)), decision, argmax=True)
    probability = graph.softmax(graph.mul(two_columns(graph, decision), 0.5))
    return Classified(graph.label_if("Greater", decision, 0.0), probability, decision, argmax=True)


@writes("regressor", "AdaBoostRegressor")
def boosted_regressor(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """The weighted median of the parts (Drucker, 1997)."""
    parts = list(estimator.estimators_)
    answers = each_tree(graph, parts, x)
    if answers is None:
        answers = graph.concat([regress(graph, part, x) for part in parts])
    values, order = graph.smallest(answers, len(parts))
    weights = np.asarray(estimator.estimator_weights_[: len(parts)], dtype=np.float64)
    sorted_weights = graph.node("Gather", [graph.constant(weights), order.name], axis=0)[0]
    running = Tensor(graph.node("CumSum", [sorted_weights, graph.constant(1, np.int64)])[0], len(parts))
    enough = graph.compare("GreaterOrEqual", running, graph.mul(graph.columns(running, [len(parts) - 1]), 0.5))
    first = graph.column_vector(graph.argmax(Tensor(graph.number(enough).name, len(parts))))
    return Tensor(graph.node("GatherElements", [values.name, first.name], axis=1)[0], 1)


@writes("classifier", "VotingClassifier")
def voting_classifier(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """The weighted mean of the probabilities, or the label with the most votes."""
    k = len(estimator.classes_)
    weights = estimator._weights_not_none
    answers = [classify(graph, part, x) for part in estimator.estimators_]
    if estimator.voting == "soft":
        probabilities = [answer.probability for answer in answers if answer.probability is not None]
        if len(probabilities) < len(answers):
            raise Unwritable("a part of VotingClassifier without probabilities")
        return from_probability(graph, weighted_mean(graph, probabilities, weights))
    # The parts were fitted on positions in classes_.
    votes = [
        graph.mul(one_hot(graph, answer.label, class_positions(part.classes_, np.arange(k)), k), float(weight))
        for answer, part, weight in zip(answers, estimator.estimators_, weights or [1.0] * len(answers), strict=True)
    ]
    return Classified(graph.argmax(graph.total(votes)))


@writes("regressor", "VotingRegressor")
def voting_regressor(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """The weighted mean of the parts."""
    return weighted_mean(
        graph, [regress(graph, part, x) for part in estimator.estimators_], estimator._weights_not_none
    )


def _stacked(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """What the parts answer, side by side: the final estimator's input."""
    columns = []
    methods = [method for method in estimator.stack_method_ if method is not None]
    for part, method in zip(estimator.estimators_, methods, strict=True):
        if not hasattr(part, "classes_"):
            columns.append(regress(graph, part, x))
            continue
        answer = classify(graph, part, x)
        if method == "predict":
            known = np.asarray(part.classes_, dtype=np.float64).reshape(-1, 1)
            columns.append(graph.rows_of(known, answer.label))
            continue
        given = answer.probability if method == "predict_proba" else answer.decision
        if given is None:
            raise Unwritable(f"{method} of {type(part).__name__}")
        # Of two probabilities the first says nothing new, and scikit-learn drops it.
        columns.append(graph.columns(given, [1]) if method == "predict_proba" and given.width == 2 else given)
    if estimator.passthrough:
        columns.append(x)
    return graph.concat(columns)


@writes("classifier", "StackingClassifier")
def stacking_classifier(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """The final estimator's answer to the parts' answers."""
    return classify(graph, estimator.final_estimator_, _stacked(graph, estimator, x))


@writes("regressor", "StackingRegressor")
def stacking_regressor(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """The final estimator's answer to the parts' answers."""
    return regress(graph, estimator.final_estimator_, _stacked(graph, estimator, x))
