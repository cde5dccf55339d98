/* idem_shm_claim.c: the store in shared memory: claim.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_shm.h"

#include <string.h>

/* Parts of a shard, and of a quota, that claims leave to the answers of those
 * who run already: to be refused is better than to run and not be kept. */
#define RESERVE_PART 64u
#define QUOTA_PART 8u
/* Lines of the cache that a look-up asks for ahead: a head and 512 bytes. */
#define WARM_LINES 10
/* A chain that is longer is walked under the lock. */
#define PEEK_STEPS 16
/* A record changes under a reader's hands only by expiry or release. */
#define COPY_TRIES 16

static int has_room(const idem_shm_part_t *part, apr_uint32_t row)
{
    apr_uint32_t keep = part->nunits / RESERVE_PART + IDEM_SHM_HEAD;
    apr_uint64_t most = idem_shm_part_quota(part, row);

    if (most != APR_UINT32_MAX) {
        most -= most / QUOTA_PART;
    }
    return part->shard->free_units >= keep
           && (apr_uint64_t)part->rows[row].units + IDEM_SHM_HEAD <= most;
}

/* Fill a head whose state is FREE; the state comes last. */
static void write_head(const idem_shm_store_t *shm,
                       const idem_shm_part_t *part, apr_uint32_t unit,
                       const idem_ask_t *ask, idem_token_t *token)
{
    idem_shm_head_t *head = idem_shm_part_head(part, unit);

    head->id = *ask->id;
    head->print = *ask->print;
    head->fence = ++part->shard->fence;
    head->created = idem_shm_sec(ask->now);
    head->until = 0;
    head->expires = apr_time_from_sec((apr_time_t)head->created) + ask->ttl;
    head->host = ask->host;
    head->is.owner = shm->owner;
    head->len = 0;
    head->ident = idem_shm_sum_ident(head);
    token->fence = head->fence;
    token->owner = shm->owner;
    token->place = unit;
    token->id = *ask->id;
    idem_shm_part_set_state_locked(part, head, IDEM_SHM_EXECUTING);
}

static apr_status_t new_locked(const idem_shm_store_t *shm,
                               const idem_shm_part_t *part,
                               const idem_ask_t *ask, idem_token_t *token)
{
    apr_uint32_t unit = IDEM_SHM_NONE;
    int tries;

    for (tries = 0; tries < 2 && unit == IDEM_SHM_NONE; tries++) {
        apr_uint32_t row;

        if (tries > 0) {
            idem_shm_purge_locked(shm, part, ask->now);
        }
        row = idem_shm_part_row_locked(part, ask->host);
        part->rows[row].quota = (apr_uint32_t)ask->quota;
        if (has_room(part, row)) {
            unit = idem_shm_part_take_head_locked(part, row);
        }
    }
    if (unit == IDEM_SHM_NONE) {
        part->shard->refused++;
        return APR_ENOSPC;
    }
    write_head(shm, part, unit, ask, token);
    idem_shm_part_link_locked(part, unit);
    return APR_SUCCESS;
}

/* What is there in force? Settles the claim of a dead process and ends what
 * has expired, so that both end to the microsecond whenever a purge comes. */
static apr_status_t find_live_locked(const idem_shm_store_t *shm,
                                     const idem_shm_part_t *part,
                                     const idem_digest_t *id, apr_time_t now,
                                     apr_uint32_t *unit)
{
    apr_status_t rv = idem_shm_find_locked(part, id, unit);
    idem_shm_head_t *head;

    if (rv != APR_SUCCESS || *unit == IDEM_SHM_NONE) {
        return rv;
    }
    head = idem_shm_part_head(part, *unit);
    if (head->state == IDEM_SHM_EXECUTING) {
        if (!idem_shm_is_alive(shm, head)) {
            idem_shm_set_unknown_locked(part, head, now + idem_shm_ttl(head));
        }
    }
    else if (idem_shm_expire_locked(part, *unit, now)) {
        *unit = IDEM_SHM_NONE;
    }
    return APR_SUCCESS;
}

/* The new claim stands before the old record goes: a death in between leaves
 * both, and the repair keeps the later one. Never is the id forgotten. */
static apr_status_t rerun_locked(const idem_shm_store_t *shm,
                                 const idem_shm_part_t *part,
                                 const idem_ask_t *ask, idem_claim_t *claim,
                                 idem_token_t *token, apr_uint32_t old)
{
    apr_status_t rv = new_locked(shm, part, ask, token);

    if (rv == APR_SUCCESS) {
        idem_shm_part_free_locked(part, old);
        *claim = IDEM_CLAIM_NEW;
    }
    return rv;
}

/* A tombstone has only some bytes of the fingerprint: they tell whether a
 * client reused its key or came late. Neither is run. */
static int is_same(const idem_shm_head_t *head, const idem_digest_t *print)
{
    if (head->state == IDEM_SHM_EXPIRED) {
        return memcmp(head->tomb.print, print, IDEM_SHM_PRINT) == 0;
    }
    return memcmp(&head->print, print, sizeof(*print)) == 0;
}

static apr_status_t claim_locked(const idem_shm_store_t *shm,
                                 const idem_shm_part_t *part,
                                 const idem_ask_t *ask, idem_claim_t *claim,
                                 idem_token_t *token, idem_shm_found_t *found)
{
    idem_shm_head_t *head;
    apr_status_t rv =
        find_live_locked(shm, part, ask->id, ask->now, &found->unit);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (found->unit == IDEM_SHM_NONE) {
        *claim = IDEM_CLAIM_NEW;
        return new_locked(shm, part, ask, token);
    }
    head = idem_shm_part_head(part, found->unit);
    found->head = *head;
    if (!is_same(head, ask->print)) {
        *claim = IDEM_CLAIM_REUSED;
        return APR_SUCCESS;
    }
    switch (head->state) {
    case IDEM_SHM_EXECUTING:
        *claim = IDEM_CLAIM_IN_PROGRESS;
        return APR_SUCCESS;
    case IDEM_SHM_DONE:
        *claim = IDEM_CLAIM_DONE;
        return APR_SUCCESS;
    case IDEM_SHM_NOT_RETAINED:
        *claim = IDEM_CLAIM_NOT_RETAINED;
        return APR_SUCCESS;
    case IDEM_SHM_EXPIRED:
        *claim = IDEM_CLAIM_EXPIRED;
        return APR_SUCCESS;
    case IDEM_SHM_UNKNOWN:
        *claim = IDEM_CLAIM_UNKNOWN;
        return ask->rerun_unknown
                   ? rerun_locked(shm, part, ask, claim, token, found->unit)
                   : APR_SUCCESS;
    default:
        return APR_EGENERAL;
    }
}

/* A record that is damaged was executed, and nobody can say any more what
 * the answer was. */
static apr_status_t spoil(const idem_shm_store_t *shm, apr_uint32_t i,
                          const idem_shm_found_t *found)
{
    const idem_shm_part_t *part = &shm->parts[i];
    idem_shm_head_t *head = idem_shm_part_head(part, found->unit);
    apr_status_t rv = idem_shm_enter(shm, i, IDEM_SHM_LOCK_WAIT);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (part->map[found->unit] == IDEM_SHM_MAP_HEAD
        && head->fence == found->head.fence
        && head->state == found->head.state) {
        idem_shm_set_unknown_locked(
            part, head,
            apr_time_from_sec((apr_time_t)head->created) + idem_shm_ttl(head));
    }
    idem_shm_leave(shm, i);
    return APR_SUCCESS;
}

/* In a large store each step of a look-up waits for memory. Head and body
 * are asked for at once: a body lies behind its head more often than not. */
static void warm(const idem_shm_head_t *head)
{
    const char *p = (const char *)head;
    int i;

    for (i = 0; i < WARM_LINES; i++) {
        __builtin_prefetch(p + i * (int)IDEM_SHM_UNIT);
    }
}

/*
 * Look for a record that is done, without the lock: replays do not wait for
 * each other. All that is read here may be changing; what makes it sound is
 * that nothing is believed before it proves itself. The copy of the head has
 * to match its ident, so it is of one piece; the body has to match a sum
 * that covers the fence; and idem_shm_copy_out() looks last of all whether the
 * head is still done under this fence. Anything else is left to the lock.
 */
static int peek(const idem_shm_part_t *part, const idem_ask_t *ask,
                idem_shm_found_t *found)
{
    apr_uint32_t bucket = idem_shm_part_bucket(part, ask->id);
    apr_uint32_t ref =
        __atomic_load_n(&part->buckets[bucket], __ATOMIC_RELAXED);
    int steps;

    for (steps = 0; ref != 0 && steps < PEEK_STEPS; steps++) {
        const idem_shm_head_t *head;

        if (ref >= part->nunits) {
            return 0;
        }
        head = idem_shm_part_head(part, ref - 1);
        warm(head);
        if (memcmp(&head->id, ask->id, sizeof(head->id)) == 0) {
            found->unit = ref - 1;
            found->head = *head;
            __atomic_thread_fence(__ATOMIC_ACQUIRE);
            head = &found->head;
            return head->state == IDEM_SHM_DONE && head->expires > ask->now
                   && memcmp(&head->id, ask->id, sizeof(head->id)) == 0
                   && memcmp(&head->print, ask->print, sizeof(head->print))
                          == 0
                   && head->ident == idem_shm_sum_ident(head);
        }
        ref = __atomic_load_n(&head->next, __ATOMIC_RELAXED);
    }
    return 0;
}

/* A claim that cannot be put on disk is none. */
static apr_status_t secure_claim(idem_shm_store_t *shm,
                                 const idem_token_t *token)
{
    apr_status_t rv =
        idem_shm_sync_head(shm, &shm->parts[token->shard], token->place);

    if (rv != APR_SUCCESS) {
        (void)idem_shm_release(&shm->base, token);
    }
    return rv;
}

apr_status_t idem_shm_claim(idem_store_t *store, idem_claim_t *claim,
                            idem_token_t *token, idem_blob_t *record,
                            const idem_ask_t *ask, apr_pool_t *pool)
{
    idem_shm_store_t *shm = (idem_shm_store_t *)store;
    apr_uint32_t i = idem_shm_shard_of(shm, ask->id);
    idem_claim_t what = IDEM_CLAIM_IN_PROGRESS;
    idem_shm_found_t found;
    apr_status_t rv;
    int tries;

    if (shm->owner == 0) {
        return APR_EGENERAL;
    }
    token->shard = i;
    if (peek(&shm->parts[i], ask, &found)
        && idem_shm_copy_out(&shm->parts[i], &found, record, pool)
               == APR_SUCCESS) {
        *claim = IDEM_CLAIM_DONE;
        return APR_SUCCESS;
    }
    for (tries = 0; tries < COPY_TRIES; tries++) {
        rv = idem_shm_enter(shm, i, IDEM_SHM_LOCK_WAIT);
        if (rv != APR_SUCCESS) {
            return rv;
        }
        rv = claim_locked(shm, &shm->parts[i], ask, &what, token, &found);
        idem_shm_leave(shm, i);
        if (rv == APR_SUCCESS && what == IDEM_CLAIM_NEW) {
            rv = secure_claim(shm, token);
        }
        if (rv != APR_SUCCESS) {
            return rv;
        }
        if (what != IDEM_CLAIM_DONE && what != IDEM_CLAIM_NOT_RETAINED) {
            *claim = what;
            return APR_SUCCESS;
        }
        rv = idem_shm_copy_out(&shm->parts[i], &found, record, pool);
        if (rv == APR_SUCCESS) {
            *claim = what;
            return APR_SUCCESS;
        }
        if (rv == APR_EGENERAL) {
            rv = spoil(shm, i, &found);
            if (rv != APR_SUCCESS) {
                return rv;
            }
        }
    }
    return APR_EGENERAL;
}
