"""The cells of a decision table as they are written, each with its place: rows of a document, or a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from edgeml.builder.written_document import Path as Part
from edgeml.builder.written_document import Place

MAX_ROWS = 10_000
MAX_BYTES = 16 * 1024 * 1024

Grid = tuple[list[Any], list[Part | Place], list[tuple[list[Any], list[Part | Place]]]]


class Refuse(Protocol):
    """Is told what is wrong."""

    def __call__(self, message: str, part: Part | Place, *, offset: int = -1, key: bool = False) -> None: ...


def read_grid(who: str, table: Mapping[str, Any], part: Part, folder: Path, wrong: Refuse) -> Grid | None:
    """Reads header and rows of a table, from the document or from its CSV file.

    Args:
        who: What messages call the table.
        table: Its document.
        part: Where it stands.
        folder: What the name of a file begins at.
        wrong: Called with a message and its place for whatever is wrong.

    Returns:
        The header, the place of each of its cells, and the rows, likewise; None where something is wrong.
    """
    if "file" in table:
        for key in ("columns", "rows"):
            if key in table:
                wrong(f"{who}: {key!r} stands in the file; remove it here", (*part, key), key=True)
        return _csv(who, table["file"], (*part, "file"), folder, wrong)
    for key in ("columns", "rows"):
        given = table.get(key)
        if not isinstance(given, Sequence) or isinstance(given, str) or not given:
            where = (*part, key) if key in table else part
            wrong(f"{who}: {key!r} must be a list that is not empty, or name a 'file'", where)
            return None
    rows: list[tuple[list[Any], list[Part | Place]]] = []
    for index, row in enumerate(table["rows"][:MAX_ROWS]):
        where = (*part, "rows", index)
        if not isinstance(row, Sequence) or isinstance(row, str):
            wrong(f"{who}, row {index + 1}: expected a list of one cell for each column", where)
            return None
        rows.append((list(row), [(*where, number) for number in range(len(row))] or [where]))
    return list(table["columns"]), [(*part, "columns", number) for number in range(len(table["columns"]))], rows


def _csv(who: str, given: Any, part: Part, folder: Path, wrong: Refuse) -> Grid | None:
    if not isinstance(given, str):
        wrong(f"{who}: file: expected the name of a CSV file", part)
        return None
    path = folder / given
    try:
        text = path.read_bytes()[: 16 * 1024 * 1024].decode("utf-8-sig")
    except (OSError, ValueError) as error:
        wrong(f"{who}: {path} cannot be read: {getattr(error, 'strerror', None) or error}", part)
        return None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    lines = text.splitlines()
    rows: list[tuple[list[Any], list[Part | Place]]] = []
    try:
        before = 0
        for cells in reader:
            place = Place(str(path), before + 1, 0, lines[before] if before < len(lines) else "")
            before = reader.line_num
            if cells:
                rows.append((list(cells), [place] * len(cells)))
    except csv.Error as error:
        wrong(f"{who}: this is no CSV: {error}", Place(str(path), reader.line_num))
        return None
    if len(rows) < 2:
        wrong(f"{who}: expected a header and one row or more", Place(str(path)))
        return None
    return rows[0][0], rows[0][1], rows[1 : MAX_ROWS + 1]
