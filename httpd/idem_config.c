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

/* What a directory gets that sets nothing; of the pool of the configuration.
 */
static idem_dir_conf_t defaults;

static idem_dir_conf_t nothing; /* as create makes it */

static void make_defaults(apr_pool_t *pconf);
static void unset_all(idem_dir_conf_t *conf);

void idem_config_reset(apr_pool_t *pconf)
{
    memset(&idem_global, 0, sizeof(idem_global));
    idem_config_reset_store();
    idem_global.waiters_max = IDEM_UNSET;
    make_defaults(pconf);
    unset_all(&nothing);
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

static void unset_all(idem_dir_conf_t *conf)
{
    memset(conf, 0, sizeof(*conf));
    conf->engine = IDEM_UNSET;
    conf->admin = IDEM_UNSET;
    conf->require_key = IDEM_UNSET;
    conf->syntax = IDEM_UNSET;
    conf->rerun_unknown = IDEM_UNSET;
    conf->bypass = IDEM_UNSET;
    conf->stream = IDEM_UNSET;
    conf->key_len_max = IDEM_UNSET;
    conf->key_age_max = IDEM_UNSET;
    conf->ttl = IDEM_UNSET;
    conf->tombstone = IDEM_UNSET;
    conf->wait = IDEM_UNSET;
    conf->response_max = IDEM_UNSET;
    conf->body_max = IDEM_UNSET;
}

void *idem_config_create_dir(apr_pool_t *pool, char *dir)
{
    idem_dir_conf_t *conf = apr_palloc(pool, sizeof(*conf));

    (void)dir;
    unset_all(conf);
    return conf;
}

#define MERGE(member)                                                         \
    conf->member = add->member != IDEM_UNSET ? add->member : base->member
#define MERGE_POINTER(member)                                                 \
    conf->member = add->member ? add->member : base->member

static void merge(idem_dir_conf_t *conf, const idem_dir_conf_t *base,
                  const idem_dir_conf_t *add)
{
    int i;

    MERGE(engine);
    MERGE(admin);
    MERGE(require_key);
    MERGE(syntax);
    MERGE(rerun_unknown);
    MERGE(bypass);
    MERGE(stream);
    MERGE(key_len_max);
    MERGE(key_age_max);
    MERGE(ttl);
    MERGE(tombstone);
    MERGE(wait);
    MERGE(response_max);
    MERGE(body_max);
    MERGE_POINTER(key_pattern);
    MERGE_POINTER(marker);
    MERGE_POINTER(problem_base);
    MERGE_POINTER(methods);
    MERGE_POINTER(sources);
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
}

/* httpd merges with each request, and most sections say nothing of this
 * module: nothing is to be made for these. */
void *idem_config_merge_dir(apr_pool_t *pool, void *base, void *add)
{
    idem_dir_conf_t *conf;

    if (!memcmp(add, &nothing, sizeof(nothing))) {
        return base;
    }
    if (!memcmp(base, &nothing, sizeof(nothing))) {
        return add;
    }
    conf = apr_palloc(pool, sizeof(*conf));
    merge(conf, base, add);
    return conf;
}

/* --------------------------------------------------------------- defaults */

static void make_arrays(idem_dir_conf_t *conf, apr_pool_t *pconf)
{
    static const idem_principal_t cookie = { IDEM_PRINCIPAL_COOKIE,
                                             "PHPSESSID", NULL };
    static const idem_principal_t credentials = { IDEM_PRINCIPAL_CREDENTIALS,
                                                  NULL, NULL };
    static const idem_source_t field = { IDEM_SOURCE_HEADER, DEFAULT_FIELD };

    conf->methods = apr_array_make(pconf, 2, sizeof(char *));
    APR_ARRAY_PUSH(conf->methods, const char *) = "POST";
    APR_ARRAY_PUSH(conf->methods, const char *) = "PATCH";
    conf->sources = apr_array_make(pconf, 1, sizeof(field));
    APR_ARRAY_PUSH(conf->sources, idem_source_t) = field;
    conf->principal = apr_array_make(pconf, 2, sizeof(cookie));
    APR_ARRAY_PUSH(conf->principal, idem_principal_t) = credentials;
    APR_ARRAY_PUSH(conf->principal, idem_principal_t) = cookie;
}

static void make_defaults(apr_pool_t *pconf)
{
    static idem_print_parts_t print = { 1, 1, 1, 0, NULL };

    memset(&defaults, 0, sizeof(defaults));
    defaults.syntax = IDEM_KEY_LENIENT;
    defaults.key_len_max = IDEM_KEY_LEN_DEFAULT;
    defaults.ttl = DEFAULT_TTL;
    defaults.response_max = DEFAULT_RESPONSE_MAX;
    defaults.marker = DEFAULT_MARKER;
    defaults.problem_base = IDEM_DEFAULT_BASE;
    defaults.print = &print;
    defaults.release = apr_pcalloc(pconf, sizeof(*defaults.release));
    idem_status_set_default(defaults.release);
    make_arrays(&defaults, pconf);
}

/* Kept with the request: a rewrite may give it other settings. */
typedef struct {
    const idem_dir_conf_t *set;
    idem_dir_conf_t conf;
} whole_t;

/* The usual request pays for this and no more. */
static int is_for_us(request_rec *r, const idem_dir_conf_t *set)
{
    if (set->engine != 1
        || !idem_request_is_covered(r, set->methods ? set->methods
                                                    : defaults.methods)) {
        return 0;
    }
    return set->sources || set->require_key == 1
           || apr_table_get(r->headers_in, DEFAULT_FIELD);
}

const idem_dir_conf_t *idem_config_get(request_rec *r)
{
    const idem_dir_conf_t *set =
        ap_get_module_config(r->per_dir_config, &idempotency_module);
    whole_t *whole;

    if (!is_for_us(r, set)) {
        return NULL;
    }
    whole = ap_get_module_config(r->request_config, &idempotency_module);
    if (!whole || whole->set != set) {
        whole = apr_palloc(r->pool, sizeof(*whole));
        whole->set = set;
        merge(&whole->conf, &defaults, set);
        ap_set_module_config(r->request_config, &idempotency_module, whole);
    }
    return &whole->conf;
}

const apr_array_header_t *idem_config_principal(const server_rec *s)
{
    const idem_dir_conf_t *set =
        ap_get_module_config(s->lookup_defaults, &idempotency_module);

    return set && set->principal ? set->principal : defaults.principal;
}
