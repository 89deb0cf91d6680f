/* Records in JSON -> rows of a Frame, in one pass and without an object per value. No Python here.
 *
 * 1. Which key comes next is guessed from the record before (at first from the schema): a guess costs one
 *    comparison; only where it fails is the key unescaped and looked up.
 * 2. A syntax error ends the reading; a value that breaks the schema is noted, and the record's row is given up.
 * 3. null and an absent key mean the same: no value.
 * 4. Of the envelope's members only `records` is read here; the slices of the others are handed on.
 */
#ifndef EDGEML_JSON_RECORDS_H
#define EDGEML_JSON_RECORDS_H

#include "frame_fields.h"
#include "json_scan.h"

/* Further reasons to stop, after those of json_scan.h. */
enum {
    EDGEML_JSON_ROWS = 12,       /* more records than allowed */
    EDGEML_JSON_OBJECT = 13,     /* the body is not an object */
    EDGEML_JSON_ARRAY = 14,      /* `records` is not an array */
    EDGEML_JSON_TWICE = 15,      /* `records` stands twice */
    EDGEML_JSON_MEMBERS = 16,    /* too many members in the envelope */
    EDGEML_JSON_NO_RECORDS = 17, /* no member `records` */
};

typedef struct {
    edgeml_json json;
    edgeml_memory *memory;
    const edgeml_fields *spec;
} edgeml_scan;

static inline int edgeml_scan_fail(edgeml_scan *s, int error) {
    return edgeml_json_fail(&s->json, s->json.p, error);
}

static int edgeml_scan_note(edgeml_scan *s, int64_t record, int32_t field, int32_t code, const uint8_t *raw, int64_t length) {
    int status = edgeml_note(s->memory, record, field, code, EDGEML_GOT_SLICE, raw - s->json.start, length, 0.0);
    return status == 0 ? 0 : edgeml_scan_fail(s, status);
}

/* The meaning of a string's slice: the slice itself, or its unescaped form in the arena's free tail, where the
 * next string will be written over it. NULL without memory. */
static const char *edgeml_scan_plain(edgeml_scan *s, const uint8_t *raw, int64_t *length, int escaped) {
    if (!escaped) return (const char *)raw;
    edgeml_memory *m = s->memory;
    int status = edgeml_arena_reserve(m, *length);
    if (status != 0) {
        edgeml_scan_fail(s, status);
        return NULL;
    }
    char *out = m->arena + m->arena_used;
    *length = edgeml_json_unescape(raw, *length, out);
    return out;
}

static int edgeml_scan_text(edgeml_scan *s, const edgeml_field *f, int64_t row, const uint8_t *raw, int64_t length, int escaped) {
    edgeml_memory *m = s->memory;
    int status = edgeml_arena_reserve(m, length);
    if (status != 0) return edgeml_scan_fail(s, status);
    char *out = m->arena + m->arena_used;
    if (escaped) length = edgeml_json_unescape(raw, length, out);
    else memcpy(out, raw, (size_t)length);
    if (length > f->max_bytes) return EDGEML_V_TOO_LONG;
    edgeml_text *text = &m->view.texts[f->index * m->view.capacity + row];
    text->offset = m->arena_used;
    text->length = length;
    m->arena_used += length;
    return 0;
}

/* Reads one value into its field; 0, a violation code, or -1 where the reading must stop. */
static int edgeml_scan_value(edgeml_scan *s, const edgeml_field *f, int64_t row, int depth) {
    edgeml_json *j = &s->json;
    edgeml_memory *m = s->memory;
    uint8_t c = *j->p;
    if (c == '-' || (c >= '0' && c <= '9')) {
        double value;
        if (edgeml_json_number(j, &value) != 0) return -1;
        if (f->kind > EDGEML_BOOLEAN) return EDGEML_V_WRONG_TYPE;
        return edgeml_check_number(f, value, &m->view.numbers[f->index * m->view.capacity + row]);
    }
    if (c == '"') {
        const uint8_t *raw;
        int64_t length;
        int escaped;
        j->p++;
        if (edgeml_json_string(j, &raw, &length, &escaped) != 0) return -1;
        if (f->kind == EDGEML_CATEGORY) {
            const char *level = edgeml_scan_plain(s, raw, &length, escaped);
            return level == NULL ? -1 : edgeml_put_level(m, f, row, level, length);
        }
        if (f->kind == EDGEML_TEXT) return edgeml_scan_text(s, f, row, raw, length, escaped);
        return EDGEML_V_WRONG_TYPE;
    }
    if (c == 'n') {
        if (edgeml_json_word(j, "null", 4) != 0) return -1;
        return edgeml_put_missing(m, f, row);
    }
    if (edgeml_json_skip(j, depth) != 0) return -1;
    if ((c == 't' || c == 'f') && f->kind == EDGEML_BOOLEAN) {
        m->view.numbers[f->index * m->view.capacity + row] = c == 't' ? 1.0 : 0.0;
        return 0;
    }
    return EDGEML_V_WRONG_TYPE;
}

/* Counts an unknown field; a bounded number of distinct names, the rest in one heap. */
static void edgeml_scan_unknown(edgeml_scan *s, const uint8_t *raw, int64_t length) {
    edgeml_memory *m = s->memory;
    for (int64_t i = 0; i < m->n_unknown; i++) {
        edgeml_unknown *known = &m->unknown[i];
        if (known->length == length && memcmp(s->json.start + known->offset, raw, (size_t)length) == 0) {
            known->count++;
            return;
        }
    }
    if (m->n_unknown == EDGEML_MAX_UNKNOWN) {
        m->unknown_other++;
        return;
    }
    edgeml_unknown *fresh = &m->unknown[m->n_unknown++];
    fresh->offset = raw - s->json.start;
    fresh->length = length;
    fresh->count = 1;
}

/* Finds the field of the key at j->p (after its quote), which followed field `last`; -1 unknown, -2 stop. */
static int32_t edgeml_scan_key(edgeml_scan *s, int32_t last, const uint8_t **raw, int64_t *raw_length) {
    edgeml_json *j = &s->json;
    edgeml_memory *m = s->memory;
    const edgeml_table *names = &s->spec->names;
    int32_t guess = m->follow[last];
    if (guess >= 0 && s->spec->fields[guess].plain) {
        int64_t length = names->entries[guess].length;
        if (j->end - j->p > length && j->p[length] == '"' && edgeml_same((const char *)j->p, names->entries[guess].key, length)) {
            *raw = j->p;
            *raw_length = length;
            j->p += length + 1;
            return guess;
        }
    }
    int escaped;
    if (edgeml_json_string(j, raw, raw_length, &escaped) != 0) return -2;
    int64_t length = *raw_length;
    const char *key = edgeml_scan_plain(s, *raw, &length, escaped);
    if (key == NULL) return -2;
    int32_t field = edgeml_table_find(names, key, length);
    if (field >= 0) m->follow[last] = field;
    return field;
}

/* Reads one record; j->p stands at its first character. */
static int edgeml_scan_record(edgeml_scan *s, int64_t record, int depth) {
    edgeml_json *j = &s->json;
    edgeml_memory *m = s->memory;
    const edgeml_fields *spec = s->spec;
    int64_t row = m->view.n_rows, noted = m->n_violations, arena = m->arena_used, matched = 0;
    const uint8_t *begin = j->p;
    m->n_records++;
    if (*begin != '{') {
        if (edgeml_json_skip(j, depth) != 0) return -1;
        return edgeml_scan_note(s, record, -1, EDGEML_V_NOT_A_RECORD, begin, j->p - begin);
    }
    if (row == m->view.capacity) {
        int status = edgeml_memory_reserve(m, row < 8 ? 16 : 2 * row);
        if (status != 0) return edgeml_scan_fail(s, status);
    }
    int64_t serial = ++m->serial;
    int32_t last = (int32_t)spec->n_fields;
    j->p++;
    edgeml_json_space(j);
    if (*j->p == '}') {
        j->p++;
    } else {
        for (;;) {
            const uint8_t *raw;
            int64_t length;
            if (*j->p != '"') return edgeml_scan_fail(s, EDGEML_JSON_KEY);
            j->p++;
            int32_t field = edgeml_scan_key(s, last, &raw, &length);
            if (field == -2) return -1;
            edgeml_json_space(j);
            if (*j->p != ':') return edgeml_scan_fail(s, EDGEML_JSON_COLON);
            j->p++;
            edgeml_json_space(j);
            if (field < 0) {
                if (edgeml_json_skip(j, depth + 1) != 0) return -1;
                if (!spec->reject_unknown) edgeml_scan_unknown(s, raw, length);
                else if (edgeml_scan_note(s, record, -1, EDGEML_V_UNKNOWN_FIELD, raw, length) != 0) return -1;
            } else {
                int code;
                const uint8_t *value = j->p;
                last = field;
                if (m->stamps[field] == serial) {
                    code = edgeml_json_skip(j, depth + 1) != 0 ? -1 : EDGEML_V_DUPLICATE_FIELD;
                } else {
                    m->stamps[field] = serial;
                    matched++;
                    code = edgeml_scan_value(s, &spec->fields[field], row, depth + 1);
                }
                if (code < 0) return -1;
                if (code > 0 && edgeml_scan_note(s, record, field, code, value, j->p - value) != 0) return -1;
            }
            edgeml_json_space(j);
            if (*j->p == ',') {
                j->p++;
                edgeml_json_space(j);
            } else if (*j->p == '}') {
                j->p++;
                break;
            } else {
                return edgeml_scan_fail(s, EDGEML_JSON_COMMA);
            }
        }
    }
    for (int32_t i = 0; matched < spec->n_fields && i < spec->n_fields; i++) {
        if (m->stamps[i] == serial) continue;
        int code = edgeml_put_missing(m, &spec->fields[i], row);
        if (code != 0 && edgeml_scan_note(s, record, i, code, begin, 0) != 0) return -1;
    }
    if (m->n_violations == noted) m->view.n_rows++;
    else m->arena_used = arena;
    return 0;
}

static int edgeml_scan_end(edgeml_scan *s) {
    edgeml_json_space(&s->json);
    return s->json.p == s->json.end ? 0 : edgeml_scan_fail(s, EDGEML_JSON_TRAILING);
}

/* One record with nothing around it. */
static int edgeml_scan_line(edgeml_scan *s) {
    edgeml_json_space(&s->json);
    if (edgeml_scan_record(s, 0, 0) != 0) return -1;
    return edgeml_scan_end(s);
}

/* One record as the numbers of its fields, in their order: [1.5, -2, ...]; all fields must be in number columns.
 * Gives 1 where it is exactly that and fits the schema, else 0: the caller then takes the way that says what is wrong. */
static int edgeml_scan_numbers(edgeml_scan *s, int single) {
    edgeml_json *j = &s->json;
    edgeml_frame *v = &s->memory->view;
    edgeml_json_space(j);
    if (*j->p != '[' || v->capacity < 1) return 0;
    for (int64_t i = 0; i < s->spec->n_fields; i++) {
        double value;
        j->p++; /* the bracket or a comma */
        edgeml_json_space(j);
        if ((*j->p != '-' && (*j->p < '0' || *j->p > '9')) || edgeml_json_number(j, &value) != 0) return 0;
        if (single) {
            value = (double)(float)value;
            if (!isfinite(value)) return 0;
        }
        const edgeml_field *f = &s->spec->fields[i];
        if (edgeml_check_number(f, value, &v->numbers[f->index * v->capacity]) != 0) return 0;
        edgeml_json_space(j);
        if (*j->p != (i + 1 < s->spec->n_fields ? ',' : ']')) return 0;
    }
    j->p++;
    edgeml_json_space(j);
    if (j->p != j->end) return 0;
    v->n_rows = s->memory->n_records = 1;
    return 1;
}

static int edgeml_scan_array(edgeml_scan *s, int64_t max_rows) {
    edgeml_json *j = &s->json;
    if (*j->p != '[') return edgeml_scan_fail(s, EDGEML_JSON_ARRAY);
    j->p++;
    edgeml_json_space(j);
    if (*j->p == ']') {
        j->p++;
        return 0;
    }
    for (int64_t record = 0;; record++) {
        if (record == max_rows) return edgeml_scan_fail(s, EDGEML_JSON_ROWS);
        if (edgeml_scan_record(s, record, 2) != 0) return -1;
        edgeml_json_space(j);
        if (*j->p == ']') {
            j->p++;
            return 0;
        }
        if (*j->p != ',') return edgeml_scan_fail(s, EDGEML_JSON_COMMA);
        j->p++;
        edgeml_json_space(j);
    }
}

/* The envelope: an object with `records` and a few other members, whose slices are kept. */
static int edgeml_scan_body(edgeml_scan *s, int64_t max_rows) {
    edgeml_json *j = &s->json;
    edgeml_memory *m = s->memory;
    int given = 0;
    edgeml_json_space(j);
    if (*j->p != '{') return edgeml_scan_fail(s, EDGEML_JSON_OBJECT);
    const uint8_t *begin = j->p++;
    edgeml_json_space(j);
    if (*j->p == '}') {
        j->p = begin;
        return edgeml_scan_fail(s, EDGEML_JSON_NO_RECORDS);
    }
    for (;;) {
        const uint8_t *quote = j->p, *raw;
        int64_t length, raw_length;
        int escaped;
        if (*quote != '"') return edgeml_scan_fail(s, EDGEML_JSON_KEY);
        j->p++;
        if (edgeml_json_string(j, &raw, &raw_length, &escaped) != 0) return -1;
        length = raw_length;
        const char *key = edgeml_scan_plain(s, raw, &length, escaped);
        if (key == NULL) return -1;
        int records = length == 7 && memcmp(key, "records", 7) == 0;
        edgeml_json_space(j);
        if (*j->p != ':') return edgeml_scan_fail(s, EDGEML_JSON_COLON);
        j->p++;
        edgeml_json_space(j);
        const uint8_t *value = j->p;
        if (records) {
            if (given++) return edgeml_json_fail(j, quote, EDGEML_JSON_TWICE);
            if (edgeml_scan_array(s, max_rows) != 0) return -1;
        } else {
            if (edgeml_json_skip(j, 1) != 0) return -1;
            if (m->n_members == EDGEML_MAX_MEMBERS) return edgeml_json_fail(j, quote, EDGEML_JSON_MEMBERS);
            edgeml_member *member = &m->members[m->n_members++];
            member->key_offset = quote - j->start;
            member->key_length = raw_length + 2;
            member->value_offset = value - j->start;
            member->value_length = j->p - value;
        }
        edgeml_json_space(j);
        if (*j->p == '}') {
            j->p++;
            break;
        }
        if (*j->p != ',') return edgeml_scan_fail(s, EDGEML_JSON_COMMA);
        j->p++;
        edgeml_json_space(j);
    }
    if (edgeml_scan_end(s) != 0) return -1;
    return given ? 0 : edgeml_json_fail(j, begin, EDGEML_JSON_NO_RECORDS);
}

#endif
