/* idem_store_shm.c: the store in shared memory: the calls.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The segment, a file or anonymous memory, is one page of header and then
 * shards. The first bytes of an id choose the shard; each has a lock of its
 * own and shares nothing with the others.
 *
 *   +--------+---------+---------+-----
 *   | header | shard 0 | shard 1 | ...
 *   +--------+---------+---------+-----
 *
 *   shard:
 *   +------+-----------+---------+---------------+-----------------------+
 *   | head | use table | buckets | map           | units of 64 bytes     |
 *   +------+-----------+---------+---------------+-----------------------+
 *     dirty  units per   unit + 1  one byte per    H H b b b H H . H H b .
 *     fence  host        of first  unit: FREE HEAD
 *     counts             record    EXTENT MORE
 *
 *   record = head (2 units) + extents (runs of units):
 *
 *   bucket --> head --next--> head --next--> 0
 *              | ext, extn
 *              v
 *              [ link | bytes ... ] --> [ bytes ... ]
 *
 * An extent begins with a link only if the record goes on in another one.
 * There are numbers of units everywhere and no pointers, since processes map
 * the file where they like and children must not be trusted by the parent.
 *
 * A record's life, and who makes each step (all under the lock of the shard;
 * the state word is written last when a record gains force, first when it
 * loses it):
 *
 *            claim                commit
 *   FREE ------------> EXECUTING --------> DONE | NOT_RETAINED
 *    ^   release       |  |   |                   |
 *    +-----------------+  |   | forget            | ttl: claim, purge
 *    |                    |   v                   |
 *    |<---- owner ends -- | DETACHED              |
 *    |      or died       | abandon, commit,      |
 *    |                    v owner died            |
 *    |<------- ttl ----- UNKNOWN                  |
 *    |<-------------------------------------------+
 *    |                                            | with a tombstone
 *    |<----- its time is over ----- EXPIRED <-- EXPIRING
 *
 *   EXECUTING  owner is the process; extents may be reserved already.
 *   DETACHED   released by the administrator while the owner may be writing
 *              its extents: out of the index, but the units stay taken.
 *   EXPIRING   extents and second unit are given back, the first unit becomes
 *              the tombstone: never seen but after a death in the middle.
 *   EXPIRED    the tombstone: id, some of the fingerprint, its end.
 *   others     never change but to FREE or EXPIRING; readers copy without the
 *              lock and look afterwards whether state and fence are the same.
 *
 * A process can die at any instruction. Died it inside the lock, the dirty
 * word says so and the next one repairs the shard (idem_shm_repair.c).
 * Nothing that is inside allocates, logs or makes a system call.
 */
#include "idem_shm.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include <apr_strings.h>

/* Looks at a lock that is held, before sleeping: what happens inside is over
 * in less than a microsecond, and being woken up takes ten (rule 34's table,
 * priority inheritance). */
#define SPINS 1000

/* Is this thread inside? A signal handler asks, before it waits for ever. */
static __thread volatile sig_atomic_t in_crit;

int idem_shm_is_inside(void)
{
    return in_crit;
}

/* ---------------------------------------------------------------- the lock */

apr_status_t idem_shm_enter(const idem_shm_store_t *shm, apr_uint32_t i,
                            apr_interval_time_t wait)
{
    const idem_shm_part_t *part = &shm->parts[i];
    apr_status_t rv;
    int spin;

    in_crit = 1;
    rv = apr_global_mutex_trylock(shm->locks[i]);
    for (spin = 0; APR_STATUS_IS_EBUSY(rv) && spin < SPINS; spin++) {
        if (__atomic_load_n(&part->shard->dirty, __ATOMIC_RELAXED) == 0) {
            rv = apr_global_mutex_trylock(shm->locks[i]);
        }
    }
    if (APR_STATUS_IS_EBUSY(rv) && wait > 0) {
        rv = apr_global_mutex_timedlock(shm->locks[i], wait);
    }
    if (rv != APR_SUCCESS) {
        in_crit = 0;
        return rv;
    }
    if (__atomic_load_n(&part->shard->dirty, __ATOMIC_RELAXED) != 0) {
        idem_shm_repair_locked(part, 0, 0);
    }
    __atomic_store_n(&part->shard->dirty, shm->owner | 1, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    return APR_SUCCESS;
}

void idem_shm_leave(const idem_shm_store_t *shm, apr_uint32_t i)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(&shm->parts[i].shard->dirty, 0, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    apr_global_mutex_unlock(shm->locks[i]);
    in_crit = 0;
}

apr_uint32_t idem_shm_shard_of(const idem_shm_store_t *shm,
                               const idem_digest_t *id)
{
    apr_uint32_t hash;

    memcpy(&hash, id->bytes, sizeof(hash));
    return hash & (shm->nshards - 1);
}

/* ------------------------------------------------------------------- disk */

apr_status_t idem_shm_sync_range(const idem_shm_store_t *shm, const void *from,
                                 apr_size_t len)
{
    char *base = shm->segment.base;
    apr_size_t at = (apr_size_t)((const char *)from - base);
    apr_size_t to = at + len;

    at &= ~(apr_size_t)(IDEM_SHM_PAGE - 1);
    return msync(base + at, to - at, MS_SYNC) == 0 ? APR_SUCCESS
                                                   : APR_EGENERAL;
}

/* The head and its byte of the map; the index can be made anew. */
apr_status_t idem_shm_sync_head(const idem_shm_store_t *shm,
                                const idem_shm_part_t *part, apr_uint32_t unit)
{
    apr_status_t rv = APR_SUCCESS;

    if (shm->segment.sync) {
        rv = idem_shm_sync_range(shm, idem_shm_part_head(part, unit),
                                 sizeof(idem_shm_head_t));
    }
    if (shm->segment.sync && rv == APR_SUCCESS) {
        rv = idem_shm_sync_range(shm, part->map + unit, IDEM_SHM_HEAD);
    }
    return rv;
}

/* ------------------------------------------------------------------ calls */

int idem_shm_is_alive(const idem_shm_store_t *shm, const idem_shm_head_t *head)
{
    return idem_shm_owner_is_alive(shm->owners, shm->segment.epoch,
                                   head->is.owner);
}

/* Units of other states are left for the owner, who may be writing them. */
static apr_status_t shm_forget(idem_store_t *store, const idem_digest_t *id)
{
    idem_shm_store_t *shm = (idem_shm_store_t *)store;
    apr_uint32_t i = idem_shm_shard_of(shm, id);
    const idem_shm_part_t *part = &shm->parts[i];
    apr_status_t rv = idem_shm_enter(shm, i, IDEM_SHM_LOCK_WAIT);
    idem_shm_head_t *head;
    apr_uint32_t unit;

    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = idem_shm_find_locked(part, id, &unit);
    if (rv == APR_SUCCESS && unit == IDEM_SHM_NONE) {
        rv = APR_NOTFOUND;
    }
    if (rv != APR_SUCCESS) {
        goto leave;
    }
    head = idem_shm_part_head(part, unit);
    if (head->state == IDEM_SHM_EXECUTING && idem_shm_is_alive(shm, head)) {
        idem_shm_part_set_state_locked(part, head, IDEM_SHM_DETACHED);
        idem_shm_part_unlink_locked(part, unit);
    }
    else {
        idem_shm_part_free_locked(part, unit);
    }

leave:
    idem_shm_leave(shm, i);
    return rv == APR_SUCCESS ? idem_shm_sync_head(shm, part, unit) : rv;
}

/* A quarter of a shard: one answer cannot fill what others share. */
static apr_size_t shm_record_max(const idem_store_t *store)
{
    const idem_shm_store_t *shm = (const idem_shm_store_t *)store;
    apr_size_t max = (apr_size_t)shm->parts[0].nunits / 4 * IDEM_SHM_UNIT;

    return max < APR_UINT32_MAX ? max : APR_UINT32_MAX;
}

static void shm_usage(idem_store_t *store, idem_usage_t *usage)
{
    const idem_shm_store_t *shm = (const idem_shm_store_t *)store;
    apr_uint32_t i;

    for (i = 0; i < shm->nshards; i++) {
        const idem_shm_part_t *part = &shm->parts[i];
        const idem_shm_shard_t *shard = part->shard;
        apr_time_t oldest;

        usage->size += (apr_uint64_t)part->nunits * IDEM_SHM_UNIT;
        usage->used +=
            (apr_uint64_t)(part->nunits - shard->free_units) * IDEM_SHM_UNIT;
        usage->executing += shard->executing;
        usage->done += shard->done;
        usage->not_retained += shard->not_retained;
        usage->unknown += shard->unknown;
        usage->tombstones += shard->tombstones;
        oldest = __atomic_load_n(&shard->oldest, __ATOMIC_RELAXED);
        if (oldest != 0 && (usage->oldest == 0 || oldest < usage->oldest)) {
            usage->oldest = oldest;
        }
        usage->expired += shard->expired;
        usage->repairs += shard->repairs;
        usage->refused += shard->refused;
    }
}

/* Holds a lock as long as a shard takes: for tests, and for a server whose
 * numbers are doubted. */
static const char *shm_check(idem_store_t *store, apr_pool_t *pool)
{
    idem_shm_store_t *shm = (idem_shm_store_t *)store;
    apr_uint32_t *use = apr_palloc(pool, IDEM_SHM_ROWS * sizeof(*use));
    apr_uint32_t i;

    for (i = 0; i < shm->nshards; i++) {
        const char *wrong;

        if (idem_shm_enter(shm, i, IDEM_SHM_LOCK_WAIT) != APR_SUCCESS) {
            return apr_psprintf(pool, "shard %u: no lock", i);
        }
        wrong = idem_shm_repair_check_locked(&shm->parts[i], use);
        idem_shm_leave(shm, i);
        if (wrong) {
            return apr_psprintf(pool, "shard %u: %s", i, wrong);
        }
    }
    return NULL;
}

static apr_time_t shm_now(const idem_store_t *store)
{
    return idem_shm_uptime()
           + ((const idem_shm_store_t *)store)->segment.offset;
}

/* ----------------------------------------------------------------- attach */

static const idem_store_calls_t calls = {
    idem_shm_claim, idem_shm_commit, idem_shm_release, idem_shm_abandon,
    shm_forget,     idem_shm_purge,  shm_record_max,   shm_usage,
    shm_check,      shm_now,         idem_shm_look,    idem_shm_list,
};

apr_status_t idem_store_shm_attach(idem_store_t **store,
                                   const idem_shm_segment_t *segment,
                                   apr_global_mutex_t **locks,
                                   apr_pool_t *pool)
{
    idem_shm_store_t *shm;
    apr_uint32_t i;

    if (!segment->base || !segment->owners || !locks
        || segment->nshards != idem_shm_nshards(segment->size)) {
        return APR_EINVAL;
    }
    shm = apr_pcalloc(pool, sizeof(*shm));
    shm->base.name = "shm";
    shm->base.calls = &calls;
    memcpy(shm->base.secret, idem_shm_secret(segment->base),
           sizeof(shm->base.secret));
    shm->segment = *segment;
    shm->owners = segment->owners;
    shm->nshards = segment->nshards;
    shm->locks = locks;
    shm->parts = apr_palloc(pool, shm->nshards * sizeof(*shm->parts));
    for (i = 0; i < shm->nshards; i++) {
        idem_shm_part_init(&shm->parts[i], segment->base, segment->size, i);
    }
    *store = &shm->base;
    return APR_SUCCESS;
}

apr_status_t idem_store_shm_child_init(idem_store_t *store)
{
    idem_shm_store_t *shm = (idem_shm_store_t *)store;

    shm->owner = idem_shm_owner_enter(shm->owners, shm->segment.epoch);
    return shm->owner != 0 ? APR_SUCCESS : APR_ENOSPC;
}

void idem_store_shm_child_died(idem_store_t *store, pid_t pid)
{
    idem_shm_owner_died(((idem_shm_store_t *)store)->owners, pid);
}
