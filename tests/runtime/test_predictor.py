"""The Predictor: tiers in their order, one record and a batch alike, fallback when the model gives nothing usable."""

import json
import threading
from collections.abc import Sequence

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgeml.bundles import Bundle
from edgeml.errors import BundleError, SchemaError
from edgeml.runtime.prediction import Prediction
from edgeml.runtime.predictor import Predictor

GENTOO = {
    "bill_length_mm": 47.0,
    "bill_depth_mm": 15.0,
    "flipper_length_mm": 217.0,
    "body_mass_g": 5000,
    "island": "Biscoe",
    "sex": "male",
}
UNCLEAR = GENTOO | {"bill_depth_mm": 18.5, "flipper_length_mm": 195.0, "body_mass_g": 3700}


@pytest.fixture(scope="module", params=["native", "c", "python"])
def predictor(request, penguins_bundle):
    return Predictor.from_bundle(penguins_bundle, backend=request.param)


def with_model(bundle: Bundle, model: onnx.ModelProto) -> Predictor:
    members = {name: data for name, data in bundle.members.items() if not name.startswith("kernel.")}
    return Predictor.from_bundle(Bundle.create(bundle.config, members | {"model.onnx": model.SerializeToString()}))


def failing_model(bundle: Bundle, *, scores: str) -> onnx.ModelProto:
    """A model of the bundle's shape that gives NaN, or fails at run time for every input."""
    genuine = onnx.load_model_from_string(bundle.members["model.onnx"])
    width = genuine.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    kind = genuine.graph.input[0].type.tensor_type.elem_type
    dense = helper.make_tensor_value_info("dense", kind, ["N", width])
    outputs = [
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 3]),
        helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]),
    ]
    weights = helper.make_tensor("w", kind, [width, 3], [0.0] * (3 * width))
    nodes = [
        helper.make_node("MatMul", ["dense", "w"], ["zero"]),
        helper.make_node("Cast", ["zero"], ["z"], to=1),
        helper.make_node("ArgMax", ["z"], ["label"], axis=1, keepdims=0),
    ]
    if scores == "nan":
        nodes.append(helper.make_node("Div", ["z", "z"], ["scores"]))
        initializers = [weights]
    else:
        # An index far outside the range is refused only when the node runs.
        initializers = [weights, helper.make_tensor("i", TensorProto.INT64, [3], [10**6] * 3)]
        nodes.append(helper.make_node("Gather", ["z", "i"], ["scores"], axis=1))
    graph = helper.make_graph(nodes, "failing", [dense], outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def same(one: Prediction, other: Prediction) -> bool:
    """Equal but for the last digits of a score: for several rows the runtime takes other vector instructions."""
    if one.scores is None or other.scores is None:
        return one == other
    close = one.scores.keys() == other.scores.keys() and all(
        abs(score - other.scores[name]) <= 1e-12 for name, score in one.scores.items()
    )
    return close and msgspec.structs.replace(one, scores=None) == msgspec.structs.replace(other, scores=None)


def all_same(some: Sequence[Prediction], others: Sequence[Prediction]) -> bool:
    return len(some) == len(others) and all(map(same, some, others))


def test_a_rule_answers_before_the_model(predictor):
    answer = predictor.predict(GENTOO)
    assert (answer.tier, answer.rule, answer.label) == ("rule", "gentoo-shallow-bill", "Gentoo")
    assert answer.bundle == predictor.digest and answer.version == "1.0.0" and not answer.degraded


def test_the_model_answers_the_rest(predictor):
    answer = predictor.predict(UNCLEAR)
    assert answer.tier == "model" and answer.rule is None
    assert answer.label == max(answer.scores, key=answer.scores.get)
    assert set(answer.scores) == {"Adelie", "Chinstrap", "Gentoo"}
    assert sum(answer.scores.values()) == pytest.approx(1, abs=1e-5)


def test_labels_and_scores_are_scikit_learns(predictor, penguins):
    X = penguins["held_out"][0]
    answers = predictor.predict_many(X)
    expected = penguins["pipeline"].predict(X)
    scores = penguins["pipeline"].predict_proba(X)
    classes = list(penguins["pipeline"].classes_)
    asked = [row for row, answer in enumerate(answers) if answer.tier == "model"]
    assert 5 < len(asked) < len(answers)
    for row in asked:
        assert answers[row].label == expected[row]
        assert [answers[row].scores[name] for name in classes] == pytest.approx(scores[row].tolist(), abs=1e-5)


def test_one_record_and_a_batch_are_the_same(predictor, penguins):
    X = penguins["held_out"][0]
    records = [{name: None if value != value else value for name, value in row.items()} for row in X.to_dict("records")]
    batch = predictor.predict_many(records)
    assert all_same([predictor.predict(record) for record in records], batch)
    assert list(predictor.predict_many(X)) == list(batch)
    assert batch[-1] == batch[len(batch) - 1]
    assert batch[:3] == [batch[0], batch[1], batch[2]]
    with pytest.raises(IndexError):
        batch[len(batch)]
    with pytest.raises(IndexError):
        batch[-len(batch) - 1]


def test_json_and_dict_are_the_same(predictor):
    for record in (GENTOO, UNCLEAR, UNCLEAR | {"sex": None}, UNCLEAR | {"body_mass_g": None}):
        assert predictor.predict_json_record(json.dumps(record).encode()) == predictor.predict(record)
        envelope, answers = predictor.predict_json(json.dumps({"records": [record, record], "id": "a"}).encode())
        assert envelope.id == "a"
        assert all_same(answers, [predictor.predict(record)] * 2)


def test_no_records_give_no_answers(predictor):
    assert len(predictor.predict_many([])) == 0


def test_a_batch_larger_than_a_block(predictor):
    answers = predictor.predict_columns(
        {name: [UNCLEAR[name], GENTOO[name]] * 4500 for name in UNCLEAR}  # 9,000 rows: three blocks
    )
    one, other = predictor.predict(UNCLEAR), predictor.predict(GENTOO)
    assert len(answers) == 9000
    assert all_same([answers[0], answers[8998], answers[1], answers[8999]], [one, one, other, other])
    assert np.array_equal(answers.tiers, [1, 0] * 4500)


def test_threads_share_one_predictor(predictor, penguins):
    X = penguins["held_out"][0]
    records = [{name: None if value != value else value for name, value in row.items()} for row in X.to_dict("records")]
    expected = list(predictor.predict_many(records))
    wrong = []

    def ask() -> None:
        for record, answer in zip(records, expected, strict=True):
            if not same(predictor.predict(record), answer):
                wrong.append(record)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_record_that_breaks_the_schema_is_refused_and_the_next_one_answered(predictor):
    with pytest.raises(SchemaError, match="bill_depth_mm") as refusal:
        predictor.predict(GENTOO | {"bill_depth_mm": "deep"})
    assert refusal.value.violations[0].code == "wrong_type"
    with pytest.raises(SchemaError, match="beak"):
        predictor.predict(GENTOO | {"beak": 1})
    with pytest.raises(SchemaError, match="above_max"):
        predictor.predict(GENTOO | {"body_mass_g": 10**6})
    assert predictor.predict(GENTOO).label == "Gentoo"


@pytest.mark.parametrize("scores", ["nan", "error"])
def test_the_fallback_answers_when_the_model_cannot(penguins_bundle, scores):
    predictor = with_model(penguins_bundle, failing_model(penguins_bundle, scores=scores))
    answer = predictor.predict(UNCLEAR)
    assert answer.tier == "fallback" and answer.degraded and answer.label == "Adelie"
    assert "non-finite" in answer.reason if scores == "nan" else answer.reason
    assert sum(answer.scores.values()) == pytest.approx(1)
    assert predictor.predict(GENTOO).tier == "rule"
    batch = predictor.predict_many([UNCLEAR, GENTOO, UNCLEAR])
    assert [one.tier for one in batch] == ["fallback", "rule", "fallback"]
    assert batch[0].label == "Adelie" and batch[0].degraded and batch[0].reason


def test_golden_rows_pass_here_and_notice_another_model(predictor, penguins_bundle):
    report = predictor.golden_check()
    assert report.passed and report.rows >= 20 and report.max_difference <= 1e-6
    broken = with_model(penguins_bundle, failing_model(penguins_bundle, scores="nan"))
    assert not broken.golden_check().passed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ["Adelie"]}, "label"),
        ({"decision": "guess"}, "decision must be argmax or label"),
        ({"labels": None, "n_values": None}, "rules.json.*number"),
        ({"decision": "argmax", "scores": None}, "argmax needs scores"),
        ({"more": 1}, "outputs"),
    ],
)
def test_a_config_that_contradicts_itself_is_refused(penguins_bundle, change, message):
    config = dict(penguins_bundle.config) | {"outputs": penguins_bundle.config["outputs"] | change}
    with pytest.raises(BundleError, match=message):
        Predictor.from_bundle(Bundle.create(config, dict(penguins_bundle.members)))


@pytest.mark.parametrize("fallback", [{"label": "Emperor"}, {}, {"label": "Adelie", "mood": 1}])
def test_a_fallback_that_does_not_fit_is_refused(penguins_bundle, fallback):
    config = dict(penguins_bundle.config) | {"fallback": fallback}
    with pytest.raises(BundleError, match="fallback"):
        Predictor.from_bundle(Bundle.create(config, dict(penguins_bundle.members)))


@pytest.mark.parametrize("name", ["features.json", "features.npy", "kernel.npy", "model.onnx"])
def test_a_missing_member_is_named(penguins_bundle, name):
    members = {key: value for key, value in penguins_bundle.members.items() if key != name}
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        Predictor.from_bundle(Bundle.create(penguins_bundle.config, members))
