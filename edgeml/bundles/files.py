"""Files written so that a reader, and a power cut, find the whole old or the whole new one.

1. A file that others may read is replaced as a whole: temporary file in the same folder -> fsync -> rename -> fsync
   of the folder. A reader sees the complete old or the complete new file, and success means that a power cut cannot
   undo it.
2. After a failed fsync nothing is retried on that file: the kernel may have dropped the pages and would lie the
   second time.
3. A secret is created for its owner only, and never written over an existing file.
4. Only regular files are opened for reading: a pipe or device in the place of a bundle would never end.

The single steps are in ``disk``, which the recipes take as an argument.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from edgeml.bundles.disk import SYSTEM, Disk
from edgeml.errors import ArchiveError


def open_regular(path: str | Path) -> tuple[BinaryIO, int]:
    """Opens a regular file for reading.

    Returns:
        The open file and its size in bytes at this moment.

    Raises:
        ArchiveError: The path is a folder, pipe, socket or device.
        OSError: It does not exist or cannot be read.
    """
    # O_NONBLOCK: opening a pipe must not wait for its writer; regular files ignore it.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ArchiveError(f"{path} is not a regular file")
        return os.fdopen(descriptor, "rb"), status.st_size
    except BaseException:
        os.close(descriptor)
        raise


def read_file(path: str | Path, *, max_bytes: int) -> bytes:
    """Reads a small file as a whole.

    Args:
        path: A regular file.
        max_bytes: Largest size accepted, in bytes.

    Raises:
        ArchiveError: The file is larger, or not a regular file.
        OSError: It does not exist or cannot be read.
    """
    stream, _ = open_regular(path)
    with stream:
        data = stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ArchiveError(f"{path} is larger than {max_bytes} bytes")
    return data


def replace_file(path: str | Path, chunks: Iterable[bytes], *, mode: int = 0o644, disk: Disk = SYSTEM) -> None:
    """Writes a file, durably and as a whole; whatever was there before is replaced.

    Args:
        path: The file; its folder must exist.
        chunks: The content, piece by piece.
        mode: Permission bits.
        disk: Where.

    Raises:
        OSError: The disk refused; the old file, if any, is untouched unless the folder could not be synced.
    """
    target = Path(path)
    temporary = temporary_name(target)
    write_new(temporary, chunks, mode, disk=disk)
    try:
        disk.rename(temporary, target)
    except BaseException:
        forget(temporary, disk=disk)
        raise
    disk.sync_folder(target.parent)


def create_file(path: str | Path, data: bytes, *, mode: int = 0o644, disk: Disk = SYSTEM) -> None:
    """Writes a new file, durably; refuses where the name is taken.

    Args:
        path: The file; its folder must exist.
        data: The content.
        mode: Permission bits, set before the first byte is written.
        disk: Where.

    Raises:
        FileExistsError: The name is taken, even by a broken link.
        OSError: The disk refused; no file is left behind.
    """
    target = Path(path)
    write_new(target, [data], mode, disk=disk)
    disk.sync_folder(target.parent)


def temporary_name(target: Path) -> Path:
    """A name beside a file that nobody has, hidden and ending in ``.tmp``."""
    return target.with_name(f".{target.name[:64]}.{os.urandom(6).hex()}.tmp")


def write_new(path: Path, chunks: Iterable[bytes], mode: int, *, disk: Disk = SYSTEM) -> None:
    """Writes a new file and syncs its bytes; its name is not synced yet.

    Args:
        path: A free name.
        chunks: The content, piece by piece.
        mode: Permission bits.
        disk: Where.

    Raises:
        FileExistsError: The name is taken.
        OSError: The disk refused; no file is left behind.
    """
    descriptor = disk.create(path, mode)
    try:
        try:
            for chunk in chunks:
                disk.write(descriptor, chunk)
            disk.sync(descriptor)
        finally:
            disk.close(descriptor)
    except BaseException:
        forget(path, disk=disk)
        raise


def forget(path: Path, *, disk: Disk = SYSTEM) -> None:
    """Removes a file that is of no use any more, if that can be done."""
    try:
        disk.unlink(path)
    except OSError:
        pass  # the error that led here is the one that counts
