/* idem_multipart.h: a multipart body -> digest of its parts, as it streams.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IDEM_MULTIPART_H
#define IDEM_MULTIPART_H

#include <openssl/evp.h>

#include "mod_idempotency.h"

typedef struct idem_multipart_t idem_multipart_t;

/**
 * Start.
 * @param content_type  the field of the request
 * @param sha256        the algorithm
 * @return from @a pool; NULL if it is not multipart, or its boundary
 *         parameter is not one (RFC 2046 5.1.1)
 */
idem_multipart_t *idem_multipart_create(const char *content_type,
                                        const EVP_MD *sha256,
                                        apr_pool_t *pool);

/** The next bytes of the body. */
void idem_multipart_add(idem_multipart_t *parts, const char *data,
                        apr_size_t len);

/**
 * The end of the body.
 * @return 1 and the digest; 0 if the body is malformed
 */
int idem_multipart_end(idem_multipart_t *parts, unsigned char *digest);

#endif /* IDEM_MULTIPART_H */
