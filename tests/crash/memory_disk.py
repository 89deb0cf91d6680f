"""A disk in memory that knows what a power cut would leave of it.

What is on the disk now and what would be there after a power cut are two things:

1. A file has the bytes that readers see and the bytes that a sync has made safe.
2. A folder has the names that readers see, the names that are safe, and in order the changes of names that no sync
   has covered yet. Each of those may have reached the disk or not.
3. What was waiting when a sync failed is never made safe by a later sync: the kernel would say yes and mean nothing
   ("fsyncgate"). To ask again for the same file is noted in ``misdeeds``.

Every operation has a number. A hook sees each before it is carried out, and a ``Fault`` makes it fail.
``crash_states`` lists what may be left.
"""

from __future__ import annotations

import copy
import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from edgeml.bundles.disk import Disk, Room

BLOCK = 4096


@dataclass(eq=False)
class Inode:
    """A file.

    Attributes:
        data: What readers see.
        safe: What a power cut leaves for certain; None before the first sync.
        mode: Permission bits.
        spoiled: Whether a sync of it has failed.
    """

    data: bytes = b""
    safe: bytes | None = None
    mode: int = 0o644
    spoiled: bool = False


@dataclass(eq=False)
class Renaming:
    """One change of a folder's names.

    Attributes:
        serial: Its place among all changes.
        names: Each name with what it stands for then, None where it goes.
        spoiled: Whether a sync of the folder has failed.
        needs: For the name that a file loses when it moves to another folder: the change there by which it gets the
            new one. No file system loses both.
    """

    serial: int
    names: dict[str, Inode | Folder | None]
    spoiled: bool = False
    needs: tuple[Folder, Renaming] | None = None


@dataclass(eq=False)
class Folder:
    """A folder: names now, names that are safe, and the changes between the two."""

    names: dict[str, Inode | Folder] = field(default_factory=dict)
    safe: dict[str, Inode | Folder] = field(default_factory=dict)
    waiting: list[Renaming] = field(default_factory=list)


@dataclass(frozen=True)
class Fault:
    """Which operation fails, and how.

    Attributes:
        at: Its number, from 1.
        error: The errno.
        lasting: Whether all later operations that can give this errno fail too.
    """

    at: int
    error: int
    lasting: bool = False


_WRITES = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENOMEM)
_READS = (errno.EIO, errno.EMFILE, errno.ENOMEM, errno.EACCES)
ERRNOS: dict[str, tuple[int, ...]] = {
    "create": (*_WRITES, errno.EMFILE, errno.EACCES, errno.EINTR),
    "reopen": (errno.EIO, errno.EROFS, errno.EMFILE, errno.ENOMEM, errno.EACCES),
    "overwrite": (errno.EIO, errno.EROFS, errno.EMFILE, errno.ENOMEM, errno.EACCES),
    "write": (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.ENOMEM),
    "truncate": (errno.EIO, errno.EINTR),
    "allocate": (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EINTR, errno.EOPNOTSUPP),
    "sync": (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS),
    "close": (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EINTR),
    "rename": (*_WRITES, errno.EACCES),
    "link": (*_WRITES, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP),
    "seal": (errno.EIO, errno.EROFS, errno.EPERM),
    "unlink": (errno.EIO, errno.EROFS, errno.EACCES, errno.ENOMEM),
    "make_folder": (*_WRITES, errno.EACCES),
    "sync_folder": (errno.EIO, errno.ENOSPC, errno.EROFS, errno.EMFILE, errno.ENOMEM),
    "names": _READS,
    "size": (errno.EIO, errno.ENOMEM, errno.EACCES),
    "changed": (errno.EIO, errno.ENOMEM, errno.EACCES),
    "stamp": (errno.EIO, errno.ENOMEM, errno.EACCES),
    "is_folder": (errno.EIO, errno.ENOMEM, errno.EACCES),
    "read": _READS,
    "open": _READS,
    "room": (errno.EIO,),
    "lock": (errno.EIO, errno.EMFILE, errno.EROFS, errno.ENOSPC, errno.ENOLCK, errno.EINTR),
}


class MemoryDisk(Disk):
    """Files in memory, below one folder that is always there.

    Attributes:
        root: The names at the top.
        count: Number of operations so far.
        hook: Told of each operation before it is carried out: its number and kind.
        fault: Which one fails.
        capacity: Bytes that fit, in whole blocks; None for no end.
        capacity_files: Inodes that fit; None for no end.
        misdeeds: What a careful program never does.
    """

    def __init__(self) -> None:
        self.root = Folder()
        self.count = 0
        self.hook: Callable[[int, str], None] | None = None
        self.fault: Fault | None = None
        self.capacity: int | None = None
        self.capacity_files: int | None = None
        self.misdeeds: list[str] = []
        self._open: dict[int, Inode] = {}
        self._at: dict[int, int] = {}
        self._serial = 0
        self._next = 1000
        self._held: set[str] = set()

    def copy(self) -> MemoryDisk:
        """Another disk with the same files, as if every process had been killed: nothing is open or locked."""
        other = type(self)()
        other.root = copy.deepcopy(self.root)
        other._serial = self._serial
        other.capacity, other.capacity_files = self.capacity, self.capacity_files
        return other

    def used(self) -> tuple[int, int]:
        """Bytes in whole blocks, and inodes."""
        found: dict[int, int] = {id(each): len(each.data) for each in self._open.values()}
        folders = 0
        todo = [self.root]
        while todo:
            folder = todo.pop()
            folders += 1
            for each in folder.names.values():
                if isinstance(each, Folder):
                    todo.append(each)
                else:
                    found[id(each)] = len(each.data)
        return sum(-(-size // BLOCK) * BLOCK for size in found.values()), len(found) + folders

    def fill(self, *, size: bool = True, files: bool = True) -> None:
        """Leaves no room for one more byte, or one more inode."""
        used, inodes = self.used()
        self.capacity = used if size else None
        self.capacity_files = inodes if files else None

    # The operations

    def create(self, path: Path, mode: int) -> int:
        self._step("create", path)
        folder, name = self._place(path)
        if name in folder.names:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        self._need_inode(path)
        return self._opened(self._rename(folder, {name: Inode(mode=mode)}, name))

    def reopen(self, path: Path) -> int:
        self._step("reopen", path)
        return self._opened(self._file(path))

    def overwrite(self, path: Path) -> int:
        self._step("overwrite", path)
        descriptor = self._opened(self._file(path))
        self._at[descriptor] = 0
        return descriptor

    def write(self, descriptor: int, data: bytes | memoryview) -> None:
        try:
            self._step("write")
        except OSError:
            self._put(descriptor, bytes(data)[: len(data) // 2])
            raise
        self._put(descriptor, bytes(data))

    def allocate(self, descriptor: int, size: int) -> None:
        self._step("allocate")
        inode = self._open[descriptor]
        self._grow(inode, inode.data + bytes(max(0, size - len(inode.data))))

    def truncate(self, descriptor: int, size: int) -> None:
        self._step("truncate")
        inode = self._open[descriptor]
        self._grow(inode, inode.data[:size].ljust(size, b"\0"))

    def sync(self, descriptor: int) -> None:
        inode = self._open[descriptor]
        if inode.spoiled:
            self.misdeeds.append("a file was synced again after its sync had failed")
        try:
            self._step("sync")
        except OSError:
            inode.spoiled = True
            raise
        if not inode.spoiled:
            inode.safe = inode.data

    def close(self, descriptor: int) -> None:
        del self._open[descriptor]
        self._at.pop(descriptor, None)
        self._step("close")

    def rename(self, old: Path, new: Path) -> None:
        self._step("rename", old)
        source, name = self._place(old)
        target, other = self._place(new)
        if name not in source.names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(old))
        found = source.names[name]
        if target.names.get(other) is found:
            return  # as POSIX has it: two names of one file, so nothing happens and both stay
        if source is target:
            self._rename(source, {name: None, other: found}, other)
        else:
            self._rename(target, {other: found}, other)
            there = target.waiting[-1]
            self._rename(source, {name: None}, name)
            source.waiting[-1].needs = (target, there)

    def link(self, old: Path, new: Path) -> None:
        self._step("link", old)
        found = self._file(old)
        folder, name = self._place(new)
        if name in folder.names:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), str(new))
        self._rename(folder, {name: found}, name)

    def seal(self, path: Path) -> None:
        self._step("seal", path)
        self._file(path).mode = 0o444

    def unlink(self, path: Path) -> None:
        self._step("unlink", path)
        self._file(path)
        folder, name = self._place(path)
        self._rename(folder, {name: None}, name)

    def make_folder(self, path: Path) -> None:
        self._step("make_folder", path)
        folder, name = self._place(path)
        if name in folder.names:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        self._need_inode(path)
        self._rename(folder, {name: Folder()}, name)

    def sync_folder(self, path: Path) -> None:
        folder = self._folder(path)
        try:
            self._step("sync_folder", path)
        except OSError:
            for each in folder.waiting:
                each.spoiled = True
            raise
        self._make_safe(folder)

    def names(self, folder: Path) -> list[str]:
        self._step("names", folder)
        return sorted(self._folder(folder).names)

    def size(self, path: Path) -> int | None:
        self._step("size", path)
        found = self._find(path)
        return len(found.data) if isinstance(found, Inode) else None

    def changed(self, path: Path) -> float:
        self._step("changed", path)
        return 0.0

    def stamp(self, path: Path) -> tuple[int, float]:
        self._step("stamp", path)
        found = self._find(path)
        return id(found) if isinstance(found, Inode) else 0, 0.0

    def is_folder(self, path: Path) -> bool:
        self._step("is_folder", path)
        return isinstance(self._find(path), Folder)

    def read(self, path: Path, max_bytes: int) -> bytes:
        self._step("read", path)
        data = self._file(path).data
        if len(data) > max_bytes:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
        return data

    def open(self, path: Path) -> BinaryIO:
        self._step("open", path)
        return io.BytesIO(self._file(path).data)

    def room(self, folder: Path) -> Room:
        self._step("room", folder)
        used, inodes = self.used()
        return Room(
            10**12 if self.capacity is None else max(0, self.capacity - used),
            None if self.capacity_files is None else max(0, self.capacity_files - inodes),
        )

    @contextmanager
    def lock(self, path: Path, *, wait: bool) -> Iterator[bool]:
        self._step("lock", path)
        if str(path) in self._held:
            assert not wait, "a process waits for itself"
            yield False
            return
        folder, name = self._place(path)
        if name not in folder.names:
            self._need_inode(path)
            self._rename(folder, {name: Inode(safe=b"")}, name)
        self._held.add(str(path))
        try:
            yield True
        finally:
            self._held.discard(str(path))

    # Below the line

    def _step(self, kind: str, path: Path | None = None) -> None:
        self.count += 1
        if self.hook is not None:
            self.hook(self.count, kind)
        fault = self.fault
        if fault is not None and (self.count == fault.at or (fault.lasting and self.count > fault.at)):
            if fault.error in ERRNOS[kind]:
                raise OSError(fault.error, os.strerror(fault.error), str(path or ""))

    def _find(self, path: Path) -> Inode | Folder | None:
        found: Inode | Folder | None = self.root
        for part in path.parts[1:]:
            found = found.names.get(part) if isinstance(found, Folder) else None
        return found

    def _file(self, path: Path) -> Inode:
        found = self._find(path)
        if not isinstance(found, Inode):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return found

    def _folder(self, path: Path) -> Folder:
        found = self._find(path)
        if not isinstance(found, Folder):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return found

    def _place(self, path: Path) -> tuple[Folder, str]:
        return self._folder(path.parent), path.name

    def _rename(self, folder: Folder, names: dict[str, Inode | Folder | None], wanted: str) -> Inode | Folder | None:
        self._serial += 1
        change = Renaming(self._serial, names)
        apply(folder.names, change)
        folder.waiting.append(change)
        return names[wanted]

    def _opened(self, inode: Inode | Folder | None) -> int:
        assert isinstance(inode, Inode)
        self._next += 1
        self._open[self._next] = inode
        return self._next

    def _make_safe(self, folder: Folder) -> None:
        newer: set[str] = set()
        for each in folder.waiting:
            if each.spoiled:
                continue
            if each.needs is not None and each.needs[1] in each.needs[0].waiting:
                self._make_safe(each.needs[0])
            newer |= each.names.keys()
            apply(folder.safe, each)
        folder.waiting = [each for each in folder.waiting if each.spoiled and not each.names.keys() & newer]

    def _put(self, descriptor: int, data: bytes) -> None:
        inode = self._open[descriptor]
        at = self._at.get(descriptor, len(inode.data))
        self._grow(inode, inode.data[:at] + data + inode.data[at + len(data) :])
        if descriptor in self._at:
            self._at[descriptor] = at + len(data)

    def _grow(self, inode: Inode, data: bytes) -> None:
        more = -(-len(data) // BLOCK) - -(-len(inode.data) // BLOCK)
        if self.capacity is not None and self.used()[0] + more * BLOCK > self.capacity:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        inode.data = data

    def _need_inode(self, path: Path) -> None:
        if self.capacity_files is not None and self.used()[1] >= self.capacity_files:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def apply(names: dict[str, Inode | Folder], change: Renaming) -> None:
    """Carries a change of names out on a folder's names."""
    for name, node in change.names.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node
