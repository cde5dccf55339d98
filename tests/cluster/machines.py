# machines.py: httpd machines as network namespaces, and load for them.
# SPDX-License-Identifier: Apache-2.0
#
# The namespace that the tests run in is the hub: Redis, the back end and the
# clients are there, at 10.77.0.1. Machine N is a namespace at 10.77.N.2,
# joined to the hub by a pair of interfaces of its own.
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "httpd"))

import backend  # noqa: E402
import client  # noqa: E402
import redisrig  # noqa: E402
import rig  # noqa: E402

HUB = "10.77.0.1"
PORT = 8080

CONF = """\
ServerRoot {root}
Listen {address}:8080
ServerName api.test
User www-data
Group www-data
DefaultRuntimeDir run
PidFile run/httpd.pid
ErrorLog logs/error.log
LogLevel info
Timeout 20
KeepAliveTimeout 30
MaxKeepAliveRequests 0
GracefulShutdownTimeout 5
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
LoadModule idempotency_module {module}
{load}
StartServers 2
ServerLimit 2
ThreadsPerChild 25
MinSpareThreads 10
MaxSpareThreads 50
MaxRequestWorkers 50
IdempotencyStore {store}
ProxyPass / http://{hub}:{backend}/
<Location "/">
    IdempotencyEngine On
</Location>
"""


def ip(*words):
    subprocess.run(("ip",) + words, check=True)


class Machine:
    """One httpd, in a namespace of its own."""

    def __init__(self, number, backend_port, store):
        self.name = "idem%d" % number
        self.address = "10.77.%d.2" % number
        self.link = "hub%d" % number
        self.child = None
        ip("netns", "add", self.name)
        ip("link", "add", self.link, "type", "veth", "peer", "name", "eth0",
           "netns", self.name)
        ip("addr", "add", "10.77.%d.1/24" % number, "dev", self.link)
        ip("link", "set", self.link, "up")
        for words in (["link", "set", "lo", "up"],
                      ["addr", "add", self.address + "/24", "dev", "eth0"],
                      ["link", "set", "eth0", "up"],
                      ["route", "add", "default", "via",
                       "10.77.%d.1" % number]):
            ip("-n", self.name, *words)
        self.root = tempfile.mkdtemp(prefix="idem-machine-", dir="/tmp")
        os.chmod(self.root, 0o755)
        for name in ("run", "logs"):
            os.mkdir(os.path.join(self.root, name))
        with open(os.path.join(self.root, "httpd.conf"), "w") as file:
            file.write(CONF.format(
                root=self.root, address=self.address, modules=rig.MODULES,
                module=rig.module_path(), load=redisrig.LOAD, store=store,
                hub=HUB, backend=backend_port))

    def start(self):
        with open(os.path.join(self.root, "logs/stderr"), "ab") as err:
            self.child = subprocess.Popen(
                ["ip", "netns", "exec", self.name, rig.HTTPD, "-d", self.root,
                 "-f", os.path.join(self.root, "httpd.conf"), "-k", "start",
                 "-DFOREGROUND"], start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=err, stderr=err)
        assert rig.wait_until(self.listens, 15), self.log()
        return self

    def listens(self):
        try:
            self.connect().close()
        except OSError:
            return False
        return True

    def connect(self, timeout=15):
        return Conn(self.address, timeout)

    def log(self):
        text = ""
        for name in ("logs/stderr", "logs/error.log"):
            try:
                with open(os.path.join(self.root, name),
                          errors="replace") as file:
                    text += file.read()
            except FileNotFoundError:
                pass
        return text

    def pids(self):
        found = []
        for name in os.listdir("/proc"):
            stat = rig.stat_of(int(name)) if name.isdigit() else None
            if stat and stat[0] != "Z" and int(stat[3]) == self.child.pid:
                found.append(int(name))
        return found

    def kill(self):
        """SIGKILL for all of it at once, as a machine that loses power."""
        if self.child:
            for pid in self.pids():
                rig.kill(pid)
            self.child.wait(10)
        self.child = None

    def cut(self):
        ip("link", "set", self.link, "down")

    def mend(self):
        ip("link", "set", self.link, "up")

    def close(self):
        if self.child and self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(10)
            except subprocess.TimeoutExpired:
                pass
        self.kill()
        shutil.rmtree(self.root, ignore_errors=True)
        ip("netns", "del", self.name)
        subprocess.run(["ip", "link", "del", self.link],
                       stderr=subprocess.DEVNULL)


class Conn(client.Conn):
    def __init__(self, address, timeout):
        self.sock = client.socket.create_connection((address, PORT), timeout)
        self.buffer = b""


class Bank(backend.Backend):
    """Counts each key's executions and answers with a number that is never
    given twice. Paths are /KEY/pay and /KEY/slow/MS."""

    def __init__(self):
        super().__init__()
        self.listener.close()
        self.listener = client.socket.create_server((HUB, 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        self.given = 0
        self.accept_at(self.listener)

    def handle(self, req, sock):
        parts = req.path.strip("/").split("/")
        with self.lock:
            self.counts[parts[0]] = self.counts.get(parts[0], 0) + 1
            self.given += 1
            number = self.given
        if len(parts) > 2:
            time.sleep(int(parts[2]) / 1000)
        body = b'{"payment":%d,"key":"%s"}' % (number, parts[0].encode())
        sock.sendall(b"HTTP/1.1 201 Created\r\nContent-Type: "
                     b"application/json\r\nContent-Length: %d\r\n\r\n%s"
                     % (len(body), body))
        return True


def ask(key, path="pay"):
    return client.request("POST", "/%s/%s" % (key, path), '"%s"' % key)


class Load:
    """Sends each key of a plan, from many threads, at random machines; asks
    again, elsewhere, as long as there is no final answer."""

    def __init__(self, machines, threads=16, seconds=60):
        self.machines = list(machines)
        self.threads = threads
        self.end = time.monotonic() + seconds
        self.answers = {}
        self.open = []
        self.sent = 0
        self.lock = threading.Lock()

    def plan(self, keys, duplicates, seed=1):
        """So many keys, and so many requests that repeat one of them."""
        rng = random.Random(seed)
        names = ["k%d-%d" % (seed, i) for i in range(keys)]
        self.open = names + [rng.choice(names) for _ in range(duplicates)]
        rng.shuffle(self.open)
        return self

    def once(self, conns, rng, key):
        """One request; None if no final answer came of it."""
        machine = rng.choice(self.machines)
        try:
            if machine not in conns:
                conns[machine] = machine.connect(5)
            answer = conns[machine].send(ask(key)).answer()
        except (OSError, client.NoAnswer, client.Torn):
            gone = conns.pop(machine, None)
            if gone:
                gone.close()
            return None
        if answer.get("Connection") == "close":
            conns.pop(machine).close()
        return None if answer.status in (409, 503) else answer

    def worker(self, seed):
        rng = random.Random(seed)
        conns = {}
        while True:
            with self.lock:
                if not self.open:
                    break
                key = self.open.pop()
                self.sent += 1
            answer = self.once(conns, rng, key)
            while answer is None and time.monotonic() < self.end:
                time.sleep(0.02)
                answer = self.once(conns, rng, key)
            with self.lock:
                self.answers.setdefault(key, []).append(
                    (answer.status, answer.body) if answer else None)
        for conn in conns.values():
            conn.close()

    def start(self):
        self.running = [threading.Thread(target=self.worker, args=(i,))
                        for i in range(self.threads)]
        for thread in self.running:
            thread.start()
        return self

    def wait_sent(self, number):
        assert rig.wait_until(lambda: self.sent >= number, 60)

    def join(self):
        for thread in self.running:
            thread.join()
        return self

    def check(self, bank, unknown=0):
        """Every key ran once and has one answer; but up to `unknown` keys may
        be of unknown outcome, none of which ran twice."""
        doubtful = 0
        for key, answers in self.answers.items():
            assert None not in answers, "%s: no answer in time" % key
            bodies = {b for s, b in answers if s == 201}
            assert len(bodies) <= 1, (key, bodies)
            assert {s for s, _ in answers} <= {201, 502}, (key, answers)
            assert bank.count(key) <= 1, (key, bank.count(key))
            if any(s == 502 for s, _ in answers):
                doubtful += 1
            else:
                assert bank.count(key) == 1, key
        assert doubtful <= unknown, doubtful
        return doubtful
