/* store_contract.c: what every store has to do, whatever it is made of.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store_contract.h"

#include <string.h>

/* ------------------------------------------------------------------- life */

static void second_claim_waits_and_then_gets_the_record(void **state)
{
    idem_store_t *store = contract_store(*state);
    idem_token_t token;
    idem_token_t other;
    idem_blob_t record;

    assert_int_equal(claim_at(store, 1, 1, T0, &token, &record, *state),
                     IDEM_CLAIM_NEW);
    assert_int_equal(claim_at(store, 1, 1, T0, &other, &record, *state),
                     IDEM_CLAIM_IN_PROGRESS);
    assert_null(record.data);
    assert_int_equal(commit_text(store, &token, "answer", T0), APR_SUCCESS);
    assert_int_equal(claim_at(store, 1, 1, T0, &other, &record, *state),
                     IDEM_CLAIM_DONE);
    assert_int_equal(record.len, 6);
    assert_memory_equal(record.data, "answer", 6);
    assert_whole(store, *state);
}

static void reuse_is_told_in_every_state(void **state)
{
    idem_store_t *store = contract_store(*state);
    idem_token_t token;
    idem_token_t other;
    idem_blob_t record;

    assert_int_equal(claim_at(store, 1, 1, T0, &token, &record, *state),
                     IDEM_CLAIM_NEW);
    assert_int_equal(claim_at(store, 1, 2, T0, &other, &record, *state),
                     IDEM_CLAIM_REUSED);
    assert_int_equal(commit_text(store, &token, "x", T0), APR_SUCCESS);
    assert_int_equal(claim_at(store, 1, 2, T0, &other, &record, *state),
                     IDEM_CLAIM_REUSED);
    assert_null(record.data);
    assert_int_equal(claim_at(store, 2, 1, T0, &token, &record, *state),
                     IDEM_CLAIM_NEW);
    assert_int_equal(idem_store_abandon(store, &token, T0), APR_SUCCESS);
    assert_int_equal(claim_at(store, 2, 2, T0, &other, &record, *state),
                     IDEM_CLAIM_REUSED);
    assert_whole(store, *state);
}

static void released_key_is_new(void **state)
{
    idem_store_t *store = contract_store(*state);
    idem_token_t token;
    idem_token_t other;
    idem_blob_t record;

    assert_int_equal(claim_at(store, 1, 1, T0, &token, &record, *state),
                     IDEM_CLAIM_NEW);
    assert_int_equal(idem_store_release(store, &token), APR_SUCCESS);
    assert_int_equal(idem_store_release(store, &token), APR_NOTFOUND);
    assert_int_equal(claim_at(store, 1, 2, T0, &other, &record, *state),
                     IDEM_CLAIM_NEW);
    /* The old proof is worth nothing, though the key is claimed again. */
    assert_int_equal(idem_store_release(store, &token), APR_NOTFOUND);
    assert_int_equal(commit_text(store, &token, "late", T0), APR_NOTFOUND);
    assert_int_equal(idem_store_abandon(store, &token, T0), APR_NOTFOUND);
    assert_int_equal(commit_text(store, &other, "good", T0), APR_SUCCESS);
    assert_int_equal(claim_at(store, 1, 2, T0, &other, &record, *state),
                     IDEM_CLAIM_DONE);
    assert_memory_equal(record.data, "good", 4);
    assert_whole(store, *state);
}

static void abandoned_key_is_unknown_until_rerun(void **state)
{
    idem_store_t *store = contract_store(*state);
    idem_token_t token;
    idem_token_t other;
    idem_blob_t record;
    idem_claim_t claim;

    assert_int_equal(claim_at(store, 1, 1, T0, &token, &record, *state),
                     IDEM_CLAIM_NEW);
    assert_int_equal(idem_store_abandon(store, &token, T0), APR_SUCCESS);
    assert_int_equal(claim_at(store, 1, 1, T0, &other, &record, *state),
                     IDEM_CLAIM_UNKNOWN);
    assert_int_equal(
        ask_at(store, 1, 2, 1, T0, &claim, &other, &record, *state),
        APR_SUCCESS);
    assert_int_equal(claim, IDEM_CLAIM_REUSED);
    assert_int_equal(
        ask_at(store, 1, 1, 1, T0, &claim, &other, &record, *state),
        APR_SUCCESS);
    assert_int_equal(claim, IDEM_CLAIM_NEW);
    assert_int_equal(commit_text(store, &token, "late", T0), APR_NOTFOUND);
    assert_int_equal(commit_text(store, &other, "again", T0), APR_SUCCESS);
    assert_int_equal(claim_at(store, 1, 1, T0, &token, &record, *state),
                     IDEM_CLAIM_DONE);
    assert_whole(store, *state);
}

static void other_ends_are_kept_apart(void **state)
{
    idem_store_t *store = contract_store(*state);
    struct iovec vec = { (void *)(uintptr_t) "head", 4 };
    idem_token_t token;
    idem_blob_t record;
    idem_usage_t usage;

    (void)claim_at(store, 1, 1, T0, &token, &record, *state);
    assert_int_equal(idem_store_commit(store, &token, IDEM_END_NOT_RETAINED,
                                       &vec, 1, &(idem_term_t){ T0, TTL, 0 }),
                     APR_SUCCESS);
    assert_int_equal(claim_at(store, 1, 1, T0, &token, &record, *state),
                     IDEM_CLAIM_NOT_RETAINED);
    assert_int_equal(record.len, 4);
    (void)claim_at(store, 2, 2, T0, &token, &record, *state);
    assert_int_equal(idem_store_commit(store, &token, IDEM_END_UNKNOWN, NULL,
                                       0, &(idem_term_t){ T0, TTL, 0 }),
                     APR_SUCCESS);
    (void)claim_at(store, 3, 3, T0, &token, &record, *state);
    assert_int_equal(idem_store_commit(store, &token, IDEM_END_DONE, NULL, 0,
                                       &(idem_term_t){ T0, TTL, 0 }),
                     APR_SUCCESS);
    assert_int_equal(claim_at(store, 3, 3, T0, &token, &record, *state),
                     IDEM_CLAIM_DONE);
    assert_int_equal(record.len, 0);
    (void)claim_at(store, 4, 4, T0, &token, &record, *state);
    idem_store_usage(store, &usage);
    if (contract_counts) {
        assert_int_equal(usage.executing, 1);
        assert_int_equal(usage.done, 1);
        assert_int_equal(usage.not_retained, 1);
        assert_int_equal(usage.unknown, 1);
        assert_true(usage.used < usage.size);
    }
    assert_true(usage.used > 0);
    assert_whole(store, *state);
}

/* ------------------------------------------------------------------- time */

static void record_lives_to_the_microsecond(void **state)
{
    idem_store_t *store = contract_store(*state);
    idem_token_t token;
    idem_blob_t record;
    apr_uint32_t other;

    /* The late request may be the same one, or another under this key. */
    for (other = 0; other < 2; other++) {
        apr_uint32_t n = other + 1;

        (void)claim_at(store, n, 1, T0, &token, &record, *state);
        assert_int_equal(commit_text(store, &token, "x", T0 + 5), APR_SUCCESS);
        assert_int_equal(
            claim_at(store, n, 1, T0 + 5 + TTL - 1, &token, &record, *state),
            IDEM_CLAIM_DONE);
        assert_int_equal(claim_at(store, n, 1 + other, T0 + 5 + TTL, &token,
                                  &record, *state),
                         IDEM_CLAIM_NEW);
    }
    assert_whole(store, *state);
}

static void claim_of_the_living_never_lapses(void **state)
{
    idem_store_t *store = contract_store(*state);
    idem_token_t token;
    idem_token_t other;
    idem_blob_t record;
    int i;

    (void)claim_at(store, 1, 1, T0, &token, &record, *state);
    for (i = 0; i < 100; i++) {
        idem_store_purge(store, T0 + 1000 * TTL);
    }
    assert_int_equal(
        claim_at(store, 1, 1, T0 + 1000 * TTL, &other, &record, *state),
        IDEM_CLAIM_IN_PROGRESS);
    assert_int_equal(commit_text(store, &token, "slow", T0 + 1000 * TTL),
                     APR_SUCCESS);
    assert_int_equal(
        claim_at(store, 1, 1, T0 + 1001 * TTL - 1, &other, &record, *state),
        IDEM_CLAIM_DONE);
    assert_whole(store, *state);
}

static void purge_frees_what_has_expired(void **state)
{
    idem_store_t *store = contract_store(*state);
    idem_usage_t usage;
    apr_uint32_t n;

    for (n = 1; n <= 100; n++) {
        assert_int_equal(put(store, n, n * 10, T0 + (n > 50 ? 1 : 0), *state),
                         APR_SUCCESS);
    }
    for (n = 0; n < 100; n++) {
        idem_store_purge(store, T0 + TTL);
    }
    idem_store_usage(store, &usage);
    assert_int_equal(usage.done, 50);
    assert_int_equal(usage.expired, 50);
    for (n = 0; n < 100; n++) {
        idem_store_purge(store, T0 + TTL + 1);
    }
    idem_store_usage(store, &usage);
    assert_int_equal(usage.done, 0);
    assert_int_equal(usage.used, 0);
    assert_whole(store, *state);
}

/* ----------------------------------------------------------------- fences */

static void forgotten_claim_stores_and_frees_nothing(void **state)
{
    idem_store_t *store = contract_store(*state);
    idem_digest_t id = digest(1);
    idem_token_t token;
    idem_token_t second;
    idem_blob_t record;
    idem_usage_t usage;

    assert_int_equal(idem_store_forget(store, &id), APR_NOTFOUND);
    (void)claim_at(store, 1, 1, T0, &token, &record, *state);
    assert_int_equal(idem_store_forget(store, &id), APR_SUCCESS);
    assert_int_equal(claim_at(store, 1, 1, T0, &second, &record, *state),
                     IDEM_CLAIM_NEW);
    assert_whole(store, *state);
    assert_int_equal(commit_text(store, &token, "late", T0), APR_NOTFOUND);
    assert_int_equal(claim_at(store, 1, 1, T0, &token, &record, *state),
                     IDEM_CLAIM_IN_PROGRESS);
    assert_int_equal(commit_text(store, &second, "second", T0), APR_SUCCESS);
    assert_int_equal(claim_at(store, 1, 1, T0, &token, &record, *state),
                     IDEM_CLAIM_DONE);
    assert_memory_equal(record.data, "second", 6);
    assert_int_equal(idem_store_forget(store, &id), APR_SUCCESS);
    idem_store_usage(store, &usage);
    assert_true(!contract_counts || usage.used == 0);
    assert_whole(store, *state);
}

static void bad_arguments_are_refused(void **state)
{
    idem_store_t *store = contract_store(*state);
    idem_digest_t id = digest(1);
    idem_ask_t bad = { &id, &id, 1, 101, 0, T0, TTL };
    struct iovec vec = { NULL, 4 };
    idem_token_t token;
    idem_blob_t record;
    idem_claim_t claim;

    assert_int_equal(
        idem_store_claim(store, &claim, &token, &record, &bad, *state),
        APR_EINVAL);
    bad.quota = 0;
    bad.ttl = 0;
    assert_int_equal(
        idem_store_claim(store, &claim, &token, &record, &bad, *state),
        APR_EINVAL);
    bad.ttl = TTL;
    bad.now = -1;
    assert_int_equal(
        idem_store_claim(store, &claim, &token, &record, &bad, *state),
        APR_EINVAL);
    (void)claim_at(store, 1, 1, T0, &token, &record, *state);
    assert_int_equal(idem_store_commit(store, &token, IDEM_END_DONE, &vec, 1,
                                       &(idem_term_t){ T0, TTL, 0 }),
                     APR_EINVAL);
    vec.iov_len = 0;
    assert_int_equal(idem_store_commit(store, &token, IDEM_END_UNKNOWN, &vec,
                                       1, &(idem_term_t){ T0, TTL, 0 }),
                     APR_EINVAL);
    token.shard = 0xffff;
    assert_int_equal(commit_text(store, &token, "x", T0), APR_NOTFOUND);
    assert_int_equal(idem_store_release(store, &token), APR_NOTFOUND);
    assert_int_equal(idem_store_abandon(store, &token, T0), APR_NOTFOUND);
    token.shard = 0;
    token.place = 0xfffffff0u;
    assert_int_equal(commit_text(store, &token, "x", T0), APR_NOTFOUND);
    assert_whole(store, *state);
}

static void records_of_all_lengths_come_back(void **state)
{
    idem_store_t *store = contract_store(*state);
    apr_size_t max = idem_store_record_max(store);
    apr_size_t len;
    idem_token_t token;
    idem_blob_t record;
    apr_uint32_t n = 0;

    for (len = 0; len < 300; len++) {
        assert_int_equal(put(store, ++n, len, T0, *state), APR_SUCCESS);
        assert_int_equal(claim_at(store, n, n, T0, &token, &record, *state),
                         IDEM_CLAIM_DONE);
        assert_int_equal(record.len, len);
        assert_true(is_put(&record, n));
    }
    assert_int_equal(put(store, ++n, max, T0, *state), APR_SUCCESS);
    assert_int_equal(claim_at(store, n, n, T0, &token, &record, *state),
                     IDEM_CLAIM_DONE);
    assert_int_equal(record.len, max);
    assert_true(is_put(&record, n));
    assert_int_equal(put(store, ++n, max + 1, T0, *state), APR_ENOSPC);
    assert_whole(store, *state);
}

const struct CMUnitTest contract_tests[] = {
    pool_test(second_claim_waits_and_then_gets_the_record),
    pool_test(reuse_is_told_in_every_state),
    pool_test(released_key_is_new),
    pool_test(abandoned_key_is_unknown_until_rerun),
    pool_test(other_ends_are_kept_apart),
    pool_test(record_lives_to_the_microsecond),
    pool_test(claim_of_the_living_never_lapses),
    pool_test(purge_frees_what_has_expired),
    pool_test(forgotten_claim_stores_and_frees_nothing),
    pool_test(bad_arguments_are_refused),
    pool_test(records_of_all_lengths_come_back),
};

const size_t contract_ntests =
    sizeof(contract_tests) / sizeof(contract_tests[0]);

static const struct CMUnitTest own_clock_tests[] = {
    pool_test(second_claim_waits_and_then_gets_the_record),
    pool_test(reuse_is_told_in_every_state),
    pool_test(released_key_is_new),
    pool_test(abandoned_key_is_unknown_until_rerun),
    pool_test(other_ends_are_kept_apart),
    pool_test(claim_of_the_living_never_lapses),
    pool_test(forgotten_claim_stores_and_frees_nothing),
    pool_test(bad_arguments_are_refused),
    pool_test(records_of_all_lengths_come_back),
};

int contract_run_own_clock(void)
{
    return cmocka_run_group_tests_name("contract: life", own_clock_tests, NULL,
                                       NULL)
           + _cmocka_run_group_tests("contract: race", contract_race_tests,
                                     contract_race_ntests, NULL, NULL)
           + _cmocka_run_group_tests("contract: look", contract_list_tests,
                                     contract_list_ntests, NULL, NULL);
}

int contract_run(void)
{
    return _cmocka_run_group_tests("contract: life", contract_tests,
                                   contract_ntests, NULL, NULL)
           + _cmocka_run_group_tests("contract: room", contract_room_tests,
                                     contract_room_ntests, NULL, NULL)
           + _cmocka_run_group_tests("contract: look", contract_look_tests,
                                     contract_look_ntests, NULL, NULL)
           + _cmocka_run_group_tests("contract: tombstones",
                                     contract_tomb_tests, contract_tomb_ntests,
                                     NULL, NULL);
}
