/* idem_view.h: all that a status page shows, as it is at one moment.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IDEM_VIEW_H
#define IDEM_VIEW_H

#include "idem_numbers.h"

/** The four shares that people ask for. */
typedef enum {
    IDEM_SHARE_DUPLICATE, /* keyed requests whose key was known */
    IDEM_SHARE_ANSWERED,  /* retries answered with the first result */
    IDEM_SHARE_REPLAY,    /* keyed requests that were replayed */
    IDEM_SHARE_REUSE,     /* keyed requests that reused a key */
    IDEM_SHARE_COUNT
} idem_share_t;

typedef struct {
    const char *word;  /* as in JSON */
    const char *name;  /* for people */
    const char *means; /* what of what */
} idem_share_text_t;

extern const idem_share_text_t idem_share_text[IDEM_SHARE_COUNT];

/** One virtual host, or the sum of several. */
typedef struct {
    const char *label;
    const char *name; /* unambiguous */
    idem_tally_t tally;
    apr_uint64_t total[IDEM_SERIES_COUNT];
    apr_uint64_t hour[IDEM_SERIES_COUNT];
} idem_view_host_t;

/** One step of the last hour. */
typedef struct {
    int known; /* 0: nobody took a sample */
    apr_uint32_t of[IDEM_SERIES_COUNT];
    apr_uint64_t used; /* of the store, at the end of the step */
    apr_uint32_t executing;
} idem_view_point_t;

#define IDEM_VIEW_POINTS (IDEM_NUMBERS_SAMPLES - 1)

typedef struct {
    int whole; /* all virtual hosts and the store; else only one host */
    int apart; /* 0: this host's numbers are not kept apart; all is zero */
    apr_time_t now;
    apr_time_t since;
    idem_view_host_t sum;
    const apr_array_header_t *hosts; /* idem_view_host_t *; whole only */
    idem_usage_t usage;              /* whole only */
    int waiting;                     /* requests; whole only */
    int waiting_max;                 /* whole only */
    idem_view_point_t point[IDEM_VIEW_POINTS]; /* the oldest first */
} idem_view_t;

/** @param whole  0: nothing but the virtual host of this request */
const idem_view_t *idem_view_create(request_rec *r, int whole);

/** Numerator and denominator of a share, of idem_view_host_t's series. */
void idem_view_share(apr_uint64_t *part, apr_uint64_t *of, idem_share_t share,
                     const apr_uint64_t *series);

/** "new", "in-progress"... */
const char *idem_view_found_str(int found);
/** "claim", "commit", "replay" */
const char *idem_view_timing_str(int timing);
/** The virtual host with this digest; NULL if it is not configured. */
const idem_srv_conf_t *idem_view_host(apr_uint32_t sum);

#endif /* IDEM_VIEW_H */
