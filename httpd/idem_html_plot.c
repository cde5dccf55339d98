/* idem_html_plot.c: the last hour, drawn, and in words for who cannot see it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The drawing alone is stretched to the width there is; labels are text
 * beside it, so that they stay readable on a phone.
 */
#include "idem_html.h"

#include <apr_strings.h>

#define BINS 60 /* bars: one for a minute */
#define ROWS 12 /* of the table: one for five minutes */
#define PER_BIN (IDEM_NUMBERS_SAMPLES / BINS)

/** A minute. */
typedef struct {
    int samples; /* steps that are known */
    apr_uint64_t of[IDEM_SERIES_COUNT];
    apr_uint64_t used;
} bin_t;

typedef struct {
    idem_series_t series;
    const char *class_;
    const char *name;
} layer_t;

/* From the ground up. */
static const layer_t layers[] = {
    { IDEM_SERIES_EXECUTED, "done", "executed" },
    { IDEM_SERIES_REPLAYED, "again", "replayed" },
    { IDEM_SERIES_REFUSED, "no", "refused" },
    { IDEM_SERIES_UNKNOWN, "what", "unknown" },
};
#define LAYERS (sizeof(layers) / sizeof(*layers))

static void fill_bins(bin_t *bins, const idem_view_t *view)
{
    int i, k;

    memset(bins, 0, BINS * sizeof(*bins));
    for (i = 0; i < IDEM_VIEW_POINTS; i++) {
        /* The first bin lacks a step: there is one less than samples. */
        bin_t *bin = &bins[(i + 1) / PER_BIN];

        if (!view->point[i].known) {
            continue;
        }
        bin->samples++;
        bin->used = view->point[i].used;
        for (k = 0; k < IDEM_SERIES_COUNT; k++) {
            bin->of[k] += view->point[i].of[k];
        }
    }
}

static apr_uint64_t height_of(const bin_t *bin)
{
    apr_uint64_t sum = 0;
    apr_size_t i;

    for (i = 0; i < LAYERS; i++) {
        sum += bin->of[layers[i].series];
    }
    return sum;
}

/* 1, 2 or 5 and zeros: the scale should not move with every refresh. */
static apr_uint64_t round_up(apr_uint64_t value)
{
    apr_uint64_t step = 1;

    while (step * 10 <= value) {
        step *= 10;
    }
    if (value <= step) {
        return step;
    }
    return value <= 2 * step   ? 2 * step
           : value <= 5 * step ? 5 * step
                               : 10 * step;
}

static const char *clock_of(const idem_view_t *view, int minutes_ago,
                            apr_pool_t *pool)
{
    apr_time_exp_t at;

    apr_time_exp_gmt(
        &at, view->now - apr_time_from_sec((apr_time_t)60 * minutes_ago));
    return apr_psprintf(pool, "%02d:%02d", at.tm_hour, at.tm_min);
}

/* ---------------------------------------------------------------- figures */

static void begin_figure(request_rec *r, const char *class_, const char *id,
                         const char *title, const char *unit)
{
    ap_rvputs(r, "<figure class=\"card", class_, "\" aria-labelledby=\"", id,
              "\">\n<figcaption><h3 id=\"", id, "\">", title,
              " <span class=\"soft small\">", unit, "</span></h3>\n", NULL);
}

static void begin_plot(request_rec *r, const char *top, const char *middle,
                       const char *text)
{
    ap_rvputs(r,
              "</figcaption>\n<div class=\"plot\"><div class=\"y\" "
              "aria-hidden=\"true\"><span>",
              top, "</span><span>", middle,
              "</span><span>0</span></div>\n<svg class=\"area\" role=\"img\" "
              "viewBox=\"0 0 60 100\" preserveAspectRatio=\"none\" "
              "aria-label=\"",
              text, "\">\n", NULL);
    ap_rputs("<path class=\"grid\" d=\"M0 0H60M0 50H60\"/>\n", r);
}

static void end_plot(request_rec *r, const idem_view_t *view,
                     const char *nothing)
{
    ap_rputs("</svg>\n", r);
    if (nothing) {
        ap_rvputs(r, "<p class=\"none\">", nothing, "</p>\n", NULL);
    }
    ap_rvputs(r, "<div class=\"x\" aria-hidden=\"true\"><span>",
              clock_of(view, 60, r->pool), "</span><span>",
              clock_of(view, 45, r->pool), "</span><span>",
              clock_of(view, 30, r->pool), "</span><span>",
              clock_of(view, 15, r->pool), "</span><span>",
              clock_of(view, 0, r->pool), "</span></div></div>\n", NULL);
}

static void gaps(request_rec *r, const bin_t *bins)
{
    int i, n;

    for (i = 0; i < BINS; i += n) {
        for (n = 0; i + n < BINS && bins[i + n].samples == 0; n++) {
        }
        if (n > 0) {
            ap_rprintf(r,
                       "<rect class=\"f-gap\" x=\"%d\" width=\"%d\" "
                       "height=\"100\"/>\n",
                       i, n);
        }
        else {
            n = 1;
        }
    }
}

/* ------------------------------------------------------- bars of requests */

static void bar(request_rec *r, const idem_view_t *view, const bin_t *bin,
                int i, apr_uint64_t top)
{
    double y = 100.0;
    apr_size_t k;

    ap_rprintf(r, "<g class=\"bar\"><title>%s UTC",
               clock_of(view, BINS - 1 - i, r->pool));
    for (k = 0; k < LAYERS; k++) {
        ap_rprintf(r, "%s %" APR_UINT64_T_FMT " %s", k ? "," : ":",
                   bin->of[layers[k].series], layers[k].name);
    }
    ap_rprintf(r,
               "</title><rect class=\"f-hit\" x=\"%d\" width=\"1\" "
               "height=\"100\"/>",
               i);
    for (k = 0; k < LAYERS; k++) {
        double height =
            100.0 * (double)bin->of[layers[k].series] / (double)top;

        if (height > 0) {
            y -= height;
            ap_rprintf(r,
                       "<rect class=\"f-%s\" x=\"%d.12\" y=\"%.2f\" "
                       "width=\".76\" height=\"%.2f\"/>",
                       layers[k].class_, i, y, height);
        }
    }
    ap_rputs("</g>\n", r);
}

static void legend(request_rec *r)
{
    apr_size_t i;

    ap_rputs("<ul class=\"legend\">", r);
    for (i = 0; i < LAYERS; i++) {
        ap_rvputs(r, "<li><span class=\"key b-", layers[i].class_,
                  "\"></span>", layers[i].name, "</li>", NULL);
    }
    ap_rputs("<li><span class=\"key b-gap\"></span>no samples</li></ul>\n", r);
}

static void table_of_requests(request_rec *r, const idem_view_t *view,
                              const bin_t *bins)
{
    const int each = BINS / ROWS;
    apr_size_t k;
    int row, i;

    ap_rputs("<details id=\"d-requests\"><summary>As a table</summary>"
             "<div class=\"scroll\" tabindex=\"0\" role=\"region\" "
             "aria-label=\"Keyed requests as a table\"><table><caption>"
             "Requests in each five minutes, UTC; the latest first</caption>"
             "<thead><tr><th scope=\"col\">From</th>",
             r);
    for (k = 0; k < LAYERS; k++) {
        ap_rvputs(r, "<th scope=\"col\">", layers[k].name, "</th>", NULL);
    }
    ap_rputs("</tr></thead><tbody>\n", r);
    for (row = ROWS - 1; row >= 0; row--) {
        ap_rvputs(r, "<tr><th scope=\"row\">",
                  clock_of(view, BINS - row * each, r->pool), "</th>", NULL);
        for (k = 0; k < LAYERS; k++) {
            apr_uint64_t n = 0;
            int samples = 0;

            for (i = row * each; i < (row + 1) * each; i++) {
                n += bins[i].of[layers[k].series];
                samples += bins[i].samples;
            }
            ap_rvputs(r, "<td>",
                      samples ? idem_html_number(n, r->pool) : "&ndash;",
                      "</td>", NULL);
        }
        ap_rputs("</tr>\n", r);
    }
    ap_rputs("</tbody></table></div></details>\n", r);
}

static void plot_requests(request_rec *r, const idem_view_t *view,
                          const bin_t *bins)
{
    apr_pool_t *pool = r->pool;
    apr_uint64_t most = 0, all = 0, top;
    int known = 0;
    int i;

    for (i = 0; i < BINS; i++) {
        apr_uint64_t n = height_of(&bins[i]);

        most = n > most ? n : most;
        all += n;
        known += bins[i].samples;
    }
    top = round_up(most > 10 ? most : 10);
    begin_figure(r, " wide", "h-requests", "Requests", "per minute");
    legend(r);
    begin_plot(r, idem_html_number(top, pool), idem_html_number(top / 2, pool),
               apr_psprintf(pool,
                            "%s requests in the last hour, at most %s in a "
                            "minute. The table below has the numbers.",
                            idem_html_number(all, pool),
                            idem_html_number(most, pool)));
    gaps(r, bins);
    for (i = 0; i < BINS; i++) {
        if (bins[i].samples > 0) {
            bar(r, view, &bins[i], i, top);
        }
    }
    end_plot(r, view,
             !known ? "The first samples come within 20 seconds."
             : !all ? "No keyed requests in the last hour."
                    : NULL);
    table_of_requests(r, view, bins);
    ap_rputs("</figure>\n", r);
}

/* ------------------------------------------------------------------ curves */

/* A line through what is known: @a value gives 0..100, or less than 0. */
static void curve(request_rec *r, const bin_t *bins, const char *class_,
                  double (*value)(const bin_t *bin, const void *data),
                  const void *data)
{
    int pen = 0;
    int i;

    ap_rvputs(r, "<path class=\"curve", class_, "\" d=\"", NULL);
    for (i = 0; i < BINS; i++) {
        double y = bins[i].samples ? value(&bins[i], data) : -1;

        if (y < 0) {
            pen = 0;
            continue;
        }
        /* A step of its own width, so that a lonely minute shows, too. */
        ap_rprintf(r, "%c%d %.2fH%d", pen ? 'L' : 'M', i, 100 - y, i + 1);
        pen = 1;
    }
    ap_rputs("\"/>\n", r);
}

static double known_share(const bin_t *bin, const void *data)
{
    (void)data;
    return bin->of[IDEM_SERIES_LOOKED]
               ? 100.0 * (double)bin->of[IDEM_SERIES_KNOWN]
                     / (double)bin->of[IDEM_SERIES_LOOKED]
               : -1;
}

static double fill_share(const bin_t *bin, const void *data)
{
    const idem_view_t *view = data;

    return view->usage.size
               ? 100.0 * (double)bin->used / (double)view->usage.size
               : -1;
}

static void plot_known(request_rec *r, const idem_view_t *view,
                       const bin_t *bins)
{
    apr_pool_t *pool = r->pool;
    apr_uint64_t part, of;

    idem_view_share(&part, &of, IDEM_SHARE_DUPLICATE, view->sum.hour);
    begin_figure(r, view->whole ? "" : " wide", "h-known",
                 "Duplicate requests", "share of each minute");
    begin_plot(r, "100&nbsp;%", "50&nbsp;%",
               of ? apr_psprintf(pool,
                                 "%.1f percent of the keyed requests of the "
                                 "last hour had a known key.",
                                 100.0 * (double)part / (double)of)
                  : "No keyed requests in the last hour.");
    gaps(r, bins);
    curve(r, bins, "", known_share, NULL);
    end_plot(r, view, of ? NULL : "No keyed requests in the last hour.");
    ap_rputs("</figure>\n", r);
}

static void plot_fill(request_rec *r, const idem_view_t *view,
                      const bin_t *bins)
{
    begin_figure(r, "", "h-fill", "Store fill", "dashed: a warning is logged");
    begin_plot(r, "100&nbsp;%", "50&nbsp;%",
               apr_psprintf(r->pool, "The store is %.1f percent full now.",
                            view->usage.size ? 100.0 * (double)view->usage.used
                                                   / (double)view->usage.size
                                             : 0.0));
    gaps(r, bins);
    ap_rprintf(r, "<path class=\"limit\" d=\"M0 %dH60\"/>\n",
               100 - IDEM_HTML_FULL);
    curve(r, bins, " done", fill_share, view);
    end_plot(r, view, NULL);
    ap_rputs("</figure>\n", r);
}

void idem_html_plots(request_rec *r, const idem_view_t *view)
{
    bin_t *bins = apr_palloc(r->pool, BINS * sizeof(*bins));

    fill_bins(bins, view);
    ap_rputs("<section aria-labelledby=\"h-hour\">\n<h2 id=\"h-hour\">"
             "The last hour</h2>\n<div class=\"plots\">\n",
             r);
    plot_requests(r, view, bins);
    plot_known(r, view, bins);
    if (view->whole) {
        plot_fill(r, view, bins);
    }
    ap_rputs("</div>\n</section>\n", r);
}
