"""Audits: what rules have answered is put to the model too, beside the requests, and nothing else changes."""

import json
import threading
import time

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from supervisor.running_store import until

import edgeml.runtime.auditor as auditing
from edgeml.builder import build
from edgeml.runtime.answer_quality import AnswerQuality
from edgeml.runtime.auditor import Auditor
from edgeml.runtime.engine import Engine
from edgeml.runtime.load import predictor_of, predictor_without_model
from edgeml.runtime.prediction import Prediction

RNG = np.random.default_rng(4)
X = pd.DataFrame({"x": RNG.uniform(-1, 1, 400), "z": RNG.uniform(-1, 1, 400)})
SIGN = np.where(X["x"] > 0, "plus", "minus")
RULES = [
    {"id": "right", "when": "x > 0.5", "then": {"label": "plus"}},
    {"id": "wrong", "when": "x < -0.5", "then": {"label": "plus"}},
    {"id": "silent", "when": "z > 0.99", "then": "abstain"},
]
# Where each rule answers, and where none does.
RIGHT, WRONG, NEITHER = {"x": 0.8, "z": 0.0}, {"x": -0.8, "z": 0.0}, {"x": 0.2, "z": 0.0}


@pytest.fixture(scope="module")
def signs():
    return build(LogisticRegression(C=100).fit(X, SIGN), X, SIGN, name="signs", version="1", rules=RULES)


@pytest.fixture(scope="module")
def meters():
    y = 3 * X["x"] + RNG.normal(0, 0.1, 400)
    rules = [{"when": "x > 0.9", "then": {"value": 2.85}}, {"when": "x < -0.9", "then": {"value": 1.0}}]
    return build(LinearRegression().fit(X, y), X, y, name="meters", version="1", rules=rules, held_out=(X, y))


@pytest.fixture
def auditor():
    made = Auditor()
    yield made
    made.end()


def watched(bundle, auditor, *, share=1.0, cpu_share=1.0):
    predictor = predictor_of(bundle)
    engine = Engine(predictor, quality=AnswerQuality.of(predictor, bundle))
    auditor.follow(share, cpu_share)
    auditor.watch([engine])
    return engine


def counted(engine):
    """What audits said, once all that was drawn is dealt with."""
    drawn = sum(engine.quality.counters.counts()["rules"])

    def done():
        found = engine.watched()["audit"]
        told = sum(n for n, _ in found["tiers"].values()) + found["dropped"] + found["failed"]
        return found if told >= drawn else None

    return until(done, why=f"{drawn} audits")


def body(*records):
    return json.dumps({"records": list(records)}).encode()


ASKED = {
    "a record": lambda engine, given: [engine.predict(each) for each in given],
    "a line": lambda engine, given: [engine.predict_json_record(json.dumps(each).encode()) for each in given],
    "a body": lambda engine, given: engine.predict_json(body(*given)),
    "a body of one": lambda engine, given: [engine.predict_json(body(each)) for each in given],
    "a row": lambda engine, given: [engine.predict_row(np.array([list(each.values())])) for each in given],
    "numbers": lambda engine, given: [
        engine.predict_json_row(json.dumps(list(each.values())).encode(), single=single)
        for each, single in zip(given, [True, False] * len(given), strict=False)
    ],
    "records": lambda engine, given: engine.predict_many(given),
    "a table": lambda engine, given: engine.predict_many(pd.DataFrame(given)),
    "a matrix": lambda engine, given: engine.predict_many(np.array([list(each.values()) for each in given])),
    "columns": lambda engine, given: engine.predict_columns({name: [each[name] for each in given] for name in "xz"}),
    "tensors": lambda engine, given: engine.infer({name: np.array([each[name] for each in given]) for name in "xz"}),
}


@pytest.mark.parametrize("way", ASKED)
def test_however_it_is_asked_the_model_is_asked_about_the_same_record(signs, auditor, way):
    engine = watched(signs, auditor)
    ASKED[way](engine, [NEITHER, RIGHT, WRONG, WRONG, NEITHER, RIGHT, RIGHT])
    found = counted(engine)
    assert found == {"tiers": {"rule": [5, 3]}, "rules": {"0": [3, 3], "1": [2, 0]}, "dropped": 0, "failed": 0}
    assert engine.predictor.predict(WRONG).label == "plus"  # nobody's answer is another one for it


def test_records_of_a_body_that_were_refused_do_not_move_the_others(signs, auditor):
    engine = watched(signs, auditor)
    asked = {"records": [{"x": "a lot", "z": 0}, WRONG, {"z": 1}, RIGHT, NEITHER, WRONG], "partial": True}
    engine.predict_json(json.dumps(asked).encode())
    assert counted(engine)["rules"] == {"0": [1, 1], "1": [2, 0]}


def test_what_a_caller_does_with_his_arrays_afterwards_changes_nothing(signs, auditor):
    engine = watched(signs, auditor)
    matrix, record = np.array([[0.8, 0.0], [-0.8, 0.0]]), dict(RIGHT)
    engine.predict_matrix(matrix)
    matrix[:] = 0.0
    row = np.array([[-0.8, 0.0]])
    engine.predict_row(row)
    row[:] = 0.8
    engine.predict(record)
    record["x"] = -0.8
    assert counted(engine)["rules"] == {"0": [2, 2], "1": [2, 0]}


def test_numbers_agree_where_the_model_is_no_farther_off_than_it_usually_is(meters, auditor):
    engine = watched(meters, auditor)
    assert 0.05 < engine.audits.tolerance < 0.2
    for x in (0.95, 0.96, -0.95):
        engine.predict({"x": x, "z": 0.0})
    assert counted(engine)["rules"] == {"0": [2, 2], "1": [1, 0]}
    auditor.follow(1.0, 1.0, tolerance=10.0)
    engine.predict({"x": -0.95, "z": 0.0})
    assert counted(engine)["rules"]["1"] == [2, 1]


def test_a_share_is_drawn(signs, auditor):
    engine = watched(signs, auditor, share=0.1)
    for _ in range(40):
        engine.predict_matrix(np.full((50, 2), 0.8))
        until(lambda: not auditor._queue)
    found = until(lambda: (now := engine.watched()["audit"])["tiers"] and now)
    drawn = found["tiers"]["rule"][0] + found["dropped"]
    assert 120 <= drawn <= 290  # of 2,000: 200, give or take 6 standard deviations


def test_nothing_is_drawn_where_nothing_is_to_be_audited(signs, auditor):
    engine = watched(signs, auditor, share=0.0)
    assert engine.sampler is None and auditor._thread is None
    without_rules = build(LogisticRegression().fit(X, SIGN), X, SIGN, name="bare", version="1")
    alone = Engine(predictor_without_model(signs, "left out"))
    for engine in (Engine(predictor_of(without_rules)), alone):
        auditor.watch([engine])
        auditor.follow(1.0)
        assert engine.sampler is None and auditor._thread is None


class Stopped:
    """An audit that does not come to its end until it may."""

    def __init__(self, engine):
        self.began, self.go_on = threading.Event(), threading.Event()
        self.check = engine.audits.check
        engine.audits.check = self.wait

    def wait(self, *given):
        self.began.set()
        assert self.go_on.wait(60)
        return self.check(*given)


def test_the_queue_is_bounded_and_what_does_not_fit_is_counted(signs, auditor):
    engine = watched(signs, auditor)
    stopped = Stopped(engine)
    engine.predict(RIGHT)
    assert stopped.began.wait(60)
    for _ in range(auditing.QUEUED_RECORDS + 50):
        assert engine.predict(RIGHT).rule == "right"
    assert engine.watched()["audit"]["dropped"] == 50
    engine.predict_many([RIGHT] * 1000)
    assert engine.watched()["audit"]["dropped"] == 1050
    stopped.go_on.set()
    assert counted(engine)["tiers"]["rule"] == [auditing.QUEUED_RECORDS + 1] * 2


@pytest.mark.parametrize("way", [Engine.predict_many, lambda engine, given: engine.predict_json(body(*given))])
def test_of_a_batch_that_is_larger_than_the_queue_as_many_are_audited_as_fit(signs, auditor, way):
    engine = watched(signs, auditor)
    way(engine, [RIGHT, WRONG] * auditing.QUEUED_RECORDS)
    found = counted(engine)
    assert found["tiers"]["rule"][0] == found["dropped"] == auditing.QUEUED_RECORDS and not found["failed"]
    # Whichever: those at the end as those at the beginning, and each with its own answer.
    assert all(0 < n < auditing.QUEUED_RECORDS for n, _ in found["rules"].values())
    assert [agreed for _, agreed in sorted(found["rules"].values())].count(0) == 1


def test_bytes_are_bounded_too(signs, auditor):
    engine = watched(signs, auditor)
    stopped = Stopped(engine)
    engine.predict(RIGHT)
    assert stopped.began.wait(60)
    large = json.dumps(RIGHT).encode() + b" " * (auditing.QUEUED_BYTES // 2)
    for _ in range(3):
        engine.predict_json_record(large)
    assert engine.watched()["audit"]["dropped"] == 2
    stopped.go_on.set()
    assert counted(engine)["tiers"]["rule"] == [2, 2]


def test_at_an_exchange_what_waits_is_let_go_and_the_old_bundle_with_it(signs, auditor):
    old = watched(signs, auditor)
    stopped = Stopped(old)
    for _ in range(4):
        old.predict(RIGHT)
    assert stopped.began.wait(60)
    new = Engine(predictor_of(signs))
    auditor.watch([new])
    assert old.sampler is None and new.sampler is not None
    assert old.watched()["audit"]["dropped"] == 3 and not auditor._queue
    stopped.go_on.set()
    new.predict(WRONG)
    assert counted(new)["rules"] == {"1": [1, 0]}
    assert counted(old)["rules"] == {"0": [1, 1]}
    # A question that began before the exchange draws from what it took.
    auditor.take(new.sampler, old.audits, (old.predict(RIGHT),), lambda *_: 1 / 0, None)
    auditor.end()
    assert new.sampler is None
    until(lambda: not auditor._thread.is_alive())


def test_a_model_that_fails_fails_the_audit_alone(signs, auditor):
    engine = watched(signs, auditor)
    engine.audits._model = type("Broken", (), {"predict": lambda self, record: 1 / 0})()
    assert engine.predict(RIGHT).label == "plus"
    assert counted(engine) == {"tiers": {}, "rules": {}, "dropped": 0, "failed": 1}
    gives_none = Prediction("fallback", "plus", degraded=True)
    engine.audits._model = type("Degraded", (), {"predict": lambda self, record: gives_none})()
    engine.predict(RIGHT)
    assert counted(engine)["failed"] == 2


def test_audits_rest_so_long_that_their_share_of_a_core_is_kept():
    """By a clock of its own: each audit takes 10 ms, and a twentieth of the time may be spent."""
    auditor = Auditor()
    now, rests = [0.0], []
    auditor._clock = lambda: now[0]
    auditor.cpu_share = 0.05

    def rest(seconds):
        rests.append(seconds)
        now[0] += seconds

    auditor._ended.wait = rest
    for _ in range(10):
        begun = now[0]
        now[0] += 0.010
        auditor._rest(begun)
    assert now[0] == pytest.approx(10 * 0.010 / 0.05)
    assert rests == pytest.approx([0.19] * 10)
    # Short ones are put together, and the share is kept all the same.
    begun, rests[:] = now[0], []
    for _ in range(1000):
        start = now[0]
        now[0] += 20e-6
        auditor._rest(start)
    assert 0.4 - auditing.REST_S <= now[0] - begun <= 0.4 + 1e-9
    assert 100 < len(rests) < 250


def test_audits_go_on_beside_many_threads_that_ask(signs, auditor):
    engine = watched(signs, auditor, share=0.2)

    def ask():
        for _ in range(300):
            engine.predict(RIGHT)
            engine.predict_many([WRONG, NEITHER])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    until(lambda: not auditor._queue)
    time.sleep(0.05)  # the last one is being counted
    found = engine.watched()["audit"]
    drawn = found["tiers"]["rule"][0] + found["dropped"]
    assert 350 <= drawn <= 620 and found["failed"] == 0  # of 2,400: 480
    assert found["rules"]["0"][0] == found["rules"]["0"][1] and found["rules"]["1"][1] == 0
