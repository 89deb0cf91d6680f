/* The loop: which link goes on next. All of it belongs to the leader (http_lead.h), and runs without the GIL.
 *
 * 1. The kernel reports each change once (EPOLLET). A link that is with a thread misses its reports, so it is read until
 *    nothing is there when it comes back.
 * 2. What needs a thread is queued, and a queue is done before the kernel is asked again; what is queued meanwhile, by
 *    streams and by clients that send several requests at once, comes after what the kernel reports.
 * 3. Large bodies are read, and those that inflate are looked at, once there is memory for them, in the order of their
 *    coming. One is always let in.
 * 4. No timer runs while nobody has to be sent away.
 */
#ifndef EDGEML_HTTP_LOOP_H
#define EDGEML_HTTP_LOOP_H

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "http_lead.h"
#include "http_link.h"
#include "http_queue.h"

#define LOOP_EVENTS 64
#define LOOP_ACCEPTS 16
#define LOOP_NEVER INT64_MAX
#define LOOP_PAUSE_NS 100000000LL    /* between two tries to accept, where there are no descriptors left */
#define LOOP_LINGER_NS 5000000000LL
#define LOOP_FINISH_MS 10
#define LOOP_FINISH_NS 2000000000LL  /* for bodies that still come when the front is to end */
#define LOOP_BYTES_A_SECOND 8192     /* what has to come on the average, beyond the time that it may stall */

typedef struct {
    http_lead lead;
    int epoll, listener, wake;
    int listens; /* the kernel reports new connections */
    int links_most, lingering;
    _Atomic int links_count; /* anybody may ask for it */
    int64_t now, scan_at, accept_at;
    int64_t head_ns, stall_ns;
    int64_t body_most, memory, memory_used;
    http_link *links;
    http_queue ready, later, waiting;
    http_link *returned; /* under lead.lock */
    _Atomic int finishing;
    int finishes;         /* the loop has seen it */
    _Atomic int finished; /* every request has its answer */
} http_loop;

static void loop_settle(http_loop *l, http_link *c);
static void loop_finished(http_loop *l, http_link *c);

static void loop_watch(http_loop *l, http_link *c, int change, int writes) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET | (writes ? EPOLLOUT : 0), .data.ptr = c};
    c->polled = (uint8_t)writes;
    if (epoll_ctl(l->epoll, change, c->fd, &event)) c->broken = 1;
}

static void loop_listen(http_loop *l, int wanted) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &l->listener};
    if (wanted == l->listens) return;
    if (!epoll_ctl(l->epoll, wanted ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, l->listener, &event)) l->listens = wanted;
}

static void loop_until(http_loop *l, http_link *c, int64_t deadline) {
    c->deadline = deadline;
    if (deadline < l->scan_at) l->scan_at = deadline;
}

/* Opens what the loop needs; -1 with errno where that fails. */
static int loop_open(http_loop *l, int listener) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &l->wake};
    int flags = fcntl(listener, F_GETFL);
    l->listener = listener;
    l->scan_at = LOOP_NEVER;
    l->now = now_ns();
    if (flags < 0 || fcntl(listener, F_SETFL, flags | O_NONBLOCK)) return -1;
    if ((l->epoll = epoll_create1(EPOLL_CLOEXEC)) < 0) return -1;
    if ((l->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0) return -1;
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->wake, &event)) return -1;
    loop_listen(l, 1);
    return l->listens ? 0 : -1;
}

static void loop_forget(http_loop *l, http_link *c) {
    if (c->next) c->next->prev = c->prev;
    if (c->prev) c->prev->next = c->next;
    else l->links = c->next;
    free(c->in);
    free(c->out);
    free(c);
}

/* Large bodies */

static void loop_grant(http_loop *l, http_link *c) {
    l->memory_used += c->share;
    c->granted = 1;
    c->limit = 0; /* the time for the body begins anew: a chunked one has been read before it waited */
    c->job = c->whole ? JOB_ANSWER : JOB_MEMORY;
    c->state = LINK_QUEUED;
    queue_add(&l->later, c);
}

static int loop_has_memory(const http_loop *l, const http_link *c) {
    return l->memory_used == 0 || c->share <= l->memory - l->memory_used;
}

static void loop_grant_waiting(http_loop *l) {
    while (l->waiting.first && loop_has_memory(l, l->waiting.first)) loop_grant(l, queue_take(&l->waiting));
}

static void loop_give_back(http_loop *l, http_link *c) {
    if (!c->granted) return;
    c->granted = 0;
    l->memory_used -= c->share;
    loop_grant_waiting(l);
}

/* Ends */

/* Closes the connection. What Python holds of it is dropped by the next thread with the GIL. */
static void loop_drop(http_loop *l, http_link *c) {
    if (c->state == LINK_WAITS) {
        queue_remove(&l->waiting, c);
        loop_grant_waiting(l); /* the next may need less */
    }
    if (c->state == LINK_LINGERS) l->lingering--;
    c->state = LINK_DEAD;
    if (c->fd >= 0) {
        close(c->fd);
        c->fd = -1;
        l->links_count--;
        if (!atomic_load(&l->finishing) && l->now >= l->accept_at) loop_listen(l, 1);
    }
    if (c->body || c->held || c->stream) {
        c->job = JOB_BURY;
        c->deadline = LOOP_NEVER;
        queue_add(&l->later, c);
    } else {
        loop_give_back(l, c);
        loop_forget(l, c);
    }
}

static void loop_discard(http_loop *l, http_link *c) {
    int status = link_discard(c, 4 * l->body_most + LINK_SMALL);
    if (status > 0) loop_drop(l, c);
    else if (status < 0) loop_watch(l, c, EPOLL_CTL_MOD, 0); /* it is reported again, behind others */
}

/* Closes in steps (RFC 9112, 9.6): a client that still sends would lose the answer to a reset. */
static void loop_linger(http_loop *l, http_link *c) {
    c->state = LINK_LINGERS;
    c->discarded = 0;
    l->lingering++;
    loop_until(l, c, l->now + LOOP_LINGER_NS);
    if (shutdown(c->fd, SHUT_WR)) loop_drop(l, c);
    else loop_discard(l, c);
}

/* Whoever is waited for has to go on within the time for a stall, and on the average bring LOOP_BYTES_A_SECOND beyond
 * `limit`: what has come counts, not what was announced. */
static void loop_expect(http_loop *l, http_link *c, int64_t bytes) {
    int64_t next = l->now + l->stall_ns, slowest = c->limit + bytes * (SECOND_NS / LOOP_BYTES_A_SECOND);
    loop_until(l, c, slowest < next ? slowest : next);
}

/* What came in */

static void loop_read(http_loop *l, http_link *c) {
    size_t got = link_read(c, l->body_most);
    if (c->state == LINK_HEAD && c->in_size && !c->begun) {
        c->begun = 1;
        loop_until(l, c, l->now + l->head_ns);
    } else if (c->state == LINK_BODY && (got || !c->limit)) {
        if (!c->limit) {
            c->limit = l->now + l->stall_ns;
            c->latest = l->finishes ? l->now + LOOP_FINISH_NS : LOOP_NEVER;
        }
        loop_expect(l, c, c->body_size);
        if (c->deadline > c->latest) loop_until(l, c, c->latest);
        if (c->more) loop_watch(l, c, EPOLL_CTL_MOD, 0); /* as in loop_discard */
    }
    loop_settle(l, c);
}

static void loop_settle(http_loop *l, http_link *c) {
    switch (c->state) {
    case LINK_QUEUED:
        c->deadline = LOOP_NEVER;
        queue_add(&l->later, c);
        break;
    case LINK_WAITS:
        c->deadline = LOOP_NEVER;
        if (!l->waiting.first && loop_has_memory(l, c)) loop_grant(l, c);
        else queue_add(&l->waiting, c);
        break;
    case LINK_DEAD:
        loop_drop(l, c);
        break;
    default:
        break;
    }
}

/* What goes out */

static void loop_written(http_loop *l, http_link *c) {
    if (c->held || c->stream) {
        c->job = JOB_WRITTEN;
        c->state = LINK_QUEUED;
        c->deadline = LOOP_NEVER;
        queue_add(&l->later, c);
    } else {
        loop_finished(l, c);
    }
}

static void loop_write(http_loop *l, http_link *c) {
    size_t before = c->sent;
    int status = link_write(c);
    if (status < 0) {
        loop_drop(l, c);
    } else if (status > 0) {
        c->waited = l->now + l->stall_ns - c->limit;
        loop_written(l, c);
    } else if (c->sent != before) {
        loop_expect(l, c, c->written);
    }
}

/* The client has to read before its answer goes on. What the socket took before is not read yet, and does not count. */
static void loop_wait_for_reader(http_loop *l, http_link *c) {
    if (!c->waited) c->written = 0;
    c->state = LINK_WRITES;
    c->limit = l->now + l->stall_ns - c->waited;
    loop_expect(l, c, c->written);
    if (!c->polled) loop_watch(l, c, EPOLL_CTL_MOD, 1);
    loop_write(l, c);
}

/* An answer is out. */
static void loop_finished(http_loop *l, http_link *c) {
    loop_give_back(l, c);
    if (c->closing || atomic_load_explicit(&l->finishing, memory_order_relaxed)) {
        loop_linger(l, c);
        return;
    }
    if (c->polled) loop_watch(l, c, EPOLL_CTL_MOD, 0);
    link_next(c, l->body_most);
    if (c->state == LINK_HEAD) loop_until(l, c, l->now + l->head_ns);
    if (c->state == LINK_HEAD && !c->in_size && !c->more && !c->wary) return; /* what mostly happens */
    loop_read(l, c);
}

/* A thread is done with the job of a link. */
static void loop_done(http_loop *l, http_link *c) {
    c->away = 0;
    l->now = now_ns();
    switch (c->job) {
    case JOB_BURY:
        loop_give_back(l, c);
        loop_forget(l, c);
        return;
    case JOB_MEMORY:
        if (c->body) {
            link_have_memory(c, c->body, c->body_at, l->body_most);
            loop_read(l, c);
        } else {
            link_refuse(c, 503);
            loop_settle(l, c);
        }
        return;
    default:
        if (c->broken) {
            loop_drop(l, c);
        } else if (c->sent < c->out_size + c->held_size + c->tail) {
            loop_wait_for_reader(l, c);
        } else {
            loop_written(l, c);
        }
    }
}

/* The same, from a thread that leads no more. */
static void loop_return(http_loop *l, http_link *c) {
    uint64_t one = 1;
    pthread_mutex_lock(&l->lead.lock);
    c->after = l->returned;
    l->returned = c;
    pthread_mutex_unlock(&l->lead.lock);
    while (write(l->wake, &one, sizeof one) < 0 && errno == EINTR) continue;
}

/* What the kernel reports */

static void loop_woken(http_loop *l) {
    uint64_t count;
    http_link *c, *after;
    while (read(l->wake, &count, sizeof count) < 0 && errno == EINTR) continue;
    pthread_mutex_lock(&l->lead.lock);
    c = l->returned;
    l->returned = NULL;
    pthread_mutex_unlock(&l->lead.lock);
    for (; c; c = after) {
        after = c->after;
        c->wary = c->more = 1;
        loop_done(l, c);
    }
}

static void loop_accept(http_loop *l) {
    int on = 1;
    for (int i = 0; i < LOOP_ACCEPTS && l->links_count < l->links_most; i++) {
        int fd = accept4(l->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM) return;
            loop_listen(l, 0);
            l->accept_at = l->now + LOOP_PAUSE_NS;
            if (l->accept_at < l->scan_at) l->scan_at = l->accept_at;
            return;
        }
        http_link *c = calloc(1, sizeof *c);
        if (!c) {
            close(fd);
            return;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* a Unix socket has nothing to be told */
        c->fd = fd;
        c->next = l->links;
        if (c->next) c->next->prev = c;
        l->links = c;
        l->links_count++;
        loop_until(l, c, l->now + l->head_ns);
        loop_watch(l, c, EPOLL_CTL_ADD, 0);
        if (c->broken) loop_drop(l, c);
    }
    if (l->links_count >= l->links_most) loop_listen(l, 0);
}

static void loop_event(http_loop *l, http_link *c, uint32_t events) {
    if (c->away) return; /* it is looked at when it comes back */
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) c->wary = 1;
    switch (c->state) {
    case LINK_HEAD:
    case LINK_BODY:
        loop_read(l, c);
        break;
    case LINK_LINGERS:
        loop_discard(l, c);
        break;
    case LINK_WRITES:
        c->more = 1;
        if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) loop_write(l, c);
        break;
    default:
        c->more = 1;
        if (c->state == LINK_WAITS && events & (EPOLLHUP | EPOLLERR)) loop_drop(l, c);
    }
}

/* Sends away whose time is over. */
static void loop_look(http_loop *l) {
    http_link *c, *next;
    l->scan_at = LOOP_NEVER;
    if (!l->listens && l->links_count < l->links_most && !atomic_load(&l->finishing)) {
        if (l->now >= l->accept_at) loop_listen(l, 1);
        else l->scan_at = l->accept_at;
    }
    for (c = l->links; c; c = next) {
        next = c->next;
        if (c->away || c->state == LINK_QUEUED || c->state == LINK_WAITS || c->state == LINK_DEAD) continue;
        if (c->deadline > l->now) {
            if (c->deadline < l->scan_at) l->scan_at = c->deadline;
        } else if (c->state == LINK_BODY || (c->state == LINK_HEAD && c->begun)) {
            link_refuse(c, 408);
            loop_settle(l, c);
        } else {
            loop_drop(l, c);
        }
    }
}

/* While the front is to end: closes who has asked nothing, and hurries who is asking; gives 1 once nobody is left. */
static int loop_finish(http_loop *l) {
    http_link *c, *next;
    if (!l->finishes) {
        l->finishes = 1;
        loop_listen(l, 0);
        for (c = l->links; c; c = c->next) {
            if (c->away || c->state != LINK_BODY) continue;
            c->latest = l->now + LOOP_FINISH_NS;
            if (c->deadline > c->latest) loop_until(l, c, c->latest);
        }
    }
    for (c = l->links; c; c = next) {
        next = c->next;
        if (!c->away && c->state == LINK_HEAD) loop_drop(l, c);
    }
    if (l->links_count > l->lingering || l->later.first) return 0;
    for (c = l->links; c; c = next) {
        next = c->next;
        if (c->state == LINK_LINGERS) loop_drop(l, c);
    }
    return l->links == NULL;
}

static void loop_end(http_loop *l) {
    pthread_mutex_lock(&l->lead.lock);
    atomic_store(&l->lead.ended, 1);
    pthread_cond_broadcast(&l->lead.wake);
    pthread_cond_broadcast(&l->lead.spare);
    pthread_cond_broadcast(&l->lead.gone);
    pthread_mutex_unlock(&l->lead.lock);
}

static int loop_timeout(const http_loop *l) {
    if (l->later.first) return 0;
    if (atomic_load_explicit(&l->finishing, memory_order_relaxed)) return LOOP_FINISH_MS; /* the last may just have gone */
    if (l->scan_at == LOOP_NEVER) return -1;
    int64_t left = l->scan_at - now_ns();
    return left <= 0 ? 0 : (int)(left / 1000000) + 1;
}

/* The next link of those that loop_next has found; NULL after the last. */
static inline http_link *loop_pop(http_loop *l) {
    http_link *c = queue_take(&l->ready);
    if (c) c->away = 1;
    return c;
}

/* The next link that needs a thread; NULL once all has ended. Called by the leader. */
static http_link *loop_next(http_loop *l) {
    struct epoll_event events[LOOP_EVENTS];
    http_link *c;
    while (!(c = loop_pop(l))) {
        if (atomic_load(&l->lead.ended)) return NULL;
        int count = epoll_wait(l->epoll, events, LOOP_EVENTS, loop_timeout(l));
        int woken = 0, accepts = 0;
        l->now = now_ns();
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == &l->wake) woken = 1;
            else if (events[i].data.ptr == &l->listener) accepts = 1;
            else loop_event(l, events[i].data.ptr, events[i].events);
        }
        /* These may free links: after all events, which name links. */
        if (woken) loop_woken(l);
        if (accepts) loop_accept(l);
        if (l->now >= l->scan_at) loop_look(l);
        if (atomic_load_explicit(&l->finishing, memory_order_relaxed) && loop_finish(l)) {
            atomic_store(&l->finished, 1);
            loop_end(l);
            return NULL;
        }
        l->ready = l->later;
        l->later.first = l->later.last = NULL;
    }
    return c;
}

/* Asks the loop to end; waits until it has, or until a time. Gives 1 where every request has its answer. */
static int loop_stop(http_loop *l, int64_t until) {
    uint64_t one = 1;
    int ended;
    atomic_store(&l->finishing, 1);
    while (write(l->wake, &one, sizeof one) < 0 && errno == EINTR) continue;
    pthread_mutex_lock(&l->lead.lock);
    while (!(ended = atomic_load(&l->lead.ended)) && now_ns() < until) lead_wait(&l->lead.gone, &l->lead.lock, until);
    pthread_mutex_unlock(&l->lead.lock);
    if (!ended) {
        loop_end(l);
        while (write(l->wake, &one, sizeof one) < 0 && errno == EINTR) continue;
    }
    return atomic_load(&l->finished);
}

#endif
