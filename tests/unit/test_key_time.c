/* test_key_time.c: which keys carry a time, and which one.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_test.h"

#include "idem_key_time.h"

#define NONE (-1)

static const struct {
    const char *key;
    apr_int64_t ms; /* NONE: carries no time */
} rows[] = {
    /* RFC 9562 A.6; spec of ULID. */
    { "017F22E2-79B0-7CC3-98C4-DC0C0C07398F", 1645557742000 },
    { "017f22e2-79b0-7cc3-98c4-dc0c0c07398f", 1645557742000 },
    { "017f22E2-79B0-7cc3-B8c4-dc0c0c07398F", 1645557742000 },
    { "00000000-0000-7000-8000-000000000000", 0 },
    { "00000000-0001-7000-9000-000000000000", 1 },
    { "ffffffff-ffff-7fff-bfff-ffffffffffff", 281474976710655 },
    { "01ARZ3NDEKTSV4RRFFQ69G5FAV", 1469922850259 },
    { "01arz3ndektsv4rrffq69g5fav", 1469922850259 },
    { "00000000000000000000000000", 0 },
    { "00000000010000000000000000", 1 },
    { "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", 281474976710655 },
    /* Another version or variant. */
    { "919108f7-52d1-4320-9bac-f847db4148a8", NONE },
    { "1ec9414c-232a-6b00-b3c8-9f6bdeced846", NONE },
    { "2489e9ad-2ee2-8e00-8ec9-32d5f69181c0", NONE },
    { "017F22E2-79B0-0CC3-98C4-DC0C0C07398F", NONE },
    { "017F22E2-79B0-7CC3-78C4-DC0C0C07398F", NONE },
    { "017F22E2-79B0-7CC3-c8C4-DC0C0C07398F", NONE },
    { "017F22E2-79B0-7CC3-08C4-DC0C0C07398F", NONE },
    /* Another form. */
    { "017F22E279B07CC398C4DC0C0C07398F", NONE },
    { "{017F22E2-79B0-7CC3-98C4-DC0C0C07398F}", NONE },
    { "urn:uuid:017F22E2-79B0-7CC3-98C4-DC0C0C07398F", NONE },
    { "017F22E2-79B0-7CC3-98C4-DC0C0C07398", NONE },
    { "017F22E2-79B0-7CC3-98C4-DC0C0C07398F0", NONE },
    { "017F22E2x79B0-7CC3-98C4-DC0C0C07398F", NONE },
    { "017F22E2-79B0-7CC3-98C4xDC0C0C07398F", NONE },
    { "017F22E2-79B0-7CC3-98C4-DC0C0C07398G", NONE },
    { "g17F22E2-79B0-7CC3-98C4-DC0C0C07398F", NONE },
    { "017F22E-279B0-7CC3-98C4-DC0C0C07398F", NONE },
    { "8ZZZZZZZZZZZZZZZZZZZZZZZZZ", NONE },
    { "81ARZ3NDEKTSV4RRFFQ69G5FAV", NONE },
    { "Z1ARZ3NDEKTSV4RRFFQ69G5FAV", NONE },
    { "01ARZ3NDEKTSV4RRFFQ69G5FAI", NONE },
    { "01ARZ3NDEKTSV4RRFFQ69G5FAl", NONE },
    { "01ARZ3NDEKTSV4RRFFQ69G5FAO", NONE },
    { "01ARZ3NDEKTSV4RRFFQ69G5FAu", NONE },
    { "0UARZ3NDEKTSV4RRFFQ69G5FAV", NONE },
    { "01ARZ3NDEK-SV4RRFFQ69G5FAV", NONE },
    { "01ARZ3NDEKTSV4RRFFQ69G5FA", NONE },
    { "01ARZ3NDEKTSV4RRFFQ69G5FAV0", NONE },
    { "order-42", NONE },
    { "", NONE },
};

static void a_time_is_read_from_keys_that_have_one(void **state)
{
    apr_size_t i;

    (void)state;
    for (i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        apr_time_t made = -7;
        int has = idem_key_time(rows[i].key, &made);

        if (has != (rows[i].ms != NONE)
            || made != (has ? rows[i].ms * 1000 : -7)) {
            fail_msg("%s: %d, %" APR_INT64_T_FMT, rows[i].key, has, made);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_time_is_read_from_keys_that_have_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
