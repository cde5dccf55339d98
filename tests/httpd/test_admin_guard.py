# test_admin_guard.py: an administrator's actions: on purpose, and his alone.
# SPDX-License-Identifier: Apache-2.0
import client
import pytest
from pages import ADMIN, HOSTS, act, ask, get, listed, post, status, token


@pytest.fixture
def api(admin):
    return admin


def refused(api, code=403, **how):
    answer = post(api, **how)
    assert answer.status == code, answer
    assert answer.json["detail"]
    return answer


def test_a_token_is_needed(api):
    """issue 5, 3"""
    api.post("/orders", "k")
    full = listed(api)[0]["id"]
    good = token(api)
    then, sum_ = good.split(".")
    for bad in (None, "", "x", "." + sum_, then + ".", good[:-1], good + "0",
                "%d.%s" % (int(then) + 1, sum_),
                "%d.%s" % (int(then) - 400, sum_),
                then + "." + sum_.translate(str.maketrans("0123", "1230")),
                "99999999999999999999." + sum_):
        params = {"action": "release", "id": full}
        if bad is not None:
            params["token"] = bad
        refused(api, **params)
    assert len(listed(api)) == 1
    # Not that of another virtual host, nor of another user.
    refused(api, action="release", id=full,
            token=token(api, host="other.test"))
    alice = [("Authorization", "Basic YWxpY2U6c2VjcmV0")]
    bob = [("Authorization", "Basic Ym9iOnNlY3JldA==")]
    hers = get(api, "/closed", action="token", fields=alice).json["token"]
    refused(api, path="/closed", fields=bob, action="release", id=full,
            token=hers)
    assert post(api, "/closed", fields=alice, action="release", id=full,
                token=hers).status == 200
    assert listed(api) == []


@pytest.mark.parametrize("fields", [
    [("Origin", "http://evil.test")], [("Origin", "null")],
    [("Origin", "http://api.test.evil.test")],
    [("Origin", "http://api.test:1")],
    [("Sec-Fetch-Site", "cross-site")], [("Sec-Fetch-Site", "same-site")]])
def test_other_origins_are_refused(api, fields):
    """issue 5, 3: though they had a token"""
    api.post("/orders", "k")
    full = listed(api)[0]["id"]
    refused(api, fields=fields, action="release", id=full, token=token(api))
    assert get(api, "/admin", action="token", fields=fields).status == 403
    assert len(listed(api)) == 1


@pytest.mark.parametrize("fields", [
    [("Origin", "http://api.test")], [("Origin", "http://API.TEST")],
    [("Sec-Fetch-Site", "same-origin"), ("Origin", "http://api.test")],
    [("Sec-Fetch-Site", "none")]])
def test_the_own_origin_is_not(api, fields):
    api.post("/orders", "k")
    full = listed(api)[0]["id"]
    assert post(api, fields=fields, action="release", id=full,
                token=token(api)).status == 200


def test_a_name_that_was_made_to_point_here(api):
    """DNS rebinding: the page of evil.test asks evil.test, which is us"""
    evil = [("Origin", "http://evil.test")]
    assert get(api, "/admin", host="evil.test", action="token",
               fields=evil).status == 403
    assert get(api, "/admin", host="evil.test", action="token").status == 403
    assert get(api, "/admin", host="127.0.0.1:%d" % api.port,
               action="token").status == 200
    assert get(api, "/admin", host="www.other.test",
               action="token").status == 200


def test_nothing_changes_by_get(api):
    """issue 5, 3"""
    api.post("/orders", "k")
    full = listed(api)[0]["id"]
    mine = token(api)
    for action in ("release", "purge"):
        answer = ask(api, action=action, id=full, token=mine)
        assert answer.status == 405 and answer.get("Allow") == "POST"
    assert len(listed(api)) == 1
    for action in ("list", "export", "token"):
        assert act(api, action).status == 405
    assert get(api, "/admin", action="destroy").status == 400
    assert post(api).status == 405
    assert client.exchange(api.port, client.request(
        "POST", "/admin?action=release", body=b"{}",
        ctype="application/json")).status == 415
    assert refused(api, 400, action="release", x="y" * 70000)


# ------------------------------------------------------------- who may not

def test_without_permission(own):
    """issue 5, 3: no action at all, for a tenant or where it is not
    permitted"""
    api = own(conf="IdempotencyAdmin On\n" + ADMIN + HOSTS
              + '<Location "/plain">\nSetHandler idempotency-status\n'
                "IdempotencyAdmin Off\n</Location>")
    api.server.file("other/st/.htaccess", "SetHandler idempotency-status\n")
    api.server.start()
    api.post("/orders", "k", host="other.test")
    full = listed(api)[0]["id"]
    mine = token(api, host="other.test")
    for path in ("/plain", "/st/"):
        for action in ("token", "list", "export", "show", "nothing"):
            answer = get(api, path, host="other.test", action=action)
            assert answer.status == 403, (path, action)
            assert "IdempotencyAdmin" in answer.json["works"]
        for action in ("release", "purge", "show"):
            answer = post(api, path, at="other.test", action=action,
                          id=full, token=mine)
            assert answer.status == 405, answer
            answer = post(api, path + "?action=" + action, at="other.test",
                          id=full, token=mine)
            assert answer.status == 403, answer
    assert len(listed(api)) == 1
    assert status(api, "/st/", host="other.test")["scope"] == "host"


def test_a_key_need_not_stand_in_the_access_log(api):
    """show by POST"""
    api.post("/orders", "very-secret-key")
    told = act(api, "show", key="very-secret-key",
               host="api.test:%d" % api.port,
               principal="authorization:Bearer " + api.tag)
    assert told.status == 200 and told.json["state"] == "done"
    assert len(told.json["audit_key"]) == 32
    api.server.stop()
    assert "very-secret" not in api.server.read_log("logs/access.log")
    assert "very-secret" not in api.server.log()
