# test_memory.py: the system has no more memory for what a server needs at
# its start.
# SPDX-License-Identifier: Apache-2.0
#
# The limit of the address space at which one piece is refused and all before
# it is had is looked for: how much httpd itself takes is its own affair.
import os
import re
import resource
import subprocess

import client
import pytest
from rig import kill, wait_until

PAGE = resource.getpagesize()
STACK = 1 << 17  # of each thread, which would take 8 MB otherwise
NONE = resource.RLIM_INFINITY
SMALL = "shm size=1M path=none"

# A sanitizer wants terabytes of addresses for itself.
pytestmark = pytest.mark.skipif("IDEM_PRELOAD" in os.environ,
                                reason="no limit holds with a sanitizer")


def limits(addresses):
    resource.setrlimit(resource.RLIMIT_STACK, (STACK, NONE))
    resource.setrlimit(resource.RLIMIT_AS, (addresses, NONE))


def start(server, limit):
    """What the server says, started with so many bytes of addresses."""
    server.stop()
    for name in ("logs/error.log", "logs/stderr"):
        if os.path.exists(server.path(name)):
            os.unlink(server.path(name))
    with open(server.path("logs/stderr"), "ab") as err:
        server.child = subprocess.Popen(
            server.command("-k", "start", "-DFOREGROUND"), stdout=err,
            stderr=err, stdin=subprocess.DEVNULL, start_new_session=True,
            preexec_fn=lambda: limits(limit))
    assert wait_until(lambda: server.child.poll() is not None
                      or server.generations() > 0)
    return server.stderr() + server.log()


def starve(server, wanted, later):
    """Start it so that it says what is wanted; later: what it says with more
    than that takes. Both are expressions."""
    # PHP takes 128 MB for itself.
    server.write(load="\n".join(line for line in
                                server.settings["load"].splitlines()
                                if "libphp" not in line))
    low, high = 0, 1 << 18
    while high - low > 1:
        middle = (low + high) // 2
        said = start(server, middle * PAGE)
        if re.search(wanted, said, re.S):
            return said
        if re.search(later, said, re.S):
            high = middle
        else:
            low = middle
    # What is wanted after it may end httpd without a word.
    for pages in range(high, high - 64, -1):
        said = start(server, pages * PAGE)
        if re.search(wanted, said, re.S):
            return said
    raise AssertionError("not said with any limit: " + wanted)


def starts_only_with_it(server, wanted, later):
    """The want of it ends the server; with it the same one starts."""
    server.expected.append(".")
    starve(server, wanted, later)
    assert server.child.wait(10) != 0
    start(server, NONE)
    assert server.child.poll() is None


def test_none_for_those_that_wait(own):
    """IDEM0027: no start, since nothing would bound them"""
    starts_only_with_it(own(store=SMALL).server, "IDEM0027",
                        "AH10095|AH02818|resuming normal")


def test_none_for_the_audit_log(own):
    """IDEM0062: no start, as with a file that cannot be opened"""
    # The second reading has to want more than the first, which leaves the
    # error log behind.
    api = own(store=SMALL, conf="IdempotencyAuditLog @ROOT@/logs/audit\n"
              "<IfFile @ROOT@/logs/error.log>\n"
              + "".join("SetEnv BALLAST%d %s\n" % (i, "x" * 8000)
                        for i in range(200)) + "</IfFile>\n")
    starts_only_with_it(api.server, "IDEM0062",
                        "IDEM|AH02818|resuming normal")


def test_none_for_numbers(own):
    """IDEM0040: it runs as it should; nothing is counted"""
    api = own(store=SMALL, conf="<IfModule !mpm_prefork_module>\n"
              "ThreadsPerChild 4\n</IfModule>\n")
    server = api.server
    server.expected.append(".")

    def serves():
        try:
            return api.post("/st/200", None).status == 200
        except (client.NoAnswer, ConnectionError):
            return False
    for _ in range(5):
        starve(server, "allocate memory: IDEM0040.*resuming normal",
               "^(?!.*IDEM0040).*(IDEM|AH02818|resuming normal)")
        # Requests want some, too: for children that come from now on.
        try:
            resource.prlimit(server.child.pid, resource.RLIMIT_AS,
                             (NONE, NONE))
        except ProcessLookupError:
            continue
        for pid in server.children():
            kill(pid)
        # A child that had none for a thread of its own ends its server.
        assert wait_until(lambda: server.child.poll() is not None or serves())
        if server.child.poll() is None:
            break
    before = api.n
    assert api.post("/orders", '"k"').status == 201
    assert api.post("/orders", '"k"').marked
    assert api.n == before + 1
    numbers = server.status()
    assert numbers["RecordsDone"] == 1
    assert numbers["Executed"] == numbers["Replayed"] == 0
