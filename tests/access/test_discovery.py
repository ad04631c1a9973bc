"""Claims about finding the user's own daemon: only one that proves itself, and only for the same upstreams."""

import asyncio
import signal
import socket
import threading
from pathlib import Path

import pytest
from aiohttp import web
from processes import ppmproxy_run
from proxy_client import DEADLINE, wait_until

from ppmproxy.access.daemon_identity import ListenerIdentity
from ppmproxy.access.discovery import (
    DaemonInfo,
    find_daemon,
    get_page,
    local_urls,
    probe_daemon,
    verify_within_deadline,
)
from ppmproxy.access.runtime_dir import runtime_folders
from ppmproxy.config.local_address import TcpAddress, UnixAddress
from ppmproxy.config.model import Settings, Upstream
from ppmproxy.environment import Environment
from ppmproxy.testing.package_manager import NoAnswer

NOBODY_THERE = "http://127.0.0.1:1"
LATE = 4.0  # seconds; a program that nobody knows is given two
A, B = Upstream("a", "https://a.example.com", "/"), Upstream("b", "https://b.example.com", "/b")


UPLOADS = Upstream("a", A.url, "/", uploads=True)


def served(*upstreams):
    return {"upstreams": [{"mount": one.mount, "url": one.url, "uploads": one.uploads} for one in upstreams]}


@pytest.mark.parametrize(
    ("wanted", "status", "serves"),
    [
        ((A,), served(A), True),
        ((A,), served(A, B), True),
        ((A, B), served(A), False),
        ((A,), served(B), False),
        ((A,), served(Upstream("a", A.url, "/elsewhere")), False),
        ((UPLOADS,), served(A), False),
        ((UPLOADS,), served(UPLOADS), True),
        ((A,), served(UPLOADS), True),
        ((UPLOADS,), {"upstreams": [{"mount": "/", "url": A.url}]}, True),
        ((A,), {}, False),
        ((A,), {"upstreams": "none"}, False),
    ],
)
def test_a_daemon_serves_settings_when_it_has_all_their_upstreams_at_their_mounts(wanted, status, serves):
    assert DaemonInfo("http://x", ListenerIdentity.OURS, status).serves(Settings(upstreams=wanted)) is serves


def test_a_pending_sign_in_is_reported_with_page_and_code():
    status = {"upstreams": [{"sign_in": None}, {"sign_in": {"page": "https://a/device", "code": "AB-CD"}}]}

    assert list(DaemonInfo("http://x", ListenerIdentity.OURS, status).sign_ins()) == [("https://a/device", "AB-CD")]
    assert list(DaemonInfo("http://x", ListenerIdentity.OTHER_PROGRAM).sign_ins()) == []


def test_local_urls_are_those_a_client_on_this_machine_can_use():
    listen = (
        TcpAddress("0.0.0.0", 1),
        TcpAddress("::", 2),
        TcpAddress("::1", 3),
        TcpAddress("localhost", 4),
        TcpAddress("127.0.0.1", 0),
        UnixAddress(Path("/x")),
    )

    assert local_urls(Settings(listen=listen)) == [
        "http://127.0.0.1:1",
        "http://[::1]:2",
        "http://[::1]:3",
        "http://localhost:4",
    ]


def test_a_port_without_a_listener_has_nobody(tmp_path):
    assert probe_daemon(NOBODY_THERE, [tmp_path]).identity is ListenerIdentity.NOBODY
    assert get_page(NOBODY_THERE, "/-/ready") == (0, "")


async def test_the_user_s_daemon_is_found_wherever_it_listens_and_by_nobody_else(tmp_path):
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    environ = {"XDG_RUNTIME_DIR": str(runtime)}
    folders = runtime_folders(Environment(environ, tmp_path))
    other_user_s = runtime_folders(Environment({}, tmp_path / "nobody"))
    settings = Settings(listen=(TcpAddress("127.0.0.1", 1),), upstreams=(Upstream(url=A.url),))

    async with ppmproxy_run(tmp_path, PPMPROXY_UPSTREAM=A.url, **environ) as running:
        await wait_until(
            lambda: [*runtime.rglob("daemon-*.json")]
        )  # it leaves word right after it says that it listens
        found = await asyncio.to_thread(find_daemon, settings, folders)
        not_found = await asyncio.to_thread(find_daemon, settings, other_user_s)
        unproven = await asyncio.to_thread(probe_daemon, running.url, other_user_s)
        other_upstream = await asyncio.to_thread(find_daemon, Settings(upstreams=(B,)), folders)
    gone = await asyncio.to_thread(find_daemon, settings, folders)

    assert found.url == running.url
    assert found.serves(settings)
    assert (not_found, other_upstream, gone) == (None, None, None)
    assert (unproven.identity, unproven.status) == (ListenerIdentity.UNPROVEN, {})


async def test_the_user_s_own_daemon_is_found_though_it_answers_late(tmp_path, monkeypatch):
    monkeypatch.setattr("ppmproxy.access.discovery.PATIENCE", 100.0)  # of which a busy machine takes some
    monkeypatch.setattr("ppmproxy.access.discovery.DEADLINE", 200.0)
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    environ = {"XDG_RUNTIME_DIR": str(runtime)}
    folders = runtime_folders(Environment(environ, tmp_path))
    async with ppmproxy_run(tmp_path, PPMPROXY_UPSTREAM=A.url, **environ) as running:
        process = running.server.process

        process.send_signal(signal.SIGSTOP)
        probing = asyncio.create_task(asyncio.to_thread(probe_daemon, running.url, folders))
        await asyncio.sleep(LATE)
        process.send_signal(signal.SIGCONT)
        found = await probing

    assert found.identity is ListenerIdentity.OURS
    assert found.serves(Settings(upstreams=(Upstream(url=A.url),)))


def test_a_response_without_an_end_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("ppmproxy.access.discovery.DEADLINE", 0.5)
    over = threading.Event()

    def drip(listener):
        connection, _ = listener.accept()
        with connection:
            while not over.wait(0.01):  # well within the time limit for one step
                connection.sendall(b"H")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        dripping = threading.Thread(target=drip, args=[listener])
        dripping.start()

        identity = verify_within_deadline(f"http://127.0.0.1:{listener.getsockname()[1]}", [tmp_path])

        over.set()
        dripping.join()

    assert identity is ListenerIdentity.OTHER_PROGRAM


async def test_another_program_is_asked_for_nothing_but_the_proof(tmp_path):
    asked = []

    async def yes(request):
        asked.append(request.path)
        return web.Response(text="yes")

    runner = web.ServerRunner(web.Server(yes, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    settings = Settings(listen=(TcpAddress("127.0.0.1", port),))

    assert await asyncio.to_thread(find_daemon, settings, [tmp_path]) is None

    await runner.cleanup()
    assert asked == ["/-/proof"]


async def test_a_daemon_that_stops_is_not_used_any_more(package_manager, proxy, tmp_path):
    server = await package_manager()
    server.add_fault("/pypi/*", NoAnswer())
    running = await proxy(server, home=tmp_path, settings={"drain_timeout": DEADLINE})
    listen = (TcpAddress("127.0.0.1", running.port),)
    settings = Settings(listen=listen, upstreams=running.daemon.services.settings.upstreams)
    folders = runtime_folders(Environment({}, tmp_path))
    before = await asyncio.to_thread(find_daemon, settings, folders)

    waiting = asyncio.create_task(running.get("/pypi/latest/simple/hello/"))
    await wait_until(lambda: server.requests)
    stopping = asyncio.create_task(running.daemon.stop())
    await wait_until(lambda: running.state.is_draining)
    after = await asyncio.to_thread(find_daemon, settings, folders)
    server.clear_faults()
    await asyncio.gather(waiting, stopping)

    assert before is not None
    assert after is None
