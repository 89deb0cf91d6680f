"""Small file systems of their own: a tmpfs with few bytes or inodes, and ext4 in a file. They are always unmounted."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# _IOR('X', 125, u32) of the kernel's ext4, xfs and f2fs: the file system stops at once, as if the power were cut.
SHUTDOWN = 0x8004587D
NOTHING_IS_FLUSHED = 2


class MountError(Exception):
    """Nothing can be mounted here; the message says why."""


@contextmanager
def tmpfs(folder: Path, *, size: int = 0, inodes: int = 0) -> Iterator[Path]:
    """A file system in memory.

    Args:
        folder: Where it is mounted; made.
        size: Bytes; 0 for no limit.
        inodes: Number; 0 for no limit.
    """
    folder.mkdir()
    _run("mount", "-t", "tmpfs", "-o", f"size={size},nr_inodes={inodes}", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        unmount(folder)


class Ext4:
    """An ext4 file system in a file.

    Args:
        image: The file; made.
        folder: Where it is mounted; made.
        size: Bytes.
    """

    def __init__(self, image: Path, folder: Path, size: int) -> None:
        self.folder = folder
        self._image = image
        with image.open("wb") as stream:
            stream.truncate(size)
        _run("mkfs.ext4", "-q", "-F", "-b", "4096", "-N", "200", "-m", "0", str(image))
        folder.mkdir()

    def mount(self) -> None:
        _run("mount", "-o", "loop", str(self._image), str(self.folder))

    def remount(self, how: str) -> None:
        _run("mount", "-o", f"remount,{how}", str(self.folder))

    def cut_the_power(self) -> None:
        """Stops the file system: what is not on the disk never gets there."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, NOTHING_IS_FLUSHED.to_bytes(4, "little"))
        finally:
            os.close(descriptor)
        unmount(self.folder)


@contextmanager
def ext4(folder: Path, *, size: int = 16 * 1024**2) -> Iterator[Ext4]:
    """A mounted ext4 file system of its own."""
    if shutil.which("mkfs.ext4") is None:
        raise MountError("mkfs.ext4 is not installed (apt-get install e2fsprogs)")
    found = Ext4(folder / "ext4.image", folder / "ext4", size)
    found.mount()
    try:
        yield found
    finally:
        if os.path.ismount(found.folder):
            unmount(found.folder)


def unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)


def fill(folder: Path, *, inodes: bool = False) -> None:
    """Takes every byte, or every inode, that is left."""
    ballast = folder / "ballast"
    ballast.mkdir(exist_ok=True)
    number = len(os.listdir(ballast))
    while inodes:
        try:
            (ballast / str(number)).touch()
        except OSError:
            return
        number += 1
    descriptor = os.open(ballast / "bytes", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        for piece in (1024 * 1024, 64 * 1024, 4096, 512, 1):
            while True:
                try:
                    os.write(descriptor, b"x" * piece)
                    if piece < 4096:
                        os.fsync(descriptor)
                except OSError:
                    break
    finally:
        os.close(descriptor)


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise MountError(f"{command[0]} is not installed") from error
    if done.returncode:
        raise MountError(f"{' '.join(command[:3])} does not work here: {done.stderr.strip()[:200]}")
