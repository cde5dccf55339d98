/* idem_admin_find.c: which virtual host, and which records, are meant.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_admin.h"

#include <apr_lib.h>
#include <apr_strings.h>

#include "http_main.h"

#include "idem_principal.h"
#include "idem_value.h"

#define NAMES_MAX 20 /* virtual hosts that a refusal names */
#define SHORT_LEN 8  /* bytes of an id that log lines show */
#define BATCH 256

static const char *const lives[] = { "executing", "done", "not-retained",
                                     "unknown", "expired" };

const char *idem_admin_life_str(idem_life_t life)
{
    return (int)life >= 0 && (int)life <= IDEM_LIFE_EXPIRED ? lives[life] : "";
}

const char *idem_admin_hex(const idem_digest_t *id, apr_pool_t *pool)
{
    char *text = apr_palloc(pool, 2 * IDEM_DIGEST_LEN + 1);

    ap_bin2hex(id->bytes, IDEM_DIGEST_LEN, text);
    return text;
}

const char *idem_admin_label(apr_uint32_t host)
{
    const idem_srv_conf_t *srv = idem_view_host(host);

    return srv ? srv->label : NULL;
}

static int refuse(idem_admin_t *admin, const char *detail, const char *works)
{
    idem_page_error(admin->r, HTTP_BAD_REQUEST, detail, works);
    return DONE;
}

/* ------------------------------------------------------------------ hosts */

static const idem_srv_conf_t *conf_of(const server_rec *s)
{
    return ap_get_module_config(s->module_config, &idempotency_module);
}

static int has_alias(const server_rec *s, const char *name)
{
    int i;

    for (i = 0; s->names && i < s->names->nelts; i++) {
        const char *alias = APR_ARRAY_IDX(s->names, i, const char *);

        if (alias && !ap_cstr_casecmp(alias, name)) {
            return 1;
        }
    }
    return 0;
}

/* 2: as exactly as can be; 1: by a name that others may have, too */
static int is_called(const server_rec *s, const char *name)
{
    const idem_srv_conf_t *srv = conf_of(s);

    /* The main server may have no port, and share its name with others. */
    if (!strcmp(srv->host, name)
        || (strchr(srv->label, ':') && !ap_cstr_casecmp(srv->label, name))) {
        return 2;
    }
    return (s->server_hostname && !ap_cstr_casecmp(s->server_hostname, name))
           || has_alias(s, name);
}

static const char *names(apr_pool_t *pool)
{
    const char *text = "";
    server_rec *s;
    int n = 0;

    for (s = ap_server_conf; s; s = s->next) {
        if (++n > NAMES_MAX) {
            return apr_pstrcat(pool, text, " and others", NULL);
        }
        text = apr_pstrcat(pool, text, n > 1 ? ", " : "", conf_of(s)->label,
                           NULL);
    }
    return text;
}

/* If one is called so exactly, others that share a name are not meant. */
static apr_array_header_t *find_hosts(const char *name, apr_pool_t *pool)
{
    apr_array_header_t *hosts =
        apr_array_make(pool, 2, sizeof(idem_admin_host_t));
    server_rec *s;
    int best = 1;

    for (s = ap_server_conf; s; s = s->next) {
        int called = is_called(s, name);

        if (called > best) {
            best = called;
            apr_array_clear(hosts);
        }
        if (called == best) {
            idem_admin_host_t host = { s, conf_of(s)->host_sum };

            APR_ARRAY_PUSH(hosts, idem_admin_host_t) = host;
        }
    }
    return hosts;
}

static int take_sum(idem_admin_t *admin, apr_array_header_t *hosts,
                    const char *text)
{
    idem_admin_host_t host = { NULL, 0 };
    char *end;

    host.sum = (apr_uint32_t)apr_strtoi64(text, &end, 16);
    if (strlen(text) != 8 || *end) {
        return refuse(admin, "sum: takes 8 hexadecimal digits",
                      "host=sum:0123abcd");
    }
    APR_ARRAY_PUSH(hosts, idem_admin_host_t) = host;
    return OK;
}

int idem_admin_hosts(idem_admin_t *admin, const apr_array_header_t **hosts)
{
    const char *name = apr_table_get(admin->params, "host");
    apr_pool_t *pool = admin->r->pool;
    const char *works =
        apr_pstrcat(pool, "host=", conf_of(admin->r->server)->label, NULL);
    apr_array_header_t *found;

    if (!name) {
        return refuse(admin, "host is missing: the virtual host", works);
    }
    found = find_hosts(name, pool);
    *hosts = found;
    if (!strncmp(name, "sum:", 4)) {
        return take_sum(admin, found, name + 4);
    }
    if (found->nelts == 0) {
        return refuse(admin,
                      apr_psprintf(pool,
                                   "no virtual host is called '%s'; there "
                                   "are %s",
                                   name, names(pool)),
                      works);
    }
    return OK;
}

/* --------------------------------------------------------- many records */

static int take_life(idem_admin_t *admin, idem_admin_which_t *which)
{
    const char *word = apr_table_get(admin->params, "state");
    int i;

    which->any_life = !word;
    if (!word) {
        return OK;
    }
    for (i = 0; i <= IDEM_LIFE_EXPIRED; i++) {
        if (!strcmp(word, lives[i])) {
            which->life = (idem_life_t)i;
            return OK;
        }
    }
    return refuse(admin,
                  apr_psprintf(admin->r->pool,
                               "'%s' is no state; executing, done, "
                               "not-retained, unknown and expired are",
                               word),
                  "state=unknown");
}

static int take_older(idem_admin_t *admin, idem_admin_which_t *which)
{
    const char *text = apr_table_get(admin->params, "older");

    if (!text || idem_value_time(text, &which->older)) {
        return OK;
    }
    return refuse(admin,
                  apr_psprintf(admin->r->pool, "'%s' is not a time", text),
                  "older=1h");
}

int idem_admin_which(idem_admin_t *admin, idem_admin_which_t *which)
{
    memset(which, 0, sizeof(*which));
    which->now = idem_store_now(idem_server_store);
    if (apr_table_get(admin->params, "host")
        && idem_admin_hosts(admin, &which->hosts) != OK) {
        return DONE;
    }
    if (take_older(admin, which) != OK) {
        return DONE;
    }
    return take_life(admin, which);
}

static int has_host(const apr_array_header_t *hosts, apr_uint32_t sum)
{
    int i;

    for (i = 0; hosts && i < hosts->nelts; i++) {
        if (APR_ARRAY_IDX(hosts, i, idem_admin_host_t).sum == sum) {
            return 1;
        }
    }
    return !hosts;
}

int idem_admin_is_meant(const idem_admin_which_t *which,
                        const idem_entry_t *entry)
{
    /* Of whom the beginning is not known any more, it is long ago. */
    return has_host(which->hosts, entry->host)
           && (which->any_life || entry->life == which->life)
           && (which->older == 0 || entry->created == 0
               || which->now - entry->created >= which->older);
}

/* ------------------------------------------------------------- one record */

static int parse_hex(unsigned char *bytes, const char *text, apr_size_t len)
{
    apr_size_t i;

    if (strlen(text) != 2 * len) {
        return 0;
    }
    for (i = 0; i < len; i++) {
        char two[3] = { text[2 * i], text[2 * i + 1], '\0' };

        if (!apr_isxdigit(two[0]) || !apr_isxdigit(two[1])) {
            return 0;
        }
        bytes[i] = (unsigned char)apr_strtoi64(two, NULL, 16);
    }
    return 1;
}

/* Log lines show the beginning of an id. */
static int find_short(idem_admin_t *admin, idem_digest_t *id,
                      const unsigned char *begin)
{
    idem_entry_t *entries =
        apr_palloc(admin->r->pool, BATCH * sizeof(*entries));
    apr_uint64_t cursor = 0;
    int found = 0;
    int i, n;

    do {
        n = BATCH;
        if (idem_store_list(idem_server_store, entries, &n, &cursor)
            != APR_SUCCESS) {
            break;
        }
        for (i = 0; i < n; i++) {
            if (!memcmp(entries[i].id.bytes, begin, SHORT_LEN)) {
                *id = entries[i].id;
                found++;
            }
        }
    } while (cursor != 0 && !admin->r->connection->aborted);
    if (found == 1) {
        return OK;
    }
    idem_page_error(admin->r, HTTP_NOT_FOUND,
                    found ? "several ids begin like this"
                          : "no id of a record begins like this",
                    "id= and all 64 digits");
    return DONE;
}

static int take_id(idem_admin_t *admin, idem_digest_t *id, const char *text)
{
    unsigned char begin[SHORT_LEN];

    if (parse_hex(id->bytes, text, IDEM_DIGEST_LEN)) {
        return OK;
    }
    if (parse_hex(begin, text, SHORT_LEN)) {
        return find_short(admin, id, begin);
    }
    return refuse(admin,
                  "id is 64 hexadecimal digits, or the first 16 that log "
                  "lines show",
                  "id=0123456789abcdef");
}

typedef struct {
    idem_who_t who;
    apr_table_t *fields;
    const apr_array_header_t *parts;
    const char *wrong;
    apr_pool_t *pool;
    int n;
} taken_t;

static int take_principal(void *data, const char *name, const char *text)
{
    taken_t *taken = data;

    (void)name;
    taken->n++;
    taken->wrong = idem_principal_take(&taken->who, taken->fields,
                                       taken->parts, text, taken->pool);
    return !taken->wrong;
}

/* "" for a key is an id too, that of no record. */
static const char *key_of(const char *text, apr_pool_t *pool)
{
    const char *key, *why;

    /* As the client put it into the field, with its quotes. */
    if (*text == '"'
        && idem_key_parse(&key, &why, text, IDEM_KEY_STRICT, IDEM_KEY_LEN_MAX,
                          pool)
               == APR_SUCCESS) {
        return key;
    }
    return text;
}

/* The id that the key has at one virtual host, if its principal can be made
 * of what was given. */
static void add_id(idem_admin_t *admin, taken_t *taken, const server_rec *s,
                   apr_array_header_t *ids)
{
    const char *parts = apr_table_get(admin->params, "parts");
    const char *key = apr_table_get(admin->params, "key");
    idem_digest_t id;

    memset(&taken->who, 0, sizeof(taken->who));
    apr_table_clear(taken->fields);
    taken->who.fields = taken->fields;
    taken->parts = parts ? idem_principal_parse(parts, taken->pool)
                         : idem_config_principal(s);
    taken->n = 0;
    if (!taken->parts) {
        taken->wrong = "parts is what IdempotencyPrincipal says, such as "
                       "parts=credentials cookie:PHPSESSID";
        return;
    }
    taken->wrong = NULL;
    apr_table_do(take_principal, taken, admin->params, "principal", NULL);
    if (taken->wrong) {
        return;
    }
    if (idem_principal_id(&id, conf_of(s)->host, taken->parts, &taken->who,
                          key_of(key, taken->pool), taken->pool)
        == APR_SUCCESS) {
        APR_ARRAY_PUSH(ids, idem_digest_t) = id;
    }
}

static const char *explain(const taken_t *taken)
{
    return apr_psprintf(
        taken->pool,
        "the principal here is %s, and %s; if IdempotencyPrincipal is another "
        "one for the path of the request, parts= says so",
        idem_principal_str(taken->parts, taken->pool),
        taken->n ? "it was looked for as you gave it"
                 : "a client with none of these was looked for");
}

static int find_key(idem_admin_t *admin, apr_array_header_t *ids,
                    const char **how)
{
    const apr_array_header_t *hosts;
    taken_t taken = { 0 };
    int i;

    if (idem_admin_hosts(admin, &hosts) != OK) {
        return DONE;
    }
    taken.pool = admin->r->pool;
    taken.fields = apr_table_make(taken.pool, 2);
    for (i = 0; i < hosts->nelts; i++) {
        const server_rec *s = APR_ARRAY_IDX(hosts, i, idem_admin_host_t).s;

        if (!s) {
            return refuse(admin,
                          "a key is found by the name of its virtual host, "
                          "which is not configured any more",
                          "id=0123456789abcdef");
        }
        add_id(admin, &taken, s, ids);
        if (!taken.wrong) {
            *how = explain(&taken);
        }
    }
    if (ids->nelts > 0) {
        return OK;
    }
    return refuse(admin, taken.wrong ? taken.wrong : "OpenSSL failed",
                  "principal=user:alice");
}

int idem_admin_ids(idem_admin_t *admin, const apr_array_header_t **ids,
                   const char **how)
{
    const char *text = apr_table_get(admin->params, "id");
    const char *key = apr_table_get(admin->params, "key");
    apr_array_header_t *found =
        apr_array_make(admin->r->pool, 1, sizeof(idem_digest_t));

    *how = NULL;
    *ids = found;
    if (text && key) {
        return refuse(admin, "id and key: only one of them can be meant",
                      "host=... and key=...");
    }
    if (text) {
        return take_id(admin, apr_array_push(found), text);
    }
    if (key) {
        return find_key(admin, found, how);
    }
    return refuse(admin, "which key? Give host and key, or id",
                  "host=shop.example.com and key=order-1");
}
