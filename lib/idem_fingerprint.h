/* idem_fingerprint.h: method, target, chosen fields and body -> digest.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Everything is hashed as it comes: a body of any size takes constant memory.
 * A multipart body is hashed without its boundary, which clients make anew
 * for each attempt; one that is malformed counts byte for byte.
 */
#ifndef IDEM_FINGERPRINT_H
#define IDEM_FINGERPRINT_H

#include "mod_idempotency.h"

typedef struct idem_fingerprint_t idem_fingerprint_t;

/** Once per process, before any fingerprint: fetches what OpenSSL has. */
apr_status_t idem_fingerprint_init(void);

/**
 * Start a fingerprint (SHA-256). Freed with @a pool.
 * @param content_type  the request's Content-Type or NULL; if it is
 *                      multipart/ * with a valid boundary parameter the body
 *                      is compared by its parts
 */
apr_status_t idem_fingerprint_create(idem_fingerprint_t **print,
                                     const char *content_type,
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
