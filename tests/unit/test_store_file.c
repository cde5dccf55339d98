/* test_store_file.c: the file of the shm store: access, ends, damage.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store_shm_test.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_strings.h>

#define RECORDS 100u

/* ------------------------------------------------------------ short forms */

/* A folder of its own per test, removed with the pool. */
typedef struct {
    char folder[64];
    const char *path;
    apr_pool_t *pool;
} place_t;

static int count(const place_t *place, const char *pattern)
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

static place_t *place_of(apr_pool_t *pool)
{
    place_t *place = apr_palloc(pool, sizeof(*place));

    strcpy(place->folder, "/tmp/idem-test-XXXXXX");
    assert_non_null(mkdtemp(place->folder));
    place->path = apr_pstrcat(pool, place->folder, "/store", NULL);
    apr_pool_create(&place->pool, pool);
    apr_pool_pre_cleanup_register(pool, place, clear_place);
    return place;
}

static apr_status_t open_at(const place_t *place, apr_size_t size,
                            apr_time_t wall, idem_shm_segment_t *segment,
                            const char **detail)
{
    idem_shm_open_t how = { place->path, size, 0, wall, 0 };

    return idem_shm_open(segment, detail, &how, place->pool);
}

static void open_well(const place_t *place, idem_shm_segment_t *segment)
{
    const char *detail;
    apr_status_t rv = open_at(place, SIZE, T0, segment, &detail);

    if (rv != APR_SUCCESS || detail) {
        fail_msg("%d: %s", rv, detail ? detail : "no detail");
    }
}

/* Fill a file in a process that ends without closing it. */
static void fill_and_die(const place_t *place, int sync)
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
        }
        (void)claim_at(store, RECORDS + 1, RECORDS + 1, T0, &token, &record,
                       place->pool);
        kill(getpid(), SIGKILL);
    }
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status));
}

/* ------------------------------------------------------------------- ends */

static void records_survive_a_kill(void **state)
{
    place_t *place = place_of(*state);
    idem_shm_segment_t segment;
    idem_store_t *store;
    idem_token_t token;
    idem_blob_t record;
    apr_uint32_t n;
    int sync;

    for (sync = 0; sync <= 1; sync++) {
        unlink(place->path);
        fill_and_die(place, sync);
        open_well(place, &segment);
        store = attach(&segment, *state);
        for (n = 1; n <= RECORDS; n++) {
            assert_int_equal(
                claim_at(store, n, n, T0, &token, &record, *state),
                IDEM_CLAIM_DONE);
            assert_int_equal(record.len, n * 30);
            assert_true(is_put(&record, n));
        }
        assert_int_equal(claim_at(store, n, n, T0, &token, &record, *state),
                         IDEM_CLAIM_UNKNOWN);
        assert_whole(store, *state);
        idem_shm_close(&segment);
    }
}

static void records_and_secret_survive_an_end_in_order(void **state)
{
    place_t *place = place_of(*state);
    idem_shm_segment_t segment;
    idem_store_t *store;
    idem_token_t token;
    idem_token_t old;
    idem_blob_t record;
    unsigned char secret[IDEM_DIGEST_LEN];
    idem_usage_t usage;

    open_well(place, &segment);
    store = attach(&segment, *state);
    memcpy(secret, store->secret, sizeof(secret));
    assert_int_equal(put(store, 1, 100, T0, *state), APR_SUCCESS);
    (void)claim_at(store, 2, 2, T0, &old, &record, *state);
    idem_shm_close(&segment);

    open_well(place, &segment);
    store = attach(&segment, *state);
    assert_memory_equal(secret, store->secret, sizeof(secret));
    assert_int_equal(claim_at(store, 1, 1, T0, &token, &record, *state),
                     IDEM_CLAIM_DONE);
    assert_true(is_put(&record, 1));
    assert_int_equal(claim_at(store, 2, 2, T0, &token, &record, *state),
                     IDEM_CLAIM_UNKNOWN);
    assert_int_equal(commit_text(store, &old, "late", T0), APR_NOTFOUND);
    idem_store_usage(store, &usage);
    assert_int_equal(usage.repairs, 0);
    assert_whole(store, *state);
    idem_shm_close(&segment);
}

static void clock_goes_on_whatever_the_wall_clock_does(void **state)
{
    place_t *place = place_of(*state);
    idem_shm_segment_t segment;
    idem_store_t *store;
    const char *detail;
    apr_time_t first;
    apr_time_t again;

    open_well(place, &segment);
    store = attach(&segment, *state);
    first = idem_store_shm_now(store);
    assert_true(first >= T0 && first < T0 + apr_time_from_sec(60));
    idem_shm_close(&segment);
    assert_int_equal(open_at(place, SIZE, T0 * 3, &segment, &detail),
                     APR_SUCCESS);
    store = attach(&segment, *state);
    again = idem_store_shm_now(store);
    assert_true(again >= first && again < first + apr_time_from_sec(60));
    idem_shm_close(&segment);
}

/* ----------------------------------------------------------------- access */

static void file_in_use_is_busy(void **state)
{
    place_t *place = place_of(*state);
    idem_shm_segment_t segment;
    idem_shm_segment_t second;
    const char *detail;
    idem_shm_open_t how = { place->path, SIZE, 0, T0,
                            apr_time_from_msec(120) };

    open_well(place, &segment);
    assert_int_equal(open_at(place, SIZE, T0, &second, &detail), APR_EBUSY);
    assert_non_null(strstr(detail, "in use"));
    assert_int_equal(idem_shm_open(&second, &detail, &how, *state),
                     APR_EBUSY);
    idem_shm_close(&segment);
    open_well(place, &second);
    idem_shm_close(&second);
}

static void touch(const char *path, int mode)
{
    int fd = open(path, O_CREAT | O_RDWR, 0600);

    assert_true(fd >= 0);
    assert_int_equal(fchmod(fd, (mode_t)mode), 0);
    close(fd);
}

static void refuse(const place_t *place)
{
    idem_shm_segment_t segment;
    const char *detail;

    assert_int_equal(open_at(place, SIZE, T0, &segment, &detail),
                     APR_EACCES);
    assert_non_null(detail);
    assert_null(segment.base);
    assert_int_equal(segment.lock_fd, -1);
}

static void file_or_folder_of_others_is_refused(void **state)
{
    place_t *place = place_of(*state);
    const char *other = apr_pstrcat(*state, place->path, ".other", NULL);
    idem_shm_segment_t segment;

    touch(other, 0600);
    assert_int_equal(symlink(other, place->path), 0);
    refuse(place);
    unlink(place->path);
    assert_int_equal(link(other, place->path), 0);
    refuse(place);
    unlink(place->path);
    touch(place->path, 0640);
    refuse(place);
    unlink(place->path);
    assert_int_equal(mkfifo(place->path, 0600), 0);
    refuse(place);
    unlink(place->path);
    assert_int_equal(chmod(place->folder, 0770), 0);
    refuse(place);
    assert_int_equal(chmod(place->folder, 01777), 0);
    refuse(place);
    assert_int_equal(chmod(place->folder, 0755), 0);
    place->path = "relative";
    refuse(place);
    place->path = apr_pstrcat(*state, place->folder, "/store", NULL);
    open_well(place, &segment);
    idem_shm_close(&segment);
}

/* A limit of the process stands for a disk that is full. */
static void disk_without_room_is_told(void **state)
{
    place_t *place = place_of(*state);
    struct rlimit limit = { SIZE / 2, RLIM_INFINITY };
    struct rlimit before;
    idem_shm_segment_t segment;
    const char *detail;
    apr_status_t rv;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    rv = open_at(place, SIZE, T0, &segment, &detail);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(rv, EFBIG);
    assert_non_null(strstr(detail, "no room"));
    assert_int_equal(count(place, "/store"), 0);
    open_well(place, &segment);
    idem_shm_close(&segment);
}

/* ----------------------------------------------------------------- damage */

static void write_file(const place_t *place, const char *data,
                       apr_size_t len)
{
    int fd = open(place->path, O_CREAT | O_TRUNC | O_WRONLY, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), (ssize_t)len);
    close(fd);
}

static char *read_all(const place_t *place, apr_pool_t *pool)
{
    char *data = apr_palloc(pool, SIZE);
    int fd = open(place->path, O_RDONLY);

    assert_true(fd >= 0);
    assert_int_equal(read(fd, data, SIZE), (ssize_t)SIZE);
    close(fd);
    return data;
}

static void foreign_file_is_moved_aside(void **state)
{
    place_t *place = place_of(*state);
    idem_shm_segment_t segment;
    const char *detail;
    char *data = apr_pcalloc(*state, SIZE);
    int i;

    for (i = 0; i < 3; i++) {
        write_file(place, data, i == 0 ? 10 : SIZE);
        assert_int_equal(open_at(place, SIZE, T0, &segment, &detail),
                         APR_SUCCESS);
        assert_non_null(strstr(detail, ".old."));
        idem_shm_close(&segment);
        /* Never over one that is there. */
        assert_int_equal(count(place, "/store.old.*"), i + 1);
    }
    assert_int_equal(open_at(place, 2 * SIZE, T0, &segment, &detail),
                     APR_SUCCESS);
    assert_non_null(strstr(detail, ".old."));
    idem_shm_close(&segment);
    assert_int_equal(count(place, "/store.old.*"), 4);
}

/* Open what is there. No crash, no wrong bytes, a shard that is whole. */
static int judge(const place_t *place, int whole, apr_pool_t *pool)
{
    idem_shm_segment_t segment;
    idem_store_t *store;
    const char *detail;
    apr_uint32_t n;
    int good = 0;

    assert_int_equal(open_at(place, SIZE, T0, &segment, &detail),
                     APR_SUCCESS);
    store = attach(&segment, pool);
    for (n = 1; n <= RECORDS + 1; n++) {
        idem_token_t token;
        idem_blob_t record;
        idem_claim_t claim
            = claim_at(store, n, n, T0, &token, &record, pool);

        if (claim == IDEM_CLAIM_DONE) {
            assert_int_equal(record.len, n * 30);
            assert_true(is_put(&record, n));
            good++;
        }
        assert_int_not_equal(claim, IDEM_CLAIM_NOT_RETAINED);
        if (whole) {
            assert_int_not_equal(claim, IDEM_CLAIM_REUSED);
            /* Nobody can have had a claim that is in force now. */
            assert_int_not_equal(claim, IDEM_CLAIM_IN_PROGRESS);
        }
    }
    if (whole) {
        assert_whole(store, pool);
    }
    for (n = 0; n < 8; n++) {
        idem_store_purge(store, T0);
    }
    (void)put(store, 5000, 100000, T0, pool);
    idem_shm_close(&segment);
    return good;
}

/* Most of the file is free: aim at the heads of shard and records. */
static apr_size_t aim(const char *image, int i)
{
    apr_size_t used = RECORDS * 26; /* units, roughly */
    idem_shm_part_t part;
    const char *from;
    apr_size_t span;

    idem_shm_part_init(&part, (void *)(uintptr_t)image, SIZE, 0);
    switch (i % 4) {
    case 0:
        from = image;
        span = 200;
        break;
    case 1:
        from = (const char *)part.shard;
        span = sizeof(*part.shard);
        break;
    case 2:
        from = (const char *)part.map;
        span = used;
        break;
    default:
        from = part.units;
        span = used * IDEM_SHM_UNIT;
        break;
    }
    return (apr_size_t)(from - image) + (apr_size_t)rand() % span;
}

static void damage_costs_records_and_nothing_else(void **state)
{
    place_t *place = place_of(*state);
    apr_pool_t *sub;
    char *image;
    char *data;
    int clean;
    int i;

    apr_pool_create(&sub, *state);
    data = apr_palloc(*state, SIZE);
    srand(7);
    for (clean = 0; clean <= 1; clean++) {
        unlink(place->path);
        fill_and_die(place, 0);
        if (clean) {
            idem_shm_segment_t segment;

            open_well(place, &segment);
            idem_shm_close(&segment);
        }
        image = read_all(place, *state);
        for (i = 0; i < 240; i++) {
            apr_size_t at = aim(image, i);
            int good;

            memcpy(data, image, SIZE);
            data[at] = (char)(data[at] ^ (1 << (rand() % 8)));
            write_file(place, data, SIZE);
            good = judge(place, !clean, sub);
            /* One byte spoils one record, or the header. */
            assert_true(clean || good == 0 || good >= (int)RECORDS - 1);
            apr_pool_clear(sub);
        }
    }
}

static void torn_file_costs_records_and_nothing_else(void **state)
{
    place_t *place = place_of(*state);
    apr_pool_t *sub;
    char *image;
    char *data;
    apr_size_t at;
    int i;

    apr_pool_create(&sub, *state);
    fill_and_die(place, 0);
    image = read_all(place, *state);
    data = apr_palloc(*state, SIZE);
    for (at = 0; at < SIZE; at += IDEM_SHM_PAGE) {
        memcpy(data, image, SIZE);
        memset(data + at, 0, IDEM_SHM_PAGE);
        write_file(place, data, SIZE);
        (void)judge(place, 1, sub);
        apr_pool_clear(sub);
    }
    for (i = 0; i < 20; i++) {
        write_file(place, image, SIZE / 20 * (apr_size_t)i + 1);
        assert_int_equal(judge(place, 1, sub), 0);
        apr_pool_clear(sub);
    }
    for (i = 0; i < 20; i++) {
        memcpy(data, image, SIZE);
        for (at = 100 + (apr_size_t)(rand() % 5000); at < SIZE;
             at += 1 + (apr_size_t)(rand() % 3000)) {
            data[at] = (char)rand();
        }
        write_file(place, data, SIZE);
        (void)judge(place, 1, sub);
        apr_pool_clear(sub);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(records_survive_a_kill),
        pool_test(records_and_secret_survive_an_end_in_order),
        pool_test(clock_goes_on_whatever_the_wall_clock_does),
        pool_test(file_in_use_is_busy),
        pool_test(file_or_folder_of_others_is_refused),
        pool_test(disk_without_room_is_told),
        pool_test(foreign_file_is_moved_aside),
        pool_test(damage_costs_records_and_nothing_else),
        pool_test(torn_file_costs_records_and_nothing_else),
    };

    apr_initialize();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
