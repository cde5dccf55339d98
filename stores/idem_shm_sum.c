/* idem_shm_sum.c: checksums of records.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Why one of our own: it has to run at the speed of the copy, over pieces,
 * and to notice what happens to files and memory - a torn page, a flipped
 * bit, a word of another record. Each step (lane ^ word) * odd is a
 * bijection in the lane as well as in the word, and so is the mix of the
 * lanes: a single changed word always changes the sum. It is no defence
 * against somebody who can write the store; nothing in it could be.
 */
#include "idem_shm.h"

#include <string.h>

#define PRIME 0x9e3779b97f4a7c15ull

static apr_uint64_t turn(apr_uint64_t x)
{
    return (x << 29) | (x >> 35);
}

static apr_uint64_t step(apr_uint64_t lane, apr_uint64_t word)
{
    return turn((lane ^ word) * PRIME);
}

void idem_shm_sum_start(idem_shm_sum_t *sum)
{
    sum->lane[0] = 0x243f6a8885a308d3ull;
    sum->lane[1] = 0x13198a2e03707344ull;
    sum->lane[2] = 0xa4093822299f31d0ull;
    sum->lane[3] = 0x082efa98ec4e6c89ull;
    sum->phase = 0;
}

static void add_word(idem_shm_sum_t *sum, apr_uint64_t word)
{
    sum->lane[sum->phase] = step(sum->lane[sum->phase], word);
    sum->phase = (sum->phase + 1) & 3;
}

void idem_shm_sum_init(idem_shm_sum_t *sum, const idem_shm_head_t *head,
                       apr_uint32_t state)
{
    idem_shm_sum_start(sum);
    add_word(sum, head->fence);
    add_word(sum, state);
    add_word(sum, (apr_uint64_t)head->until << 32 | head->len);
    add_word(sum, (apr_uint64_t)head->expires);
}

/* The lanes in variables: through the pointer, the compiler would have to
 * assume that they lie in what is read, and store them at every step. */
static void add_blocks(apr_uint64_t *lane, const char *p, apr_size_t len)
{
    apr_uint64_t a = lane[0];
    apr_uint64_t b = lane[1];
    apr_uint64_t c = lane[2];
    apr_uint64_t d = lane[3];
    apr_uint64_t w[4];

    for (; len > 0; len -= sizeof(w)) {
        memcpy(w, p, sizeof(w));
        a = step(a, w[0]);
        b = step(b, w[1]);
        c = step(c, w[2]);
        d = step(d, w[3]);
        p += sizeof(w);
    }
    lane[0] = a;
    lane[1] = b;
    lane[2] = c;
    lane[3] = d;
}

void idem_shm_sum_add(idem_shm_sum_t *sum, const void *data, apr_size_t len)
{
    const char *p = data;
    apr_uint64_t w[4];

    while (len >= 8 && sum->phase != 0) {
        memcpy(w, p, 8);
        add_word(sum, w[0]);
        p += 8;
        len -= 8;
    }
    if (len >= sizeof(w)) {
        apr_size_t whole = len - len % sizeof(w);

        add_blocks(sum->lane, p, whole);
        p += whole;
        len -= whole;
    }
    while (len > 0) {
        apr_size_t n = len < 8 ? len : 8;

        w[0] = 0;
        memcpy(w, p, n);
        add_word(sum, w[0]);
        p += n;
        len -= n;
    }
}

apr_uint64_t idem_shm_sum_end(const idem_shm_sum_t *sum)
{
    apr_uint64_t all = sum->lane[0];

    all = step(all, sum->lane[1]);
    all = step(all, sum->lane[2]);
    all = step(all, sum->lane[3]);
    return all ^ (all >> 32);
}

apr_uint64_t idem_shm_sum_ident(const idem_shm_head_t *head)
{
    idem_shm_sum_t sum;

    idem_shm_sum_start(&sum);
    idem_shm_sum_add(&sum, &head->id, sizeof(head->id));
    idem_shm_sum_add(&sum, &head->print, sizeof(head->print));
    add_word(&sum, head->fence);
    add_word(&sum, (apr_uint64_t)head->created);
    add_word(&sum, head->host);
    return idem_shm_sum_end(&sum);
}

apr_uint64_t idem_shm_sum_tomb(const idem_shm_head_t *head)
{
    const idem_shm_tomb_t *tomb = &head->tomb;
    idem_shm_sum_t sum;

    idem_shm_sum_start(&sum);
    idem_shm_sum_add(&sum, &head->id, sizeof(head->id));
    add_word(&sum, (apr_uint64_t)tomb->until << 32 | tomb->host);
    idem_shm_sum_add(&sum, tomb->print, sizeof(tomb->print));
    return idem_shm_sum_end(&sum);
}
