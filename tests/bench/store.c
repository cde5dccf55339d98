/* store.c: what the operations of the shm store cost, measured here and now.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: store [RECORDS [FILE]]    default: 5000000, in memory
 *
 * Prints nanoseconds per operation with a thousand records and with RECORDS
 * of 512 bytes each, and the ratios that are asked of the store. Times are
 * of this machine at this moment; nothing is judged.
 */
#include "idem_store_shm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <apr_general.h>

#define BYTES 512
#define FEW 1000u
#define ROUNDS 300000u
#define LOOKUPS 2000000u
#define NOW apr_time_from_sec(1000000)
#define TTL apr_time_from_sec(3600)

/* What two processes share to start at once and to tell their time. */
typedef struct {
    apr_uint32_t ready;
    apr_uint32_t go;
    double ns[2];
} start_t;

static void die(const char *what)
{
    fprintf(stderr, "store: %s\n", what);
    exit(1);
}

static double ns_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

/* splitmix64 */
static apr_uint64_t mix(apr_uint64_t x)
{
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

static idem_digest_t id_of(apr_uint64_t n)
{
    idem_digest_t id;
    apr_uint64_t word[4];
    int i;

    for (i = 0; i < 4; i++) {
        word[i] = mix(n * 4 + (apr_uint64_t)i);
    }
    memcpy(&id, word, sizeof(id));
    return id;
}

/* A server that has run for a day has had every page once. */
static void touch(const idem_shm_segment_t *segment)
{
    volatile char *p = segment->base;
    apr_size_t i;

    for (i = 0; i < segment->size; i += 4096) {
        p[i] = p[i];
    }
}

static idem_store_t *open_store(apr_size_t size, const char *path,
                                apr_pool_t *pool)
{
    idem_shm_open_t how = { path, size, 0, NOW, 0 };
    idem_shm_segment_t segment;
    apr_global_mutex_t **locks;
    idem_store_t *store;
    const char *detail;
    apr_uint32_t i;

    if (idem_shm_open(&segment, &detail, &how, pool) != APR_SUCCESS) {
        die(detail ? detail : "cannot open the store");
    }
    touch(&segment);
    locks = apr_palloc(pool, segment.nshards * sizeof(*locks));
    for (i = 0; i < segment.nshards; i++) {
        if (apr_global_mutex_create(&locks[i], NULL, APR_LOCK_DEFAULT, pool)
            != APR_SUCCESS) {
            die("no lock");
        }
    }
    if (idem_store_shm_attach(&store, &segment, locks, pool) != APR_SUCCESS
        || idem_store_shm_child_init(store) != APR_SUCCESS) {
        die("cannot attach");
    }
    return store;
}

static idem_claim_t claim(idem_store_t *store, idem_token_t *token,
                          apr_uint64_t n, apr_pool_t *pool)
{
    idem_digest_t id = id_of(n);
    idem_ask_t ask = { &id, &id, 7, 0, 0, NOW, TTL };
    idem_blob_t record;
    idem_claim_t what;

    if (idem_store_claim(store, &what, token, &record, &ask, pool)
        != APR_SUCCESS) {
        die("claim failed: the store is too small");
    }
    return what;
}

static void put(idem_store_t *store, apr_uint64_t n, apr_pool_t *pool)
{
    static char data[BYTES];
    struct iovec vec = { data, BYTES };
    idem_token_t token;

    if (claim(store, &token, n, pool) != IDEM_CLAIM_NEW
        || idem_store_commit(store, &token, IDEM_END_DONE, &vec, 1,
                             &(idem_term_t){ NOW, TTL, 0 })
               != APR_SUCCESS) {
        die("put failed");
    }
}

/* Claim and commit; what is put is taken away again, outside the time. */
static double time_puts(idem_store_t *store, apr_uint64_t from,
                        apr_pool_t *pool)
{
    double spent = 0;
    apr_uint64_t n;
    apr_uint64_t i;

    for (n = 0; n < ROUNDS; n += FEW) {
        double begun = ns_now();

        for (i = 0; i < FEW; i++) {
            put(store, from + n + i, pool);
        }
        spent += ns_now() - begun;
        for (i = 0; i < FEW; i++) {
            idem_digest_t id = id_of(from + n + i);

            (void)idem_store_forget(store, &id);
        }
    }
    return spent / ROUNDS;
}

static double time_lookups(idem_store_t *store, apr_uint64_t count,
                           apr_uint64_t seed, apr_pool_t *parent)
{
    apr_pool_t *pool;
    idem_token_t token;
    double begun;
    apr_uint64_t i;

    apr_pool_create(&pool, parent);
    begun = ns_now();
    for (i = 0; i < LOOKUPS; i++) {
        if (claim(store, &token, mix(seed + i) % count, pool)
            != IDEM_CLAIM_DONE) {
            die("a record is missing");
        }
        if (i % 64 == 0) {
            apr_pool_clear(pool);
        }
    }
    begun = ns_now() - begun;
    apr_pool_destroy(pool);
    return begun / LOOKUPS;
}

/* @return nanoseconds per look-up, both processes taken together */
static double time_two(idem_store_t *store, apr_uint64_t count,
                       apr_pool_t *pool)
{
    start_t *start = mmap(NULL, sizeof(*start), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int i;

    for (i = 0; i < 2; i++) {
        if (fork() == 0) {
            if (idem_store_shm_child_init(store) != APR_SUCCESS) {
                _exit(1);
            }
            __atomic_add_fetch(&start->ready, 1, __ATOMIC_ACQ_REL);
            while (!__atomic_load_n(&start->go, __ATOMIC_ACQUIRE)) {
            }
            start->ns[i] =
                time_lookups(store, count, (apr_uint64_t)(i + 1) << 40, pool);
            _exit(0);
        }
    }
    while (__atomic_load_n(&start->ready, __ATOMIC_ACQUIRE) < 2) {
        usleep(1000);
    }
    __atomic_store_n(&start->go, 1, __ATOMIC_RELEASE);
    while (wait(NULL) > 0) {
    }
    return 1 / (1 / start->ns[0] + 1 / start->ns[1]);
}

int main(int argc, char **argv)
{
    apr_uint64_t many = argc > 1 ? strtoull(argv[1], NULL, 10) : 5000000;
    const char *path = argc > 2 ? argv[2] : NULL;
    double put_ns[2];
    double one_ns[2];
    double two_ns[2];
    double load[1];
    idem_usage_t usage;
    idem_store_t *store;
    apr_pool_t *pool;
    apr_uint64_t n = 0;
    int i;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    if (getloadavg(load, 1) == 1) {
        printf("load average before: %.1f on %ld processors\n", load[0],
               sysconf(_SC_NPROCESSORS_ONLN));
    }
    store = open_store((apr_size_t)many * 720 + (64u << 20), path, pool);
    for (i = 0; i < 2; i++) {
        apr_uint64_t count = i == 0 ? FEW : many;

        while (n < count) {
            put(store, n++, pool);
        }
        put_ns[i] = time_puts(store, many + 1, pool);
        one_ns[i] = time_lookups(store, count, 0, pool);
        two_ns[i] = time_two(store, count, pool);
        printf("%8llu records: claim + commit %6.0f ns, look-up %6.0f ns, "
               "by two processes %6.0f ns (%.2f times)\n",
               (unsigned long long)count, put_ns[i], one_ns[i], two_ns[i],
               one_ns[i] / two_ns[i]);
    }
    idem_store_usage(store, &usage);
    printf("many / few: claim + commit %.2f, look-up %.2f\n",
           put_ns[1] / put_ns[0], one_ns[1] / one_ns[0]);
    printf("bytes per record of %d: %.0f, map and index included\n", BYTES,
           (double)usage.used / (double)usage.done * (64 + 1.5) / 64);
    return 0;
}
