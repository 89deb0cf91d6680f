"""The body of a request: in what form it is, and how compressed.

How long it may be, and that all of it came, is the front's to see to, before anybody is asked (``bad_requests``).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from edgeml.errors import RequestError
from edgeml.kernels.http_front import BODY

NDJSON = "application/x-ndjson"

_JSON_TYPES = frozenset({"", "application/json", "application/json; charset=utf-8", "application/json;charset=utf-8"})
# zlib's name for each content coding; deflate means the zlib format (RFC 9110, section 8.4.1.2).
_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


def is_ndjson(environ: Mapping[str, Any]) -> bool:
    """Whether the body is lines of JSON (True) or one JSON document (False).

    Raises:
        RequestError: It is neither; code ``unsupported_media_type``.
    """
    given = environ.get("CONTENT_TYPE", "")
    if given in _JSON_TYPES:
        return False
    name = given.partition(";")[0].strip().lower()
    if name == "application/json":
        return False
    if name in (NDJSON, "application/ndjson"):
        return True
    raise RequestError(
        f"content type {name[:80]!r} is not taken; send 'Content-Type: application/json' (or {NDJSON} for one record "
        "a line)",
        code="unsupported_media_type",
        field="Content-Type",
    )


def wants_explanations(environ: Mapping[str, Any]) -> bool:
    """Whether the query asks for explanations: ``?explain=true``.

    Raises:
        RequestError: It says something else of it; code ``bad_query``.
    """
    query = environ.get("QUERY_STRING", "")
    if "explain" not in query:
        return False
    try:
        given = parse_qs(query, keep_blank_values=True, max_num_fields=16).get("explain", ["false"])
    except ValueError as error:
        raise RequestError(f"the query cannot be read: {error}", code="bad_query") from error
    if given not in (["true"], ["false"]):
        raise RequestError("explain in the query is neither true nor false", code="bad_query", field="explain")
    return given == ["true"]


def read_body(environ: Mapping[str, Any], max_bytes: int) -> bytes:
    """The whole body, inflated.

    Args:
        environ: The request.
        max_bytes: Most bytes, as sent and as inflated.

    Raises:
        RequestError: Code ``too_large``, ``bad_encoding`` or ``unsupported_encoding``.
    """
    body: bytes = environ[BODY]
    if len(body) > max_bytes:
        raise too_large(max_bytes)
    coding = environ.get("HTTP_CONTENT_ENCODING")
    return body if coding is None else inflate(body, coding, max_bytes)


def inflate(body: bytes, coding: str, max_bytes: int) -> bytes:
    """Undoes a content coding without ever holding more than ``max_bytes``.

    Raises:
        RequestError: Code ``unsupported_encoding``, ``bad_encoding`` or ``too_large``.
    """
    name = coding.strip().lower()
    if name in ("", "identity"):
        return body
    if name not in _WINDOWS:
        raise RequestError(
            f"content encoding {name[:40]!r} is not taken; send gzip, deflate or none",
            code="unsupported_encoding",
            field="Content-Encoding",
        )
    machine = zlib.decompressobj(_WINDOWS[name])
    try:
        inflated = machine.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise RequestError(f"the body is not {name}: {error}", code="bad_encoding") from error
    if len(inflated) > max_bytes:
        raise too_large(max_bytes)
    if not machine.eof or machine.unused_data:
        what = "is cut short" if not machine.eof else "goes on after its end"
        raise RequestError(f"the {name} body {what}", code="bad_encoding")
    return inflated


def too_large(max_bytes: int) -> RequestError:
    """The error of a body that is larger than the bound."""
    return RequestError(f"the body is larger than {max_bytes} bytes; send it in several requests", code="too_large")
