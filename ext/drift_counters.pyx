"""DriftCounters and LaneCounters. Documentation: edgeml/kernels/drift_counters.pyi; the loops are in drift_counts.h.

1. A layout is checked once, column by column: after that no record, whatever is in it, counts outside of the block.
2. What a batch adds is found first, in scratch of its own and without the GIL; then it is added under the lock. A single
   row is copied under the lock, and counted with the next few; whoever looks counts first what waits.
3. The lock is held for a microsecond at most and never while Python runs. It is needed beside the GIL, which batches do
   not hold.
"""

cimport cython
from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.math cimport INFINITY, isfinite
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset


cdef extern from "frame.h":
    const char *EDGEML_FRAME_CAPSULE

    ctypedef struct edgeml_text:
        pass

    ctypedef struct edgeml_frame:
        int64_t n_rows
        int64_t capacity
        int64_t n_numbers
        int64_t n_categories
        int64_t n_texts
        edgeml_text *texts
        const char *arena


cdef extern from "drift_counts.h":
    enum:
        EDGEML_C_NUMBER
        EDGEML_C_CATEGORY
        EDGEML_C_TEXT
        EDGEML_C_WORDS
        EDGEML_C_TIER
        EDGEML_C_LABEL
        EDGEML_C_CONFIDENCE
        EDGEML_C_VALUE
        EDGEML_C_COUNT
        EDGEML_C_MAX_EDGES
        EDGEML_C_TEXT_BINS
        EDGEML_C_SHARES
        EDGEML_C_VOCABULARY_BITS
        EDGEML_TIER_RULE
        EDGEML_TIER_MODEL
        EDGEML_TIER_FALLBACK
        EDGEML_TIER_MIDDLE

    ctypedef struct edgeml_drift_column:
        int32_t kind, slot, start, edge, n_edges, byte, n_bytes, sum

    ctypedef struct edgeml_drift_edges:
        double *edges

    ctypedef struct edgeml_drift_layout:
        int64_t n_columns
        int32_t size
        int64_t *ends
        const edgeml_drift_column *columns
        const edgeml_drift_edges *edges
        const uint8_t *bytes
        const int64_t *label_values
        int64_t n_label_values
        const int32_t *rule_labels
        int64_t n_rules
        int64_t fallback_label

    ctypedef struct edgeml_drift_numbers:
        const void *data
        int64_t columns
        char type

    ctypedef struct edgeml_drift_answers:
        const uint8_t *tiers
        const int32_t *rules
        const int64_t *labels
        edgeml_drift_numbers scores
        edgeml_drift_numbers values
        int raw_labels
        int from_scores

    ctypedef struct edgeml_drift_rows:
        pass

    ctypedef struct edgeml_drift_waiting:
        int64_t n, capacity
        int64_t n_numbers, n_categories, n_values
        double *numbers
        int32_t *codes
        uint8_t *tiers
        int64_t *labels
        double *most
        double *values
        int32_t *places
        double *sums

    ctypedef struct edgeml_drift_lock:
        pass

    edgeml_drift_rows edgeml_drift_frame_rows(const edgeml_frame *) nogil
    int64_t edgeml_drift_label(const edgeml_drift_layout *, const edgeml_drift_answers *, int64_t row) nogil
    double edgeml_drift_number(const edgeml_drift_numbers *, int64_t row, int64_t column) nogil
    double edgeml_drift_most(const edgeml_drift_answers *, int64_t row) nogil
    int32_t edgeml_drift_text_place(
        const edgeml_drift_layout *, const edgeml_drift_column *, const edgeml_text *, const char *arena) nogil
    void edgeml_drift_settle(
        const edgeml_drift_layout *, edgeml_drift_waiting *, int64_t *counts, double *totals, int64_t n_sums) nogil
    void edgeml_drift_take(
        const edgeml_drift_layout *, edgeml_drift_waiting *, const edgeml_frame *, const edgeml_drift_answers *,
        int64_t label, double most, const int32_t *texts, int64_t *counts, double *totals, int64_t n_sums) nogil

    void edgeml_drift_acquire(edgeml_drift_lock *) nogil
    void edgeml_drift_release(edgeml_drift_lock *) nogil
    edgeml_drift_edges *edgeml_drift_new_edges(int64_t n) nogil
    void edgeml_drift_fill(edgeml_drift_edges *, const double *edges, int32_t n) nogil
    int32_t edgeml_drift_next_word(const uint8_t *text, int64_t length, int64_t *at) nogil
    int64_t edgeml_drift_places(
        const edgeml_drift_layout *, const edgeml_drift_rows *, const edgeml_drift_answers *, int64_t first, int64_t m,
        int32_t *places, double *sums) nogil
    void edgeml_drift_add(
        int64_t *counts, double *totals, const int32_t *places, int64_t n_places, const double *sums,
        int64_t n_sums) nogil


KINDS = ("number", "category", "text", "words", "tier", "label", "confidence", "value")
COLUMN_FIELDS = sizeof(edgeml_drift_column) // sizeof(int32_t)
VOCABULARY_BITS = 1 << EDGEML_C_VOCABULARY_BITS
assert len(KINDS) == EDGEML_C_COUNT

cdef enum:
    CHUNK = 8192       # places found before they are added: 32 KB of scratch stay in the first-level cache
    LARGEST = 1 << 28
    MOST_SLOTS = 1 << 20  # of a bank of the Frame: room for a row of all of them is made
    VOCABULARY_BYTES = 1 << 13
    WAITING = 32       # single rows that are counted together
    WAITING_BYTES = 1 << 16


cdef void *_copied(object array, str formats, Py_ssize_t itemsize, int64_t *count, str name) except NULL:
    """A copy of a flat array; its number of items."""
    cdef Py_buffer view
    cdef void *copy
    PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
    try:
        if view.ndim != 1 or view.itemsize != itemsize or view.format.decode() not in formats:
            raise ValueError(f"{name}: not a flat array of the right type")
        if view.len > LARGEST:
            raise ValueError(f"{name}: too long")
        count[0] = view.len // itemsize
        copy = malloc(view.len if view.len > 0 else 1)
        if copy == NULL:
            raise MemoryError
        if view.len > 0:
            memcpy(copy, view.buf, view.len)
        return copy
    finally:
        PyBuffer_Release(&view)


def word_buckets(text not None):
    cdef const uint8_t[::1] given = text
    cdef int64_t at = 0, length = given.shape[0]
    cdef int32_t bucket
    found = []
    while length > 0:
        bucket = edgeml_drift_next_word(&given[0], length, &at)
        if bucket < 0:
            break
        found.append(bucket)
    return found


@cython.final
cdef class _Numbers:
    """A buffer of scores, labels or values, held for as long as it is read."""

    cdef Py_buffer view
    cdef bint held
    cdef edgeml_drift_numbers numbers

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)

    cdef int hold(self, object array, int64_t rows, str name) except -1:
        """Rows of numbers: [rows] or [rows, k]; where rows is 1 also [k]."""
        if array is None:
            return 0
        PyObject_GetBuffer(array, &self.view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
        self.held = True
        kind = self.view.format.decode()
        size = self.view.itemsize
        if not ((kind == "d" and size == 8) or (kind == "f" and size == 4) or (kind in "lq" and size == 8)):
            raise ValueError(f"{name}: neither float64, float32 nor int64")
        if self.view.ndim == 1 and rows == 1:
            self.numbers.columns = self.view.shape[0]
        elif self.view.ndim in (1, 2) and self.view.shape[0] == rows:
            self.numbers.columns = self.view.shape[1] if self.view.ndim == 2 else 1
        else:
            raise ValueError(f"{name}: not one row of numbers for each of {rows} records")
        self.numbers.type = b"q"[0] if kind in "lq" else ord(kind)
        self.numbers.data = self.view.buf
        return 0


@cython.final
cdef class DriftCounters:
    cdef edgeml_drift_layout layout
    cdef edgeml_drift_waiting waiting
    cdef edgeml_drift_lock *lock
    cdef int64_t *block
    cdef double *totals
    cdef void *memory[6]
    cdef bint ready
    cdef readonly int64_t size
    cdef readonly int64_t n_sums
    cdef int64_t n_rows, n_edges, n_tables, n_bytes, n_summed, waiting_bytes
    cdef int64_t n_numbers, n_categories, n_texts

    def __init__(
        self,
        *,
        columns,
        edges,
        codes,
        int64_t size,
        int64_t n_sums,
        label_values,
        rule_labels,
        int64_t fallback_label,
    ):
        if self.lock != NULL:
            raise TypeError("counters are made once")
        cdef int64_t n = 0, at
        cdef edgeml_drift_layout *l = &self.layout
        if not (0 <= size <= LARGEST and 0 <= n_sums <= LARGEST):
            raise ValueError("size or n_sums is out of range")
        self.lock = <edgeml_drift_lock *> calloc(1, sizeof(edgeml_drift_lock))
        self.block = <int64_t *> calloc(size + 1, sizeof(int64_t))
        self.totals = <double *> calloc(max(1, 2 * n_sums), sizeof(double))
        if self.lock == NULL or self.block == NULL or self.totals == NULL:
            raise MemoryError
        edgeml_drift_release(self.lock)
        self.size, self.n_sums, l.size = size, n_sums, <int32_t> size
        self.memory[0] = _copied(columns, "il", sizeof(int32_t), &n, "columns")
        self.memory[1] = _copied(edges, "d", sizeof(double), &self.n_edges, "edges")
        self.memory[2] = _copied(codes, "B", 1, &self.n_bytes, "codes")
        self.memory[3] = _copied(label_values, "lq", sizeof(int64_t), &l.n_label_values, "label_values")
        self.memory[4] = _copied(rule_labels, "il", sizeof(int32_t), &l.n_rules, "rule_labels")
        if n % COLUMN_FIELDS:
            raise ValueError(f"columns: a column has {COLUMN_FIELDS} numbers")
        l.n_columns = n // COLUMN_FIELDS
        l.columns = <edgeml_drift_column *> self.memory[0]
        l.bytes = <uint8_t *> self.memory[2]
        l.label_values = <int64_t *> self.memory[3]
        l.rule_labels = <int32_t *> self.memory[4]
        l.fallback_label = fallback_label
        for at in range(l.n_columns):
            complaint = self._complaint(&l.columns[at])
            if complaint:
                raise ValueError(f"column {at}: {complaint}")
        if self.n_summed != n_sums:
            raise ValueError(f"there are {n_sums} sums for {self.n_summed} columns of numbers")
        self._arrange_edges()
        self._sort()
        self._make_room()
        self.ready = True

    cdef int _sort(self) except -1:
        """Puts the columns of a kind together."""
        cdef edgeml_drift_column *given = <edgeml_drift_column *> self.memory[0]
        cdef edgeml_drift_column *made
        cdef int64_t at, n = 0
        cdef int kind
        made = <edgeml_drift_column *> calloc(max(1, self.layout.n_columns), sizeof(edgeml_drift_column))
        if made == NULL:
            raise MemoryError
        for kind in range(EDGEML_C_COUNT):
            for at in range(self.layout.n_columns):
                if given[at].kind == kind:
                    made[n] = given[at]
                    n += 1
            self.layout.ends[kind] = n
        free(given)
        self.memory[0] = made
        self.layout.columns = made
        return 0

    cdef int _make_room(self) except -1:
        """Memory for the single rows that wait."""
        cdef edgeml_drift_waiting *w = &self.waiting
        cdef const edgeml_drift_column *c
        cdef int64_t at, row
        for at in range(self.layout.n_columns):
            c = &self.layout.columns[at]
            if c.kind == EDGEML_C_VALUE:
                w.n_values = max(w.n_values, c.slot + 1)
        w.n_numbers, w.n_categories = self.n_numbers, self.n_categories
        row = 8 * (w.n_numbers + w.n_values + 2) + 4 * (w.n_categories + self.layout.n_columns) + 1
        w.capacity = max(1, min(WAITING, WAITING_BYTES // row))
        w.numbers = <double *> calloc(w.capacity * w.n_numbers + 1, sizeof(double))
        w.codes = <int32_t *> calloc(w.capacity * w.n_categories + 1, sizeof(int32_t))
        w.tiers = <uint8_t *> calloc(w.capacity, 1)
        w.labels = <int64_t *> calloc(w.capacity, sizeof(int64_t))
        w.most = <double *> calloc(w.capacity, sizeof(double))
        w.values = <double *> calloc(w.capacity * w.n_values + 1, sizeof(double))
        w.places = <int32_t *> calloc(w.capacity * self.layout.n_columns + 1, sizeof(int32_t))
        w.sums = <double *> calloc(2 * self.n_sums + 1, sizeof(double))
        self.waiting_bytes = w.capacity * row + 16 * self.n_sums
        if (
            w.numbers == NULL or w.codes == NULL or w.tiers == NULL or w.labels == NULL
            or w.most == NULL or w.values == NULL or w.places == NULL or w.sums == NULL
        ):
            raise MemoryError
        return 0

    cdef bint _has_edges(self, int32_t kind) noexcept:
        return kind == EDGEML_C_NUMBER or kind == EDGEML_C_CONFIDENCE or kind == EDGEML_C_VALUE

    cdef int _arrange_edges(self) except -1:
        """Puts the edges of each column into the form in which they are searched."""
        cdef edgeml_drift_column *columns = <edgeml_drift_column *> self.memory[0]
        cdef const double *edges = <const double *> self.memory[1]
        cdef edgeml_drift_edges *made
        cdef int64_t at
        for at in range(self.layout.n_columns):
            self.n_tables += self._has_edges(columns[at].kind)
        made = edgeml_drift_new_edges(self.n_tables)
        if made == NULL:
            raise MemoryError
        self.memory[5] = made
        self.layout.edges = made
        self.n_tables = 0
        for at in range(self.layout.n_columns):
            if self._has_edges(columns[at].kind):
                edgeml_drift_fill(&made[self.n_tables], edges + columns[at].edge, columns[at].n_edges)
                columns[at].edge = <int32_t> self.n_tables
                self.n_tables += 1
        free(self.memory[1])
        self.memory[1] = NULL
        return 0

    def __dealloc__(self):
        cdef int at
        free(self.lock)
        free(self.block)
        free(self.totals)
        for at in range(6):
            free(self.memory[at])
        free(self.waiting.numbers)
        free(self.waiting.codes)
        free(self.waiting.tiers)
        free(self.waiting.labels)
        free(self.waiting.most)
        free(self.waiting.values)
        free(self.waiting.places)
        free(self.waiting.sums)

    cdef str _complaint(self, const edgeml_drift_column *c):
        """What is wrong with a column: empty where it stays inside the block; notes what a frame must have."""
        cdef const double *edges
        cdef int64_t bins = 0, i
        if not 0 <= c.kind < EDGEML_C_COUNT:
            return f"there is no kind {c.kind}"
        if c.slot >= MOST_SLOTS:
            return f"slot {c.slot} is beyond {MOST_SLOTS}"
        if min(c.slot, c.start, c.edge, c.n_edges, c.byte, c.n_bytes, c.sum) < 0:
            return "a negative number"
        if <int64_t> c.edge + c.n_edges > self.n_edges:
            return "edges beyond the end"
        if c.n_edges > EDGEML_C_MAX_EDGES:
            return f"more than {EDGEML_C_MAX_EDGES} edges"
        if <int64_t> c.byte + c.n_bytes > self.n_bytes:
            return "codes beyond the end"
        edges = <const double *> self.memory[1] + c.edge
        for i in range(c.n_edges):
            if not -INFINITY < edges[i] < INFINITY:
                return "an edge is not finite"
            if i and not edges[i - 1] < edges[i]:
                return "edges do not rise"
        if c.kind == EDGEML_C_NUMBER or c.kind == EDGEML_C_VALUE:
            bins = c.n_edges + 2
            if c.sum != self.n_summed or c.sum >= self.n_sums:
                return f"sum {c.sum} is not the next of {self.n_sums}"
            self.n_summed += 1
        elif c.kind == EDGEML_C_CONFIDENCE:
            bins = c.n_edges + 1
        elif c.kind == EDGEML_C_TEXT:
            bins = 1 + EDGEML_C_TEXT_BINS
        elif c.kind == EDGEML_C_WORDS:
            bins = 2 + EDGEML_C_SHARES
            if c.n_bytes != VOCABULARY_BYTES:
                return f"a vocabulary has {VOCABULARY_BYTES} bytes"
        elif c.kind == EDGEML_C_TIER:
            if c.slot > 1:
                return "the slot of tiers is 1 where the middle tier has a bin, and else 0"
            bins = 3 + c.slot
        else:
            bins = 2 if c.kind == EDGEML_C_CATEGORY else 1
            for i in range(c.n_bytes):
                bins = max(bins, self.layout.bytes[c.byte + i] + 1)
        if c.start + bins > self.size:
            return f"bins beyond the block of {self.size}"
        if c.kind == EDGEML_C_NUMBER:
            self.n_numbers = max(self.n_numbers, c.slot + 1)
        elif c.kind == EDGEML_C_CATEGORY:
            self.n_categories = max(self.n_categories, c.slot + 1)
        elif c.kind <= EDGEML_C_WORDS:
            self.n_texts = max(self.n_texts, c.slot + 1)
        return ""

    cdef int _made(self) except -1:
        if not self.ready:
            raise ValueError("the counters were not made")
        return 0

    cdef const edgeml_frame *_frame(self, object capsule) except NULL:
        self._made()
        cdef const edgeml_frame *frame = <const edgeml_frame *> PyCapsule_GetPointer(capsule, EDGEML_FRAME_CAPSULE)
        if (
            frame.n_numbers < self.n_numbers
            or frame.n_categories < self.n_categories
            or frame.n_texts < self.n_texts
        ):
            raise ValueError("the frame has fewer columns than are counted; fill it with the same schema's reader")
        return frame

    cdef void _add(self, const int32_t *places, int64_t n_places, const double *sums, int64_t n_rows) noexcept nogil:
        edgeml_drift_acquire(self.lock)
        edgeml_drift_add(self.block, self.totals, places, n_places, sums, 2 * self.n_sums)
        self.n_rows += n_rows
        edgeml_drift_release(self.lock)

    def observe(self, capsule, *, tiers, rule_index, label_index=None, scores=None, values=None):
        cdef const edgeml_frame *frame = self._frame(capsule)
        cdef int64_t n = frame.n_rows, first = 0, m
        cdef edgeml_drift_answers answers
        cdef const uint8_t[::1] tier_of = tiers
        cdef const int32_t[::1] rule_of = rule_index
        cdef const int64_t[::1] label_of
        cdef _Numbers given_scores = _Numbers.__new__(_Numbers), given_values = _Numbers.__new__(_Numbers)
        cdef edgeml_drift_rows given
        cdef int32_t *places
        cdef double *sums
        if tier_of.shape[0] != n or rule_of.shape[0] != n:
            raise ValueError(f"tiers and rule_index have not one value for each of {n} records")
        if n == 0:
            return
        memset(&answers, 0, sizeof(answers))
        answers.tiers, answers.rules = &tier_of[0], &rule_of[0]
        for m in range(n):
            if tier_of[m] > EDGEML_TIER_MIDDLE:
                raise ValueError(f"there is no tier {tier_of[m]}")
        if label_index is not None:
            label_of = label_index
            if label_of.shape[0] != n:
                raise ValueError(f"label_index has not one value for each of {n} records")
            answers.labels = &label_of[0]
        given_scores.hold(scores, n, "scores")
        given_values.hold(values, n, "values")
        answers.scores, answers.values = given_scores.numbers, given_values.numbers
        cdef int64_t rows = max(1, min(n, CHUNK // max(1, self.layout.n_columns)))
        places = <int32_t *> malloc(max(1, rows * self.layout.n_columns) * sizeof(int32_t))
        sums = <double *> malloc(max(1, 2 * self.n_sums) * sizeof(double))
        try:
            if places == NULL or sums == NULL:
                raise MemoryError
            given = edgeml_drift_frame_rows(frame)
            with nogil:
                while first < n:
                    m = min(rows, n - first)
                    self._add(
                        places, edgeml_drift_places(&self.layout, &given, &answers, first, m, places, sums), sums, m)
                    first += m
        finally:
            free(places)
            free(sums)

    @property
    def rows(self):
        cdef int64_t n
        self._made()
        edgeml_drift_acquire(self.lock)
        n = self.n_rows
        edgeml_drift_release(self.lock)
        return n

    def snapshot(self):
        self._made()
        counts = PyBytes_FromStringAndSize(NULL, self.size * sizeof(int64_t))
        sums = PyBytes_FromStringAndSize(NULL, 2 * self.n_sums * sizeof(double))
        cdef int64_t rows
        edgeml_drift_acquire(self.lock)
        edgeml_drift_settle(&self.layout, &self.waiting, self.block, self.totals, 2 * self.n_sums)
        memcpy(PyBytes_AS_STRING(counts), self.block, self.size * sizeof(int64_t))
        memcpy(PyBytes_AS_STRING(sums), self.totals, 2 * self.n_sums * sizeof(double))
        rows = self.n_rows
        edgeml_drift_release(self.lock)
        return rows, counts, sums

    def __sizeof__(self):
        return (
            object.__sizeof__(self)
            + sizeof(edgeml_drift_lock)
            + (self.size + 1 + self.layout.n_label_values) * sizeof(int64_t)
            + 2 * self.n_sums * sizeof(double)
            + self.n_tables * sizeof(edgeml_drift_edges)
            + self.layout.n_columns * sizeof(edgeml_drift_column)
            + self.n_bytes
            + self.layout.n_rules * sizeof(int32_t)
            + self.waiting_bytes
        )


@cython.final
cdef class LaneCounters:
    cdef DriftCounters counters
    cdef object capsule
    cdef const edgeml_frame *frame
    cdef edgeml_drift_answers answers
    cdef uint8_t tier
    cdef int32_t rule_of
    cdef _Numbers scores, labels, values
    cdef int32_t *texts
    cdef int64_t first_text, end_text  # columns of texts

    def __init__(self, DriftCounters counters not None, capsule, *, scores=None, label=None, value=None):
        if self.counters is not None:
            raise TypeError("lane counters are made once")
        self.frame = counters._frame(capsule)
        self.scores, self.labels = _Numbers.__new__(_Numbers), _Numbers.__new__(_Numbers)
        self.values = _Numbers.__new__(_Numbers)
        self.scores.hold(scores, 1, "scores")
        self.labels.hold(label, 1, "label")
        self.values.hold(value, 1, "value")
        if label is not None and (self.labels.numbers.type != b"q"[0] or self.labels.numbers.columns < 1):
            raise ValueError("label: not one int64")
        if scores is not None and self.scores.numbers.columns < 1:
            raise ValueError("scores: there are none")
        self.first_text = counters.layout.ends[EDGEML_C_CATEGORY]
        self.end_text = counters.layout.ends[EDGEML_C_WORDS]
        self.texts = <int32_t *> calloc(self.end_text - self.first_text + 1, sizeof(int32_t))
        if self.texts == NULL:
            raise MemoryError
        self.answers.tiers, self.answers.rules = &self.tier, &self.rule_of
        self.answers.scores, self.answers.values = self.scores.numbers, self.values.numbers
        self.answers.labels = <const int64_t *> self.labels.numbers.data
        self.answers.raw_labels = label is not None
        self.answers.from_scores = label is None and scores is not None
        self.capsule, self.counters = capsule, counters

    def __dealloc__(self):
        free(self.texts)

    cdef int _count(self, uint8_t tier, int32_t rule) except -1:
        self._ready()
        self.tier, self.rule_of = tier, rule
        self._take(edgeml_drift_label(&self.counters.layout, &self.answers, 0))
        return 0

    cdef int _ready(self) except -1:
        if self.counters is None or self.frame.n_rows < 1:
            raise ValueError("the frame has no row")
        return 0

    cdef void _take(self, int64_t label) noexcept:
        cdef DriftCounters counters = self.counters
        cdef const edgeml_drift_layout *layout = &counters.layout
        cdef const edgeml_frame *frame = self.frame
        cdef int64_t at
        cdef double most = edgeml_drift_most(&self.answers, 0)
        for at in range(self.first_text, self.end_text):
            self.texts[at - self.first_text] = edgeml_drift_text_place(
                layout, &layout.columns[at], &frame.texts[layout.columns[at].slot * frame.capacity], frame.arena)
        edgeml_drift_acquire(counters.lock)
        edgeml_drift_take(
            layout, &counters.waiting, frame, &self.answers, label, most, self.texts, counters.block, counters.totals,
            2 * counters.n_sums)
        counters.n_rows += 1
        edgeml_drift_release(counters.lock)

    def rule(self, int32_t rule):
        self._count(EDGEML_TIER_RULE, rule)

    def model(self):
        self._count(EDGEML_TIER_MODEL, -1)

    def fallback(self):
        self._count(EDGEML_TIER_FALLBACK, -1)

    def middle(self, int64_t label):
        self._ready()
        self.tier, self.rule_of = EDGEML_TIER_MIDDLE, -1
        self._take(label)

    def scored(self):
        cdef int64_t n = self.answers.scores.columns, label, at
        cdef double total = 0.0, score
        self._ready()
        if self.answers.scores.data == NULL or self.answers.scores.type == b"q"[0]:
            return None
        self.tier, self.rule_of = EDGEML_TIER_MODEL, -1
        label = edgeml_drift_label(&self.counters.layout, &self.answers, 0)
        row = [None] * n
        for at in range(n):
            score = edgeml_drift_number(&self.answers.scores, 0, at)
            total += score
            row[at] = score
        if label < 0 or not isfinite(total):
            return None
        self._take(label)
        return row
