"""Clients that send their bodies slowly, from the first moment of a service: they hold up nobody and cost no thread."""

import time

import pytest
from serving.running import JSON, Running
from serving.test_hostile_requests import HEAD

SLOW = HEAD + b"Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{"


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
def test_one_client_beside_a_slow_one_is_answered(penguins_path, tmp_path, body, unix):
    """Nobody else asks: the slow one has the only thread, and is there before the other comes."""
    running = Running(penguins_path, "--threads", "1", uds=tmp_path / "s" if unix else None)
    try:
        with running.connect_raw() as slow:
            slow.sendall(SLOW)
            time.sleep(0.1)
            for _ in range(3):
                assert running.post("/v1/predict", body)[0] == 200
    finally:
        assert running.stop() == (0, "")


def test_one_client_beside_many_slow_ones_is_answered_by_one_thread(penguins_path, body):
    running = Running(penguins_path, "--threads", "1")
    slow = []
    try:
        for _ in range(20):
            slow.append(running.connect_raw())
            slow[-1].sendall(SLOW)
            assert running.post("/v1/predict", body, JSON)[0] == 200
    finally:
        for each in slow:
            each.close()
        assert running.stop() == (0, "")


@pytest.mark.crash
def test_sixty_starts_with_a_slow_client_and_one_other_at_once(penguins_path, body):
    """A server that hands requests to threads once missed the second one in 25 starts or so, and only just then."""
    for _ in range(60):
        running = Running(penguins_path, "--threads", "2")
        try:
            with running.connect_raw() as slow:
                slow.sendall(SLOW)
                assert running.post("/v1/predict", body)[0] == 200
        finally:
            assert running.stop() == (0, "")
