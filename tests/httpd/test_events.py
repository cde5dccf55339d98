# test_events.py: an event stream from PHP, read as EventSource does (case 29).
# SPDX-License-Identifier: Apache-2.0
import pytest
from test_life import settled


class Events:
    """The parser of the HTML standard, over a chunked answer."""

    def __init__(self, conn):
        self.conn = conn
        self.answer = conn.answer_head()
        self.text = ""

    def block(self):
        """[(field, value)] of the next event; None at the end."""
        while "\n\n" not in self.text:
            size = int(self.conn.line(), 16)
            if size == 0:
                self.conn.field_lines()
                return None
            self.text += self.conn.take(size).decode()
            self.conn.line()
        event, self.text = self.text.split("\n\n", 1)
        return [tuple(line.split(": ", 1)) for line in event.split("\n")]


def wanted(number):
    return [("id", str(number)), ("event", "step"),
            ("data", '{"done":%d}' % (number * 20))]


def test_events_come_one_by_one(api):
    """no directive needed: the type says it"""
    with api.conn() as conn:
        conn.send(api.raw("POST", "/php/events.php?hold=1", '"ev"'))
        events = Events(conn)
        assert events.answer.status == 200
        assert events.answer.get("Content-Length") is None
        assert events.block() == wanted(1)
        api.open_gate()
        for number in range(2, 6):
            assert events.block() == wanted(number)
        assert events.block() is None
        # The same connection, the same key.
        conn.send(api.raw("POST", "/php/events.php?hold=1", '"ev"'))
        again = conn.answer()
    assert again.marked
    assert again.get("Content-Type") == "text/event-stream; charset=utf-8"
    assert again.get("Cache-Control") == "no-cache"
    assert again.body.decode() == "".join(
        "".join("%s: %s\n" % pair for pair in wanted(number)) + "\n"
        for number in range(1, 6))
    assert api.runs == 1


@pytest.mark.parametrize("after", [1, 3])
def test_line_drops(api, after):
    """the retry gets all events, those already seen too"""
    with api.conn() as conn:
        conn.send(api.raw("POST", "/php/events.php", '"ev"'))
        events = Events(conn)
        for number in range(1, after + 1):
            assert events.block() == wanted(number)
        conn.reset()
    again = settled(api, "/php/events.php", '"ev"')
    assert again.marked and again.body.count(b"\n\n") == 5
    assert api.runs == 1


def test_retry_waits_for_the_end(site):
    """IdempotencyWait: what a retry gets is the whole"""
    api = site(location="IdempotencyWait 10")
    with api.conn() as conn:
        conn.send(api.raw("POST", "/php/events.php", '"ev"'))
        Events(conn).block()
        conn.reset()
    again = api.post("/php/events.php", '"ev"')
    assert again.marked and again.body.count(b"\n\n") == 5
    assert api.runs == 1
