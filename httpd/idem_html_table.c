/* idem_html_table.c: virtual hosts, results, findings and latencies.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_html.h"

#include <stdlib.h>

#include <apr_strings.h>

/* In the order of idem_result_t and idem_problem_t. */
static const char *const result_means[IDEM_RESULT_COUNT] = {
    "run, and the answer stands",
    "run, but the answer said that nothing was done",
    "a retry got the first answer",
    "run unprotected",
    "no key where one is required",
    "a key that cannot be used",
    "a body over the limit",
    "a known key with another request",
    "a known key whose first request still runs",
    "a known key whose answer was not kept",
    "nobody knows what the first request did",
    "a known key, or one by its own time, that is too old",
    "no room, or no store",
};

static const char *const found_means[IDEM_FOUND_COUNT] = {
    "never seen, or its time is over",
    "its first request still runs",
    "its answer is kept",
    "done, but its answer was not kept",
    "its first request ended without a known result",
    "only a tombstone is left",
    "known, but with another request",
};

static void cell(request_rec *r, const char *value)
{
    ap_rvputs(r, "<td>", value, "</td>", NULL);
}

static void count_cell(request_rec *r, apr_uint64_t n)
{
    ap_rvputs(r, n ? "<td>" : "<td class=\"zero\">",
              idem_html_number(n, r->pool), "</td>", NULL);
}

static void row_head(request_rec *r, const char *word, const char *means)
{
    ap_rvputs(r, "<tr><th scope=\"row\">", word, "<small>", means,
              "</small></th>", NULL);
}

/* ---------------------------------------------------------- virtual hosts */

static int by_use(const void *va, const void *vb)
{
    const idem_view_host_t *a = *(idem_view_host_t *const *)va;
    const idem_view_host_t *b = *(idem_view_host_t *const *)vb;
    const apr_uint64_t na = a->hour[IDEM_SERIES_LOOKED];
    const apr_uint64_t nb = b->hour[IDEM_SERIES_LOOKED];

    if (na != nb) {
        return na < nb ? 1 : -1;
    }
    if (a->total[IDEM_SERIES_LOOKED] != b->total[IDEM_SERIES_LOOKED]) {
        return a->total[IDEM_SERIES_LOOKED] < b->total[IDEM_SERIES_LOOKED]
                   ? 1
                   : -1;
    }
    return strcmp(a->label, b->label);
}

static void host_count(request_rec *r, const char *of, apr_uint64_t n)
{
    ap_rvputs(r, "<td role=\"cell\" data-of=\"", of,
              n ? "\">" : "\" class=\"zero\">", idem_html_number(n, r->pool),
              "</td>", NULL);
}

static void host_share(request_rec *r, const char *of, idem_share_t share,
                       const idem_view_host_t *host)
{
    apr_uint64_t part, all;

    idem_view_share(&part, &all, share, host->hour);
    ap_rvputs(r, "<td role=\"cell\" data-of=\"", of, "\">",
              idem_html_percent(part, all, r->pool), "</td>", NULL);
}

static void host_row(request_rec *r, const idem_view_host_t *host)
{
    ap_rvputs(r,
              "<tr role=\"row\"><th scope=\"row\" role=\"rowheader\" "
              "class=\"name\">",
              idem_html_escape(host->label, r->pool), "</th>", NULL);
    host_count(r, "Looked up", host->hour[IDEM_SERIES_LOOKED]);
    host_count(r, "Executed", host->hour[IDEM_SERIES_EXECUTED]);
    host_count(r, "Replayed", host->hour[IDEM_SERIES_REPLAYED]);
    host_count(r, "Refused", host->hour[IDEM_SERIES_REFUSED]);
    host_count(r, "Unknown", host->hour[IDEM_SERIES_UNKNOWN]);
    host_share(r, "Duplicates", IDEM_SHARE_DUPLICATE, host);
    host_share(r, "Answered", IDEM_SHARE_ANSWERED, host);
    ap_rputs("</tr>\n", r);
}

/* A phone shows the rows as blocks, which would take the table its meaning
 * without the roles. */
static void hosts(request_rec *r, const idem_view_t *view)
{
    static const char *const column[] = { "Host",       "Looked up",
                                          "Executed",   "Replayed",
                                          "Refused",    "Unknown",
                                          "Duplicates", "Answered" };
    apr_array_header_t *sorted = apr_array_copy(r->pool, view->hosts);
    apr_size_t k;
    int i;

    qsort(sorted->elts, (size_t)sorted->nelts, sizeof(idem_view_host_t *),
          by_use);
    ap_rputs("<section aria-labelledby=\"h-hosts\">\n<h2 id=\"h-hosts\">"
             "Virtual hosts</h2>\n<div class=\"card hosts\">\n"
             "<table role=\"table\"><caption>The last hour; the busiest first"
             "</caption>\n<thead role=\"rowgroup\"><tr role=\"row\">",
             r);
    for (k = 0; k < sizeof(column) / sizeof(*column); k++) {
        ap_rvputs(r, "<th scope=\"col\" role=\"columnheader\">", column[k],
                  "</th>", NULL);
    }
    ap_rputs("</tr></thead>\n<tbody role=\"rowgroup\">\n", r);
    for (i = 0; i < sorted->nelts; i++) {
        host_row(r, APR_ARRAY_IDX(sorted, i, idem_view_host_t *));
    }
    ap_rputs("</tbody></table>\n</div>\n</section>\n", r);
}

/* ---- counters */

static void results(request_rec *r, const idem_view_t *view)
{
    int i;

    ap_rputs("<section aria-labelledby=\"h-results\">\n<h2 id=\"h-results\">"
             "Results</h2>\n<div class=\"card\">\n<table><caption>What became "
             "of requests, since counting began</caption>\n<thead><tr>"
             "<th scope=\"col\">Result</th><th scope=\"col\">Requests</th>"
             "</tr></thead>\n<tbody>\n",
             r);
    for (i = 0; i < IDEM_RESULT_COUNT; i++) {
        row_head(r, idem_result_str(i), result_means[i]);
        count_cell(r, view->sum.tally.result[i]);
        ap_rputs("</tr>\n", r);
    }
    ap_rputs("</tbody></table>\n</div>\n</section>\n", r);
}

static void findings(request_rec *r, const idem_view_t *view)
{
    int i;

    ap_rputs("<section aria-labelledby=\"h-found\">\n<h2 id=\"h-found\">"
             "Look-ups</h2>\n<div class=\"card\">\n<table><caption>What keys "
             "were found to be, since counting began</caption>\n<thead><tr>"
             "<th scope=\"col\">Found</th><th scope=\"col\">Requests</th>"
             "</tr></thead>\n<tbody>\n",
             r);
    for (i = 0; i < IDEM_FOUND_COUNT; i++) {
        row_head(r, idem_view_found_str(i), found_means[i]);
        count_cell(r, view->sum.tally.found[i]);
        ap_rputs("</tr>\n", r);
    }
    ap_rputs("</tbody></table>\n</div>\n</section>\n", r);
}

static void time_cell(request_rec *r, const idem_histogram_t *timing,
                      int permille)
{
    cell(r, idem_histogram_count(timing) ? idem_html_time(
                idem_histogram_within(timing, permille), r->pool)
                                         : "&ndash;");
}

static void latencies(request_rec *r, const idem_view_t *view)
{
    static const char *const means[IDEM_TIMING_COUNT] = {
        "look-up in the store",
        "storing a result",
        "look-up until sent",
    };
    int i;

    ap_rputs("<section aria-labelledby=\"h-time\">\n<h2 id=\"h-time\">"
             "Latency</h2>\n<div class=\"card\">\n<div class=\"scroll\" "
             "tabindex=\"0\" role=\"region\" aria-labelledby=\"h-time\">"
             "<table><caption>Since counting began</caption>\n<thead><tr>"
             "<th scope=\"col\">Step</th><th scope=\"col\">p50</th>"
             "<th scope=\"col\">p99</th><th scope=\"col\">p99.9</th>"
             "<th scope=\"col\">Count</th></tr></thead>\n<tbody>\n",
             r);
    for (i = 0; i < IDEM_TIMING_COUNT; i++) {
        const idem_histogram_t *timing = &view->sum.tally.timing[i];

        row_head(r, idem_view_timing_str(i), means[i]);
        time_cell(r, timing, 500);
        time_cell(r, timing, 990);
        time_cell(r, timing, 999);
        count_cell(r, idem_histogram_count(timing));
        ap_rputs("</tr>\n", r);
    }
    ap_rputs("</tbody></table></div>\n</div>\n</section>\n", r);
}

void idem_html_tables(request_rec *r, const idem_view_t *view)
{
    if (view->whole) {
        hosts(r, view);
    }
    ap_rputs("<div class=\"two\">\n", r);
    results(r, view);
    ap_rputs("<div class=\"stack\">\n", r);
    latencies(r, view);
    findings(r, view);
    ap_rputs("</div>\n</div>\n", r);
}
