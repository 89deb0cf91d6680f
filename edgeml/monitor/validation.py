"""What was refused, counted by field and reason, so that somebody can say what the clients have changed.

1. Only what is refused passes here: a good record costs nothing.
2. Of each field and reason the commonest values are kept as they were shown in the error, at most ``KEPT_VALUES``
   different ones, and of numbers out of bounds their mean magnitude.
3. Fields that are missing in the same records in which an unknown one arrives are counted as pairs: that is what a
   renamed field looks like.
4. All counts rise for as long as the process lives, and add up (``added``) over processes and boxes.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

KEPT_FIELDS = 500
KEPT_VALUES = 8
KEPT_PAIRS = 64
OTHER = "*"
_BOUNDS = ("below_min", "above_max")


class Violated(Protocol):
    """One way in which a record broke the schema; see ``edgeml.errors.Violation``."""

    @property
    def row(self) -> int: ...
    @property
    def field(self) -> str: ...
    @property
    def code(self) -> str: ...
    @property
    def got(self) -> str: ...


class Validation:
    """What one bundle refused. Any thread may call any method.

    Attributes:
        count: How often something was refused, records and whole requests.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.count = 0
        self._records = 0
        self._requests: dict[str, int] = {}
        self._fields: dict[str, dict[str, int]] = {}
        self._values: dict[str, dict[str, dict[str, int]]] = {}
        self._magnitudes: dict[str, list[float]] = {}
        self._pairs: dict[str, dict[str, int]] = {}

    def refused(self, violations: Sequence[Violated]) -> None:
        """Counts records that broke the schema.

        Args:
            violations: Of one request; those of one record stand together.
        """
        by_row: dict[int, list[Violated]] = {}
        for each in violations:
            by_row.setdefault(each.row, []).append(each)
        with self._lock:
            self.count += 1
            self._records += len(by_row)
            for each in violations:
                self._count(each)
            for record in by_row.values():
                self._pair(record)

    def request_refused(self, code: str) -> None:
        """Counts a request that could not be read at all.

        Args:
            code: Why, such as ``invalid_json``.
        """
        with self._lock:
            self.count += 1
            self._requests[code] = self._requests.get(code, 0) + 1

    def document(self) -> dict[str, Any]:
        """All counts, JSON-ready: ``records`` (refused), ``requests`` (by code), ``fields`` (by field and code),
        ``values`` (by field, code and value), ``magnitudes`` (by field: number, and sum of log10, of values out of
        bounds), ``pairs`` (missing field, unknown field, records)."""
        with self._lock:
            return {
                "records": self._records,
                "requests": dict(self._requests),
                "fields": {field: dict(codes) for field, codes in self._fields.items()},
                "values": {
                    field: {code: dict(values) for code, values in codes.items()}
                    for field, codes in self._values.items()
                },
                "magnitudes": {field: list(pair) for field, pair in self._magnitudes.items()},
                "pairs": {field: dict(others) for field, others in self._pairs.items()},
            }

    def _count(self, each: Violated) -> None:
        field = each.field if each.field in self._fields or len(self._fields) < KEPT_FIELDS else OTHER
        codes = self._fields.setdefault(field, {})
        codes[each.code] = codes.get(each.code, 0) + 1
        if each.code in ("wrong_type", "unseen_level", "not_integer", *_BOUNDS):
            values = self._values.setdefault(field, {}).setdefault(each.code, {})
            got = each.got if each.got in values or len(values) < KEPT_VALUES else OTHER
            values[got] = values.get(got, 0) + 1
        if each.code in _BOUNDS:
            magnitude = _log10(each.got)
            if magnitude is not None:
                kept = self._magnitudes.setdefault(field, [0, 0.0])
                kept[0] += 1
                kept[1] += magnitude

    def _pair(self, record: Sequence[Violated]) -> None:
        unknown = [each.field for each in record if each.code == "unknown_field"]
        for each in record:
            if each.code != "missing":
                continue
            others = self._pairs.setdefault(each.field, {}) if len(self._pairs) < KEPT_FIELDS else {}
            for name in unknown:
                if name in others or len(others) < KEPT_PAIRS:
                    others[name] = others.get(name, 0) + 1


def added(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Two documents as one: numbers are added, whatever their depth.

    Args:
        one: A document of ``Validation``; empty for nothing.
        other: Another one.
    """
    total = dict(one)
    for key, value in other.items():
        known = total.get(key)
        if known is None:
            total[key] = value
        elif isinstance(value, Mapping):
            total[key] = added(known, value)
        elif isinstance(value, list):
            total[key] = [a + b for a, b in zip(known, value, strict=True)]
        else:
            total[key] = known + value
    return total


def _log10(text: str) -> float | None:
    try:
        number = abs(float(text))
    except ValueError:
        return None
    return math.log10(number) if 0 < number < math.inf else None
