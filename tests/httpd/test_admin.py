# test_admin.py: single keys: list, show, export, release, purge.
# SPDX-License-Identifier: Apache-2.0
import json
import re
import time
import urllib.parse

import pytest
from client import is_problem
from pages import (ADMIN, HOSTS, USERS, act, get, listed, metrics, post, show,
                   status)


@pytest.fixture
def api(admin):
    return admin


# -------------------------------------------------------------------- show

def test_show_by_key(api):
    """issue 5, 3: state, times, status, names of fields; nothing else"""
    first = api.post("/orders", '"order-1"')
    for key in ("order-1", '"order-1"'):
        answer = show(api, key)
        assert answer.status == 200, answer
        told = answer.json
        assert told["state"] == "done"
        assert told["host"] == "api.test:%d" % api.port
        assert re.match(r"[0-9a-f]{64}$", told["id"])
        assert re.match(r"20\d\d-.*Z$", told["created"])
        assert 0 <= told["age_seconds"] < 60
        assert told["expires"] > told["created"]
        assert told["answer"]["status"] == 201
        assert told["answer"]["body_bytes"] == len(first.body)
        assert len(told["answer"]["original_id"]) > 20
        names = {name.lower() for name in told["answer"]["fields"]}
        assert {"location", "etag", "content-type"} <= names
        assert b"/orders/1" not in answer.body
        assert b"Bearer" not in answer.body
    assert show(api, "order-2").status == 404


def test_show_every_state(api):
    """issue 5, 3"""
    api.expect_log("AH01102", "AH00898")
    api.post("/nohdr", "u")
    assert show(api, "u").json["state"] == "unknown"
    assert show(api, "u").json["answer"] is None
    with api.conn() as conn:
        conn.send(api.raw("POST", "/gate", "g"))
        api.wait_n(2)
        told = show(api, "g").json
        assert told["state"] == "executing" and told["expires"] is None
        api.open_gate()
        conn.answer()
    assert show(api, "g").json["state"] == "done"


def test_show_by_principal(own):
    """issue 5, 3: what a client was known by, in words"""
    api = own(conf=ADMIN + "IdempotencyPrincipal credentials "
              "cookie:sess_* header:X-Account ip\n" + HOSTS)
    api.server.start()
    api.post("/orders", "k", user=None, fields=[
        ("Cookie", "a=b; sess_1=xyz"), ("X-Account", "7")])
    right = ["cookie:sess_1=xyz", "header:x-account=7", "ip:127.0.0.1"]
    answer = show(api, "k", principal=right)
    assert answer.status == 200, answer
    for i in range(3):
        wrong = show(api, "k", principal=right[:i] + right[i + 1:])
        assert wrong.status == 404
        assert "sess_*" in wrong.json["detail"]
    api.post("/orders", "l")
    assert show(api, "l", principal=[
        "authorization:Bearer " + api.tag, "ip:127.0.0.1"]).status == 200
    # Where a section has another IdempotencyPrincipal, it can be said.
    assert show(api, "l", parts="credentials", principal=[
        "authorization:Bearer " + api.tag]).status == 404
    for text, works in (("tls:x", "header:X-Account"), ("cookie:b=1", "sess"),
                        ("cookie:sess_1", "PHPSESSID=xyz"),
                        ("alice", "user:")):
        answer = show(api, "k", principal=text)
        assert answer.status == 400 and text in answer.json["detail"]
        assert works in answer.json["detail"]
    assert show(api, "k", parts="nobody").status == 400


def test_show_by_user_and_expression(own):
    api = own(conf=ADMIN + '<Location "/api/">\nAuthType Basic\nAuthName a\n'
              "AuthBasicProvider file\nAuthUserFile @ROOT@/users\n"
              'Require valid-user\nIdempotencyPrincipal credentials '
              '"expr:%{REQUEST_METHOD}"\n</Location>')
    api.server.file("users", "alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n")
    api.server.start()
    api.post("/orders", "k", user="Basic YWxpY2U6c2VjcmV0")
    assert api.n == 1
    parts = "credentials expr:%{REQUEST_METHOD}"
    assert show(api, "k", parts=parts, principal=[
        "user:alice", "expr:POST"]).status == 200
    assert show(api, "k", parts=parts, principal=[
        "user:bob", "expr:POST"]).status == 404


def test_show_by_id(api):
    """the id of a list, or the 16 digits of a log line"""
    api.post("/orders", "k")
    full = listed(api)[0]["id"]
    for text in (full, full.upper(), full[:16]):
        answer = get(api, "/admin", action="show", id=text)
        assert answer.status == 200 and answer.json["id"] == full
    for text, code in ((full[:15], 400), ("x" * 64, 400), ("0" * 16, 404),
                       ("0" * 64, 404)):
        answer = get(api, "/admin", action="show", id=text)
        assert answer.status == code, answer
        assert "works" in answer.json or code == 404


# -------------------------------------------------------------------- hosts

def test_hosts_by_any_name(api):
    api.post("/orders", "k", host="other.test")
    port = api.port
    for name in ("other.test", "OTHER.test", "other.test:%d" % port,
                 "www.other.test"):
        assert show(api, "k", host=name).status == 200, name
    assert show(api, "k", host="api.test:%d" % port).status == 404
    wrong = show(api, "k", host="nobody.test")
    assert wrong.status == 400
    assert "other.test:%d" % port in wrong.json["detail"]
    assert get(api, "/admin", action="show", key="k").status == 400


def test_hosts_that_share_a_name(own):
    """of several virtual hosts with a name, the one is found that has the
    key"""
    api = own(conf=ADMIN + HOSTS
        + "<VirtualHost 127.0.0.2:@PORT@>\nServerName other.test\n"
          "</VirtualHost>\n<VirtualHost 127.0.0.1:1>\nServerName other.test"
          "\n</VirtualHost>\n")
    api.server.start()
    api.post("/orders", "k", host="other.test")
    told = show(api, "k", host="other.test")
    assert told.status == 200
    assert told.json["host"] == "other.test:%d" % api.port
    names = {row["host"] for row in status(api)["hosts"]}
    assert len(names) == len(status(api)["hosts"]) == 5
    metrics(api)
    assert show(api, "k", host="other.test:1").status == 404
    assert len(listed(api, host="other.test")) == 1
    assert act(api, "purge", host="other.test:1").json == {"purged": 0}
    assert act(api, "purge", host="other.test").json == {"purged": 1}


# --------------------------------------------------------- list and export

def fill(api):
    api.expect_log("AH01102", "AH00898")
    for i in range(5):
        api.post("/orders", "d%d" % i)
    api.post("/nohdr", "u1")
    api.post("/nohdr", "u2", host="other.test")
    for i in range(3):
        api.post("/orders", "o%d" % i, host="other.test")


def test_list(api):
    """issue 5, 3: by host, state, age; page by page"""
    fill(api)
    assert len(listed(api)) == 10
    assert len(listed(api, limit=3)) == 10
    assert len(listed(api, host="other.test")) == 4
    assert len(listed(api, state="unknown")) == 2
    mine = "api.test:%d" % api.port
    assert {row["host"] for row in listed(api, host=mine)} == {mine}
    assert len(listed(api, host=mine, state="done", limit=2)) == 5
    assert listed(api, state="executing") == []
    time.sleep(3.1)
    api.post("/orders", "young")
    assert len(listed(api, older="3s")) == 10
    assert len(listed(api, older="1h")) == 0
    assert len(listed(api, older="0")) == 11
    for wrong in ({"state": "gone"}, {"older": "soon"},
                  {"older": "5sausages"}, {"limit": "0"}, {"limit": "99999"},
                  {"cursor": "x"}, {"host": "nobody"},
                  {"sate": "done"}, {"host": "sum:xyz"}):
        answer = get(api, "/admin?action=list&" + urllib.parse.urlencode(
            wrong))
        assert answer.status == 400, wrong
        assert answer.json["detail"]


def test_list_of_thousands(own):
    """every record once, whatever the size of the pages"""
    api = own(conf=ADMIN)
    api.server.start()
    with api.conn() as conn:
        for i in range(1500):
            if conn.send(api.raw("POST", "/orders", "k%d" % i)).answer() \
                    .get("Connection") == "close":
                conn.close()
                conn.__init__(api.port)
    assert len(listed(api)) == 1500
    assert len(listed(api, limit=7)) == 1500
    assert len(listed(api, limit=10000)) == 1500


def test_export(api):
    """issue 5, 3: JSON lines, all records, no bodies"""
    fill(api)
    answer = get(api, "/admin", action="export")
    assert answer.status == 200
    assert answer.get("Content-Type") == "application/x-ndjson"
    rows = [json.loads(line) for line in answer.body.decode().splitlines()]
    assert len(rows) == 10
    done = [row for row in rows if row["state"] == "done"]
    assert len(done) == 8
    for row in done:
        assert row["answer"]["status"] == 201
        assert row["answer"]["original_id"]
    assert b'{"id":1}' not in answer.body.replace(b" ", b"")
    assert {row["id"] for row in rows} == {row["id"] for row in listed(api)}
    some = get(api, "/admin?action=export&state=unknown&host=other.test")
    assert len(some.body.decode().splitlines()) == 1


# ------------------------------------------------------- release and purge

def test_release(api):
    """issue 5, 3: the next request with the key runs"""
    api.post("/orders", "k")
    assert api.post("/orders", "k").marked
    mine = "api.test:%d" % api.port
    who = "authorization:Bearer " + api.tag
    answer = act(api, "release", key="k", host=mine, principal=who)
    assert answer.status == 200, answer
    assert answer.json["released"] is True and answer.json["was"] == "done"
    again = api.post("/orders", "k")
    assert not again.marked and api.n == 2
    # By id; and what is gone is gone.
    told = act(api, "release", id=listed(api)[0]["id"])
    assert told.status == 200
    assert act(api, "release", id=told.json["id"]).status == 404
    assert act(api, "release", key="k", host=mine,
               principal=who).status == 404
    log = [line for line in api.server.new_log().splitlines()
           if "IDEM0042" in line]
    assert len(log) == 2
    assert told.json["id"][:16] in log[1] and ":notice]" in log[1]
    assert "nobody from 127.0.0.1" in log[1]


def test_release_says_who(api):
    """issue 5, 3: user and address in log and audit log"""
    basic = [("Authorization", "Basic YWxpY2U6c2VjcmV0")]
    api.server.write(conf=ADMIN + USERS + HOSTS
                     + "IdempotencyAuditLog @ROOT@/logs/audit.log\n")
    api.server.stop()
    api.server.start()
    api.post("/orders", "k")
    full = listed(api)[0]["id"]
    mine = get(api, "/closed", action="token", fields=basic).json["token"]
    answer = post(api, "/closed", action="release", id=full, token=mine,
                  fields=basic)
    assert answer.status == 200, answer
    assert re.search(r"IDEM0042: key %s of api\.test:\d+, which was done, "
                     r"was released by alice from 127\.0\.0\.1" % full[:16],
                     api.server.new_log())
    rows = [json.loads(line) for line in
            api.server.read_log("logs/audit.log").splitlines()]
    rows = [row for row in rows if row.get("action")]
    assert len(rows) == 1 and rows[0]["action"] == "release"
    assert rows[0]["user"] == "alice" and rows[0]["was"] == "done"
    assert rows[0]["id"] == full


def test_release_during_a_running_request(api):
    """L-05: a second run starts; the record is the second's; both clients
    are answered"""
    mine = "api.test:%d" % api.port
    who = "authorization:Bearer " + api.tag
    with api.conn() as first:
        first.send(api.raw("POST", "/each", "k"))
        api.wait_n(1)
        is_problem(api.post("/each", "k"), 409, "in-progress")
        answer = act(api, "release", key="k", host=mine, principal=who)
        assert answer.status == 200 and answer.json["was"] == "executing"
        with api.conn() as second:
            second.send(api.raw("POST", "/each", "k"))
            api.wait_n(2)
            is_problem(api.post("/each", "k"), 409, "in-progress")
            api.backend.gate(api.tag + ".1").set()
            one = first.answer()
            assert one.status == 201 and not one.marked
            # The late finisher neither stored nor freed anything.
            is_problem(api.post("/each", "k"), 409, "in-progress")
            api.backend.gate(api.tag + ".2").set()
            two = second.answer()
            assert two.status == 201 and not two.marked
    assert api.n == 2
    assert {one.body, two.body} == {b'{"id":1}', b'{"id":2}'}
    again = api.post("/each", "k")
    assert again.marked and again.body == two.body
    assert "IDEM0017" in api.server.new_log()


def test_purge(api):
    """issue 5, 3: one virtual host, or some of its records"""
    fill(api)
    mine = "api.test:%d" % api.port
    assert act(api, "purge", host=mine, state="unknown").json == {"purged": 1}
    assert act(api, "purge", host=mine, older="1h").json == {"purged": 0}
    assert len(listed(api)) == 9
    with api.conn() as conn:
        conn.send(api.raw("POST", "/gate", "g"))
        api.wait_n(10)
        assert act(api, "purge", host=mine).json == {"purged": 5}
        assert [row["state"] for row in listed(api, host=mine)] == [
            "executing"]
        assert act(api, "purge", host=mine,
                   state="executing").json == {"purged": 1}
        api.open_gate()
        assert conn.answer().status == 201
    assert listed(api, host=mine) == []
    assert len(listed(api, host="other.test")) == 4
    assert not api.post("/orders", "d1").marked
    # Nothing is purged by a request that does not say of which host, or
    # that is misspelt.
    for wrong in ({}, {"host": "nobody"}, {"host": mine, "sate": "unknown"},
                  {"host": [mine, "other.test"]},
                  {"host": mine, "state": "gone"}):
        assert act(api, "purge", **wrong).status == 400, wrong
    assert len(listed(api)) == 5
    assert api.server.new_log().count("IDEM0041") == 4
