# test_http2_more.py: waiting and streaming over HTTP/2 (E-08, C-04, rule 55).
# SPDX-License-Identifier: Apache-2.0
import time

import h2.events
import pytest
from client import B2, is_problem
from test_http2 import H2, Client
from test_life import settled
from test_stream import DRIP
from test_wait import are_waiting

pytestmark = pytest.mark.mpms("worker", "event")  # mod_http2 needs threads

FORM = "application/x-www-form-urlencoded"


def with_h2(conf="", location=""):
    return {"conf": H2["conf"] + "\n" + conf, "location": location,
            "extra": H2["extra"]}


WAIT = with_h2("IdempotencyMaxWaiters 8", "IdempotencyWait 20")
ONE = with_h2("IdempotencyMaxWaiters 1", "IdempotencyWait 30")
STREAM = with_h2(location="IdempotencyDelivery stream")


def first_bytes(conn, stream):
    """Read until the stream has some body."""
    while stream not in conn.answers or not conn.answers[stream].body:
        assert stream not in conn.ended, conn.answers.get(stream)
        conn.step()
    return conn.answers[stream]


def was_reset(conn, stream):
    """Does the stream end with RST_STREAM, not as a whole answer?"""
    while stream not in conn.ended:
        data = conn.sock.recv(65536)
        assert data, "the connection ended"
        for event in conn.state.receive_data(data):
            if isinstance(event, h2.events.StreamReset):
                return event.stream_id == stream
            if isinstance(event, h2.events.StreamEnded):
                conn.ended.add(event.stream_id)
        conn.flush()
    return False


@pytest.mark.parametrize("path", ["/gate", "/cgi/c?sleep=0.6",
                                  "/php/c.php?sleep=0.6"])
def test_waiters_get_the_answer(site, path):
    """E-08 on one connection, with its first"""
    api = site(**WAIT)
    with Client(api.port) as conn:
        streams = [conn.start(api, "POST", path, '"w"') for _ in range(4)]
        time.sleep(0.3)
        # Streams that wait do not hold up others.
        assert conn.post(api, "/st/200", None).body == b"status 200\n"
        reused = conn.post(api, path, '"w"', B2)
        is_problem(reused, 422, "key-reused")
        api.open_gate()
        answers = [conn.answer(s) for s in streams]
    assert {a.status for a in answers} == {201}
    assert len({a.body for a in answers}) == 1
    assert sorted(a.marked for a in answers) == [False, True, True, True]
    assert api.runs + [r.path for r in api.backend.seen(api.tag)].count(
        "/%s/gate" % api.tag) == 1


def test_waiter_of_a_first_with_http_1(site):
    """one key over both versions"""
    api = site(**WAIT)
    with api.conn() as first, Client(api.port) as conn:
        first.send(api.raw("POST", "/gate", '"w"'))
        api.wait_n()
        stream = conn.start(api, "POST", "/gate", '"w"')
        assert are_waiting(api, 1)
        api.open_gate()
        assert not first.answer().marked
        assert conn.answer(stream).marked
    assert api.n == 1


@pytest.mark.parametrize("leave", ["stream", "connection"])
def test_waiter_leaves(site, leave):
    """rule 55: RST_STREAM and a lost connection free the slot"""
    api = site(**ONE)
    with Client(api.port) as conn, Client(api.port) as other:
        first = conn.start(api, "POST", "/gate", '"w"')
        api.wait_n()
        gone = other.start(api, "POST", "/gate", '"w"')
        assert are_waiting(api, 1)
        is_problem(conn.post(api, "/gate", '"w"'), 409, "in-progress")
        if leave == "stream":
            other.cancel(gone)
        else:
            other.sock.close()
        assert are_waiting(api, 0)
        again = conn.start(api, "POST", "/gate", '"w"')
        assert are_waiting(api, 1)
        assert again not in conn.ended
        api.open_gate()
        assert not conn.answer(first).marked
        assert conn.answer(again).marked
    assert api.n == 1


def test_too_many_wait(site):
    """409 past the bound"""
    api = site(**with_h2("IdempotencyMaxWaiters 2", "IdempotencyWait 20"))
    with Client(api.port) as conn:
        first = conn.start(api, "POST", "/gate", '"w"')
        api.wait_n()
        waiters = [conn.start(api, "POST", "/gate", '"w"') for _ in range(2)]
        assert are_waiting(api, 2)
        is_problem(api.post("/gate", '"w"'), 409, "in-progress")
        api.open_gate()
        assert not conn.answer(first).marked
        assert [conn.answer(s).marked for s in waiters] == [True, True]
    assert api.n == 1


@pytest.mark.parametrize("path", ["/flow/9000", "/cgi/c?chunk=1&hold=8",
                                  "/php/c.php?chunk=1&hold=8"])
def test_bytes_come_before_the_end(site, path):
    """C-04"""
    api = site(**STREAM)
    with Client(api.port) as conn:
        stream = conn.start(api, "POST", path, '"s"')
        first_bytes(conn, stream)
        is_problem(api.post(path, '"s"'), 409, "in-progress")
        # Another stream of the connection is not held up.
        assert conn.post(api, "/st/200", None).body == b"status 200\n"
        api.open_gate()
        answer = conn.answer(stream)
        again = conn.post(api, path, '"s"')
    whole = b"first\n" + b"r" * 9000 if "flow" in path else DRIP
    assert answer.body == again.body == whole
    assert again.marked and not answer.marked


@pytest.mark.parametrize("leave", ["stream", "connection"])
@pytest.mark.parametrize("path", ["/flow/200000", "/cgi/c?chunk=1",
                                  "/php/c.php?chunk=1"])
def test_client_leaves_half_way(site, path, leave):
    """C-04, rule 3: the rest is read and recorded"""
    api = site(**STREAM)
    for i in range(3):
        row = api.fresh()
        with Client(row.port) as conn:
            stream = conn.start(row, "POST", path, '"half"')
            first_bytes(conn, stream)
            time.sleep(0.03 * i)
            if leave == "stream":
                conn.cancel(stream)
                conn.flush()
                assert conn.post(row, "/st/200", None).status == 200
            else:
                conn.sock.close()
            time.sleep(0.05)
            row.open_gate()
            again = settled(row, path, '"half"')
        assert again.marked, again
        assert again.body == (b"first\n" + b"r" * 200000 if "flow" in path
                              else DRIP)
        assert row.runs + [r.path for r in row.backend.seen(
            row.tag)].count("/" + row.tag + path) == 1


def test_broken_stream_is_reset(site):
    """O-07: not ended like a whole one; the connection goes on"""
    api = site(**STREAM)
    api.expect_log("AH01102", "AH10494", "proxy:error", "proxy_http:error")
    with Client(api.port) as conn:
        stream = conn.start(api, "POST", "/flow/cut", '"cut"')
        first_bytes(conn, stream)
        api.open_gate()
        assert was_reset(conn, stream)
        is_problem(conn.post(api, "/flow/cut", '"cut"'), 502,
                   "outcome-unknown")
    assert api.n == 1


def test_event_stream(site):
    """text/event-stream by itself"""
    api = site(**with_h2())
    with Client(api.port) as conn:
        stream = conn.start(api, "POST", "/flow/50,sse", '"e"')
        assert first_bytes(conn, stream).body == b"first\n"
        api.open_gate()
        conn.answer(stream)
        again = conn.post(api, "/flow/50,sse", '"e"')
    assert again.marked and again.body == b"first\n" + b"r" * 50
    assert again.get("Content-Type") == "text/event-stream"


def test_keys_in_the_body(site):
    """form, JSON and query; a body without a length"""
    api = site(**with_h2(location="IdempotencyKeySource form:k json:/k "
                                  "query:k\nIdempotencyFingerprint method uri "
                                  "json form"))
    with Client(api.port) as conn:
        for path, bodies in (
                ("/orders", [b'{"k":"a","n":1}', b'{ "n": 1, "k":"\\u0061"}']),
                ("/cgi/c?k=q", [b"", b""]),
                ("/php/c.php", [b'{"k":"p"}', b' {"k":"p"} '])):
            row = api.fresh()
            first = conn.post(row, path, None, bodies[0])
            again = conn.post(row, path, None, bodies[1])
            assert (first.status, first.marked) == (201, False), first
            assert again.marked and again.body == first.body
            assert row.n + row.runs == 1


def test_waiter_is_cancelled_while_the_first_ends(site):
    """neither runs a second time, whatever comes first"""
    api = site(**WAIT)
    with Client(api.port) as conn:
        for i in range(20):
            key = '"c%d"' % i
            first = conn.start(api, "POST", "/slow/20", key)
            waiter = conn.start(api, "POST", "/slow/20", key)
            time.sleep(0.002 * i)
            conn.cancel(waiter)
            answer = conn.answer(first)
            assert answer.status == 201
            assert settled(api, "/slow/20", key).body == answer.body
    assert api.n == 20
