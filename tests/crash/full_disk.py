"""Examines what must work although not one more byte, or not one more inode, fits: going back, counting, making room.

Somebody else is always writing: whatever a change gives free is taken before the next one (ten in a row), or before
the next operation (one alone).
"""

from __future__ import annotations

from contextlib import nullcontext

from bundles.releases import release
from crash.crash_states import crash_states
from crash.examination import ROOT, Examination, Patch, settle
from crash.memory_disk import MemoryDisk
from crash.scenarios import Box, Scenario, bundle, digest, twelve

from edgeml.bundles.store import Store
from edgeml.errors import EdgemlError

KINDS = {
    "no bytes": {"size": True, "files": False},
    "no inodes": {"size": False, "files": True},
    "neither": {"size": True, "files": True},
}


class FullDisk(Examination):
    """One urgent transition on a full disk."""

    def while_others_write(self) -> None:
        """The disk is full before each operation, whatever the operation before gave free."""
        for kind, options in KINDS.items():
            disk = self._start.copy()

            def look(number: int, what: str, disk: MemoryDisk = disk, options: dict[str, bool] = options) -> None:
                disk.fill(**options)

            disk.fill(**options)
            disk.hook = look
            self.findings.points += 1
            with self._patch():
                try:
                    self._run(disk)
                except (OSError, EdgemlError) as error:
                    self._note(kind, f"raised {error!r}")
                    continue
            disk.hook = None
            self._see(disk, kind, done=True)
            self._cut(disk, kind, done=True)

    def after_power_cuts(self) -> None:
        """The power is cut while the disk is full; it comes back, is as full, and the transition is asked for.

        What is not promised: that it works when somebody else takes, between the power cut and that, the very blocks
        that the change had given free a moment before.
        """
        for kind, options in KINDS.items():
            disk = self._start.copy()
            disk.fill(**options)
            tried = set()

            def look(
                number: int,
                what: str,
                disk: MemoryDisk = disk,
                kind: str = kind,
                tried: set[object] = tried,
            ) -> None:
                for found, make in crash_states(disk):
                    if found in tried:
                        continue
                    tried.add(found)
                    self.findings.states += 1
                    problem = self._usable(make())
                    if problem:
                        self._note(f"{kind}, power cut before operation {number} ({what})", problem)

            disk.hook = look
            with self._patch():
                try:
                    self._run(disk)
                except (OSError, EdgemlError) as error:
                    self._note(kind, f"raised {error!r}")


def ten_in_a_row(scenario: Scenario, options: dict[str, bool], patch: Patch = nullcontext) -> list[str]:
    """Ten changes one after the other; the disk is filled up again after each.

    Returns:
        What went wrong.
    """
    disk = MemoryDisk()
    box = Box(ROOT, disk)
    disk.make_folder(ROOT.parent)
    with patch():
        store = box.create()
        scenario.prepare(store)
        settle(disk)
        problems = []
        for number in range(1, 11):
            disk.fill(**options)
            store = box.open()
            before = store.state().generation
            try:
                scenario.act(store)
            except (OSError, EdgemlError) as error:
                problems.append(f"change {number}: {error!r}")
                break
            if box.open().state().generation != before + 1:
                problems.append(f"change {number}: the record is the old one")
        return problems


def many(store: Store) -> None:
    """Ten bundles that nobody has tried."""
    for version in range(1, 11):
        store.install(bundle(f"r{version}"))


def next_rejection(store: Store) -> None:
    done = store.state().models["door"].denied
    left = [version for version in range(1, 11) if digest(f"r{version}") not in done]
    store.reject(digest(f"r{left[0]}"), reason="x", signal="golden")


def four_trials(store: Store) -> None:
    """Four models, each with a bundle on trial."""
    for name in ("gate", "lamp", "pump", "valve"):
        store.activate(store.install(release("1", name=name)), now=True)
        store.activate(store.install(release("2", name=name)))


def next_load(store: Store) -> None:
    """One load of one of the four models; the others run already."""
    trials = [model for model in store.state().models.values() if model.candidate is not None]
    store.load([model.candidate for model in trials[1:] if model.candidate is not None])


TEN = [
    Scenario("roll back", twelve, lambda store: store.roll_back("door", reason="x")),
    Scenario("load", four_trials, next_load),
    Scenario("died", twelve, lambda store: store.died("SIGSEGV")),
    Scenario("reject", many, next_rejection),
]
