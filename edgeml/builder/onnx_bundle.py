"""A bare ONNX model and a hand-written schema to a bundle: tensors in, tensors out.

There is no pipeline to compare with; what stands in for it is ONNX's own reference implementation, run on the
sample tensors. Without samples there are no golden rows, and the card says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from edgeml.bundles import Bundle
from edgeml.errors import BuildError, ParityError
from edgeml.runtime.onnx_session import OnnxSession
from edgeml.runtime.tensor_predictor import DATATYPES, TensorPredictor

GOLDEN_TENSORS = 16


def build_onnx(
    source: str | Path | bytes,
    schema: Mapping[str, Any],
    samples: Mapping[str, Any] | None,
    *,
    config: Mapping[str, Any],
    texts: tuple[str, str, str],
) -> Bundle:
    """Packs a bare ONNX model.

    Args:
        source: Path or bytes of a single-file ONNX model.
        schema: ``{"inputs": [{"name", "datatype", "shape"}], "outputs": [...]}``.
        samples: Input name -> array whose first dimension counts records; None where there are none.
        config: The parts of the config that the caller gave.
        texts: Description, intended use and limits, for the card.

    Raises:
        BuildError: The model cannot be read, or the schema does not fit it.
        ParityError: ONNX Runtime and the reference implementation differ on the samples.
        ModelError: ONNX Runtime refuses the model.
    """
    model_bytes = source if isinstance(source, bytes) else _read(Path(source))
    model = _check(model_bytes)
    full = dict(config) | {
        "schema": {"inputs": list(schema.get("inputs", [])), "outputs": list(schema.get("outputs", []))},
        "outputs": {},
        "fallback": {},
    }
    full["requires"] = full["requires"] | {
        "opset": {item.domain or "ai.onnx": item.version for item in model.opset_import},
        "ir_version": model.ir_version,
    }
    predictor = TensorPredictor(
        config=full, digest="", session=OnnxSession.open(model_bytes, **config["session"]), golden=[]
    )
    golden, parity = b"", {"rows": 0, "flips": 0, "max_difference": 0.0}
    if samples is not None:
        golden, parity = _compare(model, predictor, samples, float(config["tolerance"]))
    full["parity"] = parity
    members = {"model.onnx": model_bytes, "CARD.md": _card(full, texts).encode()}
    if golden:
        members["golden.jsonl"] = golden
    return Bundle.create(full, members)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BuildError(f"the ONNX model {path} cannot be read: {error.strerror}") from error


def _check(model_bytes: bytes) -> Any:
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
    arrays = {
        tensor.name: np.asarray(samples[tensor.name], dtype=DATATYPES[tensor.datatype])
        for tensor in predictor.schema.inputs
        if tensor.name in samples
    }
    if len(arrays) != len(predictor.schema.inputs):
        missing = next(tensor.name for tensor in predictor.schema.inputs if tensor.name not in samples)
        raise BuildError(f"the samples hold no array for input {missing!r}")
    reference = ReferenceEvaluator(model)
    names = [tensor.name for tensor in predictor.schema.outputs]
    wanted = dict(zip(names, reference.run(names, arrays), strict=True))
    worst = 0.0
    for name, array in predictor.infer(arrays).items():
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


def _card(config: Mapping[str, Any], texts: tuple[str, str, str]) -> str:
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
