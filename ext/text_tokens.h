/* Texts as Python's str would see them: UTF-8 in, lower-cased and without accents where asked, cut into tokens.
 *
 * Nothing here depends on a locale. Bytes that are no UTF-8 stand for U+FFFD, one by one; whatever the bytes are, no
 * loop reads behind their end.
 */
#ifndef EDGEML_TEXT_TOKENS_H
#define EDGEML_TEXT_TOKENS_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "unicode_tables.h"
#include "utf8.h"

#define EDGEML_IS_WORD 1
#define EDGEML_IS_SPACE 2
#define EDGEML_IS_CASED 4
#define EDGEML_IS_IGNORED 8
#define EDGEML_IS_DIGIT 16

enum { EDGEML_KEEP_ACCENTS, EDGEML_PLAIN_ASCII, EDGEML_PLAIN_UNICODE };
/* Which code points beyond ASCII a class of characters has. */
enum { EDGEML_NO_MORE, EDGEML_ALL_MORE, EDGEML_WORD_MORE, EDGEML_LETTER_MORE, EDGEML_VISIBLE_MORE, EDGEML_MORE_COUNT };

/* Bytes that grow; `failed` is set where there is no more memory, and then nothing is written. */
typedef struct {
    uint8_t *bytes;
    int64_t n, capacity;
    int failed;
} edgeml_bytes;

static inline int edgeml_reserve(edgeml_bytes *b, int64_t more) {
    if (b->capacity - b->n >= more) return 1;
    int64_t capacity = (b->n + more) * 2;
    uint8_t *bytes = (uint8_t *) realloc(b->bytes, (size_t) capacity);
    if (bytes == NULL) {
        b->failed = 1;
        return 0;
    }
    b->bytes = bytes;
    b->capacity = capacity;
    return 1;
}

static inline const edgeml_code_point *edgeml_about(uint32_t code) {
    if (code > 0x10FFFF) code = 0xFFFD;
    return edgeml_code_points + edgeml_code_records[((int64_t) edgeml_code_blocks[code >> 7] << 7) + (code & 127)];
}

/* The code point at *at, which is moved behind it. There is at least one byte. */
static inline uint32_t edgeml_decode(const uint8_t *s, int64_t n, int64_t *at) {
    int width;
    const uint32_t code = edgeml_character(s + *at, s + n, &width);
    *at += width;
    return code == EDGEML_NO_CHARACTER ? 0xFFFD : code;
}

/* The caller has reserved four bytes. */
static inline void edgeml_encode(edgeml_bytes *b, uint32_t code) {
    b->n += edgeml_put_character(code, b->bytes + b->n);
}

/* Whether the sigma that ends at `end` and began at `start` ends a word, as Python's lower() has it: a cased letter
 * before it and none behind it, code points that are ignored in such a question left aside. */
static int edgeml_final_sigma(const uint8_t *s, int64_t n, int64_t start, int64_t end) {
    int64_t at = start;
    int cased = 0;
    while (at > 0) {
        int64_t begin = at - 1, next;
        while (begin > 0 && at - begin < 4 && (s[begin] & 0xC0) == 0x80) begin--;
        next = begin;
        const uint32_t code = edgeml_decode(s, n, &next);
        if (next != at) begin = at - 1; /* no UTF-8: one byte at a time */
        const int32_t flags = edgeml_about(next == at ? code : 0xFFFD)->flags;
        at = begin;
        if (flags & EDGEML_IS_IGNORED) continue;
        cased = (flags & EDGEML_IS_CASED) != 0;
        break;
    }
    if (!cased) return 0;
    at = end;
    while (at < n) {
        const int32_t flags = edgeml_about(edgeml_decode(s, n, &at))->flags;
        if (flags & EDGEML_IS_IGNORED) continue;
        return (flags & EDGEML_IS_CASED) == 0;
    }
    return 1;
}

/* What accents leave of a code point. */
static void edgeml_plain(edgeml_bytes *out, uint32_t code, int accents) {
    if (accents == EDGEML_KEEP_ACCENTS || code < 0x80) {
        if (edgeml_reserve(out, 4)) edgeml_encode(out, code);
        return;
    }
    if (code >= 0xAC00 && code < 0xAC00 + 11172) {
        const uint32_t s = code - 0xAC00;
        if (accents == EDGEML_PLAIN_ASCII || !edgeml_reserve(out, 12)) return;
        edgeml_encode(out, 0x1100 + s / 588);
        edgeml_encode(out, 0x1161 + s % 588 / 28);
        if (s % 28) edgeml_encode(out, 0x11A7 + s % 28);
        return;
    }
    const uint32_t place = edgeml_plain_places[((int64_t) edgeml_plain_blocks[code >> 7] << 7) + (code & 127)];
    if (place == 0) {
        if (accents == EDGEML_PLAIN_UNICODE && edgeml_reserve(out, 4)) edgeml_encode(out, code);
        return;
    }
    const uint8_t *left = edgeml_plain_pool + place;
    if (!edgeml_reserve(out, left[0])) return;
    for (int64_t i = 1; i <= left[0]; i++)
        if (accents == EDGEML_PLAIN_UNICODE || left[i] < 0x80) out->bytes[out->n++] = left[i];
}

/* A text lower-cased, then without accents. */
static void edgeml_normalized(const uint8_t *s, int64_t n, int lower, int accents, edgeml_bytes *out) {
    int64_t at = 0;
    out->n = 0;
    while (at < n) {
        /* As much ASCII as there is: what comes out takes the same room. */
        if (!edgeml_reserve(out, n - at + 8)) return;
        uint8_t *to = out->bytes + out->n;
        const int64_t began = at;
        if (lower)
            while (at < n && s[at] < 0x80) {
                const uint8_t c = s[at];
                *to++ = (uint8_t) (c | ((uint8_t) (c - 'A') < 26) << 5);
                at++;
            }
        else
            while (at < n && s[at] < 0x80) *to++ = s[at++];
        out->n += at - began;
        if (at >= n) break;
        const int64_t start = at;
        uint32_t code = edgeml_decode(s, n, &at);
        if (lower && code == 0x130) {
            edgeml_plain(out, 'i', accents);
            code = 0x307;
        } else if (lower && code == 0x3A3) {
            code = edgeml_final_sigma(s, n, start, at) ? 0x3C2 : 0x3C3;
        } else if (lower) {
            code = (uint32_t) ((int64_t) code + edgeml_about(code)->lower);
        }
        edgeml_plain(out, code, accents);
        if (out->failed) return;
    }
}

/* A class of characters and the runs of it that are tokens. */
typedef struct {
    uint8_t ascii[128]; /* 1: belongs to the class; 2: a word character */
    int32_t more;       /* beyond ASCII */
    int32_t shortest;   /* characters a token has at least */
    int32_t bounded;    /* no word character may stand beside it */
} edgeml_pattern;

static inline int edgeml_belongs(const edgeml_pattern *p, uint32_t code) {
    if (code < 0x80) return p->ascii[code] & 1;
    if (p->more == EDGEML_NO_MORE) return 0;
    if (p->more == EDGEML_ALL_MORE) return 1;
    const int32_t flags = edgeml_about(code)->flags;
    if (p->more == EDGEML_VISIBLE_MORE) return (flags & EDGEML_IS_SPACE) == 0;
    if (p->more == EDGEML_LETTER_MORE) return (flags & (EDGEML_IS_WORD | EDGEML_IS_DIGIT)) == EDGEML_IS_WORD;
    return flags & EDGEML_IS_WORD;
}

/* Whether a code point is a word character, beside which a pattern that is bounded finds no token. */
static inline int edgeml_is_word_beside(const edgeml_pattern *p, uint32_t code) {
    return code < 0x80 ? p->ascii[code] & 2 : edgeml_about(code)->flags & EDGEML_IS_WORD;
}

/* The next token from *at on: gives its start, its end in *at; -1 where there is none. */
static inline int64_t edgeml_next_token(const edgeml_pattern *p, const uint8_t *s, int64_t n, int64_t *at) {
    int64_t i = *at;
    int before = 0; /* whether a word character stands right before i */
    while (i < n) {
        int64_t start = i, characters = 0, next;
        if (s[i] < 0x80) {
            if (!(p->ascii[s[i]] & 1)) {
                before = p->ascii[s[i]] & 2;
                i++;
                continue;
            }
        } else {
            next = i;
            const uint32_t code = edgeml_decode(s, n, &next);
            if (!edgeml_belongs(p, code)) {
                before = edgeml_is_word_beside(p, code);
                i = next;
                continue;
            }
        }
        int after = 0;
        while (i < n) {
            if (s[i] < 0x80) {
                if (!(p->ascii[s[i]] & 1)) {
                    after = p->ascii[s[i]] & 2;
                    break;
                }
                i++;
            } else {
                next = i;
                const uint32_t code = edgeml_decode(s, n, &next);
                if (!edgeml_belongs(p, code)) {
                    after = edgeml_is_word_beside(p, code);
                    break;
                }
                i = next;
            }
            characters++;
        }
        if (characters >= p->shortest && !(p->bounded && (before || after))) {
            *at = i;
            return start;
        }
        before = 0; /* what follows does not belong, and is looked at first */
    }
    *at = n;
    return -1;
}

#endif
