"""The supervisor: one loop that owns the store, keeps one worker alive, and makes it follow the record.

1. The record says what answers; the worker is told, and says when it is so. Nobody else tells it anything.
2. Before a bundle on trial is loaded, its attempt is counted on the disk (``Store.load``). Where the disk refuses to
   count, bundles on trial are left out: what is confirmed goes on answering.
3. A bundle that cannot be loaded is gone back from; where the box is at fault (disk, memory) nothing is denied.
4. A worker that dies is started again, sooner or later by how often it died; connections wait in the kernel's queue.
   One that gives no sign of life for ``stall_s`` is killed. Each death is counted on the disk.
5. Each verdict of a trial becomes a transition of the store, with the signal that caused it, and the worker follows.
6. Everything that happens comes in through one queue and is dealt with by one thread.
7. If this process dies, the worker goes on serving; the next supervisor adopts it, socket and all.
"""

from __future__ import annotations

import queue
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from edgeml.bundles.disk import SYSTEM
from edgeml.bundles.state import bare
from edgeml.bundles.store import Store
from edgeml.errors import ConflictError, EdgemlError, StoreError
from edgeml.monitor.link import Link
from edgeml.supervisor.blame import blame
from edgeml.supervisor.control import Control
from edgeml.supervisor.ending import ending
from edgeml.supervisor.launcher import Launcher
from edgeml.supervisor.left_behind import end_left_behind, is_left_behind
from edgeml.supervisor.notify import Notifier
from edgeml.supervisor.orders import orders_for
from edgeml.supervisor.said import Said
from edgeml.supervisor.trials import Trials
from edgeml.supervisor.watching import Watching
from edgeml.supervisor.worker_process import CANNOT_LISTEN, WorkerProcess, pause_s
from edgeml.supervisor.worker_state import Serving, Waiting, WorkerOptions, WorkerState

TICK_S = 0.5
# When a bundle that the box could not read or hold is tried again.
RETRY_S = 30.0
# ... and when orders that could not be made or given are tried again.
FOLLOW_RETRY_S = 2.0
# How long a worker that another supervisor left behind has to come forward.
ADOPT_S = 10.0


class Supervisor:
    """Runs one worker for one store.

    Args:
        store: The store; this process becomes its supervisor.
        trials: The trials of the store.
        watching: The watch over its bundles; None makes one.
        options: How the worker is run.
        notifier: systemd, where it listens.
        say: Told what people should read, a line each.
        clock: Seconds of CLOCK_MONOTONIC.
    """

    def __init__(
        self,
        store: Store,
        trials: Trials,
        *,
        watching: Watching | None = None,
        options: WorkerOptions | None = None,
        notifier: Notifier | None = None,
        say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.trials = trials
        self.watching = watching or Watching(store, say=say)
        self._options = options or WorkerOptions()
        self._notifier = notifier or Notifier()
        self._say = say
        self._clock = clock
        self._events: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self._worker = WorkerState()
        self._waiting: list[Waiting] = []
        self._launcher = Launcher(store.root, self._options, self._events, say)
        self._status = 0
        self._generation = -1
        self._stamp: tuple[int, float] = (0, 0.0)
        self._retry_at: float | None = None
        self._announced = False
        self._stopping = False
        self._looked = clock()
        self._said = Said(say, clock)
        # Bundles on trial that have failed and that the disk still says to try: not loaded any more.
        self._shunned: set[str] = set()
        # Models gone back with because their active bundle did not load; until one does.
        self._went_back: set[str] = set()

    # For other threads

    def follow(self, timeout_s: float = 60.0) -> dict[str, Any]:
        """Makes the worker follow the record; waits until it does.

        Args:
            timeout_s: How long.

        Returns:
            As ``live``.
        """
        answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._events.put(("nudge", answers.put, timeout_s))
        try:
            return answers.get(timeout=timeout_s + 1)
        except queue.Empty:
            return {"models": {}, "reason": f"the worker did not follow within {timeout_s:g} s"}

    def live(self) -> dict[str, Any]:
        """What the worker serves now and how trials go, JSON-ready."""
        return self._worker.to_document(self._clock()) | {
            "trials": self.trials.progress(),
            "degraded": self.store.broken or self.store.journal.failure,
        }

    def stop(self) -> None:
        """Ends ``run`` once the worker has answered everybody."""
        self._events.put(("stop",))

    # The loop

    def run(self, *, ready: Callable[[str], None]) -> int:
        """Serves until ``stop``, SIGTERM or SIGINT.

        Args:
            ready: Called with the address once a worker answers for the first time.

        Returns:
            0 where the worker ended in time, 1 otherwise.

        Raises:
            ConflictError: Another supervisor owns the store.
            OSError: The store's folder cannot be written.
        """
        self._ready = ready
        with (
            SYSTEM.lock(self.store.root / "supervisor.lock", wait=False) as ours,
            ending(self.stop),
            self.watching,
        ):
            if not ours:
                raise ConflictError(f"another supervisor runs for {self.store.root}; see 'edgeml status'")
            hear, keep = self.watching.beside(self._events.put), self.store.journal.take
            root, answers = self.store.root, self.watching.answers
            control = Control(root, worker=hear, follow=self.follow, live=self.live, keep=keep, answers=answers)
            try:
                return self._turn()
            finally:
                control.close()
                self._launcher.close()
                self.store.journal.flush(now=True)

    def _turn(self) -> int:
        self._adopt()
        if self._worker.process is None and not self._stopping:
            self._start()
        while True:
            try:
                event = self._events.get(timeout=TICK_S)
            except queue.Empty:
                event = ("tick",)
            if event[0] == "stop":
                return self._end()
            try:
                getattr(self, f"_on_{event[0]}")(*event[1:])
                self._look()
            except (EdgemlError, OSError) as error:
                # The loop outlives a disk that refuses and a worker that hangs up; both come round again.
                self._said.now_and_then(f"supervisor: {error}")
            except Exception as error:
                # ... and a message that it does not understand: a worker of another edgeml may have sent it.
                self._said.now_and_then(f"supervisor: {type(error).__name__}: {error}")
            self._notifier.alive()

    def _look(self) -> None:
        """What is due by the clock."""
        self.store.journal.flush()
        now = self._clock()
        worker = self._worker
        # Time in which this process did not look (a slow disk, a stopped process) says nothing about the worker.
        worker.heard = min(now, worker.heard + max(0.0, now - self._looked - 2 * TICK_S))
        self._looked = now
        if worker.start_at is not None and now >= worker.start_at:
            self._start()
            worker = self._worker
        if worker.process is not None:
            silent = now - worker.heard
            if worker.load_s > self._options.start_s:
                self._give_up_load()
            elif silent > (self._options.start_s if worker.loading else self._options.stall_s):
                self._say(f"the worker gave no sign of life for {silent:.1f} s and is killed")
                if not worker.loading:
                    worker.culprit = worker.stuck or worker.making
                    worker.blamed = self.trials.stalled(silent, worker.culprit)
                worker.process.signal(signal.SIGKILL)
                worker.heard = now
            if not worker.healthy and not worker.loading and now - worker.since > self._options.healthy_s:
                self._forget_deaths(now)
        for line in self.trials.doubts():
            self._say(line)
        for judged in self.trials.judged():
            reason, word = judged.verdict.reason, judged.verdict.signal
            what = f"{judged.model} sha256:{judged.digest[:12]}: {judged.verdict.kind}: {word}"
            self._said.now_and_then(f"{what}: {reason}", what)
            try:
                if judged.verdict.kind == "confirm":
                    self.store.confirm(judged.model, judged.digest, reason=reason, signal=word, who="supervisor")
                else:
                    self._end_trial(judged.model, judged.digest, reason, word)
                self._follow()
            except (StoreError, OSError) as error:
                # Somebody else ended it in this moment, or the disk refuses; one model does not hold up the others.
                self._said.now_and_then(f"{judged.model}: {error}")
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
            self._follow()
        for waiting in [each for each in self._waiting if each.until <= now]:
            self._waiting.remove(waiting)
            waiting.answer(self.live() | {"reason": "the worker has not followed in time; see its log"})

    # Events

    def _on_tick(self) -> None:
        with suppress(EdgemlError, OSError):
            stamp = self.store.stamp()
            if stamp != self._stamp:
                if self.store.state().generation != self._generation:
                    self._follow()
                # Only now: what could not be read or followed is looked at again with the next tick.
                self._stamp = stamp

    def _on_nudge(self, answer: Callable[[dict[str, Any]], None], timeout_s: float) -> None:
        self._waiting.append(Waiting(answer, self._clock() + timeout_s))
        self._follow()

    def _on_hello(self, link: Link, document: dict[str, Any]) -> None:
        worker = self._worker
        pid = int(document.get("pid", 0))
        if worker.process is None or worker.process.pid != pid:
            self._say(f"process {pid} said hello and is not the worker; it is sent away")
            link.close()
            return
        self._launcher.keep_socket(link)
        worker.link = worker.voice = link
        worker.heard = self._clock()
        worker.process.life = int(document.get("life", worker.process.life))
        serving = document.get("serving", {})
        worker.serving = {str(name): Serving(bare(digest), True) for name, digest in serving.items() if digest}
        degraded = {name: bare(digest) for name, digest in document.get("degraded", {}).items()}
        worker.serving |= {name: Serving(digest, degraded=True) for name, digest in degraded.items()}
        worker.trying_degraded = set(degraded.values())
        worker.making = str(document.get("loading", ""))
        self._generation = -1
        self._follow()

    def _on_heard(self, link: Link, document: dict[str, Any]) -> None:
        worker = self._worker
        if link is not worker.voice:
            return
        # A call of the model that does not come back is silence, though the process can still speak.
        worker.heard = self._clock() - float(document.get("stuck_s", 0.0))
        worker.stuck = str(document.get("stuck", ""))
        if document.get("kind") == "loading":
            worker.making = str(document.get("digest", ""))
            self.trials.loads(worker.making, int(document.get("rss_bytes", 0)))
        elif document.get("kind") == "loaded":
            worker.making = ""
            self._loaded(document)
        elif document.get("kind") == "counters":
            self._counted(document)

    def _on_gone(self, link: Link) -> None:
        link.close()
        if link is self._worker.link:
            self._worker.link = None
        if link is self._worker.voice:
            self._worker.voice = None

    def _on_ended(self, process: WorkerProcess, how: str) -> None:
        worker = self._worker
        if process is not worker.process:
            return
        if process.status == CANNOT_LISTEN and not self._launcher.address:
            self._events.put(("stop",))
            self._status = 1
            self._worker = WorkerState()
            return
        process.close()
        deaths = worker.deaths + 1
        self._worker = WorkerState(deaths=deaths, start_at=self._clock() + pause_s(deaths), turn=worker.turn)
        self._say(f"the worker {how}; it is started again")
        self._notifier.status(f"the worker {how}")
        blame(self.store, self.trials, worker, how)

    # Acts

    def _end_trial(self, model: str, digest: str, reason: str, word: str) -> None:
        """Goes back from a bundle on trial; where the disk refuses, the bundle answers no more all the same.

        Raises:
            StoreError: The record cannot be changed.
            OSError: The disk refused.
        """
        if self.store.state().model(model).candidate != digest:
            return
        try:
            self.store.roll_back(model, leave=digest, reason=reason, signal=word, who="supervisor")
        except (StoreError, OSError):
            if digest not in self._shunned:
                self._shunned.add(digest)
                self._follow()
            raise

    def _give_up_load(self) -> None:
        """Ends a worker that does not come back from loading a bundle."""
        worker = self._worker
        assert worker.process is not None
        seconds, digest, worker.load_s = worker.load_s, worker.load, 0.0
        reason = f"it was still loading after {seconds:.0f} s"
        self._say(f"sha256:{digest[:12]}: {reason}; the worker is killed")
        worker.process.signal(signal.SIGKILL)
        state = self.store.state()
        name = state.find(digest)
        if name is not None and state.models[name].candidate == digest:
            worker.blamed = True
            self._end_trial(name, digest, reason, "stall")

    def _adopt(self) -> None:
        """Takes over the worker that an earlier supervisor left serving, if there is one."""
        until = self._clock() + ADOPT_S
        later: list[tuple[Any, ...]] = []
        while is_left_behind(self.store.root) and self._clock() < until and self._worker.process is None:
            try:
                event = self._events.get(timeout=TICK_S)
            except queue.Empty:
                continue
            if event[0] in ("stop", "nudge"):
                later.append(event)
            elif event[0] == "hello":
                self._take_over(*event[1:])
            if event[0] == "stop":
                self._stopping = True
                break
        for event in later:
            self._events.put(event)
        if self._worker.process is None and is_left_behind(self.store.root):
            # It holds the address and cannot be talked to; or everything is to end, and it too.
            number = signal.SIGTERM if self._stopping else signal.SIGKILL
            end_left_behind(self.store.root, number, wait_s=self._options.stop_s, say=self._say)

    def _take_over(self, link: Link, document: dict[str, Any]) -> None:
        worker = self._launcher.take_over(link, document, self._clock())
        if worker is None:
            return
        self._worker = worker
        try:
            self._on_hello(link, document)
        except (EdgemlError, OSError) as error:
            # It serves as before; its orders are made again soon, as everywhere.
            self._said.now_and_then(f"supervisor: {error}")

    def _start(self) -> None:
        self._worker = self._launcher.start(self._worker, self._clock())

    def _follow(self) -> None:
        """Tells the worker what the record says; where that fails, it is tried again soon, without being asked."""
        worker = self._worker
        if worker.link is None:
            return
        again = self._retry_at
        self._retry_at = self._clock() + FOLLOW_RETRY_S
        orders = orders_for(self.store, worker, self._shunned, say=self._said.now_and_then)
        self._generation = orders.state.generation
        self._shunned &= {model.candidate for model in orders.state.models.values() if model.candidate}
        self.trials.follow(orders.state, worker.settled_bytes)
        self.watching.follow(orders.state)
        worker.ordered = worker.ordered or any(each["digest"] for each in orders.models)
        worker.turn += 1
        self._tell({"kind": "serve", "turn": worker.turn, "models": self.watching.switches.added(orders.models)})
        self._retry_at = again

    def _forget_deaths(self, now: float) -> None:
        """The worker has answered well for a while; where the disk refuses to forget, it is asked again later."""
        worker = self._worker
        worker.deaths = 0
        if now < worker.forget_at:
            return
        worker.forget_at = now + RETRY_S
        try:
            self.store.healthy()
            worker.healthy = True
        except (EdgemlError, OSError) as error:
            self._said.now_and_then(f"earlier deaths and attempts cannot be forgotten: {error}")

    def _tell(self, document: dict[str, Any]) -> None:
        """Tells the worker something; one that has gone says hello again, or its end is seen."""
        worker = self._worker
        try:
            if worker.link is not None:
                worker.link.send(document)
        except OSError:
            worker.link = None

    def _loaded(self, document: dict[str, Any]) -> None:
        """The worker says what came of a turn."""
        worker, first = self._worker, self._worker.loading
        worker.loading = False
        failed = []
        for name, found in document["models"].items():
            digest = found.get("digest")
            degraded = bool(found.get("degraded"))
            whole = digest is not None and not degraded
            rules = tuple(map(str, found.get("disabled_rules", ())))
            worker.serving[name] = Serving(digest, whole, str(found.get("reason", "")), degraded, rules)
            if whole and not found.get("failed"):
                self._went_back.discard(name)
            if found.get("failed"):
                failed.append((name, found))
                worker.trying.discard(str(found["failed"]))
        for name in [*worker.serving]:
            if name not in document["models"]:
                del worker.serving[name]
        worker.done = max(worker.done, int(document.get("turn", 0)))
        if any([self._load_failed(name, found) for name, found in failed]):
            self._follow()
        if worker.done >= worker.turn:
            self._tell({"kind": "begin"})
            if first:
                worker.since = self._clock()
            self._announce()
            if worker.postponed:
                self._follow()
                return
            for waiting in self._waiting:
                waiting.answer(self.live())
            self._waiting.clear()

    def _load_failed(self, name: str, found: dict[str, Any]) -> bool:
        """A bundle that the worker could not load: gone back from, unless the box is at fault.

        Returns:
            Whether the record changed.
        """
        digest, reason = str(found["failed"]), str(found.get("reason", "it could not be loaded"))
        self._say(f"{name} sha256:{digest[:12]} could not be loaded: {reason}")
        try:
            model = self.store.state().model(name)
            if found.get("fault") == "box":
                self._retry_at = self._clock() + RETRY_S
                if model.candidate != digest:
                    return False
                self.store.withdraw(name, leave=digest, reason=reason)
            elif found.get("without_model"):
                if model.last_resort != digest:
                    return False
                self.store.abandon_last_resort(name, digest, reason=reason, signal="load_failed")
            elif model.candidate == digest:
                self._end_trial(name, digest, reason, "load_failed")
            elif model.active == digest and model.previous is not None and name not in self._went_back:
                # Once: where the next confirmed one does not load either, it is not the bundles that are at fault.
                self._went_back.add(name)
                self.store.roll_back(name, leave=digest, reason=reason, signal="load_failed", who="supervisor")
            else:
                self._retry_at = self._clock() + RETRY_S
                return False
        except (StoreError, OSError) as error:
            self._say(f"{name}: the store refuses to go back: {error}")
            return False
        return True

    def _counted(self, document: dict[str, Any]) -> None:
        worker = self._worker
        worker.counted(document)
        assert worker.process is not None
        if self.trials.progress() and worker.done >= worker.turn:
            self.trials.report(document.get("models", {}), self.store.state(), life=worker.process.life)

    def _announce(self) -> None:
        if self._announced:
            return
        self._announced = True
        address = self._launcher.address
        self._notifier.ready(f"serving on {address}")
        self._ready(address)

    def _end(self) -> int:
        self._notifier.stopping()
        self.trials.keep()
        worker = self._worker
        if worker.process is None:
            return self._status
        return 0 if worker.process.end(self._options.stop_s, self._say) else 1
