"""From a record to a prediction: schema, rules, features, model, fallback.

Law: the Predictor is pure (no clock, disk, lock or network) and is the same object on the workstation that builds and
on the box that serves; what needs a clock or a state is in the Engine. May be imported by serving, builder and cli;
imports bundles, monitor, kernels and errors, numpy and msgspec. onnxruntime is located in ``onnx_session`` alone.
"""

from edgeml.runtime.engine import Engine
from edgeml.runtime.image_program import image_rows
from edgeml.runtime.image_spec import ImageSpec
from edgeml.runtime.load import load, predictor_of
from edgeml.runtime.prediction import Prediction, PredictionBatch
from edgeml.runtime.predictor import Predictor
from edgeml.runtime.reader import RecordReader
from edgeml.runtime.schema import Schema
from edgeml.runtime.tensor_predictor import TensorPredictor

__all__ = [
    "Engine",
    "ImageSpec",
    "Prediction",
    "PredictionBatch",
    "Predictor",
    "RecordReader",
    "Schema",
    "TensorPredictor",
    "image_rows",
    "load",
    "predictor_of",
]
