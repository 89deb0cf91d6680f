"""Listening sockets: bound with clear errors, and closed without losing a connection that a client believes open.

A connection that the kernel has accepted, and the server not yet, is reset when its listener is closed. So a stop goes
in two steps: ``refuse_new`` keeps new connections from being made (a packet filter on TCP, the path removed on Unix),
the server empties the queue, and then ``close`` loses nothing.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import stat
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

BACKLOG = 1024
# Who may talk to the service over a Unix socket: its own user and group.
UNIX_MODE = 0o660

_SO_ATTACH_FILTER = 26
_SO_DETACH_FILTER = 27
# Classic BPF over the TCP header: drop a segment whose flags are SYN without ACK (a new connection), pass the rest.
_DROP_SYN = (
    (0x30, 0, 0, 13),  # load the byte of flags
    (0x54, 0, 0, 0x12),  # keep SYN and ACK
    (0x15, 0, 1, 0x02),  # SYN alone?
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # pass
)


@dataclass
class Listener:
    """A socket that listens.

    Attributes:
        socket: The socket.
        address: Where it listens, for people and clients: a URL or a path.
        path: File of a Unix socket, else None.
    """

    socket: socket.socket
    address: str
    path: Path | None = None

    def refuse_new(self) -> None:
        """Lets no new connection come; those in the queue can still be accepted."""
        if self.path is not None:
            self._unlink()
        elif sys.platform == "linux":
            code = b"".join(struct.pack("HBBI", *step) for step in _DROP_SYN)
            buffer = ctypes.create_string_buffer(code, len(code))
            program = struct.pack("HL", len(_DROP_SYN), ctypes.addressof(buffer))
            try:
                self.socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
            except OSError:  # a sandbox without filters: a connection made in the last moment may be reset
                return

    def close(self) -> None:
        """Stops listening."""
        self._unlink()
        self.socket.close()

    def _unlink(self) -> None:
        if self.path is None:
            return
        try:
            # Another service may have taken the path over in the meantime.
            if os.stat(self.path).st_ino == self._inode:
                os.unlink(self.path)
        except FileNotFoundError:
            return

    def __post_init__(self) -> None:
        self._inode = os.stat(self.path).st_ino if self.path is not None else 0


def tcp_listener(host: str, port: int) -> Listener:
    """Listens on a TCP port.

    Args:
        host: Name or address of an interface of this machine.
        port: Port; 0 takes a free one.

    Raises:
        OSError: The port is taken, the host is none of this machine's, or it may not be bound.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise OSError(errno.EADDRNOTAVAIL, f"host {host!r} is not known: {error.strerror}") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, _complaint(error, f"{host}:{port}", port)) from error
    bound = listener.getsockname()[1]
    shown = f"[{host}]" if family == socket.AF_INET6 else host
    return Listener(listener, f"http://{shown}:{bound}")


def adopted_listener(descriptor: int) -> Listener:
    """Takes over a socket that another process has bound and listens on.

    Args:
        descriptor: The open socket.

    Raises:
        OSError: It is no listening socket.
    """
    adopted = socket.socket(fileno=descriptor)
    if not adopted.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise OSError(errno.EINVAL, f"file {descriptor} is no listening socket")
    # A worker that was asked to end, by somebody who did not ask its supervisor, has left a filter behind.
    with suppress(OSError):
        adopted.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
    name = adopted.getsockname()
    if adopted.family == socket.AF_UNIX:
        return Listener(adopted, os.fsdecode(name), Path(os.fsdecode(name)))
    shown = f"[{name[0]}]" if adopted.family == socket.AF_INET6 else name[0]
    return Listener(adopted, f"http://{shown}:{name[1]}")


def unix_listener(path: Path) -> Listener:
    """Listens on a Unix socket. A file left over by a service that died is replaced.

    Args:
        path: Where the socket is made.

    Raises:
        OSError: Somebody listens there, or another file is there, or the folder cannot be written.
    """
    path = path.absolute()
    _clear(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        os.chmod(path, UNIX_MODE)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        what = error.strerror or str(error)
        raise OSError(error.errno, f"{path} cannot be made: {what}; choose another --uds") from error
    return Listener(listener, str(path), path)


def _clear(path: Path) -> None:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return  # nothing there, or not to be seen: binding says which
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, f"{path} is there and is no socket; choose another --uds")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError as error:
            raise OSError(error.errno, f"{path} cannot be tried: {error.strerror}; choose another --uds") from error
    raise OSError(errno.EADDRINUSE, f"{path} is in use by another service; stop it or choose another --uds")


def _complaint(error: OSError, where: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{where} is in use by another service; stop it, or choose another --port (0 takes a free one)"
    if error.errno == errno.EACCES:
        return f"{where} may not be bound by this user; choose a --port of 1024 or more"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{where} is not an address of this machine; choose another --host"
    return f"{where} cannot be bound: {error.strerror}"
