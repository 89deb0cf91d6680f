"""Supervisor and worker, killed, stopped and hung at bad moments."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from serving.test_stopping import Client
from supervisor import penguin_bundles as made
from supervisor.running_store import (
    BODY,
    PATIENCE_S,
    Load,
    RunningStore,
    end_left,
    is_alive,
    known,
    running,
    store_of,
    until,
)

from edgeml.bundles.store import Store
from edgeml.supervisor.channel import live, nudge
from edgeml.supervisor.supervisor import Supervisor
from edgeml.supervisor.trial_config import TrialConfig
from edgeml.supervisor.trials import Trials
from edgeml.supervisor.worker_state import WorkerOptions

MODEL = "penguins"
REQUEST = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY


@pytest.fixture
def one(penguins_bundle):
    return made.version(penguins_bundle, "1")


@pytest.fixture
def two(penguins_bundle):
    return made.version(penguins_bundle, "2")


def tries(store: Store) -> int:
    return store.state().models[MODEL].tries_left


class TestWorker:
    def test_killed_under_load_it_comes_back_and_only_what_it_was_answering_is_lost(self, tmp_path, one):
        store, (first,) = store_of(tmp_path / "store", one)
        with running(tmp_path / "store") as box, Load(box, known(one)) as load:
            worker = box.worker
            with load.forgiving():
                os.kill(worker, signal.SIGKILL)
                # These are accepted by the kernel alone: nobody else is there.
                waiting = [socket.create_connection(("127.0.0.1", box.port), timeout=PATIENCE_S) for _ in range(16)]
                for each in waiting:
                    each.sendall(REQUEST)
                answers = [each.makefile("rb").read() for each in waiting]
                load.wait_for(50)
            for each in waiting:
                each.close()
            served = [answer for answer in answers if answer.startswith(b"HTTP/1.1 200") and first.encode() in answer]
            assert len(served) == 16
            # Each client had one connection, and lost at most that one.
            assert load.broken <= 8
            assert box.worker != worker and box.served() == first
            assert box.live()["worker"]["deaths"] == 1
            assert "killed by SIGKILL; it is started again" in box.log

    @pytest.mark.parametrize("unix", [False, pytest.param(True, marks=pytest.mark.crash)], ids=["tcp", "unix"])
    def test_asked_to_end_by_somebody_else_it_is_started_again_and_can_be_reached(self, tmp_path, one, unix):
        store_of(tmp_path / "store", one)
        with running(tmp_path / "store", uds=tmp_path / "s.sock" if unix else None) as box:
            worker = box.worker
            os.kill(worker, signal.SIGTERM)
            until(lambda: box.live()["worker"]["deaths"] == 1 and box.worker != worker)
            until(box.served)
            assert box.predict()[0] == 200

    def test_an_attempt_is_counted_before_the_load_and_once_however_often_it_is_asked_for(
        self, tmp_path, penguins_bundle, one
    ):
        bad = made.hanging(penguins_bundle, "2", at_load=True)
        store, (first, second) = store_of(tmp_path / "store", one, bad)
        with running(tmp_path / "store") as box:
            store.activate(second)
            for _ in range(3):
                answer = nudge(box.root, timeout_s=0.2)
                assert answer["models"].get(MODEL, {}).get("digest") in (None, f"sha256:{first}")
            assert tries(store) == 2
            store.settings(device="box-1")
            nudge(box.root, timeout_s=0.2)
            assert tries(store) == 2
            # What is active answers all the while, also after a death: it is loaded first.
            for left in (1, 0):
                assert box.predict()[1]["bundle"] == f"sha256:{first}"
                os.kill(box.worker, signal.SIGKILL)
                until(lambda left=left: tries(store) == left, why="counted")
            assert box.predict()[1]["bundle"] == f"sha256:{first}"
            os.kill(box.worker, signal.SIGKILL)
            until(lambda: store.state().models[MODEL].candidate is None, why="abandoned")
            assert box.event("rolled_back").signal == "process_deaths"
            assert second in store.state().models[MODEL].denied
            assert box.predict()[1]["bundle"] == f"sha256:{first}"
            # The bundle on trial was the suspect, so nobody else is blamed.
            assert store.state().models[MODEL].deaths_left == 3

    @pytest.mark.crash
    def test_a_bundle_under_which_it_dies_three_times_is_gone_back_from(self, tmp_path, one, two):
        store, (first, second) = store_of(tmp_path / "store", one, two)
        store.activate(second, now=True)
        with running(tmp_path / "store") as box:
            for deaths in (1, 2, 3):
                os.kill(box.worker, signal.SIGKILL)
                until(lambda deaths=deaths: box.live()["worker"]["deaths"] == deaths)
                until(lambda: box.served() is not None)
            assert box.predict()[1]["bundle"] == f"sha256:{first}"
            assert box.event("rolled_back").signal == "process_deaths"

    def test_stopped_on_trial_it_is_killed_and_the_bundle_gone_back_from(self, tmp_path, one, two):
        store, (first, second) = store_of(tmp_path / "store", one, two)
        with running(tmp_path / "store", trial=("stall_seconds=3",)) as box:
            store.activate(second)
            box.follow()
            worker = box.worker
            os.kill(worker, signal.SIGSTOP)
            until(lambda: not is_alive(worker), why="killed")
            until(lambda: store.state().models[MODEL].candidate is None)
            assert box.event("rolled_back").signal == "stall"
            box.wait_served(first)
            assert box.predict()[1]["version"] == "1"
            assert store.state().models[MODEL].deaths_left == 3

    def test_a_model_that_never_answers_is_gone_back_from(self, tmp_path, penguins_bundle, one):
        bad = made.hanging(penguins_bundle, "2")
        store, (first, second) = store_of(tmp_path / "store", one, bad)
        with running(tmp_path / "store", trial=("stall_seconds=3",)) as box:
            store.activate(second)
            box.follow()
            with socket.create_connection(("127.0.0.1", box.port), timeout=PATIENCE_S) as asked:
                asked.sendall(REQUEST)
                try:
                    assert asked.recv(1024) == b""  # nobody can answer it
                except ConnectionResetError:
                    pass
            box.wait_served(first)
            assert box.event("rolled_back").signal == "stall"
            assert box.predict()[1]["version"] == "1"

    @pytest.mark.crash
    def test_killed_while_a_trial_is_gone_back_from_it_serves_what_the_record_says(self, tmp_path, one, two):
        store, (first, second) = store_of(tmp_path / "store", one, two)
        with running(tmp_path / "store") as box, Load(box, known(one, two)) as load, load.forgiving():
            for _ in range(3):
                store.activate(second)
                box.follow()
                worker = box.worker
                store.roll_back(MODEL, reason="a test")
                os.kill(worker, signal.SIGKILL)
                store.allow(second)
                until(lambda worker=worker: box.worker != worker)
                box.wait_served(first)
            load.wait_for(50, first)

    @pytest.mark.crash
    def test_killed_in_the_middle_of_a_swap_it_serves_a_whole_bundle(self, tmp_path, one, two):
        store, (first, second) = store_of(tmp_path / "store", one, two)
        with running(tmp_path / "store") as box, Load(box, known(one, two)) as load, load.forgiving():
            for wait in (0.0, 0.005, 0.02):
                worker = box.worker
                store.activate(second, now=True)
                killer = threading.Timer(wait, os.kill, (worker, signal.SIGKILL))
                killer.start()
                box.follow()
                killer.join()
                until(lambda worker=worker: box.worker != worker)
                box.wait_served(second)
                load.wait_for(20, second)
                store.roll_back(MODEL, reason="a test")
                store.allow(second)
                box.follow()
            assert load.failures == []


@pytest.fixture
def hangs_up():
    """SIGHUP as a terminal gives it: what runs under nohup ignores it, and so would a box that it starts."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


class TestSupervisor:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
    @pytest.mark.usefixtures("hangs_up")
    def test_asked_to_end_under_load_it_loses_no_request(self, tmp_path, one, number):
        store_of(tmp_path / "store", one)
        with running(tmp_path / "store") as box:
            worker = box.worker
            started = threading.Barrier(9)
            clients = [Client(box, BODY, started) for _ in range(8)]
            for client in clients:
                client.start()
            started.wait()
            until(lambda: sum(client.answered for client in clients) > 500)
            assert box.stop(number) == 0
            for client in clients:
                client.join(timeout=PATIENCE_S)
            assert [failure for client in clients for failure in client.failures] == []
            assert not is_alive(worker)

    def test_killed_it_loses_no_request_and_the_next_one_adopts_the_worker_and_its_trial(self, tmp_path, one, two):
        store, (first, second) = store_of(tmp_path / "store", one, two)
        trial = ("min_seconds=3", "min_requests=20")
        with running(tmp_path / "store", trial=trial) as box, Load(box, known(one, two)) as load:
            store.activate(second)
            box.follow()
            worker = box.worker
            box.kill()
            load.wait_for(300, second)
            assert live(box.root) is None
            with running(tmp_path / "store", trial=trial) as again:
                assert again.port == box.port
                assert again.worker == worker and again.served() == second
                assert f"process {worker} was left serving and goes on" in again.log
                assert tries(store) == 2
                until(lambda: store.state().models[MODEL].active == second, why="confirmed")
                load.wait_for(50, second)
                assert load.failures == []
                load._ends = True
                for each in load._threads:
                    each.join()
                assert again.stop() == 0
            assert not is_alive(worker)

    def test_killed_while_a_bundle_loads_the_next_one_adopts_the_worker_all_the_same(
        self, tmp_path, penguins_bundle, one
    ):
        bad = made.hanging(penguins_bundle, "2", at_load=True)
        store, (first, second) = store_of(tmp_path / "store", one, bad)
        with running(tmp_path / "store") as box, Load(box, known(one)) as load:
            store.activate(second)
            nudge(box.root, timeout_s=0.2)
            until(lambda: tries(store) == 2)
            worker = box.worker
            box.kill()
            with running(tmp_path / "store", wait=False) as again:
                until(lambda: again.live().get("worker", {}).get("pid") == worker, why="adopted")
                load.wait_for(50, first)
                assert load.failures == []
                load._ends = True

    @pytest.mark.crash
    def test_asked_to_end_before_a_worker_that_was_left_has_come_forward_it_ends_that_too(self, tmp_path, one):
        store_of(tmp_path / "store", one)
        with running(tmp_path / "store") as box:
            worker = box.worker
            box.kill()
            os.kill(worker, signal.SIGSTOP)
            with running(tmp_path / "store", wait=False) as again:
                until(lambda: again.live())
                again.process.send_signal(signal.SIGTERM)
                until(lambda: "it gets SIGTERM" in again.log)
                os.kill(worker, signal.SIGCONT)
                assert again.process.wait(PATIENCE_S) == 0
                assert not is_alive(worker)

    def test_both_killed_at_once_the_next_start_serves(self, tmp_path, one, two):
        store, (first, second) = store_of(tmp_path / "store", one, two)
        with running(tmp_path / "store") as box:
            store.activate(second)
            box.follow()
            worker = box.worker
            box.process.kill()
            os.kill(worker, signal.SIGKILL)
            box.process.wait()
            assert tries(store) == 2
            with running(tmp_path / "store") as again:
                box.wait_served(second)
                assert again.predict()[1]["bundle"] == f"sha256:{second}"
                assert tries(store) == 1

    @pytest.mark.crash
    def test_killed_again_and_again_at_any_moment_it_never_leaves_the_box_without_an_answer(self, tmp_path, one, two):
        store, (first, second) = store_of(tmp_path / "store", one, two)
        box = RunningStore(tmp_path / "store")
        port = box.port
        try:
            with Load(box, known(one, two)) as load:
                for turn in range(6):
                    if turn % 2:
                        store.roll_back(MODEL, reason="a test")
                        store.allow(second)
                    else:
                        store.activate(second, now=True)
                    threading.Thread(target=nudge, args=(box.root,), daemon=True).start()
                    time.sleep(turn * 0.01)
                    box.kill()
                    box = RunningStore(tmp_path / "store")
                    assert box.port == port
                    box.wait_served(first if turn % 2 else second)
                    load.wait_for(20)
                assert load.failures == []
        finally:
            box.stop()
            end_left(tmp_path / "store")


@contextmanager
def in_this_process(root, **options) -> Iterator[tuple[Supervisor, list[str]]]:
    """A supervisor on a thread, with numbers that no option of the command sets."""
    said: list[str] = []
    store = Store(root)
    trials = Trials(root / "trials.json", TrialConfig(), lambda _: None)
    supervisor = Supervisor(store, trials, options=WorkerOptions(arguments=("--port", "0"), **options), say=said.append)
    status: list[int] = []
    ready = threading.Event()
    thread = threading.Thread(target=lambda: status.append(supervisor.run(ready=lambda _: ready.set())), daemon=True)
    thread.start()
    try:
        assert ready.wait(PATIENCE_S)
        yield supervisor, said
    finally:
        supervisor.stop()
        thread.join(PATIENCE_S)
        end_left(root)
        said.append(f"status {status}")


def test_a_load_that_never_ends_is_given_up(tmp_path, penguins_bundle, one):
    bad = made.hanging(penguins_bundle, "2", at_load=True)
    store, (first, second) = store_of(tmp_path / "store", one, bad)
    with in_this_process(tmp_path / "store", start_s=2.0) as (supervisor, said):
        store.activate(second)
        supervisor.follow(0.1)
        until(lambda: store.state().models[MODEL].candidate is None)
        until(lambda: supervisor.live()["models"].get(MODEL, {}).get("digest") == f"sha256:{first}")
        event = until(lambda: [e.event for e in store.journal.entries() if e.event.kind == "rolled_back"])[0]
        assert event.signal == "stall" and "still loading after" in event.reason
        assert store.state().models[MODEL].deaths_left == 3
        assert any("the worker is killed" in line for line in said)


def test_a_worker_that_was_left_behind_and_is_deaf_is_killed(tmp_path, one, monkeypatch):
    monkeypatch.setattr("edgeml.supervisor.supervisor.ADOPT_S", 0.5)
    store_of(tmp_path / "store", one)
    with running(tmp_path / "store") as box:
        worker = box.worker
        box.kill()
        os.kill(worker, signal.SIGSTOP)
        with in_this_process(tmp_path / "store") as (supervisor, said):
            assert not is_alive(worker)
            assert supervisor.live()["worker"]["pid"] != worker
            assert f"process {worker} was left behind; it gets SIGKILL" in said


def test_a_worker_that_does_not_end_when_asked_is_killed(tmp_path, one):
    store_of(tmp_path / "store", one)
    with in_this_process(tmp_path / "store", stop_s=0.5) as (supervisor, said):
        worker = supervisor.live()["worker"]["pid"]
        os.kill(worker, signal.SIGSTOP)
        supervisor.stop()
        until(lambda: not is_alive(worker))
    assert "the worker has not ended within 0.5 s and is killed" in said and said[-1] == "status [1]"


class Held:
    """A worker process that cannot be harmed."""

    pid = 1
    status = None

    def __init__(self) -> None:
        self.signals: list[int] = []

    def signal(self, number: int) -> None:
        self.signals.append(number)


def test_time_in_which_the_supervisor_itself_did_not_run_is_not_held_against_the_worker(tmp_path, one):
    """It was stopped, or waited for a slow disk: what the worker has said meanwhile waits to be read."""
    store, _ = store_of(tmp_path / "store", one)
    now = [1000.0]
    trials = Trials(tmp_path / "trials.json", TrialConfig(), lambda _: None)
    supervisor = Supervisor(store, trials, clock=lambda: now[0], say=lambda _: None)
    process = Held()
    supervisor._worker.process, supervisor._worker.heard, supervisor._worker.loading = process, 1000.0, False
    supervisor._look()
    now[0] += 600
    supervisor._look()
    assert process.signals == []
    for _ in range(30):
        now[0] += 0.5
        supervisor._look()
    assert process.signals == [signal.SIGKILL]
