/* idem_admin.h: single keys: what an administrator may ask and do.
 * SPDX-License-Identifier: Apache-2.0
 *
 * All of it is behind IdempotencyAdmin On; idem_page.c sees to that.
 */
#ifndef IDEM_ADMIN_H
#define IDEM_ADMIN_H

#include "idem_page.h"

/** An action that runs. */
typedef struct {
    request_rec *r;
    const apr_table_t *params;
} idem_admin_t;

/** A virtual host that is meant. */
typedef struct {
    server_rec *s; /* NULL: not configured any more */
    apr_uint32_t sum;
} idem_admin_host_t;

/** Which records are meant. */
typedef struct {
    const apr_array_header_t *hosts; /* idem_admin_host_t; NULL: all */
    int any_life;
    idem_life_t life;
    apr_interval_time_t older; /* 0: of any age */
    apr_time_t now;            /* of the store */
} idem_admin_which_t;

/** Run an action. @return what the handler has to return */
int idem_admin_run(request_rec *r, const char *action,
                   const apr_table_t *params);

/* ---- idem_admin_find.c: what parameters name
 *
 * Each returns OK; or DONE after it has answered with a refusal. */

/**
 * The virtual hosts that parameter host names: as name and port, or as "sum:"
 * and a digest as in list; as ServerName or ServerAlias, which several may
 * have.
 * @param hosts  out: of idem_admin_host_t, at least one
 */
int idem_admin_hosts(idem_admin_t *admin, const apr_array_header_t **hosts);

/** Parameters host, state and older. */
int idem_admin_which(idem_admin_t *admin, idem_admin_which_t *which);
int idem_admin_is_meant(const idem_admin_which_t *which,
                        const idem_entry_t *entry);

/**
 * The ids that a record may have which parameters id, or host, key, principal
 * and parts name.
 * @param ids  out: of idem_digest_t; more than one where host names several
 * @param how  out: for who finds nothing: what was taken for the principal;
 *             NULL if an id was given
 */
int idem_admin_ids(idem_admin_t *admin, const apr_array_header_t **ids,
                   const char **how);

const char *idem_admin_life_str(idem_life_t life);

/** An id as 64 hexadecimal digits. */
const char *idem_admin_hex(const idem_digest_t *id, apr_pool_t *pool);

/** @return NULL for a virtual host that is not configured any more */
const char *idem_admin_label(apr_uint32_t host);

/* ---- idem_admin_list.c: actions on many records */

/** Members that every record has; the object is the caller's. */
void idem_admin_entry(idem_out_t *out, const idem_entry_t *entry);
/** What is recorded of the answer: no body, no value of a field. */
void idem_admin_answer(idem_out_t *out, const idem_blob_t *blob, int fields);
int idem_admin_list(idem_admin_t *admin);
int idem_admin_export(idem_admin_t *admin);
int idem_admin_purge(idem_admin_t *admin);

/* ---- idem_admin_token.c: requests that change something */

int idem_admin_token(idem_admin_t *admin);
/** Was this sent on purpose, by who may? @return OK or DONE as above */
int idem_admin_is_meant_so(idem_admin_t *admin);

#endif /* IDEM_ADMIN_H */
