"""The worker: the process that answers, told by its supervisor with what.

1. It offers its listening socket to the supervisor, and gets its orders from there over a Unix socket. It opens the
   store for reading only.
2. It begins to answer when it has followed the first orders and is told to; until then connections wait in the kernel's
   queue.
3. It says once a second that it lives, and what each bundle did; every few seconds, and when it ends, what was counted
   of the records and answers of each bundle that was asked. A question whose model does not come back is reported too,
   with the model's bundle, for nobody else can see it. What it is about to load it says before it does.
4. If the supervisor goes, it serves on, and offers itself to the next one, with the socket; also while it loads.
5. While a bundle is on trial its golden rows are asked again once a minute, beside everything else: slow ones are
   no silence.
6. What it keeps of its traffic (``capturing``) is written down before it ends. Audits that wait then are dropped.
"""

from __future__ import annotations

import os
import queue
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgeml.bundles.disk import SYSTEM
from edgeml.bundles.journal import Journal
from edgeml.bundles.store import Store
from edgeml.monitor.link import Link, fits, reach
from edgeml.runtime.auditor import Auditor
from edgeml.serving.capturing import Capturing
from edgeml.serving.data_plane import DataPlane
from edgeml.serving.faults import is_the_box
from edgeml.serving.limits import Limits
from edgeml.serving.lineup import Lineup, Order
from edgeml.serving.service import serve
from edgeml.serving.sockets import Listener
from edgeml.serving.warm_up import checked_engine, degraded_engine, make_empty_plane

BEAT_S = 1.0
WATCHED_S = 5.0
RECONNECT_S = 0.3
GOLDEN_EVERY_S = 60.0
LOCK = "worker.lock"


def work(root: Path, listener: Listener, limits: Limits) -> int:
    """Answers until SIGTERM.

    Args:
        root: Folder of the store.
        listener: Where requests come in.
        limits: What one request may cost.

    Returns:
        0 where every request got its answer, 1 where some did not end in time.

    Raises:
        OSError: Another worker holds the store.
    """
    with SYSTEM.lock(root / LOCK, wait=False) as ours:
        if not ours:
            raise OSError(f"another worker serves from {root}")
        with suppress(OSError):  # a full disk: only a later supervisor that finds this process deaf would miss it
            (root / LOCK).write_text(str(os.getpid()))
        auditor = Auditor()
        capturing = Capturing(
            root,
            told=lambda granted: auditor.follow(granted.audit_share, granted.audit_cpu_share, granted.audit_tolerance),
        )
        plane = make_empty_plane(limits, capturing, auditor)
        store = Store(root, journal=Journal(None))
        lineup = Lineup(
            store.read_bundle,
            lambda bundle: checked_engine(bundle, max_rows=limits.rows),
            lambda bundle, reason: degraded_engine(bundle, reason, max_rows=limits.rows),
            plane,
            begins=lambda digest: worker.begins(digest),
        )
        worker = Worker(root, listener, plane, lineup)
        capturing.begin()
        worker.begin()
        try:
            status = serve(plane, listener, ready=lambda: None)
        finally:
            capturing.end()
            auditor.end()
        worker.tell_watched()
        return status


class Worker:
    """What the worker does beside answering, each on a thread: hearing orders, following them, telling how it is, and
    asking golden rows again.

    Args:
        root: Folder of the store whose supervisor it listens to.
        listener: What it answers on; offered to a supervisor that does not have it.
        plane: Where requests are answered.
        lineup: With what.
        golden_s: Seconds between two times that the golden rows of bundles on trial are asked.
    """

    def __init__(
        self, root: Path, listener: Listener, plane: DataPlane, lineup: Lineup, *, golden_s: float = GOLDEN_EVERY_S
    ) -> None:
        self._root = root
        self._listener = listener
        self._plane = plane
        self._lineup = lineup
        # Never used before, and kept over restarts of the supervisor: trials add up over lives.
        self._life = int.from_bytes(os.urandom(6), "big")
        self._link: Link | None = None
        self._orders: queue.SimpleQueue[tuple[Link, dict[str, Any]]] = queue.SimpleQueue()
        self._first = threading.Event()
        self._golden_s = golden_s
        # Digest -> what had been asked of it, and over which link it was told.
        self._told: dict[str, tuple[Any, ...]] = {}
        self._telling = threading.Lock()

    def begin(self) -> None:
        """Starts the threads; returns when it is time to answer."""
        for target, name in (
            (self._hear, "edgeml-hear"),
            (self._follow, "edgeml-orders"),
            (self._beat, "edgeml-beat"),
            (self._watch, "edgeml-watched"),
            (self._retest, "edgeml-golden"),
        ):
            threading.Thread(target=target, name=name, daemon=True).start()
        self._first.wait()

    def begins(self, digest: str) -> None:
        """Tells that a bundle is about to be loaded: if this process does not outlive it, that one is to blame.

        With it goes what this process has in memory: from here on the bundle may make it grow.

        Args:
            digest: Its hex digest.
        """
        link = self._link
        if link is not None:
            with suppress(OSError):
                link.send({"kind": "loading", "digest": digest, "rss_bytes": resident_bytes()})

    def _hear(self) -> None:
        while True:
            try:
                link = reach(self._root, timeout_s=5.0)
            except OSError:
                time.sleep(RECONNECT_S)
                continue
            with suppress(OSError):
                loading = self._lineup.loading
                hello = {"kind": "hello", "pid": os.getpid(), "life": self._life, "serving": self._lineup.serving}
                hello |= {"degraded": self._lineup.degraded, "loading": loading[0] if loading else ""}
                link.send(hello, [self._listener.socket.fileno()])
                self._link = link
                for document in link.documents():
                    if document.get("kind") == "serve":
                        self._orders.put((link, document))
                    elif document.get("kind") == "begin":
                        self._first.set()
            self._link = None
            link.close()
            time.sleep(RECONNECT_S)

    def _follow(self) -> None:
        while True:
            link, document = self._orders.get()
            with suppress(queue.Empty):
                while True:  # only the newest orders count
                    link, document = self._orders.get_nowait()
            try:
                report = self._lineup.follow([Order.of(each) for each in document["models"]])
                link.send({"kind": "loaded", "turn": document.get("turn", 0), "models": report})
            except OSError:
                continue  # the supervisor has gone; the next one will ask
            except Exception:
                # What answers goes on answering, whatever is wrong with the orders.
                traceback.print_exc()

    def _beat(self) -> None:
        while True:
            time.sleep(BEAT_S)
            link = self._link
            if link is None:
                continue
            with suppress(OSError):
                link.send(self._report())

    def _watch(self) -> None:
        while True:
            time.sleep(WATCHED_S)
            self.tell_watched()

    def tell_watched(self) -> None:
        """Tells what was counted of each bundle that was asked since it was told last."""
        link = self._link
        if link is None:
            return
        with self._telling, suppress(OSError):
            engines = [engine for each in self._lineup.engines().values() for engine in each.values()]
            for engine in engines:
                captured = self._plane.capturing.counted(engine)
                digest, seen = engine.digest, (link, engine.birth, *engine.seen, *captured.values())
                if any(engine.seen) and self._told.get(digest) != seen:
                    document = {"kind": "watched", "life": self._life, "model": engine.name, "digest": digest}
                    document |= engine.watched() | {"capture": captured}
                    document["capture_failure"] = self._plane.capturing.failure
                    if not fits(document):
                        document["drift"] = None  # thousands of columns, and all of them full: the rest is told
                    link.send(document)
                    self._told[digest] = seen
            kept = {engine.digest for engine in engines}
            self._told = {digest: seen for digest, seen in self._told.items() if digest in kept}

    def _report(self) -> dict[str, Any]:
        rss = resident_bytes()
        loading = self._lineup.loading
        stuck_s, stuck = self._plane.stuck()
        return {
            "kind": "counters",
            "rss_bytes": rss,
            "stuck_s": stuck_s,
            "stuck": stuck.removeprefix("sha256:"),
            "loading": loading and {"digest": loading[0], "seconds": time.monotonic() - loading[1]},
            "models": {
                model: {digest: engine.counters(rss_bytes=rss) for digest, engine in engines.items()}
                for model, engines in self._lineup.engines().items()
            },
        }

    def _retest(self) -> None:
        while True:
            time.sleep(self._golden_s)
            self._test()

    def _test(self) -> None:
        """Asks the golden rows of bundles on trial again."""
        engines = self._lineup.engines()
        for order in self._lineup.orders:
            engine = engines.get(order.model, {}).get(order.digest or "")
            if order.trial and engine is not None:
                try:
                    passed = engine.golden_check().passed
                except Exception as error:
                    if is_the_box(error):
                        continue
                    passed = False
                if not passed:
                    engine.tally.golden_failed()


def resident_bytes() -> int:
    """Resident memory of this process, in bytes; 0 where the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
