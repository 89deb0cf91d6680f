"""Selectors for rules.pyx: which of a block of rules can be true for a row at all, found for all of them at once.

A selector has filters, each over one column or one scan. A filter knows for every region of its column (an interval
between two bounds, a level, a value that is missing, a word that is found) the rules that can be true there, as bits.
The bits of all filters, and-ed, are the rules that are worth asking, in order. (Lakshman and Stiliadis, SIGCOMM 1998,
classify packets in this way.)

Inline functions only: a part of the rule kernel, not a kernel of its own.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t


cdef enum:
    MAX_SELECTED = 1024  # rules of a selector
    SELECTED_WORDS = 16  # of 64 bits
    OF_SELECTOR = 4  # fields: first filter, filters, first entry, rules
    OF_FILTER = 5  # fields: kind, column or scan, first constant or pattern, how many (or levels), first of its masks
    MAX_MASKS = 1 << 22  # words of 64 bits: 32 MiB

cdef enum:
    FILTER_NUMBER
    FILTER_CODE
    FILTER_FOUND
    N_FILTER_KINDS

ctypedef struct selector:
    int64_t first
    int64_t n_filters
    int64_t entry
    int64_t n_rules

ctypedef struct rule_filter:
    int64_t kind
    int64_t column
    int64_t first
    int64_t count
    int64_t mask

# The rules of a selector that are still to be asked.
ctypedef struct selected:
    uint64_t bits[SELECTED_WORDS]
    int64_t word
    int64_t n_words
    const int32_t *entries
    int32_t after  # where to go when none is left


cdef inline int64_t mask_rows(const rule_filter *f) noexcept nogil:
    """Masks of a filter, of one word for 64 rules each: regions and missing; levels, unseen and missing; patterns, and
    the rules that no pattern decides."""
    if f.kind == FILTER_NUMBER:
        return 2 * f.count + 2
    if f.kind == FILTER_CODE:
        return f.count + 2
    return f.count + 1


cdef inline int64_t region_of(const double *bounds, int64_t count, double x) noexcept nogil:
    """Regions in order: below the first bound, the bound itself, up to the next one, ...; the last one: missing."""
    cdef int64_t low = 0, left = count, half
    if x != x:
        return 2 * count + 1
    # Without a branch on what is compared: which way it goes is a matter of chance, and guessing costs more than this.
    while left > 0:
        half = (left + 1) >> 1
        low = low + half if bounds[low + half - 1] < x else low
        left -= half
    return 2 * low + (low < count and bounds[low] == x)


cdef inline int64_t code_region(int64_t levels, int32_t code, int32_t missing) noexcept nogil:
    if code == missing:
        return levels + 1
    return code if 0 <= code < levels else levels


cdef inline void keep(uint64_t *bits, const uint64_t *mask, int64_t n_words) noexcept nogil:
    cdef int64_t i
    for i in range(n_words):
        bits[i] = bits[i] & mask[i]


cdef inline bint any_beyond(const uint64_t *bits, const uint64_t *mask, int64_t n_words) noexcept nogil:
    """Whether a bit is set that the mask does not have."""
    cdef int64_t i
    for i in range(n_words):
        if bits[i] & ~mask[i]:
            return True
    return False


cdef inline void keep_found(
    uint64_t *bits, const uint64_t *masks, const uint64_t *found, int64_t first, int64_t count, int64_t n_words
) noexcept nogil:
    """Keeps the rules of the patterns that were found, and those that no pattern decides."""
    cdef uint64_t wanted[SELECTED_WORDS]
    cdef const uint64_t *mask = masks + count * n_words
    cdef int64_t i, at = first >> 6, last = (first + count - 1) >> 6, number
    cdef uint64_t word = found[at] & (~(<uint64_t> 0) << (first & 63))
    for i in range(n_words):
        wanted[i] = mask[i]
    while True:
        while word:
            number = (at << 6) + ctz_of(word) - first
            if number >= count:
                break
            mask = masks + number * n_words
            for i in range(n_words):
                wanted[i] |= mask[i]
            word &= word - 1
        if at == last:
            break
        at += 1
        word = found[at]
    keep(bits, wanted, n_words)


cdef inline int32_t next_selected(selected *s) noexcept nogil:
    """Where the next rule that is worth asking begins; where to go after the last one, once none is left.

    It goes there once: what stands behind a selector may ask for the next rule too, and would come round for ever.
    """
    cdef uint64_t word
    cdef int32_t after
    while s.word < s.n_words:
        word = s.bits[s.word]
        if word:
            s.bits[s.word] = word & (word - 1)
            return s.entries[(s.word << 6) + ctz_of(word)]
        s.word += 1
    after, s.n_words, s.after = s.after, 0, -1
    return after


cdef extern from *:
    int ctz_of "__builtin_ctzll"(uint64_t word) nogil
