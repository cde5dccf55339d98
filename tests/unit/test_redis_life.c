/* test_redis_life.c: leases, times and bodies of the store in Redis.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store_redis_test.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_strings.h>

#define MS apr_time_from_msec

static const char *const quick[] = { "lease=1s", "connect=50ms",
                                     "timeout=100ms", NULL };

static idem_store_t *quick_store(apr_pool_t *pool)
{
    server_command("FLUSHALL");
    return redis_store(pool, quick);
}

/* As claim_at(), with a time to live of its own. */
static idem_claim_t claim_for(idem_store_t *store, apr_uint32_t n, int rerun,
                              apr_interval_time_t ttl, idem_token_t *token,
                              apr_pool_t *pool)
{
    idem_digest_t id = digest(n);
    idem_digest_t print = digest(~n);
    idem_ask_t what = { &id, &print, 7, 0, rerun, T0, ttl };
    idem_claim_t claim = IDEM_CLAIM_NEW;
    idem_blob_t record;

    assert_int_equal(
        idem_store_claim(store, &claim, token, &record, &what, pool),
        APR_SUCCESS);
    return claim;
}

static apr_status_t commit_for(idem_store_t *store, const idem_token_t *token,
                               const char *data, apr_size_t len,
                               apr_interval_time_t ttl,
                               apr_interval_time_t tombstone)
{
    struct iovec vec = { (void *)(uintptr_t)data, len };
    idem_term_t term = { T0, ttl, tombstone };

    return idem_store_commit(store, token, IDEM_END_DONE, &vec, 1, &term);
}

static const char *key_of(idem_store_t *store, apr_uint32_t n,
                          apr_pool_t *pool)
{
    idem_digest_t id = digest(n);
    idem_redis_keys_t keys;

    idem_redis_keys(&keys, (idem_redis_store_t *)store, &id);
    return apr_pstrdup(pool, keys.record);
}

static long long ask_key(idem_store_t *store, const char *command,
                         apr_uint32_t n, const char *more, apr_pool_t *pool)
{
    return server_number(
        apr_pstrcat(pool, command, " ", key_of(store, n, pool), more, NULL));
}

/* ------------------------------------------------------------------ times */

static void record_lives_for_its_time(void **state)
{
    idem_store_t *store = quick_store(*state);
    idem_token_t token;

    assert_int_equal(claim_for(store, 1, 0, TTL, &token, *state),
                     IDEM_CLAIM_NEW);
    assert_int_equal(commit_for(store, &token, "x", 1, MS(400), 0),
                     APR_SUCCESS);
    assert_int_equal(claim_for(store, 1, 0, TTL, &token, *state),
                     IDEM_CLAIM_DONE);
    sleep_ms(450);
    assert_int_equal(claim_for(store, 1, 0, TTL, &token, *state),
                     IDEM_CLAIM_NEW);
}

static void claim_of_the_dead_becomes_unknown_not_free(void **state)
{
    idem_store_t *store = quick_store(*state);
    idem_token_t token;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        contract_child(store);
        (void)claim_for(store, 1, 0, MS(800), &token, *state);
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    assert_int_equal(claim_for(store, 1, 0, TTL, &token, *state),
                     IDEM_CLAIM_IN_PROGRESS);
    tick_for(store, 1100); /* ours are none of its business */
    assert_int_equal(claim_for(store, 1, 0, TTL, &token, *state),
                     IDEM_CLAIM_UNKNOWN);
    sleep_ms(800);
    assert_int_equal(claim_for(store, 1, 0, TTL, &token, *state),
                     IDEM_CLAIM_NEW);
}

static void claims_of_the_living_are_renewed(void **state)
{
    idem_store_t *store = quick_store(*state);
    idem_token_t tokens[300];
    idem_token_t other;
    apr_uint32_t n;

    for (n = 0; n < 300; n++) {
        assert_int_equal(claim_for(store, n, 0, TTL, &tokens[n], *state),
                         IDEM_CLAIM_NEW);
    }
    tick_for(store, 2500);
    for (n = 0; n < 300; n++) {
        assert_int_equal(claim_for(store, n, 0, TTL, &other, *state),
                         IDEM_CLAIM_IN_PROGRESS);
        assert_int_equal(commit_text(store, &tokens[n], "slow", T0),
                         APR_SUCCESS);
    }
    assert_int_equal(claim_for(store, 299, 0, TTL, &other, *state),
                     IDEM_CLAIM_DONE);
    assert_whole(store, *state);
}

static void late_end_changes_nothing(void **state)
{
    idem_store_t *store = quick_store(*state);
    idem_token_t late[3];
    idem_token_t token;
    idem_redis_news_t news;
    apr_uint32_t n;

    for (n = 0; n < 3; n++) {
        (void)claim_for(store, n, 0, TTL, &late[n], *state);
    }
    sleep_ms(1100); /* cut off: nothing is renewed */
    assert_int_equal(commit_text(store, &late[0], "late", T0), APR_NOTFOUND);
    assert_int_equal(idem_store_release(store, &late[1]), APR_NOTFOUND);
    assert_int_equal(idem_store_abandon(store, &late[2], T0), APR_NOTFOUND);
    for (n = 0; n < 3; n++) {
        assert_int_equal(claim_for(store, n, 0, TTL, &token, *state),
                         IDEM_CLAIM_UNKNOWN);
    }
    assert_true(idem_redis_tick(store, &news));
    assert_int_equal(news.lost, 2);
    assert_int_equal(claim_for(store, 0, 1, TTL, &token, *state),
                     IDEM_CLAIM_NEW);
    assert_int_equal(commit_text(store, &late[0], "later", T0), APR_NOTFOUND);
    assert_int_equal(commit_text(store, &token, "again", T0), APR_SUCCESS);
}

/* The lease is over, nobody has asked for the key, and the machine is back:
 * it must not take up again what others may count as unknown. */
static void lapsed_claim_is_not_renewed(void **state)
{
    idem_store_t *store = quick_store(*state);
    idem_token_t token;
    idem_token_t other;
    idem_redis_news_t news;

    (void)claim_for(store, 1, 0, TTL, &token, *state);
    sleep_ms(1100);
    assert_true(idem_redis_tick(store, &news));
    assert_int_equal(news.lost, 1);
    assert_int_equal(claim_for(store, 1, 0, TTL, &other, *state),
                     IDEM_CLAIM_UNKNOWN);
    assert_int_equal(commit_text(store, &token, "late", T0), APR_NOTFOUND);
}

static void tombstone_follows_without_the_body(void **state)
{
    idem_store_t *store = quick_store(*state);
    idem_entry_t entry;
    idem_token_t token;
    idem_blob_t record;
    idem_digest_t id = digest(1);

    (void)claim_for(store, 1, 0, TTL, &token, *state);
    assert_int_equal(commit_for(store, &token, "answer", 6, MS(400), MS(600)),
                     APR_SUCCESS);
    assert_int_equal(claim_at(store, 1, ~1u, T0, &token, &record, *state),
                     IDEM_CLAIM_REUSED);
    assert_int_equal(claim_for(store, 1, 0, TTL, &token, *state),
                     IDEM_CLAIM_DONE);
    assert_int_equal(ask_key(store, "EXISTS", 1, "b", *state), 1);
    sleep_ms(450);
    assert_int_equal(claim_for(store, 1, 0, TTL, &token, *state),
                     IDEM_CLAIM_EXPIRED);
    assert_int_equal(claim_for(store, 1, 1, TTL, &token, *state),
                     IDEM_CLAIM_EXPIRED);
    assert_int_equal(claim_at(store, 1, 5, T0, &token, &record, *state),
                     IDEM_CLAIM_REUSED);
    assert_int_equal(ask_key(store, "EXISTS", 1, "b", *state), 0);
    assert_int_equal(idem_store_look(store, &entry, &record, &id, *state),
                     APR_SUCCESS);
    assert_int_equal(entry.life, IDEM_LIFE_EXPIRED);
    assert_int_equal(entry.len, 0);
    sleep_ms(650);
    assert_int_equal(claim_for(store, 1, 0, TTL, &token, *state),
                     IDEM_CLAIM_NEW);
}

/* ----------------------------------------------------------------- bodies */

#define LONG 200000u

static void long_bodies_are_compressed_if_that_helps(void **state)
{
    idem_store_t *store = quick_store(*state);
    char *data = apr_palloc(*state, LONG);
    idem_token_t token;
    idem_blob_t record;
    apr_uint32_t n, i, x = 1;

    for (n = 1; n <= 2; n++) {
        for (i = 0; i < LONG; i++) {
            x = x * 1664525 + 1013904223;
            data[i] = n == 1 ? (char)('a' + i % 7) : (char)(x >> 24);
        }
        (void)claim_at(store, n, n, T0, &token, &record, *state);
        assert_int_equal(
            commit_for(store, &token, data, LONG, TTL, n == 1 ? 0 : TTL),
            APR_SUCCESS);
        assert_int_equal(claim_at(store, n, n, T0, &token, &record, *state),
                         IDEM_CLAIM_DONE);
        assert_int_equal(record.len, LONG);
        assert_memory_equal(record.data, data, LONG);
    }
    assert_true(ask_key(store, "STRLEN", 1, "", *state) < 5000);
    assert_int_equal(ask_key(store, "STRLEN", 2, "b", *state), LONG);
    assert_whole(store, *state);
}

static void short_bodies_are_not(void **state)
{
    idem_store_t *store = quick_store(*state);
    char *data = apr_pcalloc(*state, 65536);
    idem_token_t token;
    idem_blob_t record;

    (void)claim_at(store, 1, 1, T0, &token, &record, *state);
    assert_int_equal(commit_for(store, &token, data, 65536, TTL, 0),
                     APR_SUCCESS);
    assert_int_equal(ask_key(store, "STRLEN", 1, "", *state), 65536 + 95);
}

/* Whatever stands in Redis: no answer comes of it, and no crash. */
static void damaged_record_is_unknown(void **state)
{
    static const char *const damages[] = {
        " 77 0000000007", /* a length that is too small */
        " 77 9999999999", /* and one beyond all bounds */
        " 77 -000000001", " 77 xxxxxxxxxx", " 2 z", " 2 p",
    };
    idem_store_t *store = quick_store(*state);
    idem_token_t token;
    idem_redis_news_t news;
    apr_uint32_t n;

    for (n = 0; n < sizeof(damages) / sizeof(*damages); n++) {
        (void)claim_for(store, n, 0, TTL, &token, *state);
        assert_int_equal(commit_text(store, &token, "answer", T0),
                         APR_SUCCESS);
        (void)ask_key(store, "SETRANGE", n, damages[n], *state);
        assert_int_equal(claim_for(store, n, 0, TTL, &token, *state),
                         IDEM_CLAIM_UNKNOWN);
    }
    assert_true(idem_redis_tick(store, &news));
    assert_int_equal(news.damaged, n);
}

static void record_of_another_version_is_not_run(void **state)
{
    idem_store_t *store = quick_store(*state);
    idem_digest_t id = digest(1);
    idem_ask_t what = { &id, &id, 7, 0, 1, T0, TTL };
    idem_claim_t claim;
    idem_token_t token;
    idem_blob_t record;
    idem_entry_t entry;

    (void)claim_for(store, 1, 0, TTL, &token, *state);
    (void)ask_key(store, "SETRANGE", 1, " 0 2", *state);
    assert_int_equal(
        idem_store_claim(store, &claim, &token, &record, &what, *state),
        APR_EGENERAL);
    server_command(apr_pstrcat(*state, "SET ", key_of(store, 1, *state),
                               " foreign", NULL));
    assert_int_equal(
        idem_store_claim(store, &claim, &token, &record, &what, *state),
        APR_EGENERAL);
    assert_int_equal(idem_store_look(store, &entry, &record, &id, *state),
                     APR_NOTFOUND);
}

static void body_that_was_evicted_is_unknown(void **state)
{
    idem_store_t *store = quick_store(*state);
    idem_token_t token;

    (void)claim_for(store, 1, 0, TTL, &token, *state);
    assert_int_equal(commit_for(store, &token, "answer", 6, TTL, TTL),
                     APR_SUCCESS);
    assert_int_equal(ask_key(store, "DEL", 1, "b", *state), 1);
    assert_int_equal(claim_for(store, 1, 0, TTL, &token, *state),
                     IDEM_CLAIM_UNKNOWN);
}

/* ---------------------------------------------------------------- scripts */

static void flushed_scripts_are_sent_again(void **state)
{
    idem_store_t *store = quick_store(*state);
    idem_token_t token;
    idem_token_t other;

    server_command("SCRIPT FLUSH");
    (void)claim_for(store, 1, 0, TTL, &token, *state);
    server_command("SCRIPT FLUSH");
    tick_for(store, 1500);
    server_command("SCRIPT FLUSH");
    assert_int_equal(commit_text(store, &token, "x", T0), APR_SUCCESS);
    (void)claim_for(store, 2, 0, TTL, &token, *state);
    server_command("SCRIPT FLUSH");
    assert_int_equal(idem_store_abandon(store, &token, T0), APR_SUCCESS);
    (void)claim_for(store, 3, 0, TTL, &token, *state);
    server_command("SCRIPT FLUSH");
    assert_int_equal(idem_store_release(store, &token), APR_SUCCESS);
    assert_int_equal(claim_for(store, 1, 0, TTL, &other, *state),
                     IDEM_CLAIM_DONE);
    assert_int_equal(claim_for(store, 2, 0, TTL, &other, *state),
                     IDEM_CLAIM_UNKNOWN);
    assert_int_equal(claim_for(store, 3, 0, TTL, &other, *state),
                     IDEM_CLAIM_NEW);
}

static void keys_of_an_id_have_one_hash_tag(void **state)
{
    idem_store_t *store = quick_store(*state);
    const char *key = key_of(store, 1, *state);

    assert_memory_equal(key, "idem:{", 6);
    assert_int_equal(strlen(key), 5 + 1 + 64 + 1);
    assert_int_equal(server_number(apr_pstrcat(*state, "EXISTS ", key, NULL)),
                     0);
    assert_int_equal(key[strlen(key) - 1], '}');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(record_lives_for_its_time),
        pool_test(claim_of_the_dead_becomes_unknown_not_free),
        pool_test(claims_of_the_living_are_renewed),
        pool_test(late_end_changes_nothing),
        pool_test(lapsed_claim_is_not_renewed),
        pool_test(tombstone_follows_without_the_body),
        pool_test(long_bodies_are_compressed_if_that_helps),
        pool_test(short_bodies_are_not),
        pool_test(damaged_record_is_unknown),
        pool_test(record_of_another_version_is_not_run),
        pool_test(body_that_was_evicted_is_unknown),
        pool_test(flushed_scripts_are_sent_again),
        pool_test(keys_of_an_id_have_one_hash_tag),
    };

    return cmocka_run_group_tests(tests, server_setup, server_teardown);
}
