"""Tokens: who may speak to the management plane, and about what.

1. A token is ``edgeml_`` and 256 random bits. It is shown once, when it is made; ``tokens.json`` keeps its sha256.
2. One round of sha256 is right here: slow hashes protect words that people choose, and nobody guesses 256 random bits.
   It also costs a small box nothing, so asking with wrong tokens is no way to keep it busy.
3. A token that came is compared with every entry, each in constant time.
4. The file is replaced as a whole, readable by its owner only, and read again when it has changed: a token that is
   revoked on the command line is worth nothing in a running service from the next request on.
5. A token is the right to ask. What a bundle or an order may do is decided by its signatures, whoever brings it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgeml.bundles.disk import SYSTEM, Disk
from edgeml.bundles.documents import canonical, parse_object
from edgeml.bundles.files import replace_file
from edgeml.bundles.lock_holder import hanging
from edgeml.errors import ConflictError, NotInstalledError, RequestError, StateError

FILE = "tokens.json"
# ``read`` is in every token; the others are granted one by one.
SCOPES = ("read", "push", "release")
PREFIX = "edgeml_"

_MOST_TOKENS = 256
_MAX_BYTES = 256 * 1024
_FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_HASH = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token.

    Attributes:
        name: Its name, for people and for the journal.
        scopes: What it may do: ``read``, ``push``, ``release``.
        created: When, in seconds since 1970 by the box's clock.
        hashed: sha256 of the token, 64 hex digits.
    """

    name: str
    scopes: tuple[str, ...]
    created: float
    hashed: str


class Tokens:
    """The tokens of one store.

    Args:
        root: Folder of the store.
        disk: Where.
        clock: Seconds since 1970.
    """

    def __init__(self, root: Path, *, disk: Disk = SYSTEM, clock: Callable[[], float] = time.time) -> None:
        self._path = root / FILE
        self._disk = disk
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int, int] | None = None
        self._known: tuple[Token, ...] = ()

    def create(self, name: str, scopes: Sequence[str]) -> str:
        """Makes a token.

        Args:
            name: 1 to 64 letters, digits and ``. _ -``.
            scopes: Of ``SCOPES``; ``read`` is always added.

        Returns:
            The token. It is not kept anywhere.

        Raises:
            RequestError: Name or scopes are no such thing.
            ConflictError: The name is taken, or there are too many tokens.
            OSError: The disk refused.
        """
        if not _NAME.match(name):
            raise RequestError(f"a token's name is 1 to 64 letters, digits and . _ -, not {name[:80]!r}", field="name")
        unknown = sorted(set(scopes) - set(SCOPES))
        if unknown:
            raise RequestError(f"there is no scope {unknown[0]!r}; there are {', '.join(SCOPES)}", field="scopes")
        secret = PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
        granted = tuple(scope for scope in SCOPES if scope == "read" or scope in scopes)
        with self._changing():
            known = self.list()
            if any(token.name == name for token in known):
                raise ConflictError(f"there is a token {name!r} already; revoke it, or take another name")
            if len(known) >= _MOST_TOKENS:
                raise ConflictError(f"there are {_MOST_TOKENS} tokens already; revoke some")
            self._write((*known, Token(name, granted, self._clock(), _hash(secret))))
        return secret

    def revoke(self, name: str) -> None:
        """Takes a token's worth away, from the next request on.

        Raises:
            NotInstalledError: There is no such token.
            OSError: The disk refused.
        """
        with self._changing():
            known = self.list()
            left = tuple(token for token in known if token.name != name)
            if len(left) == len(known):
                raise NotInstalledError(f"there is no token {name[:80]!r}; see 'edgeml token list'")
            self._write(left)

    def list(self) -> tuple[Token, ...]:
        """All tokens, in the order of making.

        Raises:
            StateError: The file is damaged.
            OSError: It cannot be read.
        """
        with self._lock:
            try:
                found = os.stat(self._path)
            except FileNotFoundError:
                self._seen, self._known = None, ()
                return ()
            # The inode too: a replacement within one tick of the clock is still another file.
            seen = (found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)
            if seen != self._seen:
                self._known = _parsed(self._disk.read(self._path, _MAX_BYTES))
                self._seen = seen
            return self._known

    def check(self, secret: str) -> Token | None:
        """The token whose secret this is; None where it is none.

        Raises:
            StateError: The file is damaged: nobody gets in.
            OSError: It cannot be read.
        """
        hashed = _hash(secret)
        found = None
        for token in self.list():
            if hmac.compare_digest(token.hashed, hashed):
                found = token
        return found

    @contextmanager
    def _changing(self) -> Iterator[None]:
        path = self._path.with_name("tokens.lock")
        with self._disk.lock(path, wait=True) as ours:
            if not ours:
                raise ConflictError(hanging(path))
            yield

    def _write(self, tokens: Sequence[Token]) -> None:
        document = {
            "format": _FORMAT,
            "tokens": [
                {"name": each.name, "scopes": list(each.scopes), "created": each.created, "sha256": each.hashed}
                for each in tokens
            ],
        }
        replace_file(self._path, [canonical(document, FILE, error=StateError)], mode=0o600, disk=self._disk)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _parsed(data: bytes) -> tuple[Token, ...]:
    document = parse_object(data, FILE, error=StateError)
    if document.get("format") != _FORMAT:
        raise StateError(f"{FILE} has format {document.get('format')!r}; this edgeml reads {_FORMAT}")
    try:
        tokens = tuple(
            Token(str(each["name"]), tuple(map(str, each["scopes"])), float(each["created"]), str(each["sha256"]))
            for each in document["tokens"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StateError(f"{FILE} does not make sense: {error!r}; remove it and make new tokens") from error
    if not all(_HASH.match(token.hashed) for token in tokens):
        raise StateError(f"{FILE} holds something that is no sha256; remove it and make new tokens")
    return tokens
