# conftest.py: the back end, and three machines on one Redis.
# SPDX-License-Identifier: Apache-2.0
import os
import sys

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import machines  # noqa: E402
import redisrig  # noqa: E402

QUICK = ("connect=100ms", "timeout=300ms", "lease=2s", "pool=1:25")
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture(scope="session")
def bank():
    server = machines.Bank()
    yield server
    server.close()


@pytest.fixture(scope="module")
def redis():
    server = redisrig.Redis(*DURABLE, host=machines.HUB).start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def cluster(bank, redis):
    """Three machines that run; a test leaves them so."""
    made = [machines.Machine(n, bank.port, redis.store(*QUICK))
            for n in (1, 2, 3)]
    try:
        yield [machine.start() for machine in made]
    finally:
        for machine in made:
            machine.close()
