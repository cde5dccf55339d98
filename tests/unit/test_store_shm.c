/* test_store_shm.c: the store in shared memory: layout, deaths, damage.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store_shm_test.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ----------------------------------------------------------------- layout */

static void parts_of_the_segment_do_not_overlap(void **state)
{
    static const apr_size_t sizes[] = { SIZE, SIZE + 12345, 16u << 20,
                                        64u << 20, (64u << 20) - 1 };
    size_t s;

    (void)state;
    for (s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        char *base = (char *)(uintptr_t)IDEM_SHM_PAGE;
        char *end = base + IDEM_SHM_PAGE;
        apr_uint32_t i;

        for (i = 0; i < idem_shm_nshards(sizes[s]); i++) {
            idem_shm_part_t part;

            idem_shm_part_init(&part, base, sizes[s], i);
            assert_true((char *)part.shard >= end);
            assert_true((char *)part.rows
                        >= (char *)part.shard + sizeof(*part.shard));
            assert_true((char *)part.buckets
                        >= (char *)(part.rows + IDEM_SHM_ROWS));
            assert_true((char *)part.map
                        >= (char *)(part.buckets + part.nbuckets));
            assert_true(part.units >= (char *)part.map + part.nunits);
            assert_int_equal((uintptr_t)part.units % IDEM_SHM_UNIT, 0);
            end = part.units + (apr_size_t)part.nunits * IDEM_SHM_UNIT;
        }
        assert_true(end <= base + sizes[s]);
        assert_true((apr_size_t)(end - base) > sizes[s] / 100 * 95);
    }
}

static void ids_in_one_bucket_are_compared_whole(void **state)
{
    idem_store_t *store = contract_store(*state);
    idem_digest_t id = digest(1);
    idem_ask_t ask = { &id, &id, 7, 0, 0, T0, TTL };
    idem_token_t token;
    idem_blob_t record;
    idem_claim_t claim;
    int i;

    /* Same shard, same bucket: they differ in the last bytes only. */
    for (i = 0; i < 200; i++) {
        id.bytes[IDEM_DIGEST_LEN - 1] = (unsigned char)i;
        assert_int_equal(
            idem_store_claim(store, &claim, &token, &record, &ask, *state),
            APR_SUCCESS);
        assert_int_equal(claim, IDEM_CLAIM_NEW);
        if (i % 3 == 0) {
            assert_int_equal(idem_store_release(store, &token), APR_SUCCESS);
        }
        else {
            assert_int_equal(commit_text(store, &token, "x", T0), APR_SUCCESS);
        }
    }
    for (i = 0; i < 200; i++) {
        id.bytes[IDEM_DIGEST_LEN - 1] = (unsigned char)i;
        assert_int_equal(
            idem_store_claim(store, &claim, &token, &record, &ask, *state),
            APR_SUCCESS);
        assert_int_equal(claim, i % 3 == 0 ? IDEM_CLAIM_NEW : IDEM_CLAIM_DONE);
    }
    assert_whole(store, *state);
}

/* With every second record gone, a long one has to go into many gaps. */
static void long_record_is_spread_over_gaps(void **state)
{
    idem_store_t *store = contract_store(*state);
    idem_token_t token;
    idem_blob_t record;
    apr_pool_t *sub;
    apr_uint32_t last = 0;
    apr_uint32_t n;

    apr_pool_create(&sub, *state);
    while (put(store, last + 1, 100, T0, sub) == APR_SUCCESS) {
        last++;
        apr_pool_clear(sub);
    }
    for (n = 1; n <= last; n += 2) {
        idem_digest_t id = digest(n);

        assert_int_equal(idem_store_forget(store, &id), APR_SUCCESS);
    }
    assert_int_equal(put(store, last + 1, 200000, T0, sub), APR_SUCCESS);
    assert_int_equal(
        claim_at(store, last + 1, last + 1, T0, &token, &record, sub),
        IDEM_CLAIM_DONE);
    assert_int_equal(record.len, 200000);
    assert_true(is_put(&record, last + 1));
    assert_int_equal(head_of(store, last + 1)->extn < 200000 / 64, 1);
    assert_whole(store, *state);
}

/* Room for the bytes, but not for the links between so many gaps. */
static void reservation_that_fails_leaves_nothing(void **state)
{
    idem_store_t *store = contract_store(*state);
    char *data = apr_pcalloc(*state, SIZE);
    struct iovec vec = { data, 0 };
    idem_token_t token;
    idem_blob_t record;
    apr_pool_t *sub;
    apr_uint32_t free_units;
    apr_uint32_t last = 0;
    apr_uint32_t n;

    apr_pool_create(&sub, *state);
    while (put(store, last + 1, 100, T0, sub) == APR_SUCCESS) {
        last++;
        apr_pool_clear(sub);
    }
    for (n = 1; n <= last; n += 8) {
        idem_digest_t id = digest(n);

        assert_int_equal(idem_store_forget(store, &id), APR_SUCCESS);
    }
    (void)claim_at(store, last + 1, 1, T0, &token, &record, sub);
    free_units = part_of(store, 0)->shard->free_units;
    vec.iov_len = free_units * IDEM_SHM_UNIT;
    assert_true(vec.iov_len < idem_store_record_max(store));
    assert_int_equal(idem_store_commit(store, &token, IDEM_END_DONE, &vec, 1,
                                       &(idem_term_t){ T0, TTL, 0 }),
                     APR_ENOSPC);
    assert_int_equal(part_of(store, 0)->shard->free_units, free_units);
    assert_whole(store, *state);
    vec.iov_len /= 2;
    assert_int_equal(idem_store_commit(store, &token, IDEM_END_DONE, &vec, 1,
                                       &(idem_term_t){ T0, TTL, 0 }),
                     APR_SUCCESS);
    assert_whole(store, *state);
}

/* As after a disk error between reservation and publication. */
static void commit_after_a_failed_one_leaks_nothing(void **state)
{
    idem_store_t *store = contract_store(*state);
    idem_token_t token;
    idem_blob_t record;
    idem_usage_t usage;

    (void)claim_at(store, 1, 1, T0, &token, &record, *state);
    assert_int_equal(idem_shm_enter((idem_shm_store_t *)store, 0, 0),
                     APR_SUCCESS);
    assert_true(idem_shm_part_reserve_locked(part_of(store, 0),
                                             head_of(store, 1), 5000));
    idem_shm_leave((idem_shm_store_t *)store, 0);
    assert_whole(store, *state);
    assert_int_equal(commit_text(store, &token, "short", T0), APR_SUCCESS);
    idem_store_usage(store, &usage);
    assert_int_equal(usage.used, 3 * IDEM_SHM_UNIT);
    assert_whole(store, *state);
}

static void single_changed_word_changes_the_sum(void **state)
{
    apr_uint64_t words[37];
    apr_uint64_t before;
    idem_shm_head_t head;
    idem_shm_sum_t sum;
    size_t i;
    int bit;

    (void)state;
    memset(words, 0, sizeof(words));
    memset(&head, 0, sizeof(head));
    head.len = sizeof(words);
    idem_shm_sum_init(&sum, &head, IDEM_SHM_DONE);
    idem_shm_sum_add(&sum, words, sizeof(words));
    before = idem_shm_sum_end(&sum);
    for (i = 0; i < 37; i++) {
        for (bit = 0; bit < 64; bit++) {
            words[i] ^= 1ull << bit;
            idem_shm_sum_init(&sum, &head, IDEM_SHM_DONE);
            /* In pieces, as a record that is spread. */
            idem_shm_sum_add(&sum, words, 56);
            idem_shm_sum_add(&sum, words + 7, sizeof(words) - 56);
            assert_true(idem_shm_sum_end(&sum) != before);
            words[i] ^= 1ull << bit;
        }
    }
}

/* ----------------------------------------------------------------- deaths */

/* Run @a f in a child that dies by it, inside the lock of shard 0. */
static void die_inside(idem_store_t *store, void (*f)(idem_shm_part_t *))
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        contract_child(store);
        if (idem_shm_enter((idem_shm_store_t *)store, 0, IDEM_SHM_LOCK_WAIT)
            == APR_SUCCESS) {
            f(part_of(store, 0));
            kill(getpid(), SIGKILL);
        }
        _exit(1);
    }
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status));
    contract_child_ended(store, pid);
}

static void half_a_claim(idem_shm_part_t *part)
{
    (void)idem_shm_part_take_head_locked(part, 3);
}

static void half_a_release(idem_shm_part_t *part)
{
    idem_digest_t id = digest(3);
    int broken = 0;
    apr_uint32_t unit = idem_shm_part_find_locked(part, &id, &broken);

    idem_shm_part_head(part, unit)->state = IDEM_SHM_FREE;
    part->map[unit] = IDEM_SHM_MAP_FREE;
}

static void half_a_link(idem_shm_part_t *part)
{
    memset(part->buckets, 0xab, part->nbuckets * sizeof(*part->buckets));
}

static void half_a_reservation(idem_shm_part_t *part)
{
    idem_shm_head_t head;

    memset(&head, 0, sizeof(head));
    (void)idem_shm_part_reserve_locked(part, &head, 5000);
}

static void wild_counters(idem_shm_part_t *part)
{
    part->shard->free_units = 77;
    part->shard->done = 0xffffffffu;
    part->shard->cursor = 0xfffffff0u;
    part->shard->purge_cursor = 0xfffffff0u;
    part->rows[5].units = 999;
}

static void death_inside_is_repaired(void **state)
{
    static void (*const deaths[])(
        idem_shm_part_t *) = { half_a_claim, half_a_release, half_a_link,
                               half_a_reservation, wild_counters };
    idem_store_t *store = contract_store(*state);
    idem_token_t running;
    idem_token_t token;
    idem_blob_t record;
    idem_usage_t usage;
    apr_uint32_t n;
    size_t i;

    (void)claim_at(store, 1000, 1000, T0, &running, &record, *state);
    for (i = 0; i < sizeof(deaths) / sizeof(deaths[0]); i++) {
        for (n = 1; n < 20; n++) {
            idem_digest_t id = digest(n);

            (void)idem_store_forget(store, &id);
            assert_int_equal(put(store, n, n * 100, T0, *state), APR_SUCCESS);
        }
        die_inside(store, deaths[i]);
        for (n = 1; n < 20; n++) {
            idem_claim_t claim = n == 3 && deaths[i] == half_a_release
                                     ? IDEM_CLAIM_NEW
                                     : IDEM_CLAIM_DONE;

            assert_int_equal(
                claim_at(store, n, n, T0, &token, &record, *state), claim);
            assert_true(is_put(&record, n));
        }
        assert_whole(store, *state);
        idem_store_usage(store, &usage);
        assert_int_equal(usage.repairs, i + 1);
    }
    /* Who was not inside goes on as if nothing had been. */
    assert_int_equal(commit_text(store, &running, "fine", T0), APR_SUCCESS);
    assert_whole(store, *state);
}

static void purge_finds_dead_owners_by_itself(void **state)
{
    idem_store_t *store = contract_store(*state);
    idem_digest_t id = digest(2);
    idem_token_t token;
    idem_blob_t record;
    idem_usage_t usage;
    int fds[2];
    char c;
    pid_t pid;

    assert_int_equal(pipe(fds), 0);
    pid = fork();
    if (pid == 0) {
        contract_child(store);
        (void)claim_at(store, 1, 1, T0, &token, &record, *state);
        (void)claim_at(store, 2, 2, T0, &token, &record, *state);
        (void)!write(fds[1], "x", 1);
        pause();
    }
    assert_int_equal(read(fds[0], &c, 1), 1);
    /* Detached while its owner lives: the units stay. */
    assert_int_equal(idem_store_forget(store, &id), APR_SUCCESS);
    idem_store_purge(store, T0);
    idem_store_usage(store, &usage);
    assert_int_equal(usage.executing, 1);
    assert_int_equal(usage.used, 2 * 2 * IDEM_SHM_UNIT);

    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    /* Nobody says so: the parent can miss a child (rule 43). */
    for (c = 0; c < 10; c++) {
        idem_store_purge(store, T0);
    }
    idem_store_usage(store, &usage);
    assert_int_equal(usage.unknown, 1);
    assert_int_equal(usage.used, 2 * IDEM_SHM_UNIT);
    close(fds[0]);
    close(fds[1]);
    assert_whole(store, *state);
}

static void abandon_does_not_wait_for_itself_or_long(void **state)
{
    idem_store_t *store = contract_store(*state);
    idem_shm_store_t *shm = (idem_shm_store_t *)store;
    idem_token_t token;
    idem_blob_t record;
    apr_time_t begun;
    int fds[2];
    char c;
    pid_t pid;

    (void)claim_at(store, 1, 1, T0, &token, &record, *state);
    assert_int_equal(idem_shm_enter(shm, 0, 0), APR_SUCCESS);
    assert_int_equal(idem_store_abandon(store, &token, T0), APR_EBUSY);
    idem_shm_leave(shm, 0);

    assert_int_equal(pipe(fds), 0);
    pid = fork();
    if (pid == 0) {
        (void)idem_shm_enter(shm, 0, 0);
        (void)!write(fds[1], "x", 1);
        pause();
    }
    assert_int_equal(read(fds[0], &c, 1), 1);
    begun = apr_time_now();
    assert_true(idem_store_abandon(store, &token, T0) != APR_SUCCESS);
    assert_true(apr_time_now() - begun < apr_time_from_sec(1));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(idem_store_abandon(store, &token, T0), APR_SUCCESS);
    assert_whole(store, *state);
}

static void owner_rows_are_used_again(void **state)
{
    idem_store_t *store = contract_store(*state);
    idem_shm_store_t *shm = (idem_shm_store_t *)store;
    apr_uint64_t first = 0;
    apr_uint64_t id;
    int i;

    for (i = 1; i < (int)IDEM_SHM_OWNERS; i++) {
        id = idem_shm_owner_enter(shm->owners, shm->segment.epoch);
        assert_true(id != 0);
        first = first ? first : id;
    }
    assert_true(!idem_shm_owner_enter(shm->owners, shm->segment.epoch));
    assert_true(
        idem_shm_owner_is_alive(shm->owners, shm->segment.epoch, first));
    idem_shm_owner_died(shm->owners, getpid());
    assert_false(
        idem_shm_owner_is_alive(shm->owners, shm->segment.epoch, first));
    id = idem_shm_owner_enter(shm->owners, shm->segment.epoch);
    assert_true(id != 0 && id != first);
    assert_true(idem_shm_owner_is_alive(shm->owners, shm->segment.epoch, id));
    assert_false(
        idem_shm_owner_is_alive(shm->owners, shm->segment.epoch + 1, id));
}

int main(void)
{
    const struct CMUnitTest ours[] = {
        pool_test(parts_of_the_segment_do_not_overlap),
        pool_test(ids_in_one_bucket_are_compared_whole),
        pool_test(long_record_is_spread_over_gaps),
        pool_test(reservation_that_fails_leaves_nothing),
        pool_test(commit_after_a_failed_one_leaks_nothing),
        pool_test(single_changed_word_changes_the_sum),
        pool_test(death_inside_is_repaired),
        pool_test(purge_finds_dead_owners_by_itself),
        pool_test(abandon_does_not_wait_for_itself_or_long),
        pool_test(owner_rows_are_used_again),
    };
    int failed;

    apr_initialize();
    failed = contract_run();
    return failed + cmocka_run_group_tests(ours, NULL, NULL);
}
