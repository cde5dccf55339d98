# test_trouble.py: what a broken machine or configuration leads to: a clear
# word, and nothing is run that should not be (case 54).
# SPDX-License-Identifier: Apache-2.0
import glob
import os
import signal
import time

import pytest
import rig
from client import is_problem
from rig import wait_until


def said_at_start(api, number):
    with pytest.raises(AssertionError) as failure:
        api.server.start()
    assert number in str(failure.value)


@pytest.mark.parametrize("path", ["/tmp/" + "x" * 5000, "x" * 4096,
                                  "/../x" * 1000])
def test_a_path_that_is_too_long(own, path):
    """Not taken for none: records would be gone at the next stop"""
    api = own(store="shm path=" + path)
    status, said = api.server.check()
    assert status != 0 and "path=idempotency.store" in said


def overcommits():
    with open("/proc/sys/vm/overcommit_memory") as file:
        return file.read().strip() == "1"


@pytest.mark.skipif(overcommits(), reason="this machine promises any memory")
def test_a_store_that_is_too_large(own):
    """IDEM0001: the size, and what to do"""
    api = own(store="shm size=1024G path=none")
    said_at_start(api, "no memory for size=%d, ask for less" % (1 << 40))


def test_no_digests(own, monkeypatch):
    """IDEM0009: a configuration of OpenSSL that leaves out SHA-256"""
    api = own()
    api.server.file("openssl.cnf", "openssl_conf = a\n[a]\nproviders = b\n"
                    "[b]\nbase = c\n[c]\nactivate = 1\n")
    monkeypatch.setenv("OPENSSL_CONF", api.server.path("openssl.cnf"))
    said_at_start(api, "IDEM0009")


def test_no_place_for_the_locks(own):
    """IDEM0005: a folder in which no file can be made"""
    api = own(conf="Mutex flock:/proc idempotency\n")
    said_at_start(api, "IDEM0005")


def test_without_mod_watchdog(own, monkeypatch):
    """IDEM0007: expired keys run again all the same, and their room is taken
    by others"""
    api = own(store="shm size=1M path=none", location="IdempotencyTTL 3")
    # It may be compiled in: then in a copy of httpd it goes by another name.
    copy = api.server.path("run/httpd")
    with open(rig.HTTPD, "rb") as file:
        code = file.read()
    with open(copy, "wb") as file:
        file.write(code.replace(b"ap_watchdog_get_inst",
                                b"ap_watchdog_gone_ist"))
    os.chmod(copy, 0o755)
    monkeypatch.setattr(rig, "HTTPD", copy)
    api.expect_log("IDEM0007", "IDEM0019")
    api.server.start()
    assert "IDEM0007" in api.server.log()
    assert api.post("/orders", '"k"').status == 201
    assert api.post("/orders", '"k"').marked
    time.sleep(3.2)
    assert not api.post("/orders", '"k"').marked
    assert api.n == 2
    # Many times what the store holds; nobody frees it meanwhile.
    for round_ in range(3):
        for i in range(10):
            answer = api.post("/big/100000", "r%d-%d" % (round_, i))
            assert answer.status == 200, answer
        assert api.server.status()["RecordsDone"] > 0
        time.sleep(3.2)


def test_a_child_that_cannot_use_the_store(own):
    """case 54, segment or lock missing: closed and open"""
    api = own(conf="Mutex flock:@ROOT@/run idempotency\n"
                   '<Location "/byp/">\nIdempotencyEngine On\n'
                   'IdempotencyStoreFailure bypass\n</Location>\n'
                   'ProxyPass /byp/ http://127.0.0.1:@BACKEND@/\n')
    api.server.start()
    api.expect_log("IDEM0010", "IDEM0012", "IDEM0013", "AH00052", "AH01239",
                   "AH00046")
    assert api.post("/orders", '"done"').status == 201
    for path in glob.glob(api.server.path("run/idempotency-*")):
        os.unlink(path)
    api.server.again(signal.SIGUSR1)
    assert wait_until(lambda: "IDEM0010" in api.server.log(), 5)
    before = api.n
    for key in ('"new"', '"done"'):
        answer = is_problem(api.post("/orders", key), 503,
                            "store-unavailable")
        assert int(answer.get("Retry-After")) >= 1
    assert api.n == before
    for _ in range(2):
        answer = api.post("=/byp/%s/orders", '"open"')
        assert answer.status == 201 and not answer.marked
    assert api.post("/orders").status == 201
    assert api.n == before + 3
    # A stop and start, and all is as it was.
    api.server.stop()
    api.server.start()
    assert api.post("/orders", '"done"').marked


def test_no_room_is_told_of(own):
    """IDEM0011, at info: the client was told, too"""
    api = own(store="shm size=1M path=none", conf="IdempotencyQuota 1")
    api.server.start()
    api.expect_log("IDEM0019")
    answers = [api.post("/big/4000", "q%d" % i) for i in range(6)]
    assert answers[-1].problem == "store-unavailable"
    assert "IDEM0011" in api.server.log()


def test_a_principal_that_cannot_be_told(site):
    """IDEM0014, IDEM0016: nobody's key is not everybody's"""
    api = site(location='IdempotencyPrincipal "expr:%{file:/no/such/file}"')
    api.expect_log("IDEM0014", "IDEM0016", "Evaluation of expression")
    is_problem(api.post("/orders", '"k"'), 503, "store-unavailable")
    assert api.n == 0
    log = api.server.new_log()
    assert "IDEM0014" in log and "IDEM0016" in log


def test_no_room_for_a_large_body(own, small_disk, monkeypatch):
    """IDEM0015, rule 25: nothing is run, the key stays free"""
    monkeypatch.setenv("TMPDIR", small_disk(256))
    for name in ("TMP", "TEMP"):
        monkeypatch.delenv(name, raising=False)
    api = own()
    api.server.start()
    api.expect_log("IDEM0015")
    body = b"x" * 2000000
    assert api.post("/orders", '"k"', body).status == 500
    assert api.n == 0
    assert "IDEM0015" in api.server.new_log()
    assert api.post("/orders", '"k"', body[:1000]).status == 201
    assert api.n == 1


@pytest.mark.parametrize("path", ["/cgi/c?h=X-Bad:a%01b",
                                  "/php/c.php?h[]=X-Bad:a%01b"])
def test_an_answer_that_httpd_refuses_to_send(api, path):
    """rule 12: what was committed stands; it is not run again"""
    api.expect_log("AH02430")
    for _ in range(3):
        assert api.post(path, '"h"').status == 500
    assert api.runs == 1
