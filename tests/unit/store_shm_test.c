/* store_shm_test.c: how the tests of the shm store open and attach one.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store_shm_test.h"

#include <unistd.h>

idem_store_t *attach(const idem_shm_segment_t *segment, apr_pool_t *pool)
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

static apr_status_t close_segment(void *segment)
{
    idem_shm_close(segment);
    return APR_SUCCESS;
}

idem_store_t *store_of(apr_size_t size, apr_pool_t *pool)
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

/* ----------------------------------------- what store_contract.c asks for */

idem_store_t *contract_store(apr_pool_t *pool)
{
    return store_of(SIZE, pool);
}

void contract_child(idem_store_t *store)
{
    if (idem_store_shm_child_init(store) != APR_SUCCESS) {
        _exit(99);
    }
}

void contract_child_ended(idem_store_t *store, pid_t pid)
{
    idem_store_shm_child_died(store, pid);
}
