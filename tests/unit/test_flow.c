/* test_flow.c: every decision, a row for each case.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_test.h"

#include <apr_errno.h>

#include "idem_flow.h"

/* ------------------------------------------------------------------ claims */

static void claims_lead_to_what_is_done(void **state)
{
    static const struct {
        apr_status_t rv;
        idem_claim_t claim;
        int bypass;
        idem_do_t what;
        idem_problem_t problem; /* on IDEM_DO_REFUSE */
    } rows[] = {
        { APR_SUCCESS, IDEM_CLAIM_NEW, 0, IDEM_DO_EXECUTE, 0 },
        { APR_SUCCESS, IDEM_CLAIM_NEW, 1, IDEM_DO_EXECUTE, 0 },
        { APR_SUCCESS, IDEM_CLAIM_DONE, 0, IDEM_DO_REPLAY, 0 },
        { APR_SUCCESS, IDEM_CLAIM_DONE, 1, IDEM_DO_REPLAY, 0 },
        { APR_SUCCESS, IDEM_CLAIM_IN_PROGRESS, 0, IDEM_DO_REFUSE,
          IDEM_PROBLEM_IN_PROGRESS },
        { APR_SUCCESS, IDEM_CLAIM_IN_PROGRESS, 1, IDEM_DO_REFUSE,
          IDEM_PROBLEM_IN_PROGRESS },
        { APR_SUCCESS, IDEM_CLAIM_NOT_RETAINED, 0, IDEM_DO_REFUSE,
          IDEM_PROBLEM_RESPONSE_NOT_RETAINED },
        { APR_SUCCESS, IDEM_CLAIM_NOT_RETAINED, 1, IDEM_DO_REFUSE,
          IDEM_PROBLEM_RESPONSE_NOT_RETAINED },
        { APR_SUCCESS, IDEM_CLAIM_EXPIRED, 0, IDEM_DO_REFUSE,
          IDEM_PROBLEM_KEY_EXPIRED },
        { APR_SUCCESS, IDEM_CLAIM_EXPIRED, 1, IDEM_DO_REFUSE,
          IDEM_PROBLEM_KEY_EXPIRED },
        { APR_SUCCESS, IDEM_CLAIM_UNKNOWN, 0, IDEM_DO_REFUSE,
          IDEM_PROBLEM_OUTCOME_UNKNOWN },
        { APR_SUCCESS, IDEM_CLAIM_UNKNOWN, 1, IDEM_DO_REFUSE,
          IDEM_PROBLEM_OUTCOME_UNKNOWN },
        { APR_SUCCESS, IDEM_CLAIM_REUSED, 0, IDEM_DO_REFUSE,
          IDEM_PROBLEM_KEY_REUSED },
        { APR_SUCCESS, IDEM_CLAIM_REUSED, 1, IDEM_DO_REFUSE,
          IDEM_PROBLEM_KEY_REUSED },
        /* Memory corruption refuses, bypass or not. */
        { APR_SUCCESS, (idem_claim_t)99, 0, IDEM_DO_REFUSE,
          IDEM_PROBLEM_STORE_UNAVAILABLE },
        { APR_SUCCESS, (idem_claim_t)99, 1, IDEM_DO_REFUSE,
          IDEM_PROBLEM_STORE_UNAVAILABLE },
        /* Whatever claim says, if the call failed. */
        { APR_ENOSPC, IDEM_CLAIM_NEW, 0, IDEM_DO_REFUSE,
          IDEM_PROBLEM_STORE_UNAVAILABLE },
        { APR_ENOSPC, IDEM_CLAIM_DONE, 1, IDEM_DO_BYPASS, 0 },
        { APR_EGENERAL, IDEM_CLAIM_REUSED, 0, IDEM_DO_REFUSE,
          IDEM_PROBLEM_STORE_UNAVAILABLE },
        { APR_EGENERAL, IDEM_CLAIM_NEW, 1, IDEM_DO_BYPASS, 0 },
        { APR_TIMEUP, IDEM_CLAIM_IN_PROGRESS, 0, IDEM_DO_REFUSE,
          IDEM_PROBLEM_STORE_UNAVAILABLE },
    };
    apr_size_t i;

    (void)state;
    for (i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        idem_problem_t problem = IDEM_PROBLEM_COUNT;

        assert_int_equal(idem_flow_decide(&problem, rows[i].rv, rows[i].claim,
                                          rows[i].bypass),
                         rows[i].what);
        if (rows[i].what == IDEM_DO_REFUSE) {
            assert_int_equal(problem, rows[i].problem);
        }
    }
}

/* ----------------------------------------------------------------- answers */

#define COMPLETE IDEM_ANSWER_COMPLETE
#define TORN IDEM_ANSWER_TORN
#define UNSURE IDEM_ANSWER_UNSURE

/* The lengths that were promised and came, in the columns below. */
static const struct {
    apr_int64_t promised;
    apr_int64_t counted;
} lengths[] = { { -1, 10 }, { 10, 10 }, { 100, 10 }, { 5, 10 }, { 0, 0 } };

#define NLENGTHS 5

/* Each row is one setting of the flags; each column one of lengths. */
static const struct {
    int error, content, eos_data, gone;
    idem_answer_t answer[NLENGTHS];
} answers[] = {
    /* An error comes before everything. */
    { 1, 0, 0, 0, { TORN, TORN, TORN, TORN, TORN } },
    { 1, 0, 0, 1, { TORN, TORN, TORN, TORN, TORN } },
    { 1, 0, 1, 0, { TORN, TORN, TORN, TORN, TORN } },
    { 1, 0, 1, 1, { TORN, TORN, TORN, TORN, TORN } },
    { 1, 1, 0, 0, { TORN, TORN, TORN, TORN, TORN } },
    { 1, 1, 0, 1, { TORN, TORN, TORN, TORN, TORN } },
    { 1, 1, 1, 0, { TORN, TORN, TORN, TORN, TORN } },
    { 1, 1, 1, 1, { TORN, TORN, TORN, TORN, TORN } },
    /* Without content a wrong length says nothing, a right one does. */
    { 0, 0, 0, 0, { COMPLETE, COMPLETE, COMPLETE, COMPLETE, COMPLETE } },
    { 0, 0, 0, 1, { UNSURE, COMPLETE, UNSURE, UNSURE, COMPLETE } },
    { 0, 0, 1, 0, { COMPLETE, COMPLETE, COMPLETE, COMPLETE, COMPLETE } },
    { 0, 0, 1, 1, { COMPLETE, COMPLETE, COMPLETE, COMPLETE, COMPLETE } },
    /* With content the length decides, and only without one the end. */
    { 0, 1, 0, 0, { COMPLETE, COMPLETE, TORN, TORN, COMPLETE } },
    { 0, 1, 0, 1, { UNSURE, COMPLETE, TORN, TORN, COMPLETE } },
    { 0, 1, 1, 0, { COMPLETE, COMPLETE, TORN, TORN, COMPLETE } },
    { 0, 1, 1, 1, { COMPLETE, COMPLETE, TORN, TORN, COMPLETE } },
};

static void only_a_whole_answer_is_complete(void **state)
{
    apr_size_t i, j;

    (void)state;
    for (i = 0; i < sizeof(answers) / sizeof(*answers); i++) {
        for (j = 0; j < NLENGTHS; j++) {
            idem_seen_t seen = { 0 };

            seen.error_seen = answers[i].error;
            seen.has_content = answers[i].content;
            seen.eos_with_data = answers[i].eos_data;
            seen.client_gone = answers[i].gone;
            seen.content_length = lengths[j].promised;
            seen.counted = lengths[j].counted;
            if (idem_flow_answer(&seen) != answers[i].answer[j]) {
                fail_msg("row %d, column %d", (int)i, (int)j);
            }
        }
    }
}

/* -------------------------------------------------------------- status set */

static void a_set_holds_what_was_added(void **state)
{
    idem_status_set_t set = { { 0 } };
    int status;

    (void)state;
    for (status = 399; status <= 600; status += 3) {
        idem_status_set_add(&set, status);
    }
    for (status = -1000; status <= 2000; status++) {
        int wanted = status >= 400 && status <= 599 && status % 3 == 0;

        assert_int_equal(!!idem_status_set_has(&set, status), wanted);
    }
}

static void the_default_is_what_was_not_processed(void **state)
{
    static const int released[] = {
        401, 407, 408, 409, 421, 423, 425, 429, 503
    };
    idem_status_set_t set = { { 0 } };
    apr_size_t next = 0;
    int status;

    (void)state;
    idem_status_set_default(&set);
    for (status = 400; status <= 599; status++) {
        if (next < sizeof(released) / sizeof(*released)
            && status == released[next]) {
            assert_true(idem_status_set_has(&set, status));
            next++;
        }
        else {
            assert_false(idem_status_set_has(&set, status));
        }
    }
    assert_int_equal(next, sizeof(released) / sizeof(*released));
}

/* ------------------------------------------------------ keep, release, ... */

#define RECORD IDEM_KEEP_RECORD
#define RELEASE IDEM_KEEP_RELEASE
#define UNKNOWN IDEM_KEEP_UNKNOWN

/* Complete answers, with the default set. The columns of the error path:
 * no head of a proxied answer, back end not reached; no head, reached; head,
 * not reached; head, reached. */
static const struct {
    int status;
    idem_keep_t normal; /* whatever the origin */
    idem_keep_t error[4];
} kept[] = {
    { 100, RELEASE, { RELEASE, RELEASE, RELEASE, RELEASE } },
    { 101, RELEASE, { RELEASE, RELEASE, RELEASE, RELEASE } },
    { 200, RECORD, { RECORD, RECORD, RECORD, RECORD } },
    { 201, RECORD, { RECORD, RECORD, RECORD, RECORD } },
    { 204, RECORD, { RECORD, RECORD, RECORD, RECORD } },
    { 206, RELEASE, { RELEASE, RELEASE, RELEASE, RELEASE } },
    { 302, RECORD, { RECORD, RECORD, RECORD, RECORD } },
    { 303, RECORD, { RECORD, RECORD, RECORD, RECORD } },
    { 304, RELEASE, { RELEASE, RELEASE, RELEASE, RELEASE } },
    { 400, RECORD, { RECORD, RECORD, RECORD, RECORD } },
    { 401, RELEASE, { RELEASE, RELEASE, RELEASE, RELEASE } },
    { 403, RECORD, { RECORD, RECORD, RECORD, RECORD } },
    { 404, RECORD, { RECORD, RECORD, RECORD, RECORD } },
    { 407, RELEASE, { RELEASE, RELEASE, RELEASE, RELEASE } },
    { 408, RELEASE, { RELEASE, RELEASE, RELEASE, RELEASE } },
    { 409, RELEASE, { RELEASE, RELEASE, RELEASE, RELEASE } },
    { 410, RECORD, { RECORD, RECORD, RECORD, RECORD } },
    { 412, RECORD, { RECORD, RECORD, RECORD, RECORD } },
    { 416, RELEASE, { RELEASE, RELEASE, RELEASE, RELEASE } },
    { 421, RELEASE, { RELEASE, RELEASE, RELEASE, RELEASE } },
    { 422, RECORD, { RECORD, RECORD, RECORD, RECORD } },
    { 423, RELEASE, { RELEASE, RELEASE, RELEASE, RELEASE } },
    { 425, RELEASE, { RELEASE, RELEASE, RELEASE, RELEASE } },
    { 429, RELEASE, { RELEASE, RELEASE, RELEASE, RELEASE } },
    { 500, RECORD, { UNKNOWN, UNKNOWN, RECORD, RECORD } },
    { 501, RECORD, { RECORD, RECORD, RECORD, RECORD } },
    { 502, RECORD, { UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN } },
    { 503, RELEASE, { RELEASE, UNKNOWN, RELEASE, UNKNOWN } },
    { 504, RECORD, { UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN } },
    { 507, RECORD, { RECORD, RECORD, RECORD, RECORD } },
    { 599, RECORD, { RECORD, RECORD, RECORD, RECORD } },
};

static idem_keep_t keep(int status, idem_path_t path, int column,
                        idem_answer_t answer, const idem_status_set_t *set)
{
    idem_origin_t origin = { 0 };

    origin.status = status;
    origin.path = path;
    origin.proxy_answered = column >> 1;
    origin.backend_reached = column & 1;
    origin.answer = answer;
    return idem_flow_keep(&origin, set);
}

static void complete_answers_are_kept_by_status_and_path(void **state)
{
    idem_status_set_t set = { { 0 } };
    apr_size_t i;
    int j;

    (void)state;
    idem_status_set_default(&set);
    for (i = 0; i < sizeof(kept) / sizeof(*kept); i++) {
        for (j = 0; j < 4; j++) {
            idem_keep_t normal =
                keep(kept[i].status, IDEM_PATH_NORMAL, j, COMPLETE, &set);
            idem_keep_t error =
                keep(kept[i].status, IDEM_PATH_ERROR, j, COMPLETE, &set);

            if (normal != kept[i].normal || error != kept[i].error[j]) {
                fail_msg("status %d, column %d", kept[i].status, j);
            }
        }
    }
}

/* Never replayed as whole, never run again unasked: whatever the set says. */
static void incomplete_answers_are_unknown(void **state)
{
    idem_status_set_t set = { { 0 } };
    apr_size_t i;
    int j;

    (void)state;
    idem_status_set_default(&set);
    for (i = 0; i < sizeof(kept) / sizeof(*kept); i++) {
        for (j = 0; j < 4; j++) {
            int status = kept[i].status;

            assert_int_equal(keep(status, IDEM_PATH_NORMAL, j, TORN, &set),
                             UNKNOWN);
            assert_int_equal(keep(status, IDEM_PATH_NORMAL, j, UNSURE, &set),
                             UNKNOWN);
            assert_int_equal(keep(status, IDEM_PATH_ERROR, j, TORN, &set),
                             UNKNOWN);
            assert_int_equal(keep(status, IDEM_PATH_ERROR, j, UNSURE, &set),
                             UNKNOWN);
        }
    }
}

static void the_configured_set_decides(void **state)
{
    idem_status_set_t none = { { 0 } }, all = { { 0 } };
    int status;

    (void)state;
    for (status = 400; status <= 599; status++) {
        idem_status_set_add(&all, status);
    }
    assert_int_equal(keep(503, IDEM_PATH_NORMAL, 0, COMPLETE, &none), RECORD);
    assert_int_equal(keep(503, IDEM_PATH_ERROR, 2, COMPLETE, &none), RECORD);
    assert_int_equal(keep(409, IDEM_PATH_NORMAL, 0, COMPLETE, &none), RECORD);
    assert_int_equal(keep(416, IDEM_PATH_NORMAL, 0, COMPLETE, &none), RELEASE);
    assert_int_equal(keep(500, IDEM_PATH_NORMAL, 0, COMPLETE, &all), RELEASE);
    assert_int_equal(keep(500, IDEM_PATH_ERROR, 2, COMPLETE, &all), RELEASE);
    assert_int_equal(keep(200, IDEM_PATH_NORMAL, 0, COMPLETE, &all), RECORD);
    /* The set does not make the unknown known. */
    assert_int_equal(keep(500, IDEM_PATH_ERROR, 0, COMPLETE, &all), UNKNOWN);
    assert_int_equal(keep(502, IDEM_PATH_ERROR, 3, COMPLETE, &all), UNKNOWN);
    assert_int_equal(keep(504, IDEM_PATH_ERROR, 2, COMPLETE, &all), UNKNOWN);
}

/* But only of an answer that is whole. */
static void an_application_may_release(void **state)
{
    idem_status_set_t none = { { 0 } };
    idem_origin_t origin = { 0 };

    (void)state;
    origin.status = 201;
    origin.release_asked = 1;
    assert_int_equal(idem_flow_keep(&origin, &none), RELEASE);
    origin.answer = TORN;
    assert_int_equal(idem_flow_keep(&origin, &none), UNKNOWN);
    origin.answer = UNSURE;
    assert_int_equal(idem_flow_keep(&origin, &none), UNKNOWN);
    /* httpd speaks here, not the application. */
    origin.answer = COMPLETE;
    origin.path = IDEM_PATH_ERROR;
    origin.status = 502;
    assert_int_equal(idem_flow_keep(&origin, &none), UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(claims_lead_to_what_is_done),
        pool_test(only_a_whole_answer_is_complete),
        pool_test(a_set_holds_what_was_added),
        pool_test(the_default_is_what_was_not_processed),
        pool_test(complete_answers_are_kept_by_status_and_path),
        pool_test(incomplete_answers_are_unknown),
        pool_test(the_configured_set_decides),
        pool_test(an_application_may_release),
    };

    apr_initialize();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
