/* UTF-8 texts as words: which bytes are of words, folding of letters, and what is counted. No Python, no locale, no
 * allocation. Bytes that are no UTF-8 are of no word and stay as they are; nothing reads beyond a text's end.
 */
#ifndef EDGEML_TEXT_SCAN_H
#define EDGEML_TEXT_SCAN_H

#include <stdint.h>
#include <string.h>

#include "utf8.h"
#include "word_tables.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

static inline int edgeml_is_word(uint32_t c) {
    if (c > 0x10FFFF) return 0;
    return (int)(edgeml_word_bits[edgeml_word_pages[c >> 8] * 4 + (c >> 6 & 3)] >> (c & 63) & 1);
}

static inline uint32_t edgeml_folded(uint32_t c) {
    if (c >= EDGEML_FOLD_END) return c;
    return (uint32_t)((int32_t)c + edgeml_fold_deltas[edgeml_fold_pages[c >> 6] * 64 + (c & 63)]);
}

/* Folds the character at p into out (4 bytes); gives the bytes written, and in *width the bytes read. */
static inline int edgeml_fold_at(const uint8_t *p, const uint8_t *end, uint8_t *out, int *width) {
    uint32_t c = edgeml_character(p, end, width);
    if (c == EDGEML_NO_CHARACTER) {
        out[0] = p[0];
        return 1;
    }
    return edgeml_put_character(edgeml_folded(c), out);
}

/* Eight bytes with the first one lowest; compilers make one load of it. */
static inline uint64_t edgeml_load_bytes(const uint8_t *p) {
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24 | (uint64_t)p[4] << 32 |
           (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 | (uint64_t)p[7] << 56;
}

/* Which of 64 bytes are letters, digits or _ of ASCII, and which are not ASCII at all; bit i is byte i. */
#if defined(__SSE2__)
static inline __m128i edgeml_between16(__m128i x, char low, char high) {
    /* After the shift the range ends at the largest signed byte, so one comparison is enough. */
    __m128i shifted = _mm_add_epi8(x, _mm_set1_epi8((char)(127 - high)));
    return _mm_cmpgt_epi8(shifted, _mm_set1_epi8((char)(127 - (high - low + 1))));
}

static inline uint64_t edgeml_ascii_words(const uint8_t *p, uint64_t *high) {
    uint64_t words = 0, odd = 0;
    for (int i = 0; i < 64; i += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(p + i));
        __m128i letters = edgeml_between16(_mm_or_si128(x, _mm_set1_epi8(0x20)), 'a', 'z');
        __m128i rest = _mm_or_si128(edgeml_between16(x, '0', '9'), _mm_cmpeq_epi8(x, _mm_set1_epi8('_')));
        words |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_or_si128(letters, rest)) << i;
        odd |= (uint64_t)(uint32_t)_mm_movemask_epi8(x) << i;
    }
    *high = odd;
    return words;
}
#else
/* The top bits of eight bytes, side by side. */
static inline uint64_t edgeml_tops(uint64_t x) {
    return ((x & 0x8080808080808080u) * 0x0002040810204081u) >> 56;
}

static inline uint64_t edgeml_ascii_words(const uint8_t *p, uint64_t *high) {
    const uint64_t ones = 0x0101010101010101u;
    uint64_t words = 0, odd = 0;
    for (int i = 0; i < 64; i += 8) {
        uint64_t x, plain, letters, digits, bars;
        x = edgeml_load_bytes(p + i);
        plain = x & ones * 0x7F; /* so that no sum runs over into the next byte */
        letters = plain | ones * 0x20;
        letters = (letters + ones * (0x80 - 'a')) & ~(letters + ones * (0x7F - 'z'));
        digits = (plain + ones * (0x80 - '0')) & ~(plain + ones * (0x7F - '9'));
        bars = ~((plain ^ ones * '_') + ones * 0x7F);
        words |= edgeml_tops((letters | digits | bars) & ~x) << i;
        odd |= edgeml_tops(x) << i;
    }
    *high = odd;
    return words;
}
#endif

/* The next 64 bytes of a text; used from its beginning to its end. */
typedef struct {
    uint64_t carry; /* bits of a word's character that began in the block before */
} edgeml_blocks;

/* Bits of word characters beyond ASCII; `high` says where bytes beyond ASCII are. */
static uint64_t edgeml_wide_words(const uint8_t *block, const uint8_t *end, uint64_t high, uint64_t *carry) {
    uint64_t words = 0;
    while (high != 0) {
        int i = __builtin_ctzll(high), width;
        uint32_t c = edgeml_character(block + i, end, &width);
        uint64_t bits = ((uint64_t)1 << width) - 1;
        high &= ~(bits << i);
        if (!edgeml_is_word(c)) continue;
        words |= bits << i;
        if (i + width > 64) *carry |= bits >> (64 - i);
    }
    return words;
}

/* Which bytes of the block at `at` are of words; bits beyond the text's end are 0. */
static inline uint64_t edgeml_word_mask(const uint8_t *text, int64_t at, int64_t length, edgeml_blocks *state) {
    uint64_t high, words, carry = 0;
    if (length - at >= 64) {
        words = edgeml_ascii_words(text + at, &high);
    } else {
        uint8_t last[64] = {0};
        memcpy(last, text + at, (size_t)(length - at));
        words = edgeml_ascii_words(last, &high);
    }
    words |= state->carry;
    if (high != 0) words |= edgeml_wide_words(text + at, text + length, high, &carry);
    state->carry = carry;
    return words;
}

/* Words of a text: longest stretches of word characters. */
static int64_t edgeml_count_words(const uint8_t *text, int64_t length) {
    edgeml_blocks state = {0};
    uint64_t before = 0;
    int64_t count = 0;
    for (int64_t at = 0; at < length; at += 64) {
        uint64_t words = edgeml_word_mask(text, at, length, &state);
        count += __builtin_popcountll(words & ~(words << 1 | before));
        before = words >> 63;
    }
    return count;
}

/* Characters of a text; a byte that is no UTF-8 counts as one where it does not look like the middle of a character. */
static int64_t edgeml_count_characters(const uint8_t *text, int64_t length) {
    int64_t count = 0;
    for (int64_t i = 0; i < length; i++) count += (text[i] & 0xC0) != 0x80;
    return count;
}

/* Whether a text begins with (or, from its end, ends with) what folds to the bytes of part, which are folded. */
static int edgeml_starts_folded(const uint8_t *text, int64_t length, const uint8_t *part, int64_t part_length) {
    const uint8_t *p = text, *end = text + length;
    uint8_t one[4];
    int64_t done = 0;
    while (done < part_length) {
        int width, n;
        if (p == end) return 0;
        n = edgeml_fold_at(p, end, one, &width);
        if (n > part_length - done || memcmp(one, part + done, (size_t)n) != 0) return 0;
        done += n;
        p += width;
    }
    return 1;
}

static int edgeml_ends_folded(const uint8_t *text, int64_t length, const uint8_t *part, int64_t part_length) {
    const uint8_t *begin = text + length, *end = begin;
    /* As many characters from the end as the part has; folding keeps their number. */
    for (int64_t left = edgeml_count_characters(part, part_length); left > 0; left--) {
        if (begin == text) return 0;
        do begin--;
        while (begin > text && (*begin & 0xC0) == 0x80);
    }
    int64_t done = 0;
    uint8_t one[4];
    while (begin < end) {
        int width, n = edgeml_fold_at(begin, end, one, &width);
        if (n > part_length - done || memcmp(one, part + done, (size_t)n) != 0) return 0;
        done += n;
        begin += width;
    }
    return done == part_length;
}

#endif
