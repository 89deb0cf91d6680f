"""How a snapshot of a watch lies on the disk: packed JSON behind its digest, so that damage is seen first."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from typing import Any

MOST_BYTES = 64 * 1024 * 1024
_MAGIC = b"edgeml watch 1\n"


def packed_snapshot(document: Mapping[str, Any]) -> bytes:
    """The bytes of a snapshot.

    Args:
        document: JSON-ready.
    """
    packed = zlib.compress(json.dumps(document, separators=(",", ":")).encode(), 6)
    return _MAGIC + hashlib.sha256(packed).hexdigest().encode() + b"\n" + packed


def unpacked_snapshot(data: bytes) -> dict[str, Any]:
    """Reads them.

    Raises:
        ValueError: They are cut off, changed, or no snapshot.
    """
    head, _, packed = data[len(_MAGIC) :].partition(b"\n")
    if not data.startswith(_MAGIC) or hashlib.sha256(packed).hexdigest().encode() != head:
        raise ValueError("it is cut off or changed")
    unpacker = zlib.decompressobj()
    try:
        document = json.loads(unpacker.decompress(packed, MOST_BYTES))
    except (zlib.error, ValueError, RecursionError) as error:
        raise ValueError(f"it cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise ValueError("it is no object")
    return document
