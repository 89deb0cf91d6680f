"""Records in files: JSON, NDJSON and CSV, read one at a time so that a file of any size fits.

1. NDJSON: one object a line; blank lines are passed over, but counted.
2. CSV: a header line with the feature names, each once; an empty cell is a missing value; numbers are written as JSON
   writes them and booleans as true, false, 1 or 0. What is neither is handed on as text, so that the schema names the
   field.
3. JSON: an array of objects, or ``{"records": [...]}``; read whole, because JSON has no lines.
4. All JSON is strict: a key that stands twice, NaN and Infinity are errors.
5. A record is called by its line in NDJSON, counted from 1 as editors do, and else by its index, counted from 0 as the
   HTTP API's ``index``: ``line 7``, ``record 6``.
6. A record that cannot be read is an item with an error, and the next one follows. What spoils the whole file (JSON
   that is none, a header) is raised.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from edgeml.bundles.documents import parse
from edgeml.errors import RequestError
from edgeml.runtime.schema import Schema

FORMATS = ("json", "ndjson", "csv")
TRUTH = {"true": True, "false": False, "1": True, "0": False}
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True)
class Item:
    """One record of a file.

    Attributes:
        unit: What is counted: ``line`` or ``record``.
        number: Its number.
        record: What was read; None where nothing could be.
        error: Why nothing could be read, None where something was.
    """

    unit: str
    number: int
    record: Any = None
    error: RequestError | None = None

    @property
    def place(self) -> str:
        """What the record is called in messages."""
        return f"{self.unit} {self.number}"


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


class RecordFile:
    """The records of a stream of bytes, one after the other.

    Args:
        stream: The open file.
        form: ``json``, ``ndjson`` or ``csv``.
        schema: Says how a CSV cell is read.

    Attributes:
        bytes_read: Bytes of the stream that were used so far.
    """

    def __init__(self, stream: BinaryIO, form: str, schema: Schema) -> None:
        self.bytes_read = 0
        self._stream = stream
        self._form = form
        self._schema = schema

    def __iter__(self) -> Iterator[Item]:
        """Reads on.

        Raises:
            RequestError: The whole file cannot be read: JSON that is none, or a CSV header with a name twice.
        """
        return {"json": self._json, "ndjson": self._ndjson, "csv": self._csv}[self._form]()

    def _json(self) -> Iterator[Item]:
        data = self._stream.read()
        self.bytes_read = len(data)
        document = _decoded(data, "the file")
        if isinstance(document, dict):
            document = document["records"] if "records" in document else [document]
        if not isinstance(document, list):
            raise RequestError("the file must hold an array of records, or an object with records", code="bad_format")
        for number, record in enumerate(document):
            yield Item("record", number, record)

    def _ndjson(self) -> Iterator[Item]:
        for number, line in enumerate(self._stream, start=1):
            self.bytes_read += len(line)
            if line.isspace():
                continue
            try:
                yield Item("line", number, _decoded(line, f"line {number}"))
            except RequestError as error:
                yield Item("line", number, error=error)

    def _csv(self) -> Iterator[Item]:
        kinds = {feature.name: feature.kind for feature in self._schema.features}
        rows = csv.reader(self._lines(), strict=True)
        header = self._header(rows)
        number = 0
        while True:
            try:
                row = next(rows, None)
                if row is None:
                    return
                if not row:
                    continue
                error = _row_error(row, header, number)
            except csv.Error as reason:
                row, error = [], RequestError(f"record {number} is not CSV: {reason}", code="bad_format")
            if error is not None:
                yield Item("record", number, error=error)
            else:
                record = {name: _cell(text, kinds.get(name, "text")) for name, text in zip(header, row, strict=True)}
                yield Item("record", number, record)
            number += 1

    def _header(self, rows: Iterator[list[str]]) -> list[str]:
        try:
            header = next(rows, [])
        except csv.Error as reason:
            raise RequestError(f"the header is not CSV: {reason}", code="bad_format") from reason
        for name in header:
            if header.count(name) > 1:
                raise RequestError(
                    f"the header names {name!r} twice; remove one of the columns", code="bad_format", field=name
                )
        return header

    def _lines(self) -> Iterator[str]:
        for number, line in enumerate(self._stream):
            self.bytes_read += len(line)
            # Bytes that are no UTF-8 are kept as surrogates, so that only their record is refused.
            text = line.decode("utf-8", "surrogateescape")
            yield text.removeprefix(_BYTE_ORDER_MARK) if number == 0 else text


def _decoded(data: bytes, where: str) -> Any:
    try:
        return parse(data, where, error=RequestError)
    except RequestError as error:
        raise RequestError(str(error), code="invalid_json") from error


def _row_error(row: list[str], header: list[str], number: int) -> RequestError | None:
    if len(row) != len(header):
        said = f"record {number} has {len(row)} cells, the header has {len(header)}"
        return RequestError(said, code="bad_format")
    if any(not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text) for text in row):
        return RequestError(f"record {number} is not UTF-8", code="bad_format")
    return None


def _cell(text: str, kind: str) -> Any:
    if text == "":
        return None
    if kind in ("number", "integer"):
        found = _NUMBER.fullmatch(text)
        if found is None:
            return text
        try:
            return float(text) if found[1] or found[2] else int(text)
        except ValueError:  # more digits than Python reads
            return text
    if kind == "boolean":
        return TRUTH.get(text.strip().lower(), text)
    return text
