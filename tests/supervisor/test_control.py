"""The supervisor's private socket: who is heard, who gets an answer, and who is not let hold anything up."""

import queue
import socket
import threading

import pytest

from edgeml.monitor.link import places, reach
from edgeml.supervisor.channel import live, nudge
from edgeml.supervisor.control import Control


@pytest.fixture
def events():
    return queue.SimpleQueue()


@pytest.fixture
def control(tmp_path, events):
    made = Control(
        tmp_path, worker=events.put, follow=lambda seconds: {"nudged": seconds}, live=lambda: {"models": {}}, keep=len
    )
    yield made
    made.close()


def test_questions_are_answered(control, tmp_path):
    assert nudge(tmp_path, timeout_s=10) == {"nudged": 10}
    assert live(tmp_path) == {"models": {}}


def test_events_are_handed_over_with_a_nudge(control, tmp_path):
    assert nudge(tmp_path, timeout_s=10, events=[["a"], ["b"]]) == {"nudged": 10, "events": 2}


def test_nobody_there_is_none(tmp_path):
    assert nudge(tmp_path, timeout_s=1) is None and live(tmp_path) is None


def test_an_answer_that_does_not_come_is_told(tmp_path):
    slow = threading.Event()
    made = Control(tmp_path, worker=lambda _: None, follow=lambda _: {"late": slow.wait(10)}, live=dict, keep=len)
    assert "no answer within 2.1 s" in nudge(tmp_path, timeout_s=0.1)["reason"]
    slow.set()
    made.close()


def test_a_worker_is_heard_from_hello_to_its_end(control, tmp_path, events):
    link = reach(tmp_path, timeout_s=5)
    link.send({"kind": "hello", "pid": 5})
    link.send({"kind": "counters"})
    link.close()
    (first, theirs, hello), second, third = (events.get(timeout=10) for _ in range(3))
    assert (first, hello) == ("hello", {"kind": "hello", "pid": 5})
    assert second == ("heard", theirs, {"kind": "counters"}) and third == ("gone", theirs)
    theirs.close()


def test_a_nudge_that_does_not_say_how_long_it_waits(control, tmp_path):
    link = reach(tmp_path, timeout_s=5)
    link.send({"kind": "nudge"})
    assert link.receive(10) == {"nudged": 60.0}
    link.close()


@pytest.mark.parametrize(
    "said",
    [b"", b"garbage\n", b'{"kind":"other"}\n', b'{"kind":["x"]}\n', b'{"kind":"nudge","wait_s":[]}\n', b"[]\n", b"{}"],
)
def test_whoever_says_something_else_is_hung_up_on(control, tmp_path, events, said):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(places(tmp_path)[0]))
        client.sendall(said)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b""
    assert events.empty() and live(tmp_path) == {"models": {}}


def test_many_connections_that_say_nothing_keep_nobody_out(control, tmp_path):
    silent = [reach(tmp_path, timeout_s=5) for _ in range(100)]
    assert live(tmp_path) == {"models": {}}
    for link in silent:
        link.close()


def test_closing_hangs_up_and_takes_the_name_away(tmp_path, events):
    made = Control(tmp_path, worker=events.put, follow=lambda _: {}, live=dict, keep=len)
    link = reach(tmp_path, timeout_s=5)
    link.send({"kind": "hello"})
    events.get(timeout=10)
    made.close()
    assert link.receive(10) is None and not places(tmp_path)[0].exists()
    link.close()
