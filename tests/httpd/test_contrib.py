# test_contrib.py: dashboard, alerts and manual name what the handler says.
# SPDX-License-Identifier: Apache-2.0
import json
import os
import re

import client
import openmetrics
import pytest

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
ADMIN = """
<Location "/admin">
    SetHandler idempotency-status
    IdempotencyAdmin On
</Location>
"""
METRIC = re.compile(r"\b(idempotency_[a-z_]+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'([a-z_]+)(?:=~|!=|!~|=)\\*"([^"\\]*)')
# What Prometheus adds, and what each installation has values of its own for.
FREE = {"instance", "job", "host", "le"}


def text(*path):
    with open(os.path.join(TOP, *path), encoding="utf-8") as file:
        return file.read()


@pytest.fixture
def told(own):
    """What the handler tells after a few requests: sample names, and the
    values of each label"""
    api = own(conf=ADMIN)
    api.server.start()
    for _ in range(2):
        api.post("/orders", "a")
    api.post("/orders", "a", client.B2)
    answer = client.exchange(api.port, client.request(
        "GET", "/admin?format=openmetrics", body=None, host="api.test"), "GET")
    assert answer.status == 200
    names, labels = set(), {}
    for family in openmetrics.parse(answer.body.decode()).values():
        for name, pairs in family.samples:
            names.add(name)
            for label, value in pairs:
                labels.setdefault((name, label), set()).add(value)
    return names, labels


def check(used, told):
    names, labels = told
    assert used
    for name, matchers in used:
        assert name in names, name
        for label, value in MATCHER.findall(matchers or ""):
            if label in FREE or "$" in value:
                continue
            known = labels.get((name, label))
            assert known, (name, label)
            for each in value.split("|"):
                assert each in known, (name, label, each)


def test_alerts_name_what_the_handler_tells(told):
    """issue 5, 6"""
    rules = text("contrib", "prometheus", "idempotency.rules.yml")
    used = METRIC.findall(rules)
    assert len(used) >= rules.count("alert:")
    check(used, told)
    check(METRIC.findall(text("contrib", "prometheus",
                              "idempotency.test.yml")), told)


def test_each_alert_has_a_test_and_a_section():
    """issue 5, 6 and 7"""
    rules = re.findall(r"alert: (\w+)",
                       text("contrib", "prometheus", "idempotency.rules.yml"))
    tests = text("contrib", "prometheus", "idempotency.test.yml")
    manual = text("docs", "operations.md")
    assert rules
    for alert in rules:
        assert tests.count("alertname: %s\n" % alert) >= 1, alert
        assert "\n### %s\n" % alert in manual, alert
    assert set(re.findall(r"\n### (Idempotency\w+)\n", manual)) == set(rules)


def test_dashboard_names_what_the_handler_tells(told):
    """issue 5, 6"""
    raw = text("contrib", "grafana", "idempotency.json")
    panels = json.loads(raw)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    used = []
    for panel in panels:
        for target in panel["targets"]:
            found = METRIC.findall(target["expr"])
            assert found, panel["title"]
            used += found
    check(used, told)
    for query in re.findall(r"label_values\([^)]*", raw):
        check(METRIC.findall(query), told)


def test_manual_names_what_the_handler_tells(told):
    """issue 5, 7: the table of metrics, in both directions"""
    names = {re.sub(r"_(bucket|count|sum)$", "", name) for name in told[0]}
    rows = re.findall(r"^\| (`idempotency_.*?) \| (?:counter|gauge|histogram)"
                      r" \|", text("docs", "mod_idempotency.md"), re.M)
    listed = {name for row in rows
              for name in re.findall(r"`(idempotency_[a-z_]+)", row)}
    assert listed == names
