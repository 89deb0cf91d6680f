"""Who asks: what is sent in ``Authorization``, and what a 401 asks for. Knows no sockets.

1. A bearer token that the user gave is sent as it is. A user name and password are sent only after the registry has
   asked for them (``Basic``), or to the token service that it names (``Bearer``).
2. A registry behind TLS may name a token service behind TLS only. One on plain http may also name one on its own
   host. So a password never takes a worse road than the one that the user chose.
3. A fetched token is kept until four fifths of its life are over: one that ends while a chunk is on its way costs
   that chunk.
4. Secrets are in no message and in no ``repr``.

Sources: RFC 9110 section 11 (challenges), RFC 6750 (bearer tokens), RFC 7617 (Basic); distribution project, "Token
Authentication Specification".
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from edgeml.bundles.documents import parse_object
from edgeml.errors import ArchiveError, TransferError

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME = re.compile(rf"[\s,]*({_TOKEN})(?:\s+|\s*(?=,)|\Z)(?!\s*=)")
_PARAMETER = re.compile(rf'[\s,]*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))(?=\s*(?:,|\Z))')
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*(?=\s*(?:,|\Z))")
_BEARER_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*\Z")
_CHALLENGE_MAX_CHARACTERS = 8192
_DEFAULT_LIFE_SECONDS = 60.0

Fetch = Callable[[str, dict[str, str]], bytes]


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way of saying who one is, as the registry offers it.

    Attributes:
        scheme: ``basic``, ``bearer`` ..., in small letters.
        parameters: By name in small letters.
    """

    scheme: str
    parameters: dict[str, str]


def read_challenges(header: str) -> list[Challenge]:
    """Reads ``WWW-Authenticate``; several headers are joined by commas. What cannot be read ends the list.

    Args:
        header: The value, from a stranger.
    """
    found: list[Challenge] = []
    at, end = 0, min(len(header), _CHALLENGE_MAX_CHARACTERS)
    while at < end:
        scheme = _SCHEME.match(header, at, end)
        if scheme is None:
            break
        at = scheme.end()
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(header, at, end):
            value = parameter[3] if parameter[2] is None else re.sub(r"\\(.)", r"\1", parameter[2])
            parameters.setdefault(parameter[1].lower(), value)
            at = parameter.end()
        if not parameters and (blob := _TOKEN68.match(header, at, end)):
            at = blob.end()
        found.append(Challenge(scheme[1].lower(), parameters))
    return found


class Authorization:
    """What one client says about itself to one registry."""

    def __init__(self, origin: str, *, token: str = "", username: str = "", password: str = "") -> None:
        """Args:
        origin: Scheme, host and port of the registry.
        token: A bearer token to send as it is.
        username: For Basic, and for the token service that the registry names.
        password: Belongs to the user name.

        Raises:
            TransferError: The credentials hold characters that a header cannot carry, or are of both kinds.
        """
        if token and (username or password):
            raise TransferError("give a token, or a user name and password, not both")
        if token and not _BEARER_TOKEN.match(token):
            raise TransferError(
                "the token holds characters that no token has; was a line break or a space copied along?"
            )
        if ":" in username or not (username + password).isprintable():
            raise TransferError("a user name holds no colon, and neither it nor the password a control character")
        self._origin = urlsplit(origin)
        self._given = f"Bearer {token}" if token else ""
        self._basic = ""
        if username:
            self._basic = "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
        # What is sent now, and until when; fetched tokens by what they were asked for.
        self._current = self._given
        self._until: float | None = None
        self._fetched: dict[str, tuple[str, float]] = {}

    def header(self, now: float) -> str:
        """The value of ``Authorization`` for the registry; empty where nothing is to be said.

        Args:
            now: Seconds on a clock that only goes forward.
        """
        return "" if self._until is not None and now >= self._until else self._current

    def learn(self, header: str, now: float, fetch: Fetch) -> bool:
        """Answers a 401.

        Args:
            header: Its ``WWW-Authenticate``.
            now: Seconds on a clock that only goes forward.
            fetch: Asks a token service: address and headers in, body out.

        Returns:
            Whether ``header`` now says something else than before, so that asking again has a sense.

        Raises:
            TransferError: The token service is one that credentials must not go to, or its answer is no token.
        """
        before = self.header(now)
        for challenge in read_challenges(header):
            if challenge.scheme == "bearer" and "realm" in challenge.parameters and not self._given:
                self._current, self._until = self._bearer(challenge.parameters, before, now, fetch)
                return self._current != before
            if challenge.scheme == "basic" and self._basic:
                self._current, self._until = self._basic, None
                return self._current != before
        return False

    def _bearer(self, parameters: dict[str, str], refused: str, now: float, fetch: Fetch) -> tuple[str, float]:
        address = self._service(parameters)
        value, until = self._fetched.get(address, ("", 0.0))
        if not value or value == refused or now >= until:
            token, life = _read_token(fetch(address, {"Authorization": self._basic} if self._basic else {}))
            value, until = f"Bearer {token}", now + 0.8 * life
            self._fetched[address] = value, until
        return value, until

    def _service(self, parameters: dict[str, str]) -> str:
        """Address of the token service, with what is asked of it."""
        realm = parameters["realm"]
        try:
            parts = urlsplit(realm)
            same_plain_host = self._origin.scheme == "http" == parts.scheme and parts.hostname == self._origin.hostname
            good = bool(parts.hostname) and "@" not in parts.netloc and (parts.scheme == "https" or same_plain_host)
        except ValueError:
            good = False
        if not good:
            raise TransferError(
                f"{self._origin.netloc} names the token service {realm[:80]!r}, which is neither behind TLS nor, for "
                "a registry on plain http, on the same host; credentials are not sent there",
                code="bad_realm",
            )
        asked = [("service", parameters["service"])] if "service" in parameters else []
        asked += [("scope", scope) for scope in parameters.get("scope", "").split()]
        query = "&".join(f"{key}={quote(value, safe=':/,*')}" for key, value in asked)
        return realm + (("&" if parts.query else "?") + query if query else "")


def _read_token(data: bytes) -> tuple[str, float]:
    try:
        document = parse_object(data, "the token service's answer")
    except ArchiveError as error:
        raise TransferError(f"no token: {error}", code="bad_token") from error
    token, life = document.get("token") or document.get("access_token"), document.get("expires_in")
    if not isinstance(token, str) or not _BEARER_TOKEN.match(token):
        raise TransferError("the token service's answer holds no token", code="bad_token")
    known = isinstance(life, (int, float)) and not isinstance(life, bool) and life > 0
    return token, float(life) if known and isinstance(life, (int, float)) else _DEFAULT_LIFE_SECONDS
