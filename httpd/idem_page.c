/* idem_page.c: the handler idempotency-status: who sees what, in which form.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   anywhere        numbers of the own virtual host, nothing of others
 *   admin permits   all virtual hosts, the store, and single keys
 *
 * A tenant can put SetHandler into .htaccess, so whoever gets here may be
 * anybody: what is permitted is the server configuration's to say alone.
 */
#include "idem_admin.h"

#include <apr_lib.h>
#include <apr_strings.h>

#define FORM_MAX (64 * 1024)

typedef enum {
    FORMAT_HTML,
    FORMAT_JSON,
    FORMAT_METRICS,
    FORMAT_COUNT
} format_t;

static const struct {
    const char *word;
    const char *type;
} formats[FORMAT_COUNT] = {
    { "html", "text/html" },
    { "json", "application/json" },
    { "openmetrics", "application/openmetrics-text" },
};

int idem_page_is_ours(const request_rec *r)
{
    return r->handler && !strcmp(r->handler, IDEM_PAGE_HANDLER);
}

/* ---------------------------------------------------------------- answers */

static void set_fields(request_rec *r)
{
    apr_table_t *out = r->headers_out;

    apr_table_setn(out, "Cache-Control", "no-store");
    apr_table_setn(out, "X-Content-Type-Options", "nosniff");
    apr_table_setn(out, "X-Frame-Options", "DENY");
    apr_table_setn(out, "Referrer-Policy", "no-referrer");
    apr_table_setn(out, "Cross-Origin-Resource-Policy", "same-origin");
    apr_table_setn(out, "Content-Security-Policy",
                   "default-src 'none'; frame-ancestors 'none'");
    apr_table_mergen(out, "Vary", "Accept");
    r->no_local_copy = 1;
}

void idem_page_json_begin(idem_out_t *out, request_rec *r)
{
    ap_set_content_type(r, "application/json");
    memset(out, 0, sizeof(*out));
    out->r = r;
    out->pool = r->pool;
    out->lines = 1;
}

int idem_page_error(request_rec *r, int status, const char *detail,
                    const char *works)
{
    const char *line = ap_get_status_line(status);
    idem_out_t out;

    r->status = status;
    idem_page_json_begin(&out, r);
    idem_out_object(&out, NULL);
    idem_out_number(&out, "status", (apr_uint64_t)status);
    idem_out_text(&out, "title", strlen(line) > 4 ? line + 4 : line);
    idem_out_text(&out, "detail", detail);
    if (works) {
        idem_out_text(&out, "works", works);
    }
    idem_out_end(&out);
    return OK;
}

/* ------------------------------------------------------------ negotiation */

/* How well a media range fits a type: 0 not at all, 3 exactly. */
static int fits(const char *range, apr_size_t len, const char *type)
{
    const char *slash = strchr(type, '/');
    apr_size_t main_len = (apr_size_t)(slash - type) + 1;

    if (len == strlen(type) && !ap_cstr_casecmpn(range, type, len)) {
        return 3;
    }
    if (len == main_len + 1 && range[len - 1] == '*'
        && !ap_cstr_casecmpn(range, type, main_len)) {
        return 2;
    }
    return len == 3 && !strncmp(range, "*/*", 3);
}

static double quality_of(const char *params, const char *end)
{
    while (params < end) {
        params += strspn(params, "; \t");
        if (end - params > 2 && apr_tolower(params[0]) == 'q'
            && params[1] == '=') {
            return strtod(params + 2, NULL);
        }
        params += strcspn(params, ";,");
        if (*params != ';') {
            break;
        }
    }
    return 1.0;
}

/* The quality that Accept gives a type, by the range that fits best. */
static double accepts(const char *accept, const char *type)
{
    double quality = 0.0;
    int best = 0;

    while (*accept) {
        const char *end = accept + strcspn(accept, ",");
        int fit;

        accept += strspn(accept, " \t");
        fit = fits(accept, strcspn(accept, "; \t,"), type);
        if (fit > best) {
            best = fit;
            quality = quality_of(accept + strcspn(accept, ";,"), end);
        }
        accept = *end ? end + 1 : end;
    }
    return quality;
}

static format_t preferred(request_rec *r)
{
    const char *accept = apr_table_get(r->headers_in, "Accept");
    format_t best = FORMAT_HTML;
    double most = 0.0, quality;
    int i;

    for (i = 0; accept && i < FORMAT_COUNT; i++) {
        quality = accepts(accept, formats[i].type);
        if (quality > most) {
            most = quality;
            best = (format_t)i;
        }
    }
    return best;
}

/* @return FORMAT_COUNT for one that is not known */
static format_t format_of(request_rec *r, const apr_table_t *params)
{
    const char *word = apr_table_get(params, "format");
    int i;

    if (!word) {
        return preferred(r);
    }
    for (i = 0; i < FORMAT_COUNT; i++) {
        if (!strcmp(word, formats[i].word)) {
            break;
        }
    }
    return (format_t)i;
}

/* ---------------------------------------------------------------- handler */

/* "a=b&c=d" -> table. @return 0 if an escape makes no sense */
static int parse_params(apr_table_t *params, const char *text,
                        apr_pool_t *pool)
{
    while (text && *text) {
        char *name = ap_getword(pool, &text, '&');
        char *value = strchr(name, '=');

        if (value) {
            *value++ = '\0';
        }
        if (ap_unescape_urlencoded(name) != OK
            || (value && ap_unescape_urlencoded(value) != OK)) {
            return 0;
        }
        if (*name) {
            apr_table_addn(params, name, value ? value : "");
        }
    }
    return 1;
}

/* Where an .htaccess file had a say, its owner may have brought the request
 * here: nothing of others is shown, whatever the configuration permits. */
static int has_htaccess(const request_rec *r)
{
    const struct htaccess_result *file;

    for (file = r->htaccess; file; file = file->next) {
        if (file->htaccess) {
            return 1;
        }
    }
    return 0;
}

static int may_admin(const request_rec *r)
{
    const idem_dir_conf_t *conf =
        ap_get_module_config(r->per_dir_config, &idempotency_module);

    return conf->admin == 1 && !r->main && !has_htaccess(r);
}

static int show_status(request_rec *r, const apr_table_t *params)
{
    const idem_view_t *view = idem_view_create(r, may_admin(r));

    switch (format_of(r, params)) {
    case FORMAT_HTML:
        idem_page_html(r, view);
        return OK;
    case FORMAT_JSON:
        idem_page_json(r, view);
        return OK;
    case FORMAT_METRICS:
        idem_page_metrics(r, view);
        return OK;
    case FORMAT_COUNT:
        break;
    }
    return idem_page_error(r, HTTP_BAD_REQUEST,
                           apr_psprintf(r->pool,
                                        "'%s' is no format; html, json and "
                                        "openmetrics are",
                                        apr_table_get(params, "format")),
                           "format=json");
}

/* Parameters of a form. @return OK, or DONE after a refusal */
static int read_form(apr_table_t *params, request_rec *r)
{
    const char *type = apr_table_get(r->headers_in, "Content-Type");
    char *form = apr_palloc(r->pool, FORM_MAX + 1);
    long n = 0, len = 0;

    if (ap_setup_client_block(r, REQUEST_CHUNKED_DECHUNK) != OK
        || !ap_should_client_block(r)) {
        return OK;
    }
    if (!type
        || ap_cstr_casecmpn(type, "application/x-www-form-urlencoded", 33)) {
        idem_page_error(r, HTTP_UNSUPPORTED_MEDIA_TYPE,
                        "parameters are in the query, or a form",
                        "Content-Type: application/x-www-form-urlencoded");
        return DONE;
    }
    do {
        n = ap_get_client_block(r, form + len, (apr_size_t)(FORM_MAX - len));
        len += n > 0 ? n : 0;
    } while (n > 0 && len < FORM_MAX);
    form[len] = '\0';
    if (n < 0 || len == FORM_MAX || !parse_params(params, form, r->pool)) {
        idem_page_error(r, HTTP_BAD_REQUEST,
                        "the form is broken, or longer than 64 KiB", NULL);
        return DONE;
    }
    return OK;
}

static int run_action(request_rec *r, apr_table_t *params)
{
    const char *action;

    if (!may_admin(r)) {
        return idem_page_error(
            r, HTTP_FORBIDDEN,
            has_htaccess(r) ? "single keys are not shown where an .htaccess "
                              "file has a say"
                            : "single keys are shown only with "
                              "IdempotencyAdmin On",
            "IdempotencyAdmin On in the main server configuration");
    }
    if (r->method_number == M_POST && read_form(params, r) != OK) {
        return OK;
    }
    action = apr_table_get(params, "action");
    return action ? idem_admin_run(r, action, params)
                  : idem_page_error(r, HTTP_METHOD_NOT_ALLOWED,
                                    "POST is for actions", "action=release");
}

static int wrong_method(request_rec *r)
{
    const char *allow = may_admin(r) ? "GET, HEAD, POST" : "GET, HEAD";

    apr_table_setn(r->headers_out, "Allow", allow);
    return idem_page_error(
        r, HTTP_METHOD_NOT_ALLOWED,
        apr_psprintf(r->pool, "%s has no answer here", r->method), "GET");
}

int idem_page_handler(request_rec *r)
{
    apr_table_t *params;

    if (!idem_page_is_ours(r)) {
        return DECLINED;
    }
    set_fields(r);
    params = apr_table_make(r->pool, 4);
    if (!parse_params(params, r->args, r->pool)) {
        return idem_page_error(r, HTTP_BAD_REQUEST,
                               "an escape in the query makes no sense",
                               "format=json");
    }
    if (r->method_number != M_GET
        && (r->method_number != M_POST
            || (!may_admin(r) && !apr_table_get(params, "action")))) {
        return wrong_method(r);
    }
    if (!idem_server_store) {
        return idem_page_error(r, HTTP_SERVICE_UNAVAILABLE,
                               "this process has no store: see the error log",
                               NULL);
    }
    if (r->method_number == M_POST || apr_table_get(params, "action")) {
        return run_action(r, params);
    }
    return show_status(r, params);
}
