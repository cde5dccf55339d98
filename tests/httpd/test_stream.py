# test_stream.py: IdempotencyDelivery stream, and event streams (C-04).
# SPDX-License-Identifier: Apache-2.0
import time

import client
import pytest
from client import is_problem
from test_life import settled

STREAM = {"location": "IdempotencyDelivery stream"}
DRIP = b"".join(b"%d" % i * 1024 for i in range(10))


def head_and_piece(conn):
    """What is there while the back end has not ended."""
    answer = conn.answer_head()
    size = int(conn.line(), 16)
    piece = conn.take(size)
    conn.line()
    return answer, piece


@pytest.mark.parametrize("settings,what", [
    (STREAM, "9000"), ({}, "9000,sse")])
def test_bytes_come_before_the_end(site, settings, what):
    """C-04; text/event-stream does it by itself"""
    api = site(**settings)
    with api.conn() as first:
        first.send(api.raw("POST", "/flow/" + what, '"s"'))
        answer, piece = head_and_piece(first)
        assert (answer.status, piece) == (200, b"first\n")
        assert answer.get(client.MARKER) is None
        is_problem(api.post("/flow/" + what, '"s"'), 409, "in-progress")
        api.open_gate()
        first.read_chunks(answer)
    assert answer.body == b"r" * 9000
    again = api.post("/flow/" + what, '"s"')
    assert again.marked and again.body == b"first\n" + b"r" * 9000
    assert again.get("X-Run") == "1" and api.n == 1
    assert sorted(api.server.results(api.tag, 3)) == [
        "executed", "in-progress", "replayed"]


def test_complete_is_the_default(api):
    """contract 3.3: nothing leaves before the commit"""
    with api.conn(1) as first:
        first.send(api.raw("POST", "/flow/10", '"c"'))
        api.wait_n()
        with pytest.raises(OSError):
            first.answer_head()
    api.open_gate()
    assert settled(api, "/flow/10", '"c"').marked


@pytest.mark.parametrize("path", ["/cgi/c?chunk=1&hold=8",
                                  "/php/c.php?chunk=1&hold=8"])
def test_scripts_stream(site, path):
    """case 29: bytes as they come, the same bytes again"""
    api = site(**STREAM)
    with api.conn() as conn:
        conn.send(api.raw("POST", path, '"drip"'))
        answer, piece = head_and_piece(conn)
        assert DRIP.startswith(piece) and len(piece) < len(DRIP)
        api.open_gate()
        conn.read_chunks(answer)
    assert piece + answer.body == DRIP
    again = settled(api, path, '"drip"')
    assert again.marked and again.body == DRIP
    assert int(again.get("Content-Length")) == len(DRIP)
    assert api.runs == 1


@pytest.mark.parametrize("leave", ["reset", "close"])
@pytest.mark.parametrize("path", ["/flow/200000", "/cgi/c?chunk=1",
                                  "/php/c.php?chunk=1"])
def test_client_leaves_half_way(site, path, leave):
    """C-04, rule 3: the rest is read and recorded"""
    api = site(**STREAM)
    conn = api.conn()
    conn.send(api.raw("POST", path, '"half"'))
    head_and_piece(conn)
    getattr(conn, leave)()
    time.sleep(0.05)
    api.open_gate()
    again = settled(api, path, '"half"')
    assert again.marked
    assert again.body == (b"first\n" + b"r" * 200000 if "flow" in path
                          else DRIP)
    assert api.n + api.runs == 1


def test_over_the_limit(site):
    """C-03 while streaming: the stream goes on, the key is not free"""
    api = site(location="IdempotencyDelivery stream\n"
                        "IdempotencyMaxResponse 1k")
    api.open_gate()
    first = api.post("/flow/50000", '"o"')
    assert first.status == 200 and len(first.body) == 50006
    is_problem(api.post("/flow/50000", '"o"'), 409, "response-not-retained")
    assert api.n == 1


def test_back_end_breaks_off(site):
    """O-07: what has left cannot be taken back, but it does not end well"""
    api = site(**STREAM)
    api.expect_log("AH01102", "AH10494", "proxy:error", "proxy_http:error")
    api.open_gate()
    with api.conn() as conn:
        conn.send(api.raw("POST", "/flow/cut", '"cut"'))
        with pytest.raises(client.Torn):
            conn.answer()
    is_problem(api.post("/flow/cut", '"cut"'), 502, "outcome-unknown")
    assert api.n == 1


@pytest.mark.mpms("worker", "event")  # under prefork PHP is httpd itself
def test_fpm_is_killed_half_way(site):
    """rule 1.5: httpd ends such an answer as if it were whole"""
    api = site(**STREAM)
    api.expect_log("AH01067", "AH01075", "AH01071", "proxy_fcgi:error")
    path = "/php/c.php?chunk=1&cut=1"
    with api.conn() as conn:
        conn.send(api.raw("POST", path, '"kill"'))
        with pytest.raises(client.Torn):
            conn.answer()
    is_problem(api.post(path, '"kill"'), 502, "outcome-unknown")
    assert api.runs == 1


def test_empty_and_without_content(site):
    """R-07: what has no body is not streamed"""
    api = site(**STREAM)
    api.open_gate()
    for status in (204, 205, 303, 404):
        key = '"st-%d"' % status
        first = api.post("/st/%d" % status, key)
        again = api.post("/st/%d" % status, key)
        assert first.status == again.status == status
        assert again.marked and first.body == again.body


def test_http_1_0_streams(site):
    """R-20: no chunks, ended by the connection"""
    api = site(**STREAM)
    api.open_gate()
    answer = api.post("/flow/5", '"old"', version="1.0")
    assert answer.get("Transfer-Encoding") is None
    assert answer.body == b"first\nrrrrr"
    again = api.post("/flow/5", '"old"', version="1.0")
    assert again.marked and again.body == b"first\nrrrrr"
    assert again.get("Content-Length") == "11"


def test_coded_stream_is_recorded_plain(site):
    """R-13 while streaming"""
    api = site(location="IdempotencyDelivery stream\n"
                        "SetOutputFilter DEFLATE")
    api.open_gate()
    first = api.post("/flow/5000", '"z"',
                     fields=[("Accept-Encoding", "gzip")])
    assert first.get("Content-Encoding") == "gzip"
    again = api.post("/flow/5000", '"z"')
    assert again.marked and again.get("Content-Encoding") is None
    assert again.body == b"first\n" + b"r" * 5000


def test_marker_of_a_back_end(site):
    """R-02 while streaming"""
    api = site(**STREAM)
    first = api.post("/cgi/c?h=Idempotent-Replayed:+true&chunk=1", '"m"')
    assert first.get(client.MARKER) is None and first.body == DRIP


def test_child_dies_half_way(site):
    """L-04 while streaming"""
    api = site(**STREAM)
    api.expect_log("AH00051", "AH00052")
    with api.conn() as conn:
        conn.send(api.raw("POST", "/flow/5", '"dead"'))
        head_and_piece(conn)
        import os
        os.kill(api.server.child_of(conn), 9)
    is_problem(settled(api, "/flow/5", '"dead"'), 502, "outcome-unknown")
    api.open_gate()
    assert api.n == 1


def test_redirected_handler_streams(site):
    """M-10: the handler of an internal redirect"""
    api = site(conf='<LocationMatch "^/hop/">\nIdempotencyEngine On\n'
                    'IdempotencyDelivery stream\n</LocationMatch>\n'
                    'RewriteEngine On\n'
                    'RewriteRule ^/hop/(.*)$ /cgi/c?t=$1&chunk=1 [PT]',
               **STREAM)
    first = api.post("=/hop/%s", '"r"')
    again = api.post("=/hop/%s", '"r"')
    assert first.body == again.body == DRIP and again.marked
    assert api.runs == 1
