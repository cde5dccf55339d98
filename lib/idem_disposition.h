/* idem_disposition.h: header block of a part -> name of the form field.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IDEM_DISPOSITION_H
#define IDEM_DISPOSITION_H

#include "mod_idempotency.h"

typedef enum {
    IDEM_DISPOSITION_NONE,  /* a file, or a part without a name */
    IDEM_DISPOSITION_FIELD, /* a field with a name */
    IDEM_DISPOSITION_DOUBT  /* parsers will differ in what its name is */
} idem_disposition_t;

/**
 * Read the Content-Disposition of a part (RFC 7578 4.2).
 * @param name  out, on FIELD: the name with backslashes resolved
 * @param len   in: room; out: length. A longer name is cut at the room.
 */
idem_disposition_t idem_disposition_parse(char *name, apr_size_t *len,
                                          const char *block,
                                          apr_size_t block_len);

/** Resolve in place what browsers write for quotes and line ends (%22, %0D,
 * %0A and nothing else). @return the new length */
apr_size_t idem_disposition_unescape(char *name, apr_size_t len);

#endif /* IDEM_DISPOSITION_H */
