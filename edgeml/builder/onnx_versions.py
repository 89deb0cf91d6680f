"""Which ONNX Runtime a model needs: the first release that takes its operator sets and its file format.

Measured by opening a one-node model of each opset and IR version in the wheels 1.20.0 to 1.32.0 from PyPI (2026-11).
ONNX Runtime refuses a model whose opset of ``ai.onnx`` or ``ai.onnx.ml``, or whose IR version, is newer than it knows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from edgeml.errors import BuildError

# edgeml itself asks for this one (pyproject.toml).
LOWEST = (1, 20)
# Newest version that a release knows -> that release, for each release that brought a new one.
_OPSET = {21: (1, 20), 22: (1, 21), 23: (1, 23), 25: (1, 24), 26: (1, 25), 28: (1, 32)}
_ML_OPSET = {5: (1, 20)}
_IR_VERSION = {10: (1, 20), 11: (1, 23), 13: (1, 24), 14: (1, 32)}


def required_onnxruntime(opset: Mapping[str, int], ir_version: int) -> str:
    """What a bundle says that its model needs, such as ``>=1.23``; also where no ONNX Runtime is installed.

    Args:
        opset: As of ``lowest_onnxruntime``.
        ir_version: Likewise.

    Raises:
        BuildError: None is installed, and the model is of versions that only an installed one could tell of.
    """
    try:
        here = version("onnxruntime")
    except PackageNotFoundError:
        here = None
    return f">={lowest_onnxruntime(opset, ir_version, here=here)}"


def lowest_onnxruntime(opset: Mapping[str, int], ir_version: int, *, here: str | None) -> str:
    """The lowest release that runs a model.

    Args:
        opset: Domain -> version; the domain of ONNX itself is ``ai.onnx``.
        ir_version: Version of the file format.
        here: The version that has opened the model; what the tables do not know needs that one. None where none has.

    Returns:
        Such as ``1.23``.

    Raises:
        BuildError: The tables do not know, and no version has opened the model.
    """
    needs = [LOWEST]
    asked = ((_OPSET, opset.get("ai.onnx", 0)), (_ML_OPSET, opset.get("ai.onnx.ml", 0)), (_IR_VERSION, ir_version))
    for table, asked_version in asked:
        release = next((release for known, release in table.items() if asked_version <= known), None)
        if release is None and here is None:
            raise BuildError(
                f"the model's opset {dict(opset)} or IR version {ir_version} is newer than edgeml knows of; install "
                "onnxruntime, which says whether it takes them"
            )
        needs.append(release or _numbers(here or ""))
    return ".".join(map(str, max(needs)))


def _numbers(version: str) -> tuple[int, int]:
    major, minor = re.findall(r"\d+", version)[:2]
    return int(major), int(minor)
