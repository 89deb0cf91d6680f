"""edgeml keeps a machine-learning model running on an edge box.

Law: this file only hands on names, each loaded when it is first asked for; so the command line starts without the
runtime, and a box never loads the builder.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeml.builder import build
    from edgeml.bundles import Bundle, Keyring
    from edgeml.errors import EdgemlError
    from edgeml.runtime import Engine, Prediction, PredictionBatch, Predictor, TensorPredictor, load

__all__ = [
    "Bundle",
    "EdgemlError",
    "Engine",
    "Keyring",
    "Prediction",
    "PredictionBatch",
    "Predictor",
    "TensorPredictor",
    "build",
    "load",
]
_ROOMS = {"Bundle": "bundles", "EdgemlError": "errors", "Keyring": "bundles", "build": "builder"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'edgeml' has no attribute {name!r}")
    return getattr(_import_module(f"edgeml.{_ROOMS.get(name, 'runtime')}"), name)
