# browser.py: headless Chromium, steered over a pipe, and what it saw.
# SPDX-License-Identifier: Apache-2.0
#
# The DevTools protocol: one JSON text after another, each ended by NUL.
# Chromium reads file descriptor 3 and writes file descriptor 4.
import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

PROGRAM = shutil.which("chromium")


class Browser:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="idem-chromium-", dir="/tmp")
        to_read, self.to = os.pipe()
        self.at, from_write = os.pipe()
        # Whatever numbers the pipes have, the program finds them as 3 and 4.
        shell = ('exec 3<&%d 4>&%d; exec "$@"' % (to_read, from_write))
        self.child = subprocess.Popen(
            ["/bin/bash", "-c", shell, "bash", PROGRAM, "--headless=new",
             "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--no-first-run", "--user-data-dir=" + self.folder,
             "--host-resolver-rules=MAP *.test 127.0.0.1",
             "--remote-debugging-pipe", "about:blank"],
            pass_fds=(to_read, from_write), start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        os.close(to_read)
        os.close(from_write)
        self.buffer = b""
        self.number = 0
        self.events = []

    def close(self):
        self.child.terminate()
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait(10)
        os.close(self.to)
        os.close(self.at)
        shutil.rmtree(self.folder, ignore_errors=True)

    def message(self, seconds):
        end = time.monotonic() + seconds
        while b"\0" not in self.buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.at], [], [], left)[0]:
                return None
            data = os.read(self.at, 1 << 20)
            assert data, "chromium ended"
            self.buffer += data
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text.decode())

    def send(self, method, session=None, **params):
        """Without waiting for what becomes of it."""
        self.number += 1
        text = {"id": self.number, "method": method, "params": params}
        if session:
            text["sessionId"] = session
        os.write(self.to, json.dumps(text).encode() + b"\0")

    def call(self, method, session=None, **params):
        self.send(method, session, **params)
        while True:
            told = self.message(30)
            assert told is not None, "no answer to " + method
            if told.get("id") == self.number:
                assert "error" not in told, told
                return told["result"]
            if "method" in told:
                self.events.append(told)

    def wait_event(self, method, session, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for i, event in enumerate(self.events):
                if (event.get("method") == method
                        and event.get("sessionId") == session):
                    return self.events.pop(i)["params"]
            told = self.message(end - time.monotonic())
            if told and "method" in told:
                self.events.append(told)
        raise AssertionError("no " + method)

    def page(self, **how):
        return Page(self, **how)


class Page:
    """A tab: width and height in CSS pixels."""

    def __init__(self, browser, width=1200, height=900, dark=False,
                 script=True):
        self.browser = browser
        target = browser.call("Target.createTarget", url="about:blank")
        self.target = target["targetId"]
        self.session = browser.call("Target.attachToTarget", flatten=True,
                                    targetId=self.target)["sessionId"]
        self.call("Page.enable")
        self.call("Runtime.enable")
        self.call("Log.enable")
        self.call("Network.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width,
                  height=height, deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme",
             "value": "dark" if dark else "light"}])
        self.call("Emulation.setScriptExecutionDisabled", value=not script)

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.browser.wait_event("Page.loadEventFired", self.session)

    def ask(self, expression):
        told = self.call("Runtime.evaluate", expression=expression,
                         returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def wait(self, expression, seconds=20):
        """Until it is true, over a change of pages; its value."""
        end = time.monotonic() + seconds
        value = self.ask(expression)
        while not value and time.monotonic() < end:
            time.sleep(0.05)
            value = self.ask(expression)
        assert value, "%s: %s" % (expression, self.ask(
            "document.documentElement.outerHTML"))
        return value

    def find(self, selector):
        """Where it is; not while a page loads, which holds up all asking."""
        self.wait("!!document.querySelector(%r)" % selector)
        return self.ask("(b => [b.x + b.width / 2, b.y + b.height / 2])"
                        "(document.querySelector(%r).getBoundingClientRect())"
                        % selector)

    def click(self, place, times=1, between=None):
        """With the mouse, so often; between() says when to go on."""
        for i in range(times):
            if i > 0:
                between()
            for kind in ("mousePressed", "mouseReleased"):
                self.browser.send(
                    "Input.dispatchMouseEvent", self.session, type=kind,
                    x=place[0], y=place[1], button="left", clickCount=i + 1)
            time.sleep(0.02)

    def complaints(self):
        """Errors in the console: violations of the policy among them."""
        self.ask("1")
        found = []
        for event in self.browser.events:
            if event.get("sessionId") != self.session:
                continue
            if event["method"] == "Log.entryAdded":
                entry = event["params"]["entry"]
                if entry["level"] in ("error", "warning"):
                    found.append(entry["text"])
            if event["method"] == "Runtime.exceptionThrown":
                found.append(str(event["params"]["exceptionDetails"]))
        return found

    def fetched(self):
        """Every URL that the page asked for."""
        self.ask("1")
        return [event["params"]["request"]["url"]
                for event in self.browser.events
                if event.get("sessionId") == self.session
                and event["method"] == "Network.requestWillBeSent"]

    def shot(self, path, top=0, height=None):
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        told = self.call("Page.captureScreenshot", format="png",
                         captureBeyondViewport=True,
                         clip={"x": 0, "y": top, "width": size["width"],
                               "height": height or size["height"] - top,
                               "scale": 1})
        with open(path, "wb") as file:
            file.write(base64.b64decode(told["data"]))

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)
