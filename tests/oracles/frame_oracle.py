"""The frame reader in slow, obvious Python: the judge of edgeml.kernels.frame.

It goes over a record three times where the kernel goes once, uses ``json`` of the standard library, and knows
nothing of buffers. A row is a list of plain values; a violation is (record, field, code).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from edgeml.runtime.schema import Feature, Schema

MISSING = "missing"
UNSEEN = "unseen"


class NotStrict(ValueError):
    """A document that strict JSON does not allow."""


class Pairs(list[tuple[str, Any]]):
    """An object as it stood in the document, with repeated keys."""


def check_value(feature: Feature, value: Any) -> tuple[Any, str | None]:
    """The value as a Frame keeps it, and the code of the violation or None."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING, None if feature.missing == "allow" else "missing"
    if feature.kind in ("category", "text"):
        if not isinstance(value, str):
            return MISSING, "wrong_type"
        try:
            raw = value.encode()
        except UnicodeEncodeError:
            return MISSING, "wrong_type"
        if feature.kind == "text":
            return (raw, None) if len(raw) <= feature.max_bytes else (MISSING, "too_long")
        if value in (feature.levels or ()):
            return (feature.levels or ()).index(value), None
        return UNSEEN, None if feature.unseen == "allow" else "unseen_level"
    if feature.kind == "boolean":
        if value is True or value is False:
            return float(value), None
        return (float(value), None) if isinstance(value, (int, float)) and value in (0, 1) else (MISSING, "wrong_type")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return MISSING, "wrong_type"
    try:
        number = float(value)
    except OverflowError:
        return MISSING, "not_finite"
    if math.isinf(number):
        return MISSING, "not_finite"
    widest = 2.0**53 - 1 if feature.kind == "integer" else math.inf
    if feature.kind == "integer" and not number.is_integer():
        return MISSING, "not_integer"
    if number < (-widest if feature.min is None else max(feature.min, -widest)):
        return MISSING, "below_min"
    if number > (widest if feature.max is None else min(feature.max, widest)):
        return MISSING, "above_max"
    return number, None


def read_record(schema: Schema, record: Any, index: int = 0) -> tuple[list[Any], set[tuple[int, str, str]]]:
    """A row (one value for each feature), and all violations."""
    if isinstance(record, Mapping):
        record = Pairs(record.items())
    if not isinstance(record, Pairs):
        return [], {(index, "", "not_a_record")}
    found: set[tuple[int, str, str]] = set()
    first: dict[str, Any] = {}
    for key, value in record:
        if key not in schema.names:
            if schema.unknown_fields == "reject":
                found.add((index, key, "unknown_field"))
        elif key in first:
            found.add((index, key, "duplicate_field"))
        else:
            first[key] = value
    row = []
    for feature in schema.features:
        value, code = check_value(feature, first.get(feature.name))
        row.append(value)
        if code:
            found.add((index, feature.name, code))
    return row, found


def read_records(schema: Schema, records: list[Any]) -> tuple[list[list[Any]], set[tuple[int, str, str]]]:
    """The rows of the good records, in order, and the violations of the bad ones."""
    rows, violations = [], set()
    for index, record in enumerate(records):
        row, found = read_record(schema, record, index)
        violations |= found
        if not found:
            rows.append(row)
    return rows, violations


def strict_json(body: bytes, max_depth: int = 8) -> Any:
    """Parses strict JSON; objects become Pairs.

    Raises:
        NotStrict: It is not JSON by RFC 8259 in UTF-8, holds half a surrogate pair, or nests too deeply.
    """

    def refuse(word: str) -> Any:
        raise NotStrict(word)

    try:
        document = json.loads(body.decode("utf-8"), object_pairs_hook=Pairs, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise NotStrict(str(error)) from error
    _walk(document, max_depth)
    return document


def _walk(value: Any, depth: int) -> None:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise NotStrict("surrogate") from error
    if isinstance(value, list):
        if depth == 0:
            raise NotStrict("deep")
        for item in value:
            if isinstance(value, Pairs):
                _walk(item[0], depth - 1)
                _walk(item[1], depth - 1)
            else:
                _walk(item, depth - 1)


def rows_of(schema: Schema, frame: Any) -> list[list[Any]]:
    """A Frame's rows in the oracle's form."""
    rows = []
    for i in range(frame.n_rows):
        row: list[Any] = []
        for feature in schema.features:
            slot = schema.slots[feature.name]
            if slot.bank == "number":
                number = frame.number_column(slot.index)[i]
                row.append(MISSING if math.isnan(number) else number)
            elif slot.bank == "category":
                code = frame.code_column(slot.index)[i]
                row.append({-1: MISSING, -2: UNSEEN}.get(code, code))
            else:
                text = frame.text(slot.index, i)
                row.append(MISSING if text is None else text)
        rows.append(row)
    return rows
