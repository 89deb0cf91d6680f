"""Why a rule answered: its text, the values it asked about, and the words that it found.

What a part of a condition gives is asked of the same compiled code that answers, one part at a time; nothing of the
language is worked out a second time here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from edgeml.kernels.frame import Frame
from edgeml.runtime.expression import Field, Node, TextMatch, children
from edgeml.runtime.expression_parser import parse_expression
from edgeml.runtime.frame_values import values_of
from edgeml.runtime.rule_compiler import compile_rules
from edgeml.runtime.rules import Rule
from edgeml.runtime.schema import Schema

# Features whose values are shown, words that are shown as found, and words that are looked for.
SHOWN_VALUES = 50
SHOWN_WORDS = 20
SOUGHT_WORDS = 2_000


def explain_rule(rule: Rule, frame: Frame, schema: Schema) -> dict[str, Any]:
    """The explanation of a rule's answer for the record in row 0 of a frame.

    Args:
        rule: The rule that fired.
        frame: The record.
        schema: What it looks like.
    """
    tree = parse_expression(rule.when, rule=rule.id)
    said: dict[str, Any] = {"rule": rule.id, "when": rule.when}
    for key in ("note", "target", "precision", "coverage"):
        if getattr(rule, key, None) is not None:
            said[key] = getattr(rule, key)
    names = [node.name for node in _walk(tree) if isinstance(node, Field)]
    said["values"] = values_of(frame, schema, list(dict.fromkeys(names))[:SHOWN_VALUES])
    found = _found_words(tree, frame, schema)
    if found:
        said["found"] = found
    return said


def _found_words(tree: Node, frame: Frame, schema: Schema) -> dict[str, list[str]]:
    """By text, the strings of the condition that are in it (of ``matches``, the expressions)."""
    single: list[TextMatch] = []
    for node in _walk(tree):
        if isinstance(node, TextMatch) and isinstance(node.operand, Field):
            single += [replace(node, texts=(text,), places=()) for text in node.texts[: SOUGHT_WORDS - len(single)]]
    found: dict[str, list[str]] = {}
    for at in true_ones(single, frame, schema, limit=SHOWN_WORDS):
        operand = single[at].operand
        assert isinstance(operand, Field)
        words = found.setdefault(operand.name, [])
        if single[at].texts[0] not in words:
            words.append(single[at].texts[0])
    return found


def true_ones(conditions: Sequence[Node], frame: Frame, schema: Schema, *, limit: int) -> Iterator[int]:
    """Which of some checked conditions are true for the record in row 0 of a frame.

    Args:
        conditions: The conditions.
        frame: The record.
        schema: What it looks like.
        limit: How many are looked for.
    """
    start = 0
    for _ in range(limit):
        if start >= len(conditions):
            return
        # A rule list says which is the first; what stands behind it is asked again.
        first = compile_rules(list(conditions[start:]), schema).match_one(frame.capsule)
        if first < 0:
            return
        yield start + first
        start += first + 1


def _walk(node: Node) -> Iterator[Node]:
    """A node and all below it, in the order of the text."""
    yield node
    for child in children(node):
        yield from _walk(child)
