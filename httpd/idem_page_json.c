/* idem_page_json.c: the status as JSON.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_page.h"

#include <apr_strings.h>

static const char *const series_word[IDEM_SERIES_COUNT] = {
    "looked", "known", "replayed", "reused", "executed", "refused", "unknown",
};

static void shares(idem_out_t *out, const char *name,
                   const apr_uint64_t *series)
{
    apr_uint64_t part, of;
    int i;

    idem_out_object(out, name);
    for (i = 0; i < IDEM_SHARE_COUNT; i++) {
        idem_view_share(&part, &of, (idem_share_t)i, series);
        idem_out_object(out, idem_share_text[i].word);
        idem_out_raw(
            out, "share",
            of ? apr_psprintf(out->pool, "%.6f", (double)part / (double)of)
               : NULL);
        idem_out_number(out, "part", part);
        idem_out_number(out, "of", of);
        idem_out_end(out);
    }
    idem_out_end(out);
}

static void counts(idem_out_t *out, const idem_view_host_t *host)
{
    int i;

    idem_out_object(out, "rates");
    shares(out, "last_hour", host->hour);
    shares(out, "since_start", host->total);
    idem_out_end(out);
    idem_out_object(out, "requests");
    for (i = 0; i < IDEM_RESULT_COUNT; i++) {
        idem_out_number(out, idem_result_str(i), host->tally.result[i]);
    }
    idem_out_end(out);
    idem_out_object(out, "lookups");
    for (i = 0; i < IDEM_FOUND_COUNT; i++) {
        idem_out_number(out, idem_view_found_str(i), host->tally.found[i]);
    }
    idem_out_end(out);
}

static void seconds(idem_out_t *out, const char *name, apr_uint64_t ns)
{
    idem_out_raw(out, name, apr_psprintf(out->pool, "%.9f", (double)ns / 1e9));
}

static void latency(idem_out_t *out, const idem_view_host_t *host)
{
    int i;

    idem_out_object(out, "latency_seconds");
    for (i = 0; i < IDEM_TIMING_COUNT; i++) {
        const idem_histogram_t *timing = &host->tally.timing[i];
        apr_uint64_t n = idem_histogram_count(timing);

        idem_out_object(out, idem_view_timing_str(i));
        idem_out_number(out, "count", n);
        seconds(out, "sum", timing->sum);
        if (n > 0) {
            seconds(out, "p50", idem_histogram_within(timing, 500));
            seconds(out, "p90", idem_histogram_within(timing, 900));
            seconds(out, "p99", idem_histogram_within(timing, 990));
            seconds(out, "p999", idem_histogram_within(timing, 999));
        }
        idem_out_end(out);
    }
    idem_out_end(out);
}

static void store(idem_out_t *out, const idem_view_t *view)
{
    const idem_usage_t *usage = &view->usage;
    apr_time_t now = idem_store_now(idem_server_store);

    idem_out_object(out, "store");
    idem_out_text(out, "name", idem_server_store->name);
    idem_out_number(out, "size_bytes", usage->size);
    idem_out_number(out, "used_bytes", usage->used);
    idem_out_raw(out, "fill",
                 usage->size
                     ? apr_psprintf(out->pool, "%.4f",
                                    (double)usage->used / (double)usage->size)
                     : NULL);
    idem_out_object(out, "records");
    idem_out_number(out, "executing", usage->executing);
    idem_out_number(out, "done", usage->done);
    idem_out_number(out, "not-retained", usage->not_retained);
    idem_out_number(out, "unknown", usage->unknown);
    idem_out_number(out, "expired", usage->tombstones);
    idem_out_end(out);
    idem_out_time(out, "next_expiry",
                  usage->oldest ? view->now + (usage->oldest - now) : 0);
    idem_out_number(out, "freed_records", usage->expired);
    idem_out_number(out, "repairs", usage->repairs);
    idem_out_number(out, "refused_claims", usage->refused);
    idem_out_end(out);
}

static void history(idem_out_t *out, const idem_view_t *view)
{
    int i, k;

    idem_out_object(out, "history");
    idem_out_number(out, "step_seconds", IDEM_NUMBERS_STEP);
    idem_out_number(out, "steps", IDEM_VIEW_POINTS);
    for (k = 0; k < IDEM_SERIES_COUNT; k++) {
        idem_out_array(out, series_word[k]);
        for (i = 0; i < IDEM_VIEW_POINTS; i++) {
            if (view->point[i].known) {
                idem_out_number(out, NULL, view->point[i].of[k]);
            }
            else {
                idem_out_raw(out, NULL, NULL);
            }
        }
        idem_out_end(out);
    }
    if (view->whole) {
        idem_out_array(out, "used_bytes");
        for (i = 0; i < IDEM_VIEW_POINTS; i++) {
            if (view->point[i].known) {
                idem_out_number(out, NULL, view->point[i].used);
            }
            else {
                idem_out_raw(out, NULL, NULL);
            }
        }
        idem_out_end(out);
    }
    idem_out_end(out);
}

void idem_page_json(request_rec *r, const idem_view_t *view)
{
    idem_out_t out;
    int i;

    idem_page_json_begin(&out, r);
    idem_out_object(&out, NULL);
    idem_out_text(&out, "module", "mod_idempotency");
    idem_out_text(&out, "scope", view->whole ? "server" : "host");
    if (!view->whole) {
        idem_out_text(&out, "host", view->sum.label);
        idem_out_bool(&out, "counted_apart", view->apart);
    }
    idem_out_time(&out, "time", view->now);
    idem_out_time(&out, "since", view->since);
    counts(&out, &view->sum);
    latency(&out, &view->sum);
    if (view->whole) {
        idem_out_number(&out, "waiting", (apr_uint64_t)view->waiting);
        idem_out_number(&out, "waiting_max", (apr_uint64_t)view->waiting_max);
        store(&out, view);
        idem_out_array(&out, "hosts");
        for (i = 0; i < view->hosts->nelts; i++) {
            const idem_view_host_t *host =
                APR_ARRAY_IDX(view->hosts, i, idem_view_host_t *);

            idem_out_object(&out, NULL);
            idem_out_text(&out, "host", host->label);
            idem_out_text(&out, "name", host->name);
            counts(&out, host);
            latency(&out, host);
            idem_out_end(&out);
        }
        idem_out_end(&out);
    }
    history(&out, view);
    idem_out_end(&out);
}
