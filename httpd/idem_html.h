/* idem_html.h: parts of the status page.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IDEM_HTML_H
#define IDEM_HTML_H

#include "idem_page.h"

#define IDEM_HTML_FULL 80 /* percent of the store: needs attention */

extern const char idem_html_style[];
extern const char idem_html_script[];

/** Texts for people: "12,345", "41.7 %", "3.2 MiB", "840 ns". */
const char *idem_html_number(apr_uint64_t value, apr_pool_t *pool);
const char *idem_html_percent(apr_uint64_t part, apr_uint64_t of,
                              apr_pool_t *pool);
const char *idem_html_bytes(apr_uint64_t value, apr_pool_t *pool);
const char *idem_html_time(apr_uint64_t ns, apr_pool_t *pool);
/** Safe in text and in attributes; plain ASCII. */
const char *idem_html_escape(const char *text, apr_pool_t *pool);

/** The last hour, drawn and as tables. */
void idem_html_plots(request_rec *r, const idem_view_t *view);
/** Virtual hosts, results, findings, latencies. */
void idem_html_tables(request_rec *r, const idem_view_t *view);

#endif /* IDEM_HTML_H */
