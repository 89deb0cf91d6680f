"""What the worker said last, and how long it was well: who is blamed for its end, and what is forgotten."""

import errno
import signal

import pytest
from bundles.releases import installed
from supervisor.desk import Desk

from edgeml.supervisor import supervisor as module


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


class TestHealth:
    """A worker that has answered well for a while: what came before is forgotten, once the disk has it."""

    @pytest.fixture
    def one(self, desk):
        (one,) = installed(desk.store, "1")
        desk.store.activate(one, now=True)
        desk.store.died("SIGSEGV")
        desk.supervisor._worker.deaths = 1
        desk.hello()
        return one

    def left(self, desk):
        return desk.store.state().models["door"].deaths_left

    def test_it_is_forgotten_after_a_minute(self, desk, one):
        desk.supervisor._worker.heard += 1000.0
        desk.look(59.0)
        assert self.left(desk) == 2 and desk.supervisor.live()["worker"]["deaths"] == 1
        desk.look(2.0)
        assert self.left(desk) == 3 and desk.supervisor.live()["worker"]["deaths"] == 0
        assert desk.supervisor._worker.healthy

    def test_where_the_disk_refuses_it_is_asked_again_later_and_nothing_else_waits_for_that(
        self, desk, one, monkeypatch
    ):
        genuine, asked = desk.store.healthy, []

        def healthy():
            asked.append(desk.now)
            raise OSError(errno.EIO, "the disk did not answer")

        monkeypatch.setattr(desk.store, "healthy", healthy)
        desk.supervisor._worker.heard += 1000.0
        desk.supervisor._retry_at = desk.now + 62.0
        told = len(desk.ear.told)
        for _ in range(10):
            desk.look(61.0 if not asked else 0.5)
        assert len(asked) == 1 and self.left(desk) == 2 and not desk.supervisor._worker.healthy
        assert len(desk.ear.told) == told + 1
        assert [line for line in desk.said if "cannot be forgotten" in line]
        monkeypatch.setattr(desk.store, "healthy", genuine)
        desk.look(module.RETRY_S)
        assert self.left(desk) == 3 and desk.supervisor._worker.healthy


class TestLastWords:
    """The worker says what it loads before it does; that counts, however it ends."""

    @pytest.fixture
    def trials(self, desk):
        digests = {}
        for name in ("door", "lock"):
            digests[name] = installed(desk.store, "1", "2", name=name)
            desk.store.activate(digests[name][0], now=True)
        for name in ("door", "lock"):
            desk.store.activate(digests[name][1])
        desk.hello()
        assert self.tries(desk) == (2, 2)
        return digests

    def tries(self, desk):
        models = desk.store.state().models
        return models["door"].tries_left, models["lock"].tries_left

    def begins(self, desk, digest):
        desk.supervisor._on_heard(desk.ear, {"kind": "loading", "digest": digest})

    def ends(self, desk):
        desk.supervisor._on_ended(desk.process, "killed by SIGSEGV")

    def deaths(self, desk):
        progress = desk.trials.progress()
        return tuple(progress[name]["signals"]["process_deaths"]["value"] for name in ("door", "lock"))

    def test_who_was_being_loaded_is_blamed_alone(self, desk, trials):
        self.begins(desk, trials["lock"][1])
        self.begins(desk, trials["door"][1])
        self.ends(desk)
        assert self.tries(desk) == (2, 3) and self.deaths(desk) == (1, 0)

    def test_once_all_are_loaded_nobody_knows(self, desk, trials):
        self.begins(desk, trials["door"][1])
        desk.supervisor._announced = True
        report = {name: {"digest": found[1]} for name, found in trials.items()}
        desk.supervisor._on_heard(desk.ear, {"kind": "loaded", "turn": 1, "models": report})
        self.ends(desk)
        assert self.tries(desk) == (2, 2) and self.deaths(desk) == (1, 1)

    def test_what_it_said_before_a_message_to_it_failed_counts(self, desk, trials, monkeypatch):
        def send(document):
            raise BrokenPipeError

        monkeypatch.setattr(desk.ear, "send", send)
        desk.supervisor._follow()
        assert desk.supervisor._worker.link is None
        self.begins(desk, trials["door"][1])
        self.ends(desk)
        assert self.tries(desk) == (2, 3)

    def test_a_question_that_hangs_gives_the_others_their_attempt_back(self, desk, trials):
        desk.beat(stuck_s=30.0, stuck=trials["door"][1])
        desk.look()
        self.ends(desk)
        models = desk.store.state().models
        assert models["door"].candidate is None and models["lock"].tries_left == 3

    def test_silence_while_one_is_loaded_is_its_own(self, desk, trials):
        self.begins(desk, trials["door"][1])
        for _ in range(21):
            desk.look(0.5)
        assert desk.process.signals == [signal.SIGKILL]
        self.ends(desk)
        models = desk.store.state().models
        assert models["door"].candidate is None and models["lock"].tries_left == 3
        assert self.stalls(desk) == 0

    def stalls(self, desk):
        return desk.trials.progress()["lock"]["signals"]["stall"]["value"]

    def test_a_new_supervisor_hears_at_hello_what_is_being_loaded(self, desk, trials):
        desk.begin()
        desk.supervisor._on_hello(desk.ear, {"pid": 1, "life": 1, "loading": trials["door"][1]})
        before = self.tries(desk)
        self.ends(desk)
        assert self.tries(desk) == (before[0], before[1] + 1)
