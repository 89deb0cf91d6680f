"""One bundle's model answered by everything that can: the native kernel, ONNX Runtime and ONNX's reference."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from oracles.onnx_oracle import reference_answers

import edgeml
from edgeml.bundles import Bundle
from edgeml.runtime.features import FeatureProgram
from edgeml.runtime.model_session import model_session

# The reference is Python for each row.
ROWS = 25


def engine_differences(bundle: Bundle, rows: NDArray[np.float64]) -> dict[str, float]:
    """How far each other engine is from ONNX Runtime, on what the compiled features make of the first rows.

    Args:
        bundle: Whose model is asked.
        rows: Records [n, d].

    Returns:
        For ``reference``, and ``native`` where the bundle has a kernel: the largest difference of a score or value
        against max(1, |ONNX Runtime's|); infinite where a label differs.
    """
    dense = _dense(bundle, rows[:ROWS])
    runtime = model_session(bundle, "python").run({"dense": dense})
    answers = {"reference": reference_answers(bundle.members["model.onnx"], {"dense": dense})}
    if "kernel.json" in bundle.members:
        answers["native"] = model_session(bundle, "native").run({"dense": dense})
    return {
        engine: max(_difference(np.asarray(given[name]), wanted) for name, wanted in runtime.items())
        for engine, given in answers.items()
    }


def _dense(bundle: Bundle, rows: NDArray[np.float64]) -> NDArray[Any]:
    predictor = edgeml.Predictor.from_bundle(bundle)
    program = predictor.program
    assert isinstance(program, FeatureProgram)
    frame = predictor.reader.new_frame(len(rows))
    predictor.reader.read_matrix(frame, rows)
    dense = np.empty((len(rows), program.n_outputs), dtype=program.dtype)
    program.encoder().encode(frame.capsule, dense, None)
    return dense


def _difference(given: NDArray[Any], wanted: NDArray[Any]) -> float:
    given = given.reshape(wanted.shape)
    if wanted.dtype.kind == "f":
        return float(np.max(np.abs(given - wanted) / np.maximum(1.0, np.abs(wanted))))
    return 0.0 if np.array_equal(given, wanted) else float("inf")
