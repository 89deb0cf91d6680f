"""A thread for the next request, though the only one waits: by the word of the test, and with a real service."""

import socket
import threading
import time

import pytest
from serving.running import JSON, Running
from serving.test_hostile_requests import HEAD

from edgeml.serving.relief import LOOK_S, MOST_LOOK_S, PATIENCE, Relief, poke

SLOW = HEAD + b"Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{"


class World:
    """A service whose threads do what the test says at each look."""

    def __init__(self, threads=2):
        self.answered, self.begun, self.pokes, self.pauses = set(), 0, 0, []
        self.script = []
        self.relief = Relief(
            threads, answered=self.answered, begun=lambda: self.begun, poke=self.poked, pause=self.paused
        )

    def poked(self):
        self.pokes += 1
        self.begun += 2

    def paused(self, seconds):
        self.pauses.append(seconds)
        if not self.script:
            self.relief.stop()
            return
        self.script.pop(0)()

    def begin(self):
        self.begun += 1
        self.relief.begins()

    def end(self):
        self.relief.ends()
        self.answered.add(threading.get_ident())

    def look(self, *script):
        self.script = list(script)
        self.relief.watch()
        return self.pokes


def nothing():
    """A look at which nothing has happened."""


def test_the_only_thread_that_is_stuck_calls_for_another():
    world = World()
    assert world.look(world.begin, nothing, nothing) >= 1


def test_a_thread_that_gets_on_calls_for_none():
    world = World()

    def goes_on():
        world.end()
        world.begin()

    assert world.look(world.begin, *[goes_on] * 20, world.end, *[nothing] * 5) == 0


def test_where_another_thread_is_free_none_is_called_for():
    """One waits for a slow client for ever; the other has answered, and waits for requests."""
    world = World(threads=4)
    world.answered.add(-1)
    assert world.look(world.begin, *[nothing] * (PATIENCE - 5)) == 0


def test_all_threads_are_there_and_the_watch_ends():
    world = World()
    world.answered.update({-1, -2})
    world.relief.watch()
    assert world.pauses == []


def test_calls_that_bring_nobody_become_rare():
    world = World()
    pokes = world.look(world.begin, *[nothing] * 60)
    assert pokes > 3 and world.pauses[0] == LOOK_S and world.pauses[-1] == MOST_LOOK_S
    assert sum(world.pauses) / pokes > MOST_LOOK_S / 2


def test_it_sleeps_while_nothing_is_asked_and_wakes_with_the_next_request():
    world = World(threads=3)
    world.relief._pause = lambda _: time.sleep(0.0005)
    watching = threading.Thread(target=world.relief.watch)
    watching.start()
    try:
        while not world.relief._asleep:
            time.sleep(0.001)
        world.begin()
        while not world.pokes:
            time.sleep(0.001)
        world.end()
    finally:
        world.relief.stop()
        watching.join(10)
    assert not watching.is_alive()


def test_a_socket_that_cannot_be_reached_costs_nothing():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        poke(closed)


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
def test_one_client_beside_a_slow_one_is_answered(penguins_path, tmp_path, body, unix):
    """Nobody else asks: the slow one has the only thread, and is there before the other comes."""
    running = Running(penguins_path, "--threads", "2", uds=tmp_path / "s" if unix else None)
    try:
        with running.connect_raw() as slow:
            slow.sendall(SLOW)
            time.sleep(0.1)
            for _ in range(3):
                assert running.post("/v1/predict", body)[0] == 200
    finally:
        assert running.stop() == (0, "")


def test_one_client_beside_three_slow_ones_is_answered(penguins_path, body):
    running = Running(penguins_path, "--threads", "4")
    slow = []
    try:
        for _ in range(3):
            slow.append(running.connect_raw())
            slow[-1].sendall(SLOW)
            time.sleep(0.1)
            assert running.post("/v1/predict", body, JSON)[0] == 200
    finally:
        for each in slow:
            each.close()
        assert running.stop() == (0, "")


@pytest.mark.crash
def test_sixty_starts_with_a_slow_client_and_one_other_at_once(penguins_path, body):
    """The server misses the second request in one start of 25 or so, and only just after it has begun to listen."""
    for _ in range(60):
        running = Running(penguins_path, "--threads", "2")
        try:
            with running.connect_raw() as slow:
                slow.sendall(SLOW)
                assert running.post("/v1/predict", body)[0] == 200
        finally:
            assert running.stop() == (0, "")
