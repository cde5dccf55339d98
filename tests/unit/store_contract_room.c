/* store_contract_room.c: what every store does when full, and by whom.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store_contract.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* ------------------------------------------------------------------- room */

static void full_store_refuses_and_keeps_what_runs(void **state)
{
    idem_store_t *store = contract_store(*state);
    idem_token_t running;
    idem_token_t token;
    idem_blob_t record;
    idem_claim_t claim;
    idem_usage_t usage;
    apr_uint32_t n = 1;
    apr_pool_t *sub;
    apr_status_t rv;

    apr_pool_create(&sub, *state);
    (void)claim_at(store, 1, 1, T0, &running, &record, *state);
    do {
        apr_pool_clear(sub);
        rv = put(store, ++n, 3000, T0, sub);
    } while (rv == APR_SUCCESS && n < 1000000);
    assert_int_equal(rv, APR_ENOSPC);
    assert_int_equal(try_claim(store, n + 1, 7, 0, T0, &claim, &token, sub),
                     APR_ENOSPC);
    idem_store_usage(store, &usage);
    assert_true(usage.refused >= 1);
    assert_int_equal(usage.executing, 1);
    assert_int_equal(claim_at(store, 2, 2, T0, &token, &record, sub),
                     IDEM_CLAIM_DONE);
    /* Who ran already still finds room for its answer. */
    assert_int_equal(commit_text(store, &running, "there", T0), APR_SUCCESS);
    /* With time the store serves new keys again. */
    assert_int_equal(
        try_claim(store, n + 1, 7, 0, T0 + TTL, &claim, &token, sub),
        APR_SUCCESS);
    assert_int_equal(claim, IDEM_CLAIM_NEW);
    assert_whole(store, *state);
}

static void answer_takes_the_room_of_the_expired(void **state)
{
    idem_store_t *store = contract_store(*state);
    char *data = apr_pcalloc(*state, 50000);
    struct iovec vec = { data, 50000 };
    idem_token_t running;
    idem_blob_t record;
    apr_uint32_t n = 1;
    apr_pool_t *sub;
    apr_status_t rv;

    apr_pool_create(&sub, *state);
    (void)claim_at(store, 1, 1, T0, &running, &record, *state);
    do {
        apr_pool_clear(sub);
        rv = put(store, ++n, 500, T0, sub);
    } while (rv == APR_SUCCESS && n < 1000000);
    assert_int_equal(idem_store_commit(store, &running, IDEM_END_DONE, &vec, 1,
                                       &(idem_term_t){ T0 + TTL - 1, TTL, 0 }),
                     APR_ENOSPC);
    assert_int_equal(idem_store_commit(store, &running, IDEM_END_DONE, &vec, 1,
                                       &(idem_term_t){ T0 + TTL, TTL, 0 }),
                     APR_SUCCESS);
    assert_whole(store, *state);
}

static void host_cannot_take_more_than_its_quota(void **state)
{
    idem_store_t *store = contract_store(*state);
    idem_token_t token;
    idem_claim_t claim;
    apr_uint32_t n = 0;
    apr_status_t rv;

    do {
        rv = try_claim(store, ++n, 42, 1, T0, &claim, &token, *state);
    } while (rv == APR_SUCCESS && n < 100000);
    assert_int_equal(rv, APR_ENOSPC);
    assert_int_equal(try_claim(store, n, 43, 1, T0, &claim, &token, *state),
                     APR_SUCCESS);
    assert_int_equal(
        try_claim(store, n + 1, 42, 0, T0, &claim, &token, *state),
        APR_SUCCESS);
    assert_whole(store, *state);
}

/* -------------------------------------------------------------- processes */

static void claim_of_the_dead_is_unknown(void **state)
{
    idem_store_t *store = contract_store(*state);
    idem_token_t token;
    idem_blob_t record;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        contract_child(store);
        (void)claim_at(store, 1, 1, T0, &token, &record, *state);
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    contract_child_ended(store, pid);
    assert_int_equal(
        claim_at(store, 1, 1, T0 + 9 * TTL, &token, &record, *state),
        IDEM_CLAIM_UNKNOWN);
    assert_int_equal(
        claim_at(store, 1, 1, T0 + 10 * TTL - 1, &token, &record, *state),
        IDEM_CLAIM_UNKNOWN);
    assert_int_equal(
        claim_at(store, 1, 1, T0 + 10 * TTL, &token, &record, *state),
        IDEM_CLAIM_NEW);
    assert_whole(store, *state);
}

#define RACERS 8
#define RACES 3000

/* All race for one id after the other; each counts what it won. */
static void racer(idem_store_t *store, unsigned char *wins, apr_pool_t *pool)
{
    idem_token_t token;
    idem_blob_t record;
    apr_uint32_t n;

    contract_child(store);
    for (n = 0; n < RACES; n++) {
        if (claim_at(store, n, n, T0, &token, &record, pool)
            == IDEM_CLAIM_NEW) {
            __atomic_add_fetch(&wins[n], 1, __ATOMIC_RELAXED);
            if (commit_text(store, &token, "won", T0) != APR_SUCCESS) {
                _exit(1);
            }
        }
    }
    _exit(0);
}

static void race_has_one_winner(void **state)
{
    idem_store_t *store = contract_store(*state);
    unsigned char *wins = mmap(NULL, RACES, PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pids[RACERS];
    int status;
    int i;

    for (i = 0; i < RACERS; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            racer(store, wins, *state);
        }
    }
    for (i = 0; i < RACERS; i++) {
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
        contract_child_ended(store, pids[i]);
    }
    for (i = 0; i < RACES; i++) {
        assert_int_equal(wins[i], 1);
    }
    munmap(wins, RACES);
    assert_whole(store, *state);
}

const struct CMUnitTest contract_room_tests[] = {
    pool_test(full_store_refuses_and_keeps_what_runs),
    pool_test(answer_takes_the_room_of_the_expired),
    pool_test(host_cannot_take_more_than_its_quota),
    pool_test(claim_of_the_dead_is_unknown),
    pool_test(race_has_one_winner),
};

const size_t contract_room_ntests =
    sizeof(contract_room_tests) / sizeof(contract_room_tests[0]);

const struct CMUnitTest contract_race_tests[] = {
    pool_test(race_has_one_winner),
};

const size_t contract_race_ntests =
    sizeof(contract_race_tests) / sizeof(contract_race_tests[0]);
