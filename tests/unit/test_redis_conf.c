/* test_redis_conf.c: the options of the store in Redis.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store_redis_test.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_strings.h>

static const char *option(const char *name, const char *value,
                          apr_pool_t *pool)
{
    idem_redis_conf_t *conf = NULL;

    return idem_redis_option(&conf, name, value, pool);
}

static void bad_options_are_told_and_no_password(void **state)
{
    static const char *const bad[][2] = {
        { "url", "http://x" },
        { "url", "redis://u:s3cret@:6379/0" },
        { "url", "redis://u:s3cret@host:0/0" },
        { "url", "redis://u:s3cret@host:70000/0" },
        { "url", "redis://u:s3cret@host:6379/x" },
        { "url", "redis://u:s3cret%zz@host:6379/0" },
        { "url", "redis://u:s3cret@host:1,other:2/0" },
        { "url", "rediss://u:s3cret@host:6379/0" },
        { "url", "sentinel://u:s3cret@host:26379" },
        { "url", "sentinel://u:s3cret@host:26379/" },
        { "prefix", "a{b" },
        { "connect", "0" },
        { "connect", "5"
                     "d" },
        { "timeout", "61s" },
        { "lease", "500ms" },
        { "pool", "4" },
        { "pool", "4:2" },
        { "replicas", "-1" },
        { "passwordfile", "/nonexistent" },
        { "secret", "/nonexistent" },
        { "size", "64M" },
    };
    size_t i;

    for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        const char *err = option(bad[i][0], bad[i][1], *state);

        if (!err) {
            fail_msg("%s=%s was taken", bad[i][0], bad[i][1]);
        }
        assert_null(strstr(err, "s3cret"));
    }
    assert_non_null(idem_redis_check(NULL, *state));
}

static void urls_are_taken_apart(void **state)
{
    idem_redis_conf_t *conf = NULL;

    assert_null(idem_redis_option(
        &conf, "url", "redis://app:p%40s:s/@x@[::1]:7000/3", *state));
    assert_string_equal(conf->addrs[0].host, "::1");
    assert_int_equal(conf->addrs[0].port, 7000);
    assert_int_equal(conf->db, 3);
    assert_string_equal(conf->user, "app");
    assert_string_equal(conf->password, "p@s:s/@x");
    assert_null(conf->master);
    conf = NULL;
    assert_null(
        idem_redis_option(&conf, "url", "redis://redis.example", *state));
    assert_string_equal(conf->addrs[0].host, "redis.example");
    assert_int_equal(conf->addrs[0].port, 6379);
    assert_null(conf->password);
    conf = NULL;
    assert_null(idem_redis_option(&conf, "url",
                                  "sentinel://:pw@a:1,b,c:3/main/2", *state));
    assert_int_equal(conf->naddrs, 3);
    assert_string_equal(conf->addrs[1].host, "b");
    assert_int_equal(conf->addrs[1].port, 26379);
    assert_string_equal(conf->master, "main");
    assert_int_equal(conf->db, 2);
    assert_null(conf->user);
    assert_string_equal(conf->password, "pw");
}

static void secret_file_is_nobody_elses(void **state)
{
    idem_redis_conf_t *conf = NULL;
    idem_redis_conf_t *other = NULL;
    const char *path = secret_file(*state);

    assert_int_equal(chmod(path, 0640), 0);
    assert_non_null(option("secret", path, *state));
    assert_int_equal(chmod(path, 0600), 0);
    assert_null(idem_redis_option(&conf, "secret", path, *state));
    assert_null(idem_redis_check(conf, *state));
    /* Without the newline that an editor adds it is the same one. */
    assert_int_equal(truncate(path, 33), 0);
    assert_null(idem_redis_option(&other, "secret", path, *state));
    assert_memory_equal(conf->secret, other->secret, IDEM_DIGEST_LEN);
    assert_int_equal(truncate(path, 31), 0);
    assert_non_null(option("secret", path, *state));
}

static void short_lease_is_refused(void **state)
{
    idem_redis_conf_t *conf = NULL;

    assert_null(
        idem_redis_option(&conf, "secret", secret_file(*state), *state));
    assert_null(idem_redis_option(&conf, "lease", "2s", *state));
    assert_non_null(idem_redis_check(conf, *state));
    assert_null(idem_redis_option(&conf, "timeout", "100ms", *state));
    assert_null(idem_redis_check(conf, *state));
}

/* This Redis does not know AUTH, and quotes what came with it. */
static void password_that_redis_quotes_is_not_told(void **state)
{
    const char *options[] = { NULL, NULL };
    idem_claim_t claim;
    idem_token_t token;
    idem_store_t *store;
    idem_redis_news_t news;

    options[0] = apr_psprintf(*state, "url=redis://:s3cret@127.0.0.1:%d/0",
                              server.port);
    store = redis_store(*state, options);
    assert_true(APR_STATUS_IS_EACCES(
        try_claim(store, 1, 7, 0, T0, &claim, &token, *state)));
    assert_true(idem_redis_tick(store, &news));
    assert_string_equal(news.failure, "AUTH was refused: ERR");
}

static int setup(void **state)
{
    static const char *const options[] = { "--rename-command", "AUTH", "",
                                           NULL };

    (void)state;
    apr_initialize();
    server_start(options);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(bad_options_are_told_and_no_password),
        pool_test(urls_are_taken_apart),
        pool_test(secret_file_is_nobody_elses),
        pool_test(short_lease_is_refused),
        pool_test(password_that_redis_quotes_is_not_told),
    };

    return cmocka_run_group_tests(tests, setup, server_teardown);
}
