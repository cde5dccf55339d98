/* idem_problem.c: a refusal -> status, title, problem+json body.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_problem.h"

#include <string.h>

#include <apr_strings.h>

#include "idem_text.h"

typedef struct {
    const char *word;
    int status;
    int retry_after; /* seconds; 0: no Retry-After */
    const char *title;
    const char *detail;
} row_t;

/* In the order of idem_problem_t. */
static const row_t rows[IDEM_PROBLEM_COUNT] = {
    { "missing-key", 400, 0, "An idempotency key is required",
      "This operation needs an idempotency key. " IDEM_PROBLEM_HOW_TO_SEND },
    { "invalid-key", 400, 0, "The idempotency key cannot be used",
      "The key has no usable value. Nothing was run." },
    { "payload-too-large", 413, 0, "The request body is too large",
      "The body is longer than this service takes with an idempotency key. "
      "Nothing was run." },
    { "key-reused", 422, 0, "The idempotency key was used for another request",
      "A request with this key but another method, target or body was sent "
      "before. Use a new key for a new operation; repeat the first request "
      "unchanged to get its answer." },
    { "in-progress", 409, 1,
      "The first request with this key is still running",
      "Repeat this request unchanged after the time in Retry-After to get "
      "the first one's answer." },
    { "response-not-retained", 409, 0, "The answer was not kept",
      "The first request with this key was run to its end, but its answer "
      "was too large to be kept. It is not run again. Read the state of the "
      "resource instead." },
    { "outcome-unknown", 502, 0, "The outcome of the first request is unknown",
      "The first request with this key ended without a known result: it may "
      "or may not have taken effect. It is not run again. Check the state "
      "of the resource; if nothing happened, send the operation with a new "
      "key." },
    { "key-expired", 412, 0, "The idempotency key is too old",
      "The time in which this key could be retried is over. Check whether "
      "the operation took effect before you send it with a new key." },
    { "store-unavailable", 503, 5, "Idempotency keys cannot be stored now",
      "Nothing was run. Repeat this request unchanged after the time in "
      "Retry-After." },
};

static const row_t *row_of(idem_problem_t problem)
{
    return (unsigned)problem < IDEM_PROBLEM_COUNT
               ? &rows[problem]
               : &rows[IDEM_PROBLEM_STORE_UNAVAILABLE];
}

const char *idem_problem_str(idem_problem_t problem)
{
    return row_of(problem)->word;
}

idem_problem_t idem_problem_parse(const char *word)
{
    int i;

    for (i = 0; i < IDEM_PROBLEM_COUNT; i++) {
        if (!strcmp(word, rows[i].word)) {
            return (idem_problem_t)i;
        }
    }
    return IDEM_PROBLEM_COUNT;
}

int idem_problem_status(idem_problem_t problem)
{
    return row_of(problem)->status;
}

int idem_problem_retry_after(idem_problem_t problem)
{
    return row_of(problem)->retry_after;
}

static int is_retryable(idem_problem_t problem)
{
    return problem == IDEM_PROBLEM_IN_PROGRESS
           || problem == IDEM_PROBLEM_STORE_UNAVAILABLE;
}

const char *idem_problem_body(idem_problem_t problem, const char *base,
                              int status, const char *detail,
                              int original_status, apr_pool_t *pool)
{
    const row_t *row = row_of(problem);
    const char *original = "";

    if (original_status > 0) {
        original = apr_psprintf(pool, ",\n  \"original_status\": %d",
                                original_status);
    }
    return apr_psprintf(
        pool,
        "{\n  \"type\": \"%s/%s\",\n  \"title\": \"%s\",\n"
        "  \"status\": %d,\n  \"detail\": \"%s\",\n  \"code\": \"%s\",\n"
        "  \"retryable\": %s%s\n}\n",
        idem_text_json(base, '\0', pool), row->word, row->title, status,
        idem_text_json(detail ? detail : row->detail, '\0', pool), row->word,
        is_retryable(problem) ? "true" : "false", original);
}
