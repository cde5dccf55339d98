/* test_store_damage.c: the shm store when memory or file are not as left.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store_shm_test.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ----------------------------------------------------------------- memory */

static void damaged_answer_is_unknown_and_never_replayed(void **state)
{
    idem_store_t *store = contract_store(*state);
    idem_token_t token;
    idem_blob_t record;
    idem_shm_head_t *head;

    assert_int_equal(put(store, 1, 500, T0, *state), APR_SUCCESS);
    head = head_of(store, 1);
    part_of(store, 0)->units[head->ext * 64u + 400] ^= 0x10;
    assert_int_equal(claim_at(store, 1, 1, T0, &token, &record, *state),
                     IDEM_CLAIM_UNKNOWN);
    assert_null(record.data);
    assert_whole(store, *state);
    assert_int_equal(put(store, 2, 500, T0, *state), APR_SUCCESS);
    head_of(store, 2)->len = 0xfffffff0u;
    assert_int_equal(claim_at(store, 2, 2, T0, &token, &record, *state),
                     IDEM_CLAIM_UNKNOWN);
    assert_int_equal(put(store, 3, 500, T0, *state), APR_SUCCESS);
    head_of(store, 3)->ext = 0xfffffff0u;
    assert_int_equal(claim_at(store, 3, 3, T0, &token, &record, *state),
                     IDEM_CLAIM_UNKNOWN);
}

static void two_records_never_share_an_extent(void **state)
{
    idem_store_t *store = contract_store(*state);
    idem_token_t token;
    idem_blob_t record;

    assert_int_equal(put(store, 1, 500, T0, *state), APR_SUCCESS);
    assert_int_equal(put(store, 2, 500, T0, *state), APR_SUCCESS);
    head_of(store, 2)->ext = head_of(store, 1)->ext;
    assert_int_equal(idem_shm_enter((idem_shm_store_t *)store, 0, 0),
                     APR_SUCCESS);
    assert_int_equal(idem_shm_repair_locked(part_of(store, 0), 0, 0), 1);
    idem_shm_leave((idem_shm_store_t *)store, 0);
    assert_whole(store, *state);
    assert_int_equal(claim_at(store, 1, 1, T0, &token, &record, *state),
                     IDEM_CLAIM_DONE);
    assert_int_equal(claim_at(store, 2, 2, T0, &token, &record, *state),
                     IDEM_CLAIM_UNKNOWN);
}

/* After a power cut an old page may bring a record back. */
static void of_two_records_with_one_id_the_later_stays(void **state)
{
    idem_store_t *store = contract_store(*state);
    idem_shm_part_t *part = part_of(store, 0);
    idem_token_t token;
    idem_blob_t record;
    int later;

    for (later = 0; later < 2; later++) {
        apr_uint32_t n = (apr_uint32_t)later * 10 + 1;
        idem_shm_head_t *twin;

        assert_int_equal(put(store, n, 10, T0, *state), APR_SUCCESS);
        assert_int_equal(put(store, n + 1, 10, T0, *state), APR_SUCCESS);
        twin = head_of(store, n + later);
        twin->id = digest(n + 1 - (apr_uint32_t)later);
        twin->ident = idem_shm_sum_ident(twin);
        assert_int_equal(idem_shm_enter((idem_shm_store_t *)store, 0, 0),
                         APR_SUCCESS);
        (void)idem_shm_repair_locked(part, 0, 0);
        idem_shm_leave((idem_shm_store_t *)store, 0);
        assert_whole(store, *state);
        n += 1 - (apr_uint32_t)later;
        /* The print tells which of the two it is. */
        assert_int_equal(
            claim_at(store, n, later ? n + 1 : n, T0, &token, &record, *state),
            IDEM_CLAIM_DONE);
    }
}

/* Ask for an id that nobody has, in the bucket of id n: this walks to the
 * end of the chain. */
static void miss_beside(idem_store_t *store, apr_uint32_t n, apr_pool_t *pool)
{
    idem_digest_t id = digest(n);
    idem_ask_t ask = { &id, &id, 7, 0, 0, T0, TTL };
    idem_token_t token;
    idem_blob_t record;
    idem_claim_t claim;

    id.bytes[IDEM_DIGEST_LEN - 1] ^= 0xff;
    assert_int_equal(
        idem_store_claim(store, &claim, &token, &record, &ask, pool),
        APR_SUCCESS);
    assert_int_equal(claim, IDEM_CLAIM_NEW);
    assert_int_equal(idem_store_release(store, &token), APR_SUCCESS);
}

static void broken_index_is_made_anew(void **state)
{
    idem_store_t *store = contract_store(*state);
    idem_token_t token;
    idem_blob_t record;
    idem_usage_t usage;
    apr_uint32_t n;

    for (n = 1; n < 50; n++) {
        assert_int_equal(put(store, n, n, T0, *state), APR_SUCCESS);
    }
    for (n = 1; n < 50; n++) {
        idem_shm_head_t *head = head_of(store, n);

        /* Out of range, or round in a circle. */
        head->next = n % 2 ? 0xfffffff0u
                           : idem_shm_part_unit(part_of(store, 0), head) + 1;
        miss_beside(store, n, *state);
        assert_int_equal(claim_at(store, n, n, T0, &token, &record, *state),
                         IDEM_CLAIM_DONE);
        assert_whole(store, *state);
    }
    idem_store_usage(store, &usage);
    assert_int_equal(usage.repairs, 49);
}

static void broken_index_keeps_nothing_from_being_released(void **state)
{
    idem_store_t *store = contract_store(*state);
    idem_digest_t id = digest(1);

    assert_int_equal(put(store, 1, 1, T0, *state), APR_SUCCESS);
    head_of(store, 1)->next = 0xfffffff0u;
    id.bytes[IDEM_DIGEST_LEN - 1] ^= 0xff;
    assert_int_equal(idem_store_forget(store, &id), APR_NOTFOUND);
    assert_whole(store, *state);
    id = digest(1);
    assert_int_equal(idem_store_forget(store, &id), APR_SUCCESS);
    assert_whole(store, *state);
}

/* ------------------------------------------------------------------- file */

/* Nothing of what had expired is replayed. @return how many are known */
static int judge_tombs(idem_store_t *store, apr_pool_t *pool)
{
    apr_uint32_t n;
    int good = 0;

    for (n = FIRST_TOMB; n < FIRST_TOMB + TOMBS; n++) {
        idem_token_t token;
        idem_blob_t record;
        idem_claim_t claim = claim_at(store, n, n, T0, &token, &record, pool);

        assert_int_not_equal(claim, IDEM_CLAIM_NOT_RETAINED);
        assert_int_not_equal(claim, IDEM_CLAIM_IN_PROGRESS);
        assert_true(claim != IDEM_CLAIM_DONE || is_put(&record, n));
        good += claim == IDEM_CLAIM_EXPIRED;
    }
    return good;
}

/* Open what is there. No crash, no wrong bytes, a shard that is whole. */
static int judge(const place_t *place, int whole, apr_pool_t *pool)
{
    idem_shm_segment_t segment;
    idem_store_t *store;
    const char *detail;
    apr_uint32_t n;
    int good = 0;

    assert_int_equal(open_at(place, SIZE, T0, &segment, &detail), APR_SUCCESS);
    store = attach(&segment, pool);
    if (whole) {
        assert_whole(store, pool);
    }
    for (n = 1; n <= RECORDS + 1; n++) {
        idem_token_t token;
        idem_blob_t record;
        idem_claim_t claim = claim_at(store, n, n, T0, &token, &record, pool);

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
    good += judge_tombs(store, pool);
    for (n = 0; n < 8; n++) {
        idem_store_purge(store, T0);
    }
    (void)put(store, 5000, 100000, T0, pool);
    if (whole) {
        assert_whole(store, pool);
    }
    idem_shm_close(&segment);
    return good;
}

/* Most of the file is free: aim at the heads of shard and records. */
static apr_size_t aim(const char *image, int i)
{
    apr_size_t used = RECORDS * 26 + TOMBS * 3; /* units, roughly */
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
            assert_true(clean || good == 0
                        || good >= (int)(RECORDS + TOMBS) - 1);
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
        pool_test(damaged_answer_is_unknown_and_never_replayed),
        pool_test(two_records_never_share_an_extent),
        pool_test(of_two_records_with_one_id_the_later_stays),
        pool_test(broken_index_is_made_anew),
        pool_test(broken_index_keeps_nothing_from_being_released),
        pool_test(damage_costs_records_and_nothing_else),
        pool_test(torn_file_costs_records_and_nothing_else),
    };

    apr_initialize();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
