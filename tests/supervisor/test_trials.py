"""The trials of a store over restarts of the supervisor, and what is never taken up again."""

import json
from dataclasses import replace

import pytest
from bundles.releases import installed, new_store

from edgeml.supervisor.trial_config import TrialConfig
from edgeml.supervisor.trial_counters import Counters
from edgeml.supervisor.trials import Trials

QUICK = TrialConfig(min_seconds=5, min_requests=10)


class Box:
    """A store with version 2 on trial, and its trials by a clock of their own."""

    def __init__(self, root):
        self.store = new_store(root / "store")
        self.one, self.two = installed(self.store, "1", "2")
        self.store.activate(self.one, now=True)
        self.store.activate(self.two)
        self.path = root / "trials.json"
        self.now = 1000.0
        self.trials = self.begin()

    def begin(self):
        """A supervisor that starts."""
        self.trials = Trials(self.path, QUICK, lambda _: None, clock=lambda: self.now)
        self.trials.follow(self.store.state())
        return self.trials

    def report(self, seconds, *, life=1, **counts):
        self.now += seconds
        self.trials.observe("door", {self.two: Counters(**counts), self.one: Counters()}, self.one, life=life)
        return [each.verdict.kind for each in self.trials.judged()]


@pytest.fixture
def box(tmp_path):
    return Box(tmp_path)


def test_a_verdict_names_the_model_and_the_bundle(box):
    assert box.report(1, requests=1) == [] and box.trials.progress()["door"]["digest"] == f"sha256:{box.two}"
    for n in range(6):
        kinds = box.report(1, requests=10 + n)
    assert kinds == ["confirm"]
    (judged,) = box.trials.judged()
    assert (judged.model, judged.digest) == ("door", box.two)


def test_it_goes_on_where_it_was_kept_and_catches_up_with_a_worker_that_lives(box):
    for n in range(4):
        assert box.report(1, requests=n) == []
    box.trials.keep()
    box.begin()
    assert box.report(1, requests=30) == []
    assert box.report(1, requests=31) == []
    assert box.report(2, requests=32) == ["confirm"]
    assert box.trials.progress()["door"]["requests"] == 32


def test_deaths_are_kept_at_once(box):
    box.report(1, requests=1)
    box.trials.worker_died("killed by SIGSEGV")
    box.begin()
    box.trials.worker_died("killed by SIGSEGV")
    box.begin()
    box.trials.worker_died("killed by SIGSEGV")
    (judged,) = box.trials.judged()
    assert (judged.verdict.kind, judged.verdict.signal) == ("roll_back", "process_deaths")


def test_a_trial_that_is_over_is_never_taken_up_by_a_later_one_of_the_same_bundle(box):
    """Neither its questions nor its failure: the second trial begins at nought, also after a restart."""
    box.report(1, requests=1)
    box.trials.stalled(100.0)
    box.trials.keep()
    assert [each.verdict.signal for each in box.trials.judged()] == ["stall"]
    box.store.roll_back("door", reason="stall")
    box.trials.follow(box.store.state())
    assert box.trials.progress() == {} and json.loads(box.path.read_text()) == {}
    box.store.allow(box.two)
    box.store.activate(box.two)
    for trials in (box.trials, box.begin()):
        trials.follow(box.store.state())
        assert trials.progress()["door"]["elapsed_seconds"] == 0.0 and trials.judged() == []


def test_what_was_kept_serves_the_first_look_only(box):
    box.report(1, requests=1)
    box.trials.stalled(100.0)
    box.trials.keep()
    box.store.roll_back("door", reason="by hand, while no supervisor ran")
    box.begin()
    box.store.allow(box.two)
    box.store.activate(box.two)
    box.trials.follow(box.store.state())
    assert box.trials.judged() == []


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"door": 5}', b'{"door": {"digest": 5}}', b"\xff", b"[" * 5000, b'{"door": {"digest": "%s"}}'],
)
def test_a_damaged_file_costs_time_and_nothing_else(box, content):
    box.path.write_bytes(content.replace(b"%s", box.two.encode()))
    box.begin()
    assert box.report(1, requests=1) == []
    box.trials.keep()
    json.loads(box.path.read_text())


def test_a_file_of_another_edgeml_begins_anew(box):
    document = {"door": {"digest": box.two, "trial": {"format": 99, "elapsed": 1e9}}}
    box.path.write_text(json.dumps(document))
    box.begin()
    assert box.trials.progress()["door"]["elapsed_seconds"] == 0.0


def test_a_disk_that_takes_nothing_stops_nothing(box):
    box.path.mkdir()
    box.trials.keep()
    for n in range(8):
        kinds = box.report(1, requests=10 + n)
    assert kinds == ["confirm"]


def test_it_is_written_once_a_minute_at_most(box):
    box.report(1, requests=1)
    assert not box.path.exists()
    box.report(60, requests=1)
    assert box.path.exists()
    box.path.unlink()
    box.report(30, requests=1)
    assert not box.path.exists()


def test_reports_of_models_without_a_trial_and_of_other_bundles_are_nothing(box):
    box.trials.observe("window", {box.two: Counters(requests=5)}, None, life=1)
    box.trials.observe("door", {box.one: Counters(requests=5)}, box.one, life=1)
    assert box.trials.progress()["door"]["requests"] == 0


def test_a_model_that_is_gone_takes_its_trial_along(box):
    box.trials.follow(replace(box.store.state(), models={}))
    assert box.trials.progress() == {}
