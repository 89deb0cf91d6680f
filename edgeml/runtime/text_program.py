"""The vectorizers of a feature program: its part ``texts`` and the member ``features.terms`` as something that runs.

The face of ``edgeml.kernels.texts``. Nothing in either is believed before the kernel has checked it; the hash tables of
the terms are made here, on the box, and do not stand in the bundle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeml.kernels.features import Encoder
from edgeml.kernels.texts import (
    ACCENTS,
    ANALYZERS,
    BEYOND_ASCII,
    LOOK_LIMIT,
    SIZE_LIMIT,
    STEPS,
    TERM_LIMIT,
    SparseProduct,
    TextEncoder,
    Vectorizers,
)
from edgeml.runtime.schema import Schema

__all__ = ["LOOK_LIMIT", "SIZE_LIMIT", "TERM_LIMIT", "Step", "TextProgram", "Vectorizer"]


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is done to the values of a text's terms.

    Attributes:
        op: One of the kernel's ``STEPS``.
        extra: For ``normalize``: 1 = l1, 2 = l2, 0 = max.
        constant: For steps with a number for each slot: where they start in the constants.
    """

    op: str
    extra: int = 0
    constant: int = 0


class Vectorizer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One vectorizer.

    Attributes:
        feature: The text feature that it reads.
        analyzer: ``word``, ``char`` or ``char_wb``.
        slots: How many terms it knows; for ``hashed`` how many columns terms are spread over.
        stops: How many words it leaves out; they stand before its terms.
        lowercase: Whether texts are lower-cased first.
        accents: Which accents are taken off: ``""``, ``ascii`` or ``unicode``.
        ascii: 128 times 0 or 1: which ASCII characters belong to a token.
        beyond_ascii: Which other characters do: one of the kernel's ``BEYOND_ASCII``.
        shortest_token: Characters that a token has at least.
        bounded: Whether a token may have no word character beside it.
        ngrams: Smallest and largest number of tokens or characters in a term.
        binary: Whether a term counts once.
        hashed: Whether slots are hashes of the terms (HashingVectorizer).
        alternate: Whether half of the hashes count down.
        steps: What is done to the counts.
        first: Column of slot 0, where slot i has column first + i.
        index: Where it has not: start in the document's ``index`` of a column for each slot, -1 for none.
    """

    feature: str
    analyzer: str
    slots: int
    ngrams: tuple[int, int] = (1, 1)
    stops: int = 0
    lowercase: bool = False
    accents: str = ""
    ascii: str = "0" * 128
    beyond_ascii: str = "none"
    shortest_token: int = 1
    bounded: bool = False
    binary: bool = False
    hashed: bool = False
    alternate: bool = False
    steps: tuple[Step, ...] = ()
    first: int = 0
    index: int = -1


class TextProgram:
    """All vectorizers of a feature program.

    Args:
        vectorizers: The vectorizers.
        places: Column of each output that no text gives.
        width: Columns in all.
        terms: Stop words and terms of each vectorizer in turn: two bytes of length, lowest first, and so many bytes.
        constants: ``features.npy``.
        index: The document's ``index``.
        schema: The bundle's schema.

    Raises:
        ValueError: They do not fit each other.
    """

    def __init__(
        self,
        vectorizers: Sequence[Vectorizer],
        places: Sequence[int],
        width: int,
        terms: bytes,
        constants: NDArray[np.float64],
        index: Sequence[int],
        schema: Schema,
    ) -> None:
        texts = [name for name, slot in schema.slots.items() if slot.bank == "text"]
        specs = []
        for number, vectorizer in enumerate(vectorizers):
            if vectorizer.feature not in texts:
                raise ValueError(f"vectorizer {number}: {vectorizer.feature!r} is no text of the schema")
            specs.append(_spec(number, vectorizer, schema.slots[vectorizer.feature].index))
        self._made = Vectorizers(
            specs,
            np.frombuffer(terms, dtype=np.uint8),
            np.ascontiguousarray(constants, dtype=np.float64),
            np.array(index, dtype=np.int32),
            np.array(places, dtype=np.int32),
            n_texts=len(texts),
            width=width,
        )

    def encoder(self, inner: Encoder, dtype: np.dtype[Any], product: SparseProduct | None) -> TextEncoder:
        """What runs the vectorizers in one thread.

        Args:
            inner: What makes the columns that no text gives.
            dtype: The model's door.
            product: What the columns are multiplied with; None to give the columns themselves.
        """
        width = self._made.n_dense

        def make_dense(rows: int) -> NDArray[Any]:
            return np.empty((rows, width), dtype=dtype)

        return TextEncoder(
            self._made, dense_encoder=inner, make_dense=make_dense, double_door=dtype == np.float64, product=product
        )


def _spec(number: int, vectorizer: Vectorizer, text: int) -> dict[str, Any]:
    """What the kernel takes, with names that it knows."""
    for name, known in (("analyzer", ANALYZERS), ("accents", ACCENTS), ("beyond_ascii", BEYOND_ASCII)):
        if getattr(vectorizer, name) not in known:
            raise ValueError(f"vectorizer {number}: {name} {getattr(vectorizer, name)!r} is none of {', '.join(known)}")
    for step in vectorizer.steps:
        if step.op not in STEPS:
            raise ValueError(f"vectorizer {number}: there is no step {step.op!r}")
    names = (
        "analyzer",
        "slots",
        "stops",
        "lowercase",
        "accents",
        "ascii",
        "beyond_ascii",
        "shortest_token",
        "bounded",
        "binary",
        "hashed",
        "alternate",
        "first",
        "index",
    )
    spec = {name: getattr(vectorizer, name) for name in names}
    shortest, longest = vectorizer.ngrams
    steps = [(step.op, step.extra, step.constant) for step in vectorizer.steps]
    return spec | {"text": text, "shortest": shortest, "longest": longest, "steps": steps}
