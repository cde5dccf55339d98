/* mod_idempotency.h: the store interface, all that a store module needs.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A store keeps one record per id. The id is a keyed 256-bit digest over
 * virtual host, principal and key; the store never sees a client's key.
 *
 * The life of an id (contract: at most one execution while a record lives):
 *
 *             claim -> NEW             commit
 *   [absent] ------------> [executing] ------> [done | not retained]
 *      ^                      |    |                   |
 *      |       release        |    | abandon,          | ttl
 *      +----------------------+    | owner died        v
 *      +---------- ttl ------- [unknown]       [absent | expired]
 *
 *   executing     a living process runs the request; it never lapses while
 *                 that process lives.
 *   done          the answer is recorded and never changes again.
 *   not retained  executed; the answer was not kept (the record holds what
 *                 was kept of it, see lib/idem_record.h).
 *   unknown       an execution may or may not have happened.
 *   expired       a tombstone: the id ran once, which is all that is known.
 *
 * Times are microseconds of the clock that the caller passes in; a store
 * reads no clock of its own. Lengths are bytes.
 */
#ifndef MOD_IDEMPOTENCY_H
#define MOD_IDEMPOTENCY_H

#include <sys/uio.h>

#include <apr_errno.h>
#include <apr_pools.h>
#include <apr_time.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Provider group and version under which httpd store modules register. */
#define IDEM_STORE_PROVIDER_GROUP "idempotency-store"
#define IDEM_STORE_PROVIDER_VERSION "0"

#define IDEM_DIGEST_LEN 32

/** A 256-bit digest: an id or a fingerprint. */
typedef struct {
    unsigned char bytes[IDEM_DIGEST_LEN];
} idem_digest_t;

/** Bytes owned by somebody else: by the pool named where it is filled. */
typedef struct {
    const char *data;
    apr_size_t len;
} idem_blob_t;

/** What a claim found. */
typedef enum {
    IDEM_CLAIM_NEW,          /* nobody had the id: the caller owns it now */
    IDEM_CLAIM_IN_PROGRESS,  /* another request owns it, not finished */
    IDEM_CLAIM_DONE,         /* finished: the record is handed out */
    IDEM_CLAIM_NOT_RETAINED, /* finished, answer not kept */
    IDEM_CLAIM_UNKNOWN,      /* an execution ended without known result */
    IDEM_CLAIM_EXPIRED,      /* finished once; only a tombstone is left */
    IDEM_CLAIM_REUSED        /* known id, but another fingerprint */
} idem_claim_t;

/** How an execution ended, for idem_store_commit(). */
typedef enum {
    IDEM_END_DONE,         /* the record is the whole answer */
    IDEM_END_NOT_RETAINED, /* executed, the record has no body */
    IDEM_END_UNKNOWN       /* nobody can say what happened; no record */
} idem_end_t;

/**
 * Proof of a claim. Plain data, filled by claim, passed back to commit,
 * release and abandon. A token whose claim is gone (an administrator
 * released it) is recognised: it then changes nothing.
 */
typedef struct {
    apr_uint64_t fence; /* unique per claim over the life of the store */
    apr_uint64_t owner; /* the process that claimed */
    apr_uint32_t shard; /* where, as the store counts */
    apr_uint32_t place;
    idem_digest_t id; /* for stores that have no place */
} idem_token_t;

/** What is asked of a claim. */
typedef struct {
    const idem_digest_t *id;
    const idem_digest_t *print; /* fingerprint of the request */
    apr_uint32_t host;          /* digest of the virtual host */
    int quota;                  /* percent the host may hold; 0: any */
    int rerun_unknown;          /* claim an unknown id anew */
    apr_time_t now;
    apr_interval_time_t ttl; /* kept so long if it ends unknown */
} idem_ask_t;

/** How long a result is kept, from now on. */
typedef struct {
    apr_time_t now;
    apr_interval_time_t ttl;
    /** After the ttl, id and fingerprint stay so long, to tell a late retry
     * from a new request; 0: no trace is left. Not for unknown results. */
    apr_interval_time_t tombstone;
} idem_term_t;

/** Where in its life a record is, for administrators. */
typedef enum {
    IDEM_LIFE_EXECUTING,
    IDEM_LIFE_DONE,
    IDEM_LIFE_NOT_RETAINED,
    IDEM_LIFE_UNKNOWN,
    IDEM_LIFE_EXPIRED
} idem_life_t;

/** What can be said of a record without its answer. */
typedef struct {
    idem_digest_t id;
    idem_digest_t print; /* zero where it is not kept whole */
    idem_life_t life;
    apr_uint32_t host;
    apr_time_t created; /* when it was claimed; 0: not known any more */
    apr_time_t expires; /* while executing: nothing */
    apr_size_t len;     /* bytes of the recorded answer */
} idem_entry_t;

/** Use of a store, for status pages. Summed without stopping anybody. */
typedef struct {
    apr_uint64_t size;      /* bytes the store may hold */
    apr_uint64_t used;      /* bytes held */
    apr_uint64_t executing; /* records by state */
    apr_uint64_t done;
    apr_uint64_t not_retained;
    apr_uint64_t unknown;
    apr_uint64_t tombstones;
    apr_time_t oldest;    /* end of life of the record that is next to
                           * expire, tombstones aside; 0: none, or not known.
                           * May be that of a record that is gone already:
                           * a store may correct it in the purge only */
    apr_uint64_t expired; /* records freed by look-up or purge so far */
    apr_uint64_t repairs; /* shards rebuilt after a crash so far */
    apr_uint64_t refused; /* claims refused for want of room so far */
} idem_usage_t;

typedef struct idem_store_t idem_store_t;

/** The calls a store implements; idem_store_*() check arguments first. */
typedef struct {
    apr_status_t (*claim)(idem_store_t *store, idem_claim_t *claim,
                          idem_token_t *token, idem_blob_t *record,
                          const idem_ask_t *ask, apr_pool_t *pool);
    apr_status_t (*commit)(idem_store_t *store, const idem_token_t *token,
                           idem_end_t end, const struct iovec *vec, int nvec,
                           const idem_term_t *term);
    apr_status_t (*release)(idem_store_t *store, const idem_token_t *token);
    apr_status_t (*abandon)(idem_store_t *store, const idem_token_t *token,
                            apr_time_t now);
    apr_status_t (*forget)(idem_store_t *store, const idem_digest_t *id);
    void (*purge)(idem_store_t *store, apr_time_t now);
    apr_size_t (*record_max)(const idem_store_t *store);
    void (*usage)(idem_store_t *store, idem_usage_t *usage);
    const char *(*check)(idem_store_t *store, apr_pool_t *pool);
    apr_time_t (*now)(const idem_store_t *store);
    apr_status_t (*look)(idem_store_t *store, idem_entry_t *entry,
                         idem_blob_t *record, const idem_digest_t *id,
                         apr_pool_t *pool);
    apr_status_t (*list)(idem_store_t *store, idem_entry_t *entries, int *n,
                         apr_uint64_t *cursor);
} idem_store_calls_t;

/** A store module embeds this as its first member. */
struct idem_store_t {
    const char *name; /* "shm", "redis": for log lines */
    const idem_store_calls_t *calls;
    /** The secret that ids are keyed with: all users of a store share it. */
    unsigned char secret[IDEM_DIGEST_LEN];
};

/**
 * Claim an id for one request, atomically over all users of the store.
 *
 * Of any number of callers with the same id, exactly one gets
 * IDEM_CLAIM_NEW. It must later call commit, release or abandon; if its
 * process dies first, the id becomes unknown.
 *
 * A known id with another fingerprint gives IDEM_CLAIM_REUSED whatever its
 * state, so that a client learns of its mistake before it waits.
 *
 * @param store   the store
 * @param claim   out: what was found; set only on APR_SUCCESS
 * @param token   out: on IDEM_CLAIM_NEW, the proof
 * @param record  out: from @a pool on IDEM_CLAIM_DONE and NOT_RETAINED;
 *                { NULL, 0 } otherwise
 * @param ask     id, fingerprint, limits, time
 * @param pool    for @a record
 * @return APR_SUCCESS; APR_ENOSPC if no room could be made or the host's
 *         quota is used up (nothing is claimed); APR_EINVAL for arguments
 *         out of range; APR_EGENERAL or the lock's error if the store
 *         cannot be used
 */
apr_status_t idem_store_claim(idem_store_t *store, idem_claim_t *claim,
                              idem_token_t *token, idem_blob_t *record,
                              const idem_ask_t *ask, apr_pool_t *pool);

/**
 * End a claim with a result. The time to live counts from term->now.
 *
 * @param vec, nvec  the record, in pieces; none for IDEM_END_UNKNOWN
 * @param term       now, and how long the result is kept
 * @return APR_SUCCESS; APR_NOTFOUND if the claim is gone (nothing stored);
 *         APR_ENOSPC if the record does not fit: the claim still stands
 *         and a shorter commit may follow
 */
apr_status_t idem_store_commit(idem_store_t *store, const idem_token_t *token,
                               idem_end_t end, const struct iovec *vec,
                               int nvec, const idem_term_t *term);

/**
 * End a claim as if it had never been: the request was not processed.
 * @return APR_SUCCESS; APR_NOTFOUND if the claim is gone
 */
apr_status_t idem_store_release(idem_store_t *store,
                                const idem_token_t *token);

/**
 * End a claim whose request ended without a result, as unknown, from a
 * place that must not block: pool cleanups run in signal handlers too
 * (httpd-prefork). Waits at most 100 ms for a lock, not at all if this
 * thread is inside the store. Failing is fine: the death of the owner
 * settles the claim.
 */
apr_status_t idem_store_abandon(idem_store_t *store, const idem_token_t *token,
                                apr_time_t now);

/**
 * Release an id, whatever its state: for administrators. The claim of a
 * request that still runs is gone then; it can neither store nor free
 * anything any more.
 * @return APR_SUCCESS; APR_NOTFOUND if nothing is recorded under the id
 */
apr_status_t idem_store_forget(idem_store_t *store, const idem_digest_t *id);

/** Free expired records and settle claims of the dead: one bounded step. */
void idem_store_purge(idem_store_t *store, apr_time_t now);

/** The longest record the store takes, in bytes. */
apr_size_t idem_store_record_max(const idem_store_t *store);

/** Sum up how full the store is. */
void idem_store_usage(idem_store_t *store, idem_usage_t *usage);

/** Walk everything. @return NULL, or what is wrong, from @a pool */
const char *idem_store_check(idem_store_t *store, apr_pool_t *pool);

/**
 * The time by the store's own clock, which claims and commits are to be told:
 * it must not jump when the machine's wall clock does.
 */
apr_time_t idem_store_now(const idem_store_t *store);

/**
 * Look at one record, whatever its state; changes nothing.
 * @param record  out: from @a pool, if an answer is kept; else { NULL, 0 }
 * @return APR_SUCCESS; APR_NOTFOUND; or why the store cannot be used
 */
apr_status_t idem_store_look(idem_store_t *store, idem_entry_t *entry,
                             idem_blob_t *record, const idem_digest_t *id,
                             apr_pool_t *pool);

/**
 * Go over all records in steps, each bounded, while requests come and go: a
 * record that is there all the time is met once, others may be missed.
 * @param n       in: room in @a entries, >= 1; out: how many were met, which
 *                may be 0 before the end
 * @param cursor  in and out: 0 to begin; 0 again at the end
 */
apr_status_t idem_store_list(idem_store_t *store, idem_entry_t *entries,
                             int *n, apr_uint64_t *cursor);

/**
 * A kind of store, by the name that IdempotencyStore uses: what a store
 * module registers under IDEM_STORE_PROVIDER_GROUP.
 */
typedef struct {
    /**
     * Take one name=value of IdempotencyStore.
     * @param conf  in and out: NULL at the first call of a directive
     * @return NULL, or what is wrong, with a value that works, from @a pool
     */
    const char *(*option)(void **conf, const char *name, const char *value,
                          apr_pool_t *pool);
    /**
     * After the last option.
     * @param conf  what option() made; NULL if no option was given
     * @return NULL, or what is missing, from @a pool
     */
    const char *(*check)(const void *conf, apr_pool_t *pool);
    /**
     * Open the store in the parent, before children exist, at every start
     * and restart. Nothing of it may be older than @a pool, which goes with
     * the configuration.
     * @param conf    what option() made; NULL if no option was given
     * @param detail  out: what was noticed, or why it failed; NULL if all
     *                is well
     */
    apr_status_t (*open)(idem_store_t **store, const char **detail, void *conf,
                         apr_pool_t *pool);
    /** In a new child, before its first request. */
    apr_status_t (*child_init)(idem_store_t *store, apr_pool_t *pool);
} idem_store_provider_t;

#ifdef __cplusplus
}
#endif

#endif /* MOD_IDEMPOTENCY_H */
