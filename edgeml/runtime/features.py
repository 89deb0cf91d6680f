"""The feature program: the bundle's members ``features.json`` and ``features.npy`` as something that runs.

The face of ``edgeml.kernels.features``. The document names operations and registers, the array holds their numbers;
nothing in either is believed before the kernel has checked it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeml.errors import BundleError
from edgeml.kernels.features import FUNCTIONS, OPERATIONS, Encoder, Program
from edgeml.kernels.texts import SparseProduct, TextEncoder
from edgeml.runtime.schema import Schema
from edgeml.runtime.text_program import TextProgram, Vectorizer

__all__ = ["FUNCTIONS", "OPERATIONS", "FeatureProgram", "Operation"]

FORMAT = 1
_NUMBERS = {name: number for number, name in enumerate(OPERATIONS)}


class Operation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename={"from_": "from"}):
    """One operation over registers; ``ext/feature_ops.h`` says what each does with its numbers.

    Attributes:
        op: Its name.
        to: First register (for ``categorize``: code register) that it writes.
        from_: First register it reads; for operations over codes the category column, or behind them a code register.
        count: Columns it works on.
        index: Start in the document's ``index``.
        constant: Start in the constants.
        extra: A further number that the operation needs.
        size: Entries of a table over codes: unseen, missing, then one for each level.
    """

    op: str
    to: int = 0
    from_: int = 0
    count: int = 0
    index: int = 0
    constant: int = 0
    extra: int = 0
    size: int = 0


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    door: str
    registers: int
    codes: int
    outputs: list[str]
    strings: list[str]
    index: list[int]
    operations: list[Operation]
    texts: list[Vectorizer] = []
    places: list[int] = []
    width: int = 0


class FeatureProgram:
    """From a Frame to the model's input ``dense``.

    Attributes:
        dtype: float32 or float64: the model's door.
        output_names: A name for each column of ``dense`` that no text gives, in their order.
        n_outputs: Columns of ``dense``.
        strings: Names of the features that reach the model as strings, each an input of its own.
    """

    def __init__(
        self, document: Mapping[str, Any], constants: NDArray[np.float64], schema: Schema, terms: bytes = b""
    ) -> None:
        try:
            parsed = msgspec.convert(dict(document), _Document, strict=True)
        except msgspec.ValidationError as error:
            raise BundleError(f"bundle member features.json: {error}") from error
        if parsed.format != FORMAT:
            raise BundleError(f"bundle member features.json: format {parsed.format} is not {FORMAT}; update edgeml")
        if parsed.door not in ("float32", "float64"):
            raise BundleError(f"bundle member features.json: door {parsed.door!r} is neither float32 nor float64")
        for name in parsed.strings:
            if name not in schema.slots or schema.slots[name].bank == "number":
                raise BundleError(f"bundle member features.json: {name!r} is no category or text of the schema")
        banks = [slot.bank for slot in schema.slots.values()]
        try:
            self._program = Program(
                _table(parsed.operations),
                np.array(parsed.index, dtype=np.int32),
                np.ascontiguousarray(constants, dtype=np.float64),
                n_numbers=banks.count("number"),
                n_categories=banks.count("category"),
                n_registers=parsed.registers,
                n_codes=parsed.codes,
                n_outputs=len(parsed.outputs),
                double_door=parsed.door == "float64",
            )
            self._texts = (
                TextProgram(parsed.texts, parsed.places, parsed.width, terms, constants, parsed.index, schema)
                if parsed.texts
                else None
            )
            if self._texts is not None and len(parsed.places) != len(parsed.outputs):
                raise ValueError(f"{len(parsed.places)} places for {len(parsed.outputs)} outputs")
        except (ValueError, OverflowError) as error:
            raise BundleError(f"bundle member features.json: {error}") from error
        self._terms = terms
        self._document = dict(document)
        self._constants = constants
        self.dtype = np.dtype(parsed.door)
        self.output_names = tuple(parsed.outputs)
        self.n_outputs = parsed.width if parsed.texts else len(parsed.outputs)
        self.strings = tuple(parsed.strings)

    @classmethod
    def from_members(
        cls, document: Mapping[str, Any], constants: NDArray[np.float64], schema: Schema, terms: bytes = b""
    ) -> FeatureProgram:
        """Makes the program from a bundle's members.

        Args:
            document: ``features.json``.
            constants: ``features.npy``.
            schema: The bundle's schema.
            terms: ``features.terms``; empty where the bundle has no vectorizer.

        Raises:
            BundleError: They do not fit each other.
        """
        return cls(document, constants, schema, terms)

    def to_members(self) -> tuple[dict[str, Any], NDArray[np.float64]]:
        """``features.json`` and ``features.npy``."""
        return dict(self._document), self._constants

    @property
    def terms(self) -> bytes:
        """``features.terms``: the words of the vectorizers; empty where there are none."""
        return self._terms

    @property
    def sparse(self) -> bool:
        """Whether columns are made of texts: many, and nearly all of them zero."""
        return self._texts is not None

    def encoder(self, product: SparseProduct | None = None) -> Encoder | TextEncoder:
        """What runs the program in one thread.

        Args:
            product: Where given, the encoder gives not the columns but what they make with these weights.
        """
        inner = Encoder(self._program)
        if self._texts is None:
            if product is not None:
                raise BundleError("bundle member kernel.json: its sparse product has no texts to work on")
            return inner
        return self._texts.encoder(inner, self.dtype, product)


def _table(operations: Sequence[Operation]) -> NDArray[np.int32]:
    rows = []
    for at, o in enumerate(operations):
        if o.op not in _NUMBERS:
            raise ValueError(f"operation {at}: there is no operation {o.op!r}")
        rows.append((_NUMBERS[o.op], o.to, o.from_, o.count, o.index, o.constant, o.extra, o.size))
    return np.array(rows, dtype=np.int32).reshape(len(rows), 8)
