"""The envelope of an infer request: its depth and its keys; and of an answer: who gave it, and why not the model."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sklearn.linear_model import LogisticRegression

import edgeml
from edgeml.errors import RequestError
from edgeml.runtime.engine import Engine
from edgeml.serving.capturing import Capturing, Tap
from edgeml.serving.infer_shape import check_keys, check_nesting
from edgeml.serving.tensors import infer

NUMBERS = np.random.default_rng(0).normal(size=(100, 2))


def tap(engine):
    """Where answers go when nobody captures."""
    return Tap(Capturing(), engine, str)


@pytest.fixture(scope="module")
def healthy():
    """A bundle with a rule for large x0."""
    y = np.where(NUMBERS[:, 0] > 0, "up", "down")
    return edgeml.build(
        LogisticRegression().fit(NUMBERS, y),
        NUMBERS,
        y,
        name="two",
        version="1",
        rules=[{"id": "far", "when": "x0 > 100", "then": {"label": "up"}}],
    )


@pytest.fixture(scope="module")
def broken(healthy):
    """The same with a model that divides by zero."""
    dense = helper.make_tensor_value_info("dense", TensorProto.DOUBLE, ["N", 2])
    scores = helper.make_tensor_value_info("scores", TensorProto.DOUBLE, ["N", 2])
    subtracted = helper.make_node("Sub", ["dense", "dense"], ["zero"])
    nodes = [subtracted, helper.make_node("Div", ["zero", "zero"], ["scores"])]
    graph = helper.make_graph(nodes, "nan", [dense], [scores])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    members = {name: data for name, data in healthy.members.items() if name[:6] not in ("kernel", "golden")}
    made = edgeml.Bundle.create(healthy.config, members | {"model.onnx": model.SerializeToString()})
    return Engine(edgeml.Predictor.from_bundle(made))


def asked(engine, *rows, **more):
    """The answer to rows, read as JSON."""
    tensor = {"name": "input", "shape": [len(rows), 2], "datatype": "FP64", "data": [x for row in rows for x in row]}
    return json.loads(infer(engine, json.dumps({"inputs": [tensor], **more}).encode(), 100, tap(engine)))


RULE, MODEL = [200.0, 0.0], [1.0, 1.0]
LABEL = {"outputs": [{"name": "label"}]}
NAN = "the model gave a non-finite score"


@pytest.mark.parametrize("more", [{}, LABEL], ids=["all", "label"])
@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([MODEL], {"tier": "fallback", "degraded": True, "reason": NAN}),
        ([RULE], {"tier": "rule", "degraded": False}),
        ([MODEL, MODEL], {"tier": "fallback", "degraded": True, "reason": NAN}),
        (
            [MODEL, RULE],
            {"tier": ["fallback", "rule"], "degraded": [True, False], "reason": [NAN, None]},
        ),
    ],
)
def test_a_fallback_is_marked_with_its_reason(broken, rows, said, more):
    for _ in range(2):  # the second of two equal requests takes the short way
        answer = asked(broken, *rows, **more)
        assert answer["parameters"] == {"bundle": broken.digest} | said
        assert [output["name"] for output in answer["outputs"]][:1] == ["label"]


@pytest.mark.parametrize("more", [{}, LABEL], ids=["all", "label"])
def test_the_tier_is_named_whatever_outputs_are_asked_for(healthy, more):
    engine = Engine(edgeml.Predictor.from_bundle(healthy))
    for rows, tier in (([MODEL], "model"), ([RULE], "rule"), ([MODEL, RULE], ["model", "rule"])):
        for _ in range(2):
            said = asked(engine, *rows, **more)["parameters"]
            assert said == {"bundle": healthy.digest, "tier": tier, "degraded": False}
    empty = {"inputs": [{"name": "input", "shape": [0, 2], "datatype": "FP64", "data": []}]}
    assert json.loads(infer(engine, json.dumps(empty).encode(), 9, tap(engine)))["parameters"]["tier"] == "model"


def refusal(engine, body):
    with pytest.raises(RequestError) as caught:
        infer(engine, body.encode(), 100, tap(engine))
    return caught.value.code, caught.value.field


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ('{"inputs":[],"inputs":[]}', "inputs"),
        ('{"id":"a","inputs":[],"id":"b"}', "id"),
        ('{"inputs":[{"name":"input","name":"x","shape":[1,2],"datatype":"FP64","data":[1,2]}]}', "name"),
        ('{"inputs":[{"name":"input","shape":[1,2],"datatype":"FP64","data":[1,2],"data":[3,4]}]}', "data"),
        ('{"inputs":[],"parameters":{"a":{"b":1,"b":2}}}', "b"),
        ('{"inputs":[],"unknown":[{"c":1,"c":2}]}', "c"),
        ('{"inputs":[],"outputs":[{"name":"label","name":"tier"}]}', "name"),
        (r'{"inputs":[],"i\u0064":"a","id":"b"}', "id"),
    ],
)
def test_a_key_that_stands_twice_is_refused(healthy, body, name):
    assert refusal(Engine(edgeml.Predictor.from_bundle(healthy)), body) == ("bad_envelope", name)


@pytest.mark.parametrize(
    "text", ["", "a:b", '":', "\\", "\\\\", '\\":{"a":1,"a":2}', "[[[[", "{}", "\u2028", "a\nb\t:"]
)
def test_colons_and_brackets_in_strings_are_no_keys(text):
    for document in ({"id": text, "inputs": []}, {"inputs": [{"data": [text, text]}], text: {text: [text]}}):
        for ascii_only in (True, False):
            body = json.dumps(document, ensure_ascii=ascii_only).encode()
            check_nesting(body)
            check_keys(body)


@pytest.mark.parametrize("opened", ["[", '{"a":'])
def test_depth_is_bounded_before_anything_is_read(healthy, opened):
    engine = Engine(edgeml.Predictor.from_bundle(healthy))
    closed = {"[": "]", '{"a":': "}"}[opened]
    deep = '{"inputs":[],"parameters":{"a":%s1%s}}'
    infer(engine, (deep % (opened * 14, closed * 14)).encode(), 100, tap(engine))
    assert refusal(engine, deep % (opened * 15, closed * 15)) == ("too_deep", "")
    assert refusal(engine, '{"inputs":' + opened * 100_000) == ("too_deep", "")


def test_data_may_be_nested_as_deep_as_a_tensor(healthy):
    engine = Engine(edgeml.Predictor.from_bundle(healthy))
    shape, data = [1, 1, 1, 1, 1, 1, 1, 2], [[[[[[[[1.0, 2.0]]]]]]]]
    body = json.dumps({"inputs": [{"name": "input", "shape": shape, "datatype": "FP64", "data": data}]})
    assert refusal(engine, body)[0] in ("bad_shape", "schema_violation", "bad_request")  # read, and then refused
