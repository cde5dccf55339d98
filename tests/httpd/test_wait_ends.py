# test_wait_ends.py: how waiting ends: the first is killed, the client is
# gone, the answer was too large, all slots of all processes are taken.
# SPDX-License-Identifier: Apache-2.0
import os
import signal
import ssl
import subprocess
import time

import pytest
from client import Conn, NoAnswer, is_problem
from rig import SOON, wait_until
from test_wait import are_waiting, duplicates, waiting

LOST = ("AH00051", "AH00052")


def running_elsewhere(api, path="/gate", key='"w"'):
    """A first request, and a waiter that another process serves."""
    first = api.conn()
    first.send(api.raw("POST", path, key))
    api.wait_n()
    mine = api.server.child_of(first)
    for _ in range(100):
        conn = waiting(api, 1, path, key)[0]
        if api.server.child_of(conn) != mine:
            return mine, first, conn
        conn.close()
        assert are_waiting(api, 0)
    raise AssertionError("one process serves them all")


def served_by(api, conn):
    """Its process: prefork may have to start one first."""
    def look():
        try:
            return api.server.child_of(conn)
        except AssertionError:
            return None
    return wait_until(look)


@pytest.mark.parametrize("unknown", ["refuse", "rerun"])
def test_first_is_killed(own, unknown):
    """contract 2: its waiter is told within about 2 s, or runs"""
    api = own(location="IdempotencyWait 60\nIdempotencyOutcomeUnknown "
              + unknown)
    api.expect_log(*LOST)
    api.server.start()
    pid, first, conn = running_elsewhere(api)
    begin = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    if unknown == "refuse":
        is_problem(conn.answer(), 502, "outcome-unknown")
        assert time.monotonic() - begin < SOON
    else:
        api.wait_n(2)
        assert time.monotonic() - begin < SOON
        api.open_gate()
        answer = conn.answer()
        assert answer.status == 201 and not answer.marked
        assert answer.json == {"id": 2}
    api.open_gate()
    conn.close()
    first.close()
    assert api.n == (1 if unknown == "refuse" else 2)


def test_first_is_killed_with_many_waiting(own):
    """rerun: one of them runs, the others wait for that one"""
    api = own(conf="IdempotencyMaxWaiters 40",
              location="IdempotencyWait 60\nIdempotencyOutcomeUnknown rerun")
    api.expect_log(*LOST)
    api.server.start()
    pid, first, conn = running_elsewhere(api)
    conns = [conn] + [c for c in waiting(api, 6, others=1)
                      if served_by(api, c) != pid or c.close()]
    os.kill(pid, signal.SIGKILL)
    api.wait_n(2)
    time.sleep(0.5)
    api.open_gate()
    answers = [c.answer() for c in conns]
    assert {a.status for a in answers} == {201}
    assert {a.body for a in answers} == {b'{"id":2}'}
    assert [a.marked for a in answers].count(False) == 1
    for c in conns:
        c.close()
    first.close()
    assert api.n == 2


def test_application_frees_the_key_again_and_again(site):
    """Idempotency-Record: no: each of them runs, one after the other"""
    api = site(conf="IdempotencyMaxWaiters 40",
               location="IdempotencyWait 20")
    path = "/cgi/c?sleep=0.2&h=Idempotency-Record:+no"
    with api.conn() as first:
        first.send(api.raw("POST", path, '"w"'))
        api.wait_runs(1)
        conns = duplicates(api, 4, path)
        assert first.answer().body == b"1\n"
        answers = [conn.answer() for conn in conns]
        for conn in conns:
            conn.close()
    assert sorted(a.body for a in answers) == [b"2\n", b"3\n", b"4\n",
                                               b"5\n"]
    assert not any(a.marked for a in answers)
    assert api.runs == 5


@pytest.mark.parametrize("sig", [signal.SIGWINCH, signal.SIGTERM])
def test_server_is_stopped(own, sig):
    """rule 55: a waiter does not hold up a stop, graceful or not"""
    api = own(location="IdempotencyWait 60")
    api.expect_log("AH00045", "AH00046", "AH01102", "AH00898",
                   "mpm_\\w+:(warn|error)")
    api.server.start()
    with api.conn() as first:
        first.send(api.raw("POST", "/gate", '"w"'))
        api.wait_n()
        conn = waiting(api, 1)[0]
        begin = time.monotonic()
        api.server.child.send_signal(sig)
        try:
            answer = conn.answer()
            is_problem(answer, 409, "in-progress")
        except (NoAnswer, ConnectionResetError):
            assert sig == signal.SIGTERM
        api.open_gate()
        api.server.child.wait(20)
        assert time.monotonic() - begin < 12
        conn.close()
    assert api.n == 1


def test_first_breaks_off(site):
    """O-07: the waiter learns what the store knows"""
    api = site(location="IdempotencyWait 20")
    api.expect_log("AH01102", "AH10494", "proxy:error", "proxy_http:error")
    with api.conn() as first:
        first.send(api.raw("POST", "/flow/cut", '"w"'))
        api.wait_n()
        conn = waiting(api, 1, "/flow/cut")[0]
        api.open_gate()
        assert first.answer().status == 502
        is_problem(conn.answer(), 502, "outcome-unknown")
        conn.close()
    assert api.n == 1


def test_first_is_too_large(site):
    """C-03: nothing runs a second time"""
    api = site(location="IdempotencyWait 20\nIdempotencyMaxResponse 1k")
    with api.conn() as first:
        first.send(api.raw("POST", "/gate/5000", '"w"'))
        api.wait_n()
        conns = waiting(api, 3, "/gate/5000")
        api.open_gate()
        assert len(first.answer().body) == 5000
        for conn in conns:
            is_problem(conn.answer(), 409, "response-not-retained")
            conn.close()
    assert api.n == 1


def test_store_is_too_small(own):
    """IDEM0019 with waiters"""
    api = own(location="IdempotencyWait 20\nIdempotencyMaxResponse 8M",
              store="shm size=1M path=none")
    api.expect_log("IDEM0024", "IDEM0019", "IDEM0025")
    api.server.start()
    with api.conn() as first:
        first.send(api.raw("POST", "/gate/900000", '"w"'))
        api.wait_n()
        conn = waiting(api, 1, "/gate/900000")[0]
        api.open_gate()
        assert len(first.answer().body) == 900000
        is_problem(conn.answer(), 409, "response-not-retained")
        conn.close()
    assert api.n == 1


def test_first_streams(site):
    """C-04: the waiter gets the whole, once the first has ended"""
    api = site(location="IdempotencyWait 20\nIdempotencyDelivery stream")
    with api.conn() as first:
        first.send(api.raw("POST", "/flow/9000", '"w"'))
        first.answer_head()
        conn = waiting(api, 1, "/flow/9000")[0]
        first.reset()
        api.open_gate()
        answer = conn.answer()
        assert answer.marked and answer.body == b"first\n" + b"r" * 9000
        conn.close()
    assert api.n == 1


def is_free(api):
    """The only slot: none waits, then this one."""
    assert are_waiting(api, 0)
    conn = waiting(api, 1)[0]
    api.open_gate()
    answer = conn.answer()
    conn.close()
    return answer.status == 201 and answer.marked


ONE = {"conf": "IdempotencyMaxWaiters 1", "location": "IdempotencyWait 30"}


@pytest.mark.parametrize("leave", ["reset", "close"])
def test_client_leaves_with_bytes_unread(site, leave):
    """rule 55: what it sent behind its request does not hide that it left"""
    api = site(**ONE)
    with api.conn() as first:
        first.send(api.raw("POST", "/gate", '"w"'))
        api.wait_n()
        gone = waiting(api, 1)[0]
        gone.send(api.raw("POST", "/orders", '"next"') * 3)
        time.sleep(0.2)
        getattr(gone, leave)()
        assert is_free(api)
        first.answer()
    seen = [r.path for r in api.backend.seen(api.tag)]
    assert seen.count("/%s/gate" % api.tag) == 1


def test_pipelining_client_waits(site):
    """the other side: bytes behind a request are no leave-taking"""
    api = site(**ONE)
    with api.conn() as first:
        first.send(api.raw("POST", "/gate", '"w"'))
        api.wait_n()
        conn = waiting(api, 1)[0]
        conn.send(api.raw("POST", "/st/200", '"next"'))
        time.sleep(0.2)
        api.open_gate()
        assert conn.answer().marked
        assert conn.answer().body == b"status 200\n"
        conn.close()
        first.answer()
    assert api.n == 2


@pytest.fixture
def tls(own):
    api = own(extra=("socache_shmcb", "ssl"), **ONE)
    cert = api.server.path("run/cert.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
                    "-subj", "/CN=api.test", "-keyout", cert + ".key",
                    "-out", cert], check=True, capture_output=True)
    api.server.write(conf=ONE["conf"] + "\nSSLEngine On\n"
                     "SSLCertificateFile %s\nSSLCertificateKeyFile %s.key"
                     % (cert, cert))
    api.expect_log("AH01906", "AH01873")
    api.server.start()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE

    def conn(timeout=15):
        made = Conn(api.port, timeout)
        made.sock = context.wrap_socket(made.sock)
        return made
    api.conn = conn
    return api


def test_client_leaves_with_tls(tls):
    """rule 55: TLS says good-bye with bytes of its own"""
    with tls.conn() as first:
        first.send(tls.raw("POST", "/gate", '"w"'))
        tls.wait_n()
        gone = waiting(tls, 1)[0]
        try:
            gone.sock.settimeout(0.1)
            gone.sock.unwrap()
        except OSError:
            pass  # httpd does not answer the good-bye meanwhile
        gone.close()
        assert is_free(tls)
        first.answer()
    assert tls.n == 1


def test_slots_of_all_processes(own):
    """contract 5: IdempotencyMaxWaiters counts over all of them"""
    api = own(conf="IdempotencyMaxWaiters 6", location="IdempotencyWait 30")
    api.server.start()
    with api.conn() as first:
        first.send(api.raw("POST", "/gate", '"w"'))
        api.wait_n()
        conns = waiting(api, 6)
        pids = {served_by(api, conn) for conn in conns}
        if api.server.mpm == "prefork":
            assert len(pids) == 6
        for _ in range(3):
            is_problem(api.post("/gate", '"w"'), 409, "in-progress")
        # One goes, one may come.
        conns.pop().reset()
        assert are_waiting(api, 5)
        conns += waiting(api, 1, others=5)
        is_problem(api.post("/gate", '"w"'), 409, "in-progress")
        api.open_gate()
        assert [conn.answer().marked for conn in conns] == [True] * 6
        for conn in conns:
            conn.close()
        assert not first.answer().marked
    assert api.n == 1


def test_waiters_of_many_keys(site):
    """the bound is one for all keys, and waiting ends with its own first"""
    api = site(conf="IdempotencyMaxWaiters 4", location="IdempotencyWait 30")
    other = api.fresh()
    firsts = []
    for one in (api, other):
        firsts.append(one.conn())
        firsts[-1].send(one.raw("POST", "/gate", '"w"'))
        one.wait_n()
    mine, its = waiting(api, 2), waiting(other, 2, others=2)
    is_problem(api.post("/gate", '"w"'), 409, "in-progress")
    other.open_gate()
    assert [conn.answer().marked for conn in its] == [True, True]
    mine += waiting(api, 2, others=2)
    api.open_gate()
    assert [conn.answer().marked for conn in mine] == [True] * 4
    for conn in mine + its + firsts:
        conn.close()
    assert (api.n, other.n) == (1, 1)


def test_wait_with_expect(site):
    """Expect: 100-continue with the key in the body: read, then waited"""
    api = site(location="IdempotencyKeySource form:k\nIdempotencyWait 20")
    body = b"k=w&x=" + b"y" * 500000
    ctype = "application/x-www-form-urlencoded"
    with api.conn() as first, api.conn() as second:
        for conn in (first, second):
            data = api.raw("POST", "/gate", None, body,
                           [("Expect", "100-continue")], ctype=ctype)
            conn.send(data[:-len(body)])
            assert conn.line() == "HTTP/1.1 100 Continue"
            assert conn.line() == ""
            conn.send(data[-len(body):])
            if conn is first:
                api.wait_n()
        assert are_waiting(api, 1)
        api.open_gate()
        assert first.answer().json == second.answer().json == {"id": 1}
        # Both connections are in step.
        for conn in (first, second):
            conn.send(api.raw("POST", "/st/200", None))
            assert conn.answer().body == b"status 200\n"
    assert api.backend.seen(api.tag)[0].body == body


def test_http_1_0_waits(site):
    """and its connection ends with the answer"""
    api = site(location="IdempotencyWait 20")
    with api.conn() as first:
        first.send(api.raw("POST", "/gate", '"w"'))
        api.wait_n()
        with api.conn() as old:
            old.send(api.raw("POST", "/gate", '"w"', version="1.0"))
            assert are_waiting(api, 1)
            api.open_gate()
            answer = old.answer()
            assert answer.marked and answer.json == {"id": 1}
            assert old.at_end()
        assert first.answer().json == {"id": 1}


def test_first_ends_while_it_is_asked(site):
    """an answer at just that moment is neither lost nor made twice"""
    api = site(location="IdempotencyWait 20")
    for i in range(20):
        with api.conn() as first, api.conn() as second:
            first.send(api.raw("POST", "/slow/10", "k%d" % i))
            time.sleep(0.003 * (i % 5))
            second.send(api.raw("POST", "/slow/10", "k%d" % i))
            a, b = first.answer(), second.answer()
            assert a.json == b.json and a.marked != b.marked
    assert api.n == 20
