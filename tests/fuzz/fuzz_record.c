/* fuzz_record.c: any bytes -> decode; what decodes encodes to the same.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>

#include "idem_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void need(int holds)
{
    if (!holds) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static apr_pool_t *pool;
    idem_blob_t blob, head;
    idem_record_t record;

    if (!pool) {
        apr_initialize();
        apr_pool_create(&pool, NULL);
    }
    blob.data = (const char *)data;
    blob.len = len;
    if (idem_record_decode(&record, &blob, pool) == APR_SUCCESS) {
        need(record.body.len <= len);
        need(record.body.data + record.body.len == blob.data + len);
        need(idem_record_encode(&head, &record, pool) == APR_SUCCESS);
        need(head.len == len - record.body.len);
        need(!memcmp(head.data, data, head.len));
    }
    apr_pool_clear(pool);
    return 0;
}
