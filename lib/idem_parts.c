/* idem_parts.c: a multipart body -> digest of its parts, as it streams.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   SHA-256( for each part: SHA-256(header block), SHA-256(content) )
 *
 * Digests of digests, so that no length has to be known beforehand.
 */
#include "idem_parts.h"

#include "idem_multipart.h"

struct idem_parts_t {
    const EVP_MD *sha256;
    idem_multipart_t *lexer;
    EVP_MD_CTX *all;
    EVP_MD_CTX *piece;
    int failed;
};

static void end_piece(void *baton)
{
    idem_parts_t *parts = baton;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int len = 0;

    parts->failed |=
        EVP_DigestFinal_ex(parts->piece, digest, &len) != 1
        || EVP_DigestUpdate(parts->all, digest, len) != 1
        || EVP_DigestInit_ex2(parts->piece, parts->sha256, NULL) != 1;
}

static void add_content(void *baton, const char *data, apr_size_t len)
{
    idem_parts_t *parts = baton;

    parts->failed |= EVP_DigestUpdate(parts->piece, data, len) != 1;
}

static void begin_part(void *baton, const char *headers, apr_size_t len)
{
    add_content(baton, headers, len);
    end_piece(baton);
}

static const idem_multipart_sink_t sink = { begin_part, add_content,
                                            end_piece };

static apr_status_t free_digests(void *data)
{
    idem_parts_t *parts = data;

    EVP_MD_CTX_free(parts->all);
    EVP_MD_CTX_free(parts->piece);
    return APR_SUCCESS;
}

idem_parts_t *idem_parts_create(const char *content_type, const EVP_MD *sha256,
                                apr_pool_t *pool)
{
    idem_parts_t *parts = apr_pcalloc(pool, sizeof(*parts));

    parts->lexer = idem_multipart_create(content_type, &sink, parts, pool);
    if (!parts->lexer) {
        return NULL;
    }
    parts->sha256 = sha256;
    parts->all = EVP_MD_CTX_new();
    parts->piece = EVP_MD_CTX_new();
    apr_pool_cleanup_register(pool, parts, free_digests,
                              apr_pool_cleanup_null);
    if (!parts->all || !parts->piece
        || EVP_DigestInit_ex2(parts->all, sha256, NULL) != 1
        || EVP_DigestInit_ex2(parts->piece, sha256, NULL) != 1) {
        parts->failed = 1;
    }
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
    unsigned int len = 0;

    return !parts->failed && idem_multipart_end(parts->lexer)
           && EVP_DigestFinal_ex(parts->all, digest, &len) == 1
           && len == IDEM_DIGEST_LEN;
}
