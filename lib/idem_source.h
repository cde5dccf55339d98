/* idem_source.h: where a key may stand, and finding it in query and body.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IDEM_SOURCE_H
#define IDEM_SOURCE_H

#include <apr_tables.h>

#include "idem_text.h"

typedef enum {
    IDEM_SOURCE_HEADER,
    IDEM_SOURCE_QUERY,
    IDEM_SOURCE_FORM, /* urlencoded or multipart/form-data */
    IDEM_SOURCE_JSON  /* a JSON pointer (RFC 6901) */
} idem_source_kind_t;

typedef struct {
    idem_source_kind_t kind;
    const char *name; /* points into the text that was parsed */
} idem_source_t;

/**
 * Parse "header:NAME", "query:NAME", "form:NAME" or "json:/pointer".
 * @param text  has to live as long as the source
 * @return APR_SUCCESS; APR_EINVAL if it is none of these, its name is empty
 *         or longer than IDEM_WANTED_NAME_MAX (255), a header's name is no
 *         token, or the pointer is none
 */
apr_status_t idem_source_parse(idem_source_t *source, const char *text);

/** For people: "the field A or the query parameter b". */
const char *idem_source_names(const apr_array_header_t *sources,
                              apr_pool_t *pool);

/**
 * The value of a field of a query string, decoded.
 * @param value  out: from @a pool
 * @param why    out: on APR_EINVAL a sentence for the client that does not
 *               repeat the value; constant
 * @param query  what stands behind the "?"; NULL: there is none
 * @return APR_SUCCESS; APR_NOTFOUND; APR_EINVAL if the field is there twice
 *         with different values, its value has an escape that is none, or a
 *         NUL in it, or is longer than 4096 bytes
 */
apr_status_t idem_source_query(const char **value, const char **why,
                               const char *query, const char *name,
                               apr_pool_t *pool);

/** Can a body of this Content-Type (NULL: none) hold any of the sources? */
int idem_seek_is_possible(const apr_array_header_t *sources,
                          const char *content_type);

/** Looks for keys in a body as it streams. Opaque. */
typedef struct idem_seek_t idem_seek_t;

/**
 * Start looking.
 *
 * Forms of any size take constant memory. A part of a multipart form that
 * has a file name is never a key. A JSON body is kept, up to
 * IDEM_BODY_PARSE_MAX.
 *
 * @param sources  of idem_source_t, the first that is present wins; has to
 *                 live as long as the result
 * @return from @a pool; NULL if no body of this type can hold any of them
 */
idem_seek_t *idem_seek_create(const apr_array_header_t *sources,
                              const char *content_type, apr_pool_t *pool);

/** The next bytes of the body. */
void idem_seek_add(idem_seek_t *seek, const char *data, apr_size_t len);

/**
 * The end of the body.
 * @param value  out: from the pool of create()
 * @param which  out: the index of its source; on APR_EINVAL of the one that
 *               failed, which is the first if the whole body did
 * @param why    out: on APR_EINVAL a sentence for the client; constant
 * @return APR_SUCCESS; APR_NOTFOUND; APR_EINVAL if it cannot be said which
 *         value the application will see, or whether there is one: the field
 *         twice with different values, an escape that is none, a JSON value
 *         that is no string, a body that is malformed or too long to parse
 */
apr_status_t idem_seek_end(const char **value, int *which, const char **why,
                           idem_seek_t *seek);

#endif /* IDEM_SOURCE_H */
