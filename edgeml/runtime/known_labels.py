"""A label as a file of records may hold it: as text, and with a decimal where a program has made numbers of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeml.runtime.prediction import Label

_BOOLEANS = {"true": True, "false": False}


def written_label(label: Any) -> str:
    """How a file has a label.

    Args:
        label: The label.
    """
    return str(label).lower() if isinstance(label, bool) else str(label)


def label_in(labels: Sequence[Label], said: Any) -> Label | None:
    """Which of the labels is meant; None where it is none of them.

    Args:
        labels: The labels.
        said: What the file says: a value of JSON, or the text of a cell. A table that has held gaps says ``1.0`` where
            the label is 1, and ``True`` where it is true.
    """
    text = written_label(said)
    for label in labels:
        if written_label(label) == text:
            return label
    if isinstance(said, str) and text.lower() in _BOOLEANS:
        said = _BOOLEANS[text.lower()]
    for label in labels:
        of_truth = isinstance(label, bool) or isinstance(said, bool)
        if label is said if of_truth else isinstance(label, int | float) and _number(said) == label:
            return label
    return None


def _number(said: Any) -> float | None:
    if not isinstance(said, str | int | float):
        return None
    try:
        return float(said)
    except (ValueError, OverflowError):
        return None
