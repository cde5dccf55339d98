/* idem_store_redis.c: the store in Redis: its calls.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   idem_redis_conf.c     options
 *   idem_redis_conn.c     one connection, sentinels
 *   idem_redis_pool.c     connections of a process, circuit breaker
 *   idem_redis_script.c   the scripts, how a record lies in Redis
 *   idem_redis_body.c     compression
 *   idem_redis_held.c     claims of this process: leases, what is owed
 *   idem_redis_abandon.c  the one call that signal handlers make
 *   idem_redis_look.c     look, list, usage
 *   idem_redis_survey.c   how Redis is set up
 */
#include "idem_redis.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <apr_strings.h>

/* ------------------------------------------------------------------ clocks */

apr_time_t idem_redis_uptime(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return apr_time_from_sec((apr_time_t)ts.tv_sec) + ts.tv_nsec / 1000;
}

/* This machine's own: begun with its wall clock, then going with its uptime.
 * It is for what is shown and for intervals. Nothing that is decided depends
 * on it: Redis is only told how long, and counts that itself. */
apr_time_t idem_redis_now(const idem_store_t *store)
{
    return ((const idem_redis_store_t *)store)->offset + idem_redis_uptime();
}

/* ------------------------------------------------------------------- news */

void idem_redis_failed(idem_redis_store_t *redis, const char *text)
{
    pthread_mutex_lock(&redis->news_lock);
    redis->news.failures++;
    apr_cpystrn(redis->news.failure, text, sizeof(redis->news.failure));
    pthread_mutex_unlock(&redis->news_lock);
}

static void count(idem_redis_store_t *redis, apr_uint64_t *counter)
{
    pthread_mutex_lock(&redis->news_lock);
    (*counter)++;
    pthread_mutex_unlock(&redis->news_lock);
}

int idem_redis_tick(idem_store_t *store, idem_redis_news_t *news)
{
    idem_redis_store_t *redis = (idem_redis_store_t *)store;

    idem_redis_held_tend(redis);
    idem_redis_pool_tend(redis);
    pthread_mutex_lock(&redis->news_lock);
    *news = redis->news;
    memset(&redis->news, 0, sizeof(redis->news));
    pthread_mutex_unlock(&redis->news_lock);
    return news->failures || news->recovered || news->lost || news->unsafe
           || news->damaged;
}

/* ------------------------------------------------------------------ claim */

static const char *word_of(const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 1
        || reply->element[0]->type != REDIS_REPLY_STRING) {
        return "";
    }
    return reply->element[0]->str;
}

/* d or n: form, length, body. */
static apr_status_t take_record(idem_redis_store_t *redis, idem_claim_t *claim,
                                idem_blob_t *record, const redisReply *reply,
                                apr_pool_t *pool)
{
    redisReply **e = reply->element;
    apr_status_t rv = APR_EGENERAL;

    if (reply->elements == 4 && e[1]->type == REDIS_REPLY_STRING
        && e[2]->type == REDIS_REPLY_STRING && e[3]->type == REDIS_REPLY_STRING
        && e[1]->len == 1) {
        rv = idem_redis_unpack(record, e[3]->str, e[3]->len,
                               (apr_uint64_t)apr_strtoi64(e[2]->str, NULL, 10),
                               e[1]->str[0] == 'z' || e[1]->str[0] == 'q',
                               pool);
    }
    if (rv != APR_SUCCESS) {
        /* It ran, and nobody can say what came of it. */
        count(redis, &redis->news.damaged);
        *claim = IDEM_CLAIM_UNKNOWN;
        return APR_SUCCESS;
    }
    *claim = e[0]->str[0] == 'd' ? IDEM_CLAIM_DONE : IDEM_CLAIM_NOT_RETAINED;
    return APR_SUCCESS;
}

static apr_status_t take_claim(idem_redis_store_t *redis, idem_claim_t *claim,
                               idem_blob_t *record, const redisReply *reply,
                               apr_pool_t *pool)
{
    static const struct {
        const char *word;
        idem_claim_t claim;
    } words[] = {
        { "new", IDEM_CLAIM_NEW },
        { "running", IDEM_CLAIM_IN_PROGRESS },
        { "unknown", IDEM_CLAIM_UNKNOWN },
        { "expired", IDEM_CLAIM_EXPIRED },
        { "reused", IDEM_CLAIM_REUSED },
    };
    const char *word = word_of(reply);
    apr_size_t i;

    for (i = 0; i < sizeof(words) / sizeof(*words); i++) {
        if (!strcmp(word, words[i].word)) {
            *claim = words[i].claim;
            return APR_SUCCESS;
        }
    }
    if (!strcmp(word, "d") || !strcmp(word, "n")) {
        return take_record(redis, claim, record, reply, pool);
    }
    count(redis, &redis->news.damaged);
    if (!strcmp(word, "damaged")) {
        *claim = IDEM_CLAIM_UNKNOWN;
        return APR_SUCCESS;
    }
    /* Of another version, or not ours: neither to be run nor replayed. */
    return APR_EGENERAL;
}

static apr_status_t send_claim(idem_redis_store_t *redis, redisReply **reply,
                               idem_redis_call_t *call,
                               const idem_token_t *token,
                               const idem_ask_t *ask)
{
    apr_uint64_t tail = idem_redis_ms(ask->ttl);
    char proof[IDEM_REDIS_PROOF_LEN];
    char tail_text[24], px[24], host[9];

    idem_redis_proof(proof, redis, token->fence);
    apr_snprintf(tail_text, sizeof(tail_text), "%012" APR_UINT64_T_FMT, tail);
    apr_snprintf(px, sizeof(px), "%" APR_UINT64_T_FMT,
                 tail + idem_redis_ms(redis->conf->lease));
    apr_snprintf(host, sizeof(host), "%08x", ask->host);
    idem_redis_call_init(call, redis, IDEM_REDIS_CLAIM, ask->id);
    idem_redis_arg(call, ask->print->bytes, IDEM_DIGEST_LEN);
    idem_redis_arg(call, proof, sizeof(proof));
    idem_redis_arg(call, tail_text, strlen(tail_text));
    idem_redis_arg(call, px, strlen(px));
    idem_redis_arg(call, ask->rerun_unknown ? "1" : "0", 1);
    idem_redis_arg(call, host, 8);
    call->wait = 1;
    return idem_redis_run(redis, reply, call);
}

static apr_status_t claim(idem_store_t *store, idem_claim_t *claim,
                          idem_token_t *token, idem_blob_t *record,
                          const idem_ask_t *ask, apr_pool_t *pool)
{
    idem_redis_store_t *redis = (idem_redis_store_t *)store;
    idem_redis_call_t call;
    redisReply *reply;
    apr_status_t rv;

    rv = idem_redis_hold(redis, token, ask);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = send_claim(redis, &reply, &call, token, ask);
    if (rv == APR_SUCCESS) {
        rv = take_claim(redis, claim, record, reply, pool);
        freeReplyObject(reply);
    }
    else if (call.maybe) {
        idem_redis_undo_later(redis, token);
        return rv;
    }
    if (rv == APR_SUCCESS && *claim == IDEM_CLAIM_NEW) {
        /* If too few replicas have it, a fail-over could lose the claim
         * while its request runs: it must not run. */
        if (call.acks != APR_SUCCESS) {
            idem_redis_undo_later(redis, token);
        }
        return call.acks;
    }
    idem_redis_drop(redis, token);
    memset(token, 0, sizeof(*token));
    return rv;
}

/* ------------------------------------------------------------------- ends */

static apr_status_t said(idem_redis_store_t *redis, const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_INTEGER) {
        return APR_EGENERAL;
    }
    if (reply->integer == IDEM_REDIS_LAPSED) {
        count(redis, &redis->news.lost);
    }
    return reply->integer == IDEM_REDIS_OK ? APR_SUCCESS : APR_NOTFOUND;
}

static char form_of(const idem_redis_body_t *body, const idem_term_t *term)
{
    if (term->tombstone > 0 && body->len > 0) {
        return body->deflated ? 'q' : 'p';
    }
    return body->deflated ? 'z' : '-';
}

static apr_status_t send_commit(idem_redis_store_t *redis, redisReply **reply,
                                idem_redis_call_t *call,
                                const idem_token_t *token, idem_end_t end,
                                const idem_redis_body_t *body,
                                const idem_term_t *term)
{
    static const char states[] = { 'd', 'n', 'u' }; /* by idem_end_t */
    apr_uint64_t ttl = idem_redis_ms(term->ttl);
    apr_uint64_t tail =
        end == IDEM_END_UNKNOWN ? 0 : idem_redis_ms(term->tombstone);
    char form = form_of(body, term);
    char proof[IDEM_REDIS_PROOF_LEN];
    char tail_text[24], ttl_text[24], px[24], len[24];

    idem_redis_proof(proof, redis, token->fence);
    apr_snprintf(tail_text, sizeof(tail_text), "%012" APR_UINT64_T_FMT, tail);
    apr_snprintf(ttl_text, sizeof(ttl_text), "%" APR_UINT64_T_FMT, ttl);
    apr_snprintf(px, sizeof(px), "%" APR_UINT64_T_FMT, ttl + tail);
    apr_snprintf(len, sizeof(len), "%010" APR_UINT64_T_FMT,
                 (apr_uint64_t)body->raw_len);
    idem_redis_call_init(call, redis, IDEM_REDIS_COMMIT, &token->id);
    idem_redis_arg(call, proof, sizeof(proof));
    idem_redis_arg(call, &states[end], 1);
    idem_redis_arg(call, &form, 1);
    idem_redis_arg(call, tail_text, strlen(tail_text));
    idem_redis_arg(call, ttl_text, strlen(ttl_text));
    idem_redis_arg(call, px, strlen(px));
    idem_redis_arg(call, len, strlen(len));
    idem_redis_arg(call, "0", 1);
    call->again_as = call->argc;
    idem_redis_arg(call, body->data, body->len);
    call->wait = 1;
    return idem_redis_run(redis, reply, call);
}

static apr_status_t commit(idem_store_t *store, const idem_token_t *token,
                           idem_end_t end, const struct iovec *vec, int nvec,
                           const idem_term_t *term)
{
    idem_redis_store_t *redis = (idem_redis_store_t *)store;
    idem_redis_body_t body;
    idem_redis_call_t call;
    redisReply *reply;
    apr_status_t rv;

    if (!idem_redis_slot(redis, token)) {
        return APR_NOTFOUND;
    }
    rv = idem_redis_pack(&body, vec, nvec);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = send_commit(redis, &reply, &call, token, end, &body, term);
    free(body.data);
    if (rv != APR_SUCCESS) {
        return rv; /* the claim is still held: it may be abandoned */
    }
    rv = said(redis, reply);
    freeReplyObject(reply);
    idem_redis_drop(redis, token);
    if (call.acks != APR_SUCCESS) {
        /* It is recorded. Should a fail-over lose it, the claim stands and
         * becomes unknown. */
        count(redis, &redis->news.unsafe);
    }
    return rv;
}

static apr_status_t release(idem_store_t *store, const idem_token_t *token)
{
    idem_redis_store_t *redis = (idem_redis_store_t *)store;
    char proof[IDEM_REDIS_PROOF_LEN];
    idem_redis_call_t call;
    redisReply *reply;
    apr_status_t rv;

    if (!idem_redis_slot(redis, token)) {
        return APR_NOTFOUND;
    }
    idem_redis_proof(proof, redis, token->fence);
    idem_redis_call_init(&call, redis, IDEM_REDIS_RELEASE, &token->id);
    idem_redis_arg(&call, proof, sizeof(proof));
    idem_redis_arg(&call, "0", 1);
    call.again_as = call.argc;
    rv = idem_redis_run(redis, &reply, &call);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = said(redis, reply);
    freeReplyObject(reply);
    idem_redis_drop(redis, token);
    return rv;
}

static apr_status_t forget(idem_store_t *store, const idem_digest_t *id)
{
    idem_redis_store_t *redis = (idem_redis_store_t *)store;
    idem_redis_call_t call;
    redisReply *reply;
    apr_status_t rv;

    idem_redis_call_init(&call, redis, IDEM_REDIS_FORGET, id);
    rv = idem_redis_run(redis, &reply, &call);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = reply->type == REDIS_REPLY_INTEGER && reply->integer > 0
             ? APR_SUCCESS
             : APR_NOTFOUND;
    freeReplyObject(reply);
    return rv;
}

/* Redis expires keys itself. */
static void purge(idem_store_t *store, apr_time_t at)
{
    (void)store;
    (void)at;
}

static apr_size_t record_max(const idem_store_t *store)
{
    (void)store;
    return IDEM_REDIS_RECORD_MAX;
}

static const idem_store_calls_t calls = {
    claim,
    commit,
    release,
    idem_redis_abandon,
    forget,
    purge,
    record_max,
    idem_redis_usage,
    idem_redis_whole,
    idem_redis_now,
    idem_redis_look,
    idem_redis_list,
};

/* ---------------------------------------------------------------- opening */

/* 32 bits of the machine's name and the process, so that redis-cli shows
 * where a claim comes from. What makes a proof unique is the fence, which
 * begins at random in each process. */
static apr_uint64_t owner_of_this(void)
{
    char name[256] = "";
    apr_uint32_t hash = 2166136261u; /* FNV-1a */
    const char *p;

    (void)gethostname(name, sizeof(name) - 1);
    for (p = name; *p; p++) {
        hash = (hash ^ (unsigned char)*p) * 16777619u;
    }
    return (apr_uint64_t)hash << 32 | (apr_uint32_t)getpid();
}

/* Of the process that made the store. A child leaves its own to its end: it
 * may come to this in a signal handler, where nothing may be freed. */
static apr_status_t close_all(void *data)
{
    idem_redis_store_t *redis = data;

    if (redis->maker == getpid()) {
        idem_redis_pool_close(&redis->pool);
        idem_redis_held_free(&redis->held);
    }
    return APR_SUCCESS;
}

apr_status_t idem_redis_create(idem_store_t **store,
                               const idem_redis_conf_t *conf, apr_pool_t *pool)
{
    idem_redis_store_t *redis = apr_pcalloc(pool, sizeof(*redis));
    apr_status_t rv;

    redis->base.name = "redis";
    redis->base.calls = &calls;
    memcpy(redis->base.secret, conf->secret, sizeof(redis->base.secret));
    redis->conf = conf;
    redis->offset = apr_time_now() - idem_redis_uptime();
    redis->maker = getpid();
    rv = idem_redis_code_init(redis, pool);
    if (rv == APR_SUCCESS) {
        rv = idem_redis_child_init(&redis->base);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    apr_pool_cleanup_register(pool, redis, close_all, apr_pool_cleanup_null);
    *store = &redis->base;
    return APR_SUCCESS;
}

apr_status_t idem_redis_child_init(idem_store_t *store)
{
    idem_redis_store_t *redis = (idem_redis_store_t *)store;
    apr_status_t rv;

    /* Two processes on one connection would take each other's answers. */
    idem_redis_pool_close(&redis->pool);
    idem_redis_pool_init(&redis->pool);
    idem_redis_held_free(&redis->held);
    pthread_mutex_init(&redis->news_lock, NULL);
    memset(&redis->news, 0, sizeof(redis->news));
    redis->owner = owner_of_this();
    rv = apr_generate_random_bytes((unsigned char *)&redis->fence,
                                   sizeof(redis->fence));
    return rv == APR_SUCCESS ? idem_redis_held_init(&redis->held) : rv;
}
