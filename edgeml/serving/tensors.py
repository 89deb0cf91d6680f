"""The JSON form of the Open Inference Protocol's tensors, in and out.

1. ``data`` is read by a decoder made for its datatype; where that fails (nested rows, nulls), slowly and generally.
2. Numbers that do not fit their datatype are refused, never wrapped: ``struct`` packs them, which checks the range and
   is several times faster than numpy's reading of a list.
3. A score that does not exist (its row was answered by a rule) goes out as ``null``: JSON has no NaN.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeml.errors import RequestError
from edgeml.runtime.answer_tensors import feature_columns, inference
from edgeml.runtime.engine import Engine
from edgeml.runtime.prediction import Prediction
from edgeml.runtime.predictor import Predictor
from edgeml.runtime.tensor_predictor import TensorPredictor
from edgeml.serving.capturing import Tap, TensorRecords
from edgeml.serving.infer_shape import DATA_LEVELS, check_keys, check_nesting
from edgeml.serving.rows import Rows

MAX_DIMENSIONS = DATA_LEVELS
MAX_SIZE = 2**31 - 1

# Datatype -> numpy's name, struct's letter, what a flat list holds. FP16 has no JSON form.
_KINDS: dict[str, tuple[str, str, type]] = {
    "BOOL": ("bool", "?", bool),
    "UINT8": ("uint8", "B", int),
    "UINT16": ("uint16", "H", int),
    "UINT32": ("uint32", "I", int),
    "UINT64": ("uint64", "Q", int),
    "INT8": ("int8", "b", int),
    "INT16": ("int16", "h", int),
    "INT32": ("int32", "i", int),
    "INT64": ("int64", "q", int),
    "FP32": ("float32", "f", float),
    "FP64": ("float64", "d", float),
    "BYTES": ("object", "", str),
}
_LISTS: dict[type, Callable[[msgspec.Raw], list[Any]]] = {
    bool: msgspec.json.Decoder(list[bool]).decode,
    int: msgspec.json.Decoder(list[int]).decode,
    float: msgspec.json.Decoder(list[float]).decode,
    str: msgspec.json.Decoder(list[str]).decode,
}
_NAMES = {np.dtype(dtype): name for name, (dtype, _, _) in _KINDS.items() if name != "BYTES"}
_NUMPY = {name: np.dtype(dtype) for name, (dtype, _, _) in _KINDS.items()}


class InferInput(msgspec.Struct):
    """One tensor of a request."""

    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw = msgspec.Raw()
    parameters: dict[str, Any] | None = None


class InferOutput(msgspec.Struct):
    """One output that is asked for."""

    name: str
    parameters: dict[str, Any] | None = None


class InferRequest(msgspec.Struct):
    """The body of an infer request."""

    inputs: list[InferInput]
    id: str | None = None
    outputs: list[InferOutput] | None = None
    parameters: dict[str, Any] | None = None


class TensorAnswer(msgspec.Struct):
    """One tensor of an answer."""

    name: str
    datatype: str
    shape: list[int]
    data: Any


class InferAnswer(msgspec.Struct, omit_defaults=True):
    """The body of an answer; ``parameters`` carries the digest, and which tier answered."""

    model_name: str
    model_version: str
    outputs: list[TensorAnswer]
    parameters: dict[str, Any]
    id: str | None = None


_FLOATS = ("FP32", "FP64")
_encode = msgspec.json.Encoder().encode
_decode_request = msgspec.json.Decoder(InferRequest).decode


def infer(engine: Engine, body: bytes, max_rows: int, tap: Tap) -> bytes:
    """Answers an infer request.

    Args:
        engine: Who answers.
        body: The JSON body.
        max_rows: Largest first dimension.
        tap: Where the answers are offered.

    Raises:
        RequestError: The request is malformed, or a tensor does not fit.
        ModelError: A bare ONNX model failed.
    """
    predictor = engine.predictor
    one = _rows_of(predictor) if isinstance(predictor, Predictor) else None
    if one is not None and (known := one.answer(engine, body, tap)) is not None:
        return known
    request = _request(body)
    if one is not None and isinstance(predictor, Predictor) and _is_one_row(request, predictor):
        # The commonest request of all: its numbers go from the body into the record's place, without a list of them.
        given = request.inputs[0]
        numbers, single = bytes(given.data), given.datatype == "FP32"
        alone = engine.predict_json_row(numbers, single=single)
        if alone is not None:
            one.keep(body, numbers, single=single, request_id=request.id)
            _offer(tap, engine, (alone,), lambda: TensorRecords(tap.names, numbers=numbers, size=len(numbers)))
            return one.write(alone, request.id)
    tensors: dict[str, NDArray[Any]] = {}
    for given in request.inputs:
        if given.name in tensors:
            raise RequestError(f"input {given.name!r} stands twice", code="bad_envelope", field=given.name)
        tensors[given.name] = _array(given, max_rows)
    rows = tensors.get("input")
    if len(tensors) == 1 and rows is not None and isinstance(predictor, Predictor) and _is_matrix(predictor):
        if len(rows) == 1 and not request.outputs:
            alone = engine.predict_row(rows)
            _offer(tap, engine, (alone,), lambda: TensorRecords(tap.names, matrix=rows, size=rows.nbytes))
            return _rows_of(predictor).write(alone, request.id)
        answers = engine.predict_matrix(rows)
        _offer(tap, engine, answers, lambda: TensorRecords(tap.names, matrix=rows, size=rows.nbytes))
        outputs, parameters = inference(answers, predictor)
    elif isinstance(predictor, Predictor):
        answers = engine.predict_columns(feature_columns(tensors, predictor.schema.image))
        columns = list(tensors.values())
        # Texts are in the body, and of about its size.
        _offer(tap, engine, answers, lambda: TensorRecords(list(tensors), columns=columns, size=len(body)))
        outputs, parameters = inference(answers, predictor)
    else:
        outputs, parameters = engine.infer(tensors)
    if request.outputs:
        outputs = {asked.name: _output(outputs, asked.name) for asked in request.outputs}
    written = [_written(name, array) for name, array in outputs.items()]
    parameters = {"bundle": predictor.digest} | parameters
    return _encode(InferAnswer(predictor.name, predictor.version, written, parameters, request.id))


def _offer(tap: Tap, engine: Engine, answers: Sequence[Prediction], source: Callable[[], TensorRecords]) -> None:
    sampler = tap.capturing.sampler
    sampler.left -= len(answers)
    if sampler.left < 0:
        tap.take(sampler, source, answers, engine)


def _is_one_row(request: InferRequest, predictor: Predictor) -> bool:
    """Whether the request is one whole row of FP32 or FP64 in a tensor ``input``, and asks for all outputs."""
    if len(request.inputs) != 1 or request.outputs or not _is_matrix(predictor):
        return False
    given = request.inputs[0]
    return (
        given.name == "input"
        and given.datatype in _FLOATS
        and given.shape == [1, len(predictor.schema.features)]
        and bool(given.data)
    )


def _is_matrix(predictor: Predictor) -> bool:
    """Whether a tensor ``input`` holds whole rows, and not a feature of that name."""
    return "input" not in predictor.schema.slots


_rows: WeakKeyDictionary[Predictor, Rows] = WeakKeyDictionary()


def _rows_of(predictor: Predictor) -> Rows:
    """How one row of a bundle is read and written; made once."""
    rows = _rows.get(predictor)
    if rows is None:
        made = Rows(predictor, label_type=_label_type(predictor.labels), score_type=_score_type(predictor))
        rows = _rows[predictor] = made
    return rows


def metadata(predictor: Predictor | TensorPredictor) -> dict[str, Any]:
    """What a model takes and gives, as the protocol's model metadata."""
    if isinstance(predictor, TensorPredictor):
        inputs, outputs = (
            [{"name": each.name, "datatype": each.datatype, "shape": each.shape} for each in tensors]
            for tensors in (predictor.schema.inputs, predictor.schema.outputs)
        )
        platform = "onnx_onnxv1"
    else:
        inputs, outputs, platform = _record_inputs(predictor), _record_outputs(predictor), "edgeml"
    return {
        "name": predictor.name,
        "versions": [predictor.version],
        "platform": platform,
        "inputs": inputs,
        "outputs": outputs,
        "parameters": {"bundle": predictor.digest},
    }


def _record_inputs(predictor: Predictor) -> list[dict[str, Any]]:
    schema = predictor.schema
    if schema.layout == "tensor":
        return [{"name": "input", "datatype": "FP64", "shape": [-1, len(schema.features)]}]
    kinds = {
        "number": "FP64",
        "integer": "INT64",
        "boolean": "BOOL",
        "category": "BYTES",
        "text": "BYTES",
        "image": "BYTES",
    }
    return [{"name": each.name, "datatype": kinds[each.kind], "shape": [-1]} for each in schema.given]


def _record_outputs(predictor: Predictor) -> list[dict[str, Any]]:
    tier = {"name": "tier", "datatype": "BYTES", "shape": [-1]}
    labels = predictor.labels
    if not labels:
        many = predictor.outputs.n_values or 1
        return [{"name": "value", "datatype": "FP64", "shape": [-1] if many == 1 else [-1, many]}, tier]
    outputs = [{"name": "label", "datatype": _label_type(labels), "shape": [-1]}]
    if predictor.outputs.scores:
        outputs.append({"name": "scores", "datatype": _score_type(predictor), "shape": [-1, len(labels)]})
    return [*outputs, tier]


def _label_type(labels: tuple[Any, ...]) -> str:
    if all(isinstance(label, int) and not isinstance(label, bool) for label in labels):
        return "INT64"
    return _name_of_objects(labels)


def _score_type(predictor: Predictor) -> str:
    for spec in predictor.session.outputs:
        if spec.name == "scores" and spec.dtype == "float64":
            return "FP64"
    return "FP32"


def _request(body: bytes) -> InferRequest:
    check_nesting(body)
    try:
        request = _decode_request(body)
        check_keys(body)
        return request
    except msgspec.ValidationError as error:
        raise RequestError(f"the request is not an infer request: {error}", code="bad_envelope") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"the body is not JSON: {error}", code="invalid_json") from error
    except RecursionError as error:
        raise RequestError("the body is nested too deep", code="too_deep") from error


def _array(given: InferInput, max_rows: int) -> NDArray[Any]:
    kind = _KINDS.get(given.datatype)
    if kind is None:
        raise _refusal(given, f"datatype {given.datatype[:40]!r} is not one of {', '.join(_KINDS)}", "bad_datatype")
    raw = given.data
    if not raw:
        if given.parameters and "binary_data_size" in given.parameters:
            raise binary_tensors()
        raise _refusal(given, "data is missing", "bad_envelope")
    shape = given.shape
    if len(shape) > MAX_DIMENSIONS or any(not 0 <= size <= MAX_SIZE for size in shape):
        raise _refusal(
            given,
            f"expected a shape of at most {MAX_DIMENSIONS} sizes from 0 to {MAX_SIZE}, got {_shown(shape)}",
            "bad_shape",
        )
    if shape and shape[0] > max_rows:
        raise RequestError(
            f"input {given.name!r} holds {shape[0]} records, and at most {max_rows} are taken; send them in several "
            "requests",
            code="too_many_records",
            field=given.name,
        )
    try:
        values = _LISTS[kind[2]](raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        values = _values(given, kind[2])
    if len(values) != math.prod(shape):
        raise _refusal(given, f"shape {shape} does not fit {len(values)} values", "bad_shape")
    if not kind[1]:
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array.reshape(shape)
    try:
        packed = struct.pack(f"{len(values)}{kind[1]}", *values)
    except (struct.error, OverflowError) as error:
        raise _refusal(given, f"a value does not fit {given.datatype}", "wrong_type") from error
    # A bytearray, because what is read may also be written to.
    return np.frombuffer(bytearray(packed), dtype=_NUMPY[given.datatype]).reshape(shape)


def _values(given: InferInput, holds: type) -> list[Any]:
    """Data that is nested, or holds nulls, as one flat list."""
    try:
        document = msgspec.json.decode(given.data)
    except RecursionError:
        raise _refusal(given, "data is nested too deep", "too_deep") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _refusal(given, f"data: {error}", "wrong_type") from error
    flat: list[Any] = []
    _flatten(given, document, flat, 0)
    wanted: tuple[type, ...] = (float, int) if holds is float else (holds,)
    for value in flat:
        fits = isinstance(value, wanted) and (holds is bool or not isinstance(value, bool))
        # A value that is not there: the schema of a record bundle says whether it may be missing.
        if not fits and not (value is None and holds in (float, str)):
            raise _refusal(given, f"expected {given.datatype}, got {_shown(value)}", "wrong_type")
    return [math.nan if value is None and holds is float else value for value in flat]


def _flatten(given: InferInput, document: Any, into: list[Any], depth: int) -> None:
    if not isinstance(document, list) or depth > MAX_DIMENSIONS:
        raise _refusal(given, "data must be an array, flat or nested like shape", "bad_shape")
    nested = [isinstance(value, list) for value in document]
    if not any(nested):
        into.extend(document)
    elif all(nested):
        for value in document:
            _flatten(given, value, into, depth + 1)
    else:
        raise _refusal(given, "data mixes values and arrays", "bad_shape")


def _output(outputs: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    try:
        return outputs[name]
    except KeyError:
        known = ", ".join(outputs)
        raise RequestError(
            f"there is no output {name[:80]!r}; the outputs are {known}", code="unknown_output", field=name[:80]
        ) from None


def _written(name: str, array: NDArray[Any]) -> TensorAnswer:
    values = array.ravel().tolist()
    datatype = _NAMES.get(array.dtype)
    if datatype is None:
        datatype = _name_of_objects(values)
        if datatype == "BYTES":
            values = [value if isinstance(value, str) else _text(value) for value in values]
    return TensorAnswer(name, datatype, list(array.shape), values)


def _name_of_objects(values: Sequence[Any]) -> str:
    if values and all(isinstance(value, bool) for value in values):
        return "BOOL"
    if values and all(isinstance(value, float) for value in values):
        return "FP64"
    return "BYTES"


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def binary_tensors() -> RequestError:
    """The error for tensors that are not JSON."""
    return RequestError(
        "tensors in binary form are not taken; send JSON data (in tritonclient: "
        "set_data_from_numpy(..., binary_data=False))",
        code="binary_tensors",
    )


def _refusal(given: InferInput, what: str, code: str) -> RequestError:
    return RequestError(f"input {given.name[:80]!r}: {what}", code=code, field=given.name[:80])


def _shown(value: Any) -> str:
    text = _encode(value).decode()
    return text if len(text) <= 60 else text[:57] + "..."
