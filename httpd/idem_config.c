/* idem_config.c: settings: create, merge, defaults.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_httpd.h"

#include <apr_strings.h>

#define DEFAULT_SIZE (64 * 1024 * 1024)
#define DEFAULT_TTL (apr_time_from_sec(24 * 60 * 60))
#define DEFAULT_RESPONSE_MAX (1024 * 1024)
#define DEFAULT_MARKER "Idempotent-Replayed"
#define DEFAULT_FIELD "Idempotency-Key"

idem_global_conf_t idem_global;

void idem_config_reset(void)
{
    memset(&idem_global, 0, sizeof(idem_global));
    idem_config_reset_store();
}

void idem_config_reset_store(void)
{
    idem_global.store_path = NULL;
    idem_global.store_path_set = 0;
    idem_global.store_size = DEFAULT_SIZE;
    idem_global.store_sync = 0;
    idem_global.provider = NULL;
    idem_global.provider_name = NULL;
    idem_global.provider_conf = NULL;
}

void *idem_config_create_srv(apr_pool_t *pool, server_rec *s)
{
    idem_srv_conf_t *srv = apr_pcalloc(pool, sizeof(*srv));

    (void)s;
    srv->quota = IDEM_UNSET;
    return srv;
}

void *idem_config_merge_srv(apr_pool_t *pool, void *vbase, void *vadd)
{
    const idem_srv_conf_t *base = vbase;
    const idem_srv_conf_t *add = vadd;
    idem_srv_conf_t *srv = apr_pcalloc(pool, sizeof(*srv));

    srv->quota = add->quota != IDEM_UNSET ? add->quota : base->quota;
    return srv;
}

void *idem_config_create_dir(apr_pool_t *pool, char *dir)
{
    idem_dir_conf_t *conf = apr_pcalloc(pool, sizeof(*conf));

    (void)dir;
    conf->engine = IDEM_UNSET;
    conf->require_key = IDEM_UNSET;
    conf->syntax = IDEM_UNSET;
    conf->rerun_unknown = IDEM_UNSET;
    conf->bypass = IDEM_UNSET;
    conf->key_len_max = IDEM_UNSET;
    conf->ttl = IDEM_UNSET;
    conf->response_max = IDEM_UNSET;
    conf->body_max = IDEM_UNSET;
    return conf;
}

#define MERGE(member)                                                         \
    conf->member = add->member != IDEM_UNSET ? add->member : base->member
#define MERGE_POINTER(member)                                                 \
    conf->member = add->member ? add->member : base->member

void *idem_config_merge_dir(apr_pool_t *pool, void *vbase, void *vadd)
{
    const idem_dir_conf_t *base = vbase;
    const idem_dir_conf_t *add = vadd;
    idem_dir_conf_t *conf = apr_pcalloc(pool, sizeof(*conf));
    int i;

    MERGE(engine);
    MERGE(require_key);
    MERGE(syntax);
    MERGE(rerun_unknown);
    MERGE(bypass);
    MERGE(key_len_max);
    MERGE(ttl);
    MERGE(response_max);
    MERGE(body_max);
    MERGE_POINTER(key_field);
    MERGE_POINTER(key_pattern);
    MERGE_POINTER(marker);
    MERGE_POINTER(problem_base);
    MERGE_POINTER(methods);
    MERGE_POINTER(keep);
    MERGE_POINTER(drop);
    MERGE_POINTER(principal);
    MERGE_POINTER(print);
    MERGE_POINTER(release);
    for (i = 0; i < IDEM_PROBLEM_COUNT; i++) {
        conf->problem_status[i] = add->problem_status[i]
                                      ? add->problem_status[i]
                                      : base->problem_status[i];
    }
    return conf;
}

/* --------------------------------------------------------------- defaults */

static apr_array_header_t *default_methods(apr_pool_t *pool)
{
    apr_array_header_t *methods = apr_array_make(pool, 2, sizeof(char *));

    APR_ARRAY_PUSH(methods, const char *) = "POST";
    APR_ARRAY_PUSH(methods, const char *) = "PATCH";
    return methods;
}

static apr_array_header_t *default_principal(apr_pool_t *pool)
{
    apr_array_header_t *parts =
        apr_array_make(pool, 2, sizeof(idem_principal_t));
    idem_principal_t part = { IDEM_PRINCIPAL_CREDENTIALS, NULL, NULL };

    APR_ARRAY_PUSH(parts, idem_principal_t) = part;
    part.kind = IDEM_PRINCIPAL_COOKIE;
    part.name = "PHPSESSID";
    APR_ARRAY_PUSH(parts, idem_principal_t) = part;
    return parts;
}

static void fill_pointers(idem_dir_conf_t *conf, apr_pool_t *pool)
{
    static idem_print_parts_t print = { 1, 1, 1, NULL };

    if (!conf->key_field) {
        conf->key_field = DEFAULT_FIELD;
    }
    if (!conf->marker) {
        conf->marker = DEFAULT_MARKER;
    }
    if (!conf->problem_base) {
        conf->problem_base = IDEM_DEFAULT_BASE;
    }
    if (!conf->methods) {
        conf->methods = default_methods(pool);
    }
    if (!conf->principal) {
        conf->principal = default_principal(pool);
    }
    if (!conf->print) {
        conf->print = &print;
    }
    if (!conf->release) {
        conf->release = apr_pcalloc(pool, sizeof(*conf->release));
        idem_status_set_default(conf->release);
    }
}

#define FILL(member, value)                                                   \
    conf->member = conf->member == IDEM_UNSET ? (value) : conf->member

const idem_dir_conf_t *idem_config_get(request_rec *r)
{
    const idem_dir_conf_t *set =
        ap_get_module_config(r->per_dir_config, &idempotency_module);
    idem_dir_conf_t *conf;

    if (set->engine != 1) {
        return set; /* nothing else is looked at: uncovered is the usual */
    }
    conf = apr_pmemdup(r->pool, set, sizeof(*set));
    FILL(require_key, 0);
    FILL(syntax, IDEM_KEY_LENIENT);
    FILL(rerun_unknown, 0);
    FILL(bypass, 0);
    FILL(key_len_max, IDEM_KEY_LEN_DEFAULT);
    FILL(ttl, DEFAULT_TTL);
    FILL(response_max, DEFAULT_RESPONSE_MAX);
    FILL(body_max, 0);
    fill_pointers(conf, r->pool);
    return conf;
}
