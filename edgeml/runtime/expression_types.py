"""Whether a condition fits a schema: every name is a feature, and kinds are only compared with their like.

1. Numbers (numbers, integers) may be ordered and reckoned with; booleans, categories and texts may not.
2. A category is compared with its own levels: a level that the schema does not know is a slip of the pen, not a
   condition that never holds.
3. What is a condition (a comparison, ``and``, ``or``, ``not``) is no value, and the other way round; only a boolean
   feature and ``true`` and ``false`` are both.
4. What a text is searched for is bounded, so that the tables of the search are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from edgeml.errors import RuleError
from edgeml.runtime.expression import (
    RESERVED,
    TEXT_FUNCTIONS,
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
    TextTest,
    Truth,
    format_name,
    format_text,
    nearest,
)
from edgeml.runtime.expression_scope import Scope, Type
from edgeml.runtime.regular_expressions import expression_fault, literals_of
from edgeml.runtime.schema import Feature, Schema
from edgeml.runtime.scorecard import whole_points

_WORDS: dict[Type, str] = {
    "number": "a number",
    "boolean": "a boolean",
    "category": "a category",
    "text": "a text",
    "string": "a string",
    "condition": "a condition",
}
# A text that is looked for among others: longer ones would make the tables of a scan large.
MAX_TEXT = 1_000
MAX_WORDS_TEXT = 250
MAX_WORDS = 32

_ORDERING = frozenset(("<", "<=", ">", ">="))


def check_condition(root: Node, schema: Schema, source: Source, scope: Scope | None = None) -> None:
    """Checks a rule's whole condition.

    Args:
        root: A tree made by ``parse_expression``.
        schema: What a record looks like.
        source: The text of the tree, for errors.
        scope: The lists and definitions that it may use; None where there are none.

    Raises:
        RuleError: A name is unknown or kinds do not fit; the message shows where.
    """
    _Checker(scope or Scope(schema), source).condition(root)


def check_definition(root: Node, scope: Scope, source: Source) -> Type:
    """Checks a named expression and says what it is: a condition, a number, or (both in one) a boolean.

    Args:
        root: A tree made by ``parse_expression``.
        scope: The names that it may use.
        source: The text of the tree, for errors.

    Raises:
        RuleError: A name is unknown, kinds do not fit, or it is neither a condition nor a number.
    """
    checker = _Checker(scope, source)
    kind = checker.type_of(root)
    if kind == "condition":
        checker.condition(root)
    elif kind not in ("number", "boolean"):
        raise checker.error(root.position, f"a definition is a condition or a number, not {checker.named(root, kind)}")
    return kind


def text_fault(how: TextTest, text: str, folded: bool, *, alone: bool) -> str:
    """What is wrong with a text that a condition looks for; an empty string where nothing is.

    Args:
        how: The test.
        text: What it looks for.
        folded: Whether the test ignores case.
        alone: Whether it looks for this text only.
    """
    if how == "matches":
        return "" if literals_of(text) else expression_fault(text, folded=folded)
    if how != "contains word":
        if not text and (folded or not alone):
            return "every text has this; remove it"
        return f"at most {MAX_TEXT} characters" if len(text) > MAX_TEXT and (folded or not alone) else ""
    words = re.findall(r"\w+", text)
    if not words or not re.fullmatch(r"\w(.*\w)?", text, re.DOTALL):
        return "a word begins and ends with a letter, a digit or _; look for anything else with 'contains'"
    if len(text) > MAX_WORDS_TEXT or len(words) > MAX_WORDS:
        return f"at most {MAX_WORDS_TEXT} characters and {MAX_WORDS} words"
    return ""


class _Checker:
    """Walks over one tree."""

    def __init__(self, scope: Scope, source: Source) -> None:
        self.scope = scope
        self.schema = scope.schema
        self.source = source
        self.inside = ""  # name of the list whose values are looked at

    def error(self, position: int, message: str) -> RuleError:
        return self.source.error(position, f"list {self.inside}: {message}" if self.inside else message)

    def feature(self, node: Field) -> Feature:
        try:
            return self.schema.feature(node.name)
        except KeyError:
            pass
        known = [*self.schema.names, *self.scope.types]
        near = nearest(node.name, known)
        if node.name in self.scope.lists:
            raise self.error(
                node.position,
                f"{node.name} is a list; it stands behind 'in', 'contains word' and the like: feature in {node.name}",
            )
        if node.name.lower() in RESERVED:
            hint = f"write {node.name.lower()!r} in small letters"
        elif any(node.name in (feature.levels or ()) for feature in self.schema.features):
            hint = f"a level stands in quotes: {format_text(node.name)}"
        elif near is not None:
            hint = f"the nearest is {format_name(near)}"
        else:
            hint = "there are " + ", ".join(map(format_name, known[:8])) + (", ..." if len(known) > 8 else "")
        raise self.error(node.position, f"unknown feature {format_name(node.name)}; {hint}")

    def type_of(self, node: Node) -> Type:
        """The type of a value; checks what is below it."""
        match node:
            case Number():
                return "number"
            case Text():
                return "string"
            case Truth():
                return "boolean"
            case Field(name) if name in self.scope.types:
                return self.scope.types[name]
            case Field():
                kind = self.feature(node).kind
                if kind == "image":
                    derived = format_name(f"{node.name}.brightness")
                    raise self.error(
                        node.position,
                        f"{format_name(node.name)} is a picture, not a value; ask about what is derived from it, such "
                        f"as {derived}",
                    )
                return "number" if kind == "integer" else kind
            case Negate(operand):
                self.number(operand, "a minus sign")
                return "number"
            case Arithmetic(operands, operators):
                for operand in operands:
                    self.number(operand, operators[0])
                return "number"
            case Points(points, conditions):
                try:
                    whole_points(points)
                except ValueError as error:
                    raise self.error(node.position, str(error)) from error
                for condition in conditions:
                    self.condition(condition)
                return "number"
            case Count(conditions):
                for condition in conditions:
                    self.condition(condition)
                return "number"
            case Call(function, (text,)) if function in TEXT_FUNCTIONS:
                given = self.type_of(text)
                if given != "text":
                    raise self.error(
                        text.position, f"{function}() takes a text feature; this is {self.named(text, given)}"
                    )
                return "number"
            case Call(function, arguments):
                for argument in arguments:
                    self.number(argument, f"{function}()")
                return "number"
        return "condition"

    def number(self, node: Node, reader: str) -> None:
        kind = self.type_of(node)
        if kind != "number":
            raise self.error(node.position, f"{reader} takes numbers; this is {self.named(node, kind)}")

    def named(self, node: Node, kind: Type) -> str:
        return f"{format_name(node.name)}, {_WORDS[kind]}" if isinstance(node, Field) else _WORDS[kind]

    def condition(self, node: Node) -> None:
        match node:
            case And(operands) | Or(operands):
                for operand in operands:
                    self.condition(operand)
            case Not(operand):
                self.condition(operand)
            case Comparison(operands, operators):
                # Each operand once: asked for each of its two neighbours, nested chains would take for ever.
                typed = [(operand, self.type_of(operand)) for operand in operands]
                for left, operator, right in zip(typed, operators, typed[1:], strict=False):
                    self.comparison(left, operator, right, node)
            case Membership(operand, items):
                kind = self.type_of(operand)
                if kind == "condition" or kind == "string":
                    raise self.error(node.position, f"'in' follows a feature or a number, not {_WORDS[kind]}")
                for item in items:
                    self.equality(operand, kind, item, self.type_of(item), item.position)
                for name in node.lists:
                    for item in self.listed(name):
                        self.equality(operand, kind, item, self.type_of(item), item.position)
                self.inside = ""
            case Between(operand, low, high):
                for part in (operand, low, high):
                    self.number(part, "'between'")
            case Missing(operand):
                kind = self.type_of(operand)
                if kind == "condition" or kind == "string" or isinstance(operand, Truth):
                    raise self.error(node.position, f"'is missing' follows a feature or a number, not {_WORDS[kind]}")
            case TextMatch(operand, how, texts, folded):
                kind = self.type_of(operand)
                if kind != "text":
                    hint = "; list its levels with 'in'" if kind == "category" else ""
                    raise self.error(
                        node.position, f"{how!r} follows a text; this is {self.named(operand, kind)}{hint}"
                    )
                alone = len(texts) == 1 and not node.lists
                for text, place in zip(texts, node.places or (node.position,) * len(texts), strict=True):
                    self.looked_for(how, text, folded, place, alone=alone)
                for name in node.lists:
                    for item in self.listed(name):
                        if not isinstance(item, Text):
                            raise self.error(name.position, f"{how!r} takes strings only")
                        self.looked_for(how, item.value, folded, name.position, alone=False)
                self.inside = ""
            case _:
                kind = self.type_of(node)
                if kind != "boolean" and kind != "condition":
                    hint = "; compare it, as in x > 3" if kind == "number" else "; compare it with =="
                    raise self.error(node.position, f"{self.named(node, kind)}, is no condition{hint}")

    def listed(self, name: ListName) -> Sequence[Literals]:
        """The values of a list, each where its name stands; errors name the list from here on."""
        self.inside = ""
        values = self.scope.lists.get(name.name)
        if values is None:
            near = nearest(name.name, list(self.scope.lists))
            known = f"the nearest is {near}" if near is not None else "name one under 'lists'"
            if name.name in self.scope.types:
                known = "this is a definition, which is no list"
            raise self.error(
                name.position, f"there is no list {format_name(name.name)}; {known}; a level or a text stands in quotes"
            )
        self.inside = name.name
        return [replace(value, position=name.position) for value in values]

    def looked_for(self, how: TextTest, text: str, folded: bool, place: int, *, alone: bool) -> None:
        wrong = text_fault(how, text, folded, alone=alone)
        if wrong:
            raise self.error(place, f"{format_text(text[:60])}: {wrong}")

    def comparison(self, left: tuple[Node, Type], operator: str, right: tuple[Node, Type], whole: Comparison) -> None:
        if operator in _ORDERING:
            for part, kind in (left, right):
                if kind != "number":
                    raise self.error(part.position, f"{operator} compares numbers; this is {self.named(part, kind)}")
            return
        if left[1] == "string":
            left, right = right, left
        self.equality(*left, *right, whole.position)

    def equality(self, left: Node, kind: Type, right: Node, other: Type, position: int) -> None:
        """Whether left may be compared with right; a string literal comes second."""
        if kind == other and kind in ("number", "boolean"):
            return
        if kind == "text" and other == "string":
            return
        if kind == "category" and isinstance(left, Field) and isinstance(right, Text):
            self.level(left, right)
            return
        if kind == other == "string":
            raise self.error(position, "two strings are compared; one side must be a feature")
        if kind == other and kind in ("category", "text"):
            wanted = "one of its levels" if kind == "category" else "a string"
            raise self.error(position, f"{_WORDS[kind]} is compared with {wanted} in quotes, not with another feature")
        if "condition" in (kind, other):
            raise self.error(position, "a condition is compared with nothing; join conditions with 'and', 'or'")
        hint = ""
        if kind in ("category", "text"):
            hint = "; put the value in quotes"
        elif {kind, other} == {"boolean", "number"}:
            hint = "; a boolean is compared with true or false"
        elif other == "string" and kind == "number":
            hint = "; write the number without quotes"
        raise self.error(position, f"{self.named(left, kind)}, is compared with {self.named(right, other)}{hint}")

    def level(self, node: Field, literal: Text) -> None:
        levels = self.feature(node).levels or ()
        if literal.value in levels:
            return
        near = nearest(literal.value, list(levels))
        hint = (
            f"the nearest is {format_text(near)}"
            if near is not None
            else "its levels are " + ", ".join(map(format_text, levels[:8])) + (", ..." if len(levels) > 8 else "")
        )
        raise self.error(
            literal.position, f"{format_text(literal.value)} is no level of {format_name(node.name)}; {hint}"
        )
