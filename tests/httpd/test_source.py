# test_source.py: keys from query, form and JSON (case 58, contract 5).
# SPDX-License-Identifier: Apache-2.0
from concurrent.futures import ThreadPoolExecutor

import pytest
from client import is_problem

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
PATHS = ["/orders", "/cgi/c", "/php/c.php"]


def sources(words, more=""):
    return {"location": "IdempotencyKeySource %s\n%s" % (words, more)}


def multipart(fields, boundary="b0und"):
    """[(name, value, file name or None)] -> content type, body."""
    out = b""
    for name, value, file in fields:
        out += b"--%s\r\nContent-Disposition: form-data; name=\"%s\"" % (
            boundary.encode(), name.encode())
        if file:
            out += b'; filename="%s"' % file.encode()
            out += b"\r\nContent-Type: application/octet-stream"
        out += b"\r\n\r\n" + value + b"\r\n"
    return ("multipart/form-data; boundary=" + boundary,
            out + b"--" + boundary.encode() + b"--\r\n")


def runs_once(api, path, body, ctype, key=None):
    first = api.post(path, key, body, ctype=ctype)
    again = api.post(path, key, body, ctype=ctype)
    assert (first.status, first.marked) == (201, False), first
    assert (again.status, again.marked) == (201, True), again
    assert first.body == again.body
    assert api.n + api.runs == 1
    return first


def runs_twice(api, path, body, ctype, key=None):
    for _ in range(2):
        answer = api.post(path, key, body, ctype=ctype)
        assert (answer.status, answer.marked) == (201, False), answer
    assert api.n + api.runs == 2


@pytest.mark.parametrize("path", ["/orders?ClientToken=a%2Fb+c",
                                  "/cgi/c?x=1&ClientToken=a%2Fb+c",
                                  "/php/c.php?x=1&ClientToken=a%2Fb+c"])
def test_query(site, path):
    """AWS's ClientToken"""
    api = site(**sources("query:ClientToken"))
    runs_once(api, path, b"{}", JSON)
    is_problem(api.post(path, None, b"{1}"), 422, "key-reused")


def test_query_as_the_client_sent_it(site):
    """rule 8: not as rewriting made it"""
    api = site(conf="RewriteEngine On\n"
                    "RewriteRule ^/q/(.*)$ /cgi/c?t=$1&ClientToken=x [PT]",
               **sources("query:ClientToken"))
    runs_twice(api, "=/q/%s", b"{}", JSON)
    for _ in range(2):
        answer = api.post("=/q/%s?ClientToken=mine", None)
    assert answer.marked and api.runs == 3


@pytest.mark.parametrize("path", PATHS)
def test_form(site, path):
    """a hidden field of a plain form"""
    api = site(**sources("form:idempotency_key"))
    body = b"item=4711&idempotency%5Fkey=f%20o+o&qty=1"
    runs_once(api, path, body, FORM + "; charset=utf-8")
    seen = (api.backend.seen(api.tag)[0].body if path == "/orders"
            else api.body_seen())
    assert seen == body  # the key stays part of what the application sees


@pytest.mark.parametrize("path", PATHS)
def test_multipart(site, path):
    """the same with an upload, its boundary made anew"""
    api = site(**sources("form:idempotency_key"))
    fields = [("photo", b"\x00\xff--b0und" * 50000, "a.jpg"),
              ("idempotency_key", b"mp-1", None)]
    ctype, body = multipart(fields)
    first = api.post(path, None, body, ctype=ctype)
    ctype, body = multipart(fields, "another")
    again = api.post(path, None, body, ctype=ctype)
    assert (first.status, first.marked) == (201, False)
    assert (again.status, again.marked) == (201, True)
    fields[0] = ("photo", b"changed", "a.jpg")
    ctype, body = multipart(fields)
    is_problem(api.post(path, None, body, ctype=ctype), 422, "key-reused")
    assert api.n + api.runs == 1


def test_a_file_is_no_key(site):
    """contract 5: a field that is no file"""
    api = site(**sources("form:idempotency_key"))
    ctype, body = multipart([("idempotency_key", b"x", "key.txt")])
    runs_twice(api, "/orders", body, ctype)


@pytest.mark.parametrize("path", PATHS)
def test_json(site, path):
    """Square's idempotency_key"""
    api = site(**sources("json:/meta/idempotency_key"))
    body = b'{"amount": 1, "meta": {"idempotency_key": "j\\u002d1"}}'
    runs_once(api, path, body, "application/vnd.api+json")
    is_problem(api.post(path, None, body + b" ",
                        ctype="application/vnd.api+json"),
               422, "key-reused")


def test_first_that_is_present_wins(site):
    """contract 5; what the others say is not looked at"""
    api = site(**sources("header:Idempotency-Key form:k query:k"))
    runs_once(api, "/orders?k=%00", b"k=one&k=two", FORM, "head")
    api = api.fresh()
    body = b"k=form"
    runs_once(api, "/orders?k=query", body, FORM)
    # The same form field elsewhere is the same key, hence another request.
    is_problem(api.post("/orders?k=other", None, body, ctype=FORM),
               422, "key-reused")
    # No form: the query.
    api = api.fresh()
    runs_once(api, "/orders?k=query", b"{}", JSON)


def test_body_before_header(site):
    """the order is the configuration's"""
    api = site(**sources("json:/k header:Idempotency-Key"))
    runs_once(api, "/orders", b'{"k":"a"}', JSON, "one")
    # The body says the same: the header is not looked at.
    assert api.post("/orders", "two", b'{"k":"a"}').marked
    # No key in the body: the header, even if it is not JSON.
    api = api.fresh()
    runs_once(api, "/orders", b'{"j":"a"}', JSON, "one")
    api = api.fresh()
    runs_once(api, "/orders", b"text", "text/plain", "one")


@pytest.mark.parametrize("body,ctype", [
    (b"k=a&k=b", FORM), (b"k=", FORM), (b"k=%00", FORM), (b"k=%C3%A9", FORM),
    (b"k=" + b"x" * 256, FORM), (b"k=" + b"x" * 100000, FORM),
    (b'{"k":1}', JSON), (b'{"k":null}', JSON), (b'{"k":["a"]}', JSON),
    (b'{"k":"a"', JSON), (b'{"k":"a"}}', JSON), (b'{"k":"a\\u0000b"}', JSON),
    (b'{"k":"\xff"}', JSON), (b'{"k":"a","x":"' + b"x" * (1 << 20) + b'"}',
                              JSON)], ids=range(14))
@pytest.mark.parametrize("require", ["Off", "On"])
def test_unusable_keys(site, body, ctype, require):
    """K-22: not run, even where keys are optional"""
    api = site(**sources("form:k json:/k", "IdempotencyRequireKey " + require))
    is_problem(api.post("/orders", None, body, ctype=ctype), 400,
               "invalid-key")
    assert api.n == 0


@pytest.mark.parametrize("body,ctype", [
    (b"", FORM), (b"K=a", FORM), (b"kk=a&j=k", FORM), (b"", JSON),
    (b"{}", JSON), (b"[]", JSON), (b'{"x":{"k":"a"}}', JSON),
    (b"k=a", "text/plain"), (b'{"k":"a"}', "text/plain"),
    (b"x" * 300000, "text/plain"), (b"x=" + b"y" * 3000000, FORM)],
                         ids=range(11))
@pytest.mark.parametrize("path", PATHS)
def test_no_key(site, body, ctype, path):
    """M-06: the request runs each time and gets its whole body"""
    api = site(**sources("form:k json:/k"))
    runs_twice(api, path, body, ctype)
    seen = (api.backend.seen(api.tag)[0].body if path == "/orders"
            else api.body_seen())
    assert seen == body
    assert api.server.results(api.tag, 2) == ["-", "-"]


def test_no_key_behind_a_redirect(site):
    """rule 22: the handler of an internal redirect gets the body too"""
    api = site(**sources("form:k"))
    api.server.file("htdocs/app/.htaccess", "RewriteEngine On\n"
                    "RewriteRule ^(.*)$ /cgi/c?t=$1 [L]\n")
    runs_twice(api, "=/app/%s", b"a=1", FORM)
    assert api.body_seen() == b"a=1"
    api = api.fresh()
    runs_once(api, "=/app/%s", b"a=1&k=2", FORM)
    assert api.body_seen() == b"a=1&k=2"


def test_missing_key(site):
    """D 2.7"""
    api = site(**sources("form:k json:/k", "IdempotencyRequireKey On"))
    for body, ctype in [(b"a=1", FORM), (b"{}", JSON), (b"", "text/plain")]:
        is_problem(api.post("/orders", None, body, ctype=ctype), 400,
                   "missing-key")
    assert api.n == 0


def test_key_is_told_to_the_application(site):
    """contract 6: IDEMPOTENCY_KEY, wherever the key is"""
    api = site(**sources("form:k query:q"))
    for path in ("/cgi/c?env=IDEMPOTENCY_KEY",
                 "/php/c.php?env=IDEMPOTENCY_KEY"):
        api = api.fresh()
        answer = api.post(path, None, b"k=form-key", ctype=FORM)
        assert answer.body == b"form-key\n"
        answer = api.post(path + "&q=query-key", None, b"{}")
        assert answer.body == b"query-key\n"


def test_limits_hold_for_bodies_without_key(site):
    """F-12: they are read to find one"""
    api = site(**sources("form:k", "IdempotencyMaxRequestBody 1k"))
    is_problem(api.post("/orders", None, b"a=" + b"x" * 2000, ctype=FORM),
               413, "payload-too-large")
    assert api.n == 0
    assert api.post("/orders", None, b"x" * 2000,
                    ctype="text/plain").status == 201


def test_pattern_holds_for_every_source(site):
    """S-10"""
    api = site(**sources("form:k query:q",
                         "IdempotencyKeyPattern ^[0-9]+$"))
    is_problem(api.post("/orders", None, b"k=abc", ctype=FORM), 400,
               "invalid-key")
    is_problem(api.post("/orders?q=abc", None), 400, "invalid-key")
    runs_once(api, "/orders?q=123", b"{}", JSON)


@pytest.mark.parametrize("path", PATHS)
def test_double_click(site, path):
    """case 58: one order, and both clicks end on the same page"""
    api = site(**sources("form:idempotency_key", "IdempotencyWait 10"))
    path += "?sleep=0.5&status=303&h=Location:/done" if "c" in path[1:2] \
        or "php" in path else ""
    if path == "/orders":
        path = "/slow/500"
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(
            lambda _: api.post(path, None, b"idempotency_key=form-1&item=1",
                               ctype=FORM), range(2)))
    assert answers[0].status == answers[1].status in (201, 303)
    assert answers[0].get("Location") == answers[1].get("Location")
    assert answers[0].body == answers[1].body
    assert sorted(a.marked for a in answers) == [False, True]
    assert api.n + api.runs == 1


def test_reload_while_it_runs(site):
    """case 58: the browser drops the first connection and sends again"""
    api = site(**sources("form:idempotency_key", "IdempotencyWait 10"))
    body = b"idempotency_key=form-2&item=1"
    conn = api.conn()
    conn.send(api.raw("POST", "/php/c.php?sleep=0.6", None, body, ctype=FORM))
    api.wait_runs(1)
    conn.reset()
    answer = api.post("/php/c.php?sleep=0.6", None, body, ctype=FORM)
    assert answer.status == 201 and answer.marked and answer.body == b"1\n"
    assert api.runs == 1
