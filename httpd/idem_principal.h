/* idem_principal.h: whose key it is; virtual host, principal and key -> id.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IDEM_PRINCIPAL_H
#define IDEM_PRINCIPAL_H

#include "idem_httpd.h"

/**
 * Where the parts of a principal get their values: from a request, or from
 * what an administrator wrote. Absent values are NULL.
 */
typedef struct {
    const char *user;
    const apr_table_t *fields; /* of the request */
    const char *ip;
    const char *tls;  /* the client's certificate, as PEM */
    const char *expr; /* only where there is no request to evaluate for */
    request_rec *r;   /* NULL: nothing else can be asked */
} idem_who_t;

/**
 * The id of a record.
 * @param host   stable name of the virtual host, as in idem_srv_conf_t
 * @param parts  of idem_principal_t
 * @return APR_SUCCESS, or APR_EGENERAL: the digest or an expression failed
 */
apr_status_t idem_principal_id(idem_digest_t *id, const char *host,
                               const apr_array_header_t *parts,
                               const idem_who_t *who, const char *key,
                               apr_pool_t *pool);

/** How an IdempotencyPrincipal would write these parts. */
const char *idem_principal_str(const apr_array_header_t *parts,
                               apr_pool_t *pool);

/** The other way round. @return NULL if a word is no part */
const apr_array_header_t *idem_principal_parse(const char *text,
                                               apr_pool_t *pool);

/**
 * Take what an administrator says of a principal, such as "user:alice",
 * "cookie:PHPSESSID=xyz" or "header:X-Account=7".
 * @param who   in and out: starts as all zero, with an empty table
 * @param parts those of the virtual host: others are refused
 * @return NULL, or what is wrong and what would do, from @a pool
 */
const char *idem_principal_take(idem_who_t *who, apr_table_t *fields,
                                const apr_array_header_t *parts,
                                const char *text, apr_pool_t *pool);

#endif /* IDEM_PRINCIPAL_H */
