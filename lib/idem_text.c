/* idem_text.c: text of requests and answers: a whole body, tokens, media
 * types, JSON strings.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_text.h"

#include <string.h>

#include <apr_cstr.h>

void idem_text_init(idem_text_t *text, apr_pool_t *pool)
{
    memset(text, 0, sizeof(*text));
    text->pool = pool;
}

/* Doubled, so that what is left behind is no more than what is kept. */
static void grow(idem_text_t *text, apr_size_t wanted)
{
    apr_size_t room = text->room ? text->room : 2048;
    char *data;

    while (room < wanted) {
        room *= 2;
    }
    data = apr_palloc(text->pool, room);
    if (text->len > 0) {
        memcpy(data, text->data, text->len);
    }
    text->data = data;
    text->room = room;
}

void idem_text_add(idem_text_t *text, const char *data, apr_size_t len)
{
    if (text->over || len == 0) {
        return;
    }
    if (len > IDEM_BODY_PARSE_MAX - text->len) {
        text->over = 1;
        return;
    }
    if (text->len + len + 1 > text->room) {
        grow(text, text->len + len + 1);
    }
    memcpy(text->data + text->len, data, len);
    text->len += len;
    text->data[text->len] = '\0';
}

const char *idem_text_json(const char *text, char also, apr_pool_t *pool)
{
    static const char hex[] = "0123456789abcdef";
    char *out = apr_palloc(pool, strlen(text) * 6 + 1);
    char *to = out;

    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c == '"' || c == '\\') {
            *to++ = '\\';
            *to++ = (char)c;
        }
        else if (c < 0x20 || c >= 0x7f || *text == also) {
            memcpy(to, "\\u00", 4);
            to[4] = hex[c >> 4];
            to[5] = hex[c & 15];
            to += 6;
        }
        else {
            *to++ = (char)c;
        }
    }
    *to = '\0';
    return out;
}

/* Not isalnum(): a PHP script may set a locale with more letters. */
apr_size_t idem_text_token_len(const char *text)
{
    static const char tchars[] = "0123456789abcdefghijklmnopqrstuvwxyz"
                                 "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "!#$%&'*+-.^_`|~";

    return strspn(text, tchars);
}

int idem_text_is_token(const char *text)
{
    return *text && !text[idem_text_token_len(text)];
}

int idem_text_is_type(const char *content_type, const char *type)
{
    apr_size_t len;

    if (!content_type) {
        return 0;
    }
    content_type += strspn(content_type, " \t");
    len = strcspn(content_type, "; \t");
    return len == strlen(type) && !apr_cstr_casecmpn(content_type, type, len)
           && !strcspn(content_type + len + strspn(content_type + len, " \t"),
                       ";");
}
