# test_page.py: the status page, read as text and seen in a browser.
# SPDX-License-Identifier: Apache-2.0
import html.parser
import re
import time

import browser as browser_module
import client
import pytest
from pages import ADMIN, HOSTS, get
from rig import wait_until

VOID = {"meta", "link", "br", "img", "rect", "path"}
chromium = pytest.mark.skipif(browser_module.PROGRAM is None,
                              reason="package chromium is not installed")


class Reader(html.parser.HTMLParser):
    """Asserts what holds of every element; keeps what tests look at."""

    def __init__(self, text):
        super().__init__()
        self.stack, self.headings, self.ids = [], [], []
        self.tables = self.captions = 0
        self.text = ""
        self.feed(text)
        self.close()
        assert self.stack == [], self.stack

    def handle_starttag(self, tag, attrs):
        names = dict(attrs)
        assert "style" not in names, "the policy forbids it"
        assert not [n for n in names if n.startswith("on")], names
        for name in ("src", "href"):
            if name in names:
                assert re.match(r"$|\?|data:,$", names[name]), names
        if "id" in names:
            assert names["id"] not in self.ids
            self.ids.append(names["id"])
        if tag == "svg":
            assert names.get("aria-label") or names.get("aria-hidden")
        if tag in ("script", "style"):
            assert names.get("nonce")
        if re.match(r"h\d$", tag):
            self.headings.append(int(tag[1]))
        self.tables += tag == "table"
        self.captions += tag == "caption"
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag, tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] not in ("script", "style"):
            self.text += data


def some(api, host="api.test"):
    api.expect_log("AH01102", "AH00898")
    for key in ("a", "b", "c"):
        api.post("/orders", key, host=host)
    for _ in range(2):
        api.post("/orders", "a", host=host)
    api.post("/orders", "b", client.B2, host=host)
    api.post("/orders", '"broken', host=host)
    api.post("/nohdr", "u", host=host)


@pytest.fixture
def started(own):
    api = own(conf=ADMIN + HOSTS)
    api.server.start()
    return api


@pytest.fixture(scope="module")
def chrome():
    chrome = browser_module.Browser()
    yield chrome
    chrome.close()


@pytest.mark.parametrize("path", ["/admin", "/own"])
def test_the_markup(started, path):
    """issue 5, 2: headings, captions, texts for plots; nothing from
    elsewhere"""
    empty = Reader(get(started, path).body.decode("ascii"))
    assert "nothing to count yet" in empty.text
    some(started)
    page = Reader(get(started, path).body.decode("ascii"))
    assert page.headings[0] == 1 and page.headings.count(1) == 1
    for before, after in zip(page.headings, page.headings[1:]):
        assert after <= before + 1
    assert page.tables == page.captions >= 4
    for word in ("executed", "replayed", "key-reused", "outcome-unknown",
                 "42.9", "api.test"):
        assert word in page.text, word
    assert ("other.test" in page.text) == (path == "/admin")
    assert ("Store" in page.text) == (path == "/admin")


def test_the_policy(started):
    """issue 5, 2: CSP default-src 'none' plus what it needs"""
    seen = set()
    for _ in range(3):
        answer = get(started, "/admin")
        policy = dict(part.strip().split(" ", 1) for part in
                      answer.get("Content-Security-Policy").split(";"))
        nonce = policy["script-src"].strip("'")[len("nonce-"):]
        assert policy == {
            "default-src": "'none'", "style-src": "'nonce-%s'" % nonce,
            "script-src": "'nonce-%s'" % nonce, "connect-src": "'self'",
            "img-src": "data:", "base-uri": "'none'",
            "form-action": "'none'", "frame-ancestors": "'none'"}
        assert answer.body.decode().count('nonce="%s"' % nonce) == 2
        seen.add(nonce)
    assert len(seen) == 3 and len(nonce) == 24


def test_a_name_with_markup(own):
    """a virtual host's name is text, in every form"""
    name = "x<b>&\"'y.test"
    api = own(conf=ADMIN + "<VirtualHost 127.0.0.1:@PORT@>\n"
              "ServerName api.test\n</VirtualHost>\n"
              "<VirtualHost 127.0.0.1:@PORT@>\nServerName %s\n"
              "</VirtualHost>\n" % name)
    api.server.start()
    page = Reader(get(api, "/admin").body.decode("ascii"))
    assert name in page.text
    hosts = [row["host"] for row in
             get(api, "/admin", format="json").json["hosts"]]
    assert "%s:%d" % (name, api.port) in hosts
    text = get(api, "/admin", format="openmetrics").body.decode()
    assert 'host="x<b>&\\"\'y.test:' in text


def url(api, path):
    return "http://api.test:%d%s" % (api.port, path)


@chromium
@pytest.mark.parametrize("path", ["/admin", "/own"])
@pytest.mark.parametrize("width", [375, 700, 1200])
@pytest.mark.parametrize("data", [False, True])
def test_in_a_browser(started, chrome, path, width, data, tmp_path):
    """issue 5, 2: no complaint, no request but the page, no sideways
    scrolling, light and dark"""
    if data:
        some(started)
    colours = set()
    for dark in (False, True):
        page = chrome.page(width=width, height=800, dark=dark)
        page.open(url(started, path))
        assert page.ask("document.documentElement.scrollWidth") <= width
        page.ask("document.querySelectorAll('details').forEach("
                 "d => { d.open = true; })")
        assert page.ask("document.documentElement.scrollWidth") <= width
        colours.add(page.ask("getComputedStyle(document.body)"
                             ".backgroundColor"))
        page.shot(str(tmp_path / "page.png"))
        assert (tmp_path / "page.png").stat().st_size > 20000
        assert page.complaints() == []
        assert set(page.fetched()) == {url(started, path)}
        page.close()
    assert len(colours) == 2


@chromium
def test_without_script(started, chrome):
    """issue 5, 2: the page says the same without JavaScript"""
    some(started)
    page = chrome.page(script=False)
    page.open(url(started, "/admin"))
    text = page.call("DOM.getOuterHTML", nodeId=page.call(
        "DOM.getDocument")["root"]["nodeId"])["outerHTML"]
    assert "42.9" in text and 'id="reload"' in text
    assert not re.search(r'id="reload"[^>]*hidden', text)
    assert re.search(r'id="refresh"[^>]*hidden', text)
    assert page.complaints() == []
    page.close()


SHOWN = "document.querySelector('.big').innerText"


@chromium
def test_it_refreshes_itself(started, chrome):
    """issue 5, 2: new numbers without a new page; what was opened stays
    open; Pause stops it"""
    page = chrome.page()
    page.open(url(started, "/admin"))
    page.ask("window.same = true; document.getElementById('d-requests')"
             ".open = true")
    before = page.ask(SHOWN)
    some(started)
    assert wait_until(lambda: page.ask(SHOWN) != before, 15, 0.25)
    assert "42.9" in page.ask(SHOWN)
    assert page.ask("window.same")
    assert page.ask("document.getElementById('d-requests').open")
    page.ask("document.getElementById('pause').click()")
    n = len(page.fetched())
    time.sleep(11)
    assert len(page.fetched()) == n
    page.ask("document.getElementById('pause').click()")
    assert wait_until(lambda: len(page.fetched()) > n)
    assert page.complaints() == []
    page.close()


@chromium
def test_it_says_when_the_server_is_gone(started, chrome):
    page = chrome.page()
    page.open(url(started, "/admin"))
    started.server.stop()
    said = "document.getElementById('said').textContent"
    assert wait_until(lambda: "No answer" in page.ask(said), 15, 0.25)
    started.server.start()
    assert wait_until(lambda: page.ask(said) == "", 15, 0.25)
    page.close()
