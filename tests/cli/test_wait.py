"""Claims about `ppmproxy wait`: it returns when the daemon is ready, gives up in time, and believes no impostor."""

import asyncio
import contextlib
import os
import sys
import time

import pytest
from aiohttp import web
from command_line import Person
from free_ports import free_port
from processes import START_DEADLINE, plain_environment, run_program, running_server

MANY = "60"  # seconds; every wait that is to succeed is over long before


@pytest.fixture
def environ(tmp_path):
    (tmp_path / "runtime").mkdir(mode=0o700)
    listen = f"127.0.0.1:{free_port()}"
    return plain_environment(tmp_path, XDG_RUNTIME_DIR=str(tmp_path / "runtime"), PPMPROXY_LISTEN=listen)


def command(*arguments):
    return [sys.executable, "-m", "ppmproxy", *arguments]


async def test_it_returns_once_the_daemon_is_there(tmp_path, environ):
    waiting = asyncio.create_task(run_program(command("wait", "--timeout", MANY), environ, tmp_path, deadline=90))
    async with running_server(command("run"), environ, tmp_path) as server:
        await asyncio.wait_for(server.line_with("daemon_listening"), START_DEADLINE)
        end = await waiting

    assert (end.code, end.output) == (0, "")


async def test_it_gives_up_in_time_and_says_what_to_do(tmp_path, environ):
    end = await run_program(command("wait", "--timeout", "0.2"), environ, tmp_path)

    assert end.code == 1
    assert "nobody listens there" in end.output
    assert "ppmproxy run" in end.output


@contextlib.asynccontextmanager
async def impostor(text):
    """A program that answers 200 to everything, where it listens, and the paths that it was asked for."""
    asked = []

    async def yes(request):
        asked.append(request.path)
        return web.Response(text=text)

    runner = web.ServerRunner(web.Server(yes, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"127.0.0.1:{runner.addresses[0][1]}", asked
    await runner.cleanup()


@pytest.mark.parametrize(
    ("text", "verdict"),
    [("\x1b[31mready", "another program"), ("0123456789abcdef" * 4, "a ppmproxy without a proof that it is yours")],
)
async def test_an_impostor_who_is_always_ready_is_not_believed_and_is_named(tmp_path, environ, text, verdict):
    async with impostor(text) as (listen, asked):
        end = await run_program(command("wait", "--timeout", "0"), {**environ, "PPMPROXY_LISTEN": listen}, tmp_path)

    assert end.code == 1
    assert f"not ready: {verdict}; the port is held by process {os.getpid()} (" in end.output
    assert "\x1b" not in end.output
    assert set(asked) == {"/-/proof"}


async def test_with_unproven_a_daemon_of_another_container_is_believed_and_another_program_is_not(tmp_path, environ):
    waiting = command("wait", "--unproven", "--timeout", "0")
    async with impostor("ready") as (listen, _):
        other = await run_program(waiting, {**environ, "PPMPROXY_LISTEN": listen}, tmp_path)
    elsewhere = {**environ, "XDG_RUNTIME_DIR": "", "HOME": str(tmp_path / "runtime")}
    async with running_server(command("run"), environ, tmp_path) as server:
        await asyncio.wait_for(server.line_with("daemon_listening"), START_DEADLINE)
        proven = await run_program(command("wait", "--timeout", "0"), elsewhere, tmp_path)
        unproven = await run_program(waiting, elsewhere, tmp_path)

    assert (other.code, proven.code) == (1, 1)
    assert (unproven.code, unproven.output) == (0, "")


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
        await asyncio.wait_for(server.line_with("daemon_listening"), START_DEADLINE)
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
