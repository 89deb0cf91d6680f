"""What the front refuses before any handler is asked: requests that are no HTTP, too large or too slow, as answers."""

from __future__ import annotations

from collections.abc import Callable

from edgeml.errors import RequestError
from edgeml.serving.bodies import too_large
from edgeml.serving.limits import Limits
from edgeml.serving.problems import Answer, problem

# What the front says -> code and text. 499 is its word for a body that ended before its end.
_WORDS = {
    400: ("bad_http", "this is no HTTP/1.1 request, or one that could be read in two ways"),
    408: ("too_slow", "the request did not come in time; send it without pauses"),
    414: ("target_too_long", "the path with its query is longer than 8192 bytes"),
    417: ("bad_expectation", "the only expectation that is understood is 100-continue"),
    431: ("head_too_large", "the head of the request is larger than 32768 bytes or has more than 100 fields"),
    499: ("incomplete_body", "the body ended before all that its length says had come"),
    501: (
        "not_implemented",
        "the only transfer encoding that is understood is chunked, and no method has over 32 letters",
    ),
    503: ("no_memory", "there is no memory for a body of this size now; try again"),
    505: ("http_version", "HTTP/1.1 and HTTP/1.0 are understood"),
}


def refusals(limits: Limits) -> Callable[[int], Answer]:
    """What answers for the front.

    Args:
        limits: The bounds of the service.

    Returns:
        A function from the front's word for what is wrong, mostly a status, to an answer.
    """
    written = {word: problem(RequestError(text, code=code)) for word, (code, text) in _WORDS.items()}
    written[413] = problem(too_large(limits.body_bytes))
    broken = problem(RequestError("internal error; the service's log has the details", code="internal"))
    return lambda word: written.get(word, broken)
