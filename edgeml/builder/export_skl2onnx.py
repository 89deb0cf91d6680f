"""What our own writers do not know, by skl2onnx: converted as a whole, then made to fit the contract.

1. Outputs are renamed to ``scores``, ``label``, ``value``; all others and the nodes behind them are dropped.
2. Labels become positions in ``classes_`` inside the graph, so no text leaves it.
3. Names, order and metadata are written anew from the graph's structure: the same estimator gives the same bytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType

from edgeml.builder.onnx_graph import BOOL, DOUBLE, FLOAT, INPUT, INT64, OPSET, serialise
from edgeml.errors import ModelError, RuntimeMissingError, UnsupportedError
from edgeml.runtime.onnx_session import OnnxSession

RESERVED = ("scores", "label", "value")
# ONNX Runtime's own operators, such as the one that cuts texts into words.
EXTRA_DOMAIN = "com.microsoft"


@dataclass(frozen=True)
class Conversion:
    """What skl2onnx made of an estimator.

    Attributes:
        model: The ONNX file's bytes.
        has_scores: Whether there is a ``scores`` output with probabilities.
        width: Columns of the ``value`` output.
    """

    model: bytes
    has_scores: bool = False
    width: int = 1


def converted(estimator: Any, task: str, n_inputs: int, door: str, strings: Sequence[str]) -> Conversion:
    """Converts a fitted estimator.

    Args:
        estimator: The estimator.
        task: ``classification``, ``regression``, ``outlier`` or ``clustering``.
        n_inputs: Columns of ``dense``.
        door: Type of ``dense``.
        strings: Names of the string inputs.

    Raises:
        UnsupportedError: skl2onnx cannot take it, or its graph does not fit the contract.
    """
    taken = sorted({*strings} & {INPUT, *RESERVED})
    if taken:
        raise UnsupportedError(
            f"the string feature {taken[0]!r} has a name that the model needs for itself; rename the column",
            step=type(estimator).__name__,
        )
    number = DoubleTensorType if door == "float64" else FloatTensorType
    inputs = [(INPUT, number([None, n_inputs]))] if n_inputs else []
    inputs += [(name, StringTensorType([None, 1])) for name in strings]
    options = {id(estimator): {"zipmap": False}} if task == "classification" else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = convert_sklearn(
                estimator,
                initial_types=inputs,
                target_opset={"": OPSET["ai.onnx"], "ai.onnx.ml": OPSET["ai.onnx.ml"]},
                options=options,
            )
    except Exception as error:  # skl2onnx raises whatever its converters happen to raise
        raise UnsupportedError(_first_line(error), step=type(estimator).__name__) from error
    return _fitted(model.graph, estimator, task)


def _fitted(graph: onnx.GraphProto, estimator: Any, task: str) -> Conversion:
    # skl2onnx may use our outputs' names for tensors of its own.
    freed = {name: f"skl2onnx_{name}" for name in RESERVED}
    given = {freed.get(output.name, output.name): output for output in graph.output}
    nodes = list(graph.node)
    for node in nodes:
        if node.op_type == "StringNormalizer":
            _set_locale(node)
        node.input[:] = [freed.get(name, name) for name in node.input]
        node.output[:] = [freed.get(name, name) for name in node.output]
    infos = []
    has_scores, width = False, 1
    if task == "regression":
        name, info = next(iter(given.items()))
        width = _width(info)
        infos.append(_output(nodes, name, "value", info.type.tensor_type.elem_type, width if width > 1 else 0, width))
    else:
        label = next((name for name in given if name.endswith("label") or name.startswith("label")), None)
        if label is None:
            raise UnsupportedError("the graph has no label", step=type(estimator).__name__)
        source = label
        if task == "classification":
            source = _positions(nodes, label, given[label].type.tensor_type.elem_type, np.asarray(estimator.classes_))
            scores = given.get("probabilities")
            has_scores = hasattr(estimator, "predict_proba") and scores is not None
            if has_scores and scores is not None:
                kind = scores.type.tensor_type.elem_type
                infos.append(_output(nodes, "probabilities", "scores", kind, len(estimator.classes_), 0))
        infos.append(_output(nodes, source, "label", INT64, 0, 1))
    ordered = _canonical(nodes, graph, [info.name for info in infos])
    made = helper.make_graph(ordered.nodes, "edgeml", list(graph.input), infos, ordered.constants)
    opset = OPSET | ({EXTRA_DOMAIN: 1} if any(node.domain == EXTRA_DOMAIN for node in ordered.nodes) else {})
    data = serialise(made, opset=opset)
    try:
        OnnxSession.open(data, control_flow=True)
    except RuntimeMissingError:
        pass  # whoever asks the model next says so, where nothing else can answer for it
    except ModelError as error:
        # Some converters mix float32 and float64.
        reason = f"ONNX Runtime refuses its graph: {_first_line(error)}"
        raise UnsupportedError(reason, step=type(estimator).__name__) from error
    return Conversion(data, has_scores, width)


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _set_locale(node: onnx.NodeProto) -> None:
    """Lower case as every Linux box knows it; the default locale, American English, is not always installed."""
    kept = [attribute for attribute in node.attribute if attribute.name != "locale"]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("locale", "C.UTF-8")])


def _width(info: onnx.ValueInfoProto) -> int:
    dims = info.type.tensor_type.shape.dim
    return int(dims[1].dim_value) if len(dims) > 1 and dims[1].dim_value else 1


def _output(
    nodes: list[onnx.NodeProto], source: str, name: str, kind: int, width: int, flatten: int
) -> onnx.ValueInfoProto:
    """Names a tensor as an output; ``flatten`` = 1 makes a vector of it."""
    shape = "edgeml_shape_" + name
    target = [-1] if flatten == 1 else [-1, width]
    nodes.append(helper.make_node("Constant", [], [shape], value_ints=target))
    nodes.append(helper.make_node("Reshape", [source, shape], [name]))
    return helper.make_tensor_value_info(name, kind, ["N", width] if flatten != 1 and width else ["N"])


def _positions(nodes: list[onnx.NodeProto], label: str, kind: int, classes: Any) -> str:
    """The label as its position in ``classes``."""
    positions = list(range(len(classes)))
    source = label
    if classes.dtype.kind in "OU" and all(isinstance(value, str) for value in classes.tolist()):
        keys: dict[str, Any] = {"keys_strings": classes.tolist()}
    elif classes.dtype.kind in "iub" or (classes.dtype.kind == "f" and np.all(classes == np.floor(classes))):
        keys = {"keys_int64s": [int(value) for value in classes]}
        if kind in (BOOL, FLOAT, DOUBLE):
            source = "edgeml_label_int64"
            nodes.append(helper.make_node("Cast", [label], [source], to=INT64))
    else:
        raise UnsupportedError("labels that are neither texts nor whole numbers", step="")
    nodes.append(
        helper.make_node(
            "LabelEncoder",
            [source],
            ["edgeml_label"],
            domain="ai.onnx.ml",
            values_int64s=positions,
            default_int64=-1,
            **keys,
        )
    )
    return "edgeml_label"


@dataclass(frozen=True)
class _Ordered:
    nodes: list[onnx.NodeProto]
    constants: list[onnx.TensorProto]


def _canonical(nodes: Sequence[onnx.NodeProto], graph: onnx.GraphProto, outputs: Sequence[str]) -> _Ordered:
    """The nodes that the outputs need, in the order in which they are reached, under new names."""
    maker = {name: node for node in nodes for name in node.output if name}
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    kept: list[onnx.NodeProto] = []
    done: set[int] = set()
    for output in outputs:
        stack: list[tuple[onnx.NodeProto, bool]] = [(maker[output], False)]
        while stack:
            node, ready = stack.pop()
            if id(node) in done:
                continue
            if ready:
                done.add(id(node))
                kept.append(node)
                continue
            stack.append((node, True))
            stack += [(maker[name], False) for name in reversed(node.input) if name in maker]
    names = {info.name: info.name for info in graph.input} | {name: name for name in outputs} | {"": ""}
    constants: list[onnx.TensorProto] = []
    for node in kept:
        for name in _asked(node):
            if name in initializers and name not in names:
                names[name] = f"c{len(constants)}"
                constants.append(initializers[name])
        for name in node.output:
            names.setdefault(name, f"n{len(names)}")
    for tensor in constants:
        tensor.name = names[tensor.name]
        tensor.doc_string = ""
    for node in kept:
        _rename(node, names)
    return _Ordered(kept, constants)


def _asked(node: onnx.NodeProto) -> list[str]:
    """All names that a node takes in, the graphs inside it too."""
    names = list(node.input)
    for attribute in node.attribute:
        for inner in attribute.g.node:
            names += _asked(inner)
    return names


def _rename(node: onnx.NodeProto, names: dict[str, str], depth: int = 0) -> None:
    """Gives a node the new names; a graph inside it gets names of its own and keeps those from outside."""
    node.name, node.doc_string = "", ""
    node.input[:] = [names[name] for name in node.input]
    node.output[:] = [names[name] for name in node.output]
    node.attribute.sort(key=lambda attribute: attribute.name)
    for attribute in node.attribute:
        if attribute.type != onnx.AttributeProto.GRAPH:
            continue
        body = attribute.g
        made = [info.name for info in body.input] + [tensor.name for tensor in body.initializer]
        made += [name for inner in body.node for name in inner.output if name]
        inside = names | {name: f"b{depth}_{number}" for number, name in enumerate(made)}
        body.name, body.doc_string = "body", ""
        for named in (*body.input, *body.output, *body.initializer):
            named.name, named.doc_string = inside[named.name], ""
        del body.value_info[:]
        for inner in body.node:
            _rename(inner, inside, depth + 1)
