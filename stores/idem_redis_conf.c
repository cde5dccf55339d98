/* idem_redis_conf.c: the options of the store in Redis.
 * SPDX-License-Identifier: Apache-2.0
 *
 * No message quotes a URL: it may hold a password.
 */
#include "idem_redis.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_lib.h>
#include <apr_strings.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#define PORT 6379
#define SENTINEL_PORT 26379
#define FILE_MAX 4096
#define SECRET_MIN 32
#define LEASE_MIN apr_time_from_sec(1)
#define LEASE_MAX apr_time_from_sec(3600)
#define WAIT_MAX apr_time_from_sec(60)

/* Names the use: the same file may serve another purpose elsewhere. */
#define SECRET_LABEL "mod_idempotency redis ids 1\n"

static idem_redis_conf_t *create(apr_pool_t *pool)
{
    idem_redis_conf_t *conf = apr_pcalloc(pool, sizeof(*conf));

    conf->addrs[0].host = "127.0.0.1";
    conf->addrs[0].port = PORT;
    conf->naddrs = 1;
    conf->prefix = "idem:";
    conf->connect = apr_time_from_msec(100);
    conf->timeout = apr_time_from_msec(500);
    conf->lease = apr_time_from_sec(30);
    conf->pool_min = 1;
    conf->pool_max = 16;
    return conf;
}

/* ---------------------------------------------------------------- numbers */

static int parse_int(const char *text, const char *end, long low, long high,
                     long *value)
{
    long n = 0;

    if (text == end || end - text > 9) {
        return 0;
    }
    for (; text < end; text++) {
        if (!apr_isdigit(*text)) {
            return 0;
        }
        n = n * 10 + (*text - '0');
    }
    *value = n;
    return n >= low && n <= high;
}

static int parse_time(const char *text, apr_interval_time_t low,
                      apr_interval_time_t high, apr_interval_time_t *value)
{
    const char *unit = text + strspn(text, "0123456789");
    long n;

    if (!parse_int(text, unit, 0, 999999999, &n)) {
        return 0;
    }
    if (!strcmp(unit, "ms")) {
        *value = apr_time_from_msec((apr_interval_time_t)n);
    }
    else if (!strcmp(unit, "s") || !*unit) {
        *value = apr_time_from_sec((apr_interval_time_t)n);
    }
    else if (!strcmp(unit, "min")) {
        *value = apr_time_from_sec((apr_interval_time_t)n * 60);
    }
    else {
        return 0;
    }
    return *value >= low && *value <= high;
}

/* -------------------------------------------------------------------- URL */

static int hex(int c)
{
    if (apr_isdigit(c)) {
        return c - '0';
    }
    c = apr_tolower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* NULL if a % is not followed by two digits, or stands for a NUL. */
static const char *unescape(const char *from, const char *end,
                            apr_pool_t *pool)
{
    char *text = apr_palloc(pool, (apr_size_t)(end - from) + 1);
    char *to = text;

    while (from < end) {
        int c = (unsigned char)*from++;

        if (c == '%') {
            if (end - from < 2 || hex(from[0]) < 0 || hex(from[1]) < 0) {
                return NULL;
            }
            c = hex(from[0]) * 16 + hex(from[1]);
            from += 2;
        }
        if (c == '\0') {
            return NULL;
        }
        *to++ = (char)c;
    }
    *to = '\0';
    return text;
}

/* user:password or :password before the @. */
static const char *parse_user(idem_redis_conf_t *conf, const char *from,
                              const char *at, apr_pool_t *pool)
{
    const char *colon = memchr(from, ':', (apr_size_t)(at - from));
    const char *user = unescape(from, colon ? colon : at, pool);

    if (!user) {
        return "url= has a % before its @ that is not followed by two "
               "hexadecimal digits; % itself is written %25";
    }
    conf->user = *user ? user : NULL;
    if (!colon) {
        return NULL; /* the password comes from passwordfile= */
    }
    conf->password = unescape(colon + 1, at, pool);
    return conf->password && *conf->password
               ? NULL
               : "url= has no password after user:, or a % that is not "
                 "followed by two hexadecimal digits";
}

static const char *parse_addr(idem_redis_conf_t *conf, const char *from,
                              const char *end, apr_pool_t *pool)
{
    idem_redis_addr_t *addr = &conf->addrs[conf->naddrs];
    const char *colon = end;
    long port = conf->master ? SENTINEL_PORT : PORT;

    if (conf->naddrs == IDEM_REDIS_ADDRS_MAX) {
        return "url= names too many hosts; 16 are enough";
    }
    if (from < end && *from == '[') {
        colon = memchr(from, ']', (apr_size_t)(end - from));
        if (!colon) {
            return "url= has a [ without its ]";
        }
        addr->host =
            apr_pstrmemdup(pool, from + 1, (apr_size_t)(colon - from) - 1);
        colon++;
    }
    else {
        colon = memchr(from, ':', (apr_size_t)(end - from));
        colon = colon ? colon : end;
        addr->host = apr_pstrmemdup(pool, from, (apr_size_t)(colon - from));
    }
    if (!*addr->host) {
        return "url= names no host, such as redis://10.0.0.5:6379/0";
    }
    if (colon < end
        && (*colon != ':' || !parse_int(colon + 1, end, 1, 65535, &port))) {
        return "url= has a port that is no number from 1 to 65535";
    }
    addr->port = (int)port;
    conf->naddrs++;
    return NULL;
}

static const char *parse_addrs(idem_redis_conf_t *conf, const char *from,
                               const char *end, apr_pool_t *pool)
{
    const char *err = NULL;

    conf->naddrs = 0;
    while (!err) {
        const char *comma = memchr(from, ',', (apr_size_t)(end - from));

        err = parse_addr(conf, from, comma ? comma : end, pool);
        if (!comma) {
            break;
        }
        if (!conf->master) {
            return "url=redis:// names one host; several are for "
                   "sentinel://host:port,host:port/name";
        }
        from = comma + 1;
    }
    return err;
}

static const char *parse_db(idem_redis_conf_t *conf, const char *text)
{
    long db = 0;

    if (*text && !parse_int(text, text + strlen(text), 0, 999999, &db)) {
        return "url= has something else than the number of a database at its "
               "end, such as redis://10.0.0.5:6379/0";
    }
    conf->db = (int)db;
    return NULL;
}

static const char *parse_scheme(idem_redis_conf_t *conf, const char **rest)
{
    const char *url = *rest;

    conf->tls = 0;
    conf->master = NULL;
    if (!strncmp(url, "redis://", 8)) {
        *rest = url + 8;
        return NULL;
    }
    if (!strncmp(url, "sentinel://", 11)) {
        conf->master = ""; /* its name follows */
        *rest = url + 11;
        return NULL;
    }
    if (!strncmp(url, "rediss://", 9)) {
        return "url=rediss:// needs TLS, which this build's hiredis does not "
               "have; use redis:// over a tunnel, such as stunnel's, or a "
               "private network";
    }
    return "url= begins with none of redis:// and sentinel://, such as "
           "redis://10.0.0.5:6379/0";
}

static const char *set_url(idem_redis_conf_t *conf, const char *url,
                           apr_pool_t *pool)
{
    const char *err = parse_scheme(conf, &url);
    const char *slash, *at, *end;

    if (err) {
        return err;
    }
    at = strrchr(url, '@'); /* a password may hold any character */
    if (at) {
        err = parse_user(conf, url, at, pool);
        url = at + 1;
    }
    slash = strchr(url, '/');
    end = slash ? slash : url + strlen(url);
    if (!err && conf->master) {
        const char *name = slash ? slash + 1 : "";

        slash = strchr(name, '/');
        conf->master = apr_pstrmemdup(
            pool, name, slash ? (apr_size_t)(slash - name) : strlen(name));
        if (!*conf->master) {
            return "url=sentinel:// has no name of a master at its end, such "
                   "as sentinel://10.0.0.1:26379,10.0.0.2:26379/mymaster";
        }
    }
    if (!err) {
        err = parse_addrs(conf, url, end, pool);
    }
    return err ? err : parse_db(conf, slash ? slash + 1 : "");
}

/* ------------------------------------------------------------------ files */

/* @return NULL, or what is wrong. Others must be able neither to read what
 * is secret nor to choose it. */
static const char *read_file(char *data, apr_size_t *len, const char *name,
                             const char *path, apr_pool_t *pool)
{
    const char *err = NULL;
    struct stat st;
    ssize_t n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    if (fd < 0) {
        return apr_psprintf(pool, "%s=%s cannot be read: %s", name, path,
                            strerror(errno));
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        err = "is no regular file";
    }
    else if (st.st_uid != geteuid() || (st.st_mode & 077) != 0) {
        err = "must belong to the user that starts httpd and be closed to "
              "all others: chmod 600";
    }
    else if (st.st_size > FILE_MAX
             || (n = read(fd, data, FILE_MAX)) != st.st_size) {
        err = "is longer than 4096 bytes, or could not be read whole";
    }
    close(fd);
    *len = n > 0 ? (apr_size_t)n : 0;
    return err ? apr_psprintf(pool, "%s=%s %s", name, path, err) : NULL;
}

static apr_size_t without_newline(const char *data, apr_size_t len)
{
    if (len > 0 && data[len - 1] == '\n') {
        len--;
        if (len > 0 && data[len - 1] == '\r') {
            len--;
        }
    }
    return len;
}

static const char *set_secret(idem_redis_conf_t *conf, const char *path,
                              apr_pool_t *pool)
{
    char data[sizeof(SECRET_LABEL) - 1 + FILE_MAX] = SECRET_LABEL;
    apr_size_t label = sizeof(SECRET_LABEL) - 1;
    apr_size_t len;
    const char *err = read_file(data + label, &len, "secret", path, pool);

    if (!err && len < SECRET_MIN) {
        err = apr_psprintf(pool,
                           "secret=%s holds less than 32 bytes; make it with: "
                           "openssl rand -base64 48",
                           path);
    }
    if (!err) {
        /* A text that was copied may have lost its newline. */
        if (len > SECRET_MIN) {
            len = without_newline(data + label, len);
        }
        conf->has_secret = 1;
        if (EVP_Digest(data, label + len, conf->secret, NULL, EVP_sha256(),
                       NULL)
            != 1) {
            err = "OpenSSL offers no SHA-256";
        }
    }
    OPENSSL_cleanse(data, sizeof(data));
    return err;
}

static const char *set_password_file(idem_redis_conf_t *conf, const char *path,
                                     apr_pool_t *pool)
{
    char data[FILE_MAX];
    apr_size_t len;
    const char *err = read_file(data, &len, "passwordfile", path, pool);

    if (!err) {
        len = without_newline(data, len);
        if (len == 0 || memchr(data, '\0', len)) {
            err =
                apr_psprintf(pool, "passwordfile=%s holds no password", path);
        }
        conf->password = apr_pstrmemdup(pool, data, len);
    }
    OPENSSL_cleanse(data, sizeof(data));
    return err;
}

/* ---------------------------------------------------------------- options */

static const char *set_prefix(idem_redis_conf_t *conf, const char *value,
                              apr_pool_t *pool)
{
    if (strlen(value) > IDEM_REDIS_PREFIX_MAX || strpbrk(value, "{}")) {
        return "prefix= is longer than 64 characters or holds a brace; "
               "one that works is prefix=idem:";
    }
    conf->prefix = apr_pstrdup(pool, value);
    return NULL;
}

static const char *set_pool(idem_redis_conf_t *conf, const char *value)
{
    const char *colon = strchr(value, ':');
    long low, high;

    if (!colon || !parse_int(value, colon, 0, 1024, &low)
        || !parse_int(colon + 1, value + strlen(value), 1, 1024, &high)
        || low > high) {
        return "pool= is not least:most connections of a process, such as "
               "pool=1:16";
    }
    conf->pool_min = (int)low;
    conf->pool_max = (int)high;
    return NULL;
}

static const char *set_replicas(idem_redis_conf_t *conf, const char *value)
{
    long n;

    if (!parse_int(value, value + strlen(value), 0, 16, &n)) {
        return "replicas= is not a number from 0 to 16, such as replicas=1";
    }
    conf->replicas = (int)n;
    return NULL;
}

static const char *set_time(const char *name, const char *value,
                            apr_interval_time_t low, apr_interval_time_t high,
                            apr_interval_time_t *to, apr_pool_t *pool)
{
    if (parse_time(value, low, high, to)) {
        return NULL;
    }
    return apr_psprintf(pool,
                        "%s=%s is not a time from %dms to %ds, such as "
                        "%s",
                        name, value, (int)apr_time_as_msec(low),
                        (int)apr_time_sec(high),
                        low >= LEASE_MIN ? "lease=30s" : "500ms");
}

const char *idem_redis_option(idem_redis_conf_t **conf, const char *name,
                              const char *value, apr_pool_t *pool)
{
    apr_interval_time_t least = apr_time_from_msec(1);

    if (!*conf) {
        *conf = create(pool);
    }
    if (!strcmp(name, "url")) {
        return set_url(*conf, value, pool);
    }
    if (!strcmp(name, "passwordfile")) {
        return set_password_file(*conf, value, pool);
    }
    if (!strcmp(name, "secret")) {
        return set_secret(*conf, value, pool);
    }
    if (!strcmp(name, "prefix")) {
        return set_prefix(*conf, value, pool);
    }
    if (!strcmp(name, "pool")) {
        return set_pool(*conf, value);
    }
    if (!strcmp(name, "replicas")) {
        return set_replicas(*conf, value);
    }
    if (!strcmp(name, "connect")) {
        return set_time(name, value, least, WAIT_MAX, &(*conf)->connect, pool);
    }
    if (!strcmp(name, "timeout")) {
        return set_time(name, value, least, WAIT_MAX, &(*conf)->timeout, pool);
    }
    if (!strcmp(name, "lease")) {
        return set_time(name, value, LEASE_MIN, LEASE_MAX, &(*conf)->lease,
                        pool);
    }
    return apr_psprintf(pool,
                        "'%s' is no option; there are url, "
                        "passwordfile, secret, prefix, connect, "
                        "timeout, pool, lease and replicas",
                        name);
}

const char *idem_redis_check(const idem_redis_conf_t *conf, apr_pool_t *pool)
{
    if (!conf || !conf->has_secret) {
        return "secret=FILE is missing: a file of 32 random bytes or more, "
               "the same on all machines, made with: openssl rand -base64 48";
    }
    if (conf->user && !conf->password) {
        return "url= names a user, but there is no password";
    }
    /* Renewals are tried three times in a lease, each for as long. */
    if (conf->lease < 4 * (conf->connect + conf->timeout)) {
        return apr_psprintf(pool,
                            "lease=%dms is less than four times connect= and "
                            "timeout= together: raise it, as in lease=30s",
                            (int)apr_time_as_msec(conf->lease));
    }
    return NULL;
}

apr_interval_time_t idem_redis_interval(const idem_redis_conf_t *conf)
{
    apr_interval_time_t step = conf->lease / 6;

    return step < apr_time_from_sec(1) ? step : apr_time_from_sec(1);
}
