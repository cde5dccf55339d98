/* idem_key.c: Idempotency-Key field value -> key text -> id of the record.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The parser follows the algorithms of RFC 9651 4.2 one by one; each parse_
 * function moves the cursor behind what it read, or returns 0.
 */
#include "idem_key.h"

#include <string.h>

#include <apr_strings.h>

#include "idem_hash.h"

static const char not_a_string[] =
    "The value is not a String of RFC 9651, such as \"8e03978e-40d5\".";
static const char bad_parameters[] =
    "What follows the key is not a list of parameters (RFC 9651 3.1.2).";
static const char bad_length[] =
    "The key is empty or longer than this service takes.";
static const char not_bare[] =
    "An unquoted key has characters that need quotes (RFC 9651 3.3.3).";
static const char not_plain[] =
    "The key has characters other than visible ones of ASCII and inner "
    "spaces.";
static const char not_quoted[] =
    "The key has to be quoted: a String of RFC 9651.";

/* ------------------------------------------------- items of RFC 9651 4.2.3 */

/* Not isalpha() and the like: a PHP script may set a locale in which bytes
 * above 7F are letters too. */
static int is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static int is_alpha(char c)
{
    return is_lower(c) || (c >= 'A' && c <= 'Z');
}

static int is_alnum(char c)
{
    return is_alpha(c) || is_digit(c);
}

static int is_tchar(char c)
{
    return is_alnum(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* 4.2.5; to, if not NULL, has room for all that is left. */
static int parse_string(const char **at, char *to)
{
    const char *p = *at;

    if (*p++ != '"') {
        return 0;
    }
    for (; *p != '"'; p++) {
        if (*p == '\\') {
            p++;
            if (*p != '"' && *p != '\\') {
                return 0;
            }
        }
        else if (*p < 0x20 || *p > 0x7e) {
            return 0; /* the end of the value too; chars above 7F are < 0 */
        }
        if (to) {
            *to++ = *p;
        }
    }
    if (to) {
        *to = '\0';
    }
    *at = p + 1;
    return 1;
}

/* 4.2.4: at most 15 digits, or 12 and 1 to 3 behind the point. */
static int parse_number(const char **at, int only_integer)
{
    const char *p = *at;
    int digits = 0, behind = 0;

    if (*p == '-') {
        p++;
    }
    while (is_digit(*p)) {
        p++;
        digits++;
    }
    if (digits == 0 || digits > 15) {
        return 0;
    }
    if (*p == '.' && !only_integer) {
        for (p++; is_digit(*p); p++) {
            behind++;
        }
        if (digits > 12 || behind < 1 || behind > 3) {
            return 0;
        }
    }
    *at = p;
    return 1;
}

/* 4.2.6 */
static int parse_token(const char **at)
{
    const char *p = *at;

    if (!is_alpha(*p) && *p != '*') {
        return 0;
    }
    while (is_tchar(*p) || *p == ':' || *p == '/') {
        p++;
    }
    *at = p;
    return 1;
}

/* 4.2.7; whether padding is right is left open there. */
static int parse_bytes(const char **at)
{
    const char *p = *at + 1;

    while (is_alnum(*p) || *p == '+' || *p == '/' || *p == '=') {
        p++;
    }
    if (*p != ':') {
        return 0;
    }
    *at = p + 1;
    return 1;
}

/* Two digits in lower case, or -1. */
static int hex_byte(const char *p)
{
    static const char hex[] = "0123456789abcdef";
    const char *high = *p ? strchr(hex, p[0]) : NULL;
    const char *low = high && p[1] ? strchr(hex, p[1]) : NULL;

    return low ? (int)(high - hex) * 16 + (int)(low - hex) : -1;
}

/* RFC 3629: what may follow, so that nothing overlong, no surrogate and
 * nothing above U+10FFFF gets through. */
typedef struct {
    int more; /* continuation bytes owed */
    int low;  /* bounds of the next one */
    int high;
} utf8_t;

static int utf8_next(utf8_t *state, int byte)
{
    if (state->more > 0) {
        if (byte < state->low || byte > state->high) {
            return 0;
        }
        state->more--;
    }
    else if (byte < 0x80) {
        return 1;
    }
    else if (byte < 0xc2 || byte > 0xf4) {
        return 0;
    }
    else {
        state->more = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
        state->low = byte == 0xe0 ? 0xa0 : byte == 0xf0 ? 0x90 : 0x80;
        state->high = byte == 0xed ? 0x9f : byte == 0xf4 ? 0x8f : 0xbf;
        return 1;
    }
    state->low = 0x80;
    state->high = 0xbf;
    return 1;
}

/* 4.2.10: what the percent escapes stand for has to be UTF-8. */
static int parse_display(const char **at)
{
    const char *p = *at + 1;
    utf8_t utf8 = { 0, 0, 0 };

    if (*p++ != '"') {
        return 0;
    }
    for (; *p != '"'; p++) {
        int byte = *p;

        if (*p < 0x20 || *p > 0x7e) {
            return 0;
        }
        if (*p == '%') {
            byte = hex_byte(p + 1);
            if (byte < 0) {
                return 0;
            }
            p += 2;
        }
        if (!utf8_next(&utf8, byte)) {
            return 0;
        }
    }
    *at = p + 1;
    return utf8.more == 0;
}

static int parse_bare_item(const char **at)
{
    switch (**at) {
    case '"':
        return parse_string(at, NULL);
    case ':':
        return parse_bytes(at);
    case '%':
        return parse_display(at);
    case '?':
        if ((*at)[1] != '0' && (*at)[1] != '1') {
            return 0;
        }
        *at += 2;
        return 1;
    case '@':
        (*at)++;
        return parse_number(at, 1);
    default:
        if (**at == '-' || is_digit(**at)) {
            return parse_number(at, 0);
        }
        return parse_token(at);
    }
}

/* 4.2.3.2 and 4.2.3.3 */
static int parse_parameters(const char **at)
{
    const char *p = *at;

    while (*p == ';') {
        p++;
        while (*p == ' ') {
            p++;
        }
        if (!is_lower(*p) && *p != '*') {
            return 0;
        }
        while (is_lower(*p) || is_digit(*p) || (*p && strchr("_-.*", *p))) {
            p++;
        }
        if (*p == '=') {
            p++;
            if (!parse_bare_item(&p)) {
                return 0;
            }
        }
    }
    *at = p;
    return 1;
}

/* ----------------------------------------------------------------- the key */

/* What most clients send. Commas and semicolons stay out, so that joined
 * lines and parameters are noticed. */
static int is_bare_key(const char *p, apr_size_t len)
{
    apr_size_t i;

    if (len == 0 || (!is_alnum(*p) && *p != '-' && *p != '_')) {
        return 0;
    }
    for (i = 0; i < len; i++) {
        if (!is_tchar(p[i]) && !strchr(":/=@", p[i])) {
            return 0;
        }
    }
    return 1;
}

static const char *parse_quoted(char *key, const char *at)
{
    if (!parse_string(&at, key)) {
        return not_a_string;
    }
    if (!parse_parameters(&at)) {
        return bad_parameters;
    }
    at += strspn(at, " ");
    return *at ? bad_parameters : NULL;
}

apr_status_t idem_key_parse(const char **key, const char **why,
                            const char *value, idem_key_syntax_t syntax,
                            apr_size_t len_max, apr_pool_t *pool)
{
    apr_size_t len = strlen(value);
    char *text = apr_palloc(pool, len + 1);

    *why = NULL;
    value += strspn(value, " ");
    if (*value == '"') {
        *why = parse_quoted(text, value);
    }
    else if (syntax == IDEM_KEY_STRICT) {
        *why = not_quoted;
    }
    else {
        len = strlen(value);
        while (len > 0 && value[len - 1] == ' ') {
            len--;
        }
        if (len > 0 && !is_bare_key(value, len)) {
            *why = not_bare;
        }
        else {
            memcpy(text, value, len);
            text[len] = '\0';
        }
    }
    if (!*why && (!*text || strlen(text) > len_max)) {
        *why = bad_length;
    }
    if (*why) {
        return APR_EINVAL;
    }
    *key = text;
    return APR_SUCCESS;
}

apr_status_t idem_key_plain(const char **key, const char **why,
                            const char *value, apr_size_t len_max,
                            apr_pool_t *pool)
{
    apr_size_t len = strlen(value), i;

    *why = len == 0 || len > len_max ? bad_length : NULL;
    for (i = 0; i < len && !*why; i++) {
        if (value[i] < 0x20 || value[i] > 0x7e) {
            *why = not_plain; /* chars above 7F are < 0 */
        }
    }
    if (!*why && (value[0] == ' ' || value[len - 1] == ' ')) {
        *why = not_plain;
    }
    if (*why) {
        return APR_EINVAL;
    }
    *key = apr_pstrmemdup(pool, value, len);
    return APR_SUCCESS;
}

/* ------------------------------------------------------------------ the id */

/* HMAC (RFC 2104) by hand: EVP_MAC makes and frees four contexts for each,
 * which takes three times as long as the digest. */
#define BLOCK_LEN 64

struct idem_key_digest_t {
    idem_hash_t *hash;
    unsigned char outer[BLOCK_LEN]; /* the secret, for the second pass */
};

apr_status_t idem_key_digest_create(idem_key_digest_t **digest,
                                    const unsigned char *secret,
                                    apr_size_t len, apr_pool_t *pool)
{
    idem_key_digest_t *made = apr_palloc(pool, sizeof(*made));
    unsigned char inner[BLOCK_LEN];
    apr_status_t rv;
    apr_size_t i;

    if (len == 0 || len > BLOCK_LEN) {
        return APR_EGENERAL;
    }
    rv = idem_hash_create(&made->hash, pool);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    memset(inner, 0x36, BLOCK_LEN);
    memset(made->outer, 0x5c, BLOCK_LEN);
    for (i = 0; i < len; i++) {
        inner[i] ^= secret[i];
        made->outer[i] ^= secret[i];
    }
    idem_hash_add(made->hash, inner, BLOCK_LEN);
    *digest = made;
    return APR_SUCCESS;
}

void idem_key_digest_add(idem_key_digest_t *digest, const void *part,
                         apr_size_t len)
{
    idem_hash_piece(digest->hash, part, len);
}

apr_status_t idem_key_digest_end(idem_key_digest_t *digest, idem_digest_t *id)
{
    unsigned char inner[IDEM_DIGEST_LEN];
    apr_status_t rv = idem_hash_end(digest->hash, inner);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    idem_hash_add(digest->hash, digest->outer, BLOCK_LEN);
    idem_hash_add(digest->hash, inner, sizeof(inner));
    return idem_hash_end(digest->hash, id->bytes);
}
