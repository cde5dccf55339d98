# test_gone.py: the client leaves before the answer (E-09, cases 1, 3, 52).
# SPDX-License-Identifier: Apache-2.0
import time

import pytest
from client import is_problem
from test_life import settled

MIB = 1024 * 1024


@pytest.mark.parametrize("size", ["", "1048576"])
@pytest.mark.parametrize("leave", ["reset", "close"])
def test_gone_while_the_back_end_works(api, size, leave):
    """E-09 with mod_proxy"""
    path = "/gate/" + size
    conn = api.conn()
    conn.send(api.raw("POST", path, '"gone"'))
    api.wait_n()
    getattr(conn, leave)()
    time.sleep(0.05)
    api.open_gate()
    again = settled(api, path, '"gone"')
    assert again.marked and api.n == 1
    if size:
        assert len(again.body) == MIB
    else:
        assert again.json == {"id": 1}


@pytest.mark.parametrize("path", [
    "/cgi/c?sleep=0.4", "/cgi/c?sleep=0.4&bytes=1048576",
    "/php/c.php?sleep=0.4", "/php/c.php?sleep=0.4&bytes=1048576"])
def test_gone_while_a_script_works(api, path):
    """E-09 with CGI and PHP, case 1"""
    conn = api.conn()
    conn.send(api.raw("POST", path, '"gone"'))
    api.wait_runs(1)
    conn.reset()
    again = settled(api, path, '"gone"')
    assert again.status == 201 and again.marked
    assert len(again.body) == MIB if "bytes" in path else again.body == b"1\n"
    assert api.runs == 1


def test_gone_while_the_answer_is_read(api):
    """contract 3.4: a committed answer stands whatever the connection does"""
    conn = api.conn()
    conn.send(api.raw("POST", "/big/1048576", '"half"'))
    conn.take(1000)
    conn.reset()
    again = settled(api, "/big/1048576", '"half"')
    assert again.marked and len(again.body) == MIB
    assert api.n == 1


@pytest.mark.parametrize("path", ["/cgi/c?chunk=1", "/php/c.php?chunk=1"])
def test_gone_from_a_script_that_flushes(api, path):
    """case 1, rule 2"""
    conn = api.conn()
    conn.send(api.raw("POST", path, '"fl"'))
    api.wait_runs(1)
    conn.reset()
    again = settled(api, path, '"fl"')
    assert again.marked
    assert again.body == b"".join(b"%d" % i * 1024 for i in range(10))
    assert api.runs == 1


def test_script_that_lives_on(api):
    """case 3: stdout closed early is a complete answer"""
    first = api.post("/cgi/c?linger=0.5", '"on"')
    again = settled(api, "/cgi/c?linger=0.5", '"on"')
    assert first.status == 201 and first.body == b"1\n"
    assert again.marked and again.body == b"1\n"
    assert api.runs == 1


def test_script_that_stalls(site):
    """case 3: cut off by Timeout after the headers"""
    api = site(timeout=3)
    api.expect_log("AH01220", "AH01215", "AH02550", "AH01229", "AH01217",
                   "AH02651", "cgid?:(error|warn)")
    path = "/cgi/c?stall=8"
    first = api.post(path, '"stall"')
    assert first.status in (502, 504) and b"1\n" != first.body
    is_problem(api.post(path, '"stall"'), 502, "outcome-unknown")
    assert api.runs == 1


def test_client_that_resends_at_once(api):
    """case 52: Go's transport resends on a broken connection"""
    data = api.raw("POST", "/gate", '"go"')
    conn = api.conn()
    conn.send(data)
    api.wait_n()
    conn.reset()
    is_problem(api.post("/gate", '"go"'), 409, "in-progress")
    api.open_gate()
    assert settled(api, "/gate", '"go"').marked
    assert api.n == 1
