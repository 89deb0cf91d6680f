/* From a text to the sparse columns of one vectorizer: its terms are looked up, counted and weighed.
 *
 * Everything in a vectorizer was checked when it was made. A term is a slice of one buffer, also where it is an n-gram
 * of words (they stand there side by side with one space between them), so nothing is copied for a look-up.
 */
#ifndef EDGEML_TEXT_VECTORS_H
#define EDGEML_TEXT_VECTORS_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text_tokens.h"

enum { EDGEML_OF_WORDS, EDGEML_OF_CHARACTERS, EDGEML_OF_CHARACTERS_IN_WORDS, EDGEML_ANALYZERS };
enum {
    EDGEML_T_LOG,       /* 1 + log(value)                                             */
    EDGEML_T_MULTIPLY, EDGEML_T_DIVIDE, /* by constants[slot]                         */
    EDGEML_T_NORMALIZE, /* all values divided by their norm; extra: 1 = l1, 2 = l2, 0 = max */
    EDGEML_T_SELECT,    /* slots with constants[slot] == 0 are dropped                */
    EDGEML_T_ROUND,     /* to the nearest float32                                     */
    EDGEML_T_COUNT
};
/* A table that needs more steps than this for a look-up is refused when it is made. Half of its places are free, where
 * the longest run of taken ones is about log(n) / 0.19 (linear probing at a load of 1/2): 86 for 16,777,216 terms. */
#define EDGEML_LONGEST_PROBE 128

typedef struct {
    uint32_t tag, slot; /* upper half of the hash; 1 + slot, 0 where the place is free */
} edgeml_place;

/* Words, each with the number of its turn. */
typedef struct {
    int64_t n, mask;
    edgeml_place *places;
    uint8_t *bytes;
    int64_t *starts; /* n + 1 */
} edgeml_term_table;

typedef struct {
    int32_t op, extra;
    const double *constants; /* one for each slot, where the operation has any */
} edgeml_text_step;

typedef struct {
    int32_t text, analyzer, lower, accents, shortest, longest, binary;
    int32_t hashed, alternate; /* hashed: slots are hashes and not terms */
    edgeml_pattern pattern;
    edgeml_term_table terms, stops;
    int64_t n_slots, n_steps;
    int64_t cost; /* of one byte of a text, where a vectorizer of single words has 1 */
    edgeml_text_step *steps;
    int32_t *outputs; /* of each slot: its column; -1 where it has none */
} edgeml_vectorizer;

typedef struct {
    int64_t slot;
    double value;
} edgeml_entry_of_text;

/* What one thread needs beside a vectorizer. turn[slot] is 1 + its entry, 0 where the text does not have it. */
typedef struct {
    edgeml_bytes normalized, joined;
    int64_t *bounds, n_bounds, capacity;
    int32_t *turn;
    edgeml_entry_of_text *entries;
    int64_t n_entries;
    int failed;
} edgeml_text_scratch;

static inline uint64_t edgeml_stir(uint64_t h, uint64_t v) {
    h = (h ^ v) * 0x9E3779B97F4A7C15u;
    return h ^ h >> 32;
}

static inline uint64_t edgeml_hash_of(const uint8_t *s, int64_t n) {
    uint64_t h = (uint64_t) n, v = 0;
    while (n >= 8) {
        memcpy(&v, s, 8);
        h = edgeml_stir(h, v);
        s += 8;
        n -= 8;
    }
    if (n >= 4) {
        uint32_t a, b;
        memcpy(&a, s, 4);
        memcpy(&b, s + n - 4, 4);
        h = edgeml_stir(h, (uint64_t) a << 32 | b);
    } else if (n > 0) {
        h = edgeml_stir(h, (uint64_t) s[0] << 16 | (uint64_t) s[n >> 1] << 8 | s[n - 1]);
    }
    h *= 0x94D049BB133111EBu;
    return h ^ h >> 29;
}

/* Number of the word; -1 where it is not there. */
static inline int64_t edgeml_find(const edgeml_term_table *w, const uint8_t *s, int64_t n) {
    if (w->n == 0) return -1;
    const uint64_t hash = edgeml_hash_of(s, n);
    const uint32_t tag = (uint32_t) (hash >> 32);
    for (int64_t at = (int64_t) (hash & (uint64_t) w->mask);; at = (at + 1) & w->mask) {
        const edgeml_place place = w->places[at];
        if (place.slot == 0) return -1;
        if (place.tag != tag) continue;
        const int64_t slot = (int64_t) place.slot - 1, start = w->starts[slot];
        if (w->starts[slot + 1] - start == n && memcmp(w->bytes + start, s, (size_t) n) == 0) return slot;
    }
}

/* Puts all words into the table. Gives -1, or the number of the first that stands twice or makes it slow.
 *
 * Words of one length are compared where 32 bits of their hashes are the same, which hardly ever happens to others than
 * the same word; where it was made to happen, no more bytes are compared than all words have together. */
static int64_t edgeml_fill(edgeml_term_table *w) {
    int64_t left = w->starts[w->n];
    for (int64_t slot = 0; slot < w->n; slot++) {
        const uint8_t *s = w->bytes + w->starts[slot];
        const int64_t n = w->starts[slot + 1] - w->starts[slot];
        const uint64_t hash = edgeml_hash_of(s, n);
        const uint32_t tag = (uint32_t) (hash >> 32);
        int64_t at = (int64_t) (hash & (uint64_t) w->mask), steps = 0;
        for (; w->places[at].slot != 0; at = (at + 1) & w->mask) {
            if (++steps > EDGEML_LONGEST_PROBE) return slot;
            if (w->places[at].tag != tag) continue;
            const int64_t other = (int64_t) w->places[at].slot - 1, start = w->starts[other];
            if (w->starts[other + 1] - start != n) continue;
            left -= n;
            if (left < 0 || memcmp(w->bytes + start, s, (size_t) n) == 0) return slot;
        }
        w->places[at].tag = tag;
        w->places[at].slot = (uint32_t) (slot + 1);
    }
    return -1;
}

/* Words or characters of the term that has most of them. A token may have a space in it, so this may be more than a term
 * was made of, but never less. */
static int64_t edgeml_most_of_a_term(const edgeml_term_table *w, int of_words) {
    int64_t most = 0;
    for (int64_t slot = 0; slot < w->n; slot++) {
        int64_t n = of_words;
        for (int64_t at = w->starts[slot]; at < w->starts[slot + 1]; n++) {
            if (!of_words) {
                edgeml_decode(w->bytes, w->starts[slot + 1], &at);
                continue;
            }
            while (at < w->starts[slot + 1] && w->bytes[at] != ' ') at++;
            if (at++ >= w->starts[slot + 1]) break;
        }
        if (n > most) most = n;
    }
    return most;
}

static inline uint32_t edgeml_turned(uint32_t x, int by) { return x << by | x >> (32 - by); }

/* MurmurHash3_x86_32 with seed 0 (Austin Appleby, public domain), by which HashingVectorizer numbers its terms. */
static uint32_t edgeml_murmur(const uint8_t *s, int64_t n) {
    uint32_t h = 0, k = 0;
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) {
        k = (uint32_t) s[i] | (uint32_t) s[i + 1] << 8 | (uint32_t) s[i + 2] << 16 | (uint32_t) s[i + 3] << 24;
        h ^= edgeml_turned(k * 0xCC9E2D51u, 15) * 0x1B873593u;
        h = edgeml_turned(h, 13) * 5 + 0xE6546B64u;
    }
    k = 0;
    for (int64_t j = n - 1; j >= i; j--) k = k << 8 | s[j];
    if (n > i) h ^= edgeml_turned(k * 0xCC9E2D51u, 15) * 0x1B873593u;
    h ^= (uint32_t) n;
    h = (h ^ h >> 16) * 0x85EBCA6Bu;
    h = (h ^ h >> 13) * 0xC2B2AE35u;
    return h ^ h >> 16;
}

static inline void edgeml_term(const edgeml_vectorizer *v, edgeml_text_scratch *t, const uint8_t *s, int64_t n) {
    int64_t slot;
    double by = 1;
    if (v->hashed) {
        const int32_t hash = (int32_t) edgeml_murmur(s, n);
        const int64_t size = hash < 0 ? -(int64_t) hash : hash;
        slot = size % v->n_slots;
        if (v->alternate && hash < 0) by = -1;
    } else {
        slot = edgeml_find(&v->terms, s, n);
        if (slot < 0) return;
    }
    if (t->turn[slot] == 0) {
        t->entries[t->n_entries].slot = slot;
        t->entries[t->n_entries].value = 0;
        t->turn[slot] = (int32_t) ++t->n_entries;
    }
    t->entries[t->turn[slot] - 1].value += by;
}

static inline int edgeml_bound(edgeml_text_scratch *t, int64_t at) {
    if (t->n_bounds == t->capacity) {
        const int64_t capacity = t->capacity * 2 + 256;
        int64_t *bounds = (int64_t *) realloc(t->bounds, (size_t) capacity * sizeof(int64_t));
        if (bounds == NULL) {
            t->failed = 1;
            return 0;
        }
        t->bounds = bounds;
        t->capacity = capacity;
    }
    t->bounds[t->n_bounds++] = at;
    return 1;
}

static void edgeml_word_terms(const edgeml_vectorizer *v, edgeml_text_scratch *t, const uint8_t *s, int64_t n) {
    int64_t at = 0, start;
    const int alone = v->longest == 1;
    t->joined.n = 0;
    t->n_bounds = 0;
    while ((start = edgeml_next_token(&v->pattern, s, n, &at)) >= 0) {
        const int64_t length = at - start;
        if (v->stops.n && edgeml_find(&v->stops, s + start, length) >= 0) continue;
        if (alone) {
            edgeml_term(v, t, s + start, length);
            continue;
        }
        if (!edgeml_reserve(&t->joined, length + 1)) {
            t->failed = 1;
            return;
        }
        if (!edgeml_bound(t, t->joined.n)) return;
        memcpy(t->joined.bytes + t->joined.n, s + start, (size_t) length);
        t->joined.bytes[t->joined.n + length] = ' ';
        t->joined.n += length + 1;
    }
    if (alone || !edgeml_bound(t, t->joined.n)) return;
    const int64_t words = t->n_bounds - 1;
    for (int64_t size = v->shortest; size <= v->longest && size <= words; size++)
        for (int64_t i = 0; i + size <= words; i++)
            edgeml_term(v, t, t->joined.bytes + t->bounds[i], t->bounds[i + size] - 1 - t->bounds[i]);
}

/* `\s\s+` becomes one space; in words, the text begins and ends with one and has no other white space. Leaves the
 * start of each character in bounds, and behind them the end. */
static int edgeml_spaced(edgeml_text_scratch *t, const uint8_t *s, int64_t n, int in_words) {
    edgeml_bytes *out = &t->joined;
    int64_t at = 0;
    out->n = 0;
    t->n_bounds = 0;
    if (!edgeml_reserve(out, n + 2)) return 0;
    if (in_words) {
        if (!edgeml_bound(t, out->n)) return 0;
        out->bytes[out->n++] = ' ';
    }
    while (at < n) {
        const int64_t start = at;
        int64_t end;
        const uint32_t code = edgeml_decode(s, n, &at);
        end = at;
        if (edgeml_about(code)->flags & EDGEML_IS_SPACE) {
            int64_t next = at;
            while (at < n && edgeml_about(edgeml_decode(s, n, &next))->flags & EDGEML_IS_SPACE) at = next;
            if (in_words && (at >= n || out->n == 1)) continue;
            if (in_words || at > end) {
                if (!edgeml_bound(t, out->n)) return 0;
                out->bytes[out->n++] = ' ';
                continue;
            }
        }
        if (!edgeml_bound(t, out->n)) return 0;
        memcpy(out->bytes + out->n, s + start, (size_t) (end - start));
        out->n += end - start;
    }
    if (in_words && out->n > 1) {
        if (!edgeml_bound(t, out->n)) return 0;
        out->bytes[out->n++] = ' ';
    }
    return edgeml_bound(t, out->n);
}

static void edgeml_character_terms(const edgeml_vectorizer *v, edgeml_text_scratch *t, const uint8_t *s, int64_t n) {
    const int in_words = v->analyzer == EDGEML_OF_CHARACTERS_IN_WORDS;
    if (!edgeml_spaced(t, s, n, in_words)) {
        t->failed = 1;
        return;
    }
    const uint8_t *bytes = t->joined.bytes;
    const int64_t *bounds = t->bounds, characters = t->n_bounds - 1;
    if (!in_words) {
        for (int64_t size = v->shortest; size <= v->longest && size <= characters; size++)
            for (int64_t i = 0; i + size <= characters; i++)
                edgeml_term(v, t, bytes + bounds[i], bounds[i + size] - bounds[i]);
        return;
    }
    for (int64_t begin = 0; begin + 2 < characters;) {
        int64_t end = begin + 1; /* the space behind the word */
        while (bytes[bounds[end]] != ' ') end++;
        const int64_t length = end + 1 - begin;
        for (int64_t size = v->shortest; size <= v->longest; size++) {
            if (size >= length) { /* a word that is short is taken once, whole */
                edgeml_term(v, t, bytes + bounds[begin], bounds[end + 1] - bounds[begin]);
                break;
            }
            for (int64_t i = begin; i + size <= end + 1; i++)
                edgeml_term(v, t, bytes + bounds[i], bounds[i + size] - bounds[i]);
        }
        begin = end;
    }
}

static void edgeml_step_of_text(const edgeml_text_step *step, edgeml_text_scratch *t) {
    edgeml_entry_of_text *e = t->entries;
    const int64_t n = t->n_entries;
    double norm = 0;
    int64_t kept = 0;
    switch (step->op) {
    case EDGEML_T_LOG: for (int64_t i = 0; i < n; i++) e[i].value = (e[i].value == 1 ? 0 : log(e[i].value)) + 1; break;
    case EDGEML_T_MULTIPLY: for (int64_t i = 0; i < n; i++) e[i].value *= step->constants[e[i].slot]; break;
    case EDGEML_T_DIVIDE: for (int64_t i = 0; i < n; i++) e[i].value /= step->constants[e[i].slot]; break;
    case EDGEML_T_ROUND: for (int64_t i = 0; i < n; i++) e[i].value = (double) (float) e[i].value; break;
    case EDGEML_T_SELECT:
        for (int64_t i = 0; i < n; i++) {
            if (step->constants[e[i].slot] != 0) {
                e[kept++] = e[i];
                t->turn[e[i].slot] = (int32_t) kept;
            } else t->turn[e[i].slot] = 0;
        }
        t->n_entries = kept;
        break;
    case EDGEML_T_NORMALIZE:
        for (int64_t i = 0; i < n; i++) {
            const double x = e[i].value;
            if (step->extra == 1) norm += fabs(x);
            else if (step->extra == 2) norm += x * x;
            else if (fabs(x) > norm) norm = fabs(x);
        }
        if (step->extra == 2) norm = sqrt(norm);
        if (norm != 0) for (int64_t i = 0; i < n; i++) e[i].value /= norm;
        break;
    default: break;
    }
}

/* The entries of one text, left in the scratch until edgeml_forget. Gives 0 where there is no memory for it. */
static int edgeml_vectorize(const edgeml_vectorizer *v, edgeml_text_scratch *t, const uint8_t *s, int64_t n) {
    if (v->lower || v->accents != EDGEML_KEEP_ACCENTS) {
        edgeml_normalized(s, n, v->lower, v->accents, &t->normalized);
        if (t->normalized.failed) return 0;
        s = t->normalized.bytes;
        n = t->normalized.n;
    }
    if (v->analyzer == EDGEML_OF_WORDS) edgeml_word_terms(v, t, s, n);
    else edgeml_character_terms(v, t, s, n);
    if (t->failed) return 0;
    if (v->binary) for (int64_t i = 0; i < t->n_entries; i++) t->entries[i].value = 1;
    for (int64_t i = 0; i < v->n_steps; i++) edgeml_step_of_text(v->steps + i, t);
    return 1;
}

static inline void edgeml_forget(edgeml_text_scratch *t) {
    for (int64_t i = 0; i < t->n_entries; i++) t->turn[t->entries[i].slot] = 0;
    t->n_entries = 0;
}

#endif
