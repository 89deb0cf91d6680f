"""The lists and definitions of a rules document: checked once, and written out where a condition uses them.

1. Names are distinct: no list or definition is called as a feature, a function, a word of the language or another one.
2. A definition may use definitions before or behind it, but not itself, however far around.
3. Each expression is checked as it is written, so an error points into it, and is then written out. What is written out
   is shared: a list or definition that fifty rules use is one object.
4. How large a condition becomes is bounded before it is written out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgeml.errors import RuleError
from edgeml.runtime.expression import (
    CONTEXT_WORDS,
    FUNCTIONS,
    MAX_SET,
    RESERVED,
    And,
    Arithmetic,
    Between,
    Call,
    Comparison,
    Count,
    Field,
    ListName,
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
    Text,
    TextMatch,
    Truth,
    children,
    format_expression,
    format_number,
)
from edgeml.runtime.expression_parser import MAX_HEIGHT, parse_expression
from edgeml.runtime.expression_scope import Scope, Type
from edgeml.runtime.expression_size import MAX_SIZE, MAX_VALUES, Size, size_of
from edgeml.runtime.expression_types import check_condition, check_definition
from edgeml.runtime.expression_units import Convert, fit_units
from edgeml.runtime.schema import Schema

MAX_NAMES = 1_000
MAX_NAME = 200

_NAME = re.compile(r"[^\W\d]\w*")


@dataclass(frozen=True, slots=True)
class Definition:
    """A named expression.

    Attributes:
        name: What it is called.
        text: Its canonical text.
        kind: ``condition``, ``number`` or ``boolean``.
        tree: Its tree with all names resolved.
    """

    name: str
    text: str
    kind: Type
    tree: Node


class Names:
    """The lists and definitions of a document, and what else a condition may name.

    Attributes:
        lists: Name of each list -> its values as they were given.
        definitions: Name of each definition -> what it is, in the order of the document.
        scope: The same as a condition is checked against.
        characters: Characters of all lists and definitions.
    """

    def __init__(self, document: Mapping[str, Any], schema: Schema, convert: Convert | None = None) -> None:
        """Reads ``lists`` and ``define`` of a document.

        Args:
            document: The JSON form; both keys may be absent.
            schema: What a record looks like.
            convert: Converts a number from one unit to another; None on a box.

        Raises:
            RuleError: Something is wrong; names the list or definition and, in an expression, shows where.
        """
        self._schema = schema
        self._convert = convert
        self._items: dict[tuple[tuple[str, ...], tuple[Literals, ...]], tuple[Literals, ...]] = {}
        self._texts: dict[tuple[tuple[str, ...], tuple[str, ...]], tuple[str, ...]] = {}
        self.characters = 0
        lists, texts = self._members(document, "lists"), self._members(document, "define")
        for name in lists.keys() & texts.keys():
            raise RuleError(f"list {name!r}: a definition has the same name; rename one")
        self.lists = {name: self._list(name, given) for name, given in lists.items()}
        literals = {name: tuple(map(_literal, values)) for name, values in self.lists.items()}
        self._sizes = {name: Size(0, len(values), 0) for name, values in literals.items()}
        types: dict[str, Type] = {}
        units: dict[str, str | None] = {}
        self.scope = Scope(schema, literals, types, units)
        found: dict[str, Definition] = {}
        sources = {name: Source(self._expression(name, given), definition=name) for name, given in texts.items()}
        trees = {name: parse_expression(source.text, definition=name) for name, source in sources.items()}
        self.definitions: dict[str, Definition] = found
        for name in _ordered(trees, sources):
            types[name] = kind = check_definition(trees[name], self.scope, sources[name])
            written, unit = fit_units(trees[name], self.scope, sources[name], convert)
            units[name] = unit
            self._sizes[name] = self._bounded(written, sources[name])
            found[name] = Definition(name, format_expression(written), kind, self.resolve(written))
        self.definitions = {name: found[name] for name in texts}

    def read(self, tree: Node, source: Source) -> tuple[Node, Node]:
        """Checks a rule's condition.

        Args:
            tree: What the parser made.
            source: Its text, for errors.

        Returns:
            The condition as written (its literals in the features' units), and with its names resolved.

        Raises:
            RuleError: It does not fit, or is too large once its names are written out.
        """
        check_condition(tree, self._schema, source, self.scope)
        # Units need a bracket in the text, or stand in a definition.
        if "[" in source.text or any(self.scope.units.values()):
            tree, _ = fit_units(tree, self.scope, source, self._convert)
        # Without names or cards (chains of comparisons in one another), the length of the text is bound enough.
        if self.lists or self.definitions or "points" in source.text or "count" in source.text:
            self._bounded(tree, source)
        return tree, self.resolve(tree)

    def resolve(self, node: Node) -> Node:
        """A written tree with its definitions and lists in place of their names."""
        if not self.lists and not self.definitions:
            return node
        match node:
            case Field(name):
                known = self.definitions.get(name)
                return node if known is None else known.tree
            case Negate(operand):
                made = self.resolve(operand)
                # As the parser has it: the sign of a literal belongs to it.
                return replace(made, value=-made.value) if isinstance(made, Number) else replace(node, operand=made)
            case Membership(operand, items) if node.lists:
                return replace(node, operand=self.resolve(operand), items=self._set(node.lists, items), lists=())
            case TextMatch(texts=texts) if node.lists:
                return replace(node, texts=self._looked_for(node.lists, texts), lists=(), places=())
            case Not(operand) | Membership(operand) | Missing(operand):
                return replace(node, operand=self.resolve(operand))
            case Call(_, arguments):
                return replace(node, arguments=self._each(arguments))
            case Points(_, conditions) | Count(conditions):
                return replace(node, conditions=self._each(conditions))
            case Arithmetic(operands) | Comparison(operands) | And(operands) | Or(operands):
                return replace(node, operands=self._each(operands))
            case Between(operand, low, high):
                operand, low, high = self._each((operand, low, high))
                return replace(node, operand=operand, low=low, high=high)
        return node

    def to_document(self) -> dict[str, Any]:
        """The JSON form: ``lists`` and ``define``, each only where there are any."""
        document: dict[str, Any] = {}
        if self.lists:
            document["lists"] = {name: list(values) for name, values in self.lists.items()}
        if self.definitions:
            document["define"] = {name: known.text for name, known in self.definitions.items()}
        return document

    def _each(self, nodes: Sequence[Node]) -> tuple[Node, ...]:
        return tuple(map(self.resolve, nodes))

    def _set(self, lists: Sequence[ListName], items: tuple[Literals, ...]) -> tuple[Literals, ...]:
        key = tuple(known.name for known in lists), items
        made = self._items.get(key)
        if made is None:
            values = [value for name in key[0] for value in self.scope.lists[name]]
            made = self._items[key] = tuple(dict.fromkeys([*values, *items]))
        return made

    def _looked_for(self, lists: Sequence[ListName], texts: tuple[str, ...]) -> tuple[str, ...]:
        key = tuple(known.name for known in lists), texts
        made = self._texts.get(key)
        if made is None:
            values = [value.value for name in key[0] for value in self.scope.lists[name] if isinstance(value, Text)]
            made = self._texts[key] = tuple(dict.fromkeys([*values, *texts]))
        return made

    def _bounded(self, written: Node, source: Source) -> Size:
        size = size_of(written, self._sizes)
        if size.instructions > MAX_SIZE or size.values > MAX_VALUES or size.height > MAX_HEIGHT:
            many = (
                f"{size.height} levels"
                if size.height > MAX_HEIGHT
                else f"{size.instructions} steps"
                if size.instructions > MAX_SIZE
                else f"{size.values} values"
            )
            raise source.error(
                written.position,
                f"written out, this has {many}; at most {MAX_SIZE} steps, {MAX_VALUES} values of sets and {MAX_HEIGHT} "
                "levels are possible: use fewer or smaller definitions and lists in one place",
            )
        return size

    def _members(self, document: Mapping[str, Any], key: str) -> dict[str, Any]:
        given = document.get(key, {})
        what = "lists" if key == "lists" else "definitions"
        if not isinstance(given, Mapping):
            raise RuleError(f"{key}: expected an object with the {what} by their names")
        if len(given) > MAX_NAMES:
            raise RuleError(f"{key}: there are {len(given)} {what}; at most {MAX_NAMES}")
        for name in given:
            complaint = self._name_complaint(name)
            if complaint:
                raise RuleError(f"{key}: {name!r} {complaint}; call it otherwise")
        return dict(given)

    def _name_complaint(self, name: Any) -> str:
        if not isinstance(name, str) or len(name) > MAX_NAME or not _NAME.fullmatch(name):
            return f"is no name: a letter, then at most {MAX_NAME - 1} letters, digits and _"
        if name in RESERVED or name in CONTEXT_WORDS:
            return "is a word of the language"
        if name in FUNCTIONS:
            return "is a function"
        return "is a feature" if name in self._schema.names else ""

    def _list(self, name: str, given: Any) -> tuple[str | float | bool, ...]:
        def error(message: str) -> RuleError:
            return RuleError(f"list {name!r}: {message}")

        if not isinstance(given, Sequence) or isinstance(given, str | bytes):
            raise error('expected a list of values, as in ["wheat", "corn"]')
        if not given or len(given) > MAX_SET:
            raise error(f"a list holds from 1 to {MAX_SET} values, this one {len(given)}")
        made: list[str | float | bool] = []
        for number, value in enumerate(given, start=1):
            value = _plain(value)
            if value is None:
                raise error(f"value {number} must be a string, a finite number, true or false; put a text in quotes")
            if made and _sort(value) != _sort(made[0]):
                hint = "; an unquoted yes, no, on or off is read as true or false" if isinstance(value, bool) else ""
                raise error(f"value {number} is {_sort(value)}, and the first is {_sort(made[0])}; use two lists{hint}")
            if isinstance(value, str) and not value.isascii() and any("\ud800" <= mark <= "\udfff" for mark in value):
                raise error(f"value {number} holds half a surrogate pair, which no record can hold; remove it")
            made.append(value)
            self.characters += len(value) if isinstance(value, str) else 8
        return tuple(made)

    def _expression(self, name: str, given: Any) -> str:
        given = _plain(given)
        if isinstance(given, bool):
            given = "true" if given else "false"
        elif isinstance(given, float):
            given = format_number(given)
        if not isinstance(given, str):
            raise RuleError(f"definition {name!r}: expected a condition or a number as a string; put it in quotes")
        self.characters += len(given)
        return given


def _plain(given: Any) -> str | float | bool | None:
    """A string, a finite double or a boolean; None for anything else."""
    if isinstance(given, str | bool):
        return given
    if isinstance(given, int | float):
        try:
            number = float(given)
        except OverflowError:
            return None
        return number if math.isfinite(number) else None
    return None


def _literal(value: str | float | bool) -> Literals:
    if isinstance(value, str):
        return Text(value)
    return Truth(value) if isinstance(value, bool) else Number(value)


def _sort(value: str | float | bool) -> str:
    return "a string" if isinstance(value, str) else "a boolean" if isinstance(value, bool) else "a number"


def _fields(root: Node) -> Iterator[Field]:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Field):
            yield node
        waiting += reversed(children(node))


def _ordered(trees: Mapping[str, Node], sources: Mapping[str, Source]) -> list[str]:
    """The definitions so that each stands behind those that it uses."""
    uses = {name: [field for field in _fields(tree) if field.name in trees] for name, tree in trees.items()}
    done: dict[str, None] = {}
    for first in trees:
        way: dict[str, int] = {first: 0}  # definition -> how many of those that it uses have been looked at
        while way:
            name = next(reversed(way))
            at = way[name]
            if name in done or at == len(uses[name]):
                done[name] = None
                del way[name]
                continue
            way[name] += 1
            used = uses[name][at]
            if used.name in way:
                circle = [*list(way)[list(way).index(used.name) :], used.name]
                raise sources[name].error(
                    used.position, f"a definition must not use itself: {' -> '.join(circle[:20])}"
                )
            if used.name not in done:
                way[used.name] = 0
    return list(done)
