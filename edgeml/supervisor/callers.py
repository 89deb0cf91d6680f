"""Who calls: a token, or a client certificate that the server's TLS has verified.

A token is taken as ``Authorization: Bearer TOKEN``, or as the password of ``Basic`` with any user, which is what
registry clients can send. Where one is sent it counts, and it must be good; otherwise the certificate does.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeml.errors import RequestError
from edgeml.supervisor.tokens import Tokens

# Written by ``management`` after the handshake; no header can have such a name.
CLIENT_SUBJECT = "edgeml.client_subject"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        name: As the journal calls it: ``api:<token's name>``, or ``api:<subject of the certificate>``; empty for
            somebody unknown, who may see what is open to all.
        scopes: What it may do.
    """

    name: str = ""
    scopes: tuple[str, ...] = ()

    def may(self, scope: str) -> bool:
        """Whether it may do what asks for a scope; an empty one is open to all."""
        return not scope or scope in self.scopes


class Callers:
    """Finds out who calls.

    Args:
        tokens: The tokens of the store.
        certificate_scopes: What a verified client certificate may do by itself; empty asks for a token beside it.
    """

    def __init__(self, tokens: Tokens, *, certificate_scopes: tuple[str, ...] = ()) -> None:
        self._tokens = tokens
        self._certificate_scopes = certificate_scopes

    def find(self, environ: Mapping[str, Any]) -> Caller:
        """Who has sent a request.

        Raises:
            RequestError: Code ``unauthorized``: a token was sent that is none, or one that was revoked.
        """
        said = str(environ.get("HTTP_AUTHORIZATION", ""))
        if said:
            token = self._tokens.check(_secret(said))
            if token is None:
                raise RequestError("this token is not known here; it may have been revoked", code="unauthorized")
            return Caller(f"api:{token.name}", token.scopes)
        subject = str(environ.get(CLIENT_SUBJECT, ""))
        return Caller(f"api:{subject}", self._certificate_scopes) if subject else Caller()


def check(caller: Caller, scope: str) -> None:
    """Refuses a caller who may not do what asks for a scope.

    Raises:
        RequestError: ``unauthorized`` for somebody unknown, ``forbidden`` for somebody who may not.
    """
    if caller.may(scope):
        return
    if not caller.scopes:
        raise RequestError("a token is needed; make one on the box with 'edgeml token create'", code="unauthorized")
    raise RequestError(f"{caller.name} may not do this: its token has no scope {scope!r}", code="forbidden")


def check_origin(environ: Mapping[str, Any]) -> None:
    """Refuses a change that a page of somebody else asks a browser for: browsers send passwords and certificates along.

    Raises:
        RequestError: Code ``forbidden``.
    """
    origin = str(environ.get("HTTP_ORIGIN", ""))
    if origin and environ["REQUEST_METHOD"] not in ("GET", "HEAD", "OPTIONS"):
        if origin.partition("://")[2] != environ.get("HTTP_HOST", ""):
            raise RequestError(f"a page of {origin[:80]} may not change anything here", code="forbidden")


def _secret(said: str) -> str:
    kind, _, value = said.partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    if kind.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            pass
    return ""
