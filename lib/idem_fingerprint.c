/* idem_fingerprint.c: method, target, chosen fields and body -> digest.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   SHA-256( for each part: name, value; "raw" or "multipart"; digest )
 *
 * The body has a digest of its own, so that what kind it is can be said when
 * its end is known. Every piece is preceded by its length.
 */
#include "idem_fingerprint.h"

#include <string.h>

#include <openssl/evp.h>

#include "idem_multipart.h"

struct idem_fingerprint_t {
    EVP_MD_CTX *head;
    EVP_MD_CTX *raw;
    idem_multipart_t *parts; /* NULL: compared byte for byte */
    int failed;
};

/* Fetched once: a fetch takes locks and is slow. Never freed, as the child
 * needs it to its end. */
static EVP_MD *sha256;

apr_status_t idem_fingerprint_init(void)
{
    if (!sha256) {
        sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    }
    return sha256 ? APR_SUCCESS : APR_EGENERAL;
}

static apr_status_t free_digests(void *data)
{
    idem_fingerprint_t *print = data;

    EVP_MD_CTX_free(print->head);
    EVP_MD_CTX_free(print->raw);
    return APR_SUCCESS;
}

apr_status_t idem_fingerprint_create(idem_fingerprint_t **print,
                                     const char *content_type,
                                     apr_pool_t *pool)
{
    idem_fingerprint_t *made = apr_pcalloc(pool, sizeof(*made));

    made->head = EVP_MD_CTX_new();
    made->raw = EVP_MD_CTX_new();
    apr_pool_cleanup_register(pool, made, free_digests, apr_pool_cleanup_null);
    if (!made->head || !made->raw
        || EVP_DigestInit_ex2(made->head, sha256, NULL) != 1
        || EVP_DigestInit_ex2(made->raw, sha256, NULL) != 1) {
        return APR_EGENERAL;
    }
    made->parts = idem_multipart_create(content_type, sha256, pool);
    *print = made;
    return APR_SUCCESS;
}

static void put(idem_fingerprint_t *print, const void *data, apr_size_t len)
{
    unsigned char raw[8];
    int i;

    for (i = 0; i < 8; i++) {
        raw[i] = (unsigned char)((apr_uint64_t)len >> (8 * i));
    }
    print->failed |= EVP_DigestUpdate(print->head, raw, sizeof(raw)) != 1
                     || EVP_DigestUpdate(print->head, data, len) != 1;
}

void idem_fingerprint_add(idem_fingerprint_t *print, const char *name,
                          const char *value)
{
    put(print, name, strlen(name));
    /* An absent field is not an empty one. */
    put(print, value ? "+" : "-", 1);
    put(print, value ? value : "", value ? strlen(value) : 0);
}

void idem_fingerprint_body(idem_fingerprint_t *print, const char *data,
                           apr_size_t len)
{
    print->failed |= EVP_DigestUpdate(print->raw, data, len) != 1;
    if (print->parts) {
        idem_multipart_add(print->parts, data, len);
    }
}

apr_status_t idem_fingerprint_end(idem_fingerprint_t *print,
                                  idem_digest_t *digest)
{
    unsigned char body[EVP_MAX_MD_SIZE];
    unsigned int len = 0;

    if (print->parts && idem_multipart_end(print->parts, body)) {
        put(print, "multipart", strlen("multipart"));
    }
    else {
        put(print, "raw", strlen("raw"));
        print->failed |= EVP_DigestFinal_ex(print->raw, body, &len) != 1;
    }
    put(print, body, IDEM_DIGEST_LEN);
    print->failed |= EVP_DigestFinal_ex(print->head, digest->bytes, &len) != 1;
    return print->failed ? APR_EGENERAL : APR_SUCCESS;
}
