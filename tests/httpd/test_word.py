# test_word.py: what the application says in Idempotency-Record (O-12).
# SPDX-License-Identifier: Apache-2.0
import time

import pytest
from client import is_problem

FIELD = "Idempotency-Record"


@pytest.mark.parametrize("path", [
    "/word/no", "/cgi/c?h=Idempotency-Record:+no",
    "/php/c.php?h[]=Idempotency-Record:+no", "/word/NO"])
def test_no_releases_the_key(api, path):
    """O-12"""
    for _ in range(2):
        answer = api.post(path, '"no"')
        assert answer.status == 201 and not answer.marked
        assert answer.get(FIELD) is None
    assert api.n + api.runs == 2
    assert api.server.results(api.tag, 2) == ["released"] * 2


def test_ttl_is_shortened(api):
    """O-12"""
    first = api.post("/word/ttl=3", '"t"')
    assert first.get(FIELD) is None
    again = api.post("/word/ttl=3", '"t"')
    assert again.marked and again.get(FIELD) is None
    time.sleep(3.3)
    assert not api.post("/word/ttl=3", '"t"').marked
    assert api.n == 2


def test_ttl_is_not_lengthened(site):
    """O-12: cut to the TTL"""
    api = site(location="IdempotencyTTL 3")
    api.post("/word/ttl=4000000000000", '"l"')
    assert api.post("/word/ttl=4000000000000", '"l"').marked
    time.sleep(3.3)
    assert not api.post("/word/ttl=4000000000000", '"l"').marked


@pytest.mark.parametrize("word", ["maybe", "ttl=", "ttl=0", "ttl=-1",
                                  "ttl=2h", "no;ttl=2", "%22no%22"])
def test_nonsense_is_logged(api, word):
    """O-12: and ignored"""
    api.expect_log("IDEM0028")
    first = api.post("/word/" + word, '"n"')
    assert first.get(FIELD) is None
    assert api.post("/word/" + word, '"n"').marked
    assert "IDEM0028" in api.server.new_log()
    assert api.n == 1


def test_two_words(api):
    """repeated lines: each counts"""
    api.post("/word/ttl=100|no", '"2"')
    api.post("/word/ttl=100|no", '"2"')
    assert api.n == 2


def test_no_in_a_long_answer(site):
    """the application's word stands whatever the length"""
    api = site(location="IdempotencyMaxResponse 1k")
    for _ in range(2):
        answer = api.post("/cgi/c?bytes=5000&h=Idempotency-Record:+no", '"b"')
        assert answer.status == 201 and len(answer.body) == 5000
    assert api.runs == 2


def test_no_in_a_stream(site):
    """the same while streaming"""
    api = site(location="IdempotencyDelivery stream")
    for _ in range(2):
        answer = api.post("/cgi/c?chunk=1&h=Idempotency-Record:+no", '"s"')
        assert answer.get(FIELD) is None and len(answer.body) == 10240
    assert api.runs == 2


def test_no_in_an_error(api):
    """a kept status, released by the application"""
    for _ in range(2):
        answer = api.post("/cgi/c?status=500&h=Idempotency-Record:+no",
                          '"e"')
        assert answer.status == 500 and answer.get(FIELD) is None
    assert api.runs == 2


def test_torn_stays_unknown(api):
    """a word in an answer that is not whole frees nothing"""
    api.expect_log("AH01102", "proxy:error", "proxy_http:error", "AH10494")
    api.backend.raw[api.tag] = (b"HTTP/1.1 200 OK\r\n"
                                b"Idempotency-Record: no\r\n"
                                b"Content-Length: 100\r\n\r\n0123456789")
    first = api.post("/raw", '"torn"')
    assert first.status == 502 and first.get(FIELD) is None
    is_problem(api.post("/raw", '"torn"'), 502, "outcome-unknown")
    assert api.n == 1
