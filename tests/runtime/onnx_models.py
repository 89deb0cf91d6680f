"""Small ONNX models, good and bad, and bundles around them."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edgeml.bundles import Bundle

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def info(name, kind=FLOAT, shape=("N", 2)):
    return helper.make_tensor_value_info(name, kind, shape)


def constant(name, value, dtype=np.int64):
    return numpy_helper.from_array(np.array(value, dtype=dtype), name)


def proto(nodes, constants=(), functions=(), domains=()):
    """A model with the input x [N, 2] and the output y."""
    graph = helper.make_graph(nodes, "graph", [info("x")], [info("y", shape=None)], list(constants))
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=list(functions))


def onnx_bytes(*args, **options):
    return proto(*args, **options).SerializeToString()


def relu():
    return onnx_bytes([helper.make_node("Relu", ["x"], ["y"], name="only")])


def body(op="Add"):
    """The body of a loop that never ends."""
    nodes = [helper.make_node("Identity", ["c"], ["c_out"]), helper.make_node(op, ["v", "v"], ["v_out"])]
    inputs = [info("i", INT64, []), info("c", BOOL, []), info("v")]
    return helper.make_graph(nodes, "body", inputs, [info("c_out", BOOL, []), info("v_out")])


def endless(op="Add"):
    loop = helper.make_node("Loop", ["", "true", "x"], ["y"], name="turn", body=body(op))
    return onnx_bytes([loop], [constant("true", True, bool)])


def nested(depth):
    """An If in an If in an If."""
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y0"])], "g", [], [info("y0")])
    for level in range(1, depth):
        node = helper.make_node("If", ["true"], [f"y{level}"], then_branch=graph, else_branch=graph)
        graph = helper.make_graph([node], "g", [], [info(f"y{level}")])
    return onnx_bytes(
        [helper.make_node("If", ["true"], ["y"], then_branch=graph, else_branch=graph)],
        [constant("true", True, bool)],
    )


def asking_for_32_gib():
    """Loads, and asks for the memory when it is run, as the size depends on the input."""
    nodes = [
        helper.make_node("Shape", ["x"], ["sizes"]),
        helper.make_node("Mul", ["sizes", "large"], ["larger"]),
        helper.make_node("ConstantOfShape", ["larger"], ["huge"]),
        helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    return onnx_bytes(nodes, [constant("large", [2**32, 1])])


def filling(count):
    """Fills 4 x count bytes, some of them more than once, while it is loaded."""
    value = numpy_helper.from_array(np.array([1.5], dtype=np.float32))
    nodes = [
        helper.make_node("ConstantOfShape", ["count"], ["many"], value=value),
        helper.make_node("ReduceSum", ["many"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    return onnx_bytes(nodes, [constant("count", [count])])


def bundle_of(model, *, session=None, golden=b"", **config):
    """A bundle of the task ``tensors`` with the input x and the output y."""
    tensor = {"datatype": "FP32", "shape": [-1, 2]}
    document = {
        "format": 1,
        "name": "tried",
        "version": "1",
        "task": "tensors",
        "requires": {"edgeml": ">=0.1"},
        "tolerance": 1e-5,
        "session": session or {},
        "schema": {"inputs": [{"name": "x", **tensor}], "outputs": [{"name": "y", **tensor}]},
    }
    members = {"model.onnx": model} | ({"golden.jsonl": golden} if golden else {})
    return Bundle.create(document | config, members)


GOLDEN = b'{"expected":{"y":[[0.0,2.0]]},"record":{"x":[[-1.0,2.0]]}}\n'
OTHER_GOLDEN = b'{"expected":{"y":[[0.0,3.0]]},"record":{"x":[[-1.0,2.0]]}}\n'
