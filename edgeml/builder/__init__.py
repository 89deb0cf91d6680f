"""From a fitted pipeline to a bundle: export, compiled features, parity, drift reference, golden rows, model card.

The room's law: it runs on the data scientist's machine, never on a box; it alone knows scikit-learn, skl2onnx, onnx
and pandas. It asks the runtime's own Predictor whether the bundle answers as the pipeline does, and refuses to build
one that does not. May be imported by cli and by fleet's retraining; imports runtime, monitor, bundles and errors.
"""

from edgeml.builder.build import build
from edgeml.builder.script import build_script

__all__ = ["build", "build_script"]
