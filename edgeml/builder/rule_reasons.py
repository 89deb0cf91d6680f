"""Which rule answers a record, and why each rule before it does not: the part of its condition that is not true.

1. Every part is asked of the compiled kernel (``rule_truth.py``); only which parts make a whole false is decided here:
   one false part of an "and", every part of an "or".
2. A definition is followed down to the tests that it stands for.
3. Beside a test stand the values that it read, as the record has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeml.builder.rule_truth import FALSE, TRUE, UNKNOWN, WORDS, RuleTruth
from edgeml.builder.table_checks import parts_of
from edgeml.runtime.expression import (
    And,
    Count,
    Field,
    Node,
    Not,
    Or,
    Points,
    children,
    format_expression,
    format_name,
    format_number,
    format_text,
)
from edgeml.runtime.expression_parser import parse_expression
from edgeml.runtime.reader import Frame
from edgeml.runtime.rule import Rule
from edgeml.runtime.rules import RuleList
from edgeml.runtime.schema import Schema
from edgeml.runtime.scorecard import whole_points

# Parts of one condition that are shown.
MOST_PARTS = 6
_LONGEST = 60


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a rule fires on a record, or does not.

    Attributes:
        rule: Its id.
        truth: ``true``, ``false`` or ``unknown``: what its condition is.
        parts: The tests that make it so, each with the values that it read.
    """

    rule: str
    truth: str
    parts: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.rule}: {self.truth}: {'; '.join(self.parts)}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What became of a record.

    Attributes:
        fires: Id of the rule whose condition is the first that is true; None where none is.
        answer: What the rule answers; None where the model is asked.
        reasons: Of the rules before, and of the one that fires; or of the one that was asked for.
    """

    fires: str | None
    answer: Any
    reasons: tuple[Reason, ...]


class RuleExplainer:
    """Explains what rules do to records.

    Args:
        rules: The rules.
        document: The same as a document, with the conditions as they were written.
        schema: What a record looks like.
    """

    def __init__(self, rules: RuleList, document: Mapping[str, Any], schema: Schema) -> None:
        self._rules = rules
        self._shared = {key: document[key] for key in ("lists", "define") if key in document}
        self._written = [rule["when"] for rule in document["rules"]]
        self._schema = schema
        self._truth = RuleTruth(schema, self._shared)

    def fires(self, record: Mapping[str, Any]) -> int:
        """Index of the rule that fires on a record, -1 where none does.

        Raises:
            SchemaError: A value does not fit the schema.
        """
        return self._rules.match_one(self._truth.frame([record]).capsule)

    def truth(self, index: int, record: Mapping[str, Any]) -> int:
        """Whether one rule's condition is true for a record, false or unknown, whatever other rules say.

        Raises:
            SchemaError: A value does not fit the schema.
        """
        return self._truth.ask_one(self._written[index], record)

    def explain(self, record: Mapping[str, Any], rule: str | None = None) -> Explanation:
        """Which rule fires on a record, and why those before it do not.

        Args:
            record: The record; a feature that it leaves out is missing.
            rule: Id of the only rule that is to be explained; None explains all up to the one that fires.

        Raises:
            SchemaError: A value does not fit the schema.
            KeyError: There is no rule of that id.
        """
        fired = self.fires(record)
        every = [each.id for each in self._rules.rules]
        if rule is not None and rule not in every:
            raise KeyError(rule)
        last = fired if fired >= 0 else len(every) - 1
        wanted = [every.index(rule)] if rule is not None else list(range(last + 1))
        frame = self._truth.frame([record])
        asked = [self._reason(index, frame, record) for index in wanted]
        if fired < 0:
            return Explanation(None, None, tuple(asked))
        return Explanation(every[fired], answer_of(self._rules.rules[fired]), tuple(asked))

    def _reason(self, index: int, frame: Frame, record: Mapping[str, Any]) -> Reason:
        text = self._written[index]
        truth = int(self._truth.ask(text, frame, 1)[0])
        parts = tuple(dict.fromkeys(self._because(parse_expression(text), truth, frame, record)))
        if len(parts) > MOST_PARTS:
            parts = (*parts[:MOST_PARTS], f"and {len(parts) - MOST_PARTS} more")
        return Reason(self._rules.rules[index].id, WORDS[truth], parts)

    def _because(self, node: Node, truth: int, frame: Frame, record: Mapping[str, Any]) -> list[str]:
        """The tests that make a condition what it is."""
        match node:
            case Not(operand):
                turned = {TRUE: FALSE, FALSE: TRUE, UNKNOWN: UNKNOWN}[truth]
                return self._because(operand, turned, frame, record)
            case And(operands) | Or(operands):
                told = [int(self._truth.ask(format_expression(part), frame, 1)[0]) for part in operands]
                same = [part for part, said in zip(operands, told, strict=True) if said == truth]
                # One false part settles an "and", one true part an "or".
                if truth == (FALSE if isinstance(node, And) else TRUE):
                    same = same[:1]
                return [line for part in same for line in self._because(part, truth, frame, record)]
            case Field(name) if name in (self._shared.get("define") or {}):
                meant = parse_expression(str(self._shared["define"][name]))
                inner = self._because(meant, truth, frame, record)
                return [f"{format_name(name)} is {WORDS[truth]}: {line}" for line in inner]
        card = next((part for part in children(node) if isinstance(part, Points | Count)), None)
        if card is not None:
            return [self._of_card(node, card, truth, frame)]
        return [f"{format_expression(node)} is {WORDS[truth]}{self._values(node, record)}"]

    def _of_card(self, node: Node, card: Points | Count, truth: int, frame: Frame) -> str:
        """What a scorecard adds up to, and of what; its terms are too many to be shown all."""
        given = card.points if isinstance(card, Points) else (1.0,) * len(card.conditions)
        counted = [
            (points, condition)
            for points, condition in zip(given, card.conditions, strict=True)
            if int(self._truth.ask(format_expression(condition), frame, 1)[0]) == TRUE
        ]
        whole = format_expression(node)
        name = "points" if isinstance(card, Points) else "count"
        shown = whole.replace(format_expression(card), f"{name}({len(given)} terms)", 1)
        whole_sum, scale = whole_points([points for points, _ in counted] or [0.0])
        terms = [f"{format_number(points)} if {format_expression(condition)}" for points, condition in counted]
        if len(terms) > MOST_PARTS:
            terms = [*terms[:MOST_PARTS], f"and {len(terms) - MOST_PARTS} more"]
        return (
            f"{shown} is {WORDS[truth]}: {format_number(sum(whole_sum) / scale)}{': ' * bool(terms)}{', '.join(terms)}"
        )

    def _values(self, node: Node, record: Mapping[str, Any]) -> str:
        parts = parts_of(format_expression(node), self._shared)
        names = {part.name: None for part in reversed(parts) if isinstance(part, Field)}
        read = [name for name in names if name in self._schema.names]
        if not read:
            return ""
        if len(read) == 1:
            return f": {_shown(record.get(read[0]))}" if record.get(read[0]) is not None else f": {read[0]} is missing"
        return ": " + ", ".join(
            f"{format_name(name)} = {_shown(record[name])}"
            if record.get(name) is not None
            else f"{format_name(name)} is missing"
            for name in sorted(read)
        )


def answer_of(rule: Rule) -> Any:
    """What a rule answers; None where it abstains, and the model is asked.

    Args:
        rule: The rule.
    """
    if rule.abstains:
        return None
    return rule.label if rule.label is not None else rule.value


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return format_text(value if len(value) <= _LONGEST else value[: _LONGEST - 3] + "...")
    return str(value)
