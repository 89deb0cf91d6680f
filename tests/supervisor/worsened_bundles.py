"""Bundles that pass admission and their golden rows, and go wrong on rows of a kind that no golden row is of.

A penguin of 15 kg, or with a bill of 90 mm, is within the schema and like nothing that was seen when the bundle was
built. All versions answer with the same labels, as releases of one model do.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from runtime.onnx_models import bundle_of, info
from supervisor.penguin_bundles import signed
from supervisor.running_store import ROW

from edgeml.bundles import Bundle

# Column of the model's input, and the standard deviation beyond which a row is of the kind.
LONG, HEAVY = ("long", 0, 5.0), ("heavy", 3, 10.0)
# Slow enough to be later than DEADLINE_MS on a fast machine, whose good answers are never as late on a busy one.
TRIPS = 1_000_000
DEADLINE_MS = 300.0
# float32: 256 MiB, more than such a bundle's room and the slack of a trial together.
MUCH = 2**26

ADELIE = ROW
GENTOO = ROW | {"flipper_length_mm": 217.0}


def body(*rows: dict[str, Any]) -> bytes:
    """A records request."""
    return json.dumps({"records": rows}).encode()


def heavy(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"body_mass_g": 15_000.0}


def long(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"bill_length_mm": 90.0}


def release(bundle: Bundle, word: str, model: bytes | None = None, **config: Any) -> Bundle:
    """A version without rules, so that the model is always asked; with another model, if one is given."""
    document = dict(bundle.config) | {"version": word, "slo": {"deadline_ms": 60_000.0}} | config
    members = {name: data for name, data in bundle.members.items() if name != "rules.json"}
    lines = members["golden.jsonl"].splitlines(keepends=True)
    members["golden.jsonl"] = b"".join(line for line in lines if json.loads(line)["expected"]["tier"] == "model")
    # What was measured of the rules goes with them.
    reference = bundle.document("reference.json")
    members["reference.json"] = json.dumps({key: each for key, each in reference.items() if key != "quality"}).encode()
    if model is not None:
        members = {name: data for name, data in members.items() if not name.startswith("kernel.")}
        members["model.onnx"] = model
    return signed(document, members)


def raising(bundle: Bundle, word: str, *kinds: tuple[str, int, float]) -> Bundle:
    """A version whose model raises at rows of some kinds: it looks up what is not there."""
    work = _Model(bundle)
    for kind in kinds:
        work.raises(work.any(kind), kind[0])
    return release(bundle, word, work.bytes())


def giving_nan(bundle: Bundle, word: str) -> Bundle:
    """A version whose model gives NaN for heavy rows."""
    work = _Model(bundle)
    work.constant("nan", np.full((1, 1), np.nan), work.kind_of("scores"))
    work.output("scores", lambda sound: work.node("Where", work.flags(HEAVY), "nan", sound))
    return release(bundle, word, work.bytes())


def slow(bundle: Bundle, word: str) -> Bundle:
    """A version whose model turns round and round at heavy rows."""
    work = _Model(bundle)
    kind = work.graph.input[0].type.tensor_type.elem_type
    turn = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c_out"]), helper.make_node("Identity", ["v"], ["v_out"])],
        "turn",
        [info("i", TensorProto.INT64, []), info("c", TensorProto.BOOL, []), info("v", kind, ["N", "W"])],
        [info("c_out", TensorProto.BOOL, []), info("v_out", kind, ["N", "W"])],
    )
    work.constant("trips", np.array(TRIPS), TensorProto.INT64)
    work.constant("true", np.array(True), TensorProto.BOOL)
    times = work.node("Mul", work.any(HEAVY), "trips")
    work.burden(lambda given: work.node("Loop", times, "true", given, body=turn))
    return release(bundle, word, work.bytes(), session={"control_flow": True}, slo={"deadline_ms": DEADLINE_MS})


def growing(bundle: Bundle, word: str) -> Bundle:
    """A version whose model takes half a gigabyte for a heavy row, and keeps it."""
    work = _Model(bundle)
    kind = work.graph.input[0].type.tensor_type.elem_type
    work.constant("much", np.array([MUCH]), TensorProto.INT64)
    work.constant("least", np.array([1]), TensorProto.INT64)
    count = work.node("Add", work.node("Mul", work.any(HEAVY), "much"), "least")
    zeros = work.node("ConstantOfShape", count, value=helper.make_tensor("zero", kind, [1], [0]))
    work.burden(lambda given: work.node("Add", given, work.node("ReduceSum", zeros, keepdims=0)))
    return release(bundle, word, work.bytes(), session={"arena": True})


def collapsed(bundle: Bundle, word: str) -> Bundle:
    """A version whose model takes every heavy penguin for an Adelie."""
    work = _Model(bundle)
    work.constant("first", np.array([0]), TensorProto.INT64)
    work.constant("flat", np.array([-1]), TensorProto.INT64)
    flags = work.node("Reshape", work.flags(HEAVY), "flat")
    work.output("label", lambda sound: work.node("Where", flags, "first", sound))
    return release(bundle, word, work.bytes())


def tensors(word: str, *, limit: float) -> Bundle:
    """A bare ONNX model x -> y that raises where a number of x is above a limit; the golden row has none above 2."""
    nodes = [
        helper.make_node("Greater", ["x", "limit"], ["above"]),
        helper.make_node("Cast", ["above"], ["counted"], to=TensorProto.INT64),
        helper.make_node("ReduceMax", ["counted"], ["index"], keepdims=0),
        helper.make_node("Gather", ["known", "index"], ["zero"]),
        helper.make_node("Add", ["x", "zero"], ["y"]),
    ]
    constants = [
        numpy_helper.from_array(np.array(limit, dtype=np.float32), "limit"),
        numpy_helper.from_array(np.zeros(1, dtype=np.float32), "known"),
    ]
    graph = helper.make_graph(nodes, "graph", [info("x")], [info("y")], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    golden = b'{"expected":{"y":[[-1.0,2.0]]},"record":{"x":[[-1.0,2.0]]}}\n'
    made = bundle_of(model.SerializeToString(), golden=golden, name="penguins", version=word)
    return signed(made.config, made.members)


class _Model:
    """The bundle's own model, while something is put before or behind it."""

    def __init__(self, bundle: Bundle) -> None:
        self._model = onnx.load_model_from_string(bundle.members["model.onnx"])
        self.graph = self._model.graph
        self._given = self.graph.input[0].name
        # What the model itself takes: the input, or what was last put behind it.
        self._asked = self._given
        self._own = list(self.graph.node)
        self._before: list[Any] = []
        self._behind: list[Any] = []
        self._made = self._before
        self._names = 0

    def bytes(self) -> bytes:
        del self.graph.node[:]
        self.graph.node.extend([*self._before, *self._own, *self._behind])
        return bytes(self._model.SerializeToString())

    def constant(self, name: str, value: Any, kind: int) -> None:
        array = np.asarray(value, dtype=helper.tensor_dtype_to_np_dtype(kind))
        self.graph.initializer.append(numpy_helper.from_array(array, name))

    def node(self, operator: str, *given: str, **attributes: Any) -> str:
        """Adds a node; gives the name of what it makes."""
        self._names += 1
        made = f"made_{self._names}"
        self._made.append(helper.make_node(operator, given, [made], **attributes))
        return made

    def flags(self, kind: tuple[str, int, float]) -> str:
        """[N, 1]: which rows are of a kind."""
        word, column, limit = kind
        numbers = self.graph.input[0].type.tensor_type.elem_type
        self.constant(f"{word}_column", [column], TensorProto.INT64)
        self.constant(f"{word}_limit", limit, numbers)
        return self.node("Greater", self.node("Gather", self._given, f"{word}_column", axis=1), f"{word}_limit")

    def any(self, kind: tuple[str, int, float]) -> str:
        """1 where some row is of a kind, otherwise 0."""
        counted = self.node("Cast", self.flags(kind), to=TensorProto.INT64)
        return self.node("ReduceMax", counted, keepdims=0)

    def raises(self, index: str, word: str) -> None:
        kind = self.graph.input[0].type.tensor_type.elem_type
        self.constant(f"{word}_known", [0], kind)
        self.burden(lambda given: self.node("Add", given, self.node("Gather", f"{word}_known", index)))

    def burden(self, put: Any) -> None:
        """Puts something between the input and the model."""
        burdened = put(self._asked)
        for node in self._own:
            node.input[:] = [burdened if name == self._asked else name for name in node.input]
        self._asked = burdened

    def kind_of(self, output: str) -> int:
        return next(int(each.type.tensor_type.elem_type) for each in self.graph.output if each.name == output)

    def output(self, name: str, put: Any) -> None:
        """Puts something between the model and one of its outputs."""
        self._made = self._behind
        for node in self._own:
            for names in (node.input, node.output):
                names[:] = [f"sound_{name}" if each == name else each for each in names]
        made = put(f"sound_{name}")
        self._behind.append(helper.make_node("Identity", [made], [name]))
