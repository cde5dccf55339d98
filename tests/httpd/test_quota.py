# test_quota.py: one tenant cannot use up the store (S-11, case 31).
# SPDX-License-Identifier: Apache-2.0
from client import is_problem

HOSTS = """\
<VirtualHost 127.0.0.1:@PORT@>
    ServerName api.test
</VirtualHost>
<VirtualHost 127.0.0.1:@PORT@>
    ServerName greedy.test
    IdempotencyQuota 25
</VirtualHost>"""


def flood(api):
    """New keys of the greedy host until one is refused."""
    with api.conn(60) as conn:
        for i in range(2000):
            answer = conn.send(api.raw("POST", "/big/5000", "g%d" % i,
                                       host="greedy.test")).answer()
            if answer.status != 200:
                return i, answer
    raise AssertionError("the quota was never reached")


def test_a_host_is_held_to_its_quota(own):
    """S-11"""
    api = own(store="shm size=1M path=none",
              conf=HOSTS + "\nMaxKeepAliveRequests 0")
    api.server.start()
    assert api.post("/orders", '"mine"').json == {"id": 1}
    ran, refused = flood(api)
    is_problem(refused, 503, "store-unavailable")
    assert int(refused.get("Retry-After")) >= 1
    # A quarter of 1M is filled by about 50 answers of 5000 bytes.
    assert 20 <= ran <= 60
    before = api.n
    # What the greedy host has recorded is still replayed.
    again = api.post("/big/5000", "g0", host="greedy.test")
    assert again.marked and len(again.body) == 5000
    # The other host notices nothing: old records and new keys.
    assert api.post("/orders", '"mine"').marked
    assert api.post("/orders", '"new"').status == 201
    assert api.n == before + 1


def test_bad_values_stop_the_start(own):
    for value in ("0", "101", "many", "-1"):
        api = own(conf="IdempotencyQuota " + value)
        status, said = api.server.check()
        assert status != 0
        assert value in said and "25" in said
