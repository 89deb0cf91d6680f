"""Sets of numbers, codes and texts for rules.pyx: sorted, each value once, searched by halving.

Inline functions only: a part of the rule kernel, not a kernel of its own.
"""

from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcmp


cdef inline bint has_number(const double *sorted_set, int64_t count, double x) noexcept nogil:
    cdef int64_t low = 0, middle
    while count > 0:
        middle = count >> 1
        if sorted_set[low + middle] < x:
            low += middle + 1
            count -= middle + 1
        elif sorted_set[low + middle] == x:
            return True
        else:
            count = middle
    return False


cdef inline bint has_code(const int32_t *sorted_set, int64_t count, int32_t code) noexcept nogil:
    cdef int64_t low = 0, middle
    while count > 0:
        middle = count >> 1
        if sorted_set[low + middle] < code:
            low += middle + 1
            count -= middle + 1
        elif sorted_set[low + middle] == code:
            return True
        else:
            count = middle
    return False


cdef inline int text_order(const char *left, int64_t left_length, const char *right, int64_t right_length) noexcept nogil:
    """Shorter strings first, equally long ones by their bytes."""
    if left_length != right_length:
        return -1 if left_length < right_length else 1
    return memcmp(left, right, left_length)


cdef inline bint has_text(
    const char *strings, const int64_t *offsets, int64_t first, int64_t count, const char *text, int64_t length
) noexcept nogil:
    cdef int64_t middle, at
    cdef int order
    while count > 0:
        middle = count >> 1
        at = first + middle
        order = text_order(strings + offsets[at], offsets[at + 1] - offsets[at], text, length)
        if order == 0:
            return True
        if order < 0:
            first = at + 1
            count -= middle + 1
        else:
            count = middle
    return False
