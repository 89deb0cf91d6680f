"""Where captured records come from: whose answers they are, and how to read them again once they are wanted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

# A body of so many bytes is read as a whole in some microseconds.
_SHORT_BYTES = 4 * 1024

_quickly = msgspec.json.Decoder().decode
_decoder = json.JSONDecoder()
_WHITESPACE = " \t\n\r"


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose answers are captured.

    Attributes:
        model: Name of the model.
        digest: Digest of the bundle.
        version: Its version label.
        fields: Names of the features of its schema.
        pictures: Those of them that are pictures, of which nothing but a digest is kept.
    """

    model: str
    digest: str
    version: str
    fields: frozenset[str]
    pictures: frozenset[str] = frozenset()


class Source(Protocol):
    """The records of a request, kept until somebody wants to read them."""

    @property
    def size(self) -> int:
        """Bytes that are kept alive."""
        ...

    def records(self) -> Iterator[Mapping[str, Any]]:
        """Those that were answered, in the order of their answers.

        Raises:
            ValueError: There are none to be read; so do LookupError and TypeError.
        """
        ...


class JsonRecords:
    """The records of a request, read again from its body when they are wanted.

    Args:
        body: ``{"records": [...]}``.
        refused: Places of records that were not answered.
        alone: Whether the body is one record instead.

    Attributes:
        size: Bytes that are kept alive.
    """

    __slots__ = ("_alone", "_body", "_refused", "size")

    def __init__(self, body: bytes, refused: Sequence[int] = (), *, alone: bool = False) -> None:
        self._body = body
        self._alone = alone
        self._refused = frozenset(refused)
        self.size = len(body)

    def records(self) -> Iterator[Mapping[str, Any]]:
        """Those that were answered, one at a time: reading a long body at once would hold up requests.

        Raises:
            ValueError: The body is not as it was.
        """
        if self._alone:
            yield _decode(self._body)
            return
        short = self.size <= _SHORT_BYTES
        records = _decode(self._body)["records"] if short else _records(self._body.decode())
        for place, record in enumerate(records):
            if place not in self._refused:
                yield record


def _decode(body: bytes) -> Any:
    """The document of a body.

    Raises:
        ValueError: It is no JSON.
    """
    try:
        return _quickly(body)
    except msgspec.DecodeError:  # also half a surrogate pair, and numbers beyond float64
        return json.loads(body)


def _records(text: str) -> Iterator[Mapping[str, Any]]:
    """The objects of the member ``records`` of an object, one at a time.

    Raises:
        ValueError: There is no such member, or what is there is no JSON.
    """
    at = _after(text, 0, "{")
    while True:
        name, at = _decoder.raw_decode(text, _skip(text, at))
        at = _skip(text, _after(text, at, ":"))
        if name == "records":
            break
        _, at = _decoder.raw_decode(text, at)
        at = _after(text, at, ",")
    at = _skip(text, _after(text, at, "["))
    while text[at : at + 1] != "]":
        record, at = _decoder.raw_decode(text, at)
        yield record
        at = _skip(text, at)
        if text[at : at + 1] != "]":
            at = _skip(text, _after(text, at, ","))


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] in _WHITESPACE and at < len(text):
        at += 1
    return at


def _after(text: str, at: int, mark: str) -> int:
    at = _skip(text, at)
    if text[at : at + 1] != mark:
        raise ValueError(f"expected {mark!r} at {at}")
    return at + 1
