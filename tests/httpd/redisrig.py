# redisrig.py: a redis-server of the tests' own, and a client for it.
# SPDX-License-Identifier: Apache-2.0
import os
import shutil
import signal
import socket
import subprocess
import tempfile

import rig

SECRET = "0123456789abcdef0123456789abcdef-of-the-tests\n"


def module_path():
    """Beside the base module."""
    return os.path.join(os.path.dirname(rig.module_path()),
                        "mod_idempotency_redis.so")


LOAD = "LoadModule idempotency_redis_module %s" % module_path()


class Error(Exception):
    """What Redis answered with a minus."""


class Client:
    """Just enough of the protocol."""

    def __init__(self, port, host="127.0.0.1", timeout=10):
        self.sock = socket.create_connection((host, port), timeout)
        self.stream = self.sock.makefile("rb")

    def close(self):
        self.stream.close()
        self.sock.close()

    def __call__(self, *words):
        out = b"*%d\r\n" % len(words)
        for word in words:
            if not isinstance(word, bytes):
                word = str(word).encode()
            out += b"$%d\r\n%s\r\n" % (len(word), word)
        self.sock.sendall(out)
        return self.reply()

    def reply(self):
        line = self.stream.readline()
        if not line:
            raise OSError("the connection was closed")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise Error(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            if rest == b"-1":
                return None
            return self.stream.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        return rest.decode()


class Redis:
    """A server in a folder of its own, on a port of its own."""

    program = "redis-server"

    def __init__(self, *options, host="127.0.0.1", port=None, netns=None):
        self.root = tempfile.mkdtemp(prefix="idem-redis-", dir="/tmp")
        self.host = host
        self.port = port or rig.free_port()
        self.netns = netns
        self.options = list(options)
        self.child = None
        self.secret = os.path.join(self.root, "secret")
        with open(self.secret, "w") as file:
            file.write(SECRET)
        os.chmod(self.secret, 0o600)

    def command(self):
        words = [self.program, "--port", str(self.port), "--bind",
                 self.host, "--dir", self.root, "--save", "",
                 "--logfile", os.path.join(self.root, "log"),
                 "--protected-mode", "no"] + self.options
        if self.netns:
            words = ["ip", "netns", "exec", self.netns] + words
        return words

    def start(self):
        self.child = subprocess.Popen(
            self.command(), start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        assert rig.wait_until(self.answers, 15), self.log()
        return self

    def client(self):
        return Client(self.port, self.host)

    def answers(self):
        try:
            client = self.client()
        except OSError:
            return False
        try:
            client("PING")
        except Error as err:
            return "NOAUTH" in str(err)
        except OSError:
            return False
        finally:
            client.close()
        return True

    def do(self, *words):
        """One command on a connection of its own."""
        client = self.client()
        try:
            return client(*words)
        finally:
            client.close()

    def log(self):
        with open(os.path.join(self.root, "log"), errors="replace") as file:
            return file.read()

    def signal(self, sig):
        self.child.send_signal(sig)

    def kill(self):
        if self.child and self.child.poll() is None:
            self.child.send_signal(signal.SIGCONT)
            self.child.kill()
        if self.child:
            self.child.wait(10)
        self.child = None

    def close(self):
        self.kill()
        shutil.rmtree(self.root, ignore_errors=True)

    def store(self, *options, url=None):
        """The value of IdempotencyStore for this server."""
        words = ["redis", url or "url=redis://%s:%d/0"
                 % (self.host, self.port)]
        if not any(o.startswith("secret=") for o in options):
            words.append("secret=" + self.secret)
        return " ".join(words + list(options))
