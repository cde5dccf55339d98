/* idem_record.h: a response <-> the bytes a store keeps.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The body is not copied here: encode() makes the bytes before it, and a
 * record is those bytes followed by the body. Every length is checked when
 * decoding: stores and files are not trusted.
 */
#ifndef IDEM_RECORD_H
#define IDEM_RECORD_H

#include <apr_tables.h>

#include "mod_idempotency.h"

/** Which way of httpd the response took; a replay takes the same. */
typedef enum {
    IDEM_PATH_NORMAL, /* written by a handler */
    IDEM_PATH_ERROR   /* made by httpd from a status (Header always only) */
} idem_path_t;

/** A response as recorded. Strings may be NULL: absent. */
typedef struct {
    int status; /* 200..599 */
    idem_path_t path;
    apr_time_t created;      /* when it was recorded */
    const char *status_line; /* "201 Created", if the handler set its own */
    const char *content_type;
    const char *content_encoding;
    const char *unique_id; /* of the request that ran, for the log */
    const apr_array_header_t *languages; /* of const char *; NULL: none */
    const apr_table_t *out_set;          /* headers_out: added or changed */
    const apr_table_t *err_set; /* err_headers_out: added or changed */
    const apr_array_header_t *out_unset; /* names (const char *) removed */
    const apr_array_header_t *err_unset;
    idem_blob_t body; /* decode() only: points into the input */
} idem_record_t;

/** The head of a record, from @a pool. @return APR_SUCCESS or APR_EINVAL */
apr_status_t idem_record_encode(idem_blob_t *head, const idem_record_t *record,
                                apr_pool_t *pool);

/**
 * Decode head and body.
 * @param record  out, from @a pool; the body points into @a blob
 * @return APR_SUCCESS; APR_EINVAL if it is not a whole record of this version
 */
apr_status_t idem_record_decode(idem_record_t *record, const idem_blob_t *blob,
                                apr_pool_t *pool);

/**
 * Is this end-to-end field never recorded, whatever the configuration?
 * Hop-by-hop (RFC 9110 7.6.1), Date, Server, Age, Content-Length, Set-Cookie
 * is not among them. Fields named by Connection are the caller's to drop.
 */
int idem_record_is_hop(const char *name);

#endif /* IDEM_RECORD_H */
