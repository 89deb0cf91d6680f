"""Frame and FrameReader. Documentation: edgeml/kernels/frame.pyi; the loops over raw memory are in the headers.

1. All memory belongs to the capsule, so a kernel that holds only the capsule holds all it reads.
2. On the good path a record costs no allocation: names and levels are looked up by objects that the reader holds.
3. `busy` keeps a frame from being filled by two threads at once; it is only touched with the GIL held.
"""

cimport cython
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_STRIDES, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Check, PyDict_GetItemWithError, PyDict_Size
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from cpython.tuple cimport PyTuple_GET_ITEM
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memset

from frame_headers cimport *
from frame_values cimport bounds_of, described, put_value, raise_status, shortened, shortened_slice

import sys
from collections.abc import Mapping
from operator import itemgetter


# Bodies shorter than this are read before another thread could make use of the GIL.
cdef enum:
    RELEASE_BYTES = 8192
    JSON_VIOLATIONS = 64  # beyond the codes of json_records.h

VIOLATIONS = JSON_VIOLATIONS


cdef void _free_capsule(object capsule) noexcept:
    edgeml_memory_free(<edgeml_memory *> PyCapsule_GetPointer(capsule, EDGEML_FRAME_CAPSULE))


@cython.final
cdef class _Column:
    """One column of a frame as a buffer; while it is alive the frame does not grow."""

    cdef Frame frame
    cdef int bank
    cdef Py_ssize_t index
    cdef Py_ssize_t shape[1]
    cdef Py_ssize_t strides[1]

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        self.frame._idle()
        cdef edgeml_frame *view = &self.frame.memory.view
        cdef Py_ssize_t size = 8 if self.bank == 0 else 4 if self.bank == 1 else 1
        self.shape[0] = view.n_pictures * view.picture_bytes if self.bank == 2 else view.n_rows
        self.strides[0] = size
        if self.bank == 0:
            buffer.buf = view.numbers + self.index * view.capacity
            buffer.format = "d"
        elif self.bank == 2:
            buffer.buf = self.frame.memory.pictures
            buffer.format = "B"
        else:
            buffer.buf = view.codes + self.index * view.capacity
            buffer.format = "i"
        buffer.obj = self
        buffer.len = size * self.shape[0]
        buffer.itemsize = size
        buffer.readonly = 0
        buffer.ndim = 1
        buffer.shape = self.shape
        buffer.strides = self.strides
        buffer.suboffsets = NULL
        buffer.internal = NULL
        self.frame.memory.exports += 1

    def __releasebuffer__(self, Py_buffer *buffer):
        self.frame.memory.exports -= 1


@cython.final
cdef class Frame:
    cdef edgeml_memory *memory
    cdef readonly object capsule
    cdef list noted  # (row, field, code, got); None where nothing was noted
    cdef readonly Py_ssize_t error_offset
    cdef readonly list members

    def __cinit__(self, Py_ssize_t n_numbers, Py_ssize_t n_categories, Py_ssize_t n_texts, Py_ssize_t capacity=1):
        if min(n_numbers, n_categories, n_texts) < 0 or max(n_numbers, n_categories, n_texts) > 1 << 20:
            raise ValueError("a frame has between 0 and 1,048,576 columns of each bank")
        if capacity < 1:
            raise ValueError("a frame has room for at least one row")
        self.memory = edgeml_memory_new(n_numbers, n_categories, n_texts, capacity)
        if self.memory == NULL:
            raise MemoryError("no memory for the frame")
        self.capsule = PyCapsule_New(self.memory, EDGEML_FRAME_CAPSULE, <void (*)(object) noexcept> _free_capsule)
        self.members = []

    @property
    def n_rows(self):
        return self.memory.view.n_rows

    @property
    def capacity(self):
        return self.memory.view.capacity

    @property
    def n_numbers(self):
        return self.memory.view.n_numbers

    @property
    def n_categories(self):
        return self.memory.view.n_categories

    @property
    def n_texts(self):
        return self.memory.view.n_texts

    @property
    def n_records(self):
        return self.memory.n_records

    @property
    def n_violations(self):
        return self.memory.n_violations

    @property
    def violations(self):
        return [] if self.noted is None else sorted(self.noted, key=itemgetter(0))

    cdef int _idle(self) except -1:
        if self.memory.busy:
            raise RuntimeError("the frame is being filled by another thread")
        return 0

    def reserve(self, Py_ssize_t n_rows):
        self._idle()
        self._grow(n_rows)

    cdef int _grow(self, int64_t n_rows) except -1:
        cdef int status = edgeml_memory_reserve(self.memory, n_rows)
        return 0 if status == 0 else raise_status(status)

    def number_column(self, Py_ssize_t j):
        return self._column(0, j, self.memory.view.n_numbers)

    def code_column(self, Py_ssize_t j):
        return self._column(1, j, self.memory.view.n_categories)

    def pictures(self, Py_ssize_t n, Py_ssize_t n_bytes):
        self._idle()
        if n < 0 or n_bytes < 1:
            raise ValueError("pictures have at least one byte each")
        cdef int status = edgeml_memory_pictures(self.memory, n, n_bytes)
        if status != 0:
            raise_status(status)
        return self._column(2, 0, 1)

    cdef object _column(self, int bank, Py_ssize_t j, Py_ssize_t n):
        if j < 0 or j >= n:
            raise IndexError(f"column {j} of {n}")
        cdef _Column column = _Column.__new__(_Column)
        column.frame = self
        column.bank = bank
        column.index = j
        return memoryview(column)

    def text(self, Py_ssize_t j, Py_ssize_t i):
        self._idle()
        cdef edgeml_frame *view = &self.memory.view
        if j < 0 or j >= view.n_texts or i < 0 or i >= view.n_rows:
            raise IndexError(f"text {j} of {view.n_texts}, row {i} of {view.n_rows}")
        cdef edgeml_text *text = &view.texts[j * view.capacity + i]
        return None if text.length < 0 else view.arena[text.offset:text.offset + text.length]

    cdef int _note(self, int64_t row, object field, int code, object got) except -1:
        if edgeml_admit(self.memory, row):
            if self.noted is None:
                self.noted = []
            self.noted.append((row, field, code, got))
        return 0


@cython.final
cdef class FrameReader:
    cdef edgeml_fields *spec
    cdef tuple names
    cdef frozenset known
    cdef list keep  # the bytes that the C tables point into
    cdef dict unknown
    cdef int64_t n_numbers, n_categories, n_texts

    def __cinit__(self, tuple fields, bint reject_unknown=True, Py_ssize_t limit=100):
        cdef Py_ssize_t i, n = len(fields)
        cdef edgeml_field *f
        self.spec = edgeml_fields_new(n)
        if self.spec == NULL:
            raise MemoryError("no memory for the reader")
        self.spec.reject_unknown = reject_unknown
        self.spec.limit = limit
        self.keep = []
        self.unknown = {}
        names = []
        for i in range(n):
            name, kind, lowest, highest, missing_allowed, unseen_allowed, levels, max_bytes = fields[i]
            f = &self.spec.fields[i]
            if not 0 <= kind <= EDGEML_TEXT:
                raise ValueError(f"field {name!r}: unknown kind {kind}")
            f.kind = kind
            f.missing_allowed = bool(missing_allowed)
            f.unseen_allowed = bool(unseen_allowed)
            f.min, f.max = bounds_of(kind, lowest, highest)
            f.max_bytes = max_bytes
            names.append(sys.intern(str(name)))
            raw = names[i].encode()
            f.plain = all(byte >= 0x20 and byte not in b'"\\' for byte in raw)
            self._add(&self.spec.names, raw, f"field {name!r} stands twice")
            if kind == EDGEML_CATEGORY:
                f.index = self.n_categories
                self.n_categories += 1
                if edgeml_table_init(&f.levels, len(levels)) != 0:
                    raise MemoryError("no memory for the levels")
                for level in levels:
                    self._add(&f.levels, level.encode(), f"field {name!r}: level {level!r} stands twice")
                continue
            if kind == EDGEML_TEXT:
                f.index = self.n_texts
                self.n_texts += 1
            else:
                f.index = self.n_numbers
                self.n_numbers += 1
        self.names = tuple(names)
        self.known = frozenset(names)

    def __dealloc__(self):
        edgeml_fields_free(self.spec)

    cdef int _add(self, edgeml_table *table, bytes key, str complaint) except -1:
        self.keep.append(key)
        if edgeml_table_add(table, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key)) != 0:
            raise ValueError(complaint)
        return 0

    def new_frame(self, Py_ssize_t capacity=1):
        return Frame(self.n_numbers, self.n_categories, self.n_texts, capacity)

    def unknown_counts(self):
        return dict(self.unknown)

    cdef int _begin(self, Frame frame) except -1:
        cdef edgeml_memory *m = frame.memory
        frame._idle()
        if (
            m.view.n_numbers != self.n_numbers
            or m.view.n_categories != self.n_categories
            or m.view.n_texts != self.n_texts
        ):
            raise ValueError("the frame was made for another schema; take it from new_frame")
        frame.noted = None
        edgeml_memory_begin(m, self.spec.limit)
        return 0

    # Records as mappings

    def read(self, Frame frame not None, record):
        self._begin(frame)
        frame.memory.busy = 1
        try:
            self._row(frame, record, 0)
        finally:
            frame.memory.busy = 0
        return frame.memory.n_violations

    def read_many(self, Frame frame not None, records):
        cdef list rows = records if type(records) is list else list(records)
        cdef Py_ssize_t i
        self._begin(frame)
        frame._grow(max(1, len(rows)))
        frame.memory.busy = 1
        try:
            # The list is asked anew at every turn: a value's own code could shorten it.
            i = 0
            while i < PyList_GET_SIZE(rows):
                if frame.memory.view.n_rows == frame.memory.view.capacity:
                    frame._grow(2 * frame.memory.view.capacity)
                self._row(frame, rows[i], i)
                i += 1
        finally:
            frame.memory.busy = 0
        return frame.memory.n_violations

    cdef int _row(self, Frame frame, object record, int64_t number) except -1:
        cdef edgeml_memory *m = frame.memory
        cdef edgeml_fields *spec = self.spec
        cdef int64_t row = m.view.n_rows, noted = m.n_violations, arena = m.arena_used
        cdef Py_ssize_t i, matched = 0, position = 0
        cdef PyObject *key
        cdef PyObject *found
        cdef bint walking = True
        cdef object name, value
        cdef int code
        m.n_records += 1
        if not PyDict_Check(record):
            if not isinstance(record, Mapping):
                frame._note(number, "", EDGEML_V_NOT_A_RECORD, described(record))
                return 0
            record = dict(record)
        for i in range(spec.n_fields):
            # Records made by one program have their keys in one order, mostly the schema's, and mostly as the same
            # interned strings: then walking is much cheaper than looking up.
            name = <object> PyTuple_GET_ITEM(self.names, i)
            walking = walking and PyDict_Next(record, &position, &key, &found) and key == <PyObject *> name
            if not walking:
                found = PyDict_GetItemWithError(record, name)
            if found == NULL:
                code = edgeml_put_missing(m, &spec.fields[i], row)
            else:
                matched += 1
                value = <object> found
                code = put_value(m, &spec.fields[i], row, value)
            if code != 0:
                frame._note(number, i, code, "no value" if code == EDGEML_V_MISSING else described(value))
        if PyDict_Size(record) != matched:
            self._unknown_keys(frame, record, number)
        if m.n_violations == noted:
            m.view.n_rows += 1
        else:
            m.arena_used = arena
        return 0

    cdef int _unknown_keys(self, Frame frame, dict record, int64_t number) except -1:
        for key in list(record):
            if isinstance(key, str) and key in self.known:
                continue
            name = shortened(key) if type(key) is str else described(key)
            if self.spec.reject_unknown:
                frame._note(number, name, EDGEML_V_UNKNOWN_FIELD, described(record[key]))
            else:
                self._count_unknown(name, 1)
        return 0

    cdef int _count_unknown(self, str name, int64_t count) except -1:
        # Names come from outside: their number is bounded.
        if name not in self.unknown and len(self.unknown) >= 64:
            name = "*"
        self.unknown[name] = self.unknown.get(name, 0) + count
        return 0

    # Columns

    def begin_columns(self, Frame frame not None, Py_ssize_t n_rows):
        self._begin(frame)
        cdef int status = edgeml_memory_begin_columns(frame.memory, self.spec.limit, n_rows)
        if status != 0:
            raise_status(status)

    def fill_buffer(self, Frame frame not None, Py_ssize_t field, data, Py_ssize_t column=-1):
        self._check_field(frame, field)
        if self.spec.fields[field].kind > EDGEML_BOOLEAN:
            return False
        return self._fill(frame, data, field, field + 1, column)

    def fill_matrix(self, Frame frame not None, data):
        if self.n_numbers != self.spec.n_fields:
            return False
        return self._fill(frame, data, 0, self.spec.n_fields, 0)

    cdef bint _fill(self, Frame frame, object data, Py_ssize_t first, Py_ssize_t stop, Py_ssize_t column) except -1:
        """Fields first .. stop - 1 from a [n] buffer (column < 0) or from columns column .. of a [n, d] buffer."""
        cdef Py_buffer buffer
        cdef edgeml_memory *m = frame.memory
        cdef edgeml_column_loop loop
        cdef Py_ssize_t n = m.view.n_rows, across
        cdef const char *start
        cdef int status = 0
        PyObject_GetBuffer(data, &buffer, PyBUF_STRIDES | PyBUF_FORMAT)
        try:
            if buffer.ndim != (1 if column < 0 else 2) or buffer.shape[0] != n:
                raise ValueError("the array does not have one value for each row")
            if column >= 0 and buffer.shape[1] < column + stop - first:
                raise ValueError("the array has too few columns")
            loop = edgeml_column_loop_for(buffer.format, buffer.itemsize)
            if loop == NULL:
                return False
            across = 0 if column < 0 else buffer.strides[1]
            start = <const char *> buffer.buf + (0 if column < 0 else column) * across
            m.busy = 1
            with nogil:
                status = edgeml_fill_tiles(m, self.spec, loop, start, buffer.strides[0], across, first, stop)
            m.busy = 0
        finally:
            PyBuffer_Release(&buffer)
        if status != 0:
            raise_status(status)
        self._drain(frame, None)
        return True

    def fill_list(self, Frame frame not None, Py_ssize_t field, list values not None):
        cdef Py_ssize_t i
        self._check_field(frame, field)
        if len(values) != frame.memory.view.n_rows:
            raise ValueError("the list does not have one value for each row")
        frame.memory.busy = 1
        try:
            for i in range(frame.memory.view.n_rows):
                # Asked anew at every turn: a value's own code could shorten the list.
                if i >= PyList_GET_SIZE(values):
                    raise ValueError("the list was shortened while it was read")
                self._put(frame, field, i, <object> PyList_GET_ITEM(values, i))
        finally:
            frame.memory.busy = 0

    def fill_objects(self, Frame frame not None, Py_ssize_t field, data):
        cdef Py_buffer buffer
        cdef PyObject *item
        cdef Py_ssize_t i
        self._check_field(frame, field)
        PyObject_GetBuffer(data, &buffer, PyBUF_STRIDES | PyBUF_FORMAT)
        frame.memory.busy = 1
        try:
            if buffer.format != b"O" or buffer.ndim != 1 or buffer.shape[0] != frame.memory.view.n_rows:
                raise ValueError("expected a one-dimensional array of objects with one value for each row")
            for i in range(frame.memory.view.n_rows):
                item = (<PyObject **> (<char *> buffer.buf + i * buffer.strides[0]))[0]
                self._put(frame, field, i, None if item == NULL else <object> item)
        finally:
            frame.memory.busy = 0
            PyBuffer_Release(&buffer)

    cdef inline int _put(self, Frame frame, Py_ssize_t field, Py_ssize_t row, object value) except -1:
        cdef int code = put_value(frame.memory, &self.spec.fields[field], row, value)
        if code != 0:
            frame._note(row, field, code, "no value" if code == EDGEML_V_MISSING else described(value))
        return 0

    def fill_missing(self, Frame frame not None, Py_ssize_t field):
        cdef Py_ssize_t i
        cdef int code
        self._check_field(frame, field)
        for i in range(frame.memory.view.n_rows):
            code = edgeml_put_missing(frame.memory, &self.spec.fields[field], i)
            if code != 0:
                frame._note(i, field, code, "no value")

    def unknown_column(self, Frame frame not None, str name):
        cdef Py_ssize_t i
        if not self.spec.reject_unknown:
            self._count_unknown(shortened(name), frame.memory.view.n_rows)
            return
        for i in range(frame.memory.view.n_rows):
            frame._note(i, shortened(name), EDGEML_V_UNKNOWN_FIELD, "a column of that name")

    def end_columns(self, Frame frame not None):
        edgeml_memory_compact(frame.memory)
        return frame.memory.n_violations

    cdef int _check_field(self, Frame frame, Py_ssize_t field) except -1:
        if field < 0 or field >= self.spec.n_fields or frame.memory.n_fields != self.spec.n_fields:
            raise IndexError(f"field {field} of {self.spec.n_fields}")
        return 0

    # JSON

    def read_json(self, Frame frame not None, bytes body not None, Py_ssize_t max_rows):
        return self._scan(frame, body, max_rows)

    def read_json_record(self, Frame frame not None, bytes line not None):
        return self._scan(frame, line, -1)

    def read_json_numbers(self, Frame frame not None, bytes numbers not None, bint single):
        cdef edgeml_scan scan
        if self.n_categories or self.n_texts:
            return False
        self._begin(frame)
        self._open(&scan, frame, numbers)
        if edgeml_scan_numbers(&scan, single):
            return True
        frame.memory.view.n_rows = 0
        return False

    cdef void _open(self, edgeml_scan *scan, Frame frame, bytes body):
        memset(scan, 0, sizeof(edgeml_scan))
        scan.json.start = scan.json.p = <const uint8_t *> PyBytes_AS_STRING(body)
        scan.json.end = scan.json.start + PyBytes_GET_SIZE(body)
        scan.memory = frame.memory
        scan.spec = self.spec

    cdef int _scan(self, Frame frame, bytes body, Py_ssize_t max_rows) except? -1:
        cdef edgeml_scan scan
        cdef Py_ssize_t size = PyBytes_GET_SIZE(body)
        cdef edgeml_memory *m = frame.memory
        cdef int stopped
        cdef bint large = size >= RELEASE_BYTES
        self._begin(frame)
        self._open(&scan, frame, body)
        m.busy = 1
        if large:
            with nogil:
                stopped = edgeml_scan_line(&scan) if max_rows < 0 else edgeml_scan_body(&scan, max_rows)
        else:
            stopped = edgeml_scan_line(&scan) if max_rows < 0 else edgeml_scan_body(&scan, max_rows)
        m.busy = 0
        if stopped:
            m.view.n_rows = 0
            if scan.json.error < 0:
                raise_status(scan.json.error)
            frame.error_offset = scan.json.p - scan.json.start
            return scan.json.error
        if m.n_stored or m.n_unknown:
            self._drain(frame, body)
        if m.n_members or frame.members:
            frame.members = [
                (
                    body[m.members[i].key_offset:m.members[i].key_offset + m.members[i].key_length],
                    body[m.members[i].value_offset:m.members[i].value_offset + m.members[i].value_length],
                )
                for i in range(m.n_members)
            ]
        return JSON_VIOLATIONS if m.n_violations else 0

    cdef int _drain(self, Frame frame, bytes body) except -1:
        """Takes over what the loops noted without the GIL."""
        cdef edgeml_memory *m = frame.memory
        cdef edgeml_violation *w
        cdef Py_ssize_t i
        if m.n_stored and frame.noted is None:
            frame.noted = []
        for i in range(m.n_stored):
            w = &m.stored[i]
            field = w.field
            if w.code == EDGEML_V_MISSING:
                got = "no value"
            elif w.origin == EDGEML_GOT_SLICE:
                got = shortened_slice(body, w.offset, w.length)
                if w.code == EDGEML_V_UNKNOWN_FIELD:
                    field, got = got, "a field of that name"
                elif w.code == EDGEML_V_NOT_A_RECORD:
                    field = ""
            elif w.origin == EDGEML_GOT_BOOLEAN:
                got = "true" if w.value else "false"
            else:
                got = repr(w.value)
            frame.noted.append((w.row, field, w.code, got))
        m.n_stored = 0
        for i in range(m.n_unknown):
            self._count_unknown(shortened_slice(body, m.unknown[i].offset, m.unknown[i].length), m.unknown[i].count)
        if m.unknown_other:
            self._count_unknown("*", m.unknown_other)
        return 0
