"""Which engine answers for a bundle's model, by measured speed among those that have parity.

The same inputs must give the same digest, so no time is recorded, only the choice and a fixed sentence. The native
kernel wins unless it takes more than ``MARGIN`` times as long as ONNX Runtime for one row and for a batch both: what a
busy machine does to one measurement does not change the choice, and a tie goes to the engine that every box has.
"""

from __future__ import annotations

from time import perf_counter

import numpy as np

from edgeml.runtime.native_session import NativeSession
from edgeml.runtime.onnx_session import OnnxSession

MARGIN = 3.0
BATCH = 256
REPEATS = 5
NATIVE = "the native kernel has parity and is not much slower than ONNX Runtime"
SLOWER = "the native kernel has parity but is much slower than ONNX Runtime, for one row and for a batch"
DIFFERS = "the native kernel's answers differ from the pipeline's"
ALONE = "the native kernel has parity; ONNX Runtime was not there to be compared with"
LACKS = "the native kernel does not have: "


def is_much_slower(native: NativeSession, other: OnnxSession) -> bool:
    """Whether ``native`` takes more than MARGIN times as long as ``other``, for one row and for BATCH rows."""
    return all(_seconds(native, rows) > MARGIN * _seconds(other, rows) for rows in (1, BATCH))


def _seconds(session: NativeSession | OnnxSession, rows: int) -> float:
    """The shortest of some runs over zeros, which is the one that nothing else disturbed."""
    bound = session.binding(rows, outputs=[output.name for output in session.outputs])
    bound.input[:] = np.zeros(bound.input.shape, dtype=bound.input.dtype)
    best = float("inf")
    for _ in range(REPEATS):
        start = perf_counter()
        bound.run()
        best = min(best, perf_counter() - start)
    return best
