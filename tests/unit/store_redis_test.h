/* store_redis_test.h: a redis-server of the tests' own, and stores on it.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STORE_REDIS_TEST_H
#define STORE_REDIS_TEST_H

#include "store_contract.h"

#include "idem_redis.h"

/** One that listens on a free port of 127.0.0.1, in a folder of its own. */
typedef struct {
    pid_t pid;
    int port;
    char folder[64];
} server_t;

extern server_t server;

/**
 * Start it; wait until it answers.
 * @param options  more words for its command line, NULL at the end
 */
void server_start(const char *const *options);
void server_stop(void);
/** The same for a group of tests; without options. */
int server_setup(void **state);
int server_teardown(void **state);

/** One command, of words that are separated by spaces; it must succeed. */
void server_command(const char *line);
/** The same; what comes of it, as a number. */
long long server_number(const char *line);

/** Options, each name=value, for a store on the server; NULL at the end. */
idem_store_t *redis_store(apr_pool_t *pool, const char *const *options);

/** Rounds of the watchdog until ms milliseconds are over. */
void tick_for(idem_store_t *store, int ms);
void sleep_ms(int ms);

/** A secret file as it has to be; removed with the folder of the server. */
const char *secret_file(apr_pool_t *pool);

#endif /* STORE_REDIS_TEST_H */
