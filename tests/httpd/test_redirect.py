# test_redirect.py: internal redirects: one record (M-10, R-25, rules 6-9).
# SPDX-License-Identifier: Apache-2.0
import shutil
from urllib.parse import quote

import client
import pytest
from client import B1, B2, is_problem


def lay(api, htaccess):
    """An application in htdocs/app with this .htaccess."""
    server = api.server
    server.file("htdocs/app/.htaccess", htaccess)
    shutil.copy(server.path("php/c.php"), server.path("htdocs/app/index.php"))
    return api


def is_one(api, path, method="POST"):
    """First, replay, reuse; the application got the body; one run."""
    first = api.send(method, path, '"r"')
    assert first.status == 201 and not first.marked, first
    assert api.body_seen() == B1
    again = api.send(method, path, '"r"')
    assert again.marked and again.body == first.body == b"1\n"
    is_problem(api.send(method, path, '"r"', B2), 422, "key-reused")
    assert api.runs == 1
    assert sorted(api.server.results(api.tag, 3)) == [
        "executed", "key-reused", "replayed"]


FRONT = ("RewriteEngine On\nRewriteCond %{REQUEST_FILENAME} !-f\n"
         "RewriteRule ^ index.php [L]\n")


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_front_controller(site, method):
    """R-25: a per-directory rewrite, as WordPress and Laravel have it"""
    api = lay(site(conf="# front"), FRONT)
    is_one(api, "/app/orders/new", method)


def test_front_controller_with_the_engine_in_htaccess(site):
    """contract 5: everything an application needs, in .htaccess"""
    api = lay(site(conf='# here\n<Location "/app/">\nIdempotencyEngine Off\n'
                        '</Location>\n<Location "/own/">\n</Location>\n'
                        "Alias /own/ @ROOT@/htdocs/own/"), "")
    api.server.file("htdocs/own/.htaccess",
                    "IdempotencyEngine On\nIdempotencyRequireKey On\n"
                    + FRONT)
    shutil.copy(api.server.path("php/c.php"),
                api.server.path("htdocs/own/index.php"))
    path = "=/own/orders?t=%s"
    is_problem(api.post(path), 400, "missing-key")
    first = api.post(path, '"h"')
    assert first.body == b"1\n" and not first.marked
    assert api.post(path, '"h"').marked
    assert api.body_seen() == B1 and api.runs == 1


def test_targets_stay_apart_behind_a_front_controller(site):
    """rule 8: the fingerprint is of what the client sent"""
    api = lay(site(conf="# front"), FRONT)
    assert api.post("/app/orders/1", '"t"').status == 201
    is_problem(api.post("/app/orders/2", '"t"'), 422, "key-reused")
    assert api.runs == 1


def test_directory_index(site):
    api = lay(site(conf="DirectoryIndex index.php"), "")
    is_one(api, "/app/")


def test_fallback_resource(site):
    api = lay(site(conf="# fallback"), "FallbackResource /app/index.php\n")
    is_one(api, "/app/some/where")


def test_large_body_through_a_redirect(site):
    """rule 21: the body is given again to each request of the chain"""
    api = lay(site(conf="# front"), FRONT)
    body = bytes(range(256)) * 4000
    assert api.post("/app/big", '"b"', body).status == 201
    assert api.body_seen() == body
    row = api.fresh()
    assert row.post("/app/big", '"b"', body, pieces=(5, 7)).status == 201
    assert row.body_seen() == body


def test_location_of_a_cgi(api):
    """rule 2.2: a CGI that sends the server elsewhere"""
    target = quote("Location: /php/c.php?t=%s\n\n" % api.tag)
    path = "/cgi/c?raw=" + target
    first = api.post(path, '"cgi"')
    assert first.body == b"2\n" and not first.marked
    again = api.post(path, '"cgi"')
    assert again.marked and again.body == b"2\n"
    assert api.runs == 2
    assert sorted(api.server.results(api.tag, 2)) == ["executed", "replayed"]


def test_error_document(site):
    """M-10: the status of one request, the page of another"""
    api = site(conf="ErrorDocument 404 /page.txt")
    api.server.file("htdocs/page.txt", "not there\n")
    first = api.post("/app/none", '"ed"')
    again = api.post("/app/none", '"ed"')
    assert first.status == again.status == 404
    assert first.body == again.body == b"not there\n"
    assert not first.marked and again.marked


def test_second_pass_is_authorized(site):
    """rule 9: no replay before the final request was allowed"""
    api = lay(site(conf="# guard"), FRONT + '<Files "index.php">\nRequire '
                                            'env ALLOWED\n</Files>\n'
              'SetEnvIf X-Let-Me "yes" ALLOWED\n')
    api.expect_log("AH01630")
    allowed = [("X-Let-Me", "yes")]
    first = api.post("/app/x", '"a"', fields=allowed)
    assert first.status == 201
    refused = api.post("/app/x", '"a"')
    assert refused.status == 403 and first.body not in refused.body
    assert api.post("/app/x", '"a"', fields=allowed).marked
    assert api.runs == 1


def test_result_words(site):
    """R-25"""
    api = site(location="IdempotencyMaxRequestBody 1k")
    api.expect_log("AH01102", "AH00898")
    asked = [
        ("/orders", "w1", B1, "executed"),
        ("/orders", "w1", B1, "replayed"),
        ("/orders", "w1", B2, "key-reused"),
        ("/orders", '"bad', B1, "invalid-key"),
        ("/orders", "w2", b"x" * 2000, "payload-too-large"),
        ("/st/503", "w3", B1, "released"),
        ("/st/500", "w4", B1, "executed"),
        ("/nohdr", "w5", B1, "outcome-unknown"),
        ("/nohdr", "w5", B1, "outcome-unknown"),
        ("/orders", None, B1, "-"),
    ]
    for i, (path, key, body, word) in enumerate(asked):
        api.post(path, key, body)
        # Each line is waited for: children do not log in a common order.
        assert api.server.results(api.tag, i + 1)[i] == word


def test_nph_runs_unprotected_and_says_so(api):
    """rule 9: answers that go past all filters cannot be recorded"""
    api.expect_log("IDEM0020")
    for number in (1, 2):
        answer = api.post("/cgi/nph-c", '"n"')
        assert answer.body == b"nph\n" and not answer.marked
        assert api.runs == number
    assert "IDEM0020" in api.server.new_log()
    assert api.server.results(api.tag, 2) == ["bypassed", "bypassed"]


def test_nph_by_the_old_name_of_its_handler(site):
    """rule 9: AddType application/x-httpd-cgi makes scripts, too"""
    api = site(conf='<Location "/cgi/nph-c">\n'
                    "SetHandler application/x-httpd-cgi\n</Location>")
    api.expect_log("IDEM0020")
    for number in (1, 2):
        answer = api.post("/cgi/nph-c", '"n"')
        assert answer.body == b"nph\n" and not answer.marked
        assert api.runs == number


def test_numbers_in_server_status(own):
    """contract 6: counters have the result words"""
    api = own()
    api.server.start()
    api.expect_log("AH01102", "AH00898")
    before = api.server.status()
    assert before["Executed"] == 0 and before["Replayed"] == 0
    api.post("/orders", "a")
    api.post("/orders", "a")
    api.post("/orders", "a", B2)
    api.post("/orders", '"')
    api.post("/st/503", "b")
    api.post("/nohdr", "c")
    with api.conn() as conn:
        conn.send(api.raw("POST", "/gate", "d"))
        api.wait_n(4)
        api.post("/gate", "d")
        assert api.server.status()["RecordsExecuting"] == 1
        api.open_gate()
        conn.answer()
    numbers = api.server.status()
    for name, value in {
            "Executed": 2, "Replayed": 1, "KeyReused": 1, "InvalidKey": 1,
            "Released": 1, "OutcomeUnknown": 1, "InProgress": 1,
            "MissingKey": 0, "PayloadTooLarge": 0, "StoreUnavailable": 0,
            "ResponseNotRetained": 0, "KeyExpired": 0, "Bypassed": 0,
            "RecordsExecuting": 0, "RecordsDone": 2,
            "RecordsUnknown": 1}.items():
        assert numbers[name] == value, name
    page = client.exchange(api.port, client.request("GET", "/server-status",
                                                    body=None), "GET")
    assert b"<h1>Idempotency</h1>" in page.body


def test_redirect_after_the_claim(site):
    """rule 21: mod_actions hands a claimed request to another handler"""
    api = site(extra=("actions",), conf="Action by-cgi /cgi/c virtual\n"
               '<Location "/app/">\nSetHandler by-cgi\n</Location>')
    is_one(api, "/app/act")
    row = api.fresh()
    body = bytes(range(256)) * 4000
    assert row.post("/app/act", '"b"', body, pieces=(5, 7)).status == 201
    assert row.body_seen() == body


@pytest.mark.parametrize("source", ["header", "form"])
def test_key_after_the_redirect(site, source):
    """contract 6: the script is told, though its own place is not covered"""
    api = site(extra=("actions",), conf="ScriptAlias /uncovered/ @ROOT@/cgi/\n"
               "Action by-cgi /uncovered/c virtual\n"
               '<Location "/app/">\nSetHandler by-cgi\n'
               "IdempotencyKeySource header:Idempotency-Key form:k\n"
               "</Location>")
    path = "/app/act?env=IDEMPOTENCY_KEY"
    answer = (api.post(path, '"one"') if source == "header" else
              api.post(path, None, b"k=one",
                       ctype="application/x-www-form-urlencoded"))
    assert answer.body == b"one\n"


def test_sub_requests_are_part_of_their_request(site):
    """M-10, rule 7: an SSI page that runs a covered script"""
    api = site(extra=("include",),
               conf="<Directory @ROOT@/htdocs/app>\nOptions +Includes\n"
                    "AddOutputFilter INCLUDES .shtml\n</Directory>")
    api.server.file("htdocs/app/page.shtml",
                    '<!--#include virtual="/cgi/c?t=%s" -->' % api.tag)
    first = api.post("/app/page.shtml", '"ssi"')
    again = api.post("/app/page.shtml", '"ssi"')
    assert first.body == again.body == b"1\n"
    assert again.marked and not first.marked
    assert api.runs == 1
    # The script's own keys are another matter.
    assert api.post("/cgi/c", '"ssi2"').body == b"2\n"


def elsewhere(url):
    return "".join("ErrorDocument %d %s\n" % (status, url % status)
                   for status in (400, 404, 500, 502, 503, 504))


@pytest.mark.parametrize("url", ["http://status.test/%d",
                                 "http://status.test/?%.0s"])
def test_error_document_elsewhere(own, url):
    """O-04, O-05, O-08: a page of another server hides the status: 302"""
    api = own(conf=elsewhere(url) + "ProxyPass /app/ http://127.0.0.1:1/ "
              'retry=0\n<Location "/api/">\nProxyErrorOverride On\n'
              "</Location>")
    api.server.start()
    api.expect_log("AH01102", "AH00898", "AH01097", "AH00957", "AH01114",
                   "AH01144")

    def is_elsewhere(answer, status, marked=False):
        assert (answer.status, answer.marked) == (302, marked), answer
        assert answer.get("Location") == url % status
    is_elsewhere(api.post("/nohdr", '"lost"'), 502)
    is_problem(api.post("/nohdr", '"lost"'), 502, "outcome-unknown")
    for marked in (False, True):
        is_elsewhere(api.post("/st/404", '"gone"'), 404, marked)
    runs = api.n
    is_elsewhere(api.post("/app/x", '"down"'), 503)
    again = api.post("/app/x", '"down"')
    is_elsewhere(api.post("/st/503", '"busy"'), 503)
    busy = api.post("/st/503", '"busy"')
    if "%d" in url:  # each has its own page
        is_elsewhere(again, 503)
        is_elsewhere(busy, 503)
        assert api.n == runs + 2
    else:  # 503 cannot be told from 502
        is_problem(again, 502, "outcome-unknown")
        is_elsewhere(busy, 503, True)
        assert api.n == runs + 1
