/* fuzz_multipart.c: a body -> one fingerprint, however it is cut.
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
        need(idem_fingerprint_init() == APR_SUCCESS);
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
    apr_pool_clear(pool);
    return 0;
}
