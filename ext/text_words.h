/* Many words and phrases, all looked for in one pass over a text. No Python.
 *
 * 1. Words of the text are found 64 bytes at a time as bits. Nearly all of them are none that is looked for, and a sieve
 *    of bits says so for one multiplication and one load.
 * 2. Phrases are an Aho-Corasick automaton (1975) over the known words, so what stands between words does not matter.
 * 3. Each pattern has a bit of its own. A node whose bit is set has been here before, with all that follows from it, so
 *    the time for each byte of a text is bounded whatever the patterns are.
 *
 * Everything is made once from the patterns and never changed; a scan writes bits of patterns and nothing else.
 */
#ifndef EDGEML_TEXT_WORDS_H
#define EDGEML_TEXT_WORDS_H

#include <stdlib.h>

#include "text_scan.h"

enum { EDGEML_SET_NO_MEMORY = -1, EDGEML_SET_TOO_LARGE = -2, EDGEML_SET_NO_WORD = -3 };

#define EDGEML_MAX_WORD 1024      /* bytes of one word that is looked for */
#define EDGEML_MAX_PHRASE 32      /* words of one phrase */
#define EDGEML_MAX_SETS (1 << 26) /* bytes of memory for all sets of one rule list; 64 MiB */

typedef struct {
    uint64_t head; /* the first eight bytes, filled up with zeros */
    int64_t at;    /* in bytes */
    int32_t length;
    int32_t out; /* first of the patterns that are this word, -1 for none */
} edgeml_word;

typedef struct {
    int32_t parent, word; /* how this state is reached */
    int32_t depth;
    int32_t out;  /* first of the patterns that end here, -1 for none */
    int32_t fail; /* the longest other phrase that may have begun */
    int32_t link; /* the next state on that way where a pattern ends, 0 for none */
} edgeml_phrase;

typedef struct {
    int folded;
    int64_t n_patterns, first; /* the patterns' bits begin at `first` */
    int32_t *next;             /* per pattern: the next one of the same node, -1 for none */
    int64_t n_words, longest;
    edgeml_word *words;
    uint8_t *bytes;
    int64_t n_bytes;
    int shift, sieve_shift;
    uint64_t mask, edge_mask;
    int32_t *slots; /* words by hash; -1 for none */
    uint64_t *sieve;
    int64_t n_phrases; /* states; 1 where there is no phrase of several words */
    edgeml_phrase *phrases;
    int32_t *edges; /* states by the hash of parent and word; 0 for none */
    int edge_shift;
} edgeml_words;

typedef struct {
    const uint8_t *text;
    int64_t length;
    uint64_t *found;
    int32_t phrase;
} edgeml_reading;

#define EDGEML_ODD 0xFF51AFD7ED558CCDu

/* The first eight bytes of a word of so many bytes, filled up with zeros; so many bytes are there to be read. */
static inline uint64_t edgeml_load_head(const uint8_t *p, int64_t length, int64_t available) {
    uint64_t word = 0;
    if (available >= 8) {
        word = edgeml_load_bytes(p);
        return length >= 8 ? word : word & (((uint64_t)1 << (8 * length)) - 1);
    }
    for (int64_t i = 0; i < length; i++) word |= (uint64_t)p[i] << (8 * i);
    return word;
}

static inline uint64_t edgeml_word_hash(const uint8_t *p, int64_t length, uint64_t head) {
    uint64_t h = head * EDGEML_ODD, word;
    if (length > 8) {
        for (int64_t i = 8; i + 8 < length; i += 8) {
            memcpy(&word, p + i, 8);
            h = (h ^ h >> 32 ^ word) * EDGEML_ODD;
        }
        memcpy(&word, p + length - 8, 8);
        h = (h ^ h >> 32 ^ word) * EDGEML_ODD;
    }
    return h;
}

/* The word's number, -1 where it is none of the set. */
static inline int32_t edgeml_find_word(const edgeml_words *w, const uint8_t *p, int64_t length, uint64_t head) {
    uint64_t h = edgeml_word_hash(p, length, head), bit = h >> w->sieve_shift;
    if (!(w->sieve[bit >> 6] >> (bit & 63) & 1)) return -1;
    for (uint64_t i = h >> w->shift;; i = (i + 1) & w->mask) {
        int32_t at = w->slots[i];
        if (at < 0) return -1;
        const edgeml_word *known = &w->words[at];
        if (known->head == head && known->length == length &&
            (length <= 8 || memcmp(w->bytes + known->at + 8, p + 8, (size_t)length - 8) == 0))
            return at;
    }
}

/* Sets the bits of a node's patterns; gives whether they were set already. */
static inline int edgeml_emit(const int32_t *next, int32_t pattern, int64_t first, uint64_t *found) {
    int64_t bit = first + pattern;
    if (found[bit >> 6] >> (bit & 63) & 1) return 1;
    for (; pattern >= 0; pattern = next[pattern]) {
        bit = first + pattern;
        found[bit >> 6] |= (uint64_t)1 << (bit & 63);
    }
    return 0;
}

static inline int32_t edgeml_edge(const edgeml_words *w, int32_t state, int32_t word) {
    uint64_t h = ((uint64_t)(uint32_t)state << 32 | (uint32_t)word) * EDGEML_ODD;
    for (uint64_t i = h >> w->edge_shift;; i = (i + 1) & w->edge_mask) {
        int32_t child = w->edges[i];
        if (child == 0 || (w->phrases[child].parent == state && w->phrases[child].word == word)) return child;
    }
}

static inline int32_t edgeml_next_phrase(const edgeml_words *w, int32_t state, int32_t word) {
    for (;;) {
        int32_t child = edgeml_edge(w, state, word);
        if (child != 0 || state == 0) return child;
        state = w->phrases[state].fail;
    }
}

static void edgeml_known_word(const edgeml_words *w, int32_t word, edgeml_reading *r) {
    if (w->words[word].out >= 0) edgeml_emit(w->next, w->words[word].out, w->first, r->found);
    if (w->n_phrases == 1) return;
    r->phrase = edgeml_next_phrase(w, r->phrase, word);
    int32_t state = w->phrases[r->phrase].out >= 0 ? r->phrase : w->phrases[r->phrase].link;
    while (state != 0 && !edgeml_emit(w->next, w->phrases[state].out, w->first, r->found))
        state = w->phrases[state].link;
}

/* Small letters for the capital letters of eight ASCII bytes. */
static inline uint64_t edgeml_lower8(uint64_t x) {
    const uint64_t ones = 0x0101010101010101u;
    uint64_t from_a = x + ones * (128 - 'A'), beyond_z = x + ones * (127 - 'Z');
    return x | ((from_a & ~beyond_z & ones * 128) >> 2);
}

/* Folds a word of the text first: one that is not short or not ASCII. */
static int32_t edgeml_find_folded(const edgeml_words *w, const uint8_t *p, int64_t length) {
    uint8_t folded[EDGEML_MAX_WORD + 16];
    const uint8_t *end = p + length;
    uint64_t word;
    int64_t n = 0;
    memset(folded, 0, 8); /* the head is read whole */
    while (p < end) {
        int width = 8;
        if (n > w->longest) return -1;
        if (end - p >= 8 && (memcpy(&word, p, 8), (word & 0x8080808080808080u) == 0)) {
            word = edgeml_lower8(word);
            memcpy(folded + n, &word, 8);
            n += 8;
        } else {
            n += edgeml_fold_at(p, end, folded + n, &width);
        }
        p += width;
    }
    if (n > w->longest) return -1;
    return edgeml_find_word(w, folded, n, edgeml_load_head(folded, n, sizeof folded));
}

static inline void edgeml_read_word(const edgeml_words *w, edgeml_reading *r, int64_t start, int64_t stop) {
    int64_t length = stop - start;
    const uint8_t *p = r->text + start;
    uint64_t head = edgeml_load_head(p, length, r->length - start);
    int32_t word;
    if (!w->folded) {
        word = length > w->longest ? -1 : edgeml_find_word(w, p, length, head);
    } else if (length <= 8 && (head & 0x8080808080808080u) == 0) {
        word = edgeml_find_word(w, p, length, edgeml_lower8(head));
    } else {
        word = edgeml_find_folded(w, p, length);
    }
    if (word >= 0) {
        edgeml_known_word(w, word, r);
    } else {
        r->phrase = 0;
    }
}

/* Sets the bit of each pattern of the set that the text has. */
static void edgeml_words_scan(const edgeml_words *w, const uint8_t *text, int64_t length, uint64_t *found) {
    edgeml_reading r = {text, length, found, 0};
    edgeml_blocks blocks = {0};
    uint64_t before = 0; /* whether the byte before was of a word */
    int64_t start = 0;
    for (int64_t at = 0; at < length; at += 64) {
        uint64_t words = edgeml_word_mask(text, at, length, &blocks);
        uint64_t edges = words ^ (words << 1 | before);
        if (before && edges != 0) {
            edgeml_read_word(w, &r, start, at + __builtin_ctzll(edges));
            edges &= edges - 1;
        }
        while (edges != 0) {
            start = at + __builtin_ctzll(edges);
            edges &= edges - 1;
            if (edges == 0) break; /* goes on in the next block */
            edgeml_read_word(w, &r, start, at + __builtin_ctzll(edges));
            edges &= edges - 1;
        }
        before = words >> 63;
    }
    if (before) edgeml_read_word(w, &r, start, length);
}

/* Making */

static void edgeml_words_free(edgeml_words *w) {
    if (w == NULL) return;
    free(w->next);
    free(w->words);
    free(w->bytes);
    free(w->slots);
    free(w->sieve);
    free(w->phrases);
    free(w->edges);
    free(w);
}

/* The shift that takes an index of at least `least` places from the top of a hash; gives the places, a power of 2. */
static uint64_t edgeml_places(uint64_t least, int *shift) {
    uint64_t places = 64;
    for (*shift = 58; places < least; places *= 2) --*shift;
    return places;
}

static int32_t edgeml_add_word(edgeml_words *w, const uint8_t *p, int64_t length) {
    uint64_t head = edgeml_load_head(p, length, length), h = edgeml_word_hash(p, length, head);
    int32_t known = edgeml_find_word(w, p, length, head);
    if (known >= 0) return known;
    uint64_t i = h >> w->shift, bit = h >> w->sieve_shift;
    while (w->slots[i] >= 0) i = (i + 1) & w->mask;
    w->slots[i] = (int32_t)w->n_words;
    w->sieve[bit >> 6] |= (uint64_t)1 << (bit & 63);
    memcpy(w->bytes + w->n_bytes, p, (size_t)length);
    w->words[w->n_words] = (edgeml_word){head, w->n_bytes, (int32_t)length, -1};
    w->n_bytes += length;
    if (length > w->longest) w->longest = length;
    return (int32_t)w->n_words++;
}

static int32_t edgeml_add_phrase(edgeml_words *w, int32_t parent, int32_t word) {
    int32_t child = edgeml_edge(w, parent, word);
    if (child != 0) return child;
    uint64_t i = (((uint64_t)(uint32_t)parent << 32 | (uint32_t)word) * EDGEML_ODD) >> w->edge_shift;
    while (w->edges[i] != 0) i = (i + 1) & w->edge_mask;
    child = (int32_t)w->n_phrases++;
    w->edges[i] = child;
    w->phrases[child] = (edgeml_phrase){parent, word, w->phrases[parent].depth + 1, -1, 0, 0};
    return child;
}

/* Adds one word of a pattern, folded where the set is; gives its number or an error. */
static int64_t edgeml_add_folded(edgeml_words *w, const uint8_t *p, int64_t length) {
    uint8_t folded[2 * EDGEML_MAX_WORD + 8];
    if (length > EDGEML_MAX_WORD) return EDGEML_SET_TOO_LARGE;
    if (!w->folded) return edgeml_add_word(w, p, length);
    int64_t n = 0;
    for (int64_t i = 0; i < length;) {
        int width;
        n += edgeml_fold_at(p + i, p + length, folded + n, &width);
        i += width;
    }
    return n > EDGEML_MAX_WORD ? EDGEML_SET_TOO_LARGE : edgeml_add_word(w, folded, n);
}

/* Adds one pattern. Words are parted before they are folded, as those of a text are. */
static int edgeml_add_pattern(edgeml_words *w, int32_t pattern, const uint8_t *text, int64_t length) {
    int32_t words[EDGEML_MAX_PHRASE], state = 0;
    int64_t n = 0, start = -1;
    edgeml_blocks blocks = {0};
    uint64_t mask = 0;
    for (int64_t i = 0; i <= length; i++) {
        if (i % 64 == 0 && i < length) mask = edgeml_word_mask(text, i, length, &blocks);
        int inside = i < length && (mask >> (i % 64) & 1);
        if (inside && start < 0) start = i;
        if (!inside && start >= 0) {
            int64_t word = n == EDGEML_MAX_PHRASE ? EDGEML_SET_TOO_LARGE : edgeml_add_folded(w, text + start, i - start);
            if (word < 0) return (int)word;
            words[n++] = (int32_t)word;
            start = -1;
        }
    }
    if (n == 0) return EDGEML_SET_NO_WORD;
    int32_t *out = &w->words[words[0]].out;
    if (n > 1) {
        for (int64_t i = 0; i < n; i++) state = edgeml_add_phrase(w, state, words[i]);
        out = &w->phrases[state].out;
    }
    w->next[pattern] = *out;
    *out = pattern;
    return 0;
}

static void edgeml_link_phrases(edgeml_words *w) {
    for (int32_t depth = 2; depth <= EDGEML_MAX_PHRASE; depth++) {
        for (int64_t i = 1; i < w->n_phrases; i++) {
            edgeml_phrase *state = &w->phrases[i];
            if (state->depth != depth) continue;
            state->fail = edgeml_next_phrase(w, w->phrases[state->parent].fail, state->word);
            state->link = w->phrases[state->fail].out >= 0 ? state->fail : w->phrases[state->fail].link;
        }
    }
}

/* Makes a set.
 *
 * Args: strings and offsets as in rules.pyi; pattern i is string which[i]; `first` is the bit of pattern 0; `left` is
 * how many bytes it may take, and what it takes is taken off. Gives NULL with one of the codes above in *error, and in *wrong the pattern that it is about.
 */
static edgeml_words *edgeml_words_new(const char *strings, const int64_t *offsets, const int32_t *which,
                                      int64_t n_patterns, int64_t first, int folded, int64_t *left, int *error,
                                      int64_t *wrong) {
    /* Words are parted before they are folded, so no more are added; folding makes three bytes of two at most. */
    uint64_t total = 0, most = 1, places, edges, sieve;
    int shift, edge_shift, sieve_shift;
    int64_t i;
    *error = EDGEML_SET_TOO_LARGE;
    *wrong = n_patterns - 1;
    if (n_patterns < 1) return NULL;
    for (i = 0; i < n_patterns; i++) {
        const int64_t *at = offsets + which[i];
        total += (uint64_t)(at[1] - at[0]);
        if (total > (uint64_t)*left) return NULL;
        most += (uint64_t)edgeml_count_words((const uint8_t *)strings + at[0], at[1] - at[0]);
    }
    places = edgeml_places(4 * most, &shift);
    edges = edgeml_places(4 * most, &edge_shift);
    sieve = edgeml_places(16 * most, &sieve_shift);
    uint64_t memory = (places + edges) * sizeof(int32_t) + sieve / 8 + most * sizeof(edgeml_word) +
                      (most + 1) * sizeof(edgeml_phrase) + 2 * total + 8 + (uint64_t)n_patterns * sizeof(int32_t);
    if (memory > (uint64_t)*left) return NULL;
    *left -= (int64_t)memory;
    *error = EDGEML_SET_NO_MEMORY;
    edgeml_words *w = calloc(1, sizeof(edgeml_words));
    if (w == NULL) return NULL;
    w->folded = folded;
    w->n_patterns = n_patterns;
    w->first = first;
    w->n_phrases = 1;
    w->shift = shift;
    w->edge_shift = edge_shift;
    w->sieve_shift = sieve_shift;
    w->mask = places - 1;
    w->slots = malloc(places * sizeof(int32_t));
    if (w->slots != NULL) memset(w->slots, 0xFF, places * sizeof(int32_t));
    w->sieve = calloc(sieve / 64, sizeof(uint64_t));
    w->edge_mask = edges - 1;
    w->edges = calloc(edges, sizeof(int32_t));
    w->words = calloc(most, sizeof(edgeml_word));
    w->phrases = calloc(most + 1, sizeof(edgeml_phrase));
    w->bytes = malloc(2 * total + 8);
    w->next = malloc((size_t)n_patterns * sizeof(int32_t));
    if (w->slots == NULL || w->sieve == NULL || w->edges == NULL || w->words == NULL || w->phrases == NULL ||
        w->bytes == NULL || w->next == NULL)
        goto fail;
    w->phrases[0].out = -1;
    for (i = 0; i < n_patterns; i++) {
        const int64_t *at = offsets + which[i];
        *wrong = i;
        *error = edgeml_add_pattern(w, (int32_t)i, (const uint8_t *)strings + at[0], at[1] - at[0]);
        if (*error != 0) goto fail;
    }
    edgeml_link_phrases(w);
    return w;
fail:
    edgeml_words_free(w);
    return NULL;
}

#endif
