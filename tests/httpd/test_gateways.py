# test_gateways.py: back ends that speak something else than HTTP/1: uwsgi,
# SCGI, AJP, FastCGI, HTTP/2. What they answer is kept; one that goes away with a
# request leaves its outcome unknown (contract 4).
# SPDX-License-Identifier: Apache-2.0
import socket
import struct
import threading

import pytest
from client import B1, is_problem

HEAD = "Content-Type: text/plain\r\nX-App: keep\r\n\r\n"


def ajp(kind, rest):
    packet = bytes([kind]) + rest
    return b"AB" + struct.pack(">H", len(packet)) + packet


def ajp_text(text):
    return struct.pack(">H", len(text)) + text.encode() + b"\0"


def ajp_answer(status, body):
    head = struct.pack(">H", status) + ajp_text("Told") + struct.pack(">H", 2)
    for field in ("Content-Type: text/plain", "X-App: keep"):
        head += b"".join(ajp_text(t) for t in field.split(": "))
    return (ajp(4, head) + ajp(3, struct.pack(">H", len(body)) + body + b"\0")
            + ajp(5, b"\0"))


def fcgi(kind, rest):
    return struct.pack(">BBHHBB", 1, kind, 1, len(rest), 0, 0) + rest


def cgi_answer(status, body):
    return ("Status: %d Told\r\n%s" % (status, HEAD)).encode() + body


ANSWERS = {
    "ajp": ajp_answer,
    "fcgi": lambda status, body: (fcgi(6, cgi_answer(status, body))
                                  + fcgi(6, b"") + fcgi(3, bytes(8))),
    "scgi": cgi_answer,
    "uwsgi": lambda status, body: ("HTTP/1.1 %d Told\r\n%s" % (
        status, HEAD)).encode() + body,
}


class Gateway(threading.Thread):
    """Takes a request, counts it, answers with a status; 0: goes away."""

    def __init__(self, scheme, status):
        super().__init__(daemon=True)
        self.scheme = scheme
        self.status = status
        self.greeting = b""
        self.once = False
        self.runs = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        while True:
            try:
                sock = self.listener.accept()[0]
            except OSError:
                return
            with sock:
                if self.once:
                    self.listener.close()
                self.serve(sock)

    def close(self):
        """Not close() alone: a thread that waits in accept() keeps it."""
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        self.join(5)

    def serve(self, sock):
        sock.settimeout(0.3)
        heard = b""
        sock.sendall(self.greeting)
        while True:  # a request is over when nothing more comes
            try:
                data = sock.recv(65536)
            except socket.timeout:
                break
            if not data:
                break
            heard += data
        if heard:
            self.runs += 1
            if self.status:
                sock.sendall(ANSWERS[self.scheme](self.status,
                                                  b"%d\n" % self.runs))


def modules(scheme):
    if scheme == "fcgi":
        return ()  # the rig's own
    return ("http2", "proxy_http2") if scheme == "h2c" else (
        "proxy_" + scheme,)


@pytest.fixture
def gateway(own):
    made = []

    def get(scheme, status, more=""):
        back = Gateway(scheme, status)
        made.append(back)
        api = own(conf='ProxyPass /app/ %s://127.0.0.1:%d/ retry=0\n%s'
                       % (scheme, back.port, more),
                  location="IdempotencyMethods POST PUT DELETE",
                  extra=modules(scheme))
        api.server.start()
        return api, back
    yield get
    for back in made:
        back.close()


def send(api, method):
    return api.send(method, "=/app/%s", "k", B1 if method == "POST" else None)


SCHEMES = pytest.mark.parametrize("scheme", sorted(ANSWERS))
METHODS = pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])


@SCHEMES
@pytest.mark.parametrize("status", [201, 500])
def test_answers_are_kept(gateway, scheme, status):
    """contract 1, O-05"""
    api, back = gateway(scheme, status)
    first, again = send(api, "POST"), send(api, "POST")
    assert (first.status, first.marked, first.body) == (status, False, b"1\n")
    assert (again.status, again.marked, again.body) == (status, True, b"1\n")
    assert first.get("X-App") == again.get("X-App") == "keep"
    assert back.runs == 1


@SCHEMES
@METHODS
def test_no_answer(gateway, scheme, method):
    """O-08: whatever httpd makes of it, 500, 502 or 503"""
    api, back = gateway(scheme, 0)
    api.expect_log("AH", "End of script output")
    first = send(api, method)
    assert first.status >= 500 and first.problem is None
    for _ in range(2):
        is_problem(send(api, method), 502, "outcome-unknown")
    assert back.runs == 1


@SCHEMES
@METHODS
def test_refused(gateway, scheme, method):
    """O-04"""
    api, back = gateway(scheme, 201)
    api.expect_log("AH")
    back.close()
    for _ in range(2):
        answer = send(api, method)
        assert answer.status == 503 and answer.problem is None
    assert api.server.results(api.tag, 2) == ["released", "released"]


GREETING = b"\0\0\0\4\0\0\0\0\0"  # of HTTP/2: empty SETTINGS


@pytest.mark.parametrize("greets, method", [
    (True, "POST"), (True, "PUT"), (False, "PUT")])
def test_http2_goes_away(gateway, method, greets):
    """O-08. Without a word of the other side mod_proxy_http2 connects once
    more of its own accord (and sends no body yet); a retry asks nobody."""
    api, back = gateway("h2c", 0)
    back.greeting = GREETING if greets else b""
    api.expect_log("AH")
    assert send(api, method).status in (502, 503)
    runs = back.runs
    for _ in range(2):
        is_problem(send(api, method), 502, "outcome-unknown")
    assert back.runs == runs


def test_http2_goes_away_for_good(gateway):
    """O-08: it cannot even be connected the second time"""
    api, back = gateway("h2c", 0)
    back.once = True
    back.greeting = GREETING
    api.expect_log("AH")
    assert send(api, "POST").status in (502, 503)
    is_problem(send(api, "POST"), 502, "outcome-unknown")
    assert back.runs == 1


def test_http2_refused(gateway):
    """O-04"""
    api, back = gateway("h2c", 0)
    back.close()
    api.expect_log("AH")
    for _ in range(2):
        answer = send(api, "POST")
        assert answer.status == 503 and answer.problem is None


@pytest.mark.parametrize("scheme", ["fcgi", "uwsgi"])  # the others cannot
def test_own_page_for_the_applications_error(gateway, scheme):
    """O-05: chosen by the application, shown by httpd"""
    api, back = gateway(scheme, 500, "ProxyErrorOverride On")
    first, again = send(api, "POST"), send(api, "POST")
    assert first.status == again.status == 500
    assert b"<html>" in first.body and again.body == first.body
    assert again.marked and back.runs == 1


@SCHEMES
@METHODS
def test_own_page_for_no_answer(gateway, scheme, method):
    """O-08: behind an ErrorDocument, too"""
    api, back = gateway(scheme, 0, "ErrorDocument 500 /oops.html\n"
                        "ErrorDocument 502 /oops.html\n"
                        "ErrorDocument 503 /oops.html")
    api.server.file("htdocs/oops.html", "oops\n")
    api.expect_log("AH", "End of script output")
    assert send(api, method).body == b"oops\n"
    is_problem(send(api, method), 502, "outcome-unknown")
    assert back.runs == 1


@SCHEMES
@METHODS
def test_no_fail_over(own, scheme, method):
    """rules on replay: a balancer gives it to nobody else"""
    one, two = Gateway(scheme, 0), Gateway(scheme, 0)
    api = own(conf="ProxyPass /app/ balancer://two/\n"
                   "<Proxy balancer://two>\n"
                   "BalancerMember %s://127.0.0.1:%d retry=0\n"
                   "BalancerMember %s://localhost:%d retry=0\n"
                   "</Proxy>" % (scheme, one.port, scheme, two.port),
              location="IdempotencyMethods POST PUT DELETE",
              extra=("slotmem_shm", "proxy_balancer", "lbmethod_byrequests")
              + modules(scheme))
    api.server.start()
    api.expect_log("AH", "IDEM0023", "End of script output")
    assert send(api, method).status >= 500
    is_problem(send(api, method), 502, "outcome-unknown")
    assert one.runs + two.runs == 1
    for back in (one, two):
        back.close()
