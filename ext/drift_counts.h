/* Where a record counts: for every watched column the one bin that the record's value falls into.
 *
 * 1. Finding the bins reads the Frame and the answers and writes to scratch only; adding them to the counters is a
 *    second, much shorter step, which alone stands under the lock.
 * 2. A column was checked when the counters were made: no place that is found here lies outside of its bins.
 * 3. Counts are integers, so that counters merge exactly, in any order.
 *
 * No Python here: everything may run without the GIL.
 */
#ifndef EDGEML_DRIFT_COUNTS_H
#define EDGEML_DRIFT_COUNTS_H

#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#include "frame.h"

/* Kinds of column; the numbers are those of KINDS in drift_counters.pyi. Those up to WORDS read the Frame. */
enum {
    EDGEML_C_NUMBER = 0,
    EDGEML_C_CATEGORY = 1,
    EDGEML_C_TEXT = 2,
    EDGEML_C_WORDS = 3,
    EDGEML_C_TIER = 4,
    EDGEML_C_LABEL = 5,
    EDGEML_C_CONFIDENCE = 6,
    EDGEML_C_VALUE = 7,
    EDGEML_C_COUNT = 8,
};

/* The last pivot is never an edge, so that no value goes behind the last group. */
enum { EDGEML_C_GROUP = 8, EDGEML_C_MAX_EDGES = EDGEML_C_GROUP * EDGEML_C_GROUP - 1 };

enum { EDGEML_C_TEXT_BINS = 17, EDGEML_C_SHARES = 10, EDGEML_C_VOCABULARY_BITS = 16 };

enum { EDGEML_TIER_RULE = 0, EDGEML_TIER_MODEL = 1, EDGEML_TIER_FALLBACK = 2, EDGEML_TIER_MIDDLE = 3 };

typedef struct {
    int32_t kind;
    int32_t slot;             /* column of the Frame's bank; of VALUE: which number of the answer */
    int32_t start;            /* place of the first bin */
    int32_t edge, n_edges;    /* NUMBER, CONFIDENCE, VALUE: which edges, and how many */
    int32_t byte, n_bytes;    /* CATEGORY, LABEL: bin of each code; WORDS: the vocabulary's bitmap */
    int32_t sum;              /* NUMBER, VALUE: which pair of sums */
} edgeml_drift_column;

/* Edges for the search: 8 pivots, the last edge of each group, then 8 groups of 8 edges; behind the last edge NaN, which no
   value is at least. */
typedef struct {
    double pivots[EDGEML_C_GROUP];
    double edges[EDGEML_C_GROUP * EDGEML_C_GROUP];
} edgeml_drift_edges;
_Static_assert(sizeof(edgeml_drift_edges) % 64 == 0, "edges fill whole lines");

typedef struct {
    int64_t n_columns;
    int32_t size; /* counters in the block */
    int64_t ends[EDGEML_C_COUNT]; /* columns are sorted by kind; where each kind ends */
    const edgeml_drift_column *columns;
    const edgeml_drift_edges *edges;
    const uint8_t *bytes;
    const int64_t *label_values; /* raw value of each label, where the model gives raw ones */
    int64_t n_label_values;
    const int32_t *rule_labels; /* label of each rule's answer, -1 for none */
    int64_t n_rules;
    int64_t fallback_label;
} edgeml_drift_layout;

/* An array of numbers of one of the types that models give. */
typedef struct {
    const void *data; /* NULL: there is none */
    int64_t columns;
    char type; /* 'd', 'f', or 'q' (int64) */
} edgeml_drift_numbers;

/* The answers to the rows of a Frame. */
typedef struct {
    const uint8_t *tiers;
    const int32_t *rules;        /* read where the tier is RULE */
    const int64_t *labels;       /* index of the label; read where the tier is MODEL or MIDDLE */
    edgeml_drift_numbers scores; /* likewise */
    edgeml_drift_numbers values;
    int final_labels; /* labels are those of whichever tier answered */
    int raw_labels;   /* labels are raw values, to be looked up */
    int from_scores;  /* the label is that of the largest score */
} edgeml_drift_answers;

/* Where the values of rows are: value of row i in number column j is numbers[j * number_column + i * number_row]. */
typedef struct {
    const double *numbers;
    int64_t number_column, number_row;
    const int32_t *codes;
    int64_t code_column, code_row;
    const edgeml_text *texts; /* NULL: texts are not counted here */
    int64_t text_column;
    const char *arena;
} edgeml_drift_rows;

/* Rows that were answered one by one and wait to be counted together. A copy of a row is a fraction of the work of counting
   it, and what many rows need to be counted is brought into the cache once. Only touched under the lock. */
typedef struct {
    int64_t n, capacity;
    int64_t n_numbers, n_categories, n_values;
    double *numbers; /* row by row */
    int32_t *codes;
    uint8_t *tiers;
    int64_t *labels; /* of whichever tier */
    double *most;    /* the largest score */
    double *values;
    int32_t *places; /* scratch for all of them */
    double *sums;
} edgeml_drift_waiting;

typedef struct {
    atomic_flag flag;
} edgeml_drift_lock;

static inline void edgeml_drift_acquire(edgeml_drift_lock *lock) {
    /* Held for as long as it takes to add some integers: whoever waits longer waits for a thread that does not run. */
    int turns = 0;
    while (atomic_flag_test_and_set_explicit(&lock->flag, memory_order_acquire))
        if (++turns > 64) sched_yield();
}

static inline void edgeml_drift_release(edgeml_drift_lock *lock) {
    atomic_flag_clear_explicit(&lock->flag, memory_order_release);
}

static inline double edgeml_drift_number(const edgeml_drift_numbers *given, int64_t row, int64_t column) {
    int64_t at = row * given->columns + column;
    if (given->type == 'd') return ((const double *)given->data)[at];
    if (given->type == 'f') return (double)((const float *)given->data)[at];
    return (double)((const int64_t *)given->data)[at];
}

/* Each group fills a line of the cache, so that a search touches two of them. */
static inline edgeml_drift_edges *edgeml_drift_new_edges(int64_t n) {
    return aligned_alloc(64, (size_t)(n > 0 ? n : 1) * sizeof(edgeml_drift_edges));
}

static inline void edgeml_drift_fill(edgeml_drift_edges *out, const double *edges, int32_t n) {
    for (int32_t i = 0; i < EDGEML_C_GROUP * EDGEML_C_GROUP; i++) out->edges[i] = i < n ? edges[i] : NAN;
    /* The last bin is closed: what is above it is at least the next number after its edge. */
    if (n > 0) out->edges[n - 1] = nextafter(edges[n - 1], INFINITY);
    for (int32_t g = 0; g < EDGEML_C_GROUP; g++) out->pivots[g] = out->edges[g * EDGEML_C_GROUP + EDGEML_C_GROUP - 1];
}

/* Two at a time, on every processor that has such registers; at any address of a double. */
typedef double edgeml_two_doubles __attribute__((vector_size(16), aligned(8), may_alias));
typedef int64_t edgeml_two_counts __attribute__((vector_size(16)));

/* How many of eight numbers are at most v. */
static inline int64_t edgeml_drift_at_most(const double *numbers, double v) {
    const edgeml_two_doubles *e = (const edgeml_two_doubles *)numbers;
    edgeml_two_doubles x = {v, v};
    edgeml_two_counts found = ((e[0] <= x) + (e[1] <= x)) + ((e[2] <= x) + (e[3] <= x));
    return -(found[0] + found[1]);
}

/* NaN where there is no such number. */
static inline double edgeml_drift_value(const edgeml_drift_numbers *given, int64_t row, int64_t column) {
    return given->data != NULL && column < given->columns ? edgeml_drift_number(given, row, column) : NAN;
}

/* How many edges are at most v, but that the last bin is closed; 0 for NaN. Two rounds of eight comparisons that wait for
   nothing: halving takes six that wait for each other, which is several times as long. */
static inline int32_t edgeml_drift_bin(const edgeml_drift_edges *e, double v) {
    int64_t group = edgeml_drift_at_most(e->pivots, v);
    return (int32_t)(group * EDGEML_C_GROUP + edgeml_drift_at_most(e->edges + group * EDGEML_C_GROUP, v));
}

static inline int32_t edgeml_drift_length_bin(int64_t length) {
    if (length < 2) return 0;
    int32_t power = 63 - __builtin_clzll((unsigned long long)length);
    return power < EDGEML_C_TEXT_BINS ? power : EDGEML_C_TEXT_BINS - 1;
}

/* The word characters, lower case; 0 for what stands between words. */
static const uint8_t edgeml_drift_letters[256] = {
    ['0'] = '0', ['1'] = '1', ['2'] = '2', ['3'] = '3', ['4'] = '4', ['5'] = '5', ['6'] = '6', ['7'] = '7', ['8'] = '8',
    ['9'] = '9',
#define EDGEML_LETTER(lower, upper) [lower] = lower, [upper] = lower
    EDGEML_LETTER('a', 'A'), EDGEML_LETTER('b', 'B'), EDGEML_LETTER('c', 'C'), EDGEML_LETTER('d', 'D'),
    EDGEML_LETTER('e', 'E'), EDGEML_LETTER('f', 'F'), EDGEML_LETTER('g', 'G'), EDGEML_LETTER('h', 'H'),
    EDGEML_LETTER('i', 'I'), EDGEML_LETTER('j', 'J'), EDGEML_LETTER('k', 'K'), EDGEML_LETTER('l', 'L'),
    EDGEML_LETTER('m', 'M'), EDGEML_LETTER('n', 'N'), EDGEML_LETTER('o', 'O'), EDGEML_LETTER('p', 'P'),
    EDGEML_LETTER('q', 'Q'), EDGEML_LETTER('r', 'R'), EDGEML_LETTER('s', 'S'), EDGEML_LETTER('t', 'T'),
    EDGEML_LETTER('u', 'U'), EDGEML_LETTER('v', 'V'), EDGEML_LETTER('w', 'W'), EDGEML_LETTER('x', 'X'),
    EDGEML_LETTER('y', 'Y'), EDGEML_LETTER('z', 'Z'),
#undef EDGEML_LETTER
};

static inline uint8_t edgeml_drift_letter(uint8_t byte) { return byte < 0x80 ? edgeml_drift_letters[byte] : byte; }

/* FNV-1a, 64 bits, folded to those of the vocabulary; *at goes behind the word. -1 where there is no further word. */
static inline int32_t edgeml_drift_next_word(const uint8_t *text, int64_t length, int64_t *at) {
    int64_t i = *at;
    uint64_t hash = 0xcbf29ce484222325u;
    uint8_t letter = 0;
    while (i < length && !(letter = edgeml_drift_letter(text[i]))) i++;
    if (i == length) {
        *at = i;
        return -1;
    }
    do {
        hash = (hash ^ letter) * 0x100000001b3u;
        i++;
    } while (i < length && (letter = edgeml_drift_letter(text[i])));
    *at = i;
    hash ^= hash >> 32;
    hash ^= hash >> 16;
    return (int32_t)(hash & ((1u << EDGEML_C_VOCABULARY_BITS) - 1));
}

/* 0: there are no words; 1 + i: the share of words that are not in the vocabulary is in the i-th tenth. */
static inline int32_t edgeml_drift_share(const uint8_t *vocabulary, const uint8_t *text, int64_t length) {
    int64_t at = 0, words = 0, known = 0;
    int32_t bucket;
    while ((bucket = edgeml_drift_next_word(text, length, &at)) >= 0) {
        words++;
        known += vocabulary[bucket >> 3] >> (bucket & 7) & 1;
    }
    if (words == 0) return 0;
    int64_t tenth = (words - known) * EDGEML_C_SHARES / words;
    return 1 + (int32_t)(tenth < EDGEML_C_SHARES ? tenth : EDGEML_C_SHARES - 1);
}

/* Index of the label that was answered, -1 for none. */
static inline int64_t edgeml_drift_label(const edgeml_drift_layout *l, const edgeml_drift_answers *a, int64_t row) {
    if (a->final_labels) return a->labels[row];
    if (a->tiers[row] == EDGEML_TIER_RULE) {
        int64_t rule = a->rules[row];
        return rule >= 0 && rule < l->n_rules ? l->rule_labels[rule] : -1;
    }
    if (a->tiers[row] == EDGEML_TIER_FALLBACK) return l->fallback_label;
    if (a->from_scores) {
        int64_t best = 0;
        double most = edgeml_drift_number(&a->scores, row, 0);
        for (int64_t i = 1; i < a->scores.columns; i++) {
            double score = edgeml_drift_number(&a->scores, row, i);
            best = score > most ? i : best;
            most = score > most ? score : most;
        }
        return best;
    }
    if (a->labels == NULL) return -1;
    if (!a->raw_labels) return a->labels[row];
    for (int64_t i = 0; i < l->n_label_values; i++)
        if (l->label_values[i] == a->labels[row]) return i;
    return -1;
}

/* The largest score of a row that the model answered; NaN where there is none. */
static inline double edgeml_drift_most(const edgeml_drift_answers *a, int64_t row) {
    if (a->tiers[row] != EDGEML_TIER_MODEL || a->scores.data == NULL || a->scores.columns < 1) return NAN;
    double most = edgeml_drift_number(&a->scores, row, 0);
    for (int64_t i = 1; i < a->scores.columns; i++) {
        double score = edgeml_drift_number(&a->scores, row, i);
        most = score > most ? score : most;
    }
    return most;
}

/* 0 for NaN, by its bits. */
static inline double edgeml_drift_known(double value) {
    union {
        double number;
        uint64_t bits;
    } known = {value};
    known.bits &= -(uint64_t)(value == value);
    return known.number;
}

static inline int32_t edgeml_drift_text_place(const edgeml_drift_layout *l, const edgeml_drift_column *c,
                                              const edgeml_text *text, const char *arena) {
    if (text->length < 0) return c->start;
    if (c->kind == EDGEML_C_TEXT) return c->start + 1 + edgeml_drift_length_bin(text->length);
    return c->start + 1 + edgeml_drift_share(l->bytes + c->byte, (const uint8_t *)arena + text->offset, text->length);
}

static inline edgeml_drift_rows edgeml_drift_frame_rows(const edgeml_frame *f) {
    return (edgeml_drift_rows){f->numbers, f->capacity, 1, f->codes, f->capacity, 1, f->texts, f->capacity, f->arena};
}

/* Places of rows first .. first + m - 1, column by column: places[column * m + row]; where there is nothing to count, the
   place behind the block. And what they add to the sums, each of which belongs to one column. Gives the number of places.

   Columns of a kind stand together and are counted in a loop of their own, and a value that is missing takes no other way
   than one that is not: what a processor cannot foresee costs it more than the counting. */
__attribute__((always_inline)) /* so that the steps from row to row are known where they are 1 */
static inline int64_t edgeml_drift_places(const edgeml_drift_layout *l, const edgeml_drift_rows *f,
                                          const edgeml_drift_answers *a, int64_t first, int64_t m, int32_t *places,
                                          double *sums) {
    const edgeml_drift_column *c = l->columns;
    const int32_t *start = places;
    for (; c < l->columns + l->ends[EDGEML_C_NUMBER]; c++, places += m) {
        const double *values = f->numbers + c->slot * f->number_column + first * f->number_row;
        const edgeml_drift_edges *edges = l->edges + c->edge;
        double sum = 0.0, squares = 0.0;
        for (int64_t i = 0; i < m; i++) {
            /* NaN is at least no edge. */
            double value = values[i * f->number_row];
            places[i] = c->start + (value == value) + edgeml_drift_bin(edges, value);
            double known = edgeml_drift_known(value);
            sum += known;
            squares += known * known;
        }
        sums[2 * c->sum] = sum;
        sums[2 * c->sum + 1] = squares;
    }
    for (; c < l->columns + l->ends[EDGEML_C_CATEGORY]; c++, places += m) {
        const int32_t *codes = f->codes + c->slot * f->code_column + first * f->code_row;
        const uint8_t *bins = l->bytes + c->byte;
        for (int64_t i = 0; i < m; i++) {
            int32_t code = codes[i * f->code_row];
            int32_t bin = code >= 0 && code < c->n_bytes ? bins[code] : code == EDGEML_MISSING ? 0 : 1;
            places[i] = c->start + bin;
        }
    }
    if (f->texts == NULL) c = l->columns + l->ends[EDGEML_C_WORDS];
    for (; c < l->columns + l->ends[EDGEML_C_WORDS]; c++, places += m)
        for (int64_t i = 0; i < m; i++)
            places[i] = edgeml_drift_text_place(l, c, f->texts + c->slot * f->text_column + first + i, f->arena);
    for (; c < l->columns + l->ends[EDGEML_C_TIER]; c++, places += m)
        for (int64_t i = 0; i < m; i++) {
            /* A column of three bins has none for the middle tier, whose answers count as the model's there. */
            int32_t tier = a->tiers[first + i];
            places[i] = c->start + (tier <= EDGEML_TIER_FALLBACK + c->slot ? tier : EDGEML_TIER_MODEL);
        }
    for (; c < l->columns + l->ends[EDGEML_C_LABEL]; c++, places += m)
        for (int64_t i = 0; i < m; i++) {
            int64_t label = edgeml_drift_label(l, a, first + i);
            places[i] = c->start + (label >= 0 && label < c->n_bytes ? l->bytes[c->byte + label] : 0);
        }
    for (; c < l->columns + l->ends[EDGEML_C_CONFIDENCE]; c++, places += m)
        for (int64_t i = 0; i < m; i++) {
            double most = edgeml_drift_most(a, first + i);
            places[i] = most == most ? c->start + edgeml_drift_bin(l->edges + c->edge, most) : l->size;
        }
    for (; c < l->columns + l->ends[EDGEML_C_VALUE]; c++, places += m) {
        const edgeml_drift_numbers *given = a->values.data != NULL ? &a->values : &a->scores;
        double sum = 0.0, squares = 0.0;
        for (int64_t i = 0; i < m; i++) {
            if (a->tiers[first + i] != EDGEML_TIER_MODEL) {
                places[i] = l->size;
                continue;
            }
            double value = edgeml_drift_value(given, first + i, c->slot);
            places[i] = c->start + (value == value) + edgeml_drift_bin(l->edges + c->edge, value);
            double known = edgeml_drift_known(value);
            sum += known;
            squares += known * known;
        }
        sums[2 * c->sum] = sum;
        sums[2 * c->sum + 1] = squares;
    }
    return places - start;
}

/* Adds what was found; the block has a counter behind its last for what counts nowhere. */
static inline void edgeml_drift_add(int64_t *counts, double *totals, const int32_t *places, int64_t n_places,
                                    const double *sums, int64_t n_sums) {
    for (int64_t i = 0; i < n_places; i++) counts[places[i]]++;
    for (int64_t i = 0; i < n_sums; i++) totals[i] += sums[i];
}

/* Counts the rows that wait. Under the lock. */
static inline void edgeml_drift_settle(const edgeml_drift_layout *l, edgeml_drift_waiting *w, int64_t *counts,
                                       double *totals, int64_t n_sums) {
    if (w->n == 0) return;
    edgeml_drift_rows rows = {w->numbers, 1, w->n_numbers, w->codes, 1, w->n_categories, NULL, 0, NULL};
    edgeml_drift_answers answers = {.tiers = w->tiers, .labels = w->labels, .final_labels = 1};
    answers.scores = (edgeml_drift_numbers){w->most, 1, 'd'};
    if (w->n_values > 0) answers.values = (edgeml_drift_numbers){w->values, w->n_values, 'd'};
    int64_t n_places = edgeml_drift_places(l, &rows, &answers, 0, w->n, w->places, w->sums);
    edgeml_drift_add(counts, totals, w->places, n_places, w->sums, n_sums);
    w->n = 0;
}

/* Takes row 0 of a frame and its answer. `texts` are the places of its texts, found before. Under the lock. */
static inline void edgeml_drift_take(const edgeml_drift_layout *l, edgeml_drift_waiting *w, const edgeml_frame *f,
                                     const edgeml_drift_answers *a, int64_t label, double most, const int32_t *texts,
                                     int64_t *counts, double *totals, int64_t n_sums) {
    int64_t row = w->n, n_texts = l->ends[EDGEML_C_WORDS] - l->ends[EDGEML_C_CATEGORY];
    double *numbers = w->numbers + row * w->n_numbers, *values = w->values + row * w->n_values;
    int32_t *codes = w->codes + row * w->n_categories;
    for (int64_t j = 0; j < w->n_numbers; j++) numbers[j] = f->numbers[j * f->capacity];
    for (int64_t j = 0; j < w->n_categories; j++) codes[j] = f->codes[j * f->capacity];
    const edgeml_drift_numbers *given = a->values.data != NULL ? &a->values : &a->scores;
    for (int64_t j = 0; j < w->n_values; j++) values[j] = edgeml_drift_value(given, 0, j);
    for (int64_t j = 0; j < n_texts; j++) counts[texts[j]]++;
    w->tiers[row] = a->tiers[0];
    w->labels[row] = label;
    w->most[row] = most;
    w->n++;
    if (w->n == w->capacity) edgeml_drift_settle(l, w, counts, totals, n_sums);
}

#endif
