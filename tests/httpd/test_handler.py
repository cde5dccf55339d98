# test_handler.py: the handler idempotency-status: its forms, and who sees what.
# SPDX-License-Identifier: Apache-2.0
import json

import pytest
import rig
from pages import ADMIN, HOSTS, get, status


@pytest.mark.parametrize("accept, type_", [
    (None, "text/html"), ("*/*", "text/html"),
    ("application/json", "application/json"),
    ("text/html, application/json;q=0.9", "text/html"),
    ("text/html;q=0.8, application/json;q=0.9", "application/json"),
    ("application/*, text/html;q=0.1", "application/json"),
    ("application/json;q=0, */*;q=0.1", "text/html"),
    ("application/openmetrics-text;version=1.0.0;q=0.5,application/"
     "openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,"
     "*/*;q=0.2", "application/openmetrics-text"),
    ("image/png", "text/html")])
def test_the_form_by_accept(site, accept, type_):
    """issue 5, 1"""
    api = site(conf=ADMIN)
    answer = get(api, "/admin",
                 fields=[("Accept", accept)] if accept else ())
    assert answer.status == 200
    assert answer.get("Content-Type").split(";")[0] == type_
    assert answer.get("Vary") == "Accept"


@pytest.mark.parametrize("word, type_", [
    ("html", "text/html"), ("json", "application/json"),
    ("openmetrics", "application/openmetrics-text; version=1.0.0; "
                    "charset=utf-8")])
def test_the_form_by_format(site, word, type_):
    """issue 5, 1"""
    api = site(conf=ADMIN)
    answer = get(api, "/admin", format=word,
                 fields=[("Accept", "image/png")])
    assert answer.get("Content-Type").startswith(type_)


def test_unknown_format(site):
    """issue 5, 1: 400, with the values that work"""
    api = site(conf=ADMIN)
    answer = get(api, "/admin", format="xml")
    assert answer.status == 400
    for word in ("xml", "html", "json", "openmetrics"):
        assert word in answer.json["detail"]
    assert answer.json["works"] == "format=json"
    assert get(api, "/admin?format=%zz").status == 400


@pytest.mark.parametrize("path", ["/admin", "/own"])
def test_safety_fields(site, path):
    """issue 5, 2: on every form, and on refusals"""
    api = site(conf=ADMIN)
    for word in ("html", "json", "openmetrics", "oops"):
        answer = get(api, path, format=word)
        assert answer.get("Cache-Control") == "no-store"
        assert answer.get("X-Content-Type-Options") == "nosniff"
        csp = answer.get("Content-Security-Policy")
        assert csp.startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in csp


def test_methods(site):
    """issue 5, 2: GET and HEAD; nothing else has an effect"""
    api = site(conf=ADMIN)
    head = get(api, "/admin", method="HEAD")
    assert head.status == 200 and head.body == b""
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
        answer = get(api, "/admin", method=method)
        assert answer.status == 405 and "GET" in answer.get("Allow")
    assert get(api, "/own", method="POST").status == 405


def test_status_is_no_covered_request(site):
    """a page about keys is not recorded under one"""
    api = site(conf='<Location "/app/st">\nSetHandler idempotency-status\n'
                    "IdempotencyRequireKey On\n</Location>")
    before = api.server.status()["MissingKey"]
    answer = api.post("=/app/st?t=%s", "k")
    assert answer.status == 405
    assert api.server.status()["MissingKey"] == before


# ------------------------------------------------------------ who sees what

def test_htaccess_shows_the_own_host_only(own):
    """issue 5, 3: even where the main configuration permits all"""
    api = own(conf="IdempotencyAdmin On\n" + ADMIN + HOSTS)
    api.server.file("other/st/.htaccess", "SetHandler idempotency-status\n")
    api.server.file("other/mime/.htaccess",
                    "AddHandler idempotency-status .st\n")
    api.server.file("other/mime/a.st", "")
    api.server.file("other/rw/.htaccess", "RewriteEngine On\n"
                    "RewriteRule . /admin [L]\n")
    api.server.file("other/err/.htaccess", "ErrorDocument 404 /admin\n")
    api.server.start()
    api.post("/orders", "a")
    answer = get(api, "/err/nothing", host="other.test",
                 fields=[("Accept", "application/json")])
    assert answer.json["scope"] == "host", answer
    for path in ("/st/", "/mime/a.st", "/rw/x"):
        told = status(api, path, host="other.test")
        assert told["scope"] == "host", path
        assert told["host"] == "other.test:%d" % api.port
        assert "api.test" not in json.dumps(told)
    # Without a file of theirs the main configuration's word holds.
    assert status(api, "/own")["scope"] == "server"


@pytest.mark.parametrize("where", [
    "<VirtualHost *:1>\n%s\n</VirtualHost>",
    '<VirtualHost *:1>\n<Location "/a">\n%s\n</Location>\n</VirtualHost>'])
def test_admin_is_refused_in_a_virtual_host(mpm, backend, fpm, where):
    """contract 5"""
    server = rig.Server(mpm, backend, fpm, conf=where % "IdempotencyAdmin On")
    try:
        code, said = server.check()
        assert code != 0 and "IdempotencyAdmin" in said
        assert "VirtualHost" in said
        server.write(conf=ADMIN)
        assert server.check()[0] == 0
    finally:
        server.close()


def test_admin_is_refused_in_htaccess(site):
    """contract 5"""
    api = site(conf=ADMIN)
    api.expect_log("not allowed here")
    api.server.file("htdocs/adm/.htaccess",
                    "SetHandler idempotency-status\nIdempotencyAdmin On\n")
    answer = get(api, "/adm/")
    assert answer.status == 500
    assert "IdempotencyAdmin" in api.server.new_log()
