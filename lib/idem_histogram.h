/* idem_histogram.h: how long things take, counted in buckets.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Plain data of fixed size, so that it can lie in shared memory, where each
 * adds to it with one atomic instruction. Times are nanoseconds here.
 */
#ifndef IDEM_HISTOGRAM_H
#define IDEM_HISTOGRAM_H

#include "mod_idempotency.h"

/* Below 64; then four buckets for each doubling, up to 68.7 s; then all
 * above. */
#define IDEM_HISTOGRAM_FIRST 6 /* as a power of two */
#define IDEM_HISTOGRAM_OCTAVES 30
#define IDEM_HISTOGRAM_PARTS 4
#define IDEM_HISTOGRAM_BUCKETS                                                \
    (IDEM_HISTOGRAM_OCTAVES * IDEM_HISTOGRAM_PARTS + 2)

typedef struct {
    apr_uint64_t sum; /* of all values */
    apr_uint64_t bucket[IDEM_HISTOGRAM_BUCKETS];
} idem_histogram_t;

/** The bucket of a value: it is below the bucket's bound, and not below that
 *  of the one before. */
int idem_histogram_bucket(apr_uint64_t value);

/** The bound of a bucket; not of the last, which has none. */
apr_uint64_t idem_histogram_bound(int bucket);

apr_uint64_t idem_histogram_count(const idem_histogram_t *histogram);

/**
 * The time that @a permille of all values are within, guessed inside of its
 * bucket; 0 if there is none. What is above all bounds counts as the last.
 */
apr_uint64_t idem_histogram_within(const idem_histogram_t *histogram,
                                   int permille);

#endif /* IDEM_HISTOGRAM_H */
