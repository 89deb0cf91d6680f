"""The file that holds a store's record, its backup, and the way from one generation to the next.

1. A change is one replacement: temporary file -> fsync -> the old record gets the backup's name as well -> rename ->
   fsync of the folder. Success is told only after that.
2. A reader takes the record; its backup where the record is missing or damaged; what the journal saw last where both
   are.
3. Changes take turns (``lock``), each for the time of one replacement.
4. After a failed fsync nothing is retried on that file. After two failures, or one where the outcome is unknown, this
   process takes no more changes: what is in memory goes on answering.
5. ``reserve`` holds blocks that are given up when the disk is full and the change must not fail (going back, counting
   attempts).

Sources: the fsync findings of PostgreSQL ("fsyncgate", 2018) for rule 4; SWUpdate's advice of one record for rule 1.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from edgeml.bundles.disk import Disk
from edgeml.bundles.event import Event
from edgeml.bundles.files import forget, temporary_name, write_new
from edgeml.bundles.journal import Journal
from edgeml.bundles.state import MAX_BYTES, State
from edgeml.bundles.transitions import Change
from edgeml.errors import ConflictError, StateError, StorageError

RESERVE_BYTES = 64 * 1024
FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_LINKS = (*FULL, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP)
# The disk says no, and means it: nothing is lost, and nothing is wrong with what it holds.
_PLAIN_NO = (*FULL, errno.EROFS, errno.EACCES, errno.EPERM)


class Record:
    """The record in one folder.

    Args:
        root: The folder.
        disk: Where.
        clock: Seconds since 1970.
        journal: Told of each change.

    Attributes:
        broken: Why this process takes no more changes; empty while it does.
    """

    def __init__(self, root: Path, *, disk: Disk, clock: Callable[[], float], journal: Journal) -> None:
        self.root = root
        self.broken = ""
        self._disk = disk
        self._clock = clock
        self._journal = journal
        self._failures = 0

    def begin(self, state: State) -> None:
        """Writes the first record of a store.

        Raises:
            ConflictError: There is one already.
            OSError: The disk refused.
        """
        with self.locked("lock"):
            if self._disk.size(self.root / "state.json") is not None:
                raise ConflictError(f"{self.root} is a store already; see 'edgeml status --store {self.root}'")
            self._fill_reserve()
            self._replace(state, None, spend_reserve=False)
        self._note([Event("settings", reason="the store was made")], state, "cli")

    def change(self, transition: Callable[[State], Change], *, who: str, spend_reserve: bool = False) -> State:
        """Replaces the record by what a transition makes of it.

        Args:
            transition: From the record as it is to the record as it shall be, and the events of the change.
            who: For the journal.
            spend_reserve: Whether the reserve may be given up for it.

        Raises:
            StorageError: This process takes no more changes, or nobody knows whether this one will last.
            EdgemlError: What the transition raises; nothing has changed then.
            OSError: The disk refused; nothing has changed then.
        """
        if self.broken:
            raise StorageError(f"the store takes no changes: {self.broken}; see 'edgeml doctor'")
        with self.locked("lock"):
            state, whole = self.read()
            changed, events = transition(state)
            if changed is state:
                return state
            changed = replace(changed, generation=state.generation + 1, last_time=max(self._clock(), state.last_time))
            self._replace(changed, state if whole else None, spend_reserve=spend_reserve)
            if not whole:
                events = (Event("recovered", reason="the record was damaged; its backup took its place"), *events)
        self._note(events, changed, who)
        return changed

    def read(self) -> tuple[State, bool]:
        """The record, and whether it is the one in ``state.json``.

        Raises:
            StateError: Record, backup and journal are all lost or damaged.
            OSError: The disk cannot be read.
        """
        problems: list[str] = []
        for name in ("state.json", "state.json.bak"):
            try:
                return State.from_bytes(self._disk.read(self.root / name, MAX_BYTES)), not problems
            except FileNotFoundError:
                problems.append(f"{name} is missing")
            except StateError as error:
                problems.append(f"{name}: {error}")
        data = self._journal.last_state()
        if data is not None:
            with suppress(StateError):
                return State.from_bytes(data), False
        raise StateError(
            f"the record of {self.root} is lost ({'; '.join(problems)}); move the folder away, make a new store with "
            "'edgeml init', and install the bundles again"
        )

    def _replace(self, state: State, before: State | None, *, spend_reserve: bool) -> None:
        data = state.to_bytes()
        target = self.root / "state.json"
        temporary = temporary_name(target)
        try:
            try:
                write_new(temporary, [data], 0o640, disk=self._disk)
            except OSError as error:
                if error.errno not in FULL or not spend_reserve:
                    raise
                forget(self.root / "reserve", disk=self._disk)
                temporary = temporary_name(target)
                write_new(temporary, [data], 0o640, disk=self._disk)
            if before is not None:
                self._back_up(target)
            self._disk.rename(temporary, target)
        except OSError as error:
            forget(temporary, disk=self._disk)
            self._count_failure(error)
            raise
        try:
            self._disk.sync_folder(self.root)
        except OSError as error:
            # The rename may or may not survive a power cut, and asking again would get a false answer.
            self.broken = f"the folder could not be synced ({error.strerror}), so the last change may be lost"
            raise StorageError(f"whether the change will survive a power cut is not known: {error}") from error
        if self._disk.size(self.root / "reserve") is None:
            with suppress(OSError):
                self._fill_reserve()

    def _back_up(self, target: Path) -> None:
        """Gives the record that is about to be replaced the backup's name as well; a full disk does without."""
        temporary = temporary_name(self.root / "state.json.bak")
        try:
            self._disk.link(target, temporary)
            self._disk.rename(temporary, self.root / "state.json.bak")
        except OSError as error:
            forget(temporary, disk=self._disk)
            if error.errno not in _NO_LINKS:
                raise

    def _count_failure(self, error: OSError) -> None:
        if error.errno in _PLAIN_NO:
            return
        self._failures += 1
        if self._failures >= 2:
            self.broken = f"the disk failed {self._failures} times, last: {error}"

    def _fill_reserve(self) -> None:
        path = self.root / "reserve"
        if self._disk.size(path) is not None:
            return
        descriptor = self._disk.create(path, 0o640)
        try:
            self._disk.allocate(descriptor, RESERVE_BYTES)
        except OSError:
            self._disk.close(descriptor)
            forget(path, disk=self._disk)
            raise
        self._disk.close(descriptor)

    def _note(self, events: Sequence[Event], state: State, who: str) -> None:
        if events:
            self._journal.append(events, at=self._clock(), who=who, generation=state.generation, state=state.to_bytes())

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Holds one of the store's locks: ``lock``, which is waited for, or ``install.lock``, which is not.

        Raises:
            ConflictError: A bundle is being installed or garbage is being collected.
        """
        # One replacement of the record takes milliseconds, so it is waited for; an installation may take minutes.
        with self._disk.lock(self.root / name, wait=name == "lock") as ours:
            if not ours:
                raise ConflictError("another bundle is being installed or garbage collected; try again when it is done")
            yield
