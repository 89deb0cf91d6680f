"""The cells of a decision table: tests of what stands above their column, as DMN's unary tests, in our own words.

1. A cell is turned into the text of a condition; whether that fits the schema is asked where conditions are.
2. A level of a category may stand bare; any other string stands in quotes, so that a slip of the pen is no string.
3. Several tests with commas between them are an "or"; ``not(...)`` around all of them turns them round.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from edgeml.runtime.expression import ATOM, binding, format_expression, format_text
from edgeml.runtime.expression_parser import parse_expression

_QUOTED = r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\''
_COMPARED = re.compile(r"(==|!=|<=|>=|<|>)\s*(\S.*)", re.DOTALL)
_INTERVAL = re.compile(
    r"([\[\](])\s*([^\s,\[\](){}\"']+?)\s*\.\.\s*([^\s,\[\](){}\"']+?(?:\s*\[[^\]]*\])?)\s*([\])\[])"
)
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?:\s*\[[^\]]*\])?")
_BEGINNINGS = re.compile(r"(?:not\s+)?(?:in|between)\b|(?:starts|ends)\s+with\b|contains\b|matches\b|is\s")
_NOT = re.compile(r"not\s*\((.*)\)", re.DOTALL)
_NAME = re.compile(r"[^\W\d]\w*")
ANY = ("", "-")


@dataclass(frozen=True, slots=True)
class Column:
    """An input of a table.

    Attributes:
        text: The expression above the column, canonical and bound tightly enough to be compared.
        levels: The levels of the category that it is; empty for anything else.
        is_text: Whether it is a text feature.
        lists: Names of lists that cells may use.
    """

    text: str
    levels: Collection[str] = ()
    is_text: bool = False
    lists: Collection[str] = ()


def operand(text: str) -> str:
    """The canonical text of an expression, in parentheses unless it binds as tightly as a name.

    Args:
        text: The expression.

    Raises:
        RuleError: It is none.
    """
    node = parse_expression(text)
    made = format_expression(node)
    return made if binding(node) == ATOM else f"({made})"


def condition_of(cell: str, column: Column) -> str | None:
    """The condition that a cell stands for; None where everything will do.

    Args:
        cell: Its text.
        column: The input.

    Raises:
        ValueError: This is no test; says what is.
    """
    cell = cell.strip()
    if cell in ANY:
        return None
    if cell in column.levels:
        return f"{column.text} == {format_text(cell)}"
    turned = _NOT.fullmatch(cell)
    inner = turned[1] if turned and _closes_last(cell) else None
    tests = _tests(cell if inner is None else inner, column)
    condition = tests[0] if len(tests) == 1 else "(" + " or ".join(tests) + ")"
    return condition if inner is None else f"not ({condition})"


def _closes_last(cell: str) -> bool:
    """Whether the first parenthesis is closed by the last sign."""
    depth = 0
    for found in re.finditer(_QUOTED + r"|[()]", cell):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if depth == 0 and found[0] == ")":
            return found.end() == len(cell)
    return False


def _tests(cell: str, column: Column) -> list[str]:
    literals: list[str] = []
    tests: list[str] = []
    for item in split(cell):
        literal = _literal(item, column)
        if literal is None:
            tests.append(_test(item, column))
        else:
            literals.append(literal)
    if len(literals) == 1:
        tests.insert(0, f"{column.text} == {literals[0]}")
    elif literals:
        tests.insert(0, f"{column.text} in {{{', '.join(literals)}}}")
    return tests


def split(cell: str) -> list[str]:
    """The parts of a cell between its commas, not those in quotes, brackets or intervals.

    Args:
        cell: Its text.

    Raises:
        ValueError: A part is empty.
    """
    parts, begin, depth, at = [], 0, 0, 0
    while at < len(cell):
        found = re.compile(_QUOTED).match(cell, at) or (_INTERVAL.match(cell, at) if depth == 0 else None)
        if found:
            at = found.end()
            continue
        sign = cell[at]
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and depth == 0:
            parts.append(cell[begin:at])
            begin = at + 1
        at += 1
    parts = [part.strip() for part in [*parts, cell[begin:]]]
    if not all(parts):
        raise ValueError("nothing stands before or after a comma; remove it")
    return parts


def _literal(item: str, column: Column) -> str | None:
    if item in column.levels:
        return format_text(item)
    if re.fullmatch(_QUOTED, item) or _NUMBER.fullmatch(item):
        return item.removeprefix("+")
    return None


def _test(item: str, column: Column) -> str:
    if item in ("true", "false"):
        return column.text if item == "true" else f"not {column.text}"
    if item in ("missing", "not missing"):
        return f"{column.text} is {item}"
    found = _COMPARED.fullmatch(item)
    if found:
        value = _literal(found[2], column)
        return f"{column.text} {found[1]} {found[2] if value is None else value}"
    found = _INTERVAL.fullmatch(item)
    if found:
        low = ">=" if found[1] == "[" else ">"
        high = "<=" if found[4] == "]" else "<"
        return f"({column.text} {low} {found[2]} and {column.text} {high} {found[3]})"
    if _BEGINNINGS.match(item):
        return f"{column.text} {item}"
    if item in column.lists:
        return f"{column.text} in {item}"
    if column.levels and _NAME.match(item):
        levels = list(column.levels)
        raise ValueError(
            f"{item!r} is no level of {column.text}; its levels are {', '.join(levels[:8])}"
            + (", ..." if len(levels) > 8 else "")
        )
    hint = "; a text stands in quotes" if column.is_text or _NAME.fullmatch(item) else ""
    raise ValueError(
        f"{item[:60]!r} is no test{hint}: write '-', a value, '< 5', '[1..5)', 'between 1 and 5', 'missing', "
        "'contains word \"x\"', a list's name, several with commas between them, or not(...)"
    )
