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

#endif /* STORE_SHM_TEST_H */
