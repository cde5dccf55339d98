/* idem_value.c: values of directives: sizes, times, words.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_value.h"

#include <apr_lib.h>
#include <apr_strings.h>

const char *idem_value_bad(cmd_parms *cmd, const char *value,
                           const char *wrong, const char *example)
{
    return apr_psprintf(cmd->pool, "%s: '%s' %s, such as %s", cmd->cmd->name,
                        value, wrong, example);
}

int idem_value_size(const char *text, apr_off_t *size)
{
    char *end;
    apr_off_t value;
    int shift = 0;

    if (!apr_isdigit(*text)
        || apr_strtoff(&value, text, &end, 10) != APR_SUCCESS) {
        return 0;
    }
    switch (apr_toupper(*end)) {
    case 'G':
        shift = 30;
        break;
    case 'M':
        shift = 20;
        break;
    case 'K':
        shift = 10;
        break;
    case '\0':
        *size = value;
        return 1;
    default:
        return 0;
    }
    if (end[1] || value > (APR_INT64_MAX >> shift)) {
        return 0;
    }
    *size = value << shift;
    return 1;
}

/* One of two words; the first is 0. */
const char *idem_value_one_of(cmd_parms *cmd, int *out, const char *arg,
                              const char *zero, const char *one)
{
    if (!ap_cstr_casecmp(arg, zero)) {
        *out = 0;
    }
    else if (!ap_cstr_casecmp(arg, one)) {
        *out = 1;
    }
    else {
        return apr_psprintf(cmd->pool, "%s: '%s' is neither %s nor %s",
                            cmd->cmd->name, arg, zero, one);
    }
    return NULL;
}

/* Stores refuse more, as a mistake of units. */
#define TIME_MAX apr_time_from_sec((apr_time_t)10 * 365 * 24 * 3600)

/* httpd takes "soon" for 0 seconds, and "5sausages" for 5. */
int idem_value_time(const char *text, apr_interval_time_t *time)
{
    static const char *const units[] = { "", "ms", "s", "mi", "min", "h" };
    const char *unit = text + strspn(text, "0123456789");
    apr_size_t i;

    for (i = 0; i < sizeof(units) / sizeof(*units); i++) {
        if (!ap_cstr_casecmp(unit, units[i])) {
            return unit > text
                   && ap_timeout_parameter_parse(text, time, "s")
                          == APR_SUCCESS
                   && *time >= 0 && *time <= TIME_MAX;
        }
    }
    return 0;
}
