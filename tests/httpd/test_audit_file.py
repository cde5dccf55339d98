# test_audit_file.py: the audit log as a file or program: whole lines, rotated
# as other logs, and never in the way of a request.
# SPDX-License-Identifier: Apache-2.0
import json
import os
import re
import signal
import stat
import threading

import audit
import pytest
from rig import wait_until
from test_life import LOST, settled

FULL = "/dev/full"


def starts_not(api, number):
    with pytest.raises(AssertionError) as failure:
        api.server.start()
    assert number in str(failure.value)
    return str(failure.value)


# ------------------------------------------------------------------ whole

def many(api, threads, each):
    """Requests at once, with long paths and all that JSON has to escape."""
    unit = '%22%5C%0a%ff"'
    failed = []

    def run(number):
        for i in range(each):
            answer = api.post("/orders/" + unit * (7 * i % 71),
                              "c-%d-%d" % (number, i))
            if answer.status != 201:
                failed.append(answer)
    pool = [threading.Thread(target=run, args=(i,)) for i in range(threads)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join(60)
    assert not failed, failed[:3]
    return threads * each


def test_no_line_is_torn(own):
    """issue 5.4: many processes write at once"""
    api = own(conf=audit.LOG_KEYS + "HttpProtocolOptions Unsafe\n"
              "AllowEncodedSlashes NoDecode")
    api.server.start()
    found = audit.lines(api.server, many(api, 16, 40))
    assert len({told["key_text"] for told in found}) == 640
    assert {told["result"] for told in found} == {"executed"}
    assert any(told.get("cut") == ["path"] for told in found)


def test_longest_line(own):
    """docs: at most 4096 bytes; what is cut is named"""
    api = own(conf=audit.LOG_KEYS, extra=("unique_id",),
              location="IdempotencyKeyMaxLength 1024")
    api.server.start()
    key = '"' + '\\"' * 1024 + '"'
    watch = audit.Watch(api)
    answer = watch.post("/orders/" + "x" * 6000, key)
    assert answer.status == 201
    assert answer.line["key_text"] == '"' * 1024
    assert answer.line["cut"] == ["path"]
    assert answer.line["path"] == ("/api/%s/orders/%s"
                                   % (api.tag, "x" * 6000))[:800]
    assert api.post("/orders/" + "x" * 6000, key).marked


# -------------------------------------------------------------- injection

FORGED = '{"result":"executed","status":200,"forged":1}'


@pytest.mark.parametrize("key", [
    '"a\\"}"', '"\\\\"', '"\\",\\"result\\":\\"forged\\""',
    '"' + FORGED.replace('"', '\\"') + '"', "a%s%n%00", '"\\\\u000a{}"'])
def test_keys_do_not_break_a_line(own, key):
    api = own(conf=audit.LOG_KEYS)
    api.server.start()
    watch = audit.Watch(api)
    assert watch.post("/orders", key).status == 201
    told = watch.found[0]
    text = key if key[0] != '"' else re.sub(r"\\(.)", r"\1", key[1:-1])
    assert told["key_text"] == text
    assert told["result"] == "executed" and "forged" not in told


@pytest.mark.parametrize("path", [
    '/a"},{"forged":1}', "/%0a" + FORGED, "/a\\", "/\xc3\xa9", "/\xff\xfe",
    "/\xe2\x80\xa8", "/\x1b[2J"])
def test_paths_do_not_break_a_line(own, path):
    """Unsafe lets in what strict parsing refuses"""
    api = own(conf=audit.LOG + "HttpProtocolOptions Unsafe")
    api.server.start()
    with api.conn() as conn:
        conn.send(api.raw("POST", "/orders", '"p"').replace(
            b"/orders ", b"/orders" + path.encode("latin-1") + b" ", 1))
        status = conn.answer().status
    wait_until(lambda: audit.raw_lines(api.server), 1)
    found = [audit.parse(line) for line in audit.raw_lines(api.server)]
    assert len(found) == (0 if status == 400 else 1), (status, found)
    for told in found:
        assert told["status"] == status and "forged" not in told
        try:
            text = path.encode("latin-1").decode("utf-8")
        except UnicodeDecodeError:
            text = path  # bytes stand for themselves
        assert told["path"].endswith(text)


def test_the_environment_does_not_break_a_line(own):
    """A tenant's SetEnv names a UNIQUE_ID of his own"""
    api = own(conf=audit.LOG)
    api.server.file("htdocs/app/.htaccess", "SetEnv UNIQUE_ID '%s%s'\n"
                    "RewriteEngine On\nRewriteRule . /php/c.php?t=%s [L]\n"
                    "SetEnv IDEMPOTENCY_RESULT forged\n"
                    % ('"},' + FORGED, "z" * 5000, api.tag))
    api.server.start()
    watch = audit.Watch(api)
    watch.post("/app/pay", '"e"')
    again = watch.post("/app/pay", '"e"').line
    assert again["result"] == "replayed" and "forged" not in again
    assert len(again.get("original_id", "")) <= 64


@pytest.mark.mpms("prefork")
def test_a_script_does_not_break_a_line(own):
    """mod_php runs in the process that writes the line"""
    api = own(conf=audit.LOG)
    api.server.file("php/env.php", "<?php\n"
                    "apache_setenv('UNIQUE_ID', \"\\n%s\\n\", true);\n"
                    "apache_setenv('IDEMPOTENCY_RESULT', 'forged', true);\n"
                    "echo 'ok';\n" % FORGED.replace('"', '\\"'))
    api.server.start()
    watch = audit.Watch(api)
    told = watch.post("/php/env.php", '"e"').line
    assert told["result"] == "executed" and "forged" not in told


# --------------------------------------------------------------- the file

def test_file_is_roots(own):
    api = own(conf=audit.LOG)
    api.server.start()
    about = os.stat(api.server.path("logs/audit.log"))
    assert about.st_uid == 0 and stat.S_IMODE(about.st_mode) == 0o640


FDS = """\
#!/usr/bin/python3 -ISE
import os, sys
sys.stdin.read()
print("Content-Type: text/plain\\n")
for n in os.listdir("/proc/self/fd"):
    try:
        print(os.readlink("/proc/self/fd/" + n))
    except OSError:
        pass
"""


def descriptors(pid):
    """{path: flags} of a process, as far as it is still there."""
    found = {}
    try:
        for name in os.listdir("/proc/%d/fd" % pid):
            with open("/proc/%d/fdinfo/%s" % (pid, name)) as file:
                flags = int(re.search(r"flags:\s*(\d+)", file.read())[1], 8)
            found[os.readlink("/proc/%d/fd/%s" % (pid, name))] = flags
    except OSError:
        pass
    return found


def is_closed_on_exec(api, what):
    """In each child: PHP's exec() asks nobody else."""
    flags = [descriptors(pid).get(what) for pid in
             api.server.children() - set(writers(api))]
    flags = [flag for flag in flags if flag is not None]
    assert flags and all(flag & os.O_CLOEXEC for flag in flags)


@pytest.mark.mpms("prefork")
def test_php_does_not_reach_it(own):
    """Neither by the number of the descriptor nor by what it starts"""
    api = own(conf=audit.LOG)
    api.server.file("php/fd.php", "<?php\nfor ($i = 3; $i < 64; $i++) {\n"
                    "  @file_put_contents(\"php://fd/$i\", \"forged\\n\");\n"
                    "  @file_put_contents(\"/proc/self/fd/$i\", 'forged');\n"
                    "}\necho shell_exec('ls -l /proc/self/fd');\n")
    api.server.start()
    watch = audit.Watch(api)
    assert "audit.log" not in watch.post("/php/fd.php", '"f"').body.decode()
    assert watch.found[0]["path"] == "/php/fd.php"


def test_scripts_do_not_inherit_it(own):
    """rule 57: CLOEXEC"""
    api = own(conf=audit.LOG)
    api.server.file("cgi/fds", FDS, 0o755)
    api.server.start()
    body = api.post("/cgi/fds", '"f"').body.decode()
    assert "error.log" in body or "pipe:" in body
    assert "audit.log" not in body
    is_closed_on_exec(api, api.server.path("logs/audit.log"))


def test_scripts_do_not_inherit_the_pipe(own):
    """rule 57: nobody else writes to the program"""
    api = own(conf=PIPE)
    api.server.file("cgi/fds", FDS, 0o755)
    api.server.start()
    pipe = os.readlink("/proc/%d/fd/0" % reader_of(api))
    assert pipe.startswith("pipe:")
    body = api.post("/cgi/fds", '"f"').body.decode()
    assert "pipe:" in body or "error.log" in body
    assert pipe not in body.split()
    is_closed_on_exec(api, pipe)


def test_rotated_as_other_logs(own):
    """logrotate: rename, then graceful; requests in flight included"""
    api = own(conf=audit.LOG)
    api.server.start()
    watch = audit.Watch(api)
    watch.post("/orders", '"one"')
    with api.conn() as conn:
        before = api.n
        conn.send(api.raw("POST", "/gate", '"two"'))
        api.wait_n(before + 1)
        os.rename(api.server.path("logs/audit.log"),
                  api.server.path("logs/audit.log.1"))
        api.server.again(signal.SIGUSR1)
        api.post("/orders", '"three"')
        api.open_gate()
        assert conn.answer().status == 201
    new = audit.lines(api.server, 1)
    old = audit.lines(api.server, 2, "logs/audit.log.1")
    assert [told["path"].split("/")[-1] for told in old + new] == [
        "orders", "gate", "orders"]
    # A restart goes on with the same file.
    api.server.again(signal.SIGHUP)
    api.post("/orders", '"three"')
    assert [told["result"] for told in audit.lines(api.server, 2)] == [
        "executed", "replayed"]


# --------------------------------------------------------------- in the way

def test_a_full_disk_costs_lines_only(own):
    """issue 5.4: requests go on; said once a minute"""
    api = own(conf="IdempotencyAuditLog " + FULL)
    api.server.start()
    api.expect_log("IDEM0063")
    for i in range(10):
        assert api.post("/orders", "f%d" % i).status == 201
        assert api.post("/orders", "f%d" % i).marked
    assert api.n == 10
    assert wait_until(lambda: "IDEM0063" in api.server.log())
    said = [line for line in api.server.log().splitlines()
            if "IDEM0063" in line]
    assert len(said) == 1 and "No space left" in said[0]


def test_a_disk_that_fills_up_and_is_freed(own, small_disk):
    """docs: after a line that was cut off the next one stands alone"""
    small_disk = small_disk(16)
    path = os.path.join(small_disk, "audit.log")
    api = own(conf="IdempotencyAuditLog %s\n" % path)
    api.server.start()
    api.expect_log("IDEM0063")
    name = os.path.relpath(path, api.server.root)
    with open(os.path.join(small_disk, "ballast"), "wb") as file:
        file.write(b"b" * 8192)
    for i in range(40):
        assert api.post("/orders", "f%d" % i).status == 201
    assert wait_until(lambda: "IDEM0063" in api.server.log())
    api.server.results(api.tag, 40)  # written after the audit log's line
    os.unlink(os.path.join(small_disk, "ballast"))
    before = len(audit.raw_lines(api.server, name))
    assert 0 < before < 40
    for i in range(5):
        assert api.post("/orders", "g%d" % i).status == 201
    assert wait_until(
        lambda: len(audit.raw_lines(api.server, name)) >= before + 5)
    whole = torn = 0
    for line in audit.raw_lines(api.server, name):
        try:
            json.loads(line.decode())
            whole += 1
        except ValueError:
            torn += 1
    # One line at most was cut off; it swallowed no other.
    assert torn <= 1 and whole == before + 5 - torn
    assert api.n == 45


# ------------------------------------------------------------ the program

PIPE = 'IdempotencyAuditLog "|$exec cat >>@ROOT@/logs/audit.log"\n'


def reader_of(api):
    """The program, once the shell has become it."""
    return wait_until(lambda: writers(api), 10)[0]


def writers(api):
    """Processes that read our pipe."""
    found = []
    for pid in api.server.pids():
        try:
            with open("/proc/%d/cmdline" % pid, "rb") as file:
                if file.read().split(b"\0")[0] == b"cat":
                    found.append(pid)
        except OSError:
            pass
    return found


def test_a_program_gets_the_lines(own):
    api = own(conf=PIPE + "HttpProtocolOptions Unsafe\n"
              "AllowEncodedSlashes NoDecode")
    api.server.start()
    assert len(audit.lines(api.server, many(api, 8, 30))) == 240


def test_a_program_without_a_shell(own):
    api = own(conf='IdempotencyAuditLog "|/usr/bin/tee -a logs/audit.log" '
              "keys=on")
    api.server.start()
    api.post("/orders", '"t"')
    assert audit.lines(api.server, 1)[0]["key_text"] == "t"


def test_a_program_that_does_not_read_holds_up_nobody(own):
    """issue 5.4: a pipe that is full costs lines, not requests"""
    api = own(conf=PIPE)
    api.server.start()
    api.expect_log("IDEM0063")
    reader = reader_of(api)
    os.kill(reader, signal.SIGSTOP)
    try:
        for i in range(220):  # more than a pipe takes
            assert api.post("/orders/" + "x" * 700, "s%d" % i).status == 201
        assert wait_until(lambda: "IDEM0063" in api.server.log())
    finally:
        os.kill(reader, signal.SIGCONT)
    assert api.n == 220
    # There is room again. What comes last has all before it.
    assert wait_until(lambda: len(audit.raw_lines(api.server)) >= 30)
    api.post("/orders/last", '"after"')
    assert wait_until(lambda: re.search(
        rb'/orders/last".*}\n$', audit.raw_lines(api.server)[-1]))
    found = [audit.parse(line) for line in audit.raw_lines(api.server)]
    assert 31 <= len(found) < 221


def test_a_program_that_dies_is_started_again(own):
    """as httpd's own piped logs; nothing breaks in between"""
    api = own(conf=PIPE)
    api.server.start()
    api.expect_log("IDEM0063", "AH00106")
    watch = audit.Watch(api)
    watch.post("/orders", '"one"')
    os.kill(reader_of(api), signal.SIGKILL)
    assert api.post("/orders", '"two"').status == 201
    assert wait_until(lambda: writers(api), 20)
    api.post("/orders", '"three"')
    results = [told["path"] for told in audit.lines(api.server, 3)]
    assert len(results) == 3


def test_graceful_with_a_program(own):
    api = own(conf=PIPE)
    api.server.start()
    # httpd takes the program that it ended for a child it had lost.
    api.expect_log("long lost child came home")
    api.post("/orders", '"one"')
    audit.lines(api.server, 1)
    api.server.again(signal.SIGUSR1)
    api.post("/orders", '"one"')
    assert [told["result"] for told in audit.lines(api.server, 2)] == [
        "executed", "replayed"]
    assert wait_until(lambda: len(writers(api)) == 1)


# --------------------------------------------------------------- bad values

@pytest.mark.parametrize("line, says", [
    ("IdempotencyAuditLog logs/a keys=maybe", "keys=on"),
    ("IdempotencyAuditLog logs/a keys=on more", "takes 1-2"),
    ("IdempotencyAuditLog", "takes 1-2"),
    ("IdempotencyAuditLog ''", "takes 1-2"),
    ("IdempotencyAuditLog '|'", "logs/idempotency.log"),
    ("IdempotencyAuditLog logs/a\nIdempotencyAuditLog logs/b", "second"),
    ("<VirtualHost *:1>\nIdempotencyAuditLog logs/a\n</VirtualHost>",
     "cannot occur within <VirtualHost>"),
    ("<Location />\nIdempotencyAuditLog logs/a\n</Location>",
     "not allowed in"),
])
def test_bad_values_stop_the_start(own, line, says):
    api = own(conf=line)
    status, said = api.server.check()
    assert status != 0 and says in said, said


def test_check_opens_nothing(own):
    """rule 47: httpd -t leaves nothing behind"""
    api = own(conf=audit.LOG)
    assert api.server.check()[0] == 0
    assert not os.path.exists(api.server.path("logs/audit.log"))


def test_not_in_htaccess(own):
    api = own(conf=audit.LOG)
    api.server.file("htdocs/.htaccess", "IdempotencyAuditLog logs/b\n")
    api.server.start()
    api.expect_log("not allowed here")
    assert api.send("GET", "=/index.html?%s").status == 500


@pytest.mark.parametrize("value, number", [
    ("missing/audit.log", "IDEM0060"), ("logs", "IDEM0060"),
    ('"|/no/such/program"', "IDEM0061")])
def test_what_cannot_be_opened_stops_the_start(own, value, number):
    api = own(conf="IdempotencyAuditLog " + value)
    said = starts_not(api, number)
    assert value.strip('"|') in said


def test_a_named_pipe_that_nobody_reads_does_not_hang(own):
    api = own(conf="IdempotencyAuditLog run/fifo")
    os.mkfifo(api.server.path("run/fifo"))
    starts_not(api, "IDEM0060")


# ------------------------------------------------------------------ the end

def test_what_a_stop_cuts_off(own):
    """docs: no line for what is cut off; the retry's line says so"""
    api = own(conf=audit.LOG)
    api.server.start()
    api.expect_log(*LOST)
    with api.conn() as conn:
        conn.send(api.raw("POST", "/gate", '"cut"'))
        api.wait_n()
        api.server.kill_all()
    api.open_gate()
    assert audit.lines(api.server, 0) == []
    api.server.start()
    assert settled(api, "/gate", '"cut"').problem == "outcome-unknown"
    words = [told["result"] for told in map(
        audit.parse, wait_until(lambda: audit.raw_lines(api.server), 5))]
    assert set(words) <= {"in-progress", "outcome-unknown"}
    assert api.n == 1
