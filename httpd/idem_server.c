/* idem_server.c: the store and the virtual hosts over the life of the server.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What outlives a restart is plain data, kept by httpd while this code is
 * unloaded and loaded again (rule 28): the segment of the built-in store, see
 * idem_server_shm.c, and the numbers, see idem_numbers.c. The store struct
 * and everything with a pointer into code is made anew each time.
 */
#include "idem_hash.h"
#include "idem_numbers.h"

#include <apr_hash.h>
#include <apr_strings.h>

#include "mod_watchdog.h"

#define PURGE_INTERVAL apr_time_from_msec(500)
#define FILL_PERCENT 80 /* of the store in use: warn, once a minute */
#define FILL_INTERVAL apr_time_from_sec(60)

idem_store_t *idem_server_store;

static int provided; /* the store is that of another module */

void idem_server_pre_config(apr_pool_t *pconf)
{
    /* The last one lay in the pool that was just cleared. */
    idem_server_store = NULL;
    idem_server_shm_pre_config(pconf);
}

/* ---------------------------------------------------------------- opening */

/* A store of another module keeps what it has elsewhere: each start and
 * restart opens it anew. */
static idem_store_t *open_provided(server_rec *s, apr_pool_t *pconf)
{
    const idem_store_provider_t *provider = idem_global.provider;
    const char *detail = NULL;
    idem_store_t *store = NULL;
    apr_status_t rv;

    rv = provider->open(&store, &detail, idem_global.provider_conf, pconf);
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, s,
                     "IDEM0100: store %s could not be opened: %s",
                     idem_global.provider_name, detail ? detail : "no detail");
        return NULL;
    }
    if (detail) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s, "IDEM0101: store %s: %s",
                     idem_global.provider_name, detail);
    }
    return store;
}

/* Requests may be running in a segment that is open: it stays the store
 * until the server stops, whatever the directive says by now. */
static int is_provided(apr_pool_t *pconf)
{
    return idem_global.provider && !idem_server_shm_is_open(pconf);
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
            "; longer answers are not kept.%s",
            idem_global.response_max, most,
            provided ? "" : " A larger size= of IdempotencyStore takes more");
    }
}

/* ---- life of a server */

/* Before requests are refused, and again as long as it lasts. */
static void warn_fill(server_rec *s)
{
    idem_usage_t usage;

    idem_store_usage(idem_server_store, &usage);
    if (usage.size > 0 && usage.used >= usage.size / 100 * FILL_PERCENT
        && idem_numbers_turn(IDEM_TURN_WARN, FILL_INTERVAL)) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                     "IDEM0025: the store is %d%% full; when it has no room "
                     "new keys are refused. Raise %s "
                     "or lower IdempotencyTTL",
                     (int)(usage.used / (usage.size / 100)),
                     provided ? "its memory" : "size= of IdempotencyStore");
    }
}

static apr_status_t purge_step(int state, void *data, apr_pool_t *pool)
{
    (void)pool;
    if (state == AP_WATCHDOG_STATE_RUNNING && idem_server_store
        && idem_numbers_turn(IDEM_TURN_PURGE, PURGE_INTERVAL)) {
        idem_store_purge(idem_server_store, idem_store_now(idem_server_store));
        warn_fill(data);
        idem_numbers_step();
    }
    return APR_SUCCESS;
}

/* Not a singleton of mod_watchdog: when the child that is it dies, the next
 * one becomes it ten seconds later. */
static void start_purge(server_rec *s, apr_pool_t *pconf)
{
    APR_OPTIONAL_FN_TYPE(ap_watchdog_get_instance) *get_instance =
        APR_RETRIEVE_OPTIONAL_FN(ap_watchdog_get_instance);
    APR_OPTIONAL_FN_TYPE(ap_watchdog_register_callback) *register_callback =
        APR_RETRIEVE_OPTIONAL_FN(ap_watchdog_register_callback);
    ap_watchdog_t *watchdog;

    if (!get_instance || !register_callback
        || get_instance(&watchdog, "_idempotency_", 0, 0, pconf) != APR_SUCCESS
        || register_callback(watchdog, AP_WD_TM_SLICE, s, purge_step)
               != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                     "IDEM0007: no mod_watchdog: expired records are freed "
                     "only when room is wanted");
    }
}

/* As people name it: two hosts may have the same. */
static const char *label_of(const server_rec *s, apr_pool_t *pool)
{
    unsigned int port =
        s->addrs && s->addrs->host_port ? s->addrs->host_port : s->port;
    const char *name = s->server_hostname ? s->server_hostname : "";

    return port ? apr_psprintf(pool, "%s:%u", name, port) : name;
}

static const char *add_names(const char *text, const apr_array_header_t *names,
                             apr_pool_t *pool)
{
    int i;

    for (i = 0; names && i < names->nelts; i++) {
        const char *name = APR_ARRAY_IDX(names, i, const char *);

        text = name ? apr_pstrcat(pool, text, " ", name, NULL) : text;
    }
    return text;
}

/* Rule 60: stable over restarts, so no pointer and no number by position.
 * Hosts without ServerName all have the machine's. The first of a name has it
 * to itself; the others are told apart as their requests are, by ServerAlias.
 */
static const char *host_of(const server_rec *s, apr_hash_t *taken,
                           apr_pool_t *pool)
{
    const char *host = apr_psprintf(
        pool, "%s:%u %s:%u", s->server_hostname ? s->server_hostname : "",
        s->port, s->addrs && s->addrs->virthost ? s->addrs->virthost : "",
        s->addrs ? s->addrs->host_port : 0);

    if (apr_hash_get(taken, host, APR_HASH_KEY_STRING)) {
        host = add_names(host, s->names, pool);
        host = add_names(host, s->wild_names, pool);
    }
    apr_hash_set(taken, host, APR_HASH_KEY_STRING, s);
    return host;
}

static void name_hosts(server_rec *s, apr_pool_t *pconf)
{
    apr_hash_t *taken = apr_hash_make(pconf);
    idem_srv_conf_t *srv;

    for (; s; s = s->next) {
        const char *p;
        apr_uint32_t hash = 2166136261u; /* FNV-1a: only tells hosts apart */

        /* A host without a directive of ours shares the main server's. */
        srv = ap_get_module_config(s->module_config, &idempotency_module);
        srv = apr_pmemdup(pconf, srv, sizeof(*srv));
        ap_set_module_config(s->module_config, &idempotency_module, srv);
        srv->host = host_of(s, taken, pconf);
        for (p = srv->host; *p; p++) {
            hash = (hash ^ (unsigned char)*p) * 16777619u;
        }
        srv->host_sum = hash;
        srv->label = label_of(s, pconf);
    }
}

/* What keys the old children run cannot be seen: no new one may run, but
 * all other requests of this machine can. */
static int go_without_store(server_rec *s)
{
    ap_log_error(APLOG_MARK, APLOG_CRIT, 0, s,
                 "IDEM0029: a restart loaded another version of "
                 "mod_idempotency, which cannot go on with the store of the "
                 "one before: stop and start httpd; until then requests with "
                 "a key are refused");
    return OK;
}

int idem_server_post_config(apr_pool_t *pconf, server_rec *s)
{
    name_hosts(s, pconf);
    idem_numbers_open(s);
    if (idem_hash_init() != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, 0, s,
                     "IDEM0009: OpenSSL offers no SHA-256");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    if (idem_server_shm_is_foreign(pconf)) {
        return go_without_store(s);
    }
    provided = is_provided(pconf);
    idem_server_store =
        provided ? open_provided(s, pconf) : idem_server_shm_open(s, pconf);
    if (!idem_server_store) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    warn_response_max(s);
    start_purge(s, pconf);
    return OK;
}

void idem_server_child_init(apr_pool_t *pchild, server_rec *s)
{
    apr_status_t rv;

    if (!idem_server_store) {
        return;
    }
    rv = provided ? idem_global.provider->child_init(idem_server_store, pchild)
                  : idem_server_shm_child_init(idem_server_store, pchild);
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, s,
                     "IDEM0010: this child cannot use the store; it refuses "
                     "keyed requests");
        idem_server_store = NULL;
    }
}

void idem_server_child_status(pid_t pid)
{
    if (idem_server_store && !provided) {
        idem_server_shm_child_died(idem_server_store, pid);
    }
}
