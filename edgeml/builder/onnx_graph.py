"""A small writer of ONNX graphs, for estimators whose arithmetic is known exactly.

1. Everything between input and outputs is float64, as in scikit-learn; only tree ensembles give float32.
2. Tensors are matrices [N, width]; labels are int64 vectors [N] holding an index into the estimator's classes.
3. The same operation on the same operands is written once (estimators in an ensemble share their distances).
4. Names are numbers in the order of writing, so the same estimator gives the same bytes in every process.
5. ``finish`` keeps only what the outputs need, and pins opsets and IR version to what onnxruntime 1.20 runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

OPSET = {"ai.onnx": 17, "ai.onnx.ml": 3}
IR_VERSION = 8
INPUT = "dense"

FLOAT = int(TensorProto.FLOAT)
DOUBLE = int(TensorProto.DOUBLE)
INT64 = int(TensorProto.INT64)
BOOL = int(TensorProto.BOOL)


@dataclass(frozen=True)
class Tensor:
    """A value in the graph.

    Attributes:
        name: Its name.
        width: Columns of a matrix [N, width]; 0 for a vector [N].
    """

    name: str
    width: int


Operand = Tensor | ArrayLike


class Graph:
    """Writes one graph with the input ``dense`` [N, d].

    Args:
        n_inputs: d, the columns of the input.
        door: ``float32`` or ``float64``, the input's type.
    """

    def __init__(self, n_inputs: int, door: str) -> None:
        self.door = door
        self.dense = Tensor(INPUT, n_inputs)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._names: dict[Any, Any] = {}
        # The float64 view of the input, and tensors whose numbers are float32 numbers already.
        self.x = self.dense if door == "float64" else self.cast(self.dense, DOUBLE)
        self._float32_exact = {self.x.name} if door == "float32" else set()

    # Nodes

    def node(
        self, op: str, inputs: Sequence[str], *, outputs: int = 1, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Writes a node, or finds the one that does the same, and gives the names of its outputs."""
        key = (op, domain, tuple(inputs), outputs, repr(sorted(attributes.items())) if _is_small(attributes) else None)
        if key[-1] is not None and key in self._names:
            known: list[str] = self._names[key]
            return known
        number = len(self._nodes)
        names = [f"n{number}" if index == 0 else f"n{number}_{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(op, list(inputs), names, domain=domain, **attributes))
        if key[-1] is not None:
            self._names[key] = names
        return names

    def constant(self, value: ArrayLike, dtype: Any = np.float64) -> str:
        """Writes an array, once for equal arrays, and gives its name."""
        array = np.ascontiguousarray(value, dtype=dtype).reshape(np.shape(value))
        key = ("constant", array.dtype.str, array.shape, array.tobytes())
        if key not in self._names:
            name = f"c{len(self._constants)}"
            self._constants[name] = numpy_helper.from_array(array, name)
            self._names[key] = name
        found: str = self._names[key]
        return found

    def _operand(self, value: Operand) -> str:
        return value.name if isinstance(value, Tensor) else self.constant(value)

    def _binary(self, op: str, a: Operand, b: Operand) -> Tensor:
        width = max(x.width if isinstance(x, Tensor) else int(np.shape(x)[-1]) if np.ndim(x) else 0 for x in (a, b))
        return Tensor(self.node(op, [self._operand(a), self._operand(b)])[0], width)

    def _unary(self, op: str, x: Tensor, **attributes: Any) -> Tensor:
        return Tensor(self.node(op, [x.name], **attributes)[0], x.width)

    # Arithmetic, element by element; constants broadcast as in numpy

    def add(self, a: Operand, b: Operand) -> Tensor:
        """a + b."""
        return self._binary("Add", a, b)

    def sub(self, a: Operand, b: Operand) -> Tensor:
        """a - b."""
        return self._binary("Sub", a, b)

    def mul(self, a: Operand, b: Operand) -> Tensor:
        """a * b."""
        return self._binary("Mul", a, b)

    def div(self, a: Operand, b: Operand) -> Tensor:
        """a / b."""
        return self._binary("Div", a, b)

    def pow(self, a: Operand, b: Operand) -> Tensor:
        """a to the power of b."""
        return self._binary("Pow", a, b)

    def maximum(self, a: Operand, b: Operand) -> Tensor:
        """The larger of a and b."""
        return self._binary("Max", a, b)

    def minimum(self, a: Operand, b: Operand) -> Tensor:
        """The smaller of a and b."""
        return self._binary("Min", a, b)

    def clip(self, x: Tensor, low: ArrayLike, high: ArrayLike) -> Tensor:
        """x held between low and high."""
        return self.minimum(self.maximum(x, low), high)

    def call(self, op: str, x: Tensor) -> Tensor:
        """An ONNX operator of one operand, such as ``Exp``, ``Log``, ``Sqrt``, ``Tanh``, ``Sigmoid``, ``Relu``."""
        return self._unary(op, x)

    def square(self, x: Tensor) -> Tensor:
        """x * x."""
        return self.mul(x, x)

    # Truth values

    def compare(self, op: str, a: Operand, b: Operand) -> Tensor:
        """``Greater``, ``GreaterOrEqual``, ``Less``, ``LessOrEqual`` or ``Equal``; gives truth values."""
        return self._binary(op, a, b)

    def where(self, condition: Tensor, a: Operand, b: Operand) -> Tensor:
        """a where the condition is true, else b."""
        width = max(condition.width, *(x.width if isinstance(x, Tensor) else int(np.size(x)) for x in (a, b)))
        return Tensor(self.node("Where", [condition.name, self._operand(a), self._operand(b)])[0], width)

    def cast(self, x: Tensor, to: int) -> Tensor:
        """x as another type."""
        return self._unary("Cast", x, to=to)

    def number(self, x: Tensor) -> Tensor:
        """x as float64."""
        return self.cast(x, DOUBLE)

    def float32_rounded(self, x: Tensor) -> Tensor:
        """x rounded to float32 as scikit-learn's trees do, held in float64."""
        if x.name in self._float32_exact:
            return x
        rounded = self.number(self.cast(x, FLOAT))
        self._float32_exact.add(rounded.name)
        return rounded

    # Matrices

    def matmul(self, x: Tensor, weights: ArrayLike) -> Tensor:
        """x @ weights, for a constant [width, m]."""
        w = np.asarray(weights, dtype=np.float64)
        return Tensor(self.node("MatMul", [x.name, self.constant(w)])[0], int(w.shape[1]))

    def affine(self, x: Tensor, weights: ArrayLike, bias: ArrayLike) -> Tensor:
        """x @ weights + bias, for constants [width, m] and [m]."""
        w = np.asarray(weights, dtype=np.float64)
        b = np.broadcast_to(np.asarray(bias, dtype=np.float64), (w.shape[1],))
        return Tensor(self.node("Gemm", [x.name, self.constant(w), self.constant(b)])[0], int(w.shape[1]))

    def reduce(self, op: str, x: Tensor) -> Tensor:
        """``ReduceMax``, ``ReduceMin`` or ``ReduceMean`` over each row; gives [N, 1]."""
        return Tensor(self.node(op, [x.name], axes=[1], keepdims=1)[0], 1)

    def row_sum(self, x: Tensor) -> Tensor:
        """The sum of each row, [N, 1]."""
        return Tensor(self.node("ReduceSum", [x.name, self.constant([1], np.int64)], keepdims=1)[0], 1)

    def softmax(self, x: Tensor) -> Tensor:
        """The softmax of each row."""
        return self._unary("Softmax", x, axis=1)

    def log_sum_exp(self, x: Tensor) -> Tensor:
        """log(sum(exp(x))) of each row, [N, 1], without overflow."""
        top = self.reduce("ReduceMax", x)
        return self.add(top, self.call("Log", self.row_sum(self.call("Exp", self.sub(x, top)))))

    def columns(self, x: Tensor, indices: Iterable[int]) -> Tensor:
        """Some columns of x, in the order given."""
        wanted = [int(index) for index in indices]
        if wanted == list(range(x.width)):
            return x
        name = self.node("Gather", [x.name, self.constant(wanted, np.int64)], axis=1)[0]
        picked = Tensor(name, len(wanted))
        if x.name in self._float32_exact:
            self._float32_exact.add(name)
        return picked

    def concat(self, parts: Sequence[Tensor]) -> Tensor:
        """Matrices side by side."""
        if len(parts) == 1:
            return parts[0]
        name = self.node("Concat", [part.name for part in parts], axis=1)[0]
        if all(part.name in self._float32_exact for part in parts):
            self._float32_exact.add(name)
        return Tensor(name, sum(part.width for part in parts))

    def total(self, parts: Sequence[Tensor]) -> Tensor:
        """The sum of matrices, from the first to the last."""
        result = parts[0]
        for part in parts[1:]:
            result = self.add(result, part)
        return result

    def column_vector(self, x: Tensor) -> Tensor:
        """A vector [N] as a matrix [N, 1]."""
        return Tensor(self.node("Unsqueeze", [x.name, self.constant([1], np.int64)])[0], 1)

    def flat(self, x: Tensor) -> Tensor:
        """A matrix [N, 1] as a vector [N]."""
        return Tensor(self.node("Squeeze", [x.name, self.constant([1], np.int64)])[0], 0)

    def constant_rows(self, row: ArrayLike) -> Tensor:
        """The same row [m] for every record, [N, m]."""
        values = np.atleast_2d(np.asarray(row, dtype=np.float64))
        shape = self.node("Shape", [INPUT], start=0, end=1)[0]
        full = self.node("Concat", [shape, self.constant([1], np.int64)], axis=0)[0]
        return Tensor(self.node("Expand", [self.constant(values), full])[0], int(values.shape[1]))

    # Labels

    def argmax(self, x: Tensor) -> Tensor:
        """The column of the largest number of each row, the first on a tie; a vector."""
        return Tensor(self.node("ArgMax", [x.name], axis=1, keepdims=0)[0], 0)

    def argmin(self, x: Tensor) -> Tensor:
        """The column of the smallest number of each row, the first on a tie; a vector."""
        return Tensor(self.node("ArgMin", [x.name], axis=1, keepdims=0)[0], 0)

    def label_if(self, op: str, x: Tensor, threshold: float, *, yes: int = 1, no: int = 0) -> Tensor:
        """Label ``yes`` where the comparison of x [N, 1] with the threshold holds, else ``no``; a vector."""
        truth = self.flat(self.compare(op, x, np.float64(threshold)))
        if (yes, no) == (1, 0):
            return self.cast(truth, INT64)
        picked = self.node("Where", [truth.name, self.constant(yes, np.int64), self.constant(no, np.int64)])[0]
        return Tensor(picked, 0)

    def lookup(self, table: ArrayLike, label: Tensor) -> Tensor:
        """Label by label the entry of a constant table; a vector."""
        return Tensor(self.node("Gather", [self.constant(table, np.int64), label.name], axis=0)[0], 0)

    def rows_of(self, table: ArrayLike, label: Tensor) -> Tensor:
        """Label by label the row of a constant float64 table [k, m]; [N, m]."""
        rows = np.asarray(table, dtype=np.float64)
        return Tensor(self.node("Gather", [self.constant(rows), label.name], axis=0)[0], int(rows.shape[1]))

    def smallest(self, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k smallest numbers of each row, rising, and their columns (int64); the first column on a tie."""
        values, indices = self.node(
            "TopK", [x.name, self.constant([k], np.int64)], outputs=2, axis=1, largest=0, sorted=1
        )
        return Tensor(values, k), Tensor(indices, k)

    # The end

    def finish(self, outputs: Mapping[str, tuple[Tensor, int]]) -> bytes:
        """Gives the model's bytes.

        Args:
            outputs: Output name -> the tensor and its element type.
        """
        nodes = list(self._nodes)
        infos = []
        for name, (tensor, kind) in outputs.items():
            nodes.append(helper.make_node("Identity", [tensor.name], [name]))
            infos.append(helper.make_tensor_value_info(name, kind, ["N", tensor.width] if tensor.width else ["N"]))
        nodes = _without_identities(_needed(nodes, list(outputs)), set(outputs), INPUT)
        used = {name for node in nodes for name in node.input}
        door = DOUBLE if self.door == "float64" else FLOAT
        return serialise(
            helper.make_graph(
                nodes,
                "edgeml",
                [helper.make_tensor_value_info(INPUT, door, ["N", self.dense.width])],
                infos,
                [tensor for name, tensor in self._constants.items() if name in used],
            )
        )


def serialise(graph: onnx.GraphProto, *, opset: Mapping[str, int] = OPSET) -> bytes:
    """A graph as a model's bytes, with nothing in it that changes from run to run.

    Args:
        graph: The graph.
        opset: Domain -> version.
    """
    model = helper.make_model(
        graph,
        producer_name="edgeml",
        ir_version=IR_VERSION,
        opset_imports=[
            helper.make_opsetid(domain.removeprefix("ai.onnx") and domain, v) for domain, v in opset.items()
        ],
    )
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _is_small(attributes: Mapping[str, Any]) -> bool:
    return all(
        not isinstance(value, (list, onnx.TensorProto)) or len(repr(value)) < 64 for value in attributes.values()
    )


def _needed(nodes: Sequence[onnx.NodeProto], wanted: Sequence[str]) -> list[onnx.NodeProto]:
    """The nodes that the wanted names depend on, in order."""
    needed, kept = set(wanted), []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    return kept[::-1]


def _without_identities(nodes: Sequence[onnx.NodeProto], outputs: set[str], graph_input: str) -> list[onnx.NodeProto]:
    """Names a node's output directly as the graph's output, where only the Identity at the end stood between."""
    renamed: dict[str, str] = {}
    made = {name for node in nodes for name in node.output}
    kept = []
    for node in nodes:
        source = node.input[0] if node.input else ""
        if node.op_type == "Identity" and source in made and source not in renamed and node.output[0] in outputs:
            renamed[source] = node.output[0]
        else:
            kept.append(node)
    for node in kept:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = renamed.get(name, name)
    return kept
