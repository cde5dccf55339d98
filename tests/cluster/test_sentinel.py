# test_sentinel.py: a fail-over by sentinels, under load.
# SPDX-License-Identifier: Apache-2.0
import os
import shutil

import pytest

import machines
import redisrig
import rig
from machines import HUB, Load
from test_machines import final


class Sentinel(redisrig.Redis):
    def __init__(self, master_port):
        super().__init__(host=HUB)
        self.file = os.path.join(self.root, "sentinel.conf")
        with open(self.file, "w") as file:
            file.write("port %d\nbind %s\ndir %s\nprotected-mode no\n"
                       "logfile %s/log\n"
                       "sentinel monitor main %s %d 2\n"
                       "sentinel down-after-milliseconds main 1000\n"
                       "sentinel failover-timeout main 5000\n"
                       % (self.port, HUB, self.root, self.root, HUB,
                          master_port))

    def command(self):
        return [shutil.which("redis-sentinel"), self.file]


def replicates(replica):
    """master_link_status of INFO"""
    return b"master_link_status:up" in replica.do("INFO", "replication")


@pytest.fixture
def group(bank):
    """A master, two replicas, three sentinels, two machines."""
    master = redisrig.Redis(host=HUB).start()
    made = [master]
    nodes = []
    try:
        for _ in range(2):
            made.append(redisrig.Redis(
                "--replicaof", "%s %d" % (HUB, master.port),
                host=HUB).start())
        for replica in made[1:]:
            assert rig.wait_until(lambda: replicates(replica), 20)
        sentinels = []
        for _ in range(3):
            sentinels.append(Sentinel(master.port).start())
            made.append(sentinels[-1])
        url = "url=sentinel://%s/main/0" % ",".join(
            "%s:%d" % (HUB, s.port) for s in sentinels)
        store = master.store("connect=100ms", "timeout=300ms", "lease=5s",
                             "pool=1:25", "replicas=1", url=url)
        # The sentinels have to have met each other, and the replicas.
        for sentinel in sentinels:
            assert rig.wait_until(lambda: knows_all(sentinel), 20)
        for number in (4, 5):
            nodes.append(machines.Machine(number, bank.port, store).start())
        yield master, made[1:3], nodes
    finally:
        for node in nodes:
            node.close()
        for server in made:
            server.close()


def knows_all(sentinel):
    fields = sentinel.do("SENTINEL", "master", "main")
    told = dict(zip(fields[::2], fields[1::2]))
    return (told[b"num-slaves"], told[b"num-other-sentinels"]) == (b"2",
                                                                   b"2")


def test_failover_loses_no_claim_that_a_replica_had(group, bank):
    master, replicas, nodes = group
    first = final(nodes[0], "kept")
    assert first.status == 201
    load = Load(nodes, seconds=40).plan(1400, 600, seed=7).start()
    load.wait_sent(600)
    master.kill()
    load.join()
    unknown = load.check(bank, unknown=load.threads)
    print("fail-over: %d keys of unknown outcome" % unknown)
    again = final(nodes[1], "kept")
    assert again.marked and again.body == first.body
    roles = [replica.do("ROLE")[0] for replica in replicas]
    assert sorted(roles) == [b"master", b"slave"]
    late = final(nodes[0], "late")
    assert late.status == 201 and bank.count("late") == 1
