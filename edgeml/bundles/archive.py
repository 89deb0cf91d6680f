"""The single-file form of a bundle: a plain tar (ustar) of regular files, written and read by us alone.

Writing: every header field but name and size is a constant, so the same entries are always the same bytes.
Reading, in this order, each refused with its own message:

1. The file is not larger than the limit and ends on a block boundary.
2. A header must equal, byte for byte, what the writer would have written for the name and size that it carries. So
   links, devices, folders, sparse files, extended headers, other owners and times, and damaged bytes cannot pass.
3. Names are ``oci-layout``, ``index.json`` or ``blobs/sha256/<64 hex digits>``, each at most once.
4. No entry is larger than its caller allows, nor than what is left of the file; only then is memory asked for.
5. Padding is zero. A blob's bytes hash to its name.
6. The archive ends with two zero blocks, and the file ends there too.

Nothing is ever extracted to a path taken from the archive.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from edgeml.errors import ArchiveError, DigestError

BLOCK = 512
END = bytes(2 * BLOCK)
PIECE_BYTES = 256 * 1024
BLOB_PREFIX = "blobs/sha256/"

_NAME = re.compile(r"(oci-layout|index\.json|blobs/sha256/[0-9a-f]{64})\Z")
_SIZE = re.compile(rb"[0-7]{11}\Z")
_BEFORE_SUM = b"0000644\0" + b"0000000\0" * 2
_TYPES = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"5": "a folder",
    b"6": "a pipe",
    b"7": "a contiguous file",
    b"g": "an extended (pax) header",
    b"x": "an extended (pax) header",
    b"K": "a GNU long link",
    b"L": "a GNU long name",
    b"S": "a sparse file",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a reader accepts at most.

    Attributes:
        total_bytes: Size of the whole file, in bytes.
        files: Number of entries in the archive.
        manifest_bytes: Size of the manifest, in bytes.
        index_bytes: Size of ``index.json``, in bytes.
        signatures: Number of signatures.
    """

    total_bytes: int = 512 * 1024 * 1024
    files: int = 64
    manifest_bytes: int = 256 * 1024
    index_bytes: int = 64 * 1024
    signatures: int = 16


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the archive.

    Attributes:
        name: Path inside the archive.
        size: Size of the content, in bytes.
    """

    name: str
    size: int


def blob_name(digest: str) -> str:
    """Name of the entry that holds a blob.

    Args:
        digest: ``sha256:<hex>``.
    """
    return BLOB_PREFIX + digest.removeprefix("sha256:")


def shown(name: str) -> str:
    """Name of an entry as messages show it: blobs by the first digits of their digest."""
    return f"blob {name[len(BLOB_PREFIX) :][:12]}..." if _NAME.match(name) and name.startswith(BLOB_PREFIX) else name


def digest_of(data: bytes) -> str:
    """Digest of some bytes, ``sha256:<hex>``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def write(entries: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    """Writes an archive, piece by piece.

    Args:
        entries: Names and contents, in the order in which they are to stand.
    """
    for name, data in entries:
        yield header(name, len(data))
        yield data
        yield bytes(-len(data) % BLOCK)
    yield END


def header(name: str, size: int) -> bytes:
    """The one header that a name and a size can have (POSIX ustar, IEEE Std 1003.1 "pax").

    Args:
        name: At most 100 ASCII characters.
        size: In bytes, below 8 GiB.
    """
    before = name.encode("ascii").ljust(100, b"\0") + _BEFORE_SUM + b"%011o\0" % size + b"0" * 11 + b"\0"
    after = b"0" + bytes(100) + b"ustar\x0000" + bytes(64) + b"0000000\0" * 2 + bytes(167)
    # The checksum is taken with its own field full of spaces.
    return before + b"%06o\0 " % (sum(before) + 8 * ord(" ") + sum(after)) + after


class ArchiveReader:
    """Reads an archive once, from the first byte to the last."""

    def __init__(self, stream: BinaryIO, size: int, limits: Limits) -> None:
        """Args:
        stream: Positioned at the first byte.
        size: Size of the file, in bytes.
        limits: What is accepted at most.

        Raises:
            ArchiveError: The file is too large, or does not end on a block boundary.
        """
        if size > limits.total_bytes:
            raise ArchiveError(f"the file has {size} bytes; at most {limits.total_bytes} are accepted")
        if size % BLOCK or size < BLOCK + len(END):
            raise ArchiveError(f"the file is cut off, or is no .edgeml file: {size} bytes are not a whole archive")
        self._stream = stream
        self._size = self._left = size
        self._limits = limits
        self._seen: set[str] = set()
        self._entry: Entry | None = None

    def peek(self) -> Entry | None:
        """The next entry, without its content; None at the end mark.

        Raises:
            ArchiveError: What follows is neither an acceptable header nor the end mark.
        """
        if self._entry is None:
            if not self._left:
                raise ArchiveError("the file is cut off: it ends without the end mark of an archive")
            raw = self._exactly(BLOCK)
            if raw == bytes(BLOCK):
                self._end()
                return None
            self._entry = self._accept(raw)
        return self._entry

    def read(self, what: str, max_bytes: int) -> bytes:
        """The content of the entry that ``peek`` showed.

        Args:
            what: What the content is called in messages.
            max_bytes: Largest size accepted, in bytes.

        Raises:
            ArchiveError: The entry is larger, cut off, or its padding is not zero.
            DigestError: The content of a blob is not the one that its name promises.
        """
        entry = self._begin(what, max_bytes)
        data = self._exactly(entry.size)
        self._finish(what, entry, hashlib.sha256(data).hexdigest() if entry.name.startswith(BLOB_PREFIX) else "")
        return data

    def skim(self, what: str, max_bytes: int) -> int:
        """Verifies the content of the blob that ``peek`` showed, and keeps none of it.

        Args:
            what: What the content is called in messages.
            max_bytes: Largest size accepted, in bytes.

        Returns:
            Where in the stream its first byte is.

        Raises:
            As ``read``.
        """
        entry = self._begin(what, max_bytes)
        offset, left, found = self._size - self._left, entry.size, hashlib.sha256()
        while left:
            data = self._exactly(min(PIECE_BYTES, left))
            found.update(data)
            left -= len(data)
        self._finish(what, entry, found.hexdigest())
        return offset

    def _begin(self, what: str, max_bytes: int) -> Entry:
        entry, self._entry = self._entry, None
        assert entry is not None, "peek first"
        if entry.size > max_bytes:
            raise ArchiveError(f"{what} has {entry.size} bytes; at most {max_bytes} are accepted")
        if entry.size + -entry.size % BLOCK > self._left:
            raise ArchiveError(f"the file is cut off: {what} has {entry.size} bytes, and {self._left} are left")
        return entry

    def _finish(self, what: str, entry: Entry, digest: str) -> None:
        padding = -entry.size % BLOCK
        if self._exactly(padding) != bytes(padding):
            raise ArchiveError(f"the padding after {what} is not zero: the file is damaged")
        if entry.name.startswith(BLOB_PREFIX) and entry.name != BLOB_PREFIX + digest:
            raise DigestError(f"{what} holds other bytes than were packed: its {shown(entry.name)} has sha256:{digest}")

    def _accept(self, raw: bytes) -> Entry:
        name_field, size_field = raw[:100].rstrip(b"\0"), raw[124:135]
        name = name_field.decode("ascii", "backslashreplace")
        if raw[257:263] != b"ustar\0":
            if not self._seen:
                raise ArchiveError("this is not an .edgeml file: it does not begin with a ustar header")
            raise ArchiveError(f"what follows {len(self._seen)} entries is not a ustar header: the file is damaged")
        if raw[156:157] in _TYPES:
            raise ArchiveError(f"entry {shown(name)!r} is {_TYPES[raw[156:157]]}; only regular files are accepted")
        if not _NAME.match(name):
            raise ArchiveError(f"entry name {name!r} is not accepted in a bundle")
        if not _SIZE.match(size_field) or header(name, int(size_field, 8)) != raw:
            raise ArchiveError(f"the header of {shown(name)} is not the canonical one: the file is damaged or foreign")
        if name in self._seen:
            raise ArchiveError(f"{shown(name)} appears twice")
        if len(self._seen) == self._limits.files:
            raise ArchiveError(f"the archive has more than {self._limits.files} entries")
        self._seen.add(name)
        return Entry(name, int(size_field, 8))

    def _end(self) -> None:
        if self._left < BLOCK or self._exactly(BLOCK) != bytes(BLOCK):
            raise ArchiveError("the file is damaged or cut off: the end mark of the archive is not whole")
        if self._left or self._stream.read(1):
            raise ArchiveError("there is data after the end of the archive")

    def _exactly(self, size: int) -> bytes:
        data = self._stream.read(size) if size else b""
        if len(data) != size:
            raise ArchiveError("the file became shorter while it was read")
        self._left -= size
        return data
