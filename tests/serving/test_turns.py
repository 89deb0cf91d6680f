"""Who works and who rests: on a clock of the test's own, with threads that take turns at the test's word."""

import threading

import pytest

from edgeml.serving.turns import MANY, TICK_S, Turns


class World:
    """A clock that only rests move, and requests that only the test begins."""

    def __init__(self) -> None:
        self.now = 0.0
        self.begun = 0
        self.rests = 0
        self.each_rest: list[int] = []
        self.turns = Turns(lambda: self.begun, rest=self.rest, clock=lambda: self.now)

    def rest(self, seconds: float) -> None:
        assert seconds == TICK_S
        self.now += seconds
        self.rests += 1
        self.begun += self.each_rest.pop(0) if self.each_rest else 0

    def answered_elsewhere(self) -> None:
        thread = threading.Thread(target=self.turns.answered)
        thread.start()
        thread.join()


@pytest.fixture
def world():
    return World()


def test_a_thread_alone_never_rests(world):
    for _ in range(100):
        world.begun += 1
        world.turns.answered()
    assert world.rests == 0


def test_a_second_thread_rests_while_requests_are_many(world):
    world.turns.answered()
    world.begun += MANY + 1
    world.each_rest = [MANY + 1, 10 * MANY, MANY]
    world.answered_elsewhere()
    assert world.rests == 3


def test_it_goes_back_at_once_where_the_first_is_held_up(world):
    world.turns.answered()
    world.begun += MANY + 1
    world.answered_elsewhere()
    assert world.rests == 1


def test_it_does_not_rest_where_there_is_little_to_do(world):
    world.turns.answered()
    for _ in range(50):
        world.begun += 1
        world.now += TICK_S / MANY
        world.answered_elsewhere()
        world.turns.answered()
    assert world.rests == 0


def test_who_came_back_is_now_the_one_that_works(world):
    world.turns.answered()
    world.begun += MANY + 1
    came_back = threading.Event()
    go_on = threading.Event()

    def second() -> None:
        world.turns.answered()
        came_back.set()
        go_on.wait(10)
        world.begun += 10 * MANY
        world.turns.answered()

    thread = threading.Thread(target=second)
    thread.start()
    assert came_back.wait(10)
    rests = world.rests
    go_on.set()
    thread.join()
    assert world.rests == rests
    world.turns.answered()
    assert world.rests == rests + 1
