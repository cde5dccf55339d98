# test_failover.py: a balancer must not give a request to a second member.
# SPDX-License-Identifier: Apache-2.0
import socket
import struct
import threading

import pytest

EXTRA = ("slotmem_shm", "proxy_balancer", "lbmethod_byrequests")


class DyingFastCgi:
    """Takes a FastCGI request whole, counts it, and hangs up."""

    def __init__(self):
        self.taken = 0
        self.lock = threading.Lock()
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen(8)
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                conn, _ = self.sock.accept()
            except OSError:
                return
            with conn, conn.makefile("rb") as stream:
                if self.read_request(stream):
                    with self.lock:
                        self.taken += 1

    @staticmethod
    def read_request(stream):
        """Records up to the empty one of type 5, the end of the body."""
        while True:
            head = stream.read(8)
            if len(head) < 8:
                return False
            _, kind, _, length, padding, _ = struct.unpack("!BBHHBB", head)
            stream.read(length + padding)
            if kind == 5 and length == 0:
                return True


@pytest.fixture
def members():
    pair = [DyingFastCgi(), DyingFastCgi()]
    yield pair
    for member in pair:
        member.sock.close()


def balancer(members):
    lines = "\n".join("BalancerMember fcgi://127.0.0.1:%d" % m.port
                      for m in members)
    return ("<Proxy balancer://pool>\n%s\n</Proxy>\n"
            "ProxyPass /app/ balancer://pool/" % lines)


def test_no_second_member_gets_the_request(own, members):
    """conformance 6: mod_proxy does not retry a keyed request"""
    api = own(conf=balancer(members), extra=EXTRA)
    api.server.start()
    api.expect_log("AH01075", "IDEM0023", "proxy_balancer:error", "AH01067",
                   "AH01167", "proxy_fcgi:error")
    first = api.post("/app/x?a=1", '"f"')
    assert first.status == 502
    retry = api.post("/app/x?a=1", '"f"')
    assert (retry.status, retry.problem) == (502, "outcome-unknown")
    assert sum(m.taken for m in members) == 1


def test_one_dead_backend_is_unknown_not_free(own, members):
    """contract 2: 503 of FastCGI after the request was sent"""
    api = own(conf="ProxyPass /app/ fcgi://127.0.0.1:%d/" % members[0].port)
    api.server.start()
    api.expect_log("AH01075", "proxy_fcgi:error", "AH01067")
    assert api.post("/app/x", '"f"').status == 503
    retry = api.post("/app/x", '"f"')
    assert (retry.status, retry.problem) == (502, "outcome-unknown")
    assert members[0].taken == 1
