"""What a supervisor tells its worker, message by message: orders that fail at first, and who is blamed for silence."""

import errno

import pytest
from bundles.releases import installed, new_store
from supervisor import penguin_bundles as made
from supervisor.running_store import store_of
from supervisor.test_supervisor_kills import in_this_process

from edgeml.supervisor import supervisor as module
from edgeml.supervisor.supervisor import Supervisor
from edgeml.supervisor.trial_config import TrialConfig
from edgeml.supervisor.trials import Trials
from edgeml.supervisor.worker_state import WorkerState


class Process:
    """A worker process that cannot be harmed."""

    pid, life, status = 1, 1, None

    def __init__(self):
        self.signals = []

    def signal(self, number):
        self.signals.append(number)

    def close(self):
        pass


class Ear:
    """The worker's end of the link: notes what it is told."""

    def __init__(self):
        self.told = []

    def send(self, document):
        self.told.append(document)

    def take_descriptors(self):
        return []

    def digests(self):
        """By model, what the last orders say."""
        return {each["model"]: each["digest"] for each in self.told[-1]["models"]}


class Desk:
    """A supervisor whose worker and clock are the test's; nothing runs by itself."""

    def __init__(self, root):
        self.store = new_store(root / "store")
        self.now = 1000.0
        self.said = []
        self.trials = Trials(root / "trials.json", TrialConfig(), lambda _: None, clock=lambda: self.now)
        self.supervisor = Supervisor(self.store, self.trials, clock=lambda: self.now, say=self.said.append)
        self.begin()

    def begin(self):
        """A worker that has answered already."""
        self.process, self.ear = Process(), Ear()
        self.supervisor._worker = WorkerState(process=self.process, heard=self.now, since=self.now, loading=False)

    def hello(self):
        self.supervisor._on_hello(self.ear, {"pid": 1, "life": 1})

    def beat(self, **more):
        self.supervisor._on_heard(self.ear, {"kind": "counters", "models": {}} | more)

    def look(self, seconds=0.5):
        self.now += seconds
        self.supervisor._look()


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
