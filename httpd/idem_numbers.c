/* idem_numbers.c: counters, latencies and the last hour, per virtual host.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   head_t    tick of the last sample, turns of the watchdogs, reading of
 *             the configuration
 *   store[]   one sample of the store's use for each step of the last hour
 *   row[]     one for each virtual host, the last one for all that found no
 *             room: name, counters, histograms, samples of the last hour
 *
 * The parent gives out rows while it reads the configuration; from then on
 * a request adds to the row that its virtual host points to. Adding is one
 * relaxed atomic instruction, and nobody ever waits. Pages that nobody
 * counts on are never touched, so unused rows take no memory.
 */
#include "idem_numbers.h"

#include <time.h>

#include <apr_shm.h>
#include <apr_strings.h>

#define LAYOUT 2 /* of everything below */
#define NROWS (IDEM_NUMBERS_HOSTS + 1)
#define OTHERS IDEM_NUMBERS_HOSTS

typedef struct {
    apr_uint32_t tick;
    apr_uint32_t reading;
    apr_time_t since;
    apr_uint64_t turn[IDEM_TURN_COUNT]; /* when it was taken; 0: never */
    idem_store_sample_t store[IDEM_NUMBERS_SAMPLES];
    idem_row_t row[NROWS];
} numbers_t;

/* Kept by httpd over restarts, while this code is loaded anew. */
typedef struct {
    numbers_t *numbers;
} retained_t;

static numbers_t *numbers;

/* --------------------------------------------------------------- counting */

static void add(apr_uint64_t *to, apr_uint64_t n)
{
    __atomic_fetch_add(to, n, __ATOMIC_RELAXED);
}

static apr_uint64_t get(const apr_uint64_t *from)
{
    return __atomic_load_n(from, __ATOMIC_RELAXED);
}

void idem_numbers_result(const idem_srv_conf_t *srv, int result)
{
    if (srv->row && result >= 0 && result < IDEM_RESULT_COUNT) {
        add(&srv->row->tally.result[result], 1);
    }
}

void idem_numbers_found(const idem_srv_conf_t *srv, idem_claim_t found)
{
    if (srv->row && (int)found >= 0 && (int)found < IDEM_FOUND_COUNT) {
        add(&srv->row->tally.found[found], 1);
    }
}

apr_uint64_t idem_numbers_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (apr_uint64_t)now.tv_sec * 1000000000u + (apr_uint64_t)now.tv_nsec;
}

void idem_numbers_timing(const idem_srv_conf_t *srv, idem_timing_t what,
                         apr_uint64_t began)
{
    apr_uint64_t ns = idem_numbers_clock() - began;
    idem_histogram_t *histogram;

    if (srv->row) {
        histogram = &srv->row->tally.timing[what];
        add(&histogram->sum, ns);
        add(&histogram->bucket[idem_histogram_bucket(ns)], 1);
    }
}

/* ---------------------------------------------------------------- opening */

static numbers_t *create(server_rec *s)
{
    const char *key = apr_psprintf(
        s->process->pool, "mod_idempotency numbers %d %" APR_SIZE_T_FMT,
        LAYOUT, sizeof(numbers_t));
    retained_t *kept = ap_retained_data_get(key);
    apr_shm_t *shm;
    apr_status_t rv;

    if (!kept) {
        kept = ap_retained_data_create(key, sizeof(*kept));
    }
    if (!kept->numbers) {
        rv = apr_shm_create(&shm, sizeof(numbers_t), NULL, s->process->pool);
        if (rv != APR_SUCCESS) {
            ap_log_error(APLOG_MARK, APLOG_WARNING, rv, s,
                         "IDEM0040: no memory for numbers: nothing is "
                         "counted");
            return NULL;
        }
        /* Zero, since it is new from the system. */
        kept->numbers = apr_shm_baseaddr_get(shm);
        kept->numbers->since = apr_time_now();
    }
    return kept->numbers;
}

static idem_row_t *find(const idem_srv_conf_t *srv)
{
    idem_row_t *row;
    int i;

    for (i = 0; i < IDEM_NUMBERS_HOSTS; i++) {
        row = &numbers->row[i];
        if (row->reading && row->host == srv->host_sum
            && !strncmp(row->name, srv->host, IDEM_NUMBERS_NAME - 1)) {
            return row;
        }
    }
    return NULL;
}

/* A total that went down would look like a new start. */
static void give_to_others(idem_row_t *row)
{
    idem_numbers_add(&numbers->row[OTHERS].tally, row);
    numbers->row[OTHERS].reading = numbers->reading;
    memset(row, 0, sizeof(*row));
}

/* A free row, or that of a virtual host which is no more. */
static idem_row_t *take(const idem_srv_conf_t *srv)
{
    idem_row_t *row = NULL;
    int i;

    for (i = 0; i < IDEM_NUMBERS_HOSTS; i++) {
        if (!numbers->row[i].reading) {
            row = &numbers->row[i];
            break;
        }
        if (!row && numbers->row[i].reading != numbers->reading) {
            row = &numbers->row[i];
        }
    }
    if (!row) {
        return &numbers->row[OTHERS];
    }
    if (row->reading) {
        give_to_others(row);
    }
    row->host = srv->host_sum;
    row->born = idem_numbers_tick();
    apr_cpystrn(row->name, srv->host, sizeof(row->name));
    return row;
}

void idem_numbers_open(server_rec *s)
{
    server_rec *each;
    idem_srv_conf_t *srv;

    numbers = create(s);
    if (!numbers) {
        return;
    }
    numbers->reading++;
    if (numbers->reading == 0) {
        numbers->reading = 1;
    }
    /* First those that have a row, so that none of these is given away. */
    for (each = s; each; each = each->next) {
        srv = ap_get_module_config(each->module_config, &idempotency_module);
        srv->row = find(srv);
        if (srv->row) {
            srv->row->reading = numbers->reading;
        }
    }
    for (each = s; each; each = each->next) {
        srv = ap_get_module_config(each->module_config, &idempotency_module);
        if (!srv->row) {
            /* Two hosts may share all that their name is made of. */
            srv->row = find(srv);
        }
        if (!srv->row) {
            srv->row = take(srv);
            srv->row->reading = numbers->reading;
        }
    }
}

/* --------------------------------------------------------------- the hour */

apr_uint32_t idem_numbers_tick(void)
{
    return (apr_uint32_t)(idem_numbers_clock() / 1000000000u
                          / IDEM_NUMBERS_STEP)
           + 1;
}

void idem_numbers_series(apr_uint64_t *of, const idem_tally_t *tally)
{
    const apr_uint64_t *result = tally->result;
    apr_uint64_t looked = 0, refused = 0;
    int i;

    for (i = 0; i < IDEM_FOUND_COUNT; i++) {
        looked += tally->found[i];
    }
    for (i = 0; i < IDEM_PROBLEM_COUNT; i++) {
        refused += result[IDEM_RESULT_PROBLEM + i];
    }
    of[IDEM_SERIES_LOOKED] = looked;
    of[IDEM_SERIES_KNOWN] = looked - tally->found[IDEM_CLAIM_NEW];
    of[IDEM_SERIES_REUSED] = tally->found[IDEM_CLAIM_REUSED];
    of[IDEM_SERIES_REPLAYED] = result[IDEM_RESULT_REPLAYED];
    of[IDEM_SERIES_EXECUTED] =
        result[IDEM_RESULT_EXECUTED] + result[IDEM_RESULT_RELEASED];
    of[IDEM_SERIES_UNKNOWN] =
        result[IDEM_RESULT_PROBLEM + IDEM_PROBLEM_OUTCOME_UNKNOWN];
    of[IDEM_SERIES_REFUSED] = refused - of[IDEM_SERIES_UNKNOWN];
}

void idem_numbers_of_row(apr_uint64_t *of, const idem_row_t *row)
{
    idem_tally_t tally;

    memset(&tally, 0, sizeof(tally));
    idem_numbers_add(&tally, row);
    idem_numbers_series(of, &tally);
}

/* Written and read while others do the same: a number may be a moment older
 * than the one beside it. */
static void sample_row(idem_row_t *row, apr_uint32_t tick)
{
    idem_sample_t *to = &row->sample[tick % IDEM_NUMBERS_SAMPLES];
    apr_uint64_t of[IDEM_SERIES_COUNT];
    int i;

    idem_numbers_of_row(of, row);
    to->tick = 0;
    for (i = 0; i < IDEM_SERIES_COUNT; i++) {
        to->of[i] = (apr_uint32_t)of[i];
    }
    __atomic_store_n(&to->tick, tick, __ATOMIC_RELEASE);
}

static void sample_store(apr_uint32_t tick)
{
    idem_store_sample_t *to = &numbers->store[tick % IDEM_NUMBERS_SAMPLES];
    idem_usage_t usage;

    idem_store_usage(idem_server_store, &usage);
    to->tick = 0;
    to->executing = (apr_uint32_t)usage.executing;
    to->used = usage.used;
    to->records = usage.executing + usage.done + usage.not_retained
                  + usage.unknown + usage.tombstones;
    __atomic_store_n(&to->tick, tick, __ATOMIC_RELEASE);
}

int idem_numbers_turn(idem_turn_t which, apr_interval_time_t interval)
{
    apr_uint64_t now = idem_numbers_clock();
    apr_uint64_t last;

    if (!numbers) {
        return 1;
    }
    last = get(&numbers->turn[which]);
    return (last == 0 || now >= last + (apr_uint64_t)interval * 1000)
           && __atomic_compare_exchange_n(&numbers->turn[which], &last, now, 0,
                                          __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

void idem_numbers_step(void)
{
    apr_uint32_t tick = idem_numbers_tick();
    apr_uint32_t last;
    int i;

    if (!numbers || !idem_server_store) {
        return;
    }
    /* The turns of two watchdogs may overlap. */
    last = __atomic_load_n(&numbers->tick, __ATOMIC_RELAXED);
    if (last == tick
        || !__atomic_compare_exchange_n(&numbers->tick, &last, tick, 0,
                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        return;
    }
    for (i = 0; i < NROWS; i++) {
        if (numbers->row[i].reading) {
            sample_row(&numbers->row[i], tick);
        }
    }
    sample_store(tick);
}

/* ---------------------------------------------------------------- reading */

apr_time_t idem_numbers_since(void)
{
    return numbers ? numbers->since : 0;
}

const idem_row_t *idem_numbers_row(int i)
{
    return numbers && i >= 0 && i < NROWS && numbers->row[i].reading
               ? &numbers->row[i]
               : NULL;
}

int idem_numbers_is_others(const idem_row_t *row)
{
    return numbers && row == &numbers->row[OTHERS];
}

static void add_all(apr_uint64_t *to, const apr_uint64_t *from, int n)
{
    int i;

    for (i = 0; i < n; i++) {
        to[i] += get(&from[i]);
    }
}

void idem_numbers_add(idem_tally_t *to, const idem_row_t *row)
{
    int i;

    add_all(to->result, row->tally.result, IDEM_RESULT_COUNT);
    add_all(to->found, row->tally.found, IDEM_FOUND_COUNT);
    for (i = 0; i < IDEM_TIMING_COUNT; i++) {
        to->timing[i].sum += get(&row->tally.timing[i].sum);
        add_all(to->timing[i].bucket, row->tally.timing[i].bucket,
                IDEM_HISTOGRAM_BUCKETS);
    }
}

const idem_sample_t *idem_numbers_at(const idem_row_t *row, apr_uint32_t tick)
{
    const idem_sample_t *sample = &row->sample[tick % IDEM_NUMBERS_SAMPLES];

    return tick && __atomic_load_n(&sample->tick, __ATOMIC_ACQUIRE) == tick
               ? sample
               : NULL;
}

const idem_store_sample_t *idem_numbers_store_at(apr_uint32_t tick)
{
    const idem_store_sample_t *sample;

    if (!numbers || !tick) {
        return NULL;
    }
    sample = &numbers->store[tick % IDEM_NUMBERS_SAMPLES];
    return __atomic_load_n(&sample->tick, __ATOMIC_ACQUIRE) == tick ? sample
                                                                    : NULL;
}
