# test_key.py: what is a key on the wire (conformance 1.1).
# SPDX-License-Identifier: Apache-2.0
import client
import pytest
from client import is_problem

UUID = "8e03978e-40d5-43e8-bc93-6894a57f9324"


def is_one_key(api, *keys):
    """Each spelling after the first is a replay of the first."""
    first = api.post("/orders", keys[0])
    assert first.status == 201 and not first.marked, first
    for key in keys[1:]:
        again = api.post("/orders", key)
        assert again.status == 201 and again.marked, (key, again)
        assert again.body == first.body
    assert api.n == 1


def is_refused(api, *keys):
    for key in keys:
        is_problem(api.post("/orders", key), 400, "invalid-key")
    assert api.n == 0


def test_quoted_key(api):
    """K-01"""
    is_one_key(api, '"%s"' % UUID, '"%s"' % UUID)


def test_escapes(api):
    """K-02: they decode to one character"""
    is_one_key(api, r'"a\"b\\c"', r'"a\"b\\c"')
    is_problem(api.post("/orders", r'"a\"b\c"'), 400, "invalid-key")
    assert api.n == 1


def test_other_escapes_fail(api):
    """K-03"""
    is_refused(api, r'"foo\,"', '"foo\\', r'"foo\"')


def test_characters_outside_of_ascii_fail(api):
    """K-04"""
    is_refused(api, b'"f\xc3\xbc"', '"a\tb"')
    for key in ('"a\x7fb"', '"a\x01b"'):
        assert api.post("/orders", key).status == 400
    assert api.n == 0


def test_open_and_single_quotes_fail(api):
    """K-05"""
    is_refused(api, '"foo', "'foo'")


def test_parameters_are_no_part_of_the_key(api):
    """K-06"""
    is_one_key(api, '"p1";v=2; x', '"p1"', '"p1";a=1.5;b="s";c=?0;*d=:YWI=:')
    for key in ('"p1";V=2', '"p1" ;a', '"p1";', '"p1";a= 1', '"p1";a=('):
        is_problem(api.post("/orders", key), 400, "invalid-key")


def test_nothing_follows_the_item(api):
    """K-07"""
    is_refused(api, '"a" x')
    assert api.post("/orders", '"a"   ').status == 201


def test_space_around_the_value(api):
    """K-08"""
    first = api.conn()
    data = api.raw("POST", "/orders", "@")
    first.send(data.replace(b": @\r\n", b':\t"w1"\t \r\n'))
    assert first.answer().status == 201
    assert api.post("/orders", '"w1"').marked
    assert api.n == 1


@pytest.mark.parametrize("lines", [('"a"', '"b"'), ('"a"', '"a"'),
                                   ("a", "a")])
def test_two_field_lines_fail(api, lines):
    """K-09"""
    answer = api.post("/orders", lines[0],
                      fields=[("Idempotency-Key", lines[1])])
    is_problem(answer, 400, "invalid-key")
    assert api.n == 0


def test_string_split_over_two_lines(api):
    """K-10: httpd joins the lines; the joined text is one String"""
    answer = api.post("/orders", '"foo', fields=[("Idempotency-Key", 'bar"')])
    assert answer.status == 201
    assert api.post("/orders", '"foo, bar"').marked
    assert api.n == 1


def test_a_list_in_one_line_fails(api):
    """K-09"""
    is_refused(api, '"a", "b"')


def test_comma_inside_the_quotes(api):
    """K-11"""
    is_one_key(api, '"a,b"', '"a,b"')
    assert not api.post("/orders", '"a, b"').marked
    assert api.n == 2


def test_empty_keys_are_refused(api):
    """K-12"""
    is_refused(api, "", '""')


def test_usual_length(api):
    """K-13"""
    assert api.post("/orders", '"%s"' % ("k" * 255)).status == 201
    assert api.post("/orders", "k" * 255).marked
    is_problem(api.post("/orders", '"%s"' % ("k" * 256)), 400, "invalid-key")
    is_problem(api.post("/orders", "k" * 256), 400, "invalid-key")
    assert api.n == 1


def test_longest_length(site):
    """K-13"""
    api = site(location="IdempotencyKeyMaxLength 1024")
    assert api.post("/orders", '"%s"' % ("k" * 1024)).status == 201
    is_problem(api.post("/orders", '"%s"' % ("k" * 1025)), 400, "invalid-key")
    assert api.n == 1


def test_keys_are_case_sensitive(api):
    """K-14"""
    assert not api.post("/orders", '"AbC"').marked
    assert not api.post("/orders", '"abc"').marked
    assert api.n == 2


def test_field_name_is_not(api):
    """K-15"""
    data = api.raw("POST", "/orders", '"c1"')
    lower = data.replace(b"Idempotency-Key", b"idempotency-key")
    upper = data.replace(b"Idempotency-Key", b"IDEMPOTENCY-KEY")
    assert not client.exchange(api.port, lower).marked
    assert client.exchange(api.port, upper).marked
    assert api.n == 1


def test_alike_names_are_not_the_field(site):
    """K-16"""
    api = site()
    for name in ("Idempotency_Key", "Idempotency-Key1", "X-Idempotency-Key"):
        for _ in range(2):
            answer = api.post("/orders", fields=[(name, "u1")])
            assert answer.status == 201 and not answer.marked
    assert api.n == 6
    api = site(location="IdempotencyRequireKey On")
    is_problem(api.post("/orders", fields=[("Idempotency_Key", "u1")]), 400,
               "missing-key")


@pytest.mark.parametrize("merge", ["Off", "On"])
def test_a_trailer_is_not_the_field(site, merge):
    """K-17"""
    api = site(conf="MergeTrailers " + merge)
    for _ in range(2):
        answer = api.post("/orders", trailers=[("Idempotency-Key", '"t"')])
        assert answer.status == 201 and not answer.marked
    assert api.n == 2


def test_a_trailer_does_not_do_where_a_key_is_required(site):
    """K-17"""
    api = site(location="IdempotencyRequireKey On")
    answer = api.post("/orders", trailers=[("Idempotency-Key", '"t"')])
    is_problem(answer, 400, "missing-key")
    assert api.n == 0


def test_strict_takes_only_strings(site):
    """K-18, case 50"""
    api = site(location="IdempotencyKeySyntax strict")
    is_refused(api, "abc", "123", "?1", ":YWJj:", "@1659578233", '%"abc"',
               '("a")', UUID)
    is_one_key(api, '"a"', '"a";p=1')


def test_bare_key(api):
    """K-19"""
    is_one_key(api, UUID, UUID)


def test_bare_and_quoted_are_one_key(api):
    """K-20, case 50"""
    is_one_key(api, "abc-1", '"abc-1"', '"abc-1";p=1')


def test_bare_form(api):
    """K-21"""
    assert api.post("/orders", "order:42/a+b=").status == 201
    for key in ("_a", "-a", "9", "a!#$%&'*+.^_`|~b", "a@b"):
        assert api.post("/orders", key).status == 201, key
    number = api.n
    for key in ("a,b", "a;b", "a b", "(a)", "?1", ":YWJj:", "@1", "=a", "a\\b",
                'a"b', "a[0]", "a{b}", "a<b"):
        is_problem(api.post("/orders", key), 400, "invalid-key")
    assert api.n == number == 6


def test_unusable_key_is_an_error_though_optional(api):
    """K-22"""
    is_refused(api, '"bad')


def test_pattern(site):
    """S-10"""
    api = site(location="IdempotencyKeyPattern ^[0-9a-f-]{36}$")
    is_refused(api, '"1"')
    is_one_key(api, UUID, '"%s"' % UUID)


@pytest.mark.parametrize("key", [
    "../../x", "' OR 1=1", "*", "%s%n", "<script>", "$(id)", "|id", "~root",
    "%00", "{}", "a" * 200])
def test_keys_are_plain_text(api, key):
    """S-07"""
    is_one_key(api, '"%s"' % key, '"%s"' % key)


def test_other_source_field(site):
    """M: IdempotencyKeySource header:NAME"""
    api = site(location="IdempotencyKeySource header:X-Request-Token")
    for marked in (False, True):
        answer = api.post("/orders", fields=[("X-Request-Token", "s1")])
        assert (answer.status, answer.marked) == (201, marked)
    assert not api.post("/orders", "s1").marked
    assert api.n == 2
