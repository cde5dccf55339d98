/* idem_shm_look.c: reading the shm store: copies of records, look and list.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Look and list show what a claim would find, and change nothing of it: what
 * has expired is not there, a claim of a dead process is unknown, though no
 * one has settled either yet.
 */
#include "idem_shm.h"

#include <string.h>

/* A record changes under a reader's hands only by expiry or release. */
#define COPY_TRIES 16
/* What one step of a list looks at, at most, under one lock: so many heads
 * out of the cache and so many bytes of map take some 20 microseconds. */
#define LIST_HEADS 64
#define LIST_UNITS 4096u

/* ---------------------------------------------------------------- reading */

apr_status_t idem_shm_find_locked(const idem_shm_part_t *part,
                                  const idem_digest_t *id, apr_uint32_t *unit)
{
    int broken = 0;

    *unit = idem_shm_part_find_locked(part, id, &broken);
    if (broken) {
        idem_shm_repair_locked(part, 0, 0);
        broken = 0;
        *unit = idem_shm_part_find_locked(part, id, &broken);
    }
    return broken ? APR_EGENERAL : APR_SUCCESS;
}

apr_status_t idem_shm_copy_out(const idem_shm_part_t *part,
                               const idem_shm_found_t *found,
                               idem_blob_t *record, apr_pool_t *pool)
{
    const idem_shm_head_t *was = &found->head;
    const idem_shm_head_t *head = idem_shm_part_head(part, found->unit);
    idem_shm_walk_t walk;
    idem_shm_sum_t sum;
    char *data;
    apr_size_t len = 0;
    int more;

    if (was->len / IDEM_SHM_UNIT >= part->nunits) {
        return APR_EGENERAL;
    }
    data = apr_palloc(pool, was->len > 0 ? was->len : 1);
    idem_shm_walk_init(&walk, was);
    do {
        more = idem_shm_walk_next(&walk, part);
        if (more == 1) {
            memcpy(data + len, walk.data, walk.len);
            len += walk.len;
        }
    } while (more == 1);

    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (__atomic_load_n(&head->state, __ATOMIC_RELAXED) != was->state
        || __atomic_load_n(&head->fence, __ATOMIC_RELAXED) != was->fence) {
        return APR_EAGAIN;
    }
    idem_shm_sum_init(&sum, was, was->state);
    idem_shm_sum_add(&sum, data, len);
    if (more != 0 || idem_shm_sum_end(&sum) != was->is.sum) {
        return APR_EGENERAL;
    }
    record->data = data;
    record->len = len;
    return APR_SUCCESS;
}

/* ---------------------------------------------------------------- showing */

static void show_unknown(idem_entry_t *entry, apr_time_t expires)
{
    entry->life = IDEM_LIFE_UNKNOWN;
    entry->expires = expires;
    entry->len = 0;
}

/* A tombstone keeps neither the time of the claim nor the whole print. */
static int show_tomb(idem_entry_t *entry, apr_uint32_t host,
                     apr_uint32_t until, apr_time_t now)
{
    memset(&entry->print, 0, sizeof(entry->print));
    entry->life = IDEM_LIFE_EXPIRED;
    entry->host = host;
    entry->created = 0;
    entry->expires = apr_time_from_sec((apr_time_t)until);
    entry->len = 0;
    return until > idem_shm_sec(now);
}

/* Fill in what a claim at @a now would see. @return 0 if nothing is there */
static int show(const idem_shm_store_t *shm, const idem_shm_head_t *head,
                apr_time_t now, idem_entry_t *entry)
{
    memset(entry, 0, sizeof(*entry));
    entry->id = head->id;
    if (head->state == IDEM_SHM_EXPIRED) {
        return show_tomb(entry, head->tomb.host, head->tomb.until, now);
    }
    entry->print = head->print;
    entry->host = head->host;
    entry->created = apr_time_from_sec((apr_time_t)head->created);
    entry->expires = head->expires;
    entry->len = head->len;
    switch (head->state) {
    case IDEM_SHM_EXECUTING:
        entry->life = IDEM_LIFE_EXECUTING;
        entry->expires = 0;
        entry->len = 0;
        if (!idem_shm_is_alive(shm, head)) {
            show_unknown(entry, now + idem_shm_ttl(head));
        }
        return 1;
    case IDEM_SHM_DONE:
        entry->life = IDEM_LIFE_DONE;
        break;
    case IDEM_SHM_NOT_RETAINED:
        entry->life = IDEM_LIFE_NOT_RETAINED;
        break;
    case IDEM_SHM_UNKNOWN:
        entry->life = IDEM_LIFE_UNKNOWN;
        break;
    default:
        return 0;
    }
    return head->expires > now
           || (idem_shm_has_tomb(head, now)
               && show_tomb(entry, head->host, head->until, now));
}

/* ------------------------------------------------------------------- look */

static apr_status_t look_locked(const idem_shm_store_t *shm,
                                const idem_shm_part_t *part,
                                const idem_digest_t *id, apr_time_t now,
                                idem_shm_found_t *found, idem_entry_t *entry)
{
    apr_status_t rv = idem_shm_find_locked(part, id, &found->unit);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (found->unit == IDEM_SHM_NONE) {
        return APR_NOTFOUND;
    }
    found->head = *idem_shm_part_head(part, found->unit);
    return show(shm, &found->head, now, entry) ? APR_SUCCESS : APR_NOTFOUND;
}

apr_status_t idem_shm_look(idem_store_t *store, idem_entry_t *entry,
                           idem_blob_t *record, const idem_digest_t *id,
                           apr_pool_t *pool)
{
    const idem_shm_store_t *shm = (const idem_shm_store_t *)store;
    apr_uint32_t i = idem_shm_shard_of(shm, id);
    apr_time_t now = idem_store_now(store);
    idem_shm_found_t found;
    apr_status_t rv;
    int tries;

    for (tries = 0; tries < COPY_TRIES; tries++) {
        rv = idem_shm_enter(shm, i, IDEM_SHM_LOCK_WAIT);
        if (rv != APR_SUCCESS) {
            return rv;
        }
        rv = look_locked(shm, &shm->parts[i], id, now, &found, entry);
        idem_shm_leave(shm, i);
        if (rv != APR_SUCCESS
            || (entry->life != IDEM_LIFE_DONE
                && entry->life != IDEM_LIFE_NOT_RETAINED)) {
            return rv;
        }
        rv = idem_shm_copy_out(&shm->parts[i], &found, record, pool);
        if (rv == APR_EGENERAL) {
            /* Damaged: a claim would make it unknown. */
            show_unknown(entry, entry->expires);
            return APR_SUCCESS;
        }
        if (rv == APR_SUCCESS) {
            return rv;
        }
    }
    return APR_EGENERAL;
}

/* ------------------------------------------------------------------- list */

/* @return the unit to go on with */
static apr_uint32_t list_locked(const idem_shm_store_t *shm,
                                const idem_shm_part_t *part, apr_uint32_t unit,
                                apr_time_t now, idem_entry_t *entries,
                                int room, int *n)
{
    apr_uint32_t to = part->nunits - 1;
    int heads = 0;

    if (unit < to && to - unit > LIST_UNITS) {
        to = unit + LIST_UNITS;
    }
    for (; unit < to && *n < room && heads < LIST_HEADS; unit++) {
        const idem_shm_head_t *head = idem_shm_part_head(part, unit);

        if (part->map[unit] != IDEM_SHM_MAP_HEAD) {
            continue;
        }
        heads++;
        if (idem_shm_repair_is_head(head)
            && show(shm, head, now, &entries[*n])) {
            (*n)++;
        }
    }
    return unit;
}

/* The cursor is 1 + shard in the upper half and the unit in the lower. */
apr_status_t idem_shm_list(idem_store_t *store, idem_entry_t *entries, int *n,
                           apr_uint64_t *cursor)
{
    const idem_shm_store_t *shm = (const idem_shm_store_t *)store;
    apr_uint64_t i = *cursor == 0 ? 0 : (*cursor >> 32) - 1;
    apr_uint32_t unit = (apr_uint32_t)(*cursor & 0xffffffffu);
    int room = *n;
    apr_status_t rv;

    *n = 0;
    if (i >= shm->nshards) {
        return APR_EINVAL;
    }
    rv = idem_shm_enter(shm, (apr_uint32_t)i, IDEM_SHM_LOCK_WAIT);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    unit = list_locked(shm, &shm->parts[i], unit, idem_store_now(store),
                       entries, room, n);
    idem_shm_leave(shm, (apr_uint32_t)i);
    if (unit >= shm->parts[i].nunits - 1) {
        i++;
        unit = 0;
    }
    *cursor = i < shm->nshards ? ((i + 1) << 32) | unit : 0;
    return APR_SUCCESS;
}
