/* idem_out.h: JSON, written as the body of a response.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IDEM_OUT_H
#define IDEM_OUT_H

#include "idem_httpd.h"

#define IDEM_OUT_DEPTH 16

/** Where a writer stands. Starts as all zero but for r and pool. */
typedef struct {
    request_rec *r;
    apr_pool_t *pool; /* for texts in between */
    int lines;        /* 1: a member a line, for people */
    int depth;
    int any[IDEM_OUT_DEPTH]; /* something was written at this depth */
    char close[IDEM_OUT_DEPTH];
} idem_out_t;

/** A text as JSON, with its quotes; plain ASCII. Bytes that are no ASCII
 *  count as ISO 8859-1: nothing that is shown is known to be UTF-8. */
const char *idem_out_quote(const char *text, apr_pool_t *pool);

/** Objects and arrays; @a name is NULL inside arrays and for the outermost. */
void idem_out_object(idem_out_t *out, const char *name);
void idem_out_array(idem_out_t *out, const char *name);
void idem_out_end(idem_out_t *out);

/** Members. A text that is NULL is null, as is a time of 0. */
void idem_out_text(idem_out_t *out, const char *name, const char *value);
void idem_out_number(idem_out_t *out, const char *name, apr_uint64_t value);
void idem_out_bool(idem_out_t *out, const char *name, int value);
/** As it is: a number with a fraction, or null. */
void idem_out_raw(idem_out_t *out, const char *name, const char *value);
void idem_out_time(idem_out_t *out, const char *name, apr_time_t value);

/** A time as RFC 3339 has it: UTC, to the second. */
const char *idem_out_rfc3339(apr_time_t value, apr_pool_t *pool);

#endif /* IDEM_OUT_H */
