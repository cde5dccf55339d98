/* idem_problem.h: a refusal -> status, title, problem+json body (RFC 9457).
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IDEM_PROBLEM_H
#define IDEM_PROBLEM_H

#include "mod_idempotency.h"

/** The reasons to refuse, in the order of the table in idem_problem.c. */
typedef enum {
    IDEM_PROBLEM_MISSING_KEY,
    IDEM_PROBLEM_INVALID_KEY,
    IDEM_PROBLEM_PAYLOAD_TOO_LARGE,
    IDEM_PROBLEM_KEY_REUSED,
    IDEM_PROBLEM_IN_PROGRESS,
    IDEM_PROBLEM_RESPONSE_NOT_RETAINED,
    IDEM_PROBLEM_OUTCOME_UNKNOWN,
    IDEM_PROBLEM_KEY_EXPIRED,
    IDEM_PROBLEM_STORE_UNAVAILABLE,
    IDEM_PROBLEM_COUNT
} idem_problem_t;

/** What a client without a key is told to do. */
#define IDEM_PROBLEM_HOW_TO_SEND                                              \
    "Send a new unique value, such as a UUID, for each operation, and the "   \
    "same value when you retry it. Nothing was run."

/** The result word, which is also the last segment of the type URI. */
const char *idem_problem_str(idem_problem_t problem);

/** @return the problem of this word, or IDEM_PROBLEM_COUNT */
idem_problem_t idem_problem_parse(const char *word);

/** The HTTP status unless configured otherwise. */
int idem_problem_status(idem_problem_t problem);

/** What a client does next: seconds for Retry-After, 0 for none. */
int idem_problem_retry_after(idem_problem_t problem);

/**
 * The body.
 * @param base    URI that types start with, without a slash at the end
 * @param status  the status that is sent
 * @param detail  a sentence that helps to correct the request, or NULL for
 *                the usual one; escaped here
 * @param original_status  for response-not-retained: the status of the
 *                answer that was not kept, else 0
 * @return from @a pool
 */
const char *idem_problem_body(idem_problem_t problem, const char *base,
                              int status, const char *detail,
                              int original_status, apr_pool_t *pool);

#endif /* IDEM_PROBLEM_H */
