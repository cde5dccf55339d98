/* test_record.c: a response comes back as it was; nothing else comes back.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_test.h"

#include <string.h>

#include <apr_strings.h>

#include "idem_record.h"

static apr_array_header_t *list_of(apr_pool_t *pool, const char *a,
                                   const char *b)
{
    apr_array_header_t *list = apr_array_make(pool, 2, sizeof(a));

    APR_ARRAY_PUSH(list, const char *) = a;
    APR_ARRAY_PUSH(list, const char *) = b;
    return list;
}

static idem_record_t full_record(apr_pool_t *pool)
{
    idem_record_t record = { 0 };
    apr_table_t *out = apr_table_make(pool, 4);
    apr_table_t *err = apr_table_make(pool, 4);

    apr_table_add(out, "Location", "/orders/1");
    apr_table_add(out, "Link", "<a>");
    apr_table_add(out, "X-Empty", "");
    apr_table_add(out, "Link", "<b>");
    apr_table_add(err, "WWW-Authenticate", "Basic \xe4");
    record.status = 201;
    record.path = IDEM_PATH_ERROR;
    record.created = T0 + 7;
    record.status_line = "201 Made";
    record.content_type = "application/json";
    record.content_encoding = "";
    record.unique_id = "abc";
    record.languages = list_of(pool, "en", "de");
    record.out_set = out;
    record.err_set = err;
    record.out_unset = list_of(pool, "X-A", "X-B");
    record.err_unset = list_of(pool, "X-C", "");
    return record;
}

/* Head and body in memory of exactly that size, for the sanitizers. */
static idem_blob_t encoded(const idem_record_t *record, const char *body,
                           apr_pool_t *pool)
{
    idem_blob_t head, blob;
    char *data;

    assert_int_equal(idem_record_encode(&head, record, pool), APR_SUCCESS);
    blob.len = head.len + strlen(body);
    data = apr_palloc(pool, blob.len);
    memcpy(data, head.data, head.len);
    memcpy(data + head.len, body, strlen(body));
    blob.data = data;
    return blob;
}

static void check_text(const char *a, const char *b)
{
    assert_int_equal(a == NULL, b == NULL);
    if (a) {
        assert_string_equal(a, b);
    }
}

static void check_list(const apr_array_header_t *a,
                       const apr_array_header_t *b)
{
    int i;

    assert_int_equal(a ? a->nelts : 0, b ? b->nelts : 0);
    for (i = 0; a && i < a->nelts; i++) {
        check_text(APR_ARRAY_IDX(a, i, const char *),
                   APR_ARRAY_IDX(b, i, const char *));
    }
}

/* In the same order, repeats included. */
static void check_table(const apr_table_t *ta, const apr_table_t *tb)
{
    const apr_array_header_t *a = ta ? apr_table_elts(ta) : NULL;
    const apr_array_header_t *b = tb ? apr_table_elts(tb) : NULL;
    int i;

    assert_int_equal(a ? a->nelts : 0, b ? b->nelts : 0);
    for (i = 0; a && i < a->nelts; i++) {
        check_text(APR_ARRAY_IDX(a, i, apr_table_entry_t).key,
                   APR_ARRAY_IDX(b, i, apr_table_entry_t).key);
        check_text(APR_ARRAY_IDX(a, i, apr_table_entry_t).val,
                   APR_ARRAY_IDX(b, i, apr_table_entry_t).val);
    }
}

static void check_same(const idem_record_t *a, const idem_record_t *b)
{
    assert_int_equal(a->status, b->status);
    assert_int_equal(a->path, b->path);
    assert_true(a->created == b->created);
    check_text(a->status_line, b->status_line);
    check_text(a->content_type, b->content_type);
    check_text(a->content_encoding, b->content_encoding);
    check_text(a->unique_id, b->unique_id);
    check_list(a->languages, b->languages);
    check_list(a->out_unset, b->out_unset);
    check_list(a->err_unset, b->err_unset);
    check_table(a->out_set, b->out_set);
    check_table(a->err_set, b->err_set);
}

static void a_response_comes_back_as_it_was(void **state)
{
    idem_record_t record = full_record(*state), back;
    idem_blob_t blob = encoded(&record, "{\"id\":1}", *state);

    assert_int_equal(idem_record_decode(&back, &blob, *state), APR_SUCCESS);
    check_same(&record, &back);
    assert_int_equal(back.body.len, 8);
    assert_memory_equal(back.body.data, "{\"id\":1}", 8);
    assert_ptr_equal(back.body.data + 8, blob.data + blob.len);
}

static void what_is_absent_stays_absent(void **state)
{
    idem_record_t record = { 0 }, back;
    idem_blob_t blob;

    record.status = 204;
    blob = encoded(&record, "", *state);
    assert_int_equal(idem_record_decode(&back, &blob, *state), APR_SUCCESS);
    check_same(&record, &back);
    assert_null(back.languages);
    assert_int_equal(back.body.len, 0);
}

/* Stores outlive versions of the module. */
static void the_bytes_are_those_of_version_1(void **state)
{
    static const char wanted[] = "\x01\x00\xc9\x00" /* version, path, 201 */
                                 "\x08\x07\x06\x05\x04\x03\x02\x01"
                                 "\xff\xff\xff\xff"
                                 "\x03\x00\x00\x00"
                                 "a/b"
                                 "\xff\xff\xff\xff\xff\xff\xff\xff"
                                 "\x01\x00\x02\x00\x00\x00"
                                 "en"
                                 "\x00\x00\x00\x00" /* no names unset */
                                 "\x01\x00\x01\x00\x00\x00"
                                 "N"
                                 "\x00\x00\x00\x00" /* N: with no value */
                                 "\x00\x00";
    idem_record_t record = { 0 };
    apr_table_t *out = apr_table_make(*state, 1);
    apr_array_header_t *list = list_of(*state, "en", "de");
    idem_blob_t head;

    list->nelts = 1;
    apr_table_add(out, "N", "");
    record.status = 201;
    record.created = APR_INT64_C(0x0102030405060708);
    record.content_type = "a/b";
    record.languages = list;
    record.out_set = out;
    assert_int_equal(idem_record_encode(&head, &record, *state), APR_SUCCESS);
    assert_int_equal(head.len, sizeof(wanted) - 1);
    assert_memory_equal(head.data, wanted, head.len);
}

static void a_cut_record_is_none(void **state)
{
    idem_record_t record = full_record(*state), back;
    idem_blob_t blob = encoded(&record, "", *state);
    apr_size_t len;

    for (len = 0; len < blob.len; len++) {
        idem_blob_t cut;

        cut.data = apr_pmemdup(*state, blob.data, len);
        cut.len = len;
        assert_int_equal(idem_record_decode(&back, &cut, *state), APR_EINVAL);
    }
}

/* Each byte of a head, set to each of a few values: refused, or a record
 * that encodes to these very bytes. */
static void no_damage_is_read_as_something_else(void **state)
{
    static const unsigned char values[] = { 0, 1, 0x7f, 0x80, 0xfe, 0xff };
    idem_record_t record = full_record(*state), back;
    idem_blob_t blob = encoded(&record, "body", *state), head;
    apr_pool_t *pool;
    apr_size_t i, j;

    apr_pool_create(&pool, *state);
    for (i = 0; i < blob.len; i++) {
        for (j = 0; j < sizeof(values); j++) {
            char *bad = apr_pmemdup(pool, blob.data, blob.len);
            idem_blob_t damaged;

            bad[i] = (char)values[j];
            damaged.data = bad;
            damaged.len = blob.len;
            if (idem_record_decode(&back, &damaged, pool) == APR_SUCCESS) {
                assert_int_equal(idem_record_encode(&head, &back, pool),
                                 APR_SUCCESS);
                assert_int_equal(head.len + back.body.len, blob.len);
                assert_memory_equal(head.data, bad, head.len);
            }
            apr_pool_clear(pool);
        }
    }
}

/* One place of an otherwise good record is set. */
static apr_status_t decode_with(const char *data, apr_size_t len,
                                apr_size_t at, apr_pool_t *pool)
{
    idem_record_t record = full_record(pool), back;
    idem_blob_t blob = encoded(&record, "body", pool);

    memcpy((char *)blob.data + at, data, len);
    return idem_record_decode(&back, &blob, pool);
}

static void what_cannot_be_is_refused(void **state)
{
    assert_int_equal(decode_with("\x01", 1, 0, *state), APR_SUCCESS);
    assert_int_equal(decode_with("\x00", 1, 0, *state), APR_EINVAL);
    assert_int_equal(decode_with("\x02", 1, 0, *state), APR_EINVAL);
    assert_int_equal(decode_with("\x02", 1, 1, *state), APR_EINVAL);
    assert_int_equal(decode_with("\xc8\x00", 2, 2, *state), APR_SUCCESS);
    assert_int_equal(decode_with("\xc7\x00", 2, 2, *state), APR_EINVAL);
    assert_int_equal(decode_with("\x57\x02", 2, 2, *state), APR_SUCCESS);
    assert_int_equal(decode_with("\x58\x02", 2, 2, *state), APR_EINVAL);
    /* The status line: a length beyond the end, a NUL inside. */
    assert_int_equal(decode_with("\xfe\xff\xff\xff", 4, 12, *state),
                     APR_EINVAL);
    assert_int_equal(decode_with("\x00", 1, 17, *state), APR_EINVAL);
}

static void an_absent_text_in_a_list_is_refused(void **state)
{
    /* No texts, one language, nothing else; the language is absent or "". */
    static const char absent[] = "\x01\x00\xc8\x00"
                                 "\x00\x00\x00\x00\x00\x00\x00\x00"
                                 "\xff\xff\xff\xff\xff\xff\xff\xff"
                                 "\xff\xff\xff\xff\xff\xff\xff\xff"
                                 "\x01\x00\xff\xff\xff\xff"
                                 "\x00\x00\x00\x00\x00\x00\x00\x00";
    char empty[sizeof(absent)];
    idem_record_t record;
    idem_blob_t blob;

    memcpy(empty, absent, sizeof(absent));
    memset(empty + 30, 0, 4);
    blob.len = sizeof(absent) - 1;
    blob.data = empty;
    assert_int_equal(idem_record_decode(&record, &blob, *state), APR_SUCCESS);
    blob.data = absent;
    assert_int_equal(idem_record_decode(&record, &blob, *state), APR_EINVAL);
}

static apr_status_t encode_status(int status, int path, apr_pool_t *pool)
{
    idem_record_t record = { 0 };
    idem_blob_t head;

    record.status = status;
    record.path = (idem_path_t)path;
    return idem_record_encode(&head, &record, pool);
}

static void only_final_answers_are_encoded(void **state)
{
    assert_int_equal(encode_status(199, 0, *state), APR_EINVAL);
    assert_int_equal(encode_status(200, 0, *state), APR_SUCCESS);
    assert_int_equal(encode_status(599, 1, *state), APR_SUCCESS);
    assert_int_equal(encode_status(600, 0, *state), APR_EINVAL);
    assert_int_equal(encode_status(-1, 0, *state), APR_EINVAL);
    assert_int_equal(encode_status(200, 2, *state), APR_EINVAL);
}

static void null_in_a_list_is_refused(void **state)
{
    idem_record_t record = { 0 };
    idem_blob_t head;

    record.status = 200;
    record.out_unset = list_of(*state, "a", NULL);
    assert_int_equal(idem_record_encode(&head, &record, *state), APR_EINVAL);
}

static apr_status_t encode_type(apr_size_t len, apr_pool_t *pool)
{
    idem_record_t record = { 0 };
    idem_blob_t head;
    char *type = apr_palloc(pool, len + 1);

    memset(type, 'a', len);
    type[len] = '\0';
    record.status = 200;
    record.content_type = type;
    return idem_record_encode(&head, &record, pool);
}

/* 38 bytes are there without any text. */
static void a_head_has_up_to_16_mib(void **state)
{
    apr_size_t max = 16 * 1024 * 1024;

    assert_int_equal(encode_type(max - 38, *state), APR_SUCCESS);
    assert_int_equal(encode_type(max - 37, *state), APR_EINVAL);
    assert_int_equal(encode_type(max + 1, *state), APR_EINVAL);
}

static apr_status_t encode_fields(int n, apr_pool_t *pool)
{
    idem_record_t record = { 0 };
    apr_table_t *table = apr_table_make(pool, n);
    idem_blob_t head;

    while (n-- > 0) {
        apr_table_addn(table, "a", "b");
    }
    record.status = 200;
    record.err_set = table;
    return idem_record_encode(&head, &record, pool);
}

static void fields_are_bounded(void **state)
{
    assert_int_equal(encode_fields(65535, *state), APR_SUCCESS);
    assert_int_equal(encode_fields(65536, *state), APR_EINVAL);
}

static void fields_of_one_message_are_not_recorded(void **state)
{
    static const char *const hop[] = {
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
        "Age",
        "Content-Length",
        "Content-Range",
        "Date",
        "Server",
        "CONNECTION",
        "content-length",
        "te",
    };
    static const char *const kept[] = {
        "",
        "Set-Cookie",
        "Location",
        "ETag",
        "Vary",
        "Content-Type",
        "T",
        "TEE",
        "Dates",
        "Content-Location",
        "WWW-Authenticate",
        "Link",
    };
    apr_size_t i;

    (void)state;
    for (i = 0; i < sizeof(hop) / sizeof(*hop); i++) {
        assert_true(idem_record_is_hop(hop[i]));
    }
    for (i = 0; i < sizeof(kept) / sizeof(*kept); i++) {
        assert_false(idem_record_is_hop(kept[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(a_response_comes_back_as_it_was),
        pool_test(what_is_absent_stays_absent),
        pool_test(the_bytes_are_those_of_version_1),
        pool_test(a_cut_record_is_none),
        pool_test(no_damage_is_read_as_something_else),
        pool_test(what_cannot_be_is_refused),
        pool_test(an_absent_text_in_a_list_is_refused),
        pool_test(only_final_answers_are_encoded),
        pool_test(null_in_a_list_is_refused),
        pool_test(a_head_has_up_to_16_mib),
        pool_test(fields_are_bounded),
        pool_test(fields_of_one_message_are_not_recorded),
    };

    apr_initialize();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
