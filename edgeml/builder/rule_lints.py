"""What is suspicious in rules that are right in form: what never happens, and what has no effect.

1. What is said of logic is proved (``rule_logic.py``): a finding is so for every record that fits the schema. What the
   solver could not settle in its steps is named as not examined, never as found.
2. What is said of data is counted: which rules answer none of the given records.
3. A rule that can never be true is said once; it is not also called unreachable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import z3

from edgeml.builder.rule_document import RuleSource
from edgeml.builder.rule_logic import STEPS, Formula, RuleLogic, TextTest, follows, leaves
from edgeml.builder.rule_tables import shown_record
from edgeml.builder.table_checks import first_gap
from edgeml.builder.written_document import Place
from edgeml.runtime.expression import (
    Comparison,
    Field,
    Membership,
    Node,
    Source,
    Text,
    TextMatch,
    Truth,
    children,
    format_expression,
    format_text,
)
from edgeml.runtime.expression_parser import parse_expression
from edgeml.runtime.reader import Frame
from edgeml.runtime.rule import Rule
from edgeml.runtime.rule_names import Names
from edgeml.runtime.schema import Schema

# Rules that together answer for another one are named up to this number.
MOST_NAMED = 8
_MOST_ITEMS = 500


@dataclass(frozen=True, slots=True)
class Lint:
    """A finding.

    Attributes:
        kind: ``never``, ``unreachable``, ``subsumed``, ``duplicate``, ``everything``, ``part never``, ``part always``,
            ``no effect``, ``unused``, ``silent`` or ``gap``.
        rule: Id of the rule, or name of the list, definition or table.
        message: What is so, and what to do.
        place: Where it is written; None where the rules came without a text.
        others: Ids of other rules that it is about.
    """

    kind: str
    rule: str
    message: str
    place: Place | None = None
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place is not None else ""
        return f"{where}{self.message}"


@dataclass
class Lints:
    """All findings.

    Attributes:
        found: In the order of the file.
        not_examined: Ids of rules of which the solver could not say whether they can answer.
    """

    found: list[Lint] = field(default_factory=list)
    not_examined: list[str] = field(default_factory=list)


class _Solver:
    """A solver with a bounded number of steps for each question."""

    def __init__(self, facts: Sequence[Formula]) -> None:
        self.solver = z3.Solver()
        self.solver.set("rlimit", STEPS)
        self.solver.add(*facts)

    def impossible(self, *assumed: Formula) -> bool | None:
        """Whether there is no model; None where that is not known."""
        told = self.solver.check(*assumed)
        return None if told == z3.unknown else bool(told == z3.unsat)

    def core(self) -> set[str]:
        """Names of the assumptions that the last answer needed."""
        return {str(each) for each in self.solver.unsat_core()}


def lint_rules(read: RuleSource, schema: Schema, frame: Frame | None = None, rows: int = 0) -> Lints:
    """Looks for what is suspicious.

    Args:
        read: Rules without a mistake.
        schema: What a record looks like.
        frame: Records to count with; None for none.
        rows: Records in the frame.
    """
    assert read.rules is not None
    made = Lints()
    rules = read.rules.rules
    if rules:
        _logic(read, schema, rules, made)
    _sets(read, rules, made)
    _unused(read, made)
    for name, table in read.tables.items():
        if table.hit in ("unique", "any", "first", "priority"):
            shared: dict[str, Any] = {key: read.document[key] for key in ("lists", "define") if key in read.document}
            record = first_gap(table.inputs, [row.conditions for row in table.rows], schema, shared)
            if record is not None:
                message = f"table {name!r}: no row fits {shown_record(record)}; such records go on to the next rule"
                made.found.append(Lint("gap", name, message, read.written.place(table.part, key=True)))
    if frame is not None and rows:
        matched = np.full(rows, -1, dtype=np.int32)
        read.rules.match(frame.capsule, matched)
        counts = np.bincount(matched[matched >= 0], minlength=len(rules))
        said = {lint.rule for lint in made.found if lint.kind in ("never", "unreachable", "subsumed", "duplicate")}
        for index, rule in enumerate(rules):
            if not counts[index] and rule.id not in said:
                message = f"rule {rule.id!r}: it answers none of the {rows} records"
                made.found.append(Lint("silent", rule.id, message, read.place_of(index)))
    made.found.sort(key=lambda lint: (lint.place.line, lint.place.column) if lint.place else (0, 0))
    return made


def _written(read: RuleSource) -> list[tuple[Node, Node]]:
    """For each rule its condition as it was written, with the places of its parts, and with its names resolved."""
    assert read.rules is not None
    texts = [Source(rule["when"], rule.get("id", "")) for rule in read.document["rules"]]
    return [read.rules.names.read(parse_expression(source.text), source) for source in texts]


def _logic(read: RuleSource, schema: Schema, rules: Sequence[Rule], made: Lints) -> None:
    assert read.rules is not None
    written = _written(read)
    logic = RuleLogic(schema)
    fires = [logic.surely(resolved) for _, resolved in written]
    parts = _Parts(logic, [tree for tree, _ in written], read.rules.names)
    facts = logic.finish()
    bounds = list(logic.bounds.values())
    switches = [switch for switch, _ in bounds]
    base = _Solver([*facts, *(z3.Implies(switch, held) for switch, held in bounds)])
    fixed = [*facts, *(held for _, held in bounds)]
    # Those that no earlier rule answers; and the same with a switch for each rule, to ask which ones do.
    left, named = _Solver(fixed), _Solver(fixed)
    asked = [z3.Bool(f"rule {index}") for index in range(len(rules))]
    ends = -1
    for index, (rule, formula) in enumerate(zip(rules, fires, strict=True)):
        never = base.impossible(formula, *switches)
        if never:
            used = sorted(name.removeprefix("bounds ") for name in base.core() if name.startswith("bounds "))
            _never(read, index, rule, used, made)
            continue
        silent = left.impossible(formula)
        if silent and ends < 0:
            named.impossible(formula, *asked[:index])
            _answered_before(read, index, rules, _fewest(named, formula, named.core()), made)
        elif never is None or silent is None:
            made.not_examined.append(rule.id)
        if ends >= 0:
            continue
        parts.look(read, index, rule, base, switches, made)
        left.solver.add(z3.Not(formula))
        named.solver.add(z3.Implies(asked[index], z3.Not(formula)))
        if index + 1 < len(rules) and left.impossible():
            ends = index
            alone = base.impossible(z3.Not(formula), *switches)
            what = "its condition is true for every record" if alone else "with it every record has an answer"
            message = f"rule {rule.id!r}: {what}, so none of the {len(rules) - index - 1} rules after it is ever asked"
            made.found.append(Lint("everything", rule.id, message, read.place_of(index, "when")))


def _never(read: RuleSource, index: int, rule: Rule, used: Sequence[str], made: Lints) -> None:
    why = f"within the schema's bounds of {' and '.join(used)} " if used else ""
    message = f"rule {rule.id!r}: its condition can never be true{' ' + why.strip() if why else ''}; mend or remove it"
    made.found.append(Lint("never", rule.id, message, read.place_of(index, "when")))


def _fewest(solver: _Solver, formula: Formula, core: set[str]) -> list[int]:
    """The rules of a core, without those that are not needed."""
    kept = sorted(int(name.removeprefix("rule ")) for name in core if name.startswith("rule "))
    if len(kept) <= 4 * MOST_NAMED:
        for index in list(kept):
            rest = [z3.Bool(f"rule {other}") for other in kept if other != index]
            if solver.impossible(formula, *rest):
                kept.remove(index)
    return kept


def _answered_before(read: RuleSource, index: int, rules: Sequence[Rule], by: list[int], made: Lints) -> None:
    rule = rules[index]
    others = tuple(rules[other].id for other in by)
    if len(by) == 1:
        earlier = rules[by[0]]
        same = earlier.when == rule.when
        kind = "duplicate" if same else "subsumed"
        alike = (earlier.label, earlier.value, earlier.abstains) == (rule.label, rule.value, rule.abstains)
        why = "has the same condition" if same else "is true whenever this one is"
        then = "answers the same" if alike else f"answers otherwise ({_answer(earlier)}, not {_answer(rule)})"
        message = f"rule {rule.id!r} is never asked: rule {others[0]!r} before it {why}, and {then}"
    else:
        kind = "unreachable"
        shown = ", ".join(map(repr, others[:MOST_NAMED])) + (", ..." if len(others) > MOST_NAMED else "")
        message = f"rule {rule.id!r} never answers: whatever it is true for, rules {shown} before it answer"
    made.found.append(Lint(kind, rule.id, message, read.place_of(index, "when"), others))


def _answer(rule: Rule) -> str:
    return "abstain" if rule.abstains else repr(rule.label if rule.label is not None else rule.value)


class _Parts:
    """The tests of the rules, each asked by itself."""

    def __init__(self, logic: RuleLogic, trees: Sequence[Node], names: Names) -> None:
        self.leaves = [[leaf for leaf in leaves(tree) if _may_be_constant(leaf)] for tree in trees]
        self.single = [len(leaves(tree)) == 1 for tree in trees]
        self.formulae: dict[str, tuple[Formula, Formula]] = {}
        self.items: dict[str, list[tuple[str, Formula]]] = {}
        self.told: dict[str, str] = {}
        for leaf in (leaf for of_rule in self.leaves for leaf in of_rule):
            text = format_expression(leaf)
            if text not in self.formulae:
                leaf = names.resolve(leaf)
                self.formulae[text] = logic.surely(leaf), logic.surely(leaf, turned=True)
                if isinstance(leaf, Membership) and 1 < len(leaf.items) <= _MOST_ITEMS:
                    self.items[text] = [
                        (format_expression(item), logic.surely(Comparison((leaf.operand, item), ("==",))))
                        for item in leaf.items
                        if not isinstance(item, Text)
                    ]

    def look(
        self, read: RuleSource, index: int, rule: Rule, base: _Solver, switches: Sequence[Formula], made: Lints
    ) -> None:
        """Says of each test of a rule that can answer whether it can be true, and false."""
        for leaf in self.leaves[index]:
            text = format_expression(leaf)
            if text not in self.told:
                self.told[text] = self._tell(text, base, switches)
            kind, _, what = self.told[text].partition(": ")
            if what and not (self.single[index] and kind == "part always"):
                place = read.place_of(index, "when", offset=leaf.position)
                made.found.append(Lint(kind, rule.id, f"rule {rule.id!r}: {what}", place))

    def _tell(self, text: str, base: _Solver, switches: Sequence[Formula]) -> str:
        true, false = self.formulae[text]
        if base.impossible(true, *switches):
            return f"part never: {text} can never be true{_because(base)}; mend or remove it"
        if base.impossible(false, *switches):
            return f"part always: {text} can never be false{_because(base)}; it asks nothing"
        for item, formula in self.items.get(text, ()):
            if base.impossible(formula, *switches):
                return f"no effect: {item} of {text} can never match{_because(base)}; remove it"
        return ""


def _because(solver: _Solver) -> str:
    used = sorted(name.removeprefix("bounds ") for name in solver.core() if name.startswith("bounds "))
    return f" within the schema's bounds of {' and '.join(used)}" if used else ""


def _may_be_constant(leaf: Node) -> bool:
    """Whether a test could be true, or false, for all records; to look for a text or to ask a feature is neither."""
    return not isinstance(leaf, TextMatch | Truth | Field)


def _sets(read: RuleSource, rules: Sequence[Rule], made: Lints) -> None:
    """Items of a set that stand twice, or that another item makes needless."""
    seen: set[str] = set()
    for index, (rule, (_, tree)) in enumerate(zip(rules, _written(read), strict=True)):
        waiting = [tree]
        while waiting:
            node = waiting.pop()
            waiting += children(node)
            text = format_expression(node) if isinstance(node, Membership | TextMatch) else ""
            if not text or text in seen:
                continue
            seen.add(text)
            for what in _needless(node):
                place = read.place_of(index, "when")
                made.found.append(Lint("no effect", rule.id, f"rule {rule.id!r}: {what}; remove it", place))


def _unused(read: RuleSource, made: Lints) -> None:
    """Lists and definitions that no rule needs, neither itself nor through a definition that it uses."""
    assert read.rules is not None
    definitions = {name: parse_expression(known.text) for name, known in read.rules.names.definitions.items()}
    used: set[str] = set()
    waiting = [tree for tree, _ in _written(read)]
    while waiting:
        node = waiting.pop()
        waiting += children(node)
        if isinstance(node, Membership | TextMatch):
            used |= {each.name for each in node.lists}
        if isinstance(node, Field) and node.name in definitions and node.name not in used:
            used.add(node.name)
            waiting.append(definitions[node.name])
    for key, what, names in (("lists", "list", read.rules.names.lists), ("define", "definition", definitions)):
        for name in names:
            if name not in used:
                place = read.written.place((key, name), key=True)
                made.found.append(Lint("unused", name, f"{what} {name!r}: no rule uses it; remove it", place))


def _needless(node: Node) -> list[str]:
    if isinstance(node, Membership):
        items = [format_expression(item) for item in node.items]
        return [f"{item} stands twice in a set" for item in dict.fromkeys(items) if items.count(item) > 1]
    if not isinstance(node, TextMatch) or len(node.texts) > _MOST_ITEMS:
        return []
    texts = [str(text) for text in node.texts]
    said = [f"{format_text(text)} stands twice" for text in dict.fromkeys(texts) if texts.count(text) > 1]
    for text in dict.fromkeys(texts):
        wider: str | None = None
        for other in texts:
            if other != text and follows(node.how, text, node.folded, TextTest("", node.how, other, node.folded)):
                wider = other
        if wider is not None:
            said.append(f"whoever has {format_text(text)} has {format_text(wider)} too, so it has no effect")
    return said
