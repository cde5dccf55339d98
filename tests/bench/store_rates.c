/* store_rates.c: claims, commits and look-ups a second; bytes a record.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store_bench.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_strings.h>

#define ROUNDS 300000u
#define LOOKUPS 1000000u
#define REPEATS 3

static const idem_term_t term = { NOW, TTL, 0 };

/* What two processes share to start at once and to tell their time. */
typedef struct {
    apr_uint32_t ready;
    apr_uint32_t go;
    span_t each[2];
} start_t;

/* Claim and commit; what is put is taken away again, outside the time. */
static span_t time_puts(idem_store_t *store, apr_uint64_t from,
                        apr_pool_t *parent)
{
    span_t spent = { 0, 0 };
    apr_pool_t *pool;
    apr_uint64_t n;
    apr_uint64_t i;

    apr_pool_create(&pool, parent);
    for (n = 0; n < ROUNDS; n += FEW) {
        span_t begun = span_now();

        for (i = 0; i < FEW; i++) {
            if (!put_at(store, from + n + i, &term, pool)) {
                die("the store is too small");
            }
        }
        begun = span_since(begun, 1);
        spent.wall += begun.wall / ROUNDS;
        spent.cpu += begun.cpu / ROUNDS;
        for (i = 0; i < FEW; i++) {
            idem_digest_t id = id_of(from + n + i);

            (void)idem_store_forget(store, &id);
        }
        apr_pool_clear(pool);
    }
    apr_pool_destroy(pool);
    return spent;
}

static span_t time_lookups(idem_store_t *store, apr_uint64_t count,
                           apr_uint64_t seed, apr_pool_t *parent)
{
    apr_pool_t *pool;
    idem_token_t token;
    span_t begun;
    apr_uint64_t i;

    apr_pool_create(&pool, parent);
    begun = span_now();
    for (i = 0; i < LOOKUPS; i++) {
        if (claim_at(store, &token, mix(seed + i) % count, NOW, pool)
            != IDEM_CLAIM_DONE) {
            die("a record is missing");
        }
        if (i % 64 == 0) {
            apr_pool_clear(pool);
        }
    }
    begun = span_since(begun, LOOKUPS);
    apr_pool_destroy(pool);
    return begun;
}

/* @return nanoseconds per look-up, both processes taken together */
static span_t time_two(idem_store_t *store, apr_uint64_t count,
                       apr_pool_t *pool)
{
    start_t *start = mmap(NULL, sizeof(*start), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    span_t both;
    int i;

    for (i = 0; i < 2; i++) {
        if (fork() == 0) {
            if (idem_store_shm_child_init(store) != APR_SUCCESS) {
                _exit(1);
            }
            /* A new process meets every page for the first time. */
            (void)time_lookups(store, count, (apr_uint64_t)(i + 9) << 40,
                               pool);
            __atomic_add_fetch(&start->ready, 1, __ATOMIC_ACQ_REL);
            while (!__atomic_load_n(&start->go, __ATOMIC_ACQUIRE)) {
                usleep(100);
            }
            start->each[i] =
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
    both.wall = 1 / (1 / start->each[0].wall + 1 / start->each[1].wall);
    both.cpu = 1 / (1 / start->each[0].cpu + 1 / start->each[1].cpu);
    munmap(start, sizeof(*start));
    return both;
}

/* Of several measurements the least: all else is the machine's. */
static void least(span_t *best, span_t span)
{
    best->wall = span.wall < best->wall ? span.wall : best->wall;
    best->cpu = span.cpu < best->cpu ? span.cpu : best->cpu;
}

static void row_rate(const char *what, const char *target, span_t span)
{
    row(what, target, "%.2f / %.2f million a second (%.0f / %.0f ns)",
        1e3 / span.wall, 1e3 / span.cpu, span.wall, span.cpu);
}

void bench_rates(apr_uint64_t many, apr_pool_t *pool)
{
    span_t puts[2] = { { 1e9, 1e9 }, { 1e9, 1e9 } };
    span_t one[2] = { { 1e9, 1e9 }, { 1e9, 1e9 } };
    span_t two[2] = { { 1e9, 1e9 }, { 1e9, 1e9 } };
    idem_shm_segment_t segment;
    idem_store_t *store;
    idem_usage_t usage;
    apr_uint64_t n = 0;
    double bytes;
    apr_pool_t *sub;
    int i, k;

    apr_pool_create(&sub, pool);
    store =
        open_store(&segment, (apr_size_t)many * 720 + (64u << 20), NULL, pool);
    for (i = 0; i < 2; i++) {
        apr_uint64_t count = i == 0 ? FEW : many;

        for (; n < count; n++) {
            if (!put_at(store, n, &term, sub)) {
                die("the store is too small");
            }
            if (n % 256 == 0) {
                apr_pool_clear(sub);
            }
        }
        for (k = 0; k < REPEATS; k++) {
            least(&puts[i], time_puts(store, many + 1, pool));
            least(&one[i],
                  time_lookups(store, count, (apr_uint64_t)k << 32, pool));
            least(&two[i], time_two(store, count, pool));
        }
    }
    idem_store_usage(store, &usage);
    bytes = (double)usage.used / 64 / (double)usage.done
            * unit_cost(&segment, store);
    row_rate("claim + commit, 1 thousand records", ">= 1 million/s", puts[0]);
    row_rate("claim + commit, many records", "", puts[1]);
    row_rate("look-up, 1 thousand records", ">= 2 million/s", one[0]);
    row_rate("look-up, many records", "", one[1]);
    row("look-up, two processes / one, 1 thousand records", ">= 1.7",
        "%.2f / %.2f", one[0].wall / two[0].wall, one[0].cpu / two[0].cpu);
    row("look-up, two processes / one, many records", "", "%.2f / %.2f",
        one[1].wall / two[1].wall, one[1].cpu / two[1].cpu);
    row(apr_psprintf(
            pool, "claim + commit, %" APR_UINT64_T_FMT " records / 1 thousand",
            many),
        "<= 1.3", "%.2f / %.2f", puts[1].wall / puts[0].wall,
        puts[1].cpu / puts[0].cpu);
    row(apr_psprintf(
            pool, "look-up, %" APR_UINT64_T_FMT " records / 1 thousand", many),
        "<= 1.3", "%.2f / %.2f", one[1].wall / one[0].wall,
        one[1].cpu / one[0].cpu);
    row("bytes beyond the recorded 512", "<= 192", "%.0f", bytes - BYTES);
    idem_shm_close(&segment);
    apr_pool_destroy(sub);
}

void bench_tombstones(apr_pool_t *pool)
{
    idem_term_t mortal = { NOW, TTL, 100 * TTL };
    idem_shm_segment_t segment;
    idem_usage_t usage;
    idem_store_t *store = open_store(&segment, 64u << 20, NULL, pool);
    apr_uint64_t n;

    for (n = 0; n < 50000; n++) {
        if (!put_at(store, n, &mortal, pool)) {
            die("the store is too small");
        }
    }
    for (n = 0; n < 1000; n++) {
        idem_store_purge(store, NOW + TTL);
    }
    idem_store_usage(store, &usage);
    if (usage.done != 0 || usage.tombstones != 50000) {
        die("no tombstones");
    }
    row("bytes of a tombstone", "<= 96", "%.1f",
        (double)usage.used / 64 / (double)usage.tombstones
            * unit_cost(&segment, store));
    idem_shm_close(&segment);
}
