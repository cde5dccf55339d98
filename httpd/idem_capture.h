/* idem_capture.h: between the recorder, what settles, the record, and replay.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IDEM_CAPTURE_H
#define IDEM_CAPTURE_H

#include "idem_httpd.h"

/**
 * Where the recorder sits: after SSI and other filters that make content,
 * before those that code or mark it for one client (rule 14). A replay starts
 * below.
 */
#define IDEM_CAPTURE_FTYPE (AP_FTYPE_CONTENT_SET - 4)

/** Bytes of fields that do not count towards IdempotencyMaxResponse. */
#define IDEM_CAPTURE_FIELDS_FREE 8192

/** Take what the application says in Idempotency-Record off the answer. */
void idem_settle_hear(request_rec *r);

/** May this answer have a body? And how long it said that it is; -1: not. */
int idem_settle_has_content(const request_rec *r);
apr_int64_t idem_settle_promised_length(request_rec *r);

/**
 * Decide from what was seen, and tell the store, the log and the counters.
 * @return how much of the answer was seen
 */
idem_answer_t idem_settle(idem_ctx_t *ctx, request_rec *r);

/** The same where the result is known already. */
void idem_settle_unknown(idem_ctx_t *ctx, request_rec *r);
void idem_settle_release(idem_ctx_t *ctx, request_rec *r);
void idem_settle_not_retained(idem_ctx_t *ctx, request_rec *r);

/** The answer is longer than anything that is kept. */
void idem_settle_over(idem_ctx_t *ctx, request_rec *r);

/** Pool cleanup of a claim: what has no result by then is unknown. */
apr_status_t idem_settle_abandon(void *ctx);

/** Fill a record, without body, from the answer as it stands. */
void idem_capture_record(idem_record_t *record, idem_ctx_t *ctx,
                         request_rec *r);

/** Only status and Location: for an answer that is not kept. */
void idem_capture_brief(idem_record_t *record, idem_ctx_t *ctx,
                        request_rec *r);

#endif /* IDEM_CAPTURE_H */
