/* test_store_storm.c: the shm store while processes are killed at random.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store_shm_test.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORKERS 3
#define KILLS 200
#define IDS 100000u

/* What the workers tell each other, in memory of their own. */
typedef struct {
    apr_uint32_t next;
    unsigned char ran[IDS];  /* executions that were begun */
    unsigned char done[IDS]; /* commits that returned */
} board_t;

static void *shared(apr_size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert_true(p != MAP_FAILED);
    return p;
}

/* Of these only a tombstone is left as soon as they are committed. */
static int is_mortal(apr_uint32_t n)
{
    return n % 5 == 0;
}

static void put_bytes(idem_store_t *store, const idem_token_t *token,
                      apr_uint32_t n, board_t *board)
{
    char data[2048];
    struct iovec vec = { data, n % sizeof(data) };
    idem_term_t term = { T0, TTL, 0 };
    apr_status_t rv;

    if (is_mortal(n)) {
        term.now = T0 - 2 * TTL;
        term.tombstone = 10 * TTL;
    }
    memset(data, (int)(n & 0xff), sizeof(data));
    rv = idem_store_commit(store, token, IDEM_END_DONE, &vec, 1, &term);
    if (rv != APR_SUCCESS) {
        _exit(2);
    }
    __atomic_store_n(&board->done[n], 1, __ATOMIC_RELEASE);
}

static int is_bytes(const idem_blob_t *record, apr_uint32_t n)
{
    apr_size_t i;

    for (i = 0; i < record->len; i++) {
        if ((unsigned char)record->data[i] != (n & 0xff)) {
            return 0;
        }
    }
    return record->len == n % 2048;
}

/* Every key is asked for by several workers, most of them soon after each
 * other; every seventh is released, as a 503 would be. */
static void work(idem_store_t *store, board_t *board)
{
    apr_pool_t *pool;

    if (apr_pool_create(&pool, NULL) != APR_SUCCESS
        || idem_store_shm_child_init(store) != APR_SUCCESS) {
        _exit(3);
    }
    for (;;) {
        apr_uint32_t n =
            __atomic_fetch_add(&board->next, 1, __ATOMIC_RELAXED) / 2;
        idem_token_t token;
        idem_blob_t record;
        idem_claim_t claim;

        if (n >= IDS) {
            _exit(0);
        }
        claim = claim_at(store, n, n, T0, &token, &record, pool);
        if (claim == IDEM_CLAIM_NEW && n % 7 == 0) {
            (void)idem_store_release(store, &token);
        }
        else if (claim == IDEM_CLAIM_NEW) {
            __atomic_add_fetch(&board->ran[n], 1, __ATOMIC_RELEASE);
            put_bytes(store, &token, n, board);
        }
        else if (claim == IDEM_CLAIM_DONE && !is_bytes(&record, n)) {
            _exit(4);
        }
        if (n % 64 == 0) {
            idem_store_purge(store, T0);
            apr_pool_clear(pool);
        }
    }
}

static pid_t start(idem_store_t *store, board_t *board)
{
    pid_t pid = fork();

    if (pid == 0) {
        work(store, board);
    }
    assert_true(pid > 0);
    return pid;
}

static void stop(idem_store_t *store, pid_t pid)
{
    int status;

    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status)
                || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
    idem_store_shm_child_died(store, pid);
}

static void judge(idem_store_t *store, const board_t *board, apr_pool_t *pool)
{
    apr_uint32_t last = board->next / 2 < IDS ? board->next / 2 : IDS;
    apr_uint32_t n;

    assert_true(last > 1000);
    for (n = 0; n < last; n++) {
        idem_token_t token;
        idem_blob_t record;
        idem_claim_t claim = claim_at(store, n, n, T0, &token, &record, pool);
        idem_claim_t kept =
            is_mortal(n) ? IDEM_CLAIM_EXPIRED : IDEM_CLAIM_DONE;

        assert_true(board->ran[n] <= 1);
        if (board->done[n]) {
            assert_int_equal(claim, kept);
        }
        else if (board->ran[n]) {
            assert_true(claim == kept || claim == IDEM_CLAIM_UNKNOWN);
        }
        if (claim == IDEM_CLAIM_DONE) {
            assert_true(is_bytes(&record, n));
        }
        if (n % 256 == 0) {
            apr_pool_clear(pool);
        }
    }
}

static void kills_cost_no_promise(void **state)
{
    idem_store_t *store = store_of(160u << 20, *state);
    board_t *board = shared(sizeof(*board));
    apr_pool_t *sub;
    pid_t pids[WORKERS];
    int i;

    apr_pool_create(&sub, *state);
    srand(1);
    for (i = 0; i < WORKERS; i++) {
        pids[i] = start(store, board);
    }
    for (i = 0; i < KILLS; i++) {
        apr_sleep(rand() % 8000);
        stop(store, pids[i % WORKERS]);
        pids[i % WORKERS] = start(store, board);
    }
    for (i = 0; i < WORKERS; i++) {
        stop(store, pids[i]);
    }
    assert_whole(store, *state);
    judge(store, board, sub);
    assert_whole(store, *state);
    munmap(board, sizeof(*board));
}

/* ---------------------------------------------------------------- readers */

#define SWAPS 20000

/* The record changes all the time: each reader sees a whole one or none. */
static void read_on(idem_store_t *store, const apr_uint32_t *end)
{
    apr_pool_t *pool;

    if (apr_pool_create(&pool, NULL) != APR_SUCCESS
        || idem_store_shm_child_init(store) != APR_SUCCESS) {
        _exit(3);
    }
    while (!__atomic_load_n(end, __ATOMIC_ACQUIRE)) {
        idem_token_t token;
        idem_blob_t record;
        apr_size_t i;

        if (claim_at(store, 1, 1, T0, &token, &record, pool)
            == IDEM_CLAIM_NEW) {
            (void)idem_store_release(store, &token);
        }
        for (i = 1; i < record.len; i++) {
            if (record.data[i] != record.data[0]) {
                _exit(4);
            }
        }
        apr_pool_clear(pool);
    }
    _exit(0);
}

static void reader_never_sees_a_mixture(void **state)
{
    idem_store_t *store = store_of(SIZE, *state);
    apr_uint32_t *end = shared(sizeof(*end));
    idem_digest_t id = digest(1);
    char data[8000];
    struct iovec vec = { data, 0 };
    pid_t pids[2];
    int status;
    int i;

    for (i = 0; i < 2; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            read_on(store, end);
        }
    }
    for (i = 0; i < SWAPS; i++) {
        idem_token_t token;
        idem_blob_t record;

        memset(data, i & 0xff, sizeof(data));
        vec.iov_len = (size_t)i % sizeof(data);
        if (claim_at(store, 1, 1, T0, &token, &record, *state)
            == IDEM_CLAIM_NEW) {
            assert_int_equal(idem_store_commit(store, &token, IDEM_END_DONE,
                                               &vec, 1,
                                               &(idem_term_t){ T0, TTL, 0 }),
                             APR_SUCCESS);
        }
        (void)idem_store_forget(store, &id);
    }
    __atomic_store_n(end, 1, __ATOMIC_RELEASE);
    for (i = 0; i < 2; i++) {
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    munmap(end, sizeof(*end));
    assert_whole(store, *state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(kills_cost_no_promise),
        pool_test(reader_never_sees_a_mixture),
    };

    apr_initialize();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
