/* idem_redis_survey.c: how Redis is set up, asked once at the start.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_redis.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

typedef struct {
    idem_redis_store_t *redis;
    idem_redis_conn_t *conn;
    apr_pool_t *pool;
    const char *warning;
    const char *note;
} survey_t;

static void add(const char **text, const char *more, apr_pool_t *pool)
{
    *text = *text ? apr_pstrcat(pool, *text, "; ", more, NULL) : more;
}

/* The reply may be an error: then NULL comes of it. */
static apr_status_t ask(survey_t *survey, redisReply **reply, int argc,
                        const char **argv)
{
    apr_time_t deadline = idem_redis_uptime() + survey->redis->conf->timeout;
    apr_size_t len[4];
    apr_status_t rv;
    int i;

    *reply = NULL;
    for (i = 0; i < argc; i++) {
        len[i] = strlen(argv[i]);
    }
    rv = idem_redis_queue(survey->conn, argc, argv, len);
    if (rv == APR_SUCCESS) {
        rv = idem_redis_reply(survey->conn, reply, deadline);
    }
    if (rv == APR_SUCCESS && (*reply)->type == REDIS_REPLY_ERROR) {
        freeReplyObject(*reply);
        *reply = NULL;
    }
    return rv;
}

/* NAME:VALUE of INFO. */
static const char *value_of(const char *info, const char *name,
                            apr_pool_t *pool)
{
    const char *at = strstr(info, name);

    if (!at) {
        return "";
    }
    at += strlen(name);
    return apr_pstrmemdup(pool, at, strcspn(at, "\r\n"));
}

static void judge_memory(survey_t *survey, const char *info)
{
    const char *policy = value_of(info, "maxmemory_policy:", survey->pool);

    if (*policy && strcmp(policy, "noeviction") != 0) {
        add(&survey->warning,
            apr_psprintf(survey->pool,
                         "its maxmemory-policy is %s, which throws away "
                         "records when memory is short, so that requests run "
                         "twice: set it to noeviction",
                         policy),
            survey->pool);
    }
}

static const char no_persistence[] =
    "it keeps nothing on disk: after a restart all keys are new, and retries "
    "run again. Set appendonly to yes";

static void judge_persistence(survey_t *survey, const char *info,
                              const redisReply *save)
{
    const char *aof = value_of(info, "aof_enabled:", survey->pool);

    if (*aof == '1') {
        return;
    }
    if (!save || save->type != REDIS_REPLY_ARRAY || save->elements != 2
        || save->element[1]->type != REDIS_REPLY_STRING) {
        add(&survey->note,
            "CONFIG GET is not allowed to this user, and INFO shows no "
            "append-only file: whether Redis keeps anything on disk could "
            "not be found out",
            survey->pool);
        return;
    }
    if (save->element[1]->len == 0) {
        add(&survey->warning, no_persistence, survey->pool);
        return;
    }
    add(&survey->warning,
        "it keeps snapshots only: a crash forgets the keys of the last "
        "minutes, and their retries run again. Set appendonly to yes",
        survey->pool);
}

static void judge_role(survey_t *survey, const char *info)
{
    const char *role = value_of(info, "role:", survey->pool);
    long replicas = atol(value_of(info, "connected_slaves:", survey->pool));

    if (*role && strcmp(role, "master") != 0) {
        add(&survey->warning,
            "it is a replica, which takes no writes: name the master, or the "
            "sentinels",
            survey->pool);
    }
    else if (replicas < survey->redis->conf->replicas) {
        add(&survey->warning,
            apr_psprintf(survey->pool,
                         "it has %ld replicas, less than replicas=%d: keyed "
                         "requests are refused until there are more",
                         replicas, survey->redis->conf->replicas),
            survey->pool);
    }
}

static apr_status_t survey_all(survey_t *survey)
{
    const char *info_words[] = { "INFO" };
    const char *config_words[] = { "CONFIG", "GET", "save" };
    redisReply *info, *save;
    apr_status_t rv = ask(survey, &info, 1, info_words);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (!info || info->type != REDIS_REPLY_STRING) {
        add(&survey->note,
            "INFO is not allowed to this user: eviction, persistence and "
            "replicas could not be looked at",
            survey->pool);
        freeReplyObject(info);
        return APR_SUCCESS;
    }
    judge_memory(survey, info->str);
    judge_role(survey, info->str);
    rv = ask(survey, &save, 3, config_words);
    if (rv == APR_SUCCESS) {
        judge_persistence(survey, info->str, save);
    }
    freeReplyObject(save);
    freeReplyObject(info);
    return rv;
}

void idem_redis_survey(idem_store_t *store, const char **warning,
                       const char **note, apr_pool_t *pool)
{
    idem_redis_store_t *redis = (idem_redis_store_t *)store;
    survey_t survey = { redis, NULL, pool, NULL, NULL };
    apr_status_t rv;
    char why[120];

    rv = idem_redis_take(&survey.conn, redis,
                         idem_redis_uptime() + redis->conf->timeout);
    if (rv == APR_SUCCESS) {
        rv = survey_all(&survey);
        idem_redis_give(redis, survey.conn, rv);
    }
    if (rv != APR_SUCCESS) {
        const char *said = redis->news.failure;

        add(&survey.warning,
            apr_psprintf(pool,
                         "it cannot be used just now (%s): keyed requests "
                         "are refused until it can",
                         *said ? said : apr_strerror(rv, why, sizeof(why))),
            pool);
    }
    idem_redis_pool_close(&redis->pool);
    idem_redis_pool_init(&redis->pool);
    memset(&redis->news, 0, sizeof(redis->news));
    *warning = survey.warning;
    *note = survey.note;
}
