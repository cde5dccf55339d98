/* idem_json.h: a JSON body -> its canonical form, or one string of it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * json-c parses. It is lax where two readers of one body may come to two
 * results; what is below is refused before, so that a body either has one
 * meaning or none:
 *
 *   - members of one object that have the same name (json-c keeps the last)
 *   - a name with U+0000 in it (json-c cuts it there)
 *   - escapes of half a surrogate pair (json-c makes U+FFFD of them all)
 *   - names in single quotes, NaN, Infinity, 01, 1., raw control characters
 *   - more than is parsed in small memory: depth, containers, values
 */
#ifndef IDEM_JSON_H
#define IDEM_JSON_H

#include "idem_hash.h"

#define IDEM_JSON_DEPTH_MAX 64 /* containers in one another */
/* A container of json-c takes up to 1 KiB, a member 100 bytes. */
#define IDEM_JSON_CONTAINERS_MAX 10000
#define IDEM_JSON_VALUES_MAX 100000

/** A body that was parsed. Opaque; freed with its pool. */
typedef struct idem_json_t idem_json_t;

/** application/json and all types that end in +json (RFC 6839). */
int idem_json_is_type(const char *content_type);

/** Is it a JSON pointer (RFC 6901), other than the one to the whole? */
int idem_json_is_pointer(const char *text);

/**
 * Parse.
 * @param text  has to live as long as the result
 * @return from @a pool; NULL if it is not JSON with one meaning
 */
idem_json_t *idem_json_create(const char *text, apr_size_t len,
                              apr_pool_t *pool);

/**
 * The string that a pointer leads to.
 * @param value  out: owned by @a json
 * @return APR_SUCCESS; APR_NOTFOUND; APR_EINVAL if it is something else than
 *         a string, null too, or has U+0000 in it
 */
apr_status_t idem_json_string(const char **value, const idem_json_t *json,
                              const char *pointer);

/**
 * Add the canonical form to a digest: members in the order of their names,
 * no white space, strings without escapes, numbers as they are written.
 */
void idem_json_hash(const idem_json_t *json, idem_hash_t *hash);

#endif /* IDEM_JSON_H */
