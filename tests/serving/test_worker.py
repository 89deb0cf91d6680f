"""The worker process alone, with the test in the place of its supervisor."""

import http.client
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest
from supervisor import penguin_bundles as made
from supervisor.running_store import BODY, JSON, PATIENCE_S, end, store_of, until

from edgeml.monitor.link import Link, listen, places

REQUEST = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY


class Boss:
    """A supervisor by hand."""

    def __init__(self, root):
        self.root = root
        self.listening = listen(places(root)[0])
        self.listening.settimeout(PATIENCE_S)
        self.link = None
        self.turn = 0

    def hear(self):
        """Takes the worker's next hello; gives it and the socket that came along."""
        accepted, _ = self.listening.accept()
        accepted.settimeout(None)
        self.link = Link(accepted)
        hello = self.link.receive(PATIENCE_S)
        (descriptor,) = self.link.take_descriptors()
        return hello, socket.socket(fileno=descriptor)

    def order(self, *models, **more):
        self.turn += 1
        self.link.send({"kind": "serve", "turn": self.turn, "models": list(models)} | more)

    def told(self, kind):
        """The next message of a kind."""
        while (document := self.link.receive(PATIENCE_S)) is not None:
            if document["kind"] == kind:
                return document
        raise AssertionError("the worker hung up")

    def close(self):
        if self.link is not None:
            self.link.close()
        self.listening.close()


@contextmanager
def worker(root, *words, command=("-m", "edgeml")):
    process = subprocess.Popen(
        [sys.executable, *command, "worker", "--store", str(root), "--port", "0", *words],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        end(process.pid)
        process.wait()
        process.stderr.close()


@pytest.fixture
def one(penguins_bundle):
    return made.version(penguins_bundle, "1")


@pytest.fixture
def box(tmp_path, one, penguins_bundle):
    two = made.version(penguins_bundle, "2")
    hangs = made.hanging(penguins_bundle, "3", at_load=True)
    stuck = made.hanging(penguins_bundle, "4")
    _, digests = store_of(tmp_path / "store", one, two, hangs, stuck)
    boss = Boss(tmp_path / "store")
    with worker(tmp_path / "store") as process:
        yield boss, process, digests
    boss.close()


def ask(listening):
    host, port = listening.getsockname()[:2]
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE_S)
    try:
        connection.request("POST", "/v1/predict", BODY, JSON)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def penguins(digest, **more):
    return {"model": "penguins", "digest": digest} | more


def test_it_answers_once_it_is_told_to_and_tells_what_it_did(box):
    boss, process, (first, second, *_) = box
    hello, listening = boss.hear()
    assert hello["pid"] == process.pid and hello["serving"] == {} and hello["life"] > 2**20
    with listening:
        boss.order(penguins(first))
        told = boss.told("loaded")
        assert told["turn"] == 1 and told["models"]["penguins"]["digest"] == first
        with socket.create_connection(listening.getsockname()) as early:
            early.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            early.settimeout(0.3)
            with pytest.raises(TimeoutError):
                early.recv(1)
            boss.link.send({"kind": "begin"})
            early.settimeout(PATIENCE_S)
            assert early.recv(100).startswith(b"HTTP/1.1 200")
        assert first in ask(listening)[1]
        until(lambda: boss.told("counters")["models"]["penguins"][first]["requests"] == 1)
        counters = boss.told("counters")
        assert counters["rss_bytes"] > 2**20 and (counters["stuck_s"], counters["stuck"]) == (0.0, "")
        assert counters["loading"] is None
        boss.order(penguins(second, previous=first, trial=True))
        assert boss.told("loaded")["models"]["penguins"]["warm"] is False
        assert second in ask(listening)[1]
        assert set(boss.told("counters")["models"]["penguins"]) == {first, second}
        boss.order(penguins(first))
        assert boss.told("loaded")["models"]["penguins"]["warm"] is True


def test_a_question_that_does_not_come_back_is_told_with_the_bundle_that_has_it(box):
    boss, _, (first, *_, stuck) = box
    _, listening = boss.hear()
    with listening:
        boss.order(penguins(stuck, previous=first, trial=True))
        boss.told("loaded")
        boss.link.send({"kind": "begin"})
        with socket.create_connection(listening.getsockname()) as asking:
            asking.sendall(REQUEST)
            found = until(lambda: (told := boss.told("counters"))["stuck_s"] and told)
            assert found["stuck"] == stuck
            boss.order(penguins(first))
            boss.told("loaded")
            assert boss.told("counters")["stuck"] == stuck


def test_without_a_supervisor_it_serves_on_and_says_hello_to_the_next(box):
    boss, process, (first, *_) = box
    hello, listening = boss.hear()
    with listening:
        boss.order(penguins(first))
        boss.told("loaded")
        boss.link.send({"kind": "begin"})
        boss.link.close()
        assert ask(listening)[0] == 200
        again, same = boss.hear()
        with same:
            assert same.getsockname() == listening.getsockname()
        assert again == hello | {"serving": {"penguins": first}}
        boss.order(penguins(first))
        assert boss.told("loaded")["models"]["penguins"]["warm"] is True
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0


def test_while_it_loads_it_speaks_serves_and_finds_the_next_supervisor(box):
    boss, process, (first, _, hangs, _) = box
    _, listening = boss.hear()
    with listening:
        boss.order(penguins(first))
        boss.told("loaded")
        boss.link.send({"kind": "begin"})
        boss.order(penguins(hangs, previous=first, trial=True))
        loading = until(lambda: boss.told("counters")["loading"])
        assert loading["digest"] == hangs and 0 <= loading["seconds"] < PATIENCE_S
        assert first in ask(listening)[1]
        boss.link.close()
        hello, same = boss.hear()
        same.close()
        assert hello["serving"] == {"penguins": first} and first in ask(listening)[1]


def test_only_the_newest_orders_count(box):
    boss, _, (first, second, *_) = box
    _, listening = boss.hear()
    listening.close()
    for _ in range(5):
        boss.order(penguins(second))
        boss.order(penguins(first))
    turns = []
    while not turns or turns[-1]["turn"] < 10:
        turns.append(boss.told("loaded"))
    assert turns[-1]["models"]["penguins"]["digest"] == first and len(turns) <= 10


@pytest.mark.parametrize("models", [5, [{"model": "penguins"}], None])
def test_orders_that_it_does_not_understand_change_nothing(box, models):
    boss, process, (first, *_) = box
    _, listening = boss.hear()
    with listening:
        boss.order(penguins(first))
        boss.told("loaded")
        boss.link.send({"kind": "begin"})
        boss.link.send({"kind": "song", "text": "la"})
        boss.link.send({"kind": "serve", "turn": 9, "models": models})
        assert boss.told("counters")["models"]["penguins"][first]["requests"] >= 0
        boss.order(penguins(first), turn=10)
        assert boss.told("loaded")["turn"] == 10
        assert ask(listening)[0] == 200


# A worker that asks the golden rows again at once, and what comes of it.
RETEST = """
import functools, pathlib, sys, threading, time
from edgeml.cli import main
from edgeml.runtime.golden import GoldenReport
from edgeml.runtime.predictor import Predictor
from edgeml.serving import worker

mark, genuine = pathlib.Path({mark!r}), Predictor.golden_check

def golden_check(self):
    if threading.current_thread().name != "edgeml-golden":
        return genuine(self)
    mark.write_text(self.version)
    {then}

Predictor.golden_check = golden_check
worker.Worker = functools.partial(worker.Worker, golden_s=0.05)
main()
"""


@pytest.fixture
def retested(tmp_path, one, penguins_bundle):
    """Starts a worker of which version 2 is on trial; gives its supervisor, and the digests."""
    _, digests = store_of(tmp_path / "store", one, made.version(penguins_bundle, "2"))
    mark = tmp_path / "asked"

    @contextmanager
    def begin(then):
        boss = Boss(tmp_path / "store")
        with worker(tmp_path / "store", command=("-c", RETEST.format(mark=str(mark), then=then))):
            _, listening = boss.hear()
            with listening:
                boss.order(penguins(digests[1], previous=digests[0], trial=True))
                assert boss.told("loaded")["models"]["penguins"]["digest"] == digests[1]
                boss.link.send({"kind": "begin"})
                assert until(lambda: mark.exists() and mark.read_text()) == "2"
                yield boss, digests
        boss.close()

    return begin


@pytest.mark.parametrize("then", ["return GoldenReport(1, ('row 0 differs',))", "raise KeyError('no such label')"])
def test_golden_rows_that_fail_during_a_trial_are_counted(retested, then):
    with retested(then) as (boss, (_, second)):
        until(lambda: boss.told("counters")["models"]["penguins"][second]["golden_failures"] > 1)


def test_a_box_that_fails_at_the_golden_rows_blames_no_bundle(retested):
    with retested("raise MemoryError") as (boss, (_, second)):
        for _ in range(2):
            assert boss.told("counters")["models"]["penguins"][second]["golden_failures"] == 0


def test_golden_rows_that_take_long_stop_no_sign_of_life(retested):
    with retested("time.sleep(3600)") as (boss, (_, second)):
        for _ in range(3):
            told = boss.told("counters")
            assert (told["stuck_s"], told["models"]["penguins"][second]["golden_failures"]) == (0.0, 0)


def test_a_second_worker_on_one_store_is_refused(box):
    boss, _, _ = box
    boss.hear()[1].close()
    with worker(boss.root) as second:
        assert second.wait(PATIENCE_S) == 1
        assert "another worker serves from" in second.stderr.read()


def test_a_socket_that_is_none_is_refused(box):
    boss, _, _ = box
    with open(os.devnull) as nothing:
        done = subprocess.run(
            [sys.executable, "-m", "edgeml", "worker", "--store", str(boss.root), "--listen-fd", str(nothing.fileno())],
            pass_fds=[nothing.fileno()],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
    assert done.returncode == 3 and done.stderr.startswith("error: ") and "Traceback" not in done.stderr
