/* idem_redis_abandon.c: ends a claim as unknown, from anywhere.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Pool cleanups call this, which under prefork run in a signal handler that
 * may have interrupted malloc. So hiredis has no part in it: the command is
 * put together on the stack and sent on a connection that lies idle. Where
 * that is not at once possible, it is left to the next round of
 * idem_redis_held_tend(), and if the process does not live to see that, to
 * the lease.
 */
#include "idem_redis.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define ANSWER_WAIT 50 /* milliseconds */

typedef struct {
    char data[1024];
    apr_size_t len;
} line_t;

static void add(line_t *line, const char *data, apr_size_t len)
{
    char head[24];
    apr_size_t at = sizeof(head);
    apr_size_t n = len;

    /* $LENGTH, without what may not be called in a signal handler. */
    head[--at] = '\n';
    head[--at] = '\r';
    do {
        head[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    head[--at] = '$';
    if (line->len + (sizeof(head) - at) + len + 2 > sizeof(line->data)) {
        return; /* the lengths are fixed: this cannot be */
    }
    memcpy(line->data + line->len, head + at, sizeof(head) - at);
    line->len += sizeof(head) - at;
    memcpy(line->data + line->len, data, len);
    line->len += len;
    memcpy(line->data + line->len, "\r\n", 2);
    line->len += 2;
}

static void make_command(line_t *line, const idem_redis_store_t *redis,
                         const idem_redis_conn_t *conn,
                         const idem_token_t *token)
{
    /* Whole, not by its name: there is no time to find that Redis lost it. */
    const idem_redis_code_t *code =
        &redis->code[IDEM_REDIS_ABANDON][conn->allow_oom ? 1 : 0];
    char proof[IDEM_REDIS_PROOF_LEN];
    idem_redis_keys_t keys;

    idem_redis_keys(&keys, redis, &token->id);
    idem_redis_proof(proof, redis, token->fence);
    memcpy(line->data, "*6\r\n", 4);
    line->len = 4;
    add(line, "EVAL", 4);
    add(line, code->text, code->len);
    add(line, "2", 1);
    add(line, keys.record, keys.len);
    add(line, keys.body, keys.len + 1);
    add(line, proof, sizeof(proof));
}

/* @return the number that Redis answers, in :NUMBER; or -2 */
static int exchange(int fd, const line_t *line)
{
    struct pollfd pfd = { fd, POLLIN, 0 };
    char answer[64];
    apr_size_t len = 0;

    if (send(fd, line->data, line->len, MSG_DONTWAIT | MSG_NOSIGNAL)
        != (ssize_t)line->len) {
        return -2;
    }
    while (len < sizeof(answer) && poll(&pfd, 1, ANSWER_WAIT) == 1) {
        ssize_t n = recv(fd, answer + len, sizeof(answer) - len, MSG_DONTWAIT);

        if (n <= 0) {
            return -2;
        }
        len += (apr_size_t)n;
        if (answer[len - 1] == '\n') {
            break;
        }
    }
    if (len == 4 && !memcmp(answer, ":1\r\n", 4)) {
        return IDEM_REDIS_OK;
    }
    if (len == 4 && !memcmp(answer, ":0\r\n", 4)) {
        return IDEM_REDIS_GONE;
    }
    return len == 5 && !memcmp(answer, ":-1\r\n", 5) ? IDEM_REDIS_LAPSED : -2;
}

apr_status_t idem_redis_abandon(idem_store_t *store, const idem_token_t *token,
                                apr_time_t now)
{
    idem_redis_store_t *redis = (idem_redis_store_t *)store;
    idem_redis_slot_t *slot = idem_redis_slot(redis, token);
    idem_redis_conn_t *conn;
    int said = -2;
    int saved = errno;
    line_t line;

    (void)now;
    if (!slot) {
        return APR_NOTFOUND;
    }
    conn = idem_redis_take_idle(redis);
    if (conn) {
        make_command(&line, redis, conn, token);
        said = exchange(conn->c->fd, &line);
        if (said == -2) {
            /* Half an answer may be under way. */
            shutdown(conn->c->fd, SHUT_RDWR);
        }
        idem_redis_give_idle(redis, conn);
    }
    errno = saved;
    if (said == -2) {
        idem_redis_mark(slot, IDEM_REDIS_SLOT_ABANDON);
        return APR_EAGAIN;
    }
    idem_redis_mark(slot, IDEM_REDIS_SLOT_SETTLED);
    return said == IDEM_REDIS_OK ? APR_SUCCESS : APR_NOTFOUND;
}
