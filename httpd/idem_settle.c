/* idem_settle.c: tells the store what became of a claim.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_capture.h"
#include "idem_numbers.h"

/* Rule 52. Runs in signal handlers under prefork: no log, no allocation. */
apr_status_t idem_settle_abandon(void *data)
{
    idem_ctx_t *ctx = data;

    if ((ctx->state == IDEM_STATE_RECORDING || ctx->owed)
        && idem_server_store) {
        ctx->state = IDEM_STATE_SETTLED;
        ctx->owed = 0;
        (void)idem_store_abandon(idem_server_store, &ctx->token,
                                 idem_store_now(idem_server_store));
    }
    return APR_SUCCESS;
}

static void settled(idem_ctx_t *ctx, request_rec *r, apr_status_t rv,
                    int result)
{
    ctx->state = IDEM_STATE_SETTLED;
    if (APR_STATUS_IS_NOTFOUND(rv)) {
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r,
                      "IDEM0017: key %s was released while its request ran; "
                      "the answer is sent but not kept",
                      idem_ctx_short_id(ctx));
    }
    else if (rv != APR_SUCCESS) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, rv, r,
                      "IDEM0018: the result of key %s could not be stored; "
                      "its outcome counts as unknown",
                      idem_ctx_short_id(ctx));
        /* Tried once more at the end of the request: a claim that stays
         * would be refused as in progress until this process ends. */
        ctx->owed = 1;
        result = IDEM_RESULT_PROBLEM + IDEM_PROBLEM_OUTCOME_UNKNOWN;
    }
    idem_ctx_result(ctx, r, result);
}

static apr_status_t commit(idem_ctx_t *ctx, idem_end_t end,
                           const struct iovec *vec, int nvec)
{
    idem_term_t term = { 0 };
    apr_uint64_t began = idem_numbers_clock();
    apr_status_t rv;

    term.now = idem_store_now(idem_server_store);
    term.ttl = ctx->conf->ttl;
    if (ctx->term > 0 && ctx->term < term.ttl) {
        term.ttl = ctx->term;
    }
    term.tombstone = ctx->conf->tombstone;
    rv = idem_store_commit(idem_server_store, &ctx->token, end, vec, nvec,
                           &term);
    if (rv == APR_SUCCESS) {
        idem_numbers_timing(ctx->srv, IDEM_TIMING_COMMIT, began);
    }
    return rv;
}

void idem_settle_unknown(idem_ctx_t *ctx, request_rec *r)
{
    settled(ctx, r, commit(ctx, IDEM_END_UNKNOWN, NULL, 0),
            IDEM_RESULT_PROBLEM + IDEM_PROBLEM_OUTCOME_UNKNOWN);
}

void idem_settle_release(idem_ctx_t *ctx, request_rec *r)
{
    settled(ctx, r, idem_store_release(idem_server_store, &ctx->token),
            IDEM_RESULT_RELEASED);
}

/* Of an answer that is not kept only what a client can be told stays. */
void idem_settle_not_retained(idem_ctx_t *ctx, request_rec *r)
{
    idem_record_t record = { 0 };
    idem_blob_t head;
    struct iovec vec;
    apr_status_t rv;

    idem_capture_brief(&record, ctx, r);
    rv = idem_record_encode(&head, &record, ctx->pool);
    if (rv == APR_SUCCESS) {
        vec.iov_base = (void *)head.data;
        vec.iov_len = head.len;
        rv = commit(ctx, IDEM_END_NOT_RETAINED, &vec, 1);
    }
    if (rv != APR_SUCCESS && !APR_STATUS_IS_NOTFOUND(rv)) {
        /* Not even that has room: unknown needs none. */
        rv = commit(ctx, IDEM_END_UNKNOWN, NULL, 0);
    }
    settled(ctx, r, rv, IDEM_RESULT_EXECUTED);
}

void idem_settle_over(idem_ctx_t *ctx, request_rec *r)
{
    if (ctx->release_asked) {
        idem_settle_release(ctx, r);
    }
    else {
        idem_settle_not_retained(ctx, r);
    }
}

static int fits(const idem_ctx_t *ctx, apr_size_t head_len)
{
    apr_off_t fields = (apr_off_t)head_len - IDEM_CAPTURE_FIELDS_FREE;
    apr_off_t total = ctx->seen.counted + (fields > 0 ? fields : 0);

    return total <= ctx->conf->response_max
           && (apr_uint64_t)ctx->seen.counted + head_len
                  <= idem_store_record_max(idem_server_store);
}

/* The body is not copied once more: the store takes it in pieces. */
static apr_status_t commit_answer(idem_ctx_t *ctx, const idem_blob_t *head)
{
    struct iovec *vec;
    apr_bucket *b;
    int nvec = 1;
    apr_status_t rv;

    for (b = APR_BRIGADE_FIRST(ctx->answer);
         b != APR_BRIGADE_SENTINEL(ctx->answer); b = APR_BUCKET_NEXT(b)) {
        nvec++;
    }
    vec = apr_palloc(ctx->pool, (apr_size_t)nvec * sizeof(*vec));
    vec[0].iov_base = (void *)head->data;
    vec[0].iov_len = head->len;
    nvec = 1;
    for (b = APR_BRIGADE_FIRST(ctx->answer);
         b != APR_BRIGADE_SENTINEL(ctx->answer); b = APR_BUCKET_NEXT(b)) {
        const char *data;
        apr_size_t len;

        rv = apr_bucket_read(b, &data, &len, APR_BLOCK_READ);
        if (rv != APR_SUCCESS) {
            return rv;
        }
        vec[nvec].iov_base = (void *)data;
        vec[nvec].iov_len = len;
        nvec++;
    }
    return commit(ctx, IDEM_END_DONE, vec, nvec);
}

static void settle_record(idem_ctx_t *ctx, request_rec *r)
{
    idem_record_t record = { 0 };
    apr_status_t rv;

    if (!ctx->streaming) {
        idem_capture_record(&record, ctx, r);
        if (idem_record_encode(&ctx->head, &record, ctx->pool)
            != APR_SUCCESS) {
            ctx->head.len = 0;
        }
    }
    if (ctx->head.len == 0 || !fits(ctx, ctx->head.len)) {
        idem_settle_not_retained(ctx, r);
        return;
    }
    rv = commit_answer(ctx, &ctx->head);
    if (APR_STATUS_IS_ENOSPC(rv)) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r,
                      "IDEM0019: the store has no room for the answer to "
                      "key %s: executed, but not kept",
                      idem_ctx_short_id(ctx));
        idem_settle_not_retained(ctx, r);
        return;
    }
    settled(ctx, r, rv, IDEM_RESULT_EXECUTED);
}

/* ---- deciding */

#define WORD_FIELD "Idempotency-Record"

static void hear_word(idem_ctx_t *ctx, request_rec *r, const char *value)
{
    apr_off_t seconds;

    if (!ap_cstr_casecmp(value, "no")) {
        ctx->release_asked = 1;
    }
    else if (!ap_cstr_casecmpn(value, "ttl=", 4)
             && ap_parse_strict_length(&seconds, value + 4) && seconds > 0) {
        /* A longer one than configured is cut at the commit. */
        ctx->term = seconds < apr_time_sec(ctx->conf->ttl)
                        ? apr_time_from_sec(seconds)
                        : ctx->conf->ttl;
    }
    else {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r,
                      "IDEM0028: the application's " WORD_FIELD
                      ": '%.64s' is ignored; it can be no, or ttl=60",
                      value);
    }
}

static int hear_line(void *data, const char *name, const char *value)
{
    request_rec *r = data;

    (void)name;
    hear_word(idem_ctx_get(r), r, value);
    return 1;
}

static void hear_table(request_rec *r, apr_table_t *table)
{
    if (apr_table_get(table, WORD_FIELD)) {
        apr_table_do(hear_line, r, table, WORD_FIELD, NULL);
        apr_table_unset(table, WORD_FIELD);
    }
}

void idem_settle_hear(request_rec *r)
{
    hear_table(r, r->headers_out);
    hear_table(r, r->err_headers_out);
}

/* An ErrorDocument is written by a handler, but for an error of another
 * request of the chain: that one says what happened. */
static request_rec *origin_of(request_rec *r)
{
    while (r->prev && ap_is_HTTP_ERROR(r->prev->status)) {
        r = r->prev;
    }
    return r;
}

int idem_settle_has_content(const request_rec *r)
{
    return !ap_is_HTTP_INFO(r->status) && r->status != HTTP_NO_CONTENT
           && r->status != HTTP_NOT_MODIFIED
           && r->status != 205 /* Reset Content */;
}

apr_int64_t idem_settle_promised_length(request_rec *r)
{
    const char *value = apr_table_get(r->headers_out, "Content-Length");
    apr_off_t len;

    if (!value) {
        value = apr_table_get(r->err_headers_out, "Content-Length");
    }
    return value && ap_parse_strict_length(&len, value) ? len : -1;
}

static void fill_origin(idem_origin_t *origin, idem_ctx_t *ctx, request_rec *r)
{
    request_rec *from = origin_of(r);

    if (!ctx->streaming) {
        ctx->seen.content_length = idem_settle_promised_length(r);
    }
    ctx->seen.has_content = idem_settle_has_content(r);
    origin->answer = idem_flow_answer(&ctx->seen);
    origin->status = from->status;
    origin->path = from != r ? IDEM_PATH_ERROR : ctx->path;
    if (from == r && ctx->path == IDEM_PATH_ERROR) {
        origin->status = ctx->error_status;
    }
    origin->proxy_answered = ctx->proxy_answered;
    origin->backend_reached = idem_reached(ctx, from);
    origin->release_asked = ctx->release_asked;
}

idem_answer_t idem_settle(idem_ctx_t *ctx, request_rec *r)
{
    idem_origin_t origin = { 0 };

    fill_origin(&origin, ctx, r);
    switch (idem_flow_keep(&origin, ctx->conf->release)) {
    case IDEM_KEEP_RECORD:
        settle_record(ctx, r);
        break;
    case IDEM_KEEP_RELEASE:
        idem_settle_release(ctx, r);
        break;
    case IDEM_KEEP_UNKNOWN:
        idem_settle_unknown(ctx, r);
        break;
    }
    return origin.answer;
}
