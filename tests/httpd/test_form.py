# test_form.py: the form of docs/clients.md in PHP: double clicks, reloads
# (case 58), with connections and in a browser.
# SPDX-License-Identifier: Apache-2.0
import fcntl
import os
import re
import time

import pytest
from browser import Browser
from client import is_problem
from rig import wait_until
from test_clients import BLOCKS

FORM = "application/x-www-form-urlencoded"


class Shop:
    """The page of the document, its orders, and a till that can be shut."""

    def __init__(self, api):
        self.api = api
        self.path = api.server.path("counts", "orders-" + api.tag)
        with open(self.path, "w"):
            os.chmod(self.path, 0o666)
        api.server.file("shop/%s/order.php" % api.tag, BLOCKS["order.php"])
        api.server.file("shop/%s/.htaccess" % api.tag,
                        "SetEnv SHOP_ORDERS %s\n" % self.path)
        self.url = "/shop/%s/order.php" % api.tag
        self.page = "=" + self.url.replace(api.tag, "%s")

    @property
    def orders(self):
        with open(self.path) as file:
            return file.read().splitlines()

    def shut(self):
        """Orders take until the file that is returned is closed."""
        file = open(self.path)
        fcntl.flock(file, fcntl.LOCK_EX)
        return file

    def takes_an_order(self):
        """Until one has come in."""
        assert wait_until(
            lambda: self.api.server.status()["RecordsExecuting"] == 1)

    def open_form(self):
        """Cookie and key of a form opened anew."""
        answer = self.api.send("GET", self.page, user=None)
        assert answer.status == 200, answer
        cookie = answer.get("Set-Cookie").split(";")[0]
        key = re.search(rb'name="idempotency_key"\s+value="(\w+)"',
                        answer.body)[1].decode()
        return cookie, key

    def bytes(self, cookie, key, quantity=2):
        body = "idempotency_key=%s&item=tea&quantity=%d" % (key, quantity)
        return self.api.raw("POST", self.page, None, body.encode(),
                            [("Cookie", cookie)], user=None, ctype=FORM)


@pytest.fixture
def shop(site):
    conf = BLOCKS["conf"] + "Alias /shop/ @ROOT@/shop/\n"
    return Shop(site(conf=conf, location=""))


def place(shop, form, quantity=2):
    conn = shop.api.conn()
    conn.send(shop.bytes(*form, quantity))
    return conn


def is_order(answer, number, marked):
    assert answer.status == 303, answer
    assert answer.get("Location") == "order.php?placed=%d" % number
    assert answer.marked == marked


def test_double_click(shop):
    """case 58: two connections, 20 ms apart; both end on the same page"""
    form = shop.open_form()
    till = shop.shut()
    first = place(shop, form)
    time.sleep(0.02)
    second = place(shop, form)
    time.sleep(0.3)
    assert shop.orders == []
    till.close()
    answers = [first.answer(), second.answer()]
    assert sorted(a.marked for a in answers) == [False, True]
    for answer in answers:
        is_order(answer, 1, answer.marked)
    assert shop.orders == ['[1,"tea","2"]']
    page = shop.api.send("GET", shop.page + "?placed=1", user=None)
    assert b"This is order 1." in page.body


def test_reload_while_it_runs(shop):
    """case 58: the browser drops the first connection and sends again"""
    form = shop.open_form()
    till = shop.shut()
    first = place(shop, form)
    shop.takes_an_order()
    first.reset()
    second = place(shop, form)
    time.sleep(0.3)
    till.close()
    is_order(second.answer(), 1, True)
    assert len(shop.orders) == 1


def test_back_and_again(shop):
    """the form that was sent, once more; then a new one"""
    form = shop.open_form()
    is_order(place(shop, form).answer(), 1, False)
    is_order(place(shop, form).answer(), 1, True)
    is_problem(place(shop, form, 3).answer(), 422, "key-reused")
    is_order(place(shop, shop.open_form()).answer(), 2, False)
    assert len(shop.orders) == 2


def test_two_customers_with_one_key(shop):
    """the session is part of whose key it is"""
    cookie, key = shop.open_form()
    other = shop.open_form()[0]
    is_order(place(shop, (cookie, key)).answer(), 1, False)
    is_order(place(shop, (other, key)).answer(), 2, False)


def clicks(shop, number):
    """Wait until so many POSTs of this shop have ended: their results."""
    def words():
        lines = [line.split()[0] for line in
                 shop.api.server.read_log("logs/access.log").splitlines()
                 if shop.api.tag in line and "POST" in line]
        return lines if len(lines) >= number else None
    assert wait_until(words), shop.api.server.read_log("logs/access.log")
    return sorted(words())


PLACED = "(p => p && p.textContent)(document.querySelector('#placed'))"


@pytest.fixture
def page():
    browser = Browser()
    yield browser.page()
    browser.close()


def test_browser(shop, page):
    """case 58: a double click with a mouse, reload, back and again"""
    page.open("http://127.0.0.1:%d%s" % (shop.api.port, shop.url))
    till = shop.shut()
    page.click(page.find("#buy"), times=2, between=shop.takes_an_order)
    time.sleep(0.5)
    assert shop.orders == []
    till.close()
    assert "This is order 1." in page.wait(PLACED)
    assert clicks(shop, 2) == ["executed", "replayed"]

    # Back to the form that was sent, and once more.
    page.ask("history.back()")
    page.click(page.find("#buy"))
    assert "This is order 1." in page.wait(PLACED)
    assert clicks(shop, 3) == ["executed", "replayed", "replayed"]

    # Another order. Its first answer takes long: send again meanwhile.
    page.click(page.find("a"))
    till = shop.shut()
    button = page.find("#buy")
    page.click(button)
    shop.takes_an_order()
    for _ in range(2):
        page.click(button)
        time.sleep(0.4)
    till.close()
    assert "This is order 2." in page.wait(PLACED)
    assert len(shop.orders) == 2
    # One that its client drops while it waits ends as in progress.
    words = clicks(shop, 5)
    assert words.count("executed") == 2 and set(words) <= {
        "executed", "replayed", "in-progress"}
