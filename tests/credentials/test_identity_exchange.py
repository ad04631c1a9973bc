"""Claims about identity tokens: their exchange, and those of GitHub Actions."""

import asyncio
import gzip
import json
import tracemalloc

import pytest
from aiohttp import web
from device_flow_scene import SOON, identity
from proxy_client import leaked_forms

from ppmproxy.auth.secret import Secret
from ppmproxy.credentials.device_flow import (
    exchange_token,
    github_identity_token,
)
from ppmproxy.errors import (
    IdentityRefusedError,
    IdentityUnavailableError,
    SignInNotOfferedError,
)
from ppmproxy.testing.package_manager import (
    IdentityProviderTrust,
    Status,
    claims_of,
)

# Exchange of identity tokens


async def test_an_identity_token_is_exchanged_for_a_token_of_the_package_manager(scene):
    scene.server.trusts = (IdentityProviderTrust("ppm"),)
    subject = identity()

    token = await exchange_token(scene.client, scene.url + "/", subject, scene.found.append)

    assert claims_of(token.reveal())["sub"] == "repo:acme/app"
    assert scene.found == [subject, token]


@pytest.mark.parametrize(
    ("claims", "audience"),
    [
        ({"aud": "other"}, "(audience other)"),
        ({"aud": ["other", "third"]}, "(audience other, third)"),
        ({"aud": None}, "(it names no audience)"),
    ],
)
async def test_the_error_for_a_refused_identity_token_has_audience_and_reason(scene, claims, audience):
    scene.server.trusts = (IdentityProviderTrust("ppm"),)
    subject = identity(**claims)

    with pytest.raises(IdentityRefusedError) as caught:
        await exchange_token(scene.client, scene.url, subject, scene.found.append)

    assert audience in str(caught.value)
    assert "invalid_target: audience" in str(caught.value)
    assert (caught.value.code, caught.value.status) == ("token-rejected", 407)
    assert leaked_forms(subject.reveal(), caught.value.detail) == []


async def test_a_server_without_exchange_is_an_error_of_its_own(scene):
    scene.server.add_fault("*/__api__/token", Status(404))

    with pytest.raises(SignInNotOfferedError, match="does not accept identity tokens"):
        await exchange_token(scene.client, scene.url, identity(), scene.found.append)


async def test_a_sign_in_may_fail_at_the_exchange(scene):
    scene.server.add_fault("*/__api__/token", Status(400, body=b'{"error": "invalid_grant"}'))
    grant = await scene.start()
    scene.server.approve()

    with pytest.raises(IdentityRefusedError, match=r"\(audience packagemanager-sign-in\): invalid_grant"):
        await scene.finish(grant)


# GitHub Actions


class GitHub:
    """The token server of GitHub Actions."""

    def __init__(self):
        self.requests = []
        self.answer = lambda: web.json_response({"value": identity(aud="https://ppm?a&b").reveal()})

    async def handle(self, request):
        self.requests.append((request.raw_path, request.headers.get("Authorization")))
        return self.answer()


@pytest.fixture
async def github():
    server = GitHub()
    runner = web.ServerRunner(web.Server(server.handle, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.address = f"http://127.0.0.1:{runner.addresses[0][1]}/token?api-version=2.0"
    server.environ = {
        "ACTIONS_ID_TOKEN_REQUEST_URL": server.address,
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "request-token",
    }
    yield server
    await runner.cleanup()


async def test_a_github_job_gets_an_identity_token_for_an_audience(github):
    found = []

    token = await github_identity_token(github.environ, "https://ppm?a&b", found.append)

    assert claims_of(token.reveal())["aud"] == "https://ppm?a&b"
    assert github.requests == [("/token?api-version=2.0&audience=https%3A%2F%2Fppm%3Fa%26b", "Bearer request-token")]
    assert found == [Secret("request-token"), token]


@pytest.mark.parametrize("missing", ["ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"])
async def test_the_error_without_the_permission_names_it(github, missing):
    del github.environ[missing]

    with pytest.raises(IdentityUnavailableError) as caught:
        await github_identity_token(github.environ, "ppm", [].append)

    assert "id-token: write" in caught.value.hint


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda: web.Response(status=403, text="no"), "answered 403 without a token"),
        (lambda: web.json_response({"value": ""}), "answered 200 without a token"),
        (lambda: web.json_response({"value": "two words"}), "answered 200 without a token"),
        (lambda: web.json_response(["value"]), "answered 200 without a token"),
        (lambda: web.Response(status=302, headers={"Location": "/elsewhere"}), "answered 302 without a token"),
    ],
)
async def test_a_response_without_a_valid_token_is_an_error(github, answer, why):
    github.answer = answer

    with pytest.raises(IdentityUnavailableError, match=why) as caught:
        await github_identity_token(github.environ, "ppm", [].append)

    assert len(github.requests) == 1
    assert "request-token" not in caught.value.detail


async def test_a_compressed_identity_token_is_read(github):
    token = identity()
    body = gzip.compress(json.dumps({"value": token.reveal()}).encode())
    github.answer = lambda: web.Response(body=body, headers={"Content-Encoding": "gzip"})

    assert await github_identity_token(github.environ, "ppm", [].append) == token


async def test_a_compressed_identity_token_of_a_hundred_mebibytes_is_not_inflated(github):
    bomb = gzip.compress(bytes(100 << 20))
    github.answer = lambda: web.Response(body=bomb, headers={"Content-Encoding": "gzip"})
    tracemalloc.start()

    with pytest.raises(IdentityUnavailableError, match="without a token"):
        await github_identity_token(github.environ, "ppm", [].append)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


async def test_an_identity_token_without_end_is_not_read_to_its_end(github):
    async def endless():
        while True:
            yield bytes(1 << 16)

    github.answer = lambda: web.Response(body=endless())

    with pytest.raises(IdentityUnavailableError, match="without a token"):
        await asyncio.wait_for(github_identity_token(github.environ, "ppm", [].append), SOON)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("http://192.0.2.1/token", "has a value that GitHub does not set"),
        ("ftp://127.0.0.1/", "has a value that GitHub does not set"),
        ("https://127.0.0.1/\n", "has a value that GitHub does not set"),
        ("http://127.0.0.1:1/token", "cannot connect to http://127.0.0.1:1"),
    ],
)
async def test_the_request_token_is_sent_only_over_tls_or_loopback(address, why):
    environ = {"ACTIONS_ID_TOKEN_REQUEST_URL": address, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "request-token"}

    with pytest.raises(IdentityUnavailableError, match=why):
        await github_identity_token(environ, "ppm", [].append)
