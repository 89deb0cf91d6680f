"""The HTTP server of the management plane: cheroot, with its doors narrowed. The only file that knows it.

What is different from cheroot as it comes, and why:

1. Heads and bodies are read by ``request_head`` and ``request_body``: strict where two readers could disagree, and
   never a body, chunk or unread rest in memory as a whole.
2. Every wait for a client is bounded by ``pace``: slow heads, slow drips and slow readers lose their connection.
3. A connection takes a thread only once it has sent something, and TLS is spoken in that thread. As it comes, the one
   thread that accepts would wait for each handshake, and every silent connection would hold a thread.
4. Connections are counted, all of them and those of one address; so are threads that wait for slow clients
   (``places``).
5. The socket is always our own: cheroot would take descriptor 3 whenever systemd has handed a socket to this process.

``docs/decisions/0008-management-server.md`` says why cheroot and not another.
"""

from __future__ import annotations

import socket
import ssl
import sys
import threading
import time
import traceback as tracebacks
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cheroot.connections import ConnectionManager
from cheroot.makefile import MakeFile
from cheroot.server import HTTPConnection, HTTPRequest
from cheroot.ssl import Adapter
from cheroot.wsgi import Server

from edgeml.supervisor.callers import CLIENT_SUBJECT
from edgeml.supervisor.pace import Pace, PacedSocket, Patience
from edgeml.supervisor.places import WaitingRoom
from edgeml.supervisor.request_body import Body
from edgeml.supervisor.request_head import read_head

App = Callable[[dict[str, Any], Any], Iterable[bytes]]

_READ_BYTES = 64 * 1024
# An unread rest up to this size is read away to keep the connection; a larger one costs the connection.
_SMALL_REST_BYTES = 64 * 1024
_LINGER_BYTES = 1024 * 1024
_LINGER_SECONDS = 2.0
_SHORT = {"commonName": "CN", "organizationName": "O", "organizationalUnitName": "OU"}


@dataclass(frozen=True, slots=True)
class Tls:
    """How connections are encrypted.

    Attributes:
        certificate: PEM file: the server's certificate, then those that lead to its root.
        key: PEM file: the private key.
        client_ca: PEM file: whose clients may connect; None asks for no certificate of clients.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def context(self) -> ssl.SSLContext:
        """The settings for OpenSSL.

        Raises:
            OSError: A file cannot be read, or is no such thing (``ssl.SSLError``).
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate, self.key)
        if self.client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.client_ca)
        return context


@dataclass(frozen=True, slots=True)
class Doors:
    """How much is let in at a time.

    Attributes:
        threads: Requests that are answered at a time; more than ``waiting`` and all places of the app together.
        waiting: Threads that wait at a time for clients that are slow with a head, a document or a small answer.
        connections: Connections at a time.
        per_address: Connections of one address at a time; this machine's own are not counted.
        header_bytes: Largest head of a request, in bytes.
        body_bytes: Largest body, in bytes.
        patience: How long a client is waited for.
    """

    threads: int = 24
    waiting: int = 4
    connections: int = 64
    per_address: int = 8
    header_bytes: int = 16 * 1024
    body_bytes: int = 1024**3
    patience: Patience = field(default_factory=Patience)


class Management:
    """A running server.

    Attributes:
        host: Address it is bound to.
        port: Port it is bound to.
    """

    def __init__(self, server: _Server) -> None:
        self._server = server
        self.host, self.port = server.bind_addr[:2]
        self._thread = threading.Thread(target=server.serve, name="management", daemon=True)
        self._thread.start()

    def stop(self, *, grace_seconds: float = 5.0) -> None:
        """Takes no more requests, waits for those under way, and then cuts them off.

        Args:
            grace_seconds: How long to wait.
        """
        self._server.shutdown_timeout = grace_seconds
        # cheroot waits for its threads without end; a thread that waits for a client ends with the connection.
        cut = threading.Timer(grace_seconds, self._server.cut)
        cut.daemon = True
        cut.start()
        over = threading.Event()
        threading.Thread(target=self._wake, args=(over,), daemon=True).start()
        self._server.stop()
        over.set()
        cut.cancel()
        self._server.cut()
        self._thread.join()

    def _wake(self, over: threading.Event) -> None:
        # The loop that accepts sees that it shall end when it wakes: at the latest after its interval, or now.
        while not over.is_set():
            with suppress(OSError):
                socket.create_connection((self.host, self.port), timeout=1).close()
            over.wait(0.02)


def serve_management(
    app: App, host: str = "127.0.0.1", port: int = 0, *, tls: Tls | None = None, doors: Doors | None = None
) -> Management:
    """Serves an app on threads of this process.

    Args:
        app: A WSGI application. Its ``wsgi.input`` is a ``request_body.Body``.
        host: Address to bind to.
        port: Port to bind to; 0 takes a free one.
        tls: Certificates; None speaks plain HTTP.
        doors: How much is let in.

    Raises:
        OSError: The address is taken, or a certificate cannot be read.
    """
    server = _Server((host, port), app, doors or Doors(), tls)
    server.prepare()
    return Management(server)


class _Request(HTTPRequest):
    rfile: Any

    def read_request_headers(self) -> bool:
        try:
            fields = read_head(self.rfile)
        except ValueError as error:
            self.simple_response("400 Bad Request", str(error))
            return False
        modern = self.response_protocol == "HTTP/1.1"
        self.chunked_read = b"Transfer-Encoding" in fields
        if self.chunked_read and not modern:
            self.simple_response("400 Bad Request", "HTTP/1.0 knows no Transfer-Encoding")
            return False
        connection = fields.get(b"Connection", b"").lower()
        self.close_connection = connection != b"keep-alive" if not modern else b"close" in connection
        self.inheaders = fields
        return True

    def respond(self) -> None:
        self.conn.pace.begin_body()
        length = None if self.chunked_read else int(self.inheaders.get(b"Content-Length", b"0"))
        expects = self.inheaders.pop(b"Expect", b"").lower() == b"100-continue"
        body = Body(
            self.conn.rfile,
            length,
            limit=self.server.doors.body_bytes,
            go_on=self._go_on if expects else None,
            transfers=self.conn.transfers,
        )
        self.rfile = body
        self.server.gateway(self).respond()
        self.ensure_headers_sent()
        if self.chunked_write:
            self.conn.wfile.write(b"0\r\n\r\n")
        if not body.done:
            self.conn.linger_briefly()

    def send_headers(self) -> None:
        # The answer must not wait behind a large body that nobody reads.
        self.conn.pace.begin_rest()
        try:
            self.rfile.discard(_SMALL_REST_BYTES)
        except Exception:
            self.close_connection = True
        # The reader has patience of its own, however much of it the body has used up.
        self.conn.pace.begin_body()
        if not self.rfile.done:
            self.close_connection = True
        super().send_headers()

    def _go_on(self) -> None:
        self.conn.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")


class _Connection(HTTPConnection):
    RequestHandlerClass = _Request
    rbufsize = _READ_BYTES

    def __init__(self, server: _Server, sock: socket.socket, makefile: Any = MakeFile) -> None:
        self.pace = Pace(server.doors.patience)
        self.since = 0.0
        super().__init__(server, PacedSocket(sock, self.pace, self._place), MakeFile)
        self.socket = sock
        self.greeted = not isinstance(sock, ssl.SSLSocket)
        self.address = ""

    def communicate(self) -> bool:
        self.since = time.monotonic()
        self.pace.begin_head()
        try:
            if not self.greeted:
                self.socket.settimeout(self.pace.left())
                with self._place():
                    self.pace.wait(self._greet)
            return bool(super().communicate())  # type: ignore[no-untyped-call]
        except OSError:  # ssl.SSLError is one too: a client that goes away is no news
            return False

    def _greet(self) -> int:
        # One deadline for the whole handshake: OpenSSL starts its timeout anew with every record.
        late = threading.Timer(self.server.doors.patience.head_seconds, self.cut)
        late.daemon = True
        late.start()
        try:
            self.socket.do_handshake()
        finally:
            late.cancel()
        self.greeted = True
        subject = self.socket.getpeercert() or {}
        if subject:
            self.ssl_env = {CLIENT_SUBJECT: _subject(subject)}
        return 0

    def transfers(self, yes: bool) -> None:
        """Notes whether a transfer has a place from now on."""
        self.pace.transfers = yes

    def _place(self) -> AbstractContextManager[None]:
        room: WaitingRoom = self.server.room
        return room.place(self)

    def linger_briefly(self) -> None:
        """Lets the client read the answer: closing over unread bytes would reset the connection and lose it."""
        with suppress(OSError, ValueError), self._place():
            if not isinstance(self.socket, ssl.SSLSocket):
                self.socket.shutdown(socket.SHUT_WR)
            end, left = time.monotonic() + _LINGER_SECONDS, _LINGER_BYTES
            while left > 0 and (patience := end - time.monotonic()) > 0:
                self.socket.settimeout(patience)
                data = self.socket.recv(min(left, _READ_BYTES))
                if not data:
                    return
                left -= len(data)

    def cut(self) -> None:
        """Ends it from another thread."""
        with suppress(OSError, ValueError):
            # Not SSLSocket's own: that would change an object that another thread uses.
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)

    def close(self) -> None:
        # cheroot calls it where an error would end the server.
        self.server.forget(self)
        with suppress(OSError, ValueError):
            self.rfile.close()
        self.cut()
        with suppress(OSError, ValueError):
            self.socket.close()


class _TlsAdapter(Adapter):
    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context

    def bind(self, sock: socket.socket) -> socket.socket:
        return sock

    def wrap(self, sock: socket.socket) -> tuple[socket.socket, dict[str, Any]]:
        return self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), {}

    def get_environ(self) -> dict[str, Any]:
        return {}

    def makefile(self, sock: Any, mode: str = "r", bufsize: int = -1) -> Any:
        return MakeFile(sock, mode, bufsize)


class _Server(Server):
    ConnectionClass = _Connection
    # How often idle connections are looked through, and how long a stop may take.
    expiration_interval = 1.0

    def __init__(self, address: tuple[str, int], app: App, doors: Doors, tls: Tls | None) -> None:
        super().__init__(address, app, numthreads=doors.threads, max=doors.threads, server_name="edgeml")
        self.doors = doors
        self.room = WaitingRoom(doors.waiting)
        self.timeout = doors.patience.idle_seconds
        self.request_queue_size = doors.connections
        self.keep_alive_conn_limit = doors.connections
        self.max_request_header_size = doors.header_bytes
        self.ssl_adapter = None if tls is None else _TlsAdapter(tls.context())
        self._open: set[_Connection] = set()
        self._addresses: Counter[str] = Counter()
        self._counting = threading.Lock()

    def prepare(self) -> None:
        host, port = self.bind_addr
        family, kind, protocol, _, _ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        self._interrupt = None
        self.software = "edgeml"
        self.bind(family, kind, protocol)
        self.socket.settimeout(1)
        self.socket.listen(self.request_queue_size)
        self._connections = ConnectionManager(self)
        # Threads are what the thread is that makes them: these must not keep a process that wants to end.
        starter = threading.Thread(target=self.requests.start, daemon=True)
        starter.start()
        starter.join()
        self.ready = True
        self._start_time = time.time()

    def process_conn(self, conn: _Connection) -> None:
        if conn.last_used is not None:
            super().process_conn(conn)
        elif self._let_in(conn):
            self._connections.put(conn)  # until it has sent something
        else:
            conn.close()

    def put_conn(self, conn: _Connection) -> None:
        # What OpenSSL has read already is not seen by a selector.
        if self.ready and isinstance(conn.socket, ssl.SSLSocket) and conn.socket.pending():
            self.requests.put(conn)
        else:
            super().put_conn(conn)

    def forget(self, conn: _Connection) -> None:
        """Counts a connection no longer."""
        with self._counting:
            if conn in self._open:
                self._open.remove(conn)
                self._addresses[conn.address] -= 1
                if self._addresses[conn.address] <= 0:
                    del self._addresses[conn.address]

    def cut(self) -> None:
        """Ends all connections."""
        with self._counting:
            connections = list(self._open)
        for each in connections:
            each.cut()

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:
        if traceback:
            tracebacks.print_exc(file=sys.stderr)
            # Such as no file descriptors left: the loop that calls this comes back at once.
            time.sleep(0.1)

    def _let_in(self, conn: _Connection) -> bool:
        address = str(conn.remote_addr or "")
        own = address.startswith("127.") or address in ("::1", "::ffff:127.0.0.1")
        with self._counting:
            full = not own and self._addresses[address] >= self.doors.per_address
            if full or len(self._open) >= self.doors.connections:
                return False
            conn.address = address
            self._open.add(conn)
            self._addresses[address] += 1
            return True


def _subject(certificate: dict[str, Any]) -> str:
    """The subject of a certificate, such as ``CN=ops,O=Shop``, printable and bounded."""
    named = [pair for group in certificate.get("subject", ()) for pair in group]
    text = ",".join(f"{_SHORT.get(name, name)}={value}" for name, value in named)
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:200]
