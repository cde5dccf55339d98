/* fuzz_form.c: an urlencoded text as query, as streamed body and as form
 * compared by meaning: all of them read the same out of it.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "idem_fingerprint.h"
#include "idem_hash.h"
#include "idem_source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const char type[] = "application/x-www-form-urlencoded";

static void need(int holds)
{
    if (!holds) {
        abort();
    }
}

/* What was found for "key". */
typedef struct {
    apr_status_t rv;
    const char *value;
} found_t;

static int is_same(found_t a, found_t b)
{
    return a.rv == b.rv && (a.rv != APR_SUCCESS || !strcmp(a.value, b.value));
}

static found_t in_query(const char *text, apr_pool_t *pool)
{
    found_t found = { 0, NULL };
    const char *why = NULL;

    found.rv = idem_source_query(&found.value, &why, text, "key", pool);
    need((found.rv == APR_SUCCESS) == (found.value != NULL));
    need((found.rv == APR_EINVAL) == (why != NULL));
    return found;
}

/* In pieces of step bytes. */
static found_t in_body(const char *text, size_t len, size_t step,
                       apr_pool_t *pool)
{
    apr_array_header_t *all = apr_array_make(pool, 1, sizeof(idem_source_t));
    found_t found = { 0, NULL };
    const char *why = NULL;
    idem_seek_t *seek;
    int which;

    need(idem_source_parse(apr_array_push(all), "form:key") == APR_SUCCESS);
    seek = idem_seek_create(all, type, pool);
    need(seek != NULL);
    while (len > 0) {
        size_t n = len < step ? len : step;

        idem_seek_add(seek, text, n);
        text += n;
        len -= n;
    }
    found.rv = idem_seek_end(&found.value, &which, &why, seek);
    return found;
}

static idem_digest_t print_of(const char *text, size_t len, int kinds,
                              apr_pool_t *pool)
{
    idem_fingerprint_t *print;
    idem_digest_t digest;

    need(idem_fingerprint_create(&print, type, kinds, pool) == APR_SUCCESS);
    idem_fingerprint_body(print, text, len);
    need(idem_fingerprint_end(print, &digest) == APR_SUCCESS);
    return digest;
}

/* The same fields with every byte escaped. */
static char *escape_all(const char *text, size_t len, apr_pool_t *pool)
{
    char *copy = apr_palloc(pool, len * 3 + 1), *to = copy;
    int in_value = 0;
    size_t i;

    for (i = 0; i < len; i++) {
        if (text[i] == '&' || (text[i] == '=' && !in_value)) {
            in_value = text[i] == '=';
            *to++ = text[i];
        }
        else if (text[i] == '%') {
            *to++ = text[i++];
            *to++ = text[i++];
            *to++ = text[i];
        }
        else {
            to += snprintf(to, 4, "%%%02x",
                           text[i] == '+' ? 0x20 : (unsigned char)text[i]);
        }
    }
    *to = '\0';
    return copy;
}

/* The last field first; NULL if there is but one, or its name is not the
 * only one. */
static char *turn(const char *text, apr_pool_t *pool)
{
    const char *last = strrchr(text, '&');
    char *name;

    if (!last) {
        return NULL;
    }
    name = apr_pstrmemdup(pool, last + 1, strcspn(last + 1, "="));
    if (!*name || strchr(name, '%') || strchr(name, '+')
        || strstr(apr_pstrmemdup(pool, text, (size_t)(last - text)), name)) {
        return NULL;
    }
    return apr_pstrcat(pool, last + 1, "&",
                       apr_pstrmemdup(pool, text, (size_t)(last - text)),
                       NULL);
}

static void check_meaning(const char *text, size_t len, apr_pool_t *pool)
{
    idem_digest_t bytes = print_of(text, len, 0, pool);
    idem_digest_t fields = print_of(text, len, IDEM_FINGERPRINT_FORM, pool);
    const char *other;
    idem_digest_t again;

    if (!memcmp(&bytes, &fields, sizeof(bytes))) {
        return;
    }
    other = escape_all(text, len, pool);
    again = print_of(other, strlen(other), IDEM_FINGERPRINT_FORM, pool);
    need(!memcmp(&fields, &again, sizeof(fields)));
    need(is_same(in_body(text, len, 5, pool), in_query(other, pool)));
    if (strlen(text) != len) {
        return;
    }
    other = turn(text, pool);
    if (other && !strstr(text, "%")) {
        again = print_of(other, len, IDEM_FINGERPRINT_FORM, pool);
        need(!memcmp(&fields, &again, sizeof(fields)));
    }
    other = apr_pstrcat(pool, text, "&key=1", NULL);
    again = print_of(other, len + 6, IDEM_FINGERPRINT_FORM, pool);
    need(memcmp(&fields, &again, sizeof(fields)) != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static apr_pool_t *pool;
    const char *text;
    found_t found;

    if (!pool) {
        apr_initialize();
        apr_pool_create(&pool, NULL);
        need(idem_hash_init() == APR_SUCCESS);
    }
    text = apr_pstrmemdup(pool, (const char *)data, len);
    found = in_body(text, len, len + 1, pool);
    need(is_same(found, in_body(text, len, 1, pool)));
    need(is_same(found, in_body(text, len, 7, pool)));
    if (strlen(text) == len && len > 0) {
        need(is_same(found, in_query(text, pool)));
    }
    check_meaning(text, len, pool);
    apr_pool_clear(pool);
    return 0;
}
