/* idem_principal.c: whose key it is; virtual host, principal and key -> id.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A request and an administrator who asks for its record come to the same
 * id: both fill in an idem_who_t, and all the rest is shared.
 */
#include "idem_principal.h"

#include <apr_strings.h>

#include "mod_ssl.h"

#include "idem_text.h"

static void add_text(idem_key_digest_t *digest, const char *text)
{
    /* An absent part must differ from an empty one. */
    idem_key_digest_add(digest, text ? "+" : "-", 1);
    if (text) {
        idem_key_digest_add(digest, text, strlen(text));
    }
}

static void add_credentials(idem_key_digest_t *digest, const idem_who_t *who)
{
    if (who->user) {
        add_text(digest, "user");
        add_text(digest, who->user);
    }
    else {
        add_text(digest, "authorization");
        add_text(digest, apr_table_get(who->fields, "Authorization"));
    }
}

static int cookie_matches(const char *pattern, const char *name,
                          apr_size_t len)
{
    apr_size_t plen = strlen(pattern);

    if (plen > 0 && pattern[plen - 1] == '*') {
        return len >= plen - 1 && !strncmp(name, pattern, plen - 1);
    }
    return len == plen && !strncmp(name, pattern, len);
}

/* Where one cookie ends. httpd joins several lines of the field with ", ",
 * which may also stand in a value: only in front of another cookie it is an
 * end. */
static const char *end_of_cookie(const char *at)
{
    while (*at && *at != ';') {
        if (!strncmp(at, ", ", 2)) {
            apr_size_t len = idem_text_token_len(at + 2);

            if (len > 0 && at[2 + len] == '=') {
                break;
            }
        }
        at++;
    }
    return at;
}

/* Every cookie of that name counts, in order: a client that sends two must
 * not be taken for one that sends either. */
static void add_cookies(idem_key_digest_t *digest, const idem_who_t *who,
                        const char *pattern)
{
    const char *at = apr_table_get(who->fields, "Cookie");
    const char *end, *eq;

    while (at && *at) {
        at += strspn(at, ";, \t");
        end = end_of_cookie(at);
        eq = memchr(at, '=', (apr_size_t)(end - at));
        if (eq && cookie_matches(pattern, at, (apr_size_t)(eq - at))) {
            idem_key_digest_add(digest, at, (apr_size_t)(end - at));
        }
        at = end;
    }
    add_text(digest, NULL);
}

static const char *tls_client(request_rec *r)
{
    static char name[] = "SSL_CLIENT_CERT"; /* the API takes a char * */
    APR_OPTIONAL_FN_TYPE(ssl_var_lookup) *lookup =
        APR_RETRIEVE_OPTIONAL_FN(ssl_var_lookup);
    const char *cert;

    if (!lookup) {
        return NULL;
    }
    cert = lookup(r->pool, r->server, r->connection, r, name);
    return cert && *cert ? cert : NULL;
}

static apr_status_t add_expr(idem_key_digest_t *digest, const idem_who_t *who,
                             ap_expr_info_t *expr)
{
    const char *value = who->expr;
    const char *err = NULL;

    if (who->r) {
        value = ap_expr_str_exec(who->r, expr, &err);
    }
    if (err) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, who->r,
                      "IDEM0016: IdempotencyPrincipal expr: %s", err);
        return APR_EGENERAL;
    }
    add_text(digest, value);
    return APR_SUCCESS;
}

static apr_status_t add_part(idem_key_digest_t *digest, const idem_who_t *who,
                             const idem_principal_t *part)
{
    idem_key_digest_add(digest, &part->kind, sizeof(part->kind));
    add_text(digest, part->name);
    switch (part->kind) {
    case IDEM_PRINCIPAL_CREDENTIALS:
        add_credentials(digest, who);
        return APR_SUCCESS;
    case IDEM_PRINCIPAL_COOKIE:
        add_cookies(digest, who, part->name);
        return APR_SUCCESS;
    case IDEM_PRINCIPAL_HEADER:
        add_text(digest, apr_table_get(who->fields, part->name));
        return APR_SUCCESS;
    case IDEM_PRINCIPAL_IP:
        add_text(digest, who->ip);
        return APR_SUCCESS;
    case IDEM_PRINCIPAL_TLS:
        add_text(digest, who->r ? tls_client(who->r) : who->tls);
        return APR_SUCCESS;
    case IDEM_PRINCIPAL_EXPR:
        return add_expr(digest, who, part->expr);
    }
    return APR_EGENERAL;
}

apr_status_t idem_principal_id(idem_digest_t *id, const char *host,
                               const apr_array_header_t *parts,
                               const idem_who_t *who, const char *key,
                               apr_pool_t *pool)
{
    idem_key_digest_t *digest;
    apr_status_t rv;
    int i;

    rv = idem_key_digest_create(&digest, idem_server_store->secret,
                                sizeof(idem_server_store->secret), pool);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    add_text(digest, host);
    for (i = 0; i < parts->nelts; i++) {
        rv = add_part(digest, who, &APR_ARRAY_IDX(parts, i, idem_principal_t));
        if (rv != APR_SUCCESS) {
            return rv;
        }
    }
    idem_key_digest_add(digest, "key", 3);
    idem_key_digest_add(digest, key, strlen(key));
    return idem_key_digest_end(digest, id);
}

/* ---- what an administrator writes */

static const char *part_str(const idem_principal_t *part, apr_pool_t *pool)
{
    switch (part->kind) {
    case IDEM_PRINCIPAL_CREDENTIALS:
        return "credentials";
    case IDEM_PRINCIPAL_COOKIE:
        return apr_pstrcat(pool, "cookie:", part->name, NULL);
    case IDEM_PRINCIPAL_HEADER:
        return apr_pstrcat(pool, "header:", part->name, NULL);
    case IDEM_PRINCIPAL_IP:
        return "ip";
    case IDEM_PRINCIPAL_TLS:
        return "tls";
    case IDEM_PRINCIPAL_EXPR:
        return apr_pstrcat(pool, "expr:", part->name, NULL);
    }
    return "";
}

const char *idem_principal_str(const apr_array_header_t *parts,
                               apr_pool_t *pool)
{
    const char *text = "";
    int i;

    for (i = 0; i < parts->nelts; i++) {
        text = apr_pstrcat(
            pool, text, i ? " " : "",
            part_str(&APR_ARRAY_IDX(parts, i, idem_principal_t), pool), NULL);
    }
    return text;
}

static int parse_part(idem_principal_t *part, const char *word)
{
    static const struct {
        const char *word;
        idem_principal_kind_t kind;
    } kinds[] = {
        { "credentials", IDEM_PRINCIPAL_CREDENTIALS },
        { "ip", IDEM_PRINCIPAL_IP },
        { "tls", IDEM_PRINCIPAL_TLS },
        { "cookie:", IDEM_PRINCIPAL_COOKIE },
        { "header:", IDEM_PRINCIPAL_HEADER },
        { "expr:", IDEM_PRINCIPAL_EXPR },
    };
    apr_size_t i, len;

    for (i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        len = strlen(kinds[i].word);
        if (kinds[i].word[len - 1] == ':' ? !strncmp(word, kinds[i].word, len)
                                          : !strcmp(word, kinds[i].word)) {
            part->kind = kinds[i].kind;
            part->name = word[len] ? word + len : NULL;
            return kinds[i].word[len - 1] != ':' || part->name;
        }
    }
    return 0;
}

const apr_array_header_t *idem_principal_parse(const char *text,
                                               apr_pool_t *pool)
{
    apr_array_header_t *parts =
        apr_array_make(pool, 4, sizeof(idem_principal_t));

    while (*text) {
        idem_principal_t part = { IDEM_PRINCIPAL_CREDENTIALS, NULL, NULL };
        const char *word = ap_getword_conf(pool, &text);

        if (!parse_part(&part, word)) {
            return NULL;
        }
        APR_ARRAY_PUSH(parts, idem_principal_t) = part;
    }
    return parts->nelts ? parts : NULL;
}

/* Does "cookie:sess_1" or "user" belong to a part of the virtual host? */
static int is_named(const idem_principal_t *part, const char *kind,
                    const char *name)
{
    switch (part->kind) {
    case IDEM_PRINCIPAL_CREDENTIALS:
        return !strcmp(kind, "user") || !strcmp(kind, "authorization");
    case IDEM_PRINCIPAL_COOKIE:
        return !strcmp(kind, "cookie")
               && cookie_matches(part->name, name, strlen(name));
    case IDEM_PRINCIPAL_HEADER:
        return !strcmp(kind, "header") && !ap_cstr_casecmp(part->name, name);
    case IDEM_PRINCIPAL_IP:
        return !strcmp(kind, "ip");
    case IDEM_PRINCIPAL_TLS:
        return !strcmp(kind, "tls");
    case IDEM_PRINCIPAL_EXPR:
        return !strcmp(kind, "expr");
    }
    return 0;
}

static void set_value(idem_who_t *who, apr_table_t *fields, const char *kind,
                      const char *name, const char *value, apr_pool_t *pool)
{
    const char *cookies;

    switch (*kind) {
    case 'u':
        who->user = value;
        break;
    case 'a':
        apr_table_set(fields, "Authorization", value);
        break;
    case 'c':
        cookies = apr_table_get(fields, "Cookie");
        apr_table_set(fields, "Cookie",
                      apr_pstrcat(pool, cookies ? cookies : "",
                                  cookies ? "; " : "", name, "=", value,
                                  NULL));
        break;
    case 'h':
        apr_table_set(fields, name, value);
        break;
    case 'i':
        who->ip = value;
        break;
    case 't':
        who->tls = value;
        break;
    case 'e':
        who->expr = value;
        break;
    }
}

const char *idem_principal_take(idem_who_t *who, apr_table_t *fields,
                                const apr_array_header_t *parts,
                                const char *text, apr_pool_t *pool)
{
    const char *colon = strchr(text, ':');
    const char *kind =
        colon ? apr_pstrmemdup(pool, text, (apr_size_t)(colon - text)) : text;
    const char *name = "", *value = colon ? colon + 1 : "";
    int i;

    if (!strcmp(kind, "cookie") || !strcmp(kind, "header")) {
        const char *eq = strchr(value, '=');

        if (!eq) {
            return apr_psprintf(pool,
                                "'%s' has no value, such as "
                                "cookie:PHPSESSID=xyz or header:X-Account=7",
                                text);
        }
        name = apr_pstrmemdup(pool, value, (apr_size_t)(eq - value));
        value = eq + 1;
    }
    for (i = 0; colon && i < parts->nelts; i++) {
        if (is_named(&APR_ARRAY_IDX(parts, i, idem_principal_t), kind, name)) {
            who->fields = fields;
            set_value(who, fields, kind, name, value, pool);
            return NULL;
        }
    }
    return apr_psprintf(pool,
                        "'%s' is no part of the principal, which is here: %s. "
                        "For credentials write user:NAME or "
                        "authorization:VALUE, else as in cookie:PHPSESSID=xyz "
                        "header:X-Account=7 ip:192.0.2.1 tls:PEM expr:VALUE",
                        text, idem_principal_str(parts, pool));
}
