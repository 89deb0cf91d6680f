"""The middle tier: a small model in the native kernel, which answers where it is sure, before the full model is asked.

1. It is a model of its own: a feature program (``middle.features.json``, ``.npy``, ``.terms``) and arrays of the native
   kernel (``middle.kernel.json``, ``.npy``), over the same schema and for the same labels as the full model.
2. It answers where its largest score is at least ``threshold`` of the config's member ``middle``; else, and where its
   program refuses the record or a score is not finite, the full model is asked as if there were no middle tier. How the
   threshold was chosen, and what that guarantees, says ``builder.middle_threshold``.
3. Only classification has one, and its scores are probabilities: of a number nothing says how sure it is.
4. Nothing of it is believed: its members are checked as the model's are, and refused by their names.
5. Where a box has given up the model of a bundle, the middle tier is left out with it: nobody knows which of the two
   ended the process.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml.bundles import Bundle
from edgeml.errors import BundleError
from edgeml.kernels.frame import Frame
from edgeml.runtime.features import FeatureProgram
from edgeml.runtime.members import json_member, npy_member
from edgeml.runtime.native_session import LEAF_COUNTS, NativeSession
from edgeml.runtime.outputs import Outputs, largest
from edgeml.runtime.prediction import Label
from edgeml.runtime.schema import Schema

KEY = "middle"
PREFIX = "middle."
MEMBERS = (
    "middle.features.json",
    "middle.features.npy",
    "middle.features.terms",
    "middle.kernel.json",
    "middle.kernel.npy",
    PREFIX + LEAF_COUNTS,
)
# Rows whose scores are looked at together.
BLOCK_ROWS = 4096


class MiddleTier:
    """The middle tier of one bundle.

    Args:
        program: What makes its rows.
        session: Its model.
        threshold: It answers from this largest score on.
        labels: The bundle's labels, in the order of its scores.

    Attributes:
        program: What makes its rows.
        session: Its model.
        threshold: It answers from this largest score on.
        labels: The bundle's labels.
        keys: Their texts.

    Raises:
        BundleError: The parts do not fit each other.
    """

    def __init__(
        self, program: FeatureProgram, session: NativeSession, *, threshold: float, labels: Sequence[Label]
    ) -> None:
        self.program = program
        self.session = session
        self.threshold = threshold
        self.labels = tuple(labels)
        self.keys = tuple(map(str, labels))
        scores = {output.name: output for output in session.outputs}.get("scores")
        if scores is None or scores.dtype != "float64" or scores.shape != (-1, len(self.labels)):
            raise BundleError(
                f"bundle member {PREFIX}kernel.json: it must give scores, one for each of {len(self.labels)} labels"
            )
        if program.strings:
            raise BundleError(f"bundle member {PREFIX}features.json: strings have no place in a native kernel")
        self.lane()  # its parts fit each other, or it is refused now and not with a request

    def lane(self) -> MiddleLane:
        """The buffers of one call.

        Raises:
            BundleError: Features and kernel do not fit each other.
        """
        return MiddleLane(self)

    def scores_of(self, lane: MiddleLane, frame: Frame, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """The scores of some rows of a frame, whatever the threshold.

        Args:
            lane: Buffers that nobody else uses meanwhile.
            frame: A frame of the schema.
            rows: Which rows.

        Returns:
            [len(rows), labels]; NaN where the program refuses a row.
        """
        encoder, capsule = lane.encoder, frame.capsule
        refused: list[int] = []

        def fill(dense: NDArray[Any], start: int) -> None:
            if encoder.encode(capsule, dense, rows[start : start + len(dense)]):
                refused.extend(start + int(at) for at in encoder.refused)

        scores: NDArray[np.float64] = self.session.stream(len(rows), outputs=["scores"], fill=fill)["scores"]
        if refused:
            scores[refused] = math.nan
        return scores

    def answered(self, scores: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
        """Which rows it answers, and with which label.

        Args:
            scores: As of ``scores_of``.

        Returns:
            Whether each row is answered, and the index of its best label.
        """
        best = largest(scores)
        top = scores[np.arange(len(scores)), best]
        # A sum is finite only where every score is.
        return (top >= self.threshold) & np.isfinite(scores.sum(axis=1)), best


class MiddleLane:
    """The buffers of one call: an encoder's scratch, and the small model's input and output for one row."""

    __slots__ = ("encode", "encoder", "run", "scores")

    def __init__(self, tier: MiddleTier) -> None:
        try:
            self.encoder = tier.program.encoder(tier.session.product)
            binding = tier.session.binding(1, outputs=["scores"])
            self.encoder.bind(binding.input)
        except BundleError as error:
            raise _of_middle(error) from error
        except ValueError as error:
            raise BundleError(f"bundle member {PREFIX}kernel.json: it does not fit its features: {error}") from error
        self.encode = self.encoder.encode_bound
        self.run = binding.run
        self.scores: NDArray[np.float64] = binding.outputs["scores"].reshape(-1)


def middle_of(bundle: Bundle, schema: Schema, outputs: Outputs) -> MiddleTier | None:
    """The middle tier of a bundle.

    Args:
        bundle: A bundle that was read and verified.
        schema: Its schema.
        outputs: How its full model is read.

    Returns:
        None where the bundle has none.

    Raises:
        BundleError: A member is missing, stands alone, or does not fit the others; names it.
    """
    config = bundle.config.get(KEY)
    found = [name for name in MEMBERS if name in bundle.members]
    if config is None:
        if found:
            raise BundleError(f"bundle member {found[0]}: the config has no member {KEY}; build the bundle again")
        return None
    labels = outputs.labels
    if bundle.config["task"] != "classification" or labels is None or len(labels) < 2:
        raise BundleError(f"config member {KEY}: only a classification of several labels has a middle tier")
    threshold = _threshold(config)
    try:
        program = FeatureProgram.from_members(
            json_member(bundle, "middle.features.json"),
            npy_member(bundle, "middle.features.npy"),
            schema,
            bundle.members.get("middle.features.terms", b""),
        )
        name = PREFIX + LEAF_COUNTS
        counts = npy_member(bundle, name, np.int32) if name in bundle.members else None
        constants = npy_member(bundle, "middle.kernel.npy")
        session = NativeSession(json_member(bundle, "middle.kernel.json"), constants, counts)
    except BundleError as error:
        raise _of_middle(error) from error
    return MiddleTier(program, session, threshold=threshold, labels=labels)


def _threshold(config: Any) -> float:
    threshold = config.get("threshold") if isinstance(config, Mapping) else None
    if not isinstance(threshold, int | float) or isinstance(threshold, bool) or not 0 <= threshold <= 1:
        raise BundleError(f"config member {KEY}: threshold must be a number from 0 to 1, got {threshold!r}")
    return float(threshold)


def _of_middle(error: BundleError) -> BundleError:
    """The same refusal under the member's own name: programs and kernels know themselves as the full model's."""
    said = str(error)
    for name in ("features.json", "features.npy", "features.terms", "kernel.json", "kernel.npy", LEAF_COUNTS):
        said = said.replace(f"bundle member {name}", f"bundle member {PREFIX}{name}")
    return BundleError(said)
