"""How two processes of one box talk: one JSON document a line, over a Unix socket, file descriptors alongside.

Law of the wire: documents are small and bounded; an unknown kind is ignored, so that an older and a newer process can
talk during an update; whoever sees the end of the stream carries on alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

LINE_MAX_BYTES = 1024 * 1024
_PIECE_BYTES = 65_536
_MOST_DESCRIPTORS = 4
_ELSEWHERE = Path("/run/edgeml")


def places(root: Path) -> tuple[Path, ...]:
    """Where the supervisor of a store may listen: in the store, or in memory where that is on a read-only disk.

    Args:
        root: Folder of the store.
    """
    name = "supervisor.sock"
    return root / name, _ELSEWHERE / f"{hashlib.sha256(os.fsencode(root.absolute())).hexdigest()[:16]}.{name}"


class Link:
    """One end of a connection. Documents may be sent from several threads, and received by one.

    Args:
        connected: The socket; the link owns it.

    Attributes:
        heard_out: Set by whoever receives, once all that the other side said has been passed on.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._sending = threading.Lock()
        self._buffer = b""
        self._descriptors: list[int] = []
        self.heard_out = threading.Event()

    def send(self, document: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Sends a document.

        Args:
            document: JSON types.
            descriptors: Open files that the other side gets copies of.

        Raises:
            OSError: The other side is gone, or takes nothing.
        """
        line = json.dumps(document, separators=(",", ":")).encode() + b"\n"
        with self._sending:
            if descriptors:
                sent = socket.send_fds(self._socket, [line], list(descriptors))
                self._socket.sendall(line[sent:])
            else:
                self._socket.sendall(line)

    def receive(self, timeout_s: float | None = None) -> dict[str, Any] | None:
        """The next document; None at the end of the stream.

        Args:
            timeout_s: How long to wait; None for ever.

        Raises:
            TimeoutError: Nothing came in time; what came of a line is kept.
            OSError: The connection broke, or what came is no document.
        """
        while b"\n" not in self._buffer:
            if len(self._buffer) > LINE_MAX_BYTES:
                raise OSError(f"a line of more than {LINE_MAX_BYTES} bytes came")
            self._socket.settimeout(timeout_s)
            try:
                piece, descriptors, _, _ = socket.recv_fds(self._socket, _PIECE_BYTES, _MOST_DESCRIPTORS)
            finally:
                with suppress(OSError):  # closed by another thread
                    self._socket.settimeout(None)
            self._descriptors += descriptors
            if not piece:
                return None
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            document = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise OSError(f"what came is no JSON: {error}") from error
        if not isinstance(document, dict):
            raise OSError("what came is no JSON object")
        return document

    def documents(self) -> Iterator[dict[str, Any]]:
        """All documents until the stream ends or breaks."""
        with suppress(OSError):
            while (document := self.receive()) is not None:
                yield document

    def take_descriptors(self) -> list[int]:
        """The open files that came so far; the caller owns them now."""
        taken, self._descriptors = self._descriptors, []
        return taken

    def close(self) -> None:
        """Ends the connection; a thread that receives sees the end."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for descriptor in self.take_descriptors():
            os.close(descriptor)


def fits(document: dict[str, Any]) -> bool:
    """Whether a document is small enough to be sent."""
    return len(json.dumps(document, separators=(",", ":"))) < LINE_MAX_BYTES


def reach(root: Path, *, timeout_s: float) -> Link:
    """Connects to the supervisor of a store.

    Args:
        root: Folder of the store.
        timeout_s: How long to wait for room in its queue.

    Raises:
        OSError: None runs.
    """
    first, elsewhere = places(root)
    try:
        return connect(first, timeout_s=timeout_s)
    except (FileNotFoundError, ConnectionRefusedError):
        return connect(elsewhere, timeout_s=timeout_s)


def connect(path: Path, *, timeout_s: float) -> Link:
    """Connects to a Unix socket.

    Args:
        path: The socket; may be longer than a socket address can be.
        timeout_s: How long to wait for room in its queue.

    Raises:
        OSError: Nobody listens.
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # A timeout of Python's would make the socket non-blocking, and a full queue an error at once.
        _send_within(made, timeout_s)
        with _short(path) as name:
            made.connect(name)
        _send_within(made, 0)
    except BaseException:
        made.close()
        raise
    return Link(made)


def _send_within(made: socket.socket, seconds: float) -> None:
    whole, part = divmod(int(seconds * 1e6), 1_000_000)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", whole, part))


def listen(path: Path) -> socket.socket:
    """Listens on a Unix socket for this user and group; a name left over by a process that died is taken over.

    Args:
        path: The socket; may be longer than a socket address can be.

    Raises:
        OSError: The folder cannot be written.
    """
    with suppress(FileNotFoundError):
        os.unlink(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(path) as name:
            made.bind(name)
        os.chmod(path, 0o660)
        made.listen(64)
    except BaseException:
        made.close()
        raise
    return made


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name of at most 107 bytes for a path: a socket address holds no more."""
    if len(os.fsencode(path)) < 100:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
