"""What is counted of a bundle's records and answers: the reference's layout joined with how this bundle answers."""

from __future__ import annotations

from edgeml.bundles import Bundle
from edgeml.monitor.drift import DriftMonitor
from edgeml.monitor.drift_layout import MEMBER, Layout
from edgeml.runtime.members import json_member
from edgeml.runtime.predictor import Predictor


def drift_layout(bundle: Bundle) -> Layout | None:
    """Reads what is to be counted; None where a bundle has no drift reference, or takes tensors.

    Raises:
        BundleError: The reference does not fit the schema; names the member and the field.
    """
    if MEMBER not in bundle.members or bundle.config["task"] == "tensors":
        return None
    return Layout.of(json_member(bundle, MEMBER), bundle.config["schema"])


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
