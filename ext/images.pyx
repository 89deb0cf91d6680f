"""Pictures and their tensors. Documentation: edgeml/kernels/images.pyi; the loops are in image_ops.h.

1. ImageProgram checks all sizes when it is made, and each picture's shape, region and box when it is given; the loops
   check nothing.
2. ImageEncoder reads pictures from a Frame (ext/frame.h) and looks at its sizes at every call.
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_ND, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer,
)
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc

from encoder_rows cimport bind_row, take_rows, wanted_rows


cdef extern from "frame.h":
    const char *EDGEML_FRAME_CAPSULE

    ctypedef struct edgeml_frame:
        int64_t n_rows
        int64_t n_pictures
        int64_t picture_bytes
        const uint8_t *pictures


cdef extern from "image_ops.h":
    enum:
        EDGEML_MAX_SIDE
        EDGEML_MAX_TARGET_SIDE
        EDGEML_HISTOGRAM_BINS
        EDGEML_STATISTICS
        EDGEML_METHOD_COUNT

    ctypedef struct edgeml_target:
        int64_t width, height
        int32_t channels, reversed, method
        uint8_t pad[4]

    ctypedef struct edgeml_box:
        int64_t x, y, width, height

    int edgeml_picture(
        const uint8_t *source, int64_t stride, int64_t width, int64_t height, int c, const edgeml_target *t,
        const edgeml_box *box, uint8_t *out) nogil
    void edgeml_statistics(
        const uint8_t *picture, const edgeml_target *t, const edgeml_box *box, uint8_t *luma, double *out) nogil
    void edgeml_levels_float(
        const uint8_t *picture, int64_t n, int channels, int planar, const float *table, float *out) nogil
    void edgeml_levels_double(
        const uint8_t *picture, int64_t n, int channels, int planar, const double *table, double *out) nogil


METHODS = ("nearest", "bilinear", "area", "antialias")
assert len(METHODS) == EDGEML_METHOD_COUNT
MAX_SIDE = EDGEML_MAX_SIDE
MAX_TARGET_SIDE = EDGEML_MAX_TARGET_SIDE
HISTOGRAM_BINS = EDGEML_HISTOGRAM_BINS


@cython.final
cdef class ImageProgram:
    cdef edgeml_target target
    cdef int planar
    cdef int is_double
    cdef int64_t pixels
    cdef float *single
    cdef double *table

    def __init__(
        self,
        const double[:, ::1] table,
        *,
        int64_t width,
        int64_t height,
        bint reversed,
        int method,
        bytes pad not None,
        bint planar,
        bint double_door,
    ):
        cdef int64_t i
        if self.table != NULL:
            raise TypeError("a program is made once")
        channels = table.shape[0]
        if channels not in (1, 3, 4) or table.shape[1] != 256:
            raise ValueError("a table has 1, 3 or 4 channels of 256 levels")
        if not (1 <= width <= EDGEML_MAX_TARGET_SIDE and 1 <= height <= EDGEML_MAX_TARGET_SIDE):
            raise ValueError(f"a picture has sides of 1 to {EDGEML_MAX_TARGET_SIDE} pixels, got {width} x {height}")
        if not 0 <= method < EDGEML_METHOD_COUNT:
            raise ValueError(f"there is no method {method}")
        if len(pad) != channels:
            raise ValueError("the padding has one level for each channel")
        self.target.width, self.target.height = width, height
        self.target.channels = <int32_t> channels
        self.target.reversed, self.target.method = reversed, method
        for i in range(channels):
            self.target.pad[i] = pad[i]
        self.planar, self.is_double = planar, double_door
        self.pixels = width * height
        self.single = <float *> malloc(channels * 256 * sizeof(float))
        self.table = <double *> malloc(channels * 256 * sizeof(double))
        if self.single == NULL or self.table == NULL:
            raise MemoryError
        for i in range(channels * 256):
            self.table[i] = table[i // 256, i % 256]
            self.single[i] = <float> self.table[i]

    def __dealloc__(self):
        free(self.single)
        free(self.table)

    @property
    def picture_bytes(self):
        return self.pixels * self.target.channels

    @property
    def n_outputs(self):
        return self.pixels * self.target.channels

    @property
    def double_door(self):
        return bool(self.is_double)

    @property
    def n_statistics(self):
        return EDGEML_STATISTICS + (1 if self.target.channels == 1 else 3) * EDGEML_HISTOGRAM_BINS

    def put(self, source, tuple region not None, tuple box not None, out, statistics=None):
        cdef Py_buffer given, to
        cdef int64_t left, top, width, height, rows, columns, channels, stride
        cdef edgeml_box into
        cdef const uint8_t *first
        cdef double[::1] counted
        cdef double *numbers = NULL
        cdef uint8_t *luma = NULL
        cdef int status
        left, top, width, height = region
        into.x, into.y, into.width, into.height = box
        if not _inside(into.x, into.width, self.target.width) or not _inside(into.y, into.height, self.target.height):
            raise ValueError("the box is not inside the target")
        if statistics is not None:
            counted = statistics
            if counted.shape[0] != self.n_statistics:
                raise ValueError(f"there are {self.n_statistics} statistics")
            numbers = &counted[0]
        PyObject_GetBuffer(source, &given, PyBUF_C_CONTIGUOUS | PyBUF_ND | PyBUF_FORMAT)
        try:
            if given.itemsize != 1 or given.ndim not in (2, 3) or (given.format != NULL and given.format != b"B"):
                raise ValueError("a picture is uint8 [height, width] or [height, width, channels]")
            rows, columns, channels = given.shape[0], given.shape[1], given.shape[2] if given.ndim == 3 else 1
            if channels != 1 and channels != 3 and channels != 4:
                raise ValueError("a picture has 1, 3 or 4 channels")
            if not (1 <= rows <= EDGEML_MAX_SIDE and 1 <= columns <= EDGEML_MAX_SIDE):
                raise ValueError(f"a picture has sides of 1 to {EDGEML_MAX_SIDE} pixels")
            if not _inside(left, width, columns) or not _inside(top, height, rows):
                raise ValueError("the region is not inside the picture")
            PyObject_GetBuffer(out, &to, PyBUF_C_CONTIGUOUS | PyBUF_ND | PyBUF_FORMAT | PyBUF_WRITABLE)
            try:
                if to.itemsize != 1 or to.len != self.pixels * self.target.channels:
                    raise ValueError(f"out has {self.picture_bytes} bytes")
                stride = columns * channels
                first = <const uint8_t *> given.buf + top * stride + left * channels
                if numbers != NULL:
                    luma = <uint8_t *> malloc(into.width * into.height)
                    if luma == NULL:
                        raise MemoryError
                with nogil:
                    status = edgeml_picture(
                        first, stride, width, height, <int> channels, &self.target, &into, <uint8_t *> to.buf)
                    if status == 0 and numbers != NULL:
                        edgeml_statistics(<const uint8_t *> to.buf, &self.target, &into, luma, numbers)
                if status != 0:
                    raise MemoryError
            finally:
                free(luma)
                PyBuffer_Release(&to)
        finally:
            PyBuffer_Release(&given)

    cdef void _row(self, const uint8_t *picture, char *out) noexcept nogil:
        if self.is_double:
            edgeml_levels_double(
                picture, self.pixels, self.target.channels, self.planar, self.table, <double *> out)
        else:
            edgeml_levels_float(
                picture, self.pixels, self.target.channels, self.planar, self.single, <float *> out)


cdef inline bint _inside(int64_t start, int64_t length, int64_t whole):
    # Written so that no sum can overflow.
    return 0 <= start < whole and 1 <= length <= whole - start


@cython.final
cdef class ImageEncoder:
    cdef ImageProgram program
    cdef Py_buffer bound
    cdef bint is_bound
    cdef readonly list refused

    def __init__(self, ImageProgram program not None):
        if self.program is not None:
            raise TypeError("an encoder is made once")
        if program.table == NULL:
            raise ValueError("the program was never made")
        self.program = program
        self.refused = []

    def __dealloc__(self):
        if self.is_bound:
            PyBuffer_Release(&self.bound)

    cdef const edgeml_frame *_frame(self, capsule) except NULL:
        frame = <const edgeml_frame *> PyCapsule_GetPointer(capsule, EDGEML_FRAME_CAPSULE)
        if frame.picture_bytes != self.program.picture_bytes or frame.n_pictures < frame.n_rows:
            raise ValueError("the frame does not hold a picture of the program's size for each row")
        return frame

    def bind(self, out):
        bind_row(out, &self.bound, &self.is_bound, self.program.is_double, self.program.n_outputs)

    def encode_bound(self, capsule):
        cdef const edgeml_frame *frame = self._frame(capsule)
        if not self.is_bound:
            raise ValueError("bind an output first")
        if frame.n_rows < 1:
            raise ValueError("the frame has no rows")
        with nogil:
            self.program._row(frame.pictures, <char *> self.bound.buf)
        return 0

    def encode(self, capsule, out, rows=None):
        cdef const edgeml_frame *frame = self._frame(capsule)
        cdef Py_buffer view
        cdef const int64_t[::1] chosen
        cdef const int64_t *wanted = NULL
        cdef int64_t n = frame.n_rows, i
        cdef int64_t stride = self.program.n_outputs * (8 if self.program.is_double else 4)
        if rows is not None:
            chosen = rows
            n = chosen.shape[0]
            wanted = wanted_rows(chosen, frame.n_rows)
        take_rows(out, &view, n, self.program.is_double, self.program.n_outputs)
        try:
            with nogil:
                for i in range(n):
                    self.program._row(
                        frame.pictures + (i if wanted == NULL else wanted[i]) * frame.picture_bytes,
                        <char *> view.buf + i * stride)
            return 0
        finally:
            PyBuffer_Release(&view)
