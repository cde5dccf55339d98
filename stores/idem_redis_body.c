/* idem_redis_body.c: a record in one piece, compressed if that helps.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_redis.h"

#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#define DEFLATE_FROM ((apr_size_t)64 * 1024 + 1)

static apr_size_t sum_of(const struct iovec *vec, int nvec)
{
    apr_size_t len = 0;
    int i;

    for (i = 0; i < nvec; i++) {
        len += vec[i].iov_len; /* idem_store_commit() looked for overflow */
    }
    return len;
}

/* The fastest level: a request waits for it. What does not shrink, such as
 * pictures, stays as it is. */
static void deflate_body(idem_redis_body_t *body)
{
    uLongf len = compressBound((uLong)body->len);
    char *to = malloc(len);

    if (to
        && compress2((Bytef *)to, &len, (const Bytef *)body->data,
                     (uLong)body->len, Z_BEST_SPEED)
               == Z_OK
        && len < body->len) {
        free(body->data);
        body->data = to;
        body->len = len;
        body->deflated = 1;
        return;
    }
    free(to);
}

apr_status_t idem_redis_pack(idem_redis_body_t *body, const struct iovec *vec,
                             int nvec)
{
    apr_size_t at = 0;
    int i;

    body->len = sum_of(vec, nvec);
    body->raw_len = body->len;
    body->deflated = 0;
    body->data = NULL;
    if (body->len > IDEM_REDIS_RECORD_MAX) {
        return APR_ENOSPC;
    }
    body->data = malloc(body->len + 1);
    if (!body->data) {
        return APR_ENOMEM;
    }
    for (i = 0; i < nvec; i++) {
        if (vec[i].iov_len > 0) {
            memcpy(body->data + at, vec[i].iov_base, vec[i].iov_len);
            at += vec[i].iov_len;
        }
    }
    if (body->len >= DEFLATE_FROM) {
        deflate_body(body);
    }
    return APR_SUCCESS;
}

apr_status_t idem_redis_unpack(idem_blob_t *record, const char *data,
                               apr_size_t len, apr_uint64_t raw_len,
                               int deflated, apr_pool_t *pool)
{
    uLongf out = (uLongf)raw_len;
    char *to;

    /* The length stands in Redis: what it says is only believed up to what
     * a commit takes, and only if it comes out so. */
    if (raw_len > IDEM_REDIS_RECORD_MAX || (!deflated && raw_len != len)) {
        return APR_EGENERAL;
    }
    to = apr_palloc(pool, raw_len + 1);
    if (!deflated) {
        memcpy(to, data, len);
    }
    else if (uncompress((Bytef *)to, &out, (const Bytef *)data, (uLong)len)
                 != Z_OK
             || out != raw_len) {
        return APR_EGENERAL;
    }
    to[raw_len] = '\0';
    record->data = to;
    record->len = (apr_size_t)raw_len;
    return APR_SUCCESS;
}
