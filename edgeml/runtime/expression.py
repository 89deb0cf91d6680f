"""Conditions of rules as trees, and their canonical text.

1. The grammar is closed: ``expression_parser.py`` makes these nodes and no others; nothing is ever evaluated as Python.
2. Nodes are frozen; their positions in the source do not count when two trees are compared.
3. ``format_expression`` writes the canonical text: parsing that text gives an equal tree.
4. Chains (``a + b - c``, ``1 < x <= 3``, ``p and q and r``) are one flat node, so the height of a tree is bounded by
   the nesting that a person wrote, not by the length of the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal, NamedTuple

from edgeml.errors import RuleError

MAX_EXPRESSION = 100_000
MAX_NESTING = 64
MAX_SET = 10_000

# Words that a feature can only be named by in backquotes.
RESERVED = frozenset(
    ("and", "or", "not", "in", "is", "missing", "between", "true", "false", "starts", "ends", "contains", "with")
)
# Words that mean something in one place only; a list or a definition is not called so.
CONTEXT_WORDS = frozenset(("word", "ignoring", "case", "matches", "if"))
FUNCTIONS = ("abs", "min", "max", "length", "word_count", "points", "count")
# Those that take a text.
TEXT_FUNCTIONS = frozenset(("length", "word_count"))

# How tightly a node binds; an operand that binds less tightly stands in parentheses.
OR, AND, NOT, COMPARISON, SUM, PRODUCT, SIGN, ATOM = range(1, 9)

_PLAIN_NAME = re.compile(r"[^\W\d]\w*")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
# Names that are looked through for the nearest one; more would only make the error slow.
_COMPARED = 5_000


@dataclass(frozen=True, slots=True)
class Node:
    """A part of an expression.

    Attributes:
        position: Zero-based offset in the source; for an operator, that of its sign.
    """

    position: int = field(default=0, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Number(Node):
    """A finite number, with its sign.

    Attributes:
        unit: What stands in brackets behind it: ``30 [km/h]``.
    """

    value: float
    unit: str | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class Text(Node):
    """A quoted string."""

    value: str


@dataclass(frozen=True, slots=True)
class Truth(Node):
    """``true`` or ``false``."""

    value: bool


Literals = Number | Text | Truth


@dataclass(frozen=True, slots=True)
class Field(Node):
    """The value of a feature, or of a definition while names are not resolved."""

    name: str


@dataclass(frozen=True, slots=True)
class ListName(Node):
    """A named list, where a set or a string may stand."""

    name: str


@dataclass(frozen=True, slots=True)
class Negate(Node):
    """``-operand``."""

    operand: Node


@dataclass(frozen=True, slots=True)
class Call(Node):
    """``abs(x)``, ``min(x, y, ...)``, ``max(x, y, ...)``, ``length(text)`` or ``word_count(text)``."""

    function: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Points(Node):
    """``points(3 if p, -4 if q)``: the sum of the points whose condition is true; never missing.

    Attributes:
        points: Finite numbers, one for each condition.
        conditions: What they are given for.
    """

    points: tuple[float, ...]
    conditions: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Count(Node):
    """``count(p, q, ...)``: how many of the conditions are true; never missing."""

    conditions: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Arithmetic(Node):
    """A chain of ``+`` and ``-``, or of ``*`` and ``/``, taken from left to right."""

    operands: tuple[Node, ...]
    operators: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison(Node):
    """A chain of comparisons, each of two neighbours; true where all are."""

    operands: tuple[Node, ...]
    operators: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Membership(Node):
    """``operand in {...}`` or ``operand not in {...}``.

    Attributes:
        lists: Named lists whose values belong to the set; none once names are resolved.
    """

    operand: Node
    items: tuple[Literals, ...]
    negated: bool = False
    lists: tuple[ListName, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True, slots=True)
class Between(Node):
    """``operand between low and high``; both ends belong to it."""

    operand: Node
    low: Node
    high: Node


@dataclass(frozen=True, slots=True)
class Missing(Node):
    """``operand is missing`` or ``operand is not missing``; never unknown."""

    operand: Node
    negated: bool = False


TextTest = Literal["starts with", "ends with", "contains", "contains word", "matches"]


@dataclass(frozen=True, slots=True)
class TextMatch(Node):
    """``operand starts with "..."``, ``ends with``, ``contains``, ``contains word`` or ``matches``; true for any text.

    Attributes:
        texts: One string or more; those of ``matches`` are regular expressions.
        folded: Whether it says ``ignoring case``.
        places: Offset of each text in the source.
        lists: Named lists whose strings are looked for as well; none once names are resolved.
    """

    operand: Node
    how: TextTest
    texts: tuple[str, ...]
    folded: bool = False
    places: tuple[int, ...] = field(default=(), compare=False, kw_only=True)
    lists: tuple[ListName, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True, slots=True)
class Not(Node):
    """``not operand``."""

    operand: Node


@dataclass(frozen=True, slots=True)
class And(Node):
    """``p and q and ...``."""

    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or(Node):
    """``p or q or ...``."""

    operands: tuple[Node, ...]


class Source(NamedTuple):
    """An expression's text and whose it is, for errors.

    Attributes:
        text: The text as it was given.
        rule: Id of the rule.
        definition: Name of the definition, where it is that of one.
    """

    text: str
    rule: str = ""
    definition: str = ""

    def error(self, position: int, message: str) -> RuleError:
        """A RuleError with the line of the text and a caret under the position."""
        begin = self.text.rfind("\n", 0, position) + 1
        end = self.text.find("\n", position)
        line = self.text[begin : len(self.text) if end < 0 else end]
        column = position - begin
        # A long line is shown around the position only.
        left = max(0, column - 60)
        shown = "".join(mark if mark.isprintable() else " " for mark in line[left : column + 60])
        before = "..." if left else ""
        after = "..." if len(line) > column + 60 else ""
        who = f"rule {self.rule!r}: " if self.rule else f"definition {self.definition!r}: " if self.definition else ""
        caret = " " * (len(before) + column - left) + "^"
        return RuleError(f"{who}{message}\n  {before}{shown}{after}\n  {caret}", rule=self.rule, position=position)


def nearest(name: str, names: list[str]) -> str | None:
    """The name most like the given one, None where none is at all like it."""
    folded = {known.casefold(): known for known in reversed(names)}
    exact = folded.get(name.casefold())
    if exact is not None:
        return exact
    found = get_close_matches(name[:200].casefold(), list(folded)[-_COMPARED:], n=1, cutoff=0.4)
    return folded[found[0]] if found else None


def format_name(name: str) -> str:
    """A feature's name as it stands in an expression: in backquotes unless it is a plain word."""
    if _PLAIN_NAME.fullmatch(name) and name not in RESERVED:
        return name
    return "`" + name.replace("`", "``") + "`"


def format_text(text: str) -> str:
    """A string literal in double quotes."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(mark: str) -> str:
    if mark in _ESCAPES:
        return _ESCAPES[mark]
    if mark.isprintable():
        return mark
    return f"\\u{ord(mark):04x}" if ord(mark) < 0x10000 else f"\\U{ord(mark):08x}"


def format_number(value: float) -> str:
    """The shortest text that is read as the same double."""
    text = repr(float(value))
    return text.removesuffix(".0")


def format_expression(node: Node) -> str:
    """The canonical text of an expression.

    Args:
        node: A tree made by ``parse_expression``.
    """
    match node:
        case Number(value):
            return format_number(value) if node.unit is None else f"{format_number(value)} [{node.unit}]"
        case Text(value):
            return format_text(value)
        case Truth(value):
            return "true" if value else "false"
        case Field(name) | ListName(name):
            return format_name(name)
        case Negate(operand):
            return "-" + _operand(operand, SIGN)
        case Call(function, arguments):
            return f"{function}({', '.join([format_expression(argument) for argument in arguments])})"
        case Points(points, conditions):
            terms = zip(map(format_number, points), map(format_expression, conditions), strict=True)
            return f"points({', '.join([f'{given} if {condition}' for given, condition in terms])})"
        case Count(conditions):
            return f"count({', '.join([format_expression(condition) for condition in conditions])})"
        case Arithmetic(operands, operators) | Comparison(operands, operators):
            least = binding(node) + 1
            parts = [_operand(operands[0], least)]
            for operator, operand in zip(operators, operands[1:], strict=True):
                parts += (operator, _operand(operand, least))
            return " ".join(parts)
        case Membership(operand, items, negated):
            listed = _set((*node.lists, *items), braces=len(node.lists) != 1 or bool(items))
            return f"{_operand(operand, SUM)} {'not in' if negated else 'in'} {listed}"
        case Between(operand, low, high):
            return f"{_operand(operand, SUM)} between {_operand(low, SUM)} and {_operand(high, SUM)}"
        case Missing(operand, negated):
            return f"{_operand(operand, SUM)} {'is not missing' if negated else 'is missing'}"
        case TextMatch(operand, how, texts, folded):
            listed = _set((*node.lists, *map(Text, texts)), braces=len(node.lists) + len(texts) != 1)
            return f"{_operand(operand, SUM)} {how} {listed}{' ignoring case' if folded else ''}"
        case Not(operand):
            return "not " + _operand(operand, NOT)
        case And(operands):
            return " and ".join([_operand(operand, NOT) for operand in operands])
        case Or(operands):
            return " or ".join([_operand(operand, AND) for operand in operands])
    raise TypeError(f"{type(node).__name__} is no part of an expression")


def _set(items: tuple[Node, ...], *, braces: bool) -> str:
    listed = ", ".join(map(format_expression, items))
    return f"{{{listed}}}" if braces else listed


def _operand(node: Node, least: int) -> str:
    text = format_expression(node)
    return f"({text})" if binding(node) < least else text


def binding(node: Node) -> int:
    """How tightly a node binds, from ``OR`` to ``ATOM``."""
    match node:
        case Or():
            return OR
        case And():
            return AND
        case Not():
            return NOT
        case Comparison() | Membership() | Between() | Missing() | TextMatch():
            return COMPARISON
        case Arithmetic(_, operators):
            return SUM if operators[0] in "+-" else PRODUCT
        case Negate():
            return SIGN
    return ATOM


def children(node: Node) -> tuple[Node, ...]:
    """The parts of a node that are nodes themselves, without the items of a set."""
    match node:
        case Negate(operand) | Not(operand) | Membership(operand) | Missing(operand) | TextMatch(operand):
            return (operand,)
        case Call(_, arguments):
            return arguments
        case Points(_, conditions) | Count(conditions):
            return conditions
        case Arithmetic(operands) | Comparison(operands) | And(operands) | Or(operands):
            return operands
        case Between(operand, low, high):
            return (operand, low, high)
    return ()
