"""A service under test: started on the server core, asked until it answers rightly, weighed, stopped.

1. Each server is started with the address it must bind, in a process group of its own, its output in a file.
2. It counts as ready when the first body gets the right label, not when its port is open.
3. While another server is measured it is stopped (SIGSTOP), so that its background work disturbs nobody.
4. Memory is the proportional set size summed over all its processes; CPU is theirs too.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.environments import PeerUnavailable

START_S = 60.0
STOP_S = 15.0


@dataclass(frozen=True)
class Recipe:
    """How one contestant is started and asked.

    Attributes:
        who: Name in the table.
        command: Given the port, the command line.
        path: Where to POST.
        bodies: File of bodies, one a line.
        label: Takes the label out of an answer's JSON.
        env: Variables beside those of the runner.
        folder: Working folder, or None for the repository's.
    """

    who: str
    command: Callable[[int], Sequence[str]]
    path: str
    bodies: Path
    label: Callable[[Any], int]
    env: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None


class Server:
    """One running service."""

    def __init__(self, recipe: Recipe, *, core: int, log: Path, root: Path) -> None:
        self.recipe = recipe
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}{recipe.path}"
        self._bodies = recipe.bodies.read_bytes().splitlines()
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                list(recipe.command(self.port)),
                env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"} | dict(recipe.env),
                cwd=recipe.folder or root,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            )

    def wait_until_right(self, expected: int, *, pause_s: float = 0.02) -> None:
        """Asks the first body until the answer is right.

        Args:
            expected: The label of the first body.
            pause_s: Time between two attempts to connect.

        Raises:
            PeerUnavailable: It died, or answered nothing in a minute, or answered something else.
        """
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise PeerUnavailable(f"{self.recipe.who} ended: {self.last_words()}")
            try:
                status, answer = self.ask(self._bodies[0])
            except (OSError, http.client.HTTPException):
                time.sleep(pause_s)
                continue
            if status == 200:
                label = self.recipe.label(json.loads(answer))
                if label != expected:
                    raise PeerUnavailable(f"{self.recipe.who} answers {label}, expected {expected}")
                return
            if status not in (404, 502, 503):
                raise PeerUnavailable(f"{self.recipe.who} answers {status}: {answer[:300]!r}")
            time.sleep(pause_s)
        raise PeerUnavailable(f"{self.recipe.who} gave no answer in {START_S:.0f} s: {self.last_words()}")

    def ask(self, body: bytes) -> tuple[int, bytes]:
        """POSTs one body on a new connection; gives status and answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("POST", self.recipe.path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def labels(self) -> list[int]:
        """Asks every body once; gives the labels."""
        return [self.recipe.label(json.loads(self.ask(body)[1])) for body in self._bodies]

    def processes(self) -> list[psutil.Process]:
        """All processes of the service."""
        try:
            mother = psutil.Process(self.process.pid)
            return [mother, *mother.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def pss(self) -> int:
        """Proportional set size of all processes, in bytes."""
        return sum(process.memory_full_info().pss for process in self.processes())

    def cpu_seconds(self) -> float:
        """CPU time of all processes so far, user and system."""
        times = [process.cpu_times() for process in self.processes()]
        return sum(each.user + each.system for each in times)

    def pause(self) -> None:
        """Stops all processes until ``resume``."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Lets all processes run again."""
        os.killpg(self.process.pid, signal.SIGCONT)

    def stop(self) -> None:
        """Ends the service: SIGTERM, and SIGKILL for what has not gone."""
        family = self.processes()
        for number in (signal.SIGCONT, signal.SIGTERM):
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                break
        _, alive = psutil.wait_procs(family, timeout=STOP_S)
        for process in alive:
            process.kill()
        self.process.wait()

    def last_words(self) -> str:
        """The end of what the service printed."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return " / ".join(lines[-4:]) or "it printed nothing"


def free_port() -> int:
    """Finds a port that nobody uses on 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
