/* idem_flow.h: the decisions, as pure functions.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IDEM_FLOW_H
#define IDEM_FLOW_H

#include "idem_problem.h"
#include "idem_record.h"

/** What to do with a request after its claim. */
typedef enum {
    IDEM_DO_EXECUTE, /* the caller owns the key: run, record */
    IDEM_DO_REPLAY,  /* send the record */
    IDEM_DO_REFUSE,  /* send the problem */
    IDEM_DO_BYPASS   /* run unprotected: configured so for a broken store */
} idem_do_t;

/**
 * Decide.
 * @param problem  out: on IDEM_DO_REFUSE
 * @param rv       status of the claim
 * @param claim    what it found, if @a rv is APR_SUCCESS
 * @param bypass   IdempotencyStoreFailure bypass
 */
idem_do_t idem_flow_decide(idem_problem_t *problem, apr_status_t rv,
                           idem_claim_t claim, int bypass);

/** How much of an answer was seen (httpd-internals, "what is complete"). */
typedef enum {
    IDEM_ANSWER_COMPLETE,
    IDEM_ANSWER_TORN,  /* known to be incomplete */
    IDEM_ANSWER_UNSURE /* nobody can tell */
} idem_answer_t;

/** What the recorder saw of one answer. */
typedef struct {
    int error_seen;             /* error bucket, or reading failed */
    apr_int64_t content_length; /* that the handler promised; -1: none */
    apr_int64_t counted;        /* bytes that came */
    int has_content;            /* status and method allow a body */
    int eos_with_data;          /* the last brigade carried data */
    int client_gone;            /* the client had left before the last call */
} idem_seen_t;

idem_answer_t idem_flow_answer(const idem_seen_t *seen);

/** What becomes of a key when its answer is there. */
typedef enum {
    IDEM_KEEP_RECORD,
    IDEM_KEEP_RELEASE,
    IDEM_KEEP_UNKNOWN
} idem_keep_t;

/** The policy for released statuses: one bit per status 400..599. */
typedef struct {
    apr_uint32_t bits[7];
} idem_status_set_t;

void idem_status_set_add(idem_status_set_t *set, int status);
int idem_status_set_has(const idem_status_set_t *set, int status);

/** The default: 401 407 408 409 421 423 425 429 503. */
void idem_status_set_default(idem_status_set_t *set);

/** Where an answer comes from. */
typedef struct {
    int status;
    idem_path_t path;
    int proxy_answered;  /* a proxied back end had sent its head */
    int backend_reached; /* behind a 503: the request may have been sent */
    idem_answer_t answer;
    int release_asked; /* by the application, in the answer */
} idem_origin_t;

/**
 * Keep, release or mark as unknown.
 *
 * An answer that is not complete is unknown. 1xx, 206, 304 and 416 are
 * released: they make no sense for what is recorded here. On the error path
 * httpd itself speaks for a handler that gave no answer: 502 and 504 are
 * unknown, 500 too unless a proxied application chose it, 503 is unknown if
 * the back end had been reached. An application that asks for it releases
 * whatever it has answered.
 */
idem_keep_t idem_flow_keep(const idem_origin_t *origin,
                           const idem_status_set_t *release);

#endif /* IDEM_FLOW_H */
