/* idem_numbers.h: counters, latencies and the last hour, per virtual host.
 * SPDX-License-Identifier: Apache-2.0
 *
 * In shared memory of its own, which outlives restarts but not a stop. Plain
 * data of fixed size without any length or pointer in it: children write it,
 * so nobody believes more of it than that these are numbers.
 */
#ifndef IDEM_NUMBERS_H
#define IDEM_NUMBERS_H

#include "idem_httpd.h"
#include "idem_histogram.h"

#define IDEM_NUMBERS_HOSTS 256   /* virtual hosts that are told apart */
#define IDEM_NUMBERS_NAME 128    /* bytes of a name, with its end */
#define IDEM_NUMBERS_STEP 10     /* seconds between two samples */
#define IDEM_NUMBERS_SAMPLES 360 /* an hour of them */

/** What takes time, in the life of a keyed request. */
typedef enum {
    IDEM_TIMING_CLAIM,  /* one look-up and claim */
    IDEM_TIMING_COMMIT, /* storing one result */
    IDEM_TIMING_REPLAY, /* from the claim that found the record until the
                         * answer is handed to httpd's output */
    IDEM_TIMING_COUNT
} idem_timing_t;

#define IDEM_FOUND_COUNT (IDEM_CLAIM_REUSED + 1)

/** All that is counted of a virtual host. */
typedef struct {
    apr_uint64_t result[IDEM_RESULT_COUNT];
    apr_uint64_t found[IDEM_FOUND_COUNT]; /* by idem_claim_t */
    idem_histogram_t timing[IDEM_TIMING_COUNT];
} idem_tally_t;

/** What a sample holds: totals so far, of which only differences count. */
typedef enum {
    IDEM_SERIES_LOOKED,   /* keyed requests that were looked up */
    IDEM_SERIES_KNOWN,    /* of these: the key was known */
    IDEM_SERIES_REPLAYED, /* of these: answered with the first result */
    IDEM_SERIES_REUSED,   /* known key, other request */
    IDEM_SERIES_EXECUTED, /* executed or released */
    IDEM_SERIES_REFUSED,  /* problems, but unknown outcomes */
    IDEM_SERIES_UNKNOWN,  /* outcome unknown */
    IDEM_SERIES_COUNT
} idem_series_t;

typedef struct {
    apr_uint32_t tick; /* when, in steps; 0: no sample */
    apr_uint32_t of[IDEM_SERIES_COUNT];
} idem_sample_t;

/** A virtual host, or all those that found no row of their own. */
typedef struct idem_row_t {
    apr_uint32_t host; /* digest of the name */
    apr_uint32_t
        reading;       /* of the configuration that named it last; 0: free */
    apr_uint32_t born; /* tick */
    apr_uint32_t spare;
    char name[IDEM_NUMBERS_NAME];
    idem_tally_t tally;
    idem_sample_t sample[IDEM_NUMBERS_SAMPLES];
} idem_row_t;

typedef struct {
    apr_uint32_t tick;
    apr_uint32_t executing;
    apr_uint64_t used;    /* bytes */
    apr_uint64_t records; /* in any state */
} idem_store_sample_t;

/** In post_config, when the virtual hosts have their names. */
void idem_numbers_open(server_rec *s);

/** Count what became of a request, and what its key was found to be. */
void idem_numbers_result(const idem_srv_conf_t *srv, int result);
void idem_numbers_found(const idem_srv_conf_t *srv, idem_claim_t found);

/** Nanoseconds of a clock that never jumps; and note the time since then. */
apr_uint64_t idem_numbers_clock(void);
void idem_numbers_timing(const idem_srv_conf_t *srv, idem_timing_t what,
                         apr_uint64_t began);

/** What the watchdogs of all children do in turn. */
typedef enum {
    IDEM_TURN_PURGE,
    IDEM_TURN_WARN,
    IDEM_TURN_COUNT
} idem_turn_t;

/** Is it this child's turn? One is told so in each @a interval. */
int idem_numbers_turn(idem_turn_t which, apr_interval_time_t interval);

/** Often, from the watchdog: take a sample when it is time for one. */
void idem_numbers_step(void);

/* ---- reading */

/** When counting began; 0: nothing is counted. */
apr_time_t idem_numbers_since(void);

/** Row @a i of 0..IDEM_NUMBERS_HOSTS, the last one for all others; NULL if it
 *  is not in use. */
const idem_row_t *idem_numbers_row(int i);
int idem_numbers_is_others(const idem_row_t *row);

/** Add a row's numbers as they are now. */
void idem_numbers_add(idem_tally_t *to, const idem_row_t *row);

/** The same, as a sample has it. @param of  IDEM_SERIES_COUNT of them */
void idem_numbers_series(apr_uint64_t *of, const idem_tally_t *tally);
void idem_numbers_of_row(apr_uint64_t *of, const idem_row_t *row);

/** The step that lasts, and the sample taken at its beginning or at that of
 *  an earlier one. @return NULL: there was none */
apr_uint32_t idem_numbers_tick(void);
const idem_sample_t *idem_numbers_at(const idem_row_t *row, apr_uint32_t tick);
const idem_store_sample_t *idem_numbers_store_at(apr_uint32_t tick);

#endif /* IDEM_NUMBERS_H */
