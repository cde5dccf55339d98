/* idem_text.c: a body that has to be seen whole, kept up to a limit.
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

/* Not isalnum(): a PHP script may set a locale with more letters. */
int idem_text_is_token(const char *text)
{
    static const char tchars[] = "0123456789abcdefghijklmnopqrstuvwxyz"
                                 "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "!#$%&'*+-.^_`|~";

    return *text && !text[strspn(text, tchars)];
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
