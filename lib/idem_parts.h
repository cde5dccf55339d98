/* idem_parts.h: a multipart body -> digest of its parts, as it streams.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each part counts with the bytes of its header block and of its content;
 * the boundary does not.
 */
#ifndef IDEM_PARTS_H
#define IDEM_PARTS_H

#include "mod_idempotency.h"

typedef struct idem_parts_t idem_parts_t;

/**
 * Start.
 * @param content_type  the field of the request, or NULL
 * @return from @a pool; NULL if it is not multipart with a boundary
 */
idem_parts_t *idem_parts_create(const char *content_type, apr_pool_t *pool);

/** The next bytes of the body. */
void idem_parts_add(idem_parts_t *parts, const char *data, apr_size_t len);

/**
 * The end of the body.
 * @return 1 and the digest; 0 if the body is malformed
 */
int idem_parts_end(idem_parts_t *parts, unsigned char *digest);

#endif /* IDEM_PARTS_H */
