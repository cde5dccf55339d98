/* idem_line.c: one line of JSON that never outgrows its buffer.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_line.h"

#include <stdio.h>
#include <string.h>

#define NAME_MAX_LEN 16
#define UNIT_MAX 12 /* of one character: a surrogate pair, \uHHHH\uHHHH */

static const char hex[] = "0123456789abcdef";

/* What may still be used, the end of the line left aside. */
static apr_size_t room(const idem_line_t *line)
{
    return sizeof(line->text) - IDEM_LINE_TAIL - line->len;
}

static void put(idem_line_t *line, const char *text, apr_size_t len)
{
    memcpy(line->text + line->len, text, len);
    line->len += len;
}

static void put_name(idem_line_t *line, const char *name)
{
    if (line->len > 1) {
        put(line, ",", 1);
    }
    put(line, "\"", 1);
    put(line, name, strlen(name));
    put(line, "\":", 2);
}

static void note_cut(idem_line_t *line, const char *name)
{
    if (line->ncut < IDEM_LINE_CUTS) {
        line->cut[line->ncut++] = name;
    }
}

/* Does a member with this name and so long a value have room? */
static int fits(idem_line_t *line, const char *name, apr_size_t len)
{
    if (strlen(name) > NAME_MAX_LEN || strlen(name) + 4 + len > room(line)) {
        note_cut(line, name);
        return 0;
    }
    return 1;
}

void idem_line_init(idem_line_t *line)
{
    line->len = 0;
    line->ncut = 0;
    put(line, "{", 1);
}

/* RFC 3629: the character at @a at. @return its bytes, or 0 if there is no
 * valid one; then the first byte stands for itself */
static int decode(const unsigned char *at, apr_uint32_t *code)
{
    static const apr_uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    int len, i;

    len = at[0] < 0x80   ? 1
          : at[0] < 0xc2 ? 0
          : at[0] < 0xe0 ? 2
          : at[0] < 0xf0 ? 3
          : at[0] < 0xf5 ? 4
                         : 0;
    *code = len < 2 ? at[0] : at[0] & (0x7fu >> len);
    for (i = 1; i < len; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0; /* the NUL at the end is caught here, too */
        }
        *code = *code << 6 | (at[i] & 0x3fu);
    }
    if (len > 1
        && (*code < least[len] || *code > 0x10ffff
            || (*code >= 0xd800 && *code <= 0xdfff))) {
        return 0;
    }
    return len;
}

static char *put_u(char *to, apr_uint32_t code)
{
    *to++ = '\\';
    *to++ = 'u';
    *to++ = hex[code >> 12 & 15];
    *to++ = hex[code >> 8 & 15];
    *to++ = hex[code >> 4 & 15];
    *to++ = hex[code & 15];
    return to;
}

/* One character as JSON writes it. @return its length in @a unit */
static apr_size_t escape(char *unit, apr_uint32_t code)
{
    char *to = unit;

    if (code == '"' || code == '\\') {
        *to++ = '\\';
        *to++ = (char)code;
    }
    else if (code >= 0x20 && code < 0x7f) {
        *to++ = (char)code;
    }
    else if (code < 0x10000) {
        to = put_u(to, code);
    }
    else {
        to = put_u(to, 0xd800 + ((code - 0x10000) >> 10));
        to = put_u(to, 0xdc00 + ((code - 0x10000) & 0x3ff));
    }
    return (apr_size_t)(to - unit);
}

void idem_line_text(idem_line_t *line, const char *name, const char *value,
                    apr_size_t max)
{
    const unsigned char *at = (const unsigned char *)value;
    apr_size_t end;

    if (!value || !fits(line, name, 2)) {
        return;
    }
    put_name(line, name);
    put(line, "\"", 1);
    end = line->len + (max < room(line) ? max : room(line) - 1);
    while (*at) {
        char unit[UNIT_MAX];
        apr_uint32_t code;
        int len = decode(at, &code);
        apr_size_t size = escape(unit, len ? code : at[0]);

        if (line->len + size > end) {
            note_cut(line, name);
            break;
        }
        put(line, unit, size);
        at += len ? len : 1;
    }
    put(line, "\"", 1);
}

void idem_line_number(idem_line_t *line, const char *name, apr_int64_t value)
{
    char text[24];
    int len = snprintf(text, sizeof(text), "%" APR_INT64_T_FMT, value);

    if (len > 0 && fits(line, name, (apr_size_t)len)) {
        put_name(line, name);
        put(line, text, (apr_size_t)len);
    }
}

void idem_line_digest(idem_line_t *line, const char *name,
                      const idem_digest_t *digest, apr_size_t len)
{
    apr_size_t i;

    if (!fits(line, name, 2 * len + 2)) {
        return;
    }
    put_name(line, name);
    put(line, "\"", 1);
    for (i = 0; i < len; i++) {
        put(line, &hex[digest->bytes[i] >> 4], 1);
        put(line, &hex[digest->bytes[i] & 15], 1);
    }
    put(line, "\"", 1);
}

void idem_line_time(idem_line_t *line, const char *name, apr_time_t time)
{
    apr_time_exp_t at;
    char text[64];

    if (apr_time_exp_gmt(&at, time) != APR_SUCCESS) {
        return;
    }
    (void)snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ",
                   at.tm_year + 1900, at.tm_mon + 1, at.tm_mday, at.tm_hour,
                   at.tm_min, at.tm_sec, at.tm_usec);
    idem_line_text(line, name, text, sizeof(text));
}

void idem_line_end(idem_line_t *line)
{
    int i;

    for (i = 0; i < line->ncut; i++) {
        put(line, i == 0 ? ",\"cut\":[\"" : ",\"", i == 0 ? 9 : 2);
        put(line, line->cut[i], strlen(line->cut[i]));
        put(line, "\"", 1);
    }
    if (line->ncut > 0) {
        put(line, "]", 1);
    }
    put(line, "}\n", 2);
}
