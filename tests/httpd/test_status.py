# test_status.py: the numbers of the handler idempotency-status.
# SPDX-License-Identifier: Apache-2.0
import json
import re
import time

import client
import openmetrics
import pytest
from client import is_problem
from pages import ADMIN, HOSTS, get, metrics, status
from rig import wait_until
from test_wait import are_waiting

EVERY = """
<Location "/need/">
    IdempotencyEngine On
    IdempotencyRequireKey On
</Location>
<Location "/small/">
    IdempotencyEngine On
    IdempotencyMaxRequestBody 4
    IdempotencyMaxResponse 4
</Location>
<Location "/late/">
    IdempotencyEngine On
    IdempotencyTTL 200ms
    IdempotencyTombstone 1h
</Location>
ProxyPass /small/ http://127.0.0.1:@BACKEND@/
ProxyPass /late/ http://127.0.0.1:@BACKEND@/
"""
WORDS = ["executed", "released", "replayed", "bypassed", "missing-key",
         "invalid-key", "payload-too-large", "key-reused", "in-progress",
         "response-not-retained", "outcome-unknown", "key-expired",
         "store-unavailable"]


def send_some(api):
    """What each result word was sent, and what look-ups found."""
    api.expect_log("AH01102", "AH00898", "IDEM0020")
    for _ in range(3):
        api.post("/orders", "a")              # executed, replayed twice
    api.post("/orders", "b")                  # executed
    api.post("/orders", "b", client.B2)       # reused
    api.post("/st/503", "c")                  # released
    api.post("/orders", '"broken')            # invalid
    api.post("=/need/x?t=%s", None)           # missing
    api.post("=/small/%s/orders", "d")        # too large
    api.post("=/small/%s/big/9", "e", b"1")   # executed, not retained
    api.post("=/small/%s/big/9", "e", b"1")   # not retained
    api.post("/nohdr", "f")                   # unknown
    api.post("/nohdr", "f")                   # unknown again
    with api.conn() as conn:
        conn.send(api.raw("POST", "/gate", "g"))
        api.wait_n(6)
        is_problem(api.post("/gate", "g"), 409, "in-progress")
        api.open_gate()
        assert conn.answer().status == 201    # executed
    api.post("/cgi/nph-x", "h")               # bypassed
    api.post("=/late/%s/orders", "i")         # executed
    time.sleep(0.4)
    api.post("=/late/%s/orders", "i")         # expired
    api.post("/orders", None)                 # no key: not counted
    requests = dict.fromkeys(WORDS, 0)
    requests.update({
        "executed": 5, "replayed": 2, "released": 1, "key-reused": 1,
        "invalid-key": 1, "missing-key": 1, "payload-too-large": 1,
        "response-not-retained": 1, "outcome-unknown": 2, "in-progress": 1,
        "bypassed": 1, "key-expired": 1})
    lookups = {"new": 7, "done": 2, "reused": 1, "not-retained": 1,
               "unknown": 1, "in-progress": 1, "expired": 1}
    return requests, lookups


@pytest.fixture
def counted(own):
    api = own(conf=ADMIN + EVERY + HOSTS)
    api.server.file("cgi/nph-x", "#!/bin/sh\ncat >/dev/null\nprintf "
                    "'HTTP/1.0 200 OK\\r\\n\\r\\nx'\n", 0o755)
    api.server.start()
    return api


def test_counts_are_what_was_sent(counted):
    """issue 5, 1: every result word, every finding, in all forms"""
    requests, lookups = send_some(counted)
    told = status(counted)
    assert told["scope"] == "server"
    assert told["requests"] == requests
    assert told["lookups"] == lookups
    found = metrics(counted)
    for word, n in requests.items():
        assert openmetrics.value(
            found, "idempotency_requests_total", result=word,
            host="api.test:%d" % counted.port) == n, word
    for word, n in lookups.items():
        assert openmetrics.value(
            found, "idempotency_lookups_total", found=word,
            host="api.test:%d" % counted.port) == n, word
    auto = counted.server.status()
    for word, n in requests.items():
        name = "".join(part.capitalize() for part in word.split("-"))
        assert auto[name] == n, word


def test_the_four_shares(counted):
    """issue 5, 1: as docs/mod_idempotency.md defines them"""
    send_some(counted)
    told = status(counted)["rates"]
    for span in ("last_hour", "since_start"):
        shares = {name: (row["part"], row["of"])
                  for name, row in told[span].items()}
        assert shares == {"duplicate": (7, 14), "answered": (2, 6),
                          "replay": (2, 14), "reuse": (1, 14)}
        assert told[span]["duplicate"]["share"] == 0.5
    found = metrics(counted)
    host = "api.test:%d" % counted.port
    assert openmetrics.value(found, "idempotency_answered_ratio",
                             host=host) == 0.333333
    with pytest.raises(KeyError):
        openmetrics.value(found, "idempotency_answered_ratio",
                          host="other.test:%d" % counted.port)


def test_a_full_store_is_counted(own):
    """issue 5, 1: store-unavailable, and the store's own numbers"""
    api = own(conf=ADMIN, store="shm size=1M path=none")
    api.server.start()
    api.expect_log("IDEM0019", "IDEM0025")
    refused = kept = 0
    for i in range(300):
        answer = api.post("/big/60000", "k%d" % i)
        refused += answer.status == 503
        kept += answer.status == 200
    told = status(api)
    assert refused > 0
    assert told["requests"]["store-unavailable"] == refused
    assert told["requests"]["executed"] == kept
    assert told["lookups"]["new"] == kept
    store = told["store"]
    assert store["refused_claims"] == refused
    assert store["records"]["done"] + store["records"][
        "not-retained"] + store["records"]["unknown"] == kept
    assert store["used_bytes"] > store["size_bytes"] / 2
    found = metrics(api)
    assert openmetrics.value(
        found, "idempotency_store_refused_claims_total") == refused
    assert openmetrics.value(
        found, "idempotency_store_used_bytes") == store["used_bytes"]


def test_the_store_in_all_forms(own):
    """issue 5, 1: records, what ends next, what was freed, repairs"""
    api = own(conf=ADMIN, location="IdempotencyTTL 3")
    api.expect_log("IDEM0002", "AH00098")
    api.server.start()
    for key in "abc":
        api.post("/orders", key)
    store, found = status(api)["store"], metrics(api)
    assert store["records"]["done"] == 3
    assert openmetrics.value(found, "idempotency_store_records",
                             state="done") == 3
    assert openmetrics.value(found, "idempotency_store_size_bytes"
                             ) == store["size_bytes"]
    assert store["fill"] == pytest.approx(
        store["used_bytes"] / store["size_bytes"], abs=1e-4)
    assert store["freed_records"] == store["repairs"] == 0
    # The sweep has to come by.
    ends = wait_until(lambda: status(api)["store"]["next_expiry"], 3)
    assert re.match(r"20\d\d-.*Z$", ends)
    assert 0 <= openmetrics.value(
        metrics(api), "idempotency_store_next_expiry_seconds") <= 3
    assert wait_until(
        lambda: status(api)["store"]["freed_records"] == 3, 8)
    assert openmetrics.value(
        metrics(api), "idempotency_store_freed_records_total") == 3
    assert status(api)["store"]["records"]["done"] == 0
    assert wait_until(
        lambda: status(api)["store"]["next_expiry"] is None, 5)
    api.server.kill_all()
    api.server.start()
    repairs = status(api)["store"]["repairs"]
    assert repairs > 0
    assert openmetrics.value(
        metrics(api), "idempotency_store_repairs_total") == repairs


def test_a_waiter_is_looked_up_once(own):
    """issue 5, 1: however often it claims again"""
    api = own(conf=ADMIN, location="IdempotencyWait 60s")
    api.server.start()
    with api.conn() as first, api.conn() as second:
        first.send(api.raw("POST", "/gate", "k"))
        api.wait_n()
        second.send(api.raw("POST", "/gate", "k"))
        assert are_waiting(api, 1)
        time.sleep(0.7)
        told = status(api)
        assert (told["waiting"], told["waiting_max"]) == (1, 16)
        assert openmetrics.value(metrics(api), "idempotency_waiting") == 1
        assert openmetrics.value(metrics(api), "idempotency_waiting_max") == 16
        assert "<dt>Waiting</dt><dd>1 of 16</dd>" in get(
            api, "/admin", format="html").body.decode()
        api.open_gate()
        assert first.answer().status == 201
        assert second.answer().marked
    told = status(api)
    assert sum(told["lookups"].values()) == 2
    assert told["lookups"]["in-progress"] == 1
    assert told["requests"]["replayed"] == 1
    assert told["latency_seconds"]["replay"]["count"] == 1
    assert told["rates"]["last_hour"]["answered"]["share"] == 1


def test_latencies(counted):
    """issue 5, 1: a claim for each look-up, a commit for each result, a
    replay for each replay"""
    requests, lookups = send_some(counted)
    told = status(counted)["latency_seconds"]
    assert told["claim"]["count"] == sum(lookups.values())
    assert told["replay"]["count"] == requests["replayed"]
    # executed, and the first of unknown outcome; release stores nothing
    assert told["commit"]["count"] == requests["executed"] + 1
    for row in told.values():
        assert 0 < row["p50"] <= row["p90"] <= row["p99"] <= row["p999"] < 5
        assert row["p50"] * row["count"] / 4 < row["sum"] < 5
    found = metrics(counted)
    for name in told:
        name, row = "idempotency_%s_seconds" % name, told[name]
        assert openmetrics.value(found, name + "_count") == row["count"]
        assert openmetrics.value(found, name + "_sum") == row["sum"]
        assert openmetrics.value(found, name + "_bucket",
                                 le="+Inf") == row["count"]


def test_hosts_are_counted_apart(counted):
    """issue 5, 1 and 3"""
    counted.post("/orders", "a")
    counted.post("/orders", "a")
    for _ in range(3):
        counted.post("/orders", "a", host="www.other.test")
    told = status(counted)
    hosts = {row["host"]: row for row in told["hosts"]}
    one = hosts["api.test:%d" % counted.port]
    two = hosts["other.test:%d" % counted.port]
    assert one["requests"]["executed"] == two["requests"]["executed"] == 1
    assert one["requests"]["replayed"] == 1
    assert two["requests"]["replayed"] == 2
    assert told["requests"]["replayed"] == 3
    assert two["latency_seconds"]["claim"]["count"] == 3


def test_own_host_only(counted):
    """issue 5, 3: without permission nothing of others, nothing of the
    store"""
    counted.post("/orders", "a")
    for _ in range(3):
        counted.post("/orders", "secret-key", host="other.test")
    told = status(counted, "/own")
    assert told["scope"] == "host"
    assert told["host"] == "api.test:%d" % counted.port
    assert told["requests"]["executed"] == 1
    assert told["requests"]["replayed"] == 0
    assert "hosts" not in told and "store" not in told
    assert "used_bytes" not in told["history"]
    text = json.dumps(told) + get(counted, "/own",
                                  format="openmetrics").body.decode()
    assert "other.test" not in text and "idempotency_store" not in text
    assert status(counted, "/own", host="other.test")["requests"][
        "replayed"] == 2


def test_numbers_outlive_a_restart(counted):
    """issue 5, 1: graceful and restart keep them, a stop does not"""
    import signal
    counted.expect_log("AH00052", "AH00051")
    counted.post("/orders", "a")
    since = status(counted)["since"]
    for sig in (signal.SIGUSR1, signal.SIGHUP):
        counted.server.again(sig)
        assert wait_until(lambda: status(counted), 5)
        told = status(counted)
        assert told["requests"]["executed"] == 1
        assert told["since"] == since
    counted.server.stop()
    counted.server.start()
    assert status(counted)["requests"]["executed"] == 0


def test_the_last_hour(counted):
    """issue 5, 1: a sample each 10 s by the watchdog"""
    counted.post("/orders", "a")

    def steps():
        return [n for n in status(counted)["history"]["looked"]
                if n is not None]
    assert wait_until(lambda: len(steps()) >= 1, 30, 0.2)
    before = sum(steps())
    for _ in range(5):
        counted.post("/orders", "a")
    assert wait_until(lambda: sum(steps()) == before + 5, 30, 0.2)
    told = status(counted)["history"]
    assert sum(n or 0 for n in told["replayed"]) == 5
    assert told["step_seconds"] == 10 and len(told["looked"]) == 359
    assert [n for n in told["used_bytes"] if n][-1] > 0


def test_many_hosts(own):
    """issue 5, 1: the table is bounded; the rest share a row"""
    vhosts = "".join("<VirtualHost 127.0.0.1:@PORT@>\nServerName h%d.test\n"
                     "</VirtualHost>\n" % i for i in range(300))
    api = own(conf=ADMIN + vhosts)
    api.server.start()
    hosts = {row["host"]: row for row in status(api)["hosts"]}
    assert len(hosts) == 257
    apart = [i for i in range(300) if "h%d.test:%d" % (i, api.port) in hosts]
    rest = sorted(set(range(300)) - set(apart))
    assert len(apart) == 255  # and the main server
    for i in (apart[0], apart[-1], rest[0], rest[-1]):
        api.post("/orders", "a", host="h%d.test" % i)
        api.post("/orders", "a", host="h%d.test" % i)
    hosts = {row["host"]: row["requests"]["executed"]
             for row in status(api)["hosts"]}
    assert hosts["h%d.test:%d" % (apart[0], api.port)] == 1
    assert hosts["others"] == 2
    # A host that shares a row is not shown the numbers of those it shares
    # it with.
    own_view = status(api, "/own", host="h%d.test" % rest[0])
    assert own_view["counted_apart"] is False
    assert own_view["requests"]["executed"] == 0
    openmetrics.parse(get(api, "/admin", format="openmetrics"
                          ).body.decode())


def test_gone_hosts_make_room(own):
    """issue 5, 1: totals never go down"""
    import signal

    def vhosts(first, last):
        return ADMIN + "".join(
            "<VirtualHost 127.0.0.1:@PORT@>\nServerName h%d.test\n"
            "</VirtualHost>\n" % i for i in range(first, last))
    api = own(conf=vhosts(0, 250))
    api.server.start()
    for i in (100, 249):
        api.post("/orders", "a", host="h%d.test" % i)
    api.server.write(conf=vhosts(200, 450))
    api.server.again(signal.SIGUSR1)
    assert wait_until(lambda: "h449.test" in str(status(api)), 5)
    api.post("/orders", "b", host="h449.test")
    told = status(api)
    hosts = {row["host"]: row["requests"]["executed"]
             for row in told["hosts"]}
    assert hosts["h249.test:%d" % api.port] == 1
    assert hosts["h449.test:%d" % api.port] == 1
    assert hosts["others"] == 1
    assert told["requests"]["executed"] == 3


def test_status_takes_no_time(counted):
    """a page of 257 rows and an hour is made at once"""
    begin = time.monotonic()
    for _ in range(20):
        status(counted)
    assert time.monotonic() - begin < 10
