# cutter.py: a relay between client and httpd that treats each connection as
# it was told to: cuts, stalls, refuses.
# SPDX-License-Identifier: Apache-2.0
import socket
import threading


class Cutter:
    """plan: one word for each connection, the last one for all further ones.

    pass     relays
    cut      relays the request, calls when(), hangs up on both sides
    half     relays the answer up to the middle of its body, then hangs up
    stall    relays the request, never the answer
    bytes    is sent as the answer; the request goes nowhere
    """

    def __init__(self, port, plan, when=None, listener=None):
        self.port = port
        self.plan = list(plan)
        self.when = when
        self.open = []
        self.listener = listener or socket.create_server(
            ("127.0.0.1", 0), backlog=16)
        self.own = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()
        for sock in self.open:
            sock.close()

    def accept(self):
        number = 0
        while True:
            try:
                sock = self.listener.accept()[0]
            except OSError:
                return
            what = self.plan[min(number, len(self.plan) - 1)]
            number += 1
            self.open.append(sock)
            threading.Thread(target=self.serve, args=(sock, what),
                             daemon=True).start()

    def serve(self, sock, what):
        try:
            if isinstance(what, bytes):
                read_message(sock)
                sock.sendall(what)
            elif what == "pass":
                self.relay(sock)
            else:
                self.spoil(sock, what)
        except OSError:
            pass
        finally:
            if what != "stall":
                sock.close()

    def connect(self):
        up = socket.create_connection(("127.0.0.1", self.port), 30)
        self.open.append(up)
        return up

    def spoil(self, sock, what):
        data = read_message(sock)
        up = self.connect()
        up.sendall(data)
        if what == "cut":
            if self.when:
                self.when()
            up.close()
            return
        answer = read_message(up)
        if what == "half":
            begin = answer.index(b"\r\n\r\n") + 4
            sock.sendall(answer[:begin + (len(answer) - begin) // 2])

    def relay(self, sock):
        """Message by message: a client may keep its connection."""
        up = self.connect()
        while True:
            data = read_message(sock)
            if not data:
                return
            up.sendall(data)
            answer = read_message(up)
            if not answer:
                return
            sock.sendall(answer)


def read_message(sock):
    """One request or answer with Content-Length, or none; b"" at the end."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        if not more:
            return b""
        data += more
    head, body = data.split(b"\r\n\r\n", 1)
    size = 0
    for line in head.lower().split(b"\r\n")[1:]:
        name, value = line.split(b":", 1)
        if name == b"content-length":
            size = int(value)
    while len(body) < size:
        more = sock.recv(65536)
        if not more:
            break
        body += more
    return head + b"\r\n\r\n" + body
