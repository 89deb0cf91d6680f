"""The keys that a box trusts, and how many of them must have signed.

1. A keyring is a JSON file: ``version``, ``threshold``, ``keys`` and, where wanted, ``expires`` and ``signatures``.
2. A document is trusted when at least ``threshold`` *different* keys of the keyring have signed it. Signatures by
   unknown keys, and signatures that do not fit, count nothing.
3. An expired keyring trusts nothing new. The caller gives the time: a box without a clock must still start.
4. A keyring is replaced only by the one with the next version number, signed by the threshold of the old one and by the
   threshold of the new one (the root rotation rule of The Update Framework 1.0, section 5.3). An expired keyring may
   still hand over to its successor.

No file is written here but through ``files``.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgeml.bundles.documents import canonical, parse_object
from edgeml.bundles.files import read_file, replace_file
from edgeml.bundles.signing import SIGNATURE_BYTES, PrivateKey, PublicKey, Signature
from edgeml.errors import ArchiveError, SignatureError

KEYRING_TYPE = "application/vnd.edgeml.keyring.v1+json"
MAX_BYTES = 64 * 1024
MAX_KEYS = 32

_KEYS = {"version", "threshold", "keys", "expires", "signatures"}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys that a box trusts.

    Attributes:
        keys: The trusted keys, each once.
        threshold: How many of them must have signed.
        version: Number of this keyring; its successor has the next one.
        expires: ``YYYY-MM-DDTHH:MM:SSZ``, from when on nothing new is trusted; None for never.
        signatures: By keys of this keyring and of the one before; needed only to hand over.
    """

    keys: tuple[PublicKey, ...]
    threshold: int = 1
    version: int = 1
    expires: str | None = None
    signatures: tuple[Signature, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= len(self.keys) <= MAX_KEYS:
            raise SignatureError(f"a keyring has 1 to {MAX_KEYS} keys, not {len(self.keys)}")
        if len({key.keyid for key in self.keys}) != len(self.keys):
            raise SignatureError("a keyring names a key twice")
        if not 1 <= self.threshold <= len(self.keys):
            raise SignatureError(f"a keyring of {len(self.keys)} keys cannot have the threshold {self.threshold}")
        if self.version < 1:
            raise SignatureError("a keyring's version is 1 or more")
        if self.expires is not None:
            time_of(self.expires, "the keyring's expires")

    @classmethod
    def from_bytes(cls, data: bytes) -> Keyring:
        """Reads a keyring.

        Raises:
            SignatureError: The bytes are not a keyring; the message says why.
        """
        document = parse_object(data, "the keyring", error=SignatureError)
        unknown = sorted(set(document) - _KEYS)
        if unknown:
            raise SignatureError(f"the keyring has an unknown key {unknown[0]!r}")
        expires = document.get("expires")
        if expires is not None and not isinstance(expires, str):
            raise SignatureError("the keyring's expires must be a text")
        return cls(
            keys=tuple(_public(item) for item in _objects(document, "keys")),
            threshold=_whole(document, "threshold"),
            version=_whole(document, "version"),
            expires=expires,
            signatures=tuple(_signature(item) for item in _objects(document, "signatures", optional=True)),
        )

    @classmethod
    def read(cls, path: str | Path) -> Keyring:
        """Reads a keyring file.

        Raises:
            SignatureError: The file is not a keyring.
            OSError: It does not exist or cannot be read.
        """
        try:
            data = read_file(path, max_bytes=MAX_BYTES)
        except ArchiveError as error:
            raise SignatureError(f"the keyring cannot be read: {error}") from error
        try:
            return cls.from_bytes(data)
        except SignatureError as error:
            raise SignatureError(f"{path}: {error}") from error

    def to_bytes(self) -> bytes:
        """The keyring as a file, indented for people; what is signed is the canonical form without signatures."""
        document = self._document()
        if self.signatures:
            document["signatures"] = [
                {"keyid": signature.keyid, "sig": base64.b64encode(signature.value).decode()}
                for signature in self.signatures
            ]
        return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()

    def save(self, path: str | Path) -> None:
        """Writes the keyring, durably and as a whole.

        Raises:
            OSError: The disk refused; the old file, if any, is untouched.
        """
        replace_file(path, [self.to_bytes()])

    def check(
        self, payload_type: str, payload: bytes, signatures: Iterable[Signature], *, now: float | None = None
    ) -> frozenset[str]:
        """Checks that enough trusted keys have signed a payload.

        Args:
            payload_type: Media type of the payload.
            payload: The exact bytes.
            signatures: What came with it.
            now: Seconds since 1970 by the best clock that the caller has; None asks the system clock.

        Returns:
            Ids of the keys whose signatures are good.

        Raises:
            SignatureError: The keyring has expired, or fewer than ``threshold`` of its keys have signed.
        """
        now = time.time() if now is None else now
        if self.expires is not None and now >= time_of(self.expires, "the keyring's expires"):
            raise SignatureError(
                f"the keyring (version {self.version}) expired at {self.expires}; install its successor"
            )
        return self._count(payload_type, payload, tuple(signatures))

    def sign(self, *keys: PrivateKey) -> Keyring:
        """This keyring with signatures added, for handing over.

        Args:
            keys: Private keys of this keyring or of the one before.
        """
        added = [key.sign(KEYRING_TYPE, self._payload()) for key in keys]
        ids = {signature.keyid for signature in added}
        kept = [signature for signature in self.signatures if signature.keyid not in ids]
        return replace(self, signatures=tuple(sorted([*kept, *added], key=lambda signature: signature.keyid)))

    def accept(self, successor: Keyring) -> Keyring:
        """Checks that another keyring may take this one's place.

        Args:
            successor: The keyring with the next version number.

        Returns:
            The successor.

        Raises:
            SignatureError: Its version is not the next one, or the threshold of the old or of the new keys is not met.
        """
        if successor.version != self.version + 1:
            raise SignatureError(
                f"keyring {self.version} can be followed by {self.version + 1}, not {successor.version}"
            )
        for keyring, which in ((self, "old"), (successor, "new")):
            try:
                keyring._count(KEYRING_TYPE, successor._payload(), successor.signatures)
            except SignatureError as error:
                raise SignatureError(f"keyring {successor.version}, {which} keys: {error}") from error
        return successor

    def _count(self, payload_type: str, payload: bytes, signatures: tuple[Signature, ...]) -> frozenset[str]:
        trusted = {key.keyid: key for key in self.keys}
        known = [signature for signature in signatures if signature.keyid in trusted]
        good = frozenset(
            signature.keyid
            for signature in known
            if trusted[signature.keyid].accepts(signature.value, payload_type, payload)
        )
        if len(good) >= self.threshold:
            return good
        bad = [signature for signature in known if signature.keyid not in good]
        if not signatures:
            found = "it is not signed at all"
        elif not known:
            found = f"it is signed only by unknown keys ({_list(signatures)})"
        elif bad:
            found = f"the signature by {_list(bad)} does not fit these bytes"
        else:
            found = f"only {_list(known)} signed"
        raise SignatureError(f"signatures by {self.threshold} of {len(self.keys)} trusted keys are needed: {found}")

    def _document(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "version": self.version,
            "threshold": self.threshold,
            "keys": [
                {"keyid": key.keyid, "public": base64.b64encode(key.raw).decode()}
                for key in sorted(self.keys, key=lambda key: key.keyid)
            ],
        }
        if self.expires is not None:
            document["expires"] = self.expires
        return document

    def _payload(self) -> bytes:
        return canonical(self._document(), "the keyring", error=SignatureError)


def rotate(
    old: Keyring,
    *,
    keys: Sequence[PublicKey],
    signers: Sequence[PrivateKey],
    threshold: int = 1,
    expires: str | None = None,
) -> Keyring:
    """Makes the successor of a keyring.

    Args:
        old: The keyring that boxes trust now.
        keys: The keys to trust from now on.
        signers: Private keys: at least the threshold of the old and of the new keyring.
        threshold: How many of the new keys must sign.
        expires: ``YYYY-MM-DDTHH:MM:SSZ``; None for never.

    Raises:
        SignatureError: The signers are too few for the old or for the new keyring.
    """
    successor = Keyring(tuple(keys), threshold=threshold, version=old.version + 1, expires=expires)
    return old.accept(successor.sign(*signers))


def time_of(text: str, what: str) -> float:
    """Reads a time as it stands in signed documents.

    Args:
        text: ``YYYY-MM-DDTHH:MM:SSZ``.
        what: What the time is called in messages.

    Returns:
        Seconds since 1970.

    Raises:
        SignatureError: It does not look like that.
    """
    try:
        if not _TIME.match(text):
            raise ValueError(text)
        return datetime.strptime(text, _TIME_FORMAT).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise SignatureError(f"{what} must look like 2027-01-31T00:00:00Z, not {text[:40]!r}") from None


def _list(signatures: Sequence[Signature]) -> str:
    return ", ".join(sorted({signature.keyid[:16] for signature in signatures}))


def _whole(document: dict[str, Any], key: str) -> int:
    value = document.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise SignatureError(f"the keyring's {key} must be a whole number")
    return value


def _objects(document: dict[str, Any], key: str, *, optional: bool = False) -> list[dict[str, Any]]:
    items = document.get(key, [] if optional else None)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items) or len(items) > 2 * MAX_KEYS:
        raise SignatureError(f"the keyring's {key} must be a list of at most {2 * MAX_KEYS} objects")
    return items


def _binary(item: dict[str, Any], key: str, size: int) -> bytes:
    try:
        data = base64.b64decode(item[key], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error):
        raise SignatureError(f"the keyring's {key} must be base64") from None
    if len(data) != size:
        raise SignatureError(f"the keyring's {key} must have {size} bytes, not {len(data)}")
    return data


def _public(item: dict[str, Any]) -> PublicKey:
    key = PublicKey(_binary(item, "public", 32))
    if item.get("keyid", key.keyid) != key.keyid:
        raise SignatureError(f"the keyring's key {key.keyid[:16]} is listed under another id")
    return key


def _signature(item: dict[str, Any]) -> Signature:
    keyid = item.get("keyid")
    if not isinstance(keyid, str):
        raise SignatureError("the keyring has a signature without a keyid")
    return Signature(keyid, _binary(item, "sig", SIGNATURE_BYTES))
