# test_redis.py: one httpd on Redis: what holds of every store, and what
# becomes of requests when Redis is not as it should be.
# SPDX-License-Identifier: Apache-2.0
import os
import signal
import time

import client
import pytest
import redisrig
import rig
from client import is_problem
from pages import ADMIN, act, get, listed, metrics, show, status
from rig import wait_until

QUICK = ("connect=100ms", "timeout=300ms", "lease=3s")
SLOW = ("connect=100ms", "timeout=300ms", "lease=30s")
BYPASS = ('<Location "/byp/">\nIdempotencyEngine On\n'
          'IdempotencyStoreFailure bypass\n</Location>\n'
          'ProxyPass /byp/ http://127.0.0.1:@BACKEND@/\n')
FAILING = ("IDEM0012", "IDEM0104")
AT_ONCE = 3  # seconds, on a machine that is busy


@pytest.fixture
def redis():
    server = redisrig.Redis().start()
    yield server
    server.close()


@pytest.fixture
def start(redis, own):
    """start(options...) -> Api on a server that keeps its keys in Redis"""
    def get(*options, url=None, conf="", **more):
        # LoadModule last: its place in the file does not matter.
        api = own(store=redis.store(*(options or QUICK), url=url),
                  conf=conf + "\n" + redisrig.LOAD, **more)
        # The Redis of most tests keeps nothing on disk; and on a machine
        # that is busy a renewal may miss its 300 ms, and come again.
        api.expect_log("IDEM0101", "IDEM0104")
        api.server.start()
        return api
    return get


def retry_until(api, key, status, seconds=12, path="/orders"):
    """Ask again until there is an answer of this status."""
    def ask():
        try:
            answer = api.post(path, key)
        except (client.NoAnswer, ConnectionError):
            return None  # a child that has just ended had accepted it
        return answer if answer.status == status else None
    return wait_until(ask, seconds, 0.1)


def timed(api, key, path="/orders"):
    begun = time.monotonic()
    answer = api.post(path, key)
    return answer, time.monotonic() - begun


# ------------------------------------------------------------- as any store

def test_claim_replay_reuse(start, redis):
    api = start()
    first = api.post("/orders", '"k"')
    assert first.status == 201 and not first.marked
    again = api.post("/orders", '"k"')
    assert again.marked and again.body == first.body
    assert again.get("Location") == first.get("Location")
    is_problem(api.post("/orders", '"k"', client.B2), 422, "key-reused")
    assert api.n == 1
    # Nothing that a client sent is to be found there.
    assert redis.do("DBSIZE") == 1
    key = redis.do("KEYS", "*")[0].decode()
    assert key.startswith("idem:{") and len(key) == 5 + 66
    assert "IDEM0101" in api.server.log()
    assert "nothing on disk" in api.server.log()


def test_release_and_long_answers(start):
    api = start()
    assert api.post("/st/503", '"r"').status == 503
    assert api.post("/st/503", '"r"').status == 503
    assert api.n == 2
    row = api.fresh()
    first = row.post("/big/700000", '"b"')
    again = row.post("/big/700000", '"b"')
    assert again.marked and len(first.body) == 700000
    assert again.body == first.body and row.n == 1
    row = api.fresh()
    row.post("/big/1100000", '"b"')
    is_problem(row.post("/big/1100000", '"b"'), 409, "response-not-retained")


def test_record_of_another_version(start, redis):
    """IDEM0022: what cannot be read is not guessed at, and nothing runs"""
    api = start()
    api.expect_log("IDEM0022")
    api.post("/orders", '"k"')
    name = redis.do("KEYS", "*")[0]
    assert redis.do("GETRANGE", name, 95, 95) == b"\1"
    redis.do("SETRANGE", name, 95, b"\2")
    for _ in range(2):
        is_problem(api.post("/orders", '"k"'), 502, "outcome-unknown")
    assert api.n == 1
    assert "IDEM0022" in api.server.new_log()


def test_second_request_while_the_first_runs(start):
    api = start()
    with api.conn(30) as running:
        running.send(api.raw("POST", "/gate", '"k"'))
        api.wait_n()
        told = is_problem(api.post("/gate", '"k"'), 409, "in-progress")
        assert int(told.get("Retry-After")) >= 1
        api.open_gate()
        first = running.answer()
    again = api.post("/gate", '"k"')
    assert again.marked and again.body == first.body and api.n == 1


def test_long_request_keeps_its_lease(start):
    """the watchdog renews it, also in a child that a restart has retired"""
    api = start()
    with api.conn(30) as running:
        running.send(api.raw("POST", "/gate", '"k"'))
        api.wait_n()
        time.sleep(3.5)
        is_problem(api.post("/gate", '"k"'), 409, "in-progress")
        api.server.again(signal.SIGUSR1)
        time.sleep(3.5)
        is_problem(api.post("/gate", '"k"'), 409, "in-progress")
        api.open_gate()
        assert running.answer().status == 201
    again = api.post("/gate", '"k"')
    assert again.marked and api.n == 1


def test_killed_child_leaves_an_unknown_key(start):
    # Long enough to be asked again within it on a machine that is busy.
    api = start("connect=100ms", "timeout=300ms", "lease=8s")
    api.expect_log("AH00052", "AH00051", "core:notice")
    with api.conn(30) as running:
        running.send(api.raw("POST", "/gate", '"k"'))
        api.wait_n()
        rig.kill(api.server.child_of(running))
        is_problem(retry_until(api, '"k"', 409, path="/gate"), 409,
                   "in-progress")
    is_problem(retry_until(api, '"k"', 502, 20, "/gate"), 502,
               "outcome-unknown")
    assert api.n == 1


def test_client_that_leaves_is_settled(start):
    """the pool cleanup, or the recorder: not only the lease"""
    api = start(*SLOW)
    with api.conn(30) as running:
        running.send(api.raw("POST", "/slow/600", '"k"'))
        api.wait_n()
        running.reset()
    again = retry_until(api, '"k"', 201, path="/slow/600")
    assert again.marked and api.n == 1


@pytest.mark.mpms("prefork")
def test_stopped_prefork_child_settles_in_its_signal_handler(start, redis):
    """rule 35, 52: without waiting for the lease"""
    api = start(*SLOW)
    with api.conn(30) as running:
        running.send(api.raw("POST", "/gate", '"k"'))
        api.wait_n()
        api.server.stop()
    api.server.start()
    is_problem(api.post("/gate", '"k"'), 502, "outcome-unknown")
    assert api.n == 1


def test_restart_keeps_the_keys(start):
    api = start()
    first = api.post("/orders", '"k"')
    for sig in (signal.SIGUSR1, signal.SIGHUP):
        api.server.again(sig)
        again = retry_until(api, '"k"', 201)
        assert again.marked and again.body == first.body
    api.server.stop()
    api.server.start()
    assert api.post("/orders", '"k"').marked
    assert api.n == 1


def test_status_and_restart_with_another_store(start, own):
    api = start()
    api.post("/orders", '"k"')
    assert api.server.status()["Executed"] == 1
    api = own()
    api.server.start()
    api.post("/orders", '"k"')
    api.expect_log("IDEM0006")
    api.server.write(store="redis secret=" + secret_of(api),
                     conf=redisrig.LOAD)
    api.server.again(signal.SIGUSR1)
    # Requests may be running in the segment: it stays.
    assert wait_until(lambda: "IDEM0006" in api.server.log(), 5)
    assert api.post("/orders", '"k"').marked


def secret_of(api):
    api.server.file("secret", redisrig.SECRET, 0o600)
    return api.server.path("secret")


# ------------------------------------------------------------ configuration

@pytest.mark.parametrize("store, load, told", [
    ("redis url=redis://10.0.0.5", False, "LoadModule mod_idempotency_redis"),
    ("valkey", True, "LoadModule mod_idempotency_valkey"),
    ("redis", True, "secret=FILE is missing"),
    ("redis secret=/nonexistent/s", True, "cannot be read"),
    ("redis secret=@SECRET@ url=rediss://u:s3cret@h", True, "needs TLS"),
    ("redis secret=@SECRET@ url=redis://u:s3cret@h:x", True, "port"),
    ("redis secret=@SECRET@ url=redis://u%4:p@h", True, "% before its @"),
    ("redis secret=@SECRET@ url=redis://u%00:p@h", True, "% before its @"),
    ("redis secret=@SECRET@ url=redis://u:@h", True, "no password after"),
    ("redis secret=@SECRET@ url=redis://u:%zz@h", True, "or a % that is not"),
    ("redis secret=@SECRET@ url=redis://u@h", True, "but there is no"),
    ("redis secret=@SECRET@ url=redis://[::1", True, "a [ without its ]"),
    ("redis secret=@SECRET@ url=redis://:6379", True, "names no host"),
    ("redis secret=@SECRET@ url=redis://h,i", True, "names one host"),
    ("redis secret=@SECRET@ url=sentinel://%s/m" % ",".join("h" * 17), True,
     "too many hosts"),
    ("redis secret=@ROOT@/httpd.conf", True, "must belong"),
    ("redis secret=@ROOT@/run/short", True, "less than 32 bytes"),
    ("redis secret=@SECRET@ replicas=17", True, "such as replicas=1"),
    ("redis secret=@SECRET@ connect=0", True, "connect=0 is not a time"),
    ("redis secret=@SECRET@ timeout=1h", True, "such as 500ms"),
    ("redis secret=@SECRET@ lease=1ms", True, "such as lease=30s"),
    ("redis secret=@SECRET@ lease=5", True, "lease=5000ms is less"),
    ("redis secret=@SECRET@ size=64M", True, "'size' is no option"),
    ("redis secret=@SECRET@ prefix", True, "name=value"),
])
def test_bad_store_is_told_by_configtest(own, store, load, told):
    api = own()
    store = store.replace("@SECRET@", secret_of(api))
    api.server.file("run/short", "x" * 31, 0o600)
    if "lease" in store:
        store += " timeout=2s"
    api.server.write(store=store, conf=redisrig.LOAD if load else "")
    code, said = api.server.check()
    assert code != 0 and told in said, said
    assert "s3cret" not in said


def test_secret_that_others_can_read(own):
    api = own()
    path = secret_of(api)
    os.chmod(path, 0o644)
    api.server.write(store="redis secret=" + path, conf=redisrig.LOAD)
    code, said = api.server.check()
    assert code != 0 and "chmod 600" in said


def test_passwords(start, redis):
    redis.do("CONFIG", "SET", "requirepass", "s3cret-right")
    file = os.path.join(redis.root, "password")
    with open(file, "w") as out:
        out.write("s3cret-right\n")
    os.chmod(file, 0o600)
    api = start(*QUICK, "passwordfile=" + file)
    assert api.post("/orders", '"k"').status == 201
    api.server.stop()
    api = start(url="url=redis://default:s3cret-wrong@127.0.0.1:%d/0"
                % redis.port)
    api.expect_log(*FAILING)
    for _ in range(3):
        is_problem(api.post("/orders", '"k"'), 503, "store-unavailable")
    assert wait_until(lambda: "WRONGPASS" in api.server.log(), 5)
    page = client.exchange(api.port, client.request(
        "GET", "/server-status", body=None), "GET").body
    assert b"s3cret" not in page and "s3cret" not in api.server.log()
    assert api.n == 0


# ------------------------------------------------------------------- faults

def test_redis_down_and_back(start, redis):
    """refused at once, open where that was chosen; AOF brings records back"""
    redis.kill()
    redis.options += ["--appendonly", "yes", "--appendfsync", "always"]
    redis.start()
    api = start(conf=BYPASS)
    api.expect_log("IDEM0013", *FAILING)
    first = api.post("/orders", '"k"')
    redis.kill()
    for i in range(12):
        answer, took = timed(api, '"new-%d"' % i)
        is_problem(answer, 503, "store-unavailable")
        assert int(answer.get("Retry-After")) >= 1
        assert took < AT_ONCE
    assert api.post("=/byp/%s/orders", '"k2"').status == 201
    assert api.n == 2
    redis.start()
    again = retry_until(api, '"k"', 201)
    assert again.marked and again.body == first.body
    assert retry_until(api, '"fresh"', 201)
    assert api.n == 3
    assert wait_until(lambda: "IDEM0104" in api.server.log(), 5)


def test_stopped_redis_does_not_eat_the_workers(start, redis, mpm):
    number = 30
    # One child: each takes five to learn it. From then on it does not wait
    # for timeout=, but for a probe now and then.
    api = start(conf="MaxRequestWorkers %d" % (1 if mpm == "prefork" else 16))
    api.expect_log("MaxRequestWorkers setting", *FAILING)
    api.post("/orders", '"k"')
    redis.signal(signal.SIGSTOP)
    times = []
    for i in range(number):
        answer, took = timed(api, '"new-%d"' % i)
        assert answer.status == 503
        times.append(took)
    assert max(times) < AT_ONCE
    assert sorted(times)[number // 2] < 0.3
    redis.signal(signal.SIGCONT)
    assert retry_until(api, '"k"', 201).marked
    assert wait_until(lambda: "IDEM0105" in api.server.log(), 5)
    # Claims that nobody waited for are taken back, not left to be unknown.
    for i in range(number):
        assert retry_until(api, '"new-%d"' % i, 201), i
    assert api.n == number + 1


def test_cut_off_for_longer_than_the_lease(start, redis):
    """the client gets its answer, the key is unknown, the log says so"""
    api = start()
    api.expect_log("IDEM0106", *FAILING)
    with api.conn(30) as running:
        running.send(api.raw("POST", "/gate", '"k"'))
        api.wait_n()
        redis.signal(signal.SIGSTOP)
        time.sleep(3.5)
        redis.signal(signal.SIGCONT)
        assert wait_until(lambda: "IDEM0106" in api.server.log(), 6)
        api.open_gate()
        assert running.answer().status == 201
    is_problem(retry_until(api, '"k"', 502, path="/gate"), 502,
               "outcome-unknown")
    assert api.n == 1


def test_full_redis(start, redis):
    api = start(conf=BYPASS)
    api.expect_log("IDEM0013", "IDEM0025", "IDEM0104")
    first = api.post("/orders", '"k"')
    with api.conn(30) as running:
        running.send(api.raw("POST", "/gate", '"run"'))
        api.wait_n(2)
        redis.do("CONFIG", "SET", "maxmemory", "1000")
        is_problem(api.post("/orders", '"new"'), 503, "store-unavailable")
        again = api.post("/orders", '"k"')
        assert again.marked and again.body == first.body
        assert api.post("=/byp/%s/orders", '"o"').status == 201
        api.open_gate()
        assert running.answer().status == 201
    # Who ran already found room.
    assert api.post("/gate", '"run"').marked
    redis.do("CONFIG", "SET", "maxmemory", "0")
    assert api.post("/orders", '"new"').status == 201
    assert api.n == 4
    assert "IDEM0011" in api.server.log()


def test_replica_and_flushed_scripts(start, redis):
    api = start()
    api.expect_log(*FAILING)
    api.post("/orders", '"k"')
    redis.do("REPLICAOF", "127.0.0.1", "1")
    is_problem(api.post("/orders", '"new"'), 503, "store-unavailable")
    assert wait_until(lambda: "READONLY" in api.server.log(), 5), \
        api.server.log()
    redis.do("REPLICAOF", "NO", "ONE")
    assert retry_until(api, '"new"', 201)
    redis.do("SCRIPT", "FLUSH")
    assert api.post("/orders", '"k"').marked
    assert api.post("/orders", '"new2"').status == 201
    assert api.n == 3


@pytest.fixture
def replica(redis):
    redis.do("CONFIG", "SET", "repl-diskless-sync-delay", "0")
    server = redisrig.Redis("--replicaof", "127.0.0.1", str(redis.port))
    yield server.start()
    server.close()


def test_results_that_no_replica_has(start, redis, replica):
    """IDEM0107: the answer is sent and kept all the same"""
    master = redis.client()  # WAIT looks at what its own connection wrote
    master("SET", "other", "1")
    assert wait_until(lambda: master("WAIT", 1, 100))
    master.close()
    api = start("timeout=1s", "lease=30s", "replicas=1")
    api.expect_log("IDEM0107")
    with api.conn() as running:
        running.send(api.raw("POST", "/gate", '"k"'))
        api.wait_n()
        replica.signal(signal.SIGSTOP)
        api.open_gate()
        first = running.answer()
        assert first.status == 201
    assert wait_until(lambda: "IDEM0107" in api.server.new_log(), 5)
    again = api.post("/gate", '"k"')
    assert again.marked and again.body == first.body
    assert api.n == 1
    replica.signal(signal.SIGCONT)


def test_what_is_no_record(start, redis):
    """IDEM0108: somebody else wrote over it"""
    api = start()
    api.expect_log("IDEM0012", "IDEM0108")
    api.post("/orders", '"k"')
    redis.do("SET", redis.do("KEYS", "*")[0], "x" * 200)
    for _ in range(2):
        is_problem(api.post("/orders", '"k"'), 503, "store-unavailable")
    assert api.n == 1
    assert wait_until(lambda: "IDEM0108" in api.server.new_log(), 5)


def test_start_without_redis(start, redis):
    """a server that restarts while Redis is away must come up"""
    redis.kill()
    api = start()
    api.expect_log(*FAILING)
    assert "cannot be used just now" in api.server.log()
    is_problem(api.post("/orders", '"k"'), 503, "store-unavailable")
    redis.start()
    assert retry_until(api, '"k"', 201)
    assert api.n == 1


def test_keys_can_be_listed_and_released(start):
    """issue 5, 3: the status page with this store"""
    api = start(conf=ADMIN)
    for i in range(30):
        api.post("/orders", "k%d" % i)
    rows = listed(api, limit=7)
    assert len(rows) == 30
    assert {row["state"] for row in rows} == {"done"}
    told = show(api, "k3").json
    assert told["answer"]["status"] == 201
    with api.conn() as conn:
        conn.send(api.raw("POST", "/gate", "g"))
        api.wait_n(31)
        assert show(api, "g").json["state"] == "executing"
        assert act(api, "release", id=told["id"]).json["was"] == "done"
        running = show(api, "g").json["id"]
        assert act(api, "release", id=running).json["was"] == "executing"
        api.open_gate()
        assert conn.answer().status == 201
    assert not api.post("/orders", "k3").marked
    assert not api.post("/gate", "g").marked
    mine = listed(api)[0]["host"]
    assert act(api, "purge", host=mine).json == {"purged": 31}
    assert listed(api) == []
    numbers = status(api)
    assert numbers["store"]["name"] == "redis"
    assert get(api, "/admin").status == 200
    metrics(api)


def test_acl_of_the_manual(start, redis):
    """docs/clustering.md: what a user of its own needs, and no more"""
    manual = os.path.join(rig.HERE, "..", "..", "docs", "clustering.md")
    with open(manual) as file:
        text = file.read()
    text = text[text.index("    ACL SETUSER"):].split("\n\n")[0]
    words = text.replace("PASSWORD", "s3cret").split()
    redis.do(*words)
    redis.do("ACL", "SETUSER", "default", "off")
    api = start(url="url=redis://httpd:s3cret@127.0.0.1:%d/0" % redis.port)
    first = api.post("/orders", '"k"')
    assert first.status == 201 and api.post("/orders", '"k"').marked
    assert api.post("/st/503", '"r"').status == 503
    with api.conn(30) as running:
        running.send(api.raw("POST", "/slow/4000", '"s"'))
        assert running.answer().status == 201
    assert api.post("/slow/4000", '"s"').marked
    assert "nothing on disk" in api.server.log()
    api.server.stop()
    assert "IDEM0103" not in api.server.log()
