"""Single Python values for frame.pyx: how they are read, what they mean, how they are shown.

Inline functions only: a part of the frame kernel, not a kernel of its own.
"""

from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.long cimport PyLong_AsDouble, PyLong_CheckExact
from libc.float cimport DBL_MAX
from libc.math cimport INFINITY
from libc.stdint cimport int64_t

from frame_headers cimport *


cdef enum:
    GOT_CHARS = 80


cdef inline int raise_status(int status) except -1:
    if status == EDGEML_EXPORTED:
        raise BufferError("the frame cannot grow while a view of one of its columns is alive")
    raise MemoryError("no memory for the frame")


cdef inline str shortened(str text):
    return text if len(text) <= GOT_CHARS else text[:GOT_CHARS - 1] + "…"


cdef inline str described(object value):
    """A value in the words of a violation; never long, and never fails."""
    if value is None:
        return "no value"
    if value is True or value is False:
        return "true" if value else "false"
    kind = type(value).__name__
    try:
        if isinstance(value, str):
            return shortened('"' + str(value[:GOT_CHARS]) + '"')
        if isinstance(value, bytes):
            return shortened(repr(value[:GOT_CHARS]))
        if isinstance(value, float):
            return repr(float(value))
        if isinstance(value, int):
            return shortened(repr(int(value))) if abs(value) < 10 ** 100 else "an integer of over 100 digits"
        if isinstance(value, (list, tuple, dict, set)):
            return f"{kind} of {len(value)}"
    except Exception:
        pass
    return f"a value of type {kind}"


cdef inline bint says_missing(object value):
    """Whether a value that is neither None nor a float says that there is no value, as pandas does."""
    kind = type(value)
    return kind.__name__ in ("NAType", "NaTType") and str(kind.__module__).partition(".")[0] == "pandas"


cdef inline object plain_scalar(object value):
    """The Python scalar of a numpy scalar; anything else as it is."""
    kind = type(value)
    if kind.__module__ == "numpy" and hasattr(kind, "item") and kind.__name__ != "ndarray":
        if kind.__name__ in ("datetime64", "timedelta64"):
            # Some units would become plain integers, and a time is no number.
            return None if value != value else value
        return value.item()
    return value


cdef inline const char *utf8_of(object text, Py_ssize_t *length) except? NULL:
    """The bytes of an exact str; NULL without an error where it has no UTF-8 form."""
    if PyUnicode_IS_COMPACT_ASCII(text):
        length[0] = PyUnicode_GET_LENGTH(text)
        return <const char *> PyUnicode_DATA(text)
    try:
        return PyUnicode_AsUTF8AndSize(text, length)
    except UnicodeEncodeError:
        return NULL


cdef inline str shortened_slice(bytes body, int64_t offset, int64_t length):
    # Four bytes make at most one character, so this many bytes suffice for the shortened text.
    return shortened(body[offset:offset + min(length, 4 * GOT_CHARS)].decode("utf-8", "replace"))


cdef inline tuple bounds_of(int kind, double lowest, double highest):
    # Beyond 2**53 - 1 two integers share one double, so a larger one could not be told from its neighbour.
    widest = 1.0 if kind == EDGEML_BOOLEAN else 2.0 ** 53 - 1 if kind == EDGEML_INTEGER else DBL_MAX
    narrowest = 0.0 if kind == EDGEML_BOOLEAN else -widest
    return max(narrowest, lowest), min(widest, highest)


cdef inline int put_value(edgeml_memory *m, const edgeml_field *f, int64_t row, object value) except -1:
    """Writes one value; 0 or a violation code. What JSON gives is told by its exact type, first."""
    cdef double number = 0.0
    cdef Py_ssize_t length = 0
    cdef const char *utf8
    cdef int status
    if f.kind <= EDGEML_BOOLEAN:
        if PyFloat_CheckExact(value):
            number = PyFloat_AS_DOUBLE(value)
        elif PyLong_CheckExact(value):
            try:
                number = PyLong_AsDouble(value)
            except OverflowError:
                number = INFINITY
        elif (value is True or value is False) and f.kind == EDGEML_BOOLEAN:
            number = value is True
        else:
            return edgeml_put_missing(m, f, row) if value is None else put_any(m, f, row, value)
        return edgeml_check_number(f, number, &m.view.numbers[f.index * m.view.capacity + row])
    if not PyUnicode_CheckExact(value):
        return edgeml_put_missing(m, f, row) if value is None else put_any(m, f, row, value)
    utf8 = utf8_of(value, &length)
    if utf8 == NULL:
        return EDGEML_V_WRONG_TYPE  # half a surrogate pair
    if f.kind == EDGEML_CATEGORY:
        return edgeml_put_level(m, f, row, utf8, length)
    status = edgeml_put_text(m, f, row, utf8, length)
    return status if status >= 0 else raise_status(status)


cdef inline int put_any(edgeml_memory *m, const edgeml_field *f, int64_t row, object value) except -1:
    """Brings what is not of an exact JSON type (numpy scalars, subclasses, bytes, pandas.NA) to one that is."""
    plain = plain_scalar(value)
    if says_missing(plain):
        plain = None
    elif isinstance(plain, float):
        plain = None if plain != plain else float(plain)
    elif isinstance(plain, int) and not isinstance(plain, bool):
        plain = int(plain)
    elif isinstance(plain, str):
        plain = str.__str__(plain)
    elif isinstance(plain, bytes) and f.kind >= EDGEML_CATEGORY:
        try:
            plain = (<bytes> plain).decode()
        except UnicodeDecodeError:
            return EDGEML_V_WRONG_TYPE
    fits = plain is None or (
        PyUnicode_CheckExact(plain) if f.kind >= EDGEML_CATEGORY
        else PyFloat_CheckExact(plain) or PyLong_CheckExact(plain) or (type(plain) is bool and f.kind == EDGEML_BOOLEAN)
    )
    return put_value(m, f, row, plain) if fits else EDGEML_V_WRONG_TYPE
