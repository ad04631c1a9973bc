"""Claims about a running daemon: it proves itself, leaves nothing behind, and says where it cannot keep others out."""

import asyncio
import json
import os
import shutil
import socket
import stat

import pytest
from proxy_client import request_head, status_of

from ppmproxy.access.daemon_identity import ListenerIdentity, verify, verify_daemon
from ppmproxy.access.daemon_record import list_daemons
from ppmproxy.access.runtime_dir import runtime_folders
from ppmproxy.config.local_address import TcpAddress, UnixAddress
from ppmproxy.config.model import Access, AccessRule, Settings
from ppmproxy.environment import Environment
from ppmproxy.server.daemon import Daemon
from ppmproxy.testing.package_manager import wheel

PAGE = "/pypi/latest/simple/hello/"


@pytest.fixture
async def server(package_manager):
    server = await package_manager()
    server.add(wheel("hello"))
    return server


@pytest.fixture
def folders(tmp_path):
    """Where the daemon of these tests writes its record."""
    return runtime_folders(Environment({}, tmp_path))


async def identity_on(url, folders):
    return await asyncio.to_thread(verify, url, folders)


# --- the proof ---


async def test_the_daemon_proves_itself_on_each_of_its_addresses(server, proxy, folders):
    running = await proxy(server)

    verdicts = [await identity_on(url, folders) for url in running.daemon.urls]

    assert verdicts == [ListenerIdentity.OURS] * len(verdicts)


async def test_it_proves_itself_over_a_unix_socket(server, upstream, tmp_path, folders, logs):
    tmp_path.chmod(0o700)
    settings = Settings(listen=(UnixAddress(tmp_path / "s"),), upstreams=(upstream(server),))
    daemon = await Daemon.start(settings, Environment({}, tmp_path), logs.redactor)
    try:
        assert await identity_on(daemon.url, folders) is ListenerIdentity.OURS
    finally:
        await daemon.stop()
    assert await identity_on(daemon.url, folders) is ListenerIdentity.NOBODY


async def test_two_daemons_have_different_keys_and_both_are_ours(server, proxy, folders):
    first, second = await proxy(server), await proxy(server)

    assert await identity_on(first.url, folders) is ListenerIdentity.OURS
    assert await identity_on(second.url, folders) is ListenerIdentity.OURS
    assert len({record.key for record in list_daemons(folders)}) == 2


async def test_a_nonce_forwarded_from_another_port_gets_a_useless_proof(server, proxy, folders):
    running = await proxy(server)

    async def pass_on(reader, writer):
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", running.port)
        there_writer.write(await reader.readuntil(b"\r\n\r\n"))
        writer.write(await there_reader.readuntil(b"\r\n\r\n") + await there_reader.readline())
        there_writer.close()
        writer.close()

    squatter = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    async with squatter:
        identity = await identity_on(f"http://127.0.0.1:{squatter.sockets[0].getsockname()[1]}", folders)

    assert identity is ListenerIdentity.UNPROVEN


@pytest.mark.parametrize("query", ["", "?", "?nonce=", "?nonce=zz", "?nonce=" + "ab" * 8, "?other=" + "ab" * 32])
async def test_a_request_without_a_well_formed_nonce_is_refused(server, proxy, query):
    running = await proxy(server)

    assert (await running.get(f"/-/proof{query}")).status == 400


async def test_the_record_is_private_and_removed_with_the_daemon(server, proxy, folders, unused_tcp_port):
    running = await proxy(server, settings={"listen": (TcpAddress("127.0.0.1", unused_tcp_port),)})
    [file] = folders[0].glob("daemon-*")

    document = json.loads(file.read_text())
    assert (document["pid"], document["urls"]) == (os.getpid(), running.daemon.urls)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert server.token not in file.read_text()
    await running.daemon.stop()

    assert list(folders[0].iterdir()) == []
    assert await identity_on(running.url, folders) is ListenerIdentity.NOBODY


async def test_a_record_that_was_removed_is_written_again_on_request(server, proxy, folders):
    running = await proxy(server)
    shutil.rmtree(folders[0])

    identity = await identity_on(running.url, folders)
    left = {file.name for file in folders[0].iterdir()}
    await running.daemon.stop()

    assert identity is ListenerIdentity.OURS
    assert f"shutdown-{running.port}.header" in left
    assert list(folders[0].iterdir()) == []


async def test_a_daemon_that_cannot_write_its_record_serves_and_warns(server, proxy, tmp_path, logs):
    (tmp_path / ".cache").write_text("no folder")

    running = await proxy(server)

    assert (await running.get(PAGE)).status == 200
    [line] = logs.events("proof_unavailable")
    assert (line["level"], str(tmp_path) in line["folder"]) == ("warning", True)


async def test_acting_on_the_daemon_needs_its_secret(server, proxy, folders):
    running = await proxy(server)
    key = running.daemon._access_control.key

    def acted():
        with verify_daemon(running.url, folders) as made:
            return made.post("/-/nothing-that-acts-yet")

    assert await asyncio.to_thread(acted) in {404, 405}
    assert key.secret.hex() not in repr(running.daemon._access_control)


# --- what is said at the start ---


async def test_where_peers_can_be_looked_up_no_warning_is_logged(server, proxy, logs):
    running = await proxy(server)

    document = (await running.get("/-/status")).json()

    assert document["access"] == {"rule": "same-user", "kept": True, "why_not": ""}
    assert [event["event"] for event in map(json.loads, logs.text.splitlines()) if event["level"] == "warning"] == []


async def test_where_peers_cannot_be_looked_up_log_and_status_say_so(server, proxy, logs, monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    running = await proxy(server)

    reply, document = await running.get(PAGE), (await running.get("/-/status")).json()

    [line] = logs.events("peer_lookup_unavailable")
    assert line["level"] == "warning"
    assert "every user of this machine may use this proxy" in line["consequence"]
    assert reply.status == 200
    assert document["access"]["kept"] is False
    assert "does not tell" in document["access"]["why_not"]


async def test_where_the_kernel_does_not_answer_everybody_is_refused_with_a_warning(server, proxy, logs, monkeypatch):
    """As without AF_NETLINK, which a sandbox may forbid."""
    real = socket.socket

    class Forbidden(real):
        def __init__(self, family=-1, *arguments, **named):
            if family == socket.AF_NETLINK:
                raise OSError(97, "Address family not supported by protocol")
            super().__init__(family, *arguments, **named)

    monkeypatch.setattr("ppmproxy.access.peer_credentials.socket.socket", Forbidden)
    running = await proxy(server)

    received = await running.raw(request_head(PAGE))

    [line] = logs.events("peer_lookup_unavailable")
    assert "AF_NETLINK" in line["why"]
    assert "every connection is refused" in line["consequence"]
    assert status_of(received) == 403
    assert server.requests == []


async def test_where_everybody_is_admitted_no_peer_is_looked_up(server, proxy, logs, monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")

    await proxy(server, settings={"access": Access(AccessRule.ANY)})

    assert logs.events("peer_lookup_unavailable") == []


async def test_listening_beyond_loopback_is_a_warning_that_names_the_consequence(server, proxy, logs):
    await proxy(server, settings={"listen": (TcpAddress("0.0.0.0", 0),), "access": Access(AccessRule.ANY)})

    [line] = logs.events("listener_exposed")
    assert line["level"] == "warning"
    assert "whoever reaches this port can install with the token" in line["consequence"]


async def test_listening_on_loopback_is_no_warning(server, proxy, logs):
    await proxy(server)

    assert logs.events("listener_exposed") == []


# --- browsers ---

AGAINST_BROWSERS = {"X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin"}


@pytest.mark.parametrize("path", [PAGE, "/pypi/latest/simple/missing/", "/-/status", "/-/live", "/-/none", "/a/../b"])
async def test_no_answer_is_of_use_to_a_page(server, proxy, path):
    running = await proxy(server)

    received = (await running.raw(request_head(path))).partition(b"\r\n\r\n")[0].decode()

    for name, value in AGAINST_BROWSERS.items():
        assert f"\r\n{name}: {value}" in received


@pytest.mark.parametrize("path", ["/-/status", "/-/live", "/-/none", "/a/../b"])
async def test_nothing_in_an_answer_of_our_own_runs_and_no_page_frames_it(server, proxy, path):
    running = await proxy(server)

    received = await running.raw(request_head(path))

    assert b"Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n" in received
