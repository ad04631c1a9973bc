"""Claims about a Package Manager that restarts in the middle of an install: real pip and uv do not notice."""

import asyncio
import contextlib

import pytest
from client_environments import Client, client_environment
from downloads import MAY_DOWNLOAD
from processes import ppmproxy_run

from ppmproxy.testing.package_manager import CloseBeforeHead, FakePackageManager, Status, wheel

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

DOWN_FOR = 7.0  # seconds


@contextlib.asynccontextmanager
async def served(folder, port):
    """A Package Manager on a port that can be taken again, and the index of a proxy in front of it."""
    async with FakePackageManager(port=port) as server:
        server.add(wheel("hello"))
        settings = {"PPMPROXY_UPSTREAM": server.url, "PPMPROXY_TOKEN": server.token}
        async with ppmproxy_run(folder, **settings, PPMPROXY_CA_FILE=str(server.write_ca(folder / "ca.pem"))) as proxy:
            yield server, proxy.index_url


@pytest.mark.parametrize("client", [Client.PIP, Client.UV])
async def test_a_restart_of_seven_seconds_is_not_seen(client, tmp_path, unused_tcp_port):
    async with served(tmp_path, unused_tcp_port) as (server, index_url):
        person = client_environment(client, tmp_path, index_url)
        await server.close()

        async def restart():
            await asyncio.sleep(DOWN_FOR)
            await server.start()

        end, _ = await asyncio.gather(person.install("hello"), restart())

    assert end.code == 0, end.output
    assert "retry" not in end.output.lower()


@pytest.mark.parametrize("client", [Client.PIP, Client.UV])
@pytest.mark.parametrize(
    ("fault", "times"),
    [(Status(500), 1), (Status(503, headers=(("Retry-After", "1"),)), 3), (CloseBeforeHead(reset=True), 2)],
    ids=["500", "503", "reset"],
)
async def test_a_fault_that_passes_is_not_seen(client, fault, times, tmp_path, unused_tcp_port):
    async with served(tmp_path, unused_tcp_port) as (server, index_url):
        person = client_environment(client, tmp_path, index_url)
        for where in ("*/simple/hello/", "*.whl"):
            server.add_fault(where, fault, times=times)

        end = await person.install("hello")

    assert end.code == 0, end.output
    assert "retry" not in end.output.lower()
