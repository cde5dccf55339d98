/* test_store_tomb.c: the shm store: tombstones, ends, quotas.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store_shm_test.h"

#include <string.h>

static void tombstone_takes_96_bytes_at_most(void **state)
{
    idem_store_t *store = contract_store(*state);
    const idem_shm_part_t *part = part_of(store, 0);
    apr_size_t index = part->nbuckets * sizeof(*part->buckets);
    idem_usage_t usage;
    apr_uint32_t n;

    for (n = 1; n <= 1000; n++) {
        assert_int_equal(put_for(store, n, 300, T0, 10 * TTL, *state),
                         APR_SUCCESS);
    }
    for (n = 0; n < 10; n++) {
        idem_store_purge(store, T0 + TTL);
    }
    idem_store_usage(store, &usage);
    assert_int_equal(usage.tombstones, 1000);
    assert_int_equal(usage.used, 1000 * IDEM_SHM_UNIT);
    assert_int_equal(usage.expired, 1000);
    /* With its part of the map and the index. */
    assert_true(usage.used + 1000 + 1000 * index / part->nunits
                <= (apr_uint64_t)1000 * 96);
    assert_whole(store, *state);
}

static void full_store_can_still_bury(void **state)
{
    idem_store_t *store = contract_store(*state);
    idem_token_t token;
    idem_blob_t record;
    apr_uint32_t n = 0;

    while (put_for(store, n + 1, 0, T0, 10 * TTL, *state) == APR_SUCCESS) {
        n++;
    }
    for (; n > 0; n--) {
        assert_int_equal(
            claim_at(store, n, n, T0 + TTL, &token, &record, *state),
            IDEM_CLAIM_EXPIRED);
    }
    assert_whole(store, *state);
}

static void oldest_is_the_first_end(void **state)
{
    idem_store_t *store = contract_store(*state);
    idem_digest_t id = digest(2);
    idem_usage_t usage;
    int i;

    idem_store_usage(store, &usage);
    assert_int_equal(usage.oldest, 0);
    assert_int_equal(put(store, 1, 10, T0 + 9, *state), APR_SUCCESS);
    assert_int_equal(put(store, 2, 10, T0 + 5, *state), APR_SUCCESS);
    assert_int_equal(put(store, 3, 10, T0 + 7, *state), APR_SUCCESS);
    idem_store_usage(store, &usage);
    assert_int_equal(usage.oldest, T0 + 5 + TTL);
    assert_int_equal(idem_store_forget(store, &id), APR_SUCCESS);
    for (i = 0; i < 8; i++) {
        idem_store_purge(store, T0 + 10);
    }
    idem_store_usage(store, &usage);
    assert_int_equal(usage.oldest, T0 + 7 + TTL);
    for (i = 0; i < 8; i++) {
        idem_store_purge(store, T0 + 10 + TTL);
    }
    idem_store_usage(store, &usage);
    assert_int_equal(usage.oldest, 0);
}

/* Many claims at once, and then their answers: claims alone would be too
 * late to be counted. What is not retained is not refused. */
static void answers_count_against_the_quota(void **state)
{
    idem_store_t *store = contract_store(*state);
    const idem_shm_part_t *part = part_of(store, 0);
    char *data = apr_pcalloc(*state, SIZE);
    struct iovec vec = { data, (apr_size_t)part->nunits * 64 / 40 };
    idem_token_t token[8];
    idem_claim_t claim;
    apr_status_t rv;
    int kept = 0;
    int i;

    for (i = 0; i < 8; i++) {
        assert_int_equal(try_claim(store, (apr_uint32_t)i, 42, 10, T0, &claim,
                                   &token[i], *state),
                         APR_SUCCESS);
    }
    for (i = 0; i < 8; i++) {
        rv = idem_store_commit(store, &token[i], IDEM_END_DONE, &vec, 1,
                               &(idem_term_t){ T0, TTL, 0 });
        kept += rv == APR_SUCCESS;
        if (rv != APR_SUCCESS) {
            assert_int_equal(rv, APR_ENOSPC);
            vec.iov_len = 100;
            assert_int_equal(idem_store_commit(store, &token[i],
                                               IDEM_END_NOT_RETAINED, &vec, 1,
                                               &(idem_term_t){ T0, TTL, 0 }),
                             APR_SUCCESS);
            vec.iov_len = (apr_size_t)part->nunits * 64 / 40;
        }
    }
    /* Four fortieths are the quota, and the heads want some of it. */
    assert_int_equal(kept, 3);
    assert_whole(store, *state);
    /* With time there is room for an answer again. */
    idem_store_purge(store, T0 + TTL);
    assert_int_equal(
        try_claim(store, 100, 42, 10, T0, &claim, &token[0], *state),
        APR_SUCCESS);
    assert_int_equal(idem_store_commit(store, &token[0], IDEM_END_DONE, &vec,
                                       1, &(idem_term_t){ T0 + TTL, TTL, 0 }),
                     APR_SUCCESS);
    assert_whole(store, *state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(tombstone_takes_96_bytes_at_most),
        pool_test(full_store_can_still_bury),
        pool_test(oldest_is_the_first_end),
        pool_test(answers_count_against_the_quota),
    };

    apr_initialize();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
