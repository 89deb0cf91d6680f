"""Which scans over texts a rule list needs: everything that is looked for in one text in one way is looked for at once.

1. A scan is a text feature and a way of looking: words or parts of texts, each exactly or ignoring case; regular
   expressions; or counting words or characters.
2. Its patterns stand in the order of the rules, so that the first one found is that of the first rule. What is looked
   for again is the same pattern; only those of a scorecard are its own, side by side, since each has its points.
3. A few exact parts are quicker looked for one by one; they have no scan, nor have those that are too many for a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgeml.errors import RuleError
from edgeml.kernels.rules import CELL_LIMIT, PATTERN_LIMIT, SCAN_LIMIT, SCANS, fold
from edgeml.runtime.expression import TEXT_FUNCTIONS, Call, Count, Field, Node, Points, TextMatch, children
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
        self._cards: dict[int, list[tuple[int, int, int]]] = {}
        self._shared: dict[tuple[int, tuple[str, ...]], int] = {}
        self._conditions = conditions  # kept, since nodes are known by their identity
        seen: set[int] = set()
        for condition in conditions:
            self._look_through(condition, schema, seen)
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

    def runs(self, node: Points | Count) -> list[list[tuple[int, int, int]]]:
        """Which conditions of a card are one text: (condition, scan, pattern), those side by side together."""
        runs: list[list[tuple[int, int, int]]] = []
        for term, scan, at in sorted(self._cards[id(node)], key=lambda found: found[1:]):
            pattern = self.scans[scan].first + at
            if runs and runs[-1][-1][1:] == (scan, pattern - 1):
                runs[-1].append((term, scan, pattern))
            else:
                runs.append([(term, scan, pattern)])
        return runs

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

    def _look_through(self, root: Node, schema: Schema, seen: set[int]) -> None:
        """Plans what a condition looks for, from left to right; a node that stands in several places once."""
        waiting = [root]
        while waiting:
            node = waiting.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            below = children(node)
            if isinstance(node, TextMatch):
                self._look_for(node, schema)
            elif isinstance(node, Points | Count):
                self._cards[id(node)] = self._look_for_terms(node, schema)
                planned = {term for term, _, _ in self._cards[id(node)]}
                below = tuple(part for term, part in enumerate(below) if term not in planned)
            elif isinstance(node, Call) and node.function in TEXT_FUNCTIONS and isinstance(node.arguments[0], Field):
                self.counted(node.function, schema.slots[node.arguments[0].name].index)
            waiting += below[::-1]

    def _look_for(self, node: TextMatch, schema: Schema) -> None:
        wanted = self._wanted(node, schema)
        if wanted is None:
            return
        number, texts = wanted
        patterns = self.scans[number].patterns
        first = self._shared.setdefault((number, texts), len(patterns))
        if first == len(patterns):
            patterns += texts
        self._found[id(node)] = (number, first, len(texts))

    def _look_for_terms(self, node: Points | Count, schema: Schema) -> list[tuple[int, int, int]]:
        """Gives each condition of a card that is one text a pattern of its own."""
        terms = []
        for term, condition in enumerate(node.conditions):
            wanted = self._wanted(condition, schema) if isinstance(condition, TextMatch) else None
            if wanted is not None and len(wanted[1]) == 1:
                number, texts = wanted
                terms.append((term, number, len(self.scans[number].patterns)))
                self.scans[number].patterns += texts
        return terms

    def _wanted(self, node: TextMatch, schema: Schema) -> tuple[int, tuple[str, ...]] | None:
        """The scan that a condition needs and what it looks for there; None where it needs no scan."""
        if node.how in ("starts with", "ends with"):
            return None
        assert isinstance(node.operand, Field)
        column = schema.slots[node.operand.name].index
        texts = texts_of(node)
        kind, folded = "expressions", node.folded
        if texts:
            kind = "words" if node.how == "contains word" else "parts"
            kind, folded = f"{kind}_folded" if node.folded else kind, False
        if "" in texts:  # every text has it, whatever else it is asked for
            return None
        return self._number(kind, column, folded), texts or node.texts

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
        self._cards = {
            node: [
                (term, numbers[id(self.scans[scan])], at) for term, scan, at in terms if id(self.scans[scan]) in numbers
            ]
            for node, terms in self._cards.items()
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
    """All nodes of a tree, each once."""
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) not in seen:
            seen.add(id(node))
            yield node
            waiting += children(node)
