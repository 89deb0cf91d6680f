"""Debian's Prometheus for the tests: its programs taken out of the package, and a server that scrapes for a while."""

from __future__ import annotations

import fcntl
import http.server
import json
import os
import shutil
import socket
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from supervisor.running_store import until

FOLDER = Path(__file__).resolve().parents[2] / "build" / "prometheus"


def program(name: str) -> str:
    """Path of ``prometheus`` or ``promtool``; skips where neither is here and the package cannot be fetched.

    The package is not installed: it would start a service.
    """
    found = shutil.which(name)
    if found:
        return found
    FOLDER.mkdir(parents=True, exist_ok=True)
    with open(FOLDER / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (FOLDER / "usr/bin" / name).exists():
            _fetch()
    return str(FOLDER / "usr/bin" / name)


def _fetch() -> None:
    missing = [each for each in ("apt-get", "dpkg-deb", "tar") if shutil.which(each) is None]
    if missing:
        pytest.skip(f"Prometheus is not here, and without {missing[0]} it cannot be fetched (Debian: prometheus)")
    if not _downloaded() and os.geteuid() == 0:
        subprocess.run(["apt-get", "update", "-qq"], capture_output=True, check=False)
        _downloaded()
    packages = sorted(FOLDER.glob("*.deb"))
    if not packages:
        pytest.skip("Prometheus is not here, and could not be fetched (Debian: prometheus)")
    members = ["./usr/bin/prometheus", "./usr/bin/promtool"]
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", packages[-1].name], cwd=FOLDER, stdout=subprocess.PIPE
    ) as reading:
        subprocess.run(["tar", "-x", *members], cwd=FOLDER, stdin=reading.stdout, check=True)
    for package in packages:
        package.unlink()


def _downloaded() -> bool:
    # apt's own user cannot write here, and apt says so.
    command = ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", "prometheus"]
    return subprocess.run(command, cwd=FOLDER, capture_output=True, check=False).returncode == 0


class Prometheus:
    """A server that runs.

    Attributes:
        address: Where it answers.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What an expression gives now; each with ``metric`` (labels) and ``value`` (time and text)."""
        return list(self._get("query", query=expression)["result"])

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that fire or are about to."""
        return list(self._get("alerts")["alerts"])

    def _get(self, what: str, **words: str) -> dict[str, Any]:
        url = f"{self.address}/api/v1/{what}?{urllib.parse.urlencode(words)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return dict(json.load(answer)["data"])
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{words}: {error.read().decode()}") from None


@contextmanager
def prometheus(config: Path, folder: Path) -> Iterator[Prometheus]:
    """Runs a server for the time of a test.

    Args:
        config: Its ``prometheus.yml``.
        folder: Where its data go.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        program("prometheus"),
        *("--config.file", str(config), "--storage.tsdb.path", str(folder / "data")),
        *("--web.listen-address", f"127.0.0.1:{port}", "--log.level", "error"),
    ]
    with open(folder / "prometheus.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        assert process.poll() is None, (folder / "prometheus.log").read_text()
        try:
            with urllib.request.urlopen(f"{address}/-/ready", timeout=30) as answer:
                return bool(answer.status == 200)
        except OSError:  # nobody listens, or 503 while it starts
            return False

    try:
        until(ready, why="Prometheus is ready")
        yield Prometheus(address)
    finally:
        process.terminate()
        process.wait()


@contextmanager
def told(text: Callable[[], bytes]) -> Iterator[str]:
    """Serves a text as metrics; gives ``host:port``."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = text()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
