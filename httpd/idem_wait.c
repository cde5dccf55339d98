/* idem_wait.c: a duplicate waits until the first has ended.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A waiter keeps a worker busy, so their number is bounded over all
 * processes: each takes a slot of a table in shared memory, marked with its
 * pid. Slots of a killed child are freed by the parent when it reaps it.
 * Where there are several virtual hosts one of them gets half of the slots at
 * most: a tenant whose requests all wait must not take the turn of others.
 */
#include "idem_httpd.h"

#include <poll.h>
#include <sys/socket.h>

#include <apr_atomic.h>
#include <apr_portable.h>
#include <apr_shm.h>

#include "ap_mpm.h"

#define TABLE_KEY "mod_idempotency waiters 2" /* 2: layout of table_t */
#define WORKERS_PERCENT 25 /* of the workers may wait, if nothing is set */
#define NAP_MIN apr_time_from_msec(2)
#define NAP_MAX apr_time_from_msec(50)

typedef struct {
    volatile apr_uint32_t pid[IDEM_WAIT_SLOTS];  /* 0: free */
    volatile apr_uint32_t host[IDEM_WAIT_SLOTS]; /* of slots that are taken */
} table_t;

static table_t *table;
static int waiters_max;
static int host_max; /* of one virtual host */

static int workers(void)
{
    int processes = 0, threads = 0;

    ap_mpm_query(AP_MPMQ_MAX_DAEMONS, &processes);
    ap_mpm_query(AP_MPMQ_MAX_THREADS, &threads);
    return processes * (threads > 0 ? threads : 1);
}

int idem_wait_open(server_rec *s)
{
    table_t **kept = ap_retained_data_get(TABLE_KEY);
    apr_shm_t *shm;

    waiters_max = idem_global.waiters_max;
    if (waiters_max == IDEM_UNSET) {
        waiters_max = workers() * WORKERS_PERCENT / 100;
        waiters_max = waiters_max < 1 ? 1 : waiters_max;
    }
    if (waiters_max > IDEM_WAIT_SLOTS) {
        waiters_max = IDEM_WAIT_SLOTS;
    }
    host_max = s->next ? (waiters_max + 1) / 2 : waiters_max;
    if (!kept) {
        /* Older generations wait in it too: it stays for good. */
        if (apr_shm_create(&shm, sizeof(*table), NULL, s->process->pool)
            != APR_SUCCESS) {
            return 0;
        }
        kept = ap_retained_data_create(TABLE_KEY, sizeof(*kept));
        *kept = apr_shm_baseaddr_get(shm);
        memset(*kept, 0, sizeof(table_t));
    }
    table = *kept;
    return 1;
}

/* Two that count at once may both get the last one: no harm is done. */
static int host_has_room(apr_uint32_t host)
{
    int i, n = 0;

    for (i = 0; i < waiters_max; i++) {
        n += table->pid[i] != 0 && table->host[i] == host;
    }
    return n < host_max;
}

static int take_slot(apr_uint32_t host)
{
    apr_uint32_t pid = (apr_uint32_t)getpid();
    int i;

    if (!table || !host_has_room(host)) {
        return 0;
    }
    for (i = 0; i < waiters_max; i++) {
        if (table->pid[i] == 0
            && apr_atomic_cas32(&table->pid[i], pid, 0) == 0) {
            table->host[i] = host;
            return i + 1;
        }
    }
    return 0;
}

int idem_wait_count(int *most)
{
    int i, n = 0;

    for (i = 0; table && i < IDEM_WAIT_SLOTS; i++) {
        n += table->pid[i] != 0;
    }
    *most = waiters_max;
    return n;
}

void idem_wait_child_died(pid_t pid)
{
    int i;

    for (i = 0; table && i < IDEM_WAIT_SLOTS; i++) {
        if (table->pid[i] == (apr_uint32_t)pid) {
            apr_atomic_cas32(&table->pid[i], 0, (apr_uint32_t)pid);
        }
    }
}

/* Asked of the system, not read: bytes may stand before the end, such as
 * the next request, or the farewell of TLS. */
static int has_ended(int fd)
{
#ifdef POLLRDHUP
    struct pollfd end = { fd, POLLRDHUP, 0 };

    return poll(&end, 1, 0) > 0;
#else
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

    return n == 0
           || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK
               && errno != EINTR);
#endif
}

/* On HTTP/2 the stream's end is told by c->aborted. Otherwise nobody reads
 * the connection meanwhile, so its end is looked for. */
static int client_left(const conn_rec *c)
{
    apr_os_sock_t fd;
    apr_socket_t *sock;

    if (c->aborted || c->master) {
        return c->aborted != 0;
    }
    sock = ap_get_conn_socket((conn_rec *)c);
    return sock && apr_os_sock_get(&fd, sock) == APR_SUCCESS && has_ended(fd);
}

static int is_stopping(void)
{
    int state = AP_MPMQ_RUNNING;

    ap_mpm_query(AP_MPMQ_MPM_STATE, &state);
    return state == AP_MPMQ_STOPPING;
}

static int start(idem_wait_t *wait, const idem_ctx_t *ctx, request_rec *r)
{
    if (ctx->conf->wait <= 0) {
        return 0;
    }
    wait->slot = take_slot(ctx->srv->host_sum);
    if (wait->slot == 0) {
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r,
                      "IDEM0026: %d requests wait already, or %d of this "
                      "virtual host (IdempotencyMaxWaiters): key %s is "
                      "refused as in progress",
                      waiters_max, host_max, idem_ctx_short_id(ctx));
        return 0;
    }
    wait->until = idem_store_now(idem_server_store) + ctx->conf->wait;
    wait->nap = NAP_MIN;
    return 1;
}

int idem_wait_more(idem_wait_t *wait, const idem_ctx_t *ctx, request_rec *r)
{
    apr_interval_time_t left;

    if (wait->slot == 0 && !start(wait, ctx, r)) {
        return 0;
    }
    left = wait->until - idem_store_now(idem_server_store);
    if (left <= 0 || is_stopping() || client_left(r->connection)) {
        return 0;
    }
    apr_sleep(wait->nap < left ? wait->nap : left);
    wait->nap = wait->nap * 2 < NAP_MAX ? wait->nap * 2 : NAP_MAX;
    return 1;
}

void idem_wait_end(idem_wait_t *wait)
{
    if (wait->slot > 0) {
        apr_atomic_set32(&table->pid[wait->slot - 1], 0);
        wait->slot = 0;
    }
}
