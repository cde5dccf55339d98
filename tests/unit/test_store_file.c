/* test_store_file.c: the file of the shm store: access, ends, damage.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store_shm_test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_strings.h>

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
    first = idem_store_now(store);
    assert_true(first >= T0 && first < T0 + apr_time_from_sec(60));
    idem_shm_close(&segment);
    assert_int_equal(open_at(place, SIZE, T0 * 3, &segment, &detail),
                     APR_SUCCESS);
    store = attach(&segment, *state);
    again = idem_store_now(store);
    assert_true(again >= first && again < first + apr_time_from_sec(60));
    idem_shm_close(&segment);
}

/* Write another boot into the file; its name is in the first page. */
static void reboot(const place_t *place, apr_pool_t *pool)
{
    char *data = read_all(place, pool);
    char boot[36];
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY);
    char *at;

    assert_int_equal(read(fd, boot, sizeof(boot)), sizeof(boot));
    close(fd);
    at = memmem(data, IDEM_SHM_PAGE, boot, sizeof(boot));
    assert_non_null(at);
    at[0] = at[0] == 'a' ? 'b' : 'a';
    write_file(place, data, SIZE);
}

static void wall_clock_bridges_a_reboot(void **state)
{
    static const apr_time_t away[] = { 0, 3600, 86400, -7200 };
    place_t *place = place_of(*state);
    apr_time_t wall = T0;
    apr_time_t was;
    idem_shm_segment_t segment;
    idem_store_t *store;
    idem_usage_t usage;
    const char *detail;
    size_t i;

    open_well(place, &segment);
    was = idem_store_now(attach(&segment, *state));
    idem_shm_close(&segment);
    for (i = 0; i < sizeof(away) / sizeof(away[0]); i++) {
        apr_time_t gap = apr_time_from_sec(away[i]);
        apr_time_t now;

        reboot(place, *state);
        wall += gap;
        assert_int_equal(open_at(place, SIZE, wall, &segment, &detail),
                         APR_SUCCESS);
        store = attach(&segment, *state);
        now = idem_store_now(store) - was;
        /* A clock set back stops the store's time, and never turns it. */
        gap = gap > 0 ? gap : 0;
        assert_true(now > gap - apr_time_from_sec(30)
                    && now < gap + apr_time_from_sec(30));
        was += now;
        idem_store_usage(store, &usage);
        assert_int_equal(usage.repairs, i + 1);
        assert_whole(store, *state);
        idem_shm_close(&segment);
    }
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
    assert_int_equal(idem_shm_open(&second, &detail, &how, *state), APR_EBUSY);
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

    assert_int_equal(open_at(place, SIZE, T0, &segment, &detail), APR_EACCES);
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

/* ------------------------------------------------------------ moved aside */

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

/* The secret is part of the header: with another one no key is found. */
static void damaged_header_is_moved_aside(void **state)
{
    place_t *place = place_of(*state);
    idem_shm_segment_t segment;
    const char *detail;
    char *data;
    int i;

    fill_and_die(place, 0);
    data = read_all(place, *state);
    for (i = 0; i < 80; i += 8) {
        data[i] ^= 0x20;
        write_file(place, data, SIZE);
        data[i] ^= 0x20;
        assert_int_equal(open_at(place, SIZE, T0, &segment, &detail),
                         APR_SUCCESS);
        assert_non_null(strstr(detail, ".old."));
        idem_shm_close(&segment);
        assert_int_equal(count(place, "/store.old.*"), i / 8 + 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(records_survive_a_kill),
        pool_test(records_and_secret_survive_an_end_in_order),
        pool_test(clock_goes_on_whatever_the_wall_clock_does),
        pool_test(wall_clock_bridges_a_reboot),
        pool_test(file_in_use_is_busy),
        pool_test(file_or_folder_of_others_is_refused),
        pool_test(disk_without_room_is_told),
        pool_test(foreign_file_is_moved_aside),
        pool_test(damaged_header_is_moved_aside),
    };

    apr_initialize();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
