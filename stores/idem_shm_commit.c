/* idem_shm_commit.c: the store in shared memory: the ends of a claim.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A commit takes the lock twice and copies in between: reserve extents and
 * hang them on the head, so that a death in the middle leaks nothing; copy;
 * look whether the claim still stands, and publish.
 */
#include "idem_shm.h"

#include <string.h>

/* Cleanups in signal handlers wait so long (rule 35). */
#define ABANDON_WAIT apr_time_from_msec(100)

/* The head of a claim that stands, or NULL. If the administrator released
 * it meanwhile, its owner ends here, and with it the last use of the units. */
static idem_shm_head_t *own_locked(const idem_shm_part_t *part,
                                   const idem_token_t *token)
{
    idem_shm_head_t *head;

    if (token->place >= part->nunits - 1
        || part->map[token->place] != IDEM_SHM_MAP_HEAD) {
        return NULL;
    }
    head = idem_shm_part_head(part, token->place);
    if (head->fence != token->fence || head->is.owner != token->owner
        || memcmp(&head->id, &token->id, sizeof(head->id)) != 0) {
        return NULL;
    }
    if (head->state == IDEM_SHM_DETACHED) {
        idem_shm_part_free_locked(part, token->place);
        return NULL;
    }
    return head->state == IDEM_SHM_EXECUTING ? head : NULL;
}

/* Enter the shard of a claim, if it stands. @param head  out
 * @return APR_SUCCESS: inside; APR_NOTFOUND or why not: outside */
static apr_status_t enter_own(const idem_shm_store_t *shm,
                              const idem_token_t *token,
                              apr_interval_time_t wait, idem_shm_head_t **head)
{
    apr_status_t rv;

    if (token->shard >= shm->nshards) {
        return APR_NOTFOUND;
    }
    rv = idem_shm_enter(shm, token->shard, wait);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    *head = own_locked(&shm->parts[token->shard], token);
    if (!*head) {
        idem_shm_leave(shm, token->shard);
        return APR_NOTFOUND;
    }
    return APR_SUCCESS;
}

/* ----------------------------------------------------------------- commit */

/* An answer counts against the quota of its host as a claim does, or the
 * answers of many claims at once would pass it by far. What is left of an
 * answer that is not retained is short: it may. */
static int reserve_locked(const idem_shm_part_t *part, idem_shm_head_t *head,
                          idem_end_t end, apr_uint32_t len)
{
    apr_uint32_t n = (len + (IDEM_SHM_UNIT - 1)) / IDEM_SHM_UNIT;

    return (end != IDEM_END_DONE
            || (apr_uint64_t)part->rows[head->row % IDEM_SHM_ROWS].units + n
                   <= idem_shm_part_quota(part, head->row))
           && idem_shm_part_reserve_locked(part, head, len);
}

/* @param mine  out: the head, as a copy that nobody else writes to */
static apr_status_t reserve(const idem_shm_store_t *shm,
                            const idem_token_t *token, idem_end_t end,
                            apr_uint32_t len, apr_time_t now,
                            idem_shm_head_t *mine)
{
    idem_shm_head_t *head;
    apr_status_t rv = enter_own(shm, token, IDEM_SHM_LOCK_WAIT, &head);
    const idem_shm_part_t *part;

    if (rv != APR_SUCCESS) {
        return rv;
    }
    part = &shm->parts[token->shard];
    /* What an attempt that failed half-way has left. */
    idem_shm_part_drop_body_locked(part, head);
    if (!reserve_locked(part, head, end, len)) {
        idem_shm_purge_locked(shm, part, now);
        head = own_locked(part, token);
        if (!head || !reserve_locked(part, head, end, len)) {
            rv = head ? APR_ENOSPC : APR_NOTFOUND;
        }
    }
    if (rv == APR_SUCCESS) {
        *mine = *head;
    }
    idem_shm_leave(shm, token->shard);
    return rv;
}

/* Pour the pieces into the extents. */
static apr_status_t fill(const idem_shm_store_t *shm,
                         const idem_shm_part_t *part,
                         const idem_shm_head_t *mine, const struct iovec *vec,
                         int nvec)
{
    apr_size_t at = 0; /* in *vec */
    idem_shm_walk_t walk;

    idem_shm_walk_init(&walk, mine);
    while (idem_shm_walk_next(&walk, part) == 1) {
        apr_size_t done = 0;
        apr_status_t rv;

        while (done < walk.len && nvec > 0) {
            apr_size_t n = vec->iov_len - at;

            n = n < walk.len - done ? n : walk.len - done;
            if (n > 0) {
                memcpy(walk.data + done, (const char *)vec->iov_base + at, n);
            }
            done += n;
            at += n;
            if (at == vec->iov_len) {
                vec++;
                nvec--;
                at = 0;
            }
        }
        if (shm->segment.sync) {
            rv = idem_shm_sync_range(shm, walk.data, walk.len);
            if (rv != APR_SUCCESS) {
                return rv;
            }
        }
    }
    return APR_SUCCESS;
}

static apr_uint64_t sum_of(const idem_shm_part_t *part,
                           const idem_shm_head_t *mine, apr_uint32_t state)
{
    idem_shm_walk_t walk;
    idem_shm_sum_t sum;

    idem_shm_sum_init(&sum, mine, state);
    idem_shm_walk_init(&walk, mine);
    while (idem_shm_walk_next(&walk, part) == 1) {
        idem_shm_sum_add(&sum, walk.data, walk.len);
    }
    return idem_shm_sum_end(&sum);
}

static apr_status_t publish(const idem_shm_store_t *shm,
                            const idem_token_t *token, idem_shm_head_t *mine,
                            apr_uint32_t state, const idem_term_t *term)
{
    const idem_shm_part_t *part = &shm->parts[token->shard];
    idem_shm_head_t *head;
    apr_status_t rv;

    mine->expires = term->now + term->ttl;
    if (term->tombstone > 0) {
        mine->until = idem_shm_sec(mine->expires + term->tombstone
                                   + apr_time_from_sec(1) - 1);
    }
    mine->is.sum = sum_of(part, mine, state);
    rv = enter_own(shm, token, IDEM_SHM_LOCK_WAIT, &head);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (head->len != mine->len || (mine->len > 0 && head->ext != mine->ext)) {
        /* A repair took the reservation away. */
        rv = APR_EGENERAL;
    }
    else {
        head->until = mine->until;
        head->expires = mine->expires;
        head->is.sum = mine->is.sum;
        idem_shm_part_set_state_locked(part, head, state);
        idem_shm_note_end(part->shard, mine->expires);
    }
    idem_shm_leave(shm, token->shard);
    return rv;
}

static apr_status_t commit_unknown(const idem_shm_store_t *shm,
                                   const idem_token_t *token, apr_time_t now,
                                   apr_interval_time_t ttl,
                                   apr_interval_time_t wait)
{
    idem_shm_head_t *head;
    apr_status_t rv = enter_own(shm, token, wait, &head);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (ttl == 0) {
        ttl = idem_shm_ttl(head);
    }
    idem_shm_set_unknown_locked(&shm->parts[token->shard], head, now + ttl);
    idem_shm_leave(shm, token->shard);
    return APR_SUCCESS;
}

/* With sync=on: the claim that was ended, to the disk. */
static apr_status_t sync_end(const idem_shm_store_t *shm,
                             const idem_token_t *token, apr_status_t rv)
{
    return rv == APR_SUCCESS ? idem_shm_sync_head(
               shm, &shm->parts[token->shard], token->place)
                             : rv;
}

apr_status_t idem_shm_commit(idem_store_t *store, const idem_token_t *token,
                             idem_end_t end, const struct iovec *vec, int nvec,
                             const idem_term_t *term)
{
    idem_shm_store_t *shm = (idem_shm_store_t *)store;
    idem_shm_head_t mine;
    apr_size_t len = 0;
    apr_status_t rv;
    int i;

    if (end == IDEM_END_UNKNOWN) {
        rv = commit_unknown(shm, token, term->now, term->ttl,
                            IDEM_SHM_LOCK_WAIT);
        return sync_end(shm, token, rv);
    }
    for (i = 0; i < nvec; i++) {
        len += vec[i].iov_len;
    }
    if (len > idem_store_record_max(store)) {
        return APR_ENOSPC;
    }
    rv = reserve(shm, token, end, (apr_uint32_t)len, term->now, &mine);
    if (rv == APR_SUCCESS) {
        rv = fill(shm, &shm->parts[token->shard], &mine, vec, nvec);
    }
    if (rv == APR_SUCCESS) {
        rv = publish(shm, token, &mine,
                     end == IDEM_END_DONE ? IDEM_SHM_DONE
                                          : IDEM_SHM_NOT_RETAINED,
                     term);
    }
    return sync_end(shm, token, rv);
}

/* -------------------------------------------------------- release, abandon */

apr_status_t idem_shm_release(idem_store_t *store, const idem_token_t *token)
{
    idem_shm_store_t *shm = (idem_shm_store_t *)store;
    idem_shm_head_t *head;
    apr_status_t rv = enter_own(shm, token, IDEM_SHM_LOCK_WAIT, &head);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    idem_shm_part_free_locked(&shm->parts[token->shard], token->place);
    idem_shm_leave(shm, token->shard);
    return APR_SUCCESS;
}

apr_status_t idem_shm_abandon(idem_store_t *store, const idem_token_t *token,
                              apr_time_t now)
{
    if (idem_shm_is_inside()) {
        return APR_EBUSY;
    }
    return commit_unknown((idem_shm_store_t *)store, token, now, 0,
                          ABANDON_WAIT);
}
