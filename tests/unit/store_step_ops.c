/* store_step_ops.c: the operations that test_store_step.c steps through.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store_step.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ------------------------------------------------------------------ bytes */

static void fill(char *data, apr_uint32_t n)
{
    unsigned int i;

    for (i = 0; i < LEN; i++) {
        data[i] = (char)(n * 17 + i * 5 + (i >> 8));
    }
}

int is_filled(const idem_blob_t *record, apr_uint32_t n)
{
    char data[LEN];

    fill(data, n);
    return record->len == LEN && memcmp(record->data, data, LEN) == 0;
}

static apr_status_t commit(idem_store_t *store, const idem_token_t *token,
                           apr_uint32_t n, apr_time_t now,
                           apr_interval_time_t tombstone)
{
    char data[LEN];
    struct iovec vec = { data, LEN };

    fill(data, n);
    return idem_store_commit(store, token, IDEM_END_DONE, &vec, 1,
                             &(idem_term_t){ now, TTL, tombstone });
}

void put_filled(scene_t *s, apr_uint32_t n, apr_time_t now,
                apr_interval_time_t tombstone)
{
    idem_token_t token;
    idem_blob_t record;

    assert_int_equal(claim_at(s->store, n, n, now, &token, &record, s->pool),
                     IDEM_CLAIM_NEW);
    assert_int_equal(commit(s->store, &token, n, now, tombstone), APR_SUCCESS);
}

apr_uint32_t key_in(idem_store_t *store, apr_uint32_t i, apr_uint32_t n)
{
    for (;; n++) {
        idem_digest_t id = digest(n);

        if (idem_shm_shard_of((idem_shm_store_t *)store, &id) == i) {
            return n;
        }
    }
}

/* ------------------------------------------------------------- operations */

static void claim_in_child(scene_t *s)
{
    idem_token_t token;
    idem_blob_t record;
    idem_claim_t claim;

    (void)ask_at(s->store, s->key, s->key, 0, T0, &claim, &token, &record,
                 s->pool);
    s->flags->token = token;
}

static void rerun(scene_t *s)
{
    idem_token_t token;
    idem_blob_t record;
    idem_claim_t claim;

    (void)ask_at(s->store, s->key, s->key, 1, T0, &claim, &token, &record,
                 s->pool);
}

static void claim_second(scene_t *s)
{
    idem_token_t token;
    idem_blob_t record;
    idem_claim_t claim;

    (void)ask_at(s->store, s->key2, s->key2, 0, T0, &claim, &token, &record,
                 s->pool);
}

static void commit_in_child(scene_t *s)
{
    idem_token_t token = s->flags->token;

    (void)commit(s->store, &token, s->key, T0, 0);
}

static void release(scene_t *s)
{
    idem_token_t token = s->flags->token;

    (void)idem_store_release(s->store, &token);
}

static void abandon(scene_t *s)
{
    idem_token_t token = s->flags->token;

    (void)idem_store_abandon(s->store, &token, T0);
}

static void forget(scene_t *s)
{
    idem_digest_t id = digest(s->key);

    (void)idem_store_forget(s->store, &id);
}

/* One step over the shard: the look at 8192 rows of the owner table, which
 * comes before it, changes none of this. */
static void purge(scene_t *s)
{
    idem_shm_purge_step((const idem_shm_store_t *)s->store, 0, LATE);
}

/* As a request does that finds no room. */
static void purge_inside(scene_t *s)
{
    const idem_shm_store_t *shm = (const idem_shm_store_t *)s->store;

    if (idem_shm_enter(shm, 0, IDEM_SHM_LOCK_WAIT) == APR_SUCCESS) {
        idem_shm_purge_locked(shm, part_of(s->store, 0), LATE);
        idem_shm_leave(shm, 0);
    }
}

void enter(scene_t *s)
{
    (void)idem_store_shm_child_init(s->store);
}

static void put_key(scene_t *s)
{
    put_filled(s, s->key, T0, 0);
}

/* Of these a tombstone is to stay, when they have expired. */
static void put_mortal(scene_t *s)
{
    put_filled(s, s->key, T0, 10 * TTL);
}

static void claim_late(scene_t *s)
{
    idem_token_t token;
    idem_blob_t record;
    idem_claim_t claim;

    (void)ask_at(s->store, s->key, s->key, 0, LATE, &claim, &token, &record,
                 s->pool);
}

static void bury(scene_t *s)
{
    put_mortal(s);
    claim_late(s);
}

static void claim_when_over(scene_t *s)
{
    idem_token_t token;
    idem_blob_t record;
    idem_claim_t claim;

    (void)ask_at(s->store, s->key, s->key, 0, OVER, &claim, &token, &record,
                 s->pool);
}

static void make_unknown(scene_t *s)
{
    idem_token_t token;
    idem_blob_t record;

    (void)claim_at(s->store, s->key, s->key, T0, &token, &record, s->pool);
    assert_int_equal(idem_store_abandon(s->store, &token, T0), APR_SUCCESS);
}

static void hold(scene_t *s)
{
    idem_blob_t record;

    (void)claim_at(s->store, s->key, s->key, T0, &s->held, &record, s->pool);
    s->has_held = 1;
}

/* Nothing but holes: the answer comes to lie in many extents. */
static void fill_with_holes(scene_t *s)
{
    char data[UNITS * IDEM_SHM_UNIT];
    struct iovec vec = { data, 0 };
    apr_uint32_t first = key_in(s->store, 0, 10000);
    apr_uint32_t n = key_in(s->store, 0, first + 1);
    apr_uint32_t last;
    idem_token_t token;
    idem_blob_t record;

    memset(data, 0, sizeof(data));
    (void)claim_at(s->store, first, first, T0, &token, &record, s->pool);
    while (put(s->store, n, 100, T0, s->pool) == APR_SUCCESS) {
        n = key_in(s->store, 0, n + 1);
    }
    /* Claims leave a rest to the answers: that goes too. */
    vec.iov_len = part_of(s->store, 0)->shard->free_units * IDEM_SHM_UNIT;
    assert_int_equal(idem_store_commit(s->store, &token, IDEM_END_DONE, &vec,
                                       1, &(idem_term_t){ T0, TTL, 0 }),
                     APR_SUCCESS);
    last = n;
    for (n = key_in(s->store, 0, first + 1); n < last;
         n = key_in(s->store, 0, n + 3)) {
        idem_digest_t id = digest(n);

        assert_int_equal(idem_store_forget(s->store, &id), APR_SUCCESS);
    }
}

/* The same, and what is to be buried lies in them. */
static void put_into_holes(scene_t *s)
{
    fill_with_holes(s);
    put_mortal(s);
}

/* Expired records, a claim of a dead process, and one of a dead process that
 * the administrator had released. */
static void leave_remains_of(scene_t *s, apr_interval_time_t tombstone)
{
    idem_digest_t id = digest(77001);
    int status;
    pid_t pid;

    put_filled(s, s->key, T0, tombstone);
    put_filled(s, 77002, T0, 0);
    pid = fork();
    if (pid == 0) {
        idem_token_t token;
        idem_blob_t record;
        idem_claim_t claim;

        (void)idem_store_shm_child_init(s->store);
        claim_second(s);
        (void)ask_at(s->store, 77001, 77001, 0, T0, &claim, &token, &record,
                     s->pool);
        raise(SIGSTOP);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_int_equal(idem_store_forget(s->store, &id), APR_SUCCESS);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    idem_store_shm_child_died(s->store, pid);
}

static void leave_remains(scene_t *s)
{
    leave_remains_of(s, 0);
}

static void leave_mortal_remains(scene_t *s)
{
    leave_remains_of(s, 10 * TTL);
}

/* name, prepare, ready, act, allowed, allowed2, now, first, depth */
static const op_t op_claim = {
    "claim", NULL, NULL, claim_in_child, ABSENT | UNKNOWN, 0, T0, NULL, 0
};
static const op_t op_commit = {
    "commit", NULL, claim_in_child, commit_in_child, DONE | UNKNOWN, 0, T0,
    NULL,     0
};
static const op_t op_release = {
    "release", NULL, claim_in_child, release, ABSENT | UNKNOWN, 0, T0, NULL, 0
};
static const op_t op_bury = { "bury", put_mortal, NULL, claim_late, EXPIRED,
                              0,      LATE,       NULL, 0 };

const op_t ops[] = {
    { "claim", NULL, NULL, claim_in_child, ABSENT | UNKNOWN, 0, T0, NULL, 0 },
    { "claim, rerun", make_unknown, NULL, rerun, UNKNOWN, 0, T0, NULL, 0 },
    { "look-up", put_key, NULL, claim_in_child, DONE, 0, T0, NULL, 0 },
    { "commit", NULL, claim_in_child, commit_in_child, DONE | UNKNOWN, 0, T0,
      NULL, 0 },
    { "release", NULL, claim_in_child, release, ABSENT | UNKNOWN, 0, T0, NULL,
      0 },
    { "abandon", NULL, claim_in_child, abandon, UNKNOWN, 0, T0, NULL, 0 },
    { "forget, done", put_key, NULL, forget, DONE | ABSENT, 0, T0, NULL, 0 },
    { "forget, running", hold, NULL, forget, RUNNING | ABSENT, 0, T0, NULL,
      0 },
    { "enter", NULL, NULL, enter, ABSENT, 0, T0, NULL, 0 },
    { "purge", leave_remains, NULL, purge, ABSENT, UNKNOWN, LATE, NULL, 0 },
    { "purge, inside", leave_remains, NULL, purge_inside, ABSENT, UNKNOWN,
      LATE, NULL, 0 },
    { "bury", put_mortal, NULL, claim_late, EXPIRED, 0, LATE, NULL, 0 },
    { "bury out of holes", put_into_holes, NULL, claim_late, EXPIRED, 0, LATE,
      NULL, 0 },
    { "purge, tombstone", leave_mortal_remains, NULL, purge, EXPIRED, UNKNOWN,
      LATE, NULL, 0 },
    { "forget, tombstone", bury, NULL, forget, EXPIRED | ABSENT, 0, LATE, NULL,
      0 },
    { "end of a tombstone", bury, NULL, claim_when_over, ABSENT | UNKNOWN, 0,
      OVER, NULL, 0 },
    { "repair of a commit", NULL, NULL, claim_second, UNKNOWN,
      ABSENT | UNKNOWN, T0, &op_commit, 200 },
    { "repair of a release", NULL, NULL, claim_second, ABSENT | UNKNOWN,
      ABSENT | UNKNOWN, T0, &op_release, 60 },
    { "repair of a claim", NULL, NULL, claim_second, ABSENT | UNKNOWN,
      ABSENT | UNKNOWN, T0, &op_claim, 150 },
    { "repair of a burial", put_mortal, NULL, claim_second, EXPIRED,
      ABSENT | UNKNOWN, LATE, &op_bury, BURIAL },
    { "commit into holes", fill_with_holes, claim_in_child, commit_in_child,
      DONE | UNKNOWN, 0, T0, NULL, 0 },
};

const size_t nops = sizeof(ops) / sizeof(ops[0]);
