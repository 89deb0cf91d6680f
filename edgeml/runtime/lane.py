"""The buffers of one call, made once and used again, so that a record on its way allocates nothing of size."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from edgeml.kernels.drift_counters import DriftCounters, LaneCounters
from edgeml.kernels.frame import Frame
from edgeml.runtime.features import FeatureProgram
from edgeml.runtime.image_program import PictureProgram
from edgeml.runtime.middle import MiddleLane, MiddleTier
from edgeml.runtime.native_session import BoundRows, NativeSession
from edgeml.runtime.no_model import NoModel
from edgeml.runtime.onnx_session import Binding, OnnxSession

Session = OnnxSession | NativeSession | NoModel


class Lane:
    """The buffers of one call: a Frame, an encoder's scratch, the model's input and output tensors for one row."""

    __slots__ = ("bound", "capsule", "count", "encode", "encoder", "frame", "label", "middle", "run", "scores", "value")

    def __init__(
        self,
        frame: Frame,
        program: FeatureProgram | PictureProgram,
        session: Session,
        wanted: list[str],
        middle: MiddleTier | None = None,
    ) -> None:
        self.frame = frame
        self.capsule = frame.capsule
        self.middle: MiddleLane | None = None if middle is None else middle.lane()
        self.encoder = program.encoder(session.product if isinstance(session, NativeSession) else None)
        self.count: LaneCounters | None = None
        self.bound = not program.strings and not isinstance(session, NoModel)
        if not isinstance(session, NoModel) and self.bound:
            binding = session.binding(1, outputs=wanted)
            self.encoder.bind(binding.input)
            self.encode = self.encoder.encode_bound
            self.run = binding.run
            self.scores = _row_view(binding, "scores")
            self.label = _row_view(binding, "label")
            self.value = _row_view(binding, "value")

    def watch(self, counters: DriftCounters) -> None:
        """Counts each record that is answered from these buffers from now on."""
        self.count = (
            LaneCounters(counters, self.capsule, scores=self.scores, label=self.label, value=self.value)
            if self.bound
            else LaneCounters(counters, self.capsule)
        )


def _row_view(binding: Binding | BoundRows, name: str) -> NDArray[Any] | None:
    array = binding.outputs.get(name)
    return None if array is None else array.reshape(-1)
