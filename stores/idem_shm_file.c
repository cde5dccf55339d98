/* idem_shm_file.c: open and close the file of a shm store.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Runs in the parent, which may be root, before children exist. The folder
 * has to be one that nobody else can write (rules 27, 56).
 */
#include "idem_shm.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_strings.h>

#define LOCK_RETRY apr_time_from_msec(50)

/* ----------------------------------------------------------------- access */

/* Somebody who can write a folder can put another file in our place. /tmp
 * and its like are no place for the store itself, but may be above it. */
static apr_status_t judge_folders(const char *path, const char **detail,
                                  apr_pool_t *pool)
{
    char *folder = apr_pstrdup(pool, path);
    int depth = 0;

    for (;; depth++) {
        char *slash = strrchr(folder, '/');
        struct stat st;

        if (!slash) {
            *detail = apr_psprintf(pool, "%s is not an absolute path", path);
            return APR_EACCES;
        }
        slash[slash == folder ? 1 : 0] = '\0';
        if (lstat(folder, &st) != 0) {
            *detail = apr_psprintf(pool, "folder %s cannot be used", folder);
            return errno;
        }
        if (S_ISLNK(st.st_mode) && depth > 0 && st.st_uid == 0) {
            /* Root may link, as /var/run does; what counts is behind it. */
            if (stat(folder, &st) != 0) {
                return errno;
            }
        }
        if (!S_ISDIR(st.st_mode) || (st.st_uid != geteuid() && st.st_uid != 0)
            || ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0
                && (depth == 0 || (st.st_mode & S_ISVTX) == 0))) {
            *detail = apr_psprintf(pool,
                                   "folder %s could be written by "
                                   "somebody else",
                                   folder);
            return APR_EACCES;
        }
        if (folder[1] == '\0') {
            return APR_SUCCESS;
        }
    }
}

static apr_status_t judge_file(int fd, const char *path, const char **detail,
                               apr_pool_t *pool)
{
    struct stat st;

    if (fstat(fd, &st) != 0) {
        return errno;
    }
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_nlink != 1
        || (st.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        *detail = apr_psprintf(pool,
                               "%s is not a file of the user that "
                               "starts the server, mode 0600, with one "
                               "name",
                               path);
        return APR_EACCES;
    }
    return APR_SUCCESS;
}

/* @param fd  out; -1 unless APR_SUCCESS */
static apr_status_t open_ours(int *fd, const char *path, const char **detail,
                              apr_pool_t *pool)
{
    apr_status_t rv;

    *fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK,
               S_IRUSR | S_IWUSR);
    if (*fd < 0) {
        rv = errno == ELOOP ? APR_EACCES : errno;
        *detail = apr_psprintf(pool, "%s cannot be opened%s", path,
                               rv == APR_EACCES ? ", or is a link" : "");
        return rv;
    }
    rv = judge_file(*fd, path, detail, pool);
    if (rv != APR_SUCCESS) {
        close(*fd);
        *fd = -1;
    }
    return rv;
}

/* The lock is a file of its own, so that the data can be moved aside under
 * it. Children inherit the descriptor: it is free when the last one ended. */
static apr_status_t lock_file(int *lock_fd, const char **detail,
                              const idem_shm_open_t *how, apr_pool_t *pool)
{
    const char *path = apr_pstrcat(pool, how->path, ".lock", NULL);
    apr_time_t until = idem_shm_uptime() + how->wait;
    apr_status_t rv = open_ours(lock_fd, path, detail, pool);

    while (rv == APR_SUCCESS && flock(*lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EINTR) {
            continue;
        }
        if (errno != EWOULDBLOCK) {
            rv = errno;
        }
        else if (idem_shm_uptime() >= until) {
            *detail = apr_psprintf(pool, "%s is in use by another server",
                                   how->path);
            rv = APR_EBUSY;
        }
        else {
            apr_sleep(LOCK_RETRY);
        }
    }
    if (rv != APR_SUCCESS && *lock_fd >= 0) {
        close(*lock_fd);
        *lock_fd = -1;
    }
    return rv;
}

/* ------------------------------------------------------------------- open */

static apr_status_t map(void **base, int fd, apr_size_t size)
{
    int flags = fd < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED;

    *base = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (*base == MAP_FAILED) {
        *base = NULL;
        return errno;
    }
    /* Look-ups in a large store wait for the tables of the pages more than
     * for the pages. Only where the system lets shared memory have it. */
    (void)madvise(*base, size, MADV_HUGEPAGE);
    return APR_SUCCESS;
}

/* Reserved to the last byte: a disk that fills up later would kill every
 * process that touches the store. */
static apr_status_t make_file(void **base, const char **detail,
                              const idem_shm_open_t *how, apr_pool_t *pool)
{
    int fd;
    apr_status_t rv = open_ours(&fd, how->path, detail, pool);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    do {
        rv = posix_fallocate(fd, 0, (off_t)how->size);
    } while (rv == EINTR);
    if (rv == APR_SUCCESS) {
        rv = map(base, fd, how->size);
    }
    close(fd);
    if (rv == APR_SUCCESS) {
        rv = idem_shm_header_init(*base, how);
    }
    if (rv != APR_SUCCESS) {
        *detail = apr_psprintf(
            pool, "%s: no room for %" APR_SIZE_T_FMT " bytes, or no memory",
            how->path, how->size);
        unlink(how->path);
        if (*base) {
            munmap(*base, how->size);
            *base = NULL;
        }
    }
    return rv;
}

static apr_status_t move_aside(const char **detail, const char *why,
                               const idem_shm_open_t *how, apr_pool_t *pool)
{
    apr_time_t sec = apr_time_sec(how->wall);
    const char *aside;
    apr_status_t rv;
    int i;

    for (i = 0; i < 1000; i++) {
        aside =
            apr_psprintf(pool, "%s.old.%" APR_TIME_T_FMT, how->path, sec + i);
        /* link() refuses a name that exists, which rename() would not. */
        if (link(how->path, aside) == 0) {
            if (unlink(how->path) != 0) {
                break;
            }
            *detail = apr_psprintf(pool, "%s was moved to %s: %s", how->path,
                                   aside, why);
            return APR_SUCCESS;
        }
        if (errno != EEXIST) {
            break;
        }
    }
    rv = errno;
    *detail = apr_psprintf(pool, "%s cannot be moved aside, though %s",
                           how->path, why);
    return rv;
}

/* Map what is there. @param why  out: set if it has to be moved aside */
static apr_status_t map_file(void **base, const char **why,
                             const char **detail, const idem_shm_open_t *how,
                             apr_pool_t *pool)
{
    struct stat st;
    int fd;
    apr_status_t rv = open_ours(&fd, how->path, detail, pool);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (fstat(fd, &st) != 0) {
        rv = errno;
    }
    else if (st.st_size != (off_t)how->size) {
        *why = "it is of another size, or no store";
    }
    else {
        /* A file with holes, as a copy can be, would end as above. */
        rv = posix_fallocate(fd, 0, (off_t)how->size);
        if (rv == APR_SUCCESS) {
            rv = map(base, fd, how->size);
        }
    }
    close(fd);
    if (rv != APR_SUCCESS || *why) {
        return rv;
    }
    *why = idem_shm_header_judge(*base, how);
    if (*why) {
        munmap(*base, how->size);
        *base = NULL;
    }
    return APR_SUCCESS;
}

static apr_status_t map_or_make(void **base, const char **detail,
                                const idem_shm_open_t *how, apr_pool_t *pool)
{
    const char *why = NULL;
    struct stat st;
    apr_status_t rv;

    if (lstat(how->path, &st) == 0 && st.st_size > 0) {
        rv = map_file(base, &why, detail, how, pool);
        if (rv != APR_SUCCESS || !why) {
            return rv;
        }
        rv = move_aside(detail, why, how, pool);
        if (rv != APR_SUCCESS) {
            return rv;
        }
    }
    return make_file(base, detail, how, pool);
}

apr_status_t idem_shm_open(idem_shm_segment_t *segment, const char **detail,
                           const idem_shm_open_t *how, apr_pool_t *pool)
{
    apr_status_t rv;

    memset(segment, 0, sizeof(*segment));
    segment->lock_fd = -1;
    *detail = NULL;
    if (how->size < IDEM_SHM_SIZE_MIN || how->size > IDEM_SHM_SIZE_MAX) {
        return APR_EINVAL;
    }
    if (how->path) {
        rv = judge_folders(how->path, detail, pool);
        if (rv == APR_SUCCESS) {
            rv = lock_file(&segment->lock_fd, detail, how, pool);
        }
        if (rv == APR_SUCCESS) {
            rv = map_or_make(&segment->base, detail, how, pool);
        }
    }
    else {
        rv = map(&segment->base, -1, how->size);
        if (rv == APR_SUCCESS) {
            rv = idem_shm_header_init(segment->base, how);
        }
    }
    if (rv == APR_SUCCESS) {
        rv = idem_shm_header_start(segment, detail, how, pool);
    }
    if (rv == APR_SUCCESS) {
        segment->owners_size = sizeof(idem_shm_owners_t);
        rv = map(&segment->owners, -1, segment->owners_size);
    }
    if (rv != APR_SUCCESS) {
        if (segment->base) {
            munmap(segment->base, how->size);
            segment->base = NULL;
        }
        if (segment->lock_fd >= 0) {
            close(segment->lock_fd);
            segment->lock_fd = -1;
        }
    }
    return rv;
}

void idem_shm_close(idem_shm_segment_t *segment)
{
    if (!segment->base) {
        return;
    }
    idem_shm_header_end(segment->base);
    if (segment->lock_fd >= 0) {
        (void)msync(segment->base, segment->size, MS_ASYNC);
        close(segment->lock_fd);
    }
    munmap(segment->owners, segment->owners_size);
    munmap(segment->base, segment->size);
    memset(segment, 0, sizeof(*segment));
    segment->lock_fd = -1;
}
