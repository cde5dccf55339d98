/* idem_status.c: result words, and the section in mod_status.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_httpd.h"

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
    const char *word;
    const char *title;
    apr_uint64_t value;
} number_t;

static int store_numbers(number_t *number)
{
    idem_usage_t usage;
    const number_t numbers[] = {
        { "store-size", "store size, bytes", 0 },
        { "store-used", "store used, bytes", 0 },
        { "records-executing", "records executing", 0 },
        { "records-done", "records done", 0 },
        { "records-not-retained", "records not retained", 0 },
        { "records-unknown", "records of unknown outcome", 0 },
        { "records-expired", "records expired so far", 0 },
        { "store-repairs", "repairs after a crash so far", 0 },
        { "store-refused", "claims refused for want of room so far", 0 },
    };
    int i;

    idem_store_usage(idem_server_store, &usage);
    memcpy(number, numbers, sizeof(numbers));
    i = 0;
    number[i++].value = usage.size;
    number[i++].value = usage.used;
    number[i++].value = usage.executing;
    number[i++].value = usage.done;
    number[i++].value = usage.not_retained;
    number[i++].value = usage.unknown;
    number[i++].value = usage.expired;
    number[i++].value = usage.repairs;
    number[i++].value = usage.refused;
    return i;
}

static void show(request_rec *r, int flags, const number_t *number)
{
    if (flags & AP_STATUS_SHORT) {
        ap_rprintf(r, "Idempotency%s: %" APR_UINT64_T_FMT "\n",
                   camel(number->word, r->pool), number->value);
    }
    else if (flags & AP_STATUS_NOTABLE) {
        ap_rprintf(r, "%s: %" APR_UINT64_T_FMT "<br />\n", number->title,
                   number->value);
    }
    else {
        ap_rprintf(r,
                   "<tr><td>%s</td><td align=\"right\">%" APR_UINT64_T_FMT
                   "</td></tr>\n",
                   number->title, number->value);
    }
}

/* Counts only, never keys: any tenant may see this page. */
int idem_status_hook(request_rec *r, int flags)
{
    number_t number[16];
    int table = !(flags & (AP_STATUS_SHORT | AP_STATUS_NOTABLE));
    int i, n;

    if (!idem_server_store) {
        return DECLINED;
    }
    if (!(flags & AP_STATUS_SHORT)) {
        ap_rputs("<hr />\n<h1>Idempotency</h1>\n", r);
    }
    if (table) {
        ap_rputs("<table border=\"0\">\n", r);
    }
    for (i = 0; i < IDEM_RESULT_COUNT; i++) {
        number_t result = { idem_result_str(i), NULL, 0 };

        result.title = apr_pstrcat(r->pool, "requests ", result.word, NULL);
        result.value = idem_server_counter(i);
        show(r, flags, &result);
    }
    n = store_numbers(number);
    for (i = 0; i < n; i++) {
        show(r, flags, &number[i]);
    }
    if (table) {
        ap_rputs("</table>\n", r);
    }
    return OK;
}
