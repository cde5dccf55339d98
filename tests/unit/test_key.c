/* test_key.c: the grammar of a key and the digest of ids.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_test.h"

#include <locale.h>
#include <string.h>

#include <apr_strings.h>

#include "idem_hash.h"
#include "idem_key.h"

typedef struct {
    const char *value;
    const char *lenient; /* the key; NULL: refused */
    const char *strict;
} row_t;

/* For both modes. */
#define BOTH(value, key)                                                      \
    {                                                                         \
        value, key, key                                                       \
    }
#define NEITHER(value)                                                        \
    {                                                                         \
        value, NULL, NULL                                                     \
    }
/* An item behind a good key, as the value of a parameter. */
#define GOOD(item) BOTH("\"k\";p=" item, "k")
#define BAD(item) NEITHER("\"k\";p=" item)

static const row_t strings[] = {
    BOTH("\"8e03978e-40d5-43e8-bc93-6894a57f9324\"",
         "8e03978e-40d5-43e8-bc93-6894a57f9324"),
    BOTH("\"a\\\"b\\\\c\"", "a\"b\\c"),
    BOTH("\"a,b\"", "a,b"),
    BOTH("\"a, b\"", "a, b"),
    BOTH("\" a \"", " a "),
    BOTH("\"AbC\"", "AbC"),
    BOTH("\"../../x\"", "../../x"),
    BOTH("\"%s%n\"", "%s%n"),
    BOTH("\" ~\"", " ~"),
    BOTH("  \"a\"  ", "a"),
    NEITHER(""),
    NEITHER(" "),
    NEITHER("\"\""),
    NEITHER("\""),
    NEITHER("\"foo"),
    NEITHER("\"foo\\"),
    NEITHER("\"foo\\\""),
    NEITHER("\"foo\\,\""),
    NEITHER("\"a\\b\\c\""),
    NEITHER("'foo'"),
    NEITHER("\"f\xc3\xbc\""),
    NEITHER("\"a\tb\""),
    NEITHER("\"a\x7f\""),
    NEITHER("\"a\x01\""),
    NEITHER("\"a\x1f\""),
    NEITHER("\"a\" x"),
    NEITHER("\"a\"x"),
    NEITHER("\"a\", \"b\""),
    NEITHER("\"a\",\"a\""),
    NEITHER("\"a\"\t"),
    NEITHER("\t\"a\""),
    NEITHER("\"foo, bar\", \"x"),
};

static const row_t parameters[] = {
    BOTH("\"p1\";v=2; x", "p1"),
    BOTH("\"p1\";v;v=1;v", "p1"),
    BOTH("\"p1\";*a_-.*9=1", "p1"),
    BOTH("\"p1\";   a  ", "p1"),
    NEITHER("\"p1\";V=2"),
    NEITHER("\"p1\";vV"),
    NEITHER("\"p1\";9a"),
    NEITHER("\"p1\" ;a"),
    NEITHER("\"p1\";"),
    NEITHER("\"p1\";a="),
    NEITHER("\"p1\";a =1"),
    NEITHER("\"p1\";a= 1"),
    NEITHER("\"p1\";\ta"),
    NEITHER("\"p1\";a;;b"),
    /* Integer, Decimal */
    GOOD("0"),
    GOOD("-0"),
    GOOD("007"),
    GOOD("999999999999999"),
    GOOD("-999999999999999"),
    GOOD("1.5"),
    GOOD("-0.125"),
    GOOD("123456789012.123"),
    BAD("-"),
    BAD("+1"),
    BAD("1000000000000000"),
    BAD("1."),
    BAD(".5"),
    BAD("1.2345"),
    BAD("1234567890123.1"),
    BAD("1.2.3"),
    BAD("--1"),
    BAD("-a"),
    BAD("1e3"),
    /* String, Token */
    GOOD("\"x\\\"y\""),
    BAD("\"x"),
    BAD("\"x\\y\""),
    GOOD("tok"),
    GOOD("*"),
    GOOD("A:b/c!#$%&'*+-.^_`|~9"),
    BAD("(a)"),
    BAD("a\\b"),
    BAD("a\"b\""),
    BAD("!a"),
    BAD("a,b"),
    /* Byte Sequence */
    GOOD("::"),
    GOOD(":YWJj:"),
    GOOD(":YQ==:"),
    GOOD(":YQ:"),
    BAD(":"),
    BAD(":YWJj"),
    BAD(":YW-j:"),
    BAD(": YWJj:"),
    /* Boolean, Date */
    GOOD("?0"),
    GOOD("?1"),
    BAD("?"),
    BAD("?2"),
    BAD("?10"),
    BAD("?T"),
    GOOD("@1659578233"),
    GOOD("@-1"),
    BAD("@"),
    BAD("@1.5"),
    BAD("@a"),
    /* Display String */
    GOOD("%\"\""),
    GOOD("%\"f%c3%bc\""),
    GOOD("%\"%e2%82%ac\""),
    GOOD("%\"%f0%9f%98%80\""),
    GOOD("%\"%22%25%00\""),
    GOOD("%\"%f4%8f%bf%bf\""),
    GOOD("%\"a\\b\""),
    BAD("%"),
    BAD("%a"),
    BAD("%\"a"),
    BAD("%\"%C3%BC\""),
    BAD("%\"%\""),
    BAD("%\"%a\""),
    BAD("%\"%g0\""),
    BAD("%\"%c3\""),
    BAD("%\"%c3a\""),
    BAD("%\"%bc\""),
    BAD("%\"%c0%80\""),
    BAD("%\"%e0%80%80\""),
    BAD("%\"%ed%a0%80\""),
    BAD("%\"%f0%80%80%80\""),
    BAD("%\"%f4%90%80%80\""),
    BAD("%\"%f5%80%80%80\""),
    BAD("%\"f\xc3\xbc\""),
    BAD("%\"\t\""),
    BAD("%\"%c3%c3\""),
};

/* Bare: for lenient only. */
static const row_t bare[] = {
    { "8e03978e-40d5-43e8-bc93-6894a57f9324",
      "8e03978e-40d5-43e8-bc93-6894a57f9324", NULL },
    { "abc-1", "abc-1", NULL },
    { "  abc-1  ", "abc-1", NULL },
    { "order:42/a+b=", "order:42/a+b=", NULL },
    { "-a", "-a", NULL },
    { "_a", "_a", NULL },
    { "123", "123", NULL },
    { "a@b!#$%&'*+-.^_`|~", "a@b!#$%&'*+-.^_`|~", NULL },
    NEITHER("a,b"),
    NEITHER("a, b"),
    NEITHER("a;b"),
    NEITHER("a b"),
    NEITHER("(a)"),
    NEITHER("?1"),
    NEITHER(":YWJj:"),
    NEITHER("@1659578233"),
    NEITHER("%\"abc\""),
    NEITHER("(\"a\")"),
    NEITHER("a\"b"),
    NEITHER("a\\b"),
    NEITHER("a[b"),
    NEITHER("a]b"),
    NEITHER("a<b>"),
    NEITHER("a{b}"),
    NEITHER("*a"),
    NEITHER(".a"),
    NEITHER("/a"),
    NEITHER("=a"),
    NEITHER("a\tb"),
    NEITHER("a\t"),
    NEITHER("a\x7f"),
    NEITHER("a\xe4"),
    NEITHER("\xe4"),
};

static void check_one(const char *value, const char *wanted,
                      idem_key_syntax_t syntax, apr_pool_t *pool)
{
    const char *key = "untouched";
    const char *why = NULL;
    apr_status_t rv;

    rv = idem_key_parse(&key, &why, value, syntax, IDEM_KEY_LEN_DEFAULT, pool);
    if ((rv == APR_SUCCESS) != (wanted != NULL)) {
        fail_msg("[%s], syntax %d: status %d, %s", value, (int)syntax, rv,
                 why ? why : "no reason");
    }
    if (wanted) {
        assert_string_equal(key, wanted);
        assert_null(why);
    }
    else {
        assert_int_equal(rv, APR_EINVAL);
        assert_non_null(why);
        assert_string_equal(key, "untouched");
    }
}

static void check_rows(const row_t *rows, apr_size_t n, apr_pool_t *pool)
{
    apr_size_t i;

    for (i = 0; i < n; i++) {
        check_one(rows[i].value, rows[i].lenient, IDEM_KEY_LENIENT, pool);
        check_one(rows[i].value, rows[i].strict, IDEM_KEY_STRICT, pool);
    }
}

#define ROWS(rows) rows, sizeof(rows) / sizeof(*rows)

static void quoted_keys_follow_the_string_grammar(void **state)
{
    check_rows(ROWS(strings), *state);
}

static void parameters_are_checked_and_dropped(void **state)
{
    check_rows(ROWS(parameters), *state);
}

static void bare_keys_are_for_lenient_only(void **state)
{
    check_rows(ROWS(bare), *state);
}

/* mod_php lets a script set the locale of the whole process. */
static void the_locale_makes_no_letters(void **state)
{
    static const char *const names[] = { "de_DE.ISO-8859-1", "de_DE",
                                         "en_US.ISO-8859-1" };
    apr_size_t i;

    for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
        setlocale(LC_ALL, names[i]);
        check_one("a\xe4", NULL, IDEM_KEY_LENIENT, *state);
    }
    setlocale(LC_ALL, "C");
}

static char *repeat(const char *start, const char *piece, int n,
                    const char *end, apr_pool_t *pool)
{
    char *text = apr_palloc(pool, strlen(start) + strlen(piece) * (size_t)n
                                      + strlen(end) + 1);
    char *to = apr_cpystrn(text, start, strlen(start) + 1);

    while (n-- > 0) {
        to = apr_cpystrn(to, piece, strlen(piece) + 1);
    }
    apr_cpystrn(to, end, strlen(end) + 1);
    return text;
}

static apr_status_t parse_len(const char *value, apr_size_t len_max,
                              apr_pool_t *pool)
{
    const char *key, *why;

    return idem_key_parse(&key, &why, value, IDEM_KEY_LENIENT, len_max, pool);
}

static void the_longest_key_is_the_limit(void **state)
{
    apr_pool_t *p = *state;
    static const apr_size_t limits[] = { 1, 255, 1024 };
    apr_size_t i;

    for (i = 0; i < 3; i++) {
        apr_size_t len = limits[i];
        int n = (int)len;

        assert_int_equal(parse_len(repeat("\"", "a", n, "\"", p), len, p),
                         APR_SUCCESS);
        assert_int_equal(parse_len(repeat("\"", "a", n + 1, "\"", p), len, p),
                         APR_EINVAL);
        assert_int_equal(parse_len(repeat("", "a", n, "", p), len, p),
                         APR_SUCCESS);
        assert_int_equal(parse_len(repeat("", "a", n + 1, "", p), len, p),
                         APR_EINVAL);
        /* Escapes and parameters do not count. */
        assert_int_equal(
            parse_len(repeat("\"", "\\\"", n, "\";a=1", p), len, p),
            APR_SUCCESS);
    }
}

static void many_parameters_and_long_names_are_taken(void **state)
{
    char *name = repeat("", "a", 64, "=1", *state);

    check_one(repeat("\"k\"", ";a=1", 256, "", *state), "k", IDEM_KEY_STRICT,
              *state);
    check_one(repeat("\"k\"", ";a=1", 20000, "", *state), "k", IDEM_KEY_STRICT,
              *state);
    check_one(repeat("\"k\";", name, 1, "", *state), "k", IDEM_KEY_STRICT,
              *state);
}

static void both_forms_give_the_same_key(void **state)
{
    check_one("abc-1", "abc-1", IDEM_KEY_LENIENT, *state);
    check_one("\"abc-1\"", "abc-1", IDEM_KEY_LENIENT, *state);
}

static void the_reason_never_repeats_the_value(void **state)
{
    const char *key, *why;
    static const char *const values[] = { "zqj zqj", "\"zqj", "\"zqj\";Zqj",
                                          "\"zqj\" zqj", "(zqj)" };
    apr_size_t i;

    for (i = 0; i < sizeof(values) / sizeof(*values); i++) {
        assert_int_equal(idem_key_parse(&key, &why, values[i],
                                        IDEM_KEY_LENIENT, 255, *state),
                         APR_EINVAL);
        assert_null(strstr(why, "zqj"));
        assert_true(strlen(why) > 20);
    }
}

/* From queries, forms and JSON. */
static void plain_keys_are_visible_ascii(void **state)
{
    static const struct {
        const char *value;
        int taken;
    } rows[] = {
        { "a", 1 },         { "a b", 1 },       { "\"a\"", 1 },
        { "a,b;c", 1 },     { "!~", 1 },        { "(a)", 1 },
        { "a\\b", 1 },      { "12345678", 1 },  { "", 0 },
        { " ", 0 },         { " a", 0 },        { "a ", 0 },
        { "a\tb", 0 },      { "a\n", 0 },       { "\x7f", 0 },
        { "\x1f", 0 },      { "f\xc3\xbc", 0 }, { "\x80", 0 },
        { "123456789", 0 },
    };
    apr_size_t i;

    for (i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        const char *key = NULL, *why = NULL;
        apr_status_t rv = idem_key_plain(&key, &why, rows[i].value, 8, *state);

        if (rv != (rows[i].taken ? APR_SUCCESS : APR_EINVAL)) {
            fail_msg("[%s]: %d", rows[i].value, rv);
        }
        if (rows[i].taken) {
            assert_string_equal(key, rows[i].value);
            assert_null(why);
        }
        else {
            assert_null(key);
            assert_true(strlen(why) > 20);
        }
    }
}

/* ----------------------------------------------------------------- digests */

static const unsigned char secret[IDEM_DIGEST_LEN] = { 1, 2, 3 };

static idem_digest_t digest_of(const unsigned char *with, const char *a,
                               const char *b, apr_pool_t *pool)
{
    idem_key_digest_t *digest;
    idem_digest_t id;

    assert_int_equal(
        idem_key_digest_create(&digest, with, IDEM_DIGEST_LEN, pool),
        APR_SUCCESS);
    idem_key_digest_add(digest, a, strlen(a));
    if (b) {
        idem_key_digest_add(digest, b, strlen(b));
    }
    assert_int_equal(idem_key_digest_end(digest, &id), APR_SUCCESS);
    return id;
}

static int same(idem_digest_t a, idem_digest_t b)
{
    return !memcmp(a.bytes, b.bytes, sizeof(a.bytes));
}

static void parts_do_not_run_over(void **state)
{
    idem_digest_t id = digest_of(secret, "ab", "c", *state);

    assert_true(same(id, digest_of(secret, "ab", "c", *state)));
    assert_false(same(id, digest_of(secret, "a", "bc", *state)));
    assert_false(same(id, digest_of(secret, "abc", NULL, *state)));
    assert_false(same(id, digest_of(secret, "abc", "", *state)));
    assert_false(same(digest_of(secret, "abc", NULL, *state),
                      digest_of(secret, "abc", "", *state)));
}

static void another_secret_gives_another_id(void **state)
{
    unsigned char other[IDEM_DIGEST_LEN];

    memcpy(other, secret, sizeof(other));
    other[IDEM_DIGEST_LEN - 1] ^= 1;
    assert_false(same(digest_of(secret, "a", NULL, *state),
                      digest_of(other, "a", NULL, *state)));
}

/* Computed apart from this code:
 *   printf '\003\0\0\0\0\0\0\0abc' | openssl dgst -sha256 -mac HMAC \
 *       -macopt hexkey:0102030000...00
 */
static void the_digest_is_hmac_sha256(void **state)
{
    static const unsigned char wanted[IDEM_DIGEST_LEN] = {
        0x2b, 0xfd, 0x31, 0xfa, 0xb3, 0x86, 0x36, 0xe4, 0x75, 0xa1, 0x58,
        0xfb, 0x65, 0x9b, 0xac, 0x3a, 0x29, 0x1d, 0x78, 0xf7, 0x4a, 0x5d,
        0xda, 0x94, 0xe9, 0xd5, 0x91, 0xe7, 0xe6, 0x80, 0x48, 0xc8,
    };
    idem_digest_t id = digest_of(secret, "abc", NULL, *state);

    assert_memory_equal(id.bytes, wanted, sizeof(wanted));
}

static void no_secret_is_no_digest(void **state)
{
    static const unsigned char block[65];
    idem_key_digest_t *digest;

    assert_int_equal(idem_key_digest_create(&digest, secret, 0, *state),
                     APR_EGENERAL);
    assert_int_equal(idem_key_digest_create(&digest, block, 64, *state),
                     APR_SUCCESS);
    assert_int_equal(idem_key_digest_create(&digest, block, 65, *state),
                     APR_EGENERAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(quoted_keys_follow_the_string_grammar),
        pool_test(parameters_are_checked_and_dropped),
        pool_test(bare_keys_are_for_lenient_only),
        pool_test(the_locale_makes_no_letters),
        pool_test(the_longest_key_is_the_limit),
        pool_test(many_parameters_and_long_names_are_taken),
        pool_test(both_forms_give_the_same_key),
        pool_test(the_reason_never_repeats_the_value),
        pool_test(plain_keys_are_visible_ascii),
        pool_test(parts_do_not_run_over),
        pool_test(another_secret_gives_another_id),
        pool_test(the_digest_is_hmac_sha256),
        pool_test(no_secret_is_no_digest),
    };

    apr_initialize();
    if (idem_hash_init() != APR_SUCCESS) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
