# test_locks.py: the store cannot be locked, or not any more (case 54).
# SPDX-License-Identifier: Apache-2.0
#
# Three ways in which that really happens: somebody sits on the lock, the
# process that holds it is stopped, the lock is taken from the system.
import fcntl
import glob
import os
import subprocess
import time

from client import is_problem
from rig import SOON, wait_until
from test_life import settled

BYPASS = ('<Location "/byp/">\nIdempotencyEngine On\n'
          'IdempotencyStoreFailure bypass\n</Location>\n'
          'ProxyPass /byp/ http://127.0.0.1:@BACKEND@/\n')
ONE_SHARD = "shm size=4M path=none"


def refused_in_time(api, key):
    """503 within about a second, and nothing was run."""
    before = api.n
    began = time.monotonic()
    answer = is_problem(api.post("/orders", key), 503, "store-unavailable")
    assert time.monotonic() - began < SOON
    assert int(answer.get("Retry-After")) >= 1
    assert answer.json["retryable"] is True
    assert api.n == before


def bypassed(api, key):
    """Open by choice: it runs each time, and the log says so."""
    before = api.n
    for _ in range(2):
        answer = api.post("=/byp/%s/orders", key)
        assert answer.status == 201 and not answer.marked
    assert api.n == before + 2
    assert "IDEM0013" in api.server.new_log()


def says_nothing_of_ours(api):
    """contract 4 and 5: no marker, no word of the application to us"""
    row = api.fresh()
    row.backend.raw[row.tag] = (b"HTTP/1.1 201 Created\r\nX-App: keep\r\n"
                                b"Idempotent-Replayed: true\r\n"
                                b"Idempotency-Record: no\r\n"
                                b"Content-Length: 2\r\n\r\nok")
    answer = row.post("=/byp/%s/raw", '"words"')
    assert (answer.status, answer.body) == (201, b"ok")
    assert answer.get("X-App") == "keep" and not answer.marked
    assert answer.get("Idempotency-Record") is None


def locked_files(server):
    files = [open(path, "r+") for path in
             glob.glob(server.path("run/idempotency-*"))]
    assert files
    for file in files:
        fcntl.flock(file, fcntl.LOCK_EX)
    return files


def test_somebody_sits_on_the_lock(own):
    """case 54: closed, open, and as it was once the lock is free"""
    api = own(store=ONE_SHARD,
              conf="Mutex flock:@ROOT@/run idempotency\n" + BYPASS)
    api.server.start()
    api.expect_log("IDEM0012", "IDEM0013")
    first = api.post("/orders", '"done"')
    files = locked_files(api.server)
    try:
        refused_in_time(api, '"new"')
        bypassed(api, '"open"')
        says_nothing_of_ours(api)
        # What is recorded is replayed without the lock.
        again = api.post("/orders", '"done"')
        assert again.marked and again.body == first.body
        # Requests without a key notice nothing.
        assert api.post("/orders").status == 201
    finally:
        for file in files:
            file.close()
    assert api.post("/orders", '"new"').status == 201
    assert api.post("/orders", '"new"').marked
    assert api.server.status()["StoreUnavailable"] == 1


def test_the_lock_is_stuck_when_the_answer_comes(own):
    """IDEM0018: the answer is sent; a retry never runs again"""
    api = own(store=ONE_SHARD, conf="Mutex flock:@ROOT@/run idempotency\n")
    api.server.start()
    api.expect_log("IDEM0012", "IDEM0018")
    with api.conn(30) as conn:
        conn.send(api.raw("POST", "/gate", '"g"'))
        api.wait_n()
        files = locked_files(api.server)
        api.open_gate()
        assert conn.answer().json == {"id": 1}
        for file in files:
            file.close()
    assert "IDEM0018" in api.server.log()
    is_problem(settled(api, "/gate", '"g"', 15), 502, "outcome-unknown")
    assert api.n == 1


def semaphores(server):
    """Those that a process of this server was the last to use."""
    pids = {str(pid) for pid in server.pids()}
    found = []
    with open("/proc/sysvipc/sem") as file:
        numbers = [line.split()[1] for line in file.readlines()[1:]]
    for number in numbers:
        told = subprocess.run(["ipcs", "-s", "-i", number], timeout=10,
                              stdout=subprocess.PIPE).stdout.decode()
        # The last line: semnum, value, ncount, zcount, pid.
        if told.strip() and told.split()[-1] in pids:
            found.append(number)
    return found


def test_the_lock_is_taken_away(own):
    """case 54: ipcrm, as by an administrator who tidies up"""
    api = own(store=ONE_SHARD, conf="Mutex sysvsem idempotency\n" + BYPASS)
    api.server.start()
    api.expect_log("IDEM0012", "IDEM0013")
    api.post("/orders", '"done"')
    mine = semaphores(api.server)
    assert len(mine) == 1
    subprocess.run(["ipcrm", "-s", mine[0]], check=True, timeout=10)
    refused_in_time(api, '"new"')
    bypassed(api, '"open"')
    assert api.post("/orders", '"done"').marked


def test_the_holder_is_stopped(own):
    """case 54, rule 40: a debugger holds the process that holds the lock"""
    # The connection has to outlive the start of the debugger.
    api = own(store=ONE_SHARD, conf=BYPASS + "KeepAliveTimeout 60\n")
    api.server.start()
    api.expect_log("IDEM0012", "IDEM0013")
    api.post("/orders", '"done"')
    stopped = api.server.path("run/stopped")
    with api.conn(60) as conn:
        conn.send(api.raw("POST", "/orders", '"first"'))
        assert conn.answer().status == 201
        pid = api.server.child_of(conn)
        gdb = subprocess.Popen(
            ["gdb", "-nx", "-batch", "-p", str(pid),
             "-ex", "handle all nostop noprint pass",
             "-ex", "break idem_shm_leave", "-ex", "shell touch " + stopped
             + ".ready", "-ex", "continue",
             "-ex", "shell touch %s; timeout 60 sh -c 'until [ -e %s.go ]; "
             "do sleep 0.1; done'" % (stopped, stopped),
             "-ex", "delete", "-ex", "detach"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        assert wait_until(lambda: os.path.exists(stopped + ".ready"), 60)
        conn.send(api.raw("POST", "/orders", '"held"'))
        assert wait_until(lambda: os.path.exists(stopped), 20)
        refused_in_time(api, '"new"')
        bypassed(api, '"open"')
        assert api.post("/orders", '"done"').marked
        assert gdb.poll() is None  # all that while it was stopped
        api.server.file("run/stopped.go", "")
        said = gdb.communicate(timeout=60)[0].decode()
        assert gdb.returncode == 0, said
        assert conn.answer().status in (201, 503)
    assert api.post("/orders", '"new"').status == 201
    assert api.post("/orders", '"new"').marked
