/* store_redis.c: what claim and commit in Redis cost, beside the same two
 * scripts called without a store, and beside the shm store.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: store_redis PORT SECRET-FILE [PAIRS]
 *
 * Run by tests/bench/redis. Each row is measured in turn, three times, and
 * the medians are printed, so that what else goes on falls on all alike.
 */
#include "idem_redis.h"
#include "idem_store_shm.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>

#define BODY 512
#define ROUNDS 3
#define THREADS_MAX 16
#define TTL apr_time_from_sec(600)

typedef struct {
    idem_store_t *store; /* NULL: raw */
    const idem_redis_store_t *redis;
    int port;
    apr_uint64_t first;
    int pairs;
    double *claim_us; /* of each, if asked for */
    double *commit_us;
} work_t;

static char body[BODY];

static void die(const char *what)
{
    fprintf(stderr, "store_redis: %s\n", what);
    exit(1);
}

static void die_of(const char *what, apr_status_t rv)
{
    char why[100];

    fprintf(stderr, "store_redis: %s: %d, %s\n", what, rv,
            apr_strerror(rv, why, sizeof(why)));
    exit(1);
}

static double now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static void digest_of(idem_digest_t *d, apr_uint64_t n)
{
    apr_size_t i;

    /* Spread, as digests are: splitmix64. */
    for (i = 0; i < sizeof(d->bytes); i += sizeof(n)) {
        n += 0x9e3779b97f4a7c15ull;
        n = (n ^ (n >> 30)) * 0xbf58476d1ce4e5b9ull;
        n = (n ^ (n >> 27)) * 0x94d049bb133111ebull;
        n ^= n >> 31;
        memcpy(d->bytes + i, &n, sizeof(n));
    }
}

/* ------------------------------------------------------------ by the store */

static void use_store(const work_t *work, apr_pool_t *pool)
{
    struct iovec vec = { body, BODY };
    int i;

    for (i = 0; i < work->pairs; i++) {
        idem_digest_t id;
        idem_ask_t ask = { &id, &id, 1, 0, 0, 0, TTL };
        idem_term_t term = { 0, TTL, 0 };
        idem_claim_t claim;
        idem_token_t token;
        idem_blob_t record;
        apr_status_t rv;
        double a, b, c;

        digest_of(&id, work->first + (apr_uint64_t)i);
        ask.now = term.now = idem_store_now(work->store);
        a = now_us();
        rv =
            idem_store_claim(work->store, &claim, &token, &record, &ask, pool);
        if (rv != APR_SUCCESS || claim != IDEM_CLAIM_NEW) {
            die_of("claim", rv);
        }
        b = now_us();
        rv = idem_store_commit(work->store, &token, IDEM_END_DONE, &vec, 1,
                               &term);
        if (rv != APR_SUCCESS) {
            die_of("commit", rv);
        }
        c = now_us();
        if (work->claim_us) {
            work->claim_us[i] = b - a;
            work->commit_us[i] = c - b;
        }
    }
}

/* ---------------------------------------------------------------- and raw */

static void call(redisContext *c, int argc, const char **argv,
                 const apr_size_t *len, int type)
{
    redisReply *reply = redisCommandArgv(c, argc, argv, len);

    if (!reply || reply->type != type) {
        die(reply && reply->str ? reply->str : "no answer");
    }
    freeReplyObject(reply);
}

static void use_raw(const work_t *work)
{
    /* As the store calls them on Redis 7. */
    const idem_redis_code_t *claim = &work->redis->code[IDEM_REDIS_CLAIM][1];
    const idem_redis_code_t *commit = &work->redis->code[IDEM_REDIS_COMMIT][1];
    redisContext *c = redisConnect("127.0.0.1", work->port);
    char proof[] = "0123456789abcdef";
    int i;

    for (i = 0; i < work->pairs; i++) {
        idem_redis_keys_t keys;
        idem_digest_t id;
        const char *a[] = { "EVALSHA",   claim->sha,     "2",
                            keys.record, keys.body,      (char *)id.bytes,
                            proof,       "000000600000", "630000",
                            "0",         "00000001" };
        apr_size_t al[] = { 7, 40, 1, 0, 0, 32, 16, 12, 6, 1, 8 };
        const char *b[] = { "EVALSHA",   commit->sha, "2",
                            keys.record, keys.body,   proof,
                            "d",         "-",         "000000000000",
                            "600000",    "600000",    "0000000512",
                            "0",         body };
        apr_size_t bl[] = { 7, 40, 1, 0, 0, 16, 1, 1, 12, 6, 6, 10, 1, BODY };
        double t0, t1, t2;

        digest_of(&id, work->first + (apr_uint64_t)i);
        idem_redis_keys(&keys, work->redis, &id);
        al[3] = bl[3] = keys.len;
        al[4] = bl[4] = keys.len + 1;
        t0 = now_us();
        call(c, 11, a, al, REDIS_REPLY_ARRAY);
        t1 = now_us();
        call(c, 14, b, bl, REDIS_REPLY_INTEGER);
        t2 = now_us();
        if (work->claim_us) {
            work->claim_us[i] = t1 - t0;
            work->commit_us[i] = t2 - t1;
        }
    }
    redisFree(c);
}

static void *run(void *data)
{
    work_t *work = data;
    apr_pool_t *pool;

    apr_pool_create(&pool, NULL);
    if (work->store) {
        use_store(work, pool);
    }
    else {
        use_raw(work);
    }
    apr_pool_destroy(pool);
    return NULL;
}

/* ------------------------------------------------------------------ sums */

static apr_uint64_t next_id = 1;

/* @return pairs per second */
static double rate_of(work_t work, int threads, int pairs)
{
    pthread_t thread[THREADS_MAX];
    work_t each[THREADS_MAX];
    double begun = now_us();
    int i;

    for (i = 0; i < threads; i++) {
        each[i] = work;
        each[i].pairs = pairs / threads;
        each[i].first = next_id;
        next_id += (apr_uint64_t)each[i].pairs;
        pthread_create(&thread[i], NULL, run, &each[i]);
    }
    for (i = 0; i < threads; i++) {
        pthread_join(thread[i], NULL);
    }
    return pairs / threads * threads / ((now_us() - begun) / 1e6);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *of, int n)
{
    qsort(of, (size_t)n, sizeof(*of), compare);
    return of[n / 2];
}

/* @return the median of a pair */
static double show_latency(const char *name, work_t work, int pairs)
{
    double half;

    double *claim = malloc((size_t)pairs * sizeof(*claim));
    double *commit = malloc((size_t)pairs * sizeof(*commit));

    work.claim_us = claim;
    work.commit_us = commit;
    (void)rate_of(work, 1, pairs);
    qsort(claim, (size_t)pairs, sizeof(*claim), compare);
    qsort(commit, (size_t)pairs, sizeof(*commit), compare);
    printf("%-6s claim  p50 %7.1f us  p99 %7.1f us\n", name, claim[pairs / 2],
           claim[pairs / 100 * 99]);
    printf("%-6s commit p50 %7.1f us  p99 %7.1f us\n", name, commit[pairs / 2],
           commit[pairs / 100 * 99]);
    half = claim[pairs / 2] + commit[pairs / 2];
    free(claim);
    free(commit);
    return half;
}

static void show_rates(work_t store, work_t raw, int pairs)
{
    static const int counts[] = { 1, 4, 16 };
    size_t i;

    for (i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
        double a[ROUNDS], b[ROUNDS], ratio[ROUNDS];
        int round;

        for (round = 0; round < ROUNDS; round++) {
            a[round] = rate_of(store, counts[i], pairs);
            b[round] = rate_of(raw, counts[i], pairs);
            ratio[round] = a[round] / b[round];
        }
        printf("%2d connections: store %6.0f pairs/s, raw %6.0f pairs/s, "
               "ratio %.2f\n",
               counts[i], median(a, ROUNDS), median(b, ROUNDS),
               median(ratio, ROUNDS));
    }
}

/* ---------------------------------------------------------------- opening */

static idem_store_t *open_redis(int port, const char *secret, apr_pool_t *pool)
{
    idem_redis_conf_t *conf = NULL;
    idem_store_t *store;
    const char *err = idem_redis_option(&conf, "secret", secret, pool);

    if (!err) {
        err = idem_redis_option(
            &conf, "url", apr_psprintf(pool, "redis://127.0.0.1:%d/0", port),
            pool);
    }
    if (err) {
        die(err);
    }
    if (idem_redis_create(&store, conf, pool) != APR_SUCCESS) {
        die("the store could not be made");
    }
    return store;
}

static idem_store_t *open_shm(apr_pool_t *pool)
{
    idem_shm_segment_t *segment = apr_palloc(pool, sizeof(*segment));
    idem_shm_open_t how = { NULL, 256 * 1024 * 1024, 0, apr_time_now(), 0 };
    apr_global_mutex_t **locks;
    const char *detail;
    idem_store_t *store;
    apr_uint32_t i;

    if (idem_shm_open(segment, &detail, &how, pool) != APR_SUCCESS) {
        die("no shared memory");
    }
    locks = apr_palloc(pool, segment->nshards * sizeof(*locks));
    for (i = 0; i < segment->nshards; i++) {
        if (apr_global_mutex_create(&locks[i], NULL, APR_LOCK_DEFAULT, pool)
            != APR_SUCCESS) {
            die("no locks");
        }
    }
    if (idem_store_shm_attach(&store, segment, locks, pool) != APR_SUCCESS
        || idem_store_shm_child_init(store) != APR_SUCCESS) {
        die("the shm store could not be made");
    }
    return store;
}

/* For redis-benchmark: by what name Redis knows the claim. */
static int show_sha(void)
{
    idem_redis_store_t *redis = calloc(1, sizeof(*redis));
    apr_pool_t *pool;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    if (!redis || idem_redis_code_init(redis, pool) != APR_SUCCESS) {
        die("no SHA-1");
    }
    puts(redis->code[IDEM_REDIS_CLAIM][0].sha);
    return 0;
}

int main(int argc, char **argv)
{
    work_t store = { 0 };
    work_t raw = { 0 };
    work_t shm = { 0 };
    apr_pool_t *pool;
    double a, b;
    int pairs;

    if (argc == 2 && !strcmp(argv[1], "--sha")) {
        return show_sha();
    }
    if (argc < 3) {
        die("usage: store_redis PORT SECRET-FILE [PAIRS]");
    }
    apr_initialize();
    apr_pool_create(&pool, NULL);
    memset(body, 'b', sizeof(body));
    pairs = argc > 3 ? atoi(argv[3]) : 30000;
    store.store = open_redis(atoi(argv[1]), argv[2], pool);
    raw.redis = (idem_redis_store_t *)store.store;
    raw.port = atoi(argv[1]);
    shm.store = open_shm(pool);
    (void)rate_of(store, 1, 1000); /* loads the scripts */
    a = show_latency("store", store, pairs);
    b = show_latency("raw", raw, pairs);
    printf("by the medians the store does %.2f of what two raw round trips "
           "allow\n",
           b / a);
    (void)rate_of(shm, 1, pairs); /* its pages are there from now on */
    (void)show_latency("shm", shm, pairs);
    show_rates(store, raw, pairs);
    printf("shm, 1 thread: %.0f pairs/s\n", rate_of(shm, 1, pairs * 4));
    return 0;
}
