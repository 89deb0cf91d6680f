"""A bundle of rules alone: they answer, and where none matches the declared fallback does and says why."""

import json

import numpy as np
import pytest

import edgeml
from edgeml.errors import BundleError
from edgeml.runtime.engine import Engine
from edgeml.serving import Limits, make_data_plane
from edgeml.serving.capturing import Capturing, Tap
from edgeml.serving.tensors import infer

CONFIG = {
    "format": 1,
    "name": "door",
    "version": "1.0",
    "task": "classification",
    "requires": {"edgeml": ">=0.1"},
    "schema": {"features": [{"name": "speed", "kind": "number", "unit": "m/s"}]},
    "outputs": {"labels": ["close", "open"], "decision": "label", "label_values": [0, 1]},
    "fallback": {"label": "close"},
    "tolerance": 1e-5,
}
RULES = [
    {"id": "parked", "when": "speed < 0.5", "then": {"label": "open", "score": 0.9}},
    {"id": "unsure", "when": "speed < 1", "then": "abstain"},
    {"id": "moving", "when": "speed > 2", "then": {"label": "close"}},
]
GOLDEN = [
    {"record": {"speed": 0.1}, "expected": {"tier": "rule", "label": "open"}},
    {"record": {"speed": 1.5}, "expected": {"tier": "fallback", "label": "close"}},
]


def tap(engine):
    """Where answers go when nobody captures."""
    return Tap(Capturing(), engine, str)


def bundle_of(config=CONFIG, **members):
    golden = "".join(json.dumps(row) + "\n" for row in GOLDEN).encode()
    rules = json.dumps({"rules": RULES}).encode()
    return edgeml.Bundle.create(config, {"rules.json": rules, "golden.jsonl": golden} | members)


def test_rules_answer_and_else_the_fallback(tmp_path):
    bundle_of().save(tmp_path / "door.edgeml")
    predictor = edgeml.load(tmp_path / "door.edgeml")
    speeds = [0.1, 0.7, 1.5, 3.0]
    said = [("rule", "open", None), ("fallback", "close", "no_model"), ("fallback", "close", "no_model")]
    said.append(("rule", "close", None))
    one_by_one = [predictor.predict({"speed": speed}) for speed in speeds]
    for answers in (
        one_by_one,
        list(predictor.predict_many([{"speed": speed} for speed in speeds])),
        list(predictor.predict_columns({"speed": np.array(speeds)})),
        [predictor.predict_json_record(json.dumps({"speed": speed}).encode()) for speed in speeds],
    ):
        assert [(answer.tier, answer.label, answer.reason) for answer in answers] == said
        assert [answer.degraded for answer in answers] == [False, True, True, False]
    assert predictor.golden_check().passed and predictor.golden_check().rows == 2


@pytest.mark.parametrize("at_once", [False, True])
def test_a_trial_counts_fallbacks_and_no_failures(at_once):
    engine = Engine(edgeml.Predictor.from_bundle(bundle_of()))
    records = [{"speed": speed} for speed in (0.1, 0.7, 1.5, 3.0)]
    if at_once:
        engine.predict_many(records)
    else:
        for record in records:
            engine.predict(record)
    counters = engine.counters()
    assert (counters["requests"], counters["fallbacks"]) == (4, 2)
    assert (counters["model_errors"], counters["invalid_outputs"], counters["labels"]) == (0, 0, {})


def test_it_is_served_like_any_other():
    engine = make_data_plane(bundle_of(), Limits()).engine()
    body = {"inputs": [{"name": "speed", "shape": [2], "datatype": "FP64", "data": [0.1, 1.5]}]}
    answer = json.loads(infer(engine, json.dumps(body).encode(), 10, tap(engine)))
    assert answer["parameters"]["tier"] == ["rule", "fallback"]
    assert answer["parameters"]["reason"] == [None, "no_model"]
    row = {"inputs": [{"name": "input", "shape": [1, 1], "datatype": "FP64", "data": [0.1]}]}
    assert json.loads(infer(engine, json.dumps(row).encode(), 10, tap(engine)))["outputs"][0]["data"] == ["open"]


def test_a_regression_of_rules_alone():
    config = CONFIG | {"task": "regression", "outputs": {"n_values": 1}, "fallback": {"value": 20.0}}
    rules = json.dumps({"rules": [{"id": "hot", "when": "speed > 9", "then": {"value": 99.0}}]}).encode()
    golden = b'{"record":{"speed":10.0},"expected":{"tier":"rule","value":99.0}}\n'
    engine = Engine(edgeml.Predictor.from_bundle(bundle_of(config, **{"rules.json": rules, "golden.jsonl": golden})))
    answers = engine.predict_many([{"speed": 10.0}, {"speed": 1.0}])
    assert [(answer.tier, answer.value) for answer in answers] == [("rule", 99.0), ("fallback", 20.0)]


@pytest.mark.parametrize(
    ("config", "members", "message"),
    [
        ({"fallback": {}}, {}, "fallback: label None is not one of the model's labels"),
        ({"outputs": {}}, {"rules.json": b'{"rules":[]}'}, "outputs: neither labels nor"),
        ({}, {"features.json": b"{}"}, "no member model.onnx"),
        ({}, {"kernel.json": b"{}"}, "no member model.onnx"),
        ({}, {"rules.json": b'{"rules":[{"when":"weight > 1","then":{"label":"open"}}]}'}, "rules.json.*weight"),
    ],
)
def test_what_does_not_fit_is_refused(config, members, message):
    with pytest.raises(BundleError, match=message):
        edgeml.Predictor.from_bundle(bundle_of(CONFIG | config, **members))


def test_a_config_that_leaves_parts_away_is_refused():
    for part in ("fallback", "outputs"):
        config = {name: value for name, value in CONFIG.items() if name != part}
        with pytest.raises(BundleError, match=f"config member {part}|rules.json"):
            edgeml.Predictor.from_bundle(bundle_of(config))
