"""NativeModel, NativeBinding and TreeShares. Documentation: edgeml/kernels/native_model.pyi; the loops are in native_ops.h.

1. A model is checked once, operation by operation and node by node: children come behind their parents, so every walk
   ends, and nothing is read before it is written.
2. A binding owns the registers of one row, and rows of a batch go through them one after the other; before a large
   ensemble it owns those of a block of rows. The GIL is given up meanwhile.
3. What explains an answer reads a checked model, changes nothing in it, and has memory of its own for each call.
"""

cimport cython
from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy


cdef extern from "native_ops.h":
    enum:
        EDGEML_N_TREES
        EDGEML_N_PRODUCT
        EDGEML_N_PICK
        EDGEML_N_ROUND
        EDGEML_N_SIGMOID
        EDGEML_N_EXP
        EDGEML_N_SOFTMAX
        EDGEML_N_SUM
        EDGEML_N_LARGEST
        EDGEML_N_LOG
        EDGEML_N_SQRT
        EDGEML_N_ABS
        EDGEML_N_TANH
        EDGEML_N_LOWEST
        EDGEML_N_HIGHEST
        EDGEML_N_COUNT
        EDGEML_NODE_MISSING
        EDGEML_NODE_EQUAL
        EDGEML_NODE_RANGES

    ctypedef struct edgeml_node:
        double threshold
        int32_t feature, left

    ctypedef struct edgeml_tree:
        int32_t root, depth, target, n_targets

    ctypedef struct edgeml_ensemble:
        int64_t n_trees, n_nodes
        int32_t has_special
        edgeml_node *nodes
        int32_t *leaves
        edgeml_tree *trees
        double *values

    ctypedef struct edgeml_native_operation:
        int32_t op, to, from_ "from", count, index, constant, extra, opposite

    ctypedef struct edgeml_native:
        int64_t n_operations
        const edgeml_native_operation *operations
        const int32_t *index
        const double *constants
        const edgeml_ensemble *ensembles

    enum:
        EDGEML_BLOCK
    int32_t edgeml_step(const edgeml_ensemble *, int32_t at, const double *row, int careful) nogil
    void edgeml_native_row(const edgeml_native *, const double *row, int64_t width, double *) nogil
    void edgeml_native_rows(
        const edgeml_native *, const double *const *rows, int64_t n, int64_t width, double *, int64_t n_registers) nogil
    int edgeml_opposite(const double *weights, int64_t n) nogil


cdef extern from "tree_shares.h":
    ctypedef struct edgeml_shares:
        const edgeml_ensemble *ensemble
        const double *row
        const double *left
        const int32_t *players
        const double *points
        const double *weights
        int64_t n_points
        double *products
        double *sums
        double *kept
        double *followed
        double *added
        double expected

    void edgeml_share_trees(edgeml_shares *, int64_t target, int64_t n_players) nogil


OPERATIONS = (
    "product", "trees", "pick", "round", "add", "subtract", "multiply", "divide", "power", "from", "base", "at_least",
    "above", "sigmoid", "exp", "softmax", "sum", "largest", "maximum",
    "minimum", "log", "sqrt", "abs", "tanh", "lowest", "highest",
)
assert len(OPERATIONS) == EDGEML_N_COUNT

# Numbers a node takes in the constants: threshold, feature (-1: a leaf), left child or start of the leaf's numbers,
# flags (1: missing goes left, 2: asks for equality, 4: asks for ranges, whose bounds stand where the threshold says). A tree takes in the index: root, end of its nodes, first target,
# number of targets.
cdef enum:
    OF_NODE = 4
    OF_TREE = 4
    LARGEST = 1 << 24
    NEAR_BYTES = 1 << 17  # an ensemble up to here stays near the processor whatever the order
    BLOCK_BYTES = 1 << 19  # registers of a block of rows

# What one multiplication and one step down a tree take, roughly, on the processors of edge boxes and above: only to tell
# whether a batch is worth a second thread.
cdef double PRODUCT_NS = 0.2
cdef double STEP_NS = 1.6

NODE_NUMBERS = OF_NODE
TREE_NUMBERS = OF_TREE

# Deeper trees are not explained: the walk is recursive, and costs points for half as many players at each node.
cdef enum:
    DEEPEST = 256

DEPTH_LIMIT = DEEPEST


cdef void *_copied(const void *source, size_t size) except NULL:
    cdef void *made = malloc(size if size > 0 else 1)
    if made == NULL:
        raise MemoryError
    if size > 0:
        memcpy(made, source, size)
    return made


@cython.final
cdef class NativeModel:
    cdef edgeml_native model
    cdef readonly int64_t width
    cdef readonly int64_t n_registers
    cdef int64_t n_index, n_constants, n_ensembles
    cdef edgeml_ensemble *ensembles
    cdef void *memory[3]
    cdef int64_t largest_ensemble  # bytes of its nodes
    cdef readonly double row_ns
    cdef bint is_ready

    def __init__(
        self,
        const int32_t[:, ::1] operations,
        const int32_t[::1] index,
        const double[::1] constants,
        *,
        int64_t width,
        int64_t n_registers,
        ensembles=(),
    ):
        if self.memory[0] != NULL:
            raise TypeError("a model is made once")
        if operations.shape[1] != 8:
            raise ValueError("an operation has 8 numbers")
        if not 0 < width <= n_registers <= LARGEST:
            raise ValueError("width and registers are out of range")
        cdef int64_t n = operations.shape[0], at
        self.width = width
        self.n_registers = n_registers
        self.n_index, self.n_constants = index.shape[0], constants.shape[0]
        self.memory[0] = _copied(&operations[0, 0] if n else NULL, n * sizeof(edgeml_native_operation))
        self.memory[1] = _copied(&index[0] if self.n_index else NULL, self.n_index * sizeof(int32_t))
        self.memory[2] = _copied(&constants[0] if self.n_constants else NULL, self.n_constants * sizeof(double))
        self.model.n_operations = n
        self.model.operations = <edgeml_native_operation *> self.memory[0]
        self.model.index = <int32_t *> self.memory[1]
        self.model.constants = <double *> self.memory[2]
        self.ensembles = <edgeml_ensemble *> calloc(max(1, len(ensembles)), sizeof(edgeml_ensemble))
        if self.ensembles == NULL:
            raise MemoryError
        self.model.ensembles = self.ensembles
        for first, n_trees, constant, n_nodes, n_values in ensembles:
            self.n_ensembles += 1
            self._make_ensemble(&self.ensembles[self.n_ensembles - 1], first, n_trees, constant, n_nodes, n_values)
        defined = bytearray(n_registers)
        for at in range(width):
            defined[at] = 1
        for at in range(n):
            complaint = self._complaint(&self.model.operations[at], defined)
            if complaint:
                raise ValueError(f"operation {at}: {complaint}")
            self.row_ns += self._row_ns(&self.model.operations[at])
            self._prepare(&(<edgeml_native_operation *> self.memory[0])[at])
        self.is_ready = True

    cdef double _row_ns(self, const edgeml_native_operation *o) noexcept:
        cdef int64_t t
        cdef double steps = 0
        if o.op == EDGEML_N_PRODUCT:
            return PRODUCT_NS * o.count * o.extra
        if o.op == EDGEML_N_TREES:
            for t in range(self.ensembles[o.index].n_trees):
                steps += self.ensembles[o.index].trees[t].depth
            return STEP_NS * steps
        return 0

    cdef void _prepare(self, edgeml_native_operation *o) noexcept:
        """Notes what need not be worked out twice."""
        o.opposite = (
            o.op == EDGEML_N_PRODUCT and o.extra == 2 and edgeml_opposite(self.model.constants + o.constant, o.count)
        )

    def __dealloc__(self):
        cdef int64_t at
        for at in range(self.n_ensembles):
            free(self.ensembles[at].nodes)
            free(self.ensembles[at].leaves)
            free(self.ensembles[at].trees)
            free(self.ensembles[at].values)
        free(self.ensembles)
        for at in range(3):
            free(self.memory[at])

    cdef int _make_ensemble(
        self, edgeml_ensemble *e, int64_t index, int64_t n_trees, int64_t constant, int64_t n_nodes, int64_t n_values
    ) except -1:
        """Checks and packs an ensemble: n_trees in the index, n_nodes and then n_values in the constants."""
        cdef const double *numbers
        cdef const int32_t *trees
        cdef int64_t t, at, start = 0, end, left
        cdef int32_t *depth
        cdef double column
        cdef int32_t n_targets
        if min(index, n_trees, constant, n_nodes, n_values) < 0 or max(n_trees, n_nodes, n_values) > LARGEST * 16:
            raise ValueError("a size of an ensemble is out of range")
        # Before anything is added to them: a sum beyond 64 bits would begin again below 0.
        if index > self.n_index or constant > self.n_constants:
            raise ValueError("an ensemble begins beyond the end")
        if index + n_trees * OF_TREE > self.n_index:
            raise ValueError("an ensemble goes beyond the end of the index")
        if constant + n_nodes * OF_NODE + n_values > self.n_constants:
            raise ValueError("an ensemble goes beyond the end of the constants")
        trees = self.model.index + index
        numbers = self.model.constants + constant
        e.n_trees, e.n_nodes = n_trees, n_nodes
        self.largest_ensemble = max(self.largest_ensemble, n_nodes * <int64_t> sizeof(edgeml_node))
        e.nodes = <edgeml_node *> calloc(n_nodes + 1, sizeof(edgeml_node))
        e.leaves = <int32_t *> calloc(n_nodes + 1, sizeof(int32_t))
        e.trees = <edgeml_tree *> calloc(n_trees + 1, sizeof(edgeml_tree))
        e.values = <double *> calloc(n_values + 1, sizeof(double))
        depth = <int32_t *> calloc(n_nodes + 1, sizeof(int32_t))
        try:
            if e.nodes == NULL or e.leaves == NULL or e.trees == NULL or e.values == NULL or depth == NULL:
                raise MemoryError
            memcpy(e.values, numbers + n_nodes * OF_NODE, n_values * sizeof(double))
            for t in range(n_trees):
                end, n_targets = trees[4 * t + 1], trees[4 * t + 3]
                if trees[4 * t] != start or not start < end <= n_nodes:
                    raise ValueError(f"tree {t}: its nodes do not follow those of the tree before")
                if trees[4 * t + 2] < 0 or not 1 <= n_targets <= LARGEST:
                    raise ValueError(f"tree {t}: targets out of range")
                # Children come behind their parents, so their depth is known when the parent is met from the end.
                for at in range(end - 1, start - 1, -1):
                    column = numbers[4 * at + 1]
                    left = <int64_t> numbers[4 * at + 2] if abs(numbers[4 * at + 2]) < 2.0**53 else -1
                    if column == -1:
                        if not 0 <= left <= n_values - n_targets:
                            raise ValueError(f"node {at}: its numbers are not among the values")
                        e.leaves[at] = <int32_t> left
                        e.nodes[at] = edgeml_node(INFINITY, EDGEML_NODE_MISSING, <int32_t> at)
                        continue
                    if not (0 <= column < self.width and column == <int64_t> column):
                        raise ValueError(f"node {at}: there is no column {column}")
                    if not at < left < end - 1:
                        raise ValueError(f"node {at}: its children are not behind it in the tree")
                    e.nodes[at] = edgeml_node(numbers[4 * at], <int32_t> column, <int32_t> left)
                    if numbers[4 * at + 3] in (1.0, 3.0, 5.0):
                        e.nodes[at].feature |= EDGEML_NODE_MISSING
                    if numbers[4 * at + 3] in (2.0, 3.0):
                        e.nodes[at].feature |= EDGEML_NODE_EQUAL
                        e.has_special = 1
                    if numbers[4 * at + 3] in (4.0, 5.0):
                        self._check_ranges(e, numbers[4 * at], n_values, at)
                        e.nodes[at].feature |= EDGEML_NODE_RANGES
                        e.has_special = 1
                    depth[at] = 1 + max(depth[left], depth[left + 1])
                e.trees[t] = edgeml_tree(<int32_t> start, depth[start], trees[4 * t + 2], n_targets)
                start = end
            if start != n_nodes:
                raise ValueError("an ensemble has nodes that belong to no tree")
        finally:
            free(depth)
        return 0

    cdef int _check_ranges(self, const edgeml_ensemble *e, double place, int64_t n_values, int64_t at) except -1:
        """The bounds of a node's ranges: their number, then as many, all among the values."""
        cdef int64_t start
        cdef double count
        if not (0 <= place < n_values and place == <int64_t> place):
            raise ValueError(f"node {at}: its ranges are not among the values")
        start = <int64_t> place
        count = e.values[start]
        if not (0 <= count < n_values - start and count == <int64_t> count):
            raise ValueError(f"node {at}: its ranges go beyond the values")
        return 0

    cdef str _complaint(self, const edgeml_native_operation *o, bytearray defined):
        """What is wrong with an operation: empty where it stays inside its memory and reads nothing left over."""
        cdef int64_t n = o.count, n_results = n, n_inputs = n, n_index = 0, n_constants = n, i
        cdef const edgeml_ensemble *e
        if not 0 <= o.op < EDGEML_N_COUNT:
            return f"there is no operation {o.op}"
        if min(o.to, o.from_, o.count, o.index, o.constant, o.extra, o.opposite) < 0:
            return "a negative number"
        name = OPERATIONS[o.op]
        if o.op == EDGEML_N_PRODUCT:
            n_results, n_constants = o.extra, (n + 1) * <int64_t> o.extra
        elif o.op == EDGEML_N_TREES:
            if o.index >= self.n_ensembles:
                return f"there is no ensemble {o.index}"
            # Their columns are those of the row, or of a rounded copy of the same width.
            if n != self.width:
                return "trees: they ask the columns of a whole row"
            n_results = n_constants = o.extra
            e = &self.ensembles[o.index]
            for i in range(e.n_trees):
                if e.trees[i].target + <int64_t> e.trees[i].n_targets > o.extra:
                    return f"trees: tree {i} has a target beyond {o.extra}"
        elif o.op == EDGEML_N_PICK:
            n_inputs, n_index, n_constants = 0, n, 0
        elif o.op in (EDGEML_N_ROUND, EDGEML_N_SIGMOID, EDGEML_N_EXP, EDGEML_N_SOFTMAX, EDGEML_N_LOG, EDGEML_N_SQRT,
                      EDGEML_N_ABS, EDGEML_N_TANH):
            n_constants = 0
        elif o.op in (EDGEML_N_SUM, EDGEML_N_LARGEST, EDGEML_N_LOWEST, EDGEML_N_HIGHEST):
            n_results, n_constants = 1, 0
        if n == 0:
            return f"{name}: it works on nothing"
        if o.from_ + n_inputs > self.n_registers or o.to + n_results > self.n_registers:
            return f"{name}: a register beyond {self.n_registers}"
        if o.index + n_index > self.n_index:
            return f"{name}: beyond the end of the index"
        if o.constant + n_constants > self.n_constants:
            return f"{name}: beyond the end of the constants"
        if o.to < self.width:
            return f"{name}: it writes over the row"
        # The row lies where the caller has it, the registers lie elsewhere.
        if n_inputs and o.from_ < self.width < o.from_ + n_inputs:
            return f"{name}: it reads beyond the end of the row"
        if n_inputs and o.to < o.from_ + n_inputs and o.from_ < o.to + n_results:
            return f"{name}: registers are read and written"
        for i in range(n_inputs):
            if not defined[o.from_ + i]:
                return f"{name}: register {o.from_ + i} is read before it is written"
        for i in range(n_index):
            if not 0 <= self.model.index[o.index + i] < self.n_registers:
                return f"{name}: there is no register {self.model.index[o.index + i]}"
            if not defined[self.model.index[o.index + i]]:
                return f"{name}: register {self.model.index[o.index + i]} is read before it is written"
        for i in range(n_results):
            defined[o.to + i] = 1
        return ""

    cdef const edgeml_ensemble *_ensemble(self, int64_t number) except NULL:
        if not self.is_ready or not 0 <= number < self.n_ensembles:
            raise IndexError(f"there is no ensemble {number}")
        return &self.ensembles[number]

    def operations(self):
        if not self.is_ready:
            raise ValueError("the model was refused")
        return (<const char *> self.model.operations)[: self.model.n_operations * sizeof(edgeml_native_operation)]

    def index(self, int64_t start, int64_t count):
        if not self.is_ready or start < 0 or not 0 <= count <= self.n_index - start:
            raise IndexError("beyond the end of the index")
        return (<const char *> (self.model.index + start))[: count * sizeof(int32_t)]

    def constants(self, int64_t start, int64_t count):
        if not self.is_ready or start < 0 or not 0 <= count <= self.n_constants - start:
            raise IndexError("beyond the end of the constants")
        return (<const char *> (self.model.constants + start))[: count * sizeof(double)]

    def size_of(self, int64_t ensemble):
        cdef const edgeml_ensemble *e = self._ensemble(ensemble)
        cdef int64_t at, leaves = 0, deepest = 0
        for at in range(e.n_nodes):
            leaves += e.nodes[at].left == at
        for at in range(e.n_trees):
            deepest = max(deepest, e.trees[at].depth)
        return e.n_nodes, leaves, deepest

    def count_leaves(self, int64_t ensemble, const double[:, ::1] rows, int64_t[::1] counts):
        cdef const edgeml_ensemble *e = self._ensemble(ensemble)
        cdef int64_t row, t, i, leaves = 0
        cdef int32_t at
        cdef int32_t *numbers
        if rows.shape[1] != self.width:
            raise ValueError(f"the rows must have {self.width} columns")
        numbers = <int32_t *> calloc(e.n_nodes + 1, sizeof(int32_t))
        if numbers == NULL:
            raise MemoryError
        try:
            for i in range(e.n_nodes):
                if e.nodes[i].left == i:
                    numbers[i] = <int32_t> leaves
                    leaves += 1
            if counts.shape[0] != leaves:
                raise ValueError(f"there are {leaves} leaves to count")
            with nogil:
                for row in range(rows.shape[0]):
                    for t in range(e.n_trees):
                        at = e.trees[t].root
                        for i in range(e.trees[t].depth):
                            at = edgeml_step(e, at, &rows[row, 0], 1)
                        counts[numbers[at]] += 1
        finally:
            free(numbers)


@cython.final
cdef class NativeBinding:
    cdef NativeModel model
    cdef Py_buffer input
    cdef Py_buffer outputs[4]
    cdef int64_t starts[4]
    cdef int n_outputs
    cdef bint has_input
    cdef int64_t n_rows
    cdef int64_t block  # rows that have registers
    cdef double *registers

    def __init__(self, NativeModel model not None, given, outputs):
        if self.model is not None:
            raise TypeError("a binding is made once")
        self.model = model
        PyObject_GetBuffer(given, &self.input, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
        self.has_input = True
        if self.input.ndim != 2 or self.input.shape[1] != model.width or self.input.format not in (b"f", b"d"):
            raise ValueError(f"the input must be float32 or float64 of shape [n, {model.width}]")
        self.n_rows = self.input.shape[0]
        for start, array in outputs:
            if self.n_outputs == 4:
                raise ValueError("at most 4 outputs")
            PyObject_GetBuffer(
                array, &self.outputs[self.n_outputs], PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | PyBUF_WRITABLE)
            self.n_outputs += 1
            self._check_output(&self.outputs[self.n_outputs - 1], start)
            self.starts[self.n_outputs - 1] = start
        self.block = 1
        if model.largest_ensemble > NEAR_BYTES:
            self.block = max(1, min(self.n_rows, EDGEML_BLOCK, BLOCK_BYTES // (model.n_registers * sizeof(double))))
        self.registers = <double *> calloc(self.block * model.n_registers, sizeof(double))
        if self.registers == NULL:
            raise MemoryError

    cdef int _check_output(self, Py_buffer *view, int64_t start) except -1:
        if view.format not in (b"d", b"q", b"l") or view.itemsize != 8:
            raise ValueError("an output must be float64 or int64")
        if view.ndim not in (1, 2) or view.shape[0] != self.n_rows:
            raise ValueError(f"an output must have {self.n_rows} rows")
        if start < self.model.width or start + (view.shape[1] if view.ndim == 2 else 1) > self.model.n_registers:
            raise ValueError("an output is not among the registers behind the row")
        return 0

    def __dealloc__(self):
        if self.has_input:
            PyBuffer_Release(&self.input)
        for at in range(self.n_outputs):
            PyBuffer_Release(&self.outputs[at])
        free(self.registers)

    def run(self):
        if self.n_rows == 1:
            self._rows()
        else:
            with nogil:
                self._rows()

    cdef void _rows(self) noexcept nogil:
        cdef int64_t start = 0, k, n
        cdef const double *rows[EDGEML_BLOCK]
        while start < self.n_rows:
            n = min(self.block, self.n_rows - start)
            for k in range(n):
                rows[k] = self._row(start + k, self.registers + k * self.model.n_registers)
            if n == 1:
                edgeml_native_row(&self.model.model, rows[0], self.model.width, self.registers)
            else:
                edgeml_native_rows(
                    &self.model.model, rows, n, self.model.width, self.registers, self.model.n_registers)
            for k in range(n):
                self._keep(start + k, self.registers + k * self.model.n_registers)
            start += n

    cdef inline const double *_row(self, int64_t row, double *r) noexcept nogil:
        """Where a row's numbers are: where the caller has them, or widened in the registers."""
        cdef int64_t i, width = self.model.width
        if self.input.format[0] == c"d":
            return <double *> self.input.buf + row * width
        for i in range(width):
            r[i] = (<float *> self.input.buf)[row * width + i]
        return r

    cdef inline void _keep(self, int64_t row, const double *r) noexcept nogil:
        """Writes the results of a row to the outputs."""
        cdef int64_t i, columns
        cdef const double *results
        cdef int o
        for o in range(self.n_outputs):
            columns = self.outputs[o].shape[1] if self.outputs[o].ndim == 2 else 1
            results = r + self.starts[o]
            if self.outputs[o].format[0] == c"d":
                memcpy(<double *> self.outputs[o].buf + row * columns, results, columns * sizeof(double))
            else:
                for i in range(columns):
                    (<int64_t *> self.outputs[o].buf)[row * columns + i] = <int64_t> results[i]


@cython.final
cdef class TreeShares:
    cdef NativeModel model
    cdef const edgeml_ensemble *ensemble
    cdef double *left
    cdef int32_t *players
    cdef double *points
    cdef double *weights
    cdef int64_t n_points, deepest
    cdef readonly int64_t n_players

    def __init__(
        self,
        NativeModel model not None,
        int64_t ensemble,
        const int32_t[::1] counts,
        const int32_t[::1] players,
        const double[::1] points,
        const double[::1] weights,
    ):
        if self.model is not None:
            raise TypeError("shares are made once")
        cdef const edgeml_ensemble *e = model._ensemble(ensemble)
        cdef int64_t at, number = 0, least, side
        self.model, self.ensemble = model, e
        if players.shape[0] != model.width:
            raise ValueError(f"each of {model.width} columns needs a player")
        for at in range(players.shape[0]):
            if not 0 <= players[at] < LARGEST:
                raise ValueError(f"column {at} has no player")
            self.n_players = max(self.n_players, <int64_t> players[at] + 1)
        for at in range(e.n_trees):
            self.deepest = max(self.deepest, e.trees[at].depth)
        if self.deepest > DEEPEST:
            raise ValueError(f"a tree is deeper than {DEEPEST} questions")
        self.n_points, least = points.shape[0], min(self.deepest, self.n_players)
        if weights.shape[0] != self.n_points or not max(1, (least + 1) // 2) <= self.n_points <= DEEPEST:
            raise ValueError(f"{self.n_points} points do not do for {least} players")
        for at in range(self.n_points):
            if not 1e-9 < points[at] < 1 - 1e-9:
                raise ValueError("a point is not between 0 and 1")
        self.players = <int32_t *> _copied(&players[0], players.shape[0] * sizeof(int32_t))
        self.points = <double *> _copied(&points[0], self.n_points * sizeof(double))
        self.weights = <double *> _copied(&weights[0], self.n_points * sizeof(double))
        self.left = <double *> calloc(e.n_nodes + 1, sizeof(double))
        if self.left == NULL:
            raise MemoryError
        # An answer follows one way, and only its length counts; shares follow all ways, of which nodes that are shared
        # have more than anybody could wait for.
        for at in range(e.n_nodes):
            if e.nodes[at].left != at:
                for side in range(2):
                    if self.left[e.nodes[at].left + side] != 0:
                        raise ValueError(f"node {e.nodes[at].left + side} has several parents")
                    self.left[e.nodes[at].left + side] = 1
        # First the number of rows at each node, from the leaves up; then of each question the share that went left.
        for at in range(e.n_nodes):
            if e.nodes[at].left == at:
                if number == counts.shape[0] or counts[number] < 0:
                    raise ValueError("the counts are not one number of rows for each leaf")
                self.left[at] = counts[number]
                number += 1
        if number != counts.shape[0]:
            raise ValueError(f"{counts.shape[0]} counts for {number} leaves")
        for at in range(e.n_nodes - 1, -1, -1):
            if e.nodes[at].left != at:
                self.left[at] = self.left[e.nodes[at].left] + self.left[e.nodes[at].left + 1]
        for at in range(e.n_nodes):
            if e.nodes[at].left != at:
                self.left[at] = self.left[e.nodes[at].left] / self.left[at] if self.left[at] > 0 else 0.5

    def __dealloc__(self):
        free(self.left)
        free(self.players)
        free(self.points)
        free(self.weights)

    def nodes(self, int64_t target):
        cdef int64_t t, end, total = 0
        if self.left == NULL:
            raise ValueError("the shares were refused")
        for t in range(self.ensemble.n_trees):
            end = self.ensemble.trees[t + 1].root if t + 1 < self.ensemble.n_trees else self.ensemble.n_nodes
            if self.ensemble.trees[t].target <= target < self.ensemble.trees[t].target + self.ensemble.trees[t].n_targets:
                total += end - self.ensemble.trees[t].root
        return total

    def add(self, const double[::1] row, int64_t target, double[::1] out):
        cdef edgeml_shares s
        cdef int64_t i, size = (self.deepest + 2) * self.n_points
        cdef double *memory
        if self.left == NULL:
            raise ValueError("the shares were refused")
        if row.shape[0] != self.model.width or out.shape[0] != self.n_players:
            raise ValueError(f"expected {self.model.width} columns and room for {self.n_players} players")
        if not 0 <= target <= LARGEST * 2:
            target = -1  # no tree has it, and no difference to it is beyond the integers
        memory = <double *> calloc(2 * size + 3 * self.n_players, sizeof(double))
        if memory == NULL:
            raise MemoryError
        s.ensemble, s.row, s.left, s.players = self.ensemble, &row[0], self.left, self.players
        s.points, s.weights, s.n_points = self.points, self.weights, self.n_points
        s.products, s.sums = memory, memory + size
        s.kept, s.followed = memory + 2 * size, memory + 2 * size + self.n_players
        s.added = memory + 2 * size + 2 * self.n_players
        with nogil:
            edgeml_share_trees(&s, target, self.n_players)
            for i in range(self.n_players):
                out[i] += s.added[i]
        free(memory)
        return s.expected
