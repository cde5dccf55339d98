/* idem_multipart.h: a multipart body -> its parts, as it streams.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IDEM_MULTIPART_H
#define IDEM_MULTIPART_H

#include "mod_idempotency.h"

typedef struct idem_multipart_t idem_multipart_t;

/** Who is told of the parts; called with the baton of create(). */
typedef struct {
    /** A part begins: its header block, up to and with the empty line. */
    void (*begin)(void *baton, const char *headers, apr_size_t len);
    /** The next bytes of its content. */
    void (*content)(void *baton, const char *data, apr_size_t len);
    /** It ended, with a delimiter. */
    void (*end)(void *baton);
} idem_multipart_sink_t;

/**
 * Start.
 * @param content_type  the field of the request, or NULL
 * @return from @a pool; NULL if it is not multipart, or its boundary
 *         parameter is not one (RFC 2046 5.1.1)
 */
idem_multipart_t *idem_multipart_create(const char *content_type,
                                        const idem_multipart_sink_t *sink,
                                        void *baton, apr_pool_t *pool);

/** The next bytes of the body. Behind a fault nobody is told any more. */
void idem_multipart_add(idem_multipart_t *parts, const char *data,
                        apr_size_t len);

/** The end of the body. @return 1 if it was well-formed */
int idem_multipart_end(const idem_multipart_t *parts);

#endif /* IDEM_MULTIPART_H */
