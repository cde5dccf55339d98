/* store_shm_test.c: how the tests of the shm store open and attach one.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store_shm_test.h"

#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_strings.h>

idem_store_t *attach(const idem_shm_segment_t *segment, apr_pool_t *pool)
{
    apr_global_mutex_t **locks =
        apr_palloc(pool, segment->nshards * sizeof(*locks));
    idem_store_t *store;
    apr_uint32_t i;

    for (i = 0; i < segment->nshards; i++) {
        assert_int_equal(
            apr_global_mutex_create(&locks[i], NULL, APR_LOCK_DEFAULT, pool),
            APR_SUCCESS);
    }
    assert_int_equal(idem_store_shm_attach(&store, segment, locks, pool),
                     APR_SUCCESS);
    assert_int_equal(idem_store_shm_child_init(store), APR_SUCCESS);
    return store;
}

static apr_status_t close_segment(void *segment)
{
    idem_shm_close(segment);
    return APR_SUCCESS;
}

idem_store_t *store_of(apr_size_t size, apr_pool_t *pool)
{
    idem_shm_segment_t *segment = apr_palloc(pool, sizeof(*segment));
    idem_shm_open_t how = { NULL, size, 0, T0, 0 };
    const char *detail;

    assert_int_equal(idem_shm_open(segment, &detail, &how, pool), APR_SUCCESS);
    assert_null(detail);
    apr_pool_cleanup_register(pool, segment, close_segment,
                              apr_pool_cleanup_null);
    return attach(segment, pool);
}

idem_shm_part_t *part_of(idem_store_t *store, apr_uint32_t i)
{
    return &((idem_shm_store_t *)store)->parts[i];
}

idem_shm_head_t *head_of(idem_store_t *store, apr_uint32_t n)
{
    idem_digest_t id = digest(n);
    int broken = 0;
    apr_uint32_t unit =
        idem_shm_part_find_locked(part_of(store, 0), &id, &broken);

    assert_int_not_equal(unit, IDEM_SHM_NONE);
    return idem_shm_part_head(part_of(store, 0), unit);
}

int count(const place_t *place, const char *pattern)
{
    glob_t found;
    int n = 0;

    if (glob(apr_pstrcat(place->pool, place->folder, pattern, NULL), 0, NULL,
             &found)
        == 0) {
        n = (int)found.gl_pathc;
        globfree(&found);
    }
    return n;
}

static apr_status_t clear_place(void *data)
{
    place_t *place = data;
    glob_t found;
    size_t i;

    if (glob(apr_pstrcat(place->pool, place->folder, "/*", NULL), 0, NULL,
             &found)
        == 0) {
        for (i = 0; i < found.gl_pathc; i++) {
            unlink(found.gl_pathv[i]);
        }
        globfree(&found);
    }
    rmdir(place->folder);
    return APR_SUCCESS;
}

place_t *place_of(apr_pool_t *pool)
{
    place_t *place = apr_palloc(pool, sizeof(*place));

    strcpy(place->folder, "/tmp/idem-test-XXXXXX");
    assert_non_null(mkdtemp(place->folder));
    place->path = apr_pstrcat(pool, place->folder, "/store", NULL);
    apr_pool_create(&place->pool, pool);
    apr_pool_pre_cleanup_register(pool, place, clear_place);
    return place;
}

apr_status_t open_at(const place_t *place, apr_size_t size, apr_time_t wall,
                     idem_shm_segment_t *segment, const char **detail)
{
    idem_shm_open_t how = { place->path, size, 0, wall, 0 };

    return idem_shm_open(segment, detail, &how, place->pool);
}

void open_well(const place_t *place, idem_shm_segment_t *segment)
{
    const char *detail;
    apr_status_t rv = open_at(place, SIZE, T0, segment, &detail);

    if (rv != APR_SUCCESS || detail) {
        fail_msg("%d: %s", rv, detail ? detail : "no detail");
    }
}

/* Every second one is still a record that nobody has seen expire. */
static void add_tomb(idem_store_t *store, apr_uint32_t n, apr_pool_t *pool)
{
    idem_token_t token;
    idem_blob_t record;
    idem_claim_t claim;

    if (put_for(store, n, 100, T0 - 2 * TTL, 100 * TTL, pool) != APR_SUCCESS
        || (n % 2 == 0
            && (ask_at(store, n, n, 0, T0, &claim, &token, &record, pool)
                    != APR_SUCCESS
                || claim != IDEM_CLAIM_EXPIRED))) {
        _exit(3);
    }
}

/* Fill a file in a process that ends without closing it. */
void fill_and_die(const place_t *place, int sync)
{
    idem_shm_open_t how = { place->path, SIZE, sync, T0, 0 };
    idem_shm_segment_t segment;
    const char *detail;
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        idem_store_t *store;
        idem_token_t token;
        idem_blob_t record;
        apr_uint32_t n;

        if (idem_shm_open(&segment, &detail, &how, place->pool)
            != APR_SUCCESS) {
            _exit(1);
        }
        store = attach(&segment, place->pool);
        for (n = 1; n <= RECORDS; n++) {
            if (put(store, n, n * 30, T0, place->pool) != APR_SUCCESS) {
                _exit(2);
            }
            if (n <= TOMBS) {
                add_tomb(store, FIRST_TOMB + n - 1, place->pool);
            }
        }
        (void)claim_at(store, RECORDS + 1, RECORDS + 1, T0, &token, &record,
                       place->pool);
        kill(getpid(), SIGKILL);
    }
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status));
}

void write_file(const place_t *place, const char *data, apr_size_t len)
{
    int fd = open(place->path, O_CREAT | O_TRUNC | O_WRONLY, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), (ssize_t)len);
    close(fd);
}

char *read_all(const place_t *place, apr_pool_t *pool)
{
    char *data = apr_palloc(pool, SIZE);
    int fd = open(place->path, O_RDONLY);

    assert_true(fd >= 0);
    assert_int_equal(read(fd, data, SIZE), (ssize_t)SIZE);
    close(fd);
    return data;
}

/* ----------------------------------------- what store_contract.c asks for */

const apr_interval_time_t contract_slack = 0;
const int contract_counts = 1;

idem_store_t *contract_store(apr_pool_t *pool)
{
    return store_of(SIZE, pool);
}

void contract_child(idem_store_t *store)
{
    if (idem_store_shm_child_init(store) != APR_SUCCESS) {
        _exit(99);
    }
}

void contract_child_ended(idem_store_t *store, pid_t pid)
{
    idem_store_shm_child_died(store, pid);
}
