/* idem_source.c: where a key may stand, and finding it in query and body.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_source.h"

#include <string.h>

#include <apr_strings.h>

#include "idem_disposition.h"
#include "idem_form.h"
#include "idem_json.h"
#include "idem_multipart.h"

#define FORM_DATA_TYPE "multipart/form-data"

static const char not_json[] =
    "A key could be in the body, which is not JSON with one meaning, or too "
    "deep to look for it.";
static const char too_long[] =
    "A key could be in the body, which is too long to look for it.";
static const char not_string[] =
    "The member of the key is not a string without U+0000.";
static const char not_multipart[] =
    "A key could be in the body, which is not a well-formed form.";

/* ----------------------------------------------------------------- sources */

apr_status_t idem_source_parse(idem_source_t *source, const char *text)
{
    static const char *const prefixes[] = { "header:", "query:", "form:",
                                            "json:" };
    int i;

    for (i = 0; i < 4; i++) {
        apr_size_t len = strlen(prefixes[i]);

        if (!strncmp(text, prefixes[i], len)) {
            source->kind = (idem_source_kind_t)i;
            source->name = text + len;
            break;
        }
    }
    if (i == 4 || !*source->name || strlen(source->name) > IDEM_WANTED_NAME_MAX
        || (source->kind == IDEM_SOURCE_HEADER
            && !idem_text_is_token(source->name))
        || (source->kind == IDEM_SOURCE_JSON
            && !idem_json_is_pointer(source->name))) {
        return APR_EINVAL;
    }
    return APR_SUCCESS;
}

const char *idem_source_names(const apr_array_header_t *sources,
                              apr_pool_t *pool)
{
    static const char *const what[] = { "the field ", "the query parameter ",
                                        "the form field ",
                                        "the JSON member " };
    const char *text = "";
    int i;

    for (i = 0; i < sources->nelts; i++) {
        const idem_source_t *source =
            &APR_ARRAY_IDX(sources, i, idem_source_t);

        text = apr_pstrcat(pool, text, i ? " or " : "", what[source->kind],
                           source->name, NULL);
    }
    return text;
}

apr_status_t idem_source_query(const char **value, const char **why,
                               const char *query, const char *name,
                               apr_pool_t *pool)
{
    idem_wanted_t *wanted;
    idem_form_t *form;

    if (!query) {
        return APR_NOTFOUND;
    }
    wanted = idem_wanted_create(&name, 1, pool);
    form = idem_form_create(wanted, pool);
    idem_form_add(form, query, strlen(query));
    idem_form_end(form);
    return idem_wanted_result(value, why, wanted, 0);
}

/* ------------------------------------------------------------------- bodies
 */

struct idem_seek_t {
    const apr_array_header_t *sources;
    int first; /* index of the first one of this kind */
    apr_pool_t *pool;
    idem_source_kind_t kind; /* FORM or JSON */
    idem_wanted_t *wanted;   /* FORM: one name for each source */
    idem_form_t *form;       /* FORM, urlencoded */
    idem_multipart_t *parts; /* FORM, multipart; NULL: no boundary */
    int taken;               /* the part that is being read is wanted */
    int doubt;               /* what the name of some part is */
    int empty;
    idem_text_t text; /* JSON */
};

static void begin_part(void *baton, const char *headers, apr_size_t len)
{
    idem_seek_t *seek = baton;
    /* All of it in escapes; the one more keeps a cut name from being equal. */
    char name[3 * IDEM_WANTED_NAME_MAX + 1];
    apr_size_t name_len = sizeof(name);

    switch (idem_disposition_parse(name, &name_len, headers, len)) {
    case IDEM_DISPOSITION_NONE:
        seek->taken = 0;
        return;
    case IDEM_DISPOSITION_FIELD:
        seek->taken = idem_wanted_name(seek->wanted, name, name_len);
        if (!seek->taken) {
            name_len = idem_disposition_unescape(name, name_len);
            seek->taken = idem_wanted_name(seek->wanted, name, name_len);
        }
        return;
    case IDEM_DISPOSITION_DOUBT:
        break;
    }
    seek->doubt = 1;
    seek->taken = 0;
}

static void add_content(void *baton, const char *data, apr_size_t len)
{
    idem_seek_t *seek = baton;

    if (seek->taken) {
        idem_wanted_add(seek->wanted, data, len);
    }
}

static void end_part(void *baton)
{
    idem_seek_t *seek = baton;

    if (seek->taken) {
        idem_wanted_end(seek->wanted, 0);
    }
}

static const idem_multipart_sink_t sink = { begin_part, add_content,
                                            end_part };

static idem_wanted_t *want_fields(const apr_array_header_t *sources,
                                  apr_pool_t *pool)
{
    const char **names =
        apr_pcalloc(pool, sizeof(*names) * (apr_size_t)sources->nelts);
    int i;

    for (i = 0; i < sources->nelts; i++) {
        const idem_source_t *source =
            &APR_ARRAY_IDX(sources, i, idem_source_t);

        names[i] = source->kind == IDEM_SOURCE_FORM ? source->name : NULL;
    }
    return idem_wanted_create(names, sources->nelts, pool);
}

/* The index of the first source that can be in a body of this type, or -1. */
static int first_source(const apr_array_header_t *sources,
                        const char *content_type)
{
    int form = idem_text_is_type(content_type, FORM_DATA_TYPE)
               || idem_text_is_type(content_type, IDEM_FORM_TYPE);
    int json = idem_json_is_type(content_type);
    int i;

    for (i = 0; i < sources->nelts; i++) {
        switch (APR_ARRAY_IDX(sources, i, idem_source_t).kind) {
        case IDEM_SOURCE_FORM:
            if (form) {
                return i;
            }
            break;
        case IDEM_SOURCE_JSON:
            if (json) {
                return i;
            }
            break;
        case IDEM_SOURCE_HEADER:
        case IDEM_SOURCE_QUERY:
            break;
        }
    }
    return -1;
}

int idem_seek_is_possible(const apr_array_header_t *sources,
                          const char *content_type)
{
    return first_source(sources, content_type) >= 0;
}

idem_seek_t *idem_seek_create(const apr_array_header_t *sources,
                              const char *content_type, apr_pool_t *pool)
{
    int first = first_source(sources, content_type);
    idem_seek_t *seek;

    if (first < 0) {
        return NULL;
    }
    seek = apr_pcalloc(pool, sizeof(*seek));
    seek->sources = sources;
    seek->first = first;
    seek->pool = pool;
    seek->kind = APR_ARRAY_IDX(sources, first, idem_source_t).kind;
    seek->empty = 1;
    if (seek->kind == IDEM_SOURCE_JSON) {
        idem_text_init(&seek->text, pool);
        return seek;
    }
    seek->wanted = want_fields(sources, pool);
    if (idem_text_is_type(content_type, IDEM_FORM_TYPE)) {
        seek->form = idem_form_create(seek->wanted, pool);
    }
    else {
        seek->parts = idem_multipart_create(content_type, &sink, seek, pool);
    }
    return seek;
}

void idem_seek_add(idem_seek_t *seek, const char *data, apr_size_t len)
{
    seek->empty &= len == 0;
    if (seek->kind == IDEM_SOURCE_JSON) {
        idem_text_add(&seek->text, data, len);
    }
    else if (seek->form) {
        idem_form_add(seek->form, data, len);
    }
    else if (seek->parts) {
        idem_multipart_add(seek->parts, data, len);
    }
}

/* One source of a JSON body. */
static apr_status_t find_string(const char **value, const char **why,
                                const idem_json_t *json, const char *pointer)
{
    apr_status_t rv = idem_json_string(value, json, pointer);

    if (rv == APR_EINVAL) {
        *why = not_string;
    }
    return rv;
}

static apr_status_t find_first(const char **value, int *which,
                               const char **why, const idem_seek_t *seek,
                               const idem_json_t *json)
{
    apr_status_t rv = APR_NOTFOUND;
    int i;

    for (i = seek->first; i < seek->sources->nelts && rv == APR_NOTFOUND;
         i++) {
        const idem_source_t *source =
            &APR_ARRAY_IDX(seek->sources, i, idem_source_t);

        if (source->kind != seek->kind) {
            continue;
        }
        rv = json ? find_string(value, why, json, source->name)
                  : idem_wanted_result(value, why, seek->wanted, i);
        *which = i;
    }
    return rv;
}

apr_status_t idem_seek_end(const char **value, int *which, const char **why,
                           idem_seek_t *seek)
{
    idem_json_t *json = NULL;

    if (seek->empty) {
        return APR_NOTFOUND;
    }
    *which = seek->first;
    if (seek->form) {
        idem_form_end(seek->form);
    }
    else if (seek->kind == IDEM_SOURCE_FORM) {
        if (seek->doubt || !seek->parts || !idem_multipart_end(seek->parts)) {
            *why = not_multipart;
            return APR_EINVAL;
        }
    }
    else if (seek->text.over) {
        *why = too_long;
        return APR_EINVAL;
    }
    else {
        json = idem_json_create(seek->text.data, seek->text.len, seek->pool);
        if (!json) {
            *why = not_json;
            return APR_EINVAL;
        }
    }
    return find_first(value, which, why, seek, json);
}
