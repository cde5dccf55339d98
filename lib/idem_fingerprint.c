/* idem_fingerprint.c: method, target, chosen fields and body -> digest.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   SHA-256( for each part: name, value; "raw"; the body )
 *   SHA-256( for each part: name, value; "json", "form" or "multipart";
 *            what the body means )
 *
 * Every piece but the last is preceded by its length. Both run side by side
 * where the second is possible: whether it is, is known at the end.
 */
#include "idem_fingerprint.h"

#include <string.h>

#include <openssl/evp.h>

#include "idem_form.h"
#include "idem_json.h"
#include "idem_parts.h"
#include "idem_text.h"

typedef enum {
    BODY_RAW,
    BODY_MULTIPART,
    BODY_JSON,
    BODY_FORM
} body_kind_t;

struct idem_fingerprint_t {
    apr_pool_t *pool;
    body_kind_t kind; /* what the body may be */
    EVP_MD_CTX *raw;
    EVP_MD_CTX *meaning; /* NULL: BODY_RAW */
    idem_parts_t *parts; /* BODY_MULTIPART */
    idem_text_t text;    /* BODY_JSON, BODY_FORM */
    int in_body;         /* "raw" is in */
    int failed;
};

/* Fetched once: a fetch takes locks and is slow. Never freed, as the child
 * needs it to its end. */
static EVP_MD *sha256;

apr_status_t idem_fingerprint_init(void)
{
    if (!sha256) {
        sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    }
    return sha256 ? APR_SUCCESS : APR_EGENERAL;
}

static apr_status_t free_digests(void *data)
{
    idem_fingerprint_t *print = data;

    EVP_MD_CTX_free(print->raw);
    EVP_MD_CTX_free(print->meaning);
    return APR_SUCCESS;
}

static body_kind_t kind_of(idem_fingerprint_t *print, const char *content_type,
                           int kinds)
{
    if ((kinds & IDEM_FINGERPRINT_JSON) && idem_json_is_type(content_type)) {
        return BODY_JSON;
    }
    if ((kinds & IDEM_FINGERPRINT_FORM)
        && idem_text_is_type(content_type, IDEM_FORM_TYPE)) {
        return BODY_FORM;
    }
    print->parts = idem_parts_create(content_type, sha256, print->pool);
    return print->parts ? BODY_MULTIPART : BODY_RAW;
}

apr_status_t idem_fingerprint_create(idem_fingerprint_t **print,
                                     const char *content_type, int kinds,
                                     apr_pool_t *pool)
{
    idem_fingerprint_t *made = apr_pcalloc(pool, sizeof(*made));

    made->pool = pool;
    made->kind = kind_of(made, content_type, kinds);
    made->raw = EVP_MD_CTX_new();
    made->meaning = made->kind == BODY_RAW ? NULL : EVP_MD_CTX_new();
    idem_text_init(&made->text, pool);
    apr_pool_cleanup_register(pool, made, free_digests, apr_pool_cleanup_null);
    if (!made->raw || EVP_DigestInit_ex2(made->raw, sha256, NULL) != 1) {
        return APR_EGENERAL;
    }
    if (made->kind != BODY_RAW
        && (!made->meaning
            || EVP_DigestInit_ex2(made->meaning, sha256, NULL) != 1)) {
        return APR_EGENERAL;
    }
    *print = made;
    return APR_SUCCESS;
}

static void put(idem_fingerprint_t *print, EVP_MD_CTX *digest,
                const void *data, apr_size_t len)
{
    unsigned char raw[8];
    int i;

    for (i = 0; i < 8; i++) {
        raw[i] = (unsigned char)((apr_uint64_t)len >> (8 * i));
    }
    print->failed |= EVP_DigestUpdate(digest, raw, sizeof(raw)) != 1
                     || EVP_DigestUpdate(digest, data, len) != 1;
}

static void put_part(idem_fingerprint_t *print, EVP_MD_CTX *digest,
                     const char *name, const char *value)
{
    put(print, digest, name, strlen(name));
    /* An absent field is not an empty one. */
    put(print, digest, value ? "+" : "-", 1);
    put(print, digest, value ? value : "", value ? strlen(value) : 0);
}

void idem_fingerprint_add(idem_fingerprint_t *print, const char *name,
                          const char *value)
{
    put_part(print, print->raw, name, value);
    if (print->meaning) {
        put_part(print, print->meaning, name, value);
    }
}

static void begin_body(idem_fingerprint_t *print)
{
    if (!print->in_body) {
        put(print, print->raw, "raw", strlen("raw"));
        print->in_body = 1;
    }
}

void idem_fingerprint_body(idem_fingerprint_t *print, const char *data,
                           apr_size_t len)
{
    begin_body(print);
    print->failed |= EVP_DigestUpdate(print->raw, data, len) != 1;
    switch (print->kind) {
    case BODY_RAW:
        break;
    case BODY_MULTIPART:
        idem_parts_add(print->parts, data, len);
        break;
    case BODY_JSON:
    case BODY_FORM:
        idem_text_add(&print->text, data, len);
        break;
    }
}

static int add_parts(idem_fingerprint_t *print)
{
    unsigned char digest[EVP_MAX_MD_SIZE];

    if (!idem_parts_end(print->parts, digest)) {
        return 0;
    }
    put(print, print->meaning, "multipart", strlen("multipart"));
    put(print, print->meaning, digest, IDEM_DIGEST_LEN);
    return 1;
}

static int add_json(idem_fingerprint_t *print)
{
    idem_json_t *json =
        idem_json_create(print->text.data, print->text.len, print->pool);

    if (!json) {
        return 0;
    }
    put(print, print->meaning, "json", strlen("json"));
    print->failed |= !idem_json_hash(json, print->meaning);
    return 1;
}

static int add_form(idem_fingerprint_t *print)
{
    put(print, print->meaning, "form", strlen("form"));
    return idem_form_hash(print->text.data, print->text.len, print->meaning,
                          print->pool);
}

/* @return 0 if the body has not plainly one meaning */
static int add_meaning(idem_fingerprint_t *print)
{
    switch (print->kind) {
    case BODY_RAW:
        break;
    case BODY_MULTIPART:
        return add_parts(print);
    case BODY_JSON:
        return !print->text.over && print->text.len > 0 && add_json(print);
    case BODY_FORM:
        return !print->text.over && print->text.len > 0 && add_form(print);
    }
    return 0;
}

apr_status_t idem_fingerprint_end(idem_fingerprint_t *print,
                                  idem_digest_t *digest)
{
    EVP_MD_CTX *from = add_meaning(print) ? print->meaning : print->raw;
    unsigned int len = 0;

    begin_body(print);
    print->failed |= EVP_DigestFinal_ex(from, digest->bytes, &len) != 1;
    return print->failed ? APR_EGENERAL : APR_SUCCESS;
}
