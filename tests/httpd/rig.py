# rig.py: a private httpd and PHP-FPM, and what a test asks of them.
# SPDX-License-Identifier: Apache-2.0
#
# A test gets its server by its configuration: the same text, the same
# running server. Fresh keys and counters come from the test's tag, which
# is in the path (counter) and in the Authorization field (principal).
import glob
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid

import client

HERE = os.path.dirname(os.path.abspath(__file__))
HTTPD = "/usr/sbin/apache2"
MODULES = "/usr/lib/apache2/modules"
FPM = "/usr/sbin/php-fpm8.2"
BAD_LINE = re.compile(r"[:\[](warn|error|crit|alert|emerg)\] ")


def module_path():
    build = os.environ.get("IDEM_BUILDDIR",
                           os.path.dirname(os.path.dirname(HERE)))
    return os.path.abspath(os.environ.get(
        "IDEM_MODULE", os.path.join(build, ".libs/mod_idempotency.so")))


# httpd's own, and without consequence: a child of event that stops has closed
# its pollset while a worker still hands a connection back, to be kept or to be
# closed; and Debian's httpd was built beside a newer OpenSSL than the one
# installed.
NOT_OURS = re.compile(r"\(9\)Bad file descriptor: AH0309[23]|AH01882")

# Seconds within which "about 2 s" has come, on a machine that is busy.
SOON = 8

MPM = {
    "prefork": "StartServers 6\nMinSpareServers 4\nMaxSpareServers 20\n"
               "ServerLimit 64\nMaxRequestWorkers 64\n",
    "worker": "StartServers 2\nThreadsPerChild 16\nMinSpareThreads 16\n"
              "MaxSpareThreads 64\nMaxRequestWorkers 64\n",
    "event": "StartServers 2\nThreadsPerChild 16\nMinSpareThreads 16\n"
             "MaxSpareThreads 64\nMaxRequestWorkers 64\n",
}

LOADED = ("authn_core authz_core authz_host authz_user authn_file auth_basic "
          "alias dir env setenvif headers mime rewrite filter deflate status "
          "proxy proxy_http proxy_fcgi reqtimeout").split()

BASE = """\
ServerRoot {root}
Listen 127.0.0.1:{port}
ServerName api.test
ServerAdmin nobody@api.test
User www-data
Group www-data
DefaultRuntimeDir run
PidFile run/httpd.pid
ErrorLog logs/error.log
LogLevel {level}
LogFormat "%{{IDEMPOTENCY_RESULT}}e %>s %r \
%{{begin:sec}}t.%{{begin:usec_frac}}t" result
CustomLog logs/access.log result
Timeout {timeout}
KeepAliveTimeout 5
GracefulShutdownTimeout 10
TraceEnable On
{mpm}
{load}
TypesConfig /dev/null
DocumentRoot {root}/htdocs
IdempotencyStore {store}
<Directory {root}>
    AllowOverride FileInfo AuthConfig Indexes
    Options ExecCGI FollowSymLinks
    Require all granted
</Directory>
SetEnv IDEM_COUNTS {root}/counts
ScriptAlias /cgi/ {root}/cgi/
Alias /php/ {root}/php/
<FilesMatch "\\.php$">
    SetHandler "{php}"
</FilesMatch>
ProxyPass /api/ http://127.0.0.1:{backend}/ disablereuse=on
ProxyPass /off/ http://127.0.0.1:{backend}/
<LocationMatch "^/(api|cgi|php|app)/">
    IdempotencyEngine On
{location}
</LocationMatch>
<Location "/server-status">
    SetHandler server-status
</Location>
{conf}
"""


def environment():
    """A module built with sanitizers needs their library in httpd first; not
    in PHP-FPM, whose extensions it refuses."""
    preload = os.environ.get("IDEM_PRELOAD")
    return dict(os.environ, LD_PRELOAD=preload) if preload else None


def free_port():
    """Below those that Linux gives to connections: none of them takes the
    place of a server that is stopped and started again."""
    while True:
        port = random.randrange(10000, 32768)
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


def wait_until(what, seconds=15, step=0.02):
    """Poll until what() is true; its last value is returned."""
    end = time.monotonic() + seconds
    value = what()
    while not value and time.monotonic() < end:
        time.sleep(step)
        value = what()
    return value


def stat_of(pid):
    """[state, parent, group, session] of a process; None if gone."""
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(")", 1)[1].split()[:4]
    except OSError:
        return None


def files_of(pid):
    """What the descriptors of a process lead to; none if it is gone."""
    found = []
    for path in glob.glob("/proc/%d/fd/*" % pid):
        try:
            found.append(os.readlink(path))
        except OSError:
            pass
    return found


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def fresh_root():
    root = tempfile.mkdtemp(prefix="idem-test-", dir="/tmp")
    os.chmod(root, 0o755)
    for name in ("run", "logs", "htdocs", "counts"):
        os.mkdir(os.path.join(root, name))
    os.chmod(os.path.join(root, "counts"), 0o777)
    for name in ("cgi", "php"):
        shutil.copytree(os.path.join(HERE, name), os.path.join(root, name))
    return root


class Fpm:
    """PHP-FPM with a pool of its own."""

    def __init__(self):
        self.root = tempfile.mkdtemp(prefix="idem-fpm-", dir="/tmp")
        os.chmod(self.root, 0o755)
        self.socket = os.path.join(self.root, "fpm.sock")
        self.conf = os.path.join(self.root, "fpm.conf")
        with open(self.conf, "w") as file:
            file.write("[global]\nerror_log = {0}/fpm.log\ndaemonize = no\n"
                       "[idem]\nuser = www-data\ngroup = www-data\n"
                       "listen = {1}\nlisten.mode = 0666\npm = static\n"
                       "pm.max_children = 4\nclear_env = no\n"
                       .format(self.root, self.socket))
        self.child = None

    def start(self):
        self.child = subprocess.Popen(
            [FPM, "-F", "-y", self.conf], start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        assert wait_until(self.answers), "PHP-FPM did not start"

    def answers(self):
        with socket.socket(socket.AF_UNIX) as sock:
            return sock.connect_ex(self.socket) == 0

    def stop(self):
        if self.child:
            self.child.terminate()
            self.child.wait(10)
            self.child = None

    def close(self):
        self.stop()
        shutil.rmtree(self.root, ignore_errors=True)


class Server:
    def __init__(self, mpm, backend, fpm, conf="", location="", store=None,
                 level="info", timeout=10, extra=(), root=None):
        self.mpm = mpm
        self.backend = backend
        self.root = root or fresh_root()
        self.port = free_port()
        self.child = None
        self.before = 0
        self.mark = 0
        self.expected = []
        store = store or ("shm size=16M path=%s/run/idempotency.store"
                          % self.root)
        self.settings = {
            "root": self.root, "backend": backend.port, "level": level,
            "timeout": timeout, "location": location, "conf": conf,
            "store": store, "mpm": MPM[mpm], "load": self.load(extra),
            "php": ("application/x-httpd-php" if mpm == "prefork" else
                    "proxy:unix:%s|fcgi://localhost" % fpm.socket)}
        self.write()

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    def load(self, extra):
        names = ["mpm_" + self.mpm] + LOADED + list(extra)
        names.append("cgi" if self.mpm == "prefork" else "cgid")
        lines = ["LoadModule %s_module %s/mod_%s.so" % (n, MODULES, n)
                 for n in names]
        if self.mpm == "prefork":
            lines.append("LoadModule php_module %s/libphp8.2.so" % MODULES)
        else:
            lines.append("ScriptSock cgisock")
        lines.append("LoadModule idempotency_module %s" % module_path())
        return "\n".join(lines)

    def write(self, **changes):
        """Lay down the configuration, for the next start or restart."""
        self.settings.update(changes)
        text = BASE.format(port=self.port, **self.settings)
        text = text.replace("@ROOT@", self.root)
        text = text.replace("@PORT@", str(self.port))
        with open(self.path("httpd.conf"), "w") as file:
            file.write(text.replace("@BACKEND@", str(self.backend.port)))

    def file(self, name, text, mode=0o644):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, mode)

    # ------------------------------------------------------ life of httpd

    def command(self, *args):
        return [HTTPD, "-d", self.root, "-f", self.path("httpd.conf"), *args]

    def check(self):
        """httpd -t: its exit status and what it says."""
        done = subprocess.run(self.command("-t"), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=30,
                              env=environment())
        return done.returncode, done.stdout.decode()

    def launch(self):
        self.before = self.generations()
        # In a session of its own: prefork signals its whole process group
        # when it stops, and would take pytest along.
        with open(self.path("logs/stderr"), "ab") as err:
            self.child = subprocess.Popen(
                self.command("-k", "start", "-DFOREGROUND"),
                start_new_session=True, stdin=subprocess.DEVNULL,
                stdout=err, stderr=err, env=environment())

    def start(self):
        for _ in range(3):
            self.launch()
            if wait_until(self.is_decided, 20) and self.child.poll() is None:
                return self
            self.child.wait(10)
            if "Address already in use" not in self.stderr():
                break
            self.port = free_port()
            self.write()
        said = "%s\n%s" % (self.stderr(), self.log()[-2000:])
        self.close()
        raise AssertionError("httpd did not start:\n" + said)

    def is_decided(self):
        return self.child.poll() is not None or self.listens()

    def has_daemon(self):
        """mod_cgid's, which gives its socket away when it has made it: a
        stop before that would be an error to it."""
        name = self.path("run/cgisock.%d" % self.child.pid)
        try:
            return self.mpm == "prefork" or os.stat(name).st_uid != 0
        except FileNotFoundError:
            return False

    def listens(self):
        """Not before it handles signals: a restart would be lost."""
        with socket.socket() as sock:
            return (self.generations() > self.before and self.has_daemon()
                    and sock.connect_ex(("127.0.0.1", self.port)) == 0)

    def stderr(self):
        with open(self.path("logs/stderr")) as file:
            return file.read()

    def generations(self):
        return self.log().count("resuming normal operations")

    def again(self, sig):
        """graceful (SIGUSR1) or restart (SIGHUP), until it has happened."""
        before = self.generations()
        self.child.send_signal(sig)
        assert wait_until(lambda: self.generations() > before
                          and self.has_daemon(), 30), self.log()

    def stop(self, sig=signal.SIGTERM):
        if self.child:
            if self.child.poll() is None:
                self.child.send_signal(sig)
                self.child.wait(30)
            # A daemon of mod_cgid that was born while its parent was killed
            # outlives it.
            for pid in self.children():
                kill(pid)
        self.child = None

    def pids(self):
        """Every process of this server: its session, and its children."""
        found = set()
        for name in os.listdir("/proc"):
            stat = stat_of(int(name)) if name.isdigit() else None
            if stat and stat[0] != "Z" and (int(stat[3]) == self.child.pid
                                            or int(stat[1]) == self.child.pid):
                found.add(int(name))
        return found

    def children(self):
        return self.pids() - {self.child.pid}

    def child_of(self, conn):
        """The process that serves a connection."""
        pair = "0100007F:%04X 0100007F:%04X" % (self.port,
                                                conn.sock.getsockname()[1])
        with open("/proc/net/tcp") as file:
            inode = [line.split()[9] for line in file if pair in line][0]
        for pid in self.children():
            if "socket:[%s]" % inode in files_of(pid):
                return pid
        raise AssertionError("no child serves this connection")

    def kill_all(self):
        """SIGKILL for the parent and all children at once."""
        # What a daemon of mod_cgid says whose socket went with its parent.
        self.expected.append("AH01244")
        for pid in [self.child.pid] + sorted(self.children()):
            kill(pid)
        self.child.wait(10)
        for pid in self.children():
            kill(pid)
        wait_until(lambda: not self.children(), 5)
        self.child = None

    def close(self):
        self.stop()
        shutil.rmtree(self.root, ignore_errors=True)

    # --------------------------------------------------------------- logs

    def log(self):
        return self.read_log("logs/error.log")

    def read_log(self, name):
        try:
            with open(self.path(name), errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def new_log(self):
        return self.log()[self.mark:]

    def unexpected(self):
        return [line for line in self.new_log().splitlines()
                if BAD_LINE.search(line) and not NOT_OURS.search(line)
                and not any(re.search(e, line) for e in self.expected)]

    def results(self, tag, number):
        """Result words of a test's requests, from the access log, in the
        order in which they began."""
        def words():
            lines = [line for line in self.read_log("logs/access.log")
                     .splitlines() if tag in line]
            return lines if len(lines) >= number else None
        lines = wait_until(words, 10)
        assert lines and len(lines) == number, lines
        return [line.split()[0] for line in
                sorted(lines, key=lambda line: line.split()[-1])]

    def status(self, conn=None):
        """The module's numbers in mod_status."""
        with conn or client.Conn(self.port) as conn:
            conn.send(client.request("GET", "/server-status?auto", body=None))
            text = conn.answer("GET").body.decode()
        return {m[1]: int(m[2]) for m in re.finditer(
            r"^Idempotency(\w+): (\d+)$", text, re.M)}


class Api:
    """One test's view: its server, its tag, its counters."""

    def __init__(self, server, tag):
        self.server = server
        self.tag = tag
        self.backend = server.backend

    @property
    def port(self):
        """Of its server: a start that found it taken changes it."""
        return self.server.port

    def fresh(self):
        """The same server with a fresh counter and fresh keys."""
        return Api(self.server, "t" + uuid.uuid4().hex[:12])

    # /orders -> /api/TAG/orders; /cgi/c?x and /php/c.php?x get t=TAG;
    # =/any/%s/path stands as it is.
    def target(self, path):
        if path.startswith("="):
            return path[1:] % self.tag
        if path.startswith(("/cgi/", "/php/", "/app/")):
            return path + ("&" if "?" in path else "?") + "t=" + self.tag
        if path.startswith("/off/"):
            return "/off/" + self.tag + path[4:]
        return "/api/" + self.tag + path

    def raw(self, method, path, key=None, body=client.B1, fields=(), user="",
            **more):
        """The bytes of a request; user=None sends no Authorization."""
        fields = list(fields)
        if user is not None:
            fields.append(("Authorization", user or "Bearer " + self.tag))
        return client.request(method, self.target(path), key, body, fields,
                              **more)

    def send(self, method, path, key=None, body=client.B1, timeout=15,
             **more):
        if method in ("GET", "HEAD", "OPTIONS") and body is client.B1:
            body = None
        return client.exchange(self.port,
                               self.raw(method, path, key, body, **more),
                               method, timeout)

    def post(self, path, key=None, body=client.B1, **more):
        return self.send("POST", path, key, body, **more)

    def conn(self, timeout=15):
        return client.Conn(self.port, timeout)

    @property
    def n(self):
        """Executions by the proxied back end."""
        return self.backend.count(self.tag)

    @property
    def runs(self):
        """Executions by CGI and PHP."""
        try:
            return os.path.getsize(self.server.path("counts", self.tag))
        except FileNotFoundError:
            return 0

    def body_seen(self):
        """The body that CGI or PHP got."""
        with open(self.server.path("counts", self.tag + ".body"),
                  "rb") as file:
            return file.read()

    def wait_runs(self, number):
        assert wait_until(lambda: self.runs >= number), "not run"

    def wait_n(self, number=1):
        self.backend.wait_for(self.tag, number)

    def open_gate(self):
        """For the back end's runs of this tag, and for scripts that hold."""
        self.backend.gate(self.tag).set()
        with open(self.server.path("counts", self.tag + ".gate"), "w"):
            pass

    def expect_log(self, *patterns):
        self.server.expected += patterns
