"""Which scans over texts a rule list needs: everything that is looked for in one text in one way is looked for at once.

1. A scan is a text feature and a way of looking: words or parts of texts, each exactly or ignoring case; regular
   expressions; or counting words or characters.
2. Its patterns stand in the order of the rules, so that the first one found is that of the first rule.
3. A few exact parts are quicker looked for one by one; they have no scan, nor have those that are too many for a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgeml.errors import RuleError
from edgeml.kernels.rules import CELL_LIMIT, PATTERN_LIMIT, SCAN_LIMIT, SCANS, fold
from edgeml.runtime.expression import Call, Field, Node, TextMatch, children
from edgeml.runtime.regular_expressions import MAX_MATCHERS, literals_of, matcher_of
from edgeml.runtime.schema import Schema

# Below this, looking for one part after the other (memmem) takes less time than the automaton's one pass.
FEW_PARTS = 8


@dataclass(frozen=True, slots=True)
class Found:
    """Where what a condition looks for stands.

    Attributes:
        scan: Number of the scan.
        first: Number of its first pattern, among those of all scans.
        count: Patterns; it is true where one of them is found.
    """

    scan: int
    first: int
    count: int


@dataclass(slots=True)
class Scan:
    """One scan.

    Attributes:
        kind: One of the kernel's ``SCANS``.
        column: Column of the text.
        folded: Whether regular expressions ignore case; the other kinds say it themselves.
        first: Number of its first pattern.
        patterns: What it looks for.
    """

    kind: str
    column: int
    folded: bool
    first: int = 0
    patterns: list[str] = field(default_factory=list)


def texts_of(node: TextMatch) -> tuple[str, ...]:
    """What is looked for: the texts, or those that stand for a regular expression which is only texts."""
    if node.how != "matches":
        return node.texts
    literals = [literals_of(text) for text in node.texts]
    return tuple(text for texts in literals for text in texts) if all(literals) else ()


def needs_re2(node: Node) -> bool:
    """Whether a condition has a regular expression that is more than texts."""
    return any(isinstance(part, TextMatch) and part.how == "matches" and not texts_of(part) for part in _parts(node))


class TextScans:
    """The scans of a rule list.

    Attributes:
        scans: The scans, in the order of their numbers.
        patterns: The patterns of all scans, one after the other.
    """

    def __init__(self, conditions: Sequence[Node], schema: Schema) -> None:
        self.scans: list[Scan] = []
        self.patterns: list[str] = []
        self._numbers: dict[tuple[str, int, bool], int] = {}
        self._found: dict[int, tuple[int, int, int]] = {}
        self._conditions = conditions  # kept, since nodes are known by their identity
        for condition in conditions:
            for node in _parts(condition):
                if isinstance(node, TextMatch) and isinstance(node.operand, Field):
                    self._look_for(node, schema.slots[node.operand.name].index)
                elif isinstance(node, Call) and isinstance(node.arguments[0], Field):
                    if node.function in ("length", "word_count"):
                        self.counted(node.function, schema.slots[node.arguments[0].name].index)
        self._drop_small_ones()
        for scan in self.scans:
            scan.first = len(self.patterns)
            self.patterns += scan.patterns
        if len(self.scans) > SCAN_LIMIT or len(self.patterns) > PATTERN_LIMIT:
            raise RuleError(
                f"the rules look for {len(self.patterns)} texts in {len(self.scans)} ways; at most {PATTERN_LIMIT} "
                f"texts, and {SCAN_LIMIT} pairs of a text feature and a way of looking, are possible"
            )

    def found(self, node: TextMatch) -> Found | None:
        """Where the patterns of a condition stand, None where they are looked for one by one."""
        known = self._found.get(id(node))
        if known is None:
            return None
        scan, first, count = known
        return Found(scan, self.scans[scan].first + first, count)

    def counted(self, function: str, column: int) -> int:
        """Number of the scan that counts words or characters of a text."""
        return self._number("count_words" if function == "word_count" else "count_characters", column, False)

    def fields(self) -> list[tuple[int, int, int, int]]:
        """The scans as the kernel takes them: kind, column, first pattern, patterns."""
        return [(SCANS.index(scan.kind), scan.column, scan.first, len(scan.patterns)) for scan in self.scans]

    def matchers(self) -> tuple[Callable[[bytes], Any], ...]:
        """What looks for regular expressions, for each scan of these.

        Raises:
            RuleError: They are over more texts than there is memory for.
        """
        scans = [scan for scan in self.scans if scan.kind == "expressions"]
        if len(scans) > MAX_MATCHERS:
            raise RuleError(
                f"the rules look for regular expressions in {len(scans)} ways; at most {MAX_MATCHERS} pairs of a text "
                "feature and of whether case is ignored are possible: look for words or strings in the others"
            )
        return tuple(matcher_of(scan.patterns, folded=scan.folded) for scan in scans)

    def _number(self, kind: str, column: int, folded: bool) -> int:
        number = self._numbers.setdefault((kind, column, folded), len(self.scans))
        if number == len(self.scans):
            self.scans.append(Scan(kind, column, folded))
        return number

    def _look_for(self, node: TextMatch, column: int) -> None:
        if node.how in ("starts with", "ends with"):
            return
        texts = texts_of(node)
        kind, folded = "expressions", node.folded
        if texts:
            kind = "words" if node.how == "contains word" else "parts"
            kind, folded = f"{kind}_folded" if node.folded else kind, False
        if "" in texts:  # every text has it, whatever else it is asked for
            return
        number = self._number(kind, column, folded)
        patterns = self.scans[number].patterns
        self._found[id(node)] = (number, len(patterns), len(texts or node.texts))
        patterns += texts or node.texts

    def _drop_small_ones(self) -> None:
        """Leaves out scans of exact parts that are better looked for one by one."""
        # Those that ignore case have no other way, so they come first; the kernel has one table's room for all.
        left = CELL_LIMIT - sum(_cells(scan) for scan in self.scans if scan.kind == "parts_folded")
        kept = []
        for scan in self.scans:
            if scan.kind == "parts":
                cells = _cells(scan)
                if len(scan.patterns) < FEW_PARTS or cells > left:
                    continue
                left -= cells
            kept.append(scan)
        numbers = {id(scan): number for number, scan in enumerate(kept)}
        self._found = {
            node: (numbers[id(self.scans[scan])], first, count)
            for node, (scan, first, count) in self._found.items()
            if id(self.scans[scan]) in numbers
        }
        self._numbers = {
            key: numbers[id(self.scans[scan])] for key, scan in self._numbers.items() if id(self.scans[scan]) in numbers
        }
        self.scans = kept


def _cells(scan: Scan) -> int:
    """Cells of a scan's table: a row for each byte of its parts, as wide as they have different bytes."""
    joined = "".join(scan.patterns).encode()
    if scan.kind == "parts_folded":
        joined = fold(joined)
    return (len(joined) + 1) * (len(set(joined)) + 1)


def _parts(root: Node) -> Iterator[Node]:
    """All nodes of a tree, from left to right."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += reversed(children(node))
