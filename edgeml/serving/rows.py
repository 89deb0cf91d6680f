"""One row of numbers as a tensor, in and out: the commonest infer request, read and written without a document.

1. Clients send the same request again and again with other numbers. What stood around the numbers of the last one is
   kept; where a body begins and ends with the same bytes, and between them is one flat array of as many numbers, it
   is the same request by JSON's grammar, and only its numbers are read. All else is read in full (``tensors``).
2. In the answer all but the scores stands ready.
"""

from __future__ import annotations

from typing import Any

import msgspec

from edgeml.runtime.answer_tensors import provenance
from edgeml.runtime.engine import Engine
from edgeml.runtime.prediction import Label, Prediction
from edgeml.runtime.predictor import Predictor
from edgeml.serving.capturing import Tap, TensorRecords

# A client that sends a novel beside its numbers is read in full each time.
MAX_FRAME_BYTES = 1024

_encode = msgspec.json.Encoder().encode


class Rows:
    """Rows of one bundle.

    Args:
        predictor: Whose rows.
        label_type: Datatype of the labels.
        score_type: Datatype of the scores.
    """

    def __init__(self, predictor: Predictor, *, label_type: str, score_type: str) -> None:
        self._frame: tuple[bytes, bytes, int, bool, str | None] | None = None
        self._labelled, self._many = bool(predictor.labels), predictor.outputs.n_values or 1
        self._count = len(predictor.labels) if predictor.outputs.scores else 0
        head = _encode({"model_name": predictor.name, "model_version": predictor.version})[:-1] + b',"outputs":['
        if self._labelled:
            self._head = head + _open("label", label_type, [1])
        else:
            self._head = head + _open("value", "FP64", [1] if self._many == 1 else [1, self._many])
        self._scores = b"}," + _open("scores", score_type, [1, self._count])
        self._tier = b"}," + _open("tier", "BYTES", [1])
        self._bundle = {"bundle": predictor.digest}
        self._model_tail = self._tail("model", {"tier": "model", "degraded": False})
        opened: dict[Label | None, bytes] = {}
        for label in predictor.labels if self._count else ():
            opened[label] = self._head + _encode([label]) + self._scores
        # 1 and true are one key, and then none is ready.
        self._opened = opened if len(opened) == len(predictor.labels) else {}

    def answer(self, engine: Engine, body: bytes, tap: Tap) -> bytes | None:
        """Answers a request that differs from the last one only in its numbers; None for any other."""
        frame = self._frame
        if frame is None:
            return None
        before, after, around, single, request_id = frame
        if len(body) < around or not body.startswith(before) or not body.endswith(after):
            return None
        numbers = body[len(before) : len(body) - len(after)]
        alone = engine.predict_json_row(numbers, single=single)
        if alone is None:
            return None
        sampler = tap.capturing.sampler
        sampler.left -= 1
        if sampler.left < 0 and not sampler.passes(alone.tier, alone.scores):
            tap.take(sampler, lambda: TensorRecords(tap.names, numbers=numbers, size=len(numbers)), (alone,), engine)
        return self.write(alone, request_id)

    def keep(self, body: bytes, numbers: bytes, *, single: bool, request_id: str | None) -> None:
        """Keeps what stands around the numbers.

        Args:
            body: A request that was read in full.
            numbers: The array of its numbers, as it stands in the body.
            single: Whether the numbers are FP32.
            request_id: Its id.
        """
        before, _, after = body.partition(numbers)
        around = len(before) + len(after)
        # Where the same bytes stand elsewhere too (a shape, an id), it is unknown which of them are the numbers.
        if around <= MAX_FRAME_BYTES and numbers not in after:
            self._frame = (before, after, around, single, request_id)

    def write(self, answer: Prediction, request_id: str | None) -> bytes:
        """The body of an answer."""
        scores = answer.scores if answer.tier == "model" else None
        opened = self._opened.get(answer.label) if scores else None
        if scores and opened is not None:
            body = opened + _encode(list(scores.values())) + self._model_tail
        else:
            body = self._in_full(answer)
        return body + (b"}" if request_id is None else b',"id":' + _encode(request_id) + b"}")

    def _in_full(self, answer: Prediction) -> bytes:
        """Any answer, without its end."""
        if not self._labelled:
            body = self._head + _encode([answer.value] if self._many == 1 else answer.value)
        else:
            body = self._head + _encode([answer.label])
            if self._count:
                scored = answer.scores if answer.tier in ("model", "middle") else None
                body += self._scores + _encode(list(scored.values()) if scored else [None] * self._count)
        return body + self._tail(answer.tier, provenance((answer,)))

    def _tail(self, tier: str, parameters: dict[str, Any]) -> bytes:
        return self._tier + _encode([tier]) + b'}],"parameters":' + _encode(self._bundle | parameters)


def _open(name: str, datatype: str, shape: list[int]) -> bytes:
    """A tensor up to its data."""
    return _encode({"name": name, "datatype": datatype, "shape": shape})[:-1] + b',"data":'
