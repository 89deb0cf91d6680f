"""The records API: bodies of records to the engine, predictions to bytes.

What every prediction of a bundle shares (name, version, digest) is encoded once and stands once in an answer; so is
the whole answer of a rule, which is constant. A prediction is written piece by piece, because on the hot path the
pieces are fewer than the fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import msgspec

from edgeml.errors import RequestError, Violation
from edgeml.runtime.engine import Engine
from edgeml.runtime.prediction import Prediction
from edgeml.runtime.predictor import Predictor
from edgeml.runtime.reader import Envelope
from edgeml.runtime.tensor_predictor import TensorPredictor
from edgeml.serving.bodies import NDJSON
from edgeml.serving.problems import JSON, Answer, Headers, describe, violation_error

# Lines that are answered before they are handed to the server: few enough to stay small, many enough to be cheap.
LINES_AT_ONCE = 64

_encode = msgspec.json.Encoder().encode


class Voice:
    """How the answers of one bundle are written down.

    Attributes:
        headers: Headers of a JSON answer.
        line_headers: Headers of an NDJSON answer.
    """

    def __init__(self, predictor: Predictor | TensorPredictor) -> None:
        names = {"model": predictor.name, "version": predictor.version, "bundle": predictor.digest}
        self._open = _encode(names)[:-1] + b',"predictions":['
        self._line_close = b"," + _encode(names)[1:] + b"\n"
        self.headers: Headers = [("content-type", JSON), ("edgeml-bundle", predictor.digest)]
        self.line_headers: Headers = [("content-type", NDJSON), ("edgeml-bundle", predictor.digest)]
        self._rules: dict[str | None, tuple[Prediction, bytes]] = {}

    def prediction(self, answer: Prediction) -> bytes:
        """One prediction, without what the whole answer shares."""
        if answer.tier == "model":
            if answer.label is None:
                return b'{"value":' + _encode(answer.value) + b',"tier":"model"}'
            if answer.scores is None:
                return b'{"label":' + _encode(answer.label) + b',"tier":"model"}'
            return b'{"label":' + _encode(answer.label) + b',"scores":' + _encode(answer.scores) + b',"tier":"model"}'
        if answer.tier == "rule":
            kept = self._rules.get(answer.rule)
            if kept is not None and kept[0] is answer:
                return kept[1]
            written = _whole(answer)
            self._rules[answer.rule] = (answer, written)
            return written
        return _whole(answer)

    def answer(self, envelope: Envelope, answers: Sequence[Prediction]) -> bytes:
        """The body for a records request."""
        opening = self._open
        if envelope.id is not None:
            opening = b'{"id":' + _encode(envelope.id) + b"," + opening[1:]
        if len(answers) == 1 and not envelope.violations:
            return opening + self.prediction(answers[0]) + b"]}"
        written = list(map(self.prediction, answers))
        if envelope.violations:
            written = _with_errors(envelope, written)
        return opening + b",".join(written) + b"]}"

    def lines(self, engine: Engine, lines: Iterable[bytes]) -> Iterator[bytes]:
        """One prediction or error for each line that is not empty, in pieces of several lines."""
        written = (self._line(engine, line) for line in lines if line and not line.isspace())
        while piece := b"".join(islice(written, LINES_AT_ONCE)):
            yield piece

    def _line(self, engine: Engine, line: bytes) -> bytes:
        try:
            return self.prediction(engine.predict_json_record(line))[:-1] + self._line_close
        except Exception as error:
            # The status is sent already: whatever happens now belongs into this line.
            return _encode(describe(error)) + b"\n"


def answer_lines(engine: Engine, voice: Voice, body: bytes) -> Answer:
    """Answers an NDJSON body.

    Raises:
        RequestError: The bundle takes no records.
    """
    predictor = engine.predictor
    if isinstance(predictor, TensorPredictor):
        raise RequestError(
            f"{predictor.name} takes tensors, not records; use /v2/models/{predictor.name}/infer", code="tensors_only"
        )
    return 200, voice.line_headers, voice.lines(engine, _split(body))


def _split(body: bytes) -> Iterator[bytes]:
    """The lines of a body, one at a time: a list of them could be many times as large as the body."""
    start = 0
    while start < len(body):
        end = body.find(b"\n", start)
        end = len(body) if end < 0 else end
        yield body[start:end]
        start = end + 1


def _whole(answer: Prediction) -> bytes:
    """Any prediction, field by field."""
    document: dict[str, object] = {}
    for name in ("label", "value", "scores"):
        given = getattr(answer, name)
        if given is not None:
            document[name] = given
    document["tier"] = answer.tier
    if answer.rule is not None:
        document["rule"] = answer.rule
    if answer.degraded:
        document["degraded"] = True
        document["reason"] = answer.reason
    return _encode(document)


def _with_errors(envelope: Envelope, written: list[bytes]) -> list[bytes]:
    """Puts the errors of a ``partial`` request between the predictions, where their records were."""
    given = iter(written)
    by_row: dict[int, list[Violation]] = {}
    for violation in envelope.violations:
        by_row.setdefault(violation.row, []).append(violation)
    return [
        _encode(violation_error(by_row[row])) if row in by_row else next(given) for row in range(envelope.n_records)
    ]
