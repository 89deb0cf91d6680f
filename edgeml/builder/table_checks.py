"""Where rows of a table overlap, and what no row answers: with a record to show for it.

1. Columns that read the same features are a group; values that are tried for a group are made of the numbers, levels
   and strings that its cells name, what lies between and beside them, and nothing (where a value may be missing).
2. The compiled kernel says which cells are true for which of them. Two rows overlap where each group has a common
   value.
3. What is found is so, since its record has been asked. Where every column is a feature of its own that is no text,
   nothing is missed either: between two numbers that cells name, all cells are constant.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product
from typing import Any

from edgeml.builder.rule_truth import TRUE, RuleTruth
from edgeml.runtime.expression import Field, Membership, Node, Number, Text, TextMatch, children
from edgeml.runtime.expression_parser import parse_expression
from edgeml.runtime.schema import Feature, Schema

# Values that are tried for one group of columns, and steps of the search for a gap.
MOST_CANDIDATES = 4_000
MOST_STEPS = 100_000
_MOST_TEXTS = 60


def parts_of(text: str, shared: Mapping[str, Any]) -> list[Node]:
    """All nodes of an expression, those of the definitions that it uses included.

    Args:
        text: The expression.
        shared: Lists and definitions.
    """
    found: list[Node] = []
    waiting, seen = [parse_expression(text)], set()
    definitions = shared.get("define") or {}
    while waiting:
        node = waiting.pop()
        found.append(node)
        waiting += children(node)
        if isinstance(node, Membership):
            waiting += [item for item in node.items if isinstance(item, Node)]
        if isinstance(node, Field) and node.name in definitions and node.name not in seen:
            seen.add(node.name)
            waiting.append(parse_expression(str(definitions[node.name])))
    return found


def fields_of(text: str, shared: Mapping[str, Any], schema: Schema) -> set[str]:
    """Names of the features that an expression reads.

    Args:
        text: The expression.
        shared: Lists and definitions.
        schema: What a record looks like.
    """
    return {node.name for node in parts_of(text, shared) if isinstance(node, Field) and node.name in schema.names}


def values_for(feature: Feature, nodes: Sequence[Node], shared: Mapping[str, Any]) -> list[Any]:
    """Values of a feature that are worth trying, the plainest first; all fit the schema.

    Args:
        feature: The feature.
        nodes: Parts of the conditions that read it.
        shared: Lists and definitions.
    """
    listed = [item for items in (shared.get("lists") or {}).values() for item in items]
    if feature.kind == "boolean":
        made: list[Any] = [True, False]
    elif feature.kind == "category":
        levels = feature.levels or ()
        named = {node.value for node in nodes if isinstance(node, Text)} | {x for x in listed if isinstance(x, str)}
        made = [level for level in levels if level in named]
        made += [level for level in levels if level not in named][:1]
        if feature.unseen == "allow":
            made.append(next(name for n in range(len(levels) + 1) if (name := f"another {n}") not in levels))
    elif feature.kind == "text":
        wanted: dict[str, None] = {node.value: None for node in nodes if isinstance(node, Text)}
        for node in nodes:
            if isinstance(node, TextMatch):
                wanted.update(dict.fromkeys(text for text in node.texts if isinstance(text, str)))
        wanted.update(dict.fromkeys(item for item in listed if isinstance(item, str)))
        some = list(wanted)[:_MOST_TEXTS]
        made = ["", *some, *(f"{first} {second}" for first in some for second in some if first != second)]
        made = [text for text in made if len(text.encode()) <= feature.max_bytes]
    else:
        numbers = {float(node.value) for node in nodes if isinstance(node, Number)}
        numbers |= {float(item) for item in listed if isinstance(item, int | float)}
        made = _numbers(feature, numbers)
    return made + ([None] if feature.missing == "allow" else [])


def _numbers(feature: Feature, numbers: set[float]) -> list[float]:
    """The numbers themselves, one between each two neighbours, and one beyond each end."""
    bounds = [bound for bound in (feature.min, feature.max) if bound is not None]
    known = sorted(numbers.union(bounds)) or [0.0]
    tried = {*known, known[0] - 1, known[-1] + 1, known[0] * 2 - 1, known[-1] * 2 + 1}
    for low, high in zip(known, known[1:], strict=False):
        tried |= {low + (high - low) / 2}
        if feature.kind == "integer":
            tried |= {math.floor(low) + 1, math.ceil(high) - 1}
    if feature.kind == "integer":
        tried = (
            {float(round(number)) for number in tried} | {math.floor(n) for n in known} | {math.ceil(n) for n in known}
        )
        tried = {number for number in tried if abs(number) < 2**53}
    least, most = feature.min, feature.max
    fit = (n for n in tried if math.isfinite(n) and (least is None or n >= least) and (most is None or n <= most))
    made = sorted(fit)
    return [int(number) for number in made] if feature.kind == "integer" else [float(number) for number in made]


class _Group:
    """Columns that read the same features, the values tried, and for each of them the rows whose cells are true.

    Attributes:
        records: What is tried.
        rows: For each of them, the rows that it passes, as bits.
    """

    def __init__(
        self,
        names: Sequence[str],
        conditions: Sequence[str | None],
        texts: Sequence[str],
        schema: Schema,
        shared: Mapping[str, Any],
        truth: RuleTruth,
    ) -> None:
        nodes = [node for text in texts for node in parts_of(text, shared)]
        values = [values_for(schema.feature(name), nodes, shared) for name in names]
        self.records = [dict(zip(names, each, strict=True)) for each in islice(product(*values), MOST_CANDIDATES)]
        self.rows = [0] * len(self.records)
        if not self.records:
            return
        frame = truth.frame(self.records)
        known: dict[str | None, list[int]] = {None: list(range(len(self.records)))}
        for row, condition in enumerate(conditions):
            if condition is not None and condition not in known:
                asked = truth.ask(condition, frame, len(self.records))
                known[condition] = [int(at) for at in (asked == TRUE).nonzero()[0]]
            for at in known[condition]:
                self.rows[at] |= 1 << row

    def beside(self, count: int) -> list[int]:
        """For each row, all rows that take a record which it takes, as bits.

        Args:
            count: Number of rows.
        """
        made = [0] * count
        for rows in set(self.rows):
            left = rows
            while left:
                lowest = left & -left
                made[lowest.bit_length() - 1] |= rows
                left ^= lowest
        return made

    def common(self, wanted: int) -> int | None:
        """A record that all wanted rows take, None where there is none."""
        return next((at for at, rows in enumerate(self.rows) if rows & wanted == wanted), None)


def _groups(
    inputs: Sequence[str], rows: Sequence[Sequence[str | None]], schema: Schema, shared: Mapping[str, Any]
) -> list[_Group]:
    # Cells may name features of their own, as in "< bill_depth_mm".
    cells = [[row[number] for row in rows] for number in range(len(inputs))]
    texts = [[text, *{cell for cell in column if cell}] for text, column in zip(inputs, cells, strict=True)]
    reads = [set().union(*(fields_of(text, shared, schema) for text in column)) for column in texts]
    groups: list[tuple[set[str], list[int]]] = []
    for number, names in enumerate(reads):
        joined = [group for group in groups if group[0] & names]
        merged = (names.union(*(group[0] for group in joined)), [n for g in joined for n in g[1]] + [number])
        groups = [group for group in groups if group not in joined] + [merged]
    truth = RuleTruth(schema, shared)
    made = []
    for names, numbers in groups:
        conditions = [_joined([row[number] for number in numbers]) for row in rows]
        said = [text for number in numbers for text in texts[number]]
        made.append(_Group(sorted(names), conditions, said, schema, shared, truth))
    return made


def _joined(conditions: Sequence[str | None]) -> str | None:
    return " and ".join(each for each in conditions if each is not None) or None


def first_overlaps(
    inputs: Sequence[str],
    rows: Sequence[Sequence[str | None]],
    schema: Schema,
    shared: Mapping[str, Any],
    *,
    most: int,
    alike: Sequence[Any] | None = None,
) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Pairs of rows that both fit some record.

    Args:
        inputs: The expressions above the columns.
        rows: For each row, the condition of each cell; None where everything will do.
        schema: What a record looks like.
        shared: Lists and definitions that conditions use.
        most: Pairs that are given at most.
        alike: For each row, what it answers; pairs that answer alike are passed over. None passes over nothing.

    Yields:
        The two rows, and a record that fits both.
    """
    groups = _groups(inputs, rows, schema, shared)
    given = 0
    beside = [group.beside(len(rows)) for group in groups]
    for second in range(len(rows)):
        left = (1 << second) - 1
        for of_group in beside:
            left &= of_group[second]
        while left:
            lowest = left & -left
            left ^= lowest
            first = lowest.bit_length() - 1
            if alike is not None and alike[first] == alike[second]:
                continue
            record: dict[str, Any] = {}
            for group in groups:
                at = group.common(1 << first | 1 << second)
                assert at is not None
                record |= group.records[at]
            yield first, second, record
            given += 1
            if given >= most:
                return


def first_gap(
    inputs: Sequence[str], rows: Sequence[Sequence[str | None]], schema: Schema, shared: Mapping[str, Any]
) -> dict[str, Any] | None:
    """A record that no row fits, without a missing value where there is such a one; None where none was found.

    Args:
        inputs: The expressions above the columns.
        rows: For each row, the condition of each cell; None where everything will do.
        schema: What a record looks like.
        shared: Lists and definitions that conditions use.
    """
    groups = _groups(inputs, rows, schema, shared)
    for missing in (False, True):
        choices = []
        for group in groups:
            distinct: dict[int, dict[str, Any]] = {}
            for record, passed in zip(group.records, group.rows, strict=True):
                if missing or None not in record.values():
                    distinct.setdefault(passed, record)
            choices.append(sorted(distinct.items(), key=lambda pair: pair[0].bit_count()))
        found = _search(choices, (1 << len(rows)) - 1)
        if found is not None:
            return found
    return None


def _search(choices: Sequence[Sequence[tuple[int, dict[str, Any]]]], everything: int) -> dict[str, Any] | None:
    """One choice of each group, so that no row passes all."""
    dead: set[tuple[int, int]] = set()
    steps = 0

    def go(depth: int, left: int) -> dict[str, Any] | None:
        nonlocal steps
        if depth == len(choices):
            return {} if left == 0 else None
        if (depth, left) in dead or steps > MOST_STEPS:
            return None
        for passed, record in choices[depth]:
            steps += 1
            found = go(depth + 1, left & passed)
            if found is not None:
                return record | found
        dead.add((depth, left))
        return None

    return go(0, everything)
