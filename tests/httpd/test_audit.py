# test_audit.py: one line of JSON per decision (contract 5, issue 5.4).
# SPDX-License-Identifier: Apache-2.0
import datetime
import re
import time

import audit
import client
import pytest
from client import is_problem
from rig import wait_until
from test_http2 import Client
from test_late import uuid7
from test_wait import are_waiting

UNIQUE = ("unique_id",)
TRACE = ('CustomLog logs/trace.log "%{UNIQUE_ID}e %{IDEMPOTENCY_RESULT}e '
         '%{IDEMPOTENCY_ORIGINAL_ID}e %U"\n')


def test_members(own):
    """contract 5: who, what, which result, from which request"""
    api = own(conf=audit.LOG, extra=UNIQUE)
    api.server.start()
    before = datetime.datetime.now(datetime.timezone.utc)
    api.post("/orders?secret=1", '"k"')
    told = audit.lines(api.server, 1)[0]
    after = datetime.datetime.now(datetime.timezone.utc)
    assert re.match(audit.TIME, told["time"])
    at = datetime.datetime.strptime(
        told["time"], "%Y-%m-%dT%H:%M:%S.%f%z")
    assert before <= at <= after
    for name, form in (("key", audit.DIGEST), ("principal", audit.DIGEST),
                       ("fingerprint", audit.DIGEST), ("id", audit.ID)):
        assert re.match(form, told.pop(name)), name
    assert 0 < told.pop("duration") < 15e6
    assert len(told.pop("unique_id")) >= 16
    del told["time"]
    assert told == {"host": "api.test", "result": "executed",
                    "method": "POST", "status": 201, "client": "127.0.0.1",
                    "path": "/api/%s/orders" % api.tag}


def all_results(api):
    """[word, status] of requests that between them have every result."""
    told = []
    done = []

    def add(word, answer):
        assert answer.problem in (word, None)
        told.append([word, answer.status])
        done.extend(audit.lines(api.server, len(told))[len(done):])

    add("missing-key", api.post("=/must/%s/orders"))
    add("invalid-key", api.post("/orders", '"bad'))
    add("payload-too-large", api.post("/orders", '"l"', b"x" * 3000))
    add("executed", api.post("/orders", '"x"'))
    add("replayed", api.post("/orders", '"x"'))
    add("key-reused", api.post("/orders", '"x"', client.B2))
    add("released", api.post("/st/429", '"r"'))
    add("executed", api.post("/big/1100", '"b"'))
    add("response-not-retained", api.post("/big/1100", '"b"'))
    add("outcome-unknown", api.post("/cut", '"c"'))
    add("outcome-unknown", api.post("/cut", '"c"'))
    add("bypassed", api.post("/cgi/nph-c?", '"n"'))
    told[-1][1] = 200  # httpd does not see what an nph- script sends
    add("replayed", api.post("/orders", '"x"'))
    with api.conn() as conn:
        before = api.n
        conn.send(api.raw("POST", "/gate", '"g"'))
        api.wait_n(before + 1)
        add("in-progress", api.post("/gate", '"g"'))
        api.open_gate()
        add("executed", conn.answer())
    return told, done


def test_one_line_per_decision(own):
    """contract 5, 6: every result word, and no line for a plain pass"""
    api = own(conf=audit.LOG
              + '<Location "/must/">\nIdempotencyEngine On\n'
                'IdempotencyRequireKey On\n</Location>\n'
                'ProxyPass /must/ http://127.0.0.1:@BACKEND@/\n',
              location="IdempotencyMaxResponse 1k\n"
                       "IdempotencyMaxRequestBody 2k")
    api.server.start()
    api.expect_log("IDEM0020", "AH01102", "AH01110", "AH00898")
    api.post("/orders")
    api.send("GET", "/orders", '"x"')
    api.post("/off/orders", '"x"')
    wanted, found = all_results(api)
    assert [[t["result"], t["status"]] for t in found] == wanted


def test_a_full_store_is_told(own):
    """contract 5: store-unavailable"""
    api = own(store="shm size=1M path=none",
              conf=audit.LOG + "IdempotencyQuota 1")
    api.server.start()
    api.expect_log("IDEM0019")
    watch = audit.Watch(api)
    words = []
    for i in range(6):
        answer = watch.post("/big/4000", "q%d" % i)
        words.append(answer.problem or "executed")
        assert answer.line["result"] == words[-1]
    assert "store-unavailable" in words


def test_one_key_is_found_over_principals(own):
    """issue 5.4: the digest of the key is without the principal"""
    api = own(conf=audit.LOG)
    api.server.start()
    watch = audit.Watch(api)
    watch.post("/orders", '"k"', user="Bearer a")
    watch.post("/orders", '"k"', user="Bearer b")
    watch.post("/orders", '"k"', user="Bearer a")
    watch.post("/orders", '"other"', client.B2, user="Bearer a")
    a, b, again, other = watch.found
    assert a["key"] == b["key"] == again["key"] != other["key"]
    assert a["principal"] == again["principal"] == other["principal"]
    assert a["principal"] != b["principal"]
    assert a["id"] == again["id"] and len({a["id"], b["id"],
                                           other["id"]}) == 3
    assert a["fingerprint"] == b["fingerprint"] == again["fingerprint"]
    assert a["fingerprint"] != other["fingerprint"]
    assert again["result"] == "replayed" and b["result"] == "executed"


def test_the_id_is_that_of_the_error_log(own):
    """docs: the first 16 digits stand in the error log"""
    api = own(conf=audit.LOG, level="debug")
    api.server.start()
    api.post("/orders", '"k"')
    told = audit.lines(api.server, 1)[0]
    assert "key %s: executed" % told["id"][:16] in api.server.log()


def test_a_payment_is_traced_from_its_retry(own):
    """issue 5.4: a replay carries the original's UNIQUE_ID and time"""
    api = own(conf=audit.LOG + TRACE, extra=UNIQUE,
              location="IdempotencyMaxResponse 1k")
    api.server.start()
    watch = audit.Watch(api)
    for path in ("/orders", "/orders", "/big/2000", "/big/2000"):
        watch.post(path, '"%s"' % path.strip("/")[:3])
    first, again, big, not_kept = watch.found
    assert again["result"] == "replayed"
    assert not_kept["result"] == "response-not-retained"
    for one, two in ((first, again), (big, not_kept)):
        assert "original_id" not in one and "original_time" not in one
        assert two["original_id"] == one["unique_id"] != two["unique_id"]
        assert re.match(audit.TIME, two["original_time"])
        assert two["original_time"] <= one["time"] < two["time"]
    # The same in an access log, in the order in which requests were done
    # with.
    def trace():
        return sorted(line.split()[:3] for line in
                      api.server.read_log("logs/trace.log").splitlines())
    assert wait_until(lambda: len(trace()) == 4)
    assert trace() == sorted([
        [first["unique_id"], "executed", "-"],
        [again["unique_id"], "replayed", first["unique_id"]],
        [big["unique_id"], "executed", "-"],
        [not_kept["unique_id"], "response-not-retained", big["unique_id"]]])


def test_without_unique_ids(own):
    api = own(conf=audit.LOG)
    api.server.start()
    watch = audit.Watch(api)
    watch.post("/orders", '"k"')
    watch.post("/orders", '"k"')
    first, again = watch.found
    assert "unique_id" not in first and "original_id" not in again
    assert again["original_time"]


def test_behind_a_front_controller(own):
    """One line per client request, with the path that the client sent"""
    api = own(conf=audit.LOG, extra=UNIQUE)
    api.server.file("htdocs/app/.htaccess",
                    "RewriteEngine On\nRewriteRule . /php/c.php?t=%s [L]\n"
                    % api.tag)
    api.server.start()
    watch = audit.Watch(api)
    watch.post("/app/pay", '"k"')
    watch.post("/app/pay", '"k"')
    assert api.runs == 1
    first, again = watch.found
    assert first["result"] == "executed" and again["result"] == "replayed"
    assert first["path"] == again["path"] == "/app/pay"
    assert again["original_id"] == first["unique_id"]


def test_keys_are_written_only_on_demand(own):
    """contract 6, S-09: the text of no key unless keys=on"""
    keys = ['"needle-quoted"', "needle-bare", '"needle bad" x']
    for conf, told in ((audit.LOG, 0), (audit.LOG_KEYS, 2),
                       (audit.LOG.strip() + " keys=off\n", 0)):
        api = own(conf=conf)
        api.server.start()
        watch = audit.Watch(api)
        for key in keys:
            watch.post("/orders?key=needle-query", key)
        text = b"".join(audit.raw_lines(api.server)).count(b"needle")
        assert text == told
        assert [t.get("key_text") for t in watch.found] == (
            ["needle-quoted", "needle-bare", None] if told else [None] * 3)


def test_a_torn_body_is_no_decision(own):
    """docs: nothing was decided, so nothing is told"""
    api = own(conf=audit.LOG)
    api.server.start()
    with api.conn() as conn:
        conn.send(api.raw("POST", "/orders", '"t"')[:-3])
        conn.sock.shutdown(1)
        assert conn.answer().status == 400
    api.post("/orders", '"t"')
    assert [t["result"] for t in audit.lines(api.server, 1)] == ["executed"]
    is_problem(api.post("/orders", '"t"', client.B2), 422, "key-reused")
    assert api.n == 1


def test_gone_clients_are_told_of(own):
    """case 1: the line says what became of the request"""
    api = own(conf=audit.LOG)
    api.server.start()
    conn = api.conn().send(api.raw("POST", "/gate", '"g"'))
    api.wait_n()
    conn.reset()
    api.open_gate()
    told = audit.lines(api.server, 1)[0]
    assert told["result"] == "executed" and told["status"] == 201


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize("source, request_", [
    ("form:k", {"body": b"k=%22%7D%5C%7B%27+x&a=1", "ctype": FORM}),
    ("query:k", {"query": "?k=%22%7D%5C%7B%27+x"}),
    ("json:/k", {"body": b'{"k":"\\"}\\\\{\' x"}',
                 "ctype": "application/json"}),
    ("header:X-Key", {"fields": [("X-Key", '"\\"}\\\\{\' x"')]}),
])
def test_keys_of_other_sources(own, source, request_):
    """contract 5: the same key text, whole and escaped; nothing of it in the
    path, and nothing at all without keys=on"""
    more = dict(request_)
    query = more.pop("query", "")
    for conf in (audit.LOG_KEYS, audit.LOG):
        api = own(conf=conf, location="IdempotencyKeySource " + source)
        api.server.start()
        watch = audit.Watch(api)
        assert watch.post("/orders" + query, **more).status == 201
        assert watch.post("/orders" + query, **more).marked
        text = '"}\\{\' x' if conf == audit.LOG_KEYS else None
        for told in watch.found:
            assert told.get("key_text") == text
            assert told["path"] == "/api/%s/orders" % api.tag
        assert (b"}" + b"\\\\" in b"".join(audit.raw_lines(api.server))
                ) == bool(text)


def test_bodies_without_a_key_leave_no_line(own):
    """A plain pass, though its body was read"""
    api = own(conf=audit.LOG, location="IdempotencyKeySource form:k")
    api.server.start()
    watch = audit.Watch(api)
    assert api.post("/orders", body=b"a=1", ctype=FORM).status == 201
    watch.post("/orders", body=b"k=x", ctype=FORM)


def test_late_keys_are_told_of(own):
    """key-expired: by the time in the key, and by a tombstone"""
    api = own(conf=audit.LOG, location="IdempotencyMaxKeyAge 1h\n"
                                       "IdempotencyTTL 1\n"
                                       "IdempotencyTombstone 1h")
    api.server.start()
    watch = audit.Watch(api)
    is_problem(watch.post("/orders", uuid7(4000)), 412, "key-expired")
    watch.post("/orders", '"t"')
    time.sleep(1.3)
    is_problem(watch.post("/orders", '"t"'), 412, "key-expired")
    assert [told["result"] for told in watch.found] == [
        "key-expired", "executed", "key-expired"]
    assert watch.found[1]["id"] == watch.found[2]["id"]


def test_waiters_are_told_of(own):
    """One line each; the duration has the time that it waited"""
    api = own(conf=audit.LOG, location="IdempotencyWait 60", extra=UNIQUE)
    api.server.start()
    with api.conn() as one, api.conn() as two:
        one.send(api.raw("POST", "/gate", '"w"'))
        api.wait_n()
        two.send(api.raw("POST", "/gate", '"w"'))
        assert are_waiting(api, 1)
        time.sleep(0.6)
        api.open_gate()
        assert not one.answer().marked and two.answer().marked
    found = {told["result"]: told for told in audit.lines(api.server, 2)}
    first, again = found["executed"], found["replayed"]
    assert again["original_id"] == first["unique_id"]
    assert again["duration"] >= 500000 and first["duration"] >= 500000


def test_streams_are_told_of(own):
    """Whole, torn, and left by the client"""
    api = own(conf=audit.LOG, location="IdempotencyDelivery stream")
    api.server.start()
    api.expect_log("AH01102", "AH01110", "AH00898", "AH01097", "AH00574",
                   "AH01086")
    watch = audit.Watch(api)
    assert len(watch.post("/drip", '"s"').body) == 10240
    with api.conn() as conn:
        conn.send(api.raw("POST", "/drip", '"gone"'))
        conn.answer_head()
        conn.reset()
    told = audit.lines(api.server, 2)[1]
    assert told["result"] == "executed" and told["status"] == 200


def test_the_applications_word_is_told_of(own):
    """O-12: Idempotency-Record: no"""
    api = own(conf=audit.LOG)
    api.server.start()
    assert audit.Watch(api).post("/word/no", '"n"').line["result"] \
        == "released"


@pytest.mark.mpms("worker", "event")
def test_requests_over_h2(own):
    """One line per stream, once it has ended"""
    api = own(conf=audit.LOG + "Protocols h2c http/1.1", extra=("http2",))
    api.server.start()
    with Client(api.port) as h2c:
        for _ in range(3):
            assert h2c.post(api, "/orders", '"h2"').status == 201
        found = audit.lines(api.server, 3)
    assert sorted(told["result"] for told in found) == [
        "executed", "replayed", "replayed"]
    assert {told["status"] for told in found} == {201}
