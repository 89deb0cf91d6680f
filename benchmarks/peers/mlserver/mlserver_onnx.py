"""An MLServer runtime around onnxruntime, as its documentation tells to write one.

``kind: records`` takes one tensor [n, 1] for each of the 14 columns of W1; ``kind: tensors`` takes the FP32 tensor of
W5.
"""

import numpy as np
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

from benchmarks.peers.onnx_answers import CATEGORIES, NUMERIC, MatrixModel, RecordModel


class OnnxRuntime(MLModel):
    """One ONNX file behind the Open Inference Protocol."""

    async def load(self) -> bool:
        """Opens the file named by ``parameters.uri``."""
        self.records = self.settings.parameters.extra["kind"] == "records"
        make = RecordModel if self.records else MatrixModel
        self.model = make(self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answers one inference request."""
        if self.records:
            given = {tensor.name: tensor.data.root for tensor in payload.inputs}
            # A null arrives as None; numpy makes NaN of it.
            feeds = {
                "numbers": np.array([given[name] for name in NUMERIC], dtype=np.float32).T,
                "categories": np.array([given[name] for name in CATEGORIES], dtype=object).T,
            }
            label, scores = self.model.session.run(None, feeds)
        else:
            tensor = payload.inputs[0]
            label, scores = self.model.answer(np.array(tensor.data.root, dtype=np.float32).reshape(tensor.shape))
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                ResponseOutput(name="label", datatype="INT64", shape=list(label.shape), data=label.tolist()),
                ResponseOutput(name="scores", datatype="FP32", shape=list(scores.shape), data=scores.ravel().tolist()),
            ],
        )
