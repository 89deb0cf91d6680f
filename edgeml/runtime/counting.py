"""What is counted of a bundle's records and answers: the reference's layout joined with how this bundle answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeml.bundles import Bundle
from edgeml.monitor.drift import DriftMonitor
from edgeml.monitor.drift_layout import Layout
from edgeml.runtime.members import reference_of
from edgeml.runtime.predictor import Predictor


def drift_layout(bundle: Bundle, reference: Mapping[str, Any] | None = None) -> Layout | None:
    """Reads what is to be counted; None where a bundle has no drift reference, or takes tensors.

    Args:
        bundle: The bundle.
        reference: Its ``reference_of``; None reads it.

    Raises:
        BundleError: The reference does not fit the schema; names the member and the field.
    """
    reference = reference_of(bundle) if reference is None else reference
    if not reference or bundle.config["task"] == "tensors":
        return None
    return Layout.of(reference, bundle.config["schema"])


def drift_monitor(layout: Layout, predictor: Predictor) -> DriftMonitor:
    """Makes counters, still at nought, that the predictor can be told to ``watch`` with.

    Args:
        layout: What is to be counted.
        predictor: Who answers.
    """
    index_of = {str(label): index for index, label in enumerate(predictor.labels)}
    rules = predictor.rules.rules if predictor.rules is not None else ()
    return DriftMonitor(
        layout,
        label_values=predictor.outputs.label_values or (),
        rule_labels=[-1 if rule.label is None else index_of.get(str(rule.label), -1) for rule in rules],
        fallback_label=index_of.get(str(predictor.fallback.label), -1),
    )
