/* mod_idempotency.c: START HERE. The module record, the hooks, and the way
 * of a request on one page.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A POST or PATCH with an Idempotency-Key is claimed, run once, recorded
 * before its first byte leaves, and replayed on each retry:
 *
 *   fixups    tell the application its key
 *   handler   first of all: read the body, take the fingerprint, claim;
 *             then run, replay or refuse
 *   recorder  httpd/idem_capture.c: collect the answer, commit, send
 *
 * lib/ holds the decisions, stores/ the memory, httpd/ the glue.
 */
#include "idem_audit.h"
#include "idem_numbers.h"
#include "idem_page.h"

#include "ap_mpm.h"
#include "mod_status.h"
#include "mpm_common.h"

/* nph- scripts write past all filters: their answers cannot be recorded. */
static int is_nph(const request_rec *r)
{
    const char *base;

    if (!r->filename || !idem_request_is_cgi(r)) {
        return 0;
    }
    base = strrchr(r->filename, '/');
    return strncmp(base ? base + 1 : r->filename, "nph-", 4) == 0;
}

/* Not before the handler phase (rule 9): only now all authorization is over
 * and the handler is final. */
static int idem_fixups(request_rec *r)
{
    const idem_dir_conf_t *conf = r->main ? NULL : idem_config_get(r);
    const char *key, *why = NULL;

    if (conf && idem_request_key(&key, &why, r, conf, NULL) == APR_SUCCESS) {
        apr_table_setn(r->subprocess_env, "IDEMPOTENCY_KEY", key);
    }
    return DECLINED;
}

static int execute(idem_ctx_t *ctx, request_rec *r)
{
    idem_body_give(ctx, r);
    idem_capture_start(ctx, r);
    return DECLINED;
}

static int bypass(idem_ctx_t *ctx, request_rec *r)
{
    ctx->state = IDEM_STATE_SETTLED;
    idem_ctx_result(ctx, r, IDEM_RESULT_BYPASSED);
    idem_body_give(ctx, r);
    idem_capture_add(ctx, r);
    return DECLINED;
}

/* A request that waits claims again and again: what it found first says
 * whether its key was known. */
static void count_claim(idem_ctx_t *ctx, apr_status_t rv, idem_claim_t found)
{
    if (rv != APR_SUCCESS) {
        return;
    }
    idem_numbers_timing(ctx->srv, IDEM_TIMING_CLAIM, ctx->claim_began);
    if (!ctx->looked) {
        ctx->looked = 1;
        idem_numbers_found(ctx->srv, found);
    }
}

static apr_status_t claim(idem_ctx_t *ctx, request_rec *r, idem_claim_t *found,
                          idem_blob_t *record)
{
    idem_ask_t ask = { 0 };
    apr_status_t rv;

    if (!idem_server_store) {
        return APR_EGENERAL;
    }
    ask.id = &ctx->id;
    ask.print = &ctx->print;
    ask.host = ctx->srv->host_sum;
    ask.quota = ctx->srv->quota > 0 ? ctx->srv->quota : 0;
    ask.rerun_unknown = ctx->conf->rerun_unknown;
    ask.now = idem_store_now(idem_server_store);
    ask.ttl = ctx->conf->ttl;
    ctx->claim_began = idem_numbers_clock();
    rv = idem_store_claim(idem_server_store, found, &ctx->token, record, &ask,
                          ctx->pool);
    count_claim(ctx, rv, *found);
    if (APR_STATUS_IS_ENOSPC(rv)) {
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r,
                      "IDEM0011: no room for key %s: the store is full, "
                      "or the virtual host's quota",
                      idem_ctx_short_id(ctx));
    }
    else if (rv != APR_SUCCESS) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, rv, r,
                      "IDEM0012: store %s could not claim key %s",
                      idem_server_store->name, idem_ctx_short_id(ctx));
    }
    return rv;
}

/* While the first request runs, and waiting is allowed. */
static apr_status_t claim_or_wait(idem_ctx_t *ctx, request_rec *r,
                                  idem_claim_t *found, idem_blob_t *record)
{
    idem_wait_t wait = { 0 };
    apr_status_t rv;

    do {
        rv = claim(ctx, r, found, record);
    } while (rv == APR_SUCCESS && *found == IDEM_CLAIM_IN_PROGRESS
             && idem_wait_more(&wait, ctx, r));
    idem_wait_end(&wait);
    return rv;
}

static int claim_and_act(idem_ctx_t *ctx, request_rec *r)
{
    idem_claim_t found = IDEM_CLAIM_UNKNOWN;
    idem_blob_t blob = { NULL, 0 };
    idem_problem_t problem = IDEM_PROBLEM_STORE_UNAVAILABLE;
    idem_record_t record;
    apr_status_t rv;

    rv = claim_or_wait(ctx, r, &found, &blob);
    switch (idem_flow_decide(&problem, rv, found, ctx->conf->bypass)) {
    case IDEM_DO_EXECUTE:
        return execute(ctx, r);
    case IDEM_DO_BYPASS:
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, rv, r,
                      "IDEM0013: no store: the request runs unprotected "
                      "(IdempotencyStoreFailure bypass)");
        return bypass(ctx, r);
    case IDEM_DO_REPLAY:
        return idem_replay(ctx, r, &blob);
    case IDEM_DO_REFUSE:
        break;
    }
    if (problem == IDEM_PROBLEM_RESPONSE_NOT_RETAINED
        && idem_record_decode(&record, &blob, ctx->pool) == APR_SUCCESS) {
        return idem_refuse(ctx, r, problem, NULL, &record);
    }
    return idem_refuse(ctx, r, problem, NULL, NULL);
}

/* Also done for requests that turn out to have no key, where it can be in
 * the body. @return OK, or what the handler has to return */
static int read_body(idem_ctx_t *ctx, request_rec *r)
{
    int too_large = 0;
    int status;

    if (ctx->body_read) {
        return OK;
    }
    status = idem_body_read(ctx, r, &too_large);
    if (status != OK) {
        ctx->state = IDEM_STATE_SETTLED;
        return status;
    }
    return too_large ? idem_refuse(ctx, r, IDEM_PROBLEM_PAYLOAD_TOO_LARGE,
                                   NULL, NULL)
                     : OK;
}

/* A key is there and usable: from here on the request is ours. */
static int protect(idem_ctx_t *ctx, request_rec *r)
{
    int status;

    /* RFC 9110 14.2: Range is defined for GET only, yet the byterange filter
     * would cut a replayed 200 into a 206. */
    apr_table_unset(r->headers_in, "Range");
    apr_table_unset(r->headers_in, "If-Range");

    status = read_body(ctx, r);
    if (status != OK || ctx->state == IDEM_STATE_SETTLED) {
        return status;
    }
    if (idem_request_id(ctx, r) != APR_SUCCESS) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                      "IDEM0014: the digest of a key could not be made");
        return idem_refuse(ctx, r, IDEM_PROBLEM_STORE_UNAVAILABLE, NULL, NULL);
    }
    idem_audit_principal(ctx, r);
    return claim_and_act(ctx, r);
}

static int take_key(idem_ctx_t *ctx, request_rec *r, const char *key)
{
    const char *why = NULL;

    ctx->key = key;
    apr_table_setn(r->subprocess_env, "IDEMPOTENCY_KEY", key);
    switch (idem_request_key_age(&why, key, ctx->conf)) {
    case APR_SUCCESS:
        break;
    case APR_TIMEUP:
        return idem_refuse(ctx, r, IDEM_PROBLEM_KEY_EXPIRED, why, NULL);
    default:
        return idem_refuse(ctx, r, IDEM_PROBLEM_INVALID_KEY, why, NULL);
    }
    if (is_nph(r)) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r,
                      "IDEM0020: %s is an nph- script, whose answer goes "
                      "past all filters: it runs unprotected",
                      r->filename);
        return bypass(ctx, r);
    }
    return protect(ctx, r);
}

static int first_pass(request_rec *r, const idem_dir_conf_t *conf)
{
    const char *key = NULL, *why = NULL;
    idem_ctx_t *ctx;
    apr_status_t rv;
    int status;

    rv = idem_request_key(&key, &why, r, conf, NULL);
    if (rv == APR_NOTFOUND && conf->require_key != 1) {
        return DECLINED;
    }
    ctx = idem_ctx_create(r, conf);
    if (APR_STATUS_IS_INCOMPLETE(rv)) {
        status = read_body(ctx, r);
        if (status != OK || ctx->state == IDEM_STATE_SETTLED) {
            return status;
        }
        rv = idem_request_key(&key, &why, r, conf, ctx);
    }
    if (rv == APR_SUCCESS) {
        return take_key(ctx, r, key);
    }
    if (rv != APR_NOTFOUND) {
        return idem_refuse(ctx, r, IDEM_PROBLEM_INVALID_KEY, why, NULL);
    }
    if (conf->require_key == 1) {
        return idem_refuse(ctx, r, IDEM_PROBLEM_MISSING_KEY,
                           idem_request_missing(conf, r->pool), NULL);
    }
    ctx->state = IDEM_STATE_SETTLED; /* nothing to protect */
    idem_body_give(ctx, r);
    return DECLINED;
}

/* Before every content handler, after authorization: a stranger must not be
 * able to fetch somebody's recorded answer (rules 9 and 61). */
static int idem_handler(request_rec *r)
{
    const idem_dir_conf_t *conf;
    idem_ctx_t *ctx;

    if (r->main || (r->handler && !strcmp(r->handler, "redirect-handler"))
        || idem_page_is_ours(r)) {
        return DECLINED;
    }
    ctx = idem_ctx_get(r);
    if (ctx) {
        /* An internal redirect lost the filters and has an environment of its
         * own; the claim stands. */
        if (ctx->key) {
            apr_table_setn(r->subprocess_env, "IDEMPOTENCY_KEY", ctx->key);
        }
        idem_body_give(ctx, r);
        idem_capture_add(ctx, r);
        return DECLINED;
    }
    conf = idem_config_get(r);
    return conf ? first_pass(r, conf) : DECLINED;
}

static void idem_insert_error_filter(request_rec *r)
{
    idem_ctx_t *ctx = r->main ? NULL : idem_ctx_get(r);

    if (ctx && ctx->state == IDEM_STATE_RECORDING) {
        idem_capture_error_page(ctx, r);
    }
}

static int idem_log_transaction(request_rec *r)
{
    idem_ctx_t *ctx = idem_ctx_get(r);

    if (ctx) {
        idem_capture_end(ctx, r);
        idem_audit_request(ctx, r);
    }
    return DECLINED;
}

static int idem_pre_config(apr_pool_t *pconf, apr_pool_t *plog,
                           apr_pool_t *ptemp)
{
    (void)plog;
    (void)ptemp;
    idem_config_reset(pconf);
    idem_server_pre_config(pconf);
    idem_proxy_register();
    return OK;
}

static int idem_post_config(apr_pool_t *pconf, apr_pool_t *plog,
                            apr_pool_t *ptemp, server_rec *s)
{
    int status;

    (void)plog;
    (void)ptemp;
    /* Rule 47: the first reading must leave nothing behind. */
    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG) {
        return OK;
    }
    status = idem_server_post_config(pconf, s);
    if (status == OK && !idem_wait_open(s)) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, 0, s,
                     "IDEM0027: no shared memory for IdempotencyMaxWaiters");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    return status;
}

static void idem_child_status(server_rec *s, pid_t pid, ap_generation_t gen,
                              int slot, mpm_child_status status)
{
    (void)s;
    (void)gen;
    (void)slot;
    if (status == MPM_CHILD_EXITED) {
        idem_server_child_status(pid);
        idem_wait_child_died(pid);
    }
}

static void register_hooks(apr_pool_t *pool)
{
    (void)pool;
    ap_hook_pre_config(idem_pre_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_open_logs(idem_audit_open, NULL, NULL, APR_HOOK_MIDDLE);
    /* mod_watchdog looks for its clients at APR_HOOK_LAST. */
    ap_hook_post_config(idem_post_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_init(idem_server_child_init, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_status(idem_child_status, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_fixups(idem_fixups, NULL, NULL, APR_HOOK_LAST);
    ap_hook_handler(idem_handler, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_handler(idem_page_handler, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_insert_error_filter(idem_insert_error_filter, NULL, NULL,
                                APR_HOOK_LAST);
    ap_hook_log_transaction(idem_log_transaction, NULL, NULL,
                            APR_HOOK_REALLY_FIRST);
    APR_OPTIONAL_HOOK(ap, status_hook, idem_status_hook, NULL, NULL,
                      APR_HOOK_MIDDLE);
    idem_body_register();
    idem_capture_register();
    idem_reached_register();
}

/* Not AP_DECLARE_MODULE: it does not compile beside APLOG_USE_MODULE. */
module AP_MODULE_DECLARE_DATA idempotency_module = {
    STANDARD20_MODULE_STUFF, idem_config_create_dir,
    idem_config_merge_dir,   idem_config_create_srv,
    idem_config_merge_srv,   idem_config_cmds,
    register_hooks,          0,
};
