"""What rules are about, for commands that have no pipeline at hand: out of a bundle, a schema, or data.

1. A bundle knows schema and labels; a schema knows no labels, and data neither: then the labels are those that the
   rules name, so a label that is misspelt is not found.
2. A schema that is read off data has the levels that the data has, and no bounds.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from edgeml.builder.schema_inference import infer_schema
from edgeml.bundles import Bundle
from edgeml.bundles.documents import parse
from edgeml.errors import BuildError, BundleError
from edgeml.runtime.prediction import Label
from edgeml.runtime.schema import Schema


def schema_of_bundle(bundle: Bundle) -> tuple[Schema, list[Label] | None]:
    """Schema and labels of a bundle; no labels for a regression.

    Raises:
        BundleError: It takes tensors, for which there are no rules.
    """
    if bundle.config["task"] == "tensors":
        raise BundleError("the bundle takes tensors, and rules are about records")
    outputs = bundle.config.get("outputs") or {}
    return Schema.from_dict(bundle.config["schema"]), outputs.get("labels")


def schema_of_file(path: Path) -> Schema:
    """A schema in a JSON file, as it stands in a bundle's config.

    Raises:
        BundleError: It is none.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: the schema cannot be read: {error.strerror}") from error
    return Schema.from_dict(parse(data, str(path), error=BundleError))


def schema_of_data(path: Path, form: str, texts: Sequence[str] = ()) -> Schema:
    """A schema that is read off records in a file.

    Args:
        path: The file.
        form: ``json``, ``ndjson`` or ``csv``.
        texts: Columns that are texts, although they have few values.

    Raises:
        BuildError: The file is no table of that form.
    """
    try:
        if form == "csv":
            # An empty cell is a missing value, and nothing else is.
            table = pd.read_csv(path, keep_default_na=False, na_values=[""])
        else:
            table = pd.read_json(path, lines=form == "ndjson", dtype=False, convert_dates=False)
    except (OSError, ValueError) as error:
        raise BuildError(f"{path}: no table can be read: {error}") from error
    for name in texts:
        if name not in table.columns:
            raise BuildError(f"{path} has no column {name!r}; there are {', '.join(map(str, table.columns[:20]))}")
    return infer_schema(table, overrides={name: {"kind": "text"} for name in texts}).schema


def labels_of_rules(document: Any, folder: Path) -> list[Label] | None:
    """The labels that rules and tables name, in their order; None where they name none.

    Args:
        document: Rules as they were written.
        folder: What the names of tables' files begin at.
    """
    found: dict[tuple[type, Any], None] = {}
    for label in (*_labels(document), *_labels_of_files(document, folder)):
        if isinstance(label, str | int | float | bool):
            found.setdefault((type(label), label))
    return [label for _, label in found] or None


def _labels_of_files(document: Any, folder: Path) -> Iterator[str]:
    tables = document.get("tables") if isinstance(document, Mapping) else None
    for table in tables.values() if isinstance(tables, Mapping) else ():
        if isinstance(table, Mapping) and isinstance(table.get("file"), str):
            # What is wrong with the file is said where the table is read.
            with (
                suppress(OSError, ValueError, csv.Error),
                (folder / table["file"]).open(encoding="utf-8-sig", newline="") as stream,
            ):
                rows = csv.DictReader(stream, skipinitialspace=True)
                yield from [row["label"].strip() for row in rows if row.get("label")]


def _labels(document: Any) -> Iterator[Any]:
    if isinstance(document, Mapping):
        columns, rows = document.get("columns"), document.get("rows")
        if isinstance(columns, Sequence) and "label" in columns and isinstance(rows, Sequence):
            at = list(columns).index("label")
            yield from (row[at] for row in rows if isinstance(row, Sequence) and len(row) > at)
        for key, value in document.items():
            if key in ("then", "rules", "tables"):
                yield from _labels(value)
            elif key == "label":
                yield value
            elif isinstance(value, Mapping):
                yield from _labels(value)
    elif isinstance(document, Sequence) and not isinstance(document, str | bytes):
        for item in document:
            yield from _labels(item)
