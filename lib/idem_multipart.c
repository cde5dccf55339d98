/* idem_multipart.c: a multipart body -> its parts, as it streams.
 * SPDX-License-Identifier: Apache-2.0
 *
 * RFC 2046 5.1.1. What is not plainly well-formed (text before the first or
 * behind the last delimiter, a missing end, a delimiter line with more on it
 * than padding) is a fault: parsers differ in what they make of it.
 *
 *   START --delimiter--> LINE --CRLF--> HEADERS --empty line--> CONTENT
 *                         |  ^                                     |
 *                      "--"  +-------- CRLF + delimiter -----------+
 *                         v
 *                        END
 *
 * A delimiter may be cut by the edge of a buffer anywhere: how much of it
 * has matched is kept, and what turns out not to be one is content.
 */
#include "idem_multipart.h"

#include <stddef.h>
#include <string.h>

#include <apr_cstr.h>
#include <apr_strings.h>

#define BOUNDARY_MAX 70
#define HEADERS_MAX (16 * 1024) /* of one part */
#define PARTS_MAX 10000

typedef enum {
    AT_START,   /* the first delimiter has no CRLF before it */
    AT_LINE,    /* behind a delimiter: "--" or padding */
    AT_PADDING, /* spaces up to CRLF */
    AT_HEADERS,
    AT_CONTENT,
    AT_CLOSE, /* behind the first "-" of two */
    AT_END,   /* one CRLF may follow */
    AT_FAULT
} place_t;

struct idem_multipart_t {
    const idem_multipart_sink_t *sink;
    void *baton;
    place_t at;
    char delimiter[BOUNDARY_MAX + 5]; /* CRLF "--" boundary */
    apr_size_t dlen;
    apr_size_t matched; /* of the delimiter, or of "\r\n" */
    apr_size_t headers; /* bytes of this part's header block */
    int line_empty;     /* nothing yet on this header line */
    int parts;
    char block[HEADERS_MAX]; /* the header block */
};

/* ---------------------------------------------------------- Content-Type */

static int is_bchar(char c)
{
    /* Not isalnum(), which obeys the locale that a PHP script may set. */
    return c
           && strchr("0123456789abcdefghijklmnopqrstuvwxyz"
                     "ABCDEFGHIJKLMNOPQRSTUVWXYZ'()+_,-./:=? ",
                     c);
}

static const char *skip_space(const char *p)
{
    return p + strspn(p, " \t");
}

/* One parameter; value is "" if it is longer than a boundary may be. */
static const char *parse_parameter(const char *p, char *name, char *value)
{
    apr_size_t len = strcspn(p, "= \t;");
    apr_size_t n = 0;

    apr_cpystrn(name, p, (len < 16 ? len : 16) + 1);
    p += len;
    if (*p++ != '=') {
        return NULL;
    }
    if (*p == '"') {
        for (p++; *p && *p != '"'; p++) {
            if (*p == '\\' && p[1]) {
                p++;
            }
            if (n <= BOUNDARY_MAX) {
                value[n++] = *p;
            }
        }
        if (*p++ != '"') {
            return NULL;
        }
    }
    else {
        for (; *p && !strchr(" \t;", *p); p++) {
            if (n <= BOUNDARY_MAX) {
                value[n++] = *p;
            }
        }
    }
    value[n <= BOUNDARY_MAX ? n : 0] = '\0';
    return skip_space(p);
}

static int is_boundary(const char *text)
{
    apr_size_t len = strlen(text), i;

    if (len == 0 || text[len - 1] == ' ') {
        return 0;
    }
    for (i = 0; i < len; i++) {
        if (!is_bchar(text[i])) {
            return 0;
        }
    }
    return 1;
}

/* Two boundary parameters: whom would the application believe? */
static int find_boundary(const char *p, char *boundary)
{
    char name[17], value[BOUNDARY_MAX + 2];
    int found = 0;

    if (!p || apr_cstr_casecmpn(p, "multipart/", 10) != 0) {
        return 0;
    }
    p += strcspn(p, ";");
    while (*p == ';') {
        p = skip_space(p + 1);
        if (*p == ';' || !*p) {
            continue; /* RFC 9110 5.6.6 lets a parameter be missing */
        }
        p = parse_parameter(p, name, value);
        if (!p) {
            return 0;
        }
        if (!apr_cstr_casecmp(name, "boundary")) {
            if (found++ || !is_boundary(value)) {
                return 0;
            }
            apr_cpystrn(boundary, value, BOUNDARY_MAX + 1);
        }
    }
    return found && !*p;
}

/* ----------------------------------------------------------------- parsing */

idem_multipart_t *idem_multipart_create(const char *content_type,
                                        const idem_multipart_sink_t *sink,
                                        void *baton, apr_pool_t *pool)
{
    char boundary[BOUNDARY_MAX + 1];
    idem_multipart_t *parts;

    if (!find_boundary(content_type, boundary)) {
        return NULL;
    }
    parts = apr_palloc(pool, sizeof(*parts));
    memset(parts, 0, offsetof(idem_multipart_t, block));
    parts->sink = sink;
    parts->baton = baton;
    memcpy(parts->delimiter, "\r\n--", 4);
    apr_cpystrn(parts->delimiter + 4, boundary, BOUNDARY_MAX + 1);
    parts->dlen = strlen(parts->delimiter);
    parts->matched = 2; /* as if a CRLF had been before the body */
    return parts;
}

static place_t start_part(idem_multipart_t *parts)
{
    parts->headers = 0;
    parts->line_empty = 1;
    parts->matched = 0;
    return ++parts->parts > PARTS_MAX ? AT_FAULT : AT_HEADERS;
}

static place_t after_delimiter(idem_multipart_t *parts, char c)
{
    switch (parts->at) {
    case AT_LINE:
        if (c == '-') {
            return AT_CLOSE;
        }
        /* fall through */
    case AT_PADDING:
        if (c == ' ' || c == '\t') {
            return parts->matched ? AT_FAULT : AT_PADDING;
        }
        if (c == '\r' && !parts->matched) {
            parts->matched = 1;
            return AT_PADDING;
        }
        if (c == '\n' && parts->matched) {
            return start_part(parts);
        }
        return AT_FAULT;
    case AT_CLOSE:
        parts->matched = 0;
        return c == '-' ? AT_END : AT_FAULT;
    case AT_END: /* one CRLF */
        if (c == "\r\n"[parts->matched & 1] && parts->matched < 2) {
            parts->matched++;
            return AT_END;
        }
        return AT_FAULT;
    case AT_START:
    case AT_HEADERS:
    case AT_CONTENT:
    case AT_FAULT:
        break;
    }
    return AT_FAULT;
}

/* One byte of the header block; lines end in CRLF. */
static place_t header_byte(idem_multipart_t *parts, char c)
{
    if (parts->headers == HEADERS_MAX) {
        return AT_FAULT;
    }
    parts->block[parts->headers++] = c;
    if (c == '\r') {
        parts->matched = 1;
        return AT_HEADERS;
    }
    if (c == '\n' && parts->matched) {
        parts->matched = 0;
        if (parts->line_empty) {
            parts->sink->begin(parts->baton, parts->block, parts->headers);
            return AT_CONTENT;
        }
        parts->line_empty = 1;
        return AT_HEADERS;
    }
    parts->matched = 0;
    parts->line_empty = 0;
    return AT_HEADERS;
}

static void put(idem_multipart_t *parts, const char *data, apr_size_t len)
{
    if (len > 0) {
        parts->sink->content(parts->baton, data, len);
    }
}

/* One byte of content; only "\r" starts a delimiter, and it stands nowhere
 * else in one, so a broken match can only restart at this byte. */
static place_t content_byte(idem_multipart_t *parts, char c)
{
    if (c == parts->delimiter[parts->matched]) {
        if (++parts->matched == parts->dlen) {
            parts->matched = 0;
            parts->sink->end(parts->baton);
            return AT_LINE;
        }
        return AT_CONTENT;
    }
    put(parts, parts->delimiter, parts->matched);
    parts->matched = c == '\r';
    if (!parts->matched) {
        put(parts, &c, 1);
    }
    return AT_CONTENT;
}

/* Everything up to the next CR at once: that is nearly all of a file. */
static apr_size_t plain_content(idem_multipart_t *parts, const char *data,
                                apr_size_t len)
{
    const char *cr;

    if (parts->at != AT_CONTENT || parts->matched) {
        return 0;
    }
    cr = memchr(data, '\r', len);
    len = cr ? (apr_size_t)(cr - data) : len;
    put(parts, data, len);
    return len;
}

static place_t start_byte(idem_multipart_t *parts, char c)
{
    if (c != parts->delimiter[parts->matched]) {
        return AT_FAULT;
    }
    if (++parts->matched < parts->dlen) {
        return AT_START;
    }
    parts->matched = 0;
    return AT_LINE;
}

void idem_multipart_add(idem_multipart_t *parts, const char *data,
                        apr_size_t len)
{
    apr_size_t i = 0;

    while (i < len && parts->at != AT_FAULT) {
        i += plain_content(parts, data + i, len - i);
        if (i == len) {
            return;
        }
        switch (parts->at) {
        case AT_START:
            parts->at = start_byte(parts, data[i]);
            break;
        case AT_HEADERS:
            parts->at = header_byte(parts, data[i]);
            break;
        case AT_CONTENT:
            parts->at = content_byte(parts, data[i]);
            break;
        case AT_LINE:
        case AT_PADDING:
        case AT_CLOSE:
        case AT_END:
            parts->at = after_delimiter(parts, data[i]);
            break;
        case AT_FAULT:
            return;
        }
        i++;
    }
}

int idem_multipart_end(const idem_multipart_t *parts)
{
    return parts->at == AT_END && parts->matched != 1;
}
