/* test_line.c: whatever the values, one line of JSON that has room.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_test.h"

#include <string.h>

#include "idem_line.h"

static idem_line_t line;

/* What stands between the braces of a line with one text. */
static const char *text_of(const char *value, apr_size_t max)
{
    static char out[IDEM_LINE_MAX + 1];

    idem_line_init(&line);
    idem_line_text(&line, "t", value, max);
    idem_line_end(&line);
    assert_true(line.len >= 3 && line.len < sizeof(line.text));
    assert_memory_equal(line.text + line.len - 2, "}\n", 2);
    memcpy(out, line.text + 1, line.len - 3);
    out[line.len - 3] = '\0';
    return out;
}

static void texts_are_escaped(void **state)
{
    static const char *const rows[][2] = {
        { "", "\"t\":\"\"" },
        { "plain ~", "\"t\":\"plain ~\"" },
        { "a\"b\\c/", "\"t\":\"a\\\"b\\\\c/\"" },
        { "\n\r\t\x01\x7f", "\"t\":\"\\u000a\\u000d\\u0009\\u0001\\u007f\"" },
        { "\xc3\xa9", "\"t\":\"\\u00e9\"" },
        { "\xe2\x80\xa8", "\"t\":\"\\u2028\"" },
        { "\xf0\x9f\x98\x80", "\"t\":\"\\ud83d\\ude00\"" },
        { "\xf4\x8f\xbf\xbf", "\"t\":\"\\udbff\\udfff\"" },
    };
    apr_size_t i;

    (void)state;
    for (i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        assert_string_equal(text_of(rows[i][0], 100), rows[i][1]);
    }
}

/* RFC 3629: overlong forms, surrogates, beyond the last, cut off. */
static void invalid_bytes_stand_for_themselves(void **state)
{
    static const char *const rows[][2] = {
        { "\xff", "\"t\":\"\\u00ff\"" },
        { "\x80x", "\"t\":\"\\u0080x\"" },
        { "\xc0\xaf", "\"t\":\"\\u00c0\\u00af\"" },
        { "\xe0\x80\xaf", "\"t\":\"\\u00e0\\u0080\\u00af\"" },
        { "\xed\xa0\x80", "\"t\":\"\\u00ed\\u00a0\\u0080\"" },
        { "\xf4\x90\x80\x80", "\"t\":\"\\u00f4\\u0090\\u0080\\u0080\"" },
        { "\xf5\x80\x80\x80", "\"t\":\"\\u00f5\\u0080\\u0080\\u0080\"" },
        { "\xc3", "\"t\":\"\\u00c3\"" },
        { "\xe2\x80", "\"t\":\"\\u00e2\\u0080\"" },
        { "\xe2\x80\"", "\"t\":\"\\u00e2\\u0080\\\"\"" },
    };
    apr_size_t i;

    (void)state;
    for (i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        assert_string_equal(text_of(rows[i][0], 100), rows[i][1]);
    }
}

static void every_byte_is_one_line_of_ascii(void **state)
{
    char value[256];
    int i;

    (void)state;
    for (i = 0; i < 255; i++) {
        value[i] = (char)(i + 1);
    }
    value[255] = '\0';
    (void)text_of(value, 4000);
    for (i = 0; i < (int)line.len - 1; i++) {
        assert_in_range((unsigned char)line.text[i], 0x20, 0x7e);
    }
    assert_int_equal(line.ncut, 0);
}

/* An escape is whole or not there, and the cut is told. */
static void long_texts_are_cut(void **state)
{
    (void)state;
    assert_string_equal(text_of("abcd", 4), "\"t\":\"abcd\"");
    assert_string_equal(text_of("abcde", 4), "\"t\":\"abcd\",\"cut\":[\"t\"]");
    assert_string_equal(text_of("abc\n", 8), "\"t\":\"abc\",\"cut\":[\"t\"]");
    assert_string_equal(text_of("abc\n", 9), "\"t\":\"abc\\u000a\"");
    assert_string_equal(text_of("\"\"", 3), "\"t\":\"\\\"\",\"cut\":[\"t\"]");
}

static void absent_texts_are_left_out(void **state)
{
    (void)state;
    assert_string_equal(text_of(NULL, 10), "");
}

/* Every length of the first text, so that each edge is met. */
static void the_line_never_outgrows_its_buffer(void **state)
{
    static char big[IDEM_LINE_MAX + 1];
    static idem_digest_t digest;
    apr_size_t n;
    int i;

    (void)state;
    for (n = 0; n < sizeof(big); n++) {
        memset(big, n % 2 ? '"' : 'x', sizeof(big) - 1);
        big[n] = '\0';
        idem_line_init(&line);
        idem_line_text(&line, "sixteen_letters_", big, sizeof(big));
        for (i = 0; i < 6; i++) {
            idem_line_text(&line, "fifteen_letters", big, sizeof(big));
            idem_line_number(&line, "number", APR_INT64_MIN);
            idem_line_digest(&line, "digest", &digest, IDEM_DIGEST_LEN);
        }
        idem_line_end(&line);
        /* One byte is the caller's. */
        assert_true(line.len < sizeof(line.text));
        assert_memory_equal(line.text + line.len - 2, "}\n", 2);
        assert_true(line.ncut <= IDEM_LINE_CUTS);
    }
}

static void numbers_times_and_digests(void **state)
{
    static const char want[] = "{\"n\":-5,\"d\":\"00ff10\",\"z\":0,"
                               "\"at\":\"2001-09-09T01:46:40.000007Z\"}\n";
    idem_digest_t digest = { { 0x00, 0xff, 0x10, 0x99 } };

    (void)state;
    idem_line_init(&line);
    idem_line_number(&line, "n", -5);
    idem_line_digest(&line, "d", &digest, 3);
    idem_line_number(&line, "z", 0);
    idem_line_time(&line, "at", apr_time_from_sec(1000000000) + 7);
    idem_line_end(&line);
    assert_int_equal(line.len, sizeof(want) - 1);
    assert_memory_equal(line.text, want, sizeof(want) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_escaped),
        cmocka_unit_test(invalid_bytes_stand_for_themselves),
        cmocka_unit_test(every_byte_is_one_line_of_ascii),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(absent_texts_are_left_out),
        cmocka_unit_test(the_line_never_outgrows_its_buffer),
        cmocka_unit_test(numbers_times_and_digests),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
