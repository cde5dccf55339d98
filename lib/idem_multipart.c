/* idem_multipart.c: a multipart body -> digest of its parts, as it streams.
 * SPDX-License-Identifier: Apache-2.0
 *
 * RFC 2046 5.1.1. Each part counts with the bytes of its header block and of
 * its content; the boundary does not. What is not plainly well-formed (text
 * before the first or behind the last delimiter, a missing end, a delimiter
 * line with more on it than padding) is left to the caller, who then
 * compares byte for byte.
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
    const EVP_MD *sha256;
    EVP_MD_CTX *all;  /* over the digests of the parts */
    EVP_MD_CTX *part; /* over the bytes of one */
    place_t at;
    char delimiter[BOUNDARY_MAX + 5]; /* CRLF "--" boundary */
    apr_size_t dlen;
    apr_size_t matched; /* of the delimiter, or of "\r\n" */
    apr_size_t headers; /* bytes of this part's header block */
    int line_empty;     /* nothing yet on this header line */
    int parts;
    int failed;
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

/* ----------------------------------------------------------------- digests */

static apr_status_t free_digests(void *data)
{
    idem_multipart_t *parts = data;

    EVP_MD_CTX_free(parts->all);
    EVP_MD_CTX_free(parts->part);
    return APR_SUCCESS;
}

idem_multipart_t *idem_multipart_create(const char *content_type,
                                        const EVP_MD *sha256, apr_pool_t *pool)
{
    char boundary[BOUNDARY_MAX + 1];
    idem_multipart_t *parts;

    if (!find_boundary(content_type, boundary)) {
        return NULL;
    }
    parts = apr_pcalloc(pool, sizeof(*parts));
    memcpy(parts->delimiter, "\r\n--", 4);
    apr_cpystrn(parts->delimiter + 4, boundary, BOUNDARY_MAX + 1);
    parts->dlen = strlen(parts->delimiter);
    parts->sha256 = sha256;
    parts->all = EVP_MD_CTX_new();
    parts->part = EVP_MD_CTX_new();
    apr_pool_cleanup_register(pool, parts, free_digests,
                              apr_pool_cleanup_null);
    parts->matched = 2; /* as if a CRLF had been before the body */
    if (!parts->all || !parts->part
        || EVP_DigestInit_ex2(parts->all, sha256, NULL) != 1) {
        parts->at = AT_FAULT;
    }
    return parts;
}

static void start_part(idem_multipart_t *parts)
{
    parts->headers = 0;
    parts->line_empty = 1;
    parts->matched = 0;
    parts->parts++;
    parts->failed |=
        parts->parts > PARTS_MAX
        || EVP_DigestInit_ex2(parts->part, parts->sha256, NULL) != 1;
}

static void hash(idem_multipart_t *parts, const char *data, apr_size_t len)
{
    if (len > 0) {
        parts->failed |= EVP_DigestUpdate(parts->part, data, len) != 1;
    }
}

/* Closes the headers or the content of a part: its digest goes into the
 * one over all, so that no length has to be known beforehand. */
static void end_piece(idem_multipart_t *parts)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int len = 0;

    parts->failed |=
        EVP_DigestFinal_ex(parts->part, digest, &len) != 1
        || EVP_DigestUpdate(parts->all, digest, len) != 1
        || EVP_DigestInit_ex2(parts->part, parts->sha256, NULL) != 1;
}

/* ----------------------------------------------------------------- parsing */

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
            start_part(parts);
            return AT_HEADERS;
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
    hash(parts, &c, 1);
    if (++parts->headers > HEADERS_MAX) {
        return AT_FAULT;
    }
    if (c == '\r') {
        parts->matched = 1;
        return AT_HEADERS;
    }
    if (c == '\n' && parts->matched) {
        parts->matched = 0;
        if (parts->line_empty) {
            end_piece(parts);
            return AT_CONTENT;
        }
        parts->line_empty = 1;
        return AT_HEADERS;
    }
    parts->matched = 0;
    parts->line_empty = 0;
    return AT_HEADERS;
}

/* One byte of content; only "\r" starts a delimiter, and it stands nowhere
 * else in one, so a broken match can only restart at this byte. */
static place_t content_byte(idem_multipart_t *parts, char c)
{
    if (c == parts->delimiter[parts->matched]) {
        if (++parts->matched == parts->dlen) {
            parts->matched = 0;
            end_piece(parts);
            return AT_LINE;
        }
        return AT_CONTENT;
    }
    hash(parts, parts->delimiter, parts->matched);
    parts->matched = c == '\r';
    if (!parts->matched) {
        hash(parts, &c, 1);
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
    hash(parts, data, len);
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

int idem_multipart_end(idem_multipart_t *parts, unsigned char *digest)
{
    unsigned int len = 0;

    return parts->at == AT_END && parts->matched != 1 && !parts->failed
           && EVP_DigestFinal_ex(parts->all, digest, &len) == 1
           && len == IDEM_DIGEST_LEN;
}
