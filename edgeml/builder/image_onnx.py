"""An ONNX model that takes pictures, in the place of a pipeline.

1. The graph gets the runtime's door: its input [N, channels, height, width] (or [N, height, width, channels]) becomes
   ``dense`` [N, numbers] by a Reshape, behind it a Cast where the model takes another type, and its output becomes
   ``scores`` or ``value``.
2. Scores that are no shares (rows that do not add up to 1) are taken as logits: a Softmax is added. One score behind a
   Sigmoid is the probability p of the second of two labels: it becomes [1 - p, p].
3. What judges the bundle is ONNX's own reference implementation, run on the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnx.compose import add_prefix
from onnx.reference import ReferenceEvaluator
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from edgeml.builder.export import ExportedModel, describe_labels, describe_values, plain_label
from edgeml.builder.onnx_bundle import check_model, read_model
from edgeml.builder.onnx_versions import required_onnxruntime
from edgeml.errors import BuildError
from edgeml.runtime.image_spec import ImageSpec

# The reference implementation is slow: so many pictures are compared with it.
COMPARED = 64
BLOCK = 32
DENSE = "dense"
_SHARES = 1e-3
# Nodes that leave every number as it is.
_FORMS = {"Identity", "Reshape", "Flatten", "Cast"}
_TYPES = {
    TensorProto.FLOAT: np.float32,
    TensorProto.DOUBLE: np.float64,
    TensorProto.FLOAT16: np.float16,
    TensorProto.UINT8: np.uint8,
}


class OnnxPictures(BaseEstimator):  # type: ignore[misc]
    """A model with the runtime's door.

    Args:
        model: The rewritten graph.
        width: Numbers in a row of ``dense``.
    """

    def __init__(self, model: Any = None, width: int = 0) -> None:
        self.model = model
        self.width = width
        self._last: tuple[Any, NDArray[np.float64]] | None = None

    def exported(self) -> ExportedModel:
        """The model as the bundle holds it."""
        opset = {item.domain or "ai.onnx": item.version for item in self.model.opset_import}
        outputs = self._outputs()
        return ExportedModel(
            self.model.SerializeToString(), "float32", outputs, opset, self.model.ir_version, "an ONNX model"
        )

    @property
    def onnxruntime(self) -> str:
        """The lowest ONNX Runtime that runs it, such as ``>=1.20``."""
        opset = {item.domain or "ai.onnx": item.version for item in self.model.opset_import}
        return required_onnxruntime(opset, self.model.ir_version)

    def _outputs(self) -> dict[str, Any]:
        raise BuildError("the model answers with neither labels nor a value")

    def _run(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        # Labels are asked of the same rows that scores are, and the reference implementation takes its time.
        if self._last is None or self._last[0] is not rows:
            self._last = rows, _reference(self.model, np.ascontiguousarray(rows, dtype=np.float32))
        return self._last[1]


class OnnxPictureClassifier(ClassifierMixin, OnnxPictures):  # type: ignore[misc]
    """One that gives a score for each label.

    Args:
        model: The rewritten graph, with an output ``scores``.
        width: Numbers in a row of ``dense``.
        classes: The labels, in the order of the scores.
    """

    def __init__(self, model: Any = None, width: int = 0, classes: Sequence[Any] = ()) -> None:
        super().__init__(model, width)
        self.classes = classes
        self.classes_ = np.array(list(classes), dtype=object if any(isinstance(c, str) for c in classes) else None)

    def fit(self, X: Any, y: Any = None) -> OnnxPictureClassifier:
        """Nothing is learnt here."""
        return self

    def predict_proba(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Scores [n, k] by the reference implementation."""
        return self._run(rows)

    def predict(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Labels [n]."""
        chosen: NDArray[Any] = self.classes_[np.argmax(self._run(rows), axis=1)]
        return chosen

    def _outputs(self) -> dict[str, Any]:
        labels = [plain_label(label) for label in self.classes_]
        return describe_labels(labels, scores="probability", decision="argmax")


class OnnxPictureRegressor(RegressorMixin, OnnxPictures):  # type: ignore[misc]
    """One that gives numbers.

    Args:
        model: The rewritten graph, with an output ``value``.
        width: Numbers in a row of ``dense``.
        n_values: Numbers for each picture.
    """

    def __init__(self, model: Any = None, width: int = 0, n_values: int = 1) -> None:
        super().__init__(model, width)
        self.n_values = n_values
        self.fitted_ = True

    def fit(self, X: Any, y: Any = None) -> OnnxPictureRegressor:
        """Nothing is learnt here."""
        return self

    def predict(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Values [n] or [n, m] by the reference implementation."""
        values = self._run(rows)
        return values[:, 0] if self.n_values == 1 else values

    def _outputs(self) -> dict[str, Any]:
        return describe_values(self.n_values)


def onnx_pictures(
    source: str | Path | bytes, spec: ImageSpec, labels: Sequence[Any] | None, rows: NDArray[np.float64]
) -> OnnxPictures:
    """Reads a model and gives it the runtime's door.

    Args:
        source: Path or bytes of a single-file ONNX model with one input for pictures.
        spec: What it sees of a picture.
        labels: The labels in the order of its scores; None for a model that gives numbers.
        rows: A few rows of pictures, to ask it with.

    Raises:
        BuildError: The model cannot be read, or does not fit the spec or the labels.
    """
    model = check_model(source if isinstance(source, bytes) else read_model(Path(source)))
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [each for each in graph.input if each.name not in constants]
    if len(inputs) != 1:
        raise BuildError(f"an ONNX model for pictures has one input; this one has {len(inputs)}")
    if not graph.output:
        raise BuildError("the ONNX model has no output")
    _check_input(inputs[0], spec)
    # No name of its own may meet one of the door's.
    named = add_prefix(model, "model/")
    answer = named.graph.output[0]
    given = next(each for each in named.graph.input if each.name == f"model/{inputs[0].name}")
    wanted = "value" if labels is None else "scores"
    made = _with_door(named, given, answer.name, wanted, spec)
    answers = _reference(made, np.ascontiguousarray(rows, dtype=np.float32))
    if answers.ndim != 2 or len(answers) != len(rows):
        raise BuildError(
            f"the first output of the ONNX model must be [n, k], got {list(answers.shape)} for {len(rows)}"
        )
    width = int(np.prod(spec.shape))
    if labels is None:
        return OnnxPictureRegressor(made, width, answers.shape[1])
    if answers.shape[1] == 1:
        _check_pair(named.graph, answer.name, labels)
        made = _with_door(named, given, answer.name, wanted, spec, scores="pair")
        return OnnxPictureClassifier(made, width, [plain_label(label) for label in labels])
    if len(labels) != answers.shape[1] or len({str(label) for label in labels}) != len(labels):
        raise BuildError(
            f"the ONNX model gives {answers.shape[1]} scores; give as many distinct labels, not {len(labels)}"
        )
    shares = np.abs(answers.sum(axis=1) - 1.0).max() < _SHARES and answers.min() >= 0.0
    if not shares:
        made = _with_door(named, given, answer.name, wanted, spec, scores="softmax")
    return OnnxPictureClassifier(made, width, [plain_label(label) for label in labels])


def _check_pair(graph: Any, answer: str, labels: Sequence[Any]) -> None:
    """Checks that one score is the probability of the second of two labels."""
    if len(labels) != 2 or str(labels[0]) == str(labels[1]):
        raise BuildError(
            f"the ONNX model gives one score; give two distinct labels, not {list(labels)!r:.80}: the score is the "
            "probability of the second"
        )
    made_by = {output: node for node in graph.node for output in node.output}
    node = made_by.get(answer)
    while node is not None and node.op_type in _FORMS:
        node = made_by.get(node.input[0])
    if node is None or node.op_type != "Sigmoid":
        raise BuildError(
            "the ONNX model gives one score, and it is no probability (no Sigmoid gives it); export the model with a "
            "Sigmoid at its end, with one score for each label, or without labels as one that gives a number"
        )


def _check_input(given: Any, spec: ImageSpec) -> None:
    kind = given.type.tensor_type
    if kind.elem_type not in _TYPES:
        raise BuildError(f"input {given.name!r} of the ONNX model must hold floats or uint8")
    sizes = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim]
    fits = len(sizes) == 4 and all(size in (-1, wanted) for size, wanted in zip(sizes[1:], spec.shape, strict=True))
    if not fits:
        raise BuildError(
            f"input {given.name!r} of the ONNX model has shape {sizes}, and image gives [n, "
            f"{', '.join(map(str, spec.shape))}]: correct width, height, channels or layout"
        )
    if sizes[0] not in (-1, 0):
        raise BuildError(
            f"input {given.name!r} of the ONNX model takes {sizes[0]} pictures at a time; export it with a free first "
            "dimension"
        )


def _with_door(model: Any, given: Any, answer: str, wanted: str, spec: ImageSpec, *, scores: str = "") -> Any:
    """The model between ``dense`` and ``scores`` or ``value``; scores may become ``softmax`` or a ``pair``."""
    graph = onnx.GraphProto()
    graph.CopyFrom(model.graph)
    kind = given.type.tensor_type.elem_type
    shape = helper.make_tensor("edgeml_shape", TensorProto.INT64, [4], [-1, *spec.shape])
    first = [helper.make_node("Reshape", [DENSE, "edgeml_shape"], [given.name if kind == 1 else "edgeml_shaped"])]
    if kind != TensorProto.FLOAT:
        first.append(helper.make_node("Cast", ["edgeml_shaped"], [given.name], to=kind))
    output = next(each for each in graph.output if each.name == answer)
    out_kind = output.type.tensor_type.elem_type
    last, at = [], answer
    if out_kind != TensorProto.FLOAT:
        last.append(helper.make_node("Cast", [at], ["edgeml_answer"], to=TensorProto.FLOAT))
        at = "edgeml_answer"
    constants = [*graph.initializer, shape]
    if scores == "softmax":
        last.append(helper.make_node("Softmax", [at], ["edgeml_shares"], axis=-1))
        at = "edgeml_shares"
    if scores == "pair":
        constants.append(helper.make_tensor("edgeml_one", TensorProto.FLOAT, [1], [1.0]))
        last.append(helper.make_node("Sub", ["edgeml_one", at], ["edgeml_first"]))
        last.append(helper.make_node("Concat", ["edgeml_first", at], ["edgeml_pair"], axis=1))
        at = "edgeml_pair"
    last.append(helper.make_node("Identity", [at], [wanted]))
    width = int(np.prod(spec.shape))
    sizes = [
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None
        for dim in output.type.tensor_type.shape.dim
    ]
    made = helper.make_graph(
        [*first, *graph.node, *last],
        "edgeml",
        [helper.make_tensor_value_info(DENSE, TensorProto.FLOAT, ["N", width])],
        [helper.make_tensor_value_info(wanted, TensorProto.FLOAT, ["N", *([2] if scores == "pair" else sizes[1:])])],
        constants,
    )
    # Before version 4 every initializer had to be an input too; here ``dense`` is the only one.
    version = max(model.ir_version, 4)
    rewritten = helper.make_model(made, opset_imports=list(model.opset_import), ir_version=version)
    rewritten.functions.extend(model.functions)
    try:
        onnx.checker.check_model(rewritten)
    except Exception as error:  # protobuf and the checker have no common error class
        raise BuildError(f"the ONNX model cannot be given the door for pictures: {error}") from error
    return rewritten


def _reference(model: Any, rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """The model's answers to rows, by ONNX's own implementation."""
    evaluator: Any = ReferenceEvaluator(model)
    try:
        parts = [
            np.asarray(evaluator.run(None, {DENSE: rows[start : start + BLOCK]})[0], dtype=np.float64)
            for start in range(0, len(rows), BLOCK)
        ]
    except Exception as error:  # the reference raises whatever its operators happen to raise
        raise BuildError(f"ONNX's reference implementation cannot run the model on the pictures: {error}") from error
    return np.concatenate(parts)
