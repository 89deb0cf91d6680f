"""A running box that is killed in the middle of a change, at a spread of moments, and started again as an init does it.

One cell of the matrix is one change, asked for through the management plane, and one victim. After each kill must hold:

1. (P1) Every answer, before, during and after, is of one whole bundle; in the end it is the one that the record names.
   The record is the one from before or from after the change, and every bundle in it can be read, each byte verified.
2. (P2) What the box has acknowledged is kept.
3. (P3) A supervisor that dies costs no request; a worker that dies costs no change.
4. A push goes on with the bytes that are there. A change that is asked for again comes to its end, so does the next.
5. (P5) A bundle on trial under which the box dies is abandoned after three starts.
6. No process is left behind but the worker.

Nothing is asserted here; what is wrong is written down.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bundles.registry_peers import QUICK
from crash.asked_changes import (
    MODEL,
    ONCE,
    Asking,
    Change,
    activated,
    activating,
    going_back,
    gone_back,
    pushing,
    resumed,
)
from supervisor import penguin_bundles as made
from supervisor.running_store import PATIENCE_S, Load, RunningStore, end_left, is_alive, known, store_of, until

from edgeml.bundles import Bundle
from edgeml.bundles.registry_push import BundleSource, push
from edgeml.bundles.state import TRIES, State, bare
from edgeml.bundles.store import Store
from edgeml.bundles.upload_notes import UploadNotes
from edgeml.errors import EdgemlError
from edgeml.fleet.device_client import DeviceClient
from edgeml.supervisor.tokens import Tokens

CHANGES = ("push", "admission", "swap", "rollback")
VICTIMS = ("worker", "supervisor", "both")
# Kills come from the beginning of a change until a little after its end, when it has just been acknowledged.
SPREAD = 1.25
# Large enough that a push can be cut in the middle of a blob.
BALLAST_BYTES = 4 * 1024 * 1024


@dataclass
class Cell:
    """What came of one cell.

    Attributes:
        change: One of ``CHANGES``, or ``trial`` for rule 5.
        victim: One of ``VICTIMS``.
        kills: How many.
        early: How many of them before the change was acknowledged.
        violations: What must not be.
    """

    change: str
    victim: str
    kills: int = 0
    early: int = 0
    violations: list[str] = field(default_factory=list)

    @property
    def figures(self) -> dict[str, object]:
        """For the table."""
        return {
            "change": self.change,
            "victim": self.victim,
            "kills": self.kills,
            "early": self.early,
            "violations": len(self.violations),
        }


class KilledBox:
    """A box to be killed, with a store of its own.

    Args:
        folder: For everything.
        bundle: The penguins bundle.
        seed: Of the moments.
    """

    def __init__(self, folder: Path, bundle: Bundle, seed: str) -> None:
        self.root = folder / "store"
        self._bundle = bundle
        self._random = random.Random(seed)
        self._notes = UploadNotes(folder / "notes")
        self._versions = 0
        self._known: dict[str, tuple[str, set[str]]] = {}
        store_of(self.root, self._version())
        self._token = Tokens(self.root).create("kills", ("push", "release"))
        # An init system starts it with the same addresses each time.
        self._ports = free_port(), free_port()
        self._deaths = self._worker = 0
        self._boxes: list[RunningStore] = []
        self.box = self._start()
        self._seconds = self._rehearse()

    def close(self) -> None:
        """Ends the box, and whatever a test that failed has left of it."""
        if self.box.process.poll() is None:
            self.box.stop()
        self.box.close()
        with suppress(OSError, ValueError):
            end_left(self.root)
        for box in self._boxes:
            box.forget_log()

    @property
    def store(self) -> Store:
        """The store, opened anew."""
        return Store(self.root)

    def device(self, *, patient: bool = False) -> DeviceClient:
        """A client of the management plane."""
        return DeviceClient(self.box.manage, token=self._token, patience=QUICK if patient else ONCE)

    def kill(self, cell: Cell, share: float) -> None:
        """One kill.

        Args:
            cell: Which; what comes of it is written there.
            share: When, as a share of the time that the change takes undisturbed.
        """
        victim = cell.victim
        self._rest(victim)
        found = self._prepare(cell.change)
        seconds, acknowledged = share * self._seconds[cell.change], False
        # Nobody else may answer while the change is under way, whatever the box has installed.
        allowed = {digest: self._known[digest] for digest in (*found.before, *found.after) if digest}
        wrong: list[str] = []
        try:
            self._worker, transfers = self.box.worker, self._transfers()
            with Load(self.box, allowed, clients=2) as load:
                with nullcontext() if victim == "supervisor" else load.forgiving():
                    asking = self._ask(found)
                    asking.begun.wait(PATIENCE_S)
                    time.sleep(seconds)
                    acknowledged = asking.kept
                    left = self._strike(victim)
                    asking.join(PATIENCE_S)
                    here = self._here(found.bundle, transfers)
                    self._start_again(victim)
                    wrong += self._judge(found, asking, victim, left, here)
                    load.wait_for(10)
            wrong += load.failures
        except (AssertionError, EdgemlError, OSError) as error:
            wrong.append(str(error) or repr(error))
        cell.kills += 1
        cell.early += not acknowledged
        when = f"{seconds * 1000:.0f} ms into {cell.change}, {'' if acknowledged else 'not '}acknowledged"
        cell.violations += [f"{victim} killed {when}: {each}" for each in dict.fromkeys(wrong)]

    def die_on_trial(self, cell: Cell) -> None:
        """Kills the box as often as it starts a bundle on trial.

        Args:
            cell: Of the change ``trial``; what comes of it is written there.
        """
        victim = cell.victim
        self._rest(victim)
        bundle = self._installed()
        before, tried, kills = self._where()[0], bare(bundle.digest), 0
        assert before is not None
        with self.device(patient=True) as device:
            device.finish(lambda: device.activate(MODEL, bundle.digest), seconds=PATIENCE_S)
        try:
            while (left := self._tries()) is not None and kills < TRIES:
                time.sleep(self._random.random() * 0.1)
                self._worker = self.box.worker
                self._strike(victim)
                kills += 1
                self._start_again(victim)
                # What is confirmed answers first; only then the next attempt is counted, and the bundle loaded.
                until(lambda left=left: self._tries() != left or self.box.served() == tried, why="tried again")
            if tried not in self.store.state().models[MODEL].denied:
                cell.violations.append(f"{victim} killed {kills} times with a bundle on trial: it is tried again")
            else:
                self.box.wait_served(before)
        except (AssertionError, OSError) as error:
            cell.violations.append(f"{victim} killed {kills} times with a bundle on trial: {error}")
        cell.kills += kills

    def _tries(self) -> int | None:
        model = self.store.state().models[MODEL]
        return None if model.candidate is None else model.tries_left

    def finish(self, cell: Cell) -> None:
        """After all kills: a push, a trial, and going back, with nobody in the way.

        Args:
            cell: What comes of it is written there.
        """
        bundle = self._version()
        before = self.store.state().models[MODEL].active
        try:
            with self.device(patient=True) as device:
                push(device.registry, BundleSource(bundle), MODEL)
                device.finish(lambda: device.activate(MODEL, bundle.digest), seconds=PATIENCE_S)
                assert self.box.predict()[1]["bundle"] == bundle.digest, "the bundle on trial does not answer"
                device.finish(lambda: device.confirm(MODEL), seconds=PATIENCE_S)
                device.finish(lambda: device.roll_back(MODEL, leaving=bundle.digest), seconds=PATIENCE_S)
            assert self.box.predict()[1]["bundle"] == f"sha256:{before}", "the bundle before does not answer again"
        except (AssertionError, EdgemlError, OSError) as error:
            cell.violations.append(f"after all kills: {error}")

    # What is killed, and started again

    def _start(self) -> RunningStore:
        self._deaths = 0
        self._boxes.append(RunningStore(self.root, port=self._ports[0], manage_port=self._ports[1]))
        return self._boxes[-1]

    def _strike(self, victim: str) -> list[int]:
        """Kills; gives the processes that must end of themselves then."""
        worker, supervisor = self._worker, self.box.process.pid
        left = [each for each in children(supervisor) if each != worker]
        pids = {"worker": [worker], "supervisor": [supervisor], "both": [supervisor, worker]}[victim]
        self._random.shuffle(pids)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        if victim != "worker":
            self.box.process.wait(PATIENCE_S)
            self.box.close()
        until(lambda: not any(map(is_alive, pids)), why="killed")
        self._deaths += victim == "worker"
        return left if victim != "worker" else []

    def _start_again(self, victim: str) -> None:
        if victim != "worker":
            self.box = self._start()
        if victim != "supervisor":
            until(lambda: self.box.worker != self._worker, why="another worker")
        until(lambda: self.box.served() is not None, why="answers")

    def _rest(self, victim: str) -> None:
        """What a minute of quiet service does between two deaths of the worker."""
        self.store.healthy()
        self.store.collect(keep=1)
        if victim == "worker" and self._deaths >= 2:
            self.box.stop()
            self.box = self._start()

    # What is asked for

    def _rehearse(self) -> dict[str, float]:
        """How long each change takes when nobody is in the way, in seconds."""
        found = {}
        for change in CHANGES:
            asking = self._ask(self._prepare(change, now=True))
            asking.join(PATIENCE_S)
            assert not asking.failure, asking.failure
            found[change] = (asking.ended - asking.began) * SPREAD
        # An activation is both.
        found["admission"] -= found["swap"]
        return found

    def _ask(self, change: Change) -> Asking:
        asking = Asking(self.device(), change.act)
        asking.start()
        return asking

    def _prepare(self, change: str, *, now: bool | None = None) -> Change:
        if change == "push":
            bundle, where = self._version(), self._where()
            return Change(bundle, pushing(bundle, self._notes), where, where, partial(resumed, bundle, self._notes))
        if change == "rollback":
            before = self._where()
            bundle = self._installed()
            self.store.activate(bundle.digest, now=True)
            self.box.follow()
            digest = bundle.digest
            return Change(bundle, going_back(digest), self._where(), before, partial(gone_back, digest))
        bundle = self._installed()
        now = self._random.random() < 0.5 if now is None else now
        before, digest = self._where(), bare(bundle.digest)
        return Change(
            bundle,
            activating(bundle.digest, now=now, from_start=change == "admission"),
            before,
            (digest, None) if now else (before[0], digest),
            partial(activated, bundle.digest, now),
        )

    def _here(self, bundle: Bundle, before: set[Path]) -> int:
        """How many bytes of a bundle's blobs the box has, installed, waiting or on their way.

        Args:
            bundle: What was pushed.
            before: Transfers that were there before. One that is left of a manifest, which no client goes on with,
                stays until others need its place.
        """
        blobs = BundleSource(bundle).descriptors
        folders = self.store.incoming.folder, self.store.blobs.folder
        whole = sum(each.size for each in blobs if any((folder / bare(each.digest)).exists() for folder in folders))
        parts = sum(path.stat().st_size for path in self._transfers() - before)
        # A manifest is on its way when all blobs are here.
        return min(whole + parts, sum(each.size for each in blobs))

    def _transfers(self) -> set[Path]:
        return set(self.store.incoming.folder.glob("part-*"))

    def _installed(self) -> Bundle:
        bundle = self._version()
        self.store.install(bundle)
        return bundle

    def _version(self) -> Bundle:
        self._versions += 1
        bundle = made.version(self._bundle, str(self._versions))
        ballast = self._random.randbytes(BALLAST_BYTES // 2).hex().encode()
        bundle = made.signed(bundle.config, dict(bundle.members) | {"CARD.md": ballast})
        self._known |= known(bundle)
        return bundle

    # What came of it

    def _where(self) -> tuple[str | None, str | None]:
        model = self.store.state().models[MODEL]
        return model.active, model.candidate

    def _judge(self, change: Change, asking: Asking, victim: str, left: list[int], here: int) -> Iterator[str]:
        if asking.is_alive():
            yield "the client waits for ever"
        if victim == "worker" and asking.failure:
            yield f"only the worker died, and the change failed: {asking.failure}"
        state = self.store.state()
        yield from self._judge_record(state, change, asking.kept)
        self._must_answer()
        with self.device(patient=True) as device:
            if wrong := change.again(device, here):
                yield wrong
            if self._where() != change.after:
                yield f"asked for again, it led to {self._where()}, not {change.after}"
            if change.after[1] is not None:
                device.finish(lambda: device.confirm(MODEL, change.bundle.digest), seconds=PATIENCE_S)
        if bare(change.bundle.digest) not in self.store.state().models[MODEL].releases:
            yield "the bundle is not installed"
        self._must_answer()
        until(lambda: not any(map(is_alive, left)), why=f"the end of {left}, which a killed supervisor left behind")

    def _judge_record(self, state: State, change: Change, kept: bool) -> Iterator[str]:
        model = state.models[MODEL]
        where = model.active, model.candidate
        if where not in ((change.after,) if kept else (change.before, change.after)):
            yield f"the record says {where}; before {change.before}, after {change.after}, acknowledged: {kept}"
        if kept and bare(change.bundle.digest) not in model.releases:
            yield "the bundle was acknowledged, and is not installed"
        if change.after != change.before and change.after[0] is not None and where == change.before:
            if bare(change.bundle.digest) in model.denied:
                yield "a box that died holds it against the bundle"
        if damage := self.store.journal.damage():
            yield f"the journal is damaged: {damage}"
        for digest in model.releases:
            self.store.read_bundle(digest, state=state)

    def _must_answer(self) -> None:
        """Waits until the bundle answers that the record names."""
        active, candidate = self._where()
        digest = candidate or active
        assert digest is not None
        self.box.wait_served(digest)
        answer = self.box.predict()[1]
        assert answer["bundle"] == f"sha256:{digest}", f"{answer['bundle']} answers, and the record names {digest}"


def moments(kills: int, seed: str) -> Iterator[float]:
    """Shares of a change at which to kill: one at random within each equal part of it."""
    chosen = random.Random(seed)
    for number in range(kills):
        yield (number + chosen.random()) / kills


def children(pid: int) -> list[int]:
    """Processes that a process has made and that live."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def free_port() -> int:
    """A port below those that the kernel gives to outgoing connections, so that nobody takes it between two starts."""
    while True:
        port = random.SystemRandom().randrange(15_000, 32_000)
        with socket.socket() as tried, suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return port


@contextmanager
def killed_box(folder: Path, bundle: Bundle, seed: str) -> Iterator[KilledBox]:
    """A box to be killed, for the time of a test."""
    found = KilledBox(folder, bundle, seed)
    try:
        yield found
    finally:
        found.close()
