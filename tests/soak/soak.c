/* soak.c: the shm store while processes are killed by the thousand.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: soak FILE [KILLS [SECONDS]]    default: 10000 kills, 3600 s
 *
 * Eight processes claim, look up, commit, release, abandon, forget and purge
 * at random over some keys of one store. Every few milliseconds one of them
 * is killed and replaced. A model in memory of its own knows what each key
 * may answer; at the end every key is compared and the whole store checked.
 * Exit status 0: no faults.
 */
#include "soak.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_general.h>

#include "idem_shm.h"

#define SIZE (16u << 20)
#define STUCK_AFTER apr_time_from_sec(20)
#define CATCHES 200000

model_t *model;
idem_store_t *store;
apr_uint32_t slot;
apr_uint32_t birth;

static void die(const char *what)
{
    fprintf(stderr, "soak: %s\n", what);
    exit(2);
}

/* ----------------------------------------------------------------- master */

static pid_t pids[WORKERS];
static apr_uint32_t births[WORKERS];
static apr_uint64_t seen[WORKERS];
static apr_time_t moved[WORKERS];
static apr_uint32_t inside; /* kills in a lock */

static void start(apr_uint32_t i)
{
    static apr_uint32_t last;

    births[i] = ++last;
    moved[i] = apr_time_now();
    pids[i] = fork();
    if (pids[i] == 0) {
        slot = i;
        birth = last;
        work();
    }
    if (pids[i] < 0) {
        die("no process");
    }
}

/* Which process holds a lock of the store? WORKERS: none. */
static apr_uint32_t who_is_inside(void)
{
    const idem_shm_store_t *shm = (const idem_shm_store_t *)store;
    apr_uint64_t dirty = 0;
    apr_uint32_t odd;
    apr_uint32_t i;

    for (i = 0; i < shm->nshards && dirty == 0; i++) {
        dirty = __atomic_load_n(&shm->parts[i].shard->dirty, __ATOMIC_SEQ_CST);
    }
    /* The last bit of the owner is lost in the word. */
    for (odd = 0; dirty != 0 && odd < 2; odd++) {
        const idem_shm_owner_t *row =
            &shm->owners->row[((dirty & 0xfffe) + odd) % IDEM_SHM_OWNERS];

        for (i = 0; i < WORKERS; i++) {
            if ((row->id | 1) == dirty && row->pid == (apr_uint32_t)pids[i]) {
                return i;
            }
        }
    }
    return WORKERS;
}

/* By chance a kill seldom falls into the part of a microsecond that matters.
 * @return a process that stands still inside, or WORKERS */
static apr_uint32_t catch_inside(void)
{
    int tries;

    for (tries = 0; tries < CATCHES; tries++) {
        apr_uint32_t i = who_is_inside();
        int status;

        if (i == WORKERS) {
            continue;
        }
        kill(pids[i], SIGSTOP);
        if (waitpid(pids[i], &status, WUNTRACED) != pids[i]
            || !WIFSTOPPED(status)) {
            fault(TORN, i, "a process ended by itself");
            return WORKERS;
        }
        if (who_is_inside() == i) {
            return i;
        }
        kill(pids[i], SIGCONT);
    }
    return WORKERS;
}

static void stop(apr_uint32_t i)
{
    int status;

    __atomic_store_n(&model->doomed[i], births[i], __ATOMIC_SEQ_CST);
    kill(pids[i], SIGKILL);
    waitpid(pids[i], &status, 0);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
        fault(TORN, i, "a process ended by itself");
    }
    __atomic_store_n(&model->reaped[i], births[i], __ATOMIC_SEQ_CST);
    idem_store_shm_child_died(store, pids[i]);
}

static apr_uint64_t all_ops(void)
{
    apr_uint64_t ops = 0;
    apr_time_t now = apr_time_now();
    int i;

    for (i = 0; i < WORKERS; i++) {
        apr_uint64_t n = __atomic_load_n(&model->ops[i], __ATOMIC_RELAXED);

        if (n != seen[i]) {
            seen[i] = n;
            moved[i] = now;
        }
        else if (now - moved[i] > STUCK_AFTER) {
            fault(STUCK, (apr_uint32_t)i, "a process stands still");
            moved[i] = now;
        }
        ops += n;
    }
    return ops;
}

static void say(apr_uint32_t done, apr_uint32_t kills, apr_time_t begin,
                const char *end)
{
    apr_time_t spent = apr_time_now() - begin;
    double s = (double)spent / 1e6;
    apr_uint64_t *f = model->faults;
    apr_uint64_t ops = all_ops();

    printf("%lu operations, %.0f/s, %u of %u kills, %lu lost, %lu torn, "
           "%lu double, %lu stuck, %.0f s left%s",
           (unsigned long)ops, (double)ops / (s > 0 ? s : 1), done, kills,
           (unsigned long)f[LOST], (unsigned long)f[TORN],
           (unsigned long)f[DOUBLE], (unsigned long)f[STUCK],
           done > 0 ? s * (kills - done) / done : 0.0, end);
    fflush(stdout);
}

static apr_uint32_t storm(apr_uint32_t kills, apr_time_t begin,
                          apr_interval_time_t limit)
{
    const char *end = isatty(1) ? "   \r" : "\n";
    apr_time_t said = begin;
    apr_uint32_t done;
    apr_uint32_t i;

    for (i = 0; i < WORKERS; i++) {
        start(i);
    }
    for (done = 0; done < kills; done++) {
        apr_time_t now = apr_time_now();

        if (now - begin > limit) {
            break;
        }
        if (now - said > apr_time_from_sec(isatty(1) ? 1 : 10)) {
            say(done, kills, begin, end);
            said = now;
        }
        usleep(500 + roll(6000));
        i = done % 2 ? catch_inside() : WORKERS;
        inside += i != WORKERS;
        i = i != WORKERS ? i : roll(WORKERS);
        stop(i);
        __atomic_add_fetch(&model->now, apr_time_from_sec(1),
                           __ATOMIC_SEQ_CST);
        start(i);
    }
    for (i = 0; i < WORKERS; i++) {
        stop(i);
    }
    return done;
}

/* Nobody lives: every key is compared, then all expires. */
static void sweep(apr_pool_t *pool)
{
    const char *wrong = idem_store_check(store, pool);
    idem_usage_t usage;
    apr_uint32_t key;
    int i;

    if (!wrong) {
        for (key = 0; key < KEYS; key++) {
            if (once(key, 0, pool) == IDEM_CLAIM_IN_PROGRESS) {
                fault(STUCK, key, "in progress, and nobody lives");
            }
        }
        wrong = idem_store_check(store, pool);
    }
    if (wrong) {
        printf("\n");
        fault(TORN, 0, wrong);
    }
    idem_store_usage(store, &usage);
    printf("%u killed in a lock, %lu repairs, %lu expired, %lu done and %lu "
           "tombstones at the "
           "end\n",
           inside, (unsigned long)usage.repairs, (unsigned long)usage.expired,
           (unsigned long)usage.done, (unsigned long)usage.tombstones);
    for (i = 0; i < 16; i++) {
        idem_store_purge(store, now_of() + apr_time_from_sec(1000000));
    }
    memset(&usage, 0, sizeof(usage));
    idem_store_usage(store, &usage);
    if (usage.used != 0) {
        fault(STUCK, 0, "units that belong to nobody");
    }
}

static void open_store(const char *path, idem_shm_segment_t *segment,
                       apr_pool_t *pool)
{
    idem_shm_open_t how = { path, SIZE, 0, T0, 0 };
    apr_global_mutex_t **locks;
    const char *detail;
    apr_uint32_t i;

    if (idem_shm_open(segment, &detail, &how, pool) != APR_SUCCESS) {
        die(detail ? detail : "no store");
    }
    locks = apr_palloc(pool, segment->nshards * sizeof(*locks));
    for (i = 0; i < segment->nshards; i++) {
        if (apr_global_mutex_create(&locks[i], NULL, APR_LOCK_DEFAULT, pool)
            != APR_SUCCESS) {
            die("no lock");
        }
    }
    if (idem_store_shm_attach(&store, segment, locks, pool) != APR_SUCCESS) {
        die("no store");
    }
}

int main(int argc, char **argv)
{
    apr_uint32_t kills =
        argc > 2 ? (apr_uint32_t)strtoul(argv[2], NULL, 10) : 10000;
    long limit = argc > 3 ? strtol(argv[3], NULL, 10) : 3600;
    apr_time_t begin = apr_time_now();
    idem_shm_segment_t segment;
    apr_pool_t *pool;
    apr_uint32_t done;
    int i;

    apr_initialize();
    if (argc < 2 || apr_pool_create(&pool, NULL) != APR_SUCCESS) {
        die("usage: soak FILE [KILLS [SECONDS]]");
    }
    model = mmap(NULL, sizeof(*model), PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (model == MAP_FAILED) {
        die("no memory");
    }
    model->now = T0;
    for (i = 0; i < WORKERS; i++) {
        model->asks[i] = T0;
    }
    roll_from(1);
    open_store(argv[1], &segment, pool);
    done = storm(kills, begin, apr_time_from_sec((apr_time_t)limit));
    slot = 0;
    birth = APR_UINT32_MAX;
    if (idem_store_shm_child_init(store) != APR_SUCCESS) {
        die("no row of the owner table is free");
    }
    sweep(pool);
    say(done, kills, begin, "\n");
    printf("%lu executions, %lu replays compared, %lu late (tombstone), %lu "
           "refused for room, %lu claims not judged (forgotten meanwhile)\n",
           (unsigned long)model->runs, (unsigned long)model->replays,
           (unsigned long)model->late, (unsigned long)model->refused,
           (unsigned long)model->unjudged);
    printf("%lu calls gave up waiting for a lock, after their second\n",
           (unsigned long)model->gave_up);
    idem_shm_close(&segment);
    return model->faults[LOST] + model->faults[TORN] + model->faults[DOUBLE]
                   + model->faults[STUCK]
               > 0
           || done < kills;
}
