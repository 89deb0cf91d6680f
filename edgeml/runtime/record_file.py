"""Records in files: JSON, NDJSON and CSV, read in chunks so that a file of any size fits.

1. NDJSON: one object a line; empty lines are passed over.
2. CSV: a header line with the feature names; an empty cell is a missing value; numbers and booleans are read as the
   schema says, and what is no number is handed on as text, so that the schema names the field.
3. JSON: an array of objects, or ``{"records": [...]}``; read whole, because JSON has no lines.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from edgeml.errors import RequestError
from edgeml.runtime.schema import Schema

CHUNK_RECORDS = 1000
FORMATS = ("json", "ndjson", "csv")
TRUTH = {"true": True, "false": False, "1": True, "0": False}

# A chunk is the number of its first line (or record) and its records.
Chunk = tuple[int, list[Any]]


def format_of(path: str | Path) -> str:
    """The format that a file's name ends in; ``jsonl`` is ``ndjson``.

    Raises:
        RequestError: The ending is none of these.
    """
    ending = Path(path).suffix.lower().lstrip(".")
    ending = "ndjson" if ending == "jsonl" else ending
    if ending not in FORMATS:
        raise RequestError(
            f"{path}: the format is not known by its ending; give one of {', '.join(FORMATS)}", code="bad_format"
        )
    return ending


def read_chunks(stream: BinaryIO, form: str, schema: Schema, *, size: int = CHUNK_RECORDS) -> Iterator[Chunk]:
    """Reads records from a stream of bytes.

    Args:
        stream: The open file.
        form: ``json``, ``ndjson`` or ``csv``.
        schema: Says how a CSV cell is read.
        size: Records in a chunk.

    Raises:
        RequestError: A line is no JSON object, a CSV row has another number of cells than the header, and the like;
            names the line.
    """
    reader = {"json": _json, "ndjson": _ndjson, "csv": _csv}[form]
    records = reader(stream, schema)
    while chunk := list(islice(records, size)):
        yield chunk[0][0], [record for _, record in chunk]


def _json(stream: BinaryIO, schema: Schema) -> Iterator[tuple[int, Any]]:
    document = _decoded(stream.read(), "the file")
    if isinstance(document, dict) and "records" in document:
        document = document["records"]
    if isinstance(document, dict):
        document = [document]
    if not isinstance(document, list):
        raise RequestError("the file must hold an array of records, or an object with records", code="bad_format")
    yield from enumerate(document, start=1)


def _ndjson(stream: BinaryIO, schema: Schema) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(stream, start=1):
        if line.strip():
            yield number, _decoded(line, f"line {number}")


def _decoded(data: bytes, where: str) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise RequestError(f"{where} is not JSON: {error}", code="invalid_json") from error


def _csv(stream: BinaryIO, schema: Schema) -> Iterator[tuple[int, Any]]:
    kinds = {feature.name: feature.kind for feature in schema.features}
    try:
        rows = csv.reader(io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""), strict=True)
        header = next(rows, None)
        if header is None:
            return
        for row in rows:
            if not row:
                continue
            if len(row) != len(header):
                raise RequestError(
                    f"line {rows.line_num} has {len(row)} cells, the header has {len(header)}", code="bad_format"
                )
            yield (
                rows.line_num,
                {name: _cell(text, kinds.get(name, "text")) for name, text in zip(header, row, strict=True)},
            )
    except (csv.Error, UnicodeDecodeError) as error:
        raise RequestError(f"the file is not CSV in UTF-8: {error}", code="bad_format") from error


def _cell(text: str, kind: str) -> Any:
    if text == "":
        return None
    if kind in ("number", "integer"):
        try:
            return int(text) if kind == "integer" and "." not in text else float(text)
        except ValueError:
            return text
    if kind == "boolean":
        return TRUTH.get(text.strip().lower(), text)
    return text
