"""SIGTERM and SIGINT: whoever sent a request gets an answer, and the status is 0."""

import http.client
import signal
import socket
import threading
import time
from contextlib import closing

import pytest
from serving.running import JSON, Running

CONNECTIONS = 16


class Client(threading.Thread):
    """Asks without pause on kept connections until no connection can be made."""

    def __init__(self, running: Running, body: bytes, started: threading.Barrier) -> None:
        super().__init__()
        self.running = running
        self.body = body
        self.started = started
        self.answered = 0
        self.failures: list[str] = []

    def run(self) -> None:
        with closing(self.running.connect()) as connection:
            connection.connect()
            self.started.wait()
            self._ask_on(connection)

    def _ask_on(self, connection: http.client.HTTPConnection) -> None:
        while True:
            if connection.sock is None:
                try:
                    connection.connect()
                except (ConnectionRefusedError, FileNotFoundError):
                    return  # nobody listens: nothing was sent
            try:
                connection.request("POST", "/v1/predict", self.body, JSON)
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"after {self.answered} answers: {error!r}")
                return
            if response.status != 200:
                self.failures.append(f"status {response.status}")
                return
            self.answered += 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
def test_no_request_is_lost_under_load(penguins_path, body, tmp_path, unix, number):
    running = Running(penguins_path, uds=tmp_path / "edgeml.sock" if unix else None)
    started = threading.Barrier(CONNECTIONS + 1)
    clients = [Client(running, body, started) for _ in range(CONNECTIONS)]
    for client in clients:
        client.start()
    idle = [running.connect() for _ in range(4)]
    for connection in idle:
        connection.connect()
    started.wait()
    while sum(client.answered for client in clients) < 2000:
        time.sleep(0.01)
    status, errors = running.stop(number)
    for client in clients:
        client.join(timeout=20)
    assert [failure for client in clients for failure in client.failures] == []
    assert all(client.answered for client in clients)
    assert (status, errors) == (0, "")
    for connection in idle:
        connection.close()


def test_a_request_on_its_way_is_finished(penguins_path, body):
    running = Running(penguins_path)
    head = f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as client:
        client.sendall(head + body[:10])
        # Once another request is answered, the first is being read.
        assert running.post("/v1/predict", body)[0] == 200
        running.process.send_signal(signal.SIGTERM)
        while b"refused" not in _state(running):
            time.sleep(0.01)
        client.sendall(body[10:])
        answer = client.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200") and b"connection: close" in answer.lower()
        assert client.recv(65536) == b""
    assert running.stop()[0] == 0


def _state(running: Running) -> bytes:
    try:
        socket.create_connection(("127.0.0.1", running.port), timeout=0.05).close()
    except ConnectionRefusedError:
        return b"refused"
    except TimeoutError:
        return b"refused, or soon"
    return b"open"


def test_an_open_connection_hears_that_the_service_is_not_ready(penguins_path, body):
    running = Running(penguins_path)
    connections = [running.connect() for _ in range(40)]
    for connection in connections:
        connection.connect()
    running.process.send_signal(signal.SIGTERM)
    states = []
    for connection in connections:
        connection.request("GET", "/v2/health/ready")
        response = connection.getresponse()
        response.read()
        states.append((response.status, response.will_close))
        connection.close()
        time.sleep(0.005)
    assert states[-1] == (503, True)
    assert set(states) <= {(200, False), (503, True)}
    assert running.stop() == (0, "")


def test_an_idle_service_ends_at_once_and_frees_its_port(penguins_path):
    running = Running(penguins_path)
    port = running.port
    kept = running.connect()
    kept.request("GET", "/v2/health/live")
    kept.getresponse().read()
    assert running.stop() == (0, "")
    again = Running(penguins_path, "--port", str(port))
    assert again.port == port
    assert again.stop() == (0, "")
    kept.close()
