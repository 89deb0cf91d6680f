"""Examines one transition on a disk in memory: power cuts, kills, errors. Nothing is asserted here; it is written down.

What must hold, wherever it was cut off (P1, P2, P4, P6 of the store's promises):

1. Whoever opens the store finds exactly one of the records that the undisturbed transition goes through; after it has
   returned, exactly the last one.
2. Every bundle that this record names can be read, every byte of it verified.
3. The transition can be asked for again and then succeeds.
4. An error says that nothing has changed, and then nothing has; nothing that failed to sync is synced again.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from crash.crash_states import Print, crash_states, finger_print
from crash.memory_disk import ERRNOS, Fault, MemoryDisk
from crash.scenarios import Box, Scenario

from edgeml.bundles.record import RESERVE_BYTES
from edgeml.bundles.state import State
from edgeml.bundles.store import Store
from edgeml.errors import EdgemlError, StateError, StorageError, StoreError

ROOT = Path("/box/store")
Patch = Callable[[], AbstractContextManager[object]]


@dataclass
class Findings:
    """What came of examining a transition.

    Attributes:
        name: The transition's.
        points: Operations before and after which it was cut off.
        states: Different states of the disk that were checked.
        errors: Errors that were made to happen.
        violations: What must not be; empty where all is well.
    """

    name: str
    points: int = 0
    states: int = 0
    errors: int = 0
    violations: list[str] = field(default_factory=list)


class Examination:
    """One transition, under the code as it is or under a deliberately broken variant of it.

    Attributes:
        findings: What came of it.
        kinds: Every operation of the undisturbed transition.
        records: The records that it goes through, the first and the last one too; None before there is a store.

    Args:
        scenario: The transition.
        disk: Class of the disk; a broken variant may bring its own.
        patch: Breaks the code while it is active; recovery is always done by the code as it is.
    """

    def __init__(self, scenario: Scenario, disk: type[MemoryDisk] = MemoryDisk, patch: Patch = nullcontext) -> None:
        self.findings = Findings(scenario.name)
        self._scenario = scenario
        self._patch = patch
        self._making = scenario.name == "create"
        self._known: dict[tuple[Print, bool], str] = {}
        self._seen: dict[tuple[Print, bool, bool], str] = {}
        self._start = disk()
        self._start.root = started(scenario).copy().root
        self.kinds, self.records = undisturbed(scenario)

    def power_cuts(self, *, first: bool = False) -> None:
        """Cuts the power before and after each operation, and kills the process there and asks again.

        Args:
            first: Whether to stop at the first violation.
        """
        disk = self._start.copy()
        seen: set[object] = set()

        def look(number: int, kind: str) -> None:
            if first and self.findings.violations:
                return
            where = f"before operation {number} ({kind})"
            self.findings.points += 1
            self._cut(disk, where, done=False)
            mark = (finger_print(disk), tuple(sorted(_pending(disk))))
            if mark not in seen:
                seen.add(mark)
                self._kill(disk.copy(), where)

        disk.hook = look
        with self._patch():
            self._run(disk)
        disk.hook = None
        self._cut(disk, "after success", done=True)
        for _, make in crash_states(disk):
            # A power cut must not empty what a full disk will need.
            held = make().size(ROOT / "reserve") or 0
            if held < RESERVE_BYTES:
                self._note("power cut after success", f"the reserve has {held} bytes")

    def errors(self, *, errnos: Callable[[int], bool] = lambda _: True, first: bool = False) -> None:
        """Makes each operation fail with each errno that it can give, once and from then on.

        Args:
            errnos: Which ones.
            first: Whether to stop at the first violation.
        """
        for at, kind in enumerate(self.kinds, start=1):
            for error in filter(errnos, ERRNOS[kind]):
                for lasting in (False, True):
                    if first and self.findings.violations:
                        return
                    self.findings.errors += 1
                    self._fail(Fault(at, error, lasting), kind)

    def _fail(self, fault: Fault, kind: str) -> None:
        where = f"operation {fault.at} ({kind}) gave {errno.errorcode[fault.error]}{' and on' if fault.lasting else ''}"
        disk = self._start.copy()
        disk.fault = fault
        store: Store | None = None
        failure: Exception | None = None
        with self._patch():
            try:
                store = self._open(disk)
                self._scenario.act(store)
            except (OSError, EdgemlError) as error:
                failure = error
            except Exception as error:
                self._note(where, f"raised {error!r}")
                return
        disk.fault = None
        self._see(disk, where, done=failure is None, unchanged=isinstance(failure, OSError) and self._scenario.single)
        self._cut(disk, where, done=failure is None)
        if store is not None and self._scenario.again:
            with self._patch():
                try:
                    self._scenario.act(store)
                except StorageError:
                    pass
                except Exception as error:
                    self._note(f"{where}; the same process again", f"raised {error!r}")
                else:
                    self._cut(disk, f"{where}; the same process again", done=True)
        for misdeed in disk.misdeeds:
            self._note(where, misdeed)

    # Below the line

    def _box(self, disk: MemoryDisk) -> Box:
        return Box(ROOT, disk, self._scenario.limits)

    def _open(self, disk: MemoryDisk) -> Store:
        return self._box(disk).create() if self._making else self._box(disk).open()

    def _run(self, disk: MemoryDisk) -> None:
        self._scenario.act(self._open(disk))

    def _visible(self, disk: MemoryDisk) -> State | None:
        return visible(self._scenario, disk)

    def _kill(self, disk: MemoryDisk, where: str) -> None:
        """The process is gone, the kernel is not: another process asks for the same, and then the power is cut."""
        self._see(disk.copy(), f"killed {where}", done=False)
        if not self._scenario.again and not self._making:
            return
        if self._making and self._visible(disk) is not None:
            return  # it is told that there is a store already, and nobody has told it of success
        try:
            with self._patch():
                self._run(disk)
        except (EdgemlError, OSError) as error:
            self._note(f"killed {where}, asked again", f"raised {error!r}")
            return
        self._cut(disk, f"killed {where}, asked again", done=True)

    def _cut(self, disk: MemoryDisk, where: str, *, done: bool) -> None:
        for found, make in crash_states(disk):
            if (found, done) in self._known:
                continue
            self.findings.states += 1
            left = make()
            problem = self._judge(left, done=done) or ("" if done else self._usable(left))
            self._known[found, done] = problem
            if problem:
                self._note(f"power cut {where}", problem)

    def _see(self, disk: MemoryDisk, where: str, *, done: bool, unchanged: bool = False) -> None:
        key = (finger_print(disk), done, unchanged)
        if key not in self._seen:
            self._seen[key] = self._judge(disk.copy(), done=done, unchanged=unchanged)
        if self._seen[key]:
            self._note(where, self._seen[key])

    def _judge(self, disk: MemoryDisk, *, done: bool, unchanged: bool = False) -> str:
        try:
            store = self._box(disk).open()
            state: State | None = store.state()
        except StateError as error:
            return "" if self._making and not done else f"the store does not open: {error}"
        except OSError as error:
            return f"the store does not open: {error!r}"
        allowed = self.records[-1:] if done else self.records[:1] if unchanged else self.records
        if state not in allowed:
            at = self.records.index(state) if state in self.records else "none"
            return f"the record is {at} of {len(self.records)}, generation {state.generation if state else 0}"
        assert state is not None
        try:
            for model in state.models.values():
                for digest in model.releases:
                    store.read_bundle(digest, state=state)
            store.trust.keyring(state)
        except (OSError, EdgemlError) as error:
            return f"a bundle that the record names cannot be read: {error!r}"
        return ""

    def _usable(self, left: MemoryDisk) -> str:
        """Whether the transition can be carried out on what a power cut left."""
        disk = left.copy()
        if self._making and self._visible(disk) is not None:
            return ""
        try:
            self._run(disk)
        except (EdgemlError, OSError) as error:
            if not isinstance(error, StoreError) or isinstance(error, StorageError) or self._scenario.again:
                return f"asked again, it raised {error!r}"
            return ""
        return self._judge(disk, done=True) if self._scenario.again else ""

    def _note(self, where: str, problem: str) -> None:
        self.findings.violations.append(f"{self._scenario.name}: {where}: {problem}")


@cache
def started(scenario: Scenario) -> MemoryDisk:
    """The disk on which a transition starts; everything on it is safe. Nobody may change it."""
    disk = MemoryDisk()
    disk.make_folder(ROOT.parent)
    if scenario.name != "create":
        scenario.prepare(Box(ROOT, disk, scenario.limits).create())
    settle(disk)
    return disk


@cache
def undisturbed(scenario: Scenario) -> tuple[list[str], list[State | None]]:
    """The operations of a transition that nothing disturbs, and the records that it goes through."""
    disk = started(scenario).copy()
    kinds: list[str] = []
    records = [visible(scenario, disk)]

    def look(number: int, kind: str) -> None:
        kinds.append(kind)
        see()

    def see() -> None:
        record = visible(scenario, disk)
        if record != records[-1]:
            records.append(record)

    disk.hook = look
    box = Box(ROOT, disk, scenario.limits)
    scenario.act(box.create() if scenario.name == "create" else box.open())
    disk.hook = None
    see()
    return kinds, records


def visible(scenario: Scenario, disk: MemoryDisk) -> State | None:
    """The record that whoever opens the store now would find; None where there is no store."""
    try:
        return Box(ROOT, disk.copy(), scenario.limits).open().state()
    except StateError:
        return None


def settle(disk: MemoryDisk) -> None:
    """Makes everything safe, as a minute without changes does."""
    todo = [disk.root]
    while todo:
        folder = todo.pop()
        folder.safe, folder.waiting = dict(folder.names), []
        for each in folder.names.values():
            if hasattr(each, "names"):
                todo.append(each)
            else:
                each.safe = each.data


def _pending(disk: MemoryDisk) -> list[str]:
    found = []
    todo = [("", disk.root)]
    while todo:
        path, folder = todo.pop()
        for change in folder.waiting:
            found.append(f"{path} {sorted(name[:20] for name in change.names)}")
        todo += [(f"{path}/{name}", each) for name, each in folder.names.items() if hasattr(each, "names")]
    return found
