/* idem_body.c: reads the request body, takes the fingerprint, gives it back.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_httpd.h"

#include <apr_file_io.h>
#include <apr_strings.h>

#define READ_SIZE (64 * 1024)
#define MEMORY_MAX (256 * 1024) /* of a body; the rest goes to a file */

/* Above everything that changes a body on its way in (rule 22). */
#define BODY_FTYPE (AP_FTYPE_RESOURCE - 1)

static ap_filter_rec_t *body_filter;

typedef struct {
    idem_ctx_t *ctx;
    request_rec *r;
    idem_fingerprint_t *print;
    idem_seek_t *seek; /* for the key; NULL: it is not in the body */
    apr_file_t *spool;
    apr_off_t spooled;
    apr_off_t max; /* bytes of a body; 0: no limit */
    int failed;    /* writing the spool file failed */
} reader_t;

/* Tenants under mod_php share our uid: nobody else may find the name. */
static apr_status_t open_spool(reader_t *in)
{
    const char *dir;
    char *name;
    apr_status_t rv;

    rv = apr_temp_dir_get(&dir, in->ctx->pool);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    name = apr_pstrcat(in->ctx->pool, dir, "/idempotency.XXXXXX", NULL);
    rv = apr_file_mktemp(&in->spool, name,
                         APR_FOPEN_CREATE | APR_FOPEN_READ | APR_FOPEN_WRITE
                             | APR_FOPEN_EXCL | APR_FOPEN_BINARY,
                         in->ctx->pool);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    return apr_file_remove(name, in->ctx->pool);
}

static apr_status_t set_aside(reader_t *in, const char *data, apr_size_t len)
{
    apr_status_t rv;

    if (in->ctx->body_len + (apr_off_t)len <= MEMORY_MAX && !in->spool) {
        return apr_brigade_write(in->ctx->body, NULL, NULL, data, len);
    }
    if (!in->spool) {
        rv = open_spool(in);
        if (rv != APR_SUCCESS) {
            return rv;
        }
    }
    rv = apr_file_write_full(in->spool, data, len, NULL);
    in->spooled += (apr_off_t)len;
    return rv;
}

/* @return APR_EOF after the end of the body; APR_ENOSPC: over the limit */
static apr_status_t read_bucket(reader_t *in, apr_bucket *b)
{
    const char *data;
    apr_size_t len;
    apr_status_t rv;

    if (APR_BUCKET_IS_EOS(b)) {
        return APR_EOF;
    }
    if (APR_BUCKET_IS_METADATA(b)) {
        return APR_SUCCESS;
    }
    rv = apr_bucket_read(b, &data, &len, APR_BLOCK_READ);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (in->max > 0 && in->ctx->body_len + (apr_off_t)len > in->max) {
        return APR_ENOSPC;
    }
    if (in->ctx->conf->print->body) {
        idem_fingerprint_body(in->print, data, len);
    }
    if (in->seek) {
        idem_seek_add(in->seek, data, len);
    }
    rv = set_aside(in, data, len);
    if (rv != APR_SUCCESS) {
        in->failed = 1;
        return rv;
    }
    in->ctx->body_len += (apr_off_t)len;
    return APR_SUCCESS;
}

static apr_status_t read_all(reader_t *in)
{
    request_rec *r = in->r;
    apr_bucket_brigade *bb;
    apr_bucket *b;
    apr_status_t rv;

    bb = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    do {
        rv = ap_get_brigade(r->input_filters, bb, AP_MODE_READBYTES,
                            APR_BLOCK_READ, READ_SIZE);
        if (rv == APR_SUCCESS && APR_BRIGADE_EMPTY(bb)) {
            rv = APR_EGENERAL;
        }
        for (b = APR_BRIGADE_FIRST(bb);
             rv == APR_SUCCESS && b != APR_BRIGADE_SENTINEL(bb);
             b = APR_BUCKET_NEXT(b)) {
            rv = read_bucket(in, b);
        }
        apr_brigade_cleanup(bb);
    } while (rv == APR_SUCCESS);
    apr_brigade_destroy(bb);
    return rv == APR_EOF ? APR_SUCCESS : rv;
}

/* Rule 24: a FastCGI back end reads no body without a Content-Length. */
static void tell_length(const idem_ctx_t *ctx, request_rec *r)
{
    if (apr_table_get(r->headers_in, "Transfer-Encoding")
        || (!apr_table_get(r->headers_in, "Content-Length")
            && ctx->body_len > 0)) {
        apr_table_unset(r->headers_in, "Transfer-Encoding");
        apr_table_setn(r->headers_in, "Content-Length",
                       apr_off_t_toa(r->pool, ctx->body_len));
    }
}

/* A client may name the host in the target, too (RFC 9112 3.2.2). */
static const char *target_of(const request_rec *first)
{
    const char *target = first->unparsed_uri;
    const char *host = strstr(target, "://");

    if (*target == '/' || !host) {
        return target;
    }
    host += 3;
    target = host + strcspn(host, "/?");
    return *target == '/' ? target
                          : apr_pstrcat(first->pool, "/", target, NULL);
}

static apr_status_t start_print(idem_fingerprint_t **print, idem_ctx_t *ctx,
                                request_rec *r)
{
    const idem_print_parts_t *parts = ctx->conf->print;
    request_rec *first = ctx->first;
    apr_status_t rv;
    int i;

    rv = idem_fingerprint_create(print,
                                 apr_table_get(r->headers_in, "Content-Type"),
                                 parts->kinds, ctx->pool);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    /* Rule 8: what the client sent, not what rewriting made of it. */
    if (parts->method) {
        idem_fingerprint_add(*print, "method", first->method);
    }
    if (parts->uri) {
        idem_fingerprint_add(*print, "uri", target_of(first));
    }
    for (i = 0; parts->headers && i < parts->headers->nelts; i++) {
        const char *name = APR_ARRAY_IDX(parts->headers, i, const char *);

        idem_fingerprint_add(*print,
                             apr_pstrcat(ctx->pool, "header:", name, NULL),
                             apr_table_get(r->headers_in, name));
    }
    return APR_SUCCESS;
}

/* httpd does not apply LimitRequestBody to what it proxies, which it never
 * holds; we do hold it. */
static apr_off_t body_max(const idem_ctx_t *ctx, request_rec *r)
{
    apr_off_t max = ctx->conf->body_max;
    apr_off_t limit = ap_get_limit_req_body(r);

    return max > 0 && (limit <= 0 || max < limit) ? max : limit;
}

/* A declared length over the limit is refused before "100 Continue". */
static int declared_too_large(request_rec *r, apr_off_t max)
{
    const char *cl = apr_table_get(r->headers_in, "Content-Length");
    apr_off_t len;

    return max > 0 && cl && !apr_table_get(r->headers_in, "Transfer-Encoding")
           && ap_parse_strict_length(&len, cl) && len > max;
}

int idem_body_read(idem_ctx_t *ctx, request_rec *r, int *too_large)
{
    reader_t in = { 0 };
    apr_status_t rv;

    in.max = body_max(ctx, r);
    if (declared_too_large(r, in.max)) {
        *too_large = 1;
        return OK;
    }
    in.ctx = ctx;
    in.r = r;
    ctx->body = apr_brigade_create(ctx->pool, r->connection->bucket_alloc);
    rv = start_print(&in.print, ctx, r);
    if (rv != APR_SUCCESS) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    if (!ctx->key) {
        in.seek = idem_seek_create(
            ctx->conf->sources, apr_table_get(r->headers_in, "Content-Type"),
            ctx->pool);
    }
    rv = read_all(&in);
    if (in.failed) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, rv, r,
                      "IDEM0015: the request body could not be set aside; "
                      "nothing was run");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    if (APR_STATUS_IS_ENOSPC(rv)) {
        *too_large = 1;
        return OK;
    }
    if (rv != APR_SUCCESS) {
        return ap_map_http_request_error(rv, HTTP_BAD_REQUEST);
    }
    if (in.spool) {
        apr_brigade_insert_file(ctx->body, in.spool, 0, in.spooled, ctx->pool);
    }
    ctx->body_read = 1;
    ctx->body_rv = in.seek ? idem_seek_end(&ctx->body_key, &ctx->body_which,
                                           &ctx->body_why, in.seek)
                           : APR_NOTFOUND;
    tell_length(ctx, r);
    if (idem_fingerprint_end(in.print, &ctx->print) != APR_SUCCESS) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    return OK;
}

/* SPECULATIVE: a look that takes nothing away. */
static apr_status_t peek(apr_bucket_brigade *bb, apr_bucket_brigade *body,
                         apr_bucket *end)
{
    apr_bucket *b, *copy;
    apr_status_t rv;

    for (b = APR_BRIGADE_FIRST(body); b != end; b = APR_BUCKET_NEXT(b)) {
        rv = apr_bucket_copy(b, &copy);
        if (rv != APR_SUCCESS) {
            return rv;
        }
        APR_BRIGADE_INSERT_TAIL(bb, copy);
    }
    return APR_SUCCESS;
}

static apr_status_t take(apr_bucket_brigade *bb, apr_bucket_brigade *body,
                         ap_input_mode_t mode, apr_off_t readbytes)
{
    apr_bucket *end, *b;
    apr_status_t rv;

    if (mode == AP_MODE_EXHAUSTIVE) {
        APR_BRIGADE_CONCAT(bb, body);
        return APR_SUCCESS;
    }
    rv = apr_brigade_partition(body, readbytes, &end);
    if (rv != APR_SUCCESS && rv != APR_INCOMPLETE) {
        return rv;
    }
    if (mode == AP_MODE_SPECULATIVE) {
        return peek(bb, body, end);
    }
    while (!APR_BRIGADE_EMPTY(body) && (b = APR_BRIGADE_FIRST(body)) != end) {
        APR_BUCKET_REMOVE(b);
        APR_BRIGADE_INSERT_TAIL(bb, b);
    }
    return APR_SUCCESS;
}

/* Rule 22. Never removed: after the end it says EOS again and again. */
static apr_status_t body_in(ap_filter_t *f, apr_bucket_brigade *bb,
                            ap_input_mode_t mode, apr_read_type_e block,
                            apr_off_t readbytes)
{
    idem_ctx_t *ctx = f->ctx;
    apr_status_t rv = APR_SUCCESS;

    /* No context: named in a tenant's SetInputFilter. */
    if (!ctx || mode == AP_MODE_INIT || mode == AP_MODE_EATCRLF) {
        return ap_get_brigade(f->next, bb, mode, block, readbytes);
    }
    ctx->body_asked = 1;
    if (!APR_BRIGADE_EMPTY(ctx->body)) {
        if (mode == AP_MODE_GETLINE) {
            rv = apr_brigade_split_line(bb, ctx->body, block, HUGE_STRING_LEN);
        }
        else {
            rv = take(bb, ctx->body, mode, readbytes);
        }
    }
    if (rv == APR_SUCCESS && APR_BRIGADE_EMPTY(ctx->body)) {
        APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_eos_create(f->c->bucket_alloc));
    }
    return rv;
}

void idem_body_give(idem_ctx_t *ctx, request_rec *r)
{
    ap_filter_t *f;

    if (!ctx->body_read) {
        return;
    }
    for (f = r->input_filters; f; f = f->next) {
        if (f->frec == body_filter && f->ctx == ctx) {
            return;
        }
    }
    ap_add_input_filter_handle(body_filter, ctx, r, r->connection);
}

void idem_body_register(void)
{
    body_filter = ap_register_input_filter("IDEMPOTENCY_BODY", body_in, NULL,
                                           BODY_FTYPE);
}
