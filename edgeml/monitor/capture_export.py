"""Captured records in the forms that people and other programs take: lines of JSON, columns, and a table of text."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable
from typing import Any, TextIO

from edgeml.monitor.capture_file import Captured

# What every record has beside its fields.
OWN = ("id", "at", "model", "bundle", "version", "tier", "chance", "label", "labelled_at")


def columns(rows: Iterable[Captured]) -> dict[str, list[Any]]:
    """The records by columns, all of the same length, as a table library or a writer of Parquet takes them.

    Args:
        rows: The records.

    Returns:
        ``id``, ``at``, ``model``, ``bundle``, ``version``, ``tier``, ``chance``, ``label`` and ``labelled_at``;
        ``predicted`` (the answer's label or value); and ``record.NAME`` for each field that any record has, None in the
        others.
    """
    table: dict[str, list[Any]] = {name: [] for name in (*OWN, "predicted")}
    # A field's column is as long as the rows up to the last that had it, until the end.
    fields: dict[str, list[Any]] = {}
    count = 0
    for row in rows:
        for name in OWN:
            table[name].append(getattr(row, name))
        table["predicted"].append(_predicted(row))
        for name, value in row.record.items():
            column = fields.setdefault(name, [])
            column.extend([None] * (count - len(column)))
            column.append(value)
        count += 1
    for name, column in fields.items():
        table[f"record.{name}"] = column + [None] * (count - len(column))
    return table


def write_ndjson(rows: Iterable[Captured], into: TextIO) -> int:
    """Writes one JSON object a line, with everything that is known; gives the number of records."""
    count = 0
    for row in rows:
        into.write(json.dumps(row.to_dict(), separators=(",", ":")) + "\n")
        count += 1
    return count


def write_columns(rows: Iterable[Captured], into: TextIO) -> int:
    """Writes one JSON object of columns; gives the number of records."""
    table = columns(rows)
    into.write("{")
    for place, (name, column) in enumerate(table.items()):
        into.write(("" if place == 0 else ",") + f"\n{json.dumps(name)}:{json.dumps(column, separators=(',', ':'))}")
    into.write("\n}\n")
    return len(table["id"])


def write_csv(rows: Callable[[int | None], Iterable[Captured]], into: TextIO) -> int:
    """Writes a table of text with a head; what is missing is empty there. Gives the number of records.

    Args:
        rows: The records, up to the one of a number, None for all; asked twice, because the head names their fields.
        into: Where.
    """
    fields: dict[str, None] = {}
    last = 0
    for row in rows(None):
        fields |= dict.fromkeys(row.record)
        last = row.number
    writer = csv.writer(into, lineterminator="\n")
    writer.writerow([*OWN, "predicted", *(f"record.{name}" for name in fields)])
    count = 0
    for row in rows(last):
        own = [getattr(row, name) for name in OWN]
        writer.writerow([*map(_cell, own), _cell(_predicted(row)), *(_cell(row.record.get(name)) for name in fields)])
        count += 1
    return count


def _predicted(row: Captured) -> Any:
    return row.prediction.get("label", row.prediction.get("value"))


def _cell(value: Any) -> Any:
    # As JSON writes them, so that true is not True.
    return json.dumps(value) if isinstance(value, bool | list | dict) else value
