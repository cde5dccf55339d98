/* idem_replay.c: record -> response; problem -> response.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <apr_strings.h>

#include "idem_audit.h"
#include "idem_capture.h"
#include "idem_numbers.h"

static void apply(apr_table_t *table, const apr_table_t *set,
                  const apr_array_header_t *unset)
{
    const apr_array_header_t *fields;
    const apr_table_entry_t *entry;
    int i;

    for (i = 0; unset && i < unset->nelts; i++) {
        apr_table_unset(table, APR_ARRAY_IDX(unset, i, const char *));
    }
    if (!set) {
        return;
    }
    fields = apr_table_elts(set);
    entry = (const apr_table_entry_t *)fields->elts;
    for (i = 0; i < fields->nelts; i++) {
        apr_table_unset(table, entry[i].key);
    }
    for (i = 0; i < fields->nelts; i++) {
        apr_table_addn(table, entry[i].key, entry[i].val);
    }
}

/* Rule 18: what ap_send_error_response() does, so that "Header always" and
 * nothing else applies. */
static void take_error_path(request_rec *r)
{
    r->output_filters = r->proto_output_filters;
    ap_run_insert_error_filter(r);
    r->headers_out = r->err_headers_out;
    r->err_headers_out = apr_table_make(r->pool, 4);
}

/* Filters that make content have done so before the record was taken. */
static void skip_content_filters(request_rec *r)
{
    ap_filter_t *f, *next;

    for (f = r->output_filters; f; f = next) {
        next = f->next;
        if (f->frec->ftype < IDEM_CAPTURE_FTYPE) {
            ap_remove_output_filter(f);
        }
    }
}

static int send_body(request_rec *r, const char *data, apr_size_t len)
{
    apr_bucket_alloc_t *alloc = r->connection->bucket_alloc;
    apr_bucket_brigade *bb = apr_brigade_create(r->pool, alloc);

    if (len > 0) {
        APR_BRIGADE_INSERT_TAIL(
            bb, apr_bucket_pool_create(data, len, r->pool, alloc));
    }
    APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_eos_create(alloc));
    /* Whether the client got it changes nothing here; a status returned from
     * the handler would start an ErrorDocument. */
    (void)ap_pass_brigade(r->output_filters, bb);
    return OK;
}

static void set_response(request_rec *r, const idem_record_t *record)
{
    if (record->path == IDEM_PATH_ERROR) {
        take_error_path(r);
    }
    else {
        skip_content_filters(r);
    }
    apply(r->headers_out, record->out_set, record->out_unset);
    apply(r->err_headers_out, record->err_set, record->err_unset);
    /* Rule 17: before anything is passed, since mod_filter looks at it. */
    r->status = record->status;
    r->status_line = record->status_line;
    if (record->content_type) {
        ap_set_content_type(r, record->content_type);
    }
    r->content_encoding = record->content_encoding;
    r->content_languages = (apr_array_header_t *)record->languages;
    r->no_local_copy = 1;
}

int idem_replay(idem_ctx_t *ctx, request_rec *r, const idem_blob_t *blob)
{
    idem_record_t record;
    int rc;

    if (idem_record_decode(&record, blob, ctx->pool) != APR_SUCCESS) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                      "IDEM0022: the record of key %s cannot be read",
                      idem_ctx_short_id(ctx));
        return idem_refuse(ctx, r, IDEM_PROBLEM_OUTCOME_UNKNOWN, NULL, NULL);
    }
    ctx->state = IDEM_STATE_SETTLED;
    idem_ctx_result(ctx, r, IDEM_RESULT_REPLAYED);
    idem_audit_original(ctx, r, &record);
    set_response(r, &record);
    if (*ctx->conf->marker) {
        apr_table_setn(r->headers_out, ctx->conf->marker, "true");
    }
    rc = send_body(r, record.body.data, record.body.len);
    idem_numbers_timing(ctx->srv, IDEM_TIMING_REPLAY, ctx->claim_began);
    return rc;
}

/* ---- problems */

static void set_problem_fields(const idem_ctx_t *ctx, request_rec *r,
                               idem_problem_t problem,
                               const idem_record_t *record)
{
    apr_table_t *out = r->headers_out;
    int seconds = idem_problem_retry_after(problem);
    const char *location = NULL;

    apr_table_setn(out, "Cache-Control", "no-store");
    apr_table_setn(out, "Content-Language", "en");
    apr_table_setn(out, "Link",
                   apr_pstrcat(r->pool, "<", ctx->conf->problem_base, "/",
                               idem_problem_str(problem),
                               ">; rel=\"describedby\"", NULL));
    if (seconds > 0) {
        apr_table_setn(out, "Retry-After", apr_itoa(r->pool, seconds));
    }
    if (record && record->out_set) {
        location = apr_table_get(record->out_set, "Location");
    }
    if (location) {
        apr_table_setn(out, "Location", location);
    }
}

/* As ap_die() does: a body that nobody reads must not be taken for the next
 * request, and a client that waits for "100 Continue" must not get one. */
static void close_if_unread(const idem_ctx_t *ctx, request_rec *r)
{
    if (ap_status_drops_connection(r->status)
        || (!ctx->body_read && r->expecting_100)) {
        r->connection->keepalive = AP_CONN_CLOSE;
    }
    if (!ctx->body_read && r->expecting_100) {
        r->expecting_100 = 0;
    }
}

int idem_refuse(idem_ctx_t *ctx, request_rec *r, idem_problem_t problem,
                const char *detail, const idem_record_t *record)
{
    int status = ctx->conf->problem_status[problem];
    const char *body;

    if (status == 0) {
        status = idem_problem_status(problem);
    }
    ctx->state = IDEM_STATE_SETTLED;
    idem_ctx_result(ctx, r, IDEM_RESULT_PROBLEM + (int)problem);
    if (record) {
        idem_audit_original(ctx, r, record);
    }
    body = idem_problem_body(problem, ctx->conf->problem_base, status, detail,
                             record ? record->status : 0, r->pool);
    take_error_path(r);
    r->status = status;
    r->status_line = NULL;
    close_if_unread(ctx, r);
    set_problem_fields(ctx, r, problem, record);
    ap_set_content_type(r, "application/problem+json");
    r->content_encoding = NULL;
    r->content_languages = NULL;
    r->no_local_copy = 1;
    return send_body(r, body, strlen(body));
}
