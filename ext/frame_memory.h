/* The memory behind a Frame, for its writer (frame.pyx) alone; readers see frame.h only.
 *
 * 1. One allocation lives as long as the capsule; its address is the address of the public view.
 * 2. Buffers grow and never shrink, so a frame that is filled again and again allocates nothing.
 * 3. A row that breaks the schema is not counted: the next row is written over it.
 * 4. Of every bad row the first violation is kept; further ones only up to a limit, so that a hostile
 *    body cannot make us hold more than a few dozen bytes for each of its records.
 *
 * No Python here: everything may run without the GIL.
 */
#ifndef EDGEML_FRAME_MEMORY_H
#define EDGEML_FRAME_MEMORY_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "frame.h"

/* Violation codes; frame.pyx hands them on as numbers, reader.py names them. */
enum {
    EDGEML_V_MISSING = 1,
    EDGEML_V_WRONG_TYPE = 2,
    EDGEML_V_NOT_FINITE = 3,
    EDGEML_V_BELOW_MIN = 4,
    EDGEML_V_ABOVE_MAX = 5,
    EDGEML_V_NOT_INTEGER = 6,
    EDGEML_V_UNSEEN_LEVEL = 7,
    EDGEML_V_TOO_LONG = 8,
    EDGEML_V_UNKNOWN_FIELD = 9,
    EDGEML_V_DUPLICATE_FIELD = 10,
    EDGEML_V_NOT_A_RECORD = 11,
};

/* What a stored violation shows of the value that came. */
enum { EDGEML_GOT_SLICE = 0, EDGEML_GOT_NUMBER = 1, EDGEML_GOT_BOOLEAN = 2 };

enum { EDGEML_NO_MEMORY = -1, EDGEML_EXPORTED = -2 };

#define EDGEML_MAX_MEMBERS 16
#define EDGEML_MAX_UNKNOWN 64
#define EDGEML_MAX_ROWS ((int64_t)1 << 40)

typedef struct {
    int64_t row;
    int32_t field; /* -1: an unknown field, or the record as a whole */
    int32_t code;
    int32_t origin;
    int64_t offset, length; /* slice of the JSON body */
    double value;           /* from a numeric column */
} edgeml_violation;

typedef struct {
    int64_t key_offset, key_length; /* with the quotes */
    int64_t value_offset, value_length;
} edgeml_member;

typedef struct {
    int64_t offset, length, count; /* raw key in the JSON body, without the quotes */
} edgeml_unknown;

typedef struct {
    edgeml_frame view; /* first: the capsule points here */
    int64_t n_fields;
    char *arena;
    int64_t arena_used, arena_capacity;
    uint8_t *pictures;
    int64_t pictures_capacity;
    int64_t exports; /* buffer views alive: the memory may not move */
    int busy;        /* a reader is at work */

    int64_t serial;  /* of the record being read, never the same twice */
    int64_t *stamps; /* per field: serial of the record that gave it last */
    int32_t *follow; /* per field (and for the start): the field that came next last time */

    int columnwise; /* bad[] tells the bad rows; otherwise rows come in order and last_bad is enough */
    uint8_t *bad;
    int64_t bad_capacity, last_bad, n_bad;

    int64_t limit, n_violations, n_admitted;
    edgeml_violation *stored;
    int64_t n_stored, stored_capacity;

    int64_t n_records; /* records seen, good or bad */
    edgeml_unknown unknown[EDGEML_MAX_UNKNOWN];
    int64_t n_unknown, unknown_other;
    edgeml_member members[EDGEML_MAX_MEMBERS];
    int64_t n_members;
} edgeml_memory;

static void edgeml_memory_free(edgeml_memory *m) {
    if (m == NULL) return;
    free(m->view.numbers);
    free(m->view.codes);
    free(m->view.texts);
    free(m->arena);
    free(m->pictures);
    free(m->stamps);
    free(m->follow);
    free(m->bad);
    free(m->stored);
    free(m);
}

/* Moves every column of one bank to a wider stride; the first n_rows of each column are kept. */
static void *edgeml_restride(void *old, size_t item, int64_t columns, int64_t rows, int64_t from, int64_t to) {
    size_t bytes = item * (size_t)to * (size_t)(columns > 0 ? columns : 1);
    char *fresh = malloc(bytes > 0 ? bytes : 1);
    if (fresh == NULL) return NULL;
    for (int64_t j = 0; j < columns && rows > 0; j++)
        memcpy(fresh + item * (size_t)(j * to), (char *)old + item * (size_t)(j * from), item * (size_t)rows);
    return fresh;
}

static int edgeml_memory_reserve(edgeml_memory *m, int64_t rows) {
    edgeml_frame *v = &m->view;
    if (rows <= v->capacity) return 0;
    if (m->exports > 0) return EDGEML_EXPORTED;
    int64_t widest = v->n_numbers > v->n_categories ? v->n_numbers : v->n_categories;
    if (v->n_texts > widest) widest = v->n_texts;
    if (rows > EDGEML_MAX_ROWS || (widest > 0 && rows > (int64_t)(SIZE_MAX >> 5) / widest)) return EDGEML_NO_MEMORY;
    double *numbers = edgeml_restride(v->numbers, sizeof(double), v->n_numbers, v->n_rows, v->capacity, rows);
    int32_t *codes = edgeml_restride(v->codes, sizeof(int32_t), v->n_categories, v->n_rows, v->capacity, rows);
    edgeml_text *texts = edgeml_restride(v->texts, sizeof(edgeml_text), v->n_texts, v->n_rows, v->capacity, rows);
    if (numbers == NULL || codes == NULL || texts == NULL) {
        free(numbers);
        free(codes);
        free(texts);
        return EDGEML_NO_MEMORY;
    }
    free(v->numbers);
    free(v->codes);
    free(v->texts);
    v->numbers = numbers;
    v->codes = codes;
    v->texts = texts;
    v->capacity = rows;
    return 0;
}

static edgeml_memory *edgeml_memory_new(int64_t numbers, int64_t categories, int64_t texts, int64_t capacity) {
    edgeml_memory *m = calloc(1, sizeof(edgeml_memory));
    if (m == NULL) return NULL;
    m->view.n_numbers = numbers;
    m->view.n_categories = categories;
    m->view.n_texts = texts;
    m->n_fields = numbers + categories + texts;
    m->stamps = calloc((size_t)m->n_fields + 1, sizeof(int64_t));
    m->follow = calloc((size_t)m->n_fields + 1, sizeof(int32_t));
    m->arena_capacity = 64;
    m->arena = malloc((size_t)m->arena_capacity);
    if (m->stamps == NULL || m->follow == NULL || m->arena == NULL || edgeml_memory_reserve(m, capacity) != 0) {
        edgeml_memory_free(m);
        return NULL;
    }
    m->view.arena = m->arena;
    /* Keys are expected in the schema's order until a record shows another. */
    for (int64_t i = 0; i < m->n_fields; i++) m->follow[i] = i + 1 < m->n_fields ? (int32_t)(i + 1) : -1;
    m->follow[m->n_fields] = m->n_fields > 0 ? 0 : -1;
    return m;
}

/* Room for `bytes` more in the arena; what is in it keeps its offset. */
static int edgeml_arena_reserve(edgeml_memory *m, int64_t bytes) {
    if (bytes <= m->arena_capacity - m->arena_used) return 0;
    if (bytes > (INT64_MAX >> 2) - m->arena_used) return EDGEML_NO_MEMORY;
    int64_t capacity = m->arena_used + bytes;
    if (capacity < 2 * m->arena_capacity) capacity = 2 * m->arena_capacity;
    char *arena = realloc(m->arena, (size_t)capacity);
    if (arena == NULL) return EDGEML_NO_MEMORY;
    m->arena = arena;
    m->arena_capacity = capacity;
    m->view.arena = arena;
    return 0;
}

/* Room for n pictures of equal size, with nothing in them. They are large, so unlike all else their memory is given
 * back where much less is needed than there was. */
static int edgeml_memory_pictures(edgeml_memory *m, int64_t n, int64_t bytes) {
    if (m->exports > 0) return EDGEML_EXPORTED;
    if (bytes > 0 && n > (INT64_MAX >> 2) / bytes) return EDGEML_NO_MEMORY;
    int64_t needed = n * bytes;
    m->view.n_pictures = 0;
    if (needed > m->pictures_capacity || m->pictures_capacity / 4 > needed) {
        free(m->pictures);
        m->pictures_capacity = 0;
        m->view.pictures = m->pictures = malloc(needed > 0 ? (size_t)needed : 1);
        if (m->pictures == NULL) return EDGEML_NO_MEMORY;
        m->pictures_capacity = needed;
    }
    m->view.n_pictures = n;
    m->view.picture_bytes = bytes;
    return 0;
}

/* Forgets the rows and violations of the last reading. */
static void edgeml_memory_begin(edgeml_memory *m, int64_t limit) {
    m->view.n_rows = 0;
    m->view.n_pictures = 0;
    m->arena_used = 0;
    m->columnwise = 0;
    m->last_bad = -1;
    m->n_bad = 0;
    m->limit = limit;
    m->n_violations = 0;
    m->n_admitted = 0;
    m->n_stored = 0;
    m->n_records = 0;
    m->n_unknown = 0;
    m->unknown_other = 0;
    m->n_members = 0;
}

/* Starts a reading by columns: n rows stand at once. */
static int edgeml_memory_begin_columns(edgeml_memory *m, int64_t limit, int64_t rows) {
    edgeml_memory_begin(m, limit);
    int status = edgeml_memory_reserve(m, rows);
    if (status != 0) return status;
    if (rows > m->bad_capacity) {
        uint8_t *bad = realloc(m->bad, (size_t)rows);
        if (bad == NULL) return EDGEML_NO_MEMORY;
        m->bad = bad;
        m->bad_capacity = rows;
    }
    if (rows > 0) memset(m->bad, 0, (size_t)rows);
    m->columnwise = 1;
    m->view.n_rows = rows;
    m->n_records = rows;
    return 0;
}

/* Counts a violation; says whether it is to be kept (1) or only counted (0). */
static int edgeml_admit(edgeml_memory *m, int64_t row) {
    int first;
    if (m->columnwise) {
        first = !m->bad[row];
        m->bad[row] = 1;
    } else {
        first = row != m->last_bad;
        m->last_bad = row;
    }
    m->n_bad += first;
    m->n_violations++;
    if (!first && m->n_admitted >= m->limit) return 0;
    m->n_admitted++;
    return 1;
}

static int edgeml_note(edgeml_memory *m, int64_t row, int32_t field, int32_t code, int32_t origin, int64_t offset,
                       int64_t length, double value) {
    if (!edgeml_admit(m, row)) return 0;
    if (m->n_stored == m->stored_capacity) {
        int64_t capacity = m->stored_capacity > 0 ? 2 * m->stored_capacity : 16;
        edgeml_violation *stored = realloc(m->stored, (size_t)capacity * sizeof(edgeml_violation));
        if (stored == NULL) return EDGEML_NO_MEMORY;
        m->stored = stored;
        m->stored_capacity = capacity;
    }
    edgeml_violation *w = &m->stored[m->n_stored++];
    w->row = row;
    w->field = field;
    w->code = code;
    w->origin = origin;
    w->offset = offset;
    w->length = length;
    w->value = value;
    return 0;
}

/* Takes the bad rows out of a reading by columns. */
static void edgeml_memory_compact(edgeml_memory *m) {
    edgeml_frame *v = &m->view;
    if (m->n_bad == 0) return;
    int64_t kept = 0;
    for (int64_t i = 0; i < v->n_rows; i++) {
        if (m->bad[i]) continue;
        if (kept != i) {
            for (int64_t j = 0; j < v->n_numbers; j++) v->numbers[j * v->capacity + kept] = v->numbers[j * v->capacity + i];
            for (int64_t j = 0; j < v->n_categories; j++) v->codes[j * v->capacity + kept] = v->codes[j * v->capacity + i];
            for (int64_t j = 0; j < v->n_texts; j++) v->texts[j * v->capacity + kept] = v->texts[j * v->capacity + i];
        }
        kept++;
    }
    v->n_rows = kept;
}

#endif
