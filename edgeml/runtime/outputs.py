"""How the model's output tensors are read: the ``outputs`` member of a bundle's config.

1. ``decision: argmax``: the label is that of the largest score, the first one on a tie (as numpy's argmax).
2. ``decision: label``: the graph gives the label itself as an int64, looked up in ``label_values``.
3. No labels: a regression, whose ``value`` output holds one number a row, or ``n_values`` of them.
"""

from __future__ import annotations

from typing import Any

import msgspec

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
