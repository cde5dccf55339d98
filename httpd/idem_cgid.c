/* idem_cgid.c: a 503 of mod_cgid: may the script have run?
 * SPDX-License-Identifier: Apache-2.0
 *
 * mod_cgid answers 503 when its daemon cannot be reached, and also when the
 * daemon went away after it had been given the request. That is no rare
 * thing: each graceful restart ends the daemon, and a script that it has just
 * started runs on. Both look the same but for the line in the error log. What
 * is not known to be the first counts as the second.
 */
#include "idem_httpd.h"

/* Numbers of messages never change (httpd's docs/log-message-tags). */
static const char *const unreached[] = { "AH01257:", "AH01258:", "AH02833:" };
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
        ctx->cgid_unreached = 1;
    }
    else if (starts_with(text, reached, COUNT(reached))) {
        /* It asks the daemon twice: the second time it was started. */
        ctx->cgid_unreached = 0;
    }
}

int idem_cgid_reached(const idem_ctx_t *ctx, const request_rec *r)
{
    return r->handler
           && (!strcmp(r->handler, "cgi-script")
               || !strcmp(r->handler, "application/x-httpd-cgi"))
           && apr_table_get(r->subprocess_env, "GATEWAY_INTERFACE")
           && !ctx->cgid_unreached;
}

void idem_cgid_register(void)
{
    ap_hook_error_log(error_log, NULL, NULL, APR_HOOK_MIDDLE);
}
