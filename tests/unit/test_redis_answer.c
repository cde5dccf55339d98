/* test_redis_answer.c: answers of Redis that are lost on the way, or make no
 * sense.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store_redis_test.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <arpa/inet.h>

#include <apr_strings.h>

static apr_status_t ask(idem_store_t *store, apr_uint32_t n,
                        idem_claim_t *claim, idem_token_t *token,
                        apr_pool_t *pool)
{
    idem_blob_t record;

    return ask_at(store, n, n, 0, T0, claim, token, &record, pool);
}

/* Between store and Redis: passes bytes on, and hangs up instead of passing
 * on answer number `cut`; or answers all by itself. */
typedef struct {
    int listener;
    int port;
    int cut; /* 0: never */
    int answers;
    const char *say; /* NULL: what Redis says */
} relay_t;

static int relay_once(relay_t *relay, int from, int to, int is_answer)
{
    char data[65536];
    ssize_t n = read(from, data, sizeof(data));

    if (n <= 0) {
        return 0;
    }
    if (relay->say) {
        n = (ssize_t)strlen(relay->say);
        return write(from, relay->say, (size_t)n) == n;
    }
    if (is_answer && relay->cut && ++relay->answers == relay->cut) {
        return 0;
    }
    return write(to, data, (size_t)n) == n;
}

static void *relay_run(void *data)
{
    relay_t *relay = data;
    struct sockaddr_in addr = { .sin_family = AF_INET };
    int a;

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    addr.sin_port = htons((uint16_t)server.port);
    while ((a = accept(relay->listener, NULL, NULL)) >= 0) {
        int b = socket(AF_INET, SOCK_STREAM, 0);
        struct pollfd pfd[2] = { { a, POLLIN, 0 }, { b, POLLIN, 0 } };
        int go = connect(b, (struct sockaddr *)&addr, sizeof(addr)) == 0;

        while (go && poll(pfd, 2, -1) > 0) {
            if (pfd[0].revents) {
                go = relay_once(relay, a, b, 0);
            }
            if (go && pfd[1].revents) {
                go = relay_once(relay, b, a, 1);
            }
        }
        close(a);
        close(b);
    }
    return NULL;
}

static void relay_start(relay_t *relay, pthread_t *thread)
{
    struct sockaddr_in addr = { .sin_family = AF_INET };
    socklen_t len = sizeof(addr);

    memset(relay, 0, sizeof(*relay));
    relay->listener = socket(AF_INET, SOCK_STREAM, 0);
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(
        bind(relay->listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(relay->listener, 8), 0);
    assert_int_equal(
        getsockname(relay->listener, (struct sockaddr *)&addr, &len), 0);
    relay->port = ntohs(addr.sin_port);
    assert_int_equal(pthread_create(thread, NULL, relay_run, relay), 0);
}

static void relay_stop(relay_t *relay, pthread_t thread)
{
    shutdown(relay->listener, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(relay->listener);
}

/* Each step in turn loses its answer after Redis did what was asked. */
static void step_whose_answer_was_lost_is_recognised(void **state)
{
    relay_t relay;
    pthread_t thread;
    idem_store_t *store;
    idem_claim_t claim = IDEM_CLAIM_DONE;
    idem_token_t token;
    idem_token_t other;
    idem_blob_t record;
    const char *options[] = { NULL, NULL };
    apr_uint32_t n;
    int step;

    server_command("FLUSHALL");
    for (step = 0; step < 3; step++) {
        relay_start(&relay, &thread);
        options[0] =
            apr_psprintf(*state, "url=redis://127.0.0.1:%d/0", relay.port);
        store = redis_store(*state, options);
        n = 10 + (apr_uint32_t)step;
        /* 1 is the greeting, 2 the claim unless its script is new. */
        (void)ask(store, 99, &claim, &token, *state);
        (void)idem_store_forget(store, &token.id);
        relay.answers = 0;
        relay.cut = step == 0 ? 1 : 2;
        assert_int_equal(ask(store, n, &claim, &token, *state), APR_SUCCESS);
        assert_int_equal(claim, IDEM_CLAIM_NEW);
        assert_int_equal(claim_at(redis_store(*state, NULL), n, n, T0, &other,
                                  &record, *state),
                         IDEM_CLAIM_IN_PROGRESS);
        if (step < 2) {
            assert_int_equal(commit_text(store, &token, "x", T0), APR_SUCCESS);
        }
        else {
            assert_int_equal(idem_store_release(store, &token), APR_SUCCESS);
        }
        assert_true(relay.answers > relay.cut);
        assert_int_equal(claim_at(redis_store(*state, NULL), n, n, T0, &other,
                                  &record, *state),
                         step < 2 ? IDEM_CLAIM_DONE : IDEM_CLAIM_NEW);
        idem_redis_pool_close(&((idem_redis_store_t *)store)->pool);
        relay_stop(&relay, thread);
    }
}

/* A proxy in between, or a Redis gone mad: nothing is run, nothing falls. */
static void nonsense_is_no_answer(void **state)
{
    static const char *const nonsense[] = {
        ":1\r\n",       "*0\r\n",
        "*1\r\n:1\r\n", "*1\r\n$-1\r\n",
        "*1\r\n*0\r\n", "*4\r\n$1\r\nd\r\n:1\r\n:1\r\n:1\r\n",
        "$-1\r\n",      "$3\r\nnew\r\n",
        "*-1\r\n",
    };
    const char *options[] = { NULL, "replicas=1", "timeout=100ms", NULL };
    apr_size_t i;

    for (i = 0; i < sizeof(nonsense) / sizeof(*nonsense); i++) {
        idem_claim_t claim = IDEM_CLAIM_IN_PROGRESS;
        idem_token_t token;
        idem_store_t *store;
        pthread_t thread;
        relay_t relay;

        relay_start(&relay, &thread);
        relay.say = nonsense[i];
        options[0] =
            apr_psprintf(*state, "url=redis://127.0.0.1:%d/0", relay.port);
        store = redis_store(*state, options);
        (void)ask(store, (apr_uint32_t)i, &claim, &token, *state);
        assert_int_not_equal(claim, IDEM_CLAIM_NEW);
        assert_int_not_equal(claim, IDEM_CLAIM_DONE);
        idem_redis_pool_close(&((idem_redis_store_t *)store)->pool);
        relay_stop(&relay, thread);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(step_whose_answer_was_lost_is_recognised),
        pool_test(nonsense_is_no_answer),
    };

    return cmocka_run_group_tests(tests, server_setup, server_teardown);
}
