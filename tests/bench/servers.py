# servers.py: the private servers that tests/bench/httpd measures.
# SPDX-License-Identifier: Apache-2.0
"""Each server has a port of its own, a folder of its own and a pid."""
import glob
import http.client
import os
import shutil
import socket
import subprocess
import time

MODULES = "/usr/lib/apache2/modules"
ANSWER = 512


def free_port():
    """A loopback port that is free now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def family(pid):
    """The pid and those of all its descendants."""
    pids = [pid]
    for p in pids:
        for name in glob.glob(f"/proc/{p}/task/*/children"):
            try:
                with open(name) as f:
                    pids += [int(word) for word in f.read().split()]
            except OSError:
                pass
    return pids


def cpu_ns(pid):
    """Nanoseconds of CPU that the process and its descendants had so far."""
    total = 0
    for p in family(pid):
        for name in glob.glob(f"/proc/{p}/task/*/schedstat"):
            try:
                with open(name) as f:
                    total += int(f.read().split()[0])
            except (OSError, ValueError):
                pass
    return total


class Server:
    """One running program; stopped by its pid."""

    def __init__(self, bench, name, argv_of, cwd=None):
        self.name = name
        self.port = free_port()
        self.dir = os.path.join(bench.work, name)
        os.makedirs(self.dir, exist_ok=True)
        os.chmod(self.dir, 0o755)
        argv = argv_of(self)
        with open(os.path.join(self.dir, "out"), "wb") as out:
            self.process = subprocess.Popen(
                argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                cwd=cwd or self.dir,
                preexec_fn=lambda: os.sched_setaffinity(0, bench.cpus))
        self.wait()

    def wait(self):
        """Until it listens."""
        for _ in range(100):
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError(f"{self.name} did not start:\n{self.said()}")

    def said(self):
        """The end of what it wrote."""
        text = ""
        for name in ("out", "error.log"):
            try:
                with open(os.path.join(self.dir, name), "rb") as f:
                    text += f.read()[-2000:].decode("latin1")
            except OSError:
                pass
        return text

    def ask(self, method, path, key=None):
        """Status, fields and body of one request."""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        fields = {"Content-Type": "application/json", "Host": "127.0.0.1"}
        if key is not None:
            fields["Idempotency-Key"] = f'"{key}"'
        body = '{"amount": 4200}' if method == "POST" else None
        c.request(method, path, body, fields)
        r = c.getresponse()
        data = r.read()
        c.close()
        return r.status, r.headers, data

    def record(self, path, keys):
        """One request with each key, on one connection."""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        for key in keys:
            c.request("POST", path, '{"amount": 4200}',
                      {"Content-Type": "application/json",
                       "Host": "127.0.0.1", "Idempotency-Key": f'"{key}"'})
            c.getresponse().read()
        c.close()

    def stop(self):
        """Ends it and waits until it has ended."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


HTTPD = """\
ServerRoot {dir}
ServerName 127.0.0.1
Listen 127.0.0.1:{port}
PidFile {dir}/httpd.pid
DefaultRuntimeDir {dir}
ErrorLog {dir}/error.log
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
LoadModule status_module {modules}/mod_status.so
{user}
ExtendedStatus Off
StartServers 2
ThreadsPerChild 25
MinSpareThreads 1
MaxSpareThreads 50
MaxRequestWorkers 50
KeepAlive On
KeepAliveTimeout 60
MaxKeepAliveRequests 0
DocumentRoot {site}
<Directory "/">
    AllowOverride None
</Directory>
{more}
<Location "/server-status">
    SetHandler server-status
    {off}
</Location>
"""


def httpd(bench, name, more="", off=""):
    """An httpd on the event MPM."""
    def argv(server):
        user = "User www-data\nGroup www-data" if os.getuid() == 0 else ""
        conf = os.path.join(server.dir, "httpd.conf")
        with open(conf, "w") as f:
            f.write(HTTPD.format(dir=server.dir, port=server.port,
                                 modules=MODULES, user=user, off=off,
                                 site=bench.site, more=more))
        return ["/usr/sbin/apache2", "-f", conf, "-D", "FOREGROUND"]
    return Server(bench, name, argv)


def behind(back):
    """Lines that pass /back/ on to another server."""
    return f"ProxyPass /back/ http://127.0.0.1:{back.port}/\n"


def with_module(bench, back):
    """An httpd with the module; its store keeps all of this run."""
    return httpd(bench, "with", behind(back) + f"""
LoadModule idempotency_module {bench.module}
IdempotencyStore shm size={bench.size} path=none
IdempotencyEngine On
""", "IdempotencyEngine Off")


def steady(bench):
    """An httpd with the module, whose records die as fast as others come:
    what a store is like after a day, each page used before."""
    return httpd(bench, "steady", f"""
LoadModule idempotency_module {bench.module}
IdempotencyStore shm size={256 * len(bench.cpus)}M path=none
IdempotencyTTL 2s
IdempotencyEngine On
""", "IdempotencyEngine Off")


def with_socache(bench):
    """An httpd with mod_cache in shared memory."""
    return httpd(bench, "socache", f"""
LoadModule cache_module {MODULES}/mod_cache.so
LoadModule cache_socache_module {MODULES}/mod_cache_socache.so
LoadModule socache_shmcb_module {MODULES}/mod_socache_shmcb.so
CacheSocache shmcb:{bench.work}/socache/cache(8388608)
CacheEnable socache /
CacheDefaultExpire 3600
CacheHeader On
""")


def with_disk(bench):
    """An httpd with mod_cache on disk."""
    root = os.path.join(bench.work, "disk", "cache")
    os.makedirs(root)
    if os.getuid() == 0:
        shutil.chown(root, "www-data")
    return httpd(bench, "disk", f"""
LoadModule cache_module {MODULES}/mod_cache.so
LoadModule cache_disk_module {MODULES}/mod_cache_disk.so
CacheRoot {root}
CacheEnable disk /
CacheDefaultExpire 3600
CacheHeader On
""")


NGINX = """\
daemon off;
{user}
worker_processes {workers};
pid {dir}/nginx.pid;
error_log {dir}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    proxy_cache_path {dir}/cache levels=1:2 keys_zone=keys:128m
        max_size=8g inactive=1h use_temp_path=off;
    upstream back {{
        server 127.0.0.1:{back};
        keepalive 64;
        keepalive_requests 100000000;
    }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://back/;
            proxy_cache keys;
            proxy_cache_methods POST;
            proxy_cache_key $http_idempotency_key;
            proxy_cache_valid 200 1h;
            proxy_cache_lock on;
            add_header X-Cache $upstream_cache_status;
        }}
        location /plain/ {{
            proxy_pass http://back/;
        }}
    }}
}}
"""


def nginx(bench, back):
    """nginx with the key as the key of its cache."""
    def argv(server):
        conf = os.path.join(server.dir, "nginx.conf")
        user = "user www-data;" if os.getuid() == 0 else ""
        with open(conf, "w") as f:
            f.write(NGINX.format(dir=server.dir, port=server.port, user=user,
                                 workers=len(bench.cpus), back=back.port))
        return ["/usr/sbin/nginx", "-c", conf, "-e",
                os.path.join(server.dir, "error.log")]
    return Server(bench, "nginx", argv)


def node(bench):
    """A Node server with a middleware; RuntimeError if it cannot be had."""
    if not shutil.which("node") or not shutil.which("npm"):
        raise RuntimeError("node and npm are not both installed")
    home = os.path.join(bench.work, "node")
    os.makedirs(home)
    shutil.copy(os.path.join(bench.here, "middleware.js"), home)
    done = subprocess.run(
        ["npm", "install", "--silent", "--no-audit", "--no-fund",
         "--prefix", home, "express@4", "express-idempotency"],
        cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL, timeout=180)
    if done.returncode != 0:
        raise RuntimeError("npm could not install express-idempotency")
    return Server(bench, "node", lambda server: [
        "node", os.path.join(home, "middleware.js"), str(server.port),
        os.path.join(bench.site, "answer")], cwd=home)
