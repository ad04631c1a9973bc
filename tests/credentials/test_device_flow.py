import asyncio
import gzip
import json
import time
import tracemalloc
from dataclasses import replace
from types import SimpleNamespace
from urllib.parse import parse_qs

import pytest
from aiohttp import web
from proxy_client import leaked_forms

from ppmproxy.auth.secret import Secret
from ppmproxy.credentials.device_flow import (
    Clock,
    exchange_token,
    github_identity_token,
    is_sign_in_offered,
    start_device_flow,
    wait_for_token,
)
from ppmproxy.errors import (
    EXIT_NO_CREDENTIAL,
    IdentityRefusedError,
    IdentityUnavailableError,
    SignInExpiredError,
    SignInNotOfferedError,
    SignInRefusedError,
    UpstreamUnexpectedError,
    UpstreamUnreachableError,
    UpstreamUntrustedError,
)
from ppmproxy.testing.package_manager import (
    CloseBeforeHead,
    IdentityProviderTrust,
    LoginPage,
    NoAnswer,
    RedirectTo,
    Status,
    claims_of,
    jwt,
)
from ppmproxy.testing.package_manager.tokens import challenge
from ppmproxy.upstream.client import UpstreamClient

# Python 3.10 warns of TLS connections that the peer has cut.
without_tls = pytest.mark.parametrize("scene", [{"tls": False}], indirect=True, ids=[""])

SOON = 10  # seconds of real time; nothing here takes as long


class Time:
    """A clock that advances only by sleeping; the client and the fake Package Manager share it."""

    def __init__(self, package_manager):
        self.package_manager = package_manager
        self.started = time.time()
        self.slept = []
        self.happenings = []
        package_manager.clock = lambda: self.started

    def now(self):
        return self.started + sum(self.slept)

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.package_manager.clock_offset += seconds
        if self.happenings:
            self.happenings.pop(0)()

    def meanwhile(self, *happenings):
        self.happenings += happenings


@pytest.fixture
async def scene(request, package_manager, upstream):
    """A fake Package Manager, a client, their clock, and the registered secrets."""
    server = await package_manager(base_path="/rspm", **getattr(request, "param", {}))
    clients = []

    def client(**options):
        clients.append(UpstreamClient(upstream(server, **options), sleep=no_pause))
        return clients[-1]

    found = []
    time = Time(server)
    scene = SimpleNamespace(server=server, url=server.url, time=time, found=found, client=client(), new_client=client)
    scene.rest = (found.append, Clock(time.now, time.sleep))
    scene.start = lambda: start_device_flow(scene.client, server.url, *scene.rest)
    scene.finish = lambda grant: asyncio.wait_for(wait_for_token(scene.client, grant, *scene.rest), SOON)
    yield scene
    for each in clients:
        await each.close()


async def no_pause(_seconds):
    pass


def nothing():
    pass


def forms(server, call):
    return [parse_qs(seen.body.decode()) for seen in server.requests_for(f"*/__api__/{call}")]


# Device flow


def test_a_sign_in_uses_the_monotonic_clock():
    assert Clock().now() == pytest.approx(time.monotonic(), abs=SOON)


async def test_a_confirmed_sign_in_gets_a_token_at_once(scene):
    grant = await scene.start()
    scene.server.approve(grant.user_code, subject="kim@example.com")

    token = await scene.finish(grant)

    assert claims_of(token.reveal())["sub"] == "kim@example.com"
    assert scene.server.tokens.permissions(token.reveal()) is not None
    assert scene.time.slept == []


async def test_a_grant_has_page_code_and_expiry(scene):
    grant = await scene.start()

    assert grant.page == grant.verification_uri_complete == f"{scene.url}/__device__?user_code={grant.user_code}"
    assert grant.verification_uri == f"{scene.url}/__device__"
    assert (grant.interval, grant.expires_at - scene.time.now()) == (5, 300)


async def test_without_a_complete_address_the_page_is_the_plain_one(scene):
    scene.server.offers_complete_uri = False

    assert (await scene.start()).page == f"{scene.url}/__device__"


async def test_the_server_is_polled_at_its_interval_until_the_person_confirms(scene):
    grant = await scene.start()
    scene.time.meanwhile(nothing, nothing, scene.server.approve)

    await scene.finish(grant)

    assert scene.time.slept == [5, 5, 5]
    assert len(forms(scene.server, "device_access")) == 4


async def test_each_slow_down_adds_five_seconds_to_the_interval(scene):
    scene.server.sign_in.slow_downs = 2
    grant = await scene.start()
    scene.time.meanwhile(nothing, nothing, nothing, scene.server.approve)

    await scene.finish(grant)

    assert scene.time.slept == [10, 15, 15, 15]


async def test_status_429_slows_down_too(scene):
    scene.server.add_fault("*/device_access", Status(429), times=1)
    grant = await scene.start()
    scene.time.meanwhile(scene.server.approve)

    await scene.finish(grant)

    assert scene.time.slept == [10]


async def test_only_the_client_with_the_verifier_can_finish_a_sign_in(scene):
    grant = await scene.start()
    scene.server.approve()
    (started,) = forms(scene.server, "device")

    with pytest.raises(SignInRefusedError, match="code_verifier does not match"):
        await scene.finish(replace(grant, code_verifier=Secret("x" * 64)))
    await scene.finish(grant)

    (verifier,) = forms(scene.server, "device_access")[-1]["code_verifier"]
    assert started == {"code_challenge_method": ["S256"], "code_challenge": [challenge(verifier)]}
    assert 43 <= len(verifier) <= 128  # RFC 7636 section 4.1


async def test_every_sign_in_has_a_verifier_of_its_own(scene):
    assert (await scene.start()).code_verifier != (await scene.start()).code_verifier


async def test_every_secret_is_registered_before_it_is_used(scene):
    grant = await scene.start()
    scene.server.approve()

    token = await scene.finish(grant)

    (identity,) = forms(scene.server, "token")[0]["subject_token"]
    assert {grant.code_verifier, grant.device_code, Secret(identity), token} == set(scene.found)
    assert leaked_forms(grant.device_code.reveal(), repr(grant)) == []
    assert leaked_forms(grant.code_verifier.reveal(), repr(grant)) == []


async def test_no_request_of_a_sign_in_carries_a_token(scene):
    await is_sign_in_offered(scene.client, scene.url)
    grant = await scene.start()
    scene.server.approve()
    await scene.finish(grant)

    assert len(scene.server.requests) == 4
    assert not any(seen.authorization for seen in scene.server.requests)


async def test_a_refusal_by_the_person_differs_from_one_by_the_server(scene):
    grant = await scene.start()
    scene.time.meanwhile(scene.server.deny)

    with pytest.raises(SignInRefusedError, match="refused: access_denied: the user refused") as caught:
        await scene.finish(grant)

    assert (caught.value.code, caught.value.status, caught.value.exit_code) == (
        "sign-in-needed",
        407,
        EXIT_NO_CREDENTIAL,
    )
    assert "ppmproxy login" in caught.value.hint


async def test_a_sign_in_ends_when_its_grant_expires(scene):
    scene.server.device_lifetime = 12

    with pytest.raises(SignInExpiredError, match="expired before anybody confirmed it") as caught:
        await scene.finish(await scene.start())

    assert scene.time.slept == [5, 5, 2]
    assert caught.value.code == "sign-in-needed"


async def test_the_server_may_end_a_sign_in_before_it_expires(scene):
    grant = await scene.start()
    scene.server.clock_offset += 301

    with pytest.raises(SignInExpiredError):
        await scene.finish(grant)

    assert scene.time.slept == []


async def test_a_held_poll_returns_as_soon_as_the_person_confirms(scene):
    scene.server.holds_device_access = True
    waiting = asyncio.create_task(scene.finish(await scene.start()))
    await scene.server.next_sign_in()
    scene.server.approve()

    assert scene.server.tokens.permissions((await waiting).reveal()) is not None
    assert scene.time.slept == []


async def test_a_poll_that_times_out_is_repeated(scene):
    scene.server.add_fault("*/device_access", NoAnswer(), times=2)
    scene.client = scene.new_client(read_timeout=0.05)
    grant = await scene.start()
    scene.time.meanwhile(nothing, scene.server.approve)

    await scene.finish(grant)

    assert scene.time.slept == [5, 5]


async def test_a_poll_held_beyond_the_expiry_is_cancelled(scene):
    scene.server.holds_device_access = True
    grant = await scene.start()
    scene.server.clock_offset -= 1000  # the server would wait much longer

    with pytest.raises(SignInExpiredError):
        await scene.finish(replace(grant, expires_at=scene.time.now() + 0.05))


@without_tls
@pytest.mark.parametrize("fault", [CloseBeforeHead(), Status(502), Status(504)], ids=["closed", "502", "504"])
async def test_a_short_outage_of_the_server_does_not_end_a_sign_in(scene, fault):
    scene.server.add_fault("*/device_access", fault, times=2)
    scene.server.add_fault("*/__api__/token", fault, times=1)
    grant = await scene.start()
    scene.server.approve()

    token = await scene.finish(grant)

    assert scene.server.tokens.permissions(token.reveal()) is not None
    assert scene.time.slept == [5, 5, 5]


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


# Exchange of identity tokens


def identity(**claims):
    return Secret(jwt({"aud": "ppm", "sub": "repo:acme/app", "exp": time.time() + 60} | claims))


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


async def test_the_error_for_an_untrusted_token_server_names_it(scene):
    environ = {"ACTIONS_ID_TOKEN_REQUEST_URL": scene.url, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "request-token"}

    with pytest.raises(IdentityUnavailableError, match="is not trusted"):
        await github_identity_token(environ, "ppm", [].append)


async def test_a_redirected_sign_in_is_not_followed(scene):
    scene.server.add_fault("*/__api__/token", RedirectTo(f"{scene.url}/elsewhere"))

    with pytest.raises(Exception, match="redirects a POST"):
        await exchange_token(scene.client, scene.url, identity(), scene.found.append)

    assert scene.server.requests_for("*/elsewhere") == []
