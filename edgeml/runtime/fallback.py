"""What is answered when the model cannot: the bundle's declared fallback.

The fallback is a constant that was chosen when the bundle was built (default: the most frequent class with the
training priors as scores, or the median). It is always marked ``tier: fallback`` and ``degraded``. It must be an answer
that the model itself could give: a caller reads it with the same code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgeml.errors import BundleError
from edgeml.runtime.outputs import Outputs
from edgeml.runtime.prediction import Label, Prediction

# How every reason begins where the model did answer.
INVALID = "the model gave "
_MEMBERS = ("label", "value", "scores")


def fallback_prediction(document: Mapping[str, Any], outputs: Outputs, *, bundle: str, version: str) -> Prediction:
    """Makes the fallback answer from the config's ``fallback`` member.

    Args:
        document: ``{"label": ..., "scores": {...}}`` or ``{"value": ...}``.
        outputs: How the model answers, so that the fallback answers alike.
        bundle: Digest of the bundle.
        version: Version label of the bundle.

    Raises:
        BundleError: The fallback does not fit the model's task.
    """
    wrong = fallback_error(
        document, labels=outputs.labels, n_values=outputs.n_values or 1, shares=outputs.scores != "decision"
    )
    if wrong:
        raise BundleError(f"config member fallback: {wrong}")
    return Prediction(
        tier="fallback",
        label=document.get("label"),
        value=document.get("value"),
        scores=document.get("scores"),
        degraded=True,
        reason="the model gave no usable answer",
        bundle=bundle,
        version=version,
    )


def fallback_error(
    document: Mapping[str, Any], *, labels: Sequence[Label] | None, n_values: int, shares: bool
) -> str | None:
    """What is wrong with a fallback, None if nothing.

    Args:
        document: The fallback, in JSON types.
        labels: The model's labels; None for a regression.
        n_values: Numbers that a regression gives for one record.
        shares: Whether scores are shares of 1; else any finite numbers (decisions).
    """
    for name in document:
        if name not in _MEMBERS:
            return f"unknown member {name!r}; there are {', '.join(_MEMBERS)}"
    if labels is None:
        for name in ("label", "scores"):
            if document.get(name) is not None:
                return f"{name} {document[name]!r} is given, but the model answers with a number; give value alone"
        return _value_error(document.get("value"), n_values)
    if document.get("value") is not None:
        return f"value {document['value']!r} is given, but the model answers with a label; give label, not value"
    label = document.get("label")
    # True equals 1, but a caller does not read them alike.
    if not any(type(label) is type(known) and label == known for known in labels):
        return f"label {label!r} is not one of the model's labels, {_listed(labels)}"
    scores = document.get("scores")
    return None if scores is None else _scores_error(scores, labels, shares)


def _value_error(value: Any, n_values: int) -> str | None:
    if value is None:
        return "a regression needs a value"
    if n_values == 1:
        return None if _is_finite(value) else f"value must be one finite number, got {value!r}"
    if not isinstance(value, list) or len(value) != n_values or not all(map(_is_finite, value)):
        return f"value must be a list of {n_values} finite numbers, one for each output of the model, got {value!r}"
    return None


def _scores_error(scores: Any, labels: Sequence[Label], shares: bool) -> str | None:
    if not isinstance(scores, Mapping):
        return f"scores must be an object with a number for each label, got {scores!r}"
    known = [str(label) for label in labels]
    for name, score in scores.items():
        if name not in known:
            return f"scores: {name!r} is not one of the model's labels, {_listed(known)}"
        if not _is_finite(score) or (shares and not 0 <= score <= 1):
            return f"scores: {name!r} must be {'a number from 0 to 1' if shares else 'a finite number'}, got {score!r}"
    for name in known:
        if name not in scores:
            return f"scores: there is none for label {name!r}; give one for each label, or no scores"
    return None


def _is_finite(number: Any) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)


def _listed(labels: Sequence[Label]) -> str:
    return ", ".join(map(repr, labels[:8])) + (", ..." if len(labels) > 8 else "")


def is_invalid(reason: str | None) -> bool:
    """Whether a fallback's reason says that the model did answer, with something unusable; otherwise it raised."""
    return reason is not None and reason.startswith(INVALID)
