# test_scope.py: whose key it is (conformance 1.9, cases 17, 19).
# SPDX-License-Identifier: Apache-2.0
import base64
import hashlib
import signal
import ssl
import subprocess

import client
import pytest
import rig
from client import B2, is_problem


def basic(user, password="pw"):
    text = base64.b64encode(("%s:%s" % (user, password)).encode()).decode()
    return "Basic " + text


AUTH = ('AuthType Basic\nAuthName "a"\nAuthUserFile %s/users\n'
        'Require user %s')


def with_users(own, allowed):
    api = own()
    server = api.server
    line = base64.b64encode(hashlib.sha1(b"pw").digest()).decode()
    server.file("users", "".join("%s:{SHA}%s\n" % (u, line) for u in "AB"))
    server.write(location=AUTH % (server.root, allowed))
    server.start()
    api.expect_log("AH01617", "AH01618", "AH01630", "AH01631")
    return api


def test_users_do_not_share_keys(own):
    """S-01, S-02, case 17 (a)"""
    api = with_users(own, "A B")
    first = {u: api.post("/orders", '"s"', user=basic(u)) for u in "AB"}
    assert [first[u].json["id"] for u in "AB"] == [1, 2]
    assert not first["A"].marked and not first["B"].marked
    for user in "AB":
        again = api.post("/orders", '"s"', user=basic(user))
        assert again.marked and again.body == first[user].body
    other = api.post("/orders", '"s2"', user=basic("A"))
    assert other.json == {"id": 3}
    other = api.post("/orders", '"s2"', B2, user=basic("B"))
    assert other.status == 201 and not other.marked
    assert api.n == 4


def test_authorization_comes_first(own):
    """S-03, O-06, case 19"""
    api = with_users(own, "A B")
    wrong = api.post("/orders", '"s"', user=basic("A", "no"))
    assert wrong.status == 401 and wrong.problem is None
    first = api.post("/orders", '"s"', user=basic("A"))
    assert first.status == 201 and not first.marked
    for user in (None, basic("A", "no")):
        refused = api.post("/orders", '"s"', user=user)
        assert refused.status == 401 and not refused.marked
        assert first.body not in refused.body
    server = api.server
    server.write(location=AUTH % (server.root, "B"))
    server.again(signal.SIGUSR1)
    # For a moment a child of old may still take the connection.
    assert rig.wait_until(lambda: api.post(
        "/orders", '"s"', user=basic("A")).status in (401, 403), 10)
    refused = api.post("/orders", '"s"', user=basic("A"))
    assert refused.status in (401, 403) and not refused.marked
    assert first.body not in refused.body
    # The record is untouched.
    server.write(location=AUTH % (server.root, "A B"))
    server.again(signal.SIGUSR1)
    assert rig.wait_until(lambda: api.post(
        "/orders", '"s"', user=basic("A")).status == 201, 10)
    again = api.post("/orders", '"s"', user=basic("A"))
    assert again.marked and again.body == first.body
    assert api.n == 1


def test_page_for_an_early_error_claims_nothing(site):
    """O-06: an ErrorDocument below a covered location is no answer"""
    api = site(conf="ErrorDocument 403 /cgi/c?t=page&status=403\n"
                    '<Location "/api/">\nRequire expr "%{HTTP:X-Let} == '
                    "'yes'\"\n</Location>")
    api.expect_log("AH01630")
    refused = api.post("/orders", '"p"')
    assert refused.status == 403 and not refused.marked
    first = api.post("/orders", '"p"', fields=[("X-Let", "yes")])
    assert first.status == 201 and not first.marked
    again = api.post("/orders", '"p"')
    assert again.status == 403 and not again.marked
    assert api.post("/orders", '"p"', fields=[("X-Let", "yes")]).marked
    assert api.n == 1


def test_bearer_tokens_are_principals(api):
    """S-04, case 17"""
    one, two = "Bearer a" + api.tag, "Bearer b" + api.tag
    assert api.post("/orders", '"s"', user=one).json == {"id": 1}
    assert api.post("/orders", '"s"', user=two).json == {"id": 2}
    assert api.post("/orders", '"s"', user=one).json == {"id": 1}
    anyone = api.post("/orders", '"s%s"' % api.tag, user=None)
    assert anyone.json == {"id": 3}
    assert api.post("/orders", '"s%s"' % api.tag, user=None).marked
    assert api.n == 3


def test_sessions_are_principals(api):
    """case 17 (b): by cookie only"""
    key = '"c%s"' % api.tag
    for _ in range(2):
        for number, session in ((1, "a"), (2, "b")):
            answer = api.post("/orders", key, user=None, fields=[
                ("Cookie", "x=%d; PHPSESSID=%s; y=2" % (number, session))])
            assert answer.json == {"id": number}
    assert api.post("/orders", key, user=None).json == {"id": 3}
    # Other cookies do not count.
    again = api.post("/orders", key, user=None,
                     fields=[("Cookie", "PHPSESSID=a; other=9")])
    assert again.marked and again.json == {"id": 1}
    assert api.n == 3


def test_sessions_in_several_lines(api):
    """case 17 (b): httpd joins the lines with a comma"""
    def post(*cookies):
        return api.post("/orders", "l" + api.tag, user=None,
                        fields=[("Cookie", c) for c in cookies])
    for number, session in ((1, "a"), (2, "b")):
        assert post("x=1", "PHPSESSID=" + session).json == {"id": number}
        for cookies in (["PHPSESSID=" + session, "y=2"],
                        ["x=3", "PHPSESSID=%s; y=4" % session, "z=5"],
                        ["PHPSESSID=" + session]):
            again = post(*cookies)
            assert again.marked and again.json == {"id": number}, cookies
    # A comma in a value, also one with a space, does not end it.
    for number, value in enumerate(("a,1", "a,2", 'a, "b"', "a, c"), 3):
        assert post("PHPSESSID=" + value).json == {"id": number}
    assert api.n == 6


def test_cookies_by_their_beginning(site):
    """contract 5: cookie:NAME*"""
    api = site(location="IdempotencyPrincipal cookie:wordpress_logged_in_*")
    for _ in range(2):
        for number, cookie in ((1, "wordpress_logged_in_ab12=u1"),
                               (2, "wordpress_logged_in_ab12=u2"),
                               (3, "wordpress_test=u1")):
            answer = api.post("/orders", "w" + api.tag, user=None,
                              fields=[("Cookie", cookie)])
            assert answer.json == {"id": number}
    assert api.n == 3


def test_principal_by_expression(site):
    """S-05"""
    api = site(conf='SetEnvIf X-Tenant "(.+)" TENANT=$1',
               location='IdempotencyPrincipal "expr:%{env:TENANT}"')
    key = "e" + api.tag

    def post(token, tenant):
        return api.post("/orders", key, user="Bearer " + token,
                        fields=[("X-Tenant", tenant)])
    assert post("old", "t1").json == {"id": 1}
    again = post("new", "t1")
    assert again.marked and again.json == {"id": 1}
    assert post("new", "t2").json == {"id": 2}


def test_principal_by_header_and_ip(site):
    """contract 5"""
    api = site(location="IdempotencyPrincipal header:X-Account ip")
    for _ in range(2):
        for number, account in ((1, "a"), (2, "b")):
            answer = api.post("/orders", "h" + api.tag, user=None,
                              fields=[("X-Account", account)])
            assert answer.json == {"id": number}
    assert api.n == 2


HOSTS = """
<VirtualHost 127.0.0.1:@PORT@>
ServerName one.test
</VirtualHost>
<VirtualHost 127.0.0.1:@PORT@>
ServerName two.test
</VirtualHost>
"""


def test_hosts_do_not_share_keys(site):
    """S-06, case 17 (d)"""
    api = site(conf=HOSTS)
    for _ in range(2):
        for number, host in ((1, "one.test"), (2, "two.test")):
            answer = api.post("/orders", '"v"', host=host)
            assert answer.json == {"id": number}
    assert api.n == 2


UNNAMED = """
<VirtualHost 127.0.0.1:@PORT@>
ServerAlias one.test
</VirtualHost>
<VirtualHost 127.0.0.1:@PORT@>
ServerAlias two.test 2.test
</VirtualHost>
<VirtualHost 127.0.0.1:@PORT@>
ServerAlias *.three.test
</VirtualHost>
"""


def test_hosts_without_a_name_do_not_share_keys(site):
    """S-06: without ServerName all of them have that of the machine"""
    api = site(conf=UNNAMED)
    hosts = ("one.test", "two.test", "a.three.test")
    for _ in range(2):
        for number, host in enumerate(hosts, 1):
            answer = api.post("/orders", '"v"', host=host)
            assert answer.json == {"id": number}
    assert api.post("/orders", '"v"', host="2.test").json == {"id": 2}
    assert api.n == 3


TLS = """
Listen 127.0.0.1:@TLS@
<VirtualHost 127.0.0.1:@TLS@>
ServerName api.test
SSLEngine On
SSLCertificateFile @ROOT@/server.pem
SSLVerifyClient optional_no_ca
<Location "/api/">
IdempotencyPrincipal tls
</Location>
</VirtualHost>
"""


def make_cert(server, name):
    path = server.path(name + ".pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", "/CN=" + name, "-keyout", path, "-out",
                    path + ".crt"], check=True, stderr=subprocess.DEVNULL)
    with open(path + ".crt") as crt, open(path, "a") as pem:
        pem.write(crt.read())
    return path


def test_sites_of_one_virtual_host(site):
    """S-06, the manual: one <VirtualHost> for many sites is one, unless the
    principal names the site"""
    def hosts(api):
        return [api.post("/orders", "h" + api.tag, user=None, host=host)
                for host in ("a.shops.test", "b.shops.test", "a.shops.test")]
    assert [a.json["id"] for a in hosts(site())] == [1, 1, 1]
    apart = hosts(site(location="IdempotencyPrincipal credentials "
                                "cookie:PHPSESSID header:Host"))
    assert [a.json["id"] for a in apart] == [1, 2, 1]
    assert [a.marked for a in apart] == [False, False, True]


def test_client_certificates_are_principals(own):
    """case 17 (c)"""
    api = own(extra=("socache_shmcb", "ssl"))
    server, port = api.server, rig.free_port()
    certs = {name: make_cert(server, name) for name in ("server", "a", "b")}
    server.write(conf=TLS.replace("@TLS@", str(port)))
    server.start()
    api.expect_log("AH01906", "AH01909", "AH01873", "AH02085")

    def post(name):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if name:
            context.load_cert_chain(certs[name])
        with client.Conn(port) as conn:
            conn.sock = context.wrap_socket(conn.sock)
            return conn.send(api.raw("POST", "/orders", '"t"',
                                     user=None)).answer()
    for _ in range(2):
        for number, name in ((1, "a"), (2, "b"), (3, None)):
            assert post(name).json == {"id": number}
    assert api.n == 3


@pytest.mark.parametrize("level", ["info", "debug"])
def test_keys_stay_out_of_the_error_log(site, level):
    """S-09"""
    api = site(level=level, location="IdempotencyRequireKey On")
    api.expect_log("AH01102", "AH00898", "AH01110")
    secret = "Sekret-" + api.tag
    body = b'{"card":"Kard-4111-%s"}' % api.tag.encode()
    for path in ("/orders", "/cut", "/st/503", "/cgi/c"):
        for _ in range(2):
            api.post(path, secret + path[1:3], body)
    is_problem(api.post("/orders", secret + "or", B2), 422, "key-reused")
    api.post("/orders", '"%s"x' % secret)
    api.post("/orders", '"%s' % secret)
    log = api.server.new_log()
    assert "Sekret" not in log and "Kard-4111" not in log
    if level == "debug":
        assert "idempotency:debug" in log
