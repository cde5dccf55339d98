/* idem_form.h: an urlencoded body or query -> its fields.
 * SPDX-License-Identifier: Apache-2.0
 *
 * As URL Standard 5.1 has it: pieces between "&", name and value parted by
 * the first "=", "+" is a space, %XX a byte. An escape that is none is not
 * read as if it were text: applications differ in what they make of it.
 */
#ifndef IDEM_FORM_H
#define IDEM_FORM_H

#include "idem_hash.h"
#include "idem_wanted.h"

#define IDEM_FORM_TYPE "application/x-www-form-urlencoded"
#define IDEM_FORM_FIELDS_MAX 10000

typedef struct idem_form_t idem_form_t;

/** Look for fields in a form of any length. From @a pool. */
idem_form_t *idem_form_create(idem_wanted_t *wanted, apr_pool_t *pool);

/** The next bytes. */
void idem_form_add(idem_form_t *form, const char *data, apr_size_t len);

/** The end: what was found is in the wanted fields. */
void idem_form_end(idem_form_t *form);

/**
 * Add the fields of a whole form to a digest, in the order of their names,
 * those of one name in the order they have.
 * @return 1; 0 if it has an escape that is none, or more than
 *         IDEM_FORM_FIELDS_MAX fields: nothing was added
 */
int idem_form_hash(const char *body, apr_size_t len, idem_hash_t *hash,
                   apr_pool_t *pool);

#endif /* IDEM_FORM_H */
