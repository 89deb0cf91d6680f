"""A condition taken apart, and one condition asked by itself: for explanations, lints and tests of rules.

1. The parts of a condition are the conditions that it is made of: operands of ``and``, ``or`` and ``not``, the links of
   a chain ``1 < x <= 3``, the terms of scorecards.
2. The kernel answers, as it does for rules; it is asked for a condition and for its opposite, and where neither holds,
   the condition is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeml.runtime.expression import And, Comparison, Count, Node, Not, Or, Points, children, format_expression
from edgeml.runtime.rule_compiler import compile_rules
from edgeml.runtime.schema import Schema


@dataclass(frozen=True, slots=True)
class Part:
    """A condition inside another one.

    Attributes:
        node: Its tree.
        points: What it gives where it is a term of a scorecard (1 for a term of ``count``), else None.
    """

    node: Node
    points: float | None = None

    @property
    def text(self) -> str:
        """Its canonical text."""
        return format_expression(self.node)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The conditions that it is made of; none where it is one test."""
        return parts_of(self.node)


def parts_of(node: Node) -> tuple[Part, ...]:
    """The conditions that a condition is made of, from left to right; none where it is one test.

    Args:
        node: A condition, with the names of definitions and lists resolved (``RuleList.tree``).
    """
    match node:
        case And(operands) | Or(operands):
            return tuple(map(Part, operands))
        case Not(operand):
            return (Part(operand),)
        case Comparison(operands, operators) if len(operators) > 1:
            links = zip(operands, operators, operands[1:], strict=False)
            return tuple(Part(Comparison((left, right), (sign,))) for left, sign, right in links)
    return tuple(_terms(node))


def _terms(node: Node) -> Iterator[Part]:
    """The terms of the cards in a value, not of cards in their conditions."""
    match node:
        case Points(points, conditions):
            yield from map(Part, conditions, points)
        case Count(conditions):
            yield from (Part(condition, 1.0) for condition in conditions)
        case _:
            for child in children(node):
                yield from _terms(child)


class Question:
    """One condition, compiled by itself.

    Args:
        node: The condition, checked and with its names resolved.
        schema: What a record looks like.
    """

    __slots__ = ("_program",)

    def __init__(self, node: Node, schema: Schema) -> None:
        self._program = compile_rules([node, Not(node)], schema)

    def truth(self, capsule: Any) -> bool | None:
        """Whether the condition is true for row 0 of a frame; None where that is unknown.

        Args:
            capsule: ``Frame.capsule``.
        """
        return _TRUTHS[self._program.match_one(capsule)]

    def truths(self, capsule: Any, rows: int) -> list[bool | None]:
        """The same for every row of a frame.

        Args:
            capsule: ``Frame.capsule``.
            rows: How many rows the frame has.
        """
        found = np.empty(rows, dtype=np.int32)
        self._program.match(capsule, found)
        return [_TRUTHS[index] for index in found.tolist()]


_TRUTHS = {0: True, 1: False, -1: None}
