/* One connection: what has come in, what is to go out, and how far both are.
 *
 * 1. Bytes are read into one buffer: [head][body][what came after it]. A body of up to LINK_SMALL bytes stays there, a
 *    larger one goes to memory that the front gives (`body`), once it has been granted (http_loop.h). A small one that
 *    inflates waits for its grant once it is whole.
 * 2. Nothing here needs the GIL. `body`, `held` and `stream` are Python's; the front alone makes and drops them.
 * 3. A link belongs to the loop, or, while it is `away`, to the thread that answers its request. Nobody else touches it.
 */
#ifndef EDGEML_HTTP_LINK_H
#define EDGEML_HTTP_LINK_H

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "http_chunks.h"
#include "http_head.h"

#define LINK_SMALL 65536
#define LINK_BUFFER 8192    /* what most requests fit into */
#define LINK_ONE_SEND 16384 /* answers up to this are copied behind their head */
#define LINK_ONE_READ 262144 /* bytes that are read before others get their turn */

enum { /* where a request is */
    LINK_HEAD,    /* its head comes, or nothing yet */
    LINK_WAITS,   /* its body, or what that inflates to, is to be granted memory */
    LINK_BODY,    /* its body comes */
    LINK_QUEUED,  /* it waits for a thread, or is with one */
    LINK_WRITES,  /* its answer goes out */
    LINK_LINGERS, /* answered; what the client still sends is thrown away, so that it can read the answer */
    LINK_DEAD
};

enum { /* what a thread with the GIL has to do for it */
    JOB_NONE,
    JOB_ANSWER,
    JOB_REFUSE,  /* with `refusal` */
    JOB_MEMORY,  /* make `body` of `body_room` bytes */
    JOB_WRITTEN, /* what was to go out is out: drop `held`, go on with `stream` */
    JOB_BURY     /* drop all and forget the link */
};

#define REFUSAL_CUT_SHORT 499 /* the body ended before its end */

typedef struct http_link {
    struct http_link *next, *prev; /* of all links */
    struct http_link *after;       /* in the queue, among those that wait for memory, or on the way back */
    int fd;
    uint8_t state, job, away;
    uint8_t more;    /* the last read was full: there may be more without a further event */
    uint8_t wary;    /* events were missed: a short read does not say that nothing more is there */
    uint8_t begun;   /* a part of a head is there */
    uint8_t placed;  /* the body has memory of its own */
    uint8_t polled;  /* the kernel was asked to say when more can be written */
    uint8_t broken;  /* nothing can be written any more */
    uint8_t closing; /* no further request is taken */
    uint8_t granted; /* memory is set apart for the body */
    uint8_t whole;   /* the body is: only what it inflates to waits for a grant */
    uint8_t chunk;   /* the answer goes out in chunks */
    uint8_t tail;    /* bytes of "\r\n" after `held` */
    int refusal;
    int64_t deadline; /* ns; what happens then depends on `state` */
    int64_t limit;    /* ns; what has come or gone by then may be nothing */
    int64_t latest;   /* ns; no progress of a body moves its deadline beyond */

    uint8_t *in;
    size_t in_room, in_size;
    http_scan scan;
    http_head head;
    uint32_t head_size;
    http_chunks chunks;
    size_t raw;       /* where the chunks begin that are not decoded yet */
    int64_t body_size; /* of what is there */
    int64_t body_room;
    int64_t share;     /* of the memory for large bodies */
    void *body;
    uint8_t *body_at;
    int64_t discarded;

    uint8_t *out;
    size_t out_room, out_size;
    const uint8_t *held_at; /* follows `out` */
    size_t held_size, sent;
    int64_t written;        /* of the answer, since the client first kept it waiting */
    int64_t waited;         /* ns; how long it has done so */
    void *held, *stream;
} http_link;

/* Makes room for `size` bytes; 0, or -1 where there is no memory. */
static inline int link_room(uint8_t **buffer, size_t *room, size_t size) {
    if (size <= *room) return 0;
    size_t wanted = *room ? *room : 1024;
    while (wanted < size) wanted *= 2;
    uint8_t *grown = realloc(*buffer, wanted);
    if (!grown) return -1;
    *buffer = grown;
    *room = wanted;
    return 0;
}

static inline void link_refuse(http_link *c, int refusal) {
    c->refusal = refusal;
    c->job = JOB_REFUSE;
    c->state = LINK_QUEUED;
    c->closing = 1;
}

/* Lets a body wait for memory: for `room` bytes, and as much as it may inflate to. */
static inline void link_wait(http_link *c, int64_t room, int64_t most) {
    c->body_room = room;
    c->share = room + (c->head.coded ? most : 0);
    c->state = LINK_WAITS;
}

static inline void link_complete(http_link *c, int64_t most) {
    c->job = JOB_ANSWER;
    c->state = LINK_QUEUED;
    if (c->head.coded && c->body_size && !c->granted) {
        c->whole = 1;
        link_wait(c, 0, most);
    }
}

/* Bytes of the request in the buffer: what stands behind them is of the next one. */
static inline size_t link_request_end(const http_link *c) {
    if (c->head.chunked) return c->raw;
    if (c->placed || c->head.length <= 0) return c->head_size;
    return c->head_size + (size_t)c->head.length;
}

/* Takes what the buffer holds of a body. */
static inline void link_take_body(http_link *c, int64_t most) {
    if (!c->head.chunked) {
        size_t have = c->in_size - c->head_size;
        if (!c->placed) { /* it stays where it is */
            c->body_size = have < (size_t)c->head.length ? (int64_t)have : c->head.length;
        } else if (have) { /* what came with the head; the rest is read to its place */
            size_t missing = (size_t)(c->head.length - c->body_size);
            size_t take = have < missing ? have : missing;
            memcpy(c->body_at + c->body_size, c->in + c->head_size, take);
            memmove(c->in + c->head_size, c->in + c->head_size + take, have - take);
            c->body_size += (int64_t)take;
            c->in_size -= take;
        }
        if (c->body_size == c->head.length) link_complete(c, most);
        return;
    }
    for (;;) {
        size_t used, made;
        uint8_t *out = c->placed ? c->body_at : c->in + c->head_size;
        int64_t room = c->placed ? c->body_room : (most < LINK_SMALL ? most : LINK_SMALL);
        int status = http_chunks_read(&c->chunks, c->in + c->raw, c->in_size - c->raw, out + c->body_size,
                                      (size_t)(room - c->body_size), &used, &made);
        c->raw += used;
        c->body_size += (int64_t)made;
        if (status < 0) {
            link_refuse(c, -status);
        } else if (status > 0) {
            link_complete(c, most);
        } else if (c->raw < c->in_size || (c->chunks.state == HTTP_CHUNK_DATA && c->body_size == room)) {
            if (room == most) {
                link_refuse(c, 413);
            } else { /* it turns out to be large */
                link_wait(c, most, most);
                return;
            }
        }
        /* What is decoded is room for more. */
        if (c->state != LINK_QUEUED || c->job == JOB_REFUSE) {
            size_t keep = c->head_size + (c->placed ? 0 : (size_t)c->body_size);
            memmove(c->in + keep, c->in + c->raw, c->in_size - c->raw);
            c->in_size -= c->raw - keep;
            c->raw = keep;
        }
        return;
    }
}

/* Looks at what is in the buffer while a head is expected. */
static inline void link_take_head(http_link *c, int64_t most) {
    int32_t size = http_head_scan(c->in, c->in_size, &c->scan);
    if (size == 0) return;
    int status = size < 0 ? size : http_head_read(c->in, (size_t)size, &c->head);
    if (status < 0) {
        link_refuse(c, -status);
        return;
    }
    c->head_size = (uint32_t)size;
    c->body_size = 0;
    c->raw = (size_t)size;
    memset(&c->chunks, 0, sizeof c->chunks);
    if (!c->head.keep) c->closing = 1;
    if (c->head.length > most) {
        link_refuse(c, 413);
    } else if (c->head.length <= 0 && !c->head.chunked) {
        link_complete(c, most);
    } else if (c->head.length > LINK_SMALL) {
        link_wait(c, c->head.length, most);
    } else {
        c->state = LINK_BODY;
        link_take_body(c, most);
        if (c->state == LINK_BODY && c->head.length > 0 &&
            link_room(&c->in, &c->in_room, c->head_size + (size_t)c->head.length) < 0)
            c->state = LINK_DEAD;
    }
}

/* Says that the body may come, where the client waits for that word. */
static inline void link_invite(http_link *c) {
    static const char word[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (!c->head.expects) return;
    c->head.expects = 0;
    /* So little always fits where nothing else is on its way; if not, the client will not wait for ever. */
    if (send(c->fd, word, sizeof word - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN) c->broken = 1;
}

static inline void link_take(http_link *c, int64_t most) {
    if (c->state == LINK_BODY) {
        link_take_body(c, most);
    } else if (c->state == LINK_HEAD) {
        link_take_head(c, most);
        if (c->state == LINK_BODY) link_invite(c);
    }
}

/* Goes on with a large body, now that there is memory for it. */
static inline void link_have_memory(http_link *c, void *body, uint8_t *at, int64_t most) {
    c->body = body;
    c->body_at = at;
    c->placed = 1;
    c->state = LINK_BODY;
    c->job = JOB_NONE;
    c->more = 1;
    if (c->head.chunked) {
        memcpy(at, c->in + c->head_size, (size_t)c->body_size);
        memmove(c->in + c->head_size, c->in + c->raw, c->in_size - c->raw);
        c->in_size -= c->raw - c->head_size;
        c->raw = c->head_size;
    }
    link_take_body(c, most);
    if (c->state == LINK_BODY) link_invite(c);
}

/* Reads what has come, until a request is whole, nothing more is there, or others are to have their turn (`more`).
 * Gives how many bytes. */
static inline size_t link_read(http_link *c, int64_t most) {
    size_t total = 0;
    while ((c->state == LINK_HEAD || c->state == LINK_BODY) && total < LINK_ONE_READ) {
        uint8_t *to;
        size_t room;
        int placed = c->state == LINK_BODY && c->placed && !c->head.chunked;
        if (placed) {
            to = c->body_at + c->body_size;
            room = (size_t)(c->head.length - c->body_size);
            if (room > LINK_ONE_READ - total) room = LINK_ONE_READ - total;
        } else {
            size_t wanted = c->in_room ? c->in_room : LINK_BUFFER;
            if (c->in_size == c->in_room && c->in_room) wanted = 2 * c->in_room;
            if (link_room(&c->in, &c->in_room, wanted) < 0) {
                c->state = LINK_DEAD;
                return total;
            }
            to = c->in + c->in_size;
            room = c->in_room - c->in_size;
        }
        c->more = 0; /* not earlier: where nothing is read, what is known of the socket stays true */
        ssize_t got = recv(c->fd, to, room, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            c->wary = 0;
            return total;
        }
        if (got <= 0) {
            if (got == 0 && c->state == LINK_BODY) link_refuse(c, REFUSAL_CUT_SHORT);
            else c->state = LINK_DEAD;
            return total;
        }
        total += (size_t)got;
        if (placed) {
            c->body_size += got;
            if (c->body_size == c->head.length) link_complete(c, most);
        } else {
            c->in_size += (size_t)got;
            link_take(c, most);
        }
        if ((size_t)got < room) {
            if (!c->wary) return total;
        } else {
            c->more = 1;
        }
    }
    return total;
}

/* Makes the link ready for its next request, which may be in the buffer already. */
static inline void link_next(http_link *c, int64_t most) {
    size_t end = link_request_end(c);
    c->in_size = end < c->in_size ? c->in_size - end : 0;
    if (c->in_size) memmove(c->in, c->in + end, c->in_size);
    if (c->in_room > 4 * LINK_BUFFER && c->in_size <= LINK_BUFFER) {
        uint8_t *less = realloc(c->in, LINK_BUFFER);
        if (less) {
            c->in = less;
            c->in_room = LINK_BUFFER;
        }
    }
    memset(&c->scan, 0, sizeof c->scan);
    c->state = LINK_HEAD;
    c->job = JOB_NONE;
    c->begun = c->placed = c->whole = 0;
    c->limit = 0;
    c->waited = 0;
    c->out_size = c->held_size = c->sent = c->tail = 0;
    if (c->in_size) link_take(c, most);
}

/* Writes on; gives 1 once all is out, 0 where the client has to read first, -1 where it is gone. */
static inline int link_write(http_link *c) {
    static const uint8_t end[] = "\r\n";
    size_t total = c->out_size + c->held_size + c->tail;
    while (c->sent < total) {
        ssize_t put;
        if (total == c->out_size) {
            put = send(c->fd, c->out + c->sent, total - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        } else {
            struct iovec parts[3];
            struct msghdr message = {.msg_iov = parts, .msg_iovlen = 0};
            const uint8_t *from[3] = {c->out, c->held_at, end};
            size_t size[3] = {c->out_size, c->held_size, c->tail}, skip = c->sent;
            for (int i = 0; i < 3; i++) {
                size_t less = skip < size[i] ? skip : size[i];
                skip -= less;
                if (size[i] == less) continue;
                parts[message.msg_iovlen].iov_base = (void *)(uintptr_t)(from[i] + less);
                parts[message.msg_iovlen++].iov_len = size[i] - less;
            }
            put = sendmsg(c->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        }
        if (put < 0 && errno == EINTR) continue;
        if (put < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return 0;
        if (put < 0) return -1;
        c->sent += (size_t)put;
        c->written += put;
    }
    return 1;
}

/* Throws away what the client still sends. Gives 1 once it has ended, or has sent enough, and -1 where others are to
 * have their turn before it goes on. */
static inline int link_discard(http_link *c, int64_t most) {
    uint8_t away[16384];
    for (size_t total = 0; total < LINK_ONE_READ; total += sizeof away) {
        ssize_t got = recv(c->fd, away, sizeof away, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return 0;
        if (got <= 0) return 1;
        c->discarded += got;
        if (c->discarded > most) return 1;
    }
    return -1;
}

#endif
