/* idem_wanted.c: fields that are looked for, and what was found of each.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_wanted.h"

#include <string.h>

#include <apr_strings.h>

static const char two_values[] =
    "The field of the key is there more than once, with different values.";
static const char bad_escapes[] =
    "The field of the key has a percent escape that is none.";
static const char has_nul[] = "The field of the key has a NUL in it.";
static const char too_long[] = "The field of the key is too long.";

typedef struct {
    const char *name;
    apr_size_t len;
    int open;          /* the field that is being read has this name */
    const char *value; /* the first one */
    const char *why;   /* it cannot be used */
} field_t;

struct idem_wanted_t {
    apr_pool_t *pool;
    field_t *fields;
    int n;
    apr_size_t len; /* of the field that is being read; over the maximum:
                     * too long */
    char value[IDEM_WANTED_VALUE_MAX];
};

idem_wanted_t *idem_wanted_create(const char *const *names, int n,
                                  apr_pool_t *pool)
{
    idem_wanted_t *wanted = apr_palloc(pool, sizeof(*wanted));
    int i;

    wanted->pool = pool;
    wanted->len = 0;
    wanted->n = n;
    wanted->fields = apr_pcalloc(pool, sizeof(field_t) * (apr_size_t)n);
    for (i = 0; i < n; i++) {
        wanted->fields[i].name = names[i];
        wanted->fields[i].len = names[i] ? strlen(names[i]) : 0;
    }
    return wanted;
}

int idem_wanted_name(idem_wanted_t *wanted, const char *name, apr_size_t len)
{
    int i, any = 0;

    wanted->len = 0;
    for (i = 0; i < wanted->n; i++) {
        field_t *field = &wanted->fields[i];

        field->open = field->name && len == field->len
                      && !memcmp(name, field->name, len);
        any |= field->open;
    }
    return any;
}

void idem_wanted_add(idem_wanted_t *wanted, const char *data, apr_size_t len)
{
    if (len > IDEM_WANTED_VALUE_MAX
        || wanted->len > IDEM_WANTED_VALUE_MAX - len) {
        wanted->len = IDEM_WANTED_VALUE_MAX + 1;
        return;
    }
    memcpy(wanted->value + wanted->len, data, len);
    wanted->len += len;
}

static const char *fault_of(const idem_wanted_t *wanted, int bad_escape)
{
    if (bad_escape) {
        return bad_escapes;
    }
    if (wanted->len > IDEM_WANTED_VALUE_MAX) {
        return too_long;
    }
    return memchr(wanted->value, '\0', wanted->len) ? has_nul : NULL;
}

void idem_wanted_end(idem_wanted_t *wanted, int bad_escape)
{
    const char *why = fault_of(wanted, bad_escape);
    const char *value = NULL;
    int i;

    for (i = 0; i < wanted->n; i++) {
        field_t *field = &wanted->fields[i];

        if (!field->open || field->why) {
            continue;
        }
        field->why = why;
        if (!why && !field->value) {
            value = value ? value
                          : apr_pstrmemdup(wanted->pool, wanted->value,
                                           wanted->len);
            field->value = value;
        }
        else if (!why
                 && (strlen(field->value) != wanted->len
                     || memcmp(field->value, wanted->value, wanted->len))) {
            field->why = two_values;
        }
    }
}

apr_status_t idem_wanted_result(const char **value, const char **why,
                                const idem_wanted_t *wanted, int index)
{
    const field_t *field = &wanted->fields[index];

    if (field->why) {
        *why = field->why;
        return APR_EINVAL;
    }
    if (!field->value) {
        return APR_NOTFOUND;
    }
    *value = field->value;
    return APR_SUCCESS;
}
