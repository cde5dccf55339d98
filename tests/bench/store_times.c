/* store_times.c: what a request feels of the purge; how long a start takes.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store_bench.h"

#include "idem_shm.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_strings.h>

#define PAUSE_SIZE ((apr_size_t)256 << 20)
#define PAUSE_RECORDS 330000u
#define PAUSE_OPS 2000000u
#define FULL_SIZE ((apr_size_t)1 << 30)
/* Of a latency, in steps of 64 ns; the last one has all that is longer. */
#define STEPS 40000u

typedef struct {
    apr_uint32_t count[STEPS];
    apr_uint32_t counted;
    apr_uint32_t
        interrupted; /* the scheduler took the processor: not counted */
    double max;
} latency_t;

static long interruptions(void)
{
    struct rusage usage;

    return getrusage(RUSAGE_SELF, &usage) == 0 ? usage.ru_nivcsw : 0;
}

/* ------------------------------------------------------------------ pause */

/* Purge as the watchdog does, but without its breaks, over records of which
 * some expire with every step. @return the process */
static pid_t start_purge(idem_store_t *store)
{
    pid_t pid = fork();
    apr_time_t now = NOW;

    if (pid == 0) {
        if (idem_store_shm_child_init(store) != APR_SUCCESS) {
            _exit(1);
        }
        for (;;) {
            idem_store_purge(store, now);
            now += apr_time_from_msec(20);
            usleep(1000);
        }
    }
    return pid;
}

/* Another process that claims, as there always is one in a server: it can be
 * set aside while it holds a lock, whether there is a purge or not. */
static pid_t start_neighbour(idem_store_t *store, apr_pool_t *pool)
{
    idem_term_t term = { NOW, TTL, 0 };
    pid_t pid = fork();
    apr_uint64_t n;

    if (pid == 0) {
        if (idem_store_shm_child_init(store) != APR_SUCCESS) {
            _exit(1);
        }
        for (n = (apr_uint64_t)1 << 40;; n++) {
            idem_digest_t id = id_of(n);

            (void)put_at(store, n, &term, pool);
            (void)idem_store_forget(store, &id);
            apr_pool_clear(pool);
        }
    }
    return pid;
}

static void end(idem_store_t *store, pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    idem_store_shm_child_died(store, pid);
}

static double percentile(const latency_t *latency, double part)
{
    double left = latency->counted * (1 - part);
    apr_uint32_t i;

    for (i = STEPS; i > 0 && left >= latency->count[i - 1]; i--) {
        left -= latency->count[i - 1];
    }
    return (double)i * 64 / 1000;
}

static void note(latency_t *latency, double ns, int interrupted)
{
    apr_uint32_t step = (apr_uint32_t)(ns / 64);

    if (interrupted) {
        latency->interrupted++;
        return;
    }
    latency->counted++;
    latency->max = ns > latency->max ? ns : latency->max;
    latency->count[step < STEPS ? step : STEPS - 1]++;
}

/* Half look-ups, half claims with their commits. */
static void measure(idem_store_t *store, latency_t *latency, apr_uint64_t from,
                    apr_pool_t *parent)
{
    idem_term_t term = { NOW, TTL, 0 };
    idem_token_t token;
    apr_pool_t *pool;
    apr_uint64_t i;

    apr_pool_create(&pool, parent);
    memset(latency, 0, sizeof(*latency));
    for (i = 0; i < PAUSE_OPS; i++) {
        long before = interruptions();
        double begun = span_now().wall;

        if (i % 2) {
            (void)put_at(store, from + i, &term, pool);
        }
        else {
            (void)claim_at(store, &token, mix(i) % PAUSE_RECORDS, NOW, pool);
        }
        begun = span_now().wall - begun;
        note(latency, begun, interruptions() != before);
        if (i % 2) {
            idem_digest_t id = id_of(from + i);

            (void)idem_store_forget(store, &id);
        }
        apr_pool_clear(pool);
    }
    apr_pool_destroy(pool);
}

/* How long one step of the purge is inside if all of it is, as when a request
 * finds no room. The cache is empty, and all that is met expires. */
static double longest_step(idem_store_t *store)
{
    idem_shm_store_t *shm = (idem_shm_store_t *)store;
    double longest = 0;
    apr_uint32_t i;
    int step;

    for (i = 0; i < shm->nshards; i++) {
        for (step = 0; step < 64; step++) {
            span_t begun = span_now();

            if (idem_shm_enter(shm, i, IDEM_SHM_LOCK_WAIT) != APR_SUCCESS) {
                continue;
            }
            idem_shm_purge_locked(shm, &shm->parts[i], NOW + 100 * TTL);
            idem_shm_leave(shm, i);
            begun = span_since(begun, 1);
            longest = begun.cpu > longest ? begun.cpu : longest;
        }
    }
    return longest / 1000;
}

void bench_pause(apr_pool_t *pool)
{
    static latency_t off;
    static latency_t on;
    idem_shm_segment_t segment;
    idem_store_t *store = open_store(&segment, PAUSE_SIZE, NULL, pool);
    apr_pool_t *sub;
    apr_uint64_t n;
    pid_t neighbour;
    pid_t pid;

    apr_pool_create(&sub, pool);
    for (n = 0; n < PAUSE_RECORDS; n++) {
        idem_term_t term = { NOW, 1 + (apr_time_t)(n * 100), TTL };

        if (!put_at(store, n, &term, sub)) {
            die("the store is too small");
        }
        apr_pool_clear(sub);
    }
    neighbour = start_neighbour(store, sub);
    measure(store, &off, 1u << 30, pool);
    pid = start_purge(store);
    measure(store, &on, 1u << 31, pool);
    end(store, pid);
    end(store, neighbour);
    row("request: 99.99 % without / with a purge", "",
        "%.0f / %.0f us: %.0f us more", percentile(&off, 0.9999),
        percentile(&on, 0.9999),
        percentile(&on, 0.9999) - percentile(&off, 0.9999));
    row("request: longest without / with a purge", "<= 1 ms more",
        "%.0f / %.0f us: %.0f us more", off.max / 1000, on.max / 1000,
        (on.max - off.max) / 1000);
    row("requests that the scheduler interrupted, not counted above", "",
        "%u / %u of %u", off.interrupted, on.interrupted, PAUSE_OPS);
    row("a step of the purge by a request that finds no room", "<= 1 ms",
        "%.0f us", longest_step(store));
    idem_shm_close(&segment);
    apr_pool_destroy(sub);
}

/* ------------------------------------------------------------------ start */

static void fill_and_end(const char *path, int clean, apr_pool_t *pool)
{
    idem_term_t term = { NOW, TTL, 0 };
    idem_shm_segment_t segment;
    idem_store_t *store = open_store(&segment, FULL_SIZE, path, pool);
    apr_uint64_t n = 0;
    apr_pool_t *sub;

    apr_pool_create(&sub, pool);
    while (put_at(store, n, &term, sub)) {
        n++;
        if (n % 256 == 0) {
            apr_pool_clear(sub);
        }
    }
    if (clean) {
        idem_shm_close(&segment);
        _exit(0);
    }
    kill(getpid(), SIGKILL);
}

void bench_start(const char *folder, apr_pool_t *pool)
{
    const char *place =
        apr_psprintf(pool, "%s/idem-bench-%ld", folder, (long)getpid());
    const char *path = apr_pstrcat(pool, place, "/store", NULL);
    int clean;

    if (mkdir(place, 0700) != 0) {
        row("start on a full store of 1 GiB", "", "no folder %s", place);
        return;
    }
    for (clean = 1; clean >= 0; clean--) {
        idem_shm_open_t how = { path, FULL_SIZE, 0, NOW, 0 };
        idem_shm_segment_t segment;
        const char *detail;
        span_t begun;
        int status;
        pid_t pid;

        unlink(path);
        pid = fork();
        if (pid == 0) {
            fill_and_end(path, clean, pool);
        }
        waitpid(pid, &status, 0);
        if (clean ? status != 0
                  : !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
            die("the full store was not made");
        }
        begun = span_now();
        if (idem_shm_open(&segment, &detail, &how, pool) != APR_SUCCESS
            || detail) {
            die(detail ? detail : "the full store does not open");
        }
        begun = span_since(begun, 1e6);
        row(clean ? "start on a full store of 1 GiB, clean"
                  : "the same after SIGKILL",
            clean ? "<= 500 ms" : "<= 3000 ms", "%.0f / %.0f ms", begun.wall,
            begun.cpu);
        idem_shm_close(&segment);
    }
    unlink(path);
    unlink(apr_pstrcat(pool, path, ".lock", NULL));
    rmdir(place);
}
