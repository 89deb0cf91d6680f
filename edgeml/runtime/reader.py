"""Records in any form -> a Frame, checked against the schema while it is filled.

The face of ``edgeml.kernels.frame``: it turns arrays into what the kernel takes, and codes into errors.

1. All forms (mapping, JSON, columns, matrix) obey the same schema and give the same violations.
2. Without ``partial``, one violation refuses the whole call: SchemaError with all violations, up to a bound.
3. With ``partial``, records that break the schema are left out of the Frame and their violations are returned;
   each bad record has at least one.
4. One reader serves any number of threads; each thread brings its own Frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeml.errors import RequestError, SchemaError, Violation
from edgeml.kernels.frame import VIOLATIONS, Frame, FrameReader
from edgeml.runtime.schema import Feature, Schema

__all__ = ["Envelope", "Frame", "RecordReader"]

MAX_VIOLATIONS = 100
MAX_DEPTH = 8
# Records of one request that are explained: some ten microseconds each, more where there are many trees.
MAX_EXPLAINED = 1_000

_KINDS = {"number": 0, "integer": 1, "boolean": 2, "category": 3, "text": 4}

# Violation codes of the kernel (ext/frame_memory.h), from 1.
_CODES = (
    "",
    "missing",
    "wrong_type",
    "not_finite",
    "below_min",
    "above_max",
    "not_integer",
    "unseen_level",
    "too_long",
    "unknown_field",
    "duplicate_field",
    "not_a_record",
)

# Why the kernel stopped (ext/json_scan.h, ext/json_records.h): code of the RequestError, words, field.
_STOPS = {
    1: ("invalid_json", "expected a value", ""),
    2: ("invalid_json", "expected a key in double quotes", ""),
    3: ("invalid_json", "expected ':'", ""),
    4: ("invalid_json", "expected ',' or the closing bracket", ""),
    5: ("invalid_json", "unknown escape in a string", ""),
    6: ("invalid_json", "control character in a string, or a string without end", ""),
    7: ("invalid_json", "bytes that are not UTF-8", ""),
    8: ("invalid_json", "half a surrogate pair in a string", ""),
    9: ("invalid_json", "malformed number", ""),
    10: ("invalid_json", "something follows the end", ""),
    11: ("too_deep", f"nested more than {MAX_DEPTH} deep; send flat records", ""),
    12: ("too_many_records", "too many records in one request; send them in several", "records"),
    13: ("bad_envelope", 'expected an object {"records": [...]}', ""),
    14: ("bad_envelope", "member records: expected an array of objects", "records"),
    15: ("bad_envelope", "member records stands twice", "records"),
    16: ("bad_envelope", "too many members beside records", ""),
    17: ("bad_envelope", "there is no member records", "records"),
}

_MEMBERS: dict[str, type] = {"id": str, "unit": str, "explain": bool, "partial": bool}


class Envelope(msgspec.Struct, frozen=True):
    """What a records request holds beside its records.

    Attributes:
        id: The request's id, to be echoed.
        unit: Stable id of who or what is asked about, for experiments.
        explain: Whether an explanation is asked for.
        partial: Whether good records are to be answered although others are bad.
        n_records: Number of records in the request, good or bad.
        violations: Empty unless ``partial``.
    """

    id: str | None = None
    unit: str | None = None
    explain: bool = False
    partial: bool = False
    n_records: int = 0
    violations: tuple[Violation, ...] = ()

    @property
    def rows(self) -> list[int]:
        """For each row of the Frame, the index of its record in the request."""
        bad = {violation.row for violation in self.violations}
        return [row for row in range(self.n_records) if row not in bad]


class RecordReader:
    """Fills Frames from records.

    Attributes:
        schema: What a record looks like.
        max_rows: Largest number of records in one JSON body. Records that are Python objects or arrays are already
            in memory and are not counted.
    """

    def __init__(self, schema: Schema, *, max_rows: int = 10_000, max_violations: int = MAX_VIOLATIONS) -> None:
        self.schema = schema
        self.max_rows = max_rows
        self._max_violations = max_violations
        self._expected = tuple(feature.expected for feature in schema.features)
        self._numeric = all(feature.bank == "number" for feature in schema.features)
        self._kernel = FrameReader(
            tuple(map(_field, schema.features)), schema.unknown_fields == "reject", max_violations
        )
        self._read = self._kernel.read
        self._read_json = self._kernel.read_json
        self._read_json_record = self._kernel.read_json_record

    def new_frame(self, capacity: int = 1) -> Frame:
        """An empty Frame for this schema; it grows as needed and keeps its memory."""
        return self._kernel.new_frame(capacity)

    def unknown_counts(self) -> dict[str, int]:
        """How often each unknown field was met under ``unknown_fields: count``; all beyond 64 names under ``*``."""
        return self._kernel.unknown_counts()

    def read(self, frame: Frame, record: Mapping[str, Any]) -> None:
        """Reads one record into row 0.

        Raises:
            SchemaError: The record breaks the schema.
        """
        if self._read(frame, record):
            self._refuse(frame)

    def read_many(
        self, frame: Frame, records: Sequence[Mapping[str, Any]], *, partial: bool = False
    ) -> tuple[Violation, ...]:
        """Reads n records.

        Returns:
            The violations of the records left out; empty unless ``partial``.

        Raises:
            SchemaError: Some record breaks the schema and ``partial`` is false.
        """
        return self._judge(frame, self._kernel.read_many(frame, records), partial)

    def read_columns(
        self, frame: Frame, columns: Mapping[str, ArrayLike], *, partial: bool = False
    ) -> tuple[Violation, ...]:
        """Reads n records given as one array or list of n values for each feature.

        A feature without a column has no value in any record. Arrays of float, integer and boolean dtype are read
        without touching Python objects.

        Raises:
            SchemaError: As in ``read_many``.
            RequestError: The columns do not have one length, or are not one-dimensional.
        """
        given = {name: _array(name, column) for name, column in columns.items()}
        lengths = {name: len(column) for name, column in given.items()}
        n_rows = next(iter(lengths.values()), 0)
        for name, length in lengths.items():
            if length != n_rows:
                raise RequestError(
                    f"column {name!r} has {length} values where the first has {n_rows}; send columns of one length",
                    code="bad_shape",
                    field=name,
                )
        self._kernel.begin_columns(frame, n_rows)
        for position, name in enumerate(self.schema.names):
            column = given.pop(name, None)
            if column is None:
                self._kernel.fill_missing(frame, position)
            elif isinstance(column, list):
                self._kernel.fill_list(frame, position, column)
            elif column.dtype.hasobject and column.dtype.kind == "O":
                self._kernel.fill_objects(frame, position, column)
            elif not _is_plain(column) or not self._kernel.fill_buffer(frame, position, column):
                self._kernel.fill_list(frame, position, _objects(column))
        for name in given:
            self._kernel.unknown_column(frame, name)
        return self._judge(frame, self._kernel.end_columns(frame), partial)

    def read_matrix(self, frame: Frame, matrix: ArrayLike, *, partial: bool = False) -> tuple[Violation, ...]:
        """Reads n records given as an array [n, d], its columns in the order of the d features, all numeric.

        Raises:
            SchemaError: As in ``read_many``.
            RequestError: The array does not fit the schema.
        """
        # Lists keep their objects: an array of one dtype would turn True beside 2.5 into 1.0.
        array = np.asarray(matrix, dtype=object if isinstance(matrix, (list, tuple)) else None)
        wanted = len(self.schema.features)
        if not self._numeric:
            raise RequestError("some features are not numeric; send records or columns", code="bad_shape")
        if array.ndim != 2 or array.shape[1] != wanted:
            raise RequestError(f"expected shape [n, {wanted}], got {list(array.shape)}", code="bad_shape")
        array = _native(array)
        self._kernel.begin_columns(frame, len(array))
        if not _is_plain(array) or not self._kernel.fill_matrix(frame, array):
            for position in range(wanted):
                self._kernel.fill_list(frame, position, _objects(array[:, position]))
        return self._judge(frame, self._kernel.end_columns(frame), partial)

    def read_json(self, frame: Frame, body: bytes) -> Envelope:
        """Reads the body of a records request.

        Args:
            frame: Takes the records.
            body: ``{"records": [{...}, ...], "id"?: str, "unit"?: str, "explain"?: bool, "partial"?: bool}``.

        Raises:
            SchemaError: Some record breaks the schema and ``partial`` is not asked for.
            RequestError: Code ``invalid_json`` (with the byte offset), ``too_deep``, ``too_many_records``,
                ``bad_envelope``, ``unknown_member`` or ``too_many_to_explain``.
        """
        status = self._read_json(frame, body, self.max_rows)
        if status and status != VIOLATIONS:
            self._stop(frame, status)
        if not status and not frame.members:
            return Envelope(None, None, False, False, frame.n_records)
        members = _decode_members(frame.members)
        if members.get("explain") and frame.n_records > MAX_EXPLAINED:
            raise RequestError(
                f"{frame.n_records} records are too many to explain (at most {MAX_EXPLAINED}); send them in several "
                "requests, or without explain",
                code="too_many_to_explain",
                field="explain",
            )
        violations = self._judge(frame, frame.n_violations, members.get("partial", False))
        return Envelope(n_records=frame.n_records, violations=violations, **members)

    def read_json_record(self, frame: Frame, line: bytes) -> None:
        """Reads one record, given as a JSON object, into row 0.

        Raises:
            SchemaError: The record breaks the schema.
            RequestError: Code ``invalid_json`` (with the byte offset) or ``too_deep``.
        """
        status = self._read_json_record(frame, line)
        if status:
            self._stop(frame, status)

    def read_json_numbers(self, frame: Frame, numbers: bytes, *, single: bool) -> bool:
        """Reads one record given as a flat JSON array of its fields' numbers into row 0.

        Returns:
            False where it is anything else, or breaks the schema; ``read_matrix`` then says what is wrong.
        """
        return self._kernel.read_json_numbers(frame, numbers, single)

    def text_column(self, frame: Frame, name: str, rows: NDArray[np.int64] | None = None) -> NDArray[Any]:
        """The values of a category or text feature as strings [n, 1], as an ONNX string tensor wants them.

        Args:
            frame: Filled by this reader.
            name: A feature of kind category or text.
            rows: Rows wanted, in that order; all where None.

        Returns:
            Missing values are ``""``, and so are levels that the schema does not know: their text is not kept.
        """
        slot = self.schema.slots[name]
        wanted = range(frame.n_rows) if rows is None else rows.tolist()
        out = np.empty((len(wanted), 1), dtype=object)
        if slot.bank == "text":
            for at, row in enumerate(wanted):
                out[at, 0] = (frame.text(slot.index, row) or b"").decode()
            return out
        levels = self.schema.feature(name).levels or ()
        codes = frame.code_column(slot.index).tolist()
        for at, row in enumerate(wanted):
            out[at, 0] = levels[codes[row]] if codes[row] >= 0 else ""
        return out

    def _judge(self, frame: Frame, count: int, partial: bool) -> tuple[Violation, ...]:
        if not count:
            return ()
        if not partial:
            self._refuse(frame)
        return self._violations(frame)

    def _refuse(self, frame: Frame) -> NoReturn:
        raise SchemaError(self._violations(frame)[: self._max_violations])

    def _violations(self, frame: Frame) -> tuple[Violation, ...]:
        found = []
        for row, field, code, got in frame.violations:
            name = _CODES[code]
            if isinstance(field, int):
                expected = "the field only once" if name == "duplicate_field" else self._expected[field]
                field = self.schema.names[field]
            elif name == "not_a_record":
                expected = "an object with the fields of the schema"
            else:
                expected = "only fields of the schema"
            found.append(Violation(row, field, name, expected, got))
        return tuple(found)

    def _stop(self, frame: Frame, status: int) -> NoReturn:
        if status == VIOLATIONS:
            self._refuse(frame)
        code, words, field = _STOPS[status]
        where = f" (at most {self.max_rows})" if code == "too_many_records" else ""
        raise RequestError(f"byte {frame.error_offset}: {words}{where}", code=code, field=field)


def _field(feature: Feature) -> tuple[str, int, float, float, bool, bool, tuple[str, ...], int]:
    """A feature as the kernel takes it."""
    return (
        feature.name,
        _KINDS[feature.kind],
        -np.inf if feature.min is None else feature.min,
        np.inf if feature.max is None else feature.max,
        feature.missing == "allow",
        feature.unseen == "allow",
        feature.levels or (),
        feature.max_bytes,
    )


def _native(array: NDArray[Any]) -> NDArray[Any]:
    """The array in a dtype whose memory the kernel reads, where there is one of the same values."""
    if array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):
        return array.astype(np.float32 if array.dtype.itemsize < 4 else np.float64)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _is_plain(array: NDArray[Any]) -> bool:
    return array.dtype.kind in "fiub"


def _objects(array: NDArray[Any]) -> list[Any]:
    """The values as Python objects; dates and durations as such, where numpy would give the bare number of some."""
    if array.dtype.kind in "mM":
        array = array.astype(f"{array.dtype.kind}8[us]")
    objects: list[Any] = array.tolist()
    return objects


def _array(name: str, column: ArrayLike) -> NDArray[Any] | list[Any]:
    if isinstance(column, (list, tuple)):
        return list(column)
    array = np.asarray(column)
    if array.ndim != 1:
        raise RequestError(
            f"column {name!r} has shape {list(array.shape)}; send one value for each record",
            code="bad_shape",
            field=name,
        )
    return _native(array)


def _decode_members(members: Sequence[tuple[bytes, bytes]]) -> dict[str, Any]:
    decoded: dict[str, Any] = {}
    for key, raw in members:
        name = msgspec.json.decode(key, type=str)
        if name not in _MEMBERS:
            known = ", ".join(("records", *_MEMBERS))
            raise RequestError(
                f"unknown member {name[:80]!r}; a request has {known}", code="unknown_member", field=name[:80]
            )
        if name in decoded:
            raise RequestError(f"member {name!r} stands twice", code="bad_envelope", field=name)
        try:
            decoded[name] = msgspec.json.decode(raw, type=_MEMBERS[name])
        except msgspec.MsgspecError as error:
            raise RequestError(f"member {name!r}: {error}", code="bad_envelope", field=name) from error
    return decoded
