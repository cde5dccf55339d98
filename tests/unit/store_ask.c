/* store_ask.c: short forms of the store's calls, for tests.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store_contract.h"

#include <string.h>

idem_digest_t digest(apr_uint32_t n)
{
    idem_digest_t d;
    apr_uint32_t x = n;
    size_t i;

    for (i = 0; i < sizeof(d.bytes); i += sizeof(x)) {
        x = (x ^ (x >> 15)) * 2654435761u + n;
        memcpy(d.bytes + i, &x, sizeof(x));
    }
    return d;
}

apr_status_t ask_at(idem_store_t *store, apr_uint32_t n, apr_uint32_t p,
                    int rerun, apr_time_t now, idem_claim_t *claim,
                    idem_token_t *token, idem_blob_t *record, apr_pool_t *pool)
{
    idem_digest_t id = digest(n);
    idem_digest_t print = digest(~p);
    idem_ask_t what = { &id, &print, HOST, 0, rerun, now, TTL };

    return idem_store_claim(store, claim, token, record, &what, pool);
}

idem_claim_t claim_at(idem_store_t *store, apr_uint32_t n, apr_uint32_t p,
                      apr_time_t now, idem_token_t *token, idem_blob_t *record,
                      apr_pool_t *pool)
{
    idem_claim_t claim = IDEM_CLAIM_NEW;

    assert_int_equal(ask_at(store, n, p, 0, now, &claim, token, record, pool),
                     APR_SUCCESS);
    return claim;
}

apr_status_t try_claim(idem_store_t *store, apr_uint32_t n, apr_uint32_t host,
                       int quota, apr_time_t now, idem_claim_t *claim,
                       idem_token_t *token, apr_pool_t *pool)
{
    idem_digest_t id = digest(n);
    idem_digest_t print = digest(~n);
    idem_ask_t what = { &id, &print, host, quota, 0, now, TTL };
    idem_blob_t record;

    return idem_store_claim(store, claim, token, &record, &what, pool);
}

apr_status_t commit_text(idem_store_t *store, const idem_token_t *token,
                         const char *text, apr_time_t now)
{
    struct iovec vec = { (void *)(uintptr_t)text, strlen(text) };

    return idem_store_commit(store, token, IDEM_END_DONE, &vec, 1,
                             &(idem_term_t){ now, TTL, 0 });
}

static char byte_of(apr_uint32_t n, apr_size_t i)
{
    return (char)((n * 31 + i * 7 + (i >> 8)) & 0xff);
}

apr_status_t put(idem_store_t *store, apr_uint32_t n, apr_size_t len,
                 apr_time_t now, apr_pool_t *pool)
{
    return put_for(store, n, len, now, 0, pool);
}

apr_status_t put_for(idem_store_t *store, apr_uint32_t n, apr_size_t len,
                     apr_time_t now, apr_interval_time_t tombstone,
                     apr_pool_t *pool)
{
    char *data = apr_palloc(pool, len + 1);
    struct iovec vec[3];
    idem_token_t token;
    idem_claim_t claim;
    apr_status_t rv;
    apr_size_t i;

    for (i = 0; i < len; i++) {
        data[i] = byte_of(n, i);
    }
    vec[0].iov_base = data;
    vec[0].iov_len = len / 3;
    vec[1].iov_base = data;
    vec[1].iov_len = 0;
    vec[2].iov_base = data + len / 3;
    vec[2].iov_len = len - len / 3;
    rv = try_claim(store, n, HOST, 0, now, &claim, &token, pool);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    assert_int_equal(claim, IDEM_CLAIM_NEW);
    rv = idem_store_commit(store, &token, IDEM_END_DONE, vec, 3,
                           &(idem_term_t){ now, TTL, tombstone });
    if (rv != APR_SUCCESS) {
        assert_int_equal(idem_store_release(store, &token), APR_SUCCESS);
    }
    return rv;
}

int is_put(const idem_blob_t *record, apr_uint32_t n)
{
    apr_size_t i;

    for (i = 0; i < record->len; i++) {
        if (record->data[i] != byte_of(n, i)) {
            return 0;
        }
    }
    return 1;
}

void assert_whole(idem_store_t *store, apr_pool_t *pool)
{
    const char *wrong = idem_store_check(store, pool);

    if (wrong) {
        fail_msg("%s", wrong);
    }
}
