/* idem_admin_token.c: requests that change something come from who means it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A browser sends the administrator's credentials along with whatever a
 * foreign page makes it send. Three things stand against that, each enough
 * alone: a foreign page cannot read the token; browsers say where a request
 * comes from (Origin, Sec-Fetch-Site); and a name of the attacker's own that
 * is made to resolve to this machine is no name of this server.
 */
#include "idem_admin.h"

#include <apr_lib.h>
#include <apr_strings.h>

#define LIFE 300 /* seconds that a token is good for */

static const char *token_of(request_rec *r, apr_int64_t expires)
{
    const idem_srv_conf_t *srv =
        ap_get_module_config(r->server->module_config, &idempotency_module);
    const char *user = r->user ? r->user : "";
    const char *when = apr_psprintf(r->pool, "%" APR_INT64_T_FMT, expires);
    idem_key_digest_t *digest;
    idem_digest_t sum;

    if (idem_key_digest_create(&digest, idem_server_store->secret,
                               sizeof(idem_server_store->secret), r->pool)
        != APR_SUCCESS) {
        return NULL;
    }
    /* No id of a record begins with this part. */
    idem_key_digest_add(digest, "admin token", 11);
    idem_key_digest_add(digest, when, strlen(when));
    idem_key_digest_add(digest, srv->host, strlen(srv->host));
    idem_key_digest_add(digest, user, strlen(user));
    if (idem_key_digest_end(digest, &sum) != APR_SUCCESS) {
        return NULL;
    }
    return apr_pstrcat(r->pool, when, ".", idem_admin_hex(&sum, r->pool),
                       NULL);
}

/* How much of it is right must not show in the time it takes. */
static int same(const char *a, const char *b)
{
    apr_size_t len = strlen(a);
    unsigned char diff = 0;
    apr_size_t i;

    if (len != strlen(b)) {
        return 0;
    }
    for (i = 0; i < len; i++) {
        diff |= (unsigned char)(a[i] ^ b[i]);
    }
    return diff == 0;
}

static int is_good(request_rec *r, const char *token)
{
    apr_int64_t expires = apr_atoi64(token);
    apr_int64_t now = apr_time_sec(apr_time_now());
    const char *wanted;

    if (expires < now || expires > now + LIFE) {
        return 0;
    }
    wanted = token_of(r, expires);
    return wanted && same(wanted, token);
}

/* ---------------------------------------------------------------- origin */

static int is_address(const char *name)
{
    return strchr(name, ':') || name[strspn(name, "0123456789.")] == '\0';
}

static int is_listed(const apr_array_header_t *names, const char *name,
                     int wild)
{
    int i;

    for (i = 0; names && i < names->nelts; i++) {
        const char *each = APR_ARRAY_IDX(names, i, const char *);

        if (each
            && !(wild ? ap_strcasecmp_match(name, each)
                      : ap_cstr_casecmp(name, each))) {
            return 1;
        }
    }
    return 0;
}

/* A page of somebody else's under a name that resolves to us has that name
 * as its own origin: only names that were configured count. */
static int is_our_name(request_rec *r)
{
    const server_rec *s = r->server;
    const char *name = r->hostname;

    return !name || is_address(name) || !ap_cstr_casecmp(name, "localhost")
           || (s->server_hostname
               && !ap_cstr_casecmp(name, s->server_hostname))
           || is_listed(s->names, name, 0)
           || is_listed(s->wild_names, name, 1);
}

/* "https://a.example:8443" and Host "a.example:8443" */
static int is_our_origin(request_rec *r, const char *origin)
{
    const char *host = apr_table_get(r->headers_in, "Host");
    const char *authority = strstr(origin, "://");
    const char *usual;
    apr_size_t len;

    if (!host || !authority) {
        return 0;
    }
    authority += 3;
    if (!ap_cstr_casecmp(authority, host)) {
        return 1;
    }
    /* Browsers leave out the usual port, others may not. */
    usual = !ap_cstr_casecmpn(origin, "https:", 6) ? ":443" : ":80";
    len = strlen(authority);
    return strlen(host) == len + strlen(usual)
           && !ap_cstr_casecmpn(host, authority, len)
           && !strcmp(host + len, usual);
}

static int refuse(request_rec *r, const char *detail, const char *works)
{
    idem_page_error(r, HTTP_FORBIDDEN, detail, works);
    return DONE;
}

static int is_from_here(request_rec *r)
{
    const char *site = apr_table_get(r->headers_in, "Sec-Fetch-Site");
    const char *origin = apr_table_get(r->headers_in, "Origin");

    if (site && strcmp(site, "same-origin") != 0
        && strcmp(site, "none") != 0) {
        return refuse(r,
                      "this request comes from another site, as "
                      "Sec-Fetch-Site says",
                      NULL);
    }
    if (origin && !is_our_origin(r, origin)) {
        return refuse(r,
                      "Origin and Host differ: this request comes from "
                      "another site, or a proxy changed Host",
                      "ProxyPreserveHost On");
    }
    if (!is_our_name(r)) {
        return refuse(r,
                      apr_psprintf(r->pool,
                                   "'%s' is no name of this server, see "
                                   "ServerName and ServerAlias",
                                   r->hostname),
                      "an address, such as http://127.0.0.1");
    }
    return OK;
}

int idem_admin_is_meant_so(idem_admin_t *admin)
{
    request_rec *r = admin->r;
    const char *token = apr_table_get(admin->params, "token");

    if (is_from_here(r) != OK) {
        return DONE;
    }
    if (!token) {
        return refuse(r, "a request that changes something has a token",
                      "GET ?action=token, then token=...");
    }
    if (!is_good(r, token)) {
        return refuse(r,
                      "the token is not good: it is that of another user or "
                      "virtual host, or older than five minutes",
                      "GET ?action=token, then token=...");
    }
    return OK;
}

int idem_admin_token(idem_admin_t *admin)
{
    request_rec *r = admin->r;
    const char *token;
    idem_out_t out;

    if (is_from_here(r) != OK) {
        return OK;
    }
    token = token_of(r, apr_time_sec(apr_time_now()) + LIFE);
    if (!token) {
        return idem_page_error(r, HTTP_INTERNAL_SERVER_ERROR, "OpenSSL failed",
                               NULL);
    }
    idem_page_json_begin(&out, r);
    idem_out_object(&out, NULL);
    idem_out_text(&out, "token", token);
    idem_out_number(&out, "good_for_seconds", LIFE);
    idem_out_end(&out);
    return OK;
}
