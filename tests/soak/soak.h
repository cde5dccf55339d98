/* soak.h: what the parts of the soak share: the model, and who they are.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The model of a key is one word: number of the life that was noted last
 * (40 bits), forgets begun (16), what its owner was about to do (8). A process
 * notes before a call what it is going to do, and after it what it has done,
 * so that one that was killed leaves the word where both are right. Between a
 * claim and its note another process may forget the key: the count of forgets
 * tells, and that life is in doubt.
 *
 * Time is the model's: a second for each kill. A process says first by which
 * time it is going to ask, so that it is known from when on a claim of a dead
 * one may have been settled (soak_now()).
 */
#ifndef SOAK_H
#define SOAK_H

#include "idem_store_shm.h"

#define WORKERS 8
#define KEYS 2048u
#define LIVES (1u << 20) /* a ring: the last so many are remembered */
#define ANSWER_MAX 16384u
#define T0 apr_time_from_sec(1000000)

enum {
    NONE,
    RUNS,
    COMMITS,
    DONE,
    RELEASES,
    ABANDONS,
    FORGETS,
    GONE,
    DOUBT
};
enum {
    LOST,
    TORN,
    DOUBLE,
    STUCK,
    NFAULTS
};

/* One execution. */
typedef struct {
    apr_uint64_t fence;
    apr_time_t unknown_until; /* not earlier, if it ends unknown */
    apr_time_t until;         /* of the answer */
    apr_time_t buried_until;  /* of its tombstone; = until: there is none */
    apr_uint32_t slot;
    apr_uint32_t birth; /* of the process */
} life_t;

typedef struct {
    apr_time_t now;
    apr_uint64_t nlives;
    apr_time_t asks[WORKERS]; /* by what time, not later than now */
    apr_uint64_t ops[WORKERS];
    apr_uint32_t doomed[WORKERS];  /* births up to this are dead or dying */
    apr_uint32_t reaped[WORKERS];  /* births up to this are dead */
    apr_uint32_t forgetting[KEYS]; /* birth * WORKERS + slot */
    apr_uint64_t faults[NFAULTS];
    apr_uint64_t replays;
    apr_uint64_t late; /* claims that met a tombstone */
    apr_uint64_t runs;
    apr_uint64_t refused;
    apr_uint64_t gave_up; /* calls that waited a second for a lock */
    apr_uint64_t unjudged;
    apr_uint64_t word[KEYS];
    life_t life[LIVES];
} model_t;

/* ---- soak.c */

extern model_t *model;
extern idem_store_t *store;
extern apr_uint32_t slot;
extern apr_uint32_t birth;

/* ---- soak_model.c */

void fault(int kind, apr_uint32_t key, const char *what);
/** A call could not have a lock in time: the one that has it may not have had
 *  the processor. Again and again, that is a fault. */
void gave_up(apr_uint32_t key, apr_status_t rv);
void did_not_give_up(void);
apr_uint64_t word_of(apr_uint32_t key);
int swap(apr_uint32_t key, apr_uint64_t was, apr_uint64_t is);
int state_of(apr_uint64_t w);
apr_uint32_t forgets_of(apr_uint64_t w);
apr_uint64_t with_state(apr_uint64_t w, int state);
life_t *life_of(apr_uint64_t w);
apr_time_t now_of(void);
/** The time to ask by; others are told. */
apr_time_t soak_now(void);
int is_forgetting(apr_uint32_t key);

/** Note a claim, asked for with @a ttl. @param before  the word before it
 *  @param busy  was somebody forgetting the key then?  @return the word */
apr_uint64_t note(apr_uint32_t key, apr_uint64_t before, int busy, int rerun,
                  const idem_token_t *token, apr_interval_time_t ttl);
/** A claim found @a claim; the word was the same before and after. */
void judge(apr_uint32_t key, apr_uint64_t w, idem_claim_t claim,
           apr_uint64_t fence, apr_time_t asked);

/* ---- soak_work.c */

apr_uint32_t roll(apr_uint32_t n);
void roll_from(apr_uint64_t begin);
/** Ask for a key, and do what a request would. @return what was found */
idem_claim_t once(apr_uint32_t key, int rerun, apr_pool_t *pool);
/** Do so for ever. */
void work(void);

#endif /* SOAK_H */
