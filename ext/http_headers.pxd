"""What http_front.pyx uses of its headers."""

from cpython.object cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "http_head.h" nogil:
    ctypedef struct http_field:
        uint16_t name, name_size, value, value_size

    ctypedef struct http_head:
        uint32_t start
        uint16_t method_size, path, path_size, query, query_size, fields
        uint8_t minor, keep, chunked, expects
        int64_t length
        http_field field[100]

    ctypedef struct http_scan:
        uint32_t line, seen, lines

    int32_t http_head_scan(const uint8_t *data, size_t size, http_scan *scan)
    int http_head_read(const uint8_t *data, size_t size, http_head *head)
    uint8_t http_lower(uint8_t c)


cdef extern from "http_chunks.h" nogil:
    ctypedef struct http_chunks:
        uint64_t left
        uint32_t noise
        uint8_t state

    int http_chunks_read(http_chunks *c, const uint8_t *data, size_t size, uint8_t *out, size_t room, size_t *used,
                         size_t *made)


cdef extern from "http_link.h" nogil:
    enum:
        JOB_ANSWER
        JOB_REFUSE
        JOB_MEMORY
        JOB_WRITTEN
        JOB_BURY
        LINK_SMALL
        LINK_ONE_SEND

    ctypedef struct http_link:
        http_link *next
        int fd, refusal
        uint8_t job, broken, closing, chunk, tail, placed
        http_head head
        uint8_t *inside "in"
        size_t in_size
        uint32_t head_size
        int64_t body_size, body_room
        void *body
        uint8_t *body_at
        uint8_t *out
        size_t out_size, held_size, sent
        const uint8_t *held_at
        void *held
        void *stream

    int link_write(http_link *c)


cdef extern from "http_lead.h" nogil:
    ctypedef struct http_lead:
        int watched

    int lead_init(http_lead *lead)
    void lead_free(http_lead *lead)
    uint64_t lead_begin(http_lead *lead, int hurry)
    int lead_end(http_lead *lead, uint64_t word)
    int lead_follow(http_lead *lead)
    int lead_ended(http_lead *lead)
    void lead_leave(http_lead *lead)
    int64_t now_ns()


cdef extern from "http_loop.h" nogil:
    ctypedef struct http_loop:
        http_lead lead
        int epoll, wake, links_most, links_count
        int64_t head_ns, stall_ns, body_most, memory
        http_link *links

    int loop_open(http_loop *loop, int listener)
    http_link *loop_pop(http_loop *loop)
    http_link *loop_next(http_loop *loop)
    void loop_done(http_loop *loop, http_link *c)
    void loop_return(http_loop *loop, http_link *c)
    void loop_forget(http_loop *loop, http_link *c)
    int loop_stop(http_loop *loop, int64_t until)


cdef extern from "http_text.h" nogil:
    enum:
        HTTP_KNOWN

    ctypedef struct http_date:
        int size

    const char **http_known
    int http_known_field(const uint8_t *name, size_t size)
    const char *http_phrase(int status)
    void http_date_now(http_date *date)
    int link_put(http_link *c, const void *text, size_t size)
    int link_put_number(http_link *c, uint64_t number, unsigned base)
    int link_put_head(http_link *c, const void *block, size_t size, int64_t length, const http_date *date,
                      int says_close)
