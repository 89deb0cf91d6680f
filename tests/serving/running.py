"""A real service in a process of its own, and a small client for it."""

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

NOT_CHECKED = "signatures not checked: no --keyring"
JSON = {"Content-Type": "application/json"}


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.settimeout(self.timeout)
        try:
            made.connect(self._path)
        except OSError:
            made.close()
            raise
        self.sock = made


class Running:
    """``edgeml serve`` on a free port; made by its command line, stopped by a signal."""

    def __init__(self, bundle: Path, *options: str, uds: Path | None = None) -> None:
        where = ["--uds", str(uds)] if uds else ["--port", "0"]
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "edgeml", "serve", str(bundle), *where, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.line = self.process.stdout.readline()
        if not self.line:
            raise AssertionError(self.process.communicate()[1])
        self.uds = uds
        self._unchecked = "--keyring" not in options
        found = re.search(r"http://127\.0\.0\.1:(\d+)", self.line)
        self.port = int(found.group(1)) if found else 0

    def connect(self) -> http.client.HTTPConnection:
        if self.uds:
            return UnixConnection(str(self.uds))
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)

    def connect_raw(self) -> socket.socket:
        """A connection on which a test sends what it likes."""
        if not self.uds:
            return socket.create_connection(("127.0.0.1", self.port), timeout=10)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.settimeout(10)
        made.connect(str(self.uds))
        return made

    def ask(self, method: str, path: str, body=None, headers=None):
        """Sends one request; gives status, headers and body."""
        connection = self.connect()
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def get(self, path: str):
        """GETs a JSON document; gives status and document."""
        status, _, body = self.ask("GET", path)
        return status, strict(body)

    def post(self, path: str, document, headers=None):
        """POSTs a JSON document, or bytes as they are; gives status and document."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        status, _, answer = self.ask("POST", path, body, JSON if headers is None else headers)
        return status, strict(answer)

    def raw(self, data: bytes, timeout: float = 10) -> bytes:
        """Sends bytes and reads until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as client:
            client.sendall(data)
            pieces = []
            while piece := client.recv(65536):
                pieces.append(piece)
            return b"".join(pieces)

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Sends a signal; gives exit status and what stood on standard error beside the word about signatures."""
        self.process.send_signal(number)
        try:
            status = self.process.wait(timeout=20)
        finally:
            self.process.kill()
        errors = self.process.stderr.read()
        self.process.stdout.close()
        self.process.stderr.close()
        if self._unchecked:
            assert errors.startswith(NOT_CHECKED + "\n")
            errors = errors.removeprefix(NOT_CHECKED + "\n")
        return status, errors


def strict(body: bytes):
    """JSON without NaN and infinities, as a strict client reads it."""

    def refuse(word: str):
        raise ValueError(f"{word} is no JSON")

    return json.loads(body, parse_constant=refuse)


def refused(*arguments: str) -> str:
    """Runs ``edgeml serve`` that must end with status 1 and nothing on standard output; gives its message."""
    done = subprocess.run(
        [sys.executable, "-m", "edgeml", "serve", *arguments], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    return done.stderr
