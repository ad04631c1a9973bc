"""Claims about a token that expires in the middle of a long install by real pip and uv."""

import contextlib
import json

import pytest
from client_environments import Client, client_environment, shows_token
from downloads import MAY_DOWNLOAD
from processes import ppmproxy_run

from ppmproxy.testing.package_manager import Accepts, FakePackageManager, IdentityProviderTrust, jwt, wheel

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

AUDIENCE = "packagemanager"
PACKAGES = 67
LIFETIME = 3600.0  # seconds; of each token
EXPIRES_AT = (60, 130)  # requests answered so far; of the two hundred that an install of so many packages takes
PATIENCE = 600.0


def names():
    return [f"part-{number:02}" for number in range(PACKAGES)]


def packages():
    """Packages that depend on one another, three on each: a client learns of the last ones by reading the others."""
    every = names()
    for number, name in enumerate(every):
        yield wheel(name, requires=tuple(every[3 * number + 1 : 3 * number + 4]), payload=bytes(20_000))


class Hourglass:
    """Lets a fake Package Manager's tokens expire, all at once, when it has answered so many requests for packages."""

    def __init__(self, package_manager, at):
        self.package_manager = package_manager
        self.left = list(at)
        self.asked = 0

    def __call__(self, seen):
        """Never misbehaves; it only looks on."""
        if "/pypi/" in seen.path and seen.authorization:
            self.asked += 1
            if self.left and self.asked >= self.left[0]:
                self.left.pop(0)
                self.package_manager.clock_offset += LIFETIME + 1
        return False


@contextlib.asynccontextmanager
async def running_out(folder, at):
    """A Package Manager whose tokens expire at so many requests, and `ppmproxy run` with an identity token for it."""
    identity = folder / "identity-token"
    identity.write_text(jwt({"aud": AUDIENCE, "sub": "job-1", "exp": 4_000_000_000}))
    identity.chmod(0o600)
    async with FakePackageManager(
        base_path="/rspm", trusts=(IdentityProviderTrust(AUDIENCE),), accepts=Accepts.BASIC
    ) as package_manager:
        package_manager.access_token_lifetime = LIFETIME
        for package in packages():
            package_manager.add(package)
        package_manager.add_fault(Hourglass(package_manager, at), None)
        settings = {
            "PPMPROXY_UPSTREAM": package_manager.url,
            "PPMPROXY_CA_FILE": str(package_manager.write_ca(folder / "ca.pem")),
        }
        settings["PACKAGEMANAGER_IDENTITY_TOKEN_FILE"] = str(identity)
        async with ppmproxy_run(folder, **settings) as running:
            yield package_manager, running


def answers(log):
    """The log's line on each request."""
    events = (json.loads(line) for line in log.splitlines() if line.startswith("{"))
    return [event for event in events if event["event"] == "request"]


@pytest.mark.parametrize("client", [Client.UV, Client.PIP], ids=lambda client: client.value)
async def test_a_token_that_expires_twice_is_renewed_twice_and_nobody_notices(client, tmp_path):
    async with running_out(tmp_path, EXPIRES_AT) as (package_manager, running):
        person = client_environment(client, tmp_path, running.index_url)

        end = await person.install(names()[0], deadline=PATIENCE)

    first, *renewals = package_manager.requests_for("*/__api__/token")
    issued = {seen.authorization.partition(" ")[2] for seen in package_manager.requests if seen.authorization}
    refused = [seen for seen in package_manager.requests if seen.status == 401]
    told = answers(running.log)
    assert end.code == 0, end.output
    assert len(list(person.site_packages.glob("part_*.dist-info"))) == PACKAGES
    assert first.status == 200
    assert [seen.status for seen in renewals] == [200, 200]
    assert len(refused) >= len(EXPIRES_AT)  # it did expire in the middle, under requests that were on their way
    assert len(told) >= 2 * PACKAGES
    assert [event for event in told if event["status"] >= 400 or "code" in event] == []
    assert not any(shows_token(token, end.output, running.log) for token in issued)
