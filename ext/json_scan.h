/* Strict JSON lexing (RFC 8259) over bytes that end in NUL, as a Python bytes object does. No Python, no allocation.
 *
 * 1. The NUL after the last byte stops every loop, so no loop compares against the end; only reads of more
 *    than one byte at once do.
 * 2. Strings must be UTF-8 without overlong forms and surrogates; control characters and lone \u surrogates
 *    are refused.
 * 3. Numbers follow the grammar to the letter (no NaN, +1, 01, .5, 1.) and are rounded to the nearest double.
 */
#ifndef EDGEML_JSON_SCAN_H
#define EDGEML_JSON_SCAN_H

#include <float.h>
#include <locale.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Why a scan stopped; reader.py has the words. Memory trouble has the negative codes of frame_memory.h. */
enum {
    EDGEML_JSON_VALUE = 1,     /* expected a value */
    EDGEML_JSON_KEY = 2,       /* expected a key */
    EDGEML_JSON_COLON = 3,     /* expected ':' */
    EDGEML_JSON_COMMA = 4,     /* expected ',' or the closing bracket */
    EDGEML_JSON_ESCAPE = 5,    /* unknown escape in a string */
    EDGEML_JSON_CONTROL = 6,   /* control character in a string, or the string does not end */
    EDGEML_JSON_UTF8 = 7,      /* bytes that are not UTF-8 */
    EDGEML_JSON_SURROGATE = 8, /* half a surrogate pair */
    EDGEML_JSON_NUMBER = 9,    /* malformed number */
    EDGEML_JSON_TRAILING = 10, /* something after the end */
    EDGEML_JSON_DEEP = 11,     /* nested too deeply */
};

#define EDGEML_JSON_MAX_DEPTH 8

typedef struct {
    const uint8_t *start;
    const uint8_t *p;
    const uint8_t *end; /* points at the NUL */
    int error;
} edgeml_json;

static inline int edgeml_json_fail(edgeml_json *s, const uint8_t *at, int error) {
    s->p = at;
    s->error = error;
    return -1;
}

static inline void edgeml_json_space(edgeml_json *s) {
    const uint8_t *p = s->p;
    while (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t') p++;
    s->p = p;
}

/* Length of the UTF-8 sequence at p (two to four bytes), 0 where it is none (Unicode standard, table 3-7). */
static inline int edgeml_utf8(const uint8_t *p) {
    uint8_t a = p[0], low = 0x80, high = 0xBF;
    if (a < 0xC2 || a > 0xF4) return 0;
    if (a < 0xE0) return (p[1] & 0xC0) == 0x80 ? 2 : 0;
    if (a == 0xE0) low = 0xA0;
    if (a == 0xED) high = 0x9F;
    if (a == 0xF0) low = 0x90;
    if (a == 0xF4) high = 0x8F;
    if (p[1] < low || p[1] > high || (p[2] & 0xC0) != 0x80) return 0;
    if (a < 0xF0) return 3;
    return (p[3] & 0xC0) == 0x80 ? 4 : 0;
}

static inline int edgeml_hex4(const uint8_t *p) {
    int value = 0;
    for (int i = 0; i < 4; i++) {
        uint8_t c = p[i];
        if (c >= '0' && c <= '9') value = value * 16 + (c - '0');
        else if (c >= 'a' && c <= 'f') value = value * 16 + (c - 'a' + 10);
        else if (c >= 'A' && c <= 'F') value = value * 16 + (c - 'A' + 10);
        else return -1;
    }
    return value;
}

/* Whether a byte of eight is a quote, a backslash, a control character or not ASCII. */
static inline uint64_t edgeml_odd8(uint64_t w) {
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    uint64_t quote = w ^ (ones * '"'), slash = w ^ (ones * '\\');
    return (((quote - ones) & ~quote) | ((slash - ones) & ~slash) | (w - ones * 0x20) | w) & tops;
}

/* Reads a string; s->p stands after the opening quote and is left after the closing one.
 * Gives the raw slice between them and whether it holds escapes. */
static int edgeml_json_string(edgeml_json *s, const uint8_t **raw, int64_t *length, int *escaped) {
    const uint8_t *p = s->p;
    *raw = p;
    *escaped = 0;
    for (;;) {
        uint64_t word;
        while (s->end - p >= 8) {
            memcpy(&word, p, 8);
            if (edgeml_odd8(word)) break;
            p += 8;
        }
        while (*p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\') p++;
        if (*p == '"') {
            *length = p - *raw;
            s->p = p + 1;
            return 0;
        }
        if (*p >= 0x80) {
            int width = edgeml_utf8(p);
            if (width == 0) return edgeml_json_fail(s, p, EDGEML_JSON_UTF8);
            p += width;
        } else if (*p != '\\') {
            return edgeml_json_fail(s, p, EDGEML_JSON_CONTROL);
        } else {
            *escaped = 1;
            if (p[1] == 'u') {
                int unit = edgeml_hex4(p + 2);
                if (unit < 0) return edgeml_json_fail(s, p, EDGEML_JSON_ESCAPE);
                if (unit >= 0xDC00 && unit <= 0xDFFF) return edgeml_json_fail(s, p, EDGEML_JSON_SURROGATE);
                if (unit >= 0xD800 && unit <= 0xDBFF) {
                    int second = p[6] == '\\' && p[7] == 'u' ? edgeml_hex4(p + 8) : -1;
                    if (second < 0xDC00 || second > 0xDFFF) return edgeml_json_fail(s, p, EDGEML_JSON_SURROGATE);
                    p += 6;
                }
                p += 6;
            } else if (p[1] != '\0' && strchr("\"\\/bfnrt", p[1]) != NULL) {
                p += 2;
            } else {
                return edgeml_json_fail(s, p, EDGEML_JSON_ESCAPE);
            }
        }
    }
}

/* Writes the meaning of a raw slice that edgeml_json_string accepted; never longer than the slice. */
static int64_t edgeml_json_unescape(const uint8_t *raw, int64_t length, char *out) {
    const uint8_t *end = raw + length;
    char *q = out;
    while (raw < end) {
        if (*raw != '\\') {
            *q++ = (char)*raw++;
            continue;
        }
        uint8_t c = raw[1];
        raw += 2;
        if (c != 'u') {
            *q++ = c == 'b' ? '\b' : c == 'f' ? '\f' : c == 'n' ? '\n' : c == 'r' ? '\r' : c == 't' ? '\t' : (char)c;
            continue;
        }
        uint32_t u = (uint32_t)edgeml_hex4(raw);
        raw += 4;
        if (u >= 0xD800 && u <= 0xDBFF) {
            u = 0x10000 + ((u - 0xD800) << 10) + ((uint32_t)edgeml_hex4(raw + 2) - 0xDC00);
            raw += 6;
        }
        if (u < 0x80) {
            *q++ = (char)u;
        } else if (u < 0x800) {
            *q++ = (char)(0xC0 | (u >> 6));
            *q++ = (char)(0x80 | (u & 0x3F));
        } else if (u < 0x10000) {
            *q++ = (char)(0xE0 | (u >> 12));
            *q++ = (char)(0x80 | ((u >> 6) & 0x3F));
            *q++ = (char)(0x80 | (u & 0x3F));
        } else {
            *q++ = (char)(0xF0 | (u >> 18));
            *q++ = (char)(0x80 | ((u >> 12) & 0x3F));
            *q++ = (char)(0x80 | ((u >> 6) & 0x3F));
            *q++ = (char)(0x80 | (u & 0x3F));
        }
    }
    return q - out;
}

/* strtod in the C locale, whatever the process's locale calls a decimal point. */
static double edgeml_strtod(const char *text) {
#if defined(_WIN32)
    static _locale_t plain = NULL;
    if (plain == NULL) plain = _create_locale(LC_ALL, "C");
    return _strtod_l(text, NULL, plain);
#else
    /* Threads may race to fill it; the loser's locale is a few hundred bytes that stay. */
    static locale_t plain = (locale_t)0;
    if (plain == (locale_t)0) plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    locale_t before = uselocale(plain);
    double value = strtod(text, NULL);
    uselocale(before);
    return value;
#endif
}

static const double edgeml_exact_tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                           1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

#ifdef __SIZEOF_INT128__
/* digits * 10**exponent for -27 <= exponent <= 27 and digits > 0, rounded once.
 * 10**k = 5**k * 2**k and 5**27 < 2**63, so product and quotient are exact in 128 bits: their top 64 bits,
 * with the last one set where anything follows, round (in the conversion to double) as the true value does. */
static double edgeml_scaled(uint64_t digits, int exponent) {
    typedef unsigned __int128 wide;
    int k = exponent < 0 ? -exponent : exponent;
    uint64_t fives = 1, top;
    for (int i = 0; i < k; i++) fives *= 5;
    int binary;
    int shift = __builtin_clzll(digits);
    if (exponent < 0) {
        int scale = __builtin_clzll(fives);
        wide dividend = (wide)(digits << shift) << 63;
        uint64_t divisor = fives << scale;
        top = (uint64_t)(dividend / divisor);
        top |= dividend != (wide)top * divisor;
        binary = scale - shift - k - 63;
    } else {
        wide product = (wide)digits * fives;
        uint64_t high = (uint64_t)(product >> 64);
        int lead = high != 0 ? __builtin_clzll(high) : 64 + __builtin_clzll((uint64_t)product);
        product <<= lead;
        top = (uint64_t)(product >> 64);
        top |= (uint64_t)product != 0;
        binary = 64 - lead + k;
    }
    uint64_t bits = (uint64_t)(1023 + binary) << 52;
    double power;
    memcpy(&power, &bits, 8);
    return (double)top * power;
}
#endif

/* Reads a number; s->p stands at '-' or a digit. An overflow gives infinity, which is for the caller to refuse. */
static int edgeml_json_number(edgeml_json *s, double *out) {
    const uint8_t *p = s->p, *begin = p;
    int negative = *p == '-', significant = 0, cut = 0;
    int64_t exponent = 0;
    uint64_t digits = 0;
    p += negative;
    if (*p < '0' || *p > '9') return edgeml_json_fail(s, p, EDGEML_JSON_NUMBER);
    if (*p == '0' && p[1] >= '0' && p[1] <= '9') return edgeml_json_fail(s, p, EDGEML_JSON_NUMBER);
    for (; *p >= '0' && *p <= '9'; p++) {
        if (significant < 19) {
            digits = digits * 10 + (*p - '0');
            significant += digits != 0;
        } else {
            cut = 1;
        }
    }
    if (*p == '.') {
        p++;
        if (*p < '0' || *p > '9') return edgeml_json_fail(s, p, EDGEML_JSON_NUMBER);
        for (; *p >= '0' && *p <= '9'; p++) {
            if (significant < 19) {
                digits = digits * 10 + (*p - '0');
                significant += digits != 0;
                exponent--;
            } else {
                cut = 1;
            }
        }
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        int minus = *p == '-';
        if (*p == '-' || *p == '+') p++;
        if (*p < '0' || *p > '9') return edgeml_json_fail(s, p, EDGEML_JSON_NUMBER);
        int64_t given = 0;
        for (; *p >= '0' && *p <= '9'; p++)
            if (given < 1000000) given = given * 10 + (*p - '0');
        exponent += minus ? -given : given;
    }
    s->p = p;
    double value;
    if (digits == 0) {
        value = 0.0;
#if FLT_EVAL_METHOD == 0
    } else if (!cut && digits < ((uint64_t)1 << 53) && exponent >= -22 && exponent <= 22) {
        /* Both factors are exact, so one operation rounds once (Clinger 1990). */
        value = exponent < 0 ? (double)digits / edgeml_exact_tens[-exponent] : (double)digits * edgeml_exact_tens[exponent];
#endif
#ifdef __SIZEOF_INT128__
    } else if (!cut && exponent >= -27 && exponent <= 27) {
        value = edgeml_scaled(digits, (int)exponent);
#endif
    } else {
        *out = edgeml_strtod((const char *)begin);
        return 0;
    }
    *out = negative ? -value : value;
    return 0;
}

static inline int edgeml_json_word(edgeml_json *s, const char *word, int length) {
    if (s->end - s->p < length || memcmp(s->p, word, (size_t)length) != 0)
        return edgeml_json_fail(s, s->p, EDGEML_JSON_VALUE);
    s->p += length;
    return 0;
}

/* Passes over one value, checking its syntax; `depth` brackets are open around it. */
static int edgeml_json_skip(edgeml_json *s, int depth) {
    const uint8_t *raw;
    int64_t length;
    int escaped;
    double number;
    uint8_t open = *s->p;
    if (open == '"') {
        s->p++;
        return edgeml_json_string(s, &raw, &length, &escaped);
    }
    if (open == 't') return edgeml_json_word(s, "true", 4);
    if (open == 'f') return edgeml_json_word(s, "false", 5);
    if (open == 'n') return edgeml_json_word(s, "null", 4);
    if (open == '-' || (open >= '0' && open <= '9')) return edgeml_json_number(s, &number);
    if (open != '{' && open != '[') return edgeml_json_fail(s, s->p, EDGEML_JSON_VALUE);
    if (depth >= EDGEML_JSON_MAX_DEPTH) return edgeml_json_fail(s, s->p, EDGEML_JSON_DEEP);
    uint8_t close = open == '{' ? '}' : ']';
    s->p++;
    edgeml_json_space(s);
    if (*s->p == close) {
        s->p++;
        return 0;
    }
    for (;;) {
        if (open == '{') {
            if (*s->p != '"') return edgeml_json_fail(s, s->p, EDGEML_JSON_KEY);
            s->p++;
            if (edgeml_json_string(s, &raw, &length, &escaped) != 0) return -1;
            edgeml_json_space(s);
            if (*s->p != ':') return edgeml_json_fail(s, s->p, EDGEML_JSON_COLON);
            s->p++;
            edgeml_json_space(s);
        }
        if (edgeml_json_skip(s, depth + 1) != 0) return -1;
        edgeml_json_space(s);
        if (*s->p == close) {
            s->p++;
            return 0;
        }
        if (*s->p != ',') return edgeml_json_fail(s, s->p, EDGEML_JSON_COMMA);
        s->p++;
        edgeml_json_space(s);
    }
}

#endif
