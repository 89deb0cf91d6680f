"""DriftCounters: how the records and answers of one bundle spread over the bins of its drift reference.

1. All counts are cumulative integers in one flat block; a snapshot of one life minus an earlier one is what came
   between, and the sum of two blocks is what both counted together.
2. Memory is fixed by the layout. Nothing of a record is kept.
3. Any thread may call any method, with or without the GIL; no count is lost, and a snapshot never shows half a record.

A column is eight int32: kind, slot, start, edge, n_edges, byte, n_bytes, sum. ``slot`` is the column of the Frame's
bank (of ``value``: which number of the answer; of ``tier``: whether the middle tier has a bin). ``start`` is the place
of its first bin in the block. ``edge`` and ``n_edges`` say where its edges are, ``byte`` and ``n_bytes`` where its
codes or its vocabulary are, ``sum`` which pair of sums is its own. The bins of each kind:

====================  ==================================================================================================
``number``, ``value``  missing, below, one between each two edges (the last one closed), above: ``n_edges + 2``;
                      with no edges: missing, any other
``category``          missing, unseen, then as ``codes`` says for each level's code
``text``              missing, then 17 of the length in bytes: below 2, 4, 8, ... 65,536, and above
``words``             missing, no words, then ten of the share of words that are not in the vocabulary
``tier``              rule, model, fallback; and middle where ``slot`` is 1 (where it is 0, middle counts as model)
``label``             other, then as ``codes`` says for each label's index
``confidence``        below, one between each two edges (the last one closed), above: ``n_edges + 1``
====================  ==================================================================================================

``confidence`` (the largest score) and ``value`` (of the values, or of the scores where there are no values) count the
rows that the model answered, and no others.
"""

from typing import Any, Final, final

KINDS: Final[tuple[str, ...]]
"""Names of the kinds of column, in the order of their numbers."""
COLUMN_FIELDS: Final[int]
"""Numbers of a column."""
VOCABULARY_BITS: Final[int]
"""Bits of a vocabulary."""

def word_buckets(text: bytes) -> list[int]:
    """The vocabulary's bit of each word of a text, in order.

    A word is a run of ASCII letters and digits (in lower case) and bytes beyond ASCII; its bit is its FNV-1a hash of 64
    bits, folded to 16 by exclusive or.
    """

@final
class DriftCounters:
    """The counters of one bundle.

    Args:
        columns: int32[8 n], flat: the columns.
        edges: float64: the edges of all columns; finite, rising within each, at most 63 of one column.
        codes: uint8: the bins of codes and the vocabularies (8,192 bytes; bit b is bit b % 8 of byte b // 8).
        size: Counters in the block.
        n_sums: Pairs of sums: one for each column of kind ``number`` or ``value``, in their order.
        label_values: int64: raw value of each label where the model gives such, for ``LaneCounters``; else empty.
        rule_labels: int32: index of the label that each rule answers, -1 for none.
        fallback_label: Index of the label that the fallback answers, -1 for none.

    Attributes:
        size: Counters in the block.
        n_sums: Pairs of sums.

    Raises:
        ValueError: Some column does not fit; names it.
    """

    size: int
    n_sums: int

    def __init__(
        self,
        *,
        columns: Any,
        edges: Any,
        codes: Any,
        size: int,
        n_sums: int,
        label_values: Any,
        rule_labels: Any,
        fallback_label: int,
    ) -> None: ...
    def observe(
        self,
        capsule: object,
        *,
        tiers: Any,
        rule_index: Any,
        label_index: Any = None,
        scores: Any = None,
        values: Any = None,
    ) -> None:
        """Counts all rows of a Frame and their answers.

        Args:
            capsule: The Frame's; not to be filled meanwhile.
            tiers: uint8[n]: 0 rule, 1 model, 2 fallback.
            rule_index: int32[n]: the rule that answered; read where one did.
            label_index: int64[n]: index of the label; read where the model or the middle tier answered.
            scores: [n] or [n, k], float64, float32 or int64; likewise.
            values: [n] or [n, m], likewise.

        Raises:
            ValueError: Some array does not fit the Frame.
        """

    @property
    def rows(self) -> int:
        """Records counted."""

    def snapshot(self) -> tuple[int, bytes, bytes]:
        """Everything of one moment: records counted, the block (int64), the sums (float64).

        Of each pair, the first is the sum of the values and the second that of their squares.
        """

    def __sizeof__(self) -> int:
        """Bytes of the object and all it owns."""

@final
class LaneCounters:
    """Counts one record at a time out of buffers that stay where they are. Not for two threads at once.

    Args:
        counters: Where to count.
        capsule: A Frame's; row 0 is counted.
        scores: The model's scores for one row, [k].
        label: Its raw label, int64[1]; where there is none, the label is that of the largest score.
        value: Its values for one row, [m].

    Raises:
        ValueError: Some buffer does not fit.
    """

    def __init__(
        self, counters: DriftCounters, capsule: object, *, scores: Any = None, label: Any = None, value: Any = None
    ) -> None: ...
    def rule(self, rule: int) -> None:
        """Counts the row as answered by a rule.

        Raises:
            ValueError: The Frame has no row (likewise below).
        """

    def model(self) -> None:
        """Counts the row as answered by the model, with what is in the buffers."""

    def fallback(self) -> None:
        """Counts the row as answered by the fallback."""

    def middle(self, label: int) -> None:
        """Counts the row as answered by the middle tier.

        Args:
            label: Index of the label.
        """

    def scored(self) -> list[float] | None:
        """The scores, counted as answered by the model: one call where a caller needs both.

        Returns:
            None, and nothing is counted, where there are no scores, their sum is not finite, or the raw label is none
            of the labels.
        """
