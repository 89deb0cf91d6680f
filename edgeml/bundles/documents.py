"""JSON of signed documents: strict when read, canonical when written.

1. UTF-8 only, no byte-order mark.
2. Nesting is bounded before the parser sees a byte.
3. A key that appears twice, NaN, Infinity and numbers beyond float64 are errors: two readers must never see two
   documents.
4. Canonical form: keys sorted, no spaces, characters beyond ASCII as they are; the same document is always the same
   bytes.
"""

from __future__ import annotations

import json
import math
from typing import Any

from edgeml.errors import ArchiveError, BundleError, EdgemlError

MAX_DEPTH = 32

_NOT_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))
_ONE_KIND = bytes.maketrans(b"{}", b"[]")


def canonical(document: Any, where: str, *, error: type[EdgemlError] = BundleError) -> bytes:
    """Writes a document in its one form.

    Args:
        document: Dicts with text keys, lists, texts, finite numbers, booleans and None.
        where: What the document is called in messages.
        error: What is raised.

    Raises:
        EdgemlError: The document holds something that JSON cannot say (``error`` says which kind).
    """
    try:
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode()
    except (TypeError, ValueError, RecursionError) as reason:
        raise error(f"{where} cannot be written as JSON: {reason}") from reason


def parse(data: bytes, where: str, *, error: type[EdgemlError] = ArchiveError) -> Any:
    """Reads a document.

    Args:
        data: The bytes; their number was bounded before.
        where: What the document is called in messages.
        error: What is raised.

    Raises:
        EdgemlError: The bytes are not strict JSON (``error`` says which kind).
    """
    if _deeper_than(data, MAX_DEPTH):
        raise error(f"{where} is nested deeper than {MAX_DEPTH} levels")
    try:
        return _STRICT.decode(data.decode())
    except (ValueError, RecursionError) as reason:
        raise error(f"{where} is not strict JSON: {reason}") from reason


def parse_object(data: bytes, where: str, *, error: type[EdgemlError] = ArchiveError) -> dict[str, Any]:
    """Reads a document that must be one JSON object; otherwise as ``parse``."""
    document = parse(data, where, error=error)
    if not isinstance(document, dict):
        raise error(f"{where} is not a JSON object")
    return document


def parse_canonical(data: bytes, where: str, *, error: type[EdgemlError] = ArchiveError) -> dict[str, Any]:
    """Reads one JSON object that must be in canonical form; otherwise as ``parse``."""
    document = parse_object(data, where, error=error)
    if canonical(document, where, error=error) != data:
        raise error(f"{where} is not in canonical form (keys sorted, no spaces, UTF-8)")
    return document


def _deeper_than(data: bytes, levels: int) -> bool:
    if data.count(b"[") + data.count(b"{") <= levels:
        return False
    # Without escaped characters every second piece between quotes lies outside a string.
    outside = b"".join(data.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    brackets = outside.translate(_ONE_KIND, _NOT_BRACKETS)
    for _ in range(levels):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")  # takes the innermost level away
    return bool(brackets)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"key {key[:80]!r} appears twice")
            seen.add(key)
    return document


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"number {text[:40]} is beyond float64")
    return number


# Made once: a golden file has a document on every line.
_STRICT = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
