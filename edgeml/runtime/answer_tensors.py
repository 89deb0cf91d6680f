"""Predictions in the form of the Open Inference Protocol: output tensors, and who gave the answers as parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeml.errors import RequestError
from edgeml.runtime.prediction import MIDDLE, Prediction, PredictionBatch
from edgeml.runtime.predictor import Predictor


class Inference(NamedTuple):
    """What an inference request is answered with.

    Attributes:
        outputs: Name -> array.
        parameters: Who gave the answers; see ``provenance``.
    """

    outputs: dict[str, NDArray[Any]]
    parameters: dict[str, Any]


# A bare ONNX model answers itself, or the request fails.
OF_A_BARE_MODEL: dict[str, Any] = {"tier": "model", "degraded": False}


def feature_columns(tensors: Mapping[str, NDArray[Any]], image: str | None = None) -> dict[str, NDArray[Any]]:
    """Tensors of one feature each, as columns of n values.

    Args:
        tensors: Arrays [n] or [n, 1] by feature.
        image: Name of the picture that records consist of; its tensor may have levels [n, height, width(, channels)].

    Raises:
        RequestError: One has another shape.
    """
    columns = {}
    for name, array in tensors.items():
        if name == image and array.ndim > 2:
            columns[name] = array
            continue
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim != 1:
            raise RequestError(
                f"input {name!r}: expected shape [n] or [n, 1], got {list(array.shape)}", code="bad_shape", field=name
            )
        columns[name] = array
    return columns


def inference(answers: Sequence[Prediction], predictor: Predictor) -> Inference:
    """Predictions as tensors with their provenance.

    Args:
        answers: One for each record.
        predictor: Who gave them.
    """
    # A batch makes its predictions each time it is asked for them.
    made = list(answers)
    return Inference(_outputs(made, _scores(answers, predictor), predictor), provenance(made))


def _scores(answers: Sequence[Prediction], predictor: Predictor) -> NDArray[Any] | None:
    """The scores of all rows: where the middle tier answered, its own; None where the model has none.

    The model is not asked where others answer all rows, and then gives no array. What the metadata promises is there
    all the same: which outputs an answer has must not hang upon its records.
    """
    if not predictor.outputs.scores:
        return None
    given, middle = (getattr(answers, name, None) for name in ("scores", "middle_scores"))
    if given is not None and middle is None:
        return given  # type: ignore[no-any-return]
    wide = any(each.name == "scores" and each.dtype == "float64" for each in predictor.session.outputs)
    scores = np.full((len(answers), len(predictor.labels)), math.nan, dtype=np.float64 if wide else np.float32)
    if given is not None:
        scores[:, : given.shape[1]] = given
    if middle is not None and isinstance(answers, PredictionBatch):
        rows = answers.tiers == MIDDLE
        scores[rows] = middle[rows]
    return scores


def provenance(answers: Sequence[Prediction]) -> dict[str, Any]:
    """Which tier answered, whether the model failed, and why.

    Args:
        answers: One for each record.

    Returns:
        ``tier``, ``degraded`` and, where an answer is degraded, ``reason``. Each is one value where all records share
        it, and else a list of one for each record.
    """
    said: dict[str, Any] = {
        "tier": _shared([answer.tier for answer in answers], "model"),
        "degraded": _shared([answer.degraded for answer in answers], False),
    }
    if said["degraded"] is not False:
        said["reason"] = _shared([answer.reason for answer in answers], None)
    return said


def _shared(values: list[Any], of_none: Any) -> Any:
    if not values:
        return of_none
    return values if any(value != values[0] for value in values) else values[0]


def _outputs(answers: list[Prediction], scores: NDArray[Any] | None, predictor: Predictor) -> dict[str, NDArray[Any]]:
    tiers = np.array([answer.tier for answer in answers], dtype=object)
    if not predictor.labels:
        return {"value": np.array([answer.value for answer in answers], dtype=np.float64), "tier": tiers}
    labels = [answer.label for answer in answers]
    whole = all(isinstance(label, int) and not isinstance(label, bool) for label in predictor.labels)
    outputs = {"label": np.array(labels, dtype=np.int64 if whole else object)}
    if scores is not None:
        outputs["scores"] = scores
    outputs["tier"] = tiers
    return outputs
