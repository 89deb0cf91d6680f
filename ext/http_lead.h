/* Who leads: of all threads exactly one, the leader, runs the loop (http_loop.h) and answers what it finds there.
 *
 * 1. `word` holds the phase and the number of the job that is being done. Leading is everything that touches the loop;
 *    while a leader is at a job it touches nothing but the job's link, and the word says so.
 * 2. One follower watches. Where it finds the same job at two looks, LEAD_TICK_NS apart, it takes the lead, by changing
 *    that very word; the old leader finds it changed once it is done, and follows.
 * 3. The watcher sleeps while no jobs are done. Who begins one wakes it; in a run of jobs it looks by itself.
 */
#ifndef EDGEML_HTTP_LEAD_H
#define EDGEML_HTTP_LEAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#define LEAD_TICK_NS 3000000
#define SECOND_NS 1000000000LL

enum { LEAD_NOBODY, LEAD_LEADS, LEAD_WORKS, LEAD_PHASES = 4 };

typedef struct {
    _Atomic uint64_t word; /* LEAD_PHASES * number of the job + phase */
    _Atomic int asleep;    /* the watcher */
    _Atomic int hurry;     /* the job is known to be long */
    _Atomic int ended;
    int watched;           /* somebody watches; under `lock` */
    pthread_mutex_t lock;
    pthread_cond_t wake;   /* the watcher */
    pthread_cond_t spare;  /* who waits to watch */
    pthread_cond_t gone;   /* who waits for the end */
} http_lead;

static inline int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND_NS + t.tv_nsec;
}

static inline int lead_init(http_lead *l) {
    pthread_condattr_t attributes;
    memset(l, 0, sizeof *l);
    if (pthread_condattr_init(&attributes)) return -1;
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    int failed = pthread_mutex_init(&l->lock, NULL) || pthread_cond_init(&l->wake, &attributes) ||
                 pthread_cond_init(&l->spare, NULL) || pthread_cond_init(&l->gone, &attributes);
    pthread_condattr_destroy(&attributes);
    return failed ? -1 : 0;
}

static inline void lead_free(http_lead *l) {
    pthread_cond_destroy(&l->wake);
    pthread_cond_destroy(&l->spare);
    pthread_cond_destroy(&l->gone);
    pthread_mutex_destroy(&l->lock);
}

/* Waits for a condition until a time; `lock` is held. */
static inline void lead_wait(pthread_cond_t *condition, pthread_mutex_t *lock, int64_t until) {
    struct timespec t = {.tv_sec = until / SECOND_NS, .tv_nsec = until % SECOND_NS};
    pthread_cond_timedwait(condition, lock, &t);
}

static inline void lead_wake(http_lead *l) {
    pthread_mutex_lock(&l->lock);
    pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->lock);
}

/* The leader begins with a job; `hurry` where it is known to be long. */
static inline uint64_t lead_begin(http_lead *l, int hurry) {
    uint64_t word = atomic_load_explicit(&l->word, memory_order_relaxed);
    word = (word / LEAD_PHASES + 1) * LEAD_PHASES + LEAD_WORKS;
    atomic_store_explicit(&l->hurry, hurry, memory_order_relaxed);
    atomic_store(&l->word, word);
    if (hurry || atomic_load(&l->asleep)) lead_wake(l);
    return word;
}

/* It is done with it: whether it leads still. */
static inline int lead_end(http_lead *l, uint64_t word) {
    return atomic_compare_exchange_strong(&l->word, &word, word - LEAD_WORKS + LEAD_LEADS);
}

static inline int lead_take(http_lead *l, uint64_t word) {
    return atomic_compare_exchange_strong(&l->word, &word, word - word % LEAD_PHASES + LEAD_LEADS);
}

static inline int lead_ended(http_lead *l) { return atomic_load(&l->ended); }

/* The leader leads no more, and leaves. */
static inline void lead_leave(http_lead *l) {
    uint64_t word = atomic_load(&l->word);
    atomic_store(&l->word, word - word % LEAD_PHASES + LEAD_NOBODY);
    lead_wake(l);
}

/* Waits until the calling thread leads (1), or all has ended (0). */
static inline int lead_follow(http_lead *l) {
    int won = 0;
    pthread_mutex_lock(&l->lock);
    while (l->watched && !atomic_load(&l->ended)) pthread_cond_wait(&l->spare, &l->lock);
    if (!atomic_load(&l->ended)) {
        uint64_t seen = UINT64_MAX, word;
        l->watched = 1;
        while (!won && !atomic_load(&l->ended)) {
            word = atomic_load(&l->word);
            switch (word % LEAD_PHASES) {
            case LEAD_NOBODY:
                won = lead_take(l, word);
                continue;
            case LEAD_WORKS:
                if (word == seen || atomic_exchange(&l->hurry, 0)) {
                    won = lead_take(l, word);
                    seen = word;
                    continue;
                }
                break;
            default:
                if (word == seen) { /* nothing was done for a tick, and nothing is */
                    atomic_store(&l->asleep, 1);
                    /* A job that began before the flag was up is seen here; one that begins now wakes. */
                    if (atomic_load(&l->word) == word) pthread_cond_wait(&l->wake, &l->lock);
                    atomic_store(&l->asleep, 0);
                    seen = UINT64_MAX;
                    continue;
                }
            }
            seen = word;
            lead_wait(&l->wake, &l->lock, now_ns() + LEAD_TICK_NS);
        }
        l->watched = 0;
        pthread_cond_signal(&l->spare);
    }
    pthread_mutex_unlock(&l->lock);
    return won;
}

#endif
