"""The id of a prediction, read: all that is needed to count a label that comes later. Nothing is kept for it.

20 bytes, in base64url (RFC 4648, section 5) without padding; numbers are big-endian::

    1  format (1) in the upper half, then whether it stands for a number (1 bit), then the tier (2 bits)
    4  beginning of the bundle's digest
    4  rule: its index (2) and nothing; model and middle tier: index of the label (2) and how likely it was right (2: 0
       where nobody knew, else 1 + 65534 p); a number: float32
    8  number of the answer: 4 random bytes of whoever counts, 4 that count
    3  check of the bytes before: FNV-1a of 32 bits, its lowest 24, mixed with its highest 8

The check finds an id that was cut, mistyped or mixed up. It is no signature: whoever can reach the port can make ids,
as he can make requests.
"""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass

LETTERS = 27

_FORMAT = 1
_TIERS = ("rule", "model", "fallback", "middle")
_LAYOUT = struct.Struct(">B4s4sQ3s")
_STANDARD = str.maketrans("-_", "+/")


@dataclass(frozen=True, slots=True)
class PredictionId:
    """What an id says.

    Attributes:
        bundle: The first four bytes of the bundle's digest.
        tier: Who answered.
        index: Index of the label (model, middle) or of the rule; 0 for a number of the model, and for the fallback.
        chance: How likely the label was right, as the bundle's calibration had it; None where nobody knew.
        value: The number, in single precision; None where the answer was a label, and for rules and fallback.
        number: Different for each answer.
    """

    bundle: bytes
    tier: str
    index: int
    chance: float | None
    value: float | None
    number: int


def read_prediction_id(text: str) -> PredictionId:
    """Reads an id.

    Raises:
        ValueError: The text is no id.
    """
    try:
        raw = base64.b64decode(text + "=", altchars=b"-_", validate=True) if len(text) == LETTERS else b""
    except (ValueError, binascii.Error):
        raw = b""
    if len(raw) != _LAYOUT.size:
        raise ValueError(f"an id has {LETTERS} letters, digits, - and _")
    head, bundle, payload, number, check = _LAYOUT.unpack(raw)
    if check != _check(raw[:-3]) or base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != text:
        raise ValueError("it is not as it was given out; send it back whole and unchanged")
    is_value, tier = bool(head & 4), head & 3
    if head >> 4 != _FORMAT or head & 8 or tier >= len(_TIERS) or (is_value and tier != 1):
        raise ValueError("it is of another release of edgeml")
    index, chance = struct.unpack(">HH", payload)
    if is_value:
        return PredictionId(bundle, _TIERS[tier], 0, None, struct.unpack(">f", payload)[0], number)
    return PredictionId(bundle, _TIERS[tier], index, (chance - 1) / 65534 if chance else None, None, number)


def prediction_number(text: str) -> int | None:
    """The number of an answer by its id, unchecked; None where the text cannot be an id."""
    if len(text) != LETTERS:
        return None
    try:
        raw = binascii.a2b_base64(text.translate(_STANDARD) + "=", strict_mode=True)
    except (ValueError, binascii.Error):
        return None
    return int(_LAYOUT.unpack(raw)[3])


def _check(data: bytes) -> bytes:
    state = 2166136261
    for byte in data:
        state = (state ^ byte) * 16777619 & 0xFFFFFFFF
    return ((state ^ state >> 24) & 0xFFFFFF).to_bytes(3, "big")
