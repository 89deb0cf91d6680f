"""The fields of a protobuf message, read where they lie: nothing is copied and no weight is looked at.

1. It is stricter than protobuf: groups, field number 0 and numbers in more bytes than they need at most are refused,
   so that no other reader can see another message in the same bytes.
2. Every length is checked against the message that holds it, before anything is skipped.
3. A ``Purse`` of fields bounds the work, however the bytes are arranged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from edgeml.errors import ModelError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
# Bytes of the longest number of 64 bits, and of the longest tag.
_LONGEST = 10
_LONGEST_TAG = 5

# Runs of an attribute's floats (field 7) and ints (field 8), which ONNX writes one field an element: a forest has
# millions of them, and a regular expression passes over them as fast as memory is read.
NUMBERS = re.compile(rb"(?:\x3d[\x00-\xff]{4})++|(?:\x40[\x80-\xff]{0,9}[\x00-\x7f])++")


class Purse:
    """How many fields may still be looked at.

    Args:
        fields: The most that one model may cost.
    """

    __slots__ = ("left", "size")

    def __init__(self, fields: int) -> None:
        self.size = self.left = fields

    def pay(self) -> None:
        """Takes one field.

        Raises:
            ModelError: None is left.
        """
        self.left -= 1
        if self.left < 0:
            raise ModelError(f"the ONNX model has more than {self.size} fields; make it smaller")


def fields(
    data: bytes, start: int, end: int, purse: Purse, *, skipping: re.Pattern[bytes] | None = None
) -> Iterator[tuple[int, int, int, int]]:
    """Reads one message.

    Args:
        data: The bytes of the whole model.
        start: Where the message begins.
        end: Where it ends.
        purse: Pays for each field.
        skipping: Runs of fields that nobody needs to see.

    Yields:
        Field number, wire type, and for ``BYTES`` where the content begins and ends, for ``VARINT`` the number and 0,
        otherwise 0 and 0.

    Raises:
        ModelError: The bytes are no message, or the purse is empty.
    """
    at = start
    while at < end:
        if skipping is not None and (run := skipping.match(data, at, end)):
            at = run.end()
            purse.pay()
            continue
        purse.pay()
        began = at
        tag, at = _number(data, at, end, _LONGEST_TAG)
        field, wire = tag >> 3, tag & 7
        if field == 0 or tag > 0xFFFFFFFF:
            raise _damaged(began, "a field without a number")
        if wire == VARINT:
            value, at = _number(data, at, end, _LONGEST)
            yield field, wire, value, 0
        elif wire == BYTES:
            length, at = _number(data, at, end, _LONGEST)
            if length > end - at:
                raise _damaged(began, f"a field of {length} bytes where {end - at} are left")
            yield field, wire, at, at + length
            at += length
        elif wire in (FIXED64, FIXED32):
            width = 8 if wire == FIXED64 else 4
            if width > end - at:
                raise _damaged(began, f"a number of {width} bytes where {end - at} are left")
            at += width
            yield field, wire, 0, 0
        else:
            raise _damaged(began, f"a field of the wire type {wire}")


def _number(data: bytes, at: int, end: int, longest: int) -> tuple[int, int]:
    """A number of seven bits a byte; gives it and where the next byte is."""
    if at < end and data[at] < 0x80:
        return data[at], at + 1
    value = 0
    for place in range(longest):
        if at + place >= end:
            raise _damaged(at, "a number that does not end")
        byte = data[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise _damaged(at, "a number that is too long")


def _damaged(at: int, found: str) -> ModelError:
    return ModelError(f"the ONNX model is damaged at byte {at}: {found}; export it again")
