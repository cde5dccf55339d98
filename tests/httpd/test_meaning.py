# test_meaning.py: bodies compared by meaning, through httpd to a back end,
# a CGI script and PHP (cases 33 and 36); and in constant memory.
# SPDX-License-Identifier: Apache-2.0
import pytest
from client import Conn, head, is_problem

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MEANING = {"location": "IdempotencyFingerprint method uri json form"}
PATHS = pytest.mark.parametrize("path", ["/orders", "/cgi/c", "/php/c.php"])
MIB = 1024 * 1024


def seen(api, path):
    return (api.backend.seen(api.tag)[0].body if path == "/orders"
            else api.body_seen())


def runs(api):
    return api.n + api.runs


def compare(api, path, first, others, same, ctype, then=None):
    """The first runs; each of the others is the same request, or not."""
    api = api.fresh()
    assert api.post(path, "k", first, ctype=ctype).status == 201
    if not (path.startswith("/php/") and ctype.startswith("multipart/")):
        assert seen(api, path) == first  # not as it was compared
    for other in others:
        again = api.post(path, "k", other, ctype=then or ctype)
        if same:
            assert again.status == 201 and again.marked, (first, other)
        else:
            is_problem(again, 422, "key-reused")
    assert runs(api) == 1


@PATHS
def test_the_same_json(site, path):
    """case 36: order of members, white space, escapes"""
    api = site(**MEANING)
    compare(api, path, b'{"a":1,"b":[1,2],"c":{"x":null,"y":"\xc3\xa9/"}}', [
        b'{ "b" : [1, 2], "a" : 1, "c" : {"y":"\xc3\xa9/","x":null} }',
        b'{"c":{"x":null,"y":"\\u00e9\\/"},"a":1,"b":[1,2]}\r\n',
        b'\t{"b":[1,2],\n"c":{"x":null,"y":"\\u00E9/"},"a":1}'], True, JSON)
    compare(api, path, b'{"s":"\\ud83d\\ude00"}',
            [b'{"s":"\xf0\x9f\x98\x80"}'], True, JSON)
    compare(api, path, b'{"a":1}', [b'{ "a":1 }'], True,
            "application/vnd.api+json", "application/vnd.api+json;charset=x")


@PATHS
@pytest.mark.parametrize("first,others", [
    (b'{"a":[1,2]}', [b'{"a":[2,1]}', b'{"a":[1,2,2]}', b'{"a":[[1],2]}']),
    (b'{"a":1}', [b'{"a":1.0}', b'{"a":1e0}', b'{"a":"1"}', b'{"a":true}']),
    (b'{"a":null}', [b'{}', b'{"a":false}', b'{"a":""}', b'{"a":0}']),
    (b'{"a":100000000000000001}', [b'{"a":100000000000000000}',
                                   b'{"a":100000000000000001.0}']),
    (b'{"a":1.10}', [b'{"a":1.1}']),
    (b'{"a":0}', [b'{"a":-0}']),
    (b'{"a":1e400}', [b'{"a":1e401}', b'{"a":1E400}', b'{"a":null}']),
    (b'{"a":1,"a":2}', [b'{"a":2}', b'{"a":1}', b'{"a":2,"a":1}',
                        b'{ "a":1,"a":2}']),
    (b'{"a":"\\u0000"}', [b'{"a":""}', b'{"a":"0"}']),
    (b'{"a":"x"}', [b'{"A":"x"}', b'{"a":"X"}', b'{"a":"x "}']),
    (b'{"a":1', [b'{ "a":1', b'{"a":1}']),
    (b"[" * 100 + b"]" * 100, [b"[" * 99 + b" [" + b"]" * 100]),
    (b"[]", [b"{}", b"", b"null"])], ids=range(13))
def test_another_json(site, path, first, others):
    """case 36: any difference in what it says, and what cannot be told"""
    compare(site(**MEANING), path, first, others, False, JSON)


@pytest.mark.parametrize("bomb", [
    b"[" * MIB, b'{"a":' * (MIB // 5), b"[" * (MIB // 2) + b"]" * (MIB // 2),
    b'{"a":' * (MIB // 8) + b"1" + b"}" * (MIB // 8), b"[1" + b",1" * 500000
    + b"]", b"1" * MIB, b'"' + b"\\u0041" * 170000 + b'"',
    b'{"a":1' + b"".join(b',"%d":1' % i for i in range(80000)) + b"}"],
    ids=range(8))
def test_bombs(site, bomb):
    """case 36: compared as bytes, at worst; nothing crashes"""
    api = site(**MEANING)
    compare(api, "/orders", bomb, [bomb + b"]", bomb[:-1]], False, JSON)
    compare(api, "/orders", bomb, [bomb], True, JSON)
    # As a place for a key, too.
    keyed = site(location="IdempotencyKeySource json:/k")
    answer = keyed.post("/orders", None, bomb, ctype=JSON)
    assert answer.status == 201 or answer.problem == "invalid-key"


@PATHS
def test_json_that_is_none(site, path):
    """the type of the body decides, not its text"""
    api = site(**MEANING)
    compare(api, path, b'{"a":1}', [b'{ "a":1}'], False, "text/plain")
    # One body under two types is two things to say.
    compare(api, path, b'{"a":1}', [b'{"a":1}'], True, JSON,
            "application/json; charset=utf-8")


@PATHS
def test_bytes_by_default(site, path):
    """F-05, and case 36: raw mode"""
    compare(site(), path, b'{"a":1,"b":2}',
            [b'{"b":2,"a":1}', b'{"a":1, "b":2}'], False, JSON)
    compare(site(), path, b"a=1&b=2", [b"b=2&a=1", b"a=%31&b=2"], False, FORM)


@PATHS
def test_forms(site, path):
    """order of fields does not count, order of one name's values does"""
    api = site(**MEANING)
    compare(api, path, b"a=1&b=x+y&c=%C3%A9", [
        b"c=%c3%a9&a=1&b=x%20y", b"b=x+y&c=\xc3\xa9&a=%31",
        b"a=1&c=%C3%A9&b=x%20y"], True, FORM)
    compare(api, path, b"t=1&t=2&a=3", [b"t=1&a=3&t=2", b"a=3&t=1&t=2"],
            True, FORM)
    compare(api, path, b"t=1&t=2&a=3", [b"t=2&t=1&a=3", b"t=1&a=3",
                                        b"t=1&t=2&t=2&a=3"], False, FORM)
    compare(api, path, b"a=1&b=2", [b"a=1&b=", b"a=1", b"a=1b=2",
                                    b"a=1%26b=2", b"A=1&b=2"], False, FORM)
    compare(api, path, b"a=%zz&b=1", [b"b=1&a=%zz", b"a=%ZZ&b=1"], False,
            FORM)


@PATHS
def test_multipart(site, path):
    """case 33, beside json and form"""
    api = site(**MEANING)

    def parts(line, value=b"1", name=b"a.txt"):
        return (b"--%s\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n"
                b"%s\r\n--%s\r\nContent-Disposition: form-data; name=\"f\"; "
                b"filename=\"%s\"\r\nContent-Type: text/plain\r\n\r\n"
                b"--other\r\n--%s--\r\n" % (line, value, line, name, line))
    ctype = "multipart/form-data; boundary="
    compare(api, path, parts(b"aa"), [parts(b"bb")], True, ctype + "aa",
            ctype + "bb")
    compare(api, path, parts(b"aa"), [parts(b"bb", b"2"),
                                      parts(b"bb", name=b"b.txt")], False,
            ctype + "aa", ctype + "bb")


# ------------------------------------------------------------------ memory

def high_water(pid):
    with open("/proc/%d/status" % pid) as file:
        return [int(line.split()[1]) for line in file
                if line.startswith("VmHWM")][0] * 1024


SIZE = 96 * MIB


def upload(kind):
    """Content type, first bytes, filling, last bytes."""
    if kind == "body":
        return "application/octet-stream", b"", b""
    if kind == "json":
        return JSON, b'{"k":"key-1","file":"', b'"}'
    if kind == "form":
        return FORM, b"k=key-1&file=", b"&end=1"
    return ("multipart/form-data; boundary=b0",
            b'--b0\r\nContent-Disposition: form-data; name="k"\r\n\r\nkey-1'
            b'\r\n--b0\r\nContent-Disposition: form-data; name="f"; '
            b'filename="f"\r\n\r\n', b"\r\n--b0--\r\n")


def send(api, conn, path, kind, key, last):
    ctype, begin, end = upload(kind)
    block = b"\r\n--b1 \x00\xff{[" * 8192 if kind in ("body", "multipart") \
        else b"0123456789abcdef" * 8192
    count = SIZE // len(block)
    size = len(begin) + count * len(block) + len(last) + len(end)
    conn.send(head("POST", api.target(path), key,
                   [("Authorization", "Bearer " + api.tag),
                    ("Content-Type", ctype), ("Content-Length", str(size))])
              + b"\r\n" + begin)
    for _ in range(count):
        conn.send(block)
    return conn.send(last + end).answer()


@pytest.mark.parametrize("kind,source", [
    ("body", "header"), ("json", "header"), ("form", "header"),
    ("multipart", "header"), ("form", "form:k"), ("multipart", "form:k")])
def test_uploads_in_constant_memory(site, kind, source):
    """contract 3.2: hashed and spooled while they are read"""
    where = "" if source == "header" else "IdempotencyKeySource form:k\n"
    api = site(location=where + MEANING["location"], timeout=60)
    key = "key-1" if source == "header" else None
    with Conn(api.port, 120) as conn:
        conn.send(api.raw("POST", "/st/200", None))
        conn.answer()
        pid = api.server.child_of(conn)
        before = high_water(pid)
        first = send(api, conn, "/st/201", kind, key, b"1")
        assert first.status == 201 and not first.marked
        assert len(api.backend.seen(api.tag)[1].body) > SIZE - MIB
        again = send(api, conn, "/st/201", kind, key, b"1")
        assert again.status == 201 and again.marked
        is_problem(send(api, conn, "/st/201", kind, key, b"2"), 422,
                   "key-reused")
        grown = high_water(pid) - before
    api.backend.requests.pop(api.tag)
    assert api.backend.count(api.tag) == 2
    assert grown < SIZE // 4, grown
