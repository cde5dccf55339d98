/* idem_text.h: text of requests and answers: a whole body, tokens, media
 * types, JSON strings.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IDEM_TEXT_H
#define IDEM_TEXT_H

#include "mod_idempotency.h"

/** Longest body that is parsed as a whole (JSON, and forms compared without
 * regard to order). */
#define IDEM_BODY_PARSE_MAX ((apr_size_t)1024 * 1024)

/** A body that has to be seen whole, kept up to that limit. */
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

/**
 * What stands between the quotes of a JSON string (RFC 8259 7). Bytes beyond
 * ASCII are written as escapes too, so that the result is JSON whatever they
 * are.
 * @param also  one more character to write as an escape; NUL: none
 */
const char *idem_text_json(const char *text, char also, apr_pool_t *pool);

/** How much of it, from its beginning, can be a token (RFC 9110 5.6.2). */
apr_size_t idem_text_token_len(const char *text);

/** Is it a token, such as the name of a field (RFC 9110 5.6.2)? */
int idem_text_is_token(const char *text);

/** Is the media type of this field value (NULL: none) @a type? Case and
 * parameters do not matter. */
int idem_text_is_type(const char *content_type, const char *type);

#endif /* IDEM_TEXT_H */
