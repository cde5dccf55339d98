# test_problem.py: our own error answers (conformance 1.7).
# SPDX-License-Identifier: Apache-2.0
import pytest
from client import B1, B2, is_problem

BASE = "https://mod-idempotency.example/problems"


def test_problems_are_json_whatever_is_accepted(site):
    """P-01, P-02, P-03, P-05, P-06, P-07, P-11"""
    api = site(location="IdempotencyRequireKey On")
    for accept in ("text/html", "application/json", "image/*;q=0.1"):
        told = is_problem(api.post("/orders", fields=[("Accept", accept)]),
                          400, "missing-key")
        assert told.json["type"] == BASE + "/missing-key"
        assert told.get("Link") == ('<%s/missing-key>; rel="describedby"'
                                    % BASE)
        for name in told.json:
            assert len(name) >= 3 and name[0].isalpha()


def test_base_is_configurable(site):
    """P-02"""
    for base in ("https://api.test/help", "https://api.test/help/"):
        api = site(location="IdempotencyProblemBase " + base)
        told = is_problem(api.post("/orders", '"'), 400, "invalid-key")
        assert told.json["type"] == "https://api.test/help/invalid-key"
        assert "<https://api.test/help/invalid-key>" in told.get("Link")


@pytest.mark.parametrize("key", [
    '<"}\\u0000>', '"<script>', "\\", "a b", b'"\xe2\x80\xa8"', "'\"--",
    '"\\u0000"', "{}", b"\xff\xfe"])
def test_keys_do_not_break_the_body(api, key):
    """P-09"""
    told = is_problem(api.post("/orders", key), 400, "invalid-key")
    assert told.get("Content-Type") == "application/problem+json"
    assert api.n == 0


def test_nothing_internal_leaks(api):
    """P-09"""
    api.post("/orders", '"leak"')
    told = is_problem(api.post("/orders", '"leak"', B2), 422, "key-reused")
    text = told.body.decode()
    assert "0x" not in text and "pid" not in text and api.tag not in text
    assert "/tmp" not in text and "127.0.0.1" not in text


def test_status_codes_are_configurable(site):
    """P-10"""
    api = site(location="IdempotencyProblemStatus key-reused 409\n"
                        "IdempotencyProblemStatus invalid-key 422")
    api.post("/orders", '"r"')
    is_problem(api.post("/orders", '"r"', B2), 409, "key-reused")
    is_problem(api.post("/orders", '"'), 422, "invalid-key")
    is_problem(api.post("/orders", '"%s"' % ("x" * 256)), 422, "invalid-key")


def test_header_always_applies(site):
    """contract 4: problems take the error path"""
    api = site(location="Header set X-Set s\nHeader always set X-Always a\n"
                        "Header always set Access-Control-Allow-Origin *")
    told = is_problem(api.post("/orders", '"'), 400, "invalid-key")
    assert told.all("X-Always") == ["a"]
    assert told.get("Access-Control-Allow-Origin") == "*"
    assert told.get("X-Set") is None


def test_error_documents_do_not_hide_problems(site):
    """P-01"""
    api = site(conf="ErrorDocument 400 /api/problem-page/orders\n"
                    'ErrorDocument 422 "no"\nErrorDocument 409 /x')
    is_problem(api.post("/orders", '"'), 400, "invalid-key")
    api.post("/orders", '"e"')
    is_problem(api.post("/orders", '"e"', B2), 422, "key-reused")
    assert api.n == 1 and api.backend.count("problem-page") == 0


def test_problems_can_be_coded(site):
    """R-13: a client that asks for gzip can read them"""
    api = site(location="SetOutputFilter DEFLATE")
    told = api.post("/orders", '"', fields=[("Accept-Encoding", "gzip")])
    assert told.status == 400
    if told.get("Content-Encoding") is None:
        is_problem(told, 400, "invalid-key")


def test_verdicts_in_order(site):
    """contract 3: invalid key, then body too large, then reused"""
    api = site(location="IdempotencyMaxRequestBody 1k")
    big = b"x" * 2000
    is_problem(api.post("/orders", '"', big), 400, "invalid-key")
    assert api.post("/orders", '"o"').status == 201
    is_problem(api.post("/orders", '"o"', big), 413, "payload-too-large")
    is_problem(api.post("/orders", '"o"', B2), 422, "key-reused")
    assert api.n == 1


def test_each_case_has_its_own_type_and_status(site):
    """P-08, contract 4"""
    api = site(location="IdempotencyMaxRequestBody 2k\n"
                        "IdempotencyMaxResponse 1k",
               conf='<Location "/must/">\nIdempotencyEngine On\n'
                    'IdempotencyRequireKey On\n</Location>\n'
                    "ProxyPass /must/ http://127.0.0.1:@BACKEND@/\n")
    api.expect_log("AH01102", "AH00898")
    for path, key, body in (("/orders", '"d"', B1), ("/big/1100", '"b"', B1),
                            ("/nohdr", '"u"', B1)):
        api.post(path, key, body)
    with api.conn() as running:
        running.send(api.raw("POST", "/gate", '"g"'))
        api.wait_n(4)
        told = [api.post("=/must/%s/orders"), api.post("/orders", '"'),
                api.post("/orders", '"l"', b"x" * 3000),
                api.post("/orders", '"d"', B2), api.post("/gate", '"g"'),
                api.post("/big/1100", '"b"'), api.post("/nohdr", '"u"')]
        api.open_gate()
        running.answer()
    wanted = [(400, "missing-key"), (400, "invalid-key"),
              (413, "payload-too-large"), (422, "key-reused"),
              (409, "in-progress"), (409, "response-not-retained"),
              (502, "outcome-unknown")]
    for answer, (status, word) in zip(told, wanted):
        is_problem(answer, status, word)
    assert len({answer.json["title"] for answer in told}) == len(wanted)
    assert api.n == 4


def test_reused_is_told_before_not_retained(site):
    """contract 3"""
    api = site(location="IdempotencyMaxResponse 1k")
    assert api.post("/big/1100", '"b"').status == 200
    is_problem(api.post("/big/1100", '"b"', B2), 422, "key-reused")
    is_problem(api.post("/big/1100", '"b"'), 409, "response-not-retained")
    assert api.n == 1


def test_reused_is_told_before_unknown(api):
    """contract 3"""
    api.expect_log("AH01102", "AH00898")
    assert api.post("/nohdr", '"u"').status == 502
    is_problem(api.post("/nohdr", '"u"', B2), 422, "key-reused")
    is_problem(api.post("/nohdr", '"u"'), 502, "outcome-unknown")
    assert api.n == 1
