# test_life.py: expiry, restarts, crashes (conformance 1.8, case 24).
# SPDX-License-Identifier: Apache-2.0
import os
import shutil
import signal
import time

import client
import pytest
from client import is_problem
from rig import SOON, kill, module_path, wait_until

LOST = ("AH00052", "AH00051", "AH01239", "AH00046", "AH00045", "AH10292",
        "AH01102", "AH01110", "AH00898", "AH00098", "IDEM0002")


def settled(api, path, key, seconds=10, **more):
    """Retry until the answer is no longer in-progress."""
    def ask():
        answer = api.post(path, key, **more)
        return None if answer.problem == "in-progress" else answer
    answer = wait_until(ask, seconds, 0.1)
    assert answer, "in-progress for too long"
    return answer


def test_keys_expire(site):
    """L-01, L-02"""
    api = site(location="IdempotencyTTL 3")
    assert api.post("/orders", '"x"').json == {"id": 1}
    assert api.post("/orders", '"x"').marked
    time.sleep(3.2)
    again = api.post("/orders", '"x"')
    assert not again.marked and again.json == {"id": 2}
    assert api.n == 2
    # An expired key is free for any request.
    time.sleep(3.2)
    assert api.post("/orders", '"x"', client.B2).json == {"id": 3}


def test_a_replay_does_not_extend_the_time(site):
    """L-03"""
    api = site(location="IdempotencyTTL 4")
    api.post("/orders", '"x"')
    time.sleep(2.1)
    assert api.post("/orders", '"x"').marked
    time.sleep(2.1)
    assert not api.post("/orders", '"x"').marked
    assert api.n == 2


def test_the_time_counts_from_the_end(site):
    """L-03: not from the claim"""
    api = site(location="IdempotencyTTL 3")
    api.post("/slow/3300", '"x"')
    assert api.post("/slow/3300", '"x"').marked
    assert api.n == 1


def test_unknown_expires_too(site):
    """contract 2: unknown --ttl--> absent"""
    api = site(location="IdempotencyTTL 3")
    api.expect_log("AH01102", "AH00898")
    assert api.post("/nohdr", '"u"').status == 502
    is_problem(api.post("/nohdr", '"u"'), 502, "outcome-unknown")
    time.sleep(3.2)
    assert api.post("/nohdr", '"u"').problem is None
    assert api.n == 2


@pytest.mark.parametrize("unknown", ["refuse", "rerun"])
def test_a_killed_child_blocks_no_key(own, unknown):
    """L-04, case 24"""
    api = own(location="IdempotencyOutcomeUnknown " + unknown)
    api.server.start()
    api.expect_log(*LOST)
    with api.conn() as conn:
        conn.send(api.raw("POST", "/gate", '"k9"'))
        api.wait_n()
        os.kill(api.server.child_of(conn), signal.SIGKILL)
        with pytest.raises(client.NoAnswer):
            conn.answer()
    api.open_gate()
    start = time.monotonic()
    answer = settled(api, "/gate", '"k9"')
    assert time.monotonic() - start < SOON
    if unknown == "refuse":
        is_problem(answer, 502, "outcome-unknown")
        assert api.n == 1
    else:
        assert answer.status == 201 and not answer.marked
        assert api.post("/gate", '"k9"').marked
        assert api.n == 2
    # New keys work at once.
    for i in range(20):
        assert api.post("/orders", "new-%d" % i).status == 201


def test_the_purge_outlives_any_child(own):
    """architecture.md: whoever dies, the others go on at once"""
    api = own(location="IdempotencyTTL 500ms")
    api.server.start()
    api.expect_log(*LOST)
    for number, pid in enumerate(sorted(api.server.children())):
        assert api.post("/orders", "p-%d" % number).status == 201
        kill(pid)
        assert wait_until(lambda: can_connect(api))
        assert wait_until(lambda: api.server.status()["RecordsExpired"]
                          > number, SOON)


def test_killed_in_a_storm(own):
    """case 24: kill -9 at any point; locks and memory stay usable"""
    api = own()
    api.server.start()
    api.expect_log(*LOST)
    for round_ in range(4):
        conns = [api.conn() for _ in range(12)]
        for i, conn in enumerate(conns):
            conn.send(api.raw("POST", "/orders", "s-%d-%d" % (round_, i)))
        time.sleep(0.004 * round_)
        for pid in api.server.children():
            kill(pid)
        for conn in conns:
            conn.close()
        assert wait_until(lambda: can_connect(api), 10)
        before = api.n
        for i in range(12):
            key = "s-%d-%d" % (round_, i)
            answer = settled(api, "/orders", key)
            if answer.status == 201:
                again = api.post("/orders", key)
                assert again.marked and again.body == answer.body
            else:
                is_problem(answer, 502, "outcome-unknown")
        assert api.n <= before + 12
    per_key = {}
    for req in api.backend.seen(api.tag):
        key = req.get("Idempotency-Key")
        if key:
            per_key[key] = per_key.get(key, 0) + 1
    assert set(per_key.values()) == {1}


def can_connect(api):
    try:
        return api.post("/off/st/200").status == 200
    except (OSError, client.NoAnswer, client.Torn):
        return False


def test_children_that_come_and_go(own):
    """case 24: MaxConnectionsPerChild 1"""
    api = own(conf="MaxConnectionsPerChild 1")
    # httpd's own stop forgets one of these children now and then, also
    # without the module.
    api.expect_log("AH00045", "AH00046")
    api.server.start()
    for i in range(8):
        assert api.post("/orders", "m-%d" % i).status == 201
        assert api.post("/orders", "m-%d" % i).marked
    assert api.n == 8


def test_graceful_with_a_request_in_flight(own):
    """L-06"""
    api = own()
    api.server.start()
    with api.conn() as conn:
        conn.send(api.raw("POST", "/gate", '"g"'))
        api.wait_n()
        api.server.again(signal.SIGUSR1)
        is_problem(api.post("/gate", '"g"'), 409, "in-progress")
        api.open_gate()
        assert conn.answer().status == 201
    assert api.post("/gate", '"g"').marked
    assert api.n == 1


def stop_start(server):
    server.stop()
    server.start()


def kill_start(server):
    server.kill_all()
    server.start()


WAYS = {
    "graceful": lambda server: server.again(signal.SIGUSR1),
    "restart": lambda server: server.again(signal.SIGHUP),
    "stop-start": stop_start,
    "kill-start": kill_start,
}


@pytest.mark.parametrize("way", sorted(WAYS))
def test_records_outlive(own, way):
    """L-07"""
    api = own()
    api.server.start()
    api.expect_log(*LOST)
    first = api.post("/orders", '"l7"')
    big = api.post("/big/300000", '"l7b"')
    assert api.post("/cut", '"l7u"').status == 502
    for _ in range(2):
        WAYS[way](api.server)
        again = api.post("/orders", '"l7"')
        assert again.marked and again.body == first.body
        again = api.post("/big/300000", '"l7b"')
        assert again.marked and again.body == big.body
        is_problem(api.post("/cut", '"l7u"'), 502, "outcome-unknown")
        is_problem(api.post("/orders", '"l7"', client.B2), 422, "key-reused")
    assert api.n == 3


@pytest.mark.parametrize("sync", ["on", "off"])
def test_in_flight_when_all_is_killed(own, sync):
    """L-07: SIGKILL of the parent and all children"""
    api = own(store="shm size=16M sync=%s path=idempotency.store" % sync)
    api.server.start()
    api.expect_log(*LOST)
    with api.conn() as conn:
        conn.send(api.raw("POST", "/gate", '"fl"'))
        api.wait_n()
        assert api.post("/orders", '"done"').json == {"id": 2}
        api.server.kill_all()
    api.open_gate()
    api.server.start()
    is_problem(settled(api, "/gate", '"fl"'), 502, "outcome-unknown")
    again = api.post("/orders", '"done"')
    assert again.marked and again.json == {"id": 2}
    assert api.n == 2


def test_in_flight_when_stopped(own):
    """L-07: stop; what was cut short is unknown, what ended is kept"""
    api = own()
    api.server.start()
    api.expect_log(*LOST)
    with api.conn() as conn:
        conn.send(api.raw("POST", "/gate", '"st"'))
        api.wait_n()
        api.server.child.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        api.open_gate()
        api.server.child.wait(30)
    api.server.start()
    answer = settled(api, "/gate", '"st"')
    assert answer.marked or answer.problem == "outcome-unknown"
    assert api.n == 1


@pytest.mark.parametrize("way", sorted(WAYS))
def test_memory_only(own, way):
    """L-07: path=none keeps over graceful and restart alone"""
    api = own(store="shm size=16M path=none")
    api.server.start()
    api.expect_log(*LOST)
    api.post("/orders", '"m"')
    WAYS[way](api.server)
    again = api.post("/orders", '"m"')
    assert again.status == 201
    assert again.marked == (way in ("graceful", "restart"))
    assert not os.path.exists(api.server.path("run/idempotency.store"))


@pytest.mark.parametrize("where", ["", "path=other.store",
                                   "path=@ROOT@/run/idempotency.store"])
def test_store_file_is_private(own, where):
    """contract 5, rule 56"""
    api = own(store="shm size=16M " + where)
    api.server.start()
    name = "other" if "other" in where else "idempotency"
    stat = os.stat(api.server.path("run/%s.store" % name))
    assert stat.st_mode & 0o777 == 0o600 and stat.st_uid == 0


def test_changed_store_waits_for_a_start(own):
    """contract 5: the file outlives any change of children and parents"""
    api = own()
    api.server.start()
    api.expect_log("IDEM0006")
    api.post("/orders", '"c"')
    api.server.write(store="shm size=32M path=none")
    api.server.again(signal.SIGUSR1)
    assert api.post("/orders", '"c"').marked
    assert "IDEM0006" in api.server.new_log()


def test_locks_that_outlive_their_holder_are_refused(own):
    """contract 1: a killed child must not stop the store"""
    api = own(conf="Mutex posixsem idempotency")
    with pytest.raises(AssertionError) as failure:
        api.server.start()
    assert "IDEM0003" in str(failure.value)


@pytest.mark.parametrize("mutex", ["pthread", "sysvsem", "fcntl:@ROOT@/run",
                                   "file:@ROOT@/run"])
def test_other_locks(own, mutex):
    """rule 59: they are usable after the change of user"""
    api = own(conf="Mutex %s idempotency" % mutex)
    api.server.start()
    assert api.post("/orders", '"l"').status == 201
    assert api.post("/orders", '"l"').marked
    assert api.n == 1


def test_store_in_an_open_folder_is_refused(own):
    """contract 5, rule 56"""
    api = own()
    os.chmod(api.server.path("run"), 0o777)
    with pytest.raises(AssertionError) as failure:
        api.server.start()
    assert "IDEM0001" in str(failure.value)


@pytest.mark.parametrize("sig", [signal.SIGUSR1, signal.SIGHUP])
def test_a_reload_loads_another_version(own, sig):
    """docs/operations.md: it keeps off the memory of the one before, refuses
    what it cannot protect, and the rest of the machine goes on"""
    api = own()
    api.expect_log("IDEM0029", "AH00045", "AH00046")
    module = api.server.path("mod_idempotency.so")
    shutil.copy(module_path(), module)
    api.server.write(load=api.server.settings["load"].replace(
        module_path(), module))
    api.server.start()
    assert api.post("/orders", '"old"').status == 201
    with open(module, "rb") as file:
        other = file.read()
    assert other.count(b"mod_idempotency shm 1 %") == 1
    with open(module + ".new", "wb") as file:
        file.write(other.replace(b"mod_idempotency shm 1 %",
                                 b"mod_idempotency shm 0 %"))
    with api.conn() as conn:
        conn.send(api.raw("POST", "/gate", '"flying"'))
        api.wait_n(2)
        os.rename(module + ".new", module)
        api.server.again(sig)
        for key in ('"old"', '"new"', '"flying"'):
            told = api.post("/gate" if key == '"flying"' else "/orders", key)
            is_problem(told, 503, "store-unavailable")
        assert api.post("/st/200", None).status == 200
        assert api.server.status() == {}
        api.server.again(sig)  # and again
        is_problem(api.post("/orders", '"old"'), 503, "store-unavailable")
        api.open_gate()
        if sig == signal.SIGUSR1:
            assert conn.answer().status == 201
    assert "IDEM0029" in api.server.new_log()
    api.server.stop()
    api.server.start()
    assert api.post("/orders", '"old"').marked
    assert api.post("/gate", '"flying"').status == (
        201 if sig == signal.SIGUSR1 else 502)


def test_two_servers_never_write_one_file(own):
    """contract 5: the second start waits 10 s, then fails in clear words"""
    api = own()
    api.server.start()
    path = api.server.path("run/idempotency.store")
    other = own(store="shm size=16M path=" + path)
    other.expect_log("IDEM0001", "AH00020", "AH00016")
    api.post("/orders", '"two"')
    started = time.monotonic()
    other.server.launch()
    assert other.server.child.wait(30) != 0
    assert time.monotonic() - started > 8
    log = other.server.log() + other.server.stderr()
    line = [t for t in log.splitlines() if "IDEM0001" in t][0]
    assert path in line and "another" in line
    assert api.post("/orders", '"two"').marked


def test_a_new_server_waits_for_the_old_one(own):
    """contract 5: a file in use is waited for"""
    api = own()
    api.server.start()
    api.post("/orders", '"w"')
    path = api.server.path("run/idempotency.store")
    other = own(store="shm size=16M path=" + path)
    other.server.launch()
    time.sleep(0.5)
    api.server.stop()
    assert wait_until(other.server.listens, 20)
    # The same principal and host: the record is there.
    other.tag = api.tag
    assert other.post("/orders", '"w"').marked
