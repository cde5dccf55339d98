#!/usr/bin/env python3
# expressions.py: the queries of the Grafana dashboard as a file of rules.
# SPDX-License-Identifier: Apache-2.0
#
# promtool then says whether they can be read. Usage: expressions.py DASHBOARD
import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    dashboard = json.load(file)
rules = []
for panel in dashboard["panels"]:
    assert panel["targets"], panel["title"]
    for target in panel["targets"]:
        text = target["expr"]
        for variable, value in (("$__rate_interval", "5m"),
                                ("$instance", ".*"), ("$host", ".*")):
            text = text.replace(variable, value)
        assert "$" not in text, text
        rules.append({"record": "panel:%d" % len(rules), "expr": text})
print(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
