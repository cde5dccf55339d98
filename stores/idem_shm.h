/* idem_shm.h: what the parts of the shm store share with each other.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The picture of the segment is at the top of idem_store_shm.c. Everything
 * named _locked wants the lock of the shard.
 */
#ifndef IDEM_SHM_H
#define IDEM_SHM_H

#include "idem_store_shm.h"

#define IDEM_SHM_PAGE 4096u
#define IDEM_SHM_UNIT 64u       /* bytes of a unit: a line of the cache */
#define IDEM_SHM_HEAD 2u        /* units of a head */
#define IDEM_SHM_LINK 8u        /* bytes of a link to the next extent */
#define IDEM_SHM_RUN_MAX 65535u /* units of an extent, see extn */
#define IDEM_SHM_ROWS 1024u     /* hosts that are told apart, per shard */
#define IDEM_SHM_PROBES 8u      /* rows that a host may take */
#define IDEM_SHM_OWNERS 8192u   /* processes at once, dying ones included */
#define IDEM_SHM_NONE 0xffffffffu

/* A day: for records whose own time to live cannot be believed. */
#define IDEM_SHM_TTL_FALLBACK apr_time_from_sec((apr_time_t)24 * 3600)
#define IDEM_SHM_TTL_MAX apr_time_from_sec((apr_time_t)10 * 366 * 24 * 3600)

/* What a unit is, one byte of the map each. FREE is what a new file holds. */
enum {
    IDEM_SHM_MAP_FREE,
    IDEM_SHM_MAP_HEAD,   /* first unit of a record's head */
    IDEM_SHM_MAP_EXTENT, /* first unit of a run of body */
    IDEM_SHM_MAP_MORE    /* goes on with what the unit before it is */
};

/* States of a head. Words far apart: a flipped bit makes none of another. */
#define IDEM_SHM_FREE 0u
#define IDEM_SHM_EXECUTING 0x5e1a06c3u
#define IDEM_SHM_DONE 0xa17f93d5u
#define IDEM_SHM_NOT_RETAINED 0x36c8e47au
#define IDEM_SHM_UNKNOWN 0xc99352e9u
#define IDEM_SHM_DETACHED 0x7d24b81eu /* released while its owner lived */
#define IDEM_SHM_EXPIRING 0x4f6b1d98u /* on its way to the next one */
#define IDEM_SHM_EXPIRED 0xe8d16c27u  /* a tombstone: one unit */

#define IDEM_SHM_PRINT 6u /* bytes of a fingerprint that a tombstone keeps */

/** What a record's first unit holds of it when only a tombstone is left. */
typedef struct {
    apr_uint32_t until; /* second at which it ends */
    apr_uint32_t host;
    unsigned char print[IDEM_SHM_PRINT];
    apr_uint16_t row;
    apr_uint64_t sum; /* of id and all of the above but row */
} idem_shm_tomb_t;

/**
 * A record. id, print, fence, created and host are written once, before the
 * state, and ident is their checksum: whatever else a crash tears, it is
 * known which request the record belongs to.
 *
 * Seconds are those of the store's time since 1970; they last until 2106.
 */
typedef struct {
    apr_uint32_t state;
    apr_uint32_t next; /* in the bucket: unit + 1, or 0 */
    idem_digest_t id;
    union {
        struct {
            apr_int64_t expires; /* while executing: created + ttl */
            apr_uint32_t len;    /* bytes of the record, or reserved for it */
            apr_uint32_t ext;    /* first extent, if len > 0 */
            union {
                apr_uint64_t owner; /* executing, detached: the process */
                apr_uint64_t sum;   /* settled: of state, times and body */
            } is;
        };
        idem_shm_tomb_t tomb; /* in the state EXPIRED */
    };

    /* The second unit: not a tombstone's any more. */
    idem_digest_t print;
    apr_uint64_t fence;
    apr_uint64_t ident;
    apr_uint32_t created; /* the second of the claim */
    apr_uint32_t until;   /* second at which its tombstone ends; 0: none */
    apr_uint16_t extn;    /* units of the first extent */
    apr_uint16_t row;     /* of the use table, that it is charged to */
    apr_uint32_t host;
} idem_shm_head_t;

/** Names the next extent; in the first bytes of the one before it. */
typedef struct {
    apr_uint32_t unit;
    apr_uint32_t n;
} idem_shm_link_t;

/** Head of a shard. */
typedef struct {
    apr_uint64_t dirty; /* owner that is inside; left over: it died there */
    apr_uint64_t fence; /* the last one given out */
    apr_uint32_t cursor;
    apr_uint32_t purge_cursor;
    apr_uint32_t free_units;
    apr_uint32_t executing; /* records by state */
    apr_uint32_t done;
    apr_uint32_t not_retained;
    apr_uint32_t unknown;
    apr_uint32_t detached;
    apr_uint32_t tombstones;
    apr_uint32_t spare;
    apr_int64_t oldest;       /* first end of a record, by the last sweep */
    apr_int64_t sweep_oldest; /* of the sweep that is under way; 0: none */
    apr_uint64_t expired;     /* events so far */
    apr_uint64_t repairs;
    apr_uint64_t refused;
} idem_shm_shard_t;

/** A host's use of a shard. */
typedef struct {
    apr_uint32_t host;
    apr_uint32_t units; /* 0: the row is free */
    apr_uint32_t quota; /* percent, of the last claim; 0: any */
} idem_shm_row_t;

/** Where a process finds the parts of a shard. */
typedef struct {
    idem_shm_shard_t *shard;
    idem_shm_row_t *rows;
    apr_uint32_t *buckets;
    unsigned char *map;
    char *units;
    apr_uint32_t nunits;
    apr_uint32_t nbuckets;
} idem_shm_part_t;

/** A process that may hold claims. */
typedef struct {
    apr_uint64_t id;
    apr_uint64_t start; /* of the process, in ticks since boot */
    apr_uint32_t pid;
    apr_uint32_t alive;
} idem_shm_owner_t;

/** The owner table: anonymous memory of its own. */
typedef struct {
    apr_uint64_t seq;
    apr_uint32_t check_cursor;
    apr_uint32_t spare;
    idem_shm_owner_t row[IDEM_SHM_OWNERS];
} idem_shm_owners_t;

/** A process's view of the store. */
typedef struct {
    idem_store_t base; /* first: an idem_shm_store_t * is an idem_store_t * */
    idem_shm_segment_t segment;
    idem_shm_owners_t *owners;
    idem_shm_part_t *parts;
    apr_global_mutex_t **locks;
    apr_uint64_t owner; /* this process; 0: may not claim */
    apr_uint32_t nshards;
} idem_shm_store_t;

/* A thread waits so long for a lock before it gives up (rule 40). */
#define IDEM_SHM_LOCK_WAIT apr_time_from_sec(1)

/* ---- idem_store_shm.c: what the calls share */

/** Lock a shard; repairs it if somebody died inside. */
apr_status_t idem_shm_enter(const idem_shm_store_t *shm, apr_uint32_t i,
                            apr_interval_time_t wait);
void idem_shm_leave(const idem_shm_store_t *shm, apr_uint32_t i);
/** Is this thread between the two? */
int idem_shm_is_inside(void);
apr_uint32_t idem_shm_shard_of(const idem_shm_store_t *shm,
                               const idem_digest_t *id);
apr_status_t idem_shm_sync_range(const idem_shm_store_t *shm, const void *from,
                                 apr_size_t len);
/** With sync=on: bring a head to the disk. Without the lock. */
apr_status_t idem_shm_sync_head(const idem_shm_store_t *shm,
                                const idem_shm_part_t *part,
                                apr_uint32_t unit);
int idem_shm_is_alive(const idem_shm_store_t *shm,
                      const idem_shm_head_t *head);

/* ---- idem_shm_purge.c: how records end */

/** The second that @a t is in, as far as 32 bits tell. */
apr_uint32_t idem_shm_sec(apr_time_t t);
/** An execution ended without a known result, or the result is lost. */
void idem_shm_set_unknown_locked(const idem_shm_part_t *part,
                                 idem_shm_head_t *head, apr_time_t expires);
/** What a record was to live, as far as that can be believed. */
apr_interval_time_t idem_shm_ttl(const idem_shm_head_t *head);
/** Is there to be a tombstone of this record, now that it expires? */
int idem_shm_has_tomb(const idem_shm_head_t *head, apr_time_t now);
/** Make a tombstone of a record, or go on with making one. */
void idem_shm_bury_locked(const idem_shm_part_t *part, apr_uint32_t unit);
/**
 * Free a settled record or a tombstone whose time is over; of the record a
 * tombstone may stay. @return 1 if nothing is left
 */
int idem_shm_expire_locked(const idem_shm_part_t *part, apr_uint32_t unit,
                           apr_time_t now);
/** A record is committed that ends then. */
void idem_shm_note_end(idem_shm_shard_t *shard, apr_time_t end);
/** One bounded step over the shard. */
void idem_shm_purge_locked(const idem_shm_store_t *shm,
                           const idem_shm_part_t *part, apr_time_t now);
/** The same, which takes the lock only for what it ends. */
void idem_shm_purge_step(const idem_shm_store_t *shm, apr_uint32_t i,
                         apr_time_t now);
void idem_shm_purge(idem_store_t *store, apr_time_t now);

/* ---- idem_shm_claim.c, idem_shm_commit.c: calls, see mod_idempotency.h */

apr_status_t idem_shm_claim(idem_store_t *store, idem_claim_t *claim,
                            idem_token_t *token, idem_blob_t *record,
                            const idem_ask_t *ask, apr_pool_t *pool);
apr_status_t idem_shm_commit(idem_store_t *store, const idem_token_t *token,
                             idem_end_t end, const struct iovec *vec, int nvec,
                             const idem_term_t *term);
apr_status_t idem_shm_release(idem_store_t *store, const idem_token_t *token);
apr_status_t idem_shm_abandon(idem_store_t *store, const idem_token_t *token,
                              apr_time_t now);

/* ---- idem_shm_look.c: reading */

/** What was found of a record, to copy it without the lock. */
typedef struct {
    apr_uint32_t unit;
    idem_shm_head_t head;
} idem_shm_found_t;

/** Find an id; an index that is broken is made anew.
 *  @param unit  out: IDEM_SHM_NONE if nothing is there */
apr_status_t idem_shm_find_locked(const idem_shm_part_t *part,
                                  const idem_digest_t *id, apr_uint32_t *unit);
/**
 * Copy what was found, without the lock. The checksum is over the copy: the
 * original may change while it is read.
 * @return APR_SUCCESS; APR_EAGAIN if the record went away meanwhile;
 *         APR_EGENERAL if it is damaged
 */
apr_status_t idem_shm_copy_out(const idem_shm_part_t *part,
                               const idem_shm_found_t *found,
                               idem_blob_t *record, apr_pool_t *pool);
apr_status_t idem_shm_look(idem_store_t *store, idem_entry_t *entry,
                           idem_blob_t *record, const idem_digest_t *id,
                           apr_pool_t *pool);
apr_status_t idem_shm_list(idem_store_t *store, idem_entry_t *entries, int *n,
                           apr_uint64_t *cursor);

/* ---- idem_shm_sum.c: checksums */

apr_uint64_t idem_shm_sum_ident(const idem_shm_head_t *head);
apr_uint64_t idem_shm_sum_tomb(const idem_shm_head_t *head);

/** A running checksum over words of 8 bytes. */
typedef struct {
    apr_uint64_t lane[4];
    unsigned int phase;
} idem_shm_sum_t;

void idem_shm_sum_start(idem_shm_sum_t *sum);
/** Start that of a record: fence, times and length of @a head, @a state. */
void idem_shm_sum_init(idem_shm_sum_t *sum, const idem_shm_head_t *head,
                       apr_uint32_t state);
/** Add bytes: a multiple of 8, except the last time. */
void idem_shm_sum_add(idem_shm_sum_t *sum, const void *data, apr_size_t len);
apr_uint64_t idem_shm_sum_end(const idem_shm_sum_t *sum);

/* ---- idem_shm_part.c: units, extents, index of one shard */

/** Where shard @a i of a segment is: computed from the size alone. */
void idem_shm_part_init(idem_shm_part_t *part, void *base, apr_size_t size,
                        apr_uint32_t i);
idem_shm_head_t *idem_shm_part_head(const idem_shm_part_t *part,
                                    apr_uint32_t unit);
apr_uint32_t idem_shm_part_bucket(const idem_shm_part_t *part,
                                  const idem_digest_t *id);
apr_uint32_t idem_shm_part_unit(const idem_shm_part_t *part,
                                const idem_shm_head_t *head);

/** Goes over the extents of a record; every step is checked. */
typedef struct {
    apr_uint32_t unit;
    apr_uint32_t n;
    apr_size_t left;
    apr_uint32_t at;  /* out: the extent */
    apr_uint32_t atn; /* out: its units */
    char *data;       /* out: its bytes of the record */
    apr_size_t len;
} idem_shm_walk_t;

void idem_shm_walk_init(idem_shm_walk_t *walk, const idem_shm_head_t *head);
/** @return 1: data and len are set; 0: the end; -1: the chain is broken */
int idem_shm_walk_next(idem_shm_walk_t *walk, const idem_shm_part_t *part);

/**
 * Find an id. @return its unit, or IDEM_SHM_NONE.
 * @param broken  out: set to 1 if the index makes no sense
 */
apr_uint32_t idem_shm_part_find_locked(const idem_shm_part_t *part,
                                       const idem_digest_t *id, int *broken);
void idem_shm_part_link_locked(const idem_shm_part_t *part, apr_uint32_t unit);
void idem_shm_part_unlink_locked(const idem_shm_part_t *part,
                                 apr_uint32_t unit);

/** Take units for a head. @return the first one, or IDEM_SHM_NONE. */
apr_uint32_t idem_shm_part_take_head_locked(const idem_shm_part_t *part,
                                            apr_uint32_t row);
/** Reserve extents and hang them on the head. @return 0 if no room */
int idem_shm_part_reserve_locked(const idem_shm_part_t *part,
                                 idem_shm_head_t *head, apr_uint32_t len);
void idem_shm_part_drop_body_locked(const idem_shm_part_t *part,
                                    idem_shm_head_t *head);
/** Units that the host of this row may hold; APR_UINT32_MAX: any. */
apr_uint32_t idem_shm_part_quota(const idem_shm_part_t *part,
                                 apr_uint32_t row);
/** Give back units that were charged to @a row. */
void idem_shm_part_credit_locked(const idem_shm_part_t *part, apr_uint32_t row,
                                 apr_uint32_t n);
/** Free a record, its extents, its place in the index and the counters. */
void idem_shm_part_free_locked(const idem_shm_part_t *part, apr_uint32_t unit);
/** The row of the use table that a host is charged to. */
apr_uint32_t idem_shm_part_row_locked(const idem_shm_part_t *part,
                                      apr_uint32_t host);
/** Counter of records in @a state, or NULL if that is no state. */
apr_uint32_t *idem_shm_part_count(const idem_shm_part_t *part,
                                  apr_uint32_t state);
/** Change the state, last of all changes, and the counters. */
void idem_shm_part_set_state_locked(const idem_shm_part_t *part,
                                    idem_shm_head_t *head, apr_uint32_t state);

/* ---- idem_shm_repair.c */

/**
 * Make a shard consistent, whatever it holds: heads that are whole stay,
 * with their extents if these are whole too; a record without its extents
 * becomes unknown; all the rest is freed, index and counters are made anew.
 * @param dead  1: no owner lives; claims become unknown as of @a now
 * @return how many records were damaged
 */
apr_uint32_t idem_shm_repair_locked(const idem_shm_part_t *part, int dead,
                                    apr_time_t now);
/** Is this head what a claim wrote? */
int idem_shm_repair_is_head(const idem_shm_head_t *head);
/** Walk one shard. @return NULL or what is wrong; constant text.
 *  @param use  scratch, IDEM_SHM_ROWS long */
const char *idem_shm_repair_check_locked(const idem_shm_part_t *part,
                                         apr_uint32_t *use);

/* ---- idem_shm_owner.c */

/** Enter this process. @return its id, or 0 if the table is full */
apr_uint64_t idem_shm_owner_enter(idem_shm_owners_t *owners,
                                  apr_uint32_t epoch);
int idem_shm_owner_is_alive(const idem_shm_owners_t *owners,
                            apr_uint32_t epoch, apr_uint64_t id);
void idem_shm_owner_died(idem_shm_owners_t *owners, pid_t pid);
/** Look whether some of the processes still exist: one bounded step. */
void idem_shm_owner_check(idem_shm_owners_t *owners);

/* ---- idem_shm_header.c */

/** Fill a new segment, all zero so far. */
apr_status_t idem_shm_header_init(void *base, const idem_shm_open_t *how);
/** @return NULL, or why this is no store that can be used as it is */
const char *idem_shm_header_judge(const void *base,
                                  const idem_shm_open_t *how);
/** Verify as needed, start the clock, and fill in the segment. */
apr_status_t idem_shm_header_start(idem_shm_segment_t *segment,
                                   const char **detail,
                                   const idem_shm_open_t *how,
                                   apr_pool_t *pool);
/** Note an end in order. */
void idem_shm_header_end(void *base);
/** Write down the time, for a start after the next boot. */
void idem_shm_checkpoint(void *base, apr_time_t now, apr_time_t wall);
/** Uptime of the machine, sleep included. */
apr_time_t idem_shm_uptime(void);
/** Where the secret of the ids is. */
const unsigned char *idem_shm_secret(const void *base);

#endif /* IDEM_SHM_H */
