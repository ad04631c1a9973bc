"""Claims about a Package Manager that restarts in the middle of an install: real pip and uv do not notice."""

import asyncio
import contextlib

import pytest
from client_environments import Client, client_environment
from downloads import MAY_DOWNLOAD
from free_ports import reserved_port
from processes import ppmproxy_run

from ppmproxy.testing.package_manager import CloseBeforeHead, FakePackageManager, Status, wheel

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

DOWN_FOR = 7.0  # seconds
LONGEST = 9.0  # seconds; an outage that this machine made longer is another one, and is tried anew
TRIES = 5


@contextlib.asynccontextmanager
async def served(folder):
    """A Package Manager on a port that can be taken again, and the index of a proxy in front of it."""
    async with contextlib.AsyncExitStack() as stack:
        port = stack.enter_context(reserved_port())
        server = await stack.enter_async_context(FakePackageManager(port=port))
        server.add(wheel("hello"))
        settings = {"PPMPROXY_UPSTREAM": server.url, "PPMPROXY_TOKEN": server.token}
        settings["PPMPROXY_CA_FILE"] = str(server.write_ca(folder / "ca.pem"))
        proxy = await stack.enter_async_context(ppmproxy_run(folder, **settings))
        yield server, proxy.index_url


async def installed_meanwhile(client, folder):
    """The end of an install that begins as the Package Manager goes down, and the seconds until that was back."""
    clock = asyncio.get_running_loop().time
    async with served(folder) as (server, index_url):
        person = client_environment(client, folder, index_url)
        await server.close()

        async def restart():
            began = clock()
            await asyncio.sleep(DOWN_FOR)
            await server.start()
            return clock() - began

        return await asyncio.gather(person.install("hello"), restart())


@pytest.mark.parametrize("client", [Client.PIP, Client.UV])
async def test_a_restart_of_seven_seconds_is_not_seen(client, tmp_path):
    for attempt in range(TRIES):
        (tmp_path / str(attempt)).mkdir()
        end, was_down_for = await installed_meanwhile(client, tmp_path / str(attempt))
        if end.code == 0 or was_down_for <= LONGEST:
            break

    assert end.code == 0, end.output
    assert "retry" not in end.output.lower()


@pytest.mark.parametrize("client", [Client.PIP, Client.UV])
@pytest.mark.parametrize(
    ("fault", "times"),
    [(Status(500), 1), (Status(503, headers=(("Retry-After", "1"),)), 3), (CloseBeforeHead(reset=True), 2)],
    ids=["500", "503", "reset"],
)
async def test_a_fault_that_passes_is_not_seen(client, fault, times, tmp_path):
    async with served(tmp_path) as (server, index_url):
        person = client_environment(client, tmp_path, index_url)
        for where in ("*/simple/hello/", "*.whl"):
            server.add_fault(where, fault, times=times)

        end = await person.install("hello")

    assert end.code == 0, end.output
    assert "retry" not in end.output.lower()
