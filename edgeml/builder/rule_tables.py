"""Decision tables -> plain rules, before a box sees them; see docs/rule-tables.md.

1. A row is the "and" of its cells; it becomes the rule ``TABLE.row-N``, N counted from 1 as the rows are written.
2. The hit policy decides the order of the rules and what is refused: rows of a ``unique`` table must not overlap, those
   of an ``any`` table only where they answer alike.
3. ``collect`` exists where one answer comes of it: the sum or the count of points against thresholds, and the smallest
   or largest value. Lists of answers are refused by name.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeml.builder.table_checks import first_overlaps
from edgeml.builder.table_grid import read_grid
from edgeml.builder.unary_tests import Column, condition_of, operand
from edgeml.builder.units import convert_unit
from edgeml.builder.written_document import Path as Part
from edgeml.builder.written_document import Place, Written
from edgeml.errors import RuleError
from edgeml.runtime.expression import Field, nearest
from edgeml.runtime.expression_parser import parse_expression
from edgeml.runtime.prediction import Label
from edgeml.runtime.rules import RuleList
from edgeml.runtime.schema import Schema

OUTPUTS = ("label", "score", "value", "points", "note")
POLICIES = {
    "unique": "unique",
    "U": "unique",
    "any": "any",
    "A": "any",
    "first": "first",
    "F": "first",
    "priority": "priority",
    "P": "priority",
    "collect sum": "collect sum",
    "C+": "collect sum",
    "collect count": "collect count",
    "C#": "collect count",
    "collect min": "collect min",
    "C<": "collect min",
    "collect max": "collect max",
    "C>": "collect max",
}
_REFUSED = {
    **dict.fromkeys(("collect", "C"), "collect without sum, count, min or max gives a list of answers"),
    **dict.fromkeys(("rule order", "R"), "rule order gives a list of answers"),
    **dict.fromkeys(("output order", "O"), "output order gives a list of answers"),
}
_KEYS = ("hit", "columns", "rows", "file", "priority", "then", "note")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_MOST_OVERLAPS = 10


@dataclass
class TableRow:
    """A row of a table.

    Attributes:
        number: From 1, as it was written.
        conditions: What each input asks; None where everything will do.
        outputs: What each output column says.
        part: Where it is written.
        outcome: Where its first output is written.
    """

    number: int
    conditions: list[str | None]
    outputs: dict[str, Any]
    part: Part | Place
    outcome: Part | Place

    @property
    def when(self) -> str:
        """The condition of the whole row."""
        return " and ".join(each for each in self.conditions if each is not None) or "true"


@dataclass
class LoweredTable:
    """A table and the rules that it has become.

    Attributes:
        name: Its name.
        hit: Its hit policy, by its long name.
        inputs: The expressions above its columns.
        rows: Its rows, as they were written.
        rules: The rules, in the order in which they are asked.
        parts: For each rule, where it was written.
        part: Where the table stands.
    """

    name: str
    hit: str
    inputs: list[str]
    rows: list[TableRow]
    rules: list[dict[str, Any]] = field(default_factory=list)
    parts: list[Part | Place] = field(default_factory=list)
    part: Part = ()


class TableReader:
    """Reads the tables of a document.

    Args:
        written: The document.
        schema: What a record looks like.
        shared: Named lists and definitions that cells may use.
        folder: What names of files begin at.
        labels: What a classification may answer; None for a regression.

    Attributes:
        mistakes: What is wrong, each with its place.
        names: The tables of the document, also those in which something is wrong.
    """

    def __init__(
        self,
        written: Written,
        schema: Schema,
        shared: Mapping[str, Any],
        folder: Path,
        labels: Sequence[Label] | None = None,
    ) -> None:
        self.mistakes: list[RuleError] = []
        self.names: list[str] = []
        self._written = written
        self._schema = schema
        self._shared = shared
        self._folder = folder
        self._labels = labels
        self._known: dict[str, RuleError | None] = {}
        self._plain: dict[str, str] = {}

    def read(self, given: Any) -> dict[str, LoweredTable]:
        """The tables without a mistake, by name.

        Args:
            given: What stands under ``tables``.
        """
        if not isinstance(given, Mapping):
            self._wrong("tables: expected an object of tables by name", ("tables",))
            return {}
        self.names = [str(name) for name in given]
        made = {}
        for name, table in given.items():
            before = len(self.mistakes)
            part: Part = ("tables", str(name))
            lowered = self._table(str(name), table, part)
            if lowered is not None and len(self.mistakes) == before:
                made[lowered.name] = lowered
        return made

    def _wrong(self, message: str, part: Part | Place, *, offset: int = -1, key: bool = False) -> None:
        place = part
        if not isinstance(part, Place):
            found = self._written.place(part, offset=offset if offset >= 0 else None, key=key)
            place = found if found is not None else Place("")
        assert isinstance(place, Place)
        before = f"{place}: " if place.name else ""
        error = RuleError(f"{before}{message}{'' if chr(10) in message else place.caret()}")
        error.line, error.column = place.line, place.column
        self.mistakes.append(error)

    def _table(self, name: str, table: Any, part: Part) -> LoweredTable | None:
        who = f"table {name!r}"
        if not _NAME.fullmatch(name) or len(name) > 150:
            self._wrong(f"{who}: a name has small letters, digits, '.', '_' and '-', as a rule's id", part, key=True)
            return None
        if not isinstance(table, Mapping):
            self._wrong(f"{who}: expected an object with 'hit', and 'columns' and 'rows' or 'file'", part)
            return None
        for key in table:
            if key not in _KEYS:
                near = nearest(str(key), list(_KEYS))
                hint = f"did you mean {near!r}?" if near else f"there are {', '.join(_KEYS)}"
                self._wrong(f"{who}: unknown key {key!r}; {hint}", (*part, str(key)), key=True)
        hit = self._policy(who, table, part)
        grid = read_grid(who, table, part, self._folder, self._wrong)
        if grid is None or hit is None:
            return None
        header, header_parts, rows = grid
        columns = self._columns(who, header, header_parts)
        if columns is None:
            return None
        lowered = LoweredTable(name, hit, [each.text for each in columns if isinstance(each, Column)], [], part=part)
        for number, (cells, places) in enumerate(rows, start=1):
            row = self._row(f"{who}, row {number}", number, header, columns, cells, places)
            if row is not None:
                lowered.rows.append(row)
        if len(lowered.rows) == len(rows):
            self._lower(who, lowered, table)
        return lowered

    def _policy(self, who: str, table: Mapping[str, Any], part: Part) -> str | None:
        given = table.get("hit", "unique")
        if isinstance(given, str) and given in POLICIES:
            return POLICIES[given]
        if isinstance(given, str) and given in _REFUSED:
            self._wrong(
                f"{who}: hit: {_REFUSED[given]}, and a rule gives one; there are 'collect sum', 'collect count', "
                "'collect min' and 'collect max'",
                (*part, "hit"),
            )
        else:
            known = ", ".join(repr(name) for name in POLICIES)
            self._wrong(f"{who}: hit: there is no policy {given!r}; there are {known}", (*part, "hit"))
        return None

    def _columns(self, who: str, header: list[Any], parts: list[Part | Place]) -> list[Column | str] | None:
        """An input for each expression of the header, and the word itself for each output."""
        made: list[Column | str] = []
        before = len(self.mistakes)
        for number, (given, part) in enumerate(zip(header, parts, strict=True), start=1):
            if not isinstance(given, str) or not given.strip():
                self._wrong(f"{who}: column {number} needs an expression, or one of {', '.join(OUTPUTS)}", part)
                continue
            given = given.strip()
            if given in OUTPUTS:
                if given in made:
                    self._wrong(f"{who}: column {given!r} stands twice; remove one", part)
                made.append(given)
                continue
            try:
                text = operand(given)
                # Whether it fits the schema: anything but a slip may be asked whether it is missing, or is a condition.
                fault = self._fault(f"{text} is missing")
                if fault is not None and self._fault(text) is not None:
                    raise fault
            except RuleError as error:
                self._wrong(f"{who}, column {given!r}: {error}", part, offset=error.position)
                continue
            made.append(self._column(text))
        if len(self.mistakes) > before:
            return None
        if not any(isinstance(each, Column) for each in made):
            self._wrong(f"{who}: there is no input; write an expression above a column", parts[0])
            return None
        return made

    def _column(self, text: str) -> Column:
        node = parse_expression(text)
        lists = tuple(map(str, self._shared.get("lists", ())))
        if isinstance(node, Field) and node.name in self._schema.names:
            feature = self._schema.feature(node.name)
            return Column(text, feature.levels or (), feature.kind == "text", lists)
        return Column(text, lists=lists)

    def _fault(self, condition: str) -> RuleError | None:
        """What is wrong with a condition, None where nothing is."""
        if condition not in self._known:
            document = {key: self._shared[key] for key in ("lists", "define") if key in self._shared}
            asked = {**document, "rules": [{"when": condition, "then": "abstain"}]}
            try:
                made = RuleList.from_document(asked, self._schema, convert=convert_unit)
                self._known[condition] = None
                # A number in another unit is brought to the feature's: overlaps are looked for among plain numbers.
                self._plain[condition] = f"({made.rules[0].when})" if "[" in condition else condition
            except RuleError as error:
                text = re.sub(r"^rule '[^']*': ", "", str(error))
                self._known[condition] = RuleError(text, position=error.position)
        return self._known[condition]

    def _row(
        self,
        who: str,
        number: int,
        header: list[Any],
        columns: list[Column | str],
        cells: list[Any],
        places: list[Part | Place],
    ) -> TableRow | None:
        if len(cells) != len(columns):
            where = places[0] if isinstance(places[0], Place) else places[0][:-1] if cells else places[0]
            self._wrong(f"{who}: there are {len(cells)} cells for {len(columns)} columns", where)
            return None
        before = len(self.mistakes)
        conditions: list[str | None] = []
        outputs: dict[str, Any] = {}
        outcome = places[0]
        for title, column, cell, place in zip(header, columns, cells, places, strict=True):
            if isinstance(column, str):
                outcome = place if not outputs else outcome
                self._output(f"{who}, column {column!r}", column, cell, place, outputs)
                continue
            text = "" if cell is None else str(cell).lower() if isinstance(cell, bool) else str(cell)
            try:
                condition = condition_of(text, column)
            except ValueError as error:
                self._wrong(f"{who}, column {title!r}: {error}", place)
                continue
            fault = None if condition is None else self._fault(condition)
            if fault is not None and condition is not None:
                # Most cells stand in their condition as they were written.
                start = condition.find(text.strip())
                offset = fault.position - start + len(text) - len(text.lstrip()) if fault.position >= start >= 0 else -1
                self._wrong(f"{who}, column {title!r}: {fault}", place, offset=offset)
            conditions.append(condition if condition is None else self._plain.get(condition, condition))
        if len(self.mistakes) > before:
            return None
        part = places[0] if isinstance(places[0], Place) else places[0][:-1]
        return TableRow(number, conditions, outputs, part, outcome)

    def _output(self, who: str, name: str, cell: Any, place: Part | Place, outputs: dict[str, Any]) -> None:
        if isinstance(cell, str):
            cell = cell.strip()
        if cell is None or cell == "":
            return
        if name in ("score", "value", "points"):
            number = _number(cell)
            if number is None:
                self._wrong(f"{who}: expected a number, got {cell!r}", place)
                return
            outputs[name] = number
        elif name == "label" and isinstance(cell, str) and cell not in (self._labels or (cell,)):
            # A CSV file knows strings only.
            outputs[name] = next((each for each in self._labels or () if str(each) == cell), cell)
        else:
            outputs[name] = cell

    def _lower(self, who: str, table: LoweredTable, given: Mapping[str, Any]) -> None:
        """Fills in the rules."""
        if table.hit in ("collect sum", "collect count"):
            self._lower_points(who, table, given)
            return
        for key, hits in (("then", "'collect sum' and 'collect count'"), ("priority", "'priority'")):
            if key in given and table.hit != key:
                self._wrong(f"{who}: {key!r} has a meaning only with the hit policy {hits}", (*table.part, key))
        rows = table.rows
        wanted = ("value",) if table.hit in ("collect min", "collect max") else ("label", "value")
        for row in rows:
            if "points" in row.outputs:
                self._wrong(f"{who}, row {row.number}: points are for the hit policy 'collect sum'", row.outcome)
            elif sum(key in row.outputs for key in wanted) != 1:
                self._wrong(f"{who}, row {row.number}: expected a {' or a '.join(wanted)}", row.outcome)
        if any(sum(key in row.outputs for key in wanted) != 1 for row in rows):
            return
        if table.hit == "priority":
            order = given.get("priority")
            if not isinstance(order, Sequence) or isinstance(order, str):
                self._wrong(f"{who}: 'priority' must list the labels (or values), the foremost first", table.part)
                return
            ranks = [_outcome(row) in order for row in rows]
            for row, ranked in zip(rows, ranks, strict=True):
                if not ranked:
                    self._wrong(f"{who}, row {row.number}: {_outcome(row)!r} is not in 'priority'", row.outcome)
            if not all(ranks):
                return
            rows = sorted(rows, key=lambda row: list(order).index(_outcome(row)))
        elif table.hit in ("collect min", "collect max"):
            rows = sorted(rows, key=lambda row: float(row.outputs["value"]), reverse=table.hit == "collect max")
        elif table.hit in ("unique", "any"):
            self._refuse_overlaps(who, table)
        for row in rows:
            then = {key: row.outputs[key] for key in ("label", "value", "score") if key in row.outputs}
            rule = {"id": f"{table.name}.row-{row.number}", "when": row.when, "then": then}
            table.rules.append(rule | {key: row.outputs[key] for key in ("note",) if key in row.outputs})
            table.parts.append(row.outcome)

    def _refuse_overlaps(self, who: str, table: LoweredTable) -> None:
        document = {key: self._shared[key] for key in ("lists", "define") if key in self._shared}
        rows = [row.conditions for row in table.rows]
        answers = [tuple(sorted((k, repr(v)) for k, v in row.outputs.items() if k != "note")) for row in table.rows]
        same = answers if table.hit == "any" else None
        for first, second, record in first_overlaps(
            table.inputs, rows, self._schema, document, most=_MOST_OVERLAPS, alike=same
        ):
            numbers = f"{table.rows[first].number} and {table.rows[second].number}"
            remedy = "make them exclusive, or use the hit policy 'first'"
            if table.hit == "any":
                remedy = "an 'any' table answers alike wherever rows overlap; mend one, or use 'first'"
            self._wrong(f"{who}: rows {numbers} both fit {shown_record(record)}; {remedy}", table.rows[second].part)

    def _lower_points(self, who: str, table: LoweredTable, given: Mapping[str, Any]) -> None:
        bands = given.get("then")
        part = (*table.part, "then")
        if isinstance(bands, Mapping):
            bands = [bands]
        if not isinstance(bands, Sequence) or isinstance(bands, str) or not bands:
            self._wrong(
                f"{who}: '{table.hit}' needs 'then', a list of {{at_least: POINTS, label: ...}}, the highest first",
                part if "then" in given else table.part,
            )
            return
        terms = []
        for row in table.rows:
            extra = [key for key in row.outputs if key not in ("points", "note")]
            if extra:
                self._wrong(
                    f"{who}, row {row.number}: '{table.hit}' takes points; {extra[0]} stands in 'then'", row.part
                )
            if table.hit == "collect sum" and "points" not in row.outputs:
                self._wrong(f"{who}, row {row.number}: there are no points", row.outcome)
            points = row.outputs.get("points", 0) if table.hit == "collect sum" else 1
            terms.append(f"{points:g} if {row.when}" if float(f"{points:g}") == points else f"{points!r} if {row.when}")
        last = math.inf
        for number, band in enumerate(bands, start=1):
            where: Part = (*part, number - 1) if isinstance(given["then"], Sequence) else part
            least = _number(band.get("at_least")) if isinstance(band, Mapping) else None
            if least is None:
                self._wrong(f"{who}: expected {{at_least: POINTS, label: ...}}", where)
                continue
            if least >= last:
                self._wrong(f"{who}: at_least {least:g} is never reached: {last:g} stands before it", where)
            last = least
            then = {key: value for key, value in band.items() if key != "at_least"}
            when = f"points({', '.join(terms)}) >= {least!r}"
            table.rules.append({"id": f"{table.name}.at-least-{number}", "when": when, "then": then})
            table.parts.append(where)


def _outcome(row: TableRow) -> Any:
    return row.outputs["label"] if "label" in row.outputs else row.outputs["value"]


def _number(given: Any) -> float | int | None:
    """A finite number, also out of a CSV cell; None for anything else."""
    if isinstance(given, bool):
        return None
    if isinstance(given, str):
        try:
            given = float(given)
        except ValueError:
            return None
    if not isinstance(given, int | float) or not math.isfinite(given):
        return None
    return int(given) if float(given).is_integer() and abs(given) < 2**53 else float(given)


def shown_record(record: Mapping[str, Any]) -> str:
    """A record in a message, as JSON, without what is missing.

    Args:
        record: The record.
    """
    given = {name: value for name, value in record.items() if value is not None}
    return json.dumps(given, ensure_ascii=False)[:300] if given else "a record in which every input is missing"
