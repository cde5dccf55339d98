/* test_source.c: where keys may stand, and keys of queries and forms.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_test.h"

#include <string.h>

#include <apr_strings.h>

#include "idem_source.h"

/* ----------------------------------------------------------------- sources */

static const struct {
    const char *text;
    idem_source_kind_t kind;
    const char *name; /* NULL: refused */
} sources[] = {
    { "header:Idempotency-Key", IDEM_SOURCE_HEADER, "Idempotency-Key" },
    { "header:X_Y!#$%&'*+-.^`|~", IDEM_SOURCE_HEADER, "X_Y!#$%&'*+-.^`|~" },
    { "query:ClientToken", IDEM_SOURCE_QUERY, "ClientToken" },
    { "query:a b:c=&%", IDEM_SOURCE_QUERY, "a b:c=&%" },
    { "form:_key[x]", IDEM_SOURCE_FORM, "_key[x]" },
    { "json:/idempotency_key", IDEM_SOURCE_JSON, "/idempotency_key" },
    { "json:/a/0/~0~1", IDEM_SOURCE_JSON, "/a/0/~0~1" },
    { "json:/", IDEM_SOURCE_JSON, "/" },
    { "", IDEM_SOURCE_HEADER, NULL },
    { "header", IDEM_SOURCE_HEADER, NULL },
    { "header:", IDEM_SOURCE_HEADER, NULL },
    { "header:a b", IDEM_SOURCE_HEADER, NULL },
    { "header:a:", IDEM_SOURCE_HEADER, NULL },
    { "header:\xe4", IDEM_SOURCE_HEADER, NULL },
    { "Header:a", IDEM_SOURCE_HEADER, NULL },
    { "cookie:a", IDEM_SOURCE_HEADER, NULL },
    { "query:", IDEM_SOURCE_HEADER, NULL },
    { "form:", IDEM_SOURCE_HEADER, NULL },
    { "json:", IDEM_SOURCE_HEADER, NULL },
    { "json:a", IDEM_SOURCE_HEADER, NULL },
    { "json:a/b", IDEM_SOURCE_HEADER, NULL },
    { "json:/~", IDEM_SOURCE_HEADER, NULL },
    { "json:/~2", IDEM_SOURCE_HEADER, NULL },
    { "json:/a~/b", IDEM_SOURCE_HEADER, NULL },
};

static void a_source_has_a_kind_and_a_name(void **state)
{
    apr_size_t i;

    (void)state;
    for (i = 0; i < sizeof(sources) / sizeof(*sources); i++) {
        idem_source_t source;
        apr_status_t rv = idem_source_parse(&source, sources[i].text);

        if (rv != (sources[i].name ? APR_SUCCESS : APR_EINVAL)) {
            fail_msg("%s: %d", sources[i].text, rv);
        }
        if (sources[i].name) {
            assert_int_equal(source.kind, sources[i].kind);
            assert_string_equal(source.name, sources[i].name);
        }
    }
}

static void a_name_has_up_to_255_bytes(void **state)
{
    char text[300];
    idem_source_t source;

    (void)state;
    memset(text, 'a', sizeof(text));
    memcpy(text, "form:", 5);
    text[5 + 255] = '\0';
    assert_int_equal(idem_source_parse(&source, text), APR_SUCCESS);
    text[5 + 255] = 'a';
    text[5 + 256] = '\0';
    assert_int_equal(idem_source_parse(&source, text), APR_EINVAL);
}

/* ------------------------------------------------- urlencoded, two readers */

/* The field is "key"; value NULL and a reason: refused. */
typedef struct {
    const char *text;
    const char *value;
    const char *why; /* part of it */
} row_t;

static const row_t rows[] = {
    { "key=abc", "abc", NULL },
    { "a=1&key=abc&b=2", "abc", NULL },
    { "&&key=abc&", "abc", NULL },
    { "key=a+b", "a b", NULL },
    { "key=a%20b%2Bc%2bd", "a b+c+d", NULL },
    { "key=a%3Db=c", "a=b=c", NULL },
    { "%6b%65%79=abc", "abc", NULL },
    { "k%65y=abc", "abc", NULL },
    { "key=", "", NULL },
    { "key", "", NULL },
    { "a&key&b", "", NULL },
    { "key=abc&key=abc", "abc", NULL },
    { "key=abc&key=%61bc", "abc", NULL },
    { "key=a;b", "a;b", NULL },
    { "key=\xc3\xa4", "\xc3\xa4", NULL },
    { "a=%zz&key=abc&%=1&b=%", "abc", NULL },
    { "", NULL, NULL },
    { "a", NULL, NULL },
    { "=key", NULL, NULL },
    { "a=key", NULL, NULL },
    { "a=key=abc", NULL, NULL },
    { "Key=abc", NULL, NULL },
    { "keys=abc", NULL, NULL },
    { "ke=abc", NULL, NULL },
    { "key%00=abc", NULL, NULL },
    { "key[]=abc", NULL, NULL },
    { "%6=abc&%6bey%=abc", NULL, NULL },
    { "key%=abc", NULL, NULL },
    { "+key=abc", NULL, NULL },
    { "key=abc&key=abd", NULL, "more than once" },
    { "key=abc&key=ab", NULL, "more than once" },
    { "key=ab&key=abc", NULL, "more than once" },
    { "key=&key=abc", NULL, "more than once" },
    { "key&key=abc", NULL, "more than once" },
    { "key=a&key=b&key=a", NULL, "more than once" },
    { "key=a%", NULL, "escape" },
    { "key=a%4", NULL, "escape" },
    { "key=a%&b=1", NULL, "escape" },
    { "key=a%4&b=1", NULL, "escape" },
    { "key=a%zz", NULL, "escape" },
    { "key=a%4z", NULL, "escape" },
    { "key=a%%41", NULL, "escape" },
    { "key=abc&key=%", NULL, "escape" },
    { "key=%&key=abc", NULL, "escape" },
    { "key=a%00b", NULL, "NUL" },
    { "key=%00", NULL, "NUL" },
};

static void check_row(const row_t *row, apr_status_t rv, const char *value,
                      const char *why)
{
    apr_status_t wanted = row->value ? APR_SUCCESS
                          : row->why ? APR_EINVAL
                                     : APR_NOTFOUND;

    if (rv != wanted) {
        fail_msg("[%s]: status %d", row->text, rv);
    }
    if (row->value) {
        assert_string_equal(value, row->value);
    }
    if (row->why) {
        assert_non_null(strstr(why, row->why));
    }
}

#define NROWS(rows) (sizeof(rows) / sizeof(*rows))

static void a_query_is_decoded(void **state)
{
    apr_size_t i;

    for (i = 0; i < NROWS(rows); i++) {
        const char *value = NULL, *why = NULL;
        apr_status_t rv =
            idem_source_query(&value, &why, rows[i].text, "key", *state);

        check_row(&rows[i], rv, value, why);
    }
}

static void no_query_has_no_key(void **state)
{
    const char *value, *why;

    assert_int_equal(idem_source_query(&value, &why, NULL, "key", *state),
                     APR_NOTFOUND);
}

/* Of texts that end in NULL. */
static apr_array_header_t *list(apr_pool_t *pool, const char *const *texts)
{
    apr_array_header_t *all = apr_array_make(pool, 4, sizeof(idem_source_t));

    for (; *texts; texts++) {
        assert_int_equal(idem_source_parse(apr_array_push(all), *texts),
                         APR_SUCCESS);
    }
    return all;
}

static const char *const key_in_form[] = { "form:key", NULL };
static const char urlencoded[] = "application/x-www-form-urlencoded";

/* A body in pieces of step bytes; 0: at once. */
static apr_status_t seek(const char **value, int *which, const char **why,
                         const char *const *texts, const char *type,
                         const char *body, apr_size_t step, apr_pool_t *pool)
{
    idem_seek_t *seek = idem_seek_create(list(pool, texts), type, pool);
    apr_size_t len = strlen(body);

    assert_non_null(seek);
    while (len > 0) {
        apr_size_t n = step && step < len ? step : len;

        idem_seek_add(seek, body, n);
        body += n;
        len -= n;
    }
    return idem_seek_end(value, which, why, seek);
}

static void an_urlencoded_body_is_decoded(void **state)
{
    apr_size_t i, step;

    for (i = 0; i < NROWS(rows); i++) {
        for (step = 0; step < 4; step++) {
            const char *value = NULL, *why = NULL;
            int which = -1;
            apr_status_t rv = seek(&value, &which, &why, key_in_form,
                                   urlencoded, rows[i].text, step, *state);

            check_row(&rows[i], rv, value, why);
            assert_true(rv != APR_SUCCESS || which == 0);
        }
    }
}

/* A value of n bytes. */
static apr_status_t seek_long(apr_size_t n, apr_pool_t *pool)
{
    char *body = apr_palloc(pool, n + 5);
    const char *value = NULL, *why = NULL;
    int which;
    apr_status_t rv;

    memset(body, 'a', n + 4);
    memcpy(body, "key=", 4);
    body[n + 4] = '\0';
    rv = seek(&value, &which, &why, key_in_form, urlencoded, body, 1000, pool);
    assert_true(rv != APR_SUCCESS || strlen(value) == n);
    assert_true(rv == APR_SUCCESS || strstr(why, "too long"));
    assert_int_equal(idem_source_query(&value, &why, body, "key", pool), rv);
    return rv;
}

static void a_value_has_up_to_4096_bytes(void **state)
{
    assert_int_equal(seek_long(4096, *state), APR_SUCCESS);
    assert_int_equal(seek_long(4097, *state), APR_EINVAL);
    assert_int_equal(seek_long(100000, *state), APR_EINVAL);
}

static void a_name_over_the_limit_is_not_cut_to_one(void **state)
{
    char name[256];
    const char *texts[2] = { NULL, NULL };
    const char *value, *why;
    int which;

    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    texts[0] = apr_pstrcat(*state, "form:", name, NULL);
    assert_int_equal(seek(&value, &which, &why, texts, urlencoded,
                          apr_pstrcat(*state, name, "=a", NULL), 0, *state),
                     APR_SUCCESS);
    assert_int_equal(seek(&value, &which, &why, texts, urlencoded,
                          apr_pstrcat(*state, name, "n=a", NULL), 0, *state),
                     APR_NOTFOUND);
}

/* --------------------------------------------------------------- many sources
 */

static void the_first_source_that_is_present_wins(void **state)
{
    static const char *const texts[] = { "header:H",  "form:a", "json:/a",
                                         "query:a",   "form:b", "form:b",
                                         "json:/b/c", NULL };
    const char *value = NULL, *why = NULL;
    int which = -1;

    assert_int_equal(
        seek(&value, &which, &why, texts, urlencoded, "b=1&a=2", 0, *state),
        APR_SUCCESS);
    assert_int_equal(which, 1);
    assert_string_equal(value, "2");
    assert_int_equal(
        seek(&value, &which, &why, texts, urlencoded, "b=1&c=2", 0, *state),
        APR_SUCCESS);
    assert_int_equal(which, 4);
    assert_string_equal(value, "1");
    /* What is wrong with a later one does not matter. */
    assert_int_equal(seek(&value, &which, &why, texts, urlencoded,
                          "b=1&a=2&b=3", 0, *state),
                     APR_SUCCESS);
    assert_int_equal(seek(&value, &which, &why, texts, urlencoded,
                          "b=1&a=2&a=3", 0, *state),
                     APR_EINVAL);
    assert_int_equal(which, 1);
    assert_int_equal(seek(&value, &which, &why, texts, urlencoded,
                          "b=1&c=2&b=3", 0, *state),
                     APR_EINVAL);
    assert_int_equal(which, 4);
    assert_int_equal(seek(&value, &which, &why, texts, "application/json",
                          "{\"b\":{\"c\":\"x\"}}", 0, *state),
                     APR_SUCCESS);
    assert_int_equal(which, 6);
    assert_string_equal(value, "x");
    assert_int_equal(
        seek(&value, &which, &why, texts, "application/json", "{", 0, *state),
        APR_EINVAL);
    assert_int_equal(which, 2);
}

static int is_looked_at(const char *const *texts, const char *type,
                        apr_pool_t *pool)
{
    int possible = idem_seek_is_possible(list(pool, texts), type);

    assert_int_equal(possible,
                     idem_seek_create(list(pool, texts), type, pool) != NULL);
    return possible;
}

static void only_bodies_of_a_fitting_type_are_looked_at(void **state)
{
    static const struct {
        const char *type;
        int form;
        int json;
    } types[] = {
        { NULL, 0, 0 },
        { "", 0, 0 },
        { "text/plain", 0, 0 },
        { "application/x-www-form-urlencoded", 1, 0 },
        { "Application/X-WWW-Form-URLencoded; charset=utf-8", 1, 0 },
        { " application/x-www-form-urlencoded ;", 1, 0 },
        { "application/x-www-form-urlencodedx", 0, 0 },
        { "multipart/form-data; boundary=b", 1, 0 },
        { "Multipart/Form-Data", 1, 0 },
        { "multipart/mixed; boundary=b", 0, 0 },
        { "application/json", 0, 1 },
        { "APPLICATION/JSON;charset=utf-8", 0, 1 },
        { "application/json \t; a=b", 0, 1 },
        { "application/vnd.api+JSON", 0, 1 },
        { "application/problem+json ; a", 0, 1 },
        { "application/json, text/plain", 0, 0 },
        { "application/json x", 0, 0 },
        { "application/jsonx", 0, 0 },
        { "application/xjson", 0, 0 },
        { "text/json", 0, 0 },
        { "+json", 0, 0 },
        { "x+json", 0, 0 },
    };
    static const char *const json[] = { "query:a", "json:/a", NULL };
    static const char *const none[] = { "header:a", "query:a", NULL };
    apr_pool_t *p = *state;
    apr_size_t i;

    for (i = 0; i < NROWS(types); i++) {
        const char *type = types[i].type;

        if (is_looked_at(key_in_form, type, p) != types[i].form
            || is_looked_at(json, type, p) != types[i].json
            || is_looked_at(none, type, p)) {
            fail_msg("%s", type ? type : "no type");
        }
    }
}

static void sources_are_named_for_people(void **state)
{
    apr_array_header_t *all = apr_array_make(*state, 4, sizeof(idem_source_t));

    assert_string_equal(idem_source_names(all, *state), "");
    idem_source_parse(apr_array_push(all), "header:A");
    assert_string_equal(idem_source_names(all, *state), "the field A");
    idem_source_parse(apr_array_push(all), "query:b");
    idem_source_parse(apr_array_push(all), "form:c");
    idem_source_parse(apr_array_push(all), "json:/d");
    assert_string_equal(idem_source_names(all, *state),
                        "the field A or the query parameter b or "
                        "the form field c or the JSON member /d");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(a_source_has_a_kind_and_a_name),
        pool_test(a_name_has_up_to_255_bytes),
        pool_test(a_query_is_decoded),
        pool_test(no_query_has_no_key),
        pool_test(an_urlencoded_body_is_decoded),
        pool_test(a_value_has_up_to_4096_bytes),
        pool_test(a_name_over_the_limit_is_not_cut_to_one),
        pool_test(the_first_source_that_is_present_wins),
        pool_test(only_bodies_of_a_fitting_type_are_looked_at),
        pool_test(sources_are_named_for_people),
    };

    apr_initialize();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
