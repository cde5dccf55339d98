/* idem_key.c: Idempotency-Key field value -> key text -> id of the record.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The parser follows the algorithms of RFC 9651 4.2 one by one; each parse_
 * function moves the cursor behind what it read, or returns 0.
 */
#include "idem_key.h"

#include <string.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>

#include <apr_lib.h>
#include <apr_strings.h>

static const char not_a_string[]
    = "The value is not a String of RFC 9651, such as \"8e03978e-40d5\".";
static const char bad_parameters[]
    = "What follows the key is not a list of parameters (RFC 9651 3.1.2).";
static const char bad_length[]
    = "The key is empty or longer than this service takes.";
static const char not_bare[]
    = "An unquoted key has characters that need quotes (RFC 9651 3.3.3).";
static const char not_quoted[]
    = "The key has to be quoted: a String of RFC 9651.";

/* ------------------------------------------------- items of RFC 9651 4.2.3 */

static int is_tchar(char c)
{
    return apr_isalnum(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
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
    while (apr_isdigit(*p)) {
        p++;
        digits++;
    }
    if (digits == 0 || digits > 15) {
        return 0;
    }
    if (*p == '.' && !only_integer) {
        for (p++; apr_isdigit(*p); p++) {
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

    if (!apr_isalpha(*p) && *p != '*') {
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

    while (apr_isalnum(*p) || *p == '+' || *p == '/' || *p == '=') {
        p++;
    }
    if (*p != ':') {
        return 0;
    }
    *at = p + 1;
    return 1;
}

/* 4.2.10: percent escapes in lower case; UTF-8 is not looked into. */
static int parse_display(const char **at)
{
    const char *p = *at + 1;
    static const char hex[] = "0123456789abcdef";

    if (*p++ != '"') {
        return 0;
    }
    for (; *p != '"'; p++) {
        if (*p < 0x20 || *p > 0x7e) {
            return 0;
        }
        if (*p == '%') {
            if (!p[1] || !strchr(hex, p[1]) || !p[2] || !strchr(hex, p[2])) {
                return 0;
            }
            p += 2;
        }
    }
    *at = p + 1;
    return 1;
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
        if (**at == '-' || apr_isdigit(**at)) {
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
        if (!apr_islower(*p) && *p != '*') {
            return 0;
        }
        while (apr_islower(*p) || apr_isdigit(*p)
               || (*p && strchr("_-.*", *p))) {
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

/* ------------------------------------------------------------------- the key */

/* What most clients send. Commas and semicolons stay out, so that joined
 * lines and parameters are noticed. */
static int is_bare_key(const char *p, apr_size_t len)
{
    apr_size_t i;

    if (len == 0 || (!apr_isalnum(*p) && *p != '-' && *p != '_')) {
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

/* -------------------------------------------------------------------- the id */

struct idem_key_digest_t {
    EVP_MAC_CTX *ctx;
    int failed;
};

/* Fetched once: a fetch takes locks and is slow. Never freed, as the child
 * needs it to its end. */
static EVP_MAC *hmac;

apr_status_t idem_key_init(void)
{
    if (!hmac) {
        hmac = EVP_MAC_fetch(NULL, OSSL_MAC_NAME_HMAC, NULL);
    }
    return hmac ? APR_SUCCESS : APR_EGENERAL;
}

static apr_status_t free_digest(void *data)
{
    idem_key_digest_t *digest = data;

    EVP_MAC_CTX_free(digest->ctx);
    digest->ctx = NULL;
    return APR_SUCCESS;
}

apr_status_t idem_key_digest_create(idem_key_digest_t **digest,
                                    const unsigned char *secret,
                                    apr_size_t len, apr_pool_t *pool)
{
    idem_key_digest_t *made = apr_pcalloc(pool, sizeof(*made));
    char name[] = "SHA256"; /* the API takes a char * */
    OSSL_PARAM params[2];

    made->ctx = EVP_MAC_CTX_new(hmac);
    if (!made->ctx) {
        return APR_EGENERAL;
    }
    apr_pool_cleanup_register(pool, made, free_digest, apr_pool_cleanup_null);
    params[0] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name,
                                                 0);
    params[1] = OSSL_PARAM_construct_end();
    if (EVP_MAC_init(made->ctx, secret, len, params) != 1) {
        return APR_EGENERAL;
    }
    *digest = made;
    return APR_SUCCESS;
}

void idem_key_digest_add(idem_key_digest_t *digest, const void *part,
                         apr_size_t len)
{
    unsigned char raw[8];
    int i;

    for (i = 0; i < 8; i++) {
        raw[i] = (unsigned char)((apr_uint64_t)len >> (8 * i));
    }
    if (EVP_MAC_update(digest->ctx, raw, sizeof(raw)) != 1
        || EVP_MAC_update(digest->ctx, part, len) != 1) {
        digest->failed = 1;
    }
}

apr_status_t idem_key_digest_end(idem_key_digest_t *digest, idem_digest_t *id)
{
    size_t len = 0;

    if (digest->failed
        || EVP_MAC_final(digest->ctx, id->bytes, &len, sizeof(id->bytes)) != 1
        || len != sizeof(id->bytes)) {
        return APR_EGENERAL;
    }
    return APR_SUCCESS;
}
