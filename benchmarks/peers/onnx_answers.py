"""What every peer that uses onnxruntime's Python package shares: the session and the arrays around it.

The session has what is best on one core: one thread, no spinning. The W1 pipeline was exported with two inputs
(``numbers`` float32 [n, 6] and ``categories`` string [n, 8]), which onnxruntime answers faster than with 14. Imports
nothing but numpy and onnxruntime.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime

NUMERIC = tuple(f"num_{j}" for j in range(6))
CATEGORIES = tuple(f"cat_{j}" for j in range(8))
NAN = float("nan")


def open_session(path: str) -> Any:
    """Opens an ONNX file with the settings that suit one core."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


class RecordModel:
    """Answers one W1 record with the whole exported pipeline."""

    def __init__(self, path: str) -> None:
        self.session = open_session(path)

    def answer(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Gives ``{"label", "scores"}`` for a record; None is a missing number."""
        numbers = [record[name] for name in NUMERIC]
        feeds = {
            "numbers": np.array([[NAN if value is None else value for value in numbers]], dtype=np.float32),
            "categories": np.array([[record[name] for name in CATEGORIES]], dtype=object),
        }
        label, scores = self.session.run(None, feeds)
        row = scores[0].tolist()
        return {"label": int(label[0]), "scores": {"0": row[0], "1": row[1]}}


class MatrixModel:
    """Answers matrices [n, 158] with the exported W5 model."""

    def __init__(self, path: str) -> None:
        self.session = open_session(path)

    def answer(self, matrix: Any) -> tuple[Any, Any]:
        """Gives labels int64 [n] and scores float32 [n, 2]."""
        label, scores = self.session.run(None, {"input": matrix})
        return label, scores
