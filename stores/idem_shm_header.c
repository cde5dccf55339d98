/* idem_shm_header.c: first page of a segment: what it is, its clock, its end.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Runs in the parent, which may be root, before children exist: the content
 * is believed only as far as it proves itself, for children have written it.
 */
#include "idem_shm.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <apr_strings.h>

#define MAGIC "IDEMSHM1"
#define ORDER 0x01020304u
#define BOOT_LEN 36 /* of the kernel's text */

/* What never changes in the life of a file. */
typedef struct {
    char magic[8];
    apr_uint32_t format;
    apr_uint32_t order;
    apr_uint32_t pointer;
    apr_uint32_t nshards;
    apr_uint64_t size;
    apr_int64_t created;
    unsigned char secret[IDEM_DIGEST_LEN];
    apr_uint64_t sum;
} fixed_t;

/* The first page of the file. */
typedef struct {
    fixed_t fixed;
    apr_uint32_t clean; /* 1: the last server ended in order */
    apr_uint32_t epoch;
    apr_int64_t offset; /* uptime + offset is the store's time, this boot */
    apr_int64_t store;  /* the store's time at the last checkpoint */
    apr_int64_t wall;   /* and the wall clock's */
    char boot[BOOT_LEN + 4];
} header_t;

/* ------------------------------------------------------------------ clock */

apr_time_t idem_shm_uptime(void)
{
    struct timespec ts;

    if (clock_gettime(CLOCK_BOOTTIME, &ts) != 0
        && clock_gettime(CLOCK_MONOTONIC, &ts) != 0) {
        return 0;
    }
    return apr_time_from_sec((apr_time_t)ts.tv_sec) + ts.tv_nsec / 1000;
}

static void read_boot_id(char *boot)
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = 0;

    memset(boot, 0, BOOT_LEN + 4);
    if (fd >= 0) {
        n = read(fd, boot, BOOT_LEN);
        close(fd);
    }
    if (n != BOOT_LEN) {
        /* Without a name every boot is another one. */
        memset(boot, 0, BOOT_LEN + 4);
    }
}

static int is_time(apr_int64_t t)
{
    return t > 0 && t < APR_INT64_MAX / 2;
}

/* The same boot goes on where it was. Over a reboot the wall clock tells how
 * long the machine was off; set back meanwhile, the store's time stands.
 * @return 1 on the same boot */
static int start_clock(header_t *header, apr_time_t wall)
{
    apr_time_t uptime = idem_shm_uptime();
    apr_time_t now = header->store;
    char boot[BOOT_LEN + 4];

    read_boot_id(boot);
    if (boot[0] && memcmp(boot, header->boot, sizeof(boot)) == 0
        && is_time(header->offset) && is_time(uptime + header->offset)) {
        return 1;
    }
    if (!is_time(now) || !is_time(header->wall)) {
        now = wall;
    }
    else if (wall > header->wall) {
        now += wall - header->wall;
    }
    memcpy(header->boot, boot, sizeof(boot));
    header->offset = now - uptime;
    return 0;
}

void idem_shm_checkpoint(void *base, apr_time_t now, apr_time_t wall)
{
    header_t *header = base;

    /* Two purges may be at it at once, around a graceful restart. */
    __atomic_store_n(&header->store, now, __ATOMIC_RELAXED);
    __atomic_store_n(&header->wall, wall, __ATOMIC_RELAXED);
}

const unsigned char *idem_shm_secret(const void *base)
{
    return ((const header_t *)base)->fixed.secret;
}

/* ----------------------------------------------------------------- header */

static apr_uint64_t fixed_sum(const fixed_t *fixed)
{
    idem_shm_sum_t sum;

    idem_shm_sum_start(&sum);
    idem_shm_sum_add(&sum, fixed, offsetof(fixed_t, sum));
    return idem_shm_sum_end(&sum);
}

apr_status_t idem_shm_header_init(void *base, const idem_shm_open_t *how)
{
    header_t *header = base;
    apr_uint32_t i;
    apr_status_t rv;

    memset(header, 0, sizeof(*header));
    memcpy(header->fixed.magic, MAGIC, sizeof(header->fixed.magic));
    header->fixed.format = IDEM_SHM_FORMAT;
    header->fixed.order = ORDER;
    header->fixed.pointer = sizeof(void *);
    header->fixed.nshards = idem_shm_nshards(how->size);
    header->fixed.size = how->size;
    header->fixed.created = how->wall;
    rv = apr_generate_random_bytes(header->fixed.secret,
                                   sizeof(header->fixed.secret));
    if (rv != APR_SUCCESS) {
        return rv;
    }
    for (i = 0; i < header->fixed.nshards; i++) {
        idem_shm_part_t part;

        idem_shm_part_init(&part, base, how->size, i);
        part.shard->free_units = part.nunits;
    }
    header->clean = 1;
    header->offset = how->wall - idem_shm_uptime();
    read_boot_id(header->boot);
    header->fixed.sum = fixed_sum(&header->fixed);
    return APR_SUCCESS;
}

const char *idem_shm_header_judge(const void *base, const idem_shm_open_t *how)
{
    const header_t *header = base;
    const fixed_t *fixed = &header->fixed;

    if (memcmp(fixed->magic, MAGIC, sizeof(fixed->magic)) != 0) {
        return "it is no store";
    }
    if (fixed->format != IDEM_SHM_FORMAT || fixed->order != ORDER
        || fixed->pointer != sizeof(void *)) {
        return "it is of another version or kind of machine";
    }
    if (fixed->sum != fixed_sum(fixed)) {
        return "its header is damaged";
    }
    if (fixed->size != how->size
        || fixed->nshards != idem_shm_nshards(how->size)) {
        return "it is of another size";
    }
    return NULL;
}

/* ----------------------------------------------------------- start, end */

/* Every shard, or after an end in order the ones that somebody was in. */
static void repair(void *base, int all, const char **detail,
                   const idem_shm_open_t *how, apr_pool_t *pool)
{
    header_t *header = base;
    apr_uint32_t damaged = 0;
    apr_time_t now = idem_shm_uptime() + header->offset;
    apr_uint32_t i;

    for (i = 0; i < header->fixed.nshards; i++) {
        idem_shm_part_t part;

        idem_shm_part_init(&part, base, how->size, i);
        if (all || part.shard->dirty != 0) {
            damaged += idem_shm_repair_locked(&part, 1, now);
            part.shard->dirty = 0;
        }
    }
    if (damaged > 0) {
        *detail = apr_psprintf(pool,
                               "%s: %u records were damaged; they are "
                               "lost or their outcome is unknown",
                               how->path ? how->path : "memory", damaged);
    }
}

apr_status_t idem_shm_header_start(idem_shm_segment_t *segment,
                                   const char **detail,
                                   const idem_shm_open_t *how,
                                   apr_pool_t *pool)
{
    header_t *header = segment->base;
    int same_boot = start_clock(header, how->wall);

    /* "clean" was written to memory. Did it reach the disk before a reboot,
     * that does not say that all the rest did. */
    repair(segment->base, !same_boot || header->clean != 1, detail, how, pool);
    header->clean = 0;
    header->epoch = (header->epoch % 0xffffff) + 1;
    segment->epoch = header->epoch;
    segment->offset = header->offset;
    segment->size = how->size;
    segment->nshards = header->fixed.nshards;
    segment->sync = how->sync && how->path;
    idem_shm_checkpoint(segment->base, idem_shm_uptime() + header->offset,
                        how->wall);
    if (segment->sync && msync(segment->base, segment->size, MS_SYNC) != 0) {
        return errno;
    }
    return APR_SUCCESS;
}

void idem_shm_header_end(void *base)
{
    ((header_t *)base)->clean = 1;
}
