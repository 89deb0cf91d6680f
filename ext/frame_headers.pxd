"""What frame.pyx uses of its C headers and of CPython."""

from cpython.object cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint8_t


cdef extern from "frame.h":
    const char *EDGEML_FRAME_CAPSULE

    ctypedef struct edgeml_text:
        int64_t offset
        int64_t length

    ctypedef struct edgeml_frame:
        int64_t n_rows
        int64_t capacity
        int64_t n_numbers
        int64_t n_categories
        int64_t n_texts
        double *numbers
        int32_t *codes
        edgeml_text *texts
        const char *arena
        int64_t n_pictures
        int64_t picture_bytes
        const uint8_t *pictures


cdef extern from "frame_memory.h":
    enum:
        EDGEML_V_MISSING
        EDGEML_V_WRONG_TYPE
        EDGEML_V_UNSEEN_LEVEL
        EDGEML_V_TOO_LONG
        EDGEML_V_UNKNOWN_FIELD
        EDGEML_V_NOT_A_RECORD
        EDGEML_GOT_SLICE
        EDGEML_GOT_BOOLEAN
        EDGEML_EXPORTED

    ctypedef struct edgeml_violation:
        int64_t row
        int32_t field
        int32_t code
        int32_t origin
        int64_t offset
        int64_t length
        double value

    ctypedef struct edgeml_member:
        int64_t key_offset
        int64_t key_length
        int64_t value_offset
        int64_t value_length

    ctypedef struct edgeml_unknown:
        int64_t offset
        int64_t length
        int64_t count

    ctypedef struct edgeml_memory:
        edgeml_frame view
        int64_t n_fields
        char *arena
        int64_t arena_used
        uint8_t *pictures
        int64_t exports
        int busy
        int64_t n_bad
        int64_t n_violations
        edgeml_violation *stored
        int64_t n_stored
        int64_t n_records
        edgeml_unknown *unknown
        int64_t n_unknown
        int64_t unknown_other
        edgeml_member *members
        int64_t n_members

    edgeml_memory *edgeml_memory_new(int64_t numbers, int64_t categories, int64_t texts, int64_t capacity)
    void edgeml_memory_free(edgeml_memory *m)
    int edgeml_memory_reserve(edgeml_memory *m, int64_t rows)
    int edgeml_memory_pictures(edgeml_memory *m, int64_t n, int64_t bytes)
    void edgeml_memory_begin(edgeml_memory *m, int64_t limit)
    int edgeml_memory_begin_columns(edgeml_memory *m, int64_t limit, int64_t rows)
    void edgeml_memory_compact(edgeml_memory *m)
    int edgeml_admit(edgeml_memory *m, int64_t row)


cdef extern from "frame_fields.h":
    enum:
        EDGEML_INTEGER
        EDGEML_BOOLEAN
        EDGEML_CATEGORY
        EDGEML_TEXT

    ctypedef struct edgeml_table:
        int64_t size

    ctypedef struct edgeml_field:
        int32_t kind
        int32_t index
        int32_t missing_allowed
        int32_t unseen_allowed
        double min
        double max
        int64_t max_bytes
        int32_t plain
        edgeml_table levels

    ctypedef struct edgeml_fields:
        int64_t n_fields
        edgeml_field *fields
        edgeml_table names
        int32_t reject_unknown
        int64_t limit

    ctypedef int (*edgeml_column_loop)(
        edgeml_memory *m, const edgeml_field *f, int32_t field, const char *data, int64_t step, int64_t first, int64_t n
    ) noexcept nogil

    edgeml_fields *edgeml_fields_new(int64_t n)
    void edgeml_fields_free(edgeml_fields *s)
    int edgeml_table_init(edgeml_table *t, int64_t size)
    int edgeml_table_add(edgeml_table *t, const char *key, int64_t length)
    int edgeml_check_number(const edgeml_field *f, double v, double *out)
    int edgeml_put_missing(edgeml_memory *m, const edgeml_field *f, int64_t row)
    int edgeml_put_level(edgeml_memory *m, const edgeml_field *f, int64_t row, const char *utf8, int64_t length)
    int edgeml_put_text(edgeml_memory *m, const edgeml_field *f, int64_t row, const char *utf8, int64_t length)
    edgeml_column_loop edgeml_column_loop_for(const char *format, int64_t itemsize)
    int edgeml_fill_tiles(
        edgeml_memory *m, const edgeml_fields *s, edgeml_column_loop loop, const char *data, int64_t down, int64_t across,
        int64_t first, int64_t stop
    ) noexcept nogil


cdef extern from "json_records.h":
    ctypedef struct edgeml_json:
        const uint8_t *start
        const uint8_t *p
        const uint8_t *end
        int error

    ctypedef struct edgeml_scan:
        edgeml_json json
        edgeml_memory *memory
        const edgeml_fields *spec

    int edgeml_scan_line(edgeml_scan *s) noexcept nogil
    int edgeml_scan_numbers(edgeml_scan *s, int single) noexcept nogil
    int edgeml_scan_body(edgeml_scan *s, int64_t max_rows) noexcept nogil


cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    bint PyUnicode_CheckExact(object value)
    bint PyUnicode_IS_COMPACT_ASCII(object value)
    void *PyUnicode_DATA(object value)
    Py_ssize_t PyUnicode_GET_LENGTH(object value)
    bint PyDict_Next(object record, Py_ssize_t *position, PyObject **key, PyObject **value)
