"""The live drift counters of one loaded bundle, and the document in which they leave the process."""

from __future__ import annotations

import itertools
import sys
import zlib
from array import array
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from edgeml.kernels.drift_counters import KINDS, DriftCounters, word_buckets
from edgeml.monitor.drift_layout import Layout

__all__ = ["DriftMonitor", "word_buckets"]

_births = itertools.count(1)


class DriftMonitor:
    """Counts the records and answers of one bundle. Any thread may call any method.

    Args:
        layout: What is counted.
        label_values: Raw value of each label, where the model gives raw ones.
        rule_labels: Index of the label that each rule answers, -1 for none.
        fallback_label: Index of the label that the fallback answers, -1 for none.

    Attributes:
        layout: What is counted.
        counters: The kernel's counters, for those who count.
        birth: Number of these counters in this process: with the process's own mark it says whose life the counts of
            a document are of. A bundle that is loaded again begins another.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        label_values: Sequence[int] = (),
        rule_labels: Sequence[int] = (),
        fallback_label: int = -1,
    ) -> None:
        self.layout = layout
        self.birth = next(_births)
        columns, edges, codes = array("i"), array("d"), bytearray()
        for column in layout.columns:
            own = column.codes or column.vocabulary
            columns.extend(
                (
                    KINDS.index(column.kind),
                    column.slot,
                    column.start,
                    len(edges),
                    len(column.edges),
                    len(codes),
                    len(own),
                    max(0, column.sums),
                )
            )
            edges.extend(column.edges)
            codes += own
        self.counters = DriftCounters(
            columns=columns,
            edges=edges,
            codes=codes,
            size=layout.size,
            n_sums=layout.n_numbers,
            label_values=array("q", label_values),
            rule_labels=array("i", rule_labels),
            fallback_label=fallback_label,
        )

    @property
    def rows(self) -> int:
        """Records counted."""
        return self.counters.rows

    def document(self) -> dict[str, Any]:
        """Everything of one moment, for another process.

        Returns:
            ``birth``; ``rows``; ``columns``: base64 of the zlib-packed counts, int64 in the layout's order; ``sums``:
            base64 of a pair of float64 (sum, sum of squares) for each column of numbers. Both little endian.
        """
        rows, counts, sums = self.counters.snapshot()
        return {
            "birth": self.birth,
            "rows": rows,
            # Level 1: most of it is noughts, and it is packed while others answer.
            "columns": b64encode(zlib.compress(_little("q", counts), 1)).decode(),
            "sums": b64encode(_little("d", sums)).decode(),
        }


def _little(kind: str, data: bytes) -> bytes:
    if sys.byteorder == "little":
        return data
    numbers = array(kind, data)
    numbers.byteswap()
    return numbers.tobytes()
