# test_cgid.py: mod_cgid's daemon is away: before a script ran, or after
# (contract 2; a 503 that frees a key must mean that nothing was run).
# SPDX-License-Identifier: Apache-2.0
import glob
import os
import socket
import threading

import pytest
from client import is_problem

pytestmark = pytest.mark.mpms("worker", "event")  # prefork has mod_cgi


def daemon_socket(server):
    return glob.glob(server.path("run/cgisock*"))[0]


def test_a_daemon_that_is_not_reached(own):
    """O-04: nothing was sent, so the key is free"""
    api = own()
    api.server.start()
    api.expect_log("AH01257")
    where = daemon_socket(api.server)
    os.chmod(where, 0)
    for _ in range(2):
        answer = api.post("/cgi/c", '"k"')
        assert answer.status == 503 and answer.problem is None
    os.chmod(where, 0o777)
    assert api.post("/cgi/c", '"k"').status == 201
    assert api.post("/cgi/c", '"k"').marked
    assert api.runs == 1
    assert api.server.results(api.tag, 4) == [
        "released", "released", "executed", "replayed"]


class Daemon(threading.Thread):
    """Takes a request, as if it ran the script, and is gone when asked for
    the script's pid: what a restart does now and then."""

    def __init__(self, where):
        super().__init__(daemon=True)
        os.unlink(where)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(where)
        os.chmod(where, 0o777)
        self.listener.listen(8)
        self.runs = 0
        self.start()

    def run(self):
        while True:
            try:
                script = self.listener.accept()[0]
            except OSError:
                return
            script.recv(65536)
            self.runs += 1
            self.listener.accept()[0].close()
            script.close()


@pytest.mark.parametrize("level", ["info", "cgid:crit"])
def test_a_daemon_that_goes_with_the_request(own, level):
    """The script may run: unknown, whatever is logged"""
    api = own(conf="LogLevel info " + level)
    api.server.start()
    api.expect_log("AH10246")
    daemon = Daemon(daemon_socket(api.server))
    assert api.post("/cgi/c", '"k"').status == 503
    for _ in range(2):
        is_problem(api.post("/cgi/c", '"k"'), 502, "outcome-unknown")
    assert daemon.runs == 1
    daemon.listener.close()


def test_a_script_that_says_503_itself(api):
    """Its own answer, whatever is known of the daemon"""
    for _ in range(2):
        answer = api.post("/cgi/c?status=503", '"k"')
        assert answer.status == 503 and answer.problem is None
    assert api.runs == 2
