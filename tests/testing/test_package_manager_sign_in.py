"""Claims about sign-in at the fake Package Manager: device flow, token exchange, the vendor's own client."""

import asyncio
import secrets
import time

import aiohttp
import pytest
from vendor_client import VendorClient, approve_next_sign_in, posit_keyring

from ppmproxy.testing.package_manager import FakePackageManager, IdentityProviderTrust, claims_of, jwt
from ppmproxy.testing.package_manager.tokens import challenge

EXCHANGE = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
}


@pytest.fixture
async def package_manager():
    async with FakePackageManager(base_path="/rspm", device_interval=0) as server:
        yield server


@pytest.fixture
async def session(package_manager):
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=package_manager.client_context())) as session:
        yield session


class Device:
    """A client of the device flow."""

    def __init__(self, session, package_manager):
        self.session = session
        self.package_manager = package_manager
        self.verifier = secrets.token_urlsafe(32)
        self.grant = {}

    async def post(self, call, **form):
        async with self.session.post(f"{self.package_manager.url}/__api__/{call}", data=form) as response:
            return response.status, await response.json()

    async def start(self):
        form = {"code_challenge_method": "S256", "code_challenge": challenge(self.verifier)}
        status, self.grant = await self.post("device", **form)
        assert status == 200
        return self.grant

    async def poll(self, **changes):
        form = {"device_code": self.grant["device_code"], "code_verifier": self.verifier} | changes
        status, document = await self.post("device_access", **form)
        return document.get("error") or document["id_token"] if status in (200, 400) else status

    async def exchange(self, token, **changes):
        return await self.post("token", subject_token=token, **(EXCHANGE | changes))


@pytest.fixture
def device(session, package_manager):
    return Device(session, package_manager)


# Device flow


async def test_a_whole_sign_in_ends_with_a_token_that_opens_the_index(package_manager, session, device):
    grant = await device.start()
    assert await device.poll() == "authorization_pending"
    package_manager.approve(grant["user_code"], subject="kim@example.com")

    status, document = await device.exchange(await device.poll())

    assert (status, document.keys()) == (200, {"access_token"})
    claims = claims_of(document["access_token"])
    assert claims["sub"] == "kim@example.com"
    assert claims["exp"] - claims["iat"] == 3600
    headers = {"Authorization": f"Bearer {document['access_token']}"}
    async with session.get(package_manager.index_url(), headers=headers) as response:
        assert response.status == 200


async def test_the_grant_has_what_the_facts_say(package_manager, device):
    package_manager.device_interval, package_manager.device_lifetime = 5.0, 300.0

    grant = await device.start()

    assert (grant["interval"], grant["expires_in"]) == (5, 300)
    assert isinstance(grant["interval"], int)
    assert grant["verification_uri_complete"] == f"{grant['verification_uri']}?user_code={grant['user_code']}"
    assert grant["verification_uri"].startswith(package_manager.url)


@pytest.mark.parametrize("change", [{"code_verifier": "x" * 43}, {"code_verifier": ""}, {"device_code": "x"}])
async def test_only_who_started_can_finish(package_manager, device, change):
    await device.start()
    package_manager.approve()

    assert await device.poll(**change) == "invalid_grant"


async def test_the_user_may_refuse(package_manager, device):
    await device.start()
    package_manager.deny()

    assert await device.poll() == "access_denied"


async def test_a_sign_in_ends_when_its_time_is_over(package_manager, device):
    await device.start()
    package_manager.clock_offset = 301

    assert await device.poll() == "expired_token"
    assert package_manager.pending_sign_ins == []


async def test_an_identity_token_is_handed_out_once(package_manager, device):
    await device.start()
    package_manager.approve()
    await device.poll()

    assert await device.poll() == "expired_token"


async def test_who_asks_too_often_is_told_to_slow_down(package_manager, device):
    package_manager.device_interval = 5

    await device.start()

    assert await device.poll() == "authorization_pending"
    assert await device.poll() == "slow_down"
    package_manager.clock_offset += 6
    assert await device.poll() == "slow_down"  # the interval is ten seconds by now
    package_manager.clock_offset += 16
    assert await device.poll() == "authorization_pending"


async def test_the_answer_may_wait_for_the_user(package_manager, device):
    package_manager.holds_device_access = True
    await device.start()
    polling = asyncio.ensure_future(device.poll())
    await asyncio.sleep(0.1)
    assert not polling.done()

    package_manager.approve()

    assert claims_of(await asyncio.wait_for(polling, 5))["sub"] == "someone@example.com"


async def test_a_held_answer_ends_with_the_sign_ins_time(package_manager, device):
    package_manager.holds_device_access, package_manager.device_lifetime = True, 0.1
    await device.start()

    assert await asyncio.wait_for(device.poll(), 5) == "expired_token"


@pytest.mark.parametrize("knob", ["sso", "offers_device"])
async def test_a_server_may_not_offer_it(package_manager, session, knob):
    setattr(package_manager, knob, False)

    async with session.post(f"{package_manager.url}/__api__/device", data={}) as response:
        assert response.status == 404


async def test_a_person_can_approve_on_the_page(package_manager, session, device):
    grant = await device.start()

    async with session.get(grant["verification_uri_complete"]) as response:
        assert grant["user_code"] in await response.text()
    async with session.post(grant["verification_uri"], data={"user_code": "nonsense"}) as response:
        assert response.status == 404
    async with session.post(grant["verification_uri"], data={"user_code": grant["user_code"].lower()}) as response:
        assert response.status == 200

    assert claims_of(await device.poll())["email"] == "someone@example.com"


# Identity federation


def identity(**claims):
    return jwt({"aud": "ppm", "sub": "repo:acme/app", "exp": time.time() + 3600} | claims)


@pytest.mark.parametrize(
    ("token", "error"),
    [
        (identity(), None),
        (identity(aud=["other", "ppm"]), None),
        (identity(aud="other"), "invalid_target"),
        (identity(sub="repo:evil/app"), "invalid_grant"),
        (identity(exp=1), "invalid_grant"),
        (identity(exp=None), "invalid_grant"),
        (identity(aud="packagemanager-sign-in"), "invalid_grant"),
        ("opaque", "invalid_grant"),
        ("", "invalid_grant"),
    ],
)
async def test_a_foreign_identity_token_is_exchanged_when_it_is_trusted(package_manager, device, token, error):
    package_manager.trusts = (IdentityProviderTrust("ppm", "repo:acme/app"),)

    status, document = await device.exchange(token)

    assert status == (400 if error else 200)
    assert document.get("error") == error
    assert ("error_description" in document) is (error is not None)


async def test_the_lifetime_and_scopes_of_new_tokens_can_be_set(package_manager, device):
    package_manager.trusts, package_manager.access_token_lifetime, package_manager.scopes = (
        (IdentityProviderTrust(None),),
        60,
        ("repos:read:pypi",),
    )

    claims = claims_of((await device.exchange(identity()))[1]["access_token"])

    assert claims["exp"] - claims["iat"] == 60
    assert claims["scopes"] == ["repos:read:pypi"]


# The vendor's client


@pytest.fixture
def vendor(package_manager, tmp_path):
    return VendorClient(posit_keyring(), package_manager, tmp_path)


@pytest.mark.real
@pytest.mark.parametrize("holds", [False, True], ids=["polling", "held open"])
async def test_the_vendors_client_signs_in(package_manager, vendor, holds):
    package_manager.holds_device_access, package_manager.device_interval = holds, 1

    code, (token, prompt) = await asyncio.wait_for(
        asyncio.gather(approve_next_sign_in(package_manager), vendor.token()), 60
    )

    assert code in prompt
    assert package_manager.tokens.permissions(token) is not None
    assert vendor.connections() == [{"address": package_manager.url, "token": token, "auth_type": "sso"}]


@pytest.mark.real
async def test_the_vendors_client_keeps_a_good_token_and_replaces_a_revoked_one(package_manager, vendor):
    _, (first, _) = await asyncio.gather(approve_next_sign_in(package_manager), vendor.token())
    again, _ = await vendor.token()
    package_manager.revoke(first)

    _, (second, _) = await asyncio.gather(approve_next_sign_in(package_manager), vendor.token())

    assert again == first != second
    assert [entry["token"] for entry in vendor.connections()] == [second]


@pytest.mark.real
async def test_the_vendors_client_hears_that_the_user_refused(package_manager, vendor):
    async def refuse():
        await package_manager.next_sign_in()
        package_manager.deny()

    _, (token, words) = await asyncio.gather(refuse(), vendor.token())

    assert token == ""
    assert "Access denied" in words


@pytest.mark.real
async def test_the_vendors_client_brings_an_identity_token(package_manager, vendor, tmp_path):
    package_manager.trusts = (IdentityProviderTrust("ppm"),)
    (tmp_path / "identity").write_text(identity())

    token, _ = await vendor.token(PACKAGEMANAGER_IDENTITY_TOKEN_FILE=str(tmp_path / "identity"))

    assert claims_of(token)["sub"] == "repo:acme/app"
    assert package_manager.sign_in.flows == []
