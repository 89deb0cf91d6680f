"""How the training rows are divided in a kernel's trees: the member ``kernel.counts.npy``.

ONNX does not carry these counts, and explanations need them: where a feature counts as absent, a question sends a share
of the answer to both sides, as the training rows went. Only the leaves are counted; every other node has as many rows
as the leaves below it.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from edgeml.runtime.features import FeatureProgram
from edgeml.runtime.image_program import PictureProgram
from edgeml.runtime.lane import Session
from edgeml.runtime.native_session import NativeSession
from edgeml.runtime.raw_scores import Opaque, sees_rounded
from edgeml.runtime.reader import Frame

# Rows that are counted at most, evenly over the table; shares of a thousandth need no more.
MAX_ROWS = 100_000
_BLOCK_BYTES = 2**25


def leaf_counts(program: FeatureProgram | PictureProgram, session: Session, frame: Frame) -> bytes | None:
    """The member, in numpy's format; None where the model has no trees in the kernel.

    Args:
        program: What makes the model's input.
        session: The model.
        frame: The training rows.
    """
    if not isinstance(session, NativeSession) or not isinstance(program, FeatureProgram) or not session.ensembles:
        return None
    try:
        rounded = [sees_rounded(session.model, number) for number in range(session.ensembles)]
    except Opaque:
        return None  # trees over something else than the row: no explanation could use the counts
    step = -(-max(1, frame.n_rows) // MAX_ROWS)
    wanted = np.arange(0, frame.n_rows, step, dtype=np.int64)
    counts = [np.zeros(session.model.size_of(number)[1], dtype=np.int64) for number in range(session.ensembles)]
    encoder = program.encoder()
    block = max(1, _BLOCK_BYTES // (8 * program.n_outputs))
    for start in range(0, len(wanted), block):
        chosen = wanted[start : start + block]
        dense = np.empty((len(chosen), program.n_outputs), dtype=program.dtype)
        encoder.encode(frame.capsule, dense, chosen)
        rows = {False: dense.astype(np.float64), True: dense.astype(np.float32).astype(np.float64)}
        for number, count in enumerate(counts):
            session.model.count_leaves(number, rows[rounded[number]], count)
    return _npy(np.concatenate(counts).astype(np.int32))


def _npy(array: NDArray[np.int32]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()
