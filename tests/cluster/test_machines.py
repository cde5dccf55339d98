# test_machines.py: three machines on one Redis: each key runs once.
# SPDX-License-Identifier: Apache-2.0
import time

import machines
from machines import Load, ask


def final(machine, key, path="pay", seconds=10):
    """The answer that is not "in progress"."""
    end = time.monotonic() + seconds
    while True:
        conn = machine.connect()
        answer = conn.send(ask(key, path)).answer()
        conn.close()
        if answer.status not in (409, 503) or time.monotonic() > end:
            return answer
        time.sleep(0.05)


def test_retry_is_answered_by_another_machine(cluster, bank):
    first = final(cluster[0], "retry")
    assert first.status == 201 and not first.marked
    for machine in cluster:
        again = final(machine, "retry")
        assert again.marked and again.body == first.body
    assert bank.count("retry") == 1


def test_twenty_thousand_requests_run_each_key_once(cluster, bank):
    load = Load(cluster, seconds=150).plan(14000, 6000, seed=2)
    load.start().join()
    assert load.sent == 20000
    load.check(bank)


def test_machine_that_dies_mid_load(cluster, bank):
    load = Load(cluster).plan(2100, 900, seed=3).start()
    load.wait_sent(1000)
    cluster[1].kill()
    load.join()
    # No more than what it had in hand, one request a thread.
    unknown = load.check(bank, unknown=load.threads)
    print("machine killed: %d keys of unknown outcome" % unknown)
    cluster[1].start()


def test_machine_cut_off_for_longer_than_the_lease(cluster, bank):
    conn = cluster[0].connect(30)
    conn.send(ask("cut", "slow/4500"))
    assert machines.rig.wait_until(lambda: bank.count("cut") == 1, 5)
    cluster[0].cut()
    told = final(cluster[1], "cut", "slow/4500", 0)
    assert told.problem == "in-progress"
    after = final(cluster[1], "cut", "slow/4500")
    assert (after.status, after.problem) == (502, "outcome-unknown")
    load = Load(cluster[1:]).plan(300, 100, seed=4).start().join()
    load.check(bank)
    time.sleep(1)
    cluster[0].mend()
    # Its client gets the answer; the key stays unknown, and the log says so.
    answer = conn.answer()
    assert answer.status == 201
    conn.close()
    for machine in cluster:
        again = final(machine, "cut", "slow/4500")
        assert (again.status, again.problem) == (502, "outcome-unknown")
    assert bank.count("cut") == 1
    assert machines.rig.wait_until(
        lambda: "IDEM0106" in cluster[0].log(), 10), cluster[0].log()
    load = Load(cluster).plan(300, 100, seed=5).start().join()
    load.check(bank)


def test_redis_that_is_killed_and_comes_back(cluster, bank, redis):
    first = final(cluster[0], "before")
    load = Load(cluster).plan(2100, 900, seed=6).start()
    load.wait_sent(1000)
    redis.kill()
    time.sleep(0.5)
    redis.start()
    load.join()
    # On disk before it counts: what ran is known, but for answers that
    # could not be stored while Redis was away.
    unknown = load.check(bank, unknown=load.threads)
    print("Redis killed: %d keys of unknown outcome" % unknown)
    again = final(cluster[2], "before")
    assert again.marked and again.body == first.body
