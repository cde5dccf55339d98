# test_first.py: first, duplicate, concurrent (conformance 1.3).
# SPDX-License-Identifier: Apache-2.0
import threading
from concurrent.futures import ThreadPoolExecutor

import client
import pytest
from client import B2, is_problem


def test_first_answer_is_the_handlers(api):
    """E-01"""
    first = api.post("/orders", '"e1"')
    assert first.status == 201
    assert first.json == {"id": 1}
    assert not first.marked


def test_retry_gets_the_first_answer(api):
    """E-02"""
    first = api.post("/orders", '"e2"')
    for _ in range(3):
        again = api.post("/orders", '"e2"')
        assert again.marked
        assert (again.status, again.body) == (first.status, first.body)
    assert api.n == 1


def test_two_keys_are_two_executions(api):
    """E-03"""
    assert api.post("/orders", '"x"').json == {"id": 1}
    assert api.post("/orders", '"y"').json == {"id": 2}
    assert api.n == 2


def test_retry_while_the_first_runs(api):
    """E-04, E-05, E-06, F-11, P-04"""
    with api.conn() as first:
        first.send(api.raw("POST", "/gate", '"c"'))
        api.wait_n()
        titles = set()
        for _ in range(3):
            told = is_problem(api.post("/gate", '"c"'), 409, "in-progress")
            assert int(told.get("Retry-After")) >= 1
            assert told.json["retryable"] is True
            titles.add(told.json["title"])
        assert len(titles) == 1
        is_problem(api.post("/gate", '"c"', B2), 422, "key-reused")
        api.open_gate()
        assert first.answer().json == {"id": 1}
    again = api.post("/gate", '"c"')
    assert again.status == 201 and again.marked
    assert again.json == {"id": 1}
    assert api.n == 1


def burst(api, count, path, key):
    """The same request on count connections, let go at once."""
    barrier = threading.Barrier(count)

    def one(_):
        with api.conn(30) as conn:
            barrier.wait(30)
            return conn.send(api.raw("POST", path, key)).answer()
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


@pytest.mark.parametrize("path", ["/slow/300", "/cgi/c?sleep=0.3",
                                  "/php/c.php?sleep=0.3"])
def test_one_of_fifty_runs(api, path):
    """E-07"""
    answers = burst(api, 50, path, '"e7"')
    firsts = [a for a in answers if a.status == 201 and not a.marked]
    assert len(firsts) == 1
    for answer in answers:
        if answer.status == 201:
            assert answer.body == firsts[0].body
        else:
            is_problem(answer, 409, "in-progress")
    assert api.n + api.runs == 1


def test_rounds_of_races(api):
    """case 7"""
    for i in range(6):
        answers = burst(api, 20, "/orders", '"round-%d"' % i)
        firsts = [a for a in answers if a.status == 201 and not a.marked]
        assert len(firsts) == 1
        assert {a.status for a in answers} <= {201, 409}
        assert api.n == i + 1


def test_a_slow_handler_is_not_a_dead_one(api):
    """case 12, in 4 seconds: beyond any step of the purge"""
    with api.conn() as first:
        first.send(api.raw("POST", "/slow/4000", '"c12"'))
        api.wait_n()
        for _ in range(7):
            threading.Event().wait(0.5)
            is_problem(api.post("/slow/4000", '"c12"'), 409, "in-progress")
        assert first.answer().status == 201
    assert api.n == 1


def test_replay_wins_over_preconditions(api):
    """E-10"""
    fields = [("If-Match", '"v1"')]
    first = api.send("PATCH", "/doc", '"p"', fields=fields)
    assert (first.status, first.get("ETag")) == (204, '"v2"')
    again = api.send("PATCH", "/doc", '"p"', fields=fields)
    assert (again.status, again.get("ETag")) == (204, '"v2"')
    assert again.marked and api.n == 1
    # Nor does httpd test them against the record.
    fields = [("If-None-Match", '"v2"')]
    again = api.send("PATCH", "/doc", '"p"', fields=fields)
    assert again.status == 204 and again.marked


def test_late_retry_gets_the_first_outcome(api):
    """E-11"""
    first = api.post("/orders", '"l"')
    assert api.send("DELETE", "/orders/1", body=None).status == 201
    again = api.post("/orders", '"l"')
    assert again.marked and again.json == first.json == {"id": 1}
    assert api.n == 2


def test_pipelined_requests(api):
    """rule 4.2: two requests in one packet are answered in order"""
    with api.conn() as conn:
        one = api.raw("POST", "/orders", '"q1"')
        two = api.raw("POST", "/orders", '"q2"', pieces=(3, 3))
        conn.send(one + two + one + two)
        got = [conn.answer() for _ in range(4)]
    assert [a.json["id"] for a in got] == [1, 2, 1, 2]
    assert [a.marked for a in got] == [False, False, True, True]
    assert api.n == 2


@pytest.mark.parametrize("path", ["/orders", "/cgi/c", "/php/c.php"])
def test_torn_body_is_not_run(api, path):
    """rule 19: the client died while it sent"""
    data = api.raw("POST", path, '"torn"', b"0123456789")
    with api.conn() as conn:
        conn.send(data[:-4])
        conn.sock.shutdown(1)
        try:
            assert conn.answer().status == 400
        except client.NoAnswer:
            pass
    assert api.n + api.runs == 0
    answer = api.post(path, '"torn"', b"0123456789")
    assert answer.status == 201 and not answer.marked
    assert api.n + api.runs == 1


def test_bad_chunks_are_not_run(api):
    """rule 19"""
    data = api.raw("POST", "/orders", '"bad-chunk"', b"x", pieces=(1,))
    answer = client.exchange(api.port, data.replace(b"1\r\nx", b"z\r\nx"))
    assert answer.status == 400
    assert api.n == 0
    assert api.post("/orders", '"bad-chunk"', b"x").status == 201


def test_slow_body_is_not_run(site):
    """rule 26: mod_reqtimeout guards the reading of the body"""
    api = site(conf="RequestReadTimeout body=1")
    data = api.raw("POST", "/orders", '"slow"', b"0123456789")
    with api.conn() as conn:
        assert conn.send(data[:-4]).answer().status == 408
    assert api.n == 0
    assert api.post("/orders", '"slow"', b"0123456789").status == 201
