# client.py: a small HTTP client on raw sockets, and what it got back.
# SPDX-License-Identifier: Apache-2.0
#
# No library sits between test and wire: torn requests, resets, pipelining
# and exact field bytes are what the tests are about.
import json
import re
import socket
import struct

B1 = b'{"qty":1}'
B2 = b'{"qty":2}'
MARKER = "Idempotent-Replayed"


class NoAnswer(Exception):
    """The connection ended before a status line."""


class Torn(Exception):
    """The connection ended inside an answer."""


class Answer:
    def __init__(self, status, reason, fields, interim):
        self.status = status
        self.reason = reason
        self.fields = fields
        self.interim = interim
        self.body = b""
        self.trailers = []

    def all(self, name):
        return [v for n, v in self.fields if n.lower() == name.lower()]

    def get(self, name):
        values = self.all(name)
        return ", ".join(values) if values else None

    @property
    def marked(self):
        return self.get(MARKER) == "true"

    @property
    def json(self):
        return json.loads(self.body.decode("utf-8"))

    @property
    def problem(self):
        """Last segment of the problem type; None if this is no problem."""
        if self.get("Content-Type") != "application/problem+json":
            return None
        return self.json["type"].rsplit("/", 1)[1]

    def __repr__(self):
        return "<%s %s %r %r>" % (self.status, self.reason, self.fields,
                                  self.body[:300])


def is_problem(answer, status, word):
    """Assert everything that holds of every problem answer."""
    assert answer.status == status, answer
    assert answer.problem == word, answer
    told = answer.json
    assert told["status"] == status
    assert re.match(r"https?://.+/" + word + "$", told["type"])
    assert told["code"] == word
    assert told["title"] and told["detail"]
    assert isinstance(told["retryable"], bool)
    assert "no-store" in answer.get("Cache-Control")
    assert answer.get("Content-Language") == "en"
    assert 'rel="describedby"' in answer.get("Link")
    assert answer.get(MARKER) is None
    return answer


def to_bytes(text):
    return text if isinstance(text, bytes) else text.encode("latin-1")


def chunked(body, sizes=(4,), trailers=()):
    out = b""
    for size in sizes:
        out += b"%x\r\n%s\r\n" % (len(body[:size]), body[:size])
        body = body[size:]
    if body:
        out += b"%x\r\n%s\r\n" % (len(body), body)
    out += b"0\r\n"
    for name, value in trailers:
        out += to_bytes(name) + b": " + to_bytes(value) + b"\r\n"
    return out + b"\r\n"


def head(method, target, key=None, fields=(), host="api.test",
         version="1.1"):
    out = to_bytes("%s %s HTTP/%s\r\n" % (method, target, version))
    if host is not None:
        out += b"Host: " + to_bytes(host) + b"\r\n"
    if key is not None:
        out += b"Idempotency-Key: " + to_bytes(key) + b"\r\n"
    for name, value in fields:
        out += to_bytes(name) + b": " + to_bytes(value) + b"\r\n"
    return out


def request(method, target, key=None, body=B1, fields=(), host="api.test",
            version="1.1", ctype="application/json", pieces=None,
            trailers=()):
    """A whole request. With pieces or trailers its body is chunked."""
    out = head(method, target, key, fields, host, version)
    if body is None:
        return out + b"\r\n"
    if ctype:
        out += b"Content-Type: " + to_bytes(ctype) + b"\r\n"
    if pieces or trailers:
        return (out + b"Transfer-Encoding: chunked\r\n\r\n"
                + chunked(body, pieces or (4,), trailers))
    return out + b"Content-Length: %d\r\n\r\n" % len(body) + body


class Conn:
    def __init__(self, port, timeout=15):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        self.sock.sendall(data)
        return self

    def close(self):
        self.sock.close()

    def reset(self):
        """Leave with RST, as a client that crashed or a NAT that forgot."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                             struct.pack("ii", 1, 0))
        self.sock.close()

    def more(self):
        try:
            data = self.sock.recv(65536)
        except ConnectionResetError:
            data = b""
        self.buffer += data
        return bool(data)

    def at_end(self):
        """Has the server closed, with nothing left unread?"""
        return not self.buffer and not self.more()

    def line(self, started=True):
        while b"\n" not in self.buffer:
            if not self.more():
                raise Torn(self.buffer) if started else NoAnswer(self.buffer)
        text, self.buffer = self.buffer.split(b"\n", 1)
        return text.rstrip(b"\r").decode("latin-1")

    def take(self, size):
        while len(self.buffer) < size:
            if not self.more():
                raise Torn(self.buffer)
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def field_lines(self):
        fields = []
        text = self.line()
        while text:
            name, value = text.split(":", 1)
            fields.append((name, value.strip(" \t")))
            text = self.line()
        return fields

    def answer_head(self):
        interim = []
        while True:
            first = self.line(started=False)
            match = re.match(r"HTTP/1\.[01] (\d{3}) ?(.*)$", first)
            assert match, "out of step: %r" % first
            status = int(match.group(1))
            fields = self.field_lines()
            if status >= 200 or status == 101:
                return Answer(status, match.group(2), fields, interim)
            interim.append(status)

    def read_chunks(self, answer):
        while True:
            size = int(self.line().split(";")[0], 16)
            if size == 0:
                answer.trailers = self.field_lines()
                return
            answer.body += self.take(size)
            self.line()

    def answer(self, method="POST"):
        answer = self.answer_head()
        if (method == "HEAD" or answer.status in (101, 204, 304)):
            return answer
        if answer.get("Transfer-Encoding"):
            assert answer.get("Transfer-Encoding") == "chunked"
            self.read_chunks(answer)
        elif answer.get("Content-Length") is not None:
            answer.body = self.take(int(answer.get("Content-Length")))
        else:
            while self.more():
                pass
            answer.body, self.buffer = self.buffer, b""
        return answer


def exchange(port, data, method="POST", timeout=15):
    with Conn(port, timeout) as conn:
        return conn.send(data).answer(method)
