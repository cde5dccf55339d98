# test_store.py: limits of the store (conformance 1.10, cases 27, 54).
# SPDX-License-Identifier: Apache-2.0
import pytest
from client import is_problem
from rig import wait_until

BIG_FIELDS = b"".join(b"X-F%d: %s\r\n" % (i, b"v" * 3200) for i in range(20))


def fill(api):
    """New keys until the store refuses one; the keys that were run."""
    ran = []
    for size, count in ((200000, 8), (20000, 60), (2000, 300), (10, 20000)):
        with api.conn() as conn:
            for i in range(count):
                key = "fill-%d-%d" % (size, i)
                answer = conn.send(api.raw("POST", "/big/%d" % size,
                                           key)).answer()
                if answer.status == 503:
                    if size == 10:
                        return ran, answer
                    break
                assert answer.status == 200
                ran.append((size, key))
                if answer.get("Connection") == "close":
                    conn.close()
                    conn.__init__(api.port)
    raise AssertionError("the store took everything")


def test_full_store_refuses(own):
    """C-01, C-02, case 54"""
    api = own(store="shm size=1M path=none",
              conf='<Location "/byp/">\nIdempotencyEngine On\n'
                   'IdempotencyStoreFailure bypass\n</Location>\n'
                   'ProxyPass /byp/ http://127.0.0.1:@BACKEND@/\n'
                   'KeepAliveTimeout 10\nMaxKeepAliveRequests 0')
    api.server.start()
    api.expect_log("IDEM0013", "IDEM0019", "IDEM0025")
    with api.conn(60) as running:
        running.send(api.raw("POST", "/gate", '"live"'))
        api.wait_n()
        assert api.post("/orders", '"early"').json == {"id": 2}
        ran, refused = fill(api)
        is_problem(refused, 503, "store-unavailable")
        assert int(refused.get("Retry-After")) >= 1
        assert refused.json["retryable"] is True
        before = api.n
        assert before == len(ran) + 2
        assert wait_until(lambda: "IDEM0025" in api.server.log(), 3)
        for i in range(3):
            is_problem(api.post("/orders", "more-%d" % i), 503,
                       "store-unavailable")
        assert api.n == before
        # What is there stays there: finished records and the running claim.
        again = api.post("/orders", '"early"')
        assert again.marked and again.json == {"id": 2}
        is_problem(api.post("/gate", '"live"'), 409, "in-progress")
        for size, key in ran[:5] + ran[-5:]:
            again = api.post("/big/%d" % size, key)
            assert again.marked or again.problem == "response-not-retained"
        assert api.n == before
        # Open by choice.
        for _ in range(2):
            answer = api.post("=/byp/%s/orders", '"open"')
            assert answer.status == 201 and not answer.marked
        assert api.n == before + 2
        api.open_gate()
        assert running.answer().status == 201
    after = api.post("/gate", '"live"')
    assert after.marked or after.problem == "response-not-retained"
    assert "IDEM0013" in api.server.new_log()
    numbers = api.server.status()
    assert numbers["StoreUnavailable"] >= 4 and numbers["Bypassed"] == 2


@pytest.mark.parametrize("path", ["/big/%d", "/cgi/c?status=200&bytes=%d",
                                  "/php/c.php?status=200&bytes=%d"])
def test_answer_over_the_limit(site, path):
    """C-03, case 27"""
    api = site(location="IdempotencyMaxResponse 1k")
    for size in (1023, 1024):
        first = api.post(path % size, "k%d" % size)
        again = api.post(path % size, "k%d" % size)
        assert len(first.body) == size and again.body == first.body
        assert again.marked and not first.marked
    runs = api.n + api.runs
    first = api.post(path % 1025, "k1025")
    assert first.status == 200 and len(first.body) == 1025
    for _ in range(2):
        told = is_problem(api.post(path % 1025, "k1025"), 409,
                          "response-not-retained")
        assert told.get("Retry-After") is None
        assert told.json["retryable"] is False
        assert told.json["original_status"] == 200
        assert told.get("Location") == first.get("Location")
    assert api.n + api.runs == runs + 1


def test_long_answer_over_the_limit(site):
    """C-03, case 27: far over, in many pieces"""
    api = site(location="IdempotencyMaxResponse 64K")
    for path in ("/big/1000000", "/cgi/c?bytes=1000000",
                 "/php/c.php?bytes=1000000"):
        row = api.fresh()
        assert len(row.post(path, "k").body) == 1000000
        is_problem(row.post(path, "k"), 409, "response-not-retained")
        assert row.n + row.runs == 1


def test_drip(site):
    """case 29: chunks with pauses come back whole"""
    api = site()
    first = api.post("/drip", "k")
    again = api.post("/drip", "k")
    assert len(first.body) == 10240 and first.body == again.body
    assert again.marked and api.n == 1


def test_fields_count_towards_the_limit(site):
    """C-05"""
    api = site(location="IdempotencyMaxResponse 8K")
    api.backend.raw[api.tag] = (b"HTTP/1.1 201 Created\r\n" + BIG_FIELDS
                                + b"Content-Length: 2\r\n\r\nok")
    first = api.post("/raw", "k")
    assert first.status == 201 and len(first.get("X-F19")) == 3200
    told = is_problem(api.post("/raw", "k"), 409, "response-not-retained")
    assert told.json["original_status"] == 201
    assert api.n == 1


def test_long_fields_within_the_limit(api):
    """C-05"""
    api.backend.raw[api.tag] = (b"HTTP/1.1 201 Created\r\n" + BIG_FIELDS
                                + b"Content-Length: 2\r\n\r\nok")
    api.post("/raw", "k")
    again = api.post("/raw", "k")
    assert again.marked and len(again.get("X-F19")) == 3200
