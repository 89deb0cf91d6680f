"""Load and what is measured of it, against a real server whose answers and stalls are known."""

import json
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from edgeml.errors import RequestError
from edgeml.fleet.request_load import Outcome, Target, pace, saturate
from edgeml.fleet.service_bench import Measured, measure_service

BODY = b'{"records":[{}]}'


class Server:
    """Answers one connection after the other on one thread; what it answers, and when, is given by number."""

    def __init__(self, listening, answer):
        self.listening = listening
        self.answer = answer
        self.requests = []
        self.lock = threading.Lock()

    def accept(self):
        while True:
            try:
                connected, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connected,), daemon=True).start()

    def serve(self, connected):
        data = b""
        with connected:
            while True:
                while b"\r\n\r\n" not in data or len(data.partition(b"\r\n\r\n")[2]) < length(data):
                    piece = connected.recv(65536)
                    if not piece:
                        return
                    data += piece
                head, _, rest = data.partition(b"\r\n\r\n")
                with self.lock:
                    number = len(self.requests)
                    self.requests.append((head, rest[: length(data)]))
                data = rest[length(data) :]
                said = self.answer(number)
                if said is None:
                    return
                connected.sendall(said)


def length(data):
    head = data.partition(b"\r\n\r\n")[0].lower()
    return int(head.split(b"content-length:")[1].split(b"\r\n")[0])


def ok(_number=0):
    return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@contextmanager
def serving(answer, family=socket.AF_INET, path=None):
    with socket.socket(family) as listening:
        listening.bind(("127.0.0.1", 0) if path is None else str(path))
        listening.listen(64)
        server = Server(listening, answer)
        threading.Thread(target=server.accept, daemon=True).start()
        where = f"unix:{path}" if path else f"http://127.0.0.1:{listening.getsockname()[1]}"
        try:
            yield server, Target.of(where)
        finally:
            listening.shutdown(socket.SHUT_RDWR)


def test_requests_are_sent_in_turn_and_every_answer_is_counted():
    with serving(ok) as (server, target):
        requests = [target.request("/v1/predict", b'{"n":%d}' % number) for number in range(3)]
        outcome = saturate(target, requests, connections=1, seconds=0.2)
        assert outcome.answers == len(server.requests) > 10 and outcome.errors == 0
        assert [body for _, body in server.requests[:4]] == [b'{"n":0}', b'{"n":1}', b'{"n":2}', b'{"n":0}']
        assert server.requests[0][0].startswith(b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1:")
        assert outcome.latencies_ns == [] and outcome.rate > 0


def test_a_unix_socket_is_a_target(tmp_path):
    with serving(ok, socket.AF_UNIX, tmp_path / "s") as (server, target):
        outcome = pace(target, [target.request("/x", BODY)], rate=500, connections=2, seconds=0.2)
        assert (outcome.answers, outcome.errors) == (100, 0) and len(server.requests) == 100


def test_a_stall_is_charged_to_every_request_that_had_to_wait():
    """One answer takes 0.5 s; at 200 requests a second on one connection some 100 requests are late for it."""

    def answer(number):
        if number == 20:
            time.sleep(0.5)
        return ok()

    with serving(answer) as (_, target):
        outcome = pace(target, [target.request("/x", BODY)], rate=200, connections=1, seconds=1.0)
    assert (outcome.answers, outcome.errors) == (200, 0)
    late = sum(each > 100e6 for each in outcome.latencies_ns)
    # A closed loop would have seen one; the queue drains in a few moments, so about 80 of them waited over 0.1 s.
    assert late >= 60
    assert outcome.percentile_ms(100) >= 400
    assert outcome.share_above(100) == late / 200


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy", "status 503: busy"),
        (None, "the connection was closed"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "no Content-Length"),
    ],
)
def test_what_goes_wrong_is_an_error_and_is_named(said, words):
    with serving(lambda number: said if number % 2 else ok()) as (_, target):
        outcome = pace(target, [target.request("/x", BODY)], rate=200, connections=2, seconds=0.2)
        assert (outcome.answers, outcome.errors) == (20, 20)
        assert words in outcome.first_error
        assert outcome.share_above(1e6) == 0.5


def test_an_answer_that_never_comes_is_an_error(monkeypatch):
    monkeypatch.setattr("edgeml.fleet.request_load.LATE_S", 0.3)
    forever = threading.Event()

    def answer(number):
        if number == 3:
            forever.wait(10)
        return ok()

    try:
        with serving(answer) as (_, target):
            requests = [target.request("/x", BODY)]
            outcome = pace(target, requests, rate=100, connections=1, seconds=0.1)
            assert (outcome.answers, outcome.errors) == (3, 7)
            forever.set()
            forever.clear()
        with serving(answer) as (_, target):
            closed = saturate(target, requests, connections=1, seconds=0.1)
            assert (closed.answers, closed.errors, closed.first_error) == (3, 1, "no answer came in time")
    finally:
        forever.set()


@pytest.mark.parametrize("url", ["ftp://x", "http://", "localhost:80", "http://x:99999"])
def test_a_target_that_is_none_is_refused(url):
    with pytest.raises(RequestError, match="http://HOST:PORT|Port"):
        Target.of(url)


def test_nobody_listens():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        target = Target.of(f"http://127.0.0.1:{free.getsockname()[1]}")
        with pytest.raises(RequestError, match="nobody answers"):
            saturate(target, [b""], connections=1, seconds=0.1)


def test_percentiles_and_shares():
    outcome = Outcome(answers=100, latencies_ns=[each * 1_000_000 for each in range(1, 101)], errors=0)
    assert [outcome.percentile_ms(share) for share in (50, 99, 99.9, 100)] == [50, 99, 100, 100]
    assert outcome.share_above(90) == 0.1
    outcome.errors = 100
    assert outcome.share_above(90) == 110 / 200


def test_an_objective_fails_with_its_share_and_not_before():
    def answer(number):
        if number % 50 == 0:
            time.sleep(0.03)
        return ok()

    with serving(answer) as (_, target):
        requests = [target.request("/x", BODY)]
        strict = measure_service(
            target, requests, slo={"p99_ms": 20.0, "deadline_ms": 5000.0}, rate=300, connections=8, seconds=0.7
        )
    names = {each.name: each for each in strict.objectives}
    assert not names["p99_ms"].holds and names["p99_ms"].share > 0.01
    assert names["deadline_ms"].holds and names["deadline_ms"].share == 0
    assert not strict.holds
    document = json.loads(json.dumps(strict.to_dict()))
    assert document["errors"] == 0 and document["cpu_us"] is None and not document["holds"]
    assert any("are few for a p99.9" in each for each in strict.doubts)


def test_errors_alone_break_the_promise():
    good = Outcome(answers=5000, seconds=1.0, latencies_ns=[1000] * 5000)
    assert Measured(good, good, 5000.0, None, None).holds
    assert not Measured(good, Outcome(answers=5000, errors=1), 5000.0, None, None).holds


def test_a_side_that_is_too_slow_says_so():
    late = Outcome(answers=5000, latencies_ns=[1000] * 5000, lateness_ns=3_000_000)
    assert "because this side was busy" in Measured(late, late, 1.0, None, None).doubts[0]
