"""Units of numbers in a condition: what is compared or added has one unit, and literals are brought to it.

1. A literal without a unit fits everything. One with a unit (``30 [km/h]``) is compared with, or added to, what has a
   unit; what has none (a feature without one, a product, a quotient, a number of words) is an error.
2. A literal in another unit is converted where somebody who knows units is there: when a bundle is built. A box
   converts nothing: the canonical text that a bundle holds is in the feature's own unit.
3. Features are not held to each other's units: only literals that say theirs are checked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

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
    Source,
    format_expression,
    format_name,
    format_number,
)
from edgeml.runtime.expression_scope import Scope

# Value, its unit, the wanted unit -> the value in that unit; a ValueError says why not.
Convert = Callable[[float, str, str], float]

# The unit of a literal without one is None; of what has none, this.
NO_UNIT = ""


def fit_units(root: Node, scope: Scope, source: Source, convert: Convert | None = None) -> tuple[Node, str | None]:
    """Checks the units of an expression and brings its literals to those of what they are compared with.

    Args:
        root: A tree that has been checked.
        scope: What its names mean.
        source: Its text, for errors.
        convert: Converts a number from one unit to another; None where nobody can.

    Returns:
        The tree with literals in the features' units, and the unit of a number: None where it fits everything, an empty
        string where it has none.

    Raises:
        RuleError: Units do not fit; the message names both and shows where.
    """
    return _Fitter(scope, source, convert).fit(root)


class _Fitter:
    def __init__(self, scope: Scope, source: Source, convert: Convert | None) -> None:
        self.scope = scope
        self.source = source
        self.convert = convert

    def fit(self, node: Node) -> tuple[Node, str | None]:
        match node:
            case Number():
                return node, node.unit
            case Field(name):
                if name in self.scope.types:
                    return node, self.scope.units.get(name, NO_UNIT)
                return node, self.scope.schema.feature(name).unit or NO_UNIT
            case Negate(operand):
                operand, unit = self.fit(operand)
                return replace(node, operand=operand), unit
            case Call("abs", (operand,)):
                operand, unit = self.fit(operand)
                return replace(node, arguments=(operand,)), unit
            case Call("min" | "max", arguments):
                arguments, unit = self.alike(arguments, shifted=True)
                return replace(node, arguments=arguments), unit
            case Arithmetic(operands, operators) if operators[0] in "+-":
                operands, unit = self.alike(operands, shifted=False)
                return replace(node, operands=operands), unit
            case Arithmetic(operands):
                fitted = [self.fit(operand) for operand in operands]
                plain = all(unit is None for _, unit in fitted)
                return replace(node, operands=tuple(made for made, _ in fitted)), None if plain else NO_UNIT
            case Points(_, conditions) | Count(conditions):
                return replace(node, conditions=self.each(conditions)), NO_UNIT
            case Comparison(operands):
                return replace(node, operands=self.alike(operands, shifted=True)[0]), None
            case Between(operand, low, high):
                operand, low, high = self.alike((operand, low, high), shifted=True)[0]
                return replace(node, operand=operand, low=low, high=high), None
            case Membership(operand, items):
                operand, *fitted = self.alike((operand, *items), shifted=True)[0]
                return replace(node, operand=operand, items=_literals(fitted)), None
            case Missing(operand) | Not(operand):
                return replace(node, operand=self.fit(operand)[0]), None
            case And(operands) | Or(operands):
                return replace(node, operands=self.each(operands)), None
        return node, NO_UNIT

    def each(self, nodes: Sequence[Node]) -> tuple[Node, ...]:
        return tuple(self.fit(node)[0] for node in nodes)

    def alike(self, nodes: Sequence[Node], *, shifted: bool) -> tuple[Any, str | None]:
        """Numbers of one unit, and that unit.

        Args:
            nodes: What is compared or added.
            shifted: Whether a scale that begins elsewhere (degrees of temperature) can be converted here.
        """
        fitted = [self.fit(node) for node in nodes]
        others = [(node, unit) for node, unit in fitted if unit is not None and not isinstance(node, Number)]
        literals = [node for node, unit in fitted if isinstance(node, Number) and unit is not None]
        if not literals:
            units = {unit for _, unit in others}
            return tuple(node for node, _ in fitted), units.pop() if len(units) == 1 else NO_UNIT if units else None
        shifted = shifted and all(isinstance(node, Field) for node, _ in others)
        whose, wanted = others[0] if others else (literals[0], literals[0].unit or NO_UNIT)
        for other, unit in others[1:]:
            if unit != wanted:
                raise self.source.error(
                    other.position,
                    f"{_told(whose, wanted)} and {_told(other, unit)} stand beside {format_expression(literals[0])}; "
                    "what a number with a unit is compared with or added to has one unit",
                )
        made = [
            self.converted(node, wanted or NO_UNIT, whose, shifted=shifted) if isinstance(node, Number) else node
            for node, _ in fitted
        ]
        return tuple(made), wanted

    def converted(self, literal: Number, wanted: str, whose: Node, *, shifted: bool) -> Number:
        if literal.unit is None or literal.unit == wanted:
            return literal
        told = format_expression(literal)
        if wanted == NO_UNIT:
            raise self.source.error(
                literal.position,
                f"{told} has a unit, and {_told(whose, wanted)}; remove it, or give the feature one in the schema",
            )
        if self.convert is None:
            raise self.source.error(literal.position, f"{told}, but {_told(whose, wanted)}; write it in {wanted}")
        try:
            value = self.convert(literal.value, literal.unit, wanted)
            moved = self.convert(0.0, literal.unit, wanted) != 0
        except ValueError as error:
            raise self.source.error(
                literal.position, f"{told}, but {_told(whose, wanted)}: {error}; write it in {wanted}"
            ) from error
        if moved and not shifted:
            raise self.source.error(
                literal.position,
                f"{told}, but {_told(whose, wanted)}, and 0 {literal.unit} is not 0 {wanted}, so a sum or difference "
                f"is not converted; write it in {wanted}",
            )
        return Number(float(format_number(float(f"{value:.15g}"))), position=literal.position, unit=wanted)


def _literals(nodes: Sequence[Node]) -> tuple[Literals, ...]:
    return tuple(node for node in nodes if isinstance(node, Literals))


def _told(node: Node, unit: str | None) -> str:
    name = format_name(node.name) if isinstance(node, Field) else format_expression(node)
    name = name if len(name) <= 60 else f"{name[:57]}..."
    return f"{name} is in {unit}" if unit else f"{name} has none"
