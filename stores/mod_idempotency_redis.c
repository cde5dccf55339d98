/* mod_idempotency_redis.c: the store in Redis as a module of httpd.
 * SPDX-License-Identifier: Apache-2.0
 *
 * All that this file adds to stores/idem_store_redis.h is what a store in a
 * library cannot: the provider, a thread that renews leases, the log.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <time.h>

#include "httpd.h"
#include "http_config.h"
#include "http_core.h"
#include "http_log.h"
#include "http_main.h"
#include "ap_provider.h"

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

/* -------------------------------------------------------------------- news */

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

/* ------------------------------------------------------------------ thread */

/* Not mod_watchdog: its threads end when a restart retires their child, while
 * requests of that child still run and need their leases. */
static struct {
    pthread_t thread;
    sem_t stop; /* may be posted from a signal handler */
    int stopping;
} watcher;

static int is_stopping(apr_interval_time_t wait)
{
    struct timespec ts;
    apr_time_t until;

    clock_gettime(CLOCK_REALTIME, &ts);
    until =
        apr_time_from_sec((apr_time_t)ts.tv_sec) + ts.tv_nsec / 1000 + wait;
    ts.tv_sec = (time_t)apr_time_sec(until);
    ts.tv_nsec = (long)apr_time_usec(until) * 1000;
    while (sem_timedwait(&watcher.stop, &ts) != 0 && errno == EINTR) {
        /* Only the time matters. */
    }
    return __atomic_load_n(&watcher.stopping, __ATOMIC_ACQUIRE);
}

/* Once more at the end: requests that were cut off have just been settled. */
static void *watch(void *data)
{
    apr_interval_time_t interval = idem_redis_interval(the_conf);
    idem_redis_news_t news;
    int stopping;

    do {
        stopping = is_stopping(interval);
        if (idem_redis_tick(the_store, &news)) {
            tell(data, &news);
        }
    } while (!stopping);
    return NULL;
}

/* In a signal handler under prefork, which may have interrupted somebody who
 * holds a lock that the thread waits for: so not without a limit. */
static apr_status_t stop_watch(void *data)
{
    struct timespec ts;

    (void)data;
    __atomic_store_n(&watcher.stopping, 1, __ATOMIC_RELEASE);
    sem_post(&watcher.stop);
    clock_gettime(CLOCK_REALTIME, &ts);
    ts.tv_sec += 1;
    (void)pthread_timedjoin_np(watcher.thread, NULL, &ts);
    return APR_SUCCESS;
}

/* The signals of a child are for its other threads. */
static apr_status_t start_watch(server_rec *s, apr_pool_t *pchild)
{
    sigset_t all, before;
    int rc;

    watcher.stopping = 0;
    if (sem_init(&watcher.stop, 0, 0) != 0) {
        return APR_FROM_OS_ERROR(errno);
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&watcher.thread, NULL, watch, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        return APR_FROM_OS_ERROR(rc);
    }
    apr_pool_cleanup_register(pchild, NULL, stop_watch, apr_pool_cleanup_null);
    return APR_SUCCESS;
}

static apr_status_t child_init(idem_store_t *store, apr_pool_t *pchild)
{
    apr_status_t rv = idem_redis_child_init(store);

    return rv == APR_SUCCESS ? start_watch(ap_server_conf, pchild) : rv;
}

static const idem_store_provider_t provider = {
    option,
    check,
    open_store,
    child_init,
};

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
    ap_register_provider(pool, IDEM_STORE_PROVIDER_GROUP, "redis",
                         IDEM_STORE_PROVIDER_VERSION, &provider);
    ap_hook_pre_config(forget_store, NULL, NULL, APR_HOOK_MIDDLE);
}

/* Not AP_DECLARE_MODULE: it does not compile beside APLOG_USE_MODULE. */
module AP_MODULE_DECLARE_DATA idempotency_redis_module = {
    STANDARD20_MODULE_STUFF, NULL, NULL, NULL, NULL, NULL, register_hooks, 0,
};
