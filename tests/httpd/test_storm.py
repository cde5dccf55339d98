# test_storm.py: waiting, streams, clients that leave and processes that are
# killed, all at once: no key runs twice, no two clients see two answers.
# SPDX-License-Identifier: Apache-2.0
import random
import threading
import time

import client
import pytest
from rig import kill, wait_until
from test_life import settled

ROUNDS = 40  # keys per thread
STORM = {"conf": 'IdempotencyMaxWaiters 20\n'
                 '<LocationMatch "/(drip|flow|c\\.php)">\n'
                 'IdempotencyDelivery stream\n</LocationMatch>',
         "location": "IdempotencyWait 3\nIdempotencyMaxResponse 64k"}
PLACES = ["/orders", "/drip", "/flow/%d", "/flow/cut", "/cut", "/nohdr",
          "/slow/%d", "/big/%d", "/hop", "/cgi/c?chunk=1",
          "/cgi/c?sleep=0.05", "/cgi/c?bytes=%d", "/php/c.php?chunk=1",
          "/php/c.php?sleep=0.03"]


def send(api, path, leave, answers):
    """One client; leave: after so many seconds, or never."""
    try:
        with api.conn(20) as conn:
            conn.send(api.raw("POST", path, '"k"'))
            if leave is None:
                answers.append(conn.answer())
            else:
                time.sleep(leave)
                conn.reset()
    except (OSError, client.Torn, client.NoAnswer, ValueError):
        pass


def one_key(api, rnd):
    """Some clients with one key, then a retry; @return what was wrong."""
    path = rnd.choice(PLACES)
    if "%d" in path:
        path %= rnd.randint(1, 80 if "slow" in path else 90000)
    api.open_gate()
    answers, clients = [], []
    for _ in range(rnd.randint(2, 5)):
        leave = rnd.random() * 0.08 if rnd.random() < 0.4 else None
        clients.append(threading.Thread(
            target=send, args=(api, path, leave, answers)))
        clients[-1].start()
        time.sleep(rnd.random() * 0.03)
    for one in clients:
        one.join()
    try:
        answers.append(settled(api, path, '"k"', 15))
    except (OSError, client.Torn, client.NoAnswer):
        pass  # its process was killed
    bodies = {a.body for a in answers if a.status < 300}
    return (path, api.n + api.runs, len(bodies))


@pytest.mark.parametrize("kills", [0, 8])
def test_storm(own, kills):
    """contract 1, under all that issue 4 brought"""
    # A script whose daemon of mod_cgid was killed is waited for as long as
    # httpd's Timeout: so long its claim has a living owner.
    api = own(timeout=3, **STORM)
    api.expect_log(".")  # it is noisy: back ends break, children die
    api.server.start()
    seen = []

    def run(seed):
        rnd = random.Random(seed)
        for _ in range(ROUNDS):
            seen.append(one_key(api.fresh(), rnd))
    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    rnd = random.Random(99)
    for _ in range(kills):
        time.sleep(0.7)
        kill(rnd.choice(sorted(api.server.children())))
    for thread in threads:
        thread.join()
    assert len(seen) == 4 * ROUNDS
    assert [s for s in seen if s[1] > 1 or s[2] > 1] == []
    if not kills:
        assert [s for s in seen if s[1] != 1] == []
    # What the killed have left is settled by the purge, in a moment.
    assert wait_until(
        lambda: api.server.status()["RecordsExecuting"] == 0, 5)
