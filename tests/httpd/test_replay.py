# test_replay.py: the replayed message (conformance 1.6, cases 21 40 42 45).
# SPDX-License-Identifier: Apache-2.0
import gzip
import hashlib
import os
import time

import client
import pytest
from client import B2, is_problem

HOP = ("X-Hop", "Keep-Alive", "Proxy-Authenticate", "Trailer", "X-T")


def laid_down(api, *fields, body=b"ok", status=b"201 Created"):
    """Let /raw answer so."""
    lines = b"".join(client.to_bytes(f) + b"\r\n" for f in fields)
    api.backend.raw[api.tag] = (b"HTTP/1.1 " + status + b"\r\n" + lines
                                + b"Content-Length: %d\r\n\r\n" % len(body)
                                + body)


def twice(api, path, **more):
    """A first answer and its replay."""
    first = api.post(path, '"r"', **more)
    again = api.post(path, '"r"', **more)
    assert not first.marked and again.marked, (first, again)
    assert first.status == again.status and first.reason == again.reason
    return first, again


def test_same_bytes(api):
    """R-01, R-23"""
    first, again = twice(api, "/orders")
    assert again.status == 201 and first.body == again.body == b'{"id":1}'


def test_marker_of_the_back_end_is_removed(api):
    """R-02"""
    laid_down(api, "Idempotent-Replayed: true", "X-Other: 1")
    first, again = twice(api, "/raw")
    assert first.get("X-Other") == "1"
    assert again.all("Idempotent-Replayed") == ["true"]


@pytest.mark.parametrize("marker", ["X-Replay", "none", "None"])
def test_marker_is_configurable(site, marker):
    """contract 5: IdempotencyReplayMarker"""
    api = site(location="IdempotencyReplayMarker " + marker)
    first, again = api.post("/orders", "m"), api.post("/orders", "m")
    assert first.body == again.body and api.n == 1
    assert again.get("Idempotent-Replayed") is None
    assert first.get("X-Replay") is again.get("None") is None
    assert again.get("X-Replay") == ("true" if marker == "X-Replay"
                                     else None)


FIELDS = ['Location: /orders/1', 'Content-Type: application/json',
          'ETag: "v1"', 'X-App: keep', 'Content-Language: de',
          'Link: <a>; rel=next', 'Cache-Control: private, max-age=60',
          'Content-Location: /o/1', 'Vary: Accept',
          'Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT',
          'Expires: Mon, 01 Jan 2035 00:00:00 GMT', 'X-Empty:',
          'Content-Disposition: inline', 'Retry-After: 7',
          'Strict-Transport-Security: max-age=1', 'Warning: 199 - "x"']


def test_end_to_end_fields(api):
    """R-03, case 40"""
    laid_down(api, *FIELDS)
    first, again = twice(api, "/raw")
    for line in FIELDS:
        name, value = line.split(":", 1)
        assert first.all(name) == [value.strip()], name
        assert again.all(name) == [value.strip()], name


def test_fields_of_cgi_and_php(api):
    """R-03, R-04: they take other ways through httpd"""
    for path in ("/cgi/c?h=ETag:%20%22v1%22&h=X-A:%201&h=X-A:%202"
                 "&h=Link:%20%3Ca%3E&h=Cache-Control:%20private",
                 "/php/c.php?h[]=ETag:%20%22v1%22&h[]=X-A:%201&h[]=X-A:%202"
                 "&h[]=Link:%20%3Ca%3E&h[]=Cache-Control:%20private"):
        first, again = twice(api.fresh(), path)
        for name in ("ETag", "X-A", "Link", "Cache-Control", "Content-Type",
                     "Location-Of"):
            assert first.all(name) == again.all(name), (path, name)
        assert again.get("X-A") == "1, 2"
        assert again.get("ETag") == '"v1"'


def test_repeated_fields(api):
    """R-04"""
    laid_down(api, "Link: <b>; rel=next", "X-A: 1", "Link: <a>; rel=prev",
              'WWW-Authenticate: Basic realm="b"', "X-A: 0",
              'WWW-Authenticate: Bearer', status=b"403 Forbidden")
    first, again = twice(api, "/raw")
    for answer in (first, again):
        assert answer.all("Link") == ["<b>; rel=next", "<a>; rel=prev"]
        assert answer.all("X-A") == ["1", "0"]
        assert answer.all("WWW-Authenticate") == ['Basic realm="b"', "Bearer"]


def test_hop_by_hop_fields_are_not_stored(api):
    """R-05, R-16"""
    first, again = twice(api, "/hop")
    for name in HOP:
        assert again.get(name) is None, name
    assert again.get("Connection") in (None, "Keep-Alive", "Upgrade")
    assert again.get("Location") == "/orders/1"


def test_hop_by_hop_fields_of_a_cgi(api):
    """R-05: these reach the client the first time"""
    path = "/cgi/c?h=Connection:%20X-Hop&h=X-Hop:%201&h=Upgrade:%20x"
    first, again = twice(api, path + "&h=Keep-Alive:%20timeout=99"
                         "&h=Proxy-Authenticate:%20Basic&h=TE:%20x"
                         "&h=Proxy-Connection:%20x"
                         "&h=Proxy-Authentication-Info:%20x")
    for name in HOP + ("TE", "Proxy-Connection", "Upgrade",
                       "Proxy-Authentication-Info"):
        assert again.get(name) is None, name
    assert again.body == first.body == b"1\n"


def test_length_is_that_of_the_replay(api):
    """R-06"""
    with api.conn() as conn:
        for marked in (False, True, True):
            answer = conn.send(api.raw("POST", "/hop", '"cl"')).answer()
            assert answer.marked is marked and answer.body == b'{"id":1}'
            if marked:
                assert answer.get("Content-Length") == "8"
                assert answer.get("Transfer-Encoding") is None
    assert api.n == 1


@pytest.mark.parametrize("path", ["/st/204", "/cgi/c?status=204&bytes=0",
                                  "/php/c.php?status=204&bytes=0"])
def test_no_content(api, path):
    """R-07"""
    with api.conn() as conn:
        for marked in (False, True):
            answer = conn.send(api.raw("POST", path, '"nc"')).answer()
            assert (answer.status, answer.marked) == (204, marked)
            assert answer.get("Content-Length") is None
            assert answer.get("Transfer-Encoding") is None
        answer = conn.send(api.raw("POST", "/orders", '"nc2"')).answer()
        assert answer.status == 201


@pytest.mark.parametrize("path", ["/st/205", "/cgi/c?status=205",
                                  "/php/c.php?status=205"])
def test_reset_content(api, path):
    """R-08"""
    with api.conn() as conn:
        for marked in (False, True):
            answer = conn.send(api.raw("POST", path, '"rc"')).answer()
            assert (answer.status, answer.marked) == (205, marked)
            assert answer.body == b""
            assert answer.get("Content-Length") == "0"
        answer = conn.send(api.raw("POST", "/orders", '"rc2"')).answer()
        assert answer.status == 201


def test_date_and_age(api):
    """R-09, R-10"""
    laid_down(api, "Age: 55", "Date: Mon, 01 Jan 2024 00:00:00 GMT",
              "Server: backend/1")
    first = api.post("/raw", '"d"')
    time.sleep(1.1)
    again = api.post("/raw", '"d"')
    assert again.marked and again.get("Age") is None
    assert len(again.all("Date")) == 1
    assert "2024" not in again.get("Date")
    assert len(again.all("Server")) == 1
    cgi = api.fresh()
    first = cgi.post("/cgi/c", '"d"')
    time.sleep(1.1)
    again = cgi.post("/cgi/c", '"d"')
    assert again.marked and again.get("Date") != first.get("Date")


@pytest.mark.parametrize("keep", [False, True])
def test_cookies(site, keep):
    """R-11, case 21"""
    api = site(location="IdempotencyKeepHeader Set-Cookie" if keep else "")
    cookies = ["s=1; HttpOnly", "t=2"]
    rows = [("/raw", None),
            ("/cgi/c?h=Set-Cookie:%20s=1%3B%20HttpOnly"
             "&h=Set-Cookie:%20t=2", None),
            ("/php/c.php?h[]=Set-Cookie:%20s=1%3B%20HttpOnly"
             "&h[]=Set-Cookie:%20t=2", None)]
    for path, _ in rows:
        row = api.fresh()
        laid_down(row, *["Set-Cookie: " + c for c in cookies])
        first, again = twice(row, path)
        assert first.all("Set-Cookie") == cookies
        assert again.all("Set-Cookie") == (cookies if keep else [])


def test_dropped_fields(site):
    """contract 5: IdempotencyDropHeader"""
    api = site(location="IdempotencyDropHeader X-App x-trace")
    laid_down(api, "X-App: 1", "X-Trace: 2", "X-Kept: 3")
    first, again = twice(api, "/raw")
    assert first.get("X-App") == "1" and first.get("X-Trace") == "2"
    assert again.get("X-App") is None and again.get("X-Trace") is None
    assert again.get("X-Kept") == "3"


@pytest.mark.parametrize("path", ["/big/1000", "/cgi/c?status=200&bytes=1000",
                                  "/php/c.php?status=200&bytes=1000"])
def test_range_is_ignored(api, path):
    """R-12"""
    fields = [("Range", "bytes=0-3"), ("If-Range", '"x"')]
    for more in ([fields[0]], fields):
        first, again = twice(api.fresh(), path, fields=more)
        assert first.status == 200
        assert len(first.body) == 1000 and again.body == first.body
        assert again.get("Content-Range") is None


DEFLATE = "SetOutputFilter DEFLATE"
GZIP = [("Accept-Encoding", "gzip")]


@pytest.mark.parametrize("path", ["/big/5000", "/cgi/c?bytes=5000",
                                  "/php/c.php?bytes=5000"])
@pytest.mark.parametrize("first_gzip", [True, False])
def test_coding_is_applied_per_request(site, path, first_gzip):
    """R-13, case 42"""
    api = site(location=DEFLATE)
    bodies = set()
    with api.conn() as conn:
        for coded in (first_gzip, not first_gzip, first_gzip):
            fields = GZIP if coded else []
            answer = conn.send(api.raw("POST", path, '"gz"',
                                       fields=fields)).answer()
            assert answer.all("Content-Encoding") == (["gzip"] if coded
                                                      else [])
            assert "Accept-Encoding" in answer.get("Vary")
            bodies.add(gzip.decompress(answer.body) if coded
                       else answer.body)
        assert len(bodies) == 1 and len(bodies.pop()) == 5000
    assert api.n + api.runs == 1


def test_empty_redirect_under_deflate(site):
    """case 42: the neighbour on the connection stays clean"""
    api = site(location=DEFLATE)
    api.backend.raw[api.tag] = (b"HTTP/1.1 302 Found\r\nLocation: /x\r\n"
                                b"Content-Length: 0\r\n\r\n")
    with api.conn() as conn:
        for fields in (GZIP, [], GZIP):
            answer = conn.send(api.raw("POST", "/raw", '"e"',
                                       fields=fields)).answer()
            assert answer.status == 302 and answer.get("Location") == "/x"
            if not answer.get("Content-Encoding"):
                assert answer.body == b""
            conn.send(api.raw("POST", "/orders", None, fields=fields))
            assert conn.answer().status == 201


def test_small_bodies_under_deflate(site):
    """rule 17: coded or not as without the module"""
    api = site(location=DEFLATE)
    for number in (2, 60, 100):
        plain = api.post("/off/big/%d" % number, fields=GZIP)
        assert plain.status == 200
        first, again = twice(api.fresh(), "/big/%d" % number, fields=GZIP)
        assert (first.get("Content-Encoding")
                == again.get("Content-Encoding"))
        assert first.body == again.body


def test_coding_of_the_back_end(site):
    """R-14"""
    for location in ("", DEFLATE):
        api = site(location=location)
        data = gzip.compress(b"hello" * 100)
        laid_down(api, "Content-Encoding: gzip", "Vary: Accept-Encoding",
                  "Content-Type: text/plain", body=data)
        first, again = twice(api, "/raw", fields=GZIP)
        for answer in (first, again):
            assert answer.body == data
            assert answer.all("Content-Encoding") == ["gzip"]
            assert "Accept-Encoding" in answer.get("Vary")


def test_negotiation_does_not_split_a_key(api):
    """R-15"""
    api.post("/orders", "n", fields=[("Accept", "application/json")])
    again = api.post("/orders", "n", fields=[("Accept", "text/xml")])
    assert again.marked and again.json == {"id": 1}


@pytest.mark.parametrize("location", ["../o/1", "o/1?a=b", "/o/1",
                                      "http://other.test/o/1"])
def test_locations_are_verbatim(api, location):
    """R-17"""
    laid_down(api, "Location: " + location, "Content-Location: " + location)
    plain = api.post("/off/raw")
    first, again = twice(api, "/raw")
    for name in ("Location", "Content-Location"):
        assert first.get(name) == plain.get(name)
        assert again.get(name) == plain.get(name)


def test_continue_is_not_sent_before_an_early_error(site):
    """R-18"""
    api = site(location="IdempotencyMaxRequestBody 1k")
    for key, size, word in (('"bad', 9, "invalid-key"),
                            ('"ok"', 4096, "payload-too-large")):
        with api.conn() as conn:
            data = api.raw("POST", "/orders", key, b"x" * size,
                           fields=[("Expect", "100-continue")])
            conn.send(data[:-size])
            answer = conn.answer()
            assert answer.problem == word and answer.interim == []
            if answer.get("Connection") == "close":
                assert conn.at_end()
            else:
                conn.send(data[-size:] + api.raw("POST", "/orders", '"n"'))
                assert conn.answer().status == 201
    assert api.post("/orders", '"ok"').status == 201


def test_continue_where_the_body_is_needed(api):
    """R-19"""
    for marked in (False, True):
        with api.conn() as conn:
            data = api.raw("POST", "/orders", '"x"',
                           fields=[("Expect", "100-continue")])
            conn.send(data[:-9])
            assert conn.line() == "HTTP/1.1 100 Continue"
            while conn.line():
                pass
            answer = conn.send(data[-9:]).answer()
            assert (answer.status, answer.marked) == (201, marked)
            assert answer.interim == []
    assert api.n == 1


def test_http_1_0(api):
    """R-20"""
    for path in ("/orders", "/hop", "/cgi/c?chunk=1"):
        row = api.fresh()
        row.post(path, "old")
        with row.conn() as conn:
            conn.send(row.raw("POST", path, "old", version="1.0",
                              fields=[("Expect", "100-continue")]))
            answer = conn.answer()
            assert answer.status == 201 and answer.marked
            assert answer.interim == []
            assert answer.get("Transfer-Encoding") is None
            assert int(answer.get("Content-Length")) == len(answer.body)
            assert conn.at_end()


def test_http_1_0_first(api):
    """R-20"""
    first, again = twice(api, "/orders", version="1.0")
    assert first.get("Transfer-Encoding") is None


def test_early_answers_leave_the_connection_in_step(site):
    """R-21"""
    api = site(location="IdempotencyRequireKey On")
    body = b"GET /off/evil HTTP/1.1\r\nHost: api.test\r\n\r\n" * 25000
    with api.conn() as conn:
        conn.send(api.raw("POST", "/orders", None, body))
        is_problem(conn.answer(), 400, "missing-key")
        try:
            conn.send(api.raw("GET", "/off/orders", None, None))
            answer = conn.answer("GET")
            assert answer.json == {"id": 1}
        except (client.NoAnswer, BrokenPipeError, ConnectionResetError):
            pass
    assert api.backend.count("evil") == 0


def test_refusals_leave_the_connection_in_step(api):
    """R-21: 422 and 409 after the body was read"""
    with api.conn() as conn:
        conn.send(api.raw("POST", "/orders", "k")).answer()
        conn.send(api.raw("POST", "/orders", "k", B2 * 5000))
        is_problem(conn.answer(), 422, "key-reused")
        assert conn.send(api.raw("POST", "/orders", "k")).answer().marked


def test_digests_still_match(api):
    """R-22"""
    laid_down(api, "Content-Digest: sha-256=:abc=:", body=b"hello\n")
    first, again = twice(api, "/raw")
    assert first.body == again.body == b"hello\n"
    assert again.get("Content-Digest") == "sha-256=:abc=:"


BODIES = [bytes(range(256)), b"\0first", b"", b"x", b"\xff\xfe\xc3(",
          b"\r\n\n\r\r\n0\r\n\r\n", os.urandom(900 * 1024)]


@pytest.mark.parametrize("body", BODIES, ids=lambda b: str(len(b)))
def test_any_bytes(api, body):
    """case 45"""
    laid_down(api, "Content-Type: application/octet-stream", body=body)
    first, again = twice(api, "/raw")
    assert hashlib.sha256(first.body).digest() == hashlib.sha256(
        again.body).digest() == hashlib.sha256(body).digest()


def test_three_megabytes(site):
    """case 45"""
    api = site(location="IdempotencyMaxResponse 3500K",
               store="shm size=1G path=none")
    for path in ("/big/3000000", "/cgi/c?status=200&bytes=3000000",
                 "/php/c.php?status=200&bytes=3000000"):
        first, again = twice(api.fresh(), path)
        assert len(first.body) == 3000000 and first.body == again.body


def test_header_directives_are_not_recorded(site):
    """rules 14, 15: mod_headers runs on each answer, once"""
    api = site(conf="RequestHeader set X-Req r early\n"
                    "Header set X-Early e early",
               location="Header set X-Set %t\nHeader always set X-Always a\n"
                        "Header add X-Add 1")
    for path in ("/orders", "/cgi/c", "/php/c.php"):
        first, again = twice(api.fresh(), path)
        for answer in (first, again):
            assert len(answer.all("X-Set")) == 1
            assert answer.all("X-Always") == ["a"]
            assert answer.all("X-Add") == ["1"]
            assert answer.all("X-Early") == first.all("X-Early")


def test_error_path_replays(site):
    """rules 11, 18: a canned page has the "always" fields only"""
    api = site(conf="ProxyErrorOverride On",
               location="Header set X-Set s\nHeader always set X-Always a")
    first, again = twice(api, "/st/404")
    for answer in (first, again):
        assert answer.get("X-Set") is None
        assert answer.all("X-Always") == ["a"]
        assert answer.get("Content-Type") == "text/html; charset=iso-8859-1"
    assert first.body == again.body


def test_reason_phrase(api):
    """R-01: a reason of one's own"""
    laid_down(api, "X: 1", status=b"299 Quite Fine")
    first, again = twice(api, "/raw")
    assert first.reason == again.reason == "Quite Fine"


def test_brotli(site):
    """case 42"""
    api = site(extra=("brotli",), location="SetOutputFilter "
                                           "BROTLI_COMPRESS;DEFLATE")
    seen = {}
    for coding in ("br", "gzip", "identity", "br"):
        answer = api.post("/big/5000", '"br"',
                          fields=[("Accept-Encoding", coding)])
        assert answer.status == 200
        wanted = [] if coding == "identity" else [coding]
        assert answer.all("Content-Encoding") == wanted
        seen.setdefault(coding, answer.body)
        assert seen[coding] == answer.body
    assert len(seen["br"]) < len(seen["identity"]) == 5000
    assert gzip.decompress(seen["gzip"]) == seen["identity"]
    assert api.n == 1


def test_content_filters_run_once(site):
    """rule 14: SSI and the like made the record; they do not run again"""
    api = site(extra=("substitute",), location="SetOutputFilter SUBSTITUTE\n"
                                               "Substitute s/id/idid/n")
    first, again = twice(api, "/orders")
    assert first.body == again.body == b'{"idid":1}'
