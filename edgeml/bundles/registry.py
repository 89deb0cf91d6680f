"""One conversation with an OCI registry: credentials, redirects, refusals, and asking again.

1. Credentials go to the registry's own origin and nowhere else, least of all after a redirect. Only reading follows
   redirects, never from TLS to plain http, and never from elsewhere to this machine.
2. Whatever may pass (a broken link, 408, 429, 5xx) is an ``Interrupted``: asked again after a pause that doubles, with
   chance in it, until ``attempts`` in a row brought nothing. All else is a ``TransferError`` at once.
3. An error names the registry, what was asked, the status, the registry's own words, and what to do.

Source: OCI distribution specification 1.1.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from edgeml.bundles.documents import parse_object
from edgeml.bundles.oci_reference import Reference, bracketed, is_this_machine
from edgeml.bundles.registry_auth import Authorization
from edgeml.bundles.registry_gate import RegistryGate
from edgeml.bundles.registry_link import Answer, Interrupted, Link, Patience, origin_of, plain
from edgeml.errors import ArchiveError, TransferError

_MAX_REDIRECTS = 5
_MAX_ADDRESS_CHARACTERS = 8192
_MAX_ERROR_BYTES = 64 * 1024
_PASSING = {408, 429, 500, 502, 503, 504}
_REMEDIES = {
    401: "give credentials",
    403: "give credentials that may do this",
    404: "check name and tag",
    413: "the registry wants no bundle of this size",
    507: "make room on its disk",
}


class Attempts:
    """Counts interruptions in a row; pauses after each, and gives up after too many."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._failed = 0
        self.resumes = 0

    def progress(self) -> None:
        """There is more than ever before: the count begins anew."""
        self._failed = 0

    def interrupted(self, error: Interrupted) -> None:
        """Pauses, or gives up.

        Raises:
            Interrupted: The last one, after too many.
        """
        self._failed += 1
        if self._failed >= self._patience.attempts:
            raise error
        self.resumes += 1
        longest = min(
            self._patience.longest_pause_seconds, self._patience.first_pause_seconds * 2 ** (self._failed - 1)
        )
        # With chance, so that a fleet that was cut off at one moment does not come back at one moment.
        time.sleep(max(min(error.pause_seconds, self._patience.longest_pause_seconds), random.uniform(0, longest)))


class Registry:
    """One client of one registry. Not for several threads at a time.

    Attributes:
        reference: Where it is.
        at: Host and port, as messages show them.
        patience: How long to wait.
    """

    def __init__(
        self,
        address: str | Reference,
        *,
        token: str = "",
        username: str = "",
        password: str = "",
        ca_file: str | Path | None = None,
        certificate: str | Path | None = None,
        key: str | Path | None = None,
        patience: Patience | None = None,
        gate: RegistryGate | None = None,
    ) -> None:
        """Args:
        address: ``host:port``, with or without a name behind it.
        token: Bearer token to send; or
        username: Name for Basic and for token services, with
        password: its password.
        ca_file: PEM file of the only authorities to trust; None trusts those of the system.
        certificate: PEM file of the client certificate for mutual TLS, with its chain.
        key: PEM file of its key; None where it is in the same file.
        patience: How long to wait.
        gate: Bounds whom may be spoken to; None lets all pass.

        Raises:
            TransferError: Address or credentials cannot be used, or a TLS file cannot be read.
        """
        self.reference = address if isinstance(address, Reference) else Reference.parse(address)
        self.at = self.reference.registry
        self.patience = patience or Patience()
        self._authorization = Authorization(self.reference.origin, token=token, username=username, password=password)
        self._link = Link(
            self.reference.origin, self.patience, ca_file=ca_file, certificate=certificate, key=key, gate=gate
        )

    def close(self) -> None:
        """Ends all connections."""
        self._link.close()

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def transfer(self) -> AbstractContextManager[None]:
        """A whole push or pull, which must end within ``transfer_seconds``."""
        return self._link.transfer()

    def ask(
        self,
        method: str,
        path: str,
        *,
        what: str,
        expect: Container[int],
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        attempts: Attempts | None = None,
    ) -> Answer:
        """A request that may be made again: interruptions are waited out.

        Args:
            method: Of HTTP.
            path: Behind the registry's origin, or a whole address.
            what: What is asked for, as messages show it.
            expect: Statuses that are fine.
            headers: Further ones.
            body: What is sent.
            attempts: Counts the interruptions; None begins a new count.

        Raises:
            TransferError: The registry refuses, or it was interrupted too often.
        """
        attempts = attempts or Attempts(self.patience)
        while True:
            try:
                length = len(body) if method in ("PUT", "POST", "PATCH") else None
                return self.once(
                    method, path, what=what, expect=expect, headers=headers, body=lambda: [body], length=length
                )
            except Interrupted as error:
                attempts.interrupted(error)

    def fetch(
        self, path: str, *, what: str, max_bytes: int, accept: str = "*/*", fine: Iterable[int] = ()
    ) -> tuple[bytes, Answer]:
        """Something small, as a whole; interruptions are waited out.

        Args:
            path: Behind the registry's origin, or a whole address.
            what: What is asked for, as messages show it.
            max_bytes: Largest size accepted.
            accept: Media type to ask for.
            fine: Statuses, beside 200, that are no error; the bytes are then empty.

        Raises:
            TransferError: The registry refuses, sends more, or was interrupted too often.
        """
        attempts = Attempts(self.patience)
        while True:
            answer = self.ask(
                "GET", path, what=what, expect={200, *fine}, headers={"Accept": accept}, attempts=attempts
            )
            with answer:
                if answer.status != 200:
                    return b"", answer
                try:
                    return answer.read(max_bytes), answer
                except Interrupted as error:
                    attempts.interrupted(error)

    def once(
        self,
        method: str,
        path: str,
        *,
        what: str,
        expect: Container[int],
        headers: Mapping[str, str] | None = None,
        body: Callable[[], Iterable[bytes]] | None = None,
        length: int | None = None,
    ) -> Answer:
        """One request: with credentials, through redirects, but without waiting out interruptions.

        Args:
            method: Of HTTP.
            path: Behind the registry's origin, or a whole address.
            what: What is asked for, as messages show it.
            expect: Statuses that are fine.
            headers: Further ones.
            body: Gives what is sent, piece by piece, from the beginning each time.
            length: Of the body, in bytes; None where there is none.

        Raises:
            Interrupted: The link broke, or the registry is busy.
            TransferError: The registry refuses.
        """
        url, redirects, logins = self.resolve(self.reference.origin, path, what), 0, 0
        while True:
            own = origin_of(url) == self.reference.origin
            sent = {"Accept-Encoding": "identity", "User-Agent": "edgeml"} | dict(headers or {})
            said = self._authorization.header(time.monotonic()) if own else ""
            if said:
                sent["Authorization"] = said
            if length is not None:
                sent["Content-Length"] = str(length)
            answer = self._link.send(method, url, what, sent, body() if body and length else None)
            if answer.status == 401 and own and logins < 2 and self._login(answer):
                logins += 1
                answer.close()
                continue
            if answer.status in (301, 302, 303, 307, 308) and method in ("GET", "HEAD"):
                redirects += 1
                answer.close()
                if redirects > _MAX_REDIRECTS:
                    raise TransferError(f"{self.at}: {what}: more than {_MAX_REDIRECTS} redirects", code="bad_redirect")
                url = self.resolve(url, answer.header("Location"), what)
                continue
            if answer.status not in expect:
                raise self.refusal(answer, what)
            return answer

    def resolve(self, base: str, location: str, what: str) -> str:
        """An address that the other side gave, relative or absolute, as an absolute one.

        Raises:
            TransferError: It is none, or leads from TLS to plain http, or from elsewhere to this machine.
        """
        problem = "it is no address"
        if location and len(location) <= _MAX_ADDRESS_CHARACTERS and location.isascii() and location.isprintable():
            try:
                url = urljoin(base, location)
                before, after = urlsplit(base), urlsplit(url)
                ours = is_this_machine(bracketed(before.hostname))
                if after.scheme not in ("http", "https") or not after.hostname or "@" in after.netloc:
                    problem = "it is no http address"
                elif before.scheme == "https" and after.scheme == "http":
                    problem = "it leads from TLS to plain http"
                elif is_this_machine(bracketed(after.hostname)) and not ours:
                    problem = "it leads to this machine"
                else:
                    origin_of(url)
                    return url.partition("#")[0]
            except ValueError:
                pass
        raise TransferError(
            f"{self.at}: {what}: the address {plain(location)!r} is not followed: {problem}", code="bad_redirect"
        )

    def refusal(self, answer: Answer, what: str) -> TransferError:
        """The error for an answer that is not fine; reads and closes it."""
        code, message = self._said(answer)
        answer.close()
        said = ": ".join(filter(None, (code, message)))
        told = f"{self.at}: {what}: answered {answer.status}" + (f" ({said})" if said else "")
        if answer.status in _PASSING:
            wait = answer.header("Retry-After")
            pause = float(wait) if wait.isascii() and wait.isdigit() and len(wait) < 6 else 0.0
            return Interrupted(f"{told}; try later", status=answer.status, code=code, pause_seconds=pause)
        remedy = _REMEDIES.get(answer.status)
        return TransferError(f"{told}; {remedy}" if remedy else told, status=answer.status, code=code)

    def _login(self, answer: Answer) -> bool:
        """Whether there is something else to say now than what was answered with 401."""

        def fetch(address: str, headers: dict[str, str]) -> bytes:
            sent = {"Accept-Encoding": "identity", "User-Agent": "edgeml"} | headers
            # A redirect of a token service is not followed: it would take the password along.
            with self._link.send("GET", address, "a token", sent, None) as given:
                if given.status != 200:
                    raise self.refusal(given, f"a token from {plain(origin_of(address))}")
                return given.read(_MAX_ERROR_BYTES)

        try:
            return self._authorization.learn(answer.header("WWW-Authenticate"), time.monotonic(), fetch)
        except BaseException:
            answer.close()
            raise

    def _said(self, answer: Answer) -> tuple[str, str]:
        """Code and message of an error body; empty where it has none that can be read."""
        try:
            document = parse_object(b"".join(answer.pieces(_MAX_ERROR_BYTES)), "the error")
        except (ArchiveError, TransferError):
            return "", ""
        errors = document.get("errors")
        first = errors[0] if isinstance(errors, list) and errors else document
        if not isinstance(first, dict):
            return "", ""
        return plain(first.get("code")), plain(first.get("message") or first.get("error"))
