"""Ed25519 keys, and signatures over the DSSE pre-authentication encoding. The only file that knows ``cryptography``.

A signature is never over bare bytes but over ``DSSEv1 <length> <type> <length> <bytes>``, so a signature over one
type of document can never be shown as one over another.

``cryptography`` is imported at first use: it costs 30 ms and several MB, which a box that verifies nothing should
not pay.

Sources: DSSE v1 protocol (secure-systems-lab/dsse, ``protocol.md``); RFC 8032 (Ed25519); RFC 5958 (PKCS #8).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgeml.errors import SignatureError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNATURE_BYTES = 64
PUBLIC_BYTES = 32


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature by one key.

    Attributes:
        keyid: Id of the key that is said to have signed.
        value: The 64 bytes of the signature.
    """

    keyid: str
    value: bytes


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that verifies.

    Attributes:
        raw: The 32 bytes of the key.
        keyid: sha256 of ``raw``, 64 hex digits.
    """

    raw: bytes
    keyid: str = field(init=False)

    def __post_init__(self) -> None:
        if len(self.raw) != PUBLIC_BYTES:
            raise SignatureError(f"an Ed25519 public key has {PUBLIC_BYTES} bytes, not {len(self.raw)}")
        object.__setattr__(self, "keyid", hashlib.sha256(self.raw).hexdigest())

    @classmethod
    def from_pem(cls, data: bytes) -> PublicKey:
        """Reads a PEM public key (SubjectPublicKeyInfo).

        Raises:
            SignatureError: It is not an Ed25519 public key in PEM.
        """
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        try:
            key = load_pem_public_key(data)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise SignatureError(f"this is not a public key in PEM: {error}") from error
        if not isinstance(key, Ed25519PublicKey):
            raise SignatureError("the public key is not an Ed25519 key")
        return cls(key.public_bytes_raw())

    def to_pem(self) -> bytes:
        """The key as PEM (SubjectPublicKeyInfo), as OpenSSL reads it."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        key = Ed25519PublicKey.from_public_bytes(self.raw)
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def accepts(self, signature: bytes, payload_type: str, payload: bytes) -> bool:
        """Whether a signature is this key's over a payload.

        Args:
            signature: 64 bytes.
            payload_type: Media type of the payload.
            payload: The exact bytes.
        """
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, pae(payload_type, payload))
        except (InvalidSignature, ValueError):
            return False
        return True


class PrivateKey:
    """A key that signs. It shows itself nowhere: not in ``repr``, not in messages.

    Attributes:
        public: The public half.
        keyid: Its id.
    """

    __slots__ = ("_key", "keyid", "public")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key().public_bytes_raw())
        self.keyid = self.public.keyid

    def __repr__(self) -> str:
        return f"PrivateKey({self.keyid[:16]}...)"

    @classmethod
    def from_seed(cls, seed: bytes) -> PrivateKey:
        """The key that RFC 8032 derives from 32 secret bytes."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def from_pem(cls, data: bytes, passphrase: str | None = None) -> PrivateKey:
        """Reads a private key (PEM, PKCS #8).

        Args:
            data: The file's bytes.
            passphrase: What the file is encrypted with; None where it is not.

        Raises:
            SignatureError: It is not an Ed25519 key, or the passphrase is missing, wrong or not needed.
        """
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key = load_pem_private_key(data, None if passphrase is None else passphrase.encode())
        except TypeError as error:  # how cryptography says: a passphrase is missing, or was given for nothing
            raise SignatureError(f"the private key cannot be read: {error}") from error
        except (ValueError, UnsupportedAlgorithm) as error:
            reason = "is the passphrase right?" if is_encrypted(data) else "it is not a private key in PEM"
            raise SignatureError(f"the private key cannot be read: {reason}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise SignatureError("the private key is not an Ed25519 key")
        return cls(key)

    def to_pem(self, passphrase: str | None = None) -> bytes:
        """The key as PEM (PKCS #8).

        Args:
            passphrase: What to encrypt it with; None writes it in the open.
        """
        from cryptography.hazmat.primitives.serialization import (
            BestAvailableEncryption,
            Encoding,
            KeySerializationEncryption,
            NoEncryption,
            PrivateFormat,
        )

        how: KeySerializationEncryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)

    def sign(self, payload_type: str, payload: bytes) -> Signature:
        """Signs a payload.

        Args:
            payload_type: Media type of the payload.
            payload: The exact bytes.
        """
        return Signature(self.keyid, self._key.sign(pae(payload_type, payload)))


def generate_key() -> PrivateKey:
    """Makes a new key from the system's source of randomness."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return PrivateKey(Ed25519PrivateKey.generate())


def is_encrypted(pem: bytes) -> bool:
    """Whether a private key file asks for a passphrase."""
    return b"ENCRYPTED" in pem


def pae(payload_type: str, payload: bytes) -> bytes:
    """The DSSE pre-authentication encoding: what is really signed.

    Args:
        payload_type: Media type of the payload.
        payload: The exact bytes.
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
