/* idem_flow.c: the decisions, as pure functions.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The life of a key is drawn in include/mod_idempotency.h; here is decided
 * which of its arrows a request or an answer takes.
 */
#include "idem_flow.h"

idem_do_t idem_flow_decide(idem_problem_t *problem, apr_status_t rv,
                           idem_claim_t claim, int bypass)
{
    *problem = IDEM_PROBLEM_STORE_UNAVAILABLE;
    if (rv != APR_SUCCESS) {
        return bypass ? IDEM_DO_BYPASS : IDEM_DO_REFUSE;
    }
    switch (claim) {
    case IDEM_CLAIM_NEW:
        return IDEM_DO_EXECUTE;
    case IDEM_CLAIM_DONE:
        return IDEM_DO_REPLAY;
    case IDEM_CLAIM_IN_PROGRESS:
        *problem = IDEM_PROBLEM_IN_PROGRESS;
        return IDEM_DO_REFUSE;
    case IDEM_CLAIM_NOT_RETAINED:
        *problem = IDEM_PROBLEM_RESPONSE_NOT_RETAINED;
        return IDEM_DO_REFUSE;
    case IDEM_CLAIM_UNKNOWN:
        *problem = IDEM_PROBLEM_OUTCOME_UNKNOWN;
        return IDEM_DO_REFUSE;
    case IDEM_CLAIM_EXPIRED:
        *problem = IDEM_PROBLEM_KEY_EXPIRED;
        return IDEM_DO_REFUSE;
    case IDEM_CLAIM_REUSED:
        *problem = IDEM_PROBLEM_KEY_REUSED;
        return IDEM_DO_REFUSE;
    }
    /* Only memory corruption leads here: refuse rather than run twice. */
    return IDEM_DO_REFUSE;
}

idem_answer_t idem_flow_answer(const idem_seen_t *seen)
{
    if (seen->error_seen) {
        return IDEM_ANSWER_TORN;
    }
    if (seen->content_length >= 0 && seen->has_content
        && seen->content_length != seen->counted) {
        return IDEM_ANSWER_TORN;
    }
    if (seen->content_length >= 0 && seen->content_length == seen->counted) {
        return IDEM_ANSWER_COMPLETE;
    }
    if (seen->eos_with_data) {
        return IDEM_ANSWER_COMPLETE;
    }
    /* The end alone, after the client had left: a handler that gave up looks
     * the same as one that was done. */
    return seen->client_gone ? IDEM_ANSWER_UNSURE : IDEM_ANSWER_COMPLETE;
}

static int index_of(int status)
{
    return status >= 400 && status <= 599 ? status - 400 : -1;
}

void idem_status_set_add(idem_status_set_t *set, int status)
{
    int i = index_of(status);

    if (i >= 0) {
        set->bits[i / 32] |= (apr_uint32_t)1 << (i % 32);
    }
}

int idem_status_set_has(const idem_status_set_t *set, int status)
{
    int i = index_of(status);

    return i >= 0 && (set->bits[i / 32] >> (i % 32) & 1);
}

void idem_status_set_default(idem_status_set_t *set)
{
    static const int statuses[] = {
        401, 407, 408, 409, 421, 423, 425, 429, 503
    };
    apr_size_t i;

    for (i = 0; i < sizeof(statuses) / sizeof(*statuses); i++) {
        idem_status_set_add(set, statuses[i]);
    }
}

/* Did httpd make this error page because no answer was had? */
static int speaks_for_the_lost(const idem_origin_t *origin)
{
    if (origin->path != IDEM_PATH_ERROR) {
        return 0;
    }
    switch (origin->status) {
    case 502:
    case 504:
        return 1;
    case 500:
        return !origin->proxy_answered;
    case 503:
        return origin->backend_reached;
    default:
        return 0;
    }
}

idem_keep_t idem_flow_keep(const idem_origin_t *origin,
                           const idem_status_set_t *release)
{
    int status = origin->status;

    if (origin->answer != IDEM_ANSWER_COMPLETE
        || speaks_for_the_lost(origin)) {
        return IDEM_KEEP_UNKNOWN;
    }
    if (origin->release_asked || status < 200 || status == 206 || status == 304
        || status == 416 || idem_status_set_has(release, status)) {
        return IDEM_KEEP_RELEASE;
    }
    return IDEM_KEEP_RECORD;
}
