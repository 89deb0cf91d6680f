"""An ordered rule list: the first rule whose condition is true for a record answers, before any model is asked.

1. ``RuleList.from_document`` believes nothing: every key, id, condition and outcome is checked against the schema and
   the model's labels, and what is wrong is a RuleError that names the rule.
2. A rule either answers (a label or a value) or abstains: then no later rule is asked, and the model answers.
3. A rule list is never changed afterwards and may be used by any number of threads.

Rules: ``rule_reader.py``. Conditions: ``expression_parser.py`` (text to tree), ``rule_names.py`` (lists, definitions,
and what checks a condition), ``rule_compiler.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from numpy.typing import NDArray

from edgeml.errors import RuleError
from edgeml.kernels.rules import RuleProgram
from edgeml.runtime.expression import MAX_EXPRESSION, Node, Source, format_expression, nearest
from edgeml.runtime.expression_parser import parse_expression
from edgeml.runtime.expression_units import Convert
from edgeml.runtime.prediction import Label
from edgeml.runtime.rule import Evidence, Rule
from edgeml.runtime.rule_compiler import compile_rules
from edgeml.runtime.rule_names import Names
from edgeml.runtime.rule_reader import RuleReader, shown
from edgeml.runtime.schema import Schema
from edgeml.runtime.text_scans import needs_re2

__all__ = ["MAX_CHARACTERS", "MAX_RULES", "Evidence", "Rule", "RuleCost", "RuleList"]

MAX_RULES = 10_000
# All conditions, lists and definitions together; a bundle's rules.json is no larger than this either.
MAX_CHARACTERS = 4 * 1024 * 1024

_KEYS = ("rules", "lists", "define")


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
        names: The lists and definitions of the document.
        schema: What a record looks like.
    """

    __slots__ = ("_program", "match", "match_one", "names", "needs_re2", "rules", "schema")

    def __init__(
        self, rules: Sequence[Rule], program: RuleProgram, schema: Schema, names: Names, *, needs_re2: bool = False
    ) -> None:
        self.rules: tuple[Rule, ...] = tuple(rules)
        self.schema = schema
        self.names = names
        self._program = program
        self.needs_re2 = needs_re2
        self.match_one: Callable[[Any], int] = program.match_one
        self.match: Callable[[Any, NDArray[Any]], int] = program.match

    @classmethod
    def from_document(
        cls,
        document: Mapping[str, Any],
        schema: Schema,
        labels: Sequence[Label] | None = None,
        *,
        convert: Convert | None = None,
    ) -> RuleList:
        """Reads the JSON form, checks and compiles it.

        Args:
            document: ``{"lists"?: {name: [...]}, "define"?: {name: "..."}, "rules": [{"id"?, "when", "then", ...}]}``;
                ``then`` is ``{"label": ..., "score"?: ...}``, ``{"value": ...}``, ``{"abstain": true}`` or
                ``"abstain"``. What else a rule may say are the members of ``Rule``.
            schema: What a record looks like.
            labels: What a classification may answer; None for a regression.
            convert: Converts a number from one unit to another; None where every number has to be in the feature's
                own unit, as on a box.

        Raises:
            RuleError: Something is wrong; the message names the rule and, in a condition, shows where.
            RequirementError: A condition needs RE2, and it is not here.
        """
        if not isinstance(document, Mapping) or "rules" not in document:
            raise RuleError('expected an object {"rules": [...]}')
        for key in document:
            if key not in _KEYS:
                near = nearest(str(key), list(_KEYS))
                hint = f"did you mean {near!r}?" if near is not None else "there are rules, lists and define"
                raise RuleError(f"unknown key {key!r} beside 'rules'; {hint}")
        names = Names(document, schema, convert)
        given = document["rules"]
        if not isinstance(given, Sequence) or isinstance(given, str | bytes):
            raise RuleError(f"rules: expected a list of rules, got {shown(given)}")
        if len(given) > MAX_RULES:
            raise RuleError(f"there are {len(given)} rules; at most {MAX_RULES}: merge some of them with 'in' or 'or'")
        rules: list[Rule] = []
        conditions: list[Node] = []
        numbers: dict[str, int] = {}
        characters = names.characters
        for number, item in enumerate(given, start=1):
            reader = RuleReader(number, item, labels)
            earlier = numbers.setdefault(reader.id, number)
            if earlier != number:
                raise reader.error(f"rule number {earlier} has the same id; ids must be distinct")
            characters += len(reader.text)
            if characters > MAX_CHARACTERS:
                raise reader.error(f"the conditions together have more than {MAX_CHARACTERS} characters")
            tree = parse_expression(reader.text, rule=reader.id)
            written, resolved = names.read(tree, Source(reader.text, reader.id))
            conditions.append(resolved)
            rules.append(reader.rule(format_expression(written)))
            if len(rules[-1].when) > MAX_EXPRESSION:
                raise reader.error(
                    f"the condition's canonical text has more than {MAX_EXPRESSION} characters; split it"
                )
        program = compile_rules(conditions, schema)
        return cls(rules, program, schema, names, needs_re2=any(map(needs_re2, conditions)))

    def written(self, index: int) -> Node:
        """The condition of a rule as a tree that still has the names of lists and definitions."""
        return parse_expression(self.rules[index].when)

    def tree(self, index: int) -> Node:
        """The condition of a rule with its names resolved: what ``rule_parts.py`` takes.

        Made when it is asked for, and shared with nothing but lists and definitions.
        """
        return self.names.resolve(self.written(index))

    def expanded(self, index: int) -> str:
        """The condition of a rule as text without names of lists and definitions."""
        return format_expression(self.tree(index))

    def cost(self) -> RuleCost:
        """What asking the rules can cost at most, known without a record."""
        return RuleCost(*self._program.cost)

    def to_document(self) -> dict[str, Any]:
        """The JSON form with canonical conditions; ``from_document`` reads it back as equal rules."""
        return self.names.to_document() | {"rules": [rule.to_dict() for rule in self.rules]}
