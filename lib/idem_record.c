/* idem_record.c: a response <-> the bytes a store keeps.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   u8 version, u8 path, u16 status, u64 created
 *   text status_line, content_type, content_encoding, unique_id
 *   list languages, out_unset, err_unset      u16 count, texts
 *   table out_set, err_set                    u16 count, pairs of texts
 *   the body: everything that follows
 *
 * A text is u32 length + bytes; length 0xffffffff is an absent one. Numbers
 * are little-endian.
 */
#include "idem_record.h"

#include <string.h>

#include <apr_cstr.h>
#include <apr_strings.h>

#define VERSION 1
#define ABSENT 0xffffffffu
#define HEAD_MAX (16 * 1024 * 1024)
#define COUNT_MAX 0xffff

/* ----------------------------------------------------------------- writing */

/* Two passes over the same calls: without a buffer they only count. */
typedef struct {
    char *at; /* NULL: count */
    apr_size_t len;
    int failed;
} writer_t;

static void put(writer_t *w, const void *data, apr_size_t len)
{
    if (w->at && len > 0) {
        memcpy(w->at + w->len, data, len);
    }
    w->len += len;
    w->failed = w->failed || w->len > HEAD_MAX;
}

static void put_number(writer_t *w, apr_uint64_t value, int bytes)
{
    unsigned char raw[8];
    int i;

    for (i = 0; i < bytes; i++) {
        raw[i] = (unsigned char)(value >> (8 * i));
    }
    put(w, raw, (apr_size_t)bytes);
}

static void put_text(writer_t *w, const char *text)
{
    apr_size_t len = text ? strlen(text) : 0;

    if (len > HEAD_MAX) {
        w->failed = 1;
        return;
    }
    put_number(w, text ? len : ABSENT, 4);
    put(w, text, len);
}

/* A NULL in a list would read as a record that is damaged. */
static void put_present(writer_t *w, const char *text)
{
    w->failed = w->failed || !text;
    put_text(w, text);
}

static void put_count(writer_t *w, int count)
{
    w->failed = w->failed || count > COUNT_MAX;
    put_number(w, (apr_uint64_t)count, 2);
}

static void put_list(writer_t *w, const apr_array_header_t *list)
{
    int i, n = list ? list->nelts : 0;

    put_count(w, n);
    for (i = 0; i < n && !w->failed; i++) {
        put_present(w, APR_ARRAY_IDX(list, i, const char *));
    }
}

static void put_table(writer_t *w, const apr_table_t *table)
{
    const apr_array_header_t *fields = table ? apr_table_elts(table) : NULL;
    const apr_table_entry_t *entry;
    int i, n = fields ? fields->nelts : 0;

    put_count(w, n);
    for (i = 0; i < n && !w->failed; i++) {
        entry = &APR_ARRAY_IDX(fields, i, apr_table_entry_t);
        put_present(w, entry->key);
        put_present(w, entry->val);
    }
}

static void put_record(writer_t *w, const idem_record_t *record)
{
    put_number(w, VERSION, 1);
    put_number(w, (apr_uint64_t)record->path, 1);
    put_number(w, (apr_uint64_t)record->status, 2);
    put_number(w, (apr_uint64_t)record->created, 8);
    put_text(w, record->status_line);
    put_text(w, record->content_type);
    put_text(w, record->content_encoding);
    put_text(w, record->unique_id);
    put_list(w, record->languages);
    put_list(w, record->out_unset);
    put_list(w, record->err_unset);
    put_table(w, record->out_set);
    put_table(w, record->err_set);
}

apr_status_t idem_record_encode(idem_blob_t *head, const idem_record_t *record,
                                apr_pool_t *pool)
{
    writer_t count = { NULL, 0, 0 };
    writer_t write = { NULL, 0, 0 };

    if (record->status < 200 || record->status > 599
        || (unsigned)record->path > IDEM_PATH_ERROR) {
        return APR_EINVAL;
    }
    put_record(&count, record);
    if (count.failed) {
        return APR_EINVAL;
    }
    write.at = apr_palloc(pool, count.len);
    put_record(&write, record);
    head->data = write.at;
    head->len = write.len;
    return APR_SUCCESS;
}

/* ----------------------------------------------------------------- reading */

typedef struct {
    const char *at;
    apr_size_t left;
    int failed;
    apr_pool_t *pool;
} reader_t;

static apr_uint64_t get_number(reader_t *in, int bytes)
{
    apr_uint64_t value = 0;
    int i;

    if (in->failed || in->left < (apr_size_t)bytes) {
        in->failed = 1;
        return 0;
    }
    for (i = 0; i < bytes; i++) {
        value |= (apr_uint64_t)(unsigned char)in->at[i] << (8 * i);
    }
    in->at += bytes;
    in->left -= (apr_size_t)bytes;
    return value;
}

/* A NUL inside would make a text shorter than it says. */
static const char *get_text(reader_t *in)
{
    apr_size_t len = (apr_size_t)get_number(in, 4);
    const char *text;

    if (in->failed || len == ABSENT) {
        return NULL;
    }
    if (len > in->left || memchr(in->at, 0, len)) {
        in->failed = 1;
        return NULL;
    }
    text = apr_pstrmemdup(in->pool, in->at, len);
    in->at += len;
    in->left -= len;
    return text;
}

static const char *get_present(reader_t *in)
{
    const char *text = get_text(in);

    in->failed = in->failed || !text;
    return text;
}

static apr_array_header_t *get_list(reader_t *in)
{
    int i, n = (int)get_number(in, 2);
    apr_array_header_t *list;

    if (in->failed || n == 0) {
        return NULL;
    }
    list = apr_array_make(in->pool, 4, sizeof(const char *));
    for (i = 0; i < n && !in->failed; i++) {
        const char *text = get_present(in);

        if (text) {
            APR_ARRAY_PUSH(list, const char *) = text;
        }
    }
    return list;
}

static apr_table_t *get_table(reader_t *in)
{
    int i, n = (int)get_number(in, 2);
    apr_table_t *table = apr_table_make(in->pool, 8);

    for (i = 0; i < n && !in->failed; i++) {
        const char *name = get_present(in);
        const char *value = get_present(in);

        if (name && value) {
            apr_table_addn(table, name, value);
        }
    }
    return table;
}

apr_status_t idem_record_decode(idem_record_t *record, const idem_blob_t *blob,
                                apr_pool_t *pool)
{
    reader_t in = { 0 };
    apr_uint64_t version, path;

    in.at = blob->data;
    in.left = blob->len;
    in.pool = pool;
    memset(record, 0, sizeof(*record));
    version = get_number(&in, 1);
    path = get_number(&in, 1);
    record->status = (int)get_number(&in, 2);
    record->created = (apr_time_t)get_number(&in, 8);
    if (in.failed || version != VERSION || path > IDEM_PATH_ERROR
        || record->status < 200 || record->status > 599) {
        return APR_EINVAL;
    }
    record->path = (idem_path_t)path;
    record->status_line = get_text(&in);
    record->content_type = get_text(&in);
    record->content_encoding = get_text(&in);
    record->unique_id = get_text(&in);
    record->languages = get_list(&in);
    record->out_unset = get_list(&in);
    record->err_unset = get_list(&in);
    record->out_set = get_table(&in);
    record->err_set = get_table(&in);
    record->body.data = in.at;
    record->body.len = in.left;
    return in.failed ? APR_EINVAL : APR_SUCCESS;
}

/* ------------------------------------------------------------------ fields */

int idem_record_is_hop(const char *name)
{
    static const char *const names[] = {
        "Connection",
        "Keep-Alive",
        "Proxy-Authenticate",
        "Proxy-Authentication-Info",
        "Proxy-Authorization",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        /* made anew for each message */
        "Age",
        "Content-Length",
        "Content-Range",
        "Date",
        "Server",
    };
    apr_size_t i;

    for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (!apr_cstr_casecmp(name, names[i])) {
            return 1;
        }
    }
    return 0;
}
