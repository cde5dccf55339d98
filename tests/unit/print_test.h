/* print_test.h: fingerprints of bodies, for the tests of their meaning.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PRINT_TEST_H
#define PRINT_TEST_H

#include "idem_test.h"

#include <string.h>

#include <apr_strings.h>

#include "idem_fingerprint.h"

#define NROWS(rows) (sizeof(rows) / sizeof(*rows))

static const char json_type[] = "application/json";
static const char form_type[] = "application/x-www-form-urlencoded";

/* In pieces of step bytes; 0: at once. */
static inline idem_digest_t print_in(const char *type, int kinds,
                                     const char *body, apr_size_t len,
                                     apr_size_t step, apr_pool_t *pool)
{
    idem_fingerprint_t *print;
    idem_digest_t digest;

    assert_int_equal(idem_fingerprint_create(&print, type, kinds, pool),
                     APR_SUCCESS);
    idem_fingerprint_add(print, "method", "POST");
    while (len > 0) {
        apr_size_t n = step && step < len ? step : len;

        idem_fingerprint_body(print, body, n);
        body += n;
        len -= n;
    }
    assert_int_equal(idem_fingerprint_end(print, &digest), APR_SUCCESS);
    return digest;
}

static inline int same(idem_digest_t a, idem_digest_t b)
{
    return !memcmp(a.bytes, b.bytes, sizeof(a.bytes));
}

static inline idem_digest_t json(const char *body, apr_pool_t *pool)
{
    return print_in(json_type, IDEM_FINGERPRINT_JSON, body, strlen(body), 0,
                    pool);
}

static inline idem_digest_t form(const char *body, apr_pool_t *pool)
{
    return print_in(form_type, IDEM_FINGERPRINT_FORM, body, strlen(body), 0,
                    pool);
}

static inline idem_digest_t raw(const char *body, apr_pool_t *pool)
{
    return print_in(NULL, 0, body, strlen(body), 0, pool);
}

typedef idem_digest_t print_t(const char *body, apr_pool_t *pool);

/* Are all texts, up to NULL, compared by meaning and the same? */
static inline void check_same(const char *const *texts, print_t *print,
                              apr_pool_t *pool)
{
    idem_digest_t first = print(*texts, pool);

    for (; *texts; texts++) {
        if (!same(first, print(*texts, pool))) {
            fail_msg("differs: %s", *texts);
        }
        if (same(first, raw(*texts, pool))) {
            fail_msg("taken byte for byte: %s", *texts);
        }
    }
}

/* No two have one digest. */
static inline void check_all_differ(const char *const *texts, apr_size_t n,
                                    print_t *print, apr_pool_t *pool)
{
    idem_digest_t *all = apr_palloc(pool, n * sizeof(*all));
    apr_size_t i, j;

    for (i = 0; i < n; i++) {
        all[i] = print(texts[i], pool);
        for (j = 0; j < i; j++) {
            if (same(all[i], all[j])) {
                fail_msg("the same: %s and %s", texts[j], texts[i]);
            }
        }
    }
}

/* n times the opening, the middle, n times the closing. */
static inline const char *nested(const char *open, const char *middle,
                                 const char *closing, apr_size_t n,
                                 apr_pool_t *pool)
{
    apr_size_t len = strlen(open), i;
    char *text = apr_pcalloc(pool, n * (len + 1) + strlen(middle) + 1);
    char *to = text;

    for (i = 0; i < n; i++, to += len) {
        memcpy(to, open, len);
    }
    memcpy(to, middle, strlen(middle));
    to += strlen(middle);
    for (i = 0; i < n; i++) {
        *to++ = *closing;
    }
    return text;
}

#endif /* PRINT_TEST_H */
