import json

import pytest
from trial_worker import Worker

from edgeml.supervisor.trial import Trial
from edgeml.supervisor.trial_config import TrialConfig
from edgeml.supervisor.trial_counters import Counters


def again(trial, config=None):
    """The trial as a supervisor that starts again finds it."""
    return Trial.from_document(json.loads(json.dumps(trial.to_document(), allow_nan=False)), config)


def test_a_supervisor_that_starts_again_continues():
    worker = Worker(previous=Counters(requests=1_000, model_errors=3))
    worker.serve_for(500, requests=1, labels={"a": 1})
    worker.restart("signal 9 (SIGKILL)")
    worker.serve(requests=1, deadline_misses=1, rss=77)
    worker.trial.report(worker.now, "drift", "drifts")
    before = worker.trial.progress(worker.now)
    worker.trial = again(worker.trial)
    assert worker.trial.to_document() == again(worker.trial).to_document()
    after = worker.trial.progress(worker.now)
    different = {"signal", "reason"}  # it has not had a report yet
    assert {k: v for k, v in after.items() if k not in different} == {
        k: v for k, v in before.items() if k not in different
    }
    assert after["signal"] == "no_report"


def test_what_came_while_no_supervisor_lived_is_caught_up_but_the_time_is_not():
    worker = Worker(previous=Counters(requests=1_000))
    worker.serve_for(100, requests=1)
    document = worker.trial.to_document()
    worker.serve_for(300, requests=1)  # seen by the supervisor that died
    worker.trial = Trial.from_document(document)
    worker.serve(requests=1)
    progress = worker.trial.progress(worker.now)
    assert progress["requests"] == 401 and progress["elapsed_seconds"] == 99.0


def test_a_power_cut_starts_the_clock_at_zero_and_nothing_is_gained():
    worker = Worker(previous=Counters(requests=1_000))
    worker.serve_for(600, requests=1)
    worker.trial = again(worker.trial)
    worker.restart()
    worker.now = 5.0  # seconds since this boot
    assert worker.serve(requests=1).kind == "hold"
    assert worker.serve(requests=1).kind == "confirm"


def test_a_rollback_is_not_forgotten():
    worker = Worker()
    worker.serve(requests=1, golden=1)
    trial = again(worker.trial)
    verdict = trial.verdict(0.0)
    assert (verdict.kind, verdict.signal) == ("roll_back", "golden_failure")
    assert verdict.reason == worker.trial.verdict(worker.now).reason


def test_windows_reach_over_a_restart():
    worker = Worker()
    worker.serve_for(4, requests=10, invalid_outputs=1)
    worker.trial = again(worker.trial)
    worker.restart()
    assert worker.serve(requests=10, invalid_outputs=1).signal == "invalid_outputs"


def test_a_document_stays_small():
    worker = Worker(previous=Counters(requests=10**9, labels={f"label {n}": 10**6 for n in range(64)}))
    for second in range(700):
        worker.serve(6.0, requests=1_000, deadline_misses=1, labels={f"label {second % 65}": 1_000})
    assert len(json.dumps(worker.trial.to_document())) < 16_384


@pytest.mark.parametrize("member", list(Trial().to_document()))
def test_a_document_without_a_member_is_refused(member):
    document = Trial().to_document()
    del document[member]
    if member in ("failed", "previous"):
        assert Trial.from_document(document).verdict(0.0).kind == "hold"
        return
    with pytest.raises(ValueError, match="document|counters"):
        Trial.from_document(document)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"elapsed_seconds": -1},
        {"elapsed_seconds": float("inf")},
        {"deaths": 1.5},
        {"last_death": None},
        {"longest_silence_s": "3"},
        {"reported": {"drift": 1}},
        {"failed": {"signal": "stall"}},
        {"failed": "stall"},
        {"candidate": {"total": {"requests": -1}, "last": {}, "life": None}},
        {"previous": []},
        {"windows": {"invalid": [[1, 2, 1]]}},
        {"windows": []},
    ],
)
def test_a_broken_document_is_refused(change):
    with pytest.raises(ValueError):
        Trial.from_document(Trial().to_document() | change)


def test_other_limits_hold_from_then_on():
    worker = Worker()
    worker.serve_for(20, requests=1)
    config = TrialConfig(min_seconds=10, min_requests=5)
    worker.trial = again(worker.trial, config)
    assert worker.serve(requests=1).kind == "confirm"
