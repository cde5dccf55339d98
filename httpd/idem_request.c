/* idem_request.c: request_rec -> context, key and id.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_numbers.h"
#include "idem_principal.h"

#include <apr_strings.h>

#include "idem_key_time.h"

#define CTX_KEY "mod_idempotency:ctx"

request_rec *idem_request_first(request_rec *r)
{
    while (r->prev) {
        r = r->prev;
    }
    return r;
}

/* Rule 6: all requests of a redirect chain share this pool, and nothing
 * else that lasts. */
idem_ctx_t *idem_ctx_get(request_rec *r)
{
    void *ctx = NULL;

    apr_pool_userdata_get(&ctx, CTX_KEY, r->pool);
    return ctx;
}

idem_ctx_t *idem_ctx_create(request_rec *r, const idem_dir_conf_t *conf)
{
    idem_ctx_t *ctx = apr_pcalloc(r->pool, sizeof(*ctx));

    ctx->state = IDEM_STATE_OPEN;
    ctx->pool = r->pool;
    ctx->first = idem_request_first(r);
    ctx->conf = conf;
    ctx->srv =
        ap_get_module_config(r->server->module_config, &idempotency_module);
    apr_pool_userdata_setn(ctx, CTX_KEY, NULL, r->pool);
    return ctx;
}

void idem_ctx_result(idem_ctx_t *ctx, request_rec *r, int result)
{
    const char *word = idem_result_str(result);

    /* Rule 54: log formats read the first request, scripts the last. */
    apr_table_setn(ctx->first->subprocess_env, "IDEMPOTENCY_RESULT", word);
    apr_table_setn(r->subprocess_env, "IDEMPOTENCY_RESULT", word);
    if (ctx->key) {
        apr_table_setn(ctx->first->subprocess_env, "IDEMPOTENCY_KEY",
                       ctx->key);
    }
    ctx->result = result;
    if (!ctx->counted) {
        ctx->counted = 1;
        idem_numbers_result(ctx->srv, result);
    }
    ap_log_rerror(APLOG_MARK, APLOG_DEBUG, 0, r, "key %s: %s",
                  idem_ctx_short_id(ctx), word);
}

const char *idem_ctx_short_id(const idem_ctx_t *ctx)
{
    char *text = apr_palloc(ctx->pool, 17);

    ap_bin2hex(ctx->id.bytes, 8, text);
    return text;
}

/* A page made for an error that came before any handler ran has nothing to
 * do with the key: such errors are never kept. */
static int is_page_for_early_error(const request_rec *r)
{
    return r->prev && r->status != HTTP_OK;
}

int idem_request_is_covered(request_rec *r, const apr_array_header_t *methods)
{
    const char *method = idem_request_first(r)->method;
    int i;

    if (is_page_for_early_error(r)) {
        return 0;
    }
    for (i = 0; i < methods->nelts; i++) {
        if (!strcmp(method, APR_ARRAY_IDX(methods, i, const char *))) {
            return 1;
        }
    }
    return 0;
}

int idem_request_is_cgi(const request_rec *r)
{
    return r->handler
           && (!strcmp(r->handler, "cgi-script")
               || !strcmp(r->handler, "application/x-httpd-cgi"));
}

/* Only a body of the right type can hold a key, and only in a real one. */
static int may_be_in_body(request_rec *r, const idem_dir_conf_t *conf)
{
    return idem_seek_is_possible(conf->sources,
                                 apr_table_get(r->headers_in, "Content-Type"));
}

static apr_status_t from_header(const char **key, const char **why,
                                request_rec *r, const idem_dir_conf_t *conf,
                                const char *name)
{
    const char *value = apr_table_get(r->headers_in, name);

    if (!value) {
        return APR_NOTFOUND;
    }
    return idem_key_parse(key, why, value, (idem_key_syntax_t)conf->syntax,
                          (apr_size_t)conf->key_len_max, r->pool);
}

/* Rule 8: of the request as the client sent it. */
static apr_status_t from_query(const char **key, const char **why,
                               request_rec *r, const idem_dir_conf_t *conf,
                               const char *name)
{
    const char *value = NULL;
    apr_status_t rv;

    rv = idem_source_query(
        &value, why, idem_request_first(r)->parsed_uri.query, name, r->pool);
    return rv != APR_SUCCESS
               ? rv
               : idem_key_plain(key, why, value, (apr_size_t)conf->key_len_max,
                                r->pool);
}

static apr_status_t from_body(const char **key, const char **why,
                              request_rec *r, const idem_dir_conf_t *conf,
                              const idem_ctx_t *ctx, int which)
{
    if (!ctx) {
        return may_be_in_body(r, conf) ? APR_INCOMPLETE : APR_NOTFOUND;
    }
    if (APR_STATUS_IS_NOTFOUND(ctx->body_rv) || ctx->body_which != which) {
        return APR_NOTFOUND;
    }
    if (ctx->body_rv != APR_SUCCESS) {
        *why = ctx->body_why;
        return ctx->body_rv;
    }
    return idem_key_plain(key, why, ctx->body_key,
                          (apr_size_t)conf->key_len_max, r->pool);
}

/* What the first source that is present says. */
static apr_status_t find_key(const char **key, const char **why,
                             request_rec *r, const idem_dir_conf_t *conf,
                             const idem_ctx_t *ctx)
{
    apr_status_t rv = APR_NOTFOUND;
    int i;

    for (i = 0; i < conf->sources->nelts && APR_STATUS_IS_NOTFOUND(rv); i++) {
        const idem_source_t *source =
            &APR_ARRAY_IDX(conf->sources, i, idem_source_t);

        switch (source->kind) {
        case IDEM_SOURCE_HEADER:
            rv = from_header(key, why, r, conf, source->name);
            break;
        case IDEM_SOURCE_QUERY:
            rv = from_query(key, why, r, conf, source->name);
            break;
        case IDEM_SOURCE_FORM:
        case IDEM_SOURCE_JSON:
            rv = from_body(key, why, r, conf, ctx, i);
            break;
        }
    }
    return rv;
}

apr_status_t idem_request_key(const char **key, const char **why,
                              request_rec *r, const idem_dir_conf_t *conf,
                              const idem_ctx_t *ctx)
{
    apr_status_t rv = find_key(key, why, r, conf, ctx);

    if (rv != APR_SUCCESS) {
        return APR_STATUS_IS_NOTFOUND(rv) || APR_STATUS_IS_INCOMPLETE(rv)
                   ? rv
                   : APR_EINVAL;
    }
    if (conf->key_pattern
        && ap_regexec(conf->key_pattern, *key, 0, NULL, 0) != 0) {
        *why = "The key does not have the form that this service asks for.";
        return APR_EINVAL;
    }
    return APR_SUCCESS;
}

const char *idem_request_missing(const idem_dir_conf_t *conf, apr_pool_t *pool)
{
    return apr_pstrcat(pool, "This operation needs an idempotency key in ",
                       idem_source_names(conf->sources, pool), ". ",
                       IDEM_PROBLEM_HOW_TO_SEND, NULL);
}

/* Clocks of clients differ by this much. */
#define FUTURE_MAX apr_time_from_sec(5 * 60)

apr_status_t idem_request_key_age(const char **why, const char *key,
                                  const idem_dir_conf_t *conf)
{
    apr_time_t made, now;

    if (conf->key_age_max <= 0 || !idem_key_time(key, &made)) {
        return APR_SUCCESS;
    }
    now = apr_time_now();
    if (made > now + FUTURE_MAX) {
        *why = "The time in the key lies more than 5 minutes in the future.";
        return APR_EINVAL;
    }
    if (made < now - conf->key_age_max) {
        *why = "The time in the key is further back than this service "
               "takes. Check whether the operation took effect before you "
               "send it with a new key.";
        return APR_TIMEUP;
    }
    return APR_SUCCESS;
}

static apr_status_t id_of(idem_digest_t *id, const idem_ctx_t *ctx,
                          request_rec *r, const char *key)
{
    idem_who_t who = { 0 };

    who.user = r->user;
    who.fields = r->headers_in;
    who.ip = r->useragent_ip;
    who.r = r;
    return idem_principal_id(id, ctx->srv->host, ctx->conf->principal, &who,
                             key, ctx->pool);
}

apr_status_t idem_request_id(idem_ctx_t *ctx, request_rec *r)
{
    if (!idem_server_store) {
        return APR_SUCCESS; /* the claim says so in its own words */
    }
    return id_of(&ctx->id, ctx, r, ctx->key);
}

/* No key of a client is empty. */
apr_status_t idem_request_principal(idem_digest_t *digest,
                                    const idem_ctx_t *ctx, request_rec *r)
{
    return idem_server_store ? id_of(digest, ctx, r, "") : APR_EGENERAL;
}
