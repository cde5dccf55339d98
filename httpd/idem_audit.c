/* idem_audit.c: the audit log: one line of JSON per decision.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A line is one write(2): with O_APPEND, or to a pipe and of no more than
 * PIPE_BUF bytes, so that lines of many processes never mix. Nothing here may
 * stop a request: pipes are not waited for, and a line that cannot be written
 * is counted and told of in the error log, once a minute.
 *
 * File and program are opened by the parent in the open_logs hook, as httpd
 * opens its own logs, and anew at each restart: after a graceful one the old
 * children go on with the old file, so logs are rotated as those of httpd.
 */
#include "idem_audit.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <apr_atomic.h>
#include <apr_portable.h>
#include <apr_shm.h>
#include <apr_strings.h>

#include "idem_line.h"
#include "idem_value.h"

#define SAY_INTERVAL apr_time_from_sec(60)

/* Most bytes of the escaped value; with all of them at their most a line
 * still has its end (see lib/idem_line.h). */
#define HOST_MAX 256
#define KEY_MAX (2 * IDEM_KEY_LEN_MAX)
#define PATH_MAX_LEN 800
#define SHORT_MAX 64
#define USER_MAX 256

/* Shared by all children of a generation. */
typedef struct {
    apr_uint32_t torn; /* a line was cut off: the disk was full */
    apr_uint64_t lost; /* lines, since it was last said */
    apr_uint64_t said; /* when that was */
} shared_t;

static apr_file_t *file;
static shared_t *shared;

/* -------------------------------------------------------------- directive */

const char *idem_audit_set(cmd_parms *cmd, void *mconfig, const char *where,
                           const char *option)
{
    const char *err = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    (void)mconfig;
    if (err) {
        return err;
    }
    if (idem_global.audit) {
        return idem_value_bad(cmd, where,
                              "would be a second audit log; there is one for "
                              "the whole server",
                              "logs/idempotency.log");
    }
    if (option && strcmp(option, "keys=on") != 0
        && strcmp(option, "keys=off") != 0) {
        return idem_value_bad(cmd, option, "is not an option", "keys=on");
    }
    idem_global.audit_keys = option && !strcmp(option, "keys=on");
    if (where[0] == '|') {
        idem_global.audit = where;
    }
    else if (where[0]) {
        idem_global.audit = ap_server_root_relative(cmd->pool, where);
    }
    if (!idem_global.audit || !strcmp(where, "|")) {
        return idem_value_bad(cmd, where, "is neither a file nor a program",
                              "logs/idempotency.log or "
                              "\"|/usr/bin/rotatelogs ...\"");
    }
    return NULL;
}

/* --------------------------------------------------------------- opening */

/* httpd leaves its pipes open to what mod_php starts (rule 57). */
static void close_on_exec(apr_file_t *end)
{
    apr_os_file_t fd;

    if (apr_os_file_get(&fd, end) == APR_SUCCESS) {
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
}

static apr_status_t open_pipe(server_rec *s, apr_pool_t *pconf)
{
    piped_log *pipe = ap_open_piped_log(pconf, idem_global.audit + 1);

    if (!pipe) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, 0, s,
                     "IDEM0061: IdempotencyAuditLog: program %s could not be "
                     "started",
                     idem_global.audit + 1);
        return APR_EGENERAL;
    }
    file = ap_piped_log_write_fd(pipe);
    close_on_exec(file);
    close_on_exec(ap_piped_log_read_fd(pipe));
    /* A program that does not read must not hold up requests. */
    return apr_file_pipe_timeout_set(file, 0);
}

/* Not as readable as httpd's other logs: addresses stand beside what was
 * done. Without NONBLOCK a named pipe that nobody reads stops the start. */
static apr_status_t open_file(server_rec *s, apr_pool_t *pconf)
{
    apr_status_t rv;

    rv = apr_file_open(&file, idem_global.audit,
                       APR_FOPEN_WRITE | APR_FOPEN_APPEND | APR_FOPEN_CREATE
                           | APR_FOPEN_LARGEFILE | APR_FOPEN_NONBLOCK,
                       APR_FPROT_UREAD | APR_FPROT_UWRITE | APR_FPROT_GREAD,
                       pconf);
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, s,
                     "IDEM0060: IdempotencyAuditLog: %s could not be opened",
                     idem_global.audit);
    }
    return rv;
}

static apr_status_t create_shared(server_rec *s, apr_pool_t *pconf)
{
    apr_shm_t *shm;
    apr_status_t rv = apr_shm_create(&shm, sizeof(*shared), NULL, pconf);

    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, s,
                     "IDEM0062: IdempotencyAuditLog: no shared memory");
        return rv;
    }
    shared = apr_shm_baseaddr_get(shm);
    memset(shared, 0, sizeof(*shared));
    return APR_SUCCESS;
}

int idem_audit_open(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp,
                    server_rec *s)
{
    apr_status_t rv;

    (void)plog;
    (void)ptemp;
    file = NULL;
    shared = NULL;
    /* Rule 47: the first reading must leave nothing behind. */
    if (!idem_global.audit
        || ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG) {
        return OK;
    }
    rv = create_shared(s, pconf);
    if (rv == APR_SUCCESS) {
        rv = idem_global.audit[0] == '|' ? open_pipe(s, pconf)
                                         : open_file(s, pconf);
    }
    return rv == APR_SUCCESS ? OK : HTTP_INTERNAL_SERVER_ERROR;
}

/* --------------------------------------------------------------- writing */

static void say_lost(request_rec *r, apr_status_t rv)
{
    apr_uint64_t said = apr_atomic_read64(&shared->said);
    apr_uint64_t now = (apr_uint64_t)apr_time_now();
    apr_uint64_t lost;

    apr_atomic_inc64(&shared->lost);
    if ((said != 0 && now - said < (apr_uint64_t)SAY_INTERVAL)
        || apr_atomic_cas64(&shared->said, now, said) != said) {
        return;
    }
    lost = apr_atomic_xchg64(&shared->lost, 0);
    ap_log_rerror(
        APLOG_MARK, APLOG_ERR, rv, r,
        "IDEM0063: the audit log cannot be written: %" APR_UINT64_T_FMT
        " lines lost since this was last said",
        lost);
}

/* One write, and no waiting: apr_file_write() would poll a named pipe. */
static apr_status_t write_once(const char *text, apr_size_t len,
                               apr_size_t *done)
{
    apr_os_file_t fd;
    ssize_t n;

    *done = 0;
    if (apr_os_file_get(&fd, file) != APR_SUCCESS) {
        return APR_EBADF;
    }
    do {
        n = write(fd, text, len);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return errno;
    }
    *done = (apr_size_t)n;
    return *done == len ? APR_SUCCESS : APR_ENOSPC;
}

/* What a full disk cut off is ended by the next line, which therefore begins
 * with a new line of its own. */
static void write_line(idem_line_t *line, request_rec *r)
{
    apr_uint32_t torn = apr_atomic_read32(&shared->torn);
    apr_size_t done;
    apr_status_t rv;

    idem_line_end(line);
    if (torn) {
        memmove(line->text + 1, line->text, line->len++);
        line->text[0] = '\n';
    }
    rv = write_once(line->text, line->len, &done);
    if (rv == APR_SUCCESS) {
        if (torn) {
            apr_atomic_set32(&shared->torn, 0);
        }
        return;
    }
    if (done > 0) {
        apr_atomic_set32(&shared->torn, 1);
    }
    say_lost(r, rv);
}

/* --------------------------------------------------------------- digests */

/* Keyed: short keys and small bodies could be guessed from plain digests. */
static apr_status_t digest_of(idem_digest_t *out, const char *kind,
                              const char *host, const void *data,
                              apr_size_t len, apr_pool_t *pool)
{
    idem_key_digest_t *digest;
    apr_status_t rv;

    if (!idem_server_store) {
        return APR_EGENERAL;
    }
    rv = idem_key_digest_create(&digest, idem_server_store->secret,
                                sizeof(idem_server_store->secret), pool);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    idem_key_digest_add(digest, kind, strlen(kind));
    idem_key_digest_add(digest, host, strlen(host));
    idem_key_digest_add(digest, data, len);
    return idem_key_digest_end(digest, out);
}

apr_status_t idem_audit_key(char text[IDEM_AUDIT_TEXT], const char *host,
                            const char *key, apr_pool_t *pool)
{
    idem_digest_t digest;
    apr_status_t rv =
        digest_of(&digest, "audit key", host, key, strlen(key), pool);

    if (rv == APR_SUCCESS) {
        ap_bin2hex(digest.bytes, IDEM_AUDIT_DIGEST_LEN, text);
    }
    return rv;
}

void idem_audit_principal(idem_ctx_t *ctx, request_rec *r)
{
    ctx->has_principal =
        file && idem_request_principal(&ctx->principal, ctx, r) == APR_SUCCESS;
}

/* -------------------------------------------------------------- requests */

static const char *unique_id(const request_rec *r)
{
    return apr_table_get(r->subprocess_env, "UNIQUE_ID");
}

void idem_audit_original(idem_ctx_t *ctx, request_rec *r,
                         const idem_record_t *record)
{
    ctx->original_id = record->unique_id;
    ctx->original_time = record->created;
    if (record->unique_id) {
        apr_table_setn(ctx->first->subprocess_env, "IDEMPOTENCY_ORIGINAL_ID",
                       record->unique_id);
        apr_table_setn(r->subprocess_env, "IDEMPOTENCY_ORIGINAL_ID",
                       record->unique_id);
    }
}

/* As the client sent it, without the query: that may hold the key, or what
 * is nobody's business. An absolute URI may even hold a password. */
static const char *path_of(const request_rec *first, apr_pool_t *pool)
{
    const char *uri = first->unparsed_uri;
    apr_uri_t parsed;

    if (!uri || *uri != '/') {
        return uri && apr_uri_parse(pool, uri, &parsed) == APR_SUCCESS
                   ? parsed.path
                   : NULL;
    }
    return apr_pstrmemdup(pool, uri, strcspn(uri, "?#"));
}

static void put_digests(idem_line_t *line, const idem_ctx_t *ctx)
{
    static const idem_digest_t none;
    const char *host = ctx->srv->host;
    idem_digest_t digest;

    if (ctx->key
        && digest_of(&digest, "audit key", host, ctx->key, strlen(ctx->key),
                     ctx->pool)
               == APR_SUCCESS) {
        idem_line_digest(line, "key", &digest, IDEM_AUDIT_DIGEST_LEN);
    }
    if (memcmp(&ctx->id, &none, sizeof(none)) != 0) {
        idem_line_digest(line, "id", &ctx->id, IDEM_DIGEST_LEN);
    }
    if (ctx->has_principal) {
        idem_line_digest(line, "principal", &ctx->principal,
                         IDEM_AUDIT_DIGEST_LEN);
    }
    if (memcmp(&ctx->print, &none, sizeof(none)) != 0
        && digest_of(&digest, "audit fingerprint", host, &ctx->print,
                     sizeof(ctx->print), ctx->pool)
               == APR_SUCCESS) {
        idem_line_digest(line, "fingerprint", &digest, IDEM_AUDIT_DIGEST_LEN);
    }
}

static void put_exchange(idem_line_t *line, const idem_ctx_t *ctx,
                         apr_time_t now)
{
    request_rec *first = ctx->first;
    const request_rec *last = first;

    while (last->next) {
        last = last->next;
    }
    idem_line_text(line, "method", first->method, SHORT_MAX);
    idem_line_number(line, "status", last->status);
    idem_line_text(line, "client", first->useragent_ip, SHORT_MAX);
    idem_line_number(line, "duration", now - first->request_time);
    idem_line_text(line, "unique_id", unique_id(first), SHORT_MAX);
    idem_line_text(line, "original_id", ctx->original_id, SHORT_MAX);
    if (ctx->original_time) {
        idem_line_time(line, "original_time", ctx->original_time);
    }
    idem_line_text(line, "path", path_of(first, ctx->pool), PATH_MAX_LEN);
}

void idem_audit_request(idem_ctx_t *ctx, request_rec *r)
{
    apr_time_t now = apr_time_now();
    idem_line_t line;

    if (!file || !ctx->counted) {
        return; /* no decision was made, such as for half a body */
    }
    idem_line_init(&line);
    idem_line_time(&line, "time", now);
    idem_line_text(&line, "host", r->server->server_hostname, HOST_MAX);
    idem_line_text(&line, "result", idem_result_str(ctx->result), SHORT_MAX);
    put_digests(&line, ctx);
    put_exchange(&line, ctx, now);
    if (idem_global.audit_keys) {
        idem_line_text(&line, "key_text", ctx->key, KEY_MAX);
    }
    write_line(&line, r);
}

void idem_audit_admin(request_rec *r, const char *action, const char *host,
                      const idem_digest_t *id, const char *was,
                      apr_uint64_t count)
{
    idem_line_t line;

    if (!file) {
        return;
    }
    idem_line_init(&line);
    idem_line_time(&line, "time", apr_time_now());
    idem_line_text(&line, "host", host, HOST_MAX);
    idem_line_text(&line, "action", action, SHORT_MAX);
    if (id) {
        idem_line_digest(&line, "id", id, IDEM_DIGEST_LEN);
    }
    idem_line_text(&line, "was", was, SHORT_MAX);
    idem_line_number(&line, "count", (apr_int64_t)count);
    idem_line_text(&line, "user", r->user, USER_MAX);
    idem_line_text(&line, "client", r->useragent_ip, SHORT_MAX);
    idem_line_text(&line, "unique_id", unique_id(r), SHORT_MAX);
    write_line(&line, r);
}
