/* idem_request.c: request_rec -> context, key and id.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_httpd.h"

#include <apr_strings.h>

#include "mod_ssl.h"

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
    if (!ctx->counted) {
        ctx->counted = 1;
        idem_server_count(result);
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

int idem_request_is_covered(request_rec *r, const idem_dir_conf_t *conf)
{
    const char *method = idem_request_first(r)->method;
    int i;

    if (is_page_for_early_error(r)) {
        return 0;
    }
    for (i = 0; i < conf->methods->nelts; i++) {
        if (!strcmp(method, APR_ARRAY_IDX(conf->methods, i, const char *))) {
            return 1;
        }
    }
    return 0;
}

apr_status_t idem_request_key(const char **key, const char **why,
                              request_rec *r, const idem_dir_conf_t *conf)
{
    const char *value = apr_table_get(r->headers_in, conf->key_field);
    apr_status_t rv;

    if (!value) {
        return APR_NOTFOUND;
    }
    rv = idem_key_parse(key, why, value, (idem_key_syntax_t)conf->syntax,
                        (apr_size_t)conf->key_len_max, r->pool);
    if (rv != APR_SUCCESS) {
        return APR_EINVAL;
    }
    if (conf->key_pattern
        && ap_regexec(conf->key_pattern, *key, 0, NULL, 0) != 0) {
        *why = "The key does not have the form that this service asks for.";
        return APR_EINVAL;
    }
    return APR_SUCCESS;
}

/* ------------------------------------------------------------ principal */

static void add_text(idem_key_digest_t *digest, const char *text)
{
    /* An absent part must differ from an empty one. */
    idem_key_digest_add(digest, text ? "+" : "-", 1);
    if (text) {
        idem_key_digest_add(digest, text, strlen(text));
    }
}

static void add_credentials(idem_key_digest_t *digest, request_rec *r)
{
    if (r->user) {
        add_text(digest, "user");
        add_text(digest, r->user);
    }
    else {
        add_text(digest, "authorization");
        add_text(digest, apr_table_get(r->headers_in, "Authorization"));
    }
}

static int cookie_matches(const char *pattern, const char *name,
                          apr_size_t len)
{
    apr_size_t plen = strlen(pattern);

    if (plen > 0 && pattern[plen - 1] == '*') {
        return len >= plen - 1 && !strncmp(name, pattern, plen - 1);
    }
    return len == plen && !strncmp(name, pattern, len);
}

/* Every cookie of that name counts, in order: a client that sends two must
 * not be taken for one that sends either. */
static void add_cookies(idem_key_digest_t *digest, request_rec *r,
                        const char *pattern)
{
    const char *at = apr_table_get(r->headers_in, "Cookie");
    const char *end, *eq;

    while (at && *at) {
        at += strspn(at, "; \t");
        end = at + strcspn(at, ";");
        eq = memchr(at, '=', (apr_size_t)(end - at));
        if (eq && cookie_matches(pattern, at, (apr_size_t)(eq - at))) {
            idem_key_digest_add(digest, at, (apr_size_t)(end - at));
        }
        at = end;
    }
    add_text(digest, NULL);
}

static const char *tls_client(request_rec *r)
{
    static char name[] = "SSL_CLIENT_CERT"; /* the API takes a char * */
    APR_OPTIONAL_FN_TYPE(ssl_var_lookup) *lookup =
        APR_RETRIEVE_OPTIONAL_FN(ssl_var_lookup);
    const char *cert;

    if (!lookup) {
        return NULL;
    }
    cert = lookup(r->pool, r->server, r->connection, r, name);
    return cert && *cert ? cert : NULL;
}

static apr_status_t add_expr(idem_key_digest_t *digest, request_rec *r,
                             ap_expr_info_t *expr)
{
    const char *err = NULL;
    const char *value = ap_expr_str_exec(r, expr, &err);

    if (err) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                      "IDEM0016: IdempotencyPrincipal expr: %s", err);
        return APR_EGENERAL;
    }
    add_text(digest, value);
    return APR_SUCCESS;
}

static apr_status_t add_principal(idem_key_digest_t *digest, request_rec *r,
                                  const idem_principal_t *part)
{
    idem_key_digest_add(digest, &part->kind, sizeof(part->kind));
    add_text(digest, part->name);
    switch (part->kind) {
    case IDEM_PRINCIPAL_CREDENTIALS:
        add_credentials(digest, r);
        return APR_SUCCESS;
    case IDEM_PRINCIPAL_COOKIE:
        add_cookies(digest, r, part->name);
        return APR_SUCCESS;
    case IDEM_PRINCIPAL_HEADER:
        add_text(digest, apr_table_get(r->headers_in, part->name));
        return APR_SUCCESS;
    case IDEM_PRINCIPAL_IP:
        add_text(digest, r->useragent_ip);
        return APR_SUCCESS;
    case IDEM_PRINCIPAL_TLS:
        add_text(digest, tls_client(r));
        return APR_SUCCESS;
    case IDEM_PRINCIPAL_EXPR:
        return add_expr(digest, r, part->expr);
    }
    return APR_EGENERAL;
}

apr_status_t idem_request_id(idem_ctx_t *ctx, request_rec *r)
{
    const apr_array_header_t *parts = ctx->conf->principal;
    idem_key_digest_t *digest;
    apr_status_t rv;
    int i;

    if (!idem_server_store) {
        return APR_SUCCESS; /* the claim says so in its own words */
    }
    rv = idem_key_digest_create(&digest, idem_server_store->secret,
                                sizeof(idem_server_store->secret), ctx->pool);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    add_text(digest, ctx->srv->host);
    for (i = 0; i < parts->nelts; i++) {
        rv = add_principal(digest, r,
                           &APR_ARRAY_IDX(parts, i, idem_principal_t));
        if (rv != APR_SUCCESS) {
            return rv;
        }
    }
    idem_key_digest_add(digest, "key", 3);
    idem_key_digest_add(digest, ctx->key, strlen(ctx->key));
    return idem_key_digest_end(digest, &ctx->id);
}
