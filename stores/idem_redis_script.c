/* idem_redis_script.c: the steps as scripts, and how they are called.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One key holds a record, HEAD bytes and then its body:
 *
 *     at  len
 *      0    1  version, 1
 *      1    1  state: x executing, d done, n not retained, u unknown
 *      2    1  body: - none or as it is, z deflated; in the second key:
 *              p as it is, q deflated
 *      3   32  fingerprint
 *     35   16  proof: owner and fence
 *     51   12  tail, milliseconds
 *     63   14  created, milliseconds of Redis' clock: only shown
 *     77   10  length of the body as it was
 *     87    8  digest of the virtual host
 *
 * No time is compared but the key's own time to live, which Redis counts: no
 * machine's clock has a part in it. The life of a key ends in its tail. Of
 * one that executes the part before is the lease, and the tail is how long it
 * is unknown; of one that is done, the part before is how long it is
 * replayed, and the tail is the tombstone. Where there is a tombstone the
 * body has a key of its own, which goes earlier.
 *
 * Written for Redis 5 and later. Numbers are kept as decimal text, so that
 * redis-cli shows them.
 */
#include "idem_redis.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#include <openssl/evp.h>

/* Redis 7: a script so marked may write though memory is short. */
#define ALLOW_OOM "#!lua flags=allow-oom\n"

/* In each script: h is the head, or empty. */
#define READ_HEAD "local h=redis.call('GETRANGE',KEYS[1],0,94)\n"
/* Of a record that executes: is the lease over? */
#define IS_LATE "redis.call('PTTL',KEYS[1])<=tonumber(h:sub(52,63))"

/* ARGV: fingerprint, proof, tail, lease + tail, rerun, host. A claim that
 * finds itself made was sent twice. */
static const char claim_text[] =
    READ_HEAD "if h~='' then\n"
              " if #h~=95 or h:sub(1,1)~='1' then return {'bad'} end\n"
              " if h:sub(4,35)~=ARGV[1] then return {'reused'} end\n"
              " local s=h:sub(2,2)\n"
              " if s=='x' then\n"
              "  if h:sub(36,51)==ARGV[2] then\n"
              "   redis.call('PEXPIRE',KEYS[1],ARGV[4])\n"
              "   return {'new'}\n"
              "  end\n"
              "  if not (" IS_LATE ") then return {'running'} end\n"
              "  s='u'\n"
              " end\n"
              " if s~='u' then\n"
              "  local tail=tonumber(h:sub(52,63))\n"
              "  if tail>0 and redis.call('PTTL',KEYS[1])<=tail then\n"
              "   return {'expired'}\n"
              "  end\n"
              "  local f=h:sub(3,3)\n"
              "  local b\n"
              "  if f=='p' or f=='q' then b=redis.call('GET',KEYS[2])\n"
              "  else b=redis.call('GETRANGE',KEYS[1],95,-1) end\n"
              "  if not b then return {'damaged'} end\n"
              "  return {s,f,h:sub(78,87),b}\n"
              " end\n"
              " if ARGV[5]~='1' then return {'unknown'} end\n"
              "end\n"
              "local t=redis.call('TIME')\n"
              "redis.call('SET',KEYS[1],'1x-'..ARGV[1]..ARGV[2]..ARGV[3]..\n"
              " string.format('%014.0f',t[1]*1000+math.floor(t[2]/1000))..\n"
              " '0000000000'..ARGV[6],'PX',ARGV[4])\n"
              "return {'new'}\n";

/* ARGV: proof, state, body form, tail, ttl, ttl + tail, length, again, body.
 * A result that finds itself stored was sent twice. */
static const char commit_text[] = READ_HEAD
    "if #h~=95 or h:sub(36,51)~=ARGV[1] then return 0 end\n"
    "local s=h:sub(2,2)\n"
    "if s~='x' then\n"
    " if ARGV[8]=='1' and s==ARGV[2] then return 1 end\n"
    " return 0\n"
    "end\n"
    "if " IS_LATE " then return -1 end\n"
    "local n='1'..ARGV[2]..ARGV[3]..h:sub(4,51)..ARGV[4]..h:sub(64,77)..\n"
    " ARGV[7]..h:sub(88,95)\n"
    "if ARGV[3]=='p' or ARGV[3]=='q' then\n"
    " redis.call('SET',KEYS[2],ARGV[9],'PX',ARGV[5])\n"
    "else n=n..ARGV[9] end\n"
    "redis.call('SET',KEYS[1],n,'PX',ARGV[6])\n"
    "return 1\n";

/* ARGV: proof, again. Sent twice, and nothing there: the first one did it. */
static const char release_text[] =
    READ_HEAD "if h=='' and ARGV[2]=='1' then return 1 end\n"
              "if #h~=95 or h:sub(36,51)~=ARGV[1] or h:sub(2,2)~='x' then\n"
              " return 0\n"
              "end\n"
              "if " IS_LATE " then return -1 end\n"
              "redis.call('DEL',KEYS[1])\n"
              "return 1\n";

/* ARGV: proof. The tail of the claim is how long it is unknown. */
static const char abandon_text[] =
    READ_HEAD "if #h~=95 or h:sub(36,51)~=ARGV[1] or h:sub(2,2)~='x' then\n"
              " return 0\n"
              "end\n"
              "if " IS_LATE " then return -1 end\n"
              "redis.call('SETRANGE',KEYS[1],1,'u')\n"
              "redis.call('PEXPIRE',KEYS[1],tonumber(h:sub(52,63)))\n"
              "return 1\n";

/* ARGV: proof, lease + tail. */
static const char renew_text[] =
    READ_HEAD "if #h~=95 or h:sub(36,51)~=ARGV[1] or h:sub(2,2)~='x' then\n"
              " return 0\n"
              "end\n"
              "if " IS_LATE " then return -1 end\n"
              "redis.call('PEXPIRE',KEYS[1],ARGV[2])\n"
              "return 1\n";

/* For administrators: whatever it is. */
static const char forget_text[] = "return redis.call('DEL',KEYS[1],KEYS[2])\n";

/* ARGV: 1 for the body too. Ages and times left are Redis' own. */
static const char look_text[] = READ_HEAD
    "if #h~=95 or h:sub(1,1)~='1' then return {} end\n"
    "local t=redis.call('TIME')\n"
    "local age=t[1]*1000+math.floor(t[2]/1000)-tonumber(h:sub(64,77))\n"
    "local left=redis.call('PTTL',KEYS[1])\n"
    "local f=h:sub(3,3)\n"
    "local b=false\n"
    "if ARGV[1]=='1' then\n"
    " if f=='p' or f=='q' then b=redis.call('GET',KEYS[2])\n"
    " else b=redis.call('GETRANGE',KEYS[1],95,-1) end\n"
    "end\n"
    "return {h:sub(2,2),f,h:sub(4,35),tonumber(h:sub(52,63)),age,\n"
    " tonumber(h:sub(78,87)),h:sub(88,95),left,b}\n";

static const char *const texts[IDEM_REDIS_SCRIPTS] = {
    claim_text, commit_text, release_text, abandon_text,
    renew_text, forget_text, look_text,
};

/* ------------------------------------------------------------------ names */

/* A script goes by the SHA-1 of its text: Redis asks for it. */
static apr_status_t name_code(idem_redis_code_t *code)
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned int len = 0;
    unsigned int i;

    code->len = strlen(code->text);
    if (EVP_Digest(code->text, code->len, sum, &len, EVP_sha1(), NULL) != 1
        || len != 20) {
        return APR_EGENERAL;
    }
    for (i = 0; i < len; i++) {
        apr_snprintf(code->sha + 2 * i, 3, "%02x", sum[i]);
    }
    return APR_SUCCESS;
}

apr_status_t idem_redis_code_init(idem_redis_store_t *redis, apr_pool_t *pool)
{
    apr_status_t rv = APR_SUCCESS;
    int i;

    for (i = 0; rv == APR_SUCCESS && i < IDEM_REDIS_SCRIPTS; i++) {
        idem_redis_code_t *code = redis->code[i];

        code[0].text = texts[i];
        code[1].text = texts[i];
        if (i == IDEM_REDIS_COMMIT || i == IDEM_REDIS_ABANDON) {
            code[1].text = apr_pstrcat(pool, ALLOW_OOM, texts[i], NULL);
        }
        rv = name_code(&code[0]);
        if (rv == APR_SUCCESS) {
            rv = name_code(&code[1]);
        }
    }
    return rv;
}

void idem_redis_keys(idem_redis_keys_t *keys, const idem_redis_store_t *redis,
                     const idem_digest_t *id)
{
    static const char digits[] = "0123456789abcdef";
    apr_size_t n = strlen(redis->conf->prefix);
    int i;

    memcpy(keys->record, redis->conf->prefix, n);
    keys->record[n++] = '{';
    for (i = 0; i < IDEM_DIGEST_LEN; i++) {
        keys->record[n++] = digits[id->bytes[i] >> 4];
        keys->record[n++] = digits[id->bytes[i] & 15];
    }
    keys->record[n++] = '}';
    keys->record[n] = '\0';
    keys->len = n;
    memcpy(keys->body, keys->record, n);
    memcpy(keys->body + n, "b", 2);
}

apr_uint64_t idem_redis_ms(apr_interval_time_t t)
{
    return (apr_uint64_t)(t + 999) / 1000;
}

/* ------------------------------------------------------------------ calls */

void idem_redis_call_init(idem_redis_call_t *call,
                          const idem_redis_store_t *redis,
                          idem_redis_script_t script, const idem_digest_t *id)
{
    memset(call, 0, sizeof(*call));
    call->script = script;
    idem_redis_keys(&call->keys, redis, id);
}

void idem_redis_arg(idem_redis_call_t *call, const void *data, apr_size_t len)
{
    call->argv[call->argc] = data;
    call->len[call->argc] = len;
    call->argc++;
}

apr_status_t idem_redis_queue_call(const idem_redis_store_t *redis,
                                   idem_redis_conn_t *conn,
                                   const idem_redis_call_t *call, int whole)
{
    const idem_redis_code_t *code =
        &redis->code[call->script][conn->allow_oom ? 1 : 0];
    const char *argv[5 + IDEM_REDIS_ARGS_MAX] = {
        whole ? "EVAL" : "EVALSHA", whole ? code->text : code->sha, "2",
        call->keys.record, call->keys.body
    };
    apr_size_t len[5 + IDEM_REDIS_ARGS_MAX] = { strlen(argv[0]),
                                                whole ? code->len : 40, 1,
                                                call->keys.len,
                                                call->keys.len + 1 };
    int i;

    for (i = 0; i < call->argc; i++) {
        argv[5 + i] = call->argv[i];
        len[5 + i] = call->len[i];
    }
    return idem_redis_queue(conn, 5 + call->argc, argv, len);
}

static int is_error(const redisReply *reply, const char *word)
{
    return reply->type == REDIS_REPLY_ERROR
           && !strncmp(reply->str, word, strlen(word));
}

static void tell_system(idem_redis_store_t *redis, apr_status_t rv)
{
    char why[100];

    idem_redis_failed(redis, apr_strerror(rv, why, sizeof(why)));
}

/* On one connection. Redis forgets scripts when it restarts, is told to, or
 * another one takes over: sent whole, they are known again. */
apr_status_t idem_redis_run_on(idem_redis_store_t *redis,
                               idem_redis_conn_t *conn, redisReply **reply,
                               const idem_redis_call_t *call,
                               apr_time_t deadline)
{
    apr_status_t rv = idem_redis_queue_call(redis, conn, call, 0);

    if (rv == APR_SUCCESS) {
        rv = idem_redis_reply(conn, reply, deadline);
    }
    if (rv == APR_SUCCESS && is_error(*reply, "NOSCRIPT")) {
        freeReplyObject(*reply);
        *reply = NULL;
        rv = idem_redis_queue_call(redis, conn, call, 1);
        if (rv == APR_SUCCESS) {
            rv = idem_redis_reply(conn, reply, deadline);
        }
    }
    if (rv != APR_SUCCESS) {
        tell_system(redis, rv);
    }
    else if ((*reply)->type == REDIS_REPLY_ERROR) {
        rv = idem_redis_status_of(*reply);
        idem_redis_failed(redis, (*reply)->str);
        freeReplyObject(*reply);
        *reply = NULL;
    }
    return rv;
}

/* Did the script write? Else there is nothing to wait for. */
static int is_written(const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_INTEGER) {
        return reply->integer > 0;
    }
    return reply->type == REDIS_REPLY_ARRAY && reply->elements == 1
           && reply->element[0]->type == REDIS_REPLY_STRING
           && !strcmp(reply->element[0]->str, "new");
}

/* Was it refused before anything was done? Then another Redis may be asked
 * whatever the call is. */
static int is_refused(apr_status_t rv)
{
    return APR_STATUS_IS_EACCES(rv) || APR_STATUS_IS_EBUSY(rv)
           || APR_STATUS_IS_ENOSPC(rv) || APR_STATUS_IS_INCOMPLETE(rv)
           || rv == APR_FROM_OS_ERROR(EROFS);
}

/* An idle connection can have died without a sign, so one more try is made
 * on another one if Redis closed it; and if a fail-over made it a replica.
 * After a time-out no time is left for that. */
static int is_worth_again(const idem_redis_store_t *redis, apr_status_t rv)
{
    return APR_STATUS_IS_EOF(rv)
           || (redis->conf->master && rv == APR_FROM_OS_ERROR(EROFS));
}

apr_status_t idem_redis_run(idem_redis_store_t *redis, redisReply **reply,
                            idem_redis_call_t *call)
{
    apr_time_t deadline = idem_redis_uptime() + redis->conf->timeout;
    idem_redis_conn_t *conn;
    apr_status_t rv;
    int tries;

    *reply = NULL;
    call->maybe = 0;
    for (tries = 0; tries < 2; tries++) {
        rv = idem_redis_take(&conn, redis, deadline);
        if (rv != APR_SUCCESS) {
            return rv;
        }
        if (call->maybe && call->again_as) {
            call->argv[call->again_as - 1] = "1";
        }
        rv = idem_redis_run_on(redis, conn, reply, call, deadline);
        if (rv == APR_SUCCESS && redis->conf->replicas > 0 && call->wait
            && is_written(*reply)) {
            call->acks = idem_redis_wait(redis, conn);
            idem_redis_give(redis, conn, call->acks);
            return rv;
        }
        idem_redis_give(redis, conn, rv);
        if (rv == APR_SUCCESS) {
            return rv;
        }
        call->maybe |= !is_refused(rv);
        if (!is_worth_again(redis, rv)) {
            break;
        }
    }
    return rv;
}

apr_status_t idem_redis_wait(idem_redis_store_t *redis,
                             idem_redis_conn_t *conn)
{
    const idem_redis_conf_t *conf = redis->conf;
    char replicas[16];
    char ms[24];
    const char *argv[3] = { "WAIT", replicas, ms };
    apr_size_t len[3];
    redisReply *reply;
    apr_status_t rv;

    apr_snprintf(replicas, sizeof(replicas), "%d", conf->replicas);
    apr_snprintf(ms, sizeof(ms), "%" APR_UINT64_T_FMT,
                 idem_redis_ms(conf->timeout));
    len[0] = 4;
    len[1] = strlen(replicas);
    len[2] = strlen(ms);
    rv = idem_redis_queue(conn, 3, argv, len);
    if (rv == APR_SUCCESS) {
        /* Redis' own time-out comes first, if it is alive. */
        rv = idem_redis_reply(conn, &reply,
                              idem_redis_uptime() + 2 * conf->timeout);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (reply->type != REDIS_REPLY_INTEGER) {
        rv = idem_redis_status_of(reply);
    }
    else if (reply->integer < conf->replicas) {
        idem_redis_failed(redis, "too few replicas acknowledged in time");
        rv = APR_INCOMPLETE;
    }
    freeReplyObject(reply);
    return rv;
}
