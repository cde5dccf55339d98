/* idem_page_html.c: the status as a page to look at.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_html.h"

#include <apr_base64.h>
#include <apr_strings.h>

#define NONCE_LEN 18 /* bytes of chance: 24 letters, no padding */

/* ---- texts for people */

const char *idem_html_number(apr_uint64_t value, apr_pool_t *pool)
{
    char *plain = apr_psprintf(pool, "%" APR_UINT64_T_FMT, value);
    apr_size_t len = strlen(plain);
    char *text = apr_palloc(pool, len + len / 3 + 1);
    char *to = text;

    for (; len > 0; len--) {
        *to++ = *plain++;
        if (len > 1 && len % 3 == 1) {
            *to++ = ',';
        }
    }
    *to = '\0';
    return text;
}

const char *idem_html_percent(apr_uint64_t part, apr_uint64_t of,
                              apr_pool_t *pool)
{
    if (of == 0) {
        return "&ndash;";
    }
    return apr_psprintf(pool, "%.1f&nbsp;%%",
                        100.0 * (double)part / (double)of);
}

const char *idem_html_bytes(apr_uint64_t value, apr_pool_t *pool)
{
    static const char *const unit[] = { "bytes", "KiB", "MiB", "GiB", "TiB" };
    double shown = (double)value;
    int i = 0;

    while (shown >= 1024 && i < 4) {
        shown /= 1024;
        i++;
    }
    return apr_psprintf(pool,
                        i && shown < 100 ? "%.1f&nbsp;%s" : "%.0f&nbsp;%s",
                        shown, unit[i]);
}

const char *idem_html_time(apr_uint64_t ns, apr_pool_t *pool)
{
    static const char *const unit[] = { "ns", "&micro;s", "ms", "s" };
    double shown = (double)ns;
    int i = 0;

    while (shown >= 1000 && i < 3) {
        shown /= 1000;
        i++;
    }
    return apr_psprintf(pool,
                        i && shown < 100 ? "%.1f&nbsp;%s" : "%.0f&nbsp;%s",
                        shown, unit[i]);
}

const char *idem_html_escape(const char *text, apr_pool_t *pool)
{
    return ap_escape_html2(pool, text, 1);
}

/* ------------------------------------------------------------------ parts */

static const char *date(apr_time_t value, apr_pool_t *pool)
{
    apr_time_exp_t at;

    apr_time_exp_gmt(&at, value);
    return apr_psprintf(pool, "%04d-%02d-%02d %02d:%02d:%02d&nbsp;UTC",
                        at.tm_year + 1900, at.tm_mon + 1, at.tm_mday,
                        at.tm_hour, at.tm_min, at.tm_sec);
}

static void head(request_rec *r, const idem_view_t *view, const char *nonce)
{
    const char *of = view->whole ? "all virtual hosts"
                                 : idem_html_escape(view->sum.label, r->pool);

    ap_rvputs(r,
              "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n"
              "<meta charset=\"utf-8\">\n<title>Idempotency &middot; ",
              of,
              "</title>\n<meta name=\"viewport\" content=\"width=device-width,"
              " initial-scale=1\">\n<meta name=\"robots\" content=\"noindex\">"
              "\n<link rel=\"icon\" href=\"data:,\">\n<style nonce=\"",
              nonce, "\">\n", idem_html_style,
              "</style>\n</head>\n<body>\n<div class=\"page\">\n<header>\n"
              "<h1>Idempotency <span>",
              of,
              "</span></h1>\n<div class=\"bar-r small soft\">"
              "<span id=\"said\" role=\"status\"></span>"
              "<span id=\"at\">As of ",
              date(view->now, r->pool),
              "</span><span id=\"refresh\" hidden><button type=\"button\" "
              "id=\"pause\" title=\"The page refreshes every 10 seconds\">"
              "Pause</button></span><a id=\"reload\" href=\"\">Reload</a>"
              "</div>\n</header>\n",
              NULL);
}

static void notice(request_rec *r, const char *how, const char *text)
{
    ap_rvputs(r, "<p class=\"state\"><span class=\"dot ", how,
              "\"></span><span>", text, "</span></p>\n", NULL);
}

static int fill_percent(const idem_view_t *view)
{
    return view->usage.size >= 100
               ? (int)(view->usage.used / (view->usage.size / 100))
               : 0;
}

/* What an administrator has to know first. */
static void notices(request_rec *r, const idem_view_t *view)
{
    apr_uint64_t unknown = view->whole ? view->usage.unknown
                                       : view->sum.hour[IDEM_SERIES_UNKNOWN];
    int fill = fill_percent(view);
    int any = 0;

    ap_rputs("<section class=\"card\" aria-label=\"State\">\n", r);
    if (!view->apart && !view->whole) {
        notice(r, "warn",
               "This virtual host shares its numbers with others, so they "
               "are not shown. See Status page in the manual.");
        any = 1;
    }
    if (view->whole && fill >= IDEM_HTML_FULL) {
        notice(r, fill >= 95 ? "bad" : "warn",
               apr_psprintf(r->pool,
                            "The store is %d&nbsp;%% full. When it has no "
                            "room new keys are refused: raise "
                            "<code>size=</code> of <code>IdempotencyStore"
                            "</code> or lower <code>IdempotencyTTL</code>.",
                            fill));
        any = 1;
    }
    if (unknown > 0) {
        notice(r, "bad",
               apr_psprintf(
                   r->pool,
                   view->whole
                       ? "%s %s of unknown outcome: see <code>"
                         "idempotencyctl list --state unknown</code>."
                       : "%s %s ended without a known result in the last "
                         "hour.",
                   idem_html_number(unknown, r->pool),
                   view->whole    ? unknown == 1 ? "key is" : "keys are"
                   : unknown == 1 ? "request"
                                  : "requests"));
        any = 1;
    }
    if (!any) {
        notice(r, "", "Nothing needs attention.");
    }
    ap_rputs("</section>\n", r);
}

static void tiles(request_rec *r, const idem_view_t *view)
{
    apr_pool_t *pool = r->pool;
    apr_uint64_t part, of, part_all, of_all;
    int i;

    ap_rputs("<section aria-labelledby=\"h-shares\">\n<h2 id=\"h-shares\">"
             "Retries in the last hour</h2>\n<dl class=\"tiles\">\n",
             r);
    for (i = 0; i < IDEM_SHARE_COUNT; i++) {
        const idem_share_text_t *text = &idem_share_text[i];

        idem_view_share(&part, &of, (idem_share_t)i, view->sum.hour);
        idem_view_share(&part_all, &of_all, (idem_share_t)i, view->sum.total);
        ap_rvputs(r, "<div class=\"card tile\"><dt>", text->name,
                  "</dt><dd class=\"big\">", idem_html_percent(part, of, pool),
                  "</dd><dd class=\"small soft\">",
                  of ? apr_pstrcat(pool, idem_html_number(part, pool), " of ",
                                   idem_html_number(of, pool), NULL)
                     : "nothing to count yet",
                  of_all ? apr_pstrcat(
                      pool, "; since start ",
                      idem_html_percent(part_all, of_all, pool), NULL)
                         : "",
                  "</dd><dd class=\"means small soft\">", text->means,
                  "</dd></div>\n", NULL);
    }
    ap_rputs("</dl>\n</section>\n", r);
}

static void fact(request_rec *r, const char *name, const char *value)
{
    ap_rvputs(r, "<div><dt>", name, "</dt><dd>", value, "</dd></div>\n", NULL);
}

static const char *time_left(const idem_view_t *view, apr_pool_t *pool)
{
    apr_time_t left = view->usage.oldest - idem_store_now(idem_server_store);
    long seconds = left > 0 ? (long)apr_time_sec(left) : 0;

    if (seconds >= 2 * 3600) {
        return apr_psprintf(pool, "in %ld&nbsp;h", seconds / 3600);
    }
    return seconds >= 120 ? apr_psprintf(pool, "in %ld&nbsp;min", seconds / 60)
                          : apr_psprintf(pool, "in %ld&nbsp;s", seconds);
}

static void store(request_rec *r, const idem_view_t *view)
{
    const idem_usage_t *usage = &view->usage;
    apr_pool_t *pool = r->pool;
    int fill = fill_percent(view);

    ap_rvputs(r,
              "<section aria-labelledby=\"h-store\">\n<h2 id=\"h-store\">"
              "Store</h2>\n<div class=\"card\">\n<div class=\"fill\"><span>"
              "<strong>",
              idem_html_bytes(usage->used, pool), "</strong> of ",
              idem_html_bytes(usage->size, pool),
              "</span><span class=\"soft\">",
              idem_html_percent(usage->used, usage->size, pool),
              " full</span></div>\n", NULL);
    ap_rprintf(r,
               "<svg class=\"meter\" viewBox=\"0 0 100 1\" "
               "preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect "
               "class=\"track\" width=\"100\" height=\"1\"/><rect "
               "class=\"used%s\" width=\"%.2f\" height=\"1\"/></svg>\n"
               "<dl class=\"facts\">\n",
               fill >= 95               ? " bad"
               : fill >= IDEM_HTML_FULL ? " warn"
                                        : "",
               usage->size ? 100.0 * (double)usage->used / (double)usage->size
                           : 0.0);
    fact(r, "Executing", idem_html_number(usage->executing, pool));
    fact(r, "Waiting",
         apr_psprintf(pool, "%d of %d", view->waiting, view->waiting_max));
    fact(r, "Done", idem_html_number(usage->done, pool));
    fact(r, "Not retained", idem_html_number(usage->not_retained, pool));
    fact(r, "Unknown", idem_html_number(usage->unknown, pool));
    fact(r, "Tombstones", idem_html_number(usage->tombstones, pool));
    if (usage->oldest) {
        fact(r, "Next to expire", time_left(view, pool));
    }
    fact(r, "Freed", idem_html_number(usage->expired, pool));
    fact(r, "No room", idem_html_number(usage->refused, pool));
    fact(r, "Repairs", idem_html_number(usage->repairs, pool));
    ap_rputs("</dl>\n</div>\n</section>\n", r);
}

static void foot(request_rec *r, const idem_view_t *view, const char *nonce)
{
    ap_rvputs(r, "<footer class=\"small soft\"><span>Counting since ",
              date(view->since, r->pool),
              "</span><span>Also as <a href=\"?format=json\">JSON</a> and "
              "<a href=\"?format=openmetrics\">OpenMetrics</a></span>"
              "</footer>\n</div>\n<script nonce=\"",
              nonce, "\">\n", idem_html_script,
              "</script>\n</body>\n</html>\n", NULL);
}

/* A nonce and nothing but it: no script or style from elsewhere, nor one that
 * a name in the page would smuggle in. */
static const char *set_policy(request_rec *r)
{
    unsigned char chance[NONCE_LEN];
    char *nonce =
        apr_palloc(r->pool, (apr_size_t)apr_base64_encode_len(NONCE_LEN));

    if (apr_generate_random_bytes(chance, sizeof(chance)) != APR_SUCCESS) {
        memset(chance, 0, sizeof(chance));
        ap_random_insecure_bytes(chance, sizeof(chance));
    }
    apr_base64_encode_binary(nonce, chance, NONCE_LEN);
    apr_table_setn(r->headers_out, "Content-Security-Policy",
                   apr_psprintf(r->pool,
                                "default-src 'none'; style-src 'nonce-%s'; "
                                "script-src 'nonce-%s'; connect-src 'self'; "
                                "img-src data:; base-uri 'none'; "
                                "form-action 'none'; frame-ancestors 'none'",
                                nonce, nonce));
    return nonce;
}

void idem_page_html(request_rec *r, const idem_view_t *view)
{
    const char *nonce = set_policy(r);

    ap_set_content_type(r, "text/html; charset=utf-8");
    head(r, view, nonce);
    ap_rvputs(r, "<main id=\"live\" data-at=\"As of ",
              date(view->now, r->pool), "\">\n", NULL);
    notices(r, view);
    tiles(r, view);
    idem_html_plots(r, view);
    if (view->whole) {
        store(r, view);
    }
    idem_html_tables(r, view);
    ap_rputs("</main>\n", r);
    foot(r, view, nonce);
}
