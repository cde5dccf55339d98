/* idem_json.c: a JSON body -> its canonical form, or one string of it.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   text --scan--> copy without numbers --json-c--> tree --label--> tree with
 *                                                          numbers as written
 *
 * json-c never sees a number: it saturates long integers, or refuses them,
 * and would have to convert what is then compared as text. Each stands in
 * the copy as one "0", and each number of the tree points to the original.
 *
 * jansson, which mod_md brings into the same process, has functions of the
 * same names json_object_get and json_object_iter_next. Neither is used here,
 * as only builds with versioned symbols keep them apart.
 */
#include "idem_json.h"

#include <stdlib.h>
#include <string.h>

#include <apr_cstr.h>
#include <apr_strings.h>

#include <json-c/json.h>

#include "idem_text.h"

struct idem_json_t {
    struct json_object *root; /* NULL: the text is null */
    const char *end;          /* of the text */
    apr_pool_t *pool;
};

int idem_json_is_type(const char *content_type)
{
    apr_size_t len, i;
    const char *p;

    if (!content_type) {
        return 0;
    }
    p = content_type + strspn(content_type, " \t");
    len = strcspn(p, "; \t");
    i = len + strspn(p + len, " \t");
    if (p[i] && p[i] != ';') {
        return 0;
    }
    if (len == strlen("application/json")
        && !apr_cstr_casecmpn(p, "application/json", len)) {
        return 1;
    }
    return len > 6 && memchr(p, '/', len - 5)
           && !apr_cstr_casecmpn(p + len - 5, "+json", 5);
}

int idem_json_is_pointer(const char *text)
{
    if (*text != '/') {
        return 0;
    }
    for (; *text; text++) {
        if (*text == '~' && text[1] != '0' && text[1] != '1') {
            return 0;
        }
    }
    return 1;
}

/* -------------------------------------------------------------------- scan */

typedef enum {
    TOKEN_BAD, /* no JSON, or none with one meaning */
    TOKEN_END,
    TOKEN_NUMBER,
    TOKEN_OTHER /* a string, or one character */
} token_t;

typedef struct {
    const char *at; /* behind the token */
    const char *end;
    const char *start; /* of the token */
} scan_t;

static int is_digit(const scan_t *scan, const char *p)
{
    return p < scan->end && *p >= '0' && *p <= '9';
}

static int is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Four hex digits, or -1. */
static int hex4(const scan_t *scan, const char *p)
{
    static const char hex[] = "0123456789abcdef0123456789ABCDEF";
    int code = 0, i;

    for (i = 0; i < 4; i++) {
        const char *digit =
            p + i < scan->end && p[i] ? strchr(hex, p[i]) : NULL;

        if (!digit) {
            return -1;
        }
        code = code * 16 + (int)((digit - hex) % 16);
    }
    return code;
}

/* Behind a backslash. @return its bytes; 0 if it has no one meaning */
static apr_size_t scan_escape(const scan_t *scan, const char *p, int *nul)
{
    int code, low;

    if (p == scan->end || *p != 'u') {
        return p != scan->end; /* the letter is for json-c to judge */
    }
    code = hex4(scan, p + 1);
    if (code == 0) {
        *nul = 1;
    }
    if (code < 0 || (code >= 0xdc00 && code <= 0xdfff)) {
        return 0;
    }
    if (code < 0xd800 || code > 0xdbff) {
        return 5;
    }
    if (scan->end - p < 11 || p[5] != '\\' || p[6] != 'u') {
        return 0;
    }
    low = hex4(scan, p + 7);
    return low >= 0xdc00 && low <= 0xdfff ? 11 : 0;
}

static token_t scan_string(scan_t *scan)
{
    const char *p = scan->start + 1;
    apr_size_t len;
    int nul = 0;

    for (; p < scan->end && *p != '"'; p++) {
        if ((unsigned char)*p < 0x20) {
            return TOKEN_BAD;
        }
        if (*p == '\\') {
            len = scan_escape(scan, p + 1, &nul);
            if (len == 0) {
                return TOKEN_BAD;
            }
            p += len;
        }
    }
    if (p == scan->end) {
        return TOKEN_BAD;
    }
    scan->at = ++p;
    while (p < scan->end && is_space(*p)) {
        p++;
    }
    return nul && p < scan->end && *p == ':' ? TOKEN_BAD : TOKEN_OTHER;
}

static const char *skip_digits(const scan_t *scan, const char *p)
{
    while (is_digit(scan, p)) {
        p++;
    }
    return p;
}

/* RFC 8259 6. */
static token_t scan_number(scan_t *scan)
{
    const char *p = scan->start;

    if (*p == '-') {
        p++;
    }
    if (!is_digit(scan, p)) {
        return TOKEN_BAD;
    }
    p = *p == '0' ? p + 1 : skip_digits(scan, p);
    if (p < scan->end && *p == '.') {
        if (!is_digit(scan, p + 1)) {
            return TOKEN_BAD;
        }
        p = skip_digits(scan, p + 1);
    }
    if (p < scan->end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < scan->end && (*p == '+' || *p == '-')) {
            p++;
        }
        if (!is_digit(scan, p)) {
            return TOKEN_BAD;
        }
        p = skip_digits(scan, p);
    }
    scan->at = p;
    /* "01" and "1-2" are not two numbers. */
    return p == scan->end || is_space(*p) || strchr(",]}", *p) ? TOKEN_NUMBER
                                                               : TOKEN_BAD;
}

static token_t scan_next(scan_t *scan)
{
    scan->start = scan->at;
    if (scan->at == scan->end) {
        return TOKEN_END;
    }
    if (*scan->at == '"') {
        return scan_string(scan);
    }
    if (*scan->at == '-' || is_digit(scan, scan->at)) {
        return scan_number(scan);
    }
    /* Versions of json-c differ in what else they take: a NUL as the end,
     * names in single quotes, comments, NaN, other white space. */
    if (!*scan->at || !strchr(" \t\r\n{}[]:,aeflnrstu", *scan->at)) {
        return TOKEN_BAD;
    }
    scan->at++;
    return TOKEN_OTHER;
}

/* Blanks the numbers of the copy out and counts the members.
 * @return 0 if it must not be parsed */
static int scan_all(const char *text, apr_size_t len, char *copy,
                    apr_size_t *members)
{
    apr_size_t containers = 0, values = 0;
    int depth = 0, deepest = 0;
    scan_t scan = { text, text + len, NULL };
    token_t token;

    *members = 0;
    for (token = scan_next(&scan); token > TOKEN_END;
         token = scan_next(&scan)) {
        char *to = copy + (scan.start - text);

        if (token == TOKEN_NUMBER) {
            memset(to, ' ', (apr_size_t)(scan.at - scan.start));
            *to = '0';
        }
        *members += *to == ':';
        values += *to == ',';
        if (*to == '{' || *to == '[') {
            containers++;
            depth++;
            deepest = depth > deepest ? depth : deepest;
        }
        depth -= *to == '}' || *to == ']';
    }
    return token == TOKEN_END && deepest <= IDEM_JSON_DEPTH_MAX
           && containers <= IDEM_JSON_CONTAINERS_MAX
           && values <= IDEM_JSON_VALUES_MAX;
}

/* ------------------------------------------------------------------- parse */

/* In the order of the text, which is the one in which json-c keeps members.
 * @return how many members there are; their numbers point to the text */
static apr_size_t label(struct json_object *value, scan_t *scan)
{
    struct json_object_iter member;
    apr_size_t n = 0, i;

    switch (json_object_get_type(value)) {
    case json_type_int:
    case json_type_double:
        while (scan_next(scan) > TOKEN_NUMBER) {
        }
        json_object_set_userdata(value, (void *)scan->start, NULL);
        break;
    case json_type_array:
        for (i = 0; i < json_object_array_length(value); i++) {
            n += label(json_object_array_get_idx(value, i), scan);
        }
        break;
    case json_type_object:
        json_object_object_foreachC(value, member)
        {
            n += 1 + label(member.val, scan);
        }
        break;
    case json_type_null:
    case json_type_boolean:
    case json_type_string:
        break;
    }
    return n;
}

static apr_status_t free_root(void *data)
{
    json_object_put(data);
    return APR_SUCCESS;
}

/* @return 0 if json-c does not take the whole of it */
static int parse(struct json_object **root, const char *copy, apr_size_t len)
{
    /* It counts what stands in the innermost container as a level. */
    struct json_tokener *tok = json_tokener_new_ex(IDEM_JSON_DEPTH_MAX + 1);
    int whole;

    *root = NULL;
    if (!tok) {
        return 0;
    }
    json_tokener_set_flags(tok,
                           JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    /* The NUL tells a number at the end that it has ended. */
    *root = json_tokener_parse_ex(tok, copy, (int)len + 1);
    whole = json_tokener_get_error(tok) == json_tokener_success
            && json_tokener_get_parse_end(tok) == len;
    json_tokener_free(tok);
    return whole;
}

idem_json_t *idem_json_create(const char *text, apr_size_t len,
                              apr_pool_t *pool)
{
    scan_t scan = { text, text + len, NULL };
    idem_json_t *json;
    apr_size_t members;
    char *copy;
    int whole;

    if (len == 0 || len > IDEM_BODY_PARSE_MAX) {
        return NULL;
    }
    copy = apr_pstrmemdup(pool, text, len);
    if (!scan_all(text, len, copy, &members)) {
        return NULL;
    }
    json = apr_pcalloc(pool, sizeof(*json));
    json->pool = pool;
    json->end = text + len;
    whole = parse(&json->root, copy, len);
    apr_pool_cleanup_register(pool, json->root, free_root,
                              apr_pool_cleanup_null);
    /* Fewer members in the tree: some had the same name. */
    return whole && label(json->root, &scan) == members ? json : NULL;
}

apr_status_t idem_json_string(const char **value, const idem_json_t *json,
                              const char *pointer)
{
    struct json_object *found = NULL;

    if (!json->root || json_pointer_get(json->root, pointer, &found) != 0) {
        return APR_NOTFOUND;
    }
    if (!json_object_is_type(found, json_type_string)
        || strlen(json_object_get_string(found))
               != (apr_size_t)json_object_get_string_len(found)) {
        return APR_EINVAL;
    }
    *value = json_object_get_string(found);
    return APR_SUCCESS;
}

/* ---------------------------------------------------------- canonical form */

typedef struct {
    idem_hash_t *hash;
    const idem_json_t *json;
} out_t;

/* A letter for the kind, and the length, so that nothing runs over. */
static void put(out_t *out, char kind, const char *data, apr_size_t len)
{
    idem_hash_add(out->hash, &kind, 1);
    idem_hash_piece(out->hash, data, len);
}

typedef struct {
    const char *name;
    struct json_object *value;
} member_t;

static int compare_members(const void *a, const void *b)
{
    return strcmp(((const member_t *)a)->name, ((const member_t *)b)->name);
}

static void put_value(out_t *out, struct json_object *value);

static void put_object(out_t *out, struct json_object *object)
{
    apr_size_t n = (apr_size_t)json_object_object_length(object), i = 0;
    struct json_object_iter member;
    member_t *members = apr_palloc(out->json->pool, n * sizeof(*members));

    json_object_object_foreachC(object, member)
    {
        members[i].name = member.key;
        members[i++].value = member.val;
    }
    qsort(members, n, sizeof(*members), compare_members);
    put(out, '{', "", 0);
    for (i = 0; i < n; i++) {
        put(out, ':', members[i].name, strlen(members[i].name));
        put_value(out, members[i].value);
    }
    put(out, '}', "", 0);
}

/* As label() found it in the text. */
static void put_number(out_t *out, struct json_object *value)
{
    scan_t scan = { json_object_get_userdata(value), out->json->end, NULL };

    scan_next(&scan);
    put(out, '#', scan.start, (apr_size_t)(scan.at - scan.start));
}

static void put_value(out_t *out, struct json_object *value)
{
    apr_size_t i;

    switch (json_object_get_type(value)) {
    case json_type_null:
        put(out, 'n', "", 0);
        break;
    case json_type_boolean:
        put(out, json_object_get_boolean(value) ? 't' : 'f', "", 0);
        break;
    case json_type_int:
    case json_type_double:
        put_number(out, value);
        break;
    case json_type_string:
        put(out, '"', json_object_get_string(value),
            (apr_size_t)json_object_get_string_len(value));
        break;
    case json_type_array:
        put(out, '[', "", 0);
        for (i = 0; i < json_object_array_length(value); i++) {
            put_value(out, json_object_array_get_idx(value, i));
        }
        put(out, ']', "", 0);
        break;
    case json_type_object:
        put_object(out, value);
        break;
    }
}

void idem_json_hash(const idem_json_t *json, idem_hash_t *hash)
{
    out_t out = { hash, json };

    put_value(&out, json->root);
}
