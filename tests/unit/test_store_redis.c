/* test_store_redis.c: the contract of every store, over a real Redis.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store_redis_test.h"

int main(void)
{
    int failed;

    apr_initialize();
    server_start(NULL);
    failed = contract_run_own_clock();
    server_stop();
    return failed;
}
