"""Files: replaced as a whole or not at all, secrets never overwritten, only regular files are read."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeml.bundles import files
from edgeml.errors import ArchiveError


def test_replace(tmp_path: Path) -> None:
    path = tmp_path / "f"
    files.replace_file(path, [b"old"])
    files.replace_file(path, [b"n", b"ew"])
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["f"]


def test_a_failure_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    files.replace_file(path, [b"old"])

    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        files.replace_file(path, chunks())
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize("operation", ["open", "fsync", "rename"])
@pytest.mark.parametrize("when", [1, 2])
def test_a_disk_that_fails_leaves_the_old_or_the_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str, when: int
) -> None:
    """Fails at the first or second open, fsync or rename; success is only reported when all of them succeeded."""
    path = tmp_path / "f"
    files.replace_file(path, [b"old"])
    real, calls = getattr(os, operation), []

    def failing(*arguments: object, **keywords: object) -> object:
        calls.append(arguments)
        if len(calls) == when:
            raise OSError(5, "Input/output error")
        return real(*arguments, **keywords)

    monkeypatch.setattr(files.os, operation, failing)
    try:
        files.replace_file(path, [b"new"])
    except OSError:
        assert path.read_bytes() in (b"old", b"new")
    else:
        assert len(calls) < when and path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["f"]


def test_order_of_operations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content is on the disk before the name is, and the name before success."""
    done: list[str] = []
    real_fsync, real_rename = os.fsync, os.rename

    def fsync(descriptor: int) -> None:
        done.append("fsync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "fsync file")
        real_fsync(descriptor)

    def rename(old: Path, new: Path) -> None:
        done.append("rename")
        real_rename(old, new)

    monkeypatch.setattr(files.os, "fsync", fsync)
    monkeypatch.setattr(files.os, "rename", rename)
    files.replace_file(tmp_path / "f", [b"x"])
    assert done == ["fsync file", "rename", "fsync folder"]


def test_create_is_exclusive_and_private(tmp_path: Path) -> None:
    path = tmp_path / "key"
    files.create_file(path, b"secret", mode=0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        files.create_file(path, b"other")
    assert path.read_bytes() == b"secret"
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError):
        files.create_file(tmp_path / "link", b"x")
    assert not (tmp_path / "nowhere").exists()


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
            with pytest.raises(ArchiveError, match="is not a regular file"):
                files.open_regular(path)
        with pytest.raises(OSError):
            files.open_regular(tmp_path / "socket")
    with pytest.raises(FileNotFoundError):
        files.open_regular(tmp_path / "missing")


def test_read_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"12345")
    assert files.read_file(tmp_path / "f", max_bytes=5) == b"12345"
    with pytest.raises(ArchiveError, match="larger than 4 bytes"):
        files.read_file(tmp_path / "f", max_bytes=4)
