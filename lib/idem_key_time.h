/* idem_key_time.h: the time that some keys carry.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IDEM_KEY_TIME_H
#define IDEM_KEY_TIME_H

#include "mod_idempotency.h"

/**
 * When a key was made, if it tells: a UUID of version 7 and the variant of
 * RFC 9562 in the form 8-4-4-4-12, or a ULID. Letters of either case.
 * @param made  out: to the millisecond
 * @return 1; 0 if it carries no time
 */
int idem_key_time(const char *key, apr_time_t *made);

#endif /* IDEM_KEY_TIME_H */
