"""Claims about `ppmproxy status --watch`: live on a terminal, plain in a pipe, and gone without a trace."""

import asyncio
import contextlib
import json
import signal
import sys

import pytest
from processes import plain_environment, ppmproxy_run, running_server
from proxy_client import DEADLINE, wait_until
from terminal import FIRST_SCREEN, SECOND_SCREEN, at_terminal

from ppmproxy.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_TERMINATED
from ppmproxy.testing.package_manager import wheel

WATCH = [sys.executable, "-m", "ppmproxy", "status", "--watch"]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a terminal is made here as POSIX systems make one")


@contextlib.asynccontextmanager
async def daemon(server, ca_file, tmp_path, **more):
    """`ppmproxy run`, and the environment in which commands find it."""
    (tmp_path / "runtime").mkdir(mode=0o700, exist_ok=True)
    runtime = {"XDG_RUNTIME_DIR": str(tmp_path / "runtime")}
    settings = {"PPMPROXY_UPSTREAM": server.url, "PPMPROXY_CA_FILE": str(ca_file), "PPMPROXY_TOKEN": server.token}
    async with ppmproxy_run(tmp_path, **settings, **runtime, **more) as running:
        await wait_until(lambda: [*tmp_path.rglob("daemon-*.json")])
        listen = running.url.removeprefix("http://")
        yield running, plain_environment(tmp_path, PPMPROXY_LISTEN=listen, **runtime)


async def get(running, path="/pypi/latest/simple/hello/"):
    reader, writer = await asyncio.open_connection(*running.url.removeprefix("http://").split(":"))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    await asyncio.wait_for(reader.read(), DEADLINE)
    writer.close()


@pytest.fixture
async def server(package_manager):
    started = await package_manager(access_token_lifetime=3600)
    started.add(wheel("hello"))
    return started


@pytest.fixture
def nobody(tmp_path, unused_tcp_port):
    """An environment in which no daemon listens."""
    return plain_environment(tmp_path, PPMPROXY_LISTEN=f"127.0.0.1:{unused_tcp_port}")


# a terminal


async def test_requests_and_the_time_left_of_a_token_are_seen_as_they_change(server, ca_file, tmp_path):
    server.token = server.issue_token(lifetime=3600)
    async with (
        daemon(server, ca_file, tmp_path) as (running, environ),
        at_terminal(WATCH, environ, tmp_path) as terminal,
    ):
        await terminal.shows("token: none used yet")
        await get(running)
        lines = await terminal.shows_that(lambda lines: any("left" in line for line in lines), "a countdown")
        before = [line for line in lines if "left" in line]
        await terminal.shows_that(lambda lines: [line for line in lines if "left" in line] not in ([], before))
        await get(running, "/a/../b")
        lines = await terminal.shows("bad-target")
        terminal.press("q")
        code = await terminal.ended()

    assert code == EXIT_OK
    assert f"{running.url}: this user's ppmproxy" in lines
    assert f"/ -> {server.url}" in lines
    assert any(line.split()[:2] == ["requests", "2"] for line in lines)
    assert any(line.split()[:2] == ["failed", "1"] for line in lines)
    assert server.token not in terminal.said


async def test_it_fits_the_window_after_a_change_of_its_size(nobody, tmp_path):
    async with at_terminal(WATCH, nobody, tmp_path) as terminal:
        await terminal.shows("nobody listens there")
        for columns, rows in ((36, 8), (200, 50), (1, 1), (80, 24)):
            terminal.resize(columns, rows)
            if columns > 1:
                await terminal.shows_that(lambda lines: lines[0].startswith("http://127.0.0.1:"))
                await terminal.shows("q quits")
        terminal.press("q")

        assert await terminal.ended() == EXIT_OK


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (lambda terminal: terminal.press("q"), EXIT_OK),
        (lambda terminal: terminal.press("Q"), EXIT_OK),
        (lambda terminal: terminal.press("\x03"), EXIT_INTERRUPTED),
        (lambda terminal: terminal.process.terminate(), EXIT_TERMINATED),
    ],
    ids=["q", "Q", "Ctrl-C", "SIGTERM"],
)
async def test_whatever_ends_it_the_terminal_is_as_before(nobody, tmp_path, end, code):
    async with at_terminal(WATCH, nobody, tmp_path) as terminal:
        await terminal.shows("q quits")
        during = terminal.settings
        end(terminal)

        assert await terminal.ended() == code
        assert terminal.settings == terminal.settings_before != during
    assert SECOND_SCREEN in terminal.said
    assert terminal.said.rpartition(SECOND_SCREEN)[2].count(FIRST_SCREEN) == 1
    assert terminal.said.rindex("\x1b[?25h") > terminal.said.rindex("\x1b[?25l")  # the cursor
    assert "Traceback" not in terminal.said


async def test_other_keys_do_nothing_and_are_not_echoed(nobody, tmp_path):
    async with at_terminal(WATCH, nobody, tmp_path) as terminal:
        await terminal.shows("q quits")
        terminal.press("xyz\x1a\x1b[A")
        terminal.resize(90, 20)  # is drawn after the keys
        await terminal.shows_that(lambda lines: len(lines) == 20 and any("q quits" in line for line in lines))
        assert not any("xyz" in line for line in terminal.lines)
        terminal.press("q")

        assert await terminal.ended() == EXIT_OK


async def test_a_daemon_that_starts_later_appears(server, ca_file, tmp_path, unused_tcp_port):
    (tmp_path / "runtime").mkdir(mode=0o700)
    listen = {"PPMPROXY_LISTEN": f"127.0.0.1:{unused_tcp_port}"}
    environ = plain_environment(tmp_path, XDG_RUNTIME_DIR=str(tmp_path / "runtime"), **listen)
    async with at_terminal(WATCH, environ, tmp_path) as terminal:
        await terminal.shows("nobody listens there")
        async with daemon(server, ca_file, tmp_path, **listen):
            await terminal.shows("this user's ppmproxy")
        await terminal.shows("nobody listens there")


async def test_a_terminal_that_cannot_be_drawn_on_gets_plain_lines(nobody, tmp_path):
    async with at_terminal(WATCH, {**nobody, "TERM": "dumb"}, tmp_path) as terminal:
        await terminal.shows("nobody listens there")
        terminal.press("\x03")

        assert await terminal.ended() == EXIT_INTERRUPTED
    assert "\x1b" not in terminal.said


# a pipe


async def test_in_a_pipe_each_change_is_printed_once_without_control_characters(server, ca_file, tmp_path):
    async with (
        daemon(server, ca_file, tmp_path) as (running, environ),
        running_server(WATCH, environ, tmp_path) as watching,
    ):
        await watching.line_with("requests: 0 since")
        await get(running)
        await watching.line_with("requests: 1 since")
        watching.process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(watching.process.wait(), DEADLINE) == EXIT_INTERRUPTED

    assert watching.log.count(f"{running.url}: this user's ppmproxy") == watching.log.count("requests: ")
    assert "\x1b" not in watching.log
    assert "Traceback" not in watching.log


async def test_in_a_pipe_json_is_one_document_a_line(nobody, tmp_path):
    async with running_server([*WATCH, "--json"], nobody, tmp_path) as watching:
        await watching.line_with("{")

    assert [json.loads(line)["running"] for line in watching.lines] == [False]
