"""Frame and FrameReader: records in any form -> typed columns, checked while they are filled.

1. A Frame owns flat columns (``ext/frame.h``): float64 numbers (NaN = missing; booleans are 0 or 1), int32 codes
   of categories (-1 missing, -2 unseen), UTF-8 texts. Other kernels read it through its capsule.
2. A FrameReader knows the fields and fills Frames. It may be shared by threads; a Frame belongs to one thread at
   a time (a second one that fills it meanwhile gets RuntimeError).
3. A record that breaks the schema does not become a row. What is wrong with it is in ``Frame.violations``, as
   numbers; ``edgeml.runtime.reader`` puts it into words.
4. Exact Python types are told first (float, int, bool, str, None). Then numpy scalars, subclasses, UTF-8 bytes for
   strings, and pandas.NA/NaT as missing. bool is no number; 0 and 1 are booleans.
"""

from collections.abc import Iterable
from typing import Any, Final

VIOLATIONS: Final = 64
"""Status of ``read_json`` and ``read_json_record`` where the JSON is good but some record breaks the schema."""

Field = tuple[str, int, float, float, bool, bool, tuple[str, ...], int]
"""Name, kind (0 number, 1 integer, 2 boolean, 3 category, 4 text), min, max (infinite where there is none), missing
allowed, unseen allowed, levels, longest text in bytes."""

class Frame:
    """The typed raw values of n records.

    Args:
        n_numbers: Columns of numbers, integers and booleans.
        n_categories: Columns of category codes.
        n_texts: Columns of texts.
        capacity: Rows to make room for.

    Raises:
        ValueError: A count is out of range.
    """

    def __init__(self, n_numbers: int, n_categories: int, n_texts: int, capacity: int = 1) -> None: ...
    @property
    def capsule(self) -> Any:
        """PyCapsule named ``edgeml.frame.v1``, always the same one; it keeps the memory alive by itself."""

    @property
    def n_rows(self) -> int:
        """Rows filled."""

    @property
    def capacity(self) -> int:
        """Rows that fit without growing."""

    @property
    def n_numbers(self) -> int:
        """Number columns."""

    @property
    def n_categories(self) -> int:
        """Category columns."""

    @property
    def n_texts(self) -> int:
        """Text columns."""

    @property
    def n_records(self) -> int:
        """Records seen by the last reading, good and bad."""

    @property
    def n_violations(self) -> int:
        """Violations met by the last reading, including those that were not kept."""

    @property
    def violations(self) -> list[tuple[int, int | str, int, str]]:
        """Record, position of the field (or its name where it is unknown), code (``ext/frame_memory.h``), what came.

        Ordered by record. Of each bad record the first is kept, of all others up to the reader's limit.
        """

    @property
    def members(self) -> list[tuple[bytes, bytes]]:
        """After ``read_json``: key and value of the members beside ``records``, as they stood in the body."""

    @property
    def error_offset(self) -> int:
        """Byte at which the last reading of JSON stopped."""

    def reserve(self, n_rows: int) -> None:
        """Makes room for that many rows; the rows that are there stay.

        Raises:
            BufferError: It would have to grow while a column's view is alive.
            MemoryError: There is no memory.
        """

    def number_column(self, j: int) -> memoryview[float]:
        """Number column j as a writable view of float64 [n_rows]; while it lives the frame does not grow."""

    def code_column(self, j: int) -> memoryview[int]:
        """Category column j as a writable view of int32 [n_rows]; while it lives the frame does not grow."""

    def pictures(self, n: int, n_bytes: int) -> memoryview[int]:
        """Room for a finished picture of each row, as a writable view of uint8 [n * n_bytes].

        What stood there is gone; the next reading forgets the pictures. While the view lives the frame does not grow.

        Raises:
            BufferError: Another view of the frame is alive.
            MemoryError: There is no memory.
        """

    def text(self, j: int, i: int) -> bytes | None:
        """UTF-8 bytes in text column j, row i; None where no value was given."""

class FrameReader:
    """Fills Frames.

    Args:
        fields: In the schema's order.
        reject_unknown: Whether a key that is no field is a violation; otherwise it is counted.
        limit: Violations kept beyond the first of each record.

    Raises:
        ValueError: A name or level stands twice, or a kind is unknown.
    """

    def __init__(self, fields: tuple[Field, ...], reject_unknown: bool = True, limit: int = 100) -> None: ...
    def new_frame(self, capacity: int = 1) -> Frame:
        """A Frame with this reader's columns."""

    def unknown_counts(self) -> dict[str, int]:
        """Unknown fields counted so far; of at most 64 names, all others under ``*``."""

    def read(self, frame: Frame, record: object) -> int:
        """Reads one mapping into row 0; returns the number of violations."""

    def read_many(self, frame: Frame, records: Iterable[object]) -> int:
        """Reads mappings; returns the number of violations."""

    def begin_columns(self, frame: Frame, n_rows: int) -> None:
        """Starts a reading by columns; every field must be filled before ``end_columns``."""

    def fill_buffer(self, frame: Frame, field: int, data: Any, column: int = -1) -> bool:
        """Fills a number, integer or boolean field from a buffer [n_rows], or from one column of [n_rows, d].

        Returns:
            False where the field or the buffer's item type is not for this loop; nothing was done then.

        Raises:
            ValueError: The shape does not fit.
        """

    def fill_matrix(self, frame: Frame, data: Any) -> bool:
        """Fills all fields from a buffer [n_rows, d]; returns False as ``fill_buffer`` does."""

    def fill_list(self, frame: Frame, field: int, values: list[Any]) -> None:
        """Fills a field from one Python object for each row.

        Raises:
            ValueError: The length does not fit.
        """

    def fill_objects(self, frame: Frame, field: int, data: Any) -> None:
        """Fills a field from an array of Python objects [n_rows], one for each row.

        Raises:
            ValueError: It is no such array.
        """

    def fill_missing(self, frame: Frame, field: int) -> None:
        """Fills a field for which nothing was given."""

    def unknown_column(self, frame: Frame, name: str) -> None:
        """Counts or refuses, in every row, a column that is no field."""

    def end_columns(self, frame: Frame) -> int:
        """Takes out the bad rows; returns the number of violations."""

    def read_json(self, frame: Frame, body: bytes, max_rows: int) -> int:
        """Reads ``{"records": [{...}, ...], ...}`` in one pass; large bodies without the GIL.

        Returns:
            0; ``VIOLATIONS``; or why it stopped (``ext/json_scan.h``, ``ext/json_records.h``), with
            ``Frame.error_offset`` set and no rows in the frame.
        """

    def read_json_record(self, frame: Frame, line: bytes) -> int:
        """Reads one JSON object into row 0; returns as ``read_json``."""

    def read_json_numbers(self, frame: Frame, numbers: bytes, single: bool) -> bool:
        """Reads one record given as a flat JSON array of its fields' numbers into row 0.

        Args:
            frame: Takes the record.
            numbers: ``[1.5, -2, ...]``, one number for each field.
            single: Whether each number is to be rounded to float32 first.

        Returns:
            False where it is anything else, or breaks the schema: no row is in the frame then, and the caller takes
            a way that says what is wrong.
        """
