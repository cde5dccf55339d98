/* test_json.c: JSON bodies compared by what they mean.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "print_test.h"

#include "idem_json.h"

static void spelling_of_json_does_not_count(void **state)
{
    static const char *const orders[] = {
        "{\"a\":1,\"b\":[1.50,{\"c\":null,\"d\":\"x\"}]}",
        "{\"b\":[1.50,{\"d\":\"x\",\"c\":null}],\"a\":1}",
        " {\"a\" : 1 ,\n\"b\" :\t[ 1.50 , {\"c\" : null, \"d\": \"x\"} ] "
        "}\r\n",
        "{\"\\u0061\":1,\"b\":[1.50,{\"\\u0063\":null,\"d\":\"\\u0078\"}]}",
        NULL,
    };
    static const char *const strings[] = {
        "[\"/ \xc3\xa4 \xf0\x9f\x98\x80 \\\" \\\\ \\n\"]",
        "[\"\\/ \\u00e4 \\ud83d\\ude00 \\u0022 \\u005c \\u000a\"]",
        "[\"\\u002F \\u00E4 \\uD83D\\uDE00 \\\" \\u005C \\n\"]",
        NULL,
    };
    static const char *const numbers[] = { "1", " 1", "1 ", "\n1\n", NULL };
    static const char *const nothing[] = { "null", " null ", NULL };

    check_same(orders, json, *state);
    check_same(strings, json, *state);
    check_same(numbers, json, *state);
    check_same(nothing, json, *state);
}

static void what_json_says_counts(void **state)
{
    static const char *const texts[] = {
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1",
        "-1",
        "1.0",
        "1.00",
        "1.1",
        "1.10",
        "1e0",
        "1E0",
        "1e+0",
        "10",
        "100000000000000000",
        "100000000000000001",
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999999999",
        "99999999999999999999999998",
        "1e400",
        "1e401",
        "-1e400",
        "0.1",
        "0.10000000000000001",
        "0.100000000000000000001",
        "\"\"",
        "\"1\"",
        "\"null\"",
        "\"a\"",
        "\"A\"",
        "\"a \"",
        "\" a\"",
        "\"a\\u0000\"",
        "\"a\\u0000b\"",
        "\"a\\u0000c\"",
        "\"\\ufffd\"",
        "[]",
        "[[]]",
        "[[],[]]",
        "[null]",
        "[1]",
        "[1,2]",
        "[2,1]",
        "[[1],2]",
        "[[1,2]]",
        "[1,[2]]",
        "[12]",
        "[\"1,2\"]",
        "[\"1\",\"2\"]",
        "{}",
        "[{}]",
        "{\"\":null}",
        "{\"a\":null}",
        "{\"a\":{}}",
        "{\"a\":[]}",
        "{\"a\":1}",
        "{\"A\":1}",
        "{\"a\":\"1\"}",
        "{\"a\":1,\"b\":2}",
        "{\"a\":2,\"b\":1}",
        "{\"a\":1,\"b\":null}",
        "{\"a\":{\"b\":2}}",
        "{\"a\":{\"b\":2},\"c\":3}",
        "{\"a\":{\"b\":2,\"c\":3}}",
        "[{\"a\":1},{\"b\":2}]",
        "[{\"b\":2},{\"a\":1}]",
        "[{\"a\":1,\"b\":2}]",
        "{\"a\":\"b\"}",
        "{\"b\":\"a\"}",
        "{\"ab\":\"\"}",
        "{\"\":\"ab\"}",
        /* Normal forms of Unicode are not one. */
        "\"\xc3\xa4\"",
        "\"a\xcc\x88\"",
    };

    check_all_differ(texts, NROWS(texts), json, *state);
}

/* Each has more than one meaning, or none: any change counts. */
static const char *const not_plain[] = {
    "",
    " ",
    "{",
    "[",
    "[1",
    "[1,]",
    "[,1]",
    "[1 2]",
    "[1]]",
    "[1][1]",
    "[1] x",
    "x",
    "{\"a\":1,}",
    "{\"a\"}",
    "{\"a\" 1}",
    "{\"a\":}",
    "{1:1}",
    /* Twice the same name: json-c keeps the last. */
    "{\"a\":1,\"a\":1}",
    "{\"a\":1,\"a\":2}",
    "{\"a\":2,\"a\":2}",
    "{\"a\":2,\"\\u0061\":2}",
    "{\"b\":{\"a\":1,\"a\":2},\"c\":3}",
    "[{\"a\":{},\"a\":{\"b\":2}}]",
    /* json-c cuts the name. */
    "{\"a\\u0000\":1}",
    "{\"a\\u0000b\":1}",
    "{\"a\\u0000c\":1}",
    "{\"a\\u0000c\" :1}",
    /* json-c makes U+FFFD of these. */
    "[\"\\ud800\"]",
    "[\"\\udc00\"]",
    "[\"\\udbff\"]",
    "[\"\\udc00\\ud800\"]",
    "[\"\\ud800\\ud800\"]",
    "[\"\\ud800x\"]",
    "[\"\\ud800\\n\"]",
    "[\"\\ud800\\u0041\"]",
    "[\"\\ud800\\u00\"]",
    "{\"\\ud800\":1}",
    /* Not JSON, but taken by json-c. */
    "{'a':1}",
    "['a']",
    "[NaN]",
    "[-NaN]",
    "[Infinity]",
    "[-Infinity]",
    "[nan]",
    "[infinity]",
    "[TRUE]",
    "[Null]",
    "[01]",
    "[-01]",
    "[00]",
    "[1.]",
    "[.5]",
    "[-]",
    "[+1]",
    "[1e]",
    "[1e+]",
    "[1.e5]",
    "[0x10]",
    "[1-2]",
    "[1.5.2]",
    "[--1]",
    "[1]//",
    "[1]/**/",
    "/**/[1]",
    "#\n[1]",
    "[\"\t\"]",
    "[\"\n\"]",
    "[\"\x01\"]",
    "[\"\\x41\"]",
    "[\"\\\"]",
    "[\"\\u\"]",
    "[\"\\u12\"]",
    "[\"\\u12g4\"]",
    "[\"\xff\"]",
    "[\"\xc3\"]",
    "[\"\x80\"]",
    "\v[1]",
    "[1]\f",
    "\xef\xbb\xbf[1]",
    "[\x0b"
    "1]",
    "[1]\x0c",
    "[1;2]",
    "(1)",
    "[\xc2\xa0"
    "1]",
    "[nul]",
    "[truefalse]",
    "[1}",
    "{\"a\":1]",
};

static void what_has_no_one_meaning_counts_byte_for_byte(void **state)
{
    apr_size_t i;

    for (i = 0; i < NROWS(not_plain); i++) {
        if (!same(json(not_plain[i], *state), raw(not_plain[i], *state))) {
            fail_msg("%s", not_plain[i]);
        }
    }
}

static void a_nul_ends_no_json(void **state)
{
    static const char text[] = "[1]\0[2]";
    apr_size_t len;

    for (len = 4; len < sizeof(text); len++) {
        assert_true(same(
            print_in(json_type, IDEM_FINGERPRINT_JSON, text, len, 0, *state),
            print_in(NULL, 0, text, len, 0, *state)));
    }
}

static int is_canonical(const char *text, apr_pool_t *pool)
{
    return !same(json(text, pool), raw(text, pool));
}

static void depth_and_size_are_bounded(void **state)
{
    apr_pool_t *p = *state;
    apr_size_t depth = IDEM_JSON_DEPTH_MAX;

    assert_true(is_canonical(nested("[", "", "]", 32, p), p));
    assert_true(is_canonical(nested("[", "", "]", depth, p), p));
    assert_true(is_canonical(nested("[", "1", "]", depth, p), p));
    assert_true(is_canonical(nested("{\"a\":", "1", "}", depth, p), p));
    assert_false(is_canonical(nested("[", "", "]", depth + 1, p), p));
    assert_false(is_canonical(nested("{\"a\":", "1", "}", depth + 1, p), p));
    assert_false(is_canonical(nested("{\"a\":", "[]", "}", depth, p), p));
    assert_false(is_canonical(nested("[", "1", "]", 400000, p), p));
    assert_false(is_canonical(nested("{\"a\":", "1", "}", 100000, p), p));
    assert_false(is_canonical(nested("[", "", "", 500000, p), p));
    /* Containers, and values, that would take 100 times their text. */
    assert_true(is_canonical(
        apr_pstrcat(p, "[", nested("[],", "1]", "", 9999, p), NULL), p));
    assert_false(is_canonical(
        apr_pstrcat(p, "[", nested("[],", "1]", "", 10000, p), NULL), p));
    assert_true(is_canonical(
        apr_pstrcat(p, "[", nested("0,", "1]", "", 100000, p), NULL), p));
    assert_false(is_canonical(
        apr_pstrcat(p, "[", nested("0,", "1]", "", 100001, p), NULL), p));
}

/* SHA-256 over: u64 6 "method", u64 1 "+", u64 4 "POST", u64 4 "json", and
 * for each token a letter, a u64 and so many bytes; computed apart from this
 * code. */
static void the_digest_does_not_change_between_versions(void **state)
{
    static const unsigned char wanted[IDEM_DIGEST_LEN] = {
        0x16, 0x05, 0x9c, 0x6a, 0xa5, 0x71, 0x32, 0x6f, 0xa8, 0xfd, 0x50,
        0x14, 0x1f, 0xa6, 0xc7, 0x38, 0x14, 0xb2, 0x95, 0x34, 0x35, 0x6d,
        0x6f, 0x18, 0x14, 0x96, 0x07, 0x24, 0xce, 0xeb, 0x71, 0x02,
    };
    idem_digest_t digest =
        json(" {\"b\":[1.50,null,true,false],\"\\u0061\":\"x\"}", *state);

    assert_memory_equal(digest.bytes, wanted, sizeof(wanted));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(spelling_of_json_does_not_count),
        pool_test(what_json_says_counts),
        pool_test(what_has_no_one_meaning_counts_byte_for_byte),
        pool_test(a_nul_ends_no_json),
        pool_test(depth_and_size_are_bounded),
        pool_test(the_digest_does_not_change_between_versions),
    };

    apr_initialize();
    if (idem_hash_init() != APR_SUCCESS) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
