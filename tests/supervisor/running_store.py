"""A real box: a store on disk, a supervisor process, its worker process, and clients that keep asking."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import Any

from data.generate_bundles import ONE
from serving.running import JSON, Running, strict

from edgeml.bundles import Bundle
from edgeml.bundles.store import Store

# What is run; a test of the tests puts a broken one in its place.
PROGRAM = (sys.executable, "-m", "edgeml")
# How long anything may take before a test gives up; nothing is measured by it.
PATIENCE_S = 60.0
ROW = {
    "bill_length_mm": 47.0,
    "bill_depth_mm": 18.5,
    "flipper_length_mm": 195.0,
    "body_mass_g": 3700,
    "island": "Biscoe",
    "sex": "male",
}
BODY = json.dumps({"records": [ROW]}).encode()


def until(what: Callable[[], Any], *, why: str = "", patience_s: float = PATIENCE_S) -> Any:
    """Asks until the answer is true, and gives it."""
    end = time.monotonic() + patience_s
    while not (found := what()):
        if time.monotonic() > end:
            raise AssertionError(f"never came true: {why or what}")
        time.sleep(0.02)
    return found


class RunningStore(Running):
    """``edgeml serve --store``, on a free port where none is named.

    Attributes:
        root: Folder of the store.
        process: The supervisor.
        log: What both processes said, so far.
        manage: Address of the management plane; empty where there is none.
    """

    def __init__(
        self,
        root: Path,
        *options: str,
        uds: Path | None = None,
        port: int = 0,
        manage_port: int | None = None,
        trial: tuple[str, ...] = (),
        command: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
        wait: bool = True,
    ) -> None:
        self.root = root
        self.uds = uds
        where = ["--uds", str(uds)] if uds else ["--port", str(port)]
        where += ["--no-manage"] if manage_port is None else ["--manage-port", str(manage_port)]
        numbers = [word for each in trial for word in ("--trial", each)]
        # A file, not a pipe: a worker that outlives its supervisor must not keep a reader waiting.
        self._log = Path(tempfile.gettempdir()) / f"edgeml-{os.getpid()}-{id(self):x}.log"
        with open(self._log, "ab") as log:
            self.process = subprocess.Popen(
                [*command, *PROGRAM, "serve", "--store", str(root), *where, *numbers, *options],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **(environment or {})},
            )
        self.line = ""
        self.port = 0
        self.manage = ""
        if wait:
            self.wait_ready()

    @property
    def log(self) -> str:
        return self._log.read_text()

    def forget_log(self) -> None:
        """Removes the file of the log."""
        self._log.unlink(missing_ok=True)

    @property
    def store(self) -> Store:
        """The store, opened anew."""
        return Store(self.root)

    def wait_ready(self) -> None:
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        if not self.line:
            self.process.wait(timeout=PATIENCE_S)
            raise AssertionError(self.log)
        found = re.search(r"http://127\.0\.0\.1:(\d+)", self.line)
        self.port = int(found.group(1)) if found else 0
        managed = re.search(r"management on (\S+)", self.line)
        self.manage = managed.group(1) if managed else ""

    def live(self) -> dict[str, Any]:
        from edgeml.supervisor.channel import live

        return live(self.root) or {}

    def follow(self) -> dict[str, Any]:
        """Nudges the supervisor, and waits until the worker follows."""
        from edgeml.supervisor.channel import nudge

        return nudge(self.root, timeout_s=PATIENCE_S) or {}

    @property
    def worker(self) -> int:
        """The worker's process id; waits until there is one."""
        return int(until(lambda: self.live().get("worker", {}).get("pid"), why="a worker"))

    def served(self, model: str = "penguins") -> str | None:
        """Bare digest of what answers for a model, as the supervisor knows it."""
        digest = self.live().get("models", {}).get(model, {}).get("digest")
        return None if digest is None else str(digest).removeprefix("sha256:")

    def wait_served(self, digest: str, model: str = "penguins") -> None:
        until(lambda: self.served(model) == digest, why=f"{digest} served for {model}; {self.live()}")

    def predict(self, model: str | None = None) -> tuple[int, dict[str, Any]]:
        path = "/v1/predict" if model is None else f"/v1/models/{model}/predict"
        return self.post(path, BODY)

    def event(self, kind: str) -> Any:
        """The newest event of a kind; it is written down just after the record."""
        entries = until(
            lambda: [each for each in self.store.journal.entries() if each.event.kind == kind], why=f"{kind} noted"
        )
        return entries[0].event

    def close(self) -> None:
        if self.process.stdout is not None:
            self.process.stdout.close()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Ends the supervisor alone."""
        self.process.send_signal(number)
        self.process.wait(timeout=PATIENCE_S)
        self.close()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ends both; gives the supervisor's exit status."""
        self.process.send_signal(number)
        try:
            return self.process.wait(timeout=PATIENCE_S)
        finally:
            self.process.kill()
            self.close()


def left_worker(root: Path) -> int:
    """Process id that the last worker of a store left in its lock."""
    return int((root / "worker.lock").read_text())


def end(pid: int) -> None:
    """Kills a process that a test has started, and waits until it is gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not is_alive(pid), why=f"the end of {pid}")


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def running(root: Path, *options: str, **more: Any) -> Iterator[RunningStore]:
    """A box that runs for the time of a test, and leaves no process behind whatever happens."""
    box = RunningStore(root, *options, **more)
    try:
        yield box
    finally:
        if box.process.poll() is None:
            box.stop()
        box.close()
        with suppress(OSError, ValueError):
            end_left(root)
        box.forget_log()


def end_left(root: Path) -> None:
    """Kills a worker that a test has left behind."""
    pid = left_worker(root)
    with suppress(OSError):
        if f"--store\0{root}\0".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
            end(pid)


class Load:
    """Clients that ask without pause, each on its own kept connection; every answer is checked.

    Args:
        box: Whom.
        known: By bare digest: the version and the labels that belong to it.
        clients: How many.
        path: Where it is asked.
        bodies: What is asked, in turn.
    """

    def __init__(
        self,
        box: Running,
        known: dict[str, tuple[str, set[str]]],
        *,
        clients: int = 8,
        path: str = "/v1/predict",
        bodies: Sequence[bytes] = (BODY,),
    ) -> None:
        self.box = box
        self.known = known
        self.path = path
        # One for all clients: each body is asked as often as it stands there.
        self._bodies = cycle(bodies)
        self.answers: dict[str, int] = {}
        self.fallbacks: dict[str, int] = {}
        self.tiers: dict[str, int] = {}
        self.failures: list[str] = []
        self.broken = 0
        self._ends = False
        self._forgives = False
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Load:
        for each in self._threads:
            each.start()
        self.wait_for(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._ends = True
        for each in self._threads:
            each.join(timeout=PATIENCE_S)
        assert not any(each.is_alive() for each in self._threads), "a client hangs"

    @property
    def asked(self) -> int:
        return sum(self.answers.values())

    def wait_for(self, more: int, digest: str | None = None) -> None:
        """Waits for more answers, of one bundle or any."""
        count = (lambda: self.asked) if digest is None else (lambda: self.answers.get(digest, 0))
        start = count()
        until(lambda: count() >= start + more or self.failures, why=f"{more} more answers; {self.answers}")
        assert self.failures == [], self.failures[:3]

    @contextmanager
    def forgiving(self) -> Iterator[None]:
        """Connections that break count, and are made again, for a process is killed on purpose."""
        self._forgives = True
        try:
            yield
        finally:
            self._forgives = False

    def _run(self) -> None:
        with closing(self.box.connect()) as connection:
            connection.timeout = PATIENCE_S
            self._ask_on(connection)

    def _ask_on(self, connection: http.client.HTTPConnection) -> None:
        for body in self._bodies:
            if self._ends:
                return
            try:
                connection.request("POST", self.path, body, JSON)
                response = connection.getresponse()
                answer = response.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if not self._forgives:
                    self._fail(f"{error!r}")
                    return
                with self._lock:
                    self.broken += 1
                time.sleep(0.005)  # nobody may be there for a second; what starts needs the processor
                continue
            problem = self._wrong(response, answer)
            if problem:
                self._fail(problem)
                return

    def _wrong(self, response: http.client.HTTPResponse, body: bytes) -> str | None:
        if response.status != 200:
            return f"status {response.status}: {body[:300]!r}"
        document = strict(body)
        digest = str(document["bundle"])
        if response.headers.get("edgeml-bundle", digest) != digest:
            return f"mixed: header {response.headers['edgeml-bundle']}, body {digest}"
        bare = digest.removeprefix("sha256:")
        if bare not in self.known:
            return f"an unknown bundle: {document}"
        version, labels = self.known[bare]
        answer = document["predictions"][0]
        if document["version"] != version or answer["label"] not in labels:
            return f"mixed: {document}"
        with self._lock:
            self.answers[bare] = self.answers.get(bare, 0) + 1
            self.tiers[answer["tier"]] = self.tiers.get(answer["tier"], 0) + 1
            if answer["tier"] == "fallback":
                self.fallbacks[bare] = self.fallbacks.get(bare, 0) + 1
        return None

    def _fail(self, what: str) -> None:
        with self._lock:
            self.failures.append(what)


def store_of(root: Path, active: Bundle, *others: Bundle) -> tuple[Store, list[str]]:
    """A store in which one bundle is active and the others are installed; gives it and their bare digests."""
    store = Store.create(root, keyring=ONE)
    digests = [store.install(each) for each in (active, *others)]
    store.activate(digests[0], now=True)
    return store, digests


def known(*bundles: Bundle) -> dict[str, tuple[str, set[str]]]:
    """What ``Load`` has to know of bundles."""
    return {
        bundle.digest.removeprefix("sha256:"): (bundle.config["version"], set(bundle.config["outputs"]["labels"]))
        for bundle in bundles
    }
