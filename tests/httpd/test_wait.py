# test_wait.py: IdempotencyWait and IdempotencyMaxWaiters (E-08, case 10).
# SPDX-License-Identifier: Apache-2.0
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from client import B2, NoAnswer, is_problem
from rig import wait_until

# Longer than any answer of this file is waited for.
WAIT = {"location": "IdempotencyWait 60"}


def are_waiting(api, number):
    """So many requests wait, by mod_status."""
    return wait_until(
        lambda: api.server.status(api.conn())["Waiting"] == number)


def duplicates(api, count, path="/gate", key='"w"'):
    """Connections whose request is a duplicate of one that runs."""
    conns = [api.conn() for _ in range(count)]
    for conn in conns:
        conn.send(api.raw("POST", path, key))
    return conns


def waiting(api, count, path="/gate", key='"w"', others=0):
    """Duplicates that wait, beside so many others that do."""
    conns = duplicates(api, count, path, key)
    assert are_waiting(api, others + count)
    return conns


def test_waiter_gets_the_answer(site):
    """E-08"""
    api = site(**WAIT)
    with api.conn() as first:
        first.send(api.raw("POST", "/gate", '"w"'))
        api.wait_n()
        conns = waiting(api, 3)
        api.open_gate()
        assert first.answer().json == {"id": 1}
        for conn in conns:
            answer = conn.answer()
            assert answer.status == 201 and answer.marked
            assert answer.json == {"id": 1}
            conn.close()
    assert api.n == 1


@pytest.mark.parametrize("path", ["/slow/400", "/cgi/c?sleep=0.4",
                                  "/php/c.php?sleep=0.4"])
def test_twenty_waiters(site, path):
    """case 10: 21 equal bodies, one execution"""
    api = site(conf="IdempotencyMaxWaiters 40", **WAIT)
    with ThreadPoolExecutor(21) as pool:
        answers = list(pool.map(
            lambda _: api.post(path, '"20"', timeout=30), range(21)))
    assert {a.status for a in answers} == {201}
    assert len({a.body for a in answers}) == 1
    assert sorted(a.marked for a in answers) == [False] + [True] * 20
    assert api.n + api.runs == 1


def test_released_first_lets_one_run(site):
    """E-08, case 10: the others wait for that one"""
    api = site(conf="IdempotencyMaxWaiters 40", **WAIT)
    with api.conn() as first:
        # One run is released, the next is kept.
        first.send(api.raw("POST", "/turns", '"r"'))
        api.wait_n()
        conns = waiting(api, 10, "/turns", '"r"')
        api.open_gate()
        assert first.answer().status == 503
        answers = [conn.answer() for conn in conns]
        for conn in conns:
            conn.close()
    assert [a.status for a in answers] == [201] * 10
    assert sorted(a.marked for a in answers) == [False] + [True] * 9
    assert api.n == 2


def test_first_longer_than_the_wait(site):
    """E-08: past the bound, 409"""
    api = site(location="IdempotencyWait 1")
    with api.conn() as first:
        first.send(api.raw("POST", "/gate", '"l"'))
        api.wait_n()
        begin = time.monotonic()
        told = is_problem(api.post("/gate", '"l"'), 409, "in-progress")
        assert 0.9 < time.monotonic() - begin < 8
        assert int(told.get("Retry-After")) >= 1
        api.open_gate()
        assert first.answer().status == 201
    assert api.n == 1


def test_reuse_does_not_wait(site):
    """F-11"""
    api = site(**WAIT)
    with api.conn() as first:
        first.send(api.raw("POST", "/gate", '"u"'))
        api.wait_n()
        is_problem(api.post("/gate", '"u"', B2), 422, "key-reused")
        api.open_gate()
        first.answer()


def test_no_more_than_may_wait(site):
    """contract 5: IdempotencyMaxWaiters, over all processes"""
    api = site(conf="IdempotencyMaxWaiters 2", **WAIT)
    with api.conn() as first:
        first.send(api.raw("POST", "/gate", '"m"'))
        api.wait_n()
        conns = waiting(api, 2, key='"m"')
        for _ in range(3):
            is_problem(api.post("/gate", '"m"'), 409, "in-progress")
        assert "IDEM0026" in api.server.new_log()
        api.open_gate()
        assert [conn.answer().status for conn in conns] == [201, 201]
        assert first.answer().status == 201
        for conn in conns:
            conn.close()
    # Both slots are free again.
    other = api.fresh()
    with other.conn() as first:
        first.send(other.raw("POST", "/gate", '"m"'))
        other.wait_n()
        conns = waiting(other, 2, key='"m"')
        other.open_gate()
        assert [conn.answer().marked for conn in conns] == [True, True]
        for conn in conns:
            conn.close()


def test_one_host_gets_half(site):
    """Of several virtual hosts none takes the turn of the others"""
    api = site(conf="IdempotencyMaxWaiters 4\n" + "".join(
        "<VirtualHost 127.0.0.1:@PORT@>\nServerName %s.test\n"
        "</VirtualHost>\n" % name for name in ("one", "two")), **WAIT)
    conns = []

    def send(host, count):
        made = [api.conn() for _ in range(count)]
        for conn in made:
            conn.send(api.raw("POST", "/gate", '"h"', host=host))
        conns.extend(made)
        return made
    firsts = send("one.test", 1) + send("two.test", 1)
    api.wait_n(2)
    ones = send("one.test", 2)
    assert are_waiting(api, 2)
    for _ in range(2):
        is_problem(api.post("/gate", '"h"', host="one.test"), 409,
                   "in-progress")
    twos = send("two.test", 2)
    assert are_waiting(api, 4)
    is_problem(api.post("/gate", '"h"', host="two.test"), 409, "in-progress")
    api.open_gate()
    assert [conn.answer().marked for conn in firsts] == [False] * 2
    assert [conn.answer().marked for conn in ones + twos] == [True] * 4
    for conn in conns:
        conn.close()
    assert api.n == 2


def test_a_quarter_may_wait(site):
    """contract 5: 25 % of the workers, which are 64 here, if nothing is set"""
    api = site(location="IdempotencyWait 20")
    with api.conn() as first:
        first.send(api.raw("POST", "/gate", '"q"'))
        api.wait_n()
        conns = waiting(api, 16, key='"q"')
        is_problem(api.post("/gate", '"q"'), 409, "in-progress")
        assert "IDEM0026: 16 requests" in api.server.new_log()
        api.open_gate()
        assert [conn.answer().marked for conn in conns] == [True] * 16
        first.answer()
        for conn in conns:
            conn.close()
    assert api.n == 1


def test_none_may_wait(site):
    """IdempotencyMaxWaiters 0"""
    api = site(conf="IdempotencyMaxWaiters 0", **WAIT)
    with api.conn() as first:
        first.send(api.raw("POST", "/gate", '"0"'))
        api.wait_n()
        is_problem(api.post("/gate", '"0"'), 409, "in-progress")
        api.open_gate()
        first.answer()


@pytest.mark.parametrize("leave", ["reset", "close"])
def test_waiter_leaves(site, leave):
    """rule 55: a slot is not kept for a client that left"""
    api = site(conf="IdempotencyMaxWaiters 1",
               location="IdempotencyWait 30")
    with api.conn() as first:
        first.send(api.raw("POST", "/gate", '"g"'))
        api.wait_n()
        gone = waiting(api, 1, key='"g"')[0]
        getattr(gone, leave)()
        assert are_waiting(api, 0)
        conn = waiting(api, 1, key='"g"')[0]
        api.open_gate()
        answer = conn.answer()
        assert answer.status == 201 and answer.marked
        conn.close()
        first.answer()
    assert api.n == 1


def test_killed_waiters_leave_their_slots(own):
    """a child that is killed while it waits"""
    api = own(conf="IdempotencyMaxWaiters 1", location="IdempotencyWait 30")
    api.server.start()
    with api.conn() as first:
        first.send(api.raw("POST", "/gate", '"k"'))
        api.wait_n()
        mine = api.server.child_of(first)
        for _ in range(50):
            conn = waiting(api, 1, key='"k"')[0]
            pid = api.server.child_of(conn)
            if pid != mine:
                break
            conn.close()
            assert are_waiting(api, 0)
        assert pid != mine
        os.kill(pid, signal.SIGKILL)
        # The parent reaps it within about a second.
        assert are_waiting(api, 0)
        again = waiting(api, 1, key='"k"')[0]
        api.open_gate()
        assert again.answer().marked
        first.answer()
    assert api.n == 1


@pytest.mark.parametrize("sig", [signal.SIGUSR1, signal.SIGHUP])
def test_server_stops(own, sig):
    """rule 55: waiting does not hold up a restart"""
    api = own(location="IdempotencyWait 60")
    api.expect_log("AH00045", "AH00046", "mpm_\\w+:(warn|error)")
    api.server.start()
    with api.conn() as first:
        first.send(api.raw("POST", "/gate", '"s"'))
        api.wait_n()
        conn = waiting(api, 1, key='"s"')[0]
        api.server.again(sig)
        try:
            is_problem(conn.answer(), 409, "in-progress")
        except (NoAnswer, ConnectionResetError):
            assert sig == signal.SIGHUP  # ends prefork's requests
        api.open_gate()
        conn.close()
    assert api.n == 1
