/* test_redis_fault.c: the store in Redis when Redis is not as it should be.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store_redis_test.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <apr_strings.h>

static const char *const quick[] = { "lease=1s", "connect=50ms",
                                     "timeout=100ms", NULL };

static idem_store_t *quick_store(apr_pool_t *pool)
{
    server_command("FLUSHALL");
    return redis_store(pool, quick);
}

static apr_status_t claim_rv(idem_store_t *store, apr_uint32_t n,
                             idem_claim_t *claim, idem_token_t *token,
                             apr_pool_t *pool)
{
    idem_blob_t record;

    return ask_at(store, n, n, 0, T0, claim, token, &record, pool);
}

/* -------------------------------------------------------------------- slow */

static apr_interval_time_t time_of_claim(idem_store_t *store, apr_uint32_t n,
                                         apr_status_t *rv, apr_pool_t *pool)
{
    apr_time_t begun = apr_time_now();
    idem_claim_t claim;
    idem_token_t token;

    *rv = claim_rv(store, n, &claim, &token, pool);
    return apr_time_now() - begun;
}

/* The breaker opens with the last of them. @return the longest wait */
static apr_interval_time_t five_claims_time_out(idem_store_t *store,
                                                apr_pool_t *pool)
{
    apr_interval_time_t longest = 0;
    apr_uint32_t n;

    kill(server.pid, SIGSTOP);
    for (n = 1; n <= 5; n++) {
        apr_status_t rv;
        apr_interval_time_t took = time_of_claim(store, n, &rv, pool);

        assert_true(APR_STATUS_IS_TIMEUP(rv));
        longest = took > longest ? took : longest;
    }
    return longest;
}

/* Redis is back: soon a claim is had again. */
static void claim_is_had_again(idem_store_t *store, apr_uint32_t id,
                               apr_pool_t *pool)
{
    apr_status_t rv = APR_EGENERAL;
    int n;

    kill(server.pid, SIGCONT);
    for (n = 0; n < 100 && rv != APR_SUCCESS; n++) {
        if (n > 0) {
            sleep_ms(50);
        }
        (void)time_of_claim(store, id, &rv, pool);
    }
    assert_int_equal(rv, APR_SUCCESS);
}

static void stopped_redis_is_waited_for_and_then_refused(void **state)
{
    idem_store_t *store = quick_store(*state);
    idem_redis_news_t news;
    apr_interval_time_t took;
    apr_status_t rv;

    (void)time_of_claim(store, 0, &rv, *state);
    assert_int_equal(rv, APR_SUCCESS);
    assert_true(five_claims_time_out(store, *state) < apr_time_from_msec(600));
    took = time_of_claim(store, 6, &rv, *state);
    assert_true(APR_STATUS_IS_EAGAIN(rv));
    assert_true(took < apr_time_from_msec(50));
    assert_true(idem_redis_tick(store, &news));
    assert_true(news.failures >= 5);
    claim_is_had_again(store, 7, *state);
    (void)idem_redis_tick(store, &news);
    assert_int_equal(news.recovered, 1);
}

/* Whoever looks may be the probe: one that finds no Redis ends as well, or
 * the breaker would stay open for good. */
static void probe_of_an_onlooker_ends(void **state)
{
    idem_store_t *store = quick_store(*state);
    idem_entry_t entry;
    idem_usage_t usage;
    apr_uint64_t cursor;
    int looks, one;

    for (looks = 0; looks < 2; looks++) {
        (void)five_claims_time_out(store, *state);
        sleep_ms(300);
        if (looks) {
            one = 1;
            cursor = 0;
            assert_int_not_equal(idem_store_list(store, &entry, &one, &cursor),
                                 APR_SUCCESS);
        }
        else {
            idem_store_usage(store, &usage);
        }
        claim_is_had_again(store, 6, *state);
    }
}

/* Redis reads the claim when nobody waits for it any more. */
static void claim_whose_answer_was_lost_is_taken_back(void **state)
{
    idem_store_t *store = quick_store(*state);
    idem_claim_t claim = IDEM_CLAIM_DONE;
    idem_token_t token;
    apr_status_t rv;
    int i;

    (void)claim_rv(store, 1, &claim, &token, *state);
    assert_int_equal(idem_store_release(store, &token), APR_SUCCESS);
    kill(server.pid, SIGSTOP);
    (void)time_of_claim(store, 2, &rv, *state);
    assert_true(APR_STATUS_IS_TIMEUP(rv));
    kill(server.pid, SIGCONT);
    for (i = 0; i < 100 && server_number("DBSIZE") == 0; i++) {
        sleep_ms(10);
    }
    assert_int_equal(server_number("DBSIZE"), 1);
    tick_for(store, 500);
    assert_int_equal(server_number("DBSIZE"), 0);
    assert_int_equal(claim_rv(store, 2, &claim, &token, *state), APR_SUCCESS);
    assert_int_equal(claim, IDEM_CLAIM_NEW);
}

static void dead_connections_are_replaced(void **state)
{
    idem_store_t *store = quick_store(*state);
    idem_claim_t claim = IDEM_CLAIM_DONE;
    idem_token_t token;
    apr_uint32_t n;

    for (n = 1; n < 20; n++) {
        assert_int_equal(claim_rv(store, n, &claim, &token, *state),
                         APR_SUCCESS);
        assert_int_equal(claim, IDEM_CLAIM_NEW);
        (void)server_number("CLIENT KILL TYPE normal SKIPME yes");
        assert_int_equal(commit_text(store, &token, "x", T0), APR_SUCCESS);
    }
}

/* ------------------------------------------------------------ told by Redis
 */

static void full_redis_refuses_claims_and_keeps_promises(void **state)
{
    idem_store_t *store = quick_store(*state);
    idem_claim_t claim = IDEM_CLAIM_NEW;
    idem_token_t running;
    idem_token_t token;
    idem_blob_t record;
    idem_usage_t usage;

    assert_int_equal(put(store, 1, 100, T0, *state), APR_SUCCESS);
    (void)claim_at(store, 2, 2, T0, &running, &record, *state);
    server_command("CONFIG SET maxmemory 1000");
    assert_true(
        APR_STATUS_IS_ENOSPC(claim_rv(store, 3, &claim, &token, *state)));
    assert_int_equal(try_claim(store, 1, 7, 0, T0, &claim, &token, *state),
                     APR_SUCCESS);
    assert_int_equal(claim, IDEM_CLAIM_DONE);
    idem_store_usage(store, &usage);
    assert_int_equal(usage.size, 1000);
    assert_true(usage.used > usage.size);
    tick_for(store, 1500);
    assert_int_equal(commit_text(store, &running, "there", T0), APR_SUCCESS);
    server_command("CONFIG SET maxmemory 0");
    assert_int_equal(claim_rv(store, 3, &claim, &token, *state), APR_SUCCESS);
    assert_int_equal(claim, IDEM_CLAIM_NEW);
}

static void replica_refuses(void **state)
{
    idem_store_t *store = quick_store(*state);
    idem_claim_t claim;
    idem_token_t token;
    idem_redis_news_t news;

    server_command("REPLICAOF 127.0.0.1 1");
    assert_int_equal(claim_rv(store, 1, &claim, &token, *state),
                     APR_FROM_OS_ERROR(EROFS));
    (void)idem_redis_tick(store, &news);
    assert_non_null(strstr(news.failure, "READONLY"));
    server_command("REPLICAOF NO ONE");
    assert_int_equal(claim_rv(store, 1, &claim, &token, *state), APR_SUCCESS);
}

static void password_is_asked_for(void **state)
{
    const char *options[] = { "url=", NULL };
    idem_claim_t claim;
    idem_token_t token;
    idem_redis_news_t news;
    idem_store_t *none, *wrong, *right;

    server_command("FLUSHALL");
    none = redis_store(*state, quick);
    options[0] = apr_psprintf(*state, "url=redis://:s3cretA@127.0.0.1:%d/0",
                              server.port);
    wrong = redis_store(*state, options);
    options[0] = apr_psprintf(
        *state, "url=redis://default:s3cretB@127.0.0.1:%d/2", server.port);
    right = redis_store(*state, options);
    server_command("CONFIG SET requirepass s3cretB");
    assert_true(
        APR_STATUS_IS_EACCES(claim_rv(wrong, 1, &claim, &token, *state)));
    (void)idem_redis_tick(wrong, &news);
    assert_string_equal(news.failure, "AUTH was refused: WRONGPASS");
    assert_null(strstr(news.failure, "s3cret"));
    assert_true(
        APR_STATUS_IS_EACCES(claim_rv(none, 1, &claim, &token, *state)));
    assert_int_equal(claim_rv(right, 1, &claim, &token, *state), APR_SUCCESS);
    server_command("AUTH s3cretB");
    server_command("ACL SETUSER default nopass");
    server_command("SELECT 2");
    assert_int_equal(server_number("DBSIZE"), 1);
    server_command("FLUSHALL");
    server_command("SELECT 0");
}

static void claim_without_its_replicas_does_not_run(void **state)
{
    const char *options[] = { "replicas=1", "timeout=100ms", NULL };
    idem_store_t *store = redis_store(*state, options);
    idem_store_t *other = quick_store(*state);
    const char *warning, *note;
    idem_claim_t claim;
    idem_token_t token;

    assert_int_equal(claim_rv(store, 1, &claim, &token, *state),
                     APR_INCOMPLETE);
    tick_for(store, 100);
    assert_int_equal(server_number("DBSIZE"), 0);
    assert_int_equal(claim_rv(other, 1, &claim, &token, *state), APR_SUCCESS);
    assert_int_equal(claim, IDEM_CLAIM_NEW);
    assert_int_equal(commit_text(other, &token, "x", T0), APR_SUCCESS);
    /* What is recorded needs no replica to be told. */
    assert_int_equal(claim_rv(store, 1, &claim, &token, *state), APR_SUCCESS);
    assert_int_equal(claim, IDEM_CLAIM_DONE);
    idem_redis_survey(store, &warning, &note, *state);
    assert_non_null(strstr(warning, "0 replicas"));
}

/* Renewals that are refused one by one must not leave answers behind, which
 * the next call on that connection would take for its own. */
static void refused_round_leaves_nothing_behind(void **state)
{
    const char *options[] = { "lease=1s", "connect=50ms", "timeout=100ms",
                              "pool=1:1", NULL };
    idem_store_t *store = redis_store(*state, options);
    idem_claim_t claim;
    idem_token_t tokens[20];
    idem_token_t token;
    idem_redis_news_t news;
    apr_uint32_t n;

    server_command("FLUSHALL");
    assert_int_equal(put(store, 100, 50, T0, *state), APR_SUCCESS);
    for (n = 0; n < 20; n++) {
        (void)claim_rv(store, n, &claim, &tokens[n], *state);
    }
    sleep_ms(400);
    server_command("CONFIG SET min-replicas-to-write 1");
    assert_true(idem_redis_tick(store, &news));
    assert_non_null(strstr(news.failure, "NOREPLICAS"));
    assert_int_equal(news.failures, 20);
    assert_int_equal(claim_rv(store, 101, &claim, &token, *state),
                     APR_INCOMPLETE);
    assert_int_equal(try_claim(store, 100, 7, 0, T0, &claim, &token, *state),
                     APR_SUCCESS);
    assert_int_equal(claim, IDEM_CLAIM_DONE);
    server_command("CONFIG SET min-replicas-to-write 0");
    tick_for(store, 100);
    for (n = 0; n < 20; n++) {
        assert_int_equal(commit_text(store, &tokens[n], "x", T0), APR_SUCCESS);
    }
    assert_int_equal(try_claim(store, 100, 7, 0, T0, &claim, &token, *state),
                     APR_SUCCESS);
    assert_int_equal(claim, IDEM_CLAIM_DONE);
}

static void survey_warns_of_what_loses_records(void **state)
{
    idem_store_t *store = quick_store(*state);
    const char *warning, *note;

    idem_redis_survey(store, &warning, &note, *state);
    assert_non_null(strstr(warning, "nothing on disk"));
    assert_null(strstr(warning, "noeviction"));
    assert_null(note);
    server_command("CONFIG SET maxmemory-policy allkeys-lru");
    idem_redis_survey(store, &warning, &note, *state);
    assert_non_null(strstr(warning, "allkeys-lru"));
    server_command("CONFIG SET maxmemory-policy noeviction");
    server_command("CONFIG SET appendonly yes");
    idem_redis_survey(store, &warning, &note, *state);
    assert_null(warning);
    server_command("CONFIG SET appendonly no");
    server_command("ACL SETUSER default -config");
    idem_redis_survey(store, &warning, &note, *state);
    assert_null(warning);
    assert_non_null(strstr(note, "CONFIG"));
    server_command("ACL SETUSER default -info");
    idem_redis_survey(store, &warning, &note, *state);
    assert_non_null(strstr(note, "INFO"));
    server_command("ACL SETUSER default +config +info");
    kill(server.pid, SIGSTOP);
    idem_redis_survey(store, &warning, &note, *state);
    assert_non_null(strstr(warning, "cannot be used"));
    kill(server.pid, SIGCONT);
}

/* ----------------------------------------------------------------- threads */

static void *use_store(void *data)
{
    idem_store_t *store = data;
    apr_uint32_t first = (apr_uint32_t)(uintptr_t)pthread_self();
    idem_claim_t claim;
    idem_token_t token;
    apr_pool_t *pool;
    uintptr_t bad = 0;
    apr_uint32_t n;

    apr_pool_create(&pool, NULL);
    for (n = 0; n < 200; n++) {
        bad += claim_rv(store, first + n, &claim, &token, pool) != APR_SUCCESS
               || claim != IDEM_CLAIM_NEW
               || commit_text(store, &token, "x", T0) != APR_SUCCESS;
    }
    apr_pool_destroy(pool);
    return (void *)bad;
}

static void threads_share_few_connections(void **state)
{
    const char *options[] = { "pool=1:2", NULL };
    idem_store_t *store = redis_store(*state, options);
    pthread_t threads[8];
    void *bad;
    int i;

    server_command("FLUSHALL");
    for (i = 0; i < 8; i++) {
        pthread_create(&threads[i], NULL, use_store, store);
    }
    for (i = 0; i < 8; i++) {
        pthread_join(threads[i], &bad);
        assert_null(bad);
    }
    assert_true(((idem_redis_store_t *)store)->pool.nopen <= 2);
}

static void abandon_without_a_connection_comes_later(void **state)
{
    idem_store_t *store = quick_store(*state);
    idem_claim_t claim;
    idem_token_t token;
    idem_token_t other;

    (void)claim_rv(store, 1, &claim, &token, *state);
    (void)server_number("CLIENT KILL TYPE normal SKIPME yes");
    sleep_ms(20);
    assert_int_equal(idem_store_abandon(store, &token, T0), APR_EAGAIN);
    assert_int_equal(idem_store_abandon(store, &token, T0), APR_NOTFOUND);
    tick_for(store, 100);
    assert_int_equal(claim_rv(store, 1, &claim, &other, *state), APR_SUCCESS);
    assert_int_equal(claim, IDEM_CLAIM_UNKNOWN);
}

/* Holds the lock of the pool from when its connection is taken. */
static void *hold_lock(void *data)
{
    idem_redis_pool_t *pool = data;
    int taken = 0;
    int i;

    for (i = 0; i < 1000 && !taken; i++) {
        sleep_ms(1);
        pthread_mutex_lock(&pool->lock);
        taken = pool->nidle == 0;
        if (taken) {
            sleep_ms(100);
        }
        pthread_mutex_unlock(&pool->lock);
    }
    return NULL;
}

/* On a machine that stops threads for as long as it likes. */
static void abandon_without_the_lock_loses_no_connection(void **state)
{
    const char *options[] = { "pool=1:1", "timeout=500ms", NULL };
    idem_store_t *store = redis_store(*state, options);
    idem_redis_pool_t *pool = &((idem_redis_store_t *)store)->pool;
    idem_claim_t claim;
    idem_token_t token;
    pthread_t thread;

    server_command("FLUSHALL");
    (void)claim_rv(store, 1, &claim, &token, *state);
    pthread_create(&thread, NULL, hold_lock, pool);
    kill(server.pid, SIGSTOP);
    (void)idem_store_abandon(store, &token, T0);
    kill(server.pid, SIGCONT);
    pthread_join(thread, NULL);
    assert_int_equal(pool->nopen, 1);
    assert_int_equal(claim_rv(store, 2, &claim, &token, *state), APR_SUCCESS);
    assert_int_equal(claim, IDEM_CLAIM_NEW);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(stopped_redis_is_waited_for_and_then_refused),
        pool_test(probe_of_an_onlooker_ends),
        pool_test(claim_whose_answer_was_lost_is_taken_back),
        pool_test(dead_connections_are_replaced),
        pool_test(full_redis_refuses_claims_and_keeps_promises),
        pool_test(replica_refuses),
        pool_test(password_is_asked_for),
        pool_test(claim_without_its_replicas_does_not_run),
        pool_test(refused_round_leaves_nothing_behind),
        pool_test(survey_warns_of_what_loses_records),
        pool_test(threads_share_few_connections),
        pool_test(abandon_without_a_connection_comes_later),
        pool_test(abandon_without_the_lock_loses_no_connection),
    };

    return cmocka_run_group_tests(tests, server_setup, server_teardown);
}
