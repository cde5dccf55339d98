/* idem_redis_look.c: what administrators see of the store in Redis.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_redis.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#define USAGE_AGE apr_time_from_sec(5)
#define SCAN_MAX 64
#define SKIP_SHIFT 48 /* of a list's cursor: Redis' own stays far below */

/* ------------------------------------------------------------------- look */

/* The elements of a reply to the script look. */
enum {
    STATE,
    FORM,
    PRINT,
    TAIL,
    AGE,
    LENGTH,
    HOST,
    LEFT,
    BODY
};

static int is_text(const redisReply *reply, apr_size_t len)
{
    return reply->type == REDIS_REPLY_STRING && reply->len == len;
}

static int is_number(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_INTEGER;
}

static int is_entry(const redisReply *reply)
{
    redisReply **e = reply->element;

    return reply->type == REDIS_REPLY_ARRAY && reply->elements >= BODY
           && is_text(e[STATE], 1) && is_text(e[FORM], 1)
           && is_text(e[PRINT], IDEM_DIGEST_LEN) && is_number(e[TAIL])
           && is_number(e[AGE]) && is_number(e[LENGTH]) && is_text(e[HOST], 8)
           && is_number(e[LEFT])
           && (apr_uint64_t)e[LENGTH]->integer <= IDEM_REDIS_RECORD_MAX;
}

/* Where in its life it is, by what is left of the key's time. */
static int life_of(idem_entry_t *entry, char state, apr_int64_t left_ms,
                   apr_int64_t tail_ms)
{
    int is_late = tail_ms > 0 && left_ms <= tail_ms;
    apr_int64_t until = left_ms;

    switch (state) {
    case 'x':
        entry->life = is_late ? IDEM_LIFE_UNKNOWN : IDEM_LIFE_EXECUTING;
        until = is_late ? left_ms : 0;
        break;
    case 'd':
    case 'n':
        entry->life = state == 'd' ? IDEM_LIFE_DONE : IDEM_LIFE_NOT_RETAINED;
        until = left_ms - tail_ms;
        if (is_late) {
            entry->life = IDEM_LIFE_EXPIRED;
            until = left_ms;
        }
        break;
    case 'u':
        entry->life = IDEM_LIFE_UNKNOWN;
        break;
    default:
        return 0;
    }
    entry->expires = apr_time_from_msec(until);
    return 1;
}

/* @return 0 if this is no record of ours */
static int show(idem_entry_t *entry, const redisReply *reply, apr_time_t now)
{
    redisReply **e = reply->element;

    memset(entry, 0, sizeof(*entry));
    if (!is_entry(reply)
        || !life_of(entry, e[STATE]->str[0], e[LEFT]->integer,
                    e[TAIL]->integer)) {
        return 0;
    }
    memcpy(entry->print.bytes, e[PRINT]->str, IDEM_DIGEST_LEN);
    entry->host = (apr_uint32_t)strtoul(e[HOST]->str, NULL, 16);
    entry->created = now - apr_time_from_msec(e[AGE]->integer);
    if (entry->life != IDEM_LIFE_EXECUTING) {
        entry->expires += now;
    }
    if (entry->life == IDEM_LIFE_DONE
        || entry->life == IDEM_LIFE_NOT_RETAINED) {
        entry->len = (apr_size_t)e[LENGTH]->integer;
    }
    return 1;
}

/* The body may be gone while its head is there: then a claim finds it
 * unknown, and so it is shown. */
static void show_body(idem_entry_t *entry, idem_blob_t *record,
                      const redisReply *reply, apr_pool_t *pool)
{
    const redisReply *body =
        reply->elements > BODY ? reply->element[BODY] : NULL;
    char form = reply->element[FORM]->str[0];

    if (entry->life != IDEM_LIFE_DONE
        && entry->life != IDEM_LIFE_NOT_RETAINED) {
        return;
    }
    if (!body || body->type != REDIS_REPLY_STRING
        || idem_redis_unpack(record, body->str, body->len, entry->len,
                             form == 'z' || form == 'q', pool)
               != APR_SUCCESS) {
        entry->life = IDEM_LIFE_UNKNOWN;
        entry->len = 0;
    }
}

apr_status_t idem_redis_look(idem_store_t *store, idem_entry_t *entry,
                             idem_blob_t *record, const idem_digest_t *id,
                             apr_pool_t *pool)
{
    idem_redis_store_t *redis = (idem_redis_store_t *)store;
    idem_redis_call_t call;
    redisReply *reply;
    apr_status_t rv;

    idem_redis_call_init(&call, redis, IDEM_REDIS_LOOK, id);
    idem_redis_arg(&call, "1", 1);
    rv = idem_redis_run(redis, &reply, &call);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (!show(entry, reply, idem_redis_now(store))) {
        rv = APR_NOTFOUND;
    }
    else {
        entry->id = *id;
        show_body(entry, record, reply, pool);
    }
    freeReplyObject(reply);
    return rv;
}

/* ------------------------------------------------------------------- list */

static int digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* PREFIX{id} -> id */
static int parse_key(idem_digest_t *id, const idem_redis_store_t *redis,
                     const redisReply *key)
{
    apr_size_t at = strlen(redis->conf->prefix) + 1;
    int i;

    if (!is_text(key, at + 2 * IDEM_DIGEST_LEN + 1)) {
        return 0;
    }
    for (i = 0; i < IDEM_DIGEST_LEN; i++) {
        int high = digit(key->str[at++]);
        int low = digit(key->str[at++]);

        if (high < 0 || low < 0) {
            return 0;
        }
        id->bytes[i] = (unsigned char)(high << 4 | low);
    }
    return 1;
}

/* The prefix stands for itself in a pattern. */
static void make_pattern(char *to, const char *prefix)
{
    for (; *prefix; prefix++) {
        if (strchr("*?[]\\^-", *prefix)) {
            *to++ = '\\';
        }
        *to++ = *prefix;
    }
    memcpy(to, "{*}", 4);
}

static apr_status_t scan(idem_redis_store_t *redis, idem_redis_conn_t *conn,
                         redisReply **reply, apr_uint64_t cursor, int count)
{
    char pattern[2 * IDEM_REDIS_PREFIX_MAX + 8];
    char from[24], number[16];
    const char *argv[6] = { "SCAN", from, "MATCH", pattern, "COUNT", number };
    apr_size_t len[6];
    apr_status_t rv;
    int i;

    make_pattern(pattern, redis->conf->prefix);
    apr_snprintf(from, sizeof(from), "%" APR_UINT64_T_FMT, cursor);
    apr_snprintf(number, sizeof(number), "%d", count);
    for (i = 0; i < 6; i++) {
        len[i] = strlen(argv[i]);
    }
    rv = idem_redis_queue(conn, 6, argv, len);
    if (rv == APR_SUCCESS) {
        rv = idem_redis_reply(conn, reply,
                              idem_redis_uptime() + redis->conf->timeout);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if ((*reply)->type != REDIS_REPLY_ARRAY || (*reply)->elements != 2
        || (*reply)->element[0]->type != REDIS_REPLY_STRING
        || (*reply)->element[1]->type != REDIS_REPLY_ARRAY) {
        rv = idem_redis_status_of(*reply);
        freeReplyObject(*reply);
    }
    return rv;
}

/* Entries for up to room keys, from the one at @a skip on. */
static apr_status_t look_at_all(idem_redis_store_t *redis,
                                idem_redis_conn_t *conn,
                                const redisReply *keys, apr_size_t skip,
                                idem_entry_t *entries, int room, int *n)
{
    apr_time_t deadline = idem_redis_uptime() + redis->conf->timeout;
    apr_size_t i;

    for (i = skip; i < keys->elements && room > 0; i++, room--) {
        idem_entry_t *entry = &entries[*n];
        idem_redis_call_t call;
        idem_digest_t id;
        redisReply *reply;
        apr_status_t rv;

        if (!parse_key(&id, redis, keys->element[i])) {
            continue;
        }
        idem_redis_call_init(&call, redis, IDEM_REDIS_LOOK, &id);
        idem_redis_arg(&call, "0", 1);
        rv = idem_redis_run_on(redis, conn, &reply, &call, deadline);
        if (rv != APR_SUCCESS) {
            return rv;
        }
        if (show(entry, reply, idem_redis_now(&redis->base))) {
            entry->id = id;
            (*n)++;
        }
        freeReplyObject(reply);
    }
    return APR_SUCCESS;
}

typedef struct {
    apr_uint64_t at;   /* of Redis */
    apr_uint64_t skip; /* so many keys of this step were shown */
} place_t;

/* One step. SCAN may give more keys than it was asked for: those of a whole
 * bucket of its table. What has no room is left to the next call, by taking
 * this step again; with less asked for, if it was the first.
 * @return APR_INCOMPLETE if there is no room for it */
static apr_status_t step(idem_redis_store_t *redis, idem_redis_conn_t *conn,
                         place_t *place, idem_entry_t *entries, int room,
                         int count, int *n)
{
    redisReply *reply;
    const redisReply *keys;
    apr_status_t rv = scan(redis, conn, &reply, place->at, count);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    keys = reply->element[1];
    if (keys->elements <= place->skip + (apr_uint64_t)(room - *n)) {
        rv = look_at_all(redis, conn, keys, (apr_size_t)place->skip, entries,
                         room - *n, n);
        place->at =
            (apr_uint64_t)apr_strtoi64(reply->element[0]->str, NULL, 10);
        place->skip = 0;
    }
    else if (*n == 0 && count == 1) {
        /* One bucket has more than room. */
        rv = look_at_all(redis, conn, keys, (apr_size_t)place->skip, entries,
                         room, n);
        place->skip += (apr_uint64_t)room;
    }
    else {
        rv = APR_INCOMPLETE;
    }
    freeReplyObject(reply);
    return rv;
}

/* While Redis resizes its table a key can be met twice. */
apr_status_t idem_redis_list(idem_store_t *store, idem_entry_t *entries,
                             int *n, apr_uint64_t *cursor)
{
    idem_redis_store_t *redis = (idem_redis_store_t *)store;
    place_t place = { *cursor & (((apr_uint64_t)1 << SKIP_SHIFT) - 1),
                      *cursor >> SKIP_SHIFT };
    int room = *n;
    int count = room < SCAN_MAX ? room : SCAN_MAX;
    idem_redis_conn_t *conn;
    apr_status_t rv;

    *n = 0;
    rv = idem_redis_take(&conn, redis,
                         idem_redis_uptime() + redis->conf->timeout);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (place.skip > 0) {
        count = 1;
    }
    rv = step(redis, conn, &place, entries, room, count, n);
    if (rv == APR_INCOMPLETE) {
        rv = step(redis, conn, &place, entries, room, 1, n);
    }
    idem_redis_give(redis, conn, rv);
    *cursor = place.at | place.skip << SKIP_SHIFT;
    return rv;
}

const char *idem_redis_whole(idem_store_t *store, apr_pool_t *pool)
{
    idem_entry_t entries[SCAN_MAX];
    apr_uint64_t cursor = 0;
    apr_status_t rv;

    do {
        int n = SCAN_MAX;
        int i;

        rv = idem_redis_list(store, entries, &n, &cursor);
        if (rv != APR_SUCCESS) {
            return apr_psprintf(pool, "the list ends with %d", rv);
        }
        for (i = 0; i < n; i++) {
            if (entries[i].expires < 0) {
                return "a record has no end";
            }
        }
    } while (cursor != 0);
    return NULL;
}

/* ------------------------------------------------------------------ usage */

static apr_uint64_t number_after(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    return at ? (apr_uint64_t)apr_strtoi64(at + strlen(name), NULL, 10) : 0;
}

/* Memory of the whole Redis, whoever uses it. Records are not counted by
 * state: that would be a walk over all of them. */
void idem_redis_usage(idem_store_t *store, idem_usage_t *usage)
{
    static const char *argv[2] = { "INFO", "memory" };
    static const apr_size_t len[2] = { 4, 6 };
    idem_redis_store_t *redis = (idem_redis_store_t *)store;
    apr_time_t now = idem_redis_uptime();
    idem_redis_conn_t *conn;
    redisReply *reply;
    apr_status_t rv = APR_SUCCESS;

    pthread_mutex_lock(&redis->news_lock);
    *usage = redis->usage;
    if (redis->usage_at != 0 && now - redis->usage_at < USAGE_AGE) {
        pthread_mutex_unlock(&redis->news_lock);
        return;
    }
    redis->usage_at = now;
    pthread_mutex_unlock(&redis->news_lock);
    if (idem_redis_take(&conn, redis, now + redis->conf->timeout)
        != APR_SUCCESS) {
        return;
    }
    rv = idem_redis_queue(conn, 2, argv, len);
    if (rv == APR_SUCCESS) {
        rv = idem_redis_reply(conn, &reply, now + redis->conf->timeout);
    }
    if (rv == APR_SUCCESS) {
        if (reply->type == REDIS_REPLY_STRING) {
            usage->used = number_after(reply->str, "used_memory:");
            usage->size = number_after(reply->str, "maxmemory:");
        }
        freeReplyObject(reply);
    }
    idem_redis_give(redis, conn, rv);
    pthread_mutex_lock(&redis->news_lock);
    redis->usage = *usage;
    pthread_mutex_unlock(&redis->news_lock);
}
