/* store.c: what the operations of the shm store cost, measured here and now.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: store [RECORDS [FOLDER]]    default: 5000000, /dev/shm
 *
 * Prints the rows of the store that are asked for, each with its target and
 * what was measured. RECORDS of 512 bytes are held in memory; a file of 1 GiB
 * is made in FOLDER for the rows of the start, and removed.
 *
 * Times are given twice: by the clock, and as time that the process was on a
 * processor. On a machine that does other things as well only the second
 * says something of the store.
 */
#include "store_bench.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <apr_general.h>

void die(const char *what)
{
    fprintf(stderr, "store: %s\n", what);
    exit(1);
}

static double ns_of(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

span_t span_now(void)
{
    span_t span = { ns_of(CLOCK_MONOTONIC), ns_of(CLOCK_PROCESS_CPUTIME_ID) };

    return span;
}

span_t span_since(span_t begun, double ops)
{
    span_t span = span_now();

    span.wall = (span.wall - begun.wall) / ops;
    span.cpu = (span.cpu - begun.cpu) / ops;
    return span;
}

/* splitmix64 */
apr_uint64_t mix(apr_uint64_t x)
{
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

idem_digest_t id_of(apr_uint64_t n)
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

idem_store_t *open_store(idem_shm_segment_t *segment, apr_size_t size,
                         const char *path, apr_pool_t *pool)
{
    idem_shm_open_t how = { path, size, 0, NOW, 0 };
    apr_global_mutex_t **locks;
    idem_store_t *store;
    const char *detail;
    apr_uint32_t i;

    if (idem_shm_open(segment, &detail, &how, pool) != APR_SUCCESS) {
        die(detail ? detail : "cannot open the store");
    }
    touch(segment);
    locks = apr_palloc(pool, segment->nshards * sizeof(*locks));
    for (i = 0; i < segment->nshards; i++) {
        if (apr_global_mutex_create(&locks[i], NULL, APR_LOCK_DEFAULT, pool)
            != APR_SUCCESS) {
            die("no lock");
        }
    }
    if (idem_store_shm_attach(&store, segment, locks, pool) != APR_SUCCESS
        || idem_store_shm_child_init(store) != APR_SUCCESS) {
        die("cannot attach");
    }
    return store;
}

idem_claim_t claim_at(idem_store_t *store, idem_token_t *token, apr_uint64_t n,
                      apr_time_t now, apr_pool_t *pool)
{
    idem_digest_t id = id_of(n);
    idem_ask_t ask = { &id, &id, 7, 0, 0, now, TTL };
    idem_blob_t record;
    idem_claim_t what;
    apr_status_t rv =
        idem_store_claim(store, &what, token, &record, &ask, pool);

    if (rv == APR_ENOSPC) {
        return IDEM_CLAIM_REUSED;
    }
    if (rv != APR_SUCCESS) {
        die("a claim failed");
    }
    return what;
}

int put_at(idem_store_t *store, apr_uint64_t n, const idem_term_t *term,
           apr_pool_t *pool)
{
    static char data[BYTES];
    struct iovec vec = { data, BYTES };
    idem_token_t token;
    apr_status_t rv;

    if (claim_at(store, &token, n, term->now, pool) != IDEM_CLAIM_NEW) {
        return 0;
    }
    rv = idem_store_commit(store, &token, IDEM_END_DONE, &vec, 1, term);
    if (rv == APR_ENOSPC) {
        (void)idem_store_release(store, &token);
        return 0;
    }
    if (rv != APR_SUCCESS) {
        die("a commit failed");
    }
    return 1;
}

double unit_cost(const idem_shm_segment_t *segment, idem_store_t *store)
{
    idem_usage_t usage;

    idem_store_usage(store, &usage);
    return (double)segment->size / ((double)usage.size / 64);
}

void row(const char *what, const char *target, const char *form, ...)
{
    va_list args;

    printf("| %s | %s | ", what, target);
    va_start(args, form);
    vprintf(form, args);
    va_end(args);
    printf(" |\n");
    fflush(stdout);
}

static void say_machine(void)
{
    double load[3];
    char text[80] = "unknown";
    FILE *file =
        fopen("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "r");

    if (file) {
        if (fgets(text, sizeof(text), file)) {
            text[strcspn(text, "\n")] = '\0';
        }
        fclose(file);
    }
    if (getloadavg(load, 3) == 3) {
        printf("load average %.1f %.1f %.1f on %ld processors; huge pages "
               "for shared memory: %s\n",
               load[0], load[1], load[2], sysconf(_SC_NPROCESSORS_ONLN), text);
    }
}

int main(int argc, char **argv)
{
    apr_uint64_t many = argc > 1 ? strtoull(argv[1], NULL, 10) : 5000000;
    const char *folder = argc > 2 ? argv[2] : "/dev/shm";
    apr_pool_t *pool;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    say_machine();
    printf("records of %d bytes; by the clock / by time on a processor\n\n",
           BYTES);
    printf("| what | target | measured |\n|---|---|---|\n");
    bench_rates(many, pool);
    bench_tombstones(pool);
    bench_pause(pool);
    bench_start(folder, pool);
    say_machine();
    return 0;
}
