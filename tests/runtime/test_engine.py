"""The Engine: the Predictor's answers, and how long they took by tier."""

import json
from itertools import count

import numpy as np
import pytest
from supervisor import worsened_bundles

from edgeml.errors import ModelError, RequestError
from edgeml.runtime.engine import Engine
from edgeml.runtime.load import load, predictor_of
from edgeml.runtime.reader import Envelope

RECORD = {
    "bill_length_mm": 47.0,
    "bill_depth_mm": 18.5,
    "flipper_length_mm": 195.0,
    "body_mass_g": 3700,
    "island": "Biscoe",
    "sex": "male",
}
GENTOO = RECORD | {"bill_depth_mm": 15.0, "flipper_length_mm": 217.0}


@pytest.fixture
def engine(penguins_path):
    ticks = count(step=5_000_000)  # every look at the clock is 5 ms after the one before
    return Engine(load(penguins_path), clock=lambda: next(ticks))


def test_it_hands_on_the_predictors_answers(engine):
    predictor = engine.predictor
    assert (engine.name, engine.version, engine.digest) == ("penguins", "1.0.0", predictor.digest)
    assert engine.predict(RECORD) == predictor.predict(RECORD)
    assert engine.predict_json_record(json.dumps(RECORD).encode()) == predictor.predict(RECORD)
    assert list(engine.predict_many([RECORD, GENTOO])) == list(predictor.predict_many([RECORD, GENTOO]))
    _, answers = engine.predict_json(json.dumps({"records": [GENTOO]}).encode())
    assert list(answers) == [predictor.predict(GENTOO)]


def test_latency_is_observed_by_tier(engine):
    engine.predict(RECORD)
    engine.predict(GENTOO)
    engine.predict_many([RECORD, RECORD, GENTOO, RECORD])
    summary = engine.latency.summary()
    assert summary["model"]["count"] == 4
    assert summary["rule"]["count"] == 2
    assert summary.get("fallback", {"count": 0})["count"] == 0


def test_tensors_in_and_out(engine):
    columns = {name: np.array([RECORD[name], GENTOO[name]]) for name in RECORD}
    columns["island"] = np.array([["Biscoe"], ["Biscoe"]], dtype=object)
    outputs, parameters = engine.infer(columns)
    answers = engine.predict_many([RECORD, GENTOO])
    assert outputs["label"].tolist() == [answer.label for answer in answers]
    assert outputs["tier"].tolist() == ["model", "rule"]
    assert parameters == {"tier": ["model", "rule"], "degraded": False}
    assert outputs["scores"].shape == (2, 3) and np.isnan(outputs["scores"][1]).all()
    with pytest.raises(RequestError, match="'x': unknown_field"):
        engine.infer(columns | {"x": np.zeros(2)})
    with pytest.raises(RequestError, match="shape"):
        engine.infer(columns | {"sex": np.array([["male", "female"], ["male", "female"]], dtype=object)})


class Slow:
    """A predictor that takes a minute for whatever it is asked, by the engine's clock."""

    class reader:
        max_rows = 10_000

    def __init__(self):
        self.now = 0
        self.engine = Engine(self, clock=lambda: self.now)
        self.stuck_s = None

    def predict_many(self, _):
        self.now += 60 * 10**9
        self.stuck_s = self.engine.stuck_s()
        return []

    predict = predict_columns = predict_matrix = predict_many

    def predict_json(self, body):
        return Envelope(), self.predict_many(body)


@pytest.mark.parametrize(
    ("ask", "allowed_s"),
    [
        (lambda engine: engine.predict_many([RECORD] * 1000), 10.0),
        (lambda engine: engine.predict_matrix(np.zeros((2000, 3))), 20.0),
        (lambda engine: engine.predict_columns({"a": np.zeros(500), "b": np.zeros(3000)}), 30.0),
        (lambda engine: engine.predict_json(b" " * 64_000), 10.0),
        (lambda engine: engine.predict_json(b" " * 8_000_000), 60.0),  # a body of more rows than that is refused
        (lambda engine: engine.predict_many(iter([])), 0.01),
    ],
)
def test_a_batch_is_stuck_only_beyond_what_its_rows_may_take(ask, allowed_s):
    slow = Slow()
    ask(slow.engine)
    assert slow.stuck_s == pytest.approx(60.0 - allowed_s)
    assert slow.engine.stuck_s() == 0.0


class TestCounters:
    """What a trial is judged by."""

    def counted(self, engine):
        counters = engine.counters()
        names = ("requests", "model_errors", "invalid_outputs", "fallbacks", "labels")
        return tuple(counters[name] for name in names)

    @pytest.mark.parametrize("at_once", [False, True])
    def test_labels_are_the_models_alone(self, engine, at_once):
        """The drift reference, with which they are compared, has no others."""
        records = [RECORD, GENTOO, RECORD, GENTOO, GENTOO]
        answers = engine.predict_many(records) if at_once else [engine.predict(record) for record in records]
        assert [answer.tier for answer in answers] == ["model", "rule", "model", "rule", "rule"]
        assert self.counted(engine) == (5, 0, 0, 0, {answers[0].label: 2})

    def test_a_label_beside_scores_that_are_none_is_no_answer(self, penguins_bundle):
        engine = Engine(predictor_of(worsened_bundles.giving_nan(penguins_bundle, "2")))
        light, heavy = worsened_bundles.ADELIE, worsened_bundles.heavy(worsened_bundles.ADELIE)
        engine.predict_many([light, heavy, heavy])
        engine.predict(heavy)
        assert self.counted(engine) == (4, 0, 3, 3, {"Adelie": 1})

    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (ModelError("the node Gather failed"), (1, 1, 0, 0, {})),
            (ModelError("the model gave a non-finite number in output 'y'"), (1, 0, 1, 0, {})),
            (ValueError("cannot reshape an array"), (1, 1, 0, 0, {})),
            (RequestError("no such feature"), (0, 0, 0, 0, {})),
            (MemoryError(), (0, 0, 0, 0, {})),
            (OSError(24, "too many open files"), (0, 0, 0, 0, {})),
        ],
    )
    def test_a_question_that_nobody_answers_is_one_that_the_model_failed(self, error, expected):
        """Unless it was a bad question, or the box had no memory for it."""

        class Failing(Slow):
            golden = ()

            def predict(self, _):
                raise error

            golden_check = predict_many = predict_json_record = lambda self, _=None: self.predict(None)

        engine = Failing().engine
        with pytest.raises(type(error)):
            engine.predict_json_record(b"{}")
        assert self.counted(engine) == expected
        with pytest.raises(type(error)):
            engine.golden_check()  # counted on its own
        assert self.counted(engine) == expected and engine.stuck_s() == 0.0
