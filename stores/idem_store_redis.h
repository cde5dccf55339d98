/* idem_store_redis.h: the store in Redis, for several machines.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Every step is one script that Redis runs as a whole. A claim carries the
 * process that made it and a number; the process renews it while its request
 * runs. A claim that is not renewed becomes unknown after the lease, and its
 * late answer is refused.
 */
#ifndef IDEM_STORE_REDIS_H
#define IDEM_STORE_REDIS_H

#include "mod_idempotency.h"

/** Options: see idem_redis_option(). */
typedef struct idem_redis_conf_t idem_redis_conf_t;

/**
 * Take one option.
 * @param conf  in and out: NULL at the first call
 * @return NULL, or what is wrong with it, from @a pool; never a password
 */
const char *idem_redis_option(idem_redis_conf_t **conf, const char *name,
                              const char *value, apr_pool_t *pool);

/** After the last one. @return NULL, or what is missing */
const char *idem_redis_check(const idem_redis_conf_t *conf, apr_pool_t *pool);

/** How often idem_redis_tick() should be called: a part of the lease. */
apr_interval_time_t idem_redis_interval(const idem_redis_conf_t *conf);

/**
 * Make the store. Nothing is sent. It can be used after
 * idem_redis_child_init(), in the process that called it.
 */
apr_status_t idem_redis_create(idem_store_t **store,
                               const idem_redis_conf_t *conf,
                               apr_pool_t *pool);

/**
 * Ask Redis once how it is set up.
 * @param warning  out: what endangers records, or that it cannot be reached;
 *                 NULL if all is well
 * @param note     out: what could not be asked; NULL if nothing
 */
void idem_redis_survey(idem_store_t *store, const char **warning,
                       const char **note, apr_pool_t *pool);

/** In a new process: connections and claims of its own. */
apr_status_t idem_redis_child_init(idem_store_t *store);

/** What happened since the last time it was asked. */
typedef struct {
    apr_uint64_t failures; /* calls that failed */
    char failure[200];     /* what the last one met; no password */
    int recovered;         /* Redis answers again */
    apr_uint64_t lost;     /* leases that ran out while a request ran */
    apr_uint64_t unsafe;   /* results that too few replicas acknowledged */
    apr_uint64_t damaged;  /* records that could not be read */
} idem_redis_news_t;

/**
 * Renew the leases of this process's running requests, and settle what could
 * not be settled when it was due. To be called every idem_redis_interval().
 * @return 1 if there is something in @a news
 */
int idem_redis_tick(idem_store_t *store, idem_redis_news_t *news);

#endif /* IDEM_STORE_REDIS_H */
