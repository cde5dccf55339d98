# test_warnings.py: what the server says of its configuration at start.
# SPDX-License-Identifier: Apache-2.0
import signal


def test_a_limit_that_no_store_keeps_is_warned_of(own):
    """IDEM0024: the reader learns why large answers are not kept"""
    api = own(location="IdempotencyMaxResponse 8M")
    api.expect_log("IDEM0024")
    api.server.start()
    lines = [l for l in api.server.log().splitlines() if "IDEM0024" in l]
    assert lines and "8388608" in lines[0] and "size=" in lines[0]


def test_the_default_limit_is_not_warned_of(own):
    api = own(store="shm size=2M path=none")
    api.server.start()
    assert "IDEM0024" not in api.server.log()


def test_a_changed_store_waits_for_stop_and_start(own):
    """rule 30, IDEM0006: a restart keeps the store as it is"""
    api = own()
    api.server.start()
    assert api.post("/orders", '"w"').status == 201
    api.expect_log("IDEM0006")
    api.server.write(store="shm size=32M path=%s/run/idempotency.store"
                     % api.server.root)
    api.server.again(signal.SIGUSR1)
    assert "IDEM0006" in api.server.log()
    assert api.post("/orders", '"w"').marked
    assert api.n == 1
