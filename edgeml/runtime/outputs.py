"""How the model's output tensors are read: the ``outputs`` member of a bundle's config.

1. ``decision: argmax``: the label is that of the largest score, the first one on a tie (as numpy's argmax).
2. ``decision: label``: the graph gives the label itself as an int64, looked up in ``label_values``.
3. No labels: a regression, whose ``value`` output holds one number a row, or ``n_values`` of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeml.errors import BundleError
from edgeml.runtime.prediction import Label


class Outputs(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How to read the model's outputs.

    Attributes:
        labels: The labels in the order of the score columns; None for a regression.
        scores: ``probability`` or ``decision``, what the ``scores`` output means; None if there is none.
        decision: ``argmax`` or ``label``; None for a regression.
        label_values: Raw value of the ``label`` output for each label, in the order of ``labels``.
        n_values: Numbers a row of a regression; None for the others.
    """

    labels: list[Label] | None = None
    scores: str | None = None
    decision: str | None = None
    label_values: list[int] | None = None
    n_values: int | None = None

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Outputs:
        """Reads and checks the document.

        Raises:
            BundleError: A member is missing, unknown or contradicts another.
        """
        try:
            outputs = msgspec.convert(document, cls, strict=True)
        except msgspec.ValidationError as error:
            raise BundleError(f"config member outputs: {error}") from error
        outputs._check()
        return outputs

    def _check(self) -> None:
        if self.labels is None:
            if self.n_values is None or self.n_values < 1:
                raise BundleError("config member outputs: neither labels nor a positive n_values is given")
            return
        if not self.labels or len(set(map(str, self.labels))) != len(self.labels):
            raise BundleError("config member outputs: labels must be distinct, and at least one")
        if self.decision == "argmax":
            if self.scores is None:
                raise BundleError("config member outputs: decision argmax needs scores")
        elif self.decision == "label":
            if self.label_values is None or len(self.label_values) != len(self.labels):
                raise BundleError("config member outputs: decision label needs one label_value for each label")
        else:
            raise BundleError(f"config member outputs: decision must be argmax or label, not {self.decision!r}")

    @property
    def wanted(self) -> list[str]:
        """Names of the graph outputs that are needed, and no others."""
        if self.labels is None:
            return ["value"]
        return (["scores"] if self.scores else []) + (["label"] if self.decision == "label" else [])

    def decode(
        self, given: Mapping[str, NDArray[Any]], rows: NDArray[np.int64] | None, reasons: dict[int, str], n: int
    ) -> tuple[NDArray[np.int64] | None, NDArray[Any] | None, NDArray[Any] | None]:
        """Reads the output tensors of a batch.

        Args:
            given: Name -> tensor of all n rows.
            rows: Rows that the model was asked for; all where None.
            reasons: Row -> why it has no usable answer; unusable rows are added.
            n: Number of rows.

        Returns:
            Index into the labels [n] (-1 where there is none), values, scores; None for what the task does not have.
        """
        scores, values = given.get("scores"), given.get("value")
        asked = slice(None) if rows is None else rows
        for array, what in ((scores, "score"), (values, "value")):
            if array is None or np.isfinite(array[asked]).all():
                continue
            bad = ~np.isfinite(array.reshape(n, -1)).all(axis=1)
            for row in (np.flatnonzero(bad) if rows is None else rows[bad[rows]]).tolist():
                reasons.setdefault(row, f"the model gave a non-finite {what}")
        if self.labels is None:
            if values is None:
                values = np.full(n, math.nan)
            return None, values.reshape(n) if (self.n_values or 1) == 1 else values, None
        if scores is not None and scores.ndim == 1:
            scores = scores.reshape(n, 1)
        label_index = np.full(n, -1, dtype=np.int64)
        if self.decision == "argmax" and scores is not None:
            label_index[asked] = largest(scores[asked])
        elif "label" in given:
            raw = given["label"].reshape(n)
            for index, known in enumerate(self.label_values or ()):
                label_index[raw == known] = index
            missed = label_index < 0
            for row in (np.flatnonzero(missed) if rows is None else rows[missed[rows]]).tolist():
                reasons.setdefault(row, f"the model gave the unknown label {int(raw[row])}")
        return label_index, None, scores


def largest(scores: NDArray[Any]) -> NDArray[np.intp]:
    """Position of the first largest score in each row.

    Args:
        scores: [n, k].
    """
    if scores.shape[1] == 2:
        # Several times as fast as argmax over rows of two.
        return (scores[:, 1] > scores[:, 0]).astype(np.intp)
    largest: NDArray[np.intp] = np.argmax(scores, axis=1)
    return largest
