/* test_seek.c: keys in multipart and JSON bodies.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_test.h"

#include <string.h>

#include <apr_strings.h>

#include "idem_source.h"

#define FORM_TYPE "multipart/form-data; boundary=b"

typedef struct {
    const char *body;
    const char *value; /* NULL: none */
    const char *why;   /* part of the reason; NULL: it is not there */
} row_t;

#define NROWS(rows) (sizeof(rows) / sizeof(*rows))

static idem_seek_t *start(const char *text, const char *type, apr_pool_t *pool)
{
    apr_array_header_t *all = apr_array_make(pool, 1, sizeof(idem_source_t));
    idem_seek_t *seek;

    assert_int_equal(idem_source_parse(apr_array_push(all), text),
                     APR_SUCCESS);
    seek = idem_seek_create(all, type, pool);
    assert_non_null(seek);
    return seek;
}

/* In pieces of step bytes; 0: at once. */
static void check(const row_t *row, apr_size_t len, const char *source,
                  const char *type, apr_size_t step, apr_pool_t *pool)
{
    idem_seek_t *seek = start(source, type, pool);
    const char *body = row->body, *value = NULL, *why = NULL;
    apr_status_t rv;
    int which = -1;

    while (len > 0) {
        apr_size_t n = step && step < len ? step : len;

        idem_seek_add(seek, body, n);
        body += n;
        len -= n;
    }
    rv = idem_seek_end(&value, &which, &why, seek);
    if (rv
        != (row->value ? APR_SUCCESS
            : row->why ? APR_EINVAL
                       : APR_NOTFOUND)) {
        fail_msg("[%s]: status %d, step %d", row->body, rv, (int)step);
    }
    if (row->value) {
        assert_string_equal(value, row->value);
        assert_int_equal(which, 0);
    }
    if (row->why) {
        assert_non_null(strstr(why, row->why));
    }
}

static void check_rows(const row_t *rows, apr_size_t n, const char *source,
                       const char *type, apr_pool_t *pool)
{
    apr_size_t i, step;

    for (i = 0; i < n; i++) {
        for (step = 0; step < 4; step++) {
            check(&rows[i], strlen(rows[i].body), source, type, step, pool);
        }
    }
}

/* --------------------------------------------------------------- multipart */

#define PART(disposition, value)                                              \
    "--b\r\nContent-Disposition: " disposition "\r\n\r\n" value "\r\n"
#define DATA(parameters, value) PART("form-data; " parameters, value)
#define END "--b--\r\n"

static const row_t forms[] = {
    { DATA("name=\"key\"", "abc") END, "abc", NULL },
    { DATA("name=\"a\"", "1") DATA("name=\"key\"", "abc") END, "abc", NULL },
    { DATA("name=key", "abc") END, "abc", NULL },
    { DATA("name = \"key\" ", "abc") END, "abc", NULL },
    { DATA("NAME=\"key\"", "abc") END, "abc", NULL },
    { DATA("a=b; name=\"key\"; c=\"d;e\"", "abc") END, "abc", NULL },
    { DATA("a=\"name=\\\"x\\\"\";name=\"key\";", "abc") END, "abc", NULL },
    { DATA("\r\n name=\"key\"", "abc") END, "abc", NULL },
    { DATA("\r\n\tname=\"key\"", "abc") END, "abc", NULL },
    { "--b\r\ncontent-disposition:form-data;name=\"key\"\r\n"
      "Content-Type: text/plain; name=\"x\"\r\n\r\nabc\r\n" END,
      "abc", NULL },
    { "--b\r\nX: y\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\n"
      "abc\r\n" END,
      "abc", NULL },
    { DATA("name=\"key\"", "") END, "", NULL },
    { DATA("name=\"key\"", "a\r\n--c\r") END, "a\r\n--c\r", NULL },
    { DATA("name=\"key\"", "abc") DATA("name=\"key\"", "abc") END, "abc",
      NULL },
    { DATA("name=\"key\"", "abc") DATA("name=\"key\"; filename=\"x\"", "abd")
          END,
      "abc", NULL },
    { DATA("name=\"key\"", "a%zz+") END, "a%zz+", NULL },
    { "", NULL, NULL },
    { "--b--", NULL, NULL },
    { DATA("name=\"a\"", "key") END, NULL, NULL },
    { DATA("name=\"Key\"", "abc") END, NULL, NULL },
    { DATA("name=\"keys\"", "abc") END, NULL, NULL },
    { DATA("name=\"ke\"", "abc") END, NULL, NULL },
    { DATA("name=\"%6bey\"", "abc") END, NULL, NULL },
    { DATA("name*=\"key\"", "abc") END, NULL, NULL },
    { DATA("filename=\"x\"; name=\"key\"", "abc") END, NULL, NULL },
    { DATA("name=\"key\"; filename=\"\"", "abc") END, NULL, NULL },
    { DATA("name=\"key\"; FileName=x", "abc") END, NULL, NULL },
    { DATA("name=\"key\"; filename*=utf-8''x", "abc") END, NULL, NULL },
    { DATA("name=\"key\"; filename=\"C:\\x\\\"", "abc") END, NULL, NULL },
    { DATA("name=\"key\"; filename", "abc") END, NULL, NULL },
    { PART("form-data", "abc") END, NULL, NULL },
    { "--b\r\n\r\nabc\r\n" END, NULL, NULL },
    { "--b\r\nX-Content-Disposition: form-data; name=\"key\"\r\n\r\n"
      "abc\r\n" END,
      NULL, NULL },
    { "--b\r\nContent-Type: x; name=\"key\"\r\n\r\nabc\r\n" END, NULL, NULL },
    /* Inside a part, not the header of one. */
    { DATA("name=\"a\"",
           "Content-Disposition: form-data; name=\"key\"\r\n\r\nabc") END,
      NULL, NULL },
    { DATA("name=\"key\"", "abc") DATA("name=\"key\"", "abd") END, NULL,
      "more than once" },
    { DATA("name=\"key\"", "") DATA("name=\"key\"", "abd") END, NULL,
      "more than once" },
    /* Which name would the application believe? */
    { DATA("name=\"key\"; name=\"a\"", "abc") END, NULL, "well-formed" },
    { DATA("name=\"a\"; name=\"key\"", "abc") END, NULL, "well-formed" },
    { DATA("name=\"key", "abc") END, NULL, "well-formed" },
    { DATA("name=\"key\" x", "abc") END, NULL, "well-formed" },
    { DATA("name", "abc") END, NULL, "well-formed" },
    { DATA("name=\"key\"; x", "abc") END, NULL, "well-formed" },
    { "--b\r\nContent-Disposition: form-data; name=\"key\"\r\n"
      "Content-Disposition: form-data; name=\"a\"\r\n\r\nabc\r\n" END,
      NULL, "well-formed" },
    /* Malformed as a whole, also where a key was seen. */
    { DATA("name=\"key\"", "abc"), NULL, "well-formed" },
    { DATA("name=\"key\"", "abc") "--b-", NULL, "well-formed" },
    { DATA("name=\"key\"", "abc") "--b--x", NULL, "well-formed" },
    { "x\r\n" DATA("name=\"key\"", "abc") END, NULL, "well-formed" },
    { "x", NULL, "well-formed" },
    { "key=abc", NULL, "well-formed" },
};

static void a_field_of_a_form_is_found(void **state)
{
    check_rows(forms, NROWS(forms), "form:key", FORM_TYPE, *state);
}

/* What browsers write, and wrote, for a name. */
static void names_have_escapes(void **state)
{
    static const struct {
        const char *source;
        const char *name;
        int found;
    } rows[] = {
        { "form:a\"b", "a%22b", 1 },
        { "form:a\"b", "a\\\"b", 1 },
        { "form:a\r\nb", "a%0D%0Ab", 1 },
        { "form:a\r\nb", "a%0d%0ab", 1 },
        { "form:a%22b", "a%22b", 1 },
        { "form:a\\b", "a\\b", 1 },
        { "form:a\\b", "a\\\\b", 1 },
        { "form:a b", "a b", 1 },
        { "form:a%41", "a%41", 1 },
        { "form:aA", "a%41", 0 },
        { "form:a%", "a%", 1 },
        { "form:a%2", "a%2", 1 },
        { "form:\xc3\xa4", "\xc3\xa4", 1 },
        { "form:a;b", "a;b", 1 },
        { "form:ab", "a\\b", 0 },
        { "form:a+b", "a+b", 1 },
        { "form:a b", "a+b", 0 },
    };
    apr_size_t i;

    for (i = 0; i < NROWS(rows); i++) {
        row_t row = { NULL, rows[i].found ? "v" : NULL, NULL };

        row.body = apr_pstrcat(
            *state, "--b\r\nContent-Disposition: form-data; name=\"",
            rows[i].name, "\"\r\n\r\nv\r\n--b--", NULL);
        check(&row, strlen(row.body), rows[i].source, FORM_TYPE, 0, *state);
    }
}

static void a_long_name_is_not_cut_to_one(void **state)
{
    char name[256];
    row_t row = { NULL, NULL, NULL };
    const char *source, *escaped;
    int i;

    memset(name, 'n', sizeof(name) - 1);
    name[255] = '\0';
    row.body = apr_psprintf(*state,
                            "--b\r\nContent-Disposition: form-data; "
                            "name=\"%s%s\"\r\n\r\nv\r\n--b--",
                            name, "nnn");
    check(&row, strlen(row.body), apr_pstrcat(*state, "form:", name, NULL),
          FORM_TYPE, 0, *state);
    /* 255 quotes, each written as three; and as many with one more. */
    memset(name, '"', sizeof(name) - 1);
    source = apr_pstrcat(*state, "form:", name, NULL);
    escaped = "";
    for (i = 0; i < 255; i++) {
        escaped = apr_pstrcat(*state, escaped, "%22", NULL);
    }
    row.body = apr_psprintf(*state, DATA("name=\"%s\"", "v") END, escaped);
    row.value = "v";
    check(&row, strlen(row.body), source, FORM_TYPE, 0, *state);
    row.body = apr_psprintf(*state, DATA("name=\"%s%%22\"", "v") END, escaped);
    row.value = NULL;
    check(&row, strlen(row.body), source, FORM_TYPE, 0, *state);
}

static void a_form_without_boundary_is_malformed(void **state)
{
    static const char *const types[] = {
        "multipart/form-data", "multipart/form-data; boundary=\"\"",
        "multipart/form-data; boundary=b; boundary=c"
    };
    row_t row = { DATA("name=\"key\"", "abc") END, NULL, "well-formed" };
    apr_size_t i;

    for (i = 0; i < NROWS(types); i++) {
        check(&row, strlen(row.body), "form:key", types[i], 0, *state);
    }
    row.body = "";
    row.why = NULL;
    check(&row, 0, "form:key", types[0], 0, *state);
}

/* 1 GiB, and the field behind it. */
static void an_upload_of_any_size_takes_constant_memory(void **state)
{
    static char piece[1024 * 1024];
    idem_seek_t *seek = start("form:key", FORM_TYPE, *state);
    const char *value = NULL, *why = NULL;
    char *before, *behind;
    int i, which;

    memset(piece, '-', sizeof(piece));
    piece[1000] = '\r';
    piece[sizeof(piece) - 1] = '\r';
    idem_seek_add(seek, DATA("name=\"f\"; filename=\"f\"", ""),
                  strlen(DATA("name=\"f\"; filename=\"f\"", "")) - 2);
    before = apr_palloc(*state, 1);
    for (i = 0; i < 1024; i++) {
        idem_seek_add(seek, piece, sizeof(piece));
    }
    behind = apr_palloc(*state, 1);
    assert_int_equal(behind - before, 8); /* nothing between */
    idem_seek_add(seek, "\r\n" DATA("name=\"key\"", "abc") END,
                  strlen("\r\n" DATA("name=\"key\"", "abc") END));
    assert_int_equal(idem_seek_end(&value, &which, &why, seek), APR_SUCCESS);
    assert_string_equal(value, "abc");
}

static void a_value_has_up_to_4096_bytes(void **state)
{
    int n;

    for (n = 4095; n < 4099; n++) {
        char *value = apr_pcalloc(*state, 5000);
        row_t row = { NULL, NULL, NULL };

        memset(value, 'v', (apr_size_t)n);
        row.body = apr_psprintf(*state, DATA("name=\"key\"", "%s") END, value);
        row.value = n <= 4096 ? value : NULL;
        row.why = n <= 4096 ? NULL : "too long";
        check(&row, strlen(row.body), "form:key", FORM_TYPE, 1000, *state);
    }
}

static void a_nul_in_a_value_is_refused(void **state)
{
    static const char body[] = DATA("name=\"key\"", "a\0b") END;
    row_t row = { body, NULL, "NUL" };

    check(&row, sizeof(body) - 1, "form:key", FORM_TYPE, 0, *state);
}

/* -------------------------------------------------------------------- JSON */

#define JSON_TYPE "application/json"

static const row_t documents[] = {
    { "{\"key\":\"abc\"}", "abc", NULL },
    { " {\n\"a\" : [1.50, {\"key\":1}], \"key\"\t:\r\"abc\" } ", "abc", NULL },
    { "{\"\\u006bey\":\"\\u0061\\\"\\/\"}", "a\"/", NULL },
    { "{\"key\":\"\"}", "", NULL },
    { "{\"key\":\"\\ud83d\\ude00\"}", "\xf0\x9f\x98\x80", NULL },
    { "{\"key\":\"abc\",\"n\":99999999999999999999999999999}", "abc", NULL },
    { "{\"key\":\"abc\",\"n\":1e999}", "abc", NULL },
    { "{\"key\":\"abc\",\"x\":\"a\\u0000b\"}", "abc", NULL },
    { "", NULL, NULL },
    { "{}", NULL, NULL },
    { "null", NULL, NULL },
    { "[\"key\"]", NULL, NULL },
    { "\"key\"", NULL, NULL },
    { "42", NULL, NULL },
    { "{\"Key\":\"abc\"}", NULL, NULL },
    { "{\"a\":{\"key\":\"abc\"}}", NULL, NULL },
    { "{\"key\":1}", NULL, "not a string" },
    { "{\"key\":null}", NULL, "not a string" },
    { "{\"key\":true}", NULL, "not a string" },
    { "{\"key\":[\"abc\"]}", NULL, "not a string" },
    { "{\"key\":{\"a\":\"b\"}}", NULL, "not a string" },
    { "{\"key\":\"a\\u0000b\"}", NULL, "U+0000" },
    /* Which one would the application take? */
    { "{\"key\":\"abc\",\"key\":\"abd\"}", NULL, "one meaning" },
    { "{\"key\":\"abc\",\"\\u006bey\":\"abd\"}", NULL, "one meaning" },
    { "{\"key\":\"abc\",\"key\\u0000x\":\"abd\"}", NULL, "one meaning" },
    { "{\"key\\u0000x\":\"abd\"}", NULL, "one meaning" },
    { " ", NULL, "one meaning" },
    { "{", NULL, "one meaning" },
    { "{\"key\":\"abc\"", NULL, "one meaning" },
    { "{\"key\":\"abc\"}}", NULL, "one meaning" },
    { "{\"key\":\"abc\"} {}", NULL, "one meaning" },
    { "{\"key\":\"abc\",}", NULL, "one meaning" },
    { "{'key':\"abc\"}", NULL, "one meaning" },
    { "{key:\"abc\"}", NULL, "one meaning" },
    { "{\"key\":\"abc\"}//", NULL, "one meaning" },
    { "\xef\xbb\xbf{\"key\":\"abc\"}", NULL, "one meaning" },
    { "{\"key\":\"a\xff\"}", NULL, "one meaning" },
    { "key=abc", NULL, "one meaning" },
};

static void a_member_of_a_document_is_found(void **state)
{
    check_rows(documents, NROWS(documents), "json:/key", JSON_TYPE, *state);
}

static void a_pointer_leads_anywhere(void **state)
{
    static const char document[] =
        "{\"\":\"empty\",\"a\":{\"b\":\"ab\",\"\":{\"\":\"deep\"}},"
        "\"a/b\":\"slash\",\"m~n\":\"tilde\",\"~1\":\"escaped\","
        "\"l\":[\"zero\",{\"k\":\"one\"},null],\"0\":\"digit\"}";
    static const struct {
        const char *source;
        const char *value;
        const char *why;
    } rows[] = {
        { "json:/", "empty", NULL },
        { "json:/a/b", "ab", NULL },
        { "json:/a//", "deep", NULL },
        { "json:/a~1b", "slash", NULL },
        { "json:/m~0n", "tilde", NULL },
        { "json:/~01", "escaped", NULL },
        { "json:/l/0", "zero", NULL },
        { "json:/l/1/k", "one", NULL },
        { "json:/0", "digit", NULL },
        { "json:/l/3", NULL, NULL },
        { "json:/l/00", NULL, NULL },
        { "json:/l/-", NULL, NULL },
        { "json:/l/a", NULL, NULL },
        { "json:/l/99999999999999999999", NULL, NULL },
        { "json:/a/b/c", NULL, NULL },
        { "json:/a/c", NULL, NULL },
        { "json:/b", NULL, NULL },
        { "json:/l", NULL, "not a string" },
        { "json:/a", NULL, "not a string" },
    };
    apr_size_t i;

    for (i = 0; i < NROWS(rows); i++) {
        row_t row = { document, rows[i].value, rows[i].why };

        check(&row, strlen(document), rows[i].source, JSON_TYPE, 0, *state);
    }
}

static void a_raw_nul_ends_no_document(void **state)
{
    static const char body[] = "{\"key\":\"abc\"}\0x";
    row_t row = { body, NULL, "one meaning" };

    check(&row, sizeof(body) - 1, "json:/key", JSON_TYPE, 0, *state);
}

static void a_document_has_up_to_a_mebibyte(void **state)
{
    apr_size_t len = IDEM_BODY_PARSE_MAX;
    char *body = apr_palloc(*state, len + 2);
    row_t row = { body, "abc", NULL };

    memset(body, ' ', len + 1);
    memcpy(body, "{\"key\":\"abc\"}", 13);
    body[len + 1] = '\0';
    check(&row, len, "json:/key", JSON_TYPE, 0, *state);
    check(&row, len, "json:/key", JSON_TYPE, 8000, *state);
    row.value = NULL;
    row.why = "too long";
    check(&row, len + 1, "json:/key", JSON_TYPE, 8000, *state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(a_field_of_a_form_is_found),
        pool_test(names_have_escapes),
        pool_test(a_long_name_is_not_cut_to_one),
        pool_test(a_form_without_boundary_is_malformed),
        pool_test(an_upload_of_any_size_takes_constant_memory),
        pool_test(a_value_has_up_to_4096_bytes),
        pool_test(a_nul_in_a_value_is_refused),
        pool_test(a_member_of_a_document_is_found),
        pool_test(a_pointer_leads_anywhere),
        pool_test(a_raw_nul_ends_no_document),
        pool_test(a_document_has_up_to_a_mebibyte),
    };

    apr_initialize();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
