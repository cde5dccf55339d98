/* idem_directives.c: the table of directives, and those of a directory.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_audit.h"

#include <apr_strings.h>

#include "idem_value.h"

#define AT(member) ((void *)APR_OFFSETOF(idem_dir_conf_t, member))

static const char *set_syntax(cmd_parms *cmd, void *mconfig, const char *arg)
{
    idem_dir_conf_t *conf = mconfig;

    return idem_value_one_of(cmd, &conf->syntax, arg, "lenient", "strict");
}

static const char *set_unknown(cmd_parms *cmd, void *mconfig, const char *arg)
{
    idem_dir_conf_t *conf = mconfig;

    return idem_value_one_of(cmd, &conf->rerun_unknown, arg, "refuse",
                             "rerun");
}

static const char *set_failure(cmd_parms *cmd, void *mconfig, const char *arg)
{
    idem_dir_conf_t *conf = mconfig;

    return idem_value_one_of(cmd, &conf->bypass, arg, "refuse", "bypass");
}

/* httpd's own setter does not name the value. Of info. */
static const char *set_flag(cmd_parms *cmd, void *mconfig, const char *arg)
{
    int *flag = (int *)((char *)mconfig + (apr_size_t)cmd->info);

    return idem_value_one_of(cmd, flag, arg, "Off", "On");
}

static const char *set_ttl(cmd_parms *cmd, void *mconfig, const char *arg)
{
    idem_dir_conf_t *conf = mconfig;

    if (!idem_value_time(arg, &conf->ttl) || conf->ttl == 0) {
        return idem_value_bad(cmd, arg,
                              "is not a time above 0 and up to ten years",
                              "30s or 24h");
    }
    return NULL;
}

/* A time that may be none; of info. */
static const char *set_time(cmd_parms *cmd, void *mconfig, const char *arg)
{
    apr_interval_time_t *time =
        (apr_interval_time_t *)((char *)mconfig + (apr_size_t)cmd->info);

    if (!ap_cstr_casecmp(arg, "off")) {
        *time = 0;
        return NULL;
    }
    if (!idem_value_time(arg, time)) {
        return idem_value_bad(cmd, arg, "is not a time up to ten years",
                              "30s, 24h, or 0 for none");
    }
    return NULL;
}

static const char *set_delivery(cmd_parms *cmd, void *mconfig, const char *arg)
{
    idem_dir_conf_t *conf = mconfig;

    return idem_value_one_of(cmd, &conf->stream, arg, "complete", "stream");
}

static const char *set_response_max(cmd_parms *cmd, void *mconfig,
                                    const char *arg)
{
    idem_dir_conf_t *conf = mconfig;

    if (!idem_value_size(arg, &conf->response_max)
        || conf->response_max <= 0) {
        return idem_value_bad(cmd, arg, "is not a size above 0", "64K or 1M");
    }
    if (conf->response_max > idem_global.response_max) {
        idem_global.response_max = conf->response_max;
    }
    return NULL;
}

static const char *set_body_max(cmd_parms *cmd, void *mconfig, const char *arg)
{
    idem_dir_conf_t *conf = mconfig;

    if (!idem_value_size(arg, &conf->body_max)) {
        return idem_value_bad(cmd, arg, "is not a size",
                              "10M, or 0 for no limit");
    }
    return NULL;
}

static const char *add_method(cmd_parms *cmd, void *mconfig, const char *arg)
{
    static const char *const safe[] = { "GET",    "HEAD",    "OPTIONS",
                                        "TRACE",  "CONNECT", "PROPFIND",
                                        "REPORT", "SEARCH",  "QUERY" };
    idem_dir_conf_t *conf = mconfig;
    const char *known;
    apr_size_t i;

    for (i = 0; i < sizeof(safe) / sizeof(*safe); i++) {
        if (!ap_cstr_casecmp(arg, safe[i])) {
            return idem_value_bad(cmd, arg,
                                  "is never covered; name methods that change "
                                  "something",
                                  "POST PATCH");
        }
    }
    known = ap_method_name_of(cmd->pool, ap_method_number_of(arg));
    if (!known || strcmp(arg, known) != 0) {
        return idem_value_bad(cmd, arg, "is not the name of a method",
                              "POST or PUT");
    }
    if (!conf->methods) {
        conf->methods = apr_array_make(cmd->pool, 4, sizeof(char *));
    }
    APR_ARRAY_PUSH(conf->methods, const char *) = arg;
    return NULL;
}

static const char *add_source(cmd_parms *cmd, void *mconfig, const char *arg)
{
    idem_dir_conf_t *conf = mconfig;
    idem_source_t source;

    if (idem_source_parse(&source, arg) != APR_SUCCESS) {
        return idem_value_bad(cmd, arg, "is not a source of keys",
                              "header:Idempotency-Key query:ClientToken "
                              "form:idempotency_key json:/idempotency_key");
    }
    if (!conf->sources) {
        conf->sources = apr_array_make(cmd->pool, 2, sizeof(source));
    }
    APR_ARRAY_PUSH(conf->sources, idem_source_t) = source;
    return NULL;
}

static const char *set_key_len_max(cmd_parms *cmd, void *mconfig,
                                   const char *arg)
{
    idem_dir_conf_t *conf = mconfig;
    apr_off_t len;

    if (!idem_value_size(arg, &len) || len < 1 || len > IDEM_KEY_LEN_MAX) {
        return idem_value_bad(cmd, arg, "is not a number from 1 to 1024",
                              "255");
    }
    conf->key_len_max = (int)len;
    return NULL;
}

static const char *set_key_pattern(cmd_parms *cmd, void *mconfig,
                                   const char *arg)
{
    idem_dir_conf_t *conf = mconfig;

    conf->key_pattern = ap_pregcomp(cmd->pool, arg, AP_REG_EXTENDED);
    if (!conf->key_pattern) {
        return idem_value_bad(cmd, arg, "is not a regular expression",
                              "^[0-9a-f-]{36}$");
    }
    return NULL;
}

static const char *add_print(cmd_parms *cmd, void *mconfig, const char *arg)
{
    idem_dir_conf_t *conf = mconfig;

    if (!conf->print) {
        conf->print = apr_pcalloc(cmd->pool, sizeof(*conf->print));
    }
    if (!strcmp(arg, "method")) {
        conf->print->method = 1;
    }
    else if (!strcmp(arg, "uri")) {
        conf->print->uri = 1;
    }
    else if (!strcmp(arg, "body")) {
        conf->print->body = 1;
    }
    else if (!strcmp(arg, "json")) {
        conf->print->body = 1;
        conf->print->kinds |= IDEM_FINGERPRINT_JSON;
    }
    else if (!strcmp(arg, "form")) {
        conf->print->body = 1;
        conf->print->kinds |= IDEM_FINGERPRINT_FORM;
    }
    else if (!strncmp(arg, "header:", 7) && idem_text_is_token(arg + 7)) {
        if (!conf->print->headers) {
            conf->print->headers =
                apr_array_make(cmd->pool, 2, sizeof(char *));
        }
        APR_ARRAY_PUSH(conf->print->headers, const char *) = arg + 7;
    }
    else if (strcmp(arg, "none") != 0) {
        return idem_value_bad(
            cmd, arg, "is not a part of a request",
            "method uri body json form header:X-Api-Version, or none");
    }
    return NULL;
}

static const char *add_release(cmd_parms *cmd, void *mconfig, const char *arg)
{
    idem_dir_conf_t *conf = mconfig;
    apr_off_t status;
    int i;

    if (!conf->release) {
        conf->release = apr_pcalloc(cmd->pool, sizeof(*conf->release));
    }
    if (!ap_cstr_casecmp(arg, "none")) {
        return NULL;
    }
    if (!ap_cstr_casecmp(arg, "5xx")) {
        for (i = 500; i < 600; i++) {
            idem_status_set_add(conf->release, i);
        }
        return NULL;
    }
    if (!idem_value_size(arg, &status) || status < 400 || status > 599) {
        return idem_value_bad(cmd, arg, "is not a status from 400 to 599",
                              "429 503, 5xx or none");
    }
    idem_status_set_add(conf->release, (int)status);
    return NULL;
}

static const char *add_field(cmd_parms *cmd, void *mconfig, const char *arg)
{
    apr_array_header_t **fields =
        (apr_array_header_t **)((char *)mconfig + (apr_size_t)cmd->info);

    if (!idem_text_is_token(arg)) {
        return idem_value_bad(cmd, arg, "is not a field name", "X-Request-Id");
    }
    if (!*fields) {
        *fields = apr_array_make(cmd->pool, 4, sizeof(char *));
    }
    APR_ARRAY_PUSH(*fields, const char *) = arg;
    return NULL;
}

/* Only a field that nothing else gives a meaning to may be the marker:
 * every occurrence of it is removed from first answers. */
static const char *set_marker(cmd_parms *cmd, void *mconfig, const char *arg)
{
    idem_dir_conf_t *conf = mconfig;

    if (!ap_cstr_casecmp(arg, "none")) {
        conf->marker = "";
        return NULL;
    }
    if (!idem_text_is_token(arg) || idem_record_is_hop(arg)
        || !ap_cstr_casecmp(arg, "Content-Type")
        || !ap_cstr_casecmp(arg, "Location")) {
        return idem_value_bad(cmd, arg,
                              "cannot mark a replay; take a field name of "
                              "your own",
                              "Idempotent-Replayed, or none");
    }
    conf->marker = arg;
    return NULL;
}

static const char *set_problem_base(cmd_parms *cmd, void *mconfig,
                                    const char *arg)
{
    idem_dir_conf_t *conf = mconfig;
    const char *p;

    for (p = arg; *p; p++) {
        if (*p <= ' ' || *p >= 0x7f || strchr("\"<>\\^`{|}", *p)) {
            break;
        }
    }
    if (*p || (strncmp(arg, "http://", 7) && strncmp(arg, "https://", 8))
        || !*(strstr(arg, "://") + 3)) {
        return idem_value_bad(cmd, arg, "is not an absolute URL",
                              "https://api.example.com/problems");
    }
    /* Types are base + "/" + word. */
    conf->problem_base =
        apr_pstrmemdup(cmd->pool, arg, (apr_size_t)(p - arg) - (p[-1] == '/'));
    return NULL;
}

static const char *set_problem_status(cmd_parms *cmd, void *mconfig,
                                      const char *word, const char *arg)
{
    idem_dir_conf_t *conf = mconfig;
    idem_problem_t problem = idem_problem_parse(word);
    apr_off_t status;

    if (problem == IDEM_PROBLEM_COUNT) {
        return idem_value_bad(cmd, word, "is not a problem type",
                              "key-reused 409 or in-progress 423");
    }
    if (!idem_value_size(arg, &status) || status < 400 || status > 599) {
        return idem_value_bad(cmd, arg, "is not a status from 400 to 599",
                              "key-reused 409");
    }
    conf->problem_status[problem] = (int)status;
    return NULL;
}

static const char *parse_expr(cmd_parms *cmd, idem_principal_t *part,
                              const char *arg)
{
    const char *err = ap_check_cmd_context(cmd, NOT_IN_HTACCESS);

    if (err) {
        return apr_psprintf(cmd->pool,
                            "%s: '%s' is not allowed in "
                            ".htaccess; use header:NAME or cookie:NAME",
                            cmd->cmd->name, arg);
    }
    part->kind = IDEM_PRINCIPAL_EXPR;
    part->expr = ap_expr_parse_cmd(
        cmd, arg + 5, AP_EXPR_FLAG_STRING_RESULT | AP_EXPR_FLAG_DONT_VARY,
        &err, NULL);
    if (err) {
        return apr_psprintf(cmd->pool,
                            "%s: '%s': %s; a value that works is "
                            "\"expr:%%{env:TENANT}\"",
                            cmd->cmd->name, arg, err);
    }
    part->name = arg + 5;
    return NULL;
}

static const char *add_principal(cmd_parms *cmd, void *mconfig,
                                 const char *arg)
{
    idem_dir_conf_t *conf = mconfig;
    idem_principal_t part = { IDEM_PRINCIPAL_CREDENTIALS, NULL, NULL };
    const char *err;

    if (!strncmp(arg, "expr:", 5)) {
        err = parse_expr(cmd, &part, arg);
        if (err) {
            return err;
        }
    }
    else if (!strncmp(arg, "cookie:", 7) && idem_text_is_token(arg + 7)) {
        part.kind = IDEM_PRINCIPAL_COOKIE;
        part.name = arg + 7;
    }
    else if (!strncmp(arg, "header:", 7) && idem_text_is_token(arg + 7)) {
        part.kind = IDEM_PRINCIPAL_HEADER;
        part.name = arg + 7;
    }
    else if (!strcmp(arg, "ip")) {
        part.kind = IDEM_PRINCIPAL_IP;
    }
    else if (!strcmp(arg, "tls")) {
        part.kind = IDEM_PRINCIPAL_TLS;
    }
    else if (strcmp(arg, "credentials") != 0) {
        return idem_value_bad(
            cmd, arg, "is not a part of a principal",
            "credentials cookie:PHPSESSID header:X-Account ip tls");
    }
    if (!conf->principal) {
        conf->principal =
            apr_array_make(cmd->pool, 4, sizeof(idem_principal_t));
    }
    APR_ARRAY_PUSH(conf->principal, idem_principal_t) = part;
    return NULL;
}

#define EVERYWHERE OR_FILEINFO
#define NOT_HTACCESS (RSRC_CONF | ACCESS_CONF)

const command_rec idem_config_cmds[] = {
    AP_INIT_TAKE_ARGV("IdempotencyStore", idem_directives_store, NULL,
                      RSRC_CONF,
                      "where records are kept; default shm size=64M"),
    AP_INIT_TAKE1("IdempotencyQuota", idem_directives_quota, NULL, RSRC_CONF,
                  "percent of the store for a virtual host; default none"),
    AP_INIT_TAKE12("IdempotencyAuditLog", idem_audit_set, NULL, RSRC_CONF,
                   "file or |program, keys=on for key texts; default none"),
    AP_INIT_TAKE1("IdempotencyAdmin", idem_directives_admin, NULL,
                  NOT_HTACCESS,
                  "On to let the status handler show all and release keys; "
                  "default Off"),
    AP_INIT_TAKE1("IdempotencyTTL", set_ttl, NULL, NOT_HTACCESS,
                  "how long an answer can be replayed; default 24h"),
    AP_INIT_TAKE1("IdempotencyMaxWaiters", idem_directives_waiters, NULL,
                  RSRC_CONF,
                  "requests that wait at once; default 25% of the workers"),
    AP_INIT_TAKE1("IdempotencyTombstone", set_time, AT(tombstone),
                  NOT_HTACCESS,
                  "how long a late key is told after the TTL; default 0"),
    AP_INIT_TAKE1("IdempotencyWait", set_time, AT(wait), NOT_HTACCESS,
                  "how long a duplicate waits for the first; default 0"),
    AP_INIT_TAKE1("IdempotencyMaxResponse", set_response_max, NULL,
                  NOT_HTACCESS, "longest answer that is kept; default 1M"),
    AP_INIT_TAKE1("IdempotencyMaxRequestBody", set_body_max, NULL,
                  NOT_HTACCESS,
                  "longest body of a keyed request; default 0: no limit"),
    AP_INIT_TAKE1("IdempotencyStoreFailure", set_failure, NULL, NOT_HTACCESS,
                  "refuse or bypass if the store fails; default refuse"),
    AP_INIT_TAKE1("IdempotencyEngine", set_flag, AT(engine), EVERYWHERE,
                  "On to protect requests here; default Off"),
    AP_INIT_ITERATE("IdempotencyMethods", add_method, NULL, EVERYWHERE,
                    "covered methods; default POST PATCH"),
    AP_INIT_ITERATE("IdempotencyKeySource", add_source, NULL, EVERYWHERE,
                    "where the key is; default header:Idempotency-Key"),
    AP_INIT_TAKE1("IdempotencyKeySyntax", set_syntax, NULL, EVERYWHERE,
                  "lenient or strict (quoted keys only); default lenient"),
    AP_INIT_TAKE1("IdempotencyKeyMaxLength", set_key_len_max, NULL, EVERYWHERE,
                  "longest key, up to 1024; default 255"),
    AP_INIT_TAKE1("IdempotencyKeyPattern", set_key_pattern, NULL, EVERYWHERE,
                  "regular expression that keys match; default none"),
    AP_INIT_TAKE1("IdempotencyMaxKeyAge", set_time, AT(key_age_max),
                  EVERYWHERE,
                  "how old a key with a time in it may be; default off"),
    AP_INIT_TAKE1("IdempotencyRequireKey", set_flag, AT(require_key),
                  EVERYWHERE, "On to refuse requests without; default Off"),
    AP_INIT_ITERATE("IdempotencyFingerprint", add_print, NULL, EVERYWHERE,
                    "what has to be equal; default method uri body"),
    AP_INIT_ITERATE("IdempotencyReleaseStatus", add_release, NULL, EVERYWHERE,
                    "statuses that free the key; default 401 407 408 409 "
                    "421 423 425 429 503"),
    AP_INIT_TAKE1("IdempotencyOutcomeUnknown", set_unknown, NULL, EVERYWHERE,
                  "refuse or rerun unknown outcomes; default refuse"),
    AP_INIT_TAKE1("IdempotencyDelivery", set_delivery, NULL, EVERYWHERE,
                  "complete, or stream: send while recording; default "
                  "complete"),
    AP_INIT_ITERATE("IdempotencyKeepHeader", add_field, AT(keep), EVERYWHERE,
                    "fields to record too, such as Set-Cookie"),
    AP_INIT_ITERATE("IdempotencyDropHeader", add_field, AT(drop), EVERYWHERE,
                    "fields not to record"),
    AP_INIT_TAKE1("IdempotencyReplayMarker", set_marker, NULL, EVERYWHERE,
                  "field of replays, or none; default Idempotent-Replayed"),
    AP_INIT_TAKE1("IdempotencyProblemBase", set_problem_base, NULL, EVERYWHERE,
                  "URL before problem types; default " IDEM_DEFAULT_BASE),
    AP_INIT_TAKE2("IdempotencyProblemStatus", set_problem_status, NULL,
                  EVERYWHERE, "problem type and its status"),
    AP_INIT_ITERATE("IdempotencyPrincipal", add_principal, NULL, EVERYWHERE,
                    "whose key it is; default credentials "
                    "cookie:PHPSESSID"),
    { NULL }
};
