/* The body of a request whose length nobody knew: chunks (RFC 9112, 7.1) to bytes.
 *
 * 1. It may be given its bytes in any pieces, and writes what they hold to a place that may lie before or at them in
 *    the same memory: it never writes more than it has read.
 * 2. Extensions and trailers are skipped; both together may have no more than HTTP_CHUNK_NOISE bytes in a body.
 */
#ifndef EDGEML_HTTP_CHUNKS_H
#define EDGEML_HTTP_CHUNKS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HTTP_CHUNK_NOISE 65536

enum {
    HTTP_CHUNK_SIZE,      /* before the first digit */
    HTTP_CHUNK_DIGITS,
    HTTP_CHUNK_BLANK,     /* after a blank: only an extension or the end of the line may follow */
    HTTP_CHUNK_EXTENSION,
    HTTP_CHUNK_SIZE_LF,
    HTTP_CHUNK_DATA,
    HTTP_CHUNK_DATA_CR,
    HTTP_CHUNK_DATA_LF,
    HTTP_CHUNK_TRAILER,   /* at the beginning of a line */
    HTTP_CHUNK_TRAILER_IN,
    HTTP_CHUNK_TRAILER_LF,
    HTTP_CHUNK_LAST_LF,
    HTTP_CHUNK_DONE
};

/* All zero at the beginning of a body. */
typedef struct {
    uint64_t left; /* of the chunk */
    uint32_t noise;
    uint8_t state;
} http_chunks;

static inline int http_hex(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Reads what is there.
 *
 * `used` is set to how much of `data` was read and `made` to how much was written to `out`, which has `room` bytes; it
 * stops where `out` is full and a chunk has more. Gives 1 at the end of the body, 0 before, or a negative status.
 */
static inline int http_chunks_read(http_chunks *c, const uint8_t *data, size_t size, uint8_t *out, size_t room,
                                   size_t *used, size_t *made) {
    size_t i = 0, n = 0;
    int digit;
    *used = *made = 0;
    while (i < size && c->state != HTTP_CHUNK_DONE) {
        uint8_t b = data[i];
        if (c->state == HTTP_CHUNK_DATA) {
            size_t take = size - i;
            if (take > c->left) take = (size_t)c->left;
            if (take > room - n) take = room - n;
            if (take == 0) break;
            memmove(out + n, data + i, take);
            i += take, n += take, c->left -= take;
            if (c->left == 0) c->state = HTTP_CHUNK_DATA_CR;
            continue;
        }
        i++;
        switch (c->state) {
        case HTTP_CHUNK_SIZE:
            if (http_hex(b) < 0) return -400;
            c->left = 0;
            c->state = HTTP_CHUNK_DIGITS; /* fall through */
        case HTTP_CHUNK_DIGITS:
            digit = http_hex(b);
            if (digit >= 0) {
                if (c->left >> 58) return -400; /* no body is that long; zeros without end are noise */
                c->left = c->left * 16 + (uint64_t)digit;
                if (c->left == 0 && ++c->noise > HTTP_CHUNK_NOISE) return -400;
                break;
            }
            if (b == '\r') c->state = HTTP_CHUNK_SIZE_LF;
            else if (b == ';') c->state = HTTP_CHUNK_EXTENSION;
            else if (b == ' ' || b == '\t') c->state = HTTP_CHUNK_BLANK;
            else return -400;
            break;
        case HTTP_CHUNK_BLANK:
            if (++c->noise > HTTP_CHUNK_NOISE) return -400;
            if (b == '\r') c->state = HTTP_CHUNK_SIZE_LF;
            else if (b == ';') c->state = HTTP_CHUNK_EXTENSION;
            else if (b != ' ' && b != '\t') return -400;
            break;
        case HTTP_CHUNK_EXTENSION:
            if (++c->noise > HTTP_CHUNK_NOISE) return -400;
            if (b == '\r') c->state = HTTP_CHUNK_SIZE_LF;
            else if ((b < ' ' && b != '\t') || b == 0x7f) return -400;
            break;
        case HTTP_CHUNK_SIZE_LF:
            if (b != '\n') return -400;
            c->state = c->left ? HTTP_CHUNK_DATA : HTTP_CHUNK_TRAILER;
            break;
        case HTTP_CHUNK_DATA_CR:
            if (b != '\r') return -400;
            c->state = HTTP_CHUNK_DATA_LF;
            break;
        case HTTP_CHUNK_DATA_LF:
            if (b != '\n') return -400;
            c->state = HTTP_CHUNK_SIZE;
            break;
        case HTTP_CHUNK_TRAILER:
            if (b == '\r') {
                c->state = HTTP_CHUNK_LAST_LF;
                break;
            }
            c->state = HTTP_CHUNK_TRAILER_IN; /* fall through */
        case HTTP_CHUNK_TRAILER_IN:
            if (++c->noise > HTTP_CHUNK_NOISE) return -400;
            if (b == '\r') c->state = HTTP_CHUNK_TRAILER_LF;
            else if ((b < ' ' && b != '\t') || b == 0x7f) return -400;
            break;
        case HTTP_CHUNK_TRAILER_LF:
            if (b != '\n') return -400;
            c->state = HTTP_CHUNK_TRAILER;
            break;
        default: /* HTTP_CHUNK_LAST_LF */
            if (b != '\n') return -400;
            c->state = HTTP_CHUNK_DONE;
            break;
        }
    }
    *used = i;
    *made = n;
    return c->state == HTTP_CHUNK_DONE;
}

#endif
