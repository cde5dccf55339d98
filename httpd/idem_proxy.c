/* idem_proxy.c: keeps mod_proxy from running a keyed request twice, and tells
 * its own errors from those of a back end.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A balancer tries the next member after a 503. Some of mod_proxy's parts
 * answer 503 when they could not connect, but also when a back end died after
 * it had the request (idem_reached.c); the next member would then run it a
 * second time.
 *
 * mod_proxy's hook is not an optional one, and mod_proxy need not be loaded:
 * its registration function is looked up by name.
 */
#include "idem_httpd.h"

#include <dlfcn.h>

#include "mod_core.h"

/* As mod_proxy.h declares it; only the request is looked at here. */
typedef int pre_request_t(void **worker, void **balancer, request_rec *r,
                          void *conf, char **url);
typedef void hook_pre_request_t(pre_request_t *fn, const char *const *pre,
                                const char *const *succ, int order);

int idem_proxy_is(const request_rec *r)
{
    return r->proxyreq != PROXYREQ_NONE
           || (r->handler
               && (!strcmp(r->handler, "proxy-server")
                   || !strncmp(r->handler, "proxy:", 6)));
}

/* Location apart, which ErrorDocument may have made. */
static int fields_of(const request_rec *r)
{
    return apr_table_elts(r->headers_out)->nelts
           - (apr_table_get(r->headers_out, "Location") != NULL);
}

void idem_proxy_watch(idem_ctx_t *ctx, request_rec *r)
{
    const request_rec *last = ctx->watched;

    ctx->proxy_answered = last && idem_proxy_is(last)
                          && (fields_of(last) != ctx->watched_fields
                              || last->content_type != ctx->watched_type);
    ctx->watched = r;
    ctx->watched_fields = fields_of(r);
    ctx->watched_type = r->content_type;
}

/* @return the status whose ErrorDocument this is; 0: none, -1: several */
static int status_of_page(request_rec *r, const char *page)
{
    int unknown = ap_index_of_response(HTTP_INTERNAL_SERVER_ERROR);
    int status, found = 0;

    for (status = 400; status < 600; status++) {
        int i = ap_index_of_response(status);
        const char *own;

        /* Statuses that httpd does not know share the index of 500. */
        if (i == unknown && status != HTTP_INTERNAL_SERVER_ERROR) {
            continue;
        }
        own = ap_response_code_string(r, i);
        if (own && !strcmp(own, page)) {
            found = found ? -1 : status;
        }
    }
    return found;
}

int idem_proxy_status(const idem_ctx_t *ctx, request_rec *r)
{
    const char *location = apr_table_get(r->headers_out, "Location");
    int found = 0;

    if (idem_proxy_is(r) && r->status == HTTP_MOVED_TEMPORARILY && location) {
        found = status_of_page(r, location);
    }
    if (found < 0) {
        found = ctx->proxy_answered ? 0 : HTTP_BAD_GATEWAY;
    }
    return found ? found : r->status;
}

/* For each back end that is tried. */
static int pre_request(void **worker, void **balancer, request_rec *r,
                       void *conf, char **url)
{
    idem_ctx_t *ctx = r->main ? NULL : idem_ctx_get(r);

    (void)worker;
    (void)balancer;
    (void)conf;
    (void)url;
    if (!ctx || ctx->state != IDEM_STATE_RECORDING) {
        return DECLINED;
    }
    if (idem_reached(ctx, r)) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r,
                      "IDEM0023: a back end died with the request of key %s; "
                      "it is not given to another one",
                      idem_ctx_short_id(ctx));
        return HTTP_BAD_GATEWAY;
    }
    ctx->proxy_tried = 1;
    ctx->unreached = 0;
    return DECLINED;
}

void idem_proxy_register(void)
{
    hook_pre_request_t *hook;

    /* POSIX makes dlsym() return functions as void *. */
    *(void **)&hook = dlsym(RTLD_DEFAULT, "proxy_hook_pre_request");
    if (hook) {
        hook(pre_request, NULL, NULL, APR_HOOK_REALLY_FIRST);
    }
}
