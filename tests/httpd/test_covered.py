# test_covered.py: which requests are covered (conformance 1.2).
# SPDX-License-Identifier: Apache-2.0
import pytest
from client import is_problem


def test_off_unless_configured(api):
    """M-01, case 52"""
    for _ in range(2):
        answer = api.post("/off/orders", '"a"')
        assert answer.status == 201 and not answer.marked
    assert api.n == 2
    assert api.post("/off/orders", '"bad').status == 201


def test_patch_is_covered(api):
    """M-02"""
    assert not api.send("PATCH", "/orders", '"m"').marked
    assert api.send("PATCH", "/orders", '"m"').marked
    assert api.n == 1


def test_other_methods_ignore_the_field(api):
    """M-03"""
    number = 0
    for method in ("GET", "PUT", "DELETE", "HEAD", "OPTIONS"):
        for _ in range(2):
            answer = api.send(method, "/orders", '"g"')
            assert answer.status in (200, 201) and not answer.marked
            number += 1
            assert api.n == number
        if method == "GET":
            assert not api.post("/orders", '"g"').marked
            number += 1
    assert api.post("/orders", '"g"').marked


def test_trace_is_not_covered(api):
    """M-03: answered by httpd as without the module"""
    api.post("/off/orders")
    answer = api.send("TRACE", "/orders", '"g"', body=None)
    assert not answer.marked and answer.problem is None


def test_bad_key_on_another_method_does_no_harm(api):
    """M-04"""
    assert api.send("GET", "/orders", '"bad').status == 200


def test_methods_are_configurable(site):
    """M-05"""
    api = site(location="IdempotencyMethods POST PATCH PUT DELETE")
    for method in ("DELETE", "PUT", "POST"):
        row = api.fresh()
        first = row.send(method, "/st/204", '"d"', body=None)
        again = row.send(method, "/st/204", '"d"', body=None)
        assert (first.status, first.marked) == (204, False)
        assert (again.status, again.marked) == (204, True)
        assert row.n == 1


def test_without_key_each_request_runs(api):
    """M-06"""
    for _ in range(2):
        answer = api.post("/orders")
        assert answer.status == 201 and not answer.marked
    assert api.n == 2


def test_required_key(site):
    """M-07"""
    api = site(location="IdempotencyRequireKey On")
    told = is_problem(api.post("/orders"), 400, "missing-key").json
    assert told["retryable"] is False
    assert api.n == 0
    assert api.post("/orders", '"k"').status == 201


@pytest.mark.parametrize("sources, told", [
    ("", "the field Idempotency-Key"),
    ("IdempotencyKeySource query:ClientToken",
     "the query parameter ClientToken"),
    ("IdempotencyKeySource header:X-Key form:order[key] json:/a/key",
     "the field X-Key or the form field order[key] or the JSON member "
     "/a/key")])
def test_missing_key_is_told_where(site, sources, told):
    """M-07: what a client has to do"""
    api = site(location="IdempotencyRequireKey On\n" + sources)
    answer = is_problem(api.post("/orders"), 400, "missing-key")
    assert " key in %s. Send " % told in answer.json["detail"]


def test_preflight_passes_without_key(site):
    """M-08"""
    api = site(location="IdempotencyRequireKey On")
    fields = [("Origin", "https://shop.test"),
              ("Access-Control-Request-Method", "POST"),
              ("Access-Control-Request-Headers", "idempotency-key")]
    answer = api.send("OPTIONS", "/orders", fields=fields)
    assert answer.status == 201 and answer.problem is None
    assert api.n == 1


def test_key_is_forwarded(api):
    """M-09"""
    api.post("/orders", '"f";a=1')
    assert api.backend.seen(api.tag)[0].all("Idempotency-Key") == ['"f";a=1']


def test_application_is_told_its_key(api):
    """contract 6: IDEMPOTENCY_KEY in the environment"""
    for path in ("/cgi/c?env=IDEMPOTENCY_KEY", "/php/c.php?env="
                                               "IDEMPOTENCY_KEY"):
        row = api.fresh()
        assert row.post(path, r'"a\"b"').body == b'a"b\n'


def test_cgi_and_php_are_covered(api):
    """contract 1: nothing in front of the application has to change"""
    for path in ("/cgi/c", "/php/c.php"):
        row = api.fresh()
        first = row.post(path, "k", b"some body")
        assert (first.status, first.body) == (201, b"1\n")
        assert row.body_seen() == b"some body"
        again = row.post(path, "k", b"some body")
        assert again.marked and again.body == b"1\n"
        assert row.runs == 1


def test_one_record_with_an_error_page(site):
    """M-10"""
    api = site(conf='ErrorDocument 500 /api/page/orders\n'
                    'ProxyErrorOverride On 500\n'
                    'ErrorDocument 502 "none"')
    first = api.post("/st/500", '"m10"')
    again = api.post("/st/500", '"m10"')
    assert first.status == again.status == 500
    assert first.body == again.body and first.body.startswith(b'{"id":')
    assert again.marked and not first.marked
    assert api.n == 1
