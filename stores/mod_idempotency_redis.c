/* mod_idempotency_redis.c: the store in Redis as a module of httpd.
 * SPDX-License-Identifier: Apache-2.0
 *
 * All that this file adds to stores/idem_store_redis.h is what only httpd can
 * give: the provider, a thread in each child that renews leases, the log.
 */
#include "httpd.h"
#include "http_config.h"
#include "http_core.h"
#include "http_log.h"
#include "http_main.h"
#include "ap_provider.h"
#include "mod_watchdog.h"

#include <apr_strings.h>

#include "idem_store_redis.h"

extern module AP_MODULE_DECLARE_DATA idempotency_redis_module;
APLOG_USE_MODULE(idempotency_redis);

#define TELL_INTERVAL apr_time_from_sec(60)

/* Of this generation: both go with its pconf. */
static idem_store_t *the_store;
static const idem_redis_conf_t *the_conf;

/* --------------------------------------------------------------- provider */

static const char *option(void **conf, const char *name, const char *value,
                          apr_pool_t *pool)
{
    idem_redis_conf_t *redis = *conf;
    const char *err = idem_redis_option(&redis, name, value, pool);

    *conf = redis;
    return err;
}

static const char *check(const void *conf, apr_pool_t *pool)
{
    return idem_redis_check(conf, pool);
}

static apr_status_t open_store(idem_store_t **store, const char **detail,
                               void *conf, apr_pool_t *pool)
{
    const char *note = NULL;
    apr_status_t rv;

    *detail = NULL;
    rv = idem_redis_create(store, conf, pool);
    if (rv != APR_SUCCESS) {
        *detail = "OpenSSL offers no SHA-1, by which scripts go, or the "
                  "system no random numbers";
        return rv;
    }
    idem_redis_survey(*store, detail, &note, pool);
    if (note) {
        ap_log_error(APLOG_MARK, APLOG_INFO, 0, ap_server_conf,
                     "IDEM0103: Redis: %s", note);
    }
    the_store = *store;
    the_conf = conf;
    return APR_SUCCESS;
}

static apr_status_t child_init(idem_store_t *store, apr_pool_t *pool)
{
    (void)pool;
    return idem_redis_child_init(store);
}

static const idem_store_provider_t provider = {
    option,
    check,
    open_store,
    child_init,
};

/* -------------------------------------------------------------- watchdog */

/* Failures come with every request: told at once, then once a minute. */
static void tell_failures(server_rec *s, const idem_redis_news_t *news)
{
    static apr_time_t last;
    static apr_uint64_t untold;
    apr_time_t now = the_store->calls->now(the_store);

    if (news->recovered) {
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, s,
                     "IDEM0105: Redis answers again");
        last = 0;
    }
    untold += news->failures;
    if (untold == 0 || (last != 0 && now - last < TELL_INTERVAL)) {
        return;
    }
    if (news->failures > 0) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, s,
                     "IDEM0104: Redis failed %" APR_UINT64_T_FMT
                     " times, lately with: %s",
                     untold, news->failure);
        last = now;
        untold = 0;
    }
}

static void tell(server_rec *s, const idem_redis_news_t *news)
{
    tell_failures(s, news);
    if (news->lost) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                     "IDEM0106: %" APR_UINT64_T_FMT " requests outlived "
                     "their lease, which Redis was not reached to renew; "
                     "their answers are sent but not kept, and the keys "
                     "count as unknown",
                     news->lost);
    }
    if (news->unsafe) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                     "IDEM0107: %" APR_UINT64_T_FMT " results were "
                     "acknowledged by fewer replicas than replicas= asks for",
                     news->unsafe);
    }
    if (news->damaged) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, s,
                     "IDEM0108: %" APR_UINT64_T_FMT " records in Redis could "
                     "not be read",
                     news->damaged);
    }
}

static apr_status_t watch(int state, void *data, apr_pool_t *pool)
{
    idem_redis_news_t news;

    (void)pool;
    if (state == AP_WATCHDOG_STATE_RUNNING && the_store
        && idem_redis_tick(the_store, &news)) {
        tell(data, &news);
    }
    return APR_SUCCESS;
}

/* In each child, not one for all: the claims are those of a process. */
static int start_watch(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp,
                       server_rec *s)
{
    APR_OPTIONAL_FN_TYPE(ap_watchdog_get_instance) *get_instance =
        APR_RETRIEVE_OPTIONAL_FN(ap_watchdog_get_instance);
    APR_OPTIONAL_FN_TYPE(ap_watchdog_register_callback) *register_callback =
        APR_RETRIEVE_OPTIONAL_FN(ap_watchdog_register_callback);
    ap_watchdog_t *watchdog;

    (void)plog;
    (void)ptemp;
    if (!the_store) {
        return OK; /* loaded, but another store is in use */
    }
    if (!get_instance || !register_callback
        || get_instance(&watchdog, "_idempotency_redis_", 0, 0, pconf)
               != APR_SUCCESS
        || register_callback(watchdog, idem_redis_interval(the_conf), s, watch)
               != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                     "IDEM0109: no mod_watchdog: leases are not renewed, and "
                     "a request that runs longer than lease= of "
                     "IdempotencyStore ends as unknown");
    }
    return OK;
}

static int forget_store(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp)
{
    (void)pconf;
    (void)plog;
    (void)ptemp;
    the_store = NULL;
    the_conf = NULL;
    return OK;
}

static void register_hooks(apr_pool_t *pool)
{
    /* It opens the store, before mod_watchdog looks for its clients. */
    static const char *const after[] = { "mod_idempotency.c", NULL };

    ap_register_provider(pool, IDEM_STORE_PROVIDER_GROUP, "redis",
                         IDEM_STORE_PROVIDER_VERSION, &provider);
    ap_hook_pre_config(forget_store, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_post_config(start_watch, after, NULL, APR_HOOK_MIDDLE);
}

/* Not AP_DECLARE_MODULE: it does not compile beside APLOG_USE_MODULE. */
module AP_MODULE_DECLARE_DATA idempotency_redis_module = {
    STANDARD20_MODULE_STUFF, NULL, NULL, NULL, NULL, NULL, register_hooks, 0,
};
