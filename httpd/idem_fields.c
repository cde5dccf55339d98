/* idem_fields.c: which response fields are recorded.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Recorded is the difference to the tables as they were at the claim (rule
 * 15): fields added or changed, and names removed.
 */
#include "idem_capture.h"

#include <apr_strings.h>

typedef struct {
    const idem_dir_conf_t *conf;
    const char *connection; /* names that Connection lists */
    const apr_table_t *base;
    const apr_table_t *now;
    apr_table_t *set;
    apr_array_header_t *unset;
} diff_t;

static int listed(const apr_array_header_t *names, const char *name)
{
    int i;

    for (i = 0; names && i < names->nelts; i++) {
        if (!ap_cstr_casecmp(APR_ARRAY_IDX(names, i, const char *), name)) {
            return 1;
        }
    }
    return 0;
}

static int is_recorded(const diff_t *diff, const char *name, apr_pool_t *pool)
{
    const idem_dir_conf_t *conf = diff->conf;

    if (idem_record_is_hop(name)
        || (diff->connection && ap_find_token(pool, diff->connection, name))) {
        return 0;
    }
    if (listed(conf->keep, name)) {
        return 1;
    }
    return ap_cstr_casecmp(name, "Set-Cookie") != 0
           && !listed(conf->drop, name)
           && (!*conf->marker || ap_cstr_casecmp(name, conf->marker) != 0);
}

static int append_value(void *data, const char *name, const char *value)
{
    apr_array_header_t *values = data;

    (void)name;
    APR_ARRAY_PUSH(values, const char *) = value;
    return 1;
}

static apr_array_header_t *values_of(const apr_table_t *table,
                                     const char *name, apr_pool_t *pool)
{
    apr_array_header_t *values = apr_array_make(pool, 2, sizeof(char *));

    apr_table_do(append_value, values, table, name, NULL);
    return values;
}

/* All values of a field, in order: a field with two lines is one fact. */
static int same_values(const diff_t *diff, const char *name, apr_pool_t *pool)
{
    apr_array_header_t *a, *b;
    int i;

    if (!apr_table_get(diff->base, name)) {
        return 0;
    }
    a = values_of(diff->base, name, pool);
    b = values_of(diff->now, name, pool);
    for (i = 0; i < a->nelts && i < b->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(a, i, const char *),
                   APR_ARRAY_IDX(b, i, const char *))
            != 0) {
            return 0;
        }
    }
    return a->nelts == b->nelts;
}

static void take_difference(diff_t *diff, apr_pool_t *pool)
{
    const apr_array_header_t *fields = apr_table_elts(diff->now);
    const apr_table_entry_t *entry = (const apr_table_entry_t *)fields->elts;
    int i;

    diff->set = apr_table_make(pool, 8);
    diff->unset = apr_array_make(pool, 1, sizeof(char *));
    for (i = 0; i < fields->nelts; i++) {
        if (is_recorded(diff, entry[i].key, pool)
            && !same_values(diff, entry[i].key, pool)) {
            apr_table_addn(diff->set, entry[i].key, entry[i].val);
        }
    }
    fields = apr_table_elts(diff->base);
    entry = (const apr_table_entry_t *)fields->elts;
    for (i = 0; i < fields->nelts; i++) {
        if (is_recorded(diff, entry[i].key, pool)
            && !apr_table_get(diff->now, entry[i].key)) {
            APR_ARRAY_PUSH(diff->unset, const char *) = entry[i].key;
        }
    }
}

static const char *connection_tokens(request_rec *r, apr_pool_t *pool)
{
    const char *out = apr_table_get(r->headers_out, "Connection");
    const char *err = apr_table_get(r->err_headers_out, "Connection");

    return out && err ? apr_pstrcat(pool, out, ",", err, NULL)
           : out      ? out
                      : err;
}

void idem_capture_brief(idem_record_t *record, idem_ctx_t *ctx, request_rec *r)
{
    apr_table_t *set = apr_table_make(ctx->pool, 1);
    const char *location = apr_table_get(r->headers_out, "Location");

    if (!location) {
        location = apr_table_get(r->err_headers_out, "Location");
    }
    if (location && strlen(location) <= IDEM_CAPTURE_FIELDS_FREE) {
        apr_table_setn(set, "Location", location);
    }
    record->status = r->status;
    record->created = apr_time_now();
    record->out_set = set;
    record->unique_id = apr_table_get(ctx->first->subprocess_env, "UNIQUE_ID");
}

void idem_capture_record(idem_record_t *record, idem_ctx_t *ctx,
                         request_rec *r)
{
    diff_t diff = { 0 };
    int error_page = ctx->path == IDEM_PATH_ERROR;

    diff.conf = ctx->conf;
    diff.connection = connection_tokens(r, ctx->pool);
    /* ap_send_error_response() has made headers_out of err_headers_out and
     * emptied the other. */
    diff.base = error_page ? ctx->base_err : ctx->base_out;
    diff.now = r->headers_out;
    take_difference(&diff, ctx->pool);
    record->out_set = diff.set;
    record->out_unset = diff.unset;

    diff.base = error_page ? apr_table_make(ctx->pool, 1) : ctx->base_err;
    diff.now = r->err_headers_out;
    take_difference(&diff, ctx->pool);
    record->err_set = diff.set;
    record->err_unset = diff.unset;

    record->status = r->status;
    record->status_line = r->status_line;
    record->path = ctx->path;
    record->created = apr_time_now();
    record->content_type = r->content_type;
    record->content_encoding = r->content_encoding;
    record->languages = r->content_languages;
    record->unique_id = apr_table_get(ctx->first->subprocess_env, "UNIQUE_ID");
}
