"""Which ONNX Runtime a model needs: the first release that takes its operator sets and its file format.

Measured by opening a one-node model of each opset and IR version in the wheels 1.20.0 to 1.32.0 from PyPI (2026-11).
ONNX Runtime refuses a model whose opset of ``ai.onnx`` or ``ai.onnx.ml``, or whose IR version, is newer than it knows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

# edgeml itself asks for this one (pyproject.toml).
LOWEST = (1, 20)
# Newest version that a release knows -> that release, for each release that brought a new one.
_OPSET = {21: (1, 20), 22: (1, 21), 23: (1, 23), 25: (1, 24), 26: (1, 25), 28: (1, 32)}
_ML_OPSET = {5: (1, 20)}
_IR_VERSION = {10: (1, 20), 11: (1, 23), 13: (1, 24), 14: (1, 32)}


def lowest_onnxruntime(opset: Mapping[str, int], ir_version: int, *, here: str) -> str:
    """The lowest release that runs a model.

    Args:
        opset: Domain -> version; the domain of ONNX itself is ``ai.onnx``.
        ir_version: Version of the file format.
        here: The version that has opened the model; what the tables do not know needs that one.

    Returns:
        Such as ``1.23``.
    """
    needs = [LOWEST]
    asked = ((_OPSET, opset.get("ai.onnx", 0)), (_ML_OPSET, opset.get("ai.onnx.ml", 0)), (_IR_VERSION, ir_version))
    for table, version in asked:
        needs.append(next((release for known, release in table.items() if version <= known), _numbers(here)))
    return ".".join(map(str, max(needs)))


def _numbers(version: str) -> tuple[int, int]:
    major, minor = re.findall(r"\d+", version)[:2]
    return int(major), int(minor)
