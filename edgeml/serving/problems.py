"""Errors as HTTP answers: one table from code to status, one form of body.

Every error answer is ``{"error": text, "code": word}`` with ``field`` where one is concerned; the Open Inference
Protocol asks for ``error`` alone and allows the rest.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from typing import Any

import msgspec

from edgeml.errors import EdgemlError, ModelError, RequestError, SchemaError, Violation

Headers = list[tuple[str, str]]
Answer = tuple[int, Headers, bytes | Iterator[bytes]]

JSON = "application/json"
# Codes that are not here are mistakes in the request: 400.
STATUS = {
    "not_found": 404,
    "unknown_model": 404,
    "method_not_allowed": 405,
    "too_slow": 408,
    "too_large": 413,
    "too_many_pixels": 413,
    "too_many_records": 413,
    "target_too_long": 414,
    "unsupported_media_type": 415,
    "unsupported_encoding": 415,
    "binary_tensors": 415,
    "bad_expectation": 417,
    "head_too_large": 431,
    "internal": 500,
    "model_failed": 500,
    "not_implemented": 501,
    "no_memory": 503,
    "not_ready": 503,
    "http_version": 505,
}

_encode = msgspec.json.Encoder().encode


def problem(error: Exception) -> Answer:
    """The answer for an error. What is not an ``EdgemlError`` goes to standard error and stays there.

    Args:
        error: What was raised while a request was answered.
    """
    document = describe(error)
    status = STATUS.get(document["code"], 400)
    headers = [("content-type", JSON)]
    if status == 413:  # the body is not read to its end, so the connection cannot be kept
        headers.append(("connection", "close"))
    if status == 503:
        headers.append(("retry-after", "1"))
    return status, headers, _encode(document)


def describe(error: Exception) -> dict[str, Any]:
    """The error's JSON document."""
    if isinstance(error, SchemaError):
        return _schema_error(error)
    if isinstance(error, RequestError):
        document = {"error": str(error), "code": error.code}
        return document | {"field": error.field} if error.field else document
    if isinstance(error, ModelError):
        return {"error": str(error), "code": "model_failed"}
    if isinstance(error, EdgemlError):
        return {"error": str(error), "code": "internal"}
    traceback.print_exception(error, file=sys.stderr)
    return {"error": "internal error; the service's log has the details", "code": "internal"}


def violation_error(violations: list[Violation]) -> dict[str, Any]:
    """The document that stands in the place of one record's prediction.

    Args:
        violations: What is wrong with the record; at least one.
    """
    first = violations[0]
    more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    text = f"field {first.field!r}: {first.code}: expected {first.expected}, got {first.got}{more}"
    return {"error": text, "code": "schema_violation"} | _parts(first)


def _schema_error(error: SchemaError) -> dict[str, Any]:
    first = error.violations[0]
    document = {"error": str(error), "code": error.code, "index": first.row} | _parts(first)
    if len(error.violations) > 1:
        document["violations"] = [{"index": each.row} | _parts(each) for each in error.violations]
    return document


def _parts(violation: Violation) -> dict[str, Any]:
    return {
        "field": violation.field,
        "violation": violation.code,
        "expected": violation.expected,
        "got": violation.got,
    }
