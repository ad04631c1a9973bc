"""Claims about a sign-in by device flow, from the grant to the token."""

import asyncio
import time
from dataclasses import replace
from urllib.parse import parse_qs

import pytest
from device_flow_scene import SOON
from proxy_client import leaked_forms

from ppmproxy.auth.secret import Secret
from ppmproxy.credentials.device_flow import (
    Clock,
    is_sign_in_offered,
)
from ppmproxy.errors import (
    EXIT_NO_CREDENTIAL,
    SignInExpiredError,
    SignInRefusedError,
)
from ppmproxy.testing.package_manager import (
    CloseBeforeHead,
    NoAnswer,
    Status,
    claims_of,
)
from ppmproxy.testing.package_manager.tokens import challenge

# Python 3.10 warns of TLS connections that the peer has cut.
without_tls = pytest.mark.parametrize("scene", [{"tls": False}], indirect=True, ids=[""])


def nothing():
    pass


def forms(server, call):
    return [parse_qs(seen.body.decode()) for seen in server.requests_for(f"*/__api__/{call}")]


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
    scene.server.add_fault("*/device_access", NoAnswer(), times=1)
    scene.client = scene.new_client(read_timeout=2.0)
    grant = await scene.start()
    scene.time.meanwhile(scene.server.approve)

    await scene.finish(grant)

    assert scene.time.slept == [5]


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
