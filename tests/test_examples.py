"""Claims about the examples in the commands' help: each works as pasted, by somebody with a Package Manager."""

import asyncio
import contextlib
import os
import shutil
import sys
from pathlib import Path

import pytest
from downloads import skip_or_fail
from processes import plain_environment, ppmproxy_run, run_program

from ppmproxy.cli.main import COMMANDS
from ppmproxy.testing.package_manager import wheel

pytestmark = pytest.mark.real

NAMED = "https://packagemanager.example.com"  # what the examples call everybody's own Package Manager
ASK_A_DAEMON = ("status", "wait", "doctor")


@pytest.fixture
async def server(package_manager):
    started = await package_manager(base_path="/rspm", device_interval=1)
    for project in ("six", "pip"):
        started.add(wheel(project))
    return started


@pytest.fixture
def person(server, ca_file, tmp_path, unused_tcp_port):
    """An environment in which `ppmproxy` and `pip` are installed, with settings and a token."""
    folder = Path(sys.executable).parent
    if not (folder / "ppmproxy").exists() or not (folder / "pip").exists():
        skip_or_fail("ppmproxy and pip are not installed beside this Python", "make .venv/.developed")
    (tmp_path / "runtime").mkdir(mode=0o700)
    return plain_environment(
        tmp_path,
        PATH=os.pathsep.join([str(folder), os.environ["PATH"]]),
        XDG_RUNTIME_DIR=str(tmp_path / "runtime"),
        PIP_TARGET=str(tmp_path / "installed"),
        PPMPROXY_UPSTREAM=server.url,
        PPMPROXY_CA_FILE=str(ca_file),
        PPMPROXY_TOKEN=server.token,
        PPMPROXY_LISTEN=f"127.0.0.1:{unused_tcp_port}",
    )


@contextlib.asynccontextmanager
async def daemon_for(command, person, folder):
    """`ppmproxy run`, for the commands that ask it."""
    if command.name not in ASK_A_DAEMON:
        yield
        return
    wanted = ("PPMPROXY_", "XDG_")
    async with ppmproxy_run(folder, **{name: value for name, value in person.items() if name.startswith(wanted)}):
        yield


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
async def test_an_example_works_as_pasted(command, server, person, tmp_path):
    shell = shutil.which("bash") or skip_or_fail("bash is not installed", "the examples are for it")
    line = command.example.replace(NAMED, server.url)
    if command.name == "exec":
        person["PIP_CONFIG_FILE"] = os.devnull  # nothing of this machine's own
    if command.name == "run":  # until it is told to stop
        line = f"{line} & ppmproxy wait && kill $! && wait $!"

    async with daemon_for(command, person, tmp_path):
        pasted = asyncio.create_task(run_program([shell, "--norc", "-c", line], person, tmp_path))
        if command.name == "login":
            server.approve((await server.next_sign_in()).user_code)
        end = await pasted

    assert (end.code, "Traceback" in end.output) == (0, False), end.output
    if command.name == "exec":
        assert (tmp_path / "installed" / "six").exists()
