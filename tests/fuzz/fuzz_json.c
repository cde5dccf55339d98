/* fuzz_json.c: a JSON body -> one fingerprint for all of its spellings, and
 * another for any other meaning.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Up to the first newline stands a JSON pointer, behind it the body. What is
 * compared by meaning is written anew here, without json-c: with other white
 * space, members in reverse, ASCII in escapes; and once more with one of its
 * values changed.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "idem_fingerprint.h"
#include "idem_hash.h"
#include "idem_source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void need(int holds)
{
    if (!holds) {
        abort();
    }
}

static idem_digest_t print_of(const char *text, size_t len, int kinds,
                              apr_pool_t *pool)
{
    idem_fingerprint_t *print;
    idem_digest_t digest;

    need(idem_fingerprint_create(&print, "application/json", kinds, pool)
         == APR_SUCCESS);
    idem_fingerprint_body(print, text, len);
    need(idem_fingerprint_end(print, &digest) == APR_SUCCESS);
    return digest;
}

/* ------------------------------------------------------ another spelling */

typedef struct {
    const char *at;
    apr_pool_t *pool;
    int change; /* which value is written with another meaning; -1: none */
    int values; /* so far */
} spell_t;

static void skip_space(spell_t *in)
{
    in->at += strspn(in->at, " \t\r\n");
}

static const char *spell_string(spell_t *in, const char *more)
{
    size_t len = 0;
    char *text, *to;

    while (in->at[1 + len] != '"') {
        len += in->at[1 + len] == '\\' ? 2 : 1;
    }
    text = apr_palloc(in->pool, 6 * len + 4);
    to = text;
    *to++ = '"';
    for (in->at++; *in->at != '"'; in->at++) {
        if (*in->at == '\\') {
            *to++ = *in->at++;
            *to++ = *in->at;
        }
        /* Digits may belong to an escape. */
        else if (strchr("ghijklmnopqrstuvwxyzGHIJKLMNOPQRSTUVWXYZ /",
                        *in->at)) {
            to += snprintf(to, 7, "\\u%04X", (unsigned char)*in->at);
        }
        else {
            *to++ = *in->at;
        }
    }
    in->at++;
    *to++ = '"';
    *to = '\0';
    if (*more) {
        to[-1] = '\0';
        return apr_pstrcat(in->pool, text, more, "\"", NULL);
    }
    return text;
}

static const char *spell_value(spell_t *in);

static const char *spell_list(spell_t *in, char close)
{
    const char *all = NULL, *one;

    in->at++;
    for (skip_space(in); *in->at != close; skip_space(in)) {
        if (*in->at == ',') {
            in->at++;
            skip_space(in);
        }
        if (close == '}') {
            one = spell_string(in, "");
            skip_space(in);
            in->at++;
            one = apr_pstrcat(in->pool, one, "\t: ", spell_value(in), NULL);
            all = all ? apr_pstrcat(in->pool, one, "\n,", all, NULL) : one;
        }
        else {
            one = spell_value(in);
            all = all ? apr_pstrcat(in->pool, all, " ,\r", one, NULL) : one;
        }
    }
    in->at++;
    return all ? all : "";
}

static const char *spell_value(spell_t *in)
{
    int changed = in->values++ == in->change;
    const char *text;
    size_t len;

    skip_space(in);
    switch (*in->at) {
    case '{':
        text = spell_list(in, '}');
        return apr_pstrcat(in->pool, changed ? "[" : "", " { ", text, "\n}\t",
                           changed ? "]" : "", NULL);
    case '[':
        text = spell_list(in, ']');
        return apr_pstrcat(in->pool, "\n[ ", text,
                           !changed ? ""
                           : *text  ? ",1"
                                    : "1",
                           "]", NULL);
    case '"':
        return spell_string(in, changed ? "x" : "");
    default:
        len = strcspn(in->at, ",]} \t\r\n");
        text = apr_pstrmemdup(in->pool, in->at, len);
        in->at += len;
        return !changed               ? text
               : strchr("tfn", *text) ? "0"
                                      : apr_pstrcat(in->pool, text, "0", NULL);
    }
}

static void check_meaning(const char *text, size_t len, int change,
                          apr_pool_t *pool)
{
    idem_digest_t bytes = print_of(text, len, 0, pool);
    idem_digest_t print = print_of(text, len, IDEM_FINGERPRINT_JSON, pool);
    spell_t in = { NULL, pool, -1, 0 };
    idem_digest_t again;
    const char *other;

    if (!memcmp(&bytes, &print, sizeof(bytes))) {
        return;
    }
    need(strlen(text) == len);
    in.at = text;
    other = spell_value(&in);
    again = print_of(other, strlen(other), IDEM_FINGERPRINT_JSON, pool);
    need(!memcmp(&print, &again, sizeof(print)));
    in.at = text;
    in.change = change % in.values;
    in.values = 0;
    other = spell_value(&in);
    /* "0" for "-0" or "00" may be no JSON, and is another text anyway. */
    again = print_of(other, strlen(other), IDEM_FINGERPRINT_JSON, pool);
    need(memcmp(&print, &again, sizeof(print)) != 0);
}

/* --------------------------------------------------------------------- keys
 */

/* In pieces of step bytes. */
static apr_status_t seek(const char **value, const apr_array_header_t *all,
                         const char *text, size_t len, size_t step,
                         apr_pool_t *pool)
{
    idem_seek_t *seek = idem_seek_create(all, "application/json", pool);
    const char *why = NULL;
    apr_status_t rv;
    int which;

    need(seek != NULL);
    while (len > 0) {
        size_t n = len < step ? len : step;

        idem_seek_add(seek, text, n);
        text += n;
        len -= n;
    }
    rv = idem_seek_end(value, &which, &why, seek);
    need((rv == APR_EINVAL) == (why != NULL));
    return rv;
}

static void check_pointer(const char *pointer, const char *text, size_t len,
                          apr_pool_t *pool)
{
    apr_array_header_t *all = apr_array_make(pool, 1, sizeof(idem_source_t));
    const char *one = NULL, *other = NULL;
    apr_status_t rv;

    if (idem_source_parse(apr_array_push(all),
                          apr_pstrcat(pool, "json:", pointer, NULL))
        != APR_SUCCESS) {
        return;
    }
    rv = seek(&one, all, text, len, len + 1, pool);
    need(rv == seek(&other, all, text, len, 1, pool));
    need((rv == APR_SUCCESS) == (one != NULL));
    need(rv != APR_SUCCESS || !strcmp(one, other));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static apr_pool_t *pool;
    const char *text = (const char *)data;
    const char *end = len ? memchr(text, '\n', len) : NULL;
    const char *pointer;
    size_t left;

    if (!pool) {
        apr_initialize();
        apr_pool_create(&pool, NULL);
        need(idem_hash_init() == APR_SUCCESS);
    }
    if (!end) {
        return 0;
    }
    pointer = apr_pstrmemdup(pool, text, (apr_size_t)(end - text));
    left = len - (size_t)(end + 1 - text);
    text = apr_pstrmemdup(pool, end + 1, left);
    check_pointer(pointer, text, left, pool);
    check_meaning(text, left, (int)(left + (size_t)(unsigned char)*text),
                  pool);
    apr_pool_clear(pool);
    return 0;
}
