"""An exported estimator beside scikit-learn's own: data, probing rows, and the comparison."""

import warnings
from functools import cache
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from sklearn import datasets

from edgeml.builder.export import ExportedModel, doors, export_model, plain_label

Array = NDArray[Any]


@cache
def wine() -> tuple[Array, Array]:
    """Three classes, 178 rows, 5 scaled columns."""
    X, y = datasets.load_wine(return_X_y=True)
    return _scaled(X[:, [0, 1, 6, 9, 12]]), y


@cache
def cancer() -> tuple[Array, Array]:
    """Two classes, 200 rows, 6 scaled columns."""
    X, y = datasets.load_breast_cancer(return_X_y=True)
    return _scaled(X[:200, :6]), y[:200]


@cache
def diabetes() -> tuple[Array, Array]:
    """A positive target, 150 rows, 5 scaled columns."""
    X, y = datasets.load_diabetes(return_X_y=True)
    return _scaled(X[:150, [2, 3, 5, 8, 9]]), y[:150] / 50.0


def _scaled(X: Array) -> Array:
    scaled: Array = (X - X.mean(axis=0)) / X.std(axis=0)
    return scaled


def fitted(estimator: Any, X: Array, y: Any = None) -> Any:
    """The estimator, fitted without its talk of convergence and deprecations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(X, y)


def named(*estimators: Any) -> list[Any]:
    """Parameters for pytest with readable ids."""
    return [
        pytest.param(one, id=f"{number}-{''.join(repr(one).split())[:50]}") for number, one in enumerate(estimators)
    ]


def probes(X: Array, *, n: int = 400) -> Array:
    """The rows themselves, and rows mixed from their numbers, middles between two of them, and numbers further out."""
    random = np.random.default_rng(1)
    rows, columns = random.integers(0, len(X), (n, X.shape[1])), np.arange(X.shape[1])
    mixed = X[rows, columns]
    middle = (mixed + X[random.permutation(rows), columns]) / 2.0
    kind = random.integers(0, 8, mixed.shape)
    mixed = np.where(kind == 0, middle, np.where(kind == 1, mixed * 1.5, mixed))
    return np.vstack([X, mixed, np.zeros((1, X.shape[1]))])


def run(exported: ExportedModel, X: Array) -> dict[str, Array]:
    """What ONNX Runtime makes of the model: output name -> array."""
    session = onnxruntime.InferenceSession(exported.model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"dense": X.astype(exported.door)}), strict=True))


def labels_of(exported: ExportedModel, given: dict[str, Array]) -> list[Any]:
    """The labels that the outputs stand for, as the config's ``outputs`` describes them."""
    outputs = exported.outputs
    if outputs["decision"] == "argmax":
        assert "label" not in given and outputs["label_values"] is None
        return [outputs["labels"][index] for index in given["scores"].argmax(axis=1)]
    names = dict(zip(outputs["label_values"], outputs["labels"], strict=True))
    return [names[value] for value in given["label"].tolist()]


def scores_of(estimator: Any, kind: str, X: Array) -> Array:
    """scikit-learn's scores in the form of the contract: one column for each label."""
    if kind == "probability":
        return np.asarray(estimator.predict_proba(X))
    decision = np.asarray(estimator.decision_function(X))
    return np.column_stack([-decision, decision]) if decision.ndim == 1 else decision


def agree(estimator: Any, X: Array, *, tolerance: float = 1e-6, flips: int = 0) -> ExportedModel:
    """Exports through every door and compares; gives the model of the first door.

    Args:
        estimator: A fitted estimator.
        X: Rows to ask, beyond which ``probes`` makes more.
        tolerance: Largest difference of a score or value, relative to its size above one.
        flips: Labels that may differ through a door that is not the best one.
    """
    rows = probes(X)
    found = []
    for number, door in enumerate(doors(estimator, n_inputs=X.shape[1])):
        exported = export_model(estimator, n_inputs=X.shape[1], door=door)
        asked = rows.astype(door).astype(np.float64)
        given = run(exported, asked)
        found.append(exported)
        assert set(given) <= {"scores", "label", "value"}
        if exported.outputs["labels"] is None:
            assert set(given) == {"value"}
            close(given["value"].reshape(len(rows), -1), np.asarray(estimator.predict(asked)), tolerance)
            continue
        expected = [plain_label(label) for label in estimator.predict(asked)]
        differing = [row for row, label in enumerate(labels_of(exported, given)) if label != expected[row]]
        assert len(differing) <= (flips if number else 0), f"{len(differing)} labels differ: rows {differing[:5]}"
        assert ("scores" in given) == (exported.outputs["scores"] is not None)
        if "scores" in given:
            close(given["scores"], scores_of(estimator, exported.outputs["scores"], asked), tolerance)
    return found[0]


def close(given: Array, expected: Array, tolerance: float) -> None:
    """Fails where numbers differ by more than the tolerance, relative to their size above one."""
    assert given.shape == expected.reshape(len(expected), -1).shape
    difference = np.abs(given - expected.reshape(given.shape)) / np.maximum(1.0, np.abs(expected.reshape(given.shape)))
    assert difference.max() <= tolerance, f"largest difference {difference.max():.3g}"
