# test_shared_load.py: the hostile tenant of test_shared_host.py: floods, bodies
# made to hurt, processes that die.
# SPDX-License-Identifier: Apache-2.0
import os
import signal
import socket
import threading
import time

import client
import pytest
from client import is_problem
from rig import wait_until
from shared import KILL, Undisturbed, at_once


def test_a_flood_of_keys(fresh):
    """S-11, case 31: his quota is used up, theirs is not"""
    host = fresh
    host.server.expected = ["IDEM0019", "IDEM0025"]
    old = host.post("alpha", "/c.php?t=old", '"old"')
    target = "/c.php?t=flood&bytes=4000"

    def flood(number):
        words = []
        for i in range(150):
            answer = host.post("evil", target, "f-%d-%d" % (number, i))
            words.append(answer.problem or answer.status)
            if answer.problem:
                is_problem(answer, 503, "store-unavailable")
                assert int(answer.get("Retry-After")) >= 1
        return words
    with Undisturbed(host):
        words = sum(at_once(6, flood), [])
        assert set(words) == {201, "store-unavailable"}
        assert 100 < words.count(201) < 400
        # What is refused is not run.
        assert host.runs("evil", "flood") == words.count(201)
        # What he has recorded is still his.
        assert host.post("evil", target, "f-0-0").marked
    assert host.post("alpha", "/c.php?t=old", '"old"').body == old.body
    assert host.runs("alpha", "old") == 1


def test_huge_bodies(host):
    """contract 4: refused with 413, nothing is run"""
    big = b"x" * (1024 * 1024 + 1)
    host.add("evil", ".htaccess", "LimitRequestBody 0\n")
    with Undisturbed(host):
        for i in range(4):
            answer = host.post("evil", "/c.php?t=huge", "b-%d" % i, big)
            is_problem(answer, 413, "payload-too-large")
            answer = host.post("evil", "/c.php?t=huge", "c-%d" % i, big,
                               pieces=(400000, 400000))
            is_problem(answer, 413, "payload-too-large")
        # At the limit, many at once: these may be run.
        found = at_once(12, lambda i: host.post(
            "evil", "/c.php?t=fits&read=none", "h-%d" % i,
            b"y" * 1024 * 1024))
        assert {answer.status for answer in found} <= {201, 503}
    assert host.runs("evil", "huge") == 0


HURT = {
    "deep": ("application/json", b"[" * 500000),
    "deep-members": ("application/json", b'{"k":' * 200000),
    "twice": ("application/json", b'{"k":"a"' + b',"k":"a"' * 100000 + b"}"),
    "number": ("application/json", b'{"k":1e999999999}'),
    "empty-fields": ("application/x-www-form-urlencoded", b"&=" * 250000),
    "long-field": ("application/x-www-form-urlencoded",
                   b"k=" + b"%41" * 300000),
    "parts": ("multipart/form-data; boundary=b", b"--b\r\n" * 100000),
    "part-head": ("multipart/form-data; boundary=b",
                  b'--b\r\nContent-Disposition: form-data; name="k"\r\n'
                  + b"X: y\r\n" * 100000),
}


@pytest.mark.parametrize("name", sorted(HURT))
def test_bodies_made_to_hurt(host, name):
    """case 36: keys in bodies, bodies compared by meaning"""
    ctype, body = HURT[name]
    host.server.expected = ["max_input_vars"]
    host.add("evil", ".htaccess", "IdempotencyKeySource json:/k form:k "
             "header:Idempotency-Key\n"
             "IdempotencyFingerprint method uri json form\n")
    with Undisturbed(host):
        for answer in at_once(6, lambda i: host.post(
                "evil", "/c.php?t=hurt&read=none", "hurt-%d" % i, body,
                ctype=ctype)):
            assert answer.status in (201, 400), answer
            if answer.status == 400:
                is_problem(answer, 400, "invalid-key")


def slow_body(host, number):
    """A byte now and then; the answer's status, or None at a bare end."""
    head = client.head("POST", "/c.php?t=slow", "slow-%d" % number,
                       [("Content-Length", "100000")], host="evil.test")
    with client.Conn(host.port, 40) as conn:
        conn.send(head + b"\r\n")
        conn.sock.settimeout(0.4)
        while True:
            try:
                conn.send(b"z")
                if not conn.more():
                    return None
                conn.sock.settimeout(5)
                return conn.answer().status
            except socket.timeout:
                pass
            except (ConnectionError, client.NoAnswer):
                return None


def test_slow_bodies(host):
    """rule 26: mod_reqtimeout ends them; nothing is claimed or run"""
    with Undisturbed(host):
        began = time.monotonic()
        assert set(at_once(20, lambda i: slow_body(host, i))) <= {408, None}
        assert time.monotonic() - began < 30
        # His keys were not claimed by what was cut off.
        for i in range(20):
            answer = host.post("evil", "/c.php?t=slowly", "slow-%d" % i)
            assert answer.status in (201, 503) and not answer.marked
    assert host.runs("evil", "slow") == 0


def test_exhausted_waiters(host):
    """E-08, rule 55: his duplicates take no worker and no turn of theirs"""
    with Undisturbed(host):
        for round_ in range(2):
            key = "wait-%d" % round_
            answers = at_once(30, lambda i: host.post(
                "evil", "/c.php?t=wait%d&sleep=2" % round_, key))
            told = [a.problem or a.marked for a in answers]
            # One ran; some waited for it; to the others it was said at once.
            assert told.count(False) == 1
            assert set(told) <= {False, True, "in-progress"}
            assert "in-progress" in told and True in told
            for answer in answers:
                if answer.problem:
                    is_problem(answer, 409, "in-progress")
                    assert int(answer.get("Retry-After")) >= 1
            assert host.runs("evil", "wait%d" % round_) == 1


def test_malformed_keys(host):
    """K rows, at volume: each is told so, none is run"""
    bad = ['"', "'a'", '"a" b', "a b", '"a\\x"', '""', '"a", "b"', "(a)",
           "?1", '"' + "x" * 5000 + '"', '"\xc3\xbc"', ";;;", "a,b"]
    with Undisturbed(host):
        for round_ in range(15):
            for key in bad:
                is_problem(host.post("evil", "/c.php?t=bad", key), 400,
                           "invalid-key")
    assert host.runs("evil", "bad") == 0


def test_killing_his_own_processes(host, mpm):
    """L-04: his key's outcome is unknown; nobody else notices"""
    host.server.expected = ["AH00052", "AH01067", "AH01075", "AH01068",
                            "AH01069", "AH01079", "AH00957", "AH01114"]
    paths = ["/kill.php"]
    if mpm == "prefork":
        host.add("evil", "killmod.php", KILL)
        host.add("evil", ".htaccess", '<Files "killmod.php">\n'
                 "SetHandler application/x-httpd-php\n</Files>\n")
        os.chmod(os.path.join(host.home("evil"), "data"), 0o777)
        paths.append("/killmod.php")
    with Undisturbed(host):
        for path in paths:
            for i in range(5):
                tag = "k%s%d" % (path[5:-4], i)
                target = "%s?t=%s" % (path, tag)
                try:
                    first = host.post("evil", target, "kill-%s" % tag)
                    assert first.status in (502, 503), first
                except client.NoAnswer:
                    assert path == "/killmod.php"
                answer = wait_until(lambda: told(host, target, tag), 15, 0.1)
                is_problem(answer, 502, "outcome-unknown")
                assert host.runs("evil", tag) == 1


def told(host, target, tag):
    answer = host.post("evil", target, "kill-%s" % tag)
    return None if answer.problem == "in-progress" else answer


def test_they_survive_restarts_under_fire(fresh):
    """A graceful restart while he floods. httpd starts its CGI daemon anew
    and answers 503 in between: if nothing was run, the retry runs."""
    host = fresh
    host.server.expected = ["IDEM0019", "IDEM0025", "AH01257", "AH10246",
                            "AH10245", "AH01261"]
    stop = threading.Event()

    def flood(number):
        i = 0
        while not stop.is_set():
            try:
                host.post("evil", "/c.php?t=fire", "r-%d-%d" % (number, i))
            except (OSError, client.NoAnswer, client.Torn):
                pass
            i += 1
    pool = [threading.Thread(target=flood, args=(i,)) for i in range(4)]
    with Undisturbed(host, patient=True):
        for thread in pool:
            thread.start()
        try:
            host.server.again(signal.SIGUSR1)
            time.sleep(0.5)
        finally:
            stop.set()
            for thread in pool:
                thread.join(60)


def test_hostile_answers(host):
    """C-03, C-05, IDEM0020: more than is kept, and past all filters"""
    host.server.expected = ["IDEM0020"]
    host.add("evil", "fields.cgi", "#!/usr/bin/python3 -ISE\n"
             "import sys\nsys.stdin.read()\n"
             "print('Status: 200\\n' + ''.join('X-F%d: %s\\n' % (i, 'v' * 4000)"
             "      for i in range(400)))\n",
             0o755)
    host.add("evil", "nph-x.cgi", "#!/usr/bin/python3 -ISE\n"
             "import sys\nsys.stdin.read()\n"
             "sys.stdout.write('HTTP/1.1 200 OK\\r\\nConnection: close\\r\\n'"
             "'Content-Length: 4\\r\\n\\r\\nnph\\n')\n", 0o755)
    with Undisturbed(host):
        target = "/c.php?t=long&bytes=8000000"
        assert len(host.post("evil", target, "long").body) == 8000000
        is_problem(host.post("evil", target, "long"), 409,
                   "response-not-retained")
        assert len(host.post("evil", "/fields.cgi?t=x", "fields").fields
                   ) > 400
        is_problem(host.post("evil", "/fields.cgi?t=x", "fields"), 409,
                   "response-not-retained")
        for _ in range(2):
            answer = host.post("evil", "/nph-x.cgi?t=x", "nph")
            assert answer.body == b"nph\n" and not answer.marked
    assert host.runs("evil", "long") == 1
