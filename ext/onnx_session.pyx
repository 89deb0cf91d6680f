"""Library, Session and Bound. Documentation: edgeml/kernels/onnx_session.pyi; the table of functions: ort_api.h.

1. Each native object has one owner here, set to NULL before it is made, so that __dealloc__ frees what was made.
2. A status is released in `_raise`, nowhere else; the error class comes from the caller, as kernels know no errors.
3. The GIL is released around opening and running only; nothing of Python is touched meanwhile.
"""

cimport cython
from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free

from ort_headers cimport *

cdef enum:
    MAX_RANK = 16
    STRING = 8

# numpy knows two types of 64 bits; "l" is the one it calls int64 where a C long has 64.
cdef bytes LONG = b"l" if sizeof(long) == 8 else b"q"

# ONNX element type -> (numpy's name, letter of the struct module, bytes); strings have no letter.
cdef tuple ELEMENTS = (
    None, ("float32", b"f", 4), ("uint8", b"B", 1), ("int8", b"b", 1), ("uint16", b"H", 2), ("int16", b"h", 2),
    ("int32", b"i", 4), ("int64", LONG, 8), ("object", b"", 0), ("bool", b"?", 1), ("float16", b"e", 2),
    ("float64", b"d", 8), ("uint32", b"I", 4), ("uint64", LONG.upper(), 8),
)


@cython.final
cdef class Library:
    cdef edgeml_ort ort
    cdef OrtEnv *env
    cdef OrtMemoryInfo *memory
    cdef OrtAllocator *allocator
    cdef OrtRunOptions *run_options
    cdef object error
    cdef readonly str version

    def __cinit__(self, bytes path not None, error):
        cdef const char *version = NULL
        cdef const char *where = path
        cdef int result
        self.error = error
        with nogil:
            result = edgeml_ort_open(where, &self.ort, &version)
        if result == EDGEML_ORT_NO_LIBRARY:
            raise error(f"cannot open ONNX Runtime's library: {_decoded(dlerror())}")
        if result == EDGEML_ORT_NO_ENTRY:
            raise error(f"{_decoded(where)} is not ONNX Runtime's library: it has no OrtGetApiBase")
        self.version = _decoded(version)
        if result != EDGEML_ORT_OPENED:
            raise error(
                f"{_decoded(where)} is ONNX Runtime {self.version}, which has no C API version {EDGEML_ORT_VERSION}; "
                "install onnxruntime 1.20 or later"
            )
        self.check(self.ort.create_env(ORT_LOG_FATAL, b"edgeml", &self.env))
        self.check(self.ort.disable_telemetry(self.env))
        self.check(self.ort.create_cpu_memory_info(ORT_ALLOCATOR_DEVICE, ORT_MEMORY_DEFAULT, &self.memory))
        self.check(self.ort.default_allocator(&self.allocator))
        self.check(self.ort.create_run_options(&self.run_options))

    def __dealloc__(self):
        if self.run_options != NULL:
            self.ort.release_run_options(self.run_options)
        if self.memory != NULL:
            self.ort.release_memory_info(self.memory)
        if self.env != NULL:
            self.ort.release_env(self.env)

    cdef inline int check(self, OrtStatus *status) except -1:
        if status != NULL:
            self._raise(status)
        return 0

    cdef int _raise(self, OrtStatus *status) except -1:
        message = _decoded(self.ort.get_error_message(status))
        self.ort.release_status(status)
        raise self.error(message.strip().partition("\n")[0] or "ONNX Runtime gave no reason")

    cdef list shape_of(self, const OrtTensorInfo *info):
        cdef size_t rank = 0
        cdef int64_t sizes[MAX_RANK]
        self.check(self.ort.dimensions_count(info, &rank))
        if rank > MAX_RANK:
            raise self.error(f"a tensor of {rank} dimensions; {MAX_RANK} is the most that can be read")
        self.check(self.ort.dimensions(info, sizes, rank))
        return [sizes[axis] for axis in range(<Py_ssize_t> rank)]


cdef str _decoded(const char *text):
    return "" if text == NULL else (<bytes> text).decode("utf-8", "replace")


@cython.final
@cython.no_gc_clear
cdef class Tensor:
    """A tensor that ONNX Runtime made, as a buffer; numpy takes it without a copy."""

    cdef Library library
    cdef OrtValue *value
    cdef void *data
    cdef bytes format
    cdef Py_ssize_t itemsize
    cdef Py_ssize_t rank
    cdef Py_ssize_t shape[MAX_RANK]
    cdef Py_ssize_t strides[MAX_RANK]

    def __dealloc__(self):
        if self.value != NULL:
            self.library.ort.release_value(self.value)

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        buffer.buf = self.data
        buffer.format = self.format
        buffer.obj = self
        buffer.itemsize = self.itemsize
        buffer.len = self.itemsize
        for axis in range(self.rank):
            buffer.len *= self.shape[axis]
        buffer.readonly = 0
        buffer.ndim = self.rank
        buffer.shape = self.shape
        buffer.strides = self.strides
        buffer.suboffsets = NULL
        buffer.internal = NULL

    cdef int fill(self, list shape, int element) except -1:
        cdef Py_ssize_t step, axis
        _, self.format, self.itemsize = ELEMENTS[element]
        self.rank = len(shape)
        step = self.itemsize
        for axis in range(self.rank - 1, -1, -1):
            self.shape[axis] = shape[axis]
            self.strides[axis] = step
            step *= max(1, self.shape[axis])
        self.library.check(self.library.ort.tensor_data(self.value, &self.data))
        if self.data == NULL:
            self.data = self.shape  # an empty tensor: nobody reads through it, but a buffer has an address
        return 0


@cython.final
@cython.no_gc_clear
cdef class Session:
    cdef Library library
    cdef OrtSession *session
    cdef readonly tuple inputs
    cdef readonly tuple outputs
    cdef tuple names  # bytes that the two arrays of pointers point into
    cdef const char **input_names
    cdef const char **output_names
    cdef int *elements  # of the inputs, then of the outputs

    def __cinit__(self, Library library not None, bytes model not None, int intra_op_threads, bint spinning,
                  bint arena, bint memory_pattern):
        cdef edgeml_ort *ort = &library.ort
        cdef OrtSessionOptions *options = NULL
        cdef OrtStatus *status
        cdef const void *data = PyBytes_AS_STRING(model)
        cdef size_t size = len(model)
        cdef OrtEnv *env = library.env
        self.library = library
        library.check(ort.create_session_options(&options))
        try:
            library.check(ort.set_execution_mode(options, ORT_SEQUENTIAL))
            library.check(ort.set_graph_optimization(options, ORT_OPTIMIZE_ALL))
            library.check(ort.set_intra_op_threads(options, intra_op_threads))
            library.check(ort.set_inter_op_threads(options, 1))
            spin = b"1" if spinning else b"0"
            library.check(ort.add_session_config_entry(options, b"session.intra_op.allow_spinning", spin))
            library.check(ort.add_session_config_entry(options, b"session.inter_op.allow_spinning", spin))
            if not arena:
                library.check(ort.disable_cpu_mem_arena(options))
            if not memory_pattern:
                library.check(ort.disable_mem_pattern(options))
            with nogil:
                status = ort.create_session_from_array(env, data, size, options, &self.session)
            library.check(status)
        finally:
            ort.release_session_options(options)
        self._describe()

    def __dealloc__(self):
        if self.session != NULL:
            self.library.ort.release_session(self.session)
        free(self.input_names)
        free(self.output_names)
        free(self.elements)

    cdef int _describe(self) except -1:
        cdef size_t n_inputs = 0, n_outputs = 0
        cdef size_t place
        library = self.library
        library.check(library.ort.session_input_count(self.session, &n_inputs))
        library.check(library.ort.session_output_count(self.session, &n_outputs))
        self.input_names = <const char **> calloc(n_inputs + 1, sizeof(char *))
        self.output_names = <const char **> calloc(n_outputs + 1, sizeof(char *))
        self.elements = <int *> calloc(n_inputs + n_outputs + 1, sizeof(int))
        if self.input_names == NULL or self.output_names == NULL or self.elements == NULL:
            raise MemoryError("no memory for the names of the model's tensors")
        names = [self._name(place, True) for place in range(n_inputs)]
        names += [self._name(place, False) for place in range(n_outputs)]
        self.names = tuple(names)
        for place in range(n_inputs):
            self.input_names[place] = PyBytes_AS_STRING(names[place])
        for place in range(n_outputs):
            self.output_names[place] = PyBytes_AS_STRING(names[n_inputs + place])
        self.inputs = tuple([self._spec(place, True, n_inputs) for place in range(n_inputs)])
        self.outputs = tuple([self._spec(place, False, n_inputs) for place in range(n_outputs)])
        return 0

    cdef bytes _name(self, size_t place, bint is_input):
        cdef char *text = NULL
        cdef edgeml_ort *ort = &self.library.ort
        get = ort.session_input_name if is_input else ort.session_output_name
        self.library.check(get(self.session, place, self.library.allocator, &text))
        try:
            return <bytes> text
        finally:
            self.library.check(ort.allocator_free(self.library.allocator, text))

    cdef tuple _spec(self, size_t place, bint is_input, size_t n_inputs):
        cdef OrtTypeInfo *info = NULL
        cdef const OrtTensorInfo *tensor = NULL
        cdef int kind = 0
        cdef int element = 0
        cdef edgeml_ort *ort = &self.library.ort
        get = ort.session_input_type if is_input else ort.session_output_type
        index = place if is_input else n_inputs + place
        name = _decoded(PyBytes_AS_STRING(self.names[index]))
        self.library.check(get(self.session, place, &info))
        try:
            self.library.check(ort.kind_of_type_info(info, &kind))
            if kind != ORT_KIND_TENSOR:
                return name, "", ()
            self.library.check(ort.tensor_of_type_info(info, &tensor))
            self.library.check(ort.element_type(tensor, &element))
            if element <= 0 or element >= len(ELEMENTS):
                return name, f"ONNX element type {element}", ()
            self.elements[index] = element
            return name, ELEMENTS[element][0], tuple(self.library.shape_of(tensor))
        finally:
            ort.release_type_info(info)

    def run(self, tuple feeds not None):
        cdef Py_ssize_t n_inputs = len(self.inputs)
        cdef Py_ssize_t n_outputs = len(self.outputs)
        cdef Py_ssize_t place
        cdef OrtStatus *status
        cdef edgeml_ort *ort = &self.library.ort
        cdef OrtSession *session = self.session
        cdef const OrtRunOptions *run_options = self.library.run_options
        cdef const char **input_names = self.input_names
        cdef const char **output_names = self.output_names
        cdef OrtValue **given
        cdef Py_buffer *views
        if len(feeds) != n_inputs:
            raise ValueError(f"the model has {n_inputs} inputs, {len(feeds)} were given")
        values = <OrtValue **> calloc(n_inputs + n_outputs + 1, sizeof(OrtValue *))
        views = <Py_buffer *> calloc(n_inputs + 1, sizeof(Py_buffer))
        try:
            if values == NULL or views == NULL:
                raise MemoryError("no memory for the tensors of a run")
            given = values + n_inputs
            for place in range(n_inputs):
                if self.elements[place] == STRING:
                    values[place] = self._strings_in(feeds[place])
                else:
                    values[place] = self._tensor_over(feeds[place], &views[place], self.elements[place], False)
            with nogil:
                status = ort.run(session, run_options, input_names, <const OrtValue **> values, n_inputs,
                                 output_names, n_outputs, given)
            self.library.check(status)
            return [self._result(&given[place]) for place in range(n_outputs)]
        finally:
            if values != NULL:
                for place in range(n_inputs + n_outputs):
                    if values[place] != NULL:
                        ort.release_value(values[place])
            if views != NULL:
                for place in range(n_inputs):
                    PyBuffer_Release(&views[place])
            free(values)
            free(views)

    cdef OrtValue *_tensor_over(self, object array, Py_buffer *view, int element, bint writable) except NULL:
        # The view must outlive the tensor: the tensor points into the array.
        cdef OrtValue *value = NULL
        cdef int64_t sizes[MAX_RANK]
        PyObject_GetBuffer(
            array, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (PyBUF_WRITABLE if writable else 0))
        name, _, itemsize = ELEMENTS[element]
        if view.itemsize != itemsize or view.ndim > MAX_RANK:
            raise ValueError(f"expected {name} of at most {MAX_RANK} dimensions")
        for axis in range(view.ndim):
            sizes[axis] = view.shape[axis]
        self.library.check(self.library.ort.create_tensor_over(
            self.library.memory, view.buf, view.len, sizes, view.ndim, element, &value))
        return value

    cdef OrtValue *_strings_in(self, tuple feed) except NULL:
        cdef OrtValue *value = NULL
        cdef int64_t sizes[MAX_RANK]
        cdef Py_ssize_t place
        cdef tuple shape
        cdef list texts
        cdef edgeml_ort *ort = &self.library.ort
        shape, texts = feed
        cdef Py_ssize_t count = len(texts)
        if len(shape) > MAX_RANK:
            raise ValueError(f"expected strings of at most {MAX_RANK} dimensions")
        expected = 1
        for place in range(len(shape)):
            sizes[place] = shape[place]
            expected *= shape[place]
        if expected != count:
            raise ValueError(f"{count} strings do not fill shape {shape}")
        pointers = <const char **> calloc(count + 1, sizeof(char *))
        if pointers == NULL:
            raise MemoryError("no memory for the strings of a run")
        try:
            for place in range(count):
                pointers[place] = <const char *> (<bytes?> texts[place])
            self.library.check(ort.create_tensor(self.library.allocator, sizes, len(shape), STRING, &value))
            self.library.check(ort.fill_strings(value, pointers, count))
        except BaseException:
            if value != NULL:
                ort.release_value(value)
            raise
        finally:
            free(pointers)
        return value

    cdef object _result(self, OrtValue **place):
        cdef OrtTensorInfo *info = NULL
        cdef int element = 0
        cdef size_t count = 0
        cdef Tensor tensor
        cdef edgeml_ort *ort = &self.library.ort
        self.library.check(ort.tensor_type_and_shape(place[0], &info))
        try:
            self.library.check(ort.element_type(info, &element))
            self.library.check(ort.element_count(info, &count))
            shape = self.library.shape_of(info)
        finally:
            ort.release_tensor_info(info)
        if element == STRING:
            return tuple(shape), self._strings_out(place[0], count)
        tensor = Tensor.__new__(Tensor)
        tensor.library = self.library
        tensor.value = place[0]
        place[0] = NULL  # now the Tensor's
        tensor.fill(shape, element)
        return tensor

    cdef list _strings_out(self, const OrtValue *value, size_t count):
        cdef size_t length = 0
        cdef size_t place, end
        cdef edgeml_ort *ort = &self.library.ort
        if count == 0:
            return []
        self.library.check(ort.strings_length(value, &length))
        text = PyBytes_FromStringAndSize(NULL, length)
        cdef char *data = PyBytes_AS_STRING(text)
        offsets = <size_t *> calloc(count + 1, sizeof(size_t))
        if offsets == NULL:
            raise MemoryError("no memory for the strings of a run")
        try:
            self.library.check(ort.strings_content(value, data, length, offsets, count))
            offsets[count] = length
            made = []
            for place in range(count):
                end = offsets[place + 1]
                made.append(PyUnicode_DecodeUTF8(data + offsets[place], end - offsets[place], b"replace"))
            return made
        finally:
            free(offsets)


@cython.final
@cython.freelist(8)
@cython.no_gc_clear
cdef class Bound:
    # ONNX Runtime's IoBinding keeps the names resolved, so a run is cheaper than one that passes them each time.

    cdef Session session
    cdef Py_ssize_t n_values
    cdef OrtValue **values  # the input, then the outputs
    cdef Py_buffer *views   # the memory that the values point into
    cdef OrtIoBinding *binding

    def __cinit__(self, Session session not None, array, tuple indexes not None, tuple arrays not None):
        cdef Py_ssize_t place, index
        cdef Py_ssize_t n_outputs = len(indexes)
        cdef Library library = session.library
        if len(session.inputs) != 1 or session.elements[0] in (0, STRING):
            raise ValueError("only a model with one input that holds no strings can be bound")
        if len(arrays) != n_outputs:
            raise ValueError(f"{n_outputs} outputs were asked for, {len(arrays)} arrays were given")
        self.session = session
        self.values = <OrtValue **> calloc(n_outputs + 1, sizeof(OrtValue *))
        self.views = <Py_buffer *> calloc(n_outputs + 1, sizeof(Py_buffer))
        if self.values == NULL or self.views == NULL:
            raise MemoryError("no memory for a binding")
        self.n_values = n_outputs + 1
        library.check(library.ort.create_io_binding(session.session, &self.binding))
        self.values[0] = session._tensor_over(array, &self.views[0], session.elements[0], False)
        library.check(library.ort.bind_input(self.binding, session.input_names[0], self.values[0]))
        for place in range(1, n_outputs + 1):
            index = indexes[place - 1]
            if index < 0 or index >= len(session.outputs) or session.elements[1 + index] in (0, STRING):
                raise ValueError(f"output {index} does not exist or holds strings")
            self.values[place] = session._tensor_over(
                arrays[place - 1], &self.views[place], session.elements[1 + index], True)
            library.check(library.ort.bind_output(self.binding, session.output_names[index], self.values[place]))

    def __dealloc__(self):
        cdef Py_ssize_t place
        if self.binding != NULL:
            self.session.library.ort.release_io_binding(self.binding)
        for place in range(self.n_values):
            if self.values[place] != NULL:
                self.session.library.ort.release_value(self.values[place])
            PyBuffer_Release(&self.views[place])
        free(self.values)
        free(self.views)

    def run(self):
        cdef Library library = self.session.library
        cdef OrtSession *session = self.session.session
        cdef OrtStatus *status
        with nogil:
            status = library.ort.run_with_binding(session, library.run_options, self.binding)
        library.check(status)
