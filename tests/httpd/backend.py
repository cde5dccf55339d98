# backend.py: the application behind the proxy; counts what it executes.
# SPDX-License-Identifier: Apache-2.0
#
# Paths are /TAG/WHAT: each test has its own TAG, hence a fresh counter.
import socket
import threading
import time
from urllib.parse import unquote

REASONS = {200: "OK", 201: "Created", 202: "Accepted", 204: "No Content",
           205: "Reset Content", 303: "See Other", 304: "Not Modified"}


class Request:
    def __init__(self, method, target, fields):
        self.method = method
        self.target = target
        self.path = target.split("?")[0]
        self.fields = fields
        self.body = b""
        self.trailers = []

    def all(self, name):
        return [v for n, v in self.fields if n.lower() == name.lower()]

    def get(self, name):
        return ", ".join(self.all(name)) or None


def read_fields(stream):
    fields = []
    while True:
        line = stream.readline()
        if not line.strip():
            return fields
        name, value = line.decode("latin-1").split(":", 1)
        fields.append((name, value.strip()))


def read_request(stream):
    line = stream.readline().decode("latin-1").split()
    if len(line) < 3:
        return None
    req = Request(line[0], line[1], read_fields(stream))
    if req.get("Transfer-Encoding"):
        while True:
            size = int(stream.readline().split(b";")[0] or b"0", 16)
            if size == 0:
                req.trailers = read_fields(stream)
                return req
            req.body += stream.read(size)
            stream.readline()
    size = int(req.get("Content-Length") or 0)
    req.body = stream.read(size)
    return req if len(req.body) == size else None


class Backend:
    def __init__(self):
        self.lock = threading.Lock()
        self.counts = {}
        self.requests = {}
        self.gates = {}
        self.raw = {}
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.accept_at(self.listener)

    def accept_at(self, listener):
        threading.Thread(target=self.accept, args=(listener,),
                         daemon=True).start()

    def accept(self, listener):
        while True:
            try:
                sock = listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,),
                             daemon=True).start()

    def close(self):
        self.listener.close()

    def serve(self, sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = sock.makefile("rb")
        try:
            while True:
                req = read_request(stream)
                if req is None or not self.handle(req, sock):
                    return
        except (OSError, ValueError):
            return
        finally:
            stream.close()
            sock.close()

    # ------------------------------------------------------ for the tests

    def count(self, tag):
        with self.lock:
            return self.counts.get(tag, 0)

    def seen(self, tag):
        with self.lock:
            return list(self.requests.get(tag, []))

    def gate(self, tag):
        with self.lock:
            return self.gates.setdefault(tag, threading.Event())

    def wait_for(self, tag, number=1, seconds=10):
        end = time.monotonic() + seconds
        while self.count(tag) < number:
            assert time.monotonic() < end, "the back end was not reached"
            time.sleep(0.005)

    # ------------------------------------------------------------ answers

    def handle(self, req, sock):
        parts = req.path.strip("/").split("/")
        tag, what = parts[0], parts[1] if len(parts) > 1 else "orders"
        with self.lock:
            number = self.counts.get(tag, 0) + 1
            self.counts[tag] = number
            self.requests.setdefault(tag, []).append(req)
        arg = parts[2] if len(parts) > 2 else ""
        return getattr(self, "do_" + what)(req, sock, tag, arg, number)

    def send(self, sock, status, fields, body, with_length=True):
        reason = REASONS.get(status, "Told So")
        out = "HTTP/1.1 %d %s\r\n" % (status, reason)
        for name, value in fields:
            out += "%s: %s\r\n" % (name, value)
        if with_length and status not in (204, 304):
            out += "Content-Length: %d\r\n" % len(body)
        sock.sendall(out.encode("latin-1") + b"\r\n" + body)
        return True

    def do_orders(self, req, sock, tag, arg, number):
        status = 200 if req.method in ("GET", "HEAD") else 201
        fields = [("Location", "/orders/%d" % number),
                  ("Content-Type", "application/json"),
                  ("ETag", '"v%d"' % number), ("X-App", "keep")]
        body = b'{"id":%d}' % number
        if req.method == "HEAD":
            fields.append(("Content-Length", str(len(body))))
            return self.send(sock, status, fields, b"", False)
        return self.send(sock, status, fields, body)

    def do_slow(self, req, sock, tag, arg, number):
        time.sleep(int(arg) / 1000)
        return self.do_orders(req, sock, tag, arg, number)

    def do_gate(self, req, sock, tag, arg, number):
        """Answers once the test opens the gate; arg: bytes to answer."""
        if not self.gate(tag).wait(60):
            return False
        if arg:
            return self.do_big(req, sock, tag, arg, number)
        return self.do_orders(req, sock, tag, arg, number)

    def do_each(self, req, sock, tag, arg, number):
        """As do_gate, but each run has a gate of its own: TAG.1, TAG.2."""
        return self.do_gate(req, sock, "%s.%d" % (tag, number), arg, number)

    def do_st(self, req, sock, tag, arg, number):
        status = int(arg)
        fields = [("Content-Type", "text/plain"), ("X-Run", str(number))]
        body = b"" if status in (204, 304) else b"status %d\n" % status
        if status == 401:
            fields.append(("WWW-Authenticate", 'Basic realm="a"'))
        if status in (301, 302, 303, 307, 308):
            fields.append(("Location", "/elsewhere"))
        return self.send(sock, status, fields, body)

    def do_hop(self, req, sock, tag, arg, number):
        sock.sendall(b"HTTP/1.1 201 Created\r\nConnection: X-Hop\r\n"
                     b"X-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
                     b"Proxy-Authenticate: Basic\r\nTrailer: X-T\r\n"
                     b"Location: /orders/%d\r\n"
                     b"Content-Type: application/json\r\n"
                     b"Transfer-Encoding: chunked\r\n\r\n"
                     b"8\r\n{\"id\":%d}\r\n0\r\nX-T: 1\r\n\r\n"
                     % (number, number % 10))
        return True

    def do_big(self, req, sock, tag, arg, number):
        return self.send(sock, 200, [("Content-Type", "text/plain"),
                                     ("Location", "/big/one")],
                         bytes(65 + i % 23 for i in range(int(arg))))

    def do_cut(self, req, sock, tag, arg, number):
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
                     b"0123456789")
        return False

    def do_nohdr(self, req, sock, tag, arg, number):
        return False

    def do_drip(self, req, sock, tag, arg, number):
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for i in range(10):
            sock.sendall(b"400\r\n" + b"%d" % i * 1024 + b"\r\n")
            time.sleep(0.02)
        sock.sendall(b"0\r\n\r\n")
        return True

    def do_flow(self, req, sock, tag, arg, number):
        """Its head and one piece at once; the rest once the gate is open.
        arg: bytes of the rest; "cut": none, and no end; type of content."""
        what = arg.split(",")
        ctype = "text/event-stream" if "sse" in what else "text/plain"
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n"
                     b"X-Run: %d\r\nTransfer-Encoding: chunked\r\n\r\n"
                     b"6\r\nfirst\n\r\n" % (ctype.encode(), number))
        if not self.gate(tag).wait(60):
            return False
        if "cut" in what:
            return False
        rest = b"r" * int(what[0])
        if rest:
            sock.sendall(b"%x\r\n%s\r\n" % (len(rest), rest))
        sock.sendall(b"0\r\n\r\n")
        return True

    def do_endless(self, req, sock, tag, arg, number):
        """Events for ever; the gate opens when nobody takes them."""
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                     b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                sock.sendall(b"400\r\n: %s\n\n\r\n" % (b"." * 1020))
                time.sleep(0.01)
        except OSError:
            self.gate(tag).set()
            raise

    def do_turns(self, req, sock, tag, arg, number):
        """503 at the first turn, once the gate is open; then 201."""
        if not self.gate(tag).wait(60):
            return False
        if number == 1:
            return self.send(sock, 503, [], b"busy\n")
        return self.do_slow(req, sock, tag, "300", number)

    def do_word(self, req, sock, tag, arg, number):
        """arg: what the application says in Idempotency-Record."""
        fields = [("Idempotency-Record", value)
                  for value in unquote(arg).split("|")]
        return self.send(sock, 201, fields, b"%d\n" % number)

    def do_doc(self, req, sock, tag, arg, number):
        version = '"v%d"' % number
        if req.get("If-Match") not in (None, version):
            return self.send(sock, 412, [], b"changed\n")
        return self.send(sock, 204, [("ETag", '"v%d"' % (number + 1))], b"")

    def do_raw(self, req, sock, tag, arg, number):
        """Exactly the bytes that the test laid down, then the end."""
        sock.sendall(self.raw[tag])
        return False
