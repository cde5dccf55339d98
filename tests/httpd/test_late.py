# test_late.py: keys that are too old by their own time
# (IdempotencyMaxKeyAge).
# SPDX-License-Identifier: Apache-2.0
import time
import uuid

import pytest
from client import is_problem

BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def uuid7(age):
    """A UUIDv7 made so many seconds ago."""
    stamp = int((time.time() - age) * 1000) << 80
    rest = uuid.uuid4().int & ((1 << 74) - 1)
    return str(uuid.UUID(int=stamp | 7 << 76 | (rest >> 62) << 64
                         | 2 << 62 | rest & ((1 << 62) - 1)))


def ulid(age):
    """A ULID made so many seconds ago."""
    value = (int((time.time() - age) * 1000) << 80
             | uuid.uuid4().int & ((1 << 80) - 1))
    return "".join(BASE32[value >> 5 * i & 31] for i in range(25, -1, -1))


@pytest.mark.parametrize("make", [uuid7, ulid, lambda age: ulid(age).lower(),
                                  lambda age: '"%s"' % uuid7(age)])
def test_old_keys_are_refused(site, make):
    """contract 5: before anything runs"""
    api = site(location="IdempotencyMaxKeyAge 1h")
    told = is_problem(api.post("/orders", make(3700)), 412, "key-expired")
    assert told.json["retryable"] is False
    assert api.n == 0
    key = make(3500)
    assert api.post("/orders", key).status == 201
    assert api.post("/orders", key).marked
    assert api.n == 1
    assert sorted(api.server.results(api.tag, 3)) == [
        "executed", "key-expired", "replayed"]


@pytest.mark.parametrize("make", [uuid7, ulid])
def test_keys_of_the_future(site, make):
    """contract 5: beyond five minutes"""
    api = site(location="IdempotencyMaxKeyAge 1h")
    is_problem(api.post("/orders", make(-400)), 400, "invalid-key")
    assert api.n == 0
    assert api.post("/orders", make(-200)).status == 201


@pytest.mark.parametrize("key", [
    "8e03978e-40d5-43e8-bc93-6894a57f9324",  # version 4
    "0000000000", "order-1", "00000000-0000-1000-8000-000000000000"])
def test_keys_without_a_time_pass(site, key):
    """contract 5"""
    api = site(location="IdempotencyMaxKeyAge 1h")
    assert api.post("/orders", key).status == 201
    assert api.post("/orders", key).marked


def test_age_does_not_count_by_default(api):
    """contract 5: off"""
    assert api.post("/orders", uuid7(10 ** 8)).status == 201
