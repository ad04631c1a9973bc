"""Claims about a process with few file descriptors: idle clients do not keep others from being served."""

import asyncio
import json
import resource
import shutil
import sys

import aiohttp
import pytest
from downloads import skip_or_fail
from processes import ppmproxy_run

from ppmproxy.access.descriptors import DescriptorShares
from ppmproxy.testing.package_manager import Delay, wheel

PAGE = "/pypi/latest/simple/hello/"
LIMIT = 64
IDLE = 300
REQUESTS = 200


@pytest.mark.parametrize("limit", [10, 64, 256, 1024, 4096, 1 << 20])
def test_clients_refused_ones_and_the_upstream_share_what_there_is(limit):
    shares = DescriptorShares.of(limit)

    assert min(shares.clients, shares.refused, shares.upstream, shares.accepted_at_once) >= 1
    assert limit < LIMIT or shares.clients + shares.refused + shares.upstream + 20 <= limit


@pytest.fixture
def limited():
    """What a program is started through so that it has few descriptors: `limited(limit)`."""
    if sys.platform != "linux" or shutil.which("prlimit") is None:
        skip_or_fail("the descriptors of a process cannot be limited", "run this on Linux, with util-linux")
    return lambda limit: ("prlimit", f"--nofile={limit}:{limit}")


@pytest.fixture
def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 2 * IDLE), hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_hundreds_of_idle_connections_make_no_request_fail(package_manager, tmp_path, limited, many_files):
    server = await package_manager(tls=False)
    server.add(wheel("hello"))
    settings = {"PPMPROXY_UPSTREAM": server.url, "PPMPROXY_TOKEN": server.token}
    async with ppmproxy_run(tmp_path, command=limited(LIMIT), **settings) as running:
        host, _, port = running.url.removeprefix("http://").rpartition(":")
        idle = [await asyncio.open_connection(host, int(port)) for _ in range(IDLE)]
        statuses = []
        for _ in range(REQUESTS):  # each over a connection of its own
            async with aiohttp.ClientSession() as session, session.get(running.url + PAGE) as response:
                statuses.append(response.status)
        for _, writer in idle:
            writer.close()

    assert statuses == [200] * REQUESTS
    events = {json.loads(line)["event"] for line in running.log.splitlines() if line.startswith("{")}
    assert "accept_failed" not in events


@pytest.mark.parametrize(("limit", "requests"), [(64, 30), (64, 60), (128, 60)])
async def test_requests_over_connections_that_arrive_together_are_all_answered(
    package_manager, tmp_path, limited, limit, requests
):
    server = await package_manager(tls=False)
    server.add(wheel("hello"))
    server.add_fault("*/simple/*", Delay(0.2))
    settings = {"PPMPROXY_UPSTREAM": server.url, "PPMPROXY_TOKEN": server.token}
    async with ppmproxy_run(tmp_path, command=limited(limit), **settings) as running:

        async def status():
            async with aiohttp.ClientSession() as session, session.get(running.url + PAGE) as response:
                return response.status

        statuses = await asyncio.gather(*(status() for _ in range(requests)))

    assert statuses == [200] * requests
