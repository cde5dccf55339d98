# audit.py: what the tests ask of an audit log.
# SPDX-License-Identifier: Apache-2.0
import json

from rig import wait_until

LOG = "IdempotencyAuditLog logs/audit.log\n"
LOG_KEYS = "IdempotencyAuditLog logs/audit.log keys=on\n"
DIGEST = r"[0-9a-f]{32}$"
ID = r"[0-9a-f]{64}$"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"


def raw_lines(server, name="logs/audit.log"):
    try:
        with open(server.path(name), "rb") as file:
            return file.read().splitlines(keepends=True)
    except FileNotFoundError:
        return []


def parse(line):
    """A line is whole, one JSON object, and printable ASCII."""
    assert line.endswith(b"}\n") and len(line) <= 4096, line
    assert all(0x20 <= byte <= 0x7e for byte in line[:-1]), line
    told = json.loads(line.decode("ascii"))
    assert isinstance(told, dict)
    return told


def lines(server, number, name="logs/audit.log"):
    """So many lines; one more would be one too many."""
    wait_until(lambda: len(raw_lines(server, name)) >= number, 10)
    found = [parse(line) for line in raw_lines(server, name)]
    assert len(found) == number, found
    return found


class Watch:
    """Sends one request after the other and collects their lines: a line is
    written when its answer has been sent, so that of the next request could
    come first."""

    def __init__(self, api, name="logs/audit.log"):
        self.api = api
        self.name = name
        self.found = lines(api.server, 0, name)

    def post(self, *args, **more):
        answer = self.api.post(*args, **more)
        self.found = lines(self.api.server, len(self.found) + 1, self.name)
        answer.line = self.found[-1]
        return answer
