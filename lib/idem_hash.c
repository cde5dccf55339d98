/* idem_hash.c: SHA-256 of many small pieces.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_hash.h"

#include <string.h>

#include <openssl/evp.h>

struct idem_hash_t {
    EVP_MD_CTX *ctx;
    int begun; /* ctx was initialised for this digest */
    int failed;
    apr_size_t len; /* bytes in room */
    unsigned char room[512];
};

/* Fetched once: a fetch takes locks and is slow. Never freed, as the child
 * needs it to its end; OpenSSL holds it anyway. */
static EVP_MD *sha256;

apr_status_t idem_hash_init(void)
{
    if (!sha256) {
        sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    }
    return sha256 ? APR_SUCCESS : APR_EGENERAL;
}

static apr_status_t free_ctx(void *ctx)
{
    EVP_MD_CTX_free(ctx);
    return APR_SUCCESS;
}

apr_status_t idem_hash_create(idem_hash_t **hash, apr_pool_t *pool)
{
    idem_hash_t *made = apr_palloc(pool, sizeof(*made));

    made->ctx = sha256 ? EVP_MD_CTX_new() : NULL;
    if (!made->ctx) {
        return APR_EGENERAL;
    }
    apr_pool_cleanup_register(pool, made->ctx, free_ctx,
                              apr_pool_cleanup_null);
    made->begun = 0;
    made->failed = 0;
    made->len = 0;
    *hash = made;
    return APR_SUCCESS;
}

static void pass_on(idem_hash_t *hash, const void *data, apr_size_t len)
{
    if (!hash->begun) {
        hash->failed |= EVP_DigestInit_ex2(hash->ctx, sha256, NULL) != 1;
        hash->begun = 1;
    }
    hash->failed |= EVP_DigestUpdate(hash->ctx, data, len) != 1;
}

void idem_hash_add(idem_hash_t *hash, const void *data, apr_size_t len)
{
    if (len > sizeof(hash->room) - hash->len) {
        pass_on(hash, hash->room, hash->len);
        hash->len = 0;
        if (len > sizeof(hash->room)) {
            pass_on(hash, data, len);
            return;
        }
    }
    if (len > 0) {
        memcpy(hash->room + hash->len, data, len);
        hash->len += len;
    }
}

void idem_hash_piece(idem_hash_t *hash, const void *data, apr_size_t len)
{
    apr_uint64_t n = len;
    const unsigned char head[8] = {
        (unsigned char)n,         (unsigned char)(n >> 8),
        (unsigned char)(n >> 16), (unsigned char)(n >> 24),
        (unsigned char)(n >> 32), (unsigned char)(n >> 40),
        (unsigned char)(n >> 48), (unsigned char)(n >> 56),
    };

    idem_hash_add(hash, head, sizeof(head));
    idem_hash_add(hash, data, len);
}

apr_status_t idem_hash_end(idem_hash_t *hash, unsigned char *digest)
{
    unsigned int len = 0;
    int failed;

    pass_on(hash, hash->room, hash->len);
    failed = hash->failed || EVP_DigestFinal_ex(hash->ctx, digest, &len) != 1
             || len != IDEM_DIGEST_LEN;
    hash->begun = 0;
    hash->failed = 0;
    hash->len = 0;
    return failed ? APR_EGENERAL : APR_SUCCESS;
}
