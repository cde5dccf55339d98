/* idem_histogram.c: how long things take, counted in buckets.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_histogram.h"

int idem_histogram_bucket(apr_uint64_t value)
{
    int power;

    if (value < 1u << IDEM_HISTOGRAM_FIRST) {
        return 0;
    }
    power = 63 - __builtin_clzll(value);
    if (power >= IDEM_HISTOGRAM_FIRST + IDEM_HISTOGRAM_OCTAVES) {
        return IDEM_HISTOGRAM_BUCKETS - 1;
    }
    return 1 + (power - IDEM_HISTOGRAM_FIRST) * IDEM_HISTOGRAM_PARTS
           + (int)(value >> (power - 2) & (IDEM_HISTOGRAM_PARTS - 1));
}

apr_uint64_t idem_histogram_count(const idem_histogram_t *histogram)
{
    apr_uint64_t n = 0;
    int i;

    for (i = 0; i < IDEM_HISTOGRAM_BUCKETS; i++) {
        n += histogram->bucket[i];
    }
    return n;
}

apr_uint64_t idem_histogram_bound(int bucket)
{
    int octave = (bucket - 1) / IDEM_HISTOGRAM_PARTS;
    int part = (bucket - 1) % IDEM_HISTOGRAM_PARTS;
    apr_uint64_t low = (apr_uint64_t)1 << (IDEM_HISTOGRAM_FIRST + octave);

    if (bucket <= 0) {
        return 1u << IDEM_HISTOGRAM_FIRST;
    }
    return low + low / IDEM_HISTOGRAM_PARTS * (apr_uint64_t)(part + 1);
}

apr_uint64_t idem_histogram_within(const idem_histogram_t *histogram,
                                   int permille)
{
    apr_uint64_t want = idem_histogram_count(histogram);
    apr_uint64_t below = 0, low, width, n;
    int i;

    /* The rank of the value asked for, rounded up, so at least the first. */
    want = want / 1000 * (apr_uint64_t)permille
           + (want % 1000 * (apr_uint64_t)permille + 999) / 1000;
    for (i = 0; i < IDEM_HISTOGRAM_BUCKETS - 1; i++) {
        n = histogram->bucket[i];
        if (n > 0 && below + n >= want) {
            low = i > 0 ? idem_histogram_bound(i - 1) : 0;
            width = idem_histogram_bound(i) - low;
            return low
                   + (apr_uint64_t)((double)width * (double)(want - below)
                                    / (double)n);
        }
        below += n;
    }
    return below < want ? idem_histogram_bound(IDEM_HISTOGRAM_BUCKETS - 2) : 0;
}
