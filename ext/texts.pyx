"""Vectorizers, SparseProduct and TextEncoder. Documentation: edgeml/kernels/texts.pyi; the loops are in text_*.h.

1. Vectorizers are checked once, term by term: after that no text can make them read or write outside their memory.
2. A TextEncoder owns the scratch of one thread; Vectorizers and SparseProduct may be shared by threads.
3. Only columns that a text has are written, and only those are cleared before the next one. With a product not even
   that: each is multiplied with its weights where it is found.
"""

cimport cython
from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_ND, PyBuffer_Release, PyObject_GetBuffer
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from encoder_rows cimport bind_row, take_rows, wanted_rows


cdef extern from "frame.h":
    const char *EDGEML_FRAME_CAPSULE

    ctypedef struct edgeml_text:
        int64_t offset
        int64_t length

    ctypedef struct edgeml_frame:
        int64_t n_rows
        int64_t capacity
        int64_t n_texts
        edgeml_text *texts
        const char *arena


cdef extern from "text_vectors.h":
    const char *EDGEML_UNICODE_VERSION

    enum:
        EDGEML_MORE_COUNT
        EDGEML_OF_WORDS
        EDGEML_ANALYZERS
        EDGEML_T_MULTIPLY
        EDGEML_T_DIVIDE
        EDGEML_T_SELECT
        EDGEML_T_COUNT
        EDGEML_IS_WORD
        EDGEML_IS_SPACE
        EDGEML_IS_DIGIT

    ctypedef struct edgeml_bytes:
        uint8_t *bytes
        int64_t n
        int failed

    ctypedef struct edgeml_place:
        pass

    ctypedef struct edgeml_term_table:
        int64_t n, mask
        edgeml_place *places
        uint8_t *bytes
        int64_t *starts

    ctypedef struct edgeml_pattern:
        uint8_t ascii[128]
        int32_t more, shortest, bounded

    ctypedef struct edgeml_text_step:
        int32_t op, extra
        const double *constants

    ctypedef struct edgeml_vectorizer:
        int32_t text, analyzer, lower, accents, shortest, longest, binary, hashed, alternate
        edgeml_pattern pattern
        edgeml_term_table terms, stops
        int64_t n_slots, n_steps, cost
        edgeml_text_step *steps
        int32_t *outputs

    ctypedef struct edgeml_entry_of_text:
        int64_t slot
        double value

    ctypedef struct edgeml_text_scratch:
        edgeml_bytes normalized, joined
        int64_t *bounds
        int32_t *turn
        edgeml_entry_of_text *entries
        int64_t n_entries
        int failed

    ctypedef struct edgeml_code_point:
        int32_t flags

    const edgeml_code_point *edgeml_about(int code) nogil
    void edgeml_normalized(const uint8_t *, int64_t, int lower, int accents, edgeml_bytes *) nogil
    int64_t edgeml_fill(edgeml_term_table *)
    int64_t edgeml_most_of_a_term(const edgeml_term_table *, int of_words)
    int edgeml_vectorize(const edgeml_vectorizer *, edgeml_text_scratch *, const uint8_t *, int64_t) nogil
    void edgeml_forget(edgeml_text_scratch *) nogil


cdef extern from "text_product.h":
    void edgeml_add_scaled(double *, const double *, double, int64_t) nogil


UNICODE = EDGEML_UNICODE_VERSION.decode()
ANALYZERS = ("word", "char", "char_wb")
ACCENTS = ("", "ascii", "unicode")
BEYOND_ASCII = ("none", "all", "word", "letter", "visible")
STEPS = ("log", "multiply", "divide", "normalize", "select", "round")
assert len(ANALYZERS) == EDGEML_ANALYZERS and len(STEPS) == EDGEML_T_COUNT and len(BEYOND_ASCII) == EDGEML_MORE_COUNT

cdef enum:
    LARGEST = 1 << 24
    # What all vectorizers make of a text is bounded: sizes of n-grams, and words or characters looked at for each place.
    MOST_SIZES = 256
    MOST_LOOKS = 16384
    # Texts that cost more than this many bytes of single words are read without the GIL: others may then answer beside.
    LONG_TEXT = 16384

TERM_LIMIT, SIZE_LIMIT, LOOK_LIMIT = LARGEST, MOST_SIZES, MOST_LOOKS


cdef void *_zeros(int64_t count, size_t size) except NULL:
    cdef void *made = calloc(max(1, count), size)
    if made == NULL:
        raise MemoryError
    return made


def normalized(bytes text not None, *, bint lowercase, str accents=""):
    cdef edgeml_bytes out
    memset(&out, 0, sizeof(out))
    edgeml_normalized(<const uint8_t *> <const char *> text, len(text), lowercase, ACCENTS.index(accents), &out)
    try:
        if out.failed:
            raise MemoryError
        return out.bytes[:out.n] if out.n else b""
    finally:
        free(out.bytes)


def kinds_of(int code):
    cdef int flags = edgeml_about(code).flags
    return bool(flags & EDGEML_IS_WORD), bool(flags & EDGEML_IS_SPACE), bool(flags & EDGEML_IS_DIGIT)


@cython.final
cdef class Vectorizers:
    cdef edgeml_vectorizer *made
    cdef readonly int64_t n
    cdef readonly int64_t n_texts
    cdef readonly int64_t width
    cdef int64_t n_slots, n_sizes, n_looks
    cdef int32_t *places
    cdef readonly int64_t n_dense
    cdef double *constants
    cdef bint is_ready

    def __init__(
        self, specs, const uint8_t[::1] terms, const double[::1] constants, const int32_t[::1] index,
        const int32_t[::1] places, *, int64_t n_texts, int64_t width,
    ):
        if self.made != NULL:
            raise TypeError("vectorizers are made once")
        if not 0 < width <= LARGEST or not 0 < len(specs) <= 1024:
            raise ValueError("the number of columns or of vectorizers is out of range")
        cdef int64_t i, n_constants = constants.shape[0], at = 0, column
        taken = bytearray(width)
        self.n_texts, self.width, self.n_dense = n_texts, width, places.shape[0]
        self.constants = <double *> _zeros(n_constants, sizeof(double))
        if n_constants:
            memcpy(self.constants, &constants[0], n_constants * sizeof(double))
        self.places = <int32_t *> _zeros(self.n_dense, sizeof(int32_t))
        for i in range(self.n_dense):
            _take(taken, places[i], width)
            self.places[i] = places[i]
        self.made = <edgeml_vectorizer *> _zeros(len(specs), sizeof(edgeml_vectorizer))
        for number, spec in enumerate(specs):
            self.n += 1
            try:
                at = self._make(&self.made[number], spec, terms, at, n_constants, index, taken)
            except (ValueError, OverflowError) as error:
                raise ValueError(f"vectorizer {number}: {error}") from error
        if at != terms.shape[0]:
            raise ValueError("there are more terms than the vectorizers have")
        if 0 in taken:
            raise ValueError(f"output {taken.index(0)} is never written")
        self.is_ready = True

    cdef int64_t _make(
        self, edgeml_vectorizer *v, spec, const uint8_t[::1] terms, int64_t at, int64_t n_constants,
        const int32_t[::1] index, bytearray taken,
    ) except -1:
        """Checks and packs one vectorizer whose terms begin at ``at``; gives where they end."""
        cdef int64_t i, text = spec["text"], n_stops = spec["stops"], n_slots = spec["slots"], start = spec["index"]
        cdef int64_t first = spec["first"], constant, n_sizes, n_looks
        cdef int32_t code
        cdef bint has_output = False
        ascii_class = spec["ascii"]
        if not 0 <= text < self.n_texts:
            raise ValueError(f"there is no text column {text}")
        if not 0 < n_slots <= LARGEST or not 0 <= n_stops <= LARGEST:
            raise ValueError("the number of terms is out of range")
        self.n_slots += n_slots
        if self.n_slots > LARGEST:
            raise ValueError(f"the vectorizers have more than {LARGEST} terms and hashes together")
        if len(ascii_class) != 128 or not 0 < spec["shortest_token"] <= LARGEST:
            raise ValueError("the pattern of its tokens is malformed")
        if not 0 < spec["shortest"] <= spec["longest"] <= 1024:
            raise ValueError("the sizes of its n-grams are out of range")
        v.text, v.n_slots = <int32_t> text, n_slots
        v.analyzer, v.accents = ANALYZERS.index(spec["analyzer"]), ACCENTS.index(spec["accents"])
        v.lower, v.binary = bool(spec["lowercase"]), bool(spec["binary"])
        v.hashed, v.alternate = bool(spec["hashed"]), bool(spec["alternate"])
        v.shortest, v.longest = spec["shortest"], spec["longest"]
        v.pattern.more = BEYOND_ASCII.index(spec["beyond_ascii"])
        v.pattern.shortest, v.pattern.bounded = spec["shortest_token"], bool(spec["bounded"])
        for code in range(128):
            v.pattern.ascii[code] = (1 if ascii_class[code] == "1" else 0) | (
                2 if edgeml_about(code).flags & EDGEML_IS_WORD else 0)
        at = self._read_words(&v.stops, terms, at, n_stops)
        if not v.hashed:
            at = self._read_words(&v.terms, terms, at, n_slots)
            # No term is longer, so nothing longer is looked up. The shortest stays: in a word it may stand for less.
            v.longest = <int32_t> max(
                v.shortest, min(v.longest, edgeml_most_of_a_term(&v.terms, v.analyzer == EDGEML_OF_WORDS)))
        n_sizes = v.longest - v.shortest + 1
        n_looks = n_sizes * (v.shortest + v.longest) // 2
        self.n_sizes += n_sizes
        self.n_looks += n_looks
        if self.n_sizes > MOST_SIZES or self.n_looks > MOST_LOOKS:
            raise ValueError(
                f"the n-grams of all vectorizers have more than {MOST_SIZES} sizes, or sizes of more than {MOST_LOOKS} "
                "together")
        v.cost = n_sizes + n_looks // 16
        v.steps = <edgeml_text_step *> _zeros(len(spec["steps"]), sizeof(edgeml_text_step))
        for name, extra, constant in spec["steps"]:
            v.steps[v.n_steps].op, v.steps[v.n_steps].extra = STEPS.index(name), extra
            if name in ("multiply", "divide", "select"):
                # A sum would wrap: these numbers are anything that 64 bits hold.
                if not 0 <= constant <= n_constants - n_slots:
                    raise ValueError(f"step {name} goes beyond the end of the constants")
                v.steps[v.n_steps].constants = self.constants + constant
            v.n_steps += 1
        if start >= 0 and start > index.shape[0] - n_slots:
            raise ValueError("its columns go beyond the end of the index")
        if start < 0 and not 0 <= first <= self.width - n_slots:
            raise ValueError(f"its columns from {first} on are not all among the {self.width} of the program")
        v.outputs = <int32_t *> _zeros(n_slots, sizeof(int32_t))
        for i in range(n_slots):
            v.outputs[i] = index[start + i] if start >= 0 else <int32_t> (first + i)
            if v.outputs[i] != -1:
                _take(taken, v.outputs[i], self.width)
                has_output = True
        # Terms cost the bundle bytes, hashes nothing: there may be no more of these than somebody reads.
        if v.hashed and not has_output:
            raise ValueError("none of its hashes has a column; remove it")
        return at

    cdef int64_t _read_words(self, edgeml_term_table *w, const uint8_t[::1] terms, int64_t at, int64_t n) except -1:
        """Reads n words, each a length of two bytes and so many bytes, and makes their table."""
        cdef int64_t i, filled = 0, begin = at, end = terms.shape[0], length, size = 2
        for i in range(n):
            if at + 2 > end:
                raise ValueError("the terms end too early")
            length = terms[at] | <int64_t> terms[at + 1] << 8
            at += 2 + length
            if at > end:
                raise ValueError("the terms end too early")
            filled += length
        while size < 2 * n:
            size *= 2
        w.bytes = <uint8_t *> _zeros(filled, 1)
        w.starts = <int64_t *> _zeros(n + 1, sizeof(int64_t))
        w.places = <edgeml_place *> _zeros(size, sizeof(edgeml_place))
        w.n, w.mask = n, size - 1
        filled = 0
        for i in range(n):
            length = terms[begin] | <int64_t> terms[begin + 1] << 8
            if length:
                memcpy(w.bytes + filled, &terms[begin + 2], length)
            filled += length
            w.starts[i + 1] = filled
            begin += 2 + length
        i = edgeml_fill(w)
        if i >= 0:
            raise ValueError(f"term {i} stands twice, or too many have the same hash")
        return at

    def __dealloc__(self):
        cdef int64_t i
        for i in range(self.n):
            for words in range(2):
                w = &self.made[i].terms if words else &self.made[i].stops
                free(w.bytes)
                free(w.starts)
                free(w.places)
            free(self.made[i].steps)
            free(self.made[i].outputs)
        free(self.made)
        free(self.places)
        free(self.constants)


cdef int _take(bytearray taken, int64_t column, int64_t width) except -1:
    if not 0 <= column < width:
        raise ValueError(f"there is no output {column}")
    if taken[column]:
        raise ValueError(f"output {column} is written twice")
    taken[column] = 1
    return 0


@cython.final
cdef class SparseProduct:
    cdef double *weights
    cdef double *bias
    cdef readonly int64_t width
    cdef readonly int64_t results

    def __init__(self, const double[:, ::1] weights, const double[::1] bias):
        if self.weights != NULL:
            raise TypeError("a product is made once")
        self.width, self.results = weights.shape[0], weights.shape[1]
        if not 0 < self.width <= LARGEST or not 0 < self.results <= LARGEST or bias.shape[0] != self.results:
            raise ValueError("the weights and the biases do not fit each other")
        self.weights = <double *> malloc(self.width * self.results * sizeof(double))
        self.bias = <double *> malloc(self.results * sizeof(double))
        if self.weights == NULL or self.bias == NULL:
            raise MemoryError
        memcpy(self.weights, &weights[0, 0], self.width * self.results * sizeof(double))
        memcpy(self.bias, &bias[0], self.results * sizeof(double))

    def take(self, const int64_t[::1] columns, double[:, ::1] out):
        cdef int64_t i
        if self.bias == NULL:
            raise ValueError("the product was refused")
        if out.shape[0] != columns.shape[0] or out.shape[1] != self.results:
            raise ValueError(f"expected room for {columns.shape[0]} times {self.results} weights")
        for i in range(columns.shape[0]):
            if not 0 <= columns[i] < self.width:
                raise ValueError(f"there is no column {columns[i]}")
            memcpy(&out[i, 0], self.weights + columns[i] * self.results, self.results * sizeof(double))

    def biases(self):
        return (<const char *> self.bias)[: self.results * sizeof(double)] if self.bias != NULL else b""

    def __dealloc__(self):
        free(self.weights)
        free(self.bias)


@cython.final
cdef class TextEncoder:
    cdef Vectorizers vectorizers
    cdef SparseProduct product
    cdef object dense_encoder, make_dense, held
    cdef bint is_double
    cdef edgeml_text_scratch *scratch
    cdef int32_t *written
    cdef int64_t n_written
    cdef Py_buffer bound, dense
    cdef bint is_bound, has_dense
    cdef readonly list refused
    cdef readonly int64_t n_outputs

    def __init__(
        self, Vectorizers vectorizers not None, *, dense_encoder=None, make_dense=None, bint double_door=True,
        SparseProduct product=None,
    ):
        if self.vectorizers is not None:
            raise TypeError("an encoder is made once")
        if not vectorizers.is_ready:
            raise ValueError("the vectorizers were refused")
        if product is not None and product.width != vectorizers.width:
            raise ValueError(f"the product takes {product.width} columns of {vectorizers.width}")
        self.vectorizers, self.product = vectorizers, product
        self.is_double = double_door
        self.refused = []
        self.n_outputs = vectorizers.width if product is None else product.results
        cdef int64_t i, n_slots = 0
        self.scratch = <edgeml_text_scratch *> _zeros(vectorizers.n, sizeof(edgeml_text_scratch))
        for i in range(vectorizers.n):
            self.scratch[i].turn = <int32_t *> _zeros(vectorizers.made[i].n_slots, sizeof(int32_t))
            self.scratch[i].entries = <edgeml_entry_of_text *> _zeros(
                vectorizers.made[i].n_slots, sizeof(edgeml_entry_of_text))
            n_slots += vectorizers.made[i].n_slots
        self.written = <int32_t *> _zeros(n_slots, sizeof(int32_t))
        if vectorizers.n_dense:
            self.dense_encoder, self.make_dense = dense_encoder, make_dense
            self._hold(make_dense(1))
            dense_encoder.bind(self.held)

    def __dealloc__(self):
        cdef int64_t i
        if self.is_bound:
            PyBuffer_Release(&self.bound)
        if self.has_dense:
            PyBuffer_Release(&self.dense)
        if self.scratch != NULL:
            for i in range(self.vectorizers.n):
                free(self.scratch[i].turn)
                free(self.scratch[i].entries)
                free(self.scratch[i].bounds)
                free(self.scratch[i].normalized.bytes)
                free(self.scratch[i].joined.bytes)
        free(self.scratch)
        free(self.written)

    cdef int _hold(self, array) except -1:
        """Takes an array [n, n_dense] for the columns that no text gives."""
        cdef Py_buffer view
        PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS | PyBUF_ND | PyBUF_FORMAT)
        if view.ndim != 2 or view.shape[1] != self.vectorizers.n_dense or view.format != (
            b"d" if self.is_double else b"f"
        ):
            PyBuffer_Release(&view)
            raise ValueError(f"the dense columns must have shape [n, {self.vectorizers.n_dense}] and the door's type")
        if self.has_dense:
            PyBuffer_Release(&self.dense)
        self.dense, self.held, self.has_dense = view, array, True
        return 0

    cdef const edgeml_frame *_frame(self, capsule) except NULL:
        frame = <const edgeml_frame *> PyCapsule_GetPointer(capsule, EDGEML_FRAME_CAPSULE)
        if frame.n_texts < self.vectorizers.n_texts:
            raise ValueError("the frame has fewer texts than the program reads")
        return frame

    def bind(self, out):
        bind_row(out, &self.bound, &self.is_bound, self.is_double or self.product is not None, self.n_outputs)
        self.n_written = 0
        memset(self.bound.buf, 0, self.bound.len)

    def encode_bound(self, capsule):
        cdef const edgeml_frame *frame = self._frame(capsule)
        cdef int64_t refused = 0, i, total = 0
        cdef const edgeml_vectorizer *v
        cdef int found
        if not self.is_bound:
            raise ValueError("bind an output first")
        if frame.n_rows < 1:
            raise ValueError("the frame has no rows")
        if self.dense_encoder is not None:
            if self.dense.shape[0] != 1:
                self._hold(self.make_dense(1))
                self.dense_encoder.bind(self.held)
            refused = self.dense_encoder.encode_bound(capsule)
        for i in range(self.vectorizers.n):
            v = &self.vectorizers.made[i]
            total += v.cost * max(0, frame.texts[v.text * frame.capacity].length)
        if self.product is None:
            for i in range(self.n_written):
                if self.is_double:
                    (<double *> self.bound.buf)[self.written[i]] = 0
                else:
                    (<float *> self.bound.buf)[self.written[i]] = 0
        if total > LONG_TEXT:
            with nogil:
                found = self._row(frame, 0, self.dense.buf, self.bound.buf)
        else:
            found = self._row(frame, 0, self.dense.buf, self.bound.buf)
        if found < 0:
            self._no_memory()
        return refused + found

    def encode(self, capsule, out, rows=None):
        cdef const edgeml_frame *frame = self._frame(capsule)
        cdef Py_buffer view
        cdef const int64_t[::1] chosen
        cdef const int64_t *wanted = NULL
        cdef int64_t n = frame.n_rows, i, stride, dense_stride = 0
        cdef int found = 0
        cdef char *dense = NULL
        cdef uint8_t *flags = NULL
        if rows is not None:
            chosen = rows
            n = chosen.shape[0]
            wanted = wanted_rows(chosen, frame.n_rows)
        take_rows(out, &view, n, self.is_double or self.product is not None, self.n_outputs)
        try:
            flags = <uint8_t *> _zeros(n, 1)
            if self.dense_encoder is not None:
                if self.dense.shape[0] != n:
                    self._hold(self.make_dense(n))
                if n == 1:
                    self.dense_encoder.bind(self.held)
                self.dense_encoder.encode(capsule, self.held, rows)
                for i in self.dense_encoder.refused:
                    flags[i] = 1
                dense = <char *> self.dense.buf
                dense_stride = self.vectorizers.n_dense * self.dense.itemsize
            stride = self.n_outputs * view.itemsize
            if self.product is None:
                memset(view.buf, 0, view.len)
            with nogil:
                for i in range(n):
                    found = self._row(
                        frame, i if wanted == NULL else wanted[i], dense + i * dense_stride,
                        <char *> view.buf + i * stride)
                    if found < 0:
                        break
                    flags[i] |= found
            # What was written here is not in the bound row.
            if self.product is None and self.is_bound:
                self.n_written = 0
                memset(self.bound.buf, 0, self.bound.len)
            if found < 0:
                self._no_memory()
            self.refused = [i for i in range(n) if flags[i]]
            return len(self.refused)
        finally:
            free(flags)
            PyBuffer_Release(&view)

    cdef int _no_memory(self) except -1:
        for i in range(self.vectorizers.n):
            self.scratch[i].failed = self.scratch[i].normalized.failed = self.scratch[i].joined.failed = 0
        raise MemoryError

    cdef int _row(self, const edgeml_frame *frame, int64_t row, const void *dense, void *out) noexcept nogil:
        """One row into out, which holds zeros where there is no product: 1 where a text is missing, -1 where there is
        no memory."""
        cdef int64_t i, k, column, results = self.n_outputs
        cdef int refused = 0, failed = 0
        cdef edgeml_text_scratch *t
        cdef const edgeml_vectorizer *v
        cdef edgeml_text text
        cdef double value
        cdef double *sums = <double *> out
        self.n_written = 0
        if self.product is not None:
            memcpy(sums, self.product.bias, results * sizeof(double))
        for i in range(self.vectorizers.n_dense):
            value = (<double *> dense)[i] if self.is_double else (<float *> dense)[i]
            column = self.vectorizers.places[i]
            if self.product is not None:
                edgeml_add_scaled(sums, self.product.weights + column * results, value, results)
            elif self.is_double:
                (<double *> out)[column] = value
            else:
                (<float *> out)[column] = <float> value
        for i in range(self.vectorizers.n):
            v, t = &self.vectorizers.made[i], &self.scratch[i]
            text = frame.texts[v.text * frame.capacity + row]
            if text.length < 0:
                refused = 1
                continue
            if not edgeml_vectorize(v, t, <const uint8_t *> frame.arena + text.offset, text.length):
                failed = 1
            else:
                for k in range(t.n_entries):
                    column = v.outputs[t.entries[k].slot]
                    if column < 0:
                        continue
                    if self.product is not None:
                        edgeml_add_scaled(
                            sums, self.product.weights + column * results, t.entries[k].value, results)
                        continue
                    if self.is_double:
                        (<double *> out)[column] = t.entries[k].value
                    else:
                        (<float *> out)[column] = <float> t.entries[k].value
                    self.written[self.n_written] = <int32_t> column
                    self.n_written += 1
            edgeml_forget(t)
        return -1 if failed else refused
