/* idem_value.h: values of directives, for those who set them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A setter checks everything at once, and says the value, what is wrong with
 * it, and one that works.
 */
#ifndef IDEM_VALUE_H
#define IDEM_VALUE_H

#include "idem_httpd.h"

/** "Directive: 'value' wrong, such as example"; from the pool of @a cmd. */
const char *idem_value_bad(cmd_parms *cmd, const char *value,
                           const char *wrong, const char *example);

/** A number of bytes, or with K, M or G. @return 0: it is none */
int idem_value_size(const char *text, apr_off_t *size);

/** A time as Timeout takes, up to ten years. @return 0: it is none */
int idem_value_time(const char *text, apr_interval_time_t *time);

/** One of two words; the first sets 0. @return NULL, or what is wrong */
const char *idem_value_one_of(cmd_parms *cmd, int *out, const char *arg,
                              const char *zero, const char *one);

/* ---- idem_directives_server.c: what is set for a server */

const char *idem_directives_store(cmd_parms *cmd, void *mconfig, int argc,
                                  char *const argv[]);
const char *idem_directives_quota(cmd_parms *cmd, void *mconfig,
                                  const char *arg);
const char *idem_directives_waiters(cmd_parms *cmd, void *mconfig,
                                    const char *arg);
const char *idem_directives_admin(cmd_parms *cmd, void *mconfig,
                                  const char *arg);

#endif /* IDEM_VALUE_H */
