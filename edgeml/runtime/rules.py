"""An ordered rule list: the first rule whose condition is true for a record answers, before any model is asked.

1. ``RuleList.from_document`` believes nothing: every key, id, condition and outcome is checked against the schema and
   the model's labels, and what is wrong is a RuleError that names the rule.
2. A rule either answers (a label or a value) or abstains: then no later rule is asked, and the model answers.
3. A rule list is never changed afterwards and may be used by any number of threads.

Conditions: ``expression_parser.py`` (text to tree), ``expression_types.py`` (does it fit), ``rule_compiler.py``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeml.errors import RuleError
from edgeml.kernels.rules import RuleProgram
from edgeml.runtime.expression import Node, Source, format_expression, nearest
from edgeml.runtime.expression_parser import parse_expression
from edgeml.runtime.expression_types import check_condition
from edgeml.runtime.prediction import Label
from edgeml.runtime.rule_compiler import compile_rules
from edgeml.runtime.schema import Schema
from edgeml.runtime.text_scans import needs_re2

MAX_RULES = 10_000
# All conditions together; a bundle's rules.json is no larger than this either.
MAX_CHARACTERS = 4 * 1024 * 1024
MAX_ID = 200
MAX_NOTE = 10_000

_ID = re.compile(r"[a-z0-9][a-z0-9._-]*")
_RULE_KEYS = ("id", "when", "then", "note", "provenance", "coverage", "precision")
_THEN_KEYS = ("label", "value", "score", "abstain")


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition and what to answer where it is true.

    Attributes:
        id: Distinct in its list.
        when: The condition's canonical text.
        label: The answer of a classification, else None.
        value: The answer of a regression, else None.
        score: How sure the label is, from 0 to 1; None where nobody said, and beside a value.
        abstains: Whether the model is to answer instead.
        note: Why the rule is there, for readers.
        provenance: Where the rule comes from, for readers.
        coverage: Share of the builder's rows on which the rule answered.
        precision: Share of these on which it was right.
    """

    id: str
    when: str
    label: Label | None = None
    value: float | None = None
    score: float | None = None
    abstains: bool = False
    note: str | None = None
    provenance: str | None = None
    coverage: float | None = None
    precision: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; what is not given is left out."""
        then: dict[str, Any] = {"abstain": True} if self.abstains else {}
        document: dict[str, Any] = {"id": self.id, "when": self.when, "then": then}
        for key in ("label", "value", "score"):
            if getattr(self, key) is not None:
                then[key] = getattr(self, key)
        for key in ("note", "provenance", "coverage", "precision"):
            if getattr(self, key) is not None:
                document[key] = getattr(self, key)
        return document


class RuleCost(NamedTuple):
    """What asking a rule list can cost at most.

    Attributes:
        instructions: Instructions of the program.
        longest: Instructions on the longest way through it: no record takes more, since there are no loops.
        scans: Passes over texts: no record takes more, each over one text once.
        table_bytes: Memory of the program and of what it looks for.
    """

    instructions: int
    longest: int
    scans: int
    table_bytes: int


class RuleList:
    """Rules in the order in which they are asked.

    Attributes:
        rules: The rules.
        match_one: Called with a frame's capsule: index of the first rule that is true for row 0, -1 where none is.
            The kernel's own method, without anything in between.
        match: Called with a frame's capsule and an int32 array of one value for each row, which is filled with the
            index of the first rule that is true for the row, or -1; gives the number of rows that a rule was true
            for. Works without the GIL.
        needs_re2: Whether a condition has a regular expression, for which a box needs RE2.
        schema: What a record looks like.
    """

    __slots__ = ("_program", "match", "match_one", "needs_re2", "rules", "schema")

    def __init__(self, rules: Sequence[Rule], program: RuleProgram, schema: Schema, *, needs_re2: bool = False) -> None:
        self.rules: tuple[Rule, ...] = tuple(rules)
        self.schema = schema
        self._program = program
        self.needs_re2 = needs_re2
        self.match_one: Callable[[Any], int] = program.match_one
        self.match: Callable[[Any, NDArray[Any]], int] = program.match

    @classmethod
    def from_document(
        cls, document: Mapping[str, Any], schema: Schema, labels: Sequence[Label] | None = None
    ) -> RuleList:
        """Reads the JSON form, checks and compiles it.

        Args:
            document: ``{"rules": [{"id"?, "when", "then", "note"?, "provenance"?, "coverage"?, "precision"?}]}``;
                ``then`` is ``{"label": ..., "score"?: ...}``, ``{"value": ...}``, ``{"abstain": true}`` or
                ``"abstain"``.
            schema: What a record looks like.
            labels: What a classification may answer; None for a regression.

        Raises:
            RuleError: Something is wrong; the message names the rule and, in a condition, shows where.
            RequirementError: A condition needs RE2, and it is not here.
        """
        if not isinstance(document, Mapping) or "rules" not in document:
            raise RuleError('expected an object {"rules": [...]}')
        for key in document:
            if key != "rules":
                raise RuleError(f"unknown key {key!r} beside 'rules'; remove it")
        given = document["rules"]
        if not isinstance(given, Sequence) or isinstance(given, str | bytes):
            raise RuleError(f"rules: expected a list of rules, got {_shown(given)}")
        if len(given) > MAX_RULES:
            raise RuleError(f"there are {len(given)} rules; at most {MAX_RULES}: merge some of them with 'in' or 'or'")
        rules: list[Rule] = []
        conditions: list[Node] = []
        numbers: dict[str, int] = {}
        characters = 0
        for number, item in enumerate(given, start=1):
            reader = _RuleReader(number, item, labels)
            earlier = numbers.setdefault(reader.id, number)
            if earlier != number:
                raise reader.error(f"rule number {earlier} has the same id; ids must be distinct")
            characters += len(reader.text)
            if characters > MAX_CHARACTERS:
                raise reader.error(f"the conditions together have more than {MAX_CHARACTERS} characters")
            tree = parse_expression(reader.text, rule=reader.id)
            check_condition(tree, schema, Source(reader.text, reader.id))
            conditions.append(tree)
            rules.append(reader.rule(format_expression(tree)))
        return cls(rules, compile_rules(conditions, schema), schema, needs_re2=any(map(needs_re2, conditions)))

    def tree(self, index: int) -> Node:
        """The condition of a rule as a tree of its own, made when it is asked for: see ``rule_parts.py``."""
        return parse_expression(self.rules[index].when)

    def cost(self) -> RuleCost:
        """What asking the rules can cost at most, known without a record."""
        return RuleCost(*self._program.cost)

    def to_document(self) -> dict[str, Any]:
        """The JSON form with canonical conditions; ``from_document`` reads it back as equal rules."""
        return {"rules": [rule.to_dict() for rule in self.rules]}


class _RuleReader:
    """Reads and checks one rule's document."""

    def __init__(self, number: int, item: Any, labels: Sequence[Label] | None) -> None:
        self.id = ""
        self.who = f"rule number {number}"
        self.labels = labels
        if not isinstance(item, Mapping):
            raise self.error(f"expected an object with 'when' and 'then', got {_shown(item)}")
        self.item = item
        self.id = self.read_id(number)
        self.who = f"rule {self.id!r}"
        self.refuse_unknown(item, _RULE_KEYS, "")
        for key in ("when", "then"):
            if key not in item:
                raise self.error(f"there is no {key!r}; a rule says when it applies and what it then answers")
        self.text = self.read_condition()

    def error(self, message: str) -> RuleError:
        return RuleError(f"{self.who}: {message}", rule=self.id)

    def refuse_unknown(self, item: Mapping[Any, Any], known: Sequence[str], where: str) -> None:
        for key in item:
            if key not in known:
                near = nearest(str(key), list(known))
                hint = f"did you mean {near!r}?" if near is not None else f"there are {', '.join(known)}"
                raise self.error(f"{where}unknown key {_shown(key)}; {hint}")

    def read_id(self, number: int) -> str:
        given = self.item.get("id", f"rule-{number}")
        if not isinstance(given, str) or len(given) > MAX_ID or not _ID.fullmatch(given):
            raise self.error(
                f"id {_shown(given)} must be a string of at most {MAX_ID} small letters, digits, '.', '_' and '-', "
                "and begin with a letter or a digit"
            )
        return given

    def read_condition(self) -> str:
        given = self.item["when"]
        if isinstance(given, bool):
            raise self.error('when: put the condition in quotes: when: "true"')
        if not isinstance(given, str):
            raise self.error(f"when: expected a condition as a string, got {_shown(given)}; put it in quotes")
        return given

    def rule(self, when: str) -> Rule:
        """The rule with its canonical condition."""
        then = self.item["then"]
        if then == "abstain":
            then = {"abstain": True}
        if not isinstance(then, Mapping):
            raise self.error(f"then: expected {{label: ...}}, {{value: ...}} or abstain, got {_shown(then)}")
        self.refuse_unknown(then, _THEN_KEYS, "then: ")
        outcomes = [key for key in ("label", "value", "abstain") if key in then]
        if len(outcomes) != 1:
            raise self.error(f"then: expected one of label, value and abstain, got {' and '.join(outcomes) or 'none'}")
        if "abstain" in then and (then["abstain"] is not True or "score" in then):
            raise self.error("then: a rule that abstains says {abstain: true} and nothing else")
        if "value" in then and "score" in then:
            raise self.error("then: a score says how sure a label is, and a value has no place for one; remove it")
        return Rule(
            id=self.id,
            when=when,
            label=self.label(then["label"]) if "label" in then else None,
            value=self.value(then["value"]) if "value" in then else None,
            score=self.share(then, "score", "then: "),
            abstains="abstain" in then,
            note=self.words("note"),
            provenance=self.words("provenance"),
            coverage=self.share(self.item, "coverage", ""),
            precision=self.share(self.item, "precision", ""),
        )

    def label(self, given: Any) -> Label:
        if self.labels is None:
            raise self.error("then: the model answers with a number; write value in place of label")
        given = _plain(given)
        if isinstance(given, str | int | float):
            for label in self.labels:
                if isinstance(label, bool) == isinstance(given, bool) and label == given:
                    return label
        texts = [label for label in self.labels if isinstance(label, str)]
        near = nearest(given, texts) if isinstance(given, str) else None
        known = ", ".join(map(repr, self.labels[:8])) + (", ..." if len(self.labels) > 8 else "")
        hint = f"the labels are {known}"
        if isinstance(given, bool) and texts:
            hint += "; an unquoted yes, no, on or off is read as true or false: put the label in quotes"
        elif not isinstance(given, str) and texts:
            hint += "; the labels are strings: put the label in quotes"
        elif isinstance(given, str) and not texts:
            hint += "; write the label without quotes"
        elif near is not None:
            hint = f"the nearest is {near!r}"
        raise self.error(f"then: {_shown(given)} is no label; {hint}")

    def value(self, given: Any) -> float:
        if self.labels is not None:
            raise self.error("then: the model answers with a label; write label in place of value")
        number = _number(given)
        if number is None:
            raise self.error(f"then: value must be a finite number, got {_shown(given)}")
        return number

    def share(self, item: Mapping[str, Any], key: str, where: str) -> float | None:
        if key not in item:
            return None
        number = _number(item[key])
        if number is None or not 0 <= number <= 1:
            raise self.error(f"{where}{key} must be a number from 0 to 1, got {_shown(item[key])}")
        return number

    def words(self, key: str) -> str | None:
        given = self.item.get(key)
        if key in self.item and (not isinstance(given, str) or len(given) > MAX_NOTE):
            raise self.error(f"{key} must be a string of at most {MAX_NOTE} characters, got {_shown(given)}")
        return given


def _plain(given: Any) -> Any:
    """A numpy scalar as the Python value it stands for; anything else as it is."""
    return given.item() if isinstance(given, np.generic) else given


def _number(given: Any) -> float | None:
    """A finite double, None for anything else."""
    given = _plain(given)
    if isinstance(given, bool) or not isinstance(given, int | float):
        return None
    try:
        number = float(given)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _shown(given: Any) -> str:
    """What was given, short enough for a message."""
    if given is None or isinstance(given, bool):
        return {None: "nothing", True: "true", False: "false"}[given]
    if isinstance(given, Mapping):
        return "an object"
    if isinstance(given, list | tuple):
        return "a list"
    text = repr(given) if not isinstance(given, int) or abs(given) < 10**30 else "a huge integer"
    return text if len(text) <= 60 else f"{text[:57]}..."
