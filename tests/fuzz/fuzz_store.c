/* fuzz_store.c: a store whose bytes were changed -> open and use it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first byte: 1: the last server ended in order, nothing is verified;
 * 2: somebody died inside the shard. Then patches of 4 + n bytes: what and
 * where, see patch(). Whatever they do: no access beyond the segment, which
 * has no neighbours here, and no record with bytes that were never committed
 * (unless its checksum was made to fit); where all is verified, a shard that
 * is whole.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <apr_general.h>

#include "idem_shm.h"

#define SIZE IDEM_SHM_SIZE_MIN
#define T0 apr_time_from_sec(1000000)
#define TTL apr_time_from_sec(60)
#define RECORDS 40u
#define PATCHES 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static char *base;  /* the segment, between two forbidden pages */
static char *image; /* what it is to begin with */
static idem_shm_owners_t *owners; /* of the process that opens it */
static apr_global_mutex_t *lock;
static idem_shm_open_t how = { NULL, SIZE, 0, T0, 0 };

static void need(int holds)
{
    if (!holds) {
        abort();
    }
}

/* ------------------------------------------------------------------ store */

static idem_digest_t digest(apr_uint32_t n)
{
    idem_digest_t d;
    apr_uint32_t x = n;
    size_t i;

    for (i = 0; i < sizeof(d.bytes); i += sizeof(x)) {
        x = (x ^ (x >> 15)) * 2654435761u + n;
        memcpy(d.bytes + i, &x, sizeof(x));
    }
    return d;
}

static char byte_of(apr_uint32_t n, apr_size_t i)
{
    return (char)(n * 31 + i * 7 + (i >> 8));
}

static int is_bytes(const idem_blob_t *record, apr_uint32_t n)
{
    apr_size_t i;

    for (i = 0; i < record->len; i++) {
        if (record->data[i] != byte_of(n, i)) {
            return 0;
        }
    }
    return 1;
}

static idem_store_t *open_store(apr_pool_t *pool)
{
    idem_shm_segment_t segment = { 0 };
    const char *detail = NULL;
    idem_store_t *store;

    segment.base = base;
    segment.owners = owners;
    segment.lock_fd = -1;
    memset(owners, 0, sizeof(*owners));
    need(idem_shm_header_start(&segment, &detail, &how, pool) == APR_SUCCESS);
    need(idem_store_shm_attach(&store, &segment, &lock, pool) == APR_SUCCESS);
    need(idem_store_shm_child_init(store) == APR_SUCCESS);
    return store;
}

/* Whatever may become of it. @return what was found */
static idem_claim_t claim(idem_store_t *store, apr_uint32_t n,
                          idem_token_t *token, idem_blob_t *record,
                          apr_pool_t *pool)
{
    idem_digest_t id = digest(n);
    idem_digest_t print = digest(~n);
    idem_ask_t ask = {
        &id, &print, n % 3, n % 5 ? 0 : 50, n % 7 == 0, T0, TTL
    };
    idem_claim_t what = IDEM_CLAIM_IN_PROGRESS;

    return idem_store_claim(store, &what, token, record, &ask, pool)
                   == APR_SUCCESS
               ? what
               : IDEM_CLAIM_IN_PROGRESS;
}

static void commit(idem_store_t *store, apr_uint32_t n, apr_size_t len,
                   const idem_token_t *token)
{
    static char data[20000];
    struct iovec vec = { data, len };
    idem_term_t term = { T0, TTL, n % 3 == 0 ? TTL : 0 };
    idem_end_t end = n % 4 == 3 ? IDEM_END_NOT_RETAINED : IDEM_END_DONE;
    apr_size_t i;

    for (i = 0; i < len; i++) {
        data[i] = byte_of(n, i);
    }
    if (n % 6 == 0) {
        term.now = T0 - 2 * TTL;
        term.tombstone = 10 * TTL;
    }
    (void)idem_store_commit(store, token, end, &vec, 1, &term);
}

static void put(idem_store_t *store, apr_uint32_t n, apr_size_t len,
                apr_pool_t *pool)
{
    idem_token_t token;
    idem_blob_t record;

    if (claim(store, n, &token, &record, pool) == IDEM_CLAIM_NEW) {
        commit(store, n, len, &token);
    }
}

static void *room(apr_size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    need(p != MAP_FAILED);
    return p;
}

static void prepare(apr_pool_t *pool)
{
    idem_store_t *store;
    apr_uint32_t n;

    base = (char *)room(SIZE + 2 * IDEM_SHM_PAGE) + IDEM_SHM_PAGE;
    need(mprotect(base - IDEM_SHM_PAGE, IDEM_SHM_PAGE, PROT_NONE) == 0);
    need(mprotect(base + SIZE, IDEM_SHM_PAGE, PROT_NONE) == 0);
    image = room(SIZE);
    owners = room(sizeof(*owners));
    need(apr_global_mutex_create(&lock, NULL, APR_LOCK_DEFAULT, pool)
         == APR_SUCCESS);
    need(idem_shm_header_init(base, &how) == APR_SUCCESS);
    store = open_store(pool);
    for (n = 1; n <= RECORDS; n++) {
        idem_token_t token;
        idem_blob_t record;

        put(store, n, n * n * 10, pool);
        if (n % 12 == 0) {
            /* Becomes a tombstone: the others are still to become one. */
            (void)claim(store, n, &token, &record, pool);
        }
        if (n % 8 == 0) {
            (void)claim(store, 1000 + n, &token, &record, pool);
        }
    }
    memcpy(image, base, SIZE);
}

/* ---------------------------------------------------------------- patches */

static idem_shm_part_t part_of(void)
{
    idem_shm_part_t part;

    idem_shm_part_init(&part, base, SIZE, 0);
    return part;
}

/* The n-th head of the map. */
static idem_shm_head_t *head_of(const idem_shm_part_t *part, unsigned int n)
{
    apr_uint32_t u;

    n %= RECORDS + 8;
    for (u = 0; u + 1 < part->nunits; u++) {
        if (part->map[u] == IDEM_SHM_MAP_HEAD && n-- == 0) {
            return idem_shm_part_head(part, u);
        }
    }
    return NULL;
}

/* Make the checksum fit, as somebody could who wants to be believed. */
static void seal(const idem_shm_part_t *part, idem_shm_head_t *head)
{
    idem_shm_walk_t walk;
    idem_shm_sum_t sum;
    int steps = 0;

    if (head->state == IDEM_SHM_EXPIRED) {
        head->tomb.sum = idem_shm_sum_tomb(head);
        return;
    }
    head->ident = idem_shm_sum_ident(head);
    idem_shm_sum_init(&sum, head, head->state);
    idem_shm_walk_init(&walk, head);
    while (steps++ < 1000 && idem_shm_walk_next(&walk, part) == 1) {
        idem_shm_sum_add(&sum, walk.data, walk.len);
    }
    head->is.sum = idem_shm_sum_end(&sum);
}

/*
 * d[0] % 8 says what, d[1] and d[2] where, d[3] % 16 how many bytes follow:
 *
 *   0 to 4   bytes of header, shard, map, units, a bucket
 *   5        bytes of the head d[1] from d[2] on
 *   6        the checksums of the head d[1] are made to fit
 *   7        the state of the head d[1] becomes d[2]
 *
 * @return bytes used; 0: no more
 */
static size_t patch(const uint8_t *d, size_t len, int *forged)
{
    static const apr_uint32_t states[] = {
        IDEM_SHM_FREE,     IDEM_SHM_EXECUTING, IDEM_SHM_DONE,
        IDEM_SHM_UNKNOWN,  IDEM_SHM_DETACHED,  IDEM_SHM_NOT_RETAINED,
        IDEM_SHM_EXPIRING, IDEM_SHM_EXPIRED
    };
    idem_shm_part_t part = part_of();
    apr_size_t at;
    apr_size_t n;
    idem_shm_head_t *head;
    char *p = NULL;

    if (len < 4) {
        return 0;
    }
    at = (apr_size_t)(d[1] | d[2] << 8);
    n = d[3] % 16u;
    n = n < len - 4 ? n : len - 4;
    switch (d[0] % 8) {
    case 0:
        p = base + at % 256;
        break;
    case 1:
        p = (char *)part.shard + at % 256;
        break;
    case 2:
        p = (char *)part.map + at % part.nunits;
        break;
    case 3:
        p = part.units + at;
        break;
    case 4:
        p = (char *)(part.buckets + at % part.nbuckets);
        break;
    default:
        head = head_of(&part, d[1]);
        if (!head) {
            return 4;
        }
        if (d[0] % 8 == 5) {
            p = (char *)head + d[2] % sizeof(*head);
        }
        else if (d[0] % 8 == 6) {
            seal(&part, head);
            *forged = 1;
        }
        else {
            head->state = states[d[2] % 8];
        }
        break;
    }
    if (!p) {
        return 4;
    }
    memcpy(p, d + 4, n);
    return 4 + n;
}

/* -------------------------------------------------------------------- use */

static void walk(idem_store_t *store)
{
    idem_entry_t entries[16];
    apr_uint64_t cursor = 0;
    int steps = 0;

    do {
        int n = 16;

        if (idem_store_list(store, entries, &n, &cursor) != APR_SUCCESS) {
            return;
        }
        need(n >= 0 && n <= 16 && ++steps < 20000);
    } while (cursor != 0);
}

static void use(idem_store_t *store, int forged, apr_pool_t *pool)
{
    apr_uint32_t n;

    for (n = 1; n <= RECORDS + 3; n++) {
        idem_digest_t id = digest(n);
        idem_token_t token;
        idem_blob_t record;
        idem_entry_t entry;

        if (idem_store_look(store, &entry, &record, &id, pool)
            == APR_SUCCESS) {
            need(forged || is_bytes(&record, n));
        }
        switch (claim(store, n, &token, &record, pool)) {
        case IDEM_CLAIM_DONE:
        case IDEM_CLAIM_NOT_RETAINED:
            need(forged || is_bytes(&record, n));
            break;
        case IDEM_CLAIM_NEW:
            if (n % 2) {
                commit(store, n, n * 300, &token);
            }
            else {
                (void)idem_store_release(store, &token);
            }
            break;
        default:
            break;
        }
        if (n % 5 == 0) {
            (void)idem_store_forget(store, &id);
        }
    }
    walk(store);
    idem_store_purge(store, T0);
    idem_store_purge(store, T0 + 2 * TTL);
    put(store, 5001, 20000, pool);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static apr_pool_t *parent;
    idem_shm_part_t part;
    idem_store_t *store;
    idem_usage_t usage;
    apr_uint64_t repairs;
    apr_pool_t *pool;
    size_t n;
    int patches;
    int forged = 0;

    if (!parent) {
        apr_initialize();
        apr_pool_create(&parent, NULL);
        prepare(parent);
    }
    if (len == 0) {
        return 0;
    }
    memcpy(base, image, SIZE);
    part = part_of();
    part.shard->dirty = (data[0] & 2) ? 5 : 0;
    if (data[0] & 1) {
        idem_shm_header_end(base);
    }
    for (n = 1, patches = 0; patches < PATCHES && n < len; patches++) {
        size_t used = patch(data + n, len - n, &forged);

        if (used == 0) {
            break;
        }
        n += used;
    }
    if (idem_shm_header_judge(base, &how)) {
        return 0;
    }
    apr_pool_create(&pool, parent);
    repairs = part.shard->repairs;
    store = open_store(pool);
    if (part.shard->repairs != repairs) {
        need(!idem_store_check(store, pool));
    }
    use(store, forged, pool);
    idem_store_usage(store, &usage);
    (void)idem_store_check(store, pool);
    apr_pool_destroy(pool);
    return 0;
}
