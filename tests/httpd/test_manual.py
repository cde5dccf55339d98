# test_manual.py: the example of each directive in the manual loads and runs.
# SPDX-License-Identifier: Apache-2.0
import os
import re

import pytest

MANUAL = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                      "../../docs/mod_idempotency.md")


def sections():
    """[(directive, context line, its example)]"""
    with open(MANUAL) as file:
        text = file.read()
    for part in re.split(r"^## ", text, flags=re.M)[1:]:
        name = re.match(r"(Idempotency\w+) Directive\n", part)
        if name:
            context = re.search(r"^\| Context \| (.*) \|$", part, re.M)[1]
            yield (name[1], context,
                   re.findall(r"(?:^    .*\n)+", part, re.M))


SECTIONS = list(sections())


def where(context, example):
    """Beside the rig's own container if it brings one, or may not be in
    one."""
    return "location" if "directory" in context and "<" not in example \
        else "conf"


# Requests that the examples ask something of.
KEY = "8e03978e-40d5-43e8-bc93-6894a57f9324"
FIELDS = [("X-Request-Key", KEY), ("X-Api-Version", "7")]


@pytest.mark.parametrize("name,context,examples", SECTIONS,
                         ids=[s[0] for s in SECTIONS])
def test_example(own, name, context, examples):
    """issue 4: documented with an example that loads and runs"""
    assert examples, name + " has no example"
    assert any(name in example for example in examples)
    for example in examples:
        example = example.replace("/var/log/apache2/", "@ROOT@/logs/")
        settings = {where(context, example): example}
        if name == "IdempotencyStore":
            if "redis" in example:
                continue  # its own tests load it
            # A folder that is there.
            store = re.sub(r"path=/\S+/", "path=@ROOT@/run/", example)
            settings = {"store": store.split(name)[1].strip()}
        api = own(**settings)
        api.server.start()
        for _ in range(2):
            answer = api.post("/orders", '"%s"' % KEY, fields=FIELDS)
            assert (answer.status, answer.json) == (201, {"id": 1}), answer
        api.server.stop()
