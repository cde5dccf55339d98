/* idem_server_shm.c: the built-in store over the life of the server.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The segment and its locks outlive restarts: see the top of idem_server.c
 * for what may be kept.
 */
#include "idem_httpd.h"

#include <unistd.h>

#include <apr_strings.h>

#include "util_mutex.h"

#include "idem_store_shm.h"

#define MUTEX_TYPE "idempotency"
#define RETAINED_KEY "mod_idempotency shm "
#define RETAINED_LAYOUT "1" /* of retained_t */
#define LAYOUT_LEN 64
#define STORE_FILE "idempotency.store"
#define STORE_WAIT apr_time_from_sec(10)
#define SHARDS_MAX 64
#define PATH_LEN 4096

/* Plain data only: see the top of idem_server.c. */
typedef struct {
    int opened;
    pid_t parent;
    idem_shm_segment_t segment;
    apr_global_mutex_t *locks[SHARDS_MAX];
    apr_size_t size;
    int sync;
    char path[PATH_LEN];
} retained_t;

static retained_t *retained;

void idem_server_shm_pre_config(apr_pool_t *pconf)
{
    ap_mutex_register(pconf, MUTEX_TYPE, NULL, APR_LOCK_DEFAULT, 0);
}

/* A restart may load another version of this code, which must not take the
 * memory of the old one for its own. */
static const char *layout(apr_pool_t *pool)
{
    return apr_psprintf(pool,
                        RETAINED_KEY RETAINED_LAYOUT " %" APR_SIZE_T_FMT " %d",
                        sizeof(retained_t), IDEM_SHM_FORMAT);
}

static retained_t *get_retained(apr_pool_t *pool)
{
    const char *key = layout(pool);
    retained_t *kept = ap_retained_data_get(key);

    return kept ? kept : ap_retained_data_create(key, sizeof(*kept));
}

/* The text under this key is the same thing in all versions. */
static void remember_layout(apr_pool_t *pool)
{
    char *text = ap_retained_data_get(RETAINED_KEY);

    if (!text) {
        text = ap_retained_data_create(RETAINED_KEY, LAYOUT_LEN);
    }
    apr_cpystrn(text, layout(pool), LAYOUT_LEN);
}

int idem_server_shm_is_foreign(apr_pool_t *pool)
{
    const char *text = ap_retained_data_get(RETAINED_KEY);

    return text && strcmp(text, layout(pool)) != 0;
}

int idem_server_shm_is_open(apr_pool_t *pool)
{
    return get_retained(pool)->opened;
}

/* ---- opening */

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
                     detail
                         ? detail
                         : apr_psprintf(ptemp,
                                        "no memory for size=%" APR_SIZE_T_FMT
                                        ", ask for less",
                                        how.size));
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

static const char *wanted_path(apr_pool_t *pool)
{
    if (idem_global.store_path_set) {
        return idem_global.store_path ? idem_global.store_path : "";
    }
    return ap_runtime_dir_relative(pool, STORE_FILE);
}

static int open_first(server_rec *s, apr_pool_t *pconf)
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
        || create_locks(s) != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, 0, s,
                     "IDEM0005: the locks of the store could not be made");
        idem_shm_close(&retained->segment);
        return 0;
    }
    retained->opened = 1;
    remember_layout(pconf);
    return 1;
}

static void warn_changed(server_rec *s, apr_pool_t *pconf)
{
    const char *path = wanted_path(pconf);

    if (idem_global.provider || retained->size != idem_global.store_size
        || retained->sync != idem_global.store_sync || !path
        || strcmp(path, retained->path) != 0) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                     "IDEM0006: a changed IdempotencyStore takes effect after "
                     "stop and start; until then the store stays as it was");
    }
}

/* ---- life of a server */

/* Runs for children too when their pconf goes, so the pid decides. */
static apr_status_t close_at_exit(void *data)
{
    retained_t *kept = data;

    if (kept->opened && kept->parent == getpid()
        && ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_EXITING) {
        idem_shm_close(&kept->segment);
        kept->opened = 0;
    }
    return APR_SUCCESS;
}

idem_store_t *idem_server_shm_open(server_rec *s, apr_pool_t *pconf)
{
    idem_store_t *store = NULL;
    apr_status_t rv;

    retained = get_retained(pconf);
    if (retained->opened) {
        warn_changed(s, pconf);
    }
    else if (!open_first(s, pconf)) {
        return NULL;
    }
    apr_pool_cleanup_register(pconf, retained, close_at_exit,
                              apr_pool_cleanup_null);
    rv = idem_store_shm_attach(&store, &retained->segment, retained->locks,
                               pconf);
    if (rv != APR_SUCCESS) {
        /* Only a fault of ours leads here: it is what was opened above. */
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, s,
                     "IDEM0008: the store could not be used");
        return NULL;
    }
    return store;
}

apr_status_t idem_server_shm_child_init(idem_store_t *store,
                                        apr_pool_t *pchild)
{
    apr_uint32_t i;
    apr_status_t rv = APR_SUCCESS;

    for (i = 0; rv == APR_SUCCESS && i < retained->segment.nshards; i++) {
        rv = apr_global_mutex_child_init(
            &retained->locks[i], apr_global_mutex_lockfile(retained->locks[i]),
            pchild);
    }
    return rv == APR_SUCCESS ? idem_store_shm_child_init(store) : rv;
}

/* Rules 42 and 58: the parent is root, and never reads more than a row. */
void idem_server_shm_child_died(idem_store_t *store, pid_t pid)
{
    idem_store_shm_child_died(store, pid);
}
