"""What is looked for in a model before ONNX Runtime gets its bytes: all that is refused, and every way to hide it."""

import numpy as np
import onnx.defs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, TensorProto, helper
from runtime.onnx_models import (
    FLOAT,
    body,
    bundle_of,
    constant,
    endless,
    nested,
    onnx_bytes,
    proto,
    relu,
)

from edgeml.errors import ModelError
from edgeml.runtime import onnx_scan
from edgeml.runtime.load import predictor_of
from edgeml.runtime.onnx_operators import CONTROL_FLOW, DENIED, ONNX, ONNX_ML
from edgeml.runtime.onnx_scan import scan
from edgeml.runtime.onnx_session import OnnxSession


def identity(*extra, **options):
    return onnx_bytes([helper.make_node("Identity", ["x"], ["y"]), *extra], **options)


def external(name="weights", location="weights.bin"):
    tensor = TensorProto(name=name, data_type=FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


# What is allowed


def test_a_plain_model_is_let_through():
    found = scan(relu())
    assert (found.nodes, found.operators) == (1, {("", "Relu")})
    assert not found.control_flow and not found.functions


def test_what_edgeml_builds_is_let_through(penguins_bundle):
    assert scan(penguins_bundle.members["model.onnx"]).nodes > 1


def test_a_converter_that_writes_a_scan_makes_a_bundle_that_consents():
    import edgeml

    sklearn = pytest.importorskip("sklearn.gaussian_process")
    rng = np.random.default_rng(0)
    import pandas as pd

    X = pd.DataFrame(rng.normal(size=(60, 2)), columns=["a", "b"])
    kernel = sklearn.kernels.Matern(length_scale=1.0, nu=1.5)
    fitted = sklearn.GaussianProcessRegressor(kernel, optimizer=None, alpha=0.1).fit(X, X["a"] + X["b"])
    bundle = edgeml.build(fitted, X, X["a"] + X["b"], name="gp", version="1")
    used = scan(bundle.members["model.onnx"], control_flow=True).control_flow
    assert bundle.config["session"] == ({"control_flow": True} if used else {})
    predictor_of(bundle, backend="c")


def test_every_operator_of_the_two_domains_has_been_looked_at():
    """A newer onnx may have more; none of ours may be misspelt."""
    known = {
        domain: {schema.name for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == domain}
        for domain in ("", "ai.onnx.ml")
    }
    if onnx.__version__.startswith("1.23."):
        assert known[""] == ONNX | CONTROL_FLOW | (set(DENIED) - {"EPContext"})
        assert known["ai.onnx.ml"] == ONNX_ML
    assert not ONNX & (CONTROL_FLOW | set(DENIED))


def test_operators_that_hold_graphs_are_control_flow():
    kinds = (onnx.defs.OpSchema.AttrType.GRAPH, onnx.defs.OpSchema.AttrType.GRAPHS)
    holding = {
        schema.name
        for schema in onnx.defs.get_all_schemas_with_history()
        if schema.domain == "" and any(attribute.type in kinds for attribute in schema.attributes.values())
    }
    assert holding <= CONTROL_FLOW


# Operators


@pytest.mark.parametrize(
    ("domain", "op", "said"),
    [
        ("com.example", "Anything", r"node 'bad': the operator 'Anything' is of the domain 'com\.example'"),
        ("com.microsoft", "FusedMatMul", "'FusedMatMul' is not an operator of com.microsoft"),
        ("com.microsoft", "EPContext", "EPContext is refused"),
        ("", "EPContext", "EPContext is refused"),
        ("", "Loops", "'Loops' is not an operator of ai.onnx"),
        ("ai.onnx", "Loop", "Loop may run for ever"),
        ("", "ImageDecoder", "ImageDecoder is refused"),
        ("ai.onnx.preview.training", "Adam", "is of the domain"),
        ("", "", "'' is not an operator"),
        ("", "x" * 5000, r"x\.\.\.' is not an operator"),
    ],
)
def test_an_operator_that_is_not_listed(domain, op, said):
    model = identity(helper.make_node(op, ["x"], ["z"], name="bad", domain=domain))
    with pytest.raises(ModelError, match=said) as caught:
        scan(model)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("op", sorted(CONTROL_FLOW))
def test_control_flow_asks_for_consent(op):
    model = identity(helper.make_node(op, ["x"], ["z"], body=body()))
    with pytest.raises(ModelError, match=r"session=\{\"control_flow\": true\}"):
        scan(model)
    assert scan(model, control_flow=True).control_flow


def test_the_session_is_asked_and_not_onnx_runtime():
    with pytest.raises(ModelError, match="Loop may run for ever"):
        OnnxSession.open(endless())
    assert OnnxSession.open(endless(), control_flow=True).inputs[0].name == "x"
    assert predictor_of(bundle_of(endless(), session={"control_flow": True})).session.backend == "c"
    with pytest.raises(ModelError, match="control_flow must be true or false"):
        OnnxSession.open(relu(), control_flow=1)


def test_operators_inside_a_loop_and_inside_graphs_of_an_attribute():
    with pytest.raises(ModelError, match="'Evil' is not an operator"):
        scan(endless("Evil"), control_flow=True)
    node = helper.make_node("Relu", ["x"], ["z"])
    node.attribute.append(helper.make_attribute("several", [body("Add"), body("Evil")]))
    with pytest.raises(ModelError, match="'Evil' is not an operator"):
        scan(identity(node), control_flow=True)


def test_depth_is_bounded():
    assert scan(nested(onnx_scan.MAX_DEPTH - 1), control_flow=True).control_flow
    with pytest.raises(ModelError, match="graphs more than 16 deep"):
        scan(nested(onnx_scan.MAX_DEPTH), control_flow=True)


def test_nodes_and_fields_are_bounded(monkeypatch):
    model = onnx_bytes([helper.make_node("Relu", ["x"], ["y"])] * 11)
    monkeypatch.setattr(onnx_scan, "MAX_NODES", 10)
    with pytest.raises(ModelError, match="more than 10 nodes"):
        scan(model)
    monkeypatch.setattr(onnx_scan, "MAX_NODES", 11)
    monkeypatch.setattr(onnx_scan, "MAX_FIELDS", 40)
    with pytest.raises(ModelError, match="more than 40 fields"):
        scan(model)


def test_the_numbers_of_a_forest_cost_one_field_a_run(monkeypatch):
    numbers = [0, 1, -1, 2**62, 300] * 20_000
    node = helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", nodes_treeids=numbers)
    node.attribute.append(helper.make_attribute("nodes_values", [1.5] * 100_000))
    monkeypatch.setattr(onnx_scan, "MAX_FIELDS", 100)
    assert scan(onnx_bytes([node])).nodes == 1


# Functions


def function(name, calls, domain="mine", called_domain="mine"):
    nodes = [helper.make_node(op, ["a"], ["b"], domain=called_domain) for op in calls]
    return helper.make_function(domain, name, ["a"], ["b"], nodes, [helper.make_opsetid("", 17)])


def calling(*functions, op="F0"):
    return onnx_bytes([helper.make_node(op, ["x"], ["y"], domain="mine")], functions=functions, domains=["mine"])


def test_functions_ask_for_consent_and_are_looked_through():
    good = calling(function("F0", ["Relu", "Relu"], called_domain=""))
    with pytest.raises(ModelError, match=r"defines the operator 'F0' itself.*session=\{\"functions\": true\}"):
        scan(good)
    found = scan(good, functions=True)
    assert found.functions and found.nodes == 3 and ("", "Relu") in found.operators
    with pytest.raises(ModelError, match="'Evil' is not an operator"):
        scan(calling(function("F0", ["Evil"], called_domain="")), functions=True)
    with pytest.raises(ModelError, match="Loop may run for ever"):
        scan(calling(function("F0", ["Loop"], called_domain="")), functions=True)


def test_a_function_may_not_take_the_name_of_a_standard_operator():
    with pytest.raises(ModelError, match="not its own"):
        scan(identity(functions=[function("Relu", [], domain="")]), functions=True)


def test_a_function_that_calls_itself_or_stands_twice():
    with pytest.raises(ModelError, match="calls itself"):
        scan(calling(function("F0", ["F1"]), function("F1", ["F0"])), functions=True)
    with pytest.raises(ModelError, match="a function twice"):
        scan(calling(function("F0", []), function("F0", [])), functions=True)


def test_functions_that_grow_when_they_are_written_out():
    """Twenty functions that each call the next eight times are 8 ** 20 nodes."""
    tower = [function(f"F{level}", [f"F{level + 1}"] * 8) for level in range(12)]
    with pytest.raises(ModelError, match="more than 100000 nodes"):
        scan(calling(*tower, function("F12", ["Relu"], called_domain="")), functions=True)
    chain = [function(f"F{level}", [f"F{level + 1}"]) for level in range(40)]
    with pytest.raises(ModelError, match="more than 16 deep"):
        scan(calling(*chain, function("F40", [])), functions=True)


# Data that is elsewhere


@pytest.mark.parametrize("location", ["weights.bin", "../../etc/passwd", "*/_ORT_MEM_ADDR_/*"])
def test_external_data_of_an_initializer(location):
    with pytest.raises(ModelError, match="tensor 'weights' is kept outside of the ONNX model.*single file"):
        scan(identity(constants=[external(location=location)]))


def test_external_data_wherever_a_tensor_can_be():
    node = helper.make_node("Constant", [], ["z"], name="kept")
    one = identity(node)
    for name in ("t", "tensors"):
        attribute = AttributeProto(name="value", type=AttributeProto.TENSOR)
        if name == "t":
            attribute.t.CopyFrom(external())
        else:
            attribute.tensors.append(external())
        del node.attribute[:]
        node.attribute.append(attribute)
        with pytest.raises(ModelError, match=r"tensor 'weights' of node 'kept' \('Constant'\)"):
            scan(identity(node))
    for part in ("values", "indices"):
        sparse = AttributeProto(name="sparse_value", type=AttributeProto.SPARSE_TENSOR)
        getattr(sparse.sparse_tensor, part).CopyFrom(external())
        del node.attribute[:]
        node.attribute.append(sparse)
        with pytest.raises(ModelError, match="external data"):
            scan(identity(node))
    model = proto([helper.make_node("Identity", ["x"], ["y"])])
    model.graph.sparse_initializer.add().values.CopyFrom(external())
    with pytest.raises(ModelError, match="external data"):
        scan(model.SerializeToString())
    graph = body()
    graph.initializer.append(external())
    with pytest.raises(ModelError, match="external data"):
        scan(identity(helper.make_node("Loop", ["x"], ["z"], body=graph)), control_flow=True)
    assert scan(one)


def test_half_of_the_marks_suffices():
    tensor = external()
    tensor.ClearField("data_location")
    with pytest.raises(ModelError, match="external data"):
        scan(identity(constants=[tensor]))
    tensor = external()
    del tensor.external_data[:]
    with pytest.raises(ModelError, match="external data"):
        scan(identity(constants=[tensor]))


def test_an_address_in_memory_is_found_where_nobody_expects_it():
    model = proto([helper.make_node("Identity", ["x"], ["y"])])
    model.doc_string = "*/_ORT_MEM_ADDR_/*"
    with pytest.raises(ModelError, match="addresses in memory"):
        scan(model.SerializeToString())


# Bytes that are read otherwise elsewhere


def framed(field, content):
    """A field of bytes, of at most 127 of them or in two bytes of length."""
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([size & 0x7F | 0x80, size >> 7])
    return bytes([field << 3 | 2]) + length + content


def with_node(node):
    return framed(7, framed(1, node))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (b"", "not an ONNX model"),
        (b"junk", "damaged|not an ONNX model"),
        (b"\x38\x01", "not an ONNX model"),
        (b"\x3a\x05\x00", "a field of 5 bytes where 1 are left"),
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "are left"),
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "a number that is too long"),
        (b"\x3b\x3c", "wire type 3"),
        (b"\x00\x00", "a field without a number"),
        (b"\x3a\x80", "does not end"),
        (b"\xff\xff\xff\xff\xff\xff\x01\x00", "too long"),
        (b"\x39\x00", "8 bytes where 1"),
        (with_node(b"\x22\x04Relu\x22\x04Loop"), "a name stands twice"),
        (with_node(framed(4, b"Relu") + framed(5, b"\x3d\x00\x00")), "4 bytes where 2"),
        (b"\x12\x0c\x00\x00ORTM" + b"\x00" * 8 + with_node(framed(4, b"Relu")), "own format"),
        (b"\xa2\x01\x00", "training graph"),
    ],
)
def test_bytes_that_are_no_model(model, said):
    with pytest.raises(ModelError, match=said):
        scan(model)


def test_a_second_graph_is_looked_through_as_protobuf_joins_them():
    with pytest.raises(ModelError, match="'Evil'"):
        scan(relu() + with_node(framed(4, b"Evil")))


def test_a_place_outside_in_more_than_32_bits():
    """Protobuf cuts the number to 32 bits and reads EXTERNAL."""
    tensor = framed(8, b"w") + b"\x70\x81\x80\x80\x80\x10"
    with pytest.raises(ModelError, match="external data"):
        scan(framed(7, framed(5, tensor)))


MODELS = (
    relu(),
    endless(),
    nested(3),
    calling(function("F0", ["Relu"], called_domain="")),
    identity(constants=[constant("c", [1, 2, 3])]),
    onnx_bytes([helper.make_node("LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml", keys_floats=[1.0, 2.0])]),
)


def harmless(model):
    for consent in (False, True):
        try:
            scan(model, control_flow=consent, functions=consent)
        except ModelError as error:
            assert str(error)


@given(st.binary(max_size=400))
@settings(max_examples=150)
def test_random_bytes_are_refused_or_let_through_and_nothing_else(data):
    harmless(data)
    harmless(with_node(data[:100]))
    harmless(framed(7, framed(5, data[:100])))


@given(st.data())
@settings(max_examples=250)
def test_damaged_models_are_refused_or_let_through_and_nothing_else(data):
    model = bytearray(data.draw(st.sampled_from(MODELS)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(model) - 1))
        how = data.draw(st.sampled_from(["flip", "cut", "insert", "repeat"]))
        if how == "flip":
            model[at] ^= 1 << data.draw(st.integers(0, 7))
        elif how == "cut":
            del model[at : at + data.draw(st.integers(1, 9))]
        elif how == "insert":
            model[at:at] = data.draw(st.binary(min_size=1, max_size=9))
        else:
            model[at:at] = model[at : at + data.draw(st.integers(1, 60))]
        if not model:
            break
    harmless(bytes(model))


@given(st.data())
@settings(max_examples=150)
def test_no_damage_makes_protobuf_see_a_forbidden_operator_that_the_scan_did_not(data):
    """The property that the scan is for: whatever it lets through, ONNX's own reader finds nothing else in it."""
    model = bytearray(data.draw(st.sampled_from(MODELS)))
    for _ in range(data.draw(st.integers(0, 3))):
        model[data.draw(st.integers(0, len(model) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = scan(bytes(model), control_flow=True, functions=True)
    except ModelError:
        return
    try:
        read = onnx.load_model_from_string(bytes(model))
    except Exception:  # protobuf is stricter about texts
        return
    own = {(item.domain, item.name) for item in read.functions}
    used = set()

    def look(nodes):
        for node in nodes:
            if (node.domain, node.op_type) not in own:
                used.add(("" if node.domain == "ai.onnx" else node.domain, node.op_type))
            for attribute in node.attribute:
                for graph in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                    look(graph.node)

    look(read.graph.node)
    for item in read.functions:
        look(item.node)
    assert used == found.operators
