/* idem_hash.h: SHA-256 of many small pieces.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Pieces are gathered before OpenSSL sees them: a call of it costs more than
 * the bytes of a short piece.
 */
#ifndef IDEM_HASH_H
#define IDEM_HASH_H

#include "mod_idempotency.h"

/** A digest being made. Opaque; not shared by threads. */
typedef struct idem_hash_t idem_hash_t;

/** Once per process, before any digest: fetches what OpenSSL has. */
apr_status_t idem_hash_init(void);

/** Start. Freed with @a pool. @return APR_SUCCESS or APR_EGENERAL */
apr_status_t idem_hash_create(idem_hash_t **hash, apr_pool_t *pool);

/** Add bytes. A failure is told at the end. */
void idem_hash_add(idem_hash_t *hash, const void *data, apr_size_t len);

/** Add a piece preceded by its length, so that pieces cannot run over. */
void idem_hash_piece(idem_hash_t *hash, const void *data, apr_size_t len);

/**
 * Finish, and start anew.
 * @param digest  out: IDEM_DIGEST_LEN bytes
 * @return APR_SUCCESS, or APR_EGENERAL if any step failed
 */
apr_status_t idem_hash_end(idem_hash_t *hash, unsigned char *digest);

#endif /* IDEM_HASH_H */
