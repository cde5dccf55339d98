/* store_shm_test.h: how the tests of the shm store open and attach one.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STORE_SHM_TEST_H
#define STORE_SHM_TEST_H

#include "store_contract.h"

#include "idem_shm.h"

#define SIZE IDEM_SHM_SIZE_MIN

/** Attach to a segment with locks of its own, and enter this process. */
idem_store_t *attach(const idem_shm_segment_t *segment, apr_pool_t *pool);

/** A store in memory, gone with the pool. */
idem_store_t *store_of(apr_size_t size, apr_pool_t *pool);

idem_shm_part_t *part_of(idem_store_t *store, apr_uint32_t i);

/** Where id n is, in shard 0; it must be there. */
idem_shm_head_t *head_of(idem_store_t *store, apr_uint32_t n);

/* A folder of its own per test, removed with the pool. */
typedef struct {
    char folder[64];
    const char *path;
    apr_pool_t *pool;
} place_t;

place_t *place_of(apr_pool_t *pool);

/** How many files there are like that. */
int count(const place_t *place, const char *pattern);
apr_status_t open_at(const place_t *place, apr_size_t size, apr_time_t wall,
                     idem_shm_segment_t *segment, const char **detail);
/** Open with nothing to be said. */
void open_well(const place_t *place, idem_shm_segment_t *segment);

/** Records that fill_and_die() leaves: n of n * 30 bytes. One more id is
 *  claimed and not finished. */
#define RECORDS 100u
/** Tombstones beside them, from this number on. */
#define TOMBS 20u
#define FIRST_TOMB 9001u

/** Fill a file in a process that ends without closing it. */
void fill_and_die(const place_t *place, int sync);
void write_file(const place_t *place, const char *data, apr_size_t len);
/** All SIZE bytes of it. */
char *read_all(const place_t *place, apr_pool_t *pool);

#endif /* STORE_SHM_TEST_H */
