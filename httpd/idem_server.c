/* idem_server.c: store, locks and counters over the life of the server.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What outlives a restart is plain data in idem_retained_t, kept by httpd
 * while this code is unloaded and loaded again (rule 28). The store struct
 * and everything with a pointer into code is made anew each time.
 */
#include "idem_httpd.h"

#include <unistd.h>

#include <apr_atomic.h>
#include <apr_shm.h>
#include <apr_strings.h>

#include "mod_watchdog.h"
#include "util_mutex.h"

#include "idem_store_shm.h"

#define MUTEX_TYPE "idempotency"
#define RETAINED_LAYOUT 1 /* of idem_retained_t and counters_t */
#define STORE_FILE "idempotency.store"
#define STORE_WAIT apr_time_from_sec(10)
#define PURGE_INTERVAL apr_time_from_msec(500)
#define SHARDS_MAX 64
#define FILL_PERCENT 80 /* of the store in use: warn, once a minute */
#define FILL_INTERVAL apr_time_from_sec(60)
#define PATH_LEN 4096

idem_store_t *idem_server_store;

typedef struct {
    apr_uint64_t of[IDEM_RESULT_COUNT];
} counters_t;

/* Plain data only: see the top of the file. */
typedef struct {
    int opened;
    pid_t parent;
    idem_shm_segment_t segment;
    apr_global_mutex_t *locks[SHARDS_MAX];
    counters_t *counters;
    apr_size_t size;
    int sync;
    char path[PATH_LEN];
} idem_retained_t;

static idem_retained_t *retained;

void idem_server_count(int result)
{
    if (retained && retained->counters && result >= 0
        && result < IDEM_RESULT_COUNT) {
        apr_atomic_inc64(&retained->counters->of[result]);
    }
}

apr_uint64_t idem_server_counter(int result)
{
    return retained && retained->counters
               ? apr_atomic_read64(&retained->counters->of[result])
               : 0;
}

void idem_server_pre_config(apr_pool_t *pconf)
{
    /* The last one lay in the pool that was just cleared. */
    idem_server_store = NULL;
    ap_mutex_register(pconf, MUTEX_TYPE, NULL, APR_LOCK_DEFAULT, 0);
}

/* ---------------------------------------------------------------- opening */

static apr_status_t open_segment(server_rec *s, apr_pool_t *ptemp)
{
    idem_shm_open_t how = { 0 };
    const char *detail = NULL;
    apr_status_t rv;

    how.path = retained->path[0] ? retained->path : NULL;
    how.size = retained->size;
    how.sync = retained->sync;
    how.wall = apr_time_now();
    how.wait = STORE_WAIT;
    rv = idem_shm_open(&retained->segment, &detail, &how, ptemp);
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, s,
                     "IDEM0001: store %s could not be opened: %s",
                     how.path ? how.path : "in memory",
                     detail ? detail : "see the reason above");
        return rv;
    }
    if (detail) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s, "IDEM0002: store %s: %s",
                     how.path ? how.path : "in memory", detail);
    }
    return APR_SUCCESS;
}

/* Rule 37: once, in the pool of the process; a lock made per generation
 * would not keep the old children out. */
static apr_status_t create_locks(server_rec *s)
{
    apr_pool_t *pool = s->process->pool;
    apr_uint32_t i;
    apr_status_t rv;

    for (i = 0; i < retained->segment.nshards; i++) {
        rv = ap_global_mutex_create(&retained->locks[i], NULL, MUTEX_TYPE,
                                    apr_psprintf(pool, "%u", i), s, pool, 0);
        if (rv != APR_SUCCESS) {
            return rv;
        }
    }
    if (apr_global_mutex_mech(retained->locks[0]) == APR_LOCK_POSIXSEM) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, 0, s,
                     "IDEM0003: Mutex posixsem stays locked for ever when "
                     "its holder is killed; use \"Mutex default\" or "
                     "\"Mutex pthread\" for idempotency");
        return APR_EINVAL;
    }
    return APR_SUCCESS;
}

static apr_status_t create_counters(server_rec *s)
{
    apr_shm_t *shm;
    apr_status_t rv;

    rv = apr_shm_create(&shm, sizeof(counters_t), NULL, s->process->pool);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    retained->counters = apr_shm_baseaddr_get(shm);
    memset(retained->counters, 0, sizeof(counters_t));
    return APR_SUCCESS;
}

static const char *wanted_path(apr_pool_t *pool)
{
    if (idem_global.store_path_set) {
        return idem_global.store_path ? idem_global.store_path : "";
    }
    return ap_runtime_dir_relative(pool, STORE_FILE);
}

static int open_all(server_rec *s, apr_pool_t *pconf)
{
    const char *path = wanted_path(pconf);

    if (!path || strlen(path) >= sizeof(retained->path)) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, 0, s,
                     "IDEM0004: IdempotencyStore path= is too long or not "
                     "under a usable DefaultRuntimeDir");
        return 0;
    }
    apr_cpystrn(retained->path, path, sizeof(retained->path));
    retained->size = idem_global.store_size;
    retained->sync = idem_global.store_sync;
    retained->parent = getpid();
    if (open_segment(s, pconf) != APR_SUCCESS) {
        return 0;
    }
    if (retained->segment.nshards > SHARDS_MAX
        || create_locks(s) != APR_SUCCESS
        || create_counters(s) != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, 0, s,
                     "IDEM0005: the locks of the store could not be made");
        idem_shm_close(&retained->segment);
        return 0;
    }
    retained->opened = 1;
    return 1;
}

static void warn_changed(server_rec *s, apr_pool_t *pconf)
{
    const char *path = wanted_path(pconf);

    if (retained->size != idem_global.store_size
        || retained->sync != idem_global.store_sync || !path
        || strcmp(path, retained->path) != 0) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                     "IDEM0006: a changed IdempotencyStore takes effect after "
                     "stop and start; until then the store stays as it was");
    }
}

/* The default is not warned of: a small store is somebody's choice. */
static void warn_response_max(server_rec *s)
{
    apr_size_t most = idem_store_record_max(idem_server_store);

    if (idem_global.response_max > (apr_off_t)most) {
        ap_log_error(
            APLOG_MARK, APLOG_WARNING, 0, s,
            "IDEM0024: IdempotencyMaxResponse %" APR_OFF_T_FMT
            " is more than this store takes, which is %" APR_SIZE_T_FMT
            "; longer answers are not kept. A larger "
            "size= of IdempotencyStore takes more",
            idem_global.response_max, most);
    }
}

/* ---- life of a server */

/* Runs for children too when their pconf goes, so the pid decides. */
static apr_status_t close_at_exit(void *data)
{
    idem_retained_t *kept = data;

    if (kept->opened && kept->parent == getpid()
        && ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_EXITING) {
        idem_shm_close(&kept->segment);
        kept->opened = 0;
    }
    return APR_SUCCESS;
}

/* Before requests are refused, and again as long as it lasts. */
static void warn_fill(server_rec *s, apr_time_t now)
{
    static apr_time_t last;
    idem_usage_t usage;

    if (last != 0 && now - last < FILL_INTERVAL) {
        return;
    }
    idem_store_usage(idem_server_store, &usage);
    if (usage.size > 0 && usage.used >= usage.size / 100 * FILL_PERCENT) {
        last = now;
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                     "IDEM0025: the store is %d%% full; when it has no room "
                     "new keys are refused. Raise size= of IdempotencyStore "
                     "or lower IdempotencyTTL",
                     (int)(usage.used / (usage.size / 100)));
    }
}

static apr_status_t purge_step(int state, void *data, apr_pool_t *pool)
{
    (void)pool;
    if (state == AP_WATCHDOG_STATE_RUNNING && idem_server_store) {
        idem_store_purge(idem_server_store, idem_store_now(idem_server_store));
        warn_fill(data, idem_store_now(idem_server_store));
    }
    return APR_SUCCESS;
}

static void start_purge(server_rec *s, apr_pool_t *pconf)
{
    APR_OPTIONAL_FN_TYPE(ap_watchdog_get_instance) *get_instance =
        APR_RETRIEVE_OPTIONAL_FN(ap_watchdog_get_instance);
    APR_OPTIONAL_FN_TYPE(ap_watchdog_register_callback) *register_callback =
        APR_RETRIEVE_OPTIONAL_FN(ap_watchdog_register_callback);
    ap_watchdog_t *watchdog;

    if (!get_instance || !register_callback
        || get_instance(&watchdog, "_idempotency_", 0, 1, pconf) != APR_SUCCESS
        || register_callback(watchdog, PURGE_INTERVAL, s, purge_step)
               != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                     "IDEM0007: no mod_watchdog: expired records are freed "
                     "only when room is wanted");
    }
}

/* Rule 60: stable over restarts, so no pointer and no number by position. */
static void name_hosts(server_rec *s, apr_pool_t *pconf)
{
    idem_srv_conf_t *srv;

    for (; s; s = s->next) {
        const char *p;
        apr_uint32_t hash = 2166136261u; /* FNV-1a: only tells hosts apart */

        /* A host without a directive of ours shares the main server's. */
        srv = ap_get_module_config(s->module_config, &idempotency_module);
        srv = apr_pmemdup(pconf, srv, sizeof(*srv));
        ap_set_module_config(s->module_config, &idempotency_module, srv);
        srv->host = apr_psprintf(
            pconf, "%s:%u %s:%u", s->server_hostname ? s->server_hostname : "",
            s->port, s->addrs && s->addrs->virthost ? s->addrs->virthost : "",
            s->addrs ? s->addrs->host_port : 0);
        for (p = srv->host; *p; p++) {
            hash = (hash ^ (unsigned char)*p) * 16777619u;
        }
        srv->host_sum = hash;
    }
}

/* A restart may load another version of this code, which must not take the
 * struct of the old one for its own: it then finds the store in use. */
static idem_retained_t *get_retained(apr_pool_t *pool)
{
    const char *key = apr_psprintf(
        pool, "mod_idempotency %d %" APR_SIZE_T_FMT " %d", RETAINED_LAYOUT,
        sizeof(idem_retained_t), IDEM_RESULT_COUNT);
    idem_retained_t *kept = ap_retained_data_get(key);

    return kept ? kept : ap_retained_data_create(key, sizeof(*kept));
}

int idem_server_post_config(apr_pool_t *pconf, server_rec *s)
{
    apr_status_t rv;

    retained = get_retained(pconf);
    name_hosts(s, pconf);
    if (!retained->opened) {
        if (!open_all(s, pconf)) {
            return HTTP_INTERNAL_SERVER_ERROR;
        }
    }
    else {
        warn_changed(s, pconf);
    }
    apr_pool_cleanup_register(pconf, retained, close_at_exit,
                              apr_pool_cleanup_null);
    rv = idem_store_shm_attach(&idem_server_store, &retained->segment,
                               retained->locks, pconf);
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, s,
                     "IDEM0008: the store could not be used");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    if (idem_key_init() != APR_SUCCESS
        || idem_fingerprint_init() != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, 0, s,
                     "IDEM0009: OpenSSL offers no SHA-256");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    warn_response_max(s);
    start_purge(s, pconf);
    return OK;
}

void idem_server_child_init(apr_pool_t *pchild, server_rec *s)
{
    apr_uint32_t i;
    apr_status_t rv = APR_SUCCESS;

    if (!idem_server_store) {
        return;
    }
    for (i = 0; rv == APR_SUCCESS && i < retained->segment.nshards; i++) {
        rv = apr_global_mutex_child_init(
            &retained->locks[i], apr_global_mutex_lockfile(retained->locks[i]),
            pchild);
    }
    if (rv == APR_SUCCESS) {
        rv = idem_store_shm_child_init(idem_server_store);
    }
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, s,
                     "IDEM0010: this child cannot use the store; it refuses "
                     "keyed requests");
        idem_server_store = NULL;
    }
}

/* Rules 42 and 58: the parent is root, and never reads more than a row. */
void idem_server_child_status(pid_t pid)
{
    if (idem_server_store) {
        idem_store_shm_child_died(idem_server_store, pid);
    }
}
