"""The trials of a store over restarts of the supervisor, and what is never taken up again."""

import json
from dataclasses import replace

import pytest
from bundles.releases import installed, new_store

from edgeml.supervisor.trial_config import TrialConfig
from edgeml.supervisor.trial_counters import Counters
from edgeml.supervisor.trials import Trials

QUICK = TrialConfig(min_seconds=5, min_requests=10)
MIB = 1024 * 1024


class Box:
    """A store with version 2 on trial, and its trials by a clock of their own."""

    def __init__(self, root, *, config=QUICK, peak_bytes=0):
        self.config = config
        self.store = new_store(root / "store")
        self.one, self.two = installed(self.store, "1", "2")
        self.store.activate(self.one, now=True)
        self.store.activate(self.two, peak_bytes=peak_bytes)
        self.path = root / "trials.json"
        self.now = 1000.0
        self.trials = self.begin()

    def begin(self):
        """A supervisor that starts."""
        self.trials = Trials(self.path, self.config, lambda _: None, clock=lambda: self.now)
        self.trials.follow(self.store.state())
        return self.trials

    def report(self, seconds, *, life=1, **counts):
        self.now += seconds
        self.trials.observe("door", {self.two: Counters(**counts), self.one: Counters()}, self.one, life=life)
        return [each.verdict.kind for each in self.trials.judged()]

    def memory(self):
        """Most memory of the worker and its limit, in MiB, and what is said of them."""
        found = self.trials.progress()["door"]["signals"]["memory"]
        return found["value"] // MIB, found["limit"] and found["limit"] // MIB, found["state"]


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


class TestMemory:
    """The worker's memory is that of all its models, so a trial looks at what it grows by."""

    def test_a_worker_that_is_large_already_convicts_nobody(self, box):
        box.report(1, rss_bytes=4000 * MIB)
        box.report(1, rss_bytes=4600 * MIB)
        assert box.memory() == (4600, 4000 + 512 + 128, "fine")
        assert box.report(1, rss_bytes=4700 * MIB) == ["roll_back"]

    def test_a_bundle_that_was_measured_gets_what_it_needs(self, tmp_path):
        box = Box(tmp_path, peak_bytes=50 * MIB)
        box.report(1)
        assert box.memory() == (0, None, "fine")
        box.report(1, rss_bytes=1000 * MIB)
        assert box.memory()[1] == 1000 + 50 + 128

    def test_what_is_loaded_for_another_model_is_not_held_against_it(self, box):
        box.report(1, rss_bytes=1000 * MIB)
        limit = box.memory()[1]
        (lock,) = installed(box.store, "1", name="lock")
        box.store.activate(lock, peak_bytes=300 * MIB)
        for _ in range(2):
            box.trials.follow(box.store.state())
            assert box.memory()[1] == limit + 300
        box.store.confirm("lock", lock)
        box.trials.follow(box.store.state())
        assert box.memory()[1] == limit + 300

    def test_the_limit_outlives_the_supervisor_and_the_worker(self, box):
        box.report(1, rss_bytes=1000 * MIB)
        limit = box.memory()[1]
        box.trials.keep()
        box.begin()
        box.report(1, life=2, rss_bytes=1500 * MIB)
        assert box.memory() == (1500, limit, "fine")

    def test_a_bundle_that_grows_before_its_first_report_sets_no_limit_of_its_own(self, tmp_path):
        box = Box(tmp_path, peak_bytes=50 * MIB)
        box.trials = Trials(box.path, box.config, lambda _: None, clock=lambda: box.now)
        box.trials.follow(box.store.state(), 1000 * MIB)
        assert box.report(1, rss_bytes=1229 * MIB) == ["roll_back"]
        assert box.memory() == (1229, 1000 + 2 * 50 + 128, "failed")

    def test_where_nobody_knew_what_the_worker_says_as_it_loads_counts(self, tmp_path):
        box = Box(tmp_path, peak_bytes=50 * MIB)
        box.trials = Trials(box.path, box.config, lambda _: None, clock=lambda: box.now)
        box.trials.follow(box.store.state())
        box.trials.loads("0" * 64, 10 * MIB)
        box.trials.loads(box.store.state().model("door").candidate, 1000 * MIB)
        assert box.report(1, rss_bytes=1229 * MIB) == ["roll_back"]
        assert box.memory() == (1229, 1000 + 2 * 50 + 128, "failed")

    def test_one_that_takes_less_than_its_room_gets_no_more_than_without_that(self, tmp_path):
        box = Box(tmp_path, peak_bytes=50 * MIB)
        box.trials = Trials(box.path, box.config, lambda _: None, clock=lambda: box.now)
        box.trials.follow(box.store.state(), 1000 * MIB)
        box.report(1, rss_bytes=1010 * MIB)
        assert box.memory() == (1010, 1010 + 50 + 128, "fine")

    def test_what_is_loaded_for_another_model_before_that_report_counts_as_before_it(self, tmp_path):
        box = Box(tmp_path, peak_bytes=50 * MIB)
        box.trials = Trials(box.path, box.config, lambda _: None, clock=lambda: box.now)
        box.trials.follow(box.store.state(), 1000 * MIB)
        (lock,) = installed(box.store, "1", name="lock")
        box.store.activate(lock, peak_bytes=300 * MIB)
        box.trials.follow(box.store.state())
        box.report(1, rss_bytes=1350 * MIB)
        assert box.memory() == (1350, 1350 + 50 + 128, "fine")

    def test_what_the_operator_says_counts(self, tmp_path):
        box = Box(tmp_path, config=replace(QUICK, memory_bytes=100 * MIB))
        box.report(1, rss_bytes=50 * MIB)
        assert box.memory()[1] == 100
        assert box.report(1, rss_bytes=101 * MIB) == ["roll_back"]

    @pytest.mark.parametrize("kept", ["much", -5, 1.5])
    def test_a_damaged_limit_begins_the_trial_anew(self, box, kept):
        box.report(1, requests=1, rss_bytes=1000 * MIB)
        box.trials.keep()
        document = json.loads(box.path.read_text())
        document["door"]["memory_bytes"] = kept
        box.path.write_text(json.dumps(document))
        box.begin()
        assert box.trials.progress()["door"]["requests"] == 0


def test_only_the_bundle_that_is_at_fault_is_blamed(box):
    (lock,) = installed(box.store, "1", name="lock")
    box.store.activate(lock)
    box.trials.follow(box.store.state())
    assert box.trials.stalled(100.0, box.one) is False
    box.trials.worker_died("killed by SIGKILL", box.one)
    assert box.trials.judged() == []
    assert box.trials.stalled(100.0, lock) is True
    assert [each.digest for each in box.trials.judged()] == [lock]
    assert box.trials.stalled(100.0) is True
    assert {each.digest for each in box.trials.judged()} == {lock, box.two}


def test_what_holds_a_trial_is_told_once_and_not_before_it_does(box):
    assert box.report(1, requests=2, fallbacks=2) == [] and box.trials.doubts() == []
    for n in range(6):
        assert box.report(1, requests=20 + n, fallbacks=15 + n) == []
    (line,) = box.trials.doubts()
    assert line.startswith(f"door sha256:{box.two[:12]}: the trial is held: fallback_rate: 20 of 25 answers")
    assert line.endswith("edgeml confirm door, or edgeml rollback door")
    box.report(1, requests=30, fallbacks=25)
    assert box.trials.doubts() == []
    box.store.roll_back("door", reason="a test")
    box.trials.follow(box.store.state())
    assert box.trials.doubts() == []
