/* idem_form.c: an urlencoded body or query -> its fields.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_form.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

/* The value of a hex digit, or -1. */
static int hex_digit(char c)
{
    static const char hex[] = "0123456789abcdef0123456789ABCDEF";
    const char *digit = c ? strchr(hex, c) : NULL;

    return digit ? (int)((digit - hex) % 16) : -1;
}

/* ------------------------------------------------------------------ a look */

struct idem_form_t {
    idem_wanted_t *wanted;
    apr_size_t len; /* of the name; over the maximum: not wanted */
    char name[IDEM_WANTED_NAME_MAX];
    int in_value; /* behind the "=" */
    int taken;    /* the value is wanted */
    int escape;   /* characters of one so far, the percent included */
    int high;     /* its first digit */
    int bad;      /* an escape of this name or value is none */
};

idem_form_t *idem_form_create(idem_wanted_t *wanted, apr_pool_t *pool)
{
    idem_form_t *form = apr_pcalloc(pool, sizeof(*form));

    form->wanted = wanted;
    return form;
}

static void put_byte(idem_form_t *form, char c)
{
    if (form->in_value) {
        idem_wanted_add(form->wanted, &c, 1);
    }
    else if (form->len < IDEM_WANTED_NAME_MAX) {
        form->name[form->len++] = c;
    }
    else {
        form->bad = 1; /* too long to be one that is looked for */
    }
}

static void decode_byte(idem_form_t *form, char c)
{
    int digit;

    if (form->escape == 0) {
        if (c == '%') {
            form->escape = 1;
            return;
        }
        put_byte(form, c == '+' ? ' ' : c);
        return;
    }
    digit = hex_digit(c);
    if (digit < 0) {
        form->bad = 1;
        form->escape = 0;
        return;
    }
    if (form->escape == 1) {
        form->high = digit;
        form->escape = 2;
        return;
    }
    form->escape = 0;
    put_byte(form, (char)(form->high * 16 + digit));
}

static void end_name(idem_form_t *form)
{
    form->bad |= form->escape > 0;
    form->taken =
        !form->bad && idem_wanted_name(form->wanted, form->name, form->len);
    form->in_value = 1;
    form->bad = 0;
    form->escape = 0;
}

static void end_field(idem_form_t *form)
{
    if (!form->in_value) {
        end_name(form);
    }
    if (form->taken) {
        idem_wanted_end(form->wanted, form->bad || form->escape > 0);
    }
    form->len = 0;
    form->in_value = 0;
    form->taken = 0;
    form->bad = 0;
    form->escape = 0;
}

void idem_form_add(idem_form_t *form, const char *data, apr_size_t len)
{
    const char *end = data + len, *next;

    for (; data < end; data++) {
        if (form->in_value && !form->taken) {
            next = memchr(data, '&', (apr_size_t)(end - data));
            if (!next) {
                return;
            }
            data = next;
        }
        if (*data == '&') {
            end_field(form);
        }
        else if (*data == '=' && !form->in_value) {
            end_name(form);
        }
        else {
            decode_byte(form, *data);
        }
    }
}

void idem_form_end(idem_form_t *form)
{
    end_field(form);
}

/* ---------------------------------------------------------- canonical form */

typedef struct {
    const char *name;
    apr_size_t name_len;
    const char *value; /* NULL: there was no "=" */
    apr_size_t value_len;
} field_t;

/* Decodes in place. @return the new length, or -1 */
static apr_ssize_t decode(char *text, apr_size_t len)
{
    char *to = text;
    apr_size_t i;

    for (i = 0; i < len; i++) {
        if (text[i] == '%') {
            int high = i + 2 < len ? hex_digit(text[i + 1]) : -1;
            int low = high >= 0 ? hex_digit(text[i + 2]) : -1;

            if (low < 0) {
                return -1;
            }
            *to++ = (char)(high * 16 + low);
            i += 2;
        }
        else {
            *to++ = text[i];
            if (text[i] == '+') {
                to[-1] = ' ';
            }
        }
    }
    return to - text;
}

/* A piece between two "&". @return 0 if an escape is none */
static int parse_field(field_t *field, char *piece, apr_size_t len)
{
    char *value = memchr(piece, '=', len);
    apr_ssize_t n;

    memset(field, 0, sizeof(*field));
    field->name = piece;
    if (value) {
        n = decode(value + 1, len - (apr_size_t)(value + 1 - piece));
        if (n < 0) {
            return 0;
        }
        field->value = value + 1;
        field->value_len = (apr_size_t)n;
        len = (apr_size_t)(value - piece);
    }
    n = decode(piece, len);
    field->name_len = (apr_size_t)n;
    return n >= 0;
}

/* Those of one name stay as they stand in the text. */
static int compare_fields(const void *one, const void *other)
{
    const field_t *a = one, *b = other;
    apr_size_t len = a->name_len < b->name_len ? a->name_len : b->name_len;
    int order = memcmp(a->name, b->name, len);

    if (order) {
        return order;
    }
    if (a->name_len != b->name_len) {
        return a->name_len < b->name_len ? -1 : 1;
    }
    return a->name < b->name ? -1 : 1;
}

static void put_field(idem_hash_t *hash, const field_t *field)
{
    idem_hash_add(hash, field->value ? "=" : "n", 1);
    idem_hash_piece(hash, field->name, field->name_len);
    if (field->value) {
        idem_hash_piece(hash, field->value, field->value_len);
    }
}

int idem_form_hash(const char *body, apr_size_t len, idem_hash_t *hash,
                   apr_pool_t *pool)
{
    char *text = apr_pstrmemdup(pool, body, len), *end = text + len;
    field_t *fields;
    apr_size_t n = 1, i;

    for (i = 0; i < len; i++) {
        n += text[i] == '&';
    }
    if (n > IDEM_FORM_FIELDS_MAX) {
        return 0;
    }
    fields = apr_palloc(pool, n * sizeof(*fields));
    for (i = 0; i < n; i++) {
        char *next = memchr(text, '&', (apr_size_t)(end - text));

        if (!parse_field(&fields[i], text,
                         (apr_size_t)((next ? next : end) - text))) {
            return 0;
        }
        text = next ? next + 1 : end;
    }
    qsort(fields, n, sizeof(*fields), compare_fields);
    for (i = 0; i < n; i++) {
        put_field(hash, &fields[i]);
    }
    return 1;
}
