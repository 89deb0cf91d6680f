"""How long a request may wait for its client: until its head is here, between two pieces, and in all.

What is counted is the time in which the box waits for the network. Time in which it works, such as hashing a large
upload, is not held against the client. Without a least rate, one byte every few seconds would hold a thread for ever.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """What the management plane waits for.

    Attributes:
        idle_seconds: Longest pause between two pieces, and of a connection without a request.
        head_seconds: Waiting for the head of a request, TLS included.
        request_seconds: Waiting for body and reader of one request; a transfer that is cut goes on in the next.
        rest_seconds: Waiting for a small body that nobody wants, before the connection is given up.
        grace_seconds: Waiting before the rate counts.
        least_bytes_per_second: A client below it is cut off.
    """

    idle_seconds: float = 30.0
    head_seconds: float = 10.0
    request_seconds: float = 3600.0
    rest_seconds: float = 1.0
    grace_seconds: float = 10.0
    least_bytes_per_second: float = 1024.0


class Pace:
    """The patience that is left with one connection.

    Args:
        patience: What it begins with.
        clock: Monotonic seconds.

    Attributes:
        transfers: Whether a transfer has a place, so that its waiting needs no other.
    """

    def __init__(self, patience: Patience, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience = patience
        self._clock = clock
        self._limit = patience.head_seconds
        self._least = 0.0
        self._waited = 0.0
        self._moved = 0
        self.transfers = False

    def begin_head(self) -> None:
        """From now on the head of a request is waited for."""
        self._limit, self._least = self._patience.head_seconds, 0.0
        self._waited, self._moved = 0.0, 0
        self.transfers = False

    def begin_body(self) -> None:
        """From now on a body is waited for, or a reader."""
        self._limit, self._least = self._patience.request_seconds, self._patience.least_bytes_per_second
        self._waited, self._moved = 0.0, 0

    def begin_rest(self) -> None:
        """From now on a body is waited for that nobody wants."""
        self._limit = self._waited + self._patience.rest_seconds

    def left(self) -> float:
        """Seconds until the next piece must be here.

        Raises:
            TimeoutError: There is no patience left.
        """
        late = self._waited - self._patience.grace_seconds
        if self._waited >= self._limit or (late > 0 and self._moved < late * self._least):
            raise TimeoutError("timed out")
        return max(min(self._patience.idle_seconds, self._limit - self._waited), 0.001)

    def wait(self, act: Callable[[], int]) -> int:
        """Counts the time of an act of the network, and the bytes that it gives back."""
        began = self._clock()
        try:
            moved = act()
        finally:
            self._waited += self._clock() - began
        self._moved += moved
        return moved


class PacedSocket:
    """A socket whose reads and writes wait no longer than a pace allows; as much of one as ``socket.SocketIO`` uses.

    Args:
        connected: The socket.
        pace: How long to wait.
        place: Gives what is held while a client is waited for outside of a transfer.
    """

    def __init__(
        self,
        connected: socket.socket,
        pace: Pace,
        place: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._socket = connected
        self._pace = pace
        self._place = place

    def recv_into(self, buffer: bytearray | memoryview) -> int:
        """Reads what is there, or waits."""
        return self._moved(lambda: self._socket.recv_into(buffer))

    def send(self, data: bytes) -> int:
        """Writes what the kernel takes, or waits."""
        return self._moved(lambda: self._socket.send(data))

    def _moved(self, act: Callable[[], int]) -> int:
        left = self._pace.left()
        if not self._pace.transfers:
            # What is here already, or fits, is waited for by nobody.
            self._socket.settimeout(0)
            try:
                return self._pace.wait(act)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                pass
        with nullcontext() if self._pace.transfers else self._place():
            self._socket.settimeout(left)
            return self._pace.wait(act)

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def _decref_socketios(self) -> None:
        # SocketIO calls it when it is closed; the connection itself closes the socket.
        pass
