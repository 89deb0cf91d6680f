"""From a request to an answer, whatever server stands in front.

1. The hot routes (predict, infer, live, ready) are found in one dictionary by their path; their bytes go to the engine
   and the answer's bytes come back. Nothing else is made for them.
2. Everything else goes to the pages (a Flask app), which are made with the first such request; they reach the same
   handlers for hot paths that the dictionary does not know (another model's name, another method).
3. Whatever goes wrong becomes an answer here (``problems``); no error leaves ``answer``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeml.errors import RequestError
from edgeml.runtime.engine import Engine
from edgeml.runtime.predictor import Predictor
from edgeml.runtime.tensor_predictor import TensorPredictor
from edgeml.serving.bodies import is_ndjson, read_body
from edgeml.serving.limits import Limits
from edgeml.serving.problems import JSON, Answer, problem
from edgeml.serving.records import Voice, answer_lines
from edgeml.serving.tensors import binary_tensors, infer

Environ = Mapping[str, Any]
Handler = Callable[[Environ], Answer]

_JSON_HEADERS = [("content-type", JSON)]
_CLOSE = ("connection", "close")


@dataclass(frozen=True)
class _Hot:
    """What belongs to one predictor: its paths and its way of writing.

    Attributes:
        predictor: Whose it is.
        voice: How its answers are written.
        paths: Path -> method and handler.
    """

    predictor: Predictor | TensorPredictor
    voice: Voice
    paths: Mapping[str, tuple[str, Handler]]


class DataPlane:
    """Answers the requests for one engine.

    Args:
        engine: Who answers records and tensors.
        pages: Makes what answers the routes that are not hot; called with the first such request.
        limits: What one request may cost.
        card: The model card.

    Attributes:
        engine: Who answers records and tensors.
        limits: What one request may cost.
        card: The model card, Markdown; empty where the bundle has none.
        stopping: True once the service is about to end: it is not ready, and closes each connection with an answer.
        asked: Number of requests so far, roughly: threads may lose a count. Only its change is of interest.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        pages: Callable[[DataPlane], Handler],
        limits: Limits | None = None,
        card: bytes = b"",
    ) -> None:
        self.engine = engine
        self.limits = limits or Limits()
        self.card = card
        self.stopping = False
        self.asked = 0
        self._make_pages = pages
        self._pages: Handler | None = None
        self._lock = threading.Lock()
        self._hot = self._known(engine.predictor)

    def answer(self, environ: Environ) -> Answer:
        """Answers one request.

        Args:
            environ: The request, as WSGI describes it.

        Returns:
            Status, headers, and the body or an iterator over its pieces.
        """
        self.asked += 1
        hot = self._hot
        if hot.predictor is not self.engine.predictor:
            hot = self._hot = self._known(self.engine.predictor)
        try:
            found = hot.paths.get(environ["PATH_INFO"])
            if found is not None and found[0] == environ["REQUEST_METHOD"]:
                answer = found[1](environ)
            else:
                answer = self._other(environ)
        except Exception as error:
            answer = problem(error)
        if self.stopping:
            status, headers, body = answer
            return status, [*headers, _CLOSE] if _CLOSE not in headers else headers, body
        return answer

    def records(self, environ: Environ) -> Answer:
        """POST /v1/predict, /v1/models/{name}/predict."""
        voice = self._hot.voice
        ndjson = is_ndjson(environ)
        body = read_body(environ, self.limits.body_bytes)
        if ndjson:
            return answer_lines(self.engine, voice, body)
        envelope, answers = self.engine.predict_json(body)
        return 200, voice.headers, voice.answer(envelope, answers)

    def infer(self, environ: Environ) -> Answer:
        """POST /v2/models/{name}[/versions/{version}]/infer."""
        if "HTTP_INFERENCE_HEADER_CONTENT_LENGTH" in environ:
            raise binary_tensors()
        if environ.get("CONTENT_TYPE") != "application/octet-stream" and is_ndjson(environ):
            raise RequestError(
                "an infer request is one JSON document; send 'Content-Type: application/json'",
                code="unsupported_media_type",
                field="Content-Type",
            )
        body = read_body(environ, self.limits.body_bytes)
        return 200, self._hot.voice.headers, infer(self.engine, body, self.limits.rows)

    def live(self, _environ: Environ) -> Answer:
        """GET /v2/health/live."""
        return 200, _JSON_HEADERS, b'{"live":true}'

    def ready(self, _environ: Environ) -> Answer:
        """GET /v2/health/ready."""
        if self.stopping:
            return 503, _JSON_HEADERS, b'{"live":true,"ready":false}'
        return 200, _JSON_HEADERS, b'{"live":true,"ready":true}'

    def _known(self, predictor: Predictor | TensorPredictor) -> _Hot:
        v1 = f"/v1/models/{predictor.name}/predict"
        v2 = f"/v2/models/{predictor.name}"
        paths: dict[str, tuple[str, Handler]] = {
            "/v1/predict": ("POST", self.records),
            v1: ("POST", self.records),
            f"{v2}/infer": ("POST", self.infer),
            f"{v2}/versions/{predictor.version}/infer": ("POST", self.infer),
            "/v2/health/live": ("GET", self.live),
            "/v2/health/ready": ("GET", self.ready),
        }
        return _Hot(predictor, Voice(predictor), paths)

    def _other(self, environ: Environ) -> Answer:
        if self._pages is None:
            with self._lock:
                if self._pages is None:
                    self._pages = self._make_pages(self)
        return self._pages(environ)
