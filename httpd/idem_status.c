/* idem_status.c: result words, and the section in mod_status.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_view.h"

#include <apr_lib.h>
#include <apr_strings.h>

#include "mod_status.h"

const char *idem_result_str(int result)
{
    switch (result) {
    case IDEM_RESULT_EXECUTED:
        return "executed";
    case IDEM_RESULT_RELEASED:
        return "released";
    case IDEM_RESULT_REPLAYED:
        return "replayed";
    case IDEM_RESULT_BYPASSED:
        return "bypassed";
    default:
        return idem_problem_str(
            (idem_problem_t)(result - IDEM_RESULT_PROBLEM));
    }
}

/* "key-reused" -> "KeyReused", as names in ?auto look. */
static const char *camel(const char *word, apr_pool_t *pool)
{
    char *text = apr_palloc(pool, strlen(word) + 1);
    char *to = text;
    int upper = 1;

    for (; *word; word++) {
        if (*word == '-') {
            upper = 1;
            continue;
        }
        *to++ = upper ? (char)apr_toupper(*word) : *word;
        upper = 0;
    }
    *to = '\0';
    return text;
}

typedef struct {
    request_rec *r;
    int flags;
} page_t;

static void show(const page_t *page, const char *word, const char *title,
                 const char *value)
{
    request_rec *r = page->r;

    if (page->flags & AP_STATUS_SHORT) {
        ap_rvputs(r, "Idempotency", camel(word, r->pool), ": ", value, "\n",
                  NULL);
    }
    else if (page->flags & AP_STATUS_NOTABLE) {
        ap_rvputs(r, title, ": ", value, "<br />\n", NULL);
    }
    else {
        ap_rvputs(r, "<tr><td>", title, "</td><td align=\"right\">", value,
                  "</td></tr>\n", NULL);
    }
}

static void show_number(const page_t *page, const char *word,
                        const char *title, apr_uint64_t value)
{
    show(page, word, title,
         apr_psprintf(page->r->pool, "%" APR_UINT64_T_FMT, value));
}

static void show_store(const page_t *page, const idem_usage_t *usage)
{
    show_number(page, "store-size", "store size, bytes", usage->size);
    show_number(page, "store-used", "store used, bytes", usage->used);
    show_number(page, "records-executing", "records executing",
                usage->executing);
    show_number(page, "records-done", "records done", usage->done);
    show_number(page, "records-not-retained", "records not retained",
                usage->not_retained);
    show_number(page, "records-unknown", "records of unknown outcome",
                usage->unknown);
    show_number(page, "tombstones", "tombstones of expired records",
                usage->tombstones);
    show_number(page, "records-expired", "records expired so far",
                usage->expired);
    show_number(page, "store-repairs", "repairs after a crash so far",
                usage->repairs);
    show_number(page, "store-refused",
                "claims refused for want of room so far", usage->refused);
}

static void show_shares(const page_t *page, const idem_view_t *view)
{
    apr_pool_t *pool = page->r->pool;
    apr_uint64_t part, of;
    int i;

    for (i = 0; i < IDEM_SHARE_COUNT; i++) {
        const idem_share_text_t *text = &idem_share_text[i];

        idem_view_share(&part, &of, (idem_share_t)i, view->sum.hour);
        show(page, apr_pstrcat(pool, text->word, "-percent", NULL),
             apr_pstrcat(pool, text->means, ", last hour, percent", NULL),
             of ? apr_psprintf(pool, "%.2f", 100.0 * (double)part / (double)of)
                : "-");
    }
}

static void show_timings(const page_t *page, const idem_view_t *view)
{
    apr_pool_t *pool = page->r->pool;
    int i;

    for (i = 0; i < IDEM_TIMING_COUNT; i++) {
        const idem_histogram_t *timing = &view->sum.tally.timing[i];
        const char *word = idem_view_timing_str(i);

        show(page, apr_pstrcat(pool, word, "-p50-us", NULL),
             apr_pstrcat(pool, word, ", half within, microseconds", NULL),
             apr_psprintf(pool, "%.1f",
                          (double)idem_histogram_within(timing, 500) / 1e3));
        show(page, apr_pstrcat(pool, word, "-p99-us", NULL),
             apr_pstrcat(pool, word, ", 99 % within, microseconds", NULL),
             apr_psprintf(pool, "%.1f",
                          (double)idem_histogram_within(timing, 990) / 1e3));
    }
}

/* Sums only, never keys or hosts: mod_status shows every request anyway, and
 * who may see it is mod_status's to say. */
int idem_status_hook(request_rec *r, int flags)
{
    page_t page = { 0 };
    const idem_view_t *view;
    int table = !(flags & (AP_STATUS_SHORT | AP_STATUS_NOTABLE));
    int i;

    if (!idem_server_store) {
        return DECLINED;
    }
    page.r = r;
    page.flags = flags;
    view = idem_view_create(r, 1);
    if (!(flags & AP_STATUS_SHORT)) {
        ap_rputs("<hr />\n<h1>Idempotency</h1>\n", r);
    }
    if (table) {
        ap_rputs("<table border=\"0\">\n", r);
    }
    for (i = 0; i < IDEM_RESULT_COUNT; i++) {
        show_number(
            &page, idem_result_str(i),
            apr_pstrcat(r->pool, "requests ", idem_result_str(i), NULL),
            view->sum.tally.result[i]);
    }
    show_number(&page, "waiting", "requests that wait now",
                (apr_uint64_t)view->waiting);
    show_number(&page, "waiting-max", "requests that may wait",
                (apr_uint64_t)view->waiting_max);
    show_store(&page, &view->usage);
    show_shares(&page, view);
    show_timings(&page, view);
    if (table) {
        ap_rputs("</table>\n", r);
    }
    return OK;
}
