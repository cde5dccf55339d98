# pages.py: the handler's pages, asked for by tests.
# SPDX-License-Identifier: Apache-2.0
import urllib.parse

import client
import openmetrics

ADMIN = """
<Location "/admin">
    SetHandler idempotency-status
    IdempotencyAdmin On
</Location>
<Location "/own">
    SetHandler idempotency-status
</Location>
"""
HOSTS = """
<VirtualHost 127.0.0.1:@PORT@>
    ServerName api.test
</VirtualHost>
<VirtualHost 127.0.0.1:@PORT@>
    ServerName other.test
    ServerAlias www.other.test
    DocumentRoot @ROOT@/other
</VirtualHost>
"""
USERS = """
<Location "/closed">
    SetHandler idempotency-status
    IdempotencyAdmin On
    AuthType Basic
    AuthName a
    AuthBasicProvider file
    AuthUserFile @ROOT@/users
    Require valid-user
</Location>
<Location "/api/">
    IdempotencyTTL 1h
</Location>
"""


def get(api, path, host="api.test", method="GET", fields=(), **params):
    target = path + ("?" + urllib.parse.urlencode(params) if params else "")
    return client.exchange(api.port, client.request(
        method, target, body=None, fields=fields, host=host), method)


def status(api, path="/admin", **more):
    answer = get(api, path, format="json", **more)
    assert answer.status == 200, answer
    assert answer.get("Content-Type") == "application/json"
    return answer.json


def metrics(api, path="/admin", **more):
    answer = get(api, path, format="openmetrics", **more)
    assert answer.status == 200, answer
    return openmetrics.parse(answer.body.decode())


def ask(api, path="/admin", **params):
    """GET, with parameters that may be lists."""
    return client.exchange(api.port, client.request(
        "GET", path + "?" + urllib.parse.urlencode(params, True),
        body=None), "GET")


def post(api, path="/admin", at="api.test", fields=(), **params):
    return client.exchange(api.port, client.request(
        "POST", path, body=urllib.parse.urlencode(params, True).encode(),
        ctype="application/x-www-form-urlencoded", host=at, fields=fields))


def token(api, path="/admin", **more):
    answer = get(api, path, action="token", **more)
    assert answer.status == 200, answer
    assert answer.json["good_for_seconds"] == 300
    return answer.json["token"]


def act(api, action, path="/admin", **params):
    return post(api, path, action=action, token=token(api, path), **params)


def show(api, key, host="api.test", **more):
    more.setdefault("principal", "authorization:Bearer " + api.tag)
    return ask(api, action="show", key=key, host=host, **more)


def listed(api, **params):
    """Every record, page by page."""
    found, cursor = [], None
    while True:
        target = dict(params, action="list")
        if cursor:
            target["cursor"] = cursor
        answer = ask(api, **target)
        assert answer.status == 200, answer
        found += answer.json["records"]
        cursor = answer.json["next"]
        if not cursor:
            ids = [row["id"] for row in found]
            assert len(set(ids)) == len(ids)
            return found
