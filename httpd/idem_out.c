/* idem_out.c: JSON, written as the body of a response.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_out.h"

#include <apr_strings.h>

#include "idem_text.h"

/* '<' too: nothing in it may look like a page. */
const char *idem_out_quote(const char *text, apr_pool_t *pool)
{
    return apr_pstrcat(pool, "\"", idem_text_json(text, '<', pool), "\"",
                       NULL);
}

static void new_line(const idem_out_t *out)
{
    int i;

    if (out->lines && out->depth > 0) {
        ap_rputc('\n', out->r);
        for (i = 0; i < out->depth; i++) {
            ap_rputs("  ", out->r);
        }
    }
}

/* Values of an array share a line; objects in it have lines of their own. */
static void begin(idem_out_t *out, const char *name, int nested)
{
    if (out->any[out->depth]) {
        ap_rputc(',', out->r);
    }
    out->any[out->depth] = 1;
    if (name || nested) {
        new_line(out);
    }
    if (name) {
        ap_rvputs(out->r, idem_out_quote(name, out->pool),
                  out->lines ? ": " : ":", NULL);
    }
}

static void nest(idem_out_t *out, const char *name, char open, char close)
{
    begin(out, name, 1);
    ap_rputc(open, out->r);
    /* No page nests so deep; if one did, its JSON would not parse. */
    if (out->depth + 1 < IDEM_OUT_DEPTH) {
        out->depth++;
    }
    out->any[out->depth] = 0;
    out->close[out->depth] = close;
}

void idem_out_object(idem_out_t *out, const char *name)
{
    nest(out, name, '{', '}');
}

void idem_out_array(idem_out_t *out, const char *name)
{
    nest(out, name, '[', ']');
}

void idem_out_end(idem_out_t *out)
{
    char close = out->close[out->depth];
    int any = out->any[out->depth];

    out->depth--;
    if (any && close == '}') {
        new_line(out);
    }
    ap_rputc(close, out->r);
    if (out->depth == 0) {
        ap_rputc('\n', out->r);
        out->any[0] = 0;
    }
}

void idem_out_raw(idem_out_t *out, const char *name, const char *value)
{
    begin(out, name, 0);
    ap_rputs(value ? value : "null", out->r);
}

void idem_out_text(idem_out_t *out, const char *name, const char *value)
{
    idem_out_raw(out, name, value ? idem_out_quote(value, out->pool) : NULL);
}

void idem_out_number(idem_out_t *out, const char *name, apr_uint64_t value)
{
    begin(out, name, 0);
    ap_rprintf(out->r, "%" APR_UINT64_T_FMT, value);
}

void idem_out_bool(idem_out_t *out, const char *name, int value)
{
    idem_out_raw(out, name, value ? "true" : "false");
}

const char *idem_out_rfc3339(apr_time_t value, apr_pool_t *pool)
{
    apr_time_exp_t at;

    if (apr_time_exp_gmt(&at, value) != APR_SUCCESS) {
        return "1970-01-01T00:00:00Z";
    }
    return apr_psprintf(pool, "%04d-%02d-%02dT%02d:%02d:%02dZ",
                        at.tm_year + 1900, at.tm_mon + 1, at.tm_mday,
                        at.tm_hour, at.tm_min, at.tm_sec);
}

void idem_out_time(idem_out_t *out, const char *name, apr_time_t value)
{
    idem_out_text(out, name,
                  value ? idem_out_rfc3339(value, out->pool) : NULL);
}
