"""Claims about `daemon` and `dispatcher`: the proxy's own pages, one log line for each request, start and stop."""

import asyncio
import contextlib
import os
import socket

import aiohttp
import pytest
from connection_server import Server
from proxy_client import DEADLINE, PAGE, UV, request_head, settled, wait_until

from ppmproxy.access.daemon_record import list_daemons
from ppmproxy.config.local_address import TcpAddress
from ppmproxy.config.model import Settings, Upstream
from ppmproxy.environment import Environment
from ppmproxy.errors import CannotListenError, ConfigError
from ppmproxy.server.daemon import Daemon
from ppmproxy.testing.package_manager import Delay, NoAnswer, Stall, Status, Trickle, wheel
from ppmproxy.upstream.preconnect import AT_START


@pytest.fixture
async def server(package_manager):
    server = await package_manager()
    server.add(wheel("hello"))
    return server


@pytest.fixture
async def running(server, proxy):
    return await proxy(server)


# --- the proxy's own pages ---


@pytest.mark.parametrize(
    ("path", "line"), [("/-/live", "alive\n"), ("/-/ready", "ready\n"), ("/-/startup", "started\n")]
)
async def test_health_pages_answer_without_a_request_to_the_upstream(server, running, path, line):
    reply = await running.get(path)

    assert (reply.status, reply.text(), reply.headers["Cache-Control"]) == (200, line, "no-store")
    assert server.requests == []


async def test_status_counts_requests(server, running):
    await running.get(PAGE)
    await running.get("/x/../y".replace("..", "%2e%2e"))

    document = (await running.get("/-/status")).json()

    assert document["ready"] is True
    assert document["upstreams"][0]["url"] == server.url
    assert document["upstreams"][0]["credential"]["source"] == "environment variable PPMPROXY_TOKEN"
    assert document["requests"]["total"] == 2
    assert document["requests"]["by_status"] == {"200": 1, "400": 1}
    assert document["requests"]["errors"] == {"bad-target": 1}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_the_own_pages_are_only_read(running, method):
    assert (await running.ask(method, "/-/status")).status == 405


async def test_an_own_page_that_does_not_exist_is_404(server, running):
    reply = await running.get("/-/nothing")

    assert reply.status == 404
    assert server.requests == []


# --- the log ---


async def test_a_request_has_one_line(running, logs):
    reply = await running.get(PAGE + "?signature=secret")

    [line] = logs.requests
    assert line.pop("timestamp")
    assert line.pop("ms") > 0
    assert line == {
        "event": "request",
        "level": "info",
        "method": "GET",
        "path": PAGE,
        "status": 200,
        "upstream": "default",
        "kind": "index",
        "source": "environment variable PPMPROXY_TOKEN",
        "sent": len(reply.body),
    }


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (request_head("/a/../b"), {"status": 400, "code": "bad-target", "path": "/a/../b"}),
        (request_head("http://evil.example/x"), {"status": 400, "code": "bad-target"}),
        (request_head(PAGE, host="evil.example"), {"status": 403, "code": "forbidden-client"}),
        (request_head("/x", method="DELETE"), {"status": 405, "code": "not-forwarded", "method": "DELETE"}),
        (request_head("/-/live"), {"status": 200, "path": "/-/live"}),
        (request_head("/-/nothing"), {"status": 404}),
        (request_head("/pypi/latest/simple/missing/"), {"status": 404, "kind": "index"}),
        (request_head(PAGE, method="HEAD"), {"status": 200, "sent": 0, "method": "HEAD"}),
    ],
)
async def test_every_kind_of_request_has_one_line(running, logs, request_bytes, expected):
    await running.raw(request_bytes)

    [line] = logs.requests
    assert {name: line[name] for name in expected} == expected


async def test_each_request_of_many_at_once_has_its_line(server, running, logs):
    await asyncio.gather(*(running.get(f"/pypi/latest/simple/project-{number}/") for number in range(50)))

    assert sorted(line["path"] for line in logs.requests) == sorted(
        f"/pypi/latest/simple/project-{number}/" for number in range(50)
    )


async def test_an_error_is_in_its_line_with_code_and_detail(server, running, logs):
    server.add_fault("*", Status(501, "Out Of Order"))

    await running.get(PAGE, {"User-Agent": UV})

    [line] = logs.requests
    assert (line["status"], line["code"]) == (424, "upstream-unexpected")
    assert "501 Out Of Order" in line["detail"]


async def test_a_failure_is_logged_as_a_warning_and_a_404_is_not(server, running, logs):
    await running.get("/pypi/latest/simple/missing/")
    server.add_fault("*/simple/*", Status(501))

    await running.get(PAGE)
    await running.get("/x/%2e%2e/y")

    told = [(line["status"], line["level"]) for line in logs.requests]
    assert told == [(404, "info"), (424, "warning"), (400, "warning")]


async def test_a_line_break_in_a_path_makes_no_log_line(running, logs):
    await running.raw(request_head('/a%0a{"event":"request"}', "User-Agent: x\x0by"))

    assert len(logs.text.splitlines()) == len(logs.events("daemon_listening")) + 1


# --- start and stop ---


async def test_both_families_are_answered(running):
    statuses = []
    for url in running.daemon.urls:
        async with running.session.get(f"{url}/-/live") as response:
            statuses.append(response.status)

    assert statuses == [200] * len(statuses)
    assert running.daemon.urls[0].startswith("http://127.0.0.1:")


@pytest.mark.parametrize(("configured", "count"), [(True, 3), (False, 0)])
async def test_connections_are_opened_to_an_upstream_that_somebody_configured(
    proxy, upstream, server, configured, count
):
    running = await proxy(upstream(server, configured=configured, max_connections=3))

    running.daemon.preconnect()

    await wait_until(lambda: len(server._runner.server.connections) == count)
    assert await settled(lambda: len(server._runner.server.connections)) == count


async def test_several_upstreams_share_the_number_of_connections(proxy):
    async def serve(connection):
        await connection.request()

    async with Server(serve) as one, Server(serve) as other:
        running = await proxy(
            *(
                Upstream(name=name, url=server.url, mount=mount, configured=True)
                for name, server, mount in (("one", one, "/"), ("other", other, "/other"))
            ),
            environ={},
        )

        running.daemon.preconnect()

        await wait_until(lambda: len(one.connections) == len(other.connections) == AT_START // 2)
        assert await settled(lambda: len(one.connections) + len(other.connections)) == AT_START


async def test_a_taken_port_stops_the_start_and_leaves_nothing_open(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        settings = Settings(listen=(TcpAddress("::1", port), TcpAddress("127.0.0.1", port)))

        with pytest.raises(CannotListenError):
            await Daemon.start(settings, Environment({}, tmp_path))

    with socket.socket(socket.AF_INET6) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("::1", port))


async def test_a_bad_setting_stops_the_start_and_leaves_nothing_open(server, upstream, tmp_path, unused_tcp_port):
    good, bad = upstream(server, name="good"), upstream(server, name="bad", mount="/b", ca_file=tmp_path / "none.pem")
    settings = Settings(listen=(TcpAddress("127.0.0.1", unused_tcp_port),), upstreams=(good, bad))

    with pytest.raises(ConfigError):
        await Daemon.start(settings, Environment({}, tmp_path))

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", unused_tcp_port))


async def test_a_start_says_where_it_listens(running, logs, server):
    [line] = logs.events("daemon_listening")

    assert line["urls"] == running.daemon.urls
    assert line["upstreams"] == {"/": server.url}


async def test_stopping_finishes_requests_under_way(server, proxy):
    file = server.add_large("big-1.0-py3-none-any.whl", 500_000)
    server.add_fault("*.whl", Stall(1000))
    running = await proxy(server, settings={"drain_timeout": DEADLINE})

    reading = asyncio.create_task(running.get(f"/pypi/latest/packages/{file.id}/{file.filename}"))
    await wait_until(lambda: server.requests and server.requests[0].sent)
    stopping = asyncio.create_task(running.daemon.stop())
    await wait_until(lambda: running.state.is_draining)
    server.release()
    reply = await reading
    await stopping

    assert len(reply.body) == 500_000


async def test_while_it_stops_new_requests_get_an_error_and_running_ones_their_responses(
    server, proxy, unused_tcp_port
):
    server.add_fault("*", NoAnswer())
    listen = (TcpAddress("127.0.0.1", unused_tcp_port),)
    running = await proxy(server, settings={"drain_timeout": DEADLINE, "listen": listen})

    waiting = asyncio.create_task(running.get(PAGE))
    await wait_until(lambda: server.requests)
    stopping = asyncio.create_task(running.daemon.stop())
    await wait_until(lambda: running.state.is_draining)
    async with aiohttp.ClientSession() as session:
        async with session.get(running.url + PAGE) as refused:
            told = await refused.json(content_type=None)
        async with session.get(f"{running.url}/-/live") as live:
            pass
    server.clear_faults()
    await asyncio.gather(waiting, stopping)

    assert waiting.result().status == 200
    assert (refused.status, told["code"]) == (503, "stopping")
    assert refused.headers["Connection"] == live.headers["Connection"] == "close"
    assert live.status == 200
    with pytest.raises(aiohttp.ClientConnectorError):
        async with aiohttp.ClientSession() as session:
            await session.get(f"{running.url}/-/live")


async def test_stopping_takes_the_drain_timeout_once_and_logs_the_cut_request(server, proxy, logs):
    server.add_fault("*", NoAnswer())
    running = await proxy(server, settings={"drain_timeout": 4.0})

    waiting = asyncio.create_task(running.get(PAGE))
    await wait_until(lambda: server.requests)
    await asyncio.wait_for(running.daemon.stop(), 7.8)

    with contextlib.suppress(aiohttp.ClientError):
        assert (await waiting).status >= 500
    assert [(line["code"], line["level"]) for line in logs.requests] == [("drain-timeout", "warning")]


async def test_stopping_lets_a_download_end_that_needs_most_of_the_drain_timeout(server, proxy):
    server.add_fault("*", Delay(3.0))
    running = await proxy(server, settings={"drain_timeout": 6.0})

    waiting = asyncio.create_task(running.get(PAGE))
    await wait_until(lambda: server.requests)
    await running.daemon.stop()

    assert (await waiting).status == 200


async def test_stopping_does_not_wait_for_idle_connections(server, proxy):
    running = await proxy(server, settings={"drain_timeout": 120.0})
    async with running.connected() as (reader, writer):
        writer.write(b"GET /-/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"alive\n")

        await asyncio.wait_for(running.daemon.stop(), 60)

        assert await asyncio.wait_for(reader.read(), 60) == b""


async def test_stopping_twice_does_no_harm(running):
    await running.daemon.stop()
    await running.daemon.stop()


class Witness:
    """A part of the cache that looks for the daemon's record when it is closed."""

    def __init__(self, folder):
        self.folder = folder
        self.known = None

    async def close(self):
        self.known = [record.pid for record in list_daemons([self.folder])]


async def test_other_commands_know_a_daemon_until_its_cache_is_closed(running):
    folder = running.daemon._access_control.folder
    witness = Witness(folder)
    running.daemon._wiring.stores.append(witness)

    await running.daemon.stop()

    assert witness.known == [os.getpid()]
    assert list(list_daemons([folder])) == []


async def test_a_daemon_that_is_stopping_is_not_ready(running):
    running.daemon.services.state.record_draining()

    reply = await running.get("/-/ready")

    assert reply.status == 503
    assert "stopping" in reply.text()


async def test_an_internal_error_is_logged_with_its_traceback_and_sent_without(running, logs):
    sessions = running.daemon.services.sessions
    lost = dict(sessions)
    sessions.clear()

    reply = await running.get(PAGE, {"User-Agent": UV})
    sessions.update(lost)
    next_reply = await running.get(PAGE)

    assert (reply.status, reply.code) == (500, "internal")
    assert "KeyError" not in reply.text()
    assert "KeyError" in logs.events("request_failed")[0]["exception"]
    assert logs.requests[0]["code"] == "internal"
    assert next_reply.status == 200


async def test_one_slow_client_does_not_hold_up_the_others(server, running):
    file = server.add_large("big-1.0-py3-none-any.whl", 50_000_000)

    async with running.connected() as (reader, writer):
        writer.write(request_head(f"/pypi/latest/packages/{file.id}/{file.filename}"))
        await reader.readuntil(b"\r\n\r\n")

        assert (await running.get(PAGE)).status == 200


async def test_in_flight_comes_back_to_nothing(server, running):
    server.add_fault("*.whl", Trickle(10, 0.01))
    await asyncio.gather(*(running.get(path) for path in [PAGE, "/x", "/-/live", "/a%2fb"]))

    assert running.state.in_flight == 0
    assert running.state.requests == 3  # the own page is not counted
