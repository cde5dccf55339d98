/* idem_disposition.c: header block of a part -> name of the form field.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_disposition.h"

#include <string.h>

#include <apr_cstr.h>

typedef struct {
    const char *at;
    const char *end;
} cursor_t;

/* CR and LF stand only in front of folded lines here. */
static void skip_space(cursor_t *in)
{
    while (in->at < in->end && *in->at && strchr(" \t\r\n", *in->at)) {
        in->at++;
    }
}

static int next_is(const cursor_t *in, char c)
{
    return in->at < in->end && *in->at == c;
}

/* Up to one of these characters, or white space. */
static cursor_t skip_token(cursor_t *in, const char *stops)
{
    cursor_t token = { in->at, in->end };

    while (in->at < in->end && (!*in->at || !strchr(" \t\r\n", *in->at))
           && (!*in->at || !strchr(stops, *in->at))) {
        in->at++;
    }
    token.end = in->at;
    return token;
}

static int is_word(cursor_t token, const char *word)
{
    apr_size_t len = (apr_size_t)(token.end - token.at);

    return len == strlen(word) && !apr_cstr_casecmpn(token.at, word, len);
}

/* The field's line with those folded below it. @return how many there are */
static int find_line(cursor_t *line, const char *block, apr_size_t len)
{
    cursor_t in = { block, block + len };
    int found = 0;

    while (in.at < in.end) {
        cursor_t name = skip_token(&in, ":");

        do {
            in.at = memchr(in.at, '\n', (apr_size_t)(in.end - in.at));
            in.at = in.at ? in.at + 1 : in.end;
        } while (next_is(&in, ' ') || next_is(&in, '\t'));
        if (name.end < in.at && *name.end == ':'
            && is_word(name, "Content-Disposition")) {
            line->at = name.end + 1;
            line->end = in.at;
            found++;
        }
    }
    return found;
}

/* A token or quoted text. Only '"' and '\' are ever escaped: old browsers
 * send paths with single backslashes.
 * @return 0 if the closing quote is missing */
static int parse_value(cursor_t *in, char *to, apr_size_t *len)
{
    apr_size_t n = 0, room = *len;
    cursor_t token;

    if (!next_is(in, '"')) {
        token = skip_token(in, ";");
        n = (apr_size_t)(token.end - token.at);
        n = n < room ? n : room;
        memcpy(to, token.at, n);
        *len = n;
        return 1;
    }
    for (in->at++; in->at < in->end && *in->at != '"'; in->at++) {
        if (*in->at == '\\' && in->at + 1 < in->end
            && (in->at[1] == '"' || in->at[1] == '\\')) {
            in->at++;
        }
        if (n < room) {
            to[n++] = *in->at;
        }
    }
    *len = n;
    return in->at++ < in->end;
}

/* One parameter, behind its semicolon. @return 0 if it is none */
static int parse_parameter(cursor_t *in, char *name, apr_size_t *len,
                           int *names, int *files)
{
    cursor_t word;
    char rest[1];
    apr_size_t none = 0;

    skip_space(in);
    if (in->at == in->end || *in->at == ';') {
        return 1;
    }
    word = skip_token(in, "=;\"");
    skip_space(in);
    *files |= is_word(word, "filename") || is_word(word, "filename*");
    if (!next_is(in, '=')) {
        return 0;
    }
    in->at++;
    skip_space(in);
    if (is_word(word, "name")) {
        (*names)++;
        return parse_value(in, name, len);
    }
    return parse_value(in, rest, &none);
}

idem_disposition_t idem_disposition_parse(char *name, apr_size_t *len,
                                          const char *block,
                                          apr_size_t block_len)
{
    cursor_t in;
    int lines = find_line(&in, block, block_len);
    int names = 0, files = 0, sound = 1;

    if (lines != 1) {
        return lines ? IDEM_DISPOSITION_DOUBT : IDEM_DISPOSITION_NONE;
    }
    skip_space(&in);
    skip_token(&in, ";");
    skip_space(&in);
    while (sound && next_is(&in, ';')) {
        in.at++;
        sound = parse_parameter(&in, name, len, &names, &files);
        skip_space(&in);
    }
    if (files) {
        return IDEM_DISPOSITION_NONE;
    }
    if (!sound || in.at < in.end || names > 1) {
        return IDEM_DISPOSITION_DOUBT;
    }
    return names ? IDEM_DISPOSITION_FIELD : IDEM_DISPOSITION_NONE;
}

apr_size_t idem_disposition_unescape(char *name, apr_size_t len)
{
    static const char *const escapes[] = { "%22\"", "%0D\r", "%0A\n" };
    apr_size_t i, to = 0;
    int j;

    for (i = 0; i < len; i++) {
        name[to] = name[i];
        for (j = 0; j < 3; j++) {
            if (len - i >= 3 && !apr_cstr_casecmpn(name + i, escapes[j], 3)) {
                name[to] = escapes[j][3];
                i += 2;
                break;
            }
        }
        to++;
    }
    return to;
}
