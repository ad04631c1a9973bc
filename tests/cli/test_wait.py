"""Claims about `ppmproxy wait`: it returns when the daemon is ready, gives up in time, and believes no stranger."""

import asyncio
import socket
import sys
import time

import pytest
from aiohttp import web
from command_line import Person
from processes import START_DEADLINE, plain_environment, run_program, running_server

MANY = "60"  # seconds; every wait that is to succeed is over long before


@pytest.fixture
def environ(tmp_path):
    (tmp_path / "runtime").mkdir(mode=0o700)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{probe.getsockname()[1]}"
    return plain_environment(tmp_path, XDG_RUNTIME_DIR=str(tmp_path / "runtime"), PPMPROXY_LISTEN=listen)


def command(*arguments):
    return [sys.executable, "-m", "ppmproxy", *arguments]


async def test_it_returns_once_the_daemon_is_there(tmp_path, environ):
    waiting = asyncio.create_task(run_program(command("wait", "--timeout", MANY), environ, tmp_path, deadline=90))
    async with running_server(command("run"), environ, tmp_path) as server:
        await asyncio.wait_for(server.line_with("listening"), START_DEADLINE)
        end = await waiting

    assert (end.code, end.output) == (0, "")


async def test_it_gives_up_in_time_and_says_what_to_do(tmp_path, environ):
    end = await run_program(command("wait", "--timeout", "0.2"), environ, tmp_path)

    assert end.code == 1
    assert "nobody listens there" in end.output
    assert "ppmproxy run" in end.output


async def test_a_stranger_who_is_always_ready_is_not_believed(tmp_path, environ):
    asked = []

    async def yes(request):
        asked.append(request.path)
        return web.Response(text="\x1b[31mready")

    runner = web.ServerRunner(web.Server(yes, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    listen = f"127.0.0.1:{runner.addresses[0][1]}"

    end = await run_program(command("wait", "--timeout", "0"), {**environ, "PPMPROXY_LISTEN": listen}, tmp_path)

    await runner.cleanup()
    assert end.code == 1
    assert "another program" in end.output
    assert "\x1b" not in end.output
    assert set(asked) == {"/-/proof"}


@pytest.mark.parametrize("timeout", ["nan", "inf", "-1", "soon", ""])
def test_a_time_that_is_none_is_a_mistake_in_the_use(tmp_path, timeout):
    started = time.monotonic()

    assert Person(tmp_path).runs("wait", f"--timeout={timeout}").code == 2

    assert time.monotonic() - started < 30


def test_without_a_known_port_there_is_nothing_to_wait_for(tmp_path):
    assert Person(tmp_path).runs("wait", PPMPROXY_LISTEN="127.0.0.1:0").code == 3


async def test_a_daemon_with_nothing_but_a_socket_is_found_and_ended(tmp_path, environ):
    environ["PPMPROXY_LISTEN"] = f"unix:{tmp_path}/runtime/ppm.sock"
    waiting = asyncio.create_task(run_program(command("wait", "--timeout", "1m"), environ, tmp_path, deadline=90))
    async with running_server(command("run"), environ, tmp_path) as server:
        await asyncio.wait_for(server.line_with("listening"), START_DEADLINE)
        waited = await waiting
        told = await run_program(command("status"), environ, tmp_path)
        stopped = await run_program(command("shutdown"), environ, tmp_path)

    assert (waited.code, waited.output) == (0, "")
    assert (told.code, told.output.splitlines()[0]) == (0, f"{environ['PPMPROXY_LISTEN']}: this user's ppmproxy")
    assert (stopped.code, stopped.output) == (0, "")


def test_a_time_may_have_its_unit_and_must_be_one(tmp_path):
    listen = "127.0.0.1:1"

    assert Person(tmp_path).runs("wait", "--timeout", "1ms", PPMPROXY_LISTEN=listen).code == 1
    for wrong in ("soon", "9" * 400, "-1"):
        assert Person(tmp_path).runs("wait", f"--timeout={wrong}", PPMPROXY_LISTEN=listen).code == 2
