"""Front. Documentation: edgeml/kernels/http_front.pyi; how connections are read and written is in the headers.

1. A link's memory is C's; what Python holds of it (`body`, `held`, `stream`) is made and dropped here, with the GIL.
2. A thread that does a job touches the job's link and nothing else of the loop (http_lead.h); the cached heads and the
   date are the GIL's.
3. Whatever a handler raises becomes an answer or the end of its connection, never that of a thread.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE, _PyBytes_Resize
from cpython.exc cimport PyErr_SetObject, PyErr_WriteUnraisable
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.errno cimport errno
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memchr, memcmp
from posix.unistd cimport close

from http_headers cimport *

import os
import sys


cdef enum:
    BLOCKS = 16              # heads that are kept written
    GIL_BYTES = 65536        # answers larger than this are sent without the GIL
    AS_IT_ENDS = -2          # see link_put_head
    WITHOUT_BODY = -3

cdef int64_t MOST_BYTES = 1 << 50  # sums of a few bounds are numbers still

BODY = sys.intern("edgeml.body")
cdef str METHOD = sys.intern("REQUEST_METHOD")
cdef str PATH = sys.intern("PATH_INFO")
cdef str QUERY = sys.intern("QUERY_STRING")
cdef str PROTOCOL = sys.intern("SERVER_PROTOCOL")
cdef str POST = sys.intern("POST")
cdef str GET = sys.intern("GET")
cdef tuple PROTOCOLS = ("HTTP/1.0", "HTTP/1.1")


cdef str _key(str name):
    """The WSGI name of a field."""
    name = name.upper().replace("-", "_")
    return sys.intern(name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + name)


cdef tuple KEYS = tuple([_key((<bytes> http_known[i]).decode()) for i in range(HTTP_KNOWN)])


cdef inline str _text(const uint8_t *data, Py_ssize_t size):
    return PyUnicode_DecodeLatin1(<const char *> data, size, NULL)


cdef str _path(const uint8_t *data, Py_ssize_t size):
    """A path, its %XX decoded, as latin-1."""
    if size == 0:
        return "/"
    if memchr(data, c'%', size) == NULL:
        return _text(data, size)
    pieces = (<bytes> data[:size]).split(b"%")
    whole = [pieces[0]]
    for piece in pieces[1:]:
        try:
            whole.append(bytes.fromhex(piece[:2].decode("ascii")) + piece[2:] if piece[:2].isalnum() else b"%" + piece)
        except ValueError:
            whole.append(b"%" + piece)
    return b"".join(whole).decode("latin-1")


cdef dict _fields(const uint8_t *data, http_head *head, dict environ):
    """Adds the fields of a head to an environ."""
    cdef http_field *field
    cdef int i, known
    cdef str key, value
    for i in range(head.fields):
        field = &head.field[i]
        known = http_known_field(data + field.name, field.name_size)
        if known >= 0:
            key = <str> KEYS[known]
        elif memchr(data + field.name, c'_', field.name_size) != NULL:
            continue  # Content_Length would come out as Content-Length does
        else:
            key = "HTTP_" + _text(data + field.name, field.name_size).upper().replace("-", "_")
        value = _text(data + field.value, field.value_size)
        if key in environ:
            if key == "CONTENT_LENGTH":
                continue  # the same once more, or it would have been refused
            value = environ[key] + ("; " if key == "HTTP_COOKIE" else ",") + value
        environ[key] = value
    return environ


cdef dict _request_line(const uint8_t *data, http_head *head):
    cdef const uint8_t *method = data + head.start
    cdef dict environ = {}
    if head.method_size == 4 and memcmp(method, b"POST", 4) == 0:
        environ[METHOD] = POST
    elif head.method_size == 3 and memcmp(method, b"GET", 3) == 0:
        environ[METHOD] = GET
    else:
        environ[METHOD] = _text(method, head.method_size)
    environ[PATH] = _path(data + head.path, head.path_size)
    environ[QUERY] = _text(data + head.query, head.query_size) if head.query_size else ""
    environ[PROTOCOL] = <str> PROTOCOLS[head.minor]
    return environ


@cython.final
cdef class _Block:
    """What a handler's headers become: the status line and the fields, written once for a list that comes again."""

    cdef list headers
    cdef Py_ssize_t count
    cdef int status
    cdef bytes text
    cdef bint closes
    cdef int64_t length  # that the handler gave; -1 where it gave none


@cython.final
cdef class Front:
    cdef http_loop *loop
    cdef object _answer
    cdef object _refuse
    cdef list _blocks
    cdef bytes _server
    cdef http_date _date
    cdef bint _opened

    def __cinit__(self, int listener, answer, refuse, *, int connections, int64_t body_bytes, int64_t memory_bytes,
                  double head_s=30.0, double stall_s=30.0, str server="edgeml"):
        if connections < 1 or not (0 <= body_bytes <= MOST_BYTES and 0 <= memory_bytes <= MOST_BYTES):
            raise ValueError("connections are at least 1, body_bytes and memory_bytes between 0 and 2**50")
        if not (0 < head_s < 1e6 and 0 < stall_s < 1e6):
            raise ValueError("head_s and stall_s are seconds above 0")
        self._answer, self._refuse = answer, refuse
        self._blocks = [None] * BLOCKS
        self._server = f"server: {server}\r\n".encode("ascii") if server else b""
        self.loop = <http_loop *> calloc(1, sizeof(http_loop))
        if self.loop == NULL or lead_init(&self.loop.lead) < 0:
            raise MemoryError()
        self._opened = True
        self.loop.epoll = self.loop.wake = -1
        self.loop.links_most = connections
        self.loop.body_most = body_bytes
        self.loop.memory = memory_bytes
        self.loop.head_ns = <int64_t> (head_s * 1e9)
        self.loop.stall_ns = <int64_t> (stall_s * 1e9)
        if loop_open(self.loop, listener) < 0:
            raise OSError(errno, os.strerror(errno))

    def __dealloc__(self):
        cdef http_link *c
        if self.loop == NULL:
            return
        while self.loop.links != NULL:
            c = self.loop.links
            if c.fd >= 0:
                close(c.fd)
            _drop_all(c)
            loop_forget(self.loop, c)
        if self._opened:
            if self.loop.epoll >= 0:
                close(self.loop.epoll)
            if self.loop.wake >= 0:
                close(self.loop.wake)
            lead_free(&self.loop.lead)
        free(self.loop)

    def run(self):
        cdef http_loop *loop = self.loop
        cdef http_link *c
        cdef uint64_t word
        cdef int leads
        while True:
            with nogil:
                leads = lead_follow(&loop.lead)
            if not leads:
                return
            while leads:
                c = loop_pop(loop)
                if c == NULL:
                    with nogil:
                        c = loop_next(loop)
                    if c == NULL:
                        lead_leave(&loop.lead)
                        return
                word = lead_begin(&loop.lead, c.placed and c.job == JOB_ANSWER)
                self._work(c)
                leads = lead_end(&loop.lead, word)
                if leads and (c.job == JOB_MEMORY or c.closing):  # much may be read, or thrown away
                    with nogil:
                        loop_done(loop, c)
                elif leads:
                    loop_done(loop, c)
                else:
                    loop_return(loop, c)

    def stop(self, double timeout_s):
        cdef int64_t until = now_ns() + <int64_t> (max(0.0, min(timeout_s, 1e6)) * 1e9)
        cdef int finished
        with nogil:
            finished = loop_stop(self.loop, until)
        return bool(finished)

    @property
    def connections(self):
        return self.loop.links_count

    cdef void _work(self, http_link *c) noexcept:
        try:
            if c.job == JOB_ANSWER or c.job == JOB_REFUSE:
                self._begin(c)
            elif c.job == JOB_WRITTEN:
                _drop_held(c)
                if c.stream != NULL:
                    self._go_on(c)
            elif c.job == JOB_MEMORY:
                _make_body(c)
            else:
                _drop_all(c)
        except BaseException as error:
            c.broken = 1
            _say(self, error)

    cdef _begin(self, http_link *c):
        """Asks the handler, and writes what it says as far as the client takes it."""
        cdef bytes piece = None
        stream = None
        if c.job == JOB_ANSWER:
            try:
                status, headers, body = self._answer(_environ(c))
                if type(body) is not bytes:
                    stream = iter(body)
                    piece = _next_piece(stream)
            except BaseException as error:
                c.closing = 1
                stream = None
                _say(self._answer, error)
                status, headers, body = self._refuse(500)
        else:
            _drop_body(c)
            status, headers, body = self._refuse(c.refusal)
        if stream is None:
            self._write_whole(c, self._block(status, headers), body)
        else:
            self._write_first(c, self._block(status, headers), stream, piece)

    cdef _write_whole(self, http_link *c, _Block block, bytes body):
        cdef int64_t length = PyBytes_GET_SIZE(body)
        cdef bint silent = _is_head(c)
        if block.closes:
            c.closing = 1
        if silent and block.length >= 0:
            length = block.length
        if block.status == 204 or block.status == 304:
            length, silent = WITHOUT_BODY, True
        self._put_head(c, block, length)
        if not silent:
            if c.out_size + <size_t> length <= LINK_ONE_SEND:
                if link_put(c, PyBytes_AS_STRING(body), length) < 0:
                    raise MemoryError()
            else:
                _hold(c, body)
        _write(c)

    cdef _write_first(self, http_link *c, _Block block, stream, bytes piece):
        """The head, and the first piece of what comes in pieces."""
        if block.closes or c.head.minor == 0:
            c.closing = 1
        c.chunk = c.head.minor == 1
        if _is_head(c):
            self._put_head(c, block, -1 if c.chunk else AS_IT_ENDS)
            _write(c)
            return
        self._put_head(c, block, -1 if c.chunk else AS_IT_ENDS)
        Py_INCREF(stream)
        c.stream = <void *> stream
        _write_piece(c, piece)

    cdef _go_on(self, http_link *c):
        _write_piece(c, _next_piece(<object> c.stream))

    cdef _put_head(self, http_link *c, _Block block, int64_t length):
        http_date_now(&self._date)
        c.out_size = c.sent = 0
        if link_put_head(c, PyBytes_AS_STRING(block.text), PyBytes_GET_SIZE(block.text), length, &self._date,
                         block.closes) < 0:
            raise MemoryError()

    cdef _Block _block(self, int status, list headers):
        """What is written of the headers; a list that is kept by its handler is written once."""
        cdef Py_ssize_t place = (<size_t> <void *> headers >> 4) % BLOCKS
        cdef _Block block = self._blocks[place]
        if block is None or block.headers is not headers or block.status != status or block.count != len(headers):
            block = self._written(status, headers)
            self._blocks[place] = block
        return block

    cdef _Block _written(self, int status, list headers):
        cdef _Block block = _Block.__new__(_Block)
        if not 200 <= status <= 599:
            raise ValueError(f"{status} is no status of an answer")
        lines = [f"HTTP/1.1 {status} {(<bytes> http_phrase(status)).decode()}"]
        block.headers, block.count, block.status, block.length = headers, len(headers), status, -1
        for name, value in headers:
            lower = name.lower()
            if lower == "content-length":
                block.length = int(value)
            elif lower == "connection":
                block.closes = block.closes or value.lower() == "close"
                if block.closes:
                    lines.append("connection: close")
            elif lower != "transfer-encoding":
                lines.append(f"{name}: {value}")
        text = "\r\n".join(lines)
        if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1 or "\0" in text:
            raise ValueError("a header of an answer has a line break in it")
        block.text = text.encode("latin-1") + b"\r\n" + self._server
        return block


cdef void _say(where, error) noexcept:
    """Logs an exception that nobody takes. It is put back first: once caught, it is not where the log looks for it."""
    PyErr_SetObject(type(error), error)
    PyErr_WriteUnraisable(where)


cdef bint _is_head(http_link *c):
    """Whether the answer has no body; also of a request that was refused before its head was read."""
    cdef size_t at = 2 if c.in_size >= 2 and memcmp(c.inside, b"\r\n", 2) == 0 else 0
    return c.in_size >= at + 5 and memcmp(c.inside + at, b"HEAD ", 5) == 0


cdef dict _environ(http_link *c):
    """The request as WSGI describes it, with its body."""
    cdef dict environ = _fields(c.inside, &c.head, _request_line(c.inside, &c.head))
    cdef PyObject *body
    if c.body == NULL:
        environ[BODY] = PyBytes_FromStringAndSize(<char *> c.inside + c.head_size, c.body_size)
    else:
        body = <PyObject *> c.body
        c.body = NULL
        if c.body_size != c.body_room:
            _PyBytes_Resize(&body, c.body_size)
        environ[BODY] = <object> body
        Py_XDECREF(body)
    return environ


cdef _make_body(http_link *c):
    """Memory for a large body; none is left where there is none."""
    try:
        body = PyBytes_FromStringAndSize(NULL, c.body_room)
    except MemoryError:
        return
    Py_INCREF(body)
    c.body = <void *> body
    c.body_at = <uint8_t *> PyBytes_AS_STRING(body)


cdef void _drop_body(http_link *c) noexcept:
    cdef PyObject *body = <PyObject *> c.body
    c.body = NULL
    Py_XDECREF(body)


cdef void _drop_held(http_link *c) noexcept:
    cdef PyObject *held = <PyObject *> c.held
    c.held = NULL
    c.out_size = c.held_size = c.sent = 0
    c.tail = 0
    Py_XDECREF(held)


cdef void _drop_stream(http_link *c) noexcept:
    cdef PyObject *stream = <PyObject *> c.stream
    c.stream = NULL
    Py_XDECREF(stream)


cdef void _drop_all(http_link *c) noexcept:
    _drop_body(c)
    _drop_held(c)
    _drop_stream(c)


cdef void _hold(http_link *c, bytes body) noexcept:
    Py_INCREF(body)
    c.held = <void *> body
    c.held_at = <uint8_t *> PyBytes_AS_STRING(body)
    c.held_size = PyBytes_GET_SIZE(body)


cdef bytes _next_piece(stream):
    """The next piece that is not empty; None after the last."""
    for piece in stream:
        if piece:
            return <bytes?> piece
    return None


cdef _write_piece(http_link *c, bytes piece):
    cdef int failed = 0
    if piece is None:
        _drop_stream(c)
        if c.chunk:
            failed = link_put(c, b"0\r\n\r\n", 5)
    else:
        if c.chunk:
            failed = link_put_number(c, PyBytes_GET_SIZE(piece), 16) or link_put(c, b"\r\n", 2)
            c.tail = 2
        _hold(c, piece)
    if failed:
        raise MemoryError()
    _write(c)


cdef _write(http_link *c):
    cdef int status
    if c.held_size > GIL_BYTES:
        with nogil:
            status = link_write(c)
    else:
        status = link_write(c)
    if status < 0:
        c.broken = 1
    elif status > 0:
        _drop_held(c)


def parse_head(pieces):
    cdef http_scan scan
    cdef http_head head
    cdef int32_t size = 0
    cdef bytes data = b""
    scan.line = scan.seen = scan.lines = 0
    for piece in pieces:
        data += piece
        size = http_head_scan(<const uint8_t *> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), &scan)
        if size != 0:
            break
    if size == 0:
        return 0, {}
    if size > 0:
        status = http_head_read(<const uint8_t *> PyBytes_AS_STRING(data), size, &head)
        size = status if status < 0 else size
    if size < 0:
        return size, {}
    environ = _fields(<const uint8_t *> PyBytes_AS_STRING(data), &head,
                      _request_line(<const uint8_t *> PyBytes_AS_STRING(data), &head))
    return size, environ | {
        "keep": bool(head.keep), "chunked": bool(head.chunked), "expects": bool(head.expects), "length": head.length
    }


def decode_chunks(pieces, Py_ssize_t room):
    cdef http_chunks chunks
    cdef size_t used = 0, made = 0
    cdef int status = 0
    cdef bytearray data
    cdef uint8_t *at
    cdef Py_ssize_t count = 0
    chunks = http_chunks(left=0, noise=0, state=0)
    decoded = b""
    rest = b""
    for piece in pieces:
        if status == 0:
            data = bytearray(rest + piece)
            at = data
            # In place, as a connection does it.
            status = http_chunks_read(&chunks, at, len(data), at, min(room - len(decoded), <Py_ssize_t> len(data)),
                                      &used, &made)
            decoded += bytes(data[:made])
            rest = bytes(data[used:])
        else:
            rest += piece
    return status, decoded, rest
