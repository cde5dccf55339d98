/* idem_key_time.c: the time that some keys carry.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_key_time.h"

#include <string.h>

#define UUID_LEN 36
#define ULID_LEN 26

/* Its value among the digits, each in both cases, or -1. */
static int digit_of(char c, const char *lower, const char *upper)
{
    const char *at = c ? strchr(lower, c) : NULL;

    if (at) {
        return (int)(at - lower);
    }
    at = c ? strchr(upper, c) : NULL;
    return at ? (int)(at - upper) : -1;
}

static int hex_digit(char c)
{
    return digit_of(c, "0123456789abcdef", "0123456789ABCDEF");
}

/* RFC 9562 5.7: 48 bits of milliseconds, the version, the variant. */
static int parse_uuid7(const char *key, apr_uint64_t *ms)
{
    int i;

    *ms = 0;
    for (i = 0; i < UUID_LEN; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (key[i] != '-') {
                return 0;
            }
        }
        else if (hex_digit(key[i]) < 0) {
            return 0;
        }
        else if (i < 13) {
            *ms = *ms << 4 | (apr_uint64_t)hex_digit(key[i]);
        }
    }
    return key[14] == '7' && (hex_digit(key[19]) & 0xc) == 0x8;
}

/* 10 characters of 48 bits of milliseconds, so the first has 3, and 16 of
 * chance. The alphabet leaves I, L, O and U out. */
static int parse_ulid(const char *key, apr_uint64_t *ms)
{
    static const char lower[] = "0123456789abcdefghjkmnpqrstvwxyz";
    static const char upper[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    int i;

    *ms = 0;
    for (i = 0; i < ULID_LEN; i++) {
        int digit = digit_of(key[i], lower, upper);

        if (digit < 0 || (i == 0 && digit > 7)) {
            return 0;
        }
        if (i < 10) {
            *ms = *ms << 5 | (apr_uint64_t)digit;
        }
    }
    return 1;
}

int idem_key_time(const char *key, apr_time_t *made)
{
    apr_size_t len = strlen(key);
    apr_uint64_t ms;

    if (!(len == UUID_LEN && parse_uuid7(key, &ms))
        && !(len == ULID_LEN && parse_ulid(key, &ms))) {
        return 0;
    }
    *made = (apr_time_t)ms * 1000;
    return 1;
}
