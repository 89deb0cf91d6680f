/* The head of a request: bytes of a stranger to offsets into them, or the status of their refusal.
 *
 * HTTP/1.1 and 1.0 after RFC 9112 (framing) and RFC 9110 (fields). Where the RFCs let a server be lenient this one is
 * not: what two readers could read in two ways is how requests are smuggled.
 *
 * 1. The end of the head is looked for line by line and each byte once, however it is split (http_head_scan).
 * 2. A whole head is read in one go (http_head_read). Nothing is allocated or copied.
 * 3. Each function may be called with any bytes.
 */
#ifndef EDGEML_HTTP_HEAD_H
#define EDGEML_HTTP_HEAD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HTTP_HEAD_BYTES 32768  /* offsets have 16 bits */
#define HTTP_TARGET_BYTES 8192
#define HTTP_METHOD_BYTES 32
#define HTTP_FIELDS 100
#define HTTP_ENDLESS INT64_MAX /* a Content-Length that no number holds */

typedef struct {
    uint16_t name, name_size, value, value_size;
} http_field;

typedef struct {
    uint32_t start;            /* where the request line begins: an empty line may stand before it */
    uint16_t method_size;
    uint16_t path, path_size;  /* not decoded */
    uint16_t query, query_size;
    uint16_t fields;
    uint8_t minor;             /* of the version: 0 or 1 */
    uint8_t keep;              /* the connection is kept after the answer */
    uint8_t chunked;
    uint8_t expects;           /* waits for 100 Continue */
    uint8_t coded;             /* the body has a content coding: it becomes larger when it is looked at */
    int64_t length;            /* Content-Length; -1 where there is none */
    http_field field[HTTP_FIELDS];
} http_head;

/* How far the end was looked for; all zero at the beginning of a head. */
typedef struct {
    uint32_t line; /* where the current line begins */
    uint32_t seen; /* bytes looked at */
    uint32_t lines;
} http_scan;

/* What a character may be part of. */
enum { HTTP_TOKEN = 1, HTTP_VALUE = 2, HTTP_TARGET = 4 };

static inline int http_is(uint8_t c, int what) {
    switch (what) {
    case HTTP_TOKEN:
        if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= '^' && c <= 'z')) return 1;
        return c == '!' || c == '|' || c == '~' || c == '*' || c == '+' || c == '-' || c == '.' || (c >= '#' && c <= '\'');
    case HTTP_VALUE:
        return (c >= ' ' && c != 0x7f) || c == '\t';
    default: /* a fragment is never sent */
        return c > ' ' && c < 0x7f && c != '#';
    }
}

static inline int http_all(const uint8_t *p, size_t size, int what) {
    for (size_t i = 0; i < size; i++) {
        if (!http_is(p[i], what)) return 0;
    }
    return 1;
}

static inline uint8_t http_lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c; }

/* Whether bytes are a word, in whatever case; the word is in lower case. */
static inline int http_same(const uint8_t *p, size_t size, const char *word) {
    size_t i = 0;
    for (; i < size && word[i]; i++) {
        if (http_lower(p[i]) != (uint8_t)word[i]) return 0;
    }
    return i == size && !word[i];
}

/* Looks for the end of the head. Gives its size, 0 where it is not there yet, or the negative status of a refusal. */
static inline int32_t http_head_scan(const uint8_t *data, size_t size, http_scan *scan) {
    for (;;) {
        const uint8_t *end = scan->seen < size ? memchr(data + scan->seen, '\n', size - scan->seen) : NULL;
        size_t used = end ? (size_t)(end - data) + 1 : size;
        if (scan->lines == 0 && used - scan->line > HTTP_TARGET_BYTES + HTTP_METHOD_BYTES + 16) return -414;
        if (used > HTTP_HEAD_BYTES) return -431;
        if (!end) {
            scan->seen = (uint32_t)size;
            return 0;
        }
        if (used - scan->line < 2 || data[used - 2] != '\r') return -400; /* a bare LF */
        scan->seen = (uint32_t)used;
        if (used - scan->line == 2) {
            if (scan->lines > 0) return (int32_t)used;
            if (used > 2) return -400; /* one empty line may stand before a request (RFC 9112, 2.2), not more */
            scan->line = 2;
            continue;
        }
        scan->line = (uint32_t)used;
        if (++scan->lines > HTTP_FIELDS + 1) return -431;
    }
}

/* http://host/path, as it is sent to proxies: only the path is of interest (RFC 9112, 3.2.2). */
static inline int http_after_authority(const uint8_t *p, size_t size, size_t *at) {
    size_t i;
    if (size > 7 && http_same(p, 7, "http://")) i = 7;
    else if (size > 8 && http_same(p, 8, "https://")) i = 8;
    else return 0;
    size_t host = i;
    while (i < size && p[i] != '/' && p[i] != '?') {
        if (p[i] == '@') return 0; /* names and passwords in a target are of no use to anybody honest */
        i++;
    }
    *at = i;
    return i > host;
}

static inline int http_read_target(const uint8_t *data, size_t at, size_t size, http_head *head) {
    const uint8_t *p = data + at;
    size_t path = 0, query;
    if (size > HTTP_TARGET_BYTES) return -414;
    if (size == 0 || !http_all(p, size, HTTP_TARGET)) return -400;
    if (p[0] == '*') {
        if (size != 1 || !(head->method_size == 7 && !memcmp(data + head->start, "OPTIONS", 7))) return -400;
    } else if (p[0] != '/' && !http_after_authority(p, size, &path)) {
        return -400;
    }
    const uint8_t *mark = memchr(p + path, '?', size - path);
    query = mark ? (size_t)(mark - p) : size;
    head->path = (uint16_t)(at + path);
    head->path_size = (uint16_t)(query - path); /* none is the root */
    head->query = (uint16_t)(at + (mark ? query + 1 : size));
    head->query_size = (uint16_t)(mark ? size - query - 1 : 0);
    return 0;
}

static inline int http_read_line(const uint8_t *data, size_t at, size_t end, http_head *head) {
    size_t i = at;
    while (i < end && data[i] != ' ') i++;
    if (i == at || i == end || !http_all(data + at, i - at, HTTP_TOKEN)) return -400;
    if (i - at > HTTP_METHOD_BYTES) return -501;
    head->start = (uint32_t)at;
    head->method_size = (uint16_t)(i - at);
    size_t target = ++i;
    while (i < end && data[i] != ' ') i++;
    if (i == end || end - i != 9 || memcmp(data + i, " HTTP/", 6) || data[i + 7] != '.') return -400;
    if (data[i + 6] < '0' || data[i + 6] > '9' || data[i + 8] < '0' || data[i + 8] > '9') return -400;
    if (data[i + 6] != '1' || data[i + 8] > '1') return -505;
    head->minor = (uint8_t)(data[i + 8] - '0');
    return http_read_target(data, target, i - target, head);
}

static inline int http_read_length(const uint8_t *p, size_t size, int64_t *length) {
    int64_t value = 0;
    if (size == 0) return -400;
    for (size_t i = 0; i < size; i++) {
        if (p[i] < '0' || p[i] > '9') return -400;
        value = value > (HTTP_ENDLESS - 9) / 10 ? HTTP_ENDLESS : value * 10 + (p[i] - '0');
    }
    if (*length >= 0 && *length != value) return -400;
    *length = value;
    return 0;
}

/* Looks for close and keep-alive in a list of words. */
static inline void http_read_connection(const uint8_t *p, size_t size, int *closes, int *keeps) {
    for (size_t i = 0; i < size;) {
        size_t from = i;
        while (i < size && p[i] != ',') i++;
        size_t to = i++;
        while (from < to && (p[from] == ' ' || p[from] == '\t')) from++;
        while (to > from && (p[to - 1] == ' ' || p[to - 1] == '\t')) to--;
        if (http_same(p + from, to - from, "close")) *closes = 1;
        if (http_same(p + from, to - from, "keep-alive")) *keeps = 1;
    }
}

/* Reads a whole head, as long as http_head_scan said. Gives 0 or the negative status of a refusal. */
static inline int http_head_read(const uint8_t *data, size_t size, http_head *head) {
    size_t at = 0, end;
    int hosts = 0, encodings = 0, expects = 0, closes = 0, keeps = 0, status;
    if (size < 4 || size > HTTP_HEAD_BYTES || memcmp(data + size - 4, "\r\n\r\n", 4)) return -400;
    size -= 2; /* what follows looks for the ends of lines, of which the empty one is none */
    if (data[0] == '\r' && data[1] == '\n') at = 2;
    if (at >= size) return -400;
    end = (size_t)((const uint8_t *)memchr(data + at, '\n', size - at) - data);
    if (end == at || data[end - 1] != '\r') return -400;
    head->fields = 0;
    head->coded = 0;
    head->length = -1;
    if ((status = http_read_line(data, at, end - 1, head)) < 0) return status;
    for (at = end + 1; at < size; at = end + 1) {
        end = (size_t)((const uint8_t *)memchr(data + at, '\n', size - at) - data);
        size_t colon = at, from, to = end - 1;
        if (end == at || data[to] != '\r') return -400;
        while (colon < to && http_is(data[colon], HTTP_TOKEN)) colon++;
        if (colon == at || colon == to || data[colon] != ':') return -400; /* also a folded line */
        from = colon + 1;
        while (from < to && (data[from] == ' ' || data[from] == '\t')) from++;
        while (to > from && (data[to - 1] == ' ' || data[to - 1] == '\t')) to--;
        if (!http_all(data + from, to - from, HTTP_VALUE)) return -400;
        if (head->fields == HTTP_FIELDS) return -431;
        http_field *field = &head->field[head->fields++];
        const uint8_t *name = data + at, *value = data + from;
        size_t name_size = colon - at, value_size = to - from;
        field->name = (uint16_t)at;
        field->name_size = (uint16_t)name_size;
        field->value = (uint16_t)from;
        field->value_size = (uint16_t)value_size;
        switch (name_size) {
        case 4:
            hosts += http_same(name, 4, "host");
            break;
        case 6:
            if (http_same(name, 6, "expect")) {
                if (!http_same(value, value_size, "100-continue")) return -417;
                expects = 1;
            }
            break;
        case 10:
            if (http_same(name, 10, "connection")) http_read_connection(value, value_size, &closes, &keeps);
            break;
        case 14:
            if (http_same(name, 14, "content-length") && (status = http_read_length(value, value_size, &head->length)) < 0)
                return status;
            break;
        case 16:
            if (http_same(name, 16, "content-encoding") && value_size && !http_same(value, value_size, "identity"))
                head->coded = 1;
            break;
        case 17:
            if (http_same(name, 17, "transfer-encoding")) {
                if (!http_same(value, value_size, "chunked")) return -501;
                encodings++;
            }
            break;
        default:
            break;
        }
    }
    if (hosts > 1 || (hosts == 0 && head->minor == 1)) return -400;
    if (encodings > 1 || (encodings && (head->length >= 0 || head->minor == 0))) return -400;
    head->chunked = (uint8_t)encodings;
    head->expects = (uint8_t)(expects && head->minor == 1);
    head->keep = (uint8_t)(!closes && (head->minor == 1 || keeps));
    return 0;
}

#endif
