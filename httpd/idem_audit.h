/* idem_audit.h: the audit log: one line of JSON per decision.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IDEM_AUDIT_H
#define IDEM_AUDIT_H

#include "idem_httpd.h"

#define IDEM_AUDIT_DIGEST_LEN 16 /* bytes of a digest that are shown */

/** Room for such a digest as text, with its NUL. */
#define IDEM_AUDIT_TEXT (2 * IDEM_AUDIT_DIGEST_LEN + 1)

/** IdempotencyAuditLog. */
const char *idem_audit_set(cmd_parms *cmd, void *mconfig, const char *where,
                           const char *option);

/** Hook: opens file or program, in the parent, before children exist. */
int idem_audit_open(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp,
                    server_rec *s);

/** With the id: whose request it is, while that can be told. */
void idem_audit_principal(idem_ctx_t *ctx, request_rec *r);

/** A record is told of: from which request it is, for log and environment. */
void idem_audit_original(idem_ctx_t *ctx, request_rec *r,
                         const idem_record_t *record);

/** The request ended: write what became of it. */
void idem_audit_request(idem_ctx_t *ctx, request_rec *r);

/**
 * Write that an administrator changed something. Does nothing without
 * IdempotencyAuditLog; never blocks.
 * @param r       the administrator's request: its user, address and
 *                UNIQUE_ID are written
 * @param action  what was done, one word: "release", "purge"
 * @param host    the virtual host it was done to; NULL: all
 * @param id      the record; NULL: more than one, or none
 * @param was     state of the record before, one word; NULL: none
 * @param count   how many records it was done to
 */
void idem_audit_admin(request_rec *r, const char *action, const char *host,
                      const idem_digest_t *id, const char *was,
                      apr_uint64_t count);

/**
 * The digest of a key as the member "key" of the audit log has it: for who
 * looks for a key in the log, which holds no key text unless told so.
 * @param text  out: hexadecimal digits
 * @param host  idem_srv_conf_t.host of the virtual host
 * @return APR_SUCCESS; APR_EGENERAL without a store, or if OpenSSL failed
 */
apr_status_t idem_audit_key(char text[IDEM_AUDIT_TEXT], const char *host,
                            const char *key, apr_pool_t *pool);

#endif /* IDEM_AUDIT_H */
