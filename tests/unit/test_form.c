/* test_form.c: form bodies compared by what they mean; limits of kinds.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "print_test.h"

#include "idem_hash.h"
#include "idem_text.h"

static void order_and_escapes_of_a_form_do_not_count(void **state)
{
    static const char *const fields[] = {
        "a=1&b=2&a=3&c=x+y",         "b=2&a=1&a=3&c=x+y",
        "c=x%20y&a=1&b=2&a=3",       "a=1&a=3&b=2&c=x+y",
        "%61=1&b=%32&%61=3&c=x+%79", NULL,
    };

    check_same(fields, form, *state);
}

static void what_a_form_says_counts(void **state)
{
    static const char *const texts[] = {
        "a=1&a=2",
        "a=2&a=1",
        "a=1",
        "a=1&a=1",
        "a=1&b=2",
        "a=2&b=1",
        "a=",
        "a",
        "=a",
        "=",
        "&",
        "",
        "a&",
        "A=1",
        "a=1&b",
        "a=1&b=",
        "a=1+b=2",
        "a=1%26b=2",
        "a=1=b",
        "a%3D1=b",
        "a=1 ",
        "a=+1",
        "a=%2B1",
        "a=%00",
        "a%00=1",
        "a=%0a",
        "a=%0d%0a",
        "ab=",
        "a=b",
        "a=1;b=2",
        "a=\xc3\xa4",
        "a=%e4",
        "a[]=1&a[]=2",
        "a[]=2&a[]=1",
        "a=12",
        "a1=2",
        /* Malformed: each of them counts byte for byte. */
        "a=1&b=%",
        "b=%&a=1",
        "a=1&b=%4",
        "a=1&b=%zz",
        "b=%zz&a=1",
        "a=%%41",
        "%=1",
        "a=%4&b",
        "a=%4",
        "%zz",
    };

    check_all_differ(texts, NROWS(texts), form, *state);
    assert_true(same(form("b=%zz&a=1", *state), raw("b=%zz&a=1", *state)));
    assert_true(same(form("a=%4", *state), raw("a=%4", *state)));
    assert_true(same(form("%4", *state), raw("%4", *state)));
}

static void fields_are_bounded(void **state)
{
    const char *most = nested("a&", "a", "", 9999, *state);
    const char *more = nested("a&", "a", "", 10000, *state);

    assert_false(same(form(most, *state), raw(most, *state)));
    assert_true(same(form(more, *state), raw(more, *state)));
}

/* ----------------------------------------------------- limits of all kinds */

static void a_body_over_a_mebibyte_counts_byte_for_byte(void **state)
{
    static const struct {
        const char *type;
        int kinds;
        const char *text;
    } rows[] = {
        { "application/json", IDEM_FINGERPRINT_JSON, "{\"a\":1}" },
        { "application/x-www-form-urlencoded", IDEM_FINGERPRINT_FORM, "a=1" },
    };
    apr_size_t len = IDEM_BODY_PARSE_MAX, i;
    char *body = apr_palloc(*state, len + 1);

    for (i = 0; i < 2; i++) {
        memset(body, ' ', len + 1);
        memcpy(body, rows[i].text, strlen(rows[i].text));
        assert_false(same(
            print_in(rows[i].type, rows[i].kinds, body, len, 8000, *state),
            print_in(NULL, 0, body, len, 0, *state)));
        assert_true(same(
            print_in(rows[i].type, rows[i].kinds, body, len + 1, 8000, *state),
            print_in(NULL, 0, body, len + 1, 0, *state)));
    }
}

static void only_the_kinds_that_are_asked_for_are_compared_so(void **state)
{
    static const struct {
        const char *type;
        int kinds;
        int by_meaning;
    } rows[] = {
        { "application/json", IDEM_FINGERPRINT_JSON, 1 },
        { "Application/JSON; charset=utf-8", IDEM_FINGERPRINT_JSON, 1 },
        { "application/vnd.x+json",
          IDEM_FINGERPRINT_JSON | IDEM_FINGERPRINT_FORM, 1 },
        { "application/json", IDEM_FINGERPRINT_FORM, 0 },
        { "application/json", 0, 0 },
        { "text/plain", IDEM_FINGERPRINT_JSON | IDEM_FINGERPRINT_FORM, 0 },
        { NULL, IDEM_FINGERPRINT_JSON | IDEM_FINGERPRINT_FORM, 0 },
        { "application/x-www-form-urlencoded", IDEM_FINGERPRINT_FORM, 1 },
        { "application/x-www-form-urlencoded;a=b",
          IDEM_FINGERPRINT_JSON | IDEM_FINGERPRINT_FORM, 1 },
        { "application/x-www-form-urlencoded", IDEM_FINGERPRINT_JSON, 0 },
        { "application/x-www-form-urlencoded", 0, 0 },
    };
    idem_digest_t bytes = raw("1", *state);
    apr_size_t i;

    for (i = 0; i < NROWS(rows); i++) {
        idem_digest_t print =
            print_in(rows[i].type, rows[i].kinds, "1", 1, 0, *state);

        assert_int_equal(!same(bytes, print), rows[i].by_meaning);
    }
}

/* One text as bytes, JSON and form: three fingerprints. */
static void kinds_do_not_run_over(void **state)
{
    idem_digest_t a = raw("1", *state);
    idem_digest_t b = json("1", *state);
    idem_digest_t c = form("1", *state);

    assert_false(same(a, b));
    assert_false(same(b, c));
    assert_false(same(a, c));
    /* An empty body is one whatever its type. */
    assert_true(same(raw("", *state), json("", *state)));
    assert_true(same(raw("", *state), form("", *state)));
}

static void a_cut_anywhere_changes_nothing(void **state)
{
    static const char text[] = "{\"a\":[1.10,\"\\u00e4\"],\"b\":\"x\"}";
    static const char fields[] = "a=1&b=%41+&a=2";
    apr_size_t step;

    for (step = 1; step < sizeof(text); step++) {
        assert_true(same(json(text, *state),
                         print_in(json_type, IDEM_FINGERPRINT_JSON, text,
                                  sizeof(text) - 1, step, *state)));
        assert_true(same(form(fields, *state),
                         print_in(form_type, IDEM_FINGERPRINT_FORM, fields,
                                  sizeof(fields) - 1, step, *state)));
    }
}

/* SHA-256 over: u64 6 "method", u64 1 "+", u64 4 "POST", u64 4 "form", and
 * for each field "=" or "n", u64 and name, u64 and value; computed apart from
 * this code. */
static void the_digest_does_not_change_between_versions(void **state)
{
    static const unsigned char wanted[IDEM_DIGEST_LEN] = {
        0x01, 0xe3, 0x17, 0xb6, 0x81, 0x32, 0x9e, 0xb0, 0x56, 0xfc, 0x8d,
        0xfc, 0x70, 0xa6, 0xf2, 0x8a, 0x3d, 0x37, 0xf0, 0xd4, 0x86, 0xc8,
        0x02, 0xd1, 0x78, 0x31, 0x37, 0x10, 0xc3, 0xa1, 0x76, 0x67,
    };
    idem_digest_t digest = form("c=1+2&b&%61=2", *state);

    assert_memory_equal(digest.bytes, wanted, sizeof(wanted));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(order_and_escapes_of_a_form_do_not_count),
        pool_test(what_a_form_says_counts),
        pool_test(fields_are_bounded),
        pool_test(a_body_over_a_mebibyte_counts_byte_for_byte),
        pool_test(only_the_kinds_that_are_asked_for_are_compared_so),
        pool_test(kinds_do_not_run_over),
        pool_test(a_cut_anywhere_changes_nothing),
        pool_test(the_digest_does_not_change_between_versions),
    };

    apr_initialize();
    if (idem_hash_init() != APR_SUCCESS) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
