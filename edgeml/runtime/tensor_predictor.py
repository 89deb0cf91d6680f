"""A bare ONNX model in a bundle: tensors in, tensors out.

There are no features, rules or labels here; what is checked is what the schema can say about tensors: names,
datatypes, shapes, finite numbers. The first dimension counts the records.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeml.bundles import Bundle
from edgeml.errors import BundleError, ModelError, RequestError
from edgeml.runtime.golden import GoldenReport, golden_rows
from edgeml.runtime.members import member
from edgeml.runtime.onnx_session import OnnxSession

# Datatypes of the Open Inference Protocol that have a numpy form. FP16 has no JSON form and is left out.
DATATYPES: dict[str, str] = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "FP32": "float32",
    "FP64": "float64",
    "BYTES": "object",
}


class Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the schema says of one tensor.

    Attributes:
        name: Name in the ONNX graph.
        datatype: Name in the Open Inference Protocol, such as ``FP32``.
        shape: Sizes; -1 where any size goes. The first counts the records.
    """

    name: str
    datatype: str
    shape: list[int]


class TensorSchema(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The schema of a bare ONNX model: its inputs and outputs."""

    inputs: list[Tensor]
    outputs: list[Tensor]

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> TensorSchema:
        """Reads and checks the document.

        Raises:
            BundleError: A member is missing or unknown, a name stands twice or a datatype is not known.
        """
        try:
            schema = msgspec.convert(dict(document), cls, strict=True)
        except msgspec.ValidationError as error:
            raise BundleError(f"config member schema: {error}") from error
        for tensors in (schema.inputs, schema.outputs):
            names = [tensor.name for tensor in tensors]
            if not names or len(set(names)) != len(names):
                raise BundleError("config member schema: tensors need distinct names, and there must be at least one")
        for tensor in (*schema.inputs, *schema.outputs):
            if tensor.datatype not in DATATYPES:
                raise BundleError(
                    f"config member schema: tensor {tensor.name!r}: datatype {tensor.datatype!r} is not one of "
                    f"{', '.join(DATATYPES)}"
                )
        return schema


class TensorPredictor:
    """Answers tensors with tensors from one bundle.

    Attributes:
        name: The bundle's name.
        version: Its version label.
        digest: Its digest, ``sha256:...``.
        task: Always ``tensors``.
        config: The bundle's whole config.
        schema: The tensors in and out.
        session: The model.
    """

    task = "tensors"

    def __init__(
        self, *, config: Mapping[str, Any], digest: str, session: OnnxSession, golden: list[dict[str, Any]]
    ) -> None:
        self.config = config
        self.name: str = config["name"]
        self.version: str = config["version"]
        self.digest = digest
        self.schema = TensorSchema.from_dict(config["schema"])
        self.session = session
        self.golden = tuple(golden)
        known = {spec.name for spec in session.inputs}
        asked = {tensor.name for tensor in self.schema.inputs}
        if known != asked:
            raise BundleError(f"the schema's inputs {sorted(asked)} are not those of the model, {sorted(known)}")
        missing = {tensor.name for tensor in self.schema.outputs} - {spec.name for spec in session.outputs}
        if missing:
            raise BundleError(f"the model has no output {sorted(missing)[0]!r} that the schema names")

    @classmethod
    def from_bundle(cls, bundle: Bundle, *, backend: str = "auto") -> TensorPredictor:
        """Makes the predictor of a bundle whose task is ``tensors``.

        Raises:
            BundleError: A member is missing or does not fit the others.
            ModelError: ONNX Runtime is missing or refuses the model.
        """
        session = OnnxSession.open(member(bundle, "model.onnx"), backend=backend, **bundle.config.get("session", {}))
        return cls(config=bundle.config, digest=bundle.digest, session=session, golden=golden_rows(bundle))

    def infer(self, tensors: Mapping[str, ArrayLike]) -> dict[str, NDArray[Any]]:
        """Runs the model.

        Args:
            tensors: One array for each input of the schema; converted where no value changes.

        Returns:
            One array for each output of the schema.

        Raises:
            RequestError: A tensor is missing, unknown, of another datatype or shape, or not finite.
            ModelError: The model fails or gives a non-finite number.
        """
        wanted = {tensor.name: tensor for tensor in self.schema.inputs}
        for name in tensors:
            if name not in wanted:
                raise RequestError(
                    f"there is no input {name!r}; the inputs are {', '.join(wanted)}", code="unknown_input", field=name
                )
        feeds = {name: self._checked(tensor, tensors.get(name)) for name, tensor in wanted.items()}
        if len({array.shape[0] for array in feeds.values() if array.ndim}) > 1:
            raise RequestError(
                "the inputs hold different numbers of records in their first dimension", code="bad_shape"
            )
        given = self.session.run(feeds)
        answers = {tensor.name: given[tensor.name] for tensor in self.schema.outputs}
        for name, array in answers.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise ModelError(f"the model gave a non-finite number in output {name!r}")
        return answers

    @staticmethod
    def _checked(tensor: Tensor, value: ArrayLike | None) -> NDArray[Any]:
        if value is None:
            raise RequestError(
                f"input {tensor.name!r} is missing; send {tensor.datatype} of shape {tensor.shape}",
                code="missing_input",
                field=tensor.name,
            )
        dtype = np.dtype(DATATYPES[tensor.datatype])
        try:
            array = np.asarray(value)
            if dtype.kind != "O" and not np.can_cast(array.dtype, dtype, casting="same_kind"):
                raise TypeError(f"{array.dtype} values")
            array = np.ascontiguousarray(array, dtype=dtype).reshape(array.shape)
        except (TypeError, ValueError) as error:
            raise RequestError(
                f"input {tensor.name!r}: expected {tensor.datatype}, got {error}", code="wrong_type", field=tensor.name
            ) from error
        sizes: list[int] = list(array.shape)
        fits = len(sizes) == len(tensor.shape) and all(
            size in (-1, given) for size, given in zip(tensor.shape, sizes, strict=True)
        )
        if not fits:
            raise RequestError(
                f"input {tensor.name!r}: expected shape {tensor.shape}, got {list(array.shape)}",
                code="bad_shape",
                field=tensor.name,
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise RequestError(
                f"input {tensor.name!r} holds a number that is not finite", code="not_finite", field=tensor.name
            )
        return array

    def golden_check(self) -> GoldenReport:
        """Replays the bundle's golden tensors on this machine; see ``golden.py`` for the measure."""
        tolerance = float(self.config["tolerance"])
        failures: list[str] = []
        worst = 0.0
        for number, row in enumerate(self.golden):
            feeds = {
                tensor.name: np.asarray(row["record"][tensor.name], dtype=DATATYPES[tensor.datatype])
                for tensor in self.schema.inputs
            }
            for name, array in self.infer(feeds).items():
                wanted = np.asarray(row["expected"][name], dtype=np.float64)
                scale = np.maximum(1.0, np.abs(wanted))
                difference = (
                    float(np.max(np.abs(array - wanted) / scale, initial=0.0)) if array.dtype.kind != "O" else 0.0
                )
                worst = max(worst, difference)
                if array.shape != wanted.shape or difference > tolerance:
                    failures.append(f"golden row {number}: output {name!r} differs by {difference:.3g}")
        return GoldenReport(rows=len(self.golden), failures=tuple(failures), max_difference=worst)
