"""The records API: bodies of records to the engine, predictions to bytes.

What every prediction of a bundle shares (name, version, digest) is encoded once and stands once in an answer; so is
the whole answer of a rule, which is constant but for its id. A prediction is written piece by piece, because on the
hot path the pieces are fewer than the fields. What opens it is its id (``monitor/prediction_id``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import msgspec

from edgeml.errors import RequestError, Violation
from edgeml.monitor.capture_source import JsonRecords
from edgeml.monitor.prediction_id import LETTERS
from edgeml.runtime.answer_quality import AnswerQuality
from edgeml.runtime.engine import Engine
from edgeml.runtime.explanation import Explainer
from edgeml.runtime.explanation_budget import Allowance
from edgeml.runtime.prediction import Prediction
from edgeml.runtime.predictor import Predictor
from edgeml.runtime.reader import Envelope
from edgeml.runtime.rules import RuleList
from edgeml.runtime.tensor_predictor import TensorPredictor
from edgeml.serving.bodies import NDJSON
from edgeml.serving.capturing import Tap
from edgeml.serving.problems import JSON, Answer, Headers, describe, violation_error

# Lines that are answered before they are handed to the server: few enough to stay small, many enough to be cheap.
LINES_AT_ONCE = 64
_BEFORE_ID = len(b'{"id":"')

_encode = msgspec.json.Encoder().encode


class _Records(msgspec.Struct):
    records: list[msgspec.Raw]


# Of a body that the engine has taken already: where each record begins and ends.
records_of = msgspec.json.Decoder(_Records).decode


class Voice:
    """How the answers of one bundle are written down.

    Args:
        predictor: Whose answers they are.
        quality: Who writes their ids.
        asked: Gives the rules that are asked now, for explanations; None where none can be disabled.

    Attributes:
        headers: Headers of a JSON answer.
        line_headers: Headers of an NDJSON answer.
    """

    def __init__(
        self,
        predictor: Predictor | TensorPredictor,
        quality: AnswerQuality,
        asked: Callable[[], RuleList | None] | None = None,
    ) -> None:
        self._predictor = predictor
        self._asked = asked
        self._explainer: Explainer | None = None
        names = {"model": predictor.name, "version": predictor.version, "bundle": predictor.digest}
        self._open = _encode(names)[:-1] + b',"predictions":['
        self._line_close = b"," + _encode(names)[1:] + b"\n"
        self.headers: Headers = [("content-type", JSON), ("edgeml-bundle", predictor.digest)]
        self.line_headers: Headers = [("content-type", NDJSON), ("edgeml-bundle", predictor.digest)]
        # Without what opens it: the id.
        self._rules: dict[str | None, tuple[Prediction, bytes]] = {}
        self._open_model = quality.counters.id_of_model
        self._open_value = quality.counters.id_of_value
        self._open_rule = quality.counters.id_of_rule
        self._open_middle = quality.counters.id_of_middle
        self._open_fallback = quality.counters.id_of_fallback

    def prediction(self, answer: Prediction) -> bytes:
        """One prediction with its id, without what the whole answer shares."""
        if answer.tier == "model":
            label, scores = answer.label, answer.scores
            if label is None:
                # Of several numbers at once an id can hold none.
                value = answer.value if isinstance(answer.value, float) else math.nan
                return self._open_value(value) + b'"value":' + _encode(answer.value) + b',"tier":"model"}'
            opening = self._open_model(label, scores) + b'"label":' + _encode(label)
            if scores is None:
                return opening + b',"tier":"model"}'
            return opening + b',"scores":' + _encode(scores) + b',"tier":"model"}'
        if answer.tier == "rule":
            kept = self._rules.get(answer.rule)
            if kept is None or kept[0] is not answer:
                kept = answer, _whole(answer)[1:]
                self._rules[answer.rule] = kept
            return self._open_rule(answer.rule) + kept[1]
        opening = self._open_middle(answer.label) if answer.tier == "middle" else self._open_fallback()
        return opening + _whole(answer)[1:]

    def answer(self, envelope: Envelope, answers: Sequence[Prediction]) -> bytes:
        """The body for a records request."""
        if len(answers) == 1 and not envelope.violations and envelope.id is None:
            return self._open + self.prediction(answers[0]) + b"]}"
        return self.answer_of(envelope, list(map(self.prediction, answers)))

    def answer_of(self, envelope: Envelope, written: list[bytes]) -> bytes:
        """The body for a records request.

        Args:
            envelope: The request.
            written: Its predictions; see ``prediction``.
        """
        opening = self._open
        if envelope.id is not None:
            opening = b'{"id":' + _encode(envelope.id) + b"," + opening[1:]
        if envelope.violations:
            written = _with_errors(envelope, written)
        return opening + b",".join(written) + b"]}"

    def explained(
        self, body: bytes, envelope: Envelope, answers: Sequence[Prediction], written: list[bytes]
    ) -> list[bytes]:
        """Predictions with their explanations.

        Args:
            body: The request.
            envelope: What stands in it beside its records.
            answers: Its predictions.
            written: The same, written down.
        """
        allowance = Allowance()
        records = records_of(body).records  # it was read once already, by a stricter reader
        return [
            self._with_explanation(records[row], answer, written[at], allowance)
            for at, (row, answer) in enumerate(zip(envelope.rows, answers, strict=True))
        ]

    def _with_explanation(self, record: bytes, answer: Prediction, written: bytes, allowance: Allowance) -> bytes:
        if self._explainer is None:
            assert isinstance(self._predictor, Predictor)  # a bare model has answered no record
            self._explainer = Explainer(self._predictor, self._asked)
        said = self._explainer.of_json(bytes(record), answer, allowance)
        return written[:-1] + b',"explanation":' + _encode(said) + b"}"

    def id_of(self, answer: Prediction) -> str:
        """An id for an answer that goes out without one."""
        return written_id(self.prediction(answer))

    def lines(self, engine: Engine, lines: Iterable[bytes], tap: Tap, *, explain: bool = False) -> Iterator[bytes]:
        """One prediction or error for each line that is not empty, in pieces of several lines."""
        # One for all lines: a request is bounded, however many it has.
        allowance = Allowance() if explain else None
        written = (self._line(engine, line, tap, allowance) for line in lines if line and not line.isspace())
        while piece := b"".join(islice(written, LINES_AT_ONCE)):
            yield piece

    def _line(self, engine: Engine, line: bytes, tap: Tap, allowance: Allowance | None) -> bytes:
        try:
            answer = engine.predict_json_record(line)
            written = self.prediction(answer)
            sampler = tap.capturing.sampler
            sampler.left -= 1
            if sampler.left < 0 and not sampler.passes(answer.tier, answer.scores):
                tap.take(
                    sampler, lambda: JsonRecords(line, alone=True), (answer,), engine, lambda _: written_id(written)
                )
            if allowance is not None:
                return self._with_explanation(line, answer, written, allowance)[:-1] + self._line_close
            return written[:-1] + self._line_close
        except Exception as error:
            # The status is sent already: whatever happens now belongs into this line.
            return _encode(describe(error)) + b"\n"


def written_id(prediction: bytes) -> str:
    """The id that a written prediction opens with."""
    return prediction[_BEFORE_ID : _BEFORE_ID + LETTERS].decode()


def answer_records(engine: Engine, voice: Voice, body: bytes, tap: Tap) -> Answer:
    """Answers a JSON body of records.

    Args:
        engine: Who answers.
        voice: How its answers are written down.
        body: The body.
        tap: Where the answers are offered.
    """
    envelope, answers = engine.predict_json(body)
    sampler = tap.capturing.sampler
    sampler.left -= len(answers)
    passed = sampler.left >= 0 or (len(answers) == 1 and sampler.passes(answers[0].tier, answers[0].scores))
    if passed and not envelope.explain:
        return 200, voice.headers, voice.answer(envelope, answers)
    written = list(map(voice.prediction, answers))
    if not passed:
        tap.take(
            sampler,
            lambda: JsonRecords(body, [each.row for each in envelope.violations]),
            answers,
            engine,
            lambda row: written_id(written[row]),
        )
    if envelope.explain:
        return 200, voice.headers, voice.answer_of(envelope, voice.explained(body, envelope, answers, written))
    return 200, voice.headers, voice.answer_of(envelope, written)


def answer_lines(engine: Engine, voice: Voice, body: bytes, tap: Tap, *, explain: bool = False) -> Answer:
    """Answers an NDJSON body.

    Args:
        engine: Who answers.
        voice: How its answers are written down.
        body: The body.
        tap: Where the answers are offered.
        explain: Whether each answer is to be explained.

    Raises:
        RequestError: The bundle takes no records.
    """
    predictor = engine.predictor
    if isinstance(predictor, TensorPredictor):
        raise RequestError(
            f"{predictor.name} takes tensors, not records; use /v2/models/{predictor.name}/infer", code="tensors_only"
        )
    return 200, voice.line_headers, voice.lines(engine, _split(body), tap, explain=explain)


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
