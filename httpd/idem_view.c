/* idem_view.c: all that a status page shows, as it is at one moment.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Copied first, so that a slow reader of the page holds up nothing, and all
 * faces of it say the same.
 */
#include "idem_view.h"

#include <apr_strings.h>

#include "http_main.h"

const idem_share_text_t idem_share_text[IDEM_SHARE_COUNT] = {
    { "duplicate", "Duplicates",
      "keyed requests whose key was known already" },
    { "answered", "Retries answered",
      "retries that got the first answer back" },
    { "replay", "Replay rate", "keyed requests answered by a replay" },
    { "reuse", "Reused keys", "keyed requests with a key of another request" },
};

void idem_view_share(apr_uint64_t *part, apr_uint64_t *of, idem_share_t share,
                     const apr_uint64_t *series)
{
    *of = series[IDEM_SERIES_LOOKED];
    *part = 0;
    switch (share) {
    case IDEM_SHARE_DUPLICATE:
        *part = series[IDEM_SERIES_KNOWN];
        break;
    case IDEM_SHARE_ANSWERED:
        /* A retry is the same request again; a reused key is a mistake. */
        *part = series[IDEM_SERIES_REPLAYED];
        *of = series[IDEM_SERIES_KNOWN] - series[IDEM_SERIES_REUSED];
        break;
    case IDEM_SHARE_REPLAY:
        *part = series[IDEM_SERIES_REPLAYED];
        break;
    case IDEM_SHARE_REUSE:
        *part = series[IDEM_SERIES_REUSED];
        break;
    case IDEM_SHARE_COUNT:
        break;
    }
    /* Counters beside each other are not read at the same instant. */
    if (*part > *of) {
        *part = *of;
    }
}

const char *idem_view_found_str(int found)
{
    switch ((idem_claim_t)found) {
    case IDEM_CLAIM_NEW:
        return "new";
    case IDEM_CLAIM_IN_PROGRESS:
        return "in-progress";
    case IDEM_CLAIM_DONE:
        return "done";
    case IDEM_CLAIM_NOT_RETAINED:
        return "not-retained";
    case IDEM_CLAIM_UNKNOWN:
        return "unknown";
    case IDEM_CLAIM_EXPIRED:
        return "expired";
    case IDEM_CLAIM_REUSED:
        return "reused";
    }
    return "";
}

const char *idem_view_timing_str(int timing)
{
    switch ((idem_timing_t)timing) {
    case IDEM_TIMING_CLAIM:
        return "claim";
    case IDEM_TIMING_COMMIT:
        return "commit";
    case IDEM_TIMING_REPLAY:
        return "replay";
    case IDEM_TIMING_COUNT:
        break;
    }
    return "";
}

const idem_srv_conf_t *idem_view_host(apr_uint32_t sum)
{
    const idem_srv_conf_t *srv;
    server_rec *s;

    for (s = ap_server_conf; s; s = s->next) {
        srv = ap_get_module_config(s->module_config, &idempotency_module);
        if (srv->host_sum == sum) {
            return srv;
        }
    }
    return NULL;
}

/* ------------------------------------------------------------- gathering */

/* What was counted within the last hour: since the oldest sample of it, or
 * all if the row is younger. */
static void add_hour(idem_view_host_t *host, const idem_row_t *row,
                     apr_uint32_t tick)
{
    const idem_sample_t *sample = NULL;
    apr_uint32_t oldest =
        tick > IDEM_VIEW_POINTS ? tick - IDEM_VIEW_POINTS : 1;
    apr_uint64_t of[IDEM_SERIES_COUNT];
    int i;

    idem_numbers_of_row(of, row);
    if (row->born < oldest) {
        for (; !sample && oldest <= tick; oldest++) {
            sample = idem_numbers_at(row, oldest);
        }
    }
    for (i = 0; i < IDEM_SERIES_COUNT; i++) {
        host->hour[i] += sample ? (apr_uint32_t)of[i] - sample->of[i] : of[i];
    }
}

static void add_row(idem_view_host_t *host, const idem_row_t *row,
                    apr_uint32_t tick)
{
    idem_numbers_add(&host->tally, row);
    idem_numbers_series(host->total, &host->tally);
    add_hour(host, row, tick);
}

static void add_points(idem_view_t *view, const idem_row_t *row,
                       apr_uint32_t tick)
{
    int i, k;

    for (i = 0; i < IDEM_VIEW_POINTS; i++) {
        apr_uint32_t end = tick - (apr_uint32_t)(IDEM_VIEW_POINTS - 1 - i);
        const idem_sample_t *from = idem_numbers_at(row, end - 1);
        const idem_sample_t *to = idem_numbers_at(row, end);

        if (!from || !to) {
            continue;
        }
        view->point[i].known = 1;
        for (k = 0; k < IDEM_SERIES_COUNT; k++) {
            view->point[i].of[k] += to->of[k] - from->of[k];
        }
    }
}

static void add_store(idem_view_t *view, apr_uint32_t tick)
{
    const idem_store_sample_t *sample;
    int i;

    idem_store_usage(idem_server_store, &view->usage);
    for (i = 0; i < IDEM_VIEW_POINTS; i++) {
        sample = idem_numbers_store_at(
            tick - (apr_uint32_t)(IDEM_VIEW_POINTS - 1 - i));
        if (sample) {
            view->point[i].used = sample->used;
            view->point[i].executing = sample->executing;
        }
    }
}

/* The name in the row was written by whoever can write this memory, so it is
 * only shown where no virtual host of today fits. */
static void name_host(idem_view_host_t *host, const idem_row_t *row,
                      apr_pool_t *pool)
{
    const idem_srv_conf_t *srv = idem_view_host(row->host);

    if (idem_numbers_is_others(row)) {
        host->label = host->name = "others";
    }
    else if (srv && srv->row == row) {
        host->label = srv->label;
        host->name = srv->host;
    }
    else {
        host->name = apr_pstrndup(pool, row->name, IDEM_NUMBERS_NAME - 1);
        host->label = host->name;
    }
}

/* From what the host shows, so that the sum fits it. */
static void add_host(idem_view_host_t *sum, const idem_view_host_t *host)
{
    int i, k;

    for (i = 0; i < IDEM_RESULT_COUNT; i++) {
        sum->tally.result[i] += host->tally.result[i];
    }
    for (i = 0; i < IDEM_FOUND_COUNT; i++) {
        sum->tally.found[i] += host->tally.found[i];
    }
    for (i = 0; i < IDEM_SERIES_COUNT; i++) {
        sum->total[i] += host->total[i];
        sum->hour[i] += host->hour[i];
    }
    for (i = 0; i < IDEM_TIMING_COUNT; i++) {
        sum->tally.timing[i].sum += host->tally.timing[i].sum;
        for (k = 0; k < IDEM_HISTOGRAM_BUCKETS; k++) {
            sum->tally.timing[i].bucket[k] += host->tally.timing[i].bucket[k];
        }
    }
}

/* Two hosts at different addresses may have the same name and port. */
static void tell_apart(const apr_array_header_t *hosts)
{
    int i, k;

    for (i = 0; i < hosts->nelts; i++) {
        idem_view_host_t *a = APR_ARRAY_IDX(hosts, i, idem_view_host_t *);
        int twice = 0;

        for (k = i + 1; k < hosts->nelts; k++) {
            idem_view_host_t *b = APR_ARRAY_IDX(hosts, k, idem_view_host_t *);

            if (!strcmp(a->label, b->label)) {
                b->label = b->name;
                twice = 1;
            }
        }
        if (twice) {
            a->label = a->name;
        }
    }
}

static void gather_whole(idem_view_t *view, apr_uint32_t tick,
                         apr_pool_t *pool)
{
    apr_array_header_t *hosts =
        apr_array_make(pool, 8, sizeof(idem_view_host_t *));
    const idem_row_t *row;
    idem_view_host_t *host;
    int i;

    for (i = 0; i <= IDEM_NUMBERS_HOSTS; i++) {
        row = idem_numbers_row(i);
        if (!row) {
            continue;
        }
        host = apr_pcalloc(pool, sizeof(*host));
        name_host(host, row, pool);
        add_row(host, row, tick);
        add_host(&view->sum, host);
        add_points(view, row, tick);
        APR_ARRAY_PUSH(hosts, idem_view_host_t *) = host;
    }
    tell_apart(hosts);
    view->hosts = hosts;
    view->sum.label = view->sum.name = "all";
    add_store(view, tick);
}

const idem_view_t *idem_view_create(request_rec *r, int whole)
{
    const idem_srv_conf_t *srv =
        ap_get_module_config(r->server->module_config, &idempotency_module);
    idem_view_t *view = apr_pcalloc(r->pool, sizeof(*view));
    apr_uint32_t tick = idem_numbers_tick();

    view->whole = whole;
    view->now = apr_time_now();
    view->since = idem_numbers_since();
    view->apart = srv->row && !idem_numbers_is_others(srv->row);
    if (whole) {
        gather_whole(view, tick, r->pool);
        view->waiting = idem_wait_count(&view->waiting_max);
        return view;
    }
    view->sum.label = srv->label;
    view->sum.name = srv->host;
    view->hosts = apr_array_make(r->pool, 1, sizeof(idem_view_host_t *));
    if (view->apart) {
        add_row(&view->sum, srv->row, tick);
        add_points(view, srv->row, tick);
    }
    return view;
}
