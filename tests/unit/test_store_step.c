/* test_store_step.c: the shm store when a process dies at any instruction.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A child runs one operation, one instruction at a time (ptrace).
 *
 * every_state: whenever an instruction has changed the store, a copy of it is
 * judged as if the child had died there. Between two changes a death leaves
 * the same bytes, so that no instruction is left out.
 *
 * every_death: the child is really killed, every IDEM_STEP'th instruction
 * (211; the first one: IDEM_STEP_FROM), in long operations less often. This
 * has the lock in it, and a claim in another shard while the child stands
 * still inside. IDEM_STEP_ALL=1: at every instruction, in operations of more
 * than LONG at 1000 places; takes many minutes.
 */
#ifndef _GNU_SOURCE /* sched_getcpu, cpu_set_t; APR may define it too */
#define _GNU_SOURCE
#endif
#include "store_step.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#define LONG 6000u
#define STEPS_MAX 20000000u
#define OPS_MAX 64

/* Instructions of each, found by every_state. */
static apr_uint32_t lengths[OPS_MAX];

/* Containers may forbid it; the log says then that nothing was tried. */
static int is_permitted(void)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        _exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 ? 0 : 77);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (status != 0) {
        print_message("ptrace is not permitted here: nothing is stepped\n");
    }
    return status == 0;
}

/* Parent and child take turns: on one processor that costs least. */
static void stay_on_one_cpu(void)
{
    cpu_set_t one;
    int cpu = sched_getcpu();

    CPU_ZERO(&one);
    CPU_SET(cpu >= 0 ? cpu : 0, &one);
    (void)sched_setaffinity(0, sizeof(one), &one);
}

/* ------------------------------------------------------------------ steps */

static int rows_taken(idem_store_t *store)
{
    const idem_shm_owners_t *owners = ((idem_shm_store_t *)store)->owners;
    int taken = 0;
    int i;

    for (i = 0; i < (int)IDEM_SHM_OWNERS; i++) {
        taken += owners->row[i].alive != 0;
    }
    return taken;
}

/* @return the child, standing before the operation */
static pid_t start(scene_t *s)
{
    pid_t pid;
    int status;

    s->flags->begun = 0;
    s->flags->ended = 0;
    s->rows = rows_taken(s->store);
    pid = fork();
    if (pid == 0) {
        if (s->op->act != enter
            && idem_store_shm_child_init(s->store) != APR_SUCCESS) {
            _exit(1);
        }
        if (s->op->ready) {
            s->op->ready(s);
        }
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
            _exit(2);
        }
        raise(SIGSTOP);
        s->flags->begun = 1;
        s->op->act(s);
        s->flags->ended = 1;
        for (;;) {
            pause();
        }
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSTOPPED(status));
    return pid;
}

/* One instruction. @return 0 at the end of the operation */
static int step(scene_t *s, pid_t pid)
{
    int status;

    do {
        assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP) {
            fail_msg("%s: the child ended by itself: %x", s->op->name,
                     (unsigned int)status);
        }
    } while (!s->flags->begun);
    return !s->flags->ended;
}

static void stop(scene_t *s, pid_t pid)
{
    int status;

    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    idem_store_shm_child_died(s->store, pid);
}

/* ------------------------------------------------------------------ scene */

/* Somebody dies in the lock. */
static void die_before(scene_t *s)
{
    const op_t *op = s->op;
    unsigned int n = 0;
    pid_t pid;

    s->op = op->first;
    pid = start(s);
    while (n < op->depth) {
        assert_true(step(s, pid));
        n += part_of(s->store, 0)->shard->dirty != 0;
    }
    assert_true(part_of(s->store, 0)->shard->dirty != 0);
    stop(s, pid);
    s->op = op;
}

/* A store of which every process here sees a small part only. */
static idem_store_t *small_store(apr_size_t size, apr_pool_t *pool)
{
    idem_store_t *store = store_of(size, pool);
    apr_uint32_t i;

    for (i = 0; i < ((idem_shm_store_t *)store)->nshards; i++) {
        part_of(store, i)->nunits = UNITS;
        part_of(store, i)->nbuckets = UNITS / 8;
        part_of(store, i)->shard->free_units = UNITS;
    }
    return store;
}

static void set(scene_t *s, const op_t *op, idem_store_t *store,
                apr_pool_t *pool)
{
    memset(s, 0, sizeof(*s));
    s->op = op;
    s->pool = pool;
    s->store = store;
    s->flags = mmap(NULL, sizeof(*s->flags), PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(s->flags != MAP_FAILED);
    s->bystander = key_in(s->store, 0, 1);
    s->key = key_in(s->store, 0, s->bystander + 1);
    s->key2 = key_in(s->store, 0, s->key + 1);
    if (((idem_shm_store_t *)store)->nshards > 1) {
        s->other = key_in(s->store, 1, 1);
    }
    /* Up to the latest time that any is looked at. */
    put_filled(s, s->bystander, op->now, 0);
    if (op->prepare) {
        op->prepare(s);
    }
    if (op->first) {
        die_before(s);
    }
}

static void unset(scene_t *s)
{
    munmap((void *)(uintptr_t)s->flags, sizeof(*s->flags));
}

/* ------------------------------------------------------------------ judge */

static void look(const scene_t *s, idem_store_t *store, apr_uint32_t at,
                 apr_uint32_t n, unsigned int allowed, apr_pool_t *pool)
{
    idem_token_t token;
    idem_blob_t record;
    idem_claim_t claim;
    apr_status_t rv =
        ask_at(store, n, n, 0, s->op->now, &claim, &token, &record, pool);

    if (rv != APR_SUCCESS) {
        fail_msg("%s, %u: status %d", s->op->name, at, rv);
    }
    if (!(allowed & BIT(claim))) {
        fail_msg("%s, %u: claim %d", s->op->name, at, (int)claim);
    }
    if (claim == IDEM_CLAIM_DONE && !is_filled(&record, n)) {
        fail_msg("%s, %u: not the bytes", s->op->name, at);
    }
    if (claim == IDEM_CLAIM_NEW) {
        assert_int_equal(idem_store_release(store, &token), APR_SUCCESS);
    }
    if (claim == IDEM_CLAIM_EXPIRED
        && claim_at(store, n, n + 1, s->op->now, &token, &record, pool)
               != IDEM_CLAIM_REUSED) {
        fail_msg("%s, %u: not the fingerprint", s->op->name, at);
    }
}

static void whole(const scene_t *s, idem_store_t *store, apr_uint32_t at,
                  apr_pool_t *pool)
{
    const char *wrong = idem_store_check(store, pool);

    if (wrong) {
        fail_msg("%s, %u: %s", s->op->name, at, wrong);
    }
}

/* The child has died at instruction @a at. */
static void judge(const scene_t *s, idem_store_t *store, apr_uint32_t at)
{
    idem_usage_t usage;
    apr_pool_t *pool;
    int i;

    assert_int_equal(apr_pool_create(&pool, s->pool), APR_SUCCESS);
    if (rows_taken(store) != s->rows) {
        fail_msg("%s, %u: a row of the owner table is lost", s->op->name, at);
    }
    look(s, store, at, s->key, s->op->allowed, pool);
    if (s->op->allowed2) {
        look(s, store, at, s->key2, s->op->allowed2, pool);
    }
    look(s, store, at, s->bystander, DONE, pool);
    whole(s, store, at, pool);
    if (s->has_held) {
        (void)idem_store_release(store, &s->held);
    }
    for (i = 0; i < 10; i++) {
        idem_store_purge(store, T0 + 1000 * TTL);
        idem_store_usage(store, &usage);
        if (usage.used == 0) {
            break;
        }
    }
    if (usage.used != 0) {
        fail_msg("%s, %u: %lu bytes leaked", s->op->name, at,
                 (unsigned long)usage.used);
    }
    whole(s, store, at, pool);
    apr_pool_destroy(pool);
}

/* ------------------------------------------------------------ every state */

/* A store of our own with the same bytes; what they were last. */
typedef struct {
    idem_store_t *store;
    char *was;
    apr_size_t len; /* so much of it is used */
} copy_t;

static void copy_init(copy_t *copy, const scene_t *s)
{
    const idem_shm_store_t *shm = (const idem_shm_store_t *)s->store;
    const idem_shm_part_t *part = part_of(s->store, 0);

    copy->len = (apr_size_t)(part->units - (char *)shm->segment.base)
                + UNITS * IDEM_SHM_UNIT;
    copy->store = small_store(shm->segment.size, s->pool);
    copy->was = apr_pcalloc(s->pool, copy->len + sizeof(*shm->owners));
}

/* @return 1 if the last instruction has changed anything */
static int has_changed(const copy_t *copy, const scene_t *s)
{
    const idem_shm_store_t *shm = (const idem_shm_store_t *)s->store;

    return memcmp(copy->was, shm->segment.base, copy->len) != 0
           || (s->op->act == enter
               && memcmp(copy->was + copy->len, shm->owners,
                         sizeof(*shm->owners))
                      != 0);
}

static void judge_copy(copy_t *copy, const scene_t *s, pid_t pid,
                       apr_uint32_t at)
{
    const idem_shm_store_t *shm = (const idem_shm_store_t *)s->store;
    idem_shm_store_t *mine = (idem_shm_store_t *)copy->store;

    memcpy(copy->was, shm->segment.base, copy->len);
    memcpy(copy->was + copy->len, shm->owners, sizeof(*shm->owners));
    memcpy(mine->segment.base, shm->segment.base, shm->segment.size);
    memcpy(mine->owners, shm->owners, sizeof(*shm->owners));
    mine->owner = shm->owner;
    mine->segment.epoch = shm->segment.epoch;
    idem_store_shm_child_died(copy->store, pid);
    judge(s, copy->store, at);
}

/* @return instructions of the operation */
static apr_uint32_t states_of(const op_t *op, apr_pool_t *parent)
{
    apr_uint32_t at = 0;
    int states = 0;
    apr_pool_t *pool;
    copy_t copy;
    scene_t s;
    pid_t pid;

    assert_int_equal(apr_pool_create(&pool, parent), APR_SUCCESS);
    set(&s, op, small_store(SIZE, pool), pool);
    pid = start(&s);
    copy_init(&copy, &s);
    do {
        at++;
        assert_true(at < STEPS_MAX);
        if (has_changed(&copy, &s)) {
            judge_copy(&copy, &s, pid, at);
            states++;
        }
    } while (step(&s, pid));
    stop(&s, pid);
    judge(&s, s.store, at);
    print_message("%s: dead at any of %u instructions: %d states\n", op->name,
                  at, states);
    unset(&s);
    apr_pool_destroy(pool);
    return at;
}

static void every_state(void **state)
{
    size_t i;

    if (!is_permitted()) {
        skip();
    }
    for (i = 0; i < nops; i++) {
        lengths[i] = states_of(&ops[i], *state);
    }
}

/* ------------------------------------------------------------ every death */

/* @return 0 if the operation has ended before */
static int death_at(const op_t *op, apr_uint32_t at, idem_store_t *store,
                    apr_pool_t *parent)
{
    apr_uint32_t n = 0;
    apr_pool_t *pool;
    scene_t s;
    pid_t pid;

    assert_int_equal(apr_pool_create(&pool, parent), APR_SUCCESS);
    set(&s, op, store, pool);
    pid = start(&s);
    while (n < at && step(&s, pid)) {
        n++;
    }
    if (s.other) {
        /* Nobody waits for whoever stands in the other shard's lock. */
        look(&s, s.store, n, s.other, ABSENT, pool);
    }
    stop(&s, pid);
    judge(&s, s.store, n);
    unset(&s);
    apr_pool_destroy(pool);
    return n == at;
}

static apr_uint32_t number_of(const char *name, apr_uint32_t otherwise)
{
    const char *text = getenv(name);

    return text ? (apr_uint32_t)strtoul(text, NULL, 10) : otherwise;
}

static void every_death(void **state)
{
    idem_store_t *store = small_store(TWO_SHARDS, *state);
    int all = number_of("IDEM_STEP_ALL", 0) != 0;
    apr_uint32_t usual = all ? 1 : number_of("IDEM_STEP", 211);
    unsigned int total = 0;
    size_t i;

    if (!is_permitted()) {
        skip();
    }
    for (i = 0; i < nops; i++) {
        apr_uint32_t stride = usual > 0 ? usual : 1;
        apr_uint32_t at = number_of("IDEM_STEP_FROM", 0);
        unsigned int deaths = 0;

        if (lengths[i] > LONG) {
            stride = lengths[i] / (all ? 1000 : 2);
        }
        do {
            deaths++;
        } while (death_at(&ops[i], at, store, *state) && (at += stride, 1));
        print_message("%s: %u deaths\n", ops[i].name, deaths);
        total += deaths;
    }
    print_message("%u deaths in all\n", total);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(every_state),
        pool_test(every_death),
    };

    apr_initialize();
    stay_on_one_cpu();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
