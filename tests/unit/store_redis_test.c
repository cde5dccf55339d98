/* store_redis_test.c: a redis-server of the tests' own, and stores on it.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store_redis_test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_strings.h>

#define WORDS_MAX 24

server_t server;

static redisContext *control;

static int free_port(void)
{
    struct sockaddr_in addr = { .sin_family = AF_INET };
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    close(fd);
    return ntohs(addr.sin_port);
}

static void run_server(const char *const *options)
{
    const char *argv[WORDS_MAX] = { "redis-server", "--port",    NULL,
                                    "--bind",       "127.0.0.1", "--dir",
                                    server.folder,  "--save",    "" };
    char port[16];
    int argc = 9;
    int fd = open("/dev/null", O_RDWR);

    /* A test that is killed leaves no server behind. */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    apr_snprintf(port, sizeof(port), "%d", server.port);
    argv[2] = port;
    for (; options && *options && argc < WORDS_MAX - 1; options++) {
        argv[argc++] = *options;
    }
    dup2(fd, 0);
    dup2(fd, 1);
    dup2(fd, 2);
    execvp(argv[0], (char *const *)argv);
    _exit(127);
}

static int answers(void)
{
    redisReply *reply;
    int ok;

    control = redisConnect("127.0.0.1", server.port);
    if (!control || control->err) {
        redisFree(control);
        control = NULL;
        return 0;
    }
    reply = redisCommand(control, "PING");
    ok = reply != NULL;
    freeReplyObject(reply);
    return ok;
}

void server_start(const char *const *options)
{
    int i;

    signal(SIGPIPE, SIG_IGN); /* as in httpd */
    if (!server.folder[0]) {
        strcpy(server.folder, "/tmp/idem-redis-XXXXXX");
        assert_non_null(mkdtemp(server.folder));
    }
    if (!server.port) {
        server.port = free_port();
    }
    server.pid = fork();
    assert_true(server.pid >= 0);
    if (server.pid == 0) {
        run_server(options);
    }
    for (i = 0; i < 500 && !answers(); i++) {
        sleep_ms(20);
    }
    if (!control) {
        fail_msg("redis-server did not start");
    }
}

void server_stop(void)
{
    char command[128];

    if (control) {
        redisFree(control);
        control = NULL;
    }
    if (server.pid > 0) {
        kill(server.pid, SIGCONT);
        kill(server.pid, SIGKILL);
        waitpid(server.pid, NULL, 0);
        server.pid = 0;
    }
    if (server.folder[0]) {
        apr_snprintf(command, sizeof(command), "rm -rf %s", server.folder);
        (void)!system(command);
        server.folder[0] = '\0';
    }
}

int server_setup(void **state)
{
    (void)state;
    apr_initialize();
    server_start(NULL);
    return 0;
}

int server_teardown(void **state)
{
    (void)state;
    server_stop();
    return 0;
}

static redisReply *command(const char *line)
{
    redisReply *reply;

    if (control->err) {
        assert_int_equal(redisReconnect(control), REDIS_OK);
    }
    reply = redisCommand(control, line);
    if (!reply) {
        assert_int_equal(redisReconnect(control), REDIS_OK);
        reply = redisCommand(control, line);
    }
    assert_non_null(reply);
    if (reply->type == REDIS_REPLY_ERROR) {
        fail_msg("%s: %s", line, reply->str);
    }
    return reply;
}

void server_command(const char *line)
{
    freeReplyObject(command(line));
}

long long server_number(const char *line)
{
    redisReply *reply = command(line);
    long long n = reply->type == REDIS_REPLY_INTEGER ? reply->integer : -99;

    freeReplyObject(reply);
    return n;
}

void sleep_ms(int ms)
{
    apr_sleep(apr_time_from_msec(ms));
}

const char *secret_file(apr_pool_t *pool)
{
    const char *path = apr_pstrcat(pool, server.folder, "/secret", NULL);
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
    static const char text[] = "0123456789abcdef0123456789abcdef!\n";

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
    close(fd);
    return path;
}

idem_store_t *redis_store(apr_pool_t *pool, const char *const *options)
{
    idem_redis_conf_t *conf = NULL;
    idem_store_t *store;
    const char *url = apr_psprintf(pool, "redis://127.0.0.1:%d/", server.port);

    assert_null(idem_redis_option(&conf, "url", url, pool));
    assert_null(idem_redis_option(&conf, "secret", secret_file(pool), pool));
    for (; options && *options; options++) {
        const char *eq = strchr(*options, '=');
        const char *err = idem_redis_option(
            &conf, apr_pstrmemdup(pool, *options, (apr_size_t)(eq - *options)),
            eq + 1, pool);

        if (err) {
            fail_msg("%s", err);
        }
    }
    assert_null(idem_redis_check(conf, pool));
    assert_int_equal(idem_redis_create(&store, conf, pool), APR_SUCCESS);
    return store;
}

void tick_for(idem_store_t *store, int ms)
{
    apr_time_t end = apr_time_now() + apr_time_from_msec(ms);
    idem_redis_news_t news;

    do {
        (void)idem_redis_tick(store, &news);
        sleep_ms(20);
    } while (apr_time_now() < end);
}

/* ----------------------------------------- what store_contract.c asks for */

const apr_interval_time_t contract_slack = apr_time_from_sec(2);
const int contract_counts = 0;

idem_store_t *contract_store(apr_pool_t *pool)
{
    server_command("FLUSHALL");
    return redis_store(pool, NULL);
}

void contract_child(idem_store_t *store)
{
    if (idem_redis_child_init(store) != APR_SUCCESS) {
        _exit(99);
    }
}

void contract_child_ended(idem_store_t *store, pid_t pid)
{
    (void)store;
    (void)pid;
}
