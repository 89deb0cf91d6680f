"""Conditions as formulae for a solver (Z3), so that "this can never be" is proved and not guessed.

1. Every record that fits the schema is a model of the formulae; there are models that are no record (numbers are real,
   not doubles; a sum of two features, a text, a regular expression is only a name). So what has no model has no record:
   "never" and "always" are certain, and nothing else is said.
2. Logic is the kernel's: a condition is asked "is it surely true?" or, turned round, "is it surely not true?", and a
   missing value is neither. ``not`` is taken down to the tests.
3. What is known of text tests is what must hold of every text: who contains the word "oil" contains "oil"; a text that
   equals a string passes exactly the tests that the kernel says this string passes.
4. Work is counted in the solver's own steps, not in seconds, so that the same file has the same findings everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import z3

from edgeml.builder.rule_truth import FALSE, TRUE, RuleTruth
from edgeml.runtime.case_folding import folded as folded_text
from edgeml.runtime.expression import (
    TEXT_FUNCTIONS,
    And,
    Arithmetic,
    Between,
    Call,
    Comparison,
    Count,
    Field,
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
    children,
    format_expression,
    format_name,
    format_text,
)
from edgeml.runtime.schema import Feature, Schema
from edgeml.runtime.scorecard import whole_points

# Steps of the solver for one question.
STEPS = 2_000_000
# Pairs of text tests that are compared for what follows from what; beyond it nothing is known of their pairs.
MOST_PAIRS = 4_000_000
MOST_EQUAL = 20_000

Formula = Any  # z3 publishes no types


@dataclass(frozen=True, slots=True)
class TextTest:
    """One string that a text is searched for."""

    name: str
    how: str
    text: str
    folded: bool

    @property
    def condition(self) -> str:
        """The test as a condition."""
        return f"{format_name(self.name)} {self.how} {format_text(self.text)}{' ignoring case' * self.folded}"


@dataclass
class _Value:
    """A number: when it is missing, and what it is else."""

    missing: Formula
    value: Formula


@dataclass
class RuleLogic:
    """Formulae for the conditions over one schema.

    Args:
        schema: What a record looks like.

    Attributes:
        bounds: For each feature with bounds (or a whole one), its constraint, under the name of a switch.
        facts: What holds of every record, whatever the bounds.
    """

    schema: Schema
    bounds: dict[str, tuple[Formula, Formula]] = field(default_factory=dict)
    facts: list[Formula] = field(default_factory=list)
    _missing: dict[str, Formula] = field(default_factory=dict)
    _values: dict[str, Formula] = field(default_factory=dict)
    _opaque: dict[str, _Value] = field(default_factory=dict)
    _tests: dict[TextTest, Formula] = field(default_factory=dict)
    _equal: dict[str, dict[str, int]] = field(default_factory=dict)

    def surely(self, node: Node, *, turned: bool = False) -> Formula:
        """A formula that is true where the condition is true; turned round, where it is false.

        Args:
            node: The condition, with names resolved.
            turned: Whether it is asked to be false.
        """
        match node:
            case Truth(value):
                return z3.BoolVal(value != turned)
            case Field(name):
                held = self._value_of(name)
                return z3.And(z3.Not(self._missing_of(name)), held == (0 if turned else 1))
            case Not(operand):
                return self.surely(operand, turned=not turned)
            case And(operands) | Or(operands):
                every = isinstance(node, And) != turned
                parts = [self.surely(operand, turned=turned) for operand in operands]
                return z3.And(*parts) if every else z3.Or(*parts)
            case Comparison(operands, operators):
                pairs = zip(operands, operators, operands[1:], strict=False)
                parts = [self._compared(left, operator, right, turned) for left, operator, right in pairs]
                return z3.Or(*parts) if turned else z3.And(*parts)
            case Between(operand, low, high):
                parts = [self._compared(low, "<=", operand, turned), self._compared(operand, "<=", high, turned)]
                return z3.Or(*parts) if turned else z3.And(*parts)
            case Membership(operand, items, negated):
                parts = [self._compared(operand, "==", item, turned != negated) for item in items]
                return z3.And(*parts) if turned != negated else z3.Or(*parts)
            case Missing(operand, negated):
                missing = self._is_missing(operand)
                return z3.Not(missing) if negated != turned else missing
            case TextMatch(Field(name), how, texts, folded):
                parts = [self._text_test(TextTest(name, how, str(text), folded)) for text in texts]
                found = z3.Or(*parts)
                return z3.And(z3.Not(self._missing_of(name)), z3.Not(found) if turned else found)
        # A condition that is not known here may be anything.
        return self._unknown(node, turned)

    def _unknown(self, node: Node, turned: bool) -> Formula:
        text = format_expression(node)
        yes, no = z3.Bool(f"true {text}"), z3.Bool(f"false {text}")
        self.facts.append(z3.Not(z3.And(yes, no)))
        return no if turned else yes

    def _missing_of(self, name: str) -> Formula:
        if name not in self._missing:
            feature = self.schema.feature(name)
            self._missing[name] = z3.Bool(f"missing {name}")
            if feature.missing == "error":
                self.facts.append(z3.Not(self._missing[name]))
        return self._missing[name]

    def _value_of(self, name: str) -> Formula:
        if name in self._values:
            return self._values[name]
        feature = self.schema.feature(name)
        if feature.kind == "number":
            value = z3.Real(f"value {name}")
        else:
            value = z3.Int(f"value {name}")
        self._values[name] = value
        if feature.kind == "category":
            least = -1 if feature.unseen == "allow" else 0
            self.facts.append(z3.And(value >= least, value < len(feature.levels or ())))
        elif feature.kind == "boolean":
            self.facts.append(z3.And(value >= 0, value <= 1))
        elif feature.kind == "text":
            # Which of the strings that conditions compare it with; -1 is any other.
            self.facts.append(value >= -1)
        else:
            limits = _limits(feature)
            if limits:
                switch = z3.Bool(f"bounds {name}")
                self.bounds[name] = (
                    switch,
                    z3.And(
                        *([value >= _exact(limits[0])] if limits[0] is not None else []),
                        *([value <= _exact(limits[1])] if limits[1] is not None else []),
                    ),
                )
        return value

    def _is_missing(self, node: Node) -> Formula:
        if isinstance(node, Field):
            return self._missing_of(node.name)
        return self._number(node).missing

    def _number(self, node: Node) -> _Value:
        """A number. Only what doubles do exactly is reckoned; any other sum is a name."""
        never = z3.BoolVal(False)
        match node:
            case Number(value):
                return _Value(never, _exact(value))
            case Truth(value):
                return _Value(never, z3.IntVal(int(value)))
            case Field(name):
                return _Value(self._missing_of(name), self._value_of(name))
            case Negate(operand):
                given = self._number(operand)
                return _Value(given.missing, -given.value)
            case Call("abs", (operand,)):
                given = self._number(operand)
                return _Value(given.missing, z3.If(given.value < 0, -given.value, given.value))
            case Call("min" | "max" as function, arguments):
                values = [self._number(argument) for argument in arguments]
                result = values[0].value
                for other in values[1:]:
                    first = result <= other.value if function == "min" else result >= other.value
                    result = z3.If(first, result, other.value)
                return _Value(z3.Or(*(value.missing for value in values)), result)
            case Points(points, conditions):
                whole, scale = whole_points(points)
                if scale == 1:
                    return _Value(never, self._sum(whole, conditions))
                # A sum of decimals is divided, and so rounded, once: nothing is known of it but that it is there.
                return _Value(never, z3.Real(f"value {format_expression(node)}"))
            case Count(conditions):
                return _Value(never, self._sum((1,) * len(conditions), conditions))
        return self._named(node)

    def _sum(self, points: Sequence[int], conditions: Sequence[Node]) -> Formula:
        zero = z3.IntVal(0)
        pairs = zip(points, conditions, strict=True)
        return z3.Sum([z3.If(self.surely(condition), z3.IntVal(given), zero) for given, condition in pairs])

    def _named(self, node: Node) -> _Value:
        text = format_expression(node)
        if text in self._opaque:
            return self._opaque[text]
        if isinstance(node, Call) and node.function in TEXT_FUNCTIONS and isinstance(node.arguments[0], Field):
            made = _Value(self._missing_of(node.arguments[0].name), z3.Int(f"value {text}"))
            self.facts.append(made.value >= 0)
        else:
            made = _Value(z3.Bool(f"missing {text}"), z3.Real(f"value {text}"))
            if isinstance(node, Arithmetic):
                parts = [self._number(part).missing for part in node.operands]
                self.facts.append(z3.Implies(z3.Or(*parts), made.missing))
        self._opaque[text] = made
        return made

    def _compared(self, left: Node, operator: str, right: Node, turned: bool) -> Formula:
        for one, other in ((left, right), (right, left)):
            if isinstance(one, Field) and isinstance(other, Text):
                missing, value = self._missing_of(one.name), self._value_of(one.name)
                same = value == self._code(self.schema.feature(one.name), other.value)
                return z3.And(z3.Not(missing), z3.Not(same) if (operator == "!=") != turned else same)
        first, second = self._number(left), self._number(right)
        a, b = first.value, second.value
        held = {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b, "==": a == b, "!=": a != b}[operator]
        return z3.And(z3.Not(z3.Or(first.missing, second.missing)), z3.Not(held) if turned else held)

    def _code(self, feature: Feature, text: str) -> int:
        if feature.kind == "category":
            return (feature.levels or ()).index(text)
        known = self._equal.setdefault(feature.name, {})
        return known.setdefault(text, len(known))

    def _text_test(self, test: TextTest) -> Formula:
        if test not in self._tests:
            self._tests[test] = z3.Bool(f"test {test.condition}")
        return self._tests[test]

    def finish(self) -> list[Formula]:
        """What holds of every record; to be asked once all conditions are formulae."""
        for name in {test.name for test in self._tests} | set(self._equal):
            self._finish_text(name)
        return self.facts

    def _finish_text(self, name: str) -> None:
        tests = [test for test in self._tests if test.name == name]
        equal = self._equal.get(name, {})
        if len(tests) ** 2 <= MOST_PAIRS:
            for first in tests:
                for second in tests:
                    if first is not second and follows(first.how, first.text, first.folded, second):
                        self.facts.append(z3.Implies(self._tests[first], self._tests[second]))
        # A string that is too long for the schema is equal to no text.
        longest = self.schema.feature(name).max_bytes
        short = [(text, code) for text, code in equal.items() if len(text.encode()) <= longest]
        if short and tests and len(short) * len(tests) <= MOST_EQUAL:
            truth = RuleTruth(self.schema)
            frame = truth.frame([{name: text} for text, _ in short])
            value = self._value_of(name)
            for test in tests:
                told = truth.ask(test.condition, frame, len(short))
                for (_, code), said in zip(short, told, strict=True):
                    if said in (TRUE, FALSE):
                        passes = self._tests[test] if said == TRUE else z3.Not(self._tests[test])
                        self.facts.append(z3.Implies(value == code, passes))


def follows(how: str, text: str, folded: bool, then: TextTest) -> bool:
    """Whether every text that passes one test passes another; where in doubt, no.

    Args:
        how: The first test.
        text: What it looks for.
        folded: Whether it ignores case.
        then: The second test.
    """
    if folded and not then.folded or "matches" in (how, then.how):
        return bool(how == then.how == "matches" and text == then.text and folded == then.folded)
    wanted = then.text
    if then.folded:
        text, wanted = folded_text(text), folded_text(wanted)
    if how == "contains word":
        words = re.findall(r"\w+", text)
        if then.how == "contains word":
            sought = re.findall(r"\w+", wanted)
            return any(words[at : at + len(sought)] == sought for at in range(len(words) - len(sought) + 1))
        return then.how == "contains" and any(wanted in word for word in words)
    if then.how == "contains":
        return wanted in text
    if then.how == "starts with":
        return how == "starts with" and text.startswith(wanted)
    return then.how == "ends with" and how == "ends with" and text.endswith(wanted)


def _limits(feature: Feature) -> tuple[float | None, float | None] | None:
    if feature.min is None and feature.max is None:
        return None
    return feature.min, feature.max


def _exact(value: float) -> Formula:
    """A double as the fraction that it is."""
    top, bottom = float(value).as_integer_ratio()
    return z3.IntVal(top) if bottom == 1 else z3.Q(top, bottom)


def leaves(node: Node) -> list[Node]:
    """The tests of a condition: its parts that are joined by ``and``, ``or`` and ``not``.

    Args:
        node: The condition.
    """
    if isinstance(node, And | Or | Not):
        return [leaf for child in children(node) for leaf in leaves(child)]
    return [node]
