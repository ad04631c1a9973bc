"""What the tests share: fake Package Managers, a daemon in front of them, a client, and the real log."""

import asyncio
import contextlib
import gc
import inspect
import io
import json
import os
import sys
import time

import aiohttp
import hypothesis
import pytest
from free_ports import free_port, reserved_port
from logged_lines import log_to
from processes import restore_signal_handlers
from proxy_client import DEADLINE, ProxyClient, head_of, leaked_forms

from ppmproxy.config.local_address import TcpAddress
from ppmproxy.config.model import Settings, Upstream
from ppmproxy.environment import Environment
from ppmproxy.server.daemon import Daemon
from ppmproxy.testing.package_manager import CertificateAuthority, FakePackageManager

# Hypothesis would call an example that took long on a busy machine flaky.
hypothesis.settings.register_profile("tests", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("tests")

BOTH_FAMILIES = (TcpAddress("127.0.0.1", 0), TcpAddress("::1", 0))
CLIENT_OWN = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")  # aiohttp's client would add them


def pytest_configure(config):
    """Restore signal handlers; ignore that Python 3.10 does not close a TLS transport whose peer has closed."""
    restore_signal_handlers()
    os.environ["TZ"] = "UTC"  # times are shown in the local zone
    if hasattr(time, "tzset"):
        time.tzset()
    if sys.version_info < (3, 11):
        config.addinivalue_line("filterwarnings", "ignore:unclosed transport <asyncio.sslproto:ResourceWarning")
        config.addinivalue_line("filterwarnings", "ignore:unclosed transport <_SelectorSocketTransport:ResourceWarning")
        config.addinivalue_line("filterwarnings", "ignore:unclosed <socket.socket:ResourceWarning")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    """Let every worker of xdist begin with another folder: it reads what the others have compiled meanwhile."""
    report = yield
    worker = getattr(collector.config, "workerinput", None)
    if worker is not None and isinstance(collector, pytest.Dir):
        first = len(report.result) * int(worker["workerid"].removeprefix("gw")) // worker["workercount"]
        report.result = report.result[first:] + report.result[:first]
    return report


def pytest_collection_modifyitems(items):
    """Undo the different orders: xdist wants the same of all workers."""
    items.sort(key=lambda item: item.path)


def pytest_collection_finish():
    """Keep thousands of tests out of every run of the garbage collector, and let it run less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20)


@pytest.fixture
def unused_tcp_port():
    """A port of this test alone, in place of the fixture of pytest-asyncio."""
    return free_port()


@pytest.fixture
def two_hours_east(monkeypatch):
    """A local time zone two hours ahead of UTC."""
    if not hasattr(time, "tzset"):
        pytest.skip("Windows takes its time zone from no variable")
    monkeypatch.setenv("TZ", "XYZ-02:00")
    time.tzset()
    yield
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


class Logs:
    """The log as the daemon writes it, redaction included."""

    def __init__(self, stream, redactor):
        self.stream = stream
        self.redactor = redactor

    @property
    def text(self):
        return self.stream.getvalue()

    def events(self, name):
        """The events of one name, in order."""
        return [event for event in map(json.loads, self.text.splitlines()) if event["event"] == name]

    @property
    def requests(self):
        return self.events("request")


@pytest.fixture
def logs():
    stream = io.StringIO()
    with log_to(stream) as redactor:
        yield Logs(stream, redactor)


@pytest.fixture(scope="session")
def authority():
    """The authority behind every fake Package Manager, so that one file trusts them all."""
    return CertificateAuthority()


@pytest.fixture(scope="session")
def ca_file(authority, tmp_path_factory):
    return authority.write_pem(tmp_path_factory.mktemp("authority") / "ca.pem")


@pytest.fixture
def short_retries(monkeypatch):
    """What fails is tried for a moment; silence is waited for as long as ever."""
    monkeypatch.setattr("ppmproxy.upstream.client.PATIENCE", 0.3)


@pytest.fixture(autouse=True)
def no_proxy_variables(monkeypatch):
    """Tests do not use the forward proxies of this machine."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
async def package_manager(authority):
    """Starts fake Package Managers: `await package_manager(base_path="/rspm")`; each keeps its port when closed."""
    servers, ports = [], contextlib.ExitStack()

    async def start(**options):
        place = {} if {"host", "port"} & options.keys() else {"port": ports.enter_context(reserved_port())}
        server = FakePackageManager(**{"authority": authority, **place, **options})
        await server.start()
        servers.append(server)
        return server

    start.started = servers
    with ports:
        yield start
        for server in servers:
            await server.close()


@pytest.fixture
def upstream(ca_file):
    """The settings that lead to a fake Package Manager: `upstream(server, mount="/b")`."""

    def made(server, **options):
        return Upstream(**{"url": server.url, "ca_file": ca_file, "configured": True, "cache": False, **options})

    return made


@pytest.fixture
async def proxy(package_manager, upstream, logs, tmp_path):
    """Starts a daemon in front of fake Package Managers or upstreams: `await proxy(server, scheme=Scheme.BASIC)`.

    It has the first one's token, unless `environ` is given. At the end no token of any of them may be in the log or in
    the responses, and no task may be left.
    """
    proxies = []

    async def start(*targets, environ=None, home=None, settings=None, **options):
        upstreams = tuple(upstream(one, **options) if isinstance(one, FakePackageManager) else one for one in targets)
        if environ is None:
            environ = {"PPMPROXY_TOKEN": package_manager.started[0].token}
        chosen = {"listen": BOTH_FAMILIES, "upstreams": upstreams, "drain_timeout": 0.2, **(settings or {})}
        daemon = await Daemon.start(Settings(**chosen), Environment(environ, home or tmp_path), logs.redactor)
        session = aiohttp.ClientSession(
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=CLIENT_OWN,
            timeout=aiohttp.ClientTimeout(total=DEADLINE),
        )
        proxies.append(ProxyClient(daemon, session))
        return proxies[-1]

    yield start
    for running in proxies:
        await running.session.close()
        await running.daemon.stop()
    for server in package_manager.started:
        await server.close()
        shown = "\n".join([logs.text, *(head_of(reply) for running in proxies for reply in running.replies)])
        assert leaked_forms(server.token, shown) == []
    every = asyncio.all_tasks() - {asyncio.current_task()}
    left = [task for task in every if not isinstance(_served_by(task), FakePackageManager)]
    if left:  # a look for a token ends by itself
        _, left = await asyncio.wait(left, timeout=DEADLINE)
    assert [*left] == []


def _served_by(task):
    """The server whose connection a task of aiohttp is for; the fake one reads the rest of a body that it refused."""
    server = inspect.getcoroutinelocals(task.get_coro()).get("manager")
    return getattr(getattr(server, "request_handler", None), "__self__", None)
