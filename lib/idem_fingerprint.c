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

#include "idem_form.h"
#include "idem_hash.h"
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
    idem_hash_t *raw;
    idem_hash_t *meaning; /* NULL: BODY_RAW */
    idem_parts_t *parts;  /* BODY_MULTIPART */
    idem_text_t text;     /* BODY_JSON, BODY_FORM */
    int in_body;          /* "raw" is in */
};

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
    print->parts = idem_parts_create(content_type, print->pool);
    return print->parts ? BODY_MULTIPART : BODY_RAW;
}

apr_status_t idem_fingerprint_create(idem_fingerprint_t **print,
                                     const char *content_type, int kinds,
                                     apr_pool_t *pool)
{
    idem_fingerprint_t *made = apr_pcalloc(pool, sizeof(*made));
    apr_status_t rv;

    made->pool = pool;
    made->kind = kind_of(made, content_type, kinds);
    idem_text_init(&made->text, pool);
    rv = idem_hash_create(&made->raw, pool);
    if (rv == APR_SUCCESS && made->kind != BODY_RAW) {
        rv = idem_hash_create(&made->meaning, pool);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    *print = made;
    return APR_SUCCESS;
}

static void put_part(idem_hash_t *hash, const char *name, const char *value)
{
    idem_hash_piece(hash, name, strlen(name));
    /* An absent field is not an empty one. */
    idem_hash_piece(hash, value ? "+" : "-", 1);
    idem_hash_piece(hash, value ? value : "", value ? strlen(value) : 0);
}

void idem_fingerprint_add(idem_fingerprint_t *print, const char *name,
                          const char *value)
{
    put_part(print->raw, name, value);
    if (print->meaning) {
        put_part(print->meaning, name, value);
    }
}

static void begin_body(idem_fingerprint_t *print)
{
    if (!print->in_body) {
        idem_hash_piece(print->raw, "raw", strlen("raw"));
        print->in_body = 1;
    }
}

void idem_fingerprint_body(idem_fingerprint_t *print, const char *data,
                           apr_size_t len)
{
    begin_body(print);
    idem_hash_add(print->raw, data, len);
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
    unsigned char digest[IDEM_DIGEST_LEN];

    if (!idem_parts_end(print->parts, digest)) {
        return 0;
    }
    idem_hash_piece(print->meaning, "multipart", strlen("multipart"));
    idem_hash_piece(print->meaning, digest, sizeof(digest));
    return 1;
}

static int add_json(idem_fingerprint_t *print)
{
    idem_json_t *json =
        idem_json_create(print->text.data, print->text.len, print->pool);

    if (!json) {
        return 0;
    }
    idem_hash_piece(print->meaning, "json", strlen("json"));
    idem_json_hash(json, print->meaning);
    return 1;
}

static int add_form(idem_fingerprint_t *print)
{
    idem_hash_piece(print->meaning, "form", strlen("form"));
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
    begin_body(print);
    return idem_hash_end(add_meaning(print) ? print->meaning : print->raw,
                         digest->bytes);
}
