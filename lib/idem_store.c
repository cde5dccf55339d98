/* idem_store.c: the door to every store: arguments are checked here, once.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "mod_idempotency.h"

#include <string.h>

/* Ten years: a longer time to live is a mistake of units, and keeps every
 * sum of times far from overflow. */
#define TTL_MAX apr_time_from_sec((apr_time_t)10 * 366 * 24 * 3600)

static int is_time(apr_time_t now)
{
    return now >= 0 && now <= APR_INT64_MAX - TTL_MAX;
}

static int is_ttl(apr_interval_time_t ttl)
{
    return ttl > 0 && ttl <= TTL_MAX;
}

static int is_term(const idem_term_t *term)
{
    return term && is_time(term->now) && is_ttl(term->ttl)
           && term->tombstone >= 0 && term->tombstone <= TTL_MAX;
}

apr_status_t idem_store_claim(idem_store_t *store, idem_claim_t *claim,
                              idem_token_t *token, idem_blob_t *record,
                              const idem_ask_t *ask, apr_pool_t *pool)
{
    if (!store || !claim || !token || !record || !ask || !ask->id
        || !ask->print || !pool) {
        return APR_EINVAL;
    }
    if (!is_time(ask->now) || !is_ttl(ask->ttl) || ask->quota < 0
        || ask->quota > 100) {
        return APR_EINVAL;
    }
    memset(token, 0, sizeof(*token));
    record->data = NULL;
    record->len = 0;
    return store->calls->claim(store, claim, token, record, ask, pool);
}

/* The pieces may come from a configuration that allows more than memory. */
static int is_record(const struct iovec *vec, int nvec)
{
    apr_size_t len = 0;
    int i;

    if (nvec < 0 || (nvec > 0 && !vec)) {
        return 0;
    }
    for (i = 0; i < nvec; i++) {
        if (vec[i].iov_len > APR_SIZE_MAX - len
            || (vec[i].iov_len > 0 && !vec[i].iov_base)) {
            return 0;
        }
        len += vec[i].iov_len;
    }
    return 1;
}

apr_status_t idem_store_commit(idem_store_t *store, const idem_token_t *token,
                               idem_end_t end, const struct iovec *vec,
                               int nvec, const idem_term_t *term)
{
    if (!store || !token || !is_record(vec, nvec) || !is_term(term)) {
        return APR_EINVAL;
    }
    if (end == IDEM_END_UNKNOWN && nvec != 0) {
        return APR_EINVAL;
    }
    return store->calls->commit(store, token, end, vec, nvec, term);
}

apr_status_t idem_store_release(idem_store_t *store, const idem_token_t *token)
{
    if (!store || !token) {
        return APR_EINVAL;
    }
    return store->calls->release(store, token);
}

apr_status_t idem_store_abandon(idem_store_t *store, const idem_token_t *token,
                                apr_time_t now)
{
    if (!store || !token || !is_time(now)) {
        return APR_EINVAL;
    }
    return store->calls->abandon(store, token, now);
}

apr_status_t idem_store_forget(idem_store_t *store, const idem_digest_t *id)
{
    if (!store || !id) {
        return APR_EINVAL;
    }
    return store->calls->forget(store, id);
}

void idem_store_purge(idem_store_t *store, apr_time_t now)
{
    if (store && is_time(now)) {
        store->calls->purge(store, now);
    }
}

apr_size_t idem_store_record_max(const idem_store_t *store)
{
    return store ? store->calls->record_max(store) : 0;
}

void idem_store_usage(idem_store_t *store, idem_usage_t *usage)
{
    memset(usage, 0, sizeof(*usage));
    store->calls->usage(store, usage);
}

const char *idem_store_check(idem_store_t *store, apr_pool_t *pool)
{
    return store->calls->check(store, pool);
}

apr_time_t idem_store_now(const idem_store_t *store)
{
    return store->calls->now(store);
}

apr_status_t idem_store_look(idem_store_t *store, idem_entry_t *entry,
                             idem_blob_t *record, const idem_digest_t *id,
                             apr_pool_t *pool)
{
    if (!store || !entry || !record || !id || !pool) {
        return APR_EINVAL;
    }
    memset(entry, 0, sizeof(*entry));
    record->data = NULL;
    record->len = 0;
    return store->calls->look(store, entry, record, id, pool);
}

apr_status_t idem_store_list(idem_store_t *store, idem_entry_t *entries,
                             int *n, apr_uint64_t *cursor)
{
    if (!store || !entries || !n || *n < 1 || !cursor) {
        return APR_EINVAL;
    }
    return store->calls->list(store, entries, n, cursor);
}
