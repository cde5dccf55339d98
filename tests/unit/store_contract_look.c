/* store_contract_look.c: what every store shows to administrators.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store_contract.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static apr_status_t look_at(idem_store_t *store, apr_uint32_t n,
                            idem_entry_t *entry, idem_blob_t *record,
                            apr_pool_t *pool)
{
    idem_digest_t id = digest(n);

    return idem_store_look(store, entry, record, &id, pool);
}

static int is_near(apr_time_t a, apr_time_t b)
{
    apr_interval_time_t off = a > b ? a - b : b - a;

    return off <= contract_slack;
}

/* The life of id n, which was claimed at @a now by claim_at(). */
static void assert_life(idem_store_t *store, apr_uint32_t n, idem_life_t life,
                        apr_time_t now, apr_pool_t *pool)
{
    idem_digest_t id = digest(n);
    idem_digest_t print = digest(~n);
    idem_blob_t record;
    idem_entry_t entry;

    assert_int_equal(look_at(store, n, &entry, &record, pool), APR_SUCCESS);
    assert_int_equal(entry.life, life);
    assert_memory_equal(&entry.id, &id, sizeof(id));
    assert_memory_equal(&entry.print, &print, sizeof(print));
    assert_int_equal(entry.host, HOST);
    assert_true(entry.created > now - apr_time_from_sec(1));
    assert_true(entry.created <= now + contract_slack);
    assert_int_equal(entry.len, record.len);
    assert_true((record.data != NULL)
                == (life == IDEM_LIFE_DONE || life == IDEM_LIFE_NOT_RETAINED));
}

static void look_shows_every_state(void **state)
{
    idem_store_t *store = contract_store(*state);
    apr_time_t now = idem_store_now(store);
    struct iovec vec = { (void *)(uintptr_t) "head", 4 };
    idem_token_t token;
    idem_blob_t record;
    idem_entry_t entry;
    idem_digest_t id = digest(2);

    assert_int_equal(look_at(store, 1, &entry, &record, *state), APR_NOTFOUND);
    (void)claim_at(store, 1, 1, now, &token, &record, *state);
    assert_life(store, 1, IDEM_LIFE_EXECUTING, now, *state);
    assert_int_equal(idem_store_abandon(store, &token, now), APR_SUCCESS);
    assert_life(store, 1, IDEM_LIFE_UNKNOWN, now, *state);
    (void)claim_at(store, 2, 2, now, &token, &record, *state);
    assert_int_equal(commit_text(store, &token, "answer", now), APR_SUCCESS);
    assert_life(store, 2, IDEM_LIFE_DONE, now, *state);
    assert_int_equal(look_at(store, 2, &entry, &record, *state), APR_SUCCESS);
    assert_true(is_near(entry.expires, now + TTL));
    assert_int_equal(record.len, 6);
    assert_memory_equal(record.data, "answer", 6);
    (void)claim_at(store, 3, 3, now, &token, &record, *state);
    assert_int_equal(idem_store_commit(store, &token, IDEM_END_NOT_RETAINED,
                                       &vec, 1, &(idem_term_t){ now, TTL, 0 }),
                     APR_SUCCESS);
    assert_life(store, 3, IDEM_LIFE_NOT_RETAINED, now, *state);
    assert_int_equal(idem_store_forget(store, &id), APR_SUCCESS);
    assert_int_equal(look_at(store, 2, &entry, &record, *state), APR_NOTFOUND);
    assert_whole(store, *state);
}

static void look_does_not_find_what_has_expired(void **state)
{
    idem_store_t *store = contract_store(*state);
    apr_time_t then = idem_store_now(store) - 2 * TTL;
    idem_token_t token;
    idem_blob_t record;
    idem_entry_t entry;

    (void)claim_at(store, 1, 1, then, &token, &record, *state);
    /* What runs is there for as long as its process lives. */
    assert_life(store, 1, IDEM_LIFE_EXECUTING, then, *state);
    assert_int_equal(commit_text(store, &token, "late", then), APR_SUCCESS);
    assert_int_equal(look_at(store, 1, &entry, &record, *state), APR_NOTFOUND);
    assert_null(record.data);
    assert_whole(store, *state);
}

static void look_shows_a_claim_of_the_dead_as_unknown(void **state)
{
    idem_store_t *store = contract_store(*state);
    apr_time_t now = idem_store_now(store);
    idem_token_t token;
    idem_blob_t record;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        contract_child(store);
        (void)claim_at(store, 1, 1, now, &token, &record, *state);
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    contract_child_ended(store, pid);
    assert_life(store, 1, IDEM_LIFE_UNKNOWN, now, *state);
    assert_int_equal(claim_at(store, 1, 1, now, &token, &record, *state),
                     IDEM_CLAIM_UNKNOWN);
    assert_life(store, 1, IDEM_LIFE_UNKNOWN, now, *state);
    assert_whole(store, *state);
}

/* ------------------------------------------------------------------- list */

#define LISTED 500u

/* Which of 1..LISTED is it? 0: none. */
static apr_uint32_t number_of(const idem_digest_t *id)
{
    apr_uint32_t n;

    for (n = 1; n <= LISTED; n++) {
        idem_digest_t d = digest(n);

        if (memcmp(&d, id, sizeof(d)) == 0) {
            return n;
        }
    }
    return 0;
}

/* Others come and go between two steps. */
static void list_meets_each_record_once(void **state)
{
    idem_store_t *store = contract_store(*state);
    apr_time_t now = idem_store_now(store);
    unsigned char met[LISTED + 1] = { 0 };
    idem_entry_t entries[7];
    apr_uint64_t cursor = 0;
    apr_uint32_t other = 100000;
    apr_uint32_t n;
    int steps = 0;

    for (n = 1; n <= LISTED; n++) {
        assert_int_equal(put(store, n, n, now, *state), APR_SUCCESS);
    }
    do {
        idem_digest_t id = digest(other);
        int len = 7;
        int i;

        assert_int_equal(idem_store_list(store, entries, &len, &cursor),
                         APR_SUCCESS);
        assert_true(len >= 0 && len <= 7);
        for (i = 0; i < len; i++) {
            n = number_of(&entries[i].id);
            met[n]++;
            if (n > 0) {
                assert_int_equal(entries[i].life, IDEM_LIFE_DONE);
                assert_int_equal(entries[i].len, n);
                assert_true(is_near(entries[i].expires, now + TTL));
            }
        }
        (void)idem_store_forget(store, &id);
        assert_int_equal(put(store, ++other, 100, now, *state), APR_SUCCESS);
        assert_true(++steps < 100000);
    } while (cursor != 0);
    for (n = 1; n <= LISTED; n++) {
        assert_int_equal(met[n], 1);
    }
    assert_whole(store, *state);
}

static void list_shows_only_what_is_in_force(void **state)
{
    idem_store_t *store = contract_store(*state);
    apr_time_t now = idem_store_now(store);
    idem_digest_t id = digest(3);
    idem_entry_t entries[64];
    apr_uint64_t cursor = 0;
    idem_token_t token;
    idem_blob_t record;
    int executing = 0;
    int len = 64;
    int others = 0;

    (void)claim_at(store, 1, 1, now, &token, &record, *state);
    assert_int_equal(put(store, 2, 10, now - 2 * TTL, *state), APR_SUCCESS);
    (void)claim_at(store, 3, 3, now, &token, &record, *state);
    assert_int_equal(idem_store_forget(store, &id), APR_SUCCESS);
    do {
        int i;

        len = 64;
        assert_int_equal(idem_store_list(store, entries, &len, &cursor),
                         APR_SUCCESS);
        for (i = 0; i < len; i++) {
            executing += number_of(&entries[i].id) == 1
                         && entries[i].life == IDEM_LIFE_EXECUTING;
            others += number_of(&entries[i].id) != 1;
        }
    } while (cursor != 0);
    assert_int_equal(executing, 1);
    assert_int_equal(others, 0);
}

static void bad_questions_are_refused(void **state)
{
    idem_store_t *store = contract_store(*state);
    idem_digest_t id = digest(1);
    idem_entry_t entry;
    idem_blob_t record;
    apr_uint64_t cursor = 0;
    int n = 0;

    assert_int_equal(idem_store_look(store, &entry, NULL, &id, *state),
                     APR_EINVAL);
    assert_int_equal(idem_store_look(store, &entry, &record, NULL, *state),
                     APR_EINVAL);
    assert_int_equal(idem_store_list(store, &entry, &n, &cursor), APR_EINVAL);
    n = 1;
    assert_int_equal(idem_store_list(store, &entry, &n, NULL), APR_EINVAL);
}

const struct CMUnitTest contract_look_tests[] = {
    pool_test(look_shows_every_state),
    pool_test(look_does_not_find_what_has_expired),
    pool_test(look_shows_a_claim_of_the_dead_as_unknown),
    pool_test(list_meets_each_record_once),
    pool_test(list_shows_only_what_is_in_force),
    pool_test(bad_questions_are_refused),
};

const size_t contract_look_ntests =
    sizeof(contract_look_tests) / sizeof(contract_look_tests[0]);

const struct CMUnitTest contract_list_tests[] = {
    pool_test(look_shows_every_state),
    pool_test(list_meets_each_record_once),
    pool_test(bad_questions_are_refused),
};

const size_t contract_list_ntests =
    sizeof(contract_list_tests) / sizeof(contract_list_tests[0]);
