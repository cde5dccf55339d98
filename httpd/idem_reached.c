/* idem_reached.c: behind a 503: may the back end have had the request?
 * SPDX-License-Identifier: Apache-2.0
 *
 * A 503 frees the key, since mod_proxy makes it when no back end could be
 * connected. Others make it also when a back end went away after it had been
 * given the request:
 *
 *   mod_proxy_fcgi, _scgi, _uwsgi   They make the CGI variables once they are
 *                                   connected.
 *   mod_cgid                        Each graceful restart ends its daemon, and
 *                                   a script that it has just started runs on.
 *   mod_proxy_ajp                   For requests that it takes for repeatable,
 *                                   such as PUT and DELETE.
 *   mod_proxy_http2                 It asks for the body when it is connected
 *                                   and heard; without one nobody can tell.
 *
 * For mod_cgid and mod_proxy_ajp both look the same but for the line in the
 * error log. What is not known to be the first counts as the second.
 */
#include "idem_httpd.h"

/* Numbers of messages never change (httpd's docs/log-message-tags). */
static const char *const unreached[] = { "AH01257:", "AH01258:", "AH02833:",
                                         "AH00896:", "AH00897:" };
static const char *const reached[] = { "AH10245:", "AH10246:" };

#define COUNT(list) (sizeof(list) / sizeof(*(list)))

static int starts_with(const char *text, const char *const *list,
                       apr_size_t count)
{
    apr_size_t i;

    for (i = 0; i < count; i++) {
        if (!strncmp(text, list[i], strlen(list[i]))) {
            return 1;
        }
    }
    return 0;
}

static void error_log(const ap_errorlog_info *info, const char *text)
{
    request_rec *r = (request_rec *)info->r; /* only its pool is looked at */
    idem_ctx_t *ctx = r && text && *text == 'A' ? idem_ctx_get(r) : NULL;

    if (!ctx || ctx->state != IDEM_STATE_RECORDING) {
        return;
    }
    if (starts_with(text, unreached, COUNT(unreached))) {
        ctx->unreached = 1;
    }
    else if (starts_with(text, reached, COUNT(reached))) {
        /* It asks the daemon twice: the second time it was started. */
        ctx->unreached = 0;
    }
}

/* Scheme and the rest of the URL of the back end, or of the balancer's last
 * choice. */
static const char *url_of(const request_rec *r)
{
    const char *member =
        apr_table_get(r->subprocess_env, "BALANCER_WORKER_NAME");

    if (member) {
        return member;
    }
    return r->filename && !strncmp(r->filename, "proxy:", 6) ? r->filename + 6
                                                             : "";
}

static int proxy_reached(const idem_ctx_t *ctx, const request_rec *r)
{
    const char *url = url_of(r);

    if (!ctx->proxy_tried) {
        return 0;
    }
    if (!strncmp(url, "ajp:", 4)) {
        return !ctx->unreached && r->method_number != M_POST
               && r->method_number != M_PATCH;
    }
    if (!strncmp(url, "h2:", 3) || !strncmp(url, "h2c:", 4)) {
        return ctx->body_len == 0 || ctx->body_asked;
    }
    return 0;
}

int idem_reached(const idem_ctx_t *ctx, const request_rec *r)
{
    if (apr_table_get(r->subprocess_env, "GATEWAY_INTERFACE")) {
        return idem_proxy_is(r) || (idem_request_is_cgi(r) && !ctx->unreached);
    }
    return idem_proxy_is(r) && proxy_reached(ctx, r);
}

void idem_reached_register(void)
{
    ap_hook_error_log(error_log, NULL, NULL, APR_HOOK_MIDDLE);
}
