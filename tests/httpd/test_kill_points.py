# test_kill_points.py: SIGKILL at named points of a request (case 24, L-04).
# SPDX-License-Identifier: Apache-2.0
#
# A debugger stops the process at a function of the module, then kills it.
import os
import subprocess

import client
import pytest
from client import is_problem
from rig import kill, wait_until
from test_life import LOST, settled

# Where it dies; how often the application had run; what the retry gets.
POINTS = [
    ("idem_body_read", 0, "executed"),         # nothing is claimed yet
    ("idem_capture_start", 0, "unknown"),      # claimed, not yet run
    ("idem_settle", 1, "unknown"),      # the answer is complete
    ("idem_capture_record", 1, "unknown"),     # about to be recorded
    ("idem_shm_commit", 1, "unknown"),         # on the way into the store
    ("idem_numbers_result", 1, "replayed"),    # committed, not yet sent
]


def killed_at(api, function, send):
    """The request of send() reaches the function; its process dies there."""
    with api.conn(60) as conn:
        conn.send(api.raw("POST", "/off/orders"))
        assert conn.answer().status == 201
        pid = api.server.child_of(conn)
        ready = api.server.path("run/%s.ready" % function)
        gdb = subprocess.Popen(
            ["gdb", "-nx", "-batch", "-p", str(pid),
             "-ex", "handle all nostop noprint pass",
             "-ex", "break " + function, "-ex", "shell touch " + ready,
             "-ex", "continue", "-ex", "info symbol $pc", "-ex", "kill"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        assert wait_until(lambda: os.path.exists(ready), 60)
        try:
            conn.send(send)
            with pytest.raises(client.NoAnswer):
                conn.answer()
            said = gdb.communicate(timeout=60)[0].decode()
        finally:
            if gdb.poll() is None:
                kill(pid)
                gdb.kill()
        assert "\n%s in section" % function in said, said


@pytest.mark.parametrize("function, runs, then", POINTS)
def test_killed_at(own, function, runs, then):
    """at most once, and no key is blocked"""
    # The connection is idle while the debugger reads its symbols.
    api = own(conf="KeepAliveTimeout 60")
    api.server.start()
    api.expect_log(*LOST)
    killed_at(api, function, api.raw("POST", "/orders", '"k"'))
    ran = api.n - 1  # the first request opened the connection
    assert ran == runs
    answer = settled(api, "/orders", '"k"')
    if then == "unknown":
        is_problem(answer, 502, "outcome-unknown")
    else:
        assert answer.status == 201
        assert answer.marked == (then == "replayed")
    assert api.n - 1 == (1 if then == "executed" else runs)
    # The store is as good as ever.
    assert api.post("/orders", '"new"').status == 201
    assert api.post("/orders", '"new"').marked
