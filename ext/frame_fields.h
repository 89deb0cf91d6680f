/* What the schema says of each field, in the form in which the reader checks values. No Python here.
 *
 * Bounds are always set (the widest finite ones where the schema gives none), so one comparison on each side also
 * refuses NaN and infinities; only then is it worth asking what exactly is wrong.
 */
#ifndef EDGEML_FRAME_FIELDS_H
#define EDGEML_FRAME_FIELDS_H

#include "frame_memory.h"

enum {
    EDGEML_NUMBER = 0,
    EDGEML_INTEGER = 1,
    EDGEML_BOOLEAN = 2,
    EDGEML_CATEGORY = 3,
    EDGEML_TEXT = 4,
};

/* Open addressing from byte strings to their position; at most a quarter full. The strings belong to someone else. */
typedef struct {
    const char *key;
    int32_t length;
    uint32_t hash;
} edgeml_entry;

typedef struct {
    uint32_t mask, shift; /* 2**(32 - shift) slots */
    int32_t *slots; /* position, or -1 */
    edgeml_entry *entries;
    int64_t size;
} edgeml_table;

typedef struct {
    int32_t kind;
    int32_t index; /* column in its bank */
    int32_t missing_allowed;
    int32_t unseen_allowed;
    double min, max;
    int64_t max_bytes;
    int32_t plain; /* the name is written the same in JSON: no quote, backslash or control character */
    edgeml_table levels;
} edgeml_field;

typedef struct {
    int64_t n_fields;
    edgeml_field *fields;
    edgeml_table names;
    int32_t reject_unknown;
    int64_t limit; /* violations kept beyond the first of each row */
} edgeml_fields;

static inline uint64_t edgeml_load8(const char *p) {
    uint64_t word;
    memcpy(&word, p, 8);
    return word;
}

/* One to seven bytes as a word, without reading beyond them: overlapping loads in place of a loop over bytes. */
static inline uint64_t edgeml_load_short(const char *p, int64_t length) {
    if (length >= 4) {
        uint32_t low, high;
        memcpy(&low, p, 4);
        memcpy(&high, p + length - 4, 4);
        return low | (uint64_t)high << 32;
    }
    return (uint64_t)(uint8_t)p[0] | (uint64_t)(uint8_t)p[length >> 1] << 8 | (uint64_t)(uint8_t)p[length - 1] << 16;
}

/* Not against collisions made on purpose: the keys are those of a signed schema, and a collision costs time only. */
static inline uint32_t edgeml_hash(const char *key, int64_t length) {
    const uint64_t odd = 0xFF51AFD7ED558CCDu;
    uint64_t h = 0x9E3779B97F4A7C15u ^ (uint64_t)length;
    if (length >= 8) {
        for (int64_t i = 0; i + 8 < length; i += 8) {
            h = (h ^ edgeml_load8(key + i)) * odd;
            h ^= h >> 32;
        }
        h ^= edgeml_load8(key + length - 8);
    } else if (length > 0) {
        h ^= edgeml_load_short(key, length);
    }
    /* A product's top bits depend on every bit of its factors, so the table takes its index from there. */
    return (uint32_t)((h * odd) >> 32);
}

/* Names and levels are short: a call of memcmp would cost more than the comparison. */
static inline int edgeml_same(const char *a, const char *b, int64_t length) {
    if (length >= 8) {
        for (int64_t i = 0; i + 8 < length; i += 8)
            if (edgeml_load8(a + i) != edgeml_load8(b + i)) return 0;
        return edgeml_load8(a + length - 8) == edgeml_load8(b + length - 8);
    }
    return length == 0 || edgeml_load_short(a, length) == edgeml_load_short(b, length);
}

static inline int32_t edgeml_table_find(const edgeml_table *t, const char *key, int64_t length) {
    if (t->size == 0) return -1;
    uint32_t hash = edgeml_hash(key, length);
    for (uint32_t i = hash >> t->shift;; i = (i + 1) & t->mask) {
        int32_t at = t->slots[i];
        if (at < 0) return -1;
        const edgeml_entry *e = &t->entries[at];
        if (e->hash == hash && e->length == length && edgeml_same(e->key, key, length)) return at;
    }
}

static void edgeml_table_free(edgeml_table *t) {
    free(t->slots);
    free(t->entries);
    memset(t, 0, sizeof(*t));
}

static int edgeml_table_init(edgeml_table *t, int64_t size) {
    memset(t, 0, sizeof(*t));
    if (size < 0 || size > (1 << 28)) return EDGEML_NO_MEMORY;
    uint32_t width = 4;
    t->shift = 30;
    while (width < 4 * (uint64_t)size) {
        width *= 2;
        t->shift--;
    }
    t->mask = width - 1;
    t->slots = malloc(width * sizeof(int32_t));
    t->entries = malloc(((size_t)size + 1) * sizeof(edgeml_entry));
    if (t->slots == NULL || t->entries == NULL) {
        edgeml_table_free(t);
        return EDGEML_NO_MEMORY;
    }
    memset(t->slots, 0xFF, width * sizeof(int32_t));
    return 0;
}

/* Adds the next key; -1 where it stands already or is too long. The table was made for one more key at least. */
static int edgeml_table_add(edgeml_table *t, const char *key, int64_t length) {
    if (length > INT32_MAX || edgeml_table_find(t, key, length) >= 0) return -1;
    uint32_t hash = edgeml_hash(key, length);
    uint32_t i = hash >> t->shift;
    while (t->slots[i] >= 0) i = (i + 1) & t->mask;
    t->slots[i] = (int32_t)t->size;
    t->entries[t->size].key = key;
    t->entries[t->size].length = (int32_t)length;
    t->entries[t->size].hash = hash;
    t->size++;
    return 0;
}

static void edgeml_fields_free(edgeml_fields *s) {
    if (s == NULL) return;
    for (int64_t i = 0; s->fields != NULL && i < s->n_fields; i++) edgeml_table_free(&s->fields[i].levels);
    edgeml_table_free(&s->names);
    free(s->fields);
    free(s);
}

static edgeml_fields *edgeml_fields_new(int64_t n) {
    edgeml_fields *s = calloc(1, sizeof(edgeml_fields));
    if (s == NULL) return NULL;
    s->fields = calloc((size_t)n + 1, sizeof(edgeml_field));
    if (s->fields == NULL || edgeml_table_init(&s->names, n) != 0) {
        edgeml_fields_free(s);
        return NULL;
    }
    s->n_fields = n;
    return s;
}

/* What is wrong with a number that failed the quick test; or 0 with *out = NaN for an allowed missing value. */
static int edgeml_check_odd(const edgeml_field *f, double v, double *out) {
    if (v != v) {
        *out = NAN;
        return f->missing_allowed ? 0 : EDGEML_V_MISSING;
    }
    if (f->kind == EDGEML_BOOLEAN) return EDGEML_V_WRONG_TYPE;
    if (isinf(v)) return EDGEML_V_NOT_FINITE;
    if (f->kind == EDGEML_INTEGER && v != floor(v)) return EDGEML_V_NOT_INTEGER;
    return v < f->min ? EDGEML_V_BELOW_MIN : EDGEML_V_ABOVE_MAX;
}

/* Checks a number for a number, integer or boolean field; 0 and the value in *out, or a violation code.
 * The cast to int64 is defined: the bounds of integers and booleans lie within 2**53. */
static inline int edgeml_check_number(const edgeml_field *f, double v, double *out) {
    if (v >= f->min && v <= f->max && (f->kind == EDGEML_NUMBER || v == (double)(int64_t)v)) {
        *out = v;
        return 0;
    }
    return edgeml_check_odd(f, v, out);
}

/* Writes "no value" into a row; a violation code where the field does not allow it. */
static inline int edgeml_put_missing(edgeml_memory *m, const edgeml_field *f, int64_t row) {
    edgeml_frame *v = &m->view;
    int64_t at = f->index * v->capacity + row;
    if (f->kind <= EDGEML_BOOLEAN) {
        v->numbers[at] = NAN;
    } else if (f->kind == EDGEML_CATEGORY) {
        v->codes[at] = EDGEML_MISSING;
    } else {
        v->texts[at].offset = 0;
        v->texts[at].length = EDGEML_MISSING;
    }
    return f->missing_allowed ? 0 : EDGEML_V_MISSING;
}

/* Writes a level's code, found by its UTF-8 bytes. */
static inline int edgeml_put_level(edgeml_memory *m, const edgeml_field *f, int64_t row, const char *bytes, int64_t length) {
    int32_t code = edgeml_table_find(&f->levels, bytes, length);
    m->view.codes[f->index * m->view.capacity + row] = code >= 0 ? code : EDGEML_UNSEEN;
    return code >= 0 || f->unseen_allowed ? 0 : EDGEML_V_UNSEEN_LEVEL;
}

/* Copies a text's UTF-8 bytes into the arena. */
static int edgeml_put_text(edgeml_memory *m, const edgeml_field *f, int64_t row, const char *bytes, int64_t length) {
    if (length > f->max_bytes) return EDGEML_V_TOO_LONG;
    int status = edgeml_arena_reserve(m, length);
    if (status != 0) return status;
    memcpy(m->arena + m->arena_used, bytes, (size_t)length);
    edgeml_text *text = &m->view.texts[f->index * m->view.capacity + row];
    text->offset = m->arena_used;
    text->length = length;
    m->arena_used += length;
    return 0;
}

/* Checks n numbers, `step` bytes apart, and writes rows first .. first + n - 1 of a number column. */
#define EDGEML_COLUMN_LOOP(NAME, TYPE, ORIGIN, REFUSE)                                                                  \
    static int NAME(edgeml_memory *m, const edgeml_field *f, int32_t field, const char *data, int64_t step,             \
                    int64_t first, int64_t n) {                                                                         \
        double *out = m->view.numbers + f->index * m->view.capacity + first;                                            \
        for (int64_t i = 0; i < n; i++, data += step) {                                                                 \
            TYPE raw;                                                                                                   \
            memcpy(&raw, data, sizeof(TYPE));                                                                           \
            double v = (double)raw;                                                                                     \
            int code = (REFUSE) ? EDGEML_V_WRONG_TYPE : edgeml_check_number(f, v, &out[i]);                             \
            if (code != 0 && edgeml_note(m, first + i, field, code, ORIGIN, 0, 0, v) != 0) return EDGEML_NO_MEMORY;     \
        }                                                                                                               \
        return 0;                                                                                                       \
    }

EDGEML_COLUMN_LOOP(edgeml_column_f64, double, EDGEML_GOT_NUMBER, 0)
EDGEML_COLUMN_LOOP(edgeml_column_f32, float, EDGEML_GOT_NUMBER, 0)
EDGEML_COLUMN_LOOP(edgeml_column_i64, int64_t, EDGEML_GOT_NUMBER, 0)
EDGEML_COLUMN_LOOP(edgeml_column_u64, uint64_t, EDGEML_GOT_NUMBER, 0)
EDGEML_COLUMN_LOOP(edgeml_column_i32, int32_t, EDGEML_GOT_NUMBER, 0)
EDGEML_COLUMN_LOOP(edgeml_column_u32, uint32_t, EDGEML_GOT_NUMBER, 0)
EDGEML_COLUMN_LOOP(edgeml_column_i16, int16_t, EDGEML_GOT_NUMBER, 0)
EDGEML_COLUMN_LOOP(edgeml_column_u16, uint16_t, EDGEML_GOT_NUMBER, 0)
EDGEML_COLUMN_LOOP(edgeml_column_i8, int8_t, EDGEML_GOT_NUMBER, 0)
EDGEML_COLUMN_LOOP(edgeml_column_u8, uint8_t, EDGEML_GOT_NUMBER, 0)
EDGEML_COLUMN_LOOP(edgeml_column_bool, uint8_t, EDGEML_GOT_BOOLEAN, f->kind != EDGEML_BOOLEAN)

typedef int (*edgeml_column_loop)(edgeml_memory *, const edgeml_field *, int32_t, const char *, int64_t, int64_t, int64_t);

/* The loop for a buffer's format (as in Python's struct module) and item size; NULL where there is none. */
static edgeml_column_loop edgeml_column_loop_for(const char *format, int64_t itemsize) {
    if (format == NULL) return itemsize == 1 ? edgeml_column_u8 : NULL;
    if (*format == '@' || *format == '=') format++;
    if (format[0] == '\0' || format[1] != '\0') return NULL;
    char kind = format[0];
    if (kind == 'd' && itemsize == 8) return edgeml_column_f64;
    if (kind == 'f' && itemsize == 4) return edgeml_column_f32;
    if (kind == '?' && itemsize == 1) return edgeml_column_bool;
    if (strchr("bhilq", kind) != NULL) {
        if (itemsize == 8) return edgeml_column_i64;
        if (itemsize == 4) return edgeml_column_i32;
        if (itemsize == 2) return edgeml_column_i16;
        if (itemsize == 1) return edgeml_column_i8;
    }
    if (strchr("BHILQ", kind) != NULL) {
        if (itemsize == 8) return edgeml_column_u64;
        if (itemsize == 4) return edgeml_column_u32;
        if (itemsize == 2) return edgeml_column_u16;
        if (itemsize == 1) return edgeml_column_u8;
    }
    return NULL;
}

/* Rows that are read from all columns before going on: a row-major array is then read while it is in the cache. */
#define EDGEML_TILE_ROWS 128

/* Fills fields first .. stop - 1 in all rows; values are `down` bytes apart by row and `across` bytes by field. */
static int edgeml_fill_tiles(edgeml_memory *m, const edgeml_fields *s, edgeml_column_loop loop, const char *data,
                             int64_t down, int64_t across, int64_t first, int64_t stop) {
    int64_t n = m->view.n_rows;
    for (int64_t at = 0; at < n; at += EDGEML_TILE_ROWS) {
        int64_t rows = n - at < EDGEML_TILE_ROWS ? n - at : EDGEML_TILE_ROWS;
        for (int64_t field = first; field < stop; field++) {
            const char *column = data + at * down + (field - first) * across;
            int status = loop(m, &s->fields[field], (int32_t)field, column, down, at, rows);
            if (status != 0) return status;
        }
    }
    return 0;
}

#endif
