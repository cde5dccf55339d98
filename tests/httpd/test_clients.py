# test_clients.py: the programs of docs/clients.md, run against connections
# that break.
# SPDX-License-Identifier: Apache-2.0
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import client
import pytest
from cutter import Cutter
from rig import wait_until

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                    "../../docs/clients.md")


def blocks():
    """File name -> text of the code blocks; the one for httpd is 'conf'."""
    with open(PAGE) as file:
        text = file.read()
    found = {}
    for name, kind, code in re.findall(
            r"^(?:`([a-z.]+)`[^`]*?:\n\n)?```(\w+)\n(.*?)^```$", text,
            re.M | re.S):
        found[name or "conf"] = code
    # curl's block stands behind two sentences.
    sh = re.search(r"^`pay\.sh`.*?```sh\n(.*?)^```$", text, re.M | re.S)
    found["pay.sh"] = sh[1]
    return found


BLOCKS = blocks()
RUN = {"pay.php": "php", "pay.mjs": "node", "pay.py": "python3",
       "pay.sh": "sh"}
NEEDS = {"pay.sh": "curl"}
PROGRAMS = pytest.mark.parametrize("name", sorted(RUN))
BUSY = (b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n"
        b"Content-Length: 5\r\nConnection: close\r\n\r\nbusy\n")
LATER = (b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: %s\r\n"
         b"Content-Length: 0\r\nConnection: close\r\n\r\n")
LOST = (b"HTTP/1.1 504 Gateway Time-out\r\nContent-Length: 5\r\n"
        b"Connection: close\r\n\r\nlost\n")


class Program:
    """One of the programs, its file and its key."""

    def __init__(self, api, name, tmp_path):
        for tool in (RUN[name], NEEDS.get(name, "sh")):
            assert shutil.which(tool), tool + " is not installed"
        self.api = api
        self.tool = RUN[name]
        self.script = str(tmp_path / name)
        self.file = str(tmp_path / "order.json")
        with open(self.script, "w") as file:
            file.write(BLOCKS[name])
        with open(self.file, "wb") as file:
            file.write(client.B1)

    def start(self, port, path, seconds="10"):
        url = "http://127.0.0.1:%d%s" % (port, self.api.target(path))
        return subprocess.Popen(
            [self.tool, self.script, url, self.file, seconds],
            cwd=os.path.dirname(self.script), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True)

    def run(self, port, path, seconds="10"):
        return self.end(self.start(port, path, seconds))

    def end(self, child):
        """Exit status and what it printed."""
        out, err = child.communicate(timeout=60)
        self.said = err
        return child.returncode, out.strip()

    def key(self):
        with open(self.file + ".key") as file:
            return file.read().strip()


@pytest.fixture
def program(api, tmp_path):
    # Requests without Authorization: they all have one principal.
    return lambda name: Program(api, name, tmp_path)


def words(api):
    """What became of the requests that have ended."""
    return {line.split()[0] for line in
            api.server.read_log("logs/access.log").splitlines()
            if api.tag in line}


def executed_once(prog, results):
    assert prog.api.n == 1
    return prog.api.server.results(prog.api.tag, len(results)) == results


@PROGRAMS
def test_answer_at_once(program, name):
    """no fault: one attempt; the same program again gets the same answer"""
    prog = program(name)
    assert prog.run(prog.api.port, "/orders") == (0, '201 {"id":1}')
    seen = prog.api.backend.seen(prog.api.tag)[0]
    assert seen.body == client.B1
    assert seen.get("Content-Type") == "application/json"
    assert seen.get("Idempotency-Key") == prog.key()
    assert re.match(r"[0-9a-f]{8}-[0-9a-f]{4}-[47][0-9a-f]{3}-[89ab]"
                    r"[0-9a-f]{3}-[0-9a-f]{12}$", prog.key())
    assert prog.run(prog.api.port, "/orders") == (0, '201 {"id":1}')
    assert executed_once(prog, ["executed", "replayed"])


@PROGRAMS
def test_cut_after_the_request(program, name):
    """rule 4: the retry comes while the first runs, is told to wait, and
    gets the first one's answer"""
    prog = program(name)
    api = prog.api
    with Cutter(api.port, ["cut", "pass"], api.wait_n) as cutter:
        begin = time.monotonic()
        child = prog.start(cutter.own, "/gate")
        assert wait_until(lambda: "in-progress" in words(api))
        api.open_gate()
        assert prog.end(child) == (0, '201 {"id":1}'), prog.said
    assert time.monotonic() - begin > 1
    assert wait_until(lambda: words(api) == {
        "executed", "in-progress", "replayed"}), words(api)
    assert api.n == 1


@PROGRAMS
def test_answer_is_cut(program, name):
    """half an answer is none"""
    prog = program(name)
    with Cutter(prog.api.port, ["half", "pass"]) as cutter:
        assert prog.run(cutter.own, "/orders") == (0, '201 {"id":1}')
    assert executed_once(prog, ["executed", "replayed"])


@PROGRAMS
def test_time_out(program, name):
    """a server that never answers"""
    prog = program(name)
    with Cutter(prog.api.port, ["stall", "pass"]) as cutter:
        assert prog.run(cutter.own, "/orders", "3") == (0, '201 {"id":1}')
    assert executed_once(prog, ["executed", "replayed"])


@PROGRAMS
def test_refusals_that_pass(program, name):
    """503, 504 of a gateway, refused: Retry-After is the least to wait"""
    prog = program(name)
    moment = int(time.time()) + 3
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT",
                         time.gmtime(moment)).encode()
    later = LATER % (date if name != "pay.sh" else b"1")
    with Cutter(prog.api.port, [BUSY, LOST, later, "pass"]) as cutter:
        begin = time.monotonic()
        assert prog.run(cutter.own, "/orders") == (0, '201 {"id":1}')
    if name == "pay.sh":
        assert time.monotonic() - begin >= 2
    else:
        assert time.time() > moment - 0.1
    assert executed_once(prog, ["executed"])


@PROGRAMS
def test_server_that_comes_later(program, name):
    """connection refused"""
    prog = program(name)
    with socket.socket() as later:
        later.bind(("127.0.0.1", 0))  # it refuses until it listens
        child = prog.start(later.getsockname()[1], "/orders")
        assert wait_until(lambda: os.path.exists(prog.file + ".key"))
        time.sleep(0.3)
        later.listen()
        with Cutter(prog.api.port, ["pass"], listener=later):
            assert prog.end(child) == (0, '201 {"id":1}'), prog.said
    assert executed_once(prog, ["executed"])


@PROGRAMS
def test_killed_and_started_again(program, name):
    """rule 2: the key outlives the program"""
    prog = program(name)
    child = prog.start(prog.api.port, "/gate")
    prog.api.wait_n()
    os.killpg(child.pid, signal.SIGKILL)  # sh, and its curl
    child.communicate()
    prog.api.open_gate()
    assert prog.run(prog.api.port, "/gate") == (0, '201 {"id":1}')
    assert prog.api.n == 1


@PROGRAMS
def test_final_refusals(program, name):
    """422, 502 outcome-unknown and an application's 409: no second try"""
    prog = program(name)
    api = prog.api
    api.expect_log("AH01102", "AH00898")
    assert prog.run(api.port, "/orders")[0] == 0
    with open(prog.file, "ab") as file:
        file.write(b" ")
    status, out = prog.run(api.port, "/orders")
    assert status == 1 and out.startswith("422 {")
    assert executed_once(prog, ["executed", "key-reused"])

    os.unlink(prog.file + ".key")
    status, out = prog.run(api.port, "/nohdr")
    # httpd's own 502 is tried again; then there is a word for it.
    assert status == 1 and out.startswith("502 {")
    assert '"outcome-unknown"' in out
    assert api.n == 2

    os.unlink(prog.file + ".key")
    status, out = prog.run(api.port, "/st/409")
    assert (status, out) == (1, "409 status 409")
    assert api.n == 3
