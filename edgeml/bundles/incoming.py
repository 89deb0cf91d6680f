"""Bytes on their way in: uploads and downloads that may be cut off at any byte, and blobs that no bundle owns yet.

1. A transfer is a file ``part-<name>`` that only grows. Whoever resumes asks for its size and goes on from there.
2. A transfer is finished by hashing the whole file from its beginning; lengths and earlier promises count for nothing.
   A file with the wrong digest is removed. A good one is synced and gets its digest as its name.
3. Everything is bounded: number and bytes of transfers, bytes of blobs that wait. The oldest make room for new ones.
4. Nothing here is trusted or parsed. What waits for a signature waits as opaque bytes; a signature that came before its
   bundle is remembered as a name ``sign-<bundle>-<envelope>``, so that a restart forgets nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from edgeml.bundles.blobs import hash_file
from edgeml.bundles.disk import SYSTEM, Disk
from edgeml.errors import DigestError, NotInstalledError, StorageError

MOST_TRANSFERS = 64
# How far each transfer may run ahead of what is counted.
RECOUNT_BYTES = 1024 * 1024
MOST_SIGNATURES = 64

_BLOB = re.compile(r"[0-9a-f]{64}\Z")
_PART = re.compile(r"part-([0-9a-zA-Z-]{1,80})\Z")
_SIGN = re.compile(r"sign-([0-9a-f]{64})-([0-9a-f]{64})\Z")


class Incoming:
    """The folder of one store where bytes come in.

    Args:
        folder: The folder; it exists.
        quota_bytes: Most bytes in it, transfers and blobs together.
        disk: Where.
    """

    def __init__(self, folder: Path, *, quota_bytes: int, disk: Disk = SYSTEM) -> None:
        self.folder = folder
        self.quota_bytes = quota_bytes
        self._disk = disk
        self._lock = threading.Lock()
        self._doubtful: set[Path] = set()  # could not be synced, and then could not be removed

    def start(self, name: str | None = None) -> str:
        """Begins a transfer, or finds it where it stopped.

        Args:
            name: Its name, such as the digest that is expected; None makes a new one.

        Returns:
            The name.

        Raises:
            OSError: The disk refused.
        """
        name = name or os.urandom(16).hex()
        if not _PART.match(f"part-{name}"):
            raise NotInstalledError(f"there is no upload {name[:80]!r}; start one with POST")
        path = self._part(name)
        self._clear_up(path)
        if self._disk.size(path) is None:
            with self._lock:
                parts = [each for each in self._disk.names(self.folder) if _PART.match(each)]
                for old in self._by_age(parts)[: max(0, len(parts) - MOST_TRANSFERS + 1)]:
                    self._drop(self.folder / old)
            self._disk.close(self._disk.create(path, 0o640))
        return name

    def received(self, name: str) -> int:
        """How many bytes of a transfer are here.

        Raises:
            NotInstalledError: There is no such transfer.
        """
        self._clear_up(self._part(name))
        size = self._disk.size(self._part(name)) if _PART.match(f"part-{name}") else None
        if size is None:
            raise NotInstalledError(f"there is no upload {name[:80]!r}; it was finished, dropped or never begun")
        return size

    def append(self, name: str, pieces: Iterable[bytes]) -> int:
        """Adds bytes to the end of a transfer. What came before an error stays, to be gone on from.

        Args:
            name: The transfer.
            pieces: The bytes, piece by piece.

        Returns:
            How many bytes of it are here now.

        Raises:
            NotInstalledError: There is no such transfer.
            StorageError: The folder's quota is spent.
            OSError: The disk refused.
        """
        received = self.received(name)
        left, since = self.make_room(0, keep=f"part-{name}"), 0
        descriptor = self._disk.reopen(self._part(name))
        try:
            for piece in pieces:
                if since >= RECOUNT_BYTES:  # others are taking in bytes too
                    left, since = self.make_room(0, keep=f"part-{name}"), 0
                left -= len(piece)
                since += len(piece)
                if left < 0:
                    raise StorageError(
                        f"more than {self.quota_bytes} bytes would wait in {self.folder}; send smaller bundles, or "
                        "raise the quota of incoming transfers"
                    )
                self._disk.write(descriptor, piece)
                received += len(piece)
        finally:
            self._disk.close(descriptor)
        return received

    def finish(self, name: str, digest: str) -> None:
        """Makes a blob of a transfer whose bytes have the digest.

        Args:
            name: The transfer.
            digest: Hex digest.

        Raises:
            NotInstalledError: There is no such transfer.
            DigestError: The bytes are other ones; the transfer is dropped.
            OSError: The disk refused; after a failed sync the transfer is dropped, because its bytes may be lost.
        """
        self.received(name)
        path = self._part(name)
        found = hash_file(path, self._disk)
        if found != digest:
            self._drop(path)
            raise DigestError(
                f"the uploaded bytes have the digest sha256:{found}, not sha256:{digest}; send them again"
            )
        descriptor = self._disk.reopen(path)
        try:
            try:
                self._disk.sync(descriptor)
            finally:
                self._disk.close(descriptor)
        except OSError:
            self._doubtful.add(path)
            with suppress(OSError):
                self._clear_up(path)
            raise
        self._disk.rename(path, self.folder / digest)
        self._disk.sync_folder(self.folder)

    def cancel(self, name: str) -> None:
        """Drops a transfer.

        Raises:
            NotInstalledError: There is no such transfer.
        """
        self.received(name)
        self._drop(self._part(name))

    def put(self, digest: str, data: bytes) -> None:
        """Keeps a small blob whose digest the caller has worked out.

        Raises:
            StorageError: The folder's quota is spent.
            OSError: The disk refused.
        """
        if self.size(digest) is None:
            name = self.start()
            self.append(name, [data])
            self.finish(name, digest)

    def size(self, digest: str) -> int | None:
        """Size of a waiting blob in bytes; None where it does not wait here."""
        return self._disk.size(self.folder / digest) if _BLOB.match(digest) else None

    def open(self, digest: str) -> BinaryIO:
        """Opens a waiting blob.

        Raises:
            FileNotFoundError: It does not wait here.
        """
        return self._disk.open(self.folder / digest)

    def read(self, digest: str, max_bytes: int) -> bytes:
        """Reads a small waiting blob as a whole, and hashes it again.

        Raises:
            DigestError: The disk gives other bytes than were received; they are dropped.
            OSError: It does not wait here, is larger, or cannot be read.
        """
        data = self._disk.read(self.folder / digest, max_bytes)
        if hashlib.sha256(data).hexdigest() != digest:
            self._drop(self.folder / digest)
            raise DigestError(f"blob {digest[:12]} is damaged on the disk; send it again")
        return data

    def verified_size(self, digest: str) -> int | None:
        """Size of a waiting blob whose bytes were read and hashed just now; None where it does not wait, or is damaged
        (it is dropped then)."""
        size = self.size(digest)
        if size is not None and hash_file(self.folder / digest, self._disk) != digest:
            self._drop(self.folder / digest)
            return None
        return size

    def remember_signature(self, bundle: str, envelope: str) -> None:
        """Notes that a waiting blob is a signature envelope over a bundle.

        Args:
            bundle: Hex digest of the bundle's manifest.
            envelope: Hex digest of the envelope.
        """
        path = self.folder / f"sign-{bundle}-{envelope}"
        if self._disk.size(path) is None:
            with self._lock:
                notes = [each for each in self._disk.names(self.folder) if _SIGN.match(each)]
                for old in self._by_age(notes)[: max(0, len(notes) - MOST_SIGNATURES + 1)]:
                    self._drop(self.folder / old)
            with suppress(FileExistsError):
                self._disk.close(self._disk.create(path, 0o640))
            self._disk.sync_folder(self.folder)

    def signatures(self, bundle: str) -> list[str]:
        """Hex digests of the envelopes that are noted for a bundle."""
        found = (_SIGN.match(name) for name in self._disk.names(self.folder))
        return [match.group(2) for match in found if match is not None and match.group(1) == bundle]

    def waiting(self) -> dict[str, int]:
        """Hex digests of the blobs that wait, with their sizes in bytes."""
        sizes = {
            name: self._disk.size(self.folder / name) for name in self._disk.names(self.folder) if _BLOB.match(name)
        }
        return {name: size for name, size in sizes.items() if size is not None}

    def make_room(self, size: int, *, keep: str = "") -> int:
        """Drops the oldest blobs and transfers until so many bytes fit within the quota.

        Args:
            size: In bytes.
            keep: A name that stays.

        Returns:
            How many bytes are left within the quota then; may be less than ``size`` where nothing more can go.
        """
        with self._lock:
            names = self._by_age([each for each in self._disk.names(self.folder) if not each.startswith(".")])
            sizes = {name: self._disk.size(self.folder / name) or 0 for name in names}
            used = sum(sizes.values())
            for name in names:
                if used + max(size, 1) <= self.quota_bytes:
                    break
                if name != keep and not _SIGN.match(name):
                    self._drop(self.folder / name)
                    used -= sizes[name]
            return self.quota_bytes - used

    def drop(self, names: Iterable[str]) -> None:
        """Drops blobs and what is noted about them."""
        gone = set(names)
        for name in self._disk.names(self.folder):
            noted = _SIGN.match(name)
            if name in gone or (noted is not None and noted.group(1) in gone):
                self._drop(self.folder / name)

    def _part(self, name: str) -> Path:
        return self.folder / f"part-{name}"

    def _by_age(self, names: list[str]) -> list[str]:
        return sorted(names, key=lambda name: (self._disk.changed(self.folder / name), name))

    def _clear_up(self, path: Path) -> None:
        """Removes a transfer whose sync has failed: a second sync would get a false answer."""
        if path in self._doubtful:
            with suppress(FileNotFoundError):
                self._disk.unlink(path)
            self._doubtful.discard(path)

    def _drop(self, path: Path) -> None:
        with suppress(OSError):
            self._disk.unlink(path)
