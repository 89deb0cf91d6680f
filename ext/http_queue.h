/* Links in a row. A link is in one row at most. */
#ifndef EDGEML_HTTP_QUEUE_H
#define EDGEML_HTTP_QUEUE_H

#include "http_link.h"

typedef struct {
    http_link *first, *last;
} http_queue;

static inline void queue_add(http_queue *q, http_link *c) {
    c->after = NULL;
    if (q->last) q->last->after = c;
    else q->first = c;
    q->last = c;
}

static inline http_link *queue_take(http_queue *q) {
    http_link *c = q->first;
    if (c && !(q->first = c->after)) q->last = NULL;
    return c;
}

static inline void queue_remove(http_queue *q, http_link *c) {
    http_queue kept = {NULL, NULL};
    http_link *each;
    while ((each = queue_take(q))) {
        if (each != c) queue_add(&kept, each);
    }
    *q = kept;
}

#endif
