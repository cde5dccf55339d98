/* idem_parts.c: a multipart body -> digest of its parts, as it streams.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   SHA-256( for each part: SHA-256(header block), SHA-256(content) )
 *
 * Digests of digests, so that no length has to be known beforehand.
 */
#include "idem_parts.h"

#include "idem_hash.h"
#include "idem_multipart.h"

struct idem_parts_t {
    idem_multipart_t *lexer;
    idem_hash_t *all;
    idem_hash_t *piece;
    int failed;
};

static void end_piece(void *baton)
{
    idem_parts_t *parts = baton;
    unsigned char digest[IDEM_DIGEST_LEN];

    parts->failed |= idem_hash_end(parts->piece, digest) != APR_SUCCESS;
    idem_hash_add(parts->all, digest, sizeof(digest));
}

static void add_content(void *baton, const char *data, apr_size_t len)
{
    idem_parts_t *parts = baton;

    idem_hash_add(parts->piece, data, len);
}

static void begin_part(void *baton, const char *headers, apr_size_t len)
{
    add_content(baton, headers, len);
    end_piece(baton);
}

static const idem_multipart_sink_t sink = { begin_part, add_content,
                                            end_piece };

idem_parts_t *idem_parts_create(const char *content_type, apr_pool_t *pool)
{
    idem_parts_t *parts = apr_pcalloc(pool, sizeof(*parts));

    parts->lexer = idem_multipart_create(content_type, &sink, parts, pool);
    if (!parts->lexer) {
        return NULL;
    }
    parts->failed = idem_hash_create(&parts->all, pool) != APR_SUCCESS
                    || idem_hash_create(&parts->piece, pool) != APR_SUCCESS;
    return parts;
}

void idem_parts_add(idem_parts_t *parts, const char *data, apr_size_t len)
{
    if (!parts->failed) {
        idem_multipart_add(parts->lexer, data, len);
    }
}

int idem_parts_end(idem_parts_t *parts, unsigned char *digest)
{
    return !parts->failed && idem_multipart_end(parts->lexer)
           && idem_hash_end(parts->all, digest) == APR_SUCCESS;
}
