/* fuzz_key.c: any field value -> a key that keeps what is promised of it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first byte chooses the syntax, the rest is the value.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "idem_key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void need(int holds)
{
    if (!holds) {
        abort();
    }
}

/* A key has to come out again when it is sent in quotes. */
static void check_round_trip(const char *key, apr_pool_t *pool)
{
    char *quoted = apr_palloc(pool, strlen(key) * 2 + 3);
    char *to = quoted;
    const char *again, *why, *p;

    *to++ = '"';
    for (p = key; *p; p++) {
        need(*p >= 0x20 && *p <= 0x7e);
        if (*p == '"' || *p == '\\') {
            *to++ = '\\';
        }
        *to++ = *p;
    }
    *to++ = '"';
    *to = '\0';
    need(idem_key_parse(&again, &why, quoted, IDEM_KEY_STRICT,
                        IDEM_KEY_LEN_DEFAULT, pool)
         == APR_SUCCESS);
    need(!strcmp(again, key));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static apr_pool_t *pool;
    const char *key = NULL, *why = NULL, *value;
    idem_key_syntax_t syntax;

    if (!pool) {
        apr_initialize();
        apr_pool_create(&pool, NULL);
    }
    if (len == 0) {
        return 0;
    }
    syntax = data[0] & 1 ? IDEM_KEY_STRICT : IDEM_KEY_LENIENT;
    value = apr_pstrmemdup(pool, (const char *)data + 1, len - 1);
    if (idem_key_parse(&key, &why, value, syntax, IDEM_KEY_LEN_DEFAULT, pool)
        == APR_SUCCESS) {
        need(key && !why && *key && strlen(key) <= IDEM_KEY_LEN_DEFAULT);
        check_round_trip(key, pool);
    }
    else {
        need(!key && why);
    }
    apr_pool_clear(pool);
    return 0;
}
