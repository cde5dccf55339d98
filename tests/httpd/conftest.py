# conftest.py: fixtures: back ends, servers by configuration, log guard.
# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys
import tempfile

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import backend as backend_module  # noqa: E402
import pages  # noqa: E402
import redisrig  # noqa: E402
import rig  # noqa: E402
import shared  # noqa: E402

# Built without hiredis there is no such module.
if not os.path.exists(redisrig.module_path()):
    collect_ignore = ["test_redis.py"]

KEPT = 5  # running servers per pytest process


def pytest_addoption(parser):
    parser.addoption("--mpm", choices=sorted(rig.MPM),
                     default=os.environ.get("IDEM_MPM", "event"),
                     help="the MPM of this run")


def pytest_configure(config):
    config.addinivalue_line("markers", "mpms(name, ...): where a test can be")


def pytest_collection_modifyitems(config, items):
    """A test that cannot be under this MPM is not part of its run."""
    mpm = config.getoption("--mpm")
    gone = [item for item in items
            for mark in item.iter_markers("mpms") if mpm not in mark.args]
    if gone:
        config.hook.pytest_deselected(items=gone)
        items[:] = [item for item in items if item not in gone]


@pytest.fixture(scope="session")
def mpm(request):
    return request.config.getoption("--mpm")


@pytest.fixture(scope="session")
def backend():
    server = backend_module.Backend()
    yield server
    server.close()


@pytest.fixture(scope="session")
def fpm(mpm):
    pool = rig.Fpm()
    if mpm != "prefork":
        pool.start()
    yield pool
    pool.close()


@pytest.fixture(scope="session")
def servers():
    """Running servers by configuration, the longest unused first."""
    kept = {}
    yield kept
    for server in kept.values():
        if server.child:
            server.child.terminate()
    for server in kept.values():
        server.close()


@pytest.fixture
def guard():
    """Servers of this test; none may have logged what was not announced."""
    used = []
    yield used
    bad = [line for server in used for line in server.unexpected()]
    for server in used:
        server.mark = len(server.log())
    assert not bad, "not announced with expect_log():\n" + "\n".join(bad)


@pytest.fixture
def site(mpm, backend, fpm, servers, guard):
    """site(conf=, location=, ...) -> Api on a shared running server."""
    def get(**settings):
        name = repr(sorted(settings.items()))
        server = servers.pop(name, None)
        if server is None:
            while len(servers) >= KEPT:
                servers.pop(next(iter(servers))).close()
            server = rig.Server(mpm, backend, fpm, **settings).start()
        servers[name] = server
        server.expected = []
        guard.append(server)
        return rig.Api(server, None).fresh()
    return get


@pytest.fixture
def own(mpm, backend, fpm, guard):
    """own(...) -> Api on a server of this test alone, not yet started."""
    made = []

    def get(**settings):
        server = rig.Server(mpm, backend, fpm, **settings)
        made.append(server)
        guard.append(server)
        return rig.Api(server, None).fresh()
    yield get
    for server in made:
        server.stop()
    # The guard reads the logs after this; the folders go after that.
    for server in made:
        server.final_log = server.log()
        server.log = lambda text=server.final_log: text
        server.close()


@pytest.fixture
def api(site):
    return site()


@pytest.fixture
def admin(own):
    """A server whose administrator may do all."""
    api = own(conf=pages.ADMIN + pages.USERS + pages.HOSTS,
              extra=["unique_id"])
    # alice:secret, bob:secret
    api.server.file("users", "alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n"
                    "bob:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n")
    api.server.start()
    return api


@pytest.fixture(scope="module")
def hosts(mpm, backend, fpm):
    host = shared.SharedHost(mpm, backend, fpm)
    yield host
    host.close()


@pytest.fixture
def fresh(mpm, backend, fpm, guard):
    """A host of this test alone."""
    host = shared.SharedHost(mpm, backend, fpm)
    guard.append(host.server)
    yield host
    host.server.final_log = host.server.log()
    host.close()
    host.server.log = lambda: host.server.final_log


@pytest.fixture
def host(hosts, guard):
    guard.append(hosts.server)
    hosts.server.expected = []
    yield hosts
    path = os.path.join(hosts.home("evil"), "htdocs/.htaccess")
    if os.path.exists(path):
        os.unlink(path)


@pytest.fixture
def small_disk():
    """small_disk(KILOBYTES) -> folder of a file system that is soon full."""
    made = []

    def get(size):
        where = tempfile.mkdtemp(prefix="idem-disk-", dir="/tmp")
        made.append(where)
        subprocess.run(["mount", "-t", "tmpfs", "-o",
                        "size=%dk,mode=1777" % size, "tmpfs", where],
                       check=True, timeout=20)
        return where
    yield get
    for where in made:
        subprocess.run(["umount", "-l", where], timeout=20)
        os.rmdir(where)
