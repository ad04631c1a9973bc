"""Claims about users: which users of this machine are admitted, in a table and with real ones."""

import asyncio
import json
import os
import signal
import socket
import struct

import pytest
import real_users
from hypothesis import given
from hypothesis import strategies as st
from processes import ppmproxy_run
from proxy_client import body_of, request_head, status_of

from ppmproxy.access.policy import Users, check_user, may_use, users_of
from ppmproxy.config.local_address import UnixAddress
from ppmproxy.config.model import Access, AccessRule, Settings
from ppmproxy.environment import Environment
from ppmproxy.errors import ConfigError, ForbiddenClientError
from ppmproxy.server.daemon import Daemon
from ppmproxy.testing.package_manager import wheel

two_users, open_folder = real_users.two_users, real_users.open_folder

PAGE = "/pypi/latest/simple/hello/"
SAME_USER, ANY = Access(), Access(AccessRule.ANY)
NUMBERS = {"root": 0, "alice": 1001, "bob": 1002}


def listed(*users):
    names = tuple(user for user in users if isinstance(user, str))
    return Access(AccessRule.LISTED, names, tuple(user for user in users if isinstance(user, int)))


# --- the decision ---


@pytest.mark.parametrize(
    ("access", "uid", "let_in"),
    [
        (SAME_USER, 1000, True),
        (SAME_USER, 0, True),
        (SAME_USER, 1001, False),
        (SAME_USER, 65534, False),
        (SAME_USER, None, False),
        (ANY, 1001, True),
        (ANY, None, True),
        (listed("alice"), 1001, True),
        (listed("alice"), 1002, False),
        (listed("alice", 1002), 1002, True),
        (listed(1002), 1001, False),
        (listed(1002), None, False),
        (listed("alice"), 1000, True),  # it has the token, and can end the proxy
        (listed("alice"), 0, True),
    ],
)
def test_who_may_use_the_proxy_of_user_1000(access, uid, let_in):
    assert may_use(uid, users_of(access, 1000, NUMBERS.get)) is let_in


@given(st.integers(0, 2**32), st.frozensets(st.integers(0, 2**32)), st.integers(0, 2**32))
def test_nobody_else_is_ever_admitted(own, others, uid):
    assert may_use(uid, Users(own, others)) == (uid in {own, 0} | others)
    assert not may_use(None, Users(own, others))


def test_a_user_who_does_not_exist_is_a_mistake_in_the_settings():
    with pytest.raises(ConfigError, match="names 'mallory', and this machine has no such user"):
        users_of(listed("alice", "mallory"), 1000, NUMBERS.get)


def test_a_refused_user_reads_whose_proxy_it_is():
    with pytest.raises(ForbiddenClientError, match="belongs to user 1000, and user 1001 may not use it"):
        check_user(1001, Users(1000))


def test_an_unknown_user_reads_what_setting_helps():
    with pytest.raises(ForbiddenClientError) as caught:
        check_user(None, Users(1000))

    assert "PPMPROXY_ACCESS=any" in caught.value.hint


# --- the daemon ---


@pytest.fixture
async def server(package_manager):
    server = await package_manager()
    server.add(wheel("hello"))
    return server


def problem_of(received):
    return json.loads(body_of(received))


async def told(user, running, request, family="AF_INET", host=None):
    host = host or {"AF_INET": "127.0.0.1", "AF_INET6": "::1"}[family]
    address = host if family == "AF_UNIX" else [host, running.port]
    return (await asyncio.to_thread(user.told, request.decode(), address, family)).encode("latin-1")


WAYS = [("AF_INET", "127.0.0.1"), ("AF_INET6", "::1"), ("AF_INET6", "::ffff:127.0.0.1")]


@pytest.mark.real
@pytest.mark.parametrize(("family", "host"), WAYS)
@pytest.mark.parametrize("path", [PAGE, "/-/status", "/-/live", "/a/../b"])
async def test_another_user_is_refused_for_every_path(two_users, server, proxy, family, host, path):
    running = await proxy(server)

    received = await told(two_users[0], running, request_head(path), family, host)

    assert status_of(received) == 403
    assert b"\r\nX-Ppmproxy-Error: forbidden-client\r\n" in received
    assert problem_of(received)["detail"].startswith(f"this ppmproxy belongs to user {os.geteuid()}, and user")
    assert server.requests == []


@pytest.mark.real
@pytest.mark.parametrize(
    ("path", "client", "status"),
    [
        (PAGE, "pip/26.3", 200),
        ("/team/pypi/latest/simple/six/", "pip/26.3", 200),
        (PAGE, "uv/0.13.9", 407),
        (PAGE, "Poetry/2.5.1", 407),
        (PAGE, "curl/8.0", 403),
        ("/pypi/latest/packages/six-1.0-py3-none-any.whl", "pip/26.3", 403),
        ("/pypi/latest/packages/six-1.0-py3-none-any.whl", "uv/0.13.9", 403),
    ],
)
async def test_another_user_reads_why_in_the_client(two_users, server, proxy, path, client, status):
    running = await proxy(server)
    why = f"this ppmproxy belongs to user {os.geteuid()}, and user {two_users[0].uid} may not use it"

    received = await told(two_users[0], running, request_head(path, f"User-Agent: {client}"))

    assert status_of(received) == status
    head = received.partition(b"\r\n\r\n")[0].decode()
    assert why in (head.partition("Content-Type: ")[2] if status == 200 else head.splitlines()[0])
    assert "PPMPROXY_LISTEN=auto ppmproxy run" in head
    assert "Cache-Control: no-store" in head
    assert server.requests == []


@pytest.mark.real
@pytest.mark.parametrize(("family", "host"), WAYS)
async def test_a_user_who_is_listed_is_let_in_and_the_other_is_not(two_users, server, proxy, family, host):
    listed_user, other_user = two_users
    running = await proxy(server, settings={"access": listed(listed_user.name)})

    statuses = [
        status_of(await told(user, running, request_head(PAGE), family, host)) for user in (listed_user, other_user)
    ]

    assert statuses == [200, 403]
    assert len(server.requests_for(PAGE)) == 1
    assert (await running.get(PAGE)).status == 200


@pytest.mark.real
async def test_everybody_is_let_in_where_the_settings_say_so(two_users, server, proxy):
    running = await proxy(server, settings={"access": ANY})

    statuses = [status_of(await told(user, running, request_head(PAGE))) for user in two_users]

    assert statuses == [200, 200]


@pytest.mark.real
async def test_another_user_who_sends_and_closes_at_once_gets_nothing_done(two_users, server, proxy):
    """The kernel says uid 0 of a socket that its process has closed."""
    running = await proxy(server)
    other_user, _ = two_users

    for _ in range(20):
        other_user.asked("connect", "c", "AF_INET", ["127.0.0.1", running.port])
        other_user.asked("send", "c", request_head(PAGE).decode())
        other_user.asked("close", "c")
    assert (await running.get("/-/live")).status == 200

    assert server.requests == []


async def test_a_client_that_left_while_the_daemon_was_stopped_is_not_refused_as_another_user(server, tmp_path):
    environ = {"PPMPROXY_UPSTREAM": server.url, "PPMPROXY_CA_FILE": str(server.write_ca(tmp_path / "ca.pem"))}
    async with ppmproxy_run(tmp_path, **environ, PPMPROXY_TOKEN=server.token) as running:
        host, _, port = running.url.removeprefix("http://").rpartition(":")
        running.server.process.send_signal(signal.SIGSTOP)
        for resets in (False, True):
            for _ in range(3):
                _, writer = await asyncio.open_connection(host, int(port))
                writer.write(request_head(PAGE))
                if resets:
                    gone = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, gone)
                writer.close()
                await writer.wait_closed()
        running.server.process.send_signal(signal.SIGCONT)
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(request_head("/-/nothing"))
        await running.server.line_with("/-/nothing")
        writer.close()

    assert "forbidden-client" not in running.log


@pytest.mark.real
async def test_another_user_cannot_crowd_out_the_user(two_users, server, proxy):
    running = await proxy(server)
    other_user, _ = two_users

    def crowd():
        for number in range(200):
            other_user.asked("connect", f"c{number}", "AF_INET", ["127.0.0.1", running.port])

    def leave():
        for number in range(200):
            other_user.asked("close", f"c{number}")

    await asyncio.to_thread(crowd)
    reply = await running.get(PAGE)
    await asyncio.to_thread(leave)

    assert reply.status == 200


@pytest.mark.real
async def test_over_a_unix_socket_the_users_count_as_well(two_users, server, upstream, open_folder, logs):
    """Somebody opened the socket to others; the list still holds."""
    listed_user, other_user = two_users
    path = open_folder / "ppmproxy.sock"
    settings = Settings(listen=(UnixAddress(path),), upstreams=(upstream(server),), access=listed(listed_user.name))
    daemon = await Daemon.start(settings, Environment({"PPMPROXY_TOKEN": server.token}, open_folder), logs.redactor)
    try:
        path.chmod(0o666)
        ask = request_head(PAGE)
        statuses = [status_of(await told(user, None, ask, "AF_UNIX", str(path))) for user in (listed_user, other_user)]
    finally:
        await daemon.stop()

    assert statuses == [200, 403]
    assert not path.exists()


async def test_one_connection_is_looked_up_once(server, proxy, monkeypatch):
    running = await proxy(server)
    peers = running.daemon._access_control.peers
    asked = []
    monkeypatch.setattr(peers, "uid_of", lambda connection: asked.append(connection) or os.geteuid())

    async with running.connected() as (reader, writer):
        for _ in range(3):
            writer.write(b"GET /-/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await reader.readuntil(b"alive\n")

    assert len(asked) == 1


async def test_a_connection_of_an_unknown_user_is_refused(server, proxy, monkeypatch):
    running = await proxy(server)
    monkeypatch.setattr(running.daemon._access_control.peers, "uid_of", lambda _connection: None)

    received = await running.raw(request_head(PAGE))

    assert status_of(received) == 403
    assert "any" in problem_of(received)["detail"]
    assert server.requests == []


async def test_a_list_of_users_that_cannot_be_enforced_is_an_error(server, proxy, monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")

    with pytest.raises(ConfigError, match="does not report which user opened"):
        await proxy(server, settings={"access": listed(os.geteuid())})


async def test_users_who_do_not_exist_stop_the_start_and_leave_nothing_open(server, proxy, unused_tcp_port):
    with pytest.raises(ConfigError, match="no such user"):
        await proxy(server, settings={"access": listed("no-such-user-here")})

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", unused_tcp_port))
