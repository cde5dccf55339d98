/* idem_redis.h: private to the store in Redis.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IDEM_REDIS_H
#define IDEM_REDIS_H

#include <pthread.h>

#include <hiredis.h>

#include "idem_store_redis.h"

/** The longest record: Redis would take more, but works on one at a time. */
#define IDEM_REDIS_RECORD_MAX ((apr_size_t)16 * 1024 * 1024)
#define IDEM_REDIS_PREFIX_MAX 64
#define IDEM_REDIS_KEY_LEN (IDEM_REDIS_PREFIX_MAX + 2 * IDEM_DIGEST_LEN + 4)
#define IDEM_REDIS_PROOF_LEN 16
#define IDEM_REDIS_ADDRS_MAX 16

/* ---- options, idem_redis_conf.c */

typedef struct {
    const char *host;
    int port;
} idem_redis_addr_t;

struct idem_redis_conf_t {
    idem_redis_addr_t addrs[IDEM_REDIS_ADDRS_MAX]; /* Redis, or sentinels */
    int naddrs;
    const char *master; /* the name that sentinels know; NULL: no sentinels */
    int tls;
    int db;
    const char *user; /* NULL: the default user */
    const char *password;
    const char *prefix;
    apr_interval_time_t connect;
    apr_interval_time_t timeout;
    apr_interval_time_t lease;
    int pool_min;
    int pool_max;
    int replicas;
    int has_secret;
    unsigned char secret[IDEM_DIGEST_LEN];
};

/* ---- connections, idem_redis_conn.c and idem_redis_pool.c */

typedef struct idem_redis_conn_t {
    redisContext *c;
    struct idem_redis_conn_t *next; /* while idle */
    apr_time_t used;                /* when it was last given back */
    unsigned generation;
    int allow_oom; /* its Redis knows scripts that may go over maxmemory */
} idem_redis_conn_t;

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t freed;
    idem_redis_conn_t *idle; /* last used first */
    int nidle;
    idem_redis_conn_t *late; /* given back without the lock; atomic */
    int nopen;               /* idle and in use */
    unsigned generation;     /* connections of an older one are dropped */
    /* Circuit breaker: see idem_redis_pool.c. */
    int failures; /* in a row */
    apr_time_t until;
    apr_interval_time_t pause;
    int probing;
} idem_redis_pool_t;

/* ---- scripts, idem_redis_script.c */

typedef enum {
    IDEM_REDIS_CLAIM,
    IDEM_REDIS_COMMIT,
    IDEM_REDIS_RELEASE,
    IDEM_REDIS_ABANDON,
    IDEM_REDIS_RENEW,
    IDEM_REDIS_FORGET,
    IDEM_REDIS_LOOK,
    IDEM_REDIS_SCRIPTS
} idem_redis_script_t;

typedef struct {
    const char *text;
    apr_size_t len;
    char sha[41];
} idem_redis_code_t;

/** What release, abandon, commit and renew answer. */
#define IDEM_REDIS_OK 1
#define IDEM_REDIS_GONE 0      /* not there, or somebody else's */
#define IDEM_REDIS_LAPSED (-1) /* the lease was over */

/* ---- claims of this process, idem_redis_held.c */

typedef enum {
    IDEM_REDIS_SLOT_FREE,
    IDEM_REDIS_SLOT_HELD,    /* to be renewed */
    IDEM_REDIS_SLOT_SETTLED, /* by a signal handler, which cannot free it */
    IDEM_REDIS_SLOT_ABANDON, /* could not be abandoned in time */
    IDEM_REDIS_SLOT_UNDO     /* a claim whose answer was lost: nothing runs */
} idem_redis_slot_state_t;

typedef struct {
    int state; /* idem_redis_slot_state_t; changed by signal handlers too */
    int rerun; /* it may have taken over an unknown record */
    int lost;  /* said once */
    int tries;
    apr_uint64_t fence;
    apr_time_t since; /* of the last renewal, or of this state */
    idem_digest_t id;
    apr_uint64_t ttl_ms;
    apr_uint32_t next; /* free slots */
} idem_redis_slot_t;

#define IDEM_REDIS_CHUNK 256u
#define IDEM_REDIS_CHUNKS 256u

typedef struct {
    pthread_mutex_t lock;
    idem_redis_slot_t *chunks[IDEM_REDIS_CHUNKS];
    apr_uint32_t nchunks;
    apr_uint32_t free; /* + 1; 0: none */
} idem_redis_held_t;

/* ---- the store */

typedef struct {
    idem_store_t
        base; /* first: an idem_redis_store_t * is an idem_store_t * */
    const idem_redis_conf_t *conf;
    apr_time_t offset; /* from the uptime of the machine to the store's time */
    pid_t maker;       /* whose memory connections and slots are */
    apr_uint64_t owner;
    apr_uint64_t fence;
    /* The second of each may go over maxmemory: only for results, which have
     * to find room. */
    idem_redis_code_t code[IDEM_REDIS_SCRIPTS][2];
    idem_redis_pool_t pool;
    idem_redis_held_t held;
    pthread_mutex_t news_lock;
    idem_redis_news_t news;
    idem_usage_t usage; /* as it was at usage_at */
    apr_time_t usage_at;
} idem_redis_store_t;

/** Uptime in microseconds: for deadlines. */
apr_time_t idem_redis_uptime(void);

/** The time by the clock that this store shows. */
apr_time_t idem_redis_now(const idem_store_t *store);

/** The two keys of an id: with one hash tag, so that they stay together. */
typedef struct {
    char record[IDEM_REDIS_KEY_LEN + 1];
    char body[IDEM_REDIS_KEY_LEN + 1];
    apr_size_t len; /* of record; body has one more */
} idem_redis_keys_t;

void idem_redis_keys(idem_redis_keys_t *keys, const idem_redis_store_t *redis,
                     const idem_digest_t *id);

/** Microseconds to milliseconds, up. */
apr_uint64_t idem_redis_ms(apr_interval_time_t t);

/** Tell what failed; the text is cut. */
void idem_redis_failed(idem_redis_store_t *redis, const char *text);

/* ---- idem_redis_conn.c: one connection, every wait bounded */

/**
 * Connect to the Redis that takes writes, and greet it.
 * @return the system's error; APR_EACCES if the password is refused;
 *         APR_EBUSY if it loads or is no master; APR_TIMEUP
 */
apr_status_t idem_redis_connect(idem_redis_conn_t **conn,
                                idem_redis_store_t *redis);
void idem_redis_disconnect(idem_redis_conn_t *conn);

/** Queue a command; nothing is sent. */
apr_status_t idem_redis_queue(idem_redis_conn_t *conn, int argc,
                              const char **argv, const apr_size_t *len);

/**
 * Send what is queued, take one reply.
 * @return APR_SUCCESS: a reply, which may be an error; APR_EOF if Redis had
 *         closed the connection; APR_TIMEUP; or the system's error. After
 *         a failure the connection cannot be used any more
 */
apr_status_t idem_redis_reply(idem_redis_conn_t *conn, redisReply **reply,
                              apr_time_t deadline);

/** What an error reply means. */
apr_status_t idem_redis_status_of(const redisReply *reply);

/** Did Redis close it, or say something nobody asked for, while it lay? */
int idem_redis_is_stale(const idem_redis_conn_t *conn);

/* ---- idem_redis_pool.c */

void idem_redis_pool_init(idem_redis_pool_t *pool);
/** Close what lies idle. */
void idem_redis_pool_close(idem_redis_pool_t *pool);

/**
 * A connection for one call, which waits for a free one at most until the
 * deadline. What fails is told to the breaker.
 * @return APR_EAGAIN while the breaker is open
 */
apr_status_t idem_redis_take(idem_redis_conn_t **conn,
                             idem_redis_store_t *redis, apr_time_t deadline);

/**
 * Give it back.
 * @param rv  how the call went: a connection that failed is closed, and the
 *            breaker counts it
 */
void idem_redis_give(idem_redis_store_t *redis, idem_redis_conn_t *conn,
                     apr_status_t rv);

/** Close what lies idle for long, keep the least number open. */
void idem_redis_pool_tend(idem_redis_store_t *redis);

/** For signal handlers: one that lies idle; waits 20 ms at most for it. */
idem_redis_conn_t *idem_redis_take_idle(idem_redis_store_t *redis);
void idem_redis_give_idle(idem_redis_store_t *redis, idem_redis_conn_t *conn);

/* ---- idem_redis_script.c: calls */

#define IDEM_REDIS_ARGS_MAX 10

typedef struct {
    idem_redis_script_t script;
    idem_redis_keys_t keys;
    const char *argv[IDEM_REDIS_ARGS_MAX];
    apr_size_t len[IDEM_REDIS_ARGS_MAX];
    int argc;
    int again_as; /* 1 + the argument that says "sent twice"; 0: none */
    int wait;     /* for the configured replicas, if the reply is a success */
    int maybe;    /* out: on failure: Redis may have run it all the same */
    apr_status_t acks; /* out: of idem_redis_wait(), where it was asked */
} idem_redis_call_t;

apr_status_t idem_redis_code_init(idem_redis_store_t *redis, apr_pool_t *pool);

void idem_redis_call_init(idem_redis_call_t *call,
                          const idem_redis_store_t *redis,
                          idem_redis_script_t script, const idem_digest_t *id);
void idem_redis_arg(idem_redis_call_t *call, const void *data, apr_size_t len);

/**
 * Run a script in one round trip; two if Redis has lost it, or if the
 * connection turns out to be dead before an answer.
 * @param reply  out: never an error reply; to be freed by the caller
 */
apr_status_t idem_redis_run(idem_redis_store_t *redis, redisReply **reply,
                            idem_redis_call_t *call);

/** The same on a connection at hand. */
apr_status_t idem_redis_run_on(idem_redis_store_t *redis,
                               idem_redis_conn_t *conn, redisReply **reply,
                               const idem_redis_call_t *call,
                               apr_time_t deadline);

/** Queue a call, for pipelines; by name only. */
apr_status_t idem_redis_queue_call(const idem_redis_store_t *redis,
                                   idem_redis_conn_t *conn,
                                   const idem_redis_call_t *call, int whole);

/**
 * WAIT for the configured replicas.
 * @return APR_SUCCESS if enough acknowledged;
 *         APR_INCOMPLETE if too few did; or why it could not be asked
 */
apr_status_t idem_redis_wait(idem_redis_store_t *redis,
                             idem_redis_conn_t *conn);

/* ---- idem_redis_body.c */

/** The record in one piece, compressed if it is long and that helps. */
typedef struct {
    char *data; /* malloc */
    apr_size_t len;
    apr_size_t raw_len;
    int deflated;
} idem_redis_body_t;

apr_status_t idem_redis_pack(idem_redis_body_t *body, const struct iovec *vec,
                             int nvec);
/** @return APR_EGENERAL if it is not what it claims to be */
apr_status_t idem_redis_unpack(idem_blob_t *record, const char *data,
                               apr_size_t len, apr_uint64_t raw_len,
                               int deflated, apr_pool_t *pool);

/* ---- idem_redis_held.c */

apr_status_t idem_redis_held_init(idem_redis_held_t *held);
void idem_redis_held_free(idem_redis_held_t *held);
/** A slot for a claim that is about to be made. @return APR_ENOMEM */
apr_status_t idem_redis_hold(idem_redis_store_t *redis, idem_token_t *token,
                             const idem_ask_t *ask);
/** NULL if this token's claim has been settled. */
idem_redis_slot_t *idem_redis_slot(idem_redis_store_t *redis,
                                   const idem_token_t *token);
void idem_redis_drop(idem_redis_store_t *redis, const idem_token_t *token);
/** Change a slot without a lock, from anywhere. */
void idem_redis_mark(idem_redis_slot_t *slot, idem_redis_slot_state_t state);
/** The claim may have been made though nobody runs: take it back later. */
void idem_redis_undo_later(idem_redis_store_t *redis,
                           const idem_token_t *token);
/** One round: renew, abandon, undo. */
void idem_redis_held_tend(idem_redis_store_t *redis);
void idem_redis_proof(char proof[IDEM_REDIS_PROOF_LEN],
                      const idem_redis_store_t *redis, apr_uint64_t fence);

/* ---- idem_redis_abandon.c: from signal handlers */

apr_status_t idem_redis_abandon(idem_store_t *store, const idem_token_t *token,
                                apr_time_t now);

/* ---- idem_redis_look.c */

apr_status_t idem_redis_look(idem_store_t *store, idem_entry_t *entry,
                             idem_blob_t *record, const idem_digest_t *id,
                             apr_pool_t *pool);
apr_status_t idem_redis_list(idem_store_t *store, idem_entry_t *entries,
                             int *n, apr_uint64_t *cursor);
void idem_redis_usage(idem_store_t *store, idem_usage_t *usage);
const char *idem_redis_whole(idem_store_t *store, apr_pool_t *pool);

#endif /* IDEM_REDIS_H */
