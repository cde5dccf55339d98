# test_fingerprint.py: what is the same request (conformance 1.4).
# SPDX-License-Identifier: Apache-2.0
import pytest
from client import B1, B2, is_problem

BIG = bytes(i * 7 % 251 for i in range(100 * 1024))


def is_reused(api, method, path, key, body=B1, **more):
    answer = is_problem(api.send(method, path, key, body, **more), 422,
                        "key-reused")
    assert answer.json["retryable"] is False
    return answer


def test_other_payload(api):
    """F-01, F-02"""
    assert api.post("/orders", '"f"').status == 201
    is_reused(api, "POST", "/orders", '"f"', B2)
    again = api.post("/orders", '"f"')
    assert again.marked and again.json == {"id": 1}
    assert api.n == 1


def test_other_target(api):
    """F-03"""
    assert api.post("/orders?a=1", '"t"').status == 201
    is_reused(api, "POST", "/orders?a=2", '"t"')
    is_reused(api, "POST", "/orders", '"t"')
    is_reused(api, "POST", "/orders/9?a=1", '"t"')
    assert api.n == 1


def test_other_method(api):
    """F-04"""
    assert api.post("/orders", '"m"').status == 201
    is_reused(api, "PATCH", "/orders", '"m"')
    assert api.n == 1


def test_bytes_count(api):
    """F-05"""
    assert api.post("/orders", '"b"', b'{"qty":1}').status == 201
    is_reused(api, "POST", "/orders", '"b"', b'{ "qty":1 }')
    assert api.n == 1


def test_framing_does_not_count(api):
    """F-06"""
    assert api.post("/orders", '"fr"').status == 201
    assert api.post("/orders", '"fr"', pieces=(4, 4)).marked
    assert api.post("/orders", '"fr"', pieces=(1, 2, 3)).marked
    assert api.n == 1
    assert api.backend.seen(api.tag)[0].body == B1


def test_host_in_the_target_does_not_count(api):
    """F-06: the absolute form is the same target (RFC 9112 3.2.2)"""
    absolute = "=HTTP://api.test/api/%s/orders"
    assert api.post("/orders?a=/b", '"abs"').status == 201
    assert api.post(absolute + "?a=/b", '"abs"').marked
    is_reused(api, "POST", absolute, '"abs"')
    assert api.post(absolute, '"abs2"').status == 201
    assert api.post("/orders", '"abs2"').marked
    assert api.n == 2
    # Not only in front of a path.
    is_reused(api, "POST", "/orders?a=://x/b", '"abs2"')


def test_chunked_first(api):
    """F-06, rule 24: a chunked body reaches CGI and PHP whole"""
    for path in ("/orders", "/cgi/c", "/php/c.php"):
        row = api.fresh()
        first = row.post(path, '"cf"', BIG, pieces=(1000, 60000))
        assert first.status == 201
        got = (row.backend.seen(row.tag)[0].body if path == "/orders"
               else row.body_seen())
        assert got == BIG
        assert row.post(path, '"cf"', BIG).marked
        assert row.n + row.runs == 1


def test_fields_that_vary_do_not_count(api):
    """F-07"""
    assert api.post("/orders", '"v"').status == 201
    again = api.post("/orders", '"v"', fields=[
        ("User-Agent", "b/2"), ("Date", "Mon, 01 Jan 2024 00:00:00 GMT"),
        ("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-1-01"),
        ("Accept", "text/xml"), ("Accept-Encoding", "br"), ("X-Retry", "1")])
    assert again.marked and api.n == 1


def test_chosen_fields_count(site):
    """F-08"""
    api = site(location="IdempotencyFingerprint method uri body "
                        "header:X-Api-Version")
    one, two = [("X-Api-Version", "1")], [("X-Api-Version", "2")]
    assert api.post("/orders", '"h"', fields=one).status == 201
    is_reused(api, "POST", "/orders", '"h"', fields=two)
    is_reused(api, "POST", "/orders", '"h"')
    assert api.post("/orders", '"h"', fields=one).marked
    assert api.n == 1


def test_no_fingerprint(site):
    """F-09"""
    api = site(location="IdempotencyFingerprint none")
    assert api.post("/orders", '"z"').status == 201
    again = api.post("/orders", '"z"', B2)
    assert again.marked and again.json == {"id": 1}
    assert api.send("PATCH", "/orders/7", '"z"', B2).marked
    assert api.n == 1


def test_parts_of_the_fingerprint(site):
    """contract 5: IdempotencyFingerprint body"""
    api = site(location="IdempotencyFingerprint body")
    assert api.post("/orders", '"p"').status == 201
    assert api.send("PATCH", "/orders/2", '"p"').marked
    is_reused(api, "POST", "/orders", '"p"', B2)
    assert api.n == 1


def test_empty_body_is_a_payload(api):
    """F-10"""
    assert api.post("/orders", '"e"', b"").status == 201
    assert api.post("/orders", '"e"', b"").marked
    assert api.post("/orders", '"e"', None).marked
    is_reused(api, "POST", "/orders", '"e"')
    assert api.n == 1


def test_payload_over_the_limit(site):
    """F-12"""
    api = site(location="IdempotencyMaxRequestBody 1k")
    for more in ({}, {"pieces": (700, 700)}):
        told = api.post("/orders", '"l"', b"x" * 2048, **more)
        is_problem(told, 413, "payload-too-large")
    assert api.n == 0
    assert api.post("/orders", '"l"', b"x" * 1024).status == 201
    assert api.post("/orders", None, b"x" * 2048).status == 201


def test_limit_request_body_holds(site):
    """contract 5: LimitRequestBody alone; httpd's own 413"""
    api = site(location="LimitRequestBody 1024")
    for more in ({}, {"pieces": (700, 700)}):
        answer = api.post("/cgi/c", '"l"', b"x" * 2048, **more)
        assert answer.status == 413
    assert api.runs == 0
    assert api.post("/cgi/c", '"l"', b"x" * 1024).status == 201


@pytest.mark.parametrize("how", ["none", "half"])
def test_handler_that_does_not_read(api, how):
    """F-13, case 35"""
    # mod_cgid then meets a reset, now and then before the answer's end; it
    # does so without the module too.
    api.expect_log("AH01225|Connection reset|Broken pipe|AH02651|AH02550")
    path = "/cgi/c?read=" + how
    first = api.post(path, '"nr"', BIG)
    again = api.post(path, '"nr"', BIG)
    if first.status == 201:
        assert again.marked
    else:
        is_problem(again, 502, "outcome-unknown")
    is_reused(api, "POST", path, '"nr"', BIG[:-1] + b"?")
    assert api.runs == 1


def test_php_that_does_not_read(api):
    """case 35"""
    path = "/php/c.php?read=none"
    assert api.post(path, '"nr"', BIG).status == 201
    assert api.post(path, '"nr"', BIG).marked
    is_reused(api, "POST", path, '"nr"', BIG[:-1] + b"?")
    assert api.runs == 1


def test_whole_body_reaches_the_application(api):
    """case 35: also one that is spooled"""
    body = BIG * 30
    for path in ("/orders", "/cgi/c", "/php/c.php"):
        row = api.fresh()
        assert row.post(path, '"wb"', body).status == 201
        got = (row.backend.seen(row.tag)[0].body if path == "/orders"
               else row.body_seen())
        assert got == body
        is_reused(row, "POST", path, '"wb"', body[:-1] + b"?")
        assert row.post(path, '"wb"', body).marked


def test_kept_body_of_mod_request(site):
    """case 35: KeptBodySize"""
    api = site(conf='<Location "/cgi/">\nKeptBodySize 65536\n</Location>',
               extra=("request",))
    assert api.post("/cgi/c", '"kb"', b"a=1").status == 201
    assert api.body_seen() == b"a=1"
    assert api.post("/cgi/c", '"kb"', b"a=1").marked
    is_reused(api, "POST", "/cgi/c", '"kb"', b"a=2")


# ---------------------------------------------------------------- multipart

FILE = b"\r\n--not-it\r\n" + bytes(range(256)) * 4096


def form(boundary, file=FILE, name="scan.png", kind="image/png", swap=False):
    parts = [b'Content-Disposition: form-data; name="amount"\r\n\r\n42',
             b'Content-Disposition: form-data; name="file"; filename="%s"\r\n'
             b"Content-Type: %s\r\n\r\n%s"
             % (name.encode(), kind.encode(), file)]
    if swap:
        parts.reverse()
    line = b"--" + boundary.encode()
    return (b"".join(line + b"\r\n" + part + b"\r\n" for part in parts)
            + line + b"--\r\n")


def kind_of(boundary):
    return "multipart/form-data; boundary=" + boundary


def test_boundary_does_not_count(api):
    """case 33"""
    assert api.post("/orders", "mp", form("aaa"),
                    ctype=kind_of("aaa")).status == 201
    assert api.post("/orders", "mp", form("b-42"),
                    ctype=kind_of('"b-42"')).marked
    assert api.post("/orders", "mp", form("c"), ctype=kind_of("c"),
                    pieces=(1, 1, 1, 5000)).marked
    assert api.n == 1


@pytest.mark.parametrize("change", [
    {"file": FILE[:-1] + b"?"}, {"name": "other.png"}, {"swap": True},
    {"kind": "image/gif"}, {"file": FILE + b"\r\n--aaa"}])
def test_other_forms_are_other_payloads(api, change):
    """case 33"""
    assert api.post("/orders", "mp", form("aaa"),
                    ctype=kind_of("aaa")).status == 201
    is_reused(api, "POST", "/orders", "mp", form("bbb", **change),
              ctype=kind_of("bbb"))
    assert api.n == 1


@pytest.mark.parametrize("body", [b"", b"--aaa", b"no parts", b"--aaa\r\n",
                                  b"--aaa--", b"\r\n--aaa\r\n\r\n--aaa--x"])
def test_malformed_forms_are_compared_as_bytes(api, body):
    """case 33"""
    assert api.post("/orders", "mal", body, ctype=kind_of("aaa")).status == 201
    assert api.post("/orders", "mal", body, ctype=kind_of("aaa")).marked
    is_reused(api, "POST", "/orders", "mal", body + b"?",
              ctype=kind_of("aaa"))
    assert api.n == 1
