"""Program and Encoder. Documentation: edgeml/kernels/features.pyi; the loops are in feature_ops.h.

1. A Program is checked once, operation by operation: after that no operation can read or write outside its memory.
2. An Encoder owns the scratch; the Program may be shared by threads.
3. One row is encoded with the GIL held (it takes less than giving it away); batches are encoded without it.
"""

cimport cython
from cpython.buffer cimport PyBuffer_Release
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from encoder_rows cimport bind_row, take_rows, wanted_rows


cdef extern from "frame.h":
    const char *EDGEML_FRAME_CAPSULE

    ctypedef struct edgeml_frame:
        int64_t n_rows
        int64_t n_numbers
        int64_t n_categories


cdef extern from "feature_math.h":
    enum:
        EDGEML_F_COUNT


cdef extern from "feature_ops.h":
    enum:
        EDGEML_OP_LOAD
        EDGEML_OP_TABLE
        EDGEML_OP_CONSTANT
        EDGEML_OP_PICK
        EDGEML_OP_CLIP
        EDGEML_OP_REPLACE
        EDGEML_OP_IS_MISSING
        EDGEML_OP_ROUND
        EDGEML_OP_FUNCTION
        EDGEML_OP_PRODUCT
        EDGEML_OP_BIN
        EDGEML_OP_CATEGORIZE
        EDGEML_OP_QUANTILE
        EDGEML_OP_NORMALIZE
        EDGEML_OP_MATRIX
        EDGEML_OP_EMIT
        EDGEML_OP_EMIT_TABLE
        EDGEML_OP_EMIT_ONE
        EDGEML_OP_REFUSE
        EDGEML_OP_COUNT

    ctypedef struct edgeml_operation:
        int32_t op, to, from_ "from", count, index, constant, extra, size

    ctypedef struct edgeml_program:
        int64_t n_operations, n_registers, n_codes, n_outputs, n_categories
        const edgeml_operation *operations
        const int32_t *index
        const double *constants
        int32_t is_double, sparse

    int64_t edgeml_run_block(
        const edgeml_program *, const edgeml_frame *, const int64_t *rows, int64_t first, int64_t m,
        double *registers, int32_t *scratch, void *block, uint8_t *refused) nogil


OPERATIONS = (
    "load", "table", "constant", "pick", "add", "subtract", "multiply", "divide", "clip", "fill", "replace",
    "is_missing", "equals", "above", "round", "function", "product", "bin", "categorize", "yeo_johnson", "box_cox",
    "quantile", "normalize", "matrix", "emit", "emit_table", "emit_one", "refuse",
)
FUNCTIONS = (
    "log", "log1p", "log2", "log10", "exp", "expm1", "exp2", "sqrt", "cbrt", "square", "abs", "negative", "sign",
    "reciprocal", "floor", "ceil", "trunc", "rint", "sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh",
    "tanh", "arcsinh", "arccosh", "arctanh",
)
assert len(OPERATIONS) == EDGEML_OP_COUNT and len(FUNCTIONS) == EDGEML_F_COUNT

# Registers x rows of a block: a quarter of a megabyte of doubles stays in the second-level cache.
cdef enum:
    BLOCK_DOUBLES = 32768
    BLOCK_ROWS = 256


cdef void *_copied(const void *source, size_t size) except NULL:
    cdef void *made = malloc(size if size > 0 else 1)
    if made == NULL:
        raise MemoryError
    if size > 0:
        memcpy(made, source, size)
    return made


@cython.final
cdef class Program:
    cdef edgeml_program program
    cdef readonly int64_t n_numbers
    cdef int64_t n_index
    cdef int64_t n_constants
    cdef void *memory[3]

    def __init__(
        self,
        const int32_t[:, ::1] operations,
        const int32_t[::1] index,
        const double[::1] constants,
        *,
        int64_t n_numbers,
        int64_t n_categories,
        int64_t n_registers,
        int64_t n_codes,
        int64_t n_outputs,
        bint double_door,
    ):
        if self.memory[0] != NULL:
            raise TypeError("a program is made once")
        if operations.shape[1] != 8:
            raise ValueError("an operation has 8 numbers")
        cdef int64_t largest = 2**24
        for size in (n_numbers, n_categories, n_registers, n_codes, n_outputs):
            if not 0 <= size <= largest:
                raise ValueError(f"a size of {size} is out of range")
        self.n_index = index.shape[0]
        self.n_constants = constants.shape[0]
        cdef int64_t n = operations.shape[0]
        self.memory[0] = _copied(&operations[0, 0] if n else NULL, n * sizeof(edgeml_operation))
        self.memory[1] = _copied(&index[0] if self.n_index else NULL, self.n_index * sizeof(int32_t))
        self.memory[2] = _copied(&constants[0] if self.n_constants else NULL, self.n_constants * sizeof(double))
        self.n_numbers = n_numbers
        self.program.n_operations = n
        self.program.n_registers = n_registers
        self.program.n_codes = n_codes
        self.program.n_outputs = n_outputs
        self.program.n_categories = n_categories
        self.program.operations = <edgeml_operation *> self.memory[0]
        self.program.index = <int32_t *> self.memory[1]
        self.program.constants = <double *> self.memory[2]
        self.program.is_double = double_door
        written, defined = bytearray(n_outputs), bytearray(n_registers + n_codes)
        cdef int64_t at
        for at in range(n):
            complaint = self._complaint(&self.program.operations[at], written, defined)
            if complaint:
                raise ValueError(f"operation {at}: {complaint}")
        if 0 in written:
            raise ValueError(f"output {written.index(0)} is never written")

    def __dealloc__(self):
        for at in range(3):
            free(self.memory[at])

    @property
    def n_outputs(self):
        return self.program.n_outputs

    @property
    def double_door(self):
        return bool(self.program.is_double)

    cdef str _complaint(self, const edgeml_operation *o, bytearray written, bytearray defined):
        """What is wrong with an operation: empty where it stays inside its memory and reads nothing left over."""
        cdef int64_t n = o.count, n_inputs = n, n_results = n, n_index = 0, n_constants = n, i
        cdef bint coded = o.op == EDGEML_OP_TABLE or o.op >= EDGEML_OP_EMIT_TABLE
        cdef const int32_t *index
        if not 0 <= o.op < EDGEML_OP_COUNT:
            return f"there is no operation {o.op}"
        if min(o.to, o.from_, o.count, o.index, o.constant, o.extra, o.size) < 0:
            return "a negative number"
        name = OPERATIONS[o.op]
        if coded:
            if not 2 <= o.size:
                return f"{name}: the table has no entries for missing and unseen"
            if o.from_ >= self.program.n_categories + self.program.n_codes:
                return f"{name}: there is no category column {o.from_}"
            n_inputs, n_results, n_constants = 0, 1 if o.op == EDGEML_OP_TABLE else 0, o.size
            if o.op == EDGEML_OP_EMIT_ONE:
                n_index, n_constants = o.size, 0
        elif o.op == EDGEML_OP_LOAD or o.op == EDGEML_OP_PICK:
            n_inputs, n_index, n_constants = 0, n, 0
        elif o.op == EDGEML_OP_CONSTANT:
            n_inputs = 0
        elif o.op == EDGEML_OP_CLIP or o.op == EDGEML_OP_REPLACE:
            n_constants = 2 * n
        elif o.op == EDGEML_OP_FUNCTION:
            if o.extra >= EDGEML_F_COUNT:
                return f"there is no function {o.extra}"
            n_constants = 0
        elif o.op == EDGEML_OP_PRODUCT:
            n_inputs, n_index, n_constants = 0, 2 * n, 0
        elif o.op == EDGEML_OP_BIN or o.op == EDGEML_OP_CATEGORIZE:
            n_inputs, n_results, n_constants = 1, 1, o.extra
            if o.op == EDGEML_OP_CATEGORIZE:
                n_results = 0
                if o.to >= self.program.n_codes:
                    return f"{name}: there is no code register {o.to}"
        elif o.op == EDGEML_OP_QUANTILE:
            if o.extra < 2:
                return f"{name}: fewer than two references"
            n_constants = 2 + (n + 1) * <int64_t> o.extra
        elif o.op == EDGEML_OP_NORMALIZE or o.op == EDGEML_OP_ROUND or o.op == EDGEML_OP_IS_MISSING:
            n_constants = 0
        elif o.op == EDGEML_OP_MATRIX:
            n_results, n_constants = o.extra, n * <int64_t> o.extra
        elif o.op == EDGEML_OP_EMIT:
            n_results, n_constants = 0, 0
        if (n_inputs and o.from_ + n_inputs > self.program.n_registers) or (
            n_results and o.to + n_results > self.program.n_registers
        ):
            return f"{name}: a register beyond {self.program.n_registers}"
        if o.index + n_index > self.n_index:
            return f"{name}: beyond the end of the index"
        if o.constant + n_constants > self.n_constants:
            return f"{name}: beyond the end of the constants"
        index = self.program.index + o.index
        for i in range(n_index):
            if o.op == EDGEML_OP_LOAD and not 0 <= index[i] < self.n_numbers:
                return f"{name}: there is no number column {index[i]}"
            if o.op == EDGEML_OP_PICK or o.op == EDGEML_OP_PRODUCT:
                if not 0 <= index[i] < self.program.n_registers:
                    return f"{name}: there is no register {index[i]}"
                if not defined[index[i]]:
                    return f"{name}: register {index[i]} is read before it is written"
                if o.to <= index[i] < o.to + n_results:
                    return f"{name}: register {index[i]} is read and written"
            if o.op == EDGEML_OP_EMIT_ONE and not -1 <= index[i] < self.program.n_outputs:
                return f"{name}: there is no output {index[i]}"
        # Column by column in place is good; anything else that overlaps would read what it has just written.
        if n_inputs and n_results and o.to < o.from_ + n_inputs and o.from_ < o.to + n_results and (
            o.to != o.from_ or o.op == EDGEML_OP_MATRIX
        ):
            return f"{name}: registers are read and written"
        for i in range(n_inputs):
            if not defined[o.from_ + i]:
                return f"{name}: register {o.from_ + i} is read before it is written"
        if coded and o.from_ >= self.program.n_categories:
            i = o.from_ - self.program.n_categories
            if not defined[self.program.n_registers + i]:
                return f"{name}: code register {i} is read before it is written"
        for i in range(n_results):
            defined[o.to + i] = 1
        if o.op == EDGEML_OP_CATEGORIZE:
            defined[self.program.n_registers + o.to] = 1
        if o.op == EDGEML_OP_EMIT_ONE:
            self.program.sparse = True
            for i in range(n_index):
                if index[i] >= 0:
                    written[index[i]] = 1
        elif o.op == EDGEML_OP_EMIT or o.op == EDGEML_OP_EMIT_TABLE:
            if o.op == EDGEML_OP_EMIT_TABLE:
                n = 1
            if o.extra + n > self.program.n_outputs:
                return f"{name}: an output beyond {self.program.n_outputs}"
            for i in range(n):
                written[o.extra + i] = 1
        return ""


@cython.final
cdef class Encoder:
    cdef Program program
    cdef double *registers
    cdef int32_t *scratch
    cdef int64_t block
    cdef Py_buffer bound
    cdef bint is_bound
    cdef readonly list refused

    def __init__(self, Program program not None):
        if self.program is not None:
            raise TypeError("an encoder is made once")
        self.program = program
        self.refused = []
        self.block = 1
        self._reserve()

    def __dealloc__(self):
        if self.is_bound:
            PyBuffer_Release(&self.bound)
        free(self.registers)
        free(self.scratch)

    cdef int _reserve(self) except -1:
        cdef int64_t m = self.block
        free(self.registers)
        free(self.scratch)
        self.scratch = NULL
        self.registers = <double *> calloc(max(1, self.program.program.n_registers * m), sizeof(double))
        self.scratch = <int32_t *> calloc((self.program.program.n_codes + 1) * m, sizeof(int32_t))
        if self.registers == NULL or self.scratch == NULL:
            raise MemoryError
        return 0

    cdef const edgeml_frame *_frame(self, capsule) except NULL:
        frame = <const edgeml_frame *> PyCapsule_GetPointer(capsule, EDGEML_FRAME_CAPSULE)
        if frame.n_numbers < self.program.n_numbers or frame.n_categories < self.program.program.n_categories:
            raise ValueError("the frame has fewer columns than the program reads")
        return frame

    def bind(self, out):
        bind_row(out, &self.bound, &self.is_bound, self.program.program.is_double, self.program.program.n_outputs)

    def encode_bound(self, capsule):
        cdef const edgeml_frame *frame = self._frame(capsule)
        if not self.is_bound:
            raise ValueError("bind an output first")
        if frame.n_rows < 1:
            raise ValueError("the frame has no rows")
        return edgeml_run_block(
            &self.program.program, frame, NULL, 0, 1, self.registers, self.scratch, self.bound.buf, NULL)

    def encode(self, capsule, out, rows=None):
        cdef const edgeml_frame *frame = self._frame(capsule)
        cdef Py_buffer view
        cdef const int64_t[::1] chosen
        cdef const int64_t *wanted = NULL
        cdef int64_t n = frame.n_rows, i, done = 0, m, found = 0
        cdef int64_t stride = self.program.program.n_outputs * (8 if self.program.program.is_double else 4)
        cdef uint8_t *flags = NULL
        if rows is not None:
            chosen = rows
            n = chosen.shape[0]
            wanted = wanted_rows(chosen, frame.n_rows)
        take_rows(out, &view, n, self.program.program.is_double, self.program.program.n_outputs)
        try:
            m = max(1, min(BLOCK_ROWS, BLOCK_DOUBLES // (self.program.program.n_registers + 1), n))
            if m > self.block:
                self.block = m
                self._reserve()
            flags = <uint8_t *> calloc(max(1, n), 1)
            if flags == NULL:
                raise MemoryError
            with nogil:
                while done < n:
                    m = min(self.block, n - done)
                    found += edgeml_run_block(
                        &self.program.program, frame, <const int64_t *> NULL if wanted == NULL else &wanted[done], done, m,
                        self.registers, self.scratch, <char *> view.buf + done * stride, flags + done)
                    done += m
            self.refused = [i for i in range(n) if flags[i]] if found else []
            return len(self.refused)
        finally:
            free(flags)
            PyBuffer_Release(&view)
