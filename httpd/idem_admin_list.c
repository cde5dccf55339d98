/* idem_admin_list.c: what is recorded: one entry, lists, export, purge.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The store gives out copies in short steps, so requests go on while a list
 * of millions is written to a slow reader.
 */
#include "idem_admin.h"

#include <apr_strings.h>

#include "idem_audit.h"

#define BATCH 256
#define LIMIT 1000
#define LIMIT_MAX 10000

/* ---------------------------------------------------------------- entries */

/* The store's clock does not jump when the machine's does. */
static apr_time_t wall_of(apr_time_t time)
{
    return time == 0
               ? 0
               : time + (apr_time_now() - idem_store_now(idem_server_store));
}

void idem_admin_entry(idem_out_t *out, const idem_entry_t *entry)
{
    const char *label = idem_admin_label(entry->host);
    apr_time_t now = idem_store_now(idem_server_store);

    idem_out_text(out, "id", idem_admin_hex(&entry->id, out->pool));
    idem_out_text(out, "host",
                  label ? label
                        : apr_psprintf(out->pool, "sum:%08x", entry->host));
    idem_out_text(out, "state", idem_admin_life_str(entry->life));
    idem_out_time(out, "created", wall_of(entry->created));
    if (entry->created > 0 && now >= entry->created) {
        idem_out_number(out, "age_seconds",
                        (apr_uint64_t)apr_time_sec(now - entry->created));
    }
    idem_out_time(
        out, "expires",
        entry->life == IDEM_LIFE_EXECUTING ? 0 : wall_of(entry->expires));
    idem_out_number(out, "record_bytes", entry->len);
}

static int name_field(void *data, const char *name, const char *value)
{
    (void)value;
    idem_out_text(data, NULL, name);
    return 1;
}

static void names(idem_out_t *out, const idem_record_t *record)
{
    idem_out_array(out, "fields");
    if (record->content_type) {
        idem_out_text(out, NULL, "Content-Type");
    }
    if (record->out_set) {
        apr_table_do(name_field, out, record->out_set, NULL);
    }
    if (record->err_set) {
        apr_table_do(name_field, out, record->err_set, NULL);
    }
    idem_out_end(out);
}

void idem_admin_answer(idem_out_t *out, const idem_blob_t *blob, int fields)
{
    idem_record_t record;

    if (!blob->data
        || idem_record_decode(&record, blob, out->pool) != APR_SUCCESS) {
        idem_out_raw(out, "answer", NULL);
        return;
    }
    idem_out_object(out, "answer");
    idem_out_number(out, "status", (apr_uint64_t)record.status);
    idem_out_time(out, "recorded", record.created);
    idem_out_text(out, "original_id", record.unique_id);
    idem_out_number(out, "body_bytes", record.body.len);
    if (fields) {
        names(out, &record);
    }
    idem_out_end(out);
}

/* ---------------------------------------------------------------- walking */

typedef struct {
    idem_admin_t *admin;
    idem_admin_which_t which;
    apr_uint64_t cursor;
    apr_uint64_t left; /* entries that may still be visited */
    apr_pool_t *pool;  /* of one entry */
    void (*visit)(void *data, const idem_entry_t *entry, apr_pool_t *pool);
    void *data;
} walk_t;

/* Never more entries than may be visited are asked for, so that the cursor
 * leaves none out. */
static apr_status_t walk_on(walk_t *walk)
{
    idem_entry_t entries[BATCH];
    apr_status_t rv;
    int i, n;

    do {
        n = walk->left < BATCH ? (int)walk->left : BATCH;
        rv = idem_store_list(idem_server_store, entries, &n, &walk->cursor);
        for (i = 0; rv == APR_SUCCESS && i < n; i++) {
            if (idem_admin_is_meant(&walk->which, &entries[i])) {
                walk->visit(walk->data, &entries[i], walk->pool);
                apr_pool_clear(walk->pool);
                walk->left--;
            }
        }
    } while (rv == APR_SUCCESS && walk->cursor != 0 && walk->left > 0
             && !walk->admin->r->connection->aborted);
    return rv;
}

/* @return OK, or DONE after an answer, as in idem_admin_find.c */
static int begin_walk(walk_t *walk, idem_admin_t *admin)
{
    memset(walk, 0, sizeof(*walk));
    walk->admin = admin;
    walk->left = APR_UINT64_MAX;
    apr_pool_create(&walk->pool, admin->r->pool);
    apr_pool_tag(walk->pool, "idempotency-entry");
    return idem_admin_which(admin, &walk->which);
}

static int parse_number(apr_uint64_t *value, const char *text)
{
    apr_uint64_t n = 0;
    const char *p;

    for (p = text; *p >= '0' && *p <= '9'; p++) {
        if (n > (APR_UINT64_MAX - 9) / 10) {
            return 0;
        }
        n = 10 * n + (apr_uint64_t)(*p - '0');
    }
    *value = n;
    return p > text && !*p;
}

static int take_page(walk_t *walk)
{
    const char *limit = apr_table_get(walk->admin->params, "limit");
    const char *cursor = apr_table_get(walk->admin->params, "cursor");

    walk->left = LIMIT;
    if (limit
        && (!parse_number(&walk->left, limit) || walk->left < 1
            || walk->left > LIMIT_MAX)) {
        idem_page_error(walk->admin->r, HTTP_BAD_REQUEST,
                        "limit is a number from 1 to 10000", "limit=1000");
        return DONE;
    }
    if (cursor && !parse_number(&walk->cursor, cursor)) {
        idem_page_error(walk->admin->r, HTTP_BAD_REQUEST,
                        "cursor is what the list before said as next",
                        "no cursor, to begin");
        return DONE;
    }
    return OK;
}

/* ----------------------------------------------------------------- list */

static void list_one(void *data, const idem_entry_t *entry, apr_pool_t *pool)
{
    idem_out_t *out = data;

    out->pool = pool;
    idem_out_object(out, NULL);
    idem_admin_entry(out, entry);
    idem_out_end(out);
}

int idem_admin_list(idem_admin_t *admin)
{
    request_rec *r = admin->r;
    apr_status_t rv;
    idem_out_t out;
    walk_t walk;

    if (begin_walk(&walk, admin) != OK || take_page(&walk) != OK) {
        return OK;
    }
    idem_page_json_begin(&out, r);
    idem_out_object(&out, NULL);
    idem_out_array(&out, "records");
    walk.visit = list_one;
    walk.data = &out;
    rv = walk_on(&walk);
    out.pool = r->pool;
    idem_out_end(&out);
    idem_out_text(
        &out, "next",
        walk.cursor ? apr_psprintf(r->pool, "%" APR_UINT64_T_FMT, walk.cursor)
                    : NULL);
    if (rv != APR_SUCCESS) {
        idem_out_text(&out, "error", "the store could not be read to its end");
    }
    idem_out_end(&out);
    return OK;
}

/* --------------------------------------------------------------- export */

static void export_one(void *data, const idem_entry_t *entry, apr_pool_t *pool)
{
    idem_out_t *out = data;
    idem_entry_t again;
    idem_blob_t blob = { NULL, 0 };

    out->pool = pool;
    idem_out_object(out, NULL);
    idem_admin_entry(out, entry);
    if (entry->len > 0) {
        (void)idem_store_look(idem_server_store, &again, &blob, &entry->id,
                              pool);
    }
    idem_admin_answer(out, &blob, 0);
    idem_out_end(out);
}

int idem_admin_export(idem_admin_t *admin)
{
    idem_out_t out;
    walk_t walk;

    if (begin_walk(&walk, admin) != OK) {
        return OK;
    }
    idem_page_json_begin(&out, admin->r);
    ap_set_content_type(admin->r, "application/x-ndjson");
    out.lines = 0;
    walk.visit = export_one;
    walk.data = &out;
    if (walk_on(&walk) != APR_SUCCESS) {
        out.pool = admin->r->pool;
        idem_out_object(&out, NULL);
        idem_out_text(&out, "error", "the store could not be read to its end");
        idem_out_end(&out);
    }
    return OK;
}

/* ---------------------------------------------------------------- purge */

static void purge_one(void *data, const idem_entry_t *entry, apr_pool_t *pool)
{
    apr_uint64_t *n = data;

    (void)pool;
    if (idem_store_forget(idem_server_store, &entry->id) == APR_SUCCESS) {
        (*n)++;
    }
}

/* A key that is executing would run twice: only who asks for just that gets
 * it. */
static void purge_settled(void *data, const idem_entry_t *entry,
                          apr_pool_t *pool)
{
    if (entry->life != IDEM_LIFE_EXECUTING) {
        purge_one(data, entry, pool);
    }
}

static void tell_purge(request_rec *r, const char *host,
                       const idem_admin_which_t *which, apr_uint64_t n)
{
    const char *state =
        which->any_life ? NULL : idem_admin_life_str(which->life);

    ap_log_rerror(APLOG_MARK, APLOG_NOTICE, 0, r,
                  "IDEM0041: %" APR_UINT64_T_FMT
                  " records of %s%s%s were purged by %s from %s",
                  n, host, state ? " in state " : "", state ? state : "",
                  r->user ? r->user : "nobody", r->useragent_ip);
    idem_audit_admin(r, "purge", host, NULL, state, n);
}

int idem_admin_purge(idem_admin_t *admin)
{
    request_rec *r = admin->r;
    const apr_array_header_t *hosts;
    apr_uint64_t n = 0;
    apr_status_t rv;
    idem_out_t out;
    walk_t walk;

    /* Not all of them, only because none was named. */
    if (idem_admin_hosts(admin, &hosts) != OK
        || begin_walk(&walk, admin) != OK) {
        return OK;
    }
    walk.visit = walk.which.any_life ? purge_settled : purge_one;
    walk.data = &n;
    rv = walk_on(&walk);
    tell_purge(r, apr_table_get(admin->params, "host"), &walk.which, n);
    if (rv != APR_SUCCESS) {
        return idem_page_error(r, HTTP_INTERNAL_SERVER_ERROR,
                               apr_psprintf(r->pool,
                                            "the store could not be read to "
                                            "its end; %" APR_UINT64_T_FMT
                                            " records were purged",
                                            n),
                               NULL);
    }
    idem_page_json_begin(&out, r);
    idem_out_object(&out, NULL);
    idem_out_number(&out, "purged", n);
    idem_out_end(&out);
    return OK;
}
