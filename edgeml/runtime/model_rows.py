"""Many records through the features and the model, in blocks, whatever runs the model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml.errors import ModelError
from edgeml.kernels.frame import Frame
from edgeml.runtime.features import FeatureProgram
from edgeml.runtime.image_program import PictureProgram
from edgeml.runtime.image_reader import ImageReader
from edgeml.runtime.lane import Lane, Session
from edgeml.runtime.native_session import WIDE_BLOCK_BYTES, NativeSession
from edgeml.runtime.no_model import NoModel
from edgeml.runtime.outputs import Outputs
from edgeml.runtime.reader import RecordReader

# Rows that are encoded and run at a time: a block of 4,096 rows x 158 float32 is 2.6 MB, so memory stays bounded
# however many rows a caller hands over.
BLOCK_ROWS = 4096
# Rows of pictures and of texts are wider, and fewer of them are taken.
BLOCK_BYTES = WIDE_BLOCK_BYTES

REFUSED = "a category is unknown to the pipeline's encoder, which refuses it"


def _blank(n: int, like: NDArray[Any]) -> NDArray[Any]:
    """An output for n rows, most of which the model was not asked for."""
    return np.full((n, *like.shape[1:]), -1 if like.dtype.kind in "iu" else math.nan, dtype=like.dtype)


class ModelRows:
    """The model's part of the way of many records.

    Args:
        program: What makes the rows.
        session: The model.
        outputs: How its outputs are read.
        reader: Who filled the frames.
    """

    def __init__(
        self,
        program: FeatureProgram | PictureProgram,
        session: Session,
        outputs: Outputs,
        reader: RecordReader | ImageReader,
    ) -> None:
        self._program = program
        self._session = session
        self._outputs = outputs
        self._reader = reader
        self._wanted = outputs.wanted
        self._takes_numbers = isinstance(session, NativeSession) or any(i.name == "dense" for i in session.inputs)
        self._block_rows = min(BLOCK_ROWS, max(1, BLOCK_BYTES // (8 * max(1, program.n_outputs))))

    def answer(
        self, lane: Lane, frame: Frame, rows: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.int64] | None, NDArray[Any] | None, NDArray[Any] | None, dict[int, str]]:
        """Encodes and runs rows, in blocks.

        Args:
            lane: Buffers that nobody else uses meanwhile.
            frame: The records.
            rows: Which of them; all where None.

        Returns:
            Of all rows of the frame: label indexes, values, scores; and by row why there is no answer.
        """
        n = frame.n_rows
        reasons: dict[int, str] = {}
        if isinstance(self._session, NativeSession):
            given = self._run_native(self._session, lane, frame, rows, reasons)
            return (*self._outputs.decode(given, rows, reasons, n), reasons)
        wanted = np.arange(n, dtype=np.int64) if rows is None else rows
        if isinstance(self._session, NoModel):
            reasons.update(dict.fromkeys(wanted.tolist(), self._session.reason))
            return (*self._outputs.decode({}, rows, reasons, n), reasons)
        collected: dict[str, NDArray[Any]] = {}
        for start in range(0, len(wanted), self._block_rows):
            block = wanted[start : start + self._block_rows]
            try:
                given = self._run_block(lane, frame, None if len(block) == n else block)
            except ModelError as error:
                reasons.update(dict.fromkeys(block.tolist(), str(error)))
                continue
            reasons.update((int(block[at]), REFUSED) for at in lane.encoder.refused)
            if len(block) == n:
                # One block of all rows: what the model gives is the answer, and nothing is copied.
                collected = given
                break
            for name, array in given.items():
                if name not in collected:
                    collected[name] = _blank(n, array)
                collected[name][block] = array
        return (*self._outputs.decode(collected, rows, reasons, n), reasons)

    def _run_native(
        self,
        session: NativeSession,
        lane: Lane,
        frame: Frame,
        rows: NDArray[np.int64] | None,
        reasons: dict[int, str],
    ) -> dict[str, NDArray[Any]]:
        """Encodes and runs the rows in the native kernel; outputs of all rows."""
        n, encoder, capsule = frame.n_rows, lane.encoder, frame.capsule
        wanted = np.arange(n, dtype=np.int64) if rows is None else rows

        def fill(dense: NDArray[Any], start: int) -> None:
            block = wanted[start : start + len(dense)]
            if encoder.encode(capsule, dense, block):
                reasons.update((int(block[at]), REFUSED) for at in encoder.refused)

        given = session.stream(len(wanted), outputs=self._wanted, fill=fill)
        if rows is None:
            return given
        spread = {name: _blank(n, array) for name, array in given.items()}
        for name, array in given.items():
            spread[name][rows] = array
        return spread

    def _run_block(self, lane: Lane, frame: Frame, rows: NDArray[np.int64] | None) -> dict[str, NDArray[Any]]:
        assert not isinstance(self._session, NoModel)
        count = frame.n_rows if rows is None else len(rows)
        if self._program.strings:
            dense = np.empty((count, self._program.n_outputs), dtype=self._program.dtype)
            lane.encoder.encode(frame.capsule, dense, rows)
            # A model that takes nothing but strings has no input for numbers.
            feeds: dict[str, NDArray[Any]] = {"dense": dense} if self._takes_numbers else {}
            for name in self._program.strings:
                feeds[name] = self._reader.text_column(frame, name, rows)
            given = self._session.run(feeds)
            return {name: given[name] for name in self._wanted}
        binding = self._session.binding(count, outputs=self._wanted)
        lane.encoder.encode(frame.capsule, binding.input, rows)
        binding.run()
        return dict(binding.outputs)
