"""The shell around the Predictor: it keeps time and remembers what it saw.

Here, and not in the Predictor, is the place of everything that needs a clock or a state: latency per tier now;
deadlines, circuit breaker, experiment, drift and capture hang onto the same two points, before and after ``_timed``.

An Engine holds one immutable snapshot (``predictor``). A request takes the snapshot once and uses it to its end, so
that replacing it (one attribute assignment, atomic in CPython) never mixes two bundles in one answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeml.errors import RequestError
from edgeml.monitor.latency import LatencyMonitor
from edgeml.runtime.prediction import TIERS, Prediction, PredictionBatch
from edgeml.runtime.predictor import Predictor
from edgeml.runtime.reader import Envelope
from edgeml.runtime.tensor_predictor import TensorPredictor


class Engine:
    """Answers requests for one model and observes how long they take.

    Attributes:
        predictor: The snapshot now serving.
        latency: Histograms per tier; a batch counts once for each record, with the batch's time divided evenly.
    """

    def __init__(
        self,
        predictor: Predictor | TensorPredictor,
        *,
        latency: LatencyMonitor | None = None,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self.predictor = predictor
        self.latency = latency if latency is not None else LatencyMonitor()
        self._clock = clock

    @property
    def name(self) -> str:
        """Name of the bundle now serving."""
        return self.predictor.name

    @property
    def version(self) -> str:
        """Version label of the bundle now serving."""
        return self.predictor.version

    @property
    def digest(self) -> str:
        """Digest of the bundle now serving."""
        return self.predictor.digest

    def predict(self, record: Mapping[str, Any]) -> Prediction:
        """Answers one record; see ``Predictor.predict``."""
        predictor = self._records()
        start = self._clock()
        answer = predictor.predict(record)
        self.latency.observe(answer.tier, self._clock() - start)
        return answer

    def predict_json_record(self, line: bytes) -> Prediction:
        """Answers one JSON object; see ``Predictor.predict_json_record``."""
        predictor = self._records()
        start = self._clock()
        answer = predictor.predict_json_record(line)
        self.latency.observe(answer.tier, self._clock() - start)
        return answer

    def predict_row(self, matrix: NDArray[Any]) -> Prediction:
        """Answers one record given as an array [1, d]; see ``Predictor.predict_row``."""
        predictor = self._records()
        start = self._clock()
        answer = predictor.predict_row(matrix)
        self.latency.observe(answer.tier, self._clock() - start)
        return answer

    def predict_json_row(self, numbers: bytes, *, single: bool) -> Prediction | None:
        """Answers one record given as a flat JSON array of numbers; see ``Predictor.predict_json_row``."""
        predictor = self._records()
        start = self._clock()
        answer = predictor.predict_json_row(numbers, single=single)
        if answer is not None:
            self.latency.observe(answer.tier, self._clock() - start)
        return answer

    def predict_json(self, body: bytes) -> tuple[Envelope, Sequence[Prediction]]:
        """Answers the body of a records request; see ``Predictor.predict_json``."""
        predictor = self._records()
        start = self._clock()
        envelope, answers = predictor.predict_json(body)
        self._observe(answers, self._clock() - start)
        return envelope, answers

    def predict_many(self, records: Any) -> Sequence[Prediction]:
        """Answers many records; see ``Predictor.predict_many``."""
        return self._timed(self._records().predict_many, records)

    def predict_columns(self, columns: Mapping[str, ArrayLike]) -> Sequence[Prediction]:
        """Answers records given by columns; see ``Predictor.predict_columns``."""
        return self._timed(self._records().predict_columns, columns)

    def predict_matrix(self, matrix: NDArray[Any]) -> Sequence[Prediction]:
        """Answers records given as an array; see ``Predictor.predict_matrix``."""
        return self._timed(self._records().predict_matrix, matrix)

    def infer(self, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Answers an inference request of the Open Inference Protocol.

        Args:
            tensors: For a bare ONNX model its inputs. Otherwise one array [n] or [n, 1] for each feature, or, where
                all features are numeric, one array ``input`` of [n, d].

        Returns:
            For a bare ONNX model its outputs. Otherwise ``label`` or ``value``, ``scores`` where the model has
            them (NaN in rows that a rule answered), and ``tier``.

        Raises:
            RequestError: A tensor is missing or does not fit.
            ModelError: A bare ONNX model failed.
        """
        predictor = self.predictor
        if isinstance(predictor, TensorPredictor):
            start = self._clock()
            outputs = predictor.infer(tensors)
            self.latency.observe("model", self._clock() - start)
            return outputs
        if set(tensors) == {"input"} and "input" not in predictor.schema.slots:
            return tensors_of(self._timed(predictor.predict_matrix, tensors["input"]), predictor)
        columns = {}
        for name, array in tensors.items():
            if array.ndim == 2 and array.shape[1] == 1:
                array = array[:, 0]
            if array.ndim != 1:
                raise RequestError(
                    f"input {name!r}: expected shape [n] or [n, 1], got {list(array.shape)}",
                    code="bad_shape",
                    field=name,
                )
            columns[name] = array
        return tensors_of(self._timed(predictor.predict_columns, columns), predictor)

    def _records(self) -> Predictor:
        predictor = self.predictor
        if isinstance(predictor, TensorPredictor):
            raise RequestError(
                f"{predictor.name} takes tensors, not records; use /v2/models/{predictor.name}/infer",
                code="tensors_only",
            )
        return predictor

    def _timed(self, answer: Callable[[Any], Sequence[Prediction]], records: Any) -> Sequence[Prediction]:
        start = self._clock()
        answers = answer(records)
        self._observe(answers, self._clock() - start)
        return answers

    def _observe(self, answers: Sequence[Prediction], elapsed_ns: int) -> None:
        if type(answers) is tuple:  # a single answer; ``isinstance`` would go through the batch's abstract base first
            self.latency.observe(answers[0].tier, elapsed_ns)
        elif isinstance(answers, PredictionBatch):
            each = elapsed_ns // max(1, len(answers))
            for tier, count in zip(TIERS, np.bincount(answers.tiers, minlength=3).tolist(), strict=True):
                self.latency.observe_many(tier, each, count)
        elif answers:
            self.latency.observe(answers[0].tier, elapsed_ns)


def tensors_of(answers: Sequence[Prediction], predictor: Predictor) -> dict[str, NDArray[Any]]:
    """Predictions as the output tensors of the Open Inference Protocol."""
    tiers = np.array([answer.tier for answer in answers], dtype=object)
    if not predictor.labels:
        return {"value": np.array([answer.value for answer in answers], dtype=np.float64), "tier": tiers}
    labels = [answer.label for answer in answers]
    whole = all(isinstance(label, int) and not isinstance(label, bool) for label in predictor.labels)
    outputs = {"label": np.array(labels, dtype=np.int64 if whole else object)}
    scores = getattr(answers, "scores", None)
    if scores is not None:
        outputs["scores"] = scores
    outputs["tier"] = tiers
    return outputs
