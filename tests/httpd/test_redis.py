# test_redis.py: one httpd on Redis: what holds of every store, and what
# becomes of requests when Redis is not as it should be.
# SPDX-License-Identifier: Apache-2.0
import signal
import time

import client
import pytest
import redisrig
import rig
from client import is_problem
from rig import wait_until

QUICK = ("connect=100ms", "timeout=200ms", "lease=2s")


@pytest.fixture
def redis():
    server = redisrig.Redis().start()
    yield server
    server.close()


@pytest.fixture
def start(own, redis):
    """start(options...) -> Api on a server that keeps its keys in Redis"""
    def get(*options, url=None, conf="", **more):
        api = own(store=redis.store(*(options or QUICK), url=url),
                  conf=redisrig.LOAD + "\n" + conf, **more)
        # It keeps nothing on disk.
        api.expect_log("IDEM0101")
        api.server.start()
        return api
    return get


def test_claim_replay_reuse(start, redis):
    api = start()
    first = api.post("/orders", '"k"')
    assert first.status == 201 and not first.marked
    again = api.post("/orders", '"k"')
    assert again.marked and again.body == first.body
    assert again.get("Location") == first.get("Location")
    is_problem(api.post("/orders", '"k"', client.B2), 422, "key-reused")
    assert api.n == 1
    assert redis.do("DBSIZE") == 1
