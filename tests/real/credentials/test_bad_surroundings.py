"""Claims about a real daemon where the clock is wrong, or a command that is to print the token hangs."""

import asyncio
import contextlib
import json
import time
from pathlib import Path

import aiohttp
import pytest
from downloads import MAY_DOWNLOAD
from processes import ppmproxy_run
from proxy_client import DEADLINE, UV, wait_until

from ppmproxy.testing.package_manager import FakePackageManager, IdentityProviderTrust, jwt, wheel

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

AUDIENCE = "packagemanager"
TEN_MINUTES = 600.0  # seconds
SHORTER = 300.0  # so that a token has expired before it arrives, by a clock that is fast
PAGE = "/pypi/latest/simple/hello/"
LIMIT, SLACK = 10.0, 60.0  # seconds for a command, and for the rest on a machine that is busy; the command takes 600


@pytest.fixture
async def manager(authority):
    async with FakePackageManager(
        authority=authority, base_path="/rspm", trusts=(IdentityProviderTrust(AUDIENCE),)
    ) as server:
        server.add(wheel("hello"))
        yield server


@contextlib.asynccontextmanager
async def proxied(manager, folder, **environ):
    ca_file = str(manager.write_ca(folder / "ca.pem"))
    async with ppmproxy_run(folder, PPMPROXY_UPSTREAM=manager.url, PPMPROXY_CA_FILE=ca_file, **environ) as running:
        yield running


async def statuses(running, times):
    """What so many requests are answered, one after the other, and how long the slowest took."""
    got, slowest = [], 0.0
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as client:
        for _ in range(times):
            started = time.monotonic()
            async with client.get(running.url + PAGE, headers={"User-Agent": UV}) as reply:
                got.append(reply.status)
            slowest = max(slowest, time.monotonic() - started)
    return got, slowest


def private(path, text):
    path.touch(0o600)
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("wrong_by", [-TEN_MINUTES, TEN_MINUTES], ids=["ours is fast", "ours is slow"])
async def test_a_clock_ten_minutes_wrong_costs_no_renewal_and_no_request(manager, tmp_path, wrong_by):
    manager.clock_offset, manager.access_token_lifetime = wrong_by, SHORTER
    identity = private(tmp_path / "identity", jwt({"aud": AUDIENCE, "sub": "job", "exp": 4_000_000_000}))

    async with proxied(manager, tmp_path, PACKAGEMANAGER_IDENTITY_TOKEN_FILE=identity) as running:
        got, _ = await statuses(running, 10)

    assert got == [200] * 10
    assert [seen.status for seen in manager.requests_for("*/__api__/token")] == [200]
    assert {seen.status for seen in manager.requests_for("*/simple/hello/")} <= {200}


@pytest.mark.parametrize("wrong_by", [-TEN_MINUTES, TEN_MINUTES], ids=["ours is fast", "ours is slow"])
async def test_a_token_in_a_file_is_used_as_long_as_the_package_manager_takes_it(manager, tmp_path, wrong_by):
    manager.clock_offset = wrong_by
    token = private(tmp_path / "token", manager.issue_token(lifetime=SHORTER))

    async with proxied(manager, tmp_path, PPMPROXY_TOKEN_FILE=token) as running:
        got, _ = await statuses(running, 5)

    assert got == [200] * 5


async def test_a_clock_ten_minutes_wrong_does_not_end_a_sign_in(manager, tmp_path):
    """It takes the server's word for how long the code is good, not for when that ends."""
    manager.clock_offset, manager.device_lifetime, manager.device_interval = -TEN_MINUTES, SHORTER, 1.0
    manager.access_token_lifetime = SHORTER

    async with proxied(manager, tmp_path, PPMPROXY_SIGN_IN="always") as running:
        asking = asyncio.create_task(statuses(running, 4))
        flow = await asyncio.wait_for(manager.next_sign_in(), DEADLINE)
        manager.approve(flow.user_code)
        got, _ = await asking

    assert got == [200] * 4
    assert len(manager.sign_in.flows) == 1


async def test_a_command_that_hangs_is_ended_within_its_limit_and_the_next_source_is_asked(manager, tmp_path):
    marker = tmp_path / "started"
    program = private(tmp_path / "hangs.sh", f"sleep 600 &\necho $$ $! > {marker}\nwait\n")
    argv = json.dumps(["sh", program])
    other = private(tmp_path / "token", manager.token)
    specs = f'[{{ from = "command", argv = {argv}, timeout = "{LIMIT:g}s" }}, {{ from = "file", path = "{other}" }}]'

    async with proxied(manager, tmp_path, PPMPROXY_CREDENTIALS=specs) as running:
        first, slowest = await statuses(running, 1)
        rest, slowest_of_rest = await statuses(running, 3)

    assert first + rest == [200] * 4
    assert LIMIT <= slowest < LIMIT + SLACK
    assert slowest_of_rest < LIMIT + SLACK
    assert f"did not end within {LIMIT:g} s" in running.log
    program_and_child = [int(pid) for pid in marker.read_text().split()]
    assert len(program_and_child) == 2
    await wait_until(lambda: not any(map(is_running, program_and_child)))  # the child is nobody's to wait for


def is_running(pid):
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return status not in {"Z", "X"}
