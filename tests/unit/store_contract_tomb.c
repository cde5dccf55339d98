/* store_contract_tomb.c: what every store keeps of a record after its time.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store_contract.h"

#include <string.h>

/* To the second: a tombstone may end up to one later. */
#define TOMB apr_time_from_sec(600)
#define SECOND apr_time_from_sec(1)

static void bury(idem_store_t *store, apr_uint32_t n, idem_end_t end,
                 apr_time_t now, apr_interval_time_t tombstone,
                 apr_pool_t *pool)
{
    struct iovec vec = { (void *)(uintptr_t) "answer", 6 };
    idem_token_t token;
    idem_blob_t record;

    assert_int_equal(claim_at(store, n, n, now, &token, &record, pool),
                     IDEM_CLAIM_NEW);
    assert_int_equal(idem_store_commit(store, &token, end, &vec,
                                       end == IDEM_END_UNKNOWN ? 0 : 1,
                                       &(idem_term_t){ now, TTL, tombstone }),
                     APR_SUCCESS);
}

static idem_claim_t ask(idem_store_t *store, apr_uint32_t n, apr_uint32_t p,
                        apr_time_t now, apr_pool_t *pool)
{
    idem_token_t token;
    idem_blob_t record;
    idem_claim_t claim = claim_at(store, n, p, now, &token, &record, pool);

    if (claim != IDEM_CLAIM_DONE && claim != IDEM_CLAIM_NOT_RETAINED) {
        assert_null(record.data);
    }
    if (claim == IDEM_CLAIM_NEW) {
        assert_int_equal(idem_store_release(store, &token), APR_SUCCESS);
    }
    return claim;
}

static void purge_all(idem_store_t *store, apr_time_t now)
{
    int i;

    for (i = 0; i < 100; i++) {
        idem_store_purge(store, now);
    }
}

/* Whether a look-up or the purge comes first. */
static void late_retry_is_told_from_a_new_request(void **state)
{
    idem_store_t *store = contract_store(*state);
    apr_time_t end = T0 + 5 + TTL;
    apr_uint32_t n;

    for (n = 1; n <= 4; n++) {
        idem_end_t how = n % 2 ? IDEM_END_DONE : IDEM_END_NOT_RETAINED;
        idem_claim_t kept = n % 2 ? IDEM_CLAIM_DONE : IDEM_CLAIM_NOT_RETAINED;

        bury(store, n, how, T0 + 5, TOMB, *state);
        assert_int_equal(ask(store, n, n, end - 1, *state), kept);
        if (n > 2) {
            purge_all(store, end);
        }
        assert_int_equal(ask(store, n, n, end, *state), IDEM_CLAIM_EXPIRED);
        assert_int_equal(ask(store, n, n + 1, end, *state), IDEM_CLAIM_REUSED);
        assert_int_equal(ask(store, n, n, end + TOMB - 1, *state),
                         IDEM_CLAIM_EXPIRED);
        purge_all(store, end + TOMB - 1);
        assert_int_equal(ask(store, n, n, end + TOMB - 1, *state),
                         IDEM_CLAIM_EXPIRED);
        if (n > 2) {
            purge_all(store, end + TOMB + SECOND);
        }
        assert_int_equal(ask(store, n, n + 1, end + TOMB + SECOND, *state),
                         IDEM_CLAIM_NEW);
        assert_whole(store, *state);
    }
}

static void only_a_known_end_leaves_a_tombstone(void **state)
{
    idem_store_t *store = contract_store(*state);
    idem_token_t token;
    idem_blob_t record;
    idem_claim_t claim;

    bury(store, 1, IDEM_END_DONE, T0, 0, *state);
    assert_int_equal(ask(store, 1, 1, T0 + TTL, *state), IDEM_CLAIM_NEW);
    bury(store, 2, IDEM_END_UNKNOWN, T0, TOMB, *state);
    assert_int_equal(ask(store, 2, 2, T0 + TTL, *state), IDEM_CLAIM_NEW);
    (void)claim_at(store, 3, 3, T0, &token, &record, *state);
    assert_int_equal(idem_store_release(store, &token), APR_SUCCESS);
    assert_int_equal(ask(store, 3, 3, T0 + TTL, *state), IDEM_CLAIM_NEW);
    /* To run what is unknown again is no reason to run what is known. */
    bury(store, 4, IDEM_END_DONE, T0, TOMB, *state);
    assert_int_equal(
        ask_at(store, 4, 4, 1, T0 + TTL, &claim, &token, &record, *state),
        APR_SUCCESS);
    assert_int_equal(claim, IDEM_CLAIM_EXPIRED);
    assert_whole(store, *state);
}

static void forgotten_tombstone_is_gone(void **state)
{
    idem_store_t *store = contract_store(*state);
    idem_digest_t id = digest(1);
    idem_usage_t usage;

    bury(store, 1, IDEM_END_DONE, T0, TOMB, *state);
    assert_int_equal(ask(store, 1, 1, T0 + TTL, *state), IDEM_CLAIM_EXPIRED);
    idem_store_usage(store, &usage);
    assert_int_equal(usage.done, 0);
    assert_int_equal(usage.tombstones, 1);
    assert_true(usage.used > 0);
    assert_int_equal(idem_store_forget(store, &id), APR_SUCCESS);
    assert_int_equal(idem_store_forget(store, &id), APR_NOTFOUND);
    idem_store_usage(store, &usage);
    assert_int_equal(usage.tombstones, 0);
    assert_int_equal(usage.used, 0);
    assert_int_equal(ask(store, 1, 1, T0 + TTL, *state), IDEM_CLAIM_NEW);
    assert_whole(store, *state);
}

/* Many of them, among records that stay; whatever the order of their ends. */
static void tombstones_and_records_keep_apart(void **state)
{
    idem_store_t *store = contract_store(*state);
    idem_usage_t usage;
    apr_uint32_t n;

    for (n = 1; n <= 300; n++) {
        bury(store, n, IDEM_END_DONE, T0, n % 3 == 0 ? TOMB : 0, *state);
        assert_int_equal(put(store, 1000 + n, n * 3, T0 + TTL, *state),
                         APR_SUCCESS);
    }
    for (n = 1; n <= 300; n += 2) {
        (void)ask(store, n, n, T0 + TTL, *state);
    }
    purge_all(store, T0 + TTL);
    /* Until what was freed is used again, wherever new records go. */
    for (n = 1; n <= 1000; n++) {
        idem_digest_t id = digest(3000 + n);

        assert_int_equal(put(store, 3000 + n, 1000, T0 + TTL, *state),
                         APR_SUCCESS);
        assert_int_equal(idem_store_forget(store, &id), APR_SUCCESS);
    }
    for (n = 1; n <= 300; n++) {
        assert_int_equal(put(store, 2000 + n, n, T0 + TTL, *state),
                         APR_SUCCESS);
    }
    assert_whole(store, *state);
    idem_store_usage(store, &usage);
    assert_int_equal(usage.tombstones, 100);
    assert_int_equal(usage.done, 600);
    for (n = 1; n <= 300; n++) {
        idem_token_t token;
        idem_blob_t record;

        assert_int_equal(ask(store, n, n, T0 + TTL, *state),
                         n % 3 == 0 ? IDEM_CLAIM_EXPIRED : IDEM_CLAIM_NEW);
        assert_int_equal(claim_at(store, 1000 + n, 1000 + n, T0 + TTL, &token,
                                  &record, *state),
                         IDEM_CLAIM_DONE);
        assert_true(record.len == n * 3 && is_put(&record, 1000 + n));
    }
    purge_all(store, T0 + 10 * TOMB);
    idem_store_usage(store, &usage);
    assert_int_equal(usage.used, 0);
    assert_whole(store, *state);
}

static void administrators_see_tombstones(void **state)
{
    idem_store_t *store = contract_store(*state);
    apr_time_t now = idem_store_now(store);
    apr_time_t end = now - 2 * TTL + TTL + TOMB;
    idem_digest_t id = digest(1);
    idem_blob_t record;
    idem_entry_t entry;
    int settled;

    bury(store, 1, IDEM_END_DONE, now - 2 * TTL, TOMB, *state);
    for (settled = 0; settled < 2; settled++) {
        apr_uint64_t cursor = 0;
        int met = 0;

        assert_int_equal(idem_store_look(store, &entry, &record, &id, *state),
                         APR_SUCCESS);
        assert_int_equal(entry.life, IDEM_LIFE_EXPIRED);
        assert_null(record.data);
        assert_int_equal(entry.len, 0);
        assert_true(entry.expires >= end && entry.expires <= end + SECOND);
        do {
            int n = 1;

            assert_int_equal(idem_store_list(store, &entry, &n, &cursor),
                             APR_SUCCESS);
            if (n > 0) {
                met++;
                assert_memory_equal(&entry.id, &id, sizeof(id));
                assert_int_equal(entry.life, IDEM_LIFE_EXPIRED);
                assert_int_equal(entry.host, HOST);
            }
        } while (cursor != 0);
        assert_int_equal(met, 1);
        assert_int_equal(ask(store, 1, 1, now, *state), IDEM_CLAIM_EXPIRED);
    }
}

const struct CMUnitTest contract_tomb_tests[] = {
    pool_test(late_retry_is_told_from_a_new_request),
    pool_test(only_a_known_end_leaves_a_tombstone),
    pool_test(forgotten_tombstone_is_gone),
    pool_test(tombstones_and_records_keep_apart),
    pool_test(administrators_see_tombstones),
};

const size_t contract_tomb_ntests =
    sizeof(contract_tomb_tests) / sizeof(contract_tomb_tests[0]);
