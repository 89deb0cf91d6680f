"""The native kernel as a session: a model whose arithmetic runs in our own loops instead of ONNX Runtime.

The face of ``edgeml.kernels.native_model``. ``kernel.json`` and ``kernel.npy`` are made by the builder out of the ONNX
graph, which stays in the bundle as the source of truth; parity and the golden rows hold both to the same answers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeml.errors import BundleError, ModelError
from edgeml.kernels.native_model import OPERATIONS, NativeBinding, NativeModel
from edgeml.kernels.texts import SparseProduct
from edgeml.runtime.onnx_session import TensorSpec, check_threads

__all__ = ["OPERATIONS", "NativeSession"]

FORMAT = 1
LEAF_COUNTS = "kernel.counts.npy"
# Of rows in a block: half of a second-level cache.
BLOCK_BYTES = 256 * 1024
# Rows that are wider than that are taken several at a time, too, as long as they fit this: it is a block's limit
# everywhere, unless one row alone is larger.
WIDE_BLOCK_BYTES = 2**25
# A thread is worth its while from so many nanoseconds of work on: several times what it takes to wake it.
THREAD_NS = 150_000
_NUMBERS = {name: number for number, name in enumerate(OPERATIONS)}


class _Operation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    op: str
    to: int = 0
    from_: int = 0
    count: int = 0
    index: int = 0
    constant: int = 0
    extra: int = 0


class _Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    start: int
    columns: int
    dtype: str


class _Sparse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    width: int
    constant: int


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    door: str
    width: int
    registers: int
    index: list[int]
    operations: list[_Operation]
    ensembles: list[tuple[int, int, int, int, int]]
    outputs: list[_Output]
    sparse: _Sparse | None = None


@dataclass(frozen=True)
class BoundRows:
    """The model on arrays that stay where they are.

    Attributes:
        input: [n, width], to be filled before ``run``.
        outputs: Name -> array, filled by ``run``.
    """

    input: NDArray[Any]
    outputs: dict[str, NDArray[Any]]
    kernel: NativeBinding

    def run(self) -> None:
        """Fills the outputs."""
        self.kernel.run()


class NativeSession:
    """A model in the native kernel; takes the place of an OnnxSession.

    Attributes:
        backend: Always ``native``.
        inputs: The one input ``dense``; where there is a product, what that gives.
        product: The first product of a model over texts, which takes only the columns that a text has; else None.
        outputs: The outputs; the first dimension counts the rows.
        model: The checked model.
        ensembles: Number of its ensembles of trees.
        leaf_counts: For each ensemble of trees how many training rows have reached each leaf; None where nobody says.

    Args:
        document: ``kernel.json``.
        constants: ``kernel.npy``.
        leaf_counts: ``kernel.counts.npy``; None where the bundle has none.
        threads: Most threads that the rows of one batch are divided among, where the batch is large enough; never more
            than the process has cores.

    Raises:
        BundleError: The document is malformed, or does not fit the constants.
        ModelError: ``threads`` is no number from 1 to 64.
    """

    backend = "native"

    def __init__(
        self,
        document: Mapping[str, Any],
        constants: NDArray[np.float64],
        leaf_counts: NDArray[np.int32] | None = None,
        *,
        threads: int = 1,
    ) -> None:
        try:
            parsed = msgspec.convert(dict(document), _Document, strict=True)
        except msgspec.ValidationError as error:
            raise BundleError(f"bundle member kernel.json: {error}") from error
        if parsed.format != FORMAT:
            raise BundleError(f"bundle member kernel.json: format {parsed.format} is not {FORMAT}; update edgeml")
        if parsed.door not in ("float32", "float64"):
            raise BundleError(f"bundle member kernel.json: door {parsed.door!r} is neither float32 nor float64")
        for output in parsed.outputs:
            if output.dtype not in ("float64", "int64") or output.columns < 0:
                raise BundleError(f"bundle member kernel.json: output {output.name!r} is malformed")
            if output.start < 0 or output.start + max(1, output.columns) > parsed.registers:
                raise BundleError(f"bundle member kernel.json: output {output.name!r} is beyond the registers")
        try:
            self.product, constants = _product(parsed, constants)
            self.model = NativeModel(
                _table(parsed.operations),
                np.array(parsed.index, dtype=np.int32),
                np.ascontiguousarray(constants, dtype=np.float64),
                width=parsed.width,
                n_registers=parsed.registers,
                ensembles=parsed.ensembles,
            )
        except (ValueError, OverflowError) as error:
            raise BundleError(f"bundle member kernel.json: {error}") from error
        self.ensembles = len(parsed.ensembles)
        self.leaf_counts = None if leaf_counts is None else self._by_ensemble(leaf_counts)
        self._door = np.dtype(parsed.door)
        # Threads are started by the first batch that wants them, and end with the session.
        check_threads(threads)
        self._threads = min(threads, len(os.sched_getaffinity(0)))
        self._pool = ThreadPoolExecutor(self._threads - 1, "edgeml-rows") if self._threads > 1 else None
        self._outputs = {output.name: output for output in parsed.outputs}
        self.inputs = (TensorSpec("dense", parsed.door, (-1, parsed.width)),)
        self.outputs = tuple(
            TensorSpec(output.name, output.dtype, (-1, output.columns) if output.columns else (-1,))
            for output in parsed.outputs
        )

    def _by_ensemble(self, counts: NDArray[np.int32]) -> list[NDArray[np.int32]]:
        leaves = [self.model.size_of(ensemble)[1] for ensemble in range(self.ensembles)]
        if len(counts) != sum(leaves) or (counts < 0).any():
            raise BundleError(f"bundle member {LEAF_COUNTS}: expected {sum(leaves)} numbers of rows, one for each leaf")
        return np.split(counts, np.cumsum(leaves)[:-1])

    def register(self, output: str, column: int) -> int:
        """Where the model leaves a number of an output.

        Raises:
            ModelError: There is no such output, or it has no such column.
        """
        found = self._outputs.get(output)
        if found is None or not 0 <= column < max(1, found.columns):
            raise ModelError(f"the model has no output {output!r} with a column {column}")
        return found.start + column

    def product_weights(self, columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """The weights of some columns in the sparse product, [columns, sums]; only where there is one."""
        assert self.product is not None
        made = np.empty((len(columns), self.product.results))
        self.product.take(columns, made)
        return made

    def product_biases(self) -> NDArray[np.float64] | None:
        """The biases of the sparse product; None where there is none."""
        return None if self.product is None else np.frombuffer(self.product.biases(), dtype=np.float64)

    def binding(self, n_rows: int, *, outputs: Sequence[str]) -> BoundRows:
        """Makes the memory for a number of rows.

        Args:
            n_rows: Rows, at least 1.
            outputs: Names of the outputs wanted.

        Raises:
            ModelError: There is no such output.
        """
        given = np.empty((n_rows, self.model.width), dtype=self._door)
        made = self._made(n_rows, outputs)
        bound = NativeBinding(self.model, given, [(self._outputs[name].start, made[name]) for name in made])
        return BoundRows(given, made, bound)

    def _made(self, n_rows: int, outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Arrays for the outputs."""
        made: dict[str, NDArray[Any]] = {}
        for name in outputs:
            if name not in self._outputs:
                raise ModelError(f"the model has no output {name!r}; its outputs are {', '.join(self._outputs)}")
            output = self._outputs[name]
            shape = (n_rows, output.columns) if output.columns else (n_rows,)
            made[name] = np.empty(shape, dtype=output.dtype)
        return made

    def stream(
        self, n_rows: int, *, outputs: Sequence[str], fill: Callable[[NDArray[Any], int], None]
    ) -> dict[str, NDArray[Any]]:
        """Answers rows that are made on the way, in blocks that stay in the processor's cache.

        Args:
            n_rows: Rows.
            outputs: Names of the outputs wanted.
            fill: Given a block [m, width] and the number of its first row, fills it.
        """
        made = self._made(n_rows, outputs)
        row_bytes = self.model.width * self._door.itemsize
        size = max(BLOCK_BYTES // row_bytes, min(16, WIDE_BLOCK_BYTES // row_bytes), 1)
        shares = self._shares(n_rows)
        size = max(1, min(size * shares, n_rows))  # no row is asked where rules answer all
        block = np.empty((size, self.model.width), dtype=self._door)
        for start in range(0, n_rows, size):
            part = block[: min(size, n_rows - start)]
            fill(part, start)
            given = {name: array[start : start + len(part)] for name, array in made.items()}
            bounds = [len(part) * share // shares for share in range(shares + 1)]
            self._answer(part, given, list(zip(bounds, bounds[1:], strict=False)))
        return made

    def _shares(self, n_rows: int) -> int:
        """Among how many threads a batch is divided."""
        worth = int(n_rows * self.model.row_ns / THREAD_NS)
        return max(1, min(self._threads, worth, n_rows))

    def _answer(self, rows: NDArray[Any], made: Mapping[str, NDArray[Any]], shares: Sequence[tuple[int, int]]) -> None:
        """Fills the outputs of some rows, a share of them in each thread; the last share in the caller's own."""

        def answer(first: int, end: int) -> None:
            places = [(self._outputs[name].start, array[first:end]) for name, array in made.items()]
            NativeBinding(self.model, rows[first:end], places).run()

        waiting = []
        if self._pool is not None:
            waiting = [self._pool.submit(answer, *share) for share in shares[:-1]]
        answer(*shares[-1])
        for each in waiting:
            each.result()

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Answers rows.

        Args:
            feeds: ``dense``: [n, width] of the door's type.

        Raises:
            ModelError: The array is missing or does not fit.
        """
        if set(feeds) != {"dense"} or feeds["dense"].shape[1:] != (self.model.width,):
            raise ModelError(f"expected one array dense of shape [n, {self.model.width}]")
        rows = feeds["dense"]
        bound = self.binding(len(rows), outputs=list(self._outputs))
        bound.input[:] = rows
        bound.run()
        return bound.outputs


def _product(parsed: _Document, constants: NDArray[np.float64]) -> tuple[SparseProduct | None, NDArray[np.float64]]:
    """The sparse product that stands at the end of the constants, and the constants before it."""
    if parsed.sparse is None:
        return None, constants
    start, width, results = parsed.sparse.constant, parsed.sparse.width, parsed.width
    if start < 0 or width < 1 or results < 1 or start + (width + 1) * results != len(constants):
        raise ValueError("the sparse product does not fill the end of the constants")
    if parsed.door != "float64":
        raise ValueError("a sparse product gives float64")
    numbers = np.ascontiguousarray(constants[start:], dtype=np.float64)
    weights, bias = numbers[: width * results].reshape(width, results), numbers[width * results :]
    return SparseProduct(weights, bias), constants[:start]


def _table(operations: Sequence[_Operation]) -> NDArray[np.int32]:
    rows = []
    for at, o in enumerate(operations):
        if o.op not in _NUMBERS:
            raise ValueError(f"operation {at}: there is no operation {o.op!r}")
        rows.append((_NUMBERS[o.op], o.to, o.from_, o.count, o.index, o.constant, o.extra, 0))
    return np.array(rows, dtype=np.int32).reshape(len(rows), 8)
