/* fuzz_key_time.c: any key -> no time, or the one that can be written back.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_cstr.h>
#include <apr_general.h>
#include <apr_strings.h>

#include "idem_key_time.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void need(int holds)
{
    if (!holds) {
        abort();
    }
}

static void check_uuid(const char *key, apr_uint64_t ms)
{
    char start[32];

    snprintf(start, sizeof(start), "%08llx-%04llx-7",
             (unsigned long long)(ms >> 16),
             (unsigned long long)(ms & 0xffff));
    need(!apr_cstr_casecmpn(key, start, 15));
    need(strchr("89abAB", key[19]) != NULL);
}

static void check_ulid(const char *key, apr_uint64_t ms)
{
    char start[11];
    int i;

    for (i = 9; i >= 0; i--, ms >>= 5) {
        start[i] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"[ms & 31];
    }
    start[10] = '\0';
    need(!apr_cstr_casecmpn(key, start, 10));
    need(!strpbrk(key, "ILOUilou"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static apr_pool_t *pool;
    apr_time_t made = -1;
    const char *key;

    if (!pool) {
        apr_initialize();
        apr_pool_create(&pool, NULL);
    }
    key = apr_pstrmemdup(pool, (const char *)data, len);
    if (!idem_key_time(key, &made)) {
        need(made == -1);
    }
    else {
        need(made >= 0 && made % 1000 == 0);
        need((apr_uint64_t)(made / 1000) < ((apr_uint64_t)1 << 48));
        if (strlen(key) == 36) {
            check_uuid(key, (apr_uint64_t)(made / 1000));
        }
        else {
            need(strlen(key) == 26);
            check_ulid(key, (apr_uint64_t)(made / 1000));
        }
    }
    apr_pool_clear(pool);
    return 0;
}
