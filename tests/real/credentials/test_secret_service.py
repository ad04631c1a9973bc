"""Claims about the system's keyring, as a real Secret Service: unlocked, locked, absent, and one that never answers."""

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass

import aiohttp
import pytest
from client_environments import shows_token
from downloads import MAY_DOWNLOAD
from proxy_client import UV
from secret_service import (
    LOCK,
    blocking_keyring,
    install_as_it_is,
    locked_keyring,
    proxy_in,
    session,
    session_bus,
    unlocked_keyring,
)

from ppmproxy.testing.package_manager import FakePackageManager, jwt, wheel

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

PAGE = "/pypi/latest/simple/hello/"
LIMIT = 20.0  # seconds, as configured for a keyring that gives no token; to say that it is locked it takes one
AMPLE = 90.0  # seconds, for one that does
SLACK = 45.0  # seconds more, for a machine that is busy
NEVER = 300.0  # seconds; a request that waits for the keyring itself gets no answer


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed")
    install_as_it_is(folder)
    return folder


STILL_BLOCKED = "does not answer: unlock it"  # where it is asked again


@dataclass(frozen=True)
class Heard:
    """What one request came to."""

    status: int
    detail: str
    seconds: float


@dataclass
class KeyringSetup:
    """A session, a Package Manager that demands a token, and which sources the daemon is to ask."""

    session: object
    package_manager: FakePackageManager
    token: str
    ca_file: str
    other: str = ""  # a file with another token
    limit: float = AMPLE

    @contextlib.asynccontextmanager
    async def daemon(self, **environ):
        specs = [f'{{ from = "keyring", timeout = "{self.limit:g}s" }}']
        if self.other:
            specs.append(f"{{ from = \"file\", path = '{self.other}' }}")
        settings = {"PPMPROXY_UPSTREAM": self.package_manager.url, "PPMPROXY_CA_FILE": self.ca_file}
        settings["PPMPROXY_CREDENTIALS"] = f"[{', '.join(specs)}]"
        async with proxy_in(self.session, settings | environ) as running:
            yield running
        assert not shows_token(self.token, running.log)

    def with_another_token(self, folder):
        path = folder / "token"
        path.touch(0o600)
        path.write_text(self.package_manager.token)
        self.other = str(path)


@pytest.fixture
async def setup(tmp_path, authority, installed):
    async with (
        FakePackageManager(authority=authority, base_path="/rspm") as package_manager,
        session(tmp_path, installed) as at,
    ):
        package_manager.add(wheel("hello"))
        token = package_manager.accept_token(jwt({"sub": "kept-in-the-keyring", "exp": 4_000_000_000}))
        yield KeyringSetup(at, package_manager, token, str(package_manager.write_ca(tmp_path / "ca.pem")))


async def get(running):
    started = time.monotonic()
    timeout = aiohttp.ClientTimeout(total=NEVER)
    async with (
        aiohttp.ClientSession(timeout=timeout) as client,
        client.get(running.url + PAGE, headers={"User-Agent": UV}) as reply,
    ):
        body = await reply.text()
        detail = json.loads(body)["detail"] if reply.status >= 400 else ""
        return Heard(reply.status, detail, time.monotonic() - started)


def broken(running):
    """What the log says of the keyring."""
    events = (json.loads(line) for line in running.log.splitlines() if line.startswith("{"))
    return [event["why"] for event in events if event.get("source") == "keyring" and "why" in event]


async def test_an_entry_of_an_unlocked_keyring_is_used(setup):
    async with unlocked_keyring(setup.session, setup.package_manager.url, setup.token), setup.daemon() as running:
        heard = await get(running)

    offered = {seen.authorization for seen in setup.package_manager.requests if seen.authorization}
    assert heard.status == 200
    assert f"Bearer {setup.token}" in offered
    assert broken(running) == []


async def test_the_standard_chain_asks_the_keyring_too(setup):
    async with (
        unlocked_keyring(setup.session, setup.package_manager.url, setup.token),
        setup.daemon(PPMPROXY_CREDENTIALS="[]") as running,
    ):
        for _ in range(30):  # its own limit for the keyring, 5 s, is short for a machine that is busy
            if (heard := await get(running)).status == 200:
                break
            await asyncio.sleep(1)

    assert heard.status == 200, heard.detail


async def test_a_keyring_that_is_locked_while_the_daemon_runs_does_not_end_the_work(setup):
    async with unlocked_keyring(setup.session, setup.package_manager.url, setup.token), setup.daemon() as running:
        before = await get(running)
        await setup.session.run(LOCK)
        after = await get(running)

    assert (before.status, after.status) == (200, 200)


KEYRINGS = pytest.mark.parametrize(
    ("keyring", "why"),
    [
        (locked_keyring, "is locked: unlock it"),
        (blocking_keyring, f"did not answer within {LIMIT:g} s: unlock it"),
    ],
    ids=["locked", "blocking"],
)


@KEYRINGS
async def test_a_locked_keyring_is_reported_and_no_request_waits_longer_than_the_limit(setup, keyring, why):
    setup.limit = LIMIT
    async with keyring(setup.session, setup.package_manager.url, setup.token), setup.daemon() as running:
        alone = await get(running)
        together = await asyncio.gather(*(get(running) for _ in range(5)))

    assert {heard.status for heard in (alone, *together)} == {407}
    assert f"keyring gives no token: {why}" in alone.detail
    assert max(heard.seconds for heard in (alone, *together)) < LIMIT + SLACK
    assert broken(running)[0] == why
    assert broken(running)[1:] in ([], [STILL_BLOCKED])  # each once


@KEYRINGS
async def test_a_locked_keyring_is_reported_and_the_next_source_asked(setup, keyring, why, tmp_path):
    setup.limit = LIMIT
    setup.with_another_token(tmp_path)

    async with keyring(setup.session, setup.package_manager.url, setup.token), setup.daemon() as running:
        every = [await get(running) for _ in range(3)]

    assert [heard.status for heard in every] == [200] * 3
    assert max(heard.seconds for heard in every) < LIMIT + SLACK
    assert broken(running)[:1] == [why]


async def test_a_keyring_that_starts_after_the_daemon_is_found(setup, tmp_path):
    address = f"unix:path={tmp_path / 'bus'}"
    async with setup.daemon(DBUS_SESSION_BUS_ADDRESS=address) as running:
        before = await get(running)
        async with (
            session_bus(setup.session.environ, setup.session.folder, f"--address={address}"),
            unlocked_keyring(setup.session.at(address), setup.package_manager.url, setup.token),
        ):
            for _ in range(60):
                if (after := await get(running)).status == 200:
                    break
                await asyncio.sleep(0.5)

    assert before.status == 407
    assert after.status == 200, after.detail


@pytest.mark.parametrize("address", ["", "unix:path=/nonexistent/bus"], ids=["no bus", "a bus that is not there"])
async def test_without_a_secret_service_the_next_source_is_asked(setup, address, tmp_path):
    async with setup.daemon(DBUS_SESSION_BUS_ADDRESS=address) as running:
        alone = await get(running)
    setup.with_another_token(tmp_path)
    async with setup.daemon(DBUS_SESSION_BUS_ADDRESS=address) as running:
        every = [await get(running) for _ in range(2)]

    assert "keyring gives no token: no keyring is running" in alone.detail
    assert [heard.status for heard in every] == [200] * 2
    assert max(heard.seconds for heard in (alone, *every)) < LIMIT + SLACK
