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

/* Units looked at by one step of a purge, and steps for each shard; heads
 * that are ended under one lock. */
#define PURGE_UNITS 4096u
#define PURGE_STEPS 8
#define PURGE_HEADS 64

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

/* ------------------------------------------------------------------ purge */

/* For status pages: nothing depends on it, so nobody waits for it. */
static void note_first(apr_int64_t *first, apr_time_t end)
{
    apr_int64_t was = __atomic_load_n(first, __ATOMIC_RELAXED);

    if (was == 0 || end < was) {
        __atomic_store_n(first, end, __ATOMIC_RELAXED);
    }
}

void idem_shm_note_end(idem_shm_shard_t *shard, apr_time_t end)
{
    note_first(&shard->oldest, end);
    note_first(&shard->sweep_oldest, end);
}

/* The sweep goes on at @a to. */
static void move_cursor(const idem_shm_part_t *part, apr_uint32_t to)
{
    idem_shm_shard_t *shard = part->shard;
    int ends = to >= part->nunits - 1;

    __atomic_store_n(&shard->purge_cursor, ends ? 0 : to, __ATOMIC_RELAXED);
    if (ends) {
        __atomic_store_n(
            &shard->oldest,
            __atomic_load_n(&shard->sweep_oldest, __ATOMIC_RELAXED),
            __ATOMIC_RELAXED);
        __atomic_store_n(&shard->sweep_oldest, 0, __ATOMIC_RELAXED);
    }
}

/* Is there something to be done? Asked without the lock, too: what is read
 * may be anything, and all that follows from it is another look inside. */
static int is_due(const idem_shm_store_t *shm, const idem_shm_part_t *part,
                  const idem_shm_head_t *head, apr_time_t now)
{
    apr_uint32_t state = __atomic_load_n(&head->state, __ATOMIC_ACQUIRE);
    apr_time_t expires = __atomic_load_n(&head->expires, __ATOMIC_RELAXED);

    switch (state) {
    case IDEM_SHM_EXECUTING:
    case IDEM_SHM_DETACHED:
        return !idem_shm_is_alive(shm, head);
    case IDEM_SHM_EXPIRED:
        return __atomic_load_n(&head->tomb.until, __ATOMIC_RELAXED)
               <= idem_shm_sec(now);
    default:
        if (expires > now) {
            note_first(&part->shard->sweep_oldest, expires);
        }
        return expires <= now;
    }
}

/* Settles what the dead have left, and ends what has expired. */
static void purge_head(const idem_shm_store_t *shm,
                       const idem_shm_part_t *part, apr_uint32_t unit,
                       apr_time_t now)
{
    idem_shm_head_t *head = idem_shm_part_head(part, unit);

    if (part->map[unit] != IDEM_SHM_MAP_HEAD
        || !is_due(shm, part, head, now)) {
        return;
    }
    switch (head->state) {
    case IDEM_SHM_EXECUTING:
        idem_shm_set_unknown_locked(part, head, now + idem_shm_ttl(head));
        break;
    case IDEM_SHM_DETACHED:
        idem_shm_part_free_locked(part, unit);
        break;
    default:
        (void)idem_shm_expire_locked(part, unit, now);
        break;
    }
}

/* Where a step begins and ends. */
static void purge_range(const idem_shm_part_t *part, apr_uint32_t *at,
                        apr_uint32_t *to)
{
    *at = __atomic_load_n(&part->shard->purge_cursor, __ATOMIC_RELAXED)
          % part->nunits;
    *to = *at + PURGE_UNITS;
    *to = *to < part->nunits - 1 ? *to : part->nunits - 1;
}

/* For a request that finds no room: it holds the lock anyway. */
void idem_shm_purge_locked(const idem_shm_store_t *shm,
                           const idem_shm_part_t *part, apr_time_t now)
{
    apr_uint32_t at;
    apr_uint32_t to;

    purge_range(part, &at, &to);
    for (; at < to; at++) {
        purge_head(shm, part, at, now);
    }
    move_cursor(part, to);
}

/* What is due from @a at on, without the lock. @return where it ended */
static apr_uint32_t purge_scan(const idem_shm_store_t *shm,
                               const idem_shm_part_t *part, apr_uint32_t at,
                               apr_uint32_t to, apr_time_t now,
                               apr_uint32_t *due, int *n)
{
    for (*n = 0; at < to && *n < PURGE_HEADS; at++) {
        if (part->map[at] == IDEM_SHM_MAP_HEAD
            && is_due(shm, part, idem_shm_part_head(part, at), now)) {
            due[(*n)++] = at;
        }
    }
    return at;
}

/* Most heads are not due, and all of them have to be fetched from memory:
 * that is done before the lock is taken. */
void idem_shm_purge_step(const idem_shm_store_t *shm, apr_uint32_t i,
                         apr_time_t now)
{
    const idem_shm_part_t *part = &shm->parts[i];
    apr_uint32_t due[PURGE_HEADS];
    apr_uint32_t at;
    apr_uint32_t to;
    int n;
    int k;

    purge_range(part, &at, &to);
    while (at < to) {
        at = purge_scan(shm, part, at, to, now, due, &n);
        if (n == 0) {
            continue;
        }
        if (idem_shm_enter(shm, i, IDEM_SHM_LOCK_WAIT) != APR_SUCCESS) {
            return;
        }
        for (k = 0; k < n; k++) {
            purge_head(shm, part, due[k], now);
        }
        idem_shm_leave(shm, i);
    }
    move_cursor(part, to);
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
            idem_shm_purge_step(shm, i, now);
        }
    }
}
