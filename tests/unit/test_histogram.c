/* test_histogram.c: buckets, bounds and what is within.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_test.h"

#include <string.h>

#include "idem_histogram.h"

#define LAST (IDEM_HISTOGRAM_BUCKETS - 1)

static void add(idem_histogram_t *histogram, apr_uint64_t value, int n)
{
    histogram->bucket[idem_histogram_bucket(value)] += (apr_uint64_t)n;
    histogram->sum += value * (apr_uint64_t)n;
}

static void bounds_rise_by_a_quarter_at_most(void **state)
{
    int i;

    (void)state;
    assert_int_equal(idem_histogram_bound(0), 64);
    for (i = 1; i < LAST; i++) {
        apr_uint64_t before = idem_histogram_bound(i - 1);
        apr_uint64_t here = idem_histogram_bound(i);

        assert_true(here > before);
        assert_true(here - before <= before / 4);
    }
    assert_true(idem_histogram_bound(LAST - 1) == (apr_uint64_t)1 << 36);
}

static void every_value_is_in_its_bucket(void **state)
{
    int i;

    (void)state;
    assert_int_equal(idem_histogram_bucket(0), 0);
    for (i = 0; i < LAST; i++) {
        apr_uint64_t bound = idem_histogram_bound(i);

        assert_int_equal(idem_histogram_bucket(bound - 1), i);
        assert_int_equal(idem_histogram_bucket(bound), i + 1);
    }
    assert_int_equal(idem_histogram_bucket(APR_UINT64_MAX), LAST);
}

static void nothing_is_within_nothing(void **state)
{
    idem_histogram_t histogram;

    (void)state;
    memset(&histogram, 0, sizeof(histogram));
    assert_int_equal(idem_histogram_count(&histogram), 0);
    assert_int_equal(idem_histogram_within(&histogram, 500), 0);
    assert_int_equal(idem_histogram_within(&histogram, 1000), 0);
}

/* Bounds of the bucket that holds the value. */
static void assert_near(apr_uint64_t told, apr_uint64_t value)
{
    int bucket = idem_histogram_bucket(value);

    assert_true(told <= idem_histogram_bound(bucket));
    assert_true(bucket == 0 || told > idem_histogram_bound(bucket - 1));
}

static void one_value_is_all(void **state)
{
    static const apr_uint64_t values[] = {
        1, 63, 64, 1000, 250000, 3000000000u
    };
    apr_size_t i;

    (void)state;
    for (i = 0; i < sizeof(values) / sizeof(*values); i++) {
        idem_histogram_t histogram;

        memset(&histogram, 0, sizeof(histogram));
        add(&histogram, values[i], 1);
        assert_int_equal(idem_histogram_count(&histogram), 1);
        assert_near(idem_histogram_within(&histogram, 1), values[i]);
        assert_near(idem_histogram_within(&histogram, 500), values[i]);
        assert_near(idem_histogram_within(&histogram, 1000), values[i]);
    }
}

static void the_rank_decides(void **state)
{
    idem_histogram_t histogram;

    (void)state;
    memset(&histogram, 0, sizeof(histogram));
    add(&histogram, 1000, 900);
    add(&histogram, 20000, 90);
    add(&histogram, 1000000, 9);
    add(&histogram, 500000000, 1);
    assert_int_equal(idem_histogram_count(&histogram), 1000);
    assert_near(idem_histogram_within(&histogram, 500), 1000);
    assert_near(idem_histogram_within(&histogram, 900), 1000);
    assert_near(idem_histogram_within(&histogram, 901), 20000);
    assert_near(idem_histogram_within(&histogram, 990), 20000);
    assert_near(idem_histogram_within(&histogram, 991), 1000000);
    assert_near(idem_histogram_within(&histogram, 999), 1000000);
    assert_near(idem_histogram_within(&histogram, 1000), 500000000);
}

static void what_is_above_all_counts_as_the_last(void **state)
{
    idem_histogram_t histogram;

    (void)state;
    memset(&histogram, 0, sizeof(histogram));
    add(&histogram, (apr_uint64_t)1 << 40, 3);
    assert_int_equal(idem_histogram_count(&histogram), 3);
    assert_true(idem_histogram_within(&histogram, 500)
                == idem_histogram_bound(LAST - 1));
}

/* Counts of years: no product may run over. */
static void many_are_no_matter(void **state)
{
    idem_histogram_t histogram;

    (void)state;
    memset(&histogram, 0, sizeof(histogram));
    histogram.bucket[idem_histogram_bucket(1000)] = (apr_uint64_t)1 << 61;
    histogram.bucket[idem_histogram_bucket(9000)] = (apr_uint64_t)1 << 61;
    assert_near(idem_histogram_within(&histogram, 499), 1000);
    assert_near(idem_histogram_within(&histogram, 501), 9000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounds_rise_by_a_quarter_at_most),
        cmocka_unit_test(every_value_is_in_its_bucket),
        cmocka_unit_test(nothing_is_within_nothing),
        cmocka_unit_test(one_value_is_all),
        cmocka_unit_test(the_rank_decides),
        cmocka_unit_test(what_is_above_all_counts_as_the_last),
        cmocka_unit_test(many_are_no_matter),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
