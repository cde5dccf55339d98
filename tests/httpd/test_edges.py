# test_edges.py: keys and bodies at the edges: compressed bodies, old keys in
# every place and spelling, restarts with waiters.
# SPDX-License-Identifier: Apache-2.0
import gzip
import signal
import time
import uuid

import client
import pytest
from client import is_problem
from test_late import ulid, uuid7
from test_wait import are_waiting, waiting

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
PATHS = pytest.mark.parametrize("path", ["/orders", "/cgi/c", "/php/c.php"])


def app_saw(api, path):
    return (api.backend.seen(api.tag)[0].body if path == "/orders"
            else api.body_seen())


@PATHS
def test_body_that_httpd_unpacks(site, path):
    """rule 22: keys, fingerprints and the application see the plain body"""
    api = site(location="IdempotencyKeySource json:/k\n"
                        "IdempotencyFingerprint method uri json\n"
                        "SetInputFilter DEFLATE")
    text = b"".join(b"%d " % (i * i) for i in range(20000))
    plain = b'{"k":"gz-1","text":"%s"}' % text
    packed = gzip.compress(plain)
    fields = [("Content-Encoding", "gzip")]
    first = api.post(path, None, packed, fields=fields)
    assert (first.status, first.marked) == (201, False), first
    assert app_saw(api, path) == plain
    again = api.post(path, None, plain + b" ")
    assert again.marked and again.body == first.body
    assert api.post(path, None, gzip.compress(plain, 1), fields=fields).marked
    assert api.n + api.runs == 1


@PATHS
def test_body_that_stays_packed(site, path):
    """bytes count, and no key can be found in them"""
    api = site(location="IdempotencyKeySource header:Idempotency-Key json:/k")
    packed = gzip.compress(b'{"k":"gz-1"}')
    fields = [("Content-Encoding", "gzip")]
    assert api.post(path, "a", packed, fields=fields).status == 201
    assert api.post(path, "a", packed, fields=fields).marked
    assert app_saw(api, path) == packed
    is_problem(api.post(path, None, packed, fields=fields), 400,
               "invalid-key")
    assert api.n + api.runs == 1


AGE = "IdempotencyMaxKeyAge 1h"


@pytest.mark.parametrize("spell", [
    lambda key: '"%s"' % key, lambda key: key, lambda key: key.upper(),
    lambda key: '"%s";a=1' % key], ids=range(4))
def test_old_keys_however_they_are_spelled(site, spell):
    """contract 5"""
    api = site(location=AGE)
    is_problem(api.post("/orders", spell(uuid7(4000))), 412, "key-expired")
    key = uuid7(60)
    assert api.post("/orders", spell(key)).status == 201
    assert api.post("/orders", spell(key)).marked
    assert api.n == 1


@pytest.mark.parametrize("make", [uuid7, ulid])
def test_old_keys_wherever_they_are(site, make):
    """contract 5: query, form, JSON"""
    api = site(location=AGE + "\nIdempotencyKeySource query:q form:k json:/k")

    def all_three(key):
        return [api.post("/orders?q=" + key, None),
                api.post("/orders", None, b"k=%s" % key.encode(), ctype=FORM),
                api.post("/orders", None, b'{"k":"%s"}' % key.encode())]
    for answer in all_three(make(4000)):
        is_problem(answer, 412, "key-expired")
    for answer in all_three(make(-1000)):
        is_problem(answer, 400, "invalid-key")
    assert api.n == 0
    assert [a.status for a in (api.post("/orders?q=" + make(10), None),
                               api.post("/orders?q=" + str(uuid.uuid4()),
                                        None))] == [201, 201]


def test_old_key_of_a_known_request(site):
    """contract 5: also if its record should still be there"""
    api = site(location="IdempotencyMaxKeyAge 4")
    key = uuid7(0)
    assert api.post("/orders", key).status == 201
    assert api.post("/orders", key).marked
    time.sleep(4.2)
    is_problem(api.post("/orders", key), 412, "key-expired")
    assert api.n == 1


def test_old_keys_leave_the_connection_in_step(site):
    """a body that was not read is not the next request"""
    api = site(location=AGE)
    body = b"POST /evil HTTP/1.1\r\n\r\n" * 9000
    with api.conn() as conn:
        conn.send(api.raw("POST", "/orders", uuid7(4000), body)
                  + api.raw("POST", "/st/200", None))
        is_problem(conn.answer(), 412, "key-expired")
        assert conn.answer().body == b"status 200\n"
    data = api.raw("POST", "/orders", uuid7(4000), body,
                   [("Expect", "100-continue")])
    with api.conn() as conn:
        conn.send(data[:-len(body)])
        answer = conn.answer()
        is_problem(answer, 412, "key-expired")
        assert answer.interim == [] and conn.at_end()
    assert api.n == 1


@pytest.mark.parametrize("method", ["POST", "PUT"])
@PATHS
def test_expect_with_keys_in_the_body(site, path, method):
    """100 Continue comes, for only the body can tell"""
    api = site(location="IdempotencyKeySource form:k\n"
                        "IdempotencyMethods POST PUT\n"
                        "IdempotencyMaxRequestBody 1M")
    for body, marked in ((b"a=1&k=x", False), (b"a=1&k=x", True),
                         (b"a=2", False)):
        data = api.raw(method, path, None, body,
                       [("Expect", "100-continue")], ctype=FORM)
        with api.conn() as conn:
            conn.send(data[:-len(body)])
            assert conn.line() == "HTTP/1.1 100 Continue"
            conn.line()
            answer = conn.send(body).answer()
            assert answer.status == 201 and answer.marked == marked
            conn.send(api.raw("POST", "/st/200", None, b"", ctype=None))
            assert conn.answer().status == 200
    # Too large by its own words: no 100, no reading.
    big = client.head(method, api.target(path), None,
                      [("Expect", "100-continue"), ("Content-Type", FORM),
                       ("Content-Length", "9999999")])
    with api.conn() as conn:
        conn.send(big + b"\r\n")
        answer = conn.answer()
        is_problem(answer, 413, "payload-too-large")
        assert answer.interim == [] and conn.at_end()


@pytest.mark.parametrize("sig", [signal.SIGUSR1, signal.SIGHUP])
def test_restart_frees_the_slots(own, sig):
    """rule 55: no slot stays behind with a process that ended"""
    api = own(conf="IdempotencyMaxWaiters 1", location="IdempotencyWait 60")
    api.expect_log("AH00045", "AH00046", "AH01102", "AH00898",
                   "mpm_\\w+:(warn|error)")
    api.server.start()
    with api.conn() as first:
        first.send(api.raw("POST", "/gate", '"s"'))
        api.wait_n()
        old = waiting(api, 1, key='"s"')[0]
        api.server.again(sig)
        api.open_gate()
        old.close()
    other = api.fresh()
    with other.conn() as first:
        first.send(other.raw("POST", "/gate", '"s"'))
        other.wait_n()
        assert are_waiting(other, 0)
        conn = waiting(other, 1, key='"s"')[0]
        other.open_gate()
        assert conn.answer().marked
        conn.close()
        first.answer()
    assert other.n == 1


def test_included_parts_of_a_page(site):
    """SSI: sub-requests are no requests of their own, and the page that
    includes them is recorded whole, streamed or not"""
    for delivery in ("complete", "stream"):
        api = site(extra=("include",),
                   conf='<Location "/ssi/">\nIdempotencyEngine On\n'
                        'Options +Includes\nSetOutputFilter INCLUDES\n'
                        'IdempotencyDelivery %s\n</Location>' % delivery)
        api.server.file("htdocs/ssi/%s.html" % api.tag,
                        'one <!--#include virtual="/cgi/c?t=%s" --> '
                        '<!--#include virtual="/cgi/c?t=%s" --> end'
                        % (api.tag, api.tag))
        first = api.post("=/ssi/%s.html", '"i"')
        again = api.post("=/ssi/%s.html", '"i"')
        assert first.body == b"one 1\n 2\n end", first
        assert again.marked and again.body == first.body
        assert api.runs == 2
