"""Texts for rules.pyx: tests of one part, and scans that look for many at once.

Inline functions only: a part of the rule kernel, not a kernel of its own. What is in C is in text_words.h and
text_parts.h.
"""

from cpython.object cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memcmp


# Of GNU, BSD, macOS and musl; takes linear time whatever the texts are. Python.h asks for it.
cdef extern from "string.h" nogil:
    void *memmem(const void *text, size_t length, const void *part, size_t part_length)


cdef extern from "text_parts.h" nogil:
    enum:
        EDGEML_SET_NO_MEMORY
        EDGEML_SET_TOO_LARGE
        EDGEML_SET_NO_WORD
        EDGEML_MAX_SETS
        EDGEML_MAX_CELLS

    ctypedef struct edgeml_words:
        pass

    ctypedef struct edgeml_parts:
        pass

    edgeml_words *edgeml_words_new(
        const char *strings, const int64_t *offsets, const int32_t *which, int64_t n_patterns, int64_t first, int folded,
        int64_t *left, int *error, int64_t *wrong
    )
    void edgeml_words_free(edgeml_words *words)
    void edgeml_words_scan(const edgeml_words *words, const uint8_t *text, int64_t length, uint64_t *found)
    edgeml_parts *edgeml_parts_new(
        const char *strings, const int64_t *offsets, const int32_t *which, int64_t n_patterns, int64_t first, int folded,
        int64_t *left, int *error, int64_t *wrong
    )
    void edgeml_parts_free(edgeml_parts *parts)
    void edgeml_parts_scan(const edgeml_parts *parts, const uint8_t *text, int64_t length, uint64_t *found)
    int64_t edgeml_count_words(const uint8_t *text, int64_t length)
    int64_t edgeml_count_characters(const uint8_t *text, int64_t length)
    bint edgeml_starts_folded(const uint8_t *text, int64_t length, const uint8_t *part, int64_t part_length)
    bint edgeml_ends_folded(const uint8_t *text, int64_t length, const uint8_t *part, int64_t part_length)
    int edgeml_fold_at(const uint8_t *p, const uint8_t *end, uint8_t *out, int *width)


cdef extern from *:
    int ctz "__builtin_ctzll"(uint64_t word) nogil


cdef enum:
    MAX_SCANS = 256
    SCAN_MARKS = 4  # words of 64 bits
    MAX_PATTERNS = 1 << 16
    FOUND_MARKS = 1 << 10

cdef enum:
    FAILED = -(1 << 30)  # no target: there are far fewer rules

# The kinds of scan, in the order of the names in rules.pyi.
cdef enum:
    SCAN_WORDS
    SCAN_WORDS_FOLDED
    SCAN_PARTS
    SCAN_PARTS_FOLDED
    SCAN_EXPRESSIONS
    COUNT_WORDS
    COUNT_CHARACTERS
    N_SCAN_KINDS

ctypedef struct scan:
    int32_t kind
    int32_t column
    int64_t first  # its patterns
    int64_t count
    edgeml_words *words
    edgeml_parts *parts
    PyObject *matcher

# What has been found in the texts of one row.
ctypedef struct seen:
    uint64_t done[SCAN_MARKS]  # scans that were made
    uint64_t found[FOUND_MARKS]
    double counted[MAX_SCANS]


cdef inline bint text_holds(
    int32_t test, const char *text, int64_t length, const char *part, int64_t part_length
) noexcept nogil:
    """A test of one part; the tests are numbered from TEXT_EQUAL on."""
    if test == 5:  # begins with, ignoring case: folding may change a length
        return edgeml_starts_folded(<const uint8_t *> text, length, <const uint8_t *> part, part_length)
    if test == 6:
        return edgeml_ends_folded(<const uint8_t *> text, length, <const uint8_t *> part, part_length)
    if part_length > length:
        return False
    if test == 0:
        return part_length == length and memcmp(text, part, length) == 0
    if test == 2:
        return memcmp(text, part, part_length) == 0
    if test == 3:
        return memcmp(text + (length - part_length), part, part_length) == 0
    return part_length == 0 or memmem(text, length, part, part_length) is not NULL


cdef inline int64_t first_found(const uint64_t *found, int64_t first, int64_t count) noexcept nogil:
    """The first of count bits that is set, counted from the first of them; -1 for none."""
    cdef int64_t at = first >> 6, last = (first + count - 1) >> 6
    cdef uint64_t word = found[at] & (~(<uint64_t> 0) << (first & 63))
    while word == 0:
        if at == last:
            return -1
        at += 1
        word = found[at]
    at = (at << 6) + ctz(word) - first
    return at if at < count else -1


cdef inline double weights_found(
    const uint64_t *found, const double *weights, int64_t first, int64_t count
) noexcept nogil:
    """The sum of the weights of those of count patterns that are found."""
    cdef int64_t at = first >> 6, last = (first + count - 1) >> 6, end = first + count, i
    cdef uint64_t word = found[at] & (~(<uint64_t> 0) << (first & 63))
    cdef double total = 0.0
    while True:
        while word:
            i = (at << 6) + ctz(word)
            if i >= end:
                return total
            total += weights[i]
            word &= word - 1
        if at == last:
            return total
        at += 1
        word = found[at]


cdef inline int look(const scan *scans, int64_t index, const char *text, int64_t length, seen *to) except -1 nogil:
    """Makes a scan of a text unless this row has had it."""
    cdef const scan *s = scans + index
    cdef uint64_t bit = (<uint64_t> 1) << (index & 63)
    if to.done[index >> 6] & bit:
        return 0
    to.done[index >> 6] |= bit
    if s.kind <= SCAN_WORDS_FOLDED:
        edgeml_words_scan(s.words, <const uint8_t *> text, length, to.found)
    elif s.kind <= SCAN_PARTS_FOLDED:
        edgeml_parts_scan(s.parts, <const uint8_t *> text, length, to.found)
    elif s.kind == COUNT_WORDS:
        to.counted[index] = <double> edgeml_count_words(<const uint8_t *> text, length)
    elif s.kind == COUNT_CHARACTERS:
        to.counted[index] = <double> edgeml_count_characters(<const uint8_t *> text, length)
    else:
        ask(s, text, length, to.found)
    return 0


cdef inline int ask(const scan *s, const char *text, int64_t length, uint64_t *found) except -1 with gil:
    """Asks a matcher of regular expressions, which is Python's."""
    cdef int64_t at
    numbers = (<object> s.matcher)(text[:length])
    for number in () if numbers is None else numbers:
        at = number
        if not 0 <= at < s.count:
            raise ValueError(f"a matcher of {s.count} expressions found number {at}")
        at += s.first
        found[at >> 6] |= (<uint64_t> 1) << (at & 63)
    return 0


cdef inline int make_scan(
    scan *to, int64_t number, const int32_t *given, const char *strings, const int64_t *offsets, const int32_t *patterns,
    int64_t *bytes_left, int64_t *cells_left
) except -1:
    """Makes what a scan of four checked fields (kind, column, first pattern, patterns) looks for, of what memory is left."""
    cdef int error = 0
    cdef int64_t wrong = 0
    cdef const int32_t *which = patterns + given[2]
    to.kind, to.column, to.first, to.count = given[0], given[1], given[2], given[3]
    if not 0 <= to.kind < N_SCAN_KINDS:
        raise ValueError(f"scan {number}: unknown kind {to.kind}")
    if (to.count == 0) != (to.kind >= COUNT_WORDS):
        raise ValueError(f"scan {number}: {to.count} patterns, and kind {to.kind}")
    if to.kind <= SCAN_WORDS_FOLDED:
        to.words = edgeml_words_new(
            strings, offsets, which, to.count, to.first, to.kind == SCAN_WORDS_FOLDED, bytes_left, &error, &wrong
        )
    elif to.kind <= SCAN_PARTS_FOLDED:
        to.parts = edgeml_parts_new(
            strings, offsets, which, to.count, to.first, to.kind == SCAN_PARTS_FOLDED, cells_left, &error, &wrong
        )
    if error == EDGEML_SET_NO_MEMORY:
        raise MemoryError()
    if error == EDGEML_SET_TOO_LARGE:
        raise ValueError(f"scan {number}: pattern {wrong} is too long, or the patterns are too many together")
    if error == EDGEML_SET_NO_WORD:
        raise ValueError(f"scan {number}: pattern {wrong} is empty")
    return 0
