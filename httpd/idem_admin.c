/* idem_admin.c: single keys: which actions there are, show and release.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   GET   token  list  show  export
 *   POST  show  release  purge      with a token, see idem_admin_token.c
 *
 * show takes POST as well, so that a key need not stand in an access log.
 */
#include "idem_admin.h"

#include <apr_strings.h>

#include "idem_audit.h"

typedef struct {
    const char *name;
    int get;
    int post;
    const char *params; /* besides action and token; each between blanks */
    int (*run)(idem_admin_t *admin);
} action_t;

/* ------------------------------------------------------------ one record */

static int not_found(idem_admin_t *admin, const idem_digest_t *id,
                     const char *how)
{
    request_rec *r = admin->r;

    return idem_page_error(r, HTTP_NOT_FOUND,
                           apr_psprintf(r->pool,
                                        "nothing is recorded under id %s%s%s",
                                        idem_admin_hex(id, r->pool),
                                        how ? ": " : "", how ? how : ""),
                           how ? "principal=user:alice" : NULL);
}

/* @return OK, or DONE after an answer */
static int look(idem_admin_t *admin, idem_entry_t *entry, idem_blob_t *blob)
{
    request_rec *r = admin->r;
    const apr_array_header_t *ids;
    const idem_digest_t *id = NULL;
    const char *how;
    apr_status_t rv;
    int i, n = 0;

    if (idem_admin_ids(admin, &ids, &how) != OK) {
        return DONE;
    }
    for (i = 0; i < ids->nelts; i++) {
        idem_entry_t each;
        idem_blob_t record;

        id = &APR_ARRAY_IDX(ids, i, idem_digest_t);
        rv = idem_store_look(idem_server_store, &each, &record, id, r->pool);
        if (rv == APR_SUCCESS) {
            n++;
            *entry = each;
            *blob = record;
        }
        else if (!APR_STATUS_IS_NOTFOUND(rv)) {
            idem_page_error(r, HTTP_INTERNAL_SERVER_ERROR,
                            "the store cannot be read: see the error log",
                            NULL);
            return DONE;
        }
    }
    if (n == 0) {
        not_found(admin, id, how);
    }
    else if (n > 1) {
        idem_page_error(r, HTTP_CONFLICT,
                        "several virtual hosts of this name have the key",
                        apr_pstrcat(r->pool, "host=",
                                    idem_admin_label(entry->host), NULL));
    }
    return n == 1 ? OK : DONE;
}

/* For who looks the key up in the audit log. */
static void audit_key(idem_out_t *out, idem_admin_t *admin,
                      const idem_entry_t *entry)
{
    const char *key = apr_table_get(admin->params, "key");
    const idem_srv_conf_t *srv = idem_view_host(entry->host);
    char text[IDEM_AUDIT_TEXT];

    if (key && srv
        && idem_audit_key(text, srv->host, key, out->pool) == APR_SUCCESS) {
        idem_out_text(out, "audit_key", text);
    }
}

static int show(idem_admin_t *admin)
{
    idem_entry_t entry;
    idem_blob_t blob;
    idem_out_t out;

    if (look(admin, &entry, &blob) != OK) {
        return OK;
    }
    idem_page_json_begin(&out, admin->r);
    idem_out_object(&out, NULL);
    idem_admin_entry(&out, &entry);
    audit_key(&out, admin, &entry);
    idem_admin_answer(&out, &blob, 1);
    idem_out_end(&out);
    return OK;
}

static void tell_release(request_rec *r, const idem_entry_t *entry)
{
    const char *host = idem_admin_label(entry->host);
    const char *was = idem_admin_life_str(entry->life);

    ap_log_rerror(APLOG_MARK, APLOG_NOTICE, 0, r,
                  "IDEM0042: key %.16s of %s, which was %s, was released by "
                  "%s from %s",
                  idem_admin_hex(&entry->id, r->pool),
                  host ? host : "a virtual host of old", was,
                  r->user ? r->user : "nobody", r->useragent_ip);
    idem_audit_admin(r, "release", host, &entry->id, was, 1);
}

static int release(idem_admin_t *admin)
{
    request_rec *r = admin->r;
    idem_entry_t entry;
    idem_blob_t blob;
    idem_out_t out;
    apr_status_t rv;

    if (look(admin, &entry, &blob) != OK) {
        return OK;
    }
    rv = idem_store_forget(idem_server_store, &entry.id);
    if (APR_STATUS_IS_NOTFOUND(rv)) {
        return not_found(admin, &entry.id, NULL);
    }
    if (rv != APR_SUCCESS) {
        return idem_page_error(r, HTTP_INTERNAL_SERVER_ERROR,
                               "the store could not release the key: see the "
                               "error log",
                               NULL);
    }
    tell_release(r, &entry);
    idem_page_json_begin(&out, r);
    idem_out_object(&out, NULL);
    idem_out_bool(&out, "released", 1);
    idem_out_text(&out, "id", idem_admin_hex(&entry.id, r->pool));
    idem_out_text(&out, "was", idem_admin_life_str(entry.life));
    idem_out_end(&out);
    return OK;
}

/* ------------------------------------------------------------- dispatch */

static const action_t actions[] = {
    { "token", 1, 0, " ", idem_admin_token },
    { "list", 1, 0, " host state older limit cursor ", idem_admin_list },
    { "export", 1, 0, " host state older ", idem_admin_export },
    { "show", 1, 1, " host key principal parts id ", show },
    { "release", 0, 1, " host key principal parts id ", release },
    { "purge", 0, 1, " host state older ", idem_admin_purge },
};
#define NACTIONS (sizeof(actions) / sizeof(*actions))

typedef struct {
    const action_t *action;
    apr_table_t *seen;
    const char *wrong;
    apr_pool_t *pool;
} params_t;

/* A parameter that is misspelt must not turn "purge those" into "purge all".
 */
static int check_param(void *data, const char *name, const char *value)
{
    params_t *params = data;
    const char *known = params->action->params;

    (void)value;
    if (strcmp(name, "action") != 0 && strcmp(name, "token") != 0
        && strcmp(name, "format") != 0
        && (strchr(name, ' ')
            || !strstr(known,
                       apr_pstrcat(params->pool, " ", name, " ", NULL)))) {
        params->wrong = apr_psprintf(params->pool,
                                     "'%s' is no parameter of %s; it takes:%s",
                                     name, params->action->name, known);
    }
    else if (strcmp(name, "principal") != 0
             && apr_table_get(params->seen, name)) {
        params->wrong =
            apr_psprintf(params->pool, "'%s' is given twice", name);
    }
    apr_table_setn(params->seen, name, "");
    return !params->wrong;
}

static const action_t *find(const char *name)
{
    apr_size_t i;

    for (i = 0; i < NACTIONS; i++) {
        if (!strcmp(actions[i].name, name)) {
            return &actions[i];
        }
    }
    return NULL;
}

static int wrong_method(request_rec *r, const action_t *action)
{
    const char *allow =
        action->get ? action->post ? "GET, HEAD, POST" : "GET, HEAD" : "POST";

    apr_table_setn(r->headers_out, "Allow", allow);
    return idem_page_error(
        r, HTTP_METHOD_NOT_ALLOWED,
        apr_psprintf(r->pool, "%s takes %s", action->name, allow),
        action->get ? "GET" : "POST");
}

int idem_admin_run(request_rec *r, const char *name, const apr_table_t *table)
{
    const action_t *action = find(name);
    int post = r->method_number == M_POST;
    idem_admin_t admin = { r, table };
    params_t params = { 0 };

    if (!action) {
        return idem_page_error(r, HTTP_BAD_REQUEST,
                               apr_psprintf(r->pool,
                                            "'%s' is no action; token, list, "
                                            "export, show, release and purge "
                                            "are",
                                            name),
                               "action=list");
    }
    if (post ? !action->post : !action->get) {
        return wrong_method(r, action);
    }
    params.action = action;
    params.pool = r->pool;
    params.seen = apr_table_make(r->pool, 8);
    apr_table_do(check_param, &params, table, NULL);
    if (params.wrong) {
        return idem_page_error(r, HTTP_BAD_REQUEST, params.wrong, NULL);
    }
    if (post && idem_admin_is_meant_so(&admin) != OK) {
        return OK;
    }
    return action->run(&admin);
}
