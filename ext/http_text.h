/* The words of an answer's head, and the fields that most requests have. */
#ifndef EDGEML_HTTP_TEXT_H
#define EDGEML_HTTP_TEXT_H

#include <stdio.h>
#include <time.h>

#include "http_link.h"

/* Fields whose WSGI names are made once; the front holds them in this order. */
static const char *const http_known[] = {
    "host",         "accept",           "expect",     "cookie",       "user-agent", "connection",
    "content-type", "content-length",   "accept-encoding", "accept-language", "content-encoding",
    "traceparent",  "transfer-encoding", "inference-header-content-length",
};
#define HTTP_KNOWN ((int)(sizeof http_known / sizeof *http_known))

static inline int http_known_field(const uint8_t *name, size_t size) {
    for (int i = 0; i < HTTP_KNOWN; i++) {
        /* The first letter rules most of them out. */
        if (http_lower(name[0]) == (uint8_t)http_known[i][0] && http_same(name, size, http_known[i])) return i;
    }
    return -1;
}

/* Reason phrases (RFC 9110, 15); clients may ignore them. */
static inline const char *http_phrase(int status) {
    switch (status) {
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 411: return "Length Required";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 417: return "Expectation Failed";
    case 422: return "Unprocessable Content";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    case 505: return "HTTP Version Not Supported";
    default: return "Answer";
    }
}

/* The date of answers, written once a second. */
typedef struct {
    time_t second;
    char line[96];
    int size;
} http_date;

static inline void http_date_now(http_date *date) {
    static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct timespec now;
    struct tm t;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec == date->second && date->size) return;
    date->second = now.tv_sec;
    date->size = 0;
    if (!gmtime_r(&now.tv_sec, &t) || t.tm_year > 8099) return;
    date->size = snprintf(date->line, sizeof date->line, "date: %s, %02d %s %04d %02d:%02d:%02d GMT\r\n",
                          days[t.tm_wday], t.tm_mday, months[t.tm_mon], t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
    if (date->size < 0 || date->size >= (int)sizeof date->line) date->size = 0;
}

/* Appends to what goes out; -1 where there is no memory. */
static inline int link_put(http_link *c, const void *text, size_t size) {
    if (link_room(&c->out, &c->out_room, c->out_size + size) < 0) return -1;
    if (size) memcpy(c->out + c->out_size, text, size);
    c->out_size += size;
    return 0;
}

static inline int link_put_number(http_link *c, uint64_t number, unsigned base) {
    char digits[24];
    int at = sizeof digits;
    do {
        digits[--at] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number);
    return link_put(c, digits + at, sizeof digits - (size_t)at);
}

/* Appends the head of an answer.
 *
 * `block` is the status line and the fields of the handler. `length` is of the body; -1 where it goes out in chunks, -2
 * where its end is that of the connection, -3 where the answer has none. Gives 0, or -1 where there is no memory.
 */
static inline int link_put_head(http_link *c, const void *block, size_t size, int64_t length, const http_date *date,
                                int says_close) {
    static const char counted[] = "content-length: ", chunked[] = "transfer-encoding: chunked\r\n";
    static const char closes[] = "connection: close\r\n", keeps[] = "connection: keep-alive\r\n";
    int failed = link_put(c, block, size) || link_put(c, date->line, (size_t)date->size);
    if (length >= 0) {
        failed |= link_put(c, counted, sizeof counted - 1) || link_put_number(c, (uint64_t)length, 10) ||
                  link_put(c, "\r\n", 2);
    } else if (length == -1) {
        failed |= link_put(c, chunked, sizeof chunked - 1);
    }
    if (c->closing) {
        if (!says_close) failed |= link_put(c, closes, sizeof closes - 1);
    } else if (c->head.minor == 0) {
        failed |= link_put(c, keeps, sizeof keeps - 1);
    }
    return failed || link_put(c, "\r\n", 2) ? -1 : 0;
}

#endif
