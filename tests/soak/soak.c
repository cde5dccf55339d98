/* soak.c: the shm store while processes are killed by the thousand.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: soak FILE [KILLS [SECONDS]]    default: 10000 kills, 3600 s
 *
 * Eight processes claim, look up, commit, release, abandon, forget and purge
 * at random over some keys of one store. Every few milliseconds one of them
 * is killed and replaced. A model in memory of its own knows what each key
 * may answer; at the end every key is compared and the whole store checked.
 * Exit status 0: no faults.
 *
 * The model of a key is one word: number of the life that was noted last
 * (24 bits of use), forgets begun (16), what its owner was about to do (8).
 * A process notes before a call what it is going to do, and after it what it
 * has done, so that one that was killed leaves the word where both are right.
 * Between a claim and its note another process may forget the key: the count
 * of forgets tells, and that life is in doubt.
 */
#include "idem_store_shm.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_general.h>

#define WORKERS 8
#define KEYS 2048u
#define LIVES (1u << 20) /* a ring: the last so many are remembered */
#define SIZE (16u << 20)
#define ANSWER_MAX 16384u
#define T0 apr_time_from_sec(1000000)
#define STUCK_AFTER apr_time_from_sec(20)

/* A process that read the clock and then waited settles a dead claim by the
 * time it has: kills that may happen meanwhile, one second of ours each. */
#define LATE apr_time_from_sec(20)

enum {
    NONE,
    RUNS,
    COMMITS,
    DONE,
    RELEASES,
    ABANDONS,
    FORGETS,
    GONE,
    DOUBT
};
enum {
    LOST,
    TORN,
    DOUBLE,
    STUCK,
    NFAULTS
};

/* One execution. */
typedef struct {
    apr_uint64_t fence;
    apr_time_t unknown_until; /* not earlier, if it ends unknown */
    apr_time_t until;         /* of the answer */
    apr_uint32_t slot;
    apr_uint32_t birth; /* of the process */
} life_t;

/* How an answer begins; all else follows from fence and key. */
typedef struct {
    apr_uint64_t fence;
    apr_uint32_t key;
    apr_uint32_t len;
} answer_t;

typedef struct {
    apr_time_t now;
    apr_uint64_t nlives;
    apr_uint64_t ops[WORKERS];
    apr_uint32_t doomed[WORKERS];  /* births up to this are dead or dying */
    apr_uint32_t reaped[WORKERS];  /* births up to this are dead */
    apr_uint32_t forgetting[KEYS]; /* birth * WORKERS + slot */
    apr_uint64_t faults[NFAULTS];
    apr_uint64_t replays;
    apr_uint64_t runs;
    apr_uint64_t refused;
    apr_uint64_t unjudged;
    apr_uint64_t word[KEYS];
    life_t life[LIVES];
} model_t;

static model_t *model;
static idem_store_t *store;
static apr_uint32_t slot;
static apr_uint32_t birth;
static apr_uint64_t seed;

static void die(const char *what)
{
    fprintf(stderr, "soak: %s\n", what);
    exit(2);
}

static apr_uint32_t roll(apr_uint32_t n)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (apr_uint32_t)(seed >> 33) % n;
}

static void fault(int kind, apr_uint32_t key, const char *what)
{
    if (__atomic_fetch_add(&model->faults[kind], 1, __ATOMIC_RELAXED) < 20) {
        fprintf(stderr, "\nkey %u: %s\n", key, what);
    }
}

/* ------------------------------------------------------------------ words */

static apr_uint64_t word_of(apr_uint32_t key)
{
    return __atomic_load_n(&model->word[key], __ATOMIC_SEQ_CST);
}

static int swap(apr_uint32_t key, apr_uint64_t was, apr_uint64_t is)
{
    return __atomic_compare_exchange_n(&model->word[key], &was, is, 0,
                                       __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static int state_of(apr_uint64_t w)
{
    return (int)(w & 0xff);
}

static apr_uint32_t forgets_of(apr_uint64_t w)
{
    return (apr_uint32_t)(w >> 8) & 0xffff;
}

static apr_uint64_t with_state(apr_uint64_t w, int state)
{
    return (w & ~(apr_uint64_t)0xff) | (apr_uint64_t)state;
}

static life_t *life_of(apr_uint64_t w)
{
    return &model->life[(w >> 24) % LIVES];
}

static apr_time_t now_of(void)
{
    return __atomic_load_n(&model->now, __ATOMIC_SEQ_CST);
}

static int is_dead(const life_t *life)
{
    return __atomic_load_n(&model->doomed[life->slot], __ATOMIC_SEQ_CST)
           >= life->birth;
}

/* Is a forget of this key under way? It may hit whoever claims now. */
static int is_forgetting(apr_uint32_t key)
{
    apr_uint32_t by =
        __atomic_load_n(&model->forgetting[key], __ATOMIC_SEQ_CST);

    return by != 0
           && __atomic_load_n(&model->reaped[by % WORKERS], __ATOMIC_SEQ_CST)
                  < by / WORKERS;
}

/* ---------------------------------------------------------------- answers */

static apr_uint32_t fill(char *data, apr_uint32_t key, apr_uint64_t fence)
{
    apr_uint32_t len =
        sizeof(answer_t)
        + (apr_uint32_t)(fence * 2654435761u >> 7) % (ANSWER_MAX - 64);
    answer_t answer = { fence, key, len };
    apr_uint32_t i;

    memcpy(data, &answer, sizeof(answer));
    for (i = sizeof(answer); i < len; i++) {
        data[i] = (char)(fence * 31 + key + i * 7 + (i >> 8));
    }
    return len;
}

/* @return 1 if these are the bytes of one commit, whole */
static int is_answer(const idem_blob_t *record, apr_uint32_t key,
                     apr_uint64_t *fence)
{
    char data[ANSWER_MAX];
    answer_t answer;

    if (record->len < sizeof(answer)) {
        return 0;
    }
    memcpy(&answer, record->data, sizeof(answer));
    *fence = answer.fence;
    return answer.key == key && fill(data, key, answer.fence) == record->len
           && memcmp(data, record->data, record->len) == 0;
}

/* ------------------------------------------------------------------ judge */

/* May a claim have succeeded where the model stands at @a w? */
static int may_run(apr_uint64_t w, int rerun)
{
    const life_t *life = life_of(w);
    apr_time_t now = now_of();
    int gone = now + LATE >= life->unknown_until;

    switch (state_of(w)) {
    case RUNS:
        return is_dead(life) && (rerun || gone);
    case COMMITS:
        return (is_dead(life) && (rerun || gone)) || now >= life->until;
    case DONE:
        return now >= life->until;
    case ABANDONS:
        return rerun || gone;
    default:
        return 1;
    }
}

/* Note a claim. @param before  the word before it
 * @param busy  was somebody forgetting the key then?  @return the word */
static apr_uint64_t note(apr_uint32_t key, apr_uint64_t before, int busy,
                         int rerun, const idem_token_t *token,
                         apr_time_t until)
{
    apr_uint64_t n = __atomic_add_fetch(&model->nlives, 1, __ATOMIC_SEQ_CST);
    life_t *life = &model->life[n % LIVES];
    apr_uint64_t is;
    apr_uint64_t w;

    life->fence = token->fence;
    life->unknown_until = until;
    life->until = 0;
    life->slot = slot;
    life->birth = birth;
    do {
        int doubt;

        w = word_of(key);
        doubt =
            busy || forgets_of(w) != forgets_of(before) || is_forgetting(key);
        if (doubt) {
            __atomic_add_fetch(&model->unjudged, 1, __ATOMIC_RELAXED);
        }
        else if (w >> 24 && life_of(w)->fence >= token->fence) {
            fault(DOUBLE, key, "a fence no later than the last");
        }
        else if (!may_run(w, rerun)) {
            fprintf(stderr,
                    "\nstate %d, owner %s, rerun %d, now %ld, unknown until "
                    "%ld, until %ld, fence %lu after %lu\n",
                    state_of(w), is_dead(life_of(w)) ? "dead" : "alive", rerun,
                    (long)(now_of() / 1000000),
                    (long)(life_of(w)->unknown_until / 1000000),
                    (long)(life_of(w)->until / 1000000),
                    (unsigned long)token->fence,
                    (unsigned long)life_of(w)->fence);
            fault(state_of(w) == DONE ? LOST : DOUBLE, key,
                  "claimed while another execution was in force");
        }
        is = n << 24 | (w & 0xffff00) | (apr_uint64_t)(doubt ? DOUBT : RUNS);
    } while (!swap(key, w, is));
    return is;
}

/* A look-up found @a claim; the word was the same before and after. */
static void judge(apr_uint32_t key, apr_uint64_t w, idem_claim_t claim,
                  apr_uint64_t fence, apr_time_t asked)
{
    const life_t *life = life_of(w);
    int state = state_of(w);

    if (claim == IDEM_CLAIM_DONE) {
        if (state != COMMITS && state != DONE && state != FORGETS
            && state != DOUBT) {
            fault(TORN, key, "an answer that is no longer in force");
        }
        else if (state != DOUBT && state != FORGETS && life->fence != fence) {
            fault(TORN, key, "the answer of another execution");
        }
        else if (state == DONE && asked >= life->until) {
            fault(TORN, key, "an answer that has expired");
        }
        return;
    }
    if (state == DONE && now_of() < life->until) {
        fault(LOST, key, "an answer is gone");
    }
    if (claim == IDEM_CLAIM_UNKNOWN && state == RUNS && !is_dead(life)) {
        fault(LOST, key, "settled although its owner lives");
    }
}

/* ------------------------------------------------------------------- work */

static void ended(apr_uint32_t key, apr_uint64_t w, apr_uint64_t is,
                  apr_status_t rv)
{
    if (APR_STATUS_IS_TIMEUP(rv) || APR_STATUS_IS_EBUSY(rv)) {
        fault(STUCK, key, "no lock");
    }
    else if (rv == APR_SUCCESS) {
        (void)swap(key, w, is);
    }
    else if (state_of(w) != DOUBT && word_of(key) == w) {
        fault(LOST, key, "the claim was gone at its end");
    }
}

static void end_claim(apr_uint32_t key, apr_uint64_t w,
                      const idem_token_t *token, apr_pool_t *pool)
{
    char *data = apr_palloc(pool, ANSWER_MAX);
    struct iovec vec = { data, fill(data, key, token->fence) };
    apr_uint32_t what = roll(100);
    apr_interval_time_t ttl = apr_time_from_sec(20 + roll(400));
    apr_time_t now = now_of();
    apr_uint64_t next;
    apr_status_t rv;

    if (what < 80) {
        life_of(w)->until = now + ttl;
        next = with_state(w, state_of(w) == RUNS ? COMMITS : DOUBT);
        w = swap(key, w, next) ? next : w;
        rv = idem_store_commit(store, token, IDEM_END_DONE, &vec, 1,
                               &(idem_term_t){ now, ttl, 0 });
        if (rv != APR_ENOSPC) {
            ended(key, w, with_state(w, state_of(w) == COMMITS ? DONE : DOUBT),
                  rv);
            return;
        }
        __atomic_add_fetch(&model->refused, 1, __ATOMIC_RELAXED);
        what = 80;
    }
    next = with_state(w, state_of(w) == DOUBT ? DOUBT
                         : what < 90          ? RELEASES
                                              : ABANDONS);
    w = swap(key, w, next) ? next : w;
    if (what < 90) {
        rv = idem_store_release(store, token);
        next = with_state(w, state_of(w) == DOUBT ? DOUBT : GONE);
    }
    else {
        rv = idem_store_abandon(store, token, now);
        next = w;
    }
    ended(key, w, next, rv);
}

static void forget(apr_uint32_t key, const idem_digest_t *id)
{
    apr_uint32_t by =
        __atomic_load_n(&model->forgetting[key], __ATOMIC_SEQ_CST);
    apr_uint64_t was;
    apr_uint64_t w;

    if (is_forgetting(key)
        || !__atomic_compare_exchange_n(&model->forgetting[key], &by,
                                        birth * WORKERS + slot, 0,
                                        __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
        return;
    }
    do {
        was = word_of(key);
        w = (was & ~(apr_uint64_t)0xffffff)
            | (apr_uint64_t)((forgets_of(was) + 1) & 0xffff) << 8 | FORGETS;
    } while (!swap(key, was, w));
    (void)idem_store_forget(store, id);
    (void)swap(key, w, with_state(w, DOUBT));
    __atomic_store_n(&model->forgetting[key], 0, __ATOMIC_SEQ_CST);
}

static void digest(idem_digest_t *id, apr_uint32_t key)
{
    apr_uint64_t x = key + 1;
    unsigned int i;

    for (i = 0; i < sizeof(id->bytes); i++) {
        x = x * 6364136223846793005ull + 1442695040888963407ull;
        id->bytes[i] = (unsigned char)(x >> 40);
    }
}

/* Ask for a key, and do what a request would. @return what was found */
static idem_claim_t once(apr_uint32_t key, int rerun, apr_pool_t *pool)
{
    /* The same for all: a process that is killed before it notes its rerun
     * may not leave an earlier end than the one that was noted. */
    apr_interval_time_t ttl = apr_time_from_sec(60);
    idem_claim_t claim = IDEM_CLAIM_IN_PROGRESS;
    apr_uint64_t before = word_of(key);
    int busy = is_forgetting(key);
    apr_time_t now = now_of();
    apr_uint64_t fence = 0;
    idem_digest_t id;
    idem_token_t token;
    idem_blob_t record;
    apr_status_t rv;
    idem_ask_t ask = { &id, &id, 7, 0, rerun, now, ttl };

    digest(&id, key);
    rv = idem_store_claim(store, &claim, &token, &record, &ask, pool);
    if (rv == APR_ENOSPC) {
        __atomic_add_fetch(&model->refused, 1, __ATOMIC_RELAXED);
        if (word_of(key) == before) {
            /* The key was absent, then. */
            judge(key, before, IDEM_CLAIM_NEW, 0, now);
        }
        return IDEM_CLAIM_NEW;
    }
    if (rv != APR_SUCCESS) {
        fault(STUCK, key, "no claim");
        return IDEM_CLAIM_NEW;
    }
    if (claim == IDEM_CLAIM_NEW) {
        apr_uint64_t w = note(key, before, busy, rerun, &token, now + ttl);

        __atomic_add_fetch(&model->runs, 1, __ATOMIC_RELAXED);
        end_claim(key, w, &token, pool);
        return claim;
    }
    if (claim == IDEM_CLAIM_DONE) {
        __atomic_add_fetch(&model->replays, 1, __ATOMIC_RELAXED);
        if (!is_answer(&record, key, &fence)) {
            fault(TORN, key, "bytes that nobody committed");
        }
    }
    if (word_of(key) == before) {
        judge(key, before, claim, fence, now);
    }
    return claim;
}

static void work(void)
{
    apr_pool_t *pool;

    if (apr_pool_create(&pool, NULL) != APR_SUCCESS
        || idem_store_shm_child_init(store) != APR_SUCCESS) {
        fault(STUCK, 0, "a process could not enter");
        _exit(1);
    }
    seed = birth * 7919u + slot;
    for (;;) {
        apr_uint32_t key = roll(KEYS);
        apr_uint32_t what = roll(200);
        idem_digest_t id;

        if (what == 0) {
            digest(&id, key);
            forget(key, &id);
        }
        else if (what == 1) {
            idem_store_purge(store, now_of());
        }
        else {
            (void)once(key, what < 40, pool);
        }
        __atomic_add_fetch(&model->ops[slot], 1, __ATOMIC_RELAXED);
        apr_pool_clear(pool);
    }
}

/* ----------------------------------------------------------------- master */

static pid_t pids[WORKERS];
static apr_uint32_t births[WORKERS];
static apr_uint64_t seen[WORKERS];
static apr_time_t moved[WORKERS];

static void start(apr_uint32_t i)
{
    static apr_uint32_t last;

    births[i] = ++last;
    moved[i] = apr_time_now();
    pids[i] = fork();
    if (pids[i] == 0) {
        slot = i;
        birth = last;
        work();
    }
    if (pids[i] < 0) {
        die("no process");
    }
}

static void stop(apr_uint32_t i)
{
    int status;

    __atomic_store_n(&model->doomed[i], births[i], __ATOMIC_SEQ_CST);
    kill(pids[i], SIGKILL);
    waitpid(pids[i], &status, 0);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
        fault(TORN, i, "a process ended by itself");
    }
    __atomic_store_n(&model->reaped[i], births[i], __ATOMIC_SEQ_CST);
    idem_store_shm_child_died(store, pids[i]);
}

static apr_uint64_t all_ops(void)
{
    apr_uint64_t ops = 0;
    apr_time_t now = apr_time_now();
    int i;

    for (i = 0; i < WORKERS; i++) {
        apr_uint64_t n = __atomic_load_n(&model->ops[i], __ATOMIC_RELAXED);

        if (n != seen[i]) {
            seen[i] = n;
            moved[i] = now;
        }
        else if (now - moved[i] > STUCK_AFTER) {
            fault(STUCK, (apr_uint32_t)i, "a process stands still");
            moved[i] = now;
        }
        ops += n;
    }
    return ops;
}

static void say(apr_uint32_t done, apr_uint32_t kills, apr_time_t begin,
                const char *end)
{
    apr_time_t spent = apr_time_now() - begin;
    double s = (double)spent / 1e6;
    apr_uint64_t *f = model->faults;
    apr_uint64_t ops = all_ops();

    printf("%lu operations, %.0f/s, %u of %u kills, %lu lost, %lu torn, "
           "%lu double, %lu stuck, %.0f s left%s",
           (unsigned long)ops, (double)ops / (s > 0 ? s : 1), done, kills,
           (unsigned long)f[LOST], (unsigned long)f[TORN],
           (unsigned long)f[DOUBLE], (unsigned long)f[STUCK],
           done > 0 ? s * (kills - done) / done : 0.0, end);
    fflush(stdout);
}

static apr_uint32_t storm(apr_uint32_t kills, apr_time_t begin,
                          apr_interval_time_t limit)
{
    const char *end = isatty(1) ? "   \r" : "\n";
    apr_time_t said = begin;
    apr_uint32_t done;
    apr_uint32_t i;

    for (i = 0; i < WORKERS; i++) {
        start(i);
    }
    for (done = 0; done < kills; done++) {
        apr_time_t now = apr_time_now();

        if (now - begin > limit) {
            break;
        }
        if (now - said > apr_time_from_sec(isatty(1) ? 1 : 10)) {
            say(done, kills, begin, end);
            said = now;
        }
        usleep(500 + roll(6000));
        i = roll(WORKERS);
        stop(i);
        __atomic_add_fetch(&model->now, apr_time_from_sec(1),
                           __ATOMIC_SEQ_CST);
        start(i);
    }
    for (i = 0; i < WORKERS; i++) {
        stop(i);
    }
    return done;
}

/* Nobody lives: every key is compared, then all expires. */
static void sweep(apr_pool_t *pool)
{
    const char *wrong = idem_store_check(store, pool);
    idem_usage_t usage;
    apr_uint32_t key;
    int i;

    if (!wrong) {
        for (key = 0; key < KEYS; key++) {
            if (once(key, 0, pool) == IDEM_CLAIM_IN_PROGRESS) {
                fault(STUCK, key, "in progress, and nobody lives");
            }
        }
        wrong = idem_store_check(store, pool);
    }
    if (wrong) {
        printf("\n");
        fault(TORN, 0, wrong);
    }
    idem_store_usage(store, &usage);
    printf("%lu repairs, %lu expired, %lu done at the end\n",
           (unsigned long)usage.repairs, (unsigned long)usage.expired,
           (unsigned long)usage.done);
    for (i = 0; i < 16; i++) {
        idem_store_purge(store, now_of() + apr_time_from_sec(1000000));
    }
    memset(&usage, 0, sizeof(usage));
    idem_store_usage(store, &usage);
    if (usage.used != 0) {
        fault(STUCK, 0, "units that belong to nobody");
    }
}

static void open_store(const char *path, idem_shm_segment_t *segment,
                       apr_pool_t *pool)
{
    idem_shm_open_t how = { path, SIZE, 0, T0, 0 };
    apr_global_mutex_t **locks;
    const char *detail;
    apr_uint32_t i;

    if (idem_shm_open(segment, &detail, &how, pool) != APR_SUCCESS) {
        die(detail ? detail : "no store");
    }
    locks = apr_palloc(pool, segment->nshards * sizeof(*locks));
    for (i = 0; i < segment->nshards; i++) {
        if (apr_global_mutex_create(&locks[i], NULL, APR_LOCK_DEFAULT, pool)
            != APR_SUCCESS) {
            die("no lock");
        }
    }
    if (idem_store_shm_attach(&store, segment, locks, pool) != APR_SUCCESS) {
        die("no store");
    }
}

int main(int argc, char **argv)
{
    apr_uint32_t kills =
        argc > 2 ? (apr_uint32_t)strtoul(argv[2], NULL, 10) : 10000;
    long limit = argc > 3 ? strtol(argv[3], NULL, 10) : 3600;
    apr_time_t begin = apr_time_now();
    idem_shm_segment_t segment;
    apr_pool_t *pool;
    apr_uint32_t done;

    apr_initialize();
    if (argc < 2 || apr_pool_create(&pool, NULL) != APR_SUCCESS) {
        die("usage: soak FILE [KILLS [SECONDS]]");
    }
    model = mmap(NULL, sizeof(*model), PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (model == MAP_FAILED) {
        die("no memory");
    }
    model->now = T0;
    seed = 1;
    open_store(argv[1], &segment, pool);
    done = storm(kills, begin, apr_time_from_sec((apr_time_t)limit));
    slot = 0;
    birth = APR_UINT32_MAX;
    if (idem_store_shm_child_init(store) != APR_SUCCESS) {
        die("no row of the owner table is free");
    }
    sweep(pool);
    say(done, kills, begin, "\n");
    printf("%lu executions, %lu replays compared, %lu refused for room, "
           "%lu claims not judged (forgotten meanwhile)\n",
           (unsigned long)model->runs, (unsigned long)model->replays,
           (unsigned long)model->refused, (unsigned long)model->unjudged);
    idem_shm_close(&segment);
    return model->faults[LOST] + model->faults[TORN] + model->faults[DOUBLE]
                   + model->faults[STUCK]
               > 0
           || done < kills;
}
