"""The disk, one operation at a time: what a power cut can stand before or after, and what a fault test can break.

Law: every method is one step that the operating system does as a whole or not at all, or a step whose half is
harmless (a write into a file that nobody looks at yet). The recipes that make several steps safe are in ``files`` and
``store``; they take the disk as an argument, so a test can count the steps, fail the n-th, and lose what was not
synced.

Errors stay ``OSError``: a bad disk is not a bad bundle, and must not be taken for one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

# How long a lock is waited for that is held for milliseconds: a slow card may take seconds to sync, and several wait.
LOCK_S = 30.0

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Room:
    """What is left on a file system for this user.

    Attributes:
        free_bytes: Bytes.
        free_files: Inodes; None where the file system does not count them.
    """

    free_bytes: int
    free_files: int | None


class Disk:
    """The operating system's files."""

    def create(self, path: Path, mode: int) -> int:
        """Opens a file that does not exist yet, for writing.

        Args:
            path: Its name must be free, even of a broken link.
            mode: Permission bits, set before the first byte.
        """
        return os.open(path, _NEW, mode)

    def reopen(self, path: Path) -> int:
        """Opens an existing regular file for writing at its end."""
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)

    def overwrite(self, path: Path) -> int:
        """Opens an existing regular file for writing over what it holds, from its beginning."""
        return os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def write(self, descriptor: int, data: bytes | memoryview) -> None:
        """Writes all the bytes; some of them may be on the disk when it fails."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    def allocate(self, descriptor: int, size: int) -> None:
        """Takes the blocks for so many bytes now, so that a later write cannot find the disk full."""
        os.posix_fallocate(descriptor, 0, size)

    def truncate(self, descriptor: int, size: int) -> None:
        """Cuts a file off after so many bytes."""
        os.ftruncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        """Waits until the file's bytes are on the disk. Never repeated for one file after it has failed."""
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """Closes a file."""
        os.close(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        """Gives a file another name in the place of whatever had it."""
        os.rename(old, new)

    def link(self, old: Path, new: Path) -> None:
        """Gives a file a second name."""
        os.link(old, new)

    def seal(self, path: Path) -> None:
        """Takes away everybody's permission to write."""
        os.chmod(path, 0o444)

    def unlink(self, path: Path) -> None:
        """Takes a name away."""
        os.unlink(path)

    def make_folder(self, path: Path) -> None:
        """Makes a folder, for its owner and group only."""
        os.mkdir(path, 0o750)

    def sync_folder(self, path: Path) -> None:
        """Waits until the names in a folder are on the disk."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def names(self, folder: Path) -> list[str]:
        """The names in a folder, in order."""
        return sorted(os.listdir(folder))

    def size(self, path: Path) -> int | None:
        """Size of a regular file in bytes; None where there is no such file."""
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def changed(self, path: Path) -> float:
        """When a file was last written, in seconds since 1970; 0 where there is none."""
        try:
            return os.lstat(path).st_mtime
        except FileNotFoundError:
            return 0.0

    def stamp(self, path: Path) -> tuple[int, float]:
        """Number and time of change of the file that has a name now; a replaced file has others."""
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            return 0, 0.0
        return found.st_ino, found.st_mtime

    def is_folder(self, path: Path) -> bool:
        """Whether there is a folder of that name."""
        try:
            return stat.S_ISDIR(os.lstat(path).st_mode)
        except FileNotFoundError:
            return False

    def read(self, path: Path, max_bytes: int) -> bytes:
        """Reads a regular file of at most so many bytes.

        Raises:
            FileNotFoundError: There is no such file.
            OSError: It cannot be read, is no regular file, or is larger (``EFBIG``).
        """
        with self.open(path) as stream:
            data = stream.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise OSError(errno.EFBIG, f"larger than {max_bytes} bytes", str(path))
        return data

    def open(self, path: Path) -> BinaryIO:
        """Opens a regular file for reading."""
        # O_NONBLOCK: opening a pipe must not wait for its writer; regular files ignore it.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", str(path))
            return os.fdopen(descriptor, "rb")
        except BaseException:
            os.close(descriptor)
            raise

    def room(self, folder: Path) -> Room:
        """What is left on the file system of a folder."""
        found = os.statvfs(folder)
        return Room(found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None)

    @contextmanager
    def lock(self, path: Path, *, wait: bool) -> Iterator[bool]:
        """Holds a lock among processes; it goes with the process that held it.

        Args:
            path: A file that is made where it is missing and never removed.
            wait: Whether to wait until the holder lets go, for ``LOCK_S`` at most.

        Yields:
            Whether the lock is ours.
        """
        flags = os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            # For reading only: a disk that has become read-only can still be locked, and a lock that is held for long
            # keeps nobody from making it so.
            descriptor = os.open(path, os.O_RDONLY | flags)
        except FileNotFoundError:
            descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | flags, 0o640)
        try:
            yield _locked(descriptor, LOCK_S if wait else 0.0)
        finally:
            # What was done under the lock is done, whatever closing says; the lock goes in any case.
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            with suppress(OSError):
                os.close(descriptor)


def _locked(descriptor: int, wait_s: float) -> bool:
    """Locks a file within a time; the kernel itself would wait for ever."""
    until, pause = time.monotonic() + wait_s, 0.001
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
        time.sleep(pause)
        pause = min(2 * pause, 0.02)


SYSTEM = Disk()
