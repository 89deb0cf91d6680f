"""The body of a request, piece by piece as it comes: never in memory as a whole, never more than was allowed.

A connection that ends before the body does is an error, but not before all that came was handed on: an upload keeps
it, and goes on from there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Protocol

from edgeml.errors import RequestError, TransferError

PIECE_BYTES = 64 * 1024

_CHUNK = re.compile(rb"([0-9a-fA-F]{1,12})\r\n\Z")
_LINE_BYTES = 64


class Stream(Protocol):
    """What a body is read from."""

    def read1(self, size: int, /) -> bytes:
        """At most so many bytes, as soon as there are any; empty at the end."""
        ...

    def readline(self, size: int, /) -> bytes:
        """At most so many bytes of a line."""
        ...


class Body:
    """One body.

    Args:
        stream: Behind the head.
        length: Number of bytes that the head promises; None where they come in chunks.
        limit: Most bytes that are taken.
        go_on: Called once before the first byte is read, where the client waits to be told; None where it does not.
        transfers: Told whether a transfer holds a place from now on, see ``pace``.

    Attributes:
        length: As promised; None where nobody knows.
        done: Whether all of it was read.
        transfers: To be told whether a transfer holds a place.
    """

    def __init__(
        self,
        stream: Stream,
        length: int | None,
        *,
        limit: int,
        go_on: Callable[[], None] | None,
        transfers: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self.length = length
        self.limit = limit
        self.done = length == 0
        self._stream = stream
        self.transfers = transfers
        self._go_on = go_on
        self._left = length or 0
        self._taken = 0

    def pieces(self) -> Iterator[bytes]:
        """The bytes, at most ``PIECE_BYTES`` at a time.

        Raises:
            RequestError: It is larger than is taken, or its chunks are not in order.
            TransferError: The connection ended or was too slow.
        """
        self._check(self.length or 0)
        if self._go_on is not None and not self.done:
            self._go_on()
        self._go_on = None
        while not self.done:
            if self.length is None and not self._left and not self._next_chunk():
                return
            piece = self._wait(lambda: self._stream.read1(min(PIECE_BYTES, self._left)))
            if not piece:
                raise TransferError("the connection ended before the body did", code="cut")
            self._left -= len(piece)
            self._taken += len(piece)
            self.done = self.length is not None and not self._left
            if self.length is None and not self._left:
                self._line(b"\r\n")
            yield piece

    def whole(self, most: int) -> bytes:
        """A small body.

        Args:
            most: Largest size accepted, in bytes.

        Raises:
            RequestError: It is larger.
            TransferError: The connection ended or was too slow.
        """
        self.limit = min(self.limit, most)
        return b"".join(self.pieces())

    def read(self, size: int = -1) -> bytes:
        """Nothing: whoever needs a body asks for pieces. It is here because WSGI wants it."""
        return b""

    def discard(self, most: int) -> None:
        """Reads a small body that nobody wanted, so that the connection can be used again.

        One that was read in part is left: what stopped it may be that no more comes.
        """
        if not self.done and self._go_on is None and self.length is not None and self._left == self.length <= most:
            for _ in self.pieces():
                pass

    def _next_chunk(self) -> bool:
        found = _CHUNK.match(self._wait(lambda: self._stream.readline(_LINE_BYTES)))
        if found is None:
            raise RequestError("the size of a chunk is no hexadecimal number", code="bad_chunk")
        self._left = int(found[1], 16)
        self._check(self._taken + self._left)
        if self._left:
            return True
        self._line(b"\r\n")  # fields behind the last chunk are not taken
        self.done = True
        return False

    def _line(self, expected: bytes) -> None:
        if self._wait(lambda: self._stream.readline(_LINE_BYTES)) != expected:
            raise RequestError("a chunk does not end where its size says", code="bad_chunk")

    def _check(self, size: int) -> None:
        if size > self.limit:
            raise RequestError(f"the body is larger than the {self.limit} bytes that are taken", code="too_large")

    def _wait(self, read: Callable[[], bytes]) -> bytes:
        try:
            return read()
        except TimeoutError as error:
            raise TransferError("the body came too slowly", code="too_slow") from error
        except OSError as error:
            raise TransferError(f"the connection ended before the body did: {error}", code="cut") from error
