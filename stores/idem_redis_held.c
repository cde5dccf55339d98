/* idem_redis_held.c: the claims of this process, and what is owed for them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each claim has a slot from before it is sent until it is settled. Slots lie
 * in chunks that never move, so that a signal handler can find its own by the
 * token, without a lock. Once in a while a round goes over them: it renews
 * what is held, and sends again what could not be settled, as one pipeline
 * for up to BATCH of them.
 *
 * A claim whose answer never came is the one that needs care. Redis may make
 * it later, when it gets to read a connection that we have long closed; no
 * request runs for it, and nobody would ever settle it. So it is taken back,
 * again and again for some seconds after Redis answers.
 */
#include "idem_redis.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#define BATCH 128
#define UNDO_TRIES 5
/* Of slots that are owed something; a claim beyond that lapses by itself. */
#define OWED_MAX apr_time_from_sec(600)

void idem_redis_proof(char proof[IDEM_REDIS_PROOF_LEN],
                      const idem_redis_store_t *redis, apr_uint64_t fence)
{
    int i;

    for (i = 0; i < 8; i++) {
        proof[i] = (char)(redis->owner >> (56 - 8 * i) & 0xff);
        proof[8 + i] = (char)(fence >> (56 - 8 * i) & 0xff);
    }
}

apr_status_t idem_redis_held_init(idem_redis_held_t *held)
{
    memset(held, 0, sizeof(*held));
    return pthread_mutex_init(&held->lock, NULL) == 0 ? APR_SUCCESS
                                                      : APR_EGENERAL;
}

void idem_redis_held_free(idem_redis_held_t *held)
{
    apr_uint32_t i;

    for (i = 0; i < held->nchunks; i++) {
        free(held->chunks[i]);
    }
    memset(held->chunks, 0, sizeof(held->chunks));
    held->nchunks = 0;
    held->free = 0;
}

static idem_redis_slot_t *slot_at(idem_redis_held_t *held, apr_uint32_t i)
{
    idem_redis_slot_t *chunk;

    if (i / IDEM_REDIS_CHUNK >= IDEM_REDIS_CHUNKS) {
        return NULL;
    }
    chunk =
        __atomic_load_n(&held->chunks[i / IDEM_REDIS_CHUNK], __ATOMIC_ACQUIRE);
    return chunk ? &chunk[i % IDEM_REDIS_CHUNK] : NULL;
}

static int state_of(const idem_redis_slot_t *slot)
{
    return __atomic_load_n(&slot->state, __ATOMIC_ACQUIRE);
}

void idem_redis_mark(idem_redis_slot_t *slot, idem_redis_slot_state_t state)
{
    __atomic_store_n(&slot->state, (int)state, __ATOMIC_RELEASE);
}

/* ------------------------------------------------------------------ slots */

static void grow_locked(idem_redis_held_t *held)
{
    apr_uint32_t first = held->nchunks * IDEM_REDIS_CHUNK;
    idem_redis_slot_t *chunk;
    apr_uint32_t i;

    if (held->nchunks == IDEM_REDIS_CHUNKS) {
        return;
    }
    chunk = calloc(IDEM_REDIS_CHUNK, sizeof(*chunk));
    if (!chunk) {
        return;
    }
    for (i = 0; i < IDEM_REDIS_CHUNK; i++) {
        chunk[i].next = i + 1 < IDEM_REDIS_CHUNK ? first + i + 2 : 0;
    }
    __atomic_store_n(&held->chunks[held->nchunks], chunk, __ATOMIC_RELEASE);
    held->nchunks++;
    held->free = first + 1;
}

static void free_locked(idem_redis_held_t *held, idem_redis_slot_t *slot,
                        apr_uint32_t place)
{
    __atomic_store_n(&slot->fence, 0, __ATOMIC_RELAXED);
    idem_redis_mark(slot, IDEM_REDIS_SLOT_FREE);
    slot->next = held->free;
    held->free = place + 1;
}

static void sweep_locked(idem_redis_held_t *held)
{
    apr_uint32_t i;

    for (i = 0; i < held->nchunks * IDEM_REDIS_CHUNK; i++) {
        idem_redis_slot_t *slot = slot_at(held, i);

        if (state_of(slot) == IDEM_REDIS_SLOT_SETTLED) {
            free_locked(held, slot, i);
        }
    }
}

apr_status_t idem_redis_hold(idem_redis_store_t *redis, idem_token_t *token,
                             const idem_ask_t *ask)
{
    idem_redis_held_t *held = &redis->held;
    idem_redis_slot_t *slot = NULL;

    pthread_mutex_lock(&held->lock);
    if (!held->free) {
        sweep_locked(held);
    }
    if (!held->free) {
        grow_locked(held);
    }
    if (held->free) {
        token->place = held->free - 1;
        slot = slot_at(held, token->place);
        held->free = slot->next;
        token->fence = ++redis->fence;
        token->owner = redis->owner;
        token->shard = 0;
        token->id = *ask->id;
        __atomic_store_n(&slot->fence, token->fence, __ATOMIC_RELAXED);
        slot->id = *ask->id;
        slot->ttl_ms = idem_redis_ms(ask->ttl);
        slot->rerun = ask->rerun_unknown;
        slot->since = idem_redis_uptime();
        slot->lost = 0;
        slot->tries = 0;
        idem_redis_mark(slot, IDEM_REDIS_SLOT_HELD);
    }
    pthread_mutex_unlock(&held->lock);
    return slot ? APR_SUCCESS : APR_ENOMEM;
}

idem_redis_slot_t *idem_redis_slot(idem_redis_store_t *redis,
                                   const idem_token_t *token)
{
    idem_redis_slot_t *slot = slot_at(&redis->held, token->place);

    return slot && token->shard == 0 && token->owner == redis->owner
                   && token->fence != 0
                   && __atomic_load_n(&slot->fence, __ATOMIC_RELAXED)
                          == token->fence
                   && state_of(slot) == IDEM_REDIS_SLOT_HELD
               ? slot
               : NULL;
}

void idem_redis_drop(idem_redis_store_t *redis, const idem_token_t *token)
{
    idem_redis_held_t *held = &redis->held;
    idem_redis_slot_t *slot = slot_at(held, token->place);

    pthread_mutex_lock(&held->lock);
    if (slot && slot->fence == token->fence) {
        free_locked(held, slot, token->place);
    }
    pthread_mutex_unlock(&held->lock);
}

void idem_redis_undo_later(idem_redis_store_t *redis,
                           const idem_token_t *token)
{
    idem_redis_held_t *held = &redis->held;
    idem_redis_slot_t *slot = slot_at(held, token->place);

    pthread_mutex_lock(&held->lock);
    if (slot && slot->fence == token->fence) {
        slot->since = idem_redis_uptime();
        idem_redis_mark(slot, IDEM_REDIS_SLOT_UNDO);
    }
    pthread_mutex_unlock(&held->lock);
}

/* ------------------------------------------------------------- one round */

typedef struct {
    apr_uint32_t place;
    int state;
    idem_redis_slot_t slot; /* as it was */
    char proof[IDEM_REDIS_PROOF_LEN];
    char px[24];
    idem_redis_call_t call;
} due_t;

static int is_due(const idem_redis_store_t *redis,
                  const idem_redis_slot_t *slot, int state, apr_time_t now)
{
    switch ((idem_redis_slot_state_t)state) {
    case IDEM_REDIS_SLOT_HELD:
        return !slot->lost && now - slot->since >= redis->conf->lease / 3;
    case IDEM_REDIS_SLOT_ABANDON:
    case IDEM_REDIS_SLOT_UNDO:
        return 1;
    case IDEM_REDIS_SLOT_FREE:
    case IDEM_REDIS_SLOT_SETTLED:
        break;
    }
    return 0;
}

/* @return how many; @a from is where to go on */
static int collect(idem_redis_store_t *redis, due_t *due, apr_uint32_t *from)
{
    idem_redis_held_t *held = &redis->held;
    apr_time_t now = idem_redis_uptime();
    apr_uint32_t end;
    int n = 0;

    pthread_mutex_lock(&held->lock);
    end = held->nchunks * IDEM_REDIS_CHUNK;
    for (; *from < end && n < BATCH; (*from)++) {
        idem_redis_slot_t *slot = slot_at(held, *from);
        int state = state_of(slot);

        if (state == IDEM_REDIS_SLOT_SETTLED) {
            free_locked(held, slot, *from);
        }
        else if (is_due(redis, slot, state, now)) {
            due[n].place = *from;
            due[n].state = state;
            due[n].slot = *slot;
            n++;
        }
    }
    pthread_mutex_unlock(&held->lock);
    return n;
}

static void prepare(idem_redis_store_t *redis, due_t *due)
{
    idem_redis_script_t script = IDEM_REDIS_RENEW;
    apr_uint64_t px = idem_redis_ms(redis->conf->lease) + due->slot.ttl_ms;

    /* What a re-run took over was unknown, and is unknown again. */
    if (due->state == IDEM_REDIS_SLOT_ABANDON
        || (due->state == IDEM_REDIS_SLOT_UNDO && due->slot.rerun)) {
        script = IDEM_REDIS_ABANDON;
    }
    else if (due->state == IDEM_REDIS_SLOT_UNDO) {
        script = IDEM_REDIS_RELEASE;
    }
    idem_redis_proof(due->proof, redis, due->slot.fence);
    idem_redis_call_init(&due->call, redis, script, &due->slot.id);
    idem_redis_arg(&due->call, due->proof, sizeof(due->proof));
    if (script == IDEM_REDIS_RENEW) {
        apr_snprintf(due->px, sizeof(due->px), "%" APR_UINT64_T_FMT, px);
        idem_redis_arg(&due->call, due->px, strlen(due->px));
    }
    else if (script == IDEM_REDIS_RELEASE) {
        idem_redis_arg(&due->call, "0", 1);
    }
}

static void count_lost(idem_redis_store_t *redis)
{
    pthread_mutex_lock(&redis->news_lock);
    redis->news.lost++;
    pthread_mutex_unlock(&redis->news_lock);
}

/* What Redis answered; the slot may have been settled meanwhile. */
static void learn(idem_redis_store_t *redis, const due_t *due, long long said,
                  apr_time_t sent)
{
    idem_redis_held_t *held = &redis->held;
    idem_redis_slot_t *slot = slot_at(held, due->place);
    int lost = 0;

    pthread_mutex_lock(&held->lock);
    if (slot->fence != due->slot.fence || state_of(slot) != due->state) {
        pthread_mutex_unlock(&held->lock);
        return;
    }
    switch ((idem_redis_slot_state_t)due->state) {
    case IDEM_REDIS_SLOT_HELD:
        slot->since = sent;
        lost = said == IDEM_REDIS_LAPSED;
        slot->lost = said != IDEM_REDIS_OK;
        break;
    case IDEM_REDIS_SLOT_ABANDON:
        free_locked(held, slot, due->place);
        break;
    case IDEM_REDIS_SLOT_UNDO:
        if (said != IDEM_REDIS_GONE || ++slot->tries >= UNDO_TRIES) {
            free_locked(held, slot, due->place);
        }
        break;
    case IDEM_REDIS_SLOT_FREE:
    case IDEM_REDIS_SLOT_SETTLED:
        break;
    }
    pthread_mutex_unlock(&held->lock);
    if (lost) {
        count_lost(redis);
    }
}

/* Redis forgot a script: the next round finds it again. */
static apr_status_t teach(idem_redis_store_t *redis, idem_redis_conn_t *conn,
                          const due_t *due, apr_time_t deadline)
{
    redisReply *reply;
    apr_status_t rv = idem_redis_queue_call(redis, conn, &due->call, 1);
    apr_time_t sent = idem_redis_uptime();

    if (rv == APR_SUCCESS) {
        rv = idem_redis_reply(conn, &reply, deadline);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (reply->type == REDIS_REPLY_INTEGER) {
        learn(redis, due, reply->integer, sent);
    }
    freeReplyObject(reply);
    return APR_SUCCESS;
}

static apr_status_t send_batch(idem_redis_store_t *redis,
                               idem_redis_conn_t *conn, const due_t *due,
                               int n)
{
    apr_time_t sent = idem_redis_uptime();
    apr_time_t deadline = sent + redis->conf->timeout;
    int unknown = -1; /* the last one whose script Redis did not know */
    apr_status_t told = APR_SUCCESS;
    apr_status_t rv = APR_SUCCESS;
    redisReply *reply;
    int i;

    for (i = 0; rv == APR_SUCCESS && i < n; i++) {
        rv = idem_redis_queue_call(redis, conn, &due[i].call, 0);
    }
    for (i = 0; rv == APR_SUCCESS && i < n; i++) {
        rv = idem_redis_reply(conn, &reply, deadline);
        if (rv != APR_SUCCESS) {
            break;
        }
        if (reply->type == REDIS_REPLY_INTEGER) {
            learn(redis, &due[i], reply->integer, sent);
        }
        else if (reply->type == REDIS_REPLY_ERROR
                 && !strncmp(reply->str, "NOSCRIPT", 8)) {
            unknown = i;
        }
        else {
            /* The answers to the others are to be taken all the same: what is
             * left would be taken for that to the next call. */
            told = idem_redis_status_of(reply);
            idem_redis_failed(redis, reply->str ? reply->str : "no number");
        }
        freeReplyObject(reply);
    }
    if (rv == APR_SUCCESS && unknown >= 0) {
        rv = teach(redis, conn, &due[unknown], deadline);
    }
    return rv == APR_SUCCESS ? told : rv;
}

/* What could not be settled for so long has lapsed. */
static void give_up_old(idem_redis_store_t *redis, const due_t *due, int n)
{
    idem_redis_held_t *held = &redis->held;
    apr_time_t now = idem_redis_uptime();
    int i;

    pthread_mutex_lock(&held->lock);
    for (i = 0; i < n; i++) {
        idem_redis_slot_t *slot = slot_at(held, due[i].place);

        if (due[i].state != IDEM_REDIS_SLOT_HELD
            && slot->fence == due[i].slot.fence
            && now - slot->since > OWED_MAX) {
            free_locked(held, slot, due[i].place);
        }
    }
    pthread_mutex_unlock(&held->lock);
}

void idem_redis_held_tend(idem_redis_store_t *redis)
{
    due_t *due = malloc(BATCH * sizeof(*due));
    apr_uint32_t from = 0;
    apr_status_t rv = APR_SUCCESS;
    int i, n;

    while (due && rv == APR_SUCCESS) {
        idem_redis_conn_t *conn;

        n = collect(redis, due, &from);
        if (n == 0) {
            break;
        }
        for (i = 0; i < n; i++) {
            prepare(redis, &due[i]);
        }
        rv = idem_redis_take(&conn, redis,
                             idem_redis_uptime() + redis->conf->timeout);
        if (rv == APR_SUCCESS) {
            rv = send_batch(redis, conn, due, n);
            idem_redis_give(redis, conn, rv);
        }
        if (rv != APR_SUCCESS) {
            give_up_old(redis, due, n);
        }
    }
    free(due);
}
