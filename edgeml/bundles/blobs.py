"""The blobs of a store: immutable files named by what they hold.

1. A blob is written beside its name, synced, and then named; ``settle`` syncs the names, and only then a record may
   name it.
2. A blob is never opened for writing, and never mended in place: whoever has it open keeps what it read. A damaged one
   is replaced by a new file that takes the name.
3. Whoever reads a blob as a whole gets verified bytes.
4. After names could not be synced, this process does not ask again: the kernel may say yes and have forgotten them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from edgeml.bundles.archive import digest_of
from edgeml.bundles.disk import Disk, Room
from edgeml.bundles.files import forget, temporary_name, write_new
from edgeml.bundles.state import bare
from edgeml.errors import DigestError, StorageError

PIECE_BYTES = 256 * 1024


class Blobs:
    """The blobs in one folder.

    Args:
        folder: The folder; it exists.
        disk: Where.

    Attributes:
        broken: Why names of new blobs cannot be trusted to last; empty where they can.
    """

    def __init__(self, folder: Path, disk: Disk) -> None:
        self.folder = folder
        self.broken = ""
        self._disk = disk

    def read(self, digest: str, max_bytes: int) -> bytes:
        """Reads a blob as a whole and verifies it.

        Args:
            digest: Hex digest.
            max_bytes: Largest size accepted.

        Raises:
            DigestError: The disk gives other bytes than were written.
            OSError: It is not there, is larger, or cannot be read.
        """
        data = self._disk.read(self.folder / digest, max_bytes)
        if bare(digest_of(data)) != digest:
            raise DigestError(f"blob {digest[:12]} of the store is damaged; install its bundle again")
        return data

    def size(self, digest: str) -> int | None:
        """Size of a blob in bytes; None where it is not there."""
        return self._disk.size(self.folder / digest)

    def verified_size(self, digest: str) -> int | None:
        """Size of a blob whose bytes were read and hashed just now; None where it is not there, or damaged."""
        size = self.size(digest)
        return size if size is not None and hash_file(self.folder / digest, self._disk) == digest else None

    def open(self, digest: str) -> BinaryIO:
        """Opens a blob for reading; whoever reads verifies."""
        return self._disk.open(self.folder / digest)

    def add(self, digest: str, data: bytes) -> bool:
        """Writes a blob, unless it is here and intact. Its name is not synced before ``settle``.

        Returns:
            Whether it was written.

        Raises:
            OSError: The disk refused; nothing has changed.
        """
        path = self.folder / digest
        if self.size(digest) is not None:
            with suppress(DigestError):
                self.read(digest, max(len(data), 1))
                return False
        temporary = temporary_name(path)
        write_new(temporary, [data], 0o444, disk=self._disk)
        try:
            self._disk.rename(temporary, path)
        except OSError:
            forget(temporary, disk=self._disk)
            raise
        return True

    def take_in(self, path: Path) -> None:
        """Moves a synced file, named by its digest, here. Its name is not synced before ``settle``."""
        self._disk.seal(path)
        self._disk.rename(path, self.folder / path.name)

    def settle(self) -> None:
        """Waits until the names of all blobs are on the disk.

        Raises:
            StorageError: It failed once before.
            OSError: The disk refused.
        """
        if self.broken:
            raise StorageError(f"the store takes no bundles until its process is started again: {self.broken}")
        try:
            self._disk.sync_folder(self.folder)
        except OSError as error:
            self.broken = f"the folder of blobs could not be synced ({error.strerror})"
            raise

    def give_back(self, digests: Iterable[str], folder: Path) -> None:
        """Moves blobs that no record names back to where they came from, as far as that can be done."""
        for digest in digests:
            with suppress(OSError):
                self._disk.rename(self.folder / digest, folder / digest)

    def discard(self, digests: Iterable[str]) -> None:
        """Removes blobs that no record names, as far as that can be done."""
        for digest in digests:
            forget(self.folder / digest, disk=self._disk)

    def collect(self, needed: Iterable[str]) -> tuple[int, int]:
        """Removes everything that is not needed, temporary files too.

        Args:
            needed: Hex digests.

        Returns:
            Number of files removed, and their bytes.
        """
        kept = set(needed)
        files = size = 0
        for name in self._disk.names(self.folder):
            if name not in kept:
                size += self._disk.size(self.folder / name) or 0
                files += 1
                self._disk.unlink(self.folder / name)
        return files, size

    def used(self) -> int:
        """Bytes of all blobs."""
        return sum(self._disk.size(self.folder / name) or 0 for name in self._disk.names(self.folder))

    def room(self) -> Room:
        """What is left on the file system."""
        return self._disk.room(self.folder)


def hash_file(path: Path, disk: Disk) -> str:
    """Hex digest of a file's bytes, read piece by piece."""
    found = hashlib.sha256()
    with disk.open(path) as stream:
        while piece := stream.read(PIECE_BYTES):
            found.update(piece)
    return found.hexdigest()
