"""The file that holds a store's record, its backup, and the way from one generation to the next.

1. A change is one replacement: temporary file -> fsync -> the old record gets the backup's name as well -> rename ->
   fsync of the folder. Success is told only after that.
2. A reader takes the record; its backup where the record is missing or damaged; what the journal saw last where both
   are.
3. Changes take turns (``lock``), each for the time of one replacement. Nobody waits for ever for one that hangs.
4. After a failed fsync nothing is retried on that file. After two failures, or one where the outcome is unknown, this
   process takes no more changes: what is in memory goes on answering.
5. ``reserve`` holds blocks and an inode for a change that a full disk must not stop (going back, counting attempts,
   making room). The record is written *into* it and takes its place, so that there is no moment in which somebody else
   could have the blocks.
6. What is already so is success too, and success outlives a power cut: whoever made it so may have been killed before
   the folder was synced, so it is synced now.
7. A full record refuses additions only. Any other change is made to fit (``fitting``).

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
from edgeml.bundles.fitting import added, fitted
from edgeml.bundles.journal import Journal
from edgeml.bundles.lock_holder import hanging
from edgeml.bundles.state import MAX_BYTES, State
from edgeml.bundles.transitions import Change
from edgeml.errors import ConflictError, StateError, StorageError

RESERVE_BYTES = 64 * 1024
FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_LINKS = (*FULL, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP)
# The disk says no, and means it: nothing is lost, and nothing is wrong with what it holds.
_PLAIN_NO = (*FULL, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR)
_BLOCK = 4096


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
        self._safe: int | None = None  # generation that this process knows to outlive a power cut

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
            if (self._disk.size(self.root / "reserve") or 0) < RESERVE_BYTES:
                raise OSError(errno.ENOSPC, "no room for a new store", str(self.root))
            self._replace(state, None, spend_reserve=False)
        self._note([Event("settings", reason="the store was made")], state, "cli")

    def change(
        self, transition: Callable[[State], Change], *, who: str, spend_reserve: bool = False, adds: bool = False
    ) -> State:
        """Replaces the record by what a transition makes of it.

        Args:
            transition: From the record as it is to the record as it shall be, and the events of the change.
            who: For the journal.
            spend_reserve: Whether the reserve may be given up for it.
            adds: Whether it adds what the box could do without, so that a record that is nearly full refuses it.

        Raises:
            StateError: It adds something, and the record is nearly full.
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
                if self._safe != state.generation:
                    self._sync(state)
                return state
            changed = replace(changed, generation=state.generation + 1, last_time=max(self._clock(), state.last_time))
            about = {each.digest for each in events}
            changed, forgotten = added(state, changed, about) if adds else fitted(changed, about)
            events = (*forgotten, *events)
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
        self._sweep()
        try:
            written = self._write(data, spend_reserve=spend_reserve)
            try:
                if before is not None:
                    self._back_up(target)
                self._disk.rename(written, target)
            except OSError:
                if written.name != "reserve":
                    forget(written, disk=self._disk)
                raise
        except OSError as error:
            self._count_failure(error)
            raise
        with suppress(OSError):
            # Before the folder is synced, so that the reserve's name is synced with it.
            self._fill_reserve()
        self._sync(state)

    def _sync(self, state: State) -> None:
        try:
            self._disk.sync_folder(self.root)
        except OSError as error:
            # The rename may or may not survive a power cut, and asking again would get a false answer.
            self.broken = f"the folder could not be synced ({error.strerror}), so the last change may be lost"
            raise StorageError(f"whether the change will survive a power cut is not known: {error}") from error
        self._safe = state.generation

    def _write(self, data: bytes, *, spend_reserve: bool) -> Path:
        """Writes a record and syncs it, beside the present one; gives where it is."""
        temporary = temporary_name(self.root / "state.json")
        try:
            write_new(temporary, [data], 0o640, disk=self._disk)
            return temporary
        except OSError as error:
            if error.errno not in FULL or not spend_reserve or self._disk.size(self.root / "reserve") is None:
                raise
        try:
            return self._write_into_reserve(data)
        except OSError as error:
            if error.errno not in FULL:
                raise
        # A file system that copies on write had no room for that. The reserve is given up, so now there is.
        write_new(temporary, [data], 0o640, disk=self._disk)
        return temporary

    def _write_into_reserve(self, data: bytes) -> Path:
        path = self.root / "reserve"
        try:
            descriptor = self._disk.overwrite(path)
            try:
                self._disk.write(descriptor, data)
                self._disk.truncate(descriptor, len(data))
                self._disk.sync(descriptor)
            finally:
                self._disk.close(descriptor)
        except OSError:
            forget(path, disk=self._disk)
            raise
        return path

    def _sweep(self) -> None:
        """Removes temporary files of a change that was cut off; the lock is held, so nobody is writing one."""
        with suppress(OSError):
            for name in self._disk.names(self.root):
                if name.startswith(".state.json.") and name.endswith(".tmp"):
                    forget(self.root / name, disk=self._disk)

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
        """Makes the reserve as large as it should be, or as large as it can be: also an empty one holds an inode."""
        path = self.root / "reserve"
        held = self._disk.size(path)
        if held is not None and held >= RESERVE_BYTES:
            return
        descriptor = self._disk.create(path, 0o640) if held is None else self._disk.overwrite(path)
        try:
            try:
                for size in range(RESERVE_BYTES, held or 0, -_BLOCK):
                    try:
                        self._disk.allocate(descriptor, size)
                        break
                    except OSError as error:
                        if error.errno not in FULL:
                            raise
                # Blocks that are not synced are lost in a power cut, and the name would stay and promise them.
                self._disk.sync(descriptor)
            finally:
                self._disk.close(descriptor)
        except OSError:
            forget(path, disk=self._disk)
            raise

    def _note(self, events: Sequence[Event], state: State, who: str) -> None:
        if events:
            self._journal.append(events, at=self._clock(), who=who, generation=state.generation, state=state.to_bytes())

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Holds one of the store's locks: ``lock``, which is waited for a while, or ``install.lock``, which is not.

        Raises:
            ConflictError: A bundle is being installed or garbage is being collected, or somebody hangs in a change.
        """
        # One replacement of the record takes milliseconds, so it is waited for; an installation may take minutes.
        with self._disk.lock(self.root / name, wait=name == "lock") as ours:
            if not ours and name == "lock":
                raise ConflictError(hanging(self.root / name))
            if not ours:
                raise ConflictError("another bundle is being installed or garbage collected; try again when it is done")
            yield
