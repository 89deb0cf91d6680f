"""Checked conditions -> the arrays of a RuleProgram.

1. A rule fires only where its condition is true, never where it is unknown. So `not` is taken down to the tests
   (``not (p and q)`` is ``not p or not q`` for true, false and unknown alike), each test asks "is it surely so?" or
   "is it surely not so?", and two values do the work of three.
2. A program is made from its end: where a test leads is known before the test is made, so nothing is patched.
3. What is common is one instruction (feature against number, level, set); any other arithmetic goes over a stack. A
   scorecard begins with 0 on the stack, and each condition leads to what adds its points or past it.
4. In a long list the rules of a block are asked only where they can be true at all (``rule_selection.py``).
5. What is looked for in texts is planned before (``text_scans.py``); rules in a row that each ask for one word or part
   of the same scan are one instruction together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from edgeml.errors import RuleError
from edgeml.kernels.rules import FIELDS, INSTRUCTIONS, KINDS, NEXT_RULE, RuleProgram, fold
from edgeml.runtime.expression import (
    And,
    Arithmetic,
    Between,
    Call,
    Comparison,
    Count,
    Field,
    Literals,
    Membership,
    Missing,
    Negate,
    Node,
    Not,
    Number,
    Or,
    Points,
    Text,
    TextMatch,
    Truth,
)
from edgeml.runtime.rule_selection import FEW_RULES, Limiter, Selection, add_selector, blocks
from edgeml.runtime.schema import Schema
from edgeml.runtime.scorecard import whole_points
from edgeml.runtime.text_scans import Found, TextScans, texts_of

_KIND = {name: number for number, name in enumerate(KINDS)}
_ARITHMETIC = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide", "min": "smaller", "max": "larger"}
_TEXT_TESTS = {
    ("starts with", False): "text_starts",
    ("starts with", True): "text_starts_folded",
    ("ends with", False): "text_ends",
    ("ends with", True): "text_ends_folded",
    ("contains", False): "text_contains",
    ("matches", False): "text_contains",
}
# Comparison -> the test that answers it, whether the sides change places, whether the answer is turned round.
_TESTS = {
    "<": ("less", False, False),
    ">": ("less", True, False),
    "<=": ("at_most", False, False),
    ">=": ("at_most", True, False),
    "==": ("equal", False, False),
    "!=": ("equal", False, True),
}
_NO_RULE = -1
_Value = TypeVar("_Value", int, float, bytes)
# What makes a number on the stack: an instruction's kind and operands, or a card, which is tests and additions.
_Step = tuple[str, int, int] | Points | Count


def compile_rules(conditions: Sequence[Node], schema: Schema) -> RuleProgram:
    """Makes the program of an ordered list of conditions.

    Args:
        conditions: Trees that ``check_condition`` has found to fit the schema; the first has precedence.
        schema: What a record looks like.

    Raises:
        RuleError: Together they make more instructions than a program may have, or look for too much in texts.
        RequirementError: They need RE2, and it is not here.
    """
    made = _Program(schema, TextScans(conditions, schema))
    start = _NO_RULE
    selected = made.blocks(conditions)
    index = len(conditions) - 1
    while index >= 0:
        if selected and index == selected[-1][1] - 1:
            first = selected.pop()[0]
            start = made.select(conditions[first : index + 1], first, start)
        else:
            first = made.run(conditions, index)
            if first < index:
                start = made.first_of(conditions[first : index + 1], first, start)
            else:
                start = made.condition(conditions[index], False, -2 - index, start)
        index = first - 1
    try:
        return made.finish(start, len(conditions))
    except ValueError as error:
        raise RuleError(f"the rules cannot be compiled: {error}; use fewer or shorter texts") from error


class _Program:
    """The instructions so far, the last one first; a target is the place of an instruction in that list."""

    def __init__(self, schema: Schema, scans: TextScans) -> None:
        self.schema = schema
        self.scans = scans
        self.code: list[tuple[int, ...]] = []
        self.constants: list[float] = []
        self.codes: list[int] = []
        self.strings: list[bytes] = []
        self.level_codes: dict[str, dict[str, int]] = {}
        self.weights: dict[int, int] = {}  # of patterns that a scorecard asks for
        self.places: dict[float, int] = {}  # of constants
        self.sets: dict[tuple[int, tuple[float | bytes, ...]], int] = {}  # where a set begins in its pool
        self.selection = Selection()

    def finish(self, start: int, n_rules: int) -> RuleProgram:
        last = len(self.code) - 1
        patterns = [self.string(text) for text in self.scans.patterns]
        weights = np.zeros(len(patterns) if self.weights else 0, dtype=np.float64)
        weights[list(self.weights)] = list(self.weights.values())
        code = np.array(self.code[::-1], dtype=np.int32).reshape(-1, FIELDS)
        for column in (FIELDS - 2, FIELDS - 1):
            targets = code[:, column]
            targets[targets >= 0] = last - targets[targets >= 0]
        entries = np.array(self.selection.entries, dtype=np.int32)
        entries[entries >= 0] = last - entries[entries >= 0]
        banks = [slot.bank for slot in self.schema.slots.values()]
        offsets = np.zeros(len(self.strings) + 1, dtype=np.int64)
        np.cumsum([len(text) for text in self.strings], out=offsets[1:])
        return RuleProgram(
            start=last - start if start >= 0 else start,
            code=code.reshape(-1),
            constants=np.array(self.constants, dtype=np.float64),
            codes=np.array(self.codes, dtype=np.int32),
            strings=b"".join(self.strings),
            offsets=offsets,
            n_rules=n_rules,
            n_numbers=banks.count("number"),
            n_categories=banks.count("category"),
            n_texts=banks.count("text"),
            scans=np.array(self.scans.fields(), dtype=np.int32).reshape(-1),
            patterns=np.array(patterns, dtype=np.int32),
            matchers=self.scans.matchers(),
            weights=weights,
            selectors=np.array(self.selection.selectors, dtype=np.int64).reshape(-1),
            filters=np.array(self.selection.filters, dtype=np.int64).reshape(-1),
            entries=entries,
            masks=np.concatenate([np.zeros(0, dtype=np.uint64), *self.selection.masks]),
        )

    def add(self, kind: str, flip: bool, a: int, b: int, count: int, yes: int, no: int) -> int:
        if len(self.code) >= INSTRUCTIONS:
            raise RuleError(f"the rules make more than {INSTRUCTIONS} instructions; use fewer or shorter rules")
        self.code.append((_KIND[kind], int(flip), a, b, count, yes, no))
        return len(self.code) - 1

    def column(self, node: Field) -> int:
        return self.schema.slots[node.name].index

    def bank(self, node: Node) -> str:
        return self.schema.slots[node.name].bank if isinstance(node, Field) else "number"

    def found(self, node: Node) -> Found | None:
        """What of a scan a rule's whole condition is, None where it is something else or more than one text."""
        found = self.scans.found(node) if isinstance(node, TextMatch) else None
        return found if found is not None and found.count == 1 else None

    def run(self, conditions: Sequence[Node], last: int) -> int:
        """The first of the conditions up to the last whose texts stand side by side in one scan."""
        first, after = last, self.found(conditions[last])
        while after is not None and first > 0:
            before = self.found(conditions[first - 1])
            if before is None or before.scan != after.scan or before.first + 1 != after.first:
                break
            first, after = first - 1, before
        return first

    def first_of(self, conditions: Sequence[Node], rule: int, no: int) -> int:
        """One test for rules in a row, each true where its text is found."""
        found = self.found(conditions[0])
        assert found is not None
        return self.add("text_first", False, found.scan, found.first, len(conditions), -2 - rule, no)

    def blocks(self, conditions: Sequence[Node]) -> list[tuple[int, int]]:
        """The rules in a row that are worth a selector: many, and not those that one scan of a text finds."""
        alone = [False] * len(conditions)
        index = len(conditions) - 1
        while index >= 0:
            first = self.run(conditions, index)
            if index - first + 1 >= FEW_RULES:
                alone[first : index + 1] = [True] * (index - first + 1)
            index = first - 1
        return blocks(alone)

    def select(self, conditions: Sequence[Node], rule: int, no: int) -> int:
        """Rules in a row, of which only those are asked that can be true for a row."""
        limiter = Limiter(self.schema, self.scans.found)
        n_levels = {
            slot.index: len(self.levels(name)) for name, slot in self.schema.slots.items() if slot.bank == "category"
        }
        number = add_selector(
            self.selection, [limiter.limits(node) for node in conditions], n_levels, self.side_by_side
        )
        if number is None:
            for at in range(len(conditions) - 1, -1, -1):
                no = self.condition(conditions[at], False, -2 - rule - at, no)
            return no
        entries = [self.condition(node, False, -2 - rule - at, NEXT_RULE) for at, node in enumerate(conditions)]
        self.selection.entries += entries
        return self.add("select", False, number, 0, 0, _NO_RULE, no)

    def side_by_side(self, numbers: Sequence[float]) -> int:
        """Keeps numbers as constants and says where the first of them is."""
        self.constants += numbers
        return len(self.constants) - len(numbers)

    # Conditions: each method gives the place where the condition is to be entered.

    def condition(self, node: Node, flip: bool, yes: int, no: int) -> int:
        """Makes the instructions of one condition.

        Args:
            node: The condition.
            flip: Whether to ask if it is surely not so.
            yes: Where to go if so.
            no: Where to go otherwise.
        """
        match node:
            case Not(operand):
                return self.condition(operand, not flip, yes, no)
            case And(operands) | Or(operands):
                together = isinstance(node, And) != flip
                entry = yes if together else no
                for operand in reversed(operands):
                    entry = self.condition(operand, flip, *((entry, no) if together else (yes, entry)))
                return entry
            case Comparison(operands, operators):
                entry = no if flip else yes
                for i in range(len(operators) - 1, -1, -1):
                    ways = (yes, entry) if flip else (entry, no)
                    entry = self.comparison(operands[i], operators[i], operands[i + 1], flip, *ways)
                return entry
            case Between(Field() as operand, Number(low), Number(high)):
                self.constants += (low, high)
                return self.add("within", flip, self.column(operand), len(self.constants) - 2, 0, yes, no)
            case Between(operand, low, high):
                return self.over_stack("top_within", [operand, low, high], flip, yes, no)
            case Membership(operand, items, negated):
                return self.membership(operand, items, flip != negated, yes, no)
            case Missing(operand, negated):
                flip = flip != negated
                if isinstance(operand, Field):
                    name = {"number": "number_missing", "category": "code_missing", "text": "text_missing"}
                    return self.add(name[self.bank(operand)], flip, self.column(operand), 0, 0, yes, no)
                return self.over_stack("top_missing", [operand], flip, yes, no)
            case TextMatch():
                return self.text_match(node, flip, yes, no)
            case Truth(value):
                return yes if value != flip else no
        return self.comparison(node, "==", Truth(True), flip, yes, no)

    def text_match(self, node: TextMatch, flip: bool, yes: int, no: int) -> int:
        found = self.scans.found(node)
        if found is not None:
            return self.add("text_found", flip, found.scan, found.first, found.count, yes, no)
        assert isinstance(node.operand, Field)
        kind = _TEXT_TESTS[node.how, node.folded]
        entry = yes if flip else no
        for text in reversed(texts_of(node)):
            ways = (entry, no) if flip else (yes, entry)
            part = self.add_string(fold(text.encode()) if node.folded else text.encode())
            entry = self.add(kind, flip, self.column(node.operand), part, 0, *ways)
        return entry

    def comparison(self, left: Node, operator: str, right: Node, flip: bool, yes: int, no: int) -> int:
        test, exchanged, turned = _TESTS[operator]
        flip = flip != turned
        if exchanged:
            left, right = right, left
        for field, literal in ((left, right), (right, left)):
            if isinstance(field, Field) and isinstance(literal, Text):
                if self.bank(field) == "text":
                    return self.add("text_equal", flip, self.column(field), self.string(literal.value), 0, yes, no)
                code = self.codes_of(field)[literal.value]
                return self.add("code_equal", flip, self.column(field), code, 0, yes, no)
        if isinstance(left, Field) and isinstance(right, Field):
            return self.add(f"{test}_column", flip, self.column(left), self.column(right), 0, yes, no)
        if isinstance(left, Field) and isinstance(right, Number | Truth):
            return self.add(f"{test}_constant", flip, self.column(left), self.constant(right.value), 0, yes, no)
        if isinstance(left, Number | Truth) and isinstance(right, Field):
            # c < x is not x <= c; c <= x is not x < c; where x is missing, neither holds.
            mirrored = {"less": "at_most", "at_most": "less", "equal": "equal"}[test]
            flip = flip != (test != "equal")
            return self.add(f"{mirrored}_constant", flip, self.column(right), self.constant(left.value), 0, yes, no)
        return self.over_stack(f"top_{test}", [left, right], flip, yes, no)

    def membership(self, operand: Node, items: tuple[Literals, ...], flip: bool, yes: int, no: int) -> int:
        bank = self.bank(operand)
        if bank == "category" and isinstance(operand, Field):
            levels = self.codes_of(operand)
            codes = sorted({levels[item.value] for item in items if isinstance(item, Text)})
            first = self.set_of(tuple(codes), self.codes)
            return self.add("code_in", flip, self.column(operand), first, len(codes), yes, no)
        if bank == "text" and isinstance(operand, Field):
            texts = sorted(
                {item.value.encode() for item in items if isinstance(item, Text)}, key=lambda text: (len(text), text)
            )
            first = self.set_of(tuple(texts), self.strings)
            return self.add("text_in", flip, self.column(operand), first, len(texts), yes, no)
        numbers = sorted({float(item.value) for item in items if not isinstance(item, Text)})
        first = self.set_of(tuple(numbers), self.constants)
        if isinstance(operand, Field):
            return self.add("number_in", flip, self.column(operand), first, len(numbers), yes, no)
        return self.over_stack("top_in", [operand], flip, yes, no, first, len(numbers))

    def set_of(self, values: tuple[_Value, ...], pool: list[_Value]) -> int:
        """Where a set begins in its pool: a set that many rules ask for stands there once."""
        key = (id(pool), values)
        first = self.sets.get(key)
        if first is None:
            first = self.sets[key] = len(pool)
            pool += values
        return first

    def over_stack(
        self, test: str, operands: list[Node], flip: bool, yes: int, no: int, b: int = 0, count: int = 0
    ) -> int:
        """A test of values that are reckoned first."""
        entry = self.add(test, flip, 0, b, count, yes, no)
        steps: list[_Step] = []
        for operand in operands:
            self.value(operand, steps)
        for step in reversed(steps):
            if isinstance(step, Points | Count):
                entry = self.card(step, entry)
            else:
                kind, a, b = step
                entry = self.add(kind, False, a, b, 0, _NO_RULE, _NO_RULE)
        return entry

    def card(self, node: Points | Count, entry: int) -> int:
        """The instructions that put the points of a card on the stack, and go on with the one made last, the entry."""
        points, whole = whole_points(node.points) if isinstance(node, Points) else ((1,) * len(node.conditions), 1)
        if whole != 1:
            self.add("divide", False, 0, 0, 0, _NO_RULE, _NO_RULE)
            entry = self.add("push_constant", False, 0, self.constant(whole), 0, _NO_RULE, _NO_RULE)
        runs = self.scans.runs(node)
        for term, _, pattern in (found for run in runs for found in run):
            self.weights[pattern] = points[term]
        for run in runs:
            entry = self.add("add_found", False, run[0][1], run[0][2], len(run), entry, _NO_RULE)
        together = {term for run in runs for term, _, _ in run}
        for term in range(len(points) - 1, -1, -1):
            if term not in together and points[term]:
                added = self.add("add_points", False, 0, self.constant(points[term]), 0, entry, _NO_RULE)
                entry = self.condition(node.conditions[term], False, added, entry)
        if entry != len(self.code) - 1:  # the last thing made leads nowhere: the push would run into it
            entry = self.add("add_points", False, 0, self.constant(0), 0, entry, _NO_RULE)
        return self.add("push_constant", False, 0, self.constant(0), 0, _NO_RULE, _NO_RULE)

    def value(self, node: Node, steps: list[_Step]) -> None:
        """Appends what puts a number on the stack, first things first."""
        match node:
            case Points() | Count():
                steps.append(node)
            case Field():
                steps.append(("push_column", self.column(node), 0))
            case Number() | Truth():
                steps.append(("push_constant", 0, self.constant(node.value)))
            case Negate(operand):
                self.value(operand, steps)
                steps.append(("negate", 0, 0))
            case Call("length" | "word_count" as function, (Field() as text,)):
                steps.append(("push_count", self.scans.counted(function, self.column(text)), 0))
            case Call("abs", arguments):
                self.value(arguments[0], steps)
                steps.append(("absolute", 0, 0))
            case Call(function, arguments):
                self.chain(arguments, (function,) * (len(arguments) - 1), steps)
            case Arithmetic(operands, operators):
                self.chain(operands, operators, steps)

    def chain(self, operands: tuple[Node, ...], operators: tuple[str, ...], steps: list[_Step]) -> None:
        self.value(operands[0], steps)
        for operator, operand in zip(operators, operands[1:], strict=True):
            self.value(operand, steps)
            steps.append((_ARITHMETIC[operator], 0, 0))

    def constant(self, value: float) -> int:
        place = self.places.setdefault(float(value), len(self.constants))
        if place == len(self.constants):
            self.constants.append(float(value))
        return place

    def string(self, text: str) -> int:
        return self.add_string(text.encode())

    def add_string(self, text: bytes) -> int:
        self.strings.append(text)
        return len(self.strings) - 1

    def codes_of(self, node: Field) -> dict[str, int]:
        """Level -> code of a category."""
        known = self.level_codes.get(node.name)
        if known is None:
            known = self.level_codes[node.name] = {level: code for code, level in enumerate(self.levels(node.name))}
        return known

    def levels(self, name: str) -> Sequence[str]:
        """Levels of a category, in the order of their codes."""
        return self.schema.feature(name).levels or ()
