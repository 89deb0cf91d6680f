"""POST /v1/feedback: what was true, for answers that were given before.

1. ``{"id": ..., "label": ...}``, or ``{"feedback": [{...}, ...]}`` with up to 10,000 of them; ``value`` in the place of
   ``label`` where the model answers with a number. One that is wrong refuses the request, and nothing of it is
   counted, unless ``"partial": true`` asks for the others.
2. The same answer counts once: the last 65,536 that got their label since this process began are remembered.
3. A label for a bundle that is not loaded any more is no mistake of the client's. It is counted as such, and said.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from edgeml.errors import RequestError
from edgeml.monitor.prediction_id import PredictionId, read_prediction_id
from edgeml.monitor.recent_answers import recent_answers
from edgeml.runtime.engine import Engine
from edgeml.serving.problems import JSON, Answer, describe

MOST_ITEMS = 10_000
_ITEM = ("id", "label", "value")
_HEADERS = [("content-type", JSON)]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Feedback:
    """Takes labels for the answers of all loaded bundles. Any thread may call any method.

    Args:
        engines: Those that are loaded; of two of the same bundle the first one counts.
        keep: Takes each label with the id of its answer, once it counts: whoever keeps records may keep it too.

    Attributes:
        unknown_bundles: Labels that came for bundles that are not loaded.
    """

    def __init__(
        self, engines: Callable[[], Sequence[Engine]], keep: Callable[[str, Any], None] = lambda id_, label: None
    ) -> None:
        self._engines = engines
        self._keep = keep
        self._lock = threading.Lock()
        # Made with the first label: most boxes get none.
        self._recent: Any = None
        self.unknown_bundles = 0

    def answer(self, body: bytes) -> Answer:
        """Answers a request.

        Raises:
            RequestError: It is none.
        """
        items, partial, alone = _items(body)
        loaded = {engine.quality.bundle: engine for engine in reversed(self._engines())}
        judged: list[tuple[PredictionId | None, Callable[[], None] | None, dict[str, Any]]] = []
        for index, item in enumerate(items):
            try:
                judged.append((*_judged(item, loaded), {}))
            except RequestError as error:
                document = describe(error)
                if alone:
                    return 400, _HEADERS, _encode(document)
                if not partial:
                    text = f"feedback {index}: {document['error']}"
                    return 400, _HEADERS, _encode(document | {"error": text, "index": index})
                judged.append((None, None, document))
        results = []
        for item, (answer, count, document) in zip(items, judged, strict=True):
            if not document:
                document = {"status": self._count(answer, count)}
                if document["status"] == "accepted":
                    self._keep(item["id"], item["label"] if "label" in item else item["value"])
            results.append(document)
        if alone:
            return 200, _HEADERS, _encode(results[0])
        return 200, _HEADERS, _encode({"feedback": results})

    def _count(self, answer: PredictionId | None, count: Callable[[], None] | None) -> str:
        assert answer is not None  # what has no answer has a problem
        with self._lock:
            if count is None:
                self.unknown_bundles += 1
                return "unknown_bundle"
            if self._recent is None:
                self._recent = recent_answers()
            if not self._recent.add(answer.number):
                return "duplicate"
        count()
        return "accepted"


def _judged(item: Any, loaded: dict[bytes, Engine]) -> tuple[PredictionId, Callable[[], None] | None]:
    if not isinstance(item, dict):
        raise RequestError('expected an object {"id": ..., "label": ...}', code="bad_envelope")
    for name in item:
        if name not in _ITEM:
            raise RequestError(
                f"unknown member {name[:80]!r}; there are {', '.join(_ITEM)}", code="unknown_member", field=name[:80]
            )
    text = item.get("id")
    if not isinstance(text, str):
        raise RequestError("id: expected the id that came with the prediction", code="bad_id", field="id")
    try:
        answer = read_prediction_id(text)
    except ValueError as error:
        raise RequestError(f"id: {text[:40]!r}: {error}", code="bad_id", field="id") from error
    engine = loaded.get(answer.bundle)
    return answer, None if engine is None else engine.quality.judge(answer, item)


def _items(body: bytes) -> tuple[list[Any], bool, bool]:
    """The items; whether good ones count although others are bad; whether it is one alone."""
    try:
        document = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"the body is not JSON: {error}", code="invalid_json") from error
    if not isinstance(document, dict):
        raise RequestError('expected an object {"id": ..., "label": ...}', code="bad_envelope")
    if "feedback" not in document:
        return [document], False, True
    partial, items = document.get("partial", False), document["feedback"]
    for name in document:
        if name not in ("feedback", "partial"):
            raise RequestError(
                f"unknown member {name[:80]!r} beside feedback; there is partial",
                code="unknown_member",
                field=name[:80],
            )
    if not isinstance(items, list) or not isinstance(partial, bool):
        field = "feedback" if not isinstance(items, list) else "partial"
        expected = "a list of objects" if field == "feedback" else "true or false"
        raise RequestError(f"{field}: expected {expected}", code="bad_envelope", field=field)
    if len(items) > MOST_ITEMS:
        raise RequestError(
            f"there are {len(items)} labels; send at most {MOST_ITEMS} in one request", code="too_many_records"
        )
    return items, partial, False
