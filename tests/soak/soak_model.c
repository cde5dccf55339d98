/* soak_model.c: what each key of the soak may answer.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "soak.h"

#include <stdio.h>

/* So many times in a row, a second each. */
#define GIVE_UPS 5

void fault(int kind, apr_uint32_t key, const char *what)
{
    if (__atomic_fetch_add(&model->faults[kind], 1, __ATOMIC_RELAXED) < 20) {
        fprintf(stderr, "\nkey %u: %s\n", key, what);
    }
}

static int given_up;

void gave_up(apr_uint32_t key, apr_status_t rv)
{
    __atomic_add_fetch(&model->gave_up, 1, __ATOMIC_RELAXED);
    if (!(APR_STATUS_IS_TIMEUP(rv) || APR_STATUS_IS_EBUSY(rv))) {
        fprintf(stderr, "\nstatus %d\n", rv);
        fault(STUCK, key, "a call failed");
    }
    else if (++given_up >= GIVE_UPS) {
        fault(STUCK, key, "no lock, again and again");
    }
}

void did_not_give_up(void)
{
    given_up = 0;
}

/* ------------------------------------------------------------------ words */

apr_uint64_t word_of(apr_uint32_t key)
{
    return __atomic_load_n(&model->word[key], __ATOMIC_SEQ_CST);
}

int swap(apr_uint32_t key, apr_uint64_t was, apr_uint64_t is)
{
    return __atomic_compare_exchange_n(&model->word[key], &was, is, 0,
                                       __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

int state_of(apr_uint64_t w)
{
    return (int)(w & 0xff);
}

apr_uint32_t forgets_of(apr_uint64_t w)
{
    return (apr_uint32_t)(w >> 8) & 0xffff;
}

apr_uint64_t with_state(apr_uint64_t w, int state)
{
    return (w & ~(apr_uint64_t)0xff) | (apr_uint64_t)state;
}

life_t *life_of(apr_uint64_t w)
{
    return &model->life[(w >> 24) % LIVES];
}

apr_time_t now_of(void)
{
    return __atomic_load_n(&model->now, __ATOMIC_SEQ_CST);
}

static int is_dead(const life_t *life)
{
    return __atomic_load_n(&model->doomed[life->slot], __ATOMIC_SEQ_CST)
           >= life->birth;
}

/* Told before it is used, and looked at once more: whoever looks at asks
 * afterwards finds nothing later than what any call is made with. */
apr_time_t soak_now(void)
{
    apr_time_t now;

    do {
        now = now_of();
        __atomic_store_n(&model->asks[slot], now, __ATOMIC_SEQ_CST);
    } while (now_of() != now);
    return now;
}

/* The earliest time that any call is under way with. */
static apr_time_t earliest_ask(void)
{
    apr_time_t first = now_of();
    int i;

    for (i = 0; i < WORKERS; i++) {
        apr_time_t asks = __atomic_load_n(&model->asks[i], __ATOMIC_SEQ_CST);

        first = asks < first ? asks : first;
    }
    return first;
}

/* Is a forget of this key under way? It may hit whoever claims now. */
int is_forgetting(apr_uint32_t key)
{
    apr_uint32_t by =
        __atomic_load_n(&model->forgetting[key], __ATOMIC_SEQ_CST);

    return by != 0
           && __atomic_load_n(&model->reaped[by % WORKERS], __ATOMIC_SEQ_CST)
                  < by / WORKERS;
}

/* ------------------------------------------------------------------ judge */

/* May a claim have succeeded where the model stands at @a w? */
static int may_run(apr_uint64_t w, int rerun)
{
    const life_t *life = life_of(w);
    apr_time_t now = now_of();
    int gone = now >= life->unknown_until;

    switch (state_of(w)) {
    case RUNS:
        return is_dead(life) && (rerun || gone);
    case COMMITS:
        return (is_dead(life) && (rerun || gone)) || now >= life->buried_until;
    case DONE:
        return now >= life->buried_until;
    case ABANDONS:
        return rerun || gone;
    default:
        return 1;
    }
}

apr_uint64_t note(apr_uint32_t key, apr_uint64_t before, int busy, int rerun,
                  const idem_token_t *token, apr_interval_time_t ttl)
{
    apr_uint64_t n = __atomic_add_fetch(&model->nlives, 1, __ATOMIC_SEQ_CST);
    life_t *life = &model->life[n % LIVES];
    apr_uint64_t is;
    apr_uint64_t w;

    life->fence = token->fence;
    /* Dies the owner now, it is settled by a call that may have been made
     * before, or by a later one. */
    life->unknown_until = earliest_ask() + ttl;
    life->until = 0;
    life->buried_until = 0;
    life->slot = slot;
    life->birth = birth;
    do {
        int doubt;

        w = word_of(key);
        doubt =
            busy || forgets_of(w) != forgets_of(before) || is_forgetting(key);
        if (doubt) {
            __atomic_add_fetch(&model->unjudged, 1, __ATOMIC_RELAXED);
        }
        else if (w >> 24 && life_of(w)->fence >= token->fence) {
            fault(DOUBLE, key, "a fence no later than the last");
        }
        else if (!may_run(w, rerun)) {
            fprintf(stderr,
                    "\nstate %d, owner %s, rerun %d, now %ld, unknown until "
                    "%ld, until %ld, fence %lu after %lu\n",
                    state_of(w), is_dead(life_of(w)) ? "dead" : "alive", rerun,
                    (long)(now_of() / 1000000),
                    (long)(life_of(w)->unknown_until / 1000000),
                    (long)(life_of(w)->until / 1000000),
                    (unsigned long)token->fence,
                    (unsigned long)life_of(w)->fence);
            fault(state_of(w) == DONE ? LOST : DOUBLE, key,
                  "claimed while another execution was in force");
        }
        is = n << 24 | (w & 0xffff00) | (apr_uint64_t)(doubt ? DOUBT : RUNS);
    } while (!swap(key, w, is));
    return is;
}

static void judge_answer(apr_uint32_t key, apr_uint64_t w, apr_uint64_t fence,
                         apr_time_t asked)
{
    const life_t *life = life_of(w);
    int state = state_of(w);

    if (state != COMMITS && state != DONE && state != FORGETS
        && state != DOUBT) {
        fault(TORN, key, "an answer that is no longer in force");
    }
    else if (state != DOUBT && state != FORGETS && life->fence != fence) {
        fault(TORN, key, "the answer of another execution");
    }
    else if (state == DONE && asked >= life->until) {
        fault(TORN, key, "an answer that has expired");
    }
}

/* Somebody with a later time may have made the tombstone. */
static void judge_tombstone(apr_uint32_t key, apr_uint64_t w, apr_time_t asked)
{
    const life_t *life = life_of(w);
    int state = state_of(w);

    if (state == RUNS || state == RELEASES || state == ABANDONS
        || state == GONE || state == NONE) {
        fault(TORN, key, "a tombstone of what was not committed");
    }
    else if ((state == DONE || state == COMMITS) && now_of() < life->until) {
        fault(LOST, key, "a tombstone before its time");
    }
    else if ((state == DONE || state == COMMITS)
             && asked >= life->buried_until) {
        fault(TORN, key, "a tombstone after its time");
    }
}

void judge(apr_uint32_t key, apr_uint64_t w, idem_claim_t claim,
           apr_uint64_t fence, apr_time_t asked)
{
    const life_t *life = life_of(w);
    int state = state_of(w);

    if (claim == IDEM_CLAIM_DONE) {
        judge_answer(key, w, fence, asked);
        return;
    }
    if (claim == IDEM_CLAIM_EXPIRED) {
        judge_tombstone(key, w, asked);
        return;
    }
    if (state == DONE && now_of() < life->buried_until) {
        fault(LOST, key, "an answer or its tombstone is gone");
    }
    if (claim == IDEM_CLAIM_REUSED) {
        fault(TORN, key, "another fingerprint");
    }
    if (claim == IDEM_CLAIM_UNKNOWN && state == RUNS && !is_dead(life)) {
        fault(LOST, key, "settled although its owner lives");
    }
}
