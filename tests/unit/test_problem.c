/* test_problem.c: each refusal has its status, word and a valid body.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_test.h"

#include <string.h>

#include <apr_strings.h>

#include "idem_problem.h"

#define BASE "https://mod-idempotency.example/problems"

typedef struct {
    idem_problem_t problem;
    const char *word;
    int status;
    int retry_after;
    int retryable;
} row_t;

static const row_t rows[] = {
    { IDEM_PROBLEM_MISSING_KEY, "missing-key", 400, 0, 0 },
    { IDEM_PROBLEM_INVALID_KEY, "invalid-key", 400, 0, 0 },
    { IDEM_PROBLEM_PAYLOAD_TOO_LARGE, "payload-too-large", 413, 0, 0 },
    { IDEM_PROBLEM_KEY_REUSED, "key-reused", 422, 0, 0 },
    { IDEM_PROBLEM_IN_PROGRESS, "in-progress", 409, 1, 1 },
    { IDEM_PROBLEM_RESPONSE_NOT_RETAINED, "response-not-retained", 409, 0, 0 },
    { IDEM_PROBLEM_OUTCOME_UNKNOWN, "outcome-unknown", 502, 0, 0 },
    { IDEM_PROBLEM_KEY_EXPIRED, "key-expired", 412, 0, 0 },
    { IDEM_PROBLEM_STORE_UNAVAILABLE, "store-unavailable", 503, 5, 1 },
};
#define NROWS (sizeof(rows) / sizeof(*rows))

static void the_table_is_the_contract(void **state)
{
    apr_size_t i;

    (void)state;
    assert_int_equal(NROWS, IDEM_PROBLEM_COUNT);
    for (i = 0; i < NROWS; i++) {
        assert_string_equal(idem_problem_str(rows[i].problem), rows[i].word);
        assert_int_equal(idem_problem_parse(rows[i].word), rows[i].problem);
        assert_int_equal(idem_problem_status(rows[i].problem), rows[i].status);
        assert_int_equal(idem_problem_retry_after(rows[i].problem),
                         rows[i].retry_after);
    }
}

static void other_words_are_no_problem(void **state)
{
    static const char *const words[] = { "", "executed", "missing-ke",
                                         "missing-keys", "Missing-Key" };
    apr_size_t i;

    (void)state;
    for (i = 0; i < sizeof(words) / sizeof(*words); i++) {
        assert_int_equal(idem_problem_parse(words[i]), IDEM_PROBLEM_COUNT);
    }
}

/* What no enumerator names refuses, too. */
static void a_wild_value_is_a_refusal(void **state)
{
    (void)state;
    assert_int_equal(idem_problem_status(IDEM_PROBLEM_COUNT), 503);
    assert_int_equal(idem_problem_status((idem_problem_t)-1), 503);
    assert_int_equal(idem_problem_retry_after((idem_problem_t)99), 5);
    assert_string_equal(idem_problem_str((idem_problem_t)99),
                        "store-unavailable");
}

/* ------------------------------------------------------------------ bodies */

/* The grammar of RFC 8259, as far as an object of strings, whole numbers and
 * booleans goes. @return what is behind, or NULL */
static const char *json_string(const char *p)
{
    if (*p++ != '"') {
        return NULL;
    }
    for (; *p != '"'; p++) {
        if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e) {
            return NULL;
        }
        if (*p == '\\') {
            p++;
            if (*p == 'u') {
                if (strspn(p + 1, "0123456789abcdef") < 4) {
                    return NULL;
                }
                p += 4;
            }
            else if (!*p || !strchr("\"\\/bfnrt", *p)) {
                return NULL;
            }
        }
    }
    return p + 1;
}

static const char *json_value(const char *p)
{
    if (*p == '"') {
        return json_string(p);
    }
    if (!strncmp(p, "true", 4)) {
        return p + 4;
    }
    if (!strncmp(p, "false", 5)) {
        return p + 5;
    }
    return *p >= '1' && *p <= '9' ? p + strspn(p, "0123456789") : NULL;
}

#define SPACE " \r\n\t"

static int is_json_object(const char *p)
{
    char more = '{';

    for (; *p == more; more = ',') {
        p++;
        p += strspn(p, SPACE);
        p = json_string(p);
        if (!p || *p != ':') {
            return 0;
        }
        p++;
        p += strspn(p, SPACE);
        p = json_value(p);
        if (!p) {
            return 0;
        }
        p += strspn(p, SPACE);
    }
    return more == ',' && !strcmp(p, "}\n");
}

static void the_check_itself_can_fail(void **state)
{
    (void)state;
    assert_true(is_json_object("{\"a\": 1, \"b\": \"\\u00e4\"}\n"));
    assert_false(is_json_object("{\"a\": 1,}\n"));
    assert_false(is_json_object("{\"a\": 1}"));
    assert_false(is_json_object("{\"a\": \"\n\"}\n"));
    assert_false(is_json_object("{\"a\": \"\\x\"}\n"));
    assert_false(is_json_object("{\"a\": \"\"\"}\n"));
    assert_false(is_json_object("{\"a\": \"\xe4\"}\n"));
    assert_false(is_json_object("{\"a\" 1}\n"));
    assert_false(is_json_object("{}{\n"));
}

static void a_body_has_all_members(void **state)
{
    const char *body = idem_problem_body(IDEM_PROBLEM_IN_PROGRESS, BASE, 409,
                                         "Wait.", 0, *state);

    assert_string_equal(
        body,
        "{\n  \"type\": \"" BASE "/in-progress\",\n"
        "  \"title\": \"The first request with this key is still running\",\n"
        "  \"status\": 409,\n  \"detail\": \"Wait.\",\n"
        "  \"code\": \"in-progress\",\n  \"retryable\": true\n}\n");
}

static int has_member(const char *body, const char *name, const char *value,
                      apr_pool_t *pool)
{
    char *member = apr_psprintf(pool, "\n  \"%s\": %s", name, value);
    const char *at = strstr(body, member);
    char next = at ? at[strlen(member)] : '\0';

    return next == ',' || next == '\n';
}

static void every_body_is_valid_and_complete(void **state)
{
    apr_pool_t *p = *state;
    apr_size_t i;

    for (i = 0; i < NROWS; i++) {
        const row_t *row = &rows[i];
        const char *body =
            idem_problem_body(row->problem, BASE, row->status, NULL, 0, p);

        assert_true(is_json_object(body));
        assert_true(has_member(
            body, "type", apr_psprintf(p, "\"" BASE "/%s\"", row->word), p));
        assert_true(has_member(body, "status", apr_itoa(p, row->status), p));
        assert_true(
            has_member(body, "code", apr_psprintf(p, "\"%s\"", row->word), p));
        assert_true(has_member(body, "retryable",
                               row->retryable ? "true" : "false", p));
        assert_non_null(strstr(body, "\n  \"title\": \""));
        assert_non_null(strstr(body, "\n  \"detail\": \""));
        assert_null(strstr(body, "original_status"));
    }
}

static void a_configured_status_is_the_one_in_the_body(void **state)
{
    const char *body =
        idem_problem_body(IDEM_PROBLEM_KEY_REUSED, BASE, 409, NULL, 0, *state);

    assert_true(has_member(body, "status", "409", *state));
    assert_true(has_member(body, "code", "\"key-reused\"", *state));
}

static void the_original_status_is_there_if_given(void **state)
{
    const char *body = idem_problem_body(IDEM_PROBLEM_RESPONSE_NOT_RETAINED,
                                         BASE, 409, NULL, 201, *state);

    assert_true(is_json_object(body));
    assert_true(has_member(body, "status", "409", *state));
    assert_true(has_member(body, "original_status", "201", *state));
}

static void any_detail_and_base_stay_json(void **state)
{
    apr_pool_t *p = *state;
    char detail[256];
    const char *body;
    int i;

    for (i = 0; i < 255; i++) {
        detail[i] = (char)(i + 1);
    }
    detail[255] = '\0';
    body =
        idem_problem_body(IDEM_PROBLEM_INVALID_KEY, detail, 400, detail, 0, p);
    assert_true(is_json_object(body));
    body = idem_problem_body(IDEM_PROBLEM_INVALID_KEY, BASE, 400,
                             "<\"}\\>\n\x7f\xe4", 0, p);
    assert_true(is_json_object(body));
    assert_true(
        has_member(body, "detail", "\"<\\\"}\\\\>\\u000a\\u007f\\u00e4\"", p));
}

static void titles_are_constant(void **state)
{
    const char *a =
        idem_problem_body(IDEM_PROBLEM_INVALID_KEY, BASE, 400, "a", 0, *state);
    const char *b =
        idem_problem_body(IDEM_PROBLEM_INVALID_KEY, BASE, 400, "b", 0, *state);
    const char *title =
        "\n  \"title\": \"The idempotency key cannot be used\"";

    assert_non_null(strstr(a, title));
    assert_non_null(strstr(b, title));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(the_table_is_the_contract),
        pool_test(other_words_are_no_problem),
        pool_test(a_wild_value_is_a_refusal),
        pool_test(the_check_itself_can_fail),
        pool_test(a_body_has_all_members),
        pool_test(every_body_is_valid_and_complete),
        pool_test(a_configured_status_is_the_one_in_the_body),
        pool_test(the_original_status_is_there_if_given),
        pool_test(any_detail_and_base_stay_json),
        pool_test(titles_are_constant),
    };

    apr_initialize();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
