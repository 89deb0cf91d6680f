/* Many parts of texts, all looked for in one pass: an Aho-Corasick automaton (1975) over bytes, made into a table of one
 * step for each state and class of bytes. No Python.
 *
 * 1. Bytes that no part has are one class, so a row of the table is as wide as the parts have different bytes.
 * 2. Where case is ignored the parts are folded once, and the text is folded character by character on the way.
 * 3. Each pattern has a bit of its own; a state whose bit is set has been here before (see text_words.h), so the time for
 *    each byte is bounded.
 */
#ifndef EDGEML_TEXT_PARTS_H
#define EDGEML_TEXT_PARTS_H

#include "text_words.h"

#define EDGEML_MAX_CELLS (1 << 22) /* of the tables of all sets of one rule list; 16 MiB */

typedef struct {
    int folded;
    int64_t n_patterns, first;
    int32_t *next; /* per pattern: the next one of the same state, -1 for none */
    uint8_t classes[256];
    int64_t width, n_states;
    int32_t *steps; /* [n_states * width]: where the next state's row begins; with EDGEML_ENDS where a pattern may end */
    int32_t *outs;  /* per state: first of the patterns that end there, -1 for none */
    int32_t *links; /* per state: the next shorter state where a pattern ends, 0 for none */
} edgeml_parts;

#define EDGEML_ENDS ((int32_t)(1u << 30))

static void edgeml_parts_end(const edgeml_parts *t, int64_t state, uint64_t *found) {
    if (t->outs[state] < 0) state = t->links[state];
    while (state != 0 && !edgeml_emit(t->next, t->outs[state], t->first, found)) state = t->links[state];
}

/* Sets the bit of each pattern of the set that the text has. */
static void edgeml_parts_scan(const edgeml_parts *t, const uint8_t *text, int64_t length, uint64_t *found) {
    const uint8_t *p = text, *end = text + length;
    int32_t row = 0;
    while (p < end) {
        if (t->folded && *p >= 0x80) {
            uint8_t one[4];
            int width, n = edgeml_fold_at(p, end, one, &width);
            p += width;
            for (int i = 0; i < n; i++) {
                row = t->steps[row + t->classes[one[i]]];
                if (row & EDGEML_ENDS) {
                    row &= ~EDGEML_ENDS;
                    edgeml_parts_end(t, row / t->width, found);
                }
            }
            continue;
        }
        row = t->steps[row + t->classes[*p++]];
        if (row & EDGEML_ENDS) {
            row &= ~EDGEML_ENDS;
            edgeml_parts_end(t, row / t->width, found);
        }
    }
}

static void edgeml_parts_free(edgeml_parts *t) {
    if (t == NULL) return;
    free(t->next);
    free(t->steps);
    free(t->outs);
    free(t->links);
    free(t);
}

/* Makes the rows of all states whole, nearest to the root first; `queue` has room for all states. */
static void edgeml_parts_link(edgeml_parts *t, int32_t *queue, int32_t *fails) {
    int64_t taken = 0, waiting = 0;
    queue[waiting++] = 0;
    fails[0] = 0;
    while (taken < waiting) {
        int32_t state = queue[taken++], *row = t->steps + state * t->width;
        const int32_t *other = t->steps + fails[state] * t->width;
        for (int64_t c = 0; c < t->width; c++) {
            int32_t child = row[c];
            if (child == 0) { /* no part goes on so: as the longest shorter one does */
                row[c] = state == 0 ? 0 : other[c];
                continue;
            }
            fails[child] = state == 0 ? 0 : other[c];
            t->links[child] = t->outs[fails[child]] >= 0 ? fails[child] : t->links[fails[child]];
            queue[waiting++] = child;
        }
    }
    for (int64_t i = 0; i < t->n_states * t->width; i++) {
        int32_t state = t->steps[i];
        int ends = t->outs[state] >= 0 || t->links[state] != 0;
        t->steps[i] = (int32_t)(state * t->width) | (ends ? EDGEML_ENDS : 0);
    }
}

/* Makes a set; arguments and errors as edgeml_words_new, but `left` is in cells of the table. */
static edgeml_parts *edgeml_parts_new(const char *strings, const int64_t *offsets, const int32_t *which,
                                      int64_t n_patterns, int64_t first, int folded, int64_t *left, int *error,
                                      int64_t *wrong) {
    int64_t i, n = 0, total = 0;
    int32_t *queue = NULL, *fails = NULL;
    edgeml_parts *t = NULL;
    uint8_t *bytes = NULL;
    *error = EDGEML_SET_TOO_LARGE;
    *wrong = n_patterns - 1;
    for (i = 0; i < n_patterns; i++) total += offsets[which[i] + 1] - offsets[which[i]];
    if (n_patterns < 1 || total > *left) return NULL;
    *error = EDGEML_SET_NO_MEMORY;
    int64_t *ends = malloc(((size_t)n_patterns + 1) * sizeof(int64_t));
    t = calloc(1, sizeof(edgeml_parts));
    bytes = malloc(2 * (size_t)total + 8);
    if (ends == NULL || t == NULL || bytes == NULL) goto fail;
    t->folded = folded;
    t->n_patterns = n_patterns;
    t->first = first;
    ends[0] = 0;
    t->width = 1;
    for (i = 0; i < n_patterns; i++) {
        const uint8_t *p = (const uint8_t *)strings + offsets[which[i]];
        const uint8_t *end = (const uint8_t *)strings + offsets[which[i] + 1];
        while (p < end) {
            int width = 1;
            if (folded) n += edgeml_fold_at(p, end, bytes + n, &width);
            else bytes[n++] = *p;
            p += width;
        }
        ends[i + 1] = n;
        for (int64_t j = ends[i]; j < n; j++)
            if (t->classes[bytes[j]] == 0) {
                if (t->width > 255) { /* never of UTF-8, which does not use all bytes */
                    *error = EDGEML_SET_TOO_LARGE;
                    goto fail;
                }
                t->classes[bytes[j]] = (uint8_t)t->width++;
            }
    }
    if (folded)
        for (int c = 'A'; c <= 'Z'; c++) t->classes[c] = t->classes[c + 32];
    if ((n + 1) * t->width > *left) {
        *error = EDGEML_SET_TOO_LARGE;
        goto fail;
    }
    *left -= (n + 1) * t->width;
    t->steps = calloc((size_t)((n + 1) * t->width), sizeof(int32_t));
    t->outs = malloc(((size_t)n + 1) * sizeof(int32_t));
    t->links = calloc((size_t)n + 1, sizeof(int32_t));
    t->next = malloc((size_t)n_patterns * sizeof(int32_t));
    queue = malloc(((size_t)n + 1) * sizeof(int32_t));
    fails = malloc(((size_t)n + 1) * sizeof(int32_t));
    if (t->steps == NULL || t->outs == NULL || t->links == NULL || t->next == NULL || queue == NULL || fails == NULL)
        goto fail;
    t->n_states = 1;
    t->outs[0] = -1;
    for (i = 0; i < n_patterns; i++) {
        int32_t state = 0;
        *wrong = i;
        if (ends[i] == ends[i + 1]) {
            *error = EDGEML_SET_NO_WORD;
            goto fail;
        }
        for (int64_t j = ends[i]; j < ends[i + 1]; j++) {
            int32_t *step = t->steps + state * t->width + t->classes[bytes[j]];
            if (*step == 0) {
                t->outs[t->n_states] = -1;
                *step = (int32_t)t->n_states++;
            }
            state = *step;
        }
        t->next[i] = t->outs[state];
        t->outs[state] = (int32_t)i;
    }
    edgeml_parts_link(t, queue, fails);
    *error = 0;
    free(ends);
    free(bytes);
    free(queue);
    free(fails);
    return t;
fail:
    free(ends);
    free(bytes);
    free(queue);
    free(fails);
    edgeml_parts_free(t);
    return NULL;
}

#endif
