"""Load on a service, as its clients would send it, and how long the answers take.

1. One thread drives kept HTTP/1.1 connections without blocking; requests are bytes that were made before.
2. ``saturate`` is a closed loop: each connection asks again as soon as it has its answer. It finds the throughput; its
   latencies are those of a queue that is always full, and are not given.
3. ``pace`` is an open loop: request number i is due at ``i / rate``, whether or not the service is done with the ones
   before, and its latency counts from then. A service that stalls is so charged with every request that had to wait:
   a closed loop would have sent none, and leave them out ("coordinated omission", G. Tene).
"""

from __future__ import annotations

import math
import selectors
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from edgeml.errors import RequestError

_PIECE_BYTES = 65_536
_END = b"\r\n\r\n"
# How long answers that are still due may take after the last request.
LATE_S = 5.0


@dataclass(frozen=True)
class Target:
    """Where to ask.

    Attributes:
        family: AF_INET, AF_INET6 or AF_UNIX.
        address: As the family takes it.
        host: For the Host header.
    """

    family: int
    address: str | tuple[str, int]
    host: str

    @classmethod
    def of(cls, url: str) -> Target:
        """Reads ``http://HOST[:PORT]`` or ``unix:PATH``.

        Raises:
            RequestError: It is neither.
        """
        if url.startswith("unix:"):
            return cls(socket.AF_UNIX, url[5:], "localhost")
        parts = urlsplit(url)
        try:
            port = parts.port or 80
        except ValueError as error:
            raise RequestError(f"{url!r}: {error}", field="url") from error
        if parts.scheme != "http" or not parts.hostname:
            raise RequestError(f"{url!r} is neither http://HOST:PORT nor unix:PATH", field="url")
        try:
            found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)[0]
        except OSError as error:
            raise RequestError(f"{parts.hostname} is not found: {error}", field="url") from error
        return cls(found[0], (str(found[4][0]), port), parts.netloc)

    def request(self, path: str, body: bytes) -> bytes:
        """The bytes of a POST of JSON."""
        head = f"POST {path} HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class Outcome:
    """What came of some load.

    Attributes:
        answers: Answers with status 200.
        errors: Answers with another status, broken connections, and requests that got no answer in time.
        seconds: From the first request to the last answer.
        first_error: What was wrong first; empty where nothing was.
        latencies_ns: Of each answer with status 200, in the order of the answers; empty for a closed loop.
        lateness_ns: The longest that a request left later than it was due because this side was busy.
    """

    answers: int = 0
    errors: int = 0
    seconds: float = 0.0
    first_error: str = ""
    latencies_ns: list[int] = field(default_factory=list)
    lateness_ns: int = 0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds if self.seconds else 0.0

    def percentile_ms(self, share: float) -> float:
        """The smallest latency that ``share`` percent of the answers did not exceed, in milliseconds; NaN of none."""
        if not self.latencies_ns:
            return math.nan
        ordered = sorted(self.latencies_ns)
        return ordered[max(0, math.ceil(len(ordered) * share / 100) - 1)] / 1e6

    def share_above(self, ms: float) -> float:
        """Share of all requests that took longer than ``ms`` milliseconds, or failed."""
        total = len(self.latencies_ns) + self.errors
        slow = sum(each > ms * 1e6 for each in self.latencies_ns) + self.errors
        return slow / total if total else 0.0


def saturate(target: Target, requests: Sequence[bytes], *, connections: int, seconds: float) -> Outcome:
    """Asks as fast as the service answers.

    Args:
        target: Where.
        requests: Sent in turn.
        connections: How many at a time.
        seconds: For how long.

    Raises:
        RequestError: Nobody listens there.
    """
    with _crowd(target, connections) as crowd:
        start = time.perf_counter_ns()
        end = start + int(seconds * 1e9)
        for number, each in enumerate(crowd.all):
            crowd.send(each, requests[number % len(requests)], start)
        sent = len(crowd.all)
        while crowd.busy:
            now = time.perf_counter_ns()
            if now > end + int(LATE_S * 1e9):
                crowd.give_up()
            for each in crowd.wait(0.1):
                if now < end:
                    crowd.send(each, requests[sent % len(requests)], now)
                    sent += 1
        crowd.outcome.latencies_ns.clear()
        return crowd.outcome


def pace(target: Target, requests: Sequence[bytes], *, rate: float, connections: int, seconds: float) -> Outcome:
    """Asks ``rate`` times a second, whatever becomes of it.

    Args:
        target: Where.
        requests: Sent in turn.
        rate: Requests a second.
        connections: As many at a time; where all are busy, a request waits for one, and the wait counts.
        seconds: For how long.

    Raises:
        RequestError: Nobody listens there.
    """
    with _crowd(target, connections) as crowd:
        free = deque(crowd.all)
        total = max(1, int(rate * seconds))
        start = time.perf_counter_ns()
        sent = 0
        while sent < total or crowd.busy:
            now = time.perf_counter_ns()
            while sent < total and free:
                due = start + int(sent * 1e9 / rate)
                if due > now:
                    break
                crowd.outcome.lateness_ns = max(crowd.outcome.lateness_ns, now - due)
                crowd.send(free.popleft(), requests[sent % len(requests)], due)
                sent += 1
            if now > start + int((seconds + LATE_S) * 1e9):
                crowd.outcome.errors += total - sent
                crowd.give_up()
                break
            due = start + int(sent * 1e9 / rate) if sent < total and free else now + 100_000_000
            free.extend(crowd.wait(max(0.0, (due - time.perf_counter_ns()) / 1e9)))
        return crowd.outcome


class _Connection:
    """One connection: what it is owed, and what has come of it."""

    __slots__ = ("answer", "due_ns", "socket", "to_send")

    def __init__(self, made: socket.socket) -> None:
        self.socket = made
        self.to_send = b""
        self.answer = b""
        self.due_ns = 0


class _Crowd:
    """All connections of a load."""

    def __init__(self, target: Target, count: int) -> None:
        self._target = target
        self._selector = selectors.DefaultSelector()
        self._start = time.perf_counter_ns()
        self.outcome = Outcome()
        self.busy = 0
        self.all = [_Connection(self._connect()) for _ in range(count)]

    def close(self) -> None:
        for each in self.all:
            each.socket.close()
        self._selector.close()

    def send(self, connection: _Connection, request: bytes, due_ns: int) -> None:
        """Sends a request on a connection that waits for nothing."""
        connection.due_ns = due_ns
        connection.answer = b""
        connection.to_send = request
        self.busy += 1
        self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        self._push(connection)

    def wait(self, timeout_s: float) -> list[_Connection]:
        """The connections that are free again."""
        freed = []
        for key, events in self._selector.select(timeout_s):
            connection: _Connection = key.data
            if events & selectors.EVENT_WRITE:
                self._push(connection)
            if events & selectors.EVENT_READ and self._came(connection):
                freed.append(connection)
        return freed

    def give_up(self) -> None:
        """Counts whatever is still owed as an error."""
        self.outcome.errors += self.busy
        self.outcome.first_error = self.outcome.first_error or "no answer came in time"
        self.busy = 0

    def _connect(self) -> socket.socket:
        made = socket.socket(self._target.family, socket.SOCK_STREAM)
        try:
            made.connect(self._target.address)
        except OSError as error:
            made.close()
            raise RequestError(f"nobody answers at {self._target.host}: {error}", field="url") from error
        made.setblocking(False)
        if self._target.family != socket.AF_UNIX:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def _push(self, connection: _Connection) -> None:
        try:
            sent = connection.socket.send(connection.to_send)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # reading will say so
        connection.to_send = connection.to_send[sent:]
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.to_send else 0)
        if self._selector.get_key(connection.socket).events != events:
            self._selector.modify(connection.socket, events, connection)

    def _came(self, connection: _Connection) -> bool:
        """Takes what came; whether the answer is whole, or will never be."""
        try:
            piece = connection.socket.recv(_PIECE_BYTES)
        except BlockingIOError:
            return False
        except OSError as error:
            return self._broke(connection, str(error))
        if not piece:
            return self._broke(connection, "the connection was closed")
        connection.answer += piece
        status, length = _parsed(connection.answer)
        if length is None:
            return False
        if length < 0:
            return self._broke(connection, "the answer has no Content-Length")
        self._finished(connection, status)
        return True

    def _finished(self, connection: _Connection, status: int) -> None:
        now = time.perf_counter_ns()
        self._selector.unregister(connection.socket)
        self.busy -= 1
        self.outcome.seconds = (now - self._start) / 1e9
        if status == 200:
            self.outcome.answers += 1
            self.outcome.latencies_ns.append(now - connection.due_ns)
            return
        self.outcome.errors += 1
        said = connection.answer.partition(_END)[2][:200].decode(errors="replace")
        self.outcome.first_error = self.outcome.first_error or f"status {status}: {said}"

    def _broke(self, connection: _Connection, why: str) -> bool:
        self._selector.unregister(connection.socket)
        self.busy -= 1
        self.outcome.errors += 1
        self.outcome.first_error = self.outcome.first_error or why
        connection.socket.close()
        connection.socket = self._connect()
        return True


@contextmanager
def _crowd(target: Target, connections: int) -> Iterator[_Crowd]:
    crowd = _Crowd(target, connections)
    try:
        yield crowd
    finally:
        crowd.close()


def _parsed(answer: bytes) -> tuple[int, int | None]:
    """Status and length of a whole answer; None while some of it is missing, -1 where it does not say its length."""
    end = answer.find(_END)
    if end < 0:
        return 0, None
    head = answer[:end].lower()
    at = head.find(b"content-length:")
    if at < 0:
        return 0, -1
    length = int(head[at + 15 :].split(b"\r\n", 1)[0])
    if len(answer) < end + len(_END) + length:
        return 0, None
    return int(head[9:12]), length
