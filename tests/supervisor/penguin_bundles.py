"""The penguins bundle in several versions, whole and broken; each version has labels of its own."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
from data.generate_bundles import ALICE
from onnx import TensorProto, helper, numpy_helper

from edgeml.bundles import Bundle, sign

SPECIES = ("Adelie", "Chinstrap", "Gentoo")


def labels_of(version: str) -> set[str]:
    """The labels that only this version answers with."""
    return {f"{name} {version}" for name in SPECIES}


def version(bundle: Bundle, word: str, *, name: str = "penguins", **config: Any) -> Bundle:
    """A version that answers with labels of its own, and without rules, so that the model is always asked."""
    renamed = {each: f"{each} {word}" for each in SPECIES}
    document = dict(bundle.config) | {"name": name, "version": word} | config
    document["outputs"] = dict(document["outputs"]) | {"labels": list(renamed.values())}
    document["fallback"] = {"label": renamed["Adelie"]}
    members = {each: data for each, data in bundle.members.items() if each not in ("rules.json", "reference.json")}
    lines = [json.loads(line) for line in members["golden.jsonl"].splitlines()]
    members["golden.jsonl"] = _lines([_renamed(row, renamed) for row in lines if row["expected"]["tier"] == "model"])
    return signed(document, members)


def _renamed(row: dict[str, Any], renamed: dict[str, str]) -> dict[str, Any]:
    expected = dict(row["expected"])
    expected["label"] = renamed[expected["label"]]
    if isinstance(expected.get("scores"), dict):
        expected["scores"] = {renamed[label]: score for label, score in expected["scores"].items()}
    return {"record": row["record"], "expected": expected}


def unloadable(bundle: Bundle, word: str, **more: Any) -> Bundle:
    """A version whose model is no model."""
    return _with_model(version(bundle, word, **more), b"no model at all")


def untrue(bundle: Bundle, word: str) -> Bundle:
    """A version whose golden rows are answered otherwise than they say."""
    made = version(bundle, word)
    lines = [json.loads(line) for line in made.members["golden.jsonl"].splitlines()]
    for row in lines:
        labels = sorted(labels_of(word) - {row["expected"]["label"]})
        row["expected"]["label"] = labels[0]
    return signed(made.config, dict(made.members) | {"golden.jsonl": _lines(lines)})


def giving_nan(bundle: Bundle, word: str) -> Bundle:
    """A version whose model gives NaN for every record; nothing of its golden rows would show it."""
    made = _with_model(version(bundle, word), _model(bundle, [helper.make_node("Div", ["z", "z"], ["scores"])]))
    return signed(made.config, {name: data for name, data in made.members.items() if name != "golden.jsonl"})


def hanging(bundle: Bundle, word: str, *, at_load: bool = False) -> Bundle:
    """A version whose model never answers, already while it is loaded or only when it is asked."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c_out"]), helper.make_node("Add", ["v", "v"], ["v_out"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, ["N", 3]),
        ],
        [
            helper.make_tensor_value_info("c_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_out", TensorProto.FLOAT, ["N", 3]),
        ],
    )
    loop = helper.make_node("Loop", ["", "true", "z"], ["scores"], body=body)
    true = numpy_helper.from_array(np.array(True), "true")
    made = _with_model(version(bundle, word, session={"control_flow": True}), _model(bundle, [loop], [true]))
    kept = dict(made.members) if at_load else {k: v for k, v in made.members.items() if k != "golden.jsonl"}
    return signed(made.config, kept)


def signed(config: Any, members: Any) -> Bundle:
    return sign(Bundle.create(config, members), ALICE)


def _with_model(bundle: Bundle, model: bytes) -> Bundle:
    members = {name: data for name, data in bundle.members.items() if not name.startswith("kernel.")}
    return signed(bundle.config, members | {"model.onnx": model})


def _model(bundle: Bundle, nodes: list[Any], constants: list[Any] | None = None) -> bytes:
    """A model of the bundle's shape, whose scores the last nodes make of zeros."""
    genuine = onnx.load_model_from_string(bundle.members["model.onnx"])
    given = genuine.graph.input[0].type.tensor_type
    width, kind = given.shape.dim[1].dim_value, given.elem_type
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["dense", "w"], ["zero"]),
            helper.make_node("Cast", ["zero"], ["z"], to=TensorProto.FLOAT),
            helper.make_node("ArgMax", ["z"], ["label"], axis=1, keepdims=0),
            *nodes,
        ],
        "broken",
        [helper.make_tensor_value_info("dense", kind, ["N", width])],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 3]),
            helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]),
        ],
        [helper.make_tensor("w", kind, [width, 3], [0.0] * (3 * width)), *(constants or [])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def _lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row, separators=(",", ":")).encode() + b"\n" for row in rows)
