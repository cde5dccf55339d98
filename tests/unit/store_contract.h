/* store_contract.h: what every store has to do, whatever it is made of.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STORE_CONTRACT_H
#define STORE_CONTRACT_H

#include "idem_test.h"

#include "mod_idempotency.h"

#define TTL apr_time_from_sec(60)
#define HOST 0x17654321u /* digest of the usual virtual host */

/** The store under test, ready for claims of this process, from @a pool. */
idem_store_t *contract_store(apr_pool_t *pool);

/** The same in a new child process: enter it. */
void contract_child(idem_store_t *store);

/** In the parent: a child has ended. */
void contract_child_ended(idem_store_t *store, pid_t pid);

/* ---- short forms, store_ask.c */

/** A digest that is @a n's own. */
idem_digest_t digest(apr_uint32_t n);

/** Claim id n with print p. */
apr_status_t ask_at(idem_store_t *store, apr_uint32_t n, apr_uint32_t p,
                    int rerun, apr_time_t now, idem_claim_t *claim,
                    idem_token_t *token, idem_blob_t *record,
                    apr_pool_t *pool);
/** The same; it must succeed. */
idem_claim_t claim_at(idem_store_t *store, apr_uint32_t n, apr_uint32_t p,
                      apr_time_t now, idem_token_t *token, idem_blob_t *record,
                      apr_pool_t *pool);
apr_status_t try_claim(idem_store_t *store, apr_uint32_t n, apr_uint32_t host,
                       int quota, apr_time_t now, idem_claim_t *claim,
                       idem_token_t *token, apr_pool_t *pool);
apr_status_t commit_text(idem_store_t *store, const idem_token_t *token,
                         const char *text, apr_time_t now);
/** Claim and commit @a len bytes that depend on n. */
apr_status_t put(idem_store_t *store, apr_uint32_t n, apr_size_t len,
                 apr_time_t now, apr_pool_t *pool);
/** The same, and a tombstone afterwards. */
apr_status_t put_for(idem_store_t *store, apr_uint32_t n, apr_size_t len,
                     apr_time_t now, apr_interval_time_t tombstone,
                     apr_pool_t *pool);
/** Are these the bytes of put()? */
int is_put(const idem_blob_t *record, apr_uint32_t n);
void assert_whole(idem_store_t *store, apr_pool_t *pool);

/** How far times may be from what the caller said: a store that counts time
 *  itself does not know the caller's. */
extern const apr_interval_time_t contract_slack;

/** Does its usage() count records by state? */
extern const int contract_counts;

/** Run all of them. @return how many failed */
int contract_run(void);

/** Those that can be asked of a store that counts time itself and has no
 *  size of its own. @return how many failed */
int contract_run_own_clock(void);

/* ---- the groups, a file each */

extern const struct CMUnitTest contract_tests[];
extern const size_t contract_ntests;
extern const struct CMUnitTest contract_room_tests[];
extern const size_t contract_room_ntests;
extern const struct CMUnitTest contract_look_tests[];
extern const size_t contract_look_ntests;
extern const struct CMUnitTest contract_tomb_tests[];
extern const size_t contract_tomb_ntests;

/* Parts of the two last, for contract_run_own_clock(). */
extern const struct CMUnitTest contract_race_tests[];
extern const size_t contract_race_ntests;
extern const struct CMUnitTest contract_list_tests[];
extern const size_t contract_list_ntests;

#endif /* STORE_CONTRACT_H */
