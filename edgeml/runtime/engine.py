"""The shell around the Predictor: it keeps time and remembers what it saw.

Here, and not in the Predictor, is the place of everything that needs a clock or a state: latency per tier, the tally of
a trial, and who is with the model for how long; deadlines, circuit breaker, experiment and capture hang onto the
same two points, before and after ``_ask``. Drift alone is counted by the Predictor, which has the typed values.
Answers of rules that are drawn for an audit are handed to the ``Auditor`` once they are counted.

An Engine belongs to one bundle for ever. What is exchanged when another bundle takes over is the Engine, as one
reference; a request takes it once and keeps to it, so that no answer is ever mixed from two bundles. Where rules are
disabled, the Predictor is exchanged within the Engine in the same way.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from threading import get_ident
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeml.errors import RequestError, SchemaError
from edgeml.monitor.capture_policy import Sampler
from edgeml.monitor.drift import DriftMonitor
from edgeml.monitor.latency import LatencyMonitor
from edgeml.monitor.tally import Tally
from edgeml.monitor.validation import Validation
from edgeml.runtime.answer_quality import AnswerQuality
from edgeml.runtime.answer_tensors import OF_A_BARE_MODEL, Inference, feature_columns, inference
from edgeml.runtime.asked import BY_NUMBERS, Way, of_body, of_columns, of_line, of_many, of_matrix, of_record, of_row
from edgeml.runtime.auditor import Auditor, Audits
from edgeml.runtime.fallback import is_invalid
from edgeml.runtime.golden import GoldenReport
from edgeml.runtime.live_rules import without_rules
from edgeml.runtime.no_model import NO_MODEL
from edgeml.runtime.prediction import FALLBACK, MODEL, TIERS, Prediction, PredictionBatch
from edgeml.runtime.predictor import Predictor
from edgeml.runtime.reader import Envelope
from edgeml.runtime.rules import RuleList
from edgeml.runtime.tensor_predictor import TensorPredictor

# What a question may take for each of its rows, beyond what any question may: a batch of thousands is not stuck for
# being slow. Only questions that are far slower than any of use are meant to be seen.
ROW_NS = 10_000_000
# A golden row is a question of its own, and has the time of one.
GOLDEN_ROWS = 1000
# So much of a JSON body is taken for a row, before anybody has read it.
ROW_BYTES = 64
# Where a bundle promises no deadline.
_NEVER_NS = 1 << 62
_births = itertools.count(1)


class Engine:
    """Answers requests with one bundle and observes how long they take.

    Args:
        predictor: Who answers.
        latency: Histograms per tier.
        tally: Counters of a trial.
        drift: Counters of records and answers; from now on the predictor counts with them. None: nothing is counted.
        quality: Counters of how good the answers are.
        card: The bundle's model card, Markdown; empty where it has none.
        clock: Nanoseconds.

    Attributes:
        predictor: Who answers; without the rules that are disabled.
        whole: The same with all of them.
        disabled: Ids of the rules that are disabled, in the order of the bundle.
        audits: What audits say of it; None where it takes tensors.
        auditor: Who audits, and ...
        sampler: ... who draws for that, as the auditor says; None where nothing is audited.
        latency: Histograms per tier; a batch counts once for each record, with the batch's time divided evenly.
        tally: Counters of a trial.
        drift: Counters of records and answers; None where the bundle has no drift reference.
        quality: Counters of how good the answers are.
        validation: What was refused.
        birth: Number of this engine in this process, rising.
        card: The bundle's model card.
    """

    def __init__(
        self,
        predictor: Predictor | TensorPredictor,
        *,
        latency: LatencyMonitor | None = None,
        tally: Tally | None = None,
        drift: DriftMonitor | None = None,
        quality: AnswerQuality | None = None,
        card: bytes = b"",
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self.predictor = self.whole = predictor
        self.disabled: tuple[str, ...] = ()
        self.latency = latency if latency is not None else LatencyMonitor()
        self.tally = tally if tally is not None else Tally()
        self.drift = drift
        if drift is not None and isinstance(predictor, Predictor):
            predictor.watch(drift.counters)
        self.quality = quality if quality is not None else AnswerQuality(predictor)
        # What each answer is counted with, at hand.
        self._count_quality = self.quality.counters.count
        self._record = self.latency.record
        self._deadline_ns = _NEVER_NS if self.tally.deadline_ns is None else self.tally.deadline_ns
        self.validation = Validation()
        self.birth = next(_births)
        self.card = card
        self.auditor: Auditor | None = None
        self.sampler: Sampler | None = None
        self.audits = Audits(predictor, self.quality.reference) if isinstance(predictor, Predictor) else None
        self._clock = clock
        # Thread -> until when its question may be with the predictor, without the patience that each question gets.
        self._asking: dict[int, int] = {}

    @property
    def name(self) -> str:
        """Name of the bundle."""
        return self.predictor.name

    @property
    def version(self) -> str:
        """Version label of the bundle."""
        return self.predictor.version

    @property
    def digest(self) -> str:
        """Digest of the bundle."""
        return self.predictor.digest

    @property
    def degraded(self) -> str:
        """Why the bundle's model was left out, so that rules and fallback answer alone; empty where it was not."""
        return "" if isinstance(self.predictor, TensorPredictor) else self.predictor.degraded

    def rules(self) -> RuleList | None:
        """The rules that are asked now; None where there are none."""
        predictor = self.predictor
        return None if isinstance(predictor, TensorPredictor) else predictor.rules

    def disable(self, rules: Collection[str]) -> None:
        """Lets the rules answer as if some of them were absent; what is being answered keeps to what it took.

        Args:
            rules: Ids of all that are to be disabled from now on; those that the bundle does not have are passed over.

        Raises:
            RuleError: The others cannot be compiled.
        """
        whole = self.whole
        if isinstance(whole, TensorPredictor) or whole.rules is None:
            return
        named = frozenset(rules)
        disabled = tuple(rule.id for rule in whole.rules.rules if rule.id in named)
        if disabled != self.disabled:
            self.predictor = without_rules(whole, disabled)
            self.disabled = disabled

    def stuck_s(self) -> float:
        """For how many seconds a question has been with the predictor beyond ``ROW_NS`` for each of its rows.

        Returns:
            Of the one that is the most beyond; 0 where none is.
        """
        due = min(self._asking.copy().values(), default=None)
        return 0.0 if due is None else max(0, self._clock() - due) / 1e9

    def golden_check(self) -> GoldenReport:
        """Asks the golden rows again; see ``Predictor.golden_check``. One that hangs is seen as stuck.

        They are those of the whole bundle, so rules that are disabled answer theirs all the same.
        """
        rows = GOLDEN_ROWS * len(self.predictor.golden)
        report: GoldenReport = self._ask(lambda own: own.golden_check(), self.whole, rows, counts=False)[0]
        return report

    def counters(self, *, rss_bytes: int = 0) -> dict[str, Any]:
        """What this bundle did since it was loaded, as a supervisor takes it; see ``Tally.document``."""
        requests = sum(self.latency.histogram(tier).count for tier in TIERS)
        labels = self.predictor.labels if isinstance(self.predictor, Predictor) else ()
        given = dict(zip(labels, self.quality.counters.labels(), strict=True))
        return self.tally.document(requests, given, rss_bytes=rss_bytes)

    def watched(self) -> dict[str, Any]:
        """Everything that was counted since this engine was made, as a supervisor takes it (``monitor.counted``)."""
        unknown = self.predictor.reader.unknown_counts() if isinstance(self.predictor, Predictor) else {}
        return {
            "birth": self.birth,
            "latency": self.latency.document(),
            "missed": self.tally.deadline_misses,
            "validation": self.validation.document(),
            "unknown": unknown,
            "capture": {},
            "quality": self.quality.document() if isinstance(self.predictor, Predictor) else None,
            "drift": None if self.drift is None else self.drift.document(),
            "audit": {} if self.audits is None else self.audits.counts.document(),
        }

    @property
    def seen(self) -> tuple[int, int, int]:
        """Answers, refused questions and audits so far: where none has changed, ``watched`` has not either."""
        audited = 0 if self.audits is None else self.audits.counts.seen
        return sum(self.latency.histogram(tier).count for tier in TIERS), self.validation.count, audited

    def predict(self, record: Mapping[str, Any]) -> Prediction:
        """Answers one record; see ``Predictor.predict``."""
        return self._seen(*self._ask(self._records().predict, record), of_record, record)

    def predict_json_record(self, line: bytes) -> Prediction:
        """Answers one JSON object; see ``Predictor.predict_json_record``."""
        return self._seen(*self._ask(self._records().predict_json_record, line), of_line, line)

    def predict_row(self, matrix: NDArray[Any]) -> Prediction:
        """Answers one record given as an array [1, d]; see ``Predictor.predict_row``."""
        return self._seen(*self._ask(self._records().predict_row, matrix), of_row, matrix)

    def predict_json_row(self, numbers: bytes, *, single: bool) -> Prediction | None:
        """Answers one record given as a flat JSON array of numbers; see ``Predictor.predict_json_row``."""
        predictor = self._records()
        answer, elapsed = self._ask(lambda given: predictor.predict_json_row(given, single=single), numbers)
        return None if answer is None else self._seen(answer, elapsed, BY_NUMBERS[single], numbers)

    def predict_json(self, body: bytes) -> tuple[Envelope, Sequence[Prediction]]:
        """Answers the body of a records request; see ``Predictor.predict_json``."""
        predictor = self._records()
        rows = min(len(body) // ROW_BYTES, predictor.reader.max_rows)
        (envelope, answers), elapsed = self._ask(predictor.predict_json, body, rows)
        self._observe(answers, elapsed)
        if envelope.violations:
            self.validation.refused(envelope.violations)
        sampler = self.sampler
        if sampler is not None:
            sampler.left -= len(answers)
            if sampler.left < 0:
                self._audit(sampler, answers, of_body, (body, [each.row for each in envelope.violations]))
        return envelope, answers

    def predict_many(self, records: Any) -> Sequence[Prediction]:
        """Answers many records; see ``Predictor.predict_many``."""
        return self._timed(self._records().predict_many, records, _length(records), of_many)

    def predict_columns(self, columns: Mapping[str, ArrayLike]) -> Sequence[Prediction]:
        """Answers records given by columns; see ``Predictor.predict_columns``."""
        return self._timed(self._records().predict_columns, columns, _longest(columns), of_columns)

    def predict_matrix(self, matrix: NDArray[Any]) -> Sequence[Prediction]:
        """Answers records given as an array; see ``Predictor.predict_matrix``."""
        return self._timed(self._records().predict_matrix, matrix, _length(matrix), of_matrix)

    def infer(self, tensors: Mapping[str, NDArray[Any]]) -> Inference:
        """Answers an inference request of the Open Inference Protocol.

        Args:
            tensors: For a bare ONNX model its inputs. Otherwise one array [n] or [n, 1] for each feature, or, where
                all features are numeric, one array ``input`` of [n, d].

        Returns:
            For a bare ONNX model its outputs. Otherwise ``label`` or ``value``, ``scores`` where the model has
            them (NaN in rows that a rule answered), and ``tier``. With them who gave the answers.

        Raises:
            RequestError: A tensor is missing or does not fit.
            ModelError: A bare ONNX model failed.
        """
        predictor = self.predictor
        if isinstance(predictor, TensorPredictor):
            outputs: dict[str, NDArray[Any]]
            outputs, elapsed = self._ask(predictor.infer, tensors, _longest(tensors))
            self._record["model"](elapsed)
            if elapsed > self._deadline_ns:
                self.tally.missed()
            return Inference(outputs, OF_A_BARE_MODEL)
        if set(tensors) == {"input"} and "input" not in predictor.schema.slots:
            return inference(self.predict_matrix(tensors["input"]), predictor)
        return inference(self.predict_columns(feature_columns(tensors, predictor.schema.image)), predictor)

    def _records(self) -> Predictor:
        predictor = self.predictor
        if isinstance(predictor, TensorPredictor):
            raise RequestError(
                f"{predictor.name} takes tensors, not records; use /v2/models/{predictor.name}/infer",
                code="tensors_only",
            )
        return predictor

    def _ask(self, call: Callable[[Any], Any], question: Any, rows: int = 1, *, counts: bool = True) -> tuple[Any, int]:
        """Asks the predictor; gives its answer and the nanoseconds that it took."""
        me, start = get_ident(), self._clock()
        self._asking[me] = start + rows * ROW_NS
        try:
            answer = call(question)
        except SchemaError as error:
            self.validation.refused(error.violations)
            raise  # the question's fault
        except RequestError as error:
            self.validation.request_refused(error.code)
            raise
        except (MemoryError, OSError):
            raise  # the box's fault
        except Exception as error:
            if counts:
                self.tally.failed(invalid=is_invalid(str(error)), answered=False)
            raise
        finally:
            del self._asking[me]
        return answer, self._clock() - start

    def _timed(
        self, answer: Callable[[Any], Sequence[Prediction]], records: Any, rows: int, way: Way
    ) -> Sequence[Prediction]:
        answers: Sequence[Prediction]
        answers, elapsed = self._ask(answer, records, rows)
        self._observe(answers, elapsed)
        sampler = self.sampler
        if sampler is not None:
            sampler.left -= len(answers)
            if sampler.left < 0:
                self._audit(sampler, answers, way, records)
        return answers

    def _audit(self, sampler: Sampler, answers: Sequence[Prediction], way: Way, question: Any) -> None:
        """Draws among answers whose number was taken off."""
        if self.auditor is not None and self.audits is not None:
            self.auditor.take(sampler, self.audits, answers, way, question)

    def _seen(self, answer: Prediction, elapsed_ns: int, way: Way | None = None, question: Any = None) -> Prediction:
        """Counts an answer. Without a way, whoever asks draws for the audits himself."""
        self._record[answer.tier](elapsed_ns)
        if elapsed_ns > self._deadline_ns:
            self.tally.missed()
        self._count_quality(answer)
        if answer.degraded:
            self._fell_back(answer.reason)
        sampler = self.sampler
        if sampler is not None and way is not None:
            sampler.left -= 1
            if sampler.left < 0:
                self._audit(sampler, (answer,), way, question)
        return answer

    def _fell_back(self, reason: str | None) -> None:
        if reason == NO_MODEL:
            self.tally.fell_back()
        else:
            self.tally.failed(invalid=is_invalid(reason))

    def _observe(self, answers: Sequence[Prediction], elapsed_ns: int) -> None:
        if type(answers) is tuple:  # a single answer; ``isinstance`` would go through the batch's abstract base first
            self._seen(answers[0], elapsed_ns)
        elif isinstance(answers, PredictionBatch):
            self._observe_batch(answers, elapsed_ns)
        elif answers:
            self._seen(answers[0], elapsed_ns)

    def _observe_batch(self, answers: PredictionBatch, elapsed_ns: int) -> None:
        each = elapsed_ns // max(1, len(answers))
        self.quality.observe_batch(answers)
        for tier, count in zip(TIERS, np.bincount(answers.tiers, minlength=len(TIERS)).tolist(), strict=True):
            self.latency.observe_many(tier, each, count)
        if answers.label_index is not None:
            # The model's alone: with those of its answers when the bundle was built they are compared.
            given = answers.label_index[answers.tiers == MODEL]
            self.quality.counters.count_labels(np.bincount(given, minlength=len(answers.labels)))
        # The deadline is the request's, and each of its records waited for all of them.
        if elapsed_ns > self._deadline_ns:
            self.tally.missed(len(answers))
        for row in np.flatnonzero(answers.tiers == FALLBACK).tolist():
            self._fell_back(answers.reasons.get(row))


def _length(rows: Any) -> int:
    """How many rows; 1 for what has no length, which the predictor refuses or answers as it sees fit."""
    try:
        return len(rows)
    except TypeError:
        return 1


def _longest(columns: Mapping[str, Any]) -> int:
    return max(map(_length, columns.values()), default=1)
