/* idem_text.h: a body that has to be seen whole, kept up to a limit.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IDEM_TEXT_H
#define IDEM_TEXT_H

#include "mod_idempotency.h"

/** Longest body that is parsed as a whole (JSON, and forms compared without
 * regard to order). */
#define IDEM_BODY_PARSE_MAX ((apr_size_t)1024 * 1024)

typedef struct {
    char *data; /* ends in a NUL that len does not count; NULL: empty */
    apr_size_t len;
    apr_size_t room;
    int over; /* longer than IDEM_BODY_PARSE_MAX: nothing is kept */
    apr_pool_t *pool;
} idem_text_t;

/** Start empty; memory comes from @a pool. */
void idem_text_init(idem_text_t *text, apr_pool_t *pool);

/** The next bytes. */
void idem_text_add(idem_text_t *text, const char *data, apr_size_t len);

/** Is it a token, such as the name of a field (RFC 9110 5.6.2)? */
int idem_text_is_token(const char *text);

/** Is the media type of this field value (NULL: none) @a type? Case and
 * parameters do not matter. */
int idem_text_is_type(const char *content_type, const char *type);

#endif /* IDEM_TEXT_H */
