"""A signed order: this device shall activate this bundle.

1. An order is a small JSON document with a number, ``seq``, that rises with every order; it is signed like a bundle, by
   keys of the same keyring, over a type of its own.
2. A box carries out an order once: numbers that are not newer are replays. To go back to an old bundle on purpose is a
   newer order that names it.
3. An order may expire. The box compares with the latest time it has ever seen, so that a clock that starts in 1970 does
   not make an old order new.

Source: the deployment records of Uptane, reduced to one bundle and one number.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgeml.bundles.documents import canonical, parse_canonical, parse_object
from edgeml.bundles.keyring import Keyring, time_of
from edgeml.bundles.signing import PrivateKey, Signature
from edgeml.bundles.state import bare
from edgeml.errors import OrderError, SignatureError, StateError

ORDER_TYPE = "application/vnd.edgeml.order.v1+json"
MAX_BYTES = 16 * 1024
_KEYS = {"model", "digest", "seq", "device", "expires"}


@dataclass(frozen=True, slots=True)
class Order:
    """What a box is told to activate.

    Attributes:
        model: Name of the model.
        digest: Hex digest of the bundle.
        seq: The order's number, 1 or more.
        device: Name of the device it is for; ``*`` for all.
        expires: ``YYYY-MM-DDTHH:MM:SSZ``, from when on it is not carried out; None for never.
        signatures: Over the canonical document.
    """

    model: str
    digest: str
    seq: int
    device: str = "*"
    expires: str | None = None
    signatures: tuple[Signature, ...] = ()

    def __post_init__(self) -> None:
        if self.seq < 1:
            raise OrderError(f"an order's seq is 1 or more, not {self.seq}")
        if self.expires is not None:
            time_of(self.expires, "the order's expires")

    def sign(self, *keys: PrivateKey) -> Order:
        """The same order with signatures added."""
        added = [key.sign(ORDER_TYPE, self._payload()) for key in keys]
        ids = {signature.keyid for signature in added}
        kept = [signature for signature in self.signatures if signature.keyid not in ids]
        return replace(self, signatures=tuple(sorted([*kept, *added], key=lambda each: each.keyid)))

    def check(self, keyring: Keyring, *, now: float) -> Order:
        """Checks that enough trusted keys have signed, and that it has not expired.

        Args:
            keyring: The keys to trust.
            now: The latest time that the box knows of, in seconds since 1970.

        Raises:
            SignatureError: The signatures are too few.
            OrderError: It has expired.
        """
        keyring.check(ORDER_TYPE, self._payload(), self.signatures, now=now)
        if self.expires is not None and now >= time_of(self.expires, "the order's expires"):
            raise OrderError(f"order {self.seq} expired at {self.expires}; give a new one")
        return self

    def to_bytes(self) -> bytes:
        """The order as it is sent: a DSSE envelope."""
        return canonical(
            {
                "payload": base64.b64encode(self._payload()).decode(),
                "payloadType": ORDER_TYPE,
                "signatures": [
                    {"keyid": each.keyid, "sig": base64.b64encode(each.value).decode()} for each in self.signatures
                ],
            },
            "the order",
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Order:
        """Reads an order; nothing in it may be believed before ``check``.

        Raises:
            OrderError: It is no order; the message says why.
        """
        if len(data) > MAX_BYTES:
            raise OrderError(f"an order has at most {MAX_BYTES} bytes, not {len(data)}")
        try:
            envelope = parse_object(data, "the order", error=SignatureError)
            if envelope.get("payloadType") != ORDER_TYPE:
                raise OrderError(f"this is no order: its payloadType is {str(envelope.get('payloadType'))[:80]!r}")
            payload = parse_canonical(_binary(envelope["payload"]), "the order", error=SignatureError)
            signatures = tuple(Signature(str(each["keyid"]), _binary(each["sig"])) for each in envelope["signatures"])
            return cls._from(payload, signatures)
        except (SignatureError, StateError, KeyError, TypeError, ValueError) as error:
            raise OrderError(f"this is no order: {error}") from error

    @classmethod
    def _from(cls, payload: dict[str, Any], signatures: Sequence[Signature]) -> Order:
        unknown = sorted(set(payload) - _KEYS)
        if unknown:
            raise OrderError(f"the order has an unknown key {unknown[0]!r}")
        seq, expires = payload["seq"], payload.get("expires")
        if isinstance(seq, bool) or not isinstance(seq, int):
            raise OrderError("the order's seq must be a whole number")
        if not all(isinstance(payload[key], str) for key in ("model", "digest", "device")):
            raise OrderError("the order's model, digest and device must be texts")
        if expires is not None and not isinstance(expires, str):
            raise OrderError("the order's expires must be a text")
        return cls(payload["model"], bare(payload["digest"]), seq, payload["device"], expires, tuple(signatures))

    def _payload(self) -> bytes:
        document: dict[str, Any] = {
            "model": self.model,
            "digest": f"sha256:{self.digest}",
            "seq": self.seq,
            "device": self.device,
        }
        if self.expires is not None:
            document["expires"] = self.expires
        return canonical(document, "the order")


def _binary(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise OrderError("the order holds something that is not base64") from None
