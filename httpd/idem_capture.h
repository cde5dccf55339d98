/* idem_capture.h: between the recorder, the record it makes, and replay.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IDEM_CAPTURE_H
#define IDEM_CAPTURE_H

#include "idem_httpd.h"

/** Where the recorder sits; a replay starts below (rule 14). */
#define IDEM_CAPTURE_FTYPE (AP_FTYPE_CONTENT_SET - 4)

/** Bytes of fields that do not count towards IdempotencyMaxResponse. */
#define IDEM_CAPTURE_FIELDS_FREE 8192

/** Fill a record, without body, from the answer as it stands. */
void idem_capture_record(idem_record_t *record, idem_ctx_t *ctx,
                         request_rec *r);

/** Only status and Location: for an answer that is not kept. */
void idem_capture_brief(idem_record_t *record, idem_ctx_t *ctx,
                        request_rec *r);

#endif /* IDEM_CAPTURE_H */
