"""Records of one picture each -> a Frame: finished pictures, and the numbers that are derived from them.

It stands where other bundles have their ``RecordReader``, which reads the JSON here too, with the picture as a text.

1. A picture comes as base64 of a PNG or JPEG file; in Python also as the file's bytes or a uint8 array, in tensors also
   as UINT8 [n, height, width(, channels)].
2. What is wrong with it is a violation like any other: it names the record, the field, what was expected and what came.
3. One request, JSON or tensors, makes at most ``MAX_FINISHED_BYTES`` of finished pictures and decodes
   ``MAX_DECODED_PIXELS``: both grow far beyond the bytes that come in. Records that are Python objects are the caller's
   own, and not bounded; nor is anything without a bound on rows (``UNBOUNDED``: a workstation that builds).
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeml.errors import RequestError, SchemaError, Violation
from edgeml.kernels.frame import Frame, FrameReader
from edgeml.runtime.image_program import PictureProgram
from edgeml.runtime.picture import PictureDecoder
from edgeml.runtime.picture_header import Refusal
from edgeml.runtime.reader import MAX_VIOLATIONS, Envelope, RecordReader
from edgeml.runtime.schema import Feature, Schema

MAX_FINISHED_BYTES = 2**27
MAX_DECODED_PIXELS = 2**26
# Longest base64 of a picture; request bodies are bounded apart.
MAX_TEXT_BYTES = 2**27
UNBOUNDED = 2**32

Source = bytes | NDArray[np.uint8] | Refusal


class ImageReader:
    """Fills Frames from pictures. The methods are those of ``RecordReader``.

    Args:
        schema: What a record looks like.
        program: What happens to a picture.
        max_rows: Largest number of records in one request.
        max_violations: Most violations that one error holds.

    Attributes:
        schema: What a record looks like.
        max_rows: Largest number of records in one request; no more than fit into ``MAX_FINISHED_BYTES``.

    Raises:
        RequirementError: Pillow is not installed.
    """

    def __init__(
        self,
        schema: Schema,
        program: PictureProgram,
        *,
        max_rows: int = 10_000,
        max_violations: int = MAX_VIOLATIONS,
    ) -> None:
        self.schema = schema
        self._max_violations = max_violations
        self._bounded = max_rows < UNBOUNDED
        fitting = max(1, MAX_FINISHED_BYTES // program.picture_bytes)
        self.max_rows = min(max_rows, fitting) if self._bounded else max_rows
        self._program = program
        self._name = program.spec.name
        self._decoder = PictureDecoder(max_pixels=program.spec.max_pixels, exif=program.spec.exif)
        text = Feature(name=self._name, kind="text", max_bytes=MAX_TEXT_BYTES)
        of_text = Schema(features=(text,), unknown_fields=schema.unknown_fields)
        self._texts = RecordReader(of_text, max_rows=self.max_rows, max_violations=max_violations)
        derived = [feature.name for feature in schema.features if feature.derived_from is not None]
        self._n_numbers = len(derived)
        self._kernel = FrameReader(
            tuple((name, 0, -np.inf, np.inf, False, False, (), 0) for name in derived), True, MAX_VIOLATIONS
        )

    def new_frame(self, capacity: int = 1) -> Frame:
        """An empty Frame for this schema; it grows as needed."""
        return self._kernel.new_frame(capacity)

    def unknown_counts(self) -> dict[str, int]:
        """How often each unknown field was met; see ``RecordReader``."""
        return self._texts.unknown_counts()

    def read(self, frame: Frame, record: Mapping[str, Any]) -> None:
        """Reads one record into row 0.

        Raises:
            SchemaError: The record breaks the schema.
        """
        self.read_many(frame, [record])

    def read_many(
        self, frame: Frame, records: Sequence[Mapping[str, Any]], *, partial: bool = False
    ) -> tuple[Violation, ...]:
        """Reads n records.

        Raises:
            SchemaError: Some record breaks the schema and ``partial`` is false.
        """
        return self._fill(frame, *self._sources(records), partial, bounded=False)

    def _sources(self, records: Sequence[Mapping[str, Any]]) -> tuple[list[Source | None], list[Violation]]:
        """The picture of each record, None where it has none, and why."""
        sources: list[Source | None] = []
        found: list[Violation] = []
        for row, record in enumerate(records):
            value = record.get(self._name) if isinstance(record, Mapping) else None
            if isinstance(record, Mapping) and record.keys() == {self._name} and isinstance(value, bytes | np.ndarray):
                sources.append(value)
                continue
            # Anything else is judged by the reader of all other records.
            texts = self._texts.new_frame()
            wrong = self._texts.read_many(texts, [record], partial=True)
            found += self._of_picture(replace(each, row=row) for each in wrong)
            sources.append(None if wrong else _bytes_of(texts.text(0, 0)))
        return sources, found

    def read_columns(
        self, frame: Frame, columns: Mapping[str, ArrayLike], *, partial: bool = False
    ) -> tuple[Violation, ...]:
        """Reads n records given as one column: base64 texts, file bytes, uint8 arrays, or UINT8 [n, h, w(, c)].

        Raises:
            SchemaError: As in ``read_many``.
            RequestError: There is no such column, or another one.
        """
        for name in columns:
            if name != self._name:
                raise RequestError(
                    f"there is no input {name[:80]!r}; records consist of the picture {self._name!r}",
                    code="unknown_input",
                    field=name[:80],
                )
        if self._name not in columns:
            raise RequestError(f"input {self._name!r} is missing", code="missing_input", field=self._name)
        given: Any = columns[self._name]
        if isinstance(given, np.ndarray) and given.dtype != object and given.dtype.kind not in "SU":
            if given.dtype != np.uint8 or given.ndim not in (3, 4):
                raise RequestError(
                    f"input {self._name!r}: expected UINT8 [n, height, width] or [n, height, width, channels], or "
                    f"BYTES [n] of base64, got {given.dtype} {list(given.shape)}",
                    code="bad_shape",
                    field=self._name,
                )
            return self._fill(frame, list(given), [], partial, bounded=self._bounded)
        sources, found = self._sources([{self._name: each} for each in given])
        return self._fill(frame, sources, found, partial, bounded=self._bounded)

    def read_matrix(self, frame: Frame, matrix: ArrayLike, *, partial: bool = False) -> tuple[Violation, ...]:
        """Refuses: a record is a picture.

        Raises:
            RequestError: Always.
        """
        raise RequestError(
            f"records consist of the picture {self._name!r}; send it as an input of that name, UINT8 [n, height, "
            "width, channels] or BYTES [n] of base64",
            code="bad_shape",
        )

    def read_json(self, frame: Frame, body: bytes) -> Envelope:
        """Reads the body of a records request; see ``RecordReader.read_json``.

        Raises:
            SchemaError: Some record breaks the schema and ``partial`` is not asked for.
            RequestError: The body is no such request, or decodes to too much.
        """
        texts = self._texts.new_frame()
        try:
            envelope = self._texts.read_json(texts, body)
        except SchemaError as error:
            raise SchemaError(self._of_picture(error.violations)) from None
        sources: list[Source | None] = [None] * envelope.n_records
        for at, row in enumerate(envelope.rows):
            sources[row] = _bytes_of(texts.text(0, at))
        found = self._fill(
            frame, sources, self._of_picture(envelope.violations), envelope.partial, bounded=self._bounded
        )
        return Envelope(
            id=envelope.id,
            unit=envelope.unit,
            explain=envelope.explain,
            partial=envelope.partial,
            n_records=envelope.n_records,
            violations=found,
        )

    def read_json_record(self, frame: Frame, line: bytes) -> None:
        """Reads one record, given as a JSON object, into row 0.

        Raises:
            SchemaError: The record breaks the schema.
            RequestError: Code ``invalid_json`` or ``too_deep``.
        """
        texts = self._texts.new_frame()
        try:
            self._texts.read_json_record(texts, line)
        except SchemaError as error:
            raise SchemaError(self._of_picture(error.violations)) from None
        self._fill(frame, [_bytes_of(texts.text(0, 0))], [], False, bounded=self._bounded)

    def read_json_numbers(self, frame: Frame, numbers: bytes, *, single: bool) -> bool:
        """Says that numbers are no record; ``read_matrix`` then says what is."""
        return False

    def text_column(self, frame: Frame, name: str, rows: NDArray[np.int64] | None = None) -> NDArray[Any]:
        """Refuses: no model takes a picture as a string.

        Raises:
            KeyError: Always.
        """
        raise KeyError(name)

    def _fill(
        self,
        frame: Frame,
        sources: Sequence[Source | None],
        found: Sequence[Violation],
        partial: bool,
        *,
        bounded: bool,
    ) -> tuple[Violation, ...]:
        """Decodes and finishes the pictures; None stands for a record that is refused already."""
        if bounded and len(sources) > self.max_rows:
            raise RequestError(
                f"too many records in one request (at most {self.max_rows}); send them in several",
                code="too_many_records",
                field="records",
            )
        violations = list(found)
        size, good, pixels = self._program.picture_bytes, 0, 0
        pictures = np.empty((len(sources), size), dtype=np.uint8)
        numbers = np.empty((len(sources), self._n_numbers))
        for row, source in enumerate(sources):
            if source is None:
                continue
            size_of = self._decoder.size(source) if isinstance(source, bytes) else _size(source)
            refusal = size_of if isinstance(size_of, Refusal) else None
            if not isinstance(size_of, Refusal):
                # Counted before it is decoded, and also where decoding fails: failing late costs as much.
                pixels += size_of[0] * size_of[1]
                if bounded and pixels > MAX_DECODED_PIXELS and row:
                    raise RequestError(
                        f"the pictures of one request have more than {MAX_DECODED_PIXELS} pixels; send them in several",
                        code="too_many_pixels",
                        field=self._name,
                    )
                levels = self._decoder.levels(source, size_of) if isinstance(source, bytes) else source
                if isinstance(levels, Refusal):
                    refusal = levels
                else:
                    refusal = self._program.put(levels, pictures[good], numbers[good])
            if refusal is None:
                good += 1
            else:
                expected = self._program.spec.expected(refusal.code)
                violations.append(Violation(row, self._name, refusal.code, expected, refusal.got))
        if violations and not partial:
            raise SchemaError(sorted(violations, key=_row)[: self._max_violations])
        self._kernel.begin_columns(frame, good)
        for column in range(self._n_numbers):
            self._kernel.fill_buffer(frame, column, numbers[:good], column)
        self._kernel.end_columns(frame)
        if good:
            with frame.pictures(good, size) as view:
                np.asarray(view)[:] = pictures[:good].reshape(-1)
        return tuple(sorted(violations, key=_row))

    def _of_picture(self, violations: Any) -> list[Violation]:
        """Violations of the text as those of a picture."""
        return [
            replace(each, expected=self._program.spec.expected(each.code))
            if each.field == self._name and each.code != "duplicate_field"
            else each
            for each in violations
        ]


def record_reader(
    schema: Schema,
    pictures: PictureProgram | None,
    *,
    max_rows: int = 10_000,
    max_violations: int = MAX_VIOLATIONS,
) -> RecordReader | ImageReader:
    """Who reads the records of a bundle.

    Args:
        schema: What a record looks like.
        pictures: What happens to the pictures that records consist of; None where they hold none.
        max_rows: Largest number of records in one request.
        max_violations: Most violations that one error holds.
    """
    if pictures is None:
        return RecordReader(schema, max_rows=max_rows, max_violations=max_violations)
    return ImageReader(schema, pictures, max_rows=max_rows, max_violations=max_violations)


def _size(source: NDArray[np.uint8] | Refusal) -> tuple[int, int] | Refusal:
    """Width and height of levels; an array of another shape has none, and is refused where it is finished."""
    if isinstance(source, Refusal):
        return source
    if source.dtype != np.uint8:
        return Refusal("wrong_type", f"an array of {source.dtype}")
    return (source.shape[1], source.shape[0]) if source.ndim > 1 else (0, 0)


def _row(violation: Violation) -> int:
    return violation.row


def _bytes_of(text: bytes | None) -> Source:
    """The bytes that a base64 text stands for."""
    try:
        return binascii.a2b_base64(text or b"", strict_mode=True) or Refusal("not_base64", "an empty text")
    except binascii.Error as error:
        shown = (text or b"")[:24].decode(errors="replace")
        return Refusal("not_base64", f'"{shown}{"…" if len(text or b"") > 24 else ""}": {str(error).lower()}')
