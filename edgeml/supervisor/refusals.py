"""Errors as answers of the management plane: one table from error to status, two forms of body.

Below ``/v2/`` the form is that of the OCI distribution specification, ``{"errors": [{"code", "message", "detail"}]}``;
everywhere else it is the data plane's, ``{"error", "code", "field"}``.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

from edgeml.errors import (
    AdmissionError,
    ConflictError,
    DigestError,
    EdgemlError,
    NotInstalledError,
    OrderError,
    RequestError,
    SignatureError,
    StateError,
    StorageError,
    StoreError,
    TransferError,
)

Headers = list[tuple[str, str]]
Answer = tuple[int, Headers, bytes | Iterator[bytes]]

JSON = "application/json"

# Codes of RequestError; those in capitals are OCI's. What is not here is a mistake in the request: 400.
_REQUESTS = {
    "unauthorized": 401,
    "UNAUTHORIZED": 401,
    "forbidden": 403,
    "DENIED": 403,
    "not_found": 404,
    "BLOB_UNKNOWN": 404,
    "BLOB_UPLOAD_UNKNOWN": 404,
    "MANIFEST_UNKNOWN": 404,
    "MANIFEST_BLOB_UNKNOWN": 404,
    "NAME_UNKNOWN": 404,
    "method_not_allowed": 405,
    "too_large": 413,
    "RANGE_INVALID": 416,
    "TOOMANYREQUESTS": 429,
}
# kind of error -> (status, our word, OCI's word); the first that fits counts.
_KINDS: tuple[tuple[type[Exception], int, str, str], ...] = (
    (SignatureError, 403, "signature", "DENIED"),
    (DigestError, 400, "digest", "DIGEST_INVALID"),
    (NotInstalledError, 404, "not_installed", "NAME_UNKNOWN"),
    (ConflictError, 409, "conflict", "DENIED"),
    (OrderError, 403, "order", "DENIED"),
    (StorageError, 507, "storage", "SIZE_INVALID"),
    (StateError, 500, "state", "UNSUPPORTED"),
    (AdmissionError, 403, "admission", "DENIED"),
    (TransferError, 502, "transfer", "UNSUPPORTED"),
    # The record has changed, and the worker does not serve it yet. Not 503: clients would take that for "ask again".
    (StoreError, 500, "not_followed", "UNSUPPORTED"),
    (EdgemlError, 400, "bundle", "MANIFEST_INVALID"),
    (OSError, 507, "disk", "UNSUPPORTED"),
)
# What a client did, as far as its connection is concerned; never the far side of a pull.
_CONNECTION = {"cut": 400, "too_slow": 408}
# What the operator has not granted. Not 429: clients would take that for "ask again in a moment".
_NOT_GRANTED = ("budget", "registry_not_allowed")
_OCI_WORDS = {
    "unauthorized": "UNAUTHORIZED",
    "forbidden": "DENIED",
    "not_found": "NAME_UNKNOWN",
    "method_not_allowed": "UNSUPPORTED",
    "too_large": "SIZE_INVALID",
}


def refused(error: Exception, *, oci: bool, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    """The answer for an error.

    Args:
        error: What was raised while a request was answered.
        oci: Which of the two forms.
        headers: More headers.
    """
    status, document = describe(error)
    body: dict[str, Any] = dict(document)
    given = [("Content-Type", JSON), *headers]
    if status == 401:
        # Registry clients answer a Basic challenge; a browser would put its own question for a password over the page.
        given.append(("WWW-Authenticate", f'{"Basic" if oci else "Bearer"} realm="edgeml"'))
    if status == 429:
        given.append(("Retry-After", "1"))
    if oci:
        one: dict[str, Any] = {"code": _oci_word(error), "message": document["error"]}
        one["detail"] = {key: value for key, value in document.items() if key != "error"}
        body = {"errors": [one]}
    return status, given, json_bytes(body)


def describe(error: Exception) -> tuple[int, dict[str, str]]:
    """Status and document of an error. What nobody foresaw goes to standard error and stays there."""
    if isinstance(error, RequestError):
        document = {"error": str(error), "code": error.code}
        return _REQUESTS.get(error.code, 400), document | ({"field": error.field} if error.field else {})
    if isinstance(error, TransferError) and error.code in _CONNECTION:
        return _CONNECTION[error.code], {"error": str(error), "code": error.code}
    if isinstance(error, TransferError) and error.code in _NOT_GRANTED:
        return 403, {"error": str(error), "code": error.code}
    for kind, status, word, _ in _KINDS:
        if isinstance(error, kind):
            code = getattr(error, "code", "") if isinstance(error, AdmissionError) else ""
            return status, {"error": str(error), "code": word} | ({"field": code} if code else {})
    traceback.print_exception(error, file=sys.stderr)
    return 500, {"error": "internal error; the service's log has the details", "code": "internal"}


def json_bytes(document: Any) -> bytes:
    """JSON as it is sent."""
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()


def _oci_word(error: Exception) -> str:
    if isinstance(error, RequestError):
        return error.code if error.code.isupper() else _OCI_WORDS.get(error.code, "UNSUPPORTED")
    return next((word for kind, _, _, word in _KINDS if isinstance(error, kind)), "UNSUPPORTED")
