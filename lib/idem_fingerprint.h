/* idem_fingerprint.h: method, target, chosen fields and body -> digest.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Everything is hashed as it comes: a body of any size takes constant memory.
 * A multipart body is hashed without its boundary, which clients make anew
 * for each attempt. JSON and urlencoded bodies can be compared by what they
 * mean; they are kept for that, up to IDEM_BODY_PARSE_MAX. Whatever has not
 * plainly one meaning counts byte for byte.
 */
#ifndef IDEM_FINGERPRINT_H
#define IDEM_FINGERPRINT_H

#include "mod_idempotency.h"

typedef struct idem_fingerprint_t idem_fingerprint_t;

/* Kinds of body that are compared by meaning; 0: byte for byte. */
#define IDEM_FINGERPRINT_JSON 1 /* order of members, spaces, escapes */
#define IDEM_FINGERPRINT_FORM 2 /* urlencoded: order of names, escapes */

/**
 * Start a fingerprint (SHA-256). Freed with @a pool. Only after
 * idem_hash_init().
 * @param content_type  the request's Content-Type or NULL; if it is
 *                      multipart/ * with a valid boundary parameter the body
 *                      is compared by its parts
 * @param kinds         IDEM_FINGERPRINT_JSON and _FORM, or'ed
 */
apr_status_t idem_fingerprint_create(idem_fingerprint_t **print,
                                     const char *content_type, int kinds,
                                     apr_pool_t *pool);

/**
 * Add a named part: "method", "uri", "header:name". A NULL value (absent
 * field) differs from an empty one. Only before the first body bytes.
 */
void idem_fingerprint_add(idem_fingerprint_t *print, const char *name,
                          const char *value);

/** Add the next bytes of the body. */
void idem_fingerprint_body(idem_fingerprint_t *print, const char *data,
                           apr_size_t len);

/** Finish. @return APR_SUCCESS, or APR_EGENERAL if any step failed */
apr_status_t idem_fingerprint_end(idem_fingerprint_t *print,
                                  idem_digest_t *digest);

#endif /* IDEM_FINGERPRINT_H */
