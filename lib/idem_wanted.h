/* idem_wanted.h: fields that are looked for, and what was found of each.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Fed by the parsers of forms, piece by piece; the memory is that of the
 * names and of one value each.
 */
#ifndef IDEM_WANTED_H
#define IDEM_WANTED_H

#include "mod_idempotency.h"

#define IDEM_WANTED_NAME_MAX 255
#define IDEM_WANTED_VALUE_MAX 4096

typedef struct idem_wanted_t idem_wanted_t;

/** Look for @a n names, which have to live as long; NULL ones are not looked
 * for. From @a pool. */
idem_wanted_t *idem_wanted_create(const char *const *names, int n,
                                  apr_pool_t *pool);

/** A field of this name begins. @return 1 if its value is wanted */
int idem_wanted_name(idem_wanted_t *wanted, const char *name, apr_size_t len);

/** The next bytes of its value. */
void idem_wanted_add(idem_wanted_t *wanted, const char *data, apr_size_t len);

/** It ends. @param bad_escape  its value had an escape that is none */
void idem_wanted_end(idem_wanted_t *wanted, int bad_escape);

/**
 * What was found of the name at this index.
 * @param value  out: from the pool of create()
 * @param why    out: on APR_EINVAL a sentence for the client; constant
 * @return APR_SUCCESS; APR_NOTFOUND; APR_EINVAL if it cannot be said which
 *         value the application will see, or it has a NUL in it
 */
apr_status_t idem_wanted_result(const char **value, const char **why,
                                const idem_wanted_t *wanted, int index);

#endif /* IDEM_WANTED_H */
