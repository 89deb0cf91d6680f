"""The ONNX graph as a native kernel, where all its nodes are among those that the kernel has.

1. Read off the graph itself, node by node, with the graph's own constants: not off the estimator a second time.
2. A tensor that the graph holds in float32 is rounded to float32 here too; sums of trees are not, because ONNX Runtime
   adds them in float64 as well and only then rounds.
3. A graph with any other node gives no kernel. That is no error: ONNX Runtime answers then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edgeml.runtime.native_session import FORMAT

Numbers = NDArray[np.float64]
SINGLE = onnx.TensorProto.FLOAT
# A kernel larger than this would no longer be faster to load than the model is to open.
MAX_NODES = 1_000_000


class _Unknown(Exception):
    """A node, or a setting of one, that the kernel does not have."""


@dataclass(frozen=True)
class _Columns:
    """Consecutive registers that hold a tensor [N, count]; ``vector`` where the graph has it as [N]."""

    start: int
    count: int
    vector: bool = False


@dataclass
class _Writer:
    """Collects operations; ``memo`` maps the graph's tensors to registers, ``constants`` to arrays."""

    width: int
    registers: int = 0
    operations: list[dict[str, Any]] = field(default_factory=list)
    index: list[int] = field(default_factory=list)
    pool: list[Numbers] = field(default_factory=list)
    filled: int = 0
    ensembles: list[list[int]] = field(default_factory=list)
    memo: dict[str, _Columns] = field(default_factory=dict)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)

    def keep(self, numbers: Any) -> int:
        """Puts numbers into the pool; gives where they start."""
        flat = np.asarray(numbers, dtype=np.float64).ravel()
        self.pool.append(flat)
        self.filled += len(flat)
        return self.filled - len(flat)

    def add(self, op: str, given: _Columns, results: int, *, vector: bool = False, **members: int) -> _Columns:
        """Writes an operation over columns; gives its results."""
        made = _Columns(self.registers, results, vector)
        self.registers += results
        numbers = {"to": made.start, "from": given.start, "count": given.count, **members}
        self.operations.append({"op": op} | {name: value for name, value in numbers.items() if value})
        return made

    def columns(self, name: str) -> _Columns:
        """The registers of a tensor that is computed."""
        if name not in self.memo:
            raise _Unknown(f"tensor {name}")
        return self.memo[name]

    def constant(self, name: str) -> NDArray[Any]:
        """A tensor that is the same for every row."""
        if name not in self.constants:
            raise _Unknown(f"tensor {name} is no constant")
        return self.constants[name]


def native_kernel(model: bytes, door: str) -> tuple[dict[str, Any], Numbers] | None:
    """Translates a model.

    Args:
        model: An ONNX file that the exporter wrote.
        door: Type of its input ``dense``.

    Returns:
        ``kernel.json`` and ``kernel.npy``; None where the kernel does not have all of it.
    """
    graph = onnx.load_model_from_string(model).graph
    if len(graph.input) != 1:
        return None
    width = graph.input[0].type.tensor_type.shape.dim[1].dim_value
    writer = _Writer(width, registers=width, memo={graph.input[0].name: _Columns(0, width)})
    writer.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    try:
        for node in graph.node:
            _NODES.get(node.op_type, _unknown)(writer, node)
        outputs = [_output(writer, output) for output in graph.output]
    except _Unknown:
        return None
    document = {
        "format": FORMAT,
        "door": door,
        "width": width,
        "registers": writer.registers,
        "index": writer.index,
        "operations": writer.operations,
        "ensembles": writer.ensembles,
        "outputs": outputs,
    }
    return document, np.concatenate(writer.pool) if writer.pool else np.empty(0)


def _output(writer: _Writer, output: onnx.ValueInfoProto) -> dict[str, Any]:
    found = writer.columns(output.name)
    whole = output.type.tensor_type.elem_type == onnx.TensorProto.INT64
    return {
        "name": output.name,
        "start": found.start,
        "columns": 0 if found.vector else found.count,
        "dtype": "int64" if whole else "float64",
    }


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def _unknown(writer: _Writer, node: onnx.NodeProto) -> None:
    raise _Unknown(node.op_type)


def _constant(writer: _Writer, node: onnx.NodeProto) -> None:
    given = _attributes(node)
    if "value" in given:
        writer.constants[node.output[0]] = numpy_helper.to_array(given["value"])
    elif "value_ints" in given:
        writer.constants[node.output[0]] = np.array(given["value_ints"], dtype=np.int64)
    else:
        raise _Unknown("Constant")


def _cast(writer: _Writer, node: onnx.NodeProto) -> None:
    given = writer.columns(node.input[0])
    if _attributes(node)["to"] == SINGLE:
        given = writer.add("round", given, given.count, vector=given.vector)
    writer.memo[node.output[0]] = given


def _same(writer: _Writer, node: onnx.NodeProto) -> None:
    """Squeeze, Reshape, Flatten: a column becomes a vector, and nothing else changes."""
    given = writer.columns(node.input[0])
    if node.op_type == "Reshape":
        shape = writer.constant(node.input[1]).tolist()
        if shape not in ([-1], [-1, 1], [-1, given.count], [0, given.count]):
            raise _Unknown(f"Reshape to {shape}")
        vector = shape == [-1]
    else:
        vector = node.op_type == "Squeeze"
    if vector and given.count != 1:
        raise _Unknown(node.op_type)
    writer.memo[node.output[0]] = _Columns(given.start, given.count, vector)


def _gemm(writer: _Writer, node: onnx.NodeProto) -> None:
    given, settings = writer.columns(node.input[0]), _attributes(node)
    weights = writer.constant(node.input[1]).astype(np.float64)
    if settings.get("transA", 0) or settings.get("alpha", 1.0) != 1.0 or settings.get("beta", 1.0) != 1.0:
        raise _Unknown("Gemm")
    if node.op_type == "Gemm" and settings.get("transB", 0):
        weights = weights.T
    if weights.ndim != 2 or weights.shape[0] != given.count:
        raise _Unknown(node.op_type)
    results = weights.shape[1]
    bias = writer.constant(node.input[2]) if len(node.input) > 2 else 0.0
    at = writer.keep(np.concatenate([weights.T.ravel(), _spread(bias, results)]))
    writer.memo[node.output[0]] = writer.add("product", given, results, constant=at, extra=results)


def _spread(constant: Any, count: int) -> Numbers:
    """A constant for each of ``count`` columns."""
    numbers = np.asarray(constant, dtype=np.float64)
    if numbers.size not in (1, count) or (numbers.ndim > 1 and numbers.shape[-1] != numbers.size):
        raise _Unknown(f"a constant of shape {numbers.shape}")
    return np.broadcast_to(numbers.ravel(), count).copy()


def _arithmetic(forward: str, backward: str) -> Callable[[_Writer, onnx.NodeProto], None]:
    """A node with a constant on one side; ``backward`` where the constant is the first."""

    def write(writer: _Writer, node: onnx.NodeProto) -> None:
        first = node.input[0] in writer.constants
        op = backward if first else forward
        if not op:
            raise _Unknown(node.op_type)
        given = writer.columns(node.input[1 if first else 0])
        at = writer.keep(_spread(writer.constant(node.input[0 if first else 1]), given.count))
        writer.memo[node.output[0]] = writer.add(op, given, given.count, vector=given.vector, constant=at)

    return write


def _plain(op: str) -> Callable[[_Writer, onnx.NodeProto], None]:
    def write(writer: _Writer, node: onnx.NodeProto) -> None:
        given = writer.columns(node.input[0])
        writer.memo[node.output[0]] = writer.add(op, given, given.count, vector=given.vector)

    return write


def _softmax(writer: _Writer, node: onnx.NodeProto) -> None:
    given = writer.columns(node.input[0])
    if given.vector or _attributes(node).get("axis", -1) not in (1, -1):
        raise _Unknown("Softmax")
    writer.memo[node.output[0]] = writer.add("softmax", given, given.count)


def _concat(writer: _Writer, node: onnx.NodeProto) -> None:
    parts = [writer.columns(name) for name in node.input]
    if _attributes(node)["axis"] not in (1, -1) or any(part.vector for part in parts):
        raise _Unknown("Concat")
    _pick(writer, node, [part.start + i for part in parts for i in range(part.count)])


def _gather(writer: _Writer, node: onnx.NodeProto) -> None:
    given, chosen = writer.columns(node.input[0]), writer.constant(node.input[1])
    if _attributes(node).get("axis", 0) not in (1, -1) or given.vector or chosen.ndim != 1:
        raise _Unknown("Gather")
    _pick(writer, node, [given.start + int(i) % given.count for i in chosen])


def _pick(writer: _Writer, node: onnx.NodeProto, registers: list[int]) -> None:
    at = len(writer.index)
    writer.index += registers
    made = _Columns(writer.registers, len(registers))
    writer.registers += len(registers)
    writer.operations.append({"op": "pick", "to": made.start, "count": len(registers), "index": at})
    writer.memo[node.output[0]] = made


def _sum(writer: _Writer, node: onnx.NodeProto) -> None:
    given, settings = writer.columns(node.input[0]), _attributes(node)
    axes = writer.constant(node.input[1]).tolist() if len(node.input) > 1 else settings.get("axes")
    if axes not in ([1], [-1]) or given.vector:
        raise _Unknown("ReduceSum")
    writer.memo[node.output[0]] = writer.add("sum", given, 1, vector=not settings.get("keepdims", 1))


def _largest(writer: _Writer, node: onnx.NodeProto) -> None:
    given, settings = writer.columns(node.input[0]), _attributes(node)
    if settings.get("axis", 0) not in (1, -1) or settings.get("select_last_index", 0) or given.vector:
        raise _Unknown("ArgMax")
    writer.memo[node.output[0]] = writer.add("largest", given, 1, vector=not settings.get("keepdims", 1))


def _trees(writer: _Writer, node: onnx.NodeProto) -> None:
    given, settings = writer.columns(node.input[0]), _attributes(node)
    regressor = node.op_type == "TreeEnsembleRegressor"
    prefix = "target" if regressor else "class"
    if settings.get("post_transform", b"NONE") != b"NONE" or settings.get("aggregate_function", b"SUM") != b"SUM":
        raise _Unknown(node.op_type)
    if given.count != writer.width:
        raise _Unknown("trees over some columns")
    targets = int(settings["n_targets"]) if regressor else len(settings["classlabels_int64s"])
    base = _numbers(settings, "base_values")
    made = writer.add(
        "trees",
        given,
        targets,
        constant=writer.keep(base if len(base) else np.zeros(targets)),
        extra=targets,
        index=len(writer.ensembles),
    )
    writer.ensembles.append(_ensemble(writer, settings, prefix))
    if regressor:
        writer.memo[node.output[0]] = made
        return
    # A class without any leaf has no score, and so is never the largest.
    scored = 1 + max(settings["class_ids"])
    writer.memo[node.output[0]] = writer.add("largest", _Columns(made.start, scored), 1, vector=True)
    writer.memo[node.output[1]] = made


def _numbers(settings: dict[str, Any], name: str) -> Numbers:
    """An attribute that may be a list of floats or a tensor of doubles."""
    if f"{name}_as_tensor" in settings:
        return numpy_helper.to_array(settings[f"{name}_as_tensor"]).astype(np.float64)
    return np.asarray(settings.get(name, []), dtype=np.float64)


def _ensemble(writer: _Writer, settings: dict[str, Any], prefix: str) -> list[int]:
    """Packs the trees; a left child stands behind its parent, its sibling right behind it."""
    thresholds = _numbers(settings, "nodes_values")
    modes = [mode.decode() for mode in settings["nodes_modes"]]
    if len(modes) > MAX_NODES or not set(modes) <= {"LEAF", "BRANCH_LEQ", "BRANCH_EQ"}:
        raise _Unknown("trees with other questions")
    tracks = settings.get("nodes_missing_value_tracks_true") or [0] * len(modes)
    tree_ids, node_ids = settings["nodes_treeids"], settings["nodes_nodeids"]
    place = {key: at for at, key in enumerate(zip(tree_ids, node_ids, strict=True))}
    leaves: dict[int, list[tuple[int, float]]] = {}
    weights = _numbers(settings, f"{prefix}_weights")
    for tree, node, target, weight in zip(
        settings[f"{prefix}_treeids"],
        settings[f"{prefix}_nodeids"],
        settings[f"{prefix}_ids"],
        weights.tolist(),
        strict=True,
    ):
        leaves.setdefault(place[tree, node], []).append((target, weight))
    true, false = settings["nodes_truenodeids"], settings["nodes_falsenodeids"]
    roots = [at for at, node in enumerate(node_ids) if node == 0]
    starts: list[int] = []
    packed: list[tuple[float, float, float, float]] = []
    values: list[float] = []
    for root in roots:
        tree = tree_ids[root]
        order, front = [root], 0
        while front < len(order):
            at = order[front]
            front += 1
            if modes[at] != "LEAF":
                order += [place[tree, true[at]], place[tree, false[at]]]
        if len(order) != len(set(order)):
            raise _Unknown("trees whose branches meet")
        reached = sorted({target for at in order if modes[at] == "LEAF" for target, _ in leaves.get(at, [])}) or [0]
        first, count = reached[0], reached[-1] - reached[0] + 1
        begin = len(packed)
        starts += [begin, begin + len(order), first, count]
        position = {at: begin + i for i, at in enumerate(order)}
        for at in order:
            if modes[at] == "LEAF":
                numbers = [0.0] * count
                for target, weight in leaves.get(at, []):
                    numbers[target - first] += weight
                packed.append((0.0, -1.0, float(len(values)), 0.0))
                values += numbers
            else:
                flags = (1 if tracks[at] else 0) + (2 if modes[at] == "BRANCH_EQ" else 0)
                left = position[place[tree, true[at]]]
                packed.append(
                    (float(thresholds[at]), float(settings["nodes_featureids"][at]), float(left), float(flags))
                )
    at_index = len(writer.index)
    writer.index += starts
    at_constant = writer.keep(np.array(packed, dtype=np.float64))
    writer.keep(values)
    return [at_index, len(roots), at_constant, len(packed), len(values)]


_NODES: dict[str, Callable[[_Writer, onnx.NodeProto], None]] = {
    "Add": _arithmetic("add", "add"),
    "ArgMax": _largest,
    "Cast": _cast,
    "Concat": _concat,
    "Constant": _constant,
    "Div": _arithmetic("divide", ""),
    "Exp": _plain("exp"),
    "Gather": _gather,
    "Gemm": _gemm,
    "Greater": _arithmetic("above", ""),
    "GreaterOrEqual": _arithmetic("at_least", ""),
    "Identity": _same,
    "MatMul": _gemm,
    "Mul": _arithmetic("multiply", "multiply"),
    "Pow": _arithmetic("power", "base"),
    "ReduceSum": _sum,
    "Reshape": _same,
    "Sigmoid": _plain("sigmoid"),
    "Softmax": _softmax,
    "Squeeze": _same,
    "Sub": _arithmetic("subtract", "from"),
    "TreeEnsembleClassifier": _trees,
    "TreeEnsembleRegressor": _trees,
}
