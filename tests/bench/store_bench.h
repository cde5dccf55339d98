/* store_bench.h: what the parts of tests/bench/store share.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STORE_BENCH_H
#define STORE_BENCH_H

#include "idem_store_shm.h"

#define BYTES 512
#define FEW 1000u
#define NOW apr_time_from_sec(1000000)
#define TTL apr_time_from_sec(3600)

/** Nanoseconds by the clock, and of this process on a processor. */
typedef struct {
    double wall;
    double cpu;
} span_t;

/* ---- store.c */

void die(const char *what);
span_t span_now(void);
span_t span_since(span_t begun, double ops);

idem_digest_t id_of(apr_uint64_t n);
apr_uint64_t mix(apr_uint64_t x);

/** Open a file or, with NULL, memory; every page has been touched. */
idem_store_t *open_store(idem_shm_segment_t *segment, apr_size_t size,
                         const char *path, apr_pool_t *pool);
idem_claim_t claim_at(idem_store_t *store, idem_token_t *token, apr_uint64_t n,
                      apr_time_t now, apr_pool_t *pool);
/** Claim and commit BYTES. @return 0 if there is no room */
int put_at(idem_store_t *store, apr_uint64_t n, const idem_term_t *term,
           apr_pool_t *pool);
/** Bytes of the segment that a unit of 64 costs, map and index included. */
double unit_cost(const idem_shm_segment_t *segment, idem_store_t *store);
/** A row of the table. */
void row(const char *what, const char *target, const char *form, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- store_rates.c, store_times.c: rows of the table */

void bench_rates(apr_uint64_t many, apr_pool_t *pool);
void bench_tombstones(apr_pool_t *pool);
void bench_pause(apr_pool_t *pool);
void bench_start(const char *folder, apr_pool_t *pool);

#endif /* STORE_BENCH_H */
