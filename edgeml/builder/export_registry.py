"""Who writes which estimator: a table from a scikit-learn class name to the function that writes its graph.

1. A writer is found by the class's own name and only for classes that scikit-learn, LightGBM or XGBoost itself defines:
   a subclass may have changed ``predict``, so it is not taken for its parent.
2. ``classifier``, ``regressor``, ``detector`` (outliers), ``clusterer`` and ``transformer`` are the five roles.
3. A writer that meets a parameter it does not know raises ``Unwritable``; the exporter then tries skl2onnx.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml.builder.onnx_graph import Graph, Tensor


class Unwritable(Exception):
    """This estimator, or this setting of it, has no writer; the text says what."""


@dataclass(frozen=True)
class Classified:
    """What a classifier gives.

    Attributes:
        label: Index into ``classes_``, int64 [N], equal to ``predict``.
        probability: ``predict_proba`` [N, k], if the estimator has it.
        decision: ``decision_function`` [N, k], or [N, 1] for two classes, if the estimator has it.
        argmax: Whether the label is always that of the largest score as shown (see ``shown``).
    """

    label: Tensor
    probability: Tensor | None = None
    decision: Tensor | None = None
    argmax: bool = False


@dataclass(frozen=True)
class Detected:
    """What an outlier detector gives.

    Attributes:
        label: 0 for an outlier, 1 for an inlier, int64 [N].
        decision: ``decision_function`` [N, 1]: negative for outliers.
    """

    label: Tensor
    decision: Tensor


LIBRARIES = ("sklearn.", "lightgbm.", "xgboost.")
_WRITERS: dict[tuple[str, str], Callable[..., Any]] = {}


def writes(role: str, *names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers a writer ``(graph, estimator, x) -> answer`` for a role and class names."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            _WRITERS[role, name] = function
        return function

    return register


def written(role: str) -> list[str]:
    """Names of the classes that have a writer for a role, sorted."""
    return sorted(name for known, name in _WRITERS if known == role)


def _write(role: str, graph: Graph, estimator: Any, x: Tensor) -> Any:
    kind = type(estimator)
    writer = _WRITERS.get((role, kind.__name__)) if kind.__module__.startswith(LIBRARIES) else None
    if writer is None:
        raise Unwritable(f"no writer for {kind.__module__}.{kind.__name__} as a {role}")
    return writer(graph, estimator, x)


def classify(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """Writes a fitted classifier with one label a row."""
    classes = getattr(estimator, "classes_", None)
    if classes is None or isinstance(classes, list) or np.ndim(classes) != 1:
        raise Unwritable(f"{type(estimator).__name__} has not one list of classes")
    result: Classified = _write("classifier", graph, estimator, x)
    return result


def regress(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """Writes a fitted regressor; gives [N, m]."""
    result: Tensor = _write("regressor", graph, estimator, x)
    return result


def detect(graph: Graph, estimator: Any, x: Tensor) -> Detected:
    """Writes a fitted outlier detector."""
    result: Detected = _write("detector", graph, estimator, x)
    return result


def cluster(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """Writes a fitted clusterer; gives its label, int64 [N]."""
    result: Tensor = _write("clusterer", graph, estimator, x)
    return result


def transform(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """Writes a fitted transformer; gives [N, m]."""
    if estimator is None or (isinstance(estimator, str) and estimator == "passthrough"):
        return x
    result: Tensor = _write("transformer", graph, estimator, x)
    return result


def two_columns(graph: Graph, decision: Tensor) -> Tensor:
    """A decision [N, 1] for two classes as [-d, d]: each label gets its own score, the larger one wins."""
    return graph.matmul(decision, [[-1.0, 1.0]])


def two_probabilities(graph: Graph, positive: Tensor) -> Tensor:
    """The probability [N, 1] of the second of two classes as [1 - p, p]."""
    return graph.concat([graph.sub(1.0, positive), positive])


def from_probability(graph: Graph, probability: Tensor, decision: Tensor | None = None) -> Classified:
    """The answer of a classifier whose ``predict`` is the argmax of its probabilities."""
    return Classified(graph.argmax(probability), probability, decision, argmax=True)


def inlier(graph: Graph, decision: Tensor, size: float) -> Tensor:
    """The label of a detector whose threshold is a quantile of its own training scores.

    The decision of the training record at the quantile is zero up to the last bits, which another order of adding
    changes; a hair below zero still is an inlier.

    Args:
        graph: Where to write.
        decision: The decision [N, 1].
        size: Size of the numbers that the threshold was subtracted from.
    """
    return graph.label_if("GreaterOrEqual", decision, -4e-14 * max(1.0, abs(size)))


def class_positions(classes: NDArray[Any], known: NDArray[Any]) -> list[int]:
    """Where each of the classes stands among the known ones.

    Raises:
        Unwritable: One is not among them.
    """
    position = {value: index for index, value in enumerate(known.tolist())}
    try:
        return [position[value] for value in classes.tolist()]
    except KeyError as error:
        raise Unwritable(f"class {error} of a part is unknown to the whole") from error


def spread(graph: Graph, x: Tensor, positions: Sequence[int], width: int) -> Tensor:
    """Columns of x put at their positions in a matrix of zeros [N, width]."""
    if list(positions) == list(range(width)):
        return x
    selector = np.zeros((x.width, width))
    selector[np.arange(x.width), list(positions)] = 1.0
    return graph.matmul(x, selector)
