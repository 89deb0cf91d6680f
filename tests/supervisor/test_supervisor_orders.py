"""What a supervisor tells its worker, message by message: orders that fail at first, and who is blamed for silence."""

import errno
import os
import signal
from dataclasses import asdict

import pytest
from bundles.releases import installed
from supervisor import penguin_bundles as made
from supervisor.desk import Desk
from supervisor.running_store import running, store_of
from supervisor.test_supervisor_kills import in_this_process

from edgeml.supervisor import supervisor as module
from edgeml.supervisor.trial_counters import Counters


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def failing(monkeypatch, store, *numbers):
    """Lets the record be unreadable at some looks, counted from 1."""
    real, looks = store.state, []

    def state():
        looks.append(1)
        if len(looks) in numbers:
            raise OSError(errno.EIO, "the disk did not answer")
        return real()

    monkeypatch.setattr(store, "state", state)


class TestOrdersThatFail:
    def test_at_hello_they_are_given_soon_after(self, desk, monkeypatch):
        (one,) = installed(desk.store, "1")
        desk.store.activate(one, now=True)
        failing(monkeypatch, desk.store, 1)
        with pytest.raises(OSError, match="did not answer"):
            desk.hello()
        desk.look()
        assert desk.ear.told == []
        desk.look(module.FOLLOW_RETRY_S)
        assert desk.ear.digests() == {"door": one}
        desk.look(module.FOLLOW_RETRY_S)
        assert len(desk.ear.told) == 1

    def test_a_retry_that_fails_is_followed_by_another(self, desk, monkeypatch):
        (one,) = installed(desk.store, "1")
        desk.store.activate(one, now=True)
        failing(monkeypatch, desk.store, 1, 2)
        with pytest.raises(OSError, match="did not answer"):
            desk.hello()
        with pytest.raises(OSError, match="did not answer"):
            desk.look(module.FOLLOW_RETRY_S)
        desk.look(module.FOLLOW_RETRY_S)
        assert desk.ear.digests() == {"door": one}

    @pytest.mark.parametrize("look", [1, 2])
    def test_at_a_tick_the_next_tick_tries_again(self, desk, monkeypatch, look):
        one, two = installed(desk.store, "1", "2")
        desk.store.activate(one, now=True)
        desk.hello()
        desk.supervisor._on_tick()
        desk.store.activate(two, now=True)
        failing(monkeypatch, desk.store, look)
        desk.supervisor._on_tick()
        assert desk.ear.digests() == {"door": one}
        desk.supervisor._on_tick()
        assert desk.ear.digests() == {"door": two}

    def test_a_real_worker_gets_its_first_orders_all_the_same(self, tmp_path, penguins_bundle, monkeypatch):
        real, calls = module.orders_for, []

        def orders_for(*arguments, **more):
            calls.append(1)
            if len(calls) == 1:
                raise OSError(errno.EMFILE, "too many open files")
            return real(*arguments, **more)

        monkeypatch.setattr(module, "orders_for", orders_for)
        _, (first,) = store_of(tmp_path / "store", made.version(penguins_bundle, "1"))
        with in_this_process(tmp_path / "store") as (supervisor, said):
            assert supervisor.live()["models"]["penguins"]["digest"] == f"sha256:{first}"
            assert any("too many open files" in line for line in said)


class TestSilence:
    """A worker that speaks, and says that one bundle has not come back from a question for too long."""

    @pytest.fixture
    def on_trial(self, desk):
        """Gives the digests of the confirmed ``door`` and ``lock``, in this order, and of the ``lock`` on trial."""
        digests = [*installed(desk.store, "1"), *installed(desk.store, "1", "2", name="lock")]
        desk.store.activate(digests[0], now=True)
        desk.store.activate(digests[1], now=True)
        desk.store.activate(digests[2])
        desk.hello()
        assert desk.trials.progress()["lock"]["digest"] == f"sha256:{digests[2]}"
        return digests

    def kill(self, desk, stuck):
        desk.beat(stuck_s=30.0, stuck=stuck)
        desk.look()
        assert desk.process.signals == [signal.SIGKILL]
        desk.supervisor._on_ended(desk.process, "killed by SIGKILL")

    def left(self, desk, model):
        return desk.store.state().models[model].deaths_left

    def test_a_bundle_on_trial_that_is_stuck_is_gone_back_from(self, desk, on_trial):
        self.kill(desk, on_trial[2])
        assert desk.store.state().models["lock"].candidate is None
        assert [e.event.signal for e in desk.store.journal.entries()][0] == "stall"
        assert self.left(desk, "lock") == self.left(desk, "door") == 3

    @pytest.mark.parametrize("which", [0, 1])
    def test_a_bundle_on_trial_is_not_blamed_for_another_one(self, desk, on_trial, which):
        for _ in range(2):
            self.kill(desk, on_trial[which])
            desk.begin()
            desk.hello()
        signals = desk.trials.progress()["lock"]["signals"]
        assert signals["stall"]["value"] == 0 and signals["process_deaths"]["value"] == 0

    def test_of_nobody_knows_what_everybody_on_trial_is_suspected(self, desk, on_trial):
        self.kill(desk, "")
        assert desk.store.state().models["lock"].candidate is None
        assert self.left(desk, "lock") == self.left(desk, "door") == 3

    def test_without_a_trial_the_bundle_that_was_confirmed_last_answers_for_its_own_questions_only(
        self, desk, on_trial
    ):
        desk.store.roll_back("lock", reason="a test")
        desk.supervisor._follow()
        for stuck, left in ((on_trial[0], 3), (on_trial[1], 2), ("", 1)):
            self.kill(desk, stuck)
            assert (self.left(desk, "door"), self.left(desk, "lock")) == (3, left)
            desk.begin()
            desk.hello()

    def test_what_comes_back_in_time_harms_nobody(self, desk, on_trial):
        desk.beat(stuck_s=9.0, stuck=on_trial[2])
        desk.look()
        desk.beat(stuck_s=0.0, stuck="")
        desk.look(9.0)
        assert desk.process.signals == []


def test_a_trial_that_waits_for_a_person_is_told_once(desk):
    one, two = installed(desk.store, "1", "2")
    desk.store.activate(one, now=True)
    desk.store.activate(two)
    desk.hello()
    desk.followed()
    for _ in range(10):
        desk.beat(models={"door": {two: asdict(Counters(requests=20, fallbacks=15))}})
        desk.look(1.0)
    assert [line for line in desk.said if "the trial is held: fallback_rate: 15 of 20" in line] == desk.said
    assert len(desk.said) == 1 and desk.store.state().models["door"].candidate == two


# What Python imports by itself when it starts: a worker whose golden rows are asked again at once, and differ.
DIFFERING = """
import functools, threading
from edgeml.runtime.golden import GoldenReport
from edgeml.runtime.predictor import Predictor
from edgeml.serving import worker

genuine = Predictor.golden_check

def golden_check(self):
    again = threading.current_thread().name == "edgeml-golden"
    return GoldenReport(1, ("row 0 differs",)) if again else genuine(self)

Predictor.golden_check = golden_check
worker.Worker = functools.partial(worker.Worker, golden_s=0.1)
"""


def test_a_bundle_whose_golden_rows_differ_during_its_trial_is_gone_back_from(tmp_path, penguins_bundle):
    store, (first, second) = store_of(
        tmp_path / "store", made.version(penguins_bundle, "1"), made.version(penguins_bundle, "2")
    )
    (tmp_path / "sitecustomize.py").write_text(DIFFERING)
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    with running(tmp_path / "store", environment=environment) as box:
        store.activate(second)
        event = box.event("rolled_back")
        assert (event.signal, event.digest) == ("golden_failure", second)
        box.wait_served(first)
        assert second in store.state().models["penguins"].denied


def test_a_worker_that_ends_before_it_was_told_of_a_bundle_is_blamed_on_none(desk):
    one, two = installed(desk.store, "1", "2")
    for digest in (one, two):
        desk.store.activate(digest, now=True)
    for _ in range(4):
        desk.begin()
        desk.supervisor._on_ended(desk.process, "ended with status 1")
    model = desk.store.state().models["door"]
    assert (model.active, model.deaths_left, dict(model.denied)) == (two, 3, {})


class TestAnActiveBundleThatDoesNotLoad:
    """It is gone back from once; where the one before does not load either, the bundles are not at fault."""

    @pytest.fixture
    def three(self, desk):
        """Gives the digests of three bundles that were confirmed one after the other."""
        digests = installed(desk.store, "1", "2", "3")
        for digest in digests:
            desk.store.activate(digest, now=True)
        desk.hello()
        assert desk.ear.digests() == {"door": digests[2]}
        return digests

    def loaded(self, desk, digest, **failed):
        found = {"digest": digest, "reason": ""} | failed
        turn = desk.supervisor._worker.turn
        desk.supervisor._on_heard(desk.ear, {"kind": "loaded", "turn": turn, "models": {"door": found}})

    def fails(self, desk, digest):
        self.loaded(desk, None, failed=digest, fault="bundle", reason="no ONNX model")

    def record(self, desk):
        model = desk.store.state().models["door"]
        return model.active, set(model.denied)

    def test_once(self, desk, three):
        one, two, three = three
        self.fails(desk, three)
        assert self.record(desk) == (two, {three}) and desk.ear.digests() == {"door": two}
        (event,) = [each.event for each in desk.store.journal.entries() if each.event.kind == "rolled_back"]
        assert (event.digest, event.signal, event.reason) == (three, "load_failed", "no ONNX model")
        self.fails(desk, two)
        assert self.record(desk) == (two, {three})
        told = len(desk.ear.told)
        desk.beat()
        desk.look()
        assert len(desk.ear.told) == told
        desk.beat()
        desk.look(module.RETRY_S)  # tried again, and not gone back from however often
        assert len(desk.ear.told) == told + 1 and desk.ear.digests() == {"door": two}
        self.fails(desk, two)
        assert self.record(desk) == (two, {three})

    def test_and_once_more_after_one_has_loaded(self, desk, three):
        one, two, three = three
        desk.store.activate(one, now=True)
        desk.supervisor._follow()
        self.fails(desk, one)
        assert self.record(desk) == (three, {one})
        self.loaded(desk, three)
        desk.store.activate(two, now=True)
        desk.supervisor._follow()
        self.loaded(desk, three, failed=two, fault="bundle", reason="no ONNX model")
        assert self.record(desk) == (three, {one, two})


class TestReportsFromBeforeAnExchange:
    """What a worker counted before it followed the last orders judges no trial: its counters may be of another one."""

    @pytest.fixture
    def two(self, desk):
        """Gives the digest of a bundle on trial whose orders the worker has not followed yet."""
        one, two = installed(desk.store, "1", "2")
        desk.store.activate(one, now=True)
        desk.hello()
        desk.followed()
        desk.store.activate(two)
        desk.supervisor._on_tick()
        assert desk.ear.digests() == {"door": two}
        return two

    def report(self, desk, digest, **counts):
        desk.beat(models={"door": {digest: asdict(Counters(**counts))}}, rss_bytes=counts.get("rss_bytes", 0))
        desk.look()

    @pytest.mark.parametrize("counts", [{"golden_failures": 1}, {"requests": 50, "model_errors": 50}])
    def test_a_failure_that_they_tell_of_is_not_its_own(self, desk, two, counts):
        self.report(desk, two, **counts)
        assert desk.store.state().models["door"].candidate == two
        assert desk.trials.progress()["door"]["requests"] == 0
        desk.followed()
        self.report(desk, two, **counts)
        assert desk.store.state().models["door"].candidate is None

    def test_nor_do_their_questions_confirm_it(self, desk, two):
        for n in range(20):
            self.report(desk, two, requests=10 * n)
        assert desk.store.state().models["door"].candidate == two
        desk.followed()
        for n in range(20):
            self.report(desk, two, requests=10 * n)
        assert desk.store.state().models["door"].active == two

    def test_nor_is_their_memory_what_the_worker_had_before(self, desk, two):
        """The worker reports 200 MB while it loads, which the next bundle on trial must not be measured by."""
        worker = desk.supervisor._worker
        self.report(desk, two, rss_bytes=200_000_000)
        assert (worker.rss_bytes, worker.settled_bytes) == (200_000_000, 0)
        desk.followed()
        assert worker.settled_bytes == 0
        self.report(desk, two, rss_bytes=300_000_000)
        assert worker.settled_bytes == 300_000_000
        desk.supervisor._follow()
        assert worker.settled_bytes == 0


def test_what_the_worker_had_when_a_trial_began_bounds_its_memory(desk):
    one, two = installed(desk.store, "1", "2")
    desk.store.activate(one, now=True)
    desk.hello()
    desk.followed()
    desk.beat(rss_bytes=100_000_000)
    desk.store.activate(two, peak_bytes=1_000_000)
    desk.supervisor._on_tick()
    desk.followed()
    desk.beat(models={"door": {two: asdict(Counters(rss_bytes=900_000_000))}}, rss_bytes=900_000_000)
    desk.look()
    assert desk.store.state().models["door"].candidate is None
    assert [e.event.signal for e in desk.store.journal.entries()][0] == "memory"


def test_so_does_what_it_had_as_it_loaded_where_it_had_not_reported_before(desk):
    """A bundle is activated within a second of other orders, and grows with its first questions."""
    one, two = installed(desk.store, "1", "2")
    desk.store.activate(one, now=True)
    desk.hello()
    desk.followed()
    desk.store.activate(two, peak_bytes=1_000_000)
    desk.supervisor._on_tick()
    desk.supervisor._on_heard(desk.ear, {"kind": "loading", "digest": two, "rss_bytes": 100_000_000})
    desk.followed()
    desk.beat(models={"door": {two: asdict(Counters(rss_bytes=900_000_000))}}, rss_bytes=900_000_000)
    desk.look()
    assert desk.store.state().models["door"].candidate is None
    assert [e.event.signal for e in desk.store.journal.entries()][0] == "memory"
