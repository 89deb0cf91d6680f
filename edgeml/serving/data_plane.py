"""From a request to an answer, whatever server stands in front.

1. The hot routes (predict, infer, live, ready) are found in one dictionary by their path; their bytes go to the engine
   and the answer's bytes come back. Nothing else is made for them.
2. Everything else goes to the pages (a Flask app), which are made with the first such request; they reach the same
   handlers for hot paths that the dictionary does not know (another model's name, another method).
3. What answers is one object that is replaced as a whole (``Shown``); a request takes it once, so that no answer is
   ever mixed from two bundles.
4. Whatever goes wrong becomes an answer here (``problems``); no error leaves ``answer``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import msgspec

from edgeml.errors import RequestError
from edgeml.runtime.auditor import Auditor
from edgeml.runtime.engine import Engine
from edgeml.serving.bodies import is_ndjson, read_body, wants_explanations
from edgeml.serving.capturing import Capturing, Tap
from edgeml.serving.feedback import Feedback
from edgeml.serving.limits import Limits
from edgeml.serving.problems import JSON, Answer, problem
from edgeml.serving.records import Voice, answer_lines, answer_records
from edgeml.serving.tensors import binary_tensors, infer

Environ = Mapping[str, Any]
Handler = Callable[[Environ], Answer]

_encode = msgspec.json.Encoder().encode
_JSON_HEADERS = [("content-type", JSON)]
_CLOSE = ("connection", "close")


@dataclass(frozen=True)
class Shown:
    """What answers at one moment. Replaced as a whole, never changed: a request takes it once and keeps to it.

    Attributes:
        engines: By model.
        reasons: Why a model does not answer, by model.
        paths: Path -> method and handler, of the hot routes.
        ready: Body of the answer to whether every model answers, where each does.
    """

    engines: Mapping[str, Engine]
    reasons: Mapping[str, str]
    paths: Mapping[str, tuple[str, Handler]]
    ready: bytes = b'{"live":true,"ready":true}'


class DataPlane:
    """Answers the requests for the engines that are shown.

    Args:
        engines: Who answers, by model.
        pages: Makes what answers the routes that are not hot; called with the first such request.
        limits: What one request may cost.
        capturing: Where the answers and labels are offered; None captures nothing.
        auditor: Who audits the answers of rules; None audits nothing.

    Attributes:
        shown: What answers now.
        limits: What one request may cost.
        stopping: True once the service is about to end: it is not ready, and closes each connection with an answer.
        labels: Who takes the labels that come for answers.
        capturing: What is kept of the traffic.
        auditor: Who audits the answers of rules.
        asked: Number of requests so far, roughly: threads may lose a count. Only its change is of interest.
    """

    def __init__(
        self,
        engines: Mapping[str, Engine],
        *,
        pages: Callable[[DataPlane], Handler],
        limits: Limits | None = None,
        capturing: Capturing | None = None,
        auditor: Auditor | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.capturing = capturing if capturing is not None else Capturing()
        self.auditor = auditor if auditor is not None else Auditor()
        self.stopping = False
        self.asked = 0
        self._make_pages = pages
        self._pages: Handler | None = None
        self._lock = threading.Lock()
        self._held: dict[str, threading.Event] = {}
        self._voices: dict[str, _Voiced] = {}
        # Who has ever answered here and still lives: a question that does not come back keeps its engine.
        self._seen: WeakSet[Engine] = WeakSet()
        self.labels = Feedback(self._loaded, self.capturing.label)
        self.shown = Shown({}, {}, {})
        self.show(engines, {})

    def show(self, engines: Mapping[str, Engine], reasons: Mapping[str, str]) -> None:
        """Replaces what answers, at once. Requests that are being answered keep to what they began with.

        Args:
            engines: By model.
            reasons: Why a model does not answer, by model.
        """
        voices = {}
        paths: dict[str, tuple[str, Handler]] = {
            "/v2/health/live": ("GET", self.live),
            "/v2/health/ready": ("GET", self.ready),
            "/v1/feedback": ("POST", self.feedback),
        }
        for name, engine in engines.items():
            known = self._voices.get(name)
            if known is None or known.engine is not engine:
                known = _Voiced(engine, self.limits, self.capturing)
            voices[name] = known
            paths[f"/v1/models/{name}/predict"] = ("POST", known.records)
            for path in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{engine.version}"):
                paths[f"{path}/infer"] = ("POST", known.infer)
        if len(voices) == 1 and not reasons.keys() - voices.keys() and not self._held:
            paths["/v1/predict"] = ("POST", next(iter(voices.values())).records)
        with self._lock:
            self._seen.update(engines.values())
        self._voices = voices
        degraded = {name: engine.degraded for name, engine in sorted(engines.items()) if engine.degraded}
        ready = {"live": True, "ready": True} | ({"degraded": degraded} if degraded else {})
        self.shown = Shown(dict(engines), dict(reasons), paths, _encode(ready))
        self.auditor.watch(engines.values())

    @contextmanager
    def holding(self, model: str) -> Iterator[None]:
        """Lets requests for a model that is not shown wait, until this ends: its bundle is being exchanged."""
        self._held[model] = threading.Event()
        try:
            yield
        finally:
            self._held.pop(model).set()
            self.show(self.shown.engines, self.shown.reasons)

    def answer(self, environ: Environ) -> Answer:
        """Answers one request.

        Args:
            environ: The request, as WSGI describes it.

        Returns:
            Status, headers, and the body or an iterator over its pieces.
        """
        self.asked += 1
        try:
            found = self.shown.paths.get(environ["PATH_INFO"])
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

    def records(self, environ: Environ, name: str | None = None) -> Answer:
        """POST /v1/predict, /v1/models/{name}/predict."""
        return self._voice(name).records(environ)

    def infer(self, environ: Environ, name: str) -> Answer:
        """POST /v2/models/{name}[/versions/{version}]/infer."""
        return self._voice(name).infer(environ)

    def feedback(self, environ: Environ) -> Answer:
        """POST /v1/feedback."""
        if is_ndjson(environ):
            raise RequestError(
                "feedback is one JSON document; send 'Content-Type: application/json'",
                code="unsupported_media_type",
                field="Content-Type",
            )
        return self.labels.answer(read_body(environ, self.limits.body_bytes))

    def engine(self, name: str | None = None) -> Engine:
        """Who answers for a model; waits while its bundle is being exchanged.

        Args:
            name: Its name; None for the only one.

        Raises:
            RequestError: Code ``unknown_model``, ``not_ready``, or ``name_a_model`` where there are several.
        """
        shown = self.shown
        if name is None:
            names = sorted({*shown.engines, *shown.reasons, *self._held})
            if len(names) > 1:
                raise RequestError(
                    f"there are several models; ask /v1/models/NAME/predict, NAME one of {', '.join(names)}",
                    code="name_a_model",
                )
            name = names[0] if names else ""
        while (engine := shown.engines.get(name)) is None:
            held = self._held.get(name)
            if held is not None:
                if not held.wait(self.limits.hold_s):
                    raise RequestError(f"{name} does not answer now: its bundle is being exchanged", code="not_ready")
            elif shown is self.shown:
                break
            shown = self.shown  # the exchange was over before this thread looked
        if engine is not None:
            return engine
        if name in shown.reasons or not name:
            reason = shown.reasons.get(name) or "no bundle is active; activate one"
            raise RequestError(f"{name or 'the service'} does not answer now: {reason}", code="not_ready")
        known = ", ".join(sorted(shown.engines)) or "none"
        raise RequestError(f"there is no model {name[:80]!r}; there is {known}", code="unknown_model")

    def live(self, _environ: Environ) -> Answer:
        """GET /v2/health/live."""
        return 200, _JSON_HEADERS, b'{"live":true}'

    def ready(self, _environ: Environ) -> Answer:
        """GET /v2/health/ready: whether every model answers, and which of them do without their model."""
        shown = self.shown
        if self.stopping or not shown.engines or shown.reasons.keys() - shown.engines.keys():
            return 503, _JSON_HEADERS, b'{"live":true,"ready":false}'
        return 200, _JSON_HEADERS, shown.ready

    def stuck(self) -> tuple[float, str]:
        """The question that is stuck the longest, with a model that answers no more too.

        Returns:
            For how many seconds, as ``Engine.stuck_s``, and the digest of the bundle; 0 and nothing where none is.
        """
        with self._lock:
            seen = list(self._seen)
        longest, digest = max(((engine.stuck_s(), engine.digest) for engine in seen), default=(0.0, ""))
        return longest, digest if longest else ""

    def _loaded(self) -> list[Engine]:
        """Whoever may get a label: those that answer, then those that did and are kept."""
        shown = list(self.shown.engines.values())
        with self._lock:
            return shown + [engine for engine in self._seen if engine not in shown]

    def _voice(self, name: str | None) -> _Voiced:
        engine = self.engine(name)
        voice = self._voices.get(engine.name)
        if voice is None or voice.engine is not engine:
            voice = _Voiced(engine, self.limits, self.capturing)
        return voice

    def _other(self, environ: Environ) -> Answer:
        if self._pages is None:
            with self._lock:
                if self._pages is None:
                    self._pages = self._make_pages(self)
        return self._pages(environ)


class _Voiced:
    """One engine with its way of writing: what the hot routes of a model call, one snapshot from path to answer."""

    __slots__ = ("_limits", "_tap", "_voice", "engine")

    def __init__(self, engine: Engine, limits: Limits, capturing: Capturing) -> None:
        self.engine = engine
        self._voice = Voice(engine.whole, engine.quality, engine.rules)
        self._limits = limits
        self._tap = Tap(capturing, engine, self._voice.id_of)

    def records(self, environ: Environ) -> Answer:
        """Records, as JSON or as lines of it."""
        ndjson = is_ndjson(environ)
        body = read_body(environ, self._limits.body_bytes)
        if ndjson:
            explain = wants_explanations(environ)
            return answer_lines(self.engine, self._voice, body, self._tap, explain=explain)
        return answer_records(self.engine, self._voice, body, self._tap)

    def infer(self, environ: Environ) -> Answer:
        """Tensors."""
        if "HTTP_INFERENCE_HEADER_CONTENT_LENGTH" in environ:
            raise binary_tensors()
        if environ.get("CONTENT_TYPE") != "application/octet-stream" and is_ndjson(environ):
            raise RequestError(
                "an infer request is one JSON document; send 'Content-Type: application/json'",
                code="unsupported_media_type",
                field="Content-Type",
            )
        body = read_body(environ, self._limits.body_bytes)
        return 200, self._voice.headers, infer(self.engine, body, self._limits.rows, self._tap)
