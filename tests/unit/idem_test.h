/* idem_test.h: what all unit tests share: cmocka, a pool per test, a time.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IDEM_TEST_H
#define IDEM_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <apr_general.h>
#include <apr_pools.h>
#include <apr_time.h>

/** A time for tests that need one: none of them reads a clock. */
#define T0 apr_time_from_sec(1000000)

/** A test whose *state is a fresh apr_pool_t *, destroyed afterwards. */
#define pool_test(f)                                                          \
    cmocka_unit_test_setup_teardown(f, pool_setup, pool_teardown)

static inline int pool_setup(void **state)
{
    apr_pool_t *pool;

    if (apr_pool_create(&pool, NULL) != APR_SUCCESS) {
        return -1;
    }
    *state = pool;
    return 0;
}

static inline int pool_teardown(void **state)
{
    apr_pool_destroy(*state);
    return 0;
}

#endif /* IDEM_TEST_H */
