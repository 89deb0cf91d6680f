"""One call of the management plane: who asks, and what; how it is answered."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs

from edgeml.bundles.documents import parse_object
from edgeml.errors import RequestError
from edgeml.supervisor.callers import Caller
from edgeml.supervisor.refusals import JSON, Answer, json_bytes
from edgeml.supervisor.request_body import Body

DOCUMENT_BYTES = 64 * 1024
LONGEST_WAIT_SECONDS = 30.0

_SECONDS = re.compile(r"[0-9]{1,4}(\.[0-9]{1,3})?\Z")


@dataclass(frozen=True)
class Call:
    """One request.

    Attributes:
        environ: As WSGI gives it.
        caller: Who asks.
    """

    environ: dict[str, Any]
    caller: Caller

    @property
    def method(self) -> str:
        """The HTTP method."""
        return str(self.environ["REQUEST_METHOD"])

    @property
    def body(self) -> Body:
        """The body, not read yet."""
        body = self.environ["wsgi.input"]
        assert isinstance(body, Body)
        return body

    def header(self, name: str) -> str:
        """A header's value; empty where it is not there."""
        return str(self.environ.get("HTTP_" + name.upper().replace("-", "_"), ""))

    @cached_property
    def _query(self) -> dict[str, list[str]]:
        try:
            return parse_qs(str(self.environ.get("QUERY_STRING", "")), max_num_fields=16, errors="strict")
        except ValueError as error:
            raise RequestError(f"the query cannot be read: {error}") from None

    def query(self, name: str) -> str:
        """A value of the query; empty where it is not there."""
        return self._query.get(name, [""])[0]

    def wait(self) -> float:
        """For how many seconds the caller wants to wait for an end: ``?wait=``."""
        text = self.query("wait")
        if text and not _SECONDS.match(text):
            raise RequestError(f"wait is a number of seconds, not {text[:40]!r}", field="wait")
        return min(float(text or 0), LONGEST_WAIT_SECONDS)

    def document(self, **kinds: type) -> dict[str, Any]:
        """The body as a JSON object; no body counts as an empty one.

        Args:
            kinds: The keys that it may have, each with its type.

        Raises:
            RequestError: It is too large, no strict JSON object, or has other keys or types.
        """
        data = self.body.whole(DOCUMENT_BYTES)
        document = parse_object(data or b"{}", "the request", error=RequestError)
        for key, value in document.items():
            if key not in kinds:
                known = ", ".join(kinds) or "none"
                raise RequestError(f"unknown key {key[:80]!r}; keys are {known}", field=key[:80])
            # A bool is an int to Python, and no number to anybody else.
            if type(value) is not kinds[key]:
                raise RequestError(f"{key} must be {_WORDS[kinds[key]]}", field=key)
        return document


_WORDS = {str: "a text", bool: "true or false", int: "a whole number"}


def answer(document: Any, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    """A JSON answer."""
    return status, [("Content-Type", JSON), *headers], json_bytes(document)
