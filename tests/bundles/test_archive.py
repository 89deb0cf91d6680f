"""The tar writer against Python's tarfile, and the reader's laws that no kept bundle shows."""

from __future__ import annotations

import io
import tarfile

import pytest
from data.generate_bundles import SIGNED
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeml.bundles.archive import BLOCK, ArchiveReader, Limits, digest_of, header, write
from edgeml.errors import ArchiveError, DigestError


def reader(data: bytes, **limits: int) -> ArchiveReader:
    return ArchiveReader(io.BytesIO(data), len(data), Limits(**limits))


def blob(data: bytes) -> tuple[str, bytes]:
    return "blobs/sha256/" + digest_of(data).removeprefix("sha256:"), data


@settings(deadline=None)
@given(name=st.text("abc.-09", min_size=1, max_size=100), size=st.integers(0, 8**11 - 1))
def test_tarfile_understands_the_header(name: str, size: int) -> None:
    info = tarfile.TarInfo.frombuf(header(name, size), "utf-8", "strict")  # verifies the checksum, too
    assert (info.name, info.size, info.mode, info.uid, info.gid, info.mtime) == (name, size, 0o644, 0, 0, 0)
    assert (info.uname, info.gname, info.linkname, info.type) == ("", "", "", tarfile.REGTYPE)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=1500), unique=True, max_size=6))
def test_tarfile_reads_what_is_written(contents: list[bytes]) -> None:
    entries = [blob(data) for data in contents]
    with tarfile.open(fileobj=io.BytesIO(b"".join(write(entries)))) as archive:
        names = {info.name: info for info in archive}
        assert list(names) == [name for name, _ in entries]
        for name, data in entries:
            assert names[name].size == len(data) and names[name].isreg() and names[name].mtime == 0


@settings(deadline=None)
@given(st.lists(st.binary(max_size=1500), unique=True, min_size=1, max_size=6))
def test_what_is_written_is_read(contents: list[bytes]) -> None:
    entries = [blob(data) for data in contents]
    opened = reader(b"".join(write(entries)))
    for name, data in entries:
        entry = opened.peek()
        assert entry is not None and (entry.name, entry.size) == (name, len(data))
        assert opened.peek() is entry, "looking twice reads once"
        assert opened.read("it", 1500) == data
    assert opened.peek() is None


def test_an_entry_larger_than_allowed_is_not_read() -> None:
    opened = reader(b"".join(write([blob(b"x" * 100)])))
    opened.peek()
    with pytest.raises(ArchiveError, match="the model has 100 bytes; at most 99"):
        opened.read("the model", 99)


def test_an_entry_larger_than_the_file_asks_for_no_memory() -> None:
    class Watched(io.BytesIO):
        largest = 0

        def read(self, size: int | None = -1, /) -> bytes:
            Watched.largest = max(Watched.largest, size or 0)
            return super().read(size)

    data = header(blob(b"")[0], 8**11 - 1) + bytes(4 * BLOCK)
    opened = ArchiveReader(Watched(data), len(data), Limits())
    opened.peek()
    with pytest.raises(ArchiveError, match="cut off"):
        opened.read("it", 8**11)
    assert Watched.largest == BLOCK


def test_a_file_that_shrinks_while_it_is_read_is_noticed() -> None:
    opened = ArchiveReader(io.BytesIO(SIGNED[:700]), len(SIGNED), Limits())
    opened.peek()
    with pytest.raises(ArchiveError, match="became shorter"):
        opened.read("oci-layout", 100)


def test_a_file_that_grows_while_it_is_read_is_noticed() -> None:
    data = b"".join(write([blob(b"x")]))
    opened = ArchiveReader(io.BytesIO(data + b"more"), len(data), Limits())
    opened.peek()
    opened.read("it", 1)
    with pytest.raises(ArchiveError, match="after the end"):
        opened.peek()


def test_a_blob_under_a_wrong_name_is_refused() -> None:
    opened = reader(b"".join(write([(blob(b"x")[0], b"y")])))
    opened.peek()
    with pytest.raises(DigestError, match="the rules holds other bytes than were packed"):
        opened.read("the rules", 10)


def test_number_of_entries_is_bounded() -> None:
    opened = reader(b"".join(write(blob(bytes([number])) for number in range(4))), files=3)
    for _ in range(3):
        opened.peek()
        opened.read("it", 1)
    with pytest.raises(ArchiveError, match="more than 3 entries"):
        opened.peek()
