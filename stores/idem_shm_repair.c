/* idem_shm_repair.c: make a shard whole again, and check that one is.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Used when a process died inside the lock (the dirty word tells) and when a
 * server did not end in order. Only two things are believed: the map where
 * it says HEAD, and a head whose ident is right. All else follows from them:
 *
 *   1. every HEAD: keep it if it is whole, else free its units; everything
 *      that is no head is freed.
 *   2. every kept head: walk its extents and take them again, if they are in
 *      range, nobody else's, and (settled records) the checksum is right.
 *      Without them a record becomes unknown: never run again, never
 *      replayed wrong.
 *      A tombstone that was not finished is.
 *   3. of two records with one id (old pages after a power cut) the one
 *      claimed later stays.
 *
 * A repair that is cut short is repeated from the start: it removes nothing
 * that step 1 would need again.
 */
#include "idem_shm.h"

#include <string.h>

int idem_shm_repair_is_head(const idem_shm_head_t *head)
{
    switch (head->state) {
    case IDEM_SHM_EXECUTING:
    case IDEM_SHM_DONE:
    case IDEM_SHM_NOT_RETAINED:
    case IDEM_SHM_UNKNOWN:
    case IDEM_SHM_DETACHED:
    case IDEM_SHM_EXPIRING:
        return head->ident == idem_shm_sum_ident(head);
    case IDEM_SHM_EXPIRED:
        return head->tomb.sum == idem_shm_sum_tomb(head);
    default:
        return 0;
    }
}

static int is_settled(apr_uint32_t state)
{
    return state == IDEM_SHM_DONE || state == IDEM_SHM_NOT_RETAINED
           || state == IDEM_SHM_UNKNOWN;
}

/* Step 1. @return how many heads were damaged: not those that a claim had
 * not finished, or a release had not finished to free. */
static apr_uint32_t keep_heads(const idem_shm_part_t *part)
{
    apr_uint32_t lost = 0;
    apr_uint32_t u = 0;

    while (u < part->nunits) {
        idem_shm_head_t *head = idem_shm_part_head(part, u);

        if (part->map[u] != IDEM_SHM_MAP_HEAD) {
            part->map[u++] = IDEM_SHM_MAP_FREE;
            continue;
        }
        if (u + 1 < part->nunits && idem_shm_repair_is_head(head)) {
            if (head->state != IDEM_SHM_EXPIRED) {
                part->map[u + 1] = IDEM_SHM_MAP_MORE;
                u++;
            }
            u++;
            continue;
        }
        /* A head at the very end has no second unit to look into. */
        if (u + 1 >= part->nunits || head->state != IDEM_SHM_FREE) {
            lost++;
        }
        part->map[u++] = IDEM_SHM_MAP_FREE;
    }
    return lost;
}

static int is_free_run(const unsigned char *map, apr_uint32_t unit,
                       apr_uint32_t n)
{
    apr_uint32_t i;

    for (i = 0; i < n; i++) {
        if (map[unit + i] != IDEM_SHM_MAP_FREE) {
            return 0;
        }
    }
    return 1;
}

/* Take the extents of a head; if anything is wrong, take none.
 * @return units taken, or NONE */
static apr_uint32_t take_body(const idem_shm_part_t *part,
                              idem_shm_head_t *head)
{
    apr_uint32_t taken = 0;
    idem_shm_walk_t walk;
    idem_shm_sum_t sum;
    int more;

    idem_shm_sum_init(&sum, head, head->state);
    idem_shm_walk_init(&walk, head);
    for (;;) {
        more = idem_shm_walk_next(&walk, part);
        if (more == 1 && !is_free_run(part->map, walk.at, walk.atn)) {
            more = -1;
        }
        if (more != 1) {
            break;
        }
        memset(part->map + walk.at, IDEM_SHM_MAP_MORE, walk.atn);
        part->map[walk.at] = IDEM_SHM_MAP_EXTENT;
        taken += walk.atn;
        idem_shm_sum_add(&sum, walk.data, walk.len);
    }
    if (more == 0
        && (!is_settled(head->state)
            || idem_shm_sum_end(&sum) == head->is.sum)) {
        return taken;
    }
    /* The same way again; it ends at the extent that was not ours. */
    idem_shm_walk_init(&walk, head);
    while (taken > 0 && idem_shm_walk_next(&walk, part) == 1) {
        memset(part->map + walk.at, IDEM_SHM_MAP_FREE, walk.atn);
        taken -= walk.atn;
    }
    return IDEM_SHM_NONE;
}

/* A tombstone has no fence, but until it ended nobody could claim the id. */
static int is_later(const idem_shm_head_t *head, const idem_shm_head_t *twin)
{
    if (twin->state == IDEM_SHM_EXPIRED) {
        return head->state == IDEM_SHM_EXPIRED
                   ? head->tomb.until > twin->tomb.until
                   : head->created >= twin->tomb.until;
    }
    if (head->state == IDEM_SHM_EXPIRED) {
        return twin->created < head->tomb.until;
    }
    return head->fence > twin->fence;
}

/* Step 3. @return 1 if @a unit is to be linked */
static int is_latest(const idem_shm_part_t *part, apr_uint32_t unit)
{
    idem_shm_head_t *head = idem_shm_part_head(part, unit);
    int broken = 0;
    apr_uint32_t twin = idem_shm_part_find_locked(part, &head->id, &broken);

    if (twin == IDEM_SHM_NONE) {
        return 1;
    }
    if (!is_later(head, idem_shm_part_head(part, twin))) {
        return 0;
    }
    idem_shm_part_free_locked(part, twin);
    return 1;
}

static void set_free(const idem_shm_part_t *part, apr_uint32_t unit)
{
    idem_shm_head_t *head = idem_shm_part_head(part, unit);

    part->map[unit] = IDEM_SHM_MAP_FREE;
    if (head->state != IDEM_SHM_EXPIRED) {
        part->map[unit + 1] = IDEM_SHM_MAP_FREE;
    }
    head->state = IDEM_SHM_FREE;
}

/* A record whose answer is gone: how long it was to be kept is known unless
 * just that is damaged. */
static void spoil(const idem_shm_part_t *part, idem_shm_head_t *head)
{
    apr_time_t created = apr_time_from_sec((apr_time_t)head->created);
    apr_time_t expires = head->expires;

    if (expires <= created || expires - created > 2 * IDEM_SHM_TTL_MAX) {
        expires = created + IDEM_SHM_TTL_FALLBACK;
    }
    head->len = 0;
    idem_shm_set_unknown_locked(part, head, expires);
}

/* Take the extents of a kept record, if it is to have any.
 * @return 1 if it is damaged */
static apr_uint32_t keep_body(const idem_shm_part_t *part,
                              idem_shm_head_t *head, apr_uint32_t *units)
{
    apr_uint32_t taken = head->state == IDEM_SHM_EXPIRING
                             ? IDEM_SHM_NONE
                             : take_body(part, head);

    *units = IDEM_SHM_HEAD;
    if (taken != IDEM_SHM_NONE) {
        *units += taken;
        return 0;
    }
    if (is_settled(head->state)) {
        spoil(part, head);
        return 1;
    }
    /* A reservation that was not finished, an answer that was being written,
     * or one that was being dropped: the head stands without it. */
    head->len = 0;
    return 0;
}

/* Count a kept record in. @return 1 if it is damaged */
static apr_uint32_t keep_record(const idem_shm_part_t *part, apr_uint32_t u)
{
    idem_shm_shard_t *shard = part->shard;
    idem_shm_head_t *head = idem_shm_part_head(part, u);
    apr_uint32_t *count = idem_shm_part_count(part, head->state);
    apr_uint32_t damaged = 0;
    apr_uint32_t units = 1;
    apr_uint32_t row;

    if (count) {
        (*count)++;
    }
    if (head->state == IDEM_SHM_EXPIRED) {
        row = idem_shm_part_row_locked(part, head->tomb.host);
        head->tomb.row = (apr_uint16_t)row;
    }
    else {
        row = idem_shm_part_row_locked(part, head->host);
        head->row = (apr_uint16_t)row;
        damaged = keep_body(part, head, &units);
        if (head->fence > shard->fence) {
            shard->fence = head->fence;
        }
    }
    shard->free_units -= units;
    part->rows[row].units += units;
    return damaged;
}

/* Step 2. */
static apr_uint32_t keep_records(const idem_shm_part_t *part, int dead,
                                 apr_time_t now)
{
    apr_uint32_t damaged = 0;
    apr_uint32_t u;

    for (u = 0; u + 1 < part->nunits; u++) {
        idem_shm_head_t *head = idem_shm_part_head(part, u);

        if (part->map[u] != IDEM_SHM_MAP_HEAD) {
            continue;
        }
        if ((dead && head->state == IDEM_SHM_DETACHED)
            || (head->state != IDEM_SHM_DETACHED && !is_latest(part, u))) {
            set_free(part, u);
            continue;
        }
        damaged += keep_record(part, u);
        if (head->state != IDEM_SHM_DETACHED) {
            idem_shm_part_link_locked(part, u);
        }
        if (head->state == IDEM_SHM_EXPIRING) {
            idem_shm_bury_locked(part, u);
        }
        else if (dead && head->state == IDEM_SHM_EXECUTING) {
            idem_shm_set_unknown_locked(part, head, now + idem_shm_ttl(head));
        }
    }
    return damaged;
}

apr_uint32_t idem_shm_repair_locked(const idem_shm_part_t *part, int dead,
                                    apr_time_t now)
{
    idem_shm_shard_t *shard = part->shard;
    apr_uint32_t damaged;

    memset(part->buckets, 0, part->nbuckets * sizeof(*part->buckets));
    memset(part->rows, 0, IDEM_SHM_ROWS * sizeof(*part->rows));
    shard->free_units = part->nunits;
    shard->executing = 0;
    shard->done = 0;
    shard->not_retained = 0;
    shard->unknown = 0;
    shard->detached = 0;
    shard->tombstones = 0;
    shard->oldest = 0;
    shard->sweep_oldest = 0;
    damaged = keep_heads(part);
    damaged += keep_records(part, dead, now);
    /* The last fence may be gone with the record that carried it. */
    shard->fence += 1 << 16;
    shard->repairs++;
    return damaged;
}

/* ------------------------------------------------------------------ check */

static const char *check_body(const idem_shm_part_t *part,
                              const idem_shm_head_t *head, apr_uint32_t *units)
{
    idem_shm_walk_t walk;
    idem_shm_sum_t sum;
    apr_uint32_t i;
    int more;

    idem_shm_sum_init(&sum, head, head->state);
    idem_shm_walk_init(&walk, head);
    for (;;) {
        more = idem_shm_walk_next(&walk, part);
        if (more != 1) {
            break;
        }
        if (part->map[walk.at] != IDEM_SHM_MAP_EXTENT) {
            return "an extent is not marked as one";
        }
        for (i = 1; i < walk.atn; i++) {
            if (part->map[walk.at + i] != IDEM_SHM_MAP_MORE) {
                return "an extent is cut";
            }
        }
        *units += walk.atn;
        idem_shm_sum_add(&sum, walk.data, walk.len);
    }
    if (more < 0) {
        return "a chain of extents is broken";
    }
    if (is_settled(head->state) && idem_shm_sum_end(&sum) != head->is.sum) {
        return "the checksum of a record is wrong";
    }
    return NULL;
}

/* @param units  out: of the record */
static const char *check_head(const idem_shm_part_t *part, apr_uint32_t u,
                              apr_uint32_t *units)
{
    idem_shm_head_t *head = idem_shm_part_head(part, u);
    int broken = 0;

    if (u + 1 >= part->nunits || head->state == IDEM_SHM_EXPIRING
        || !idem_shm_repair_is_head(head)) {
        return "a head is not whole";
    }
    if (head->state != IDEM_SHM_DETACHED
        && idem_shm_part_find_locked(part, &head->id, &broken) != u) {
        return "a record is not in the index";
    }
    if (head->state == IDEM_SHM_EXPIRED) {
        *units = 1;
        return NULL;
    }
    if (part->map[u + 1] != IDEM_SHM_MAP_MORE) {
        return "a head is cut";
    }
    *units = IDEM_SHM_HEAD;
    return check_body(part, head, units);
}

static const char *check_heads(const idem_shm_part_t *part, apr_uint32_t *use,
                               idem_shm_shard_t *seen, apr_uint32_t *linked)
{
    idem_shm_part_t count = *part;
    apr_uint32_t u;

    count.shard = seen;
    for (u = 0; u < part->nunits; u++) {
        const idem_shm_head_t *head = idem_shm_part_head(part, u);
        apr_uint32_t units = 0;
        apr_uint32_t row;
        const char *wrong;

        if (part->map[u] != IDEM_SHM_MAP_HEAD) {
            continue;
        }
        wrong = check_head(part, u, &units);
        if (wrong) {
            return wrong;
        }
        row = head->state == IDEM_SHM_EXPIRED ? head->tomb.row : head->row;
        *linked += head->state != IDEM_SHM_DETACHED;
        (*idem_shm_part_count(&count, head->state))++;
        seen->free_units -= units;
        use[row % IDEM_SHM_ROWS] += units;
    }
    return NULL;
}

static const char *check_index(const idem_shm_part_t *part,
                               apr_uint32_t linked)
{
    apr_uint32_t b;
    apr_uint32_t n = 0;

    for (b = 0; b < part->nbuckets; b++) {
        apr_uint32_t ref = part->buckets[b];

        for (; ref != 0; ref = idem_shm_part_head(part, ref - 1)->next) {
            if (ref > part->nunits || part->map[ref - 1] != IDEM_SHM_MAP_HEAD
                || ++n > linked) {
                return "the index names what is no record";
            }
        }
    }
    return n == linked ? NULL : "the index has too few records";
}

static const char *check_counts(const idem_shm_part_t *part,
                                const idem_shm_shard_t *seen,
                                const apr_uint32_t *use)
{
    const idem_shm_shard_t *shard = part->shard;
    apr_uint32_t mapped = 0;
    apr_uint32_t u;

    for (u = 0; u < part->nunits; u++) {
        mapped += part->map[u] == IDEM_SHM_MAP_FREE;
    }
    if (mapped != seen->free_units) {
        return "units belong to no record";
    }
    if (shard->free_units != seen->free_units) {
        return "the count of free units is wrong";
    }
    if (shard->executing != seen->executing || shard->done != seen->done
        || shard->not_retained != seen->not_retained
        || shard->unknown != seen->unknown || shard->detached != seen->detached
        || shard->tombstones != seen->tombstones) {
        return "a count of records is wrong";
    }
    for (u = 0; u < IDEM_SHM_ROWS; u++) {
        if (part->rows[u].units != use[u]) {
            return "the use of a host is wrong";
        }
    }
    return NULL;
}

const char *idem_shm_repair_check_locked(const idem_shm_part_t *part,
                                         apr_uint32_t *use)
{
    idem_shm_shard_t seen;
    apr_uint32_t linked = 0;
    const char *wrong;

    memset(&seen, 0, sizeof(seen));
    memset(use, 0, IDEM_SHM_ROWS * sizeof(*use));
    seen.free_units = part->nunits;
    wrong = check_heads(part, use, &seen, &linked);
    if (!wrong) {
        wrong = check_index(part, linked);
    }
    return wrong ? wrong : check_counts(part, &seen, use);
}
