"""A document's row as one number, by which contestants of ``w2_vectorizer`` are compared. Needs nothing but numpy."""

from __future__ import annotations

import zlib

import numpy as np

DECIMALS = 6


def mark(columns: np.ndarray, values: np.ndarray) -> int:
    """CRC-32 of a sparse row: which terms a document has, and their weights.

    Args:
        columns: Column of each term, in any order.
        values: Its weight; compared to 6 decimals, as sums may be taken in another order.
    """
    order = np.argsort(columns)
    terms = np.asarray(columns, dtype="<i8")[order]
    weights = np.rint(np.asarray(values, dtype=np.float64)[order] * 10**DECIMALS).astype("<i8")
    return zlib.crc32(weights.tobytes(), zlib.crc32(terms.tobytes()))
