"""Every touch of the disk by this room, in one place, so that faults can be injected at operation 1, 2, 3 ...

1. A file that others may read is replaced as a whole: temporary file in the same folder -> fsync -> rename -> fsync
   of the folder. A reader sees the complete old or the complete new file, and success means that a power cut cannot
   undo it.
2. After a failed fsync nothing is retried on that file: the kernel may have dropped the pages and would lie the
   second time.
3. A secret is created for its owner only, and never written over an existing file.
4. Only regular files are opened for reading: a pipe or device in the place of a bundle would never end.

Errors of the disk stay ``OSError``: a bad disk is not a bad bundle, and must not be taken for one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

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


def replace_file(path: str | Path, chunks: Iterable[bytes]) -> None:
    """Writes a file, durably and as a whole; whatever was there before is replaced.

    Args:
        path: The file; its folder must exist.
        chunks: The content, piece by piece.

    Raises:
        OSError: The disk refused; the old file, if any, is untouched.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name[:64]}.{os.urandom(6).hex()}.tmp")
    try:
        _write_new(temporary, chunks, 0o644)
        os.rename(temporary, target)
    except BaseException:
        _forget(temporary)
        raise
    _sync_folder(target.parent)


def create_file(path: str | Path, data: bytes, *, mode: int = 0o644) -> None:
    """Writes a new file, durably; refuses where the name is taken.

    Args:
        path: The file; its folder must exist.
        data: The content.
        mode: Permission bits, set before the first byte is written.

    Raises:
        FileExistsError: The name is taken, even by a broken link.
        OSError: The disk refused; no file is left behind.
    """
    target = Path(path)
    try:
        _write_new(target, [data], mode)
    except FileExistsError:
        raise
    except BaseException:
        _forget(target)
        raise
    _sync_folder(target.parent)


def _write_new(path: Path, chunks: Iterable[bytes], mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, mode), "wb") as stream:
        for chunk in chunks:
            stream.write(chunk)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _forget(path: Path) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # the first error is the one that counts
