"""The head of a request, read strictly: whatever two readers could understand in two ways is refused.

1. Lines end in CRLF; no line is continued on the next.
2. Names are tokens of letters, digits and a few signs, without an underscore (which would meet a hyphen in WSGI).
3. What says where the body ends stands once: ``Content-Length`` in digits or ``Transfer-Encoding: chunked``, not both.
4. So do the other fields that decide something.

Sources: RFC 9112, sections 5 and 6; the list of smuggling tricks in CVE-2024-1135, CVE-2022-24761 and their kin.
"""

from __future__ import annotations

import re
from typing import Protocol

MOST_FIELDS = 64

_NAME = re.compile(rb"[!#$%&'*+.^`|~0-9A-Za-z-]{1,256}\Z")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*\Z")
_LENGTH = re.compile(rb"[0-9]{1,15}\Z")
_ONCE = {
    b"Authorization",
    b"Content-Length",
    b"Content-Range",
    b"Content-Type",
    b"Expect",
    b"Host",
    b"If-Range",
    b"Range",
    b"Transfer-Encoding",
}


class Lines(Protocol):
    """Where lines come from; bounded by whoever made it."""

    def readline(self) -> bytes:
        """The next line with its end; empty at the end of the stream."""
        ...


def read_head(lines: Lines) -> dict[bytes, bytes]:
    """Reads the fields up to the empty line.

    Returns:
        Values by name, names in the form ``Content-Length``.

    Raises:
        ValueError: The head is not in order; the message can be shown to the client.
    """
    fields: dict[bytes, bytes] = {}
    for _ in range(MOST_FIELDS + 1):
        line = lines.readline()
        if not line.endswith(b"\r\n"):
            raise ValueError("a line of the head does not end in CRLF")
        if line == b"\r\n":
            _check_length(fields)
            return fields
        name, colon, value = line[:-2].partition(b":")
        value = value.strip(b" \t")
        if not colon or not _NAME.match(name) or not _VALUE.match(value):
            raise ValueError("a line of the head is no header field")
        name = name.title()
        if name in fields and name in _ONCE:
            raise ValueError(f"{name.decode()} stands twice")
        fields[name] = fields[name] + b", " + value if name in fields else value
    raise ValueError(f"the head has more than {MOST_FIELDS} fields")


def _check_length(fields: dict[bytes, bytes]) -> None:
    length, coding = fields.get(b"Content-Length"), fields.get(b"Transfer-Encoding")
    if length is not None and not _LENGTH.match(length):
        raise ValueError("Content-Length is no number")
    if coding is not None and coding.lower() != b"chunked":
        raise ValueError("the only Transfer-Encoding that is taken is chunked")
    if length is not None and coding is not None:
        raise ValueError("Content-Length and Transfer-Encoding stand together")
