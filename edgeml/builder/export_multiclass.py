"""Many binary estimators as one: one-vs-rest, one-vs-one, output codes; calibration; chosen thresholds."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_regressor

from edgeml.builder.export_kernels import one_vs_rest_decision, squared_distances
from edgeml.builder.export_linear import normalised
from edgeml.builder.export_registry import (
    Classified,
    Unwritable,
    class_positions,
    classify,
    from_probability,
    regress,
    two_columns,
    two_probabilities,
    writes,
)
from edgeml.builder.onnx_graph import BOOL, INT64, Graph, Tensor


def _binary_score(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """scikit-learn's ``_predict_binary``: a value, a decision, or the second probability; [N, 1]."""
    if is_regressor(estimator):
        return regress(graph, estimator, x)
    if type(estimator).__name__ == "_ConstantPredictor":
        return graph.constant_rows(np.asarray(estimator.y_, dtype=np.float64).reshape(1, -1))
    answer = classify(graph, estimator, x)
    if answer.decision is not None:
        return answer.decision
    if answer.probability is None or hasattr(estimator, "decision_function"):
        raise Unwritable(f"decision of {type(estimator).__name__}")
    return graph.columns(answer.probability, [1])


def _middle(estimator: Any) -> float:
    """The threshold of a binary score (scikit-learn's ``_threshold_for_binary_predict``)."""
    if hasattr(estimator, "decision_function") and not is_regressor(estimator):
        return 0.0
    return 0.5


@writes("classifier", "OneVsRestClassifier")
def one_vs_rest(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """The class whose estimator gives the largest score."""
    if estimator.multilabel_:
        raise Unwritable("OneVsRestClassifier with several labels")
    scores = graph.concat([_binary_score(graph, part, x) for part in estimator.estimators_])
    decision = scores if hasattr(estimator, "decision_function") else None
    if len(estimator.estimators_) == 1:
        label = graph.label_if("Greater", scores, _middle(estimator.estimators_[0]))
    else:
        label = graph.argmax(scores)
    if not hasattr(estimator, "predict_proba"):
        return Classified(label, decision=decision, argmax=decision is not None)
    positives = []
    for part in estimator.estimators_:
        if type(part).__name__ == "_ConstantPredictor":
            positives.append(graph.constant_rows(np.asarray(part.y_, dtype=np.float64).reshape(1, -1)))
            continue
        probability = classify(graph, part, x).probability
        if probability is None:
            raise Unwritable(f"probabilities of {type(part).__name__}")
        positives.append(graph.columns(probability, [1]))
    if len(positives) == 1:
        return Classified(label, two_probabilities(graph, positives[0]), decision)
    curves = graph.concat(positives)
    total = graph.row_sum(curves)
    safe = graph.where(graph.compare("Equal", total, np.float64(0.0)), np.float64(1.0), total)
    return Classified(label, graph.div(curves, safe), decision)


@writes("classifier", "OneVsOneClassifier")
def one_vs_one(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """Votes of the pairs, with a bounded share of their confidences."""
    if estimator.pairwise_indices_ is not None:
        raise Unwritable("OneVsOneClassifier over a precomputed kernel")
    labels, scores = [], []
    for part in estimator.estimators_:
        score = _binary_score(graph, part, x)
        scores.append(score)
        if is_regressor(part):
            raise Unwritable("OneVsOneClassifier over a regressor")
        labels.append(graph.column_vector(graph.cast(classify(graph, part, x).label, BOOL)))
    k = len(estimator.classes_)
    decision = one_vs_rest_decision(graph, graph.concat(labels), graph.concat(scores), k)
    if k == 2:
        second = graph.columns(decision, [1])
        return Classified(graph.label_if("Greater", second, _middle(estimator.estimators_[0])), decision=second)
    return Classified(graph.argmax(decision), decision=decision, argmax=True)


@writes("classifier", "OutputCodeClassifier")
def output_code(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """The class whose code is nearest to the scores."""
    scores = graph.concat([_binary_score(graph, part, x) for part in estimator.estimators_])
    return Classified(graph.argmin(squared_distances(graph, scores, estimator.code_book_)))


# Calibration


def piecewise_linear(graph: Graph, x: Tensor, at: NDArray[np.float64], values: NDArray[np.float64]) -> Tensor:
    """Linear interpolation of x [N, 1] between rising points, held at both ends; [N, 1]."""
    x = graph.clip(x, float(at[0]), float(at[-1]))
    if len(at) == 1:
        return graph.add(graph.mul(x, 0.0), float(values[0]))
    # The segment of x, from 0; scipy takes a point on a border into the segment that ends there.
    above = graph.number(graph.compare("Greater", x, at[1:-1])) if len(at) > 2 else graph.constant_rows([0.0])
    above = Tensor(above.name, max(1, len(at) - 2))
    segment = graph.flat(graph.cast(graph.row_sum(above), INT64))
    table = [(x0, y0, (y1 - y0) / (x1 - x0)) for (x0, x1), (y0, y1) in zip(pairwise(at), pairwise(values), strict=True)]
    start = graph.rows_of(table, segment)
    step = graph.mul(graph.columns(start, [2]), graph.sub(x, graph.columns(start, [0])))
    return graph.add(step, graph.columns(start, [1]))


@writes("regressor", "IsotonicRegression")
def isotonic(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """Linear between the fitted points."""
    if x.width != 1:
        raise Unwritable("IsotonicRegression with several columns")
    if estimator.out_of_bounds != "clip":
        raise Unwritable(
            f"IsotonicRegression(out_of_bounds={estimator.out_of_bounds!r}), which gives no value outside the range "
            "it was fitted on; fit it with out_of_bounds='clip'"
        )
    return piecewise_linear(graph, x, estimator.X_thresholds_, estimator.y_thresholds_)


def _calibrated(graph: Graph, calibrated: Any, x: Tensor, k: int) -> Tensor:
    """The probabilities of one calibrated classifier; [N, k]."""
    inner = calibrated.estimator
    answer = classify(graph, inner, x)
    if hasattr(inner, "decision_function"):
        scores, from_decision = answer.decision, True
    else:
        scores, from_decision = answer.probability, False
    if scores is None:
        raise Unwritable(f"decision of {type(inner).__name__}")
    if calibrated.method == "temperature":
        if from_decision:
            logits = two_columns(graph, scores) if scores.width == 1 else scores
        else:
            logits = graph.call("Log", graph.add(scores, 1e-12))
        return graph.softmax(graph.mul(logits, float(calibrated.calibrators[0].beta_)))
    positions = class_positions(inner.classes_, calibrated.classes)
    if k == 2 and scores.width == 2:
        scores = graph.columns(scores, [1])
    curves: list[Tensor] = [graph.constant_rows([0.0])] * k
    for index, calibrator in enumerate(calibrated.calibrators):
        score = graph.columns(scores, [index])
        if calibrated.method == "sigmoid":
            curve = graph.call("Sigmoid", graph.sub(graph.mul(score, -float(calibrator.a_)), float(calibrator.b_)))
        else:
            curve = piecewise_linear(graph, score, calibrator.X_thresholds_, calibrator.y_thresholds_)
        curves[1 if k == 2 else positions[index]] = curve
    return two_probabilities(graph, curves[1]) if k == 2 else normalised(graph, graph.concat(curves))


@writes("classifier", "CalibratedClassifierCV")
def calibrated_classifier(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """The mean of the calibrated classifiers."""
    k = len(estimator.classes_)
    parts = [_calibrated(graph, part, x, k) for part in estimator.calibrated_classifiers_]
    return from_probability(graph, graph.div(graph.total(parts), float(len(parts))))


# Thresholds


def _thresholded(graph: Graph, estimator: Any, x: Tensor, threshold: float | None, positive: Any) -> Classified:
    inner = getattr(estimator, "estimator_", None) or estimator.estimator
    answer = classify(graph, inner, x)
    classes = np.asarray(estimator.classes_)
    index = 1 if positive is None else class_positions(np.array([positive]), classes)[0]
    method = estimator._get_response_method()
    names = [method] if isinstance(method, str) else list(method)
    name = next(candidate for candidate in names if hasattr(inner, candidate))
    if name == "predict_proba":
        score = None if answer.probability is None else graph.columns(answer.probability, [index])
    else:
        score = answer.decision
        if score is not None and index == 0:
            score = graph.mul(score, -1.0)
    if score is None:
        raise Unwritable(f"{name} of {type(inner).__name__}")
    if threshold is None:
        threshold = 0.5 if name == "predict_proba" else 0.0
    label = graph.label_if("GreaterOrEqual", score, threshold, yes=index, no=1 - index)
    return Classified(label, answer.probability, answer.decision)


@writes("classifier", "FixedThresholdClassifier")
def fixed_threshold(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """The positive label from a given score up."""
    threshold = None if estimator.threshold == "auto" else float(estimator.threshold)
    return _thresholded(graph, estimator, x, threshold, estimator.pos_label)


@writes("classifier", "TunedThresholdClassifierCV")
def tuned_threshold(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """The positive label from the best score up."""
    return _thresholded(graph, estimator, x, float(estimator.best_threshold_), estimator._curve_scorer._get_pos_label())
