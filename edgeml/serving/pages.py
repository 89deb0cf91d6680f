"""Everything that is not hot, as a Flask app over the table of ``routes``.

A handler takes the segments of its path and the request's environ, and gives an Answer, as the hot handlers do; Flask
finds the handler, answers HEAD and OPTIONS, and refuses unknown paths and methods.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

import edgeml.serving.tensors as tensors
from edgeml.errors import RequestError
from edgeml.kernels.http_front import BODY
from edgeml.runtime.engine import Engine
from edgeml.runtime.predictor import Predictor
from edgeml.runtime.tensor_predictor import TensorPredictor
from edgeml.serving.data_plane import DataPlane, Environ, Handler
from edgeml.serving.openapi import document, edgeml_version
from edgeml.serving.problems import JSON, Answer, problem
from edgeml.serving.routes import ROUTES, Route

_encode = msgspec.json.Encoder().encode
_BASE_ENVIRON = {
    "SCRIPT_NAME": "",
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "80",
    "wsgi.url_scheme": "http",
    "wsgi.version": (1, 0),
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
}


class Pages:
    """The handlers of the routes that are not hot.

    Args:
        plane: Whose engines they show.
    """

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    def predict(self, environ: Environ, name: str | None = None) -> Answer:
        """Records."""
        return self._plane.records(environ, name)

    def infer(self, environ: Environ, name: str, version: str | None = None) -> Answer:
        """Tensors."""
        self._predictor(name, version)
        return self._plane.infer(environ, name)

    def feedback(self, environ: Environ) -> Answer:
        """What was true."""
        return self._plane.feedback(environ)

    def live(self, environ: Environ) -> Answer:
        """Is the process alive?"""
        return self._plane.live(environ)

    def ready(self, environ: Environ) -> Answer:
        """Can requests be sent?"""
        return self._plane.ready(environ)

    def models(self, _environ: Environ) -> Answer:
        """The models, those that do not answer too."""
        shown = self._plane.shown
        listed = [
            {
                "name": name,
                "version": engine.version,
                "bundle": engine.digest,
                "task": engine.predictor.task,
                "ready": not self._plane.stopping,
                **_degraded(engine),
            }
            for name, engine in sorted(shown.engines.items())
        ]
        listed += [
            {"name": name, "ready": False, "reason": reason}
            for name, reason in sorted(shown.reasons.items())
            if name not in shown.engines
        ]
        return _json({"models": listed})

    def model(self, _environ: Environ, name: str) -> Answer:
        """What the bundle says about itself, without what only a loader needs."""
        engine = self._plane.engine(name)
        predictor = engine.predictor
        config = predictor.config
        shown: dict[str, Any] = {
            "name": predictor.name,
            "version": predictor.version,
            "bundle": predictor.digest,
            "task": predictor.task,
        }
        shown |= _degraded(engine)
        for key in ("created", "schema", "outputs", "fallback", "slo", "tiers", "middle", "quality", "parity"):
            if config.get(key):
                shown[key] = config[key]
        if not isinstance(predictor, TensorPredictor):
            rules = predictor.rules.rules if predictor.rules is not None else ()
            shown["labels"] = list(predictor.labels)
            shown["rules"] = [rule.id for rule in rules]
            if engine.disabled:
                shown["disabled_rules"] = list(engine.disabled)
        return _json(shown)

    def card(self, _environ: Environ, name: str) -> Answer:
        """The model card."""
        engine = self._plane.engine(name)
        if not engine.card:
            raise RequestError(f"model {name!r} has no card; build its bundle again", code="not_found")
        return 200, [("content-type", "text/markdown; charset=utf-8")], engine.card

    def stats(self, _environ: Environ) -> Answer:
        """What the service has seen of each bundle since it was loaded."""
        seen = {name: _stats(engine) for name, engine in sorted(self._plane.shown.engines.items())}
        # The only model's figures stand at the top too, where a reader of one model looks for them.
        return _json(
            (next(iter(seen.values())) if len(seen) == 1 else {})
            | {"models": seen, "feedback": {"unknown_bundle": self._plane.labels.unknown_bundles}}
        )

    def server(self, _environ: Environ) -> Answer:
        """Server metadata of the Open Inference Protocol."""
        return _json({"name": "edgeml", "version": edgeml_version(), "extensions": ["model_repository"]})

    def metadata(self, _environ: Environ, name: str, version: str | None = None) -> Answer:
        """Model metadata of the Open Inference Protocol."""
        return _json(tensors.metadata(self._predictor(name, version)))

    def model_ready(self, _environ: Environ, name: str, version: str | None = None) -> Answer:
        """Is the model ready?"""
        shown = self._plane.shown
        if name not in shown.reasons or name in shown.engines:
            self._predictor(name, version)
        engine = shown.engines.get(name)
        ready = engine is not None and not self._plane.stopping
        status, headers, body = _json({"name": name, "ready": ready, **(_degraded(engine) if engine else {})})
        return 200 if ready else 503, headers, body

    def repository_index(self, _environ: Environ) -> Answer:
        """The repository's index: the models with their states."""
        shown, stopping = self._plane.shown, self._plane.stopping
        entries = [
            {
                "name": name,
                "version": engine.version,
                "state": "UNAVAILABLE" if stopping else "READY",
                "reason": "the service is stopping" if stopping else engine.degraded,
            }
            for name, engine in sorted(shown.engines.items())
        ]
        entries += [
            {"name": name, "version": "", "state": "UNAVAILABLE", "reason": reason}
            for name, reason in sorted(shown.reasons.items())
            if name not in shown.engines
        ]
        return _json(entries)

    def openapi(self, _environ: Environ) -> Answer:
        """The OpenAPI document."""
        engines = self._plane.shown.engines
        return _json(document([engines[name].predictor for name in sorted(engines)]))

    def _predictor(self, name: str, version: str | None = None) -> Predictor | TensorPredictor:
        """The predictor of a model.

        Raises:
            RequestError: Code ``unknown_model`` or ``not_ready``.
        """
        predictor = self._plane.engine(name).predictor
        if version is not None and version != predictor.version:
            raise RequestError(
                f"model {predictor.name!r} has no version {version[:80]!r}; version {predictor.version!r} is served",
                code="unknown_model",
            )
        return predictor


def _degraded(engine: Engine) -> dict[str, Any]:
    return {"degraded": True, "reason": engine.degraded} if engine.degraded else {}


def _stats(engine: Engine) -> dict[str, Any]:
    predictor = engine.predictor
    unknown = {} if isinstance(predictor, TensorPredictor) else predictor.reader.unknown_counts()
    return {
        "model": predictor.name,
        "version": predictor.version,
        "bundle": predictor.digest,
        "latency": engine.latency.summary(),
        "unknown_fields": unknown,
        **({"audits": engine.audits.counts.document()} if engine.audits is not None and engine.audits.wanted else {}),
    }


def make_pages(plane: DataPlane) -> Handler:
    """Builds the app.

    Args:
        plane: Whose pages they are.

    Returns:
        A function from environ to Answer.
    """
    app = make_app(Pages(plane))

    def answer(environ: Environ) -> Answer:
        given: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], _: Any = None) -> Callable[[bytes], object]:
            given[:] = [int(status.split(" ", 1)[0]), headers]
            return io.BytesIO().write

        stream = io.BytesIO(environ[BODY])
        pieces = app.wsgi_app({**environ, **_BASE_ENVIRON, "wsgi.input": stream}, start_response)
        # Without a length it is a stream, which may be far longer than its request; 204 and 304 have neither.
        if given[0] in (204, 304) or any(name.lower() == "content-length" for name, _ in given[1]):
            return given[0], given[1], b"".join(pieces)
        return given[0], given[1], _pieces(pieces)

    return answer


def _pieces(app_iter: Iterable[bytes]) -> Iterator[bytes]:
    """What an app gives, closed as WSGI asks also where it is not read to its end."""
    try:
        yield from app_iter
    finally:
        if close := getattr(app_iter, "close", None):
            close()


def make_app(pages: Pages) -> Flask:
    """The Flask app over the table of routes."""
    app = Flask("edgeml", static_folder=None)
    app.url_map.strict_slashes = False
    for number, route in enumerate(ROUTES):
        view = _view(getattr(pages, route.handler))
        path = route.path.replace("{", "<").replace("}", ">")
        app.add_url_rule(path, f"{route.handler}-{number}", view, methods=[route.method])
    app.register_error_handler(Exception, _failed)
    return app


def routes_of(app: Flask) -> set[tuple[str, str]]:
    """Methods and paths that the app serves, for the test that compares them with the table."""
    return {
        (method, rule.rule.replace("<", "{").replace(">", "}"))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def _view(handler: Callable[..., Answer]) -> Callable[..., Response]:
    def view(**segments: str) -> Response:
        return _response(handler(request.environ, **segments))

    return view


def _response(answer: Answer) -> Response:
    status, headers, body = answer
    return Response(body, status=status, headers=headers)


def _failed(error: Exception) -> Response:
    if isinstance(error, NotFound):
        known = ", ".join(sorted({f"{route.method} {route.path}" for route in _starting_points()}))
        return _response(
            problem(RequestError(f"there is nothing at {request.path[:120]!r}; try {known}", code="not_found"))
        )
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        response = _response(
            problem(RequestError(f"{request.method[:20]} is not taken here; use {allowed}", code="method_not_allowed"))
        )
        response.headers["Allow"] = allowed
        return response
    if isinstance(error, HTTPException):
        return _response(problem(RequestError(error.description or error.name, code="bad_request")))
    return _response(problem(error))


def _starting_points() -> list[Route]:
    return [route for route in ROUTES if route.path in ("/v1/predict", "/v2/health/ready", "/openapi.json")]


def _json(value: Any) -> Answer:
    return 200, [("content-type", JSON)], _encode(value)
