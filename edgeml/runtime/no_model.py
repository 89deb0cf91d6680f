"""What stands in the place of a model that there is not: it answers nothing, so the fallback does.

A bundle of rules alone has none; the model of another bundle may be left out, because the box has given it up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml.runtime.features import FeatureProgram
from edgeml.runtime.onnx_session import TensorSpec
from edgeml.runtime.schema import Schema

# The reason of an answer that no rule gave.
NO_MODEL = "no_model"


class NoModel:
    """The session of a bundle without a model.

    Args:
        reason: Why there is none, as answers of the fallback say it.

    Attributes:
        reason: Why there is none.
        backend: Always ``none``.
        inputs: None.
        outputs: None.
    """

    backend = "none"
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()

    def __init__(self, reason: str = NO_MODEL) -> None:
        self.reason = reason

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Gives nothing."""
        return {}


def no_features(schema: Schema) -> FeatureProgram:
    """The feature program of a bundle without a model: nothing is encoded.

    Args:
        schema: The bundle's schema.
    """
    document: dict[str, Any] = {"format": 1, "door": "float32", "registers": 0, "codes": 0}
    document |= {"outputs": [], "strings": [], "index": [], "operations": []}
    return FeatureProgram(document, np.empty(0), schema)
