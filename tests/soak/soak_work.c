/* soak_work.c: what a process of the soak does until it is killed.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "soak.h"

#include <string.h>
#include <unistd.h>

/* How an answer begins; all else follows from fence and key. */
typedef struct {
    apr_uint64_t fence;
    apr_uint32_t key;
    apr_uint32_t len;
} answer_t;

static apr_uint64_t seed;

void roll_from(apr_uint64_t begin)
{
    seed = begin;
}

apr_uint32_t roll(apr_uint32_t n)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (apr_uint32_t)(seed >> 33) % n;
}

/* ---------------------------------------------------------------- answers */

static apr_uint32_t fill(char *data, apr_uint32_t key, apr_uint64_t fence)
{
    apr_uint32_t len =
        sizeof(answer_t)
        + (apr_uint32_t)(fence * 2654435761u >> 7) % (ANSWER_MAX - 64);
    answer_t answer = { fence, key, len };
    apr_uint32_t i;

    memcpy(data, &answer, sizeof(answer));
    for (i = sizeof(answer); i < len; i++) {
        data[i] = (char)(fence * 31 + key + i * 7 + (i >> 8));
    }
    return len;
}

/* @return 1 if these are the bytes of one commit, whole */
static int is_answer(const idem_blob_t *record, apr_uint32_t key,
                     apr_uint64_t *fence)
{
    char data[ANSWER_MAX];
    answer_t answer;

    if (record->len < sizeof(answer)) {
        return 0;
    }
    memcpy(&answer, record->data, sizeof(answer));
    *fence = answer.fence;
    return answer.key == key && fill(data, key, answer.fence) == record->len
           && memcmp(data, record->data, record->len) == 0;
}

/* ------------------------------------------------------------------- work */

static void ended(apr_uint32_t key, apr_uint64_t w, apr_uint64_t is,
                  apr_status_t rv)
{
    if (APR_STATUS_IS_TIMEUP(rv) || APR_STATUS_IS_EBUSY(rv)) {
        gave_up(key, rv);
    }
    else if (rv == APR_SUCCESS) {
        (void)swap(key, w, is);
    }
    else if (state_of(w) != DOUBT && word_of(key) == w) {
        fault(LOST, key, "the claim was gone at its end");
    }
}

static void end_claim(apr_uint32_t key, apr_uint64_t w,
                      const idem_token_t *token, apr_pool_t *pool)
{
    char *data = apr_palloc(pool, ANSWER_MAX);
    struct iovec vec = { data, fill(data, key, token->fence) };
    apr_uint32_t what = roll(100);
    apr_interval_time_t ttl = apr_time_from_sec(20 + roll(400));
    apr_interval_time_t tombstone =
        roll(2) ? apr_time_from_sec(1 + roll(400)) : 0;
    apr_time_t now = soak_now();
    apr_uint64_t next;
    apr_status_t rv;

    if (what < 80) {
        life_of(w)->until = now + ttl;
        life_of(w)->buried_until = now + ttl + tombstone;
        next = with_state(w, state_of(w) == RUNS ? COMMITS : DOUBT);
        w = swap(key, w, next) ? next : w;
        rv = idem_store_commit(store, token, IDEM_END_DONE, &vec, 1,
                               &(idem_term_t){ now, ttl, tombstone });
        if (rv != APR_ENOSPC) {
            ended(key, w, with_state(w, state_of(w) == COMMITS ? DONE : DOUBT),
                  rv);
            return;
        }
        __atomic_add_fetch(&model->refused, 1, __ATOMIC_RELAXED);
        what = 80;
    }
    next = with_state(w, state_of(w) == DOUBT ? DOUBT
                         : what < 90          ? RELEASES
                                              : ABANDONS);
    w = swap(key, w, next) ? next : w;
    if (what < 90) {
        rv = idem_store_release(store, token);
        next = with_state(w, state_of(w) == DOUBT ? DOUBT : GONE);
    }
    else {
        rv = idem_store_abandon(store, token, now);
        next = w;
    }
    ended(key, w, next, rv);
}

static void forget(apr_uint32_t key, const idem_digest_t *id)
{
    apr_uint32_t by =
        __atomic_load_n(&model->forgetting[key], __ATOMIC_SEQ_CST);
    apr_uint64_t was;
    apr_uint64_t w;

    if (is_forgetting(key)
        || !__atomic_compare_exchange_n(&model->forgetting[key], &by,
                                        birth * WORKERS + slot, 0,
                                        __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
        return;
    }
    do {
        was = word_of(key);
        w = (was & ~(apr_uint64_t)0xffffff)
            | (apr_uint64_t)((forgets_of(was) + 1) & 0xffff) << 8 | FORGETS;
    } while (!swap(key, was, w));
    (void)idem_store_forget(store, id);
    (void)swap(key, w, with_state(w, DOUBT));
    __atomic_store_n(&model->forgetting[key], 0, __ATOMIC_SEQ_CST);
}

static void digest(idem_digest_t *id, apr_uint32_t key)
{
    apr_uint64_t x = key + 1;
    unsigned int i;

    for (i = 0; i < sizeof(id->bytes); i++) {
        x = x * 6364136223846793005ull + 1442695040888963407ull;
        id->bytes[i] = (unsigned char)(x >> 40);
    }
}

idem_claim_t once(apr_uint32_t key, int rerun, apr_pool_t *pool)
{
    /* The same for all: a process that is killed before it notes its rerun
     * may not leave an earlier end than the one that was noted. */
    apr_interval_time_t ttl = apr_time_from_sec(60);
    idem_claim_t claim = IDEM_CLAIM_IN_PROGRESS;
    apr_uint64_t before = word_of(key);
    int busy = is_forgetting(key);
    apr_time_t now = soak_now();
    apr_uint64_t fence = 0;
    idem_digest_t id;
    idem_token_t token;
    idem_blob_t record;
    apr_status_t rv;
    idem_ask_t ask = { &id, &id, 7, 0, rerun, now, ttl };

    digest(&id, key);
    rv = idem_store_claim(store, &claim, &token, &record, &ask, pool);
    if (rv == APR_ENOSPC) {
        __atomic_add_fetch(&model->refused, 1, __ATOMIC_RELAXED);
        if (word_of(key) == before) {
            /* The key was absent, then. */
            judge(key, before, IDEM_CLAIM_NEW, 0, now);
        }
        return IDEM_CLAIM_NEW;
    }
    if (rv != APR_SUCCESS) {
        gave_up(key, rv);
        return IDEM_CLAIM_NEW;
    }
    did_not_give_up();
    if (claim == IDEM_CLAIM_NEW) {
        apr_uint64_t w = note(key, before, busy, rerun, &token, ttl);

        __atomic_add_fetch(&model->runs, 1, __ATOMIC_RELAXED);
        end_claim(key, w, &token, pool);
        return claim;
    }
    if (claim == IDEM_CLAIM_DONE) {
        __atomic_add_fetch(&model->replays, 1, __ATOMIC_RELAXED);
        if (!is_answer(&record, key, &fence)) {
            fault(TORN, key, "bytes that nobody committed");
        }
    }
    if (claim == IDEM_CLAIM_EXPIRED) {
        __atomic_add_fetch(&model->late, 1, __ATOMIC_RELAXED);
    }
    if (word_of(key) == before) {
        judge(key, before, claim, fence, now);
    }
    return claim;
}

/* As an administrator does. The store's own time is another than the
 * model's: only what is there can be judged. */
static void look(apr_uint32_t key, const idem_digest_t *id, apr_pool_t *pool)
{
    idem_entry_t entries[64];
    apr_uint64_t cursor = (apr_uint64_t)(1 + key % 2) << 32;
    apr_uint64_t fence;
    idem_blob_t record;
    int n = 64;
    apr_status_t rv;

    if (idem_store_look(store, entries, &record, id, pool) == APR_SUCCESS
        && entries[0].life == IDEM_LIFE_DONE
        && !is_answer(&record, key, &fence)) {
        fault(TORN, key, "an administrator sees what nobody committed");
    }
    rv = idem_store_list(store, entries, &n, &cursor);
    if (rv != APR_SUCCESS) {
        gave_up(key, rv);
    }
}

void work(void)
{
    apr_pool_t *pool;

    if (apr_pool_create(&pool, NULL) != APR_SUCCESS
        || idem_store_shm_child_init(store) != APR_SUCCESS) {
        fault(STUCK, 0, "a process could not enter");
        _exit(1);
    }
    roll_from(birth * 7919u + slot);
    for (;;) {
        apr_uint32_t key = roll(KEYS);
        apr_uint32_t what = roll(200);
        idem_digest_t id;

        if (what == 0) {
            digest(&id, key);
            forget(key, &id);
        }
        else if (what == 1) {
            idem_store_purge(store, soak_now());
        }
        else if (what == 2) {
            digest(&id, key);
            look(key, &id, pool);
        }
        else {
            (void)once(key, what < 40, pool);
        }
        __atomic_add_fetch(&model->ops[slot], 1, __ATOMIC_RELAXED);
        apr_pool_clear(pool);
    }
}
