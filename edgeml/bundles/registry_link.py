"""Bytes to and from a registry, within bounds of time and memory. The only file that knows urllib3.

1. The client certificate is shown to the registry's own origin and nowhere else.
2. What may pass (a broken or silent link) is an ``Interrupted``; a certificate that is not trusted is not.
3. The other side is never trusted with our time or memory: bodies are read piece by piece up to a bound that was
   known before; a silent link, a slow drip and a transfer that never ends are each cut.
4. What the other side says is shown shortened and without control characters.
"""

from __future__ import annotations

import ssl
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from edgeml.bundles.oci_reference import bracketed
from edgeml.bundles.registry_gate import RegistryGate
from edgeml.errors import TransferError

PIECE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for the other side, and how often to ask again.

    Attributes:
        connect_seconds: For a connection to stand.
        silence_seconds: Without a single byte.
        rate_bytes_per_second: A body that comes slower is given up ...
        rate_seconds: ... once it was waited for this long.
        transfer_seconds: For a whole push or pull.
        attempts: Interruptions in a row, without one more byte in its place, before it is given up.
        first_pause_seconds: Pause after the first interruption; doubles each time.
        longest_pause_seconds: It grows no further.
    """

    connect_seconds: float = 10.0
    silence_seconds: float = 30.0
    rate_bytes_per_second: float = 1024.0
    rate_seconds: float = 30.0
    transfer_seconds: float = 3600.0
    attempts: int = 6
    first_pause_seconds: float = 0.5
    longest_pause_seconds: float = 30.0


class Interrupted(TransferError):
    """The link broke, or the registry is busy: asking again may help.

    Attributes:
        pause_seconds: What the registry asked to wait; 0 where it asked for nothing.
    """

    def __init__(self, message: str, *, status: int | None = None, code: str = "", pause_seconds: float = 0.0) -> None:
        super().__init__(message, status=status, code=code)
        self.pause_seconds = pause_seconds


class Answer:
    """What the registry answered: status and headers are here, the body is still on its way."""

    def __init__(self, link: Link, response: urllib3.BaseHTTPResponse, url: str, what: str) -> None:
        self.status = response.status
        self.url = url
        self._link = link
        self._response = response
        self._what = what

    def header(self, name: str) -> str:
        """A header's value; empty where there is none."""
        return self._response.headers.get(name, "")

    def length(self) -> int | None:
        """What the body is said to be long, in bytes; None where nothing is said."""
        text = self.header("Content-Length")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None

    def pieces(self, max_bytes: int) -> Iterator[bytes]:
        """The body, in pieces of at most 64 KiB, and never more than ``max_bytes`` of it.

        Raises:
            Interrupted: The link broke.
            TransferError: It comes too slowly, or the time for the transfer is over.
        """
        patience, left = self._link.patience, max_bytes
        came, waited = 0, 0.0
        while left:
            before = time.monotonic()
            with self._link.watched(self._what):
                data = self._response.read1(min(PIECE_BYTES, left), decode_content=False)
            if not data:
                break
            # Only waiting counts, not what the receiver does with the bytes.
            came, waited, left = came + len(data), waited + time.monotonic() - before, left - len(data)
            if waited >= patience.rate_seconds:
                if came < patience.rate_bytes_per_second * waited:
                    self.close()
                    raise TransferError(
                        f"{self._link.at}: {self._what} comes with {came / waited:.0f} bytes a second, and "
                        f"{patience.rate_bytes_per_second:.0f} is the least; try again over a better link",
                        code="too_slow",
                    )
                came, waited = 0, 0.0
            yield data
        if left == 0 and self.length() != max_bytes:
            self.close()  # there may be more, which nobody wants to hear

    def read(self, max_bytes: int) -> bytes:
        """The whole body.

        Raises:
            Interrupted: The link broke.
            TransferError: It is longer than ``max_bytes``, or as ``pieces``.
        """
        data = b"".join(self.pieces(max_bytes + 1))
        if len(data) > max_bytes:
            self.close()
            raise TransferError(
                f"{self._link.at}: {self._what} is longer than {max_bytes} bytes, the most that is accepted",
                code="too_long",
            )
        return data

    def close(self) -> None:
        """Ends the connection; what is left of the body is not read."""
        self._response.close()

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        # A connection is kept only where nothing is left on it.
        if getattr(self._response, "length_remaining", None) == 0:
            self._response.drain_conn()
        else:
            self.close()


class Link:
    """Connections to one registry, and to where it redirects. Not for several threads at a time.

    Attributes:
        origin: Scheme, host and port of the registry.
        at: Host and port, as messages show them.
        patience: How long to wait.
    """

    def __init__(
        self,
        origin: str,
        patience: Patience,
        *,
        ca_file: str | Path | None = None,
        certificate: str | Path | None = None,
        key: str | Path | None = None,
        gate: RegistryGate | None = None,
    ) -> None:
        """Args:
        origin: Scheme, host and port of the registry.
        patience: How long to wait.
        ca_file: PEM file of the only authorities to trust; None trusts those of the system.
        certificate: PEM file of the client certificate, with its chain.
        key: PEM file of its key; None where it is in the same file.
        gate: Bounds whom may be spoken to; None lets all pass.

        Raises:
            TransferError: A TLS file cannot be read.
        """
        self.origin = origin
        self.at = origin.partition("://")[2]
        self.patience = patience
        self._files = ca_file, certificate, key
        self._gate = gate
        self._tls = self._contexts() if origin.startswith("https:") or ca_file or certificate else None
        self._pools: dict[str, urllib3.HTTPConnectionPool] = {}
        self._sockets: weakref.WeakSet[Any] = weakref.WeakSet()
        self._late = False

    def close(self) -> None:
        """Ends all connections."""
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()

    @contextmanager
    def transfer(self) -> Iterator[None]:
        """A whole push or pull, which must end within ``transfer_seconds``."""
        done = threading.Event()

        def cut() -> None:
            # Again and again: a connection may be made in the very moment of the first cut.
            wait = self.patience.transfer_seconds
            while not done.wait(wait):
                self._late, wait = True, 0.5
                for socket in list(self._sockets):
                    try:
                        socket.shutdown(2)
                    except OSError:
                        pass  # closed already

        watchdog = threading.Thread(target=cut, name="edgeml-transfer", daemon=True)
        self._late = False
        watchdog.start()
        try:
            yield
        finally:
            done.set()
            watchdog.join()
            self._late = False

    @contextmanager
    def watched(self, what: str) -> Iterator[None]:
        """Says in our words what urllib3 says in its own.

        Raises:
            Interrupted: The link broke.
            TransferError: The certificate is not trusted, or the time for the transfer is over.
        """
        self._check_time(what)
        try:
            yield
        except urllib3.exceptions.HTTPError as error:
            self._check_time(what)
            if isinstance(error, urllib3.exceptions.SSLError) and _is_about_trust(error):
                raise TransferError(
                    f"{self.at}: the TLS certificate is not trusted: {plain(str(error))}; give the right CA file",
                    code="tls",
                ) from error
            if isinstance(error, (urllib3.exceptions.LocationValueError, urllib3.exceptions.InvalidHeader)):
                raise TransferError(f"{self.at}: {what}: {plain(str(error))}", code="bad_answer") from error
            raise Interrupted(f"{self.at}: {what}: the link broke: {plain(str(error))}", code="interrupted") from error
        except (OSError, ValueError) as error:
            self._check_time(what)
            raise Interrupted(f"{self.at}: {what}: the link broke: {plain(str(error))}", code="interrupted") from error

    def send(self, method: str, url: str, what: str, headers: dict[str, str], body: Iterable[bytes] | None) -> Answer:
        """One request.

        Args:
            method: Of HTTP.
            url: A whole address.
            what: What is asked for, as messages show it.
            headers: All that are sent.
            body: What is sent, piece by piece.

        Raises:
            Interrupted: The link broke.
            TransferError: The certificate is not trusted, or the time for the transfer is over.
        """
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        with self.watched(what):
            response = self._pool(origin_of(url)).urlopen(
                method,
                target,
                body=body,
                headers=headers,
                retries=False,
                redirect=False,
                assert_same_host=False,
                preload_content=False,
                decode_content=False,
            )
        return Answer(self, response, url, what)

    def _pool(self, origin: str) -> urllib3.HTTPConnectionPool:
        if origin not in self._pools:
            parts = urlsplit(origin)
            assert parts.hostname is not None
            timeout = urllib3.Timeout(connect=self.patience.connect_seconds, read=self.patience.silence_seconds)
            sockets, silence, gate = self._sockets, self.patience.silence_seconds, self._gate
            host, port = parts.hostname, parts.port or 0
            if parts.scheme == "https":
                own, foreign = self._tls or self._contexts()
                context = own if origin == self.origin else foreign
                pool: urllib3.HTTPConnectionPool = urllib3.HTTPSConnectionPool(
                    parts.hostname, parts.port, timeout=timeout, ssl_context=context
                )
                kind: type[HTTPConnection] = HTTPSConnection
            else:
                pool = urllib3.HTTPConnectionPool(parts.hostname, parts.port, timeout=timeout)
                kind = HTTPConnection

            class Connection(kind):  # type: ignore[valid-type, misc]
                def connect(self) -> None:
                    super().connect()
                    sockets.add(self.sock)
                    self.sock.settimeout(silence)

                def _new_conn(self) -> Any:
                    # The only place before TLS says its first word; a redirect or a token service comes by here, too.
                    if gate is None:
                        return super()._new_conn()
                    gate.before(host, port)
                    connected = super()._new_conn()
                    try:
                        gate.after(host, port, connected)
                    except BaseException:
                        connected.close()
                        raise
                    return connected

                def request(self, *arguments: Any, **options: Any) -> None:
                    # urllib3 would give a body that is sent the time for connecting.
                    if self.sock is not None:
                        self.timeout = silence
                    super().request(*arguments, **options)

            pool.ConnectionCls = Connection
            self._pools[origin] = pool
        return self._pools[origin]

    def _contexts(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        """How to speak TLS to the registry, and to others that it redirects to: they never see our certificate."""
        ca_file, certificate, key = self._files
        try:
            own, foreign = ssl.create_default_context(cafile=ca_file), ssl.create_default_context()
            if ca_file:
                foreign.load_verify_locations(cafile=ca_file)
            if certificate:
                # An empty passphrase makes an encrypted key an error, not a question on the terminal.
                own.load_cert_chain(certificate, key, password="")
        except (OSError, ValueError) as error:
            files = ", ".join(str(path) for path in (ca_file, certificate, key) if path)
            raise TransferError(f"TLS files ({files}) cannot be used: {error}", code="tls") from error
        return own, foreign

    def _check_time(self, what: str) -> None:
        if self._late:
            raise TransferError(
                f"{self.at}: {what}: the transfer took longer than {self.patience.transfer_seconds:g} seconds; "
                "what has arrived is kept: try again",
                code="deadline",
            )


def origin_of(url: str) -> str:
    """Scheme, host and port of an address.

    Raises:
        ValueError: It has none.
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{bracketed(parts.hostname)}:{parts.port or (80 if parts.scheme == 'http' else 443)}"


def _is_about_trust(error: BaseException) -> bool:
    seen: BaseException | None = error
    for _ in range(8):
        if isinstance(seen, ssl.SSLCertVerificationError):
            return True
        if seen is None:
            break
        inner = next((part for part in seen.args if isinstance(part, BaseException)), None)
        seen = inner or seen.__cause__ or seen.__context__
    return False


def plain(value: Any) -> str:
    """Some text of a stranger, fit for a terminal."""
    text = value if isinstance(value, str) else "" if value is None else str(value)
    text = "".join(letter if letter.isprintable() else "?" for letter in text[:400])
    return text if len(text) <= 200 else text[:197] + "..."
