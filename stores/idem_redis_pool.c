/* idem_redis_pool.c: connections of a process, and the circuit breaker.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The breaker keeps a dead Redis from eating the workers:
 *
 *              FAILURES_MAX failures in a row
 *     [closed] -----------------------------> [open] <----------+
 *         ^                                      |              |
 *         |                      pause is over   |              | fails:
 *         |  answers: the pause                  v              | the pause
 *         +-------------------------------- [one probe] --------+ doubles
 *
 * While it is open a call is refused at once. A probe is an ordinary call:
 * the first one after the pause; the others are refused until it is back.
 */
#include "idem_redis.h"

#include <errno.h>
#include <time.h>

#define FAILURES_MAX 5
#define PAUSE_MIN apr_time_from_msec(250)
#define PAUSE_MAX apr_time_from_sec(4)
#define IDLE_MAX apr_time_from_sec(60)
#define SIGNAL_WAIT 20 /* milliseconds */

void idem_redis_pool_init(idem_redis_pool_t *pool)
{
    pthread_condattr_t attr;

    pthread_mutex_init(&pool->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->freed, &attr);
    pthread_condattr_destroy(&attr);
    pool->idle = NULL;
    pool->nidle = 0;
    pool->late = NULL;
    pool->nopen = 0;
    pool->failures = 0;
    pool->until = 0;
    pool->pause = 0;
    pool->probing = 0;
}

/* ---------------------------------------------------------------- breaker */

/* Does it say that Redis cannot be used, rather than that it refused one
 * thing? With too little memory, and as a replica, it still answers at once
 * what is recorded. */
static int is_failure(apr_status_t rv)
{
    return rv != APR_SUCCESS && !APR_STATUS_IS_ENOSPC(rv)
           && !APR_STATUS_IS_EAGAIN(rv) && !APR_STATUS_IS_INCOMPLETE(rv)
           && !APR_STATUS_IS_ENOMEM(rv) && rv != APR_FROM_OS_ERROR(EROFS);
}

static int may_pass_locked(idem_redis_pool_t *pool)
{
    if (pool->failures < FAILURES_MAX) {
        return 1;
    }
    if (pool->probing || idem_redis_uptime() < pool->until) {
        return 0;
    }
    pool->probing = 1;
    return 1;
}

/* @return whether Redis answers again */
static int learn_locked(idem_redis_pool_t *pool, apr_status_t rv)
{
    int was_open = pool->failures >= FAILURES_MAX;

    if (!is_failure(rv)) {
        pool->failures = 0;
        pool->pause = 0;
        pool->probing = 0;
        return was_open;
    }
    if (pool->failures < FAILURES_MAX) {
        pool->failures++;
    }
    if (pool->failures == FAILURES_MAX && (!was_open || pool->probing)) {
        pool->pause = pool->pause == 0 ? PAUSE_MIN : 2 * pool->pause;
        if (pool->pause > PAUSE_MAX) {
            pool->pause = PAUSE_MAX;
        }
        pool->until = idem_redis_uptime() + pool->pause;
        pool->probing = 0;
    }
    return 0;
}

static void tell_recovered(idem_redis_store_t *redis)
{
    pthread_mutex_lock(&redis->news_lock);
    redis->news.recovered = 1;
    pthread_mutex_unlock(&redis->news_lock);
}

/* ------------------------------------------------------------ connections */

static void push_locked(idem_redis_pool_t *pool, idem_redis_conn_t *conn)
{
    conn->next = pool->idle;
    pool->idle = conn;
    pool->nidle++;
}

static idem_redis_conn_t *pop_locked(idem_redis_pool_t *pool)
{
    idem_redis_conn_t *late =
        __atomic_exchange_n(&pool->late, NULL, __ATOMIC_ACQUIRE);
    idem_redis_conn_t *conn;

    while (late) {
        conn = late;
        late = late->next;
        push_locked(pool, conn);
    }
    conn = pool->idle;
    if (conn) {
        pool->idle = conn->next;
        pool->nidle--;
    }
    return conn;
}

static void free_place_locked(idem_redis_pool_t *pool)
{
    pool->nopen--;
    pthread_cond_signal(&pool->freed);
}

/* The breaker learns of it whoever wanted to connect: this may have been its
 * probe, and nobody passes before that has ended. */
static void no_conn(idem_redis_pool_t *pool, apr_status_t rv)
{
    pthread_mutex_lock(&pool->lock);
    (void)learn_locked(pool, rv);
    free_place_locked(pool);
    pthread_mutex_unlock(&pool->lock);
}

/* A place in the pool, and with luck the connection in it. */
static apr_status_t take_place(idem_redis_conn_t **conn,
                               idem_redis_store_t *redis, apr_time_t deadline)
{
    idem_redis_pool_t *pool = &redis->pool;
    struct timespec ts = { deadline / APR_USEC_PER_SEC,
                           deadline % APR_USEC_PER_SEC * 1000 };
    apr_status_t rv = APR_SUCCESS;

    pthread_mutex_lock(&pool->lock);
    if (!may_pass_locked(pool)) {
        rv = APR_EAGAIN;
        goto leave;
    }
    *conn = pop_locked(pool);
    while (!*conn && pool->nopen >= redis->conf->pool_max) {
        if (pthread_cond_timedwait(&pool->freed, &pool->lock, &ts) != 0) {
            *conn = pop_locked(pool);
            if (!*conn) {
                rv = APR_TIMEUP;
                (void)learn_locked(pool, rv);
            }
            goto leave;
        }
        *conn = pop_locked(pool);
    }
    if (!*conn) {
        pool->nopen++;
    }

leave:
    pthread_mutex_unlock(&pool->lock);
    return rv;
}

static int is_usable(const idem_redis_pool_t *pool,
                     const idem_redis_conn_t *conn)
{
    return conn->generation
               == __atomic_load_n(&pool->generation, __ATOMIC_RELAXED)
           && !idem_redis_is_stale(conn);
}

apr_status_t idem_redis_take(idem_redis_conn_t **conn,
                             idem_redis_store_t *redis, apr_time_t deadline)
{
    idem_redis_pool_t *pool = &redis->pool;
    apr_status_t rv;

    *conn = NULL;
    rv = take_place(conn, redis, deadline);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (*conn && !is_usable(pool, *conn)) {
        idem_redis_disconnect(*conn);
        *conn = NULL; /* its place is still ours */
    }
    if (*conn) {
        return APR_SUCCESS;
    }
    rv = idem_redis_connect(conn, redis);
    if (rv != APR_SUCCESS) {
        *conn = NULL;
        no_conn(pool, rv);
        return rv;
    }
    (*conn)->generation = __atomic_load_n(&pool->generation, __ATOMIC_RELAXED);
    return APR_SUCCESS;
}

/* A connection that met this cannot be used for the next call. */
static int is_spoilt(apr_status_t rv)
{
    return is_failure(rv) || rv == APR_FROM_OS_ERROR(EROFS);
}

void idem_redis_give(idem_redis_store_t *redis, idem_redis_conn_t *conn,
                     apr_status_t rv)
{
    idem_redis_pool_t *pool = &redis->pool;
    int recovered;

    if (is_spoilt(rv)) {
        idem_redis_disconnect(conn);
        conn = NULL;
    }
    pthread_mutex_lock(&pool->lock);
    recovered = learn_locked(pool, rv);
    if (conn) {
        conn->used = idem_redis_uptime();
        push_locked(pool, conn);
    }
    else {
        pool->nopen--;
    }
    /* A Redis that became a replica, or that is not what it was, is met by
     * all: they look for the master anew. */
    if (is_spoilt(rv) && !APR_STATUS_IS_TIMEUP(rv)) {
        __atomic_add_fetch(&pool->generation, 1, __ATOMIC_RELAXED);
    }
    pthread_cond_signal(&pool->freed);
    pthread_mutex_unlock(&pool->lock);
    if (recovered) {
        tell_recovered(redis);
    }
}

/* ------------------------------------------------------------------- care */

/* The last of the list was used longest ago. */
static idem_redis_conn_t *take_old_locked(idem_redis_pool_t *pool,
                                          apr_time_t before)
{
    idem_redis_conn_t **at = &pool->idle;
    idem_redis_conn_t *old;

    while (*at && (*at)->next) {
        at = &(*at)->next;
    }
    old = *at;
    if (!old || old->used >= before) {
        return NULL;
    }
    *at = NULL;
    pool->nidle--;
    return old;
}

void idem_redis_pool_tend(idem_redis_store_t *redis)
{
    idem_redis_pool_t *pool = &redis->pool;
    idem_redis_conn_t *conn;
    int few, open;

    do {
        conn = NULL;
        pthread_mutex_lock(&pool->lock);
        if (pool->nopen > redis->conf->pool_min) {
            conn = take_old_locked(pool, idem_redis_uptime() - IDLE_MAX);
        }
        if (conn) {
            free_place_locked(pool);
        }
        pthread_mutex_unlock(&pool->lock);
        if (conn) {
            idem_redis_disconnect(conn);
        }
    } while (conn);

    pthread_mutex_lock(&pool->lock);
    open = pool->failures == 0;
    few = pool->nopen < redis->conf->pool_min;
    if (open && few) {
        pool->nopen++;
    }
    pthread_mutex_unlock(&pool->lock);
    if (open && few) {
        unsigned now = __atomic_load_n(&pool->generation, __ATOMIC_RELAXED);
        apr_status_t rv = idem_redis_connect(&conn, redis);

        if (rv != APR_SUCCESS) {
            no_conn(pool, rv);
            return;
        }
        conn->generation = now;
        idem_redis_give(redis, conn, APR_SUCCESS);
    }
}

/* ---------------------------------------------------- from signal handlers */

static int lock_soon(pthread_mutex_t *lock)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    ts.tv_nsec += SIGNAL_WAIT * 1000000;
    if (ts.tv_nsec >= 1000000000) {
        ts.tv_sec++;
        ts.tv_nsec -= 1000000000;
    }
    return pthread_mutex_timedlock(lock, &ts) == 0;
}

idem_redis_conn_t *idem_redis_take_idle(idem_redis_store_t *redis)
{
    idem_redis_pool_t *pool = &redis->pool;
    idem_redis_conn_t *conn = NULL;

    if (!lock_soon(&pool->lock)) {
        return NULL;
    }
    if (pool->failures == 0 && pool->idle && is_usable(pool, pool->idle)) {
        conn = pop_locked(pool);
    }
    pthread_mutex_unlock(&pool->lock);
    return conn;
}

/* One that cannot be used is shut down and left to idem_redis_take(), which
 * finds it stale: closing it frees memory, and this may be a signal handler
 * that interrupted malloc. And its place must not be lost, though the lock is
 * not had in time: whoever has it next finds it. */
void idem_redis_give_idle(idem_redis_store_t *redis, idem_redis_conn_t *conn)
{
    idem_redis_pool_t *pool = &redis->pool;

    conn->used = idem_redis_uptime();
    if (!lock_soon(&pool->lock)) {
        conn->next = __atomic_load_n(&pool->late, __ATOMIC_RELAXED);
        while (!__atomic_compare_exchange_n(&pool->late, &conn->next, conn, 0,
                                            __ATOMIC_RELEASE,
                                            __ATOMIC_RELAXED)) {
            /* conn->next is what stands there now. */
        }
        return;
    }
    push_locked(pool, conn);
    pthread_cond_signal(&pool->freed);
    pthread_mutex_unlock(&pool->lock);
}

void idem_redis_pool_close(idem_redis_pool_t *pool)
{
    idem_redis_conn_t *conn;

    while ((conn = pop_locked(pool)) != NULL) {
        idem_redis_disconnect(conn);
    }
}
