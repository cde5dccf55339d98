/* idem_page_metrics.c: the status as OpenMetrics 1.0 text.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_page.h"

#include <apr_strings.h>

#define TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"

static void family(request_rec *r, const char *name, const char *type,
                   const char *unit, const char *help)
{
    ap_rvputs(r, "# TYPE ", name, " ", type, "\n", NULL);
    if (unit) {
        ap_rvputs(r, "# UNIT ", name, " ", unit, "\n", NULL);
    }
    ap_rvputs(r, "# HELP ", name, " ", help, "\n", NULL);
}

/* The text is to be UTF-8, which nobody promises of a host's name. */
static const char *escape(const char *text, apr_pool_t *pool)
{
    char *escaped = apr_palloc(pool, 2 * strlen(text) + 1);
    char *to = escaped;

    for (; *text; text++) {
        if (*text == '"' || *text == '\\') {
            *to++ = '\\';
        }
        *to++ = (unsigned char)*text < 0x20 || (unsigned char)*text >= 0x7f
                    ? '?'
                    : *text;
    }
    *to = '\0';
    return escaped;
}

static const idem_view_host_t *host_at(const idem_view_t *view, int i)
{
    return view->whole ? APR_ARRAY_IDX(view->hosts, i, idem_view_host_t *)
                       : &view->sum;
}

static int nhosts(const idem_view_t *view)
{
    return view->whole ? view->hosts->nelts : 1;
}

static void requests(request_rec *r, const idem_view_t *view)
{
    int i, k;

    family(r, "idempotency_requests", "counter", NULL,
           "Requests by what became of them.");
    for (i = 0; i < nhosts(view); i++) {
        const idem_view_host_t *host = host_at(view, i);
        const char *label = escape(host->label, r->pool);

        for (k = 0; k < IDEM_RESULT_COUNT; k++) {
            ap_rprintf(r,
                       "idempotency_requests_total{host=\"%s\",result=\"%s\"}"
                       " %" APR_UINT64_T_FMT "\n",
                       label, idem_result_str(k), host->tally.result[k]);
        }
    }
}

static void lookups(request_rec *r, const idem_view_t *view)
{
    int i, k;

    family(r, "idempotency_lookups", "counter", NULL,
           "Keyed requests by what their key was found to be.");
    for (i = 0; i < nhosts(view); i++) {
        const idem_view_host_t *host = host_at(view, i);
        const char *label = escape(host->label, r->pool);

        for (k = 0; k < IDEM_FOUND_COUNT; k++) {
            ap_rprintf(r,
                       "idempotency_lookups_total{host=\"%s\",found=\"%s\"}"
                       " %" APR_UINT64_T_FMT "\n",
                       label, idem_view_found_str(k), host->tally.found[k]);
        }
    }
}

/* One family for each share. Where nothing was asked there is no share. */
static void shares(request_rec *r, const idem_view_t *view)
{
    apr_uint64_t part, of;
    const char *name;
    int i, k;

    for (k = 0; k < IDEM_SHARE_COUNT; k++) {
        name = apr_pstrcat(r->pool, "idempotency_", idem_share_text[k].word,
                           "_ratio", NULL);
        family(r, name, "gauge", "ratio",
               apr_pstrcat(r->pool, "Of the last hour: ",
                           idem_share_text[k].means, ".", NULL));
        for (i = 0; i < nhosts(view); i++) {
            const idem_view_host_t *host = host_at(view, i);

            idem_view_share(&part, &of, (idem_share_t)k, host->hour);
            if (of > 0) {
                ap_rprintf(r, "%s{host=\"%s\"} %.6f\n", name,
                           escape(host->label, r->pool),
                           (double)part / (double)of);
            }
        }
    }
}

/* One bound for each doubling; the last that has none is +Inf. */
static void histogram(request_rec *r, const char *name,
                      const idem_histogram_t *timing)
{
    apr_uint64_t n = 0;
    int i;

    for (i = 0; i < IDEM_HISTOGRAM_BUCKETS - 1; i++) {
        n += timing->bucket[i];
        if (i % IDEM_HISTOGRAM_PARTS == 0) {
            ap_rprintf(r, "%s_bucket{le=\"%.9g\"} %" APR_UINT64_T_FMT "\n",
                       name, (double)idem_histogram_bound(i) / 1e9, n);
        }
    }
    n += timing->bucket[i];
    ap_rprintf(r, "%s_bucket{le=\"+Inf\"} %" APR_UINT64_T_FMT "\n", name, n);
    ap_rprintf(r, "%s_count %" APR_UINT64_T_FMT "\n", name, n);
    ap_rprintf(r, "%s_sum %.9f\n", name, (double)timing->sum / 1e9);
}

static void timings(request_rec *r, const idem_view_t *view)
{
    static const char *const help[IDEM_TIMING_COUNT] = {
        "Time to look up and claim a key.",
        "Time to store a result.",
        "Time from the claim to the end of a replay.",
    };
    const char *name;
    int i;

    for (i = 0; i < IDEM_TIMING_COUNT; i++) {
        name = apr_pstrcat(r->pool, "idempotency_", idem_view_timing_str(i),
                           "_seconds", NULL);
        family(r, name, "histogram", "seconds", help[i]);
        histogram(r, name, &view->sum.tally.timing[i]);
    }
}

static void number(request_rec *r, const char *name, const char *suffix,
                   const char *type, const char *unit, const char *help,
                   apr_uint64_t value)
{
    family(r, name, type, unit, help);
    ap_rprintf(r, "%s%s %" APR_UINT64_T_FMT "\n", name, suffix, value);
}

static void records(request_rec *r, const idem_usage_t *usage)
{
    const struct {
        const char *state;
        apr_uint64_t n;
    } of[] = {
        { "executing", usage->executing },       { "done", usage->done },
        { "not-retained", usage->not_retained }, { "unknown", usage->unknown },
        { "expired", usage->tombstones },
    };
    apr_size_t i;

    family(r, "idempotency_store_records", "gauge", NULL,
           "Records in the store by state.");
    for (i = 0; i < sizeof(of) / sizeof(*of); i++) {
        ap_rprintf(r,
                   "idempotency_store_records{state=\"%s\"} %" APR_UINT64_T_FMT
                   "\n",
                   of[i].state, of[i].n);
    }
}

static void store(request_rec *r, const idem_view_t *view)
{
    const idem_usage_t *usage = &view->usage;

    number(r, "idempotency_store_size_bytes", "", "gauge", "bytes",
           "Bytes that the store may hold.", usage->size);
    number(r, "idempotency_store_used_bytes", "", "gauge", "bytes",
           "Bytes that the store holds.", usage->used);
    records(r, usage);
    if (usage->oldest) {
        apr_time_t left = usage->oldest - idem_store_now(idem_server_store);

        number(r, "idempotency_store_next_expiry_seconds", "", "gauge",
               "seconds", "Until the next record expires.",
               left > 0 ? (apr_uint64_t)apr_time_sec(left) : 0);
    }
    number(r, "idempotency_store_freed_records", "_total", "counter", NULL,
           "Records freed because their time was over.", usage->expired);
    number(r, "idempotency_store_repairs", "_total", "counter", NULL,
           "Parts of the store repaired after a crash.", usage->repairs);
    number(r, "idempotency_store_refused_claims", "_total", "counter", NULL,
           "Claims refused for want of room.", usage->refused);
}

void idem_page_metrics(request_rec *r, const idem_view_t *view)
{
    ap_set_content_type(r, TYPE);
    requests(r, view);
    lookups(r, view);
    shares(r, view);
    timings(r, view);
    if (view->whole) {
        number(r, "idempotency_waiting", "", "gauge", NULL,
               "Duplicates that wait for the first to end.",
               (apr_uint64_t)view->waiting);
        number(r, "idempotency_waiting_max", "", "gauge", NULL,
               "Duplicates that may wait.", (apr_uint64_t)view->waiting_max);
        store(r, view);
    }
    number(r, "idempotency_since_seconds", "", "gauge", "seconds",
           "When counting began, in seconds since 1970.",
           (apr_uint64_t)apr_time_sec(view->since));
    ap_rputs("# EOF\n", r);
}
