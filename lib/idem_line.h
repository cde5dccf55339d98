/* idem_line.h: one line of JSON that never outgrows its buffer.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Whatever bytes the values have, the line is one line, valid JSON and plain
 * ASCII: nobody can end it, begin another, or fool a terminal. What does not
 * fit is cut and named in the member "cut".
 */
#ifndef IDEM_LINE_H
#define IDEM_LINE_H

#include <limits.h>

#include "mod_idempotency.h"

/** Bytes that one write to a pipe takes or refuses as a whole. */
#if defined(PIPE_BUF) && PIPE_BUF < 4096
#define IDEM_LINE_MAX PIPE_BUF
#else
#define IDEM_LINE_MAX 4096
#endif

/** Bytes kept for the end of the line ("cut" with IDEM_LINE_CUTS names) and
 * for one byte that the caller may put before it. */
#define IDEM_LINE_TAIL 128
#define IDEM_LINE_CUTS 4

typedef struct {
    char text[IDEM_LINE_MAX];
    apr_size_t len;
    const char *cut[IDEM_LINE_CUTS];
    int ncut;
} idem_line_t;

void idem_line_init(idem_line_t *line);

/**
 * Add a text.
 * @param name   constant, plain ASCII, at most 16 bytes
 * @param value  any bytes but NUL; NULL: the member is left out
 * @param max    most bytes that the escaped value may take
 */
void idem_line_text(idem_line_t *line, const char *name, const char *value,
                    apr_size_t max);

/** Add a number. */
void idem_line_number(idem_line_t *line, const char *name, apr_int64_t value);

/** Add the first @a len bytes of a digest, in hexadecimal. */
void idem_line_digest(idem_line_t *line, const char *name,
                      const idem_digest_t *digest, apr_size_t len);

/** Add a time as RFC 3339 has it: UTC, with microseconds. */
void idem_line_time(idem_line_t *line, const char *name, apr_time_t time);

/** Close the object and end the line. */
void idem_line_end(idem_line_t *line);

#endif /* IDEM_LINE_H */
