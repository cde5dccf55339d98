/* idem_key.h: Idempotency-Key field value -> key text -> id of the record.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The field is an Item of RFC 9651 whose bare item is a String
 * (draft-ietf-httpapi-idempotency-key-header-07, section 2.1).
 */
#ifndef IDEM_KEY_H
#define IDEM_KEY_H

#include "mod_idempotency.h"

#define IDEM_KEY_LEN_MAX 1024 /* upper bound of IdempotencyKeyMaxLength */
#define IDEM_KEY_LEN_DEFAULT 255

typedef enum {
    IDEM_KEY_LENIENT, /* also the bare key that most clients send */
    IDEM_KEY_STRICT   /* only the quoted String */
} idem_key_syntax_t;

/**
 * Parse a field value.
 *
 * Quoted: a String of RFC 9651, parameters checked and dropped. Bare (lenient
 * only): first a letter, digit, '-' or '_', then those, the rest of tchar and
 * ": / = @". Both forms of one text give the same key.
 *
 * @param key     out: the text without quotes, from @a pool
 * @param why     out: on failure a sentence for the client that does not
 *                repeat the value; constant
 * @param value   the field value; several lines joined by a comma
 * @param len_max longest key, in bytes, 1..IDEM_KEY_LEN_MAX
 * @return APR_SUCCESS or APR_EINVAL
 */
apr_status_t idem_key_parse(const char **key, const char **why,
                            const char *value, idem_key_syntax_t syntax,
                            apr_size_t len_max, apr_pool_t *pool);

/**
 * Check a key that stands in a query, a form or JSON, where it needs no
 * quotes: visible characters of ASCII and spaces inside.
 * @param key     out: a copy of @a value from @a pool
 * @param why     out: on failure a sentence for the client; constant
 * @param len_max longest key, in bytes, 1..IDEM_KEY_LEN_MAX
 * @return APR_SUCCESS or APR_EINVAL
 */
apr_status_t idem_key_plain(const char **key, const char **why,
                            const char *value, apr_size_t len_max,
                            apr_pool_t *pool);

/** Keys the digest of ids with one secret. Opaque; not shared by threads. */
typedef struct idem_key_digest_t idem_key_digest_t;

/**
 * Start a digest of ids, HMAC-SHA-256 under @a secret of 1..64 bytes. Freed
 * with @a pool. Only after idem_hash_init().
 */
apr_status_t idem_key_digest_create(idem_key_digest_t **digest,
                                    const unsigned char *secret,
                                    apr_size_t len, apr_pool_t *pool);

/** Add a part; its length is part of the digest, so parts cannot run over. */
void idem_key_digest_add(idem_key_digest_t *digest, const void *part,
                         apr_size_t len);

/** Finish. @return APR_SUCCESS, or APR_EGENERAL if any step failed */
apr_status_t idem_key_digest_end(idem_key_digest_t *digest, idem_digest_t *id);

#endif /* IDEM_KEY_H */
