"""RuleProgram: an ordered rule list over a Frame. Documentation: edgeml/kernels/rules.pyi.

1. A program is a graph of tests without loops: each test names where to go if it holds and where if not; to go to a
   negative target is to stop. `not` was taken down to the tests, so what is unknown is simply not held, on either side.
2. Everything is checked once, when a program is made: kinds, columns, ranges, targets, and that every way to an
   instruction brings as many values on the stack. Matching then checks only that the frame has the columns.
3. Texts are looked through lazily: the first test of a row that needs a scan walks over the text once and notes what
   all tests of that scan ask for.
4. A program is never changed, so any number of threads may use one.
"""

cimport cython
from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.math cimport fabs, isfinite, NAN
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memcpy, memset

from rule_selectors cimport *
from rule_sets cimport has_code, has_number, has_text, text_order
from rule_texts cimport *


cdef extern from "frame.h":
    const char *EDGEML_FRAME_CAPSULE
    enum:
        EDGEML_MISSING

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


# The kinds of instruction, in the order of the names in rules.pyi.
cdef enum:
    LESS_CONSTANT
    AT_MOST_CONSTANT
    EQUAL_CONSTANT
    LESS_COLUMN
    AT_MOST_COLUMN
    EQUAL_COLUMN
    WITHIN
    NUMBER_IN
    NUMBER_MISSING
    TOP_LESS
    TOP_AT_MOST
    TOP_EQUAL
    TOP_WITHIN
    TOP_IN
    TOP_MISSING
    CODE_EQUAL
    CODE_IN
    CODE_MISSING
    TEXT_EQUAL
    TEXT_IN
    TEXT_STARTS
    TEXT_ENDS
    TEXT_CONTAINS
    TEXT_STARTS_FOLDED
    TEXT_ENDS_FOLDED
    TEXT_FOUND
    TEXT_FIRST
    TEXT_MISSING
    SELECT
    ADD_POINTS
    ADD_FOUND
    PUSH_COLUMN
    PUSH_CONSTANT
    PUSH_COUNT
    ADD
    SUBTRACT
    MULTIPLY
    DIVIDE
    NEGATE
    ABSOLUTE
    SMALLER
    LARGER
    N_KINDS

cdef enum:
    N_FIELDS = 7
    MAX_STACK = 256
    MAX_INSTRUCTIONS = 1 << 22
    NEXT = -(1 << 29)  # a target: the next rule that a selector has found worth asking

KINDS = (
    "less_constant", "at_most_constant", "equal_constant", "less_column", "at_most_column", "equal_column", "within",
    "number_in", "number_missing", "top_less", "top_at_most", "top_equal", "top_within", "top_in", "top_missing",
    "code_equal", "code_in", "code_missing", "text_equal", "text_in", "text_starts", "text_ends", "text_contains",
    "text_starts_folded", "text_ends_folded", "text_found", "text_first", "text_missing", "select", "add_points", "add_found",
    "push_column", "push_constant", "push_count", "add", "subtract", "multiply", "divide", "negate", "absolute", "smaller", "larger",
)
SCANS = ("words", "words_folded", "parts", "parts_folded", "expressions", "count_words", "count_characters")
FIELDS = N_FIELDS
SCAN_LIMIT = MAX_SCANS
PATTERN_LIMIT = MAX_PATTERNS
CELL_LIMIT = EDGEML_MAX_CELLS
STACK = MAX_STACK
NEXT_RULE = NEXT
SELECTED_LIMIT = MAX_SELECTED
MASK_LIMIT = MAX_MASKS
INSTRUCTIONS = MAX_INSTRUCTIONS


ctypedef struct instruction:
    int32_t kind
    int32_t flip  # 1: the test holds where its question is answered by no; missing values hold neither way
    int64_t a  # column, or scan
    int64_t b  # second column, code, or start in constants, codes, strings or patterns
    int64_t count
    int32_t yes  # target: an instruction further on, or -2 - rule, or -1 for no rule
    int32_t no
    double low
    double high
    uint64_t mask  # CODE_IN: the set as bits where all its codes are below 64, else 0


ctypedef struct program:
    instruction *steps
    double *constants
    int32_t *codes
    char *strings
    int64_t *offsets
    int64_t n_steps
    int64_t n_constants
    int64_t n_codes
    int64_t n_bytes
    int64_t n_strings
    scan *scans
    int32_t *patterns  # the string of each
    double *weights  # the points of each, or none
    selector *selectors
    rule_filter *filters
    int32_t *entries  # where each rule of a selector begins
    uint64_t *masks
    int64_t n_scans
    int64_t n_patterns
    int64_t n_weights
    int64_t n_selectors
    int64_t n_filters
    int64_t n_entries
    int64_t n_masks


cdef void *_copied(object array, str formats, Py_ssize_t itemsize, int64_t *count) except NULL:
    """A copy of a flat array: nobody can change it afterwards."""
    cdef Py_buffer view
    cdef void *copy
    PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
    try:
        kind = "B" if view.format is NULL else (<bytes> view.format).decode()
        if view.ndim != 1 or view.itemsize != itemsize or kind not in formats:
            raise ValueError(f"expected a flat array of {itemsize}-byte {formats[0]!r}, got {kind!r}")
        copy = PyMem_Malloc(view.len if view.len else 1)
        if copy is NULL:
            raise MemoryError()
        memcpy(copy, view.buf, view.len)
        count[0] = view.len // itemsize
        return copy
    finally:
        PyBuffer_Release(&view)


cdef inline double _finite(double x) noexcept nogil:
    return x if isfinite(x) else NAN


cdef int select(
    const program *p, const instruction *step, const edgeml_frame *frame, int64_t row, seen *looked, selected *to
) except -1 nogil:
    """Finds the rules of a selector that are worth asking for a row."""
    cdef const selector *s = p.selectors + step.a
    cdef const rule_filter *f
    cdef const uint64_t *masks
    cdef const edgeml_text *text
    cdef int64_t i, n_words = (s.n_rules + 63) >> 6, region
    for i in range(n_words):
        to.bits[i] = ~(<uint64_t> 0)
    if s.n_rules & 63:
        to.bits[n_words - 1] = ((<uint64_t> 1) << (s.n_rules & 63)) - 1
    to.word, to.n_words, to.entries, to.after = 0, n_words, p.entries + s.entry, step.no
    for i in range(s.first, s.first + s.n_filters):
        f = p.filters + i
        masks = p.masks + f.mask
        if f.kind == FILTER_NUMBER:
            region = region_of(p.constants + f.first, f.count, frame.numbers[f.column * frame.capacity + row])
            keep(to.bits, masks + region * n_words, n_words)
        elif f.kind == FILTER_CODE:
            region = code_region(f.count, frame.codes[f.column * frame.capacity + row], EDGEML_MISSING)
            keep(to.bits, masks + region * n_words, n_words)
        elif any_beyond(to.bits, masks + f.count * n_words, n_words):
            # Only where a word would decide about a rule is the text looked through.
            text = frame.texts + (p.scans[f.column].column * frame.capacity + row)
            if text.length < 0:
                keep(to.bits, masks + f.count * n_words, n_words)
            else:
                look(p.scans, f.column, frame.arena + text.offset, text.length, looked)
                keep_found(to.bits, masks, looked.found, f.first, f.count, n_words)
    return 0


@cython.cdivision(True)  # IEEE division: what is not finite becomes missing
cdef int32_t _run(const program *p, int32_t start, const edgeml_frame *frame, int64_t row) except? FAILED nogil:
    """The target that row ends at; FAILED, with an exception, where a matcher of regular expressions raised one.

    Why nothing here reads or writes out of bounds: RuleProgram has checked that every column is below the counts that
    the caller compared with the frame's, that b and count lie within their array (for patterns: within
    those of the scan, of which there are at most MAX_PATTERNS, and each has a weight where one is read), that targets
    lead forward to an instruction, and that on every way to an instruction the stack holds the same number of values,
    among them what it pops, and never more than MAX_STACK. Of a selector it has checked that its filters, entries and
    masks are all there, and that its entries lead forward, with nothing on the stack. It ends: only a selector leads back, to each of its rules once, and the next selector is further on.
    """
    cdef double stack[MAX_STACK]
    cdef int32_t at = start, kind, code
    cdef int64_t top = 0, length, found
    cdef double x, y
    cdef bint holds
    cdef const instruction *step
    cdef const edgeml_text *text
    cdef seen looked
    cdef selected chosen
    chosen.word = chosen.n_words = 0
    chosen.after = -1
    if p.n_scans:
        memset(looked.done, 0, sizeof(looked.done))
        memset(looked.found, 0, ((p.n_patterns + 63) >> 6) * sizeof(uint64_t))
    while True:
        if at < 0:
            if at != NEXT:
                return at
            top = 0
            at = next_selected(&chosen)
            continue
        step = p.steps + at
        kind = step.kind
        if kind == LESS_CONSTANT:
            x = frame.numbers[step.a * frame.capacity + row]
            holds = (x < step.low) ^ step.flip and x == x
        elif kind == AT_MOST_CONSTANT:
            x = frame.numbers[step.a * frame.capacity + row]
            holds = (x <= step.low) ^ step.flip and x == x
        elif kind == EQUAL_CONSTANT:
            x = frame.numbers[step.a * frame.capacity + row]
            holds = (x == step.low) ^ step.flip and x == x
        elif kind == LESS_COLUMN:
            x = frame.numbers[step.a * frame.capacity + row]
            y = frame.numbers[step.b * frame.capacity + row]
            holds = (x < y) ^ step.flip and x == x and y == y
        elif kind == AT_MOST_COLUMN:
            x = frame.numbers[step.a * frame.capacity + row]
            y = frame.numbers[step.b * frame.capacity + row]
            holds = (x <= y) ^ step.flip and x == x and y == y
        elif kind == EQUAL_COLUMN:
            x = frame.numbers[step.a * frame.capacity + row]
            y = frame.numbers[step.b * frame.capacity + row]
            holds = (x == y) ^ step.flip and x == x and y == y
        elif kind == WITHIN:
            x = frame.numbers[step.a * frame.capacity + row]
            holds = (step.low <= x and x <= step.high) ^ step.flip and x == x
        elif kind == NUMBER_IN:
            x = frame.numbers[step.a * frame.capacity + row]
            holds = x == x and has_number(p.constants + step.b, step.count, x) ^ step.flip
        elif kind == NUMBER_MISSING:
            x = frame.numbers[step.a * frame.capacity + row]
            holds = (x != x) ^ step.flip
        elif kind == CODE_EQUAL:
            code = frame.codes[step.a * frame.capacity + row]
            holds = (code == step.b) ^ step.flip and code != EDGEML_MISSING
        elif kind == CODE_IN:
            code = frame.codes[step.a * frame.capacity + row]
            if code < 0:
                holds = code != EDGEML_MISSING and step.flip
            elif step.mask:
                holds = (code < 64 and (step.mask >> (code & 63)) & 1 != 0) ^ step.flip
            else:
                holds = has_code(p.codes + step.b, step.count, code) ^ step.flip
        elif kind == CODE_MISSING:
            code = frame.codes[step.a * frame.capacity + row]
            holds = (code == EDGEML_MISSING) ^ step.flip
        else:
            if kind <= TOP_MISSING:  # TOP_...: a test of what was reckoned
                top -= 1
                y = stack[top]
                if kind == TOP_MISSING:
                    holds = (y != y) ^ step.flip
                elif kind == TOP_WITHIN:  # surely not so where one end is surely not kept, whatever the other is
                    top -= 2
                    x = stack[top]
                    holds = x < stack[top + 1] or x > y if step.flip else stack[top + 1] <= x and x <= y
                elif kind == TOP_IN:
                    holds = y == y and has_number(p.constants + step.b, step.count, y) ^ step.flip
                else:
                    top -= 1
                    x = stack[top]
                    if kind == TOP_LESS:
                        holds = x < y
                    elif kind == TOP_AT_MOST:
                        holds = x <= y
                    else:
                        holds = x == y
                    holds = holds ^ step.flip and x == x and y == y
            elif kind == TEXT_FOUND or kind == TEXT_FIRST:
                text = frame.texts + (p.scans[step.a].column * frame.capacity + row)
                holds = text.length >= 0
                if holds:
                    look(p.scans, step.a, frame.arena + text.offset, text.length, &looked)
                    found = first_found(looked.found, step.b, step.count)
                    holds = (found >= 0) ^ step.flip
                    if holds and kind == TEXT_FIRST:
                        return step.yes - <int32_t> found
            elif kind == SELECT:
                select(p, step, frame, row, &looked, &chosen)
                at = NEXT
                continue
            elif kind <= TEXT_MISSING:
                text = frame.texts + (step.a * frame.capacity + row)
                length = text.length
                if kind == TEXT_MISSING:
                    holds = (length < 0) ^ step.flip
                elif kind == TEXT_IN:
                    holds = length >= 0 and has_text(
                        p.strings, p.offsets, step.b, step.count, frame.arena + text.offset, length
                    ) ^ step.flip
                else:
                    holds = length >= 0 and text_holds(
                        kind - TEXT_EQUAL, frame.arena + text.offset, length,
                        p.strings + p.offsets[step.b], p.offsets[step.b + 1] - p.offsets[step.b],
                    ) ^ step.flip
            elif kind <= ADD_FOUND:  # adds to what is on the stack
                holds = True
                if kind == ADD_POINTS:
                    stack[top - 1] = _finite(stack[top - 1] + step.low)
                else:
                    text = frame.texts + (p.scans[step.a].column * frame.capacity + row)
                    if text.length >= 0:
                        look(p.scans, step.a, frame.arena + text.offset, text.length, &looked)
                        x = weights_found(looked.found, p.weights, step.b, step.count)
                        stack[top - 1] = _finite(stack[top - 1] + x)
            else:  # reckons, and goes on with the next instruction
                if kind == PUSH_COLUMN:
                    stack[top] = frame.numbers[step.a * frame.capacity + row]
                    top += 1
                elif kind == PUSH_CONSTANT:
                    stack[top] = step.low
                    top += 1
                elif kind == PUSH_COUNT:
                    text = frame.texts + (p.scans[step.a].column * frame.capacity + row)
                    if text.length >= 0:
                        look(p.scans, step.a, frame.arena + text.offset, text.length, &looked)
                    stack[top] = looked.counted[step.a] if text.length >= 0 else NAN
                    top += 1
                elif kind == NEGATE:
                    stack[top - 1] = -stack[top - 1]
                elif kind == ABSOLUTE:
                    stack[top - 1] = fabs(stack[top - 1])
                else:
                    top -= 1
                    x = stack[top - 1]
                    y = stack[top]
                    if kind == ADD:
                        x = _finite(x + y)
                    elif kind == SUBTRACT:
                        x = _finite(x - y)
                    elif kind == MULTIPLY:
                        x = _finite(x * y)
                    elif kind == DIVIDE:
                        x = _finite(x / y)
                    elif x != x or y != y:
                        x = NAN
                    elif kind == SMALLER:
                        x = y if y < x else x
                    else:
                        x = y if y > x else x
                    stack[top - 1] = x
                at += 1
                continue
        at = step.yes if holds else step.no


@cython.final
cdef class RuleProgram:
    cdef program p
    cdef int32_t start
    cdef int64_t n_rules
    cdef int64_t n_numbers
    cdef int64_t n_categories
    cdef int64_t n_texts
    cdef int64_t longest
    cdef int64_t table_bytes
    cdef tuple matchers  # keeps what the scans point to

    def __cinit__(
        self, *, start, code, constants, codes, strings, offsets, n_rules, n_numbers, n_categories, n_texts,
        scans=b"", patterns=b"", tuple matchers=(), weights=b"", selectors=b"", filters=b"", entries=b"", masks=b""
    ):
        cdef int64_t n_fields = 0, n_offsets = 0
        cdef int32_t *fields = NULL
        self.n_rules, self.n_numbers, self.n_categories, self.n_texts = n_rules, n_numbers, n_categories, n_texts
        if min(n_rules, n_numbers, n_categories, n_texts) < 0 or n_rules > MAX_INSTRUCTIONS:
            raise ValueError("a count is out of range")
        self.p.constants = <double *> _copied(constants, "d", 8, &self.p.n_constants)
        self.p.codes = <int32_t *> _copied(codes, "il", 4, &self.p.n_codes)
        self.p.strings = <char *> _copied(strings, "B", 1, &self.p.n_bytes)
        self.p.offsets = <int64_t *> _copied(offsets, "lq", 8, &n_offsets)
        self.p.n_strings = n_offsets - 1
        self._check_pools()
        self.matchers = matchers
        if len(scans):
            self._make_scans(scans, patterns)
        if len(weights):
            self.p.weights = <double *> _copied(weights, "d", 8, &self.p.n_weights)
            self._check_weights()
        if len(selectors):
            self._make_selectors(selectors, filters, entries, masks)
        fields = <int32_t *> _copied(code, "il", 4, &n_fields)
        try:
            if n_fields % N_FIELDS or n_fields // N_FIELDS > MAX_INSTRUCTIONS:
                raise ValueError(f"code has {n_fields} fields: not {N_FIELDS} for each instruction, or too many")
            self.start = start
            if self.start >= n_fields // N_FIELDS or self.start < -1 - self.n_rules:
                raise ValueError(f"start {start} is no target")
            self._load(fields, n_fields // N_FIELDS)
        finally:
            PyMem_Free(fields)

    def __dealloc__(self):
        cdef int64_t i
        for i in range(self.p.n_scans):
            edgeml_words_free(self.p.scans[i].words)
            edgeml_parts_free(self.p.scans[i].parts)
        PyMem_Free(self.p.scans)
        PyMem_Free(self.p.patterns)
        PyMem_Free(self.p.weights)
        PyMem_Free(self.p.selectors)
        PyMem_Free(self.p.filters)
        PyMem_Free(self.p.entries)
        PyMem_Free(self.p.masks)
        PyMem_Free(self.p.steps)
        PyMem_Free(self.p.constants)
        PyMem_Free(self.p.codes)
        PyMem_Free(self.p.strings)
        PyMem_Free(self.p.offsets)

    cdef int _check_pools(self) except -1:
        cdef int64_t i
        if self.p.n_strings < 0 or self.p.offsets[0] != 0 or self.p.offsets[self.p.n_strings] != self.p.n_bytes:
            raise ValueError("offsets must go from 0 to the length of strings")
        for i in range(self.p.n_strings):
            if self.p.offsets[i] > self.p.offsets[i + 1]:
                raise ValueError(f"string {i} ends before it begins")
        for i in range(self.p.n_constants):
            if not isfinite(self.p.constants[i]):
                raise ValueError(f"constant {i} is not finite")
        return 0

    cdef int _check_weights(self) except -1:
        cdef int64_t i
        if self.p.n_weights != self.p.n_patterns:
            raise ValueError(f"{self.p.n_weights} weights for {self.p.n_patterns} patterns")
        for i in range(self.p.n_weights):
            if not isfinite(self.p.weights[i]):
                raise ValueError(f"weight {i} is not finite")
        return 0

    cdef int _make_scans(self, object scans, object patterns) except -1:
        cdef int64_t n = 0, i, n_matchers = 0, bytes_left = EDGEML_MAX_SETS, cells_left = EDGEML_MAX_CELLS
        cdef int32_t *given = <int32_t *> _copied(scans, "il", 4, &n)
        try:
            self.p.patterns = <int32_t *> _copied(patterns, "il", 4, &self.p.n_patterns)
            if n % 4 or n // 4 > MAX_SCANS or self.p.n_patterns > MAX_PATTERNS:
                raise ValueError(f"{n} fields of scans are not 4 for each, or there are too many scans or patterns")
            for i in range(self.p.n_patterns):
                if not 0 <= self.p.patterns[i] < self.p.n_strings:
                    raise ValueError(f"pattern {i}: string {self.p.patterns[i]} of {self.p.n_strings}")
            self.p.scans = <scan *> PyMem_Malloc(n // 4 * sizeof(scan))
            if self.p.scans is NULL:
                raise MemoryError()
            memset(self.p.scans, 0, n // 4 * sizeof(scan))
            self.p.n_scans = n // 4
            for i in range(self.p.n_scans):
                if not 0 <= given[4 * i + 1] < self.n_texts:
                    raise ValueError(f"scan {i}: column {given[4 * i + 1]} of {self.n_texts}")
                if not 0 <= given[4 * i + 2] <= self.p.n_patterns - given[4 * i + 3] or given[4 * i + 3] < 0:
                    raise ValueError(f"scan {i}: {given[4 * i + 3]} patterns from {given[4 * i + 2]} on")
                if given[4 * i] == SCAN_EXPRESSIONS:
                    if n_matchers >= len(self.matchers) or not callable(self.matchers[n_matchers]):
                        raise ValueError(f"scan {i}: there is no matcher for it")
                    self.p.scans[i].matcher = <PyObject *> self.matchers[n_matchers]
                    n_matchers += 1
                make_scan(
                    self.p.scans + i, i, given + 4 * i, self.p.strings, self.p.offsets, self.p.patterns,
                    &bytes_left, &cells_left)
            self.table_bytes = EDGEML_MAX_SETS - bytes_left + 4 * (EDGEML_MAX_CELLS - cells_left)
        finally:
            PyMem_Free(given)
        return 0

    cdef int _make_selectors(self, object selectors, object filters, object entries, object masks) except -1:
        cdef int64_t i, n = 0
        self.p.selectors = <selector *> _copied(selectors, "lq", 8, &n)
        self.p.n_selectors = n // OF_SELECTOR
        if n % OF_SELECTOR:
            raise ValueError(f"{n} fields of selectors are not {OF_SELECTOR} for each")
        self.p.filters = <rule_filter *> _copied(filters, "lq", 8, &n)
        self.p.n_filters = n // OF_FILTER
        if n % OF_FILTER:
            raise ValueError(f"{n} fields of filters are not {OF_FILTER} for each")
        self.p.entries = <int32_t *> _copied(entries, "il", 4, &self.p.n_entries)
        self.p.masks = <uint64_t *> _copied(masks, "LQ", 8, &self.p.n_masks)
        if self.p.n_masks > MAX_MASKS:
            raise ValueError(f"{self.p.n_masks} words of masks; at most {MAX_MASKS}")
        for i in range(self.p.n_selectors):
            self._check_selector(i, self.p.selectors + i)
        self.table_bytes += 8 * self.p.n_masks
        return 0

    cdef int _check_selector(self, int64_t i, const selector *s) except -1:
        cdef int64_t j, n_words = (s.n_rules + 63) >> 6
        if not 1 <= s.n_rules <= MAX_SELECTED or not 0 <= s.entry <= self.p.n_entries - s.n_rules:
            raise ValueError(f"selector {i}: {s.n_rules} rules, entries from {s.entry} on of {self.p.n_entries}")
        if s.n_filters < 0 or not 0 <= s.first <= self.p.n_filters - s.n_filters:
            raise ValueError(f"selector {i}: {s.n_filters} filters from {s.first} on of {self.p.n_filters}")
        for j in range(s.first, s.first + s.n_filters):
            self._check_filter(j, self.p.filters + j, n_words)
        return 0

    cdef int _check_filter(self, int64_t j, const rule_filter *f, int64_t n_words) except -1:
        cdef int64_t columns, k
        if not 0 <= f.kind < N_FILTER_KINDS or not 0 <= f.count <= MAX_PATTERNS:
            raise ValueError(f"filter {j}: unknown kind {f.kind}, or {f.count} is out of range")
        columns = (self.n_numbers, self.n_categories, self.p.n_scans)[f.kind]
        if not 0 <= f.column < columns:
            raise ValueError(f"filter {j}: column or scan {f.column} of {columns}")
        if not 0 <= f.mask <= self.p.n_masks - mask_rows(f) * n_words:
            raise ValueError(f"filter {j}: masks from {f.mask} on of {self.p.n_masks}")
        if f.kind == FILTER_NUMBER:
            if not 0 <= f.first <= self.p.n_constants - f.count:
                raise ValueError(f"filter {j}: bounds from {f.first} on of {self.p.n_constants}")
            for k in range(f.first, f.first + f.count - 1):
                if not self.p.constants[k] < self.p.constants[k + 1]:
                    raise ValueError(f"filter {j}: its bounds do not ascend")
        elif f.kind == FILTER_FOUND:
            k = self.p.scans[f.column].first
            if f.count < 1 or not k <= f.first <= k + self.p.scans[f.column].count - f.count:
                raise ValueError(f"filter {j}: {f.count} patterns from {f.first} on are not of scan {f.column}")
        return 0

    cdef int _load(self, const int32_t *fields, int64_t n) except -1:
        """Copies the instructions and checks them, each with as many values on the stack as each way to it brings."""
        cdef int64_t i, j, depth
        cdef instruction *step
        cdef const int32_t *given
        cdef int64_t *ways = <int64_t *> PyMem_Malloc((n if n else 1) * sizeof(int64_t))
        self.p.steps = <instruction *> PyMem_Malloc((n if n else 1) * sizeof(instruction))
        if ways is NULL or self.p.steps is NULL:
            PyMem_Free(ways)
            raise MemoryError()
        self.p.n_steps = n
        try:
            for i in range(n):
                ways[i] = -1  # no way leads there yet; ways lead forward only
            if self.start >= 0:
                ways[self.start] = 0
            for i in range(n):
                given = fields + i * N_FIELDS
                step = self.p.steps + i
                step.kind, step.flip, step.a, step.b = given[0], given[1], given[2], given[3]
                step.count, step.yes, step.no = given[4], given[5], given[6]
                step.low = step.high = 0.0
                step.mask = 0
                if not 0 <= step.kind < N_KINDS or not 0 <= step.flip <= 1:
                    raise ValueError(f"instruction {i}: unknown kind {step.kind}, or flip {step.flip} is not 0 or 1")
                self._check_operands(i, step)
                depth = ways[i]
                if depth >= 0:
                    depth += _effect(step.kind)
                    if depth > MAX_STACK or depth < (1 if step.kind >= ADD_POINTS else 0):
                        raise ValueError(f"instruction {i}: the stack would hold {depth} values")
                if step.kind == SELECT:
                    if depth > 0:
                        raise ValueError(f"instruction {i}: a selector finds {depth} values on the stack")
                    for j in range(self.p.selectors[step.a].entry, self._entries_end(step)):
                        self._lead(i, self.p.entries[j], depth, ways)
                    self._lead(i, step.no, depth, ways)
                elif step.kind >= PUSH_COLUMN:
                    if i + 1 == n:
                        raise ValueError("the last instruction must be a test")
                    self._lead(i, i + 1, depth, ways)
                else:
                    self._lead(i, step.yes, depth, ways)
                    self._lead(i, step.no, depth, ways)
            self._measure(ways)
        finally:
            PyMem_Free(ways)
        return 0

    cdef int64_t _entries_end(self, const instruction *step) noexcept:
        return self.p.selectors[step.a].entry + self.p.selectors[step.a].n_rules

    cdef int _lead(self, int64_t i, int64_t target, int64_t depth, int64_t *ways) except -1:
        """Notes that instruction i leads to a target, with so many values on the stack; below 0: nothing leads to i."""
        if target == NEXT:
            return 0
        if target < -1 - self.n_rules or 0 <= target <= i or target >= self.p.n_steps:
            raise ValueError(f"instruction {i}: target {target} leads backward or nowhere")
        if target >= 0 and depth >= 0:
            if ways[target] >= 0 and ways[target] != depth:
                raise ValueError(
                    f"instruction {i}: target {target} is reached with {depth} and with {ways[target]} values on the stack"
                )
            ways[target] = depth
        return 0

    cdef int _measure(self, int64_t *lengths) except -1:
        """Instructions on the longest way through the program, from its end to its start."""
        cdef int64_t i, j, yes, no
        cdef const instruction *step
        for i in range(self.p.n_steps - 1, -1, -1):
            step = self.p.steps + i
            if step.kind == SELECT:
                no = lengths[step.no] if step.no >= 0 else 0
                yes = self.p.selectors[step.a].n_filters + no
                for j in range(self.p.selectors[step.a].entry, self._entries_end(step)):
                    yes += lengths[self.p.entries[j]] if self.p.entries[j] >= 0 else 0
            elif step.kind >= PUSH_COLUMN:
                yes = no = lengths[i + 1]
            else:
                yes = lengths[step.yes] if step.yes >= 0 else 0
                no = lengths[step.no] if step.no >= 0 else 0
            lengths[i] = 1 + (yes if yes > no else no)
        self.longest = lengths[self.start] if self.start >= 0 else 0
        return 0

    cdef int _check_operands(self, int64_t i, instruction *step) except -1:
        cdef int32_t kind = step.kind
        cdef int64_t columns = -1, pool = -1, width = 1, first, j
        if kind <= NUMBER_MISSING or kind == PUSH_COLUMN:
            columns = self.n_numbers
        elif CODE_EQUAL <= kind <= CODE_MISSING:
            columns = self.n_categories
        elif kind == TEXT_FOUND or kind == TEXT_FIRST or kind == ADD_FOUND or kind == PUSH_COUNT:
            columns = self.p.n_scans
        elif kind == SELECT:
            columns = self.p.n_selectors
        elif TEXT_EQUAL <= kind <= TEXT_MISSING:
            columns = self.n_texts
        if columns >= 0 and not 0 <= step.a < columns:
            what = "scan" if kind in (TEXT_FOUND, TEXT_FIRST, ADD_FOUND, PUSH_COUNT) else "column"
            what = "selector" if kind == SELECT else what
            raise ValueError(f"instruction {i}: {what} {step.a} of {columns}")
        if kind == PUSH_COUNT and self.p.scans[step.a].kind < COUNT_WORDS:
            raise ValueError(f"instruction {i}: scan {step.a} counts nothing")
        if kind == ADD_FOUND and self.p.n_weights == 0:
            raise ValueError(f"instruction {i}: there are no weights")
        if kind == TEXT_FOUND or kind == TEXT_FIRST or kind == ADD_FOUND:
            first = self.p.scans[step.a].first
            pool = self.p.scans[step.a].count
            if step.count < 1 or not first <= step.b <= first + pool - step.count:
                raise ValueError(f"instruction {i}: {step.count} patterns from {step.b} on are not of scan {step.a}")
            if kind == TEXT_FIRST and (step.flip or step.yes > -2 or step.yes - step.count < -2 - self.n_rules):
                raise ValueError(f"instruction {i}: no rule for each of {step.count} patterns")
            return 0
        if LESS_COLUMN <= kind <= EQUAL_COLUMN:
            pool = self.n_numbers
        elif kind <= WITHIN or kind in (NUMBER_IN, TOP_IN, ADD_POINTS, PUSH_CONSTANT):
            pool = self.p.n_constants
        elif kind == CODE_IN:
            pool = self.p.n_codes
        elif TEXT_EQUAL <= kind <= TEXT_ENDS_FOLDED:
            pool = self.p.n_strings
        if kind == WITHIN:
            width = 2
        elif kind in (NUMBER_IN, TOP_IN, CODE_IN, TEXT_IN):
            width = step.count
            if width < 1:
                raise ValueError(f"instruction {i}: an empty set")
        if pool >= 0 and not 0 <= step.b <= pool - width:
            raise ValueError(f"instruction {i}: operand {step.b} and {width} values of {pool}")
        if kind == CODE_EQUAL and step.b < 0:
            raise ValueError(f"instruction {i}: code {step.b} is negative")
        if kind <= EQUAL_CONSTANT or kind == ADD_POINTS or kind == PUSH_CONSTANT:
            step.low = self.p.constants[step.b]
        elif kind == WITHIN:
            step.low, step.high = self.p.constants[step.b], self.p.constants[step.b + 1]
        elif kind in (NUMBER_IN, TOP_IN, CODE_IN, TEXT_IN):
            for j in range(step.b, step.b + step.count - 1):
                if not self._ascends(kind, j):
                    raise ValueError(f"instruction {i}: the set is not sorted, or a value stands twice")
            if kind == CODE_IN:
                if self.p.codes[step.b] < 0:
                    raise ValueError(f"instruction {i}: code {self.p.codes[step.b]} is negative")
                if self.p.codes[step.b + step.count - 1] < 64:
                    for j in range(step.b, step.b + step.count):
                        step.mask |= (<uint64_t> 1) << self.p.codes[j]
        return 0

    cdef bint _ascends(self, int32_t kind, int64_t j) noexcept:
        cdef const int64_t *at = self.p.offsets + j
        if kind == CODE_IN:
            return self.p.codes[j] < self.p.codes[j + 1]
        if kind == TEXT_IN:
            return text_order(self.p.strings + at[0], at[1] - at[0], self.p.strings + at[1], at[2] - at[1]) < 0
        return self.p.constants[j] < self.p.constants[j + 1]

    cdef inline const edgeml_frame *_frame(self, object capsule) except NULL:
        cdef const edgeml_frame *frame = <const edgeml_frame *> PyCapsule_GetPointer(capsule, EDGEML_FRAME_CAPSULE)
        if (
            frame.n_numbers < self.n_numbers
            or frame.n_categories < self.n_categories
            or frame.n_texts < self.n_texts
        ):
            raise ValueError("the frame has fewer columns than the rules read; fill it with the same schema's reader")
        return frame

    @property
    def cost(self):
        cdef int64_t pools = 8 * (self.p.n_constants + self.p.n_weights + self.p.n_strings + 1)
        pools += 4 * (self.p.n_codes + self.p.n_patterns) + self.p.n_bytes + self.p.n_scans * sizeof(scan)
        size = self.p.n_steps * sizeof(instruction) + pools + self.table_bytes
        return self.p.n_steps, self.longest, self.p.n_scans, size

    def match_one(self, capsule):
        # One row takes less time than it takes to give up the GIL.
        cdef const edgeml_frame *frame = self._frame(capsule)
        if frame.n_rows < 1:
            raise ValueError("the frame has no row")
        return -2 - _run(&self.p, self.start, frame, 0)

    def match(self, capsule, out):
        cdef const edgeml_frame *frame = self._frame(capsule)
        cdef Py_buffer view
        cdef int64_t row, hits = 0
        cdef int32_t rule
        cdef int32_t *rules
        PyObject_GetBuffer(out, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | PyBUF_WRITABLE)
        try:
            if view.ndim != 1 or view.itemsize != 4 or view.format[0] not in b"il":
                raise ValueError("out must be a flat array of int32")
            if view.shape[0] != frame.n_rows:
                raise ValueError(f"out has {view.shape[0]} values for {frame.n_rows} rows")
            rules = <int32_t *> view.buf
            with nogil:
                for row in range(frame.n_rows):
                    rule = -2 - _run(&self.p, self.start, frame, row)
                    rules[row] = rule
                    hits += rule >= 0
        finally:
            PyBuffer_Release(&view)
        return hits


cdef inline int64_t _effect(int32_t kind) noexcept:
    """By how much an instruction changes the depth of the stack."""
    if PUSH_COLUMN <= kind <= PUSH_COUNT:
        return 1
    if kind == TOP_IN or kind == TOP_MISSING or kind >= ADD and kind != NEGATE and kind != ABSOLUTE:
        return -1
    if TOP_LESS <= kind <= TOP_EQUAL:
        return -2
    if kind == TOP_WITHIN:
        return -3
    return 0


def fold(bytes text not None):
    cdef const uint8_t *p = text
    cdef const uint8_t *end = p + len(text)
    cdef uint8_t one[4]
    cdef int width = 0
    parts = bytearray()
    while p < end:
        parts += (<char *> one)[:edgeml_fold_at(p, end, one, &width)]
        p += width
    return bytes(parts)
