# test_shared_host.py: three tenants, one hostile (issue 5.5, rules 60-62): what
# he sets, guesses and asks for.
# SPDX-License-Identifier: Apache-2.0
#
# In every test two tenants go about their business while the third does his
# worst. Their requests run once, are replayed right and answered in time; each
# of his attempts ends in a refusal that the manual has.
import json
import os

import client
import pytest
from client import is_problem
from rig import wait_until
from shared import Undisturbed, at_once


def test_each_runs_as_its_own_user(host, mpm):
    """The scenario is what it says it is"""
    users = [os.stat(os.path.join(host.home(name), "data")).st_uid
             for name in ("alpha", "beta", "evil")]
    assert len(set(users)) == 3
    assert int(host.post("beta", "/pay.cgi?t=who", '"u"').get("X-User")) \
        == users[1]
    assert int(host.post("evil", "/pay.cgi?t=who", '"u"').get("X-User")) \
        == users[2]
    told = host.post("evil", "/probe.php?pid=0", '"p"', b"[]").json
    assert told[0] == users[2]
    with Undisturbed(host):
        pass


WORST = [
    "IdempotencyEngine On", "IdempotencyMethods POST PATCH PUT DELETE",
    "IdempotencyKeySyntax lenient", "IdempotencyKeyMaxLength 1024",
    "IdempotencyKeyPattern ^(a+)+$", "IdempotencyRequireKey On",
    "IdempotencyFingerprint none", "IdempotencyReleaseStatus none",
    "IdempotencyOutcomeUnknown rerun",
    "IdempotencyKeepHeader Set-Cookie Connection Transfer-Encoding Date",
    "IdempotencyDropHeader Content-Type", "IdempotencyReplayMarker ETag",
    "IdempotencyProblemBase https://alpha.test/problems",
    "IdempotencyProblemStatus in-progress 429", "IdempotencyPrincipal ip",
    "IdempotencyKeySource form:k json:/a/b query:k header:Idempotency-Key",
    "IdempotencyMaxKeyAge 1ms", "IdempotencyDelivery stream",
]


def test_the_worst_settings_of_his_own(host):
    """contract 5: what .htaccess may set harms its own site alone"""
    for i, line in enumerate(WORST):
        host.add("evil", ".htaccess", line + "\n")
        for _ in range(2):
            answer = host.post("evil", "/c.php?t=worst", "a" * (i + 1))
            assert answer.status == 201 and len(answer.body) > 0, line
    host.add("evil", ".htaccess", "".join(line + "\n" for line in WORST))
    bomb = "a" * 1000 + "!"
    with Undisturbed(host):
        for answer in at_once(8, lambda i: host.post(
                "evil", "/c.php?t=bomb", "%s%d" % (bomb, i))):
            is_problem(answer, 400, "invalid-key")
        for i in range(20):
            key = "a" * (100 + i)
            with client.Conn(host.port) as conn:
                for _ in range(3):  # his answers stay whole on the wire
                    answer = conn.send(client.request(
                        "POST", "/c.php?t=worst&status=404", key,
                        host="evil.test")).answer()
                    assert answer.status == 404
    assert host.runs("evil", "bomb") == 0


@pytest.mark.parametrize("field", ["Content-Length", "Transfer-Encoding",
                                   "Location",
                                   "Connection"])
def test_a_marker_that_would_break_the_wire(host, field):
    """His answers share connections of a proxy with those of others"""
    host.server.expected = ["IdempotencyReplayMarker"]
    host.add("evil", ".htaccess", "IdempotencyReplayMarker %s\n" % field)
    with Undisturbed(host):
        for _ in range(2):
            answer = host.post("evil", "/c.php?t=marker", "m-" + field)
            assert answer.status == 500
    assert host.runs("evil", "marker") == 0


@pytest.mark.parametrize("line", [
    "IdempotencyStore shm path=none", "IdempotencyStore shm path=/etc/passwd",
    "IdempotencyQuota none", "IdempotencyTTL 100000h",
    "IdempotencyMaxResponse 1G", "IdempotencyMaxRequestBody 0",
    "IdempotencyStoreFailure bypass", "IdempotencyAuditLog ../alpha.log",
    "IdempotencyWait 1h", "IdempotencyMaxWaiters 4096",
    "IdempotencyTombstone 100000h", "IdempotencyAdmin On",
    "IdempotencyPrincipal expr:%{REQUEST_URI}",
    "IdempotencyProblemBase ../../../etc/passwd",
    "IdempotencyMethods GET"])
def test_settings_that_are_not_his(host, line):
    """contract 5: refused in .htaccess; the log says why"""
    host.server.expected = [line.split()[0]]
    host.add("evil", ".htaccess", line + "\n")
    with Undisturbed(host):
        for i in range(3):
            answer = host.post("evil", "/c.php?t=notmine", "s-%d" % i)
            assert answer.status == 500 and answer.problem is None
    assert host.runs("evil", "notmine") == 0
    assert line.split()[0] in host.server.new_log()


def test_guessed_keys(host):
    """S-01, S-06, case 17: another's key is a new key"""
    target = "/c.php?t=guess"
    mine = host.post("alpha", target, '"secret-key"', user="Bearer alpha")
    assert mine.status == 201
    with Undisturbed(host):
        seen = []
        for i, who in enumerate([None, "Bearer evil", "Bearer alph",
                                 "bearer alpha", "Basic YWxwaGE6"]):
            # At his own site, and as a client of hers.
            seen.append(host.post("evil", target, '"secret-key"', user=who))
            seen.append(host.post("alpha", target, '"secret-key"', user=who))
            seen.append(host.post("alpha", target, '"secret-key"', user=who,
                                  fields=[("Cookie", "PHPSESSID=%d" % i)]))
        for answer in seen:
            assert answer.status == 201 and not answer.marked, answer
        # His mistakes do not tell him that she has the key.
        for who in ("Bearer evil2", "Bearer evil3"):
            answer = host.post("alpha", "/c.php?t=guess2", '"secret-key"',
                               client.B2, user=who)
            assert answer.status == 201 and not answer.marked
        for i in range(100):
            answer = host.post("evil", target, "guess-%d" % i)
            assert not answer.marked
    again = host.post("alpha", target, '"secret-key"', user="Bearer alpha")
    assert again.marked and again.body == mine.body


def admin(host, name, method, params, path="/x"):
    target = path + ("?" + params if method == "GET" else "")
    fields = [("Origin", "http://%s.test" % name)]
    return client.exchange(host.port, client.request(
        method, target, None, None if method == "GET" else params.encode(),
        fields, host=name + ".test",
        ctype="application/x-www-form-urlencoded"), method)


def test_asking_for_the_administrators_page(host):
    """issue 5.3: .htaccess gives nothing of it, whatever the server permits"""
    hers = "hers" + os.urandom(8).hex()
    host.post("alpha", "/c.php?t=adm", hers, user="Bearer alpha")
    host.add("evil", ".htaccess", "SetHandler idempotency-status\n")
    # It works for who runs the server, where no .htaccess was read.
    page = "/admin-of-the-host"
    token = admin(host, "alpha", "GET", "action=token", page).json["token"]
    shown = "host=alpha.test&key=%s&principal=authorization:Bearer%%20alpha" \
        % hers
    assert admin(host, "alpha", "GET", "action=show&" + shown,
                 page).status == 200
    with Undisturbed(host):
        for method, params in (
                ("GET", "action=token"), ("GET", "action=list&host=alpha.test"),
                ("GET", "action=list"), ("GET", "action=export"),
                ("GET", "action=show&" + shown),
                ("POST", "action=show&%s&token=%s" % (shown, token)),
                ("POST", "action=release&%s&token=%s" % (shown, token)),
                ("POST", "action=purge&host=alpha.test&token=" + token)):
            for path in ("/x", page):
                answer = admin(host, "evil", method, params, path)
                assert answer.status in (403, 405), (params, answer)
                assert b"alpha" not in answer.body
                assert token.encode() not in answer.body
    again = host.post("alpha", "/c.php?t=adm", hers, user="Bearer alpha")
    assert again.marked and host.runs("alpha", "adm") == 1


@pytest.mark.parametrize("handler", ["idempotency-status", "server-status",
                                     "idempotency", "server-info"])
def test_asking_for_handlers(host, handler):
    """issue 5.3: a tenant's SetHandler reveals nothing of others"""
    hers = "needle" + os.urandom(8).hex()
    host.post("alpha", "/c.php?t=needle", hers, user="Bearer alpha")
    host.add("evil", ".htaccess", "SetHandler %s\n" % handler)
    with Undisturbed(host) as others:
        queries = ["", "?auto", "?format=json", "?format=openmetrics",
                   "?host=alpha.test", "?list=1&host=alpha.test", "?notable"]
        if handler != "server-status":  # shows what was asked of it
            queries.append("?key=%s&host=alpha.test" % hers)
        for query in queries:
            for method in ("GET", "POST"):
                answer = client.exchange(host.port, client.request(
                    method, "/x" + query, body=None if method == "GET"
                    else b"action=release&host=alpha.test&key="
                    + hers.encode(), host="evil.test"), method)
                text = answer.body.decode("latin-1")
                assert hers not in text
                if handler != "server-status":
                    # httpd's own page lists the requests of all hosts.
                    assert "/c.php" not in text and "/pay.cgi" not in text
                    assert others.all[0].tag not in text
    again = host.post("alpha", "/c.php?t=needle", hers, user="Bearer alpha")
    assert again.marked


def test_paths_and_links(host):
    """rules 56, 57: neither httpd nor his scripts show him what is not his"""
    root = host.server.root
    store = os.path.join(root, "run/idempotency.store")
    log = os.path.join(root, "logs/audit.log")
    assert os.path.exists(store) and os.path.exists(log)
    targets = [store, log, os.path.join(root, "alpha/data"),
               os.path.join(host.home("beta"), "data")]
    for i, path in enumerate(targets):
        os.symlink(path, os.path.join(host.home("evil"), "htdocs",
                                      "link%d" % i))
    host.server.expected = ["AH00529", "AH00132", "AH01276", "AH00035",
                            "AH01630", "AH00037", "AH00127"]
    pid = host.server.child.pid
    child = min(host.server.children())
    probes = targets + ["/proc/%d/mem" % p for p in (pid, child)] + [
        "/proc/%d/maps" % p for p in (pid, child)]
    with Undisturbed(host):
        for i in range(len(targets)):
            for method in ("GET", "POST"):
                answer = client.exchange(host.port, client.request(
                    method, "/link%d" % i, "l%d" % i if method == "POST"
                    else None, None if method == "GET" else client.B1,
                    host="evil.test"), method)
                assert answer.status in (403, 404, 405), answer
        for victim in (pid, child):
            told = host.post("evil", "/probe.php?pid=%d" % victim,
                             "probe-%d" % victim, json.dumps(probes).encode())
            assert told.status == 200, told
            _, found, killed = told.json
            assert found == {path: False for path in probes}
            assert killed is False
    for i in range(len(targets)):
        os.unlink(os.path.join(host.home("evil"), "htdocs", "link%d" % i))


def test_every_refusal_is_in_the_audit_log(host):
    """issue 5.4: what he tried can be read, and that they were not touched"""
    log = host.server.path("logs/audit.log")
    since = os.path.getsize(log)
    with Undisturbed(host):
        for key in ('"bad', "audit-1", "audit-1", "audit-1"):
            host.post("evil", "/c.php?t=audit", key)
        host.post("evil", "/c.php?t=audit", "audit-1", client.B2)
        host.post("evil", "/c.php?t=audit", "audit-2", b"x" * 1100000)
    words = wait_until(lambda: [w for w in [host.audit("evil", since)]
                                if len(w) >= 6])[0]
    assert sorted(words) == sorted([
        "invalid-key", "executed", "replayed", "replayed", "key-reused",
        "payload-too-large"])
    for name in ("alpha", "beta"):
        assert set(host.audit(name, since)) == {"executed", "replayed",
                                                "key-reused"}


FILTERS = [
    "SetOutputFilter IDEMPOTENCY", "SetOutputFilter IDEMPOTENCY_GUARD",
    "SetInputFilter IDEMPOTENCY_BODY",
    "SetOutputFilter IDEMPOTENCY;IDEMPOTENCY_GUARD;IDEMPOTENCY",
    "AddOutputFilter IDEMPOTENCY php", "AddInputFilter IDEMPOTENCY_BODY php",
    "AddOutputFilterByType IDEMPOTENCY text/plain",
    "FilterDeclare x\nFilterProvider x IDEMPOTENCY \"%{REQUEST_URI} =~ /./\"\n"
    "FilterChain x",
]


@pytest.mark.parametrize("line", FILTERS)
def test_calling_our_filters_by_name(host, line):
    """They do nothing where no key was claimed, and no harm where one was"""
    host.add("evil", ".htaccess", line + "\n")
    tag = "f%d" % FILTERS.index(line)
    with Undisturbed(host):
        for _ in range(3):
            with client.Conn(host.port) as conn:
                conn.send(client.request("GET", "/c.php?t=get", body=None,
                                         host="evil.test"))
                assert conn.answer("GET").status == 201
                conn.send(client.request("POST", "/c.php?t=get",
                                         host="evil.test"))
                assert conn.answer().status == 201
        first = host.post("evil", "/c.php?t=" + tag, tag, b"x" * 20000)
        again = host.post("evil", "/c.php?t=" + tag, tag, b"x" * 20000)
        assert first.status == again.status == 201
        assert again.marked and first.body == again.body == b"1\n"
    assert host.runs("evil", tag) == 1
    # The application got the body, whatever stands in .htaccess.
    with open(os.path.join(host.home("evil"), "data", tag + ".body"),
              "rb") as file:
        assert file.read() == b"x" * 20000
