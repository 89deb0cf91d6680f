"""An exported model answered by ONNX's reference implementation, which shares no code with ONNX Runtime or the core.

What the reference lacks is given to its own operators in a form that they know: the numbers of trees before
ai.onnx.ml 5 as plain attributes where the graph has them as tensors in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.ops.aionnxml import op_tree_ensemble_classifier, op_tree_ensemble_regressor

_AS_TENSOR = "_as_tensor"


def _plain(attributes: dict[str, Any]) -> dict[str, Any]:
    plain = {name: value for name, value in attributes.items() if not name.endswith(_AS_TENSOR)}
    for name, value in attributes.items():
        if name.endswith(_AS_TENSOR) and value is not None:
            plain[name.removesuffix(_AS_TENSOR)] = np.asarray(value)
    return plain


class TreeEnsembleClassifier(op_tree_ensemble_classifier.TreeEnsembleClassifier):
    """The reference's, with numbers in float64."""

    op_domain = "ai.onnx.ml"

    def _run(self, X: NDArray[Any], **attributes: Any) -> Any:
        return super()._run(X, **_plain(attributes))


class TreeEnsembleRegressor(op_tree_ensemble_regressor.TreeEnsembleRegressor):
    """The reference's, with numbers in float64."""

    op_domain = "ai.onnx.ml"

    def _run(self, X: NDArray[Any], **attributes: Any) -> Any:
        return super()._run(X, **_plain(attributes))


def reference_answers(model: bytes, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The outputs by name.

    Args:
        model: A serialised ONNX model.
        feeds: Inputs by name.
    """
    evaluator = ReferenceEvaluator(
        onnx.load_model_from_string(model), new_ops=[TreeEnsembleClassifier, TreeEnsembleRegressor]
    )
    return dict(zip(evaluator.output_names, map(np.asarray, evaluator.run(None, feeds)), strict=True))
