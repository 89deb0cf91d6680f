"""Looking through the JSON of an infer request before it is read: how deep it is, and whether a key stands twice.

1. The reader is made for one shape and takes the last of two equal keys; another reader on the way may take the first.
   So a request in which a key stands twice is refused.
2. Both are found by counting outside of strings: brackets for the depth; colons, one for each key, against the keys
   that are left when each object is read.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from edgeml.errors import RequestError

# Levels of a request beside its data, and of data (one for each dimension of a tensor).
ENVELOPE_LEVELS = 8
DATA_LEVELS = 8

_NOT_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_SPACE = b" \t\r\n"
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_items = msgspec.json.Decoder(list[msgspec.Raw]).decode


def check_nesting(body: bytes) -> None:
    """Refuses a body that is nested deeper than any infer request.

    Args:
        body: What may be JSON.

    Raises:
        RequestError: Code ``too_deep``.
    """
    levels = ENVELOPE_LEVELS + DATA_LEVELS
    if body.count(b"[") + body.count(b"{") <= levels:
        return
    brackets = _outside(body).translate(_ONE_KIND, _NOT_BRACKETS)
    for _ in range(levels):
        if not brackets:
            return
        brackets = brackets.replace(b"[]", b"")  # takes the innermost level away
    if brackets.startswith(b"["):
        raise RequestError(f"the body is nested more than {levels} levels deep", code="too_deep")


def check_keys(body: bytes) -> None:
    """Refuses a body in which a key stands twice in one object.

    Args:
        body: Valid JSON that ``check_nesting`` has seen.

    Raises:
        RequestError: Code ``bad_envelope``; names the key.
    """
    if _outside(body).count(b":") != _pairs(body):
        name = _repeated(body)
        raise RequestError(f"member {name!r} stands twice in one object; send it once", code="bad_envelope", field=name)


def _outside(body: bytes) -> bytes:
    """What stands outside of strings, for a body that is JSON."""
    if b"\\" in body:
        # Without escaped characters every second piece between quotes lies outside.
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(body.split(b'"')[::2])


def _pairs(raw: bytes) -> int:
    """Keys of an object and of all that it holds, where equal keys of one object count once."""
    first = raw.lstrip(_SPACE)[:1]
    if first == b"{":
        return sum(1 + _pairs(bytes(value)) for value in _members(raw).values())
    # Numbers are the bulk of a request, and no object hides among them.
    if first == b"[" and b"{" in raw:
        return sum(_pairs(bytes(value)) for value in _items(raw))
    return 0


def _repeated(body: bytes) -> str:
    found = [""]

    def look(pairs: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in pairs]
        found.extend(name for name in names if names.count(name) > 1)

    json.loads(body, object_pairs_hook=look)
    return found[min(1, len(found) - 1)][:80]
