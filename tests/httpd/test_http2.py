# test_http2.py: the same over HTTP/2 (K-15, R-24, case 1).
# SPDX-License-Identifier: Apache-2.0
import socket

import client
import h2.config
import h2.connection
import h2.errors
import h2.events
import pytest
from client import B1, B2, is_problem
from test_life import settled

pytestmark = pytest.mark.mpms("worker", "event")  # mod_http2 needs threads

H2 = {"conf": "Protocols h2c http/1.1", "extra": ("http2",)}


class Client:
    """One HTTP/2 connection, by prior knowledge."""

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), 15)
        self.state = h2.connection.H2Connection(
            h2.config.H2Configuration(header_encoding="latin-1"))
        self.state.initiate_connection()
        self.answers = {}
        self.ended = set()
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def flush(self):
        self.sock.sendall(self.state.data_to_send())

    def start(self, api, method, path, key, body=B1, fields=()):
        stream = self.state.get_next_available_stream_id()
        lines = [(":method", method), (":path", api.target(path)),
                 (":scheme", "http"), (":authority", "api.test"),
                 ("authorization", "Bearer " + api.tag),
                 ("content-type", "application/json")]
        if key is not None:
            lines.append(("idempotency-key", key))
        self.state.send_headers(stream, lines + list(fields))
        self.state.send_data(stream, body, end_stream=True)
        self.flush()
        return stream

    def step(self):
        data = self.sock.recv(65536)
        assert data, "the connection ended"
        for event in self.state.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                fields = list(event.headers)
                self.answers[event.stream_id] = client.Answer(
                    int(fields[0][1]), "", fields[1:], [])
            elif isinstance(event, h2.events.DataReceived):
                self.answers[event.stream_id].body += event.data
                self.state.acknowledge_received_data(
                    event.flow_controlled_length, event.stream_id)
            elif isinstance(event, (h2.events.StreamEnded,
                                    h2.events.StreamReset)):
                self.ended.add(event.stream_id)
        self.flush()

    def answer(self, stream):
        while stream not in self.ended:
            self.step()
        return self.answers[stream]

    def post(self, api, path, key, body=B1, **more):
        return self.answer(self.start(api, "POST", path, key, body, **more))

    def cancel(self, stream):
        self.state.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        self.flush()


@pytest.mark.parametrize("path", ["/orders", "/cgi/c", "/php/c.php", "/hop"])
def test_retry_over_h2(site, path):
    """R-24, K-15"""
    api = site(**H2)
    with Client(api.port) as h2c:
        first = h2c.post(api, path, '"h2"')
        again = h2c.post(api, path, '"h2"')
    assert first.status == again.status == 201
    assert again.marked and not first.marked
    assert first.body == again.body
    for name in ("connection", "transfer-encoding", "keep-alive", "upgrade"):
        assert again.get(name) is None
    # One key over both versions.
    assert api.post(path, '"h2"').marked
    assert api.n + api.runs == 1


def test_record_of_http_1_over_h2(site):
    """R-24"""
    api = site(**H2)
    first = api.post("/hop", '"x"')
    with Client(api.port) as h2c:
        again = h2c.post(api, "/hop", '"x"')
        assert again.marked and again.body == first.body
        for name in ("connection", "transfer-encoding", "x-hop", "trailer"):
            assert again.get(name) is None
    assert api.n == 1


def test_streams_race(site):
    """E-07 on one connection"""
    api = site(**H2)
    with Client(api.port) as h2c:
        streams = [h2c.start(api, "POST", "/slow/300", '"r"')
                   for _ in range(10)]
        answers = [h2c.answer(s) for s in streams]
    assert [a.status for a in answers if not a.problem].count(201) == 1
    assert {a.status for a in answers} == {201, 409}
    assert api.n == 1


def test_problems_over_h2(site):
    """P-01"""
    api = site(**H2)
    with Client(api.port) as h2c:
        h2c.post(api, "/orders", '"p"')
        is_problem(h2c.post(api, "/orders", '"p"', B2), 422, "key-reused")
        is_problem(h2c.post(api, "/orders", '"p'), 400, "invalid-key")
    assert api.n == 1


@pytest.mark.parametrize("size", ["", "1048576"])
@pytest.mark.parametrize("leave", ["stream", "connection"])
def test_gone_from_a_proxied_request(site, size, leave):
    """case 1 with RST_STREAM, E-09, rule 3"""
    api = site(**H2)
    path = "/gate/" + size
    with Client(api.port) as h2c:
        stream = h2c.start(api, "POST", path, '"rst"')
        api.wait_n()
        if leave == "stream":
            h2c.cancel(stream)
            assert h2c.post(api, "/st/200", None).status == 200
        else:
            h2c.sock.close()
        api.open_gate()
        again = settled(api, path, '"rst"')
    assert again.marked
    assert len(again.body) == int(size) if size else again.status == 201
    assert [r.path for r in api.backend.seen(api.tag)].count(
        "/%s%s" % (api.tag, path)) == 1


@pytest.mark.parametrize("path", [
    "/cgi/c?sleep=0.4&bytes=300000", "/php/c.php?sleep=0.4&bytes=300000",
    "/cgi/c?chunk=1", "/php/c.php?chunk=1"])
def test_gone_from_a_script(site, path):
    """case 1 with RST_STREAM"""
    api = site(**H2)
    with Client(api.port) as h2c:
        stream = h2c.start(api, "POST", path, '"rst"')
        api.wait_runs(1)
        h2c.cancel(stream)
        again = settled(api, path, '"rst"')
    assert again.marked
    assert len(again.body) == (300000 if "bytes" in path else 10240)
    assert api.runs == 1


def test_body_without_a_length(site):
    """rule 24: h2 bodies come without Content-Length"""
    api = site(**H2)
    body = bytes(range(256)) * 40
    for path in ("/orders", "/cgi/c", "/php/c.php"):
        row = api.fresh()
        with Client(row.port) as h2c:
            assert h2c.post(row, path, '"b"', body).status == 201
        got = (row.backend.seen(row.tag)[0].body if path == "/orders"
               else row.body_seen())
        assert got == body
        assert row.post(path, '"b"', body).marked
