/* idem_shm_owner.c: which processes live, and which claims are orphans.
 * SPDX-License-Identifier: Apache-2.0
 *
 * An owner's id is  epoch (24 bits) | sequence (24) | row (16), so that one
 * look at one row tells whether it lives. Ids are never used again: a pid or
 * a row that is has another owner's id in it. Rules 41-43.
 */
#include "idem_shm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Rows looked at by one step of the purge: each costs a kill and a read. */
#define CHECKS 32

/* What a row's alive word says; the last two bits tell which. Each life has a
 * word of its own, so that whoever found one process dead cannot mark the
 * next one. A taken row names its process already, or one that is killed
 * while it enters would keep it for ever. */
#define ROW_FREE 0u
#define ROW_TAKEN 1u /* plus four times the pid: it is entering itself */
#define ROW_ALIVE 2u /* plus four times the sequence */
#define ROW_KIND(word) ((word)&3u)

/* Start of a process in ticks since boot, or 0 if it cannot be had. */
static apr_uint64_t start_of(apr_uint32_t pid)
{
    char path[32];
    char text[1024];
    const char *p;
    ssize_t n;
    int fd;
    int field;

    snprintf(path, sizeof(path), "/proc/%u/stat", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0) {
        return 0;
    }
    text[n] = '\0';
    /* The name of the program may hold anything, also ") 1 2 3". */
    p = strrchr(text, ')');
    for (field = 2; p && field < 22; field++) {
        p = strchr(p + 1, ' ');
    }
    return p ? strtoull(p + 1, NULL, 10) : 0;
}

static apr_uint64_t enter_row(idem_shm_owners_t *owners, apr_uint32_t epoch,
                              apr_uint32_t i)
{
    idem_shm_owner_t *row = &owners->row[i];
    apr_uint64_t seq = __atomic_add_fetch(&owners->seq, 1, __ATOMIC_RELAXED);
    apr_uint64_t id;

    id = ((apr_uint64_t)(epoch & 0xffffff) << 40) | ((seq & 0xffffff) << 16)
         | i;
    row->pid = (apr_uint32_t)getpid();
    row->start = start_of(row->pid);
    __atomic_store_n(&row->id, id, __ATOMIC_RELEASE);
    __atomic_store_n(&row->alive, ROW_ALIVE + (apr_uint32_t)(seq << 2),
                     __ATOMIC_RELEASE);
    return id;
}

apr_uint64_t idem_shm_owner_enter(idem_shm_owners_t *owners,
                                  apr_uint32_t epoch)
{
    apr_uint32_t pid = (apr_uint32_t)getpid();
    apr_uint32_t taken = ROW_TAKEN + (pid << 2);
    apr_uint32_t from = pid % IDEM_SHM_OWNERS;
    apr_uint32_t i;

    for (i = 0; i < IDEM_SHM_OWNERS; i++) {
        apr_uint32_t at = (from + i) % IDEM_SHM_OWNERS;
        apr_uint32_t was = ROW_FREE;

        if (__atomic_compare_exchange_n(&owners->row[at].alive, &was, taken, 0,
                                        __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
            return enter_row(owners, epoch, at);
        }
    }
    return 0;
}

int idem_shm_owner_is_alive(const idem_shm_owners_t *owners,
                            apr_uint32_t epoch, apr_uint64_t id)
{
    apr_uint32_t i = (apr_uint32_t)(id & 0xffff);
    const idem_shm_owner_t *row;

    if ((id >> 40) != (epoch & 0xffffff) || i >= IDEM_SHM_OWNERS) {
        return 0;
    }
    row = &owners->row[i];
    return ROW_KIND(__atomic_load_n(&row->alive, __ATOMIC_ACQUIRE))
               == ROW_ALIVE
           && __atomic_load_n(&row->id, __ATOMIC_ACQUIRE) == id;
}

/* Whose row is it? 0: nobody's. */
static apr_uint32_t pid_of(const idem_shm_owner_t *row, apr_uint32_t alive)
{
    switch (ROW_KIND(alive)) {
    case ROW_TAKEN:
        return alive >> 2;
    case ROW_ALIVE:
        return row->pid;
    default:
        return 0;
    }
}

/* In the parent, which is root: reads rows of a fixed number, follows
 * nothing that it finds in them, and stores one word. */
void idem_shm_owner_died(idem_shm_owners_t *owners, pid_t pid)
{
    apr_uint32_t i;

    for (i = 0; i < IDEM_SHM_OWNERS; i++) {
        idem_shm_owner_t *row = &owners->row[i];

        apr_uint32_t was = __atomic_load_n(&row->alive, __ATOMIC_ACQUIRE);

        /* Exchanged, not stored: a purge may have freed the row meanwhile,
         * and a new process have entered it. */
        if (was != ROW_FREE && pid_of(row, was) == (apr_uint32_t)pid) {
            __atomic_compare_exchange_n(&row->alive, &was, ROW_FREE, 0,
                                        __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
        }
    }
}

/* A pid that is used again belongs to a process that started later. */
static int is_gone(const idem_shm_owner_t *row, apr_uint32_t alive)
{
    apr_uint32_t pid = pid_of(row, alive);
    apr_uint64_t start;

    if (pid == 0) {
        return 0;
    }
    if (kill((pid_t)pid, 0) != 0 && errno == ESRCH) {
        return 1;
    }
    if (ROW_KIND(alive) != ROW_ALIVE) {
        return 0;
    }
    start = start_of(pid);
    return start != 0 && row->start != 0 && start != row->start;
}

void idem_shm_owner_check(idem_shm_owners_t *owners)
{
    apr_uint32_t at = __atomic_load_n(&owners->check_cursor, __ATOMIC_RELAXED)
                      % IDEM_SHM_OWNERS;
    apr_uint32_t seen;
    int checks = 0;

    for (seen = 0; seen < IDEM_SHM_OWNERS && checks < CHECKS; seen++) {
        idem_shm_owner_t *row = &owners->row[at];
        apr_uint32_t was = __atomic_load_n(&row->alive, __ATOMIC_ACQUIRE);

        if (was != ROW_FREE) {
            checks++;
            if (is_gone(row, was)) {
                __atomic_compare_exchange_n(&row->alive, &was, ROW_FREE, 0,
                                            __ATOMIC_ACQ_REL,
                                            __ATOMIC_RELAXED);
            }
        }
        at = (at + 1) % IDEM_SHM_OWNERS;
    }
    __atomic_store_n(&owners->check_cursor, at, __ATOMIC_RELAXED);
}
