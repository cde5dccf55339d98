# test_outcomes.py: which outcomes are kept (conformance 1.5, cases 5, 6, 48).
# SPDX-License-Identifier: Apache-2.0
import os
import socket
import time

import client
import pytest
from client import is_problem
from test_life import settled

RELEASED = (401, 407, 408, 409, 421, 423, 425, 429, 503)
KEPT = (200, 202, 303, 400, 403, 404, 405, 413, 415, 422, 426, 451, 500, 501,
        502, 504, 599)


def is_kept(api, path, status, **more):
    first = api.post(path, '"o"', **more)
    again = api.post(path, '"o"', **more)
    assert (first.status, first.marked) == (status, False), first
    assert (again.status, again.marked) == (status, True), again
    assert first.body == again.body and first.reason == again.reason
    assert api.n + api.runs == 1


def is_released(api, path, status, **more):
    for _ in range(2):
        answer = api.post(path, '"o"', **more)
        assert (answer.status, answer.marked) == (status, False), answer
        assert answer.problem is None
    assert api.n + api.runs == 2


def sent_by_php(status, mpm):
    """httpd writes 500 where mod_php set a status that it has no name for."""
    return 500 if mpm == "prefork" and status in (425, 599) else status


@pytest.mark.parametrize("status", KEPT)
def test_kept(api, mpm, status):
    """O-01, O-02, O-05, case 48 (a)"""
    is_kept(api.fresh(), "/st/%d" % status, status)
    is_kept(api.fresh(), "/cgi/c?status=%d" % status, status)
    is_kept(api.fresh(), "/php/c.php?status=%d" % status,
            sent_by_php(status, mpm))


@pytest.mark.parametrize("status", RELEASED)
def test_released(api, mpm, status):
    """O-03, O-04, case 48 (a)"""
    is_released(api.fresh(), "/st/%d" % status, status)
    is_released(api.fresh(), "/cgi/c?status=%d" % status, status)
    is_released(api.fresh(), "/php/c.php?status=%d" % status,
                sent_by_php(status, mpm))


def test_release_list_is_configurable(site):
    """contract 5: IdempotencyReleaseStatus"""
    api = site(location="IdempotencyReleaseStatus 404 5xx")
    for status in (404, 500, 502, 504, 503):
        is_released(api.fresh(), "/st/%d" % status, status)
    is_kept(api.fresh(), "/st/409", 409)
    api = site(location="IdempotencyReleaseStatus none")
    is_kept(api.fresh(), "/st/503", 503)
    is_kept(api.fresh(), "/st/429", 429)


@pytest.fixture
def later():
    """A port that refuses until listen() is called on its socket."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


def test_back_end_down(own, later):
    """O-04, case 48 (c): nothing was sent, so the key is free"""
    api = own(conf="ProxyPass /later/ http://127.0.0.1:@DOWN@/ retry=0\n"
                   '<Location "/later/">\nIdempotencyEngine On\n</Location>')
    port = later.getsockname()[1]
    server = api.server
    server.write(conf=server.settings["conf"].replace("@DOWN@", str(port)))
    server.start()
    api.expect_log("AH00957", "AH01114", "AH00959")
    data = api.raw("POST", "=/later/%s/orders", '"s"')
    for _ in range(2):
        assert client.exchange(api.port, data).status == 503
    # The back end comes up: a second listener with the same counters.
    later.listen()
    api.backend.accept_at(later)
    answer = client.exchange(api.port, data)
    assert answer.status == 201 and not answer.marked
    assert client.exchange(api.port, data).marked
    assert api.n == 1


def test_back_end_times_out(site):
    """O-05, case 6"""
    api = site(conf="ProxyTimeout 3")
    api.expect_log("AH01102", "AH00898")
    first = api.post("/gate", '"to"')
    assert first.status in (502, 504) and first.problem is None
    again = is_problem(api.post("/gate", '"to"'), 502, "outcome-unknown")
    assert again.json["retryable"] is False
    api.open_gate()
    time.sleep(0.2)
    is_problem(api.post("/gate", '"to"'), 502, "outcome-unknown")
    assert api.n == 1


def test_rerun_if_so_configured(site):
    """O-05"""
    api = site(conf="ProxyTimeout 3",
               location="IdempotencyOutcomeUnknown rerun")
    api.expect_log("AH01102", "AH00898")
    assert api.post("/gate", '"to"').status in (502, 504)
    api.open_gate()
    answer = api.post("/gate", '"to"')
    assert answer.status == 201 and not answer.marked
    assert api.post("/gate", '"to"').marked
    assert api.n == 2


def test_early_errors_are_not_kept(site):
    """O-06, case 48 (b)"""
    api = site(location="IdempotencyMaxRequestBody 1k")
    assert api.post("/orders", '"bad').status == 400
    assert api.post("/orders", '"e"', b"x" * 2048).status == 413
    answer = api.post("/orders", '"e"')
    assert answer.status == 201 and not answer.marked
    assert api.n == 1


def test_torn_answer(api):
    """O-07"""
    api.expect_log("AH01102", "AH00898", "AH01110")
    first = api.post("/cut", '"cut"')
    assert first.status == 502 and b"0123456789" not in first.body
    is_problem(api.post("/cut", '"cut"'), 502, "outcome-unknown")
    assert api.n == 1


def test_torn_chunks(api):
    """O-07: the last chunk never came"""
    api.expect_log("AH01102", "AH00898", "AH01110")
    api.backend.raw[api.tag] = (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: "
                                b"chunked\r\n\r\n5\r\nhello\r\n")
    assert api.post("/raw", '"tc"').status == 502
    is_problem(api.post("/raw", '"tc"'), 502, "outcome-unknown")
    assert api.n == 1


def test_no_answer(api):
    """O-08"""
    api.expect_log("AH01102", "AH00898")
    assert api.post("/nohdr", '"no"').status == 502
    is_problem(api.post("/nohdr", '"no"'), 502, "outcome-unknown")
    assert api.n == 1


def test_no_answer_on_a_kept_connection(api):
    """O-08, case 5: mod_proxy then drops the client (AH01104)"""
    api.expect_log("AH01102", "AH00898", "AH01104")
    with api.conn() as conn:
        conn.send(api.raw("GET", "/off/orders", body=None)).answer()
        conn.send(api.raw("POST", "/nohdr", '"ka"'))
        try:
            assert conn.answer().status == 502
        except client.NoAnswer:
            pass
    is_problem(api.post("/nohdr", '"ka"'), 502, "outcome-unknown")
    assert api.n == 2  # the GET, and one run


def test_no_answer_with_rerun(site):
    """case 5"""
    api = site(location="IdempotencyOutcomeUnknown rerun")
    api.expect_log("AH01102", "AH00898")
    for _ in range(2):
        assert api.post("/nohdr", '"rr"').status == 502
    assert api.n == 2


def test_interim_answers_are_not_recorded(api):
    """O-09"""
    api.backend.raw[api.tag] = (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
        b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok")
    first = api.post("/raw", '"i"')
    assert first.status == 201
    again = api.post("/raw", '"i"')
    assert (again.status, again.interim, again.body) == (201, [], b"ok")
    assert again.marked and again.get("Link") is None
    assert api.n == 1


def test_tunnels_are_not_recorded(site):
    """O-10"""
    api = site(conf='ProxyPass /tun/ http://localhost:@BACKEND@/ '
                    'upgrade=ANY\n<Location "/tun/">\nIdempotencyEngine On\n'
                    '</Location>')
    api.expect_log("AH01102", "AH00898", "AH10212", "AH03408")
    api.backend.raw[api.tag] = (b"HTTP/1.1 101 Switching Protocols\r\n"
                                b"Upgrade: bell\r\nConnection: Upgrade\r\n"
                                b"\r\nding")
    data = api.raw("POST", "=/tun/%s/raw", '"up"',
                   fields=[("Upgrade", "bell"), ("Connection", "Upgrade")])
    for number in (1, 2):
        with api.conn() as conn:
            answer = conn.send(data).answer()
            assert answer.status == 101 and not answer.marked
            assert conn.take(4) == b"ding" and conn.at_end()
        # The key is free when the tunnel has ended, in the log's eyes too.
        words = api.server.results(api.tag, number)
        assert words == ["released"] * number
    assert api.n == 2


@pytest.mark.parametrize("status", [206, 304, 416])
def test_partial_answers_are_not_recorded(api, status):
    """O-11"""
    is_released(api, "/st/%d" % status, status)


def test_no_store_does_not_stop_recording(api):
    """O-13"""
    api.backend.raw[api.tag] = (b"HTTP/1.1 201 Created\r\nCache-Control: "
                                b"no-store\r\nContent-Length: 2\r\n\r\nok")
    assert api.post("/raw", '"ns"').status == 201
    again = api.post("/raw", '"ns"')
    assert again.marked and again.get("Cache-Control") == "no-store"
    assert api.n == 1


def test_error_pages_by_proxy_error_override(site):
    """contract 4: the application's answer, as the client saw it"""
    api = site(conf="ProxyErrorOverride On")
    for status in (404, 500):
        row = api.fresh()
        first = row.post("/st/%d" % status, '"peo"')
        again = row.post("/st/%d" % status, '"peo"')
        assert first.status == again.status == status
        assert first.body == again.body and b"<html>" in first.body
        assert again.marked and not first.marked
        assert row.n == 1
    row = api.fresh()
    is_released(row, "/st/429", 429)


def test_died_script(api):
    """case 24: a CGI that kills itself after it counted"""
    api.expect_log("End of script output", "AH01215", "AH02429")
    first = api.post("/cgi/c?die=1", '"die"')
    assert first.status >= 500
    is_problem(api.post("/cgi/c?die=1", '"die"'), 502, "outcome-unknown")
    assert api.runs == 1
    assert api.post("/cgi/c", '"other"').status == 201


@pytest.mark.mpms("worker", "event")
def test_died_fpm_worker(api):
    """a PHP-FPM worker killed before it answered"""
    api.expect_log("AH01067", "AH01075", "AH01079", "AH10391")
    first = api.post("/php/c.php?die=1", '"die"')
    assert first.status >= 500
    is_problem(api.post("/php/c.php?die=1", '"die"'), 502, "outcome-unknown")
    assert api.runs == 1


@pytest.mark.mpms("prefork")
def test_died_mod_php(api):
    """L-04, case 24: the process that runs the script kills itself"""
    with pytest.raises(client.NoAnswer):
        api.post("/php/c.php?die=1", '"die"')
    answer = settled(api, "/php/c.php?die=1", '"die"')
    is_problem(answer, 502, "outcome-unknown")
    assert api.runs == 1
    assert api.post("/php/c.php", '"other"').status == 201


def test_fpm_is_not_there(site):
    """a socket that refuses: nothing was run, the key is free"""
    api = site(conf='<Location "/app/">\nSetHandler "proxy:unix:@ROOT@/run/'
                    'none.sock|fcgi://localhost"\n</Location>')
    api.expect_log("AH02454", "AH01079", "AH00957", "AH00940", "AH01144")
    for _ in range(2):
        answer = api.post("/app/x.php", '"down"')
        assert answer.status == 503 and not answer.marked
        assert answer.problem is None
    assert api.server.results(api.tag, 2) == ["released", "released"]


def test_no_fail_over_of_a_request_that_was_sent(site):
    """rules on replay: a balancer must not run a keyed request twice"""
    api = site(conf='ProxyPass /bal/ balancer://two/\n'
                    '<Proxy balancer://two>\n'
                    'BalancerMember http://127.0.0.1:@BACKEND@ retry=0\n'
                    'BalancerMember http://localhost:@BACKEND@ retry=0\n'
                    'ProxySet lbmethod=byrequests\n</Proxy>\n'
                    '<Location "/bal/">\nIdempotencyEngine On\n</Location>',
               extra=("slotmem_shm", "proxy_balancer", "lbmethod_byrequests"))
    api.expect_log("AH01102", "AH00898", "AH01104", "IDEM0023")
    data = api.raw("POST", "=/bal/%s/nohdr", '"fo"')
    assert client.exchange(api.port, data).status in (502, 503)
    is_problem(client.exchange(api.port, data), 502, "outcome-unknown")
    assert api.n == 1


@pytest.mark.mpms("prefork")
def test_length_that_was_not_kept(api):
    """O-07: mod_php passes a script's Content-Length on"""
    path = "/php/c.php?h[]=Content-Length:%20100"
    first = api.post(path, '"short"')
    assert first.status == 502 and first.body != b"1\n"
    is_problem(api.post(path, '"short"'), 502, "outcome-unknown")
    assert api.runs == 1


def test_answer_that_goes_past_the_recorder(own):
    """contract 2, IDEM0021: mod_cache serves an error page before any handler"""
    api = own(extra=("cache", "cache_disk", "expires"),
              conf="CacheEnable disk /err\nCacheRoot @ROOT@/run/cache\n"
                   "ErrorDocument 404 /err/page.html\n"
                   "ProxyErrorOverride On\nExpiresActive On\n"
                   'ExpiresDefault "access plus 1 hour"')
    api.server.file("htdocs/err/page.html", "<p>gone</p>\n")
    os.mkdir(api.server.path("run/cache"))
    os.chmod(api.server.path("run/cache"), 0o777)
    api.server.start()
    api.expect_log("IDEM0021")
    for _ in range(2):  # into the cache, and out of it
        page = api.send("GET", "=/err/page.html%.0s", user=None)
    assert page.get("Age") is not None
    first = api.post("/st/404", '"past"', user=None)
    assert first.body == b"<p>gone</p>\n" and not first.marked
    assert "IDEM0021" in api.server.log()
    for _ in range(2):
        is_problem(api.post("/st/404", '"past"', user=None), 502,
                   "outcome-unknown")
    assert api.n == 1
