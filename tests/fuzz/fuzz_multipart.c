/* fuzz_multipart.c: a body -> one fingerprint and key, however it is cut.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Up to the first newline stands the Content-Type, behind it the body.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "idem_fingerprint.h"
#include "idem_hash.h"
#include "idem_source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void need(int holds)
{
    if (!holds) {
        abort();
    }
}

/* Pieces of step bytes. */
static idem_digest_t digest_of(const char *type, const char *body, size_t len,
                               size_t step, apr_pool_t *pool)
{
    idem_fingerprint_t *print;
    idem_digest_t digest;

    need(idem_fingerprint_create(&print, type, 0, pool) == APR_SUCCESS);
    while (len > 0) {
        size_t n = len < step ? len : step;

        idem_fingerprint_body(print, body, n);
        body += n;
        len -= n;
    }
    need(idem_fingerprint_end(print, &digest) == APR_SUCCESS);
    return digest;
}

/* Two field names, the second with characters that browsers escape. */
static apr_status_t seek(const char **value, int *which, const char *type,
                         const char *body, size_t len, size_t step,
                         apr_pool_t *pool)
{
    apr_array_header_t *all = apr_array_make(pool, 2, sizeof(idem_source_t));
    const char *why = NULL;
    idem_seek_t *found;
    apr_status_t rv;

    need(idem_source_parse(apr_array_push(all), "form:a") == APR_SUCCESS);
    need(idem_source_parse(apr_array_push(all), "form:\"\n") == APR_SUCCESS);
    found = idem_seek_create(all, type, pool);
    if (!found) {
        return APR_NOTFOUND;
    }
    while (len > 0) {
        size_t n = len < step ? len : step;

        idem_seek_add(found, body, n);
        body += n;
        len -= n;
    }
    rv = idem_seek_end(value, which, &why, found);
    need((rv == APR_EINVAL) == (why != NULL));
    return rv;
}

static void check_seek(const char *type, const char *body, size_t len,
                       apr_pool_t *pool)
{
    static const size_t steps[] = { 1, 3, 7 };
    const char *value = NULL;
    int which = -1, i;
    apr_status_t rv = seek(&value, &which, type, body, len, len + 1, pool);

    need((rv == APR_SUCCESS) == (value != NULL));
    for (i = 0; i < 3; i++) {
        const char *other = NULL;
        int where = -1;

        need(rv == seek(&other, &where, type, body, len, steps[i], pool));
        need(rv != APR_SUCCESS || (where == which && !strcmp(value, other)));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static apr_pool_t *pool;
    const char *text = (const char *)data;
    const char *end = len ? memchr(text, '\n', len) : NULL;
    idem_digest_t whole, bytes, pieces;
    const char *type;
    size_t left;

    if (!pool) {
        apr_initialize();
        apr_pool_create(&pool, NULL);
        need(idem_hash_init() == APR_SUCCESS);
    }
    if (!end) {
        return 0;
    }
    type = apr_pstrmemdup(pool, text, (apr_size_t)(end - text));
    end++;
    left = len - (size_t)(end - text);
    whole = digest_of(type, end, left, len, pool);
    bytes = digest_of(type, end, left, 1, pool);
    pieces = digest_of(type, end, left, 7, pool);
    need(!memcmp(&whole, &bytes, sizeof(whole)));
    need(!memcmp(&whole, &pieces, sizeof(whole)));
    check_seek(type, end, left, pool);
    apr_pool_clear(pool);
    return 0;
}
