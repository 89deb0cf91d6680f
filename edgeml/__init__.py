"""edgeml keeps a machine-learning model running on an edge box.

Law: this file only hands on names, each loaded when it is first asked for; a box never loads the builder.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeml.builder import build
    from edgeml.bundles import Bundle, Keyring
    from edgeml.errors import EdgemlError
    from edgeml.runtime import Engine, Prediction, PredictionBatch, Predictor, TensorPredictor, load
    from edgeml.runtime.image_program import image_rows
    from edgeml.runtime.image_spec import ImageSpec

__all__ = [
    "Bundle",
    "EdgemlError",
    "Engine",
    "ImageSpec",
    "Keyring",
    "Prediction",
    "PredictionBatch",
    "Predictor",
    "TensorPredictor",
    "build",
    "image_rows",
    "load",
]
_ROOMS = {"Bundle": "bundles", "EdgemlError": "errors", "Keyring": "bundles", "build": "builder"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'edgeml' has no attribute {name!r}")
    return getattr(_import_module(f"edgeml.{_ROOMS.get(name, 'runtime')}"), name)
