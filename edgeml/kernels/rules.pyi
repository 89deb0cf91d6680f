"""RuleProgram: an ordered rule list, compiled; the first rule that is true for a row answers.

1. A program is flat: instructions, constants, codes, strings. It is checked once, when it is made, so that no program,
   however it came about, reads or writes out of bounds or runs without end.
2. Tests are two-valued: each asks "is it surely so?" or, flipped, "is it surely not so?"; a missing value is neither.
3. A program is never changed afterwards and may be used by any number of threads.
4. A scan looks for all of its patterns in one pass over a text, when the first test of a row asks for one of them. It
   allocates nothing, knows no locale, and takes a bounded time for each byte, whatever patterns and text are.

Each instruction is seven int32: kind, flip (0 or 1), a, b, count, yes, no. ``a`` is a column; ``b`` and ``count`` say
where in constants, codes or strings the operand is (``code_equal``: ``b`` is the code; ``..._column``: the second
column; ``within``: two constants, both ends included; sets are sorted, strings by length and then bytes). ``yes`` and
``no`` are where to go: a later instruction, ``-1`` to stop without a rule, ``-2 - r`` to stop with rule r.

Tests of scans have the number of the scan in ``a``, and in ``b`` and ``count`` patterns of it: ``text_found`` holds
where one of them is found; ``text_first`` goes to rule r + k (where ``yes`` is that of rule r) for the first that is
found, the k-th. ``push_count`` pushes what a scan (``a``) has counted.

Kinds from ``push_column`` on are arithmetic: they work on a stack and go on with the next instruction (``yes`` and
``no`` are not read). Their result is missing where an operand is or where it would not be finite. The kinds
``top_...`` take what they test from the stack (``top_within``: a value and two ends). ``add_points`` adds the constant
``b``, and ``add_found`` the weights of those of ``count`` patterns of scan ``a`` that are found, to what is uppermost
on the stack, and both go to ``yes``. Every way to an instruction has to bring equally many values on the stack.
"""

from collections.abc import Callable
from typing import Any, Final, final

KINDS: Final[tuple[str, ...]]
"""Names of the kinds of instruction, in the order of their numbers."""
SCANS: Final[tuple[str, ...]]
"""Names of the kinds of scan, in the order of their numbers: ``words`` (words, and phrases of several words whatever
stands between these), ``parts`` (parts of a text), each exactly or folded (ignoring case); ``expressions``; and two
that count."""
SCAN_LIMIT: Final[int]
"""Scans that a program may have."""
PATTERN_LIMIT: Final[int]
"""Patterns that all scans of a program may have together."""
CELL_LIMIT: Final[int]
"""Cells, of 4 bytes, of the tables of all scans for parts: for each byte of all parts of a scan, as many as these have
different bytes, and one."""
FIELDS: Final[int]
"""Fields of an instruction."""
STACK: Final[int]
"""Values that the stack holds."""
INSTRUCTIONS: Final[int]
"""Instructions that a program may have."""

NEXT_RULE: Final[int]
"""The target that stands for the next rule that a selector has found worth asking; without one it is to stop."""
SELECTED_LIMIT: Final[int]
"""Rules that a selector may stand for."""
MASK_LIMIT: Final[int]
"""Words of 64 bits that all masks of a program may have together."""

@final
class RuleProgram:
    """A compiled rule list.

    Args:
        start: Target to begin at: 0, or below 0 where nothing needs to be tested.
        code: int32[7 n], flat: the instructions.
        constants: float64: finite numbers.
        codes: int32: the sets of category codes, one after the other.
        strings: UTF-8 of all strings, one after the other.
        offsets: int64[s + 1]: where each of the s strings begins; the last is the length of ``strings``.
        n_rules: Rules; the targets of rules are below it.
        n_numbers: Number columns that a frame has at least.
        n_categories: Category columns that a frame has at least.
        n_texts: Text columns that a frame has at least.
        scans: int32[4 m], flat: kind, column, first pattern and number of patterns (0 where the scan counts).
        patterns: int32: the string of each pattern.
        weights: float64, finite: for each pattern what ``add_found`` adds; empty where no instruction asks.
        selectors: int64[4 k], flat: first filter and number of filters, first entry and number of rules, at most
            ``SELECTED_LIMIT``. The instruction ``select`` (``a``: the selector) goes to the entries of those rules that
            all filters leave, one after the other as often as ``NEXT_RULE`` is reached, and then to ``no``.
        filters: int64[5 f], flat: kind (0 number, 1 category, 2 words found), column or scan, first constant or
            pattern, number of bounds (ascending), levels or patterns, first of its masks.
        entries: int32: where the rules of the selectors begin; targets, further on than the instruction.
        masks: uint64: for each region of a filter the rules that it leaves, as bits from the lowest on, 64 to a word.
            Regions of numbers: below the first bound, that bound, between it and the next, ..., missing; of categories:
            the levels, unseen, missing; of words: the patterns, and then the rules that are left whatever is found.
        matchers: For each scan of kind ``expressions``, in order: called with a text's bytes, gives the numbers of its
            patterns that are found, or None. It is called with the GIL, also from ``match``.

    Raises:
        ValueError: Some operand is out of range, a pattern is empty or too long, or they are too many together;
            names the instruction or scan.
    """

    def __init__(
        self,
        *,
        start: int,
        code: Any,
        constants: Any,
        codes: Any,
        strings: Any,
        offsets: Any,
        n_rules: int,
        n_numbers: int,
        n_categories: int,
        n_texts: int,
        scans: Any = b"",
        patterns: Any = b"",
        matchers: tuple[Callable[[bytes], Any], ...] = (),
        weights: Any = b"",
        selectors: Any = b"",
        filters: Any = b"",
        entries: Any = b"",
        masks: Any = b"",
    ) -> None: ...
    @property
    def cost(self) -> tuple[int, int, int, int]:
        """Instructions; those on the longest way from start to an answer; scans; bytes of all tables."""

    def match_one(self, capsule: Any) -> int:
        """Index of the first rule that fires on row 0 of a frame, -1 where none does.

        Keeps the GIL and allocates nothing.

        Args:
            capsule: ``Frame.capsule``.

        Raises:
            ValueError: This is no frame, it has no row, or it has fewer columns than the rules read.
        """

    def match(self, capsule: Any, out: Any) -> int:
        """Matches every row of a frame, without the GIL.

        Args:
            capsule: ``Frame.capsule``; nobody may fill the frame meanwhile.
            out: int32[n_rows], written: index of the first rule that fires on each row, -1 where none does.

        Returns:
            Number of rows on which a rule fired.

        Raises:
            ValueError: This is no frame, it has fewer columns than the rules read, or ``out`` does not fit.
        """

def fold(text: bytes) -> bytes:
    """Folds case, one character to one: the common and simple folding of Unicode's CaseFolding.txt.

    Args:
        text: UTF-8; bytes that are none stay as they are.
    """
