"""A bare ONNX model and a hand-written schema to a bundle: tensors in, tensors out.

There is no pipeline to compare with; what stands in for it is ONNX's own reference implementation, run on the
sample tensors. Without samples there are no golden rows, and the card says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from edgeml.builder.onnx_versions import required_onnxruntime
from edgeml.bundles import Bundle
from edgeml.errors import BuildError, ParityError
from edgeml.runtime.onnx_session import OnnxSession
from edgeml.runtime.tensor_predictor import DATATYPES, TensorPredictor

GOLDEN_TENSORS = 16
STEPS = ("reading the model", "asking the reference", "packing")


def build_onnx(
    source: str | Path | bytes,
    schema: Mapping[str, Any],
    samples: Mapping[str, Any] | None,
    *,
    config: Mapping[str, Any],
    texts: Sequence[str],
    progress: Callable[[str, int, int], None] | None = None,
) -> Bundle:
    """Packs a bare ONNX model.

    Args:
        source: Path or bytes of a single-file ONNX model.
        schema: ``{"inputs": [{"name", "datatype", "shape"}], "outputs": [...]}``.
        samples: Input name -> array whose first dimension counts records; None where there are none.
        config: The parts of the config that the caller gave.
        texts: Description, intended use and limits, for the card.
        progress: Called with (step, number, of how many) as each step begins.

    Raises:
        BuildError: The model cannot be read, or the schema does not fit it.
        ParityError: ONNX Runtime and the reference implementation differ on the samples.
        ModelError: ONNX Runtime refuses the model.
    """

    def say(step: str) -> None:
        if progress is not None:
            progress(step, STEPS.index(step) + 1, len(STEPS))

    say(STEPS[0])
    if not isinstance(schema, Mapping):
        raise BuildError(f"schema must be {{'inputs': [...], 'outputs': [...]}}, got {type(schema).__name__}")
    model_bytes = source if isinstance(source, bytes) else read_model(Path(source))
    model = check_model(model_bytes)
    full = dict(config) | {
        "schema": {"inputs": list(schema.get("inputs", [])), "outputs": list(schema.get("outputs", []))},
        "outputs": {},
        "fallback": {},
    }
    opset = {item.domain or "ai.onnx": item.version for item in model.opset_import}
    full["requires"] = full["requires"] | {
        "onnxruntime": required_onnxruntime(opset, model.ir_version),
        "opset": opset,
        "ir_version": model.ir_version,
    }
    predictor = TensorPredictor(
        config=full, digest="", session=OnnxSession.open(model_bytes, **config["session"]), golden=[]
    )
    say(STEPS[1])
    golden, parity = b"", {"rows": 0, "flips": 0, "max_difference": 0.0}
    if samples is not None:
        golden, parity = _compare(model, predictor, samples, float(config["tolerance"]))
    full["parity"] = parity
    say(STEPS[2])
    members = {"model.onnx": model_bytes, "CARD.md": _card(full, texts).encode()}
    if golden:
        members["golden.jsonl"] = golden
    return Bundle.create(full, members)


def read_model(path: Path) -> bytes:
    """The bytes of an ONNX file.

    Raises:
        BuildError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise BuildError(f"the ONNX model {path} cannot be read: {error.strerror}") from error


def check_model(model_bytes: bytes) -> Any:
    """Reads a single-file ONNX model.

    Raises:
        BuildError: It is not valid, or not a single file.
    """
    try:
        model = onnx.load_model_from_string(model_bytes)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf and the checker have no common error class
        raise BuildError(f"the ONNX model is not valid: {error}") from error
    if any(item.data_location == onnx.TensorProto.EXTERNAL for item in model.graph.initializer):
        raise BuildError("the ONNX model keeps weights in other files; save it as a single file first")
    return model


def _compare(
    model: Any, predictor: TensorPredictor, samples: Mapping[str, Any], tolerance: float
) -> tuple[bytes, dict[str, Any]]:
    if not isinstance(samples, Mapping):
        raise BuildError(f"X must hold one sample array for each input, by name, got {type(samples).__name__}")
    arrays = {}
    for tensor in predictor.schema.inputs:
        if tensor.name not in samples:
            raise BuildError(f"the samples hold no array for input {tensor.name!r}")
        try:
            arrays[tensor.name] = np.asarray(samples[tensor.name], dtype=DATATYPES[tensor.datatype])
        except (TypeError, ValueError) as error:
            raise BuildError(f"the samples for input {tensor.name!r} are no {tensor.datatype}: {error}") from error
    names = [tensor.name for tensor in predictor.schema.outputs]
    given = predictor.infer(arrays)
    try:
        wanted = dict(zip(names, ReferenceEvaluator(model).run(names, arrays), strict=True))
    except Exception as error:  # the reference raises whatever its operators happen to raise
        raise BuildError(
            f"ONNX's reference implementation cannot run the model on the samples: {error}; build without samples"
        ) from error
    worst = 0.0
    for name, array in given.items():
        worst = max(worst, _difference(array, np.asarray(wanted[name])))
        if worst > tolerance:
            raise ParityError(
                f"output {name!r} of ONNX Runtime differs from ONNX's reference implementation by {worst:.3g} "
                f"(allowed: {tolerance:g})",
                report={"output": name, "max_difference": worst},
            )
    count = min((len(array) for array in arrays.values()), default=0)
    lines = []
    for row in range(min(count, GOLDEN_TENSORS)):
        feeds = {name: array[row : row + 1] for name, array in arrays.items()}
        # Asked one by one: a model need not answer a row alike in a batch.
        expected = predictor.infer(feeds)
        lines.append(
            json.dumps(
                {
                    "record": {name: array.tolist() for name, array in feeds.items()},
                    "expected": {name: array.tolist() for name, array in expected.items()},
                },
                separators=(",", ":"),
                allow_nan=False,
            )
        )
    return "".join(line + "\n" for line in lines).encode(), {"rows": count, "flips": 0, "max_difference": worst}


def _difference(got: NDArray[Any], wanted: NDArray[Any]) -> float:
    if got.shape != wanted.shape:
        return float("inf")
    if got.dtype.kind == "O" or wanted.dtype.kind in "OU":
        return 0.0 if np.array_equal(got.astype(str), wanted.astype(str)) else float("inf")
    wide = wanted.astype(np.float64)
    return float(np.max(np.abs(got - wide) / np.maximum(1.0, np.abs(wide)), initial=0.0))


def _card(config: Mapping[str, Any], texts: Sequence[str]) -> str:
    unsaid = "The author has not said."
    description, intended_use, limits = (text or unsaid for text in texts)
    rows = config["parity"]["rows"]
    checked = (
        f"{rows} sample records were answered by both ONNX Runtime and ONNX's reference implementation; the largest "
        f"difference is {config['parity']['max_difference']:.3g} (allowed: {config['tolerance']:g})."
        if rows
        else "Not checked: no sample tensors were given to the build, so there are no golden rows either."
    )
    shapes = [
        f"- {way} `{tensor['name']}`: {tensor['datatype']} {tensor['shape']}"
        for way in ("inputs", "outputs")
        for tensor in config["schema"][way]
    ]
    sections = [
        (f"# {config['name']} {config['version']}", description),
        ("## Intended use", intended_use),
        ("## Limits", limits),
        ("## Tensors", "\n".join(shapes)),
        ("## Parity", checked),
        ("## Data", "Nothing is known of the data that this model was trained on."),
    ]
    return "\n\n".join(f"{title}\n\n{text}" for title, text in sections) + "\n"
