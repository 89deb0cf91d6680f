"""Where an encoder writes: rows of a caller's array, and the one row that stays bound.

Inline functions only: a part of the kernels that encode (features, texts, images), not a kernel of its own.
"""

from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_ND, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer,
)
from libc.stdint cimport int64_t


cdef inline int take_rows(object out, Py_buffer *view, int64_t n, bint is_double, int64_t n_outputs) except -1:
    """Takes a writable view of [n, n_outputs]; where the array does not fit, nothing is held."""
    PyObject_GetBuffer(out, view, PyBUF_C_CONTIGUOUS | PyBUF_ND | PyBUF_FORMAT | PyBUF_WRITABLE)
    try:
        if view.format == NULL or view.format != (b"d" if is_double else b"f"):
            raise ValueError(f"out must hold {'float64' if is_double else 'float32'}")
        if view.ndim != 2 or view.shape[1] != n_outputs:
            raise ValueError(f"out must have shape [n, {n_outputs}]")
        if view.shape[0] != n:
            raise ValueError(f"out must have {'one row' if n == 1 else f'{n} rows'}, it has {view.shape[0]}")
    except BaseException:
        PyBuffer_Release(view)
        raise
    return 0


cdef inline int bind_row(object out, Py_buffer *bound, bint *is_bound, bint is_double, int64_t n_outputs) except -1:
    """Takes an array of one row in the place of the one that was bound before."""
    cdef Py_buffer view
    take_rows(out, &view, 1, is_double, n_outputs)
    if is_bound[0]:
        PyBuffer_Release(bound)
    bound[0] = view
    is_bound[0] = True
    return 0


cdef inline const int64_t *wanted_rows(const int64_t[::1] chosen, int64_t limit) except? NULL:
    """The rows that were chosen, all of which there are; NULL where none were."""
    cdef int64_t i
    for i in range(chosen.shape[0]):
        if not 0 <= chosen[i] < limit:
            raise ValueError(f"row {chosen[i]} of {limit}")
    return &chosen[0] if chosen.shape[0] else NULL
