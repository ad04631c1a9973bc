"""Claims about `ppmproxy run`: SIGHUP reloads the settings, and a terminal that hangs up ends it."""

import asyncio
import json
import os
import re
import signal
import sys

import aiohttp
import pytest
from connection_server import Server
from processes import START_DEADLINE, plain_environment, ppmproxy_run, running_server
from proxy_client import wait_until
from terminal import at_terminal

from ppmproxy.upstream.preconnect import AT_START

if sys.platform == "win32":
    pytest.skip("there is no SIGHUP on Windows", allow_module_level=True)

DEADLINE = 60.0  # seconds


def hang_up(running):
    running.server.process.send_signal(signal.SIGHUP)


async def line_with(running, words):
    return json.loads(await asyncio.wait_for(running.server.line_with(words), DEADLINE))


@pytest.fixture
def settings(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text('upstream = "https://a.example.com"\n')
    return file


async def test_new_settings_are_in_force_without_a_restart(tmp_path, settings):
    async with ppmproxy_run(tmp_path, PPMPROXY_CONFIG=str(settings)) as running:
        settings.write_text('upstream = "https://b.example.com"\n')
        hang_up(running)

        line = await line_with(running, '"settings_reloaded"')

    assert line["upstreams"] == {"/": "https://b.example.com"}
    assert running.log.count('"daemon_listening"') == 1


async def test_connections_are_open_before_the_first_request_and_nothing_is_sent_on_them(tmp_path):
    async def serve(connection):
        await connection.request()

    async with Server(serve) as server:
        async with ppmproxy_run(tmp_path, PPMPROXY_UPSTREAM=server.url, PPMPROXY_TOKEN="a-token"):
            await wait_until(lambda: len(server.connections) == AT_START)

            assert all(connection.is_idle for connection in server.connections)

        await wait_until(lambda: all(connection.reader.at_eof() for connection in server.connections))
    assert not server.requests


async def test_broken_settings_leave_the_old_ones_and_are_one_line_of_the_log(tmp_path, settings):
    async with ppmproxy_run(tmp_path, PPMPROXY_CONFIG=str(settings)) as running:
        settings.write_text('upstream = "https://b.example.com"\nacess = "any"\n')
        hang_up(running)

        line = await line_with(running, '"reload_failed"')
        settings.write_text('upstream = "https://c.example.com"\n')
        hang_up(running)
        await line_with(running, '"settings_reloaded"')

    assert line["level"] == "error"
    assert line["why"] == f"{settings}, line 2: acess is not a key of the settings"
    assert "nearest key is access" in line["hint"]
    assert "b.example.com" not in running.log


async def test_a_file_that_is_gone_leaves_the_old_settings_too(tmp_path, settings):
    async with ppmproxy_run(tmp_path, PPMPROXY_CONFIG=str(settings)) as running:
        settings.unlink()
        hang_up(running)

        assert "no such file" in (await line_with(running, '"reload_failed"'))["why"]


async def test_a_file_in_the_usual_place_that_is_gone_leaves_them_until_there_is_one_again(tmp_path):
    usual = tmp_path / "config" / "ppmproxy" / "config.toml"
    usual.parent.mkdir(parents=True)
    usual.write_text('upstream = "https://a.example.com"\n')
    async with ppmproxy_run(tmp_path, XDG_CONFIG_HOME=str(tmp_path / "config")) as running:
        usual.unlink()
        hang_up(running)
        failed = await line_with(running, '"reload_failed"')
        usual.write_text('upstream = "https://b.example.com"\n')
        hang_up(running)
        reloaded = await line_with(running, '"settings_reloaded"')

    assert failed["why"] == f"{usual}: no such file"
    assert reloaded["upstreams"] == {"/": "https://b.example.com"}


async def test_the_log_level_follows(tmp_path, settings):
    async with ppmproxy_run(tmp_path, PPMPROXY_CONFIG=str(settings)) as running:
        settings.write_text('log_level = "debug"\n')
        hang_up(running)
        await line_with(running, '"settings_reloaded"')
        async with aiohttp.ClientSession() as session, session.get(f"{running.url}/-/live") as answer:
            assert answer.status == 200

        assert (await line_with(running, '"request"'))["level"] == "debug"


async def test_what_needs_a_restart_is_reported(tmp_path, settings):
    async with ppmproxy_run(tmp_path, PPMPROXY_CONFIG=str(settings)) as running:
        settings.write_text('upstream = "https://a.example.com"\naccess = "any"\ndrain_timeout = "1s"\n')
        hang_up(running)

        line = await line_with(running, '"restart_needed"')

    assert line["settings"] == ["access", "drain_timeout"]


async def test_a_terminal_that_hangs_up_ends_it(tmp_path):
    ours, theirs = os.openpty()
    program = (
        "import fcntl, os, sys, termios\n"
        "fcntl.ioctl(int(sys.argv[1]), termios.TIOCSCTTY, 0)\n"
        "os.dup2(int(sys.argv[1]), 2)\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'ppmproxy', 'run'])\n"
    )
    command = [sys.executable, "-c", program, str(theirs)]
    environ = plain_environment(tmp_path, PPMPROXY_LISTEN="127.0.0.1:0")
    async with running_server(command, environ, tmp_path, pass_fds=(theirs,)) as server:
        os.close(theirs)
        await asyncio.wait_for(server.line_with('"daemon_listening"'), START_DEADLINE)
        server.process.send_signal(signal.SIGHUP)  # by somebody else: the terminal is still there
        await asyncio.wait_for(server.line_with('"settings_reloaded"'), DEADLINE)
        os.close(ours)

        assert await asyncio.wait_for(server.process.wait(), DEADLINE) == 129


@pytest.mark.parametrize(
    ("environ", "token"),
    [
        ({"PPMPROXY_TOKEN": "some-token"}, "token from environment variable PPMPROXY_TOKEN"),
        ({"CI": ""}, "no token for https://a.example.com: run `ppmproxy login`"),
        ({"CI": "true"}, "no token for https://a.example.com: set PPMPROXY_TOKEN"),
    ],
)
async def test_a_person_reads_the_url_to_paste_and_whether_there_is_a_token(tmp_path, settings, environ, token):
    around = plain_environment(tmp_path, PPMPROXY_CONFIG=str(settings), PPMPROXY_LISTEN="127.0.0.1:0", **environ)
    run = [sys.executable, "-m", "ppmproxy", "run"]

    async with at_terminal(run, {**around, "NO_COLOR": "1"}, tmp_path, columns=130) as terminal:
        lines = await terminal.shows(token)

    served, index = (next(line for line in lines if words in line) for words in ("serving", "index URL"))
    assert re.search(r"\d\d:\d\d:\d\d serving https://a\.example\.com at http://127\.0\.0\.1:\d+$", served)
    assert index.endswith(f"index URL for pip and uv: {served.rpartition(' ')[2]}/pypi/latest/simple/")
    assert "\x1b[3" not in terminal.said
