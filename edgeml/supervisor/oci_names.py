"""Names, tags, digests and ranges as they stand in paths and headers of the OCI distribution interface."""

from __future__ import annotations

import re

from edgeml.errors import RequestError

# A repository is a model, so its name is a bundle's name.
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})\Z")
_FALLBACK_TAG = re.compile(r"sha256-[0-9a-f]{64}\Z")
_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?([0-9]{1,15})-([0-9]{1,15})(?:/(?:[0-9]{1,15}|\*))?\Z")
_RANGE = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})\Z")


def check_repository(name: str) -> str:
    """A model's name.

    Raises:
        RequestError: Code ``NAME_INVALID``.
    """
    if not _NAME.match(name):
        raise RequestError(f"{name[:80]!r} is no name of a model: 1 to 64 of a-z 0-9 . _ -", code="NAME_INVALID")
    return name


def hex_of(digest: str) -> str:
    """The hex digits of ``sha256:<hex>``.

    Raises:
        RequestError: Code ``DIGEST_INVALID``.
    """
    found = _DIGEST.match(digest)
    if found is None:
        raise RequestError(f"{digest[:80]!r} is no digest: sha256: and 64 hex digits", code="DIGEST_INVALID")
    return found[1]


def is_fallback_tag(reference: str) -> bool:
    """Whether older clients list signatures under this tag, ``sha256-<hex>``."""
    return _FALLBACK_TAG.match(reference) is not None


def check_reference_tag(tag: str) -> str:
    """A tag.

    Raises:
        RequestError: Code ``MANIFEST_INVALID``.
    """
    if not _TAG.match(tag):
        raise RequestError(f"{tag[:80]!r} is neither a tag nor a digest", code="MANIFEST_INVALID")
    return tag


def content_range(text: str) -> tuple[int, int] | None:
    """First and last byte of a chunk; None where the client does not say.

    Raises:
        RequestError: Code ``RANGE_INVALID``.
    """
    if not text:
        return None
    found = _CONTENT_RANGE.match(text)
    if found is None or int(found[2]) < int(found[1]):
        raise RequestError(f"Content-Range is first-last, not {text[:80]!r}", code="RANGE_INVALID")
    return int(found[1]), int(found[2])


def wanted_range(text: str, size: int) -> tuple[int, int] | None:
    """First byte of a blob that is asked for, and the one behind the last; None for all of it.

    Args:
        text: The ``Range`` header.
        size: Size of the blob, in bytes.

    Raises:
        RequestError: Code ``RANGE_INVALID``: the blob has no such bytes.
    """
    found = _RANGE.match(text)
    # Several ranges, or other units, may be answered with the whole.
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    start = max(size - int(last), 0) if not first else int(first)
    end = size if not first or not last else min(int(last) + 1, size)
    if start >= size or end <= start:
        raise RequestError(f"the blob has {size} bytes; {text[:80]!r} is beyond them", code="RANGE_INVALID")
    return start, end
