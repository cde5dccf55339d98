/* test_fingerprint.c: what makes two requests the same, and what does not.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "print_test.h"

#include "idem_hash.h"

/* A body that is compared byte for byte, or by its parts. */
static idem_digest_t print_of(const char *type, const char *body,
                              apr_size_t len, apr_size_t step,
                              apr_pool_t *pool)
{
    return print_in(type, 0, body, len, step, pool);
}

/* ----------------------------------------------------------- named parts */

typedef struct {
    const char *name;
    const char *value;
} part_t;

static idem_digest_t parts_print(const part_t *parts, const char *body,
                                 apr_pool_t *pool)
{
    idem_fingerprint_t *print;
    idem_digest_t digest;

    assert_int_equal(idem_fingerprint_create(&print, NULL, 0, pool),
                     APR_SUCCESS);
    for (; parts->name; parts++) {
        idem_fingerprint_add(print, parts->name, parts->value);
    }
    idem_fingerprint_body(print, body, strlen(body));
    assert_int_equal(idem_fingerprint_end(print, &digest), APR_SUCCESS);
    return digest;
}

/* No two of these are the same request. */
static void every_part_counts(void **state)
{
    static const part_t lists[][3] = {
        { { "method", "POST" }, { "uri", "/a" }, { NULL, NULL } },
        { { "method", "PATCH" }, { "uri", "/a" }, { NULL, NULL } },
        { { "method", "POST" }, { "uri", "/a?b" }, { NULL, NULL } },
        { { "method", "POST" }, { "header:a", "/a" }, { NULL, NULL } },
        { { "method", "POST/" }, { "uri", "a" }, { NULL, NULL } },
        { { "method", "POST" }, { "uri", "" }, { NULL, NULL } },
        { { "method", "POST" }, { "uri", NULL }, { NULL, NULL } },
        { { "method", "POST" }, { NULL, NULL }, { NULL, NULL } },
        { { "uri", "/a" }, { "method", "POST" }, { NULL, NULL } },
        { { NULL, NULL }, { NULL, NULL }, { NULL, NULL } },
    };
    static const char *const bodies[] = { "", "{\"qty\":1}", "{\"qty\":2}" };
    idem_digest_t all[30];
    int i, j, n = 0;

    for (i = 0; i < 10; i++) {
        for (j = 0; j < 3; j++) {
            all[n++] = parts_print(lists[i], bodies[j], *state);
            assert_true(
                same(all[n - 1], parts_print(lists[i], bodies[j], *state)));
        }
    }
    for (i = 0; i < n; i++) {
        for (j = 0; j < i; j++) {
            assert_false(same(all[i], all[j]));
        }
    }
}

/* SHA-256 over: u64 6 "method", u64 1 "+", u64 4 "POST", u64 3 "raw", "x";
 * computed apart from this code. */
static void the_digest_does_not_change_between_versions(void **state)
{
    static const unsigned char wanted[IDEM_DIGEST_LEN] = {
        0xb8, 0x6f, 0x46, 0xc0, 0x30, 0xf4, 0x26, 0x2a, 0xad, 0xaa, 0x3c,
        0x53, 0xfd, 0xae, 0x89, 0xa1, 0x5b, 0x45, 0x6b, 0xfa, 0x23, 0xe8,
        0xc8, 0xfa, 0xc0, 0xa8, 0x39, 0x23, 0xc4, 0xa6, 0x8d, 0xf3,
    };
    idem_digest_t digest = print_of("text/plain", "x", 1, 0, *state);

    assert_memory_equal(digest.bytes, wanted, sizeof(wanted));
}

/* -------------------------------------------------------------- multipart */

#define TYPE(boundary) "multipart/form-data; boundary=" boundary
#define PART(b, name, value)                                                  \
    "--" b "\r\nContent-Disposition: form-data; name=\"" name                 \
    "\"\r\n\r\n" value "\r\n"
#define FORM(b, value) PART(b, "a", value) PART(b, "c", "2") "--" b "--\r\n"

static idem_digest_t multipart(const char *type, const char *body,
                               apr_pool_t *pool)
{
    return print_of(type, body, strlen(body), 0, pool);
}

static void another_boundary_is_the_same_form(void **state)
{
    idem_digest_t first = multipart(TYPE("AAA"), FORM("AAA", "1"), *state);

    assert_true(
        same(first, multipart(TYPE("xyz-9"), FORM("xyz-9", "1"), *state)));
    assert_true(
        same(first, multipart(TYPE("\"x y\""), FORM("x y", "1"), *state)));
    assert_true(same(first, multipart("Multipart/Form-Data;BOUNDARY=b ; x=y;",
                                      FORM("b", "1"), *state)));
    assert_true(same(
        first, multipart(TYPE("b; ; q=\"a;\\\"\""), FORM("b", "1"), *state)));
}

/* No two of these are the same form. */
static void what_is_in_a_form_counts(void **state)
{
    static const char *const bodies[] = {
        FORM("b", "1"),
        FORM("b", "2"),
        FORM("b", ""),
        FORM("b", "1\r\n"),
        FORM("b", "\r\n1"),
        FORM("b", "1\r\n--"),
        FORM("b", "1\r\n--c"),
        FORM("b", "1\r"),
        FORM("b", "1\r\n\r\n--"),
        PART("b", "c", "2") PART("b", "a", "1") "--b--\r\n",
        PART("b", "a", "1") "--b--\r\n",
        PART("b", "A", "1") PART("b", "c", "2") "--b--\r\n",
        PART("b", "a", "1") PART("b", "c", "2") PART("b", "c", "2") "--b--",
        "--b\r\n\r\n1\r\n--b--",
        "--b\r\n\r\n1\r\n--b\r\n\r\n\r\n--b--",
        "--b\r\nX: 1\r\n\r\n\r\n--b--",
        "--b\r\nX: 1\r\nY: 2\r\n\r\n\r\n--b--",
        "--b\r\nX: 1\r\n\r\nY: 2\r\n\r\n\r\n--b--",
    };
    idem_digest_t all[sizeof(bodies) / sizeof(*bodies)];
    apr_size_t i, j, n = sizeof(bodies) / sizeof(*bodies);

    for (i = 0; i < n; i++) {
        all[i] = multipart(TYPE("b"), bodies[i], *state);
        for (j = 0; j < i; j++) {
            if (same(all[i], all[j])) {
                fail_msg("forms %d and %d", (int)i, (int)j);
            }
        }
    }
}

static void padding_and_the_last_crlf_do_not_count(void **state)
{
    idem_digest_t first =
        multipart(TYPE("b"), "--b\r\n\r\n1\r\n--b--", *state);

    assert_true(same(
        first, multipart(TYPE("b"), "--b\r\n\r\n1\r\n--b--\r\n", *state)));
    assert_true(
        same(first, multipart(TYPE("b"), "--b \t\r\n\r\n1\r\n--b--", *state)));
}

/* Each is a body for boundary @; the same with another boundary must differ,
 * as both are compared byte for byte. */
static const char *const malformed[] = {
    "",
    "x",
    "--@",
    "--@\r",
    "--@\r\n",
    "--@x\r\n\r\n1\r\n--@--",
    "--@ x\r\n\r\n1\r\n--@--",
    "--@\n\r\n1\r\n--@--",
    "--@\r \n\r\n1\r\n--@--",
    "--@\r\r\n\r\n1\r\n--@--",
    "--@-\r\n\r\n1\r\n--@--",
    "--@\r\nX: 1\r\n--@--",
    "--@\r\n\r\n1",
    "--@\r\n\r\n1\r\n--@",
    "--@\r\n\r\n1\r\n--@-",
    "--@\r\n\r\n1\r\n--@-x",
    "--@\r\n\r\n1\n--@--",
    "--@\r\n\r\n1--@--",
    "--@\r\n\r\n1\r\n--@x\r\n--@--",
    "--@\r\n\r\n1\r\n--@--\r",
    "--@\r\n\r\n1\r\n--@--\n",
    "--@\r\n\r\n1\r\n--@--x",
    "--@\r\n\r\n1\r\n--@--\r\nx",
    "--@\r\n\r\n1\r\n--@--\r\n\r\n",
    "hello\r\n--@\r\n\r\n1\r\n--@--",
    "\r\n--@\r\n\r\n1\r\n--@--",
};

/* With the boundary put in for each @. */
static char *with_boundary(const char *text, char boundary, apr_pool_t *pool)
{
    char *copy = apr_pstrdup(pool, text);
    char *at;

    for (at = strchr(copy, '@'); at; at = strchr(at, '@')) {
        *at = boundary;
    }
    return copy;
}

static void malformed_forms_count_byte_for_byte(void **state)
{
    apr_size_t i;

    for (i = 0; i < sizeof(malformed) / sizeof(*malformed); i++) {
        char *a = with_boundary(malformed[i], 'p', *state);
        char *b = with_boundary(malformed[i], 'q', *state);
        idem_digest_t print = multipart(TYPE("p"), a, *state);

        if (!same(print, multipart("text/plain", a, *state))) {
            fail_msg("malformed form %d was taken", (int)i);
        }
        assert_int_equal(!strcmp(a, b),
                         same(print, multipart(TYPE("q"), b, *state)));
    }
}

static void a_bad_content_type_counts_byte_for_byte(void **state)
{
    static const char *const types[] = {
        "multipart",
        "multipart/form-data",
        "multipart/form-data; boundary",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"\"",
        "multipart/form-data; boundary=\"b",
        "multipart/form-data; boundary=\"b \"",
        "multipart/form-data; boundary=b\x01",
        "multipart/form-data; boundary=b\xe4",
        "multipart/form-data; boundary=b x",
        "multipart/form-data; boundary=b; boundary=b",
        "multipart/form-data; xboundary=b",
        "multipart/form-data; boundary =b",
        "xmultipart/form-data; boundary=b",
        "text/plain; boundary=b",
    };
    const char *body = FORM("b", "1");
    idem_digest_t raw = multipart(NULL, body, *state);
    apr_size_t i;

    for (i = 0; i < sizeof(types) / sizeof(*types); i++) {
        if (!same(raw, multipart(types[i], body, *state))) {
            fail_msg("taken for multipart: %s", types[i]);
        }
    }
    assert_false(same(raw, multipart(TYPE("b"), body, *state)));
}

/* RFC 2046 5.1.1: it would look like padding. */
static void a_boundary_does_not_end_in_a_space(void **state)
{
    const char *body = "--b \r\n\r\n1\r\n--b --";

    assert_true(same(multipart(TYPE("\"b \""), body, *state),
                     multipart(NULL, body, *state)));
}

/* A form over a boundary of n characters. */
static int is_taken(int n, apr_pool_t *pool)
{
    char name[101];
    char *body;

    memset(name, 'b', sizeof(name));
    name[n] = '\0';
    body = apr_psprintf(pool, "--%s\r\n\r\n1\r\n--%s--", name, name);
    return same(
        multipart(TYPE("x"), "--x\r\n\r\n1\r\n--x--", pool),
        multipart(apr_pstrcat(pool, TYPE(""), name, NULL), body, pool));
}

static void a_boundary_has_up_to_70_characters(void **state)
{
    assert_true(is_taken(1, *state));
    assert_true(is_taken(70, *state));
    assert_false(is_taken(71, *state));
    assert_false(is_taken(72, *state));
    assert_false(is_taken(100, *state));
}

static void a_cut_anywhere_changes_nothing(void **state)
{
    static const char body[] = PART(
        "b-b", "a", "\r\r\n\r\n-\r\n--\r\n--b\r\n--b-\r\n--b-c --b-b")
        PART("b-b", "f", "--b-b\r") "--b-b \t\r\nX: 1\r\n\r\n\r\n--b-b--\r\n";
    apr_size_t len = sizeof(body) - 1, cut;
    idem_digest_t whole = multipart(TYPE("b-b"), body, *state);

    assert_false(same(whole, multipart(NULL, body, *state)));
    assert_true(same(whole, print_of(TYPE("b-b"), body, len, 1, *state)));
    for (cut = 1; cut < len; cut++) {
        idem_fingerprint_t *print;
        idem_digest_t digest;

        assert_int_equal(
            idem_fingerprint_create(&print, TYPE("b-b"), 0, *state),
            APR_SUCCESS);
        idem_fingerprint_add(print, "method", "POST");
        idem_fingerprint_body(print, body, cut);
        idem_fingerprint_body(print, body + cut, 0);
        idem_fingerprint_body(print, body + cut, len - cut);
        assert_int_equal(idem_fingerprint_end(print, &digest), APR_SUCCESS);
        assert_true(same(whole, digest));
        assert_true(
            same(whole, print_of(TYPE("b-b"), body, len, cut, *state)));
    }
}

static void a_boundary_inside_a_file_is_content(void **state)
{
    /* Not at the start of a line, and with a bare LF before it. */
    static const char *const inside[] = { "x--@y", "x\n--@\r\n", "x--@--",
                                          "\r--@", "\r\n-@",     "\r\n--p-" };
    apr_size_t i;

    for (i = 0; i < 6; i++) {
        char *a = apr_psprintf(*state, "--f\r\n\r\n%s\r\n--f--",
                               with_boundary(inside[i], 'f', *state));
        char *b = apr_psprintf(*state, "--gh\r\n\r\n%s\r\n--gh--",
                               with_boundary(inside[i], 'f', *state));

        assert_true(same(multipart(TYPE("f"), a, *state),
                         multipart(TYPE("gh"), b, *state)));
    }
}

/* ------------------------------------------------------------------ bounds */

/* Is a form of n times the piece, with that before and behind it, taken for
 * one? Streams, as the real thing does. */
static int is_form(const char *start, const char *piece, int n,
                   const char *end, apr_pool_t *pool)
{
    idem_fingerprint_t *print[2];
    idem_digest_t digest[2];
    int i, j;

    for (i = 0; i < 2; i++) {
        assert_int_equal(idem_fingerprint_create(
                             &print[i], i ? "text/plain" : TYPE("b"), 0, pool),
                         APR_SUCCESS);
        idem_fingerprint_body(print[i], start, strlen(start));
        for (j = 0; j < n; j++) {
            idem_fingerprint_body(print[i], piece, strlen(piece));
        }
        idem_fingerprint_body(print[i], end, strlen(end));
        assert_int_equal(idem_fingerprint_end(print[i], &digest[i]),
                         APR_SUCCESS);
    }
    return !same(digest[0], digest[1]);
}

static void headers_and_parts_are_bounded(void **state)
{
    /* 14 + 1023 * 16 + 2 bytes are 16 KiB, the most that is taken. */
    assert_true(is_form("--b\r\nX: 901234567\r\n", "X: 90123456789\r\n", 1023,
                        "\r\n\r\n--b--", *state));
    assert_false(is_form("--b\r\nX: 9012345678\r\n", "X: 90123456789\r\n",
                         1023, "\r\n\r\n--b--", *state));
    assert_true(is_form("", "--b\r\n\r\n\r\n", 10000, "--b--", *state));
    assert_false(is_form("", "--b\r\n\r\n\r\n", 10001, "--b--", *state));
    /* A file has no bound. */
    assert_true(is_form("--b\r\n\r\n", "0123456789\r\n--a", 100000,
                        "\r\n--b--", *state));
}

static void a_form_of_no_parts_is_stable(void **state)
{
    assert_true(same(multipart(TYPE("p"), "--p--", *state),
                     multipart(TYPE("q"), "--q--\r\n", *state)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(every_part_counts),
        pool_test(the_digest_does_not_change_between_versions),
        pool_test(another_boundary_is_the_same_form),
        pool_test(what_is_in_a_form_counts),
        pool_test(padding_and_the_last_crlf_do_not_count),
        pool_test(malformed_forms_count_byte_for_byte),
        pool_test(a_bad_content_type_counts_byte_for_byte),
        pool_test(a_boundary_does_not_end_in_a_space),
        pool_test(a_boundary_has_up_to_70_characters),
        pool_test(a_cut_anywhere_changes_nothing),
        pool_test(a_boundary_inside_a_file_is_content),
        pool_test(headers_and_parts_are_bounded),
        pool_test(a_form_of_no_parts_is_stable),
    };

    apr_initialize();
    if (idem_hash_init() != APR_SUCCESS) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
