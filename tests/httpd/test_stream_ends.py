# test_stream_ends.py: how streamed answers end, and what follows them on
# their connection (C-04).
# SPDX-License-Identifier: Apache-2.0
import gzip
import socket

import client
import pytest
from client import is_problem
from test_life import settled
from test_stream import DRIP, STREAM, head_and_piece

BROKEN = ("AH01102", "AH10494", "proxy:error", "proxy_http:error")
STALLS = ("AH01220", "AH01215", "AH02550", "AH01229", "AH01217", "AH02651",
          "cgid?:(error|warn)")
NEXT = b"status 200\n"


def test_next_request_behind_a_stream(site):
    """pipelined: its answer comes after the whole stream"""
    api = site(**STREAM)
    with api.conn() as conn:
        conn.send(api.raw("POST", "/flow/90000", '"a"')
                  + api.raw("POST", "/st/200", '"b"')
                  + api.raw("POST", "/flow/90000", '"a"'))
        answer, piece = head_and_piece(conn)
        api.open_gate()
        conn.read_chunks(answer)
        assert piece + answer.body == b"first\n" + b"r" * 90000
        assert conn.answer().body == NEXT
        again = conn.answer()
        assert again.marked and again.body == b"first\n" + b"r" * 90000
    assert api.n == 2


def test_nothing_behind_a_broken_stream(site):
    """the connection ends there: no later answer can be taken for its rest"""
    api = site(**STREAM)
    api.expect_log(*BROKEN)
    with api.conn() as conn:
        conn.send(api.raw("POST", "/flow/cut", '"a"')
                  + api.raw("POST", "/st/200", '"b"'))
        head_and_piece(conn)
        api.open_gate()
        rest = b""
        while conn.more():
            pass
        rest = conn.buffer
        assert rest == b""
    assert api.n == 1


@pytest.mark.parametrize("ends", ["cut", "5"])
def test_http_1_0_sees_what_is_torn(site, ends):
    """R-20: there a closed connection is the end of a whole answer, so that
    of a broken one is reset"""
    api = site(**STREAM)
    api.expect_log(*BROKEN)
    with api.conn() as conn:
        conn.send(api.raw("POST", "/flow/" + ends, '"old"', version="1.0"))
        assert conn.answer_head().status == 200
        assert conn.take(6) == b"first\n"
        api.open_gate()
        rest = b""
        try:
            while True:
                data = conn.sock.recv(4096)
                if not data:
                    break
                rest += data
            assert ends == "5" and rest == b"rrrrr"
        except ConnectionResetError:
            assert ends == "cut"
    assert api.n == 1


def test_back_end_stalls(site):
    """a time-out while streaming: torn, unknown"""
    api = site(timeout=3, **STREAM)
    api.expect_log(*BROKEN)
    with api.conn() as conn:
        conn.send(api.raw("POST", "/flow/9", '"s"'))
        with pytest.raises(client.Torn):
            conn.answer()
    is_problem(api.post("/flow/9", '"s"'), 502, "outcome-unknown")
    api.open_gate()
    assert api.n == 1


def test_script_stalls(site):
    """case 3 while streaming, by mod_cgi and mod_cgid"""
    path = "/cgi/c?stall=8"
    api = site(timeout=3, **STREAM)
    api.expect_log(*STALLS)
    with api.conn() as conn:
        conn.send(api.raw("POST", path, '"s"'))
        try:
            answer = conn.answer()
            assert answer.status in (502, 504)
        except client.Torn:
            pass
    is_problem(settled(api, path, '"s"'), 502, "outcome-unknown")
    assert api.runs == 1


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_script_stalls_before_anything_left(site, version):
    """then an error page can still be sent, and is not reset"""
    api = site(timeout=3, **STREAM)
    api.expect_log(*STALLS)
    answer = api.post("/cgi/c?bytes=0&stall=8", '"s"', version=version)
    assert answer.status in (502, 504) and b"</html>" in answer.body
    assert api.runs == 1


@pytest.mark.parametrize("length,body", [("9", b"12345"), ("3", b"12345")])
def test_wrong_length(site, length, body):
    """a promised length that is not kept: not whole, as without streaming"""
    api = site(conf="SetEnv ap_trust_cgilike_cl 1", **STREAM)
    api.expect_log(*BROKEN)
    path = "/cgi/c?h=Content-Length:+%s&bytes=5" % length
    with api.conn() as conn:
        conn.send(api.raw("POST", path, '"l"')
                  + api.raw("POST", "/st/200", None))
        try:
            answer = conn.answer()
            assert answer.status == 502
        except client.Torn:
            pass
        while conn.more():
            pass
        assert NEXT not in conn.buffer
    is_problem(api.post(path, '"l"'), 502, "outcome-unknown")
    assert api.runs == 1


def test_right_length(site):
    """Content-Length stands, and the connection goes on"""
    api = site(conf="SetEnv ap_trust_cgilike_cl 1", **STREAM)
    path = "/cgi/c?h=Content-Length:+10240&chunk=1"
    with api.conn() as conn:
        conn.send(api.raw("POST", path, '"l"'))
        first = conn.answer()
        assert first.get("Content-Length") == "10240" and first.body == DRIP
        conn.send(api.raw("POST", path, '"l"'))
        again = conn.answer()
        assert again.marked and again.body == DRIP
    assert api.runs == 1


@pytest.mark.parametrize("path", [
    "/cgi/c?h=Content-Length:+10240&chunk=1",
    "/php/c.php?h[]=Content-Length:+10240&chunk=1", "/big/100000",
    "/cgi/c?bytes=100000", "/flow/100000"])
def test_whole_answer_is_a_recorded_one(site, path):
    """contract 3.4: who has seen the end finds the record, at once; also
    where a length tells the end and the script takes its time"""
    api = site(conf="SetEnv ap_trust_cgilike_cl 1", **STREAM)
    api.open_gate()
    with api.conn() as conn, api.conn() as other:
        other.send(api.raw("POST", "/st/200", None))
        other.answer()
        for i in range(5):
            first = conn.send(api.raw("POST", path, "k%d" % i)).answer()
            again = other.send(api.raw("POST", path, "k%d" % i)).answer()
            assert again.marked, again
            assert again.body == first.body


@pytest.mark.parametrize("path", ["/flow/5000", "/cgi/c?chunk=1",
                                  "/cgi/c?h=Content-Length:+10240&chunk=1",
                                  "/php/c.php?chunk=1"])
def test_deflated_stream(site, path):
    """R-13: piece by piece for the first, plain in the record"""
    api = site(location="IdempotencyDelivery stream\n"
                        "SetOutputFilter DEFLATE")
    plain = b"first\n" + b"r" * 5000 if "flow" in path else DRIP
    gz = [("Accept-Encoding", "gzip")]
    with api.conn() as conn:
        conn.send(api.raw("POST", path, '"z"', fields=gz))
        answer, piece = head_and_piece(conn)
        assert answer.get("Content-Length") is None
        api.open_gate()
        conn.read_chunks(answer)
        assert gzip.decompress(piece + answer.body) == plain
        conn.send(api.raw("POST", path, '"z"', fields=gz))
        again = conn.answer()
        assert again.marked and gzip.decompress(again.body) == plain
        conn.send(api.raw("POST", path, '"z"'))
        assert conn.answer().body == plain
    assert api.n + api.runs == 1


def test_deflated_stream_breaks_off(site):
    """a broken answer must not get the end of a whole one from a filter"""
    api = site(location="IdempotencyDelivery stream\n"
                        "SetOutputFilter DEFLATE")
    api.expect_log(*BROKEN)
    api.open_gate()
    with api.conn() as conn:
        conn.send(api.raw("POST", "/flow/cut", '"z"',
                          fields=[("Accept-Encoding", "gzip")]))
        with pytest.raises(client.Torn):
            conn.answer()
    is_problem(api.post("/flow/cut", '"z"'), 502, "outcome-unknown")


def test_interim_answers(site):
    """103 goes first and is not recorded"""
    api = site(**STREAM)
    api.backend.raw[api.tag] = (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nX-A: 1\r\n\r\nthe body")
    first = api.post("/raw", '"i"')
    assert first.body == b"the body"
    again = api.post("/raw", '"i"')
    assert again.marked and again.body == b"the body"
    assert again.interim == [] and again.get("X-A") == "1"
    assert api.n == 1


@pytest.mark.parametrize("status", [404, 500, 503])
def test_error_override(site, status):
    """ProxyErrorOverride and ErrorDocument: httpd's page is not streamed"""
    api = site(conf='ProxyErrorOverride On\n'
                    'ErrorDocument %d "a page of %d"' % (status, status),
               **STREAM)
    path = "/st/%d" % status
    first = api.post(path, '"e"')
    again = api.post(path, '"e"')
    assert first.status == again.status == status
    assert first.body == again.body
    assert first.body == b"a page of %d" % status
    assert again.marked == (status != 503)
    assert api.n == (2 if status == 503 else 1)


def test_redirect_of_a_script(site):
    """Location: /local of a CGI, streamed from its target"""
    api = site(**STREAM)
    path = "/cgi/c?raw=Location:%20/php/c.php%3Ft%3D" + api.tag \
        + "%26chunk%3D1%0A%0A"
    first = api.post(path, '"r"')
    again = api.post(path, '"r"')
    assert first.body == again.body == DRIP
    assert again.marked and api.runs == 2  # the script, and its target


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_other_methods(site, method):
    """streamed as POST is"""
    api = site(location="IdempotencyDelivery stream\n"
                        "IdempotencyMethods POST PUT PATCH DELETE")
    api.open_gate()
    first = api.send(method, "/flow/500", '"m"')
    again = api.send(method, "/flow/500", '"m"')
    assert first.body == again.body and again.marked and api.n == 1


def test_head_of_a_streamed_place(site):
    """not covered, not harmed"""
    api = site(**STREAM)
    with api.conn() as conn:
        conn.send(api.raw("HEAD", "/orders", '"h"', None)
                  + api.raw("POST", "/st/200", '"b"'))
        assert conn.answer("HEAD").status == 200
        assert conn.answer().body == NEXT


def test_client_that_reads_nothing(site):
    """its connection fills up: the back end is not held for ever, and what
    it says is recorded"""
    api = site(timeout=2, conf="SendBufferSize 8192",
               location="IdempotencyDelivery stream\n"
                        "IdempotencyMaxResponse 1900k")
    conn = api.conn()
    conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    conn.send(api.raw("POST", "/flow/1900000", '"slow"'))
    head_and_piece(conn)
    api.open_gate()
    again = settled(api, "/flow/1900000", '"slow"', 20)
    assert again.marked and len(again.body) == 1900006
    conn.close()
    assert api.n == 1


def test_no_room_at_the_end(own):
    """IDEM0019 while streaming: executed, not kept, never run again"""
    api = own(location="IdempotencyDelivery stream",
              store="shm size=1M path=none")
    api.expect_log("IDEM0024", "IDEM0019", "IDEM0025")
    api.server.start()
    api.open_gate()
    for i in range(12):
        assert len(api.post("/flow/100000", "k%d" % i).body) == 100006
    answers = [api.post("/flow/100000", "k%d" % i) for i in range(12)]
    words = {a.problem for a in answers}
    assert words == {None, "response-not-retained"}, words
    assert all(a.marked for a in answers if not a.problem)
    assert api.n == 12


def test_released_stream(site):
    """a 503 that was streamed frees the key"""
    api = site(**STREAM)
    path = "/cgi/c?status=503&chunk=1"
    for _ in range(2):
        answer = api.post(path, '"r"')
        assert answer.status == 503 and answer.body == DRIP
    assert api.runs == 2


def test_stream_without_an_end(site):
    """a client that left does not keep it going for ever"""
    api = site(location="IdempotencyMaxResponse 64k")
    with api.conn() as conn:
        conn.send(api.raw("POST", "/endless", '"e"'))
        head_and_piece(conn)
        conn.reset()
    assert api.backend.gate(api.tag).wait(10)
    is_problem(settled(api, "/endless", '"e"'), 409, "response-not-retained")
    assert api.n == 1


def test_many_small_pieces(site):
    """a thousand pieces are a record like any other"""
    api = site(**STREAM)
    body = b"".join(b"1\r\n%d\r\n" % (i % 10) for i in range(5000))
    api.backend.raw[api.tag] = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + body + b"0\r\n\r\n")
    first = api.post("/raw", '"p"')
    again = api.post("/raw", '"p"')
    assert first.body == again.body == b"0123456789" * 500
    assert again.marked and api.n == 1


def test_head_alone_then_error(site):
    """what was begun with a good status ends torn, not as an error page in
    its body"""
    api = site(**STREAM)
    api.expect_log("AH01071", "AH01102", *BROKEN)
    api.backend.raw[api.tag] = (b"HTTP/1.1 200 OK\r\n"
                                b"Transfer-Encoding: chunked\r\n\r\n")
    with api.conn() as conn:
        conn.send(api.raw("POST", "/raw", '"h"'))
        with pytest.raises(client.Torn):
            conn.answer()
    is_problem(api.post("/raw", '"h"'), 502, "outcome-unknown")
    assert api.n == 1
