"""What is answered when the model cannot: the bundle's declared fallback.

The fallback is a constant that was chosen when the bundle was built (default: the most frequent class with the
training priors as scores, or the median). It is always marked ``tier: fallback`` and ``degraded``.
"""

from __future__ import annotations

from typing import Any

from edgeml.errors import BundleError
from edgeml.runtime.outputs import Outputs
from edgeml.runtime.prediction import Prediction


def fallback_prediction(document: dict[str, Any], outputs: Outputs, *, bundle: str, version: str) -> Prediction:
    """Makes the fallback answer from the config's ``fallback`` member.

    Args:
        document: ``{"label": ..., "scores": {...}}`` or ``{"value": ...}``.
        outputs: How the model answers, so that the fallback answers alike.
        bundle: Digest of the bundle.
        version: Version label of the bundle.

    Raises:
        BundleError: The fallback does not fit the model's task.
    """
    unknown = set(document) - {"label", "value", "scores"}
    if unknown:
        raise BundleError(f"config member fallback: unknown member {sorted(unknown)[0]!r}")
    label, value, scores = document.get("label"), document.get("value"), document.get("scores")
    if outputs.labels is not None and label not in outputs.labels:
        raise BundleError(f"config member fallback: label {label!r} is not one of the model's labels")
    if outputs.labels is None and value is None:
        raise BundleError("config member fallback: a regression needs a value")
    return Prediction(
        tier="fallback",
        label=label,
        value=value,
        scores=scores,
        degraded=True,
        reason="the model gave no usable answer",
        bundle=bundle,
        version=version,
    )
