# test_first.py: first, duplicate, concurrent (conformance 1.3).
# SPDX-License-Identifier: Apache-2.0
import threading
from concurrent.futures import ThreadPoolExecutor

from client import B1, is_problem


def test_first_answer_is_the_handlers(api):
    """E-01"""
    first = api.post("/orders", '"e1"')
    assert first.status == 201
    assert first.json == {"id": 1}
    assert not first.marked


def test_retry_gets_the_first_answer(api):
    """E-02"""
    first = api.post("/orders", '"e2"')
    for _ in range(3):
        again = api.post("/orders", '"e2"')
        assert again.marked
        assert (again.status, again.body) == (first.status, first.body)
    assert api.n == 1
