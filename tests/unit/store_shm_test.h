/* store_shm_test.h: how the tests of the shm store open and attach one.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STORE_SHM_TEST_H
#define STORE_SHM_TEST_H

#include "store_contract.h"

#include "idem_shm.h"

#define SIZE IDEM_SHM_SIZE_MIN

/** Attach to a segment with locks of its own, and enter this process. */
static inline idem_store_t *attach(const idem_shm_segment_t *segment,
                                   apr_pool_t *pool)
{
    apr_global_mutex_t **locks
        = apr_palloc(pool, segment->nshards * sizeof(*locks));
    idem_store_t *store;
    apr_uint32_t i;

    for (i = 0; i < segment->nshards; i++) {
        assert_int_equal(apr_global_mutex_create(&locks[i], NULL,
                                                 APR_LOCK_DEFAULT, pool),
                         APR_SUCCESS);
    }
    assert_int_equal(idem_store_shm_attach(&store, segment, locks, pool),
                     APR_SUCCESS);
    assert_int_equal(idem_store_shm_child_init(store), APR_SUCCESS);
    return store;
}

static inline apr_status_t close_segment(void *segment)
{
    idem_shm_close(segment);
    return APR_SUCCESS;
}

/** A store in memory, gone with the pool. */
static inline idem_store_t *store_of(apr_size_t size, apr_pool_t *pool)
{
    idem_shm_segment_t *segment = apr_palloc(pool, sizeof(*segment));
    idem_shm_open_t how = { NULL, size, 0, T0, 0 };
    const char *detail;

    assert_int_equal(idem_shm_open(segment, &detail, &how, pool),
                     APR_SUCCESS);
    assert_null(detail);
    apr_pool_cleanup_register(pool, segment, close_segment,
                              apr_pool_cleanup_null);
    return attach(segment, pool);
}

#endif /* STORE_SHM_TEST_H */
