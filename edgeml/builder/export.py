"""A fitted estimator to an ONNX graph with the outputs ``scores``, ``label`` and ``value``, and no others.

1. Our own writers first (``export_registry`` and the files that register there): float64 inside, scikit-learn's own
   formulae, classes as positions, so that labels of any type never enter the graph.
2. What they do not know goes to skl2onnx as a whole (``export_skl2onnx``); parity decides whether it may be used.
3. What neither can take is an UnsupportedError that names the estimator.

What the outputs mean stands in ``ExportedModel.outputs``:

- ``scores`` [N, k]: ``predict_proba`` where the estimator has it ("probability"), else ``decision_function``
  ("decision"), one column for each label. Where scikit-learn gives a single decision d for two labels, the columns are
  -d and d, so that the larger column belongs to the label that is predicted; for outlier detectors likewise, for the
  labels -1 (outlier) and 1 (inlier).
- ``decision``: "argmax" where ``predict`` is the label of the largest score, the first one on a tie; "label" where it
  is not, or where a tie falls otherwise: then the graph gives ``label``.
- ``value`` [N] or [N, m]: what a regressor predicts.

Two doors: float32 loses nothing for estimators that round their input to float32 themselves (scikit-learn's trees);
float64 is right for all others. ``doors`` tells which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from sklearn.base import is_classifier, is_clusterer, is_outlier_detector, is_regressor

from edgeml.builder import (
    export_bayes,
    export_clusters,
    export_ensembles,
    export_hist_trees,
    export_kernels,
    export_lightgbm,
    export_linear,
    export_multiclass,
    export_neighbors,
    export_transformers,
    export_trees,
    export_wrappers,
    export_xgboost,
)
from edgeml.builder.export_registry import Unwritable, classify, cluster, detect, regress, two_columns
from edgeml.builder.export_skl2onnx import converted
from edgeml.builder.onnx_graph import DOUBLE, INPUT, INT64, IR_VERSION, Graph, Tensor
from edgeml.errors import BuildError, UnsupportedError

# Importing them registers their writers.
FAMILIES = (
    export_bayes,
    export_clusters,
    export_ensembles,
    export_hist_trees,
    export_kernels,
    export_lightgbm,
    export_linear,
    export_multiclass,
    export_neighbors,
    export_transformers,
    export_trees,
    export_wrappers,
    export_xgboost,
)
REMEDY = (
    "use an estimator that docs/estimators.md lists, or export the model to ONNX yourself and build the bundle from "
    "that file with a schema"
)


@dataclass(frozen=True)
class ExportedModel:
    """An estimator as an ONNX model.

    Attributes:
        model: The ONNX file's bytes.
        door: Type of the input ``dense``: ``float32`` or ``float64``.
        outputs: How the outputs are read: the config's ``outputs``.
        opset: Domain -> version.
        ir_version: Version of the ONNX file format.
        estimator: Class of the estimator that answers, such as ``RandomForestClassifier``.
    """

    model: bytes
    door: str
    outputs: dict[str, Any]
    opset: dict[str, int]
    ir_version: int
    estimator: str


def export_model(
    remainder: Any, *, n_inputs: int, door: str = "float32", strings: Sequence[str] = (), task: str | None = None
) -> ExportedModel:
    """Exports a fitted estimator.

    Args:
        remainder: A fitted scikit-learn estimator or Pipeline over a float matrix [N, n_inputs] (and, behind its
            columns, the string features).
        n_inputs: Columns of ``dense``.
        door: Type of ``dense``: ``float32`` or ``float64``.
        strings: Names of further inputs, each a string tensor [N, 1].
        task: ``classification``, ``regression``, ``outlier`` or ``clustering``; None to ask the estimator.

    Raises:
        UnsupportedError: Neither our writers nor skl2onnx can take the estimator; names it and the reason.
    """
    task = task or task_name(remainder)
    refuse_several_labels(remainder, task)
    try:
        if strings:
            raise Unwritable("string features behind the model's door")
        graph = Graph(n_inputs, door)
        tensors, outputs = _written(graph, remainder, task)
        model = graph.finish(tensors)
    except Unwritable as reason:
        model, outputs = _converted(remainder, task, n_inputs, door, strings, reason)
    return ExportedModel(model, door, outputs, _opset(model), IR_VERSION, final_name(remainder))


def _opset(model: bytes) -> dict[str, int]:
    return {item.domain or "ai.onnx": item.version for item in onnx.load_model_from_string(model).opset_import}


def doors(remainder: Any, *, n_inputs: int, strings: Sequence[str] = (), task: str | None = None) -> tuple[str, ...]:
    """The doors worth trying, the best first.

    Returns:
        ``("float32",)`` where the estimator rounds its whole input to float32 itself, ``("float64",)`` where it does
        not, and both where skl2onnx writes the graph, which mostly computes in float32.

    Raises:
        UnsupportedError: The estimator cannot be exported through any door.
    """
    task = task or task_name(remainder)
    refuse_several_labels(remainder, task)
    if strings:
        return ("float32", "float64")
    graph = Graph(n_inputs, "float64")
    try:
        tensors, _ = _written(graph, remainder, task)
    except Unwritable:
        return ("float32", "float64")
    model = onnx.load_model_from_string(graph.finish(tensors))
    rounds = all(
        INPUT not in node.input or node.op_type == "Shape" or (node.op_type == "Cast" and node.attribute[0].i == 1)
        for node in model.graph.node
    )
    return ("float32",) if rounds else ("float64",)


def task_name(estimator: Any) -> str:
    """The task of an estimator.

    Raises:
        UnsupportedError: It is none that predicts.
    """
    if hasattr(estimator, "predict"):
        for kind, name in (
            (is_classifier, "classification"),
            (is_outlier_detector, "outlier"),
            (is_regressor, "regression"),
            (is_clusterer, "clustering"),
        ):
            if kind(estimator):
                return name
        if type(final(estimator)).__name__ in ("GaussianMixture", "BayesianGaussianMixture"):
            return "clustering"
    name = type(final(estimator)).__name__
    raise UnsupportedError(
        f"{name} is no classifier, regressor, outlier detector or clusterer that can predict; end the pipeline in one",
        step=name,
    )


def final(estimator: Any) -> Any:
    """The estimator at the end of a pipeline."""
    while hasattr(estimator, "steps"):
        estimator = estimator.steps[-1][1]
    return estimator


def final_name(estimator: Any) -> str:
    """Class name of the estimator at the end of a pipeline."""
    return type(final(estimator)).__name__


def plain_label(label: Any) -> str | int | float | bool:
    """A class as a JSON scalar; a float that is whole becomes an int."""
    plain = label.item() if isinstance(label, np.generic) else label
    if not isinstance(plain, (str, int, float, bool)):
        raise BuildError(f"label {plain!r} is not a text, a number or a truth value")
    return int(plain) if isinstance(plain, float) and plain.is_integer() else plain


def refuse_several_labels(estimator: Any, task: str) -> None:
    """Refuses a classifier that gives several labels for one record.

    Raises:
        UnsupportedError: It does; names it.
    """
    if task != "classification":
        return
    inner = final(estimator)
    while hasattr(inner, "best_estimator_"):
        inner = final(inner.best_estimator_)
    classes = getattr(inner, "classes_", None)
    several = (
        classes is None
        or isinstance(classes, list)
        or np.ndim(classes) != 1
        or getattr(inner, "multilabel_", False)
        or getattr(inner, "outputs_2d_", False)
        or type(inner).__name__ in ("MultiOutputClassifier", "ClassifierChain")
        or str(getattr(getattr(inner, "_label_binarizer", None), "y_type_", "")).startswith("multilabel")
    )
    if several:
        name = type(inner).__name__
        raise UnsupportedError(
            f"{name} predicts several labels for one record, which a bundle cannot answer; build one bundle for each "
            "label",
            step=name,
        )


def _written(graph: Graph, estimator: Any, task: str) -> tuple[dict[str, tuple[Tensor, int]], dict[str, Any]]:
    """The outputs by our own writers, and their description."""
    if task == "classification":
        return _classification(graph, estimator)
    if task == "regression":
        value = regress(graph, estimator, graph.x)
        flat = graph.flat(value) if value.width == 1 else value
        return {"value": (flat, DOUBLE)}, describe_values(value.width)
    if task == "outlier":
        found = detect(graph, estimator, graph.x)
        outputs = {"scores": (two_columns(graph, found.decision), DOUBLE), "label": (found.label, INT64)}
        return outputs, describe_labels([-1, 1], scores="decision", decision="label")
    labels = cluster_labels(final(estimator))
    label = cluster(graph, estimator, graph.x)
    return {"label": (label, INT64)}, describe_labels(labels, scores=None, decision="label", values=labels)


def _classification(graph: Graph, estimator: Any) -> tuple[dict[str, tuple[Tensor, int]], dict[str, Any]]:
    labels = [plain_label(label) for label in estimator.classes_]
    answer = classify(graph, estimator, graph.x)
    k = len(labels)
    kind: str | None = None
    shown: Tensor | None = None
    if answer.probability is not None and hasattr(estimator, "predict_proba"):
        kind, shown = "probability", answer.probability
    elif answer.decision is not None:
        kind, shown = "decision", answer.decision
        if shown.width == 1 and k == 2:
            shown = two_columns(graph, shown)
    if shown is None or shown.width != k:
        # Such as SVC(decision_function_shape="ovo"): a decision for each pair of classes belongs to no label.
        return {"label": (answer.label, INT64)}, describe_labels(labels, scores=None, decision="label")
    if answer.argmax:
        return {"scores": (shown, DOUBLE)}, describe_labels(labels, scores=kind, decision="argmax")
    outputs = {"scores": (shown, DOUBLE), "label": (answer.label, INT64)}
    return outputs, describe_labels(labels, scores=kind, decision="label")


def describe_labels(
    labels: Sequence[Any], *, scores: str | None, decision: str, values: Sequence[int] | None = None
) -> dict[str, Any]:
    """The config's ``outputs`` for a task with labels."""
    raw = list(values) if values is not None else list(range(len(labels)))
    return {
        "labels": list(labels),
        "scores": scores,
        "decision": decision,
        "label_values": raw if decision == "label" else None,
        "n_values": None,
    }


def describe_values(width: int) -> dict[str, Any]:
    """The config's ``outputs`` for a regression."""
    return {"labels": None, "scores": None, "decision": None, "label_values": None, "n_values": width}


def cluster_labels(estimator: Any) -> list[int]:
    """The labels that a clusterer can predict."""
    while hasattr(estimator, "best_estimator_"):
        estimator = final(estimator.best_estimator_)
    for attribute in ("n_components", "cluster_centers_", "subcluster_labels_", "labels_"):
        found: NDArray[Any] | int | None = getattr(estimator, attribute, None)
        if attribute == "n_components" and isinstance(found, int):
            return list(range(found))
        if attribute == "cluster_centers_" and found is not None:
            return list(range(len(np.asarray(found))))
        if found is not None:
            return [int(label) for label in np.unique(np.asarray(found))]
    raise UnsupportedError(
        f"{type(estimator).__name__} does not say which labels it can predict; {REMEDY}", step=type(estimator).__name__
    )


def _converted(
    estimator: Any, task: str, n_inputs: int, door: str, strings: Sequence[str], reason: Unwritable
) -> tuple[bytes, dict[str, Any]]:
    """The model by skl2onnx, and the description of its outputs."""
    name = final_name(estimator)
    if _answers_at_random(estimator):
        raise UnsupportedError(
            f"{name} cannot be exported: {reason}, and a bundle gives equal answers to equal records; use "
            "strategy='prior' or 'most_frequent'",
            step=name,
        )
    try:
        conversion = converted(estimator, task, n_inputs, door, strings)
    except UnsupportedError as error:
        raise UnsupportedError(
            f"{name} cannot be exported: edgeml: {reason}; skl2onnx: {error}; {REMEDY}", step=error.step or name
        ) from error
    if task == "classification":
        labels = [plain_label(label) for label in estimator.classes_]
        kind = "probability" if conversion.has_scores else None
        return conversion.model, describe_labels(labels, scores=kind, decision="label")
    if task == "outlier":
        return conversion.model, describe_labels([-1, 1], scores=None, decision="label", values=[-1, 1])
    if task == "clustering":
        clusters = cluster_labels(final(estimator))
        return conversion.model, describe_labels(clusters, scores=None, decision="label", values=clusters)
    return conversion.model, describe_values(conversion.width)


def _answers_at_random(estimator: Any) -> bool:
    inner = final(estimator)
    return type(inner).__name__ == "DummyClassifier" and inner._strategy in ("stratified", "uniform")
