/* store_step.h: the operations that test_store_step.c lets processes die in.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STORE_STEP_H
#define STORE_STEP_H

#include "store_shm_test.h"

#define LEN 600u
#define TWO_SHARDS (16u << 20)
#define LATE (T0 + TTL + 1)
#define OVER (T0 + 12 * TTL) /* for tombstones, too */
/* Units of a shard: so few that a repair is short. */
#define UNITS 512u

#define BIT(claim) (1u << (claim))
#define ABSENT BIT(IDEM_CLAIM_NEW)
#define RUNNING BIT(IDEM_CLAIM_IN_PROGRESS)
#define DONE BIT(IDEM_CLAIM_DONE)
#define UNKNOWN BIT(IDEM_CLAIM_UNKNOWN)
#define EXPIRED BIT(IDEM_CLAIM_EXPIRED)

/* Instructions inside the lock until a tombstone is half made. */
#define BURIAL 300

typedef struct op_t op_t;

/* What parent and child tell each other. */
typedef struct {
    int begun;
    int ended;
    idem_token_t token; /* of the child */
} flags_t;

typedef struct {
    const op_t *op;
    apr_pool_t *pool;
    idem_store_t *store;
    volatile flags_t *flags;
    apr_uint32_t key;       /* what the operation is about */
    apr_uint32_t key2;      /* a second one, for some */
    apr_uint32_t bystander; /* a record that nobody touches */
    apr_uint32_t other;     /* absent, in another shard; 0: there is none */
    idem_token_t held;      /* claim of the parent, if any */
    int has_held;
    int rows; /* of the owner table, before the child */
} scene_t;

struct op_t {
    const char *name;
    void (*prepare)(scene_t *s); /* in the parent */
    void (*ready)(scene_t *s);   /* in the child, before it is stepped */
    void (*act)(scene_t *s);
    unsigned int allowed;  /* for key, afterwards */
    unsigned int allowed2; /* for key2; 0: there is none */
    apr_time_t now;        /* when it is looked at */
    const op_t *first;     /* somebody died in this before */
    unsigned int depth;    /* so many instructions inside the lock */
};

/** All operations. */
extern const op_t ops[];
extern const size_t nops;

/** A process enters itself: the one operation on the owner table. */
void enter(scene_t *s);

/** Are these the bytes of n, whole? */
int is_filled(const idem_blob_t *record, apr_uint32_t n);
void put_filled(scene_t *s, apr_uint32_t n, apr_time_t now,
                apr_interval_time_t tombstone);
/** The first number from @a n on whose id is in shard @a i. */
apr_uint32_t key_in(idem_store_t *store, apr_uint32_t i, apr_uint32_t n);

#endif /* STORE_STEP_H */
