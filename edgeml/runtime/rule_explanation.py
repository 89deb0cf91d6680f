"""Why a rule answered: its text, the values it asked about, the words that it found and the points that it gave.

1. What a part of a condition gives is asked of the same compiled code that answers, one part at a time; nothing of the
   language is worked out a second time here.
2. A rule is taken apart when it is explained first; what is kept of rules is bounded, and so is what is shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgeml.kernels.frame import Frame
from edgeml.runtime.explanation_budget import CONDITION, NODE, QUESTION, Allowance, Spent
from edgeml.runtime.expression import (
    Comparison,
    Count,
    Field,
    Node,
    Number,
    Points,
    TextMatch,
    children,
    format_expression,
    format_number,
)
from edgeml.runtime.expression_parser import parse_expression
from edgeml.runtime.frame_values import values_of
from edgeml.runtime.rule_compiler import compile_rules
from edgeml.runtime.rule_names import Names
from edgeml.runtime.rule_parts import Question
from edgeml.runtime.rules import RuleList
from edgeml.runtime.scorecard import whole_points

# What is shown at most: values of features, words by text, cards, terms of a card, definitions; and words looked for.
SHOWN_VALUES = 50
SHOWN_WORDS = 20
SHOWN_CARDS = 10
SHOWN_TERMS = 20
SHOWN_DEFINITIONS = 20
SOUGHT_WORDS = 2_000
# So many true conditions are found by asking which is the first; the others one by one.
_BY_FIRST = 8
# Nodes of the rules that are kept taken apart.
_KEPT_NODES = 50_000

_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


@dataclass(frozen=True)
class _Card:
    """A scorecard in a condition: its terms, and what its sum is compared with where that is a number."""

    points: tuple[float, ...]
    conditions: tuple[Node, ...]
    needs: str


@dataclass(frozen=True)
class _Apart:
    """A rule taken apart."""

    fields: tuple[str, ...]
    definitions: dict[str, str]
    words: tuple[TextMatch, ...]
    cards: tuple[_Card, ...]
    nodes: int


class RuleExplainer:
    """Explains the answers of a rule list. Any thread may ask.

    Args:
        rules: The rules.
    """

    def __init__(self, rules: RuleList) -> None:
        self._list = rules
        self._schema = rules.schema
        self._places = {rule.id: at for at, rule in enumerate(rules.rules)}
        self._kept: dict[int, _Apart] = {}

    def explain(self, rule_id: str, frame: Frame, allowance: Allowance) -> dict[str, Any]:
        """The explanation of a rule's answer for the record in row 0 of a frame.

        Args:
            rule_id: The rule that fired.
            frame: The record.
            allowance: What the request may still cost; what is done is taken off.
        """
        index = self._places[rule_id]
        rule = self._list.rules[index]
        said: dict[str, Any] = {"rule": rule.id, "when": rule.when}
        for key in ("note", "target", "precision", "coverage"):
            if getattr(rule, key) is not None:
                said[key] = getattr(rule, key)
        try:
            apart = self._apart(index, allowance)
            if apart.definitions:
                said["where"] = apart.definitions
            said["values"] = values_of(frame, self._schema, apart.fields)
            if found := self._found(apart, frame, allowance):
                said["found"] = found
            if apart.cards:
                said["cards"] = [self._added(card, frame, allowance) for card in apart.cards]
        except Spent as error:
            said["reason"] = str(error)
        return said

    def _apart(self, index: int, allowance: Allowance) -> _Apart:
        known = self._kept.get(index)
        if known is None:
            allowance.take(0)
            known = _taken_apart(self._list, index)
            # How large it is nobody knows before: the last one that is taken apart may take more than is left.
            allowance.took(NODE * known.nodes)
            if sum(each.nodes for each in list(self._kept.values())) + known.nodes <= _KEPT_NODES:
                self._kept[index] = known
        return known

    def _found(self, apart: _Apart, frame: Frame, allowance: Allowance) -> dict[str, list[str]]:
        """By text, the strings of the condition that are in it (of ``matches``, the expressions)."""
        found: dict[str, list[str]] = {}
        for at in self._true_ones(apart.words, frame, allowance, limit=SHOWN_WORDS):
            match = apart.words[at]
            assert isinstance(match.operand, Field)
            words = found.setdefault(match.operand.name, [])
            if match.texts[0] not in words:
                words.append(match.texts[0])
        return found

    def _added(self, card: _Card, frame: Frame, allowance: Allowance) -> dict[str, Any]:
        """The terms of a card that are true, and their sum."""
        true = list(self._true_ones(card.conditions, frame, allowance, limit=len(card.conditions)))
        whole, over = whole_points(card.points)
        said: dict[str, Any] = {
            "terms": [
                {"points": card.points[at], "if": format_expression(card.conditions[at])} for at in true[:SHOWN_TERMS]
            ],
            "sum": sum(whole[at] for at in true) / over,
        }
        if len(true) > SHOWN_TERMS:
            said["more"] = len(true) - SHOWN_TERMS
        return said | {"needs": card.needs} if card.needs else said

    def _true_ones(
        self, conditions: Sequence[Node], frame: Frame, allowance: Allowance, *, limit: int
    ) -> Iterator[int]:
        """Which of some checked conditions are true, as many as the limit says."""
        start = found = 0
        while start < len(conditions) and found < min(limit, _BY_FIRST):
            # A rule list says which is the first; what stands behind it is asked again.
            allowance.take(CONDITION * (len(conditions) - start))
            first = compile_rules(list(conditions[start:]), self._schema).match_one(frame.capsule)
            if first < 0:
                return
            yield start + first
            found += 1
            start += first + 1
        for at in range(start, len(conditions)):
            if found >= limit:
                return
            allowance.take(QUESTION)
            if Question(conditions[at], self._schema).truth(frame.capsule):
                yield at
                found += 1


def _taken_apart(rules: RuleList, index: int) -> _Apart:
    tree = rules.tree(index)
    nodes = list(_walk(tree))
    single: list[TextMatch] = []
    for node in nodes:
        if isinstance(node, TextMatch) and isinstance(node.operand, Field):
            single += [replace(node, texts=(text,), places=()) for text in node.texts[: SOUGHT_WORDS - len(single)]]
    names = dict.fromkeys(node.name for node in nodes if isinstance(node, Field))
    return _Apart(
        fields=tuple(names)[:SHOWN_VALUES],
        definitions=_definitions(rules.written(index), rules.names),
        words=tuple(single),
        cards=tuple(_cards(tree, ""))[:SHOWN_CARDS],
        nodes=len(nodes) + len(single),
    )


def _definitions(written: Node, names: Names) -> dict[str, str]:
    """The definitions that a condition uses, directly or by others, with their texts."""
    found: dict[str, str] = {}
    waiting = [written]
    while waiting and len(found) < SHOWN_DEFINITIONS:
        for node in _walk(waiting.pop(0)):
            if isinstance(node, Field) and node.name in names.definitions and node.name not in found:
                found[node.name] = names.definitions[node.name].text
                waiting.append(parse_expression(found[node.name], definition=node.name))
    return found


def _cards(node: Node, needs: str) -> Iterator[_Card]:
    """The cards of a condition, without those in the conditions of a card."""
    match node:
        case Points(points, conditions):
            yield _Card(points, conditions, needs)
        case Count(conditions):
            yield _Card((1.0,) * len(conditions), conditions, needs)
        case Comparison((left, Number(value)), (sign,)):
            yield from _cards(left, f"{sign} {format_number(value)}" if isinstance(left, Points | Count) else "")
        case Comparison((Number(value), right), (sign,)):
            turned = f"{_TURNED.get(sign, sign)} {format_number(value)}"
            yield from _cards(right, turned if isinstance(right, Points | Count) else "")
        case _:
            for child in children(node):
                yield from _cards(child, "")


def _walk(node: Node) -> Iterator[Node]:
    """A node and all below it, in the order of the text."""
    yield node
    for child in children(node):
        yield from _walk(child)
