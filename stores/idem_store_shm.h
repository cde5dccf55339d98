/* idem_store_shm.h: the store in shared memory.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Opening and attaching are two steps, since httpd unloads and reloads a
 * module at every restart while its shared memory has to live on: the
 * segment is plain data that a process keeps for good, the store is made
 * anew over it by each incarnation of the code.
 */
#ifndef IDEM_STORE_SHM_H
#define IDEM_STORE_SHM_H

#include <apr_global_mutex.h>

#include "mod_idempotency.h"

#define IDEM_SHM_SIZE_MIN (1024 * 1024)
#define IDEM_SHM_SIZE_MAX ((apr_int64_t)1 << 40)
#define IDEM_SHM_FORMAT 3 /* of a segment, in a file and in memory */

/** An open segment. Plain data: no pointer into code or pools. */
typedef struct {
    void *base;      /* the mapping, shared with all children */
    apr_size_t size; /* its bytes */
    void *owners;    /* the owner table: memory of this server only */
    apr_size_t owners_size;
    int lock_fd;          /* held while a server uses the file; -1: memory */
    apr_uint32_t nshards; /* how many locks attach() wants */
    int sync;             /* a claim or answer is on disk before it counts */
    apr_uint32_t epoch;   /* which start of the server this is */
    apr_time_t offset;    /* from the machine's uptime to the store's time */
} idem_shm_segment_t;

/** How to open one. */
typedef struct {
    const char *path; /* the file, or NULL for memory only */
    apr_size_t size;  /* bytes, IDEM_SHM_SIZE_MIN to _MAX */
    int sync;
    apr_time_t wall;          /* the wall clock now */
    apr_interval_time_t wait; /* how long to wait for another server */
} idem_shm_open_t;

/**
 * Open or create a segment, in the parent, before children exist.
 *
 * Claims that an earlier server left are settled as unknown. A file that is
 * not ours, damaged, or of another geometry is moved aside, to
 * PATH.old.SECONDS, and a new one is made. An unclean end is repaired record
 * by record.
 *
 * @param segment  out
 * @param detail   out: what was noticed (a file moved aside, records lost),
 *                 or why it failed, from @a pool; NULL if all is well
 * @return APR_SUCCESS; APR_EBUSY if another server holds the file;
 *         APR_ENOSPC if the disk cannot hold it; APR_EACCES if folder or
 *         file could be written by somebody else; or the system's error
 */
apr_status_t idem_shm_open(idem_shm_segment_t *segment, const char **detail,
                           const idem_shm_open_t *how, apr_pool_t *pool);

/** How many locks a segment of this size wants. */
apr_uint32_t idem_shm_nshards(apr_size_t size);

/**
 * Make the store over an open segment.
 *
 * @param locks  segment->nshards locks, re-opened in each child by the caller
 * @param pool   for the struct; the segment outlives it
 */
apr_status_t idem_store_shm_attach(idem_store_t **store,
                                   const idem_shm_segment_t *segment,
                                   apr_global_mutex_t **locks,
                                   apr_pool_t *pool);

/** In a new child: enter it in the owner table. Claims need this. */
apr_status_t idem_store_shm_child_init(idem_store_t *store);

/**
 * In the parent: the child with this pid has been reaped. One atomic store,
 * no lock; the parent never blocks on, nor trusts, what children wrote.
 */
void idem_store_shm_child_died(idem_store_t *store, pid_t pid);

/** Mark the file as left in order, and unmap. At the end of the server. */
void idem_shm_close(idem_shm_segment_t *segment);

#endif /* IDEM_STORE_SHM_H */
