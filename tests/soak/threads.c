/* threads.c: eight threads of one process race in the shm store.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: threads [ROUNDS]    to be run under ThreadSanitizer or valgrind
 *
 * Exit status 0: of the claims of a key never two ran at once, every answer
 * was whole, and the store is whole at the end.
 */
#include "idem_store_shm.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>

#define THREADS 8
#define KEYS 64u
#define LEN 3000
#define T0 apr_time_from_sec(1000000)
#define TTL apr_time_from_sec(60)

static idem_store_t *store;
static unsigned long rounds;
static apr_uint32_t running[KEYS];
static apr_uint32_t forgets[KEYS]; /* begun: any claim may be gone then */
static apr_uint32_t forgot[KEYS];  /* ended */
static apr_uint64_t faults;
static apr_uint64_t replays;

static void fault(const char *what)
{
    fprintf(stderr, "threads: %s\n", what);
    __atomic_add_fetch(&faults, 1, __ATOMIC_RELAXED);
}

static int is_forgotten(apr_uint32_t key, apr_uint32_t before)
{
    return __atomic_load_n(&forgets[key], __ATOMIC_SEQ_CST) != before;
}

static void run_claim(apr_uint32_t key, const idem_token_t *token,
                      apr_uint32_t what, apr_uint32_t before)
{
    char data[LEN];
    struct iovec vec = { data, 1 + what % LEN };
    apr_status_t rv;

    if (__atomic_add_fetch(&running[key], 1, __ATOMIC_SEQ_CST) != 1
        && !is_forgotten(key, before)) {
        fault("two executions at once");
    }
    memset(data, (int)(token->fence & 0xff), sizeof(data));
    __atomic_sub_fetch(&running[key], 1, __ATOMIC_SEQ_CST);
    if (what % 8 == 0) {
        rv = idem_store_release(store, token);
    }
    else {
        rv = idem_store_commit(store, token, IDEM_END_DONE, &vec, 1,
                               &(idem_term_t){ T0, TTL, 0 });
    }
    if (rv != APR_SUCCESS && !is_forgotten(key, before)) {
        fault("a claim was gone at its end");
    }
}

static void once(apr_uint32_t key, apr_uint32_t what, apr_pool_t *pool)
{
    idem_digest_t id;
    idem_ask_t ask = { &id, &id, 7, 0, 0, T0, TTL };
    idem_claim_t claim = IDEM_CLAIM_IN_PROGRESS;
    idem_token_t token;
    idem_blob_t record;
    apr_uint32_t before = __atomic_load_n(&forgot[key], __ATOMIC_SEQ_CST);
    apr_size_t i;

    memset(&id, (int)key + 1, sizeof(id));
    if (idem_store_claim(store, &claim, &token, &record, &ask, pool)
        != APR_SUCCESS) {
        fault("no claim");
        return;
    }
    if (claim == IDEM_CLAIM_NEW) {
        run_claim(key, &token, what, before);
    }
    else if (claim == IDEM_CLAIM_DONE) {
        __atomic_add_fetch(&replays, 1, __ATOMIC_RELAXED);
        for (i = 1; i < record.len; i++) {
            if (record.data[i] != record.data[0]) {
                fault("a mixture of two answers");
                break;
            }
        }
        if (what % 4 == 0) {
            __atomic_add_fetch(&forgets[key], 1, __ATOMIC_SEQ_CST);
            (void)idem_store_forget(store, &id);
            __atomic_add_fetch(&forgot[key], 1, __ATOMIC_SEQ_CST);
        }
    }
    if (what % 512 == 0) {
        idem_store_purge(store, T0);
    }
}

static void *race(void *arg)
{
    apr_uint32_t x = (apr_uint32_t)(apr_uintptr_t)arg * 2654435761u + 1;
    apr_pool_t *pool;
    unsigned long n;

    if (apr_pool_create(&pool, NULL) != APR_SUCCESS) {
        fault("no pool");
        return NULL;
    }
    for (n = 0; n < rounds; n++) {
        x = x * 1664525u + 1013904223u;
        once((x >> 8) % KEYS, x >> 14, pool);
        apr_pool_clear(pool);
    }
    apr_pool_destroy(pool);
    return NULL;
}

static int open_store(idem_shm_segment_t *segment, apr_pool_t *pool)
{
    idem_shm_open_t how = { NULL, IDEM_SHM_SIZE_MIN, 0, T0, 0 };
    apr_global_mutex_t *locks[1];
    const char *detail;

    return idem_shm_open(segment, &detail, &how, pool) == APR_SUCCESS
           && segment->nshards == 1
           && apr_global_mutex_create(&locks[0], NULL, APR_LOCK_DEFAULT, pool)
                  == APR_SUCCESS
           && idem_store_shm_attach(&store, segment,
                                    apr_pmemdup(pool, locks, sizeof(locks)),
                                    pool)
                  == APR_SUCCESS
           && idem_store_shm_child_init(store) == APR_SUCCESS;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS];
    idem_shm_segment_t segment;
    apr_pool_t *pool;
    const char *wrong;
    int i;

    rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 20000;
    apr_initialize();
    if (apr_pool_create(&pool, NULL) != APR_SUCCESS
        || !open_store(&segment, pool)) {
        fprintf(stderr, "threads: no store\n");
        return 2;
    }
    for (i = 0; i < THREADS; i++) {
        if (pthread_create(&threads[i], NULL, race, (void *)(apr_uintptr_t)i)
            != 0) {
            return 2;
        }
    }
    for (i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    wrong = idem_store_check(store, pool);
    if (wrong) {
        fault(wrong);
    }
    printf("%d threads, %lu rounds each, %lu replays compared, %lu faults\n",
           THREADS, rounds, (unsigned long)replays, (unsigned long)faults);
    idem_shm_close(&segment);
    apr_pool_destroy(pool);
    apr_terminate();
    return faults > 0;
}
