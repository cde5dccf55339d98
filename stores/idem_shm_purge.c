/* idem_shm_purge.c: how records end: expiry, tombstones, the purge.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A record that leaves a tombstone keeps its place: the first unit of its
 * head becomes the tombstone, the rest is given back. So this needs no room
 * in a full store, and whoever walks the shard meets the id once.
 *
 *   state EXPIRING    the second unit, which is still whole, says all that
 *                     the tombstone needs: a repair goes on from here.
 *   the first unit    is written.
 *   state EXPIRED     it holds by itself, and the second unit is free.
 *
 * The id is in the index all the time.
 */
#include "idem_shm.h"

#include <string.h>

/* Units looked at by one step of a purge, at most once per lock: this many
 * heads that are all out of the cache stay below a millisecond. */
#define PURGE_UNITS 4096u
#define PURGE_STEPS 8

apr_uint32_t idem_shm_sec(apr_time_t t)
{
    apr_time_t sec = apr_time_sec(t);

    return sec < 0                ? 0
           : sec < APR_UINT32_MAX ? (apr_uint32_t)sec
                                  : APR_UINT32_MAX;
}

int idem_shm_has_tomb(const idem_shm_head_t *head, apr_time_t now)
{
    return head->until > idem_shm_sec(now);
}

void idem_shm_bury_locked(const idem_shm_part_t *part, apr_uint32_t unit)
{
    idem_shm_head_t *head = idem_shm_part_head(part, unit);
    apr_uint16_t row = head->row;

    idem_shm_part_set_state_locked(part, head, IDEM_SHM_EXPIRING);
    idem_shm_part_drop_body_locked(part, head);
    head->tomb.until = head->until;
    head->tomb.host = head->host;
    memcpy(head->tomb.print, &head->print, IDEM_SHM_PRINT);
    head->tomb.row = row;
    head->tomb.sum = idem_shm_sum_tomb(head);
    idem_shm_part_set_state_locked(part, head, IDEM_SHM_EXPIRED);
    part->map[unit + 1] = IDEM_SHM_MAP_FREE;
    idem_shm_part_credit_locked(part, row, IDEM_SHM_HEAD - 1);
}

int idem_shm_expire_locked(const idem_shm_part_t *part, apr_uint32_t unit,
                           apr_time_t now)
{
    idem_shm_head_t *head = idem_shm_part_head(part, unit);

    if (head->state == IDEM_SHM_EXPIRED) {
        if (head->tomb.until > idem_shm_sec(now)) {
            return 0;
        }
    }
    else {
        if (head->expires > now) {
            return 0;
        }
        part->shard->expired++;
        if (idem_shm_has_tomb(head, now)) {
            idem_shm_bury_locked(part, unit);
            return 0;
        }
    }
    idem_shm_part_free_locked(part, unit);
    return 1;
}

apr_interval_time_t idem_shm_ttl(const idem_shm_head_t *head)
{
    apr_time_t created = apr_time_from_sec((apr_time_t)head->created);
    apr_interval_time_t ttl = (apr_interval_time_t)((apr_uint64_t)head->expires
                                                    - (apr_uint64_t)created);

    return ttl > 0 && ttl <= IDEM_SHM_TTL_MAX ? ttl : IDEM_SHM_TTL_FALLBACK;
}

/* A result that is lost leaves the tombstone that it was to leave, unless
 * just that is damaged. */
void idem_shm_set_unknown_locked(const idem_shm_part_t *part,
                                 idem_shm_head_t *head, apr_time_t expires)
{
    idem_shm_sum_t sum;

    idem_shm_part_drop_body_locked(part, head);
    head->expires = expires;
    if (head->until < idem_shm_sec(expires)
        || head->until > idem_shm_sec(expires + 2 * IDEM_SHM_TTL_MAX)) {
        head->until = 0;
    }
    idem_shm_sum_init(&sum, head, IDEM_SHM_UNKNOWN);
    head->is.sum = idem_shm_sum_end(&sum);
    idem_shm_part_set_state_locked(part, head, IDEM_SHM_UNKNOWN);
}

/* The first end of all records that a sweep has met: for status pages. */
static void note_end(idem_shm_shard_t *shard, const idem_shm_head_t *head)
{
    if (head->state != IDEM_SHM_EXPIRED
        && (shard->sweep_oldest == 0 || head->expires < shard->sweep_oldest)) {
        shard->sweep_oldest = head->expires;
    }
}

/* Settles what the dead have left, and ends what has expired. */
static void purge_head(const idem_shm_store_t *shm,
                       const idem_shm_part_t *part, apr_uint32_t unit,
                       apr_time_t now)
{
    idem_shm_head_t *head = idem_shm_part_head(part, unit);

    if (head->state == IDEM_SHM_EXECUTING) {
        if (!idem_shm_is_alive(shm, head)) {
            idem_shm_set_unknown_locked(part, head, now + idem_shm_ttl(head));
        }
    }
    else if (head->state == IDEM_SHM_DETACHED) {
        if (!idem_shm_is_alive(shm, head)) {
            idem_shm_part_free_locked(part, unit);
        }
    }
    else if (!idem_shm_expire_locked(part, unit, now)) {
        note_end(part->shard, head);
    }
}

/* Bounded: a request may be waiting. */
void idem_shm_purge_locked(const idem_shm_store_t *shm,
                           const idem_shm_part_t *part, apr_time_t now)
{
    idem_shm_shard_t *shard = part->shard;
    apr_uint32_t at = shard->purge_cursor % part->nunits;
    apr_uint32_t to = at + PURGE_UNITS;

    to = to < part->nunits - 1 ? to : part->nunits - 1;
    for (; at < to; at++) {
        if (part->map[at] == IDEM_SHM_MAP_HEAD) {
            purge_head(shm, part, at, now);
        }
    }
    shard->purge_cursor = to;
    if (to >= part->nunits - 1) {
        shard->purge_cursor = 0;
        shard->oldest = shard->sweep_oldest;
        shard->sweep_oldest = 0;
    }
}

void idem_shm_purge(idem_store_t *store, apr_time_t now)
{
    idem_shm_store_t *shm = (idem_shm_store_t *)store;
    apr_uint32_t i;
    int step;

    idem_shm_checkpoint(shm->segment.base, now, apr_time_now());
    idem_shm_owner_check(shm->owners);
    for (i = 0; i < shm->nshards; i++) {
        for (step = 0; step < PURGE_STEPS; step++) {
            if (idem_shm_enter(shm, i, IDEM_SHM_LOCK_WAIT) != APR_SUCCESS) {
                break;
            }
            idem_shm_purge_locked(shm, &shm->parts[i], now);
            idem_shm_leave(shm, i);
        }
    }
}
