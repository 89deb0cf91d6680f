/* UTF-8: a character of a text, and back. The only reader and the only writer of it that scans and vectorizers have. */
#ifndef EDGEML_UTF8_H
#define EDGEML_UTF8_H

#include <stdint.h>

#define EDGEML_NO_CHARACTER 0xFFFFFFFFu

static inline int edgeml_goes_on(uint8_t byte) { return (byte & 0xC0) == 0x80; }

/* The character at p and its width in bytes; EDGEML_NO_CHARACTER and 1 where there is none (Unicode, table 3-7). There
 * is at least one byte, and none is read from the end on. */
static inline uint32_t edgeml_character(const uint8_t *p, const uint8_t *end, int *width) {
    const uint32_t a = p[0];
    uint32_t c;
    *width = 1;
    if (a < 0x80) return a;
    if (a < 0xC2 || a > 0xF4 || end - p < 2 || !edgeml_goes_on(p[1])) return EDGEML_NO_CHARACTER;
    if (a < 0xE0) {
        *width = 2;
        return (a & 0x1F) << 6 | (p[1] & 0x3Fu);
    }
    if (end - p < 3 || !edgeml_goes_on(p[2])) return EDGEML_NO_CHARACTER;
    if (a < 0xF0) {
        c = (a & 0x0F) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
        if (c < 0x800 || (c >= 0xD800 && c < 0xE000)) return EDGEML_NO_CHARACTER;
        *width = 3;
        return c;
    }
    if (end - p < 4 || !edgeml_goes_on(p[3])) return EDGEML_NO_CHARACTER;
    c = (a & 0x07) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu);
    if (c < 0x10000 || c > 0x10FFFF) return EDGEML_NO_CHARACTER;
    *width = 4;
    return c;
}

/* Writes a character of at most 0x10FFFF; gives its width, at most 4. */
static inline int edgeml_put_character(uint32_t c, uint8_t *out) {
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (uint8_t)(0xC0 | c >> 6);
        out[1] = (uint8_t)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (uint8_t)(0xE0 | c >> 12);
        out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
        out[2] = (uint8_t)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | c >> 18);
    out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3F));
    out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
    out[3] = (uint8_t)(0x80 | (c & 0x3F));
    return 4;
}

#endif
