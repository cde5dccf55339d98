# shared.py: a host shared by tenants with users of their own, one hostile.
# SPDX-License-Identifier: Apache-2.0
#
#   alpha.test  PHP: mod_php under prefork, else PHP-FPM under its user
#   beta.test   CGI through suexec, under its user
#   evil.test   PHP-FPM under its user, CGI through suexec; under prefork
#               mod_php as well, which .htaccess can ask for
#
# suexec runs nothing outside of /var/www and writes a log of its own; what is
# made there, and the users, are taken away again.
import fcntl
import json
import os
import pwd
import shutil
import subprocess
import threading
import time
import uuid

import client
from rig import Fpm, Server, wait_until

WWW = "/var/www"
SUEXEC_LOG = "/var/log/apache2"
LOCK = "/tmp/idem-shared-host.lock"
QUOTA = 25  # as the manual has it
SLOW = 10  # seconds: no answer of a neighbour may take longer

# IdempotencyAdmin for all of the server is more than anybody should set.
CONF = """\
IdempotencyAuditLog logs/audit.log
IdempotencyAdmin On
<Location "/admin-of-the-host">
    SetHandler idempotency-status
</Location>
IdempotencyWait 4
# Half of them for one host: fewer than prefork has children at its start.
IdempotencyMaxWaiters 8
RequestReadTimeout header=10 body=3,MinRate=2000
<Directory {www}>
    AllowOverride All
    Options ExecCGI SymLinksIfOwnerMatch
    Require all granted
</Directory>
<Directory {www}/beta/htdocs>
    IdempotencyEngine On
</Directory>
<Directory {www}/evil/htdocs>
    IdempotencyEngine On
    IdempotencyMaxRequestBody 1M
</Directory>
<Directory {root}/alpha/htdocs>
    AllowOverride FileInfo
    IdempotencyEngine On
</Directory>
<VirtualHost 127.0.0.1:@PORT@>
    ServerName alpha.test
    DocumentRoot {root}/alpha/htdocs
    SetEnv IDEM_COUNTS {root}/alpha/data
    IdempotencyQuota {quota}
    <FilesMatch "\\.php$">
        SetHandler "{alpha}"
    </FilesMatch>
</VirtualHost>
<VirtualHost 127.0.0.1:@PORT@>
    ServerName beta.test
    DocumentRoot {www}/beta/htdocs
    SuexecUserGroup {beta} {beta}
    AddHandler cgi-script .cgi
    IdempotencyQuota {quota}
</VirtualHost>
<VirtualHost 127.0.0.1:@PORT@>
    ServerName evil.test
    DocumentRoot {www}/evil/htdocs
    SetEnv IDEM_COUNTS {www}/evil/data
    SuexecUserGroup {evil} {evil}
    AddHandler cgi-script .cgi
    IdempotencyQuota {quota}
    <FilesMatch "\\.php$">
        SetHandler "proxy:unix:{fpm}/evil.sock|fcgi://localhost"
    </FilesMatch>
</VirtualHost>
"""

PAY = """\
#!/usr/bin/python3 -ISE
import fcntl, os, sys
body = sys.stdin.buffer.read()
tag = os.environ["QUERY_STRING"].split("&")[0].split("=")[1]
data = os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "../data")
with open(os.path.join(data, tag), "a+b") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    file.write(b"x")
    file.flush()
    number = os.fstat(file.fileno()).st_size
sys.stdout.write("Status: 201\\nContent-Type: text/plain\\n"
                 "X-User: %d\\n\\n%d\\n" % (os.getuid(), number))
"""

# What a script of the hostile tenant can reach, by what it says.
PROBE = """\
<?php
$found = [];
foreach (json_decode(file_get_contents('php://input')) as $path) {
    $found[$path] = @file_get_contents($path, false, null, 0, 64) !== false
        || @scandir($path) !== false || @fopen($path, 'r+') !== false;
}
header('Content-Type: application/json');
$pid = (int)$_GET["pid"];
echo json_encode([posix_geteuid(), $found, $pid > 1 && posix_kill($pid, 9)]);
"""

KILL = """\
<?php
file_put_contents($_SERVER['IDEM_COUNTS'] . '/' . basename($_GET['t']), 'x',
                  FILE_APPEND);
posix_kill(getmypid(), 9);
sleep(10);
"""


def user_command(*args):
    """One at a time: these programs do not wait for each other."""
    with open(LOCK + ".users", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(args, check=True, timeout=60,
                       env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Pools(Fpm):
    """PHP-FPM with a pool for each tenant, under the tenant's user."""

    def __init__(self, users):
        super().__init__()
        self.socket = os.path.join(self.root, "evil.sock")
        with open(self.conf, "w") as file:
            file.write("[global]\nerror_log = %s/fpm.log\ndaemonize = no\n"
                       % self.root)
            for name, user in users.items():
                file.write("[{0}]\nuser = {1}\ngroup = {1}\n"
                           "listen = {2}/{0}.sock\nlisten.mode = 0666\n"
                           "pm = static\npm.max_children = 3\n"
                           "clear_env = no\n".format(name, user, self.root))


class SuexecLog:
    """The folder of suexec's log: made where it is missing, and then taken
    away by the last test process that uses it."""

    def __init__(self):
        self.lock = open(LOCK, "a+")
        fcntl.flock(self.lock, fcntl.LOCK_SH)
        if not os.path.isdir(SUEXEC_LOG):
            os.makedirs(SUEXEC_LOG, exist_ok=True)
            self.lock.write("made\n")
            self.lock.flush()

    def close(self):
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.lock.seek(0)
            if self.lock.read():
                shutil.rmtree(SUEXEC_LOG, ignore_errors=True)
                self.lock.truncate(0)
        except BlockingIOError:
            pass
        self.lock.close()


class SharedHost:
    made = 0

    def __init__(self, mpm, backend, fpm):
        SharedHost.made += 1
        self.mpm = mpm
        self.users = {name: "idem%s%dn%d" % (name, os.getpid(), self.made)
                      for name in ("alpha", "beta", "evil")}
        self.www = "%s/idem-%d-%d" % (WWW, os.getpid(), self.made)
        self.server = self.pools = None
        self.log = SuexecLog()
        try:
            self.move_in(mpm, backend, fpm)
        except BaseException:
            self.close()
            raise

    def move_in(self, mpm, backend, fpm):
        for user in self.users.values():
            user_command("useradd", "--system", "--no-create-home",
                         "--shell", "/usr/sbin/nologin", user)
        self.pools = Pools({n: self.users[n] for n in ("alpha", "evil")})
        self.pools.start()
        self.server = Server(mpm, backend, fpm, extra=("suexec",),
                             store="shm size=4M "
                             "path=@ROOT@/run/idempotency.store")
        root = self.server.root
        alpha = ("application/x-httpd-php" if mpm == "prefork" else
                 "proxy:unix:%s/alpha.sock|fcgi://localhost"
                 % self.pools.root)
        self.server.write(conf=CONF.format(
            root=root, www=self.www, quota=QUOTA, alpha=alpha,
            fpm=self.pools.root, **{n: self.users[n]
                                    for n in ("beta", "evil")}))
        self.settle(os.path.join(root, "alpha"), "alpha",
                    "www-data" if mpm == "prefork" else None)
        self.settle(os.path.join(self.www, "beta"), "beta")
        self.settle(os.path.join(self.www, "evil"), "evil")
        self.add("beta", "pay.cgi", PAY, 0o755)
        self.add("evil", "pay.cgi", PAY, 0o755)
        self.add("evil", "probe.php", PROBE)
        self.add("evil", "kill.php", KILL)
        self.server.start()
        self.port = self.server.port

    def settle(self, home, name, user=None):
        """A tenant's folders, his own."""
        user = user or self.users[name]
        os.makedirs(os.path.join(home, "htdocs"))
        os.makedirs(os.path.join(home, "data"))
        shutil.copy(self.server.path("php/c.php"),
                    os.path.join(home, "htdocs/c.php"))
        for folder, _, files in os.walk(home):
            os.chmod(folder, 0o755)
            for path in [folder] + [os.path.join(folder, f) for f in files]:
                shutil.chown(path, user, user)
        os.chmod(os.path.join(home, "data"), 0o700)

    def home(self, name):
        return (self.server.path("alpha") if name == "alpha"
                else os.path.join(self.www, name))

    def add(self, name, file, text, mode=0o644):
        path = os.path.join(self.home(name), "htdocs", file)
        with open(path, "w") as out:
            out.write(text)
        os.chmod(path, mode)
        shutil.chown(path, self.users[name], self.users[name])

    def runs(self, name, tag):
        try:
            return os.path.getsize(os.path.join(self.home(name), "data",
                                                tag))
        except FileNotFoundError:
            return 0

    def post(self, name, target, key, body=client.B1, user=None, fields=(),
             timeout=30, **more):
        fields = list(fields)
        if user:
            fields.append(("Authorization", user))
        return client.exchange(self.port, client.request(
            "POST", target, key, body, fields, host=name + ".test", **more),
            timeout=timeout)

    def audit(self, name, since=0):
        """Result words of a host in the audit log."""
        with open(self.server.path("logs/audit.log"), "rb") as file:
            told = [json.loads(line.decode("ascii"))
                    for line in file.read()[since:].splitlines()]
        return [t["result"] for t in told if t["host"] == name + ".test"]

    def close(self):
        for part in (self.server, self.pools):
            if part:
                part.close()
        shutil.rmtree(self.www, ignore_errors=True)
        there = {entry.pw_name for entry in pwd.getpwall()}
        for user in there & set(self.users.values()):
            user_command("userdel", user)
        self.log.close()


class Neighbour(threading.Thread):
    """A tenant's client at its usual business, and what it notices."""

    PATH = {"alpha": "/c.php?t=%s", "beta": "/pay.cgi?t=%s"}

    def __init__(self, host, name, patient):
        super().__init__(daemon=True)
        self.patient = patient
        self.host = host
        self.name = name
        self.tag = "n" + uuid.uuid4().hex[:12]
        self.target = self.PATH[name] % self.tag
        self.stopping = threading.Event()
        self.keys = 0
        self.unknown = 0
        self.slowest = 0
        self.wrong = []

    def post(self, key, body=client.B1):
        began = time.monotonic()
        answer = None
        while answer is None:
            answer = self.host.post(self.name, self.target, key, body,
                                    user="Bearer " + self.name)
            if self.patient and (answer.problem or answer.status) in (
                    503, "in-progress"):
                answer = None  # a retry is what the key is for
                time.sleep(0.05)
        self.slowest = max(self.slowest, time.monotonic() - began)
        return answer

    def gone(self, *answers):
        """A restart can take a script with it; that is said, and all."""
        if self.patient and all(a.problem == "outcome-unknown"
                                for a in answers):
            self.unknown += 1
            return True
        return False

    def ran(self, answer):
        """Its number is the next one: no key was run twice."""
        number = int(answer.body)
        self.keys += 1
        if not self.keys <= number <= self.keys + self.unknown:
            self.wrong.append(answer)

    def business(self):
        key = uuid.uuid4().hex
        first = self.post(key)
        again = self.post(key)
        other = self.post(key, client.B2)
        if other.status != 422 or other.problem != "key-reused":
            self.wrong.append(other)
        if self.gone(first, again):
            return
        if first.status != 201 or first.marked:
            self.wrong.append(first)
            return
        if not again.marked or again.body != first.body:
            self.wrong.append(again)
        self.ran(first)

    def double_click(self):
        """Two at once end on the same page."""
        key = uuid.uuid4().hex
        found = []
        pool = [threading.Thread(
            target=lambda: found.append(self.post(key + "-0")))
            for _ in range(2)]
        for thread in pool:
            thread.start()
        for thread in pool:
            thread.join(60)
        if len(found) == 2 and self.gone(*found):
            return
        if (len(found) != 2 or sorted(a.marked for a in found) != [False, True]
                or [a.status for a in found] != [201, 201]
                or found[0].body != found[1].body):
            self.wrong.append(found)
            return
        self.ran(found[0])

    def run(self):
        while not self.stopping.is_set():
            try:
                self.business()
                self.double_click()
            except Exception as failure:  # shown by the test
                self.wrong.append(failure)
                return
            time.sleep(0.02)


class Undisturbed:
    """with Undisturbed(host): ... the other two notice nothing. Patient ones
    come again after a 503 of httpd itself, or a 409 that says so."""

    def __init__(self, host, patient=False):
        self.host = host
        self.patient = patient

    def __enter__(self):
        self.all = [Neighbour(self.host, name, self.patient)
                    for name in Neighbour.PATH]
        for neighbour in self.all:
            neighbour.start()
        assert wait_until(lambda: all(n.keys or n.wrong for n in self.all))
        return self

    def __exit__(self, kind, *_):
        done = [n.keys for n in self.all]
        if kind is None:  # at least some business after the last attempt
            wait_until(lambda: all(n.keys > d or n.wrong for n, d in
                                   zip(self.all, done)))
        for neighbour in self.all:
            neighbour.stopping.set()
        for neighbour in self.all:
            neighbour.join(60)
        if kind is not None:
            return
        for n, before in zip(self.all, done):
            assert not n.wrong, n.wrong[:3]
            assert n.keys > before
            runs = self.host.runs(n.name, n.tag)
            assert n.keys <= runs <= n.keys + n.unknown
            assert n.slowest < SLOW


def at_once(number, what):
    """what(i) for each i, in threads; their results."""
    found = [None] * number

    def run(i):
        found[i] = what(i)
    pool = [threading.Thread(target=run, args=(i,)) for i in range(number)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join(120)
    return found
