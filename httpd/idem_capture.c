/* idem_capture.c: output filters: answer -> record -> commit, then send.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The recorder swallows the answer until it is complete, commits it, and only
 * then lets the first byte leave (rules 2 to 5). While it swallows, nothing
 * is written to the client, so a client that left is not noticed and the
 * handler runs to its end.
 *
 * With IdempotencyDelivery stream, and for event streams, bytes are passed on
 * as they come and collected beside it; the commit then comes before the
 * last piece and the end. A client that left is read past.
 *
 *   state RECORDING   one recorder, ctx->active, collects; older instances
 *                     step aside (rule 10)
 *   state SETTLED     the store knows the result; everything passes
 */
#include "idem_capture.h"

#include <sys/socket.h>

#include <apr_portable.h>
#include <apr_strings.h>

static ap_filter_rec_t *capture_filter;
static ap_filter_rec_t *guard_filter;

/* ---- recorder */

/* Rule 3: on HTTP/2 another thread sets this as soon as the stream is gone,
 * and proxy handlers then stop reading. The answer must be had all the same:
 * that is what a retry asks for. */
static void forget_abort(idem_ctx_t *ctx, conn_rec *c)
{
    if (c->aborted) {
        ctx->client_gone = 1;
        c->aborted = 0;
    }
}

static void remember_abort(const idem_ctx_t *ctx, conn_rec *c)
{
    if (ctx->client_gone) {
        c->aborted = 1;
    }
}

/* What one call of the recorder met. */
typedef struct {
    ap_filter_t *f;
    apr_bucket_brigade *out; /* streaming: to be passed on; NULL: not */
    int eos;
    int eoc;
    int error; /* status to die with; 0: none */
    int data;
    int over; /* longer than anything that is kept */
} turn_t;

/* Nothing is to come but the end, which a length has told: who has all of it
 * may ask again at once. */
static int is_last_piece(const idem_ctx_t *ctx)
{
    return ctx->seen.content_length >= 0
           && ctx->seen.counted >= ctx->seen.content_length;
}

/* Streaming. That nobody takes it any more is no reason to stop reading. The
 * last piece stays until the commit. */
static void send_piece(idem_ctx_t *ctx, turn_t *turn)
{
    if (APR_BRIGADE_EMPTY(turn->out) || is_last_piece(ctx)) {
        return;
    }
    APR_BRIGADE_INSERT_TAIL(turn->out,
                            apr_bucket_flush_create(turn->f->c->bucket_alloc));
    ctx->head_sent = 1;
    if (!ctx->client_gone
        && ap_pass_brigade(turn->f->next, turn->out) != APR_SUCCESS) {
        ctx->client_gone = 1;
    }
    apr_brigade_cleanup(turn->out);
    forget_abort(ctx, turn->f->c);
}

/* What a handler lends it takes back after the call. */
static apr_status_t hold_piece(idem_ctx_t *ctx)
{
    apr_status_t rv = APR_SUCCESS;
    apr_bucket *b;

    for (b = APR_BRIGADE_FIRST(ctx->held);
         rv == APR_SUCCESS && b != APR_BRIGADE_SENTINEL(ctx->held);
         b = APR_BUCKET_NEXT(b)) {
        if (!APR_BUCKET_IS_METADATA(b)) {
            rv = apr_bucket_setaside(b, ctx->pool);
        }
    }
    return rv;
}

/* What a back end has sent must not stay here while it thinks. */
static apr_status_t read_piece(idem_ctx_t *ctx, turn_t *turn, apr_bucket *b,
                               const char **data, apr_size_t *len)
{
    apr_status_t rv = APR_EAGAIN;

    if (turn->out) {
        rv = apr_bucket_read(b, data, len, APR_NONBLOCK_READ);
    }
    if (turn->out && APR_STATUS_IS_EAGAIN(rv)) {
        send_piece(ctx, turn);
    }
    return APR_STATUS_IS_EAGAIN(rv)
               ? apr_bucket_read(b, data, len, APR_BLOCK_READ)
               : rv;
}

static void collect_data(idem_ctx_t *ctx, turn_t *turn, apr_bucket *b)
{
    const char *data;
    apr_size_t len;
    apr_status_t rv;

    rv = read_piece(ctx, turn, b, &data, &len);
    if (rv != APR_SUCCESS) {
        turn->error = APR_STATUS_IS_TIMEUP(rv) ? HTTP_GATEWAY_TIME_OUT
                                               : HTTP_BAD_GATEWAY;
        return;
    }
    turn->data = turn->data || len > 0;
    ctx->seen.counted += (apr_int64_t)len;
    apr_brigade_write(ctx->answer, NULL, NULL, data, len);
    turn->over = ctx->seen.counted > ctx->conf->response_max;
}

/* Takes bucket after bucket, so that a long pipe never stands in memory
 * twice. Unless streaming, FLUSH is dropped: nothing may leave before the
 * commit. */
static void collect(idem_ctx_t *ctx, turn_t *turn, apr_bucket_brigade *bb)
{
    while (!turn->error && !turn->over && !APR_BRIGADE_EMPTY(bb)) {
        apr_bucket *b = APR_BRIGADE_FIRST(bb);

        if (AP_BUCKET_IS_ERROR(b)) {
            turn->error = ((ap_bucket_error *)b->data)->status;
        }
        else if (AP_BUCKET_IS_EOC(b)) {
            turn->eoc = 1;
        }
        else if (APR_BUCKET_IS_EOS(b)) {
            turn->eos = 1;
        }
        else if (!APR_BUCKET_IS_METADATA(b)) {
            collect_data(ctx, turn, b);
        }
        if (turn->out && (!APR_BUCKET_IS_METADATA(b) || APR_BUCKET_IS_FLUSH(b))
            && !turn->error) {
            APR_BUCKET_REMOVE(b);
            APR_BRIGADE_INSERT_TAIL(turn->out, b);
        }
        else {
            apr_bucket_delete(b);
        }
    }
}

static void scan_for_eoc(turn_t *turn, apr_bucket_brigade *bb)
{
    apr_bucket *b;

    for (b = APR_BRIGADE_FIRST(bb); b != APR_BRIGADE_SENTINEL(bb);
         b = APR_BUCKET_NEXT(b)) {
        turn->eoc = turn->eoc || AP_BUCKET_IS_EOC(b);
    }
}

/* Without chunks or a length a closed connection is the end of a whole
 * answer: it has to be reset. */
static void reset_connection(conn_rec *c)
{
    struct linger none = { 1, 0 };
    apr_socket_t *sock = ap_get_conn_socket(c);
    apr_os_sock_t fd;

    if (sock && apr_os_sock_get(&fd, sock) == APR_SUCCESS) {
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    }
    c->aborted = 1;
}

/* The head has left with a status: all that can still be said is that the
 * body is not whole, by not ending it. */
static apr_status_t break_off(idem_ctx_t *ctx, ap_filter_t *f,
                              apr_bucket_brigade *bb, const turn_t *turn)
{
    apr_bucket_alloc_t *alloc = f->c->bucket_alloc;
    ap_filter_t *next = f->next;
    apr_status_t rv;

    apr_brigade_cleanup(bb);
    ap_remove_output_filter(f);
    APR_BRIGADE_INSERT_TAIL(
        bb, ap_bucket_error_create(HTTP_BAD_GATEWAY, NULL, f->r->pool, alloc));
    if (turn->eoc) {
        APR_BRIGADE_INSERT_TAIL(bb, ap_bucket_eoc_create(alloc));
    }
    APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_eos_create(alloc));
    f->c->keepalive = AP_CONN_CLOSE;
    remember_abort(ctx, f->c);
    rv = ap_pass_brigade(next, bb);
    if (ctx->head_sent && f->r->proto_num < HTTP_VERSION(1, 1)
        && ctx->seen.content_length < 0) {
        reset_connection(f->c);
    }
    return rv;
}

/* Rule 5. Status 200 first, or ap_die() takes the error for a recursive one
 * and skips ErrorDocument. */
static apr_status_t die(idem_ctx_t *ctx, ap_filter_t *f,
                        apr_bucket_brigade *bb, const turn_t *turn)
{
    request_rec *r = f->r;
    apr_bucket_alloc_t *alloc = f->c->bucket_alloc;
    ap_filter_t *next = f->next;
    int code = turn->error ? turn->error : HTTP_BAD_GATEWAY;
    apr_status_t rv;

    apr_brigade_cleanup(ctx->answer);
    if (ctx->streaming) {
        apr_brigade_cleanup(ctx->held);
        return break_off(ctx, f, bb, turn);
    }
    apr_brigade_cleanup(bb);
    ap_remove_output_filter(f);
    APR_BRIGADE_INSERT_TAIL(
        bb, ap_bucket_error_create(code, NULL, r->pool, alloc));
    if (turn->eoc) {
        /* mod_proxy drops the client on purpose (AH01104): let it. */
        APR_BRIGADE_INSERT_TAIL(bb, ap_bucket_eoc_create(alloc));
    }
    APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_eos_create(alloc));
    r->status = HTTP_OK;
    r->status_line = NULL;
    remember_abort(ctx, f->c);
    rv = ap_pass_brigade(next, bb);
    return turn->eoc ? rv : AP_FILTER_ERROR;
}

static apr_status_t pass_on(idem_ctx_t *ctx, ap_filter_t *f,
                            apr_bucket_brigade *bb, const turn_t *turn)
{
    ap_filter_t *next = f->next;

    if (ctx->streaming) {
        apr_brigade_cleanup(ctx->answer); /* has left already, but for this */
        APR_BRIGADE_CONCAT(ctx->answer, turn->out);
    }
    if (turn->eos) {
        APR_BRIGADE_INSERT_TAIL(ctx->answer,
                                apr_bucket_eos_create(f->c->bucket_alloc));
    }
    APR_BRIGADE_CONCAT(ctx->answer, bb);
    ap_remove_output_filter(f);
    remember_abort(ctx, f->c);
    return ap_pass_brigade(next, ctx->answer);
}

/* A first answer is never marked, whatever the back end says. */
static void unmark(const idem_ctx_t *ctx, request_rec *r)
{
    if (*ctx->conf->marker) {
        apr_table_unset(r->headers_out, ctx->conf->marker);
        apr_table_unset(r->err_headers_out, ctx->conf->marker);
    }
}

static void tidy_answer(idem_ctx_t *ctx, request_rec *r)
{
    unmark(ctx, r);
    if (r->status == 205) {
        /* RFC 9110 15.3.6: no content; httpd does not see to it. */
        apr_brigade_cleanup(ctx->answer);
        ctx->seen.counted = 0;
        ap_set_content_length(r, 0);
    }
}

static int is_streamed(const idem_ctx_t *ctx, const request_rec *r)
{
    const char *type = r->content_type;

    if (ctx->streaming) {
        return 1;
    }
    if (ctx->path == IDEM_PATH_ERROR || !idem_settle_has_content(r)) {
        return 0;
    }
    return ctx->conf->stream
           || (type && !ap_cstr_casecmpn(type, "text/event-stream", 17)
               && (!type[17] || type[17] == ';' || type[17] == ' '));
}

/* Filters below change fields as soon as they see the first bytes: what is
 * to be recorded of them is taken now. */
static void start_streaming(idem_ctx_t *ctx, request_rec *r)
{
    idem_record_t record = { 0 };

    tidy_answer(ctx, r);
    ctx->seen.content_length = idem_settle_promised_length(r);
    idem_capture_record(&record, ctx, r);
    if (idem_record_encode(&ctx->head, &record, ctx->pool) != APR_SUCCESS) {
        ctx->head.len = 0; /* not kept */
    }
    ctx->held = apr_brigade_create(ctx->pool, r->connection->bucket_alloc);
    ctx->streaming = 1;
}

static apr_status_t capture(ap_filter_t *f, apr_bucket_brigade *bb)
{
    idem_ctx_t *ctx = f->ctx;
    request_rec *r = f->r;
    turn_t turn = { f };

    if (ctx && ctx->result == IDEM_RESULT_BYPASSED) {
        idem_settle_hear(r);
        unmark(ctx, r);
    }
    /* No context: named in a tenant's SetOutputFilter. */
    if (!ctx || ctx->active != f || ctx->state != IDEM_STATE_RECORDING) {
        ap_filter_t *next = f->next;

        ap_remove_output_filter(f);
        return ap_pass_brigade(next, bb);
    }
    /* Only what the handler could see before this call makes it give up. */
    ctx->seen.client_gone = f->c->aborted != 0;
    forget_abort(ctx, f->c);
    idem_settle_hear(r);
    if (is_streamed(ctx, r)) {
        if (!ctx->streaming) {
            start_streaming(ctx, r);
        }
        turn.out = ctx->held;
    }
    collect(ctx, &turn, bb);
    if (turn.out && !turn.eos) {
        send_piece(ctx, &turn);
    }
    if (turn.error) {
        scan_for_eoc(&turn, bb);
        ctx->seen.error_seen = 1;
        idem_settle_unknown(ctx, r);
        return die(ctx, f, bb, &turn);
    }
    if (turn.over) {
        tidy_answer(ctx, r);
        idem_settle_over(ctx, r);
        return pass_on(ctx, f, bb, &turn);
    }
    if (!turn.eos) {
        return turn.out ? hold_piece(ctx) : APR_SUCCESS;
    }
    ctx->seen.eos_with_data = turn.data;
    tidy_answer(ctx, r);
    return idem_settle(ctx, r) == IDEM_ANSWER_TORN
               ? die(ctx, f, bb, &turn)
               : pass_on(ctx, f, bb, &turn);
}

/* Rule 13: first bytes on the wire while nothing was committed: the answer
 * went round the recorder. */
static apr_status_t guard(ap_filter_t *f, apr_bucket_brigade *bb)
{
    idem_ctx_t *ctx = f->ctx;
    ap_filter_t *next = f->next;
    apr_bucket *b;

    if (ctx && ctx->state == IDEM_STATE_RECORDING && !ctx->streaming) {
        for (b = APR_BRIGADE_FIRST(bb); b != APR_BRIGADE_SENTINEL(bb);
             b = APR_BUCKET_NEXT(b)) {
            if (!APR_BUCKET_IS_METADATA(b)) {
                break;
            }
        }
        if (b == APR_BRIGADE_SENTINEL(bb)) {
            return ap_pass_brigade(next, bb);
        }
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, f->r,
                      "IDEM0021: the answer to key %s went past the recorder; "
                      "its outcome counts as unknown",
                      idem_ctx_short_id(ctx));
        idem_settle_unknown(ctx, f->r);
    }
    ap_remove_output_filter(f);
    return ap_pass_brigade(next, bb);
}

/* ---- entries */

void idem_capture_add(idem_ctx_t *ctx, request_rec *r)
{
    if (ctx->result == IDEM_RESULT_BYPASSED) {
        ap_add_output_filter_handle(capture_filter, ctx, r, r->connection);
    }
    if (ctx->state != IDEM_STATE_RECORDING) {
        return;
    }
    idem_proxy_watch(ctx, r);
    apr_brigade_cleanup(ctx->answer);
    if (ctx->seen.counted > 0) {
        /* A handler wrote, then gave up: what follows is not its answer. */
        idem_settle_unknown(ctx, r);
        return;
    }
    ctx->active =
        ap_add_output_filter_handle(capture_filter, ctx, r, r->connection);
    ctx->path = IDEM_PATH_NORMAL;
}

void idem_capture_start(idem_ctx_t *ctx, request_rec *r)
{
    ctx->state = IDEM_STATE_RECORDING;
    apr_pool_cleanup_register(ctx->pool, ctx, idem_settle_abandon,
                              apr_pool_cleanup_null);
    ctx->answer = apr_brigade_create(ctx->pool, r->connection->bucket_alloc);
    /* Rule 15: what other modules set for this request is not the answer. */
    ctx->base_out = apr_table_copy(ctx->pool, r->headers_out);
    ctx->base_err = apr_table_copy(ctx->pool, r->err_headers_out);
    apr_table_unset(r->subprocess_env, "GATEWAY_INTERFACE");
    idem_capture_add(ctx, r);
    ap_add_output_filter_handle(guard_filter, ctx, r, r->connection);
}

void idem_capture_error_page(idem_ctx_t *ctx, request_rec *r)
{
    idem_capture_add(ctx, r);
    ctx->path = IDEM_PATH_ERROR;
    ctx->error_status = idem_proxy_status(ctx, r);
}

void idem_capture_end(idem_ctx_t *ctx, request_rec *r)
{
    request_rec *last = r;

    while (last->next) {
        last = last->next;
    }
    if (ctx->state != IDEM_STATE_RECORDING) {
        return;
    }
    if (last->status == HTTP_SWITCHING_PROTOCOLS) {
        idem_settle_release(ctx, r);
    }
    else {
        idem_settle_unknown(ctx, r);
    }
}

void idem_capture_register(void)
{
    capture_filter = ap_register_output_filter("IDEMPOTENCY", capture, NULL,
                                               IDEM_CAPTURE_FTYPE);
    guard_filter = ap_register_output_filter("IDEMPOTENCY_GUARD", guard, NULL,
                                             AP_FTYPE_PROTOCOL);
}
