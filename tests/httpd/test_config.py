# test_config.py: directives: bad values, and where they may stand.
# SPDX-License-Identifier: Apache-2.0
import pytest
from client import is_problem

# directive, its bad value as told in the message, a part of a value that works
BAD = [
    ("IdempotencyStore disk", "disk", "shm"),
    ("IdempotencyStore shm size=12x", "12x", "size=64M"),
    ("IdempotencyStore shm size=-1", "-1", "size=64M"),
    ("IdempotencyStore shm size=100K", "100K", "size=64M"),
    ("IdempotencyStore shm size=99999999999G", "99999999999G", "size=64M"),
    ("IdempotencyStore shm size=1025G", "size=1025G", "size=64M"),
    ("IdempotencyStore shm path=none sync=on", "sync=on", "path=idem"),
    ("IdempotencyStore shm sync=on path=none", "sync=on", "path=idem"),
    ("IdempotencyStore shm sync=maybe", "sync=maybe", "sync=off"),
    ("IdempotencyStore shm path=", "path=", "path="),
    ("IdempotencyStore shm colour=red", "colour=red", "size=64M"),
    ("IdempotencyTTL soon", "soon", "24h"),
    ("IdempotencyTTL 0", "'0'", "24h"),
    ("IdempotencyTTL -5", "-5", "24h"),
    ("IdempotencyTTL 5parsecs", "5parsecs", "24h"),
    ("IdempotencyTTL 5sausages", "5sausages", "24h"),
    ("IdempotencyTTL 100000h", "100000h", "24h"),
    ("IdempotencyTombstone x", "'x'", "24h"),
    ("IdempotencyTombstone 100000h", "100000h", "24h"),
    ("IdempotencyWait soon", "soon", "30s"),
    ("IdempotencyWait -1", "-1", "30s"),
    ("IdempotencyMaxKeyAge never", "never", "24h"),
    ("IdempotencyMaxWaiters -1", "-1", "25"),
    ("IdempotencyMaxWaiters 4097", "4097", "25"),
    ("IdempotencyMaxWaiters some", "some", "25"),
    ("IdempotencyDelivery fast", "fast", "stream"),
    ("IdempotencyMaxResponse big", "big", "1M"),
    ("IdempotencyMaxResponse 0", "'0'", "1M"),
    ("IdempotencyMaxResponse 1T", "1T", "1M"),
    ("IdempotencyMaxRequestBody -1", "-1", "10M"),
    ("IdempotencyStoreFailure panic", "panic", "refuse"),
    ("IdempotencyEngine perhaps", "'perhaps'", "Off nor On"),
    ("IdempotencyRequireKey 2", "'2'", "Off nor On"),
    ("IdempotencyAdmin yes", "'yes'", "Off nor On"),
    ("IdempotencyQuota 150%", "'150%'", "25"),
    ("IdempotencyQuota all", "'all'", "25"),
    ("IdempotencyMethods GET", "GET", "POST"),
    ("IdempotencyMethods POST HEAD", "HEAD", "POST"),
    ("IdempotencyMethods OPTIONS", "OPTIONS", "POST"),
    ("IdempotencyMethods TRACE", "TRACE", "POST"),
    ("IdempotencyMethods PROPFIND", "PROPFIND", "POST"),
    ("IdempotencyMethods REPORT", "REPORT", "POST"),
    ("IdempotencyMethods post", "post", "POST"),
    ("IdempotencyMethods PO/ST", "PO/ST", "POST"),
    ("IdempotencyKeySource cookie:a", "cookie:a", "header:Idempotency-Key"),
    ("IdempotencyKeySource header:", "header:", "header:Idempotency-Key"),
    ('IdempotencyKeySource "header:a b"', "header:a b",
     "header:Idempotency-Key"),
    ("IdempotencyKeySource query:", "query:", "query:ClientToken"),
    ("IdempotencyKeySource form:", "form:", "form:idempotency_key"),
    ("IdempotencyKeySource json:key", "json:key", "json:/idempotency_key"),
    ("IdempotencyKeySource json:/a~2", "json:/a~2", "json:/idempotency_key"),
    ("IdempotencyKeySource header:A cookie:b", "cookie:b", "query:"),
    ("IdempotencyKeySyntax loose", "loose", "strict"),
    ("IdempotencyKeyMaxLength 0", "'0'", "255"),
    ("IdempotencyKeyMaxLength 1025", "1025", "255"),
    ("IdempotencyKeyMaxLength long", "long", "255"),
    ("IdempotencyKeyPattern [", "'['", "^[0-9a-f-]{36}$"),
    ("IdempotencyFingerprint colour", "colour", "method"),
    ("IdempotencyFingerprint header:", "header:", "header:"),
    ("IdempotencyReleaseStatus 200", "200", "429"),
    ("IdempotencyReleaseStatus 600", "600", "429"),
    ("IdempotencyReleaseStatus 4xx", "4xx", "429"),
    ("IdempotencyReleaseStatus many", "many", "429"),
    ("IdempotencyOutcomeUnknown guess", "guess", "rerun"),
    ('IdempotencyKeepHeader "a b"', "a b", "X-Request-Id"),
    ("IdempotencyDropHeader a:b", "a:b", "X-Request-Id"),
    ('IdempotencyReplayMarker "a b"', "a b", "Idempotent-Replayed"),
    ("IdempotencyReplayMarker Connection", "Connection",
     "Idempotent-Replayed"),
    ("IdempotencyReplayMarker Content-Length", "Content-Length",
     "Idempotent-Replayed"),
    ("IdempotencyProblemBase /problems", "/problems", "https://"),
    ("IdempotencyProblemBase https://", "https://", "https://api"),
    ('IdempotencyProblemBase "https://a/<b"', "https://a/<b", "https://api"),
    ("IdempotencyProblemStatus oops 409", "oops", "key-reused 409"),
    ("IdempotencyProblemStatus key-reused 200", "200", "key-reused 409"),
    ("IdempotencyProblemStatus key-reused x", "'x'", "key-reused 409"),
    ("IdempotencyPrincipal nobody", "nobody", "credentials"),
    ("IdempotencyPrincipal cookie:", "cookie:", "cookie:PHPSESSID"),
    ('IdempotencyPrincipal "expr:%{nope"', "%{nope", "expr:"),
]


@pytest.fixture(scope="module")
def unstarted(mpm, backend, fpm):
    import rig
    server = rig.Server(mpm, backend, fpm)
    yield server
    server.close()


@pytest.mark.parametrize("line, value, works", BAD,
                         ids=[row[0] for row in BAD])
def test_bad_values_stop_the_start(unstarted, line, value, works):
    """contract 5: the value, what is wrong, and one that works"""
    unstarted.write(conf=line)
    status, said = unstarted.check()
    assert status != 0, said
    assert line.split()[0] in said.split("httpd.conf:")[-1]
    assert value in said and works in said, said


GOOD = ["IdempotencyTTL 24h", "IdempotencyTTL 30", "IdempotencyTTL 500ms",
        "IdempotencyTTL 10min", "IdempotencyMaxResponse 1G",
        "IdempotencyMaxRequestBody 10m", "IdempotencyMethods PUT DELETE",
        "IdempotencyKeySyntax Strict", "IdempotencyReleaseStatus none",
        "IdempotencyReleaseStatus 5xx 404", "IdempotencyFingerprint none",
        "IdempotencyReplayMarker none", "IdempotencyEngine on",
        "IdempotencyReleaseStatus None", "IdempotencyReleaseStatus 5XX",
        "IdempotencyMethods PUT DELETE MKCOL PROPPATCH", "IdempotencyAdmin on",
        "IdempotencyPrincipal tls ip header:X-A cookie:a*",
        "IdempotencyStore shm size=1024G sync=on",
        "IdempotencyTombstone off", "IdempotencyTombstone 87600h",
        "IdempotencyWait 0", "IdempotencyMaxKeyAge 24h",
        "IdempotencyMaxWaiters 0", "IdempotencyMaxWaiters 4096",
        "IdempotencyKeySource query:a form:b[c] json:/d~1e/0 json:/",
        "IdempotencyFingerprint json form",
        "IdempotencyStoreFailure bypass", "IdempotencyKeyMaxLength 1024"]


@pytest.mark.parametrize("line", GOOD)
def test_good_values(unstarted, line):
    """contract 5"""
    unstarted.write(conf=line)
    status, said = unstarted.check()
    assert status == 0 and "Syntax OK" in said, said


def test_check_leaves_nothing_behind(unstarted):
    """rule 47: httpd -t opens no store"""
    import os
    unstarted.write(conf="")
    assert unstarted.check()[0] == 0
    assert os.listdir(unstarted.path("run")) == []


NOT_IN_HTACCESS = [
    "IdempotencyStore shm", "IdempotencyTTL 1h", "IdempotencyMaxResponse 1M",
    "IdempotencyMaxRequestBody 1M", "IdempotencyStoreFailure refuse",
    "IdempotencyTombstone 1h", "IdempotencyWait 1s",
    "IdempotencyMaxWaiters 1", 'IdempotencyPrincipal "expr:%{env:A}"']


@pytest.mark.parametrize("line", NOT_IN_HTACCESS)
def test_refused_in_htaccess(site, line):
    """contract 5"""
    api = site(conf="# htaccess")
    api.expect_log("not allowed here", "htaccess")
    api.server.file("htdocs/ht/.htaccess", line + "\n")
    answer = api.post("=/ht/x?t=%s")
    assert answer.status == 500
    log = api.server.new_log()
    assert "not allowed" in log and line.split()[0] in log


IN_HTACCESS = [
    "IdempotencyEngine On", "IdempotencyMethods POST", "IdempotencyKeySource "
    "header:X-Key", "IdempotencyKeySyntax strict", "IdempotencyKeyMaxLength "
    "9", "IdempotencyKeyPattern a", "IdempotencyRequireKey On",
    "IdempotencyFingerprint body", "IdempotencyReleaseStatus 429",
    "IdempotencyOutcomeUnknown rerun", "IdempotencyKeepHeader Set-Cookie",
    "IdempotencyMaxKeyAge 1h", "IdempotencyDelivery stream",
    "IdempotencyDropHeader X-A", "IdempotencyReplayMarker X-B",
    "IdempotencyProblemBase https://a.test/p", "IdempotencyProblemStatus "
    "key-reused 409", "IdempotencyPrincipal header:X-A cookie:a"]


def test_allowed_in_htaccess(site):
    """contract 5: with AllowOverride FileInfo"""
    api = site(conf="# htaccess")
    api.server.file("htdocs/ht/.htaccess", "\n".join(IN_HTACCESS) + "\n")
    is_problem(api.post("=/ht/x?t=%s"), 400, "missing-key")
    api.server.file("htdocs/ht/.htaccess", "IdempotencyTypo On\n")
    api.expect_log("IdempotencyTypo")
    assert api.post("=/ht/x?t=%s").status == 500


def test_not_allowed_without_override(site):
    """contract 5: AllowOverride FileInfo is needed"""
    api = site(conf="<Directory @ROOT@/htdocs/no>\nAllowOverride AuthConfig\n"
                    "</Directory>")
    api.expect_log("not allowed here")
    api.server.file("htdocs/no/.htaccess", "IdempotencyEngine On\n")
    assert api.post("=/no/x?t=%s").status == 500


@pytest.mark.parametrize("line", ["IdempotencyStore shm size=64M",
                                  "IdempotencyMaxWaiters 5"])
@pytest.mark.parametrize("where", ['VirtualHost *:1', 'Location "/a"',
                                   "Directory /"])
def test_store_is_for_the_whole_server(unstarted, line, where):
    """contract 5"""
    unstarted.write(conf="<%s>\n%s\n</%s>" % (where, line, where.split()[0]))
    status, said = unstarted.check()
    assert status != 0 and line.split()[0] in said, said


def test_settings_are_inherited(site):
    """contract 5: server, vhost, directory"""
    api = site(conf="IdempotencyKeyMaxLength 5\nIdempotencyReplayMarker X-R\n"
                    '<Location "/api/">\nIdempotencyKeyMaxLength 6\n'
                    "</Location>")
    is_problem(api.post("/orders", "1234567"), 400, "invalid-key")
    assert api.post("/orders", "123456").status == 201
    assert api.post("/orders", "123456").get("X-R") == "true"
    is_problem(api.post("/cgi/c", "654321"), 400, "invalid-key")


def test_engine_off_below(site):
    """contract 5"""
    api = site(conf='<Location "/api/">\nIdempotencyEngine Off\n</Location>')
    for _ in range(2):
        assert not api.post("/orders", "a").marked
    assert api.n == 2
