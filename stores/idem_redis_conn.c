/* idem_redis_conn.c: one connection to Redis, every wait bounded.
 * SPDX-License-Identifier: Apache-2.0
 *
 * hiredis' own time-outs count anew with every packet, so that a server that
 * drips would hold a worker for ever: here the sockets do not block and one
 * deadline holds for a whole answer. Only the look-up of a host's name, which
 * the C library does, is not bounded.
 */
#include "idem_redis.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <apr_strings.h>

/* What an answer may add to the longest record. */
#define REPLY_MAX (IDEM_REDIS_RECORD_MAX + 64 * 1024)

/* ---------------------------------------------------------------- waiting */

static apr_status_t wait_for(int fd, short events, apr_time_t deadline)
{
    struct pollfd pfd = { fd, events, 0 };
    apr_time_t left;
    int rc;

    for (;;) {
        left = deadline - idem_redis_uptime();
        if (left <= 0) {
            return APR_TIMEUP;
        }
        rc = poll(&pfd, 1, (int)((left + 999) / 1000));
        if (rc > 0) {
            return APR_SUCCESS;
        }
        if (rc < 0 && errno != EINTR) {
            return APR_FROM_OS_ERROR(errno);
        }
    }
}

/* What hiredis' error means, right after it: errno is still that of the
 * system's call. */
static apr_status_t error_of(const redisContext *c)
{
    switch (c->err) {
    case REDIS_ERR_IO:
        if (errno == ECONNRESET || errno == EPIPE) {
            return APR_EOF;
        }
        return errno ? APR_FROM_OS_ERROR(errno) : APR_EGENERAL;
    case REDIS_ERR_EOF:
        return APR_EOF;
    case REDIS_ERR_OOM:
        return APR_ENOMEM;
    default:
        return APR_EGENERAL;
    }
}

static apr_status_t flush(redisContext *c, apr_time_t deadline)
{
    int done = 0;
    apr_status_t rv;

    for (;;) {
        errno = 0;
        if (redisBufferWrite(c, &done) != REDIS_OK) {
            return error_of(c);
        }
        if (done) {
            return APR_SUCCESS;
        }
        rv = wait_for(c->fd, POLLOUT, deadline);
        if (rv != APR_SUCCESS) {
            return rv;
        }
    }
}

apr_status_t idem_redis_reply(idem_redis_conn_t *conn, redisReply **reply,
                              apr_time_t deadline)
{
    redisContext *c = conn->c;
    void *got = NULL;
    apr_status_t rv;

    *reply = NULL;
    rv = flush(c, deadline);
    while (rv == APR_SUCCESS) {
        if (redisGetReplyFromReader(c, &got) != REDIS_OK) {
            return APR_EGENERAL;
        }
        if (got) {
            *reply = got;
            return APR_SUCCESS;
        }
        if (c->reader->len - c->reader->pos > REPLY_MAX) {
            return APR_EGENERAL;
        }
        rv = wait_for(c->fd, POLLIN, deadline);
        errno = 0;
        if (rv == APR_SUCCESS && redisBufferRead(c) != REDIS_OK) {
            rv = error_of(c);
        }
    }
    return rv;
}

apr_status_t idem_redis_queue(idem_redis_conn_t *conn, int argc,
                              const char **argv, const apr_size_t *len)
{
    return redisAppendCommandArgv(conn->c, argc, argv, len) == REDIS_OK
               ? APR_SUCCESS
               : APR_ENOMEM;
}

int idem_redis_is_stale(const idem_redis_conn_t *conn)
{
    struct pollfd pfd = { conn->c->fd, POLLIN, 0 };

    /* Nothing is owed on an idle connection: a byte, an end and an error are
     * all signs that it cannot be used. */
    return conn->c->reader->len != conn->c->reader->pos
           || poll(&pfd, 1, 0) != 0;
}

/* ----------------------------------------------------------------- errors */

typedef struct {
    const char *word;
    apr_status_t rv;
} meaning_t;

/* Anywhere in the text: up to Redis 6 what a script met comes wrapped. */
apr_status_t idem_redis_status_of(const redisReply *reply)
{
    static const meaning_t meanings[] = {
        { "OOM command", APR_ENOSPC },
        { "READONLY", APR_FROM_OS_ERROR(EROFS) },
        { "WRONGPASS", APR_EACCES },
        { "NOAUTH", APR_EACCES },
        { "NOPERM", APR_EACCES },
        { "invalid password", APR_EACCES },
        { "invalid username", APR_EACCES },
        { "without any password", APR_EACCES },
        { "LOADING", APR_EBUSY },
        { "BUSY", APR_EBUSY },
        { "MASTERDOWN", APR_EBUSY },
        { "max number of clients", APR_EBUSY },
        { "NOREPLICAS", APR_INCOMPLETE },
        { "MISCONF", APR_FROM_OS_ERROR(EIO) },
    };
    apr_size_t i;

    if (reply->type != REDIS_REPLY_ERROR || !reply->str) {
        return APR_EGENERAL;
    }
    for (i = 0; i < sizeof(meanings) / sizeof(*meanings); i++) {
        if (strstr(reply->str, meanings[i].word)) {
            return meanings[i].rv;
        }
    }
    return APR_EGENERAL;
}

/* ------------------------------------------------------------- connecting */

static apr_status_t finish_connect(redisContext *c, apr_time_t deadline)
{
    int error = 0;
    socklen_t len = sizeof(error);
    apr_status_t rv = wait_for(c->fd, POLLOUT, deadline);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0) {
        error = errno;
    }
    return error ? APR_FROM_OS_ERROR(error) : APR_SUCCESS;
}

/* Scripts and other programs that a child starts must not inherit it. */
static apr_status_t prepare(redisContext *c)
{
    if (fcntl(c->fd, F_SETFD, FD_CLOEXEC) != 0) {
        return APR_FROM_OS_ERROR(errno);
    }
    (void)redisEnableKeepAlive(c);
    return APR_SUCCESS;
}

static apr_status_t open_to(idem_redis_conn_t **conn,
                            const idem_redis_addr_t *addr,
                            apr_interval_time_t timeout)
{
    apr_time_t deadline = idem_redis_uptime() + timeout;
    idem_redis_conn_t *made = calloc(1, sizeof(*made));
    apr_status_t rv = APR_ENOMEM;

    if (!made) {
        return rv;
    }
    errno = 0;
    made->c = redisConnectNonBlock(addr->host, addr->port);
    if (made->c) {
        rv = made->c->err ? error_of(made->c) : APR_SUCCESS;
    }
    if (rv == APR_SUCCESS) {
        rv = finish_connect(made->c, deadline);
    }
    if (rv == APR_SUCCESS) {
        rv = prepare(made->c);
    }
    if (rv != APR_SUCCESS) {
        idem_redis_disconnect(made);
        return rv;
    }
    *conn = made;
    return APR_SUCCESS;
}

void idem_redis_disconnect(idem_redis_conn_t *conn)
{
    if (conn->c) {
        redisFree(conn->c);
    }
    free(conn);
}

/* --------------------------------------------------------------- greeting */

static apr_status_t queue_words(idem_redis_conn_t *conn, const char *a,
                                const char *b, const char *c)
{
    const char *argv[3] = { a, b, c };
    apr_size_t len[3];
    int argc;

    for (argc = 0; argc < 3 && argv[argc]; argc++) {
        len[argc] = strlen(argv[argc]);
    }
    return idem_redis_queue(conn, argc, argv, len);
}

/* The reply is not an error. */
static apr_status_t expect(idem_redis_store_t *redis, idem_redis_conn_t *conn,
                           redisReply **reply, apr_time_t deadline)
{
    apr_status_t rv = idem_redis_reply(conn, reply, deadline);

    if (rv == APR_SUCCESS && (*reply)->type == REDIS_REPLY_ERROR) {
        rv = idem_redis_status_of(*reply);
        idem_redis_failed(redis, (*reply)->str);
        freeReplyObject(*reply);
        *reply = NULL;
    }
    return rv;
}

static apr_status_t expect_ok(idem_redis_store_t *redis,
                              idem_redis_conn_t *conn, apr_time_t deadline)
{
    redisReply *reply;
    apr_status_t rv = expect(redis, conn, &reply, deadline);

    if (rv == APR_SUCCESS) {
        freeReplyObject(reply);
    }
    return rv;
}

/* Of the answer to AUTH only the first word is told: who does not know the
 * command may quote what came with it. */
static apr_status_t expect_auth(idem_redis_store_t *redis,
                                idem_redis_conn_t *conn, apr_time_t deadline)
{
    redisReply *reply;
    apr_status_t rv = idem_redis_reply(conn, &reply, deadline);
    char text[64];

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (reply->type == REDIS_REPLY_ERROR) {
        apr_snprintf(text, sizeof(text), "AUTH was refused: %.*s",
                     (int)strcspn(reply->str, " "), reply->str);
        idem_redis_failed(redis, text);
        rv = APR_EACCES;
    }
    freeReplyObject(reply);
    return rv;
}

/* From 7.0 on a script can be allowed to go over maxmemory. Who may not ask
 * for the version does without. But it has to be known now whether a password
 * is missing: of a client without one Redis 7 refuses a call of a script for
 * its length, and hangs up. */
static apr_status_t read_version(idem_redis_store_t *redis,
                                 idem_redis_conn_t *conn, apr_time_t deadline)
{
    redisReply *reply;
    apr_status_t rv = idem_redis_reply(conn, &reply, deadline);
    const char *at;

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (reply->type == REDIS_REPLY_STRING) {
        at = strstr(reply->str, "redis_version:");
        conn->allow_oom = at && atoi(at + 14) >= 7;
    }
    else if (reply->type == REDIS_REPLY_ERROR
             && !strncmp(reply->str, "NOAUTH", 6)) {
        idem_redis_failed(redis, reply->str);
        rv = APR_EACCES;
    }
    freeReplyObject(reply);
    return rv;
}

static apr_status_t read_role(idem_redis_store_t *redis,
                              idem_redis_conn_t *conn, apr_time_t deadline)
{
    redisReply *reply;
    apr_status_t rv = expect(redis, conn, &reply, deadline);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 1
        || reply->element[0]->type != REDIS_REPLY_STRING
        || strcmp(reply->element[0]->str, "master") != 0) {
        idem_redis_failed(redis, "the sentinels name a Redis that does not "
                                 "call itself master");
        rv = APR_EBUSY;
    }
    freeReplyObject(reply);
    return rv;
}

static apr_status_t greet(idem_redis_store_t *redis, idem_redis_conn_t *conn)
{
    const idem_redis_conf_t *conf = redis->conf;
    apr_time_t deadline = idem_redis_uptime() + conf->timeout;
    char db[16];
    apr_status_t rv = APR_SUCCESS;

    /* All in one packet: a new connection costs one round trip more. */
    if (conf->password) {
        rv = conf->user ? queue_words(conn, "AUTH", conf->user, conf->password)
                        : queue_words(conn, "AUTH", conf->password, NULL);
    }
    if (conf->db != 0) {
        apr_snprintf(db, sizeof(db), "%d", conf->db);
        rv = rv == APR_SUCCESS ? queue_words(conn, "SELECT", db, NULL) : rv;
    }
    if (conf->master) {
        rv = rv == APR_SUCCESS ? queue_words(conn, "ROLE", NULL, NULL) : rv;
    }
    rv = rv == APR_SUCCESS ? queue_words(conn, "INFO", "server", NULL) : rv;
    if (rv == APR_SUCCESS && conf->password) {
        rv = expect_auth(redis, conn, deadline);
    }
    if (rv == APR_SUCCESS && conf->db != 0) {
        rv = expect_ok(redis, conn, deadline);
    }
    if (rv == APR_SUCCESS && conf->master) {
        rv = read_role(redis, conn, deadline);
    }
    if (rv == APR_SUCCESS) {
        rv = read_version(redis, conn, deadline);
    }
    return rv;
}

/* -------------------------------------------------------------- sentinels */

static apr_status_t read_master(idem_redis_addr_t *addr, char *host,
                                apr_size_t host_len, const redisReply *reply)
{
    long port;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2
        || reply->element[0]->type != REDIS_REPLY_STRING
        || reply->element[1]->type != REDIS_REPLY_STRING
        || reply->element[0]->len >= host_len) {
        return APR_NOTFOUND;
    }
    port = strtol(reply->element[1]->str, NULL, 10);
    if (port < 1 || port > 65535) {
        return APR_NOTFOUND;
    }
    apr_cpystrn(host, reply->element[0]->str, host_len);
    addr->host = host;
    addr->port = (int)port;
    return APR_SUCCESS;
}

static apr_status_t ask_sentinel(idem_redis_store_t *redis,
                                 idem_redis_addr_t *addr, char *host,
                                 apr_size_t host_len,
                                 const idem_redis_addr_t *sentinel)
{
    const idem_redis_conf_t *conf = redis->conf;
    idem_redis_conn_t *conn;
    redisReply *reply;
    apr_status_t rv = open_to(&conn, sentinel, conf->connect);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv =
        queue_words(conn, "SENTINEL", "get-master-addr-by-name", conf->master);
    if (rv == APR_SUCCESS) {
        rv = expect(redis, conn, &reply, idem_redis_uptime() + conf->timeout);
    }
    if (rv == APR_SUCCESS) {
        rv = read_master(addr, host, host_len, reply);
        freeReplyObject(reply);
    }
    idem_redis_disconnect(conn);
    return rv;
}

/* The first that knows: they agree, but for moments in which ROLE tells. */
static apr_status_t find_master(idem_redis_store_t *redis,
                                idem_redis_addr_t *addr, char *host,
                                apr_size_t host_len)
{
    const idem_redis_conf_t *conf = redis->conf;
    apr_status_t rv = APR_NOTFOUND;
    int i;

    for (i = 0; rv != APR_SUCCESS && i < conf->naddrs; i++) {
        rv = ask_sentinel(redis, addr, host, host_len, &conf->addrs[i]);
    }
    if (rv != APR_SUCCESS) {
        idem_redis_failed(redis, "no sentinel knows the master");
    }
    return rv;
}

static void tell(idem_redis_store_t *redis, const char *what,
                 const idem_redis_addr_t *addr, apr_status_t rv)
{
    char text[400];
    char why[100];

    apr_snprintf(text, sizeof(text), "%s %s port %d: %s", what, addr->host,
                 addr->port, apr_strerror(rv, why, sizeof(why)));
    idem_redis_failed(redis, text);
}

/* Did Redis give its reason itself? */
static int is_said(apr_status_t rv)
{
    return APR_STATUS_IS_EACCES(rv) || APR_STATUS_IS_EBUSY(rv)
           || rv == APR_EGENERAL;
}

apr_status_t idem_redis_connect(idem_redis_conn_t **conn,
                                idem_redis_store_t *redis)
{
    const idem_redis_conf_t *conf = redis->conf;
    idem_redis_addr_t addr = conf->addrs[0];
    idem_redis_conn_t *made;
    char host[256];
    apr_status_t rv = APR_SUCCESS;

    if (conf->master) {
        rv = find_master(redis, &addr, host, sizeof(host));
        if (rv != APR_SUCCESS) {
            return rv;
        }
    }
    rv = open_to(&made, &addr, conf->connect);
    if (rv != APR_SUCCESS) {
        tell(redis, "no connection to", &addr, rv);
        return rv;
    }
    rv = greet(redis, made);
    if (rv != APR_SUCCESS) {
        idem_redis_disconnect(made);
        if (!is_said(rv)) {
            tell(redis, "no greeting from", &addr, rv);
        }
        return rv;
    }
    *conn = made;
    return APR_SUCCESS;
}
