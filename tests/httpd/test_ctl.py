# test_ctl.py: tools/idempotencyctl from end to end.
# SPDX-License-Identifier: Apache-2.0
import json
import os
import subprocess
import sys

import pytest
from client import is_problem
from pages import ADMIN, HOSTS, USERS
from rig import free_port

HERE = os.path.dirname(os.path.abspath(__file__))
CTL = os.path.join(HERE, "..", "..", "tools", "idempotencyctl")


class Ctl:
    def __init__(self, api, path="/admin"):
        self.api = api
        self.path = path
        self.env = {"PATH": os.environ["PATH"], "HOME": api.server.root,
                    "PYTHONDONTWRITEBYTECODE": "1"}

    def run(self, *args, code=0, stdin="", **env):
        url = "http://127.0.0.1:%d%s" % (self.api.port, self.path)
        done = subprocess.run(
            [sys.executable, CTL, "--url", url, "--host-field", "api.test",
             *args], input=stdin.encode(), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, timeout=60, env=dict(self.env, **env))
        self.said = done.stderr.decode()
        assert done.returncode == code, (done, self.said)
        assert bool(self.said) == (code != 0)
        return done.stdout.decode()

    def json(self, *args):
        return json.loads(self.run(*args, "--json"))

    def lines(self, *args):
        return [json.loads(line) for line in
                self.run(*args, "--json").splitlines()]


@pytest.fixture
def api(own):
    api = own(conf=ADMIN + USERS + HOSTS, extra=["unique_id"])
    api.server.file("users", "alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n")
    api.server.start()
    return api


def record(api, key, host=None):
    """The words that name a key of this test."""
    return [key, "--host", host or "api.test:%d" % api.port, "--principal",
            "authorization:Bearer " + api.tag]


def test_the_complaint_of_a_customer(api):
    """issue 5: find a payment by its key, and release it"""
    ctl = Ctl(api)
    first = api.post("/orders", "order-1")
    shown = ctl.run("show", *record(api, "order-1"))
    assert "state         done" in shown and "status        201" in shown
    told = ctl.json("show", *record(api, "order-1"))
    assert told["answer"]["original_id"] in shown
    assert first.get("Location") not in shown
    assert "released %s, which was done" % told["id"] in ctl.run(
        "release", *record(api, "order-1"))
    ctl.run("show", *record(api, "order-1"), code=1)
    assert "nothing is recorded" in ctl.said
    again = api.post("/orders", "order-1")
    assert not again.marked and again.json == {"id": 2}
    # By the digits that the log showed.
    assert ctl.json("release", "--id", told["id"][:16])["was"] == "done"
    ctl.run("release", "--id", told["id"], code=1)
    # A key from standard input is in no list of processes.
    api.post("/orders", "order-1")
    words = record(api, "-")
    assert "done" in ctl.run("show", *words, stdin="order-1\n")


def test_status(api):
    ctl = Ctl(api)
    for _ in range(2):
        api.post("/orders", "a")
    shown = ctl.run("status")
    assert "duplicate requests     50.0 %" in shown
    assert "replayed" in shown and "api.test:%d" % api.port in shown
    assert "1 done" in shown
    assert ctl.json("status")["requests"]["replayed"] == 1
    alone = Ctl(api, "/own").run("status")
    assert "see IdempotencyAdmin" in alone and "store" not in alone.split(
        "\n")[0]
    assert "other.test" not in alone


def test_list_export_purge(api):
    ctl = Ctl(api)
    api.expect_log("AH01102", "AH00898")
    for i in range(3):
        api.post("/orders", "k%d" % i)
        api.post("/orders", "k%d" % i, host="other.test")
    api.post("/nohdr", "u")
    rows = ctl.lines("list")
    assert len(rows) == 7
    shown = ctl.run("list").splitlines()
    assert len(shown) == 8 and rows[0]["id"] in "\n".join(shown)
    assert len(ctl.lines("list", "--host", "other.test")) == 3
    unknown = ctl.lines("list", "--state", "unknown")
    assert [row["state"] for row in unknown] == ["unknown"]
    assert ctl.lines("list", "--older", "1h") == []
    exported = [json.loads(line) for line in ctl.run("export").splitlines()]
    assert {row["id"] for row in exported} == {row["id"] for row in rows}
    assert [row["answer"]["status"] for row in exported
            if row["state"] == "done"] == [201] * 6
    assert ctl.run("purge", "--host", "other.test") == "purged 3 records\n"
    assert ctl.json("purge", "--host", "api.test:%d" % api.port,
                    "--state", "unknown") == {"purged": 1}
    assert len(ctl.lines("list")) == 3
    assert ctl.run("export", "--host", "other.test") == ""


def test_many_pages(own):
    """more than one page of a list"""
    api = own(conf=ADMIN, store="shm size=16M path=none")
    api.server.start()
    with api.conn() as conn:
        for i in range(2100):
            answer = conn.send(api.raw("POST", "/orders",
                                       "k%d" % i)).answer()
            if answer.get("Connection") == "close":
                conn.close()
                conn.__init__(api.port)
    ids = {row["id"] for row in Ctl(api).lines("list")}
    assert len(ids) == 2100


def test_release_while_it_runs(api):
    """L-05, by idempotencyctl"""
    with api.conn() as conn:
        conn.send(api.raw("POST", "/gate", "g"))
        api.wait_n(1)
        is_problem(api.post("/gate", "g"), 409, "in-progress")
        ctl = Ctl(api)
        assert [row["state"] for row in ctl.lines(
            "list", "--state", "executing")] == ["executing"]
        assert "which was executing" in ctl.run("release",
                                                *record(api, "g"))
        api.open_gate()
        assert conn.answer().status == 201
    assert not api.post("/gate", "g").marked
    assert api.n == 2


def test_exit_codes(api):
    """as the manual page has them"""
    ctl = Ctl(api)
    api.post("/orders", "k")
    for words in (["show"], ["show", "k"], ["list", "--state", "gone"],
                  ["list", "--older", "soon"], ["destroy"],
                  ["list", "--host", "nobody.test"], ["purge"],
                  ["show", "k", "--host", "api.test", "--id", "0" * 64],
                  ["show", "--id", "xyz"],
                  ["show", "k", "--host", "api.test", "--principal", "x"]):
        ctl.run(*words, code=2)
    assert "no virtual host" not in ctl.said
    ctl.run("show", "--id", "0" * 64, code=1)
    tenant = Ctl(api, "/own")
    for words in (["list"], ["export"], ["show", "--id", "0" * 64],
                  ["purge", "--host", "api.test"]):
        tenant.run(*words, code=3)
        assert "IdempotencyAdmin On" in tenant.said
    Ctl(api, "/closed").run("status", code=3)
    for path in ("/nothing-here", "/server-status", "/api/x/orders"):
        other = Ctl(api, path)
        other.run("status", code=4)
        assert "status page" in other.said
    other = Ctl(api)
    other.run("--url", "http://127.0.0.1:%d/" % free_port(), "status",
              code=4)
    other.run("--url", "gopher://x/", "status", code=2)
    assert "http://127.0.0.1/idempotency-status" in other.said


def test_user_and_password(api):
    ctl = Ctl(api, "/closed")
    api.expect_log("AH01617", "AH01618")
    ctl.run("status", code=3)
    assert "--user" in ctl.said
    ctl.run("--user", "alice", "status", code=2)
    assert "IDEMPOTENCYCTL_PASSWORD" in ctl.said
    ctl.run("--user", "alice", "status", code=3,
            IDEMPOTENCYCTL_PASSWORD="wrong")
    ctl.run("--user", "alice", "status", IDEMPOTENCYCTL_PASSWORD="secret")
    api.post("/orders", "k")
    ctl.run("--user", "alice", "release", *record(api, "k"),
            IDEMPOTENCYCTL_PASSWORD="secret")
    assert "released by alice" in api.server.new_log()
    api.server.file("ctl.conf", "[server]\nuser = alice\npassword = secret\n",
                    0o644)
    conf = {"IDEMPOTENCYCTL_CONF": api.server.path("ctl.conf")}
    ctl.run("status", code=2, **conf)
    assert "chmod 600" in ctl.said
    os.chmod(api.server.path("ctl.conf"), 0o600)
    ctl.run("status", **conf)
    ctl.run("status", code=2, IDEMPOTENCYCTL_CONF="/nowhere")
    # From the home folder, and what the option says over it.
    os.makedirs(api.server.path(".config"))
    os.rename(api.server.path("ctl.conf"),
              api.server.path(".config/idempotencyctl.conf"))
    ctl.run("status")
    ctl.run("--user", "bob", "status", code=3)


def test_help_and_manual(api):
    """every command and option is in both"""
    with open(os.path.join(HERE, "..", "..", "docs", "idempotencyctl.8"),
              encoding="ascii") as file:
        manual = file.read().replace("\\-", "-")
    ctl = Ctl(api)
    text = ctl.run("--help")
    for command in ("status", "show", "list", "release", "purge", "export"):
        assert command in text and command in manual
        for word in ctl.run(command, "--help").replace("[", " ").split():
            if word.startswith("--"):
                assert word.strip("],") in manual, word
    for code in range(5):
        assert "\n  %d  " % code in text
        assert ".B %d\n" % code in manual
