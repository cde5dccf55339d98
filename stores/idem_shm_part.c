/* idem_shm_part.c: units, extents and index of one shard.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Nothing here waits, allocates or logs: all of it runs under the lock.
 * Every number that is read from the segment is checked before it is used
 * as an index, for children of the server can write there (rule 58).
 *
 * The order of stores matters, since the process can be killed between any
 * two: a state is written last when something becomes valid, and first when
 * it ceases to be. What is left half-way is sorted out by idem_shm_repair.c.
 */
#include "idem_shm.h"

#include <stddef.h>
#include <string.h>

apr_uint32_t idem_shm_nshards(apr_size_t size)
{
    apr_uint32_t n = 1;

    while (n < 64 && (apr_size_t)(n * 2) * 8 * 1024 * 1024 <= size) {
        n *= 2;
    }
    return n;
}

/*
 * One shard: head, use table, buckets, map, units. Per 128 units there are
 * 32 buckets (128 bytes), 128 bytes of map and 8192 of units. A record has
 * three units or more, so that most buckets hold one or none: to look at
 * another's head on the way costs more than all else in a large store.
 */
void idem_shm_part_init(idem_shm_part_t *part, void *base, apr_size_t size,
                        apr_uint32_t i)
{
    apr_size_t span = (size - IDEM_SHM_PAGE) / idem_shm_nshards(size)
                      & ~(apr_size_t)(IDEM_SHM_PAGE - 1);
    char *p = (char *)base + IDEM_SHM_PAGE + i * span;
    apr_size_t fixed = IDEM_SHM_PAGE + IDEM_SHM_ROWS * sizeof(idem_shm_row_t);

    part->nunits = (apr_uint32_t)((span - fixed) / (128 + 128 + 8192) * 128);
    part->nbuckets = part->nunits / 4;
    part->shard = (idem_shm_shard_t *)(void *)p;
    part->rows = (idem_shm_row_t *)(void *)(p + IDEM_SHM_PAGE);
    p += fixed;
    part->buckets = (apr_uint32_t *)(void *)p;
    p += (apr_size_t)part->nbuckets * sizeof(apr_uint32_t);
    part->map = (unsigned char *)p;
    part->units = p + part->nunits;
}

idem_shm_head_t *idem_shm_part_head(const idem_shm_part_t *part,
                                    apr_uint32_t unit)
{
    return (idem_shm_head_t *)(void *)(part->units
                                       + (apr_size_t)unit * IDEM_SHM_UNIT);
}

apr_uint32_t idem_shm_part_unit(const idem_shm_part_t *part,
                                const idem_shm_head_t *head)
{
    return (apr_uint32_t)(((const char *)head - part->units)
                          / (ptrdiff_t)IDEM_SHM_UNIT);
}

/* The id is a keyed digest already: any of its bits are as good as a hash.
 * The first four bytes choose the shard, the next four the bucket. */
apr_uint32_t idem_shm_part_bucket(const idem_shm_part_t *part,
                                  const idem_digest_t *id)
{
    apr_uint32_t hash;

    memcpy(&hash, id->bytes + 4, sizeof(hash));
    return (apr_uint32_t)(((apr_uint64_t)hash * part->nbuckets) >> 32);
}

/* ------------------------------------------------------------------ index */

static int is_head_at(const idem_shm_part_t *part, apr_uint32_t unit)
{
    return unit < part->nunits - 1 && part->map[unit] == IDEM_SHM_MAP_HEAD;
}

apr_uint32_t idem_shm_part_find_locked(const idem_shm_part_t *part,
                                       const idem_digest_t *id, int *broken)
{
    apr_uint32_t ref = part->buckets[idem_shm_part_bucket(part, id)];
    apr_uint32_t steps = part->nunits / IDEM_SHM_HEAD;

    for (; ref != 0; steps--) {
        idem_shm_head_t *head;

        if (steps == 0 || !is_head_at(part, ref - 1)) {
            *broken = 1;
            return IDEM_SHM_NONE;
        }
        head = idem_shm_part_head(part, ref - 1);
        if (memcmp(&head->id, id, sizeof(*id)) == 0) {
            return ref - 1;
        }
        ref = head->next;
    }
    return IDEM_SHM_NONE;
}

void idem_shm_part_link_locked(const idem_shm_part_t *part, apr_uint32_t unit)
{
    idem_shm_head_t *head = idem_shm_part_head(part, unit);
    apr_uint32_t *bucket =
        &part->buckets[idem_shm_part_bucket(part, &head->id)];

    head->next = *bucket;
    *bucket = unit + 1;
}

/* A chain that is broken is left as it is: the next look-up notices. */
void idem_shm_part_unlink_locked(const idem_shm_part_t *part,
                                 apr_uint32_t unit)
{
    idem_shm_head_t *head = idem_shm_part_head(part, unit);
    apr_uint32_t *ref = &part->buckets[idem_shm_part_bucket(part, &head->id)];
    apr_uint32_t steps = part->nunits / IDEM_SHM_HEAD;

    for (; *ref != 0 && steps > 0; steps--) {
        if (*ref == unit + 1) {
            *ref = head->next;
            return;
        }
        if (!is_head_at(part, *ref - 1)) {
            return;
        }
        ref = &idem_shm_part_head(part, *ref - 1)->next;
    }
}

/* ---------------------------------------------------------------- extents */

void idem_shm_walk_init(idem_shm_walk_t *walk, const idem_shm_head_t *head)
{
    walk->unit = head->ext;
    walk->n = head->extn;
    walk->left = head->len;
}

/* An extent holds a link to the next one only if the rest of the record is
 * longer than the extent: the usual record of one extent pays nothing. */
int idem_shm_walk_next(idem_shm_walk_t *walk, const idem_shm_part_t *part)
{
    apr_size_t bytes = (apr_size_t)walk->n * IDEM_SHM_UNIT;
    idem_shm_link_t link;

    if (walk->left == 0) {
        return 0;
    }
    if (walk->n == 0 || walk->n > IDEM_SHM_RUN_MAX
        || walk->unit >= part->nunits || walk->n > part->nunits - walk->unit) {
        return -1;
    }
    walk->at = walk->unit;
    walk->atn = walk->n;
    walk->data = part->units + (apr_size_t)walk->unit * IDEM_SHM_UNIT;
    if (walk->left <= bytes) {
        walk->len = walk->left;
        walk->left = 0;
        return 1;
    }
    memcpy(&link, walk->data, sizeof(link));
    walk->data += IDEM_SHM_LINK;
    walk->len = bytes - IDEM_SHM_LINK;
    walk->left -= walk->len;
    walk->unit = link.unit;
    walk->n = link.n;
    return 1;
}

/* First free unit in from..to-1, or to. Eight bytes of the map at a time. */
static apr_uint32_t next_free(const unsigned char *map, apr_uint32_t from,
                              apr_uint32_t to)
{
    while (from < to && (from & 7) != 0) {
        if (map[from] == IDEM_SHM_MAP_FREE) {
            return from;
        }
        from++;
    }
    while (from + 8 <= to) {
        apr_uint64_t w;

        memcpy(&w, map + from, sizeof(w));
        if (((w - 0x0101010101010101ull) & ~w & 0x8080808080808080ull) != 0) {
            break;
        }
        from += 8;
    }
    while (from < to && map[from] != IDEM_SHM_MAP_FREE) {
        from++;
    }
    return from;
}

static apr_uint32_t run_len(const unsigned char *map, apr_uint32_t from,
                            apr_uint32_t to, apr_uint32_t max)
{
    apr_uint32_t n = 0;

    while (n < max && from + n < to && map[from + n] == IDEM_SHM_MAP_FREE) {
        n++;
    }
    return n;
}

static void charge(const idem_shm_part_t *part, apr_uint32_t row,
                   apr_uint32_t n)
{
    part->shard->free_units -= n;
    part->rows[row % IDEM_SHM_ROWS].units += n;
}

void idem_shm_part_credit_locked(const idem_shm_part_t *part, apr_uint32_t row,
                                 apr_uint32_t n)
{
    part->shard->free_units += n;
    part->rows[row % IDEM_SHM_ROWS].units -= n;
}

/* Two neighbours in from..to-1, or NONE. */
static apr_uint32_t next_pair(const unsigned char *map, apr_uint32_t from,
                              apr_uint32_t to)
{
    while (from + 1 < to) {
        from = next_free(map, from, to);
        if (from + 1 < to && map[from + 1] == IDEM_SHM_MAP_FREE) {
            return from;
        }
        from++;
    }
    return IDEM_SHM_NONE;
}

/* The unit still holds what was there before, which can look like a record
 * that was in force: its state goes before the map says that it is a head. */
apr_uint32_t idem_shm_part_take_head_locked(const idem_shm_part_t *part,
                                            apr_uint32_t row)
{
    idem_shm_shard_t *shard = part->shard;
    apr_uint32_t cursor = shard->cursor % part->nunits;
    apr_uint32_t unit = next_pair(part->map, cursor, part->nunits);
    idem_shm_head_t *head;

    if (unit == IDEM_SHM_NONE) {
        unit = next_pair(part->map, 0, part->nunits);
    }
    if (unit == IDEM_SHM_NONE) {
        return IDEM_SHM_NONE;
    }
    head = idem_shm_part_head(part, unit);
    __atomic_store_n(&head->state, IDEM_SHM_FREE, __ATOMIC_RELEASE);
    head->len = 0;
    head->row = (apr_uint16_t)row;
    __atomic_thread_fence(__ATOMIC_RELEASE);
    part->map[unit] = IDEM_SHM_MAP_HEAD;
    part->map[unit + 1] = IDEM_SHM_MAP_MORE;
    charge(part, row, IDEM_SHM_HEAD);
    shard->cursor = unit + IDEM_SHM_HEAD;
    return unit;
}

static void mark(const idem_shm_part_t *part, apr_uint32_t unit,
                 apr_uint32_t n)
{
    memset(part->map + unit, IDEM_SHM_MAP_MORE, n);
    part->map[unit] = IDEM_SHM_MAP_EXTENT;
}

/* Where the reservation has got to. */
typedef struct {
    apr_uint32_t at;   /* look here next */
    apr_uint32_t to;   /* end of this round */
    apr_uint32_t tail; /* extent that waits for its link, or NONE */
    apr_size_t left;
} reserve_t;

/* Take the run at @a unit; the last one as long as needed, else all of it. */
static void take_run(const idem_shm_part_t *part, idem_shm_head_t *head,
                     reserve_t *res, apr_uint32_t unit, apr_uint32_t n)
{
    apr_size_t bytes = (apr_size_t)n * IDEM_SHM_UNIT;
    idem_shm_link_t link;

    mark(part, unit, n);
    charge(part, head->row, n);
    if (res->tail == IDEM_SHM_NONE) {
        head->ext = unit;
        head->extn = (apr_uint16_t)n;
    }
    else {
        link.unit = unit;
        link.n = n;
        memcpy(part->units + (apr_size_t)res->tail * IDEM_SHM_UNIT, &link,
               sizeof(link));
    }
    res->tail = unit;
    res->left -= res->left <= bytes ? res->left : bytes - IDEM_SHM_LINK;
    res->at = unit + n;
}

static void reserve_round(const idem_shm_part_t *part, idem_shm_head_t *head,
                          reserve_t *res)
{
    while (res->left > 0) {
        apr_size_t want = (res->left + IDEM_SHM_UNIT - 1) / IDEM_SHM_UNIT;
        apr_uint32_t unit = next_free(part->map, res->at, res->to);

        if (unit >= res->to) {
            return;
        }
        if (want > IDEM_SHM_RUN_MAX) {
            want = IDEM_SHM_RUN_MAX;
        }
        take_run(part, head, res, unit,
                 run_len(part->map, unit, res->to, (apr_uint32_t)want));
    }
}

/* Undo a reservation that found no room: the links know what was taken. */
static void undo_reserve(const idem_shm_part_t *part, idem_shm_head_t *head,
                         const reserve_t *res, apr_uint32_t len)
{
    /* All extents are full, each with a link, and the last one's leads
     * nowhere; but the walk ends there, for it has all bytes by then. */
    head->len = len - (apr_uint32_t)res->left;
    idem_shm_part_drop_body_locked(part, head);
}

int idem_shm_part_reserve_locked(const idem_shm_part_t *part,
                                 idem_shm_head_t *head, apr_uint32_t len)
{
    reserve_t res;
    apr_uint32_t cursor = part->shard->cursor % part->nunits;

    if (len == 0) {
        return 1;
    }
    if ((len - 1) / IDEM_SHM_UNIT + 1 > part->shard->free_units) {
        return 0;
    }
    res.left = len;
    res.tail = IDEM_SHM_NONE;
    res.at = cursor;
    res.to = part->nunits;
    reserve_round(part, head, &res);
    if (res.left > 0) {
        res.at = 0;
        res.to = cursor;
        reserve_round(part, head, &res);
    }
    if (res.left > 0) {
        undo_reserve(part, head, &res, len);
        return 0;
    }
    head->len = len;
    part->shard->cursor = res.at;
    return 1;
}

void idem_shm_part_drop_body_locked(const idem_shm_part_t *part,
                                    idem_shm_head_t *head)
{
    idem_shm_walk_t walk;

    idem_shm_walk_init(&walk, head);
    while (idem_shm_walk_next(&walk, part) == 1) {
        if (part->map[walk.at] != IDEM_SHM_MAP_EXTENT) {
            break;
        }
        memset(part->map + walk.at, IDEM_SHM_MAP_FREE, walk.atn);
        idem_shm_part_credit_locked(part, head->row, walk.atn);
    }
    head->len = 0;
}

/* ---------------------------------------------------------------- records */

apr_uint32_t *idem_shm_part_count(const idem_shm_part_t *part,
                                  apr_uint32_t state)
{
    switch (state) {
    case IDEM_SHM_EXECUTING:
        return &part->shard->executing;
    case IDEM_SHM_DONE:
        return &part->shard->done;
    case IDEM_SHM_NOT_RETAINED:
        return &part->shard->not_retained;
    case IDEM_SHM_UNKNOWN:
        return &part->shard->unknown;
    case IDEM_SHM_DETACHED:
        return &part->shard->detached;
    case IDEM_SHM_EXPIRED:
        return &part->shard->tombstones;
    default:
        return NULL;
    }
}

void idem_shm_part_set_state_locked(const idem_shm_part_t *part,
                                    idem_shm_head_t *head, apr_uint32_t state)
{
    apr_uint32_t *was = idem_shm_part_count(part, head->state);
    apr_uint32_t *is = idem_shm_part_count(part, state);

    __atomic_store_n(&head->state, state, __ATOMIC_RELEASE);
    if (was) {
        (*was)--;
    }
    if (is) {
        (*is)++;
    }
    /* Whoever reads without the lock sees the state before anything else
     * that happens to the record from now on. */
    __atomic_thread_fence(__ATOMIC_RELEASE);
}

void idem_shm_part_free_locked(const idem_shm_part_t *part, apr_uint32_t unit)
{
    idem_shm_head_t *head = idem_shm_part_head(part, unit);
    int linked = head->state != IDEM_SHM_DETACHED;
    int tomb = head->state == IDEM_SHM_EXPIRED;

    idem_shm_part_set_state_locked(part, head, IDEM_SHM_FREE);
    if (linked) {
        idem_shm_part_unlink_locked(part, unit);
    }
    part->map[unit] = IDEM_SHM_MAP_FREE;
    if (tomb) {
        idem_shm_part_credit_locked(part, head->tomb.row, 1);
        return;
    }
    idem_shm_part_drop_body_locked(part, head);
    part->map[unit + 1] = IDEM_SHM_MAP_FREE;
    idem_shm_part_credit_locked(part, head->row, IDEM_SHM_HEAD);
}

/* A host may take any of a few rows; with all of them in others' hands it
 * shares the first. The head remembers which row it was charged to. */
apr_uint32_t idem_shm_part_row_locked(const idem_shm_part_t *part,
                                      apr_uint32_t host)
{
    apr_uint32_t home = (apr_uint32_t)(host * 2654435761u) >> 22;
    apr_uint32_t room = IDEM_SHM_NONE;
    apr_uint32_t i;

    for (i = 0; i < IDEM_SHM_PROBES; i++) {
        apr_uint32_t at = (home + i) % IDEM_SHM_ROWS;

        if (part->rows[at].units == 0) {
            room = room == IDEM_SHM_NONE ? at : room;
        }
        else if (part->rows[at].host == host) {
            return at;
        }
    }
    if (room == IDEM_SHM_NONE) {
        return home;
    }
    part->rows[room].host = host;
    return room;
}

apr_uint32_t idem_shm_part_quota(const idem_shm_part_t *part, apr_uint32_t row)
{
    apr_uint64_t percent = part->rows[row % IDEM_SHM_ROWS].quota;

    return percent == 0 || percent > 100
               ? APR_UINT32_MAX
               : (apr_uint32_t)(part->nunits * percent / 100);
}
