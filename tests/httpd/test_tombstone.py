# test_tombstone.py: keys that are known after their answer was given up
# (IdempotencyTombstone).
# SPDX-License-Identifier: Apache-2.0
import signal
import time

import pytest
from client import B2, is_problem
from rig import wait_until
from test_wait import are_waiting

# Long enough for a retry within it on a machine that is busy.
SHORT = {"location": "IdempotencyTTL 3\nIdempotencyTombstone 1h"}
PAST = 3.2
PATHS = pytest.mark.parametrize("path", ["/orders", "/cgi/c", "/php/c.php"])


def runs(api):
    return api.n + api.runs


@PATHS
def test_late_retry_is_refused(site, path):
    """issue 4.3: 412 instead of a second run"""
    api = site(**SHORT)
    assert api.post(path, '"t"').status == 201
    assert api.post(path, '"t"').marked
    time.sleep(PAST)
    for _ in range(3):
        told = is_problem(api.post(path, '"t"'), 412, "key-expired")
        assert told.json["retryable"] is False
        assert told.get("Retry-After") is None
    assert runs(api) == 1
    assert api.server.results(api.tag, 5)[-3:] == ["key-expired"] * 3


def test_reuse_is_told_first(site):
    """contract 3: order of verdicts"""
    api = site(**SHORT)
    api.post("/orders", '"t"')
    time.sleep(PAST)
    is_problem(api.post("/orders", '"t"', B2), 422, "key-reused")
    is_problem(api.post("/orders/7", '"t"'), 422, "key-reused")
    is_problem(api.post("/orders", '"t"'), 412, "key-expired")
    assert api.n == 1


def test_other_clients_have_other_keys(site):
    """a tombstone is its principal's alone"""
    api = site(**SHORT)
    api.post("/orders", '"t"')
    time.sleep(PAST)
    assert api.post("/orders", '"t"', user="Bearer x").status == 201
    assert api.n == 2


def test_tombstones_end(site):
    """after both times the key is new; a tombstone counts whole seconds"""
    api = site(location="IdempotencyTTL 1\nIdempotencyTombstone 4")
    api.post("/orders", '"t"')
    time.sleep(1.3)
    is_problem(api.post("/orders", '"t"'), 412, "key-expired")
    assert api.n == 1

    def runs_again():
        answer = api.post("/orders", '"t"')
        return None if answer.problem == "key-expired" else answer
    again = wait_until(runs_again, 15, 0.2)
    assert not again.marked and again.json == {"id": 2}
    assert api.n == 2


def test_no_tombstone_by_default(site):
    """L-02"""
    api = site(location="IdempotencyTTL 1")
    api.post("/orders", '"n"')
    time.sleep(1.3)
    assert api.post("/orders", '"n"').status == 201
    assert api.n == 2


def test_time_that_the_application_chose(site):
    """O-12: ttl= shortens the answer's life, not the key's"""
    api = site(location="IdempotencyTombstone 1h")
    assert api.post("/word/ttl=3", '"t"').status == 201
    assert api.post("/word/ttl=3", '"t"').marked
    time.sleep(PAST)
    is_problem(api.post("/word/ttl=3", '"t"'), 412, "key-expired")
    assert api.n == 1


def test_answer_that_was_not_kept(site):
    """C-03: it was run; afterwards it is too late as well"""
    api = site(location=SHORT["location"] + "\nIdempotencyMaxResponse 1k")
    assert api.post("/big/5000", '"t"').status == 200
    is_problem(api.post("/big/5000", '"t"'), 409, "response-not-retained")
    time.sleep(PAST)
    is_problem(api.post("/big/5000", '"t"'), 412, "key-expired")
    assert api.n == 1


def test_what_leaves_no_tombstone(site):
    """released keys and unknown outcomes"""
    api = site(**SHORT)
    api.expect_log("AH01102", "AH00898")
    api.post("/st/503", '"r"')
    assert api.post("/st/503", '"r"').status == 503 and api.n == 2
    api.post("/nohdr", '"u"')
    is_problem(api.post("/nohdr", '"u"'), 502, "outcome-unknown")
    time.sleep(PAST)
    assert api.post("/nohdr", '"u"').problem is None
    assert api.n == 4


@pytest.mark.parametrize("how", ["graceful", "stop", "unseen", "kill"])
def test_tombstones_outlive_the_server(own, how):
    """L-07, contract 5: the store file outlives any change of processes"""
    api = own(**SHORT)
    api.expect_log("AH00051", "AH00052", "AH00098", "IDEM0002", "AH00046",
                   "AH00045")
    server = api.server.start()
    assert api.post("/orders", '"t"').status == 201
    time.sleep(PAST)
    if how != "unseen":
        is_problem(api.post("/orders", '"t"'), 412, "key-expired")
    if how == "graceful":
        server.again(signal.SIGUSR1)
    else:
        server.kill_all() if how == "kill" else server.stop()
        server.start()
    is_problem(api.post("/orders", '"t"'), 412, "key-expired")
    assert api.n == 1


def test_waiters_never_run_late(site):
    """an answer whose time ends at once is not run again by who waited"""
    api = site(location="IdempotencyTTL 1ms\nIdempotencyTombstone 1h\n"
                        "IdempotencyWait 10")
    with api.conn() as first, api.conn() as second:
        first.send(api.raw("POST", "/gate", '"t"'))
        api.wait_n()
        second.send(api.raw("POST", "/gate", '"t"'))
        assert are_waiting(api, 1)
        api.open_gate()
        assert first.answer().status == 201
        answer = second.answer()
        assert answer.marked or answer.problem == "key-expired"
    assert api.n == 1
