"""The ONNX graph as a native kernel, where all its nodes are among those that the kernel has.

1. Read off the graph itself, node by node, with the graph's own constants: not off the estimator a second time.
2. A tensor that the graph holds in float32 is rounded to float32 here too; sums of trees are not, because ONNX Runtime
   adds them in float64 as well and only then rounds.
3. A graph with any other node gives no kernel. That is no error: ONNX Runtime answers then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edgeml.builder.native_trees import Trees, Unpackable, numbers, of_ensemble, of_nodes, packed
from edgeml.runtime.native_session import FORMAT

Numbers = NDArray[np.float64]
SINGLE = onnx.TensorProto.FLOAT


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
    """Translates a model; as ``translated``, without the reason.

    Args:
        model: An ONNX file that the exporter wrote.
        door: Type of its input ``dense``.

    Returns:
        ``kernel.json`` and ``kernel.npy``; None where the kernel does not have all of it.
    """
    return translated(model, door)[0]


def translated(model: bytes, door: str) -> tuple[tuple[dict[str, Any], Numbers] | None, str]:
    """Translates a model, or says what is missing.

    Args:
        model: An ONNX file that the exporter wrote.
        door: Type of its input ``dense``.

    Returns:
        The kernel, or None; and in that case what the kernel does not have.
    """
    graph = onnx.load_model_from_string(model).graph
    if len(graph.input) != 1:
        return None, "several inputs"
    width = graph.input[0].type.tensor_type.shape.dim[1].dim_value
    writer = _Writer(width, registers=width, memo={graph.input[0].name: _Columns(0, width)})
    writer.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    try:
        for node in graph.node:
            _NODES.get(node.op_type, _unknown)(writer, node)
        outputs = [_output(writer, output) for output in graph.output]
    except (_Unknown, Unpackable) as missing:
        return None, str(missing)
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
    return (document, np.concatenate(writer.pool) if writer.pool else np.empty(0)), ""


def _output(writer: _Writer, output: onnx.ValueInfoProto) -> dict[str, Any]:
    found = writer.columns(output.name)
    if found.start < writer.width:
        raise _Unknown("an answer that is the row itself")
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
    """Squeeze, Reshape, Flatten, Identity: a column becomes a vector or the other way, and nothing else changes."""
    given = writer.columns(node.input[0])
    if node.op_type == "Reshape":
        shape = writer.constant(node.input[1]).tolist()
        if shape not in ([-1], [-1, 1], [-1, given.count], [0, given.count]):
            raise _Unknown(f"Reshape to {shape}")
        vector = shape == [-1]
    elif node.op_type == "Flatten":
        # To [N, what is left of it]; of a matrix -1 is the same axis, of a vector it would be [1, N].
        if _attributes(node).get("axis", 1) not in ((1,) if given.vector else (1, -1)):
            raise _Unknown("Flatten of the rows")
        vector = False
    else:
        vector = given.vector or node.op_type == "Squeeze"
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


def _relu(writer: _Writer, node: onnx.NodeProto) -> None:
    given = writer.columns(node.input[0])
    at = writer.keep(np.zeros(given.count))
    writer.memo[node.output[0]] = writer.add("maximum", given, given.count, vector=given.vector, constant=at)


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
    """TreeEnsembleClassifier and TreeEnsembleRegressor."""
    settings = _attributes(node)
    regressor = node.op_type == "TreeEnsembleRegressor"
    labels = settings.get("classlabels_int64s", [])
    if not regressor and list(labels) != list(range(len(labels))):
        raise _Unknown("labels that are not positions")
    trees = of_nodes(settings, "target" if regressor else "class")
    post = settings.get("post_transform", b"NONE").decode()
    base = numbers(settings, "base_values")
    if regressor:
        how = settings.get("aggregate_function", b"SUM").decode()
        made = _ensemble(writer, node, trees, int(settings["n_targets"]), base, how)
        writer.memo[node.output[0]] = _linked(writer, made, post, trees, base)
        return
    scored = sorted(set(settings["class_ids"]))
    if len(labels) == 2:
        _two_classes(writer, node, trees, base, post, scored, settings)
        return
    made = _ensemble(writer, node, trees, len(labels), base, "SUM")
    # A class without any leaf has no score, and so is never the largest.
    writer.memo[node.output[0]] = writer.add("largest", replace(made, count=1 + scored[-1]), 1, vector=True)
    writer.memo[node.output[1]] = _linked(writer, made, post, trees, base)


def _two_classes(
    writer: _Writer,
    node: onnx.NodeProto,
    trees: Trees,
    base: Numbers,
    post: str,
    scored: list[int],
    settings: dict[str, Any],
) -> None:
    """One score for two classes: against one half where it is a probability, which no leaf below zero can tell from
    the other, else against zero."""
    if scored != [0] or len(base) > 1 or post not in ("NONE", "LOGISTIC"):
        raise _Unknown("two classes with a score each")
    shares = bool((numbers(settings, "class_weights") >= 0).all())
    if shares and post != "NONE":
        raise _Unknown("a link behind shares")
    trees.leaves.update({at: [(0, weight) for _, weight in leaf] for at, leaf in trees.leaves.items()})
    score = _ensemble(writer, node, trees, 1, base, "SUM")
    at = writer.keep([0.5 if shares else 0.0])
    writer.memo[node.output[0]] = writer.add("above", score, 1, vector=True, constant=at)
    at = writer.keep([-1.0, 1.0, 1.0 if shares else 0.0, 0.0])
    both = writer.add("product", score, 2, constant=at, extra=2)
    writer.memo[node.output[1]] = _linked(writer, both, post, trees, np.zeros(2))


def _new_trees(writer: _Writer, node: onnx.NodeProto) -> None:
    """TreeEnsemble of ai.onnx.ml 5."""
    settings = _attributes(node)
    how = ("AVERAGE", "SUM", "MIN", "MAX")[settings.get("aggregate_function", 1)]
    # ONNX Runtime (1.32) reads 1 and 2 the other way round than the specification: nobody knows what is meant.
    if settings.get("post_transform", 0):
        raise _Unknown("post_transform of TreeEnsemble")
    trees = of_ensemble(settings)
    made = _ensemble(writer, node, trees, int(settings["n_targets"]), np.empty(0), how)
    writer.memo[node.output[0]] = made


def _ensemble(writer: _Writer, node: onnx.NodeProto, trees: Trees, targets: int, base: Numbers, how: str) -> _Columns:
    """Writes the trees and puts their answers together; ``base`` is added at the end."""
    given = writer.columns(node.input[0])
    if given.count != writer.width:
        raise _Unknown("trees over some columns")
    if len(base) not in (0, 1, targets):
        raise _Unknown("base values")
    base = _spread(base if len(base) else 0.0, targets)
    apart = how in ("MIN", "MAX")
    if apart and targets > 1:
        raise _Unknown(f"{how} over several targets")
    index, nodes, values = packed(trees)
    results = len(trees.roots) if apart else targets
    if apart:
        index[2::4], index[3::4] = range(results), [1] * results
    start, at = len(writer.index), writer.keep(nodes)
    writer.index += index
    writer.keep(values)
    writer.ensembles.append([start, len(trees.roots), at, len(nodes), len(values)])
    zero = how == "SUM"
    at = writer.keep(base if zero else np.zeros(results))
    made = writer.add("trees", given, results, constant=at, extra=results, index=len(writer.ensembles) - 1)
    if zero:
        return made
    if apart:
        made = writer.add("lowest" if how == "MIN" else "highest", made, 1)
    else:
        shares = writer.keep(np.full(targets, float(len(trees.roots))))
        made = writer.add("divide", made, targets, constant=shares)
    return writer.add("add", made, targets, constant=writer.keep(base))


def _linked(writer: _Writer, scores: _Columns, post: str, trees: Trees, base: Numbers) -> _Columns:
    """The scores behind a post_transform."""
    if post == "NONE":
        return scores
    # ONNX Runtime leaves out a target that no leaf on the row's way has named.
    if len(base) != scores.count and not all(trees.always(target) for target in range(scores.count)):
        raise _Unknown(f"{post} over targets without a score")
    if post not in ("SOFTMAX", "LOGISTIC"):
        raise _Unknown(post)
    return writer.add("softmax" if post == "SOFTMAX" else "sigmoid", scores, scores.count)


_NODES: dict[str, Callable[[_Writer, onnx.NodeProto], None]] = {
    "Abs": _plain("abs"),
    "Add": _arithmetic("add", "add"),
    "ArgMax": _largest,
    "Cast": _cast,
    "Concat": _concat,
    "Constant": _constant,
    "Div": _arithmetic("divide", ""),
    "Exp": _plain("exp"),
    "Flatten": _same,
    "Gather": _gather,
    "Gemm": _gemm,
    "Greater": _arithmetic("above", ""),
    "GreaterOrEqual": _arithmetic("at_least", ""),
    "Identity": _same,
    "Log": _plain("log"),
    "MatMul": _gemm,
    "Max": _arithmetic("maximum", "maximum"),
    "Min": _arithmetic("minimum", "minimum"),
    "Mul": _arithmetic("multiply", "multiply"),
    "Pow": _arithmetic("power", "base"),
    "ReduceSum": _sum,
    "Relu": _relu,
    "Reshape": _same,
    "Sigmoid": _plain("sigmoid"),
    "Softmax": _softmax,
    "Sqrt": _plain("sqrt"),
    "Squeeze": _same,
    "Sub": _arithmetic("subtract", "from"),
    "Tanh": _plain("tanh"),
    "TreeEnsemble": _new_trees,
    "TreeEnsembleClassifier": _trees,
    "TreeEnsembleRegressor": _trees,
}
