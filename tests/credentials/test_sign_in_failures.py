"""Claims about sign-ins that fail: outages, malformed grants, servers without sign-in."""

import asyncio

import pytest
from device_flow_scene import identity

from ppmproxy.credentials.device_flow import (
    exchange_token,
    github_identity_token,
    is_sign_in_offered,
    start_device_flow,
    wait_for_token,
)
from ppmproxy.errors import (
    IdentityUnavailableError,
    SignInNotOfferedError,
    UpstreamUnexpectedError,
    UpstreamUnreachableError,
    UpstreamUntrustedError,
)
from ppmproxy.testing.package_manager import (
    CloseBeforeHead,
    LoginPage,
    RedirectTo,
    Status,
)

# Python 3.10 warns of TLS connections that the peer has cut.
without_tls = pytest.mark.parametrize("scene", [{"tls": False}], indirect=True, ids=[""])


@without_tls
async def test_a_lasting_outage_of_the_server_is_the_error_at_the_end(scene):
    scene.server.add_fault("*/device_access", CloseBeforeHead())
    scene.server.device_lifetime = 12

    with pytest.raises(UpstreamUnreachableError, match="closed the connection"):
        await scene.finish(await scene.start())

    assert scene.time.slept == [5, 5, 2]


async def test_an_untrusted_certificate_ends_a_sign_in_at_once(scene):
    stranger = scene.new_client(ca_file=None)

    with pytest.raises(UpstreamUntrustedError):
        await start_device_flow(stranger, scene.url, *scene.rest)
    with pytest.raises(UpstreamUntrustedError):
        await wait_for_token(stranger, await scene.start(), *scene.rest)

    assert scene.time.slept == []


async def test_a_sign_in_can_be_cancelled_at_any_time(scene):
    scene.server.holds_device_access = True
    waiting = asyncio.create_task(scene.finish(await scene.start()))
    while not scene.server.sign_in.flows[0].polls:
        await asyncio.sleep(0)

    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.parametrize(
    "body",
    [
        b'{"interval": 1' + b"0" * 400 + b', "expires_in": 1' + b"0" * 400 + b"%s}",
        b'{"interval": NaN, "expires_in": -Infinity%s}',
        b'{"interval": 1e999, "expires_in": "300"%s}',
        b'{"interval": 1' + b"0" * 5000 + b"%s}",
        b'{"interval": ' + b"[" * 50_000 + b"%s",
        b'{"interval": 5, "device_code": "\\ud800"}',
        b"\xff%s",
    ],
    ids=["10^400", "NaN", "inf", "5000 digits", "deep", "surrogate", "binary"],
)
async def test_a_malformed_grant_is_used_with_defaults_or_is_an_error_of_our_own(scene, body):
    rest = b', "device_code": "d", "user_code": "C", "verification_uri": "https://pm.example.com/device"'
    scene.server.add_fault("*/__api__/device", Status(200, body=body.replace(b"%s", rest)))

    try:
        grant = await scene.start()
    except UpstreamUnexpectedError as error:
        assert "started a sign-in without" in str(error)  # noqa: PT017
    else:
        assert (grant.interval, grant.expires_at - scene.time.now()) == (5, pytest.approx(300))


# Servers without sign-in
@pytest.mark.parametrize("how", ["sso", "offers_device", "html"])
async def test_a_server_without_sign_in_is_an_error_of_its_own(scene, how):
    if how == "html":
        scene.server.add_fault("*/__api__/device", LoginPage())
    else:
        setattr(scene.server, how, False)

    with pytest.raises(SignInNotOfferedError, match="offers no sign-in through the browser") as caught:
        await scene.start()

    assert caught.value.code == "token-missing"
    assert "PPMPROXY_TOKEN" in caught.value.hint


async def test_the_status_endpoint_says_whether_sign_in_is_offered(scene):
    assert await is_sign_in_offered(scene.client, scene.url) is True

    scene.server.sso = False

    assert await is_sign_in_offered(scene.client, scene.url) is False


@without_tls
@pytest.mark.parametrize("fault", [Status(404), Status(403), LoginPage(), CloseBeforeHead()], ids=str)
async def test_without_a_clear_status_sign_in_counts_as_offered(scene, fault):
    scene.server.add_fault("*/__api__/status", fault)

    assert await is_sign_in_offered(scene.client, scene.url) is True


async def test_a_sign_in_that_the_server_refuses_to_start_says_why(scene):
    scene.server.add_fault("*/__api__/device", Status(503))

    with pytest.raises(UpstreamUnreachableError, match="it answered 503"):
        await scene.start()


async def test_the_error_for_an_untrusted_token_server_names_it(scene):
    environ = {"ACTIONS_ID_TOKEN_REQUEST_URL": scene.url, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "request-token"}

    with pytest.raises(IdentityUnavailableError, match="is not trusted"):
        await github_identity_token(environ, "ppm", [].append)


async def test_a_redirected_sign_in_is_not_followed(scene):
    scene.server.add_fault("*/__api__/token", RedirectTo(f"{scene.url}/elsewhere"))

    with pytest.raises(Exception, match="redirects a POST"):
        await exchange_token(scene.client, scene.url, identity(), scene.found.append)

    assert scene.server.requests_for("*/elsewhere") == []
